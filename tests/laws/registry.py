"""Every rule that must keep the laws, with streams that try it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from hypothesis import strategies as st

from connectors.binance_spot.exchange import EXCHANGE as SPOT
from connectors.binance_spot.wire import wire as spot_wire
from connectors.binance_usdm.exchange import EXCHANGE as USDM
from connectors.binance_usdm.private_wire import PrivateWire
from connectors.binance_usdm.wire import wire as usdm_wire
from processors.api import Processor
from processors.bars import Bars, BarsParameters
from processors.book import Book, BookParameters
from processors.orders import Orders, OrdersParameters
from processors.positions import Positions, PositionsParameters
from processors.risk import Risk, RiskParameters
from processors.strategy_host import Strategies, StrategiesParameters
from schemas.declare import Rows
from schemas.events import BOOK_DELTA, TRADE, BookAction, DeltaFlag
from tests.laws import ledger_rows, order_rows, risk_rows, strategy_rows
from tests.laws.frames import frame_streams, instrument_of, nonsense
from tests.laws.inputs import Joined
from tests.laws.private_frames import private_nonsense, private_streams
from tests.laws.rows import START_NS, Values, delta_rows, to_rows, trade_rows
from tests.laws.stream import Stream


@dataclass(frozen=True)
class Case:
    """One rule under the laws.

    Attributes:
        name: for the test's id.
        make: the rule; a fresh object every time.
        streams: rows of one writer.
        invalid: single rows that no state of the rule can take.
        instrument: from a row's key to the instrument its answers name.
        state_bytes_max: bound of the state, whatever comes.
    """

    name: str
    make: Callable[[], Processor]
    streams: st.SearchStrategy[Stream]
    invalid: st.SearchStrategy[Stream]
    instrument: Callable[[Hashable], int]
    state_bytes_max: int


def _keyed(rows: Rows) -> Stream:
    return Stream(rows, keys=tuple(int(value) for value in rows["instrument"]))


def _as_is(key: Hashable) -> int:
    assert isinstance(key, int)
    return key


def _bad_deltas() -> st.SearchStrategy[Stream]:
    level: Values = {"ts_event_ns": START_NS, "ts_recv_ns": START_NS, "instrument": 1, "price_e8": 5, "quantity_e8": 5}
    level |= {"flags": DeltaFlag.LAST}
    faults: list[Values] = [
        {"price_e8": 0}, {"price_e8": -10}, {"price_e8": (1 << 62) + 1}, {"quantity_e8": -1}, {"side": 2},
        {"action": 77}, {"flags": 16}, {"ts_event_ns": -1}, {"ts_recv_ns": -1}, {"instrument": 99, "side": 9},
        {"action": BookAction.SNAPSHOT, "flags": DeltaFlag.FIRST, "quantity_e8": -1},
        {"action": BookAction.GAP, "flags": 255}, {"instrument": 1234, "action": BookAction.SNAPSHOT},
    ]  # fmt: skip
    return st.sampled_from(faults).map(lambda fault: _keyed(to_rows(BOOK_DELTA, [level | fault])))


def _bad_trades() -> st.SearchStrategy[Stream]:
    trade: Values = {"ts_event_ns": START_NS, "ts_recv_ns": START_NS, "instrument": 1, "price_e8": 5, "quantity_e8": 5}
    faults: list[Values] = [
        {"price_e8": 0}, {"price_e8": -10}, {"price_e8": (1 << 62) + 1}, {"quantity_e8": 0}, {"quantity_e8": -3},
        {"aggressor": 2}, {"flags": 4}, {"ts_event_ns": -1}, {"ts_recv_ns": -1}, {"instrument": 99, "price_e8": -1},
        {"price_e8": 1 << 60, "quantity_e8": 1 << 60},
    ]  # fmt: skip
    return st.sampled_from(faults).map(lambda fault: _keyed(to_rows(TRADE, [trade | fault])))


def _book() -> Book:
    return Book(BookParameters(instruments_max=3, ladder_ticks=64, overflow_levels_max=512))


def _bars() -> Bars:
    return Bars(
        BarsParameters("1s,7s,1m,1w", "3", "2.5", "0.001", idle_close_ns=0, empty_bars_max=4, instruments_max=3)
    )


def _idle_bars() -> Bars:
    return Bars(BarsParameters("1s,1m", profile_interval="5s", idle_close_ns=200_000_000, empty_bars_max=3))


def _positions() -> Processor:
    return Joined(Positions(PositionsParameters(lots_max=3, trades_remembered=8)))


def _strategies() -> Processor:
    return Joined(Strategies(StrategiesParameters(answer_ns=5 * 10**9, orders_max=4)))


def _orders() -> Processor:
    return Joined(Orders(OrdersParameters(64, 64, 512, query_interval_max_ns=8 * 10**9)))


def _risk() -> Processor:
    return Joined(
        Risk(
            RiskParameters(
                instruments_max=8, accounts_max=4, strategies_max=8, lanes_max=16, orders_max=64, limits_max=64,
                kills_max=16, rates_max=8, repeats_max=64, move_window_ns=8 * 10**9, move_cooldown_ns=2 * 10**9,
                losses_cooldown_ns=4 * 10**9,
            )
        )
    )  # fmt: skip


# Three instruments fit: ladder, bits and far map of two sides; lanes of open and published bars and a histogram.
_BOOK_BYTES = 3 * 2 * (64 * 8 + 8 + 1024 * 16) + 4096
_BARS_BYTES = 3 * (3 * 4096 * 8) + 3 * 2 * 19 * 8 * 8 + 4096

CASES = (
    Case("book", _book, delta_rows().map(_keyed), _bad_deltas(), _as_is, _BOOK_BYTES),
    Case("bars", _bars, trade_rows().map(_keyed), _bad_trades(), _as_is, _BARS_BYTES),
    Case("bars_idle", _idle_bars, trade_rows().map(_keyed), _bad_trades(), _as_is, 1 << 20),
    Case(
        "binance_spot.wire",
        lambda: spot_wire(instruments_max=8),
        frame_streams(SPOT, False),
        nonsense(SPOT),
        instrument_of("binance_spot"),
        1 << 20,
    ),
    Case(
        "binance_usdm.wire",
        lambda: usdm_wire(instruments_max=8),
        frame_streams(USDM, True),
        nonsense(USDM),
        instrument_of("binance_usdm"),
        1 << 20,
    ),
    Case("positions", _positions, ledger_rows.streams(), ledger_rows.invalid(), _as_is, 1 << 16),
    Case("strategies", _strategies, strategy_rows.streams(), strategy_rows.invalid(), _as_is, 1 << 17),
    Case(
        "binance_usdm.orders",
        lambda: PrivateWire(orders_max=64, trades_max=64),
        private_streams(),
        private_nonsense(),
        instrument_of("binance_usdm"),
        1 << 16,
    ),
    Case("orders", _orders, order_rows.streams(), order_rows.invalid(), _as_is, 1 << 18),
    Case("risk", _risk, risk_rows.streams(), risk_rows.invalid(), _as_is, 1 << 17),
)
CASE_BY_NAME = {case.name: case for case in CASES}
