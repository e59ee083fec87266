"""Dump and import: one portable file, checked, and back."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from schemas.errors import InputInvalid, IntegrityError, ResourceExhausted
from streams.api import WriterKey
from streams.log import CorruptRecord, LogOptions, LogReader, LogWriter, dump, import_frames, key_dir, read_dump
from streams.log_format import segment_path, segment_rows

OPTIONS = LogOptions(segment_bytes=8192, fsync="none")
KEYS = [WriterKey(1, 0, 31_744, 1), WriterKey(2, 0, 64, 1), WriterKey(2, 1, 64, 1)]
Records = dict[WriterKey, list[tuple[int, int, int, bytes]]]


def fill(root: Path, count: int = 40) -> Records:
    rng = random.Random(8)
    written: Records = {}
    for key in KEYS:
        writer = LogWriter(root, key, OPTIONS)
        written[key] = []
        for index in range(count):
            record = (writer.last_row + 1, rng.randint(1, 5), 1000 * index, rng.randbytes(rng.randint(1, 900)))
            writer.append(record[3], record[0], record[1], record[2])
            written[key].append(record)
        writer.close()
    return written


def content(root: Path) -> Records:
    found: Records = {}
    for key in KEYS:
        reader = LogReader(root, key)
        found[key] = []
        while records := reader.poll():
            found[key] += [(r.row_first, r.row_count, r.ts_ns, bytes(r.frame)) for r in records]
    return found


def test_dump_and_import_give_the_same_log(tmp_path: Path) -> None:
    written = fill(tmp_path / "a")
    dumped = dump(tmp_path / "a", tmp_path / "log.gz")
    assert (dumped.writers, dumped.records) == (3, 120)
    assert dumped.rows == sum(record[1] for records in written.values() for record in records)
    assert dumped.bytes == sum(len(record[3]) for records in written.values() for record in records)
    imported = import_frames(tmp_path / "log.gz", tmp_path / "b", OPTIONS)
    assert imported == dumped
    assert content(tmp_path / "b") == written
    dump(tmp_path / "b", tmp_path / "again.gz")
    assert (tmp_path / "again.gz").read_bytes() == (tmp_path / "log.gz").read_bytes()


def test_import_leaves_out_what_is_there_and_appends_the_rest(tmp_path: Path) -> None:
    written = fill(tmp_path / "a")
    early = dump(tmp_path / "a", tmp_path / "early.gz", ts_to_ns=25_000)
    assert early.records == 75
    dump(tmp_path / "a", tmp_path / "all.gz")
    assert import_frames(tmp_path / "early.gz", tmp_path / "b", OPTIONS).records == 75
    second = import_frames(tmp_path / "all.gz", tmp_path / "b", OPTIONS)
    assert (second.records, second.repeats) == (45, 75)
    assert content(tmp_path / "b") == written


def test_dump_of_a_span_of_time_and_of_some_writers(tmp_path: Path) -> None:
    written = fill(tmp_path / "a")
    dump(tmp_path / "a", tmp_path / "span.gz", KEYS[1:2], ts_from_ns=9500, ts_to_ns=20_000)
    found = [(key, tuple(record)) for key, record in read_dump(tmp_path / "span.gz")]
    assert found == [(KEYS[1], record) for record in written[KEYS[1]][10:20]]
    import_frames(tmp_path / "span.gz", tmp_path / "b", OPTIONS)  # may begin behind row 1
    assert content(tmp_path / "b")[KEYS[1]] == written[KEYS[1]][10:20]


def test_import_behind_a_gap_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    dump(tmp_path / "a", tmp_path / "early.gz", ts_to_ns=5000)
    dump(tmp_path / "a", tmp_path / "late.gz", ts_from_ns=8000)
    import_frames(tmp_path / "early.gz", tmp_path / "b", OPTIONS)
    with pytest.raises(IntegrityError, match="cannot follow"):
        import_frames(tmp_path / "late.gz", tmp_path / "b", OPTIONS)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.7, 0.999])
def test_cut_dump_is_refused(tmp_path: Path, share: float) -> None:
    fill(tmp_path / "a")
    dump(tmp_path / "a", tmp_path / "log.gz")
    data = (tmp_path / "log.gz").read_bytes()
    (tmp_path / "cut.gz").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputInvalid):
        import_frames(tmp_path / "cut.gz", tmp_path / "b", OPTIONS)


@pytest.mark.parametrize("seed", range(20))
def test_flipped_bit_in_a_dump_is_refused(tmp_path: Path, seed: int) -> None:
    """Below gzip's own checksum too: the container checks each record."""
    fill(tmp_path / "a", 5)
    dump(tmp_path / "a", tmp_path / "log.gz")
    data = bytearray(gzip.decompress((tmp_path / "log.gz").read_bytes()))
    rng = random.Random(seed)
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    (tmp_path / "bad.gz").write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(InputInvalid):
        list(read_dump(tmp_path / "bad.gz"))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no gzip at all")
    (tmp_path / "other.gz").write_bytes(gzip.compress(b"some other file that is long enough"))
    for name in ("text", "other.gz"):
        with pytest.raises(InputInvalid):
            list(read_dump(tmp_path / name))


def test_dump_of_a_damaged_log_stops_or_goes_on_as_asked(tmp_path: Path) -> None:
    fill(tmp_path / "a")
    directory = key_dir(tmp_path / "a", KEYS[1])
    path = segment_path(directory, segment_rows(directory)[0])
    data = bytearray(path.read_bytes())
    data[300] ^= 4
    path.write_bytes(data)
    with pytest.raises(CorruptRecord):
        dump(tmp_path / "a", tmp_path / "log.gz")
    assert not list(tmp_path.glob("log.gz*"))
    assert dump(tmp_path / "a", tmp_path / "log.gz", skip_corrupt=True).records == 119


def test_dump_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    fill(tmp_path / "a", 1)
    with pytest.raises(ResourceExhausted, match="cannot be written"):
        dump(tmp_path / "a", tmp_path / "nowhere" / "log.gz")
