"""Appending to the local log: one locked writer per sequence of rows."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

from crc32c import crc32c

from schemas.errors import InputInvalid, IntegrityError, ResourceExhausted
from streams.api import WriterKey
from streams.clock import SYSTEM_CLOCK, Clock
from streams.log_format import (
    COMMITTED,
    FRAME_BYTES_MAX,
    HEADER_BYTES,
    PACK_HEAD,
    RECORD_BYTES,
    SEAL,
    SEAL_BYTES,
    SEGMENT_FIRST_BYTES,
    TS_NONE_NS,
    LogOptions,
    SegmentHeader,
    key_dir,
    segment_path,
)
from streams.log_index import SparseIndex
from streams.log_lock import ProcessLock
from streams.log_recovery import LOCK_NAME, Recovered, recover
from streams.log_retention import remove_expired
from streams.log_segment import Segment, create_segment, pages
from streams.log_sync import IntervalSync, sync_refused

JOIN_BYTES_MAX: Final = 4096  # below, joining head and frame is cheaper than a second checksum call and a second copy


class LogWriter:
    """Appends frames to one writer's sequence. For one thread; any number of readers anywhere.

    What `append` returned for survives the death of the process at any point; what survives a power loss is said
    by `options.fsync`.

    Args:
        root: the log's root directory; what is missing below it is made.
        key: topic, partition, writer, incarnation.
        row_first: number of the first row, when the sequence is empty (a copy may begin later than 1).

    Attributes:
        recovered: what opening found and put right after a crash (`streams/log_recovery.py`).

    Raises:
        ResourceExhausted: another process writes it (named), the directory is read-only, or the disk is full.
        IntegrityError: the last record or a header is damaged in a way that no crash explains.
    """

    def __init__(
        self,
        root: Path,
        key: WriterKey,
        options: LogOptions | None = None,
        *,
        row_first: int = 1,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.key = key
        self.options = options or LogOptions()
        self._clock = clock
        self._directory = key_dir(root, key)
        self._every_append = self.options.fsync == "every-append"
        self._durable = self.options.fsync != "none"
        self._failure: OSError | None = None
        self._closed = False
        self._at = HEADER_BYTES  # byte of the next record
        self._bound = -1  # the last byte up to which `append` needs no second thought
        self._row_next = row_first
        self._ts_max_ns = TS_NONE_NS
        self._sync: IntervalSync | None = None
        self._lock = ProcessLock(self._directory / LOCK_NAME, f"The log of {self._directory}")
        with contextlib.ExitStack() as undo:
            undo.callback(self._lock.close)
            self.recovered: Recovered = recover(self._directory, key, self.options.index_every_bytes)
            self._resume(row_first)
            self._retain()
            undo.pop_all()
        if self.options.fsync == "interval":
            self._sync = IntervalSync(self, self.options.fsync_interval_ns)

    def append(self, frame: bytes | memoryview, row_first: int, row_count: int, ts_ns: int) -> None:
        """Append one frame; when this returns, every reader sees it.

        Args:
            frame: its bytes; not kept.
            row_first: number of its first row: `last_row` + 1.
            row_count: rows in it, at least one.
            ts_ns: time to find it by: the highest receive time of its rows, or the time of appending.

        Raises:
            IntegrityError: the row number jumps or goes back. Nothing was written.
            InputInvalid: an empty frame, no rows, or more bytes than FRAME_BYTES_MAX. Nothing was written.
            ResourceExhausted: the disk is full (nothing was written; it may be tried again), or refused to sync.
        """
        size = len(frame)
        begin = self._at
        end = begin + 39 + size & -8  # commit word, head, zeros, frame
        if end > self._bound or row_first != self._row_next or not row_count or not size:
            begin, end = self._make_room(size, row_first, row_count)
        head = PACK_HEAD[size & 7](row_first, ts_ns, row_count, size)
        row_next = row_first + row_count
        try:
            if size < JOIN_BYTES_MAX:
                record = head + frame
                checksum = crc32c(record)
                self._memory[begin + 8 : end] = record
            else:
                checksum = crc32c(frame, crc32c(head))
                self._memory[begin + 8 : end - size] = head
                self._memory[end - size : end] = frame
            # The commit word goes last. A store is not seen before an earlier one on x86 (total store order; the
            # string moves and streaming stores of memcpy are complete before it returns). A CPU that reorders
            # stores can only show a reader a checksum that does not match yet: it looks again before it complains.
            self._words[begin >> 3] = COMMITTED | checksum
            if ts_ns > self._ts_max_ns:
                self._ts_max_ns = ts_ns
            self._at = end
            self._row_next = row_next
        finally:
            if self._row_next != row_next:  # a signal handler raised between two of these lines
                self._settle(begin, end, row_next, ts_ns)
        if self._every_append:
            self._sync_now()

    @property
    def last_row(self) -> int:
        """Number of the last row; `row_first` - 1 of the sequence when there is none."""
        return self._row_next - 1

    @property
    def segment(self) -> Segment:
        return self._segment

    @property
    def position(self) -> int:
        return self._at

    def halt(self) -> None:
        """Let the next append ask why. Called from the syncing thread too."""
        self._bound = -1

    def flush(self) -> None:
        """Make everything appended so far durable, whatever the policy.

        Raises:
            ResourceExhausted: the disk refused.
        """
        self._check_sync()
        self._sync_now()

    def close(self) -> None:
        """Sync (unless the policy is `none`) and give the sequence free for another writer."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._sync is not None:
                self._sync.close()
            self._check_sync()
            if self._durable:
                self._sync_now()
        finally:
            self.halt()
            self._segment.close()
            self._lock.close()

    def _resume(self, row_first: int) -> None:
        """Go on behind the last valid record, or begin the first segment."""
        state = self.recovered
        self._row_next = state.row_next or row_first
        self._ts_max_ns = state.ts_max_ns
        self._size_bytes = state.size_bytes or min(SEGMENT_FIRST_BYTES, self.options.segment_bytes) // 2
        if state.segment_row is None:
            self._enter(self._create(0))
        else:
            self._enter(segment_path(self._directory, state.segment_row), state.at, state.index)

    def _enter(self, path: Path, at: int = HEADER_BYTES, index: SparseIndex | None = None) -> None:
        self._segment = Segment(path, self.key, writable=True)
        self._memory, self._words = self._segment.memory, self._segment.words
        self._size_bytes = self._segment.header.size_bytes
        self._at = at
        # With a sync after every append, whole pages are enough: a sync writes whole folios.
        self._ahead = self._segment.limit if self._every_append else pages(at)
        self._index = index or SparseIndex(self._segment.row_first, self._ts_max_ns, self.options.index_every_bytes)
        self._set_bound()

    def _set_bound(self) -> None:
        """Where `append` has to stop and think: at the segment's end, the next index entry, or where no memory is."""
        self._bound = min(self._segment.limit, self._index.next_at, self._ahead)

    def _make_room(self, size: int, row_first: int, row_count: int) -> tuple[int, int]:
        """Everything that is not one more record behind the last. Returns where the record begins and ends."""
        if self._closed:
            raise ResourceExhausted(f"The log of {self._directory} was closed; nothing can be appended to it.")
        if row_first != self._row_next:
            raise IntegrityError(
                f"{self._directory}: row {row_first} cannot follow row {self._row_next - 1}: numbers go up one by one."
                " Usually rows were lost or repeated before the log, or another session's numbers are in use."
            )
        if not row_count or not 1 <= size <= FRAME_BYTES_MAX:
            raise InputInvalid(
                f"{self._directory}: a frame of {size:,} bytes and {row_count} rows cannot be logged;"
                f" 1 to {FRAME_BYTES_MAX:,} bytes and at least one row can."
            )
        self._check_sync()
        if self._at + 39 + size & -8 > self._segment.limit:
            self._rotate(size)
        elif self._at >= self._index.next_at:
            self._index.add(row_first, self._ts_max_ns, self._at)
        end = self._at + 39 + size & -8
        if end > self._ahead:
            self._ahead = self._segment.write_ahead(self._ahead, end)
        self._set_bound()
        # The bound may lie inside this record (the index entry is due at the next one): it fits all the same.
        return self._at, end

    def _rotate(self, size: int) -> None:
        """Begin the next segment, then seal this one: a reader that meets the seal finds the next one there."""
        path = self._create(size)
        left, at, index = self._segment, self._at, self._index
        self._enter(path)
        left.words[at >> 3] = SEAL
        index.save(left.path)
        if self._sync is not None:
            self._sync.retire(left)
        else:
            if self._durable:
                self._guard_sync(left)
            left.close()
        self._retain()

    def _create(self, size: int) -> Path:
        """A new segment, twice the size of the last; on a nearly full disk just as large as needed."""
        needed = pages(HEADER_BYTES + RECORD_BYTES + size + 8 + SEAL_BYTES)
        wanted = max(needed, pages(min(self.options.segment_bytes, self._size_bytes * 2)))
        try:
            return self._create_of(wanted)
        except ResourceExhausted:
            if needed == wanted:
                raise
            return self._create_of(needed)

    def _create_of(self, size_bytes: int) -> Path:
        header = SegmentHeader(self.key, self._row_next, size_bytes, self._clock.now_ns(), self._ts_max_ns)
        return create_segment(self._directory, header, durable=self._durable)

    def _retain(self) -> None:
        if self.options.retention_bytes or self.options.retention_ns:
            remove_expired(self._directory, self.options, self._clock.now_ns())

    def _settle(self, begin: int, end: int, row_next: int, ts_ns: int) -> None:
        """After an interruption: the record is there if its commit word is."""
        if self._words[begin >> 3]:
            self._at, self._row_next = end, row_next
            self._ts_max_ns = max(self._ts_max_ns, ts_ns)
        else:
            # A shorter record may come here next, and the word behind it must be zero.
            self._memory[begin + 8 : end] = bytes(end - begin - 8)

    def _sync_now(self) -> None:
        self._guard_sync(self._segment)

    def _guard_sync(self, segment: Segment) -> None:
        try:
            segment.sync()
        except OSError as error:
            self._failure = error
            self.halt()
            raise sync_refused(error, segment.path) from error

    def _check_sync(self) -> None:
        failure = self._failure or (self._sync.failure if self._sync is not None else None)
        if failure is not None:
            self.halt()
            raise sync_refused(failure, self._directory)
