"""The compiled half of the matching core and of the synthetic order flow. They share a file because numba's cache
notices a change in the file that a kernel stands in, and in no other that it calls.

A book is a ring of price levels: tick t lives in slot t modulo the ring's length, so the window of
possible prices can move without moving anything. Orders of a level are a linked list in the order of
their arrival. All integers: prices in ticks, quantities in lots. An order's id is
`serial << SLOT_BITS | slot`: found without a map, and never used twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

F = TypeVar("F", bound=Callable[..., object])
I8 = npt.NDArray[np.int64]
F8 = npt.NDArray[np.float64]

SLOT_BITS = 20
SLOT_MASK = (1 << SLOT_BITS) - 1
NONE = -1  # no order, no price

BID, ASK = 0, 1
# Kinds of orders. A market order has no limit; what it cannot fill at once expires.
LIMIT, IMMEDIATE, ALL_OR_NOTHING, POST_ONLY, MARKET = 0, 1, 2, 3, 4
# What became of an order.
RESTING, FILLED, EXPIRED, WOULD_TAKE, CANNOT_FILL, OUT_OF_RANGE, BOOK_FULL, INVALID, SELF_TRADE = range(9)
# Nobody in particular: the synthetic flow. Orders of two of them match each other.
NOBODY = 0
# What happens where an order would meet one of its own owner.
EXPIRE_MAKER, EXPIRE_TAKER, EXPIRE_BOTH = 0, 1, 2

# Book.numbers
BEST_BID, BEST_ASK, BID_LEVELS, ASK_LEVELS, LIVE, FREE, SERIAL, BASE = 0, 1, 2, 3, 4, 5, 6, 7
NUMBERS = 8
# Columns of Book.levels and Book.orders.
LEVEL_LOTS, LEVEL_HEAD, LEVEL_TAIL, LEVEL_SIDE = 0, 1, 2, 3
LEVEL_COLUMNS = 4
ORDER_ID, ORDER_TICK, ORDER_LOTS, ORDER_SIDE, ORDER_OWNER, ORDER_NEXT, ORDER_PREV, ORDER_LIVE_AT = range(8)
ORDER_COLUMNS = 8
# Columns of fills.
FILL_MAKER, FILL_TICK, FILL_LOTS, FILL_LEFT = 0, 1, 2, 3
FILL_COLUMNS = 4


def compiled(function: F) -> F:
    return cast(F, njit(cache=True, nogil=True)(function))


class Book(NamedTuple):
    """Arrays of one book; see `matching.make_book`. They are few and wide, because a call pays for each.

    `levels[slot of the ring]` is a price, `orders[slot]` an order, each with the columns named above. Slots without an
    order are chained through ORDER_NEXT from `numbers[FREE]`. `live[:numbers[LIVE]]` are the slots in use in no
    particular order, ORDER_LIVE_AT is where each stands there. ORDER_OWNER is NOBODY for the synthetic flow.
    """

    levels: I8
    orders: I8
    live: I8
    numbers: I8


@compiled
def level_quantity(book: Book, side: int, tick: int) -> int:
    """Lots at a price on that side."""
    at = tick & (len(book.levels) - 1)
    base = book.numbers[BASE]
    if tick < base or tick >= base + len(book.levels) or book.levels[at, LEVEL_SIDE] != side:
        return 0
    return int(book.levels[at, LEVEL_LOTS])


@compiled
def next_level(book: Book, side: int, tick: int) -> int:
    """The nearest price with orders on that side, from `tick` on away from the touch; NONE when there is none."""
    ring = len(book.levels)
    base = book.numbers[BASE]
    step = -1 if side == BID else 1
    while base <= tick < base + ring:
        at = tick & (ring - 1)
        if book.levels[at, LEVEL_LOTS] > 0 and book.levels[at, LEVEL_SIDE] == side:
            return tick
        tick += step
    return NONE


@compiled
def _unlink(book: Book, slot: int) -> None:
    """Take an order out of its level and of the live list."""
    tick, side = book.orders[slot, ORDER_TICK], book.orders[slot, ORDER_SIDE]
    at = tick & (len(book.levels) - 1)
    before, after = book.orders[slot, ORDER_PREV], book.orders[slot, ORDER_NEXT]
    if before == NONE:
        book.levels[at, LEVEL_HEAD] = after
    else:
        book.orders[before, ORDER_NEXT] = after
    if after == NONE:
        book.levels[at, LEVEL_TAIL] = before
    else:
        book.orders[after, ORDER_PREV] = before
    book.levels[at, LEVEL_LOTS] -= book.orders[slot, ORDER_LOTS]
    _forget(book, slot)
    if book.levels[at, LEVEL_HEAD] == NONE:
        _empty_level(book, side, tick)


@compiled
def _forget(book: Book, slot: int) -> None:
    last = book.numbers[LIVE] - 1
    place, moved = book.orders[slot, ORDER_LIVE_AT], book.live[last]
    book.live[place] = moved
    book.orders[moved, ORDER_LIVE_AT] = place
    book.numbers[LIVE] = last
    book.orders[slot, ORDER_ID] = 0
    book.orders[slot, ORDER_NEXT] = book.numbers[FREE]
    book.numbers[FREE] = slot


@compiled
def _empty_level(book: Book, side: int, tick: int) -> None:
    if side == BID:
        book.numbers[BID_LEVELS] -= 1
        if tick == book.numbers[BEST_BID]:
            book.numbers[BEST_BID] = next_level(book, BID, tick - 1) if book.numbers[BID_LEVELS] else NONE
    else:
        book.numbers[ASK_LEVELS] -= 1
        if tick == book.numbers[BEST_ASK]:
            book.numbers[BEST_ASK] = next_level(book, ASK, tick + 1) if book.numbers[ASK_LEVELS] else NONE


@compiled
def _rest(book: Book, side: int, tick: int, lots: int, owner: int) -> int:
    """Append an order to its level; returns its id."""
    numbers = book.numbers
    slot = numbers[FREE]
    numbers[FREE] = book.orders[slot, ORDER_NEXT]
    numbers[SERIAL] += 1
    order_id = (numbers[SERIAL] << SLOT_BITS) | slot
    at = tick & (len(book.levels) - 1)
    book.orders[slot, ORDER_ID] = order_id
    book.orders[slot, ORDER_TICK] = tick
    book.orders[slot, ORDER_LOTS] = lots
    book.orders[slot, ORDER_SIDE] = side
    book.orders[slot, ORDER_OWNER] = owner
    book.orders[slot, ORDER_NEXT] = NONE
    book.live[numbers[LIVE]] = slot
    book.orders[slot, ORDER_LIVE_AT] = numbers[LIVE]
    numbers[LIVE] += 1
    if book.levels[at, LEVEL_LOTS] == 0:
        book.levels[at, LEVEL_SIDE] = side
        book.levels[at, LEVEL_HEAD] = slot
        book.orders[slot, ORDER_PREV] = NONE
        if side == BID:
            numbers[BID_LEVELS] += 1
            numbers[BEST_BID] = max(numbers[BEST_BID], tick)
        else:
            numbers[ASK_LEVELS] += 1
            numbers[BEST_ASK] = tick if numbers[BEST_ASK] == NONE else min(numbers[BEST_ASK], tick)
    else:
        tail = book.levels[at, LEVEL_TAIL]
        book.orders[slot, ORDER_PREV] = tail
        book.orders[tail, ORDER_NEXT] = slot
    book.levels[at, LEVEL_TAIL] = slot
    book.levels[at, LEVEL_LOTS] += lots
    return int(order_id)


@compiled
def _reaches(side: int, limit: int, tick: int) -> bool:
    """Whether an order with this limit takes at this price of the other side."""
    return tick != NONE and (tick <= limit if side == BID else tick >= limit)


@compiled
def _available(book: Book, side: int, limit: int, lots: int) -> int:
    """Lots that an order could take at once, counted no further than `lots`."""
    other = ASK if side == BID else BID
    tick = book.numbers[BEST_ASK if side == BID else BEST_BID]
    found = 0
    while found < lots and _reaches(side, limit, tick):
        found += level_quantity(book, other, tick)
        tick = next_level(book, other, tick + 1 if side == BID else tick - 1)
    return min(found, lots)


@compiled
def available_to(book: Book, side: int, limit: int, lots: int, owner: int, prevent: int) -> int:
    """As `_available`, for somebody who may not meet their own orders: those do not count, or end the count."""
    other = ASK if side == BID else BID
    mask = len(book.levels) - 1
    tick = book.numbers[BEST_ASK if side == BID else BEST_BID]
    found = 0
    while found < lots and _reaches(side, limit, tick):
        slot = book.levels[tick & mask, LEVEL_HEAD]
        while slot != NONE:
            if book.orders[slot, ORDER_OWNER] != owner:
                found += book.orders[slot, ORDER_LOTS]
            elif prevent != EXPIRE_MAKER:
                return min(found, lots)
            slot = book.orders[slot, ORDER_NEXT]
        tick = next_level(book, other, tick + 1 if side == BID else tick - 1)
    return min(found, lots)


@compiled
def place(
    book: Book, side: int, kind: int, limit: int, lots: int, fills: I8, owner: int = NOBODY, prevent: int = EXPIRE_MAKER
) -> tuple[int, int, int, int]:
    """Put an order to the market.

    Args:
        book: changed in place.
        side: BID buys, ASK sells.
        kind: LIMIT, IMMEDIATE, ALL_OR_NOTHING, POST_ONLY or MARKET.
        limit: worst price in ticks; ignored for MARKET.
        lots: quantity.
        fills: (n, 4) room for its fills: maker id, tick, lots, lots the maker has left. n is at least the
            number of live orders. With 0 lots: an order of the same owner that expired instead of being met.
        owner: whose it is. Nobody's orders meet each other; an owner's never do.
        prevent: which of the two ends where they would.

    Returns:
        what became of it, its id when it rests (else 0), lots not filled, number of fills.
    """
    numbers = book.numbers
    ring = len(book.levels)
    if lots <= 0 or (kind != MARKET and limit <= 0):
        return INVALID, 0, lots, 0
    if kind == MARKET:
        limit = numbers[BASE] + ring if side == BID else 0
    elif not numbers[BASE] <= limit < numbers[BASE] + ring:
        return OUT_OF_RANGE, 0, lots, 0
    crossing = _reaches(side, limit, numbers[BEST_ASK if side == BID else BEST_BID])
    if kind == POST_ONLY and crossing:
        return WOULD_TAKE, 0, lots, 0
    if kind == ALL_OR_NOTHING:
        if owner == NOBODY:
            available = _available(book, side, limit, lots)
        else:
            available = available_to(book, side, limit, lots, owner, prevent)
        if available < lots:
            return CANNOT_FILL, 0, lots, 0
    if kind in (LIMIT, POST_ONLY) and not crossing and numbers[FREE] == NONE:
        return BOOK_FULL, 0, lots, 0
    left, count, met_own = _match(book, side, limit, lots, fills, owner, prevent)
    if left == 0:
        return FILLED, 0, 0, count
    if met_own:
        return SELF_TRADE, 0, left, count
    if kind not in (LIMIT, POST_ONLY):
        return EXPIRED, 0, left, count
    return RESTING, _rest(book, side, limit, left, owner), left, count


@compiled
def _match(book: Book, side: int, limit: int, lots: int, fills: I8, owner: int, prevent: int) -> tuple[int, int, bool]:
    """Take from the other side, best price first, oldest order first.

    Returns:
        lots left, number of fills, whether it ends at an order of its own owner.
    """
    numbers = book.numbers
    mask = len(book.levels) - 1
    best = BEST_ASK if side == BID else BEST_BID
    count = 0
    while lots > 0 and _reaches(side, limit, numbers[best]):
        tick = numbers[best]
        slot = book.levels[tick & mask, LEVEL_HEAD]
        if owner != NOBODY and book.orders[slot, ORDER_OWNER] == owner:
            if prevent != EXPIRE_TAKER:
                fills[count, FILL_MAKER], fills[count, FILL_TICK] = book.orders[slot, ORDER_ID], tick
                fills[count, FILL_LOTS], fills[count, FILL_LEFT] = 0, book.orders[slot, ORDER_LOTS]
                count += 1
                _unlink(book, slot)
            if prevent != EXPIRE_MAKER:
                return lots, count, True
            continue
        taken = min(lots, book.orders[slot, ORDER_LOTS])
        lots -= taken
        fills[count, FILL_MAKER] = book.orders[slot, ORDER_ID]
        fills[count, FILL_TICK] = tick
        fills[count, FILL_LOTS] = taken
        fills[count, FILL_LEFT] = book.orders[slot, ORDER_LOTS] - taken
        count += 1
        if taken == book.orders[slot, ORDER_LOTS]:
            _unlink(book, slot)
        else:
            book.orders[slot, ORDER_LOTS] -= taken
            book.levels[tick & mask, LEVEL_LOTS] -= taken
    return lots, count, False


@compiled
def cancel(book: Book, order_id: int) -> int:
    """Take an order off the book; returns its lots, 0 when it is not there."""
    slot = order_id & SLOT_MASK
    if order_id <= 0 or slot >= len(book.orders) or book.orders[slot, ORDER_ID] != order_id:
        return 0
    lots = book.orders[slot, ORDER_LOTS]
    _unlink(book, slot)
    return int(lots)


@compiled
def shrink(book: Book, order_id: int, lots: int) -> int:
    """Cut a resting order to `lots` (at least 1) where it stands; returns how many were cut off."""
    slot = order_id & SLOT_MASK
    if order_id <= 0 or slot >= len(book.orders) or book.orders[slot, ORDER_ID] != order_id:
        return 0
    cut = book.orders[slot, ORDER_LOTS] - lots
    if cut <= 0 or lots <= 0:
        return 0
    book.orders[slot, ORDER_LOTS] = lots
    book.levels[book.orders[slot, ORDER_TICK] & (len(book.levels) - 1), LEVEL_LOTS] -= cut
    return int(cut)


@compiled
def move_window(book: Book, base: int) -> int:
    """Let the window of prices begin at `base`; orders outside are cancelled. Returns how many."""
    removed = 0
    ring = len(book.levels)
    at = 0
    while at < book.numbers[LIVE]:
        slot = book.live[at]
        if base <= book.orders[slot, ORDER_TICK] < base + ring:
            at += 1
        else:
            _unlink(book, slot)  # another order takes its place in `live`
            removed += 1
    book.numbers[BASE] = base
    return removed


@compiled
def collect_levels(book: Book, side: int, ticks: I8, lots: I8) -> int:
    """Prices and quantities from the touch outwards, as many as there is room for; returns how many."""
    tick = book.numbers[BEST_BID if side == BID else BEST_ASK]
    count = 0
    while tick != NONE and count < len(ticks):
        ticks[count] = tick
        lots[count] = level_quantity(book, side, tick)
        count += 1
        tick = next_level(book, side, tick - 1 if side == BID else tick + 1)
    return count


# ---- synthetic order flow

# Columns of rows: time, what, and four values: a CHANGE has side, tick, lots; a TRADE aggressor, tick, lots,
# maker id; a TICKER bid, its lots, ask, its lots.
ROW_CHANGE, ROW_TRADE, ROW_TICKER = 0, 1, 2
ROW_COLUMNS = 6

# Flow parameters (see synthetic_market.Flow for what they mean).
(
    P_MARKET, P_LIMIT, P_CANCEL, P_JUMP, P_DECAY, P_EXCITED_BOOK, P_STALE, P_VALUE_STEP, P_VOL_REVERT, P_VOL_STEP,
    P_PRESSURE, P_DISTANCE, P_DISTANCE_POWER, P_INSIDE, P_SIZE, P_SIZE_POWER, P_MARKET_SIZE, P_DISTANCE_MAX, P_SIZE_MAX,
) = range(19)  # fmt: skip
PARAMETERS = 19
# Flow state.
S_EXCITED, S_LOG_VOL, S_VALUE, S_ACTIVITY = 0, 1, 2, 3
STATES = 4
# Flow counters.
C_NOW_NS, C_GRID_NS, C_CURSOR, C_BID, C_BID_LOTS, C_ASK, C_ASK_LOTS = 0, 1, 2, 3, 4, 5, 6
COUNTERS = 7

GRID_NS = 100_000_000  # volatility and value move at this interval
DRAWS_MAX = 16  # uniforms that one step may use
SWEEP_TICKS = 2000  # market orders look no further for their quantity
LEVELS_MIN = 64  # a side with fewer levels is left alone
STALE_RATE_MAX = 2000.0
LOG_VOL_MAX = 1.5
DONE, NEED_DRAWS, NEED_ROOM = 0, 1, 2


@compiled
def _tail(u: float, scale: float, power: float) -> int:
    """A whole number ≥ 0 with a power-law tail: P(x > n) = (1 + n / scale) ^ -power."""
    heavy: float = (1.0 - u) ** (-1.0 / power)
    return int(scale * (heavy - 1.0))


@compiled
def _normal(u: float, v: float, w: float, x: float) -> float:
    """Nearly normal, variance 1, from four uniforms."""
    return (u + v + w + x - 2.0) * 1.7320508075688772


@compiled
def _size(u: float, v: float, scale: float, power: float, most: float) -> int:
    """A heavy-tailed quantity; one in five is rounded, as people like round numbers."""
    lots = int(min(1 + _tail(u, scale, power), most))
    if v < 0.2 and lots >= 20:
        unit = 10
        while unit * 20 <= lots:
            unit *= 10
        lots -= lots % unit
    return lots


@compiled
def _emit(rows: I8, count: int, ts_ns: int, what: int, a: int, b: int, c: int, d: int) -> int:
    rows[count, 0] = ts_ns
    rows[count, 1] = what
    rows[count, 2] = a
    rows[count, 3] = b
    rows[count, 4] = c
    rows[count, 5] = d
    return count + 1


@compiled
def _emit_ticker(book: Book, counters: I8, rows: I8, count: int) -> int:
    """A row when the best prices or their quantities are not what they were."""
    numbers = book.numbers
    bid, ask = numbers[BEST_BID], numbers[BEST_ASK]
    bid_lots, ask_lots = level_quantity(book, BID, bid), level_quantity(book, ASK, ask)
    same = (
        counters[C_BID] == bid
        and counters[C_BID_LOTS] == bid_lots
        and counters[C_ASK] == ask
        and counters[C_ASK_LOTS] == ask_lots
    )
    if same:
        return count
    counters[C_BID], counters[C_BID_LOTS], counters[C_ASK], counters[C_ASK_LOTS] = bid, bid_lots, ask, ask_lots
    return _emit(rows, count, counters[C_NOW_NS], ROW_TICKER, bid, bid_lots, ask, ask_lots)


@compiled
def _order(
    book: Book, counters: I8, rows: I8, count: int, fills: I8, side: int, kind: int, tick: int, lots: int
) -> int:
    """Place an order of the flow and report it."""
    status, _, _, filled = place(book, side, kind, tick, lots, fills)
    return report_order(book, counters, rows, count, fills, side, tick, status == RESTING, filled)


@compiled
def report_order(
    book: Book, counters: I8, rows: I8, count: int, fills: I8, side: int, tick: int, rests: bool, filled: int
) -> int:
    """Rows of a placed order: trades, then every level that changed, then the ticker."""
    now_ns = counters[C_NOW_NS]
    for i in range(filled):
        tick_filled, lots_filled, maker = fills[i, FILL_TICK], fills[i, FILL_LOTS], fills[i, FILL_MAKER]
        if lots_filled > 0:
            count = _emit(rows, count, now_ns, ROW_TRADE, side, tick_filled, lots_filled, maker)
    other = ASK if side == BID else BID
    for i in range(filled):
        if i + 1 == filled or fills[i + 1, FILL_TICK] != fills[i, FILL_TICK]:
            at = fills[i, FILL_TICK]
            count = _emit(rows, count, now_ns, ROW_CHANGE, other, at, level_quantity(book, other, at), 0)
    if rests:
        count = _emit(rows, count, now_ns, ROW_CHANGE, side, tick, level_quantity(book, side, tick), 0)
    return _emit_ticker(book, counters, rows, count)


@compiled
def report_level(book: Book, counters: I8, rows: I8, count: int, side: int, tick: int) -> int:
    """Rows of a level that changed without a trade: the level, then the ticker."""
    count = _emit(rows, count, counters[C_NOW_NS], ROW_CHANGE, side, tick, level_quantity(book, side, tick), 0)
    return _emit_ticker(book, counters, rows, count)


@compiled
def _withdraw(book: Book, counters: I8, rows: I8, count: int, slot: int) -> int:
    if book.orders[slot, ORDER_OWNER] != NOBODY:
        return count  # somebody's order: only its owner takes it away
    side, tick = int(book.orders[slot, ORDER_SIDE]), book.orders[slot, ORDER_TICK]
    levels = book.numbers[BID_LEVELS if side == BID else ASK_LEVELS]
    if levels <= LEVELS_MIN:
        return count
    cancel(book, book.orders[slot, ORDER_ID])
    count = _emit(rows, count, counters[C_NOW_NS], ROW_CHANGE, side, tick, level_quantity(book, side, tick), 0)
    return _emit_ticker(book, counters, rows, count)


@compiled
def _place_limit(
    book: Book, parameters: F8, states: F8, counters: I8, rows: I8, count: int, fills: I8, draws: F8, at: int
) -> int:
    """A new resting order on either side, at a power-law distance from the value, or right at it in a wide spread.

    It never takes: where the value is beyond the other side's best price, that price is the nearest.
    """
    bid, ask = book.numbers[BEST_BID], book.numbers[BEST_ASK]
    value = int(states[S_VALUE])
    side = BID if draws[at] < 0.5 else ASK
    lots = _size(draws[at + 1], draws[at + 2], parameters[P_SIZE], parameters[P_SIZE_POWER], parameters[P_SIZE_MAX])
    away = 0
    if ask - bid == 1 or draws[at + 3] >= parameters[P_INSIDE]:
        away = _tail(draws[at + 4], parameters[P_DISTANCE], parameters[P_DISTANCE_POWER])
        away = min(away, int(parameters[P_DISTANCE_MAX]))
    tick = min(value, ask - 1) - away if side == BID else max(value + 1, bid + 1) + away
    return _order(book, counters, rows, count, fills, side, POST_ONLY, tick, lots)


@compiled
def _take_market(
    book: Book, parameters: F8, states: F8, counters: I8, rows: I8, count: int, fills: I8, draws: F8, at: int
) -> int:
    """A market order, towards the value more often than away from it."""
    numbers = book.numbers
    lean = (states[S_VALUE] - 0.5 * (numbers[BEST_BID] + numbers[BEST_ASK])) / parameters[P_PRESSURE]
    side = BID if draws[at] < 1.0 / (1.0 + math.exp(-lean)) else ASK
    if numbers[ASK_LEVELS if side == BID else BID_LEVELS] <= LEVELS_MIN:
        return count
    power, most = parameters[P_SIZE_POWER], parameters[P_SIZE_MAX]
    lots = _size(draws[at + 1], draws[at + 2], parameters[P_MARKET_SIZE], power, most)
    reach = numbers[BEST_ASK] + SWEEP_TICKS if side == BID else numbers[BEST_BID] - SWEEP_TICKS
    lots = min(lots, 1 + _available(book, side, reach, 2 * lots) // 2)  # nobody buys a market empty
    return _order(book, counters, rows, count, fills, side, MARKET, 0, lots)


@compiled
def _cancel_one(book: Book, counters: I8, rows: I8, count: int, draws: F8, at: int) -> int:
    """Cancel the order nearer to the touch of two picked at random."""
    live = book.numbers[LIVE]
    first = book.live[min(int(draws[at] * live), live - 1)]
    second = book.live[min(int(draws[at + 1] * live), live - 1)]
    bid, ask = book.numbers[BEST_BID], book.numbers[BEST_ASK]
    first_away = (
        bid - book.orders[first, ORDER_TICK]
        if book.orders[first, ORDER_SIDE] == BID
        else book.orders[first, ORDER_TICK] - ask
    )
    second_away = (
        bid - book.orders[second, ORDER_TICK]
        if book.orders[second, ORDER_SIDE] == BID
        else book.orders[second, ORDER_TICK] - ask
    )
    return _withdraw(book, counters, rows, count, first if first_away <= second_away else second)


@compiled
def _stale_distance(book: Book, value: float) -> float:
    """How far the value is beyond the touch, in ticks: makers take such quotes away."""
    return float(max(0.0, value - book.numbers[BEST_ASK], book.numbers[BEST_BID] - value))


@compiled
def _rates(book: Book, parameters: F8, states: F8, rates: F8) -> float:
    """Arrivals per second of market orders, limit orders, cancellations, stale quotes; returns their sum."""
    activity, excited = states[S_ACTIVITY], states[S_EXCITED]
    rates[0] = activity * parameters[P_MARKET] + excited  # the excitement itself is not scaled: it would explode
    rates[1] = activity * parameters[P_LIMIT] + parameters[P_EXCITED_BOOK] * excited
    rates[2] = activity * parameters[P_CANCEL] * book.numbers[LIVE] + parameters[P_EXCITED_BOOK] * excited
    rates[3] = min(parameters[P_STALE] * _stale_distance(book, states[S_VALUE]), STALE_RATE_MAX)
    return float(rates[0] + rates[1] + rates[2] + rates[3])


@compiled
def _move_grid(parameters: F8, states: F8, counters: I8, draws: F8, at: int) -> None:
    """A step of the volatility (which reverts to its mean) and of the value (a walk with that volatility)."""
    shock = _normal(draws[at], draws[at + 1], draws[at + 2], draws[at + 3])
    states[S_LOG_VOL] += -parameters[P_VOL_REVERT] * states[S_LOG_VOL] + parameters[P_VOL_STEP] * shock
    states[S_LOG_VOL] = min(max(states[S_LOG_VOL], -LOG_VOL_MAX), LOG_VOL_MAX)
    volatility = math.exp(states[S_LOG_VOL])
    step = _normal(draws[at + 4], draws[at + 5], draws[at + 6], draws[at + 7])
    states[S_VALUE] += parameters[P_VALUE_STEP] * volatility * step
    states[S_ACTIVITY] = min(max(volatility, 0.3), 4.0)
    counters[C_GRID_NS] += GRID_NS


@compiled
def advance(
    book: Book, parameters: F8, states: F8, counters: I8, draws: F8, fills: I8, rows: I8, count: int, until_ns: int
) -> tuple[int, int]:
    """Let the market run to `until_ns`.

    Arrivals are a self-exciting point process, drawn by thinning: between two arrivals the excitement only
    decays, so the rate at the last one bounds the rate until the next.

    Args:
        book, states, counters: changed in place.
        parameters: see the P_ constants.
        draws: uniform numbers in [0, 1), used up from `counters[C_CURSOR]` on.
        fills: as in `place`.
        rows: (n, 6) room for what happened: see the ROW_ constants.
        count: rows in use.
        until_ns: venue time to stop at.

    Returns:
        DONE, or NEED_DRAWS, or NEED_ROOM (call again with more), and the rows in use.
    """
    rates = np.zeros(4)
    room = 2 * len(book.orders) + DRAWS_MAX
    while counters[C_NOW_NS] < until_ns:
        at = counters[C_CURSOR]
        if at + DRAWS_MAX > len(draws):
            return NEED_DRAWS, count
        if len(rows) - count < room:
            return NEED_ROOM, count
        counters[C_CURSOR] = at + DRAWS_MAX
        bound = _rates(book, parameters, states, rates)
        wait_s = -math.log(1.0 - draws[at]) / bound
        stop_ns = min(until_ns, counters[C_GRID_NS])
        left_s = (stop_ns - counters[C_NOW_NS]) * 1e-9
        if wait_s >= left_s:
            states[S_EXCITED] *= math.exp(-parameters[P_DECAY] * left_s)
            counters[C_NOW_NS] = stop_ns
            if stop_ns == counters[C_GRID_NS]:
                _move_grid(parameters, states, counters, draws, at + 1)
            continue
        states[S_EXCITED] *= math.exp(-parameters[P_DECAY] * wait_s)
        counters[C_NOW_NS] += int(wait_s * 1e9)
        pick = draws[at + 1] * bound
        total = _rates(book, parameters, states, rates)
        if pick >= total:
            continue  # thinned out
        if pick < rates[0]:
            states[S_EXCITED] += parameters[P_JUMP]
            count = _take_market(book, parameters, states, counters, rows, count, fills, draws, at + 2)
        elif pick < rates[0] + rates[1]:
            count = _place_limit(book, parameters, states, counters, rows, count, fills, draws, at + 2)
        elif pick < rates[0] + rates[1] + rates[2]:
            count = _cancel_one(book, counters, rows, count, draws, at + 2)
        else:
            best = BEST_ASK if states[S_VALUE] > book.numbers[BEST_ASK] else BEST_BID
            slot = book.levels[book.numbers[best] & (len(book.levels) - 1), LEVEL_HEAD]
            while book.orders[slot, ORDER_OWNER] != NOBODY and book.orders[slot, ORDER_NEXT] != NONE:
                slot = book.orders[slot, ORDER_NEXT]
            count = _withdraw(book, counters, rows, count, slot)
    return DONE, count
