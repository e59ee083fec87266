"""A venue and its gateway as plainly as can be: what is true of every order, whatever is heard of it and when.

The gateway's own words (`answers`) come one after the other; the venue's stream (`stream`) may be heard in any order,
twice, or not at all. Amounts are e8 integers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from schemas.declare import Rows
from schemas.trading import NOT_SAID, CommandKind, OrderState, ReportKind

Fate = Literal["fine", "unanswered", "lost", "refused"]
Report = dict[str, int]
DUPLICATE, NO_FUNDS, NO_SUCH = -4116, -2019, -2011
_ONE = 10**8


@dataclass
class Trade:
    trade_id: int
    price: int
    quantity: int

    @property
    def realised(self) -> int:
        """Some amount of either sign; now and then the venue does not say."""
        return NOT_SAID if self.trade_id % 5 == 0 else self.price % 19 - 9


@dataclass
class Truth:
    """An order at the venue."""

    price: int
    quantity: int
    venue_id: int
    state: OrderState = OrderState.OPEN
    trades: list[Trade] = field(default_factory=list)

    @property
    def filled(self) -> int:
        return sum(trade.quantity for trade in self.trades)

    @property
    def notional(self) -> int:
        """Every fill's own, rounded half to even."""
        return sum(_rounded(trade.price * trade.quantity) for trade in self.trades)

    @property
    def is_open(self) -> bool:
        return self.state in (OrderState.OPEN, OrderState.PARTIALLY_FILLED)


def _rounded(product: int) -> int:
    whole, rest = divmod(product, _ONE)
    return whole + (rest * 2 > _ONE or (rest * 2 == _ONE and whole % 2 == 1))


@dataclass
class PlainVenue:
    """Attributes:
    orders: by our id; only those that the venue accepted.
    accepted: how often it accepted each id.
    """

    who: Report
    orders: dict[int, Truth] = field(default_factory=dict)
    accepted: dict[int, int] = field(default_factory=dict)
    answers: deque[Report] = field(default_factory=deque)
    stream: list[Report] = field(default_factory=list)
    now_ns: int = 0
    last_id: int = 0

    def report(self, kind: ReportKind, order_id: int, **given: int) -> Report:
        self.last_id += 1  # the venue's clock: no two events at once
        known = {"venue_order_id": self.orders[order_id].venue_id} if order_id in self.orders else {}
        base = {"report": kind, "order_id": order_id, "filled_e8": -1, "ts_event_ns": self.now_ns + self.last_id}
        return self.who | base | known | given

    def command(self, row: Rows, fate: Fate) -> None:
        """What the gateway does with one command."""
        kind, order_id = CommandKind(int(row["command"])), int(row["order_id"])
        if kind == CommandKind.QUERY:
            self.query(order_id)
        elif int(row["valid_until_ns"]) < self.now_ns:
            if kind == CommandKind.SUBMIT:
                self.query(order_id)
        else:
            self.answers.append(self.report(ReportKind.SENT, order_id))
            act = {CommandKind.SUBMIT: self._submit, CommandKind.AMEND: self._amend, CommandKind.CANCEL: self._cancel}
            answer = None if fate == "lost" else act[kind](row, order_id, fate == "refused")
            if answer is None or fate == "unanswered":
                answer = self.report(ReportKind.UNKNOWN, order_id)
            self.answers.append(answer)

    def query(self, order_id: int) -> None:
        """The order's trades and its state; ABSENT when the venue never had it."""
        if order_id not in self.orders:
            self.answers.append(self.report(ReportKind.ABSENT, order_id))
            return
        truth = self.orders[order_id]
        self.answers.extend(self._fill(order_id, trade, -1) for trade in truth.trades)
        values = {"price_e8": truth.price, "quantity_e8": truth.quantity, "filled_e8": truth.filled}
        self.answers.append(self.report(ReportKind.STATUS, order_id, state=truth.state, **values))

    def trade(self, order_id: int, quantity: int, price: int, tell: bool) -> None:
        """Somebody trades with an open order; `tell`: the report has the cumulative quantity."""
        truth = self.orders[order_id]
        self.last_id += 1
        truth.trades.append(Trade(self.last_id, price, min(quantity, truth.quantity - truth.filled)))
        truth.state = OrderState.FILLED if truth.filled == truth.quantity else OrderState.PARTIALLY_FILLED
        self.stream.append(self._fill(order_id, truth.trades[-1], truth.filled if tell else -1))

    def _fill(self, order_id: int, trade: Trade, cumulative: int) -> Report:
        values = {"trade_id": trade.trade_id, "price_e8": trade.price, "quantity_e8": trade.quantity}
        values["realised_e8"] = trade.realised
        return self.report(ReportKind.FILL, order_id, filled_e8=cumulative, **values)

    def _submit(self, row: Rows, order_id: int, refused: bool) -> Report:
        if order_id in self.orders and self.orders[order_id].is_open:
            return self.report(ReportKind.REJECTED, order_id, code=DUPLICATE)
        if refused:
            return self.report(ReportKind.REJECTED, order_id, code=NO_FUNDS)
        self.last_id += 1
        self.accepted[order_id] = self.accepted.get(order_id, 0) + 1
        self.orders[order_id] = Truth(int(row["price_e8"]), int(row["quantity_e8"]), self.last_id)
        self.stream.append(self.report(ReportKind.ACKNOWLEDGED, order_id))
        return self.report(ReportKind.ACKNOWLEDGED, order_id)

    def _amend(self, row: Rows, order_id: int, refused: bool) -> Report:
        truth = self.orders[order_id]
        if refused or not truth.is_open:
            return self.report(ReportKind.AMEND_REJECTED, order_id, code=NO_SUCH)
        if int(row["quantity_e8"]) <= truth.filled:
            return self._end(order_id, OrderState.CANCELLED, ReportKind.CANCELLED)
        truth.price, truth.quantity = int(row["price_e8"]), int(row["quantity_e8"])
        amended = self.report(ReportKind.AMENDED, order_id, price_e8=truth.price, quantity_e8=truth.quantity)
        self.stream.append(amended)
        return amended

    def _cancel(self, row: Rows, order_id: int, refused: bool) -> Report:
        if refused or order_id not in self.orders or not self.orders[order_id].is_open:
            return self.report(ReportKind.CANCEL_REJECTED, order_id, code=NO_SUCH)
        return self._end(order_id, OrderState.CANCELLED, ReportKind.CANCELLED)

    def expire(self, order_id: int) -> None:
        self._end(order_id, OrderState.EXPIRED, ReportKind.EXPIRED)

    def _end(self, order_id: int, state: OrderState, kind: ReportKind) -> Report:
        truth = self.orders[order_id]
        truth.state = state
        ended = self.report(kind, order_id, filled_e8=truth.filled)
        self.stream.append(ended)
        return ended


SETTLES: dict[CommandKind, frozenset[ReportKind]] = {
    CommandKind.SUBMIT: frozenset(
        set(ReportKind)
        - {ReportKind.SENT, ReportKind.UNKNOWN, ReportKind.AMEND_REJECTED, ReportKind.CANCEL_REJECTED}
    ),
    CommandKind.AMEND: frozenset(
        {ReportKind.AMENDED, ReportKind.AMEND_REJECTED, ReportKind.CANCELLED, ReportKind.EXPIRED, ReportKind.STATUS,
         ReportKind.ABSENT}
    ),
    CommandKind.CANCEL: frozenset(
        {ReportKind.CANCELLED, ReportKind.CANCEL_REJECTED, ReportKind.EXPIRED, ReportKind.STATUS, ReportKind.ABSENT}
    ),
}  # fmt: skip


@dataclass
class Heard:
    """What anybody who listens must know of one order: which command is not answered, which fills are missing."""

    unsettled: CommandKind | None = None
    wanted: tuple[int, int] = (0, 0)
    told: int = 0
    counted: dict[int, int] = field(default_factory=dict)  # trade id → quantity

    def hear(self, report: Report) -> None:
        kind = ReportKind(report["report"])
        if kind == ReportKind.FILL:
            self.counted[report["trade_id"]] = report["quantity_e8"]
        self.told = max(self.told, report["filled_e8"])
        if self.unsettled is None or kind not in SETTLES[self.unsettled]:
            return
        is_other = (report.get("price_e8"), report.get("quantity_e8")) != self.wanted
        if kind == ReportKind.AMENDED and self.unsettled == CommandKind.AMEND and is_other:
            return
        self.unsettled = None

    @property
    def misses_fills(self) -> bool:
        return self.told > sum(self.counted.values())

    def send(self, command: Rows) -> None:
        """Raises AssertionError when this must not be sent now."""
        kind = CommandKind(int(command["command"]))
        if kind == CommandKind.QUERY:
            return
        assert self.unsettled is None, f"{kind.name} while a {self.unsettled.name} is not answered"
        assert not self.misses_fills, f"{kind.name} while fills are missing"
        self.unsettled = kind
        self.wanted = int(command["price_e8"]), int(command["quantity_e8"])
