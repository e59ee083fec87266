"""Several tasks in one process."""

from __future__ import annotations

import threading

import pytest

from streams.clock import SYSTEM_CLOCK
from streams.memory import MemoryLog, MemorySink, MemorySource
from streams.runner import Runner
from streams.worker import Worker
from tests.memory_runs import EAGER, Crash, crash_at, fill, journal_key, memory_runner, written
from tests.pipelines import ECHO, INCARNATION, Echo, Flow


def runners(log: MemoryLog, failing: int | None = None) -> list[Runner]:
    made = []
    for task in range(4):
        reach = crash_at("begin", 2) if task == failing else lambda point: None
        sink = MemorySink(log, f"test_echo/{task}", journal_key(ECHO, task), reach=reach)
        source = MemorySource(log, SYSTEM_CLOCK, INCARNATION)
        made.append(Runner(ECHO, task, Echo(), source, sink, SYSTEM_CLOCK, incarnation=INCARNATION, options=EAGER))
    return made


def test_all_tasks_run_until_asked_to_stop() -> None:
    trades = Flow(3, writers=[640]).trades(80)
    log, alone = fill(MemoryLog(), trades), fill(MemoryLog(), trades)
    worker = Worker(runners(log))
    rows = sum(len(chunk.rows) for chunk in trades)
    thread = threading.Thread(target=worker.run)
    thread.start()
    while sum(runner.stats.rows_in for runner in worker.runners) < rows:
        SYSTEM_CLOCK.sleep(0.001)
    worker.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert {runner.stats.state for runner in worker.runners} == {"stopped"}
    for task in range(4):
        memory_runner(alone, ECHO, task, Echo()).run_to_end()
    assert written(log, ECHO) == written(alone, ECHO)


def test_tasks_end_when_the_caller_says_so() -> None:
    log = fill(MemoryLog(), Flow(3).trades(40))
    worker = Worker(runners(log))
    worker.run(until=lambda: all(runner.stats.rows_in for runner in worker.runners))
    assert all(runner.stats.snapshots == 1 for runner in worker.runners)


def test_failing_task_stops_the_others_and_its_error_comes_out() -> None:
    log = MemoryLog()
    worker = Worker(runners(log, failing=2))
    flow = Flow(3)
    stop = threading.Event()

    def feed() -> None:
        while not stop.wait(0.002):
            fill(log, flow.trades(3))

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        with pytest.raises(Crash):
            worker.run()
    finally:
        stop.set()
        feeder.join()
    states = [runner.stats.state for runner in worker.runners]
    assert states[:2] + states[3:] == ["stopped"] * 3
    assert all(runner.stats.snapshots == 1 for runner in worker.runners if runner.stats.state == "stopped")
