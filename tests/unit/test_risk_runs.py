"""A run of plain orders decides what judging each order by itself decides, and leaves the same state, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from processors.api import Batch, Outputs, State
from processors.kernels import risk_layout as lay
from processors.kernels.risk_runs import judge_run
from processors.risk import DENIALS_PER_CALL_MAX, REQUEST_INPUT, Risk, RiskParameters
from processors.risk_limits import BOUNDS
from processors.words import as_words
from schemas.declare import Rows
from schemas.events import InstrumentKind, Side, Trust
from schemas.trading import ORDER_REQUEST, OrderFlag, OrderState, Reason, TimeInForce, order_id_of
from tests.laws import risk_rows as rr
from tests.laws.inputs import filled
from tests.laws.stream import FIRST_ROW, ORIGIN

PARAMETERS = RiskParameters(
    instruments_max=4, accounts_max=2, strategies_max=4, lanes_max=8, orders_max=96, limits_max=64, kills_max=8,
    rates_max=64, repeats_max=16,
)  # fmt: skip
ACCOUNT, STRATEGY, INSTRUMENT = rr.ACCOUNTS[0], rr.PLANNED[0], rr.NAMES[0]
MID = 1000 * rr.TICK
BATCH = 40
LIMITS = {  # values around what the orders of a batch come to
    Reason.STALE_INPUT: (20 * rr.MS, rr.SECOND_NS), Reason.ORDER_QUANTITY: (4 * rr.E8, 6 * rr.E8),
    Reason.ORDER_NOTIONAL: (400 * rr.E8, 600 * rr.E8), Reason.PRICE_COLLAR: (10, 300),
    Reason.POSITION_QUANTITY: (20 * rr.E8, 70 * rr.E8), Reason.POSITION_NOTIONAL: (2_000 * rr.E8, 7_000 * rr.E8),
    Reason.GROSS_EXPOSURE: (2_000 * rr.E8, 7_000 * rr.E8), Reason.NET_EXPOSURE: (2_000 * rr.E8, 7_000 * rr.E8),
    Reason.OPEN_ORDERS: (5, 60), Reason.RATE_SECOND: (5, 60), Reason.RATE_MINUTE: (20, 60),
    Reason.DUPLICATE: (1, rr.SECOND_NS), Reason.DAILY_LOSS: (rr.E8, 60 * rr.E8), Reason.DRAWDOWN: (rr.E8, 60 * rr.E8),
}  # fmt: skip


class Both:
    """Two rules that get the same rows; one of them judges every order by itself."""

    def __init__(self) -> None:
        self.rules = Risk(PARAMETERS), Risk(PARAMETERS)
        self.rules[1]._settings[lay.RUNS] = 0
        self.states = [rule.initial_state() for rule in self.rules]
        self.outs = [Outputs(rule.outputs, ORIGIN) for rule in self.rules]
        self.number = FIRST_ROW

    def put(self, which: int, rows: Rows, heap: bytes = b"") -> int:
        """The number of the first row."""
        first = self.number
        for rule, state, out in zip(self.rules, self.states, self.outs, strict=True):
            rule.on_batch(state, Batch(which, ORIGIN, first, rows, np.frombuffer(heap, np.uint8)), out)
        for name, array in self.states[0].items():
            np.testing.assert_array_equal(array, self.states[1][name], name)
        self.number += len(rows)
        return first

    def one(self, which: int, values: rr.Values) -> int:
        return self.put(which, *filled(self.rules[0].inputs[which], values))

    def compare(self) -> list[Reason]:
        """Everything that came out; returns the reasons of the denials."""
        sides = [[(one.output, one.rows.tobytes()) for one in out.emitted] for out in self.outs]
        outputs = [[b"".join(data for output, data in side if output == k) for k in (0, 1)] for side in sides]
        assert outputs[0] == outputs[1]
        denials = [row for one in self.outs[0].emitted if one.output == 1 for row in one.rows]
        return [Reason(denial["reason"]) for denial in denials]


def quote(now: int, mid: int = MID) -> rr.Values:
    return {"bid_price_e8": mid - rr.TICK, "ask_price_e8": mid + rr.TICK, "trust": Trust.SYNCED,
            "instrument": INSTRUMENT, "ts_recv_ns": now}  # fmt: skip


def orders(count: int, first_tag: int = 1, **values: Any) -> Rows:
    """Plain orders on both sides of the touch, 1 ms apart."""
    rows, at = ORDER_REQUEST.empty(count), np.arange(count)
    rows["ts_recv_ns"] = rows["ts_event_ns"] = rr.START_NS + at * rr.MS
    rows["valid_until_ns"] = rr.START_NS + rr.DAY_NS
    rows["tag"], rows["side"], rows["quantity_e8"] = first_tag + at, at % 2, rr.E8 + at * rr.LOT
    rows["price_e8"] = MID + np.where(rows["side"] == Side.BUY, -2, 2) * rr.TICK
    rows["instrument"], rows["account"], rows["strategy"] = INSTRUMENT, ACCOUNT, STRATEGY
    for name, value in values.items():
        rows[name] = value
    return rows


def market(both: Both, random: np.random.Generator) -> None:
    """An instrument, limits that bite somewhere, two strategies, perhaps a position, perhaps a kill."""

    def pick(*values: int) -> int:
        return values[random.integers(len(values))]

    both.one(rr.INSTRUMENTS, {
        **rr.INSTRUMENT_ROW, "multiplier_e8": pick(*[rr.E8] * 4, rr.E8 // 2, 3 * rr.E8 + 7, 1),
        "price_max_e8": pick(0, MID + 30 * rr.TICK), "quantity_max_e8": pick(0, 5 * rr.E8),
        "notional_min_e8": pick(0, 0, 40 * rr.E8), "kind": pick(InstrumentKind.SPOT, InstrumentKind.PERPETUAL),
        "expiry_ns": pick(0, 0, 0, rr.START_NS + 150 * rr.MS),
    })  # fmt: skip
    for values in rr.required(scale=100):
        both.one(rr.LIMITS, values)
    for reason, (low, high) in LIMITS.items():
        for _ in range(pick(0, 0, 0, 1, 2)):
            scope = BOUNDS[reason].scopes[random.integers(len(BOUNDS[reason].scopes))]
            subject = (0, rr.VENUE, ACCOUNT, STRATEGY, INSTRUMENT)[scope]
            value = int(random.integers(low, high)) if random.random() < 0.4 else high * 50
            value = min(value, PARAMETERS.rates_max - 1) if high == 60 else value
            both.one(rr.LIMITS, rr.limit_row(reason, value, scope, subject))
    for strategy in rr.PLANNED:
        capital = pick(2_000, *[10**6] * 4)
        both.one(rr.STRATEGIES, rr.strategy_row(strategy, capital_e8=capital * rr.E8))
    both.one(rr.QUOTES, quote(rr.START_NS))
    if pick(0, 1):
        both.one(rr.FILLS, {
            "ts_recv_ns": rr.START_NS, "order_id": 5, "price_e8": MID, "quantity_e8": pick(1, 3, 30) * rr.E8,
            "fee_asset": rr.USDT, "side": pick(0, 1), "instrument": INSTRUMENT, "account": ACCOUNT,
            "strategy": pick(STRATEGY, STRATEGY, rr.PLANNED[1]),
        })  # fmt: skip
    if pick(*[0] * 9, 1):
        both.one(rr.SWITCHES, {"ts_recv_ns": rr.START_NS, "kill_id": 1, "on": 1, "who": "anna"})


def spoil(rows: Rows, random: np.random.Generator) -> None:
    """Some orders are not plain, or just outside of something."""
    changes: tuple[dict[str, int], ...] = (
        {"kind": 1, "price_e8": 0}, {"flags": OrderFlag.REDUCE_ONLY}, {"flags": OrderFlag.POST_ONLY}, {"action": 1},
        {"flags": OrderFlag.FLATTEN}, {"time_in_force": TimeInForce.IOC}, {"price_e8": MID + 1}, {"action": 2},
        {"quantity_e8": rr.E8 + 1}, {"quantity_e8": 0}, {"price_e8": -1}, {"side": 2}, {"ts_event_ns": -1},
        {"ts_recv_ns": -1}, {"valid_until_ns": rr.START_NS - 1}, {"stop_price_e8": MID}, {"expires_ns": 1},
        {"strategy": rr.PLANNED[1]}, {"instrument": 99}, {"action": 9}, {"price_e8": MID}, {"quantity_e8": 1 << 60},
        {"ts_recv_ns": rr.START_NS + rr.DAY_NS}, {"price_e8": 1 << 61}, {"quantity_e8": rr.LOT},
    )  # fmt: skip
    for at in np.flatnonzero(random.random(len(rows)) < random.choice([0.0, 0.02, 0.1])):
        for name, value in changes[random.integers(len(changes))].items():
            rows[name][at] = value
    again = np.flatnonzero(random.random(len(rows) - 2) < random.choice([0.0, 0.05]))
    for name in ("price_e8", "quantity_e8"):
        rows[name][again + 2] = rows[name][again]


def trade(both: Both, random: np.random.Generator) -> None:
    """Batches of orders; between them some end, and the touch moves."""
    now = rr.START_NS
    for turn in range(4):
        rows = orders(BATCH, 1 + turn * BATCH)
        rows["ts_recv_ns"] = now + np.cumsum(random.choice([0, 1000, rr.MS, 5 * rr.MS, -rr.MS], BATCH))
        steps = random.integers(int(random.choice([2, 2, -20])), int(random.choice([3, 10, 60])), BATCH)
        rows["price_e8"] = MID + np.where(rows["side"] == Side.BUY, -steps, steps) * rr.TICK
        rows["quantity_e8"] = random.integers(1, 50, BATCH) * (rr.E8 // 10)
        rows["side"] = np.where(random.random(BATCH) < 0.5, rows["side"], 0) if turn == 1 else rows["side"]
        spoil(rows, random)
        first = both.put(rr.REQUESTS, rows)
        now = max(now, int(rows["ts_recv_ns"].max())) if rows["ts_recv_ns"].max() < rr.START_NS + rr.DAY_NS else now
        for at in np.flatnonzero(random.random(BATCH) < random.choice([0.0, 0.1, 0.8])):
            names = ("tag", "price_e8", "instrument", "account", "strategy", "side")
            ended = {name: int(rows[name][at]) for name in names} | {"ts_recv_ns": now, "state": OrderState.CANCELLED}
            order_id = order_id_of(ORIGIN.incarnation, ORIGIN.writer, first + int(at))
            if ended["price_e8"] >= 0 and ended["side"] < 2:
                both.one(rr.ORDERS, {**ended, "order_id": order_id})
        if random.random() < 0.5:
            both.one(rr.QUOTES, quote(now, MID + int(random.integers(-1, 2)) * rr.TICK))


def test_runs_decide_what_judging_each_order_by_itself_decides() -> None:
    reasons: set[Reason] = set()
    approved = 0
    for seed in range(120):
        both, random = Both(), np.random.default_rng(seed)
        market(both, random)
        trade(both, random)
        reasons.update(both.compare())
        decisions = [row for one in both.outs[0].emitted if one.output == 0 for row in one.rows]
        approved += sum(int(row["reasons"] == 0) for row in decisions)
    assert approved > 3_000
    assert reasons >= set(LIMITS) - {Reason.DAILY_LOSS, Reason.DRAWDOWN} | {
        Reason.KILL_GLOBAL,
        Reason.SELF_TRADE,
        Reason.STRATEGY_CAPITAL,
    }


def opened(**instrument: int) -> tuple[Risk, State]:
    """A market with wide limits, and the lane of a first order that was cancelled."""
    both = Both()
    both.one(rr.INSTRUMENTS, {**rr.INSTRUMENT_ROW, "quantity_max_e8": 0, **instrument})
    for values in rr.required():
        both.one(rr.LIMITS, values)
    for strategy in rr.PLANNED:
        both.one(rr.STRATEGIES, rr.strategy_row(strategy))
    both.one(rr.QUOTES, quote(rr.START_NS))
    both.put(rr.REQUESTS, orders(1, action=3))
    return both.rules[0], both.states[0]


def run_of(rule: Risk, state: State, rows: Rows) -> tuple[int, int]:
    """How many orders a run decides and how many denials it writes."""
    rule.on_batch(state, Batch(REQUEST_INPUT, ORIGIN, 900, orders(1, action=3)), Outputs(rule.outputs, ORIGIN))
    room = np.zeros((2, lay.ROOM_COLUMNS), dtype=np.int64)
    found = np.zeros((lay.REASONS, 3), dtype=np.int64)
    decisions = np.zeros((len(rows), lay.DECISION_WORDS), dtype=np.int64)
    denials = np.zeros((DENIALS_PER_CALL_MAX, lay.DENIAL_WORDS), dtype=np.int64)
    names = ("meta", "instruments", "owners", "rings", "lanes")
    count, denied = judge_run(
        as_words(rows).reshape(-1, lay.REQUEST_WORDS), 0, len(rows), 1000, 1000, rule._settings,
        *(state[name] for name in names), 1, state["orders"], state["places"], state["recent"], found, room, decisions,
        0, denials, 0,
    )  # fmt: skip
    return int(count), int(denied)


def test_plain_orders_are_one_run() -> None:
    rule, state = opened()
    assert run_of(rule, state, orders(BATCH)) == (BATCH, 0)


def test_killed_orders_are_one_run_with_a_denial_each() -> None:
    rule, state = opened()
    row, texts = filled(rule.inputs[rr.SWITCHES], {"ts_recv_ns": 1, "kill_id": 1, "on": 1, "who": "anna"})
    rule.on_batch(state, Batch(rr.SWITCHES, ORIGIN, 99, row, np.frombuffer(texts, np.uint8)), Outputs(rule.outputs))
    assert run_of(rule, state, orders(BATCH)) == (BATCH, BATCH)


@pytest.mark.parametrize(
    ("reason", "value", "most"),
    [
        (Reason.OPEN_ORDERS, 7, 7),
        (Reason.RATE_SECOND, 8, 8),
        (Reason.RATE_MINUTE, 9, 9),
        (Reason.POSITION_QUANTITY, 5 * rr.E8 + 20 * rr.LOT, 9),  # reached by the fifth buy; the fifth sell is larger
        (Reason.STALE_INPUT, 11 * rr.MS, 12),  # the twelfth comes after 11 ms
        (Reason.PRICE_COLLAR, 11, BATCH),  # 1 tick from the touch: 10.01 basis points of the bid, 9.99 of the ask
        (Reason.PRICE_COLLAR, 10, 0),
    ],
)
def test_run_ends_before_the_first_order_outside_of_a_limit(reason: Reason, value: int, most: int) -> None:
    rule, state = opened()
    row, texts = filled(rule.inputs[rr.LIMITS], rr.limit_row(reason, value))
    rule.on_batch(state, Batch(rr.LIMITS, ORIGIN, 99, row, np.frombuffer(texts, np.uint8)), Outputs(rule.outputs))
    assert run_of(rule, state, orders(BATCH)) == (most, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strategy", rr.PLANNED[1]), ("kind", 1), ("flags", OrderFlag.REDUCE_ONLY), ("action", 1),
        ("price_e8", MID + 1), ("quantity_e8", rr.E8 + 1), ("side", 2), ("ts_event_ns", -1),
        ("valid_until_ns", 0), ("stop_price_e8", MID),
        ("expires_ns", 1), ("time_in_force", TimeInForce.IOC), ("price_e8", MID + 3 * rr.TICK),
        ("ts_recv_ns", rr.START_NS + rr.DAY_NS), ("quantity_e8", 200 * rr.E8), ("quantity_e8", rr.LOT),
    ],
)  # fmt: skip
def test_run_ends_before_an_order_that_is_not_plain_or_not_within(name: str, value: int) -> None:
    rule, state = opened()
    rows = orders(BATCH)
    rows[name][20] = value
    assert run_of(rule, state, rows) == (20, 0)


def test_sell_below_the_bid_is_outside_when_it_is_worth_too_much_at_the_bid() -> None:
    rule, state = opened()
    sell = orders(1, side=Side.SELL, price_e8=MID - 10 * rr.TICK, quantity_e8=rr.E8)
    for limit, most in ((MID - 2 * rr.TICK, 0), (MID, 1)):  # the bid is MID - 1 tick
        row, texts = filled(rule.inputs[rr.LIMITS], rr.limit_row(Reason.ORDER_NOTIONAL, limit))
        rule.on_batch(state, Batch(rr.LIMITS, ORIGIN, 99, row, np.frombuffer(texts, np.uint8)), Outputs(rule.outputs))
        assert run_of(rule, state, sell) == (most, 0)


def test_no_run_begins_while_another_strategy_of_the_account_has_orders_there() -> None:
    rule, state = opened()
    other = orders(1, strategy=rr.PLANNED[1])
    rule.on_batch(state, Batch(REQUEST_INPUT, ORIGIN, 500, other), Outputs(rule.outputs, ORIGIN))
    assert run_of(rule, state, orders(BATCH)) == (0, 0)
