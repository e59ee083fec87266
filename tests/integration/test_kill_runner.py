"""A runner on a real Kafka, or on the local log, killed again and again: every row as if it had lived.

SHRIVEN_KILLS sets how often (10 by default; the benchmark's evidence is 50).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from streams.api import Chunk
from streams.clock import SYSTEM_CLOCK
from streams.memory import MemoryLog
from streams.replay import replay_task
from tests.contract.test_transports import ends, runner
from tests.contract.transports import Local, Memory, OnKafka, Transport
from tests.memory_runs import fill
from tests.pipelines import ECHO, Echo, Flow

KILLS = int(os.environ.get("SHRIVEN_KILLS", "6"))
TASK = 1


@pytest.fixture(params=[pytest.param("local", marks=pytest.mark.slow), pytest.param("kafka", marks=pytest.mark.broker)])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Transport:
    return Local(tmp_path) if request.param == "local" else OnKafka(request.getfixturevalue("kafka"))


def child(transport: Transport, until: str) -> subprocess.Popen[str]:
    assert isinstance(transport, OnKafka | Local)
    where = transport.kafka.bootstrap if isinstance(transport, OnKafka) else transport.root.parent
    arguments = [where, transport.incarnation, transport.start_ns, TASK, until]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.runner_child", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


class Fed(Flow):
    """A flow that remembers how many frames it gave in each helping."""

    def __init__(self, seed: int, incarnation: int, writers: list[int]) -> None:
        super().__init__(seed, incarnation, writers)
        self.helpings: list[int] = []

    def trades(self, frames: int, rows_max: int = 6) -> list[Chunk]:
        self.helpings.append(frames)
        return super().trades(frames, rows_max)


@contextmanager
def feeding(transport: Transport, flow: Flow) -> Iterator[None]:
    """Trades arrive all the time."""
    stop = threading.Event()

    def feed() -> None:
        while not stop.wait(0.002):
            transport.put(flow.trades(4))

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.timeout(60 + 12 * KILLS)
def test_runner_killed_at_seeded_points_gives_what_an_unharmed_one_gives(transport: Transport) -> None:
    chosen = random.Random(KILLS)
    fed = Fed(21, transport.incarnation, writers=[640])
    killed_while_working = 0
    with feeding(transport, fed):
        for _ in range(KILLS):
            process = child(transport, "live")
            assert process.stdout is not None
            if chosen.random() < 0.2:  # some die before they run: while fencing, recovering, replaying
                SYSTEM_CLOCK.sleep(chosen.uniform(0.5, 2.5))
            elif process.stdout.readline().startswith("running"):
                SYSTEM_CLOCK.sleep(chosen.uniform(0.0, 0.6))
                killed_while_working += 1
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate()
            assert process.returncode == -signal.SIGKILL, errors
    last = child(transport, "end")
    _, errors = last.communicate(timeout=120)
    assert last.returncode == 0, errors
    assert killed_while_working >= KILLS // 2

    calm = Memory(atomic=True)
    unharmed = Flow(21, calm.incarnation, writers=[640])
    calm.log = fill(MemoryLog(), [chunk for frames in fed.helpings for chunk in unharmed.trades(frames)])
    runner(calm, ECHO, TASK, Echo()).run_to_end()
    found = ends(transport, ECHO, TASK)
    assert found == ends(calm, ECHO, TASK)
    assert found[5, TASK][0] > 100 * KILLS
    replayed = replay_task(ECHO, TASK, Echo(), transport.reader(), cut_seed=5)
    replayed.check()
    assert replayed.rows_out == found[5, TASK][0]


def test_sigterm_finishes_commits_and_saves_the_state(transport: Transport) -> None:
    transport.put(Flow(22, transport.incarnation, writers=[640]).trades(100))
    process = child(transport, "live")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("running")
    SYSTEM_CLOCK.sleep(1.0)
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert said.startswith("ended stopped")
    again = runner(transport, ECHO, TASK, Echo())
    again.start()
    assert again.stats.recovered is not None
    assert again.stats.recovered.snapshot > 0
    assert again.stats.recovered.replayed == 0
    again.close()
