"""Orders and money of all accounts: what is accepted, what the market makes of it, and what everybody is told.

Synchronous and without I/O: time comes from the clock it is given, events go to `publish`. What a market does to
resting orders arrives through the methods of `MarketListener`.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from connectors.simulator.listing import E8, Listed
from connectors.simulator.matching import OrderKind, Outcome
from connectors.simulator.private_account import Account, Margin, OpenNotional, Position, scaled
from connectors.simulator.private_config import AccountConfig, PrivateRules
from connectors.simulator.private_documents import account_update
from connectors.simulator.private_errors import refusal
from connectors.simulator.private_event import Event
from connectors.simulator.private_market import Entered, Meeting, OrderMarket
from connectors.simulator.private_open import OpenOrders
from connectors.simulator.private_order_documents import order_update, trade_lite, trade_update
from connectors.simulator.private_orders import (
    FILLED,
    IMMEDIATE_REST,
    IMMEDIATE_SELF_TRADE,
    LIQUIDATION,
    NO_REASON,
    PARTIALLY_FILLED,
    REDUCE_ONLY,
    SELF_TRADE,
    Status,
    Sums,
    Trade,
    VenueOrder,
)
from connectors.simulator.private_tickets import (
    PERCENT_DOWN,
    PERCENT_UP,
    Ticket,
    check_notional,
    check_percent,
)
from connectors.simulator.rest import Refused
from schemas.events import Side
from streams.clock import Clock

MS_NS = 1_000_000
FIRST_ORDER = 8_000_000_000
CLOSED_MAX = 100_000  # orders that are over, and trades of an account, that can still be asked for
MODIFICATIONS_MAX = 10_000
RESTING, BUY = Outcome.RESTING, Side.BUY  # constants: members of an enum are looked up anew at every use
FLAT = Position()
CORE_KINDS = {
    "GTC": OrderKind.LIMIT,
    "GTD": OrderKind.LIMIT,
    "IOC": OrderKind.IMMEDIATE,
    "FOK": OrderKind.ALL_OR_NOTHING,
    "GTX": OrderKind.POST_ONLY,
}


class Funding(NamedTuple):
    """A funding payment; above 0: received."""

    symbol: str
    amount_e8: int
    time_ms: int


Publish = Callable[[Account, Event], None]


def nobody(order: VenueOrder) -> None:
    """Watches no order."""


class Desk:
    """The accounts' side of one venue.

    Args:
        listed: what is traded.
        market: where.
        accounts: who trades.
        rules: on which terms.
        clock: the venue's wall clock.
        publish: told every event of an account, in order.

    Attributes:
        on_end: told of every order that ends.
    """

    def __init__(
        self,
        listed: Iterable[Listed],
        market: OrderMarket,
        accounts: Iterable[AccountConfig],
        rules: PrivateRules,
        clock: Clock,
        publish: Publish,
    ) -> None:
        self.listed = {row.symbol: row for row in listed}
        self.rules = rules
        self.market = market
        self._clock = clock
        self._publish = publish
        self._random = random.Random(rules.seed)
        self.accounts = {number: Account(number, config, rules) for number, config in enumerate(accounts, 1)}
        self.orders: dict[int, VenueOrder] = {}
        self._open = OpenOrders(self.accounts)
        self.open = self._open.of
        self.trades: dict[int, deque[Trade]] = {number: deque(maxlen=CLOSED_MAX) for number in self.accounts}
        self._by_client: dict[tuple[int, str, str], VenueOrder] = {}
        self._closed: deque[VenueOrder] = deque()
        self._marks: dict[str, int] = {}
        self._numbers = FIRST_ORDER
        self.fundings: dict[int, deque[Funding]] = {number: deque(maxlen=CLOSED_MAX) for number in self.accounts}
        self.on_end: Callable[[VenueOrder], None] = nobody

    # ---- looking

    @property
    def now_ms(self) -> int:
        return self._clock.now_ns() // MS_NS

    def instrument(self, symbol: str) -> Listed:
        """Raises Refused (-1121): not listed."""
        listed = self.listed.get(symbol)
        if listed is None:
            raise refusal(-1121)
        return listed

    def mark_e8(self, symbol: str) -> int:
        """The mark price: the middle of the touch; the last one known while there is none; 0 before any."""
        touch = self.market.touch(symbol)
        return self._marks.get(symbol, 0) if touch is None else self._marked(symbol, touch)

    def _marked(self, symbol: str, touch: tuple[int, int]) -> int:
        mark_e8 = self._marks[symbol] = (touch[0] + touch[1]) * self.listed[symbol].tick_e8 // 2
        return mark_e8

    def open_orders(self, account: Account, symbol: str = "") -> list[VenueOrder]:
        """In the order of acceptance."""
        return [order for order in self.open[account.number].values() if symbol in ("", order.symbol)]

    def find(self, account: Account, symbol: str, number: int, client_id: str) -> VenueOrder | None:
        """An order by the venue's number, or the latest by its client id."""
        order = self.orders.get(number) if number else self._by_client.get((account.number, symbol, client_id))
        if order is None or order.owner != account.number or order.symbol != symbol:
            return None
        return order

    def open_notional(self, account: Account, symbol: str) -> OpenNotional:
        """Of open orders that are not reduce-only."""
        sums = self._open.sums(account.number, symbol)
        return OpenNotional(sums.bids_e8, sums.asks_e8)

    def margins(self, account: Account) -> dict[str, Margin]:
        """By symbol with a position or an open order."""
        symbols = [symbol for symbol, position in account.positions.items() if position.amount_e8]
        symbols += [order.symbol for order in self.open[account.number].values()]
        return {
            symbol: account.margin(symbol, self.mark_e8(symbol), self.open_notional(account, symbol))
            for symbol in dict.fromkeys(symbols)
        }

    # ---- new orders

    def submit(
        self, account: Account, ticket: Ticket, *, original_kind: str = "", stop_price_e8: int = 0
    ) -> VenueOrder:
        """Accept an order and put it to the market.

        Raises:
            Refused: by a filter, the account's margin, its position or its other orders. Nothing has changed then.
        """
        listed, side, kind, _, quantity_e8, price_e8, client_id, is_reduce_only, _, _, _ = ticket
        mark_e8 = self._trading_mark(listed.symbol)
        if account.is_in_liquidation:
            raise refusal(-2023)
        sums = self._open.sums(account.number, listed.symbol)
        self._check_numbers(account, listed.symbol, client_id, sums)
        if kind == "LIMIT":
            check_percent(side, price_e8, mark_e8)
        else:
            self._check_best(listed, side)
        if is_reduce_only:
            quantity_e8 = min(quantity_e8, self._room_e8(account, listed.symbol, side))
            if quantity_e8 <= 0:
                raise refusal(-2022)
        else:
            check_notional(price_e8 or mark_e8, quantity_e8)
            added_e8 = quantity_e8 * (price_e8 or self._taking_price_e8(listed.symbol, side)) // E8
            self._check_margin(account, listed, side, added_e8, sums, mark_e8)
        if self.rules.refuses_at_once:
            self._check_at_once(ticket, quantity_e8)
        order = self._register(account, ticket, quantity_e8, original_kind, stop_price_e8, sums)
        self._tell(account, order, "NEW", order.created_ms)
        self._enter(account, order)
        return order

    def _trading_mark(self, symbol: str) -> int:
        touch = self.market.touch(symbol)
        if touch is None:  # nothing was played yet, or the book is not known
            raise Refused(503, -1001, "Service Unavailable.")
        return self._marked(symbol, touch)

    def _check_numbers(self, account: Account, symbol: str, client_id: str, sums: Sums) -> None:
        same = self._by_client.get((account.number, symbol, client_id)) if client_id else None
        if same is not None and same.is_open:
            raise refusal(-4116)
        if sums.orders >= self.rules.open_orders_max:
            raise refusal(-2025)

    def _check_best(self, listed: Listed, side: Side) -> None:
        """PERCENT_PRICE of a market order: of the best price that it would take."""
        touch = self.market.touch(listed.symbol)
        assert touch is not None, "checked before"
        bound = self._market_bound(listed, side)
        if touch[1] > bound if side is BUY else touch[0] < bound:
            raise refusal(-4131)

    def _market_bound(self, listed: Listed, side: Side) -> int:
        """The worst tick that a market order takes: marketTakeBound away from the mark."""
        percent = PERCENT_UP if side is BUY else PERCENT_DOWN
        return max(1, self.mark_e8(listed.symbol) * percent // 100 // listed.tick_e8)

    def _room_e8(self, account: Account, symbol: str, side: Side) -> int:
        """What a reduce-only order of this side may close."""
        amount_e8 = account.position(symbol).amount_e8
        return max(0, -amount_e8 if side is BUY else amount_e8)

    def _check_margin(
        self, account: Account, listed: Listed, side: Side, added_e8: int, sums: Sums, mark_e8: int, freed_e8: int = 0
    ) -> None:
        """Raises Refused (-2019): the order would tie up more than there is.

        Args:
            added_e8: its notional; of a market order at the best price that it may take.
            sums: of the account's open orders in the symbol.
            freed_e8: notional in `sums` of an order on the same side that this one replaces.
        """
        if listed.assets[1] != account.config.asset:
            raise refusal(-2019)
        symbol, bids_e8, asks_e8 = listed.symbol, sums.bids_e8, sums.asks_e8
        change_e8 = added_e8 - freed_e8
        bids_after_e8, asks_after_e8 = (bids_e8 + change_e8, asks_e8) if side is BUY else (bids_e8, asks_e8 + change_e8)
        position = account.positions.get(symbol) or FLAT
        notional_e8 = scaled(position.amount_e8, mark_e8)
        initial_e8 = account.initial_e8(symbol, notional_e8, bids_after_e8, asks_after_e8)
        if initial_e8 <= account.initial_e8(symbol, notional_e8, bids_e8, asks_e8):
            return
        free_e8 = account.wallet_e8 + notional_e8 - position.cost_e8 - initial_e8 + self._free_e8(account, symbol)
        if free_e8 < 0:
            raise refusal(-2019)

    def _free_e8(self, account: Account, but: str) -> int:
        """Profit less initial margin of all symbols but one."""
        names = [name for name, position in account.positions.items() if position.amount_e8]
        names += self._open.symbols(account.number)
        free_e8 = 0
        for name in set(names):
            if name != but:
                margin = account.margin(name, self.mark_e8(name), self.open_notional(account, name))
                free_e8 += margin.unrealised_e8 - margin.initial_e8
        return free_e8

    def _taking_price_e8(self, symbol: str, side: Side) -> int:
        touch = self.market.touch(symbol)
        assert touch is not None, "checked before"
        return touch[1 if side is BUY else 0] * self.listed[symbol].tick_e8

    def _check_at_once(self, ticket: Ticket, quantity_e8: int) -> None:
        listed = ticket.listed
        tick, lots = ticket.price_e8 // listed.tick_e8, quantity_e8 // listed.lot_e8
        if ticket.time_in_force == "GTX" and self.market.available(listed.symbol, ticket.side, tick, 1):
            raise refusal(-5022)
        if ticket.time_in_force == "FOK" and self.market.available(listed.symbol, ticket.side, tick, lots) < lots:
            raise refusal(-5021)

    def _register(
        self, account: Account, ticket: Ticket, quantity_e8: int, original_kind: str, stop_price_e8: int, sums: Sums
    ) -> VenueOrder:
        self._numbers += 1
        listed, side, kind, time_in_force, _, price_e8, client_id, is_reduce_only, prevention, until_ms, _ = ticket
        order = VenueOrder(
            self._numbers, account.number, listed, client_id or f"venue-{self._numbers}", side, kind, time_in_force,
            price_e8, quantity_e8, self.now_ms, sums, is_reduce_only, prevention, until_ms, original_kind,
            stop_price_e8,
        )  # fmt: skip
        self._keep(order)
        return order

    def _keep(self, order: VenueOrder) -> None:
        self.orders[order.number] = order
        self._open.add(order)
        self._by_client[order.owner, order.listed.symbol, order.client_id] = order

    def _enter(self, account: Account, order: VenueOrder) -> None:
        """Put what is left of an order to the market and work through what it meets."""
        listed, kind = order.listed, CORE_KINDS[order.time_in_force]
        tick = order.price_e8 // listed.tick_e8
        if order.kind == "MARKET":
            kind, tick = OrderKind.IMMEDIATE, self._market_bound(listed, order.side)
        wanted_e8 = order.quantity_e8 - order.executed_e8
        if order.is_reduce_only:
            wanted_e8 = min(wanted_e8, self._room_e8(account, listed.symbol, order.side))
        lots = wanted_e8 // listed.lot_e8
        if not lots:
            self._end(order, Status.EXPIRED, "EXPIRED", REDUCE_ONLY)
            return
        entered = self.market.enter(
            listed.symbol, order.number, account.number, order.side, kind, tick, lots, order.prevention
        )
        if entered.outcome is RESTING:
            order.resting_e8 = entered.left * listed.lot_e8
        makers = [self._meet(order, meeting) for meeting in entered.meetings]
        self._settle(order, entered)
        for number in sorted({account.number, *makers}):
            self._fit_reduce_only(self.accounts[number], listed.symbol)

    def _meet(self, order: VenueOrder, meeting: Meeting) -> int:
        """One step of a taker; returns the number of the account that it touched beside its own."""
        maker = self.orders[meeting.maker] if meeting.maker else None
        if maker is not None and not meeting.lots:
            maker.resting_e8 = 0
            self._end(maker, Status.EXPIRED_IN_MATCH, "EXPIRED", SELF_TRADE)
        elif maker is not None:
            self._execute(maker, meeting.tick, meeting.lots, meeting.trade_id, is_maker=True)
        if meeting.lots:
            self._execute(order, meeting.tick, meeting.lots, meeting.trade_id, is_maker=False)
        return maker.owner if maker is not None else order.owner

    def _settle(self, order: VenueOrder, entered: Entered) -> None:
        """The rest of an order that does not rest is over."""
        if entered.outcome is RESTING or not order.is_open:
            return
        is_immediate = order.kind == "MARKET" or order.time_in_force in ("IOC", "FOK")
        if entered.outcome is Outcome.SELF_TRADE:
            self._end(order, Status.EXPIRED_IN_MATCH, "EXPIRED", IMMEDIATE_SELF_TRADE if is_immediate else SELF_TRADE)
        elif order.is_reduce_only and entered.left == 0:
            self._end(order, Status.EXPIRED, "EXPIRED", REDUCE_ONLY)
        else:
            self._end(order, Status.EXPIRED, "EXPIRED", IMMEDIATE_REST if is_immediate else NO_REASON)

    # ---- executions

    def _execute(self, order: VenueOrder, tick: int, lots: int, trade_id: int, *, is_maker: bool) -> None:
        """Book one execution of an order.

        A reduce-only order that met more than it may close, in a sweep that closed the position before it, keeps
        what it may; the venue itself stands in for the rest, and the order expires.
        """
        if not order.is_open:
            return
        account, listed = self.accounts[order.owner], order.listed
        quantity_e8, price_e8 = lots * listed.lot_e8, tick * listed.tick_e8
        if is_maker:
            order.resting_e8 -= quantity_e8
        if order.is_reduce_only:
            quantity_e8 = min(quantity_e8, self._room_e8(account, listed.symbol, order.side))
        if quantity_e8:
            self._book(account, order, trade_id, price_e8, quantity_e8, is_maker)
        if order.executed_e8 == order.quantity_e8:
            self._open.remove(order)
            self._close(order, self.now_ms)
        elif is_maker and not order.resting_e8:
            self._end(order, Status.EXPIRED, "EXPIRED", REDUCE_ONLY)

    def _book(
        self, account: Account, order: VenueOrder, trade_id: int, price_e8: int, quantity_e8: int, is_maker: bool
    ) -> None:
        now_ms, symbol = self.now_ms, order.listed.symbol
        signed_e8 = quantity_e8 if order.side is BUY else -quantity_e8
        realised, fee = account.trade(symbol, signed_e8, price_e8, now_ms, is_maker=is_maker)
        order.executed_e8 += quantity_e8
        self._open.recount(order, order.quantity_e8 - order.executed_e8)
        order.quote_e8 += scaled(quantity_e8, price_e8)
        order.realised_e8 += realised
        order.status = FILLED if order.executed_e8 == order.quantity_e8 else PARTIALLY_FILLED
        order.updated_ms = now_ms
        trade = Trade(order, trade_id, price_e8, quantity_e8, realised, fee, is_maker, now_ms)
        self.trades[account.number].append(trade)
        self._publish(account, trade_lite(trade, now_ms))
        execution = "CALCULATED" if order.is_liquidation else "TRADE"
        update = trade_update(trade, execution, now_ms)
        money = account_update(account, "ORDER", now_ms, {symbol: self.mark_e8(symbol)})
        events = (money, update) if self._random.random() < 0.5 else (update, money)  # the venue promises no order
        for event in events:
            self._publish(account, event)

    def _close(self, order: VenueOrder, now_ms: int) -> None:
        """An order is over, and told to be."""
        order.updated_ms = now_ms
        order.resting_e8 = 0
        self._closed.append(order)
        if len(self._closed) > CLOSED_MAX:
            self._forget(self._closed.popleft())
        self.on_end(order)

    def _forget(self, order: VenueOrder) -> None:
        self.orders.pop(order.number, None)
        key = (order.owner, order.symbol, order.client_id)
        if self._by_client.get(key) is order:
            del self._by_client[key]

    def _end(self, order: VenueOrder, status: Status, execution: str, reason: int = NO_REASON) -> None:
        """End an open order that is not filled, and tell so."""
        self.market.leave(order.number)
        order.status = status
        order.updated_ms = now_ms = self.now_ms
        self._open.remove(order)  # its notional is free in what is told now
        self._tell(self.accounts[order.owner], order, execution, now_ms, reason)
        self._close(order, now_ms)

    def _tell(self, account: Account, order: VenueOrder, execution: str, now_ms: int, reason: int = NO_REASON) -> None:
        self._publish(account, order_update(order, execution, now_ms, reason))

    def tell(self, account: Account, event: Event) -> None:
        """Publish an event of an account."""
        self._publish(account, event)

    def _fit_reduce_only(self, account: Account, symbol: str) -> None:
        """Reduce-only orders never stand for more than the position: the newest keep their room, older ones are cut.

        So no sweep of theirs can open a position.
        """
        if not self._open.sums(account.number, symbol).reducing:
            return
        orders = [order for order in self.open_orders(account, symbol) if order.is_reduce_only]
        rooms = {side: self._room_e8(account, symbol, side) for side in Side}
        for order in reversed(orders):
            allowed_e8 = min(order.resting_e8, rooms[order.side])
            rooms[order.side] -= allowed_e8
            if not allowed_e8:
                self._end(order, Status.EXPIRED, "EXPIRED", REDUCE_ONLY)
            elif allowed_e8 < order.resting_e8:
                order.resting_e8 = allowed_e8
                self.market.shrink(order.number, allowed_e8 // order.listed.lot_e8)

    # ---- what the market does

    def rested_filled(self, number: int, tick: int, lots: int, trade_id: int) -> None:
        order = self.orders.get(number)
        if order is not None:
            self._execute(order, tick, lots, trade_id, is_maker=True)
            self._fit_reduce_only(self.accounts[order.owner], order.symbol)

    # ---- changes

    def cancel(self, order: VenueOrder) -> None:
        """Raises Refused (-2011): it is over already."""
        if not order.is_open:
            raise refusal(-2011)
        self._end(order, Status.CANCELED, "CANCELED")

    def cancel_all(self, account: Account, symbol: str) -> int:
        """Cancel every open order in a symbol; returns how many."""
        orders = self.open_orders(account, symbol)
        for order in orders:
            self._end(order, Status.CANCELED, "CANCELED")
        return len(orders)

    def expire(self, order: VenueOrder) -> None:
        """A GTD order's time has come."""
        self._end(order, Status.EXPIRED, "EXPIRED")

    def amend(self, account: Account, order: VenueOrder, price_e8: int, quantity_e8: int) -> None:
        """Change price and total quantity; the order goes to the end of its queue.

        As at the venue, an order is cancelled instead when no more is left of it than was filled, or when it is
        post-only and would take.

        Raises:
            Refused: the change is not possible; the order stands as it was.
        """
        listed = order.listed
        if not order.is_open:
            raise refusal(-2013)
        if order.kind != "LIMIT":
            raise refusal(-5025)
        if (price_e8, quantity_e8) == (order.price_e8, order.quantity_e8):
            raise refusal(-5027)
        if order.modifications >= MODIFICATIONS_MAX:
            raise refusal(-5026)
        mark_e8 = self._trading_mark(order.symbol)
        check_percent(order.side, price_e8, mark_e8)
        left_e8 = quantity_e8 - order.executed_e8
        if left_e8 <= 0:
            self._end(order, Status.CANCELED, "CANCELED")
            return
        if not order.is_reduce_only:
            check_notional(price_e8, quantity_e8)
            added_e8 = left_e8 * price_e8 // E8
            self._check_margin(account, listed, order.side, added_e8, order.sums, mark_e8, order.counted_e8)
        tick = price_e8 // listed.tick_e8
        self.market.leave(order.number)
        order.resting_e8 = 0
        if order.time_in_force == "GTX" and self.market.available(order.symbol, order.side, tick, 1):
            self._end(order, Status.CANCELED, "CANCELED")
            return
        order.change(price_e8, quantity_e8)
        self._open.recount(order, order.quantity_e8 - order.executed_e8)
        order.modifications += 1
        order.updated_ms = self.now_ms
        self._tell(account, order, "AMENDMENT", order.updated_ms)
        self._enter(account, order)

    # ---- money without a trade

    def fund(self) -> None:
        """Exchange funding for every position."""
        for account in self.accounts.values():
            marks = {symbol: self.mark_e8(symbol) for symbol in account.positions}
            now_ms = self.now_ms
            received = {symbol: account.fund(symbol, mark_e8, now_ms) for symbol, mark_e8 in marks.items()}
            self.fundings[account.number].extend(
                Funding(symbol, amount_e8, now_ms) for symbol, amount_e8 in received.items() if amount_e8
            )
            if any(received.values()):
                self._publish(account, account_update(account, "FUNDING_FEE", now_ms, {}, sum(received.values())))

    def liquidate_broke(self) -> None:
        """Close out accounts whose margin balance is below the maintenance margin."""
        for account in self.accounts.values():
            if not any(position.amount_e8 for position in account.positions.values()):
                continue
            total = account.total(self.margins(account))
            if account.wallet_e8 + total.unrealised_e8 < total.maintenance_e8:
                self._liquidate(account)

    def _liquidate(self, account: Account) -> None:
        account.is_in_liquidation = True
        for order in self.open_orders(account):
            self._end(order, Status.EXPIRED, "EXPIRED", LIQUIDATION)
        for symbol, position in account.positions.items():
            if position.amount_e8 and self.market.touch(symbol) is not None:
                self._close_out(account, symbol, position.amount_e8)
        account.is_in_liquidation = False

    def _close_out(self, account: Account, symbol: str, amount_e8: int) -> None:
        self._numbers += 1
        order = VenueOrder(
            self._numbers, account.number, self.listed[symbol], f"autoclose-{self._numbers}",
            Side.SELL if amount_e8 > 0 else Side.BUY, "MARKET", "GTC", 0, abs(amount_e8), self.now_ms,
            self._open.sums(account.number, symbol), is_reduce_only=True, is_liquidation=True,
        )  # fmt: skip
        self._keep(order)
        self._tell(account, order, "NEW", order.created_ms)
        self._enter(account, order)
