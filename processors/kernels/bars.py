"""Trades → bars and volume profiles.

Every instrument has one *lane* for each kind of bar, and one for the volume profile, whose interval is a time bar
that is published as a profile. A lane holds the bar that is open now (`bars`) and the one published last (`done`),
so that a late trade can still revise that one.

Rows come and go as int64 words: a Trade is 7 words, a Bar 14, a VolumeProfile 162 (the processor asserts the
layouts).

Arrays of the state:
    heads: int64[slots, HEAD_COLUMNS], one line per instrument
    index: int64[2 × slots], see slots.py
    bars, done: int64[slots, BAR_COLUMNS, lanes]
    shapes, volumes: see profile.py
Array of the parameters:
    lanes: int64[lanes, LANE_COLUMNS]
"""

from __future__ import annotations

import numpy as np

from processors.kernels.compiling import kernel, part
from processors.kernels.money import NOT_REPRESENTABLE, multiply_e8
from processors.kernels.profile import BINS, PROFILE_WORDS, add_volume, bin_of, clear_profile, make_room, write_profile
from processors.kernels.slots import find_slot
from schemas.events import BarFlag, BarKind, DeadReason, TradeFlag

# Columns of `lanes`.
KIND = 0  # BarKind, or PROFILE
SIZE = 1  # as in the Bar row; PROFILE: ns
OFFSET_NS = 2  # intervals begin at OFFSET_NS + k × SIZE
COUNT_LIMIT, VOLUME_LIMIT, NOTIONAL_LIMIT = 3, 4, 5  # a trade that reaches one of them takes the slow road
LANE_COLUMNS = 6
PROFILE = 4  # beside the members of BarKind

# Columns of `heads`. INSTRUMENT must be 0, as slots.py says.
INSTRUMENT = 0
FROM_NS = 1  # a trade from FROM_NS to before TO_NS opens, closes and revises no bar
TO_NS = 2
READY = 3  # every open bar has a trade
LAST_NS = 4  # venue time and id of the newest trade
LAST_ID = 5
SKEW_NS = 6  # our clock minus the venue's, at the last trade
HOLE = 7  # 1: trades are missing before the next one
LATE = 8  # trades that came too late for some bar
HEAD_COLUMNS = 9

# Columns of `bars` and `done`.
START_NS = 0  # TIME: the interval; UNSET before the first trade
END_NS = 1
OPEN_NS, OPEN_ID = 2, 3  # venue time and id of the first trade …
CLOSE_NS, CLOSE_ID = 4, 5  # … and of the last
OPEN, HIGH, LOW, CLOSE = 6, 7, 8, 9
VOLUME, BUY_VOLUME, NOTIONAL = 10, 11, 12
COUNT, BUY_COUNT = 13, 14
FLAGS = 15
REVISION = 16
PUBLISHED = 17  # bars published in this lane, revisions not counted
EMPTIES = 18  # empty bars published since the last trade
BAR_COLUMNS = 19
UNSET = -1

# Entries of `cursor`, where a call stopped: the row to take next, and rows written to each output.
NEXT, BARS, PROFILES, DEAD = 0, 1, 2, 3
DUE_NS = 4  # no timer is due before this
CURSOR_SIZE = 5

# Entries of `settings`.
IDLE_CLOSE_NS, EMPTY_BARS_MAX, SETTINGS_SIZE = 0, 1, 2

# Why a kernel came back.
DONE, FULL, SLOT_WANTED, TIMER_DUE = 0, 1, 2, 3

# Faults: columns of `dead` are row index, reason, fault, lanes (a bit each, or one lane), number.
BAD_SIDE, BAD_FLAGS, BAD_TIME, BAD_PRICE, BAD_QUANTITY, BAD_NOTIONAL, TOO_MUCH, TOO_LATE, JUMPED, NO_SLOT = range(10)
DEAD_COLUMNS = 5

BAR_WORDS = 14
NEVER_NS = (1 << 63) - 1
I64_MAX = (1 << 63) - 1
PRICE_MAX = 1 << 62
COUNT_MAX = (1 << 32) - 1
REVISION_MAX = (1 << 16) - 1
DAY_NS = 86_400_000_000_000

_TIME = int(BarKind.TIME)
_TICK = int(BarKind.TICK)
_VOLUME = int(BarKind.VOLUME)
_NOTIONAL = int(BarKind.NOTIONAL)
_EMPTY = int(BarFlag.EMPTY)
_REVISED = int(BarFlag.REVISED)
_INCOMPLETE = int(BarFlag.INCOMPLETE)
_FIRST = int(BarFlag.FIRST)
_HOLE_BEFORE = int(TradeFlag.HOLE_BEFORE)
_OFF_BOOK = int(TradeFlag.OFF_BOOK)
_OUT_OF_RANGE = int(DeadReason.OUT_OF_RANGE)
_UNEXPECTED = int(DeadReason.UNEXPECTED)
_LATE = int(DeadReason.LATE)
_LIMIT = int(DeadReason.LIMIT)


@part
def _is_time(lanes, k):  # type: ignore[no-untyped-def]
    return lanes[k, KIND] == _TIME or lanes[k, KIND] == PROFILE


@part
def _put_aside(dead, cursor, i, reason, fault, which, number):  # type: ignore[no-untyped-def]
    at = cursor[DEAD]
    dead[at, 0] = i
    dead[at, 1] = reason
    dead[at, 2] = fault
    dead[at, 3] = which
    dead[at, 4] = number
    cursor[DEAD] += 1


@part
def _fault_of(words, at):  # type: ignore[no-untyped-def]
    """What no valid trade has, or -1."""
    word = words[at + 6]
    if (word >> 32) & 0xFF > 1:
        return BAD_SIDE
    if (word >> 40) & 0xFF > _HOLE_BEFORE | _OFF_BOOK:
        return BAD_FLAGS
    if (words[at] | words[at + 1]) >> 62 != 0:
        return BAD_TIME
    if (word >> 40) & _OFF_BOOK != 0:  # such rows need no price
        return -1
    if words[at + 2] < 1 or words[at + 2] > PRICE_MAX:
        return BAD_PRICE
    if words[at + 3] < 1:
        return BAD_QUANTITY
    if multiply_e8(words[at + 2], words[at + 3]) == NOT_REPRESENTABLE:
        return BAD_NOTIONAL
    return -1


@part
def _write_bar(source, slot, k, lanes, instrument, recv_ns, cause_row, rows, at):  # type: ignore[no-untyped-def]
    """Write a bar row from a lane of `bars` or `done`."""
    time = lanes[k, KIND] == _TIME
    rows[at, 0] = source[slot, END_NS, k] if time else source[slot, CLOSE_NS, k]
    rows[at, 1] = recv_ns
    rows[at, 2] = source[slot, START_NS, k] if time else source[slot, OPEN_NS, k]
    rows[at, 3] = source[slot, OPEN, k]
    rows[at, 4] = source[slot, HIGH, k]
    rows[at, 5] = source[slot, LOW, k]
    rows[at, 6] = source[slot, CLOSE, k]
    rows[at, 7] = source[slot, VOLUME, k]
    rows[at, 8] = source[slot, BUY_VOLUME, k]
    rows[at, 9] = source[slot, NOTIONAL, k]
    rows[at, 10] = lanes[k, SIZE]
    rows[at, 11] = cause_row
    rows[at, 12] = instrument | (source[slot, COUNT, k] << 32)
    tail = source[slot, REVISION, k] | (lanes[k, KIND] << 16) | (source[slot, FLAGS, k] << 24)
    rows[at, 13] = source[slot, BUY_COUNT, k] | (tail << 32)


@part
def _open_bar(bars, slot, k, start_ns, end_ns, flags):  # type: ignore[no-untyped-def]
    """Begin an empty bar: flat at the close before."""
    close = bars[slot, CLOSE, k]
    for column in range(OPEN_NS, REVISION + 1):
        bars[slot, column, k] = 0
    bars[slot, START_NS, k] = start_ns
    bars[slot, END_NS, k] = end_ns
    bars[slot, FLAGS, k] = flags
    bars[slot, OPEN, k] = close
    bars[slot, HIGH, k] = close
    bars[slot, LOW, k] = close
    bars[slot, CLOSE, k] = close


@part
def _publish_bar(heads, bars, done, slot, k, lanes, recv_ns, cause_row, rows, cursor):  # type: ignore[no-untyped-def]
    """Publish the open bar of a lane as it is, and keep it for revisions."""
    if bars[slot, PUBLISHED, k] == 0:
        bars[slot, FLAGS, k] |= _FIRST
    if bars[slot, COUNT, k] == 0:
        bars[slot, FLAGS, k] |= _EMPTY
        bars[slot, EMPTIES, k] += 1
    bars[slot, PUBLISHED, k] += 1
    for column in range(BAR_COLUMNS):
        done[slot, column, k] = bars[slot, column, k]
    _write_bar(done, slot, k, lanes, heads[slot, INSTRUMENT], recv_ns, cause_row, rows, cursor[BARS])
    cursor[BARS] += 1


@part
def _publish_profile(  # type: ignore[no-untyped-def]
    heads, bars, slot, k, shapes, volumes, recv_ns, cause_row, rows, cursor
):
    """Publish the profile of the open interval, if anything was traded in it, and clear it."""
    if bars[slot, COUNT, k] == 0:
        return
    low, high = bars[slot, LOW, k], bars[slot, HIGH, k]
    at = cursor[PROFILES]
    buckets = write_profile(shapes, volumes, slot, low, high, rows[at])
    rows[at, 0] = bars[slot, END_NS, k]
    rows[at, 1] = recv_ns
    rows[at, 2] = bars[slot, START_NS, k]
    rows[at, 10] = cause_row
    rows[at, PROFILE_WORDS - 1] = heads[slot, INSTRUMENT] | (buckets << 32)
    cursor[PROFILES] += 1
    clear_profile(shapes, volumes, slot, low, high)


@part
def _roll(  # type: ignore[no-untyped-def]
    heads, bars, done, shapes, volumes, slot, k, lanes, settings, event_ns, recv_ns, cause_row, i, hole,
    bar_rows, profile_rows, dead, cursor,
):  # fmt: skip
    """Close the bars of a time lane that end at or before `event_ns`, empty ones too.

    Returns:
        False: an output is full; call again to go on.
    """
    size = lanes[k, SIZE]
    offset = lanes[k, OFFSET_NS]
    start_ns = (event_ns - offset) // size * size + offset
    flags = _INCOMPLETE if hole else 0
    if bars[slot, START_NS, k] == UNSET:
        _open_bar(bars, slot, k, start_ns, start_ns + size, flags)
    while bars[slot, START_NS, k] < start_ns:
        if cursor[BARS] >= len(bar_rows) or cursor[PROFILES] >= len(profile_rows) or cursor[DEAD] >= len(dead):
            return False
        if lanes[k, KIND] == PROFILE:
            _publish_profile(heads, bars, slot, k, shapes, volumes, recv_ns, cause_row, profile_rows, cursor)
            _open_bar(bars, slot, k, start_ns, start_ns + size, flags)
            return True
        if bars[slot, COUNT, k] == 0 and bars[slot, EMPTIES, k] >= settings[EMPTY_BARS_MAX]:
            skipped = (start_ns - bars[slot, START_NS, k]) // size
            _put_aside(dead, cursor, i, _LIMIT, JUMPED, k, skipped)
            _open_bar(bars, slot, k, start_ns, start_ns + size, flags)
            return True
        _publish_bar(heads, bars, done, slot, k, lanes, recv_ns, cause_row, bar_rows, cursor)
        _open_bar(bars, slot, k, bars[slot, END_NS, k], bars[slot, END_NS, k] + size, flags)
    return True


@part
def _add(target, slot, k, words, at, notional, in_order):  # type: ignore[no-untyped-def]
    """Count a trade in a bar. `in_order`: as it comes; else by (venue time, trade id)."""
    event_ns, price, quantity, trade_id = words[at], words[at + 2], words[at + 3], words[at + 4]
    buy = 1 - ((words[at + 6] >> 32) & 1)
    first = target[slot, COUNT, k] == 0
    if first:
        target[slot, HIGH, k] = price
        target[slot, LOW, k] = price
        target[slot, FLAGS, k] &= ~_EMPTY
    earlier = event_ns < target[slot, OPEN_NS, k] or (
        event_ns == target[slot, OPEN_NS, k] and trade_id < target[slot, OPEN_ID, k]
    )
    later = event_ns > target[slot, CLOSE_NS, k] or (
        event_ns == target[slot, CLOSE_NS, k] and trade_id >= target[slot, CLOSE_ID, k]
    )
    if first or (earlier and not in_order):
        target[slot, OPEN, k] = price
        target[slot, OPEN_NS, k] = event_ns
        target[slot, OPEN_ID, k] = trade_id
    if first or later or in_order:
        target[slot, CLOSE, k] = price
        target[slot, CLOSE_NS, k] = event_ns
        target[slot, CLOSE_ID, k] = trade_id
    target[slot, HIGH, k] = max(target[slot, HIGH, k], price)
    target[slot, LOW, k] = min(target[slot, LOW, k], price)
    target[slot, VOLUME, k] += quantity
    target[slot, BUY_VOLUME, k] += quantity * buy
    target[slot, NOTIONAL, k] += notional
    target[slot, COUNT, k] += 1
    target[slot, BUY_COUNT, k] += buy


@part
def _is_full(bars, slot, k, lanes):  # type: ignore[no-untyped-def]
    """Whether the open bar of a lane that counts trades or amounts has reached its size."""
    if lanes[k, KIND] == _TICK:
        return bars[slot, COUNT, k] >= lanes[k, SIZE]
    if lanes[k, KIND] == _VOLUME:
        return bars[slot, VOLUME, k] >= lanes[k, SIZE]
    return lanes[k, KIND] == _NOTIONAL and bars[slot, NOTIONAL, k] >= lanes[k, SIZE]


@part
def _belongs_to_done(done, slot, k, event_ns):  # type: ignore[no-untyped-def]
    return done[slot, PUBLISHED, k] != 0 and done[slot, START_NS, k] <= event_ns < done[slot, END_NS, k]


@part
def _would_overflow(bars, done, slot, lanes, event_ns, quantity, notional):  # type: ignore[no-untyped-def]
    """Whether some bar that takes this trade could not hold its sums."""
    for k in range(len(lanes)):
        held = bars
        if _is_time(lanes, k):
            if event_ns >= bars[slot, END_NS, k] or bars[slot, START_NS, k] == UNSET:
                continue  # a new bar takes it
            if event_ns < bars[slot, START_NS, k]:
                if lanes[k, KIND] == PROFILE or not _belongs_to_done(done, slot, k, event_ns):
                    continue  # no bar takes it
                held = done
        full = held[slot, COUNT, k] >= COUNT_MAX or held[slot, REVISION, k] >= REVISION_MAX
        if full or held[slot, VOLUME, k] > I64_MAX - quantity or held[slot, NOTIONAL, k] > I64_MAX - notional:
            return True
    return False


@part
def _revise(  # type: ignore[no-untyped-def]
    heads, bars, done, slot, k, lanes, words, at, notional, hole, cause_row, rows, cursor
):
    """A late trade changes the bar published last: publish it again."""
    _add(done, slot, k, words, at, notional, False)
    done[slot, REVISION, k] += 1
    done[slot, FLAGS, k] |= _REVISED | (_INCOMPLETE if hole else 0)
    _write_bar(done, slot, k, lanes, heads[slot, INSTRUMENT], words[at + 1], cause_row, rows, cursor[BARS])
    cursor[BARS] += 1
    if bars[slot, COUNT, k] == 0:  # the open bar is flat at the close before, which may have changed
        for column in range(OPEN, CLOSE + 1):
            bars[slot, column, k] = done[slot, CLOSE, k]


@part
def _apply(  # type: ignore[no-untyped-def]
    heads, bars, done, shapes, volumes, slot, lanes, words, at, notional, hole, cause_row, i, bar_rows, dead, cursor
):
    """Count a trade in every lane; all lanes have been rolled, and the outputs have room for a bar from each."""
    too_late = 0
    for k in range(len(lanes)):
        if _is_time(lanes, k) and words[at] < bars[slot, START_NS, k]:
            if lanes[k, KIND] == _TIME and _belongs_to_done(done, slot, k, words[at]):
                _revise(heads, bars, done, slot, k, lanes, words, at, notional, hole, cause_row, bar_rows, cursor)
            else:
                too_late |= 1 << k
            continue
        if lanes[k, KIND] == PROFILE:
            price = words[at + 2]
            if bin_of(shapes, slot, price) == BINS:
                make_room(shapes, volumes, slot, bars[slot, LOW, k], bars[slot, HIGH, k], price)
            add_volume(volumes, slot, bin_of(shapes, slot, price), (words[at + 6] >> 32) & 1, words[at + 3])
        _add(bars, slot, k, words, at, notional, not _is_time(lanes, k))
        bars[slot, EMPTIES, k] = 0
        if _is_full(bars, slot, k, lanes):
            _publish_bar(heads, bars, done, slot, k, lanes, words[at + 1], cause_row, bar_rows, cursor)
            _open_bar(bars, slot, k, 0, NEVER_NS, 0)
    if too_late != 0:
        heads[slot, LATE] += 1
        _put_aside(dead, cursor, i, _LATE, TOO_LATE, too_late, 0)


@part
def _note(heads, bars, slot, lanes, words, at):  # type: ignore[no-untyped-def]
    """After a trade: newest trade, clock skew, and what the fast road may take from now on."""
    if words[at] > heads[slot, LAST_NS] or (words[at] == heads[slot, LAST_NS] and words[at + 4] > heads[slot, LAST_ID]):
        heads[slot, LAST_NS] = words[at]
        heads[slot, LAST_ID] = words[at + 4]
    heads[slot, SKEW_NS] = min(max(words[at + 1] - words[at], -DAY_NS), DAY_NS)
    heads[slot, HOLE] = 0
    _note_intervals(heads, bars, slot, lanes)


@part
def _note_intervals(heads, bars, slot, lanes):  # type: ignore[no-untyped-def]
    from_ns, to_ns, ready = 0, NEVER_NS, 1
    for k in range(len(lanes)):
        if bars[slot, COUNT, k] == 0:
            ready = 0
        if _is_time(lanes, k):
            from_ns = max(from_ns, bars[slot, START_NS, k])
            to_ns = min(to_ns, bars[slot, END_NS, k])
    heads[slot, FROM_NS] = from_ns
    heads[slot, TO_NS] = to_ns
    heads[slot, READY] = ready


@part
def take_trade(  # type: ignore[no-untyped-def]
    heads, bars, done, shapes, volumes, slot, lanes, settings, words, i, row_first, bar_rows, profile_rows, dead, cursor
):
    """One valid trade by the slow road: it may open, close or revise bars.

    Returns:
        False: an output is full; call again to go on.
    """
    at = i * 7
    flags = (words[at + 6] >> 40) & 0xFF
    hole = flags & _HOLE_BEFORE != 0 or heads[slot, HOLE] == 1
    if flags & _OFF_BOOK != 0:  # not a market trade: it is in no bar, but what is missing before it still is
        heads[slot, HOLE] = 1 if hole else 0
        return True
    notional = multiply_e8(words[at + 2], words[at + 3])
    if _would_overflow(bars, done, slot, lanes, words[at], words[at + 3], notional):
        _put_aside(dead, cursor, i, _OUT_OF_RANGE, TOO_MUCH, 0, 0)
        return True
    for k in range(len(lanes)):
        if hole:
            bars[slot, FLAGS, k] |= _INCOMPLETE
        if _is_time(lanes, k) and not _roll(
            heads, bars, done, shapes, volumes, slot, k, lanes, settings, words[at], words[at + 1], row_first + i, i,
            hole, bar_rows, profile_rows, dead, cursor,
        ):  # fmt: skip
            return False
    if cursor[BARS] + len(lanes) > len(bar_rows) or cursor[DEAD] >= len(dead):
        return False
    _apply(
        heads, bars, done, shapes, volumes, slot, lanes, words, at, notional, hole, row_first + i, i, bar_rows, dead,
        cursor,
    )  # fmt: skip
    _note(heads, bars, slot, lanes, words, at)
    return True


@part
def take_run(heads, bars, shapes, volumes, slot, lanes, profiled, words, i, stop, due_ns):  # type: ignore[no-untyped-def]
    """The fast road: trades of one instrument, in order, that only add to open bars.

    They add the same to every lane, so they are summed up first. Returns the first row that was not taken.
    """
    instrument = heads[slot, INSTRUMENT]
    from_ns, to_ns = heads[slot, FROM_NS], heads[slot, TO_NS]
    last_ns, last_id = heads[slot, LAST_NS], heads[slot, LAST_ID]
    volume_room, notional_room, count_room = np.int64(I64_MAX), np.int64(I64_MAX), np.int64(COUNT_MAX)
    for k in range(len(lanes)):
        volume_room = min(volume_room, lanes[k, VOLUME_LIMIT] - 1 - bars[slot, VOLUME, k])
        notional_room = min(notional_room, lanes[k, NOTIONAL_LIMIT] - 1 - bars[slot, NOTIONAL, k])
        count_room = min(count_room, lanes[k, COUNT_LIMIT] - 1 - bars[slot, COUNT, k])
    low, high, close = np.int64(PRICE_MAX), np.int64(0), np.int64(0)
    volume, bought, notional, buys = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    begin = i
    stop = min(stop, begin + count_room)
    while i < stop:
        at = i * 7
        event_ns, recv_ns, price, quantity = words[at], words[at + 1], words[at + 2], words[at + 3]
        trade_id, word = words[at + 4], words[at + 6]
        plain = (word & 0xFFFEFFFFFFFF) == instrument
        timely = from_ns <= event_ns < to_ns and 0 <= recv_ns < due_ns
        ordered = event_ns > last_ns or (event_ns == last_ns and trade_id >= last_id)
        if not (plain and timely and ordered and 1 <= price <= PRICE_MAX and 1 <= quantity <= volume_room - volume):
            break
        amount = multiply_e8(price, quantity)
        place = bin_of(shapes, slot, price) if profiled else 0
        if amount == NOT_REPRESENTABLE or amount > notional_room - notional or place == BINS:
            break
        sold = (word >> 32) & 1
        if profiled:
            add_volume(volumes, slot, place, sold, quantity)
        low, high, close = min(low, price), max(high, price), price
        volume += quantity
        bought += quantity * (1 - sold)
        notional += amount
        buys += 1 - sold
        last_ns, last_id = event_ns, trade_id
        i += 1
    if i > begin:
        at = (i - 1) * 7
        heads[slot, LAST_NS] = last_ns
        heads[slot, LAST_ID] = last_id
        heads[slot, SKEW_NS] = min(max(words[at + 1] - words[at], -DAY_NS), DAY_NS)
        for k in range(len(lanes)):
            bars[slot, CLOSE_NS, k] = last_ns
            bars[slot, CLOSE_ID, k] = last_id
            bars[slot, HIGH, k] = max(bars[slot, HIGH, k], high)
            bars[slot, LOW, k] = min(bars[slot, LOW, k], low)
            bars[slot, CLOSE, k] = close
            bars[slot, VOLUME, k] += volume
            bars[slot, BUY_VOLUME, k] += bought
            bars[slot, NOTIONAL, k] += notional
            bars[slot, COUNT, k] += i - begin
            bars[slot, BUY_COUNT, k] += buys
    return i


@part
def lane_deadline(heads, bars, slot, k, lanes, settings):  # type: ignore[no-untyped-def]
    """When the open bar of a lane is closed though no trade came, on the clock of ts_recv_ns."""
    if settings[IDLE_CLOSE_NS] == 0 or not _is_time(lanes, k) or bars[slot, START_NS, k] == UNSET:
        return NEVER_NS
    if bars[slot, COUNT, k] == 0 and (lanes[k, KIND] == PROFILE or bars[slot, EMPTIES, k] >= settings[EMPTY_BARS_MAX]):
        return NEVER_NS
    return bars[slot, END_NS, k] + heads[slot, SKEW_NS] + settings[IDLE_CLOSE_NS]


@part
def slot_deadline(heads, bars, slot, lanes, settings):  # type: ignore[no-untyped-def]
    """The earliest deadline of an instrument."""
    earliest = NEVER_NS
    if settings[IDLE_CLOSE_NS] != 0:
        for k in range(len(lanes)):
            earliest = min(earliest, lane_deadline(heads, bars, slot, k, lanes, settings))
    return earliest


@kernel
def earliest_deadline(heads, bars, slots, lanes, settings):  # type: ignore[no-untyped-def]
    """The earliest deadline of all instruments."""
    earliest = NEVER_NS
    if settings[IDLE_CLOSE_NS] != 0:
        for slot in range(slots):
            earliest = min(earliest, slot_deadline(heads, bars, slot, lanes, settings))
    return earliest


@kernel
def fire_due(  # type: ignore[no-untyped-def]
    heads, bars, done, shapes, volumes, slots, lanes, settings, now_ns, bar_rows, profile_rows, cursor
):
    """Close every bar whose deadline is at or before `now_ns`, oldest deadline first.

    Returns:
        DONE, or FULL: call again to go on.
    """
    cursor[:] = 0
    while True:
        if cursor[BARS] >= len(bar_rows) or cursor[PROFILES] >= len(profile_rows):
            return FULL
        slot, lane, due_ns = 0, -1, NEVER_NS
        for other in range(slots):
            for k in range(len(lanes)):
                deadline = lane_deadline(heads, bars, other, k, lanes, settings)
                if deadline < due_ns:
                    slot, lane, due_ns = other, k, deadline
        if lane < 0 or due_ns > now_ns:
            return DONE
        end_ns = bars[slot, END_NS, lane]
        if lanes[lane, KIND] == PROFILE:
            _publish_profile(heads, bars, slot, lane, shapes, volumes, due_ns, 0, profile_rows, cursor)
        else:
            _publish_bar(heads, bars, done, slot, lane, lanes, due_ns, 0, bar_rows, cursor)
        _open_bar(bars, slot, lane, end_ns, end_ns + lanes[lane, SIZE], 0)
        _note_intervals(heads, bars, slot, lanes)


@kernel
def take_trades(  # type: ignore[no-untyped-def]
    words, row_first, start, settings, lanes, slots, index, heads, bars, done, shapes, volumes, bar_rows, profile_rows,
    dead, cursor,
):  # fmt: skip
    """Take trades from number `start` of the batch on.

    Args:
        words: int64[rows × 7], Trade rows; `row_first` is the row number of the first.
        slots: int64[1], slots in use.
        bar_rows, profile_rows, dead: int64[capacity, BAR_WORDS | PROFILE_WORDS | DEAD_COLUMNS], written from the
            beginning.
        cursor: int64[CURSOR_SIZE], written.

    Returns:
        DONE, FULL, SLOT_WANTED or TIMER_DUE; in the last three cases call again after having helped.
    """
    stop = len(words) // 7
    i = np.int64(start)
    profiled = len(lanes) > 0 and lanes[len(lanes) - 1, KIND] == PROFILE
    cursor[:] = 0
    cursor[DUE_NS] = earliest_deadline(heads, bars, slots[0], lanes, settings)
    while i < stop:
        cursor[NEXT] = i
        if cursor[DEAD] + 1 > len(dead):
            return FULL
        at = i * 7
        slot = find_slot(index, heads, words[at + 6] & 0xFFFFFFFF)
        if slot >= 0 and heads[slot, READY] == 1 and heads[slot, HOLE] == 0:
            # With timers every trade moves the deadline, so each is looked at by itself.
            end = stop if settings[IDLE_CLOSE_NS] == 0 else i + 1
            i = take_run(heads, bars, shapes, volumes, slot, lanes, profiled, words, i, end, cursor[DUE_NS])
            if i > cursor[NEXT]:
                cursor[DUE_NS] = min(cursor[DUE_NS], slot_deadline(heads, bars, slot, lanes, settings))
                continue
        fault = _fault_of(words, at)
        if fault >= 0:
            _put_aside(dead, cursor, i, _UNEXPECTED if fault <= BAD_FLAGS else _OUT_OF_RANGE, fault, 0, 0)
            i += 1
            continue
        if slot < 0:
            return SLOT_WANTED
        if words[at + 1] >= cursor[DUE_NS]:
            cursor[DUE_NS] = earliest_deadline(heads, bars, slots[0], lanes, settings)
            if words[at + 1] >= cursor[DUE_NS]:
                return TIMER_DUE
            continue
        if not take_trade(
            heads, bars, done, shapes, volumes, slot, lanes, settings, words, i, row_first, bar_rows, profile_rows,
            dead, cursor,
        ):  # fmt: skip
            return FULL
        cursor[DUE_NS] = min(cursor[DUE_NS], slot_deadline(heads, bars, slot, lanes, settings))
        i += 1
    cursor[NEXT] = i
    return DONE
