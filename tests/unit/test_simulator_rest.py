"""Request weight of the simulated venue: calendar minutes, warnings, bans."""

from __future__ import annotations

import pytest

from connectors.simulator.rest import Refused, Weights
from connectors.simulator.rules import rules_of
from schemas.instruments import Venue
from streams.clock import ManualClock

S_NS = 1_000_000_000
MINUTE_NS = 60 * S_NS
SPOT = rules_of(Venue.BINANCE_SPOT)


def refusal(weights: Weights, weight: int) -> Refused:
    with pytest.raises(Refused) as caught:
        weights.charge(weight)
    return caught.value


def test_weight_counts_within_a_calendar_minute() -> None:
    clock = ManualClock(10 * MINUTE_NS + 45 * S_NS)
    weights = Weights(SPOT, clock)
    for _ in range(24):
        weights.charge(250)
    assert weights.used == 6000
    over = refusal(weights, 1)
    assert (over.status, over.code, over.retry_after_s) == (429, -1003, 15.0)
    clock.sleep(15)
    weights.charge(250)
    assert weights.used == 250


def test_who_goes_on_after_warnings_is_banned_and_may_come_back() -> None:
    clock = ManualClock(10 * MINUTE_NS)
    weights = Weights(SPOT, clock)
    weights.charge(6000)
    assert [refusal(weights, 1).status for _ in range(3)] == [429, 429, 429]
    ban = refusal(weights, 1)
    assert (ban.status, ban.code, ban.retry_after_s) == (418, -1003, SPOT.ban_s)
    assert "IP banned until 720000" in ban.message
    clock.sleep(SPOT.ban_s - 1)
    assert refusal(weights, 1).retry_after_s == 1.0, "asking does not lengthen it"
    clock.sleep(1)
    weights.charge(7)
    assert weights.used == 7
