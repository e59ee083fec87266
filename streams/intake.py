"""What was polled and not yet processed: every row once, merged into one order.

Heads of the sequences are merged by (ts_recv_ns, topic rank, partition, writer, row). A partition that has
nothing buffered is waited for unless it is at its end. Broadcast inputs go first: no other row is given out
before each of them was read to its end once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streams.api import Chunk, TopicPartition, WriterKey
from streams.joining import joined
from streams.rowfilter import RowFilter

RUN_ROWS_MAX = 16_384  # bounds what one call of a rule can put out, and with it a transaction
# Chunks of one writer that follow each other go out as one run until it has that much: a rule's call costs more than
# a row does, and on compacted topics and in the gateway's rows every chunk has one or two.
JOINED_ROWS_MAX, JOINED_BYTES_MAX = 1024, 1 << 16
AtEnd = Callable[[TopicPartition], bool]
_Order = tuple[int, int, int, int]  # rank, partition, writer, incarnation: what breaks ties of receive times


@dataclass(slots=True)
class _Polled:
    """A chunk as it was polled: reading may go on after it once its rows are processed."""

    position: int
    rows_left: int
    size_bytes: int


@dataclass(slots=True)
class _Place:
    """One partition."""

    broadcast: bool
    bytes: int = 0
    rows: int = 0
    position: int = 0
    polled: deque[_Polled] = field(default_factory=deque)


class Intake:
    """Buffers, filters and merges. Not thread-safe.

    Args:
        places: partitions in rank order of their topics; True where the input is broadcast.
        taken: last row processed per sequence, from the journal.
        compacted: numbers of topics in which holes are normal.
        positions: where reading goes on, from the journal.
    """

    def __init__(
        self,
        places: Mapping[TopicPartition, bool],
        taken: Mapping[WriterKey, int],
        compacted: frozenset[int] = frozenset(),
        positions: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        self.filter = RowFilter.at(taken)
        self.rows = 0
        begin = positions or {}
        self._places = {place: _Place(broadcast, position=begin.get(place, 0)) for place, broadcast in places.items()}
        self._ranks = {place.topic: rank for rank, place in reversed(list(enumerate(places)))}
        self._queues: dict[WriterKey, deque[tuple[Chunk, _Polled]]] = {}
        self._compacted = compacted
        self._gated = any(places.values())

    def add(self, chunk: Chunk) -> None:
        """Take a polled chunk; repeats are dropped here."""
        key = chunk.key
        place = self._places[TopicPartition(key.topic, key.partition)]
        verdict = self.filter.see(key, chunk.row_first, chunk.row_last, holes_normal=key.topic in self._compacted)
        kept = chunk.cut(verdict.skip, len(chunk.rows)) if verdict.skip else chunk
        rows, size_bytes = len(kept.rows), kept.size_bytes
        polled = _Polled(chunk.position, rows, size_bytes)
        place.polled.append(polled)
        if rows:
            queue = self._queues.get(key)
            if queue is None:
                queue = self._queues[key] = deque()
            queue.append((kept, polled))
            place.bytes += size_bytes
            place.rows += rows
            self.rows += rows
        else:
            self._advance(place)

    def next_run(self, at_end: AtEnd) -> Chunk | None:
        """The next rows to process, as many of one sequence as the order allows; None: wait for more."""
        if self._gated:
            if self._waiting(at_end, broadcast_only=True):
                return None
            heads = [key for key in self._queues if self._place(key).broadcast]
            if not heads:
                self._gated = False
                return self.next_run(at_end)
        else:
            if not self.rows or self._waiting(at_end, broadcast_only=False):
                return None
            heads = list(self._queues)
        return self._take(heads)

    def bytes_of(self, place: TopicPartition) -> int:
        """Bytes buffered of a partition."""
        return self._places[place].bytes

    def waits_for_broadcast(self, place: TopicPartition) -> bool:
        """Whether the partition's rows are held back by the gate."""
        return self._gated and not self._places[place].broadcast

    def positions(self) -> dict[TopicPartition, int]:
        """Where to read on so that every row not yet processed comes again; transports without positions give 0."""
        return {place: state.position for place, state in self._places.items() if state.position}

    def _waiting(self, at_end: AtEnd, *, broadcast_only: bool) -> bool:
        return any(
            not state.rows and (state.broadcast or not broadcast_only) and not at_end(place)
            for place, state in self._places.items()
        )

    def _take(self, heads: Sequence[WriterKey]) -> Chunk:
        """Rows of the first head in order, up to where another head comes before them."""
        key, limit = heads[0], None
        if len(heads) > 1:
            ordered = sorted((_time(self._queues[head][0][0]), self._order(head), head) for head in heads)
            (_, order, key), (limit_ns, other, _) = ordered[:2]
            limit = (limit_ns, order < other)
        queue = self._queues[key]
        taken = [self._pop(key, _ahead(queue[0][0], limit))]
        rows, size = len(taken[0].rows), taken[0].size_bytes
        while queue and rows < JOINED_ROWS_MAX and size < JOINED_BYTES_MAX:
            chunk = queue[0][0]
            count = _ahead(chunk, limit)
            if not count or chunk.row_first != taken[-1].row_last + 1 or rows + count > RUN_ROWS_MAX:
                break
            taken.append(self._pop(key, count))
            rows, size = rows + count, size + chunk.size_bytes
        return joined(taken)

    def _order(self, key: WriterKey) -> _Order:
        return self._ranks[key.topic], key.partition, key.writer, key.incarnation

    def _pop(self, key: WriterKey, count: int) -> Chunk:
        count = min(count, RUN_ROWS_MAX)
        queue = self._queues[key]
        chunk, polled = queue.popleft()
        if count < len(chunk.rows):
            queue.appendleft((chunk.cut(count, len(chunk.rows)), polled))
            chunk = chunk.cut(0, count)
        if not queue:
            del self._queues[key]
        place = self._places[TopicPartition(key.topic, key.partition)]
        place.rows -= count
        self.rows -= count
        polled.rows_left -= count
        if not polled.rows_left:
            place.bytes -= polled.size_bytes
            self._advance(place)
        return chunk

    def _advance(self, place: _Place) -> None:
        while place.polled and not place.polled[0].rows_left:
            place.position = place.polled.popleft().position

    def _place(self, key: WriterKey) -> _Place:
        return self._places[TopicPartition(key.topic, key.partition)]


def _time(chunk: Chunk) -> int:
    return int(chunk.rows["ts_recv_ns"][0])


def _ahead(chunk: Chunk, limit: tuple[int, bool] | None) -> int:
    """How many leading rows of a chunk come before another head: its receive time, and whether ours goes first then."""
    if limit is None:
        return len(chunk.rows)
    limit_ns, first = limit
    times = chunk.rows["ts_recv_ns"]
    if len(times) == 1:
        return int(int(times[0]) < limit_ns + first)
    after = times > limit_ns if first else times >= limit_ns
    return int(np.argmax(after)) if after.any() else len(times)
