"""Reading the local log, from any process, while it is being written."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from schemas.errors import IntegrityError
from streams.api import WriterKey
from streams.clock import SYSTEM_CLOCK, Clock
from streams.log_format import (
    HEADER_BYTES,
    SEAL,
    CorruptRecord,
    Damage,
    LogOptions,
    LogRecord,
    key_dir,
    segment_path,
    segment_rows,
)
from streams.log_index import SparseIndex, Walker, load_index
from streams.log_scan import locate_damage, read_records
from streams.log_segment import Segment, read_header

SPIN_NS: Final = 20_000  # as long as a record may take to come in a busy chain; then the core is given to others
PAUSE_FIRST_S: Final = 50e-6
PAUSE_MAX_S: Final = 1e-3
_OPEN_SEGMENTS_MAX: Final = 4  # closed segments kept mapped behind the current one, for seeks back and forth


class LogReader:
    """Reads one writer's sequence. Polling a mapped segment makes no system call.

    Args:
        root, key: as the writer's; they need not exist yet.
        start_row: the row to begin with; 1 or less begins at the first row that there still is.
        options: only `index_every_bytes` matters.
        skip_corrupt: go on behind damage and keep an account of it in `lost`.

    Attributes:
        lost: damage that was skipped.
        row_next: the row that `poll` delivers next.

    Raises:
        IntegrityError: `start_row` is outside of the log, or a segment header is damaged.
    """

    def __init__(
        self,
        root: Path,
        key: WriterKey,
        start_row: int = 1,
        options: LogOptions | None = None,
        *,
        skip_corrupt: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.key = key
        self.skip_corrupt = skip_corrupt
        self.lost: list[Damage] = []
        self.row_next = max(start_row, 1)
        self._directory = key_dir(root, key)
        self._index_every_bytes = (options or LogOptions()).index_every_bytes
        self._clock = clock
        self._open: dict[int, Segment] = {}
        self._indexes: dict[int, SparseIndex] = {}
        self._segment: Segment | None = None
        self._at = HEADER_BYTES
        self._attach()

    def poll(self, bytes_max: int = 1 << 18) -> list[LogRecord]:
        """The next records, about `bytes_max` bytes of them, checked; [] when there are none yet.

        Raises:
            CorruptRecord: a record, or a row number, is not what was written (unless `skip_corrupt`).
        """
        if self._segment is None and not self._attach():
            return []
        while True:
            segment = self._segment
            assert segment is not None
            records, self._at, self.row_next, stop = read_records(segment, self._at, self.row_next, max(1, bytes_max))
            if records:
                return records
            if stop == "damaged" or (stop == "end" and segment.cut):
                if not self._pass_damage(segment):
                    return []
            elif stop == "end" or not self._advance():
                return []

    def wait(self, timeout_ns: int, spin_ns: int = SPIN_NS) -> bool:
        """Until `poll` has something to say: spins for `spin_ns`, then sleeps in growing pauses. False: timed out."""
        return wait_any((self,), timeout_ns, spin_ns, self._clock)

    def ready(self) -> bool:
        """Whether `poll` has something to say. No system call while a segment is mapped and not sealed."""
        if self._segment is None and not self._attach():
            return False
        assert self._segment is not None
        word = self._segment.words[self._at >> 3]
        if word == SEAL:
            return self._advance() and self.ready()
        return bool(word)

    def at_end(self) -> bool:
        """Whether everything that is committed has been polled. Looks into the directory when it seems so, because
        a segment that lost its seal must not be taken for the end."""
        return not self.ready() and not self._stranded()

    def seek_row(self, row: int) -> None:
        """Continue with the record that holds `row`; last row + 1 is the end.

        Raises:
            IntegrityError: the log does not hold that row: removed by retention, or never written.
        """
        rows = segment_rows(self._directory)
        if not rows or row < rows[0]:
            first = rows[0] if rows else 1
            raise self._outside(row, f"begins at row {first}: the rows before were removed by retention")
        start = max(first for first in rows if first <= row)
        self._place(start, *self._walker(start).to_row(row)[:2])
        if row > self.row_next and not self.ready():
            raise self._outside(row, f"ends at row {self.row_next - 1}")

    def seek_time(self, ts_ns: int) -> None:
        """Continue with the first record whose time is `ts_ns` or later; with the end when there is none."""
        rows = segment_rows(self._directory)
        start = len(rows) - 1
        while start > 0 and read_header(segment_path(self._directory, rows[start])).ts_before_ns >= ts_ns:
            start -= 1
        # One segment, but where retention removed the record that made the header's time: then search on.
        for row_first in rows[max(start, 0) :]:
            at, row, _ = self._walker(row_first).to_time(ts_ns)
            self._place(row_first, at, row)
            if self._map(row_first).words[at >> 3] not in (0, SEAL):
                return

    def seek_end(self) -> None:
        """Continue with what is appended from now on."""
        rows = segment_rows(self._directory)
        if rows:
            self._place(rows[-1], *self._walker(rows[-1]).to_end()[:2])

    @property
    def first_row(self) -> int:
        """The first row that is still there; 1 when there is none."""
        rows = segment_rows(self._directory)
        return rows[0] if rows else 1

    @property
    def last_row(self) -> int:
        """The last committed row; `first_row` - 1 when there is none. Trusts headers; checks no CRC."""
        rows = segment_rows(self._directory)
        return self._walker(rows[-1]).to_end()[1] - 1 if rows else 0

    def bytes_behind(self) -> int:
        """About how many bytes are committed and not polled yet."""
        rows = segment_rows(self._directory)
        if not rows or self._segment is None:
            return 0
        here = self._segment.row_first
        end_at = self._walker(rows[-1]).to_end()[0]
        if rows[-1] == here:
            return max(0, end_at - self._at)
        between = sum(self._size(row) for row in rows if here <= row < rows[-1])
        return max(0, between - self._at + end_at)

    def close(self) -> None:
        """Let go of the files; frames handed out stay valid."""
        for segment in self._open.values():
            segment.close()
        self._open.clear()
        self._segment = None
        self._indexes.clear()

    def _attach(self) -> bool:
        """Find the first segment, once there is one."""
        rows = segment_rows(self._directory)
        if not rows:
            return False
        if self.row_next <= 1:
            self._place(rows[0], HEADER_BYTES, rows[0])
        else:
            self.seek_row(self.row_next)
        return True

    def _place(self, segment_row: int, at: int, row: int) -> None:
        self._segment, self._at, self.row_next = self._map(segment_row), at, row

    def _map(self, row_first: int) -> Segment:
        segment = self._open.get(row_first)
        if segment is None:
            segment = Segment(segment_path(self._directory, row_first), self.key)
            for stale in [row for row in self._open if self._open[row] is not self._segment][:-_OPEN_SEGMENTS_MAX]:
                self._open.pop(stale).close()
                self._indexes.pop(stale, None)
            self._open[row_first] = segment
        return segment

    def _walker(self, row_first: int) -> Walker:
        segment = self._map(row_first)
        index = self._indexes.get(row_first) or load_index(segment, self._index_every_bytes)
        if index is None:
            index = SparseIndex(row_first, segment.header.ts_before_ns, self._index_every_bytes)
        self._indexes[row_first] = index
        return Walker(segment, index)

    def _advance(self) -> bool:
        """From a sealed segment to the next one; False while there is none."""
        try:
            self._place(self.row_next, HEADER_BYTES, self.row_next)
        except FileNotFoundError:
            later = self._later_segment()
            if later is None:
                return False
            if later == self.row_next:  # it came between the two looks
                return self._advance()
            path = segment_path(self._directory, self.row_next)
            reason = "the segment is not there: removed by retention before it was read"
            return self._skip(Damage(path, 0, None, self.row_next, later, reason))
        return True

    def _stranded(self) -> bool:
        """Whether the writer has gone on to a later segment though this one has no seal: then step over to it, or
        report what is missing."""
        later = self._later_segment()
        if later is None or self._segment is None:
            return False
        if self.ready():  # what was missing came between the two looks
            return True
        if later > self.row_next:
            return self._pass_damage(self._segment)
        self._place(later, HEADER_BYTES, later)
        return self.ready()

    def _later_segment(self) -> int | None:
        here = self._segment.row_first if self._segment is not None else 0
        return next((row for row in segment_rows(self._directory) if row > here and row >= self.row_next), None)

    def _pass_damage(self, segment: Segment) -> bool:
        """Raise, or step behind the damage; False while nothing valid follows."""
        # On a CPU that reorders stores the record may be becoming whole this moment: look again, once.
        self._clock.sleep(PAUSE_MAX_S)
        if read_records(segment, self._at, self.row_next, 1)[0]:
            return True
        return self._skip(locate_damage(segment, self._at, self.row_next, self._later_segment()))

    def _skip(self, damage: Damage) -> bool:
        if not self.skip_corrupt:
            raise CorruptRecord(damage)
        known = bool(self.lost) and (self.lost[-1].path, self.lost[-1].byte_at) == (damage.path, damage.byte_at)
        if known:
            self.lost.pop()  # nothing followed it before; now its end may be known
        self.lost.append(damage)
        if damage.row_next is None:
            return False
        if damage.byte_next is not None:
            self._at, self.row_next = damage.byte_next, damage.row_next
        else:
            self._place(damage.row_next, HEADER_BYTES, damage.row_next)
        return True

    def _outside(self, row: int, because: str) -> IntegrityError:
        return IntegrityError(
            f"{self._directory}: row {row} cannot be read: the log {because}. Usually retention is shorter than the"
            " outage, or the machine lost power and rows that were not synced; start from a snapshot or a new session."
        )

    def _size(self, row_first: int) -> int:
        try:
            return segment_path(self._directory, row_first).stat().st_size
        except FileNotFoundError:
            return 0


def wait_any(
    readers: Iterable[LogReader], timeout_ns: int, spin_ns: int = SPIN_NS, clock: Clock = SYSTEM_CLOCK
) -> bool:
    """Until one of several readers has something: a spin of `spin_ns`, then pauses that double from 50 µs to 1 ms."""
    readers = tuple(readers)
    start_ns = clock.monotonic_ns()
    pause_s = PAUSE_FIRST_S
    while not any(reader.ready() for reader in readers):
        waited_ns = clock.monotonic_ns() - start_ns
        if waited_ns >= timeout_ns:
            return False
        if waited_ns >= spin_ns:
            clock.sleep(min(pause_s, (timeout_ns - waited_ns) / 1e9))
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
    return True
