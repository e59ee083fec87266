"""Money of a simulated account: exact in integers, whatever is traded."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from connectors.simulator.private_account import Account, OpenNotional, Position, divided, scaled
from connectors.simulator.private_config import E8, AccountConfig, PrivateRules

LOT_E8, TICK_E8 = E8 // 1000, E8 // 10
trades = st.lists(
    st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 10_000), st.booleans()), min_size=1, max_size=40
)


@given(trades)
def test_position_keeps_every_part_of_what_it_cost(script: list[tuple[int, int, bool]]) -> None:
    """Realised profit is what was got less what was paid, less what the rest has cost: nothing lost to rounding."""
    position, paid, amount = Position(), 0, 0
    for lots, ticks, _ in script:
        realised_before = position.realised_e8
        realised = position.trade(lots * LOT_E8, ticks * TICK_E8)
        paid += lots * LOT_E8 * ticks * TICK_E8 // E8
        amount += lots * LOT_E8
        assert position.amount_e8 == amount
        assert position.realised_e8 == realised_before + realised == position.cost_e8 - paid
        if not amount:
            assert position.cost_e8 == 0
        else:
            assert (position.cost_e8 > 0) == (amount > 0), "what is held has cost something on its own side"


@given(trades)
def test_wallet_moves_by_realised_profit_less_fees(script: list[tuple[int, int, bool]]) -> None:
    account = Account(1, AccountConfig(), PrivateRules(maker_fee_e8=-1_000))
    sums = [0, 0]
    for lots, ticks, is_maker in script:
        realised, fee = account.trade("BTCUSDT", lots * LOT_E8, ticks * TICK_E8, 5, is_maker=is_maker)
        sums = [sums[0] + realised, sums[1] + fee]
        assert (fee <= 0) if is_maker else (fee > 0 or abs(lots) * ticks < 1)
    assert account.wallet_e8 - 100_000 * E8 == sums[0] - sums[1]


def test_position_through_zero_begins_anew_at_the_new_price() -> None:
    position = Position()
    assert position.trade(3 * LOT_E8, 100 * E8) == 0
    assert position.entry_e8 == 100 * E8
    assert position.trade(-5 * LOT_E8, 110 * E8) == 3 * LOT_E8 * 10
    assert (position.amount_e8, position.entry_e8) == (-2 * LOT_E8, 110 * E8)
    assert position.unrealised_e8(109 * E8) == 2 * LOT_E8


@given(st.integers(-(10**20), 10**20), st.integers(-(10**12), 10**12))
def test_scaled_rounds_towards_zero(value: int, factor_e8: int) -> None:
    exact = Fraction(value * factor_e8, E8)
    assert scaled(value, factor_e8) == int(exact)


@given(st.integers(-(10**20), 10**20), st.integers(1, 10**9), st.integers(1, 10**9))
def test_divided_rounds_towards_zero(value: int, part: int, whole: int) -> None:
    assert divided(value, part, whole) == int(Fraction(value * part, whole))


def test_fee_rates_are_those_of_the_rules() -> None:
    account = Account(1, AccountConfig(), PrivateRules())
    assert account.fee_e8(10_000 * E8, is_maker=True) == 2 * E8
    assert account.fee_e8(10_000 * E8, is_maker=False) == 5 * E8


def test_funding_is_paid_by_the_long_side_when_its_rate_is_above_zero() -> None:
    account = Account(1, AccountConfig(), PrivateRules(funding_rate_e8=10_000))
    account.trade("BTCUSDT", E8, 60_000 * E8, 1, is_maker=True)
    before = account.wallet_e8
    assert account.fund("BTCUSDT", 50_000 * E8, 2) == -5 * E8
    assert account.wallet_e8 == before - 5 * E8
    assert account.fund("ETHUSDT", 50_000 * E8, 2) == 0


def test_margin_counts_the_worst_case_of_open_orders() -> None:
    account = Account(1, AccountConfig(leverage=10), PrivateRules())
    account.trade("BTCUSDT", E8, 60_000 * E8, 1, is_maker=True)
    margin = account.margin("BTCUSDT", 60_000 * E8, OpenNotional(0, 30_000 * E8))
    assert (margin.position_e8, margin.orders_e8) == (6_000 * E8, 0), "an order that closes ties nothing up"
    margin = account.margin("BTCUSDT", 60_000 * E8, OpenNotional(20_000 * E8, 150_000 * E8))
    assert margin.initial_e8 == 9_000 * E8, "all asks filled: short 90,000"
    assert margin.maintenance_e8 == 240 * E8
