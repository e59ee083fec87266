"""The codec against its twins: every event, both ways, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from schemas.address import NO_ORIGIN, Origin
from schemas.catalogue import EVENTS
from schemas.compiled.bits import CHECKED
from schemas.declare import Event, Heap, Rows
from schemas.errors import InputInvalid
from schemas.events import BAR, BOOK_DELTA, QUOTE, RAW_FRAME, TRADE
from schemas.frame import codec_of, decode, decode_many, encode, peek
from tests.contract.codec_rows import frames, random_head, random_rows
from tests.recordings import recording
from tests.reference import frame as plain

CAUSE = Origin(1, 2, 3, 4)


def cause_for(event: Event) -> Origin:
    return CAUSE if event.caused else NO_ORIGIN


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames)
def test_any_rows_encode_as_fastavro_and_decode_as_they_were(case: tuple[Event, tuple[Rows, Heap]]) -> None:
    event, (rows, heap) = case
    data = encode(event, 7, 8, 9, cause_for(event), rows, heap)
    assert data == plain.encode(event, 7, 8, 9, cause_for(event), rows, heap)
    for found in (decode(data), plain.fastavro_decode(data), plain.decode(data)):
        assert found[:5] == (event, 7, 8, 9, cause_for(event))
        assert found.rows.tobytes() == rows.tobytes()
        assert found.heap.tobytes() == heap.tobytes()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_random_rows_in_longer_frames_make_the_round_trip(event: Event) -> None:
    rng = np.random.default_rng(event.number)
    for _ in range(8):
        rows, heap = random_rows(event, int(rng.integers(0, 60)), rng)
        head = random_head(event, rng)
        data = encode(event, *head, rows, heap)
        assert data == plain.encode(event, *head, rows, heap)
        found = decode(data)
        assert found[:5] == (event, *head)
        assert found.rows.tobytes() == rows.tobytes()
        assert found.heap.tobytes() == heap.tobytes()
        assert peek(data) == (event.schema_id, *head[:3], len(rows), head[3])


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_many_frames_decode_as_one_by_one(event: Event) -> None:
    rng = np.random.default_rng(event.number)
    parts = [random_rows(event, count, rng) for count in (3, 0, 1, 40, 2)]
    heads = [random_head(event, rng) for _ in parts]
    encoded = [encode(event, *head, rows, heap) for head, (rows, heap) in zip(heads, parts, strict=True)]
    stops = np.cumsum([7, *map(len, encoded)])
    buffer = b"garbage" + b"".join(encoded) + b"more"
    into = event.empty(100)
    for found in (
        decode_many(event, encoded),
        decode_many(event, [memoryview(part) for part in encoded], into=into),
        decode_many(event, memoryview(bytearray(buffer)), np.stack([stops[:-1], stops[1:]], axis=1)),
    ):
        assert found.starts.tolist() == [0, 3, 3, 4, 44, 46]
        assert found.heap.tobytes() == b"".join(heap.tobytes() for _, heap in parts)
        for i, (head, (rows, heap)) in enumerate(zip(heads, parts, strict=True)):
            one = found.frame(i)
            assert one[:5] == (event, *head)
            assert encode(event, *head, one.rows, one.heap) == encode(event, *head, rows, heap)
    assert np.shares_memory(decode_many(event, encoded, into=into).rows, into)


def test_spans_may_overlap() -> None:
    rows, heap = random_rows(RAW_FRAME, 3, np.random.default_rng(2))
    data = encode(RAW_FRAME, 1, 2, 3, NO_ORIGIN, rows, heap)
    found = decode_many(RAW_FRAME, data, np.array([[0, len(data)]] * 50))
    assert found.heap.tobytes() == heap.tobytes() * 50
    assert encode(RAW_FRAME, 1, 2, 3, NO_ORIGIN, found.frame(49).rows, found.heap) == data


def test_no_frames_decode_to_no_rows() -> None:
    found = decode_many(TRADE, [])
    assert len(found.rows) == 0
    assert found.starts.tolist() == [0]


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, dtype=np.uint8)])
def test_any_buffer_is_read(wrap: object) -> None:
    rows, heap = random_rows(RAW_FRAME, 3, np.random.default_rng(1))
    data = encode(RAW_FRAME, 1, 2, 3, NO_ORIGIN, rows, heap)
    assert decode(wrap(data)).rows.tobytes() == rows.tobytes()  # type: ignore[operator]
    assert peek(wrap(data)).row_count == 3  # type: ignore[operator]


def test_decoded_frame_owns_its_memory() -> None:
    rows, heap = random_rows(RAW_FRAME, 3, np.random.default_rng(1))
    data = bytearray(encode(RAW_FRAME, 1, 2, 3, NO_ORIGIN, rows, heap))
    found = decode(data)
    data[:] = bytes(len(data))
    assert found.rows.tobytes() == rows.tobytes()
    assert found.heap.tobytes() == heap.tobytes()


def test_scattered_and_read_only_rows_encode_as_their_copy() -> None:
    rows, _ = random_rows(BOOK_DELTA, 20, np.random.default_rng(1))
    expected = encode(BOOK_DELTA, 1, 1, 1, CAUSE, rows[::3].copy())
    assert encode(BOOK_DELTA, 1, 1, 1, CAUSE, rows[::3]) == expected
    odd = np.frombuffer(b"x" + rows[::3].tobytes(), dtype=np.uint8)[1:].view(BOOK_DELTA.dtype)
    assert not odd.flags.writeable
    assert encode(BOOK_DELTA, 1, 1, 1, CAUSE, odd) == expected


def test_heap_may_be_shared_and_out_of_order() -> None:
    heap = np.frombuffer(b"..payload..GET /x", dtype=np.uint8)
    rows = RAW_FRAME.empty(2)
    rows["request_at"], rows["request_size"] = 11, 6
    rows["payload_at"], rows["payload_size"] = (2, 4), 7
    found = decode(encode(RAW_FRAME, 1, 1, 1, NO_ORIGIN, rows, heap))
    assert found.heap.tobytes() == b"GET /xpayloadGET /xyload.."
    assert found.rows["payload_at"].tolist() == [6, 19]


@pytest.mark.parametrize("event", [TRADE, BAR], ids=lambda event: event.name)
def test_differences_of_65_bits_are_stored_without_base(event: Event) -> None:
    rows = event.empty(3)
    rows["ts_event_ns"] = (2**61, -(2**63), 2**63 - 1)
    rows["ts_recv_ns"] = (5, 6, 7)
    data = encode(event, 1, 1, 1, CAUSE, rows)
    assert decode(data).rows.tobytes() == rows.tobytes()
    assert data == plain.encode(event, 1, 1, 1, CAUSE, rows)


@pytest.mark.recording
def test_real_rows_make_the_round_trip() -> None:
    from tests.bench.real_rows import real_rows

    trades, deltas = real_rows(recording("usdm_btcusdt_20240808.gz"))
    assert (len(trades), len(deltas)) == (21_313, 443_521)
    for event, rows in ((TRADE, trades), (BOOK_DELTA, deltas)):
        rows = rows[:5000] if CHECKED else rows  # every access is looked at: that takes its time
        parts = [rows[i : i + 1000] for i in range(0, len(rows), 1000)]
        encoded = [encode(event, 1, 1, 1, CAUSE, part) for part in parts]
        assert encoded[3] == plain.encode(event, 1, 1, 1, CAUSE, parts[3])
        assert decode_many(event, encoded).rows.tobytes() == rows.tobytes()
        assert all(decode(data).rows.tobytes() == part.tobytes() for data, part in zip(encoded, parts, strict=True))


def test_kernels_compile_for_one_set_of_types() -> None:
    """A second set would cost seconds in the middle of a session."""
    rows, _ = random_rows(QUOTE, 30, np.random.default_rng(1))
    data = encode(QUOTE, 1, 1, 1, CAUSE, rows)
    encode(QUOTE, 1, 1, 1, CAUSE, rows[:0])
    rows.flags.writeable = False
    encode(QUOTE, 1, 1, 1, CAUSE, rows[:1])
    for buffer in (data, bytearray(data), memoryview(bytearray(data)), np.frombuffer(data, dtype=np.uint8)):
        decode(buffer)
        decode_many(QUOTE, buffer, np.array([[0, len(data)]]))
    codec = codec_of(QUOTE)
    for kernel in codec._kernels[:3]:
        assert len(getattr(kernel, "signatures", [0])) == 1, kernel


def test_rows_of_another_event_are_a_bug_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="Trade rows have dtype"):
        encode(TRADE, 1, 1, 1, NO_ORIGIN, QUOTE.empty(1))


def test_unknown_id_is_named() -> None:
    with pytest.raises(InputInvalid, match="schema id 9999"):
        decode(b"\0" + (9999).to_bytes(4, "big") + b"\0" * 20)


def test_known_frame_keeps_its_bytes() -> None:
    """What was recorded must stay readable, and replays must write the same bytes again."""
    rows = TRADE.empty(2)
    rows["ts_event_ns"] = (1_723_161_256_322_000_000, 1_723_161_256_344_000_000)
    rows["ts_recv_ns"] = (1_723_161_255_088_176_367, 1_723_161_255_088_230_567)
    rows["price_e8"] = (6_180_030_000_000, 6_180_020_000_000)
    rows["quantity_e8"] = (600_000, 19_900_000)
    rows["trade_id"] = (5_266_583_935, 5_266_583_936)
    rows["cause_row"] = (3, 9)
    rows["instrument"] = 1_788_040_692
    rows["aggressor"] = (0, 1)
    rows["flags"] = (1, 0)
    data = encode(TRADE, 130, 7, 42, CAUSE, rows)
    header = "00000000c984020e5402040608"  # framing, writer, incarnation, first row, cause
    bases = "8092cfdc8d82f3e92fdef3f9c38482f3e92f80aef1e7dce702fec5cd9e2706e8d79aa90d"
    first = "000000809f490000000002"
    second = "80c6fd14f0ce06ffd9c409c099fd12020c000200"
    assert data.hex() == header + bases + "04" + first + second + "00"
    assert decode(data).rows.tobytes() == rows.tobytes()
