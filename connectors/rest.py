"""Public REST questions: within the venue's weight, honouring what it says when it has had enough."""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from connectors.capabilities import Exchange, Request
from connectors.ratelimit import WeightBudget, retry_after_s
from schemas.errors import VenueRejected
from streams.clock import SYSTEM_CLOCK, Clock

log = logging.getLogger(__name__)
TIMEOUT_S = 10.0
PARALLEL_MAX = 4
QUIET_DEFAULT_S = 60.0  # a 429 or 418 without Retry-After: one weight window
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_loopback(url: str) -> bool:
    """Whether the address is on this machine: no proxy stands between."""
    return urlsplit(url).hostname in LOOPBACK


class Answer(NamedTuple):
    """What came back: `status` 0 means that nothing did, and `body` says why."""

    status: int
    body: bytes
    ts_recv_ns: int

    @property
    def ok(self) -> bool:
        return self.status == httpx.codes.OK


class RestClient:
    """Asks one venue. Shared by all its sessions: the venue counts per address."""

    def __init__(self, exchange: Exchange, clock: Clock = SYSTEM_CLOCK, timeout_s: float = TIMEOUT_S) -> None:
        rest = exchange.rest
        self._clock = clock
        self._client = httpx.AsyncClient(
            base_url=exchange.rest_url, timeout=timeout_s, trust_env=not is_loopback(exchange.rest_url)
        )
        self._parallel = asyncio.Semaphore(PARALLEL_MAX)
        self.budget = WeightBudget(rest.weight_max, rest.weight_window_s, rest.weight_header)
        self.asked = 0

    async def ask(self, request: Request) -> Answer:
        """One try. A refusal to be patient with (429, 418) makes later questions wait.

        Raises:
            VenueRejected: 403: a firewall stopped us; asking on would make it worse.
        """
        async with self._parallel:
            wait_s = self.budget.take(request.weight, self._clock.now_ns())
            while wait_s > 0.0:
                await asyncio.sleep(wait_s)
                wait_s = self.budget.take(request.weight, self._clock.now_ns())
            self.asked += 1
            try:
                response = await self._client.get(request.path)
            except httpx.HTTPError as error:
                return Answer(0, f"{type(error).__name__}: {error}".encode(), self._clock.now_ns())
        answer = Answer(response.status_code, response.content, self._clock.now_ns())
        self._judge(response, answer, request)
        return answer

    def _judge(self, response: httpx.Response, answer: Answer, request: Request) -> None:
        self.budget.heard(response.headers, answer.ts_recv_ns)
        if answer.status in (httpx.codes.TOO_MANY_REQUESTS, 418):
            seconds = retry_after_s(response.headers, QUIET_DEFAULT_S)
            log.warning("%s: HTTP %d, no request for %.0f s", request.text, answer.status, seconds)
            self.budget.be_quiet(seconds, answer.ts_recv_ns)
        elif answer.status == httpx.codes.FORBIDDEN:
            raise VenueRejected(
                f"{request.text}: HTTP 403. The venue's firewall refuses this address, usually after too many "
                "requests or from a place it does not serve. Wait, then start again with fewer symbols."
            )

    async def close(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> RestClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()
