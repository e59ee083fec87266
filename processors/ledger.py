"""The double-entry ledger: who owns what in which asset, and why.

An *entry* is what one cause moved: lines whose amounts sum to zero in every asset. A line above 0 debits its ledger
account, one below 0 credits it, so that per asset all accounts together are 0 after every entry:

    what happened                        CASH        against
    realised profit of a derivative:     +v          REALISED −p, CLEARING p − v
      the venue booked v, of the strategy's own position it is p
    the same, and v is not a             +v          REALISED −p, CLEARING p − n, ADJUSTMENT n − v
      rounding away from n, the profit of the account's net position
    fee f (a rebate is below 0)          −f          FEES +f
    funding a, above 0 towards us        +a          FUNDING −a
    transfer, opening balance a          +a          EQUITY −a
    difference found a                   +a          ADJUSTMENT −a
    spot, quote asset: paid n, sold at   −n or +n    EXCHANGE: the cost that came in or went out;
      a profit of p over its cost                      REALISED −p
    spot, base asset: quantity q         +q or −q    EXCHANGE −q or +q

So the sum over all of them is 0, to the last unit, and CASH is what the venue's wallet holds.

CLEARING is between the strategies of one account. The venue knows one position per instrument: where one strategy is
long and another is short, it realises at other times than either of them. What it has booked and no strategy has
realised yet stands here (below 0), or what they have and it has not (above 0); and the venue's roundings. Once all
positions are flat only those are left. Without a word of the venue, v is n.

EXCHANGE is the other half of an exchange of assets: cost is nobody's profit, and EQUITY is only what was put in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from processors.api import State
from processors.kernels import positions_layout as lay
from processors.refused import Refused
from processors.tables import Table
from schemas.events import DeadReason, InstrumentKind
from schemas.money import I64_MAX, format_e8
from schemas.trading import NOT_SAID, AccountEvent, LedgerAccount

AGAINST: dict[AccountEvent, LedgerAccount] = {
    AccountEvent.FUNDING: LedgerAccount.FUNDING,
    AccountEvent.TRANSFER: LedgerAccount.EQUITY,
    AccountEvent.ADJUSTMENT: LedgerAccount.ADJUSTMENT,
    AccountEvent.OPENING: LedgerAccount.EQUITY,
}
TWO_ASSETS = frozenset({InstrumentKind.SPOT, InstrumentKind.EQUITY})  # a trade exchanges base for quote
LINEAR = frozenset({InstrumentKind.PERPETUAL, InstrumentKind.FUTURE})  # a trade moves no cash until it realises


class Line(NamedTuple):
    """One line of an entry."""

    asset: int
    ledger: LedgerAccount
    amount_e8: int


class Posted(NamedTuple):
    """One line as it was posted."""

    line: Line
    balance_e8: int
    entry: int


class Draft(NamedTuple):
    """An entry that fits, not yet in the state."""

    account: int
    posted: list[Posted]
    balances: dict[int, list[int]]  # by asset: the line of the table as it will be
    places: dict[int, int]  # by asset: which line; -1 for one that is to be added
    account_at: int  # line of the account; -1 for one that is to be added


def moved(asset: int, against: LedgerAccount, amount_e8: int) -> list[Line]:
    """Cash comes (above 0) or goes, against another account; nothing for 0."""
    if amount_e8 == 0:
        return []
    return [Line(asset, LedgerAccount.CASH, amount_e8), Line(asset, against, -amount_e8)]


def settled(asset: int, booked_e8: int, own_e8: int, adjustment_e8: int) -> list[Line]:
    """Profit of a derivative.

    Args:
        booked_e8: as the venue booked it.
        own_e8: of the strategy's own position.
        adjustment_e8: the part of `booked_e8` that no rounding explains.
    """
    amounts = (
        (LedgerAccount.CASH, booked_e8),
        (LedgerAccount.REALISED, -own_e8),
        (LedgerAccount.CLEARING, own_e8 + adjustment_e8 - booked_e8),
        (LedgerAccount.ADJUSTMENT, -adjustment_e8),
    )
    return [Line(asset, ledger, amount) for ledger, amount in amounts if amount]


def exchanged(
    base: int, quote: int, signed_quantity_e8: int, signed_notional_e8: int, cost_change_e8: int
) -> list[Line]:
    """A trade of two assets, above 0 bought.

    Args:
        cost_change_e8: of the position; with the notional it says what was realised.
    """
    realised = cost_change_e8 - signed_notional_e8
    lines = moved(base, LedgerAccount.EXCHANGE, signed_quantity_e8)
    if signed_notional_e8:
        lines.append(Line(quote, LedgerAccount.CASH, -signed_notional_e8))
    if cost_change_e8:
        lines.append(Line(quote, LedgerAccount.EXCHANGE, cost_change_e8))
    if realised:
        lines.append(Line(quote, LedgerAccount.REALISED, -realised))
    return lines


class Ledger:
    """Balances and entries in a rule's state: arrays `balances`, `movements`, `accounts`.

    Args:
        balances_max: (account, asset) pairs.
        accounts_max: accounts.
        movements_remembered: ids of movements per balance and kind that are known as repeats.
    """

    def __init__(self, balances_max: int, accounts_max: int, movements_remembered: int) -> None:
        beside = {"movements": ("<i8", (len(AccountEvent), movements_remembered))}
        self.balances = Table("balances", lay.BALANCE_COLUMNS, 2, balances_max, beside)
        self.accounts = Table("accounts", 2, 1, accounts_max)
        self._remembered = movements_remembered

    def arrays(self) -> State:
        return self.balances.arrays() | self.accounts.arrays()

    def draft(self, state: State, account: int, lines: Sequence[Line], also: Sequence[int] = ()) -> Draft:
        """An entry made of `lines`, checked against every bound; the state stays as it is.

        Args:
            also: assets whose balance is touched without a line.

        Raises:
            Refused: a line or a balance leaves its range, or there is no room for a new account or asset.
        """
        table, accounts = self.balances, self.accounts
        balances: dict[int, list[int]] = {}
        places: dict[int, int] = {}
        for asset in dict.fromkeys([*[line.asset for line in lines], *also]):
            at = places[asset] = table.find(state, account, asset)
            balances[asset] = state["balances"][at].tolist() if at >= 0 else _new_balance(account, asset)
        if -1 in places.values() and not table.has_room(state, list(places.values()).count(-1)):
            raise Refused(DeadReason.LIMIT, f"more balances than balances_max = {table.lines_max}")
        at = accounts.find(state, account)
        if at < 0 and not accounts.has_room(state):
            raise Refused(DeadReason.LIMIT, f"more accounts than accounts_max = {accounts.lines_max}")
        entry = 1 + (state["accounts"].item(at, lay.ENTRIES) if at >= 0 else 0)
        posted = []
        for line in lines:
            asset, ledger, amount = line
            balance = balances[asset]
            value = balance[lay.BALANCE_OF + ledger] + amount
            if not (-I64_MAX <= value <= I64_MAX and -I64_MAX <= amount <= I64_MAX):
                raise Refused(
                    DeadReason.OUT_OF_RANGE,
                    f"ledger account {ledger.name} would stand at {format_e8(value)} after "
                    f"{format_e8(amount)}: out of range",
                )
            balance[lay.BALANCE_OF + ledger] = value
            posted.append(Posted(line, value, entry))
        return Draft(account, posted, balances, places, at)

    def post(self, state: State, draft: Draft) -> None:
        """Bring an entry into the state."""
        for asset, values in draft.balances.items():
            at = draft.places[asset]
            if at < 0:
                at = self.balances.add(state, draft.account, asset)
            state["balances"][at] = values
        at = draft.account_at
        if at < 0:
            at = self.accounts.add(state, draft.account)
        if draft.posted:
            state["accounts"][at, lay.ENTRIES] += 1

    def is_repeat(self, state: State, account: int, asset: int, what: AccountEvent, venue_id: int) -> bool:
        """Whether a movement with this id of the venue's was posted already."""
        at = self.balances.find(state, account, asset)
        return at >= 0 and venue_id != 0 and bool((state["movements"][at, what] == venue_id).any())

    def remember(self, state: State, account: int, asset: int, what: AccountEvent, venue_id: int) -> None:
        """Note the id of a movement that was posted; the oldest one is forgotten."""
        if venue_id:
            at = self.balances.find(state, account, asset)
            count = state["balances"][at]
            state["movements"][at, what, count[lay.MOVEMENTS + what] % self._remembered] = venue_id
            count[lay.MOVEMENTS + what] += 1


def _new_balance(account: int, asset: int) -> list[int]:
    values = [0] * lay.BALANCE_COLUMNS
    values[lay.OWNER], values[lay.ASSET], values[lay.VENUE_SAYS] = account, asset, NOT_SAID
    return values


def balance_e8(state: State, account: int, asset: int, ledger: LedgerAccount) -> int:
    """A ledger account's balance; 0 before its first line."""
    lines = state["balances"][: int(state["balances_used"][0])]
    hit = lines[(lines[:, lay.OWNER] == account) & (lines[:, lay.ASSET] == asset)]
    return int(hit[0, lay.BALANCE_OF + ledger]) if len(hit) else 0
