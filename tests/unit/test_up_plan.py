"""`up`'s options: what they come to, and one sentence for each that cannot be."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from infra.config import Config
from infra.up.plan import Feed, ProcessFault, UpPlan, make_plan
from schemas.errors import ConfigInvalid, InputInvalid, ShrivenError

USDM_LINE = (
    b'1 {"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","s":"BTCUSDT","U":1,"u":2,"pu":0,"b":[],"a":[]}}\n'
)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(data=tmp_path / "data", cache=tmp_path / "cache", recordings=tmp_path)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "usdm.gz"
    path.write_bytes(gzip.compress(USDM_LINE))
    return path


def plan(config: Config, **given: Any) -> UpPlan:
    defaults: dict[str, Any] = {
        "plays": (), "live": (), "symbols": (), "speed": "1", "until_end": False, "for_s": None,
        "broker": "none", "faults": (), "seed": 7,
    }  # fmt: skip
    return make_plan(config, **(defaults | given))


def test_without_a_feed_the_market_is_synthetic_and_says_so(config: Config) -> None:
    made = plan(config)
    assert made.feeds == (Feed("binance_usdm", (), True, ()),)
    assert (made.synthetic, made.label) == (True, "synthetic market, seed 7")


@pytest.mark.parametrize(
    ("given", "trades"),
    [
        ({}, True),
        ({"for_s": 5.0}, True),
        ({"until_end": True, "for_s": 5.0}, False),
        ({"live": ["binance_usdm"], "symbols": ["BTCUSDT"]}, False),
        ({"trade": False}, False),
        ({"until_end": True, "for_s": 5.0, "trade": True}, True),
    ],
)
def test_a_made_up_market_that_goes_on_is_traded_in(config: Config, given: dict[str, Any], trades: bool) -> None:
    assert plan(config, **given).trade is trades


def test_play_finds_the_recording_and_its_symbols(config: Config, recording: Path) -> None:
    made = plan(config, plays=[f"binance_usdm={recording}"], speed="max", until_end=True)
    assert made.feeds == (Feed("binance_usdm", (str(recording),), False, ("BTCUSDT",)),)
    assert (made.speed, made.label) == (0.0, "recording usdm.gz")


def test_play_looks_among_the_recordings_too(config: Config, recording: Path) -> None:
    assert plan(config, plays=["binance_usdm=usdm.gz"]).feeds[0].recordings == (str(recording),)


def test_live_takes_symbols_in_any_case(config: Config) -> None:
    assert plan(config, live=["binance_spot"], symbols=["btcusdt", "BTCUSDT"]).feeds == (
        Feed("binance_spot", (), False, ("BTCUSDT",)),
    )


def test_faults_are_told_apart(config: Config) -> None:
    made = plan(config, faults=["cut@5", "kill:book@2", "hang:bars@3:seconds=4", "broker_down@1", "broker_kill@9"])
    assert made.venue_faults == ("cut@5:code=1006,lost=1",)
    assert made.process_faults == (
        ProcessFault("kill", "book", 2, 3),
        ProcessFault("hang", "bars", 3, 4),
        ProcessFault("broker_down", "", 1, 3),
        ProcessFault("broker_kill", "", 9, 3),
    )


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({"plays": ["binance_usdm"]}, ConfigInvalid, "write VENUE=FILE"),
        ({"plays": ["mtgox=usdm.gz"]}, ConfigInvalid, "Unknown venue 'mtgox'"),
        ({"plays": ["zerodha=usdm.gz"]}, ConfigInvalid, "Nobody reads the frames of zerodha"),
        ({"plays": ["binance_usdm=absent.gz"]}, ConfigInvalid, "No recording absent.gz"),
        ({"plays": ["binance_usdm=notes.txt"]}, InputInvalid, "is not a recording"),
        ({"plays": ["binance_spot=usdm.gz"]}, ConfigInvalid, "was recorded at binance_usdm, not at binance_spot"),
        ({"plays": ["binance_usdm=usdm.gz"], "symbols": ["ETHUSDT"]}, ConfigInvalid, "played whole"),
        ({"plays": ["binance_usdm=usdm.gz"], "live": ["binance_usdm"], "symbols": ["X"]}, ConfigInvalid, "not both"),
        ({"live": ["binance_usdm"]}, ConfigInvalid, "needs at least one --symbol"),
        ({"live": ["binance_usdm"], "symbols": ["X"], "speed": "2"}, ConfigInvalid, "live market"),
        ({"live": ["binance_usdm"], "symbols": ["X"], "faults": ["cut@1"]}, ConfigInvalid, "simulated venue"),
        ({"speed": "fast"}, ConfigInvalid, "--speed fast cannot be"),
        ({"speed": "0"}, ConfigInvalid, "--speed 0 cannot be"),
        ({"speed": "-1"}, ConfigInvalid, "--speed -1 cannot be"),
        ({"speed": "nan"}, ConfigInvalid, "--speed nan cannot be"),
        ({"until_end": True}, ConfigInvalid, "--until-end needs an end"),
        ({"for_s": 0.0}, ConfigInvalid, "--for 0 cannot be"),
        ({"broker": "localhost"}, ConfigInvalid, "--broker localhost cannot be"),
        ({"faults": ["earthquake@1"]}, ConfigInvalid, "No fault 'earthquake'"),
        ({"faults": ["kill@1"]}, ConfigInvalid, "kill:PROCESS@SECONDS"),
        ({"faults": ["hang:book@soon"]}, ConfigInvalid, "hang:PROCESS@SECONDS"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    config: Config, recording: Path, given: dict[str, Any], kind: type[ShrivenError], words: str
) -> None:
    (recording.parent / "notes.txt").write_text("dear diary\n")
    with pytest.raises(kind) as caught:
        plan(config, **given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
