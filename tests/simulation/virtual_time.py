"""An event loop whose time is a `ManualClock`: it passes only when nobody has anything left to do.

So minutes of waiting take microseconds, and the same seed gives the same life to the last row.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from streams.clock import ManualClock

T = TypeVar("T")
STEP_MIN_NS = 1_000  # what a float of seconds cannot tell apart must not make the loop turn without end


class _Idle(selectors.SelectSelector):
    """Nothing is ever readable; waiting moves the clock."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nobody waits for a time: nothing will ever happen again"
        if timeout > 0:
            self._clock.advance_to(self._clock.now_ns() + max(STEP_MIN_NS, math.ceil(timeout * 1e9)))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, clock: ManualClock) -> None:
        self._clock, self._start_ns = clock, clock.now_ns()
        super().__init__(_Idle(clock))

    def time(self) -> float:
        return (self._clock.now_ns() - self._start_ns) / 1e9


def run_virtually(clock: ManualClock, main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on the clock's time."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(main)
