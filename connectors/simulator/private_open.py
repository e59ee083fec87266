"""Open orders of all accounts, and what they come to by symbol: kept with every change, never summed up anew."""

from __future__ import annotations

from collections.abc import Iterable

from connectors.simulator.listing import E8
from connectors.simulator.private_orders import Sums, VenueOrder


class OpenOrders:
    """Who has which orders open.

    Args:
        accounts: numbers of the accounts.

    Attributes:
        of: by account, by number of the order, in the order of acceptance.
    """

    def __init__(self, accounts: Iterable[int]) -> None:
        self.of: dict[int, dict[int, VenueOrder]] = {number: {} for number in accounts}
        self._sums: dict[int, dict[str, Sums]] = {number: {} for number in self.of}

    def sums(self, account: int, symbol: str) -> Sums:
        """Kept with every change: it may be held on to."""
        sums = self._sums[account].get(symbol)
        if sums is None:
            sums = self._sums[account][symbol] = Sums()
        return sums

    def add(self, order: VenueOrder) -> None:
        self.of[order.owner][order.number] = order
        order.sums.orders += 1
        order.sums.reducing += order.is_reduce_only
        self.recount(order, order.left_e8)

    @staticmethod
    def recount(order: VenueOrder, left_e8: int) -> None:
        """After price, quantity or what is executed of an order has changed; 0 is left of one that is over."""
        if order.is_reduce_only:
            return
        notional_e8 = left_e8 * order.price_e8 // E8
        change_e8, order.counted_e8 = notional_e8 - order.counted_e8, notional_e8
        if order.side:
            order.sums.asks_e8 += change_e8
        else:
            order.sums.bids_e8 += change_e8

    def remove(self, order: VenueOrder) -> None:
        """Take an order off; nothing where it is not open."""
        if self.of[order.owner].pop(order.number, None) is None:
            return
        order.sums.orders -= 1
        order.sums.reducing -= order.is_reduce_only
        self.recount(order, 0)

    def symbols(self, account: int) -> list[str]:
        """With an open order, in no order that means anything."""
        return [symbol for symbol, sums in self._sums[account].items() if sums.orders]
