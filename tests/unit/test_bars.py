"""Bars beyond their tapes: sums over real trades, bounds, parameters."""

from __future__ import annotations

import numpy as np
import pytest

from processors.api import NEVER_NS, Batch, Outputs, State
from processors.bars import BAR_OUTPUT, PROFILE_OUTPUT, Bars, BarsParameters, interval_ns
from schemas.address import Origin
from schemas.declare import Rows
from schemas.errors import ConfigInvalid
from schemas.events import TRADE, BarFlag, BarKind, DeadReason, Side
from tests.laws.rows import to_rows
from tests.recordings import recording
from tests.reference.money import multiply_e8
from tests.reference.recorded import read_recording

ORIGIN = Origin(2, 0, 1, 1)
SECOND_NS = 1_000_000_000


def feed(bars: Bars, state: State, rows: Rows) -> Outputs:
    out = Outputs(bars.outputs, ORIGIN)
    bars.on_batch(state, Batch(0, ORIGIN, 1, rows), out)
    return out


def rows_of(out: Outputs, output: int) -> Rows:
    return np.concatenate([emitted.rows for emitted in out.emitted if emitted.output == output])


@pytest.mark.recording
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("usdm_btcusdt_20240808.gz", marks=pytest.mark.slow),
        pytest.param("usdm_ethusdt_20240808.gz", marks=pytest.mark.slow),
        pytest.param("spot_btcusdt_20240808.gz", marks=pytest.mark.slow),
        "spot_ethusdt_20240808.gz",
    ],
)
def test_bars_of_every_kind_add_up_to_the_trades(name: str) -> None:
    """To the last unit. A far trade closes what is open."""
    trades = read_recording(recording(name)).trades
    last = trades[-1:].copy()
    last["ts_event_ns"] += 40 * 86_400 * SECOND_NS
    bars = Bars(BarsParameters("1s,5m,1d,1w", "1,100", "0.5,100", "1000,1000000", "1m", empty_bars_max=50))
    out = feed(bars, bars.initial_state(), np.concatenate([trades, last]))
    rows = rows_of(out, BAR_OUTPUT)
    notional = sum(multiply_e8(p, q) or 0 for p, q in trades[["price_e8", "quantity_e8"]].tolist())
    bought = trades["aggressor"] == Side.BUY
    for kind, size in {(int(kind), int(size)) for kind, size in rows[["kind", "size"]].tolist()}:
        ours = rows[(rows["kind"] == kind) & (rows["size"] == size)]
        count = int(ours["trade_count"].sum())
        if kind == BarKind.TIME:
            assert count == len(trades)
            assert int(ours["volume_e8"].sum()) == int(trades["quantity_e8"].sum())
            assert int(ours["buy_volume_e8"].sum()) == int(trades["quantity_e8"][bought].sum())
            assert int(ours["notional_e8"].sum()) == notional
            assert int(ours["buy_count"].sum()) == int(bought.sum())
            assert (np.diff(ours["ts_open_ns"]) >= size).all()
        else:
            both = np.concatenate([trades, last])
            assert int(ours["volume_e8"].sum()) == int(both["quantity_e8"][:count].sum())
            assert int(ours["high_e8"].max()) == int(both["price_e8"][:count].max())
            assert (ours["trade_count"] == size).all() or kind != BarKind.TICK
            assert (ours["volume_e8"] >= size).all() or kind != BarKind.VOLUME
            assert (ours["notional_e8"] >= size).all() or kind != BarKind.NOTIONAL
    profiles = rows_of(out, PROFILE_OUTPUT)
    assert int(profiles["volume_e8"].sum()) == int(trades["quantity_e8"].sum())
    assert int(profiles["trade_count"].sum()) == len(trades)
    assert int(profiles["buy_volume_e8"].sum()) == int(trades["quantity_e8"][bought].sum())
    assert (profiles["value_area_volume_e8"] * 10 >= profiles["volume_e8"] * 7).all()
    assert (profiles["bucket_width_e8"] % (10_000_000 if "usdm_btc" in name else 1_000_000) == 0).all()


def test_open_bars_of_different_instruments_do_not_mix() -> None:
    bars = Bars(BarsParameters("1s", profile_interval=""))
    state = bars.initial_state()
    one = {"price_e8": 5, "quantity_e8": 1, "ts_recv_ns": 1}
    times = [(1, 10), (2, 20), (1, 30), (2, SECOND_NS), (1, SECOND_NS)]
    rows = to_rows(TRADE, [one | {"instrument": who, "ts_event_ns": when, "price_e8": who} for who, when in times])
    out = rows_of(feed(bars, state, rows), BAR_OUTPUT)
    assert out[["instrument", "trade_count", "close_e8"]].tolist() == [(2, 1, 2), (1, 2, 1)]
    assert (out["flags"] == BarFlag.FIRST).all()


def test_many_instruments_keep_their_bars_while_arrays_grow() -> None:
    bars = Bars(BarsParameters("1s", instruments_max=50))
    state = bars.initial_state()
    one = {"quantity_e8": 1, "ts_recv_ns": 1}
    first = [one | {"instrument": 64 * k + 1, "price_e8": k + 1} for k in range(50)]
    later = [row | {"ts_event_ns": SECOND_NS} for row in first]
    out = feed(bars, state, to_rows(TRADE, first + later + [later[0] | {"instrument": 5}]))
    assert rows_of(out, BAR_OUTPUT)["close_e8"].tolist() == list(range(1, 51))
    assert [DeadReason(dead.rows["reason"][0]) for dead in out.dead] == [DeadReason.LIMIT]


def test_gap_of_years_in_seconds_stays_bounded() -> None:
    bars = Bars(BarsParameters("1s,1m", empty_bars_max=10_000, profile_interval=""))
    one = {"instrument": 1, "quantity_e8": 1, "price_e8": 7, "ts_recv_ns": 1}
    years_ns = 50 * 365 * 86_400 * SECOND_NS
    out = feed(bars, bars.initial_state(), to_rows(TRADE, [one, one | {"ts_event_ns": years_ns}]))
    rows = rows_of(out, BAR_OUTPUT)
    assert len(rows) == 2 * 10_001
    assert [DeadReason(dead.rows["reason"][0]) for dead in out.dead] == [DeadReason.LIMIT] * 2
    assert int(rows["ts_event_ns"][10_000]) == 10_001 * SECOND_NS


def test_without_idle_closing_there_is_no_deadline() -> None:
    bars = Bars()
    state = bars.initial_state()
    feed(bars, state, to_rows(TRADE, [{"instrument": 1, "quantity_e8": 1, "price_e8": 7, "ts_recv_ns": 1}]))
    assert bars.next_deadline_ns(state) == NEVER_NS
    out = Outputs(bars.outputs)
    bars.on_time(state, 1 << 60, out)
    assert out.emitted == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("1s", SECOND_NS), ("90s", 90 * SECOND_NS), ("1d", 86_400 * SECOND_NS), ("1w", 604_800 * SECOND_NS)],
)
def test_intervals_are_read(text: str, size: int) -> None:
    assert interval_ns(text) == size


@pytest.mark.parametrize(
    ("given_parameters", "words"),
    [
        ({"intervals": "1x"}, "no interval"),
        ({"intervals": "0s"}, "no interval"),
        ({"intervals": "25h"}, "no interval"),
        ({"intervals": "2w"}, "no interval"),
        ({"intervals": "1m,,5m"}, "no interval"),
        ({"intervals": "60s,1m"}, "twice"),
        ({"intervals": "", "profile_interval": ""}, "0 kinds of bars"),
        ({"profile_interval": "1m,5m"}, "one interval"),
        ({"tick_bars": "0"}, "no number of trades"),
        ({"tick_bars": "1.5"}, "no number of trades"),
        ({"volume_bars": "0"}, "not above 0"),
        ({"volume_bars": "0.123456789"}, "more than 8 decimals"),
        ({"notional_bars": "much"}, "cannot have the size"),
        ({"empty_bars_max": -1}, "possible are 0"),
        ({"idle_close": 1}, "no parameter"),
        ({"tick_bars": ",".join(str(k) for k in range(1, 40))}, "1 to 32"),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_a_sentence(
    given_parameters: dict[str, int | str | bool], words: str
) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        Bars.make(given_parameters)


def test_one_number_is_a_list_too() -> None:
    assert Bars.make({"tick_bars": 100}).parameters == BarsParameters(tick_bars="100")
