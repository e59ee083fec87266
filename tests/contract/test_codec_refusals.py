"""What is no frame gives no row: cut, altered and hostile bytes, and rows that no frame can hold."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.address import NO_ORIGIN, Origin
from schemas.avro import based_fields
from schemas.catalogue import EVENTS
from schemas.declare import Event
from schemas.errors import InputInvalid
from schemas.events import BOOK_DELTA, BOOK_SNAPSHOT, INSTRUMENT, JOURNAL, QUOTE, RAW_FRAME, TRADE
from schemas.frame import decode, decode_many, encode, peek
from tests.contract.codec_rows import random_rows
from tests.contract.fuzz_codec import run, varint
from tests.reference import frame as plain


def header(event: Event, *, row_first: int = 1, base: int = 0) -> bytes:
    """Framing and header up to the array of rows."""
    out = event.schema_id.to_bytes(5, "big") + varint(1) + varint(1) + varint(row_first)
    out += varint(0) * 4 if event.caused else b""
    return out + varint(base) * len(based_fields(event))


def delta(**values: int) -> bytes:
    """One book delta row on the wire."""
    names = ("ts_event_ns", "ts_recv_ns", "update_id", "price_e8", "quantity_e8", "cause_row", "instrument")
    return b"".join(varint(values.get(name, 0)) for name in (*names, "side", "action", "flags"))


def refused(data: bytes, event: Event = BOOK_DELTA) -> str:
    """The sentence of the refusal, which the twin shares; `decode_many` refuses too, alone and inside a buffer."""
    with pytest.raises(plain.Refused):
        plain.decode(data)
    with pytest.raises(InputInvalid):
        decode_many(event, [data])
    with pytest.raises(InputInvalid):
        decode_many(event, data + b"\0" * 200, np.array([[0, len(data)]]))
    with pytest.raises(InputInvalid) as caught:
        decode(data)
    return str(caught.value)


MANY = 12  # the last rows of a frame are not taken by the fast kernel, which wants to see bytes behind a row


def framed(*rows: bytes, base: int = 0) -> bytes:
    return header(BOOK_DELTA, base=base) + varint(len(rows)) + b"".join(rows) + b"\0"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_frame_cut_anywhere_is_refused(event: Event) -> None:
    rows, heap = random_rows(event, 2 if any(field.count for field in event.fields) else 12, np.random.default_rng(3))
    data = encode(event, 1, 2, 3, NO_ORIGIN, rows, heap)
    for size in range(len(data)):
        with pytest.raises(InputInvalid):
            decode(data[:size])
        with pytest.raises(InputInvalid):  # the bytes go on, the frame does not
            decode_many(event, data, np.array([[0, size]]))
        if size < 5:
            continue
        with pytest.raises(InputInvalid):
            peek(data[:size])


@pytest.mark.parametrize("position", [0, MANY - 1], ids=["taken by the fast kernel", "at the end"])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"side": 2}, "outside the range of its column in side of row"),
        ({"side": -1}, "outside the range of its column in side of row"),
        ({"action": 5}, "outside the range of its column in action of row"),
        ({"flags": 256}, "outside the range of its column in flags of row"),
        ({"flags": -1}, "outside the range of its column in flags of row"),
        ({"instrument": 2**32}, "outside the range of its column in instrument of row"),
        ({"instrument": -1}, "outside the range of its column in instrument of row"),
        ({"instrument": 2**62}, "outside the range of its column in instrument of row"),
    ],
)
def test_value_out_of_range_is_refused_with_its_place(values: dict[str, int], reason: str, position: int) -> None:
    rows = [delta()] * MANY
    rows[position] = delta(**values)
    assert f"{reason} {position}" in refused(framed(*rows))


@pytest.mark.parametrize("base", [2**63 - 1, 2**62, 2**62 - 1, -(2**63) + 1, -(2**62), -(2**62) + 1])
def test_sum_of_base_and_difference_beyond_64_bits_is_refused(base: int) -> None:
    rows = [delta(instrument=-base)] * MANY  # the instrument is based, too: bring it back to 0
    assert decode(framed(*rows, base=base)).rows["price_e8"].tolist() == [base] * MANY
    rows[2] = delta(price_e8=2**63 - 1 if base > 0 else -(2**63), instrument=-base)
    assert "sum leaves 64 bits in price_e8 of row 2" in refused(framed(*rows, base=base))


def test_largest_and_smallest_sums_are_read() -> None:
    rows = [delta(price_e8=2**63 - 1 - 7, instrument=-7), delta(price_e8=-(2**63), instrument=-7)] * 6
    assert decode(framed(*rows, base=7)).rows["price_e8"].tolist() == [2**63 - 1, -(2**63) + 7] * 6


@pytest.mark.parametrize("position", [0, MANY - 1])
@pytest.mark.parametrize(
    "bad",
    [b"\x80" * 10 + b"\0", b"\xff" * 10 + b"\x01", b"\x80" * 9 + b"\x02", b"\xff" * 9 + b"\x03", b"\xff" * 200],
    ids=["eleven bytes", "eleven bytes of ones", "bit 65", "bits beyond 64", "no end"],
)
def test_integer_of_more_than_64_bits_is_refused(bad: bytes, position: int) -> None:
    rows = [delta()] * MANY
    rows[position] = bad + delta()[1:]
    assert "more than 64 bits" in refused(framed(*rows))


@pytest.mark.parametrize("size", range(2, 11))
def test_needlessly_long_integers_are_read(size: int) -> None:
    """Avro does not forbid them, and other writers may reserve room that way."""
    row = varint(5, size - 1) + delta()[1:]
    found = decode(framed(*[row] * MANY))
    assert found.rows["ts_event_ns"].tolist() == [5] * MANY
    assert plain.decode(framed(*[row] * MANY)).rows.tobytes() == found.rows.tobytes()


@pytest.mark.parametrize("count", [1, 2, 10**6, 2**31, 2**40, 2**62, 2**63 - 1])
def test_count_that_the_bytes_cannot_hold_is_refused_before_memory_is_taken(count: int) -> None:
    assert "announces more rows" in refused(header(BOOK_DELTA) + varint(count) + b"\0" * 9)


@pytest.mark.parametrize("count", [-1, -5, -(10**6), -(2**62), -(2**63)])
def test_block_with_a_count_that_cannot_be_is_refused(count: int) -> None:
    refused(header(BOOK_DELTA) + varint(count) + varint(9) + b"\0" * 9)


@pytest.mark.parametrize("event", [BOOK_DELTA, RAW_FRAME, BOOK_SNAPSHOT, JOURNAL], ids=lambda event: event.name)
def test_rows_in_any_blocks_are_read(event: Event) -> None:
    rows, heap = random_rows(event, 9, np.random.default_rng(4))
    rows["ts_recv_ns" if "ts_recv_ns" in (rows.dtype.names or ()) else "first"] = 0
    for field in based_fields(event):
        rows[field.name] = 0
    one = encode(event, 1, 1, 1, NO_ORIGIN, rows, heap)
    at = len(header(event))
    assert one[at : at + 1] == varint(9)
    singles = [encode(event, 1, 1, 1, NO_ORIGIN, rows[i : i + 1], heap)[at + 1 : -1] for i in range(9)]
    three = b"".join(singles[3:6])
    blocks = varint(3) + b"".join(singles[:3]) + varint(-3) + varint(len(three)) + three
    blocks += varint(3) + b"".join(singles[6:]) + b"\0"
    data = one[:at] + blocks
    assert decode(data).rows.tobytes() == rows.tobytes()
    assert decode(data).heap.tobytes() == heap.tobytes()
    assert peek(data).row_count == peek(one).row_count == 9
    both = decode_many(event, [one, data, one])
    assert both.starts.tolist() == [0, 9, 18, 27]
    assert encode(event, 1, 1, 1, NO_ORIGIN, both.frame(1).rows, both.heap) == one
    for wrong in (len(three) - 1, len(three) + 1, -1, 2**40):
        bad = blocks.replace(varint(-3) + varint(len(three)), varint(-3) + varint(wrong))
        with pytest.raises(InputInvalid, match="block whose size"):
            decode(one[:at] + bad)


def test_bytes_after_the_end_are_refused() -> None:
    good = framed(delta())
    assert "after its end" in refused(good + b"\0")
    assert "after its end" in refused(header(BOOK_DELTA) + b"\0\0")


def test_missing_end_is_refused() -> None:
    assert "ends in the middle" in refused(framed(*[delta()] * MANY)[:-1])


@pytest.mark.parametrize("row_first", [0, -1, -(2**63)])
def test_row_number_below_one_is_refused(row_first: int) -> None:
    assert "row number that cannot be" in refused(header(BOOK_DELTA, row_first=row_first) + b"\0")


def test_row_numbers_beyond_64_bits_are_refused() -> None:
    body = varint(2) + delta() * 2 + b"\0"
    assert len(decode(header(BOOK_DELTA, row_first=2**63 - 3) + body).rows) == 2
    refused(header(BOOK_DELTA, row_first=2**63 - 2) + body)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\1", b"\1\0\0\1\x2d\0", b"\0\0\0\1\x2e" + b"\0" * 30])
def test_what_is_not_in_our_framing_is_refused(data: bytes) -> None:
    refused(data)


def test_text_that_is_not_utf8_is_refused_and_any_other_is_read() -> None:
    rows = INSTRUMENT.empty(1)
    rows["symbol_size"] = 4
    good = encode(INSTRUMENT, 1, 1, 1, NO_ORIGIN, rows, np.frombuffer(b"abcd", dtype=np.uint8))
    for text in (b"\xf0\x9f\x90\x8d", b"\xc3\xa9\xc3\xa9", b"\xed\x9f\xbfx", b"\xf4\x8f\xbf\xbf", b"\0\0\0\0"):
        assert decode(good.replace(b"abcd", text)).heap.tobytes() == text
    for text in (
        b"\xed\xa0\x80x",
        b"\xc0\x80xx",
        b"\xf4\x90\x80\x80",
        b"xxx\xc3",
        b"\x80xxx",
        b"\xff\xfexx",
        b"\xe0\x80\x80x",
    ):
        assert "not UTF-8 in symbol of row 0" in refused(good.replace(b"abcd", text), INSTRUMENT)


@pytest.mark.parametrize("size", [-1, -(2**63), 5, 100, 2**32, 2**62])
def test_text_longer_than_the_frame_is_refused(size: int) -> None:
    data = header(RAW_FRAME) + varint(1) + varint(0) + varint(size) + b"\0" * 8
    with pytest.raises(InputInvalid, match=r"whose size cannot be in request of row 0|ends in the middle"):
        decode(data)
    refused(data, RAW_FRAME)


@pytest.mark.parametrize("count", [0, 19, 21, 10**9, 2**62, -(2**63)])
def test_array_of_another_length_is_refused(count: int) -> None:
    rows = BOOK_SNAPSHOT.empty(1)
    good = encode(BOOK_SNAPSHOT, 1, 1, 1, NO_ORIGIN, rows)
    at = good.index(varint(20))
    assert "another number of items" in refused(good[:at] + varint(count) + good[at + 1 :], BOOK_SNAPSHOT)


def test_array_in_blocks_is_read() -> None:
    rows = BOOK_SNAPSHOT.empty(1)
    rows["bid_price_e8"] = np.arange(20)
    good = encode(BOOK_SNAPSHOT, 1, 1, 1, NO_ORIGIN, rows)
    at = good.index(varint(20))
    items = b"".join(map(varint, range(20)))
    cut = varint(-8) + varint(8) + items[:8] + varint(12) + items[8:]
    assert decode(good[:at] + cut + good[at + 21 :]).rows.tobytes() == rows.tobytes()
    refused(good[:at] + varint(-8) + varint(9) + items[:8] + varint(12) + items[8:] + good[at + 21 :], BOOK_SNAPSHOT)


@pytest.mark.parametrize(
    ("event", "column", "value", "reason"),
    [
        (TRADE, "aggressor", 2, "outside the range of its column in aggressor of row 7"),
        (QUOTE, "trust", 6, "outside the range of its column in trust of row 7"),
        (JOURNAL, "kind", 255, "outside the range of its column in kind of row 7"),
        (TRADE, "reserved", 1, "reserved column that is not zero of row 7"),
        (JOURNAL, "reserved_c", 1, "reserved column that is not zero of row 7"),
        (RAW_FRAME, "payload_size", 1, "size cannot be in payload of row 7"),
        (RAW_FRAME, "payload_at", 1, "size cannot be in payload of row 7"),
        (RAW_FRAME, "request_size", 2**32 - 1, "size cannot be in request of row 7"),
    ],
)
def test_rows_that_no_frame_can_hold_are_refused(event: Event, column: str, value: int, reason: str) -> None:
    rows = event.empty(9)
    rows[column][7] = value
    with pytest.raises(InputInvalid, match=reason):
        encode(event, 1, 1, 1, NO_ORIGIN, rows)


def test_text_that_is_not_utf8_cannot_be_encoded() -> None:
    rows = INSTRUMENT.empty(1)
    rows["symbol_size"] = 1
    with pytest.raises(InputInvalid, match="not UTF-8 in symbol of row 0"):
        encode(INSTRUMENT, 1, 1, 1, NO_ORIGIN, rows, np.frombuffer(b"\xff", dtype=np.uint8))


@pytest.mark.parametrize(
    ("event", "head"),
    [
        (TRADE, (-1, 1, 1, NO_ORIGIN)),
        (TRADE, (65536, 1, 1, NO_ORIGIN)),
        (TRADE, (1, 65536, 1, NO_ORIGIN)),
        (TRADE, (1, 1, 0, NO_ORIGIN)),
        (TRADE, (1, 1, 2**63, NO_ORIGIN)),
        (TRADE, (1, 1, 1, Origin(1, 2, 3, 65536))),
        (TRADE, (1, 1, 1, Origin(-1, 2, 3, 4))),
        (RAW_FRAME, (1, 1, 1, Origin(1, 2, 3, 4))),
    ],
)
def test_header_that_cannot_be_is_refused(event: Event, head: tuple[int, int, int, Origin]) -> None:
    with pytest.raises(InputInvalid, match=f"No frame of {event.name}"):
        encode(event, *head, event.empty(1))


@pytest.mark.parametrize("spans", [[[0, 10**6]], [[-1, 5]], [[9, 4]]])
def test_spans_outside_the_buffer_are_refused(spans: list[list[int]]) -> None:
    with pytest.raises(InputInvalid, match="outside"):
        decode_many(TRADE, b"\0" * 100, np.array(spans))


def test_first_bad_frame_of_many_is_named() -> None:
    good = framed(delta())
    with pytest.raises(InputInvalid, match=f"Frame 2 of 3, at byte {2 * len(good)}"):
        decode_many(BOOK_DELTA, [good, good, good[:-2]])


@pytest.mark.parametrize("seed", [11, 12])
def test_fuzzed_inputs_are_judged_as_by_the_plain_twin(seed: int) -> None:
    counts = run(4_000, seed)
    assert counts["accepted"] > 200
    assert counts["refused"] > 200
