"""What a log holds (`info`) and whether it is what was written (`verify`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.errors import IntegrityError
from streams.api import WriterKey
from streams.clock import SYSTEM_CLOCK, Clock
from streams.log_format import (
    HEADER_BYTES,
    Damage,
    key_dir,
    segment_path,
    segment_rows,
    writer_keys,
)
from streams.log_index import SparseIndex, Walker, load_index
from streams.log_scan import find_record, locate_damage, read_records
from streams.log_segment import Segment, first_nonzero, read_header

_BATCH_BYTES: Final = 1 << 22
_LOOK_AGAIN_S: Final = 0.01  # far longer than an append takes
_INDEX_EVERY_BYTES: Final = 256 << 10


@dataclass(frozen=True, slots=True)
class WriterInfo:
    """What is there of one writer, from headers and names; nothing is checked.

    Attributes:
        rows, row_first, row_last: of what retention left.
        bytes_used, bytes_allocated: of records and headers; of the files.
        segments: files.
        created_ns: when the oldest segment was begun, wall clock; 0 without any.
        ts_max_ns: the highest record time; None without records.
    """

    key: WriterKey
    path: Path
    rows: int
    row_first: int
    row_last: int
    bytes_used: int
    bytes_allocated: int
    segments: int
    created_ns: int
    ts_max_ns: int | None


def info(root: Path, topic: int | str | None = None, partition: int | None = None) -> list[WriterInfo]:
    """One entry per writer below `root`.

    Raises:
        IntegrityError: a segment header is damaged.
    """
    return [_info(key_dir(root, key), key) for key in writer_keys(root, topic, partition)]


def _info(directory: Path, key: WriterKey) -> WriterInfo:
    rows = segment_rows(directory)
    if not rows:
        return WriterInfo(key, directory, 0, 1, 0, 0, 0, 0, 0, None)
    at, row_next, ts_ns = _end_of(segment_path(directory, rows[-1]), key)
    sizes = [segment_path(directory, row).stat().st_size for row in rows]
    return WriterInfo(
        key,
        directory,
        rows=row_next - rows[0],
        row_first=rows[0],
        row_last=row_next - 1,
        bytes_used=sum(sizes[:-1]) + at,
        bytes_allocated=sum(sizes),
        segments=len(rows),
        created_ns=read_header(segment_path(directory, rows[0])).created_ns,
        ts_max_ns=ts_ns if row_next > rows[0] else None,
    )


def _end_of(path: Path, key: WriterKey) -> tuple[int, int, int]:
    segment = Segment(path, key)
    try:
        index = load_index(segment, _INDEX_EVERY_BYTES)
        if index is None:
            index = SparseIndex(segment.row_first, segment.header.ts_before_ns, _INDEX_EVERY_BYTES)
        return Walker(segment, index).to_end()
    finally:
        segment.close()


@dataclass(slots=True)
class WriterReport:
    """What a full scan of one writer found.

    Attributes:
        records, rows, bytes: valid ones; bytes of frames.
        damage: every place that is not what was written, in order. A writer is healthy without any.
        notes: what is odd and costs no row: leftovers of an append that a kill cut short.
    """

    key: WriterKey
    segments: int = 0
    records: int = 0
    rows: int = 0
    bytes: int = 0
    damage: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def problem(self) -> Damage | None:
        """The first damage."""
        return self.damage[0] if self.damage else None


@dataclass(slots=True)
class VerifyReport:
    writers: list[WriterReport] = field(default_factory=list)

    @property
    def records(self) -> int:
        return sum(writer.records for writer in self.writers)

    @property
    def rows(self) -> int:
        return sum(writer.rows for writer in self.writers)

    @property
    def bytes(self) -> int:
        return sum(writer.bytes for writer in self.writers)

    @property
    def problem(self) -> Damage | None:
        """The first damage of the first damaged writer."""
        return next((writer.problem for writer in self.writers if writer.problem is not None), None)


def verify(
    root: Path, topic: int | str | None = None, partition: int | None = None, *, clock: Clock = SYSTEM_CLOCK
) -> VerifyReport:
    """Read every byte: records, checksums, row numbers, seals, and that nothing stands where nothing was written.

    It may run beside writers; rows appended meanwhile may or may not be counted.
    """
    return VerifyReport([_verify(root, key, clock) for key in writer_keys(root, topic, partition)])


def _verify(root: Path, key: WriterKey, clock: Clock) -> WriterReport:
    report = WriterReport(key)
    directory = key_dir(root, key)
    rows = segment_rows(directory)
    row = rows[0] if rows else 1
    for index, row_first in enumerate(rows):
        path = segment_path(directory, row_first)
        row_next_segment = rows[index + 1] if index + 1 < len(rows) else None
        if row_first != row:
            report.damage.append(Damage(path, 0, None, row, row_first, f"the segment begins where row {row} is due"))
        try:
            segment = Segment(path, key)
        except FileNotFoundError:  # retention removed it since we looked
            row = row_next_segment or row_first
            continue
        except IntegrityError as error:
            report.damage.append(Damage(path, 0, None, row_first, row_next_segment, str(error)))
            row = row_next_segment or row_first
            continue
        report.segments += 1
        try:
            row = _verify_segment(segment, report, row_first, row_next_segment, clock)
        finally:
            segment.close()
    return report


def _verify_segment(
    segment: Segment, report: WriterReport, row: int, row_next_segment: int | None, clock: Clock
) -> int:
    """Scan one segment; returns the row that must come next."""
    at = HEADER_BYTES
    while True:
        records, at, row, stop = read_records(segment, at, row, _BATCH_BYTES)
        report.records += len(records)
        report.rows += sum(record.row_count for record in records)
        report.bytes += sum(len(record.frame) for record in records)
        if stop == "more":
            continue
        if stop == "damaged" or (stop == "end" and _ends_early(segment, at, row, row_next_segment)):
            damage = locate_damage(segment, at, row, row_next_segment)
            report.damage.append(damage)
            if damage.byte_next is None or damage.row_next is None:
                return damage.row_next or row
            at, row = damage.byte_next, damage.row_next
            continue
        _check_rest(segment, at, stop == "sealed", report, clock)
        return row


def _ends_early(segment: Segment, at: int, row: int, row_next_segment: int | None) -> bool:
    """Whether rows stood behind the place where nothing is committed."""
    if segment.cut or (row_next_segment is not None and row_next_segment > row):
        return True
    hidden = first_nonzero(segment, at) is not None and find_record(segment, at, row) is not None
    return hidden and segment.words[at >> 3] == 0  # looked at last: a writer commits in order


def _check_rest(segment: Segment, at: int, sealed: bool, report: WriterReport, clock: Clock) -> None:
    """Behind the last record there must be zeros, but for an append that is under way this moment."""
    start = at + 8 if sealed else at
    if first_nonzero(segment, start) is None:
        return
    clock.sleep(_LOOK_AGAIN_S)
    if not sealed and segment.words[at >> 3]:
        return
    odd_at = first_nonzero(segment, start)
    if odd_at is not None:
        report.notes.append(
            f"{segment.path}, byte {odd_at}: bytes behind the last record that belong to none: an append that a kill"
            " cut short, or changed bytes. No row is lost; a writer that opens the file erases them."
        )
