"""Market making, momentum, and the strategy that the manual writes in ten lines."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest

from processors.api import Batch, Outputs
from processors.book import QUOTE_OUTPUT, Book
from processors.strategies import STRATEGIES
from processors.strategies.api import Strategy
from schemas.address import Origin
from schemas.declare import Rows
from schemas.events import Side, Trust
from schemas.trading import OrderFlag, OrderKind, OrderState, TimeInForce
from tests.recordings import recording
from tests.reference.recorded import read_recording
from tests.unit.test_strategy_host import (
    AMEND,
    BTC,
    BUY,
    CANCEL,
    LOT,
    NEW,
    ONE,
    SECOND_NS,
    SELL,
    TICK,
    Host,
    actions,
)

MAKING: dict[str, Any] = {
    "quantity_e8": ONE, "inventory_max_e8": 4 * ONE, "spread_ppm": 10_000, "imbalance_ppm": 0, "warm_up_quotes": 1,
    "requote_ticks": 5,
}  # fmt: skip
COLUMNS = ("bid_price_e8", "bid_quantity_e8", "ask_price_e8", "ask_quantity_e8", "ts_event_ns")
CONTRARIAN = '''\
from dataclasses import dataclass
from processors.strategies.api import Bar, Context, Strategy
@dataclass(frozen=True)
class Parameters:
    quantity_e8: int = 1_000_000
class Contrarian(Strategy[Parameters]):
    parameters_kind, bar_interval_ns = Parameters, 1_000_000_000
    def on_bar(self, at: Context, bar: Bar) -> None:
        """Long after a bar that fell, flat after any other."""
        at.reach(self.parameters.quantity_e8 if bar.close_e8 < bar.open_e8 else 0)
'''


def quotes_of(rows: Rows) -> dict[Side, float]:
    """Prices asked for, by side."""
    return {Side(row["side"]): int(row["price_e8"]) / ONE for row in rows}


def recorded_quotes(name: str) -> Rows:
    """What our book says over a real recording."""
    rows = read_recording(recording(name)).deltas
    book = Book()
    out = Outputs(book.outputs)
    book.on_batch(book.initial_state(), Batch(0, Origin(), 1, rows), out)
    return np.concatenate([emitted.rows for emitted in out.emitted if emitted.output == QUOTE_OUTPUT])


class Maker(Host):
    """A market maker whose orders are accepted at once."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__()
        self.orders: dict[int, Any] = {}
        self.strategy("market_making", MAKING | parameters)

    def see(self, bid: float, ask: float, trust: Trust = Trust.SYNCED, sizes: tuple[float, float] = (1, 1)) -> Rows:
        """A quote; what it made the maker ask for is done."""
        rows = self.quote(bid, ask, trust, sizes)
        self.accept(rows)
        return rows

    def accept(self, rows: Rows) -> None:
        for row in rows:
            tag = int(row["tag"])
            if row["action"] == CANCEL:
                self.accept(self.order(self.orders.pop(tag), OrderState.CANCELLED))
            else:
                self.orders[tag] = row
                self.accept(self.order(row, OrderState.OPEN))

    def bought(self, quantity: int) -> Rows:
        """Inventory from an order that is not one of the quotes."""
        row = next(iter(self.orders.values()))
        return self.fill(row, abs(quantity), order_id=5, side=int(BUY if quantity > 0 else SELL))

    @property
    def standing(self) -> dict[Side, float]:
        return {Side(row["side"]): int(row["price_e8"]) / ONE for row in self.orders.values()}


# --- market making ---


def test_market_maker_quotes_both_sides() -> None:
    """C-23: only the bid was quoted, and market-making orders were dropped on the way."""
    host = Maker()
    rows = host.see(999, 1001)
    assert actions(rows) == [(NEW, 1), (NEW, 2)]
    assert quotes_of(rows) == {BUY: 995, SELL: 1005}
    assert (rows["quantity_e8"] == ONE).all()
    assert (rows["flags"] == OrderFlag.POST_ONLY).all()


def test_quotes_stand_around_the_micro_price() -> None:
    """Three times as much is bid as is offered: the fair price is nearer to the offer."""
    host = Maker()
    assert quotes_of(host.see(999, 1001, sizes=(3, 1))) == {BUY: 995.4, SELL: 1005.6}  # 1000.5 ∓ 5.0025, outwards


def test_imbalance_shifts_both_quotes_towards_the_heavy_side() -> None:
    low, high = Maker(imbalance_ppm=2_000), Maker(imbalance_ppm=2_000)
    sold, bought = quotes_of(low.see(1000, 1000.1, sizes=(1, 9))), quotes_of(high.see(1000, 1000.1, sizes=(9, 1)))
    assert bought[BUY] - sold[BUY] == pytest.approx(3.2, abs=0.3)  # 2,000 ppm × 0.8, both ways
    assert bought[SELL] - sold[SELL] == pytest.approx(3.2, abs=0.3)


def test_imbalance_is_smoothed() -> None:
    host = Maker(imbalance_ppm=10_000, smoothing=1, requote_ticks=1, spread_ppm=40_000)
    host.see(1000, 1000.1, sizes=(5, 5))
    first = host.standing[BUY]
    host.see(1000, 1000.1, sizes=(9, 1))
    second = host.standing[BUY]
    host.see(1000, 1000.1, sizes=(9, 1))
    assert 3.9 < second - first < 4.2  # half of 0.8 × 1 %
    assert 1.8 < host.standing[BUY] - second < 2.2  # and half of the rest


def test_quotes_follow_the_market_by_amends() -> None:
    host = Maker()
    host.see(999, 1001)
    for price in (1010, 1003, 990):
        rows = host.see(price - 1, price + 1)
        assert actions(rows) == [(AMEND, 1), (AMEND, 2)]
        assert host.standing == {
            BUY: pytest.approx(price * 0.995, abs=0.1),
            SELL: pytest.approx(price * 1.005, abs=0.1),
        }


def test_quotes_follow_the_market_by_cancels_where_amends_are_not_wanted() -> None:
    host = Maker(use_amend=False)
    host.see(999, 1001)
    assert actions(host.see(1009, 1011)) == [(CANCEL, 1), (CANCEL, 2)]
    assert host.standing == {BUY: 1004.9, SELL: 1015.1}  # placed anew when the old ones had ended


def test_quotes_stay_while_their_target_moves_less_than_asked_for() -> None:
    host = Maker(requote_ticks=5)
    host.see(999, 1001)
    assert len(host.see(999.4, 1001.4)) == 0
    assert actions(host.see(999.6, 1001.6)) == [(AMEND, 1), (AMEND, 2)]


def test_nothing_more_is_asked_for_while_an_order_is_in_flight() -> None:
    host = Maker()
    rows = host.quote(999, 1001)
    assert len(host.quote(1009, 1011)) == 0
    host.order(rows[0], OrderState.PENDING_SUBMIT)
    assert len(host.quote(1019, 1021)) == 0
    assert actions(host.order(rows[0], OrderState.OPEN)) == [(AMEND, 1)]
    assert len(host.quote(1029, 1031)) == 0
    host.order(rows[0], OrderState.PENDING_AMEND)
    assert len(host.quote(1039, 1041)) == 0


def test_each_side_has_one_order_whatever_happens() -> None:
    host = Maker()
    for k in range(60):
        bid = 1000 + 7 * (k * 37 % 11)
        host.see(bid, bid + 2, Trust.SYNCED if k % 7 else Trust.GAP)
        sides = [Side(row["side"]) for row in host.orders.values()]
        assert sorted(sides) == ([BUY, SELL] if k % 7 else [])


def test_loss_of_trust_cancels_both_sides() -> None:
    host = Maker()
    host.see(999, 1001)
    assert actions(host.see(999, 1001, Trust.STALE)) == [(CANCEL, 1), (CANCEL, 2)]
    assert host.standing == {}
    assert actions(host.see(999, 1001)) == [(NEW, 3), (NEW, 4)]


def test_loss_of_trust_cancels_orders_in_flight_too() -> None:
    host = Maker()
    host.quote(999, 1001)
    assert actions(host.quote(999, 1001, Trust.GAP)) == [(CANCEL, 1), (CANCEL, 2)]


def test_spread_below_its_bound_is_not_quoted() -> None:
    host = Maker(market_spread_min_ppm=1_000)
    assert len(host.see(1000, 1000.9)) == 0
    assert actions(host.see(1000, 1001)) == [(NEW, 1), (NEW, 2)]
    assert actions(host.see(1000, 1000.9)) == [(CANCEL, 1), (CANCEL, 2)]


@pytest.mark.parametrize(("bid", "ask", "sizes"), [(0, 1001, (0, 1)), (999, 0, (1, 0))])
def test_one_sided_book_is_not_quoted(bid: float, ask: float, sizes: tuple[float, float]) -> None:
    host = Maker()
    host.see(999, 1001)
    assert actions(host.see(bid, ask, sizes=sizes)) == [(CANCEL, 1), (CANCEL, 2)]


def test_inventory_shifts_both_quotes_against_it() -> None:
    """At half of the bound, half of 50 % of the spread of 10: 2.5 down when long, up when short."""
    for sign in (1, -1):
        host = Maker()
        host.see(999, 1001)
        host.accept(host.bought(sign * 2 * ONE))
        assert host.standing == {BUY: 995 - 2.5 * sign, SELL: 1005 - 2.5 * sign}


def test_side_that_would_take_inventory_beyond_its_bound_is_not_quoted() -> None:
    host = Maker()
    host.see(999, 1001)
    host.accept(host.bought(4 * ONE))
    assert set(host.standing) == {SELL}
    host.accept(host.bought(-ONE // 2))
    assert {Side(row["side"]): int(row["quantity_e8"]) for row in host.orders.values()} == {BUY: ONE // 2, SELL: ONE}


def test_filled_quote_is_placed_anew() -> None:
    host = Maker(skew_percent=0)
    rows = host.see(999, 1001)
    host.fill(rows[0], ONE)
    assert actions(host.order(rows[0], OrderState.FILLED, ONE)) == [(NEW, 3)]


def test_partly_filled_quote_is_amended_to_its_filled_and_wanted_quantity() -> None:
    host = Maker(skew_percent=0)
    rows = host.see(999, 1001)
    host.order(rows[0], OrderState.PARTIALLY_FILLED, ONE // 4)
    amends = host.quote(1009, 1011)
    assert amends["quantity_e8"].tolist() == [ONE + ONE // 4, ONE]


@pytest.mark.parametrize("state", [OrderState.DENIED, OrderState.REJECTED])
def test_refused_side_pauses(state: OrderState) -> None:
    host = Maker(retry_after_ns=SECOND_NS)
    rows = host.quote(999, 1001)
    assert len(host.order(rows[0], state)) == 0
    host.order(rows[1], OrderState.OPEN)
    assert len(host.quote(999, 1001)) == 0
    assert actions(host.fire(host.now_ns + SECOND_NS)) == [(NEW, 3)]


def test_post_only_quotes_never_reach_the_other_side() -> None:
    host = Maker(spread_ppm=1, skew_percent=0)
    assert quotes_of(host.see(1000, 1000.1)) == {BUY: 1000, SELL: 1000.1}


def test_parameters_changed_by_a_row_are_in_force_at_once() -> None:
    host = Maker()
    host.see(999, 1001)
    host.accept(host.strategy("market_making", MAKING | {"spread_ppm": 20_000}))
    assert host.standing == {}
    assert quotes_of(host.see(999, 1001)) == {BUY: 990, SELL: 1010}


def test_market_maker_is_silent_until_it_is_warm() -> None:
    host = Maker(warm_up_quotes=3)
    assert [len(host.see(999, 1001)) for _ in range(3)] == [0, 0, 2]


@pytest.mark.recording
def test_quotes_follow_a_real_market() -> None:
    """Over recorded quotes both sides stand at nearly all times, one order each, near to where they belong."""
    quotes = recorded_quotes("usdm_btcusdt_20240808.gz")[:6000]
    host = Maker(spread_ppm=200, imbalance_ppm=20, requote_ticks=10)
    both, changes = 0, 0
    for row in quotes:
        host.now_ns = max(host.now_ns, int(row["ts_recv_ns"]))
        made = host.quote(0, 0, Trust(row["trust"]), (0, 0), **{name: int(row[name]) for name in COLUMNS})
        host.accept(made)
        changes += len(made)
        sides = sorted(Side(order["side"]) for order in host.orders.values())
        assert len(set(sides)) == len(sides)
        if row["trust"] == Trust.SYNCED and sides == [BUY, SELL]:
            both += 1
            assert host.standing[BUY] < int(row["ask_price_e8"]) / ONE
            assert host.standing[SELL] > int(row["bid_price_e8"]) / ONE
            middle = (int(row["bid_price_e8"]) + int(row["ask_price_e8"])) / 2 / ONE
            # half of 200 ppm, 20 ppm of imbalance, 10 ticks of patience; the micro-price is within the touch
            reach = middle * 120e-6 + 10 * TICK / ONE + (int(row["ask_price_e8"]) - int(row["bid_price_e8"])) / ONE
            assert abs(host.standing[BUY] - middle) <= reach + 0.2
            assert abs(host.standing[SELL] - middle) <= reach + 0.2
    assert both >= 0.99 * (quotes["trust"] == Trust.SYNCED).sum()
    assert 10 < changes < len(quotes)


# --- momentum ---

FOLLOWING: dict[str, Any] = {
    "interval_ns": 60 * SECOND_NS, "fast": 2, "slow": 4, "quantity_e8": ONE, "retry_after_ns": SECOND_NS,
}  # fmt: skip


class Follower(Host):
    """Momentum on bars of a minute."""

    def __init__(self, **parameters: Any) -> None:
        super().__init__()
        self.minute = 0
        self.strategy("momentum", FOLLOWING | parameters)
        self.quote(100, 101)

    def see(self, *closes: float) -> Rows:
        """Bars, one a minute; what the last one made it ask for."""
        rows = self.quote(100, 101)
        for close in closes:
            self.minute += 1
            self.advance(60 * SECOND_NS)
            rows = self.bar(close, self.minute)
        return rows

    def done(self, row: Any) -> None:
        """The order is executed."""
        quantity = int(row["quantity_e8"])
        self.order(row, OrderState.FILLED, quantity)
        self.fill(row, quantity)


def test_crossing_up_buys_and_crossing_down_turns_the_position() -> None:
    host = Follower()
    assert len(host.see(10, 9, 8, 7)) == 0  # warm; below, and nothing crossed
    [row] = host.see(12)
    assert (int(row["side"]), int(row["quantity_e8"]), int(row["price_e8"])) == (BUY, ONE, 101 * ONE + 5 * TICK)
    assert (int(row["kind"]), int(row["time_in_force"])) == (OrderKind.LIMIT, TimeInForce.IOC)
    host.done(row)
    assert len(host.see(13, 14)) == 0  # still above: there already
    [row] = host.see(1)
    assert (int(row["side"]), int(row["quantity_e8"])) == (SELL, 2 * ONE)


@pytest.mark.parametrize(("close", "orders"), [(10, 0), (10 + 1e-8, 1)])
def test_averages_are_exact_to_the_last_unit(close: float, orders: int) -> None:
    """(7 + 10) ÷ 2 is (9 + 8 + 7 + 10) ÷ 4; anything more crosses."""
    host = Follower()
    host.see(10, 9, 8, 7)
    assert len(host.see(close)) == orders


def test_without_shorts_crossing_down_only_closes() -> None:
    host = Follower(allow_short=False, at_market=True)
    host.see(10, 9, 8, 7)
    [row] = host.see(12)
    assert (int(row["kind"]), int(row["price_e8"])) == (OrderKind.MARKET, 0)
    host.done(row)
    [row] = host.see(13, 1)
    assert (int(row["side"]), int(row["quantity_e8"])) == (SELL, ONE)


def test_signals_wait_for_their_interval() -> None:
    host = Follower(signal_every_ns=150 * SECOND_NS, at_market=True)
    host.see(10, 9, 8, 7)
    [row] = host.see(12)
    host.done(row)
    assert len(host.see(1)) == 0  # crossed down a minute after the signal
    assert len(host.see(1)) == 0
    [row] = host.see(1)  # three minutes after: it still stands
    assert (int(row["side"]), int(row["quantity_e8"])) == (SELL, 2 * ONE)


def test_what_is_missing_is_asked_for_again_after_a_pause() -> None:
    host = Follower()
    host.see(10, 9, 8, 7)
    [row] = host.see(12)
    host.order(row, OrderState.PARTIALLY_FILLED, ONE // 4)
    host.fill(row, ONE // 4)
    assert len(host.order(row, OrderState.EXPIRED, ONE // 4)) == 0
    assert len(host.quote(100, 101)) == 0
    [row] = host.fire(host.now_ns + SECOND_NS)
    assert (int(row["side"]), int(row["quantity_e8"])) == (BUY, 3 * ONE // 4)


def test_order_row_before_its_fill_does_not_buy_twice() -> None:
    host = Follower()
    host.see(10, 9, 8, 7)
    [row] = host.see(12)
    assert len(host.order(row, OrderState.FILLED, ONE)) == 0
    assert len(host.quote(100, 101)) == 0
    assert len(host.fill(row, ONE)) == 0


def test_momentum_is_silent_until_slow_bars_were_seen() -> None:
    """Also when the averages would cross before."""
    host = Follower()
    assert [len(host.see(close)) for close in (1, 9, 1)] == [0, 0, 0]


@pytest.mark.parametrize("others", [{"size": 30 * SECOND_NS}, {"kind": 1}, {"revision": 1}, {"instrument": 12}])
def test_bars_of_another_kind_do_not_count(others: dict[str, int]) -> None:
    host = Follower()
    host.see(10, 9, 8, 7)
    assert len(host.bar(12, 5, **others)) == 0
    assert len(host.bar(12, 5)) == 1


def test_momentum_asks_for_nothing_while_the_book_is_not_trusted_and_then_does() -> None:
    host = Follower()
    host.see(10, 9, 8, 7)
    host.quote(100, 101, Trust.GAP)
    assert len(host.bar(12, 5)) == 0
    assert len(host.quote(100, 101)) == 1


# --- the ten lines of the manual ---


def strategy_from(text: str) -> type[Strategy[Any]]:
    """The class that a file with this text holds."""
    module = types.ModuleType("contrarian")
    sys.modules["contrarian"] = module
    exec(compile(text, "contrarian.py", "exec"), module.__dict__)
    kind: type[Strategy[Any]] = module.__dict__["Contrarian"]
    return kind


def test_strategy_of_the_manual_has_ten_lines_and_trades() -> None:
    assert len(CONTRARIAN.splitlines()) == 10
    host = Host(dict(STRATEGIES) | {"contrarian": strategy_from(CONTRARIAN)})
    host.strategy("contrarian", {"quantity_e8": 3 * LOT})
    host.quote(100, 101)
    fell = {"open_e8": 200 * ONE, "size": SECOND_NS}
    [row] = host.bar(100, 1, **fell)
    assert (int(row["side"]), int(row["quantity_e8"]), int(row["kind"])) == (BUY, 3 * LOT, OrderKind.MARKET)
    assert len(host.bar(100, 2, **fell)) == 0  # one order at a time
    host.order(row, OrderState.FILLED, 3 * LOT)
    assert len(host.bar(100, 3, **fell)) == 0  # there already
    [row] = host.bar(100, 4, size=SECOND_NS)
    assert (int(row["side"]), int(row["quantity_e8"]), int(row["instrument"])) == (SELL, 3 * LOT, BTC)
