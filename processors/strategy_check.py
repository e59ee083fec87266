"""Is a strategy's file one that may run? Loaded, looked through, and played through a made-up market in several ways.

The laws it is held to: it imports nothing but numbers and this project's words (no clock, no chance, no files), its
object keeps nothing, and the same rows give the same requests: in one piece, row by row, and with another object of the
same parameters put in its place half-way.
"""

from __future__ import annotations

import ast
import copy
import dataclasses
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from processors.api import Batch, Outputs, State
from processors.parameters import read_parameters
from processors.strategies import STRATEGIES
from processors.strategies.api import Strategy
from processors.strategy_host import (
    BAR_INPUT,
    INSTRUMENT_INPUT,
    MEMORY_MAX,
    QUOTE_INPUT,
    STRATEGY_INPUT,
    TRADE_INPUT,
    Strategies,
    StrategiesParameters,
)
from schemas.address import Origin
from schemas.declare import Rows
from schemas.errors import ConfigInvalid
from schemas.events import BAR, INSTRUMENT, QUOTE, TRADE, BarKind, InstrumentStatus, Trust
from schemas.instruments import instrument_id
from schemas.money import ONE_E8
from schemas.trading import STRATEGY

MAY_IMPORT = ("__future__", "collections", "dataclasses", "enum", "functools", "itertools", "math", "numpy", "operator",
              "processors", "schemas", "typing")  # fmt: skip
MAY_NOT_IMPORT = ("numpy.random",)
ROUNDS, EACH = 120, 5  # a round: so many quotes and trades, and a bar
ORIGIN = Origin(1, 0, 1, 1)
START_NS = 1_700_000_000_000_000_000
TICK_E8, LOT_E8, PRICE_E8 = ONE_E8 // 10, ONE_E8 // 1000, 60_000 * ONE_E8


class Checked(NamedTuple):
    """A strategy that keeps the laws.

    Attributes:
        name: of its class.
        parameters: defaults.
        rows: how many it was shown.
        requests: how many orders it asked for; 0 is lawful, and worth a second look.
    """

    name: str
    parameters: dict[str, int | str | bool]
    rows: int
    requests: int


def parse_parameters(rule: str, given: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """Parameters in force with `NAME=VALUE` changes, checked by the strategy itself.

    Raises:
        ConfigInvalid: no such rule or parameter, or a value that cannot be.
    """
    kind = STRATEGIES.get(rule)
    if kind is None:
        raise ConfigInvalid(f"There is no strategy file {rule!r}. There are: {', '.join(sorted(STRATEGIES))}.")
    defaults = {field.name: field.default for field in dataclasses.fields(kind.parameters_kind)}
    changed = {name: value for name, value in given.items() if name in defaults}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigInvalid(f"--parameter {text} cannot be: write NAME=VALUE, such as quantity_e8=1000000.")
        changed[name] = _typed(name, value, defaults.get(name))
    kind(read_parameters(kind.parameters_kind, changed, rule))
    return changed


def _typed(name: str, text: str, default: object) -> int | str | bool:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise ConfigInvalid(f"{name} is true or false, not {text!r}.")
        return text.lower() == "true"
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError:
            raise ConfigInvalid(f"{name} is a whole number, not {text!r}.") from None
    return text


def check_file(path: Path) -> Checked:
    """Hold a file to the laws.

    Raises:
        ConfigInvalid: names the file, what is wrong, and where.
    """
    kind = load(path)
    _check_class(path, kind)
    parameters = kind.parameters_kind()
    whole, requests = _play(path, kind, EACH)
    for words, piece, restart in (
        ("once more", EACH, False), ("row by row", 1, False), ("with another object in its place", 2, True)
    ):  # fmt: skip
        again, _ = _play(path, kind, piece, restart=restart)
        if again != whole:
            raise ConfigInvalid(
                f"{path.name} breaks a law: played {words}, the same rows gave other requests. It keeps something "
                "outside of `at.memory`, or depends on how rows are cut."
            )
    return Checked(kind.__name__, dataclasses.asdict(parameters), ROUNDS * (2 * EACH + 1), requests)


def load(path: Path) -> type[Strategy[Any]]:
    """The one strategy that a file defines.

    Raises:
        ConfigInvalid: it cannot be read, does not compile, imports what it may not, fails, or defines none or several.
    """
    try:
        text = path.read_text()
        tree = ast.parse(text, path.name)
    except OSError as error:
        raise ConfigInvalid(f"{path.name} cannot be read: {error.strerror}.") from None
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigInvalid(f"{path.name}{line} is no Python: {error.args[0]}.") from None
    _check_imports(path, tree)
    module = types.ModuleType(f"checked_{path.stem}")
    sys.modules[module.__name__] = module  # dataclasses look their module up
    try:
        exec(compile(tree, path.name, "exec"), module.__dict__)
    except (ArithmeticError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError) as error:
        raise ConfigInvalid(f"{path.name} does not load: {type(error).__name__}: {error}.") from None
    finally:
        del sys.modules[module.__name__]
    found = [
        one for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Strategy) and one.__module__ == module.__name__
    ]  # fmt: skip
    if len(found) != 1:
        raise ConfigInvalid(f"{path.name} defines {len(found)} strategies; it must define one.")
    return found[0]


def _check_imports(path: Path, tree: ast.Module) -> None:
    for node in ast.walk(tree):
        names = (
            [one.name for one in node.names] if isinstance(node, ast.Import)
            else [f"{node.module}.{one.name}" for one in node.names] if isinstance(node, ast.ImportFrom) and node.module
            else []
        )  # fmt: skip
        for name in names:
            if name.partition(".")[0] not in MAY_IMPORT or name.startswith(MAY_NOT_IMPORT):
                raise ConfigInvalid(
                    f"{path.name}, line {getattr(node, 'lineno', 0)} breaks a law: it imports {name}. A strategy asks "
                    "no clock, draws no lots and reads no files: it sees rows, through its context."
                )


def _check_class(path: Path, kind: type[Strategy[Any]]) -> None:
    try:
        fields = dataclasses.fields(kind.parameters_kind)
        kind(kind.parameters_kind())
    except (AttributeError, TypeError) as error:
        raise ConfigInvalid(
            f"{path.name}: parameters_kind must be a dataclass whose fields all have defaults: {error}."
        ) from None
    for field in fields:
        if type(field.default) not in (int, str, bool):
            raise ConfigInvalid(f"{path.name}: parameter {field.name} must be int, str or bool, with a default.")
    if not 0 <= kind.memory_size <= MEMORY_MAX:
        raise ConfigInvalid(f"{path.name}: memory_size is {kind.memory_size}; possible are 0 to {MEMORY_MAX}.")


def _play(path: Path, kind: type[Strategy[Any]], piece: int, *, restart: bool = False) -> tuple[list[bytes], int]:
    """Show it the market in pieces; its requests as bytes, and how many. `restart`: a new object now and then."""
    rule = Strategies(StrategiesParameters(), {"checked": kind})
    state: State = rule.initial_state()
    requests: list[bytes] = []
    for number, batch in enumerate(_market(kind, piece)):
        if restart and number % 5 == 4:
            rule, state = Strategies(StrategiesParameters(), {"checked": kind}), copy.deepcopy(state)
        out = Outputs(rule.outputs)
        try:
            rule.on_batch(state, batch, out)
        except (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError) as error:
            raise ConfigInvalid(
                f"{path.name} breaks: {type(error).__name__}: {error} (row {batch.row_first} of a made-up market)."
            ) from None
        requests += [row.tobytes() for emitted in out.emitted for row in emitted.rows]
    return requests, len(requests)


def _market(kind: type[Strategy[Any]], piece: int) -> list[Batch]:
    """An instrument, the strategy, then quotes, trades and bars of a price that swings; each input in pieces."""
    instrument = instrument_id("binance_usdm:CHECKED")
    listed, named = INSTRUMENT.empty(1), STRATEGY.empty(1)
    listed["ts_recv_ns"] = named["ts_recv_ns"] = START_NS
    listed["instrument"], listed["status"] = instrument, InstrumentStatus.TRADING
    listed["tick_size_e8"], listed["lot_size_e8"], listed["multiplier_e8"] = TICK_E8, LOT_E8, ONE_E8
    listed["price_min_e8"], listed["quantity_min_e8"] = TICK_E8, LOT_E8
    text = b"checkedchecked{}"
    named["strategy"], named["instrument"], named["account"] = instrument_id("checked"), instrument, 1
    named["enabled"], named["capital_e8"] = 1, 1_000_000 * ONE_E8
    for column, at, size in (("name", 0, 7), ("rule", 7, 7), ("parameters", 14, 2)):
        named[f"{column}_at"], named[f"{column}_size"] = at, size
    heap = np.frombuffer(text, dtype=np.uint8)
    interval_ns = kind(kind.parameters_kind()).bar_interval_ns or 1_000_000_000
    batches = [Batch(INSTRUMENT_INPUT, ORIGIN, 1, listed), Batch(STRATEGY_INPUT, ORIGIN, 1, named, heap)]
    for number in range(ROUNDS):
        for chosen, rows in _round(number, instrument, interval_ns):
            first = number * len(rows) + 1
            batches += [Batch(chosen, ORIGIN, first + at, rows[at : at + piece]) for at in range(0, len(rows), piece)]
    return batches


def _round(number: int, instrument: int, interval_ns: int) -> list[tuple[int, Rows]]:
    """One bar's worth: quotes, trades, the bar. The price swings in a triangle of 40 rounds, unevenly."""
    step = min(number % 40, 40 - number % 40)
    way = 1 if number % 40 < 20 else -1
    prices = PRICE_E8 + TICK_E8 * (100 * step + way * (np.arange(EACH) * 7 % 5))
    begun_ns = START_NS + (number + 1) * interval_ns
    times = begun_ns + np.arange(EACH) * (interval_ns // (4 * EACH))
    quotes, trades, bar = QUOTE.empty(EACH), TRADE.empty(EACH), BAR.empty(1)
    for rows, after_ns in ((quotes, 0), (trades, interval_ns // 4), (bar, interval_ns // 2)):
        rows["ts_recv_ns"] = rows["ts_event_ns"] = times[: len(rows)] + after_ns
        rows["instrument"] = instrument
    quotes["bid_price_e8"], quotes["ask_price_e8"], quotes["trust"] = prices, prices + TICK_E8, Trust.SYNCED
    quotes["bid_quantity_e8"], quotes["ask_quantity_e8"] = ONE_E8 * (1 + np.arange(EACH)), 3 * ONE_E8
    trades["price_e8"], trades["quantity_e8"] = prices, LOT_E8 * (1 + np.arange(EACH))
    trades["aggressor"] = np.arange(EACH) % 2
    bar["kind"], bar["size"], bar["ts_open_ns"] = BarKind.TIME, interval_ns, begun_ns
    bar["open_e8"], bar["close_e8"] = prices[0], prices[-1]
    bar["high_e8"], bar["low_e8"] = prices.max(), prices.min()
    bar["volume_e8"], bar["trade_count"] = int(trades["quantity_e8"].sum()), EACH
    return [(QUOTE_INPUT, quotes), (TRADE_INPUT, trades), (BAR_INPUT, bar)]
