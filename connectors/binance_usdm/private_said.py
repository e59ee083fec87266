"""Values as the venue says them, checked. What is not as it must be raises ValueError, TypeError or InputInvalid."""

from __future__ import annotations

from typing import Any

import orjson

from connectors.binance_usdm.private_words import I64_MAX, MS, Json
from schemas.errors import InputInvalid
from schemas.events import Side
from schemas.instruments import Venue, instrument_id, instrument_name
from schemas.money import parse_e8
from schemas.trading import NOT_SAID


def integer(value: object, least: int = 0) -> int:
    """An id or a time: whole, and an int64 holds it. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= I64_MAX:
        raise ValueError(f"{value!r} is no whole number in range")
    return value


def ns(milliseconds: object) -> int:
    """ms of the venue → ns; 0 where it says none."""
    return integer(integer(milliseconds or 0) * MS)


def e8(text: object, least: int | None = None) -> int:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no decimal in quotes")
    value = parse_e8(text)
    if least is not None and value < least:
        raise InputInvalid(f"{text} is below what it can be.")
    return value


def booked(text: object) -> int:
    """Realised profit of a fill; NOT_SAID where the venue leaves it out."""
    return NOT_SAID if text is None else e8(text)


def text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def instrument(symbol: object) -> int:
    return instrument_id(instrument_name(Venue.BINANCE_USDM, text(symbol)))


def side(value: object) -> int:
    return int(Side[text(value)])


def fields(value: object) -> Json:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def json(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None


def refusal(body: Any) -> tuple[int, str]:
    """Code and words of an error body; (0, "") where it is none."""
    if not isinstance(body, dict):
        return 0, ""
    code, message = body.get("code"), body.get("msg")
    if isinstance(code, bool) or not isinstance(code, int) or abs(code) >= 1 << 31:
        code = 0
    return code, message[:1024] if isinstance(message, str) else ""


def flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
