"""Rule `bars`: trades → bars by time, trades, volume and notional, and volume profiles.

Time is the venue's. What follows from a trade is decided in `processors/kernels/bars.py` and `profile.py`; this
file reads the parameters, gives the kernels memory and timers, and finds words for what was put aside.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from processors.api import NEVER_NS, Batch, Outputs, Parameters, State
from processors.kernels import bars as kernel
from processors.kernels import profile
from processors.kernels.slots import enter_slot, find_slot
from processors.parameters import check_range, read_parameters
from processors.words import as_rows, as_words, copy_sparse, index_size
from schemas.address import NO_ORIGIN
from schemas.declare import Event
from schemas.errors import ConfigInvalid, InputInvalid
from schemas.events import BAR, TRADE, VOLUME_PROFILE, BarKind, DeadReason
from schemas.money import format_e8, parse_e8

BAR_OUTPUT, PROFILE_OUTPUT = 0, 1
LANES_MAX = 32  # bars of one instrument that are open at once; a dead letter names them by bits
BARS_PER_CALL_MAX = 4096  # room for outputs of one kernel call; the call is repeated when it is used up
PROFILES_PER_CALL_MAX = 64
DEAD_PER_CALL_MAX = 256
SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS
WEEK_NS = 7 * DAY_NS
MONDAY_NS = 4 * DAY_NS  # the epoch was a Thursday
_UNITS_NS = {"s": SECOND_NS, "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS, "d": DAY_NS, "w": WEEK_NS}

# The kernel reads and writes rows as 64-bit words: these layouts are part of its contract.
assert (TRADE.dtype.itemsize, BAR.dtype.itemsize, VOLUME_PROFILE.dtype.itemsize) == (
    7 * 8,
    kernel.BAR_WORDS * 8,
    profile.PROFILE_WORDS * 8,
)
assert TRADE.dtype.names == (
    "ts_event_ns", "ts_recv_ns", "price_e8", "quantity_e8", "trade_id", "cause_row",
    "instrument", "aggressor", "flags", "reserved",
)  # fmt: skip

_FAULTS: Mapping[int, str] = {
    kernel.BAD_SIDE: "aggressor {aggressor} is unknown",
    kernel.BAD_FLAGS: "flags {flags} are unknown",
    kernel.BAD_TIME: "time {ts_event_ns} or {ts_recv_ns} ns is not between 1970 and 2116",
    kernel.BAD_PRICE: "price {price} is not above 0 and at most 46,116,860,184",
    kernel.BAD_QUANTITY: "quantity {quantity} is not above 0",
    kernel.BAD_NOTIONAL: "{price} × {quantity} is more than 92,233,720,368",
    kernel.TOO_MUCH: "with quantity {quantity} a bar would hold more than 92,233,720,368, or 65,535 revisions",
    kernel.TOO_LATE: "trade {trade_id} of {ts_event_ns} ns is older than the last published bar: not in {lanes}",
    kernel.JUMPED: "{number} empty bars of {lane} before trade {trade_id} were not published "
    "(empty_bars_max = {empty_bars_max})",
    kernel.NO_SLOT: "more instruments than instruments_max = {instruments_max}",
}


@dataclass(frozen=True)
class BarsParameters:
    """Which bars, alike for all instruments.

    Attributes:
        intervals: time bars: `30s`, `5m`, `4h`, `1d` or `1w`, with commas between; a whole number of seconds up to
            a day, counted from the epoch, or a week from Monday on.
        tick_bars: trades per bar, such as `100,1000`.
        volume_bars, notional_bars: amounts with up to eight decimals, such as `0.5,100`.
        profile_interval: interval of the volume profile; empty for none.
        idle_close_ns: without trades, close a time bar so long after its end, by our clock corrected by the skew
            of the last trade; 0: only a trade closes bars.
        empty_bars_max: empty bars in a row for one instrument and interval; a longer gap is jumped.
        instruments_max: instruments of one task; about 100 kB each.
    """

    intervals: str = "1s,1m,5m,15m,1h,4h,1d"
    tick_bars: str = ""
    volume_bars: str = ""
    notional_bars: str = ""
    profile_interval: str = "5m"
    idle_close_ns: int = 0
    empty_bars_max: int = 3600
    instruments_max: int = 1024

    def __post_init__(self) -> None:
        check_range("bars", "idle_close_ns", self.idle_close_ns, 0, DAY_NS)
        check_range("bars", "empty_bars_max", self.empty_bars_max, 0, 1 << 20)
        check_range("bars", "instruments_max", self.instruments_max, 1, 1 << 16)
        lanes = self.lanes()
        if not 1 <= len(lanes) <= LANES_MAX:
            raise ConfigInvalid(f"Rule bars: {len(lanes)} kinds of bars; 1 to {LANES_MAX} are possible.")
        if len(set(lanes)) != len(lanes):
            raise ConfigInvalid("Rule bars: the same bar is asked for twice.")

    def lanes(self) -> list[tuple[int, int]]:
        """(kind, size) of every lane; the profile last.

        Raises:
            ConfigInvalid: a text that is no size, or no possible one.
        """
        lanes = [(int(BarKind.TIME), interval_ns(text)) for text in _items(self.intervals)]
        lanes += [(int(BarKind.TICK), _count(text)) for text in _items(self.tick_bars)]
        lanes += [(int(BarKind.VOLUME), _amount(text)) for text in _items(self.volume_bars)]
        lanes += [(int(BarKind.NOTIONAL), _amount(text)) for text in _items(self.notional_bars)]
        lanes += [(kernel.PROFILE, interval_ns(text)) for text in _items(self.profile_interval)]
        if sum(kind == kernel.PROFILE for kind, _ in lanes) > 1:
            raise ConfigInvalid(f"Rule bars: profile_interval is one interval, not {self.profile_interval!r}.")
        return lanes


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text.strip() else []


def interval_ns(text: str) -> int:
    """`5m` → nanoseconds.

    Raises:
        ConfigInvalid: not so written, or not 1 s … 1 d or 1 w.
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    size = int(match[1]) * _UNITS_NS[match[2]] if match else 0
    if not (SECOND_NS <= size <= DAY_NS or size == WEEK_NS):
        raise ConfigInvalid(f"Rule bars: {text!r} is no interval. Write 30s, 5m, 4h: 1 s to 1 d, or 1w.")
    return size


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ConfigInvalid(f"Rule bars: {text!r} is no number of trades. Write 100: 1 to 999,999,999.")
    return int(text)


def _amount(text: str) -> int:
    try:
        amount = parse_e8(text)
    except InputInvalid as error:
        raise ConfigInvalid(f"Rule bars: a volume or notional bar cannot have the size {text!r}: {error}") from None
    if amount <= 0:
        raise ConfigInvalid(f"Rule bars: a volume or notional bar cannot have the size {text!r}: not above 0.")
    return amount


class _Scratch:
    """What the kernels write into before it is emitted; nothing in it means anything after a call of `on_batch`."""

    def __init__(self) -> None:
        self.bars = np.empty((BARS_PER_CALL_MAX, kernel.BAR_WORDS), dtype=np.int64)
        self.profiles = np.empty((PROFILES_PER_CALL_MAX, profile.PROFILE_WORDS), dtype=np.int64)
        self.dead = np.empty((DEAD_PER_CALL_MAX, kernel.DEAD_COLUMNS), dtype=np.int64)
        self.cursor = np.zeros(kernel.CURSOR_SIZE, dtype=np.int64)

    def emit(self, out: Outputs) -> int:
        """Emit what a kernel wrote. Returns the row at which it stopped."""
        at, bars, profiles, _, _ = self.cursor.tolist()
        if bars:
            out.emit(BAR_OUTPUT, as_rows(self.bars, bars, BAR.dtype))
        if profiles:
            out.emit(PROFILE_OUTPUT, as_rows(self.profiles, profiles, VOLUME_PROFILE.dtype))
        return int(at)


class Bars:
    """The processor. All state is in the arrays described in `processors/kernels/bars.py`."""

    name = "bars"
    version = 1
    inputs: tuple[Event, ...] = (TRADE,)
    outputs: tuple[Event, ...] = (BAR, VOLUME_PROFILE)

    def __init__(self, parameters: BarsParameters | None = None) -> None:
        self.parameters = parameters or BarsParameters()
        lanes = self.parameters.lanes()
        self._lanes = np.array([_lane(kind, size) for kind, size in lanes], dtype=np.int64)
        self._settings = np.zeros(kernel.SETTINGS_SIZE, dtype=np.int64)
        self._settings[kernel.IDLE_CLOSE_NS] = self.parameters.idle_close_ns
        self._settings[kernel.EMPTY_BARS_MAX] = self.parameters.empty_bars_max
        self._idle: list[_Scratch] = []

    @classmethod
    def make(cls, parameters: Parameters) -> Bars:
        """From parameters by name; raises ConfigInvalid."""
        return cls(read_parameters(BarsParameters, parameters, cls.name))

    def initial_state(self) -> State:
        return self._arrays(1)

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        words = as_words(batch.rows)
        scratch = self._idle.pop() if self._idle else _Scratch()
        at, status = 0, kernel.FULL
        while status != kernel.DONE:
            status = kernel.take_trades(
                words, batch.row_first, at, self._settings, self._lanes, state["slots"], state["index"],
                state["heads"], state["bars"], state["done"], state["shapes"], state["volumes"], scratch.bars,
                scratch.profiles, scratch.dead, scratch.cursor,
            )  # fmt: skip
            at = scratch.emit(out)
            for row, reason, fault, lanes, number in scratch.dead[: scratch.cursor[kernel.DEAD]].tolist():
                self._put_aside(batch, row, DeadReason(reason), fault, lanes, number, out)
            if status == kernel.TIMER_DUE:
                self._fire(state, int(batch.rows["ts_recv_ns"][at]), out)
            elif status == kernel.SLOT_WANTED and not self._add_slot(state, int(batch.rows["instrument"][at])):
                self._put_aside(batch, at, DeadReason.LIMIT, kernel.NO_SLOT, 0, 0, out)
                at += 1
        self._idle.append(scratch)

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        self._fire(state, now_ns, out)

    def next_deadline_ns(self, state: State) -> int:
        if self.parameters.idle_close_ns == 0:
            return NEVER_NS
        slots = state["slots"][0]
        return int(kernel.earliest_deadline(state["heads"], state["bars"], slots, self._lanes, self._settings))

    def warm(self) -> None:
        """Run a few rows through every kernel."""
        rule = Bars(BarsParameters(intervals="1s", tick_bars="2", idle_close_ns=1, empty_bars_max=1))
        state = rule.initial_state()
        rows = TRADE.empty(6)
        rows["instrument"] = 1
        rows["ts_event_ns"] = np.array([1, 1, 2, 9, 9, 8]) * SECOND_NS
        rows["ts_recv_ns"] = rows["ts_event_ns"]
        rows["price_e8"] = [100, 100, 107, 10**13, 10**13, 5]
        rows["quantity_e8"] = [1, 1, 1, 1, 1, -1]
        for first in (1, 7):
            rule.on_batch(state, Batch(0, NO_ORIGIN, first, rows), Outputs(self.outputs))
        rule.on_time(state, 400 * SECOND_NS, Outputs(self.outputs))
        rule.next_deadline_ns(state)
        late_count(state, 1)

    def _fire(self, state: State, now_ns: int, out: Outputs) -> None:
        """Fire due timers. Their rows have no cause, whoever called."""
        origin, out.origin = out.origin, NO_ORIGIN
        scratch = _Scratch()
        status = kernel.FULL if self.parameters.idle_close_ns else kernel.DONE
        while status != kernel.DONE:
            status = kernel.fire_due(
                state["heads"], state["bars"], state["done"], state["shapes"], state["volumes"], state["slots"][0],
                self._lanes, self._settings, now_ns, scratch.bars, scratch.profiles, scratch.cursor,
            )  # fmt: skip
            scratch.emit(out)
        out.origin = origin

    def _put_aside(
        self, batch: Batch, at: int, reason: DeadReason, fault: int, lanes: int, number: int, out: Outputs
    ) -> None:
        row = batch.rows[at]
        names = [_lane_name(int(kind), int(size)) for kind, size in self._lanes[:, [kernel.KIND, kernel.SIZE]]]
        values = {name: int(row[name]) for name in ("aggressor", "flags", "ts_event_ns", "ts_recv_ns", "trade_id")}
        values |= {"number": number, "empty_bars_max": self.parameters.empty_bars_max}
        values["instruments_max"] = self.parameters.instruments_max
        amounts = {name: format_e8(int(row[f"{name}_e8"])) for name in ("price", "quantity")}
        which = ", ".join(name for k, name in enumerate(names) if lanes >> k & 1)
        out.put_aside(
            reason,
            batch.row_first + at,
            _FAULTS[fault].format(
                **values, **amounts, lanes=which, lane=names[lanes] if fault == kernel.JUMPED else ""
            ),
            ts_recv_ns=int(row["ts_recv_ns"]),
            instrument=int(row["instrument"]),
            payload=row.tobytes(),
        )

    def _arrays(self, slots: int) -> State:
        """Fresh arrays for so many instruments. Zeroed memory costs nothing until it is touched."""
        lanes = len(self._lanes)
        bars = np.zeros((slots, kernel.BAR_COLUMNS, lanes), dtype=np.int64)
        bars[:, kernel.START_NS, :] = kernel.UNSET
        return {
            "slots": np.zeros(1, dtype=np.int64),
            "index": np.zeros(index_size(slots), dtype=np.int64),
            "heads": np.zeros((slots, kernel.HEAD_COLUMNS), dtype=np.int64),
            "bars": bars,
            "done": np.zeros((slots, kernel.BAR_COLUMNS, lanes), dtype=np.int64),
            "shapes": np.zeros((slots, profile.SHAPE_COLUMNS), dtype=np.int64),
            "volumes": np.zeros((slots, 3, profile.BINS), dtype=np.int64),
        }

    def _add_slot(self, state: State, instrument: int) -> bool:
        """A slot for a new instrument; arrays double when they are full. False: the bound is reached."""
        slot = int(state["slots"][0])
        if slot == self.parameters.instruments_max:
            return False
        if slot == len(state["heads"]):
            larger = self._arrays(min(2 * slot, self.parameters.instruments_max))
            for name in ("heads", "bars", "done", "shapes"):
                larger[name][: len(state[name])] = state[name]
            copy_sparse(larger["volumes"], state["volumes"])
            for known in range(slot):
                enter_slot(larger["index"], larger["heads"], larger["heads"][known, kernel.INSTRUMENT], known)
            state.update(larger)
        enter_slot(state["index"], state["heads"], instrument, slot)
        state["slots"][0] = slot + 1
        return True


def _lane(kind: int, size: int) -> list[int]:
    """A line of the kernel's `lanes`."""
    line = [0] * kernel.LANE_COLUMNS
    line[kernel.KIND], line[kernel.SIZE] = kind, size
    line[kernel.OFFSET_NS] = MONDAY_NS if size == WEEK_NS else 0
    line[kernel.COUNT_LIMIT] = size if kind == BarKind.TICK else kernel.COUNT_MAX
    line[kernel.VOLUME_LIMIT] = size if kind == BarKind.VOLUME else kernel.I64_MAX
    line[kernel.NOTIONAL_LIMIT] = size if kind == BarKind.NOTIONAL else kernel.I64_MAX
    return line


def _lane_name(kind: int, size: int) -> str:
    """`time 1m`, `tick 100`, `volume 0.5`, `profile 5m`."""
    if kind in (BarKind.TIME, kernel.PROFILE):
        unit = next(unit for unit in "wdhms" if size % _UNITS_NS[unit] == 0)
        name = "time" if kind == BarKind.TIME else "profile"
        return f"{name} {size // _UNITS_NS[unit]}{unit}"
    label = BarKind(kind).name.lower()
    return f"{label} {size if kind == BarKind.TICK else format_e8(size)}"


def late_count(state: State, instrument: int) -> int:
    """Trades of an instrument that came too late for some bar."""
    slot = int(find_slot(state["index"], state["heads"], instrument))
    return 0 if slot < 0 else int(state["heads"][slot, kernel.LATE])
