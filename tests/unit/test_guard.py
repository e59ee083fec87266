"""Who watches the gateways of `up`: when one is ended, and who does its work then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra import killing
from infra.config import Config
from infra.process.status import Status
from infra.sessions import store
from infra.sessions.store import Session
from infra.up.guard import Guard
from infra.up.supervisor import ChildSpec, ChildState, Supervisor
from schemas.trading import Scope
from streams.clock import SYSTEM_CLOCK, ManualClock

NAME, S = "gateway-binance_usdm", 10**9


class FakeProcess:
    """Lives until it is killed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.signals: list[int] = []

    def poll(self) -> int | None:
        return self.returncode

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        self.returncode = -int(number)


class Bench:
    """A guard, a supervisor whose children are no processes, a session with a gateway's status, a clock."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = ManualClock(SYSTEM_CLOCK.now_ns() - 600 * S)
        config = Config(data=tmp_path)
        self.session: Session = store.create(config, {}, self.clock, "one")
        self.supervisor = Supervisor(self.session.logs, self.clock)
        self.spawned: list[ChildSpec] = []

        def spawn(one: Supervisor, spec: ChildSpec, log: Path) -> Any:
            self.spawned.append(spec)
            return FakeProcess(100 + len(self.spawned))

        monkeypatch.setattr(Supervisor, "_spawn", spawn)
        self.supervisor.start(ChildSpec(NAME, ("gateway",)))
        self.guard = Guard(self.session, [NAME], lambda name, words: ChildSpec(name, tuple(words)), self.clock)
        self.beat()

    def beat(self) -> None:
        status = Status(NAME, "running", pid=self.supervisor.children[NAME].pid, started_ns=1)
        status.updated_ns = status.beat_ns = self.clock.now_ns()
        status.facts = {
            "venue": "binance_usdm", "account": "binance_usdm:paper", "symbols": ["BTCUSDT"], "ws_url": "ws://x",
            "rest_url": "http://x", "keys": "",
        }  # fmt: skip
        self.status = status
        (self.session.status / f"{NAME}.json").write_bytes(status.to_json())

    def look(self, seconds: float) -> list[str]:
        self.clock.sleep(seconds)
        return [*self.guard.look(self.supervisor, {NAME: self.status}), *self.supervisor.step()]

    def kill(self) -> None:
        killing.press(self.session, Scope.GLOBAL, 0, "a test", flatten=True)
        self.clock.advance_to(max(self.clock.now_ns(), SYSTEM_CLOCK.now_ns()))  # rows have the machine's time
        self.beat()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_gateway_that_does_not_take_a_kill_is_ended_and_starts_again_only_when_its_work_is_done(bench: Bench) -> None:
    assert bench.look(1) == []
    bench.kill()
    assert bench.look(1) == []  # it has some seconds
    happened = bench.look(5)
    assert "does not carry out kill" in happened[0]
    assert "signal SIGKILL" in happened[1]
    assert [spec.name for spec in bench.spawned] == [NAME, "clear-binance_usdm-1"]
    assert bench.spawned[1].arguments == ("clear", "binance_usdm", "--dead")
    assert bench.look(30) == []
    assert len(bench.spawned) == 2  # held back while its work is done
    bench.supervisor.children["clear-binance_usdm-1"].process.returncode = 0
    assert bench.look(1) == ["clear-binance_usdm-1 finished"]
    bench.look(1)
    assert [spec.name for spec in bench.spawned[2:]] == [NAME]
    assert bench.look(5) == []  # it is young: it may take its time to take the kill


def test_gateway_without_a_heartbeat_is_ended_and_started_again(bench: Bench) -> None:
    assert bench.look(11) == []
    bench.beat()
    assert bench.look(14) == []
    assert bench.look(2)[0] == f"{NAME} hangs: killed"
    bench.look(1)
    assert [spec.name for spec in bench.spawned] == [NAME, NAME]


def test_gateway_that_was_stopped_in_order_is_not_replaced(bench: Bench) -> None:
    bench.look(11)
    bench.supervisor.children[NAME].state = ChildState.STOPPED
    bench.kill()
    assert bench.look(60) == []
    assert len(bench.spawned) == 1
