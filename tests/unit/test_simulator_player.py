"""When a play begins, how fast it goes, where it waits. No sockets: clients are wires in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from connectors.simulator.config import SPEED_MAX
from connectors.simulator.control import Control
from connectors.simulator.faults import parse_fault
from connectors.simulator.hub import Client, Hub, frame_head
from connectors.simulator.injector import Injector
from connectors.simulator.player import Pacer, Player
from connectors.simulator.recorded import RecordedFeed
from connectors.simulator.rules import rules_of
from schemas.instruments import Venue
from streams.clock import SYSTEM_CLOCK
from tests.simulated import SNAPSHOT_ID, frames, snapshot, tiny_lines, write_recording
from tests.wires import MemoryWire

RULES = rules_of(Venue.BINANCE_USDM)
STREAMS = ("btcusdt@depth@0ms", "btcusdt@bookTicker", "btcusdt@trade")
BEFORE_SNAPSHOT, AFTER_SNAPSHOT = 7, 17  # frames of a tiny recording


class Stage:
    """A play at max speed of tiny recordings, and the hub that it plays to."""

    def __init__(self, folder: Path, symbols: tuple[str, ...], faults: tuple[str, ...], rendezvous_s: float) -> None:
        paths = [write_recording(folder / f"{symbol}.gz", tiny_lines(symbol)) for symbol in symbols]
        self.feed = RecordedFeed(paths, is_futures=True)
        self.hub = Hub(RULES, self.feed.streams)
        self.injector = Injector(list(map(parse_fault, faults)), self.hub, self.feed.start_ns, SYSTEM_CLOCK)
        self.player = Player(self.feed, self.hub, self.injector, SYSTEM_CLOCK, SPEED_MAX, rendezvous_s, 0.05)
        self.task = asyncio.create_task(self.player.run())

    def join(self, *streams: str, combined: bool = True) -> tuple[MemoryWire, Client]:
        wire = MemoryWire()
        return wire, self.hub.add(wire, "public", Control(1024, combined, dict.fromkeys(streams)))

    async def ask(self, symbol: str = "BTCUSDT", limit: int = 1000) -> dict[str, object]:
        answer = await self.player.depth(symbol, limit)
        assert answer is not None
        answer.on_sent()
        document: dict[str, object] = orjson.loads(answer.body)
        return document

    @property
    def state(self) -> str:
        return self.player.state

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0.001)


def on_stage(
    scenario: Callable[[Stage], Awaitable[None]],
    folder: Path,
    *,
    symbols: tuple[str, ...] = ("BTCUSDT",),
    faults: tuple[str, ...] = (),
    rendezvous_s: float = 5.0,
) -> None:
    async def act() -> None:
        stage = Stage(folder, symbols, faults, rendezvous_s)
        try:
            async with asyncio.timeout(20):
                await scenario(stage)
        finally:
            stage.task.cancel()

    asyncio.run(act())


def test_play_waits_at_the_snapshot_until_it_was_asked_for(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, _ = stage.join(*STREAMS)
        await stage.settle()
        assert wire.frames == frames(tiny_lines())[:BEFORE_SNAPSHOT]
        assert stage.state == "waiting at a recorded snapshot"
        assert await stage.ask() == orjson.loads(snapshot())
        await stage.task
        assert wire.frames == frames(tiny_lines())
        assert stage.state == "done"

    on_stage(scenario, tmp_path)


def test_request_that_comes_early_is_answered_when_the_play_is_there(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        early = asyncio.create_task(stage.player.depth("BTCUSDT", 1000))
        await stage.settle()
        assert not early.done()
        wire, _ = stage.join(*STREAMS)
        answer = await early
        assert answer is not None
        assert orjson.loads(answer.body)["lastUpdateId"] == SNAPSHOT_ID
        await stage.settle()
        assert wire.frames == frames(tiny_lines())[:BEFORE_SNAPSHOT], "not a frame further until it is sent"
        answer.on_sent()
        await stage.task
        assert stage.player.answers_recorded == 1

    on_stage(scenario, tmp_path)


def test_play_goes_on_when_nobody_asks_in_time(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, _ = stage.join(*STREAMS)
        await stage.task
        assert wire.frames == frames(tiny_lines())
        answer = await stage.ask()
        assert answer["lastUpdateId"] == 1073, "from the venue's own book, as of the last event"
        assert stage.player.answers_from_book == 1

    on_stage(scenario, tmp_path, rendezvous_s=0.1)


def test_play_does_not_wait_for_a_snapshot_that_nobody_needs(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, _ = stage.join("btcusdt@trade")
        await stage.task
        assert wire.frames == frames(tiny_lines(), "trade")

    on_stage(scenario, tmp_path)


def test_request_while_nothing_plays_gets_the_recorded_answer_after_a_while(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        assert (await stage.ask())["lastUpdateId"] == SNAPSHOT_ID
        assert stage.state == "waiting for subscribers"

    on_stage(scenario, tmp_path, rendezvous_s=0.05)


def test_client_that_asks_for_one_symbol_after_the_other_is_not_locked_out(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, _ = stage.join(*stage.feed.streams)
        assert (await stage.ask("ETHUSDT"))["lastUpdateId"] == SNAPSHOT_ID
        assert (await stage.ask("BTCUSDT"))["lastUpdateId"] == SNAPSHOT_ID
        await stage.task
        assert len(wire.frames) == 48

    on_stage(scenario, tmp_path, symbols=("BTCUSDT", "ETHUSDT"))


def test_old_snapshot_leaves_the_rendezvous_open(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        stage.join(*STREAMS)
        first = await stage.ask()
        assert first["lastUpdateId"] == 999
        assert (await stage.ask())["lastUpdateId"] == 999
        assert stage.state == "waiting at a recorded snapshot"
        assert (await stage.ask())["lastUpdateId"] == SNAPSHOT_ID
        await stage.task

    on_stage(scenario, tmp_path, faults=("old_snapshot:count=2",))


def test_late_snapshot_does_not_hold_the_play(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        stage.join(*STREAMS)
        await stage.settle()
        answer = await stage.player.depth("BTCUSDT", 1000)
        assert answer is not None
        assert answer.delay_s == 5.0
        assert orjson.loads(answer.body)["lastUpdateId"] == SNAPSHOT_ID
        await stage.task

    on_stage(scenario, tmp_path, faults=("late_snapshot",))


def test_play_begins_without_streams_that_nobody_wants(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, _ = stage.join("btcusdt@trade")
        assert wire.frames == []
        await stage.task
        assert stage.hub.unheard == 16
        assert stage.hub.sent["btcusdt@trade"] == 8

    on_stage(scenario, tmp_path)


def test_streams_subscribed_one_after_the_other_all_get_the_first_frame(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, client = stage.join(STREAMS[0])
        for stream in STREAMS[1:]:
            await asyncio.sleep(0.02)
            client.control.subscribe([stream])
            stage.hub.route()
        await stage.settle()
        assert wire.frames == frames(tiny_lines())[:BEFORE_SNAPSHOT]

    on_stage(scenario, tmp_path)


def test_raw_connection_gets_the_bare_payload(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, _ = stage.join("btcusdt@trade", combined=False)
        await stage.task
        bare = [orjson.dumps(orjson.loads(text)["data"]) for text in frames(tiny_lines(), "trade")]
        assert wire.frames == bare

    on_stage(scenario, tmp_path)


def test_order_book_asked_for_at_another_speed_is_the_recorded_one_under_that_name(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, _ = stage.join("btcusdt@depth@100ms")
        asked = asyncio.create_task(stage.ask())
        await stage.task
        await asked
        expected = [text.replace(b"depth@0ms", b"depth@100ms") for text in frames(tiny_lines(), "depth")]
        assert wire.frames == expected

    on_stage(scenario, tmp_path)


def test_stream_on_the_wrong_route_is_silent(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire = MemoryWire()
        stage.hub.add(wire, "market", Control(1024, True, dict.fromkeys(STREAMS)))
        await stage.settle()
        assert stage.state == "waiting for subscribers"
        assert wire.frames == []

    on_stage(scenario, tmp_path)


def test_cut_ends_sockets_at_the_same_frame_and_loses_what_passes_meanwhile(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, client = stage.join(*STREAMS)
        await stage.ask()
        await stage.settle()
        assert not wire.is_open
        assert wire.frames == frames(tiny_lines())[:12]
        stage.hub.remove(client)
        again, _ = stage.join(*STREAMS)
        assert (await stage.ask())["lastUpdateId"] == 1046, "from the venue's book"
        await stage.task
        assert again.frames == frames(tiny_lines())[17:], "five frames passed in the lost half second"

    on_stage(scenario, tmp_path, faults=("cut@1.3:lost=0.5",))


def test_half_open_socket_is_frozen_and_hears_nothing_more(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, client = stage.join(*STREAMS)
        await stage.ask()
        await stage.settle()
        assert (wire.is_open, wire.is_frozen) == (True, True)
        assert len(wire.frames) == 12
        stage.hub.say(client, b"{}")
        assert len(wire.frames) == 12

    on_stage(scenario, tmp_path, faults=("half_open@1.3:lost=0",))


def test_silence_loses_frames_and_ends(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, _ = stage.join(*STREAMS)
        await stage.ask()
        await stage.task
        everything = frames(tiny_lines())
        assert wire.frames == everything[:12] + everything[15:]

    on_stage(scenario, tmp_path, faults=("silence@1.3:seconds=0.3",))


def test_ack_mute_silences_one_stream_until_it_is_subscribed_again(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        wire, client = stage.join(*STREAMS)
        await stage.ask()
        await stage.task
        book = frames(tiny_lines(), "depth")
        assert [text for text in wire.frames if b"@depth" in text[:60]] == book[:4]
        assert client.muted == {"btcusdt@depth@0ms"}
        assert "btcusdt@depth@0ms" in client.control.streams

    on_stage(scenario, tmp_path, faults=("ack_mute@1.3",))


def test_server_shutdown_is_told_in_the_shape_of_the_connection(tmp_path: Path) -> None:
    async def scenario(stage: Stage) -> None:
        combined, _ = stage.join(*STREAMS)
        bare, _ = stage.join(*STREAMS, combined=False)
        await stage.ask()
        await stage.task
        told = [orjson.loads(text) for text in combined.frames if b"serverShutdown" in text]
        assert told[0]["stream"] == "!serverShutdown"
        assert told[0]["data"]["e"] == "serverShutdown"
        assert [orjson.loads(text)["e"] for text in bare.frames if b"serverShutdown" in text] == ["serverShutdown"]
        await asyncio.sleep(0.05)
        assert combined.closed_with == bare.closed_with == (1001, "")

    on_stage(scenario, tmp_path, faults=("server_shutdown@1.3:seconds=0.01",))


def test_faults_hit_the_same_frames_in_every_play(tmp_path: Path) -> None:
    hits: list[list[str]] = []

    async def scenario(stage: Stage) -> None:
        stage.join(*STREAMS)
        await stage.ask()
        await stage.task
        hits.append([hit for fired in stage.injector.fired for hit in fired.hits])

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        on_stage(scenario, tmp_path / name, faults=("drop_diff@0.9", "corrupt_frame@1.5", "swap_diffs@1.9"))
    assert (
        hits[0]
        == hits[1]
        == [
            "btcusdt@depth@0ms U=1031 u=1037",
            "btcusdt@depth@0ms U=1049 u=1055",
            "btcusdt@depth@0ms U=1067 u=1073",
        ]
    )


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1_000_000])
def test_frame_head_has_the_shortest_form_for_its_size(size: int) -> None:
    wire = MemoryWire()
    wire.write(frame_head(size) + b"x" * size)
    assert [len(text) for text in wire.frames] == [size]
    assert len(frame_head(size)) == (2 if size < 126 else 4 if size < 65_536 else 10)


@pytest.mark.parametrize(("speed", "wait_s"), [(1.0, 2.0), (10.0, 0.2), (0.5, 4.0)])
def test_pacer_waits_by_its_speed(speed: float, wait_s: float) -> None:
    pacer = Pacer(speed)
    pacer.begin(wall_ns=1_000, play_ns=5_000_000_000)
    assert pacer.wait_s(7_000_000_000, 1_000) == pytest.approx(wait_s)
    assert pacer.due_ns(1_000 + round(wait_s * 1e9)) == 7_000_000_000
    assert pacer.wait_s(7_000_000_000, 1_000 + round(wait_s * 1e9)) == 0


def test_pacer_counts_no_time_in_which_the_play_stood_still() -> None:
    pacer = Pacer(2.0)
    pacer.begin(0, 0)
    pacer.shift(3_000_000_000)
    assert pacer.due_ns(4_000_000_000) == 2_000_000_000
