"""Row strategies for the laws: plausible streams with everything that may go wrong mixed in."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from schemas.declare import Event, Rows
from schemas.events import BOOK_DELTA, TRADE, BookAction, DeltaFlag, TradeFlag

INSTRUMENTS = (1, 7, 0xFFFFFFFF)
START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
Values = dict[str, int]

# How far our clock moves between two venue events: mostly little, now and then past every timer, sometimes back.
_steps = st.sampled_from([0, 1, 50_000_000, 999_999_999, SECOND_NS, 3 * SECOND_NS, 5 * SECOND_NS, 61 * SECOND_NS, -7])
_quantities = st.one_of(st.just(0), st.integers(1, 9), st.sampled_from([10**8, (1 << 62) + 1, (1 << 63) - 1]))
_grid = st.integers(0, 30).map(lambda ticks: 10_000 + 100 * ticks)
_prices = st.one_of(
    _grid,
    _grid,
    _grid,
    st.sampled_from([1, 50, 9_999, 10_001, 12_345, 10**6, 10**12, 3 * 10**12 + 7, 1 << 62]),
    st.integers(1, 1 << 62),
)
_LEVEL = st.tuples(st.integers(0, 1), _prices, _quantities)
_bad_values = st.sampled_from([
    {"price_e8": 0}, {"price_e8": -1}, {"price_e8": (1 << 62) + 1}, {"quantity_e8": -1}, {"side": 2}, {"side": 255},
    {"action": 5}, {"action": 255}, {"flags": 8}, {"flags": 255}, {"ts_event_ns": -1}, {"ts_recv_ns": -1},
    {"ts_recv_ns": 1 << 62}, {"ts_event_ns": (1 << 63) - 1},
])  # fmt: skip


def to_rows(event: Event, values: list[Values]) -> Rows:
    """Rows of `event` with the given columns; the others are zero."""
    rows = event.empty(len(values))
    for row, given in zip(rows, values, strict=True):
        for name, value in given.items():
            row[name] = value
    return rows


@st.composite
def delta_events(draw: st.DrawFn, instruments: tuple[int, ...] = INSTRUMENTS, bad: bool = True) -> list[Values]:
    """One venue event of one instrument, without times: its rows."""
    instrument = draw(st.sampled_from(instruments))
    kinds = ["update"] * 6 + ["snapshot"] * 3 + ["gap", "resync", "stale", "stray"] + ["bad"] * 2 * bad
    kind = draw(st.sampled_from(kinds))
    if kind in ("gap", "resync", "stale"):
        return [{"instrument": instrument, "action": BookAction[kind.upper()]}]
    levels = draw(st.lists(_LEVEL, min_size=1, max_size=8))
    rows = [
        {"instrument": instrument, "side": side, "price_e8": price, "quantity_e8": quantity, "flags": 0, "action": 0}
        for side, price, quantity in levels
    ]
    if kind == "snapshot":
        replayed = draw(st.integers(0, len(rows) - 1))
        for row in rows[: len(rows) - replayed]:
            row["action"] = BookAction.SNAPSHOT
        rows[-1]["flags"] = DeltaFlag.LAST | draw(st.sampled_from([DeltaFlag.SNAPSHOT_END] * 4 + [DeltaFlag(0)]))
        rows[0]["flags"] |= draw(st.sampled_from([DeltaFlag.FIRST] * 6 + [DeltaFlag(0)]))
        if draw(st.integers(0, 5)) == 0:  # an empty book
            rows[0] |= {"price_e8": 0, "quantity_e8": 0}
    elif kind == "stray":
        rows[0] |= {"action": draw(st.integers(0, 4)), "flags": draw(st.integers(0, 7))}
    else:
        rows[0]["flags"] |= DeltaFlag.FIRST
        rows[-1]["flags"] |= DeltaFlag.LAST
    if kind == "bad":
        rows[draw(st.integers(0, len(rows) - 1))] |= draw(_bad_values)
    return rows


@st.composite
def delta_rows(
    draw: st.DrawFn, events_max: int = 25, instruments: tuple[int, ...] = INSTRUMENTS, bad: bool = True
) -> Rows:
    """A stream of book deltas of a few instruments."""
    values: list[Values] = []
    recv_ns, update_id = START_NS, 0
    for rows in draw(st.lists(delta_events(instruments, bad), min_size=1, max_size=events_max)):
        recv_ns += draw(_steps)
        event_ns = recv_ns + draw(st.sampled_from([0, -1_270_000_000, 40_000_000]))
        update_id += draw(st.integers(0, 3))
        values += [{"ts_event_ns": event_ns, "ts_recv_ns": recv_ns, "update_id": update_id} | row for row in rows]
    return to_rows(BOOK_DELTA, values)


_trade_prices = st.one_of(_grid, _grid, st.sampled_from([1, 10_050, 10_001, 10**7, 1 << 61]), st.integers(1, 10**13))
_trade_quantities = st.one_of(st.integers(1, 5 * 10**8), st.sampled_from([1, 10**8, 1 << 61, (1 << 63) - 1]))
_trade_bad = st.sampled_from([
    {"price_e8": 0}, {"price_e8": -5}, {"quantity_e8": 0}, {"quantity_e8": -1}, {"aggressor": 2}, {"flags": 4},
    {"ts_event_ns": -1}, {"ts_recv_ns": -1}, {"ts_event_ns": 1 << 62}, {"price_e8": (1 << 62) + 1},
])  # fmt: skip


@st.composite
def trade_rows(
    draw: st.DrawFn, trades_max: int = 40, instruments: tuple[int, ...] = INSTRUMENTS, bad: bool = True
) -> Rows:
    """A stream of trades of a few instruments: in order, late, far ahead, with holes."""
    values: list[Values] = []
    event_ns, recv_ns, trade_id = START_NS, START_NS, 0
    for _ in range(draw(st.integers(1, trades_max))):
        event_ns += draw(_steps)
        recv_ns += draw(_steps)
        trade_id += draw(st.integers(1, 3))
        late_ns = draw(st.sampled_from([0] * 8 + [1, SECOND_NS, 2 * SECOND_NS, 90 * SECOND_NS]))
        row: dict[str, Any] = {
            "ts_event_ns": event_ns - late_ns,
            "ts_recv_ns": recv_ns,
            "price_e8": draw(_trade_prices),
            "quantity_e8": draw(_trade_quantities),
            "trade_id": trade_id,
            "instrument": draw(st.sampled_from(instruments)),
            "aggressor": draw(st.integers(0, 1)),
            "flags": draw(st.sampled_from([0] * 10 + [TradeFlag.HOLE_BEFORE, TradeFlag.OFF_BOOK, 3])),
        }
        if bad and draw(st.integers(0, 9)) == 0:
            row |= draw(_trade_bad)
        values.append(row)
    return to_rows(TRADE, values)


def column(rows: Rows, name: str) -> list[int]:
    """A column as Python integers."""
    return [int(value) for value in np.atleast_1d(rows[name])]
