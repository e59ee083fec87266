"""The rule `risk` equals its plain twin, decision for decision, on streams with everything mixed in."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings

from processors.api import Batch, Outputs
from processors.risk import DECISION_OUTPUT, DENIAL_OUTPUT, Risk, RiskParameters, account_figures, holding, open_orders
from schemas.events import DeadReason
from schemas.trading import DECISION, DENIAL, Reason
from tests.laws import risk_rows
from tests.laws.inputs import Given, filled
from tests.laws.stream import FIRST_ROW, ORIGIN
from tests.reference.risk import PlainRisk

PARAMETERS = RiskParameters(
    instruments_max=8, accounts_max=4, strategies_max=8, lanes_max=64, orders_max=128, limits_max=64, kills_max=32,
    rates_max=128, repeats_max=256, move_window_ns=8_000_000_000, move_cooldown_ns=2_000_000_000,
    losses_cooldown_ns=4_000_000_000,
)  # fmt: skip
DECISION_NAMES = [name for name in DECISION.dtype.names or () if not name.startswith("reserved")]
DENIAL_NAMES = ("cause_row", "order_id", "reason", "value", "limit", "unit", "scope")


def play(rows: list[Given], parameters: RiskParameters = PARAMETERS) -> tuple[PlainRisk, Counter[Reason]]:
    """Feed both, row by row; compare everything."""
    rule, plain = Risk(parameters), PlainRisk(parameters)
    state, out = rule.initial_state(), Outputs(rule.outputs, ORIGIN)
    for k, one in enumerate(rows):
        row, texts = filled(rule.inputs[one.input], one.values)
        rule.on_batch(state, Batch(one.input, ORIGIN, FIRST_ROW + k, row, np.frombuffer(texts, np.uint8)), out)
        take(plain, one, {name: row[name][0].item() for name in row.dtype.names or ()}, FIRST_ROW + k)
    decisions, denials = rows_of(out, DECISION_OUTPUT), rows_of(out, DENIAL_OUTPUT)
    for found, expected in zip(decisions, plain.decisions, strict=True):
        assert {name: found[name] for name in DECISION_NAMES} == expected
    assert [tuple(row[name] for name in DENIAL_NAMES) for row in denials] == plain.denials
    assert {DeadReason(dead.rows["reason"][0]) for dead in out.dead} <= {DeadReason.UNEXPECTED}  # fees in other assets
    for account in plain.accounts:
        figures, own = account_figures(state, account), plain.accounts[account]
        assert figures.gross_e8 == plain.exposure(account, None)[0]
        assert figures.profit_day_e8 == plain.equity(account) - own.base
        assert figures.losses_in_a_row == own.streak
    for (account, strategy, instrument), lane in plain.lanes.items():
        held, buying, selling = plain.position(account, instrument, strategy)
        assert holding(state, account, strategy, instrument) == (held, buying, selling, lane.cost)
    assert open_orders(state) == sorted(key for key, order in plain.orders.items() if order.open)
    return plain, Counter(Reason(denial[2]) for denial in plain.denials)


def take(plain: PlainRisk, one: Given, row: dict[str, Any], number: int) -> None:
    match one.input:
        case risk_rows.SWITCHES:
            plain.take_switch(row, str(one.values["who"]))
        case risk_rows.LIMITS:
            plain.take_limit(row)
        case risk_rows.STRATEGIES:
            plain.take_strategy(row)
        case risk_rows.INSTRUMENTS:
            plain.take_instrument(row | {"quote_asset": risk_rows.USDT})
        case risk_rows.QUOTES:
            plain.take_quote(row, number, ORIGIN.partition)
        case risk_rows.ORDERS:
            plain.take_order(row)
        case risk_rows.FILLS:
            plain.take_fill(row, risk_rows.USDT, risk_rows.BTC)
        case risk_rows.REQUESTS:
            plain.take_request(row, number, ORIGIN.incarnation, ORIGIN.writer)


def rows_of(out: Outputs, output: int) -> list[dict[str, int]]:
    event = (DECISION, DENIAL)[output]
    found = [row for emitted in out.emitted if emitted.output == output for row in emitted.rows]
    return [{name: row[name].item() for name in event.dtype.names or ()} for row in found]


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(risk_rows.given_rows(keyed=False))
def test_any_stream_gives_what_the_plain_twin_gives(rows: list[Given]) -> None:
    play(rows)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(risk_rows.given_rows(keyed=True))
def test_streams_of_separate_accounts_give_what_the_plain_twin_gives(rows: list[Given]) -> None:
    play(rows)


def test_long_lives_give_what_the_plain_twin_gives_and_reach_every_reason() -> None:
    """Seeded, so that what the comparison is worth can be said: how often each reason, and none, was compared."""
    denied: Counter[Reason] = Counter()
    approved = 0
    for seed in range(80):
        numbers = (int(number) for number in np.random.default_rng(seed).integers(0, 1024, 10_000))
        plain, reasons = play(risk_rows.seeded_rows(numbers, 200))
        denied.update(reasons)
        approved += sum(decision["reasons"] == 0 for decision in plain.decisions)
    assert approved > 200
    assert set(Reason) - set(denied) == set()
