"""Hashes depend on what the documentation says, and on nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from schemas.address import NO_ORIGIN, Origin
from schemas.catalogue import EVENTS
from schemas.declare import EMPTY_HEAP, Event, Heap, Rows
from schemas.errors import ConfigInvalid, InputInvalid
from schemas.events import BOOK_DELTA, HEARTBEAT, INSTRUMENT, JOURNAL, LATENCY, QUOTE, RAW_FRAME, TRADE, Trust
from schemas.frame import decode, encode
from schemas.hashing import ContentHash, RowHash, has_content, topic_hash
from schemas.trading import POSITION
from tests.contract.codec_rows import random_rows
from tests.reference import hashing as plain

CAUSES = [Origin(1, 2, 3, 4), Origin(1, 2, 3, 5), NO_ORIGIN]


def batches_of(event: Event, seed: int) -> list[tuple[Origin, Rows, Heap]]:
    rng = np.random.default_rng(seed)
    return [(cause, *random_rows(event, count, rng)) for cause, count in zip(CAUSES, (7, 0, 5), strict=True)]


def row_hash(event: Event, batches: list[tuple[Origin, Rows, Heap]]) -> str:
    found = RowHash(event)
    for cause, rows, heap in batches:
        found.update(cause, rows, heap)
    assert found.row_count == sum(len(rows) for _, rows, _ in batches)
    return found.hexdigest()


def content_hash(event: Event, batches: list[tuple[Rows, Heap]]) -> str:
    found = ContentHash(event)
    for rows, heap in batches:
        found.update(rows, heap)
    return found.hexdigest()


def cut(batches: list[tuple[Origin, Rows, Heap]], size: int) -> list[tuple[Origin, Rows, Heap]]:
    return [(c, rows[i : i + size], heap) for c, rows, heap in batches for i in range(0, len(rows), size)]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_row_hash_equals_the_plain_twin_however_rows_are_cut(event: Event) -> None:
    batches = batches_of(event, event.number)
    expected = plain.row_hash(event, batches)
    assert row_hash(event, batches) == expected
    for size in (1, 2, 3):
        assert row_hash(event, cut(batches, size)) == expected


@pytest.mark.parametrize("event", [e for e in EVENTS if has_content(e)], ids=lambda event: event.name)
def test_content_hash_equals_the_plain_twin_however_rows_are_cut(event: Event) -> None:
    batches = batches_of(event, event.number)
    for _, rows, _ in batches:
        for name in ("instrument", "trust"):
            if name in (rows.dtype.names or ()):
                rows[name] = np.random.default_rng(1).integers(1, 4, len(rows)) // 2 + (name == "instrument") * 7
    contents = [(rows, heap) for _, rows, heap in batches]
    expected = plain.content_hash(event, contents)
    assert content_hash(event, contents) == expected
    for size in (1, 2, 3):
        assert content_hash(event, [(rows, heap) for _, rows, heap in cut(batches, size)]) == expected


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_row_hash_survives_the_wire(event: Event) -> None:
    ((cause, rows, heap), *_) = batches_of(event, event.number)
    cause = cause if event.caused else NO_ORIGIN
    found = decode(encode(event, 1, 1, 1, cause, rows, heap))
    assert row_hash(event, [(found.cause, found.rows, found.heap)]) == row_hash(event, [(cause, rows, heap)])


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_every_column_but_measured_ones_counts(event: Event) -> None:
    rows, heap = random_rows(event, 2, np.random.default_rng(3))
    before = row_hash(event, [(NO_ORIGIN, rows, heap)])
    for field in event.fields:
        if field.heap or field.name.startswith("reserved"):
            continue
        changed = rows.copy()
        changed[field.name][1] = rows[field.name][1] ^ 1
        assert (row_hash(event, [(NO_ORIGIN, changed, heap)]) == before) == field.measured, field.name


def test_cause_counts_for_caused_events_only() -> None:
    rows = TRADE.empty(2)
    assert row_hash(TRADE, [(CAUSES[0], rows, EMPTY_HEAP)]) != row_hash(TRADE, [(CAUSES[1], rows, EMPTY_HEAP)])
    rows = JOURNAL.empty(2)
    assert row_hash(JOURNAL, [(CAUSES[0], rows, EMPTY_HEAP)]) == row_hash(JOURNAL, [(CAUSES[1], rows, EMPTY_HEAP)])


def test_texts_count_by_their_bytes_not_by_their_place() -> None:
    one, other = RAW_FRAME.empty(2), RAW_FRAME.empty(2)
    one["request_size"], one["payload_at"], one["payload_size"] = 3, 3, 2
    other["request_at"], other["request_size"], other["payload_size"] = 2, 3, 2
    before = row_hash(RAW_FRAME, [(NO_ORIGIN, one, np.frombuffer(b"abcde", dtype=np.uint8))])
    assert row_hash(RAW_FRAME, [(NO_ORIGIN, other, np.frombuffer(b"deabc", dtype=np.uint8))]) == before
    assert row_hash(RAW_FRAME, [(NO_ORIGIN, one, np.frombuffer(b"abcdf", dtype=np.uint8))]) != before
    moved = one.copy()
    moved["request_size"], moved["payload_at"], moved["payload_size"] = 2, 2, 3  # the same bytes, parted elsewhere
    assert row_hash(RAW_FRAME, [(NO_ORIGIN, moved, np.frombuffer(b"abcde", dtype=np.uint8))]) != before
    with pytest.raises(InputInvalid, match="outside its heap of 4 bytes"):
        row_hash(RAW_FRAME, [(NO_ORIGIN, one, np.frombuffer(b"abcd", dtype=np.uint8))])


def test_measured_events_hash_alike_whatever_was_measured() -> None:
    one, other = LATENCY.empty(3), LATENCY.empty(3)
    other["count"] = 5
    assert row_hash(LATENCY, [(NO_ORIGIN, one, EMPTY_HEAP)]) == row_hash(LATENCY, [(NO_ORIGIN, other, EMPTY_HEAP)])
    beats = HEARTBEAT.empty(1)
    before = row_hash(HEARTBEAT, [(NO_ORIGIN, beats, EMPTY_HEAP)])
    beats["detail_size"] = 1
    assert row_hash(HEARTBEAT, [(NO_ORIGIN, beats, np.zeros(1, dtype=np.uint8))]) == before


def test_content_is_per_instrument_from_synced_rows_and_changes_only() -> None:
    rows = QUOTE.empty(6)
    rows["instrument"] = (5, 9, 5, 5, 9, 5)
    rows["trust"] = (Trust.GAP, Trust.SYNCED, Trust.SYNCED, Trust.SYNCED, Trust.SYNCED, Trust.STALE)
    rows["bid_price_e8"] = (1, 2, 3, 3, 4, 6)
    rows["ts_recv_ns"] = rows["cause_row"] = np.arange(6)
    found = ContentHash(QUOTE)
    found.update(rows[:3])
    found.update(rows[3:])
    assert found.row_counts == {9: 2, 5: 1}
    other = rows[[2, 1, 4]]
    other["ts_recv_ns"] = 77
    assert content_hash(QUOTE, [(other, EMPTY_HEAP)]) == found.hexdigest()
    assert found.digests().keys() == {5, 9}
    other["bid_price_e8"][0] = 9
    assert content_hash(QUOTE, [(other, EMPTY_HEAP)]) != found.hexdigest()


def test_touch_that_comes_back_after_a_pause_of_trust_counts_once() -> None:
    """Trust was lost and won again within one touch: the row that says so names another update, and adds nothing."""
    rows = QUOTE.empty(4)
    rows["trust"] = (Trust.SYNCED, Trust.STALE, Trust.SYNCED, Trust.SYNCED)
    rows["update_id"] = rows["ts_event_ns"] = (7, 7, 8, 9)
    rows["ask_quantity_e8"] = (1, 1, 1, 2)
    undisturbed = rows[[0, 3]]
    assert content_hash(QUOTE, [(rows, EMPTY_HEAP)]) == content_hash(QUOTE, [(undisturbed, EMPTY_HEAP)])
    assert plain.content_hash(QUOTE, [(rows, EMPTY_HEAP)]) == content_hash(QUOTE, [(rows, EMPTY_HEAP)])
    assert content_hash(QUOTE, [(rows[[2, 3]], EMPTY_HEAP)]) != content_hash(QUOTE, [(rows, EMPTY_HEAP)])


def test_positions_count_when_they_change_not_when_they_are_marked() -> None:
    """Two strategies in one instrument: whose mark is said when is our clock's doing."""
    rows = POSITION.empty(7)
    rows["strategy"] = (5, 6, 5, 6, 5, 5, 6)
    rows["quantity_e8"] = (1, 1, 1, 1, 1, 2, 1)
    rows["mark_price_e8"] = rows["ts_event_ns"] = range(7)
    rows["cost_e8"][6] = 9
    changed, marked_otherwise = rows[[0, 1, 5, 6]], rows[[0, 1, 3, 2, 5, 6]]
    found = ContentHash(POSITION)
    for i in range(7):
        found.update(rows[i : i + 1])
    assert found.row_counts == {0: 4}
    for other in (rows, changed, marked_otherwise):
        assert content_hash(POSITION, [(other, EMPTY_HEAP)]) == found.hexdigest()
    assert plain.content_hash(POSITION, [(rows, EMPTY_HEAP)]) == found.hexdigest()
    rows["account"][6], rows["cost_e8"][6] = 8, 0  # another owner's first
    assert plain.content_hash(POSITION, [(rows, EMPTY_HEAP)]) == content_hash(POSITION, [(rows, EMPTY_HEAP)])
    assert content_hash(POSITION, [(rows, EMPTY_HEAP)]) != found.hexdigest()


def test_rows_with_texts_count_once_while_what_is_watched_stays() -> None:
    event = replace(INSTRUMENT, content_changes=("tick_size_e8",))
    rows = INSTRUMENT.empty(4)
    rows["symbol_size"] = (1, 1, 1, 1)
    rows["symbol_at"] = (0, 1, 2, 0)
    rows["tick_size_e8"] = (1, 1, 2, 1)
    heap = np.frombuffer(b"aab", dtype=np.uint8)
    found = ContentHash(event)
    for i in range(4):
        found.update(rows[i : i + 1], heap)
    assert found.row_counts == {0: 3}
    assert found.hexdigest() == content_hash(event, [(rows, heap)]) == plain.content_hash(event, [(rows, heap)])


def test_events_without_content_cannot_be_compared_by_content() -> None:
    assert not has_content(JOURNAL)
    with pytest.raises(ConfigInvalid, match="Journal declares no content columns"):
        ContentHash(JOURNAL)


def test_topic_hash_is_over_its_writers_in_order() -> None:
    digests = {(3, 0, 10, 1): "b" * 64, (3, 0, 2, 1): "a" * 64}
    text = "3/0/2/1 " + "a" * 64 + "\n3/0/10/1 " + "b" * 64 + "\n"
    assert topic_hash(digests) == hashlib.sha256(text.encode()).hexdigest()
    assert topic_hash(dict(reversed(digests.items()))) == topic_hash(digests)


def test_hash_of_nothing_is_defined() -> None:
    assert RowHash(TRADE).hexdigest() == hashlib.sha256().hexdigest()
    assert ContentHash(BOOK_DELTA).hexdigest() == hashlib.sha256().hexdigest()


def test_hash_of_known_rows_never_changes() -> None:
    """Recorded sessions are compared by these: a change here breaks every sealed session."""
    rows = TRADE.empty(3)
    rows["price_e8"] = (6_165_970_000_000, 6_165_980_000_000, -1)
    rows["instrument"] = 1_788_040_692
    expected = "05f33e6c11e1709a93a7022b974b3300f3edcf1f0f2ebb9a93aae42d139a4ce2"
    assert row_hash(TRADE, [(Origin(1, 2, 3, 4), rows, EMPTY_HEAP)]) == expected
    expected = "07aac085c651c801e44d2e4fc789ac89fc8ff1652f74692b4e241ea757c23913"
    assert content_hash(TRADE, [(rows, EMPTY_HEAP)]) == expected
