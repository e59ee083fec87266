"""Decimal text ↔ integers with eight decimals, exactly, both ways. No float is ever involved."""

from __future__ import annotations

import re

from schemas.errors import InputInvalid

DECIMALS = 8
ONE_E8 = 10**DECIMALS
I64_MAX = (1 << 63) - 1
TEXT_MAX = 64  # characters; longer text is no amount, and must not cost time to find out

_DECIMAL = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]*))?", re.ASCII)


def parse_e8(text: str) -> int:
    """`"61659.7"` → 6165970000000.

    Accepts an optional sign, digits, and an optional fraction; zeros beyond the eighth decimal are
    harmless. No exponent, no spaces.

    Raises:
        InputInvalid: not a decimal, a ninth decimal that is not zero, or outside of ±92,233,720,368.54775807.
    """
    match = _DECIMAL.fullmatch(text) if len(text) <= TEXT_MAX else None
    if match is None:
        raise InputInvalid(f"{text[:TEXT_MAX]!r} is not a decimal number such as 61659.7.")
    sign, whole, fraction = match[1], match[2], match[3] or ""
    if fraction[DECIMALS:].strip("0"):
        raise InputInvalid(f"{text} has more than {DECIMALS} decimals; amounts are kept with {DECIMALS}.")
    value: int = int(whole) * ONE_E8 + int(fraction[:DECIMALS].ljust(DECIMALS, "0"))
    if value > I64_MAX:
        raise InputInvalid(f"{text} is out of range: amounts reach to ±{format_e8(I64_MAX)}.")
    return -value if sign == "-" else value


def format_e8(value: int, decimals_min: int = 0) -> str:
    """6165970000000 → `"61659.7"`: the shortest exact text with at least `decimals_min` decimals."""
    whole, fraction = divmod(abs(int(value)), ONE_E8)
    digits = f"{fraction:0{DECIMALS}d}".rstrip("0").ljust(decimals_min, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"
