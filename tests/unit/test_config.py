"""The environment: defaults, and one clear sentence for each bad value."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.config import load, writable_directory
from schemas.errors import ConfigInvalid, ResourceExhausted


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "DATA",
        "CACHE",
        "KAFKA",
        "SESSION",
        "MAVEN",
        "LOG",
        "LOG_LEVEL",
        "METRICS_PORT",
        "RECORDINGS",
        "BINANCE_USDM_WS",
    ):
        monkeypatch.delenv(f"SHRIVEN_{name}", raising=False)


def test_defaults_follow_the_xdg_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere/cache")
    assert load().data == Path("/somewhere/data/shriven")
    assert load().cache == Path("/somewhere/cache/shriven")


def test_a_relative_xdg_directory_is_ignored_as_xdg_demands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/h/someone")
    assert load().data == Path("/h/someone/.local/share/shriven")


def test_an_empty_variable_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHRIVEN_METRICS_PORT", "")
    monkeypatch.setenv("SHRIVEN_LOG", "")
    assert (load().metrics_port, load().log) == (0, "pretty")


def test_own_variables_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHRIVEN_DATA", "/elsewhere")
    monkeypatch.setenv("SHRIVEN_LOG", "JSON")
    monkeypatch.setenv("SHRIVEN_KAFKA", "one:9092,two:9093")
    config = load()
    assert (config.data, config.log, config.kafka) == (Path("/elsewhere"), "json", "one:9092,two:9093")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("KAFKA", "localhost", "must be host:port with a port from 1 to 65535"),
        ("KAFKA", "localhost:99999", "must be host:port with a port from 1 to 65535"),
        ("LOG", "xml", "should be 'json' or 'pretty'"),
        ("LOG_LEVEL", "loud", "should be 'debug', 'info', 'warning' or 'error'"),
        ("BINANCE_USDM_WS", "localhost:9700", "must begin with ws:// or wss://"),
        ("METRICS_PORT", "http", "should be a valid integer"),
        ("METRICS_PORT", "70000", "should be less than or equal to 65535"),
    ],
)
def test_a_bad_value_is_one_sentence_with_name_value_and_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(f"SHRIVEN_{name}", value)
    with pytest.raises(ConfigInvalid) as caught:
        load()
    sentence = str(caught.value)
    assert sentence.startswith(f"SHRIVEN_{name}={value} cannot be: it {reason}")
    assert "\n" not in sentence


def test_a_directory_that_cannot_be_made_is_refused_with_its_variable(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(ResourceExhausted, match="SHRIVEN_DATA"):
        writable_directory(in_the_way / "data", "SHRIVEN_DATA")


def test_nodes_of_the_broker_are_one_or_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHRIVEN_BROKER_NODES", "3")
    assert load().broker_nodes == 3
    monkeypatch.setenv("SHRIVEN_BROKER_NODES", "2")
    with pytest.raises(ConfigInvalid, match="SHRIVEN_BROKER_NODES=2 cannot be: it should be 1 or 3"):
        load()
