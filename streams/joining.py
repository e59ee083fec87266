"""Chunks that follow each other as one: what a reader takes at once costs by the call more than by the row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from schemas.declare import Event, Heap, Rows
from streams.api import Chunk
from streams.topics import TOPIC_BY_NUMBER


def in_runs(chunks: Sequence[Chunk]) -> Iterator[list[Chunk]]:
    """Neighbours of which each continues the one before, for the same cause."""
    at = 0
    while at < len(chunks):
        end, before = at + 1, chunks[at]
        while end < len(chunks) and _continues(chunks[end], before):
            before = chunks[end]
            end += 1
        yield list(chunks[at:end])
        at = end


def _continues(chunk: Chunk, before: Chunk) -> bool:
    return chunk.row_first == before.row_last + 1 and chunk.key == before.key and chunk.cause == before.cause


def joined_rows(event: Event, parts: Sequence[tuple[Rows, Heap]]) -> tuple[Rows, Heap]:
    """Rows of one event and their heaps as one. Rows are copied as bytes: numpy copies them field by field."""
    rows: Rows = np.frombuffer(bytearray().join([rows.tobytes() for rows, _ in parts]), dtype=event.dtype)
    if not event.heap_fields:
        return rows, parts[0][1]
    starts = np.cumsum([0, *(len(heap) for _, heap in parts[:-1])]).astype(np.uint32)
    shift = np.repeat(starts, [len(rows) for rows, _ in parts])
    for column in event.heap_fields:
        rows[f"{column.name}_at"] += shift
    return rows, np.concatenate([heap for _, heap in parts])


def joined(chunks: Sequence[Chunk], position: int = 0) -> Chunk:
    """Chunks of a run as one, with the first one's cause.

    Args:
        position: after the last of them; 0: as the last one says.
    """
    first, position = chunks[0], position or chunks[-1].position
    if len(chunks) == 1:
        return first if first.position == position else replace(first, position=position)
    event = TOPIC_BY_NUMBER[first.key.topic].event
    rows, heap = joined_rows(event, [(chunk.rows, chunk.heap) for chunk in chunks])
    return Chunk(first.key, first.row_first, rows, heap, first.cause, position)
