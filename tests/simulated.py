"""What tests of the simulated venue share: tiny recordings, a venue for the length of a test, a plain client."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from connectors.simulator.config import VenueConfig
from connectors.simulator.venue import SimulatedVenue
from schemas.instruments import Venue

START_NS = 1_723_161_255_000_000_000
STEP_NS = 100_000_000
SNAPSHOT_ID = 1025


class Event(NamedTuple):
    """Update ids of an order book event."""

    first: int
    last: int
    previous: int


def depth(symbol: str, event: Event, price: str, quantity: str, *, is_futures: bool) -> dict[str, Any]:
    data: dict[str, Any] = {"e": "depthUpdate", "E": 1, "s": symbol, "U": event.first, "u": event.last}
    if is_futures:
        data |= {"T": 1, "pu": event.previous}
    return data | {"b": [[price, quantity]], "a": [["101.50", "2.000"]]}


def ticker(symbol: str, update_id: int) -> dict[str, Any]:
    return {"u": update_id, "s": symbol, "b": "100.00", "B": "1.000", "a": "101.50", "A": "2.000"}


def trade(symbol: str, number: int) -> dict[str, Any]:
    return {"e": "trade", "E": 1, "s": symbol, "t": number, "p": "100.50", "q": "0.010", "T": 1, "m": True}


def wrapped(stream: str, data: dict[str, Any]) -> bytes:
    return orjson.dumps({"stream": stream, "data": data})


def snapshot(last_update_id: int = SNAPSHOT_ID) -> bytes:
    return orjson.dumps(
        {
            "lastUpdateId": last_update_id,
            "bids": [["100.00", "1.000"], ["99.50", "3.000"]],
            "asks": [["101.50", "2.000"], ["102.00", "5.000"]],
        }
    )


def events(count: int, *, is_futures: bool) -> list[Event]:
    """A chain: futures ids jump between events, spot ids follow each other. The third event holds SNAPSHOT_ID."""
    gap = 3 if is_futures else 1
    chain = [Event(1001, 1010, 1000)]
    for _ in range(count - 1):
        first = chain[-1].last + gap
        chain.append(Event(first, first + 9 - gap, chain[-1].last))
    return chain


def tiny_lines(symbol: str = "BTCUSDT", count: int = 8, *, is_futures: bool = True) -> list[tuple[int, bytes]]:
    """(time, payload): `count` order book events, each followed by a ticker and a trade; a snapshot after the third."""
    name = symbol.lower()
    stream = f"{name}@depth@0ms" if is_futures else f"{name}@depth@100ms"
    lines: list[bytes] = []
    for number, event in enumerate(events(count, is_futures=is_futures)):
        price, quantity = f"{90 + number}.00", f"{number + 1}.000"
        lines.append(wrapped(stream, depth(symbol, event, price, quantity, is_futures=is_futures)))
        if number == 2:
            lines.append(snapshot())
        lines += [wrapped(f"{name}@bookTicker", ticker(symbol, event.last))]
        lines += [wrapped(f"{name}@trade", trade(symbol, number + 1))]
    return [(START_NS + place * STEP_NS, payload) for place, payload in enumerate(lines)]


def write_recording(path: Path, lines: Iterable[tuple[int, bytes]]) -> Path:
    with gzip.open(path, "wb") as file:
        for at_ns, payload in lines:
            file.write(b"%d %s\n" % (at_ns, payload))
    return path


def frames(lines: Iterable[tuple[int, bytes]], *kinds: str) -> list[bytes]:
    """The stream frames among the lines; of those kinds only, when any are named."""
    found = [payload for _, payload in lines if payload.startswith(b'{"stream"')]
    return [p for p in found if not kinds or any(b"@" + kind.encode() in p[:60] for kind in kinds)]


class Running(NamedTuple):
    """A venue that runs, and a client of its REST half."""

    venue: SimulatedVenue
    rest: httpx.AsyncClient
    prefix: str
    route: str

    def url(self, path: str = "/stream", streams: Iterable[str] = ()) -> str:
        query = "?streams=" + "/".join(streams) if streams else ""
        return f"{self.venue.addresses.stream_url}{self.route}{path}{query}"

    async def dial(self, path: str = "/stream", streams: Iterable[str] = (), **options: Any) -> ClientConnection:
        """A connection to this venue's streams; on futures on the route of order books."""
        options = {"compression": None, "ping_interval": None, "max_queue": None, "close_timeout": 0.2} | options
        return await connect(self.url(path, streams), **options)

    async def depth(self, symbol: str = "BTCUSDT", limit: int = 1000) -> dict[str, Any]:
        answer = await self.rest.get(f"{self.prefix}/depth", params={"symbol": symbol, "limit": limit})
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def status(self) -> dict[str, Any]:
        document: dict[str, Any] = (await self.rest.get("/sim/status")).json()
        return document

    async def until(self, state: str, timeout_s: float = 10.0) -> dict[str, Any]:
        """The status once the play is in that state."""
        async with asyncio.timeout(timeout_s):
            while (document := await self.status())["state"] != state:  # noqa: ASYNC110 (over REST)
                await asyncio.sleep(0.01)
        return document


@asynccontextmanager
async def running(config: VenueConfig) -> AsyncIterator[Running]:
    venue = SimulatedVenue(config)
    addresses = await venue.start()
    route = "/public" if config.venue is Venue.BINANCE_USDM else ""
    try:
        async with httpx.AsyncClient(base_url=addresses.rest_url, timeout=20.0) as rest:
            yield Running(venue, rest, config.rules.api_prefix, route)
    finally:
        await venue.stop()


async def take(connection: ClientConnection, count: int, timeout_s: float = 10.0) -> list[bytes]:
    """The next messages."""
    async with asyncio.timeout(timeout_s):
        return [await connection.recv(decode=False) for _ in range(count)]


async def drain(connection: ClientConnection, quiet_s: float = 0.3) -> list[bytes]:
    """Messages until none comes for a while, or the connection ends."""
    got: list[bytes] = []
    try:
        while True:
            got.append(await asyncio.wait_for(connection.recv(decode=False), quiet_s))
    except (TimeoutError, ConnectionClosed):
        return got


async def ask(connection: ClientConnection, **request: Any) -> dict[str, Any]:
    """Send a control message; the next message is its answer."""
    await connection.send(orjson.dumps(request), text=True)
    answer: dict[str, Any] = orjson.loads((await take(connection, 1))[0])
    return answer
