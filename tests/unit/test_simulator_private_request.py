"""Signatures, times and keys of private requests, against the venue's published vectors."""

from __future__ import annotations

import pytest

from connectors.simulator.private_request import Call, Parameters, check_key, check_signed, parameters_of, signed_text
from connectors.simulator.rest import Refused

SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
AT_MS = 1591702613943
ALL = "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000&timestamp=1591702613943"
ALL_SIGNED = "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9"
QUERY, BODY = (
    "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC",
    "quantity=1&price=9000&recvWindow=5000&timestamp=1591702613943",
)
MIXED_SIGNED = "30baaf0fab549bbeda7f5ef201898b34122da25fd23c646cac2c529aebe670a4"


def post(query: str = "", body: str = "") -> Call:
    return Call("POST", "/fapi/v1/order", query, body)


@pytest.mark.parametrize(
    ("query", "body"),
    [
        (f"{ALL}&signature={ALL_SIGNED}", ""),
        ("", f"{ALL}&signature={ALL_SIGNED.upper()}"),
        (QUERY, f"{BODY}&signature={MIXED_SIGNED}"),
        (f"{QUERY}&signature={MIXED_SIGNED}", BODY),
    ],
)
def test_published_vectors_are_accepted(query: str, body: str) -> None:
    assert check_signed(post(query, body), SECRET, AT_MS).timestamp_ms == AT_MS


def test_signed_text_is_query_and_body_without_a_separator() -> None:
    assert signed_text(post(f"{QUERY}&signature=x", BODY)) == QUERY + BODY


def code_of(call: Call, now_ms: int = AT_MS) -> int:
    with pytest.raises(Refused) as refused:
        check_signed(call, SECRET, now_ms)
    return refused.value.code


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (post(ALL.replace("9000", "9001") + f"&signature={ALL_SIGNED}"), -1022),
        (post(f"{ALL}&signature={'0' * 64}"), -1022),
        (post(ALL), -1102),
        (post(f"symbol=BTCUSDT&signature={ALL_SIGNED}"), -1102),
        (post(f"timestamp=soon&signature={ALL_SIGNED}"), -1100),
        (post(f"timestamp={AT_MS}&recvWindow=60001&signature={ALL_SIGNED}"), -1131),
        (post("", f"{ALL}&symbol=１&signature={ALL_SIGNED}"), -1022),
    ],
)
def test_call_that_is_not_signed_well_is_refused(call: Call, code: int) -> None:
    assert code_of(call) == code


@pytest.mark.parametrize(("late_ms", "is_in_time"), [(5000, True), (5001, False), (-999, True), (-1000, False)])
def test_timestamp_is_valid_from_a_second_early_to_the_end_of_its_window(late_ms: int, is_in_time: bool) -> None:
    call = post(f"{ALL}&signature={ALL_SIGNED}")
    if is_in_time:
        check_signed(call, SECRET, AT_MS + late_ms)
    else:
        assert code_of(call, AT_MS + late_ms) == -1021


@pytest.mark.parametrize("key", ["", "short", "k" * 63 + "!", "k" * 65])
def test_key_that_cannot_be_one_is_refused(key: str) -> None:
    with pytest.raises(Refused) as refused:
        check_key(key)
    assert (refused.value.status, refused.value.code) == (401, -2014)


def test_query_wins_over_the_body() -> None:
    given = parameters_of(post("price=1&side=B%20U", "price=2&quantity=3"))
    assert (given.text("price"), given.text("side"), given.text("quantity")) == ("1", "B U", "3")


@pytest.mark.parametrize(
    ("text", "value_e8"), [("9000", 900_000_000_000), ("0.00000001", 1), ("1.500", 150_000_000), ("-2", -200_000_000)]
)
def test_decimal_is_read_exactly(text: str, value_e8: int) -> None:
    assert Parameters({"price": text}).decimal_e8("price") == value_e8


@pytest.mark.parametrize(("text", "code"), [("1e5", -1100), ("１", -1100), ("0.000000001", -1111), (".5", -1100)])
def test_decimal_that_is_none_is_refused(text: str, code: int) -> None:
    with pytest.raises(Refused) as refused:
        Parameters({"price": text}).decimal_e8("price")
    assert refused.value.code == code
