"""Decimal text ↔ integers, and the 128-bit product, against Python's own exact arithmetic."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.kernels.money import NOT_REPRESENTABLE, multiply_e8
from schemas.errors import InputInvalid
from schemas.money import I64_MAX, format_e8, parse_e8
from tests.reference import money as plain

i64 = st.integers(-(2**63), 2**63 - 1)
amounts = st.one_of(i64, st.builds(lambda value, shift: value >> shift, i64, st.integers(0, 63)))


@given(st.integers(-I64_MAX, I64_MAX))
def test_any_amount_makes_the_round_trip(value: int) -> None:
    text = format_e8(value)
    assert parse_e8(text) == value
    assert Decimal(text) * 10**8 == value
    assert "." not in text or not text.endswith("0")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("-0.00000000", 0),
        ("61659.7", 6_165_970_000_000),
        ("61659.70000000000000", 6_165_970_000_000),
        ("0.00000001", 1),
        ("-0.00000001", -1),
        ("+1.", 10**8),
        ("007", 7 * 10**8),
        ("92233720368.54775807", 2**63 - 1),
        ("-92233720368.54775807", -(2**63) + 1),
    ],
)
def test_text_is_read_exactly(text: str, value: int) -> None:
    assert parse_e8(text) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a decimal"),
        (".5", "not a decimal"),
        ("1e5", "not a decimal"),
        (" 1", "not a decimal"),
        ("1\n", "not a decimal"),
        ("1,5", "not a decimal"),
        ("--1", "not a decimal"),
        ("NaN", "not a decimal"),
        ("١", "not a decimal"),
        ("1_000", "not a decimal"),
        ("0" * 65, "not a decimal"),
        ("0.000000001", "more than 8 decimals"),
        ("1.123456789", "more than 8 decimals"),
        ("92233720368.54775808", "out of range"),
        ("-92233720368.54775808", "out of range"),
        ("1" * 60, "out of range"),
    ],
)
def test_what_is_no_amount_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputInvalid, match=reason):
        parse_e8(text)


def test_format_keeps_the_decimals_asked_for() -> None:
    assert format_e8(6_165_970_000_000, 2) == "61659.70"
    assert format_e8(6_165_971_234_000, 2) == "61659.71234"
    assert format_e8(-3 * 10**8, 8) == "-3.00000000"
    assert format_e8(0) == "0"


@settings(deadline=None)
@given(amounts, amounts)
@example(2**32, 2**32 * 10**8 - 1)
@example(-(2**63), 10**8)
@example(-(2**63), -(10**8))
@example(-(2**63), -(2**63))
@example(2**63 - 1, 10**8)
@example(2**63 - 1, 10**8 + 1)
@example(5 * 10**7, 1)
@example(5 * 10**7, 3)
@example(-5 * 10**7, 3)
@example(5 * 10**7 + 1, 1)
@example(2**32 * 10**4 + 1, 2**32 * 10**4 - 1)
def test_product_equals_the_plain_twin(price: int, quantity: int) -> None:
    expected = plain.multiply_e8(price, quantity)
    assert multiply_e8(price, quantity) == (NOT_REPRESENTABLE if expected is None else expected)


@settings(deadline=None)
@given(st.integers(0, 2**35))
def test_halves_round_to_even(whole: int) -> None:
    """(2 whole + 1) × 5·10^7 ÷ 10^8 is whole + 1/2 exactly."""
    product = multiply_e8((2 * whole + 1) * 50_000_000, 1)
    assert product == whole + whole % 2
    assert multiply_e8(-(2 * whole + 1) * 50_000_000, 1) == -product


def test_quotient_of_64_ones_does_not_wrap_when_rounded() -> None:
    """(n + 1)(n - 1) = 2^64 × 10^8 - 1 has a quotient of 2^64 - 1 and a rest above a half."""
    n = 2**32 * 10**4
    assert divmod(n * n - 1, 10**8) == (2**64 - 1, 10**8 - 1)
    assert multiply_e8(n + 1, n - 1) == NOT_REPRESENTABLE
    assert multiply_e8(-n - 1, n - 1) == NOT_REPRESENTABLE
