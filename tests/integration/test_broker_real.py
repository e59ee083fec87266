"""The real broker: started from nothing, found, killed, started again, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pytest

from infra.broker.embedded import Broker, BrokerSettings, Progress
from infra.broker.node import wait_gone
from infra.broker.properties import CONTROLLER_PORT_OFFSET
from infra.config import config
from infra.kafka import admin as kafka_admin
from schemas.errors import BrokerUnavailable, ConfigInvalid, ResourceExhausted
from streams.clock import SYSTEM_CLOCK

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


def free_first_port(nodes: int) -> int:
    """A first port whose node and controller ports are all free now."""
    for first in range(20_000 + os.getpid() % 5_000, 32_000, 7):
        ports = [first + i + offset for i in range(nodes) for offset in (0, CONTROLLER_PORT_OFFSET)]
        if all(_is_free(port) for port in ports):
            return first
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def settings(data_dir: Path, nodes: int = 1) -> BrokerSettings:
    return BrokerSettings(data_dir, config().cache, nodes=nodes, port=free_first_port(nodes), maven_url=config().maven)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(settings(tmp_path / "broker"))
    yield made
    made.stop()


def is_gone(pid: int) -> bool:
    """Whether the process ends within 30 s (a dead one that nobody has reaped yet has ended)."""
    try:
        return wait_gone([psutil.Process(pid)], 30.0, SYSTEM_CLOCK) == []
    except psutil.NoSuchProcess:
        return True


def pids(broker: Broker) -> list[int]:
    return [node.pid for node in broker.status().nodes]


def test_broker_from_nothing_answers_and_stops(broker: Broker) -> None:
    steps: list[Progress] = []
    address = broker.start(steps.append)
    assert not address.was_running
    assert [(step.done, step.total) for step in steps if step.stage == "format"] == [(0, 1), (1, 1)]
    assert [(step.done, step.total) for step in steps if step.stage == "start"] == [(0, 1), (1, 1)]

    cluster = kafka_admin.describe(address.kafka)
    assert [(node.number, node.host, node.port) for node in cluster.nodes] == [(1, "127.0.0.1", broker.settings.port)]
    features = kafka_admin.broker_features(address.kafka)
    assert features.release == "4.3"
    assert features.finalized["transaction.version"] == 2

    status = broker.status()
    (node,) = status.nodes
    assert status.answers
    assert (node.state, node.port) == ("running", broker.settings.port)
    assert psutil.Process(node.pid).name() == "java"
    assert 50 << 20 < node.rss_bytes < 1 << 30
    assert os.getsid(node.pid) != os.getsid(0)  # Ctrl-C in this terminal does not reach it
    assert any("Kafka Server started" in line for line in broker.logs(lines=500))

    assert [stop.how for stop in broker.stop()] == ["stopped"]
    assert is_gone(node.pid)
    assert [node.state for node in broker.status().nodes] == ["stopped"]
    assert not broker.status().answers
    assert [stop.how for stop in broker.stop()] == ["not running"]


def test_broker_listens_on_loopback_only(broker: Broker) -> None:
    broker.start()
    (pid,) = pids(broker)
    listening = {c.laddr.ip for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_second_start_finds_the_first_whatever_port_it_asks_for(broker: Broker) -> None:
    first = broker.start()
    (pid,) = pids(broker)
    other = Broker(BrokerSettings(broker.settings.data_dir, config().cache, port=broker.settings.port + 17))
    second = other.start()
    assert second.was_running
    assert second.bootstrap == first.bootstrap
    assert pids(other) == [pid]


def test_killed_broker_starts_again_with_its_data(broker: Broker) -> None:
    cluster = kafka_admin.describe(broker.start().kafka)
    (pid,) = pids(broker)
    os.kill(pid, signal.SIGKILL)
    assert is_gone(pid)
    assert [node.state for node in broker.status().nodes] == ["stopped"]

    address = broker.start()
    assert not address.was_running
    assert pids(broker) != [pid]
    assert kafka_admin.describe(address.kafka).cluster_id == cluster.cluster_id


def test_owned_broker_ends_with_its_killed_owner(broker: Broker) -> None:
    given = broker.settings
    program = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from infra.broker.embedded import Broker, BrokerSettings
        data_dir, cache_dir = Path({str(given.data_dir)!r}), Path({str(given.cache_dir)!r})
        broker = Broker(BrokerSettings(data_dir, cache_dir, port={given.port}))
        broker.start(owned=True)
        print("up", flush=True)
        time.sleep(300)
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"up\n"
        (pid,) = pids(broker)
        owner.kill()
    assert is_gone(pid)
    assert [node.state for node in broker.status().nodes] == ["stopped"]


def test_port_taken_meanwhile_is_said_and_leaves_nothing_behind(broker: Broker) -> None:
    with (
        socket.create_server(("127.0.0.1", broker.settings.port)),
        pytest.raises(ResourceExhausted, match=rf"process {os.getpid()}\b"),
    ):
        broker.start()
    assert [node.state for node in broker.status().nodes] == ["stopped"]
    assert not broker.start().was_running


def test_node_that_dies_at_start_is_quoted(broker: Broker) -> None:
    """Its data now says that it belongs to another cluster node."""
    broker.start()
    broker.stop()
    meta = broker.settings.data_dir / "node-1" / "data" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(BrokerUnavailable, match=r"(?s)Node 1 of the broker ended.*Stored node id 7"):
        broker.start()
    assert [node.state for node in broker.status().nodes] == ["stopped"]


def test_start_with_another_number_of_nodes_is_refused(broker: Broker) -> None:
    broker.start()
    other = Broker(BrokerSettings(broker.settings.data_dir, config().cache, nodes=3, port=broker.settings.port))
    with pytest.raises(ConfigInvalid, match="formatted for 1 node, and 3 nodes were asked for"):
        other.start()
    assert [stop.how for stop in other.stop()] == ["stopped"]  # stopping needs no right number


def test_cached_jars_are_the_pinned_ones(broker: Broker) -> None:
    broker.ensure_fetched()
    assert broker.verify() == ()


@pytest.mark.slow
def test_three_nodes_survive_the_loss_of_one(tmp_path: Path) -> None:
    broker = Broker(settings(tmp_path / "broker", nodes=3))
    try:
        address = broker.start()
        assert [node.number for node in kafka_admin.describe(address.kafka).nodes] == [1, 2, 3]
        first = pids(broker)
        os.kill(first[1], signal.SIGKILL)
        assert is_gone(first[1])
        assert [node.state for node in broker.status().nodes] == ["running", "stopped", "running"]
        assert kafka_admin.answers(address.kafka, 10.0)

        again = broker.start()
        assert again.bootstrap == address.bootstrap
        now = pids(broker)
        assert (now[0], now[2]) == (first[0], first[2])
        assert now[1] not in (0, first[1])
        assert [node.number for node in kafka_admin.describe(again.kafka).nodes] == [1, 2, 3]
        ids = {
            line
            for number in (1, 2, 3)
            for line in (tmp_path / "broker" / f"node-{number}" / "data" / "meta.properties").read_text().splitlines()
            if line.startswith("cluster.id")
        }
        said = orjson.loads((tmp_path / "broker" / "cluster.json").read_bytes())
        assert ids == {f"cluster.id={said['cluster_id']}"}
    finally:
        stops = broker.stop()
    assert [stop.how for stop in stops] == ["stopped", "stopped", "stopped"]
