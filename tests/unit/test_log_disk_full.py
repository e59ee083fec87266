"""A disk that is full, limited, failing or read-only: a clear sentence, an intact log, and appending works again."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ResourceExhausted
from streams import log_segment
from streams.api import WriterKey
from streams.log import LogOptions, LogReader, LogWriter, key_dir, verify
from streams.log_format import segment_rows

KEY = WriterKey(2, 0, 64, 1)
OPTIONS = LogOptions(segment_bytes=8192, fsync="none")
ROOT = Path(__file__).resolve().parents[2]


def rows_read(root: Path) -> list[int]:
    reader = LogReader(root, KEY)
    taken: list[int] = []
    while records := reader.poll():
        taken += [record.row_first for record in records]
    return taken


def append_until_full(writer: LogWriter, count: int = 1000) -> ResourceExhausted:
    try:
        for _ in range(count):
            writer.append(bytes(500), writer.last_row + 1, 1, 0)
    except ResourceExhausted as error:
        return error
    pytest.fail("the disk never became full")


class FullDisk:
    """A disk with room for so many more segments."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int, code: int = errno.ENOSPC) -> None:
        self.room, self.code, self.real = room, code, log_segment.allocate
        monkeypatch.setattr(log_segment, "allocate", self.allocate)

    def allocate(self, file: int, size_bytes: int) -> None:
        if self.room < 1:
            raise OSError(self.code, os.strerror(self.code))
        self.room -= 1
        self.real(file, size_bytes)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_full_disk_is_explained_and_appending_works_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    disk = FullDisk(monkeypatch, room=2, code=code)
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    error = append_until_full(writer)
    assert "No room for a log segment" in str(error)
    assert "the log is intact" in str(error)
    last = writer.last_row
    assert rows_read(tmp_path) == list(range(1, last + 1))
    assert verify(tmp_path).problem is None
    assert not list(key_dir(tmp_path, KEY).glob("*.new"))
    append_until_full(writer, count=1)  # still full
    assert writer.last_row == last
    disk.room = 1
    writer.append(b"again", last + 1, 1, 0)
    assert rows_read(tmp_path) == list(range(1, last + 2))


def test_full_disk_at_the_first_segment_leaves_the_sequence_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch, room=0)
    with pytest.raises(ResourceExhausted, match="No room"):
        LogWriter(tmp_path, KEY, OPTIONS)
    disk.room = 1
    LogWriter(tmp_path, KEY, OPTIONS).append(b"x", 1, 1, 0)
    assert rows_read(tmp_path) == [1]


def test_nearly_full_disk_gets_a_smaller_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = log_segment.allocate

    def little_room(file: int, size_bytes: int) -> None:
        if size_bytes > 2 << 20:
            raise OSError(errno.ENOSPC, "no")
        real(file, size_bytes)

    monkeypatch.setattr(log_segment, "allocate", little_room)
    writer = LogWriter(tmp_path, KEY, LogOptions(fsync="none"))
    for row in range(1, 40):
        writer.append(bytes(200_000), row, 1, 0)
    assert rows_read(tmp_path) == list(range(1, 40))


def test_record_that_needs_room_while_the_disk_is_full_does_not_block_smaller_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch, room=1)
    writer = LogWriter(tmp_path, KEY, OPTIONS)
    writer.append(bytes(100), 1, 1, 0)
    with pytest.raises(ResourceExhausted):
        writer.append(bytes(50_000), 2, 1, 0)
    writer.append(bytes(100), 2, 1, 0)
    assert rows_read(tmp_path) == [1, 2]


def test_file_size_limit_of_the_kernel_is_explained(tmp_path: Path) -> None:
    """RLIMIT_FSIZE, for real, in a process of its own."""
    script = f"""
import resource, sys
from pathlib import Path
from schemas.errors import ResourceExhausted
from streams.api import WriterKey
from streams.log import LogOptions, LogWriter
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
writer = LogWriter(Path({str(tmp_path)!r}), WriterKey(*{tuple(KEY)}), LogOptions(fsync="interval"))
resource.setrlimit(resource.RLIMIT_FSIZE, (6000, hard))  # as if the file system had no room behind this byte
row = 0
try:
    while True:
        writer.append(bytes(5000), row + 1, 1, 0)
        row += 1
except ResourceExhausted as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    writer.append(bytes(5000), row + 1, 1, 0)
    print(row + 1, error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    last, _, sentence = done.stdout.partition(" ")
    assert "No room for a log segment" in sentence
    assert rows_read(tmp_path) == list(range(1, int(last) + 1))


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mount") is None, reason="needs root, and `mount` on PATH")
def test_really_full_disk(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(small)], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        ballast = small / "ballast"
        ballast.write_bytes(bytes(1_900_000))
        writer = LogWriter(small, KEY, LogOptions(fsync="interval"))
        error = append_until_full(writer, 10_000)
        assert "bytes are free" in str(error)
        last = writer.last_row
        assert rows_read(small) == list(range(1, last + 1))
        ballast.unlink()
        for row in range(last + 1, last + 1000):
            writer.append(bytes(500), row, 1, 0)
        writer.close()
        assert rows_read(small) == list(range(1, last + 1000))
        assert verify(small).problem is None
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_read_only_directory_is_explained(tmp_path: Path) -> None:
    """Permissions do not stop root: a child process gives its rights up first."""
    locked = tmp_path / "locked"
    locked.mkdir()
    for path in (locked, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != locked and "pytest" in path.name:
            path.chmod(0o755)
    tmp_path.chmod(0o755)
    locked.chmod(0o555)
    script = f"""
import os, sys
sys.dont_write_bytecode = True
from pathlib import Path
from schemas.errors import ResourceExhausted
from streams.api import WriterKey
from streams.log import LogOptions, LogReader, LogWriter
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    LogWriter(Path({str(locked)!r}), WriterKey(*{tuple(KEY)}), LogOptions())
except ResourceExhausted as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "cannot be written: Permission denied" in done.stdout
    assert "read-only" in done.stdout


@pytest.mark.parametrize("fsync", ["every-append", "interval"])
def test_disk_that_refuses_to_sync_ends_the_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str) -> None:
    """After a failed sync nothing more may be promised: a later one can succeed and mean nothing."""
    options = LogOptions(fsync=fsync, fsync_interval_ns=1_000_000)  # type: ignore[arg-type]
    writer = LogWriter(tmp_path, KEY, options)
    writer.append(b"fine", 1, 1, 0)

    def refuse(file: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        assert "refused to make" in str(append_until_full(writer, 5_000_000))
    row = writer.last_row + 1
    with pytest.raises(ResourceExhausted, match="refused to make"):
        writer.append(b"nor this", row, 1, 0)
    with pytest.raises(ResourceExhausted, match="refused to make"):
        writer.close()
    assert segment_rows(key_dir(tmp_path, KEY))[0] == 1
    LogWriter(tmp_path, KEY, options).close()  # the lock is free again
