"""The real connector against the simulated venue: both halves were written from the same facts, and must agree."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from connectors.binance.wire import BinanceWire
from connectors.binance_spot.exchange import EXCHANGE as SPOT_EXCHANGE
from connectors.binance_spot.wire import wire as spot_wire
from connectors.binance_usdm.exchange import EXCHANGE as FUTURES_EXCHANGE
from connectors.binance_usdm.wire import wire as futures_wire
from connectors.capabilities import StreamKind
from connectors.feed import Feed
from connectors.session import SessionOptions
from connectors.simulator.config import SPEED_MAX, SyntheticConfig, VenueConfig
from connectors.simulator.synthetic import warm
from processors.api import Batch, Outputs
from schemas.declare import Heap, Rows
from schemas.events import RESYNC_REQUEST, BookAction, DeltaFlag
from schemas.instruments import Venue
from tests.recordings import recording
from tests.simulated import Running, running, tiny_lines, write_recording

QUICK = SessionOptions(
    first_data_s=5.0,
    ack_timeout_s=2.0,
    data_silent_s=0.6,
    stream_silent_s={StreamKind.DEPTH: 0.5},
    healthy_after_s=0.2,
    overlap_s=0.1,
    backoff_base_s=0.02,
    backoff_ceiling_s=0.2,
    snapshot_delays_s=(0.0, 0.05),
)
UPDATE, GAP, RESYNC, STALE = BookAction.UPDATE, BookAction.GAP, BookAction.RESYNC, BookAction.STALE
TRADES, DELTAS, TICKERS = 0, 1, 2


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    warm()
    spot_wire().warm()
    futures_wire().warm()


class Ear:
    """A connector in miniature: the session, and the wire rule run over what it records."""

    def __init__(self, rule: BinanceWire) -> None:
        self.rule = rule
        self.state = rule.initial_state()
        self.out = Outputs(rule.outputs)
        self.feed: Feed | None = None
        self._rows = self._seen = 0

    def take(self, shard: int, rows: Rows, heap: Heap) -> None:
        self.rule.on_batch(self.state, Batch(0, self.out.origin, self._rows + 1, rows, heap), self.out)
        self._rows += len(rows)
        asked = self.rule.outputs.index(RESYNC_REQUEST)
        for emitted in self.out.emitted[self._seen :]:
            if emitted.output == asked and self.feed:
                for row in emitted.rows:  # soon, as the connector does: the session is in the middle of something
                    instrument, attempt = int(row["instrument"]), int(row["attempt"])
                    asyncio.get_running_loop().call_soon(partial(self.feed.resync_requested, instrument, attempt))
        self._seen = len(self.out.emitted)

    def rows(self, output: int) -> Rows:
        parts = [emitted.rows for emitted in self.out.emitted if emitted.output == output]
        return np.concatenate(parts) if parts else self.rule.outputs[output].empty()

    @property
    def applied(self) -> int:
        """Order book events that reached the book."""
        deltas = self.rows(DELTAS)
        return int(((deltas["action"] == UPDATE) & (deltas["flags"] & DeltaFlag.FIRST != 0)).sum())

    @property
    def actions(self) -> Counter[BookAction]:
        return Counter(BookAction(action) for action in self.rows(DELTAS)["action"].tolist())


async def listen(venue: Running, symbols: tuple[str, ...], until: str = "done", settle_s: float = 0.5) -> Ear:
    """Connect the real session, hear the play to its end."""
    is_futures = venue.prefix == "/fapi/v1"
    exchange, rule = (FUTURES_EXCHANGE, futures_wire()) if is_futures else (SPOT_EXCHANGE, spot_wire())
    addresses = venue.venue.addresses
    ear = Ear(rule)
    feed = ear.feed = Feed(exchange.at(addresses.stream_url, addresses.rest_url), symbols, ear.take, options=QUICK)
    task = asyncio.create_task(feed.run())
    await venue.until(until, 90.0)
    await asyncio.sleep(settle_s)
    feed.stop()
    await asyncio.wait_for(task, 10.0)
    return ear


def meet(config: VenueConfig, symbols: tuple[str, ...] = ("BTCUSDT",), settle_s: float = 0.5) -> Ear:
    async def met() -> Ear:
        async with running(config) as venue:
            return await listen(venue, symbols, settle_s=settle_s)

    return asyncio.run(met())


def content(ear: Ear) -> list[list[tuple[object, ...]]]:
    """What was heard of the market, without our own clock and numbering."""
    columns = ["ts_event_ns", "update_id", "price_e8", "quantity_e8", "side", "action"]
    deltas = ear.rows(DELTAS)
    updates = deltas[np.isin(deltas["action"], [BookAction.UPDATE, BookAction.SNAPSHOT])]
    by_instrument = [
        updates[updates["instrument"] == one][columns].tolist() for one in np.unique(updates["instrument"])
    ]
    trades = ear.rows(TRADES)
    return [*by_instrument, trades[["ts_event_ns", "trade_id", "price_e8", "quantity_e8"]].tolist()]


@pytest.mark.recording
@pytest.mark.parametrize(
    ("venue", "name", "symbol", "applied", "trades", "tickers"),
    [
        (Venue.BINANCE_USDM, "usdm_btcusdt_20240808.gz", "BTCUSDT", 6547, 21_313, 66_089),
        pytest.param(
            Venue.BINANCE_USDM, "usdm_ethusdt_20240808.gz", "ETHUSDT", 6581, 14_076, 53_992, marks=pytest.mark.slow
        ),
        pytest.param(
            Venue.BINANCE_SPOT, "spot_btcusdt_20240808.gz", "BTCUSDT", 3449, 9_757, 28_040, marks=pytest.mark.slow
        ),
        (Venue.BINANCE_SPOT, "spot_ethusdt_20240808.gz", "ETHUSDT", 3432, 6_106, 24_077),
    ],
)
def test_connector_gets_exactly_the_recorded_synchronisation(
    venue: Venue, name: str, symbol: str, applied: int, trades: int, tickers: int
) -> None:
    ear = meet(VenueConfig(venue, (recording(name),), speed=SPEED_MAX), (symbol,))
    assert (ear.applied, len(ear.rows(TRADES)), len(ear.rows(TICKERS))) == (applied, trades, tickers)
    assert ear.actions[RESYNC] == 1
    assert ear.out.dead == []


@pytest.mark.parametrize("venue", [Venue.BINANCE_USDM, Venue.BINANCE_SPOT])
def test_connector_follows_the_synthetic_market_without_a_gap(venue: Venue) -> None:
    symbols = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    config = VenueConfig(venue, synthetic=SyntheticConfig(seed=3, duration_s=20), speed=SPEED_MAX)
    ear = meet(config, symbols, settle_s=0.1)
    assert ear.actions[RESYNC] == 3
    assert ear.actions[STALE] == 0
    assert len(ear.rows(TRADES)) > 500
    assert ear.out.dead == []
    again = meet(config, symbols, settle_s=0.1)
    assert content(ear) == content(again), "the same seed, the same rows, however the machine was loaded"


@pytest.mark.parametrize(
    ("fault", "resyncs"),
    [
        ("drop_diff@4", 2),
        ("swap_diffs@4", 2),
        ("corrupt_frame@4", 2),
        ("duplicate_diff@4", 1),
        ("unknown_event@4", 1),
        ("old_snapshot@0:count=2", 3),
        ("rest_429@0:seconds=0.1", 1),
        ("cut@4", 2),
        ("half_open@4", 2),
        ("server_shutdown@4:seconds=0.3", 1),
    ],
)
def test_connector_survives_a_fault_and_ends_synchronised(tmp_path: Path, fault: str, resyncs: int) -> None:
    path = write_recording(tmp_path / "tiny.gz", tiny_lines(count=40))
    ear = meet(
        VenueConfig(
            Venue.BINANCE_USDM,
            (path,),
            speed=3.0 if fault.startswith("half") else 6.0,
            faults=(fault,),
            start_grace_s=0.3,
        )
    )
    deltas = ear.rows(DELTAS)
    live = [BookAction(action) for action in deltas["action"].tolist() if action in (UPDATE, GAP)]
    assert live[-2] is UPDATE, "the last row of all is the end of the session"
    assert ear.actions[RESYNC] >= resyncs
    assert deltas["update_id"][deltas["action"] == UPDATE].max() == 1361, "the last event of the recording"
