"""docker-compose.yml and Dockerfile, kept honest without an engine: the Compose Specification's own schema, the
pipelines table, the monitoring targets, and every command started as a process."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import Any

import pytest
import yaml

from streams.pipelines import PIPELINES
from tests.recordings import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: row for name, row in COMPOSE["services"].items() if row["image"].startswith("shrivenquant")}


def test_compose_file_meets_the_specification() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_worker_pipeline_has_one_service() -> None:
    running = sorted(name for row in OURS.values() if row["command"][0] == "run" for name in row["command"][1:])
    assert running == sorted(row.name for row in PIPELINES if row.place == "worker")


def test_every_process_of_ours_is_watched() -> None:
    scrape = yaml.safe_load((ROOT / "infra/deploy/prometheus.yml").read_text())["scrape_configs"][0]
    targets = {target.split(":")[0] for target in scrape["static_configs"][0]["targets"]}
    watched = {name: row for name, row in OURS.items() if row["command"][0] in ("connect", "gateway", "ship", "run")}
    assert targets == {row.get("network_mode", name).removeprefix("service:") for name, row in watched.items()}


@pytest.mark.parametrize("service", OURS)
def test_each_command_is_one_that_the_command_line_takes(service: str) -> None:
    """`--help` after the arguments makes the command line parse them all and start nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", *OURS[service]["command"], "--help"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    options = {word for word in OURS[service]["command"] if word.startswith("--")}
    assert {option for option in options if option not in done.stdout} == set()


def test_services_publish_to_loopback_only() -> None:
    published = [port for row in COMPOSE["services"].values() for port in row.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_image_copies_every_package_and_runs_as_a_user() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (\w+) \./\1$", text, re.MULTILINE))
    assert copied == {"schemas", "processors", "streams", "connectors", "infra"}
    assert len(re.findall(r"^FROM ", text, re.MULTILINE)) == 2
    assert text.index("\nUSER shriven") < text.index("\nENTRYPOINT")


def test_image_entry_point_and_health_check_start_as_processes() -> None:
    text = (ROOT / "Dockerfile").read_text()
    entry = yaml.safe_load(re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE).group(1))  # type: ignore[union-attr]
    health = yaml.safe_load(re.search(r"^ +CMD (\[.*\])$", text, re.MULTILINE).group(1))  # type: ignore[union-attr]
    python = {"python": sys.executable}
    done = subprocess.run([python.get(word, word) for word in [*entry, "--help"]], cwd=ROOT, check=False)
    assert done.returncode == 0, shlex.join(entry)
    asked = subprocess.run(
        [python.get(word, word) for word in health], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 1
    assert "does not answer" in asked.stderr


def test_python_of_the_image_is_the_one_of_the_locks() -> None:
    version = (ROOT / ".python-version").read_text().strip()
    assert set(re.findall(r"^FROM python:(\S+)-slim", (ROOT / "Dockerfile").read_text(), re.MULTILINE)) == {version}
