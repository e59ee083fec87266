"""Market making: one order a side around a fair price, kept where it belongs.

The fair price is the micro-price (each side weighted with the other side's quantity), shifted by the smoothed
imbalance of the touch. Quotes stand half the wanted spread from it; inventory shifts both of them: long, they come
down, so that selling gets likelier. A side that would take inventory beyond its bound is not quoted.

A side has one order. It is amended (or cancelled and placed anew) when its target moved by `requote_ticks`; while
anything of it is in flight, nothing more is asked for. When the book is not trusted, or the market's own spread is
too narrow, both are cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass

from processors.parameters import check_range
from processors.strategies.api import Context, Fill, Order, Quote, Strategy, WarmUp
from schemas.errors import ConfigInvalid
from schemas.events import Side
from schemas.money import I64_MAX
from schemas.trading import OrderState

PPM = 1_000_000
BID_TAG, ASK_TAG, BID_WAIT_NS, ASK_WAIT_NS, IMBALANCE, SEEN = range(6)  # cells of the memory
REFUSED = (OrderState.DENIED, OrderState.REJECTED)


@dataclass(frozen=True)
class MarketMakingParameters:
    """Parts per million (ppm) are of the fair price: 100 ppm are a basis point.

    Attributes:
        quantity_e8: of an order.
        inventory_max_e8: largest long or short position.
        spread_ppm: between our bid and our offer.
        market_spread_min_ppm: no quotes while the market's own spread is below; 0: always.
        imbalance_ppm: shift of the fair price at an imbalance of 1, all quantity on one side.
        smoothing: the imbalance is averaged over about 2^smoothing quotes.
        skew_percent: shift of both quotes at full inventory, in percent of `spread_ppm`.
        requote_ticks: a quote moves when its target is so far away.
        post_only: quotes never take; they stay a tick away from the other side.
        use_amend: change orders; otherwise cancel and place anew.
        retry_after_ns: pause of a side after a refusal.
        warm_up_quotes: quotes to see before the first order.
    """

    quantity_e8: int = 1_000_000
    inventory_max_e8: int = 10_000_000
    spread_ppm: int = 1000
    market_spread_min_ppm: int = 0
    imbalance_ppm: int = 50
    smoothing: int = 4
    skew_percent: int = 50
    requote_ticks: int = 5
    post_only: bool = True
    use_amend: bool = True
    retry_after_ns: int = 1_000_000_000
    warm_up_quotes: int = 20

    def __post_init__(self) -> None:
        for name, low, high in (
            ("quantity_e8", 1, I64_MAX),
            ("inventory_max_e8", 1, I64_MAX),
            ("spread_ppm", 1, PPM),
            ("market_spread_min_ppm", 0, PPM),
            ("imbalance_ppm", 0, PPM),
            ("smoothing", 0, 16),
            ("skew_percent", 0, 100),
            ("requote_ticks", 1, 1_000_000),
            ("retry_after_ns", 1_000_000, 3_600_000_000_000),
            ("warm_up_quotes", 1, 1_000_000),
        ):
            check_range("market_making", name, getattr(self, name), low, high)
        if self.quantity_e8 > self.inventory_max_e8:
            raise ConfigInvalid("Rule market_making: quantity_e8 is more than inventory_max_e8; it could never trade.")


class MarketMaking(Strategy[MarketMakingParameters]):
    """See the module's text."""

    parameters_kind = MarketMakingParameters
    memory_size = 6

    @property
    def warm_up(self) -> WarmUp:
        return WarmUp(quotes=self.parameters.warm_up_quotes)

    def on_quote(self, at: Context, quote: Quote) -> None:
        self._smooth(at, quote)
        self._maintain(at)

    def on_distrust(self, at: Context) -> None:
        for order in at.orders():
            at.cancel(order.tag)

    def on_order(self, at: Context, order: Order) -> None:
        if order.code or order.state in REFUSED:  # not again at once
            at.memory[BID_WAIT_NS + order.side] = at.now_ns + self.parameters.retry_after_ns
            at.wake(self.parameters.retry_after_ns)
        self._maintain(at)

    def on_fill(self, at: Context, fill: Fill) -> None:
        self._maintain(at)

    def on_timer(self, at: Context) -> None:
        self._maintain(at)

    def fair_price_e8(self, at: Context) -> int:
        """Micro-price, shifted by the smoothed imbalance."""
        bid, bid_quantity, ask, ask_quantity = at.quote[1:]
        micro = (bid * ask_quantity + ask * bid_quantity) // (bid_quantity + ask_quantity)
        return micro + micro * self.parameters.imbalance_ppm * int(at.memory[IMBALANCE]) // (PPM * PPM)

    def targets(self, at: Context) -> tuple[tuple[int, int], tuple[int, int]]:
        """(price, quantity) of the bid and of the offer; quantity 0: that side is not quoted."""
        own = self.parameters
        fair = self.fair_price_e8(at)
        width = fair * own.spread_ppm // PPM
        middle = fair - width * own.skew_percent * at.position_e8 // (100 * own.inventory_max_e8)
        bid, ask = middle - width // 2, middle + width - width // 2
        if own.post_only:
            bid = min(bid, at.quote.ask_price_e8 - at.tick_size_e8)
            ask = max(ask, at.quote.bid_price_e8 + at.tick_size_e8)
        buy = max(0, min(own.quantity_e8, own.inventory_max_e8 - at.position_e8))
        sell = max(0, min(own.quantity_e8, own.inventory_max_e8 + at.position_e8))
        return (bid, buy), (ask, sell)

    def _smooth(self, at: Context, quote: Quote) -> None:
        total = quote.bid_quantity_e8 + quote.ask_quantity_e8
        if total:
            imbalance = (quote.bid_quantity_e8 - quote.ask_quantity_e8) * PPM // total
            before = int(at.memory[IMBALANCE])
            step = (imbalance - before) // (1 << self.parameters.smoothing)
            at.memory[IMBALANCE] = before + step if at.memory[SEEN] else imbalance
            at.memory[SEEN] = 1

    def _maintain(self, at: Context) -> None:
        """Bring both sides to where they belong."""
        quote = at.quote
        wanted = at.is_trusted and quote.bid_price_e8 > 0 and quote.ask_price_e8 > 0
        wanted = wanted and quote.bid_quantity_e8 > 0 and quote.ask_quantity_e8 > 0
        spread = quote.ask_price_e8 - quote.bid_price_e8
        if not wanted or spread * PPM < self.parameters.market_spread_min_ppm * quote.bid_price_e8:
            self.on_distrust(at)
            return
        strays = [order.tag for order in at.orders() if order.tag not in at.memory[[BID_TAG, ASK_TAG]].tolist()]
        for tag in strays:  # of another life with other parameters
            at.cancel(tag)
        if strays:
            return
        for side, (price, quantity) in zip((Side.BUY, Side.SELL), self.targets(at), strict=True):
            self._keep(at, side, price, quantity)

    def _keep(self, at: Context, side: Side, price_e8: int, quantity_e8: int) -> None:
        order = at.order(int(at.memory[BID_TAG + side]))
        is_paused = at.now_ns < int(at.memory[BID_WAIT_NS + side])
        if order is None:
            if quantity_e8 and not is_paused:
                at.memory[BID_TAG + side] = at.place(side, quantity_e8, price_e8, post_only=self.parameters.post_only)
        elif quantity_e8 == 0:
            at.cancel(order.tag)
        elif order.is_settled and not is_paused and self._is_off(at, order, price_e8, quantity_e8):
            if not self.parameters.use_amend:
                at.cancel(order.tag)
            else:
                at.amend(order.tag, price_e8, order.filled_e8 + quantity_e8)

    def _is_off(self, at: Context, order: Order, price_e8: int, quantity_e8: int) -> bool:
        moved = abs(price_e8 - order.price_e8) >= self.parameters.requote_ticks * at.tick_size_e8
        return moved or order.left_e8 >= quantity_e8 + at.lot_size_e8  # it could take inventory beyond its bound
