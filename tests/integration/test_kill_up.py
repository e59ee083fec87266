"""Processes killed under load, over a real Kafka: nothing lost, nothing twice, and the same content as if nobody had
been killed. SHRIVEN_KILL_SEEDS (comma separated) chooses the seeds; each seed is six SIGKILLs."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.cli import shriven
from tests.conftest import free_port_range
from tests.recordings import recording

pytestmark = [pytest.mark.broker, pytest.mark.recording, pytest.mark.timeout(900)]

NAME = "spot_ethusdt_20240808.gz"
TRADES, SHARED = 6_106, 577
PLAY_S = 20.0  # the recording's 346 s at speed 17
SPEED = "17"
KILLS_EACH = 2  # the supervisor gives a process up at six deaths within a minute
CALM = "book.stale_after_ns=60000000000"  # what dies on a loaded machine may be away for more than five seconds
TARGETS = ("book", "bars", "shipper")
SEEDS = [int(seed) for seed in os.environ.get("SHRIVEN_KILL_SEEDS", "1").split(",")]


def play(data: Path, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    what = ("up", "--play", f"binance_spot={recording(NAME)}", "--until-end", "--json", "--set", CALM)
    summary: dict[str, Any] = shriven(*what, *words, data=data, env=env).json()
    return summary


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return play(tmp_path_factory.mktemp("undisturbed"), "--speed", "max", "--broker", "none")


def replayed(session: str, broker: str, data: Path) -> dict[str, Any]:
    found: dict[str, Any] = shriven("replay", session, "--broker", broker, "--json", data=data).json()
    return found


@pytest.mark.slow  # every day, test_kill_runner.py kills a runner over Kafka, and test_kill_trade.py every process
@pytest.mark.parametrize("seed", SEEDS)
def test_killed_processes_lose_nothing_and_repeat_nothing(
    seed: int, kafka: str, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    chance = random.Random(seed)
    slot_s = PLAY_S / KILLS_EACH  # apart enough to be up again: who is down cannot be killed
    moments = [
        (target, 1.0 + slot_s * (number + 0.6 * chance.random())) for target in TARGETS for number in range(KILLS_EACH)
    ]
    faults = [word for target, at_s in moments for word in ("--fault", f"kill:{target}@{at_s:.2f}")]
    summary = play(tmp_path, "--speed", SPEED, "--broker", kafka, *faults)
    book = summary["books"]["binance_spot:ETHUSDT"]
    assert summary["rows"]["md.trade.v1"] == TRADES
    assert (book["trust"], book["gaps"], book["crossed"]) == ("SYNCED", 0, 0)
    assert (book["ticker_shared"], book["ticker_equal"]) == (SHARED, SHARED)
    assert summary["dead_letters"] == 0
    assert sum(process["restarts"] for process in summary["processes"].values()) == len(moments)
    assert summary["hashes"]["content"] == undisturbed["hashes"]["content"]
    again = replayed(summary["session"], kafka, tmp_path)
    assert again["equal"] is True
    assert {topic: found["replayed"] for topic, found in again["topics"].items()} == summary["hashes"]["row"]


@pytest.mark.slow
def test_killed_connector_loses_no_appended_row_and_marks_the_hole(kafka: str, tmp_path: Path) -> None:
    fault = "kill:connector-binance_spot@8"
    summary = play(tmp_path, "--speed", SPEED, "--broker", kafka, "--fault", fault)
    book = summary["books"]["binance_spot:ETHUSDT"]
    assert book["trust"] == "SYNCED"
    assert book["gaps"] >= 1
    assert book["ticker_equal"] == book["ticker_shared"] > 0
    assert len(summary["time_to_resync_s"]["binance_spot:ETHUSDT"]) >= 1
    assert replayed(summary["session"], kafka, tmp_path)["equal"] is True


@pytest.mark.slow
def test_leader_of_three_nodes_killed_loses_nothing(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    three = {"SHRIVEN_BROKER_NODES": "3", "SHRIVEN_BROKER_PORT": str(free_port_range(8))}
    faults = ("--fault", "broker_kill@6:seconds=10", "--fault", "broker_kill@25:seconds=5")
    summary = play(tmp_path, "--speed", "8", *faults, env=three)
    assert summary["rows"]["md.trade.v1"] == TRADES
    assert summary["hashes"]["content"] == undisturbed["hashes"]["content"]
    assert replayed(summary["session"], "none", tmp_path)["equal"] is True


@pytest.mark.slow
def test_broker_stopped_for_thirty_seconds_loses_nothing(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    summary = play(tmp_path, "--speed", "6", "--fault", "broker_down@10:seconds=30")
    assert summary["rows"]["md.trade.v1"] == TRADES
    assert summary["hashes"]["content"] == undisturbed["hashes"]["content"]
    again = shriven("replay", summary["session"], "--broker", "none", "--json", data=tmp_path).json()
    assert again["equal"] is True
