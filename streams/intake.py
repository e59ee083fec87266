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
from streams.rowfilter import RowFilter

RUN_ROWS_MAX = 16_384  # bounds what one call of a rule can put out, and with it a transaction
AtEnd = Callable[[TopicPartition], bool]
_Order = tuple[int, int, int, int]  # rank, partition, writer, incarnation: what breaks ties of receive times


@dataclass
class _Polled:
    """A chunk as it was polled: reading may go on after it once its rows are processed."""

    position: int
    rows_left: int
    size_bytes: int


@dataclass
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
        place = self._places[TopicPartition(chunk.key.topic, chunk.key.partition)]
        verdict = self.filter.see(
            chunk.key, chunk.row_first, chunk.row_last, holes_normal=chunk.key.topic in self._compacted
        )
        kept = chunk.cut(verdict.skip, len(chunk.rows)) if verdict.skip else chunk
        polled = _Polled(chunk.position, len(kept.rows), kept.size_bytes)
        place.polled.append(polled)
        if len(kept.rows):
            self._queues.setdefault(chunk.key, deque()).append((kept, polled))
            place.bytes += polled.size_bytes
            place.rows += len(kept.rows)
            self.rows += len(kept.rows)
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
        if len(heads) == 1:
            return self._pop(heads[0], len(self._queues[heads[0]][0][0].rows))
        ordered = sorted((int(self._queues[key][0][0].rows["ts_recv_ns"][0]), self._order(key), key) for key in heads)
        (_, order, key), (limit_ns, other, _) = ordered[:2]
        times = self._queues[key][0][0].rows["ts_recv_ns"]
        after = times > limit_ns if order < other else times >= limit_ns
        return self._pop(key, int(np.argmax(after)) if after.any() else len(times))

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
        place = self._place(key)
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
