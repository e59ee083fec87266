"""Venues and instrument ids.

An instrument is written `venue:symbol` (`binance_usdm:BTCUSDT`). Its id is FNV-1a (32 bit) of that
text: every process computes the same id without asking anyone, in every session. Two listed symbols
with one id are refused when the instruments are loaded (`check_unique`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

from schemas.errors import ConfigInvalid, InputInvalid

FNV_OFFSET = 0x811C9DC5
FNV_PRIME = 0x01000193


class Venue(enum.IntEnum):
    """Frozen numbers; append, never renumber."""

    BINANCE_SPOT = 1
    BINANCE_USDM = 2
    ZERODHA = 3

    @property
    def label(self) -> str:
        """As the user writes it: `binance_usdm`."""
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Venue:
        try:
            return cls[text.upper()]
        except KeyError:
            known = ", ".join(venue.label for venue in cls if venue not in NOT_YET)
            raise ConfigInvalid(f"Unknown venue {text!r}. Known venues: {known}.") from None


NOT_YET = (Venue.ZERODHA,)  # numbered, but nothing reads its frames


def instrument_name(venue: Venue, symbol: str) -> str:
    return f"{venue.label}:{symbol}"


def instrument_id(name: str) -> int:
    """The 32-bit id of `venue:symbol`, never 0."""
    value = FNV_OFFSET
    for byte in name.encode("utf-8"):
        value = ((value ^ byte) * FNV_PRIME) & 0xFFFFFFFF
    return value or 1


def check_unique(names: Iterable[str]) -> dict[int, str]:
    """Map ids to names; refuse a list in which two names share an id."""
    by_id: dict[int, str] = {}
    for name in names:
        other = by_id.setdefault(instrument_id(name), name)
        if other != name:
            raise InputInvalid(f"{name} and {other} share the instrument id {instrument_id(name)}; trade one of them.")
    return by_id
