"""Sessions: numbers that are never used twice, finding them again, one runner at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.config import Config
from infra.process.wiring import settled_account
from infra.sessions import store as sessions
from schemas.errors import ConfigInvalid, IntegrityError, ResourceExhausted
from streams.api import WriterKey
from streams.clock import ManualClock
from streams.log import LogWriter
from streams.pipelines import pipeline
from streams.topics import topic

CLOCK = ManualClock(1_700_000_000_000_000_000)  # 2023-11-14 22:13:20 UTC


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path / "data", cache=tmp_path / "cache")


class Broker:
    """A directory that others write to as well."""

    def __init__(self, **known: int) -> None:
        self.known: dict[str, int] = dict(known)
        self.rival: dict[str, int] = {}

    def incarnations(self) -> Mapping[str, int]:
        return self.known

    def claim(self, session: sessions.Session) -> bool:
        if self.rival:
            self.known |= self.rival
            self.rival = {}
        if session.name in self.known or session.incarnation in self.known.values():
            return False
        self.known[session.name] = session.incarnation
        return True


def test_create_names_by_time_and_number_and_loads_again(config: Config) -> None:
    made = sessions.create(config, {"plays": ["a"]}, CLOCK)
    assert (made.name, made.incarnation) == ("20231114-221320-1", 1)
    assert sessions.load(made.root) == made
    assert made.log.is_dir()


def test_a_number_is_not_used_again_after_its_session_was_deleted(config: Config) -> None:
    first = sessions.create(config, {}, CLOCK, "first")
    (first.root / "session.json").unlink()
    assert sessions.create(config, {}, CLOCK, "second").incarnation == 2


def test_numbers_of_the_broker_are_avoided_too(config: Config) -> None:
    broker = Broker(elsewhere=41)
    assert sessions.create(config, {}, CLOCK, directory=broker).incarnation == 42
    assert broker.known["20231114-221320-42"] == 42


def test_a_number_lost_to_another_machine_is_passed_over(config: Config) -> None:
    broker = Broker()
    broker.rival = {"other": 1}
    assert sessions.create(config, {}, CLOCK, directory=broker).incarnation == 2


def test_a_name_that_another_machine_began_meanwhile_is_joined(config: Config) -> None:
    broker = Broker()
    broker.rival = {"prod": 9}
    assert sessions.join(config, "prod", CLOCK, broker).incarnation == 9


def test_join_takes_the_incarnation_that_the_broker_knows(config: Config) -> None:
    assert sessions.join(config, "prod", CLOCK, Broker(prod=7)).incarnation == 7
    assert sessions.create(config, {}, CLOCK, "next").incarnation == 8


def test_join_of_an_unknown_session_begins_it_once(config: Config) -> None:
    assert sessions.join(config, "prod", CLOCK) == sessions.join(config, "prod", CLOCK)


def test_the_last_number_is_the_last(config: Config) -> None:
    sessions.create(config, {}, CLOCK, directory=Broker(elsewhere=65_534))
    with pytest.raises(ResourceExhausted, match="65535"):
        sessions.create(config, {}, CLOCK)


@pytest.mark.parametrize("name", ["../up", "a b", "-x", "x" * 64, "a/b"])
def test_a_name_that_is_no_file_name_is_refused(config: Config, name: str) -> None:
    with pytest.raises(ConfigInvalid, match="cannot name a session"):
        sessions.create(config, {}, CLOCK, name)


def test_a_taken_name_is_refused(config: Config) -> None:
    sessions.create(config, {}, CLOCK, "prod")
    with pytest.raises(ConfigInvalid, match="exists already"):
        sessions.create(config, {}, CLOCK, "prod")


def test_a_name_whose_session_runs_is_refused_with_the_pid(config: Config) -> None:
    with (
        sessions.held(sessions.create(config, {}, CLOCK, "prod")),
        pytest.raises(ResourceExhausted, match=f"being run by process {os.getpid()}"),
    ):
        sessions.create(config, {}, CLOCK, "prod")


def test_find_by_name_prefix_and_latest(config: Config) -> None:
    with pytest.raises(ConfigInvalid, match="No session"):
        sessions.find(config, "latest")
    for name in ("alpha", "alphabet", "beta"):
        sessions.create(config, {}, CLOCK, name)
    assert sessions.find(config, "alpha").name == "alpha"
    assert sessions.find(config, "b").name == "beta"
    assert sessions.find(config, "latest").name == "beta"
    with pytest.raises(ConfigInvalid, match="alpha, alphabet"):
        sessions.find(config, "al")
    with pytest.raises(ConfigInvalid, match="No session 'gamma'"):
        sessions.find(config, "gamma")


def test_a_second_runner_is_refused_with_the_pid_of_the_first(config: Config) -> None:
    session = sessions.create(config, {}, CLOCK, "prod")
    assert sessions.running_pid(session) is None
    program = f"""
from pathlib import Path
from infra.sessions import store as sessions
from schemas.errors import ResourceExhausted
session = sessions.load(Path({str(session.root)!r}))
try:
    with sessions.held(session):
        print("held")
except ResourceExhausted as error:
    print(error)
"""
    with sessions.held(session):
        assert sessions.running_pid(session) == os.getpid()
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"being run by process {os.getpid()}" in other.stdout
    again = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert again.stdout == "held\n"


def test_a_read_only_data_root_is_one_sentence(config: Config) -> None:
    config.data.parent.mkdir(parents=True, exist_ok=True)
    config.data.write_text("a file in the way")
    with pytest.raises(ResourceExhausted, match="SHRIVEN_DATA"):
        sessions.create(config, {}, CLOCK)


def test_a_session_file_that_was_changed_is_reported(config: Config) -> None:
    session = sessions.create(config, {}, CLOCK, "prod")
    (session.root / "session.json").write_text("{")
    with pytest.raises(IntegrityError, match="changed by hand"):
        sessions.find(config, "prod")


def test_report_is_stored_and_read_back(config: Config) -> None:
    session = sessions.create(config, {}, CLOCK, "prod")
    assert session.report() is None
    session.save_report({"rows": {"md.trade.v1": 3}})
    assert session.report() == {"rows": {"md.trade.v1": 3}}


def test_plan_names_the_account_that_a_gateway_trades_and_no_second_one(config: Config) -> None:
    row = pipeline("orders_binance_usdm")
    made = sessions.create(config, {"up": {"trade": True}}, CLOCK)
    assert settled_account(made, row, "paper")["orders_binance_usdm"] == {}
    assert sessions.load(made.root) == made, "what a rule takes by itself needs no word"
    assert settled_account(made, row, "main")["orders_binance_usdm"] == {"account": "main"}
    again = sessions.load(made.root)
    assert again.plan == {"up": {"trade": True}, "parameters": {"orders_binance_usdm": {"account": "main"}}}
    assert settled_account(again, row, "main")["orders_binance_usdm"] == {"account": "main"}
    with pytest.raises(ConfigInvalid, match=r"trades account 'main', and these keys are of 'paper'.*--session NAME"):
        settled_account(again, row, "paper")


def test_account_of_a_session_that_has_traded_stays(config: Config) -> None:
    row = pipeline("orders_binance_usdm")
    made = sessions.create(config, {}, CLOCK)
    key = WriterKey(topic("sys.journal").number, 0, row.writer(0), made.incarnation)
    LogWriter(made.log, key).close()
    with pytest.raises(ConfigInvalid, match="trades account 'paper'"):
        settled_account(made, row, "main")
    assert sessions.load(made.root) == made
