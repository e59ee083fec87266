"""Signatures of private requests: HMAC-SHA-256 and Ed25519.

What is signed is the text that travels: percent-encoded query directly followed by the body, no separator. The
signature is the last parameter. Signers hide their keys from every repr.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import string
from collections.abc import Iterable
from typing import Protocol
from urllib.parse import quote, urlencode

from schemas.errors import ConfigInvalid

Parameters = Iterable[tuple[str, str]]
_PLAIN = (string.ascii_letters + string.digits + "_.~-").encode()  # not encoded


class Signer(Protocol):
    def sign(self, payload: str) -> str:
        """Signature of the payload as text, not yet percent-encoded."""
        ...


class HmacSigner:
    """HMAC-SHA-256 with a shared secret, in hexadecimal digits. What depends on the secret alone is computed once."""

    def __init__(self, secret: str) -> None:
        self._mac = hmac.new(secret.encode(), digestmod="sha256")

    def sign(self, payload: str) -> str:
        mac = self._mac.copy()
        mac.update(payload.encode())
        return mac.hexdigest()

    def __repr__(self) -> str:
        return "HmacSigner(hidden)"


class Ed25519Signer:
    """Pure Ed25519, in base64.

    Args:
        private_key: PKCS#8, as PEM text or as the base64 of its DER bytes.

    Raises:
        ConfigInvalid: it is no such key.
    """

    def __init__(self, private_key: str) -> None:
        # Imported here: only who uses such a key pays for loading the library.
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        pem = private_key.split("-----")  # "", BEGIN …, base64, END …, ""
        inside = pem[2] if len(pem) > 2 else private_key
        try:
            key = load_der_private_key(base64.b64decode("".join(inside.split()), validate=True), password=None)
        except (binascii.Error, ValueError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigInvalid(
                "The private key is no Ed25519 key in PKCS#8. Give the PEM file that was made with the key pair whose "
                "public half the venue has; it must not be protected by a password."
            )
        self._key = key

    def sign(self, payload: str) -> str:
        return base64.b64encode(self._key.sign(payload.encode())).decode()

    def __repr__(self) -> str:
        return "Ed25519Signer(hidden)"


def query_of(parameters: Parameters) -> str:
    """Percent-encoded `name=value` pairs in the given order."""
    pairs = tuple(parameters)
    text = "&".join(["=".join(pair) for pair in pairs])
    if text.encode().translate(None, _PLAIN) == b"&".join([b"="] * len(pairs)):
        return text  # nothing in it would be encoded
    return urlencode(pairs, quote_via=quote, safe="")


def payload_of(query: str, body: str = "") -> str:
    """What is signed."""
    return query + body


def signed_query(query: str, signer: Signer) -> str:
    """The query with its signature as the last parameter."""
    signature = signer.sign(payload_of(query))
    if not (signature.isascii() and signature.isalnum()):
        signature = quote(signature, safe="")
    return f"{query}&signature={signature}" if query else f"signature={signature}"
