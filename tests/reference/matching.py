"""The matching core in the plainest words: a list of resting orders, sorted for every look at it."""

from __future__ import annotations

from dataclasses import dataclass

from connectors.simulator.matching import Fill, OrderKind, Outcome
from schemas.events import Side


@dataclass
class Order:
    """A resting order; `name` stands for the id, which the twins need not share."""

    name: int
    side: Side
    tick: int
    lots: int
    arrival: int


class PlainBook:
    """Price-time priority, slow and obvious."""

    def __init__(self, base_tick: int, ring_ticks: int, orders_max: int) -> None:
        self.base_tick = base_tick
        self.ring_ticks = ring_ticks
        self.orders_max = orders_max
        self.orders: list[Order] = []
        self.arrivals = 0

    def queue(self, side: Side) -> list[Order]:
        """Orders of a side, the one that is filled first in front."""
        direction = -1 if side is Side.BUY else 1
        mine = [order for order in self.orders if order.side is side]
        return sorted(mine, key=lambda order: (direction * order.tick, order.arrival))

    def takes(self, side: Side, limit: int | None, maker: Order) -> bool:
        if limit is None:
            return True
        return maker.tick <= limit if side is Side.BUY else maker.tick >= limit

    def place(self, side: Side, kind: OrderKind, lots: int, tick: int, name: int) -> tuple[Outcome, int, list[Fill]]:
        """Outcome, lots not filled, fills (with names for ids)."""
        if lots <= 0 or (kind is not OrderKind.MARKET and tick <= 0):
            return Outcome.INVALID, lots, []
        if kind is not OrderKind.MARKET and not self.base_tick <= tick < self.base_tick + self.ring_ticks:
            return Outcome.OUT_OF_RANGE, lots, []
        limit = None if kind is OrderKind.MARKET else tick
        other = Side.SELL if side is Side.BUY else Side.BUY
        makers = [order for order in self.queue(other) if self.takes(side, limit, order)]
        if kind is OrderKind.POST_ONLY and makers:
            return Outcome.WOULD_TAKE, lots, []
        if kind is OrderKind.ALL_OR_NOTHING and sum(order.lots for order in makers) < lots:
            return Outcome.CANNOT_FILL, lots, []
        rests = kind in (OrderKind.LIMIT, OrderKind.POST_ONLY)
        if rests and not makers and len(self.orders) == self.orders_max:
            return Outcome.BOOK_FULL, lots, []
        fills = []
        for maker in makers:
            taken = min(lots, maker.lots)
            lots -= taken
            maker.lots -= taken
            fills.append(Fill(maker.name, maker.tick, taken, maker.lots))
            if not lots:
                break
        self.orders = [order for order in self.orders if order.lots]
        if not lots:
            return Outcome.FILLED, 0, fills
        if not rests:
            return Outcome.EXPIRED, lots, fills
        self.arrivals += 1
        self.orders.append(Order(name, side, tick, lots, self.arrivals))
        return Outcome.RESTING, lots, fills

    def cancel(self, name: int) -> int:
        found = [order.lots for order in self.orders if order.name == name]
        self.orders = [order for order in self.orders if order.name != name]
        return sum(found)

    def depth(self, side: Side) -> list[tuple[int, int]]:
        levels: dict[int, int] = {}
        for order in self.queue(side):
            levels[order.tick] = levels.get(order.tick, 0) + order.lots
        return list(levels.items())

    def move_window(self, base_tick: int) -> int:
        before = len(self.orders)
        self.base_tick = base_tick
        self.orders = [order for order in self.orders if base_tick <= order.tick < base_tick + self.ring_ticks]
        return before - len(self.orders)
