"""How an event is declared: fields, and the numpy dtype that follows from them.

A declaration is the only source: dtype (here), Avro schema (`schemas/avro.py`), codec
(`schemas/compiled/`), documentation and fingerprint are derived from it.

Field kinds and what they become:

==========  =====================  ==========================================================
kind        in a row               in Avro
==========  =====================  ==========================================================
i64 i32     ``i8`` ``i4``          ``long`` ``int``
u8 u16 u32  ``u1`` ``u2`` ``u4``   ``int`` ``int`` ``long`` (range checked)
f64         ``f8``                 ``double``
enum        ``u1``                 ``enum``; the symbol's index
flags       ``u1``                 ``int``; named bits
i64 × n     ``i8[n]``              ``array`` of ``long``, exactly n items
text bytes  two ``u4``: at, size   ``string`` ``bytes``; the row points into the batch's heap
==========  =====================  ==========================================================

A *based* column is stored as its difference from one value per frame (``base_<name>`` in the
frame's header): times, prices and ids become one to three bytes, and any Avro reader can add them.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["i64", "i32", "u8", "u16", "u32", "f64", "enum", "flags", "text", "bytes"]
Rows = npt.NDArray[Any]  # a structured array of one event's dtype
Heap = npt.NDArray[np.uint8]  # the bytes that text and bytes columns of a batch point into

NUMPY_OF_KIND: dict[Kind, str] = {
    "i64": "<i8",
    "i32": "<i4",
    "u8": "u1",
    "u16": "<u2",
    "u32": "<u4",
    "f64": "<f8",
    "enum": "u1",
    "flags": "u1",
}
EMPTY_HEAP: Heap = np.zeros(0, dtype=np.uint8)


@dataclass(frozen=True)
class Field:
    """One column.

    Args:
        name: snake case, unit last (``price_e8``, ``ts_recv_ns``).
        kind: see the module's table.
        doc: meaning and unit, for people.
        symbols: the enum class of an ``enum`` or the flag class of a ``flags`` column.
        count: n of a fixed array (``i64`` only); 0 for a scalar.
        based: stored as the difference from the frame's base.
        content: part of the *content hash*: equal in two independent plays of one recording.
        measured: says how it ran, not what happened; left out of the *row hash*.
        default: value for readers of frames older than the column; None for the columns of revision 1.
    """

    name: str
    kind: Kind
    doc: str
    symbols: type[enum.IntEnum] | type[enum.IntFlag] | None = None
    count: int = 0
    based: bool = False
    content: bool = False
    measured: bool = False
    default: int | float | str | None = None

    @property
    def heap(self) -> bool:
        """Whether the row only points into the heap."""
        return self.kind in ("text", "bytes")

    def dtype_items(self) -> Iterator[tuple[Any, ...]]:
        """Items of the row's numpy dtype: one, or `<name>_at` and `<name>_size` for heap columns."""
        if self.heap:
            yield (f"{self.name}_at", "<u4")
            yield (f"{self.name}_size", "<u4")
        elif self.count:
            yield (self.name, NUMPY_OF_KIND[self.kind], (self.count,))
        else:
            yield (self.name, NUMPY_OF_KIND[self.kind])


@dataclass(frozen=True)
class Event:
    """One kind of row.

    Args:
        name: singular noun, CamelCase; also the Avro record's name.
        number: frozen; schema id = number × 100 + revision.
        revision: counts compatible changes within a version of the topic.
        doc: one paragraph for people.
        fields: the columns, widest first so that the row needs no padding.
        caused: rows carry the address of their cause: `cause_row` here, the rest in the frame's header.
        content_when: (column, value): only such rows count for the content hash; None for all.
        content_changes: of consecutive rows of one instrument (account and strategy, where there are such columns)
            that are equal in these columns, only the first counts for the content hash; () counts every row. No text
            or bytes columns.
    """

    name: str
    number: int
    revision: int
    doc: str
    fields: tuple[Field, ...]
    caused: bool = True
    content_when: tuple[str, int] | None = None
    content_changes: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash((self.name, self.revision))

    @property
    def schema_id(self) -> int:
        return self.number * 100 + self.revision

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The row as a packed little-endian structured dtype; its size is a multiple of 8."""
        dtype = np.dtype([item for field in self.fields for item in field.dtype_items()])
        assert dtype.itemsize % 8 == 0, f"{self.name}: {dtype.itemsize} bytes a row; add a `reserved` column"
        return dtype

    @property
    def heap_fields(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.heap)

    def field(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)

    def empty(self, count: int = 0) -> Rows:
        """`count` rows of zeros."""
        return np.zeros(count, dtype=self.dtype)
