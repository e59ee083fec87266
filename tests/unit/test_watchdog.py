"""A call that hangs ends the process."""

from __future__ import annotations

import subprocess
import sys

from schemas.errors import WatchdogExpired
from streams.clock import ManualClock
from streams.watchdog import Watchdog


def test_call_in_time_is_left_alone_and_a_late_one_is_named_once() -> None:
    clock = ManualClock(0)
    said: list[str] = []
    watchdog = Watchdog(clock, said.append)
    with watchdog.guard("commit", 2.0):
        clock.advance_to(2_000_000_000)
        watchdog.check()
        assert said == []
        clock.advance_to(2_000_000_001)
        watchdog.check()
        watchdog.check()
    assert len(said) == 1
    assert said[0].startswith("commit did not return within 2 s.")
    clock.advance_to(9_000_000_000)
    watchdog.check()
    assert len(said) == 1


def test_guard_ends_with_its_block_even_when_that_raises() -> None:
    clock = ManualClock(0)
    said: list[str] = []
    watchdog = Watchdog(clock, said.append)
    try:
        with watchdog.guard("commit", 1.0):
            raise ValueError
    except ValueError:
        pass
    clock.advance_to(9_000_000_000)
    watchdog.check()
    assert said == []


def test_hung_call_ends_the_process_with_its_exit_code() -> None:
    code = (
        "import threading; from streams.watchdog import WATCHDOG\n"
        "with WATCHDOG.guard('a call', 0.1):\n    threading.Event().wait(30)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == WatchdogExpired.exit_code
    assert ended.stderr.startswith("a call did not return within 0.1 s.")
