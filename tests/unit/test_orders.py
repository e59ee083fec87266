"""Rule `orders`: lives of orders, one story a test."""

from __future__ import annotations

import numpy as np
import pytest

from processors.api import NEVER_NS, Batch, Outputs
from processors.orders import DECISION_INPUT, REPORT_INPUT, OrderCode, Orders, OrdersParameters, open_orders
from schemas.errors import ConfigInvalid
from schemas.events import DeadReason
from schemas.trading import (
    DECISION,
    NOT_SAID,
    VENUE_REPORT,
    Alarm,
    CommandKind,
    OrderFlag,
    OrderKind,
    OrderState,
    ReportKind,
    RequestAction,
    TimeInForce,
)
from streams.checkpoint import Snapshot, pack_snapshot, unpack_snapshot
from tests.unit.order_rows import (
    ACCOUNT,
    INSTRUMENT,
    ONE,
    ORIGINS,
    SECOND_NS,
    START_NS,
    STRATEGY,
    Desk,
    Said,
    decision,
    fill,
    in_state,
    report,
    row_of,
    status,
)

S, R, C, A = OrderState, ReportKind, CommandKind, Alarm
DAY_NS = 86_400 * SECOND_NS
KINDS = [
    (OrderKind.LIMIT, TimeInForce.GTC, OrderFlag(0)),
    (OrderKind.LIMIT, TimeInForce.GTC, OrderFlag.POST_ONLY),
    (OrderKind.LIMIT, TimeInForce.IOC, OrderFlag.REDUCE_ONLY),
    (OrderKind.LIMIT, TimeInForce.FOK, OrderFlag(0)),
    (OrderKind.MARKET, TimeInForce.GTC, OrderFlag.REDUCE_ONLY | OrderFlag.FLATTEN),
    (OrderKind.STOP, TimeInForce.GTC, OrderFlag(0)),
    (OrderKind.STOP_LIMIT, TimeInForce.GTD, OrderFlag.HUMAN),
    (OrderKind.LIMIT, TimeInForce.DAY, OrderFlag(0)),
]


# ---- from the decision to the end


@pytest.mark.parametrize(("kind", "time", "flags"), KINDS)
def test_order_of_every_kind_is_sent_as_it_was_decided(kind: OrderKind, time: TimeInForce, flags: OrderFlag) -> None:
    wanted = {"kind": kind, "time_in_force": time, "flags": int(flags), "stop_price_e8": 99 * ONE, "side": 1}
    wanted |= {"expires_ns": START_NS + 900 * SECOND_NS, "price_e8": 0 if kind == OrderKind.MARKET else 100 * ONE}
    desk = Desk().decide(**wanted)
    assert desk.said == [Said(S.NEW, S.NEW, A.NONE)]
    command, order = desk.command_rows[0], desk.orders[0]
    for name in (*wanted, "order_id", "instrument", "account", "strategy", "quantity_e8", "valid_until_ns"):
        assert command[name] == order[name] == decision(**wanted)[name], name
    assert (command["command"], command["attempt"], order["attempt"]) == (C.SUBMIT, 1, 1)
    assert (order["tag"], order["filled_e8"], order["before"]) == (1001, 0, S.NEW)


def test_resting_order_goes_from_sent_to_filled_and_every_fill_comes_out_once() -> None:
    desk = Desk().decide().say(R.SENT, R.ACKNOWLEDGED)
    first = fill(1, 4, filled_e8=4 * ONE, fee_e8=-7, fee_asset=3, maker=1, realised_e8=-1)
    desk.hear(first, fill(2, 6, filled_e8=10 * ONE, realised_e8=NOT_SAID))
    assert desk.states == [S.NEW, S.PENDING_SUBMIT, S.OPEN, S.PARTIALLY_FILLED, S.FILLED]
    assert desk.fills[["trade_id", "quantity_e8", "fee_e8", "fee_asset", "maker"]].tolist() == [
        (1, 4 * ONE, -7, 3, 1), (2, 6 * ONE, 0, 0, 0),
    ]  # fmt: skip
    assert desk.fills["venue_order_id"].tolist() == [5001, 5001]
    assert desk.fills["realised_e8"].tolist() == [-1, NOT_SAID]
    assert desk.orders["filled_notional_e8"].tolist()[-2:] == [400 * ONE, 1000 * ONE]
    assert desk.commands == [C.SUBMIT]
    assert set(desk.alarms) == {A.NONE}
    assert desk.rule.next_deadline_ns(desk.state) == NEVER_NS


def test_rows_carry_their_cause_and_time() -> None:
    desk = Desk().decide().say(R.SENT)
    emitted = [
        (one.origin, one.rows["cause_row"].tolist(), one.rows["ts_recv_ns"].tolist()) for one in desk.out.emitted
    ]
    first, second = START_NS + 1_000_000, START_NS + 2_000_000
    assert emitted == [(ORIGINS[1], [1], [first]), (ORIGINS[1], [1], [first]), (ORIGINS[0], [2], [second])]


def test_denied_decision_becomes_a_denied_order_and_nothing_is_sent() -> None:
    desk = Desk().decide(reasons=1 << 17, quantity_e8=-5)
    assert desk.said == [Said(S.NEW, S.DENIED, A.NONE)]
    assert desk.commands == []
    assert desk.standing() is None


@pytest.mark.parametrize("kind", [R.REJECTED, R.EXPIRED, R.CANCELLED])
def test_end_by_the_venue_carries_its_code(kind: ReportKind) -> None:
    desk = Desk().decide(flags=int(OrderFlag.POST_ONLY)).say(R.SENT).hear(report(kind, code=-5022))
    assert desk.now_is == {R.REJECTED: S.REJECTED, R.EXPIRED: S.EXPIRED, R.CANCELLED: S.CANCELLED}[kind]
    assert desk.orders["code"].tolist() == [0, 0, -5022]


def test_immediate_order_that_fills_in_part_expires_with_what_it_has() -> None:
    desk = in_state(S.OPEN, time_in_force=TimeInForce.IOC).hear(fill(1, 4), report(R.EXPIRED, filled_e8=4 * ONE))
    assert desk.said[-1] == Said(S.PARTIALLY_FILLED, S.EXPIRED, A.NONE)
    assert desk.standing() == (S.EXPIRED, 10 * ONE, 4 * ONE, 400 * ONE, 100 * ONE)


def test_immediate_order_that_still_rests_is_asked_about() -> None:
    desk = in_state(S.OPEN, kind=OrderKind.MARKET, price_e8=0).wait(10.5)
    assert desk.said[-1] == Said(S.OPEN, S.UNKNOWN, A.NONE)
    assert desk.commands == [C.SUBMIT, C.QUERY]
    assert in_state(S.OPEN).wait(10.5).commands == [C.SUBMIT]


def test_stop_order_is_triggered_once() -> None:
    desk = in_state(S.OPEN, kind=OrderKind.STOP, stop_price_e8=90 * ONE).say(R.TRIGGERED, R.TRIGGERED, R.TRIGGERED)
    assert desk.said[3:] == [Said(S.OPEN, S.OPEN, A.NONE), Said(S.OPEN, S.OPEN, A.REPEATED)]
    assert desk.hear(fill(1, 10)).now_is == S.FILLED


def test_decision_past_its_validity_is_not_sent() -> None:
    late = Desk().decide(valid_until_ns=START_NS)
    ended = Desk().decide(time_in_force=TimeInForce.GTD, expires_ns=START_NS + 1)
    for desk in (late, ended):
        assert desk.said == [Said(S.NEW, S.EXPIRED, A.NONE)]
        assert desk.orders["code"].tolist() == [OrderCode.STALE]
        assert desk.commands == []
        assert desk.standing() is None


# ---- amends and cancels in flight


def test_amend_is_in_force_when_the_venue_says_so() -> None:
    desk = in_state(S.OPEN).amend(101, 12)
    sent, order = desk.command_rows[-1], desk.orders[-1]
    assert (sent["command"], sent["price_e8"], sent["quantity_e8"]) == (C.AMEND, 101 * ONE, 12 * ONE)
    assert (order["price_e8"], order["wanted_price_e8"], order["wanted_quantity_e8"]) == (
        100 * ONE,
        101 * ONE,
        12 * ONE,
    )
    desk.hear(report(R.AMENDED, price_e8=101 * ONE, quantity_e8=12 * ONE))
    order = desk.orders[-1]
    assert (order["state"], order["price_e8"], order["quantity_e8"]) == (S.OPEN, 101 * ONE, 12 * ONE)
    assert (order["wanted_price_e8"], order["wanted_quantity_e8"]) == (0, 0)


def test_amend_that_is_rejected_leaves_the_order_as_it_was() -> None:
    desk = in_state(S.PENDING_AMEND).hear(report(R.AMEND_REJECTED, code=-5027))
    assert desk.said[-1] == Said(S.PENDING_AMEND, S.OPEN, A.NONE)
    assert desk.orders[["price_e8", "wanted_price_e8", "code"]].tolist()[-1] == (100 * ONE, 0, -5027)


def test_amend_to_no_more_than_what_is_filled_is_a_cancel() -> None:
    desk = in_state(S.PARTIALLY_FILLED).amend(101, 3)
    assert desk.commands[-1] == C.CANCEL
    assert desk.say(R.CANCELLED).now_is == S.CANCELLED


def test_amend_while_something_is_in_flight_is_impossible_and_changes_nothing() -> None:
    for state in (S.NEW, S.PENDING_SUBMIT, S.UNKNOWN, S.PENDING_AMEND, S.PENDING_CANCEL, S.FILLED):
        desk = in_state(state)
        sent = len(desk.commands)
        desk.amend(102, 14)
        assert desk.said[-1] == Said(state, state, A.IMPOSSIBLE)
        assert len(desk.commands) == sent
        assert desk.orders["quantity_e8"][-1] == 10 * ONE


def test_larger_amend_in_flight_holds_a_filled_order_open_until_it_is_answered() -> None:
    accepted = in_state(S.PENDING_AMEND).hear(fill(1, 10))
    assert accepted.now_is == S.PENDING_AMEND
    accepted.hear(report(R.AMENDED, price_e8=101 * ONE, quantity_e8=12 * ONE))
    assert accepted.now_is == S.PARTIALLY_FILLED
    refused = in_state(S.PENDING_AMEND).hear(fill(1, 10)).say(R.AMEND_REJECTED)
    assert refused.now_is == S.FILLED


def test_amended_below_what_was_filled_meanwhile_is_filled_and_alarmed() -> None:
    desk = (
        in_state(S.OPEN).amend(100, 5).hear(fill(1, 6)).hear(report(R.AMENDED, price_e8=100 * ONE, quantity_e8=5 * ONE))
    )
    assert desk.said[-1] == Said(S.PENDING_AMEND, S.FILLED, A.OVERFILL)


def test_denied_or_late_change_is_told_and_changes_nothing() -> None:
    denied = in_state(S.OPEN).amend(101, 12, reasons=1)
    late = in_state(S.OPEN).amend(101, 12, valid_until_ns=START_NS)
    for desk, code in ((denied, OrderCode.DENIED), (late, OrderCode.STALE)):
        assert desk.said[-1] == Said(S.OPEN, S.OPEN, A.NONE)
        assert desk.orders["code"][-1] == code
        assert desk.commands == [C.SUBMIT]


def test_cancel_before_the_acknowledgement_goes_out_with_it() -> None:
    desk = Desk().decide().say(R.SENT).cancel()
    assert desk.commands == [C.SUBMIT]
    desk.say(R.ACKNOWLEDGED)
    assert desk.commands == [C.SUBMIT, C.CANCEL]
    assert desk.said[-2:] == [Said(S.PENDING_SUBMIT, S.OPEN, A.NONE), Said(S.OPEN, S.PENDING_CANCEL, A.NONE)]


def test_cancel_while_an_amend_is_in_flight_goes_out_when_that_is_answered() -> None:
    desk = in_state(S.PENDING_AMEND).cancel()
    assert desk.commands == [C.SUBMIT, C.AMEND]
    desk.hear(report(R.AMENDED, price_e8=101 * ONE, quantity_e8=12 * ONE))
    assert desk.commands == [C.SUBMIT, C.AMEND, C.CANCEL]
    assert desk.now_is == S.PENDING_CANCEL


def test_fills_after_a_cancel_request_are_counted_and_one_that_completes_ends_the_order() -> None:
    desk = in_state(S.PENDING_CANCEL).hear(fill(1, 4))
    assert desk.said[-1] == Said(S.PENDING_CANCEL, S.PENDING_CANCEL, A.NONE)
    desk.hear(fill(2, 6)).say(R.CANCEL_REJECTED)
    assert desk.said[-2:] == [Said(S.PENDING_CANCEL, S.FILLED, A.NONE), Said(S.FILLED, S.FILLED, A.REPEATED)]
    assert desk.commands == [C.SUBMIT, C.CANCEL]


def test_rejected_cancel_is_not_sent_again_and_the_order_is_asked_about() -> None:
    desk = in_state(S.PENDING_CANCEL).hear(report(R.CANCEL_REJECTED, code=-2011))
    assert desk.now_is == S.UNKNOWN
    assert desk.commands[2:] == [C.QUERY]
    desk.hear(status(S.OPEN, 0))
    assert desk.now_is == S.OPEN
    assert desk.commands[2:] == [C.QUERY]


def test_repeated_cancel_is_said_once() -> None:
    desk = in_state(S.PENDING_CANCEL).cancel().cancel().cancel()
    assert desk.said[4:] == [Said(S.PENDING_CANCEL, S.PENDING_CANCEL, A.REPEATED)]
    assert desk.commands == [C.SUBMIT, C.CANCEL]


def test_cancel_all_cancels_what_its_scope_names_once_each() -> None:
    desk = Desk()
    other = [{}, {"instrument": 8}, {"strategy": 701}, {"account": 71}, {}]
    for order_id, who in zip((5, 2, 3, 4, 1), other, strict=True):
        desk.decide(order_id, **who).hear(report(R.ACKNOWLEDGED, order_id, **who))
    desk.cancel(5)
    desk.change(RequestAction.CANCEL_ALL, 0)
    rows = desk.command_rows
    assert rows["order_id"][rows["command"] == C.CANCEL].tolist() == [5, 1]
    desk.change(RequestAction.CANCEL_ALL, 0, instrument=0)
    rows = desk.command_rows
    assert rows["order_id"][rows["command"] == C.CANCEL].tolist() == [5, 1, 2]
    desk.change(RequestAction.CANCEL_ALL, 0, instrument=0, strategy=0)
    rows = desk.command_rows
    assert rows["order_id"][rows["command"] == C.CANCEL].tolist() == [5, 1, 2, 3]


def test_cancel_all_of_more_orders_than_fit_a_call_cancels_every_one() -> None:
    desk = Desk()
    count = 5000
    rows = np.concatenate([row_of(DECISION, decision(1) | {"ts_recv_ns": START_NS})] * count)
    rows["order_id"] = np.arange(1, count + 1)
    acks = np.concatenate([row_of(VENUE_REPORT, report(R.ACKNOWLEDGED) | {"ts_recv_ns": START_NS})] * count)
    acks["order_id"] = rows["order_id"]
    desk.rule.on_batch(desk.state, Batch(DECISION_INPUT, ORIGINS[1], 1, rows), desk.out)
    desk.rule.on_batch(desk.state, Batch(REPORT_INPUT, ORIGINS[0], 1, acks), desk.out)
    desk.change(RequestAction.CANCEL_ALL, 0)
    sent = desk.command_rows
    assert sent["order_id"][sent["command"] == C.CANCEL].tolist() == list(range(1, count + 1))
    assert open_orders(desk.state) == list(range(1, count + 1))


# ---- late, repeated, out of order


def test_fill_before_the_acknowledgement_is_counted_and_stands_for_it() -> None:
    desk = Desk().decide().hear(fill(1, 4)).say(R.ACKNOWLEDGED, R.SENT)
    assert desk.said[1:] == [
        Said(S.NEW, S.PARTIALLY_FILLED, A.NONE), Said(S.PARTIALLY_FILLED, S.PARTIALLY_FILLED, A.REPEATED),
    ]  # fmt: skip


def test_order_that_the_venue_accepts_for_less_is_filled_by_that() -> None:
    desk = Desk().decide().say(R.SENT).hear(report(R.ACKNOWLEDGED, quantity_e8=6 * ONE, price_e8=100 * ONE))
    assert desk.orders["quantity_e8"].tolist()[-1] == 6 * ONE
    assert desk.hear(fill(1, 6)).states[-1] is S.FILLED


def test_order_accepted_for_less_and_filled_before_that_is_heard_is_over() -> None:
    desk = Desk().decide().say(R.SENT).hear(fill(1, 6))
    assert desk.states[-1] is S.PARTIALLY_FILLED
    desk.hear(report(R.ACKNOWLEDGED, quantity_e8=6 * ONE, price_e8=100 * ONE))
    assert (desk.states[-1], desk.orders["quantity_e8"].tolist()[-1]) == (S.FILLED, 6 * ONE)


def test_acknowledgement_from_before_an_amend_changes_nothing() -> None:
    heard = report(R.ACKNOWLEDGED, quantity_e8=10 * ONE, price_e8=100 * ONE, ts_event_ns=START_NS)
    desk = Desk().decide().say(R.SENT).hear(heard).amend(101, 12)
    desk.hear(report(R.AMENDED, quantity_e8=12 * ONE, price_e8=101 * ONE)).hear(heard)
    assert desk.orders[["quantity_e8", "price_e8"]].tolist()[-1] == (12 * ONE, 101 * ONE)


def test_fill_heard_again_and_in_a_status_is_counted_once() -> None:
    desk = in_state(S.OPEN).hear(
        fill(1, 4), fill(1, 4), fill(1, 4), status(S.PARTIALLY_FILLED, 4), fill(2, 6), fill(1, 4)
    )
    assert desk.fills["trade_id"].tolist() == [1, 2]
    assert desk.alarms[3:] == [A.NONE, A.REPEATED, A.NONE, A.REPEATED]
    assert desk.standing() == (S.FILLED, 10 * ONE, 10 * ONE, 1000 * ONE, 100 * ONE)


def test_one_trade_between_two_orders_of_ours_is_a_fill_of_each() -> None:
    desk = in_state(S.OPEN).decide(2, side=1).hear(fill(1, 10), fill(1, 10, 2, side=1))
    assert desk.fills[["order_id", "trade_id", "side"]].tolist() == [(1, 1, 0), (2, 1, 1)]


def test_status_that_tells_of_more_than_was_heard_is_asked_about_and_invents_no_fill() -> None:
    desk = in_state(S.OPEN).hear(status(S.FILLED, 10))
    assert desk.said[-1] == Said(S.OPEN, S.UNKNOWN, A.MISSING_FILLS)
    assert desk.commands == [C.SUBMIT, C.QUERY]
    assert len(desk.fills) == 0
    desk.hear(fill(1, 4))
    assert desk.now_is == S.UNKNOWN
    desk.hear(fill(2, 6))
    assert desk.now_is == S.FILLED


def test_cancelled_that_outruns_its_fills_ends_when_they_have_come() -> None:
    desk = in_state(S.PENDING_CANCEL).hear(report(R.CANCELLED, filled_e8=3 * ONE))
    assert desk.said[-1] == Said(S.PENDING_CANCEL, S.UNKNOWN, A.MISSING_FILLS)
    desk.hear(fill(1, 3))
    assert desk.said[-1] == Said(S.UNKNOWN, S.CANCELLED, A.NONE)
    assert desk.wait(100).commands == [C.SUBMIT, C.CANCEL, C.QUERY]


def test_fill_that_shows_a_hole_before_it_is_asked_about() -> None:
    desk = in_state(S.OPEN).hear(fill(2, 3, filled_e8=7 * ONE))
    assert desk.said[-2:] == [
        Said(S.OPEN, S.PARTIALLY_FILLED, A.NONE),
        Said(S.PARTIALLY_FILLED, S.UNKNOWN, A.MISSING_FILLS),
    ]
    desk.hear(fill(1, 4, filled_e8=4 * ONE))
    assert desk.said[-1] == Said(S.UNKNOWN, S.PARTIALLY_FILLED, A.NONE)


def test_late_fill_after_the_end_is_counted_with_an_alarm() -> None:
    desk = in_state(S.CANCELLED).hear(fill(1, 2))
    assert desk.said[-1] == Said(S.CANCELLED, S.CANCELLED, A.LATE)
    assert desk.fills["quantity_e8"].tolist() == [3 * ONE, 2 * ONE]
    assert desk.standing() == (S.CANCELLED, 10 * ONE, 5 * ONE, 500 * ONE, 100 * ONE)


def test_late_news_after_the_end_changes_nothing_and_is_said_once() -> None:
    desk = in_state(S.FILLED).say(R.ACKNOWLEDGED, R.SENT, R.CANCELLED, R.UNKNOWN).hear(status(S.OPEN, 0))
    assert desk.said[4:] == [Said(S.FILLED, S.FILLED, A.REPEATED)]


def test_sign_of_life_of_an_order_that_was_given_up_asks_about_it() -> None:
    given_up = in_state(S.UNKNOWN).wait(6).say(R.ABSENT)
    assert given_up.now_is == S.EXPIRED
    given_up.say(R.ACKNOWLEDGED)
    assert given_up.said[-1] == Said(S.EXPIRED, S.UNKNOWN, A.LATE)
    assert given_up.commands[-1] == C.QUERY
    assert given_up.hear(status(S.OPEN, 0)).now_is == S.OPEN
    assert in_state(S.REJECTED).hear(fill(1, 2)).said[-2:] == [
        Said(S.REJECTED, S.REJECTED, A.LATE), Said(S.REJECTED, S.UNKNOWN, A.LATE),
    ]  # fmt: skip


# ---- unknown outcome


@pytest.mark.parametrize("state", [S.NEW, S.PENDING_SUBMIT, S.PENDING_AMEND, S.PENDING_CANCEL])
def test_unknown_outcome_is_asked_about_and_nothing_else_is_sent(state: OrderState) -> None:
    desk = in_state(state).say(R.UNKNOWN)
    sent = len(desk.commands)
    assert desk.commands[-1] == C.QUERY
    desk.cancel().amend(101, 12).change(RequestAction.CANCEL_ALL, 0).wait(300)
    assert set(desk.commands[sent:]) == {C.QUERY}


def test_queries_back_off_up_to_the_bound_and_name_when_the_next_one_comes() -> None:
    parameters = OrdersParameters(query_interval_ns=SECOND_NS, query_interval_max_ns=4 * SECOND_NS)
    desk = in_state(S.UNKNOWN, parameters).wait(12)
    rows = desk.command_rows[desk.command_rows["command"] == C.QUERY]
    first = START_NS + 3_000_000
    assert ((rows["ts_recv_ns"] - first) // SECOND_NS).tolist() == [0, 1, 3, 7, 11]
    assert rows["valid_until_ns"].tolist()[:-1] == rows["ts_recv_ns"].tolist()[1:]
    assert rows["attempt"].tolist() == [1, 2, 3, 4, 5]
    assert desk.rule.next_deadline_ns(desk.state) == first + 15 * SECOND_NS


def test_command_without_any_answer_becomes_unknown_by_itself() -> None:
    for state in (S.NEW, S.PENDING_SUBMIT, S.PENDING_AMEND, S.PENDING_CANCEL):
        desk = in_state(state).wait(10.5)
        assert desk.said[-1] == Said(state, S.UNKNOWN, A.NONE)
        assert desk.commands[-1] == C.QUERY


def test_absent_order_is_sent_again_while_it_is_fresh() -> None:
    desk = in_state(S.UNKNOWN).say(R.ABSENT)
    assert desk.said[-1] == Said(S.UNKNOWN, S.NEW, A.NONE)
    row = desk.command_rows[-1]
    assert (row["command"], row["attempt"], row["valid_until_ns"]) == (C.SUBMIT, 2, START_NS + 5 * SECOND_NS)
    assert desk.say(R.SENT, R.ACKNOWLEDGED).now_is == S.OPEN


def test_absent_order_past_its_validity_is_closed_with_a_reason() -> None:
    desk = in_state(S.UNKNOWN).wait(6).say(R.ABSENT)
    assert desk.said[-1] == Said(S.UNKNOWN, S.EXPIRED, A.NONE)
    assert desk.orders["code"][-1] == OrderCode.ABSENT
    assert C.SUBMIT not in desk.commands[1:]


def test_absent_order_that_is_to_be_cancelled_is_not_sent_again() -> None:
    desk = in_state(S.UNKNOWN).cancel().say(R.ABSENT)
    assert desk.now_is == S.EXPIRED
    assert desk.commands == [C.SUBMIT, C.QUERY]


def test_second_answer_about_the_first_attempt_does_not_settle_the_second() -> None:
    """Sent again on it, a market order would trade twice."""
    desk = in_state(S.UNKNOWN, None, valid_until_ns=START_NS + 600 * SECOND_NS).say(R.ABSENT, R.UNKNOWN)
    desk.wait(60).say(R.ABSENT)  # the second attempt was not seen to be sent
    assert desk.now_is == S.UNKNOWN
    desk.say(R.SENT)
    assert desk.commands.count(C.SUBMIT) == 2
    desk.say(R.ABSENT)
    assert desk.commands.count(C.SUBMIT) == 3
    desk.say(R.SENT, R.UNKNOWN, R.ABSENT)  # too soon after it was sent
    assert desk.commands.count(C.SUBMIT) == 3
    assert desk.wait(6).say(R.ABSENT).now_is == S.EXPIRED  # attempts_max


def test_rejection_of_a_second_attempt_does_not_close_an_order_that_may_live() -> None:
    """A venue refuses the repeated id because the first attempt is there."""
    desk = in_state(S.UNKNOWN).say(R.ABSENT, R.SENT).hear(report(R.REJECTED, code=-4116))
    assert desk.now_is == S.UNKNOWN
    assert desk.hear(status(S.OPEN, 0)).now_is == S.OPEN
    again = in_state(S.UNKNOWN).say(R.ABSENT, R.SENT).hear(report(R.REJECTED, code=-2019)).wait(6).say(R.ABSENT)
    assert again.now_is == S.EXPIRED
    assert again.orders["code"][-1] == -2019


def test_lost_cancel_is_sent_again_when_the_order_is_found_open() -> None:
    desk = in_state(S.PENDING_CANCEL).say(R.UNKNOWN).hear(status(S.OPEN, 0))
    assert desk.commands[2:] == [C.QUERY, C.CANCEL]
    assert desk.command_rows["attempt"].tolist()[-1] == 2
    assert desk.now_is == S.PENDING_CANCEL


def test_lost_amend_is_what_the_status_says() -> None:
    desk = in_state(S.PENDING_AMEND).say(R.UNKNOWN).hear(status(S.OPEN, 0, price_e8=101 * ONE, quantity_e8=12 * ONE))
    assert desk.orders[["state", "price_e8", "quantity_e8", "wanted_quantity_e8"]].tolist()[-1] == (
        S.OPEN, 101 * ONE, 12 * ONE, 0,
    )  # fmt: skip


# ---- orders that we do not know


def test_foreign_order_is_adopted_under_the_venues_id_below_zero() -> None:
    desk = Desk().hear(fill(9, 2, order_id=0, venue_order_id=8_389_765_590_064_612_345, side=1))
    assert desk.said == [Said(S.NEW, S.UNKNOWN, A.ADOPTED), Said(S.UNKNOWN, S.UNKNOWN, A.NONE)]
    assert desk.orders["order_id"].tolist() == [-8_389_765_590_064_612_345] * 2
    assert desk.fills[["order_id", "quantity_e8", "side"]].tolist() == [(-8_389_765_590_064_612_345, 2 * ONE, 1)]
    assert desk.commands == [C.QUERY]
    told = status(S.PARTIALLY_FILLED, 2, 0, venue_order_id=8_389_765_590_064_612_345, side=1)
    desk.hear(told)
    assert desk.orders[["state", "quantity_e8", "filled_e8", "side"]].tolist()[-1] == (
        S.PARTIALLY_FILLED, 10 * ONE, 2 * ONE, 1,
    )  # fmt: skip


def test_foreign_fill_is_strategy_zeros_and_has_all_that_a_position_needs() -> None:
    """As the venue tells it: no strategy, no id of ours."""
    told = fill(9, 2, 0, venue_order_id=44, strategy=0, side=1, fee_e8=5, fee_asset=3, realised_e8=-7)
    desk = Desk().hear(told, told)
    names = ["order_id", "trade_id", "instrument", "account", "strategy", "side", "price_e8", "fee_e8", "realised_e8"]
    assert desk.fills[names].tolist() == [(-44, 9, INSTRUMENT, ACCOUNT, 0, 1, 100 * ONE, 5, -7)]
    assert desk.letters == []
    assert desk.alarms[0] == A.ADOPTED


def test_adopted_order_can_be_cancelled() -> None:
    desk = Desk().hear(status(S.OPEN, 0, 0, venue_order_id=44)).cancel(-44)
    assert desk.command_rows[["order_id", "command", "instrument"]].tolist() == [(-44, C.CANCEL, INSTRUMENT)]


def test_own_order_that_was_forgotten_is_adopted_under_its_own_id() -> None:
    desk = Desk().hear(status(S.OPEN, 4, 77))
    assert desk.said == [Said(S.NEW, S.UNKNOWN, A.ADOPTED), Said(S.UNKNOWN, S.UNKNOWN, A.MISSING_FILLS)]
    assert desk.hear(fill(1, 4, 77)).orders[["order_id", "state"]].tolist()[-1] == (77, S.PARTIALLY_FILLED)


def test_report_that_names_another_instrument_account_or_side_is_put_aside() -> None:
    desk = in_state(S.OPEN)
    for other in ({"instrument": 8}, {"account": 71}, {"side": 1}):
        desk.hear(fill(1, 4, **other))
    assert [DeadReason(one.rows["reason"][0]) for one in desk.out.dead] == [DeadReason.UNEXPECTED] * 3
    assert len(desk.fills) == 0
    assert len(desk.said) == 3


# ---- timers


def test_gtd_order_is_cancelled_at_its_end_when_the_venue_does_not_end_it() -> None:
    wanted = {"time_in_force": TimeInForce.GTD, "expires_ns": START_NS + 30 * SECOND_NS}
    desk = in_state(S.OPEN, None, **wanted).wait(29)
    assert desk.commands == [C.SUBMIT]
    desk.wait(2)
    assert desk.commands == [C.SUBMIT, C.CANCEL]
    assert desk.command_rows["ts_recv_ns"][-1] == desk.orders["ts_recv_ns"][-1] == START_NS + 30 * SECOND_NS
    assert desk.out.emitted[-1].origin.topic == 0
    assert in_state(S.OPEN, OrdersParameters(gtd_by_venue=True), **wanted).wait(60).commands == [C.SUBMIT]


def test_day_order_is_cancelled_when_the_venues_day_ends() -> None:
    eight_hours = 8 * 3600 * SECOND_NS
    desk = in_state(S.OPEN, OrdersParameters(day_end_ns=eight_hours), time_in_force=TimeInForce.DAY).wait(
        DAY_NS // SECOND_NS
    )
    at = int(desk.command_rows["ts_recv_ns"][1])
    assert (desk.commands[1], at % DAY_NS) == (C.CANCEL, eight_hours)
    assert START_NS < at < START_NS + DAY_NS


def test_end_of_an_order_waits_for_what_is_in_flight_and_tries_again_after_a_refusal() -> None:
    wanted = {"time_in_force": TimeInForce.GTD, "expires_ns": START_NS + 3 * SECOND_NS}
    desk = in_state(S.UNKNOWN, None, **wanted).wait(4)
    assert C.CANCEL not in desk.commands
    desk.hear(status(S.OPEN, 0))
    assert desk.commands[-1] == C.CANCEL
    desk.say(R.CANCEL_REJECTED).hear(status(S.OPEN, 0)).wait(11)
    assert desk.commands.count(C.CANCEL) == 2


def test_no_deadline_is_left_when_every_order_is_over() -> None:
    for state in (S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED):
        desk = in_state(state, None, time_in_force=TimeInForce.GTD, expires_ns=START_NS + 900 * SECOND_NS)
        assert desk.rule.next_deadline_ns(desk.state) == NEVER_NS
        assert len(desk.wait(1000).commands) == 1


# ---- bounds


def test_one_order_too_many_is_refused_loudly_and_others_go_on() -> None:
    desk = Desk(OrdersParameters(open_orders_max=2)).decide(1).decide(2).decide(3)
    assert desk.said[-1] == Said(S.NEW, S.REJECTED, A.NONE)
    assert desk.orders["code"][-1] == OrderCode.FULL
    assert desk.letters == ["order 3: 2 orders are open (open_orders_max); it is not taken"]
    desk.hear(fill(1, 1, order_id=0, venue_order_id=9))
    assert len(desk.letters) == 2
    desk.hear(fill(2, 10, 1)).decide(4)
    assert open_orders(desk.state) == [2, 4]
    desk.hear(fill(1, 1, order_id=0, venue_order_id=9))
    assert len(desk.letters) == 3  # refused again, and not taken for counted


def test_ended_orders_are_forgotten_oldest_first_and_their_fills_are_not_counted_again() -> None:
    desk = Desk(OrdersParameters(open_orders_max=1, ended_orders_max=2))
    for order_id in (1, 2, 3):
        desk.decide(order_id).hear(fill(100 + order_id, 10, order_id))
    assert [desk.standing(order_id) is not None for order_id in (1, 2, 3)] == [False, True, True]
    desk.hear(fill(101, 10, 1))
    assert len(desk.fills) == 3
    assert desk.letters == ["order 1 is not among those that are open or remembered"]


def test_thousands_of_orders_come_and_go_in_bounded_memory() -> None:
    parameters = OrdersParameters(open_orders_max=200, ended_orders_max=100, fills_remembered=300)
    desk = Desk(parameters)
    for first in range(1, 2000, 200):
        ids = np.arange(first, first + 200)
        rows = np.concatenate([row_of(DECISION, decision() | {"ts_recv_ns": START_NS})] * 200)
        fills = np.concatenate([row_of(VENUE_REPORT, fill(1, 10) | {"ts_recv_ns": START_NS})] * 200)
        rows["order_id"], fills["order_id"], fills["trade_id"] = ids, ids, ids
        desk.rule.on_batch(desk.state, Batch(DECISION_INPUT, ORIGINS[1], 1, rows), desk.out)
        desk.rule.on_batch(desk.state, Batch(REPORT_INPUT, ORIGINS[0], 1, fills[::-1]), desk.out)
    assert desk.letters == []
    assert len(desk.fills) == 2000
    assert [len(desk.state["orders"]), len(desk.state["seen"])] == [301, 300]
    assert desk.standing(1801) is not None
    assert desk.standing(1901) is None


def test_sums_that_leave_the_range_are_put_aside() -> None:
    big = {"price_e8": 10**17, "quantity_e8": 9 * 10**9}
    desk = in_state(S.OPEN, None, quantity_e8=10**12).hear(fill(1, 0, **big), fill(2, 0, **big))
    assert desk.fills["trade_id"].tolist() == [1]
    assert desk.letters == ["with 90 at 1000000000 the order's fills would be more than 92,233,720,368"]


def test_change_of_an_order_that_is_nowhere_is_put_aside_unless_it_was_denied() -> None:
    desk = Desk().cancel(5).cancel(6, reasons=1)
    assert desk.letters == ["order 5 is not among those that are open or remembered"]
    assert len(desk.orders) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("open_orders_max", 0), ("answer_timeout_ns", 0), ("attempts_max", 256), ("day_end_ns", DAY_NS), ("nothing", 1)],
)
def test_impossible_parameters_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigInvalid, match=name):
        Orders.make({name: value})


# ---- what was broken elsewhere, and must not be here


def test_good_till_date_stays_so_after_a_restart() -> None:
    """Elsewhere a good-till-time order was loaded again as a day order."""
    desk = in_state(S.OPEN, None, time_in_force=TimeInForce.GTD, expires_ns=START_NS + 30 * SECOND_NS)
    desk.state = unpack_snapshot(pack_snapshot(Snapshot(1, 0, desk.state, 0, 0, {}, {}, {}))).state
    desk.hear(fill(1, 2))
    row = desk.orders[-1]
    assert (row["time_in_force"], row["expires_ns"]) == (TimeInForce.GTD, START_NS + 30 * SECOND_NS)
    assert desk.wait(31).commands == [C.SUBMIT, C.CANCEL]


def test_fills_are_known_again_after_a_restart() -> None:
    """Elsewhere fills were not loaded again, and updates were counted twice."""
    desk = in_state(S.PARTIALLY_FILLED)
    desk.state = unpack_snapshot(pack_snapshot(Snapshot(1, 0, desk.state, 0, 0, {}, {}, {}))).state
    desk.hear(fill(900, 3), fill(901, 7))
    assert desk.fills["trade_id"].tolist() == [900, 901]
    assert desk.standing() == (S.FILLED, 10 * ONE, 10 * ONE, 1000 * ONE, 100 * ONE)


def test_second_partial_fill_of_the_same_size_and_price_is_counted() -> None:
    """Elsewhere it was taken for a repeat."""
    desk = in_state(S.OPEN).hear(fill(1, 4), fill(2, 4))
    assert desk.standing() == (S.PARTIALLY_FILLED, 10 * ONE, 8 * ONE, 800 * ONE, 100 * ONE)


def test_overfill_is_alarmed_and_every_unit_of_it_is_counted() -> None:
    """Elsewhere limit orders could overfill and nobody was told."""
    desk = in_state(S.PARTIALLY_FILLED).hear(fill(1, 9), fill(2, 1))
    assert desk.alarms[-2:] == [A.OVERFILL, A.OVERFILL]
    assert desk.standing() == (S.FILLED, 10 * ONE, 13 * ONE, 1300 * ONE, 100 * ONE)
    assert int(desk.fills["quantity_e8"].sum()) == 13 * ONE


def test_immediate_and_fill_or_kill_orders_end() -> None:
    """Elsewhere the time in force was not carried out."""
    killed = in_state(S.PENDING_SUBMIT, None, time_in_force=TimeInForce.FOK).hear(
        report(R.EXPIRED, filled_e8=0, code=-5021)
    )
    assert (killed.now_is, len(killed.fills)) == (S.EXPIRED, 0)
    resting = in_state(S.OPEN, None, time_in_force=TimeInForce.FOK).wait(11)
    assert resting.commands[-1] == C.QUERY


def test_pending_order_becomes_accepted_by_any_proof_of_it() -> None:
    """Elsewhere nothing moved an order from pending to accepted."""
    for proof in (report(R.ACKNOWLEDGED), report(R.TRIGGERED), status(S.OPEN, 0)):
        assert in_state(S.PENDING_SUBMIT).hear(proof).now_is == S.OPEN


def test_fee_is_the_venues_own_number() -> None:
    """Elsewhere fees were worked out, a thousand times too large."""
    desk = in_state(S.OPEN).hear(fill(1, 10, fee_e8=20_000_000, fee_asset=5))
    assert desk.fills[["fee_e8", "fee_asset"]].tolist() == [(20_000_000, 5)]


def test_order_that_was_asked_for_twice_is_sent_once() -> None:
    """Elsewhere there was no idempotency."""
    desk = Desk().decide().decide().say(R.SENT, R.ACKNOWLEDGED).decide()
    assert desk.commands == [C.SUBMIT]
    assert desk.alarms == [A.NONE, A.REPEATED, A.NONE, A.NONE, A.REPEATED]


def test_parameters_of_a_strategy_account_and_instrument_travel_with_every_row() -> None:
    """Elsewhere fields were dropped on the way."""
    desk = in_state(S.PENDING_CANCEL).hear(fill(1, 10))
    for rows in (desk.orders, desk.command_rows, desk.fills):
        assert {tuple(row) for row in rows[["instrument", "account", "strategy"]].tolist()} == {
            (INSTRUMENT, ACCOUNT, STRATEGY)
        }


def test_batches_of_many_rows_equal_single_rows_when_outputs_run_full() -> None:
    count = 3000
    rows = np.concatenate([row_of(DECISION, decision() | {"ts_recv_ns": START_NS})] * count)
    rows["order_id"] = np.arange(1, count + 1)
    rows["ts_recv_ns"] += np.arange(count)
    rule = Orders()
    answers = []
    for size in (count, 1):
        state, out = rule.initial_state(), Outputs(rule.outputs)
        for at in range(0, count, size):
            rule.on_batch(state, Batch(DECISION_INPUT, ORIGINS[1], 1 + at, rows[at : at + size]), out)
        answers.append([np.concatenate([one.rows for one in out.emitted if one.output == k]).tobytes() for k in (0, 1)])
    assert answers[0] == answers[1]
