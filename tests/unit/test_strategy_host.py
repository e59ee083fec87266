"""The host: who runs, what may be asked for, what is known of orders, and silence."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from processors.api import NEVER_NS, Batch, Outputs, State
from processors.strategies import STRATEGIES
from processors.strategies.api import Context, Fill, Order, Position, Quote, Strategy, Trade, WarmUp
from processors.strategy_host import (
    BAR_INPUT,
    FILL_INPUT,
    INSTRUMENT_INPUT,
    ORDER_INPUT,
    POSITION_INPUT,
    QUOTE_INPUT,
    STRATEGY_INPUT,
    TRADE_INPUT,
    Strategies,
    StrategiesParameters,
)
from schemas.address import NO_ORIGIN, Origin
from schemas.declare import Rows
from schemas.errors import ConfigInvalid
from schemas.events import BarKind, DeadReason, InstrumentStatus, Side, Trust
from schemas.instruments import instrument_id
from schemas.trading import ORDER_REQUEST, OrderFlag, OrderKind, OrderState, RequestAction, TimeInForce
from tests.laws.inputs import filled

ORIGIN = Origin(9, 0, 77, 3)
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
ONE = 10**8
TICK, LOT = ONE // 10, ONE // 1000
BTC, ETH, ACCOUNT = 11, 12, 21
NEW, AMEND, CANCEL = RequestAction.NEW, RequestAction.AMEND, RequestAction.CANCEL
BUY, SELL = Side.BUY, Side.SELL


@dataclass(frozen=True)
class ScriptParameters:
    quantity_e8: int = ONE
    warm_quotes: int = 1


class Script(Strategy[ScriptParameters]):
    """Places what the test says at each quote, and writes down what it is told."""

    parameters_kind = ScriptParameters
    memory_size = 4
    orders: ClassVar[list[dict[str, Any]]] = []
    told: ClassVar[list[tuple[str, Any]]] = []

    @property
    def warm_up(self) -> WarmUp:
        return WarmUp(quotes=self.parameters.warm_quotes)

    def on_quote(self, at: Context, quote: Quote) -> None:
        at.memory[0] += 1
        for wanted in self.orders:
            self.told.append(("placed", at.place(**wanted)))
        self.told.append(("quote", (quote.bid_price_e8, at.position_e8, int(at.memory[0]))))

    def on_distrust(self, at: Context) -> None:
        self.told.append(("distrust", at.place(BUY, ONE, 100 * ONE)))

    def on_order(self, at: Context, order: Order) -> None:
        self.told.append(("order", (order.tag, order.state, order.filled_e8, at.position_e8)))

    def on_fill(self, at: Context, fill: Fill) -> None:
        self.told.append(("fill", (fill.quantity_e8, at.position_e8)))

    def on_trade(self, at: Context, trade: Trade) -> None:
        if trade.flags:
            at.wake(trade.quantity_e8)

    def on_position(self, at: Context, position: Position) -> None:
        self.told.append(("position", (position.quantity_e8, at.position_e8)))

    def on_timer(self, at: Context) -> None:
        self.told.append(("timer", at.now_ns))


class Host:
    """The rule with a state, fed row by row; answers to requests are given by the test."""

    def __init__(self, strategies: dict[str, type[Strategy[Any]]] | None = None, **parameters: int) -> None:
        self.rule = Strategies(StrategiesParameters(**parameters), strategies or {"script": Script} | dict(STRATEGIES))
        self.state: State = self.rule.initial_state()
        self.now_ns, self.number = START_NS, 0
        self.out = Outputs(self.rule.outputs, ORIGIN)
        Script.orders, Script.told = [], []
        for instrument in (BTC, ETH):
            self.instrument(instrument)

    def give(self, which: int, **values: int | str) -> Rows:
        """Requests that one row made."""
        self.number += 1
        row, texts = filled(self.rule.inputs[which], {"ts_recv_ns": self.now_ns} | values)
        self.out = Outputs(self.rule.outputs, ORIGIN)
        self.rule.on_batch(
            self.state, Batch(which, ORIGIN, self.number, row, np.frombuffer(texts, dtype=np.uint8)), self.out
        )
        return requests(self.out)

    def instrument(self, instrument: int = BTC, **others: int) -> None:
        values = {
            "instrument": instrument, "tick_size_e8": TICK, "lot_size_e8": LOT, "quantity_min_e8": LOT,
            "multiplier_e8": ONE, "price_min_e8": TICK, "notional_min_e8": 0,
        }  # fmt: skip
        self.give(INSTRUMENT_INPUT, **(values | others))

    def strategy(self, rule: str, parameters: dict[str, Any] | str = "", **others: int | str) -> Rows:
        name = str(others.get("name", "one"))
        values: dict[str, int | str] = {
            "name": name, "strategy": instrument_id(name), "rule": rule, "account": ACCOUNT, "instrument": BTC,
            "parameters": parameters if isinstance(parameters, str) else json.dumps(parameters), "enabled": 1,
        }  # fmt: skip
        return self.give(STRATEGY_INPUT, **(values | others))

    def quote(
        self, bid: float, ask: float, trust: Trust = Trust.SYNCED, sizes: tuple[float, float] = (1, 1), **others: int
    ) -> Rows:
        values = {
            "instrument": BTC, "bid_price_e8": round(bid * ONE), "ask_price_e8": round(ask * ONE), "trust": int(trust),
            "bid_quantity_e8": round(sizes[0] * ONE), "ask_quantity_e8": round(sizes[1] * ONE),
            "ts_event_ns": self.now_ns - 5,
        }  # fmt: skip
        return self.give(QUOTE_INPUT, **(values | others))

    def bar(self, close: float, minute: int, **others: int) -> Rows:
        e8 = round(close * ONE)
        values = {
            "instrument": BTC, "close_e8": e8, "open_e8": e8, "high_e8": e8, "low_e8": e8, "kind": int(BarKind.TIME),
            "size": 60 * SECOND_NS, "ts_event_ns": START_NS + 60 * minute * SECOND_NS,
        }  # fmt: skip
        return self.give(BAR_INPUT, **(values | others))

    def order(self, request: np.void, state: OrderState, done: int = 0, **others: int) -> Rows:
        """What is said of the order of a request."""
        names = ("tag", "price_e8", "quantity_e8", "instrument", "account", "strategy", "side", "kind", "flags")
        values = {name: int(request[name]) for name in names}
        values |= {"order_id": 1000 + values["tag"], "state": int(state), "filled_e8": done}
        return self.give(ORDER_INPUT, **(values | others))

    def fill(self, request: np.void, quantity: int, **others: int) -> Rows:
        values = {name: int(request[name]) for name in ("instrument", "account", "strategy", "side")}
        values |= {"order_id": 1000 + int(request["tag"]), "quantity_e8": quantity, "price_e8": 100 * ONE}
        return self.give(FILL_INPUT, **(values | others))

    def fire(self, now_ns: int) -> Rows:
        self.now_ns = now_ns
        self.out = Outputs(self.rule.outputs, NO_ORIGIN)
        self.rule.on_time(self.state, now_ns, self.out)
        return requests(self.out)

    def advance(self, delay_ns: int) -> None:
        self.now_ns += delay_ns

    @property
    def refusal(self) -> tuple[DeadReason, str]:
        [dead] = self.out.dead
        assert self.out.emitted == []
        at, size = int(dead.rows["detail_at"][0]), int(dead.rows["detail_size"][0])
        return DeadReason(dead.rows["reason"][0]), dead.heap[at : at + size].tobytes().decode()


def requests(out: Outputs) -> Rows:
    found = [emitted.rows for emitted in out.emitted]
    return np.concatenate(found) if found else ORDER_REQUEST.empty(0)


def actions(rows: Rows) -> list[tuple[RequestAction, int]]:
    """(what, tag) of every request."""
    return [(RequestAction(row["action"]), int(row["tag"])) for row in rows]


def buying(price: float = 100, quantity: float = 1, **others: Any) -> dict[str, Any]:
    return {"side": BUY, "quantity_e8": round(quantity * ONE), "price_e8": round(price * ONE)} | others


def told(what: str) -> list[Any]:
    return [values for kind, values in Script.told if kind == what]


# --- who runs ---


def test_request_carries_who_wants_what_until_when_and_why() -> None:
    host = Host(valid_for_ns=3 * SECOND_NS)
    host.strategy("script")
    Script.orders = [buying(100, 2, post_only=True)]
    [row] = host.quote(100, 101)
    assert {name: int(row[name]) for name in ("account", "strategy", "instrument", "tag", "side", "action")} == {
        "account": ACCOUNT, "strategy": instrument_id("one"), "instrument": BTC, "tag": 1, "side": BUY, "action": NEW,
    }  # fmt: skip
    assert (int(row["price_e8"]), int(row["quantity_e8"]), int(row["kind"])) == (100 * ONE, 2 * ONE, OrderKind.LIMIT)
    assert (int(row["time_in_force"]), int(row["flags"])) == (TimeInForce.GTC, OrderFlag.POST_ONLY)
    assert int(row["valid_until_ns"]) == host.now_ns + 3 * SECOND_NS
    assert (int(row["ts_event_ns"]), int(row["ts_recv_ns"])) == (host.now_ns - 5, host.now_ns)
    assert (int(row["cause_row"]), host.out.emitted[0].origin) == (host.number, ORIGIN)


def test_tags_are_counted_per_strategy() -> None:
    host = Host()
    for name in ("one", "two"):
        host.strategy("script", name=name)
    Script.orders = [buying()]
    assert host.quote(100, 101)["tag"].tolist() == [1, 1]
    assert host.quote(100, 101)["tag"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("rule", "parameters", "words"),
    [
        ("nonsense", {}, "one: There is no strategy file 'nonsense'. There are: market_making, momentum, script."),
        ("script", {"quality": 1}, "one: Rule script has no parameter 'quality'. It has: quantity_e8, warm_quotes."),
        ("script", {"quantity_e8": 1.5}, "strategy one: Rule script: quantity_e8 must be int, but is 1.5."),
        ("script", "[1]", 'parameters must be a JSON object such as {"quantity_e8": 1000000}.'),
        ("script", "{", "strategy one: Rule script: the parameters are no JSON"),
        ("script", "[" * 3000, "the parameters are no JSON"),
        ("market_making", {"spread_ppm": 0}, "Rule market_making: spread_ppm is 0; possible are 1 to 1000000."),
        ("momentum", {"fast": 50}, "Rule momentum: fast is 50; it must be below slow, which is 50."),
    ],
)  # fmt: skip
def test_row_that_cannot_be_is_refused_with_a_sentence_and_nothing_runs(
    rule: str, parameters: dict[str, Any] | str, words: str
) -> None:
    host = Host()
    Script.orders = [buying()]
    host.strategy(rule, parameters)
    reason, detail = host.refusal
    assert reason is DeadReason.UNEXPECTED
    assert words in detail
    assert len(host.quote(100, 101)) == 0


def test_refused_row_leaves_the_one_before_in_force() -> None:
    host = Host()
    host.strategy("script")
    host.strategy("script", {"quantity_e8": "much"})
    Script.orders = [buying()]
    assert len(host.quote(100, 101)) == 1


def test_name_and_id_must_agree() -> None:
    host = Host()
    host.strategy("script", strategy=5)
    assert "strategy 'one' has the id" in host.refusal[1]


def test_more_strategies_than_fit_are_refused() -> None:
    host = Host(strategies_max=1)
    host.strategy("script")
    host.strategy("script", name="two")
    assert host.refusal == (DeadReason.LIMIT, "more strategies than strategies_max = 1")


def test_repeated_row_changes_nothing_and_other_parameters_start_anew() -> None:
    host = Host()
    host.strategy("script")
    host.quote(100, 101)
    host.strategy("script")
    host.quote(100, 101)
    host.strategy("script", {"quantity_e8": 5})
    host.quote(100, 101)
    assert [count for _, _, count in told("quote")] == [1, 2, 1]  # the memory


def test_changed_row_cancels_what_is_open() -> None:
    host = Host()
    host.strategy("script")
    Script.orders = [buying()]
    [row] = host.quote(100, 101)
    host.order(row, OrderState.OPEN)
    assert actions(host.strategy("script", {"quantity_e8": 5})) == [(CANCEL, 1)]


# --- what may be asked for ---


def test_nothing_is_asked_for_before_the_warm_up() -> None:
    host = Host()
    host.strategy("script", {"warm_quotes": 3})
    Script.orders = [buying()]
    assert [len(host.quote(100, 101)) for _ in range(4)] == [0, 0, 1, 1]
    assert [count for _, _, count in told("quote")] == [1, 2, 3, 4]  # but it sees everything


@pytest.mark.parametrize("trust", [trust for trust in Trust if trust is not Trust.SYNCED])
def test_nothing_is_asked_for_on_a_book_that_is_not_trusted(trust: Trust) -> None:
    host = Host()
    host.strategy("script")
    host.quote(100, 101)
    Script.orders = [buying()]
    assert len(host.quote(100, 101, trust)) == 0
    assert told("distrust") == [0]
    assert len(host.quote(100, 101, trust)) == 0
    assert told("distrust") == [0]  # told once
    assert len(host.quote(100, 101)) == 1


def test_prices_go_to_ticks_away_from_the_market_and_quantities_down_to_lots() -> None:
    host = Host()
    host.instrument(price_min_e8=TICK // 2)  # ticks count from there
    host.strategy("script")
    Script.orders = [buying(100.09, 1.00099), buying(100.01, side=SELL), buying(100.05), buying(100.05, side=SELL)]
    rows = host.quote(100, 101)
    assert [round(int(price) / ONE, 2) for price in rows["price_e8"]] == [100.05, 100.05, 100.05, 100.05]
    assert int(rows["quantity_e8"][0]) == ONE


@pytest.mark.parametrize(
    ("instrument", "wanted"),
    [
        ({"status": int(InstrumentStatus.HALTED)}, {}),
        ({"tick_size_e8": 0}, {}),
        ({"price_max_e8": 99 * ONE}, {}),
        ({"price_min_e8": 101 * ONE}, {}),
        ({"quantity_min_e8": 2 * ONE}, {}),
        ({"notional_min_e8": 101 * ONE}, {}),
        ({"notional_min_e8": 102 * ONE}, {"kind": OrderKind.MARKET}),
        ({}, {"quantity_e8": LOT - 1}),
        ({}, {"quantity_e8": 0}),
        ({}, {"price_e8": -ONE}),
        ({}, {"price_e8": 1 << 70}),
        ({}, {"kind": OrderKind.STOP}),
    ],
)
def test_orders_that_the_instrument_would_refuse_are_not_asked_for(
    instrument: dict[str, int], wanted: dict[str, Any]
) -> None:
    host = Host()
    host.strategy("script")
    Script.orders = [buying()]
    assert len(host.quote(100, 101)) == 1
    host.instrument(**instrument)
    Script.orders = [buying() | wanted]
    assert len(host.quote(100, 101)) == 0
    assert told("placed") == [1, 0]


def test_quantities_above_the_largest_are_cut() -> None:
    host = Host()
    host.instrument(quantity_max_e8=3 * ONE, market_quantity_max_e8=2 * ONE)
    host.strategy("script")
    Script.orders = [buying(quantity=9), buying(quantity=9, kind=OrderKind.MARKET)]
    rows = host.quote(100, 101)
    assert rows["quantity_e8"].tolist() == [3 * ONE, 2 * ONE]
    assert rows["price_e8"].tolist() == [100 * ONE, 0]


def test_orders_of_a_strategy_are_bounded() -> None:
    host = Host(orders_max=2)
    host.strategy("script")
    Script.orders = [buying()] * 3
    rows = host.quote(100, 101)
    assert told("placed") == [1, 2, 0]
    host.order(rows[0], OrderState.CANCELLED)
    host.quote(100, 101)
    assert told("placed") == [1, 2, 0, 3, 0, 0]


def test_strategy_sees_its_own_instrument_only() -> None:
    host = Host()
    host.strategy("script")
    host.quote(50, 51, instrument=ETH)
    assert Script.told == []


# --- orders, fills, position ---


def test_strategy_hears_of_its_orders_and_fills() -> None:
    """C-23: fills never reached the strategy."""
    host = Host()
    host.strategy("script")
    Script.orders = [buying(quantity=3)]
    [row] = host.quote(100, 101)
    Script.told = []
    host.order(row, OrderState.OPEN)
    host.order(row, OrderState.PARTIALLY_FILLED, ONE)
    host.fill(row, ONE)
    host.fill(row, 2 * ONE)
    host.order(row, OrderState.FILLED, 3 * ONE)
    assert Script.told == [
        ("order", (1, OrderState.OPEN, 0, 0)),
        ("order", (1, OrderState.PARTIALLY_FILLED, ONE, ONE)),
        ("fill", (ONE, ONE)),
        ("fill", (2 * ONE, 3 * ONE)),
        ("order", (1, OrderState.FILLED, 3 * ONE, 3 * ONE)),
    ]


def test_fill_before_any_row_of_its_order_counts_once() -> None:
    host = Host()
    host.strategy("script")
    Script.orders = [buying(side=SELL)]
    [row] = host.quote(100, 101)
    Script.orders = []
    host.fill(row, ONE // 4)
    host.order(row, OrderState.PARTIALLY_FILLED, ONE // 4)
    host.order(row, OrderState.FILLED, ONE)
    host.fill(row, 3 * ONE // 4)
    host.fill(row, 5, order_id=99)  # an order that somebody else made for it
    host.quote(100, 101)
    assert told("quote")[-1][1] == -ONE - 5


def test_position_is_the_ledgers_until_the_first_order() -> None:
    host = Host()
    host.strategy("script")
    who = {"account": ACCOUNT, "strategy": instrument_id("one"), "instrument": BTC}
    host.give(POSITION_INPUT, **(who | {"quantity_e8": 7}))
    host.give(POSITION_INPUT, **(who | {"quantity_e8": 9, "account": 4}))
    Script.orders = [buying()]
    host.quote(100, 101)
    host.give(POSITION_INPUT, **(who | {"quantity_e8": 0}))  # late: it says what was
    assert told("position") == [(7, 7), (0, 7)]


def test_order_that_is_never_heard_of_is_forgotten() -> None:
    host = Host(answer_ns=5 * SECOND_NS)
    host.strategy("script")
    Script.orders = [buying()]
    [row] = host.quote(100, 101)
    assert host.rule.next_deadline_ns(host.state) == START_NS + 5 * SECOND_NS
    Script.told = []
    assert len(host.fire(START_NS + 5 * SECOND_NS)) == 0
    assert Script.told == [("order", (1, OrderState.DENIED, 0, 0))]
    assert host.rule.next_deadline_ns(host.state) == NEVER_NS
    host.order(row, OrderState.OPEN)  # it was only late
    assert Script.told[-1] == ("order", (1, OrderState.OPEN, 0, 0))


def test_rows_of_orders_of_nobody_are_ignored() -> None:
    host = Host()
    host.strategy("script")
    host.give(ORDER_INPUT, account=ACCOUNT, strategy=instrument_id("one"), tag=5, order_id=4, instrument=BTC)
    host.give(ORDER_INPUT, account=ACCOUNT, strategy=77, tag=1, order_id=4, instrument=BTC)
    assert Script.told == []
    assert host.out.dead == []


# --- disabling ---


def disable(host: Host) -> Rows:
    return host.strategy("gone", "nonsense {", enabled=0)  # whatever else it says


def test_disabling_cancels_what_is_open_and_then_there_is_silence() -> None:
    host = Host()
    host.strategy("script")
    Script.orders = [buying()] * 3
    rows = host.quote(100, 101)
    host.order(rows[0], OrderState.OPEN)
    host.order(rows[1], OrderState.FILLED, ONE)
    assert actions(disable(host)) == [(CANCEL, 1), (CANCEL, 3)]  # 3: in flight
    Script.told = []
    assert len(host.quote(100, 101)) == 0
    assert len(host.order(rows[0], OrderState.CANCELLED)) == 0
    assert Script.told == []
    assert actions(disable(host)) == []


def test_disabled_strategy_cancels_again_until_everything_is_gone() -> None:
    host = Host(answer_ns=5 * SECOND_NS)
    host.strategy("script")
    Script.orders = [buying()]
    [row] = host.quote(100, 101)
    host.order(row, OrderState.OPEN)
    disable(host)
    host.order(row, OrderState.PENDING_CANCEL)
    assert actions(host.order(row, OrderState.OPEN, code=-5)) == [(CANCEL, 1)]  # refused: again
    rows = host.fire(START_NS + 5 * SECOND_NS)
    assert actions(rows) == [(CANCEL, 1)]  # no answer: again
    assert (int(rows["ts_recv_ns"][0]), int(rows["cause_row"][0])) == (START_NS + 5 * SECOND_NS, 0)
    assert host.out.emitted[0].origin == NO_ORIGIN
    host.order(row, OrderState.CANCELLED)
    assert host.rule.next_deadline_ns(host.state) == NEVER_NS


def test_disabled_strategy_waits_quietly_for_a_cancel_in_flight() -> None:
    host = Host(answer_ns=5 * SECOND_NS)
    host.strategy("script")
    Script.orders = [buying()]
    [row] = host.quote(100, 101)
    host.order(row, OrderState.OPEN)
    disable(host)
    host.order(row, OrderState.PENDING_CANCEL)
    for k in range(1, 4):
        assert len(host.fire(START_NS + 5 * k * SECOND_NS)) == 0
        assert host.rule.next_deadline_ns(host.state) == START_NS + 5 * (k + 1) * SECOND_NS


def test_enabling_again_warms_up_again() -> None:
    host = Host()
    host.strategy("script", {"warm_quotes": 2})
    host.quote(100, 101)
    host.quote(100, 101)
    disable(host)
    host.strategy("script", {"warm_quotes": 2})
    Script.orders = [buying()]
    assert [len(host.quote(100, 101)) for _ in range(2)] == [0, 1]


# --- timers and bad rows ---


def test_timer_comes_at_its_time_before_the_row_that_reaches_it() -> None:
    host = Host()
    host.strategy("script")
    host.give(TRADE_INPUT, instrument=BTC, price_e8=1, quantity_e8=SECOND_NS, flags=1)
    host.advance(3 * SECOND_NS)
    host.quote(100, 101)
    assert [kind for kind, _ in Script.told] == ["timer", "quote"]
    assert told("timer") == [START_NS + SECOND_NS]


def test_rows_that_nobody_can_mean_are_put_aside() -> None:
    host = Host()
    host.strategy("script")
    for which, values in (
        (QUOTE_INPUT, {"trust": 6}), (QUOTE_INPUT, {"bid_price_e8": -1}), (TRADE_INPUT, {"price_e8": 0}),
        (BAR_INPUT, {"kind": 4}), (ORDER_INPUT, {"account": 0}), (FILL_INPUT, {"quantity_e8": -1}),
        (POSITION_INPUT, {"account": 0}), (INSTRUMENT_INPUT, {"status": 9}), (QUOTE_INPUT, {"ts_recv_ns": -1}),
    ):  # fmt: skip
        before = {name: array.tobytes() for name, array in host.state.items()}
        host.give(which, **values)
        assert host.refusal[0] is DeadReason.OUT_OF_RANGE
        assert {name: array.tobytes() for name, array in host.state.items()} == before


def test_parameters_of_the_host_are_checked() -> None:
    with pytest.raises(ConfigInvalid, match="Rule strategies: orders_max is 1"):
        Strategies.make({"orders_max": 1})
