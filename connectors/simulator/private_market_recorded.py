"""Accounts' orders against a recording: what they could have traded, had they been there.

The recording goes on as it was: our orders do not move it. So that nothing is traded twice or too easily:

* A taker takes what stands in the recorded book, level by level. What was taken of a level stays taken as long as
  the level stands (and never exceeds what is there).
* A resting order waits behind what stood at its price when it came. That queue shrinks by trades at the price, and
  by cancellations only as far as the level itself becomes smaller than the queue: whoever cancels is taken to have
  stood behind us until that cannot be.
* A trade at a worse price than ours, by an aggressor of the other side, would have come to us first: it fills us,
  up to its quantity. At our price it fills us with what exceeds the queue. Nothing of it is given out twice.
* When the recorded book comes to stand across our price, what stands there is taken to have hit us.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import orjson

from connectors.simulator.feed import SNAPSHOT, Item
from connectors.simulator.listing import E8, Listed
from connectors.simulator.matching import OrderKind, Outcome, Prevention
from connectors.simulator.private_market import Entered, MarketListener, Meeting
from connectors.simulator.recorded import RecordedFeed
from schemas.events import Side

FIRST_TRADE_ID = 9_000_000_000  # of our own trades: the tape has none for them
TEXTS_MAX = 200_000


class UnitReader:
    """Decimal texts as whole numbers of a step; remembers what it read.

    Args:
        step_e8: one unit, 8 decimals.
    """

    def __init__(self, step_e8: int) -> None:
        self._step_e8 = step_e8
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        units = self._known.get(text)
        if units is None:
            if len(self._known) > TEXTS_MAX:
                self._known.clear()
            whole, _, part = text.partition(".")
            units = self._known[text] = (int(whole) * E8 + int(part[:8].ljust(8, "0"))) // self._step_e8
        return units


class BookSide:
    """One side of a recorded book: ticks in order, lots, and how much of each level was taken by us.

    Args:
        side: BUY for bids.
    """

    def __init__(self, side: Side) -> None:
        self.side = side
        self._ticks: list[int] = []
        self.lots: dict[int, int] = {}
        self._taken: dict[int, int] = {}

    def set(self, tick: int, lots: int) -> None:
        """The level holds `lots` now; 0 removes it."""
        if lots:
            if tick not in self.lots:
                insort(self._ticks, tick)
            self.lots[tick] = lots
            if tick in self._taken:
                self._taken[tick] = min(self._taken[tick], lots)
        elif self.lots.pop(tick, 0):
            del self._ticks[bisect_left(self._ticks, tick)]
            self._taken.pop(tick, None)

    def best_first(self) -> Iterator[int]:
        """Ticks from the touch outwards; the side must not change meanwhile."""
        return reversed(self._ticks) if self.side is Side.BUY else iter(self._ticks)

    def cut(self, best: int) -> list[int]:
        """Remove the levels better than `best`; returns them."""
        at = bisect_left(self._ticks, best + 1 if self.side is Side.BUY else best)
        gone = self._ticks[at:] if self.side is Side.BUY else self._ticks[:at]
        for tick in gone:
            self.set(tick, 0)
        return gone

    def free(self, tick: int) -> int:
        """Lots at a price that nobody of ours has taken."""
        return self.lots.get(tick, 0) - self._taken.get(tick, 0)

    def take(self, tick: int, lots: int) -> None:
        self._taken[tick] = self._taken.get(tick, 0) + lots

    def best_free(self) -> int | None:
        return next((tick for tick in self.best_first() if self.free(tick) > 0), None)


@dataclass
class Resting:
    """An account's order that rests.

    Attributes:
        ahead: recorded lots that are filled before it at its price.
    """

    number: int
    symbol: str
    owner: int
    side: Side
    tick: int
    lots: int
    ahead: int


class RecordedBook:
    """One symbol: the recorded book, the touch that is newer than it, and our orders in it."""

    def __init__(self, listed: Listed) -> None:
        self.ticks, self.quantities = UnitReader(listed.tick_e8), UnitReader(listed.lot_e8)
        self.sides = {side: BookSide(side) for side in Side}
        self.resting: dict[Side, list[Resting]] = {side: [] for side in Side}  # in the order of their arrival
        self._update_id = 0
        self._touch: Mapping[str, Any] | None = None

    def load(self, levels: tuple[Mapping[str, str], Mapping[str, str]]) -> None:
        """Begin again from these."""
        for side, texts in zip((Side.BUY, Side.SELL), levels, strict=True):
            wanted = {self.ticks(price): self.quantities(quantity) for price, quantity in texts.items()}
            for tick in [tick for tick in self.sides[side].lots if tick not in wanted]:
                self.set(side, tick, 0)
            for tick, lots in wanted.items():
                self.set(side, tick, lots)

    def set(self, side: Side, tick: int, lots: int) -> None:
        """A level changes, and with it the queues of those who wait there."""
        self.sides[side].set(tick, lots)
        for order in self.resting[side]:
            if order.tick == tick:
                order.ahead = min(order.ahead, lots)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take a depth event. A touch that is newer than it stays."""
        for side, changes in ((Side.BUY, event["b"]), (Side.SELL, event["a"])):
            for price, quantity in changes:
                self.set(side, self.ticks(price), self.quantities(quantity))
        self._update_id = event["u"]
        if self._touch is not None and self._touch["u"] > self._update_id:
            self._enforce(self._touch)

    def apply_touch(self, ticker: Mapping[str, Any]) -> None:
        """Take a bookTicker, if it is newer than the book."""
        if ticker["u"] > self._update_id:
            self._touch = ticker
            self._enforce(ticker)

    def _enforce(self, ticker: Mapping[str, Any]) -> None:
        for side, price, quantity in ((Side.BUY, "b", "B"), (Side.SELL, "a", "A")):
            best = self.ticks(ticker[price])
            for tick in self.sides[side].cut(best):
                self.set(side, tick, 0)
            self.set(side, best, self.quantities(ticker[quantity]))

    def best_own(self, side: Side) -> Resting | None:
        """Our order that is filled first."""
        orders = self.resting[side]
        if not orders:
            return None
        tick = max(o.tick for o in orders) if side is Side.BUY else min(o.tick for o in orders)
        return next(order for order in orders if order.tick == tick)

    def best(self, side: Side) -> int | None:
        """The price of what a taker meets first, recorded or ours."""
        own, recorded = self.best_own(side), self.sides[side].best_free()
        if own is None or recorded is None:
            return recorded if own is None else own.tick
        return max(own.tick, recorded) if side is Side.BUY else min(own.tick, recorded)


def reaches(side: Side, limit: int, tick: int | None) -> bool:
    """Whether an order of `side` with this limit takes at a price of the other side."""
    return tick is not None and (tick <= limit if side is Side.BUY else tick >= limit)


def opposite(side: Side) -> Side:
    return Side.SELL if side is Side.BUY else Side.BUY


class RecordedOrderMarket:
    """A recording as an `OrderMarket`.

    Args:
        feed: what is played. A symbol's book is followed from the first time that somebody needs it.
    """

    def __init__(self, feed: RecordedFeed) -> None:
        self._feed = feed
        self._listed = {row.symbol: row for row in feed.listed}
        self._books: dict[str, RecordedBook] = {}
        self._orders: dict[int, Resting] = {}
        self._listener: MarketListener | None = None
        self._trade_id = FIRST_TRADE_ID
        self._tapes: dict[str, str] = {}
        for info in feed.streams.values():
            if info.kind in ("trade", "aggTrade") and self._tapes.get(info.symbol) != "trade":
                self._tapes[info.symbol] = info.kind
        feed.listener = self

    def attach(self, listener: MarketListener) -> None:
        self._listener = listener

    def _book(self, symbol: str) -> RecordedBook | None:
        book = self._books.get(symbol)
        if book is None:
            levels = self._feed.levels(symbol)
            if levels is None:
                return None
            book = self._books[symbol] = RecordedBook(self._listed[symbol])
            book.load(levels)
        return book

    def touch(self, symbol: str) -> tuple[int, int] | None:
        book = self._book(symbol)
        if book is None:
            return None
        bid, ask = book.best(Side.BUY), book.best(Side.SELL)
        return None if bid is None or ask is None else (bid, ask)

    def available(self, symbol: str, side: Side, tick: int, lots: int) -> int:
        book = self._book(symbol)
        return 0 if book is None else self._count(book, side, tick, lots, 0, Prevention.EXPIRE_MAKER)

    @staticmethod
    def _count(book: RecordedBook, side: Side, limit: int, lots: int, owner: int, prevent: Prevention) -> int:
        """Lots that could be taken at once, counted no further than `lots`."""
        other = opposite(side)
        own = [order for order in book.resting[other] if reaches(side, limit, order.tick)]
        mine = [order.tick for order in own if order.owner == owner]
        if mine and prevent is not Prevention.EXPIRE_MAKER:  # it goes no further than the first of its own
            stop = min(mine) if side is Side.BUY else max(mine)
            there = takewhile(lambda order: order.owner != owner, (order for order in own if order.tick == stop))
            own = [order for order in own if order.tick != stop and reaches(side, stop, order.tick)] + list(there)
            limit = stop
        found = sum(order.lots for order in own if order.owner != owner)
        for tick in book.sides[other].best_first():
            if found >= lots or not reaches(side, limit, tick):
                break
            found += book.sides[other].free(tick)
        return min(found, lots)

    def enter(
        self, symbol: str, number: int, owner: int, side: Side, kind: OrderKind, tick: int, lots: int,
        prevent: Prevention = Prevention.EXPIRE_MAKER,
    ) -> Entered:  # fmt: skip
        book = self._book(symbol)
        if book is None:
            return Entered(Outcome.EXPIRED, lots, ())
        if kind is OrderKind.POST_ONLY and reaches(side, tick, book.best(opposite(side))):
            return Entered(Outcome.WOULD_TAKE, lots, ())
        if kind is OrderKind.ALL_OR_NOTHING and self._count(book, side, tick, lots, owner, prevent) < lots:
            return Entered(Outcome.CANNOT_FILL, lots, ())
        left, meetings, met_own = self._match(book, owner, side, tick, lots, prevent)
        outcome = Outcome.FILLED
        if met_own and left:
            outcome = Outcome.SELF_TRADE
        elif left and kind not in (OrderKind.LIMIT, OrderKind.POST_ONLY):
            outcome = Outcome.EXPIRED
        elif left:
            outcome = Outcome.RESTING
            order = Resting(number, symbol, owner, side, tick, left, book.sides[side].lots.get(tick, 0))
            book.resting[side].append(order)
            self._orders[number] = order
        return Entered(outcome, left, tuple(meetings))

    def _match(
        self, book: RecordedBook, owner: int, side: Side, limit: int, lots: int, prevent: Prevention
    ) -> tuple[int, list[Meeting], bool]:
        other = opposite(side)
        meetings: list[Meeting] = []
        while lots and reaches(side, limit, tick := book.best(other)):
            assert tick is not None
            free = book.sides[other].free(tick)
            if free > 0:  # what was recorded stood there before us
                taken = min(lots, free)
                book.sides[other].take(tick, taken)
                meetings.append(Meeting(tick, taken, self._next_trade_id(), 0))
                lots -= taken
                continue
            maker = book.best_own(other)
            assert maker is not None
            if maker.owner == owner:
                if prevent is not Prevention.EXPIRE_TAKER:
                    self._remove(book, maker)
                    meetings.append(Meeting(tick, 0, 0, maker.number))
                if prevent is not Prevention.EXPIRE_MAKER:
                    return lots, meetings, True
                continue
            taken = min(lots, maker.lots)
            lots -= taken
            self._reduce(book, maker, taken)
            meetings.append(Meeting(tick, taken, self._next_trade_id(), maker.number))
        return lots, meetings, False

    def _next_trade_id(self) -> int:
        self._trade_id += 1
        return self._trade_id

    def _reduce(self, book: RecordedBook, order: Resting, lots: int) -> None:
        order.lots -= lots
        if not order.lots:
            self._remove(book, order)

    def _remove(self, book: RecordedBook, order: Resting) -> None:
        book.resting[order.side].remove(order)
        del self._orders[order.number]

    def leave(self, number: int) -> int:
        order = self._orders.get(number)
        if order is None:
            return 0
        self._remove(self._books[order.symbol], order)
        return order.lots

    def shrink(self, number: int, lots: int) -> None:
        order = self._orders.get(number)
        if order is not None:
            order.lots = min(order.lots, lots)

    # ---- what the recording does

    def passed(self, item: Item, data: Mapping[str, Any] | None) -> None:
        book = self._books.get(item.symbol)
        if book is None or self._listener is None:
            return
        if item.stream == SNAPSHOT:
            levels = self._feed.levels(item.symbol)
            if levels is not None:
                book.load(levels)
            return
        kind = self._feed.streams[item.stream].kind
        if kind == "depth":
            book.apply(data if data is not None else orjson.loads(item.payload)["data"])
        elif kind == "bookTicker":
            book.apply_touch(orjson.loads(item.payload)["data"])
        elif kind == self._tapes.get(item.symbol):
            self._trade(book, item.symbol, orjson.loads(item.payload)["data"])
            return
        else:
            return
        self._cross(book)
        self._listener.moved(item.symbol)

    def _filled(self, book: RecordedBook, order: Resting, lots: int, fills: list[tuple[int, int, int]]) -> None:
        self._reduce(book, order, lots)
        fills.append((order.number, order.tick, lots))

    def _tell(self, fills: list[tuple[int, int, int]]) -> None:
        assert self._listener is not None
        for number, tick, lots in fills:
            self._listener.rested_filled(number, tick, lots, self._next_trade_id())

    def _trade(self, book: RecordedBook, symbol: str, data: Mapping[str, Any]) -> None:
        """A print of the tape: first to whom of ours bids better, then through the queue at its price."""
        tick, lots = book.ticks(data["p"]), book.quantities(data["q"])
        if tick <= 0 or lots <= 0 or data.get("X", "MARKET") != "MARKET":
            return
        side = Side.BUY if data["m"] else Side.SELL  # of the resting orders that it meets
        better = [o for o in book.resting[side] if o.tick != tick and reaches(opposite(side), tick, o.tick)]
        better.sort(key=lambda order: -order.tick if side is Side.BUY else order.tick)  # stable: arrival within a price
        fills: list[tuple[int, int, int]] = []
        for order in better:
            taken = min(order.lots, lots)
            if taken:
                self._filled(book, order, taken, fills)
                lots -= taken
        self._walk_queue(book, [o for o in book.resting[side] if o.tick == tick], lots, fills)
        self._tell(fills)
        assert self._listener is not None
        self._listener.traded(symbol, tick)

    def _walk_queue(
        self, book: RecordedBook, orders: list[Resting], lots: int, fills: list[tuple[int, int, int]]
    ) -> None:
        """Give traded lots to a level in the order of arrival: those before us, us, those between, …"""
        recorded = 0
        for order in orders:
            passed_by = min(max(0, order.ahead - recorded), lots)
            recorded, lots = recorded + passed_by, lots - passed_by
            taken = min(order.lots, lots)
            if taken:
                self._filled(book, order, taken, fills)
                lots -= taken
        for order in orders:
            order.ahead = max(0, order.ahead - recorded)

    def _cross(self, book: RecordedBook) -> None:
        """The recorded book stands across our price: what stands there has hit us, at our price."""
        fills: list[tuple[int, int, int]] = []
        for side in Side:
            other = book.sides[opposite(side)]
            while (order := book.best_own(side)) is not None:
                tick = other.best_free()
                if tick is None or not reaches(side, order.tick, tick):
                    break
                taken = min(order.lots, other.free(tick))
                other.take(tick, taken)
                self._filled(book, order, taken, fills)
        self._tell(fills)
