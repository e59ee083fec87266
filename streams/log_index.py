"""The sparse index of a segment: by row and by time. It can always be rebuilt; a closed segment has a copy on disk."""

from __future__ import annotations

import contextlib
import os
import struct
from bisect import bisect_left, bisect_right
from pathlib import Path
from typing import Final

from crc32c import crc32c

from streams.log_format import HEAD, HEADER_BYTES, INDEX_SUFFIX, NEW_SUFFIX, SEAL
from streams.log_scan import find_record, hop, read_records
from streams.log_segment import Segment

_MAGIC: Final = b"SHRIVIDX"
_HEAD: Final = struct.Struct("<8sIIQ")  # magic, crc of the rest, entries, first row of the segment
_ENTRY: Final = struct.Struct("<QqQ")


class SparseIndex:
    """Some records of a segment: the first, then one every `every_bytes`.

    Attributes:
        rows, ats: first row and byte of each entry.
        times_ns: the highest record time *before* each entry: ascending, whatever the records' times do.
    """

    def __init__(self, row_first: int, ts_before_ns: int, every_bytes: int) -> None:
        self.every_bytes = every_bytes
        self.rows = [row_first]
        self.times_ns = [ts_before_ns]
        self.ats = [HEADER_BYTES]
        self.next_at = HEADER_BYTES + every_bytes

    def add(self, row: int, ts_before_ns: int, at: int) -> None:
        self.rows.append(row)
        self.times_ns.append(ts_before_ns)
        self.ats.append(at)
        self.next_at = at + self.every_bytes

    def drop_behind(self, at: int) -> None:
        """Forget entries behind byte `at`: the walk that made them went astray."""
        while len(self.ats) > 1 and self.ats[-1] > at:
            del self.rows[-1], self.times_ns[-1], self.ats[-1]
        self.next_at = self.ats[-1] + self.every_bytes

    def before_row(self, row: int) -> tuple[int, int, int]:
        """(row, time before, byte) of the last entry at or before `row`."""
        return self._entry(bisect_right(self.rows, row) - 1)

    def before_time(self, ts_ns: int) -> tuple[int, int, int]:
        """The last entry before which every record's time is below `ts_ns`."""
        return self._entry(bisect_left(self.times_ns, ts_ns) - 1)

    def _entry(self, index: int) -> tuple[int, int, int]:
        index = max(index, 0)
        return self.rows[index], self.times_ns[index], self.ats[index]

    def save(self, segment_path: Path) -> None:
        """Write the copy beside a closed segment. Losing it costs a rebuild, so it is not synced."""
        entries = b"".join(map(_ENTRY.pack, self.rows, self.times_ns, self.ats))
        head = _HEAD.pack(_MAGIC, crc32c(entries), len(self.rows), self.rows[0])
        new = segment_path.with_suffix(INDEX_SUFFIX + NEW_SUFFIX)
        with contextlib.suppress(OSError):  # a full disk: the index will be rebuilt by whoever needs it
            new.write_bytes(head + entries)
            os.rename(new, segment_path.with_suffix(INDEX_SUFFIX))


def load_index(segment: Segment, every_bytes: int) -> SparseIndex | None:
    """The copy on disk, None where there is none or it is not to be trusted."""
    try:
        data = segment.path.with_suffix(INDEX_SUFFIX).read_bytes()
    except OSError:
        return None
    if len(data) < _HEAD.size:
        return None
    magic, crc, count, row_first = _HEAD.unpack_from(data)
    entries = data[_HEAD.size :]
    whole = magic == _MAGIC and len(entries) == count * _ENTRY.size and count > 0
    if not whole or crc32c(entries) != crc or row_first != segment.row_first:
        return None
    index = SparseIndex(row_first, segment.header.ts_before_ns, every_bytes)
    for row, ts_before_ns, at in list(_ENTRY.iter_unpack(entries))[1:]:
        index.add(row, ts_before_ns, at)
    return index


class Walker:
    """Finds places in a segment by hopping over record headers from the nearest index entry, extending the index.

    It checks no CRCs (whoever reads there does) but keeps to records that fit: behind damage it looks for the next
    valid one, so damage before the wanted place does not stop it.
    """

    def __init__(self, segment: Segment, index: SparseIndex) -> None:
        self._segment = segment
        self._index = index

    def to_row(self, row: int) -> tuple[int, int, int]:
        """(byte, row, time before) of the record that holds `row`; of the end where the segment ends before it."""
        row_at, ts_ns, at = self._index.before_row(row)
        return self._walk(at, row_at, ts_ns, row_stop=row)

    def to_time(self, stop_ns: int) -> tuple[int, int, int]:
        """The same of the first record with a time of `stop_ns` or later."""
        row_at, ts_ns, at = self._index.before_time(stop_ns)
        return self._walk(at, row_at, ts_ns, ts_stop_ns=stop_ns)

    def to_end(self) -> tuple[int, int, int]:
        return self._walk(self._index.ats[-1], self._index.rows[-1], self._index.times_ns[-1])

    def _walk(
        self, at: int, row: int, ts_ns: int, row_stop: int | None = None, ts_stop_ns: int | None = None
    ) -> tuple[int, int, int]:
        segment, index = self._segment, self._index
        before: tuple[int, int] | None = None  # byte and row of the record that was hopped over last
        while True:
            end = hop(segment, at)
            row_first, record_ts_ns, row_count, _ = HEAD.unpack_from(segment.view, at + 8)
            if end < 0 or row_first != row:
                if before is not None and not read_records(segment, *before, 1)[0]:
                    at, row = before  # its size is wrong: the hop over it led astray
                    index.drop_behind(at)
                    place = find_record(segment, at + 8, row)
                else:
                    place = None if segment.words[at >> 3] in (0, SEAL) else find_record(segment, at, row)
                if place is None or (row_stop is not None and place[1] > row_stop):
                    return at, row, ts_ns  # the end; or the wanted row is in the damage: reading here will say so
                (at, row), before = place, None
                continue
            if row_stop is not None and row + row_count > row_stop:
                return at, row, ts_ns
            if ts_stop_ns is not None and record_ts_ns >= ts_stop_ns:
                return at, row, ts_ns
            before = at, row
            at, row, ts_ns = end, row + row_count, max(ts_ns, record_ts_ns)
            if at >= index.next_at:
                index.add(row, ts_ns, at)
