"""What many tests share: a real broker, started once, and a home of their own for what is written."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from infra.broker.embedded import Broker, BrokerSettings
from infra.config import config
from infra.kafka.topics import apply, plan

settings.register_profile("seeded", derandomize=True)


def pytest_configure(config: pytest.Config) -> None:
    """A change must not fail by what chance made of another's code: only whole runs look for new examples."""
    if "not slow" in config.getoption("-m"):
        settings.load_profile("seeded")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def free_port_range(count: int) -> int:
    """The first of `count` consecutive free ports."""
    for base in range(20_000, 32_000, 50):
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise RuntimeError("no range of free ports")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of a real, empty Kafka with our topics; its jars come from the user's cache."""
    settings = BrokerSettings(
        data_dir=tmp_path_factory.mktemp("broker"),
        cache_dir=config().cache,
        port=free_port_range(8),
        maven_url=config().maven,
    )
    broker = Broker(settings)
    address = broker.start(owned=True).bootstrap
    apply(address, plan(address))
    yield address
    broker.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SHRIVEN_DATA; the cache stays the user's, or every test would fetch and compile again."""
    data = tmp_path / "data"
    monkeypatch.setenv("SHRIVEN_DATA", str(data))
    monkeypatch.delenv("SHRIVEN_KAFKA", raising=False)
    monkeypatch.delenv("SHRIVEN_SESSION", raising=False)
    config.cache_clear()
    return data
