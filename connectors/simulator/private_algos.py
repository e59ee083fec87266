"""Conditional orders: they wait outside the book, and become normal orders when their trigger price is met."""

from __future__ import annotations

from collections.abc import Callable

from connectors.simulator.private_account import Account
from connectors.simulator.private_desk import Desk
from connectors.simulator.private_errors import refusal
from connectors.simulator.private_order_documents import algo_update
from connectors.simulator.private_orders import AlgoOrder, VenueOrder
from connectors.simulator.private_tickets import AlgoTicket, Ticket
from connectors.simulator.rest import Refused
from schemas.events import Side

FIRST_ALGO = 4_000_000_000
OPEN_MAX = 200  # per account
KEPT_MAX = 10_000  # orders that are over and can still be asked for
OPEN_STATES = ("NEW", "TRIGGERING", "TRIGGERED")


class Algos:
    """Conditional orders of all accounts.

    Args:
        desk: where triggered orders go.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._numbers = FIRST_ALGO
        self._all: dict[int, AlgoOrder] = {}
        self._waiting: dict[str, dict[int, AlgoOrder]] = {}  # by symbol: those in state NEW
        self._by_order: dict[int, AlgoOrder] = {}
        self._last_e8: dict[str, int] = {}
        desk.on_end = self.order_ended

    def all(self) -> list[AlgoOrder]:
        """Every one that is remembered, whatever became of it."""
        return list(self._all.values())

    def open_orders(self, account: Account, symbol: str = "") -> list[AlgoOrder]:
        """Those that wait for their trigger."""
        return [
            algo
            for waiting in self._waiting.values()
            for algo in waiting.values()
            if algo.owner == account.number and symbol in ("", algo.listed.symbol)
        ]

    def find(self, account: Account, number: int, client_id: str) -> AlgoOrder:
        """Raises Refused (-2013): no such conditional order."""
        found = self._all.get(number)
        if not number:
            found = next((algo for algo in reversed(self._all.values()) if algo.client_id == client_id), None)
        if found is None or found.owner != account.number:
            raise refusal(-2013)
        return found

    def submit(self, account: Account, ticket: AlgoTicket) -> AlgoOrder:
        """Accept a conditional order. Margin is not looked at before the trigger.

        Raises:
            Refused: -2021 it would trigger at once, -4045 too many, -4116 the client id is in use.
        """
        mine = self.open_orders(account)
        if len(mine) >= OPEN_MAX:
            raise refusal(-4045)
        if any(algo.client_id == ticket.client_id for algo in mine):
            raise refusal(-4116)
        symbol = ticket.listed.symbol
        is_stop = ticket.kind.startswith("STOP")
        triggers_up = (ticket.side is Side.BUY) == is_stop
        price_e8 = self._price_e8(symbol, ticket.working_type)
        if price_e8 and _is_met(triggers_up, price_e8, ticket.trigger_e8):
            raise refusal(-2021)
        self._numbers += 1
        algo = AlgoOrder(
            self._numbers, account.number, ticket.listed, ticket.client_id or f"algo-{self._numbers}", ticket.side,
            ticket.kind, ticket.time_in_force, ticket.trigger_e8, ticket.price_e8, ticket.quantity_e8,
            self._desk.now_ms, triggers_up, ticket.working_type, ticket.is_reduce_only, ticket.is_close_position,
            ticket.prevention, ticket.good_till_ms,
        )  # fmt: skip
        self._all[algo.number] = algo
        self._waiting.setdefault(symbol, {})[algo.number] = algo
        self._forget_old()
        self._tell(algo)
        return algo

    def _price_e8(self, symbol: str, working_type: str) -> int:
        """The price that a trigger looks at; without any print so far the mark stands in for the last price."""
        mark_e8 = self._desk.mark_e8(symbol)
        return mark_e8 if working_type == "MARK_PRICE" else self._last_e8.get(symbol, mark_e8)

    def _forget_old(self) -> None:
        while len(self._all) > KEPT_MAX:
            oldest = next((algo.number for algo in self._all.values() if algo.status not in OPEN_STATES), None)
            if oldest is None:
                return
            del self._all[oldest]

    def cancel(self, algo: AlgoOrder) -> None:
        """Raises Refused (-2011): it does not wait any more."""
        if algo.status != "NEW":
            raise refusal(-2011)
        self._leave(algo, "CANCELED")

    def cancel_all(self, account: Account, symbol: str) -> None:
        for algo in self.open_orders(account, symbol):
            self._leave(algo, "CANCELED")

    def expire(self, now_ms: int) -> None:
        """End those whose time has come."""
        for waiting in self._waiting.values():
            for algo in [algo for algo in waiting.values() if 0 < algo.good_till_ms <= now_ms]:
                self._leave(algo, "EXPIRED")

    def _leave(self, algo: AlgoOrder, status: str) -> None:
        self._waiting[algo.listed.symbol].pop(algo.number, None)
        self._become(algo, status)

    def _become(self, algo: AlgoOrder, status: str) -> None:
        algo.status, algo.updated_ms = status, self._desk.now_ms
        self._tell(algo)

    def _tell(self, algo: AlgoOrder) -> None:
        self._desk.tell(self._desk.accounts[algo.owner], algo_update(algo, self._desk.now_ms))

    # ---- what the market does

    def traded(self, symbol: str, tick: int) -> None:
        price_e8 = tick * self._desk.listed[symbol].tick_e8
        self._last_e8[symbol] = price_e8
        if self._waiting.get(symbol):
            self._trigger(symbol, lambda algo: algo.working_type == "CONTRACT_PRICE", price_e8)

    def moved(self, symbol: str) -> None:
        if self._waiting.get(symbol):
            self._trigger(symbol, lambda algo: algo.working_type == "MARK_PRICE", self._desk.mark_e8(symbol))

    def _trigger(self, symbol: str, looks_here: Callable[[AlgoOrder], bool], price_e8: int) -> None:
        for algo in list(self._waiting[symbol].values()):
            if looks_here(algo) and algo.status == "NEW" and _is_met(algo.triggers_up, price_e8, algo.trigger_e8):
                self._fire(algo)

    def _fire(self, algo: AlgoOrder) -> None:
        """The trigger is met: a normal order appears under the same client id, or it is rejected."""
        account = self._desk.accounts[algo.owner]
        algo.triggered_ms = self._desk.now_ms
        self._leave(algo, "TRIGGERING")
        quantity_e8 = algo.quantity_e8
        if algo.is_close_position:
            quantity_e8 = abs(account.position(algo.listed.symbol).amount_e8)
        ticket = Ticket(
            algo.listed, algo.side, "MARKET" if algo.kind.endswith("MARKET") else "LIMIT", algo.time_in_force,
            quantity_e8, algo.price_e8, algo.client_id, algo.is_reduce_only, algo.prevention, algo.good_till_ms,
        )  # fmt: skip
        try:
            if not quantity_e8:
                raise refusal(-2022)
            order = self._desk.submit(account, ticket, original_kind=algo.kind, stop_price_e8=algo.trigger_e8)
        except Refused as refused:
            algo.reason = refused.message
            self._become(algo, "REJECTED")
            return
        algo.order = order
        self._become(algo, "TRIGGERED")
        if order.is_open:
            self._by_order[order.number] = algo
        else:
            self._become(algo, "FINISHED")

    def order_ended(self, order: VenueOrder) -> None:
        """The order that a conditional order became is over."""
        algo = self._by_order.pop(order.number, None)
        if algo is not None:
            self._become(algo, "FINISHED")


def _is_met(triggers_up: bool, price_e8: int, trigger_e8: int) -> bool:
    return price_e8 >= trigger_e8 if triggers_up else price_e8 <= trigger_e8
