"""Momentum: when the fast average of closes crosses the slow one, go with it.

Crossing up wants a long position of `quantity_e8`, crossing down a short one (or none, without `allow_short`). Both
averages are exact sums of the last closes. What is wanted is pursued with one order at a time, at the market or as a
limit order that takes what is there, until the position is there; a change of mind waits for the order in flight.
"""

from __future__ import annotations

from dataclasses import dataclass

from processors.parameters import check_range
from processors.strategies.api import Bar, Context, Order, Position, Quote, Strategy, WarmUp
from schemas.errors import ConfigInvalid
from schemas.events import Side
from schemas.money import I64_MAX
from schemas.trading import TimeInForce

SLOW_MAX = 512
TREND, SIGNAL_NS, TARGET, WAIT_NS, LAST_BAR_NS, COUNT, CLOSES = range(7)  # cells of the memory; closes to its end


@dataclass(frozen=True)
class MomentumParameters:
    """What it follows, and how.

    Attributes:
        interval_ns: of the bars; the rule `bars` must make them.
        fast, slow: bars in the averages.
        signal_every_ns: at most one signal in so long.
        quantity_e8: size of the position.
        allow_short: crossing down sells short; otherwise it only closes.
        at_market: market orders; otherwise limit orders for immediate execution.
        slippage_ticks: limit orders: how far beyond the touch they may trade.
        retry_after_ns: pause before the next order for what is still missing.
    """

    interval_ns: int = 60_000_000_000
    fast: int = 20
    slow: int = 50
    signal_every_ns: int = 1_000_000_000
    quantity_e8: int = 1_000_000
    allow_short: bool = True
    at_market: bool = False
    slippage_ticks: int = 5
    retry_after_ns: int = 1_000_000_000

    def __post_init__(self) -> None:
        for name, low, high in (
            ("interval_ns", 1_000_000_000, 7 * 86_400_000_000_000),
            ("fast", 1, SLOW_MAX),
            ("slow", 2, SLOW_MAX),
            ("signal_every_ns", 0, 86_400_000_000_000),
            ("quantity_e8", 1, I64_MAX // 2),
            ("slippage_ticks", 0, 1_000_000),
            ("retry_after_ns", 1_000_000, 3_600_000_000_000),
        ):
            check_range("momentum", name, getattr(self, name), low, high)
        if self.fast >= self.slow:
            raise ConfigInvalid(f"Rule momentum: fast is {self.fast}; it must be below slow, which is {self.slow}.")


class Momentum(Strategy[MomentumParameters]):
    """See the module's text."""

    parameters_kind = MomentumParameters
    memory_size = CLOSES + SLOW_MAX

    @property
    def warm_up(self) -> WarmUp:
        return WarmUp(quotes=1, bars=self.parameters.slow)

    @property
    def bar_interval_ns(self) -> int:
        return self.parameters.interval_ns

    def on_bar(self, at: Context, bar: Bar) -> None:
        if bar.ts_event_ns <= int(at.memory[LAST_BAR_NS]):
            return
        at.memory[LAST_BAR_NS] = bar.ts_event_ns
        at.memory[CLOSES + at.memory[COUNT] % self.parameters.slow] = bar.close_e8
        at.memory[COUNT] += 1
        if at.memory[COUNT] >= self.parameters.slow:
            self._look(at)
        self._pursue(at)

    def on_quote(self, at: Context, quote: Quote) -> None:
        self._pursue(at)

    def on_order(self, at: Context, order: Order) -> None:
        if at.order(order.tag) is None and order.left_e8:  # ended with something missing: not again at once
            at.memory[WAIT_NS] = at.now_ns + self.parameters.retry_after_ns
            at.wake(self.parameters.retry_after_ns)
        self._pursue(at)

    def on_position(self, at: Context, position: Position) -> None:
        self._pursue(at)

    def on_timer(self, at: Context) -> None:
        self._pursue(at)

    def averages_compared(self, at: Context) -> int:
        """1 when the fast average is above the slow one, -1 below, 0 when equal."""
        slow, fast, count = self.parameters.slow, self.parameters.fast, int(at.memory[COUNT])
        closes = at.memory[CLOSES : CLOSES + slow].tolist()
        newest = [closes[k % slow] for k in range(count - fast, count)]
        difference = sum(newest) * slow - sum(closes) * fast
        return int(difference > 0) - int(difference < 0)

    def _look(self, at: Context) -> None:
        """A crossing is a signal; while signals must wait, the crossing that stands at the end of it counts."""
        trend, before = self.averages_compared(at), int(at.memory[TREND])
        if trend == 0 or trend == before:
            return
        if before == 0:  # the first look: nothing crossed
            at.memory[TREND] = trend
        elif at.now_ns - int(at.memory[SIGNAL_NS]) >= self.parameters.signal_every_ns:
            at.memory[TREND], at.memory[SIGNAL_NS] = trend, at.now_ns
            at.memory[TARGET] = self.parameters.quantity_e8 * (trend if trend > 0 or self.parameters.allow_short else 0)

    def _pursue(self, at: Context) -> None:
        """Ask for what is missing, when nothing is in flight."""
        if int(at.memory[SIGNAL_NS]) == 0 or at.orders() or at.now_ns < int(at.memory[WAIT_NS]):
            return
        if self.parameters.at_market:
            at.reach(int(at.memory[TARGET]))
            return
        missing = int(at.memory[TARGET]) - at.position_e8
        side = Side.BUY if missing > 0 else Side.SELL
        slippage = self.parameters.slippage_ticks * at.tick_size_e8
        touch = at.quote.ask_price_e8 + slippage if side is Side.BUY else at.quote.bid_price_e8 - slippage
        at.place(side, abs(missing), touch, time_in_force=TimeInForce.IOC)
