"""The pure parts of the session: pauses, budgets, pulses, raw batches, plans."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from connectors.backoff import Backoff
from connectors.binance_spot.exchange import EXCHANGE as SPOT
from connectors.binance_usdm.exchange import EXCHANGE as USDM
from connectors.capabilities import StreamKind, StreamRule, plan_connections
from connectors.liveness import Liveness
from connectors.ratelimit import SlidingWindow, WeightBudget, retry_after_s
from connectors.rawbatch import RawBatch
from connectors.venues import VENUES, venue_parts
from schemas.declare import Heap, Rows
from schemas.errors import ConfigInvalid
from schemas.events import FrameKind
from schemas.instruments import Venue

S = 1_000_000_000
DEPTH, TICKER, TRADE = StreamKind.DEPTH, StreamKind.TICKER, StreamKind.TRADE


class Longest(Random):
    """Chance that always picks the longest wait."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_pauses_double_up_to_the_ceiling_and_health_forgets_them() -> None:
    backoff = Backoff(chance=Longest())
    assert [backoff.next_s() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    backoff.healthy()
    assert backoff.next_s() == 0.5


def test_pauses_are_fully_jittered() -> None:
    waits = []
    for seed in range(400):
        backoff = Backoff(chance=Random(seed))
        backoff.failures = 4
        waits.append(backoff.next_s())
    assert min(waits) < 0.5
    assert 7.5 < max(waits) <= 8.0
    assert 3.5 < sum(waits) / len(waits) < 4.5


def test_window_lets_through_so_many_and_no_more() -> None:
    window = SlidingWindow(3, 1.0)
    assert [window.take(now) for now in (0, 1, 2)] == [0.0, 0.0, 0.0]
    assert window.take(S // 2) == pytest.approx(0.5)
    assert window.take(S) == 0.0
    assert window.take(S) == pytest.approx(1e-9)


def test_weight_is_counted_by_calendar_window_and_the_venue_knows_better() -> None:
    budget = WeightBudget(100, 60.0, "X-MBX-USED-WEIGHT-1M")
    minute = 60 * S
    assert budget.take(50, 10 * minute + 50 * S) == 0.0
    assert budget.take(31, 10 * minute + 50 * S) == pytest.approx(10.0), "four fifths are ours: 80"
    assert budget.take(30, 10 * minute + 50 * S) == 0.0
    assert budget.take(30, 11 * minute) == 0.0, "a new window, not a sliding one"
    budget.heard({"X-MBX-USED-WEIGHT-1M": "79"}, 11 * minute + S)
    assert budget.take(2, 11 * minute + S) == pytest.approx(59.0)
    assert budget.used == 79


def test_request_heavier_than_our_share_goes_when_nothing_else_was_used() -> None:
    budget = WeightBudget(100, 60.0, "h")
    assert budget.take(95, 0) == 0.0


def test_venue_that_wants_quiet_gets_it() -> None:
    budget = WeightBudget(100, 60.0, "h")
    budget.be_quiet(90, 0)
    budget.be_quiet(5, 0)
    assert budget.take(1, 30 * S) == pytest.approx(60.0)
    assert budget.take(1, 90 * S) == 0.0


@pytest.mark.parametrize(("headers", "seconds"), [({"Retry-After": "7"}, 7), ({}, 60), ({"Retry-After": "soon"}, 60)])
def test_retry_after_is_read_or_a_default_taken(headers: dict[str, str], seconds: float) -> None:
    assert retry_after_s(headers, 60.0) == seconds


def liveness(depth_s: float = 5.0) -> Liveness:
    wanted = {"btcusdt@depth@100ms": DEPTH, "btcusdt@trade": TRADE}
    return Liveness(wanted, {DEPTH: depth_s, TRADE: 0.0}, 10.0, 8.0, 0)


def test_stream_that_was_never_heard_is_silent_after_the_first_data_limit() -> None:
    alive = liveness()
    assert alive.newly_silent(10 * S) == []
    assert [watch.name for watch in alive.newly_silent(10 * S + 1)] == ["btcusdt@depth@100ms"]
    assert alive.newly_silent(11 * S) == [], "told once"
    assert alive.long_silent(1000 * S) is None, "never heard: perhaps nothing is traded; the socket may be good"


def test_stream_is_silent_after_its_limit_and_told_again_after_it_came_back() -> None:
    alive = liveness()
    for now in range(1, 21):
        alive.heard(b"btcusdt@depth@100ms", now * S // 10)
    assert alive.newly_silent(7 * S) == []
    assert len(alive.newly_silent(7 * S + 1)) == 1
    alive.heard(b"btcusdt@depth@100ms", 8 * S)
    assert alive.newly_silent(15 * S) == [], "its pace, the pause included, allows 20 times 8 s / 21"
    assert len(alive.newly_silent(16 * S)) == 1


def test_slow_stream_is_judged_by_its_own_pace() -> None:
    """A message every 3 s on average: 5 s of silence are nothing, a minute is."""
    alive = liveness()
    for now in range(1, 11):
        alive.heard(b"btcusdt@depth@100ms", 3 * now * S)
    assert alive.newly_silent((30 + 59) * S) == []
    assert len(alive.newly_silent((30 + 61) * S)) == 1


def test_kind_without_a_limit_is_never_silent() -> None:
    alive = liveness()
    for now in range(10):
        alive.heard(b"btcusdt@depth@100ms", now * S)
        alive.heard(b"btcusdt@trade", now * S)
    assert [watch.kind for watch in alive.newly_silent(10_000 * S)] == [DEPTH]


def test_stream_silent_for_three_times_the_limit_ends_the_socket() -> None:
    alive = liveness()
    for now in range(1, 21):
        alive.heard(b"btcusdt@depth@100ms", now * S // 10)
    assert alive.long_silent(100 * S) is None, "not before it was asked for again"
    alive.newly_silent(8 * S)
    assert alive.long_silent(17 * S) is None
    found = alive.long_silent(17 * S + 1)
    assert found is not None
    assert found.name == "btcusdt@depth@100ms"


def test_depth_stream_of_another_speed_is_the_same_stream() -> None:
    alive = liveness()
    alive.heard(b"btcusdt@depth@0ms", S)
    alive.heard(b"ethusdt@depth@0ms", S)
    assert [watch.pulse.count for watch in alive.streams] == [1, 0]
    assert alive.data.count == 2


def test_new_socket_has_said_everything_when_it_said_what_the_old_one_says() -> None:
    old, new = liveness(), liveness()
    old.heard(b"btcusdt@depth@100ms", S)
    assert not new.all_heard(old)
    new.heard(b"btcusdt@trade", S)
    assert not new.all_heard(old)
    new.heard(b"btcusdt@depth@100ms", S)
    assert new.all_heard(old)


def test_announcement_of_a_shutdown_is_noticed() -> None:
    alive = liveness()
    assert not alive.shutdown
    alive.heard(b"!serverShutdown", S)
    assert alive.shutdown


def test_names_that_a_venue_invents_do_not_fill_the_memory() -> None:
    alive = liveness()
    for n in range(10_000):
        alive.heard(b"x%d@trade" % n, S)
    assert len(alive._by_name) == 4096


def collected() -> tuple[list[tuple[Rows, Heap]], RawBatch]:
    found: list[tuple[Rows, Heap]] = []
    return found, RawBatch(Venue.BINANCE_SPOT, 3, lambda rows, heap: found.append((rows, heap)), bytes_max=10)


def test_batch_becomes_rows_that_point_into_one_heap() -> None:
    found, batch = collected()
    batch.add(FrameKind.OPEN, b"ws://x", 1, 5)
    batch.add_texts([b"one", b"", b"three"], 1, 7)
    assert batch.full
    batch.add(FrameKind.REST, b"{}", 1, 9, 429, "GET /depth")
    batch.add_texts([b"four"], 2, 11)
    batch.flush()
    assert batch.empty
    ((rows, heap),) = found
    texts = [heap[row["payload_at"] : row["payload_at"] + row["payload_size"]].tobytes() for row in rows]
    assert texts == [b"ws://x", b"one", b"", b"three", b"{}", b"four"]
    asked = [heap[row["request_at"] : row["request_at"] + row["request_size"]].tobytes() for row in rows]
    assert asked == [b"", b"", b"", b"", b"GET /depth", b""]
    assert rows["kind"].tolist() == [0, 1, 1, 1, 3, 1]
    assert rows["ts_recv_ns"].tolist() == [5, 7, 7, 7, 9, 11]
    assert rows["epoch"].tolist() == [1, 1, 1, 1, 1, 2]
    assert rows["status"].tolist() == [0, 0, 0, 0, 429, 0]
    assert set(rows["connection"].tolist()) == {3}
    assert set(rows["venue"].tolist()) == {int(Venue.BINANCE_SPOT)}
    assert heap.dtype == np.uint8


def test_empty_batch_hands_over_nothing() -> None:
    found, batch = collected()
    batch.flush()
    assert found == []


def test_streams_of_one_route_share_a_socket_up_to_the_venues_limit() -> None:
    assert [plan.route for plan in plan_connections(USDM, ["BTCUSDT", "ETHUSDT"])] == ["/public"]
    symbols = [f"S{n}" for n in range(700)]
    plans = plan_connections(SPOT, symbols)
    assert [len(plan.wanted) for plan in plans] == [341 * 3, 341 * 3, 18 * 3]
    assert [plan.shard for plan in plans] == [0, 1, 2]
    assert sorted({symbol for plan in plans for symbol, _ in plan.wanted}) == sorted(symbols)


def test_streams_of_different_routes_need_different_sockets() -> None:
    split = replace(USDM, streams={**USDM.streams, TRADE: StreamRule("@aggTrade", "/market")})
    plans = plan_connections(split, ["BTCUSDT"])
    assert {plan.route: [kind for _, kind in plan.wanted] for plan in plans} == {
        "/market": [TRADE], "/public": [DEPTH, TICKER],
    }  # fmt: skip
    assert split.stream_url("/market") == "wss://fstream.binance.com/market/stream"


def test_addresses_of_a_venue_can_be_replaced() -> None:
    moved = SPOT.at("ws://127.0.0.1:1/", "http://127.0.0.1:2")
    assert (moved.stream_url(""), moved.rest_url) == ("ws://127.0.0.1:1/stream", "http://127.0.0.1:2")
    assert SPOT.at().ws_url == SPOT.ws_url


def test_symbols_are_asked_for_by_name_where_the_venue_can() -> None:
    request = SPOT.instruments_request(["BTCUSDT", "ETHUSDT"])
    assert request.text == "GET /api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22%2C%22ETHUSDT%22%5D"
    assert USDM.instruments_request(["BTCUSDT"]).text == "GET /fapi/v1/exchangeInfo"


def test_every_venue_of_the_table_has_its_parts() -> None:
    for venue in VENUES:
        parts = venue_parts(venue)
        assert parts.exchange.venue is venue
        assert parts.wire().name == f"{venue.label}.wire"
    with pytest.raises(ConfigInvalid, match="no connector for zerodha"):
        venue_parts(Venue.ZERODHA)
