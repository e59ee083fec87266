"""The summary, of a small log written by hand: what it counts, and what it holds against the venue's ticker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.process.status import Status
from infra.up.summary import book_reports, summarize
from schemas.address import Origin
from schemas.declare import EMPTY_HEAP, Heap, Rows
from schemas.events import BOOK_DELTA, INSTRUMENT, QUOTE, BookAction, DeltaFlag, Trust
from schemas.frame import encode
from schemas.instruments import Venue
from streams.api import WriterKey
from streams.log import LogWriter
from streams.topics import topic

BTC = 77
CAUSE = Origin(1, 0, 497 * 64, 1)
S = 1_000_000_000


def rows_of(event: Any, *rows: dict[str, int]) -> Rows:
    made: Rows = event.empty(len(rows))
    for index, row in enumerate(rows):
        for name, value in {"instrument": BTC, **row}.items():
            made[name][index] = value
    return made


def write(root: Path, name: str, *frames: Rows, writer: int = 64, heap: Heap = EMPTY_HEAP) -> None:
    row = topic(name)
    log = LogWriter(root, WriterKey(row.number, 0, writer, 1))
    for rows in frames:
        first = log.last_row + 1
        log.append(encode(row.event, writer, 1, first, CAUSE, rows, heap), first, len(rows), 1)
    log.close()


def delta(update_id: int, action: BookAction, flags: int, seconds: int) -> dict[str, int]:
    return {"update_id": update_id, "action": action, "flags": flags, "ts_recv_ns": seconds * S, "price_e8": 1}


def quote(update_id: int, bid: int, trust: Trust = Trust.SYNCED) -> dict[str, int]:
    return {
        "update_id": update_id, "bid_price_e8": bid, "bid_quantity_e8": 1, "ask_price_e8": bid + 1,
        "ask_quantity_e8": 1, "trust": trust,
    }  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A snapshot at 10, updates 11 to 14, a gap healed by a snapshot at 20, update 21."""
    first, last, end = DeltaFlag.FIRST, DeltaFlag.LAST, DeltaFlag.SNAPSHOT_END
    write(
        tmp_path,
        "md.book_delta",
        rows_of(
            BOOK_DELTA,
            delta(10, BookAction.SNAPSHOT, first | last | end, 1),
            delta(11, BookAction.UPDATE, first | last, 2),
            delta(12, BookAction.UPDATE, first, 3),
            delta(12, BookAction.UPDATE, last, 3),
        ),
        rows_of(
            BOOK_DELTA,
            delta(14, BookAction.UPDATE, first | last, 4),
            delta(14, BookAction.GAP, 0, 5),
            delta(14, BookAction.RESYNC, 0, 5),
            delta(20, BookAction.SNAPSHOT, first | last | end, 7),
            delta(21, BookAction.UPDATE, first | last, 8),
        ),
    )
    write(
        tmp_path,
        "md.quote",
        rows_of(QUOTE, quote(10, 100), quote(12, 200)),  # 11 and 14 did not move the touch
        rows_of(QUOTE, quote(14, 200, Trust.GAP), quote(20, 500), quote(21, 600, Trust.CROSSED)),
        writer=1024,
    )
    write(
        tmp_path,
        "md.ticker",
        # 9 is before the book, 13 is no moment of ours, 12 differs, 14 was good before the break, 21 is crossed
        rows_of(
            QUOTE, *(quote(one, bid) for one, bid in ((9, 1), (10, 100), (11, 100), (12, 201), (13, 7), (14, 200)))
        ),
        rows_of(QUOTE, quote(20, 499), quote(20, 500), quote(21, 600)),
    )
    instrument = rows_of(INSTRUMENT, {"venue": Venue.BINANCE_USDM, "symbol_size": 7})
    write(tmp_path, "ref.instrument", instrument, heap=np.frombuffer(b"BTCUSDT", dtype=np.uint8))
    return tmp_path


def test_a_book_is_held_against_the_ticker_where_both_know_the_update_id(root: Path) -> None:
    book = book_reports(root)["binance_usdm:BTCUSDT"]
    # shared: 10, 11 (the quote of 10 is in force), 12, 14, 20 (the venue's last word of it); equal: all but 12
    assert (book.ticker_shared, book.ticker_equal) == (5, 4)


def test_breaks_and_their_healing_are_counted_and_timed(root: Path) -> None:
    book = book_reports(root)["binance_usdm:BTCUSDT"]
    assert (book.gaps, book.crossed, book.resync_s) == (1, 1, [2.0])


def test_summary_has_the_keys_that_scripts_rely_on(root: Path) -> None:
    processes = {"book": Status("book", rss_bytes=5, rss_bytes_warm=4)}
    summary = summarize(root, processes, {"book": 2}, session="s", elapsed_s=1.0, time_to_first_book_s=None)
    assert set(summary) == {
        "session", "elapsed_s", "time_to_first_book_s", "rows", "books", "time_to_resync_s", "dead_letters", "hashes",
        "processes", "trading",
    }  # fmt: skip
    assert summary["trading"] == {}
    assert summary["rows"] == {
        "md.book_delta.v1": 9, "md.ticker.v1": 9, "md.quote.v1": 5, "ref.instrument.v1": 1,
    }  # fmt: skip
    assert summary["books"]["binance_usdm:BTCUSDT"] == {
        "best_bid": "0.000006", "best_ask": "0.00000601", "trust": "CROSSED", "gaps": 1, "resyncs": 1, "crossed": 1,
        "ticker_shared": 5, "ticker_equal": 4,
    }  # fmt: skip
    assert set(summary["hashes"]["row"]) == set(summary["hashes"]["content"]) == set(summary["rows"])
    assert summary["processes"]["book"] == {
        "rss_bytes": 5, "rss_bytes_warm": 4, "rows_in": 0, "rows_out": 0, "restarts": 2, "state": "starting",
    }  # fmt: skip


def test_the_comparison_does_not_depend_on_frames(root: Path, tmp_path: Path) -> None:
    """One quote a frame: the quote in force carries over from one frame to the next."""
    whole = book_reports(root)["binance_usdm:BTCUSDT"].as_json()
    other = tmp_path / "other"
    for name in ("md.book_delta", "md.ticker", "ref.instrument"):
        source = root / topic(name).name
        (other / topic(name).name).parent.mkdir(parents=True, exist_ok=True)
        (other / topic(name).name).symlink_to(source)
    quotes = (quote(10, 100), quote(12, 200), quote(14, 200, Trust.GAP), quote(20, 500), quote(21, 600, Trust.CROSSED))
    write(other, "md.quote", *(rows_of(QUOTE, one) for one in quotes), writer=1024)
    assert book_reports(other)["binance_usdm:BTCUSDT"].as_json() == whole
