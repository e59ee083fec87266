"""Ends the process when a call into a client library hangs.

A call that never returns cannot be interrupted from Python, and a task that is stuck holds its transaction and its
partition. The process ends hard; the supervisor starts it again, and recovery is the start path.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from schemas.errors import WatchdogExpired
from streams.clock import SYSTEM_CLOCK, Clock

CHECK_S = 0.25


def exit_hard(message: str) -> None:
    """Say why and end, whatever other threads are doing."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
    os._exit(WatchdogExpired.exit_code)


class Watchdog:
    """Watches calls that are under way. One thread for any number of them; it starts with the first call.

    Args:
        expired: what to do about a call that is late.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK, expired: Callable[[str], None] = exit_hard) -> None:
        self._clock = clock
        self._expired = expired
        self._calls: dict[int, tuple[int, str, float]] = {}
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()

    @contextmanager
    def guard(self, what: str, seconds: float) -> Iterator[None]:
        """The block must end within `seconds`."""
        if self._thread is None:
            self._run()
        number = next(self._numbers)
        self._calls[number] = (self._clock.monotonic_ns() + int(seconds * 1e9), what, seconds)
        try:
            yield
        finally:
            self._calls.pop(number, (0, "", 0.0))

    def check(self) -> None:
        """Look at every call once."""
        now = self._clock.monotonic_ns()
        for number, (deadline, what, seconds) in list(self._calls.items()):
            if now > deadline and number in self._calls:
                del self._calls[number]
                self._expired(
                    f"{what} did not return within {seconds:g} s. Usually the broker hangs, or the client library "
                    "does; this process ends and is to be started again: it recovers by itself."
                )

    def _run(self) -> None:
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(CHECK_S):
            self.check()


WATCHDOG = Watchdog()
