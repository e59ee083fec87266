"""Processes of `up --trade` killed and the venue's sockets cut: in the end our orders, fills, positions and cash are
the venue's, which is asked itself; and no decision saw a book that may not be believed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from connectors.simulator.faults import FAULTS
from streams.pipelines import pipeline
from tests.integration.kill_trade import CUT, TARGETS, Trading, run

pytestmark = pytest.mark.timeout(900)
SHORT = {"silence": {"seconds": 3}, "rest_418": {"seconds": 2}, "order_timeout": {"seconds": 3}}  # else the defaults


def test_killed_and_cut_trading_ends_as_the_venue_has_it(tmp_path: Path) -> None:
    hit, truth, complaints = run(tmp_path, 24, seed=1)
    assert complaints == []
    assert set(hit) == {*TARGETS, CUT}
    assert len(truth.trades) > 0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_a_hundred_kills_end_as_the_venue_has_it(seed: int, tmp_path: Path) -> None:
    _, truth, complaints = run(tmp_path, 100, seed)
    assert complaints == []
    assert len(truth.trades) > 0


@pytest.mark.slow
@pytest.mark.broker
def test_broker_away_and_processes_killed_end_as_the_venue_has_it(tmp_path: Path) -> None:
    _, _, complaints = run(tmp_path, 24, 4, "embedded", "--fault", "broker_down@20:seconds=5")
    assert complaints == []


@pytest.mark.slow
def test_no_decision_saw_a_book_not_to_be_believed_over_all_faults_of_the_venue(tmp_path: Path) -> None:
    chance = random.Random(5)
    trading = Trading(tmp_path, "none", 5)
    try:
        trading.begin()
        for name in chance.sample(sorted(FAULTS), len(FAULTS)):
            trading.venue.fault(name, **SHORT.get(name, {}))
            time.sleep(chance.uniform(2.0, 6.0))
        time.sleep(60.0)  # what is half open is noticed by its silence
        truth = trading.rest()
        trading.end()
    finally:
        trading.abandon()
    put_aside = f"dead letter of writer {pipeline('wire_binance_usdm').writer(0)}:"  # corrupt_frame and unknown_event
    complaints = trading.complaints(truth)
    assert [one for one in complaints if not one.startswith(put_aside)] == []
    assert len(complaints) <= 2
    assert len(truth.trades) > 0
