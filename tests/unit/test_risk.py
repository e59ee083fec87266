"""Every reason of a denial: what sets it, what just does not, and the two numbers that the denial names."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from processors.api import NEVER_NS, Batch, Outputs, State
from processors.risk import (
    DENIAL_OUTPUT,
    OPERATOR,
    Risk,
    RiskParameters,
    account_figures,
    holding,
    open_orders,
    strategy_figures,
)
from processors.risk_limits import BOUNDS, OTHER_UNITS, unit_of
from schemas.address import Origin
from schemas.errors import ConfigInvalid, InputInvalid
from schemas.events import DeadReason, InstrumentKind, InstrumentStatus, Side, Trust
from schemas.trading import (
    OrderFlag,
    OrderKind,
    OrderState,
    Reason,
    RequestAction,
    Scope,
    TimeInForce,
    Unit,
    order_id_of,
)
from tests.laws.inputs import filled
from tests.laws.risk_rows import (
    ACCOUNTS,
    BNB,
    BTC,
    DAY_NS,
    E8,
    FILLS,
    INSTRUMENT_ROW,
    INSTRUMENTS,
    LIMITS,
    LOT,
    MS,
    NAMES,
    ORDERS,
    PLANNED,
    QUOTES,
    REQUESTS,
    SECOND_NS,
    START_NS,
    STRATEGIES,
    SWITCHES,
    TICK,
    USDT,
    VENUE,
    limit_row,
    required,
    strategy_row,
)

ORIGIN = Origin(7, 0, 3, 2)
ACCOUNT, STRATEGY, INSTRUMENT = ACCOUNTS[0], PLANNED[0], NAMES[0]
BID, ASK = 999 * TICK, 1001 * TICK  # 99.9 and 100.1: the middle is 100
MINUTE_NS = 60 * SECOND_NS
WIDE = RiskParameters(instruments_max=4, accounts_max=4, strategies_max=4, lanes_max=16, orders_max=32, limits_max=32,
                      kills_max=8, rates_max=64, repeats_max=64)  # fmt: skip


class Denied(NamedTuple):
    value: int
    limit: int
    unit: Unit
    scope: Scope


class Answer(NamedTuple):
    """A decision as a dict, and its denials by reason."""

    decision: dict[str, int]
    denials: dict[Reason, Denied]
    order_id: int


class Desk:
    """A rule with a market open: a quote, wide limits, one enabled strategy."""

    def __init__(self, parameters: RiskParameters = WIDE, open_it: bool = True) -> None:
        self.rule, self.now, self.number = Risk(parameters), START_NS, 1
        self.state: State = self.rule.initial_state()
        self.dead: list[tuple[DeadReason, str]] = []
        if open_it:
            self.put(INSTRUMENTS, {**INSTRUMENT_ROW, "price_max_e8": 200 * E8, "quantity_max_e8": 1000 * E8,
                                   "market_quantity_max_e8": 500 * E8})  # fmt: skip
            for row in required():
                self.put(LIMITS, row)
            self.put(STRATEGIES, strategy_row(STRATEGY))
            self.quote()

    def put(self, number: int, values: Any, origin: Origin = ORIGIN) -> Outputs:
        row, texts = filled(self.rule.inputs[number], {**values, "ts_recv_ns": self.now})
        out = Outputs(self.rule.outputs, ORIGIN)
        self.rule.on_batch(
            self.state, Batch(number, origin, self.number, row, np.frombuffer(texts, dtype=np.uint8)), out
        )
        self.number += 1
        for dead in out.dead:
            detail = dead.heap.tobytes()[: int(dead.rows["detail_size"][0])].decode()
            self.dead.append((DeadReason(dead.rows["reason"][0]), detail))
        return out

    def quote(self, bid: int = BID, ask: int = ASK, **values: int) -> None:
        row = {"bid_price_e8": bid, "ask_price_e8": ask, "trust": Trust.SYNCED, "instrument": INSTRUMENT}
        self.put(QUOTES, {**row, **values}, Origin(4, 3, 9, 1))

    def limit(
        self, reason: Reason, value: int, scope: Scope = Scope.ACCOUNT, subject: int = ACCOUNT, **kw: int
    ) -> None:
        self.put(LIMITS, {**limit_row(reason, value, scope, 0 if scope == Scope.GLOBAL else subject), **kw})

    def switch(self, scope: Scope, subject: int, kill_id: int = 1, on: int = 1, who: str = "anna") -> None:
        row = {"scope": scope, "subject": subject, "kill_id": kill_id, "on": on, "who": who, "why": "test"}
        self.put(SWITCHES, row)

    def ask(self, **values: int) -> Answer:
        """A buy of 1 at 99, unless told otherwise."""
        row = {
            "ts_event_ns": self.now, "tag": 1, "price_e8": 99 * E8, "quantity_e8": E8, "instrument": INSTRUMENT,
            "valid_until_ns": self.now + SECOND_NS, "account": ACCOUNT, "strategy": STRATEGY, "side": Side.BUY,
        }  # fmt: skip
        order_id = order_id_of(ORIGIN.incarnation, ORIGIN.writer, self.number)
        out = self.put(REQUESTS, row | values)
        decisions = [row for emitted in out.emitted if emitted.output == 0 for row in emitted.rows]
        assert len(decisions) == 1
        decision = {name: decisions[0][name].item() for name in decisions[0].dtype.names or ()}
        denials: dict[Reason, Denied] = {}
        for emitted in out.emitted:
            for denial in emitted.rows if emitted.output == DENIAL_OUTPUT else ():
                assert denial["order_id"] == decision["order_id"]
                assert Reason(denial["reason"]) not in denials
                denials[Reason(denial["reason"])] = Denied(
                    int(denial["value"]), int(denial["limit"]), Unit(denial["unit"]), Scope(denial["scope"])
                )
        assert sum(1 << reason for reason in denials) == decision["reasons"]
        return Answer(decision, denials, order_id)

    def fill(self, order_id: int, quantity: int, price: int = 100 * E8, side: Side = Side.BUY, **values: int) -> None:
        row = {
            "order_id": order_id, "price_e8": price, "quantity_e8": quantity, "side": side, "fee_asset": USDT,
            "instrument": INSTRUMENT, "account": ACCOUNT, "strategy": STRATEGY,
        }  # fmt: skip
        self.put(FILLS, row | values)

    def order(self, order_id: int, state: OrderState, quantity: int = E8, **values: int) -> None:
        row = {
            "order_id": order_id, "tag": 1, "price_e8": 99 * E8, "quantity_e8": quantity, "instrument": INSTRUMENT,
            "account": ACCOUNT, "strategy": STRATEGY, "state": state,
        }  # fmt: skip
        self.put(ORDERS, row | values)

    def held(self, strategy: int = STRATEGY) -> tuple[int, int, int, int]:
        return holding(self.state, ACCOUNT, strategy, INSTRUMENT)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def approved(answer: Answer) -> bool:
    return answer.decision["reasons"] == 0


def test_plain_order_is_approved_and_its_decision_tells_what_was_seen(desk: Desk) -> None:
    desk.now += 7
    answer = desk.ask(tag=5)
    seen = answer.decision
    assert (seen["reasons"], seen["order_id"], seen["tag"]) == (0, answer.order_id, 5)
    assert (seen["bid_price_e8"], seen["ask_price_e8"], seen["trust"]) == (BID, ASK, Trust.SYNCED)
    assert (seen["quote_row"], seen["quote_partition"], seen["quote_age_ns"]) == (6, 3, 7)
    assert (seen["position_e8"], seen["pending_buy_e8"], seen["gross_e8"], seen["net_e8"]) == (0, 0, 100 * E8, 100 * E8)
    again = desk.ask(tag=6, side=Side.SELL, price_e8=101 * E8).decision
    assert (again["pending_buy_e8"], again["gross_e8"], again["net_e8"]) == (E8, 100 * E8, -100 * E8)
    assert desk.held() == (0, E8, E8, 0)


KILLS = [
    (Scope.GLOBAL, 0, Reason.KILL_GLOBAL),
    (Scope.VENUE, VENUE, Reason.KILL_VENUE),
    (Scope.ACCOUNT, ACCOUNT, Reason.KILL_ACCOUNT),
    (Scope.STRATEGY, STRATEGY, Reason.KILL_STRATEGY),
    (Scope.INSTRUMENT, INSTRUMENT, Reason.KILL_INSTRUMENT),
]


@pytest.mark.parametrize(("scope", "subject", "reason"), KILLS, ids=lambda value: str(value))
def test_kill_denies_its_scope_until_the_resume_that_names_it(
    desk: Desk, scope: Scope, subject: int, reason: Reason
) -> None:
    if subject:
        desk.switch(scope, subject + 1, 3)  # somebody else's
        assert approved(desk.ask())
    desk.switch(scope, subject, 8)
    desk.switch(scope, subject, 9)
    assert desk.ask().denials == {reason: Denied(9, 0, Unit.NONE, scope)}
    desk.switch(scope, subject, 9, on=0)
    assert desk.ask().denials == {reason: Denied(8, 0, Unit.NONE, scope)}
    desk.switch(scope, subject, 7, on=0)  # a late resume of another kill
    assert desk.ask().denials == {reason: Denied(8, 0, Unit.NONE, scope)}
    desk.switch(scope, subject, 8, on=0)
    assert approved(desk.ask())


def test_no_kill_stops_a_cancel_or_what_flattens(desk: Desk) -> None:
    bought = desk.ask()
    desk.fill(bought.order_id, E8 // 2)
    for scope, subject, _ in KILLS:
        desk.switch(scope, subject)
    assert approved(desk.ask(action=RequestAction.CANCEL))
    assert approved(desk.ask(action=RequestAction.CANCEL_ALL, instrument=0))
    desk.order(bought.order_id, OrderState.CANCELLED, filled_e8=E8 // 2)
    sell = {"side": Side.SELL, "kind": OrderKind.MARKET, "price_e8": 0, "quantity_e8": E8 // 2, "tag": 2}
    flags = int(OrderFlag.REDUCE_ONLY | OrderFlag.FLATTEN)
    assert set(desk.ask(**sell, flags=int(OrderFlag.REDUCE_ONLY)).denials) == {reason for _, _, reason in KILLS}
    assert set(desk.ask(**sell, flags=int(OrderFlag.FLATTEN)).denials) >= {reason for _, _, reason in KILLS}
    assert approved(desk.ask(**sell, flags=flags))
    assert desk.held() == (E8 // 2, 0, E8 // 2, 50 * E8)


def test_switch_of_the_gateway_is_reconciling_and_only_it_or_a_person_lifts_it(desk: Desk) -> None:
    desk.switch(Scope.ACCOUNT, ACCOUNT, 4, who="gateway")
    assert desk.ask().denials == {Reason.RECONCILING: Denied(4, 0, Unit.NONE, Scope.ACCOUNT)}
    desk.switch(Scope.ACCOUNT, ACCOUNT, 4)  # a person's, of the same number
    assert set(desk.ask().denials) == {Reason.RECONCILING, Reason.KILL_ACCOUNT}
    desk.switch(Scope.ACCOUNT, ACCOUNT, 4, on=0, who="gateway")
    assert set(desk.ask().denials) == {Reason.KILL_ACCOUNT}
    desk.switch(Scope.ACCOUNT, ACCOUNT, 4, on=0)
    assert approved(desk.ask())


def test_kill_that_does_not_fit_stops_everything_until_it_is_resumed(desk: Desk) -> None:
    for kill in range(WIDE.kills_max):
        desk.switch(Scope.INSTRUMENT, 999, kill)
    assert approved(desk.ask())
    desk.switch(Scope.INSTRUMENT, 998, 77)
    assert [reason for reason, _ in desk.dead] == [DeadReason.LIMIT]
    assert desk.ask().denials == {Reason.KILL_GLOBAL: Denied(77, 0, Unit.NONE, Scope.GLOBAL)}
    desk.switch(Scope.INSTRUMENT, 998, 77, on=0)
    assert approved(desk.ask())


@pytest.mark.parametrize("trust", [trust for trust in Trust if trust is not Trust.SYNCED])
def test_untrusted_book_denies(desk: Desk, trust: Trust) -> None:
    desk.quote(trust=trust)
    assert desk.ask().denials == {Reason.UNTRUSTED: Denied(trust, 1, Unit.NONE, Scope.INSTRUMENT)}
    desk.quote()
    assert approved(desk.ask())


def test_quote_older_than_its_limit_denies_by_the_largest_time_seen(desk: Desk) -> None:
    desk.limit(Reason.STALE_INPUT, 5 * MS)
    desk.now += 5 * MS
    assert approved(desk.ask())
    desk.now += 1
    assert desk.ask().denials == {Reason.STALE_INPUT: Denied(5 * MS + 1, 5 * MS, Unit.NS, Scope.ACCOUNT)}
    desk.now -= 3 * MS  # rows of other inputs may be slightly apart
    assert desk.ask().denials == {Reason.STALE_INPUT: Denied(5 * MS + 1, 5 * MS, Unit.NS, Scope.ACCOUNT)}


def test_book_without_a_side_or_without_any_quote_denies(desk: Desk) -> None:
    desk.quote(ask=0)
    assert desk.ask().denials == {Reason.NO_QUOTE: Denied(0, 0, Unit.NONE, Scope.INSTRUMENT)}
    desk.put(INSTRUMENTS, {**INSTRUMENT_ROW, "instrument": NAMES[1]})
    assert set(desk.ask(instrument=NAMES[1]).denials) == {Reason.NO_QUOTE, Reason.UNTRUSTED}


def test_unknown_instrument_denies_and_leaves_no_trace(desk: Desk) -> None:
    before = {name: array.shape for name, array in desk.state.items()}
    answer = desk.ask(instrument=77)
    assert answer.denials[Reason.UNKNOWN_INSTRUMENT] == Denied(77, 0, Unit.NONE, Scope.INSTRUMENT)
    assert {Reason.NO_QUOTE, Reason.UNTRUSTED, Reason.NO_LIMITS} < set(answer.denials)
    assert {name: array.shape for name, array in desk.state.items()} == before


@pytest.mark.parametrize("status", list(InstrumentStatus)[1:])
def test_instrument_that_does_not_trade_denies(desk: Desk, status: InstrumentStatus) -> None:
    desk.put(INSTRUMENTS, {**INSTRUMENT_ROW, "status": status})
    assert desk.ask().denials == {Reason.INSTRUMENT_HALTED: Denied(status, 0, Unit.NONE, Scope.INSTRUMENT)}


def test_expired_instrument_is_outside_of_hours(desk: Desk) -> None:
    desk.put(INSTRUMENTS, {**INSTRUMENT_ROW, "expiry_ns": START_NS + 10})
    desk.now += 9
    assert approved(desk.ask())
    desk.now += 1
    late = desk.ask()
    assert late.denials == {Reason.OUTSIDE_HOURS: Denied(START_NS + 10, START_NS + 10, Unit.NS, Scope.INSTRUMENT)}


def rules(desk: Desk, **values: int) -> None:
    desk.put(INSTRUMENTS, {**INSTRUMENT_ROW, "price_max_e8": 0, **values})


def test_ticks_of_futures_count_from_the_lowest_price_and_of_spot_from_zero(desk: Desk) -> None:
    off = TICK // 2
    rules(desk, price_min_e8=off)
    assert approved(desk.ask(price_e8=99 * E8 + off))
    assert desk.ask().denials == {Reason.TICK_SIZE: Denied(99 * E8, TICK, Unit.PRICE_E8, Scope.INSTRUMENT)}
    stop = {"kind": OrderKind.STOP, "price_e8": 0}
    assert approved(desk.ask(**stop, stop_price_e8=101 * E8 + off))
    assert set(desk.ask(**stop, stop_price_e8=101 * E8).denials) == {Reason.TICK_SIZE}
    rules(desk, price_min_e8=off, kind=InstrumentKind.SPOT)
    assert approved(desk.ask())
    assert set(desk.ask(price_e8=99 * E8 + off).denials) == {Reason.TICK_SIZE}


def test_lot_price_and_quantity_ranges(desk: Desk) -> None:
    assert desk.ask(quantity_e8=E8 + 1).denials == {
        Reason.LOT_SIZE: Denied(E8 + 1, LOT, Unit.QUANTITY_E8, Scope.INSTRUMENT)
    }
    rules(desk, price_min_e8=99 * E8, price_max_e8=101 * E8, quantity_min_e8=E8, quantity_max_e8=3 * E8,
          market_quantity_max_e8=2 * E8)  # fmt: skip
    for price in (99 * E8, 101 * E8):
        assert approved(desk.ask(price_e8=price))
    here = (Unit.PRICE_E8, Scope.INSTRUMENT)
    assert desk.ask(price_e8=99 * E8 - TICK).denials == {Reason.PRICE_RANGE: Denied(99 * E8 - TICK, 99 * E8, *here)}
    assert desk.ask(price_e8=101 * E8 + TICK).denials == {Reason.PRICE_RANGE: Denied(101 * E8 + TICK, 101 * E8, *here)}
    size = (Unit.QUANTITY_E8, Scope.INSTRUMENT)
    assert approved(desk.ask(quantity_e8=3 * E8))
    assert desk.ask(quantity_e8=E8 - LOT).denials == {Reason.QUANTITY_RANGE: Denied(E8 - LOT, E8, *size)}
    assert desk.ask(quantity_e8=3 * E8 + LOT).denials == {Reason.QUANTITY_RANGE: Denied(3 * E8 + LOT, 3 * E8, *size)}
    market = {"kind": OrderKind.MARKET, "price_e8": 0}
    assert approved(desk.ask(**market, quantity_e8=2 * E8))
    too_much = desk.ask(**market, quantity_e8=2 * E8 + LOT)
    assert too_much.denials == {Reason.QUANTITY_RANGE: Denied(2 * E8 + LOT, 2 * E8, *size)}


def test_minimum_notional_exempts_what_reduces(desk: Desk) -> None:
    rules(desk, notional_min_e8=10 * E8)
    assert approved(desk.ask(price_e8=100 * E8, quantity_e8=E8 // 10))
    low = desk.ask(price_e8=100 * E8 - TICK, quantity_e8=E8 // 10)
    assert low.denials == {
        Reason.MIN_NOTIONAL: Denied(10 * E8 - TICK // 10, 10 * E8, Unit.NOTIONAL_E8, Scope.INSTRUMENT)
    }
    desk.fill(1, E8)
    assert approved(desk.ask(side=Side.SELL, price_e8=101 * E8, quantity_e8=LOT, flags=int(OrderFlag.REDUCE_ONLY)))


def test_order_quantity_and_value(desk: Desk) -> None:
    desk.limit(Reason.ORDER_QUANTITY, 2 * E8)
    assert approved(desk.ask(quantity_e8=2 * E8))
    large = desk.ask(quantity_e8=2 * E8 + LOT)
    assert large.denials == {Reason.ORDER_QUANTITY: Denied(2 * E8 + LOT, 2 * E8, Unit.QUANTITY_E8, Scope.ACCOUNT)}
    desk.limit(Reason.ORDER_NOTIONAL, 99 * E8)
    assert approved(desk.ask())
    dear = desk.ask(price_e8=99 * E8 + TICK)
    assert dear.denials == {Reason.ORDER_NOTIONAL: Denied(99 * E8 + TICK, 99 * E8, Unit.NOTIONAL_E8, Scope.ACCOUNT)}


def test_market_orders_are_valued_at_the_far_touch_and_sells_at_no_less_than_the_bid(desk: Desk) -> None:
    desk.limit(Reason.ORDER_NOTIONAL, 1)
    market = {"kind": OrderKind.MARKET, "price_e8": 0}
    worths = [
        desk.ask(**values).denials[Reason.ORDER_NOTIONAL].value
        for values in (market, {**market, "side": Side.SELL}, {"side": Side.SELL, "price_e8": 50 * E8},
                       {"kind": OrderKind.STOP, "price_e8": 0, "stop_price_e8": 120 * E8})
    ]  # fmt: skip
    assert worths == [ASK, BID, BID, 120 * E8]


def test_multiplier_scales_every_value(desk: Desk) -> None:
    rules(desk, multiplier_e8=E8 // 4)
    desk.limit(Reason.ORDER_NOTIONAL, 1)
    answer = desk.ask()
    assert answer.denials[Reason.ORDER_NOTIONAL].value == 99 * E8 // 4
    assert answer.decision["gross_e8"] == 25 * E8


def test_price_collar_is_around_the_touch_in_basis_points(desk: Desk) -> None:
    desk.limit(Reason.PRICE_COLLAR, 200)
    assert approved(desk.ask(price_e8=1021 * TICK))  # 2 above 100.1 is 199.8 bp, rounded up to 200
    above = desk.ask(price_e8=1022 * TICK)
    assert above.denials == {Reason.PRICE_COLLAR: Denied(210, 200, Unit.BASIS_POINTS, Scope.ACCOUNT)}
    below = desk.ask(price_e8=978 * TICK)
    assert below.denials == {Reason.PRICE_COLLAR: Denied(211, 200, Unit.BASIS_POINTS, Scope.ACCOUNT)}
    assert approved(desk.ask(kind=OrderKind.MARKET, price_e8=0))


def test_position_counts_pending_orders_of_its_side(desk: Desk) -> None:
    desk.limit(Reason.POSITION_QUANTITY, 3 * E8)
    desk.fill(1, E8)
    assert approved(desk.ask(tag=2))
    assert approved(desk.ask(tag=3))
    full = desk.ask(quantity_e8=LOT * 100)
    assert full.denials == {
        Reason.POSITION_QUANTITY: Denied(3 * E8 + 100 * LOT, 3 * E8, Unit.QUANTITY_E8, Scope.ACCOUNT)
    }
    sell = {"side": Side.SELL, "price_e8": 102 * E8}
    assert approved(desk.ask(**sell, quantity_e8=4 * E8))  # from 1 to −3
    assert set(desk.ask(**sell, quantity_e8=100 * LOT).denials) == {Reason.POSITION_QUANTITY}


def test_position_value_is_at_the_mark(desk: Desk) -> None:
    desk.limit(Reason.POSITION_NOTIONAL, 200 * E8)
    assert approved(desk.ask(quantity_e8=2 * E8))
    more = desk.ask(quantity_e8=100 * LOT)
    assert more.denials == {Reason.POSITION_NOTIONAL: Denied(210 * E8, 200 * E8, Unit.NOTIONAL_E8, Scope.ACCOUNT)}


def test_gross_and_net_exposure_sum_over_instruments(desk: Desk) -> None:
    desk.put(INSTRUMENTS, {**INSTRUMENT_ROW, "instrument": NAMES[1]})
    desk.quote(instrument=NAMES[1])
    desk.limit(Reason.GROSS_EXPOSURE, 300 * E8)
    desk.limit(Reason.NET_EXPOSURE, 105 * E8)
    sell = {"side": Side.SELL, "price_e8": 101 * E8}
    desk.fill(1, E8)
    assert approved(desk.ask(**sell, instrument=NAMES[1], quantity_e8=2 * E8))
    more = desk.ask(**sell, instrument=NAMES[1], quantity_e8=100 * LOT)
    gross = Denied(310 * E8, 300 * E8, Unit.NOTIONAL_E8, Scope.ACCOUNT)
    net = Denied(110 * E8, 105 * E8, Unit.NOTIONAL_E8, Scope.ACCOUNT)
    assert more.denials == {Reason.GROSS_EXPOSURE: gross, Reason.NET_EXPOSURE: net}
    buy = desk.ask(quantity_e8=E8 // 20, instrument=NAMES[1], price_e8=100 * E8)
    assert approved(buy)  # gross stays: the worse side there is the other one
    assert (buy.decision["gross_e8"], buy.decision["net_e8"]) == (300 * E8, 105 * E8)


def test_net_exposure_boundary(desk: Desk) -> None:
    desk.limit(Reason.NET_EXPOSURE, 100 * E8)
    assert approved(desk.ask())
    assert set(desk.ask(quantity_e8=100 * LOT).denials) == {Reason.NET_EXPOSURE}
    assert approved(desk.ask(side=Side.SELL, price_e8=101 * E8))


@pytest.mark.parametrize(
    ("scope", "subject"), [(Scope.ACCOUNT, ACCOUNT), (Scope.STRATEGY, STRATEGY), (Scope.INSTRUMENT, INSTRUMENT)]
)
def test_open_orders_until_one_ends(desk: Desk, scope: Scope, subject: int) -> None:
    desk.limit(Reason.OPEN_ORDERS, 2, scope, subject)
    first = desk.ask()
    assert approved(desk.ask())
    assert desk.ask().denials == {Reason.OPEN_ORDERS: Denied(3, 2, Unit.COUNT, scope)}
    desk.order(first.order_id, OrderState.CANCELLED)
    assert approved(desk.ask())


def test_more_open_orders_than_can_be_kept_are_denied() -> None:
    desk = Desk(RiskParameters(instruments_max=2, orders_max=2))
    first = desk.ask()
    assert approved(desk.ask())
    assert desk.ask().denials == {Reason.OPEN_ORDERS: Denied(3, 2, Unit.COUNT, Scope.GLOBAL)}
    desk.order(first.order_id, OrderState.REJECTED)
    assert approved(desk.ask())
    desk.order(99, OrderState.OPEN)
    assert desk.dead[-1][0] is DeadReason.LIMIT


@pytest.mark.parametrize(("reason", "window_ns"), [(Reason.RATE_SECOND, SECOND_NS), (Reason.RATE_MINUTE, MINUTE_NS)])
def test_rates_count_approved_orders_in_a_sliding_window(desk: Desk, reason: Reason, window_ns: int) -> None:
    desk.limit(reason, 2)
    assert approved(desk.ask())
    desk.now += 10
    assert approved(desk.ask())
    for _ in range(3):
        assert desk.ask().denials == {reason: Denied(3, 2, Unit.COUNT, Scope.ACCOUNT)}
    desk.now += window_ns - 11
    assert set(desk.ask(valid_until_ns=1 << 61).denials) == {reason}
    desk.now += 1  # the first one is exactly a window old
    desk.quote()
    assert approved(desk.ask())
    assert set(desk.ask().denials) == {reason}


def test_cancels_have_a_rate_of_their_own(desk: Desk) -> None:
    desk.limit(Reason.CANCEL_RATE, 1)
    assert approved(desk.ask())
    assert approved(desk.ask(action=RequestAction.CANCEL))
    again = desk.ask(action=RequestAction.CANCEL)
    assert again.denials == {Reason.CANCEL_RATE: Denied(2, 1, Unit.COUNT, Scope.ACCOUNT)}
    desk.now += MINUTE_NS
    assert approved(desk.ask(action=RequestAction.CANCEL_ALL))


def test_duplicate_is_the_same_within_its_window(desk: Desk) -> None:
    desk.limit(Reason.DUPLICATE, 50 * MS)
    assert approved(desk.ask())
    for other in ({"price_e8": 98 * E8}, {"quantity_e8": 2 * E8}, {"side": Side.SELL, "price_e8": 101 * E8}):
        assert approved(desk.ask(**other))
    desk.now += 50 * MS - 1
    same = desk.ask(strategy=OPERATOR, tag=9)
    assert same.denials == {Reason.DUPLICATE: Denied(50 * MS - 1, 50 * MS, Unit.NS, Scope.ACCOUNT)}
    desk.now += 1
    assert approved(desk.ask())


def test_order_that_meets_an_own_resting_one_is_denied(desk: Desk) -> None:
    first = desk.ask(price_e8=100 * E8, strategy=OPERATOR)
    assert approved(desk.ask(price_e8=98 * E8))
    sell: dict[str, int] = {"side": Side.SELL, "quantity_e8": E8 // 10}
    assert approved(desk.ask(**sell, price_e8=100 * E8 + TICK))
    meets = desk.ask(**sell, price_e8=100 * E8)
    assert meets.denials == {Reason.SELF_TRADE: Denied(100 * E8, 100 * E8, Unit.PRICE_E8, Scope.ACCOUNT)}
    market = desk.ask(**sell, kind=OrderKind.MARKET, price_e8=0)
    assert market.denials == {Reason.SELF_TRADE: Denied(BID, 100 * E8, Unit.PRICE_E8, Scope.ACCOUNT)}
    desk.order(first.order_id, OrderState.CANCELLED, strategy=OPERATOR)
    assert approved(desk.ask(**sell, price_e8=100 * E8))
    assert set(desk.ask(**sell, price_e8=98 * E8).denials) == {Reason.SELF_TRADE}


def test_daily_loss_counts_fees_and_what_is_not_realised_and_begins_anew_each_day(desk: Desk) -> None:
    desk.limit(Reason.DAILY_LOSS, 10 * E8)
    desk.fill(1, E8, price=100 * E8, fee_e8=2 * E8)
    desk.quote(92 * E8, 92 * E8 + TICK)
    assert approved(desk.ask(price_e8=90 * E8))  # 8 + 2
    desk.quote(92 * E8 - TICK, 92 * E8)
    lost = desk.ask(price_e8=90 * E8)
    assert lost.denials == {Reason.DAILY_LOSS: Denied(10 * E8 + TICK, 10 * E8, Unit.NOTIONAL_E8, Scope.ACCOUNT)}
    assert lost.decision["profit_day_e8"] == -10 * E8 - TICK
    reduce = {"side": Side.SELL, "price_e8": 93 * E8, "flags": int(OrderFlag.REDUCE_ONLY)}
    assert approved(desk.ask(**reduce))
    desk.now = (desk.now // DAY_NS + 1) * DAY_NS
    assert approved(desk.ask(price_e8=90 * E8))
    assert account_figures(desk.state, ACCOUNT).profit_day_e8 == 0


@pytest.mark.parametrize("of_day", [False, True])
def test_drawdown_is_from_the_peak(of_day: bool) -> None:
    desk = Desk(RiskParameters(instruments_max=2, drawdown_of_day=of_day))
    desk.limit(Reason.DRAWDOWN, 5 * E8)
    desk.fill(1, E8, price=100 * E8)
    desk.quote(110 * E8, 110 * E8 + TICK)
    desk.quote(105 * E8, 105 * E8 + TICK)
    assert approved(desk.ask())
    desk.quote(105 * E8 - TICK, 105 * E8)
    fallen = desk.ask()
    assert fallen.denials == {Reason.DRAWDOWN: Denied(5 * E8 + TICK, 5 * E8, Unit.NOTIONAL_E8, Scope.ACCOUNT)}
    desk.now = (desk.now // DAY_NS + 1) * DAY_NS
    assert approved(desk.ask()) is of_day


def round_trip(desk: Desk, profit: int) -> None:
    desk.fill(1, E8, price=100 * E8)
    desk.fill(2, E8 // 2, price=100 * E8 + profit, side=Side.SELL)
    desk.fill(2, E8 // 2, price=100 * E8 + profit, side=Side.SELL)


def test_losing_closes_in_a_row_break_until_the_cool_down_is_over(desk: Desk) -> None:
    desk.limit(Reason.BREAKER_LOSSES, 2)
    round_trip(desk, -TICK)
    assert approved(desk.ask())
    round_trip(desk, -TICK)
    broken = desk.ask()
    assert broken.denials == {Reason.BREAKER_LOSSES: Denied(2, 2, Unit.COUNT, Scope.ACCOUNT)}
    desk.now += WIDE.losses_cooldown_ns - 1
    assert set(desk.ask().denials) == {Reason.BREAKER_LOSSES}
    desk.now += 1
    assert approved(desk.ask())
    round_trip(desk, -TICK)  # the row of losses goes on
    assert desk.ask().denials[Reason.BREAKER_LOSSES].value == 3
    round_trip(desk, TICK)
    assert approved(desk.ask())
    assert account_figures(desk.state, ACCOUNT).losses_in_a_row == 0


def test_fast_move_breaks_until_the_cool_down_is_over(desk: Desk) -> None:
    desk.limit(Reason.BREAKER_MOVE, 100, Scope.INSTRUMENT, INSTRUMENT)
    desk.now += SECOND_NS
    desk.quote(1009 * TICK, 1011 * TICK)
    assert approved(desk.ask())  # 100 bp
    desk.quote(1010 * TICK, 1012 * TICK)
    moved = desk.ask()
    assert moved.denials == {Reason.BREAKER_MOVE: Denied(110, 100, Unit.BASIS_POINTS, Scope.INSTRUMENT)}
    desk.now += WIDE.move_cooldown_ns - 1
    assert set(desk.ask().denials) == {Reason.BREAKER_MOVE}
    desk.now += 1
    assert approved(desk.ask())
    desk.quote(1020 * TICK, 1022 * TICK)  # the old prices have left the window
    assert approved(desk.ask())


def test_reduce_only_must_reduce_with_pending_orders_counted(desk: Desk) -> None:
    sell: dict[str, int] = {"side": Side.SELL, "price_e8": 101 * E8, "flags": int(OrderFlag.REDUCE_ONLY)}
    assert desk.ask(**sell).denials == {Reason.REDUCE_ONLY: Denied(E8, 0, Unit.QUANTITY_E8, Scope.ACCOUNT)}
    desk.fill(1, 3 * E8)
    assert approved(desk.ask(**sell, quantity_e8=2 * E8))
    assert approved(desk.ask(**sell, quantity_e8=E8))
    more = desk.ask(**sell, quantity_e8=LOT * 100)
    assert more.denials == {Reason.REDUCE_ONLY: Denied(LOT * 100, 0, Unit.QUANTITY_E8, Scope.ACCOUNT)}


def test_disabled_strategy_may_only_reduce_and_a_stranger_nothing(desk: Desk) -> None:
    desk.fill(1, E8)
    desk.put(STRATEGIES, strategy_row(STRATEGY, enabled=0))
    assert desk.ask().denials == {Reason.STRATEGY_DISABLED: Denied(0, 1, Unit.NONE, Scope.STRATEGY)}
    sell: dict[str, int] = {"side": Side.SELL, "price_e8": 101 * E8, "flags": int(OrderFlag.REDUCE_ONLY)}
    assert approved(desk.ask(**sell, quantity_e8=E8 // 2))
    assert set(desk.ask(**sell, quantity_e8=E8 // 2, strategy=55).denials) == {Reason.STRATEGY_DISABLED}
    assert approved(desk.ask(strategy=OPERATOR))
    desk.put(STRATEGIES, strategy_row(STRATEGY, ACCOUNT, NAMES[1]))
    other = desk.ask()
    assert other.denials == {Reason.STRATEGY_DISABLED: Denied(INSTRUMENT, NAMES[1], Unit.NONE, Scope.STRATEGY)}


def test_strategy_keeps_within_its_capital(desk: Desk) -> None:
    desk.put(STRATEGIES, strategy_row(STRATEGY, capital_e8=200 * E8))
    assert approved(desk.ask(quantity_e8=2 * E8))
    more = desk.ask(quantity_e8=100 * LOT)
    assert more.denials == {Reason.STRATEGY_CAPITAL: Denied(210 * E8, 200 * E8, Unit.NOTIONAL_E8, Scope.STRATEGY)}
    assert approved(desk.ask(quantity_e8=100 * LOT, strategy=OPERATOR))
    assert approved(desk.ask(side=Side.SELL, price_e8=101 * E8, quantity_e8=2 * E8))


def test_account_needs_three_limits_of_its_own_in_the_right_currency(desk: Desk) -> None:
    desk.limit(Reason.DAILY_LOSS, 0, active=0)
    assert desk.ask().denials == {Reason.NO_LIMITS: Denied(2, 3, Unit.COUNT, Scope.ACCOUNT)}
    desk.limit(Reason.DAILY_LOSS, 500 * E8, Scope.GLOBAL)
    assert set(desk.ask().denials) == {Reason.NO_LIMITS}
    desk.limit(Reason.DAILY_LOSS, 500 * E8, currency=BTC)
    assert desk.dead == [(DeadReason.UNEXPECTED, "the account's limits of money are in another currency")]
    desk.limit(Reason.DAILY_LOSS, 500 * E8)
    assert approved(desk.ask())
    desk.put(INSTRUMENTS, {**INSTRUMENT_ROW, "quote": "BNB"})
    assert desk.ask().denials == {Reason.NO_LIMITS: Denied(0, 3, Unit.COUNT, Scope.ACCOUNT)}
    assert set(Desk(open_it=False).ask().denials) > {Reason.NO_LIMITS, Reason.UNKNOWN_INSTRUMENT}


@pytest.mark.parametrize("action", [RequestAction.AMEND, RequestAction.CANCEL])
def test_change_of_an_order_that_is_not_open_is_denied(desk: Desk, action: RequestAction) -> None:
    answer = desk.ask(action=action, tag=5)
    assert answer.denials == {Reason.UNKNOWN_ORDER: Denied(5, 0, Unit.NONE, Scope.STRATEGY)}
    assert answer.decision["order_id"] == 0
    first = desk.ask(tag=5)
    change = desk.ask(action=action, tag=5)
    assert approved(change)
    assert change.decision["order_id"] == first.order_id
    assert set(desk.ask(action=action, tag=5, instrument=NAMES[1]).denials) >= {Reason.UNKNOWN_ORDER}
    desk.order(first.order_id, OrderState.CANCELLED, tag=5)
    assert set(desk.ask(action=action, tag=5).denials) == {Reason.UNKNOWN_ORDER}


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"ts_event_ns": -1}, 1), ({"ts_event_ns": 1 << 62}, 1), ({"action": 4}, 2), ({"side": 2}, 2), ({"kind": 4}, 2),
        ({"time_in_force": 5}, 2), ({"quantity_e8": 0}, 3), ({"quantity_e8": -E8}, 3), ({"quantity_e8": 1 << 61}, 3),
        ({"price_e8": 0}, 4), ({"price_e8": -E8}, 4), ({"kind": OrderKind.MARKET}, 4), ({"stop_price_e8": E8}, 5),
        ({"kind": OrderKind.STOP, "price_e8": 0}, 5), ({"flags": 16}, 6),
        ({"flags": 1, "kind": OrderKind.MARKET, "price_e8": 0}, 6), ({"flags": 1, "time_in_force": TimeInForce.IOC}, 6),
        ({"expires_ns": START_NS * 2}, 7), ({"time_in_force": TimeInForce.GTD}, 7),
        ({"time_in_force": TimeInForce.GTD, "expires_ns": START_NS}, 7),
    ],
)  # fmt: skip
def test_request_that_no_order_can_be_is_malformed(desk: Desk, values: dict[str, int], fault: int) -> None:
    answer = desk.ask(**values)
    assert answer.denials == {Reason.MALFORMED: Denied(fault, 0, Unit.NONE, Scope.STRATEGY)}
    assert desk.held() == (0, 0, 0, 0)


def test_well_formed_kinds_are_approved(desk: Desk) -> None:
    for values in (
        {"time_in_force": TimeInForce.GTD, "expires_ns": desk.now + 1}, {"flags": 1},
        {"kind": OrderKind.STOP_LIMIT, "stop_price_e8": 99 * E8}, {"kind": OrderKind.MARKET, "price_e8": 0},
        {"kind": OrderKind.STOP, "price_e8": 0, "stop_price_e8": 105 * E8},
    ):  # fmt: skip
        assert approved(desk.ask(**values))


def test_request_is_decided_until_its_last_valid_moment(desk: Desk) -> None:
    assert approved(desk.ask(valid_until_ns=desk.now))
    late = desk.ask(valid_until_ns=desk.now - 1)
    assert late.denials == {Reason.EXPIRED: Denied(desk.now, desk.now - 1, Unit.NS, Scope.STRATEGY)}
    assert approved(desk.ask(action=RequestAction.CANCEL, valid_until_ns=desk.now - 1))


def test_every_check_is_evaluated_and_every_reason_is_told(desk: Desk) -> None:
    desk.limit(Reason.ORDER_QUANTITY, E8)
    desk.limit(Reason.PRICE_COLLAR, 10)
    desk.switch(Scope.GLOBAL, 0)
    desk.quote(trust=Trust.GAP)
    answer = desk.ask(price_e8=150 * E8 + 1, quantity_e8=200 * E8 + 1, valid_until_ns=0)
    assert list(answer.denials) == [
        Reason.KILL_GLOBAL, Reason.UNTRUSTED, Reason.TICK_SIZE, Reason.LOT_SIZE, Reason.ORDER_QUANTITY,
        Reason.ORDER_NOTIONAL, Reason.PRICE_COLLAR, Reason.POSITION_NOTIONAL, Reason.STRATEGY_CAPITAL, Reason.EXPIRED,
    ]  # fmt: skip


def test_tightest_limit_wins_and_the_more_specific_on_a_tie(desk: Desk) -> None:
    for scope, subject, value in (
        (Scope.GLOBAL, 0, 5), (Scope.VENUE, VENUE, 4), (Scope.INSTRUMENT, INSTRUMENT, 4), (Scope.STRATEGY, STRATEGY, 6),
        (Scope.ACCOUNT, ACCOUNT, 9),
    ):  # fmt: skip
        desk.limit(Reason.ORDER_QUANTITY, value * E8, scope, subject)
    assert desk.ask(quantity_e8=10 * E8).denials[Reason.ORDER_QUANTITY][1::2] == (4 * E8, Scope.INSTRUMENT)
    desk.limit(Reason.ORDER_QUANTITY, 0, Scope.INSTRUMENT, INSTRUMENT, active=0)
    assert desk.ask(quantity_e8=10 * E8).denials[Reason.ORDER_QUANTITY][1::2] == (4 * E8, Scope.VENUE)
    desk.limit(Reason.ORDER_QUANTITY, 0, Scope.VENUE, VENUE, active=0)
    assert desk.ask(quantity_e8=10 * E8).denials[Reason.ORDER_QUANTITY][1::2] == (5 * E8, Scope.GLOBAL)


def test_limits_of_a_strategy_bound_its_own_figures(desk: Desk) -> None:
    desk.limit(Reason.POSITION_QUANTITY, E8, Scope.STRATEGY, STRATEGY)
    desk.fill(1, 5 * E8, strategy=OPERATOR)
    assert approved(desk.ask())
    denied = desk.ask(quantity_e8=LOT * 100)
    assert denied.denials[Reason.POSITION_QUANTITY] == Denied(E8 + LOT * 100, E8, Unit.QUANTITY_E8, Scope.STRATEGY)


def test_amend_counts_only_what_it_adds(desk: Desk) -> None:
    desk.limit(Reason.POSITION_QUANTITY, 3 * E8)
    first = desk.ask(quantity_e8=2 * E8)
    amend: dict[str, int] = {"action": RequestAction.AMEND}
    assert approved(desk.ask(**amend, quantity_e8=3 * E8))
    assert desk.held() == (0, 3 * E8, 0, 0)
    over = desk.ask(**amend, quantity_e8=3 * E8 + LOT)
    assert over.denials == {Reason.POSITION_QUANTITY: Denied(3 * E8 + LOT, 3 * E8, Unit.QUANTITY_E8, Scope.ACCOUNT)}
    desk.limit(Reason.ORDER_QUANTITY, E8)
    assert approved(desk.ask(**amend, quantity_e8=2 * E8))  # above the new limit, but less than it is
    assert desk.held() == (0, 3 * E8, 0, 0)  # until the venue has answered, the greater one counts
    desk.order(first.order_id, OrderState.OPEN, quantity=2 * E8)  # said before the amend was heard
    assert desk.held() == (0, 3 * E8, 0, 0)
    desk.order(first.order_id, OrderState.PENDING_AMEND, quantity=2 * E8, wanted_quantity_e8=3 * E8)
    desk.order(first.order_id, OrderState.OPEN, quantity=2 * E8)  # the venue refused it
    assert desk.held() == (0, 2 * E8, 0, 0)
    desk.fill(first.order_id, E8)
    filled_already = desk.ask(**amend, quantity_e8=E8)
    assert filled_already.denials == {Reason.MALFORMED: Denied(8, 0, Unit.NONE, Scope.STRATEGY)}


def test_pending_ends_with_the_order_and_waits_for_fills_that_were_told(desk: Desk) -> None:
    one = desk.ask(quantity_e8=4 * E8)
    desk.order(one.order_id, OrderState.PARTIALLY_FILLED, 4 * E8, filled_e8=E8)
    assert desk.held() == (0, 4 * E8, 0, 0)
    desk.fill(one.order_id, E8)
    assert desk.held() == (E8, 3 * E8, 0, 100 * E8)
    desk.order(one.order_id, OrderState.CANCELLED, 4 * E8, filled_e8=2 * E8)
    assert desk.held() == (E8, E8, 0, 100 * E8)  # one more fill is on its way
    assert open_orders(desk.state) == []
    desk.fill(one.order_id, E8)
    assert desk.held() == (2 * E8, 0, 0, 200 * E8)
    other = desk.ask(quantity_e8=E8)
    desk.order(other.order_id, OrderState.DENIED)
    assert desk.held() == (2 * E8, 0, 0, 200 * E8)


def test_orders_that_risk_did_not_approve_count_too(desk: Desk) -> None:
    desk.order(0, OrderState.UNKNOWN, account=0, venue_order_id=12)  # nobody knows yet whose it is
    desk.order(0, OrderState.OPEN, 2 * E8, venue_order_id=12, strategy=OPERATOR)
    desk.order(77, OrderState.OPEN, 3 * E8, side=Side.SELL, price_e8=101 * E8)
    assert desk.dead == []
    assert desk.held(OPERATOR)[:3] == (0, 2 * E8, 0)
    assert desk.held()[:3] == (0, 0, 3 * E8)
    assert desk.ask(price_e8=101 * E8).denials[Reason.SELF_TRADE].limit == 101 * E8
    desk.fill(0, 2 * E8, venue_order_id=12, strategy=OPERATOR)
    assert desk.held(OPERATOR)[:3] == (2 * E8, 0, 0)


def test_profit_drawdown_and_streak_follow_the_fills(desk: Desk) -> None:
    """Regression C-14: they were never updated."""
    desk.fill(1, 2 * E8, price=100 * E8, fee_e8=E8 // 10)
    desk.fill(2, E8, price=103 * E8, side=Side.SELL, fee_e8=E8 // 10)
    mine = account_figures(desk.state, ACCOUNT)
    assert (mine.realised_e8, mine.fees_e8, mine.unrealised_e8) == (3 * E8, E8 // 5, -TICK)
    assert mine == strategy_figures(desk.state, STRATEGY)
    assert mine.profit_day_e8 == 3 * E8 - E8 // 5 - TICK
    desk.fill(3, E8, price=90 * E8, side=Side.SELL)
    assert account_figures(desk.state, ACCOUNT).losses_in_a_row == 1


def test_flip_through_zero_begins_at_the_price_of_the_flip(desk: Desk) -> None:
    """Regression C-15: the average price after a flip was wrong, and exposure was 0 without a mark."""
    desk.fill(1, 2 * E8, price=100 * E8)
    desk.fill(2, 5 * E8, price=110 * E8, side=Side.SELL)
    assert desk.held() == (-3 * E8, 0, 0, -330 * E8)
    assert account_figures(desk.state, ACCOUNT).realised_e8 == 20 * E8
    desk.fill(3, 4 * E8, price=100 * E8)
    assert desk.held() == (E8, 0, 0, 100 * E8)
    assert account_figures(desk.state, ACCOUNT).realised_e8 == 50 * E8
    bare = Desk(open_it=False)
    bare.fill(1, 2 * E8, price=50 * E8)
    assert account_figures(bare.state, ACCOUNT).gross_e8 == 100 * E8


def test_marks_move_only_with_trusted_quotes_of_both_sides(desk: Desk) -> None:
    desk.fill(1, E8)
    for values in ({"trust": Trust.STALE}, {"ask": 0}):
        desk.quote(**{"bid": 50 * E8, "ask": 51 * E8} | values)
        assert account_figures(desk.state, ACCOUNT).unrealised_e8 == -TICK
    desk.quote(50 * E8, 52 * E8)
    figures = account_figures(desk.state, ACCOUNT)
    assert (figures.unrealised_e8, figures.gross_e8) == (-50 * E8, 51 * E8)


def test_fees_in_the_base_asset_count_at_the_price_and_others_are_told(desk: Desk) -> None:
    desk.fill(1, E8, fee_e8=E8 // 100, fee_asset=BTC)
    assert account_figures(desk.state, ACCOUNT).fees_e8 == E8
    desk.fill(1, E8, fee_e8=E8 // 100, fee_asset=BNB)
    assert account_figures(desk.state, ACCOUNT).fees_e8 == E8
    assert desk.held()[0] == 2 * E8
    assert [reason for reason, _ in desk.dead] == [DeadReason.UNEXPECTED]


def test_sums_that_leave_their_range_deny_for_good_instead_of_wrapping(desk: Desk) -> None:
    for _ in range(5):
        desk.fill(1, 1 << 59, price=2 * E8)
    assert desk.ask().denials[Reason.GROSS_EXPOSURE] == Denied((1 << 63) - 1, 1 << 61, Unit.NOTIONAL_E8, Scope.ACCOUNT)
    huge = Desk()
    huge.put(INSTRUMENTS, {**INSTRUMENT_ROW, "price_max_e8": 0, "quantity_max_e8": 0})
    answer = huge.ask(quantity_e8=10**18, price_e8=10**12 * 4)
    assert answer.denials[Reason.ORDER_NOTIONAL] == Denied((1 << 63) - 1, 10_000 * E8, Unit.NOTIONAL_E8, Scope.ACCOUNT)
    assert Reason.GROSS_EXPOSURE not in huge.ask().denials


@pytest.mark.parametrize(
    ("bounds", "number", "values"),
    [
        ({"instruments_max": 1}, QUOTES, {"instrument": 5}), ({"instruments_max": 1}, INSTRUMENTS, {"instrument": 5}),
        ({"accounts_max": 1}, FILLS, {"account": 5}), ({"accounts_max": 1}, LIMITS, {"subject": 5}),
        ({"strategies_max": 1}, STRATEGIES, {"strategy": 5}), ({"lanes_max": 1}, ORDERS, {"strategy": OPERATOR}),
        ({"limits_max": 3}, LIMITS, {"reason": Reason.GROSS_EXPOSURE}),
    ],
)  # fmt: skip
def test_rows_beyond_a_bound_are_put_aside(bounds: dict[str, Any], number: int, values: dict[str, int]) -> None:
    desk = Desk(RiskParameters(**bounds))
    assert approved(desk.ask())
    who = {"instrument": INSTRUMENT, "account": ACCOUNT, "strategy": STRATEGY, "order_id": 9, "price_e8": E8}
    rows: dict[int, Any] = {
        QUOTES: {"bid_price_e8": E8}, INSTRUMENTS: INSTRUMENT_ROW, FILLS: {**who, "quantity_e8": E8},
        LIMITS: required()[0], STRATEGIES: strategy_row(1), ORDERS: who,
    }  # fmt: skip
    desk.put(number, {**rows[number], **values})
    assert [reason for reason, _ in desk.dead] == [DeadReason.LIMIT]
    lost_an_order = number == ORDERS
    assert approved(desk.ask(tag=2)) is not lost_an_order


def test_lanes_that_are_used_up_deny_and_are_told() -> None:
    desk = Desk(RiskParameters(lanes_max=1))
    assert approved(desk.ask())
    assert set(desk.ask(strategy=OPERATOR).denials) == {Reason.NO_LIMITS}
    assert [reason for reason, _ in desk.dead] == [DeadReason.LIMIT]


def test_table_of_limits_is_whole() -> None:
    assert {reason: unit_of(reason) for reason in BOUNDS} == {reason: bound.unit for reason, bound in BOUNDS.items()}
    assert not set(BOUNDS) & set(OTHER_UNITS)
    assert unit_of(Reason.KILL_GLOBAL) is Unit.NONE
    money = {reason for reason in Reason if unit_of(reason) is Unit.NOTIONAL_E8}
    assert money == {
        Reason.MIN_NOTIONAL, Reason.ORDER_NOTIONAL, Reason.POSITION_NOTIONAL, Reason.GROSS_EXPOSURE,
        Reason.NET_EXPOSURE, Reason.DAILY_LOSS, Reason.DRAWDOWN, Reason.STRATEGY_CAPITAL,
    }  # fmt: skip


def test_parameters_that_cannot_be_are_refused() -> None:
    assert Risk.make({"rates_max": 1024}).parameters.rates_max == 1024
    for given in ({"rates_max": 1000}, {"orders_max": 0}, {"move_window_ns": 3}, {"limit": 4}):
        with pytest.raises(ConfigInvalid):
            Risk.make(given)


def test_rows_without_an_id_are_refused_and_nothing_is_timed(desk: Desk) -> None:
    assert desk.rule.next_deadline_ns(desk.state) == NEVER_NS
    row, _ = filled(desk.rule.inputs[REQUESTS], {"ts_recv_ns": START_NS})
    with pytest.raises(InputInvalid):
        desk.rule.on_batch(desk.state, Batch(REQUESTS, ORIGIN, 1 << 32, row), Outputs(desk.rule.outputs))
