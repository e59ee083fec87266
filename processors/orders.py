"""Rule `orders`: decisions and venue reports → orders, commands to the gateway, fills.

The life of an order is the table in `processors/order_transitions.py`. Which of its events an input is, and what an
event changes, is `processors/kernels/orders.py`; this file reads the parameters, gives the kernels memory and timers,
picks the orders of a CANCEL_ALL, and finds words for what was put aside.

Orders that are not ours are known by the venue's order id, negative: our own ids are above 0. `code` of an order row
is the venue's error code, which is below 0, or an `OrderCode` of ours.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from processors.api import Batch, Outputs, Parameters, State
from processors.kernels import order_lines as lines
from processors.kernels import orders as kernel
from processors.kernels.order_lines import Memory
from processors.kernels.pairs import enter_pairs, find_pair
from processors.order_transitions import EVENTS, NOT_YET, STATES, OrderEvent, effect_array, transition_array
from processors.parameters import check_range, read_parameters
from processors.words import index_size
from schemas.address import NO_ORIGIN
from schemas.declare import Event, Rows
from schemas.events import DeadReason
from schemas.money import format_e8
from schemas.trading import (
    DECISION,
    FILL,
    ORDER,
    ORDER_COMMAND,
    TERMINAL_STATES,
    VENUE_REPORT,
    OrderState,
    ReportKind,
    RequestAction,
)

REPORT_INPUT, DECISION_INPUT = 0, 1
ORDER_OUTPUT, COMMAND_OUTPUT, FILL_OUTPUT = 0, 1, 2
ROWS_PER_CALL_MAX = 2048  # room for each output of one kernel call; the call is repeated when it is used up
DEAD_PER_CALL_MAX = 256
LINES_FIRST, FILLS_FIRST = 64, 256  # memory doubles from here
MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000 * MILLISECOND_NS
HOUR_NS = 3_600 * SECOND_NS
DAY_NS = 24 * HOUR_NS

_FAULTS: Mapping[int, str] = {
    lines.BAD_REPORT: "report {report} is unknown",
    lines.BAD_SIDE: "side {side} or maker {maker} is unknown",
    lines.BAD_TIME: "time {ts_event_ns}, {ts_recv_ns} or {expires_ns} ns is not between 1970 and 2116",
    lines.BAD_ID: "order id {order_id} with venue order id {venue_order_id} names no order",
    lines.BAD_FILL: "a fill of {quantity} at {price} with trade id {trade_id}; all must be above 0",
    lines.BAD_AMOUNT: "no order has price {price}, stop price {stop_price}, quantity {quantity}, filled {filled}",
    lines.BAD_STATUS: "a status of state {state} with {filled} filled",
    lines.BAD_ACTION: "action {action} is unknown",
    lines.BAD_KIND: "side {side}, kind {kind}, time in force {time_in_force} or flags {flags} is unknown",
    lines.TOO_MUCH: "with {quantity} at {price} the order's fills would be more than 92,233,720,368",
    lines.MISMATCH: "a report of order {order_id} names instrument {instrument}, account {account}, side {side}; "
    "the order has others",
    lines.NO_ROOM: "order {order_id}: {open_max} orders are open (open_orders_max); it is not taken",
    lines.NO_ORDER: "order {order_id} is not among those that are open or remembered",
}


_NUMBERS = (
    "order_id", "venue_order_id", "trade_id", "ts_event_ns", "ts_recv_ns", "expires_ns", "instrument", "account",
    "side", "maker", "report", "state", "action", "kind", "time_in_force", "flags",
)  # fmt: skip


class OrderCode(enum.IntEnum):
    """What `code` of an order row says when the venue did not say it."""

    ABSENT = lines.OUR_ABSENT  # the venue never had it, or has forgotten it, and it is not sent again
    STALE = lines.OUR_STALE  # decided, or to be changed, after its own validity
    FULL = lines.OUR_FULL  # as many orders are open as the rule may hold
    DENIED = lines.OUR_DENIED  # risk denied the change; the order stays as it is


@dataclass(frozen=True)
class OrdersParameters:
    """Bounds and intervals.

    Attributes:
        open_orders_max: orders that are not over; one more is refused.
        ended_orders_max: orders that are over and remembered for late reports; a ring.
        fills_remembered: counted fills that are known again; a ring.
        answer_timeout_ns: what has no answer by then, or is immediate and still rests, is asked about.
        query_interval_ns: first interval between two queries of one order; it doubles …
        query_interval_max_ns: … up to this.
        command_validity_ns: how long a cancel may be on its way before the gateway drops it.
        absent_after_ns: an order sent again is absent only so long after it was sent: before, the answer may speak of
            the attempt before. Not below the venue's receive window.
        attempts_max: how often one order is sent at most.
        day_end_ns: when the venue's day ends, after midnight UTC; DAY orders are cancelled then.
        gtd_by_venue: the venue ends GTD orders itself; else they are cancelled at their end.
    """

    open_orders_max: int = 8192
    ended_orders_max: int = 8192
    fills_remembered: int = 1 << 16
    answer_timeout_ns: int = 10 * SECOND_NS
    query_interval_ns: int = SECOND_NS
    query_interval_max_ns: int = 64 * SECOND_NS
    command_validity_ns: int = 5 * SECOND_NS
    absent_after_ns: int = 5 * SECOND_NS
    attempts_max: int = 3
    day_end_ns: int = 0
    gtd_by_venue: bool = False

    def __post_init__(self) -> None:
        for name in ("open_orders_max", "ended_orders_max", "fills_remembered"):
            check_range("orders", name, getattr(self, name), 1, 1 << 20)
        for name in ("answer_timeout_ns", "query_interval_ns", "query_interval_max_ns", "command_validity_ns"):
            check_range("orders", name, getattr(self, name), MILLISECOND_NS, HOUR_NS)
        check_range("orders", "absent_after_ns", self.absent_after_ns, 0, HOUR_NS)
        check_range("orders", "attempts_max", self.attempts_max, 1, 255)
        check_range("orders", "day_end_ns", self.day_end_ns, 0, DAY_NS - 1)


class Standing(NamedTuple):
    """An order as the state has it."""

    state: OrderState
    quantity_e8: int
    filled_e8: int
    filled_notional_e8: int
    price_e8: int


class _Scratch:
    """What a kernel writes into before it is emitted; nothing in it means anything after a call."""

    def __init__(self) -> None:
        self.out = kernel.Answers(
            ORDER.empty(ROWS_PER_CALL_MAX),
            ORDER_COMMAND.empty(ROWS_PER_CALL_MAX),
            FILL.empty(ROWS_PER_CALL_MAX),
            np.zeros((DEAD_PER_CALL_MAX, 3), dtype=np.int64),
        )
        self.cursor = np.zeros(kernel.CURSOR, dtype=np.int64)

    def emit(self, out: Outputs) -> int:
        """Emit what a kernel wrote. Returns where it stopped."""
        at, orders, commands, fills, _ = self.cursor.tolist()
        for output, rows, count in (
            (ORDER_OUTPUT, self.out.orders, orders),
            (COMMAND_OUTPUT, self.out.commands, commands),
            (FILL_OUTPUT, self.out.fills, fills),
        ):
            if count:
                out.emit(output, rows[:count].copy())
        return int(at)


class Orders:
    """The processor. All state is in the arrays described in `processors/kernels/order_lines.py`."""

    name = "orders"
    version = 1
    inputs: tuple[Event, ...] = (VENUE_REPORT, DECISION)
    outputs: tuple[Event, ...] = (ORDER, ORDER_COMMAND, FILL)

    def __init__(self, parameters: OrdersParameters | None = None) -> None:
        self.parameters = parameters or OrdersParameters()
        self._rules = kernel.Rules(transition_array(), effect_array(), _settings(self.parameters))
        self._idle: list[_Scratch] = []

    @classmethod
    def make(cls, parameters: Parameters) -> Orders:
        """From parameters by name; raises ConfigInvalid."""
        return cls(read_parameters(OrdersParameters, parameters, cls.name))

    def initial_state(self) -> State:
        marks = np.zeros(lines.MARKS, dtype=np.int64)
        marks[lines.USED], marks[lines.BOUND_NS] = lines.PASSING + 1, lines.NEVER_NS
        given = self.parameters
        return {
            **_order_arrays(min(LINES_FIRST, _lines_max(given))),
            **_fill_arrays(min(FILLS_FIRST, given.fills_remembered)),
            "ended": np.zeros(given.ended_orders_max, dtype=np.int64),
            "marks": marks,
            "steps": np.zeros((STATES, EVENTS), dtype=np.int64),
        }

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        rows = _readable(batch.rows)
        take = kernel.take_reports if batch.input == REPORT_INPUT else kernel.take_decisions
        scratch = self._idle.pop() if self._idle else _Scratch()
        memory = _memory(state)
        at, status = 0, kernel.FULL
        while status != kernel.DONE:
            status = take(rows, batch.row_first, at, memory, self._rules, scratch.out, scratch.cursor)
            at = scratch.emit(out)
            for row, reason, fault in scratch.out.dead[: scratch.cursor[kernel.DEAD]].tolist():
                self._put_aside(batch, row, DeadReason(reason), fault, out)
            if status == kernel.TIMER_DUE:
                self._fire(memory, int(rows["ts_recv_ns"][at]), scratch, out)
            elif status == kernel.LINES_WANTED:
                self._grow(state)
                memory = _memory(state)
            elif status == kernel.CANCEL_ALL:
                self._cancel_all(memory, rows, batch.row_first, at, scratch, out)
                at += 1
        # Between calls the bound is exact: what it was on the way depends on when timers were asked to fire.
        memory.marks[lines.BOUND_NS] = kernel.earliest_deadline(memory)
        self._idle.append(scratch)

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        scratch = self._idle.pop() if self._idle else _Scratch()
        self._fire(_memory(state), now_ns, scratch, out)
        self._idle.append(scratch)

    def next_deadline_ns(self, state: State) -> int:
        return int(kernel.earliest_deadline(_memory(state)))

    def warm(self) -> None:
        """Run a few rows through every kernel."""
        rule = Orders()
        state = rule.initial_state()
        decisions, reports = DECISION.empty(3), VENUE_REPORT.empty(2)
        for rows in (decisions, reports):
            rows["order_id"], rows["quantity_e8"], rows["price_e8"] = 1, 1, 1
        decisions["action"] = [RequestAction.NEW, RequestAction.CANCEL_ALL, RequestAction.CANCEL]
        reports["report"], reports["trade_id"] = [ReportKind.SENT, ReportKind.FILL], 1
        decisions["valid_until_ns"] = 1
        for number, rows in ((DECISION_INPUT, decisions), (REPORT_INPUT, reports)):
            rule.on_batch(state, Batch(number, NO_ORIGIN, 1, rows), Outputs(self.outputs))
        rule._grow(state)
        rule.on_time(state, DAY_NS, Outputs(self.outputs))
        rule.next_deadline_ns(state)
        standing(state, 1)

    def _fire(self, memory: Memory, now_ns: int, scratch: _Scratch, out: Outputs) -> None:
        """Fire due timers. Their rows have no cause, whoever called."""
        origin, out.origin = out.origin, NO_ORIGIN
        status = kernel.FULL
        while status != kernel.DONE:
            status = kernel.fire_due(now_ns, memory, self._rules, scratch.out, scratch.cursor)
            scratch.emit(out)
        out.origin = origin

    def _cancel_all(self, memory: Memory, rows: Rows, row_first: int, i: int, scratch: _Scratch, out: Outputs) -> None:
        """Cancel what decision `i` names, in the order of ids."""
        chosen, at = _chosen(memory, rows[i]), 0
        while at < len(chosen):
            kernel.cancel_all(rows, row_first, i, chosen, at, memory, self._rules, scratch.out, scratch.cursor)
            at = scratch.emit(out)

    def _grow(self, state: State) -> None:
        """Twice the memory of what is used up, within the bounds."""
        marks = state["marks"]
        if marks[lines.SEEN] == len(state["seen"]) < self.parameters.fills_remembered:
            larger = _fill_arrays(min(2 * len(state["seen"]), self.parameters.fills_remembered))
            larger["seen"][: len(state["seen"])] = state["seen"]
            enter_pairs(larger["seen_places"], larger["seen"], len(state["seen"]))
            state.update(larger)
        if marks[lines.USED] == len(state["orders"]) < _lines_max(self.parameters):
            used = len(state["orders"])
            larger = _order_arrays(min(2 * used, _lines_max(self.parameters)))
            for name in ("orders", "deadlines", "free"):
                larger[name][:used] = state[name]
            enter_pairs(larger["places"], larger["orders"], used)
            state.update(larger)

    def _put_aside(self, batch: Batch, at: int, reason: DeadReason, fault: int, out: Outputs) -> None:
        row = batch.rows[at]
        names = set(row.dtype.names or ())
        values = {name: int(row[name]) if name in names else 0 for name in _NUMBERS}
        values["open_max"] = self.parameters.open_orders_max
        amounts = {
            name: format_e8(int(row[f"{name}_e8"])) if f"{name}_e8" in names else "0"
            for name in ("price", "stop_price", "quantity", "filled")
        }
        out.put_aside(
            reason,
            batch.row_first + at,
            _FAULTS[fault].format(**values, **amounts),
            ts_recv_ns=int(row["ts_recv_ns"]),
            instrument=int(row["instrument"]),
            payload=_payload(row, batch),
        )


def _payload(row: np.void, batch: Batch) -> bytes:
    """The row, and behind it the text that it points to."""
    row = row.copy()
    text = b""
    if "text_at" in (row.dtype.names or ()):
        at, size = int(row["text_at"]), int(row["text_size"])
        text, row["text_at"] = batch.heap[at : at + size].tobytes(), row.dtype.itemsize
    return row.tobytes() + text


def _settings(given: OrdersParameters) -> npt.NDArray[np.int64]:
    settings = np.zeros(lines.SETTINGS, dtype=np.int64)
    settings[lines.OPEN_MAX], settings[lines.LINES_MAX] = given.open_orders_max, _lines_max(given)
    settings[lines.SEEN_MAX] = given.fills_remembered
    settings[lines.ANSWER_TIMEOUT_NS] = given.answer_timeout_ns
    settings[lines.QUERY_INTERVAL_NS] = given.query_interval_ns
    settings[lines.QUERY_INTERVAL_MAX_NS] = max(given.query_interval_max_ns, given.query_interval_ns)
    settings[lines.COMMAND_VALIDITY_NS] = given.command_validity_ns
    settings[lines.ABSENT_AFTER_NS] = given.absent_after_ns
    settings[lines.ATTEMPTS_MAX] = given.attempts_max
    settings[lines.DAY_END_NS] = given.day_end_ns
    settings[lines.GTD_BY_VENUE] = given.gtd_by_venue
    return settings


def _lines_max(given: OrdersParameters) -> int:
    """Open and remembered orders, and the line of those that pass."""
    return given.open_orders_max + given.ended_orders_max + 1


def _order_arrays(count: int) -> State:
    return {
        "orders": np.zeros((count, lines.ORDER_COLUMNS), dtype=np.int64),
        "deadlines": np.full((count, 2), lines.NEVER_NS, dtype=np.int64),
        "free": np.zeros(count, dtype=np.int64),
        "places": np.zeros(index_size(count), dtype=np.int64),
    }


def _fill_arrays(count: int) -> State:
    return {
        "seen": np.zeros((count, 2), dtype=np.int64),
        "seen_places": np.zeros(index_size(count), dtype=np.int64),
    }


def _memory(state: State) -> Memory:
    return Memory(*(state[name] for name in Memory._fields))


def _readable(rows: Rows) -> Rows:
    """The rows as one read-only array: numba compiles one version of a kernel for all callers."""
    rows = np.ascontiguousarray(rows)[:]
    rows.flags.writeable = False  # of this view; the rows stay as they are
    return rows


def _is_open(orders: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    over = [int(state) for state in (*TERMINAL_STATES, NOT_YET)]
    open_: npt.NDArray[np.bool_] = (orders[:, lines.ID] != 0) & ~np.isin(orders[:, lines.STATE], over)
    return open_


def _chosen(memory: Memory, decision: np.void) -> npt.NDArray[np.int64]:
    """Lines of the open orders that a CANCEL_ALL names and no cancel is wanted of yet. 0 names every one."""
    orders = memory.orders[: memory.marks[lines.USED]]
    hit = _is_open(orders) & (orders[:, lines.CANCEL_WANTED] == 0)
    hit &= orders[:, lines.ACCOUNT] == int(decision["account"])
    for name, column in (("strategy", lines.STRATEGY), ("instrument", lines.INSTRUMENT)):
        if int(decision[name]):
            hit &= orders[:, column] == int(decision[name])
    chosen = np.flatnonzero(hit).astype(np.int64)
    return chosen[np.argsort(orders[chosen, lines.ID])]


def standing(state: State, order_id: int) -> Standing | None:
    """An order that is open or remembered; None for any other."""
    k = int(find_pair(state["places"], state["orders"], order_id, 0))
    if k < 0:
        return None
    row = state["orders"][k].tolist()
    return Standing(
        OrderState(row[lines.STATE]),
        row[lines.QUANTITY],
        row[lines.FILLED],
        row[lines.NOTIONAL],
        row[lines.PRICE],
    )


def open_orders(state: State) -> list[int]:
    """Ids of the orders that are not over, ascending; those below 0 are not ours."""
    orders = state["orders"][: int(state["marks"][lines.USED])]
    return sorted(int(order_id) for order_id in orders[_is_open(orders), lines.ID])


def steps_taken(state: State) -> dict[tuple[int, OrderEvent], int]:
    """How often each cell of the table was taken: (state, event) → times; cells never taken are left out."""
    taken = state["steps"]
    return {(int(s), OrderEvent(int(e))): int(taken[s, e]) for s, e in np.argwhere(taken)}
