"""The rule that turns raw frames of a Binance venue into rows: one for both venues, told apart by `futures`.

Outputs, in this order: Trade, BookDelta, Quote (the venue's bookTicker), Instrument, ResyncRequest.
Messages are scanned and books synchronised in kernels (kernels/); here is what is rare:
sockets that open and close, REST answers, silence, dead letters. What the venue sends:

    {"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT",
     "t":5266583935,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}
    {"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT",
     "U":5123107832006,"u":5123107837557,"pu":5123107831937,"b":[["58710.20","0.014"]],"a":[["61800.30","0.000"]]}}
    {"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",
     "a":"61837.64000000","A":"1.54698000"}}
    {"lastUpdateId":5123107852948,"E":1723161256501,"T":1723161256493,"bids":[["61800.20","2.909"]],"asks":[…]}
    {"result":null,"id":1}
    {"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1723161256501}}

`ts_event_ns` is T where there is one, else E, else (spot's bookTicker) 0: no time is made up. State rows
(GAP, RESYNC, STALE) and spot snapshots carry the venue time of the depth event that they follow.
Rows replayed onto a snapshot keep the receive time and the cause of their own frames.

Frames of a socket that is history (an older epoch than the connection's) are skipped. While a
connection is renewed, two sockets say the same: the older one leads until it is closed, the newer one's
events wait; at the close those that the older one had not said yet follow, the rest are repeats. A CLOSE of
EVERY_EPOCH says that the process begins anew: no socket of the connection is left, and epochs count from 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from connectors.binance.faults import explain
from connectors.binance.instruments import Instruments
from connectors.binance.kernels import layout, sync
from connectors.binance.kernels.strict import scan_snapshot
from connectors.binance.state import (
    BOOKS,
    CONNECTIONS,
    CONNECTIONS_MAX,
    HEAD,
    LEVELS,
    TAIL,
    Arrays,
    initial_state,
    make_room,
)
from connectors.capabilities import EVERY_EPOCH, Exchange, Request
from processors.api import NEVER_NS, Batch, Outputs, State
from schemas.declare import Event, Heap, Rows
from schemas.errors import InputInvalid
from schemas.events import (
    BOOK_DELTA,
    INSTRUMENT,
    QUOTE,
    RAW_FRAME,
    RESYNC_REQUEST,
    TRADE,
    DeadReason,
    FrameKind,
)
from schemas.instruments import FNV_OFFSET, FNV_PRIME, Venue, instrument_id, instrument_name

OUT_TRADE, OUT_DELTA, OUT_TICKER, OUT_INSTRUMENT, OUT_REQUEST = range(5)
ROWS_OUT = 8192  # rows of one output between two emissions; what needs more at once gets more
DEAD_OUT = 1024
HTTP_OK = 200
InstrumentParser = Callable[[bytes, int, int], Instruments]  # body, ts_recv_ns, cause_row


@dataclass
class Scratch:
    """What kernels write into before it is emitted; nothing in it means anything after a call of `on_batch`."""

    fields: layout.Array = field(default_factory=lambda: np.zeros(layout.FIELDS, dtype=np.int64))
    levels: layout.Array = field(default_factory=lambda: np.zeros((layout.LEVELS_MAX, 2), dtype=np.int64))
    spans: layout.Array = field(default_factory=lambda: np.zeros((len(layout.KEYS), 2), dtype=np.int64))
    text: layout.Array = field(default_factory=lambda: np.zeros(layout.TEXT_SCRATCH, dtype=np.uint8))
    counts: layout.Array = field(default_factory=lambda: np.zeros(sync.COUNTS, dtype=np.int64))
    trades: Rows = field(default_factory=lambda: TRADE.empty(ROWS_OUT))
    deltas: Rows = field(default_factory=lambda: BOOK_DELTA.empty(ROWS_OUT))
    tickers: Rows = field(default_factory=lambda: QUOTE.empty(ROWS_OUT))
    requests: Rows = field(default_factory=lambda: RESYNC_REQUEST.empty(ROWS_OUT))
    dead: layout.Array = field(default_factory=lambda: np.zeros((DEAD_OUT, 3), dtype=np.int64))


class BinanceWire:
    """See the module. Keeps the protocol `processors.api.Processor`.

    Args:
        name: key in the registry.
        exchange: tells the venue and the paths of its REST questions.
        futures: whether depth events chain by `pu` (USD-M) or by `U` (spot).
        parse_instruments: exchangeInfo body → Instrument rows.
        instruments_max: most instruments; frames of further ones are put aside.
        waiting_levels_max: most levels that wait for snapshots; beyond it the oldest events give way.
    """

    version = 1
    inputs: tuple[Event, ...] = (RAW_FRAME,)
    outputs: tuple[Event, ...] = (TRADE, BOOK_DELTA, QUOTE, INSTRUMENT, RESYNC_REQUEST)

    def __init__(
        self,
        name: str,
        exchange: Exchange,
        futures: bool,
        parse_instruments: InstrumentParser,
        instruments_max: int = 1024,
        waiting_levels_max: int = 1 << 20,
    ) -> None:
        assert waiting_levels_max >= 2 * layout.LEVELS_MAX
        self.name = name
        self.exchange = exchange
        self.futures = futures
        self.parse_instruments = parse_instruments
        self.instruments_max = instruments_max
        self.waiting_levels_max = waiting_levels_max
        self.seed = venue_seed(exchange.venue)
        self._idle: list[Scratch] = []

    def initial_state(self) -> State:
        return initial_state(self.instruments_max)

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        scratch = self._idle.pop() if self._idle else Scratch()
        run = _Run(self, state, batch, out, scratch)
        run.take()
        run.emit()
        self._idle.append(scratch)

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        """No timers: every row follows from a raw row."""

    def next_deadline_ns(self, state: State) -> int:
        return int(NEVER_NS)

    def warm(self) -> None:
        """Compile by doing: one of everything."""
        symbol = b'"s":"WARM","E":1'
        depth = b'{"e":"depthUpdate",%s,"U":%d,"u":%d,"pu":%d,"b":[["1","1"]],"a":[["2","1"]]}'
        ticker = b'{"u":%d,%s,"b":"1","B":"1","a":"2","A":"1"}'
        trade = b'{"e":"trade",%s,"t":%d,"p":"1","q":"1","m":true}'
        events = [depth % (symbol, 1, 2, 0), ticker % (2, symbol), trade % (symbol, 1), b" {}", b"?"]
        later = [depth % (symbol, 3, 4, 2), ticker % (4, symbol), trade % (symbol, 2)]
        snapshot = b'{"lastUpdateId":2,"bids":[["1","1"]],"asks":[["2","1"]]}'
        rows: list[tuple[FrameKind, int, bytes, str]] = [(FrameKind.OPEN, 1, b"", "")]
        rows += [(FrameKind.TEXT, 1, payload, "") for payload in events]
        rows += [(FrameKind.REST, 1, snapshot, self.exchange.depth_request("WARM").text)]
        rows += [(FrameKind.OPEN, 2, b"", "")]
        rows += [(FrameKind.TEXT, 2, payload, "") for payload in later]
        rows += [(FrameKind.CLOSE, 1, b"", ""), (FrameKind.SILENT, 2, b"", ""), (FrameKind.CLOSE, 2, b"", "")]
        frames, heap = raw_rows(self.exchange.venue, rows)
        out = Outputs(self.outputs)
        self.on_batch(self.initial_state(), Batch(0, out.origin, 1, frames, heap), out)


def venue_seed(venue: Venue) -> int:
    """FNV-1a state after `venue:`: hashing a symbol from there on gives the instrument's id."""
    value = FNV_OFFSET
    for byte in instrument_name(venue, "").encode():
        value = ((value ^ byte) * FNV_PRIME) & 0xFFFFFFFF
    return value


def raw_rows(
    venue: Venue,
    frames: list[tuple[FrameKind, int, bytes, str]],
    *,
    connection: int = 0,
    ts_recv_ns: int = 0,
    status: int = HTTP_OK,
) -> tuple[Rows, Heap]:
    """RawFrame rows of (kind, epoch, payload, request), all received at once; `status` is that of REST rows."""
    rows, texts = RAW_FRAME.empty(len(frames)), bytearray()
    for row, (kind, epoch, payload, request) in zip(rows, frames, strict=True):
        row["ts_recv_ns"], row["connection"], row["epoch"] = ts_recv_ns, connection, epoch
        row["kind"], row["venue"], row["status"] = kind, int(venue), status if kind == FrameKind.REST else 0
        row["payload_at"], row["payload_size"] = len(texts), len(payload)
        texts += payload
        row["request_at"], row["request_size"] = len(texts), len(request)
        texts += request.encode()
    return rows, np.frombuffer(bytes(texts), dtype=np.uint8)


def _copy(rows: Rows) -> Rows:
    """A copy by memory. numpy copies structured rows field by field, ten times as slowly."""
    return rows.view(np.int64).copy().view(rows.dtype)


def _read_only(array: layout.Array) -> layout.Array:
    """The same memory, not writable: numba compiles one version of a kernel for all callers."""
    if not array.flags.aligned or not array.flags.c_contiguous:
        array = array.copy()
    view = array.view()
    view.flags.writeable = False
    return view


class _Run:
    """One call of `on_batch`: the batch, the state, and how far it is."""

    def __init__(self, wire: BinanceWire, state: State, batch: Batch, out: Outputs, scratch: Scratch) -> None:
        self._wire, self._batch, self._out, self._scratch = wire, batch, out, scratch
        self._state = cast(Arrays, state)
        self._rows = _read_only(batch.rows)
        self._heap = _read_only(batch.heap)
        scratch.counts[:] = 0

    def take(self) -> None:
        """Kernel calls over the frames, with help in between."""
        at, size = 0, len(self._rows)
        while at < size:
            at = self._take_frames(at)
            status = self._scratch.counts[sync.STATUS]
            needed = int(self._scratch.counts[sync.NEEDED])
            if status == sync.FULL:
                self.emit()
                self._room(needed)
            elif status == sync.CROWDED:
                make_room(self._state, needed, self._wire.waiting_levels_max)
            elif status == sync.SPECIAL:
                at += self._take_special(at)

    def emit(self) -> None:
        """Hand over what the kernels wrote."""
        scratch, out, counts = self._scratch, self._out, self._scratch.counts
        outputs = (
            (OUT_TRADE, scratch.trades, sync.N_TRADES),
            (OUT_DELTA, scratch.deltas, sync.N_DELTAS),
            (OUT_TICKER, scratch.tickers, sync.N_TICKERS),
            (OUT_REQUEST, scratch.requests, sync.N_REQUESTS),
        )
        for output, rows, count in outputs:
            if counts[count]:
                out.emit(output, _copy(rows[: counts[count]]))
        for row, code, instrument in scratch.dead[: counts[sync.N_DEAD]].tolist():
            self._put_aside(row, *explain(code), instrument)
        counts[:] = 0

    def _take_frames(self, start: int) -> int:
        state, scratch, wire = self._state, self._scratch, self._wire
        return sync.take_frames(
            self._rows, self._heap, self._batch.row_first, start, wire.seed, wire.futures, scratch.fields,
            scratch.levels, scratch.spans, scratch.text, state["books"], state["table"], state["connections"],
            state["events"], state["pending"], state["counters"], scratch.trades, scratch.deltas, scratch.tickers,
            scratch.requests, scratch.dead, scratch.counts,
        )  # fmt: skip

    def _room(self, deltas: int) -> None:
        """Room for `deltas` more rows of that output and at least one of each other."""
        used = int(self._scratch.counts[sync.N_DELTAS])
        if used + deltas > len(self._scratch.deltas) or self._scratch.counts[sync.N_REQUESTS]:
            self.emit()
        if deltas > len(self._scratch.deltas):
            self._scratch.deltas = BOOK_DELTA.empty(1 << deltas.bit_length())

    def _put_aside(self, row: int, reason: DeadReason, detail: str, instrument: int = 0) -> None:
        self._out.put_aside(
            reason,
            self._batch.row_first + row,
            detail,
            ts_recv_ns=int(self._rows[row]["ts_recv_ns"]),
            instrument=instrument,
            payload=self._bytes(row, "payload"),
        )

    def _bytes(self, row: int, column: str) -> bytes:
        at = int(self._rows[row][f"{column}_at"])
        return self._heap[at : at + int(self._rows[row][f"{column}_size"])].tobytes()

    # ---------------------------------------------------------------------------------------------------------
    # Rows that are no plain message.

    def _take_special(self, row: int) -> int:
        """One row that the kernel left to us. Returns 1, or 0 when the kernel shall look at it again."""
        frame = self._rows[row]
        kind, epoch = int(frame["kind"]), int(frame["epoch"])
        if kind == FrameKind.REST:
            self._take_answer(row)
            return 1
        connection = self._connection(int(frame["connection"]))
        if connection < 0:
            self._refuse(row, DeadReason.LIMIT, f"more than {CONNECTIONS_MAX} connections")
        elif kind == FrameKind.OPEN:
            self._open(connection, epoch)
        elif kind == FrameKind.TEXT:  # of a socket whose opening is not in the log
            self._open(connection, epoch)
            return 0
        elif kind == FrameKind.CLOSE:
            self._close(row, connection, epoch)
        elif kind == FrameKind.SILENT:
            self._silent(row, connection)
        else:
            self._refuse(row, DeadReason.UNEXPECTED, "a binary message: this venue sends text")
        return 1

    def _refuse(self, row: int, reason: DeadReason, detail: str) -> None:
        self.emit()  # dead letters keep the order of their rows
        self._put_aside(row, reason, detail)

    def _connection(self, number: int) -> int:
        """Index of the connection, added when new; -1 when there is no room."""
        connections, counters = self._state["connections"], self._state["counters"]
        known = int(counters[CONNECTIONS])
        for index in range(known):
            if connections[index]["connection"] == number:
                return index
        if known == CONNECTIONS_MAX:
            return -1
        connections[known]["connection"] = number
        counters[CONNECTIONS] = known + 1
        return known

    def _open(self, connection: int, epoch: int) -> None:
        """A socket opened: it leads when it is alone, else it follows until the older one closes."""
        row = self._state["connections"][connection]
        if epoch <= max(row["leader"], row["follower"]):
            return
        if row["leader"] < 0:
            row["leader"] = epoch
            return
        if row["follower"] >= 0:  # a renewal that came to nothing and is tried again
            self._drop_follower(connection)
        row["follower"] = epoch

    def _close(self, row: int, connection: int, epoch: int) -> None:
        sockets = self._state["connections"][connection]
        if epoch == EVERY_EPOCH:
            self._drop_follower(connection)
            sockets["leader"] = -1
            self._break_books(row, connection)
        elif epoch == sockets["follower"]:
            self._drop_follower(connection)
        elif epoch == sockets["leader"] and sockets["follower"] >= 0:
            sockets["leader"], sockets["follower"] = sockets["follower"], -1
            self._promote(connection)
        elif epoch == sockets["leader"]:
            sockets["leader"] = -1
            self._break_books(row, connection)

    def _followers_events(self, connection: int) -> list[int]:
        counters, events = self._state["counters"], self._state["events"]
        waiting = events[counters[HEAD] : counters[TAIL]]
        mine = (waiting["follower"] == connection + 1) & (waiting["kind"] != 0)
        return [int(counters[HEAD]) + int(k) for k in np.flatnonzero(mine)]

    def _drop_follower(self, connection: int) -> None:
        self._state["connections"][connection]["follower"] = -1
        self._state["events"]["kind"][self._followers_events(connection)] = 0

    def _promote(self, connection: int) -> None:
        """The follower leads now: its events follow, less those that the leader had said already."""
        state = self._state
        events, pending = state["events"].copy(), state["pending"].copy()
        mine = self._followers_events(connection)
        state["events"]["kind"][mine] = 0
        for k in mine:
            self._replay(k, events, pending)

    def _replay(self, k: int, events: layout.Array, pending: layout.Array) -> None:
        state, scratch, wire = self._state, self._scratch, self._wire
        need = int(events[k]["bids"]) + int(events[k]["asks"])
        self._room_for_all(need)
        kind = sync.recall_event(k, wire.futures, scratch.fields, state["books"], events, pending, scratch.levels)
        counters = state["counters"]
        if counters[TAIL] == len(state["events"]) or counters[LEVELS] + need > len(state["pending"]):
            make_room(state, need, wire.waiting_levels_max)
        sync.take_event(
            kind, wire.futures, int(events[k]["book"]), scratch.fields, scratch.levels, state["books"],
            state["events"], state["pending"], counters, scratch.trades, scratch.deltas, scratch.tickers,
            scratch.requests, scratch.counts,
        )  # fmt: skip

    def _room_for_all(self, deltas: int) -> None:
        counts, scratch = self._scratch.counts, self._scratch
        if counts[sync.N_TRADES] == len(scratch.trades) or counts[sync.N_TICKERS] == len(scratch.tickers):
            self.emit()
        self._room(deltas + sync.STATE_ROWS)

    def _stamp(self, row: int) -> layout.Array:
        """The scanner's fields with the receive time and the number of a row."""
        fields = self._scratch.fields
        fields[layout.F_RECV_NS] = self._rows[row]["ts_recv_ns"]
        fields[layout.F_CAUSE_ROW] = self._batch.row_first + row
        return fields

    def _break_books(self, row: int, connection: int) -> None:
        state, scratch = self._state, self._scratch
        self._room(int(state["counters"][BOOKS]))
        sync.break_books(
            connection, self._stamp(row), state["books"], state["events"], state["counters"], scratch.deltas,
            scratch.counts,
        )  # fmt: skip

    def _silent(self, row: int, connection: int) -> None:
        """Nothing heard of a stream, or (no name) of a whole connection. Only depth streams concern books."""
        stream = self._bytes(row, "payload").decode("utf-8", "replace")
        symbol, _, kind = stream.partition("@")
        if stream and not kind.startswith("depth"):
            return
        instrument = instrument_id(instrument_name(self._wire.exchange.venue, symbol.upper())) if stream else 0
        state, scratch = self._state, self._scratch
        self._room(int(state["counters"][BOOKS]))
        sync.mark_stale(
            connection, instrument, self._stamp(row), state["books"], state["counters"], scratch.deltas, scratch.counts
        )

    # ---------------------------------------------------------------------------------------------------------
    # REST answers.

    def _take_answer(self, row: int) -> None:
        """A snapshot or a list of instruments. Other answers, and refusals, are the session's business."""
        if self._rows[row]["status"] != HTTP_OK:
            return
        request = self._bytes(row, "request").decode("utf-8", "replace")
        exchange = self._wire.exchange
        symbol = exchange.symbol_of_depth_request(request)
        if symbol:
            self._take_snapshot(row, symbol)
        elif request.startswith(Request.METHOD + exchange.rest.instruments_path):
            self._take_instruments(row)

    def _take_snapshot(self, row: int, symbol: str) -> None:
        state, scratch, wire = self._state, self._scratch, self._wire
        frame, fields = self._rows[row], self._stamp(row)
        at = int(frame["payload_at"])
        end = at + int(frame["payload_size"])
        code = scan_snapshot(self._heap, at, end, fields, scratch.levels, scratch.spans, scratch.text)
        if code < 0:
            self._refuse(row, *explain(code))
            return
        instrument = instrument_id(instrument_name(wire.exchange.venue, symbol))
        connection = self._connection(int(frame["connection"]))
        known = int(state["counters"][BOOKS])
        book = sync.book_of(state["books"], state["table"], state["counters"], instrument)
        if book < 0 or connection < 0:
            self._refuse(row, DeadReason.LIMIT, f"no room for instrument {symbol}")
            return
        if book == known:
            state["books"][book]["connection"] = connection
        fields[layout.F_INSTRUMENT] = instrument
        levels = int(fields[layout.F_BIDS] + fields[layout.F_ASKS])
        self._room(levels + int(state["counters"][LEVELS]) + sync.STATE_ROWS)
        sync.take_snapshot(
            wire.futures, book, fields, scratch.levels, state["books"], state["events"], state["pending"],
            state["counters"], scratch.deltas, scratch.requests, scratch.counts,
        )  # fmt: skip

    def _take_instruments(self, row: int) -> None:
        ts_recv_ns, cause_row = int(self._rows[row]["ts_recv_ns"]), self._batch.row_first + row
        try:
            found = self._wire.parse_instruments(self._bytes(row, "payload"), ts_recv_ns, cause_row)
        except InputInvalid as error:
            self._refuse(row, DeadReason.UNPARSABLE, str(error))
            return
        self._out.emit(OUT_INSTRUMENT, found.rows, found.heap)
        if found.rejected:
            self._refuse(row, DeadReason.UNPARSABLE, "not understood: " + "; ".join(found.rejected[:5]))
