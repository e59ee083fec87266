"""Walking records of a segment: checked reading, hopping without checks, and finding the way again behind damage."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from crc32c import crc32c

from streams.log_format import (
    COMMITTED,
    FRAME_BYTES_MAX,
    HEAD,
    HEADER_BYTES,
    RECORD_BYTES,
    SEAL,
    Damage,
    LogRecord,
)
from streams.log_segment import Segment

Stop = Literal["more", "end", "sealed", "damaged"]  # why reading stopped
_SEARCH_WORDS: Final = 1 << 16
_SECTOR_BYTES: Final = 512  # the smallest unit that a disk writes as a whole
_ZEROS_TELLING_BYTES: Final = 64  # fewer zeros at the edge of a sector may well be data


def read_records(segment: Segment, at: int, row: int, bytes_max: int) -> tuple[list[LogRecord], int, int, Stop]:
    """Checked records from byte `at`, where row `row` is due, until more than `bytes_max` bytes are taken.

    Returns:
        The records, the byte and the row that come next, and why it stopped: `more` (the budget), `end` (nothing
        is committed there yet), `sealed` (the next segment goes on), `damaged` (what stands there is not valid).
    """
    # The hot loop of every replay: few operations a record, everything local. The commit word is read first and by
    # one load; on x86 loads are not reordered, so what follows is the record that it commits.
    records: list[LogRecord] = []
    append, words, view, limit = records.append, segment.words, segment.view, segment.limit
    unpack, crc_of, record_of, new = HEAD.unpack_from, crc32c, LogRecord, tuple.__new__
    budget = at + bytes_max
    while at < budget:
        word = words[at >> 3]
        if not word:
            return records, at, row, "end"
        row_first, ts_ns, row_count, size = unpack(view, at + 8)
        end = at + 39 + size & -8  # head, frame, and the zeros between them
        if end > limit or COMMITTED | crc_of(view[at + 8 : end]) != word or row_first != row or not row_count:
            return records, at, row, "sealed" if word == SEAL else "damaged"
        append(new(record_of, (row_first, row_count, ts_ns, view[end - size : end])))
        row += row_count
        at = end
    return records, at, row, "more"


def hop(segment: Segment, at: int) -> int:
    """Byte behind the record at `at`, by its header only; -1 where no record can be."""
    if at > segment.limit or segment.words[at >> 3] >> 32 != COMMITTED >> 32:
        return -1
    size: int = HEAD.unpack_from(segment.view, at + 8)[3]
    end = at + RECORD_BYTES + (-size & 7) + size
    return end if end <= segment.limit else -1


def find_record(segment: Segment, start: int, row_min: int) -> tuple[int, int] | None:
    """Byte and row of the first valid record at or behind byte `start` whose rows are not before `row_min`."""
    start = max(start, HEADER_BYTES) + 7 & ~7
    words = np.frombuffer(segment.view, dtype="<u8")[: (segment.limit >> 3) + 1]
    for base in range(start >> 3, len(words), _SEARCH_WORDS):
        piece = words[base : base + _SEARCH_WORDS]
        for index in np.flatnonzero(piece >> np.uint64(32) == COMMITTED >> 32):
            at = (base + int(index)) * 8
            row, _, _, size = HEAD.unpack_from(segment.view, at + 8)
            if row < row_min or size > FRAME_BYTES_MAX or hop(segment, at) < 0:
                continue
            if read_records(segment, at, row, 1)[0]:
                return at, row
    return None


def locate_damage(segment: Segment, at: int, row: int, row_next_segment: int | None) -> Damage:
    """What is wrong at byte `at`, where row `row` is due, and where it goes on.

    Args:
        row_next_segment: first row of the next segment, None when there is none.
    """
    found = find_record(segment, at, row)
    byte_next, row_next = found if found else (None, row_next_segment)
    return Damage(segment.path, at, byte_next, row, row_next, _reason(segment, at, row))


def _reason(segment: Segment, at: int, row: int) -> str:
    word = segment.words[at >> 3]
    if word == 0:
        cut = f"the file was cut to {len(segment.view):,} bytes" if segment.cut else "nothing is written here"
        return f"{cut}, though rows should follow"
    row_first, _, row_count, size = HEAD.unpack_from(segment.view, at + 8)
    if word >> 32 != COMMITTED >> 32:
        return f"{word:#018x} is no commit word"
    end = at + RECORD_BYTES + (-size & 7) + size
    if end > segment.limit:
        return f"a frame of {size:,} bytes does not fit into the segment"
    if COMMITTED | crc32c(segment.view[at + 8 : end]) != word:
        return f"the checksum of the record ({size:,} bytes) does not match"
    return f"rows {row_first} to {row_first + row_count - 1} where row {row} is due"


def looks_torn(segment: Segment, at: int) -> bool:
    """Whether the invalid record at `at` was cut by a power loss: blocks that never reached the disk read as zeros.

    A flipped bit leaves no zeros behind, and must not be mistaken for a record that was never durable.
    """
    size: int = HEAD.unpack_from(segment.view, at + 8)[3]
    end = at + RECORD_BYTES + (-size & 7) + size
    if segment.cut or end > segment.limit:
        return segment.cut
    if not any(segment.view[at + 8 : at + RECORD_BYTES]):  # the head itself is gone
        return True
    sectors = range(at & -_SECTOR_BYTES, end, _SECTOR_BYTES)
    spans = ((max(begin, at + 8), min(begin + _SECTOR_BYTES, end)) for begin in sectors)
    return any(stop - begin >= _ZEROS_TELLING_BYTES and not any(segment.view[begin:stop]) for begin, stop in spans)
