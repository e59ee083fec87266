"""Who hears what: connected clients, their subscriptions, and the bytes on their way out.

Frames are encoded here and written in batches past `websockets`' own `send`: one call per frame
costs it 15 to 20 µs, which would make the venue the slow side of every measurement.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from connectors.simulator.control import Control
from connectors.simulator.feed import StreamInfo, wrapper_head
from connectors.simulator.rules import VenueRules

_TEXT = 0x81  # final text frame, server to client: no mask
_SHORT = struct.Struct("!BB")
_MEDIUM = struct.Struct("!BBH")
_LONG = struct.Struct("!BBQ")


def frame_head(size: int) -> bytes:
    """The head of an unmasked websocket text frame of `size` payload bytes (RFC 6455, section 5.2)."""
    if size < 126:
        return _SHORT.pack(_TEXT, size)
    if size < 1 << 16:
        return _MEDIUM.pack(_TEXT, 126, size)
    return _LONG.pack(_TEXT, 127, size)


class Wire(Protocol):
    """The socket of a client, as the hub needs it."""

    @property
    def is_open(self) -> bool: ...

    @property
    def is_full(self) -> bool:
        """Whether more is buffered than the peer takes."""
        ...

    def write(self, data: bytes) -> None: ...

    async def drained(self) -> None:
        """Return when the buffer has room again, or the connection is gone."""
        ...

    async def emptied(self, timeout_s: float) -> None:
        """Return when everything written has left this process, or after the time-out."""
        ...

    def abort(self) -> None:
        """End the connection without a close frame."""
        ...

    def freeze(self) -> None:
        """Read nothing more."""
        ...

    def close_soon(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        ...


@dataclass(eq=False)
class Client:
    """One websocket connection.

    Attributes:
        number: counts connections since the venue started.
        route: `public`, `market`, `private`, or "" where addresses have no route.
        control: its subscriptions.
        muted: subscribed streams that do not arrive (a fault).
        events: names of the user data events that it wants; empty for all.
        is_frozen: half open (a fault): nothing is read or sent any more.
        frames, frame_bytes: market frames sent.
        out: encoded frames not written yet.
    """

    number: int
    wire: Wire
    route: str
    control: Control
    muted: set[str] = field(default_factory=set)
    events: frozenset[str] = frozenset()
    is_frozen: bool = False
    frames: int = 0
    frame_bytes: int = 0
    out: list[bytes] = field(default_factory=list)

    def put(self, text: bytes) -> None:
        """Queue a text frame."""
        self.out.append(frame_head(len(text)))
        self.out.append(text)


class Ear(NamedTuple):
    """A client that hears a stream; `alias` is the wrapper's head where it asked under another name."""

    client: Client
    alias: bytes | None


class Hub:
    """All clients.

    Args:
        rules: the venue's behaviour (which route carries which stream).
        streams: what the feed has; others are acknowledged and silent.

    Attributes:
        sent: frames delivered to at least one client, by stream.
        unheard: frames that nobody was subscribed to, or that a fault kept back.
        silent: nothing is sent at all (a fault).
        changes: counts changes of subscriptions.
    """

    def __init__(self, rules: VenueRules, streams: Mapping[str, StreamInfo]) -> None:
        self._rules = rules
        self.streams = streams
        self.clients: dict[int, Client] = {}
        self.by_stream: dict[str, tuple[Ear, ...]] = {}
        self._depth_of = {info.symbol.lower(): name for name, info in streams.items() if info.kind == "depth"}
        self.sent: dict[str, int] = dict.fromkeys(streams, 0)
        self.unheard = 0
        self.silent = False
        self.changes = 0
        self._changed = asyncio.Event()
        self._numbers = 0
        self._dirty: dict[int, Client] = {}

    def add(self, wire: Wire, route: str, control: Control) -> Client:
        self._numbers += 1
        client = Client(self._numbers, wire, route, control)
        self.clients[client.number] = client
        self.route()
        return client

    def remove(self, client: Client) -> None:
        self.clients.pop(client.number, None)
        self._dirty.pop(client.number, None)
        self.route()

    def route(self) -> None:
        """Work out anew who hears what; to be called after every change."""
        routed: dict[str, list[Ear]] = {}
        for client in self.clients.values():
            for asked, stream in self.heard_by(client).items():
                routed.setdefault(stream, []).append(Ear(client, None if asked == stream else wrapper_head(asked)))
        self.by_stream = {stream: tuple(ears) for stream, ears in routed.items()}
        self.changes += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def heard_by(self, client: Client) -> dict[str, str]:
        """The streams of the feed that a client hears, by the names it asked for.

        A feed holds one order book stream a symbol; asked for at another speed that the venue has, it is
        that one under the name that was asked for: a client need not know how its recording was made.
        """
        if client.is_frozen:
            return {}
        heard = {}
        for asked in tuple(client.control.streams):  # status is asked for from another thread
            stream = self._resolve(asked)
            if stream and asked not in client.muted and self._rules.delivers(client.route, asked):
                heard[asked] = stream
        return heard

    def _resolve(self, asked: str) -> str | None:
        if asked in self.streams:
            return asked
        symbol, _, rest = asked.partition("@")
        return self._depth_of.get(symbol) if f"@{rest}" in self._rules.depth_speeds else None

    async def wait_change(self, timeout_s: float | None) -> bool:
        """Wait for a change of subscriptions; False after the time-out."""
        changed = self._changed
        try:
            async with asyncio.timeout(timeout_s):  # not wait_for: until Python 3.12 that may swallow a cancellation
                await changed.wait()
        except TimeoutError:
            return False
        return True

    def publish(self, stream: str, payload: bytes, head_bytes: int) -> None:
        """Queue a frame for everybody who hears the stream.

        Args:
            payload: in the combined wrapper.
            head_bytes: how much of it stands before the bare payload.
        """
        ears = self.by_stream.get(stream)
        if ears is None or self.silent:
            self.unheard += 1
            return
        for client, alias in ears:
            if not client.control.combined:
                text = payload[head_bytes:-1]
            elif alias is None:
                text = payload
            else:
                text = alias + payload[head_bytes:]
            out = client.out
            if not out:
                self._dirty[client.number] = client
            out.append(frame_head(len(text)))
            out.append(text)
            client.frames += 1
            client.frame_bytes += len(text)
        self.sent[stream] += 1

    def say(self, client: Client, text: bytes) -> None:
        """Send a reply now, after what is queued."""
        if not self.silent and not client.is_frozen:
            client.put(text)
            self._write(client)

    async def flush(self) -> None:
        """Write what is queued; wait for clients whose buffers are full."""
        dirty, self._dirty = self._dirty, {}
        for client in dirty.values():
            self._write(client)
        for client in dirty.values():
            while client.wire.is_full and client.wire.is_open and not client.is_frozen:
                await client.wire.drained()

    def _write(self, client: Client) -> None:
        if client.out and client.wire.is_open and not client.is_frozen:
            client.wire.write(b"".join(client.out))
        client.out.clear()

    async def empty(self, timeout_s: float) -> None:
        """Write everything and wait until it has left: what comes next finds the clients at the same frame."""
        await self.flush()
        await asyncio.gather(*(client.wire.emptied(timeout_s) for client in self.heard()))

    def heard(self) -> list[Client]:
        """Clients that are not frozen."""
        return [client for client in self.clients.values() if not client.is_frozen]

    def hears(self, symbol: str, kind: str) -> bool:
        """Whether anybody is subscribed to a stream of that kind."""
        return (symbol, kind) in self.covered()

    def covered(self) -> set[tuple[str, str]]:
        """Every (symbol, kind) that has a subscriber."""
        return {(self.streams[name].symbol, self.streams[name].kind) for name in self.by_stream}

    def covers(self, wanted: Set[tuple[str, str]]) -> bool:
        """Whether all of them have a subscriber."""
        return wanted <= self.covered()
