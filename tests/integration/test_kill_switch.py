"""The kill switch over the whole platform: whatever hangs or is dead, the venue ends flat, and says so itself."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from connectors.simulator.private_config import PAPER_KEY, PAPER_SECRET
from infra.process.kills import Acknowledged, acknowledgements
from infra.sessions.readback import topic_frames
from infra.sessions.rows_text import text
from schemas.trading import KillOutcome
from tests.cli import Ran, shriven
from tests.recordings import ROOT

pytestmark = pytest.mark.timeout(600)
GATEWAY, TRADER = "gateway-binance_usdm", "trader"
SESSION = "killed"


class Running:
    """`up --trade`, and the venue behind it asked by itself."""

    def __init__(self, process: subprocess.Popen[str], data: Path) -> None:
        self.process, self.data = process, data
        self.root = data / "sessions" / SESSION

    def status(self, service: str) -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads((self.root / "status" / f"{service}.json").read_bytes())
        return found

    def signal(self, service: str, number: signal.Signals) -> int:
        pid = int(self.status(service)["pid"])
        os.kill(pid, number)
        return pid

    def hang_while_holding(self, service: str, symbol: str = "") -> int:
        """SIGSTOP at a moment when a position is open, of a symbol where one is said."""
        while True:
            self.until(lambda: self.held().get(symbol) if symbol else self.held())
            pid = self.signal(service, signal.SIGSTOP)
            if self.held().get(symbol) if symbol else self.held():
                return pid
            os.kill(pid, signal.SIGCONT)

    def venue(self, path: str) -> list[dict[str, Any]]:
        """A signed question to the simulated venue, from outside."""
        query = f"timestamp={time.time_ns() // 1_000_000}&recvWindow=60000"
        mark = hmac.new(PAPER_SECRET.encode(), query.encode(), hashlib.sha256).hexdigest()
        url = f"{self.status('venue-binance_usdm')['facts']['rest_url']}{path}?{query}&signature={mark}"
        answer = httpx.get(url, headers={"X-MBX-APIKEY": PAPER_KEY}, timeout=20)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found

    def held(self) -> dict[str, float]:
        rows = self.venue("/fapi/v3/positionRisk")
        return {row["symbol"]: float(row["positionAmt"]) for row in rows if float(row["positionAmt"])}

    def is_flat(self) -> bool:
        return self.venue("/fapi/v1/openOrders") == [] and self.held() == {}

    def kill(self, *words: str) -> Ran:
        ran = shriven("kill", *words, "--why", "a test", "--wait", "120", data=self.data, timeout_s=200)
        assert ran.code == 0, ran.err[-3000:]
        sys.stderr.write(ran.err)  # the measured times
        return ran

    def said(self) -> list[Acknowledged]:
        return acknowledgements(self.root / "log", 1)

    def until(self, met: Any, seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < end, f"not within {seconds} s: {self.said()}"
            assert self.process.poll() is None, "up ended"
            time.sleep(0.1)


@contextmanager
def trading(data: Path, *more: str, broker: str = "none", **variables: str) -> Iterator[Running]:
    words = ["up", "--trade", "--broker", broker, "--for", "400", "--session", SESSION, "--json", *more]
    words += ["--symbol", "BTCUSDT", "--symbol", "ETHUSDT"]
    environment = {**os.environ, "SHRIVEN_DATA": str(data), "SHRIVEN_KAFKA": "", "SHRIVEN_SESSION": "", **variables}
    with open(data / "up.err", "w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", *words],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    running = Running(process, data)
    try:
        running.until(lambda: (running.root / "status" / f"{GATEWAY}.json").exists(), 400)
        running.until(lambda: running.held(), 100)
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def check_done(running: Running, *by: str) -> Acknowledged:
    """Flat at the venue, and somebody said so with times."""
    assert running.is_flat()
    last = [one for one in running.said() if one.outcome is KillOutcome.FLAT][-1]
    assert last.who.startswith(by)
    assert 0 < last.cancelled_ns < last.flat_ns
    return last


@pytest.mark.slow
def test_strategies_that_hang_do_not_keep_the_account_in_the_market(tmp_path: Path) -> None:
    with trading(tmp_path) as running:
        running.signal(TRADER, signal.SIGSTOP)
        running.kill("all", "--flatten")
        check_done(running, GATEWAY)
        running.signal(TRADER, signal.SIGCONT)


@pytest.mark.slow
def test_risk_that_is_dead_does_not_either_and_a_restart_keeps_the_kill(tmp_path: Path) -> None:
    with trading(tmp_path) as running:
        running.signal(TRADER, signal.SIGKILL)
        running.kill("all", "--flatten")
        said = check_done(running, GATEWAY)
        before = running.signal(GATEWAY, signal.SIGKILL)
        running.until(lambda: running.status(GATEWAY)["pid"] != before and len(running.said()) > 3)
        running.until(lambda: running.said()[-1].outcome is KillOutcome.FLAT and running.said()[-1] != said)
        assert "again" in [one for one in running.said() if one.outcome is KillOutcome.RECEIVED][-1].text
        assert running.is_flat()
        shown = shriven("gateway", "--json", data=tmp_path).json()
        assert [kill["kill"] for kill in shown["kills"]] == [said.kill_id]
        shriven("resume", str(said.kill_id), "--why", "enough", data=tmp_path)
        running.until(lambda: shriven("gateway", "--json", data=tmp_path).json()["kills"] == [])


@pytest.mark.slow
def test_gateway_that_hangs_is_ended_and_another_process_does_its_work(tmp_path: Path) -> None:
    with trading(tmp_path) as running:
        hung = running.hang_while_holding(GATEWAY)
        running.kill("all", "--flatten")
        check_done(running, "clear/", GATEWAY)  # the latter where the heartbeat was missed before the kill came
        running.until(lambda: running.status(GATEWAY)["pid"] != hung and running.status(GATEWAY)["facts"].get("ready"))
        assert running.said()[-1].who == GATEWAY  # once more, after its start
        assert running.is_flat()


@pytest.mark.slow
def test_kill_works_when_nobody_watches_any_more(tmp_path: Path) -> None:
    with trading(tmp_path) as running:
        venue = running.status("venue-binance_usdm")["pid"]
        running.signal(GATEWAY, signal.SIGSTOP)
        os.kill(running.process.pid, signal.SIGSTOP)  # the supervisor
        try:
            running.kill("all", "--flatten", "--patience", "3")
            check_done(running, "clear/")
        finally:
            os.kill(running.process.pid, signal.SIGCONT)
        assert running.status("venue-binance_usdm")["pid"] == venue


@pytest.mark.slow
def test_strategy_is_taken_out_and_the_other_trades_on(tmp_path: Path) -> None:
    with trading(tmp_path) as running:
        running.until(lambda: running.held().get("BTCUSDT"))
        running.kill("strategy:maker", "--flatten")
        assert "BTCUSDT" not in running.held()
        assert [order for order in running.venue("/fapi/v1/openOrders") if order["symbol"] == "BTCUSDT"] == []
        outcomes = [one.outcome for one in running.said()]
        assert outcomes[:2] == [KillOutcome.RECEIVED, KillOutcome.CANCELLED]


@pytest.mark.slow
def test_dead_mans_lease_cancels_when_those_who_decide_are_silent_and_ends_when_they_are_back(tmp_path: Path) -> None:
    with trading(tmp_path) as running:
        running.signal(TRADER, signal.SIGSTOP)
        running.until(lambda: any(one.outcome is KillOutcome.CANCELLED for one in running.said()))
        assert running.venue("/fapi/v1/openOrders") == []
        switches = [row for frame in topic_frames(running.root / "log", "ctl.switch.v1") for row in frame.rows]
        assert [int(row["on"]) for row in switches] == [1]
        running.signal(TRADER, signal.SIGCONT)
        running.until(lambda: running.status(GATEWAY)["facts"]["in_force"] == [])
        running.until(lambda: running.venue("/fapi/v1/openOrders") != [])


LOOP = """
import os, sys, threading, time
def wait():
    while not os.path.exists({flag!r}):
        time.sleep(0.1)
    from processors.strategies.market_making import MarketMaking
    kept = MarketMaking.on_quote
    def hang(*arguments):
        while os.path.exists({flag!r}):
            pass
        return kept(*arguments)
    MarketMaking.on_quote = hang
if "strategies" in sys.argv:
    threading.Thread(target=wait, daemon=True).start()
"""


@pytest.mark.slow
def test_dead_mans_lease_sees_a_strategy_that_does_not_return_in_a_process_that_lives(tmp_path: Path) -> None:
    flag = tmp_path / "endless"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sitecustomize.py").write_text(LOOP.format(flag=str(flag)))
    with trading(tmp_path, PYTHONPATH=str(tmp_path / "code")) as running:
        flag.touch()
        running.until(lambda: any(one.outcome is KillOutcome.CANCELLED for one in running.said()))
        assert running.venue("/fapi/v1/openOrders") == []
        assert time.time_ns() - running.status(TRADER)["updated_ns"] < 10e9
        switches = list(topic_frames(running.root / "log", "ctl.switch.v1"))
        assert "strategies" in text(switches[0].rows, switches[0].heap, "why", 0)
        flag.unlink()
        running.until(lambda: running.status(GATEWAY)["facts"]["in_force"] == [])
        running.until(lambda: running.venue("/fapi/v1/openOrders") != [])


@pytest.mark.slow
@pytest.mark.broker
def test_strategy_is_taken_out_over_kafka_by_who_takes_over_from_a_gateway_that_hangs(tmp_path: Path) -> None:
    with trading(tmp_path, broker="embedded") as running:
        running.hang_while_holding(GATEWAY, "BTCUSDT")
        running.kill("strategy:maker", "--flatten")
        assert "BTCUSDT" not in running.held()
        said = running.said()
        mine = [one for one in said if one.who.startswith("clear/")] or said  # or its successor, where it was first
        assert [one.outcome for one in mine][:3] == [KillOutcome.RECEIVED, KillOutcome.CANCELLED, KillOutcome.FLAT]
        assert not any("nobody remembers" in one.text for one in mine)


@pytest.mark.slow
@pytest.mark.broker
def test_broker_that_is_stopped_does_not_keep_the_account_in_the_market(tmp_path: Path) -> None:
    with trading(tmp_path, "--fault", "broker_down@60:seconds=300", broker="embedded") as running:
        running.until(lambda: "fault: broker_down" in (tmp_path / "up.err").read_text(), 150)
        running.kill("all", "--flatten")
        check_done(running, GATEWAY)


@pytest.mark.slow
def test_session_that_was_killed_runs_again_the_same(tmp_path: Path) -> None:
    with trading(tmp_path) as running:
        running.hang_while_holding(GATEWAY)
        running.kill("all", "--flatten")
        check_done(running, "clear/", GATEWAY)
    summary = shriven("replay", SESSION, "--json", data=tmp_path).json()
    assert summary["equal"] is True, json.dumps(summary)[:2000]
