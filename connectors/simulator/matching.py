"""The matching core: one instrument's book with price-time priority, for whoever places orders from Python.

The rules are in kernels.py; this is their shape for callers: words in, words out, integers throughout.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

import numpy as np

from connectors.simulator import kernels as k
from schemas.errors import ConfigInvalid
from schemas.events import Side

RING_TICKS = 1 << 17  # prices in the window around the market
ORDERS_MAX = 1 << 14


class OrderKind(enum.IntEnum):
    """LIMIT rests what it cannot fill; IMMEDIATE drops it; ALL_OR_NOTHING fills whole or not at all;
    POST_ONLY rests or is refused; MARKET has no limit and drops what nobody sells."""

    LIMIT = k.LIMIT
    IMMEDIATE = k.IMMEDIATE
    ALL_OR_NOTHING = k.ALL_OR_NOTHING
    POST_ONLY = k.POST_ONLY
    MARKET = k.MARKET


class Outcome(enum.IntEnum):
    """What became of an order at once."""

    RESTING = k.RESTING
    FILLED = k.FILLED
    EXPIRED = k.EXPIRED
    WOULD_TAKE = k.WOULD_TAKE
    CANNOT_FILL = k.CANNOT_FILL
    OUT_OF_RANGE = k.OUT_OF_RANGE
    BOOK_FULL = k.BOOK_FULL
    INVALID = k.INVALID
    SELF_TRADE = k.SELF_TRADE


class Prevention(enum.IntEnum):
    """Which order ends where two of one owner would meet."""

    EXPIRE_MAKER = k.EXPIRE_MAKER
    EXPIRE_TAKER = k.EXPIRE_TAKER
    EXPIRE_BOTH = k.EXPIRE_BOTH


OUTCOMES = tuple(Outcome)  # by number


class Fill(NamedTuple):
    """One execution: the resting order's id, price in ticks, quantity in lots, lots that order has left.

    With 0 lots: a resting order of the same owner that expired instead of being met.
    """

    maker_id: int
    tick: int
    lots: int
    maker_left: int


class Placed(NamedTuple):
    """What `MatchingBook.place` did.

    Attributes:
        outcome: what became of the order.
        order_id: to cancel it by, while it rests; 0 when it does not.
        left: lots not filled (resting, expired or refused).
        fills: its executions, in order.
    """

    outcome: Outcome
    order_id: int
    left: int
    fills: tuple[Fill, ...]


def make_book(base_tick: int, ring_ticks: int = RING_TICKS, orders_max: int = ORDERS_MAX) -> k.Book:
    """Arrays of an empty book whose window of prices is [base_tick, base_tick + ring_ticks).

    Raises:
        ConfigInvalid: the ring is no power of two, or there is room for more orders than ids.
    """
    if ring_ticks < 2 or ring_ticks & (ring_ticks - 1) or not 1 <= orders_max <= k.SLOT_MASK + 1:
        raise ConfigInvalid(f"A book of {ring_ticks} prices and {orders_max} orders cannot be made.")
    numbers = np.zeros(k.NUMBERS, np.int64)
    numbers[k.BEST_BID] = numbers[k.BEST_ASK] = k.NONE
    numbers[k.BASE] = base_tick
    levels, orders = (
        np.zeros((ring_ticks, k.LEVEL_COLUMNS), np.int64),
        np.zeros((orders_max, k.ORDER_COLUMNS), np.int64),
    )
    levels[:, [k.LEVEL_HEAD, k.LEVEL_TAIL]] = k.NONE
    orders[:, k.ORDER_PREV] = k.NONE
    orders[:, k.ORDER_NEXT] = np.arange(1, orders_max + 1)
    orders[-1, k.ORDER_NEXT] = k.NONE
    return k.Book(levels, orders, np.zeros(orders_max, np.int64), numbers)


class MatchingBook:
    """One instrument's market.

    Args:
        base_tick, ring_ticks: window of possible prices; orders outside are refused.
        orders_max: room for resting orders.
    """

    def __init__(self, base_tick: int, ring_ticks: int = RING_TICKS, orders_max: int = ORDERS_MAX) -> None:
        self.arrays = make_book(base_tick, ring_ticks, orders_max)
        self._numbers = self.arrays.numbers.data  # quicker to read one of than an array
        self._fills = np.zeros((orders_max, k.FILL_COLUMNS), np.int64)

    def place(
        self,
        side: Side,
        kind: OrderKind,
        lots: int,
        tick: int = 0,
        owner: int = k.NOBODY,
        prevent: Prevention = Prevention.EXPIRE_MAKER,
    ) -> Placed:
        """Put an order to the market; `tick` is its limit and means nothing for MARKET."""
        outcome, order_id, left, count = k.place(
            self.arrays, int(side), int(kind), tick, lots, self._fills, owner, int(prevent)
        )
        fills = tuple([Fill(*row) for row in self._fills[:count].tolist()]) if count else ()
        return Placed(OUTCOMES[outcome], int(order_id), int(left), fills)

    def cancel(self, order_id: int) -> int:
        """Take a resting order off; returns the lots it had left, 0 when it is not there (any more)."""
        return int(k.cancel(self.arrays, order_id))

    def shrink(self, order_id: int, lots: int) -> int:
        """Cut a resting order to `lots` (at least 1) in its place; returns how many were cut off."""
        return int(k.shrink(self.arrays, order_id, lots))

    def best(self, side: Side) -> int | None:
        """Best price in ticks; None while the side is empty."""
        tick: int = self._numbers[k.BEST_BID if side is Side.BUY else k.BEST_ASK]
        return None if tick == k.NONE else tick

    def touch(self) -> tuple[int, int] | None:
        """Best bid and offer in ticks; None while a side is empty."""
        bid, ask = self._numbers[k.BEST_BID], self._numbers[k.BEST_ASK]
        return None if bid == k.NONE or ask == k.NONE else (bid, ask)

    def depth(self, side: Side, levels_max: int) -> list[tuple[int, int]]:
        """(tick, lots) of the best levels, best first."""
        ticks, lots = np.zeros(levels_max, np.int64), np.zeros(levels_max, np.int64)
        count = k.collect_levels(self.arrays, int(side), ticks, lots)
        return list(zip(ticks[:count].tolist(), lots[:count].tolist(), strict=True))

    def move_window(self, base_tick: int) -> int:
        """Let possible prices begin at `base_tick`; orders outside are cancelled. Returns how many."""
        return int(k.move_window(self.arrays, base_tick))
