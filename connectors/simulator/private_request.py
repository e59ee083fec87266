"""Signed requests: whose they are, whether they are theirs and in time, and what they ask for."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_plus

from connectors.signing import HmacSigner
from connectors.simulator.private_config import E8, KEY_PATTERN
from connectors.simulator.private_errors import refusal

RECV_WINDOW_MS, RECV_WINDOW_MAX_MS = 5000, 60_000
EARLY_MS = 1000  # a timestamp may be ahead of the venue's clock by less than this
E8_DIGITS = 8
_DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")


class Call(NamedTuple):
    """One request as it came.

    Attributes:
        query, body: raw text, still percent-encoded: that is what is signed.
        key: of the header; "" without.
    """

    method: str
    path: str
    query: str = ""
    body: str = ""
    key: str = ""


class Parameters:
    """What a request asks for, by name.

    Args:
        values: decoded.
    """

    __slots__ = ("values",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values

    def text(self, name: str, default: str = "") -> str:
        return self.values.get(name) or default

    def required(self, name: str) -> str:
        """Raises Refused (-1102) without it."""
        value = self.values.get(name)
        if not value:
            raise refusal(-1102, name)
        return value

    def integer(self, name: str, default: int = 0) -> int:
        """A whole number of at most 20 digits; refused with -1100 when it is none."""
        text = self.values.get(name)
        if not text:
            return default
        if not (text.isascii() and text.isdecimal()) or len(text) > 20:
            raise refusal(-1100, name, "^[0-9]{1,20}$")
        return int(text)

    def decimal_e8(self, name: str, decimals: int = E8_DIGITS) -> int | None:
        """See `decimal_e8`."""
        return decimal_e8(self.values.get(name) or "", name, decimals)

    def flag(self, name: str) -> bool:
        """`true` or `false`, in any case."""
        text = self.values.get(name, "false").lower()
        if text not in ("true", "false"):
            raise refusal(-1130, name)
        return text == "true"


def decimal_e8(text: str, name: str, decimals: int = E8_DIGITS) -> int | None:
    """A decimal × 10^8; None without it.

    Raises:
        Refused: -1100 it is no number, -1111 it has more than `decimals` (at most 8) digits after the point.
    """
    if not text:
        return None
    if not _DECIMAL.fullmatch(text):
        raise refusal(-1100, name, r"^([0-9]{1,20})(\.[0-9]{1,20})?$")
    whole, _, part = text.lstrip("-").partition(".")
    part = part.rstrip("0")
    if len(part) > decimals:
        raise refusal(-1111)
    value = int(whole) * E8 + int(part.ljust(E8_DIGITS, "0"))
    return -value if text.startswith("-") else value


def parameters_of(call: Call) -> Parameters:
    """Query and body together; a name in both is the query's."""
    decoded: dict[str, str] = {}
    for text in (call.body, call.query) if call.body else (call.query,):
        is_encoded = "%" in text or "+" in text
        for part in text.split("&"):
            name, _, value = part.partition("=")
            if is_encoded:
                name, value = unquote_plus(name), unquote_plus(value)
            if part:
                decoded[name] = value
    return Parameters(decoded)


def signed_text(call: Call) -> str:
    """What the signature is of: query and body, one straight after the other, without the signature itself."""
    return _unsigned(call.query) + _unsigned(call.body) if call.body else _unsigned(call.query)


def _unsigned(text: str) -> str:
    before, name, after = text.rpartition("&signature=")
    if name and "&" not in after and "signature=" not in before:  # it is the last parameter, as nearly always
        return before
    return "&".join([part for part in text.split("&") if not part.startswith("signature=")])


_signer_of = lru_cache(HmacSigner)


def signature_of(secret: str, text: str) -> str:
    """HMAC-SHA-256 in hex."""
    return _signer_of(secret).sign(text)


def check_key(key: str) -> None:
    """Raises Refused (-2014): it cannot be a key."""
    if not KEY_PATTERN.fullmatch(key):
        raise refusal(-2014)


class Window(NamedTuple):
    """When a signed request is valid, in venue time."""

    timestamp_ms: int
    recv_window_ms: int

    def holds(self, now_ms: int) -> bool:
        return -EARLY_MS < now_ms - self.timestamp_ms <= self.recv_window_ms


def check_signed(call: Call, secret: str, now_ms: int, given: Parameters | None = None) -> Window:
    """Check time and signature of a request; `given` are its parameters, if they were read before.

    Returns:
        its window: an order is checked against it once more when it reaches the market.

    Raises:
        Refused: -1102 no timestamp or signature, -1021 not in time, -1022 not signed with this secret.
    """
    given = given or parameters_of(call)
    given.required("timestamp")
    window = Window(given.integer("timestamp"), given.integer("recvWindow", RECV_WINDOW_MS))
    if window.recv_window_ms > RECV_WINDOW_MAX_MS:
        raise refusal(-1131)
    signature = given.required("signature")
    if not window.holds(now_ms):
        raise refusal(-1021)
    text = signed_text(call)
    if not text.isascii() or not signature.isascii():  # encode first, then sign
        raise refusal(-1022)
    if not hmac.compare_digest(signature.lower(), _signer_of(secret).sign(text)):
        raise refusal(-1022)
    return window
