"""Money of one account: wallet, positions, fees, funding, margin. Integers × 10^8 throughout.

Exact by construction: the wallet only ever changes by realised profit, fees and funding, each of which is a whole
number that is reported. A position keeps what it cost, not an average price; closing a part takes its share of the
cost (rounded towards zero) and leaves the rest, so that nothing is lost to rounding over a position's life.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from connectors.simulator.private_config import E8, AccountConfig, PrivateRules


def scaled(value: int, factor_e8: int) -> int:
    """value × factor ÷ 10^8, rounded towards zero."""
    product = value * factor_e8
    return product // E8 if product >= 0 else -(-product // E8)


def divided(value: int, part: int, whole: int) -> int:
    """value × part ÷ whole (part and whole above 0), rounded towards zero."""
    share = abs(value) * part // whole
    return share if value >= 0 else -share


@dataclass(slots=True)
class Position:
    """One symbol, one-way mode.

    Attributes:
        amount_e8: signed quantity; above 0 is long.
        cost_e8: signed: what was paid for it, at its prices.
        realised_e8: of all its life, before fees.
        updated_ms: when it last changed.
    """

    amount_e8: int = 0
    cost_e8: int = 0
    realised_e8: int = 0
    updated_ms: int = 0

    def trade(self, signed_e8: int, price_e8: int) -> int:
        """Trade at a price; returns the realised profit."""
        amount = self.amount_e8
        if amount == 0 or (amount > 0) == (signed_e8 > 0):
            self.cost_e8 += scaled(signed_e8, price_e8)
            self.amount_e8 += signed_e8
            return 0
        closing = min(abs(amount), abs(signed_e8))
        closed_cost = divided(self.cost_e8, closing, abs(amount))
        realised = scaled(closing if amount > 0 else -closing, price_e8) - closed_cost
        self.cost_e8 -= closed_cost
        opening = abs(signed_e8) - closing
        self.cost_e8 += scaled(opening if signed_e8 > 0 else -opening, price_e8)
        self.amount_e8 += signed_e8
        self.realised_e8 += realised
        return realised

    @property
    def entry_e8(self) -> int:
        """Average price of what is held, rounded towards zero; 0 when flat."""
        return abs(self.cost_e8) * E8 // abs(self.amount_e8) if self.amount_e8 else 0

    def unrealised_e8(self, mark_e8: int) -> int:
        return scaled(self.amount_e8, mark_e8) - self.cost_e8


class OpenNotional(NamedTuple):
    """Notional of open orders of one symbol that are not reduce-only."""

    bids_e8: int = 0
    asks_e8: int = 0


class Margin(NamedTuple):
    """What a symbol, or an account, ties up.

    Attributes:
        position_e8: initial margin of the position.
        orders_e8: what open orders add to it, in the worst case of which of them are filled.
        maintenance_e8: below it the position is liquidated.
        unrealised_e8: profit at the mark.
    """

    position_e8: int = 0
    orders_e8: int = 0
    maintenance_e8: int = 0
    unrealised_e8: int = 0

    @property
    def initial_e8(self) -> int:
        return self.position_e8 + self.orders_e8


@dataclass(slots=True)
class Account:
    """One account.

    Args:
        number: above 0; the owner of its orders in the market.
        config: whose it is and how it began.
        rules: fees and margins.
    """

    number: int
    config: AccountConfig
    rules: PrivateRules
    wallet_e8: int = 0
    positions: dict[str, Position] = field(default_factory=dict)
    leverages: dict[str, int] = field(default_factory=dict)
    updated_ms: int = 0
    is_in_liquidation: bool = False

    def __post_init__(self) -> None:
        self.wallet_e8 = self.config.balance_e8

    def position(self, symbol: str) -> Position:
        position = self.positions.get(symbol)
        if position is None:
            position = self.positions[symbol] = Position()
        return position

    def fee_e8(self, notional_e8: int, *, is_maker: bool) -> int:
        """Fee on a notional (above 0), rounded towards zero; below 0: a rebate."""
        return scaled(notional_e8, self.rules.maker_fee_e8 if is_maker else self.rules.taker_fee_e8)

    def trade(self, symbol: str, signed_e8: int, price_e8: int, now_ms: int, *, is_maker: bool) -> tuple[int, int]:
        """Book an execution; returns realised profit and fee. The wallet changes by their difference."""
        position = self.position(symbol)
        realised = position.trade(signed_e8, price_e8)
        fee = self.fee_e8(scaled(abs(signed_e8), price_e8), is_maker=is_maker)
        self.wallet_e8 += realised - fee
        position.updated_ms = self.updated_ms = now_ms
        return realised, fee

    def fund(self, symbol: str, mark_e8: int, now_ms: int) -> int:
        """Exchange funding; returns what was received, below 0 when paid."""
        position = self.positions.get(symbol)
        if position is None or not position.amount_e8:
            return 0
        received = -scaled(scaled(position.amount_e8, mark_e8), self.rules.funding_rate_e8)
        self.wallet_e8 += received
        self.updated_ms = now_ms
        return received

    def initial_e8(self, symbol: str, notional_e8: int, bids_e8: int, asks_e8: int) -> int:
        """Initial margin of a symbol's position and open orders, in the worst case of which of them are filled."""
        worst = max(abs(notional_e8), abs(notional_e8 + bids_e8), abs(notional_e8 - asks_e8))
        return -(-worst // self.leverages.get(symbol, self.config.leverage))  # upwards: never less than its share

    def margin(self, symbol: str, mark_e8: int, orders: OpenNotional) -> Margin:
        """What one symbol ties up."""
        position = self.positions.get(symbol) or Position()
        notional = scaled(position.amount_e8, mark_e8)
        size = abs(notional)
        held = self.initial_e8(symbol, notional, 0, 0)
        maintenance = scaled(size, self.rules.maintenance_e8)
        orders_e8 = self.initial_e8(symbol, notional, *orders) - held
        return Margin(held, orders_e8, maintenance, notional - position.cost_e8)

    def total(self, margins: Mapping[str, Margin]) -> Margin:
        """The sum over all symbols."""
        positions = orders = maintenance = unrealised = 0
        for part in margins.values():
            positions += part.position_e8
            orders += part.orders_e8
            maintenance += part.maintenance_e8
            unrealised += part.unrealised_e8
        return Margin(positions, orders, maintenance, unrealised)

    def available_e8(self, total: Margin) -> int:
        """What may still be tied up; may be below 0."""
        return self.wallet_e8 + total.unrealised_e8 - total.initial_e8
