"""Which code a pipeline's processor key means. The tables know keys; this knows code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from connectors.binance_spot import wire as binance_spot
from connectors.binance_usdm import wire as binance_usdm
from connectors.binance_usdm.private_wire import private_wire
from processors.api import Parameters, Processor
from processors.bars import Bars, BarsParameters
from processors.book import Book, BookParameters
from processors.orders import Orders
from processors.parameters import read_parameters
from processors.positions import Positions
from processors.risk import Risk
from processors.strategy_host import Strategies
from schemas.errors import ConfigInvalid
from streams.pipelines import PIPELINES, Pipeline, pipeline

Make = Callable[[Parameters], Processor]


@dataclass(frozen=True)
class WireParameters:
    """Bounds of a venue's rule.

    Attributes:
        instruments_max: books of one connection.
    """

    instruments_max: int = 1024


@dataclass(frozen=True)
class AccountParameters:
    """Whose orders.

    Attributes:
        account: its name; rows carry the id of `venue:account`.
    """

    account: str = "paper"


PROCESSORS: Mapping[str, Make] = {
    "binance_spot.wire": lambda given: binance_spot.wire(_wire("binance_spot.wire", given).instruments_max),
    "binance_usdm.wire": lambda given: binance_usdm.wire(_wire("binance_usdm.wire", given).instruments_max),
    "book": lambda given: Book(read_parameters(BookParameters, given, "book")),
    "bars": lambda given: Bars(read_parameters(BarsParameters, given, "bars")),
    "binance_usdm.orders": lambda given: private_wire(
        f"binance_usdm:{read_parameters(AccountParameters, given, 'orders_binance_usdm').account}"
    ),
    "strategies": Strategies.make,
    "risk": Risk.make,
    "orders": Orders.make,
    "positions": Positions.make,
}
ParametersOf = Mapping[str, Parameters]  # by pipeline


def processor(row: Pipeline, parameters: ParametersOf) -> Processor:
    """The rule of a pipeline, with the session's parameters.

    Raises:
        ConfigInvalid: nobody made such a rule, or it refuses a parameter.
    """
    make = PROCESSORS.get(row.processor)
    if make is None:
        raise ConfigInvalid(f"Pipeline {row.name}: no processor {row.processor!r}. There are: {', '.join(PROCESSORS)}.")
    return make(parameters.get(row.name, {}))


def parse_parameters(texts: Sequence[str]) -> dict[str, dict[str, int | str | bool]]:
    """`book.stale_after_ns=0` … → parameters by pipeline, each tried on its rule.

    Raises:
        ConfigInvalid: not written so, no such pipeline, or the rule refuses it.
    """
    found: dict[str, dict[str, int | str | bool]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        name, dot, parameter = path.partition(".")
        if not equals or not dot or not parameter:
            raise ConfigInvalid(f"--set {text} cannot be: write PIPELINE.NAME=VALUE, such as book.stale_after_ns=0.")
        found.setdefault(pipeline(name).name, {})[parameter] = _value(value)
    for row in PIPELINES:
        if row.name in found:
            processor(row, found)
    return found


def _value(text: str) -> int | str | bool:
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        return text


def _wire(rule: str, given: Parameters) -> WireParameters:
    return read_parameters(WireParameters, given, rule)
