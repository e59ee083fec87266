"""What a risk decision costs: `python -m tests.bench.bench_risk`."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np

from processors.api import Batch, Outputs, State
from processors.kernels import risk as kernel
from processors.kernels import risk_layout as lay
from processors.risk import REQUEST_INPUT, Risk, RiskParameters
from processors.words import Words, as_words
from schemas.declare import Rows
from schemas.events import Side, Trust
from schemas.trading import DECISION, ORDER, ORDER_REQUEST, OrderState, Reason, RequestAction, Scope
from tests.bench.result import Result, print_results, seconds_of
from tests.laws import risk_rows as rr
from tests.laws.inputs import filled
from tests.laws.stream import ORIGIN
from tests.reference.risk import PlainRisk

COUNT = 8192
BATCH = 1024
TWIN_COUNT = 256  # the twin sums everything anew for every order: more would only make it slower
REPEATS = 15
BATCH_GOAL_NS = 40.0
SINGLE_GOAL_US = 2.0
ACCOUNT, STRATEGY, INSTRUMENT = rr.ACCOUNTS[0], rr.PLANNED[0], rr.NAMES[0]
PARAMETERS = RiskParameters(orders_max=2 * COUNT, rates_max=1 << 17)
STEADY = RiskParameters(orders_max=2 * BATCH, rates_max=1 << 17)
WIDE = 10**9 * rr.E8
QUOTE = {
    "bid_price_e8": 999 * rr.TICK, "ask_price_e8": 1001 * rr.TICK, "trust": int(Trust.SYNCED),
    "instrument": INSTRUMENT, "ts_recv_ns": rr.START_NS,
}  # fmt: skip
LIMITS = {
    Reason.STALE_INPUT: 10 * rr.SECOND_NS, Reason.ORDER_QUANTITY: WIDE, Reason.ORDER_NOTIONAL: WIDE,
    Reason.PRICE_COLLAR: 1000, Reason.POSITION_QUANTITY: WIDE, Reason.POSITION_NOTIONAL: WIDE,
    Reason.GROSS_EXPOSURE: WIDE, Reason.NET_EXPOSURE: WIDE, Reason.OPEN_ORDERS: COUNT + 1,
    Reason.RATE_SECOND: 100_000,
    Reason.RATE_MINUTE: 100_000, Reason.DUPLICATE: rr.MS, Reason.DAILY_LOSS: WIDE, Reason.DRAWDOWN: WIDE,
    Reason.BREAKER_LOSSES: 5,
}  # fmt: skip


def setting() -> list[tuple[int, Any]]:
    """One instrument with a quote, every limit in force for the account, one strategy."""
    rows: list[tuple[int, Any]] = [(rr.INSTRUMENTS, rr.INSTRUMENT_ROW)]
    rows += [(rr.LIMITS, rr.limit_row(reason, value)) for reason, value in LIMITS.items()]
    rows += [(rr.LIMITS, rr.limit_row(Reason.BREAKER_MOVE, 500, Scope.INSTRUMENT, INSTRUMENT))]
    rows += [(rr.STRATEGIES, rr.strategy_row(STRATEGY, ACCOUNT, INSTRUMENT, capital_e8=WIDE))]
    return [*rows, (rr.QUOTES, QUOTE)]


def opened(rule: Risk) -> State:
    state = rule.initial_state()
    for number, (which, values) in enumerate(setting(), 1):
        row, texts = filled(rule.inputs[which], values)
        heap = np.frombuffer(texts, dtype=np.uint8)
        rule.on_batch(state, Batch(which, ORIGIN, number, row, heap), Outputs(rule.outputs))
    return state


def met(rule: Risk, state: State, rows: Rows) -> None:
    """A first request that leaves nothing but the lane."""
    first = rows[:1].copy()
    first["action"] = RequestAction.CANCEL_ALL
    rule.on_batch(state, Batch(REQUEST_INPUT, ORIGIN, 999, first), Outputs(rule.outputs))


def requests(count: int = COUNT) -> Rows:
    """New limit orders of a market maker on both sides of the touch, 100 µs apart."""
    rows = ORDER_REQUEST.empty(count)
    at = np.arange(count)
    rows["ts_event_ns"] = rows["ts_recv_ns"] = rr.START_NS + at * 100_000
    rows["valid_until_ns"] = rows["ts_recv_ns"] + rr.SECOND_NS
    rows["tag"] = at + 1
    rows["side"] = at % 2
    rows["price_e8"] = np.where(rows["side"] == Side.BUY, 999 - at // 2 % 20, 1001 + at // 2 % 19) * rr.TICK
    rows["quantity_e8"] = (100 + at % 50) * rr.LOT
    rows["instrument"], rows["account"], rows["strategy"] = INSTRUMENT, ACCOUNT, STRATEGY
    return rows


class Calls:
    """The kernel's call over arrays that are there already, as the rule makes it."""

    def __init__(self, rule: Risk, state: State) -> None:
        self.rule, self.settings = rule, rule._settings
        self.decisions = np.zeros((BATCH, lay.DECISION_WORDS), dtype=np.int64)
        self.found = np.zeros((lay.REASONS, 3), dtype=np.int64)
        self.denials = np.zeros((2 * BATCH, lay.DENIAL_WORDS), dtype=np.int64)
        self.cursor = np.zeros(lay.CURSOR_SIZE, dtype=np.int64)
        self.cursor[lay.FORCED] = -1
        names = ("meta", "instruments", "owners", "rings", "lanes", "orders", "places", "recent")
        self.arrays = [state[name] for name in names]

    def judge(self, words: Words, row: int) -> None:
        """Judge requests, numbered from `row`."""
        status = kernel.judge_requests(
            words.reshape(-1, lay.REQUEST_WORDS),
            row,
            0,
            row,
            self.settings,
            *self.arrays,
            self.found,
            self.decisions,
            self.denials,
            self.cursor,
        )
        assert status == lay.DONE


def in_batches(denied: bool) -> float:
    """Nanoseconds of one order: batches of BATCH, whose orders end before the next one begins; the best batch."""
    rule, rows = Risk(STEADY), requests(BATCH)
    state = opened(rule)
    if denied:
        stopped(rule, state)
    met(rule, state, rows)
    calls, best = Calls(rule, state), float("inf")
    for turn in range(4 * REPEATS):
        words, row = as_words(rows.copy()), 1000 + turn * BATCH
        started = time.thread_time_ns()
        calls.judge(words, row)
        best = min(best, (time.thread_time_ns() - started) / BATCH)
        assert ((calls.decisions[:, 9] == 0) == (not denied)).all()
        ended = ORDER.empty(BATCH)
        for name in ("ts_recv_ns", "tag", "price_e8", "quantity_e8", "instrument", "account", "strategy", "side"):
            ended[name] = rows[name]
        ended["order_id"], ended["state"] = row + np.arange(BATCH), OrderState.CANCELLED
        rule.on_batch(state, Batch(rr.ORDERS, ORIGIN, row, ended), Outputs(rule.outputs))
        rows["tag"] += BATCH
        for name in ("ts_recv_ns", "valid_until_ns"):
            rows[name] += 2 * BATCH * 100_000
        quote, _ = filled(rule.inputs[rr.QUOTES], QUOTE | {"ts_recv_ns": int(rows["ts_recv_ns"][0])})
        rule.on_batch(state, Batch(rr.QUOTES, ORIGIN, row, quote), Outputs(rule.outputs))
    return best


def whole_batch(rows: Rows) -> float:
    """Nanoseconds of one order in one large batch through the rule, on a fresh state, rows out included."""
    rule = Risk(PARAMETERS)
    rule.warm()
    ready = opened(rule)
    states = [copy.deepcopy(ready) for _ in range(REPEATS + 1)]
    out = Outputs(rule.outputs)

    def work() -> None:
        nonlocal out
        out = Outputs(rule.outputs, ORIGIN)
        rule.on_batch(states.pop(), Batch(REQUEST_INPUT, ORIGIN, 1000, rows), out)

    seconds = seconds_of(work, REPEATS, time.thread_time)
    decisions = np.concatenate([one.rows for one in out.emitted if one.rows.dtype == DECISION.dtype])
    assert len(decisions) == len(rows)
    assert (decisions["reasons"] == 0).all()
    return seconds / len(rows) * 1e9


def stopped(rule: Risk, state: State) -> None:
    """A kill switch: all is denied, with a row for its reason."""
    values: rr.Values = {"ts_recv_ns": rr.START_NS, "on": 1, "kill_id": 1, "who": "anna"}
    row, texts = filled(rule.inputs[rr.SWITCHES], values)
    rule.on_batch(state, Batch(0, ORIGIN, 99, row, np.frombuffer(texts, np.uint8)), Outputs(rule.outputs))


def one_by_one(rows: Rows) -> tuple[float, float]:
    """Microseconds of one order from Python: the kernel alone, and the whole rule."""
    rule = Risk(PARAMETERS)
    rule.warm()
    singles = [as_words(rows[k : k + 1]) for k in range(len(rows))]
    ready = opened(rule)
    met(rule, ready, rows)
    states = [copy.deepcopy(ready) for _ in range(2 * REPEATS + 2)]

    def kernel_only() -> None:
        calls = Calls(rule, states.pop())
        for row, words in enumerate(singles, 1000):
            calls.judge(words, row)
        assert calls.decisions[0, 9] == 0

    def whole_rule() -> None:
        state = states.pop()
        for k in range(len(rows)):
            batch = Batch(REQUEST_INPUT, ORIGIN, 1000 + k, rows[k : k + 1])
            rule.on_batch(state, batch, Outputs(rule.outputs, ORIGIN))

    alone = seconds_of(kernel_only, REPEATS, time.thread_time)
    return alone / len(rows) * 1e6, seconds_of(whole_rule, REPEATS, time.thread_time) / len(rows) * 1e6


def twin(rows: Rows) -> tuple[float, int]:
    """Nanoseconds of one order through the plain Python twin, and how many it approved."""
    plain = PlainRisk(PARAMETERS)
    rule = Risk(PARAMETERS)
    takes = {rr.LIMITS: plain.take_limit, rr.STRATEGIES: plain.take_strategy}
    for which, values in setting():
        row, _ = filled(rule.inputs[which], values)
        plain_row = {name: row[name][0].item() for name in row.dtype.names or ()}
        if which == rr.INSTRUMENTS:
            plain.take_instrument(plain_row | {"quote_asset": rr.USDT})
        elif which == rr.QUOTES:
            plain.take_quote(plain_row, 1, 0)
        else:
            takes[which](plain_row)
    asked = [dict(zip(rows.dtype.names or (), row, strict=True)) for row in rows.tolist()]

    def work() -> None:
        for number, row in enumerate(asked, 1000):
            plain.take_request(row, number, ORIGIN.incarnation, ORIGIN.writer)

    started = time.thread_time()
    work()
    seconds = time.thread_time() - started
    return seconds / len(rows) * 1e9, sum(decision["reasons"] == 0 for decision in plain.decisions)


def run() -> list[Result]:
    """Orders in a batch, one by one, and the twin."""
    rows = requests()
    Risk(PARAMETERS).warm()
    many, denied, fresh = in_batches(False), in_batches(True), whole_batch(rows)
    plain, plain_approved = twin(rows[:TWIN_COUNT])
    assert plain_approved == TWIN_COUNT
    alone, whole = one_by_one(rows)
    name = f"plain Python twin, {TWIN_COUNT} orders"
    batch_goal = f"≤ {BATCH_GOAL_NS:.0f} ns an order in batch"
    single_goal = f"≤ {SINGLE_GOAL_US:.0f} µs for one from Python, the kernel's call"
    checks = f"all {len(Reason)} checks, {len(LIMITS) + 1} limits in force"
    return [
        Result(
            f"risk: new orders in batches of {BATCH:,}, all approved and counted as pending, the kernel, one core",
            round(many, 1), "ns/order", name, round(plain), batch_goal, many <= BATCH_GOAL_NS,
            f"{checks}; 24-word decisions written; {COUNT:,} in one batch through the whole rule, on a fresh state: "
            f"{fresh:.0f} ns",
        ),
        Result(
            f"risk: new orders in batches of {BATCH:,}, all denied by a kill switch, the kernel, one core",
            round(denied, 1), "ns/order", name, round(plain), batch_goal, denied <= BATCH_GOAL_NS,
            f"{checks}; a decision and a denial each",
        ),
        Result(
            "risk: one new order at a time from Python, the kernel's call",
            round(alone, 2), "µs/order", name, round(plain / 1e3, 1), single_goal, alone <= SINGLE_GOAL_US, checks,
        ),
        Result(
            "risk: one new order at a time from Python, the whole rule with its rows out",
            round(whole, 2), "µs/order", name, round(plain / 1e3, 1), "no goal of its own", True, checks,
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    print_results(run())
