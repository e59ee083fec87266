"""Binance Spot: addresses, limits and stream names."""

from __future__ import annotations

from connectors.binance.instruments import listed_symbols
from connectors.capabilities import ConnectionRules, Exchange, RestRules, StreamKind, StreamRule
from schemas.instruments import Venue

DAY_S = 86_400.0

EXCHANGE = Exchange(
    venue=Venue.BINANCE_SPOT,
    ws_url="wss://stream.binance.com:9443",
    rest_url="https://api.binance.com",
    streams={
        StreamKind.DEPTH: StreamRule("@depth@100ms"),
        StreamKind.TICKER: StreamRule("@bookTicker"),
        StreamKind.TRADE: StreamRule("@trade"),
    },
    connection=ConnectionRules(
        ping_interval_s=0.0,  # the venue pings every 20 s and drops us 60 s after an unanswered one
        pong_timeout_s=0.0,
        silence_max_s=30.0,  # one missed ping and a half
        control_rate_max=3,  # the venue cuts above 5 a second, and our pongs count
        control_names_max=200,
        streams_max=1024,
        life_s=DAY_S,
        dials_max=150,  # half of what one address may do: someone else may share it
        dials_window_s=300.0,
    ),
    rest=RestRules(
        weight_max=6000,
        weight_window_s=60.0,
        weight_header="X-MBX-USED-WEIGHT-1M",
        depth_path="/api/v3/depth",
        depth_limit=1000,  # 5000 would cost five times the weight for levels that are far from the touch
        depth_weight=50,
        instruments_path="/api/v3/exchangeInfo",
        instruments_weight=20,
        instruments_by_symbol=True,
    ),
    listed_symbols=listed_symbols,
)
