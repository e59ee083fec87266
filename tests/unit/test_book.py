"""The book beyond its tapes: real streams against the venue's own word, windows that move, bounds, parameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.api import NEVER_NS, Batch, Outputs, State
from processors.book import QUOTE_OUTPUT, Book, BookParameters, counts, far_levels, levels, touch
from processors.kernels import ladder
from processors.words import as_words
from schemas.address import Origin
from schemas.declare import Rows
from schemas.errors import ConfigInvalid
from schemas.events import BOOK_DELTA, BookAction, DeadReason, DeltaFlag, Side, Trust
from tests.laws.rows import Values, to_rows
from tests.recordings import recording
from tests.reference.recorded import read_recording

ORIGIN = Origin(3, 0, 1, 1)
E8 = 100_000_000
LOADED = DeltaFlag.LAST | DeltaFlag.SNAPSHOT_END


def feed(book: Book, state: State, rows: Rows, row_first: int = 1) -> Outputs:
    out = Outputs(book.outputs, ORIGIN)
    book.on_batch(state, Batch(0, ORIGIN, row_first, rows), out)
    return out


def deltas(*values: Values) -> Rows:
    return to_rows(BOOK_DELTA, [{"instrument": 1, "quantity_e8": 1} | value for value in values])


def loaded(book: Book, *values: Values) -> State:
    """A book that is synced with these levels."""
    state = book.initial_state()
    rows = deltas(*({"action": BookAction.SNAPSHOT} | value for value in values))
    rows["flags"][0] |= DeltaFlag.FIRST
    rows["flags"][-1] |= LOADED
    feed(book, state, rows)
    assert touch(state, 1).trust is Trust.SYNCED
    return state


@pytest.mark.recording
@pytest.mark.parametrize(
    ("name", "shared", "dropped", "applied"),
    [
        ("usdm_btcusdt_20240808.gz", 629, 4, 6547),
        ("usdm_ethusdt_20240808.gz", 551, 5, 6581),
        ("spot_btcusdt_20240808.gz", 564, 2, 3449),
        ("spot_ethusdt_20240808.gz", 577, 2, 3432),
    ],
)
def test_touch_equals_the_venues_ticker_on_every_shared_update_id(
    name: str, shared: int, dropped: int, applied: int
) -> None:
    recorded = read_recording(recording(name))
    assert (recorded.dropped, recorded.applied) == (dropped, applied)
    book = Book()
    state = book.initial_state()
    tickers = {ticker.update_id: ticker for ticker in recorded.tickers}
    ends = np.flatnonzero(recorded.deltas["flags"] & (DeltaFlag.LAST | DeltaFlag.SNAPSHOT_END)) + 1
    compared, start = 0, 0
    for end in ends.tolist():
        feed(book, state, recorded.deltas[start:end], start + 1)
        start = end
        ours = touch(state, recorded.instrument)
        ticker = tickers.get(ours.update_id)
        if ours.trust is Trust.SYNCED and ticker is not None:
            assert ours[:5] == (*ticker[1:], ticker.update_id)
            compared += 1
    assert compared == shared
    assert counts(state, recorded.instrument)["crossings"] == 0


@pytest.mark.recording
def test_recording_ends_at_its_last_touch_with_every_level_kept() -> None:
    recorded = read_recording(recording("usdm_btcusdt_20240808.gz"))
    book = Book()
    state = book.initial_state()
    out = feed(book, state, recorded.deltas)
    last = touch(state, recorded.instrument)
    assert (last.bid_price_e8, last.ask_price_e8) == (616_597 * E8 // 10, 616_598 * E8 // 10)
    held: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}
    for side, price, quantity in recorded.deltas[["side", "price_e8", "quantity_e8"]].tolist():
        held[Side(side)][price] = quantity
    for side in Side:
        alive = {price: quantity for price, quantity in held[side].items() if quantity}
        assert dict(levels(state, recorded.instrument, side)) == alive
    assert far_levels(state, recorded.instrument) == 531
    assert out.dead == []


def test_window_follows_a_touch_that_drifts_and_no_level_is_lost() -> None:
    book = Book(BookParameters(ladder_ticks=64, stale_after_ns=0))
    state = loaded(book, {"price_e8": 10_000}, {"side": 1, "price_e8": 10_001})
    kept: dict[Side, dict[int, int]] = {Side.BUY: {10_000: 1}, Side.SELL: {10_001: 1}}
    for step in (1, -1):
        for k in range(500):
            bid = 10_000 + step * (k if step == 1 else k - 499)
            pairs = [(Side.BUY, bid, 5 + k), (Side.SELL, bid, 0), (Side.BUY, bid + 1, 0), (Side.SELL, bid + 1, 7 + k)]
            rows = [{"side": side, "price_e8": price, "quantity_e8": quantity} for side, price, quantity in pairs]
            rows[-1]["flags"] = DeltaFlag.LAST
            feed(book, state, deltas(*rows))
            for side, price, quantity in pairs:
                kept[side][price] = quantity
            top = touch(state, 1)
            assert top[:4] == (bid, 5 + k, bid + 1, 7 + k)
    for side in Side:
        assert dict(levels(state, 1, side)) == {price: quantity for price, quantity in kept[side].items() if quantity}
    assert counts(state, 1)["moves"] > 20


def test_price_off_the_grid_makes_the_ticks_finer_and_stays_exact() -> None:
    book = Book(BookParameters(ladder_ticks=64))
    state = loaded(book, {"price_e8": 100 * E8}, {"price_e8": 90 * E8}, {"side": 1, "price_e8": 110 * E8})
    feed(book, state, deltas({"price_e8": 100 * E8 + 1, "quantity_e8": 3, "flags": DeltaFlag.LAST}))
    assert levels(state, 1, Side.BUY) == [(100 * E8 + 1, 3), (100 * E8, 1), (90 * E8, 1)]
    assert touch(state, 1)[:2] == (100 * E8 + 1, 3)


def test_best_level_is_found_in_the_far_map_when_the_ladder_runs_empty() -> None:
    book = Book(BookParameters(ladder_ticks=64, stale_after_ns=0))
    state = loaded(
        book,
        {"price_e8": 100_001},
        {"price_e8": 500},
        {"price_e8": 700, "quantity_e8": 9},
        {"side": 1, "price_e8": 200_000},
    )
    assert far_levels(state, 1) == 2
    feed(book, state, deltas({"price_e8": 100_001, "quantity_e8": 0, "flags": DeltaFlag.LAST}))
    assert touch(state, 1)[:2] == (700, 9)
    assert levels(state, 1, Side.BUY) == [(700, 9), (500, 1)]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 1 << 62) | st.integers(1, 300), st.integers(0, 3)), max_size=80),
    st.sampled_from([0, 1]),
)
def test_levels_of_any_price_are_kept_exactly(changes: list[tuple[int, int]], side: int) -> None:
    book = Book(BookParameters(ladder_ticks=64, overflow_levels_max=128, stale_after_ns=0))
    state = loaded(book, {"side": side, "price_e8": 250})
    plain = {250: 1}
    for price, quantity in changes:
        feed(book, state, deltas({"side": side, "price_e8": price, "quantity_e8": quantity, "flags": DeltaFlag.LAST}))
        plain[price] = quantity
        alive = sorted(((p, q) for p, q in plain.items() if q), reverse=side == Side.BUY)
        assert levels(state, 1, Side(side)) == alive
        best = touch(state, 1)[2 * side : 2 * side + 2]
        assert best == (alive[0] if alive else (0, 0))
        assert state["sides"][side, ladder.LEVELS] == len(alive)


def test_instruments_beyond_the_bound_are_put_aside_and_the_others_go_on() -> None:
    book = Book(BookParameters(instruments_max=3, ladder_ticks=64))
    state = book.initial_state()
    one = {"action": BookAction.SNAPSHOT, "price_e8": 5, "flags": DeltaFlag.FIRST | LOADED}
    out = feed(book, state, deltas(*({"instrument": k} | one for k in (10, 20, 30, 40, 20, 40))))
    letters = [(int(dead.rows["cause_row"][0]), int(dead.rows["instrument"][0])) for dead in out.dead]
    assert letters == [(4, 40), (6, 40)]
    assert {DeadReason(dead.rows["reason"][0]) for dead in out.dead} == {DeadReason.LIMIT}
    assert [touch(state, k).trust for k in (10, 20, 30, 40)] == [Trust.SYNCED] * 3 + [Trust.EMPTY]
    assert len(state["books"]) == 3


def test_many_instruments_keep_their_books_while_arrays_grow() -> None:
    book = Book(BookParameters(instruments_max=100, ladder_ticks=64, overflow_levels_max=4))
    state = book.initial_state()
    one: Values = {"action": BookAction.SNAPSHOT, "flags": DeltaFlag.FIRST | LOADED}
    rows = deltas(*({"instrument": 64 * k + 1, "price_e8": 7 + k} | one for k in range(100)))
    feed(book, state, rows)
    feed(book, state, deltas(*({"instrument": 64 * k + 1, "price_e8": 1000 + k, "flags": 2} for k in range(100))))
    for k in range(100):
        assert levels(state, 64 * k + 1, Side.BUY) == [(1000 + k, 1), (7 + k, 1)]


def test_outputs_larger_than_a_calls_room_are_whole_and_in_order() -> None:
    book = Book(BookParameters(stale_after_ns=0, snapshot_every_ns=1_000_000))
    state = loaded(book, {"price_e8": 1})
    count = 20_000
    rows = BOOK_DELTA.empty(count)
    rows["instrument"], rows["price_e8"], rows["flags"] = 1, 1, DeltaFlag.LAST
    rows["quantity_e8"] = np.arange(2, count + 2)
    rows["ts_event_ns"] = np.arange(count) * 1_000_000
    out = feed(book, state, rows, 11)
    quotes = np.concatenate([emitted.rows for emitted in out.emitted if emitted.output == QUOTE_OUTPUT])
    snapshots = np.concatenate([emitted.rows for emitted in out.emitted if emitted.output != QUOTE_OUTPUT])
    assert (quotes["bid_quantity_e8"] == rows["quantity_e8"]).all()
    assert (quotes["cause_row"] == np.arange(11, count + 11)).all()
    assert (snapshots["cause_row"] == np.arange(12, count + 11)).all()


def test_read_only_and_misaligned_rows_are_taken_as_any_others() -> None:
    """Frames are decoded from memory that may not be written and may begin anywhere."""
    rows = deltas(
        {"action": BookAction.SNAPSHOT, "price_e8": 5, "flags": DeltaFlag.FIRST | LOADED}, {"price_e8": 6, "flags": 2}
    )
    odd = np.frombuffer(b"\0" + rows.tobytes(), dtype=np.uint8)[1:].view(BOOK_DELTA.dtype)
    strided = np.repeat(rows, 2)[::2]
    for given_rows in (odd, strided):
        book = Book()
        state = book.initial_state()
        feed(book, state, given_rows)
        assert touch(state, 1)[:2] == (6, 1)
        words = as_words(given_rows)
        assert words.flags.aligned
        assert not words.flags.writeable
    assert rows.flags.writeable


def test_deadline_is_that_of_the_book_that_is_silent_longest() -> None:
    book = Book(BookParameters(stale_after_ns=1000, ladder_ticks=64))
    state = book.initial_state()
    assert book.next_deadline_ns(state) == NEVER_NS
    one = {"action": BookAction.SNAPSHOT, "price_e8": 5, "flags": DeltaFlag.FIRST | LOADED}
    feed(book, state, deltas({"ts_recv_ns": 50} | one, {"instrument": 2, "ts_recv_ns": 40} | one))
    assert book.next_deadline_ns(state) == 1040
    book.on_time(state, 1040, Outputs(book.outputs))
    assert book.next_deadline_ns(state) == 1050
    assert (touch(state, 1).trust, touch(state, 2).trust) == (Trust.SYNCED, Trust.STALE)


@pytest.mark.parametrize(
    ("given_parameters", "words"),
    [
        ({"ladder_ticks": 100}, "power of two"),
        ({"ladder_ticks": 32}, "possible are 64"),
        ({"stale_after_ns": -1}, "possible are 0"),
        ({"stale_after_ns": "5s"}, "must be int"),
        ({"stale_after_ns": True}, "must be int"),
        ({"instruments": 5}, "no parameter 'instruments'"),
        ({"snapshot_every_ns": 0}, "possible are 1000000"),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_a_sentence(
    given_parameters: dict[str, int | str | bool], words: str
) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        Book.make(given_parameters)


def test_parameters_are_taken_by_name() -> None:
    assert Book.make({"stale_after_ns": 0}).parameters == BookParameters(stale_after_ns=0)
