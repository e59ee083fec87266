"""The session against real sockets: each thing that goes wrong on the way to a venue, and what is recorded of it."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from connectors.binance_usdm.exchange import EXCHANGE
from connectors.binance_usdm.wire import wire
from connectors.capabilities import EVERY_EPOCH, Exchange, StreamKind
from connectors.connector import Connector
from connectors.feed import Feed
from connectors.recorder import Recorder
from connectors.recording import raw_batches, read_lines
from connectors.session import ConnectionState, SessionOptions, SessionStatus
from processors.api import Batch, Outputs
from schemas.declare import Heap, Rows
from schemas.errors import ConfigInvalid, ResourceExhausted, VenueRejected
from schemas.events import RESYNC_REQUEST, BookAction, FrameKind, TradeFlag
from tests.integration.venue_script import ScriptedVenue

FAST = SessionOptions(
    dial_timeout_s=1.0,
    close_timeout_s=0.3,
    ack_timeout_s=0.5,
    first_data_s=0.5,
    data_silent_s=0.4,
    stream_silent_s={StreamKind.DEPTH: 0.25},
    healthy_after_s=0.2,
    overlap_s=0.1,
    backoff_base_s=0.01,
    backoff_ceiling_s=0.1,
    snapshot_delays_s=(0.0, 0.02),
)
UNTIL_S = 8.0  # a loaded machine is slow; nothing here asserts how fast
GAP, RESYNC, UPDATE = BookAction.GAP, BookAction.RESYNC, BookAction.UPDATE


PATIENT = replace(FAST, first_data_s=60.0, ack_timeout_s=60.0, data_silent_s=60.0)  # for servers that say little


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    """Compile first: a rule that compiles on its first row would keep the socket waiting."""
    wire().warm()


class Listener:
    """A sink that keeps the raw rows, runs the wire rule along and carries its requests back."""

    def __init__(self) -> None:
        self.rows: list[tuple[FrameKind, int, int, bytes, str]] = []  # kind, epoch, status, payload, request
        self.times: list[int] = []
        self.feed: Feed | None = None
        self.wire = wire()
        self.state = self.wire.initial_state()
        self.out = Outputs(self.wire.outputs)
        self.broken: ResourceExhausted | None = None
        self._seen = 0

    def take(self, shard: int, rows: Rows, heap: Heap) -> None:
        if self.broken:
            raise self.broken
        assert shard == 0
        first = len(self.rows) + 1
        for row in rows:
            at, request_at = int(row["payload_at"]), int(row["request_at"])
            payload = heap[at : at + int(row["payload_size"])].tobytes()
            request = heap[request_at : request_at + int(row["request_size"])].tobytes().decode()
            self.rows.append((FrameKind(row["kind"]), int(row["epoch"]), int(row["status"]), payload, request))
            self.times.append(int(row["ts_recv_ns"]))
        self.wire.on_batch(self.state, Batch(0, self.out.origin, first, rows, heap), self.out)
        for emitted in self.out.emitted[self._seen :]:
            if emitted.output == self.wire.outputs.index(RESYNC_REQUEST) and self.feed:
                for request_row in emitted.rows:
                    self.feed.resync_requested(int(request_row["instrument"]), int(request_row["attempt"]))
        self._seen = len(self.out.emitted)

    def kinds(self) -> list[FrameKind]:
        """Kinds of the rows, runs of TEXT as one."""
        kinds = [row[0] for row in self.rows]
        return [kind for n, kind in enumerate(kinds) if kind != FrameKind.TEXT or kinds[n - 1 : n] != [kind]]

    def of(self, kind: FrameKind) -> list[tuple[int, bytes]]:
        """Epoch and payload of the rows of a kind."""
        return [(epoch, payload) for found, epoch, _, payload, _ in self.rows if found == kind]

    def actions(self) -> list[int]:
        return [
            action for emitted in self.out.emitted if emitted.output == 1 for action in emitted.rows["action"].tolist()
        ]

    def trades(self) -> Rows:
        parts = [emitted.rows for emitted in self.out.emitted if emitted.output == 0]
        return np.concatenate(parts) if parts else self.wire.outputs[0].empty()

    @property
    def synced(self) -> bool:
        return UPDATE in self.actions()


def fast_rules(exchange: Exchange, **changes: float) -> Exchange:
    rules = replace(exchange.connection, control_rate_max=100, **changes)  # type: ignore[arg-type]
    return replace(exchange, connection=rules)


class Running:
    """A feed at work, and what it hears."""

    def __init__(self, feed: Feed, listener: Listener, task: asyncio.Task[None]) -> None:
        self.feed, self.listener, self.task = feed, listener, task

    @property
    def status(self) -> SessionStatus:
        return self.feed.statuses[0] if self.feed.statuses else SessionStatus()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for it; an error of the feed, or too long a time, is the test's failure."""
        deadline = time.monotonic() + UNTIL_S
        while not condition():
            if self.task.done():
                self.task.result()
            assert time.monotonic() < deadline, f"{self.listener.kinds()[-12:]} {self.feed.statuses}"
            await asyncio.sleep(0.005)

    async def live(self) -> None:
        await self.until(lambda: self.listener.synced and self.status.state is ConnectionState.LIVE)


@asynccontextmanager
async def running(
    exchange: Exchange,
    options: SessionOptions = FAST,
    symbols: tuple[str, ...] = ("BTCUSDT",),
    rules: Mapping[str, float] | None = None,
) -> AsyncIterator[Running]:
    listener = Listener()
    feed = Feed(fast_rules(exchange, **(rules or {})), symbols, listener.take, options=options)
    listener.feed = feed
    task = asyncio.create_task(feed.run())
    try:
        yield Running(feed, listener, task)
    finally:
        feed.stop()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), UNTIL_S)


def asynchronous(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """A test that is a coroutine."""

    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        asyncio.run(test(**fixtures))

    return run


# --- The good case ---------------------------------------------------------------------------------------------------


@asynchronous
async def test_session_listens_synchronises_and_says_goodbye() -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange:
        async with running(exchange) as at:
            await at.live()
            await at.until(lambda: at.status.frames > 30)
        heard = at.listener
    first = heard.rows[0]
    assert (first[0], first[1]) == (FrameKind.REST, 0), "what is listed is recorded before anything else"
    assert heard.rows[1][:2] == (FrameKind.CLOSE, EVERY_EPOCH)
    assert heard.rows[2][:4] == (FrameKind.OPEN, 1, 0, f"{exchange.ws_url}/public/stream".encode())
    assert heard.of(FrameKind.TEXT)[0] == (1, b'{"result":null,"id":1}'), "the acknowledgement is recorded too"
    snapshot = next(row for row in heard.rows[3:] if row[0] == FrameKind.REST)
    assert (snapshot[1], snapshot[2], snapshot[4]) == (1, 200, "GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000")
    closed = heard.of(FrameKind.CLOSE)
    assert closed == [(EVERY_EPOCH, b"start")], "a stop of ours is no break: books stand as they were last heard"
    assert heard.actions().count(RESYNC) == 1
    assert GAP not in heard.actions()
    assert heard.times == sorted(heard.times)
    assert at.status.state is ConnectionState.DISCONNECTED
    assert at.status.frames == len(heard.of(FrameKind.TEXT))
    asked = orjson.loads(venue.messages_in[0])
    assert asked["method"] == "SUBSCRIBE"
    assert sorted(asked["params"]) == ["btcusdt@bookTicker", "btcusdt@depth@100ms", "btcusdt@trade"]


@asynchronous
async def test_subscription_goes_out_in_small_messages_at_the_venues_pace() -> None:
    venue = ScriptedVenue(symbols=tuple(f"COIN{n}USDT" for n in range(8)), interval_s=0.05)
    async with (
        venue.serving() as exchange,
        running(
            exchange, replace(FAST, ack_timeout_s=3.0, first_data_s=5.0), venue.symbols, {"control_names_max": 5}
        ) as at,
    ):
        await at.until(lambda: len(venue.messages_in) == 5)
        sizes = [len(orjson.loads(message)["params"]) for message in venue.messages_in]
        assert sizes == [5, 5, 5, 5, 4]
        await at.live()


@asynchronous
async def test_venue_that_is_down_at_the_start_is_waited_for() -> None:
    venue = ScriptedVenue(rest_status=[(503, {}), (500, {})])
    async with venue.serving() as exchange, running(exchange) as at:
        await at.live()
        statuses = [status for kind, _, status, *_ in at.listener.rows if kind == FrameKind.REST]
        assert statuses[:3] == [503, 500, 200], "refusals are recorded too"


@asynchronous
async def test_symbol_that_is_not_listed_is_the_users_fault_and_close_ones_are_named() -> None:
    async with ScriptedVenue().serving() as exchange, running(exchange, symbols=("BTCUST", "ETHUSDT")) as at:
        with pytest.raises(ConfigInvalid, match=r"binance_usdm does not list BTCUST\. Did you mean BTCUSD[TC]"):
            await asyncio.wait_for(at.task, UNTIL_S)


# --- Silence ---------------------------------------------------------------------------------------------------------


@asynchronous
async def test_acknowledgement_without_data_is_not_believed() -> None:
    venue = ScriptedVenue(mute_after_ack=True)
    async with venue.serving() as exchange, running(exchange) as at:
        await at.until(lambda: venue.dials >= 3)
        assert at.status.state is not ConnectionState.LIVE
        assert at.listener.of(FrameKind.SILENT)[:2] == [(1, b""), (2, b"")]
        assert b"no data for" in at.listener.of(FrameKind.CLOSE)[1][1]
        venue.mute_after_ack = False
        await at.live()


@asynchronous
async def test_connection_that_falls_silent_turns_stale_and_is_dialed_again() -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange, running(exchange) as at:
        await at.live()
        venue.mute_after_ack = True
        await at.until(lambda: at.status.state is ConnectionState.STALE)
        await at.until(lambda: venue.dials >= 2)
        venue.mute_after_ack = False
        await at.live()
        actions = at.listener.actions()
        assert actions.index(BookAction.STALE) < actions.index(GAP), "stale first, then broken"
        assert (1, b"btcusdt@depth@100ms") in at.listener.of(FrameKind.SILENT)


@asynchronous
async def test_single_stream_that_falls_silent_is_asked_for_again() -> None:
    venue = ScriptedVenue(symbols=("BTCUSDT", "ETHUSDT"))
    venue.on_subscribe = lambda method, names: venue.silent_streams.difference_update(
        names if method == "SUBSCRIBE" else ()
    )
    async with venue.serving() as exchange, running(exchange, symbols=("BTCUSDT", "ETHUSDT")) as at:
        await at.live()
        venue.silent_streams.add("ethusdt@depth@100ms")
        await at.until(lambda: bool(at.listener.of(FrameKind.SILENT)))
        await at.until(lambda: "ethusdt@depth@100ms" not in venue.silent_streams)
        assert at.listener.of(FrameKind.SILENT) == [(1, b"ethusdt@depth@100ms")]
        assert [orjson.loads(message)["method"] for message in venue.messages_in] == [
            "SUBSCRIBE", "UNSUBSCRIBE", "SUBSCRIBE",
        ]  # fmt: skip
        assert venue.dials == 1


@asynchronous
async def test_single_stream_that_stays_silent_ends_the_socket() -> None:
    venue = ScriptedVenue(symbols=("BTCUSDT", "ETHUSDT"))
    async with venue.serving() as exchange, running(exchange, symbols=("BTCUSDT", "ETHUSDT")) as at:
        await at.live()
        venue.silent_streams.add("ethusdt@depth@100ms")
        await at.until(lambda: venue.dials == 2)
        assert b"stays silent although it was asked for again" in at.listener.of(FrameKind.CLOSE)[-1][1]


@asynchronous
async def test_peer_that_does_not_answer_pings_is_dead() -> None:
    """Half-open: TCP stands, nobody is there. Our own pings notice before any data would be missed."""
    venue = ScriptedVenue()
    options = replace(FAST, data_silent_s=60.0, first_data_s=60.0, stream_silent_s={})
    async with (
        venue.serving() as exchange,
        running(exchange, options, rules={"ping_interval_s": 0.1, "pong_timeout_s": 0.2}) as at,
    ):
        await at.live()
        venue.mute_after_ack = True
        venue.sockets[0].transport.pause_reading()
        await at.until(lambda: venue.dials == 2)
        assert b"keepalive ping timeout" in at.listener.of(FrameKind.CLOSE)[-1][1]


@asynchronous
async def test_socket_on_which_nothing_is_heard_not_even_pings_is_dropped() -> None:
    venue = ScriptedVenue()
    options = replace(FAST, data_silent_s=60.0, first_data_s=60.0, stream_silent_s={StreamKind.DEPTH: 50.0})
    exchange_rules = {"ping_interval_s": 0.0, "pong_timeout_s": 0.0, "silence_max_s": 0.5}
    async with venue.serving() as exchange, running(exchange, options, rules=exchange_rules) as at:
        await at.live()
        venue.mute_after_ack = True
        await at.until(lambda: venue.dials == 2)
        assert b"not even a ping" in at.listener.of(FrameKind.CLOSE)[-1][1]


@asynchronous
async def test_pings_are_answered_with_their_payload_and_count_as_life() -> None:
    venue = ScriptedVenue()
    options = replace(FAST, data_silent_s=60.0, first_data_s=60.0, stream_silent_s={StreamKind.DEPTH: 50.0})
    exchange_rules = {"ping_interval_s": 0.0, "pong_timeout_s": 0.0, "silence_max_s": 0.6}
    async with venue.serving() as exchange, running(exchange, options, rules=exchange_rules) as at:
        await at.live()
        venue.mute_after_ack = True
        for n in range(10):
            answered = await venue.sockets[0].ping(b"payload %d" % n)
            await asyncio.wait_for(answered, UNTIL_S)  # only a pong with this payload answers it
            await asyncio.sleep(0.1)
        assert at.status.pings == 10
        assert venue.dials == 1


# --- Breaks ----------------------------------------------------------------------------------------------------------


@asynchronous
async def test_cut_connection_is_dialed_again_and_books_are_rebuilt() -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange, running(exchange) as at:
        await at.live()
        venue.sockets[0].transport.abort()
        await at.until(lambda: at.status.epoch == 2)
        await at.until(lambda: UPDATE in at.listener.actions()[at.listener.actions().index(GAP) :])
        closed = [(status, epoch) for kind, epoch, status, *_ in at.listener.rows if kind == FrameKind.CLOSE]
        assert closed == [(0, EVERY_EPOCH), (1006, 1)]
        kinds = at.listener.kinds()
        assert kinds[kinds.index(FrameKind.CLOSE, 2) + 1] == FrameKind.OPEN
        assert [a for a in at.listener.actions() if a not in (UPDATE, BookAction.SNAPSHOT)] == [RESYNC, GAP, RESYNC]


@asynchronous
async def test_server_that_accepts_and_closes_is_not_hammered() -> None:
    """Only health resets the pauses: an accepted handshake is none."""
    venue = ScriptedVenue(refuse_subscriptions=True)
    options = replace(FAST, backoff_base_s=0.1, backoff_ceiling_s=100.0)
    async with venue.serving() as exchange, running(exchange, options) as at:
        await at.until(lambda: venue.dials >= 2)
        await asyncio.sleep(1.5)
        assert venue.dials < 40
        assert b"refused a subscription" in at.listener.of(FrameKind.CLOSE)[1][1]
        assert b"Invalid request" in at.listener.of(FrameKind.CLOSE)[1][1]


@asynchronous
async def test_subscription_that_is_not_acknowledged_ends_the_socket() -> None:
    venue = ScriptedVenue(acknowledge=False, mute_after_ack=True)
    async with venue.serving() as exchange, running(exchange, replace(FAST, first_data_s=5.0)) as at:
        await at.until(lambda: venue.dials >= 2)
        assert b"no acknowledgement" in at.listener.of(FrameKind.CLOSE)[1][1]


@asynchronous
async def test_data_before_the_acknowledgement_is_taken() -> None:
    venue = ScriptedVenue(acknowledge=False)
    async with venue.serving() as exchange, running(exchange) as at:
        await at.until(lambda: at.listener.synced)
        assert at.status.state is not ConnectionState.LIVE


# --- Refusals --------------------------------------------------------------------------------------------------------


@asynchronous
@pytest.mark.parametrize("status", [429, 418])
async def test_handshake_refused_for_now_waits_as_long_as_it_is_told(status: int) -> None:
    venue = ScriptedVenue(dial_status=[(status, {"Retry-After": "1"})])
    async with venue.serving() as exchange, running(exchange) as at:
        await at.until(lambda: venue.dials == 1)
        started = time.monotonic()
        await at.until(lambda: venue.dials == 2)
        assert time.monotonic() - started > 0.9
        await at.live()


@asynchronous
@pytest.mark.parametrize("status", [401, 403, 451])
async def test_handshake_refused_for_good_stops_the_session(status: int) -> None:
    venue = ScriptedVenue(dial_status=[(status, {})] * 9)
    async with venue.serving() as exchange, running(exchange) as at:
        with pytest.raises(VenueRejected, match=f"HTTP {status}"):
            await asyncio.wait_for(at.task, UNTIL_S)
    assert venue.dials == 1


@asynchronous
async def test_handshake_that_fails_for_another_reason_is_tried_again() -> None:
    venue = ScriptedVenue(dial_status=[(500, {}), (502, {}), (404, {})])
    async with venue.serving() as exchange, running(exchange) as at:
        await at.live()
        assert venue.dials == 4


@asynchronous
@pytest.mark.parametrize("status", [429, 418])
async def test_rest_refused_for_now_waits_and_the_socket_goes_on(status: int) -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange:
        subscribed = asyncio.Event()
        venue.on_subscribe = lambda method, names: subscribed.set()
        async with running(exchange) as at:
            await asyncio.wait_for(subscribed.wait(), UNTIL_S)  # what is listed was asked before
            venue.rest_status = [(status, {"Retry-After": "1"})]
            await at.until(lambda: any(row[2] == status for row in at.listener.rows))
            refused = time.monotonic()
            frames = at.status.frames
            await at.until(lambda: venue.snapshots_served == 1)
            assert time.monotonic() - refused > 0.8
            assert at.status.frames > frames + 20, "the socket is read while REST is quiet"
            await at.live()
            assert venue.dials == 1


@asynchronous
async def test_rest_refused_for_good_stops_the_session() -> None:
    venue = ScriptedVenue()
    venue.on_subscribe = lambda method, names: venue.rest_status.append((403, {}))
    async with venue.serving() as exchange, running(exchange) as at:
        with pytest.raises(VenueRejected, match="HTTP 403"):
            await asyncio.wait_for(at.task, UNTIL_S)


# --- Snapshots -------------------------------------------------------------------------------------------------------


@asynchronous
async def test_slow_snapshot_does_not_stop_the_listening() -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange:
        venue.on_subscribe = lambda method, names: setattr(venue, "rest_delay_s", 0.6)
        async with running(exchange) as at:
            await at.live()
            position = [n for n, row in enumerate(at.listener.rows) if row[0] == FrameKind.REST][1]
            before = sum(row[0] == FrameKind.TEXT for row in at.listener.rows[:position])
            assert before > 40, "frames were recorded while the snapshot was awaited"
            assert at.listener.actions().count(GAP) == 0


@asynchronous
async def test_snapshot_that_fails_is_asked_for_again() -> None:
    venue = ScriptedVenue()

    def fail_twice(method: str, names: list[str]) -> None:
        venue.rest_status.extend([(500, {}), (502, {})])
        venue.on_subscribe = None

    venue.on_subscribe = fail_twice
    async with venue.serving() as exchange, running(exchange) as at:
        await at.live()
        statuses = [status for kind, _, status, *_ in at.listener.rows if kind == FrameKind.REST]
        assert statuses[:4] == [200, 500, 502, 200]  # a machine that stalls may connect, and ask, once more
        assert at.status.snapshots == statuses.count(200) - 1


@asynchronous
async def test_requests_for_one_instrument_are_carried_out_one_at_a_time() -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange, running(exchange) as at:
        await at.live()
        served, venue.rest_delay_s = venue.snapshots_served, 0.2
        instrument = int(at.listener.state["books"]["instrument"][0])  # type: ignore[call-overload]
        for attempt in (1, 2, 3):
            at.feed.resync_requested(instrument, attempt)
        at.feed.resync_requested(12345, 1)  # not ours
        await asyncio.sleep(0.5)
        assert venue.snapshots_served == served + 1


# --- Renewal ---------------------------------------------------------------------------------------------------------


def assert_nothing_lost_or_repeated(listener: Listener, renewals: int) -> None:
    """What came through the rule reads as if there had been one socket only."""
    trades = listener.trades()
    assert len(trades) > 50
    assert np.array_equal(np.diff(trades["trade_id"]), np.ones(len(trades) - 1))
    assert not (trades["flags"] & TradeFlag.HOLE_BEFORE).any()
    others = [action for action in listener.actions() if action not in (UPDATE, BookAction.SNAPSHOT)]
    assert others == [RESYNC], "synchronised once, never broken"
    updates = [
        update_id
        for emitted in listener.out.emitted
        if emitted.output == 1
        for update_id, action in zip(emitted.rows["update_id"].tolist(), emitted.rows["action"].tolist(), strict=True)
        if action == UPDATE
    ]
    assert updates == list(range(updates[0], updates[0] + len(updates)))
    events = [(kind, epoch) for kind, epoch, *_ in listener.rows if kind in (FrameKind.OPEN, FrameKind.CLOSE)]
    wanted: list[tuple[FrameKind, int]] = [(FrameKind.CLOSE, EVERY_EPOCH), (FrameKind.OPEN, 1)]
    for epoch in range(1, renewals + 1):
        wanted += [(FrameKind.OPEN, epoch + 1), (FrameKind.CLOSE, epoch)]
    assert events[: len(wanted)] == wanted, "the new socket was opened before the old one was closed"


@asynchronous
async def test_announced_shutdown_renews_the_connection_without_loss_or_repeats() -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange, running(exchange) as at:
        await at.live()
        await venue.say(b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}')
        await at.until(lambda: at.status.renewals == 1)
        old = len(at.listener.trades())
        await at.until(lambda: len(at.listener.trades()) > old + 60)
        assert_nothing_lost_or_repeated(at.listener, 1)
        assert len(venue.sockets) == 1


@asynchronous
async def test_connection_is_renewed_before_the_venue_cuts_it() -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange, running(exchange, replace(FAST, renew_after_s=0.6)) as at:
        await at.until(lambda: at.status.renewals == 3)
        assert_nothing_lost_or_repeated(at.listener, 3)


@asynchronous
async def test_renewal_that_fails_is_tried_again_and_the_old_socket_goes_on() -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange, running(exchange) as at:
        await at.live()
        venue.dial_status = [(500, {}), (500, {})]
        await venue.say(b'{"e":"serverShutdown","E":1}')
        await at.until(lambda: at.status.renewals == 1)
        await at.until(lambda: len(at.listener.trades()) > 60)
        assert_nothing_lost_or_repeated(at.listener, 1)


@asynchronous
async def test_age_of_renewal_lies_around_an_hour_before_the_cut() -> None:
    async with ScriptedVenue().serving() as exchange, running(exchange) as at:
        await at.live()
        session = at.feed._sessions[0]

        class Fake:
            opened_ns = session.clock.monotonic_ns()

        ages = []
        for n in range(50):
            Fake.opened_ns += n
            ages.append(session._renew_in_s(Fake))  # type: ignore[arg-type]
        assert all(22.5 * 3600 - 1 < age < 23.5 * 3600 + 1 for age in ages)
        assert max(ages) - min(ages) > 900, "not all sockets at once"


# --- The bytes on the wire -------------------------------------------------------------------------------------------


@asynchronous
async def test_fragments_binary_and_large_messages_are_recorded_whole_and_in_order() -> None:
    venue = ScriptedVenue(interval_s=60.0)
    large = b'{"stream":"x@y","data":{"pad":"' + b"z" * 300_000 + b'"}}'
    async with (
        venue.serving() as exchange,
        running(exchange, PATIENT) as at,
    ):
        await at.until(lambda: at.status.epoch == 1 and bool(venue.sockets) and bool(venue.messages_in))
        socket = venue.sockets[0]
        await venue.say(b'{"stream":"a@b","data":1}')
        await socket.send(['{"stream":', '"frag', 'ment@c","data":2}'])
        await socket.send(b"\x00\x01binary")
        await venue.say(large)
        await venue.say(b'{"stream":"a@b","data":3}')
        await at.until(lambda: len(at.listener.of(FrameKind.TEXT)) == 5)
        kinds = [(kind, payload) for kind, epoch, _, payload, _ in at.listener.rows if epoch == 1][2:]
        assert kinds == [
            (FrameKind.TEXT, b'{"stream":"a@b","data":1}'),
            (FrameKind.TEXT, b'{"stream":"fragment@c","data":2}'),
            (FrameKind.BINARY, b"\x00\x01binary"),
            (FrameKind.TEXT, large),
            (FrameKind.TEXT, b'{"stream":"a@b","data":3}'),
        ]


def frame(payload: bytes, opcode: int = 0x81) -> bytes:
    size = len(payload)
    head = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    if size > 65535:
        head = b"\x7f" + size.to_bytes(8, "big")
    return bytes([opcode]) + head + payload


async def raw_server(pieces: Callable[[bytes], list[bytes]]) -> tuple[asyncio.Server, Exchange]:
    """A server of bytes: REST and handshake by hand; `pieces` cuts what follows the handshake's request into writes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        if b"Sec-WebSocket-Key" not in request:
            body = orjson.dumps({"symbols": [{"symbol": "BTCUSDT"}]})
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
            writer.close()
            return
        key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        for piece in pieces(answer + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.0005)
        await asyncio.sleep(UNTIL_S)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    return server, EXCHANGE.at(f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}")


MESSAGES = [b'{"stream":"a@b","data":%d}' % n for n in range(3)] + [b'{"s":"' + b"x" * 200 + b'"}', b""]
WIRE = b"".join(frame(message) for message in MESSAGES[:2]) + frame(b"beat", 0x89) + b"".join(
    frame(message) for message in MESSAGES[2:]
)  # fmt: skip


@asynchronous
@pytest.mark.parametrize("size", [1, 3, 7, 100_000])
async def test_messages_are_cut_out_right_however_the_bytes_arrive(size: int) -> None:
    """Handshake, texts of several lengths and a ping between them: in one piece, or byte by byte."""
    server, exchange = await raw_server(
        lambda head: [(head + WIRE)[at : at + size] for at in range(0, len(head + WIRE), size)]
    )
    async with (
        server,
        running(exchange, PATIENT) as at,
    ):
        await at.until(lambda: len(at.listener.of(FrameKind.TEXT)) == len(MESSAGES))
        assert [payload for _, payload in at.listener.of(FrameKind.TEXT)] == MESSAGES
        assert at.listener.rows[2][0] == FrameKind.OPEN, "the opening comes first"
        assert at.status.pings == 1


@asynchronous
@pytest.mark.parametrize(
    "odd",
    [
        b"\x81\x84mask" + b"text",
        b"\x81\x7f" + (1 << 40).to_bytes(8, "big"),
        b"\xc1\x02{}",
        b"\x83\x02{}",
        b"\x80\x02{}",
    ],
    ids=["masked", "terabyte", "compressed", "reserved opcode", "continuation of nothing"],
)
async def test_bytes_that_break_the_protocol_end_the_socket(odd: bytes) -> None:
    server, exchange = await raw_server(lambda head: [head + frame(MESSAGES[0]) + odd])
    async with server, running(exchange, PATIENT) as at:
        await at.until(lambda: len(at.listener.of(FrameKind.CLOSE)) == 2)
        assert at.listener.of(FrameKind.TEXT)[0] == (1, MESSAGES[0])
        assert at.listener.of(FrameKind.CLOSE)[1][1][:4] in (b"1002", b"1009", b"1006")


# --- Ends ------------------------------------------------------------------------------------------------------------


async def stopped_within(at: Running, seconds: float) -> None:
    at.feed.stop()
    await asyncio.wait_for(asyncio.shield(at.task), seconds)


@asynchronous
async def test_session_stops_soon_in_any_state() -> None:
    venue = ScriptedVenue()
    async with venue.serving() as exchange:
        async with running(exchange) as at:  # alive, and the peer hung
            await at.live()
            venue.sockets[0].transport.pause_reading()
            await stopped_within(at, 2.0)
        venue.dial_status = [(429, {"Retry-After": "100"})]
        async with running(exchange) as at:  # waiting to dial
            await at.until(lambda: not venue.dial_status)
            await stopped_within(at, 2.0)
        venue.rest_delay_s = 100.0
        async with running(exchange) as at:  # waiting for what is listed
            await asyncio.sleep(0.1)
            await stopped_within(at, 2.0)
        venue.rest_delay_s = 0.0
        venue.on_subscribe = lambda method, names: setattr(venue, "rest_delay_s", 100.0)
        async with running(exchange) as at:  # waiting for a snapshot
            await at.until(lambda: RESYNC in at.listener.actions())
            await stopped_within(at, 2.0)


@asynchronous
async def test_full_disk_ends_the_session_with_its_reason() -> None:
    async with ScriptedVenue().serving() as exchange, running(exchange) as at:
        await at.live()
        at.listener.broken = ResourceExhausted("No space left for the log.")
        with pytest.raises(ResourceExhausted, match="No space left"):
            await asyncio.wait_for(asyncio.shield(at.task), UNTIL_S)


# --- The connector and the recorder ----------------------------------------------------------------------------------


class Served:
    """A scripted venue in a thread of its own."""

    def __init__(self, venue: ScriptedVenue) -> None:
        self.venue = venue
        self.exchange: Exchange | None = None
        self._ready, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    async def _serve(self) -> None:
        async with self.venue.serving() as exchange:
            self.exchange = fast_rules(exchange)
            self._ready.set()
            await asyncio.to_thread(self._end.wait)

    def __enter__(self) -> Exchange:
        self._thread.start()
        assert self._ready.wait(UNTIL_S)
        assert self.exchange is not None
        return self.exchange

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(UNTIL_S)


class Carrier:
    """What the process around a connector does: append rows, run the rule, hand requests back."""

    def __init__(self) -> None:
        self.listener = Listener()
        self._given = 0

    def requests(self) -> Rows:
        found = [e.rows for e in list(self.listener.out.emitted) if e.output == 4]
        rows = np.concatenate(found) if found else RESYNC_REQUEST.empty()
        given, self._given = self._given, len(rows)
        return rows[given:]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + UNTIL_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_connector_runs_beside_its_caller_and_can_be_started_again_in_one_process() -> None:
    with Served(ScriptedVenue()) as exchange:
        for _ in range(2):
            carrier = Carrier()
            connector = Connector(exchange, ["BTCUSDT"], carrier.listener.take, carrier.requests, options=FAST)
            connector.start()
            wait_for(lambda at=connector, heard=carrier.listener: at.live and heard.synced)  # type: ignore[misc]
            assert not connector.wait(0)
            connector.stop()
            assert connector.wait(0)
            assert len(carrier.listener.of(FrameKind.CLOSE)) == 1


def test_connector_says_why_it_ended() -> None:
    with Served(ScriptedVenue()) as exchange:
        carrier = Carrier()
        connector = Connector(exchange, ["NOPE"], carrier.listener.take, carrier.requests, options=FAST)
        connector.start()
        with pytest.raises(ConfigInvalid, match="does not list NOPE"):
            connector.wait(UNTIL_S)
        with pytest.raises(ConfigInvalid):
            connector.stop()


def test_connector_without_symbols_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="no symbol"):
        Connector(EXCHANGE, [], lambda *_: None, RESYNC_REQUEST.empty)


@pytest.mark.parametrize("symbols", [("BTCUSDT",), ("BTCUSDT", "ETHUSDT")])
def test_recorder_writes_what_can_be_synchronised_again(tmp_path: Path, symbols: tuple[str, ...]) -> None:
    path = tmp_path / "r.gz"
    with Served(ScriptedVenue()) as exchange:
        recorded = asyncio.run(Recorder(exchange, symbols, path, wire(), FAST).run(1.0))
    lines = list(read_lines(path))
    assert recorded.lines == len(lines) > 50
    assert recorded.snapshots == sum(line.is_snapshot for line in lines) == len(symbols)
    assert {line.stream.split("@")[0] for line in lines if line.stream} == {symbol.lower() for symbol in symbols}
    rule, out = wire(), Outputs(wire().outputs)
    state, first = rule.initial_state(), 1
    for rows, heap in raw_batches(path, EXCHANGE):
        rule.on_batch(state, Batch(0, out.origin, first, rows, heap), out)
        first += len(rows)
    phases = [action for e in out.emitted if e.output == 1 for action in e.rows["action"].tolist()]
    assert phases.count(RESYNC) == len(symbols)
    assert GAP not in phases
    assert UPDATE in phases


def test_recorder_that_heard_nothing_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "r.gz"
    with Served(ScriptedVenue()) as exchange, pytest.raises(ConfigInvalid, match="does not list NOPE"):
        asyncio.run(Recorder(exchange, ["NOPE"], path, wire(), FAST).run(1.0))
    assert not path.exists()


def test_recorder_asks_for_a_snapshot_again_after_a_cut(tmp_path: Path) -> None:
    path, venue = tmp_path / "r.gz", ScriptedVenue()

    async def record(exchange: Exchange) -> None:
        recorder = Recorder(exchange, ["BTCUSDT"], path, wire(), FAST)
        running = asyncio.create_task(recorder.run())
        await settle(lambda: recorder.recorded.snapshots == 1 and recorder.recorded.lines > 20)
        for socket in list(venue.sockets):
            socket.transport.abort()
        await settle(lambda: recorder.recorded.snapshots == 2)
        recorder.stop()
        await running
        assert recorder.recorded.breaks >= 1

    with Served(venue) as exchange:
        asyncio.run(record(exchange))


async def settle(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + UNTIL_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
