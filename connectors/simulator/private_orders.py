"""Orders as the venue keeps them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from connectors.simulator.listing import E8, Listed
from connectors.simulator.matching import Prevention
from connectors.simulator.private_amounts import average_text, price_text, quantity_text
from connectors.simulator.private_terms import Terms, terms_of
from schemas.events import Side

# Reasons of an expiry, as ORDER_TRADE_UPDATE gives them.
NO_REASON, SELF_TRADE, IMMEDIATE_REST, IMMEDIATE_SELF_TRADE, REDUCE_ONLY, LIQUIDATION = 0, 1, 2, 3, 4, 5


class Status(enum.StrEnum):
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"


# Constants: members of an enum are looked up anew at every use.
NEW, PARTIALLY_FILLED, FILLED = Status.NEW, Status.PARTIALLY_FILLED, Status.FILLED


@dataclass(slots=True)
class Sums:
    """What an account's open orders in one symbol come to; notionals of those that are not reduce-only."""

    orders: int = 0
    reducing: int = 0
    bids_e8: int = 0
    asks_e8: int = 0


@dataclass(slots=True, eq=False)
class VenueOrder:
    """One order.

    Attributes:
        number: its order id, in the order of acceptance.
        owner: number of the account.
        client_id: its letters are those that the venue takes: none needs escaping in JSON.
        kind: LIMIT or MARKET; `original_kind` is that of the conditional order it came from, else the same.
        time_in_force: GTC, IOC, FOK, GTX or GTD; of a MARKET order GTC, which means nothing.
        price_e8: 0 for MARKET.
        stop_price_e8: of the conditional order it came from; else 0.
        good_till_ms: of GTD; else 0.
        quote_e8: Σ price × quantity of its executions.
        resting_e8: what of it stands in the market. Less than `left_e8` where a reduce-only order was cut to the
            position that it may reduce.
        sums: of its account's open orders in its symbol; `counted_e8`: what of it is in them.
        terms: what never changes of it, as pieces of its documents.
        quantity_text, price_text: as the venue writes them.
    """

    number: int
    owner: int
    listed: Listed
    client_id: str
    side: Side
    kind: str
    time_in_force: str
    price_e8: int
    quantity_e8: int
    created_ms: int
    sums: Sums = field(repr=False)
    is_reduce_only: bool = False
    prevention: Prevention = Prevention.EXPIRE_MAKER
    good_till_ms: int = 0
    original_kind: str = ""
    stop_price_e8: int = 0
    status: Status = NEW
    executed_e8: int = 0
    quote_e8: int = 0
    realised_e8: int = 0
    updated_ms: int = 0
    resting_e8: int = 0
    modifications: int = 0
    is_liquidation: bool = False
    counted_e8: int = 0
    terms: Terms = field(init=False, repr=False)
    quantity_text: str = field(init=False, repr=False)
    price_text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.original_kind = self.original_kind or self.kind
        self.updated_ms = self.updated_ms or self.created_ms
        listed = self.listed
        self.terms = terms_of(
            listed.symbol, listed.price_decimals, listed.quantity_decimals, self.side, self.kind, self.time_in_force,
            self.is_reduce_only, self.prevention, self.good_till_ms, self.original_kind, self.stop_price_e8,
        )  # fmt: skip
        self.change(self.price_e8, self.quantity_e8)

    def change(self, price_e8: int, quantity_e8: int) -> None:
        """Give it another price and total quantity."""
        self.price_e8, self.quantity_e8 = price_e8, quantity_e8
        self.quantity_text = quantity_text(self.listed, quantity_e8)
        self.price_text = price_text(self.listed, price_e8)

    @property
    def symbol(self) -> str:
        return self.listed.symbol

    @property
    def left_e8(self) -> int:
        return self.quantity_e8 - self.executed_e8

    @property
    def is_open(self) -> bool:
        return self.status is NEW or self.status is PARTIALLY_FILLED

    @property
    def average_e8(self) -> int:
        return self.quote_e8 * E8 // self.executed_e8 if self.executed_e8 else 0

    @property
    def executed_text(self) -> str:
        executed_e8 = self.executed_e8
        return quantity_text(self.listed, executed_e8) if executed_e8 else self.terms.nothing

    @property
    def average_text(self) -> str:
        """Average price of its executions, without trailing zeros."""
        return average_text(self.average_e8) if self.executed_e8 else "0"


class Trade(NamedTuple):
    """One execution of an order."""

    order: VenueOrder
    trade_id: int
    price_e8: int
    quantity_e8: int
    realised_e8: int
    fee_e8: int
    is_maker: bool
    time_ms: int


@dataclass
class AlgoOrder:
    """A conditional order: waits outside the book until its trigger price is met.

    Attributes:
        number: its algo id.
        status: NEW, TRIGGERING, TRIGGERED, FINISHED, CANCELED, EXPIRED or REJECTED.
        triggers_up: whether the price must rise to the trigger.
        order: what it became.
        reason: why it was rejected.
    """

    number: int
    owner: int
    listed: Listed
    client_id: str
    side: Side
    kind: str
    time_in_force: str
    trigger_e8: int
    price_e8: int
    quantity_e8: int
    created_ms: int
    triggers_up: bool
    working_type: str = "CONTRACT_PRICE"
    is_reduce_only: bool = False
    is_close_position: bool = False
    prevention: Prevention = Prevention.EXPIRE_MAKER
    good_till_ms: int = 0
    status: str = "NEW"
    order: VenueOrder | None = field(default=None, repr=False)
    triggered_ms: int = 0
    updated_ms: int = 0
    reason: str = ""
