"""Rule `strategies`: the host of every strategy in force.

Strategies come, go and change by STRATEGY rows only: the latest row of a strategy says which file runs with which
parameters, on which account and instrument. A row that changes any of that cancels what is open and starts the
strategy anew, with empty memory and a new warm-up; a row that repeats what is in force changes nothing. `enabled = 0`
cancels what is open, again until it is gone, and then there is silence. A row that cannot be (unknown file, impossible
parameters) is refused, and the row before stays in force; a disabling row is never refused for what it names.

For each strategy the host keeps, in arrays: its texts, counters, last quote, memory, and its orders with what came of
them. The *position* counts each fill once, whichever comes first, the order's row or the fill's; before its first
order, it is what the ledger says. A request that shows no order after `answer_ns` is taken for one that was never
made: `valid_until_ns` has long passed, and nothing is sent after that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.api import NEVER_NS, Batch, Outputs, Parameters, State
from processors.parameters import check_range, read_parameters
from processors.refused import TIME_MAX_NS, Refused, check_times, put_aside, text_of
from processors.strategies import STRATEGIES
from processors.strategies.api import Bar, Fill, Order, Position, Quote, Strategy, Trade
from processors.tables import Table
from schemas.address import NO_ORIGIN
from schemas.declare import Event
from schemas.errors import ConfigInvalid
from schemas.events import BAR, INSTRUMENT, QUOTE, TRADE, BarKind, DeadReason, InstrumentStatus, Side, Trust
from schemas.instruments import instrument_id
from schemas.money import I64_MAX, ONE_E8
from schemas.trading import (
    FILL,
    ORDER,
    ORDER_REQUEST,
    POSITION,
    STRATEGY,
    TERMINAL_STATES,
    OrderFlag,
    OrderKind,
    OrderState,
    RequestAction,
    TimeInForce,
)

(
    QUOTE_INPUT, TRADE_INPUT, BAR_INPUT, ORDER_INPUT, FILL_INPUT, POSITION_INPUT, STRATEGY_INPUT, INSTRUMENT_INPUT
) = range(8)  # fmt: skip
MEMORY_MAX = 1024  # cells of one strategy
TEXT_BYTES_MAX = 4096  # rule and parameters of one strategy
EARLY = 16  # fills whose order is not known yet
WAKE_MIN_NS = 1_000_000
SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS

# Columns of a strategy. QUOTED is a whole `Quote`; CHECK_NS: when to look after orders that nothing is heard of.
(
    ID, ACCOUNT, ON, ENABLED, TEXT_BYTES, NOW_NS, TAGS, POSITION_E8, IS_OWN, QUOTES, TRADES, BARS, WAKE_NS, CHECK_NS,
    ENDS, EARLY_FILLS, TRUSTED, QUOTED,
) = range(18)  # fmt: skip
COLUMNS = QUOTED + len(Quote._fields)
# Columns of an order. CHANGE: the action asked for that has not shown yet, until UNTIL_NS. DONE: filled quantity that
# is in the position; FILLS: sum of its fill rows. ENDED counts ends, 0: it has not ended.
(
    TAG, SIDE, PRICE, QUANTITY, FILLED, STATE, CHANGE, UNTIL_NS, CODE, ORDER_ID, DONE, FILLS, ENDED, KIND, TIME, FLAGS,
    ORDER_ACCOUNT, ORDER_ON,
) = range(18)  # fmt: skip
# Columns of an instrument, as in its row.
_RULES = (
    "instrument", "tick_size_e8", "lot_size_e8", "price_min_e8", "price_max_e8", "quantity_min_e8", "quantity_max_e8",
    "market_quantity_max_e8", "notional_min_e8", "multiplier_e8", "status",
)  # fmt: skip
(
    TICK, LOT, PRICE_MIN, PRICE_MAX, QUANTITY_MIN, QUANTITY_MAX, MARKET_QUANTITY_MAX, NOTIONAL_MIN, MULTIPLIER, STATUS
) = range(1, 11)  # fmt: skip

Line = npt.NDArray[np.int64]
Values = tuple[int, ...]


@dataclass(frozen=True)
class StrategiesParameters:
    """Bounds and intervals.

    Attributes:
        valid_for_ns: an order request is not sent later than so long after its cause.
        answer_ns: a change that has not shown after so long may be asked for again; a new order is forgotten.
        strategies_max: strategies; about 15 kB each.
        orders_max: orders of one strategy at a time.
        instruments_max: listed instruments.
    """

    valid_for_ns: int = 2 * SECOND_NS
    answer_ns: int = 10 * SECOND_NS
    strategies_max: int = 64
    orders_max: int = 16
    instruments_max: int = 8192

    def __post_init__(self) -> None:
        check_range("strategies", "valid_for_ns", self.valid_for_ns, 1_000_000, HOUR_NS)
        check_range("strategies", "answer_ns", self.answer_ns, self.valid_for_ns, 2 * HOUR_NS)
        check_range("strategies", "strategies_max", self.strategies_max, 1, 1 << 12)
        check_range("strategies", "orders_max", self.orders_max, 2, 1 << 10)
        check_range("strategies", "instruments_max", self.instruments_max, 1, 1 << 16)


class _Reader:
    """Picks columns of a row by name out of `rows.tolist()`."""

    def __init__(self, event: Event, names: Sequence[str]) -> None:
        self._pick = itemgetter(*((event.dtype.names or ()).index(name) for name in names))

    def __call__(self, values: Values) -> Any:
        return self._pick(values)


_READ_QUOTE = _Reader(QUOTE, ("ts_event_ns", "ts_recv_ns", "instrument", "trust"))
_QUOTE = _Reader(QUOTE, Quote._fields)
_READ_TRADE = _Reader(TRADE, ("ts_event_ns", "ts_recv_ns", "instrument", "aggressor"))
_TRADE = _Reader(TRADE, Trade._fields)
_READ_BAR = _Reader(BAR, ("ts_event_ns", "ts_recv_ns", "instrument", "kind", "size", "revision"))
_BAR = _Reader(BAR, Bar._fields)
_READ_ORDER = _Reader(
    ORDER,
    ("ts_event_ns", "ts_recv_ns", "instrument", "account", "strategy", "tag", "order_id", "side", "price_e8",
     "quantity_e8", "filled_e8", "state", "code", "kind", "time_in_force", "flags"),
)  # fmt: skip
_READ_FILL = _Reader(FILL, ("ts_event_ns", "ts_recv_ns", "instrument", "account", "strategy", "order_id"))
_FILL = _Reader(FILL, Fill._fields)
_READ_POSITION = _Reader(POSITION, ("ts_event_ns", "ts_recv_ns", "instrument", "account", "strategy"))
_POSITION = _Reader(POSITION, Position._fields)


class Strategies:
    """The processor. State: tables `strategies` (with `texts`, `memory`, `orders`, `early`) and `instruments`."""

    name = "strategies"
    version = 1
    inputs: tuple[Event, ...] = (QUOTE, TRADE, BAR, ORDER, FILL, POSITION, STRATEGY, INSTRUMENT)
    outputs: tuple[Event, ...] = (ORDER_REQUEST,)

    def __init__(
        self,
        parameters: StrategiesParameters | None = None,
        strategies: Mapping[str, type[Strategy[Any]]] = STRATEGIES,
    ) -> None:
        self.parameters = p = parameters or StrategiesParameters()
        self.known = strategies
        beside = {
            "texts": ("u1", (TEXT_BYTES_MAX,)),
            "memory": ("<i8", (MEMORY_MAX,)),
            "orders": ("<i8", (p.orders_max, ORDER_ON + 1)),
            "early": ("<i8", (EARLY, 2)),
        }
        self.strategies = Table("strategies", COLUMNS, 1, p.strategies_max, beside)
        self.instruments = Table("instruments", STATUS + 1, 1, p.instruments_max)
        self._made: dict[str, Strategy[Any]] = {}  # by text: nothing but what the text says

    @classmethod
    def make(cls, parameters: Parameters) -> Strategies:
        """From parameters by name; raises ConfigInvalid."""
        return cls(read_parameters(StrategiesParameters, parameters, cls.name))

    def initial_state(self) -> State:
        return self.strategies.arrays() | self.instruments.arrays()

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        work = _Work(self, state, out)
        take = (
            work.quote, work.trade, work.bar, work.order, work.fill, work.position, work.strategy, work.instrument
        )[batch.input]  # fmt: skip
        for offset, values in enumerate(batch.rows.tolist()):
            work.number = batch.row_first + offset
            try:
                take(batch, offset, values)
            except Refused as fault:
                put_aside(batch, offset, fault, out)
        work.flush()

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        _Work(self, state, out).fire(now_ns)

    def next_deadline_ns(self, state: State) -> int:
        lines = self.strategies.lines(state)
        return int(lines[:, (WAKE_NS, CHECK_NS)].min()) if len(lines) else NEVER_NS

    def warm(self) -> None:
        """Nothing is compiled."""

    def strategy(self, text: str) -> Strategy[Any]:
        """The strategy of `rule`, newline, JSON parameters.

        Raises:
            ConfigInvalid: with a sentence for whoever wrote the row.
        """
        if text not in self._made:
            rule, _, parameters = text.partition("\n")
            kind = self.known.get(rule)
            if kind is None:
                raise ConfigInvalid(f"There is no strategy file {rule!r}. There are: {', '.join(sorted(self.known))}.")
            assert kind.memory_size <= MEMORY_MAX, rule
            self._made[text] = kind(read_parameters(kind.parameters_kind, _read_json(rule, parameters), rule))
        return self._made[text]


def _read_json(rule: str, text: str) -> Parameters:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise ConfigInvalid(f"Rule {rule}: the parameters are no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise ConfigInvalid(f'Rule {rule}: the parameters must be a JSON object such as {{"quantity_e8": 1000000}}.')
    return found


class _Work:
    """One call of the rule."""

    def __init__(self, rule: Strategies, state: State, out: Outputs) -> None:
        self.rule, self.state, self.out = rule, state, out
        self.number = 0  # of the row being taken; 0 for a timer
        self.requests: list[Values] = []
        self.due_ns = rule.next_deadline_ns(state)
        self._sit()

    def _sit(self) -> None:
        """Who is where; again after a STRATEGY row, since arrays may have moved."""
        self._taken: dict[int, Seat] = {}
        self._by_instrument: dict[int, list[int]] = {}
        self._by_id: dict[int, int] = {}
        lines = self.rule.strategies.lines(self.state)[:, (ID, ON, ENABLED)].tolist()
        for at, (strategy, instrument, enabled) in enumerate(lines):
            self._by_id[strategy] = at
            if enabled:
                self._by_instrument.setdefault(instrument, []).append(at)

    def _seat(self, at: int) -> Seat:
        seat = self._taken.get(at)
        if seat is None:
            seat = self._taken[at] = Seat(self, at)
        return seat

    def _on(self, instrument: int) -> list[Seat]:
        """Strategies that run on an instrument."""
        return [self._seat(at) for at in self._by_instrument.get(instrument, ())]

    def _of(self, strategy: int) -> Seat | None:
        at = self._by_id.get(strategy)
        return None if at is None else self._seat(at)

    def flush(self) -> None:
        if self.requests:
            self.out.emit(0, np.array(self.requests, dtype=ORDER_REQUEST.dtype))
            self.requests = []

    def _pass(self, recv_ns: int) -> None:
        """A row that will be taken arrived: what was due by then comes first."""
        if recv_ns >= self.due_ns:
            self.flush()
            number, self.number = self.number, 0
            self.fire(recv_ns)
            self.number = number

    def fire(self, now_ns: int) -> None:
        """Wake strategies and look after their orders, in order of time. What follows has no cause."""
        lines = self.rule.strategies.lines(self.state)
        while len(lines) and (deadline := self.rule.next_deadline_ns(self.state)) <= now_ns:
            at, column = np.argwhere(lines[:, (WAKE_NS, CHECK_NS)] == deadline)[0].tolist()
            seat = self._seat(at)
            seat.enter(deadline, deadline)
            seat.line[(WAKE_NS, CHECK_NS)[column]] = NEVER_NS
            if column == 0:
                seat.strategy.on_timer(seat)
            else:
                seat.look_after()
        self.due_ns = self.rule.next_deadline_ns(self.state)
        origin, self.out.origin = self.out.origin, NO_ORIGIN
        self.flush()
        self.out.origin = origin

    # --- inputs ---

    def quote(self, _: Batch, __: int, values: Values) -> None:
        event_ns, recv_ns, instrument, trust = _READ_QUOTE(values)
        quote = Quote._make(_QUOTE(values))
        check_times(event_ns, recv_ns)
        if trust >= len(Trust) or min(quote) < 0:
            raise Refused(DeadReason.OUT_OF_RANGE, f"trust {trust} is unknown, or a price or quantity is below 0")
        self._pass(recv_ns)
        for seat in self._on(instrument):
            seat.enter(event_ns, recv_ns)
            if trust == Trust.SYNCED:
                seat.line[TRUSTED] = 1
                seat.line[QUOTED:] = quote
                seat.line[QUOTES] += 1
                seat.quote = quote
                seat.strategy.on_quote(seat, quote)
            elif seat.line[TRUSTED]:
                seat.line[TRUSTED] = 0
                seat.strategy.on_distrust(seat)

    def trade(self, _: Batch, __: int, values: Values) -> None:
        event_ns, recv_ns, instrument, aggressor = _READ_TRADE(values)
        trade = Trade._make(_TRADE(values))
        check_times(event_ns, recv_ns)
        if aggressor >= len(Side) or trade.price_e8 <= 0 or trade.quantity_e8 <= 0:
            raise Refused(DeadReason.OUT_OF_RANGE, f"side {aggressor} is unknown, or price or quantity not above 0")
        self._pass(recv_ns)
        for seat in self._on(instrument):
            seat.enter(event_ns, recv_ns)
            seat.line[TRADES] += 1
            seat.strategy.on_trade(seat, trade)

    def bar(self, _: Batch, __: int, values: Values) -> None:
        event_ns, recv_ns, instrument, kind, size, revision = _READ_BAR(values)
        bar = Bar._make(_BAR(values))
        check_times(event_ns, recv_ns)
        if kind >= len(BarKind) or size <= 0 or min(bar) < 0:
            raise Refused(DeadReason.OUT_OF_RANGE, f"kind {kind} is unknown, or a price or volume is below 0")
        self._pass(recv_ns)
        for seat in self._on(instrument):
            if kind == BarKind.TIME and revision == 0 and size == seat.strategy.bar_interval_ns:
                seat.enter(event_ns, recv_ns)
                seat.line[BARS] += 1
                seat.strategy.on_bar(seat, bar)

    def order(self, _: Batch, __: int, values: Values) -> None:
        (
            event_ns,
            recv_ns,
            _instrument,
            account,
            strategy,
            tag,
            _id,
            side,
            *amounts,
            state,
            _code,
            kind,
            time,
            _flags,
        ) = _READ_ORDER(values)
        check_times(event_ns, recv_ns)
        unknown = side >= len(Side) or state >= len(OrderState) or kind >= len(OrderKind) or time >= len(TimeInForce)
        if unknown or not account or min(amounts) < 0:
            raise Refused(DeadReason.OUT_OF_RANGE, f"order {tag} has a side, state, kind or amount that no order has")
        self._pass(recv_ns)
        seat = self._of(strategy)
        if seat is not None:
            seat.enter(event_ns, recv_ns)
            seat.take_order(_READ_ORDER(values))

    def fill(self, _: Batch, __: int, values: Values) -> None:
        event_ns, recv_ns, instrument, account, strategy, order_id = _READ_FILL(values)
        fill = Fill._make(_FILL(values))
        check_times(event_ns, recv_ns)
        if fill.side >= len(Side) or fill.price_e8 <= 0 or fill.quantity_e8 <= 0 or not account:
            raise Refused(DeadReason.OUT_OF_RANGE, f"side {fill.side} is unknown, or price or quantity not above 0")
        self._pass(recv_ns)
        seat = self._of(strategy)
        if seat is not None and seat.is_its(account, instrument):
            seat.enter(event_ns, recv_ns)
            seat.take_fill(order_id, fill)

    def position(self, _: Batch, __: int, values: Values) -> None:
        event_ns, recv_ns, instrument, account, strategy = _READ_POSITION(values)
        check_times(event_ns, recv_ns)
        if not account:
            raise Refused(DeadReason.OUT_OF_RANGE, "a position without an account")
        self._pass(recv_ns)
        seat = self._of(strategy)
        if seat is not None and seat.is_its(account, instrument):
            seat.enter(event_ns, recv_ns)
            seat.take_position(Position._make(_POSITION(values)))

    def instrument(self, batch: Batch, offset: int, _: Values) -> None:
        row = batch.rows[offset]
        check_times(int(row["ts_recv_ns"]))
        values = [int(row[name]) for name in _RULES]
        if min(values) < 0 or values[STATUS] >= len(InstrumentStatus):
            raise Refused(DeadReason.OUT_OF_RANGE, f"status {values[STATUS]} is unknown, or a step or bound is below 0")
        table = self.rule.instruments
        at = table.find(self.state, values[0])
        if at < 0 and not table.has_room(self.state):
            raise Refused(DeadReason.LIMIT, f"more instruments than instruments_max = {table.lines_max}")
        self._pass(int(row["ts_recv_ns"]))
        if at < 0:
            at = table.add(self.state, values[0])
        self.state["instruments"][at] = values
        for seat in self._on(values[0]):
            seat.read_rules()

    def strategy(self, batch: Batch, offset: int, _: Values) -> None:
        row = batch.rows[offset]
        recv_ns, strategy, account, instrument, enabled = (
            int(row[name]) for name in ("ts_recv_ns", "strategy", "account", "instrument", "enabled")
        )
        check_times(recv_ns)
        if not enabled:  # whatever else it says
            self._pass(recv_ns)
            seat = self._of(strategy)
            if seat is not None and seat.line[ENABLED]:
                seat.enter(recv_ns, recv_ns)
                seat.disable()
                self._sit()
            return
        text = self._check_strategy(batch, offset, strategy, account, instrument)
        table = self.rule.strategies
        at = table.find(self.state, strategy)
        if at < 0 and not table.has_room(self.state):
            raise Refused(DeadReason.LIMIT, f"more strategies than strategies_max = {table.lines_max}")
        self._pass(recv_ns)
        if at < 0:
            at = table.add(self.state, strategy)
            table.lines(self.state)[at, [WAKE_NS, CHECK_NS]] = NEVER_NS
            self._sit()
        seat = self._seat(at)
        if not (seat.line[ENABLED] and seat.text == text and seat.is_its(account, instrument)):
            seat.enter(recv_ns, recv_ns)
            seat.begin(account, instrument, text)
            self._sit()

    def _check_strategy(self, batch: Batch, offset: int, strategy: int, account: int, instrument: int) -> str:
        """Rule and parameters of a row that may run. Raises Refused."""
        name, rule, parameters = (text_of(batch, offset, column) for column in ("name", "rule", "parameters"))
        if instrument_id(name) != strategy:
            raise Refused(DeadReason.UNEXPECTED, f"strategy {name!r} has the id {instrument_id(name)}, not {strategy}")
        if not account or not instrument:
            raise Refused(DeadReason.OUT_OF_RANGE, f"strategy {name}: it has no account or no instrument")
        text = f"{rule}\n{parameters}"
        if len(text.encode()) > TEXT_BYTES_MAX:
            raise Refused(
                DeadReason.LIMIT, f"strategy {name}: rule and parameters are longer than {TEXT_BYTES_MAX} bytes"
            )
        try:
            self.rule.strategy(text)
        except ConfigInvalid as error:
            raise Refused(DeadReason.UNEXPECTED, f"strategy {name}: {error}") from None
        return text


class Seat:
    """A strategy's place in the state, and its `Context`."""

    def __init__(self, work: _Work, at: int) -> None:
        self._work, self._at = work, at
        self._own = work.rule.parameters
        state = work.state
        self.line: Line = _integers(state["strategies"][at])
        self._orders: Line = _integers(state["orders"][at])
        self._event_ns = 0
        self.now_ns = 0
        self.text = state["texts"][at, : self.line[TEXT_BYTES]].tobytes().decode()
        if self.text:
            self.strategy = work.rule.strategy(self.text)
            self.memory = _integers(state["memory"][at, : self.strategy.memory_size])
        self.quote = Quote._make(self.line[QUOTED:].tolist())
        self.read_rules()

    def read_rules(self) -> None:
        """The instrument's rules; zeros while they are not known."""
        table = self._work.rule.instruments
        at = table.find(self._work.state, int(self.line[ON]))
        self._rules = self._work.state["instruments"][at].tolist() if at >= 0 else [0] * (STATUS + 1)
        self.tick_size_e8, self.lot_size_e8 = self._rules[TICK], self._rules[LOT]

    def enter(self, event_ns: int, recv_ns: int) -> None:
        """A row about the strategy arrived; its clock does not go back."""
        self._event_ns = event_ns
        self.now_ns = max(recv_ns, int(self.line[NOW_NS]))
        self.line[NOW_NS] = self.now_ns

    def is_its(self, account: int, instrument: int) -> bool:
        return bool(self.line[ACCOUNT] == account and self.line[ON] == instrument)

    # --- coming and going ---

    def begin(self, account: int, instrument: int, text: str) -> None:
        """Start anew."""
        self._cancel_all()
        line, state, data = self.line, self._work.state, text.encode()
        if not self.is_its(account, instrument):
            line[POSITION_E8], line[IS_OWN] = 0, 0
        line[ACCOUNT], line[ON], line[ENABLED] = account, instrument, 1
        line[[QUOTES, TRADES, BARS, TRUSTED]] = 0
        line[QUOTED:] = 0
        line[WAKE_NS] = NEVER_NS
        line[TEXT_BYTES] = len(data)
        state["texts"][self._at] = 0
        state["texts"][self._at, : len(data)] = list(data)
        state["memory"][self._at] = 0

    def disable(self) -> None:
        self.line[ENABLED], self.line[TRUSTED], self.line[WAKE_NS] = 0, 0, NEVER_NS
        self._cancel_all()

    def _cancel_all(self) -> None:
        for order in self._live():
            self.cancel(int(order[TAG]))

    def look_after(self) -> None:
        """Forget requests that never showed an order; cancel again what a disabled strategy still has."""
        for order in self._live():
            if not order[ORDER_ID] and self.now_ns >= order[UNTIL_NS]:
                order[STATE] = OrderState.DENIED
                self._end(order)
                if self.line[ENABLED]:
                    self.strategy.on_order(self, _view(order, self.now_ns))
            elif not self.line[ENABLED] and not self.cancel(int(order[TAG])):
                order[UNTIL_NS] = max(int(order[UNTIL_NS]), self.now_ns + self._own.answer_ns)
        self._check_later()

    def _check_later(self) -> None:
        """When to look after its orders next."""
        waits = [int(order[UNTIL_NS]) for order in self._live() if not order[ORDER_ID] or not self.line[ENABLED]]
        self.line[CHECK_NS] = max(min(waits), self.now_ns + WAKE_MIN_NS) if waits else NEVER_NS
        self._work.due_ns = min(self._work.due_ns, int(self.line[CHECK_NS]))

    # --- its orders ---

    def take_order(self, values: Values) -> None:
        (_, _, instrument, account, _, tag, order_id, side, price, quantity, filled, state, code, kind, time, flags) = (
            values
        )
        order = self._line_of(tag)
        if order is None:
            if state in TERMINAL_STATES or not 0 < tag <= self.line[TAGS]:
                return  # told already, or nobody of this life asked for it
            order = self._free()
            if order is None:
                return
            order[[TAG, SIDE, KIND, TIME, FLAGS]] = tag, side, kind, time, flags
            order[[ORDER_ACCOUNT, ORDER_ON, ORDER_ID]] = account, instrument, order_id
            order[[FILLS, DONE]] = filled  # what was filled has its fill rows: they are, or will be, in the position
        if not order[ORDER_ID]:
            order[ORDER_ID] = order_id
            early = self._work.state["early"][self._at]
            order[FILLS] = order[DONE] = early[early[:, 0] == order_id, 1].sum()
        was_amended = order[CHANGE] == RequestAction.AMEND and (order[PRICE], order[QUANTITY]) != (price, quantity)
        order[[PRICE, QUANTITY, FILLED, STATE, CODE]] = price, quantity, filled, state, code
        pending = state in (OrderState.PENDING_AMEND, OrderState.PENDING_CANCEL)
        if code or was_amended or pending or state in TERMINAL_STATES:
            order[CHANGE] = 0  # it has shown
        self._count(order, filled)
        was_live = not order[ENDED]
        if state not in TERMINAL_STATES:
            order[ENDED] = 0  # it may have risen
        elif was_live:
            self._end(order)
        if self.line[ENABLED] and (was_live or not order[ENDED]):
            self.strategy.on_order(self, _view(order, self.now_ns))
        elif not self.line[ENABLED]:
            self.cancel(tag)
        self._check_later()

    def take_fill(self, order_id: int, fill: Fill) -> None:
        for order in self._orders:
            if order[TAG] and order[ORDER_ID] == order_id:
                order[FILLS] += fill.quantity_e8
                self._count(order, int(order[FILLS]))
                break
        else:
            early = self._work.state["early"][self._at]
            early[self.line[EARLY_FILLS] % EARLY] = order_id, fill.quantity_e8
            self.line[EARLY_FILLS] += 1
            self._move(fill.quantity_e8 if fill.side == Side.BUY else -fill.quantity_e8)
        if self.line[ENABLED]:
            self.strategy.on_fill(self, fill)

    def take_position(self, position: Position) -> None:
        if not self.line[IS_OWN]:
            self.line[POSITION_E8] = position.quantity_e8
        if self.line[ENABLED]:
            self.strategy.on_position(self, position)

    def _count(self, order: Line, filled_e8: int) -> None:
        """So much of an order is known to be filled; what is new goes into the position."""
        fresh = filled_e8 - int(order[DONE])
        if fresh > 0:
            order[DONE] = filled_e8
            if self.is_its(int(order[ORDER_ACCOUNT]), int(order[ORDER_ON])):
                self._move(fresh if order[SIDE] == Side.BUY else -fresh)

    def _move(self, quantity_e8: int) -> None:
        self.line[IS_OWN] = 1
        self.line[POSITION_E8] = max(-I64_MAX, min(I64_MAX, int(self.line[POSITION_E8]) + quantity_e8))

    def _end(self, order: Line) -> None:
        self.line[ENDS] += 1
        order[ENDED] = self.line[ENDS]

    def _live(self) -> list[Line]:
        return [order for order in self._orders if order[TAG] and not order[ENDED]]

    def _line_of(self, tag: int) -> Line | None:
        found: Line | None = next((order for order in self._orders if order[TAG] == tag and tag), None)
        return found

    def _free(self) -> Line | None:
        """A line for a new order, zeros: a free one, or that of the order that ended longest ago."""
        ended = [order for order in self._orders if not order[TAG] or order[ENDED]]
        if not ended:
            return None
        line: Line = min(ended, key=lambda order: int(order[ENDED]))
        line[:] = 0
        return line

    # --- the Context ---

    @property
    def is_trusted(self) -> bool:
        return bool(self.line[TRUSTED])

    @property
    def is_warm(self) -> bool:
        warm = self.strategy.warm_up
        return bool(
            self.line[QUOTES] >= warm.quotes and self.line[TRADES] >= warm.trades and self.line[BARS] >= warm.bars
        )

    @property
    def position_e8(self) -> int:
        return int(self.line[POSITION_E8])

    def order(self, tag: int) -> Order | None:
        order = self._line_of(tag)
        return None if order is None or order[ENDED] else _view(order, self.now_ns)

    def orders(self) -> Sequence[Order]:
        return sorted(_view(order, self.now_ns) for order in self._live())

    def place(
        self,
        side: Side,
        quantity_e8: int,
        price_e8: int = 0,
        *,
        kind: OrderKind = OrderKind.LIMIT,
        time_in_force: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
    ) -> int:
        price, quantity = self._fitting(side, kind, price_e8, quantity_e8)
        order = self._free() if quantity and self.line[ENABLED] else None
        if order is None:
            return 0
        self.line[TAGS] += 1
        self.line[IS_OWN] = 1
        tag = int(self.line[TAGS])
        flags = OrderFlag.POST_ONLY * post_only | OrderFlag.REDUCE_ONLY * reduce_only
        order[[TAG, SIDE, PRICE, QUANTITY, KIND, TIME, FLAGS]] = tag, side, price, quantity, kind, time_in_force, flags
        order[[ORDER_ACCOUNT, ORDER_ON, UNTIL_NS]] = self.line[ACCOUNT], self.line[ON], self._until_ns()
        self._ask(RequestAction.NEW, order, price, quantity)
        self._check_later()
        return tag

    def reach(self, position_e8: int) -> int:
        missing = position_e8 - self.position_e8
        side = Side.BUY if missing > 0 else Side.SELL
        return 0 if self._live() else self.place(side, abs(missing), kind=OrderKind.MARKET)

    def amend(self, tag: int, price_e8: int, quantity_e8: int) -> bool:
        order = self._line_of(tag)
        if order is None or order[ENDED] or not _view(order, self.now_ns).is_settled:
            return False
        price, quantity = self._fitting(Side(order[SIDE]), OrderKind(order[KIND]), price_e8, quantity_e8)
        same = price == order[PRICE] and quantity == order[QUANTITY]
        if quantity <= order[FILLED] or same:
            return False
        order[[CHANGE, UNTIL_NS]] = RequestAction.AMEND, self._until_ns()
        self._ask(RequestAction.AMEND, order, price, quantity)
        return True

    def cancel(self, tag: int) -> bool:
        order = self._line_of(tag)
        if order is None or order[ENDED] or order[STATE] == OrderState.PENDING_CANCEL:
            return False
        if order[CHANGE] == RequestAction.CANCEL and self.now_ns < order[UNTIL_NS]:
            return False
        order[CHANGE] = RequestAction.CANCEL
        if order[ORDER_ID]:
            order[UNTIL_NS] = self._until_ns()
        self._ask(RequestAction.CANCEL, order, int(order[PRICE]), int(order[QUANTITY]))
        self._check_later()
        return True

    def wake(self, delay_ns: int) -> None:
        self.line[WAKE_NS] = min(self.now_ns + max(delay_ns, WAKE_MIN_NS), TIME_MAX_NS)
        self._work.due_ns = min(self._work.due_ns, int(self.line[WAKE_NS]))

    # --- asking ---

    def _until_ns(self) -> int:
        return self.now_ns + self._own.answer_ns

    def _fitting(self, side: Side, kind: OrderKind, price_e8: int, quantity_e8: int) -> tuple[int, int]:
        """Price on a tick, quantity in lots; (0, 0) for what must not be asked for."""
        rules = self._rules
        if not self.is_trusted or not self.is_warm or rules[STATUS] != InstrumentStatus.TRADING:
            return 0, 0
        if rules[TICK] <= 0 or rules[LOT] <= 0 or kind not in (OrderKind.LIMIT, OrderKind.MARKET):
            return 0, 0
        bounds = [rules[QUANTITY_MAX] or I64_MAX]
        if kind is OrderKind.MARKET:
            price = 0
            worth_at = self.quote.ask_price_e8 if side is Side.BUY else self.quote.bid_price_e8
            bounds.append(rules[MARKET_QUANTITY_MAX] or I64_MAX)
        else:
            price = worth_at = _on_tick(price_e8, rules[TICK], rules[PRICE_MIN], up=side is Side.SELL)
            if not max(rules[PRICE_MIN], 1) <= price <= (rules[PRICE_MAX] or I64_MAX):
                return 0, 0
        quantity = min(quantity_e8, *bounds) // rules[LOT] * rules[LOT]
        is_enough = quantity * worth_at * rules[MULTIPLIER] >= rules[NOTIONAL_MIN] * ONE_E8 * ONE_E8
        if quantity < max(rules[QUANTITY_MIN], 1) or not worth_at or not is_enough:
            return 0, 0
        return price, quantity

    def _ask(self, action: RequestAction, order: Line, price_e8: int, quantity_e8: int) -> None:
        self._work.requests.append(
            (
                self._event_ns, self.now_ns, int(order[TAG]), price_e8, 0, quantity_e8, 0,
                self.now_ns + self._own.valid_for_ns, self._work.number, int(order[ORDER_ON]),
                int(order[ORDER_ACCOUNT]), int(self.line[ID]), int(order[SIDE]), int(order[KIND]), int(order[TIME]),
                int(order[FLAGS]), int(action), 0, 0, 0,
            )
        )  # fmt: skip


def _integers(array: npt.NDArray[Any]) -> Line:
    """The same memory; rules' arrays have no dtype for the type checker."""
    assert array.dtype == np.int64
    return array


def _on_tick(price_e8: int, tick_e8: int, origin_e8: int, *, up: bool) -> int:
    """The next price on the instrument's ticks, which count from its lowest price."""
    steps, rest = divmod(price_e8 - origin_e8, tick_e8)
    return origin_e8 + (steps + (up and rest > 0)) * tick_e8


def _view(order: Line, now_ns: int) -> Order:
    tag, side, price, quantity, filled, state, change, until_ns, code = order[: CODE + 1].tolist()
    return Order(tag, Side(side), price, quantity, filled, OrderState(state), bool(change and now_ns < until_ns), code)
