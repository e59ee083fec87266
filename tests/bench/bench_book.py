"""Order books on a real feed, beside nautilus_trader and hftbacktest: `python -m tests.bench.bench_book`.

Each applies the same synchronised level updates of one recording, snapshot included, from an empty book on. Ours
keeps every level as exact integers, writes a quote row for every change of the touch and a snapshot row every second.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from processors.api import Batch, Outputs
from processors.book import Book, Touch, counts, far_levels, touch
from schemas.address import NO_ORIGIN
from schemas.declare import Rows
from schemas.events import DeltaFlag, Side, Trust
from streams.clock import perf_counter_ns
from tests.bench.result import Result, print_results, seconds_of
from tests.recordings import recordings_dir
from tests.reference.recorded import Recorded, read_recording

RECORDING = "usdm_btcusdt_20240808.gz"
GOAL = 150.0
CALL_GOAL_US = 5.0
MILLION = 1e6


def ours(recorded: Recorded) -> tuple[float, Touch, str]:
    """Million level updates a second in one batch, the last touch, and what was put out."""
    book = Book()
    book.warm()
    rows, last = recorded.deltas, Outputs(book.outputs)
    state = book.initial_state()

    def work() -> None:
        nonlocal state, last
        state, last = book.initial_state(), Outputs(book.outputs)
        book.on_batch(state, Batch(0, NO_ORIGIN, 1, rows), last)

    figure = len(rows) / seconds_of(work, 40) / MILLION
    emitted = [sum(len(one.rows) for one in last.emitted if one.output == k) for k in (0, 1)]
    note = (
        f"{emitted[0]} quotes and {emitted[1]} snapshots written; {far_levels(state, recorded.instrument)} levels are "
        f"beyond the ladder, all kept; window moved {counts(state, recorded.instrument)['moves']} times"
    )
    return figure, touch(state, recorded.instrument), note


def ours_by_event(recorded: Recorded) -> tuple[float, float]:
    """Median and 99th percentile of one call with one venue event, µs."""
    book = Book()
    state, rows = book.initial_state(), recorded.deltas
    ends = (np.flatnonzero(rows["flags"] & DeltaFlag.LAST) + 1).tolist()
    took, start = [], 0
    for end in ends:
        batch, out = Batch(0, NO_ORIGIN, start + 1, rows[start:end]), Outputs(book.outputs)
        started = perf_counter_ns()
        book.on_batch(state, batch, out)
        took.append(perf_counter_ns() - started)
        start = end
    return float(np.percentile(took[100:], 50)) / 1000, float(np.percentile(took[100:], 99)) / 1000


def nautilus(rows: Rows) -> tuple[str, float, tuple[float, float]]:
    """nautilus_trader's OrderBook: ready-made deltas by venue event, and the touch after each."""
    data, enums, objects = (import_module(f"nautilus_trader.model.{name}") for name in ("data", "enums", "objects"))
    model = import_module("nautilus_trader.model.book")
    instrument = import_module("nautilus_trader.model.identifiers").InstrumentId.from_str("BTCUSDT-PERP.BINANCE")
    events: list[Any] = []
    deltas: list[Any] = []
    columns = ("price_e8", "quantity_e8", "side", "flags", "update_id", "ts_event_ns", "ts_recv_ns")
    for price, quantity, side, flags, update_id, event_ns, recv_ns in rows[list(columns)].tolist():
        where = enums.OrderSide.BUY if side == Side.BUY else enums.OrderSide.SELL
        order = data.BookOrder(where, objects.Price(price / 1e8, 1), objects.Quantity(quantity / 1e8, 3), 0)
        action = enums.BookAction.UPDATE if quantity else enums.BookAction.DELETE
        last = flags & DeltaFlag.LAST
        marks = enums.RecordFlag.F_LAST.value if last else 0
        deltas.append(data.OrderBookDelta(instrument, action, order, marks, update_id, event_ns, recv_ns))
        if last:
            events.append(data.OrderBookDeltas(instrument, deltas))
            deltas = []
    book: Any = None

    def work() -> None:
        nonlocal book
        book = model.OrderBook(instrument, enums.BookType.L2_MBP)
        for event in events:
            book.apply_deltas(event)
            book.best_bid_price()
            book.best_ask_price()

    figure = len(rows) / seconds_of(work, 3) / MILLION
    best = (float(book.best_bid_price()), float(book.best_ask_price()))
    return f"nautilus_trader {version('nautilus_trader')} OrderBook", figure, best


def hftbacktest(rows: Rows, kind: str) -> tuple[str, float, tuple[float, float]]:
    """hftbacktest driving its own book over the whole feed in compiled code, no quotes taken on the way.

    Args:
        kind: `HashMap` keeps every level, `ROIVector` only those inside a range given beforehand.
    """
    hft = import_module("hftbacktest")
    events = np.zeros(len(rows), dtype=hft.event_dtype)
    sides = np.where(rows["side"] == Side.BUY, hft.BUY_EVENT, hft.SELL_EVENT).astype(np.uint64)
    events["ev"] = np.uint64(hft.DEPTH_EVENT | hft.LOCAL_EVENT) | sides
    events["exch_ts"] = events["local_ts"] = rows["ts_recv_ns"]
    events["px"], events["qty"] = rows["price_e8"] / 1e8, rows["quantity_e8"] / 1e8

    @njit
    def drive(backtest: Any) -> tuple[float, float]:
        backtest.elapse(10**15)
        depth = backtest.depth(0)
        return depth.best_bid, depth.best_ask

    took, best = [], (0.0, 0.0)
    for _ in range(6):
        asset = hft.BacktestAsset().data([events]).linear_asset(1.0).constant_order_latency(0, 0)
        asset = asset.risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(0, 0)
        asset = asset.tick_size(0.1).lot_size(0.001).last_trades_capacity(0).roi_lb(40_000.0).roi_ub(80_000.0)
        backtest = getattr(hft, f"{kind}MarketDepthBacktest")([asset])
        started = perf_counter_ns()
        best = drive(backtest)
        took.append(perf_counter_ns() - started)
        backtest.close()
    name = f"hftbacktest {version('hftbacktest')} {kind}MarketDepth"
    return name, len(rows) / min(took) * 1000, best


def run() -> list[Result]:
    """Measure. Every book must end at the same touch, or the figures mean nothing."""
    recorded = read_recording(Path(recordings_dir() / RECORDING))
    figure, last, note = ours(recorded)
    assert last.trust is Trust.SYNCED
    peers: list[Callable[[], tuple[str, float, tuple[float, float]]]] = [
        lambda: nautilus(recorded.deltas),
        lambda: hftbacktest(recorded.deltas, "HashMap"),
        lambda: hftbacktest(recorded.deltas, "ROIVector"),
    ]
    results = []
    for peer in peers:
        name, theirs, best = peer()
        for price, price_e8 in zip(best, (last.bid_price_e8, last.ask_price_e8), strict=True):
            assert round(price * 10) == price_e8 // 10**7, f"{name} ends at {best}, we at {last}"
        work = f"L2 book, {len(recorded.deltas):,} level updates of {RECORDING}, one core"
        goal = f"≥ {GOAL:.0f} M level updates/s"
        reached = figure >= GOAL
        results.append(Result(work, round(figure, 1), "M level updates/s", name, round(theirs, 2), goal, reached, note))
    median, slow = ours_by_event(recorded)
    work = f"L2 book, one call for one venue event of {RECORDING}, from Python"
    goal = f"≤ {CALL_GOAL_US:.0f} µs, the book's share of tick to order"
    note = f"p99 {slow:.1f} µs; 68 level updates a call on average"
    results.append(Result(work, round(median, 1), "µs (p50)", "", 0.0, goal, median <= CALL_GOAL_US, note))
    return results


if __name__ == "__main__":
    print_results(run())
