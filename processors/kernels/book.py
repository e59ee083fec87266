"""Book deltas → quotes and snapshots: the trust of each book, and when something is said about it.

Rows come and go as int64 words: a BookDelta is 7 words, a Quote 9, a BookSnapshot 86 (the processor asserts the
layouts). The levels themselves are in `processors/kernels/ladder.py`.

Arrays of the state:
    books: int64[slots, BOOK_COLUMNS], one line per instrument
    index: int64[2 × slots], see slots.py
    sides, ladder, occupied, far: see ladder.py
"""

from __future__ import annotations

import numpy as np

from processors.kernels.compiling import kernel, part
from processors.kernels.ladder import (
    BASE,
    LEVELS,
    PRICE_MAX,
    STEP,
    TOP,
    apply_run,
    clear_side,
    next_cell,
    next_far_price,
    set_level,
    settle_top,
)
from processors.kernels.slots import find_slot
from schemas.events import BOOK_LEVELS, BookAction, DeadReason, DeltaFlag, Trust

# Columns of `books`. INSTRUMENT must be 0, as slots.py says.
INSTRUMENT = 0
TRUST = 1
LOADING = 2  # 1 between the first row of a snapshot and SNAPSHOT_END
UPDATE_ID = 3  # of the last row
EVENT_NS = 4  # of the last row
RECV_NS = 5  # the largest receive time
SNAPSHOT_NS = 6  # venue time from which the next snapshot row is due
QUOTED = 7  # 7…10: bid price, bid quantity, ask price, ask quantity as last published
GAPS = 11  # how often trust fell to GAP
CROSSINGS = 12  # how often it fell to CROSSED
STALLS = 13  # how often it fell to STALE
UNFOLLOWED = 14  # updates that came while there was no book to apply them to
BOOK_COLUMNS = 16

# Entries of `cursor`, where a call stopped: the row to take next, and rows written to each output.
NEXT, QUOTES, SNAPSHOTS, DEAD = 0, 1, 2, 3
DUE_NS = 4  # no timer is due before this
CURSOR_SIZE = 5

# Entries of `settings`.
STALE_AFTER_NS = 0  # 0: never
SNAPSHOT_EVERY_NS = 1
FAR_CAPACITY_MAX = 2
SETTINGS_SIZE = 3

# Why `apply_rows` came back.
DONE = 0
FULL = 1  # an output array has no room for what one row may cause
SLOT_WANTED = 2  # the next row is of an instrument without a slot
TIMER_DUE = 3  # timers are due before the next row
FAR_WANTED = 4  # the far maps are too small for the next row

# What became of a row on the slow road.
APPLIED, DONE_WITH, NO_ROOM = 0, 1, 2

# Faults: columns of `dead` are row index, reason, fault.
BAD_ACTION, BAD_SIDE, BAD_FLAGS, NO_SNAPSHOT, BAD_TIME, BAD_PRICE, BAD_QUANTITY, FAR_FULL, NO_SLOT = range(9)

QUOTE_WORDS = 9
SNAPSHOT_WORDS = 4 + 4 * BOOK_LEVELS + 2
TIME_MAX_NS = 1 << 62  # the year 2116: sums of times and delays stay inside int64
NEVER_NS = (1 << 63) - 1

_EMPTY = int(Trust.EMPTY)
_SYNCED = int(Trust.SYNCED)
_GAP = int(Trust.GAP)
_RESYNCING = int(Trust.RESYNCING)
_STALE = int(Trust.STALE)
_CROSSED = int(Trust.CROSSED)
_UPDATE = int(BookAction.UPDATE)
_SNAPSHOT = int(BookAction.SNAPSHOT)
_ACTION_GAP = int(BookAction.GAP)
_ACTION_RESYNC = int(BookAction.RESYNC)
_ACTION_STALE = int(BookAction.STALE)
_OUT_OF_RANGE = int(DeadReason.OUT_OF_RANGE)
_UNEXPECTED = int(DeadReason.UNEXPECTED)
_LIMIT = int(DeadReason.LIMIT)
_FIRST = int(DeltaFlag.FIRST)
_ENDS = int(DeltaFlag.LAST | DeltaFlag.SNAPSHOT_END)
_SNAPSHOT_END = int(DeltaFlag.SNAPSHOT_END)
_FLAGS = int(DeltaFlag.FIRST | DeltaFlag.LAST | DeltaFlag.SNAPSHOT_END)

# Word 6 of a delta: instrument (32 bits), side, action, flags, reserved (8 each).
_LAST_BITS = _ENDS << 48
_UPDATE_MASK = 0xFFFFFFFFFFFF | ((~_FLAGS & 0xFF) << 48)  # FIRST means nothing to a single update …
_SNAPSHOT_MASK = _UPDATE_MASK | (_FIRST << 48)  # … but clears the book in a snapshot
_KEY_BITS = 0xFF01FFFFFFFF  # instrument, side, action
_BID, _ASK = 0, 1


@part
def deadline_of(books, slot, settings):  # type: ignore[no-untyped-def]
    """When this book goes stale, on the clock of ts_recv_ns."""
    trust = books[slot, TRUST]
    if settings[STALE_AFTER_NS] == 0 or (trust != _SYNCED and trust != _CROSSED):
        return NEVER_NS
    return books[slot, RECV_NS] + settings[STALE_AFTER_NS]


@kernel
def earliest_deadline(books, slots, settings):  # type: ignore[no-untyped-def]
    """The earliest deadline of all books."""
    earliest = NEVER_NS
    for slot in range(slots):
        earliest = min(earliest, deadline_of(books, slot, settings))
    return earliest


@part
def _quote(books, slot, quotes, at, recv_ns, cause_row):  # type: ignore[no-untyped-def]
    """Write a quote row: the published touch with the book's trust."""
    quotes[at, 0] = books[slot, EVENT_NS]
    quotes[at, 1] = recv_ns
    quotes[at, 2] = books[slot, UPDATE_ID]
    quotes[at, 3] = books[slot, QUOTED]
    quotes[at, 4] = books[slot, QUOTED + 1]
    quotes[at, 5] = books[slot, QUOTED + 2]
    quotes[at, 6] = books[slot, QUOTED + 3]
    quotes[at, 7] = cause_row
    quotes[at, 8] = books[slot, INSTRUMENT] | (books[slot, TRUST] << 32)


@kernel
def fire_due(books, slots, settings, now_ns, quotes):  # type: ignore[no-untyped-def]
    """Let every book go stale whose deadline is at or before `now_ns`, oldest first.

    Args:
        quotes: int64[≥ slots, QUOTE_WORDS].

    Returns:
        Quotes written.
    """
    count = 0
    while True:
        first = -1
        due_ns = NEVER_NS
        for slot in range(slots):
            deadline = deadline_of(books, slot, settings)
            if deadline < due_ns:
                first, due_ns = slot, deadline
        if first < 0 or due_ns > now_ns:
            return count
        books[first, TRUST] = _STALE
        books[first, STALLS] += 1
        _quote(books, first, quotes, count, due_ns, 0)
        count += 1


@part
def _tells_empty(words, at):  # type: ignore[no-untyped-def]
    """Whether the row begins a snapshot and has no level: the whole book is known to be empty."""
    word = words[at + 6]
    begins = (word >> 40) & 0xFF == _SNAPSHOT and (word >> 48) & _FIRST != 0
    return begins and words[at + 3] == 0 and words[at + 4] == 0


@part
def _fault_of(words, at, loading):  # type: ignore[no-untyped-def]
    """What no valid row has (see the faults above), or -1. `loading`: the row's book is taking a snapshot."""
    word = words[at + 6]
    action = (word >> 40) & 0xFF
    flags = (word >> 48) & 0xFF
    level = action in (_UPDATE, _SNAPSHOT)
    if action > _ACTION_STALE:
        return BAD_ACTION
    if flags & ~_FLAGS != 0:
        return BAD_FLAGS
    if level and (word >> 32) & 0xFF > 1:
        return BAD_SIDE
    if action == _SNAPSHOT and flags & _FIRST == 0 and not loading:
        return NO_SNAPSHOT
    if (words[at] | words[at + 1]) >> 62 != 0:
        return BAD_TIME
    if _tells_empty(words, at):
        return -1
    if level and (words[at + 3] < 1 or words[at + 3] > PRICE_MAX):
        return BAD_PRICE
    if level and words[at + 4] < 0:
        return BAD_QUANTITY
    return -1


@part
def _is_settled(sides, ladder, occupied, line):  # type: ignore[no-untyped-def]
    """Whether TOP is the best level and not low in the window: the usual case."""
    top = sides[line, TOP]
    if top < ladder.shape[1] // 4:
        return False
    return (occupied[line, top >> 6] >> np.uint64(top & 63)) & np.uint64(1) != 0


@part
def _top_level(sides, ladder, line):  # type: ignore[no-untyped-def]
    """Price and quantity of the best level; zeros when the side is empty."""
    top = sides[line, TOP]
    if top < 0:
        return np.int64(0), np.int64(0)
    return sides[line, BASE] + top * sides[line, STEP], ladder[line, top]


@part
def _snapshot_side(sides, ladder, occupied, far, line, row, at):  # type: ignore[no-untyped-def]
    """Write the best levels of a side into a snapshot row: prices from word `at`, then quantities."""
    cell = sides[line, TOP]
    price = 0
    for k in range(BOOK_LEVELS):
        quantity = 0
        if cell >= 0:
            price = sides[line, BASE] + cell * sides[line, STEP]
            quantity = ladder[line, cell]
            cell = next_cell(occupied, line, cell - 1)
        elif k < sides[line, LEVELS]:  # the ladder is exhausted, the far map is not
            price = next_far_price(sides, far, line, price)
            quantity = far_quantity(far, line, price)
        else:
            price = 0
        row[at + k] = price
        row[at + BOOK_LEVELS + k] = quantity


@part
def far_quantity(far, line, price):  # type: ignore[no-untyped-def]
    """Quantity of a price in the far map, by looking at every entry (rare: books of few levels)."""
    for place in range(far.shape[1]):
        if far[line, place, 0] == price:
            return far[line, place, 1]
    return 0


@part
def _snapshot(books, slot, sides, ladder, occupied, far, row, recv_ns, cause_row):  # type: ignore[no-untyped-def]
    """Write a snapshot row."""
    row[0] = books[slot, EVENT_NS]
    row[1] = recv_ns
    row[2] = books[slot, UPDATE_ID]
    row[3] = cause_row
    _snapshot_side(sides, ladder, occupied, far, slot * 2 + _BID, row, 4)
    _snapshot_side(sides, ladder, occupied, far, slot * 2 + _ASK, row, 4 + 2 * BOOK_LEVELS)
    row[4 + 4 * BOOK_LEVELS] = books[slot, INSTRUMENT] | (sides[slot * 2 + _BID, LEVELS] << 32)
    row[5 + 4 * BOOK_LEVELS] = sides[slot * 2 + _ASK, LEVELS] | (books[slot, TRUST] << 32)


@part
def _note(books, slot, words, at):  # type: ignore[no-untyped-def]
    """Remember what the last row of the book said about ids and times."""
    books[slot, UPDATE_ID] = words[at + 2]
    books[slot, EVENT_NS] = words[at]
    books[slot, RECV_NS] = max(books[slot, RECV_NS], words[at + 1])


@part
def _doubt(books, slot, trust, recv_ns, cause_row, quotes, cursor):  # type: ignore[no-untyped-def]
    """The book is no longer to be believed: say so at once, with the touch as last published."""
    books[slot, LOADING] = 0
    if books[slot, TRUST] == trust:
        return
    books[slot, TRUST] = trust
    if trust == _GAP:
        books[slot, GAPS] += 1
    if trust == _STALE:
        books[slot, STALLS] += 1
    _quote(books, slot, quotes, cursor[QUOTES], recv_ns, cause_row)
    cursor[QUOTES] += 1


@part
def _put_aside(dead, cursor, i, reason, detail):  # type: ignore[no-untyped-def]
    dead[cursor[DEAD], 0] = i
    dead[cursor[DEAD], 1] = reason
    dead[cursor[DEAD], 2] = detail
    cursor[DEAD] += 1


@part
def _take_state(books, slot, words, at, cause_row, quotes, cursor):  # type: ignore[no-untyped-def]
    """A row about the stream of changes: GAP, RESYNC, STALE."""
    action = (words[at + 6] >> 40) & 0xFF
    trust = books[slot, TRUST]
    _note(books, slot, words, at)
    if action == _ACTION_GAP:
        _doubt(books, slot, _GAP, words[at + 1], cause_row, quotes, cursor)
    elif action == _ACTION_RESYNC:
        _doubt(books, slot, _RESYNCING, words[at + 1], cause_row, quotes, cursor)
    elif trust in (_SYNCED, _CROSSED):  # silence says nothing new about a book that is not believed anyway
        _doubt(books, slot, _STALE, words[at + 1], cause_row, quotes, cursor)


@part
def _take_one(  # type: ignore[no-untyped-def]
    books, slot, words, i, cause_row, settings, sides, ladder, occupied, far, quotes, dead, cursor
):
    """One row by the slow road: about the stream, first of a snapshot, off the grid, outside the window, or a level
    that is not to be applied.

    Returns:
        APPLIED: a level was; DONE_WITH: nothing else is to be done; NO_ROOM: nothing was done, the far maps must grow.
    """
    at = i * 7
    action = (words[at + 6] >> 40) & 0xFF
    if action > _SNAPSHOT:
        _take_state(books, slot, words, at, cause_row, quotes, cursor)
        return DONE_WITH
    line = slot * 2 + ((words[at + 6] >> 32) & 1)
    if action == _SNAPSHOT and (words[at + 6] >> 48) & _FIRST != 0:
        clear_side(sides, ladder, occupied, far, slot * 2 + _BID)
        clear_side(sides, ladder, occupied, far, slot * 2 + _ASK)
        _note(books, slot, words, at)
        _doubt(books, slot, _RESYNCING, words[at + 1], cause_row, quotes, cursor)
        books[slot, LOADING] = 1
    elif not _follows(books, slot, action):
        books[slot, UNFOLLOWED] += 1  # no fault of the row: trust already says that there is no book
        return DONE_WITH
    if not _tells_empty(words, at) and not set_level(sides, ladder, occupied, far, line, words[at + 3], words[at + 4]):
        if far.shape[1] < settings[FAR_CAPACITY_MAX]:
            return NO_ROOM
        _put_aside(dead, cursor, i, _LIMIT, FAR_FULL)
        _doubt(books, slot, _GAP, words[at + 1], cause_row, quotes, cursor)
        return DONE_WITH
    _note(books, slot, words, at)
    return APPLIED


@part
def _follows(books, slot, action):  # type: ignore[no-untyped-def]
    """Whether there is a book to which a level may be applied."""
    if books[slot, LOADING] == 1:
        return True
    trust = books[slot, TRUST]
    return action == _UPDATE and trust in (_SYNCED, _STALE, _CROSSED)


@part
def _settle(  # type: ignore[no-untyped-def]
    books, slot, event_ns, recv_ns, cause_row, flags, settings, sides, ladder, occupied, far, quotes, snapshots, cursor
):
    """The book is consistent after a row with `flags`: publish what changed."""
    fresh = books[slot, LOADING] == 1
    if not fresh or flags & _SNAPSHOT_END != 0:
        books[slot, LOADING] = 0
        bid = slot * 2
        ask = bid + 1
        if not _is_settled(sides, ladder, occupied, bid):
            settle_top(sides, ladder, occupied, far, bid)
        if not _is_settled(sides, ladder, occupied, ask):
            settle_top(sides, ladder, occupied, far, ask)
        bid_price, bid_quantity = _top_level(sides, ladder, bid)
        ask_price, ask_quantity = _top_level(sides, ladder, ask)
        crossed = bid_price != 0 and ask_price != 0 and bid_price >= ask_price
        trust = _CROSSED if crossed else _SYNCED
        changed = (trust ^ books[slot, TRUST]) | (bid_price ^ books[slot, QUOTED])
        changed |= (bid_quantity ^ books[slot, QUOTED + 1]) | (ask_price ^ books[slot, QUOTED + 2])
        if changed | (ask_quantity ^ books[slot, QUOTED + 3]) != 0:
            if trust == _CROSSED and books[slot, TRUST] != _CROSSED:
                books[slot, CROSSINGS] += 1
            books[slot, TRUST] = trust
            books[slot, QUOTED] = bid_price
            books[slot, QUOTED + 1] = bid_quantity
            books[slot, QUOTED + 2] = ask_price
            books[slot, QUOTED + 3] = ask_quantity
            _quote(books, slot, quotes, cursor[QUOTES], recv_ns, cause_row)
            cursor[QUOTES] += 1
            cursor[DUE_NS] = min(cursor[DUE_NS], deadline_of(books, slot, settings))
        if trust == _SYNCED and (fresh or event_ns >= books[slot, SNAPSHOT_NS]):
            row = snapshots[cursor[SNAPSHOTS]]
            _snapshot(books, slot, sides, ladder, occupied, far, row, recv_ns, cause_row)
            cursor[SNAPSHOTS] += 1
            books[slot, SNAPSHOT_NS] = (event_ns // settings[SNAPSHOT_EVERY_NS] + 1) * settings[SNAPSHOT_EVERY_NS]


@kernel
def apply_rows(  # type: ignore[no-untyped-def]
    words,
    row_first,
    start,
    settings,
    slots,
    index,
    books,
    sides,
    ladder,
    occupied,
    far,
    quotes,
    snapshots,
    dead,
    cursor,
):
    """Apply rows from number `start` of the batch on.

    Args:
        words: int64[rows × 7], BookDelta rows; `row_first` is the row number of the first.
        slots: int64[1], slots in use.
        quotes, snapshots, dead: int64[capacity, QUOTE_WORDS | SNAPSHOT_WORDS | 3], written from the beginning.
        cursor: int64[CURSOR_SIZE], written.

    Returns:
        DONE; else FULL, SLOT_WANTED, TIMER_DUE or FAR_WANTED: help, then call again.
    """
    stop = len(words) // 7
    i = np.int64(start)
    known = np.int64(-1)
    slot = np.int64(-1)
    cursor[:] = 0
    cursor[DUE_NS] = earliest_deadline(books, slots[0], settings)
    while i < stop:
        cursor[NEXT] = i
        if cursor[QUOTES] + 2 > len(quotes) or cursor[SNAPSHOTS] >= len(snapshots) or cursor[DEAD] >= len(dead):
            return FULL
        at = i * 7
        word = words[at + 6]
        if word & 0xFFFFFFFF != known:
            known = word & 0xFFFFFFFF
            slot = find_slot(index, books, known)
        action = (word >> 40) & 0xFF
        timely = (words[at] | words[at + 1]) >> 62 == 0 and words[at + 1] < cursor[DUE_NS]
        done = i
        if slot >= 0 and timely and action <= _SNAPSHOT and _follows(books, slot, action):
            line = slot * 2 + ((word >> 32) & 1)
            if sides[line, STEP] != 0:
                mask = _UPDATE_MASK if action == _UPDATE else _SNAPSHOT_MASK
                done = apply_run(words, i, stop, word & _KEY_BITS, mask, _LAST_BITS, sides, ladder, occupied, far, line)
        if done > i:
            _note(books, slot, words, (done - 1) * 7)
        else:
            done = i + 1
            fault = _fault_of(words, at, slot >= 0 and books[slot, LOADING] == 1)
            if fault >= 0:
                _put_aside(dead, cursor, i, _UNEXPECTED if fault <= NO_SNAPSHOT else _OUT_OF_RANGE, fault)
                i = done
                continue
            if slot < 0:
                return SLOT_WANTED
            if not timely:
                cursor[DUE_NS] = earliest_deadline(books, slots[0], settings)
                if words[at + 1] >= cursor[DUE_NS]:
                    return TIMER_DUE
                continue
            became = _take_one(
                books, slot, words, i, row_first + i, settings, sides, ladder, occupied, far, quotes, dead, cursor
            )
            if became == NO_ROOM:
                return FAR_WANTED
            if became == DONE_WITH:
                i = done
                continue
        i = done
        at = (i - 1) * 7
        if words[at + 6] & _LAST_BITS != 0:
            _settle(
                books, slot, words[at], words[at + 1], row_first + i - 1, (words[at + 6] >> 48) & 0xFF, settings,
                sides, ladder, occupied, far, quotes, snapshots, cursor,
            )  # fmt: skip
    cursor[NEXT] = i
    return DONE
