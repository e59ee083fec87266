"""The transport in memory: for tests and simulations, with named points at which a test may break things.

It keeps the contract of the other two: partitions in order of arrival, several writers in one partition,
fencing, all-or-nothing commits (as Kafka) or journal first and outputs after it (as the local log).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from schemas.declare import Rows
from schemas.errors import Fenced
from streams.api import Chunk, Foreign, StartAt, TopicPartition, WriterKey
from streams.checkpoint import checkpoint_number
from streams.clock import Clock
from streams.cursor import Cursors
from streams.joining import in_runs, joined

MS = 1_000_000
Reach = Callable[[str], None]
"""Called with the name of each point that a commit passes; a test raises there what a crash would do."""


def _nothing(point: str) -> None:
    pass


class Weather(Protocol):
    """What a simulated source may suffer."""

    def stalled(self, place: TopicPartition) -> bool:
        """Whether the partition delivers nothing in this poll."""
        ...

    def deliver(self, chunk: Chunk) -> list[Chunk]:
        """The chunk as it arrives: whole, cut, with repeats. Order and content of rows stay."""
        ...


class MemoryLog:
    """Every partition's chunks and messages in order of arrival; snapshots and epochs by task."""

    def __init__(self) -> None:
        self.partitions: dict[TopicPartition, list[Chunk | Foreign]] = {}
        self.last: dict[WriterKey, int] = {}
        self.epochs: dict[str, int] = {}
        self.snapshots: dict[str, list[tuple[int, bytes]]] = {}

    def append(self, chunk: Chunk) -> None:
        """Add rows at the end of their partition; a writer's repeats are stored as they come."""
        key, last = chunk.key, chunk.row_last
        self.partitions.setdefault(TopicPartition(key.topic, key.partition), []).append(chunk)
        self.last[key] = max(self.last.get(key, 0), last)

    def append_foreign(self, place: TopicPartition, payload: bytes, ts_ns: int = 0) -> None:
        """A message that is no frame of ours."""
        messages = self.partitions.setdefault(place, [])
        messages.append(Foreign(place, len(messages), ts_ns, "the magic byte is missing", payload))

    def chunks(self, key: WriterKey) -> Iterator[Chunk]:
        """Chunks of one sequence, in order."""
        for item in self.partitions.get(TopicPartition(key.topic, key.partition), []):
            if isinstance(item, Chunk) and item.key == key:
                yield item

    def sequences(self, topic: int | None = None) -> list[WriterKey]:
        """Sequences that hold rows."""
        return sorted(key for key in self.last if topic is None or key.topic == topic)

    def rows(self, key: WriterKey) -> Rows:
        """All rows of one sequence, repeats dropped."""
        taken: list[Rows] = []
        last = 0
        for chunk in self.chunks(key):
            taken.append(chunk.rows[max(0, last + 1 - chunk.row_first) :])
            last = max(last, chunk.row_last)
        return np.concatenate(taken)


class MemoryReader:
    """A recorded session in memory (`streams.cursor.SessionReader`)."""

    def __init__(self, log: MemoryLog, incarnation: int) -> None:
        self.incarnation = incarnation
        self._log = log

    def keys(self, topic: int) -> list[WriterKey]:
        return [key for key in self._log.sequences(topic) if key.incarnation == self.incarnation]

    def chunks(self, key: WriterKey, row_first: int = 1, hint: int = 0) -> Iterator[Chunk]:
        last = row_first - 1
        for chunk in self._log.chunks(key):
            if chunk.row_last > last:
                yield chunk.cut(max(0, last + 1 - chunk.row_first), len(chunk.rows))
                last = chunk.row_last


class MemorySource:
    """Reads a `MemoryLog`. Positions count messages of a partition."""

    def __init__(self, log: MemoryLog, clock: Clock, incarnation: int, weather: Weather | None = None) -> None:
        self._log = log
        self._clock = clock
        self._incarnation = incarnation
        self._weather = weather
        self._next: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._foreign: list[Foreign] = []
        self._cursors = Cursors(MemoryReader(log, incarnation))

    def assign(self, partitions: Sequence[TopicPartition], start: StartAt) -> None:
        self._next = {place: start.positions.get(place, 0) for place in partitions}

    def poll(self, timeout_ns: int, bytes_max: int = 1 << 22) -> list[Chunk]:
        polled: list[Chunk] = []
        share = max(1, bytes_max // max(1, len(self._next)))  # a merge needs rows of every partition
        for place in self._next:
            if place in self._paused or (self._weather and self._weather.stalled(place)):
                continue
            read = self._read(place, share)
            if self._weather:
                polled += [part for chunk, after in read for part in self._weather.deliver(joined([chunk], after))]
            else:
                polled += _in_runs(read)
        if not polled and not self._foreign:
            self._clock.sleep(min(timeout_ns, MS) / 1e9)
        return polled

    def take_foreign(self) -> list[Foreign]:
        taken, self._foreign = self._foreign, []
        return taken

    def pause(self, partition: TopicPartition) -> None:
        self._paused.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        self._paused.discard(partition)

    def at_end(self, partition: TopicPartition) -> bool:
        return self._next[partition] >= len(self._log.partitions.get(partition, []))

    def fetch(self, key: WriterKey, row_first: int, row_last: int, hint: int = 0) -> Iterator[Chunk]:
        yield from self._cursors.fetch(key, row_first, row_last, hint)

    def journalled(self, positions: Mapping[TopicPartition, int]) -> None:
        """Nobody looks."""

    def close(self) -> None:
        self._next = {}

    def _read(self, place: TopicPartition, bytes_max: int) -> list[tuple[Chunk, int]]:
        """Chunks that come next, each with the position after it."""
        messages = self._log.partitions.get(place, [])
        at, read = self._next[place], []
        while at < len(messages) and bytes_max > 0:
            message = messages[at]
            at += 1
            if isinstance(message, Foreign):
                self._foreign.append(message)
            elif message.key.incarnation == self._incarnation:
                bytes_max -= message.size_bytes
                read.append((message, at))
        self._next[place] = at
        return read


def _in_runs(read: Sequence[tuple[Chunk, int]]) -> Iterator[Chunk]:
    """As the other transports read: what follows each other as one chunk."""
    count = 0
    for run in in_runs([chunk for chunk, _ in read]):
        count += len(run)
        yield joined(run, read[count - 1][1])


class MemorySink:
    """Writes a `MemoryLog` for one task.

    Args:
        task: its name; opening a second sink of that name fences the first.
        journal: key of the task's journal.
        atomic: all or nothing; else journal first, outputs after it.
        reach: called at `begin`, `journal`, `output` (before each), `done`, `snapshot`.
    """

    def __init__(
        self, log: MemoryLog, task: str, journal: WriterKey, *, atomic: bool = True, reach: Reach = _nothing
    ) -> None:
        self.atomic, self.repaired = atomic, False
        self._log = log
        self._task = task
        self._journal = journal
        self._reach = reach
        self._epoch = 0

    def open(self) -> None:
        self._epoch = self._log.epochs[self._task] = self._log.epochs.get(self._task, 0) + 1

    def last_row(self, key: WriterKey) -> int:
        return self._log.last.get(key, 0)

    def journal_tail(self, after_checkpoint: int) -> list[Chunk]:
        return [chunk for chunk in self._log.chunks(self._journal) if checkpoint_number(chunk.rows) > after_checkpoint]

    def commit(self, outputs: Sequence[Chunk], journal: Chunk) -> None:
        self._reach("begin")
        self._check_epoch()
        if self.atomic:
            for chunk in (*outputs, journal):
                self._log.append(chunk)
        else:
            for point, chunk in (("journal", journal), *(("output", output) for output in outputs)):
                self._append_new(chunk)
                self._reach(point)
        self._reach("done")

    def save_snapshot(self, checkpoint: int, state: bytes) -> None:
        self._check_epoch()
        kept = self._log.snapshots.setdefault(self._task, [])
        kept[:] = [*kept[-1:], (checkpoint, state)]
        self._reach("snapshot")

    def load_snapshots(self) -> Iterator[tuple[int, bytes]]:
        yield from reversed(self._log.snapshots.get(self._task, []))

    def close(self) -> None:
        pass

    def _append_new(self, chunk: Chunk) -> None:
        skip = max(0, self.last_row(chunk.key) + 1 - chunk.row_first)
        if skip < len(chunk.rows):
            self._log.append(chunk.cut(skip, len(chunk.rows)))

    def _check_epoch(self) -> None:
        if self._log.epochs.get(self._task) != self._epoch:
            raise Fenced(f"Another process took over {self._task}.")
