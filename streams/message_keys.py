"""Natural keys of rows on compacted topics: what the log keeps the latest of, and where rows of one key end."""

from __future__ import annotations

import numpy as np

from schemas.declare import Heap, Rows
from streams.api import Chunk
from streams.topics import Topic


def row_key(topic: Topic, rows: Rows, heap: Heap, number: int) -> bytes:
    """The natural key of one row of a compacted topic: the bytes of its key columns, little-endian, text as it is."""
    row = rows[number]
    parts = []
    for name in topic.key:
        if topic.event.field(name).heap:
            at, size = int(row[f"{name}_at"]), int(row[f"{name}_size"])
            parts.append(heap[at : at + size].tobytes())
        else:
            parts.append(row[name].tobytes())
    return b"".join(parts)


def one_key_each(topic: Topic, chunk: Chunk) -> list[Chunk]:
    """The chunk, on a compacted topic cut where the key changes: a message has one key."""
    if topic.cleanup != "compact":
        return [chunk]
    ends = _key_ends(topic, chunk)
    if len(ends) == 1:
        return [chunk]
    return [chunk.cut(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _key_ends(topic: Topic, chunk: Chunk) -> list[int]:
    """Where rows of one key end: before each row whose key differs from that of the row before it, and at the end."""
    count = len(chunk.rows)
    if any(topic.event.field(name).heap for name in topic.key):
        keys = [row_key(topic, chunk.rows, chunk.heap, number) for number in range(count)]
        changes = [number for number in range(1, count) if keys[number] != keys[number - 1]]
    else:
        differs = np.zeros(max(count - 1, 0), dtype=np.bool_)
        for name in topic.key:
            column = chunk.rows[name]
            differs |= column[1:] != column[:-1]
        changes = (np.flatnonzero(differs) + 1).tolist()
    return [*changes, count]
