"""The synchronisation of order books, and the loop that turns frames into rows.

How a book comes to be trusted (state.UNSYNCED → ASKED → SYNCED):

    first depth event ──ask──▶ ASKED: events wait ──snapshot that they continue──▶ SYNCED: each event
         ▲                      │  ▲                                                continues the one before
         │                      └──┴── snapshot too old, or no answer: ask again            │
         └────────────────────── a hole in the chain, or the connection closed ◀────────────┘

The two venues chain their events differently (`chain`); everything else is common.
Kernels write rows of the declared events straight into `trades`, `deltas`, `tickers` and `requests`
(preallocated, with the numbers in use in `counts`) and never more than they were given room for.
"""

from __future__ import annotations

import numpy as np

from connectors.binance.kernels.layout import (
    DEPTH,
    F_ASK,
    F_ASK_AT,
    F_ASK_QUANTITY,
    F_ASKS,
    F_BID,
    F_BID_AT,
    F_BID_QUANTITY,
    F_BIDS,
    F_CAUSE_ROW,
    F_FIRST,
    F_ID,
    F_INSTRUMENT,
    F_OFF_BOOK,
    F_PREVIOUS,
    F_PRICE,
    F_QUANTITY,
    F_RECV_NS,
    F_SELL,
    F_TIME_NS,
    I64,
    MANY_INSTRUMENTS,
    QUICK_FAILED,
    TICKER,
    TRADE,
    Array,
    fault,
    part,
    uncounted,
)
from connectors.binance.kernels.quick import scan_quick
from connectors.binance.kernels.strict import scan_strict
from connectors.binance.state import ASKED, BOOKS, CONNECTIONS, HEAD, LEVELS, SYNCED, TAIL, UNSYNCED
from schemas.events import BookAction, DeltaFlag, FrameKind, Side, TradeFlag, Trust

ASK_AGAIN_NS = 30_000_000_000  # a snapshot that was asked for and did not come is asked for again
WAIT_MAX_NS = 60_000_000_000  # events older than this wait no longer

# What an event is to a chain.
DROP, APPLY, BREAK = 0, 1, 2
# Which socket of a connection a frame came from.
LEADER, FOLLOWER, HISTORY, UNKNOWN = 0, 1, 2, 3
# Indices of `counts`.
N_TRADES, N_DELTAS, N_TICKERS, N_REQUESTS, N_DEAD, STATUS, NEEDED = 0, 1, 2, 3, 4, 5, 6
COUNTS = 7
# Why `take_frames` stopped: at the end; at a row that is no frame of a known socket; output full; waiting room full.
DONE, SPECIAL, FULL, CROWDED = 0, 1, 2, 3
STATE_ROWS = 3  # GAP, RESYNC and one to spare: what an event may add to its levels

TEXT = int(FrameKind.TEXT)
BUY, SELL = int(Side.BUY), int(Side.SELL)
UPDATE, SNAPSHOT_LEVEL = int(BookAction.UPDATE), int(BookAction.SNAPSHOT)
GAP, RESYNC, STALE = int(BookAction.GAP), int(BookAction.RESYNC), int(BookAction.STALE)
FIRST, LAST, SNAPSHOT_END = int(DeltaFlag.FIRST), int(DeltaFlag.LAST), int(DeltaFlag.SNAPSHOT_END)
HOLE_BEFORE, OFF_BOOK = int(TradeFlag.HOLE_BEFORE), int(TradeFlag.OFF_BOOK)
TRUSTED = int(Trust.SYNCED)


@part
def chain(futures: bool, fresh: bool, book_id: int, first_id: int, last_id: int, previous_id: int) -> int:
    """What an event (first_id..last_id, after previous_id) is to a book at `book_id`: DROP, APPLY or BREAK.

    `fresh`: book_id is a snapshot's L. Spot: drop u ≤ L, continue with U ≤ L + 1 ≤ u, then U = u before + 1.
    Futures: drop u < L, continue with U ≤ L ≤ u or pu = L, then pu = u before (U means nothing: ids are
    shared by many symbols).
    """
    if futures:
        if fresh:
            if last_id < book_id:
                return DROP
            return APPLY if first_id <= book_id or previous_id == book_id else BREAK
        if last_id <= book_id:
            return DROP
        return APPLY if previous_id == book_id else BREAK
    if last_id <= book_id:
        return DROP
    return APPLY if first_id <= book_id + 1 else BREAK


@part
def find_book(books: Array, table: Array, counters: Array, instrument: int, add: bool) -> int:
    """Index of the instrument's book, added when there is room and `add`; else -1."""
    mask = table.shape[0] - 1
    place = instrument & mask  # ids are hashes already
    while table[place] != 0:
        index: int = table[place] - 1
        if I64(books[index]["instrument"]) == instrument:
            return index
        place = (place + 1) & mask
    added: int = counters[BOOKS]
    if not add or added >= books.shape[0]:
        return -1
    table[place] = added + 1
    counters[BOOKS] = added + 1
    book = books[added]
    book["instrument"] = instrument
    book["trade_id"] = -1
    book["ticker_id"] = -1
    book["waiting_id"] = -1
    return added


@uncounted
def book_of(books: Array, table: Array, counters: Array, instrument: int) -> int:
    """`find_book`, from Python: the book's index, added when new; -1 when there is no room."""
    return find_book(books, table, counters, instrument, True)


@part
def put_delta(
    deltas: Array, counts: Array, fields: Array, price: int, quantity: int, side: int, action: int, flags: int
) -> None:
    row = deltas[np.uint64(counts[N_DELTAS])]
    row["ts_event_ns"] = fields[F_TIME_NS]
    row["ts_recv_ns"] = fields[F_RECV_NS]
    row["update_id"] = fields[F_ID]
    row["price_e8"] = price
    row["quantity_e8"] = quantity
    row["cause_row"] = fields[F_CAUSE_ROW]
    row["instrument"] = fields[F_INSTRUMENT]
    row["side"] = side
    row["action"] = action
    row["flags"] = flags
    row["reserved"] = 0
    counts[N_DELTAS] += 1


@part
def put_side(
    deltas: Array, counts: Array, fields: Array, levels: Array, at: int, count: int, side: int, action: int
) -> None:
    for k in range(at, at + count):
        put_delta(deltas, counts, fields, levels[np.uint64(k), 0], levels[np.uint64(k), 1], side, action, 0)


@part
def put_levels(deltas: Array, counts: Array, fields: Array, levels: Array, action: int) -> None:
    """The rows of one venue event: bids, then offers, the first flagged FIRST and the last LAST."""
    if fields[F_BIDS] + fields[F_ASKS] == 0:
        return
    start = counts[N_DELTAS]
    put_side(deltas, counts, fields, levels, fields[F_BID_AT], fields[F_BIDS], BUY, action)
    put_side(deltas, counts, fields, levels, fields[F_ASK_AT], fields[F_ASKS], SELL, action)
    deltas[start]["flags"] |= FIRST
    deltas[counts[N_DELTAS] - 1]["flags"] |= LAST


@part
def put_state(deltas: Array, counts: Array, fields: Array, update_id: int, action: int) -> None:
    """A row that says something of the stream, not of a level: GAP, RESYNC, STALE."""
    put_delta(deltas, counts, fields, 0, 0, BUY, action, FIRST | LAST)
    deltas[counts[N_DELTAS] - 1]["update_id"] = update_id


@part
def put_trade(trades: Array, counts: Array, fields: Array, hole: bool) -> None:
    row = trades[np.uint64(counts[N_TRADES])]
    row["ts_event_ns"] = fields[F_TIME_NS]
    row["ts_recv_ns"] = fields[F_RECV_NS]
    row["price_e8"] = fields[F_PRICE]
    row["quantity_e8"] = fields[F_QUANTITY]
    row["trade_id"] = fields[F_ID]
    row["cause_row"] = fields[F_CAUSE_ROW]
    row["instrument"] = fields[F_INSTRUMENT]
    row["aggressor"] = SELL if fields[F_SELL] else BUY
    row["flags"] = (HOLE_BEFORE if hole else 0) | (OFF_BOOK if fields[F_OFF_BOOK] else 0)
    row["reserved"] = 0
    counts[N_TRADES] += 1


@part
def put_ticker(tickers: Array, counts: Array, fields: Array) -> None:
    row = tickers[np.uint64(counts[N_TICKERS])]
    row["ts_event_ns"] = fields[F_TIME_NS]
    row["ts_recv_ns"] = fields[F_RECV_NS]
    row["update_id"] = fields[F_ID]
    row["bid_price_e8"] = fields[F_BID]
    row["bid_quantity_e8"] = fields[F_BID_QUANTITY]
    row["ask_price_e8"] = fields[F_ASK]
    row["ask_quantity_e8"] = fields[F_ASK_QUANTITY]
    row["cause_row"] = fields[F_CAUSE_ROW]
    row["instrument"] = fields[F_INSTRUMENT]
    row["trust"] = TRUSTED
    row["reserved_a"] = 0
    row["reserved_b"] = 0
    counts[N_TICKERS] += 1


@part
def ask(books: Array, index: int, fields: Array, deltas: Array, requests: Array, counts: Array) -> None:
    """Ask for a snapshot: a RESYNC row for the book, a request for the connection."""
    book = books[index]
    book["attempt"] += 1
    book["phase"] = ASKED
    book["asked_ns"] = fields[F_RECV_NS]
    put_state(deltas, counts, fields, book["update_id"], RESYNC)
    row = requests[np.uint64(counts[N_REQUESTS])]
    row["ts_recv_ns"] = fields[F_RECV_NS]
    row["cause_row"] = fields[F_CAUSE_ROW]
    row["update_id"] = book["update_id"]
    row["instrument"] = book["instrument"]
    row["attempt"] = book["attempt"]
    counts[N_REQUESTS] += 1


@part
def forget_waiting(events: Array, counters: Array, index: int) -> None:
    """The book's own events wait no longer (those of a follower stay)."""
    for k in range(counters[HEAD], counters[TAIL]):
        if events[k]["book"] == index and events[k]["follower"] == 0:
            events[k]["kind"] = 0


@part
def drop_old(events: Array, counters: Array, now_ns: int) -> None:
    """Free the front of the waiting room: what waits no longer, or has waited too long."""
    head = counters[HEAD]
    while head < counters[TAIL] and (
        events[head]["kind"] == 0 or now_ns - I64(events[head]["ts_recv_ns"]) > WAIT_MAX_NS
    ):
        events[head]["kind"] = 0
        head += 1
    counters[HEAD] = head
    if head == counters[TAIL]:
        counters[HEAD] = 0
        counters[TAIL] = 0
        counters[LEVELS] = 0


@part
def store_levels(kind: int, fields: Array, levels: Array, pending: Array, at: int) -> int:
    """An event's amounts into the waiting room from row `at` on; returns how many rows."""
    if kind == TRADE:
        pending[at, 0] = fields[F_PRICE]
        pending[at, 1] = fields[F_QUANTITY]
        return 1
    if kind == TICKER:
        pending[at, 0] = fields[F_BID]
        pending[at, 1] = fields[F_BID_QUANTITY]
        pending[at + 1, 0] = fields[F_ASK]
        pending[at + 1, 1] = fields[F_ASK_QUANTITY]
        return 2
    bids, asks = fields[F_BIDS], fields[F_ASKS]
    for k in range(bids):
        pending[at + k, 0] = levels[fields[F_BID_AT] + k, 0]
        pending[at + k, 1] = levels[fields[F_BID_AT] + k, 1]
    for k in range(asks):
        pending[at + bids + k, 0] = levels[fields[F_ASK_AT] + k, 0]
        pending[at + bids + k, 1] = levels[fields[F_ASK_AT] + k, 1]
    return I64(bids + asks)


@part
def wait(
    kind: int, index: int, follower: int, fields: Array, levels: Array, events: Array, pending: Array, counters: Array
) -> None:
    """Put an event into the waiting room; the caller saw to it that there is room."""
    drop_old(events, counters, fields[F_RECV_NS])
    at = counters[LEVELS]
    count = store_levels(kind, fields, levels, pending, at)
    event = events[counters[TAIL]]
    event["first_id"] = fields[F_FIRST] if kind == DEPTH else 0
    event["id"] = fields[F_ID]
    event["previous_id"] = fields[F_PREVIOUS] if kind == DEPTH else 0
    event["ts_event_ns"] = fields[F_TIME_NS]
    event["ts_recv_ns"] = fields[F_RECV_NS]
    event["cause_row"] = fields[F_CAUSE_ROW]
    event["level_at"] = at
    event["bids"] = fields[F_BIDS] if kind == DEPTH else 1
    event["asks"] = fields[F_ASKS] if kind == DEPTH else count - 1
    event["book"] = index
    event["follower"] = follower
    event["kind"] = kind
    event["bits"] = fields[F_SELL] + 2 * fields[F_OFF_BOOK] if kind == TRADE else 0
    counters[LEVELS] = at + count
    counters[TAIL] += 1


@part
def recall(events: Array, k: int, pending: Array, books: Array, fields: Array) -> int:
    """A waiting event back into `fields` (its levels stay in `pending`); returns its kind."""
    event = events[k]
    fields[F_FIRST] = event["first_id"]
    fields[F_ID] = event["id"]
    fields[F_PREVIOUS] = event["previous_id"]
    fields[F_TIME_NS] = event["ts_event_ns"]
    fields[F_RECV_NS] = event["ts_recv_ns"]
    fields[F_CAUSE_ROW] = event["cause_row"]
    fields[F_INSTRUMENT] = I64(books[event["book"]]["instrument"])
    at = event["level_at"]
    fields[F_BID_AT] = at
    fields[F_BIDS] = event["bids"]
    fields[F_ASK_AT] = at + event["bids"]
    fields[F_ASKS] = event["asks"]
    if event["kind"] == TRADE:
        fields[F_PRICE] = pending[at, 0]
        fields[F_QUANTITY] = pending[at, 1]
        fields[F_SELL] = event["bits"] & 1
        fields[F_OFF_BOOK] = event["bits"] >> 1
    elif event["kind"] == TICKER:
        fields[F_BID] = pending[at, 0]
        fields[F_BID_QUANTITY] = pending[at, 1]
        fields[F_ASK] = pending[at + 1, 0]
        fields[F_ASK_QUANTITY] = pending[at + 1, 1]
    return I64(event["kind"])


@part
def take_trade(book: Array, index: int, fields: Array, trades: Array, counts: Array) -> None:
    """A trade of a leader: repeats are dropped, a jump of ids is flagged. On a new connection any id may come."""
    row = book[index]
    last = I64(row["trade_id"])
    if last >= 0 and fields[F_ID] <= last and row["new_connection"] == 0:
        return
    put_trade(trades, counts, fields, last >= 0 and fields[F_ID] != last + 1)
    row["trade_id"] = fields[F_ID]
    row["new_connection"] = 0


@part
def take_ticker(books: Array, index: int, fields: Array, tickers: Array, counts: Array) -> None:
    book = books[index]
    if fields[F_ID] <= book["ticker_id"]:
        return
    put_ticker(tickers, counts, fields)
    book["ticker_id"] = fields[F_ID]


@part
def take_depth(
    futures: bool, index: int, fields: Array, levels: Array, books: Array, events: Array, pending: Array,
    counters: Array, deltas: Array, requests: Array, counts: Array,
) -> None:  # fmt: skip
    """A depth event of a leader: apply it, or let it wait for a snapshot."""
    book = books[index]
    if book["phase"] == SYNCED:
        what = chain(futures, book["fresh"] != 0, book["update_id"], fields[F_FIRST], fields[F_ID], fields[F_PREVIOUS])
        if what == DROP:
            return
        if what == APPLY:
            put_levels(deltas, counts, fields, levels, UPDATE)
            book["update_id"] = fields[F_ID]
            book["ts_event_ns"] = fields[F_TIME_NS]
            book["fresh"] = 0
            return
        put_state(deltas, counts, fields, book["update_id"], GAP)
        book["phase"] = UNSYNCED
    if book["phase"] == UNSYNCED:
        book["attempt"] = 0
        book["waiting_id"] = -1
        ask(books, index, fields, deltas, requests, counts)
    elif fields[F_RECV_NS] - book["asked_ns"] >= ASK_AGAIN_NS:
        ask(books, index, fields, deltas, requests, counts)
    # What waits is one unbroken chain: after a hole, only what comes from here on can follow a snapshot.
    if book["waiting_id"] >= 0:
        what = chain(futures, False, book["waiting_id"], fields[F_FIRST], fields[F_ID], fields[F_PREVIOUS])
        if what == DROP:
            return
        if what == BREAK:
            forget_waiting(events, counters, index)
    book["waiting_id"] = fields[F_ID]
    wait(DEPTH, index, 0, fields, levels, events, pending, counters)


@part
def take_leader(
    kind: int, futures: bool, index: int, fields: Array, levels: Array, books: Array, events: Array, pending: Array,
    counters: Array, trades: Array, deltas: Array, tickers: Array, requests: Array, counts: Array,
) -> None:  # fmt: skip
    """One event of a leader."""
    if kind == TRADE:
        take_trade(books, index, fields, trades, counts)
    elif kind == TICKER:
        take_ticker(books, index, fields, tickers, counts)
    else:
        take_depth(futures, index, fields, levels, books, events, pending, counters, deltas, requests, counts)


@uncounted
def take_event(
    kind: int, futures: bool, index: int, fields: Array, levels: Array, books: Array, events: Array, pending: Array,
    counters: Array, trades: Array, deltas: Array, tickers: Array, requests: Array, counts: Array,
) -> None:  # fmt: skip
    """`take_leader`, from Python."""
    take_leader(
        kind, futures, index, fields, levels, books, events, pending, counters, trades, deltas, tickers, requests,
        counts,
    )  # fmt: skip


@uncounted
def recall_event(
    k: int, futures: bool, fields: Array, books: Array, events: Array, pending: Array, levels: Array
) -> int:
    """Waiting event k into `fields` and `levels`, as if it had just been scanned; it waits no longer. Its kind."""
    kind = recall(events, k, pending, books, fields)
    at = fields[F_BID_AT]
    for n in range(fields[F_BIDS] + fields[F_ASKS]):
        levels[n, 0] = pending[at + n, 0]
        levels[n, 1] = pending[at + n, 1]
    fields[F_BID_AT] = 0
    fields[F_ASK_AT] = fields[F_BIDS]
    events[k]["kind"] = 0
    return kind


@part
def first_after(futures: bool, index: int, snapshot_id: int, books: Array, events: Array, counters: Array) -> int:
    """Which waiting event continues the snapshot: its index, -1 when none is left over, -2 when the snapshot is too
    old for what waits. Events that the snapshot contains are dropped."""
    for k in range(counters[HEAD], counters[TAIL]):
        event = events[k]
        if event["kind"] == DEPTH and event["book"] == index and event["follower"] == 0:
            what = chain(futures, True, snapshot_id, event["first_id"], event["id"], event["previous_id"])
            if what == APPLY:
                return k
            if what == BREAK:
                return -2
            books[index]["ts_event_ns"] = event["ts_event_ns"]
            event["kind"] = 0
    return -1


@uncounted
def take_snapshot(
    futures: bool, index: int, fields: Array, levels: Array, books: Array, events: Array, pending: Array,
    counters: Array, deltas: Array, requests: Array, counts: Array,
) -> None:  # fmt: skip
    """A scanned snapshot: rebuild the book from it and from what waited, or ask again.

    `deltas` has room for its levels and for everything that waits.
    """
    book = books[index]
    snapshot_id = fields[F_ID]
    if book["phase"] == SYNCED and snapshot_id <= book["update_id"]:
        return  # late, or nobody asked: what the book holds is newer
    following = first_after(futures, index, snapshot_id, books, events, counters)
    if fields[F_TIME_NS] == 0:  # spot says no time: that of the last event it contains
        fields[F_TIME_NS] = book["ts_event_ns"]
    if following == -2:
        ask(books, index, fields, deltas, requests, counts)
        return
    start = counts[N_DELTAS]
    if fields[F_BIDS] + fields[F_ASKS] > 0:
        put_levels(deltas, counts, fields, levels, SNAPSHOT_LEVEL)
    else:  # an empty book is known to be empty
        put_delta(deltas, counts, fields, 0, 0, BUY, SNAPSHOT_LEVEL, FIRST | LAST)
    book["ts_event_ns"] = fields[F_TIME_NS]
    book["update_id"] = snapshot_id
    book["fresh"] = 1
    if following >= 0:
        for k in range(following, counters[TAIL]):
            if events[k]["kind"] == DEPTH and events[k]["book"] == index and events[k]["follower"] == 0:
                recall(events, k, pending, books, fields)
                put_levels(deltas, counts, fields, pending, UPDATE)
                book["update_id"] = fields[F_ID]
                book["ts_event_ns"] = fields[F_TIME_NS]
                book["fresh"] = 0
                events[k]["kind"] = 0
    assert counts[N_DELTAS] > start
    deltas[counts[N_DELTAS] - 1]["flags"] |= SNAPSHOT_END
    book["phase"] = SYNCED
    book["attempt"] = 0
    book["waiting_id"] = -1


@uncounted
def break_books(
    connection: int, fields: Array, books: Array, events: Array, counters: Array, deltas: Array, counts: Array
) -> None:
    """The connection is gone: its books are not to be trusted, and its ids start anew. Room: one row a book."""
    for index in range(counters[BOOKS]):
        book = books[index]
        if book["connection"] != connection:
            continue
        book["ticker_id"] = -1
        book["new_connection"] = 1
        if book["phase"] == SYNCED:
            fields[F_INSTRUMENT] = I64(book["instrument"])
            fields[F_TIME_NS] = book["ts_event_ns"]
            put_state(deltas, counts, fields, book["update_id"], GAP)
        elif book["phase"] == ASKED:
            forget_waiting(events, counters, index)
        book["phase"] = UNSYNCED


@uncounted
def mark_stale(
    connection: int, instrument: int, fields: Array, books: Array, counters: Array, deltas: Array, counts: Array
) -> None:
    """The stream of one instrument (0: of all on the connection) fell silent. Room: one row a book."""
    for index in range(counters[BOOKS]):
        book = books[index]
        mine = I64(book["instrument"]) == instrument if instrument != 0 else book["connection"] == connection
        if mine and book["phase"] == SYNCED:
            fields[F_INSTRUMENT] = I64(book["instrument"])
            fields[F_TIME_NS] = book["ts_event_ns"]
            put_state(deltas, counts, fields, book["update_id"], STALE)


@part
def socket_of(connections: Array, counters: Array, connection: int, epoch: int) -> int:
    """index × 4 + what the socket is to that connection: LEADER, FOLLOWER, HISTORY or UNKNOWN."""
    for index in range(counters[CONNECTIONS]):
        row = connections[index]
        if row["connection"] == connection:
            if row["leader"] == epoch:
                return index * 4 + LEADER
            if row["follower"] == epoch:
                return index * 4 + FOLLOWER
            newest = max(row["leader"], row["follower"])
            return index * 4 + (HISTORY if epoch < newest else UNKNOWN)
    return UNKNOWN


@part
def put_dead(dead: Array, counts: Array, row: int, code: int, instrument: int) -> None:
    n = counts[N_DEAD]
    dead[n, 0] = row
    dead[n, 1] = code
    dead[n, 2] = instrument
    counts[N_DEAD] = n + 1


@uncounted
def take_frames(
    rows: Array, heap: Array, row_first: int, start: int, seed: int, futures: bool, fields: Array, levels: Array,
    spans: Array, text: Array, books: Array, table: Array, connections: Array, events: Array, pending: Array,
    counters: Array, trades: Array, deltas: Array, tickers: Array, requests: Array, dead: Array, counts: Array,
) -> int:  # fmt: skip
    """Frames of a run, from row `start` on, as far as it goes without help.

    Args:
        rows, heap, row_first: of the batch; read only.
        seed: FNV-1a state after `venue:`.
        fields, levels, spans, text: scratch of the scanner.
        books … counters: the state (state.py).
        trades … counts: where outputs go; `dead` is int64 [n, 3]: row index, fault, instrument.

    Returns:
        The first row not taken; counts[STATUS] says why it stopped. A row that does not fit changed nothing.
    """
    known_connection, known_epoch, socket = -1, -1, UNKNOWN
    most_deltas = deltas.shape[0] - STATE_ROWS
    for i in range(start, rows.shape[0]):
        row = rows[i]
        connection, epoch = I64(row["connection"]), I64(row["epoch"])
        if connection != known_connection or epoch != known_epoch:
            socket = socket_of(connections, counters, connection, epoch)
            known_connection, known_epoch = connection, epoch
        role = socket & 3
        if row["kind"] != TEXT or role == UNKNOWN:
            counts[STATUS] = SPECIAL
            return i
        if role == HISTORY:
            continue
        if (
            counts[N_TRADES] == trades.shape[0]
            or counts[N_TICKERS] == tickers.shape[0]
            or counts[N_REQUESTS] == requests.shape[0]
            or counts[N_DEAD] == dead.shape[0]
        ):
            counts[STATUS] = FULL
            return i
        at = I64(row["payload_at"])
        end = at + I64(row["payload_size"])
        kind = scan_quick(heap, at, end, seed, futures, fields, levels)
        if kind == QUICK_FAILED:
            kind = scan_strict(heap, at, end, seed, futures, fields, levels, spans, text)
        if kind < 0:
            put_dead(dead, counts, i, kind, 0)
            continue
        if kind > TICKER:
            continue
        need = 2
        if kind == DEPTH:
            need = fields[F_BIDS] + fields[F_ASKS]
            if counts[N_DELTAS] + need > most_deltas:
                counts[STATUS] = FULL
                counts[NEEDED] = need + STATE_ROWS
                return i
        may_wait = kind == DEPTH or role == FOLLOWER
        if may_wait and (counters[TAIL] == events.shape[0] or counters[LEVELS] + need > pending.shape[0]):
            counts[STATUS] = CROWDED
            counts[NEEDED] = need
            return i
        index = find_book(books, table, counters, fields[F_INSTRUMENT], True)
        if index < 0:
            put_dead(dead, counts, i, fault(MANY_INSTRUMENTS, -1), fields[F_INSTRUMENT])
            continue
        books[index]["connection"] = socket >> 2
        fields[F_RECV_NS] = row["ts_recv_ns"]
        fields[F_CAUSE_ROW] = row_first + i
        if role == FOLLOWER:
            wait(kind, index, (socket >> 2) + 1, fields, levels, events, pending, counters)
        else:
            take_leader(
                kind, futures, index, fields, levels, books, events, pending, counters,
                trades, deltas, tickers, requests, counts,
            )  # fmt: skip
    counts[STATUS] = DONE
    return I64(rows.shape[0])
