"""The ledger beside a venue that nets all strategies of an account and rounds in its own way: cash is its wallet."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.simulator.private_account import Account
from connectors.simulator.private_config import AccountConfig, PrivateRules
from processors.kernels.positions_layout import COST, QUANTITY, REALISED, STRATEGY
from processors.ledger import balance_e8
from processors.positions import POSTING_OUTPUT
from schemas.trading import NOT_SAID, AccountEvent, LedgerAccount
from tests.laws.ledger_rows import DELIVERY, PERPETUAL
from tests.reference.positions import zero_sum
from tests.unit.test_positions import ACCOUNT, BUY, ONE, SECOND_NS, SELL, USDT, Books, held, rows

ADJUSTMENT, CASH, CLEARING = LedgerAccount.ADJUSTMENT, LedgerAccount.CASH, LedgerAccount.CLEARING
FOREIGN, FIRST, SECOND = 0, 5, 6


class Trade(NamedTuple):
    strategy: int
    quantity_e8: int  # above 0 bought
    price_e8: int
    is_maker: bool


class Funding(NamedTuple):
    mark_e8: int


class Transfer(NamedTuple):
    amount_e8: int


prices = st.one_of(st.integers(1, 9), st.integers(99 * ONE, 101 * ONE), st.integers(1, 60_000 * ONE))
quantities = st.one_of(st.integers(1, 9), st.integers(1, 5 * ONE), st.sampled_from([ONE, 2 * ONE]))
trades = st.builds(
    lambda strategy, quantity, buys, price, is_maker: Trade(strategy, quantity if buys else -quantity, price, is_maker),
    st.sampled_from([FIRST, FIRST, SECOND, SECOND, FOREIGN]), quantities, st.booleans(), prices, st.booleans(),
)  # fmt: skip
acts = st.one_of(
    trades, trades, trades, trades, st.builds(Funding, prices), st.builds(Transfer, st.integers(-ONE, ONE))
)


class Both:
    """Our books and the venue's, told the same."""

    def __init__(self, *, says: bool = True) -> None:
        self.venue = Account(1, AccountConfig(), PrivateRules(maker_fee_e8=-1_000, funding_rate_e8=12_345))
        self.books = Books()
        self.says = says
        self.fills = 0
        self.books.update(AccountEvent.OPENING, self.venue.wallet_e8)

    def act(self, act: Trade | Funding | Transfer) -> None:
        self.books.now_ns += SECOND_NS
        if isinstance(act, Trade):
            self.trade(act)
        elif isinstance(act, Funding):
            amount = self.venue.fund("X", act.mark_e8, 0)
            self.books.update(AccountEvent.FUNDING, amount, instrument=PERPETUAL)
        else:
            self.venue.wallet_e8 += act.amount_e8
            self.books.update(AccountEvent.TRANSFER, act.amount_e8)
        assert not self.books.out.dead
        assert zero_sum(rows(self.books.out, POSTING_OUTPUT)[["account", "entry", "asset", "amount_e8"]].tolist())

    def trade(self, act: Trade) -> None:
        self.fills += 1
        booked, fee = self.venue.trade("X", act.quantity_e8, act.price_e8, 0, is_maker=act.is_maker)
        self.books.fill(
            BUY if act.quantity_e8 > 0 else SELL, abs(act.quantity_e8) / ONE, act.price_e8 / ONE,
            quantity_e8=abs(act.quantity_e8), price_e8=act.price_e8, strategy=act.strategy, fee_e8=fee, fee_asset=USDT,
            realised_e8=booked if self.says else NOT_SAID,
        )  # fmt: skip

    def flatten(self, price_e8: int) -> None:
        """Every strategy closes what it holds."""
        for strategy, quantity in self.column(QUANTITY).items():
            if quantity:
                self.act(Trade(strategy, -quantity, price_e8, False))

    def column(self, column: int) -> dict[int, int]:
        """Of every position, by strategy."""
        lines = self.books.rule.positions.lines(self.books.state)
        return {int(line[STRATEGY]): int(line[column]) for line in lines}

    def stands_at(self, ledger: LedgerAccount) -> int:
        return balance_e8(self.books.state, ACCOUNT, USDT, ledger)

    def check(self) -> None:
        position = self.venue.position("X")
        assert self.books.cash() == self.venue.wallet_e8
        assert sum(self.stands_at(ledger) for ledger in LedgerAccount) == 0
        assert sum(self.column(QUANTITY).values()) == position.amount_e8
        assert sum(self.column(REALISED).values()) == -self.stands_at(LedgerAccount.REALISED)
        assert sum(self.column(REALISED).values()) - self.stands_at(CLEARING) == position.realised_e8
        assert self.stands_at(ADJUSTMENT) == 0  # all that differs are roundings


@settings(max_examples=120, deadline=None)
@given(st.lists(acts, max_size=40), prices)
def test_cash_is_the_wallet_after_every_row_and_clearing_ends_as_a_rounding(
    session: list[Trade | Funding | Transfer], last_e8: int
) -> None:
    both = Both()
    for act in session:
        both.act(act)
        both.check()
    both.flatten(last_e8)
    both.check()
    assert set(both.column(COST).values()) <= {0}
    assert abs(both.stands_at(CLEARING)) <= 3 * both.fills


@settings(max_examples=80, deadline=None)
@given(st.lists(acts, max_size=40), prices)
def test_venue_that_says_no_profit_is_followed_by_the_net_position(
    session: list[Trade | Funding | Transfer], last_e8: int
) -> None:
    """Then only what it rounded otherwise than we do differs, and nothing is left between the strategies at the end."""
    both = Both(says=False)
    for act in session:
        both.act(act)
    both.flatten(last_e8)
    assert both.stands_at(CLEARING) == 0
    assert abs(both.books.cash() - both.venue.wallet_e8) <= 3 * both.fills


def test_opposite_strategies_realise_when_the_account_does_not() -> None:
    both = Both()
    both.act(Trade(FIRST, ONE, 100 * ONE, False))
    both.act(Trade(SECOND, -ONE, 110 * ONE, False))  # the account is flat: the venue books 10, no strategy does
    assert (both.stands_at(CLEARING), both.stands_at(LedgerAccount.REALISED)) == (-10 * ONE, 0)
    both.act(Trade(FIRST, -ONE, 105 * ONE, False))  # the account opens a short: the strategy realises 5
    assert (both.stands_at(CLEARING), both.stands_at(LedgerAccount.REALISED)) == (-5 * ONE, -5 * ONE)
    both.act(Trade(SECOND, ONE, 105 * ONE, False))
    assert (both.stands_at(CLEARING), both.stands_at(LedgerAccount.REALISED)) == (0, -10 * ONE)
    both.check()


def test_roundings_of_the_venue_are_in_clearing_and_cash_is_its_own() -> None:
    books = Books()
    books.fill(BUY, 3, 100)
    books.fill(SELL, 1, 100, price_e8=100 * ONE + 1, realised_e8=0)  # it took its average price as one place higher
    assert (books.cash(), books.cash() + balance_e8(books.state, ACCOUNT, USDT, CLEARING)) == (0, 1)
    assert balance_e8(books.state, ACCOUNT, USDT, ADJUSTMENT) == 0


@pytest.mark.parametrize(("off", "found"), [(20, 0), (-20, 0), (21, 21), (-21, -21)])
def test_profit_that_no_rounding_explains_is_an_adjustment(off: int, found: int) -> None:
    """Two fills since it was flat, of 10 and of 2: four last places each, and 12 for the average price."""
    books = Books()
    books.fill(BUY, 10, 100, realised_e8=0)
    books.fill(SELL, 2, 110, realised_e8=20 * ONE + off)
    assert books.cash() == 20 * ONE + off
    assert balance_e8(books.state, ACCOUNT, USDT, ADJUSTMENT) == -found
    assert balance_e8(books.state, ACCOUNT, USDT, CLEARING) == found - off
    assert balance_e8(books.state, ACCOUNT, USDT, LedgerAccount.REALISED) == -20 * ONE


@pytest.mark.parametrize(
    ("trades", "allowed"), [([(BUY, 10), (SELL, 10), (BUY, 2)], 6 + 5), ([(SELL, 10), (BUY, 12)], 16 + 5)]
)
@pytest.mark.parametrize("beyond", [0, 1])
def test_what_a_venue_may_round_is_counted_from_flat_and_from_a_flip(
    trades: list[tuple[int, int]], allowed: int, beyond: int
) -> None:
    books = Books()
    for side, quantity in trades:
        books.fill(side, quantity, 100, realised_e8=0)
    books.fill(SELL, 1, 110, realised_e8=10 * ONE + allowed + beyond)
    assert balance_e8(books.state, ACCOUNT, USDT, ADJUSTMENT) == -beyond * (allowed + beyond)


def test_fill_that_comes_late_is_an_adjustment_until_it_comes() -> None:
    """The venue's profit says that there was a purchase; ours is a short until the purchase is told."""
    books = Books()
    books.fill(SELL, 1, 110, realised_e8=10 * ONE)
    assert (books.cash(), balance_e8(books.state, ACCOUNT, USDT, ADJUSTMENT)) == (10 * ONE, -10 * ONE)
    books.fill(BUY, 1, 100, realised_e8=0)
    assert (books.cash(), balance_e8(books.state, ACCOUNT, USDT, ADJUSTMENT)) == (10 * ONE, 0)
    assert balance_e8(books.state, ACCOUNT, USDT, CLEARING) == 0


def test_instruments_and_accounts_are_netted_apart() -> None:
    books = Books()
    books.fill(BUY, 1, 100, realised_e8=0)
    books.fill(SELL, 1, 110, instrument=DELIVERY, realised_e8=0)
    books.fill(SELL, 1, 110, account=22, realised_e8=0)
    nets = books.rule.nets.lines(books.state)[:, :3].tolist()
    assert nets == [[ACCOUNT, PERPETUAL, ONE], [ACCOUNT, DELIVERY, -ONE], [22, PERPETUAL, -ONE]]
    assert balance_e8(books.state, ACCOUNT, USDT, CASH) == 0


def test_foreign_fill_is_nobodys_position_and_the_account_s_money() -> None:
    books = Books()
    books.fill(BUY, 2, 100, realised_e8=0)
    said = books.fill(SELL, 2, 90, strategy=FOREIGN, order_id=-77, realised_e8=-20 * ONE)  # as the venue liquidates
    assert held(said) == (-2, -180, 0)
    assert books.cash() == -20 * ONE
    assert balance_e8(books.state, ACCOUNT, USDT, CLEARING) == 20 * ONE
    assert int(books.rule.nets.lines(books.state)[0, 2]) == 0
