"""Every level of one side of an order book, in arrays: a ladder around the touch and an exact map for the rest.

The *ladder* is a window of `ladder.shape[1]` ticks (a power of two); a cell holds the quantity of its price.
A side looks *uphill*: cell numbers rise towards better prices on both sides, so that the best level is the
highest occupied cell for bids and offers alike (`STEP` is + tick for bids, − tick for offers).
Prices worse than the window live in the *far map*, an open-addressing hash table. No price better than the
window is ever outside it: the window moves first. A price off the grid makes the tick smaller (the greatest
common divisor of all prices seen) before it is stored, so every level stands in a cell of its own.

Cell of a price without a division: (price − BASE) ÷ tick is exact on the grid, so multiplying by the inverse of
the tick's odd part modulo 2^64 and rotating away its power of two gives the cell; any price off the grid, below
or above the window gives a number ≥ the window's size. One comparison tells all of that.

Arrays (a *line* is slot × 2 + side):
    sides: int64[lines, SIDE_COLUMNS]
    ladder: int64[lines, cells], quantities
    occupied: uint64[lines, cells ÷ 64], one bit a cell
    far: int64[lines, capacity, 2], (price, quantity); price 0 is free; at most half of it is used; a power of two
"""

from __future__ import annotations

import numpy as np

from processors.kernels.bits import (
    greatest_divisor,
    highest_bit,
    likely,
    odd_inverse,
    rotate_right,
    trailing_zeros,
)
from processors.kernels.compiling import kernel, part

STEP = 0  # price of one cell uphill; 0: no price seen yet
INVERSE = 1  # of the odd part of STEP, modulo 2^64
SHIFT = 2  # power of two in the tick
BASE = 3  # price of cell 0
TOP = 4  # no occupied cell is above it (between two updates it may be too high); -1: ladder empty
LEVELS = 5  # levels of this side, near and far
FAR = 6  # of these, in the far map
MOVES = 7  # how often the window moved
SIDE_COLUMNS = 8

PRICE_MAX = 1 << 62  # 46 billion; sums of prices and window sizes stay inside int64
TICK_MAX = 10**12  # 10,000.00000000; divides every usual tick times a power of ten, and keeps windows small

_1 = np.uint64(1)
_3 = np.uint64(3)
_4 = np.uint64(4)
_6 = np.uint64(6)
_7 = np.uint64(7)
_63 = np.uint64(63)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@part
def cell_of(sides, line, price):  # type: ignore[no-untyped-def]
    """Cell of a price, as uint64; ≥ the ladder's size when the price is off the grid or outside the window."""
    distance = np.uint64(price - sides[line, BASE]) * np.uint64(sides[line, INVERSE])
    return rotate_right(distance, np.uint64(sides[line, SHIFT]))


@part
def _far_home(far, price):  # type: ignore[no-untyped-def]
    return np.int64((np.uint64(price) * _GOLDEN) >> np.uint64(32)) & (far.shape[1] - 1)


@part
def _far_place(far, line, price):  # type: ignore[no-untyped-def]
    """Where the price is in the far map, or the free place where it would go."""
    place = _far_home(far, price)
    while far[line, place, 0] != 0 and far[line, place, 0] != price:
        place = (place + 1) & (far.shape[1] - 1)
    return place


@part
def _far_remove(far, line, hole):  # type: ignore[no-untyped-def]
    """Free a place and pull later entries of its chain forward, so that no chain is broken."""
    mask = far.shape[1] - 1
    other = (hole + 1) & mask
    while far[line, other, 0] != 0:
        home = _far_home(far, far[line, other, 0])
        if ((other - home) & mask) >= ((other - hole) & mask):
            far[line, hole, 0] = far[line, other, 0]
            far[line, hole, 1] = far[line, other, 1]
            hole = other
        other = (other + 1) & mask
    far[line, hole, 0] = 0
    far[line, hole, 1] = 0


@part
def _set_far(sides, far, line, price, quantity):  # type: ignore[no-untyped-def]
    """Set or remove a far level. False: the map is full, nothing changed."""
    place = _far_place(far, line, price)
    known = far[line, place, 0] != 0
    if quantity == 0:
        if known:
            _far_remove(far, line, place)
            sides[line, FAR] -= 1
            sides[line, LEVELS] -= 1
        return True
    if not known:
        if 2 * (sides[line, FAR] + 1) > far.shape[1]:
            return False
        far[line, place, 0] = price
        sides[line, FAR] += 1
        sides[line, LEVELS] += 1
    far[line, place, 1] = quantity
    return True


@kernel
def enlarge_far(far, larger):  # type: ignore[no-untyped-def]
    """Bring every entry of a far map into an empty one of a larger capacity."""
    for line in range(far.shape[0]):
        for place in range(far.shape[1]):
            price = far[line, place, 0]
            if price != 0:
                home = _far_place(larger, line, price)
                larger[line, home, 0] = price
                larger[line, home, 1] = far[line, place, 1]


@part
def _set_cell(sides, ladder, occupied, line, cell, quantity):  # type: ignore[no-untyped-def]
    before = ladder[line, cell]
    ladder[line, cell] = quantity
    if (before != 0) != (quantity != 0):
        occupied[line, cell >> 6] ^= _1 << np.uint64(cell & 63)
        sides[line, LEVELS] += 1 if quantity != 0 else -1
    if quantity != 0 and cell > sides[line, TOP]:
        sides[line, TOP] = cell


@part
def next_cell(occupied, line, cell):  # type: ignore[no-untyped-def]
    """The highest occupied cell at or below `cell`; -1 when there is none."""
    if cell < 0:
        return -1
    at = cell >> 6
    word = occupied[line, at] & (np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(63 - (cell & 63)))
    while word == 0:
        at -= 1
        if at < 0:
            return -1
        word = occupied[line, at]
    return at * 64 + highest_bit(word)


@part
def next_far_price(sides, far, line, beyond):  # type: ignore[no-untyped-def]
    """The best far price that is worse than `beyond` (0: than none); 0 when there is none."""
    best = 0
    uphill = 1 if sides[line, STEP] > 0 else -1
    for place in range(far.shape[1]):
        price = far[line, place, 0]
        if price != 0 and (beyond == 0 or (beyond - price) * uphill > 0) and (best == 0 or (price - best) * uphill > 0):
            best = price
    return best


@part
def window_base(cells, tick, side, price):  # type: ignore[no-untyped-def]
    """Price of cell 0 of a window that holds `price` three quarters uphill and only prices 1 … PRICE_MAX."""
    below = (cells - cells // 4) * tick
    if side == 0:
        return max(price - below, tick)
    return min(max(price + below, cells * tick), PRICE_MAX // tick * tick)


@part
def _holds(cells, step, base, price):  # type: ignore[no-untyped-def]
    """Whether a window holds a price that is on its grid."""
    cell = (price - base) // step
    return 0 <= cell < cells


@part
def _far_after(sides, ladder, occupied, far, line, step, base):  # type: ignore[no-untyped-def]
    """How many levels would be far with another window."""
    cells = ladder.shape[1]
    count = 0
    cell = next_cell(occupied, line, sides[line, TOP])
    while cell >= 0:
        count += 0 if _holds(cells, step, base, sides[line, BASE] + cell * sides[line, STEP]) else 1
        cell = next_cell(occupied, line, cell - 1)
    if sides[line, FAR] != 0:
        for place in range(far.shape[1]):
            price = far[line, place, 0]
            count += 1 if price != 0 and not _holds(cells, step, base, price) else 0
    return count


@kernel
def move_window(sides, ladder, occupied, far, line, tick, price):  # type: ignore[no-untyped-def]
    """Put the window around `price`, with cells of `tick`, and move every level to where it now belongs.

    Returns:
        False: more levels would be far than the far map may hold; nothing changed.
    """
    side = line & 1
    cells = ladder.shape[1]
    step = tick if side == 0 else -tick
    base = window_base(cells, tick, side, price)
    if 2 * _far_after(sides, ladder, occupied, far, line, step, base) > far.shape[1]:
        return False
    moved = np.empty((sides[line, LEVELS], 2), dtype=np.int64)
    count = _take_all(sides, ladder, occupied, far, line, step, base, moved)
    shift = trailing_zeros(tick)
    inverse = np.int64(odd_inverse(tick >> shift))
    sides[line, STEP] = step
    sides[line, INVERSE] = inverse if side == 0 else -inverse
    sides[line, SHIFT] = shift
    sides[line, BASE] = base
    sides[line, MOVES] += 1
    for k in range(count):
        if _holds(cells, step, base, moved[k, 0]):
            _set_cell(sides, ladder, occupied, line, (moved[k, 0] - base) // step, moved[k, 1])
        else:
            _set_far(sides, far, line, moved[k, 0], moved[k, 1])
    return True


@part
def _take_all(sides, ladder, occupied, far, line, step, base, moved):  # type: ignore[no-untyped-def]
    """Take out all ladder levels and those far levels that the new window holds. Returns how many."""
    cells = ladder.shape[1]
    count = 0
    cell = next_cell(occupied, line, sides[line, TOP])
    while cell >= 0:
        moved[count, 0] = sides[line, BASE] + cell * sides[line, STEP]
        moved[count, 1] = ladder[line, cell]
        ladder[line, cell] = 0
        count += 1
        cell = next_cell(occupied, line, cell - 1)
    occupied[line, :] = 0
    sides[line, TOP] = -1
    near = count
    if sides[line, FAR] != 0:
        for place in range(far.shape[1]):
            price = far[line, place, 0]
            if price != 0 and _holds(cells, step, base, price):
                moved[count, 0] = price
                moved[count, 1] = far[line, place, 1]
                count += 1
        for k in range(near, count):  # only now: removing shifts entries that the loop above walks over
            _far_remove(far, line, _far_place(far, line, moved[k, 0]))
    sides[line, FAR] -= count - near
    sides[line, LEVELS] -= count
    return count


@part
def set_level(sides, ladder, occupied, far, line, price, quantity):  # type: ignore[no-untyped-def]
    """Set the quantity of any price from 1 to PRICE_MAX; 0 removes the level.

    Returns:
        False: the far map is full; nothing changed.
    """
    step = sides[line, STEP]
    if step == 0:
        if quantity == 0:
            return True
        move_window(sides, ladder, occupied, far, line, greatest_divisor(TICK_MAX, price), price)
    elif price % abs(step) != 0:
        if quantity == 0:  # nothing is stored off the grid
            return True
        centre = best_price(sides, occupied, far, line)
        if centre == 0 or (price > centre) == (step > 0):
            centre = price
        if not move_window(sides, ladder, occupied, far, line, greatest_divisor(abs(step), price), centre):
            return False
    cell = (price - sides[line, BASE]) // sides[line, STEP]
    if cell < 0:
        return _set_far(sides, far, line, price, quantity)
    if cell >= ladder.shape[1]:
        if quantity == 0:  # nothing is stored above the window
            return True
        if not move_window(sides, ladder, occupied, far, line, abs(sides[line, STEP]), price):
            return False
        cell = (price - sides[line, BASE]) // sides[line, STEP]
    _set_cell(sides, ladder, occupied, line, cell, quantity)
    return True


@part
def best_price(sides, occupied, far, line):  # type: ignore[no-untyped-def]
    """The best price of a side; 0 when it is empty."""
    cell = next_cell(occupied, line, sides[line, TOP])
    sides[line, TOP] = cell
    if cell >= 0:
        return sides[line, BASE] + cell * sides[line, STEP]
    if sides[line, FAR] != 0:
        return next_far_price(sides, far, line, 0)
    return 0


@part
def settle_top(sides, ladder, occupied, far, line):  # type: ignore[no-untyped-def]
    """Make TOP the best level of a side (-1: the side is empty), moving the window when the touch left it."""
    cell = next_cell(occupied, line, sides[line, TOP])
    sides[line, TOP] = cell
    if sides[line, FAR] == 0 or cell >= ladder.shape[1] // 4:
        return
    # The touch sank into the lowest quarter, or below the window: levels near it are in the slow map.
    tick = abs(sides[line, STEP])
    price = sides[line, BASE] + cell * sides[line, STEP] if cell >= 0 else next_far_price(sides, far, line, 0)
    if window_base(ladder.shape[1], tick, line & 1, price) != sides[line, BASE]:
        move_window(sides, ladder, occupied, far, line, tick, price)


@part
def clear_side(sides, ladder, occupied, far, line):  # type: ignore[no-untyped-def]
    """Forget every level, the tick and the window."""
    cell = next_cell(occupied, line, sides[line, TOP])
    while cell >= 0:
        ladder[line, cell] = 0
        cell = next_cell(occupied, line, cell - 1)
    occupied[line, :] = 0
    if sides[line, FAR] != 0:
        far[line, :, :] = 0
    moves = sides[line, MOVES]
    sides[line, :] = 0
    sides[line, TOP] = -1
    sides[line, MOVES] = moves


@part
def apply_run(words, i, stop, key, mask, last, sides, ladder, occupied, far, line):  # type: ignore[no-untyped-def]
    """Apply a run of level updates of one line: the hot loop.

    Stops before the first row that is anything else: another instrument, side, action or time, an unknown flag,
    a negative quantity, a price off the grid, above the window, or far from it and not in the far map yet. Stops
    after a row that has a flag of `last`. The caller has looked at the times of row `i`.

    Args:
        words: int64[rows × 7], BookDelta rows.
        key, mask: word 6 of a row of this run, and which of its bits matter.

    Returns:
        The first row that was not consumed.
    """
    at = np.uint64(i) * _7
    at_stop = np.uint64(stop) * _7
    line = np.uint64(line)
    ts_event_ns = words[at]
    ts_recv_ns = words[at + _1]
    base = sides[line, BASE]
    inverse = np.uint64(sides[line, INVERSE])
    shift = np.uint64(sides[line, SHIFT])
    top = sides[line, TOP]
    levels = sides[line, LEVELS]
    outside = ~np.int64(ladder.shape[1] - 1)
    while at < at_stop:
        price = words[at + _3]
        quantity = words[at + _4]
        word = words[at + _6]
        wrong = ((word ^ key) & mask) | (words[at] ^ ts_event_ns) | (words[at + _1] ^ ts_recv_ns) | (quantity >> 63)
        cell = np.int64(rotate_right(np.uint64(price - base) * inverse, shift))
        if likely(wrong | (cell & outside) == 0):
            before = ladder[line, np.uint64(cell)]
            ladder[line, np.uint64(cell)] = quantity
            change = np.int64(quantity != 0) - np.int64(before != 0)
            occupied[line, np.uint64(cell) >> _6] ^= np.uint64(change & 1) << (np.uint64(cell) & _63)
            levels += change
            top = max(top, cell)
        else:
            if wrong != 0 or price < 1 or price > PRICE_MAX:
                break
            place = _far_place(far, line, price)
            if far[line, place, 0] != 0:
                if quantity == 0:
                    break
                far[line, place, 1] = quantity
            elif quantity != 0:
                break
        at += _7
        if word & last != 0:
            break
    sides[line, TOP] = top
    sides[line, LEVELS] = levels
    return np.int64(at // _7)
