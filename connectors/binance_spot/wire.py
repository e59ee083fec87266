"""Binance Spot frames → rows (connectors/binance/wire.py says how)."""

from __future__ import annotations

from connectors.binance.wire import BinanceWire
from connectors.binance_spot.exchange import EXCHANGE
from connectors.binance_spot.instruments import instruments


def wire(instruments_max: int = 1024) -> BinanceWire:
    """The processor `binance_spot.wire`: depth events chain by U = u before + 1."""
    return BinanceWire("binance_spot.wire", EXCHANGE, False, instruments, instruments_max)
