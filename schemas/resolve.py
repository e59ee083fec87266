"""Frames of an older revision, read through Avro's own schema resolution: new columns get their defaults.

Slow (fastavro, one Python object per value) and rare: only recordings made before an upgrade need it.
"""

from __future__ import annotations

import functools
import io
import json
import struct
from typing import Any, NamedTuple

import fastavro
import numpy as np
from fastavro.schema import SchemaParseException

from schemas.address import NO_ORIGIN, Origin
from schemas.avro import ORIGIN_FIELDS, Schema, frame_schema, wire_fields
from schemas.declare import Event, Heap, Rows
from schemas.errors import InputInvalid

FRAMING_BYTES = 5  # magic byte and schema id
_U16_MAX = 0xFFFF
_I64_MAX = (1 << 63) - 1
_UNREADABLE = (
    EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError, struct.error,
    fastavro.read.SchemaResolutionError, SchemaParseException,
)  # fmt: skip


class Resolved(NamedTuple):
    """Header and rows of a frame of another revision."""

    writer: int
    incarnation: int
    row_first: int
    cause: Origin
    rows: Rows
    heap: Heap


@functools.lru_cache(maxsize=64)
def _parsed(schema_text: str) -> Any:
    return fastavro.parse_schema(json.loads(schema_text))


def resolve(data: bytes, written: Schema, event: Event) -> Resolved:
    """Read a whole frame that was written with schema `written` as rows of today's `event`.

    Raises:
        InputInvalid: not a whole frame of that schema, or values out of range.
    """
    stream = io.BytesIO(data)
    stream.seek(FRAMING_BYTES)
    try:
        record: Any = fastavro.schemaless_reader(
            stream, _parsed(json.dumps(written)), _parsed(json.dumps(frame_schema(event)))
        )
        if stream.tell() != len(data):
            raise ValueError(f"{len(data) - stream.tell()} bytes follow its end")
        return _resolved(record, event)
    except _UNREADABLE as error:
        raise InputInvalid(
            f"Frame of an older {event.name} cannot be read: {type(error).__name__}: {error}. "
            "It was cut or altered; put it aside."
        ) from error


def _resolved(record: dict[str, Any], event: Event) -> Resolved:
    numbers = [record["writer"], record["incarnation"]]
    cause = Origin(*(record[name] for name in ORIGIN_FIELDS)) if event.caused else NO_ORIGIN
    if not all(0 <= number <= _U16_MAX for number in (*numbers, *cause)):
        raise ValueError("a writer, incarnation or cause is outside of 0..65535")
    if not 1 <= record["row_first"] <= _I64_MAX - len(record["rows"]):
        raise ValueError(f"first row {record['row_first']}")
    rows, heap = rows_of(record, event)
    return Resolved(numbers[0], numbers[1], record["row_first"], cause, rows, heap)


def rows_of(record: dict[str, Any], event: Event) -> tuple[Rows, Heap]:
    """The rows of a frame record as fastavro gives it."""
    rows = event.empty(len(record["rows"]))
    heap = bytearray()
    for i, item in enumerate(record["rows"]):
        for field in wire_fields(event):
            value = item[field.name]
            if field.heap:
                raw = value.encode() if field.kind == "text" else value
                rows[f"{field.name}_at"][i], rows[f"{field.name}_size"][i] = len(heap), len(raw)
                heap += raw
            elif field.kind == "enum":
                assert field.symbols is not None, field.name
                rows[field.name][i] = field.symbols[value]
            elif field.count:
                if len(value) != field.count:
                    raise ValueError(f"{field.name} has {len(value)} items, not {field.count}")
                rows[field.name][i] = value
            else:
                rows[field.name][i] = value + record[f"base_{field.name}"] if field.based else value
    return rows, np.frombuffer(bytes(heap), dtype=np.uint8)
