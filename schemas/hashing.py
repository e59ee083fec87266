"""Hashes of rows: what "the same rows" means, to the byte.

*Row hash*: SHA-256 over the rows of one (topic, partition, writer, incarnation), in number order. Per row:

1. events with a cause: topic, partition, writer, incarnation of the cause, each as u16;
2. the columns in the order of the declaration, little-endian, as wide as in the row; left out are columns
   declared `measured` and `reserved` ones; of a text or bytes column its size as u32 stands here;
3. the bytes of the text and bytes columns, in the same order.

*Content hash*: per instrument, SHA-256 over the content columns alone (2 and 3 of the above), of rows for which
`content_when` holds; of consecutive rows of an instrument (and of an account and strategy, where the event has these
columns) that are equal in `content_changes`, only the first; then SHA-256 over the lines
`<instrument id> <hex digest>\\n`, by ascending id. Events without an `instrument` column count as one instrument, 0.

*Topic hash*: SHA-256 over the lines `<topic>/<partition>/<writer>/<incarnation> <row hash>\\n`, ascending.

None depends on how the rows were cut into frames or batches.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.address import Origin
from schemas.declare import EMPTY_HEAP, NUMPY_OF_KIND, Event, Field, Heap, Rows
from schemas.errors import ConfigInvalid, InputInvalid

Bytes2d = npt.NDArray[np.uint8]  # one packed row per line


class _Packer:
    """Brings the chosen columns of rows into the byte form that is hashed."""

    def __init__(self, event: Event, keep: Callable[[Field], bool], *, origin: bool) -> None:
        self.event = event
        fields = [field for field in event.fields if keep(field) and not field.name.startswith("reserved")]
        self.heap_fields = [field for field in fields if field.heap]
        self.columns = [f"{field.name}_size" if field.heap else field.name for field in fields]
        items: list[Any] = [("cause", "<u2", (4,))] if origin else []
        for field, column in zip(fields, self.columns, strict=True):
            kind = "<u4" if field.heap else NUMPY_OF_KIND[field.kind]
            items.append((column, kind, (field.count,)) if field.count else (column, kind))
        self.dtype = np.dtype(items)

    def pack(self, rows: Rows, cause: Origin | None = None) -> Bytes2d:
        """The fixed part of each row: uint8[rows, dtype.itemsize]."""
        packed = np.empty(len(rows), dtype=self.dtype)
        if cause is not None:
            packed["cause"] = cause
        for column in self.columns:
            packed[column] = rows[column]
        return packed.view(np.uint8).reshape(len(rows), self.dtype.itemsize)

    def with_heap(self, packed: Bytes2d, rows: Rows, heap: Heap) -> Iterator[bytes]:
        """Fixed part and heap bytes, row by row."""
        memory: Any = np.ascontiguousarray(heap).data
        spans = []
        for field in self.heap_fields:
            at = rows[f"{field.name}_at"].astype(np.int64)
            spans.append((at.tolist(), (at + rows[f"{field.name}_size"]).tolist()))
            if len(rows) and max(spans[-1][1]) > len(memory):
                raise InputInvalid(f"{self.event.name}.{field.name} points outside its heap of {len(memory)} bytes.")
        for i in range(len(rows)):
            yield b"".join([packed[i].tobytes(), *(memory[starts[i] : stops[i]] for starts, stops in spans)])


class RowHash:
    """Hash of one writer's rows; feed it every row once, in number order."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self.row_count = 0
        self._packer = _Packer(event, lambda field: not field.measured, origin=event.caused)
        self._sha = hashlib.sha256()

    def update(self, cause: Origin, rows: Rows, heap: Heap = EMPTY_HEAP) -> None:
        """Take the next rows. `cause` is the frame's: it belongs to every row of it."""
        packed = self._packer.pack(rows, cause if self.event.caused else None)
        if self._packer.heap_fields:
            for row in self._packer.with_heap(packed, rows, heap):
                self._sha.update(row)
        else:
            self._sha.update(packed.data)
        self.row_count += len(rows)

    def hexdigest(self) -> str:
        """Of all rows so far; more may follow."""
        return self._sha.hexdigest()


def topic_hash(digests: Mapping[tuple[int, int, int, int], str]) -> str:
    """Hash over the row hashes of writers, given by (topic, partition, writer, incarnation)."""
    lines = [f"{'/'.join(map(str, key))} {digests[key]}\n" for key in sorted(digests)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def has_content(event: Event) -> bool:
    """Whether the event declares content columns, so that two independent plays can be compared."""
    return any(field.content for field in event.fields)


class ContentHash:
    """Hash of what rows say, whoever heard it and when; feed it the rows of any instruments in order."""

    def __init__(self, event: Event) -> None:
        if not has_content(event):
            raise ConfigInvalid(f"{event.name} declares no content columns: only its row hash can be compared.")
        self.event = event
        self._packer = _Packer(event, lambda field: field.content, origin=False)
        self._watched = _Packer(event, lambda field: field.name in event.content_changes, origin=False)
        self._keyed = any(field.name == "instrument" for field in event.fields)
        self._owned = {"account", "strategy"} <= {field.name for field in event.fields}
        self._sha: dict[int, Any] = {}
        self._last: dict[tuple[int, ...], bytes] = {}
        self.row_counts: dict[int, int] = {}  # rows that counted, by instrument

    def update(self, rows: Rows, heap: Heap = EMPTY_HEAP) -> None:
        """Take the next rows."""
        if self.event.content_when is not None:
            column, value = self.event.content_when
            rows = rows[rows[column] == value]
        for instrument, group in self._by_instrument(rows):
            self._update_one(instrument, group, heap)

    def _by_instrument(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        if not len(rows):
            return
        if not self._keyed:
            yield 0, rows
            return
        instruments = rows["instrument"]
        if (instruments == instruments[0]).all():
            yield int(instruments[0]), rows
            return
        order = np.argsort(instruments, kind="stable")
        edges = np.flatnonzero(np.diff(instruments[order])) + 1
        for part in np.split(order, edges):
            yield int(instruments[part[0]]), rows[part]

    def _update_one(self, instrument: int, rows: Rows, heap: Heap) -> None:
        sha = self._sha.setdefault(instrument, hashlib.sha256())
        if self.event.content_changes:
            rows = self._changed(instrument, rows)
        packed = self._packer.pack(rows)
        if self._packer.heap_fields:
            for line in self._packer.with_heap(packed, rows, heap):
                sha.update(line)
        else:
            sha.update(packed.data)
        self.row_counts[instrument] = self.row_counts.get(instrument, 0) + len(rows)

    def _changed(self, instrument: int, rows: Rows) -> Rows:
        """Without rows equal, in what is watched, to the row before, which may be the last of the update before."""
        if not self._owned:
            return rows[self._first((instrument,), rows)]
        keep = np.zeros(len(rows), dtype=np.bool_)
        owners = rows["account"].astype(np.uint64) << np.uint64(32) | rows["strategy"]
        for owner in np.unique(owners):
            of = np.flatnonzero(owners == owner)
            keep[of] = self._first((instrument, int(owner)), rows[of])
        return rows[keep]

    def _first(self, key: tuple[int, ...], rows: Rows) -> npt.NDArray[np.bool_]:
        """Which rows of one key are not equal to the row before."""
        packed = self._watched.pack(rows)
        keep = np.ones(len(rows), dtype=np.bool_)
        keep[1:] = (packed[1:] != packed[:-1]).any(axis=1)
        keep[0] = packed[0].tobytes() != self._last.get(key)
        self._last[key] = packed[-1].tobytes()
        return keep

    def hexdigest(self) -> str:
        """Of all rows so far; more may follow."""
        lines = [f"{instrument} {self._sha[instrument].hexdigest()}\n" for instrument in sorted(self._sha)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def digests(self) -> dict[int, str]:
        """Per instrument: for saying which one differs."""
        return {instrument: sha.hexdigest() for instrument, sha in sorted(self._sha.items())}
