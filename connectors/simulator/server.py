"""The websocket half of the simulated venue: handshakes, control messages, pings, limits, age."""

from __future__ import annotations

import asyncio
import http
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State

from connectors.simulator.control import POLICY_VIOLATION, Control, Refused
from connectors.simulator.hub import Client, Hub
from connectors.simulator.injector import GOING_AWAY, Injector
from connectors.simulator.rules import PING_COUNTED_INTERVAL_MIN_S, Address, VenueRules, parse_address
from streams.clock import Clock

S_NS = 1_000_000_000
WRITE_BUFFER_BYTES = 1 << 20  # in front of a client before the play waits for it
CLOSE_TIMEOUT_S = 1.0
MESSAGE_BYTES_MAX = 1 << 16  # of a control message
EMPTY_POLL_S = 0.001
DIAL_STALL_POLL_S = 0.05
SETTLE_S = 0.05  # a peer reads what was sent before a connection is cut under it

logger = logging.getLogger(__name__)


class VenueConnection(ServerConnection):
    """A connection that counts what its client sends, and the `Wire` of a hub's client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.on_frame: Callable[[Opcode, bytes], None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and self.on_frame is not None:
            self.on_frame(event.opcode, bytes(event.data))
        super().process_event(event)

    @property
    def is_open(self) -> bool:
        return self.protocol.state is State.OPEN and not self.transport.is_closing()

    @property
    def is_full(self) -> bool:
        return self.paused

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    async def drained(self) -> None:
        try:
            await self.drain()
        except OSError:
            logger.debug("a client went away while it was written to")

    async def emptied(self, timeout_s: float) -> None:
        polls = math.ceil(timeout_s / EMPTY_POLL_S)
        while self.is_open and self.transport.get_write_buffer_size() and polls:
            polls -= 1
            await asyncio.sleep(EMPTY_POLL_S)
        await asyncio.sleep(SETTLE_S)

    def abort(self) -> None:
        self.transport.abort()

    def freeze(self) -> None:
        self.transport.pause_reading()

    def close_soon(self, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self.close(code, reason))

    def send_ping(self, payload: bytes) -> None:
        self.protocol.send_ping(payload)
        self.send_data()


class Limits:
    """What one client may send, and whether it still answers.

    Args:
        rules: the venue's behaviour.
        clock: monotonic time.
    """

    def __init__(self, rules: VenueRules, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._inbound_ns: deque[int] = deque(maxlen=rules.inbound_per_s + 1)
        self._pings: dict[bytes, int] = {}
        self.too_many = asyncio.Event()

    def ping_sent(self, payload: bytes) -> None:
        self._pings[payload] = self._clock.monotonic_ns()

    @property
    def is_silent(self) -> bool:
        """Whether a ping has gone unanswered for too long."""
        oldest_ns = min(self._pings.values(), default=None)
        waited_ns = 0 if oldest_ns is None else self._clock.monotonic_ns() - oldest_ns
        return waited_ns > self._rules.pong_timeout_s * S_NS

    def frame_came(self, opcode: Opcode, payload: bytes) -> None:
        """Count a frame of the client: pings, pongs and messages all count."""
        if opcode is Opcode.PONG and payload in self._pings:
            while self._pings:  # an answer to a later ping answers the earlier ones too
                earliest = next(iter(self._pings))
                del self._pings[earliest]
                if earliest == payload:
                    break
            if self._rules.ping_interval_s < PING_COUNTED_INTERVAL_MIN_S:
                return
        elif opcode is Opcode.CLOSE:
            return
        now_ns = self._clock.monotonic_ns()
        self._inbound_ns.append(now_ns)
        if len(self._inbound_ns) > self._rules.inbound_per_s and now_ns - self._inbound_ns[0] < S_NS:
            self.too_many.set()


class StreamServer:
    """Serves websocket streams from a hub.

    Args:
        rules: the venue's behaviour.
        hub: where clients are entered.
        injector: faults of handshakes.
        clock: wall and monotonic time.
        label: what is played; sent as a header of every handshake.
        knows_listen_key: whether there is such a user data stream.
    """

    def __init__(
        self,
        rules: VenueRules,
        hub: Hub,
        injector: Injector,
        clock: Clock,
        label: str,
        knows_listen_key: Callable[[str], bool] | None = None,
    ) -> None:
        self._rules = rules
        self._hub = hub
        self._injector = injector
        self._clock = clock
        self._label = label
        self._knows_listen_key = knows_listen_key
        self._dials_ns: deque[int] = deque(maxlen=rules.dials_max + 1)
        self._server: Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        self._server = await serve(
            self._handle,
            host,
            port,
            process_request=self._check_request,
            process_response=self._sign,
            create_connection=VenueConnection,
            compression=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_S,
            open_timeout=None,
            max_size=MESSAGE_BYTES_MAX,
            write_limit=WRITE_BUFFER_BYTES,
            server_header=None,
        )
        sockets = list(self._server.sockets)
        return int(sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            for client in list(self._hub.clients.values()):
                if client.is_frozen:
                    client.wire.abort()
            self._server.close(code=GOING_AWAY)
            await self._server.wait_closed()

    # ---- handshakes

    async def _check_request(self, connection: ServerConnection, request: Request) -> Response | None:
        while self._injector.stalls_dials:  # noqa: ASYNC110 (it is time we wait for)
            await asyncio.sleep(DIAL_STALL_POLL_S)
        refusal = self._injector.dial_refusal()
        if refusal is not None:
            return self._refuse(connection, refusal.status, refusal.retry_after_s)
        now_ns = self._clock.monotonic_ns()
        self._dials_ns.append(now_ns)
        window_ns = round(self._rules.dials_window_s * S_NS)
        if len(self._dials_ns) > self._rules.dials_max and now_ns - self._dials_ns[0] < window_ns:
            return self._refuse(connection, 429, (window_ns - (now_ns - self._dials_ns[0])) / S_NS)
        parts = urlsplit(request.path)
        query = parse_qsl(parts.query)
        if any(key == "timeUnit" for key, _ in query):
            return connection.respond(400, "This simulated venue plays milliseconds as they were recorded.\n")
        listen_key = dict(query).get("listenKey")
        if listen_key is not None and self._knows_listen_key is None:
            return connection.respond(400, "This simulated venue has no user data streams.\n")
        if listen_key is not None and self._knows_listen_key and not self._knows_listen_key(listen_key):
            return connection.respond(400, "This listenKey does not exist.\n")
        address = parse_address(self._rules, unquote(parts.path), query)
        if address is None:
            return connection.respond(404, "No such path.\n")
        try:
            self._control(address)
        except Refused as refused:
            return connection.respond(400, refused.message + "\n")
        return None

    @staticmethod
    def _refuse(connection: ServerConnection, status: int, retry_after_s: float) -> Response:
        response = connection.respond(status, f"{http.HTTPStatus(status).phrase}\n")
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
        return response

    def _sign(self, connection: ServerConnection, request: Request, response: Response) -> None:
        response.headers["X-Simulated-Venue"] = self._label

    def _control(self, address: Address) -> Control:
        control = Control(self._rules.streams_max, address.combined)
        control.subscribe(address.streams)
        return control

    # ---- connections

    async def _handle(self, connection: ServerConnection) -> None:
        assert isinstance(connection, VenueConnection)
        assert connection.request is not None
        parts = urlsplit(connection.request.path)
        query = parse_qsl(parts.query)
        address = parse_address(self._rules, unquote(parts.path), query)
        assert address is not None, "checked in the handshake"
        limits = Limits(self._rules, self._clock)
        connection.on_frame = limits.frame_came
        control, given = self._control(address), dict(query)
        if "listenKey" in given:
            control.subscribe((given["listenKey"],))
        client = self._hub.add(connection, address.route, control)
        client.events = frozenset(filter(None, given.get("events", "").split("/")))
        watches = (self._ping(client, connection, limits), self._age(connection), _drop_flooder(connection, limits))
        guards = [asyncio.create_task(watch) for watch in watches]
        try:
            await self._listen(client, connection)
        except ConnectionClosed as closed:
            logger.debug("connection %d closed: %s", client.number, closed)
        finally:
            for guard in guards:
                guard.cancel()
            self._hub.remove(client)

    async def _listen(self, client: Client, connection: VenueConnection) -> None:
        async for message in connection:
            reply = client.control.take(message)
            client.muted.difference_update(reply.subscribed)
            if reply.subscribed or reply.unsubscribed:
                self._hub.route()
            self._hub.say(client, reply.text)
            if reply.close_code:
                await connection.close(reply.close_code, "invalid stream")

    async def _ping(self, client: Client, connection: VenueConnection, limits: Limits) -> None:
        while not limits.is_silent:
            await asyncio.sleep(self._rules.ping_interval_s)
            if self._hub.silent or client.is_frozen:
                continue
            payload = str(self._clock.now_ns() // 1_000_000).encode()
            limits.ping_sent(payload)
            connection.send_ping(payload)
        logger.info("connection %d answers no pings: dropped", client.number)
        connection.abort()

    async def _age(self, connection: VenueConnection) -> None:
        await asyncio.sleep(self._rules.life_s)
        connection.close_soon(GOING_AWAY, "")


async def _drop_flooder(connection: VenueConnection, limits: Limits) -> None:
    await limits.too_many.wait()
    connection.close_soon(POLICY_VIOLATION, "Too many requests")
