"""The only place that reads a clock or the machine's randomness.

Rules never do: they see `ts_recv_ns` and deadlines. Edges and runners are handed a `Clock`, so that a
test, a replay or a simulation can hand them another.
"""

from __future__ import annotations

import random
import time
from typing import Protocol


class Clock(Protocol):
    def now_ns(self) -> int:
        """Wall clock, ns since the Unix epoch."""
        ...

    def monotonic_ns(self) -> int:
        """For time-outs and durations; never goes back."""
        ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clocks."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told; `sleep` moves it."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        return self._now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def sleep(self, seconds: float) -> None:
        self._now_ns += int(seconds * 1e9)

    def advance_to(self, now_ns: int) -> None:
        assert now_ns >= self._now_ns, "time does not go back"
        self._now_ns = now_ns


SYSTEM_CLOCK: Clock = SystemClock()
now_ns = time.time_ns
monotonic_ns = time.monotonic_ns
perf_counter_ns = time.perf_counter_ns


def entropy() -> random.Random:
    """An unseeded generator, for jitter only: nothing that is recorded may depend on it."""
    return random.Random()
