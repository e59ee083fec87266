"""What the fsync policy asks for: none, every interval from a thread of its own, or after every append."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import Protocol

from schemas.errors import ResourceExhausted
from streams.log_segment import Segment


class Progress(Protocol):
    """What the thread needs to know of a writer."""

    @property
    def segment(self) -> Segment: ...

    @property
    def position(self) -> int: ...

    def halt(self) -> None: ...


class IntervalSync:
    """Syncs a writer's segments every interval, off its path.

    A segment that the writer has left is handed over (`retire`): synced and closed here, so that rotation
    does not wait for the disk. When the disk refuses, syncing stops for good: after a failed fsync the kernel
    may have dropped the pages, and a second one that succeeds would lie.
    """

    def __init__(self, writer: Progress, interval_ns: int) -> None:
        self._writer = writer
        self._interval_s = interval_ns / 1e9
        self._retired: deque[Segment] = deque()
        self._synced: tuple[Segment, int] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-sync", daemon=True)
        self.failure: OSError | None = None
        self._thread.start()

    def retire(self, segment: Segment) -> None:
        self._retired.append(segment)

    def close(self) -> None:
        """Stop the thread; retired segments are closed, the current one is the writer's."""
        self._stop.set()
        self._thread.join()
        self._sync()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s) and self.failure is None:
            self._sync()

    def _sync(self) -> None:
        try:
            while self._retired:
                self._retired[0].sync()
                self._retired.popleft().close()
            # Read the position first: what is appended after it will be synced the next time.
            state = (self._writer.segment, self._writer.position)
            if state != self._synced:
                state[0].sync()
                self._synced = state
        except OSError as error:
            self.failure = error
            self._writer.halt()


def sync_refused(error: OSError, path: object) -> ResourceExhausted:
    return ResourceExhausted(
        f"The disk refused to make {path} durable: {os.strerror(error.errno or 0)}. Rows appended since the last sync"
        " may not survive a power loss. Usually the disk is failing: check it, then start again."
    )
