"""One websocket connection to a venue, kept alive: dial, subscribe, listen, watch, renew, dial again.

The session knows no venue: an `Exchange` table tells it what to do. It understands acknowledgements and
the announcement of a shutdown, nothing else; everything it hears is handed to the raw sink first, with the
time it was heard, and so is what happens to the socket:

    OPEN ─ TEXT TEXT TEXT … REST (a snapshot was asked for) … SILENT … TEXT … CLOSE ─ OPEN …

States: DISCONNECTED → DIALING → OPEN → SUBSCRIBED (acknowledged) → LIVE (data seen) ⇄ STALE → … Connected means LIVE.

A socket that reaches its age, or whose server announces a shutdown, is renewed make-before-break: the new one is
opened beside it and the old one closed when the new one has said what the old one says. Both are
recorded; which of two equal messages counts is the wire rule's business, by epoch.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import Event as ProtocolEvent
from websockets.protocol import State as ProtocolState

from connectors.backoff import Backoff
from connectors.capabilities import EVERY_EPOCH, ConnectionPlan, Exchange, Request, StreamKind
from connectors.liveness import NS, Liveness
from connectors.ratelimit import SlidingWindow, retry_after_s
from connectors.rawbatch import RawBatch, RawSink
from connectors.rest import RestClient, is_loopback
from schemas.errors import PeerProtocolError, ShrivenError, VenueRejected
from schemas.events import FrameKind
from schemas.instruments import instrument_id, instrument_name
from streams.clock import SYSTEM_CLOCK, Clock, entropy

log = logging.getLogger(__name__)
DATA_PREFIX = b'{"stream":"'
FRAME_BYTES_MAX = 1 << 24  # the largest message ever seen has 60 KB
HANDSHAKE_BYTES_MAX = 1 << 16
HOUR_S = 3600.0
REFUSALS = (401, 403, 451)  # trying again would not help, and may make it worse
PATIENCE = (429, 418)
ABNORMAL = 1006


class ConnectionState(enum.StrEnum):
    """Only LIVE means connected: acknowledged, and data seen."""

    DISCONNECTED = "disconnected"
    DIALING = "dialing"
    OPEN = "open"
    SUBSCRIBED = "subscribed"
    LIVE = "live"
    STALE = "stale"


@dataclass(frozen=True)
class SessionOptions:
    """Times, in seconds. The defaults are for the real venues; tests and simulations scale them.

    Attributes:
        dial_timeout_s, close_timeout_s, ack_timeout_s: for the answer to a dial, a close, a subscription.
        first_data_s: from the dial to the first message.
        data_silent_s: silence of all streams together: STALE; twice that: dial again.
        stream_silent_s: silence of one stream, by kind: SILENT row and a new subscription; 0: never.
        healthy_after_s: alive for so long counts as health, and failures are forgotten.
        renew_after_s: age at which the socket is renewed; None: an hour before the venue cuts it, ± 30 minutes.
        overlap_s: how long old and new socket are open together once the new one has said everything.
        flush_interval_s: how long a message may wait for others before it is handed over.
        backoff_base_s, backoff_ceiling_s: see connectors/backoff.py.
        snapshot_delays_s: wait before the first, second, … snapshot since an instrument's break; the last repeats.
    """

    dial_timeout_s: float = 10.0
    close_timeout_s: float = 1.0
    ack_timeout_s: float = 10.0
    first_data_s: float = 10.0
    data_silent_s: float = 10.0
    stream_silent_s: Mapping[StreamKind, float] = field(
        default_factory=lambda: {StreamKind.DEPTH: 5.0, StreamKind.TICKER: 10.0, StreamKind.TRADE: 0.0}
    )
    healthy_after_s: float = 30.0
    renew_after_s: float | None = None
    overlap_s: float = 1.0
    flush_interval_s: float = 0.001
    backoff_base_s: float = 0.5
    backoff_ceiling_s: float = 30.0
    snapshot_delays_s: tuple[float, ...] = (0.05, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass
class SessionStatus:
    """How a session is, for people. Updated while it runs."""

    state: ConnectionState = ConnectionState.DISCONNECTED
    epoch: int = 0
    dials: int = 0
    frames: int = 0
    bytes: int = 0
    pings: int = 0
    renewals: int = 0
    snapshots: int = 0
    last_heard_ns: int = 0  # wall clock
    last_trouble: str = ""


class FrameConnection(ClientConnection):
    """websockets' connection with a short way for what nearly everything is: whole, unmasked text frames.

    They are cut out of what the socket gives, many at a time, and handed to the link; the library sees the
    handshake, control frames, fragments and whatever is odd, as if the text frames had not been there. By
    tests/bench/bench_session.py that costs 2 µs of CPU a frame from socket to raw row; the library's recv() alone 8.
    """

    def __init__(self, protocol: ClientProtocol, *, link: Link, **options: Any) -> None:
        super().__init__(protocol, **options)
        self._link = link
        self._handshake: bytes | None = b""  # None: done
        self._rest = b""  # the beginning of a frame
        self._parts: list[bytes] = []  # of a fragmented message

    def data_received(self, data: bytes) -> None:
        if self._handshake is not None:
            data = self._take_handshake(data)
        if data:
            self._take_frames(self._rest + data if self._rest else data)

    def process_event(self, event: ProtocolEvent) -> None:
        if isinstance(event, Frame):
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._take_part(event)
                return
            if event.opcode is Opcode.PING:
                self._link.session.status.pings += 1
        super().process_event(event)

    def _take_handshake(self, data: bytes) -> bytes:
        """Hand the library exactly the handshake; returns what follows it."""
        assert self._handshake is not None
        head = self._handshake + data
        end = head.find(b"\r\n\r\n") + 4
        if end < 4 and len(head) < HANDSHAKE_BYTES_MAX:
            self._handshake = head
            return b""
        end = end if end >= 4 else len(head)
        super().data_received(head[:end])
        if self.protocol.state is not ProtocolState.OPEN:  # refused: the body is the library's too
            self._handshake = b""
            if head[end:]:
                super().data_received(head[end:])
            return b""
        self._handshake = None
        self._link.on_open(self)
        return head[end:]

    def _take_frames(self, data: bytes) -> None:
        link, at, end, texts = self._link, 0, len(data), []
        while end - at >= 2:
            size = data[at + 1]
            start = at + 2
            if size >= 126:
                start = at + (4 if size == 126 else 10)
                if size > 127 or end < start:
                    if size <= 127:
                        break  # the header is not complete
                    start, size = at, 0  # masked: the library will say what it thinks of it
                else:
                    size = int.from_bytes(data[at + 2 : start], "big")
            stop = start + size
            if size > FRAME_BYTES_MAX or start == at:
                stop = end
            elif stop > end:
                break
            if data[at] == 0x81 and stop == start + size and start != at:
                texts.append(data[start:stop])
            else:
                link.on_texts(texts)
                texts = []
                super().data_received(data[at:stop])
            at = stop
        self._rest = data[at:]
        link.on_texts(texts)

    def _take_part(self, frame: Frame) -> None:
        self._parts.append(bytes(frame.data))
        if frame.opcode is not Opcode.CONT:
            self._parts_opcode = frame.opcode
        if frame.fin:
            payload, self._parts = b"".join(self._parts), []
            self._link.on_message(payload, self._parts_opcode is Opcode.TEXT)


class Link:
    """One socket, from the dial to the close."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.epoch = 0
        self.subscribed = False
        self.renew = asyncio.Event()
        self.closed = asyncio.Event()
        now_ns = session.clock.monotonic_ns()
        self.heard_ns = self.opened_ns = now_ns
        options = session.options
        self.liveness = Liveness(
            session.wanted, options.stream_silent_s, options.first_data_s, options.data_silent_s, now_ns
        )
        self._connection: ClientConnection | None = None
        self._acks: dict[int, asyncio.Future[None]] = {}
        self._work: asyncio.Task[None] | None = None
        self._trouble = ""

    # --- What the connection tells.

    def on_open(self, connection: ClientConnection) -> None:
        session = self.session
        self._connection = connection
        self.opened_ns = self.heard_ns = session.clock.monotonic_ns()
        session.status.epoch = session.status.epoch + 1
        self.epoch = session.status.epoch
        session.record(FrameKind.OPEN, session.url.encode(), self.epoch)

    def on_texts(self, payloads: list[bytes]) -> None:
        """Whole text messages, in order; also called without any, when anything else was heard."""
        session = self.session
        now_ns = self.heard_ns = session.clock.monotonic_ns()
        if not payloads:
            return
        session.record_texts(payloads, self.epoch)
        heard = self.liveness.heard
        for payload in payloads:
            if payload.startswith(DATA_PREFIX):
                heard(payload[11 : payload.find(b'"', 11)], now_ns)
            else:
                self._on_control(payload)
        if self.liveness.shutdown:
            self.renew.set()

    def on_message(self, payload: bytes, is_text: bool) -> None:
        """A message that came in pieces, or is not text."""
        if is_text:
            self.on_texts([payload])
        else:
            self.session.record(FrameKind.BINARY, payload, self.epoch)

    def _on_control(self, payload: bytes) -> None:
        try:
            message = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return  # recorded; the wire rule puts it aside
        if not isinstance(message, dict):
            return
        if message.get("e") == "serverShutdown":
            self.renew.set()
        number = message.get("id")
        ack = self._acks.pop(number, None) if isinstance(number, int) else None
        if ack is not None and not ack.done():
            error = message.get("error", message if "code" in message else None)
            if error is None:
                ack.set_result(None)
            else:
                ack.set_exception(
                    PeerProtocolError(f"The venue refused a subscription: {orjson.dumps(error).decode()}.")
                )

    # --- Life.

    async def dial(self) -> None:
        """Open the socket and start to work. Raises what `connect` raises."""
        session = self.session
        rules, options = session.exchange.connection, session.options
        await connect(
            session.address,
            create_connection=self._make,  # type: ignore[arg-type]  # a factory serves as well as a class
            compression=None,
            open_timeout=options.dial_timeout_s,
            close_timeout=options.close_timeout_s,
            ping_interval=rules.ping_interval_s or None,
            ping_timeout=rules.pong_timeout_s or None,
            max_size=FRAME_BYTES_MAX,
            proxy=None if is_loopback(session.address) else True,
            user_agent_header="shriven",
        )
        self._work = asyncio.create_task(self._live())

    def _make(self, protocol: ClientProtocol, **options: Any) -> FrameConnection:
        return FrameConnection(protocol, link=self, **options)

    async def close(self, why: str = "") -> None:
        """Say goodbye and wait for the end, but not long."""
        self._trouble = self._trouble or why
        assert self._connection is not None
        try:
            async with asyncio.timeout(self.session.options.close_timeout_s):
                await self._connection.close()
        except TimeoutError:
            self.drop(why)
        await self.closed.wait()

    def drop(self, why: str) -> None:
        """Hang up at once: whoever is dead does not say goodbye."""
        self._trouble = self._trouble or why
        assert self._connection is not None
        self._connection.transport.abort()

    async def _live(self) -> None:
        """Subscribe and watch until the socket is closed; then write that down, unless it was us who ended."""
        connection = self._connection
        assert connection is not None
        duties = [asyncio.create_task(self._subscribe()), asyncio.create_task(self._watch())]
        try:
            await connection.wait_closed()
        finally:
            for duty in duties:
                duty.cancel()
            await asyncio.gather(*duties, return_exceptions=True)
            code = connection.close_code or ABNORMAL
            sent = connection.protocol.close_sent
            reason = self._trouble or connection.close_reason or (f"we said {sent}" if sent else "")
            if not self.session.stopping:
                self.session.record(FrameKind.CLOSE, f"{code} {reason}".encode(), self.epoch, status=code)
            self.session.on_closed(self, code, reason)
            self.closed.set()

    # --- Subscribing.

    async def _subscribe(self) -> None:
        try:
            await self.ask_for("SUBSCRIBE", list(self.session.wanted))
        except (PeerProtocolError, TimeoutError, WebSocketException) as error:
            self.drop(f"subscription failed: {str(error) or 'no acknowledgement'}")
            return
        self.subscribed = True

    async def ask_for(self, method: str, names: list[str]) -> None:
        """Send a control message, or several, at the venue's pace; wait until all are acknowledged.

        Raises:
            PeerProtocolError: refused. TimeoutError: not acknowledged. WebSocketException: closed.
        """
        session = self.session
        most = session.exchange.connection.control_names_max
        acks = []
        for first in range(0, len(names), most):
            number = session.next_request()
            self._acks[number] = asyncio.get_running_loop().create_future()
            acks.append(self._acks[number])
            await session.wait_for_turn()
            text = orjson.dumps({"method": method, "params": names[first : first + most], "id": number})
            assert self._connection is not None
            await self._connection.send(text.decode())
        async with asyncio.timeout(session.options.ack_timeout_s):
            await asyncio.gather(*acks)

    # --- Watching.

    async def _watch(self) -> None:
        options = self.session.options
        limits = [limit for limit in (*options.stream_silent_s.values(), options.data_silent_s) if limit > 0]
        tick_s = min(1.0, max(0.01, min([options.first_data_s, *limits]) / 8))
        while True:
            await asyncio.sleep(tick_s)
            await self._check(self.session.clock.monotonic_ns())

    async def _check(self, now_ns: int) -> None:
        rules, liveness = self.session.exchange.connection, self.liveness
        if now_ns - self.heard_ns > rules.silence_max_s * NS:
            self.drop(f"nothing heard for {rules.silence_max_s:g} s, not even a ping")
            return
        silent_ns, allowed_ns = liveness.data.silent_ns(now_ns), liveness.data.allowed_ns(liveness.first_data_ns)
        if silent_ns > (2 * allowed_ns if liveness.data.count else allowed_ns):
            self._say_silent("")
            self.drop(f"no data for {silent_ns / NS:.1f} s")
            return
        self.session.on_pulse(self, stale=silent_ns > allowed_ns)
        for watch in liveness.newly_silent(now_ns):
            self._say_silent(watch.name)
            if self.subscribed:
                await self._ask_again(watch.name)
        lost = liveness.long_silent(now_ns)
        if lost is not None:
            self.drop(f"{lost.name} stays silent although it was asked for again")

    def _say_silent(self, stream: str) -> None:
        self.session.record(FrameKind.SILENT, stream.encode(), self.epoch)

    async def _ask_again(self, name: str) -> None:
        try:
            await self.ask_for("UNSUBSCRIBE", [name])
            await self.ask_for("SUBSCRIBE", [name])
        except (PeerProtocolError, TimeoutError) as error:
            self.drop(f"asking for {name} again failed: {str(error) or 'no acknowledgement'}")
        except WebSocketException:
            pass  # closed meanwhile, which is noticed elsewhere


class Session:
    """Keeps one connection (shard) of a venue alive. Single use: make another one to start again.

    Args:
        exchange: the venue's table.
        plan: what to listen to, on which route, as which shard.
        sink: takes everything heard, before anything else looks at it.
        rest: asks for snapshots; shared with the venue's other sessions, as is `dials`.
        dials: budget of dials of this machine.
        clock, jitter: see streams/clock.py.
    """

    def __init__(
        self,
        exchange: Exchange,
        plan: ConnectionPlan,
        sink: RawSink,
        rest: RestClient,
        dials: SlidingWindow,
        options: SessionOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
        jitter: Random | None = None,
    ) -> None:
        self.exchange, self.plan, self.clock = exchange, plan, clock
        self.options = options or SessionOptions()
        self.jitter = jitter or entropy()
        self.url = exchange.stream_url(plan.route)
        self.wanted = {exchange.stream_name(symbol, kind): kind for symbol, kind in plan.wanted}
        self.status = SessionStatus()
        self._pace = SlidingWindow(exchange.connection.control_rate_max, 1.0)
        self._rest, self._dials = rest, dials
        self._batch = RawBatch(exchange.venue, plan.shard, sink)
        self._backoff = Backoff(self.options.backoff_base_s, self.options.backoff_ceiling_s, chance=self.jitter)
        symbols = {symbol for symbol, _ in plan.wanted}
        self._symbols = {instrument_id(instrument_name(exchange.venue, symbol)): symbol for symbol in symbols}
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._stopping = asyncio.Event()
        self._flush: asyncio.TimerHandle | None = None
        self._failure: ShrivenError | None = None
        self._requests = 0

    # --- For others.

    async def run(self) -> None:
        """Until `stop`, or until going on would not help.

        Raises:
            VenueRejected: the venue refuses us (401, 403, 451).
            ShrivenError: what the sink raised.
        """
        self.record(FrameKind.CLOSE, b"start", EVERY_EPOCH)
        try:
            await self._keep_connected()
        finally:
            await self._end_fetches()
            self.status.state = ConnectionState.DISCONNECTED
            self._hand_over()
        if self._failure is not None:
            raise self._failure

    @property
    def stopping(self) -> bool:
        """We were asked to end. Books stand as they were last heard: the next start says that a hole follows."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """End soon. Call it in the session's thread."""
        self._stopping.set()

    def fail(self, error: ShrivenError) -> None:
        """End soon, with this error."""
        self._failure = self._failure or error
        self._stopping.set()

    def resync_requested(self, instrument: int, attempt: int) -> None:
        """The synchronisation asks for a snapshot. One at a time per instrument; others' instruments are ignored."""
        symbol = self._symbols.get(instrument)
        if symbol is not None and symbol not in self._fetching and not self._stopping.is_set():
            self._fetching[symbol] = asyncio.create_task(self._fetch_snapshot(symbol, attempt))

    async def ask(self, request: Request) -> tuple[int, bytes]:
        """A REST question; the answer is recorded, then returned: status (0: none came) and body."""
        answer = await self._rest.ask(request)
        if answer.status:
            self._batch.add(
                FrameKind.REST, answer.body, self.status.epoch, answer.ts_recv_ns, answer.status, request.text
            )
            self._hand_over()
        return answer.status, answer.body

    # --- For sessions of another kind (connectors/user_stream.py).

    @property
    def address(self) -> str:
        """What is dialled. `url` is what is recorded and logged: they differ where an address holds a secret."""
        return self.url

    async def prepare_dial(self) -> None:
        """Before each dial. Raises OSError when there is nothing to dial yet."""

    def make_link(self) -> Link:
        return Link(self)

    # --- For links.

    def next_request(self) -> int:
        self._requests += 1
        return self._requests

    async def wait_for_turn(self) -> None:
        """Until a control message may be sent."""
        await self._wait_for(self._pace)

    def record(self, kind: FrameKind, payload: bytes, epoch: int, status: int = 0) -> None:
        """One row, at once: it is rare, and others wait for it."""
        self._batch.add(kind, payload, epoch, self.clock.now_ns(), status)
        self._hand_over()

    def record_texts(self, payloads: list[bytes], epoch: int) -> None:
        now_ns = self.clock.now_ns()
        self._batch.add_texts(payloads, epoch, now_ns)
        status = self.status
        status.frames += len(payloads)
        status.bytes += sum(map(len, payloads))
        status.last_heard_ns = now_ns
        if self._batch.full:
            self._hand_over()
        elif self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(self.options.flush_interval_s, self._hand_over)

    def on_pulse(self, link: Link, stale: bool) -> None:
        """The link was looked at and is alive."""
        if stale:
            self.status.state = ConnectionState.STALE
        elif not link.subscribed:
            self.status.state = ConnectionState.OPEN
        elif not link.liveness.data.count:
            self.status.state = ConnectionState.SUBSCRIBED
        else:
            self.status.state = ConnectionState.LIVE
            if self.clock.monotonic_ns() - link.opened_ns > self.options.healthy_after_s * NS:
                self._backoff.healthy()

    def on_closed(self, link: Link, code: int, reason: str) -> None:
        if not self._stopping.is_set():
            self.status.last_trouble = f"closed {code} {reason}".rstrip()
            log.info("%s %s: epoch %d closed: %d %s", self.exchange.venue.label, self.url, link.epoch, code, reason)

    # --- Inside.

    def _hand_over(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        try:
            self._batch.flush()
        except ShrivenError as error:  # a full disk: going on would lose what is heard
            self.fail(error)

    async def _keep_connected(self) -> None:
        link: Link | None = None
        while not self._stopping.is_set():
            if link is None:
                self.status.state = ConnectionState.DIALING
                link = await self._until_stop(self._dial())
            elif link.closed.is_set():
                link = None
            elif link.renew.is_set():
                link = await self._renew(link)
            else:
                await self._wait_any(link.closed, link.renew, timeout_s=self._renew_in_s(link))
                if not link.closed.is_set() and self._renew_in_s(link) <= 0:
                    link.renew.set()
        if link is not None and not link.closed.is_set():
            await link.close("stopped")

    def _renew_in_s(self, link: Link) -> float:
        """Seconds until the socket is old. The age differs from socket to socket: not all are renewed at once."""
        if self.options.renew_after_s is None:
            life_s = self.exchange.connection.life_s - HOUR_S + Random(link.opened_ns).uniform(-0.5, 0.5) * HOUR_S
        else:
            life_s = self.options.renew_after_s
        return life_s - (self.clock.monotonic_ns() - link.opened_ns) / NS

    async def _renew(self, old: Link) -> Link | None:
        """Make before break. Returns the socket to go on with; None when none is left."""
        log.info("%s %s: renewing epoch %d", self.exchange.venue.label, self.url, old.epoch)
        new = await self._until_stop(self._dial())
        if new is None:
            return old
        limit_ns = self.clock.monotonic_ns() + int(self.options.first_data_s * NS)
        while not (new.subscribed and new.liveness.all_heard(old.liveness)):
            await self._wait_any(new.closed, old.closed, timeout_s=0.01)
            if self._stopping.is_set():
                await asyncio.gather(new.close("stopped"), old.close("stopped"))
                return None
            if new.closed.is_set():
                return old  # it is still to be renewed: the next round tries again, after a pause
            if old.closed.is_set() or self.clock.monotonic_ns() > limit_ns:
                break
        await self._wait_any(new.closed, old.closed, timeout_s=self.options.overlap_s)
        if new.closed.is_set():
            return old
        if not old.closed.is_set():
            await old.close("renewed")
        self.status.renewals += 1
        return new

    async def _dial(self) -> Link:
        """Dial until a socket is open: within the budget, with growing pauses."""
        while True:
            if self.status.dials:  # the first dial waits for nothing
                await asyncio.sleep(self._backoff.next_s())
            await self._wait_for(self._dials)
            link = self.make_link()
            self.status.dials += 1
            try:
                await self.prepare_dial()
                await link.dial()
            except InvalidStatus as error:
                await asyncio.sleep(self._judge_refusal(error.response))
            except (OSError, TimeoutError, InvalidHandshake, WebSocketException) as error:
                self.status.last_trouble = f"dial failed: {str(error) or type(error).__name__}"
                log.info("%s %s: %s", self.exchange.venue.label, self.url, self.status.last_trouble)
            else:
                return link

    def _judge_refusal(self, response: Response) -> float:
        """Seconds to wait after a handshake that was refused."""
        status = response.status_code
        self.status.last_trouble = f"dial refused: HTTP {status}"
        log.warning("%s %s: %s", self.exchange.venue.label, self.url, self.status.last_trouble)
        if status in REFUSALS:
            raise VenueRejected(
                f"{self.url}: the venue refuses the connection with HTTP {status}. It does not serve this address or "
                "place, or its firewall has had enough of us. Trying on would make it worse: find out why, then start."
            )
        return retry_after_s(dict(response.headers.raw_items()), 60.0) if status in PATIENCE else 0.0

    async def _fetch_snapshot(self, symbol: str, attempt: int) -> None:
        """Ask until an answer comes; whether it is good enough is the synchronisation's business."""
        request = self.exchange.depth_request(symbol)
        delays_s = self.options.snapshot_delays_s
        try:
            while True:
                delay_s = delays_s[min(attempt, len(delays_s)) - 1]
                await asyncio.sleep(delay_s * self.jitter.uniform(0.5, 1.0))
                status, _ = await self.ask(request)
                if status == 200:
                    self.status.snapshots += 1
                    return
                self.status.last_trouble = f"snapshot of {symbol}: " + (f"HTTP {status}" if status else "no answer")
                attempt += 1
        except VenueRejected as error:
            self.fail(error)
        finally:
            del self._fetching[symbol]

    async def _end_fetches(self) -> None:
        fetches = list(self._fetching.values())
        for fetch in fetches:
            fetch.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)

    async def _until_stop(self, dial: Coroutine[None, None, Link]) -> Link | None:
        """What the dial gives, or None when we stop first."""
        dialing = asyncio.create_task(dial)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((dialing, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if dialing.done():
            return dialing.result()
        dialing.cancel()
        await asyncio.gather(dialing, return_exceptions=True)
        return None

    async def _wait_for(self, budget: SlidingWindow) -> None:
        wait_s = budget.take(self.clock.monotonic_ns())
        while wait_s > 0.0:
            await asyncio.sleep(wait_s)
            wait_s = budget.take(self.clock.monotonic_ns())

    async def _wait_any(self, *events: asyncio.Event, timeout_s: float) -> None:
        """Until one of the events, a stop, or the time-out."""
        waits = [asyncio.create_task(event.wait()) for event in (*events, self._stopping)]
        await asyncio.wait(waits, timeout=max(0.0, timeout_s), return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
