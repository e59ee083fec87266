"""Bytes that are not what was written are found and named; what a crash leaves is put right; nothing else is touched.

The log that this project replaces lost data without a word: its record count was written on a clean close only, one
bad checksum ended the whole read, and a torn tail stayed. Each of these is a test here.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from schemas.errors import IntegrityError
from streams.api import WriterKey
from streams.log import (
    CorruptRecord,
    LogOptions,
    LogReader,
    LogRecord,
    LogWriter,
    VerifyReport,
    key_dir,
    repair_tail,
    verify,
)
from streams.log_format import HEADER_BYTES, RECORD_BYTES, segment_path, segment_rows

KEY = WriterKey(2, 0, 64, 1)
OPTIONS = LogOptions(segment_bytes=8192, fsync="none", index_every_bytes=1024)
ROWS_EACH = 2


def write_log(root: Path, count: int, seed: int = 3, options: LogOptions = OPTIONS) -> list[LogRecord]:
    rng = random.Random(seed)
    writer = LogWriter(root, KEY, options)
    expected = []
    for _ in range(count):
        frame = rng.randbytes(rng.randint(1, 300))
        row = writer.last_row + 1
        writer.append(frame, row, ROWS_EACH, row)
        expected.append(LogRecord(row, ROWS_EACH, row, memoryview(frame)))
    writer.close()
    return expected


def read_all(reader: LogReader) -> list[LogRecord]:
    taken = []
    while records := reader.poll():
        taken += records
    return taken


def segments(root: Path) -> list[Path]:
    directory = key_dir(root, KEY)
    return [segment_path(directory, row) for row in segment_rows(directory)]


def place_of(expected: list[LogRecord], segment: Path, index: int) -> tuple[int, int]:
    """Begin and end byte of record `index`, which stands in `segment`."""
    first = int(segment.stem)
    at = HEADER_BYTES
    for record in expected:
        size = RECORD_BYTES + (-len(record.frame) & 7) + len(record.frame)
        if record is expected[index]:
            return at, at + size
        at += size if record.row_first >= first else 0
    raise AssertionError("no such record")


def change(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def flip(path: Path, at: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        [value] = file.read(1)
        file.seek(at)
        file.write(bytes([value ^ (1 << bit)]))


def flips() -> list[tuple[float, int]]:
    rng = random.Random(2024)
    return [(rng.random(), rng.randrange(8)) for _ in range(120)]


@pytest.mark.parametrize(("share", "bit"), flips())
def test_flipped_bit_anywhere_is_detected(tmp_path: Path, share: float, bit: int) -> None:
    """Any byte of any segment: headers, commit words, heads, padding, frames, seals, and the empty rest."""
    expected = write_log(tmp_path, 130)
    files = segments(tmp_path)
    assert len(files) == 3
    position = int(share * len(files) * 8192)
    path, at = files[position // 8192], position % 8192
    flip(path, at, bit)
    report = verify(tmp_path)
    [writer] = report.writers
    assert writer.damage or writer.notes, f"{path.name} byte {at} bit {bit}"
    named = str(writer.problem) if writer.problem else writer.notes[0]
    assert str(path) in named
    if writer.problem is None:
        assert f"byte {at}:" in named  # nothing is lost; the byte itself is named
        assert read_all(LogReader(tmp_path, KEY)) == expected
        return
    assert writer.problem.byte_at <= at
    with pytest.raises(IntegrityError) as caught:
        read_all(LogReader(tmp_path, KEY))
    assert str(path) in str(caught.value)
    if at < HEADER_BYTES:
        return
    reader = LogReader(tmp_path, KEY, skip_corrupt=True)
    survivors = read_all(reader)
    assert len(reader.lost) == 1
    lost = {record.row_first for record in expected} - {record.row_first for record in survivors}
    assert [record for record in expected if record.row_first not in lost] == survivors
    assert len(lost) <= 1
    assert all(reader.lost[0].row_first == row for row in lost)


def test_every_single_bit_of_a_record_is_covered(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 3)
    [path] = segments(tmp_path)
    begin, end = place_of(expected, path, 1)
    assert (end - begin) > len(expected[1].frame) + RECORD_BYTES  # there is padding among the bytes
    original = path.read_bytes()
    for at in range(begin, end):
        for bit in range(8):
            flip(path, at, bit)
            damage = verify(tmp_path).problem
            assert damage is not None
            assert (damage.path, damage.byte_at, damage.byte_next) == (path, begin, end)
            assert (damage.row_first, damage.row_next, damage.rows_lost) == (3, 5, 2)
            change(path, at, original[at : at + 1])
    assert verify(tmp_path).problem is None


def test_damage_in_the_middle_is_named_and_skipped_only_when_asked(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 100)
    path = segments(tmp_path)[1]
    index = next(i for i, record in enumerate(expected) if record.row_first == int(path.stem)) + 5
    begin, end = place_of(expected, path, index)
    flip(path, end - 1)
    reader = LogReader(tmp_path, KEY)
    taken: list[LogRecord] = []
    with pytest.raises(CorruptRecord) as caught:
        taken += read_all(reader)
    damage = caught.value.damage
    row = expected[index].row_first
    assert (damage.path, damage.byte_at, damage.byte_next) == (path, begin, end)
    assert (damage.row_first, damage.row_next) == (row, row + ROWS_EACH)
    assert f"{path}, byte {begin}: the checksum of the record" in str(caught.value)
    assert f"rows {row} to {row + 1}" in str(caught.value)
    with pytest.raises(CorruptRecord):  # it does not go away by asking again
        reader.poll()
    patient = LogReader(tmp_path, KEY, skip_corrupt=True)
    assert read_all(patient) == expected[:index] + expected[index + 1 :]
    assert patient.lost == [damage]


def test_all_records_before_damage_are_delivered_first(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 20)
    [path] = segments(tmp_path)
    flip(path, place_of(expected, path, 15)[0] + 20)
    reader = LogReader(tmp_path, KEY)
    assert reader.poll() == expected[:15]
    with pytest.raises(CorruptRecord):
        reader.poll()


def test_seek_goes_over_damage_but_not_into_it(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 30)
    [path] = segments(tmp_path)
    begin, _ = place_of(expected, path, 10)
    flip(path, begin + 29, 3)  # the frame's size: hopping over headers goes astray here
    reader = LogReader(tmp_path, KEY, options=OPTIONS)
    reader.seek_row(expected[20].row_first)
    assert read_all(reader) == expected[20:]
    for index in (12, 10):
        reader.seek_row(expected[index].row_first)
        if index == 10:
            with pytest.raises(CorruptRecord, match=f"byte {begin}:"):
                reader.poll()
        else:
            assert read_all(reader) == expected[index:]
    assert reader.last_row == 60
    reader.seek_time(expected[25].ts_ns)
    assert read_all(reader) == expected[25:]


def test_several_damaged_places_are_all_reported(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 100)
    files = segments(tmp_path)
    hit = []
    for path in files[:3]:
        first = next(i for i, record in enumerate(expected) if record.row_first == int(path.stem))
        for index in (first, first + 2, first + 3):
            flip(path, place_of(expected, path, index)[0] + 40)
            hit.append(index)
    report = verify(tmp_path)
    lost = [row for damage in report.writers[0].damage for row in range(damage.row_first, damage.row_next or 0)]
    assert lost == [row for index in hit for row in (expected[index].row_first, expected[index].row_last)]
    assert report.rows == 200 - len(lost)
    patient = LogReader(tmp_path, KEY, skip_corrupt=True)
    assert read_all(patient) == [record for index, record in enumerate(expected) if index not in hit]
    assert patient.lost == report.writers[0].damage


def test_last_record_of_a_closed_segment_may_be_lost_without_the_next_segment(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 60)
    path, following = segments(tmp_path)[:2]
    index = next(i for i, record in enumerate(expected) if record.row_first == int(following.stem)) - 1
    flip(path, place_of(expected, path, index)[1] - 2)
    patient = LogReader(tmp_path, KEY, skip_corrupt=True)
    assert read_all(patient) == expected[:index] + expected[index + 1 :]
    assert [(damage.row_first, damage.row_next) for damage in patient.lost] == [
        (expected[index].row_first, expected[index + 1].row_first)
    ]


def test_missing_segment_in_the_middle_is_found(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 100)
    first, gone, after = segments(tmp_path)[:3]
    gone.unlink()
    [damage] = verify(tmp_path).writers[0].damage
    assert (damage.row_first, damage.row_next) == (int(gone.stem), int(after.stem))
    with pytest.raises(IntegrityError, match="not there"):
        read_all(LogReader(tmp_path, KEY))
    patient = LogReader(tmp_path, KEY, skip_corrupt=True)
    assert read_all(patient) == [
        record for record in expected if not int(gone.stem) <= record.row_first < int(after.stem)
    ]
    assert int(first.stem) == 1


def test_segment_under_another_name_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path, 5)
    [path] = segments(tmp_path)
    path.rename(segment_path(path.parent, 77))
    with pytest.raises(IntegrityError, match="copied or renamed"):
        LogReader(tmp_path, KEY)
    with pytest.raises(IntegrityError, match="copied or renamed"):
        LogWriter(tmp_path, KEY)


def test_segment_of_another_writer_is_refused(tmp_path: Path) -> None:
    write_log(tmp_path, 5)
    [path] = segments(tmp_path)
    other = KEY._replace(writer=65)
    key_dir(tmp_path, other).mkdir()
    os.link(path, segment_path(key_dir(tmp_path, other), 1))
    with pytest.raises(IntegrityError, match="copied or renamed"):
        LogReader(tmp_path, other)


def test_rows_that_repeat_with_valid_checksums_are_damage(tmp_path: Path) -> None:
    """A block written twice, as by a disk that confuses addresses."""
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    for row in range(1, 11):
        writer.append(bytes(100), row, 1, 0)
    writer.close()
    [path] = segments(tmp_path)
    data = path.read_bytes()
    size = RECORD_BYTES + 104
    third = HEADER_BYTES + 2 * size
    change(path, third + size, data[third : third + size])  # row 3 again, where row 4 was
    damage = verify(tmp_path).problem
    assert damage is not None
    assert (damage.byte_at, damage.row_first, damage.row_next) == (third + size, 4, 5)
    assert "rows 3 to 3 where row 4 is due" in str(damage)


def test_zeroed_commit_word_is_found_by_verify(tmp_path: Path) -> None:
    """Eight bytes of zeros look like the end to a reader; a full scan sees what stands behind."""
    expected = write_log(tmp_path, 20)
    [path] = segments(tmp_path)
    begin, _ = place_of(expected, path, 7)
    change(path, begin, bytes(8))
    damage = verify(tmp_path).problem
    assert damage is not None
    assert (damage.byte_at, damage.row_first, damage.row_next) == (begin, 15, 17)


def test_lost_seal_is_not_taken_for_the_end(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 60)
    path, following = segments(tmp_path)[:2]
    index = next(i for i, record in enumerate(expected) if record.row_first == int(following.stem)) - 1
    change(path, place_of(expected, path, index)[1], bytes(8))
    reader = LogReader(tmp_path, KEY)
    taken: list[LogRecord] = []
    while not reader.at_end():
        taken += reader.poll()
    assert taken == expected
    assert verify(tmp_path).problem is None


def test_rows_missing_before_a_later_segment_are_not_taken_for_the_end(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 60)
    path = segments(tmp_path)[0]
    begin, _ = place_of(expected, path, 4)
    change(path, begin, bytes(8192 - begin))  # the rest of a closed segment is gone
    reader = LogReader(tmp_path, KEY)
    assert read_all(reader) == expected[:4]
    with pytest.raises(CorruptRecord, match="nothing is written here, though rows should follow"):
        reader.at_end()
    assert verify(tmp_path).problem is not None


@pytest.mark.parametrize("keep_open", [False, True])
def test_crash_before_the_commit_word_loses_only_that_record(tmp_path: Path, keep_open: bool) -> None:
    """The record's bytes are there, its commit word is not: what a kill in the middle of an append leaves."""
    expected = write_log(tmp_path, 20)
    [path] = segments(tmp_path)
    begin, _ = place_of(expected, path, 19)
    reader = LogReader(tmp_path, KEY) if keep_open else None
    change(path, begin, bytes(8))
    assert read_all(reader or LogReader(tmp_path, KEY)) == expected[:19]
    [note] = verify(tmp_path).writers[0].notes or [""]
    assert verify(tmp_path).writers[0].damage or "cut short" in note
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    assert writer.last_row == 38
    assert len(writer.recovered.repairs) == 1
    writer.append(b"x", 39, 1, 0)  # shorter than what stood there: nothing of it may show
    reader = LogReader(tmp_path, KEY)
    assert read_all(reader) == [*expected[:19], LogRecord(39, 1, 0, memoryview(b"x"))]
    writer.append(b"y", 40, 1, 0)
    assert read_all(reader) == [LogRecord(40, 1, 0, memoryview(b"y"))]
    report = verify(tmp_path)
    assert (report.problem, report.writers[0].notes) == (None, [])


@pytest.mark.parametrize("partial", [1, 7, 8, 9, 24, 31, 32, 33, 200, 5000])
def test_half_an_append_is_erased_when_the_log_is_opened(tmp_path: Path, partial: int) -> None:
    expected = write_log(tmp_path, 5)
    [path] = segments(tmp_path)
    end = place_of(expected, path, 4)[1]
    rest = min(partial, 8192 - end - 8)
    change(path, end + 8, random.Random(partial).randbytes(rest))  # everything but the commit word
    assert read_all(LogReader(tmp_path, KEY)) == expected
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    assert "what a crash left of row 11 was erased" in writer.recovered.repairs[0]
    assert path.read_bytes()[end:] == bytes(8192 - end)
    assert writer.last_row == 10
    writer.close()
    assert LogWriter(tmp_path, KEY, OPTIONS).recovered.repairs == []


@pytest.mark.parametrize("cut_at", [8191, 6000, 4096, 3000, 1000, 200])
def test_cut_file_is_reported_to_readers_and_repaired_by_a_writer(tmp_path: Path, cut_at: int) -> None:
    expected = write_log(tmp_path, 30)
    [path] = segments(tmp_path)
    os.truncate(path, cut_at)
    whole = [r for i, r in enumerate(expected) if place_of(expected, path, i)[1] <= (cut_at & ~7) - 32]
    reader = LogReader(tmp_path, KEY)
    if whole:
        assert reader.poll() == whole
    with pytest.raises(CorruptRecord):
        reader.poll()
    assert verify(tmp_path).problem is not None
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    kept = writer.last_row // ROWS_EACH
    assert kept in (len(whole), len(whole) + 1)  # the one that ends in the room of the seal may be whole
    assert any("cut" in repair for repair in writer.recovered.repairs)
    assert path.stat().st_size == 8192
    writer.append(b"next", writer.last_row + 1, 1, 0)
    assert read_all(LogReader(tmp_path, KEY))[:kept] == expected[:kept]
    assert verify(tmp_path).problem is None


def test_torn_last_record_after_a_power_loss_is_erased(tmp_path: Path) -> None:
    """The commit word reached the disk, a block of the frame did not: it reads as zeros."""
    writer = LogWriter(tmp_path, KEY, LogOptions(segment_bytes=65536, fsync="none"))
    rng = random.Random(1)
    for row in range(1, 4):
        writer.append(rng.randbytes(12_000), row, 1, 0)
    writer.close()
    [path] = segments(tmp_path)
    begin = HEADER_BYTES + 2 * 12_032
    page = (begin + 8191) & ~4095
    change(path, page, bytes(4096))
    with pytest.raises(CorruptRecord):
        read_all(LogReader(tmp_path, KEY))
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    assert writer.last_row == 2
    assert "row 3 was erased" in writer.recovered.repairs[0]
    assert verify(tmp_path).problem is None


def test_rows_behind_a_hole_after_a_power_loss_are_given_up_and_said(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 20)
    [path] = segments(tmp_path)
    begin, end = place_of(expected, path, 12)
    change(path, begin, bytes(end - begin))
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    assert writer.last_row == 24
    assert "rows from 27 on that stood behind a hole" in writer.recovered.repairs[0]


def test_changed_last_record_is_not_overwritten_without_an_order(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 20)
    [path] = segments(tmp_path)
    begin, end = place_of(expected, path, 19)
    flip(path, end - 3)
    before = path.read_bytes()
    with pytest.raises(IntegrityError, match="ends in damage that no crash explains") as caught:
        LogWriter(tmp_path, KEY, OPTIONS)
    assert f"{path}, byte {begin}" in str(caught.value)
    assert path.read_bytes() == before
    repaired = repair_tail(tmp_path, KEY)
    assert repaired.row_next == 39
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    assert writer.last_row == 38
    writer.append(b"new", 39, 1, 0)
    assert read_all(LogReader(tmp_path, KEY)) == [*expected[:19], LogRecord(39, 1, 0, memoryview(b"new"))]


def test_writer_goes_on_behind_damage_in_the_middle_and_leaves_it_for_readers(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 20)
    [path] = segments(tmp_path)
    flip(path, place_of(expected, path, 8)[1] - 1)
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    assert [(damage.row_first, damage.row_next) for damage in writer.recovered.damage] == [(17, 19)]
    writer.append(b"new", 41, 1, 0)
    with pytest.raises(CorruptRecord):
        read_all(LogReader(tmp_path, KEY))
    patient = LogReader(tmp_path, KEY, skip_corrupt=True)
    assert read_all(patient) == [*expected[:8], *expected[9:], LogRecord(41, 1, 0, memoryview(b"new"))]


def test_patient_reader_at_a_damaged_end_takes_what_comes_later(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 20)
    [path] = segments(tmp_path)
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    flip(path, place_of(expected, path, 19)[1] - 1)
    patient = LogReader(tmp_path, KEY, skip_corrupt=True)
    assert read_all(patient) == expected[:19]
    assert patient.poll() == []
    assert [(damage.row_first, damage.row_next) for damage in patient.lost] == [(39, None)]
    writer.append(b"later", 41, 1, 0)
    assert read_all(patient) == [LogRecord(41, 1, 0, memoryview(b"later"))]
    assert [(damage.row_first, damage.row_next) for damage in patient.lost] == [(39, 41)]


def test_crash_before_the_seal_is_put_right(tmp_path: Path) -> None:
    """The next segment exists, the one before has no seal yet: what a kill in the middle of a rotation leaves."""
    expected = write_log(tmp_path, 60)
    path, following, *_ = segments(tmp_path)
    for later in segments(tmp_path)[2:]:
        later.unlink()
    index = next(i for i, record in enumerate(expected) if record.row_first == int(following.stem))
    end = place_of(expected, path, index - 1)[1]
    change(path, end, bytes(8))
    change(following, HEADER_BYTES, bytes(8192 - HEADER_BYTES))
    waiting = LogReader(tmp_path, KEY)
    assert read_all(waiting) == expected[:index]
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    assert "seal" in writer.recovered.repairs[0]
    row = writer.last_row + 1
    assert row == int(following.stem)
    writer.append(b"new", row, 1, 0)
    assert read_all(waiting) == [LogRecord(row, 1, 0, memoryview(b"new"))]


def test_leftovers_of_creating_a_segment_are_removed(tmp_path: Path) -> None:
    expected = write_log(tmp_path, 5)
    directory = key_dir(tmp_path, KEY)
    (directory / "00000000000000000011.new").write_bytes(b"half a header")
    blank = segment_path(directory, 11)
    blank.write_bytes(bytes(8192))
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    assert writer.last_row == 10
    assert "never reached the disk" in writer.recovered.repairs[0]
    assert not blank.exists()
    assert not list(directory.glob("*.new"))
    writer.append(b"new", 11, 1, 0)
    assert read_all(LogReader(tmp_path, KEY)) == [*expected, LogRecord(11, 1, 0, memoryview(b"new"))]


def test_damaged_header_over_data_is_never_removed(tmp_path: Path) -> None:
    write_log(tmp_path, 5)
    [path] = segments(tmp_path)
    change(path, 0, bytes(HEADER_BYTES))
    with pytest.raises(IntegrityError, match="header is damaged"):
        LogWriter(tmp_path, KEY, OPTIONS)
    assert path.exists()
    report: VerifyReport = verify(tmp_path)
    assert report.problem is not None
    assert "header is damaged" in report.problem.reason


def test_unknown_format_version_is_refused(tmp_path: Path) -> None:
    from streams import log_format

    write_log(tmp_path, 5)
    [path] = segments(tmp_path)
    header = log_format.unpack_header(path.read_bytes(), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_format, "VERSION", 2)
        change(path, 0, log_format.pack_header(header))
    with pytest.raises(IntegrityError, match="version 2; this program reads version 1"):
        LogReader(tmp_path, KEY)
