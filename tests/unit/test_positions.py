"""Positions, lots, marks and the postings that follow; named regressions of the platform before this one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.api import NEVER_NS, Batch, Outputs, State
from processors.kernels.positions_layout import FIFO
from processors.ledger import balance_e8
from processors.positions import (
    ACCOUNT_INPUT,
    BALANCE_OUTPUT,
    FILL_INPUT,
    POSITION_OUTPUT,
    POSTING_OUTPUT,
    QUOTE_INPUT,
    Positions,
    PositionsParameters,
    divide_half_even,
    shared,
)
from schemas.address import NO_ORIGIN, Origin
from schemas.declare import Rows
from schemas.errors import ConfigInvalid
from schemas.events import DeadReason, Side, Trust
from schemas.instruments import instrument_id
from schemas.trading import NOT_SAID, AccountEvent, LedgerAccount
from tests.laws.inputs import Given, filled
from tests.laws.ledger_rows import DELIVERY, PERPETUAL, SPOT, START_NS, givens, instrument
from tests.reference.positions import PlainBooks, zero_sum

ORIGIN = Origin(9, 0, 77, 3)
ONE = 10**8
SECOND_NS = 1_000_000_000
USDT, BTC, BNB = (instrument_id(name) for name in ("USDT", "BTC", "BNB"))
ACCOUNT, STRATEGY = 21, 5
BUY, SELL = int(Side.BUY), int(Side.SELL)
CASH = LedgerAccount.CASH
Values = Mapping[str, int | str]


class Books:
    """The rule with a state, fed row by row."""

    def __init__(self, **parameters: int) -> None:
        self.rule = Positions(PositionsParameters(**parameters))
        self.state: State = self.rule.initial_state()
        self.out = Outputs(self.rule.outputs, ORIGIN)
        self.now_ns, self.number, self.trade_id = START_NS, 0, 0
        for number in (PERPETUAL, DELIVERY, SPOT):
            self.give(instrument(number))

    def give(self, one: Given) -> Outputs:
        """What the row alone made the rule say."""
        self.number += 1
        row, texts = filled(self.rule.inputs[one.input], one.values)
        self.out = Outputs(self.rule.outputs, ORIGIN)
        heap = np.frombuffer(texts, dtype=np.uint8)
        self.rule.on_batch(self.state, Batch(one.input, ORIGIN, self.number, row, heap), self.out)
        return self.out

    def fill(self, side: int, quantity: float, price: float, **others: int) -> Rows:
        """Position rows that a fill made."""
        self.trade_id += 1
        values: dict[str, int | str] = {
            "account": ACCOUNT, "strategy": STRATEGY, "instrument": PERPETUAL, "side": side,
            "quantity_e8": round(quantity * ONE), "price_e8": round(price * ONE), "trade_id": self.trade_id,
            "ts_event_ns": self.now_ns, "ts_recv_ns": self.now_ns, "realised_e8": NOT_SAID,
        }  # fmt: skip
        return rows(self.give(Given(FILL_INPUT, values | others, 0)), POSITION_OUTPUT)

    def quote(self, bid: float, ask: float, trust: Trust = Trust.SYNCED, number: int = PERPETUAL) -> Rows:
        """Position rows that a quote made."""
        values: dict[str, int | str] = {
            "instrument": number, "bid_price_e8": round(bid * ONE), "ask_price_e8": round(ask * ONE),
            "trust": int(trust), "ts_event_ns": self.now_ns - 7, "ts_recv_ns": self.now_ns,
        }  # fmt: skip
        return rows(self.give(Given(QUOTE_INPUT, values, 0)), POSITION_OUTPUT)

    def update(self, what: AccountEvent, amount: int, **others: int) -> Outputs:
        values: dict[str, int | str] = {
            "account": ACCOUNT, "what": int(what), "amount_e8": amount, "asset": USDT, "balance_e8": NOT_SAID,
            "ts_event_ns": self.now_ns, "ts_recv_ns": self.now_ns,
        }  # fmt: skip
        return self.give(Given(ACCOUNT_INPUT, values | others, 0))

    def cash(self, asset: int = USDT) -> int:
        return balance_e8(self.state, ACCOUNT, asset, CASH)

    @property
    def refusal(self) -> tuple[DeadReason, str]:
        [dead] = self.out.dead
        assert self.out.emitted == []
        at, size = int(dead.rows["detail_at"][0]), int(dead.rows["detail_size"][0])
        return DeadReason(dead.rows["reason"][0]), dead.heap[at : at + size].tobytes().decode()


def rows(out: Outputs, output: int) -> Rows:
    found = [emitted.rows for emitted in out.emitted if emitted.output == output]
    return np.concatenate(found) if found else out.events[output].empty(0)


def held(position: Rows) -> tuple[float, float, float]:
    """Quantity, cost and realised profit of the only row."""
    [row] = position
    return float(row["quantity_e8"]) / ONE, float(row["cost_e8"]) / ONE, float(row["realised_e8"]) / ONE


# --- positions ---


def test_fills_open_add_reduce_and_close_at_the_average_price() -> None:
    books = Books()
    assert held(books.fill(BUY, 2, 100)) == (2, 200, 0)
    assert held(books.fill(BUY, 1, 130)) == (3, 330, 0)
    assert held(books.fill(SELL, 1, 120)) == (2, 220, 10)
    assert held(books.fill(SELL, 2, 100)) == (0, 0, -10)


def test_shorts_are_the_mirror_of_longs() -> None:
    books = Books()
    assert held(books.fill(SELL, 2, 100)) == (-2, -200, 0)
    assert held(books.fill(SELL, 1, 130)) == (-3, -330, 0)
    assert held(books.fill(BUY, 1, 120)) == (-2, -220, -10)
    assert held(books.fill(BUY, 2, 100)) == (0, 0, 10)


def test_partial_close_realises_and_leaves_the_average_price_alone() -> None:
    """C-18: a partial close averaged the closing price into the position instead of realising."""
    books = Books()
    books.fill(BUY, 4, 50)
    quantity, cost, realised = held(books.fill(SELL, 1, 90))
    assert (cost / quantity, realised) == (50, 40)


def test_second_partial_fill_of_an_order_counts() -> None:
    """C-18: fills were told apart by their order, so the second part of an order was dropped."""
    books = Books()
    books.fill(BUY, 1, 100, order_id=4)
    assert held(books.fill(BUY, 2, 100, order_id=4)) == (3, 300, 0)


def test_flip_through_zero_realises_the_old_side_and_opens_the_new_one_at_the_fill() -> None:
    """C-15: after a flip the average price mixed both sides."""
    books = Books()
    books.fill(BUY, 1, 100)
    assert held(books.fill(SELL, 3, 110)) == (-2, -220, 10)
    assert held(books.fill(BUY, 5, 105)) == (3, 315, 20)


def test_position_without_a_mark_says_so_and_shows_no_profit() -> None:
    """C-15: exposure and profit were taken at a price of zero before the first quote."""
    books = Books()
    [row] = books.fill(BUY, 1, 100)
    assert (int(row["mark_price_e8"]), int(row["unrealised_e8"])) == (0, 0)
    assert len(books.quote(0, 101)) == 0  # no bid: still nothing to close at
    books.now_ns += SECOND_NS
    [row] = books.quote(98, 101)
    assert (int(row["mark_price_e8"]), int(row["unrealised_e8"])) == (98 * ONE, -2 * ONE)


def test_profit_losses_and_fees_change_with_every_fill() -> None:
    """C-14: profit, drawdown and streaks were never updated from fills."""
    books = Books()
    books.fill(BUY, 1, 100, fee_e8=5, fee_asset=USDT)
    [row] = books.fill(SELL, 1, 90, fee_e8=4, fee_asset=USDT)
    assert (int(row["realised_e8"]), int(row["fees_e8"])) == (-10 * ONE, 9)
    assert books.cash() == -10 * ONE - 9


def test_fully_closed_cost_is_zero_whatever_was_rounded() -> None:
    books = Books()
    books.fill(BUY, 3e-8, 0.33333333)
    books.fill(BUY, 4e-8, 0.77777777)
    for _ in range(6):
        books.fill(SELL, 1e-8, 0.55555555)
    [row] = books.fill(SELL, 1e-8, 0.55555555)
    assert (int(row["quantity_e8"]), int(row["cost_e8"]), int(row["lots"])) == (0, 0, 0)


def test_multiplier_is_part_of_what_a_fill_is_worth() -> None:
    books = Books()
    books.fill(BUY, 10, 100, instrument=DELIVERY)  # 0.3 of the base asset each
    assert held(books.fill(SELL, 10, 101, instrument=DELIVERY)) == (0, 0, 3)


def test_positions_are_kept_per_account_strategy_and_instrument() -> None:
    books = Books()
    books.fill(BUY, 1, 100)
    assert held(books.fill(SELL, 1, 100, strategy=6)) == (-1, -100, 0)
    assert held(books.fill(SELL, 1, 100, account=22)) == (-1, -100, 0)
    assert held(books.fill(BUY, 1, 100, instrument=DELIVERY)) == (1, 30, 0)
    assert held(books.fill(BUY, 1, 102)) == (2, 202, 0)


def test_lots_close_first_in_first_out_and_agree_with_the_average_once_flat() -> None:
    books = Books()
    books.fill(BUY, 1, 100)
    assert int(books.fill(BUY, 1, 120)["lots"][0]) == 2
    [row] = books.fill(SELL, 1, 130)
    assert (int(row["realised_e8"]), int(row["lots"])) == (20 * ONE, 1)  # by average cost
    assert int(books.state["positions"][0, FIFO]) == 30 * ONE  # by lots
    [row] = books.fill(SELL, 1, 130)
    assert int(row["realised_e8"]) == int(books.state["positions"][0, FIFO]) == 40 * ONE


def test_lots_beyond_their_bound_go_into_the_newest() -> None:
    books = Books(lots_max=2)
    for price in (100, 110, 130):
        [row] = books.fill(BUY, 1, price)
    assert int(row["lots"]) == 2
    books.fill(SELL, 1, 100)
    assert int(books.state["positions"][0, FIFO]) == 0
    books.fill(SELL, 1, 120)
    assert int(books.state["positions"][0, FIFO]) == 0  # the second lot's price is (110 + 130) ÷ 2


# --- marks ---


def test_long_is_marked_at_the_bid_and_short_at_the_offer() -> None:
    books = Books(mark_every_ns=0)
    books.fill(BUY, 2, 100)
    [row] = books.quote(103, 105)
    assert (int(row["mark_price_e8"]), int(row["unrealised_e8"])) == (103 * ONE, 6 * ONE)
    [row] = books.fill(SELL, 4, 104)
    assert (int(row["mark_price_e8"]), int(row["unrealised_e8"])) == (105 * ONE, -2 * ONE)
    [row] = books.quote(103, 106)
    assert int(row["unrealised_e8"]) == -4 * ONE


@pytest.mark.parametrize("trust", [trust for trust in Trust if trust is not Trust.SYNCED])
def test_books_that_are_not_trusted_mark_nothing(trust: Trust) -> None:
    books = Books(mark_every_ns=0)
    books.fill(BUY, 1, 100)
    books.quote(103, 105)
    assert len(books.quote(1, 2, trust)) == 0
    [row] = books.fill(BUY, 1, 100)
    assert int(row["mark_price_e8"]) == 103 * ONE


def test_marks_that_do_not_concern_a_position_say_nothing() -> None:
    books = Books(mark_every_ns=0)
    assert len(books.quote(103, 105)) == 0  # nothing held
    books.fill(BUY, 1, 100)
    assert len(books.quote(103, 106)) == 0  # a long is not closed at the offer
    assert len(books.quote(1, 2, number=DELIVERY)) == 0
    assert len(books.quote(1, 2, number=99)) == 0


def test_marks_say_at_most_one_row_an_interval_and_never_leave_the_last_out() -> None:
    books = Books(mark_every_ns=SECOND_NS)
    books.fill(BUY, 1, 100)
    books.now_ns += SECOND_NS
    assert int(books.quote(101, 109)["mark_price_e8"][0]) == 101 * ONE
    for bid in (102, 103, 104):
        books.now_ns += SECOND_NS // 10
        assert len(books.quote(bid, 109)) == 0
    due_ns = START_NS + 2 * SECOND_NS
    assert books.rule.next_deadline_ns(books.state) == due_ns
    out = Outputs(books.rule.outputs, NO_ORIGIN)
    books.rule.on_time(books.state, due_ns + 5, out)
    [row] = rows(out, POSITION_OUTPUT)
    assert (int(row["ts_recv_ns"]), int(row["mark_price_e8"]), int(row["cause_row"])) == (due_ns, 104 * ONE, 0)
    assert books.rule.next_deadline_ns(books.state) == NEVER_NS


def test_row_that_reaches_a_deadline_comes_after_it_and_has_its_own_cause() -> None:
    books = Books(mark_every_ns=SECOND_NS)
    books.fill(BUY, 1, 100)
    books.quote(102, 109)
    books.now_ns += 3 * SECOND_NS
    books.quote(105, 109)
    said = [(item.origin, int(item.rows["mark_price_e8"][0])) for item in books.out.emitted]
    assert said == [(NO_ORIGIN, 102 * ONE), (ORIGIN, 105 * ONE)]


# --- the ledger ---


def test_futures_trade_moves_no_cash_but_profit_and_fee_do() -> None:
    books = Books()
    books.fill(BUY, 2, 100)
    assert rows(books.out, POSTING_OUTPUT).tolist() == []
    books.fill(SELL, 1, 110, fee_e8=7, fee_asset=BNB)
    said = rows(books.out, POSTING_OUTPUT)[["asset", "ledger", "amount_e8", "balance_e8", "entry"]].tolist()
    assert said == [
        (USDT, CASH, 10 * ONE, 10 * ONE, 1),
        (USDT, LedgerAccount.REALISED, -10 * ONE, -10 * ONE, 1),
        (BNB, CASH, -7, -7, 1),
        (BNB, LedgerAccount.FEES, 7, 7, 1),
    ]
    assert rows(books.out, BALANCE_OUTPUT)[["asset", "amount_e8", "venue_e8"]].tolist() == [
        (USDT, 10 * ONE, NOT_SAID),
        (BNB, -7, NOT_SAID),
    ]
    assert rows(books.out, POSITION_OUTPUT)["fees_e8"].tolist() == [0]  # not in the position's money


def test_spot_trade_moves_both_assets() -> None:
    books = Books()
    books.fill(BUY, 2, 100, instrument=SPOT, fee_e8=ONE // 100, fee_asset=BTC)
    assert (books.cash(BTC), books.cash(USDT)) == (2 * ONE - ONE // 100, -200 * ONE)
    books.fill(SELL, 1, 130, instrument=SPOT)
    assert (books.cash(BTC), books.cash(USDT)) == (ONE - ONE // 100, -70 * ONE)
    assert balance_e8(books.state, ACCOUNT, USDT, LedgerAccount.REALISED) == -30 * ONE
    assert balance_e8(books.state, ACCOUNT, USDT, LedgerAccount.EXCHANGE) == 100 * ONE  # what is held, at cost
    assert balance_e8(books.state, ACCOUNT, USDT, LedgerAccount.EQUITY) == 0


def test_funding_reaches_the_position_and_the_ledger() -> None:
    books = Books()
    books.fill(BUY, 1, 100)
    out = books.update(AccountEvent.FUNDING, -30, instrument=PERPETUAL)
    assert rows(out, POSITION_OUTPUT)[["strategy", "funding_e8"]].tolist() == [(STRATEGY, -30)]
    assert rows(out, POSTING_OUTPUT)[["ledger", "amount_e8"]].tolist() == [(CASH, -30), (LedgerAccount.FUNDING, 30)]
    out = books.update(AccountEvent.FUNDING, 4, instrument=PERPETUAL, strategy=STRATEGY)
    assert rows(out, POSITION_OUTPUT)["funding_e8"].tolist() == [-26]


def test_funding_is_shared_by_signed_quantity() -> None:
    books = Books()
    books.fill(BUY, 3, 100)
    books.fill(SELL, 1, 100, strategy=6)
    out = books.update(AccountEvent.FUNDING, -11, instrument=PERPETUAL)
    said = rows(out, POSITION_OUTPUT)[["strategy", "funding_e8"]].tolist()
    assert said == [(STRATEGY, -17), (6, 6)]  # 16.5 and 5.5, halves to even, what is left to the larger
    books.fill(SELL, 2, 100)
    out = books.update(AccountEvent.FUNDING, -5, instrument=PERPETUAL)
    assert rows(out, POSITION_OUTPUT)[["strategy", "funding_e8"]].tolist() == [(0, -5)]  # nobody's: the account is flat


@given(st.integers(-(1 << 62), 1 << 62), st.lists(st.integers(-(1 << 40), 1 << 40), min_size=1, max_size=6))
def test_shares_sum_to_what_is_shared(amount: int, quantities: list[int]) -> None:
    if sum(quantities):
        assert sum(shared(amount, quantities)) == amount


def test_difference_to_the_venue_is_visible_in_the_balance() -> None:
    books = Books()
    out = books.update(AccountEvent.OPENING, 500, balance_e8=500)
    assert rows(out, BALANCE_OUTPUT)[["amount_e8", "venue_e8"]].tolist() == [(500, 500)]
    out = books.update(AccountEvent.TRANSFER, 0, balance_e8=480)  # a statement: nothing moved that we know of
    assert rows(out, BALANCE_OUTPUT)[["amount_e8", "venue_e8"]].tolist() == [(500, 480)]
    assert len(rows(out, POSTING_OUTPUT)) == 0
    out = books.update(AccountEvent.ADJUSTMENT, -20, balance_e8=480)
    assert rows(out, BALANCE_OUTPUT)[["amount_e8", "venue_e8"]].tolist() == [(480, 480)]
    assert balance_e8(books.state, ACCOUNT, USDT, LedgerAccount.ADJUSTMENT) == 20


def test_second_opening_balance_is_a_statement() -> None:
    books = Books()
    books.update(AccountEvent.OPENING, 500, balance_e8=500)
    out = books.update(AccountEvent.OPENING, 510, balance_e8=510)
    assert rows(out, BALANCE_OUTPUT)[["amount_e8", "venue_e8"]].tolist() == [(500, 510)]


def test_venue_that_says_no_balance_leaves_the_last_one() -> None:
    books = Books()
    books.update(AccountEvent.OPENING, 500, balance_e8=500)
    out = books.update(AccountEvent.TRANSFER, 7)
    assert rows(out, BALANCE_OUTPUT)[["amount_e8", "venue_e8"]].tolist() == [(507, 500)]


# --- refusals ---


def unchanged(books: Books, before: dict[str, bytes]) -> bool:
    return {name: array.tobytes() for name, array in books.state.items()} == before


def frozen(books: Books) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in books.state.items()}


def test_repeated_trade_is_refused_but_the_other_side_of_it_is_not() -> None:
    books = Books()
    books.fill(BUY, 1, 100, trade_id=8)
    before = frozen(books)
    books.fill(BUY, 1, 100, trade_id=8)
    assert books.refusal == (DeadReason.UNEXPECTED, "trade 8 was accounted for before")
    assert unchanged(books, before)
    assert held(books.fill(SELL, 1, 100, trade_id=8)) == (0, 0, 0)  # traded with oneself


def test_repeated_movement_is_refused() -> None:
    books = Books()
    books.update(AccountEvent.FUNDING, 5, venue_id=77)
    before = frozen(books)
    books.update(AccountEvent.FUNDING, 5, venue_id=77)
    assert books.refusal == (DeadReason.UNEXPECTED, "FUNDING 77 of this account was posted before")
    assert unchanged(books, before)


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        ({"instrument": 99}, DeadReason.UNKNOWN_INSTRUMENT, "instrument 99 is not known"),
        ({"price_e8": 1 << 62, "quantity_e8": 1 << 62}, DeadReason.OUT_OF_RANGE, "notional would be"),
        ({"quantity_e8": (1 << 63) - 1, "price_e8": 1}, DeadReason.OUT_OF_RANGE, "quantity would be"),
        ({"fee_e8": 1}, DeadReason.OUT_OF_RANGE, "fee asset is missing"),
        ({"account": 23}, DeadReason.LIMIT, "accounts_max = 1"),
        ({"strategy": 6}, DeadReason.LIMIT, "positions_max = 1"),
    ],
)
def test_fill_that_cannot_be_taken_changes_nothing(fault: dict[str, int], reason: DeadReason, words: str) -> None:
    books = Books(accounts_max=1, positions_max=2 if "account" in fault else 1)
    books.fill(BUY, 1, 100, fee_e8=1, fee_asset=USDT)
    before = frozen(books)
    books.fill(BUY, 1, 100, **fault)
    assert books.refusal[0] is reason
    assert words in books.refusal[1]
    assert unchanged(books, before)


def test_quote_that_would_overflow_a_profit_is_refused() -> None:
    books = Books(mark_every_ns=0)
    books.fill(BUY, 1000, 1)
    before = frozen(books)
    books.quote(40_000_000_000, 40_000_000_001)
    assert books.refusal[0] is DeadReason.OUT_OF_RANGE
    assert unchanged(books, before)


def test_inverse_contracts_and_options_are_refused() -> None:
    books = Books()
    inverse = instrument(PERPETUAL)
    books.give(inverse._replace(values={**inverse.values, "settle": "BTC"}))
    books.fill(BUY, 1, 100)
    assert "inverse contract" in books.refusal[1]
    books.give(inverse._replace(values={**inverse.values, "kind": 4 - 1}))
    books.fill(BUY, 1, 100)
    assert "kind OPTION" in books.refusal[1]


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigInvalid, match="Rule positions: lots_max is 0"):
        Positions.make({"lots_max": 0})


# --- against the plain reference ---


@pytest.mark.parametrize(
    ("numerator", "denominator", "result"), [(5, 2, 2), (7, 2, 4), (-5, 2, -2), (-7, 2, -4), (7, -2, -4), (8, 3, 3)]
)
def test_halves_go_to_the_even_number(numerator: int, denominator: int, result: int) -> None:
    assert divide_half_even(numerator, denominator) == result


def check_position(row: np.void, plain: PlainBooks) -> None:
    twin = plain.positions[int(row["account"]), int(row["strategy"]), int(row["instrument"])]
    columns = ("quantity_e8", "cost_e8", "realised_e8", "fees_e8", "funding_e8", "lots")
    wanted = (twin.quantity, twin.cost, twin.realised, twin.fees, twin.funding, len(twin.lots))
    assert tuple(int(row[name]) for name in columns) == wanted


def play(plain: PlainBooks, one: Given) -> None:
    """A row that the rule took, into the twin."""
    values = {name: int(value) for name, value in one.values.items() if not isinstance(value, str)}
    key = (values.get("account", 0), values.get("strategy", 0), values["instrument"])
    if one.input == FILL_INPUT:
        sign = 1 if values["side"] == BUY else -1
        multiplier = {PERPETUAL: ONE, DELIVERY: 3 * ONE // 10}[key[2]]
        booked = None if values["realised_e8"] == NOT_SAID else values["realised_e8"]
        plain.fill(key, sign * values["quantity_e8"], values["price_e8"], multiplier, USDT, booked)
        plain.fee(key, values["fee_e8"], values["fee_asset"], USDT)
    elif one.input == ACCOUNT_INPUT:
        amount, asset = values["amount_e8"], values["asset"]
        if values["what"] == AccountEvent.FUNDING and asset == USDT and values["strategy"]:
            plain.post(key[0], asset, LedgerAccount.FUNDING, amount)
            plain.positions[key].funding += amount
        elif values["what"] == AccountEvent.FUNDING and asset == USDT and amount:
            plain.fund(key[0], key[2], amount, asset)
        elif values["what"] == AccountEvent.FUNDING:
            plain.post(key[0], asset, LedgerAccount.FUNDING, amount)


@settings(max_examples=150, deadline=None)
@given(givens(60, (PERPETUAL, DELIVERY)))
def test_positions_and_ledger_equal_the_plain_reference(session: list[Given]) -> None:
    """Fills, fees, funding, flips, transfers; refused rows among them."""
    books, plain = Books(lots_max=3, trades_remembered=64), PlainBooks(3)
    lines: list[tuple[int, int, int, int]] = []
    moved_in: dict[tuple[int, int], int] = defaultdict(int)
    opened: set[tuple[int, int]] = set()
    for one in session:
        out = books.give(one)
        said = rows(out, POSITION_OUTPUT)
        for row in said[said["cause_row"] == 0]:  # a timer that was due before the row
            check_position(row, plain)
        if not out.dead:
            play(plain, one)
            values = {name: int(value) for name, value in one.values.items() if not isinstance(value, str)}
            where = (values.get("account", 0), values.get("asset", 0))
            if one.input == ACCOUNT_INPUT and values["what"] != AccountEvent.FUNDING:
                repeated = values["what"] == AccountEvent.OPENING and where in opened
                moved_in[where] += 0 if repeated else values["amount_e8"]
                opened |= {where} if values["what"] == AccountEvent.OPENING else set()
        posted = rows(out, POSTING_OUTPUT)[["account", "entry", "asset", "amount_e8"]].tolist()
        assert zero_sum(posted)
        lines += posted
        for row in said[said["cause_row"] != 0]:
            check_position(row, plain)
    assert zero_sum(lines)
    for (account, asset), amount in moved_in.items():
        cash = balance_e8(books.state, account, asset, CASH)
        parts = {kind: balance_e8(books.state, account, asset, kind) for kind in LedgerAccount}
        assert sum(parts.values()) == 0
        # opening, transfers and adjustments; profit as the venue booked it; fees; funding
        assert cash == amount + plain.ledger[account, asset, CASH]
        for kind in (LedgerAccount.REALISED, LedgerAccount.FEES, LedgerAccount.FUNDING, LedgerAccount.CLEARING):
            assert parts[kind] == plain.ledger[account, asset, kind]
        realised, fees, funding = (
            -parts[LedgerAccount.REALISED], parts[LedgerAccount.FEES], -parts[LedgerAccount.FUNDING]
        )  # fmt: skip
        if asset == USDT:
            its = [position for key, position in plain.positions.items() if key[0] == account]
            assert realised == sum(position.realised for position in its)
            assert fees == sum(position.fees for position in its)
            assert funding == sum(position.funding for position in its)


@settings(max_examples=100, deadline=None)
@given(givens(60, (SPOT,)))
def test_spot_balances_are_what_was_bought_sold_and_paid(session: list[Given]) -> None:
    books = Books()
    wanted: dict[int, int] = defaultdict(int)
    spent = 0
    opened: set[int] = set()
    for one in session:
        out = books.give(one)
        assert zero_sum(rows(out, POSTING_OUTPUT)[["account", "entry", "asset", "amount_e8"]].tolist())
        values = {name: int(value) for name, value in one.values.items() if not isinstance(value, str)}
        if out.dead or one.input not in (FILL_INPUT, ACCOUNT_INPUT):
            continue
        if one.input == ACCOUNT_INPUT:
            if not (values["what"] == AccountEvent.OPENING and values["asset"] in opened):
                wanted[values["asset"]] += values["amount_e8"]
            opened |= {values["asset"]} if values["what"] == AccountEvent.OPENING else set()
            continue
        sign = 1 if values["side"] == BUY else -1
        worth = divide_half_even(sign * values["price_e8"] * values["quantity_e8"], ONE)
        wanted[BTC] += sign * values["quantity_e8"]
        wanted[USDT] -= worth
        wanted[values["fee_asset"]] -= values["fee_e8"]
        spent += worth
    assert {asset: balance_e8(books.state, SPOT, asset, CASH) for asset in wanted} == wanted
    lines = books.state["positions"][: int(books.state["positions_used"][0])]
    assert sum(int(line[4]) - int(line[5]) for line in lines) == spent  # cost − realised = bought − sold


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 10**9), st.integers(1, 10**11)), min_size=1, max_size=30))
def test_lots_and_average_agree_in_total_once_flat(trades: list[tuple[bool, int, int]]) -> None:
    books = Books(lots_max=4)
    quantity = 0
    for buys, amount, price in trades:
        quantity += amount if buys else -amount
        books.fill(BUY if buys else SELL, amount / ONE, price / ONE)
    if quantity:
        books.fill(SELL if quantity > 0 else BUY, abs(quantity) / ONE, 61_000)
    line = books.state["positions"][0].tolist()
    assert line[3:5] == [0, 0]
    assert line[5] == line[FIFO]
    assert not books.state["lots"].any()
