"""Volume by price over one interval: a histogram whose bins are single prices as long as that fits.

A bin is [BASE + k × WIDTH, + WIDTH). While EXACT, WIDTH is TICK, the greatest common divisor of all prices of the
instrument so far, so a bin holds one price and can be put anywhere else without loss when TICK becomes finer. When
the prices of an interval do not fit into BINS bins, WIDTH doubles; edges are multiples of WIDTH, so two neighbours
become one bin exactly. Volumes are therefore always exact; only the choice of WIDTH depends on what came before.

Arrays:
    shapes: int64[slots, SHAPE_COLUMNS]
    volumes: int64[slots, 3, BINS]: bought, sold, trades
"""

from __future__ import annotations

import numpy as np

from processors.kernels.bits import greatest_divisor
from processors.kernels.compiling import kernel, part
from schemas.events import PROFILE_LEVELS

WIDTH, BASE, EXACT, TICK = 0, 1, 2, 3  # WIDTH 0: empty; TICK outlives the interval; 0: no price yet
SHAPE_COLUMNS = 4
BINS = 4096
BOUGHT, SOLD, TRADES = 0, 1, 2
TICK_MAX = 10**12  # see ladder.py
VALUE_AREA_TENTHS = 7
PROFILE_WORDS = 11 + 3 * PROFILE_LEVELS + 1


@part
def bin_of(shapes, slot, price):  # type: ignore[no-untyped-def]
    """The bin in which a trade at this price is counted; BINS when the shape must be changed for it."""
    width = np.uint64(shapes[slot, WIDTH])
    if width == 0:
        return BINS
    distance = np.uint64(price - shapes[slot, BASE])  # huge for a price below the first bin
    place = distance // width
    if place >= np.uint64(BINS) or (shapes[slot, EXACT] == 1 and place * width != distance):
        return BINS
    return np.int64(place)


@part
def add_volume(volumes, slot, place, sold, quantity):  # type: ignore[no-untyped-def]
    """Count a trade in a bin."""
    volumes[slot, sold, place] += quantity
    volumes[slot, TRADES, place] += 1


@kernel
def make_room(shapes, volumes, slot, low, high, price):  # type: ignore[no-untyped-def]
    """Change the shape so that `price` has a bin.

    Args:
        low, high: the range of prices counted so far; anything when there are none.
    """
    old_width = shapes[slot, WIDTH]
    old_base = shapes[slot, BASE]
    if old_width == 0:
        width = greatest_divisor(shapes[slot, TICK] if shapes[slot, TICK] != 0 else TICK_MAX, price)
        low, high = price, price
        exact = True
    else:
        exact = shapes[slot, EXACT] == 1
        width = greatest_divisor(old_width, price) if exact else old_width
    if exact:
        shapes[slot, TICK] = width
    range_low = min(low, price)
    range_high = max(high, price)
    while range_high // width - range_low // width + 1 > BINS:
        width *= 2
        exact = False
    spare = BINS - (range_high // width - range_low // width + 1)
    base = max(range_low // width - spare // 2, 0) * width
    if old_width != 0:
        _move(
            volumes,
            slot,
            (low - old_base) // old_width,
            (high - old_base) // old_width,
            old_base,
            old_width,
            base,
            width,
        )
    shapes[slot, WIDTH] = width
    shapes[slot, BASE] = base
    shapes[slot, EXACT] = 1 if exact else 0


@kernel
def _move(volumes, slot, first, last, old_base, old_width, base, width):  # type: ignore[no-untyped-def]
    """Put the counts of bins first..last where they belong now."""
    count = last - first + 1
    kept = np.empty((3, count), dtype=np.int64)
    for kind in range(3):
        for k in range(count):
            kept[kind, k] = volumes[slot, kind, first + k]
            volumes[slot, kind, first + k] = 0
    for k in range(count):
        place = (old_base + (first + k) * old_width - base) // width
        for kind in range(3):
            volumes[slot, kind, place] += kept[kind, k]


@part
def clear_profile(shapes, volumes, slot, low, high):  # type: ignore[no-untyped-def]
    """Forget the interval, whose prices were low..high."""
    if shapes[slot, WIDTH] != 0:
        first = (low - shapes[slot, BASE]) // shapes[slot, WIDTH]
        last = (high - shapes[slot, BASE]) // shapes[slot, WIDTH]
        for kind in range(3):
            for place in range(first, last + 1):
                volumes[slot, kind, place] = 0
    shapes[slot, WIDTH] = 0


@part
def bucket_width(width, low, high):  # type: ignore[no-untyped-def]
    """The smallest multiple of `width` with which low..high needs at most PROFILE_LEVELS aligned buckets."""
    bins = high // width - low // width + 1
    wide = width * max((bins + PROFILE_LEVELS - 1) // PROFILE_LEVELS, 1)
    while high // wide - low // wide + 1 > PROFILE_LEVELS:
        wide += width
    return wide


@part
def value_area(buckets, count, point, total):  # type: ignore[no-untyped-def]
    """Grow from the point of control towards the heavier neighbour (the lower on a tie) to 70 % of the volume.

    Returns:
        (first bucket, last bucket, volume inside)
    """
    wanted = total // 10 * VALUE_AREA_TENTHS + (total % 10 * VALUE_AREA_TENTHS + 9) // 10
    first = last = point
    inside = buckets[point]
    while inside < wanted:
        if first > 0 and (last == count - 1 or buckets[first - 1] >= buckets[last + 1]):
            first -= 1
            inside += buckets[first]
        else:
            last += 1
            inside += buckets[last]
    return first, last, inside


@kernel
def write_profile(shapes, volumes, slot, low, high, row):  # type: ignore[no-untyped-def]
    """Fill the words of a profile row that say where volume was; times, cause and instrument are the caller's."""
    width = shapes[slot, WIDTH]
    wide = bucket_width(width, low, high)
    base = low // wide * wide
    count = high // wide - low // wide + 1
    row[11:] = 0
    buckets = np.zeros(PROFILE_LEVELS, dtype=np.int64)
    for place in range((low - shapes[slot, BASE]) // width, (high - shapes[slot, BASE]) // width + 1):
        at = (shapes[slot, BASE] + place * width - base) // wide
        for kind in range(3):
            row[11 + kind * PROFILE_LEVELS + at] += volumes[slot, kind, place]
        buckets[at] += volumes[slot, BOUGHT, place] + volumes[slot, SOLD, place]
    point = 0
    total = np.int64(0)
    for k in range(count):
        total += buckets[k]
        if buckets[k] > buckets[point]:
            point = k
    first, last, inside = value_area(buckets, count, point, total)
    row[3] = base
    row[4] = wide
    row[5] = base + point * wide + wide // 2
    row[6] = base + (last + 1) * wide
    row[7] = base + first * wide
    row[8] = total
    row[9] = inside
    return count
