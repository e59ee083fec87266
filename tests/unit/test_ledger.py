"""The ledger by itself: entries that sum to zero, bounds that refuse, repeats."""

from __future__ import annotations

import pytest

from processors.api import State
from processors.ledger import Ledger, Line, balance_e8, exchanged, moved, settled
from processors.refused import Refused
from schemas.events import DeadReason
from schemas.money import I64_MAX
from schemas.trading import AccountEvent, LedgerAccount

CASH, REALISED, FEES, EQUITY, CLEARING, EXCHANGE, ADJUSTMENT = (
    LedgerAccount.CASH,
    LedgerAccount.REALISED,
    LedgerAccount.FEES,
    LedgerAccount.EQUITY,
    LedgerAccount.CLEARING,
    LedgerAccount.EXCHANGE,
    LedgerAccount.ADJUSTMENT,
)
USDT, BTC = 3, 4


def ledger(balances_max: int = 4, accounts_max: int = 2) -> tuple[Ledger, State]:
    made = Ledger(balances_max, accounts_max, 2)
    return made, made.arrays()


def put(made: Ledger, state: State, account: int, lines: list[Line]) -> list[tuple[int, LedgerAccount, int, int, int]]:
    draft = made.draft(state, account, lines)
    made.post(state, draft)
    return [(*posted.line, posted.balance_e8, posted.entry) for posted in draft.posted]


def test_lines_of_an_entry_share_its_number_and_say_the_running_balance() -> None:
    made, state = ledger()
    assert put(made, state, 1, moved(USDT, EQUITY, 100)) == [(USDT, CASH, 100, 100, 1), (USDT, EQUITY, -100, -100, 1)]
    lines = moved(USDT, REALISED, 30) + moved(USDT, FEES, -2)
    assert put(made, state, 1, lines) == [
        (USDT, CASH, 30, 130, 2),
        (USDT, REALISED, -30, -30, 2),
        (USDT, CASH, -2, 128, 2),
        (USDT, FEES, 2, 2, 2),
    ]
    assert put(made, state, 2, moved(USDT, EQUITY, 7))[0] == (USDT, CASH, 7, 7, 1)  # entries count per account
    assert balance_e8(state, 1, USDT, CASH) == 128
    assert balance_e8(state, 1, BTC, CASH) == 0


def test_nothing_moved_is_no_line() -> None:
    assert moved(USDT, FEES, 0) == []
    made, state = ledger()
    assert put(made, state, 1, []) == []
    assert put(made, state, 1, moved(USDT, FEES, 1))[0][-1] == 1  # and used up no number


def test_spot_purchase_and_sale_exchange_two_assets() -> None:
    """Bought 2 for 200, sold 1 for 130: 30 are profit, 100 of cost are left."""
    made, state = ledger()
    put(made, state, 1, exchanged(BTC, USDT, 2, 200, 200))
    put(made, state, 1, exchanged(BTC, USDT, -1, -130, -100))
    assert {asset: balance_e8(state, 1, asset, CASH) for asset in (BTC, USDT)} == {BTC: 1, USDT: -70}
    assert balance_e8(state, 1, USDT, REALISED) == -30
    assert {asset: balance_e8(state, 1, asset, EXCHANGE) for asset in (BTC, USDT)} == {BTC: -1, USDT: 100}
    assert balance_e8(state, 1, USDT, EQUITY) == 0


@pytest.mark.parametrize(
    ("booked", "own", "adjustment", "lines"),
    [
        (30, 30, 0, [(CASH, 30), (REALISED, -30)]),
        (-31, -30, 0, [(CASH, -31), (REALISED, 30), (CLEARING, 1)]),
        (30, 0, 0, [(CASH, 30), (CLEARING, -30)]),
        (0, 30, 0, [(REALISED, -30), (CLEARING, 30)]),
        (37, 30, 7, [(CASH, 37), (REALISED, -30), (ADJUSTMENT, -7)]),
        (37, 0, 7, [(CASH, 37), (CLEARING, -30), (ADJUSTMENT, -7)]),
        (0, 0, 0, []),
    ],
)
def test_cash_moves_by_what_the_venue_booked_and_profit_by_the_own_position(
    booked: int, own: int, adjustment: int, lines: list[tuple[LedgerAccount, int]]
) -> None:
    assert settled(USDT, booked, own, adjustment) == [Line(USDT, *line) for line in lines]
    assert sum(amount for _, amount in lines) == 0


def test_line_that_no_row_can_hold_is_refused_though_the_balance_could() -> None:
    made, state = ledger()
    put(made, state, 1, [Line(USDT, CASH, -I64_MAX), Line(USDT, EQUITY, I64_MAX)])
    with pytest.raises(Refused, match=r"CASH would stand at 0\.00000001 after 92233720368\.54775808"):
        made.draft(state, 1, [Line(USDT, CASH, I64_MAX + 1)])


def test_balance_that_leaves_its_range_is_refused_whole() -> None:
    made, state = ledger()
    put(made, state, 1, moved(USDT, EQUITY, I64_MAX))
    before = {name: array.tobytes() for name, array in state.items()}
    with pytest.raises(Refused) as fault:
        made.draft(state, 1, [*moved(BTC, EQUITY, 5), *moved(USDT, EQUITY, 1)])
    assert fault.value.reason is DeadReason.OUT_OF_RANGE
    assert "CASH would stand at 92233720368.54775808" in str(fault.value)
    assert {name: array.tobytes() for name, array in state.items()} == before


def test_more_assets_or_accounts_than_fit_are_refused() -> None:
    made, state = ledger(balances_max=2, accounts_max=1)
    put(made, state, 1, moved(USDT, EQUITY, 1) + moved(BTC, EQUITY, 1))
    with pytest.raises(Refused, match="balances_max = 2"):
        made.draft(state, 1, moved(5, EQUITY, 1))
    made, state = ledger(balances_max=2, accounts_max=1)
    put(made, state, 1, moved(USDT, EQUITY, 1))
    with pytest.raises(Refused, match="accounts_max = 1"):
        made.draft(state, 2, moved(USDT, EQUITY, 1))


def test_movement_is_known_by_kind_and_id_until_it_is_forgotten() -> None:
    made, state = ledger()
    put(made, state, 1, moved(USDT, EQUITY, 1))
    transfer, funding = AccountEvent.TRANSFER, AccountEvent.FUNDING
    made.remember(state, 1, USDT, transfer, 9)
    assert made.is_repeat(state, 1, USDT, transfer, 9)
    assert not made.is_repeat(state, 1, USDT, funding, 9)
    assert not made.is_repeat(state, 2, USDT, transfer, 9)
    for other in (10, 11):
        made.remember(state, 1, USDT, transfer, other)
    assert not made.is_repeat(state, 1, USDT, transfer, 9)
    made.remember(state, 1, USDT, transfer, 0)  # no id
    assert not made.is_repeat(state, 1, USDT, transfer, 0)
