"""The gateway: what was decided goes to the venue, what the venue says comes back as raw rows.

    commands ─▶ queue by priority ─▶ refused? stale? ─▶ SENT row ─▶ venue ─▶ REST or NO_ANSWER row
    user stream ─▶ TEXT rows          reconciliation: openOrders, positions, balances, own trades ─▶ REST rows

It decides nothing about trading. It sends a command once, refuses what is stale or killed (with a row that says so),
and carries out no new or changed order before the venue's state was read: at every start, and after every break of the
user stream. Cancels and queries always go, cancels first. While it lives it renews the venue's own countdown, so that
the venue cancels everything soon after it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson

from connectors.backoff import Backoff
from connectors.binance_usdm import orders as api
from connectors.binance_usdm.instruments import instruments
from connectors.binance_usdm.orders import InstrumentFacts, Request, facts_of, filter_fault, request_of
from connectors.capabilities import Exchange
from connectors.credentials import Credentials, check_permissions
from connectors.emergency import Cancelled, Flat, cancel_all, flatten, positions_of
from connectors.lease import Lease
from connectors.order_budget import Priority
from connectors.private_rest import PrivateRest, error_code, objects_of
from connectors.rawbatch import RawSink
from connectors.reconciliation import Difference, OpenOrder, StillSettling, VenueState
from connectors.rest import Answer, RestClient, is_loopback
from connectors.session import SessionOptions
from connectors.user_stream import UserStream
from schemas.declare import Rows
from schemas.errors import ConfigInvalid, InputInvalid, PeerProtocolError
from schemas.instruments import instrument_id, instrument_name
from schemas.money import parse_e8
from schemas.trading import CommandKind, OrderFlag, OrderKind, client_id_of, order_id_from
from streams.clock import SYSTEM_CLOCK, Clock, entropy

log = logging.getLogger(__name__)
MS = 1_000_000
PERMISSIONS_URL = "https://api.binance.com"
PLAY_MONEY_HOSTS = ("demo-fapi.binance.com", "testnet.binancefuture.com")  # without an endpoint for permissions
UNAUTHORISED = (401,)
KEY_CODES = (-2014, -2015, -1022, -2017)
OVERLAP_MS = 60_000  # trades are asked for from so long before the last time we heard of any
ASKED_MAX = 100_000
METHODS = {
    CommandKind.SUBMIT: "POST", CommandKind.AMEND: "PUT", CommandKind.CANCEL: "DELETE", CommandKind.QUERY: "GET",
}  # fmt: skip


@dataclass(frozen=True)
class GatewayOptions:
    """Times in seconds unless named otherwise; tests and simulations scale them.

    Attributes:
        live: real money is allowed. Without it only a venue on this machine or a test network is.
        recv_window_ms: validity of a request at the venue; shortened to the command's own validity.
        answer_timeout_s: no answer for so long means unknown.
        parallel_max: requests in flight; cancels come on top.
        stop_grace_s: at a stop, how long to wait for answers to what is in flight.
        settle_every_s: between two readings of the venue's state while ours has not caught up with it.
        listen_key_renew_s: the key lives for an hour.
        countdown_s: the venue cancels everything so long after our last renewal, which comes three times as often;
            0: never.
        clock_every_s: between two measurements of the venue's clock.
        permissions_url: host that says what keys may do; "": the venue's own, or on this machine the venue itself.
        session: of the user stream.
    """

    live: bool = False
    recv_window_ms: int = 5000
    answer_timeout_s: float = 10.0
    parallel_max: int = 8
    listen_key_renew_s: float = 1800.0
    countdown_s: float = 60.0
    clock_every_s: float = 300.0
    stop_grace_s: float = 2.0
    settle_every_s: float = 0.5
    retry_base_s: float = 0.2
    retry_ceiling_s: float = 10.0
    permissions_url: str = ""
    session: SessionOptions = field(default_factory=SessionOptions)


@dataclass
class GatewayStatus:
    """How it is, for people. Updated while it runs."""

    ready: bool = False
    halted: str = ""
    sent: int = 0
    refused: int = 0
    unanswered: int = 0
    reconciliations: int = 0
    waiting: int = 0
    offset_ms: int = 0
    differences: list[Difference] = field(default_factory=list)
    last_trouble: str = ""


class _NotNow(Exception):
    """The venue gave no proper answer; it is asked again."""


def _no_refusal(command: np.void) -> str:
    return ""


def _no_differences(state: VenueState) -> Sequence[Difference]:
    return ()


class Gateway:
    """Trades one account at one venue. Single use.

    Args:
        exchange: the venue's table (`Exchange.at` puts it elsewhere).
        credentials: the account's keys.
        symbols: what is traded: for trades, countdown, and cancelling at once.
        sink: takes raw rows; they survive this process when it returns.
        commands: batches of ORDER_COMMAND rows; when it ends, what waits is still carried out.
        lease: see connectors/lease.py.
        refusal: asked right before a new or changed order is sent: why it must not go, or "". Kills live here.
        compare: our state against the venue's, in every reconciliation; raises `StillSettling` while what is under
            way may be why they differ. Nothing new is sent before it has an answer.
        since_ns: when this account was last heard of, in an earlier life; own trades are asked for from then. 0: never.
        sync: see `PrivateRest`.

    Whoever runs it has taken the lease over (`FileLease.acquire`).
    """

    def __init__(
        self,
        exchange: Exchange,
        credentials: Credentials,
        symbols: Sequence[str],
        sink: RawSink,
        commands: AsyncIterator[Rows],
        lease: Lease,
        *,
        refusal: Callable[[np.void], str] = _no_refusal,
        compare: Callable[[VenueState], Sequence[Difference]] = _no_differences,
        since_ns: int = 0,
        sync: Callable[[], None] | None = None,
        options: GatewayOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
        jitter: Random | None = None,
    ) -> None:
        self.options, self.clock, self.status = options or GatewayOptions(), clock, GatewayStatus()
        _check_money(exchange, self.options.live)
        self._exchange, self._symbols, self._sink = exchange, list(dict.fromkeys(symbols)), sink
        self._commands, self._refusal, self._compare = commands, refusal, compare
        self._jitter = jitter or entropy()
        self._since_ms = since_ns // MS
        loopback = is_loopback(exchange.rest_url)
        self.rest = PrivateRest(
            exchange,
            credentials,
            sink,
            lease=lease,
            clock=clock,
            recv_window_ms=self.options.recv_window_ms,
            timeout_s=self.options.answer_timeout_s,
            permissions_url=self.options.permissions_url or ("" if loopback else PERMISSIONS_URL),
            sync=sync,
        )
        self._facts: dict[int, InstrumentFacts] = {}
        self._asked: set[tuple[str, int]] = set()  # orders whose client id the log knows from this process
        self._lines: dict[int, deque[tuple[int, np.void]]] = {}  # per order: what waits, with its number of arrival
        self._count = 0
        self._busy: set[int] = set()  # orders with a request in flight: one at a time
        self._running: set[asyncio.Task[None]] = set()
        self._wake, self._stopping, self._ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._unsettled = asyncio.Event()  # the venue's state has to be read
        self._commands_ended = False
        self._stream: UserStream | None = None
        self._failure: BaseException | None = None

    # --- For others.

    async def run(self) -> None:
        """Until `stop`, or until the commands have ended and were carried out.

        Raises:
            ConfigInvalid: the keys may withdraw, are wrong, or the account is in hedge mode.
            VenueRejected: the venue refuses us.
            Fenced: another gateway holds the lease. ShrivenError: what the sink raised.
        """
        self.rest.begin()
        try:
            async with RestClient(self._exchange, self.clock) as public:
                await self._until_stop(self._admit())
                if not self._stopping.is_set():
                    await self._work(public)
        finally:
            self.status.ready = False
            await self.rest.close()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End soon. Call it in the gateway's thread. Open orders stay; the venue's countdown ends them."""
        self._stopping.set()
        if self._stream is not None:
            self._stream.stop()

    def resume(self) -> None:
        """A person looked at the differences: send again."""
        self.status.halted = ""
        self._wake.set()

    def look_again(self) -> None:
        """Read the venue's state once more. New orders wait for it."""
        self._on_lost()
        self._unsettled.set()

    async def cancel_all(self, timeout_s: float = 60.0) -> Cancelled:
        """Cancel everything now; see connectors/emergency.py."""
        return await cancel_all(self.rest, self._symbols, timeout_s)

    async def flatten(self, timeout_s: float = 60.0) -> Flat:
        """Cancel everything and close every position now; see connectors/emergency.py."""
        return await flatten(self.rest, self._symbols, timeout_s=timeout_s)

    # --- Starting.

    async def _admit(self) -> None:
        """Clock, keys, what is listed."""
        await self.rest.measure_time()
        self.status.offset_ms = self.rest.offset_ms
        if urlsplit(self._exchange.rest_url).hostname not in PLAY_MONEY_HOSTS:
            check_permissions((await self._insist(api.permissions())).body)
        listed = (await self._insist(api.exchange_info())).body
        found = instruments(listed)
        self._facts = facts_of(found.rows, found.heap)
        limits = orjson.loads(listed).get("rateLimits", [])
        self.rest.budget.learn([row for row in limits if isinstance(row, dict)])
        missing = [symbol for symbol in self._symbols if self._instrument(symbol) not in self._facts]
        if missing:
            raise ConfigInvalid(f"{self._exchange.venue.label} does not list {', '.join(missing)}.")

    async def _insist(self, request: Request) -> Answer:
        """Ask until there is an answer. Raises ConfigInvalid when the keys are wrong."""
        backoff = Backoff(self.options.retry_base_s, self.options.retry_ceiling_s, chance=self._jitter)
        while True:
            answer = await self._asked_for(request)
            if answer is not None:
                return answer
            await asyncio.sleep(backoff.next_s())

    async def _asked_for(self, request: Request) -> Answer | None:
        """One try; None when it is worth another one."""
        answer = await self.rest.ask(request)
        if answer.ok:
            return answer
        self.status.last_trouble = f"{request.text}: " + (f"HTTP {answer.status}" if answer.status > 0 else "no answer")
        code = error_code(answer)
        if answer.status in UNAUTHORISED or code in KEY_CODES:
            raise ConfigInvalid(
                f"{request.path}: the venue does not accept these keys (HTTP {answer.status}, code {code}). They are "
                "wrong, were revoked, or may not be used from this address. Nothing was traded."
            )
        log.warning("%s", self.status.last_trouble)
        return None

    # --- Working.

    async def _work(self, public: RestClient) -> None:
        stream = self._stream = UserStream(
            self._exchange, self._sink, public, self._make_key, self._on_open, self._on_lost,
            self.options.session, self.clock, self._jitter,
        )  # fmt: skip
        duties: list[Awaitable[None]] = [
            stream.run(), self._settle(), self._take(), self._dispatch(), self._keep_key(), self._keep_time(),
        ]  # fmt: skip
        if self.options.countdown_s > 0:
            duties.append(self._keep_countdown())
        tasks = [asyncio.ensure_future(duty) for duty in duties]
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            waiting = {*tasks, stopping}
            while not self._stopping.is_set() and all(not task.done() or not task.exception() for task in tasks):
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                waiting -= done
        finally:
            self.stop()
            if self._running:  # what is on its way had better be heard
                await asyncio.wait(self._running, timeout=self.options.stop_grace_s)
            await self._end([*tasks[1:], stopping, *self._running], tasks[:1])

    async def _end(self, cancelled: Sequence[asyncio.Future[Any]], awaited: Sequence[asyncio.Future[Any]]) -> None:
        for task in cancelled:
            task.cancel()
        for ended in await asyncio.gather(*cancelled, *awaited, return_exceptions=True):
            if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
                self._failure = self._failure or ended

    async def _until_stop(self, work: Awaitable[None]) -> None:
        working, stopping = asyncio.ensure_future(work), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not working.done():
            working.cancel()
        ended = (await asyncio.gather(working, return_exceptions=True))[0]
        if isinstance(ended, BaseException) and not isinstance(ended, asyncio.CancelledError):
            raise ended

    # --- Commands.

    async def _take(self) -> None:
        async for rows in self._commands:
            for row in rows:
                self._line_up(row.copy())
            self._wake.set()
        self._commands_ended = True
        self._wake.set()

    def _line_up(self, command: np.void) -> None:
        """Behind what waits of the same order: nothing overtakes, but a cancel ends what was not sent yet."""
        order_id = int(command["order_id"])
        line = self._lines.setdefault(order_id, deque())
        if int(command["command"]) == CommandKind.CANCEL:
            dropped = [waiting for _, waiting in line if _changes(waiting)]
            self._lines[order_id] = line = deque(entry for entry in line if not _changes(entry[1]))
            for waiting in dropped:
                self._refuse(waiting, "cancelled before it was sent")
            if any(int(waiting["command"]) == CommandKind.SUBMIT for waiting in dropped):
                self._refuse(command, "its order was never sent")
                return
        self._count += 1
        line.append((self._count, command))

    def _refuse(self, command: np.void, why: str) -> None:
        self.status.refused += 1
        self.rest.not_sent(command_text(command), why)

    async def _dispatch(self) -> None:
        """Start what may start: by priority, one request per order at a time, within the budget."""
        wait_s: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            self._wake.clear()
            wait_s = self._start_some()
            self.status.waiting = sum(map(len, self._lines.values()))
            if self._commands_ended and not self._lines and not self._running:
                self.stop()
                return

    def _start_some(self) -> float | None:
        """Returns how long until more may start by the passing of time alone; None: until something happens."""
        waits: list[float] = []
        self._lines = {order_id: line for order_id, line in self._lines.items() if line}
        heads = [(_priority(line[0][1]), line[0][0], order_id) for order_id, line in self._lines.items()]
        for priority, _, order_id in sorted(heads):
            line = self._lines[order_id]
            while line and order_id not in self._busy:
                wait_s = self._start(line[0][1], priority)
                if wait_s > 0.0:
                    waits.append(wait_s)
                    break
                line.popleft()
        self._lines = {order_id: line for order_id, line in self._lines.items() if line}
        soonest_s = min(waits, default=math.inf)
        return None if math.isinf(soonest_s) else soonest_s

    def _start(self, command: np.void, priority: Priority) -> float:
        """Start a command, or refuse it: 0.0. Else how long until it is worth looking at again; inf: until something
        happens."""
        now_ns, ends_ns = self.clock.now_ns(), int(command["valid_until_ns"])
        crowded = len(self._running) >= self.options.parallel_max and priority is not Priority.CANCEL
        early = _changes(command) and not self._ready.is_set() and not self._is_stale(command)
        if crowded or early:
            return max(0.001, (ends_ns - now_ns) / 1e9) if early and ends_ns else math.inf
        request = self._request(command)
        if request is None:
            return 0.0
        wait_s = self.rest.budget.take(request.weight, request.orders, priority, now_ns)
        if wait_s <= 0.0:
            order_id = int(command["order_id"])
            self._busy.add(order_id)
            task = asyncio.create_task(self._carry_out(request, command))
            self._running.add(task)
            task.add_done_callback(lambda done: self._on_done(done, order_id))
            return 0.0
        return min(wait_s, max(0.001, (ends_ns - now_ns) / 1e9)) if ends_ns and _changes(command) else wait_s

    def _is_stale(self, command: np.void) -> bool:
        ends_ns = int(command["valid_until_ns"])
        return bool(ends_ns) and self.clock.now_ns() >= ends_ns

    def _request(self, command: np.void) -> Request | None:
        """The request of a command; None when it must not be sent, which is then written down."""
        facts = self._facts.get(int(command["instrument"]))
        why = self._why_not(command, facts)
        if not why and facts is not None:
            try:
                request = request_of(command, facts)
            except InputInvalid as error:
                why = str(error)
            else:
                ends_ns = int(command["valid_until_ns"])
                if not ends_ns or not _changes(command):
                    return request
                # The venue itself refuses it once it is stale, however long it is on the way.
                left_ms = max(1, (ends_ns - self.clock.now_ns()) // MS)
                window_ms = min(left_ms, self.options.recv_window_ms)
                return request._replace(recv_window_ms=window_ms)
        self._refuse(command, why)
        return None

    def _why_not(self, command: np.void, facts: InstrumentFacts | None) -> str:
        if facts is None:
            return "the venue does not list its instrument"
        if not _changes(command):
            return ""
        if self._is_stale(command):
            return "past its valid_until_ns"
        if self.status.halted:
            return f"the gateway is halted: {self.status.halted}"
        fault = filter_fault(command, facts)
        return self._refusal(command) or (f"{fault.code}: {fault.text}" if fault else "")

    async def _carry_out(self, request: Request, command: np.void) -> None:
        answer = await self.rest.ask(request, paid=True)
        self.status.sent += 1
        self.status.unanswered += answer.status == 0
        if request.path == api.ALGO_ORDER and request.method in ("GET", "DELETE"):
            await self._follow_trigger(request, command, answer)

    async def _follow_trigger(self, request: Request, command: np.void, answer: Answer) -> None:
        """A conditional order that was triggered lives on as a normal one: ask for, or cancel, that one."""
        client_id = client_id_of(int(command["order_id"]))
        if request.method == "DELETE":
            if answer.ok or answer.status <= 0:
                return
            answer = await self.rest.ask(Request("GET", api.ALGO_ORDER, request.params, f"#{client_id}"))
        try:
            actual_id = int(orjson.loads(answer.body).get("actualOrderId") or 0) if answer.ok else 0
        except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError):
            return
        if actual_id:
            symbol = self._facts[int(command["instrument"])].symbol
            query = api.query_venue_order(symbol, actual_id)
            wanted = Request(request.method, query.path, query.params, query.what)
            await self.rest.ask(wanted, Priority.CANCEL if request.method == "DELETE" else Priority.QUERY)

    def _on_done(self, task: asyncio.Task[None], order_id: int) -> None:
        self._running.discard(task)
        self._busy.discard(order_id)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error
            self.stop()

    # --- Reconciliation.

    def _on_open(self) -> None:
        self._unsettled.set()

    def _on_lost(self) -> None:
        self._ready.clear()
        self.status.ready = False

    async def _settle(self) -> None:
        """Read the venue's state whenever the user stream opened; only then are new orders sent."""
        backoff = Backoff(self.options.retry_base_s, self.options.retry_ceiling_s, chance=self._jitter)
        while True:
            await self._unsettled.wait()
            self._unsettled.clear()
            try:
                await self.reconcile()
            except StillSettling as settling:
                self.status.last_trouble = f"reconciliation: {settling}"
                for request in settling.asks:
                    await self.rest.ask(request)
                self._unsettled.set()
                await asyncio.sleep(self.options.settle_every_s)
                continue
            except (_NotNow, PeerProtocolError, KeyError, TypeError, ValueError) as error:
                self.status.last_trouble = f"reconciliation: {error!r}"
                log.warning("%s", self.status.last_trouble)
                self._unsettled.set()
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.healthy()
            self.status.last_trouble = ""
            if not self._unsettled.is_set():
                self._ready.set()
                self.status.ready = True
                self._wake.set()

    async def reconcile(self) -> VenueState:
        """Ask for everything that the venue has; the rows say it to the rules, `compare` says it to us."""
        started_ms = self.clock.now_ns() // MS
        orders = await self._list(api.open_orders()) + await self._list(api.open_algo_orders(), may_miss=True)
        rows = await self._list(api.positions())
        balances = await self._list(api.balances())
        await self._answer(api.account())
        if any(row.get("positionSide", "BOTH") != "BOTH" and parse_e8(str(row["positionAmt"])) for row in rows):
            raise ConfigInvalid(
                "The account is in hedge mode: it has long and short positions in one instrument. This gateway trades "
                "one-way accounts only. Close the positions and switch the mode at the venue."
            )
        since_ms = self._since_ms - OVERLAP_MS if self._since_ms else started_ms
        await self._list(api.funding_paid(since_ms))  # the user stream says it once; who was not there has missed it
        for symbol in self._symbols:
            await self._read_trades(symbol, since_ms)
        self._since_ms = started_ms
        found = VenueState(
            tuple(self._open_order(order) for order in orders),
            {self._instrument(symbol): amount for symbol, amount in positions_of(rows).items()},
            {instrument_id(str(row["asset"])): parse_e8(str(row["balance"])) for row in balances},
        )
        self._judge(self._compare(found))
        self.status.reconciliations += 1
        return found

    def _judge(self, differences: Sequence[Difference]) -> None:
        self.status.differences = list(differences)
        for one in differences:
            log.warning("%s: %s", one.resolution.name, one.text)
        material = [one.text for one in differences if one.material]
        if material:
            self.status.halted = "we and the venue differ: " + "; ".join(material)

    async def _read_trades(self, symbol: str, start_ms: int) -> None:
        """Own trades since then. An order that a trade belongs to is asked for first: only that answer has its client
        id, so that the trades, asked for once more, can be told to be ours."""
        from_id = 0
        while True:
            request = api.user_trades(symbol, start_ms, from_id)
            trades = await self._list(request)
            unknown = sorted(
                {int(trade["orderId"]) for trade in trades if (symbol, int(trade["orderId"])) not in self._asked}
            )
            for venue_order_id in unknown:
                await self._answer(api.query_venue_order(symbol, venue_order_id), may_miss=True)
                self._asked.add((symbol, venue_order_id))
            if unknown:
                trades = await self._list(request)
            if len(trades) < api.TRADES_MAX:
                break
            from_id = int(trades[-1]["id"]) + 1
        if len(self._asked) > ASKED_MAX:
            self._asked.clear()

    async def _answer(self, request: Request, *, may_miss: bool = False) -> Answer:
        answer = await self._asked_for(request)
        if answer is None and not may_miss:
            raise _NotNow(self.status.last_trouble)
        return answer or Answer(0, b"[]", 0)

    async def _list(self, request: Request, *, may_miss: bool = False) -> list[dict[str, Any]]:
        return objects_of(await self._answer(request, may_miss=may_miss), request.path)

    def _instrument(self, symbol: str) -> int:
        return instrument_id(instrument_name(self._exchange.venue, symbol))

    def _open_order(self, order: dict[str, Any]) -> OpenOrder:
        algo, symbol = "algoId" in order, str(order["symbol"])
        client_id = str(order["clientAlgoId" if algo else "clientOrderId"])
        return OpenOrder(
            order_id_from(client_id), client_id, symbol, int(order["algoId" if algo else "orderId"]),
            self._instrument(symbol), parse_e8(str(order["quantity" if algo else "origQty"])),
        )  # fmt: skip

    # --- Keeping alive.

    async def _make_key(self) -> str:
        answer = await self.rest.ask(api.listen_key("POST"))
        try:
            key = orjson.loads(answer.body)["listenKey"] if answer.ok else None
        except (orjson.JSONDecodeError, KeyError, TypeError):
            key = None
        if not isinstance(key, str):
            raise ConnectionError(f"no listen key: HTTP {answer.status}, code {error_code(answer)}")
        return key

    async def _keep_key(self) -> None:
        wait_s = self.options.listen_key_renew_s
        while True:
            await asyncio.sleep(wait_s)
            answer = await self.rest.ask(api.listen_key("PUT"))
            wait_s = self.options.listen_key_renew_s if answer.ok else self.options.listen_key_renew_s / 30
            if error_code(answer) == api.LISTEN_KEY_UNKNOWN and self._stream is not None:
                self._stream.renew()

    async def _keep_countdown(self) -> None:
        """Cancel-on-disconnect: the venue's clock is wound up while we live."""
        while True:
            for symbol in self._symbols:
                await self.rest.ask(api.countdown(symbol, int(self.options.countdown_s * 1000)), Priority.CANCEL)
            await asyncio.sleep(self.options.countdown_s / 3)

    async def _keep_time(self) -> None:
        while True:
            await asyncio.sleep(self.options.clock_every_s)
            await self.rest.measure_time()
            self.status.offset_ms = self.rest.offset_ms


def _check_money(exchange: Exchange, live: bool) -> None:
    host = urlsplit(exchange.rest_url).hostname
    if not live and not is_loopback(exchange.rest_url) and host not in PLAY_MONEY_HOSTS:
        raise ConfigInvalid(
            f"{host} trades real money, and live trading was not asked for. Ask for it explicitly, or trade on paper."
        )


def _changes(command: np.void) -> bool:
    """Whether it makes or changes an order: such a command can be stale, killed, or too early."""
    return int(command["command"]) in (CommandKind.SUBMIT, CommandKind.AMEND)


def _priority(command: np.void) -> Priority:
    if int(command["command"]) == CommandKind.CANCEL:
        return Priority.CANCEL
    if int(command["command"]) == CommandKind.QUERY:
        return Priority.QUERY
    reduces = int(command["flags"]) & (OrderFlag.REDUCE_ONLY | OrderFlag.FLATTEN)
    return Priority.REDUCE if reduces else Priority.NEW


def command_text(command: np.void) -> str:
    """The words of a command's request (`Request.text`), also of one for which no request could be made."""
    conditional = int(command["kind"]) in (OrderKind.STOP, OrderKind.STOP_LIMIT)
    method = METHODS.get(CommandKind(int(command["command"])), "GET")
    order_id = int(command["order_id"])
    what = f"#{-order_id}" if order_id < 0 else client_id_of(order_id)  # below 0: an adopted one
    return f"{method} {api.ALGO_ORDER if conditional and order_id > 0 else api.ORDER} {what}"
