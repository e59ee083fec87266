"""Open orders of all accounts, and what they come to by symbol: kept with every change, never summed up anew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from connectors.simulator.listing import E8
from connectors.simulator.private_orders import VenueOrder


@dataclass(slots=True)
class Sums:
    """Of one account's open orders in one symbol; notionals of those that are not reduce-only."""

    orders: int = 0
    reducing: int = 0
    bids_e8: int = 0
    asks_e8: int = 0


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

    def add(self, order: VenueOrder) -> Sums:
        """An order is open; returns the sums that it is part of now."""
        self.of[order.owner][order.number] = order
        sums = self.sums(order.owner, order.listed.symbol)
        sums.orders += 1
        if order.is_reduce_only:
            sums.reducing += 1
        else:
            self._count(order, sums)
        return sums

    def recount(self, order: VenueOrder) -> Sums:
        """After price, quantity or what is executed of an order has changed."""
        sums = self.sums(order.owner, order.listed.symbol)
        if not order.is_reduce_only and order.number in self.of[order.owner]:
            self._count(order, sums)
        return sums

    @staticmethod
    def _count(order: VenueOrder, sums: Sums) -> None:
        now_e8 = (order.quantity_e8 - order.executed_e8) * order.price_e8 // E8
        change_e8, order.counted_e8 = now_e8 - order.counted_e8, now_e8
        if order.side:
            sums.asks_e8 += change_e8
        else:
            sums.bids_e8 += change_e8

    def remove(self, order: VenueOrder) -> Sums:
        """Take an order off; nothing where it is not open."""
        sums = self.sums(order.owner, order.listed.symbol)
        if self.of[order.owner].pop(order.number, None) is None:
            return sums
        sums.orders -= 1
        if order.is_reduce_only:
            sums.reducing -= 1
        elif order.side:
            sums.asks_e8 -= order.counted_e8
        else:
            sums.bids_e8 -= order.counted_e8
        order.counted_e8 = 0
        return sums

    def symbols(self, account: int) -> list[str]:
        """With an open order, in no order that means anything."""
        return [symbol for symbol, sums in self._sums[account].items() if sums.orders]
