"""What a strategy is: parameters, how much it must have seen, and what it does when something happens.

A strategy is one file in this folder. The host (`processors/strategy_host.py`) calls it with plain integers and a
`Context`, through which it asks for orders. It keeps nothing itself: its object holds parameters only, and what it
must remember is in `Context.memory`, so that a restart, a replay and another process go on exactly as if nothing had
been. It asks no clock and draws no lots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from schemas.events import Side
from schemas.trading import OrderKind, OrderState, TimeInForce

Memory = npt.NDArray[np.int64]
P = TypeVar("P")


class WarmUp(NamedTuple):
    """What a strategy must have seen before it may ask for orders, counted from its start."""

    quotes: int = 1  # of a trusted book
    trades: int = 0
    bars: int = 0


class Quote(NamedTuple):
    """The touch of a trusted book. Prices are 0 where a side is empty."""

    ts_event_ns: int
    bid_price_e8: int
    bid_quantity_e8: int
    ask_price_e8: int
    ask_quantity_e8: int


class Trade(NamedTuple):
    ts_event_ns: int
    price_e8: int
    quantity_e8: int
    aggressor: int
    flags: int


class Bar(NamedTuple):
    """A time bar of the strategy's interval, when first published; revisions are not told."""

    ts_event_ns: int
    ts_open_ns: int
    open_e8: int
    high_e8: int
    low_e8: int
    close_e8: int
    volume_e8: int
    buy_volume_e8: int
    notional_e8: int
    trade_count: int
    flags: int


class Order(NamedTuple):
    """One of the strategy's own orders, as far as is known.

    Attributes:
        tag: its number.
        state: as the order's last row has it; NEW before the first.
        changing: an amend or cancel was asked for and has not shown yet.
        code: the venue's error code in the last row.
    """

    tag: int
    side: Side
    price_e8: int
    quantity_e8: int
    filled_e8: int
    state: OrderState
    changing: bool
    code: int

    @property
    def is_settled(self) -> bool:
        """In the book, with nothing in flight: it may be changed."""
        return self.state in (OrderState.OPEN, OrderState.PARTIALLY_FILLED) and not self.changing

    @property
    def left_e8(self) -> int:
        return self.quantity_e8 - self.filled_e8


class Fill(NamedTuple):
    ts_event_ns: int
    price_e8: int
    quantity_e8: int
    fee_e8: int
    side: int
    maker: int


class Position(NamedTuple):
    """What the ledger has of the strategy's position."""

    quantity_e8: int
    cost_e8: int
    realised_e8: int
    fees_e8: int
    funding_e8: int
    mark_price_e8: int
    unrealised_e8: int


class Context(Protocol):
    """What a strategy sees and asks for, valid during one call.

    Attributes:
        now_ns: when the row that it is called for arrived, or the moment it wanted to be woken at.
        quote: the last quote of the book; all 0 before the first. Look at `is_trusted` first.
        is_trusted: whether the book is SYNCED.
        is_warm: whether it has seen what it must before it asks for orders.
        position_e8: signed quantity held by the strategy, fills counted at once.
        tick_size_e8, lot_size_e8: steps of price and quantity.
        memory: int64[Strategy.memory_size], zeros at the start; what is written stays.
    """

    now_ns: int
    quote: Quote
    memory: Memory
    tick_size_e8: int
    lot_size_e8: int

    @property
    def is_trusted(self) -> bool: ...

    @property
    def is_warm(self) -> bool: ...

    @property
    def position_e8(self) -> int: ...

    def place(
        self,
        side: Side,
        quantity_e8: int,
        price_e8: int = 0,
        *,
        kind: OrderKind = OrderKind.LIMIT,
        time_in_force: TimeInForce = TimeInForce.GTC,
        post_only: bool = False,
        reduce_only: bool = False,
    ) -> int:
        """Ask for a new order. The price is rounded to ticks away from the market, the quantity down to lots.

        Returns:
            The order's tag; 0 when nothing was asked for: not warm, book not trusted, instrument not trading, or an
            order that the instrument's rules would refuse (too small, price out of range), or too many open orders.
        """
        ...

    def reach(self, position_e8: int) -> int:
        """Ask at the market for what is missing from a position, unless an order is open. Returns as `place` does."""
        ...

    def amend(self, tag: int, price_e8: int, quantity_e8: int) -> bool:
        """Ask for another price and total quantity of an order that `is_settled`. False: not asked for."""
        ...

    def cancel(self, tag: int) -> bool:
        """Ask for the end of an order; possible at any time. False: unknown, ended, or asked for already."""
        ...

    def order(self, tag: int) -> Order | None:
        """An order that has not ended; None for any other tag."""
        ...

    def orders(self) -> Sequence[Order]:
        """All that have not ended."""
        ...

    def wake(self, delay_ns: int) -> None:
        """Call `on_timer` in so long, at least a millisecond; stands in place of an earlier wish."""
        ...


class Strategy(Generic[P]):
    """The base: does nothing about anything.

    Attributes:
        parameters_kind: dataclass of int, str and bool fields with defaults; `__post_init__` refuses what cannot be.
        memory_size: cells of `Context.memory`.
    """

    parameters_kind: ClassVar[type[Any]]
    memory_size: ClassVar[int] = 0

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    @property
    def warm_up(self) -> WarmUp:
        return WarmUp()

    @property
    def bar_interval_ns(self) -> int:
        """Which time bars it wants; 0: none."""
        return 0

    def on_quote(self, at: Context, quote: Quote) -> None:
        """The touch of a trusted book changed."""

    def on_distrust(self, at: Context) -> None:
        """The book may not be believed any more; only `cancel` is possible until the next `on_quote`."""

    def on_trade(self, at: Context, trade: Trade) -> None:
        """Somebody traded."""

    def on_bar(self, at: Context, bar: Bar) -> None:
        """A bar of the wanted interval closed."""

    def on_order(self, at: Context, order: Order) -> None:
        """One of its own orders changed; when it has ended, this is the last word of it."""

    def on_fill(self, at: Context, fill: Fill) -> None:
        """One of its own orders was executed, in part or whole."""

    def on_position(self, at: Context, position: Position) -> None:
        """The ledger said something new of its position."""

    def on_timer(self, at: Context) -> None:
        """The moment came that it asked for with `wake`."""
