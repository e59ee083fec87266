"""Remotes for the shipper's tests: one in memory with the faults of a broker, one in a file that outlives a SIGKILL."""

from __future__ import annotations

import os
import struct
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from schemas.errors import BrokerUnavailable
from streams.api import WriterKey
from streams.shipper import Busy, MirrorRecord


class Landed(NamedTuple):
    key: WriterKey
    row_first: int
    row_count: int
    frame: bytes

    @property
    def row_last(self) -> int:
        return self.row_first + self.row_count - 1


class MemoryMirror:
    """A broker in memory: frames land only when the test says so, and can land late, after the client was lost.

    Attributes:
        partitions: what landed, by (topic, partition), in order.
        away: every call fails as if nobody answered.
        capacity: frames that may be in flight; more are refused with Busy.
        lost: the client died and nobody was told; `flush` says so, once.
        transaction_outcome: None: transactions land; else "lost": they fail and do not land; "unknown": they fail,
            and land all the same.
    """

    def __init__(self, capacity: int = 1000, *, landing: bool = True) -> None:
        self.partitions: dict[tuple[int, int], list[Landed]] = defaultdict(list)
        self.transactions: list[list[Landed]] = []
        self.flying: deque[Landed] = deque()
        self.zombies: deque[Landed] = deque()
        self.away = False
        self.landing = landing
        self.capacity = capacity
        self.transaction_outcome: str | None = None
        self.lost = False
        self._acknowledged: dict[WriterKey, int] = {}

    def landed(self, topic: int, partition: int) -> dict[WriterKey, int]:
        self._answer()
        tails: dict[WriterKey, int] = {}
        for record in self.partitions[topic, partition]:
            tails[record.key] = max(tails.get(record.key, 0), record.row_last)
        self.land_zombies()  # what was in flight lands just after the tail was read: the race that a kill leaves
        return tails

    def append(self, key: WriterKey, frame: bytes | memoryview, row_first: int, row_count: int) -> None:
        if len(self.flying) >= self.capacity:
            raise Busy("the queue is full")
        self.flying.append(Landed(key, row_first, row_count, bytes(frame)))

    def append_transaction(self, records: Sequence[MirrorRecord]) -> None:
        self._answer()
        copies = [Landed(key, row_first, count, bytes(frame)) for key, frame, row_first, count in records]
        if self.transaction_outcome != "lost":
            self.transactions.append(copies)
            for record in copies:
                self.partitions[record.key.topic, record.key.partition].append(record)
        if self.transaction_outcome is not None:
            raise BrokerUnavailable("the commit was not answered")

    def flush(self, timeout_s: float) -> bool:
        if self.lost:
            self.lost = False
            raise BrokerUnavailable("the client died some time ago")
        if self.landing:
            self.land()
        return not self.flying

    def acknowledged(self) -> dict[WriterKey, int]:
        if self.landing:
            self.land()
        return dict(self._acknowledged)

    def land(self, count: int | None = None) -> None:
        """Let frames in flight land, all or some of them."""
        while self.flying and not self.away and count != 0:
            record = self.flying.popleft()
            self._put(record)
            self._acknowledged[record.key] = max(self._acknowledged.get(record.key, 0), record.row_last)
            count = None if count is None else count - 1

    def lose_client(self, sent: int | None = None) -> None:
        """The client dies: the first `sent` frames (None: all) stay under way unacknowledged, the others are gone."""
        self.zombies.extend(list(self.flying)[:sent])
        self.flying.clear()
        self._acknowledged.clear()

    def land_zombies(self) -> None:
        while self.zombies:
            self._put(self.zombies.popleft())

    def rows(self, key: WriterKey) -> list[tuple[int, int, bytes]]:
        """(row_first, row_count, frame) of a writer after a reader's row filter: repeats dropped.

        Raises:
            AssertionError: a row is missing.
        """
        taken, last = [], 0
        for record in self.partitions[key.topic, key.partition]:
            if record.key != key or record.row_last <= last:
                continue
            assert record.row_first == last + 1, f"rows {last + 1} to {record.row_first - 1} of {key} are missing"
            taken.append((record.row_first, record.row_count, record.frame))
            last = record.row_last
        return taken

    def _put(self, record: Landed) -> None:
        self.partitions[record.key.topic, record.key.partition].append(record)

    def _answer(self) -> None:
        if self.away:
            raise BrokerUnavailable("nobody answers")


_LINE = struct.Struct("<IIIIQII")  # key, row_first, row_count, size


class FileMirror:
    """A remote in one file per partition. Frames wait in a queue of the process before they land, as in a real
    client: a SIGKILL loses the queue, and may cut the last record that was landing."""

    def __init__(self, root: Path, queue_max: int = 16) -> None:
        self._root = root
        self._queue: list[MirrorRecord] = []
        self._queue_max = queue_max
        self._acknowledged: dict[WriterKey, int] = {}
        root.mkdir(parents=True, exist_ok=True)

    def landed(self, topic: int, partition: int) -> dict[WriterKey, int]:
        path = self._path(topic, partition)
        records, size = read_landed(path)
        if path.exists():
            os.truncate(path, size)  # a broker never shows half a frame
        return {record.key: record.row_last for record in records}

    def append(self, key: WriterKey, frame: bytes | memoryview, row_first: int, row_count: int) -> None:
        if len(self._queue) >= self._queue_max:
            self.flush(0)
            raise Busy("the queue is full")
        self._queue.append((key, bytes(frame), row_first, row_count))

    def append_transaction(self, records: Sequence[MirrorRecord]) -> None:
        self._land(records)

    def flush(self, timeout_s: float) -> bool:
        self._land(self._queue)
        self._queue.clear()
        return True

    def acknowledged(self) -> dict[WriterKey, int]:
        if len(self._queue) >= self._queue_max:
            self.flush(0)
        return dict(self._acknowledged)

    def _land(self, records: Sequence[MirrorRecord]) -> None:
        for key, frame, row_first, row_count in records:
            with self._path(key.topic, key.partition).open("ab", buffering=0) as file:
                file.write(_LINE.pack(*key, row_first, row_count, len(frame)) + bytes(frame))
            self._acknowledged[key] = row_first + row_count - 1

    def _path(self, topic: int, partition: int) -> Path:
        return self._root / f"{topic}-{partition}"


def read_landed(path: Path) -> tuple[list[Landed], int]:
    """Whole records of a FileMirror's partition, and the bytes that they take."""
    data = path.read_bytes() if path.exists() else b""
    records, at = [], 0
    while at + _LINE.size <= len(data):
        topic, partition, writer, incarnation, row_first, row_count, size = _LINE.unpack_from(data, at)
        end = at + _LINE.size + size
        if end > len(data):
            break
        key = WriterKey(topic, partition, writer, incarnation)
        records.append(Landed(key, row_first, row_count, data[at + _LINE.size : end]))
        at = end
    return records, at
