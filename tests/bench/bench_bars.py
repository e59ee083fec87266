"""Bars and volume profiles on real trades: `python -m tests.bench.bench_bars`."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from processors.api import Batch, Outputs
from processors.bars import BAR_OUTPUT, Bars, BarsParameters
from schemas.address import NO_ORIGIN
from schemas.declare import Rows
from schemas.events import Side
from tests.bench.result import Result, print_results, seconds_of
from tests.recordings import recordings_dir
from tests.reference.recorded import read_recording

RECORDING = "usdm_btcusdt_20240808.gz"
COPIES = 10  # the recording is played so many times, one after the other, to have more than a millisecond of work
GOAL = 40.0
TICKS = 100
MILLION = 1e6


def trades() -> Rows:
    """The recorded trades, repeated with later times and ids."""
    once = read_recording(Path(recordings_dir() / RECORDING)).trades
    span_ns = int(once["ts_event_ns"][-1] - once["ts_event_ns"][0]) + 1_000_000
    parts = []
    for copy in range(COPIES):
        part = once.copy()
        part["ts_event_ns"] += copy * span_ns
        part["ts_recv_ns"] += copy * span_ns
        part["trade_id"] += copy * len(once)
        parts.append(part)
    return np.concatenate(parts)


def ours(rows: Rows, parameters: BarsParameters) -> tuple[float, int]:
    """Million trades a second in one batch, and the bars that came out."""
    bars = Bars(parameters)
    bars.warm()
    out = Outputs(bars.outputs)

    def work() -> None:
        nonlocal out
        out = Outputs(bars.outputs)
        bars.on_batch(bars.initial_state(), Batch(0, NO_ORIGIN, 1, rows), out)

    figure = len(rows) / seconds_of(work) / MILLION
    return figure, sum(len(one.rows) for one in out.emitted if one.output == BAR_OUTPUT)


def nautilus(rows: Rows) -> tuple[str, float, int]:
    """nautilus_trader's tick bars over ready-made trade ticks: one kind of bar."""
    data, enums, objects = (import_module(f"nautilus_trader.model.{name}") for name in ("data", "enums", "objects"))
    aggregation = import_module("nautilus_trader.data.aggregation")
    trade_id = import_module("nautilus_trader.model.identifiers").TradeId
    instrument = import_module("nautilus_trader.test_kit.providers").TestInstrumentProvider.btcusdt_perp_binance()
    sides = {Side.BUY: enums.AggressorSide.BUYER, Side.SELL: enums.AggressorSide.SELLER}
    columns = ["price_e8", "quantity_e8", "aggressor", "trade_id", "ts_event_ns", "ts_recv_ns"]
    ticks = [
        data.TradeTick(
            instrument.id,
            objects.Price(p / 1e8, 1),
            objects.Quantity(q / 1e8, 3),
            sides[Side(s)],
            trade_id(str(t)),
            event,
            recv,
        )
        for p, q, s, t, event, recv in rows[columns].tolist()
    ]
    kind = data.BarType.from_str(f"{instrument.id}-{TICKS}-TICK-LAST-INTERNAL")
    made: list[Any] = []

    def work() -> None:
        made.clear()
        aggregator = aggregation.TickBarAggregator(instrument, kind, made.append)
        for tick in ticks:
            aggregator.handle_trade_tick(tick)

    figure = len(rows) / seconds_of(work, 3) / MILLION
    return f"nautilus_trader {version('nautilus_trader')} TickBarAggregator", figure, len(made)


def run() -> list[Result]:
    """Measure the default bars, and one kind alone beside nautilus_trader."""
    rows = trades()
    ticks_only = BarsParameters(intervals="", tick_bars=str(TICKS), profile_interval="")
    alone, our_bars = ours(rows, ticks_only)
    name, theirs, their_bars = nautilus(rows)
    assert our_bars == their_bars, f"{our_bars} tick bars, {name} makes {their_bars}"
    figure, bars = ours(rows, BarsParameters())
    goal = f"≥ {GOAL:.0f} M trades/s, so that bars do not hold up a replay"
    return [
        Result(
            f"bars of {TICKS} trades, {len(rows):,} trades of {RECORDING}, one core",
            round(alone, 1), "M trades/s", name, round(theirs, 2), goal, alone >= GOAL, f"{our_bars} bars, both",
        ),
        Result(
            f"7 time bars and the volume profile, {len(rows):,} trades of {RECORDING}, one core",
            round(figure, 1), "M trades/s", "", 0.0, goal, figure >= GOAL, f"{bars} bars, exact notional",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    print_results(run())
