"""A shipper killed again and again, at any point, between a log that grows and a remote that stays: no hole."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from schemas.errors import ResourceExhausted
from streams.api import WriterKey
from streams.log import LogOptions, LogWriter, verify
from streams.shipper import Shipper, ShipperOptions
from tests.integration.killed import run_and_kill
from tests.reference.mirrors import FileMirror, read_landed

KEYS = [WriterKey(1, 0, 31_744, 1), WriterKey(2, 0, 64, 1), WriterKey(2, 0, 65, 1), WriterKey(11, 3, 64, 1)]
FILES = ("streams/shipper.py", "streams/log_reader.py", "streams/log_retention.py", "tests/reference/mirrors.py")
LOG = LogOptions(segment_bytes=8192, fsync="none", retention_bytes=20_000)
KILLS = 60
Rows = dict[WriterKey, list[tuple[int, int, bytes]]]


def ship(root: Path, remote: Path) -> None:
    """Ship what is there, and end."""
    shipper = Shipper(
        root, FileMirror(remote), ShipperOptions(idle_first_s=0.0, idle_max_s=0.0, transaction_interval_ns=1)
    )
    shipper.stop()
    assert shipper.run()


def write(writers: dict[WriterKey, LogWriter], written: Rows, rng: random.Random) -> None:
    for key, writer in writers.items():
        for _ in range(rng.randint(0, 12)):
            frame, rows = rng.randbytes(rng.randint(1, 400)), rng.randint(1, 4)
            written[key].append((writer.last_row + 1, rows, frame))
            writer.append(frame, writer.last_row + 1, rows, 0)


def filtered(remote: Path, key: WriterKey) -> list[tuple[int, int, bytes]]:
    """What a reader takes: repeats dropped by row number. A hole is an error."""
    taken, last = [], 0
    for record in read_landed(remote / f"{key.topic}-{key.partition}")[0]:
        if record.key == key and record.row_last > last:
            assert record.row_first == last + 1, f"a hole before row {record.row_first} of {key}"
            taken.append((record.row_first, record.row_count, record.frame))
            last = record.row_last
    return taken


def test_shipper_killed_at_any_bytecode_leaves_no_hole(tmp_path: Path) -> None:
    rng = random.Random(3)
    root, remote = tmp_path / "log", tmp_path / "remote"
    written: Rows = {key: [] for key in KEYS}
    writers = {key: LogWriter(root, key, LOG) for key in KEYS}
    write(writers, written, rng)
    ship(root, remote)  # from here on retention knows what is not shipped
    killed = 0
    for _ in range(KILLS):
        write(writers, written, rng)
        killed += run_and_kill(lambda: ship(root, remote), rng.randint(1, 9000), FILES)
    assert killed >= 30
    ship(root, remote)
    for key in KEYS:
        assert filtered(remote, key) == written[key]
    assert verify(root).problem is None


def test_two_shippers_of_one_log_cannot_run(tmp_path: Path) -> None:
    first = Shipper(tmp_path, FileMirror(tmp_path / "remote"))

    def second() -> None:
        with pytest.raises(ResourceExhausted, match="in use by process"):
            Shipper(tmp_path, FileMirror(tmp_path / "remote"))

    assert not run_and_kill(second, -1, ())
    first.close()
