"""The simulated venue over real sockets: the protocol, the play, every fault."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from connectors.recording import read_lines
from connectors.simulator.config import SPEED_MAX, SyntheticConfig, VenueAddresses, VenueConfig
from connectors.simulator.faults import FAULTS
from connectors.simulator.synthetic import warm
from connectors.simulator.venue import SimulatedVenue, serve
from schemas.errors import ConfigInvalid, InputInvalid, ResourceExhausted
from schemas.instruments import Venue
from tests.recordings import recording
from tests.simulated import (
    SNAPSHOT_ID,
    STEP_NS,
    Running,
    ask,
    drain,
    events,
    frames,
    running,
    snapshot,
    take,
    tiny_lines,
    write_recording,
)

SPOT, FUTURES = Venue.BINANCE_SPOT, Venue.BINANCE_USDM
DEPTH, TICKER, TRADE = STREAMS = ("btcusdt@depth@0ms", "btcusdt@bookTicker", "btcusdt@trade")
SPOT_STREAMS = ("btcusdt@depth@100ms", TICKER, TRADE)
BEFORE_SNAPSHOT = 7
Scenario = Callable[[Running], Awaitable[None]]


def tiny(folder: Path, venue: Venue = FUTURES, count: int = 8, **given: Any) -> VenueConfig:
    path = folder / "tiny.gz"
    if not path.exists():
        write_recording(path, tiny_lines(count=count, is_futures=venue is FUTURES))
    return VenueConfig(venue, (path,), **{"speed": SPEED_MAX, "start_grace_s": 0.1, "rendezvous_s": 5.0} | given)


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    """The first synthetic market of a checkout compiles its kernels; no test's clock should run meanwhile."""
    warm()


def act(config: VenueConfig, scenario: Scenario, timeout_s: float = 30.0) -> None:
    async def acted() -> None:
        async with asyncio.timeout(timeout_s), running(config) as venue:
            await scenario(venue)

    asyncio.run(acted())


async def closing_of(connection: ClientConnection, timeout_s: float = 5.0) -> int | None:
    """The close code; None when the connection ended without one."""
    await asyncio.wait_for(connection.wait_closed(), timeout_s)
    return connection.protocol.close_rcvd.code if connection.protocol.close_rcvd else None


async def play_all(venue: Running, streams: tuple[str, ...] = STREAMS) -> list[bytes]:
    """Subscribe, take the snapshot, hear the rest."""
    connection = await venue.dial(streams=streams)
    depth = asyncio.create_task(venue.depth())
    got = await drain(connection, 0.5)
    await depth
    await connection.close()
    return got


# ---- subscribing


@pytest.mark.parametrize("venue", [SPOT, FUTURES])
def test_control_messages_over_a_socket(tmp_path: Path, venue: Venue) -> None:
    async def scenario(running: Running) -> None:
        async with await running.dial("/ws") as connection:
            assert await ask(connection, method="SUBSCRIBE", params=["nosuch@depth"], id=1) == {"result": None, "id": 1}
            assert await ask(connection, method="LIST_SUBSCRIPTIONS", id="x") == {"result": ["nosuch@depth"], "id": "x"}
            assert await ask(connection, method="GET_PROPERTY", params=["combined"], id=2) == {"result": False, "id": 2}
            await connection.send("nonsense")
            assert orjson.loads((await take(connection, 1))[0])["error"]["code"] == 3
            assert await drain(connection) == [], "an unknown stream is acknowledged and silent"

    act(tiny(tmp_path, venue), scenario)


def test_malformed_stream_name_is_answered_and_the_connection_closed(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection = await running.dial()
        answer = await ask(connection, method="SUBSCRIBE", params=["@@@"], id=1)
        assert answer["error"]["code"] == 2
        assert await closing_of(connection) == 1008

    act(tiny(tmp_path), scenario)


def test_property_combined_changes_the_shape_of_what_follows(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        async with await running.dial("/ws") as connection:
            await ask(connection, method="SET_PROPERTY", params=["combined", True], id=1)
            await ask(connection, method="SUBSCRIBE", params=[TRADE], id=2)
            assert await take(connection, 8) == frames(tiny_lines(), "trade")

    act(tiny(tmp_path), scenario)


@pytest.mark.parametrize(
    ("path", "silent"), [("/ws", False), ("/public/ws", False), ("/market/ws", True), ("/private/ws", True)]
)
def test_futures_route_decides_what_is_heard_and_not_what_is_acknowledged(
    tmp_path: Path, path: str, silent: bool
) -> None:
    async def scenario(running: Running) -> None:
        async with await Running(running.venue, running.rest, "", "").dial(path) as connection:
            assert await ask(connection, method="SUBSCRIBE", params=[TRADE], id=1) == {"result": None, "id": 1}
            assert (await drain(connection) == []) is silent
            status = await running.status()
            assert status["clients"][0]["silent_streams"] == ([TRADE] if silent else [])

    act(tiny(tmp_path), scenario)


@pytest.mark.parametrize(
    "path", ["/", "/elsewhere", "/stream/a@trade", "/ws?timeUnit=MICROSECOND", "/private/ws?listenKey=k"]
)
def test_path_that_is_not_served_is_refused(tmp_path: Path, path: str) -> None:
    async def scenario(running: Running) -> None:
        with pytest.raises(InvalidStatus) as refused:
            await Running(running.venue, running.rest, "", "").dial(path)
        assert refused.value.response.status_code in (400, 404)

    act(tiny(tmp_path), scenario)


def test_too_many_streams_in_the_address_are_refused_and_in_a_message_answered(tmp_path: Path) -> None:
    names = [f"s{n}@a" for n in range(1025)]

    async def scenario(running: Running) -> None:
        with pytest.raises(InvalidStatus):
            await running.dial(streams=names)
        async with await running.dial(streams=names[:1000]) as connection:
            answer = await ask(connection, method="SUBSCRIBE", params=names[1000:], id=1)
            assert answer == {"error": {"code": 4, "msg": "Too many subscriptions"}, "id": 1}
            assert await ask(connection, method="SUBSCRIBE", params=names[1000:1024], id=2) == {"result": None, "id": 2}

    act(tiny(tmp_path), scenario)


@pytest.mark.parametrize(("venue", "allowed"), [(SPOT, 5), (FUTURES, 10)])
def test_client_that_sends_too_fast_is_dropped(tmp_path: Path, venue: Venue, allowed: int) -> None:
    async def scenario(running: Running) -> None:
        polite = await running.dial()
        for number in range(allowed):
            await polite.send(orjson.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}), text=True)
        assert len(await drain(polite)) == allowed
        rude = await running.dial()
        for number in range(allowed - 1):
            await rude.send(orjson.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}), text=True)
        await rude.pong()  # unasked pongs and pings count as well
        await rude.ping()
        assert await closing_of(rude) == 1008
        assert polite.protocol.close_rcvd is None

    act(tiny(tmp_path, venue), scenario)


# ---- life of a connection


def test_pings_carry_a_payload_and_a_client_that_answers_stays(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection = await running.dial("/ws")
        pings: list[bytes] = []
        seen = connection.process_event

        def note(event: Any) -> None:
            if getattr(event, "opcode", None) == 9:
                pings.append(bytes(event.data))
            seen(event)

        connection.process_event = note  # type: ignore[method-assign]
        await drain(connection, 1.0)
        assert len(pings) >= 3
        assert all(payload.isdigit() for payload in pings), "the time in milliseconds"
        assert (await running.status())["clients"], "still there after several time-outs' length"

    act(tiny(tmp_path, SPOT, time_scale=100.0), scenario)


def test_client_that_answers_no_ping_is_dropped(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection = await running.dial("/ws")
        connection.protocol.recv_frame = _without_pongs(connection)  # type: ignore[method-assign,assignment]
        assert await closing_of(connection) is None

    act(tiny(tmp_path, SPOT, time_scale=200.0), scenario)


def _without_pongs(connection: ClientConnection) -> Callable[[Any], None]:
    """A protocol that takes pings and says nothing."""
    take_frame = connection.protocol.recv_frame

    def silent(frame: Any) -> None:
        if frame.opcode != 9:
            take_frame(frame)

    return silent


def test_connection_is_cut_at_the_end_of_its_day(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        assert await closing_of(await running.dial()) == 1001

    act(tiny(tmp_path, time_scale=86_400 / 0.3), scenario)


def test_too_many_handshakes_are_refused_with_a_time_to_wait(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        server = running.venue._server
        for _ in range(300):
            server._dials_ns.append(server._clock.monotonic_ns())
        with pytest.raises(InvalidStatus) as refused:
            await running.dial()
        assert refused.value.response.status_code == 429
        assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 300

    act(tiny(tmp_path), scenario)


# ---- REST


@pytest.mark.parametrize(("venue", "prefix"), [(SPOT, "/api/v3"), (FUTURES, "/fapi/v1")])
def test_rest_answers_and_counts_weight(tmp_path: Path, venue: Venue, prefix: str) -> None:
    async def scenario(running: Running) -> None:
        rest = running.rest
        assert (await rest.get(f"{prefix}/ping")).json() == {}
        assert (await rest.get(f"{prefix}/time")).json()["serverTime"] > 1_700_000_000_000
        info = await rest.get(f"{prefix}/exchangeInfo")
        assert [row["symbol"] for row in info.json()["symbols"]] == ["BTCUSDT"]
        assert info.headers["X-Simulated-Venue"] == "recording tiny.gz"
        used = int(info.headers["X-MBX-USED-WEIGHT-1M"])
        assert used == (22 if venue is SPOT else 3)
        assert ("X-MBX-USED-WEIGHT" in info.headers) == (venue is SPOT)

    act(tiny(tmp_path, venue), scenario)


@pytest.mark.parametrize(
    ("venue", "path", "status", "code"),
    [
        (SPOT, "depth", 400, -1102),
        (SPOT, "depth?symbol=NOSUCH", 400, -1121),
        (SPOT, "depth?symbol=BTCUSDT&limit=x", 400, -1100),
        (SPOT, "depth?symbol=BTCUSDT&limit=0", 400, -1100),
        (SPOT, "exchangeInfo?symbol=NOSUCH", 400, -1121),
        (SPOT, "exchangeInfo?symbols=nosuch", 400, -1100),
        (FUTURES, "depth?symbol=NOSUCH", 400, -1121),
        (FUTURES, "depth?symbol=BTCUSDT&limit=42", 400, -4021),
    ],
)
def test_wrong_request_is_answered_with_the_code_of_the_venue(
    tmp_path: Path, venue: Venue, path: str, status: int, code: int
) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.rest.get(f"{running.prefix}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (status, code)

    act(tiny(tmp_path, venue), scenario)


def test_exchange_info_of_spot_can_be_asked_for_by_symbol(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        for query in ({"symbol": "ETHUSDT"}, {"symbols": '["ETHUSDT"]'}):
            answer = await running.rest.get("/api/v3/exchangeInfo", params=query)
            assert [row["symbol"] for row in answer.json()["symbols"]] == ["ETHUSDT"]

    act(VenueConfig(SPOT, synthetic=SyntheticConfig(duration_s=1)), scenario)


# ---- the play


def test_every_frame_arrives_once_and_unchanged(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        assert await play_all(running) == frames(tiny_lines())
        status = await running.until("done")
        assert status["frames_sent"] == dict.fromkeys(STREAMS, 8)
        assert status["depth_answers"] == {"recorded": 1, "from_book": 0}
        assert status["done"] is True
        assert (await running.rest.get("/fapi/v1/ping")).status_code == 200, "it serves on after the end"

    act(tiny(tmp_path), scenario)


def test_snapshot_is_the_recorded_one_to_the_last_byte(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection = await running.dial(streams=STREAMS)
        assert await take(connection, BEFORE_SNAPSHOT) == frames(tiny_lines())[:BEFORE_SNAPSHOT]
        assert await drain(connection) == [], "the play waits"
        answer = await running.rest.get("/fapi/v1/depth", params={"symbol": "BTCUSDT", "limit": 1000})
        assert answer.content == snapshot()
        assert await take(connection, 17) == frames(tiny_lines())[BEFORE_SNAPSHOT:]
        later = await running.depth()
        assert later["lastUpdateId"] == events(8, is_futures=True)[-1].last
        await connection.close()

    act(tiny(tmp_path), scenario)


def test_client_that_gave_up_waiting_has_not_been_served(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        impatient = asyncio.create_task(running.depth())
        await asyncio.sleep(0.2)
        impatient.cancel()
        await asyncio.sleep(0.1)
        connection = await running.dial(streams=STREAMS)
        await take(connection, BEFORE_SNAPSHOT)
        assert await drain(connection) == []
        assert (await running.depth())["lastUpdateId"] == SNAPSHOT_ID
        assert len(await take(connection, 17)) == 17
        await connection.close()

    act(tiny(tmp_path), scenario)


def test_two_clients_hear_the_same_each_in_its_shape(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        bare = await running.dial("/ws")
        await ask(bare, method="SUBSCRIBE", params=[DEPTH, TICKER], id=1)
        combined = await running.dial(streams=STREAMS)  # the play begins now: the trades have a listener
        depth = asyncio.create_task(running.depth())
        assert await take(combined, 24) == frames(tiny_lines())
        expected = [orjson.loads(text)["data"] for text in frames(tiny_lines(), "depth", "bookTicker")]
        assert [orjson.loads(text) for text in await take(bare, 16)] == expected
        await depth
        await bare.close()
        await combined.close()

    act(tiny(tmp_path, start_grace_s=5.0), scenario)


def test_paced_play_takes_no_less_than_its_time(tmp_path: Path) -> None:
    """24 frames, 100 ms apart, 10 times as fast: no frame comes before its time."""

    async def scenario(running: Running) -> None:
        loop = asyncio.get_running_loop()
        connection = await running.dial(streams=STREAMS)
        depth = asyncio.create_task(running.depth())
        arrived = []
        for _ in range(24):
            await take(connection, 1)
            arrived.append(loop.time())
        await depth
        due = [STEP_NS * 1e-10 * place for place in range(25) if place != 7]
        early = [
            place for place in range(24) if arrived[place] - arrived[0] < due[place] - 0.005
        ]  # 5 ms: the first frame itself may have come late
        assert early == []
        await connection.close()

    act(tiny(tmp_path, speed=10.0), scenario)


def test_client_that_comes_back_hears_the_play_from_where_it_is(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        first = await running.dial(streams=STREAMS)
        await take(first, 3)
        await first.close()
        depth = asyncio.create_task(running.depth())
        await depth
        second = await running.dial(streams=STREAMS)
        got = await drain(second, 0.5)
        everything = frames(tiny_lines(count=40))
        assert 0 < len(got) < len(everything)
        assert got == everything[-len(got) :]
        await second.close()

    act(tiny(tmp_path, count=40, speed=20.0, rendezvous_s=0.2), scenario)


@pytest.mark.recording
@pytest.mark.parametrize(
    ("venue", "names"),
    [
        (FUTURES, ("usdm_btcusdt_20240808.gz",)),
        (SPOT, ("spot_btcusdt_20240808.gz", "spot_ethusdt_20240808.gz")),
    ],
)
def test_real_recording_at_full_speed_arrives_byte_for_byte(venue: Venue, names: tuple[str, ...]) -> None:
    paths = tuple(recording(name) for name in names)
    lines = sorted((line.ts_recv_ns, line.payload) for path in paths for line in read_lines(path))
    streams = {payload.split(b'"', 4)[3].decode() for payload in frames(lines)}
    symbols = sorted({stream.partition("@")[0].upper() for stream in streams})
    recorded = {
        path: next(l.payload for l in read_lines(path) if not l.payload.startswith(b'{"stream"')) for path in paths
    }

    async def scenario(running: Running) -> None:
        connection = await running.dial(streams=sorted(streams))
        got_task = asyncio.create_task(take(connection, len(frames(lines)), 60.0))
        answers = [
            (await running.rest.get(f"{running.prefix}/depth", params={"symbol": symbol, "limit": 1000})).content
            for symbol in symbols
        ]
        assert sorted(answers) == sorted(recorded.values())
        got = await got_task
        by_stream: dict[bytes, list[bytes]] = {}
        for payload in frames(lines):
            by_stream.setdefault(payload.split(b'"', 4)[3], []).append(payload)
        heard: dict[bytes, list[bytes]] = {}
        for payload in got:
            heard.setdefault(payload.split(b'"', 4)[3], []).append(payload)
        assert heard == by_stream
        assert await drain(connection) == []
        await connection.close()

    act(VenueConfig(venue, paths, speed=SPEED_MAX), scenario, 120.0)


def test_synthetic_market_says_what_it_is(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection = await running.dial(streams=["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@0ms"])
        assert connection.response is not None
        assert connection.response.headers["X-Simulated-Venue"] == "synthetic seed 5"
        first = asyncio.create_task(running.depth())
        got = [orjson.loads(text) for text in await drain(connection, 0.5)]
        assert len((await first)["bids"]) > 100
        status = await running.until("done")
        assert (status["synthetic"], status["label"]) == (True, "synthetic seed 5")
        assert {message["stream"].partition("@")[2] for message in got} == {"trade", "bookTicker", "depth@0ms"}
        book = await running.depth("BTCUSDT", 5)
        assert len(book["bids"]) == len(book["asks"]) == 5
        assert book["lastUpdateId"] == [m["data"]["u"] for m in got if m["stream"].endswith("0ms")][-1]
        await connection.close()

    config = VenueConfig(FUTURES, synthetic=SyntheticConfig(seed=5, duration_s=2), speed=SPEED_MAX, start_grace_s=0.1)
    act(config, scenario)


# ---- faults


def fault(text: str, folder: Path, scenario: Scenario, count: int = 30, **given: Any) -> None:
    """A play with one fault; the tiny recording takes nine seconds of its own time."""
    act(tiny(folder, count=count, faults=(text,), **given), scenario)


def expected(count: int = 30) -> list[bytes]:
    return frames(tiny_lines(count=count))


def fired(status: dict[str, Any]) -> list[dict[str, Any]]:
    return list(status["faults"])


async def begin(running: Running, streams: tuple[str, ...] = STREAMS) -> tuple[ClientConnection, list[bytes]]:
    """Subscribe and pass the snapshot."""
    connection = await running.dial(streams=streams)
    head = await take(connection, BEFORE_SNAPSHOT)
    await running.depth()
    return connection, head


def test_cut_is_an_abnormal_closure_at_an_exact_frame(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection, head = await begin(running)
        got = head + await drain(connection, 1.0)
        assert got == expected()[:39], "frames before second 4, the snapshot's line among them"
        with pytest.raises(ConnectionClosedError) as closed:
            await connection.recv()
        assert closed.value.rcvd is None, "no close frame"
        again = await running.dial(streams=STREAMS)
        rest = await drain(again, 0.5)
        assert rest == expected()[49:], "a second of the play passed unheard"
        record = fired(await running.status())[0]
        assert (record["name"], record["position_s"]) == ("cut", 4.0)
        assert record["hits"] == ["connection 1 ended"]
        await again.close()

    fault("cut@4", tmp_path, scenario)


def test_cut_with_a_code_is_a_close_frame(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection, _ = await begin(running)
        await drain(connection, 1.0)
        assert await closing_of(connection) == 1001
        with pytest.raises(ConnectionClosedOK):
            await connection.recv()

    fault("cut@4:code=1001", tmp_path, scenario)


def test_silence_keeps_the_socket_and_loses_frames(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection, head = await begin(running)
        got = head + await take(connection, 32)
        assert got == expected()[:39]
        pong = await connection.ping()
        await asyncio.wait_for(pong, 2.0)  # the client's own pings are answered
        rest = await drain(connection, 1.0)
        assert rest == expected()[44:], "half a second of frames is lost"
        await connection.close()

    fault("silence@4:seconds=0.5", tmp_path, scenario)


def test_half_open_socket_answers_nothing_and_never_closes(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection, head = await begin(running)
        assert head + await drain(connection, 0.7) == expected()[:39]
        pong = await connection.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pong), 0.5)
        pong.cancel()  # type: ignore[attr-defined]
        assert (await running.status())["clients"][0]["half_open"] is True
        again = await running.dial(streams=STREAMS)
        assert await drain(again, 0.5) == expected()[39:]
        await again.close()

    fault("half_open@4:lost=0", tmp_path, scenario)


def test_ack_mute_is_one_silent_stream_until_subscribed_anew(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection, head = await begin(running)
        got = head + await take(connection, 50)
        assert [text for text in got if b"@depth" in text[:60]] == frames(tiny_lines(count=30), "depth")[:13]
        await connection.send(orjson.dumps({"method": "UNSUBSCRIBE", "params": [DEPTH], "id": 1}), text=True)
        await connection.send(orjson.dumps({"method": "SUBSCRIBE", "params": [DEPTH], "id": 2}), text=True)
        rest = await drain(connection, 0.6)
        assert any(b"@depth" in text[:60] for text in rest)
        await connection.close()

    fault("ack_mute@4", tmp_path, scenario, speed=20.0)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("drop_diff@4", lambda all_: all_[:39] + all_[40:]),
        ("duplicate_diff@4", lambda all_: [*all_[:39], all_[39], *all_[39:]]),
        ("swap_diffs@4", lambda all_: [*all_[:39], all_[40], all_[41], all_[42], all_[39], *all_[43:]]),
    ],
)
def test_order_book_events_lost_repeated_swapped(
    tmp_path: Path, text: str, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    async def scenario(running: Running) -> None:
        assert await play_all(running) == change(expected())
        assert fired(await running.status())[0]["hits"][0].startswith(DEPTH)

    fault(text, tmp_path, scenario)


def test_corrupt_frame_is_one_that_cannot_be_parsed(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        got = await play_all(running)
        wrong = [place for place, text in enumerate(got) if text != expected()[place]]
        assert wrong == [39, 42]
        for place in wrong:
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(got[place])

    fault("corrupt_frame@4:count=2", tmp_path, scenario)


def test_unknown_event_is_added(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        got = await play_all(running)
        assert len(got) == len(expected()) + 1
        assert orjson.loads(got[39])["data"]["e"] == "somethingNew"

    fault("unknown_event@4", tmp_path, scenario)


def test_late_snapshot_comes_after_events_that_are_newer(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection = await running.dial(streams=STREAMS)
        depth = asyncio.create_task(running.depth())
        got = await take(connection, len(expected()))
        assert got == expected()
        assert not depth.done(), "the play is over before it comes"
        assert (await depth)["lastUpdateId"] == SNAPSHOT_ID
        await connection.close()

    fault("late_snapshot@0:seconds=1", tmp_path, scenario)


def test_old_snapshot_is_older_than_the_first_event(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection = await running.dial(streams=STREAMS)
        first = orjson.loads((await take(connection, BEFORE_SNAPSHOT))[0])["data"]
        for _ in range(3):
            assert (await running.depth())["lastUpdateId"] < min(first["U"], first["pu"])
        assert (await running.depth())["lastUpdateId"] == SNAPSHOT_ID
        assert len(await take(connection, len(expected()) - BEFORE_SNAPSHOT)) > 0
        await connection.close()

    fault("old_snapshot@0:count=3", tmp_path, scenario)


def test_rest_429_refuses_and_says_when_to_come_back(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection = await running.dial(streams=STREAMS)
        await take(connection, BEFORE_SNAPSHOT)
        for _ in range(2):
            answer = await running.rest.get("/fapi/v1/depth", params={"symbol": "BTCUSDT"})
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "3")
            assert answer.json()["code"] == -1003
        assert (await running.depth())["lastUpdateId"] == SNAPSHOT_ID, "the play has waited"
        await connection.close()

    fault("rest_429@0:count=2,seconds=3", tmp_path, scenario)


def test_rest_418_lasts(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection = await running.dial(streams=STREAMS)
        await take(connection, BEFORE_SNAPSHOT)
        answer = await running.rest.get("/fapi/v1/time")
        assert (answer.status_code, answer.headers["Retry-After"]) == (418, "1")
        assert "IP banned until" in answer.json()["msg"]
        assert (await running.status())["state"] == "waiting at a recorded snapshot", "the operator is never banned"
        await asyncio.sleep(0.6)
        assert (await running.depth())["lastUpdateId"] == SNAPSHOT_ID
        await connection.close()

    fault("rest_418@0:seconds=0.5", tmp_path, scenario)


def test_server_shutdown_is_announced_and_then_closes(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection, head = await begin(running)
        got = head + await take(connection, 33)
        assert got[:39] == expected()[:39]
        assert orjson.loads(got[39])["stream"] == "!serverShutdown"
        replacement = await running.dial(streams=STREAMS)
        await drain(connection, 1.0)
        assert await closing_of(connection) == 1001
        assert replacement.protocol.close_rcvd is None, "a newer connection stays"
        await replacement.close()

    fault("server_shutdown@4:seconds=0.3", tmp_path, scenario, speed=20.0)


def test_refused_dials_are_refused_for_a_while(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        connection, head = await begin(running)
        got = head + await drain(connection, 0.3)
        assert got == expected(), "open sockets stay"
        assert await running.rest.post("/sim/fault", params={"name": "refuse_dials", "seconds": "0.4", "status": "418"})
        with pytest.raises(InvalidStatus) as refused:
            await running.dial()
        assert refused.value.response.status_code == 418
        assert refused.value.response.headers["Retry-After"] == "1"
        await asyncio.sleep(0.5)
        await (await running.dial()).close()
        await connection.close()

    act(tiny(tmp_path, count=30), scenario)


def test_no_upgrade_accepts_and_never_answers(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        await running.rest.get("/sim/fault", params={"name": "no_upgrade", "seconds": "0.6"})
        with pytest.raises(TimeoutError):
            await running.dial(open_timeout=0.3)
        await (await running.dial(open_timeout=3.0)).close()

    act(tiny(tmp_path), scenario)


def test_every_fault_of_the_table_can_be_fired_by_the_operator(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        for name in FAULTS:
            seconds = {"seconds": "0.01"} if "seconds" in FAULTS[name].parameters else {}
            answer = await running.rest.post("/sim/fault", params={"name": name, **seconds})
            assert answer.status_code == 200, answer.text
        assert [record["name"] for record in fired(await running.status())] == list(FAULTS)
        answer = await running.rest.post("/sim/fault", params={"name": "nosuch"})
        assert (answer.status_code, "nosuch" in answer.json()["error"]) == (400, True)

    act(tiny(tmp_path), scenario)


# ---- as a process


def test_serve_runs_until_it_is_told_to_stop(tmp_path: Path) -> None:
    stop, ready = threading.Event(), threading.Event()
    told: list[VenueAddresses] = []

    def on_ready(addresses: VenueAddresses) -> None:
        told.append(addresses)
        ready.set()

    thread = threading.Thread(target=serve, args=(tiny(tmp_path), stop, on_ready))
    thread.start()
    assert ready.wait(10)
    assert told[0].stream_url.startswith("ws://127.0.0.1:")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_taken_port_is_said_to_be_taken(tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        addresses = running.venue.addresses
        stream_port, rest_port = (int(url.rpartition(":")[2]) for url in (addresses.stream_url, addresses.rest_url))
        with pytest.raises(ResourceExhausted, match=f"Port {stream_port}"):
            await SimulatedVenue(tiny(tmp_path, stream_port=stream_port)).start()
        with pytest.raises(ResourceExhausted, match=f"Port {rest_port}"):
            await SimulatedVenue(tiny(tmp_path, rest_port=rest_port)).start()

    act(tiny(tmp_path), scenario)


def test_recording_that_cannot_be_played_is_refused_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "garbage.gz"
    path.write_bytes(b"no recording at all\n" * 5)
    stop = threading.Event()
    with pytest.raises(InputInvalid, match="garbage"):
        serve(VenueConfig(FUTURES, (path,)), stop, lambda addresses: None)
    with pytest.raises(ConfigInvalid, match="no file"):
        serve(VenueConfig(FUTURES, (tmp_path / "absent.gz",)), stop, lambda addresses: None)


def test_recording_that_changes_under_the_play_ends_the_venue_with_the_reason(tmp_path: Path) -> None:
    config = tiny(tmp_path)

    async def scenario(running: Running) -> None:
        config.recordings[0].write_bytes(b"gone\n")
        connection = await running.dial(streams=STREAMS)
        with pytest.raises(InputInvalid):
            await asyncio.wait_for(running.venue.ended(), 5.0)
        assert (await running.status())["state"] == "failed"
        await connection.close()

    act(config, scenario)


def test_stop_ends_clients_that_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        venue = SimulatedVenue(tiny(tmp_path))
        addresses = await venue.start()
        import httpx

        async with httpx.AsyncClient(base_url=addresses.rest_url, timeout=10.0) as rest:
            held = asyncio.create_task(rest.get("/fapi/v1/depth", params={"symbol": "BTCUSDT"}))
            running = Running(venue, rest, "/fapi/v1", "/public")
            connection = await running.dial()
            await asyncio.sleep(0.2)
            await asyncio.wait_for(venue.stop(), 5.0)
            assert (await held).status_code == 503
            await drain(connection)
            with pytest.raises(ConnectionClosed):
                await connection.recv()

    asyncio.run(scenario())
