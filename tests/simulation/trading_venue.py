"""The simulated venue without sockets, and a network that loses, delays and cuts.

The venue is the product's own: desk, private half, REST endpoints, hub and faults of `connectors/simulator`. Here are
only the two things between it and a gateway: `Line` in the place of an HTTP client, `Stream` in the place of the user
stream's websocket. What is on its way arrives whether its sender still lives or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, cast
from urllib.parse import urlsplit

import httpx
from starlette.requests import Request
from starlette.routing import Route

from connectors.binance_usdm.private_words import STREAM_CONNECTION
from connectors.capabilities import EVERY_EPOCH
from connectors.rawbatch import RawBatch, RawSink
from connectors.simulator.config import SyntheticConfig, VenueConfig
from connectors.simulator.control import Control
from connectors.simulator.faults import parse_fault
from connectors.simulator.hub import Client, Hub
from connectors.simulator.injector import Injector
from connectors.simulator.player import Player
from connectors.simulator.private_config import PrivateRules
from connectors.simulator.private_half import PrivateHalf, VenueClock
from connectors.simulator.rest import RestApi
from connectors.simulator.synthetic import SyntheticFeed
from schemas.events import FrameKind
from schemas.instruments import Venue
from streams.clock import ManualClock

ABNORMAL = 1006
EXPIRED = b'"listenKeyExpired"'
Respond = Callable[[Request], Awaitable[Any]]


class Network:
    """How long things take on their way, and what is lost.

    Attributes:
        stormy: things are lost and delayed; else they only take a moment.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self.stormy = True
        self.lost = 0

    def delay_s(self) -> float:
        if self.stormy and self._chance.random() < 0.03:
            return self._chance.uniform(0.05, 4.0)
        return self._chance.uniform(0.0005, 0.02)

    def loses(self, share: float) -> bool:
        if self.stormy and self._chance.random() < share:
            self.lost += 1
            return True
        return False


class SimulatedVenue:
    """Everything on the other side of the wire.

    Attributes:
        feed: the market; `half`: accounts and orders on it.
    """

    def __init__(self, seed: int, symbols: tuple[str, ...], clock: ManualClock, chance: Random) -> None:
        private = PrivateRules(
            request_latency_s=chance.choice([0.0, 0.01]), report_latency_s=chance.choice([0.0, 0.005]),
            jitter_s=chance.choice([0.0, 0.02]), seed=seed, refuses_at_once=chance.random() < 0.5,
            funding_interval_s=(0.0, 4.0, 11.0)[seed % 3],
        )  # fmt: skip
        synthetic = SyntheticConfig(seed, symbols, clock.now_ns(), activity=0.8)
        config = VenueConfig(Venue.BINANCE_USDM, synthetic=synthetic, private=private)
        self._clock, self._config = clock, config
        self.feed = SyntheticFeed(synthetic, is_futures=True)
        self._items = self.feed.items()
        self.hub = Hub(config.rules, self.feed.streams)
        self.injector = Injector((), self.hub, self.feed.start_ns, clock)
        self.half = PrivateHalf(config, self.feed, self.hub, self.injector, clock)
        told = VenueClock(clock, self.injector)
        rest = RestApi(config.rules, self.feed, cast(Player, None), self.injector, told, config.label, dict)
        routes = [*rest.app().routes, *self.half.routes(rest)]
        self._endpoints: dict[tuple[str, str], Respond] = {
            (method, route.path): route.endpoint
            for route in routes
            if isinstance(route, Route)
            for method in route.methods or ()
        }

    def trade(self) -> None:
        """The market goes on until now."""
        now_ns = self._clock.now_ns()
        for item in self._items:
            if item.at_ns >= now_ns:
                return

    async def fault(self, text: str) -> None:
        """Fire a fault of the simulated venue, written as on the command line."""
        await self.injector.fire(parse_fault(text), self._clock.now_ns())

    async def answer(self, method: str, url: str, key: str, gone: Callable[[], bool]) -> httpx.Response:
        """Carry out one REST request."""
        target = urlsplit(url)
        scope = {
            "type": "http", "method": method, "path": target.path, "query_string": target.query.encode(),
            "headers": [(b"x-mbx-apikey", key.encode())], "scheme": "http", "server": ("127.0.0.1", 80),
        }  # fmt: skip
        response = await self._endpoints[method, target.path](_Request(scope, gone))
        return httpx.Response(response.status_code, headers=dict(response.headers), content=response.body)

    def dial(self, key: str, socket: Socket) -> Client | None:
        """A websocket of the user stream; None when it is refused."""
        if self.injector.dial_refusal() is not None or not self.half.users.knows(key):
            return None
        return self.hub.add(socket, "private", Control(1, False, {key: None}))


class _Request(Request):
    def __init__(self, scope: dict[str, Any], gone: Callable[[], bool]) -> None:
        super().__init__(scope, _no_body)
        self._gone = gone

    async def is_disconnected(self) -> bool:
        return self._gone()


async def _no_body() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


class Life:
    """One life of a process, which may end at any point: from then on it says and does nothing more.

    Attributes:
        on_death: called once, when it dies.
    """

    def __init__(self, dies: Callable[[str], bool]) -> None:
        self.alive = True
        self._dies = dies
        self.on_death: Callable[[], object] = lambda: None

    def reach(self, point: str) -> bool:
        """Whether it still lives after this point."""
        if self.alive and self._dies(point):
            self.kill()
        return self.alive

    def kill(self) -> None:
        if self.alive:
            self.alive = False
            self.on_death()


class Line:
    """In the place of `httpx.AsyncClient`."""

    def __init__(self, venue: SimulatedVenue, network: Network, life: Life, key: str) -> None:
        self._venue, self._network, self._life, self._key = venue, network, life, key

    async def request(self, method: str, url: str) -> httpx.Response:
        if not self._life.reach("send"):
            await asyncio.Event().wait()
        if self._network.loses(0.005):
            raise httpx.ConnectError("refused")
        waits = [True]
        travelling = asyncio.ensure_future(self._travel(method, url, lambda: not (waits and self._life.alive)))
        travelling.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody waits any more
        try:
            if not self._life.reach("sent"):
                await asyncio.Event().wait()
            return await asyncio.shield(travelling)
        finally:
            waits.clear()

    async def _travel(self, method: str, url: str, gone: Callable[[], bool]) -> httpx.Response:
        await asyncio.sleep(self._network.delay_s())
        if self._network.loses(0.01):
            raise httpx.ReadError("reset on the way there")
        response = await self._venue.answer(method, url, self._key, gone)
        await asyncio.sleep(self._network.delay_s())
        if self._network.loses(0.01):
            raise httpx.ReadError("reset on the way back")
        return response

    async def aclose(self) -> None:
        """Nothing is open."""


class Socket:
    """One socket of the user stream as the venue's hub writes to it. Order stays; a cut loses what is on its way."""

    is_full = False

    def __init__(self, network: Network, heard: Callable[[bytes], None]) -> None:
        self.is_open = True
        self.closed = asyncio.Event()
        self.code = ABNORMAL
        self._network, self._heard = network, heard
        self._due_s = 0.0

    def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for payload in _payloads(data):
            self._due_s = max(self._due_s, loop.time() + self._network.delay_s())
            loop.call_at(self._due_s, self._deliver, payload)

    def _deliver(self, payload: bytes) -> None:
        if self.is_open:
            self._heard(payload)

    async def drained(self) -> None:
        """Never full."""

    async def emptied(self, timeout_s: float) -> None:
        """What was written is on its way."""

    def freeze(self) -> None:
        """Nothing is read anyway."""

    def close_soon(self, code: int, reason: str) -> None:
        self._end(code)

    def abort(self) -> None:
        self._end(ABNORMAL)

    def _end(self, code: int) -> None:
        self.is_open, self.code = False, code
        self.closed.set()


def _payloads(data: bytes) -> list[bytes]:
    """Texts of unmasked websocket frames."""
    found = []
    while data:
        size, at = data[1], 2
        if size == 126:
            size, at = int.from_bytes(data[2:4], "big"), 4
        found.append(data[at : at + size])
        data = data[at + size :]
    return found


class Stream:
    """In the place of `connectors.user_stream.UserStream`: the same rows, the same calls, make before break."""

    def __init__(
        self, venue: SimulatedVenue, network: Network, life: Life, chance: Random, clock: ManualClock, sink: RawSink,
        make_key: Callable[[], Awaitable[str]], on_open: Callable[[], None], on_lost: Callable[[], None],
    ) -> None:  # fmt: skip
        self._venue, self._network, self._life, self._chance, self._clock = venue, network, life, chance, clock
        self._make_key, self._on_open, self._on_lost = make_key, on_open, on_lost
        self._batch = RawBatch(Venue.BINANCE_USDM, STREAM_CONNECTION, sink)
        self._epoch = 0
        self._stopping, self._renew = asyncio.Event(), asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    def renew(self) -> None:
        self._renew.set()

    async def run(self) -> None:
        self._record(FrameKind.CLOSE, b"start", EVERY_EPOCH)
        client: Client | None = None
        try:
            while not self._stopping.is_set():
                new = await self._dial()
                if new is None:
                    await self._wait(self._chance.uniform(0.05, 1.0))
                    continue
                if client is not None:
                    await self._wait(0.3)
                    self._hang_up(client)
                client = new
                self._renew.clear()
                socket = cast(Socket, client.wire)
                await self._wait(None, socket.closed, self._renew)
                if socket.closed.is_set():
                    self._hang_up(client)
                    client = None
                    self._on_lost()
        finally:
            if client is not None:
                self._hang_up(client)

    async def _dial(self) -> Client | None:
        try:
            key = await self._make_key()
        except OSError:
            return None
        await asyncio.sleep(self._network.delay_s())
        epoch = self._epoch + 1
        client = self._venue.dial(key, Socket(self._network, lambda payload: self._hear(payload, epoch)))
        if client is None or not self._life.alive:
            return None
        self._epoch = epoch
        self._record(FrameKind.OPEN, b"ws://127.0.0.1/private/ws", epoch)
        self._on_open()
        return client

    def _hang_up(self, client: Client) -> None:
        socket = cast(Socket, client.wire)
        socket.is_open = False
        self._venue.hub.remove(client)
        if not self._stopping.is_set():
            self._record(FrameKind.CLOSE, b"closed", self._epoch, socket.code)

    def _hear(self, payload: bytes, epoch: int) -> None:
        self._record(FrameKind.TEXT, payload, epoch)
        if EXPIRED in payload:
            self._renew.set()

    def _record(self, kind: FrameKind, payload: bytes, epoch: int, status: int = 0) -> None:
        self._batch.add(kind, payload, epoch, self._clock.now_ns(), status)
        self._batch.flush()

    async def _wait(self, seconds: float | None, *events: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in (*events, self._stopping)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
