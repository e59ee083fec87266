"""Decisions and venue reports for the laws: plausible lives of orders, and everything out of place."""

from __future__ import annotations

from hypothesis import strategies as st

from processors.orders import DECISION_INPUT, REPORT_INPUT
from schemas.trading import DECISION, NOT_SAID, VENUE_REPORT, OrderState, ReportKind
from tests.laws.inputs import Given, joined
from tests.laws.stream import Stream

INPUTS = (VENUE_REPORT, DECISION)
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
ACCOUNT, STRATEGY = 70, 700
ONE = 10**8
_INSTRUMENTS = (1, 7)
_ORDERS = 3  # of each instrument
_steps = st.sampled_from([0, 1, 1_000_000, 1_000_000, 200_000_000, SECOND_NS, 11 * SECOND_NS, 90 * SECOND_NS, -7])
_states = st.sampled_from([state for state in OrderState if state not in (2, 5, 6, 11)])


@st.composite
def _decision(draw: st.DrawFn, now_ns: int) -> Given:
    instrument = draw(st.sampled_from(_INSTRUMENTS))
    action = draw(st.sampled_from([0] * 5 + [1, 1, 2, 2, 3]))
    values = {
        "ts_event_ns": now_ns, "ts_recv_ns": now_ns, "instrument": instrument, "account": ACCOUNT, "strategy": STRATEGY,
        "order_id": 10 * instrument + draw(st.integers(1, _ORDERS)), "tag": 5, "action": action,
        "price_e8": draw(st.integers(1, 3)) * ONE, "stop_price_e8": ONE, "quantity_e8": draw(st.integers(1, 6)) * ONE,
        "valid_until_ns": now_ns + draw(st.sampled_from([-1, 0, SECOND_NS, 30 * SECOND_NS])),
        "expires_ns": now_ns + draw(st.sampled_from([-1, 5 * SECOND_NS, 300 * SECOND_NS])),
        "reasons": draw(st.sampled_from([0] * 6 + [4])), "side": instrument % 2,
        "kind": draw(st.integers(0, 3)), "time_in_force": draw(st.integers(0, 4)), "flags": draw(st.integers(0, 15)),
    }  # fmt: skip
    everything = action == 3 and draw(st.booleans())
    if action == 3:
        values["order_id"] = 0
    return Given(DECISION_INPUT, values | ({"instrument": 0} if everything else {}), "" if everything else instrument)


@st.composite
def _report(draw: st.DrawFn, now_ns: int) -> Given:
    instrument = draw(st.sampled_from(_INSTRUMENTS))
    number = draw(st.integers(1, _ORDERS))
    foreign = draw(st.integers(0, 7)) == 0
    kind = draw(st.sampled_from([1] * 6 + list(ReportKind)))
    state = draw(_states)
    values: dict[str, int | str] = {
        "ts_event_ns": now_ns - draw(st.sampled_from([0, 0, SECOND_NS])), "ts_recv_ns": now_ns,
        "instrument": instrument, "account": ACCOUNT, "strategy": STRATEGY,
        "order_id": 0 if foreign else 10 * instrument + number,
        "venue_order_id": 1000 * instrument + number + 500 * foreign, "report": kind, "side": instrument % 2,
        "price_e8": draw(st.integers(1, 3)) * ONE, "quantity_e8": draw(st.integers(1, 6)) * ONE,
        "trade_id": 100 * instrument + draw(st.integers(1, 12)),
        "filled_e8": draw(st.sampled_from([-1, -1, 0, ONE, 3 * ONE, 6 * ONE])),
        "state": state, "fee_e8": 3, "fee_asset": 9, "realised_e8": draw(st.sampled_from([NOT_SAID, -1, 5])),
        "code": draw(st.sampled_from([0, -2011])), "text": "said",
    }  # fmt: skip
    if kind == ReportKind.STATUS:
        values["filled_e8"] = draw(st.integers(state in (OrderState.PARTIALLY_FILLED, OrderState.FILLED), 6)) * ONE
    return Given(REPORT_INPUT, values, instrument)


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Up to forty rows of both inputs."""
    given, now_ns = [], START_NS
    for _ in range(draw(st.integers(1, 40))):
        now_ns += draw(_steps)
        one: Given = draw(st.one_of(_decision(now_ns), _report(now_ns), _report(now_ns)))
        given.append(one)
    return joined(INPUTS, given)


def invalid() -> st.SearchStrategy[Stream]:
    """One row that no state can take."""
    times: dict[str, int | str] = {"ts_event_ns": START_NS, "ts_recv_ns": START_NS, "instrument": 1, "account": ACCOUNT}
    times |= {"order_id": 11, "price_e8": ONE}
    decision, report = dict(times), dict(times)
    decision.update(quantity_e8=ONE, valid_until_ns=START_NS)
    report.update(venue_order_id=4, report=1, trade_id=9, quantity_e8=5)
    decisions: list[dict[str, int | str]] = [
        {"action": 4}, {"side": 2}, {"kind": 4}, {"time_in_force": 5}, {"flags": 16}, {"order_id": 0}, {"order_id": -4},
        {"quantity_e8": 0}, {"quantity_e8": -5}, {"price_e8": 0}, {"price_e8": (1 << 62) + 1}, {"kind": 2},
        {"time_in_force": 3}, {"ts_recv_ns": -1}, {"ts_recv_ns": 1 << 62},
    ]  # fmt: skip
    reports: list[dict[str, int | str]] = [
        {"report": 13}, {"side": 2}, {"maker": 2}, {"order_id": 0, "venue_order_id": 0}, {"venue_order_id": -1},
        {"trade_id": 0}, {"price_e8": 0}, {"quantity_e8": 0}, {"price_e8": 1 << 60, "quantity_e8": 1 << 60},
        {"filled_e8": -2}, {"report": 12, "state": 6}, {"report": 12, "state": 99}, {"report": 12, "state": 7},
        {"report": 5, "quantity_e8": 0}, {"ts_event_ns": -1},
    ]  # fmt: skip
    faults = [(DECISION_INPUT, decision | fault) for fault in decisions]
    faults += [(REPORT_INPUT, report | fault) for fault in reports]
    return st.sampled_from(faults).map(lambda fault: joined(INPUTS, [Given(fault[0], fault[1], 1)]))
