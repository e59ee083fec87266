"""Where orders of accounts meet a market: what the private half needs of one, whichever it is.

Prices are ticks, quantities lots. An order is known by the number that the venue gave it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from connectors.simulator.matching import OrderKind, Outcome, Prevention
from schemas.events import Side


class Meeting(NamedTuple):
    """One step of a taker through the book.

    Attributes:
        tick, lots: of the trade; 0 lots: the maker expired, being of the same account.
        trade_id: of the trade; 0 without.
        maker: the venue's number of the resting order, when it is an account's; else 0.
    """

    tick: int
    lots: int
    trade_id: int
    maker: int


class Entered(NamedTuple):
    """What became of an order at once.

    Attributes:
        outcome: RESTING, FILLED, EXPIRED, SELF_TRADE, WOULD_TAKE or CANNOT_FILL.
        left: lots not filled.
        meetings: in order.
    """

    outcome: Outcome
    left: int
    meetings: tuple[Meeting, ...]


class MarketListener(Protocol):
    """Who is told what a market does to resting orders."""

    def rested_filled(self, number: int, tick: int, lots: int, trade_id: int) -> None:
        """A resting order was (partly) filled by somebody who is no account of ours."""
        ...

    def traded(self, symbol: str, tick: int) -> None:
        """The tape printed a price."""
        ...

    def moved(self, symbol: str) -> None:
        """The touch may have changed."""
        ...


class OrderMarket(Protocol):
    """All symbols of one venue."""

    def attach(self, listener: MarketListener) -> None: ...

    def touch(self, symbol: str) -> tuple[int, int] | None:
        """Best bid and offer in ticks; None while either is missing: nothing can be traded then."""
        ...

    def enter(
        self,
        symbol: str,
        number: int,
        owner: int,
        side: Side,
        kind: OrderKind,
        tick: int,
        lots: int,
        prevent: Prevention = Prevention.EXPIRE_MAKER,
    ) -> Entered:
        """Put an order to the market.

        Args:
            number: the venue's, above 0.
            owner: number of the account, above 0: its orders never meet each other.
            kind: LIMIT, IMMEDIATE, ALL_OR_NOTHING or POST_ONLY.
            tick, lots: both above 0.
        """
        ...

    def leave(self, number: int) -> int:
        """Take a resting order off; returns the lots it had left, 0 when it does not rest."""
        ...

    def shrink(self, number: int, lots: int) -> None:
        """Cut a resting order to `lots`, at least 1, where it stands."""
        ...

    def available(self, symbol: str, side: Side, tick: int, lots: int) -> int:
        """Lots that an order of this side could take at once, counted no further than `lots`."""
        ...
