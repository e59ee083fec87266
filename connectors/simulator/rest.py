"""The REST half of the simulated venue: market endpoints, request weight, bans, and the operator's `/sim` paths."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.simulator.faults import Fault, make_fault
from connectors.simulator.feed import Feed
from connectors.simulator.injector import Injector
from connectors.simulator.listing import exchange_info
from connectors.simulator.player import Player
from connectors.simulator.rules import VenueRules
from schemas.errors import ConfigInvalid
from streams.clock import Clock

S_NS = 1_000_000_000
MINUTE_MS = 60_000
REFUSALS_BEFORE_BAN = 3  # requests that ignore a 429 before it becomes a 418
LABEL_HEADER = "X-Simulated-Venue"

Endpoint = Callable[[Request], Awaitable[Response]]


class Refused(Exception):
    """A request that the venue answers with an error."""

    def __init__(self, status: int, code: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.headers: Mapping[str, str] = {}


class Weights:
    """Request weight of the calendar minute, and what follows from too much of it.

    Args:
        rules: limit and length of a ban.
        clock: wall clock for the minutes, monotonic for the ban.
    """

    def __init__(self, rules: VenueRules, clock: Clock) -> None:
        self._rules = rules
        self._clock = clock
        self._minute = 0
        self._refusals = 0
        self._banned_until_ns = 0
        self.used = 0

    def charge(self, weight: int) -> None:
        """Count a request.

        Raises:
            Refused: 429 over the limit, 418 for who goes on regardless.
        """
        now_ms = self._clock.now_ns() // 1_000_000
        left_ns = self._banned_until_ns - self._clock.monotonic_ns()
        if left_ns > 0:
            raise banned(left_ns / S_NS, now_ms)
        minute = now_ms // MINUTE_MS
        if minute != self._minute:
            self._minute, self.used, self._refusals = minute, 0, 0
        self.used += weight
        if self.used <= self._rules.weight_limit:
            return
        self._refusals += 1
        if self._refusals > REFUSALS_BEFORE_BAN:
            self._banned_until_ns = self._clock.monotonic_ns() + round(self._rules.ban_s * S_NS)
            self.used, self._refusals = 0, 0  # a ban outlasts the minute that brought it
            raise banned(self._rules.ban_s, now_ms)
        raise too_much((MINUTE_MS - now_ms % MINUTE_MS) / 1000, self._rules.weight_limit)


def too_much(retry_after_s: float, limit: int) -> Refused:
    message = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    return Refused(429, -1003, message, retry_after_s)


def banned(left_s: float, now_ms: int) -> Refused:
    message = (
        f"Way too much request weight used; IP banned until {now_ms + round(left_s * 1000)}. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    return Refused(418, -1003, message, left_s)


class RestApi:
    """The venue's REST application.

    Args:
        rules: the venue's behaviour.
        feed: what is listed.
        player: answers depth requests.
        injector: faults of requests.
        clock: server time.
        label: what is played; a header of every answer.
        status: the document of `/sim/status`.

    Attributes:
        weights: what was used of the request weight; private endpoints count as well.
    """

    def __init__(
        self,
        rules: VenueRules,
        feed: Feed,
        player: Player,
        injector: Injector,
        clock: Clock,
        label: str,
        status: Callable[[], Mapping[str, object]],
    ) -> None:
        self._rules = rules
        self._feed = feed
        self._player = player
        self._injector = injector
        self._clock = clock
        self._label = label
        self._status = status
        self.weights = Weights(rules, clock)

    def app(self) -> Starlette:
        prefix = self._rules.api_prefix
        return Starlette(
            routes=[
                Route(f"{prefix}/ping", self.guard(self._ping), methods=["GET"]),
                Route(f"{prefix}/time", self.guard(self._time), methods=["GET"]),
                Route(f"{prefix}/exchangeInfo", self.guard(self._exchange_info), methods=["GET"]),
                Route(f"{prefix}/depth", self.guard(self._depth), methods=["GET"]),
                Route("/sim/status", self._sim_status, methods=["GET"]),
                Route("/sim/fault", self._sim_fault, methods=["GET", "POST"]),
            ]
        )

    def guard(self, endpoint: Endpoint) -> Endpoint:
        """Around every endpoint of the venue: faults, errors in the venue's shape, its headers."""

        async def guarded(request: Request) -> Response:
            try:
                refusal = self._injector.rest_refusal(request.url.path)
                if refusal is not None and refusal.status == 503:
                    raise Refused(503, -1001, "Service Unavailable.", refusal.retry_after_s)
                if refusal is not None and refusal.status == 418:
                    raise banned(refusal.retry_after_s, self._clock.now_ns() // 1_000_000)
                if refusal is not None:
                    raise too_much(refusal.retry_after_s, self._rules.weight_limit)
                response = await endpoint(request)
            except Refused as refused:
                response = json_response({"code": refused.code, "msg": refused.message}, refused.status)
                response.headers.update(refused.headers)
                if refused.retry_after_s:
                    response.headers["Retry-After"] = str(max(1, math.ceil(refused.retry_after_s)))
            response.headers["X-MBX-USED-WEIGHT-1M"] = str(self.weights.used)
            if not self._rules.is_futures:
                response.headers["X-MBX-USED-WEIGHT"] = str(self.weights.used)
            response.headers[LABEL_HEADER] = self._label
            return response

        return guarded

    async def _ping(self, request: Request) -> Response:
        self.weights.charge(1)
        return json_response({})

    async def _time(self, request: Request) -> Response:
        self.weights.charge(1)
        in_us = request.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND" and not self._rules.is_futures
        return json_response({"serverTime": self._clock.now_ns() // (1_000 if in_us else 1_000_000)})

    async def _exchange_info(self, request: Request) -> Response:
        self.weights.charge(self._rules.exchange_info_weight)
        listed = self._feed.listed
        if not self._rules.is_futures:
            wanted = _wanted_symbols(request)
            known = {row.symbol for row in listed}
            if not wanted <= known:
                raise Refused(400, -1121, "Invalid symbol.")
            listed = tuple(row for row in listed if not wanted or row.symbol in wanted)
        now_ms = self._clock.now_ns() // 1_000_000
        return json_response(exchange_info(self._rules.venue, listed, now_ms, self._rules.weight_limit))

    async def _depth(self, request: Request) -> Response:
        symbol = request.query_params.get("symbol", "")
        if not symbol:
            raise Refused(400, -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        limit = self._limit(request)
        self.weights.charge(self._rules.depth_weight(limit))
        if symbol not in {row.symbol for row in self._feed.listed}:
            raise Refused(400, -1121, "Invalid symbol.")
        answer = await self._player.depth(symbol, limit)
        if answer is None:
            raise Refused(503, -1001, "Internal error; unable to process your request. Please try again.")
        await asyncio.sleep(answer.delay_s)
        response = Response(answer.body, media_type="application/json")
        if not await request.is_disconnected():  # an answer that nobody reads does not count as given
            response.background = BackgroundTask(answer.on_sent)
        return response

    def _limit(self, request: Request) -> int:
        text = request.query_params.get("limit", str(self._rules.depth_limit_default))
        if not text.isdecimal() or int(text) < 1:
            raise Refused(400, -1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.")
        limit = int(text)
        if self._rules.depth_limits and limit not in self._rules.depth_limits:
            raise Refused(400, -4021, f"Invalid depth limit: {limit}.")
        return min(limit, self._rules.depth_limit_max)

    # ---- for the operator

    async def _sim_status(self, request: Request) -> Response:
        return json_response(self._status())

    async def _sim_fault(self, request: Request) -> Response:
        given = dict(request.query_params)
        name = given.pop("name", "")
        try:
            fault: Fault = make_fault(name, 0.0, given)
        except ConfigInvalid as invalid:
            return json_response({"error": str(invalid)}, 400)
        await self._player.fire(fault)
        return json_response({"fired": str(fault).replace("@0", "")})


def _wanted_symbols(request: Request) -> set[str]:
    """The symbols that a spot exchangeInfo request names; none for all."""
    one, several = request.query_params.get("symbol"), request.query_params.get("symbols")
    if one is not None:
        return {one}
    if several is None:
        return set()
    try:
        names: Any = orjson.loads(several)
    except orjson.JSONDecodeError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused(400, -1100, "Illegal characters found in parameter 'symbols'; legal range is '[\"A\",\"B\"]'.")
    return set(names)


def json_response(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
