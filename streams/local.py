"""The transport over the local log: every pipeline without a broker, and the connectors' side with one.

There is no commit across files: the journal frame is appended first and is the commit, outputs follow.
Recovery writes what the journal has and the outputs lack (`streams/recovery.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from streams.api import Chunk, Foreign, StartAt, TopicPartition, WriterKey
from streams.checkpoint import checkpoint_chunks, checkpoint_number
from streams.clock import SYSTEM_CLOCK, Clock
from streams.cursor import Cursors
from streams.framing import Message, decode_own, encode_chunk
from streams.log import LogOptions, LogReader, LogRecord, LogWriter, key_dir, wait_any, writer_keys

SCAN_NS = 50_000_000  # how soon a new writer's directory is noticed
SPIN_NS = 20_000
READ_BYTES = 1 << 20  # helping of a replay: rows of that much stay in the cache until the rule has read them
TAIL_ROWS_FIRST = 4096  # journal rows looked at first when the tail is read from the end backwards


class LocalReader:
    """A recorded session in a local log (`streams.cursor.SessionReader`)."""

    def __init__(self, root: Path, incarnation: int) -> None:
        self.incarnation = incarnation
        self._root = root

    def keys(self, topic: int) -> list[WriterKey]:
        """Sequences of the session in that topic that hold rows."""
        found = [key for key in writer_keys(self._root, topic) if key.incarnation == self.incarnation]
        return [key for key in found if self._holds_rows(key)]

    def chunks(self, key: WriterKey, row_first: int = 1, hint: int = 0) -> Iterator[Chunk]:
        reader = LogReader(self._root, key, row_first)
        try:
            while records := reader.poll(READ_BYTES):
                for chunk in _decode(key, records):
                    if chunk.row_last >= row_first:
                        yield chunk.cut(max(0, row_first - chunk.row_first), len(chunk.rows))
        finally:
            reader.close()

    def _holds_rows(self, key: WriterKey) -> bool:
        reader = LogReader(self._root, key)
        try:
            return reader.last_row >= reader.first_row
        finally:
            reader.close()


class LocalSource:
    """Reads every writer of the session in its partitions.

    Args:
        root: of the log.
        incarnation: of the session.
        writers: only these; None for all. A connector's pipeline reads its own connection alone.
    """

    def __init__(
        self, root: Path, incarnation: int, clock: Clock = SYSTEM_CLOCK, writers: Collection[int] | None = None
    ) -> None:
        self._root = root
        self._incarnation = incarnation
        self._clock = clock
        self._writers = writers
        self._readers: dict[TopicPartition, dict[WriterKey, LogReader]] = {}
        self._rows: dict[WriterKey, int] = {}
        self._paused: set[TopicPartition] = set()
        self._scanned_ns = 0
        self._cursors = Cursors(LocalReader(root, incarnation))

    def assign(self, partitions: Sequence[TopicPartition], start: StartAt) -> None:
        self._rows = dict(start.rows)
        self._readers = {place: {} for place in partitions}
        self._scan()

    def poll(self, timeout_ns: int, bytes_max: int = 1 << 22) -> list[Chunk]:
        self._scan_when_due()
        polled = self._read(bytes_max)
        if not polled and timeout_ns > 0:
            active = self._active()
            if wait_any(active, min(timeout_ns, SCAN_NS), SPIN_NS, self._clock):
                polled = self._read(bytes_max)
        return polled

    def take_foreign(self) -> list[Foreign]:
        """None: what the log holds was checksummed by its writer; a frame that is none is damage, and raises."""
        return []

    def pause(self, partition: TopicPartition) -> None:
        self._paused.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        self._paused.discard(partition)

    def at_end(self, partition: TopicPartition) -> bool:
        return all(reader.at_end() for reader in self._readers[partition].values())

    def fetch(self, key: WriterKey, row_first: int, row_last: int, hint: int = 0) -> Iterator[Chunk]:
        yield from self._cursors.fetch(key, row_first, row_last, hint)

    def journalled(self, positions: Mapping[TopicPartition, int]) -> None:
        """Nobody looks."""

    def close(self) -> None:
        for readers in self._readers.values():
            for reader in readers.values():
                reader.close()
        self._readers = {}

    def _active(self) -> list[LogReader]:
        return [
            reader
            for place, readers in self._readers.items()
            if place not in self._paused
            for reader in readers.values()
        ]

    def _read(self, bytes_max: int) -> list[Chunk]:
        polled: list[Chunk] = []
        active = self._active()
        for reader in active:
            # a merge needs rows of every writer, so each gets its share
            records = reader.poll(max(1, bytes_max // len(active)))
            if records:
                polled += _decode(reader.key, records)
        return polled

    def _scan_when_due(self) -> None:
        now = self._clock.monotonic_ns()
        if now - self._scanned_ns >= SCAN_NS:
            self._scanned_ns = now
            self._scan()

    def _scan(self) -> None:
        for place, readers in self._readers.items():
            for key in writer_keys(self._root, place.topic, place.partition):
                wanted = self._writers is None or key.writer in self._writers
                if key not in readers and key.incarnation == self._incarnation and wanted:
                    readers[key] = LogReader(self._root, key, self._rows.get(key, 0) + 1, clock=self._clock)


class LocalSink:
    """Writes one task's sequences.

    Args:
        root: of the log.
        snapshots: directory of the session's snapshots.
        task: name, `book/3`.
        journal: key of the task's journal; its lock keeps a second process of the task out.
        reach: called at `begin`, `journal`, `output` (after each), `done`; a test dies there.
    """

    atomic = repaired = False

    def __init__(
        self,
        root: Path,
        snapshots: Path,
        task: str,
        journal: WriterKey,
        *,
        options: LogOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
        reach: Callable[[str], None] | None = None,
    ) -> None:
        self._root = root
        self._snapshots = FileSnapshots(snapshots / task.replace("/", "-"))
        self._journal = journal
        self._options = options or LogOptions()
        self._clock = clock
        self._reach = reach or (lambda point: None)
        self._writers: dict[WriterKey, LogWriter] = {}

    def open(self) -> None:
        """Take the task's lock. Raises ResourceExhausted while another process has it, naming it."""
        self._writer(self._journal)

    def last_row(self, key: WriterKey) -> int:
        if key not in self._writers and not key_dir(self._root, key).is_dir():
            return 0  # opening a writer would allocate its first segment
        return self._writer(key).last_row

    def journal_tail(self, after_checkpoint: int) -> list[Chunk]:
        last = self.last_row(self._journal)
        back = TAIL_ROWS_FIRST
        while True:
            first = max(1, last + 1 - back)
            frames = self._journal_from(first) if last else []
            if first == 1 or (frames and checkpoint_number(frames[0].rows) <= after_checkpoint):
                return [frame for frame in frames if checkpoint_number(frame.rows) > after_checkpoint]
            back *= 4

    def commit(self, outputs: Sequence[Chunk], journal: Chunk) -> None:
        self._reach("begin")
        self._append(journal)
        self._reach("journal")
        for chunk in outputs:
            self._append(chunk)
            self._reach("output")
        self._reach("done")

    def save_snapshot(self, checkpoint: int, state: bytes) -> None:
        self._snapshots.save(checkpoint, state)
        self._reach("snapshot")

    def load_snapshots(self) -> Iterator[tuple[int, bytes]]:
        return self._snapshots.load()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, key: WriterKey) -> LogWriter:
        writer = self._writers.get(key)
        if writer is None:
            writer = self._writers[key] = LogWriter(self._root, key, self._options, clock=self._clock)
        return writer

    def _append(self, chunk: Chunk) -> None:
        """Rows above the last one of their sequence."""
        writer = self._writer(chunk.key)
        skip = max(0, writer.last_row + 1 - chunk.row_first)
        if skip >= len(chunk.rows):
            return
        for encoded in encode_chunk(chunk.cut(skip, len(chunk.rows)) if skip else chunk):
            ts_ns = encoded.ts_ns or self._clock.now_ns()
            writer.append(encoded.frame, encoded.row_first, encoded.row_count, ts_ns)

    def _journal_from(self, row: int) -> list[Chunk]:
        """Whole journal frames from the one that holds `row` on."""
        reader = LogReader(self._root, self._journal, row, clock=self._clock)
        frames: list[Chunk] = []
        while records := reader.poll(READ_BYTES):
            for chunk in _decode(self._journal, records):
                frames += checkpoint_chunks(chunk)
        reader.close()
        return frames


class FileSnapshots:
    """The two latest states of a task as files named by their checkpoint."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def save(self, checkpoint: int, state: bytes) -> None:
        """Durable before it has its name; older ones go last."""
        self._directory.mkdir(parents=True, exist_ok=True)
        path = self._directory / f"{checkpoint:020d}.snapshot"
        scratch = path.with_suffix(".new")
        with open(scratch, "wb") as file:
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
        for old in self._paths()[2:]:
            old.unlink()

    def load(self) -> Iterator[tuple[int, bytes]]:
        """Newest first; `unpack_snapshot` checks their bytes."""
        for path in self._paths():
            yield int(path.stem), path.read_bytes()

    def _paths(self) -> list[Path]:
        return sorted(self._directory.glob("*.snapshot"), reverse=True)


def _decode(key: WriterKey, records: Sequence[LogRecord]) -> list[Chunk]:
    """Records of one writer as large chunks. Positions are 0: rows say it all here."""
    messages = [Message(record.frame, 0) for record in records]
    return decode_own(TopicPartition(key.topic, key.partition), messages, None)
