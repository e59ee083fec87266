"""Plain twin of processors/positions.py: dictionaries, fractions, and every fill kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from schemas.trading import LedgerAccount

ONE = 10**8


@dataclass
class PlainPosition:
    """One position: a signed quantity, its cost, and lots as a list of single lots."""

    quantity: int = 0
    cost: int = 0
    realised: int = 0
    fees: int = 0
    funding: int = 0
    lots: list[list[int]] = field(default_factory=list)
    fifo_realised: int = 0

    def fill(self, signed_quantity: int, worth: int) -> None:
        """Worth: what it costs (bought, above 0) or brings (sold, below 0)."""
        if self.quantity == 0 or (self.quantity > 0) == (signed_quantity > 0):
            self.quantity += signed_quantity
            self.cost += worth
        elif abs(signed_quantity) <= abs(self.quantity):
            released = round(Fraction(self.cost * abs(signed_quantity), abs(self.quantity)))
            self.quantity += signed_quantity
            self.cost -= released
            self.realised += -worth - released
        else:
            closing = round(Fraction(worth * abs(self.quantity), abs(signed_quantity)))
            self.realised += -closing - self.cost
            self.quantity += signed_quantity
            self.cost = worth - closing

    def fill_lots(self, signed_quantity: int, worth: int, lots_max: int) -> None:
        while signed_quantity and self.lots and (self.lots[0][0] > 0) != (signed_quantity > 0):
            lot = self.lots[0]
            part = min(abs(lot[0]), abs(signed_quantity))
            paid = round(Fraction(worth * part, abs(signed_quantity)))
            released = round(Fraction(lot[1] * part, abs(lot[0])))
            self.fifo_realised += -paid - released
            sign = 1 if signed_quantity > 0 else -1
            signed_quantity, worth = signed_quantity - sign * part, worth - paid
            lot[0], lot[1] = lot[0] + sign * part, lot[1] - released
            if lot[0] == 0:
                self.lots.pop(0)
        if signed_quantity and len(self.lots) == lots_max:
            self.lots[-1][0] += signed_quantity
            self.lots[-1][1] += worth
        elif signed_quantity:
            self.lots.append([signed_quantity, worth])


@dataclass
class PlainBooks:
    """Positions and ledger of linear contracts, all in one settlement asset except fees."""

    lots_max: int
    positions: dict[tuple[int, int, int], PlainPosition] = field(default_factory=lambda: defaultdict(PlainPosition))
    nets: dict[tuple[int, int], PlainPosition] = field(default_factory=lambda: defaultdict(PlainPosition))
    since_flat: dict[tuple[int, int], Fraction] = field(default_factory=lambda: defaultdict(Fraction))
    ledger: dict[tuple[int, int, LedgerAccount], int] = field(default_factory=lambda: defaultdict(int))

    def post(self, account: int, asset: int, against: LedgerAccount, amount: int) -> None:
        self.ledger[account, asset, LedgerAccount.CASH] += amount
        self.ledger[account, asset, against] -= amount

    def fill(
        self,
        key: tuple[int, int, int],
        signed_quantity: int,
        price: int,
        multiplier: int,
        settle: int,
        booked: int | None = None,
    ) -> PlainPosition:
        """Booked: the venue's own word on what the account has realised."""
        position, account, where = self.positions[key], key[0], (key[0], key[2])
        worth = round(Fraction(price * signed_quantity * multiplier, ONE * ONE))
        before = position.realised
        position.fill(signed_quantity, worth)
        position.fill_lots(signed_quantity, worth, self.lots_max)
        found, profit = self._net_profit(where, signed_quantity, worth, multiplier, booked)
        own = position.realised - before
        self.post(account, settle, LedgerAccount.REALISED, own)
        self.post(account, settle, LedgerAccount.CLEARING, profit - own)
        self.post(account, settle, LedgerAccount.ADJUSTMENT, found)
        return position

    def _net_profit(
        self, where: tuple[int, int], signed_quantity: int, worth: int, multiplier: int, booked: int | None
    ) -> tuple[int, int]:
        """What the venue booked, as (what nothing explains, the rest)."""
        net = self.nets[where]
        was, realised = net.quantity, net.realised
        net.fill(signed_quantity, worth)
        profit = net.realised - realised
        may_round = 4 + round(Fraction(abs(signed_quantity) * multiplier, ONE * ONE))
        self.since_flat[where] = may_round + (self.since_flat[where] if was else Fraction(0))
        within = booked is None or abs(booked - profit) <= self.since_flat[where]
        if was * net.quantity <= 0:
            self.since_flat[where] = Fraction(may_round)
        if booked is None:
            return 0, profit
        return (0, booked) if within else (booked - profit, profit)

    def fee(self, key: tuple[int, int, int], fee: int, asset: int, settle: int) -> None:
        self.positions[key].fees += fee if asset == settle else 0
        self.post(key[0], asset, LedgerAccount.FEES, -fee)

    def fund(self, account: int, instrument: int, amount: int, asset: int) -> None:
        """By signed quantity; strategy 0 gets it when nothing is open."""
        self.post(account, asset, LedgerAccount.FUNDING, amount)
        keys = [key for key, position in self.positions.items() if key[0] == account and key[2] == instrument]
        held = [key for key in keys if self.positions[key].quantity]
        net = sum(self.positions[key].quantity for key in held)
        if net == 0:
            self.positions[account, 0, instrument].funding += amount
            return
        shares = [round(Fraction(amount * self.positions[key].quantity, net)) for key in held]
        sizes = [abs(self.positions[key].quantity) for key in held]
        shares[sizes.index(max(sizes))] += amount - sum(shares)
        for key, share in zip(held, shares, strict=True):
            self.positions[key].funding += share


def zero_sum(lines: Sequence[tuple[int, int, int, int]]) -> bool:
    """Whether lines (account, entry, asset, amount) sum to zero per entry and asset."""
    sums: dict[tuple[int, int, int], int] = defaultdict(int)
    for account, entry, asset, amount in lines:
        sums[account, entry, asset] += amount
    return not any(sums.values())
