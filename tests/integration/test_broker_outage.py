"""The broker dies under a running task and comes back: the task goes on, or ends and goes on when started again, as
its supervisor would start it. Either way the rows are those of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.broker.embedded import Broker, BrokerSettings
from infra.config import config
from infra.kafka.topics import apply, plan
from schemas.errors import BrokerUnavailable, ShrivenError
from schemas.events import QUOTE, JournalKind
from streams.api import Chunk, Sink, WriterKey
from streams.checkpoint import Checkpoint, Entry, journal_rows
from streams.clock import SYSTEM_CLOCK
from streams.memory import MemoryLog
from streams.replay import replay_task
from streams.topics import topic
from tests.conftest import free_port_range
from tests.contract.test_transports import ends, runner
from tests.contract.transports import Memory, OnKafka
from tests.integration.test_kill_runner import TASK, Fed, child
from tests.memory_runs import fill
from tests.pipelines import ECHO, Echo, Flow

ECHO_TASKS = 8


def wait_for(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("running")


def checkpoint(transport: OnKafka, task: int, number: int) -> tuple[Chunk, Chunk]:
    """One row of a task's output, and the journal frame of two rows that goes with it."""
    rows = QUOTE.empty(1)
    rows["update_id"] = number
    key = WriterKey(topic("md.quote.v1").number, task % 4, ECHO.writer(task), transport.incarnation)
    journal = journal_rows(Checkpoint(number, 1, [Entry(JournalKind.TIME, value=number)]))
    return Chunk(key, number, rows), Chunk(transport.journal_key(ECHO, task), 2 * number - 1, journal)


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_transactions_that_a_broker_forgot_are_ended_by_the_next_start(tmp_path: Path, number: signal.Signals) -> None:
    """A node alone forgets the markers of some of the transactions that are being committed when it stops or starts."""
    settings = BrokerSettings(
        data_dir=tmp_path, cache_dir=config().cache, port=free_port_range(8), maven_url=config().maven
    )
    broker = Broker(settings)
    address = broker.start(owned=True).bootstrap
    apply(address, plan(address))
    transport, written = OnKafka(address), [0] * ECHO_TASKS
    stopped = threading.Event()

    def opened(task: int) -> Sink:
        sink = transport.sink(ECHO, task)
        sink.open()
        return sink

    def commit(task: int) -> None:
        sink = opened(task)
        with contextlib.suppress(ShrivenError):
            while not stopped.is_set():
                output, journal = checkpoint(transport, task, written[task] + 1)
                sink.commit([output], journal)
                written[task] += 1

    threads = [threading.Thread(target=commit, args=(task,)) for task in range(ECHO_TASKS)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        SYSTEM_CLOCK.sleep(0.1)
        if min(written) > 10:
            break
    assert min(written) > 10
    pid = broker.status().nodes[0].pid
    assert pid is not None
    os.kill(pid, number)
    SYSTEM_CLOCK.sleep(3.0)
    stopped.set()
    broker.start(owned=True)
    for thread in threads:
        thread.join(60)
    with ThreadPoolExecutor(ECHO_TASKS) as pool:  # as tasks start: one waits for what the others have to end
        for sink, task in zip(pool.map(opened, range(ECHO_TASKS)), range(ECHO_TASKS), strict=True):
            output, journal = checkpoint(transport, task, 1)
            ends_at = sink.last_row(output.key)
            assert sink.last_row(journal.key) == 2 * ends_at
            assert ends_at >= written[task] - 1  # the last one may be among the forgotten; recovery does it again
            output, journal = checkpoint(transport, task, ends_at + 1)
            sink.commit([output], journal)
            assert sink.last_row(output.key) == ends_at + 1
    broker.stop()


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.parametrize("outage_s", [0.5, 6.0])
def test_task_outlives_its_broker(tmp_path: Path, outage_s: float) -> None:
    settings = BrokerSettings(
        data_dir=tmp_path, cache_dir=config().cache, port=free_port_range(8), maven_url=config().maven
    )
    broker = Broker(settings)
    address = broker.start(owned=True).bootstrap
    apply(address, plan(address))
    transport = OnKafka(address)
    fed = Fed(31, transport.incarnation, writers=[640])
    transport.put(fed.trades(100))
    process = child(transport, "live")
    wait_for(process)
    SYSTEM_CLOCK.sleep(1.0)
    pid = broker.status().nodes[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    SYSTEM_CLOCK.sleep(outage_s)
    broker.start(owned=True)
    restarts = 0
    for _ in range(10):
        transport.put(fed.trades(20))
        SYSTEM_CLOCK.sleep(0.3)
        if process.poll() is not None:
            assert process.returncode == BrokerUnavailable.exit_code, process.communicate()[1]
            process = child(transport, "live")
            wait_for(process)
            restarts += 1
    assert restarts <= 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    last = child(transport, "end")
    assert last.wait(60) == 0

    calm = Memory(atomic=True)
    undisturbed = Flow(31, calm.incarnation, writers=[640])
    calm.log = fill(MemoryLog(), [chunk for frames in fed.helpings for chunk in undisturbed.trades(frames)])
    runner(calm, ECHO, TASK, Echo()).run_to_end()
    assert ends(transport, ECHO, TASK) == ends(calm, ECHO, TASK)
    replay_task(ECHO, TASK, Echo(), transport.reader(), cut_seed=1).check()
    broker.stop()
