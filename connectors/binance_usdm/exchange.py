"""Binance USD-M futures: addresses, limits and stream names."""

from __future__ import annotations

from connectors.binance.instruments import listed_symbols
from connectors.capabilities import ConnectionRules, Exchange, RestRules, StreamKind, StreamRule
from schemas.instruments import Venue

DAY_S = 86_400.0
# Since April 2026 streams are split over /public, /market and /private. A stream asked for on the wrong route
# (or on none) is acknowledged and stays silent. `@trade` is undocumented; by measurement it lives on /public.
PUBLIC = "/public"

EXCHANGE = Exchange(
    venue=Venue.BINANCE_USDM,
    ws_url="wss://fstream.binance.com",
    rest_url="https://fapi.binance.com",
    streams={
        StreamKind.DEPTH: StreamRule("@depth@100ms", PUBLIC),
        StreamKind.TICKER: StreamRule("@bookTicker", PUBLIC),
        StreamKind.TRADE: StreamRule("@trade", PUBLIC),
    },
    connection=ConnectionRules(
        ping_interval_s=15.0,  # the venue pings only every 3 minutes: too seldom to notice a dead socket
        pong_timeout_s=10.0,
        silence_max_s=30.0,
        control_rate_max=3,  # the venue allows 10
        control_names_max=200,
        streams_max=1024,
        life_s=DAY_S,
        dials_max=150,
        dials_window_s=300.0,
    ),
    rest=RestRules(
        weight_max=2400,
        weight_window_s=60.0,
        weight_header="X-MBX-USED-WEIGHT-1M",
        depth_path="/fapi/v1/depth",
        depth_limit=1000,
        depth_weight=20,
        instruments_path="/fapi/v1/exchangeInfo",
        instruments_weight=1,
        instruments_by_symbol=False,
    ),
    listed_symbols=listed_symbols,
)
