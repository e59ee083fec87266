"""The broker dies under a running task and comes back: the task goes on, or ends and goes on when started again, as
its supervisor would start it. Either way the rows are those of an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from infra.broker.embedded import Broker, BrokerSettings
from infra.config import config
from infra.kafka.topics import apply, plan
from schemas.errors import BrokerUnavailable
from streams.clock import SYSTEM_CLOCK
from streams.memory import MemoryLog
from streams.replay import replay_task
from tests.conftest import free_port_range
from tests.contract.test_transports import ends, runner
from tests.contract.transports import Memory, OnKafka
from tests.integration.test_kill_runner import TASK, Fed, child
from tests.memory_runs import fill
from tests.pipelines import ECHO, Echo, Flow


def wait_for(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().startswith("running")


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
