"""Binance USD-M futures frames → rows (connectors/binance/wire.py says how)."""

from __future__ import annotations

from connectors.binance.wire import BinanceWire
from connectors.binance_usdm.exchange import EXCHANGE
from connectors.binance_usdm.instruments import instruments


def wire(instruments_max: int = 1024) -> BinanceWire:
    """The processor `binance_usdm.wire`: depth events chain by pu = u before."""
    return BinanceWire("binance_usdm.wire", EXCHANGE, True, instruments, instruments_max)
