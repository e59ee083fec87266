"""Frames and helpers for the tests of the Binance wire rules: golden messages, and outputs as tuples."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import cast

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
    F_FIRST,
    F_ID,
    F_INSTRUMENT,
    F_OFF_BOOK,
    F_PREVIOUS,
    F_PRICE,
    F_QUANTITY,
    F_SELL,
    F_TIME_NS,
    FIELDS,
    KEYS,
    LEVELS_MAX,
    TEXT_SCRATCH,
    TICKER,
    TRADE,
    Array,
)
from connectors.binance.state import Arrays
from connectors.binance.wire import BinanceWire, venue_seed
from connectors.binance_spot.wire import wire as spot_wire
from connectors.binance_usdm.wire import wire as usdm_wire
from processors.api import Batch, Outputs
from schemas.declare import Heap, Rows
from schemas.events import RAW_FRAME, FrameKind
from schemas.instruments import Venue, instrument_id, instrument_name
from tests.reference.binance_wire import Event, RawRow, Twin

SPOT, USDM = spot_wire(), usdm_wire()

# Real messages, some with their arrays cut short.
USDM_TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256322,"T":1723161256322,"s":"BTCUSDT",'
    b'"t":5266583935,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}'
)
USDM_TICKER = (
    b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","b":"61800.20",'
    b'"B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}'
)
USDM_DEPTH = (
    b'{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256299,"T":1723161256298,"s":"BTCUSDT",'
    b'"U":5123107832006,"u":5123107837557,"pu":5123107831937,"b":[["58710.20","0.014"],["61496.50","0.010"],'
    b'["61510.90","0.000"]],"a":[["61800.30","2.510"],["61801.00","0.000"]]}}'
)
SPOT_TRADE = (
    b'{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161255343,"s":"BTCUSDT","t":3735683259,'
    b'"p":"61837.63000000","q":"0.02000000","T":1723161255342,"m":true,"M":true}}'
)
SPOT_TICKER = (
    b'{"stream":"btcusdt@bookTicker","data":{"u":50093239212,"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
    b'"a":"61837.64000000","A":"1.54698000"}}'
)
SPOT_DEPTH = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","U":50093239189,'
    b'"u":50093239202,"b":[["61737.63000000","0.00000000"],["61730.17000000","0.00000000"]],'
    b'"a":[["61837.64000000","1.54698000"]]}}'
)
GOLDEN = (USDM_TRADE, USDM_TICKER, USDM_DEPTH, SPOT_TRADE, SPOT_TICKER, SPOT_DEPTH)
OUTPUT_NAMES = ("trades", "deltas", "tickers", "instruments", "requests")


class Scan:
    """One scanner call at a time, its arrays and its answer as the twin's `Event`."""

    def __init__(self) -> None:
        self.fields: Array = np.zeros(FIELDS, dtype=np.int64)
        self.levels: Array = np.zeros((LEVELS_MAX, 2), dtype=np.int64)
        self.spans: Array = np.zeros((len(KEYS), 2), dtype=np.int64)
        self.text: Array = np.zeros(TEXT_SCRATCH, dtype=np.uint8)

    def event(self, kind: int, futures: bool) -> tuple[object, ...]:
        """The scanned event as a tuple; `expected` makes the same of a twin's."""
        f = self.fields.tolist()
        if kind == TRADE:
            return ("trade", f[F_INSTRUMENT], f[F_ID], f[F_TIME_NS], f[F_PRICE], f[F_QUANTITY],
                    bool(f[F_SELL]), bool(f[F_OFF_BOOK]))  # fmt: skip
        if kind == TICKER:
            return ("ticker", f[F_INSTRUMENT], f[F_ID], f[F_TIME_NS], f[F_BID], f[F_BID_QUANTITY], f[F_ASK],
                    f[F_ASK_QUANTITY])  # fmt: skip
        assert kind == DEPTH
        bids = self.levels[f[F_BID_AT] : f[F_BID_AT] + f[F_BIDS]].tolist()
        asks = self.levels[f[F_ASK_AT] : f[F_ASK_AT] + f[F_ASKS]].tolist()
        previous = f[F_PREVIOUS] if futures else 0
        return "depth", f[F_INSTRUMENT], f[F_ID], f[F_TIME_NS], f[F_FIRST], previous, bids, asks


def expected(event: Event, venue: Venue) -> tuple[object, ...]:
    instrument = instrument_id(instrument_name(venue, event.symbol))
    if event.kind == "trade":
        return "trade", instrument, event.id, event.time_ns, *event.amounts, event.sold, event.off_book
    if event.kind == "ticker":
        return "ticker", instrument, event.id, event.time_ns, *event.amounts
    bids, asks = [list(level) for level in event.bids], [list(level) for level in event.asks]
    return "depth", instrument, event.id, event.time_ns, event.first_id, event.previous_id, bids, asks


def seed_of(futures: bool) -> int:
    return venue_seed(Venue.BINANCE_USDM if futures else Venue.BINANCE_SPOT)


def to_rows(rows: Iterable[RawRow], venue: Venue) -> tuple[Rows, Heap]:
    """The twin's raw rows as the platform's."""
    given = list(rows)
    table, texts = RAW_FRAME.empty(len(given)), bytearray()
    for row, raw in zip(table, given, strict=True):
        row["ts_recv_ns"], row["connection"], row["epoch"], row["kind"] = (
            raw.ts_recv_ns, raw.connection, raw.epoch, raw.kind,
        )  # fmt: skip
        row["venue"], row["status"] = int(venue), raw.status if raw.kind == FrameKind.REST else 0
        row["payload_at"], row["payload_size"] = len(texts), len(raw.payload)
        texts += raw.payload
        row["request_at"], row["request_size"] = len(texts), len(raw.request)
        texts += raw.request.encode()
    return table, np.frombuffer(bytes(texts), dtype=np.uint8)


def run(wire: BinanceWire, rows: Rows, heap: Heap, cuts: Iterable[int] = (), first: int = 1) -> tuple[Outputs, Arrays]:
    """The rule over raw rows, cut before the given indices."""
    state, out = wire.initial_state(), Outputs(wire.outputs)
    batch = Batch(0, out.origin, first, rows, heap)
    edges = [0, *sorted(cuts), len(rows)]
    for start, stop in itertools.pairwise(edges):
        wire.on_batch(state, batch.cut(start, stop), out)
    return out, cast(Arrays, state)


def rows_of(out: Outputs, output: int) -> Rows:
    """All rows of one output."""
    parts = [emitted.rows for emitted in out.emitted if emitted.output == output]
    return np.concatenate(parts) if parts else out.events[output].empty()


def tuples(out: Outputs) -> dict[str, list[tuple[int, ...]]]:
    """Outputs as the twin has them: columns in order, without the reserved ones."""
    result = {}
    for output, name in enumerate(OUTPUT_NAMES):
        rows = rows_of(out, output)
        names = [column for column in rows.dtype.names or () if not column.startswith("reserved")]
        result[name] = [tuple(row) for row in zip(*(rows[column].tolist() for column in names), strict=True)]
    return result


def dead_of(out: Outputs) -> list[tuple[int, str]]:
    """Dead letters: row number and detail."""
    found = []
    for dead in out.dead:
        row = dead.rows[0]
        at = int(row["detail_at"])
        found.append((int(row["cause_row"]), dead.heap[at : at + int(row["detail_size"])].tobytes().decode()))
    return found


def assert_as_twin(wire: BinanceWire, raw: list[RawRow], cuts: Iterable[int] = ()) -> tuple[Outputs, Twin]:
    """The rule and its twin give the same rows and dead letters. Rows are numbered by `RawRow.number` from 1."""
    venue = wire.exchange.venue
    twin = Twin(venue, wire.futures, wire.instruments_max).take_all(raw)
    out, _ = run(wire, *to_rows(raw, venue), cuts)
    got = tuples(out)
    assert got["trades"] == twin.trades
    assert got["deltas"] == twin.deltas
    assert got["tickers"] == twin.tickers
    assert got["requests"] == twin.requests
    assert dead_of(out) == twin.dead
    return out, twin
