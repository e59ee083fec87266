"""What the simulated venue lists: instruments, and the exchangeInfo document made of them.

A recording tells the steps of prices and quantities (the greatest power of ten, as the venue's steps
are, that divides all that were seen); the other limits are the simulated venue's own and wide enough never to matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from schemas.instruments import Venue

E8 = 100_000_000
TEXTS_MAX = 4096  # prices and quantities come again and again
QUOTE_ASSETS = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "BRL", "JPY")


@dataclass(frozen=True)
class Listed:
    """One instrument of the simulated venue.

    Attributes:
        symbol: in upper case.
        tick_e8, lot_e8: steps of price and quantity, 8 decimals.
        price_decimals, quantity_decimals: digits after the point in the venue's texts.
    """

    symbol: str
    tick_e8: int
    lot_e8: int
    price_decimals: int
    quantity_decimals: int

    @cached_property
    def assets(self) -> tuple[str, str]:
        """Base and quote asset, by the quote assets that exist."""
        for quote in QUOTE_ASSETS:
            if self.symbol.endswith(quote) and len(self.symbol) > len(quote):
                return self.symbol.removesuffix(quote), quote
        return self.symbol, "USDT"


@lru_cache(TEXTS_MAX)
def decimal_text(value_e8: int, decimals: int) -> str:
    """`value_e8` with exactly `decimals` (at most 8) digits after the point; what is beyond them must be zero."""
    assert value_e8 % 10 ** (8 - decimals) == 0, (value_e8, decimals)
    whole, part = divmod(value_e8, E8)
    return f"{whole}.{part:08d}"[: -(8 - decimals) or None].rstrip("." if decimals == 0 else "")


@lru_cache(TEXTS_MAX)
def short_text(value_e8: int) -> str:
    """Without trailing zeros: `0.1`, `5`."""
    whole, part = divmod(value_e8, E8)
    return f"{whole}.{part:08d}".rstrip("0").rstrip(".")


class StepFinder:
    """The step of a set of decimal texts, and how many decimals are written."""

    def __init__(self) -> None:
        self._texts: set[str] = set()
        self._step_e8 = 0
        self.decimals = 0

    def add(self, text: str) -> None:
        if text not in self._texts:
            self._texts.add(text)
            whole, _, part = text.partition(".")
            if len(part) > 8:
                return  # tells no step; it is played as it was recorded, for the connector to refuse
            self.decimals = max(self.decimals, len(part))
            self._step_e8 = math.gcd(self._step_e8, int(whole) * E8 + int(part.ljust(8, "0")))
            if len(self._texts) > 100_000:  # bounded; a set this large has long told its step
                self._texts.clear()

    @property
    def step_e8(self) -> int:
        """The step; one unit of the last decimal while nothing but zeros was seen."""
        step_e8 = int(10 ** (8 - self.decimals))
        while self._step_e8 and self._step_e8 % (step_e8 * 10) == 0:
            step_e8 *= 10
        return step_e8


def exchange_info(venue: Venue, listed: Sequence[Listed], now_ms: int, weight_limit: int) -> dict[str, object]:
    """The exchangeInfo document of these instruments in the venue's own shape."""
    limits: list[dict[str, object]] = [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit}
    ]
    document: dict[str, object] = {"timezone": "UTC", "serverTime": now_ms, "rateLimits": limits, "exchangeFilters": []}
    if venue is Venue.BINANCE_USDM:
        limits.append({"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200})
        limits.append({"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300})
        document["futuresType"] = "U_MARGINED"
        document["assets"] = _margin_assets(listed)
        document["symbols"] = [_futures_symbol(row) for row in listed]
        return document
    limits.append({"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100})
    limits.append({"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 200_000})
    limits.append({"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 300_000})
    document["symbols"] = [_spot_symbol(row) for row in listed]
    return document


def _margin_assets(listed: Iterable[Listed]) -> list[dict[str, object]]:
    quotes = sorted({row.assets[1] for row in listed})
    return [{"asset": quote, "marginAvailable": True, "autoAssetExchange": "-10000"} for quote in quotes]


def _text8(value_e8: int) -> str:
    return decimal_text(value_e8, 8)


def _price_max_e8(row: Listed) -> int:
    return row.tick_e8 * 100_000_000


def _quantity_max_e8(row: Listed) -> int:
    return row.lot_e8 * 1_000_000_000


def _spot_symbol(row: Listed) -> dict[str, object]:
    base, quote = row.assets
    return {
        "symbol": row.symbol,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "icebergAllowed": False,
        "ocoAllowed": False,
        "otoAllowed": False,
        "opoAllowed": False,
        "quoteOrderQtyMarketAllowed": False,
        "allowTrailingStop": False,
        "cancelReplaceAllowed": False,
        "amendAllowed": False,
        "pegInstructionsAllowed": False,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": _text8(row.tick_e8),
                "maxPrice": _text8(_price_max_e8(row)),
                "tickSize": _text8(row.tick_e8),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": _text8(row.lot_e8),
                "maxQty": _text8(_quantity_max_e8(row)),
                "stepSize": _text8(row.lot_e8),
            },
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": _text8(0),
                "maxQty": _text8(_quantity_max_e8(row)),
                "stepSize": _text8(0),
            },
            {
                "filterType": "PERCENT_PRICE_BY_SIDE",
                "bidMultiplierUp": "5",
                "bidMultiplierDown": "0.2",
                "askMultiplierUp": "5",
                "askMultiplierDown": "0.2",
                "avgPriceMins": 5,
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": "5.00000000",
                "applyMinToMarket": True,
                "maxNotional": "9000000.00000000",
                "applyMaxToMarket": False,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
    }


def _futures_symbol(row: Listed) -> dict[str, object]:
    base, quote = row.assets
    return {
        "symbol": row.symbol,
        "pair": row.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": 4_133_404_800_000,
        "onboardDate": 1_569_398_400_000,
        "status": "TRADING",
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": row.price_decimals,
        "quantityPrecision": row.quantity_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": short_text(row.tick_e8),
                "maxPrice": short_text(_price_max_e8(row)),
                "tickSize": short_text(row.tick_e8),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": short_text(row.lot_e8),
                "maxQty": short_text(_quantity_max_e8(row)),
                "stepSize": short_text(row.lot_e8),
            },
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": short_text(row.lot_e8),
                "maxQty": short_text(_quantity_max_e8(row)),
                "stepSize": short_text(row.lot_e8),
            },
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }
