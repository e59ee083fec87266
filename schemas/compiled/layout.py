"""The tables that the kernels read: one line per frame (`heads`), one line per column (`program`).

`heads` is int64[frames, HEAD_BASE + bases]. A caller fills START and STOP; `read_heads` fills the
rest; a kernel that refuses a frame leaves STATUS, WHERE, ROW and COLUMN. Encoding uses one such line.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.avro import RANGE_OF_KIND, based_fields, wire_fields
from schemas.declare import NUMPY_OF_KIND, Event, Field

Table = npt.NDArray[np.int64]

# Columns of `heads`.
START = 0  # the frame's first byte (its magic byte) in the buffer
STOP = 1  # one past its last byte
STATUS = 2  # a Status
WHERE = 3  # byte at which the refused value begins
ROW = 4  # its row within the frame, -1 in the header
COLUMN = 5  # its column within the program, or the value of the header
ROW_AT = 6  # where the frame's rows go in the array of all frames
COUNT = 7  # rows
ARRAY = 8  # byte at which the array of rows begins
ITEMS = 9  # byte at which the first row of the first block begins
WRITER = 10
INCARNATION = 11
ROW_FIRST = 12
CAUSE = 13  # four columns: topic, partition, writer, incarnation
BASE = 17  # one column per based column of the event

# Columns of `program`.
CODE = 0  # a Code
WORD = 1  # which 64-bit word of the row holds the value
SHIFT = 2  # by how many bits it is shifted there
LIMIT = 3  # largest value of an UNSIGNED
BASED = 4  # index of its base, -1 for none
ITEM_COUNT = 5  # items of a fixed array, 0 for a scalar
MASK = 6  # the bits of an UNSIGNED within the shifted word

# Items of `facts`, int64[5]: what the kernels need to know of an event besides its columns.
SCHEMA_ID = 0
CAUSED = 1  # 1 when the header holds the origin of a cause
BASES = 2  # based columns
ROW_MIN = 3  # least bytes of a row
ROW_MAX = 4  # most bytes of a row without those of its heap columns

VARINT_BYTES_MAX = 10
BASES_MAX = 16  # based columns of an event
HEADER_BYTES_MAX = 5 + VARINT_BYTES_MAX * (7 + BASES_MAX + 1)


class Code(enum.IntEnum):
    """How a column is read and written."""

    I64 = 0
    I32 = 1
    UNSIGNED = 2  # u8 u16 u32 enum flags
    F64 = 3
    TEXT = 4
    BYTES = 5


class Status(enum.IntEnum):
    """What became of a frame."""

    FINE = 0
    BLOCKS = 1  # not one plain block: `decode_blocks` reads it
    GROW = 2  # encoding: the buffer is too small
    MAGIC = 3
    SCHEMA_ID = 4
    TRUNCATED = 5
    VARINT = 6
    RANGE = 7
    SUM = 8
    ITEMS = 9
    SIZE = 10
    UTF8 = 11
    COUNT = 12
    BLOCK_SIZE = 13
    TRAILING = 14
    HEADER = 15
    RESERVED = 16


CODE_OF_KIND = {"i64": Code.I64, "i32": Code.I32, "f64": Code.F64, "text": Code.TEXT, "bytes": Code.BYTES}


def limit_of(field: Field) -> int:
    """Largest value of an unsigned column."""
    if field.kind == "enum":
        assert field.symbols is not None, field.name
        return len(field.symbols) - 1
    return RANGE_OF_KIND[field.kind][1]


def column_name(field: Field) -> str:
    """Its (first) name in the dtype."""
    return f"{field.name}_at" if field.heap else field.name


def program_of(event: Event) -> Table:
    """int64[columns, 7]: how each column that travels lies in the row.

    Columns lie on multiples of their own width (declare the widest first), so none straddles a word.
    """
    offsets: Any = event.dtype.fields
    based = [field.name for field in based_fields(event)]
    assert len(based) <= BASES_MAX, f"{event.name}: {len(based)} based columns; at most {BASES_MAX}"
    lines = []
    for field in wire_fields(event):
        offset = offsets[column_name(field)][1]
        width = 4 if field.heap else np.dtype(NUMPY_OF_KIND[field.kind]).itemsize
        assert offset % width == 0, f"{event.name}.{field.name} straddles words; declare the widest columns first"
        code = CODE_OF_KIND.get(field.kind, Code.UNSIGNED)
        limit = limit_of(field) if code == Code.UNSIGNED else 0
        base = based.index(field.name) if field.based else -1
        mask = (1 << 8 * width) - 1 if code == Code.UNSIGNED else 0
        lines.append([code, offset // 8, offset % 8 * 8, limit, base, field.count, mask])
    return np.array(lines, dtype=np.int64)


def facts_of(event: Event) -> Table:
    """int64[5]: see SCHEMA_ID and the lines below it."""
    row_min, row_max = row_bytes_min(event), row_bytes_max(event)
    return np.array([event.schema_id, event.caused, len(based_fields(event)), row_min, row_max], dtype=np.int64)


def reserved_masks(event: Event) -> npt.NDArray[np.uint64]:
    """uint64[words of a row]: the bits that must be zero."""
    row = event.empty(1)
    for field in event.fields:
        if field.name.startswith("reserved"):
            row[field.name] = np.iinfo(row[field.name].dtype).max
    return row.view(np.uint64).copy()


def row_bytes_min(event: Event) -> int:
    """The least that a row of this event takes on the wire."""
    return sum(8 if field.kind == "f64" else field.count + 2 if field.count else 1 for field in wire_fields(event))


def row_bytes_max(event: Event) -> int:
    """The most that a row takes on the wire, without the bytes in the heap."""
    return sum(VARINT_BYTES_MAX * (field.count + 2 if field.count else 1) for field in wire_fields(event))
