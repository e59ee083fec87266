"""Private REST requests: written down, signed, sent, and the answer written down.

    budget ─▶ SENT row, durable ─▶ lease beyond its validity ─▶ socket ─▶ REST or NO_ANSWER row

Keys and signatures are in no row and no log line. A request is sent once: whoever wants it again makes a new attempt.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import httpx
import orjson

from connectors.binance_usdm import orders as api
from connectors.binance_usdm.orders import Request, stamped_query
from connectors.binance_usdm.private_words import NEVER_LEFT, NOT_SENT, PRIVATE_CONNECTION
from connectors.capabilities import EVERY_EPOCH, Exchange
from connectors.credentials import Credentials
from connectors.lease import Lease
from connectors.order_budget import OrderBudget, Priority
from connectors.ratelimit import retry_after_s
from connectors.rawbatch import RawBatch, RawSink
from connectors.rest import QUIET_DEFAULT_S, Answer, is_loopback
from connectors.signing import signed_query
from schemas.errors import PeerProtocolError
from schemas.events import FrameKind
from streams.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)
MS = 1_000_000
LEASE_MARGIN_MS = 1_000
KEY_HEADER = "X-MBX-APIKEY"
MAKING, MADE = ("POST", "PUT"), (api.ORDER, api.ALGO_ORDER)
PATIENCE = (429, 418, 403)
HIDDEN = b'{"listenKey":"hidden"}'  # a listen key lets whoever has it read the account
# Nothing was written to a socket: there was none.
UNCONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


class PrivateRest:
    """Asks one venue with one key.

    Args:
        exchange: where it is.
        credentials: the key.
        sink: takes raw rows; they survive this process when it returns.
        lease: held beyond the validity of whatever may make or change an order.
        sync: called after an attempt was written and before it is sent: for who wants it to survive a power cut too.
        permissions_url: host of `apiRestrictions`.
    """

    def __init__(
        self,
        exchange: Exchange,
        credentials: Credentials,
        sink: RawSink,
        *,
        lease: Lease,
        budget: OrderBudget | None = None,
        clock: Clock = SYSTEM_CLOCK,
        recv_window_ms: int = 5000,
        timeout_s: float = 10.0,
        permissions_url: str = "",
        sync: Callable[[], None] | None = None,
    ) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs whole addresses, signatures included
        self.budget, self.clock, self.recv_window_ms = budget or OrderBudget(), clock, recv_window_ms
        self.offset_ms = 0  # the venue's clock less ours
        self._attempts: dict[int, int] = {}  # without a definite answer so far: until when each may be accepted
        self._attempt = 0
        self._credentials, self._lease, self._sync = credentials, lease, sync
        self._urls = {api.PERMISSIONS: permissions_url or exchange.rest_url}
        self._rest_url, self._timeout_s = exchange.rest_url, timeout_s
        self._batch = RawBatch(exchange.venue, PRIVATE_CONNECTION, sink)
        self._doubtful = True
        self._measuring = asyncio.Lock()
        self._client = httpx.AsyncClient(
            timeout=timeout_s,
            trust_env=not is_loopback(exchange.rest_url),
            headers={KEY_HEADER: credentials.api_key},
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=30.0),
        )

    def begin(self) -> None:
        """Write that this process begins: whatever was in flight before has no answer any more."""
        self._record(FrameKind.CLOSE, b"start", epoch=EVERY_EPOCH)

    def not_sent(self, text: str, why: str) -> None:
        """Write that a request was not sent, and why."""
        self._record(FrameKind.NO_ANSWER, f"not sent: {why}".encode(), text, NOT_SENT)

    async def ask(self, request: Request, priority: Priority = Priority.QUERY, *, paid: bool = False) -> Answer:
        """One attempt. `paid`: the budget was asked already.

        Returns:
            Answer with status 0 when none came, NEVER_LEFT when nothing left this machine.

        Raises:
            ShrivenError: the attempt could not be written down, or the lease is somebody else's. Nothing was sent.
        """
        if not paid:
            await self.pay(request, priority)
        if request.signed and self._doubtful:
            async with self._measuring:  # others wait for the same measurement
                if self._doubtful:
                    await self.measure_time()
        now_ns = self.clock.now_ns()
        query = stamped_query(request, now_ns // MS + self.offset_ms, self.recv_window_ms)
        target = f"{request.method} {request.path}" + (f"?{query}" if query else "")
        self._record(FrameKind.SENT, target.encode(), request.text)
        if self._sync is not None:
            self._sync()
        if request.method not in MAKING or request.path not in MADE:
            return await self._send(request, query)
        return await self._send_attempt(request, query, now_ns)

    async def _send_attempt(self, request: Request, query: str, now_ns: int) -> Answer:
        """A request that may make or change an order: under the lease, and remembered until it is settled."""
        window_ms = min(request.recv_window_ms or self.recv_window_ms, api.RECV_WINDOW_MAX_MS)
        until_ns = now_ns + (window_ms + LEASE_MARGIN_MS) * MS
        self._lease.hold_until(until_ns)
        self._attempt += 1
        number = self._attempt
        self._attempts[number] = until_ns
        answer = await self._send(request, query)
        unknown = answer.status == 0 or api.outcome_of(answer.status, *_refusal(answer)) is api.Outcome.UNKNOWN
        if not unknown or answer.status < 0:
            self._attempts.pop(number, None)
        return answer

    @property
    def unsettled_until_ns(self) -> int:
        """No attempt without a definite answer can be accepted after this; 0: there is none."""
        now_ns = self.clock.now_ns()
        self._attempts = {number: until for number, until in self._attempts.items() if until > now_ns}
        return max(self._attempts.values(), default=0)

    async def pay(self, request: Request, priority: Priority) -> None:
        """Wait until the budget allows it."""
        wait_s = self.budget.take(request.weight, request.orders, priority, self.clock.now_ns())
        while wait_s > 0.0:
            await asyncio.sleep(wait_s)
            wait_s = self.budget.take(request.weight, request.orders, priority, self.clock.now_ns())

    async def measure_time(self) -> None:
        """How far the venue's clock is from ours. Without an answer the last measurement stands."""
        before_ns = self.clock.now_ns()
        answer = await self.ask(api.server_time(), Priority.CANCEL)
        self._doubtful = False
        if not answer.ok:
            return
        try:
            server_ms = int(orjson.loads(answer.body)["serverTime"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return
        self.offset_ms = server_ms - (before_ns + answer.ts_recv_ns) // 2 // MS

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(self, request: Request, query: str) -> Answer:
        query = signed_query(query, self._credentials.signer) if request.signed else query
        url = self._urls.get(request.path, self._rest_url) + request.path + (f"?{query}" if query else "")
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.request(request.method, url)
        except UNCONNECTED as error:
            why = f"not sent: no connection to the venue ({type(error).__name__})"
            self._record(FrameKind.NO_ANSWER, why.encode(), request.text, NEVER_LEFT)
            return Answer(NEVER_LEFT, type(error).__name__.encode(), self.clock.now_ns())
        except (httpx.HTTPError, TimeoutError) as error:
            why = type(error).__name__
            self._record(FrameKind.NO_ANSWER, why.encode(), request.text)
            return Answer(0, why.encode(), self.clock.now_ns())
        except asyncio.CancelledError:
            self._record(FrameKind.NO_ANSWER, b"the gateway stopped", request.text)
            raise
        body = response.content
        hidden = request.path == api.LISTEN_KEY and response.status_code == httpx.codes.OK
        self._record(FrameKind.REST, HIDDEN if hidden else body, request.text, response.status_code)
        answer = Answer(response.status_code, body, self.clock.now_ns())
        self._judge(request, response, answer)
        return answer

    def _judge(self, request: Request, response: httpx.Response, answer: Answer) -> None:
        if request.path not in self._urls:  # the other host counts for itself
            self.budget.heard(response.headers, answer.ts_recv_ns)
        if answer.status in PATIENCE:
            seconds = retry_after_s(response.headers, QUIET_DEFAULT_S)
            log.warning("%s: HTTP %d, no request for %.0f s", request.text, answer.status, seconds)
            self.budget.be_quiet(seconds, answer.ts_recv_ns)
        elif not answer.ok and error_code(answer) == api.CLOCK:
            log.warning("%s: the venue says that our clock is off; it is measured anew", request.text)
            self._doubtful = True

    def _record(self, kind: FrameKind, payload: bytes, request: str = "", status: int = 0, epoch: int = 1) -> None:
        self._batch.add(kind, payload, epoch, self.clock.now_ns(), status, request)
        self._batch.flush()


def error_code(answer: Answer) -> int:
    """The venue's error code of an answer; 0 where it has none."""
    return _refusal(answer)[0]


def _refusal(answer: Answer) -> tuple[int, str]:
    """Code and words of an error body; (0, "") where it is none."""
    try:
        found = orjson.loads(answer.body)
        code, words = found["code"], found.get("msg")
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return 0, ""
    return (code if isinstance(code, int) else 0), (words if isinstance(words, str) else "")


def objects_of(answer: Answer, what: str) -> list[dict[str, Any]]:
    """The objects of a list.

    Raises:
        PeerProtocolError: it is none.
    """
    try:
        found = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise PeerProtocolError(f"The venue's answer about {what} is not a list. Is this its REST address?")
    return found
