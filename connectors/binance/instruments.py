"""exchangeInfo bodies, the part that both Binance venues share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from schemas.declare import EMPTY_HEAP, Heap, Rows
from schemas.errors import InputInvalid
from schemas.events import INSTRUMENT
from schemas.instruments import Venue, instrument_id, instrument_name
from schemas.money import ONE_E8, parse_e8

TEXT_COLUMNS = ("symbol", "base", "quote", "settle")
Columns = dict[str, int | str]
Listed = Mapping[str, Any]  # one symbol's object


class Instruments(NamedTuple):
    """Rows of what is listed, and what could not become a row, as sentences."""

    rows: Rows
    heap: Heap
    rejected: tuple[str, ...]


def listed_symbols(body: bytes) -> list[str]:
    """The symbols of an exchangeInfo body.

    Raises:
        InputInvalid: it is none.
    """
    return [str(listed["symbol"]) for listed in _symbols(body)]


def instrument_rows(
    body: bytes, venue: Venue, columns_of: Callable[[Listed], Columns], ts_recv_ns: int, cause_row: int
) -> Instruments:
    """One Instrument row per symbol; `columns_of` says what is the venue's own.

    Raises:
        InputInvalid: the body is no exchangeInfo. A single bad symbol is only rejected.
    """
    rows, texts, rejected = [], bytearray(), []
    for listed in _symbols(body):
        try:
            columns = common_columns(listed) | columns_of(listed)
        except (InputInvalid, KeyError, TypeError, ValueError) as error:
            rejected.append(f"{listed['symbol']}: {error!r}")
            continue
        row = INSTRUMENT.empty(1)
        for name, value in columns.items():
            if isinstance(value, str):
                row[f"{name}_at"], row[f"{name}_size"] = len(texts), len(value.encode())
                texts += value.encode()
            else:
                row[name] = value
        row["ts_recv_ns"], row["cause_row"], row["venue"] = ts_recv_ns, cause_row, int(venue)
        row["instrument"] = instrument_id(instrument_name(venue, str(columns["symbol"])))
        rows.append(row)
    if not rows:
        return Instruments(INSTRUMENT.empty(), EMPTY_HEAP, tuple(rejected))
    return Instruments(np.concatenate(rows), np.frombuffer(bytes(texts), dtype=np.uint8), tuple(rejected))


def common_columns(listed: Listed) -> Columns:
    """What both venues say in the same words."""
    price, lot, market = (filter_of(listed, name) for name in ("PRICE_FILTER", "LOT_SIZE", "MARKET_LOT_SIZE"))
    return {
        "symbol": str(listed["symbol"]),
        "base": str(listed["baseAsset"]),
        "quote": str(listed["quoteAsset"]),
        "tick_size_e8": parse_e8(price["tickSize"]),
        "price_min_e8": parse_e8(price["minPrice"]),
        "price_max_e8": limit_e8(price["maxPrice"]),
        "lot_size_e8": parse_e8(lot["stepSize"]),
        "quantity_min_e8": parse_e8(lot["minQty"]),
        "quantity_max_e8": limit_e8(lot["maxQty"]),
        "market_quantity_max_e8": limit_e8(market.get("maxQty", "0")),
        "multiplier_e8": ONE_E8,
    }


def filter_of(listed: Listed, name: str) -> Mapping[str, Any]:
    """The symbol's filter of that type; empty where it has none."""
    return next((found for found in listed["filters"] if found["filterType"] == name), {})


def limit_e8(text: str) -> int:
    """An upper limit; one that an int64 cannot hold limits nothing (0)."""
    try:
        return parse_e8(text)
    except InputInvalid:
        if text.split(".")[0].isdigit():
            return 0
        raise


def _symbols(body: bytes) -> list[Listed]:
    try:
        listed = orjson.loads(body)["symbols"]
        if isinstance(listed, list) and all(isinstance(item["symbol"], str) for item in listed):
            return listed
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    raise InputInvalid("The answer is no exchangeInfo: it has no list of symbols. Is this address a Binance REST host?")
