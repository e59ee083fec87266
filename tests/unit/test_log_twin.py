"""The log against a plain list, under any order of appending, reopening, seeking, polling and retention."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streams.api import WriterKey
from streams.log import LogOptions, LogReader, LogWriter, key_dir, retain, verify
from tests.reference.log_twin import LogTwin, TwinRecord

KEY = WriterKey(11, 2, 1088, 9)
KEEP = LogOptions(segment_bytes=4096, fsync="none", retention_bytes=12_000)


class LogMachine(RuleBasedStateMachine):
    @initialize(index_every_bytes=st.sampled_from([64, 700, 100_000]))
    def open(self, index_every_bytes: int) -> None:
        self.root = Path(tempfile.mkdtemp())
        self.options = LogOptions(segment_bytes=4096, fsync="none", index_every_bytes=index_every_bytes)
        self.twin = LogTwin()
        self.writer = LogWriter(self.root, KEY, self.options)
        self.reader = LogReader(self.root, KEY, options=self.options)
        self.position = 0  # index into the twin of what the reader delivers next
        self.first = 0  # index of the first record that retention left

    @rule(
        size=st.one_of(st.integers(1, 40), st.integers(1, 3000)), row_count=st.integers(1, 9), ts_ns=st.integers(0, 99)
    )
    def append(self, size: int, row_count: int, ts_ns: int) -> None:
        frame = bytes((len(self.twin.records) + offset) % 251 for offset in range(size))
        record = self.twin.append(frame, row_count, ts_ns)
        self.writer.append(frame, record.row_first, row_count, ts_ns)

    @rule(count=st.integers(2, 60))
    def append_many(self, count: int) -> None:
        for index in range(count):
            self.append(20 + index, 1 + index % 3, index)

    @rule(bytes_max=st.sampled_from([1, 500, 1 << 18]))
    def poll(self, bytes_max: int) -> None:
        taken = [TwinRecord(*record[:3], bytes(record.frame)) for record in self.reader.poll(bytes_max)]
        assert taken == self.twin.records[self.position : self.position + len(taken)]
        assert taken or self.position == len(self.twin.records)
        self.position += len(taken)

    @rule(share=st.floats(0, 1))
    def seek_row(self, share: float) -> None:
        row_first = self.twin.records[self.first].row_first if self.twin.records else 1
        row = row_first + int(share * (self.twin.last_row + 1 - row_first))
        self.reader.seek_row(row)
        self.position = self.twin.at_row(row)

    @rule(ts_ns=st.integers(-1, 100))
    def seek_time(self, ts_ns: int) -> None:
        self.reader.seek_time(ts_ns)
        self.position = max(self.twin.at_time(ts_ns), self._first_at_time(ts_ns))

    def _first_at_time(self, ts_ns: int) -> int:
        """With retention, the first record left of that time."""
        left = LogTwin(self.twin.records[self.first :])
        return self.first + left.at_time(ts_ns)

    @rule()
    def seek_end(self) -> None:
        self.reader.seek_end()
        self.position = len(self.twin.records)

    @rule()
    def reopen_writer(self) -> None:
        self.writer.close()
        self.writer = LogWriter(self.root, KEY, self.options)
        assert self.writer.recovered.repairs == []

    @rule()
    def crash_writer(self) -> None:
        """What a kill leaves: the same files, the lock free, and bytes of an append behind the end."""
        at, segment = self.writer.position, self.writer.segment
        segment.memory[at + 8 : segment.limit] = b"\xa5" * (segment.limit - at - 8)
        self.reopen_after_crash()

    def reopen_after_crash(self) -> None:
        segment, room = self.writer.segment, self.writer.segment.limit - self.writer.position - 8
        self.writer._lock.close()
        self.writer = LogWriter(self.root, KEY, self.options)
        assert len(self.writer.recovered.repairs) == (room > 0)
        segment.close()

    @rule()
    def new_reader(self) -> None:
        self.reader.close()
        self.reader = LogReader(self.root, KEY, options=self.options)
        self.position = self.first

    @rule()
    def retain(self) -> None:
        retain(self.root, KEEP, 0)
        row_first = LogReader(self.root, KEY).first_row
        self.first = self.twin.at_row(row_first)
        self.seek_end()

    @rule()
    def forget_indexes(self) -> None:
        for path in key_dir(self.root, KEY).glob("*.index"):
            path.unlink()

    @invariant()
    def ends_agree(self) -> None:
        if not hasattr(self, "twin"):
            return
        assert self.writer.last_row == self.reader.last_row == self.twin.last_row
        assert self.reader.at_end() == (self.position == len(self.twin.records))

    def teardown(self) -> None:
        if hasattr(self, "root"):
            [report] = verify(self.root).writers
            assert report.problem is None
            assert report.records == len(self.twin.records) - self.first
            shutil.rmtree(self.root)


TestLogAgainstList = LogMachine.TestCase
TestLogAgainstList.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
