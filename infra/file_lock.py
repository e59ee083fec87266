"""One holder at a time, across processes: an exclusive lock on a file.

The kernel drops the lock when its holder ends, however it ends, so a lock is never stale.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import ResourceExhausted
from streams.clock import SYSTEM_CLOCK, Clock

_POLL_S = 0.05


@contextmanager
def exclusive(path: Path, timeout_s: float, what: str, clock: Clock = SYSTEM_CLOCK) -> Iterator[None]:
    """Holds the lock on `path` (made when absent) for the body.

    Args:
        timeout_s: how long another holder is waited for.
        what: what the holder does, for the message ("starting the broker").

    Raises:
        ResourceExhausted: another process held it for that long, or the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ResourceExhausted(
            f"{path.parent} cannot be written ({error.strerror}). It usually belongs to another user or is mounted "
            "read-only: choose another directory or change its owner."
        ) from error
    try:
        _take(descriptor, timeout_s, what, clock)
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int, timeout_s: float, what: str, clock: Clock) -> None:
    deadline_ns = clock.monotonic_ns() + int(timeout_s * 1e9)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if clock.monotonic_ns() >= deadline_ns:
                raise ResourceExhausted(
                    f"Another process has been {what} for {timeout_s:.0f} s. Wait for it, or end it if it hangs."
                ) from None
            clock.sleep(_POLL_S)
