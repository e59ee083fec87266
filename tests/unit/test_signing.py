"""Signatures against the venue's published vectors, and key files that are refused."""

from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path

import orjson
import pytest

from connectors.credentials import Credentials, check_permissions, load_credentials
from connectors.signing import Ed25519Signer, HmacSigner, payload_of, query_of, signed_query
from schemas.errors import ConfigInvalid, PeerProtocolError

# Published by the venue for its documentation; no account has them.
FUTURES_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
SPOT_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
SPOT_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SEED_BASE64 = "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"  # seed 00 01 … 1f, PKCS#8
needs_cryptography = pytest.mark.skipif(
    importlib.util.find_spec("cryptography") is None, reason="the package `cryptography` is not installed"
)

FUTURES_ORDER = [
    ("symbol", "BTCUSDT"), ("side", "BUY"), ("type", "LIMIT"), ("quantity", "1"), ("price", "9000"),
    ("timeInForce", "GTC"), ("recvWindow", "5000"), ("timestamp", "1591702613943"),
]  # fmt: skip


def spot_order(symbol: str) -> list[tuple[str, str]]:
    return [
        ("symbol", symbol), ("side", "BUY"), ("type", "LIMIT"), ("timeInForce", "GTC"), ("quantity", "1"),
        ("price", "0.1"), ("recvWindow", "5000"), ("timestamp", "1499827319559"),
    ]  # fmt: skip


def test_futures_vector_in_query_or_in_body_is_reproduced() -> None:
    query = query_of(FUTURES_ORDER)
    signature = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
    signer = HmacSigner(FUTURES_SECRET)
    assert signer.sign(payload_of(query)) == signature
    assert signer.sign(payload_of("", query)) == signature
    assert signed_query(query, signer) == f"{query}&signature={signature}"


def test_mixed_case_joins_query_and_body_without_a_separator() -> None:
    query = "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC"
    body = "quantity=1&price=9000&recvWindow=5000&timestamp=1591702613943"
    signature = "30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4"
    assert HmacSigner(FUTURES_SECRET).sign(payload_of(query, body)) == signature


@pytest.mark.parametrize(
    ("symbol", "signature"),
    [
        ("LTCBTC", "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"),
        ("１２３４５６", "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3"),
    ],
)
def test_spot_vectors_are_reproduced_and_encoded_before_signing(symbol: str, signature: str) -> None:
    assert HmacSigner(SPOT_SECRET).sign(query_of(spot_order(symbol))) == signature


@pytest.mark.parametrize(
    ("payload", "signature"),
    [
        (
            f"apiKey={SPOT_KEY}&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT"
            "&timeInForce=GTC&timestamp=1645423376532&type=LIMIT",
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        ),
        (
            f"apiKey={SPOT_KEY}&price=0.10000000&quantity=1.00000000&recvWindow=5000&side=BUY&symbol=１２３４５６"
            "&timeInForce=GTC&timestamp=1645423376532&type=LIMIT",
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
    ],
)
def test_vectors_of_the_websocket_interface_are_reproduced(payload: str, signature: str) -> None:
    assert HmacSigner(SPOT_SECRET).sign(payload) == signature


ED25519_SIGNATURE = "jjt1qwCY9csZlKsIpxgnSZSMn4zp40EFhbaN3JXjejGf6Zmc2MF5T+Kj6+CwPqvjBhT7RLWOVFrnRe0DYkbuBA=="


def pem() -> str:
    return f"-----BEGIN {'PRIVATE'} KEY-----\n{SEED_BASE64}\n-----END {'PRIVATE'} KEY-----\n"


@needs_cryptography
@pytest.mark.parametrize("key", [SEED_BASE64, pem()], ids=["base64", "pem"])
def test_ed25519_vector_is_reproduced_and_percent_encoded_in_the_query(key: str) -> None:
    query = query_of(spot_order("LTCBTC"))
    signer = Ed25519Signer(key)
    assert signer.sign(query) == ED25519_SIGNATURE
    encoded = signed_query(query, signer).rpartition("&signature=")[2]
    assert encoded == ED25519_SIGNATURE.replace("+", "%2B").replace("=", "%3D")


@needs_cryptography
@pytest.mark.parametrize("key", ["", "nonsense", "-----", pem().replace("MC4C", "MC4D"), "AAAA"])
def test_something_else_than_an_ed25519_key_is_refused_and_not_quoted(key: str) -> None:
    with pytest.raises(ConfigInvalid, match="no Ed25519 key") as refused:
        Ed25519Signer(key)
    assert not key or key == "-----" or key not in str(refused.value)


# --- key files


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


GOOD = f'api_key = "KEY-IN-THE-FILE"\nsecret = "{FUTURES_SECRET}"\naccount = "paper"\n'


def test_key_file_gives_credentials_that_show_nothing(tmp_path: Path) -> None:
    found = load_credentials(key_file(tmp_path, GOOD))
    assert (found.api_key, found.account) == ("KEY-IN-THE-FILE", "paper")
    assert found.signer.sign(query_of(FUTURES_ORDER)).startswith("3c661234")
    for text in (repr(found), str(found), f"{found}", repr(found.signer), repr([found])):
        assert "KEY-IN-THE-FILE" not in text
        assert FUTURES_SECRET not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(found)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o700, 0o400])
def test_key_file_with_another_mode_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigInvalid, match=f"mode {mode:04o}"):
        load_credentials(key_file(tmp_path, GOOD, mode))


def test_key_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = key_file(tmp_path, GOOD)
    monkeypatch.setattr(os, "getuid", lambda: 12345678)
    with pytest.raises(ConfigInvalid, match="belongs to somebody else"):
        load_credentials(path)


def test_link_folder_and_missing_key_file_are_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path, GOOD)
    (tmp_path / "link").symlink_to(path)
    for wrong in (tmp_path / "link", tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigInvalid):
            load_credentials(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "", "nonsense", 'api_key = "K"', 'secret = "S3CRET"', 'api_key = "K"\nsecret = "S3CRET"\nprivate_key = "P"',
        'api_key = "K"\nsecret = 5', 'api_key = "K"\nsecret = "S3CRET"\nsecrte = "typo"',
        'api_key = "ключ"\nsecret = "S"',
    ],
)  # fmt: skip
def test_file_that_is_no_key_file_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        load_credentials(key_file(tmp_path, text))
    assert "S3CRET" not in str(refused.value)


def restrictions(**changed: object) -> bytes:
    return orjson.dumps({"ipRestrict": False, "enableWithdrawals": False, "enableFutures": True} | changed)


def test_keys_that_read_and_trade_futures_are_accepted() -> None:
    check_permissions(restrictions())


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (restrictions(enableWithdrawals=True), ConfigInvalid, "may withdraw"),
        (restrictions(enableFutures=False), ConfigInvalid, "may not trade futures"),
        (restrictions(enableWithdrawals=None), PeerProtocolError, "does not say"),
        (restrictions(enableWithdrawals="false"), PeerProtocolError, "does not say"),
        (b"{}", PeerProtocolError, "does not say"),
        (b"[]", PeerProtocolError, "does not say"),
        (b"<html>", PeerProtocolError, "does not say"),
    ],
)
def test_keys_that_may_do_too_much_or_of_which_nothing_is_known_are_refused(
    body: bytes, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        check_permissions(body)


def test_credentials_are_hidden_however_they_are_made() -> None:
    assert repr(Credentials("K", HmacSigner("S"), "main")) == "Credentials(account='main', hidden)"
