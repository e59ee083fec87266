"""Open orders of all accounts, and what they come to by symbol: kept with every change, never summed up anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from connectors.simulator.private_account import OpenNotional, scaled
from connectors.simulator.private_orders import VenueOrder


@dataclass(slots=True)
class _Sums:
    """Of one account's open orders in one symbol; notionals by side, of those that are not reduce-only."""

    orders: int = 0
    reducing: int = 0
    notional_e8: list[int] = field(default_factory=lambda: [0, 0])


class OpenOrders:
    """Who has which orders open.

    Args:
        accounts: numbers of the accounts.

    Attributes:
        of: by account, by number of the order, in the order of acceptance.
    """

    def __init__(self, accounts: Iterable[int]) -> None:
        self.of: dict[int, dict[int, VenueOrder]] = {number: {} for number in accounts}
        self._sums: dict[tuple[int, str], _Sums] = {}
        self._counted: dict[int, int] = {}  # by order: what of it is in the sums

    def add(self, order: VenueOrder) -> None:
        self.of[order.owner][order.number] = order
        sums = self._sums.setdefault((order.owner, order.listed.symbol), _Sums())
        sums.orders += 1
        sums.reducing += order.is_reduce_only
        self._counted[order.number] = 0
        self.recount(order)

    def recount(self, order: VenueOrder) -> None:
        """After price, quantity or what is executed of an open order has changed."""
        before = self._counted.get(order.number)
        if order.is_reduce_only or before is None:
            return
        now = self._counted[order.number] = scaled(order.left_e8, order.price_e8)
        self._sums[order.owner, order.listed.symbol].notional_e8[order.side] += now - before

    def remove(self, order: VenueOrder) -> None:
        """Take an order off; nothing where it is not open."""
        if self.of[order.owner].pop(order.number, None) is not None:
            sums = self._sums[order.owner, order.listed.symbol]
            sums.orders -= 1
            sums.reducing -= order.is_reduce_only
            sums.notional_e8[order.side] -= self._counted.pop(order.number)

    def count(self, account: int, symbol: str) -> int:
        sums = self._sums.get((account, symbol))
        return sums.orders if sums else 0

    def reducing(self, account: int, symbol: str) -> int:
        """How many of them are reduce-only."""
        sums = self._sums.get((account, symbol))
        return sums.reducing if sums else 0

    def notional(self, account: int, symbol: str) -> OpenNotional:
        """Of those that are not reduce-only."""
        sums = self._sums.get((account, symbol))
        return OpenNotional(*sums.notional_e8) if sums else OpenNotional()

    def symbols(self, account: int) -> list[str]:
        """With an open order, in no order that means anything."""
        return [symbol for (number, symbol), sums in self._sums.items() if number == account and sums.orders]
