"""The book equals its plain twin, row for row, on streams with everything that may go wrong mixed in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.api import Batch, Outputs, State
from processors.book import QUOTE_OUTPUT, SNAPSHOT_OUTPUT, Book, BookParameters, levels
from schemas.address import Origin
from schemas.declare import Rows
from schemas.events import BOOK_SNAPSHOT, QUOTE, DeadReason, Side
from tests.laws.rows import INSTRUMENTS, delta_rows
from tests.recordings import recording
from tests.reference.book import PlainBook, plain_quotes, plain_snapshots
from tests.reference.recorded import read_recording

ORIGIN = Origin(3, 1, 64, 9)
SMALL = BookParameters(ladder_ticks=64, overflow_levels_max=512, snapshot_every_ns=1_000_000_000)


def rows_of(out: Outputs, output: int) -> Rows:
    parts = [emitted.rows for emitted in out.emitted if emitted.output == output]
    return np.concatenate(parts) if parts else (QUOTE, BOOK_SNAPSHOT)[output].empty()


def check_equal(book: Book, state: State, rows: Rows) -> None:
    """Run both; compare quotes, snapshots, dead letters and every level."""
    plain = PlainBook(book.parameters.stale_after_ns, book.parameters.snapshot_every_ns)
    out = Outputs(book.outputs, ORIGIN)
    book.on_batch(state, Batch(0, ORIGIN, 1001, rows), out)
    plain.take(rows, 1001)
    assert plain_quotes(rows_of(out, QUOTE_OUTPUT)) == plain.quotes
    assert plain_snapshots(rows_of(out, SNAPSHOT_OUTPUT)) == plain.snapshots
    assert [(int(dead.rows["cause_row"][0]), DeadReason(dead.rows["reason"][0])) for dead in out.dead] == plain.dead
    for instrument, one in plain.books.items():
        assert levels(state, instrument, Side.BUY) == sorted(one.bids.items(), reverse=True)
        assert levels(state, instrument, Side.SELL) == sorted(one.asks.items())


@settings(max_examples=200, deadline=None)
@given(delta_rows(), st.sampled_from([64, 1024]))
def test_any_stream_gives_what_the_plain_twin_gives(rows: Rows, ladder_ticks: int) -> None:
    book = Book(BookParameters(ladder_ticks=ladder_ticks, overflow_levels_max=512))
    check_equal(book, book.initial_state(), rows)


@settings(max_examples=100, deadline=None)
@given(delta_rows(instruments=INSTRUMENTS[:1], bad=False, events_max=60))
def test_one_instrument_with_valid_rows_gives_what_the_plain_twin_gives(rows: Rows) -> None:
    book = Book(SMALL)
    check_equal(book, book.initial_state(), rows)


@pytest.mark.recording
def test_real_deltas_give_what_the_plain_twin_gives() -> None:
    recorded = read_recording(recording("usdm_ethusdt_20240808.gz"))
    rows = recorded.deltas[:40_000]
    narrow = Book(BookParameters(ladder_ticks=256, overflow_levels_max=8192))
    check_equal(narrow, narrow.initial_state(), rows)
    wide = Book()
    check_equal(wide, wide.initial_state(), rows)
