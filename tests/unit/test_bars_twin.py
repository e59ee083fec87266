"""Bars and profiles equal their plain twin, row for row, on streams with everything that may go wrong mixed in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.api import Batch, Outputs
from processors.bars import BAR_OUTPUT, PROFILE_OUTPUT, Bars, BarsParameters
from schemas.address import Origin
from schemas.declare import Rows
from schemas.events import BAR, VOLUME_PROFILE, DeadReason
from tests.laws.rows import INSTRUMENTS, trade_rows
from tests.recordings import recording
from tests.reference.bars import PlainBars, plain_bars, plain_profiles
from tests.reference.recorded import read_recording

ORIGIN = Origin(2, 1, 64, 9)
MANY = BarsParameters(
    intervals="1s,7s,1m,1d,1w", tick_bars="1,3", volume_bars="2.5", notional_bars="0.00100000", empty_bars_max=4
)


def rows_of(out: Outputs, output: int) -> Rows:
    parts = [emitted.rows for emitted in out.emitted if emitted.output == output]
    return np.concatenate(parts) if parts else (BAR, VOLUME_PROFILE)[output].empty()


def check_equal(parameters: BarsParameters, rows: Rows, end_ns: int = 0) -> None:
    """Run both; compare bars, profiles and dead letters. `end_ns`: then fire timers up to it."""
    bars = Bars(parameters)
    plain = PlainBars(parameters.lanes(), parameters.idle_close_ns, parameters.empty_bars_max)
    out = Outputs(bars.outputs, ORIGIN)
    state = bars.initial_state()
    bars.on_batch(state, Batch(0, ORIGIN, 501, rows), out)
    plain.take(rows, 501)
    if end_ns:
        bars.on_time(state, end_ns, out)
        plain.fire(end_ns)
    assert plain_bars(rows_of(out, BAR_OUTPUT)) == plain.bars
    assert plain_profiles(rows_of(out, PROFILE_OUTPUT)) == plain.profiles
    assert [(int(dead.rows["cause_row"][0]), DeadReason(dead.rows["reason"][0])) for dead in out.dead] == plain.dead


@settings(max_examples=150, deadline=None)
@given(trade_rows(), st.sampled_from([MANY, BarsParameters(), BarsParameters("1m", profile_interval="1s")]))
def test_any_stream_gives_what_the_plain_twin_gives(rows: Rows, parameters: BarsParameters) -> None:
    check_equal(parameters, rows)


@settings(max_examples=100, deadline=None)
@given(trade_rows(), st.integers(0, 100), st.sampled_from([1, 200_000_000, 5_000_000_000]))
def test_idle_bars_are_closed_as_the_plain_twin_closes_them(rows: Rows, later_s: int, idle_close_ns: int) -> None:
    parameters = BarsParameters(
        intervals="1s,1m", tick_bars="2", profile_interval="5s", idle_close_ns=idle_close_ns, empty_bars_max=3
    )
    check_equal(parameters, rows, int(np.clip(rows["ts_recv_ns"], 0, 1 << 61).max()) + later_s * 1_000_000_000)


@settings(max_examples=60, deadline=None)
@given(trade_rows(instruments=INSTRUMENTS[:1], bad=False, trades_max=80))
def test_one_instrument_gives_what_the_plain_twin_gives(rows: Rows) -> None:
    check_equal(MANY, rows)


@pytest.mark.recording
@pytest.mark.parametrize(
    "name", [pytest.param("usdm_btcusdt_20240808.gz", marks=pytest.mark.slow), "spot_ethusdt_20240808.gz"]
)
def test_real_trades_give_what_the_plain_twin_gives(name: str) -> None:
    trades = read_recording(recording(name)).trades[:4000]
    check_equal(BarsParameters("1s,1m,1d", "100", "5", "100000", profile_interval="1m"), trades)
