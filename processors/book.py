"""Rule `book`: changes of order books → best bid and offer with trust, and snapshots of the top levels.

Every level is kept, however far from the touch. What follows from a row is decided in
`processors/kernels/book.py`; this file gives it memory, timers and words for what was put aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from processors.api import NEVER_NS, Batch, Outputs, Parameters, State
from processors.kernels import book as kernel
from processors.kernels import ladder
from processors.kernels.slots import enter_slot, find_slot
from processors.parameters import check_range, read_parameters
from processors.words import as_rows, as_words, copy_sparse, index_size
from schemas.address import NO_ORIGIN
from schemas.declare import Event
from schemas.errors import ConfigInvalid
from schemas.events import BOOK_DELTA, BOOK_SNAPSHOT, QUOTE, DeadReason, DeltaFlag, Side, Trust
from schemas.money import format_e8

QUOTE_OUTPUT, SNAPSHOT_OUTPUT = 0, 1
QUOTES_PER_CALL_MAX = 8192  # room for outputs of one kernel call; the call is repeated when it is used up
SNAPSHOTS_PER_CALL_MAX = 512
DEAD_PER_CALL_MAX = 256
FAR_LEVELS_FIRST = 4  # levels of a side outside of the window that fit at first; doubles up to the bound
DAY_NS = 86_400_000_000_000

# The kernel reads and writes rows as 64-bit words: these layouts are part of its contract.
assert (BOOK_DELTA.dtype.itemsize, QUOTE.dtype.itemsize, BOOK_SNAPSHOT.dtype.itemsize) == (
    7 * 8,
    kernel.QUOTE_WORDS * 8,
    kernel.SNAPSHOT_WORDS * 8,
)
assert BOOK_DELTA.dtype.names == (
    "ts_event_ns", "ts_recv_ns", "update_id", "price_e8", "quantity_e8", "cause_row",
    "instrument", "side", "action", "flags", "reserved",
)  # fmt: skip

_FAULTS: Mapping[int, str] = {
    kernel.BAD_ACTION: "action {action} is unknown",
    kernel.BAD_SIDE: "side {side} is unknown",
    kernel.BAD_FLAGS: "flags {flags} are unknown",
    kernel.BAD_TIME: "time {ts_event_ns} or {ts_recv_ns} ns is not between 1970 and 2116",
    kernel.BAD_PRICE: "price {price} is not above 0 and at most 46,116,860,184",
    kernel.BAD_QUANTITY: "quantity {quantity} is negative",
    kernel.NO_SNAPSHOT: "a level of a snapshot whose first row was not seen",
    kernel.FAR_FULL: "more levels far from the touch than overflow_levels_max = {levels_max} a side; the book is not "
    "trusted until its next snapshot",
    kernel.NO_SLOT: "more instruments than instruments_max = {instruments_max}",
}


@dataclass(frozen=True)
class BookParameters:
    """Bounds and intervals.

    Attributes:
        instruments_max: books of one task. Each has 16 bytes × ladder_ticks, of which pages never touched cost
            nothing, and 64 bytes for each level that the fullest far map had room for.
        ladder_ticks: width of the fast window of one side, in ticks; a power of two.
        overflow_levels_max: levels of one side outside of that window; a power of two.
        stale_after_ns: a book whose stream is silent for so long (our clock) is STALE; 0: never.
        snapshot_every_ns: venue time between snapshots.
    """

    instruments_max: int = 1024
    ladder_ticks: int = 1 << 16
    overflow_levels_max: int = 1 << 13
    stale_after_ns: int = 5_000_000_000
    snapshot_every_ns: int = 1_000_000_000

    def __post_init__(self) -> None:
        check_range("book", "instruments_max", self.instruments_max, 1, 1 << 16)
        check_range("book", "ladder_ticks", self.ladder_ticks, 64, 1 << 20)
        check_range("book", "overflow_levels_max", self.overflow_levels_max, 4, 1 << 20)
        check_range("book", "stale_after_ns", self.stale_after_ns, 0, DAY_NS)
        check_range("book", "snapshot_every_ns", self.snapshot_every_ns, 1_000_000, DAY_NS)
        for name in ("ladder_ticks", "overflow_levels_max"):
            if getattr(self, name) & (getattr(self, name) - 1):
                raise ConfigInvalid(f"Rule book: {name} is {getattr(self, name)}; it must be a power of two.")


class Touch(NamedTuple):
    """Best bid and offer of a book; 0 where a side is empty."""

    bid_price_e8: int
    bid_quantity_e8: int
    ask_price_e8: int
    ask_quantity_e8: int
    update_id: int
    trust: Trust


class _Scratch:
    """What the kernel writes into before it is emitted; nothing in it means anything after a call of `on_batch`."""

    def __init__(self) -> None:
        self.quotes = np.empty((QUOTES_PER_CALL_MAX, kernel.QUOTE_WORDS), dtype=np.int64)
        self.snapshots = np.empty((SNAPSHOTS_PER_CALL_MAX, kernel.SNAPSHOT_WORDS), dtype=np.int64)
        self.dead = np.empty((DEAD_PER_CALL_MAX, 3), dtype=np.int64)
        self.cursor = np.zeros(kernel.CURSOR_SIZE, dtype=np.int64)


class Book:
    """The processor. All state is in the arrays described in `processors/kernels/book.py`."""

    name = "book"
    version = 1
    inputs: tuple[Event, ...] = (BOOK_DELTA,)
    outputs: tuple[Event, ...] = (QUOTE, BOOK_SNAPSHOT)

    def __init__(self, parameters: BookParameters | None = None) -> None:
        self.parameters = parameters or BookParameters()
        self._settings = np.zeros(kernel.SETTINGS_SIZE, dtype=np.int64)
        self._settings[kernel.STALE_AFTER_NS] = self.parameters.stale_after_ns
        self._settings[kernel.SNAPSHOT_EVERY_NS] = self.parameters.snapshot_every_ns
        self._settings[kernel.FAR_CAPACITY_MAX] = 2 * self.parameters.overflow_levels_max
        self._idle: list[_Scratch] = []

    @classmethod
    def make(cls, parameters: Parameters) -> Book:
        """From parameters by name; raises ConfigInvalid."""
        return cls(read_parameters(BookParameters, parameters, cls.name))

    def initial_state(self) -> State:
        return self._arrays(1, 2 * FAR_LEVELS_FIRST)

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        words = as_words(batch.rows)
        scratch = self._idle.pop() if self._idle else _Scratch()
        at, status = 0, kernel.FULL
        while status != kernel.DONE:
            status = kernel.apply_rows(
                words, batch.row_first, at, self._settings, state["slots"], state["index"], state["books"],
                state["sides"], state["ladder"], state["occupied"], state["far"], scratch.quotes, scratch.snapshots,
                scratch.dead, scratch.cursor,
            )  # fmt: skip
            at, quotes, snapshots, dead, _ = scratch.cursor.tolist()
            if quotes:
                out.emit(QUOTE_OUTPUT, as_rows(scratch.quotes, quotes, QUOTE.dtype))
            if snapshots:
                out.emit(SNAPSHOT_OUTPUT, as_rows(scratch.snapshots, snapshots, BOOK_SNAPSHOT.dtype))
            for row, reason, fault in scratch.dead[:dead].tolist():
                self._put_aside(batch, row, DeadReason(reason), fault, out)
            if status == kernel.TIMER_DUE:
                self._fire(state, int(batch.rows["ts_recv_ns"][at]), out)
            elif status == kernel.SLOT_WANTED and not self._add_slot(state, int(batch.rows["instrument"][at])):
                self._put_aside(batch, at, DeadReason.LIMIT, kernel.NO_SLOT, out)
                at += 1
            elif status == kernel.FAR_WANTED:
                larger = np.zeros_like(state["far"], shape=(len(state["far"]), 2 * state["far"].shape[1], 2))
                ladder.enlarge_far(state["far"], larger)
                state["far"] = larger
        self._idle.append(scratch)

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        self._fire(state, now_ns, out)

    def next_deadline_ns(self, state: State) -> int:
        deadline = int(kernel.earliest_deadline(state["books"], state["slots"][0], self._settings))
        return NEVER_NS if deadline == kernel.NEVER_NS else deadline

    def warm(self) -> None:
        """Run a few rows through every kernel."""
        rule = Book(BookParameters(instruments_max=2, ladder_ticks=64, overflow_levels_max=8, stale_after_ns=1))
        state = rule.initial_state()
        rows = BOOK_DELTA.empty(12)
        rows["instrument"] = 1
        rows["price_e8"] = [10_000, 10_001, 10**15, 10_003, 1, 2, 3, 4, 5, 6, 0, 1]
        rows["quantity_e8"] = 1
        rows["side"] = [0, 1, 1, *[0] * 9]
        rows["action"] = [1, 1, 1, *[0] * 8, 2]
        rows["flags"] = [DeltaFlag.FIRST, 0, DeltaFlag.LAST | DeltaFlag.SNAPSHOT_END, *[DeltaFlag.LAST] * 9]
        rows["ts_recv_ns"] = np.arange(12) * 3
        rule.on_batch(state, Batch(0, NO_ORIGIN, 1, rows), Outputs(self.outputs))
        rule.on_time(state, 99, Outputs(self.outputs))
        rule.next_deadline_ns(state)
        touch(state, 1)

    def _fire(self, state: State, now_ns: int, out: Outputs) -> None:
        """Fire due timers. Their rows have no cause, whoever called."""
        slots = int(state["slots"][0])
        quotes = np.empty((slots, kernel.QUOTE_WORDS), dtype=np.int64)
        count = kernel.fire_due(state["books"], slots, self._settings, now_ns, quotes)
        origin, out.origin = out.origin, NO_ORIGIN
        out.emit(QUOTE_OUTPUT, as_rows(quotes, count, QUOTE.dtype))
        out.origin = origin

    def _put_aside(self, batch: Batch, at: int, reason: DeadReason, fault: int, out: Outputs) -> None:
        row = batch.rows[at]
        values = {name: int(row[name]) for name in ("side", "action", "flags", "ts_event_ns", "ts_recv_ns")}
        values["levels_max"] = self.parameters.overflow_levels_max
        values["instruments_max"] = self.parameters.instruments_max
        amounts = {name: format_e8(int(row[f"{name}_e8"])) for name in ("price", "quantity")}
        out.put_aside(
            reason,
            batch.row_first + at,
            _FAULTS[fault].format(**values, **amounts),
            ts_recv_ns=int(row["ts_recv_ns"]),
            instrument=int(row["instrument"]),
            payload=row.tobytes(),
        )

    def _arrays(self, slots: int, far: int) -> State:
        """Fresh arrays for so many instruments. Zeroed memory costs nothing until it is touched."""
        cells = self.parameters.ladder_ticks
        sides = np.zeros((slots * 2, ladder.SIDE_COLUMNS), dtype=np.int64)
        sides[:, ladder.TOP] = -1
        return {
            "slots": np.zeros(1, dtype=np.int64),
            "index": np.zeros(index_size(slots), dtype=np.int64),
            "books": np.zeros((slots, kernel.BOOK_COLUMNS), dtype=np.int64),
            "sides": sides,
            "ladder": np.zeros((slots * 2, cells), dtype=np.int64),
            "occupied": np.zeros((slots * 2, cells // 64), dtype=np.uint64),
            "far": np.zeros((slots * 2, far, 2), dtype=np.int64),
        }

    def _add_slot(self, state: State, instrument: int) -> bool:
        """A slot for a new instrument; arrays double when they are full. False: the bound is reached."""
        slot = int(state["slots"][0])
        if slot == self.parameters.instruments_max:
            return False
        if slot == len(state["books"]):
            larger = self._arrays(min(2 * slot, self.parameters.instruments_max), state["far"].shape[1])
            for name in ("books", "sides", "occupied", "far"):
                larger[name][: len(state[name])] = state[name]
            copy_sparse(larger["ladder"], state["ladder"])
            for known in range(slot):
                enter_slot(larger["index"], larger["books"], larger["books"][known, kernel.INSTRUMENT], known)
            state.update(larger)
        enter_slot(state["index"], state["books"], instrument, slot)
        state["slots"][0] = slot + 1
        return True


def touch(state: State, instrument: int) -> Touch:
    """What the book last published; all 0 and EMPTY for an instrument it has not seen."""
    slot = int(find_slot(state["index"], state["books"], instrument))
    if slot < 0:
        return Touch(0, 0, 0, 0, 0, Trust.EMPTY)
    row = state["books"][slot].tolist()
    bid_price, bid_quantity, ask_price, ask_quantity = row[kernel.QUOTED : kernel.QUOTED + 4]
    trust = Trust(row[kernel.TRUST])
    return Touch(bid_price, bid_quantity, ask_price, ask_quantity, row[kernel.UPDATE_ID], trust)


def levels(state: State, instrument: int, side: Side) -> list[tuple[int, int]]:
    """Every level of one side, best first: (price_e8, quantity_e8)."""
    slot = int(find_slot(state["index"], state["books"], instrument))
    if slot < 0:
        return []
    line = slot * 2 + side
    row = state["sides"][line]
    cells = np.flatnonzero(state["ladder"][line])
    near = zip(row[ladder.BASE] + cells * row[ladder.STEP], state["ladder"][line][cells], strict=True)
    far = [(price, quantity) for price, quantity in state["far"][line] if price]
    every = [(int(price), int(quantity)) for price, quantity in [*near, *far]]
    return sorted(every, reverse=side == Side.BUY)


def counts(state: State, instrument: int) -> dict[str, int]:
    """What happened to the book: gaps, crossings, stalls, unfollowed updates, moves of its window."""
    slot = int(find_slot(state["index"], state["books"], instrument))
    if slot < 0:
        return {"gaps": 0, "crossings": 0, "stalls": 0, "unfollowed": 0, "moves": 0}
    row = state["books"][slot]
    names = {"gaps": kernel.GAPS, "crossings": kernel.CROSSINGS, "stalls": kernel.STALLS,
             "unfollowed": kernel.UNFOLLOWED}  # fmt: skip
    moves = int(state["sides"][slot * 2 : slot * 2 + 2, ladder.MOVES].sum())
    return {name: int(row[column]) for name, column in names.items()} | {"moves": moves}


def far_levels(state: State, instrument: int) -> int:
    """How many levels are outside the ladder's window."""
    slot = int(find_slot(state["index"], state["books"], instrument))
    return 0 if slot < 0 else int(state["sides"][slot * 2 : slot * 2 + 2, ladder.FAR].sum())
