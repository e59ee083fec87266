"""The whole trading chain in one thread and one virtual time, in weather that is as bad as the seed says.

    quotes ─▶ strategies ─▶ risk ─▶ orders ─▶ gateway ─▶ network ─▶ venue          every task: a real Runner on the
       people ─────────────┘          ▲         │                   │             transport in memory; the gateway: the
                          positions ◀─┴── private wire ◀── raw rows ◀┘             real one, in a loop of virtual time

The market maker trades the first symbol, people ask for orders of every kind in the second. Any task may die at any
point of a commit or between two steps, the gateway before and after each row that it writes and before each request;
rows come late, in pieces and twice; books lose their trust or fall silent; the network loses and delays; the venue has
all faults of its own. After the storm comes quiet: nothing is lost any more, nobody dies, the market stands.
`trading_truth.complaints` says what is then not as it must be.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import httpx
import numpy as np
import orjson

from connectors.binance_usdm.exchange import EXCHANGE
from connectors.binance_usdm.instruments import instruments
from connectors.binance_usdm.private_wire import PrivateWire
from connectors.credentials import Credentials
from connectors.gateway import Gateway, GatewayOptions, command_text
from connectors.reconciliation import Difference
from connectors.signing import HmacSigner
from connectors.simulator import kernels
from connectors.simulator.listing import exchange_info
from connectors.simulator.private_config import PAPER_KEY, PAPER_SECRET
from infra.process import gateway as gateway_process
from infra.process.ours import PLACES, Comparison, Ours, behind
from infra.process.status import Status
from infra.steering import Texts
from infra.up.paper import LIMITS
from processors.api import Batch, Outputs, Processor, State
from processors.order_transitions import COMMAND, NO_COMMAND, OrderEvent
from processors.orders import Orders, OrdersParameters
from processors.positions import Positions, PositionsParameters
from processors.risk import QUOTE_INPUT, Risk, RiskParameters
from processors.risk_limits import unit_of
from processors.strategy_host import Strategies, StrategiesParameters
from schemas.declare import Heap, Rows
from schemas.events import QUOTE, Side, Trust
from schemas.instruments import Venue, instrument_id
from schemas.trading import (
    LIMIT,
    ORDER_REQUEST,
    STRATEGY,
    OrderFlag,
    OrderKind,
    RequestAction,
    Scope,
    TimeInForce,
    Unit,
)
from streams.api import Chunk, StartAt, TopicPartition, WriterKey
from streams.clock import ManualClock
from streams.memory import MemoryLog, MemorySource
from streams.pipelines import OPERATOR_NUMBER, TASKS_MAX, connector_writer, pipeline
from streams.runner import MS, Runner, RunnerOptions
from streams.topics import topic
from tests.memory_runs import Crash, memory_runner
from tests.pipelines import INCARNATION, START_NS
from tests.simulation.test_runner_weather import POINTS, Storm
from tests.simulation.trading_venue import Life, Line, Network, SimulatedVenue, Stream
from tests.simulation.virtual_time import run_virtually

S_NS = 1_000_000_000
E8 = 100_000_000
SYMBOLS = ("BTCUSDT", "SOLUSDT")
IDS = tuple(instrument_id(f"binance_usdm:{symbol}") for symbol in SYMBOLS)
ACCOUNT = instrument_id("binance_usdm:paper")
OPERATOR = instrument_id("operator")
RAW = WriterKey(topic("raw.frame.v1").number, 0, connector_writer("binance_usdm_private", 0), INCARNATION)
COMMANDS = topic("oms.order_command.v1")
TASKS = ("strategies", "risk", "orders", "positions", "orders_binance_usdm")
RULES: dict[str, Callable[[], Processor]] = {
    "strategies": lambda: Strategies(StrategiesParameters(strategies_max=4, instruments_max=8)),
    "risk": lambda: Risk(RiskParameters(instruments_max=8, lanes_max=16, orders_max=256, repeats_max=64)),
    "orders": lambda: Orders(OrdersParameters(query_interval_max_ns=8 * S_NS)),
    "positions": lambda: Positions(PositionsParameters(instruments_max=8, positions_max=16)),
    "orders_binance_usdm": lambda: PrivateWire("binance_usdm:paper", orders_max=1024, trades_max=1024),
}
STORM_S, QUIET_MIN_S, QUIET_MAX_S = 20.0, 15.0, 240.0
KINDS = ("limit", "limit", "limit", "market", "ioc", "fok", "post", "gtd", "reduce", "stop", "stop limit")
FAULTS = (
    "order_timeout:seconds={s},method=POST", "order_timeout:seconds={s},accepted=0,method=POST",
    "order_timeout:seconds={s},method=PUT", "order_timeout:seconds={s},accepted=0,method=DELETE",
    "order_timeout:status=503,method=", "order_timeout:status=503,accepted=0,method=", "report_first:count={n}",
    "report_twice:count={n}", "reject_burst:count={n},error=1008", "reject_burst:count={n},error=2019",
    "clock_skew:seconds={s},skew=10", "listen_key_expired", "venue_restart:seconds={s}", "cut", "rest_429:count={n}",
    "refuse_dials:seconds={s}",
)  # fmt: skip


@dataclass(frozen=True)
class Bugs:
    """Planted ones: what a test puts into a world to see that the simulation finds it.

    Attributes:
        forgetful: a new life of the gateway does not look at what the lives before it sent.
        unwritten: the gateway sends before its row of the attempt is safe: a death takes the row with it.
        incurious: the orders rule does not ask what became of an order that has no answer.
        trusting: risk takes every book for one that may be believed.
    """

    forgetful: bool = False
    unwritten: bool = False
    incurious: bool = False
    trusting: bool = False


class Writer:
    """Appends to one sequence of the log."""

    def __init__(self, log: MemoryLog, name: str, writer: int, partition: int = 0) -> None:
        self._log = log
        self.key = WriterKey(topic(name).number, partition, writer, INCARNATION)

    def append(self, rows: Rows, heap: Heap | None = None) -> None:
        first = self._log.last.get(self.key, 0) + 1
        self._log.append(Chunk(self.key, first, rows) if heap is None else Chunk(self.key, first, rows, heap))


@dataclass
class Book:
    """What is published of one market's touch."""

    symbol: str
    writer: Writer
    trust: Trust = Trust.EMPTY
    until_ns: int = 0  # when trust, or silence, ends
    is_silent: bool = False
    said: tuple[int, ...] = ()
    row: Rows = field(default_factory=lambda: QUOTE.empty(1))
    waiting: deque[tuple[int, Rows]] = field(default_factory=deque)  # on their way to the log


class World:
    """One seed's life.

    Attributes:
        log: everything that was written; venue: everything that happened there.
        deaths: by task, and where; faults: fired at the venue, by name.
        halts: material differences that the gateway found.
    """

    def __init__(self, seed: int, bugs: Bugs | None = None) -> None:
        self.seed, self.bugs = seed, bugs or Bugs()
        self._seeds = Random(seed)
        self.clock = ManualClock(START_NS)
        self.log = MemoryLog()
        self.network = Network(self.chance())
        self.venue = SimulatedVenue(seed, SYMBOLS, self.clock, self.chance())
        self.stormy, self.over = True, False
        self.deaths: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.halts: list[str] = []
        self._taken: dict[str, dict[WriterKey, int]] = {}
        self._lease_ns = self._lives = 0
        self._weather = self.chance()
        self._worst = self._weather.choice([0.3, 1.0, 1.0, 2.0])  # how much dies in this seed
        self._raw = Writer(self.log, "raw.frame.v1", RAW.writer)
        book = pipeline("book")
        self._books = [
            Book(symbol, Writer(self.log, "md.quote.v1", book.writer(task), task))
            for task, symbol in enumerate(SYMBOLS)
        ]
        self._asks = Writer(self.log, "oms.order_request.v1", OPERATOR_NUMBER * TASKS_MAX)
        self._strategies = Writer(self.log, "ref.strategy.v1", OPERATOR_NUMBER * TASKS_MAX)

    def chance(self) -> Random:
        """A generator of its own: what one part draws moves no other."""
        return Random(self._seeds.random())

    # --- the story

    def live(self, settled: Callable[[World], list[str]]) -> list[str]:
        """Storm, then quiet until `settled` has no complaints; returns those that are left."""
        with ExitStack() as stack:
            stack.enter_context(patch.object(httpx, "AsyncClient", self._line))
            stack.enter_context(patch("connectors.gateway.UserStream", self._stream))
            stack.enter_context(patch.object(gateway_process, "frames", self._frames))
            return run_virtually(self.clock, self._live(settled))

    async def _live(self, settled: Callable[[World], list[str]]) -> list[str]:
        self._begin()
        self._current: Life | None = None
        acts = [self._market(), self._people(), self._misfortune(), self._gateways(), *map(self._task, TASKS)]
        running: list[asyncio.Future[Any]] = [asyncio.ensure_future(act) for act in acts]
        story: asyncio.Future[list[str]] = asyncio.ensure_future(self._story(settled))
        every: list[asyncio.Future[Any]] = [story, *running]
        try:
            while not story.done():
                await asyncio.wait(every, timeout=1.0, return_when=asyncio.FIRST_EXCEPTION)
                for one in running:
                    if one.done():
                        one.result()
            return story.result()
        finally:
            self.over = True
            if self._current is not None:
                self._current.kill()
            for one in every:
                one.cancel()
            await asyncio.gather(*every, return_exceptions=True)

    async def _story(self, settled: Callable[[World], list[str]]) -> list[str]:
        await asyncio.sleep(STORM_S)
        self.stormy = self.network.stormy = False
        self._strategy(enabled=False)
        await asyncio.sleep(QUIET_MIN_S)
        complaints = settled(self)
        ends_s = asyncio.get_running_loop().time() + QUIET_MAX_S
        while complaints and asyncio.get_running_loop().time() < ends_s:
            await asyncio.sleep(5.0)
            complaints = settled(self)
        return complaints

    def _begin(self) -> None:
        body = orjson.dumps(exchange_info(Venue.BINANCE_USDM, self.venue.feed.listed, START_NS // MS, 2400))
        found = instruments(body, START_NS)
        Writer(self.log, "ref.instrument.v1", pipeline("wire_binance_usdm").writer(0)).append(found.rows, found.heap)
        limits = Texts(LIMIT)
        for reason, value in LIMITS.items():
            unit = unit_of(reason)
            limits.add(
                ts_recv_ns=START_NS, value=value, who="test", why="test", subject=ACCOUNT, scope=Scope.ACCOUNT,
                currency=instrument_id("USDT") if unit is Unit.NOTIONAL_E8 else 0, reason=reason, unit=unit, active=1,
            )  # fmt: skip
        Writer(self.log, "ref.limit.v1", OPERATOR_NUMBER * TASKS_MAX).append(*limits.done())
        self._strategy(enabled=True)

    def _strategy(self, *, enabled: bool) -> None:
        rows = Texts(STRATEGY)
        parameters = {"quantity_e8": 5_000_000, "inventory_max_e8": 50_000_000, "spread_ppm": 20, "requote_ticks": 3,
                      "use_amend": self.seed % 3 != 0}  # fmt: skip
        rows.add(
            ts_recv_ns=self.clock.now_ns(), capital_e8=50_000 * E8, name="maker", rule="market_making",
            parameters=orjson.dumps(parameters).decode(), who="test", why="test", strategy=instrument_id("maker"),
            account=ACCOUNT, instrument=IDS[0], enabled=int(enabled),
        )  # fmt: skip
        self._strategies.append(*rows.done())

    # --- the market and its books

    async def _market(self) -> None:
        chance = self.chance()
        while True:
            if self.stormy:
                self.venue.trade()
            self.venue.half.on_time()
            for book in self._books:
                self._follow(book, chance)
            await asyncio.sleep(0.05 if self.stormy else 0.2)

    def _follow(self, book: Book, chance: Random) -> None:
        """Publish the touch as the rule `book` would, with trust that comes and goes."""
        now_ns = self.clock.now_ns()
        if now_ns >= book.until_ns and (book.is_silent or book.trust is not Trust.SYNCED):
            again = book.trust is Trust.GAP and chance.random() < 0.5
            book.is_silent, book.trust = False, Trust.RESYNCING if again else Trust.SYNCED
            book.until_ns = now_ns + chance.randrange(2 * S_NS)
        elif self.stormy and now_ns >= book.until_ns and chance.random() < 0.01:
            book.until_ns = now_ns + chance.randrange(5 * S_NS)
            book.trust = chance.choice([Trust.SYNCED, Trust.GAP, Trust.GAP, Trust.STALE, Trust.CROSSED])
            book.is_silent = book.trust is Trust.SYNCED
        if not book.is_silent:
            self._say(book, now_ns, chance)
        while book.waiting and book.waiting[0][0] <= now_ns:
            book.writer.append(book.waiting.popleft()[1])

    def _say(self, book: Book, now_ns: int, chance: Random) -> None:
        market = self.venue.feed.markets[book.symbol]
        if book.trust is Trust.SYNCED:
            (bid, bid_lots), (ask, ask_lots) = (market.levels(side, 1)[0] for side in (kernels.BID, kernels.ASK))
            tick_e8, lot_e8 = market.listed.tick_e8, market.listed.lot_e8
            row = book.row
            row["bid_price_e8"], row["bid_quantity_e8"] = bid * tick_e8, bid_lots * lot_e8
            row["ask_price_e8"], row["ask_quantity_e8"] = ask * tick_e8, ask_lots * lot_e8
        book.row["instrument"], book.row["trust"] = instrument_id(f"binance_usdm:{book.symbol}"), book.trust
        said = tuple(book.row[["bid_price_e8", "bid_quantity_e8", "ask_price_e8", "ask_quantity_e8", "trust"]][0])
        if said == book.said:
            return
        book.said = said
        book.row["ts_recv_ns"] = book.row["ts_event_ns"] = now_ns
        late_ns = chance.randrange(30 * MS)
        if self.stormy and chance.random() < 0.01:
            late_ns = chance.randrange(3 * S_NS)  # the rule's process was away
        after_ns = book.waiting[-1][0] if book.waiting else 0
        book.waiting.append((max(after_ns, now_ns + late_ns), book.row.copy()))

    # --- people

    async def _people(self) -> None:
        chance, tags = self.chance(), 0
        await asyncio.sleep(1.0)
        while self.stormy:
            tags += 1
            self._asks.append(self._request(chance, tags))
            await asyncio.sleep(chance.choice([0.01, 0.05, 0.15, 0.4]))

    def _request(self, chance: Random, tag: int) -> Rows:
        row, now_ns = ORDER_REQUEST.empty(1), self.clock.now_ns()
        row["ts_event_ns"] = row["ts_recv_ns"] = now_ns
        row["valid_until_ns"] = now_ns + chance.choice([1, 2, 5, 10, 60]) * S_NS
        row["instrument"], row["account"], row["strategy"] = IDS[1], ACCOUNT, OPERATOR
        action = chance.choices(list(RequestAction), [60, 12, 16, 8])[0]
        row["action"], row["tag"], row["side"] = action, tag, chance.randrange(2)
        if action in (RequestAction.AMEND, RequestAction.CANCEL):
            row["tag"] = max(1, tag - chance.randrange(1, 9))
        market = self.venue.feed.markets[SYMBOLS[1]]
        side, away = Side(int(row["side"][0])), chance.choice([-20, -5, -2, -1, 0, 1, 40])  # ticks behind the touch
        best = market.levels(kernels.BID if side is Side.BUY else kernels.ASK, 1)[0][0]
        price = (best - away if side is Side.BUY else best + away) * market.listed.tick_e8
        row["price_e8"], row["quantity_e8"] = price, chance.randrange(1, 40) * market.listed.lot_e8
        kind = chance.choice(KINDS)
        if action is RequestAction.NEW:
            if kind == "market":
                row["kind"], row["price_e8"], row["time_in_force"] = OrderKind.MARKET, 0, TimeInForce.IOC
            elif kind in ("stop", "stop limit"):  # through the touch, or already there
                through = (best + abs(away) if side is Side.BUY else best - abs(away)) * market.listed.tick_e8
                row["kind"], row["stop_price_e8"] = OrderKind[kind.upper().replace(" ", "_")], through
                row["price_e8"] = through if kind == "stop limit" else 0
            elif kind in ("ioc", "fok"):
                row["time_in_force"] = TimeInForce[kind.upper()]
            elif kind == "gtd":
                row["time_in_force"], row["expires_ns"] = TimeInForce.GTD, now_ns + chance.randrange(2, 12) * S_NS
            row["flags"] = OrderFlag.HUMAN | {"post": OrderFlag.POST_ONLY, "reduce": OrderFlag.REDUCE_ONLY}.get(kind, 0)
        return row

    # --- misfortune

    async def _misfortune(self) -> None:
        chance = self.chance()
        often = chance.choice([0.08, 0.16, 0.35])  # faults a second: where one follows the other, hardly anybody trades
        while self.stormy:
            await asyncio.sleep(chance.expovariate(often))
            text = chance.choice(FAULTS).format(s=round(chance.uniform(0.2, 6.0), 1), n=chance.randrange(1, 5))
            if self.stormy:
                self.faults[text.partition(":")[0]] += 1
                await self.venue.fault(text)

    def _dies(self, task: str, point: str, share: float) -> bool:
        if not self.stormy or self._weather.random() >= share * self._worst:
            return False
        self.deaths[f"{task} {point}"] += 1
        return True

    # --- tasks of the pipelines

    def rule(self, name: str) -> Processor:
        """A rule, with the bug that was planted."""
        made = RULES[name]()
        if self.bugs.incurious and isinstance(made, Orders):
            for event in (OrderEvent.UNANSWERED, OrderEvent.UNKNOWN):
                made._rules.table[:, event, COMMAND] = NO_COMMAND
        return TrustingRisk() if self.bugs.trusting and name == "risk" else made

    async def _task(self, name: str) -> None:
        chance = self.chance()
        atomic = chance.random() < 0.5
        options = RunnerOptions(
            commit_interval_ns=chance.choice([0, MS, 20 * MS]), quiet_interval_ns=chance.choice([0, 200 * MS]),
            commit_entries_max=chance.choice([3, 1000]), poll_bytes_max=chance.choice([3000, 1 << 20]),
            snapshot_rows=chance.choice([50, 500, 1 << 40]), timer_grace_ns=chance.choice([0, 50 * MS, 1000 * MS]),
            poll_timeout_ns=0,
        )  # fmt: skip

        def reach(point: str) -> None:
            if point in POINTS[atomic] and self._dies(name, point, 0.003):
                raise Crash(point)

        while not self.over:
            runner = memory_runner(
                self.log, pipeline(name), 0, self.rule(name), clock=self.clock, atomic=atomic, options=options,
                reach=reach, weather=Storm(chance) if self.stormy else None,
            )  # fmt: skip
            try:
                await self._steps(name, runner, chance)
            except Crash:
                await asyncio.sleep(chance.choice([0.0, 0.3, 3.0]) * chance.random())

    async def _steps(self, name: str, runner: Runner, chance: Random) -> None:
        runner.start()
        calm = not self.stormy
        while not self.over and calm is not self.stormy:
            before = runner.engine.rows_in
            runner.step()
            self._taken[name] = runner.stats.taken
            if self._dies(name, "between two steps", 0.0005):
                raise Crash(name)
            busy = runner.engine.rows_in > before or bool(runner.engine.entries)
            pause_s = chance.uniform(0.001, 0.02) if busy else 0.04 if self.stormy else 0.2
            if self.stormy and chance.random() < 0.002:
                pause_s = chance.uniform(0.1, 3.0)  # it is swapped out
            await asyncio.sleep(pause_s)

    # --- the gateway

    async def _gateways(self) -> None:
        chance = self.chance()
        while not self.over:
            while self._lease_ns > self.clock.now_ns():  # noqa: ASYNC110 (it is time that is waited for)
                await asyncio.sleep(0.2)
            self._lives += 1
            life = self._current = Life(lambda point: self._dies("gateway", point, 0.003))
            work = asyncio.ensure_future(self._make_gateway(life, chance).run())
            life.on_death = work.cancel
            killer = asyncio.ensure_future(self._kill_late(life, chance))
            await asyncio.wait([work])
            killer.cancel()
            if life.alive:
                work.result()
                raise AssertionError("the gateway ended by itself")
            await asyncio.sleep(chance.choice([0.0, 0.5, 4.0]) * chance.random())

    async def _kill_late(self, life: Life, chance: Random) -> None:
        await asyncio.sleep(chance.expovariate(0.05 * self._worst))
        if self.stormy and life.alive:
            self.deaths["gateway at any time"] += 1
            life.kill()

    def _make_gateway(self, life: Life, chance: Random) -> Gateway:
        """With what `GatewayProcess` gives it; a person resumes whatever halts it."""
        before = gateway_process.earlier_life(Path(), RAW, SYMBOLS)
        done = Counter[str]() if self.bugs.forgetful else before.handled
        ours = Ours(ACCOUNT)
        names = dict(zip(IDS, SYMBOLS, strict=True))

        def is_behind() -> str:
            took: dict[WriterKey, int] = {}
            for taken in self._taken.values():
                took.update(taken)
            own = Status("gateway", taken=took, written=dict(self.log.last))
            return behind(ours.rows, own, ())

        def found(differences: Sequence[Difference]) -> None:
            material = [one.text for one in differences if one.material]
            if material and life.alive:
                self.halts += material
                asyncio.get_running_loop().call_later(1.0, made.resume)

        options = GatewayOptions(
            answer_timeout_s=3.0, countdown_s=12.0, retry_base_s=0.05, retry_ceiling_s=1.0, stop_grace_s=0.001,
            clock_every_s=5.0, listen_key_renew_s=600.0,
        )  # fmt: skip
        made = Gateway(
            EXCHANGE.at("ws://127.0.0.1:1", "http://127.0.0.1:1"),
            Credentials(PAPER_KEY, HmacSigner(PAPER_SECRET), "paper"),
            SYMBOLS, _Pen(self, life).append, self._commands(life, done, ours), _Lease(self, life),
            compare=Comparison(ours.state, is_behind, names, found, set(), names, self.clock),
            since_ns=before.heard_ns, options=options, clock=self.clock, jitter=Random(chance.random()),
        )  # fmt: skip
        return made

    async def _commands(self, life: Life, done: Counter[str], ours: Ours) -> AsyncIterator[Rows]:
        """As `GatewayProcess` has them: those that no earlier life has carried out. Our own rows are read beside."""
        commands, rows = (MemorySource(self.log, self.clock, INCARNATION) for _ in range(2))
        commands.assign([TopicPartition(COMMANDS.number, 0)], StartAt({}, {}))
        rows.assign(PLACES, StartAt({}, {}))
        while life.alive:
            ours.take(rows.poll(0))
            for chunk in commands.poll(0):
                fresh = []
                for row in chunk.rows:
                    words = command_text(row)
                    done[words] -= 1
                    fresh.append(done[words] < 0)
                if any(fresh):
                    yield chunk.rows[np.array(fresh)]
            await asyncio.sleep(0.02 if self.stormy else 0.1)

    # --- in the place of what a gateway is made of

    def hold(self, until_ns: int) -> None:
        self._lease_ns = max(self._lease_ns, until_ns)

    def _line(self, **options: Any) -> Line:
        assert self._current is not None
        return Line(self.venue, self.network, self._current, options.get("headers", {}).get("X-MBX-APIKEY", ""))

    def _stream(self, _exchange: object, sink: Any, _rest: object, make_key: Any, on_open: Any, on_lost: Any,
                *_: object) -> Stream:  # fmt: skip
        assert self._current is not None
        return Stream(
            self.venue, self.network, self._current, self.chance(), self.clock, sink, make_key, on_open, on_lost
        )

    def _frames(self, _root: Path, key: WriterKey, *_: int) -> Iterator[Chunk]:
        yield from self.log.chunks(key)


class _Pen:
    """Writes the raw rows of one life of the gateway."""

    def __init__(self, world: World, life: Life) -> None:
        self._world, self._life = world, life
        self._held: list[tuple[Rows, Heap]] = []  # the bug `unwritten`

    def append(self, rows: Rows, heap: Heap) -> None:
        if not self._life.reach("before a row"):
            return
        self._held.append((rows, heap))
        if self._world.bugs.unwritten and bytes(heap[:20]) == b"POST /fapi/v1/order?":
            return
        for one in self._held:
            self._world._raw.append(*one)
        self._held = []
        self._life.reach("after a row")


class _Lease:
    def __init__(self, world: World, life: Life) -> None:
        self._world, self._life = world, life

    def hold_until(self, until_ns: int) -> None:
        if self._life.alive:
            self._world.hold(until_ns)


class TrustingRisk(Risk):
    """The bug `trusting`."""

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        if batch.input == QUOTE_INPUT:
            batch = replace(batch, rows=batch.rows.copy())
            batch.rows["trust"] = Trust.SYNCED
        super().on_batch(state, batch, out)
