"""Plain twins of the codec: `encode` through fastavro, `decode` one byte after the other in plain Python.

`decode` accepts and refuses exactly what the codec must: the fuzzer compares the two on millions of inputs.
"""

from __future__ import annotations

import functools
import io
import struct
from typing import Any

import fastavro
import numpy as np

from schemas.address import NO_ORIGIN, Origin
from schemas.avro import ORIGIN_FIELDS, based_fields, frame_schema, wire_fields
from schemas.catalogue import EVENTS
from schemas.codec import Frame
from schemas.declare import EMPTY_HEAP, Event, Field, Heap, Rows
from schemas.resolve import rows_of

EVENT_BY_SCHEMA_ID = {event.schema_id: event for event in EVENTS}
I64 = range(-(1 << 63), 1 << 63)
RANGE: dict[str, range] = {
    "i64": I64,
    "i32": range(-(1 << 31), 1 << 31),
    "u8": range(1 << 8),
    "flags": range(1 << 8),
    "u16": range(1 << 16),
    "u32": range(1 << 32),
}


class Refused(Exception):
    """Not a frame."""


@functools.cache
def parsed(event: Event) -> Any:
    return fastavro.parse_schema(frame_schema(event))


def base_of(column: Any) -> int:
    """The first value, unless it is far out or a difference needs 65 bits."""
    values = [int(value) for value in column]
    if not values or abs(values[0]) >= 1 << 62:
        return 0
    return values[0] if all(value - values[0] in I64 for value in (min(values), max(values))) else 0


def record_of(event: Event, row_first: int, cause: Origin, rows: Rows, heap: Heap) -> dict[str, Any]:
    """What fastavro writes."""
    record: dict[str, Any] = {"row_first": row_first}
    if event.caused:
        record.update(zip(ORIGIN_FIELDS, cause, strict=True))
    bases = {field.name: base_of(rows[field.name]) for field in based_fields(event)}
    record.update({f"base_{name}": base for name, base in bases.items()})
    record["rows"] = [
        {field.name: _avro_value(field, row, heap, bases.get(field.name, 0)) for field in wire_fields(event)}
        for row in rows
    ]
    return record


def _avro_value(field: Field, row: Any, heap: Heap, base: int) -> Any:
    if field.heap:
        at, size = int(row[f"{field.name}_at"]), int(row[f"{field.name}_size"])
        raw = heap[at : at + size].tobytes()
        return raw.decode() if field.kind == "text" else raw
    if field.count:
        return row[field.name].tolist()
    if field.kind == "enum":
        assert field.symbols is not None
        return field.symbols(int(row[field.name])).name
    return float(row[field.name]) if field.kind == "f64" else int(row[field.name]) - base


def encode(
    event: Event, writer: int, incarnation: int, row_first: int, cause: Origin, rows: Rows, heap: Heap = EMPTY_HEAP
) -> bytes:
    """The codec's `encode` for rows that are right."""
    record = record_of(event, row_first, cause, rows, heap) | {"writer": writer, "incarnation": incarnation}
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, parsed(event), record)
    return struct.pack(">BI", 0, event.schema_id) + stream.getvalue()


def fastavro_decode(data: bytes) -> Frame:
    """The codec's `decode` for frames that are right."""
    event = EVENT_BY_SCHEMA_ID[struct.unpack_from(">BI", data)[1]]
    stream = io.BytesIO(data)
    stream.seek(5)
    record: Any = fastavro.schemaless_reader(stream, parsed(event), None)
    assert stream.tell() == len(data)
    cause = Origin(*(record[name] for name in ORIGIN_FIELDS)) if event.caused else NO_ORIGIN
    rows, heap = rows_of(record, event)
    return Frame(event, record["writer"], record["incarnation"], record["row_first"], cause, rows, heap)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 5

    def long(self) -> int:
        value = 0
        for k in range(10):
            byte = self.byte()
            if k == 9 and byte > 1:
                raise Refused("more than 64 bits")
            value |= (byte & 0x7F) << 7 * k
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
        raise Refused("more than 64 bits")

    def byte(self) -> int:
        if self.pos >= len(self.data):
            raise Refused("cut")
        self.pos += 1
        return self.data[self.pos - 1]

    def bytes(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.pos:
            raise Refused("size")
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def blocks(self, item: Any, item_bytes_min: int, count_max: int) -> list[Any]:
        """The items of an Avro array."""
        found: list[Any] = []
        while True:
            count, end = self.long(), None
            if count < 0:
                count = -count
                size = self.long()
                if not 0 <= size <= len(self.data) - self.pos:
                    raise Refused("block size")
                end = self.pos + size
            if count * item_bytes_min > len(self.data) - self.pos or len(found) + count > count_max:
                raise Refused("count")
            if count == 0:
                if end is not None:
                    raise AssertionError("-0 is 0")
                return found
            found += [item() for _ in range(count)]
            if end is not None and end != self.pos:
                raise Refused("block size")


def decode(data: bytes, event: Event | None = None) -> Frame:
    """Exactly what the codec must accept. Raises Refused."""
    if len(data) < 5 or data[0] != 0:
        raise Refused("framing")
    schema_id = int.from_bytes(data[1:5], "big")
    event = event or EVENT_BY_SCHEMA_ID.get(schema_id)
    if event is None or event.schema_id != schema_id:
        raise Refused("schema id")
    reader = _Reader(data)
    numbers = [reader.long(), reader.long()]
    row_first = reader.long()
    cause = [reader.long() for _ in range(4)] if event.caused else [0, 0, 0, 0]
    if not all(number in RANGE["u16"] for number in (*numbers, *cause)) or row_first < 1:
        raise Refused("header")
    bases = {field.name: reader.long() for field in based_fields(event)}
    least = sum(8 if field.kind == "f64" else field.count + 2 if field.count else 1 for field in wire_fields(event))
    rows = event.empty(len(data))
    heap = bytearray()
    filled = 0

    def item() -> None:
        nonlocal filled
        _read_row(event, reader, rows[filled], bases, heap)
        filled += 1

    reader.blocks(item, least, I64[-1] - row_first)
    if reader.pos != len(data):
        raise Refused("trailing bytes")
    array = np.frombuffer(bytes(heap), dtype=np.uint8)
    return Frame(event, numbers[0], numbers[1], row_first, Origin(*cause), rows[:filled].copy(), array)


def _read_row(event: Event, reader: _Reader, row: Any, bases: dict[str, int], heap: bytearray) -> None:
    for field in wire_fields(event):
        if field.heap:
            raw = reader.bytes(reader.long())
            if field.kind == "text":
                try:
                    raw.decode()
                except UnicodeDecodeError:
                    raise Refused("text") from None
            row[f"{field.name}_at"], row[f"{field.name}_size"] = len(heap), len(raw)
            heap += raw
        elif field.count:
            values = reader.blocks(reader.long, 0, field.count)
            if len(values) != field.count:
                raise Refused("items")
            row[field.name] = values
        elif field.kind == "f64":
            row[field.name] = struct.unpack("<d", reader.bytes(8))[0]
        else:
            value = reader.long() + bases.get(field.name, 0)
            allowed = RANGE.get(field.kind) or range(len(field.symbols or ()))
            if value not in allowed:
                raise Refused("range")
            row[field.name] = value
