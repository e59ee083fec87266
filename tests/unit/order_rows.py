"""Decisions and venue reports for tests, and a desk that feeds them to the rule one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from processors.api import Batch, Outputs, State
from processors.orders import (
    COMMAND_OUTPUT,
    DECISION_INPUT,
    FILL_OUTPUT,
    ORDER_OUTPUT,
    REPORT_INPUT,
    Orders,
    OrdersParameters,
    Standing,
    standing,
)
from schemas.address import Origin
from schemas.declare import Event, Rows
from schemas.trading import (
    DECISION,
    VENUE_REPORT,
    Alarm,
    CommandKind,
    OrderKind,
    OrderState,
    ReportKind,
    RequestAction,
    TimeInForce,
)

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
ONE = 100_000_000
INSTRUMENT, ACCOUNT, STRATEGY = 7, 70, 700
ORIGINS = (Origin(30, 0, 5, 9), Origin(31, 0, 6, 9))


def decision(order_id: int = 1, **given: int) -> dict[str, int]:
    """An approved buy of 10 at 100 that rests; valid for five seconds from the start."""
    return {
        "order_id": order_id, "tag": 1000 + order_id, "price_e8": 100 * ONE, "quantity_e8": 10 * ONE,
        "valid_until_ns": START_NS + 5 * SECOND_NS, "instrument": INSTRUMENT, "account": ACCOUNT, "strategy": STRATEGY,
        "action": RequestAction.NEW, "kind": OrderKind.LIMIT, "time_in_force": TimeInForce.GTC,
    } | given  # fmt: skip


def report(kind: ReportKind, order_id: int = 1, **given: int) -> dict[str, int]:
    """What the venue says of an order; its cumulative quantity is not said."""
    return {
        "report": kind, "order_id": order_id, "venue_order_id": 5000 + order_id, "filled_e8": -1,
        "instrument": INSTRUMENT, "account": ACCOUNT, "strategy": STRATEGY,
    } | given  # fmt: skip


def fill(trade_id: int, quantity: int, order_id: int = 1, **given: int) -> dict[str, int]:
    """`quantity` whole units at 100."""
    given = {"price_e8": 100 * ONE, "quantity_e8": quantity * ONE, "trade_id": trade_id} | given
    return report(ReportKind.FILL, order_id, **given)


def status(state: OrderState, filled: int, order_id: int = 1, **given: int) -> dict[str, int]:
    """An answer to a query: `filled` whole units of 10 at 100."""
    given = {"price_e8": 100 * ONE, "quantity_e8": 10 * ONE, "filled_e8": filled * ONE, "state": state} | given
    return report(ReportKind.STATUS, order_id, **given)


def row_of(event: Event, values: dict[str, int]) -> Rows:
    row = event.empty(1)
    for name, value in values.items():
        row[name] = value
    return row


class Said(NamedTuple):
    """An order row, in short."""

    before: OrderState
    state: OrderState
    alarm: Alarm


@dataclass
class Desk:
    """The rule, its state and everything it said; every row comes a millisecond after the one before."""

    parameters: OrdersParameters = field(default_factory=OrdersParameters)
    now_ns: int = START_NS
    rows: int = 0

    def __post_init__(self) -> None:
        self.rule = Orders(self.parameters)
        self.state: State = self.rule.initial_state()
        self.out = Outputs(self.rule.outputs)

    def take(self, number: int, event: Event, values: dict[str, int]) -> Desk:
        self.now_ns += 1_000_000
        self.rows += 1
        row = row_of(event, {"ts_event_ns": self.now_ns, "ts_recv_ns": self.now_ns} | values)
        self.out.origin = ORIGINS[number]
        self.rule.on_batch(self.state, Batch(number, ORIGINS[number], self.rows, row), self.out)
        return self

    def decide(self, order_id: int = 1, **given: int) -> Desk:
        return self.take(DECISION_INPUT, DECISION, decision(order_id, **given))

    def change(self, action: RequestAction, order_id: int = 1, **given: int) -> Desk:
        valid = {"valid_until_ns": self.now_ns + 5 * SECOND_NS}
        return self.take(DECISION_INPUT, DECISION, decision(order_id, action=action, **(valid | given)))

    def amend(self, price: int, quantity: int, **given: int) -> Desk:
        return self.change(RequestAction.AMEND, price_e8=price * ONE, quantity_e8=quantity * ONE, **given)

    def cancel(self, order_id: int = 1, **given: int) -> Desk:
        return self.change(RequestAction.CANCEL, order_id, **given)

    def hear(self, *reports: dict[str, int]) -> Desk:
        for one in reports:
            self.take(REPORT_INPUT, VENUE_REPORT, one)
        return self

    def say(self, *kinds: ReportKind, order_id: int = 1) -> Desk:
        return self.hear(*(report(kind, order_id) for kind in kinds))

    def wait(self, seconds: float) -> Desk:
        self.now_ns += int(seconds * SECOND_NS)
        self.rule.on_time(self.state, self.now_ns, self.out)
        return self

    def emitted(self, output: int) -> Rows:
        parts = [one.rows for one in self.out.emitted if one.output == output]
        return np.concatenate(parts) if parts else self.rule.outputs[output].empty()

    @property
    def orders(self) -> Rows:
        return self.emitted(ORDER_OUTPUT)

    @property
    def fills(self) -> Rows:
        return self.emitted(FILL_OUTPUT)

    @property
    def commands(self) -> list[CommandKind]:
        return [CommandKind(kind) for kind in self.emitted(COMMAND_OUTPUT)["command"].tolist()]

    @property
    def command_rows(self) -> Rows:
        return self.emitted(COMMAND_OUTPUT)

    @property
    def said(self) -> list[Said]:
        names = self.orders[["before", "state", "alarm"]].tolist()
        return [Said(OrderState(before), OrderState(state), Alarm(alarm)) for before, state, alarm in names]

    @property
    def states(self) -> list[OrderState]:
        return [one.state for one in self.said]

    @property
    def alarms(self) -> list[Alarm]:
        return [one.alarm for one in self.said]

    def standing(self, order_id: int = 1) -> Standing | None:
        return standing(self.state, order_id)

    @property
    def now_is(self) -> int:
        """The state of order 1 (an int: a type checker would take one enum member for all that is asked later)."""
        found = self.standing()
        assert found is not None
        return int(found.state)

    @property
    def letters(self) -> list[str]:
        return [bytes(one.heap[: int(one.rows["detail_size"][0])]).decode() for one in self.out.dead]


# Ways into every state.
OPENED = (ReportKind.SENT, ReportKind.ACKNOWLEDGED)


def in_state(state: OrderState, parameters: OrdersParameters | None = None, **given: int) -> Desk:
    """A desk whose order 1 is in the state, on the usual way; PARTIALLY_FILLED, CANCELLED and EXPIRED with 3 filled."""
    desk = Desk(parameters or OrdersParameters()).decide(**given)
    if state == OrderState.NEW:
        return desk
    if state == OrderState.REJECTED:
        return desk.say(ReportKind.SENT, ReportKind.REJECTED)
    desk.say(ReportKind.SENT)
    if state in (OrderState.PENDING_SUBMIT, OrderState.UNKNOWN):
        return desk if state == OrderState.PENDING_SUBMIT else desk.say(ReportKind.UNKNOWN)
    desk.say(ReportKind.ACKNOWLEDGED)
    if state in (OrderState.PARTIALLY_FILLED, OrderState.CANCELLED, OrderState.EXPIRED):
        desk.hear(fill(900, 3))
    if state in (OrderState.CANCELLED, OrderState.EXPIRED):
        desk.say(ReportKind.CANCELLED if state == OrderState.CANCELLED else ReportKind.EXPIRED)
    if state == OrderState.FILLED:
        desk.hear(fill(900, 10))
    if state == OrderState.PENDING_AMEND:
        desk.amend(101, 12)
    if state == OrderState.PENDING_CANCEL:
        desk.cancel()
    return desk
