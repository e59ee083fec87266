"""Amounts as the venue writes them: integers × 10^8 in, decimal text out."""

from __future__ import annotations

from functools import lru_cache

from connectors.simulator.listing import E8, TEXTS_MAX, Listed, decimal_text, short_text


@lru_cache(TEXTS_MAX)
def signed_text(value_e8: int) -> str:
    """With eight decimals, as the venue writes money."""
    if value_e8 < 0:
        return f"-{-value_e8 // E8}.{-value_e8 % E8:08d}"
    return f"{value_e8 // E8}.{value_e8 % E8:08d}"


def price_text(listed: Listed, price_e8: int) -> str:
    """As the venue writes an order's price: with the instrument's decimals; `0` without."""
    return decimal_text(price_e8, listed.price_decimals) if price_e8 else "0"


def quantity_text(listed: Listed, quantity_e8: int) -> str:
    """Of either sign, with the instrument's decimals."""
    if quantity_e8 < 0:
        return "-" + decimal_text(-quantity_e8, listed.quantity_decimals)
    return decimal_text(quantity_e8, listed.quantity_decimals)


def average_text(price_e8: int) -> str:
    """Also of prices and sums that may be 0: without trailing zeros."""
    return short_text(price_e8) if price_e8 else "0"


def short_signed(value_e8: int) -> str:
    return "-" + short_text(-value_e8) if value_e8 < 0 else short_text(value_e8)
