"""Children: restart with back-off, giving up with their last words, stopping, dying with the parent."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.up.supervisor import (
    RESTARTS_PER_MINUTE_MAX,
    ChildSpec,
    ChildState,
    Supervisor,
    describe_end,
    error_class,
    last_lines,
)
from schemas.errors import BrokerUnavailable, ConfigInvalid, ShrivenError
from streams.clock import ManualClock

PYTHON = (sys.executable, "-c")
SLEEP = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
)


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(tmp_path, entry=PYTHON)
    yield made
    made.stop(grace_s=0)


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_killed_child_is_started_again(supervisor: Supervisor) -> None:
    child = supervisor.start(ChildSpec("sleeper", (SLEEP,)))
    first = child.pid
    supervisor.kill("sleeper")
    child.process.wait()
    assert supervisor.step() == ["sleeper ended with signal SIGKILL; starting it again in 0.2 s"]
    assert child.state is ChildState.WAITING
    wait_for(lambda: supervisor.step() == [] and child.state is ChildState.RUNNING)
    assert (child.pid != first, child.restarts) == (True, 1)


def test_a_child_that_keeps_dying_stops_everything_with_its_last_lines(tmp_path: Path) -> None:
    clock = ManualClock()
    supervisor = Supervisor(tmp_path, clock, PYTHON)
    child = supervisor.start(ChildSpec("broken", ("import sys; print('no luck'); sys.exit(1)",)))
    happened: list[str] = []
    for _ in range(RESTARTS_PER_MINUTE_MAX):
        child.process.wait()
        happened += supervisor.step()
        clock.sleep(5)
        happened += supervisor.step()
    child.process.wait()
    with pytest.raises(ShrivenError) as caught:
        supervisor.step()
    assert [line.rpartition(" in ")[2] for line in happened] == ["0.2 s", "0.4 s", "0.8 s", "1.6 s", "3.2 s"]
    assert child.restarts == RESTARTS_PER_MINUTE_MAX
    assert "broken died 6 times within a minute, last with exit code 1." in str(caught.value)
    assert str(caught.value).endswith("    no luck")


def test_deaths_of_more_than_a_minute_ago_are_forgiven(tmp_path: Path) -> None:
    clock = ManualClock()
    supervisor = Supervisor(tmp_path, clock, PYTHON)
    child = supervisor.start(ChildSpec("brittle", ("import sys; sys.exit(1)",)))
    for _ in range(RESTARTS_PER_MINUTE_MAX + 3):
        child.process.wait()
        assert supervisor.step() == ["brittle ended with exit code 1; starting it again in 0.2 s"]
        clock.sleep(61)
        supervisor.step()
    supervisor.stop()


def test_a_wrong_setting_is_not_tried_again(supervisor: Supervisor) -> None:
    child = supervisor.start(ChildSpec("wrong", ("import sys; print('no such venue'); sys.exit(2)",)))
    child.process.wait()
    with pytest.raises(ConfigInvalid, match=r"wrong ended with exit code 2 \(ConfigInvalid\)[^$]*no such venue"):
        supervisor.step()


def test_a_child_that_may_finish_is_left_finished(supervisor: Supervisor) -> None:
    child = supervisor.start(ChildSpec("once", ("pass",), may_finish=True))
    child.process.wait()
    assert supervisor.step() == ["once finished"]
    assert supervisor.step() == []
    supervisor.stop()
    assert child.state is ChildState.FINISHED


def test_stop_asks_first_and_makes_after_the_grace(supervisor: Supervisor) -> None:
    polite = supervisor.start(ChildSpec("polite", (SLEEP,)))
    deaf = supervisor.start(ChildSpec("deaf", (STUBBORN,)))
    wait_for(lambda: last_lines(deaf.log) == ["deaf"])
    supervisor.stop(grace_s=0.3)
    assert (polite.process.returncode, deaf.process.returncode) == (-signal.SIGTERM, -signal.SIGKILL)
    assert {polite.state, deaf.state} == {ChildState.STOPPED}
    assert supervisor.step() == [], "the stopped are not started again"


def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    """A child that ignores every request still ends when its parent is killed."""
    child = f"""
import os
from infra.up.supervisor import end_with_parent
end_with_parent(os.getppid())
{STUBBORN}
"""
    parent = f"""
import sys, time
from pathlib import Path
from infra.up.supervisor import ChildSpec, Supervisor
supervisor = Supervisor(Path({str(tmp_path)!r}), entry=(sys.executable, "-c"))
print(supervisor.start(ChildSpec("child", ({child!r},))).pid, flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    wait_for(lambda: last_lines(tmp_path / "child.log") == ["deaf"])
    process.kill()
    process.wait()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_last_lines_are_bounded_and_survive_bad_bytes(tmp_path: Path) -> None:
    path = tmp_path / "child.log"
    assert last_lines(path) == []
    path.write_bytes(b"x" * 100_000 + b"\n\xff\nlast\n")
    assert last_lines(path, 2) == ["\ufffd", "last"]


def test_an_end_is_described_in_words() -> None:
    assert describe_end(-9) == "signal SIGKILL"
    assert describe_end(11) == "exit code 11 (Fenced)"
    assert describe_end(70) == "exit code 70"
    assert error_class(2) is ConfigInvalid
    assert error_class(70) is ShrivenError


def test_a_child_whose_broker_is_away_is_tried_for_ever(tmp_path: Path) -> None:
    clock = ManualClock()
    supervisor = Supervisor(tmp_path, clock, PYTHON)
    child = supervisor.start(ChildSpec("waiting", (f"import sys; sys.exit({BrokerUnavailable.exit_code})",)))
    happened: list[str] = []
    for _ in range(RESTARTS_PER_MINUTE_MAX + 3):
        child.process.wait()
        happened += supervisor.step()
        clock.sleep(5)
        supervisor.step()
    assert happened[-1] == "waiting ended with exit code 5 (BrokerUnavailable); starting it again in 5 s"
    child.process.wait()
    child.process.returncode = -9  # an end of its own after all those is the first of its kind
    assert supervisor.step() == ["waiting ended with signal SIGKILL; starting it again in 5 s"]
    supervisor.stop()
