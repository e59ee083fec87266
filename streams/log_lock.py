"""One process at a time: an advisory lock on a file, which the kernel drops when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from schemas.errors import ResourceExhausted


class ProcessLock:
    """Held from construction to `close`.

    Raises:
        ResourceExhausted: another process holds it (it is named), or the file may not be written.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._file = _open_lock(path)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise ResourceExhausted(
                f"{what} is in use by process {holder}. Usually the same service is already running: stop it"
                f" (`kill {holder}`), or use another session."
            ) from error
        # The pid only informs; the kernel's lock decides. The file stays: removing it would let two hold "it".
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _open_lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ResourceExhausted(
            f"{path} cannot be written: {error.strerror}. Usually the data directory belongs to another user, is"
            " mounted read-only, or is full: check it, or choose another one with SHRIVEN_DATA."
        ) from error
