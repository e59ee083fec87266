"""Trade and book delta rows of a real recording, for measuring the codec. A quick reader, not the connector's."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from schemas.declare import Rows
from schemas.events import BOOK_DELTA, TRADE, BookAction, DeltaFlag, Side
from schemas.instruments import Venue, instrument_id, instrument_name
from schemas.money import parse_e8

MS = 1_000_000


def real_rows(path: Path, venue: Venue = Venue.BINANCE_USDM, symbol: str = "BTCUSDT") -> tuple[Rows, Rows]:
    """Every trade, and every level update of the depth stream (not synchronised), in the order heard."""
    instrument = instrument_id(instrument_name(venue, symbol))
    trades: list[tuple[Any, ...]] = []
    deltas: list[tuple[Any, ...]] = []
    with gzip.open(path) as lines:
        for number, line in enumerate(lines, 1):
            received, _, body = line.partition(b" ")
            data = orjson.loads(body).get("data")
            if data is None:
                continue
            if data["e"] == "trade":
                side = Side.SELL if data["m"] else Side.BUY
                price, quantity = parse_e8(data["p"]), parse_e8(data["q"])
                clocks = (data["T"] * MS, int(received))
                trades.append((*clocks, price, quantity, data["t"], number, instrument, side, 0, 0))
            elif data["e"] == "depthUpdate":
                deltas += _levels(data, int(received), number, instrument)
    return np.array(trades, dtype=TRADE.dtype), np.array(deltas, dtype=BOOK_DELTA.dtype)


def _levels(data: dict[str, Any], received: int, number: int, instrument: int) -> list[tuple[Any, ...]]:
    time_ns = data.get("T", data["E"]) * MS
    levels = [(Side.BUY, level) for level in data["b"]] + [(Side.SELL, level) for level in data["a"]]
    rows = []
    for i, (side, (price, quantity)) in enumerate(levels):
        flags = DeltaFlag.FIRST * (i == 0) | DeltaFlag.LAST * (i == len(levels) - 1)
        amounts = (parse_e8(price), parse_e8(quantity))
        rows.append(
            (time_ns, received, data["u"], *amounts, number, instrument, side, BookAction.UPDATE, int(flags), 0)
        )
    return rows
