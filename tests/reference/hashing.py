"""Plain twin of schemas/hashing.py, written from its documentation, one value after the other."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

from schemas.address import Origin
from schemas.declare import Event, Field, Heap, Rows

FORMAT = {
    "i64": "<q",
    "i32": "<i",
    "u8": "<B",
    "u16": "<H",
    "u32": "<I",
    "f64": "<d",
    "enum": "<B",
    "flags": "<B",
    "text": "<I",
    "bytes": "<I",
}


def row_bytes(event: Event, row: Any, heap: Heap, keep: Callable[[Field], bool]) -> bytes:
    fixed, tail = b"", b""
    for field in event.fields:
        if field.name.startswith("reserved") or not keep(field):
            continue
        if field.heap:
            at, size = int(row[f"{field.name}_at"]), int(row[f"{field.name}_size"])
            fixed += struct.pack("<I", size)
            tail += heap[at : at + size].tobytes()
        else:
            values = row[field.name] if field.count else [row[field.name]]
            fixed += b"".join(struct.pack(FORMAT[field.kind], value) for value in values)
    return fixed + tail


def row_hash(event: Event, batches: list[tuple[Origin, Rows, Heap]]) -> str:
    sha = hashlib.sha256()
    for cause, rows, heap in batches:
        for row in rows:
            origin = struct.pack("<4H", *cause) if event.caused else b""
            sha.update(origin + row_bytes(event, row, heap, lambda field: not field.measured))
    return sha.hexdigest()


def content_hash(event: Event, batches: list[tuple[Rows, Heap]]) -> str:
    kept: dict[int, list[bytes]] = {}
    last: dict[tuple[int, ...], bytes] = {}
    for rows, heap in batches:
        for row in rows:
            if event.content_when and row[event.content_when[0]] != event.content_when[1]:
                continue
            instrument = int(row["instrument"]) if "instrument" in (rows.dtype.names or ()) else 0
            content = row_bytes(event, row, heap, lambda field: field.content)
            watched = row_bytes(event, row, heap, lambda field: field.name in event.content_changes)
            owners = [int(row[name]) for name in ("account", "strategy") if name in (rows.dtype.names or ())]
            key = (instrument, *(owners if len(owners) == 2 else []))
            if event.content_changes and last.get(key) == watched:
                continue
            last[key] = watched
            kept.setdefault(instrument, []).append(content)
    lines = [f"{key} {hashlib.sha256(b''.join(kept[key])).hexdigest()}\n" for key in sorted(kept)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
