"""The local log: what is appended is what is read, in every order of opening, rotating, seeking and removing."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigInvalid, InputInvalid, IntegrityError, ResourceExhausted
from streams.api import WriterKey
from streams.clock import ManualClock
from streams.log import (
    FRAME_BYTES_MAX,
    CorruptRecord,
    LogOptions,
    LogReader,
    LogRecord,
    LogWriter,
    info,
    key_dir,
    read_hold,
    retain,
    verify,
    wait_any,
    write_hold,
    writer_keys,
)
from streams.log_format import SEGMENT_FIRST_BYTES, segment_path, segment_rows

KEY = WriterKey(2, 3, 1088, 7)
SMALL = LogOptions(segment_bytes=8192, fsync="none", index_every_bytes=1024)


def frames(count: int, seed: int = 1, bytes_max: int = 300) -> list[bytes]:
    rng = random.Random(seed)
    return [rng.randbytes(rng.randint(1, bytes_max)) for _ in range(count)]


def append_all(writer: LogWriter, payloads: list[bytes], rows_each: int = 3, ts_step_ns: int = 10) -> list[LogRecord]:
    """Appends frames of `rows_each` rows; returns what a reader must deliver."""
    expected = []
    for payload in payloads:
        row = writer.last_row + 1
        writer.append(payload, row, rows_each, row * ts_step_ns)
        expected.append(LogRecord(row, rows_each, row * ts_step_ns, memoryview(payload)))
    return expected


def read_all(reader: LogReader, bytes_max: int = 1 << 18, into: list[LogRecord] | None = None) -> list[LogRecord]:
    taken = [] if into is None else into
    while records := reader.poll(bytes_max):
        taken += records
    return taken


@pytest.mark.parametrize("fsync", ["none", "interval", "every-append"])
def test_append_then_read_gives_the_same_records(tmp_path: Path, fsync: str) -> None:
    options = LogOptions(segment_bytes=8192, fsync=fsync, fsync_interval_ns=1_000_000)  # type: ignore[arg-type]
    writer = LogWriter(tmp_path, KEY, options)
    expected = append_all(writer, frames(200))
    reader = LogReader(tmp_path, KEY)
    assert read_all(reader) == expected
    assert reader.at_end()
    writer.close()
    assert read_all(LogReader(tmp_path, KEY), bytes_max=1) == expected
    assert len(segment_rows(key_dir(tmp_path, KEY))) > 3


@pytest.mark.parametrize("size", [*range(1, 18), 4095, 4096, 4097, 100_000])
def test_frame_of_any_length_is_read_back(tmp_path: Path, size: int) -> None:
    frame = random.Random(size).randbytes(size)
    with_view = LogWriter(tmp_path, KEY, SMALL)
    with_view.append(memoryview(frame), 1, 1, -5)
    with_view.append(frame, 2, 4_000_000_000, 5)
    with_view.close()
    view = memoryview(frame)
    assert read_all(LogReader(tmp_path, KEY)) == [LogRecord(1, 1, -5, view), LogRecord(2, 4_000_000_000, 5, view)]


def test_reader_sees_every_append_at_once_and_across_rotation(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    reader = LogReader(tmp_path, KEY)
    for payload in frames(300):
        assert reader.at_end()
        [expected] = append_all(writer, [payload])
        assert reader.ready()
        assert not reader.at_end()
        assert reader.poll() == [expected]
    assert reader.poll() == []


def test_reader_may_come_before_the_writer(tmp_path: Path) -> None:
    reader = LogReader(tmp_path, KEY)
    assert reader.poll() == []
    assert reader.at_end()
    assert (reader.first_row, reader.last_row) == (1, 0)
    writer = LogWriter(tmp_path, KEY, SMALL)
    assert reader.poll() == []
    expected = append_all(writer, [b"x", b"y"])
    assert reader.poll() == expected


def test_poll_stops_at_its_budget_but_delivers_at_least_one_record(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, LogOptions(fsync="none"))
    append_all(writer, [b"a" * 1000] * 10)
    reader = LogReader(tmp_path, KEY)
    assert len(reader.poll(1)) == 1
    assert len(reader.poll(0)) == 1
    assert len(reader.poll(3000)) == 3
    assert len(reader.poll()) == 5


def test_reopened_writer_goes_on_with_the_next_row(tmp_path: Path) -> None:
    payloads = frames(120)
    expected = []
    for start in range(0, 120, 10):
        writer = LogWriter(tmp_path, KEY, SMALL)
        assert writer.last_row == start * 3
        assert writer.recovered.repairs == []
        expected += append_all(writer, payloads[start : start + 10])
        writer.close()
    assert read_all(LogReader(tmp_path, KEY)) == expected
    assert verify(tmp_path).problem is None


@pytest.mark.parametrize("row_first", [0, 1, 3, 5, 100])
def test_row_number_that_does_not_follow_is_refused_and_changes_nothing(tmp_path: Path, row_first: int) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    expected = append_all(writer, [b"one"])
    with pytest.raises(IntegrityError, match=f"row {row_first} cannot follow row 3"):
        writer.append(b"two", row_first, 1, 0)
    expected += append_all(writer, [b"two"])
    assert read_all(LogReader(tmp_path, KEY)) == expected


@pytest.mark.parametrize(("size", "row_count"), [(0, 1), (5, 0), (FRAME_BYTES_MAX + 1, 1)])
def test_frame_that_cannot_be_logged_is_refused(tmp_path: Path, size: int, row_count: int) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    with pytest.raises(InputInvalid):
        writer.append(bytes(size), 1, row_count, 0)
    assert read_all(LogReader(tmp_path, KEY)) == []
    assert writer.last_row == 0


def test_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    with pytest.raises(ResourceExhausted, match=f"in use by process {os.getpid()}"):
        LogWriter(tmp_path, KEY, SMALL)
    LogWriter(tmp_path, KEY._replace(partition=0), SMALL).close()
    writer.close()
    writer.close()
    LogWriter(tmp_path, KEY, SMALL).close()


def test_closed_writer_refuses_to_append(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    writer.close()
    with pytest.raises(ResourceExhausted, match="was closed"):
        writer.append(b"x", 1, 1, 0)


def test_log_may_begin_later_than_row_one(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL, row_first=501)
    assert writer.last_row == 500
    writer.append(b"x", 501, 2, 0)
    reader = LogReader(tmp_path, KEY)
    assert (reader.first_row, reader.last_row) == (501, 502)
    assert read_all(reader) == [LogRecord(501, 2, 0, memoryview(b"x"))]
    writer.close()
    assert LogWriter(tmp_path, KEY, SMALL, row_first=1).last_row == 502


def test_segments_double_up_to_their_size(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, LogOptions(segment_bytes=4 * SEGMENT_FIRST_BYTES, fsync="none"))
    append_all(writer, [bytes(500_000)] * 30)
    writer.close()
    directory = key_dir(tmp_path, KEY)
    sizes = [segment_path(directory, row).stat().st_size / SEGMENT_FIRST_BYTES for row in segment_rows(directory)]
    assert sizes == [1, 2, 4, 4, 4]


def test_record_larger_than_a_segment_gets_one_of_its_own(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    expected = append_all(writer, [b"small", bytes(3_000_000), b"after"])
    writer.close()
    assert read_all(LogReader(tmp_path, KEY)) == expected


def test_seek_row_finds_the_record_that_holds_it(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    expected = append_all(writer, frames(200))
    reader = LogReader(tmp_path, KEY, options=SMALL)
    for row in [*range(1, 601, 7), 600, 1]:
        reader.seek_row(row)
        assert reader.poll(1) == [expected[(row - 1) // 3]]
    reader.seek_row(601)
    assert reader.at_end()
    for row in (1, 2, 299, 600):
        assert LogReader(tmp_path, KEY, row).poll(1) == [expected[(row - 1) // 3]]


def test_seek_row_works_without_the_index_files(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    expected = append_all(writer, frames(200))
    indexes = list(key_dir(tmp_path, KEY).glob("*.index"))
    assert len(indexes) >= 3
    indexes[0].unlink()
    indexes[1].write_bytes(b"nonsense")
    data = bytearray(indexes[2].read_bytes())
    data[-3] ^= 1
    indexes[2].write_bytes(data)
    reader = LogReader(tmp_path, KEY)
    for row in range(1, 601, 5):
        reader.seek_row(row)
        assert reader.poll(1) == [expected[(row - 1) // 3]]


@pytest.mark.parametrize("row", [602, 10_000])
def test_row_behind_the_end_is_refused(tmp_path: Path, row: int) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    append_all(writer, frames(200))
    with pytest.raises(IntegrityError, match="ends at row 600"):
        LogReader(tmp_path, KEY, row)


def test_seek_time_finds_the_first_record_at_or_after(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    expected = append_all(writer, frames(200))
    reader = LogReader(tmp_path, KEY, options=SMALL)
    for ts_ns in range(0, 5980, 17):
        reader.seek_time(ts_ns)
        assert reader.poll(1) == [next(record for record in expected if record.ts_ns >= ts_ns)]
    reader.seek_time(10**12)
    assert reader.at_end()


def test_seek_time_copes_with_times_that_go_back(tmp_path: Path) -> None:
    rng = random.Random(5)
    writer = LogWriter(tmp_path, KEY, SMALL)
    expected = []
    for index, payload in enumerate(frames(150)):
        ts_ns = index * 100 + rng.randint(-2000, 2000)
        writer.append(payload, index + 1, 1, ts_ns)
        expected.append(LogRecord(index + 1, 1, ts_ns, memoryview(payload)))
    reader = LogReader(tmp_path, KEY, options=SMALL)
    for ts_ns in range(-2000, 14_000, 133):
        reader.seek_time(ts_ns)
        assert reader.poll(1)[0] == next(record for record in expected if record.ts_ns >= ts_ns)


def test_seek_end_delivers_only_what_comes(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    append_all(writer, frames(50))
    reader = LogReader(tmp_path, KEY)
    reader.seek_end()
    assert reader.poll() == []
    assert reader.row_next == 151
    assert append_all(writer, [b"new"]) == reader.poll()


def test_rows_are_known_while_writing(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    reader = LogReader(tmp_path, KEY)
    for payload in frames(60):
        append_all(writer, [payload])
        assert reader.last_row == writer.last_row
    assert reader.first_row == 1


def test_bytes_behind_is_what_is_not_polled(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, LogOptions(fsync="none"))
    reader = LogReader(tmp_path, KEY)
    assert reader.bytes_behind() == 0
    append_all(writer, [bytes(968)] * 10)
    assert reader.bytes_behind() == 10_000
    reader.poll(1)
    assert reader.bytes_behind() == 9000
    read_all(reader)
    assert reader.bytes_behind() == 0


def test_frames_stay_valid_after_everything_is_closed_and_removed(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    expected = append_all(writer, frames(100))
    reader = LogReader(tmp_path, KEY)
    records = read_all(reader)
    reader.close()
    writer.close()
    for path in key_dir(tmp_path, KEY).iterdir():
        path.unlink()
    assert records == expected


def test_closed_reader_goes_on_where_it_was(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    expected = append_all(writer, frames(100))
    reader = LogReader(tmp_path, KEY)
    first = reader.poll(5000)
    reader.close()
    assert first + read_all(reader) == expected


def test_retention_by_size_removes_oldest_whole_segments(tmp_path: Path) -> None:
    options = LogOptions(segment_bytes=8192, fsync="none", retention_bytes=30_000)
    writer = LogWriter(tmp_path, KEY, options)
    reader = LogReader(tmp_path, KEY)
    expected = append_all(writer, frames(20))
    assert reader.poll(1) == expected[:1]
    expected += append_all(writer, frames(400))
    directory = key_dir(tmp_path, KEY)
    sizes = [segment_path(directory, row).stat().st_size for row in segment_rows(directory)]
    assert sum(sizes) <= 30_000 + 8192
    first = LogReader(tmp_path, KEY).first_row
    assert first > 300
    assert read_all(LogReader(tmp_path, KEY)) == [record for record in expected if record.row_first >= first]
    with pytest.raises(IntegrityError, match="removed by retention"):
        LogReader(tmp_path, KEY, 2)
    assert verify(tmp_path).problem is None


def test_reader_overtaken_by_retention_is_told_which_rows_it_missed(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path, KEY, LogOptions(segment_bytes=8192, fsync="none", retention_bytes=30_000))
    reader = LogReader(tmp_path, KEY)
    patient = LogReader(tmp_path, KEY, skip_corrupt=True)
    expected = append_all(writer, frames(20))
    assert reader.poll(1) == patient.poll(1) == expected[:1]
    expected += append_all(writer, frames(400))
    taken = expected[:1]
    with pytest.raises(CorruptRecord) as caught:
        read_all(reader, into=taken)
    assert taken == expected[: len(taken)]  # the segment that it had open was read to its end
    damage = caught.value.damage
    assert (damage.row_first, damage.row_next) == (taken[-1].row_last + 1, LogReader(tmp_path, KEY).first_row)
    assert "removed by retention before it was read" in str(damage)
    later = read_all(patient)
    assert later == [*taken[1:], *(record for record in expected if record.row_first >= (damage.row_next or 0))]
    assert patient.lost == [damage]


def test_retention_by_age_counts_from_closing(tmp_path: Path) -> None:
    clock = ManualClock(1000)
    options = LogOptions(segment_bytes=8192, fsync="none", retention_ns=500)
    writer = LogWriter(tmp_path, KEY, options, clock=clock)
    append_all(writer, frames(150), ts_step_ns=0)
    rows = segment_rows(key_dir(tmp_path, KEY))
    assert rows[0] == 1
    assert retain(tmp_path, options, now_ns=1500) == []
    removed = retain(tmp_path, options, now_ns=1501)
    assert [path.stem for path in removed] == [f"{row:020d}" for row in rows[:-1]]
    assert segment_rows(key_dir(tmp_path, KEY)) == rows[-1:]  # the open segment stays, however old
    assert not list(key_dir(tmp_path, KEY).glob("*.index"))


def test_retention_keeps_what_is_not_shipped(tmp_path: Path) -> None:
    options = LogOptions(segment_bytes=8192, fsync="none", retention_bytes=8192)
    writer = LogWriter(tmp_path, KEY, LogOptions(segment_bytes=8192, fsync="none"))
    append_all(writer, frames(200))
    rows = segment_rows(key_dir(tmp_path, KEY))
    write_hold(tmp_path, KEY, rows[2] - 2)  # one row short of the end of the second segment
    assert read_hold(key_dir(tmp_path, KEY)) == rows[2] - 2
    retain(tmp_path, options, 0)
    assert segment_rows(key_dir(tmp_path, KEY)) == rows[1:]
    write_hold(tmp_path, KEY, rows[2] - 1)
    retain(tmp_path, options, 0)
    assert segment_rows(key_dir(tmp_path, KEY)) == rows[2:]


def test_writer_keys_lists_what_there_is(tmp_path: Path) -> None:
    keys = [WriterKey(1, 0, 31744, 1), WriterKey(2, 0, 64, 1), WriterKey(2, 1, 64, 1), WriterKey(2, 1, 64, 2)]
    for key in keys:
        LogWriter(tmp_path, key, SMALL).close()
    (tmp_path / "notes.txt").write_text("not a topic")
    (tmp_path / "md.trade.v1" / "1" / "junk").mkdir()
    assert writer_keys(tmp_path) == keys
    assert writer_keys(tmp_path, "md.trade.v1") == keys[1:]
    assert writer_keys(tmp_path, 2, partition=1) == keys[2:]
    assert writer_keys(tmp_path / "nowhere") == []
    with pytest.raises(ConfigInvalid):
        writer_keys(tmp_path, "md.nonsense")


def test_info_says_what_there_is(tmp_path: Path) -> None:
    clock = ManualClock(77)
    writer = LogWriter(tmp_path, KEY, LogOptions(segment_bytes=8192, fsync="none"), clock=clock)
    [empty] = info(tmp_path)
    assert (empty.rows, empty.segments, empty.ts_max_ns) == (0, 1, None)
    append_all(writer, [bytes(1000)] * 20)
    [found] = info(tmp_path)
    assert (found.key, found.rows, found.row_first, found.row_last) == (KEY, 60, 1, 60)
    assert (found.segments, found.bytes_allocated, found.created_ns, found.ts_max_ns) == (3, 3 * 8192, 77, 580)
    assert found.bytes_used == 2 * 8192 + 64 + (20 - 14) * 1032


def test_verify_counts_everything(tmp_path: Path) -> None:
    for partition in range(3):
        writer = LogWriter(tmp_path, KEY._replace(partition=partition), SMALL)
        append_all(writer, [bytes(100)] * 200)
        writer.close()
    report = verify(tmp_path)
    assert (report.records, report.rows, report.bytes, report.problem) == (600, 1800, 60_000, None)
    assert [writer.notes for writer in report.writers] == [[], [], []]


def test_wait_returns_when_there_is_something_and_gives_up_in_time(tmp_path: Path) -> None:
    clock = ManualClock()
    readers = [LogReader(tmp_path, KEY._replace(partition=part), clock=clock) for part in range(2)]
    assert not wait_any(readers, timeout_ns=5_000_000, spin_ns=0, clock=clock)
    assert clock.monotonic_ns() == 5_000_000
    assert not readers[1].wait(timeout_ns=1_000_000, spin_ns=0)
    writer = LogWriter(tmp_path, KEY._replace(partition=1), SMALL)
    append_all(writer, [b"x"])
    assert wait_any(readers, timeout_ns=0, clock=clock)
    assert readers[1].wait(timeout_ns=0)


@pytest.mark.parametrize(
    "options",
    [
        {"segment_bytes": 100},
        {"fsync": "sometimes"},
        {"fsync_interval_ns": 0},
        {"index_every_bytes": 0},
        {"retention_ns": -1},
    ],
)
def test_options_that_cannot_be_right_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigInvalid):
        LogOptions(**options)  # type: ignore[arg-type]


def test_unknown_topic_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="999"):
        LogWriter(tmp_path, WriterKey(999, 0, 1, 1))


class Interrupting:
    """Stands in for a mapping: a signal handler raises just before or just after the bytes are stored."""

    def __init__(self, memory: Any, after: bool) -> None:
        self.memory, self.after, self.armed = memory, after, True

    def __getitem__(self, place: Any) -> Any:
        return self.memory[place]

    def __setitem__(self, place: Any, value: Any) -> None:
        if self.after or not self.armed:
            self.memory[place] = value
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt


@pytest.mark.parametrize("attribute", ["_memory", "_words"])
@pytest.mark.parametrize("after", [False, True])
def test_interrupted_append_leaves_the_writer_in_step_with_the_file(
    tmp_path: Path, attribute: str, after: bool
) -> None:
    writer = LogWriter(tmp_path, KEY, SMALL)
    expected = append_all(writer, [b"one"])
    real = getattr(writer, attribute)
    setattr(writer, attribute, Interrupting(real, after))
    with pytest.raises(KeyboardInterrupt):
        writer.append(b"interrupted" * 10, 4, 3, 40)
    setattr(writer, attribute, real)
    if attribute == "_words" and after:
        expected.append(LogRecord(4, 3, 40, memoryview(b"interrupted" * 10)))
    assert writer.last_row == expected[-1].row_last
    reader = LogReader(tmp_path, KEY)
    assert read_all(reader) == expected
    next_records = append_all(writer, [b"next", b"and one more"])
    assert read_all(reader) == next_records
