"""What a transport must offer: chunks of rows, a source, a sink, a journal reader.

Three transports keep these contracts (tests/contract runs one suite over all): memory, the local
log, Kafka. The runner knows only this file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from schemas.address import NO_ORIGIN, Origin
from schemas.declare import EMPTY_HEAP, Heap, Rows


class TopicPartition(NamedTuple):
    topic: int
    partition: int


class WriterKey(NamedTuple):
    """Identifies a numbered sequence of rows: all its numbers are consecutive from 1."""

    topic: int
    partition: int
    writer: int
    incarnation: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive rows of one writer in one partition: one frame, or a part of it.

    Attributes:
        key: topic, partition, writer, incarnation.
        row_first: number of `rows[0]`.
        rows, heap: as in `processors.api.Batch`.
        cause: origin of the rows' causes (frame header); NO_ORIGIN where the event carries none.
        position: where to read on after this chunk (Kafka: next offset; local log: next row); a hint.
    """

    key: WriterKey
    row_first: int
    rows: Rows
    heap: Heap = field(default_factory=lambda: EMPTY_HEAP)
    cause: Origin = NO_ORIGIN
    position: int = 0

    @property
    def row_last(self) -> int:
        return self.row_first + len(self.rows) - 1

    @property
    def origin(self) -> Origin:
        return Origin(*self.key)

    @property
    def size_bytes(self) -> int:
        return int(self.rows.nbytes + self.heap.nbytes)

    def cut(self, start: int, stop: int) -> Chunk:
        return Chunk(self.key, self.row_first + start, self.rows[start:stop], self.heap, self.cause, self.position)


class Foreign(NamedTuple):
    """A message in one of our topics that is no frame of ours.

    Attributes:
        partition, position: where it lies.
        ts_ns: when the log took it.
        detail: what is wrong with it.
        payload: its bytes.
    """

    partition: TopicPartition
    position: int
    ts_ns: int
    detail: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class StartAt:
    """Where a source begins.

    Attributes:
        positions: next place to read per partition, as journalled (hints; a partition without one starts
            at the first row of this incarnation that the transport still has).
        rows: last row already taken, per writer.
    """

    positions: Mapping[TopicPartition, int]
    rows: Mapping[WriterKey, int]


class Source(Protocol):
    """Rows to read. Yields frames in the order in which a partition holds them; repeats are possible (the
    runner filters them); rows of other incarnations than the session's are skipped by the source."""

    def assign(self, partitions: Sequence[TopicPartition], start: StartAt) -> None: ...

    def poll(self, timeout_ns: int, bytes_max: int = 1 << 22) -> list[Chunk]:
        """At least one chunk, or [] after the time-out. Paused partitions yield nothing but keep being served."""
        ...

    def take_foreign(self) -> list[Foreign]:
        """Messages met by `poll` since the last call that are no frames of ours; the runner puts them aside."""
        ...

    def pause(self, partition: TopicPartition) -> None: ...

    def resume(self, partition: TopicPartition) -> None: ...

    def at_end(self, partition: TopicPartition) -> bool:
        """Whether everything that was committed when asked has been polled."""
        ...

    def fetch(self, key: WriterKey, row_first: int, row_last: int, hint: int = 0) -> Iterator[Chunk]:
        """Exactly these rows, again (recovery, replay). Raises IntegrityError when one of them is not there."""
        ...

    def journalled(self, positions: Mapping[TopicPartition, int]) -> None:
        """Rows before these positions are done with; a transport may show that to others, and need not."""
        ...

    def close(self) -> None: ...


class Sink(Protocol):
    """Where a task writes. One sink per task; opening it ends any earlier writer of the same task.

    Attributes:
        atomic: whether outputs and journal frame become visible together. Where they do not, the journal
            frame comes first, and recovery asks `last_row` and commits again what is missing.
        repaired: whether `open` had to end transactions of a predecessor: recovery then treats outputs
            as it does without `atomic`.
    """

    atomic: bool
    repaired: bool

    def open(self) -> None:
        """Fence the predecessor and settle what it left undone: afterwards the tails are final."""
        ...

    def last_row(self, key: WriterKey) -> int:
        """Number of the last row in that sequence, 0 when there is none."""
        ...

    def journal_tail(self, after_checkpoint: int) -> list[Chunk]:
        """This task's journal frames with a checkpoint number above the given one, oldest first."""
        ...

    def commit(self, outputs: Sequence[Chunk], journal: Chunk) -> None:
        """All of it or nothing, durably. The local log leaves out rows at or below `last_row` (recovery)."""
        ...

    def save_snapshot(self, checkpoint: int, state: bytes) -> None:
        """Keep a state; the two latest are kept, the manifest is written last."""
        ...

    def load_snapshots(self) -> Iterator[tuple[int, bytes]]:
        """Saved states with their checkpoint numbers, newest first, each verified against its manifest."""
        ...

    def close(self) -> None: ...
