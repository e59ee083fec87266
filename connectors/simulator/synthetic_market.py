"""One symbol of the synthetic market: how its orders come, and the book that they make.

Arrivals excite more arrivals (Hawkes), sizes and distances have power-law tails, volatility clusters,
and an unseen value pulls the flow towards it, so that imbalance comes and goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from connectors.simulator import kernels as k
from connectors.simulator.listing import E8, Listed, decimal_text
from connectors.simulator.matching import ORDERS_MAX, RING_TICKS, Fill, Outcome, Placed, make_book

MS_NS = 1_000_000
S_NS = 1_000_000_000
WARM_UP_NS = 20 * S_NS  # the market runs so long before anybody may look
DRAW_STEPS = 4096
FIRST_ORDERS = 3000  # a side
TEXTS_MAX = 200_000  # cached decimal texts of a symbol


@dataclass(frozen=True)
class Flow:
    """How the orders of a symbol come; rates a second, prices in ticks, quantities in lots.

    Args:
        market, limit: base rates of market and limit orders.
        cancel: each resting order's rate of being cancelled.
        jump, decay: what a market order adds to the rate of market orders, and how fast that fades.
        excited_book: limit orders and cancellations per excited market order.
        stale: rate of taking away quotes, per tick that the value is beyond them.
        value_step: ticks that the value moves in 100 ms at mean volatility.
        vol_revert, vol_step: of the logarithm of the volatility, per 100 ms.
        pressure: ticks between value and middle at which the flow leans clearly to one side.
        distance, distance_power, distance_max: of limit orders from their own side's best price.
        inside: probability that a limit order is placed inside a wide spread.
        size, size_power, size_max, market_size: of orders.
    """

    market: float = 14.0
    limit: float = 260.0
    cancel: float = 0.05
    jump: float = 9.0
    decay: float = 14.0
    excited_book: float = 2.0
    stale: float = 25.0
    value_step: float = 6.0
    vol_revert: float = 0.01
    vol_step: float = 0.1
    pressure: float = 12.0
    distance: float = 12.0
    distance_power: float = 0.75
    distance_max: float = 8000.0
    inside: float = 0.75
    size: float = 60.0
    size_power: float = 1.4
    size_max: float = 200_000.0
    market_size: float = 40.0

    def parameters(self, activity: float) -> k.F8:
        values = np.zeros(k.PARAMETERS)
        values[k.P_MARKET], values[k.P_LIMIT] = self.market * activity, self.limit * activity
        values[k.P_CANCEL], values[k.P_STALE] = self.cancel * activity, self.stale * activity
        values[k.P_JUMP], values[k.P_DECAY] = self.jump, self.decay
        values[k.P_EXCITED_BOOK] = self.excited_book
        values[k.P_VALUE_STEP] = self.value_step
        values[k.P_VOL_REVERT], values[k.P_VOL_STEP] = self.vol_revert, self.vol_step
        values[k.P_PRESSURE] = self.pressure
        values[k.P_DISTANCE], values[k.P_DISTANCE_POWER] = self.distance, self.distance_power
        values[k.P_DISTANCE_MAX], values[k.P_INSIDE] = self.distance_max, self.inside
        values[k.P_SIZE], values[k.P_SIZE_POWER], values[k.P_SIZE_MAX] = self.size, self.size_power, self.size_max
        values[k.P_MARKET_SIZE] = self.market_size
        return values


@dataclass(frozen=True)
class Instrument:
    """A row of the synthetic instrument table: how it is listed, where its price starts, how it flows."""

    listed: Listed
    price_e8: int
    flow: Flow


FUTURES: tuple[Instrument, ...] = (
    Instrument(Listed("BTCUSDT", E8 // 10, E8 // 1000, 2, 3), 61_800 * E8, Flow()),
    Instrument(
        Listed("ETHUSDT", E8 // 100, E8 // 1000, 2, 3), 2_680 * E8, Flow(value_step=3.0, size=900.0, market_size=500.0)
    ),
    Instrument(
        Listed("SOLUSDT", E8 // 100, E8, 4, 0),
        150 * E8,
        Flow(market=6.0, limit=90.0, value_step=0.35, pressure=2.0, distance=6.0, size=30.0, market_size=20.0),
    ),
)
SPOT: tuple[Instrument, ...] = (
    Instrument(
        Listed("BTCUSDT", E8 // 100, E8 // 100_000, 8, 8),
        61_800 * E8,
        Flow(
            market=8.0,
            limit=160.0,
            value_step=50.0,
            pressure=90.0,
            distance=60.0,
            stale=4.0,
            size=2500.0,
            market_size=900.0,
        ),
    ),
    Instrument(
        Listed("ETHUSDT", E8 // 100, E8 // 10_000, 8, 8),
        2_680 * E8,
        Flow(market=6.0, limit=90.0, value_step=3.0, size=4000.0, market_size=1500.0),
    ),
    Instrument(
        Listed("SOLUSDT", E8 // 100, E8 // 1000, 8, 8),
        150 * E8,
        Flow(market=4.0, limit=60.0, value_step=0.35, pressure=2.0, distance=6.0, size=9000.0, market_size=4000.0),
    ),
)


@dataclass
class Batch:
    """Changes of a book since the stream's last event."""

    stream: str
    interval_ns: int
    previous_id: int
    levels: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    first_id: int = 0
    last_id: int = 0
    last_ms: int = 0


class Market:
    """One symbol: its book, its flow, and the batches on their way out.

    Args:
        instrument: its row.
        seed: of its own random numbers.
        start_ns: venue time at which it may be looked at; the warm-up lies before it.
        activity: factor on the rates.
    """

    def __init__(self, instrument: Instrument, seed: tuple[int, int], start_ns: int, activity: float) -> None:
        self.listed = instrument.listed
        self._generator = np.random.default_rng(seed)
        first_tick = instrument.price_e8 // self.listed.tick_e8
        ring = RING_TICKS
        while ring > first_tick:  # a low price needs no window that reaches below zero
            ring //= 2
        self.book = make_book(max(1, first_tick - ring // 2), ring)
        self._parameters = instrument.flow.parameters(activity)
        self._states = np.zeros(k.STATES)
        self._states[k.S_VALUE], self._states[k.S_ACTIVITY] = first_tick, 1.0
        self._counters = np.zeros(k.COUNTERS, np.int64)
        begin_ns = start_ns - WARM_UP_NS
        self._counters[k.C_NOW_NS], self._counters[k.C_GRID_NS] = begin_ns, begin_ns + k.GRID_NS
        self._draws = np.zeros(DRAW_STEPS * k.DRAWS_MAX)
        self._counters[k.C_CURSOR] = len(self._draws)
        self._fills = np.zeros((ORDERS_MAX, k.FILL_COLUMNS), np.int64)
        self._rows = np.zeros((4 * ORDERS_MAX, k.ROW_COLUMNS), np.int64)
        self._prices: dict[int, str] = {}
        self._quantities: dict[int, str] = {}
        self.update_id = 0
        self.changed_ms = start_ns // MS_NS
        self.trade_id = 5_000_000_000 + seed[1] * 1_000_000_000
        self.batches: list[Batch] = []
        self._untold: list[list[int]] = []  # what orders of accounts did since the last slice
        self.untold_trades = 0
        self._seed_book(first_tick, instrument.flow)
        self.advance(start_ns)

    def _seed_book(self, first_tick: int, flow: Flow) -> None:
        """A first book around the first price, in the proportions that the flow would build up."""
        draws = self._generator.random((FIRST_ORDERS, 2, 3))
        for side, step in ((k.BID, -1), (k.ASK, 1)):
            for u, v, w in draws[:, side].tolist():
                far = flow.distance * ((1.0 - u) ** (-1.0 / flow.distance_power) - 1.0)
                away = int(min(far, flow.distance_max))
                lots = int(min(1 + flow.size * ((1.0 - v) ** (-1.0 / flow.size_power) - 1.0), flow.size_max))
                k.place(self.book, side, k.POST_ONLY, first_tick + step * (away + int(w < 0.5)), lots, self._fills)

    def advance(self, until_ns: int) -> k.I8:
        """Run to `until_ns`; returns what happened, in the ROW_ columns of kernels.py. The array is used again."""
        status, count = k.NEED_DRAWS, 0
        while status != k.DONE:
            if self._counters[k.C_CURSOR] + k.DRAWS_MAX > len(self._draws):
                self._generator.random(out=self._draws)
                self._counters[k.C_CURSOR] = 0
            status, count = k.advance(
                self.book, self._parameters, self._states, self._counters, self._draws, self._fills, self._rows, count,
                until_ns,
            )  # fmt: skip
            if status == k.NEED_ROOM:
                self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        return self._rows[:count]

    # ---- orders that are not the flow's

    def enter(self, side: int, kind: int, tick: int, lots: int, owner: int, prevent: int) -> Placed:
        """An account's order, into the very book that the flow trades in. The tape tells of it in the next slice."""
        status, order_id, left, filled = k.place(self.book, side, kind, tick, lots, self._fills, owner, prevent)
        fills = tuple(Fill(*map(int, row)) for row in self._fills[:filled].tolist())
        rows = np.zeros((2 * filled + 2, k.ROW_COLUMNS), np.int64)
        count = k.report_order(
            self.book, self._counters, rows, 0, self._fills, side, tick, status == k.RESTING, filled
        )  # fmt: skip
        self._keep(rows[:count])
        return Placed(Outcome(status), int(order_id), int(left), fills)

    def leave(self, core_id: int) -> int:
        """Take an account's order off; returns its lots, 0 when it is not there."""
        slot = core_id & k.SLOT_MASK
        side, tick = int(self.book.orders[slot, k.ORDER_SIDE]), int(self.book.orders[slot, k.ORDER_TICK])
        lots = int(k.cancel(self.book, core_id))
        if lots:
            self._level_changed(side, tick)
        return lots

    def shrink(self, core_id: int, lots: int) -> None:
        """Cut an account's order where it stands."""
        slot = core_id & k.SLOT_MASK
        if k.shrink(self.book, core_id, lots):
            self._level_changed(int(self.book.orders[slot, k.ORDER_SIDE]), int(self.book.orders[slot, k.ORDER_TICK]))

    def _level_changed(self, side: int, tick: int) -> None:
        rows = np.zeros((2, k.ROW_COLUMNS), np.int64)
        self._keep(rows[: k.report_level(self.book, self._counters, rows, 0, side, tick)])

    def _keep(self, rows: k.I8) -> None:
        for row in rows.tolist():
            if row[1] == k.ROW_TRADE:
                row[5] = 0  # who placed the order has been told of its fills already
                self.untold_trades += 1
            self._untold.append(row)

    def take_untold(self) -> list[list[int]]:
        """What accounts' orders did since the last slice, in the ROW_ columns of kernels.py; to be told before it."""
        rows, self._untold, self.untold_trades = self._untold, [], 0
        return rows

    def recentre(self) -> list[tuple[int, int]]:
        """Move the window of prices when the market nears its edge; (side, tick) of levels that fell out."""
        numbers = self.book.numbers
        ring = len(self.book.levels)
        middle = int(numbers[k.BEST_BID])
        if abs(middle - (int(numbers[k.BASE]) + ring // 2)) < ring // 4:
            return []
        base = max(1, middle - ring // 2)
        fallen = [
            (side, tick)
            for side in (k.BID, k.ASK)
            for tick, _ in self.levels(side, ORDERS_MAX)
            if not base <= tick < base + ring
        ]
        k.move_window(self.book, base)
        return fallen

    def levels(self, side: int, limit: int) -> list[tuple[int, int]]:
        ticks, lots = np.zeros(limit, np.int64), np.zeros(limit, np.int64)
        count = k.collect_levels(self.book, side, ticks, lots)
        return list(zip(ticks[:count].tolist(), lots[:count].tolist(), strict=True))

    def price(self, tick: int) -> str:
        text = self._prices.get(tick)
        if text is None:
            if len(self._prices) > TEXTS_MAX:
                self._prices.clear()
            text = self._prices[tick] = decimal_text(tick * self.listed.tick_e8, self.listed.price_decimals)
        return text

    def quantity(self, lots: int) -> str:
        text = self._quantities.get(lots)
        if text is None:
            if len(self._quantities) > TEXTS_MAX:
                self._quantities.clear()
            text = self._quantities[lots] = decimal_text(lots * self.listed.lot_e8, self.listed.quantity_decimals)
        return text

    def level_texts(self, levels: Mapping[int, int], *, descending: bool) -> str:
        """`["61800.20","0.014"],…` in the order of prices."""
        ordered = sorted(levels.items(), reverse=descending)
        return ",".join(f'["{self.price(tick)}","{self.quantity(lots)}"]' for tick, lots in ordered)
