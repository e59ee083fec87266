"""Orders through the whole chain: request → risk → orders → venue → reports → positions and ledger, nothing lost.

The rules run in real Runners over the transport in memory. Between orders and the private wire stands `Desk`: it does
with every command what the gateway does (attempt row before it is sent, signature, answer row) and asks the simulated
venue's private half, without HTTP. What the user stream says is handed over once a millisecond, as its session does,
at the pace of the goal: ten commands. A round is what runners commit at once on a broker at that pace: 20 ms
(`RunnerOptions.commit_interval_ns`).

Measured twice: the venue in a process of its own, as in every session, both processes at work at once, by the wall
clock from the first request to the last row; and everything one after the other in one thread, by its CPU time, which
says where the time goes.
"""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import cast

import numpy as np
import orjson

from connectors.binance_usdm.instruments import instruments
from connectors.binance_usdm.orders import InstrumentFacts, facts_of, request_of, stamped_query
from connectors.binance_usdm.private_wire import PrivateWire
from connectors.binance_usdm.private_words import PRIVATE_CONNECTION, STREAM_CONNECTION
from connectors.credentials import Credentials
from connectors.rawbatch import RawBatch
from connectors.signing import HmacSigner, signed_query
from connectors.simulator.listing import exchange_info
from connectors.simulator.matching import OrderKind as CoreKind
from connectors.simulator.private_algos import Algos
from connectors.simulator.private_api import PrivateApi
from connectors.simulator.private_config import PAPER_KEY, PAPER_SECRET, AccountConfig, PrivateRules
from connectors.simulator.private_request import Call
from connectors.simulator.private_stream import UserStreams
from infra.steering import Texts
from processors.api import Processor
from processors.orders import Orders
from processors.positions import Positions
from processors.risk import Risk, RiskParameters
from processors.risk_limits import unit_of
from schemas.declare import Heap, Rows
from schemas.events import QUOTE, FrameKind, Side, Trust
from schemas.instruments import Venue, instrument_id
from schemas.trading import (
    LIMIT,
    ORDER_REQUEST,
    Reason,
    ReportKind,
    RequestAction,
    Scope,
    TimeInForce,
    Unit,
)
from streams.api import Chunk, WriterKey
from streams.clock import ManualClock
from streams.memory import MemoryLog
from streams.pipelines import OPERATOR_NUMBER, TASKS_MAX, connector_writer, pipeline
from streams.runner import Runner, RunnerOptions
from streams.topics import topic
from tests.bench.result import Result, print_results
from tests.memory_runs import memory_runner
from tests.pipelines import INCARNATION
from tests.private_market import BTC, MIDDLE, NOW_MS, Trading

E8 = 100_000_000
MS = 1_000_000
GOAL = 10_000
PER_ROUND = 200  # new orders of a round; the half that rests is cancelled in the next
PER_MS = GOAL // 1_000  # commands whose user stream goes into one batch; a millisecond is how long a session waits
ROUNDS, WARM = 40, 4
SIDE_BY_SIDE, TRIES = 150, 3  # rounds, and how often
TURN = 9  # rounds on one side, beside the first
ROUND_NS = PER_ROUND * 100_000  # ten thousand a second of the chain's own time
LOTS = 2  # of each order, 0.002 BTC
AWAY = 5_000  # ticks behind the touch, where the resting half lies
ACCOUNT, OPERATOR = instrument_id("binance_usdm:paper"), instrument_id("operator")
INSTRUMENT = instrument_id("binance_usdm:BTCUSDT")
FREE = PrivateRules(orders_per_10s=0, orders_per_minute=0, funding_interval_s=0.0)
RICH = AccountConfig(balance_e8=10_000_000 * E8)
RULES: dict[str, Callable[[], Processor]] = {
    "risk": lambda: Risk(RiskParameters(rates_max=1 << 16)),
    "orders": Orders,
    "orders_binance_usdm": lambda: PrivateWire("binance_usdm:paper"),
    "positions": Positions,
}
LIMITS: dict[Reason, int] = {
    Reason.STALE_INPUT: 3600 * 10**9, Reason.ORDER_QUANTITY: 1_000 * E8, Reason.ORDER_NOTIONAL: 1_000_000 * E8,
    Reason.PRICE_COLLAR: 500, Reason.POSITION_NOTIONAL: 5_000_000 * E8, Reason.GROSS_EXPOSURE: 5_000_000 * E8,
    Reason.NET_EXPOSURE: 5_000_000 * E8, Reason.OPEN_ORDERS: 1_000, Reason.RATE_SECOND: 20_000,
    Reason.DAILY_LOSS: 1_000_000 * E8, Reason.DRAWDOWN: 1_000_000 * E8,
}  # fmt: skip


Asked = tuple[str, str, str]  # method, path, signed query
Answered = tuple[bytes, list[bytes]]  # body, events of the user stream


class Pen:
    """Appends to one sequence of the log."""

    def __init__(self, log: MemoryLog, name: str, writer: int) -> None:
        self._log, self._key = log, WriterKey(topic(name).number, 0, writer, INCARNATION)

    def append(self, rows: Rows, heap: Heap | None = None) -> None:
        first = self._log.last.get(self._key, 0) + 1
        self._log.append(Chunk(self._key, first, rows) if heap is None else Chunk(self._key, first, rows, heap))


class VenueSide:
    """The simulated venue's private half, and everybody else at its touch."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOW_MS * MS)
        self.trading = Trading(FREE, [RICH], self.clock)
        self._api = PrivateApi(
            self.trading.desk, cast(Algos, None), cast(UserStreams, None), FREE, lambda: self.clock.now_ns() // MS
        )

    def deepen(self) -> None:
        """Others put back what was taken at the touch."""
        book = self.trading.market.book
        for side, tick in ((Side.BUY, MIDDLE), (Side.SELL, MIDDLE + 1)):
            there = sum(lots for at, lots in book.depth(side, 1) if at == tick)
            book.place(side, CoreKind.LIMIT, 5_000 - there, tick)

    def answer(self, asked: Asked) -> Answered:
        """One signed request: the answer's body, and what the user stream says of it."""
        method, path, signed = asked
        document = self._api.execute(self._api.admit(Call(method, path, signed, "", PAPER_KEY)))
        body, events = orjson.dumps(document), [event.body for _, event in self.trading.events]
        self.trading.events.clear()
        return body, events

    def books(self) -> tuple[int, list[int]]:
        """How many orders it ever had, and the ids of all trades."""
        trades = self.trading.desk.trades[1]
        assert len(trades) < trades.maxlen  # type: ignore[operator]
        return len(self.trading.desk.orders), sorted(trade.trade_id for trade in trades)


def serve(pipe: Connection) -> None:
    """A `VenueSide` behind a pipe: many requests in one message, as many answers in the next."""
    venue = VenueSide()
    while (message := pipe.recv()) is not None:
        if message == "books":
            pipe.send(venue.books())
        elif message == "deepen":
            venue.deepen()
            gc.freeze()  # all its orders are kept: the collector must not walk them again and again
        else:
            now_ns, many = message
            venue.clock.advance_to(now_ns)
            pipe.send([venue.answer(asked) for asked in many])


class Gateway:
    """What a gateway writes and asks, for many commands at a time.

    Attributes:
        seconds: spent on `request` (making and signing it) and `rows` (raw rows), by the wall clock: the thread's own
            takes longer to read than a row to write.
    """

    def __init__(self, log: MemoryLog, clock: ManualClock, facts: InstrumentFacts) -> None:
        self._log, self._clock, self._facts, self._read = log, clock, facts, 0
        self._signer = Credentials(PAPER_KEY, HmacSigner(PAPER_SECRET), "paper").signer
        pen = Pen(log, "raw.frame.v1", connector_writer("binance_usdm_private", 0))
        self._rest, self._stream = (
            RawBatch(Venue.BINANCE_USDM, connection, pen.append)
            for connection in (PRIVATE_CONNECTION, STREAM_CONNECTION)
        )
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def commands(self) -> Iterator[Rows]:
        """Commands that are new, a millisecond's at a time."""
        keys = self._log.sequences(topic("oms.order_command.v1").number)
        for chunk in self._log.chunks(keys[0]) if keys else ():
            if chunk.row_first > self._read:
                for start in range(0, len(chunk.rows), PER_MS):
                    yield chunk.rows[start : start + PER_MS]
                self._read = chunk.row_last

    def ask(self, commands: Rows) -> tuple[list[Asked], list[str]]:
        """Signed requests, each of them written before it is sent; and the words that name them in the rows."""
        began, now_ns = time.perf_counter(), self._clock.now_ns()
        made: list[tuple[Asked, str, str]] = []
        for command in commands:
            request = request_of(command, self._facts)
            query = stamped_query(request, now_ns // MS, 5000)
            made.append(((request.method, request.path, signed_query(query, self._signer)), query, request.text))
        signed = time.perf_counter()
        for (method, path, _), query, words in made:
            self._rest.add(FrameKind.SENT, f"{method} {path}?{query}".encode(), 1, now_ns, 0, words)
            self._rest.flush()
        self.seconds["request"] += signed - began
        self.seconds["rows"] += time.perf_counter() - signed
        return [asked for asked, _, _ in made], [words for _, _, words in made]

    def take(self, answers: list[Answered], words: list[str]) -> None:
        """Write what came back, each answer as it comes, the user stream a millisecond at a time."""
        began, now_ns = time.perf_counter(), self._clock.now_ns()
        for (body, events), request in zip(answers, words, strict=True):
            self._rest.add(FrameKind.REST, body, 1, now_ns, 200, request)
            self._rest.flush()
            self._stream.add_texts(events, 1, now_ns)
        self._stream.flush()
        self.seconds["rows"] += time.perf_counter() - began


class Here:
    """The venue in this thread."""

    def __init__(self) -> None:
        self._venue, self._waiting = VenueSide(), deque[list[Answered]]()
        self.seconds = 0.0

    def send(self, now_ns: int, many: list[Asked]) -> None:
        began = time.perf_counter()
        self._venue.clock.advance_to(now_ns)
        self._waiting.append([self._venue.answer(asked) for asked in many])
        self.seconds += time.perf_counter() - began

    def receive(self) -> list[Answered]:
        return self._waiting.popleft()

    def deepen(self) -> None:
        self._venue.deepen()

    def books(self) -> tuple[int, list[int]]:
        return self._venue.books()

    def close(self) -> None:
        pass


class Away:
    """The venue in a process of its own."""

    def __init__(self) -> None:
        self._pipe, theirs = multiprocessing.get_context("spawn").Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        self.seconds = 0.0

    def send(self, now_ns: int, many: list[Asked]) -> None:
        self._pipe.send((now_ns, many))

    def receive(self) -> list[Answered]:
        began = time.perf_counter()
        answers: list[Answered] = self._pipe.recv()
        self.seconds += time.perf_counter() - began
        return answers

    def deepen(self) -> None:
        self._pipe.send("deepen")

    def books(self) -> tuple[int, list[int]]:
        self._pipe.send("books")
        found: tuple[int, list[int]] = self._pipe.recv()
        return found

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


class Chain:
    """All of it; `seconds` by station.

    Args:
        venue: where it is.
        ahead: rounds of requests that are under way at the venue while the next one is decided.
    """

    def __init__(self, venue: Here | Away, ahead: int = 0) -> None:
        self.venue, self._ahead = venue, ahead
        self._away: deque[deque[list[str]]] = deque()  # by round, by message: words of its requests
        self.log, self.clock = MemoryLog(), ManualClock(NOW_MS * MS)
        found = instruments(orjson.dumps(exchange_info(Venue.BINANCE_USDM, (BTC,), NOW_MS, 2400)), NOW_MS * MS)
        (facts,) = facts_of(found.rows, found.heap).values()
        self.gateway = Gateway(self.log, self.clock, facts)
        Pen(self.log, "ref.instrument.v1", pipeline("wire_binance_usdm").writer(0)).append(found.rows, found.heap)
        self._quotes = Pen(self.log, "md.quote.v1", pipeline("book").writer(0))
        self._asks = Pen(self.log, "oms.order_request.v1", OPERATOR_NUMBER * TASKS_MAX)
        self._limit()
        options = RunnerOptions(commit_interval_ns=0, quiet_interval_ns=0, poll_timeout_ns=0)
        self.runners: dict[str, Runner] = {
            name: memory_runner(self.log, pipeline(name), 0, make(), clock=self.clock, options=options)
            for name, make in RULES.items()
        }
        for runner in self.runners.values():
            runner.start()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.asked = 0
        self._resting = deque([np.zeros(0, dtype=np.int64)] * (1 + ahead))

    def _limit(self) -> None:
        limits = Texts(LIMIT)
        for reason, value in LIMITS.items():
            unit = unit_of(reason)
            limits.add(
                ts_recv_ns=NOW_MS * MS, value=value, who="bench", why="bench", subject=ACCOUNT, scope=Scope.ACCOUNT,
                currency=instrument_id("USDT") if unit is Unit.NOTIONAL_E8 else 0, reason=reason, unit=unit, active=1,
            )  # fmt: skip
        Pen(self.log, "ref.limit.v1", OPERATOR_NUMBER * TASKS_MAX).append(*limits.done())

    def quote(self) -> None:
        rows = QUOTE.empty(1)
        rows["ts_event_ns"] = rows["ts_recv_ns"] = self.clock.now_ns()
        rows["bid_price_e8"], rows["ask_price_e8"] = MIDDLE * BTC.tick_e8, (MIDDLE + 1) * BTC.tick_e8
        rows["bid_quantity_e8"] = rows["ask_quantity_e8"] = E8
        rows["instrument"], rows["trust"] = INSTRUMENT, Trust.SYNCED
        self._quotes.append(rows)

    def ask(self) -> None:
        """Half of the orders take, on one side a round; half rest, and those of a round before are cancelled."""
        rows = ORDER_REQUEST.empty(PER_ROUND)
        tags = self.asked + 1 + np.arange(PER_ROUND)
        takes = tags % 2 == 1
        rows["tag"], rows["side"] = tags, np.where(takes, self._side, tags // 2 % 2)
        self.asked += PER_ROUND
        buys = rows["side"] == Side.BUY
        behind = AWAY + tags % 64
        ticks = np.where(takes, np.where(buys, MIDDLE + 1, MIDDLE), np.where(buys, MIDDLE - behind, MIDDLE + behind))
        rows["time_in_force"] = np.where(takes, TimeInForce.IOC, TimeInForce.GTC)
        rows["price_e8"] = ticks * BTC.tick_e8
        rows["quantity_e8"] = LOTS * BTC.lot_e8
        leaving = self._resting.popleft()
        cancels = ORDER_REQUEST.empty(len(leaving))
        cancels["tag"], cancels["action"] = leaving, RequestAction.CANCEL
        self._resting.append(tags[~takes])
        both = np.concatenate([cancels, rows])
        now_ns = self.clock.now_ns()
        both["ts_event_ns"] = both["ts_recv_ns"] = now_ns
        both["valid_until_ns"] = now_ns + 5 * 10**9
        both["instrument"], both["account"], both["strategy"] = INSTRUMENT, ACCOUNT, OPERATOR
        self._asks.append(both)

    def round(self) -> None:
        """A round of orders to the venue, and the answers to the one that is `ahead` rounds before."""
        if self._turns:
            self.finish()  # what may still be filled must not be met by our own other side
        self.clock.advance_to(self.clock.now_ns() + ROUND_NS)
        self.venue.deepen()
        self.quote()
        self.ask()
        self._step("risk", "orders")
        self._send()
        if len(self._away) > self._ahead:
            self._hear()

    @property
    def _side(self) -> int:
        """On which the orders of this round take: in turns of as many rounds as leave the other side in peace."""
        return self.asked // PER_ROUND // (1 + TURN * self._ahead) % 2

    @property
    def _turns(self) -> bool:
        return self.asked // PER_ROUND % (1 + TURN * self._ahead) == 0

    def finish(self) -> None:
        """Hear what is still under way."""
        while self._away:
            self._hear()

    def _step(self, *names: str) -> None:
        for name in names:
            began = time.thread_time()
            self.runners[name].step()
            self.seconds[name] += time.thread_time() - began

    def _send(self) -> None:
        messages = deque[list[str]]()
        for commands in self.gateway.commands():
            many, words = self.gateway.ask(commands)
            self.venue.send(self.clock.now_ns(), many)
            messages.append(words)
        self._away.append(messages)

    def _hear(self) -> None:
        for words in self._away.popleft():
            self.gateway.take(self.venue.receive(), words)
        self._step("orders_binance_usdm", "orders", "positions", "risk")

    @property
    def rules_seconds(self) -> float:
        """Of the rules alone: what the venue does, and what is sent to it and heard of it, left out."""
        return sum(self.seconds.values())

    def rows(self, name: str) -> Rows:
        found = [self.log.rows(key) for key in self.log.sequences(topic(name).number)]
        rows: Rows = np.concatenate([topic(name).event.empty(), *found])
        return rows

    def check(self) -> dict[str, int]:
        """Every order is accounted for, at every station; raises AssertionError."""
        requests, decisions = self.rows("oms.order_request.v1"), self.rows("risk.decision.v1")
        assert len(decisions) == len(requests)
        assert not decisions["reasons"].any(), "an order was denied"
        orders, trades = self.venue.books()
        new = decisions[decisions["action"] == RequestAction.NEW]
        submits = self.rows("oms.order_command.v1")
        submits = submits[submits["command"] == 0]
        assert set(submits["order_id"].tolist()) == set(new["order_id"].tolist())
        assert len(submits) == len(new) == orders, "the venue has other orders than were approved"
        fills, reports = self.rows("oms.fill.v1"), self.rows("venue.report.v1")
        told = reports[reports["report"] == ReportKind.FILL]
        assert sorted(fills["trade_id"].tolist()) == trades
        assert set(told["trade_id"].tolist()) == set(fills["trade_id"].tolist())
        held = int((fills["quantity_e8"] * np.where(fills["side"] == Side.BUY, 1, -1)).sum())
        assert int(self.rows("acct.position.v1")["quantity_e8"][-1]) == held
        sums: Counter[int] = Counter()
        for asset, amount in self.rows("acct.posting.v1")[["asset", "amount_e8"]].tolist():
            sums[asset] += amount
        assert set(sums.values()) == {0}
        assert all(runner.stats.dead == 0 for runner in self.runners.values())
        return {"requests": len(requests), "orders": len(new), "fills": len(fills)}


def one_after_the_other() -> tuple[float, float, str]:
    """Best seconds of a round in one thread, the rules' part of it, and where the time goes."""
    chain, best, rules = Chain(Here()), float("inf"), float("inf")
    for number in range(ROUNDS):
        if number == WARM:
            chain.seconds.clear()
            chain.gateway.seconds.clear()
            chain.venue.seconds = 0.0
        gc.collect()
        gc.freeze()  # the log in memory keeps every row: the collector must not walk all of it again and again
        before = chain.rules_seconds
        began = time.thread_time()
        chain.round()
        if number >= WARM:
            best = min(best, time.thread_time() - began)
            rules = min(rules, chain.rules_seconds - before)
    gc.unfreeze()
    chain.check()
    share = (ROUNDS - WARM) * PER_ROUND / 1e6
    parts = {name: seconds / share for name, seconds in (chain.seconds | chain.gateway.seconds).items()}
    parts["the venue"] = chain.venue.seconds / share
    return best, rules, ", ".join(f"{name} {us:.0f}" for name, us in sorted(parts.items(), key=lambda part: -part[1]))


def side_by_side() -> tuple[float, dict[str, int], float]:
    """Seconds of all rounds by the wall clock, the venue in another process; what was counted; the share of the time
    that was spent waiting for it."""
    chain = Chain(Away(), ahead=1)
    try:
        for _ in range(WARM):
            chain.round()
        chain.finish()
        gc.collect()
        gc.freeze()
        chain.venue.seconds = 0.0
        began = time.perf_counter()
        for _ in range(SIDE_BY_SIDE):
            chain.round()
            gc.freeze()
        chain.finish()
        took = time.perf_counter() - began
        gc.unfreeze()
        waited = chain.venue.seconds / took
        return took, chain.check(), waited
    finally:
        chain.venue.close()


def run() -> list[Result]:
    """Orders a second, and where their time goes."""
    took, found, waited = min((side_by_side() for _ in range(TRIES)), key=lambda one: one[0])
    best, rules, profile = one_after_the_other()
    rate = PER_ROUND * SIDE_BY_SIDE / took
    return [
        Result(
            "orders a second through risk, orders, the simulated venue in a process of its own, its reports, positions "
            "and ledger; two cores, wall clock",
            round(rate), "orders/s", "", 0.0, f"≥ {GOAL:,} orders/s, nothing lost", rate >= GOAL,
            f"best of {TRIES} runs of {SIDE_BY_SIDE} rounds of {PER_ROUND} orders, half filled at once, half resting "
            f"and cancelled; {waited:.0%} of the time waiting for the venue; {found['requests']:,} requests = "
            f"decisions, {found['orders']:,} orders = the venue's, {found['fills']:,} fills = the venue's = positions, "
            "ledger sums to 0",
        ),
        Result(
            "the same, everything one after the other in one thread, CPU time",
            round(PER_ROUND / best), "orders/s", "", 0.0, "no goal of its own", True,
            f"best of {ROUNDS - WARM} rounds; µs an order over all rounds: {profile}",
        ),
        Result(
            "the same, only the rules' own part: risk, orders, private wire, positions",
            round(PER_ROUND / rules), "orders/s", "", 0.0, "no goal of its own", True,
            "the simulated venue, requests, signatures and raw rows left out",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    print_results(run())
