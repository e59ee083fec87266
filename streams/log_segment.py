"""One segment: a preallocated file, mapped into memory.

Files are allocated with `posix_fallocate`, because a store into a hole of a full disk is SIGBUS, not an error;
and they never shrink, because a load behind the end of a file is SIGBUS for every reader.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

from schemas.errors import IntegrityError, ResourceExhausted
from streams.api import WriterKey
from streams.log_format import (
    HEADER_BYTES,
    NEW_SUFFIX,
    SEAL_BYTES,
    SegmentHeader,
    pack_header,
    segment_path,
    unpack_header,
)

# A store to a page that is not in memory costs a fault, an allocation and a zeroing: 9.5 µs for the three pages of a
# 12 KB frame. Writing zeros ahead of the writer by one `pwrite` brings 64 pages at once, in large folios: 3.2 µs in
# all, against 5.3 for a plain `write` of the frame. A sync then writes whole folios, so quiet writers, whose segments
# are small, look less far ahead.
AHEAD_BYTES_MAX: Final = 256 << 10
_AHEAD_SHARE: Final = 16
PAGE_BYTES: Final = 4096
_ZEROS: Final = bytes(AHEAD_BYTES_MAX)


def allocate(file: int, size_bytes: int) -> None:
    """Reserve blocks. A seam: tests put a full disk here."""
    os.posix_fallocate(file, 0, size_bytes)


class Segment:
    """A mapped segment.

    Attributes:
        path, header: see streams/log_format.py.
        memory: the mapping; read-only unless opened as writable.
        view: the same bytes as a memoryview.
        words: the same as u64, for commit words: one load or store each.
        limit: no record ends behind this byte (the seal's room follows).
        cut: the file is shorter than its header says.
    """

    def __init__(self, path: Path, key: WriterKey, *, writable: bool = False) -> None:
        """Map an existing segment.

        Raises:
            FileNotFoundError: there is none.
            IntegrityError: the header is damaged, or belongs to another writer.
            ResourceExhausted: the file may not be read (or written).
        """
        self.path = path
        self.header = read_header(path, key)
        self._file = _open(path, os.O_RDWR if writable else os.O_RDONLY)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, self._file)
            size_bytes = os.fstat(self._file).st_size
            self.cut = size_bytes < self.header.size_bytes
            if writable and self.cut:
                allocate_or_explain(self._file, self.header.size_bytes, path)
                size_bytes = self.header.size_bytes
            usable = min(size_bytes, self.header.size_bytes) & ~7
            if usable < HEADER_BYTES + SEAL_BYTES:
                raise IntegrityError(f"{path}: {size_bytes} bytes are less than the smallest segment. It was cut.")
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self.memory = mmap.mmap(self._file, usable, access=access)
            if writable:
                undo.pop_all()
            else:  # a reader needs no file; the mapping outlives it
                self._file = -1
        if writable:  # reading ahead of a writer would bring megabytes of nothing
            self.memory.madvise(mmap.MADV_RANDOM)
        self.view = memoryview(self.memory)
        self.words = self.view.cast("Q")
        self.limit = usable - SEAL_BYTES

    @property
    def row_first(self) -> int:
        return self.header.row_first

    def write_ahead(self, start: int, needed: int) -> int:
        """Bring zeros into memory from page boundary `start` on, at least up to `needed`; returns how far.

        Raises:
            ResourceExhausted: the file system allocates on writing (copy on write) and is full.
        """
        stop = max(start + min(AHEAD_BYTES_MAX, len(self.view) // _AHEAD_SHARE), needed)
        stop = min(pages(stop), len(self.view))
        while start < stop:
            try:
                start += os.pwrite(self._file, _ZEROS[: stop - start], start)
            except OSError as error:
                explain_full(error, stop - start, self.path)
        return stop

    def sync(self) -> None:
        """Force stored bytes to the disk. On Linux `fdatasync` covers stores through a mapping."""
        os.fdatasync(self._file)

    def close(self) -> None:
        """Drop the mapping, as soon as the last frame that points into it is gone."""
        self.words.release()
        self.view.release()
        with contextlib.suppress(BufferError):  # frames handed out still use it; the last one unmaps
            self.memory.close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def create_segment(directory: Path, header: SegmentHeader, *, durable: bool) -> Path:
    """Allocate a segment under a temporary name, then rename it: nobody sees half a header.

    Raises:
        ResourceExhausted: the disk is full or read-only. Nothing is left behind.
    """
    path = segment_path(directory, header.row_first)
    new = path.with_suffix(NEW_SUFFIX)
    file = _open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        allocate_or_explain(file, header.size_bytes, path)
        os.pwrite(file, pack_header(header), 0)
        if durable:
            os.fsync(file)
        os.rename(new, path)
        if durable:
            sync_directory(directory)
    finally:
        os.close(file)
        with contextlib.suppress(OSError):  # after the renaming there is nothing to remove
            os.unlink(new)
    return path


def allocate_or_explain(file: int, size_bytes: int, path: Path) -> None:
    """Raises: ResourceExhausted: no room, or over a quota or file size limit."""
    try:
        allocate(file, size_bytes)
    except OSError as error:
        explain_full(error, size_bytes, path)


def explain_full(error: OSError, size_bytes: int, path: Path) -> NoReturn:
    """Raises: ResourceExhausted for a disk that is full; else the error itself."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = shutil.disk_usage(path.parent).free
        raise ResourceExhausted(
            f"No room for a log segment of {size_bytes:,} bytes at {path}: {os.strerror(error.errno)}"
            f" ({free:,} bytes are free). Nothing was written and the log is intact. Free some space, raise the limit,"
            " or keep less (retention); appending works again as soon as there is room."
        ) from error
    raise error


def pages(size_bytes: int) -> int:
    """Rounded up to whole pages."""
    return -(-size_bytes // PAGE_BYTES) * PAGE_BYTES


def read_header(path: Path, key: WriterKey | None = None) -> SegmentHeader:
    """Header of a segment, checked; with `key`, also that it is this writer's.

    Raises:
        FileNotFoundError, IntegrityError, ResourceExhausted
    """
    file = _open(path, os.O_RDONLY)
    try:
        header = unpack_header(os.pread(file, HEADER_BYTES, 0), path)
    finally:
        os.close(file)
    if key is not None and (header.key != key or segment_path(path.parent, header.row_first) != path):
        raise IntegrityError(
            f"{path} holds rows from {header.row_first} on of {header.key}, which its name does not say."
            " It was copied or renamed: put it back where it belongs."
        )
    return header


def data_spans(path: Path, start: int, stop: int) -> list[tuple[int, int]]:
    """Spans of start..stop that may hold something else than zeros: the kernel knows what was never touched."""
    spans = []
    file = _open(path, os.O_RDONLY)
    try:
        while start < stop:
            try:
                begin = max(start, os.lseek(file, start, os.SEEK_DATA))
            except OSError as error:
                if error.errno != errno.ENXIO:  # ENXIO: nothing but holes up to the end
                    raise
                break
            end = min(stop, max(begin + 1, os.lseek(file, begin, os.SEEK_HOLE)))
            if begin < end:
                spans.append((begin, end))
            start = end
    finally:
        os.close(file)
    return spans


def first_nonzero(segment: Segment, start: int) -> int | None:
    """Position of the first byte from `start` on that is not zero, up to the end of the file."""
    for at, piece in _nonzero_pieces(segment, start):
        return at + len(piece) - len(piece.lstrip(b"\0"))
    return None


def zero_from(segment: Segment, start: int) -> None:
    """Write zeros from `start` to the end of the file, where it is not zero already."""
    for at, piece in _nonzero_pieces(segment, start):
        segment.memory[at : at + len(piece)] = bytes(len(piece))


def _nonzero_pieces(segment: Segment, start: int) -> Iterator[tuple[int, bytes]]:
    for begin, end in data_spans(segment.path, start, len(segment.view)):
        for at in range(begin, end, len(_ZEROS)):
            piece = bytes(segment.view[at : min(at + len(_ZEROS), end)])
            if piece != _ZEROS[: len(piece)]:
                yield at, piece


def sync_directory(directory: Path) -> None:
    """Make names in a directory durable."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o644)
    except PermissionError as error:
        raise ResourceExhausted(f"{path} may not be opened: {error.strerror}. {_ADVICE}") from error
    except OSError as error:
        if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
            raise ResourceExhausted(f"{path} cannot be opened: {error.strerror}. {_ADVICE}") from error
        raise


_ADVICE = (
    "Usually the data directory belongs to another user, is mounted read-only, or is full: check it, or choose another"
    " one with SHRIVEN_DATA."
)
