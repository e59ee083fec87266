"""SIGKILL at any point: no committed record is lost, no half one is shown, and the log goes on."""

from __future__ import annotations

import mmap
import os
import random
import signal
import time
from pathlib import Path

import pytest

from streams.api import WriterKey
from streams.log import FsyncPolicy, LogOptions, LogReader, LogRecord, LogWriter, verify
from tests.integration.killed import run_and_kill

KEY = WriterKey(1, 0, 31_744, 1)
FILES = (
    "streams/log_writer.py",
    "streams/log_segment.py",
    "streams/log_index.py",
    "streams/log_recovery.py",
    "streams/log_scan.py",
    "streams/log_lock.py",
    "streams/log_retention.py",
)
KILLS = 60


def record_at(row: int) -> tuple[int, int, bytes]:
    """What every writer appends at a row: (row count, time, frame)."""
    rng = random.Random(row)
    return rng.randint(1, 5), rng.randint(0, 10**15), rng.randbytes(rng.randint(1, 700))


def append_some(root: Path, options: LogOptions, returned: mmap.mmap, count: int) -> None:
    """Append, and note after each append that it returned."""
    writer = LogWriter(root, KEY, options)
    words = memoryview(returned).cast("Q")
    for _ in range(count):
        row = writer.last_row + 1
        row_count, ts_ns, frame = record_at(row)
        writer.append(frame, row, row_count, ts_ns)
        words[0] = writer.last_row
    writer.close()


def check(records: list[LogRecord], row: int) -> int:
    """Every record is whole and in its place; returns the row that comes next."""
    for record in records:
        row_count, ts_ns, frame = record_at(row)
        assert record == LogRecord(row, row_count, ts_ns, memoryview(frame))
        row += row_count
    return row


def read_to_end(reader: LogReader, row: int) -> int:
    while records := reader.poll():
        row = check(records, row)
    return row


@pytest.mark.parametrize("fsync", ["none", "interval", "every-append"])
def test_kill_at_any_bytecode_of_the_writer_loses_and_shows_nothing_half(tmp_path: Path, fsync: FsyncPolicy) -> None:
    rng = random.Random(fsync)
    options = LogOptions(segment_bytes=4096, fsync=fsync, index_every_bytes=1000)
    returned = mmap.mmap(-1, 8)
    follower = LogReader(tmp_path, KEY)  # one reader lives through it all
    row_followed = 1
    killed = 0
    for _ in range(KILLS):
        kill_at = rng.randint(1, 15_000)
        killed += run_and_kill(lambda: append_some(tmp_path, options, returned, 100), kill_at, FILES)
        last_returned = int.from_bytes(returned[:8], "little")
        row_followed = read_to_end(follower, row_followed)
        assert row_followed > last_returned
        assert read_to_end(LogReader(tmp_path, KEY), 1) == row_followed
    assert killed >= 45
    assert row_followed > 600
    LogWriter(tmp_path, KEY, options).close()
    [report] = verify(tmp_path).writers
    assert (report.problem, report.notes, report.rows) == (None, [], row_followed - 1)


def test_kill_at_any_bytecode_with_retention_keeps_what_is_left_whole(tmp_path: Path) -> None:
    rng = random.Random(7)
    options = LogOptions(segment_bytes=4096, fsync="none", index_every_bytes=1000, retention_bytes=12_000)
    returned = mmap.mmap(-1, 8)
    killed = 0
    for _ in range(KILLS):
        kill_at = rng.randint(1, 15_000)
        killed += run_and_kill(lambda: append_some(tmp_path, options, returned, 100), kill_at, FILES)
        reader = LogReader(tmp_path, KEY)
        row = _row_from(reader)
        assert row > int.from_bytes(returned[:8], "little")
    assert killed >= 45
    assert LogReader(tmp_path, KEY).first_row > 100
    LogWriter(tmp_path, KEY, options).close()
    assert verify(tmp_path).problem is None


def _row_from(reader: LogReader) -> int:
    """Checks all that retention left; returns the row that comes next."""
    return read_to_end(reader, reader.first_row)


def test_kill_at_any_moment_while_readers_follow(tmp_path: Path) -> None:
    """Kills by the clock, in full flight, with a reader that polls meanwhile and must never see a half record."""
    rng = random.Random(11)
    options = LogOptions(segment_bytes=1 << 16, fsync="none")
    returned = mmap.mmap(-1, 8)
    follower = LogReader(tmp_path, KEY)
    row = 1
    for _ in range(30):
        child = os.fork()
        if child == 0:
            append_some(tmp_path, options, returned, 1_000_000)
            os._exit(0)
        deadline = time.monotonic() + rng.uniform(0.002, 0.03)
        while time.monotonic() < deadline:
            row = check(follower.poll(), row)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        row = read_to_end(follower, row)
        assert row > int.from_bytes(returned[:8], "little")
    assert row > 1000
    assert read_to_end(LogReader(tmp_path, KEY), 1) == row
    LogWriter(tmp_path, KEY, options).close()
    assert verify(tmp_path).problem is None
