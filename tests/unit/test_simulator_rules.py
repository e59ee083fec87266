"""What the venues' tables say, and how paths are read."""

from __future__ import annotations

import pytest

from connectors.simulator.config import SyntheticConfig, VenueConfig
from connectors.simulator.rules import Address, parse_address, route_of, rules_of
from schemas.errors import ConfigInvalid
from schemas.instruments import Venue

SPOT, FUTURES = rules_of(Venue.BINANCE_SPOT), rules_of(Venue.BINANCE_USDM)


@pytest.mark.parametrize(
    ("path", "query", "address"),
    [
        ("/ws", [], Address("", False, ())),
        ("/ws/a@trade", [], Address("", False, ("a@trade",))),
        ("/ws/a@trade/b@depth", [], Address("", False, ("a@trade", "b@depth"))),
        ("/stream", [], Address("", True, ())),
        ("/stream", [("streams", "a@trade/b@depth")], Address("", True, ("a@trade", "b@depth"))),
        ("/", [], None),
        ("/streams", [], None),
        ("/stream/a@trade", [], None),
        ("/public/ws/a@depth", [], None),
    ],
)
def test_spot_paths(path: str, query: list[tuple[str, str]], address: Address | None) -> None:
    assert parse_address(SPOT, path, query) == address


@pytest.mark.parametrize(
    ("path", "query", "address"),
    [
        ("/public/ws/a@depth", [], Address("public", False, ("a@depth",))),
        ("/market/stream", [("streams", "a@aggTrade")], Address("market", True, ("a@aggTrade",))),
        ("/private/ws", [], Address("private", False, ())),
        ("/ws/a@depth", [], Address("", False, ("a@depth",))),
        ("/other/ws", [], None),
        ("/public", [], None),
    ],
)
def test_futures_paths(path: str, query: list[tuple[str, str]], address: Address | None) -> None:
    assert parse_address(FUTURES, path, query) == address


@pytest.mark.parametrize(
    ("stream", "route"),
    [
        ("btcusdt@bookTicker", "public"),
        ("!bookTicker", "public"),
        ("btcusdt@depth@0ms", "public"),
        ("btcusdt@depth20@100ms", "public"),
        ("btcusdt@trade", "public"),
        ("btcusdt@aggTrade", "market"),
        ("btcusdt@markPrice@1s", "market"),
        ("!forceOrder@arr", "market"),
        ("btcusdt@ticker", "market"),
    ],
)
def test_futures_stream_is_delivered_on_its_route_only(stream: str, route: str) -> None:
    assert route_of(stream) == route
    delivering = [name for name in ("public", "market", "private") if FUTURES.delivers(name, stream)]
    assert delivering == [route]
    assert FUTURES.delivers("", stream) == (route == "public"), "an address without a route carries public streams"
    assert SPOT.delivers("", stream)


@pytest.mark.parametrize(
    ("limit", "weight"), [(1, 5), (100, 5), (101, 25), (500, 25), (1000, 50), (5000, 250), (9999, 250)]
)
def test_spot_depth_weight(limit: int, weight: int) -> None:
    assert SPOT.depth_weight(limit) == weight


@pytest.mark.parametrize(("limit", "weight"), [(5, 2), (50, 2), (100, 5), (500, 10), (1000, 20)])
def test_futures_depth_weight(limit: int, weight: int) -> None:
    assert FUTURES.depth_weight(limit) == weight


def test_scale_divides_waiting_times_and_nothing_else() -> None:
    scaled = SPOT.scaled(100)
    assert (scaled.ping_interval_s, scaled.pong_timeout_s, scaled.life_s, scaled.ban_s) == (0.2, 0.6, 864.0, 1.2)
    assert (scaled.inbound_per_s, scaled.weight_limit, scaled.streams_max) == (5, 6000, 1024)


def test_venue_that_cannot_be_simulated_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="binance_spot, binance_usdm"):
        rules_of(Venue.ZERODHA)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "example.org"])
def test_address_that_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ConfigInvalid, match="loopback"):
        VenueConfig(Venue.BINANCE_SPOT, synthetic=SyntheticConfig(), host=host)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"recordings": ("a.gz",), "synthetic": SyntheticConfig()},
        {"synthetic": SyntheticConfig(), "speed": -1.0},
        {"synthetic": SyntheticConfig(), "time_scale": 0.0},
        {"synthetic": SyntheticConfig(), "faults": ("nosuch@3",)},
    ],
)
def test_configuration_that_cannot_be_right_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigInvalid):
        VenueConfig(Venue.BINANCE_SPOT, **values)  # type: ignore[arg-type]
