"""From what a rule emitted to addressed rows: partition, cause, row number.

Rows of one output keep the order in which they were emitted. Per partition they are numbered on from the
last row; a chunk holds rows of one cause.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from processors.api import Emitted
from schemas.address import Origin
from schemas.declare import Heap, Rows
from streams.api import Chunk, TopicPartition, WriterKey
from streams.checkpoint import Tail, compact_heap
from streams.joining import joined_rows
from streams.partitioner import partition_of_u32, partitions_of_u32
from streams.topics import Topic


def foreign_origin(place: TopicPartition) -> Origin:
    """Cause of the dead letter of a message that is no frame of ours: a place without a writer."""
    return Origin(place.topic, place.partition, 0, 0)


def is_foreign(cause: Origin) -> bool:
    """Whether the rows speak of such a message. Their words are input, so no checksum covers them."""
    return cause.topic != 0 and cause.incarnation == 0


class Numbering:
    """Numbers the rows of one writer. `tails` is where every sequence ends."""

    def __init__(self, writer: int, incarnation: int, task: int) -> None:
        self.tails: dict[WriterKey, Tail] = {}
        self._writer = writer
        self._incarnation = incarnation
        self._task = task

    def restore(self, tails: Mapping[WriterKey, Tail]) -> None:
        self.tails = {key: Tail(tail.last, tail.rows_crc, tail.heap_crc, tail.cause) for key, tail in tails.items()}

    def key(self, topic: Topic, partition: int) -> WriterKey:
        return WriterKey(topic.number, partition, self._writer, self._incarnation)

    def number(self, topic: Topic, emitted: Sequence[Emitted]) -> list[Chunk]:
        """Chunks of one output, partition by partition, ready to be written."""
        parts: dict[int, list[Emitted]] = {}
        for item in emitted:
            for partition, rows in self._split(topic, item.rows):
                parts.setdefault(partition, []).append(item._replace(rows=rows))
        return [chunk for partition in sorted(parts) for chunk in self._chunks(topic, partition, parts[partition])]

    def _split(self, topic: Topic, rows: Rows) -> Iterator[tuple[int, Rows]]:
        if not topic.partition_by:
            yield self._task % topic.partitions, rows
            return
        if topic.partitions == 1:
            yield 0, rows
            return
        keys = rows[topic.partition_by]
        if (keys == keys[0]).all():
            yield partition_of_u32(int(keys[0]), topic.partitions), rows
            return
        partitions = partitions_of_u32(keys, topic.partitions)
        for partition in np.unique(partitions).tolist():
            yield partition, rows[partitions == partition]

    def _chunks(self, topic: Topic, partition: int, items: list[Emitted]) -> Iterator[Chunk]:
        key = self.key(topic, partition)
        tail = self.tails.setdefault(key, Tail())
        for cause, rows, heap in _joined(topic, items):
            first = tail.last + 1
            if is_foreign(cause):
                tail.last += len(rows)
            else:
                tail.add(topic.event, rows, heap, cause)
            yield Chunk(key, first, rows, heap, cause)


def _joined(topic: Topic, items: list[Emitted]) -> Iterator[tuple[Origin, Rows, Heap]]:
    """Consecutive rows of one cause as one array, heaps packed."""
    at = 0
    while at < len(items):
        end = at + 1
        while end < len(items) and items[end].origin == items[at].origin:
            end += 1
        yield items[at].origin, *_concatenated(topic, items[at:end])
        at = end


def _concatenated(topic: Topic, items: list[Emitted]) -> tuple[Rows, Heap]:
    packed = [compact_heap(topic.event, item.rows, item.heap) for item in items]
    return packed[0] if len(packed) == 1 else joined_rows(topic.event, packed)
