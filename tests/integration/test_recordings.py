"""Every real recording, through the real websocket, over a real Kafka and without one: the facts of each recording
are met, the content is the same, and the session can be run again to the last byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.cli import shriven
from tests.recordings import recording

pytestmark = [pytest.mark.broker, pytest.mark.recording, pytest.mark.slow, pytest.mark.timeout(900)]


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
WORDS = ("--speed", "max", "--until-end", "--json")


def check(summary: dict[str, Any], facts: Facts) -> None:
    book = summary["books"][f"{facts.venue}:{facts.symbol}"]
    assert book["trust"] == "SYNCED"
    assert (book["gaps"], book["resyncs"], book["crossed"]) == (0, 0, 0)
    assert (book["ticker_shared"], book["ticker_equal"]) == (facts.shared, facts.shared)
    assert summary["rows"]["md.trade.v1"] == facts.trades
    assert summary["rows"]["md.ticker.v1"] == facts.tickers
    if facts.touch is not None:
        assert (book["best_bid"], book["best_ask"]) == facts.touch


@pytest.mark.parametrize("name", FACTS)
def test_recording_meets_its_facts_the_same_way_over_kafka_and_without(name: str, kafka: str, tmp_path: Path) -> None:
    facts = FACTS[name]
    play = ("up", "--play", f"{facts.venue}={recording(name)}", *WORDS)
    over = shriven(*play, "--broker", kafka, data=tmp_path).json()
    without = shriven(*play, "--broker", "none", data=tmp_path).json()
    check(over, facts)
    check(without, facts)
    assert over["hashes"]["content"] == without["hashes"]["content"]
    assert over["session"] != without["session"]

    for broker, cut in ((kafka, None), ("none", None), ("none", "1"), ("none", "2"), (kafka, "3")):
        words = ["replay", over["session"], "--broker", broker, "--json", *(["--cut", cut] if cut else [])]
        again = shriven(*words, data=tmp_path).json()
        assert again["equal"] is True, words
        rows = {topic: found["replayed"] for topic, found in again["topics"].items()}
        assert rows == over["hashes"]["row"], words
    again = shriven("replay", without["session"], "--json", data=tmp_path).json()
    assert {topic: found["replayed"] for topic, found in again["topics"].items()} == without["hashes"]["row"]
