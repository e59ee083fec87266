"""Whatever is heard in whatever order, orders end as they are at the venue; nothing is sent or counted twice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from processors.orders import OrdersParameters
from schemas.trading import OrderState, ReportKind, RequestAction
from tests.reference.orders import Heard, PlainVenue, Report
from tests.unit.order_rows import ACCOUNT, INSTRUMENT, ONE, SECOND_NS, STRATEGY, Desk

WHO = {"instrument": INSTRUMENT, "account": ACCOUNT, "strategy": STRATEGY}
ROUNDS_MAX = 60
ORDERS_MAX = 4
SEEDS, STEPS = 80, 120
ENDS = (OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED)
pick = st.integers(0, 1 << 16)
fates = st.sampled_from(["fine", "fine", "fine", "unanswered", "lost", "refused"])
IN_ORDER = {ReportKind.SENT, ReportKind.UNKNOWN, ReportKind.ABSENT}  # the gateway's own words are not repeated


class Trading(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(OrdersParameters(answer_timeout_ns=3 * SECOND_NS))
        self.venue = PlainVenue(WHO, now_ns=self.desk.now_ns)
        self.commands_done = 0
        self.made = 0
        self.heard: list[Report] = []
        self.knowledge: dict[int, Heard] = {}

    def feed(self, one: Report) -> None:
        """One report."""
        self.known(one["order_id"]).hear(one)
        self.checked(lambda: self.desk.hear(one))
        if one["report"] not in IN_ORDER:
            self.heard.append(one)

    def known(self, order_id: int) -> Heard:
        return self.knowledge.setdefault(order_id, Heard())

    def checked(self, act: Callable[[], object]) -> None:
        """Do something, and look at every command that comes of it."""
        sent = len(self.desk.commands)
        act()
        for command in self.desk.command_rows[sent:]:
            self.known(int(command["order_id"])).send(command)
        self.venue.now_ns = self.desk.now_ns

    @property
    def waiting(self) -> int:
        return len(self.desk.commands) - self.commands_done

    @initialize(fate=fates)
    def begin(self, fate: str) -> None:
        for quantity in (5, 20):
            self.ask_for_one(quantity, 60)
            self.gateway_acts(fate)

    @precondition(lambda self: self.made < ORDERS_MAX)
    @rule(quantity=st.integers(1, 20), validity=st.sampled_from([1, 5, 60]))
    def ask_for_one(self, quantity: int, validity: int) -> None:
        self.made += 1
        valid_ns = self.desk.now_ns + validity * SECOND_NS
        self.checked(lambda: self.desk.decide(self.made, quantity_e8=quantity * ONE, valid_until_ns=valid_ns))

    @precondition(lambda self: self.made)
    @rule(which=pick, price=st.integers(90, 110), quantity=st.integers(1, 25))
    def amend_one(self, which: int, price: int, quantity: int) -> None:
        one = which % self.made + 1
        values = {"price_e8": price * ONE, "quantity_e8": quantity * ONE}
        self.checked(lambda: self.desk.change(RequestAction.AMEND, one, **values))

    @precondition(lambda self: self.made)
    @rule(which=pick)
    def cancel_one(self, which: int) -> None:
        one = which % self.made + 1
        self.checked(lambda: self.desk.cancel(one))

    @rule()
    def cancel_all(self) -> None:
        self.checked(lambda: self.desk.change(RequestAction.CANCEL_ALL, 0))

    @precondition(lambda self: self.waiting)
    @rule(fate=fates)
    def gateway_acts(self, fate: str) -> None:
        self.venue.command(self.desk.command_rows[self.commands_done], fate)  # type: ignore[arg-type]
        self.commands_done += 1

    def open_at_venue(self) -> list[int]:
        return [one for one, truth in self.venue.orders.items() if truth.is_open]

    @precondition(lambda self: self.open_at_venue())
    @rule(
        which=pick,
        quantity=st.integers(1, 3 * ONE),
        price=st.integers(1, 200 * ONE),
        tell=st.booleans(),
        all_=st.booleans(),
    )
    def somebody_trades(self, which: int, quantity: int, price: int, tell: bool, all_: bool) -> None:
        found = self.open_at_venue()
        self.venue.trade(found[which % len(found)], 100 * ONE if all_ else quantity, price, tell)

    @precondition(lambda self: self.open_at_venue())
    @rule(which=pick)
    def venue_ends_one(self, which: int) -> None:
        found = self.open_at_venue()
        self.venue.expire(found[which % len(found)])

    @precondition(lambda self: self.venue.answers)
    @rule()
    def gateway_says(self) -> None:
        self.feed(self.venue.answers.popleft())

    @precondition(lambda self: self.venue.stream)
    @rule(which=pick)
    def stream_says_anything_of_it(self, which: int) -> None:
        self.feed(self.venue.stream.pop(which % len(self.venue.stream)))

    @precondition(lambda self: self.venue.stream)
    @rule(which=pick)
    def stream_loses_one(self, which: int) -> None:
        self.venue.stream.pop(which % len(self.venue.stream))

    @precondition(lambda self: self.heard)
    @rule(which=pick)
    def something_is_said_again(self, which: int) -> None:
        one = self.heard[which % len(self.heard)]
        rows = len(self.desk.fills)
        self.known(one["order_id"]).hear(one)
        self.checked(lambda: self.desk.hear(one))
        assert len(self.desk.fills) == rows

    @rule(seconds=st.sampled_from([0.5, 2, 4, 11, 70]))
    def time_passes(self, seconds: float) -> None:
        self.checked(lambda: self.desk.wait(seconds))

    @invariant()
    def nothing_is_accepted_or_counted_twice(self) -> None:
        assert all(times == 1 for times in self.venue.accepted.values())
        counted = self.desk.fills[["order_id", "trade_id"]].tolist()
        assert len(set(counted)) == len(counted)
        assert self.desk.letters == []

    @invariant()
    def no_order_is_over_while_fills_are_missing(self) -> None:
        for one, heard in self.knowledge.items():
            found = self.desk.standing(one)
            assert not (heard.misses_fills and found and found.state in ENDS)

    def settle(self) -> None:
        """The gateway works, everything said is heard, time passes; at last every order is asked about."""
        for turn in range(ROUNDS_MAX):
            while self.waiting:
                self.gateway_acts("fine")
            while self.venue.answers:
                self.feed(self.venue.answers.popleft())
            while self.venue.stream:
                self.feed(self.venue.stream.pop())
            if self.waiting:
                continue
            if turn > ROUNDS_MAX // 2:
                return
            self.time_passes(70)
            for one in range(1, self.made + 1):
                if one in self.venue.orders:
                    self.venue.query(one)
        raise AssertionError("it never comes to rest")

    def teardown(self) -> None:
        self.settle()
        self.nothing_is_accepted_or_counted_twice()
        for one in range(1, self.made + 1):
            ours, truth = self.desk.standing(one), self.venue.orders.get(one)
            if ours is None:
                rows = self.desk.orders[self.desk.orders["order_id"] == one]
                assert rows["state"].tolist() == [OrderState.EXPIRED]
                assert truth is None
            elif truth is None:
                assert ours.state in (OrderState.REJECTED, OrderState.EXPIRED)
                assert ours.filled_e8 == 0
            else:
                assert (ours.state, ours.filled_e8, ours.filled_notional_e8) == (
                    truth.state,
                    truth.filled,
                    truth.notional,
                )
                assert not truth.is_open or (ours.quantity_e8, ours.price_e8) == (truth.quantity, truth.price)
                fills = self.desk.fills[self.desk.fills["order_id"] == one]
                counted = {row["trade_id"]: (row["price_e8"], row["quantity_e8"], row["realised_e8"]) for row in fills}
                assert counted == {t.trade_id: (t.price, t.quantity, t.realised) for t in truth.trades}


Trading.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTrading = Trading.TestCase


def walk(seed: int, machine: Trading) -> None:
    """A life that is busier than those that Hypothesis finds: many fills, most things heard, some of it twice."""
    random = np.random.default_rng(seed)

    def number(low: int, high: int) -> int:
        return int(random.integers(low, high))

    def fate() -> str:
        return str(random.choice(["fine", "fine", "fine", "unanswered", "lost", "refused"]))

    acts: list[tuple[int, Callable[[], bool], Callable[[], None]]] = [
        (2, lambda: machine.made < ORDERS_MAX, lambda: machine.ask_for_one(number(1, 21), (1, 5, 60)[number(0, 3)])),
        (3, lambda: machine.made > 0, lambda: machine.amend_one(number(0, 99), number(90, 111), number(1, 26))),
        (2, lambda: machine.made > 0, lambda: machine.cancel_one(number(0, 99))),
        (1, lambda: True, machine.cancel_all),
        (8, lambda: machine.waiting > 0, lambda: machine.gateway_acts(fate())),
        (
            6,
            lambda: bool(machine.open_at_venue()),
            lambda: machine.somebody_trades(
                number(0, 99), number(1, 6 * ONE), number(1, 200 * ONE), number(0, 2) == 0, number(0, 6) == 0
            ),
        ),
        (1, lambda: bool(machine.open_at_venue()), lambda: machine.venue_ends_one(number(0, 99))),
        (9, lambda: bool(machine.venue.answers), machine.gateway_says),
        (9, lambda: bool(machine.venue.stream), lambda: machine.stream_says_anything_of_it(number(0, 99))),
        (1, lambda: bool(machine.venue.stream), lambda: machine.stream_loses_one(number(0, 99))),
        (3, lambda: bool(machine.heard), lambda: machine.something_is_said_again(number(0, 999))),
        (2, lambda: True, lambda: machine.time_passes((0.5, 2.0, 4.0, 11.0)[number(0, 4)])),
    ]
    weights = np.array([weight for weight, _, _ in acts], dtype=np.float64)
    for _ in range(STEPS):
        possible = np.array([can() for _, can, _ in acts]) * weights
        acts[int(random.choice(len(acts), p=possible / possible.sum()))][2]()
        machine.nothing_is_accepted_or_counted_twice()
        machine.no_order_is_over_while_fills_are_missing()
    machine.teardown()


@pytest.mark.parametrize("first", range(0, SEEDS, 10))
def test_busy_lives_of_seeds_from(first: int) -> None:
    for seed in range(first, first + 10):
        machine = Trading()
        try:
            walk(seed, machine)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
