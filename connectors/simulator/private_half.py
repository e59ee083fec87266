"""The private half of the simulated venue as one thing: accounts on a market, behind REST and the user streams."""

from __future__ import annotations

import asyncio
import contextlib
import random

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connectors.simulator.config import VenueConfig
from connectors.simulator.faults import Fault
from connectors.simulator.hub import Hub
from connectors.simulator.injector import Injector
from connectors.simulator.private_account import Account
from connectors.simulator.private_algos import Algos
from connectors.simulator.private_api import Admitted, PrivateApi
from connectors.simulator.private_desk import Desk
from connectors.simulator.private_errors import refusal
from connectors.simulator.private_event import Event
from connectors.simulator.private_market import OrderMarket
from connectors.simulator.private_market_recorded import RecordedOrderMarket
from connectors.simulator.private_market_synthetic import SyntheticOrderMarket
from connectors.simulator.private_request import Call, parameters_of
from connectors.simulator.private_stream import Outbox, UserStreams
from connectors.simulator.recorded import RecordedFeed
from connectors.simulator.rest import Endpoint, Refused, RestApi, json_response
from connectors.simulator.synthetic import SyntheticFeed
from streams.clock import Clock

MS_NS = 1_000_000
S_NS = 1_000_000_000
POLL_S = 0.02  # how late countdowns, expiries and funding may be
GONE_POLL_S = 0.05
AFTER_ANSWER_S = 0.002  # the stream waits so long for the answer to be written; which one is read first is open
ORDER_PATH = "/fapi/v1/order"
MONEY_EVENTS = ("ORDER_TRADE_UPDATE",)


class VenueClock:
    """The venue's clock as it is told to clients: it may be wrong (a fault).

    Args:
        clock: the right one.
        injector: how far it is ahead.
    """

    def __init__(self, clock: Clock, injector: Injector) -> None:
        self._clock = clock
        self._injector = injector

    def now_ns(self) -> int:
        return self._clock.now_ns() + self._injector.skew_ns

    def monotonic_ns(self) -> int:
        return self._clock.monotonic_ns()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)


class PrivateHalf:
    """Accounts, orders and user data of one venue.

    Args:
        config: who may trade, on which terms.
        feed: the market.
        hub: the sockets.
        injector: what goes wrong.
        clock: wall and monotonic time.

    Attributes:
        desk, algos, users, api: its parts.
    """

    def __init__(
        self, config: VenueConfig, feed: SyntheticFeed | RecordedFeed, hub: Hub, injector: Injector, clock: Clock
    ) -> None:
        self._rules = config.private
        self._injector = injector
        self._clock = clock
        self._random = random.Random(config.private.seed)
        market: OrderMarket = (
            SyntheticOrderMarket(feed) if isinstance(feed, SyntheticFeed) else RecordedOrderMarket(feed)
        )
        self.users = UserStreams(hub, clock, config.private.listen_key_life_s)
        self._outbox = Outbox(self._deliver, self._later, clock)
        self.desk = Desk(feed.listed, market, config.accounts, config.private, clock, self._post)
        self.algos = Algos(self.desk)
        told = VenueClock(clock, injector)
        self.api = PrivateApi(self.desk, self.algos, self.users, config.private, lambda: told.now_ns() // MS_NS)
        market.attach(self)
        injector.on_listen_keys_expired = self._expire_listen_keys
        self._funded = self._funding_number()

    # ---- what the market does

    def rested_filled(self, number: int, tick: int, lots: int, trade_id: int) -> None:
        self.desk.rested_filled(number, tick, lots, trade_id)

    def traded(self, symbol: str, tick: int) -> None:
        self.algos.traded(symbol, tick)

    def moved(self, symbol: str) -> None:
        self.algos.moved(symbol)

    # ---- user data

    def _post(self, account: Account, event: Event) -> None:
        self._outbox.put(account, event, self._latency_s(self._rules.report_latency_s) + AFTER_ANSWER_S)

    def _later(self, seconds: float, action: object) -> None:
        assert callable(action)
        asyncio.get_running_loop().call_later(seconds, action)

    def _deliver(self, account: Account, event: Event) -> None:
        self.users.publish(account, event)
        if event.name in MONEY_EVENTS and self._injector.repeats_report(event.name):
            self.users.publish(account, event)

    def _expire_listen_keys(self) -> list[str]:
        return self.users.expire_all()

    # ---- time

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        while True:
            self.on_time()
            await asyncio.sleep(POLL_S)

    def on_time(self) -> None:
        """Countdowns, expiries, funding and liquidations that are due."""
        self.api.on_time()
        number = self._funding_number()
        if number > self._funded:
            self._funded = number
            self.desk.fund()
        self.desk.liquidate_broke()

    def _funding_number(self) -> int:
        interval_ns = round(self._rules.funding_interval_s * S_NS)
        return self._clock.now_ns() // interval_ns if interval_ns else 0

    def _latency_s(self, fixed_s: float) -> float:
        jitter_s = self._rules.jitter_s
        return fixed_s + (self._random.uniform(0, jitter_s) if jitter_s else 0.0)

    # ---- REST

    def routes(self, rest: RestApi) -> list[Route]:
        """One route a path and method, guarded like the public ones."""
        return [Route(path, rest.guard(self._endpoint(rest)), methods=[method]) for method, path in self.api.endpoints]

    def _endpoint(self, rest: RestApi) -> Endpoint:
        async def answered(request: Request) -> Response:
            call = await call_of(request)
            try:
                response = await self._answer(rest, request, call)
            except Refused as refused:
                refused.headers = self.api.headers(call)
                raise
            response.headers.update(self.api.headers(call))
            return response

        return answered

    async def _answer(self, rest: RestApi, request: Request, call: Call) -> Response:
        rest.weights.charge(self.api.endpoints[call.method, call.path].weight(parameters_of(call)))
        admitted = self.api.admit(call)
        what = f"{call.method} {call.path.rpartition('/')[2]}"
        if admitted.endpoint.counts and call.method == "POST":
            code = self._injector.order_refusal(what)
            if code:
                raise refusal(code)
        timeout = self._injector.order_timeout(call.method, what) if call.path == ORDER_PATH else None
        if timeout is not None:
            return await self._no_answer(request, admitted, timeout)
        await self._wait(self._latency_s(self._rules.request_latency_s))
        try:
            document = self.api.execute(admitted)
        finally:
            delay_s = self._injector.answer_delay_s(what) if admitted.endpoint.trades else 0.0
            await self._wait(self._latency_s(self._rules.report_latency_s) + delay_s)
        return json_response(document)

    @staticmethod
    async def _wait(seconds: float) -> None:
        if seconds:
            await asyncio.sleep(seconds)

    async def _no_answer(self, request: Request, admitted: Admitted, fault: Fault) -> Response:
        """Carry an order request out, or lose it, and do not say which."""
        await self._wait(self._latency_s(self._rules.request_latency_s))
        if fault.numbers["accepted"]:
            with contextlib.suppress(Refused):  # nobody is told of that either
                self.api.execute(admitted)
        if fault.numbers["status"]:
            raise Refused(int(fault.numbers["status"]), -1000, refusal(-1000).message)
        until_ns = self._clock.monotonic_ns() + round(fault.numbers["seconds"] * S_NS)
        while self._clock.monotonic_ns() < until_ns and not await request.is_disconnected():  # noqa: ASYNC110 (time)
            await asyncio.sleep(GONE_POLL_S)
        raise refusal(-1007)


async def call_of(request: Request) -> Call:
    """The request as it was written."""
    body = await request.body()
    return Call(
        request.method,
        request.url.path,
        request.scope["query_string"].decode("latin-1"),
        body.decode("latin-1"),
        request.headers.get("X-MBX-APIKEY", ""),
    )
