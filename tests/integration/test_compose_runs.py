"""What docker-compose.yml starts, started: every command of ours as a process, with the file's own words and
environment, against a real broker. Only names that the compose network would resolve are put in."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import shriven
from tests.conftest import free_port_range
from tests.recordings import ROOT
from tests.unit.test_compose import COMPOSE, OURS

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

WAIT_S = 240.0  # kernels may have to be compiled first
GRACE_S = float(COMPOSE["x-shriven"]["stop_grace_period"].removesuffix("s"))
SIMULATED = ("venue", "connector-simulated", "gateway-simulated", "trader", "shipper", "book", "bars")
LIVE = ("connector-binance-usdm", "connector-binance-spot")


class Services:
    """The services of the file as processes."""

    def __init__(self, data: Path, kafka: str) -> None:
        self.data = data
        self.kafka = kafka
        port = free_port_range(20)
        self.ports = {"9700": str(port), "9701": str(port + 1)}
        self.metrics = {name: str(port + 2 + number) for number, name in enumerate(OURS)}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, name: str, **more: str) -> dict[str, str]:
        said = {key: self.here(value) for key, value in OURS[name]["environment"].items()}
        said["SHRIVEN_SESSION"] = "live" if "SHRIVEN_SESSION" in said else ""
        metrics = {"SHRIVEN_METRICS_PORT": self.metrics[name]}
        return {**os.environ, "SHRIVEN_KAFKA": "", **said, **metrics, "SHRIVEN_DATA": str(self.data), **more}

    def here(self, word: str) -> str:
        word = word.replace("kafka:9092", self.kafka)
        for port, free in self.ports.items():
            word = word.replace(port, free)
        return word

    def command(self, name: str) -> list[str]:
        return [sys.executable, "-m", "infra.cli", *map(self.here, OURS[name]["command"])]

    def start(self, name: str, **more: str) -> None:
        with open(self.data / f"{name}.out", "wb") as out:
            self.running[name] = subprocess.Popen(
                self.command(name), cwd=ROOT, env=self.environment(name, **more), stdout=out, stderr=out
            )

    def said(self, name: str) -> str:
        return (self.data / f"{name}.out").read_text()[-3000:]

    def healthy(self, name: str) -> bool:
        """What the image's health check says."""
        environment = self.environment(name)
        words = [sys.executable, "-m", "infra.process.health"]
        return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, check=False).returncode == 0

    def wait(self, what: str, is_so: Iterator[bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not next(is_so):
            for name, process in self.running.items():
                assert process.poll() is None, f"{name} ended with {process.returncode}:\n{self.said(name)}"
            assert time.monotonic() < end, f"{what}: " + "\n".join(map(self.said, self.running))
            time.sleep(0.5)

    def stop(self, name: str) -> int:
        process = self.running.pop(name)
        process.terminate()
        return process.wait(GRACE_S)


@pytest.fixture
def services(tmp_path: Path, kafka: str) -> Iterator[Services]:
    made = Services(tmp_path, kafka)
    yield made
    for process in made.running.values():
        process.kill()
        process.wait()


def rows(services: Services, topic: str, count: int) -> list[dict[str, object]]:
    """The first rows of a topic, read from Kafka."""
    words = ("topics", "tail", topic, "--session", "live", "--broker", services.kafka, "--from", "start")
    with contextlib.suppress(subprocess.TimeoutExpired):
        ran = shriven(*words, "--limit", str(count), "--json", data=services.data, timeout_s=60)
        return [json.loads(line) for line in ran.out.splitlines()]
    return []


def test_every_service_of_the_compose_file_runs(services: Services) -> None:
    ready = subprocess.run(services.command("topics"), cwd=ROOT, env=services.environment("topics"), check=False)
    assert ready.returncode == 0
    assert set(SIMULATED) | set(LIVE) | {"topics"} == set(OURS), "a service was added: start it here"
    for name in SIMULATED:
        services.start(name)
    for topic in ("md.quote", "md.bar", "md.trade"):
        services.wait(f"rows of {topic}", (len(rows(services, topic, 3)) == 3 for _ in iter(int, 1)))
    quotes = rows(services, "md.quote", 3)
    assert {str(quote["instrument"]) for quote in quotes} <= {"binance_usdm:BTCUSDT", "binance_usdm:ETHUSDT"}
    for name in SIMULATED[1:]:
        services.wait(f"health of {name}", (services.healthy(name) for _ in iter(int, 1)))
    assert {name: services.stop(name) for name in reversed(SIMULATED)} == dict.fromkeys(SIMULATED, 0)


def test_the_live_connectors_of_the_compose_file_run_and_dial_again_while_the_venue_is_away(services: Services) -> None:
    for name in LIVE:
        venue = OURS[name]["command"][1].upper()
        nobody = {f"SHRIVEN_{venue}_WS": "ws://127.0.0.1:9", f"SHRIVEN_{venue}_REST": "http://127.0.0.1:9"}
        services.start(name, **nobody)
    for name in LIVE:
        services.wait(f"health of {name}", (services.healthy(name) for _ in iter(int, 1)))
    assert {name: services.stop(name) for name in LIVE} == dict.fromkeys(LIVE, 0)
