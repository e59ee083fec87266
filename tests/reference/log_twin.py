"""The local log's plain twin: a list. What `LogReader` must deliver, whatever the segments do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class TwinRecord(NamedTuple):
    row_first: int
    row_count: int
    ts_ns: int
    frame: bytes


@dataclass
class LogTwin:
    records: list[TwinRecord] = field(default_factory=list)

    @property
    def last_row(self) -> int:
        return self.records[-1].row_first + self.records[-1].row_count - 1 if self.records else 0

    def append(self, frame: bytes, row_count: int, ts_ns: int) -> TwinRecord:
        record = TwinRecord(self.last_row + 1, row_count, ts_ns, frame)
        self.records.append(record)
        return record

    def at_row(self, row: int) -> int:
        """Index of the record that holds `row`; len(records) for the end."""
        return sum(record.row_first + record.row_count <= row for record in self.records)

    def at_time(self, ts_ns: int) -> int:
        """Index of the first record with a time of `ts_ns` or later; len(records) for the end."""
        return next((index for index, record in enumerate(self.records) if record.ts_ns >= ts_ns), len(self.records))
