"""Accounts' orders in the synthetic market: they enter the very book that the flow trades in, and so move it.

The window of prices is finite. An order outside it is *parked*: it rests without standing in the book, and enters
it when the window comes by. The flow lives on a book with both sides, so nobody may take its last levels: what
would is taken no further, and its rest expires.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from connectors.simulator import kernels as k
from connectors.simulator.matching import Fill, OrderKind, Outcome, Prevention
from connectors.simulator.private_market import Entered, MarketListener, Meeting
from connectors.simulator.synthetic import SyntheticFeed
from connectors.simulator.synthetic_market import Market
from schemas.events import Side

NEAR_LEVELS = 32  # most orders are filled within these: no need to look further
PARKED = 0  # the core id of an order that stands outside the window


@dataclass
class _Resting:
    """An account's order that rests: in the core under `core_id`, or parked."""

    number: int
    market: Market
    owner: int
    side: Side
    tick: int
    lots: int
    core_id: int


class SyntheticOrderMarket:
    """The synthetic market as an `OrderMarket`.

    Args:
        feed: whose books; it must be futures'.
    """

    def __init__(self, feed: SyntheticFeed) -> None:
        self._markets = feed.markets
        self._resting: dict[int, _Resting] = {}
        self._by_core: dict[tuple[int, int], _Resting] = {}  # by market and core id
        self._fills: list[tuple[int, int, int, int]] = []
        self._prints: list[tuple[str, int]] = []
        self._listener: MarketListener | None = None
        feed.listener = self

    def attach(self, listener: MarketListener) -> None:
        self._listener = listener

    def touch(self, symbol: str) -> tuple[int, int] | None:
        numbers = self._markets[symbol].book.numbers
        bid, ask = int(numbers[k.BEST_BID]), int(numbers[k.BEST_ASK])
        return None if k.NONE in (bid, ask) else (bid, ask)

    def available(self, symbol: str, side: Side, tick: int, lots: int) -> int:
        return int(k.available_to(self._markets[symbol].book, int(side), tick, lots, k.NONE, k.EXPIRE_MAKER))

    def enter(
        self, symbol: str, number: int, owner: int, side: Side, kind: OrderKind, tick: int, lots: int,
        prevent: Prevention = Prevention.EXPIRE_MAKER,
    ) -> Entered:  # fmt: skip
        market = self._markets[symbol]
        order = _Resting(number, market, owner, side, tick, lots, PARKED)
        if not self._in_window(market, tick) and not self._reaches(market, side, tick):
            if kind in (OrderKind.IMMEDIATE, OrderKind.ALL_OR_NOTHING):
                return Entered(Outcome.EXPIRED, lots, ())
            self._resting[number] = order
            return Entered(Outcome.RESTING, lots, ())
        limit = self._bounded(market, side, tick, lots)
        if limit != tick and kind in (OrderKind.LIMIT, OrderKind.IMMEDIATE):
            kind = OrderKind.IMMEDIATE
        if limit == k.NONE:
            return Entered(Outcome.EXPIRED, lots, ())
        first_trade_id = market.trade_id + market.untold_trades + 1
        placed = market.enter(int(side), int(kind), limit, lots, owner, int(prevent))
        meetings = tuple(self._meetings(market, placed.fills, first_trade_id))
        if placed.outcome is Outcome.RESTING:
            order.lots, order.core_id = placed.left, placed.order_id
            self._rest(order)
        outcome = Outcome.EXPIRED if placed.outcome in (Outcome.BOOK_FULL, Outcome.OUT_OF_RANGE) else placed.outcome
        return Entered(outcome, placed.left, meetings)

    @staticmethod
    def _in_window(market: Market, tick: int) -> bool:
        base = int(market.book.numbers[k.BASE])
        return base <= tick < base + len(market.book.levels)

    @staticmethod
    def _reaches(market: Market, side: Side, tick: int) -> bool:
        best = int(market.book.numbers[k.BEST_ASK if side is Side.BUY else k.BEST_BID])
        return best != k.NONE and (tick >= best if side is Side.BUY else tick <= best)

    def _bounded(self, market: Market, side: Side, tick: int, lots: int) -> int:
        """The limit up to which the order may take; its own when it leaves enough; NONE when nothing may be taken."""
        if not self._reaches(market, side, tick):
            return tick
        other = k.ASK if side is Side.BUY else k.BID
        near = market.levels(other, NEAR_LEVELS)
        levels = int(market.book.numbers[k.ASK_LEVELS if side is Side.BUY else k.BID_LEVELS])
        spare = levels - k.LEVELS_MIN
        beyond = near[-1][0] >= tick if side is Side.BUY else near[-1][0] <= tick
        if spare >= len(near) and (beyond or sum(there for _, there in near) > lots):
            return tick
        if spare <= 0:
            return k.NONE
        last = market.levels(other, spare)[-1][0]
        return min(tick, last) if side is Side.BUY else max(tick, last)

    def _meetings(self, market: Market, fills: Iterable[Fill], trade_id: int) -> Iterator[Meeting]:
        for core_id, tick, lots, left in fills:
            maker = self._by_core.get((id(market), core_id))
            if maker is not None:
                maker.lots = left if lots else 0
                if not maker.lots:
                    self._forget(maker)
            yield Meeting(tick, lots, trade_id if lots else 0, maker.number if maker else 0)
            trade_id += lots > 0

    def _rest(self, order: _Resting) -> None:
        self._resting[order.number] = order
        self._by_core[id(order.market), order.core_id] = order

    def _forget(self, order: _Resting) -> None:
        del self._resting[order.number]
        self._by_core.pop((id(order.market), order.core_id), None)

    def leave(self, number: int) -> int:
        order = self._resting.get(number)
        if order is None:
            return 0
        self._forget(order)
        if order.core_id != PARKED:
            order.market.leave(order.core_id)
        return order.lots

    def shrink(self, number: int, lots: int) -> None:
        order = self._resting.get(number)
        if order is None or lots >= order.lots:
            return
        if order.core_id != PARKED:
            order.market.shrink(order.core_id, lots)
        order.lots = lots

    # ---- what the flow does

    def trade(self, market: Market, tick: int, lots: int, maker_core_id: int) -> None:
        order = self._by_core.get((id(market), maker_core_id))
        if order is not None:
            order.lots -= lots
            if not order.lots:
                self._forget(order)
            self._fills.append((order.number, tick, lots, market.trade_id))
        self._prints.append((market.listed.symbol, tick))

    def slice_done(self) -> None:
        fills, self._fills = self._fills, []
        prints, self._prints = self._prints, []
        if self._listener is None:
            return
        for fill in fills:
            self._listener.rested_filled(*fill)
        for symbol, tick in prints:
            self._listener.traded(symbol, tick)
        for symbol in self._markets:
            self._listener.moved(symbol)

    def window_moved(self, market: Market) -> None:
        for order in [order for order in self._resting.values() if order.market is market]:
            if order.core_id != PARKED and not self._in_window(market, order.tick):
                del self._by_core[id(market), order.core_id]
                order.core_id = PARKED
            elif order.core_id == PARKED and self._in_window(market, order.tick):
                placed = market.enter(int(order.side), k.POST_ONLY, order.tick, order.lots, order.owner, k.EXPIRE_MAKER)
                if placed.outcome is Outcome.RESTING:  # else it stays parked until the next move
                    order.core_id = placed.order_id
                    self._by_core[id(market), order.core_id] = order
