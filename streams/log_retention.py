"""What is kept of the local log: whole closed segments go, oldest first, by size and by age.

Readers are not disturbed: a file that is removed stays mapped until its last reader lets go. A reader that had
not opened it yet is told which rows it missed.
"""

from __future__ import annotations

import contextlib
import os
from itertools import pairwise
from pathlib import Path
from typing import Final

from schemas.errors import IntegrityError
from streams.api import WriterKey
from streams.log_format import INDEX_SUFFIX, NEW_SUFFIX, LogOptions, key_dir, segment_path, segment_rows, writer_keys
from streams.log_segment import read_header

_HOLD_NAME: Final = "shipped"


def remove_expired(directory: Path, options: LogOptions, now_ns: int) -> list[Path]:
    """Apply retention to one writer's directory; returns the segments that were removed.

    A segment is as old as its closing (the creation of its successor), so imported old rows are not lost at once.
    """
    rows = segment_rows(directory)
    total_bytes = sum(_size(segment_path(directory, row)) for row in rows)
    held = read_hold(directory)
    removed = []
    for row, row_next in pairwise(rows):
        path = segment_path(directory, row)
        too_large = 0 < options.retention_bytes < total_bytes
        if not too_large and not _too_old(segment_path(directory, row_next), options.retention_ns, now_ns):
            break
        if held is not None and row_next - 1 > held:
            break  # not shipped yet: an outage of the broker must lose nothing
        total_bytes -= _size(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
            removed.append(path)
        path.with_suffix(INDEX_SUFFIX).unlink(missing_ok=True)
    return removed


def retain(root: Path, options: LogOptions, now_ns: int) -> list[Path]:
    """Apply retention to every writer below `root`, running or not."""
    return [path for key in writer_keys(root) for path in remove_expired(key_dir(root, key), options, now_ns)]


def write_hold(root: Path, key: WriterKey, row: int) -> None:
    """From now on keep what lies behind `row`: it has not been shipped yet."""
    path = key_dir(root, key) / _HOLD_NAME
    new = path.with_suffix(NEW_SUFFIX)
    with contextlib.suppress(OSError):  # a full disk: the older hold keeps more, which is safe
        new.write_text(f"{row}\n")
        os.rename(new, path)


def read_hold(directory: Path) -> int | None:
    """The last row that was shipped; None when nobody ships this log."""
    try:
        text = (directory / _HOLD_NAME).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else 0


def _too_old(successor: Path, retention_ns: int, now_ns: int) -> bool:
    if not retention_ns:
        return False
    try:
        return now_ns - read_header(successor).created_ns > retention_ns
    except (IntegrityError, FileNotFoundError):
        return False  # damage is for readers and `verify` to report; here it only means: keep


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
