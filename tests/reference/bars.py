"""Plain twin of processors/bars.py: a bar is the list of its trades, and everything is computed from the list."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from processors.bars import DAY_NS, MONDAY_NS, WEEK_NS
from schemas.declare import Rows
from schemas.events import PROFILE_LEVELS, BarFlag, BarKind, DeadReason, TradeFlag
from tests.reference.money import multiply_e8

I64_MAX = (1 << 63) - 1
PRICE_MAX = 1 << 62
TIME_MAX_NS = 1 << 62
PROFILE = 4
TICK_MAX = 10**12
BINS = 4096


class PlainTrade(NamedTuple):
    event_ns: int
    recv_ns: int
    price: int
    quantity: int
    trade_id: int
    sold: bool
    flags: int
    instrument: int

    @property
    def notional(self) -> int | None:
        return multiply_e8(self.price, self.quantity)


class PlainBar(NamedTuple):
    """A bar row in Python's numbers."""

    ts_event_ns: int
    ts_recv_ns: int
    ts_open_ns: int
    open_e8: int
    high_e8: int
    low_e8: int
    close_e8: int
    volume_e8: int
    buy_volume_e8: int
    notional_e8: int
    size: int
    cause_row: int
    instrument: int
    trade_count: int
    buy_count: int
    revision: int
    kind: int
    flags: int


class PlainProfile(NamedTuple):
    """A profile row in Python's numbers; unused buckets left out."""

    ts_event_ns: int
    ts_recv_ns: int
    ts_open_ns: int
    bucket_low_e8: int
    bucket_width_e8: int
    point_of_control_e8: int
    value_area_high_e8: int
    value_area_low_e8: int
    volume_e8: int
    value_area_volume_e8: int
    cause_row: int
    buy_volume_e8: list[int]
    sell_volume_e8: list[int]
    trade_count: list[int]
    instrument: int
    bucket_count: int


@dataclass
class Bar:
    """One bar in the making."""

    start_ns: int
    end_ns: int
    flat: int  # the close before
    trades: list[PlainTrade] = field(default_factory=list)
    flags: int = 0
    revision: int = 0
    width: int = 0  # of a profile's bins
    exact: bool = True  # a bin is one price

    def sums_fit(self, trade: PlainTrade) -> bool:
        trades = [*self.trades, trade]
        volume = sum(one.quantity for one in trades)
        notional = sum(one.notional or 0 for one in trades)
        return volume <= I64_MAX and notional <= I64_MAX and len(trades) < 1 << 32 and self.revision < 65_535


@dataclass
class Lane:
    kind: int
    size: int
    bar: Bar | None = None
    done: Bar | None = None
    published: int = 0
    empties: int = 0
    tick: int = TICK_MAX

    @property
    def timed(self) -> bool:
        return self.kind in (BarKind.TIME, PROFILE)

    def start_of(self, event_ns: int) -> int:
        offset = MONDAY_NS if self.size == WEEK_NS else 0
        return (event_ns - offset) // self.size * self.size + offset

    def ordered(self, bar: Bar) -> list[PlainTrade]:
        return sorted(bar.trades, key=lambda one: (one.event_ns, one.trade_id)) if self.timed else bar.trades

    def close_of(self, bar: Bar) -> int:
        return self.ordered(bar)[-1].price if bar.trades else bar.flat

    def full(self, bar: Bar) -> bool:
        return {
            BarKind.TICK: len(bar.trades) >= self.size,
            BarKind.VOLUME: sum(one.quantity for one in bar.trades) >= self.size,
            BarKind.NOTIONAL: sum(one.notional or 0 for one in bar.trades) >= self.size,
        }.get(BarKind(self.kind) if self.kind != PROFILE else BarKind.TIME, False)


@dataclass
class Instrument:
    lanes: list[Lane]
    skew_ns: int = 0
    hole: bool = False


class PlainBars:
    def __init__(self, lanes: list[tuple[int, int]], idle_close_ns: int = 0, empty_bars_max: int = 3600) -> None:
        self.lanes = lanes
        self.idle_close_ns = idle_close_ns
        self.empty_bars_max = empty_bars_max
        self.instruments: dict[int, Instrument] = {}
        self.bars: list[PlainBar] = []
        self.profiles: list[PlainProfile] = []
        self.dead: list[tuple[int, DeadReason]] = []

    def take(self, rows: Rows, row_first: int) -> None:
        for k, row in enumerate(rows):
            self._take(row, row_first + k)

    def fire(self, now_ns: int) -> None:
        while True:
            due_ns, instrument, lane = self._first_due()
            if lane is None or due_ns > now_ns:
                return
            assert lane.bar is not None
            start_ns = lane.bar.end_ns
            self._close(instrument, lane, due_ns, 0)
            lane.bar = Bar(start_ns, start_ns + lane.size, lane.bar.flat)

    def _first_due(self) -> tuple[int, int, Lane | None]:
        found: tuple[int, int, Lane | None] = (TIME_MAX_NS * 4, 0, None)
        if self.idle_close_ns:
            for number, instrument in self.instruments.items():
                for lane in instrument.lanes:
                    if not lane.timed or lane.bar is None:
                        continue
                    exhausted = lane.kind == PROFILE or lane.empties >= self.empty_bars_max
                    if not lane.bar.trades and exhausted:
                        continue
                    due_ns = lane.bar.end_ns + instrument.skew_ns + self.idle_close_ns
                    if due_ns < found[0]:
                        found = (due_ns, number, lane)
        return found

    def _take(self, row: Rows, number: int) -> None:
        trade = PlainTrade(
            int(row["ts_event_ns"]),
            int(row["ts_recv_ns"]),
            int(row["price_e8"]),
            int(row["quantity_e8"]),
            int(row["trade_id"]),
            int(row["aggressor"]) == 1,
            int(row["flags"]),
            int(row["instrument"]),
        )
        reason = self._fault(trade, int(row["aggressor"]))
        if reason is not None:
            self.dead.append((number, reason))
            return
        if trade.instrument not in self.instruments:
            self.instruments[trade.instrument] = Instrument([Lane(*lane) for lane in self.lanes])
        self.fire(trade.recv_ns)
        instrument = self.instruments[trade.instrument]
        hole = instrument.hole or bool(trade.flags & TradeFlag.HOLE_BEFORE)
        if trade.flags & TradeFlag.OFF_BOOK:
            instrument.hole = hole
            return
        takers = [self._taker(lane, trade) for lane in instrument.lanes]
        if not all(bar is None or bar.sums_fit(trade) for bar in takers):
            self.dead.append((number, DeadReason.OUT_OF_RANGE))
            return
        for lane in instrument.lanes:
            if lane.bar is None and not lane.timed:
                lane.bar = Bar(0, I64_MAX, 0)
            if hole and lane.bar is not None:
                lane.bar.flags |= BarFlag.INCOMPLETE
            if lane.timed:
                self._roll(lane, trade, number, hole)
        too_late = [self._add(lane, trade, number, hole) for lane in instrument.lanes]
        if any(too_late):
            self.dead.append((number, DeadReason.LATE))
        instrument.skew_ns = min(max(trade.recv_ns - trade.event_ns, -DAY_NS), DAY_NS)
        instrument.hole = False

    def _fault(self, trade: PlainTrade, aggressor: int) -> DeadReason | None:
        if aggressor > 1 or trade.flags > 3:
            return DeadReason.UNEXPECTED
        if not all(0 <= time < TIME_MAX_NS for time in trade[:2]):
            return DeadReason.OUT_OF_RANGE
        if trade.flags & TradeFlag.OFF_BOOK:
            return None
        if not 0 < trade.price <= PRICE_MAX or trade.quantity < 1 or trade.notional is None:
            return DeadReason.OUT_OF_RANGE
        return None

    def _taker(self, lane: Lane, trade: PlainTrade) -> Bar | None:
        """The existing bar that takes the trade, if any."""
        if lane.timed and lane.bar is not None and trade.event_ns < lane.bar.start_ns:
            return lane.done if lane.kind != PROFILE and self._in_done(lane, trade) else None
        if lane.timed and (lane.bar is None or trade.event_ns >= lane.bar.end_ns):
            return None
        return lane.bar

    def _in_done(self, lane: Lane, trade: PlainTrade) -> bool:
        return lane.done is not None and lane.done.start_ns <= trade.event_ns < lane.done.end_ns

    def _roll(self, lane: Lane, trade: PlainTrade, number: int, hole: bool) -> None:
        start_ns = lane.start_of(trade.event_ns)
        flags = int(BarFlag.INCOMPLETE) if hole else 0
        if lane.bar is None:
            lane.bar = Bar(start_ns, start_ns + lane.size, 0, flags=flags)
        while lane.bar.start_ns < start_ns:
            following = lane.bar.end_ns
            if not lane.bar.trades and lane.kind != PROFILE and lane.empties >= self.empty_bars_max:
                self.dead.append((number, DeadReason.LIMIT))
                following = start_ns
            else:
                self._close(trade.instrument, lane, trade.recv_ns, number)
            if lane.kind == PROFILE:
                following = start_ns
            lane.bar = Bar(following, following + lane.size, lane.close_of(lane.bar), flags=flags)

    def _add(self, lane: Lane, trade: PlainTrade, number: int, hole: bool) -> bool:
        """True: too late for this lane."""
        assert lane.bar is not None
        if lane.timed and trade.event_ns < lane.bar.start_ns:
            if lane.kind == PROFILE or not self._in_done(lane, trade):
                return True
            assert lane.done is not None
            lane.done.trades.append(trade)
            lane.done.revision += 1
            lane.done.flags = (lane.done.flags | BarFlag.REVISED | (BarFlag.INCOMPLETE if hole else 0)) & ~BarFlag.EMPTY
            self.bars.append(self._row(trade.instrument, lane, lane.done, trade.recv_ns, number))
            if not lane.bar.trades:
                lane.bar.flat = lane.close_of(lane.done)
            return False
        if lane.kind == PROFILE:
            widen(lane, lane.bar, trade.price)
        lane.bar.trades.append(trade)
        lane.empties = 0
        if not lane.timed and lane.full(lane.bar):
            self._close(trade.instrument, lane, trade.recv_ns, number)
            lane.bar = Bar(0, I64_MAX, lane.close_of(lane.bar))
        return False

    def _close(self, instrument: int, lane: Lane, recv_ns: int, number: int) -> None:
        bar = lane.bar
        assert bar is not None
        if lane.kind == PROFILE:
            if bar.trades:
                self.profiles.append(profile_of(bar, recv_ns, number, instrument))
            return
        bar.flags |= 0 if bar.trades else BarFlag.EMPTY
        bar.flags |= 0 if lane.published else BarFlag.FIRST
        lane.empties += 0 if bar.trades else 1
        lane.published += 1
        lane.done = replace(bar, trades=list(bar.trades))
        self.bars.append(self._row(instrument, lane, bar, recv_ns, number))
        lane.bar = replace(bar, flat=lane.close_of(bar))

    def _row(self, instrument: int, lane: Lane, bar: Bar, recv_ns: int, number: int) -> PlainBar:
        trades = lane.ordered(bar)
        prices = [trade.price for trade in trades] or [bar.flat]
        bought = [trade for trade in trades if not trade.sold]
        timed = lane.kind == BarKind.TIME
        return PlainBar(
            bar.end_ns if timed else trades[-1].event_ns,
            recv_ns,
            bar.start_ns if timed else trades[0].event_ns,
            prices[0], max(prices), min(prices), prices[-1],
            sum(trade.quantity for trade in trades),
            sum(trade.quantity for trade in bought),
            sum(trade.notional or 0 for trade in trades),
            lane.size, number, instrument, len(trades), len(bought), bar.revision, lane.kind, int(bar.flags),
        )  # fmt: skip


def widen(lane: Lane, bar: Bar, price: int) -> None:
    """Bins are ticks while every price of the interval has one of its own, then doublings of them."""
    if not bar.width or bar.exact:
        lane.tick = bar.width = math.gcd(lane.tick, price)
    prices = [*(trade.price for trade in bar.trades), price]
    while max(prices) // bar.width - min(prices) // bar.width + 1 > BINS:
        bar.width, bar.exact = bar.width * 2, False


def profile_of(bar: Bar, recv_ns: int, number: int, instrument: int) -> PlainProfile:
    prices = [trade.price for trade in bar.trades]
    low, high = min(prices), max(prices)
    width = bar.width
    while high // width - low // width + 1 > PROFILE_LEVELS:
        width += bar.width
    count = high // width - low // width + 1
    base = low // width * width
    bought, sold, trades = [0] * count, [0] * count, [0] * count
    for trade in bar.trades:
        at = (trade.price - base) // width
        (sold if trade.sold else bought)[at] += trade.quantity
        trades[at] += 1
    both = [b + s for b, s in zip(bought, sold, strict=True)]
    point = both.index(max(both))
    first = last = point
    while sum(both[first : last + 1]) * 10 < sum(both) * 7:
        below = both[first - 1] if first else -1
        above = both[last + 1] if last + 1 < count else -1
        if below >= above:
            first -= 1
        else:
            last += 1
    return PlainProfile(
        bar.end_ns, recv_ns, bar.start_ns, base, width, base + point * width + width // 2,
        base + (last + 1) * width, base + first * width, sum(both), sum(both[first : last + 1]), number,
        bought, sold, trades, instrument, count,
    )  # fmt: skip


def plain_bars(rows: Rows) -> list[PlainBar]:
    """Bar rows in the twin's form."""
    return [PlainBar(*(int(row[name]) for name in PlainBar._fields)) for row in rows]


def plain_profiles(rows: Rows) -> list[PlainProfile]:
    """Profile rows in the twin's form."""
    plain = []
    for row in rows:
        count = int(row["bucket_count"])
        values: list[Any] = []
        for name in PlainProfile._fields:
            value = row[name]
            if value.shape:
                assert not value[count:].any(), f"{name} beyond bucket_count"
                values.append([int(one) for one in value[:count]])
            else:
                values.append(int(value))
        plain.append(PlainProfile(*values))
    return plain
