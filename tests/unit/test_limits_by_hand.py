"""Limits that people set: read in their units, and refused where two of them contradict each other."""

from __future__ import annotations

import pytest

from infra.limits import check_together, reason_of, shown, subject_of, value_of
from processors.risk_limits import reasons_as_markdown
from schemas.errors import ConfigInvalid
from schemas.instruments import Venue, instrument_id
from schemas.trading import Reason, Scope

E8 = 10**8


@pytest.mark.parametrize(
    ("words", "scope", "number"),
    [
        ("all", Scope.GLOBAL, 0),
        ("venue:binance_usdm", Scope.VENUE, int(Venue.BINANCE_USDM)),
        ("account:binance_usdm:paper", Scope.ACCOUNT, instrument_id("binance_usdm:paper")),
        ("strategy:maker", Scope.STRATEGY, instrument_id("maker")),
        ("instrument:binance_usdm:BTCUSDT", Scope.INSTRUMENT, instrument_id("binance_usdm:BTCUSDT")),
    ],
)
def test_subject_is_read(words: str, scope: Scope, number: int) -> None:
    assert subject_of(words) == (scope, number)


@pytest.mark.parametrize("words", ["", "maker", "global:x", "strategy:", "venue:mtgox"])
def test_no_subject_is_refused(words: str) -> None:
    with pytest.raises(ConfigInvalid):
        subject_of(words)


@pytest.mark.parametrize(
    ("reason", "text", "value"),
    [
        (Reason.ORDER_NOTIONAL, "2500.5", 250_050_000_000),
        (Reason.RATE_SECOND, "20", 20),
        (Reason.STALE_INPUT, "2000000000", 2_000_000_000),
    ],
)
def test_value_is_read_in_its_unit(reason: Reason, text: str, value: int) -> None:
    assert value_of(reason, text, Scope.ACCOUNT) == value


@pytest.mark.parametrize(
    ("reason", "text", "scope", "words"),
    [
        (Reason.RATE_SECOND, "2.5", Scope.ACCOUNT, "whole number, in count"),
        (Reason.DUPLICATE, "0", Scope.ACCOUNT, "at least 1"),
        (Reason.ORDER_NOTIONAL, "-1", Scope.ACCOUNT, "at least 0"),
        (Reason.GROSS_EXPOSURE, "5", Scope.INSTRUMENT, "cannot be set for scope instrument"),
    ],
)
def test_value_that_cannot_be_is_refused(reason: Reason, text: str, scope: Scope, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        value_of(reason, text, scope)


def test_limits_that_contradict_each_other_are_refused_from_either_side() -> None:
    in_force = {Reason.ORDER_NOTIONAL: 20_000 * E8, Reason.POSITION_NOTIONAL: 50_000 * E8}
    with pytest.raises(ConfigInvalid, match="order_notional of 60000 would be above position_notional of 50000"):
        check_together(Reason.ORDER_NOTIONAL, 60_000 * E8, in_force)
    with pytest.raises(ConfigInvalid, match="Change order_notional first"):
        check_together(Reason.POSITION_NOTIONAL, 10_000 * E8, in_force)
    check_together(Reason.ORDER_NOTIONAL, 50_000 * E8, in_force)
    check_together(Reason.RATE_SECOND, 5, in_force)


def test_reason_is_found_in_any_spelling_and_others_are_refused() -> None:
    assert reason_of("Order-Notional") is Reason.ORDER_NOTIONAL
    for word in ("untrusted", "nonsense"):  # a check without a limit, and none at all
        with pytest.raises(ConfigInvalid, match="There are: stale_input, order_quantity"):
            reason_of(word)


def test_values_are_shown_in_their_unit() -> None:
    assert (shown(Reason.RATE_MINUTE, 1000), shown(Reason.ORDER_NOTIONAL, 5 * E8)) == ("1,000", "5")


def test_table_of_reasons_names_every_reason_with_its_limit() -> None:
    lines = reasons_as_markdown().splitlines()[2:]
    assert [line.split("`")[1] for line in lines] == [reason.name for reason in Reason]
    assert next(line for line in lines if "basis points" in line).startswith("| 18 | `PRICE_COLLAR` |")
