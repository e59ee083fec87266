"""Every real recording, through the real websocket, over a real Kafka and without one: the facts of each recording
are met, the content is the same, and the session can be run again to the last byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli import shriven
from tests.recordings import recording

pytestmark = [pytest.mark.broker, pytest.mark.recording, pytest.mark.timeout(900)]


class Facts(NamedTuple):
    """What is known of a recording, counted independently of this project."""

    venue: str
    symbol: str
    trades: int
    tickers: int
    shared: int  # update ids that both the depth and the bookTicker stream carry
    touch: tuple[str, str] | None


FACTS: dict[str, Facts] = {
    "usdm_btcusdt_20240808.gz": Facts("binance_usdm", "BTCUSDT", 21_313, 66_089, 629, ("61659.7", "61659.8")),
    "usdm_ethusdt_20240808.gz": Facts("binance_usdm", "ETHUSDT", 14_076, 53_992, 551, None),
    "spot_btcusdt_20240808.gz": Facts("binance_spot", "BTCUSDT", 9_757, 28_040, 564, ("61685.99", "61686")),
    "spot_ethusdt_20240808.gz": Facts("binance_spot", "ETHUSDT", 6_106, 24_077, 577, None),
}
# A book says STALE after five seconds without a row: a loaded machine may need longer for the end of a play.
WORDS = ("--speed", "max", "--until-end", "--json", "--set", "book.stale_after_ns=60000000000")


def check(summary: dict[str, Any], facts: Facts) -> None:
    book = summary["books"][f"{facts.venue}:{facts.symbol}"]
    assert book["trust"] == "SYNCED"
    assert (book["gaps"], book["resyncs"], book["crossed"]) == (0, 0, 0)
    assert (book["ticker_shared"], book["ticker_equal"]) == (facts.shared, facts.shared)
    assert summary["rows"]["md.trade.v1"] == facts.trades
    assert summary["rows"]["md.ticker.v1"] == facts.tickers
    if facts.touch is not None:
        assert (book["best_bid"], book["best_ask"]) == facts.touch


class Played(NamedTuple):
    """One recording played twice."""

    over: dict[str, Any]  # summary of the play over Kafka
    without: dict[str, Any]  # and of the one without a broker
    data: Path


@pytest.fixture(
    scope="module",
    params=[name if name.startswith("usdm_btc") else pytest.param(name, marks=pytest.mark.slow) for name in FACTS],
)
def played(request: pytest.FixtureRequest, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Played:
    facts = FACTS[request.param]
    data = tmp_path_factory.mktemp("played")
    play = ("up", "--play", f"{facts.venue}={recording(request.param)}", *WORDS)
    over = shriven(*play, "--broker", kafka, data=data).json()
    without = shriven(*play, "--broker", "none", data=data).json()
    check(over, facts)
    check(without, facts)
    return Played(over, without, data)


def replays(summary: dict[str, Any], data: Path, *words: str) -> None:
    again = shriven("replay", summary["session"], "--json", *words, data=data).json()
    assert again["equal"] is True, words
    assert {topic: found["replayed"] for topic, found in again["topics"].items()} == summary["hashes"]["row"], words


def test_recording_meets_its_facts_the_same_way_over_kafka_and_without(played: Played, kafka: str) -> None:
    assert played.over["hashes"]["content"] == played.without["hashes"]["content"]
    assert played.over["session"] != played.without["session"]
    replays(played.over, played.data, "--broker", kafka, "--cut", "1")
    replays(played.over, played.data, "--broker", "none")


@pytest.mark.slow
def test_recorded_session_runs_again_the_same_under_every_broker_and_cut(played: Played, kafka: str) -> None:
    for words in (
        [kafka],
        ["none", "--cut", "1"],
        ["none", "--cut", "2"],
        ["none", "--cut", "3"],
        [kafka, "--cut", "4"],
    ):
        replays(played.over, played.data, "--broker", *words)
    replays(played.without, played.data)
    replays(played.without, played.data, "--cut", "5")
