"""Real recordings as synchronised rows, by the venue's written rules: a slow reader of its own, so that what it
says about books and bars does not depend on our connectors."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson

from schemas.declare import Rows
from schemas.events import BOOK_DELTA, TRADE, BookAction, DeltaFlag, Side
from schemas.instruments import instrument_id

MS = 1_000_000
E8 = 100_000_000


class Ticker(NamedTuple):
    """What the venue says the touch is."""

    update_id: int
    bid_price_e8: int
    bid_quantity_e8: int
    ask_price_e8: int
    ask_quantity_e8: int


@dataclass(frozen=True)
class Recorded:
    """One recording: rows in the order heard; `dropped` and `applied` count depth events."""

    instrument: int
    deltas: Rows
    trades: Rows
    tickers: list[Ticker]
    dropped: int
    applied: int


def e8(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole) * E8 + int(fraction[:8].ljust(8, "0"))


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with gzip.open(path) as lines:
        for line in lines:
            received, _, body = line.partition(b" ")
            yield int(received), orjson.loads(body)


@cache
def read_recording(path: Path) -> Recorded:
    """Parse a recording and synchronise its depth stream onto its REST snapshot.

    Spot: drop u ≤ L, the first event has U ≤ L + 1 ≤ u. Futures: drop u < L, the first has U ≤ L ≤ u.
    """
    futures = path.name.startswith("usdm")
    name = f"{'binance_usdm' if futures else 'binance_spot'}:{path.name.split('_')[1].upper()}"
    instrument = instrument_id(name)
    events: list[tuple[int, dict[str, Any]]] = []
    trades: list[tuple[Any, ...]] = []
    tickers: list[Ticker] = []
    snapshot: tuple[int, dict[str, Any]] | None = None
    for received, message in _lines(path):
        data = message.get("data", message)
        kind = data.get("e", "bookTicker" if "B" in data else "snapshot")
        if kind == "depthUpdate":
            events.append((received, data))
        elif kind == "trade":
            side = Side.SELL if data["m"] else Side.BUY
            clocks = (data["T"] * MS, received)
            trades.append((*clocks, e8(data["p"]), e8(data["q"]), data["t"], len(trades) + 1, instrument, side, 0, 0))
        elif kind == "bookTicker":
            tickers.append(Ticker(data["u"], e8(data["b"]), e8(data["B"]), e8(data["a"]), e8(data["A"])))
        else:
            snapshot = (received, data)
    assert snapshot is not None, f"{path} holds no REST snapshot"
    last_id = snapshot[1]["lastUpdateId"]
    first = last_id if futures else last_id + 1
    kept = [(received, data) for received, data in events if data["u"] >= first]
    assert kept[0][1]["U"] <= first, "the snapshot is too old for the recorded stream"
    rows = _rows_of(snapshot, kept, instrument)
    return Recorded(
        instrument,
        np.array(rows, dtype=BOOK_DELTA.dtype),
        np.array(trades, dtype=TRADE.dtype),
        tickers,
        len(events) - len(kept),
        len(kept),
    )


def _rows_of(
    snapshot: tuple[int, dict[str, Any]], kept: list[tuple[int, dict[str, Any]]], instrument: int
) -> list[tuple[Any, ...]]:
    """Snapshot, the updates that were heard before it (replayed onto it), then the others as they came."""
    snapshot_recv, body = snapshot
    replayed = [event for event in kept if event[0] < snapshot_recv]
    time_ns = body.get("T", body.get("E", snapshot_recv // MS)) * MS
    rows = _levels(body["bids"], body["asks"], time_ns, snapshot_recv, body["lastUpdateId"], instrument, True)
    if not replayed:
        rows[-1] = _with_flags(rows[-1], DeltaFlag.SNAPSHOT_END)
    for number, (received, data) in enumerate(kept, 1):
        time_ns = data.get("T", data["E"]) * MS
        received = max(received, snapshot_recv)
        rows += _levels(data["b"], data["a"], time_ns, received, data["u"], instrument, False)
        if number == len(replayed):
            rows[-1] = _with_flags(rows[-1], DeltaFlag.SNAPSHOT_END)
    return rows


def _with_flags(row: tuple[Any, ...], flags: DeltaFlag) -> tuple[Any, ...]:
    return (*row[:9], row[9] | int(flags), row[10])


def _levels(
    bids: list[list[str]], asks: list[list[str]], time_ns: int, received: int, update_id: int, instrument: int,
    snapshot: bool,
) -> list[tuple[Any, ...]]:  # fmt: skip
    levels = [(Side.BUY, price, quantity) for price, quantity in bids]
    levels += [(Side.SELL, price, quantity) for price, quantity in asks]
    action = BookAction.SNAPSHOT if snapshot else BookAction.UPDATE
    rows = []
    for k, (side, price, quantity) in enumerate(levels):
        flags = int(DeltaFlag.FIRST) * (k == 0) | int(DeltaFlag.LAST) * (k == len(levels) - 1)
        rows.append((time_ns, received, update_id, e8(price), e8(quantity), 1, instrument, side, action, flags, 0))
    return rows
