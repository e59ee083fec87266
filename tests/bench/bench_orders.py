"""Orders through their whole lives, in batches: `python -m tests.bench.bench_orders`."""

from __future__ import annotations

import time

import numpy as np

from processors.api import Batch, Outputs, State
from processors.orders import DECISION_INPUT, FILL_OUTPUT, REPORT_INPUT, Orders, open_orders
from schemas.address import NO_ORIGIN
from schemas.declare import Rows
from schemas.trading import DECISION, VENUE_REPORT, ReportKind, TimeInForce
from tests.bench.result import Result, print_results, seconds_of

ORDERS = 20_000
PER_BATCH = 256  # orders that are decided together, as a runner would hand them over
SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000_000_000_000
ONE = 10**8
GOAL = 200_000
LIFE = (ReportKind.SENT, ReportKind.ACKNOWLEDGED, ReportKind.FILL, ReportKind.FILL)  # after the decision


def decisions(first: int, count: int) -> Rows:
    """Approved limit orders of 10 at 100, ten thousand a second."""
    rows = DECISION.empty(count)
    rows["order_id"] = np.arange(first, first + count)
    rows["ts_recv_ns"] = START_NS + rows["order_id"] * (SECOND_NS // 10_000)
    rows["ts_event_ns"] = rows["ts_recv_ns"]
    rows["price_e8"], rows["quantity_e8"], rows["instrument"], rows["account"] = 100 * ONE, 10 * ONE, 7, 70
    rows["valid_until_ns"] = rows["ts_recv_ns"] + SECOND_NS
    rows["time_in_force"] = TimeInForce.DAY
    return rows


def reports(of: Rows) -> Rows:
    """Sent, acknowledged, two halves filled: in the order in which a venue tells of many orders at once."""
    rows = VENUE_REPORT.empty(len(of) * len(LIFE))
    for k, kind in enumerate(LIFE):
        part = rows[k * len(of) : (k + 1) * len(of)]
        for name in ("order_id", "ts_event_ns", "instrument", "account"):
            part[name] = of[name]
        part["ts_recv_ns"] = of["ts_recv_ns"][-1] + 1_000 * k
        part["report"], part["filled_e8"], part["venue_order_id"] = kind, -1, of["order_id"] + 10**9
        if kind == ReportKind.FILL:
            part["price_e8"], part["quantity_e8"], part["trade_id"] = 100 * ONE, 5 * ONE, 2 * of["order_id"] + k
    return rows


def run() -> list[Result]:
    """Inputs a second in batches, and one at a time."""
    rule = Orders()
    rule.warm()
    batches = []
    for first in range(1, ORDERS, PER_BATCH):
        of = decisions(first, PER_BATCH)
        batches += [Batch(DECISION_INPUT, NO_ORIGIN, 1, of), Batch(REPORT_INPUT, NO_ORIGIN, 1, reports(of))]
    inputs = sum(len(batch.rows) for batch in batches)
    state: State = {}
    out = Outputs(rule.outputs)

    def work() -> None:
        nonlocal state, out
        state, out = rule.initial_state(), Outputs(rule.outputs)
        for batch in batches:
            rule.on_batch(state, batch, out)

    figure = inputs / seconds_of(work, 7, time.thread_time)
    fills = sum(len(one.rows) for one in out.emitted if one.output == FILL_OUTPUT)
    assert (fills, out.dead, open_orders(state)) == (inputs // 5 * 2, [], [])
    singles = [batch.cut(k, k + 1) for batch in batches[:8] for k in range(len(batch.rows))]

    def one_by_one() -> None:
        fresh, said = rule.initial_state(), Outputs(rule.outputs)
        for batch in singles:
            rule.on_batch(fresh, batch, said)

    single_us = seconds_of(one_by_one, 5, time.thread_time) / len(singles) * 1e6
    return [
        Result(
            f"{inputs:,} inputs of {inputs // 5:,} orders: decided, sent, acknowledged, filled twice; one core",
            round(figure), "inputs/s", "", 0.0, f"≥ {GOAL:,} inputs/s", figure >= GOAL,
            f"batches of {PER_BATCH} decisions and {PER_BATCH * len(LIFE)} reports",
        ),
        Result(
            "the same, one row a call from Python", round(single_us, 1), "µs/input", "", 0.0,
            "≤ 100 µs, so that 10,000 inputs a second pass one by one", single_us <= 100, "",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    print_results(run())
