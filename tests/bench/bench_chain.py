"""Orders through the whole chain: request → risk → orders → venue → reports → positions and ledger, nothing lost.

The rules run in real Runners over the transport in memory, one after the other in one thread: what is measured is
their sum on one core. Between orders and the private wire stands `Desk`: it does with every command what the gateway
does (attempt row, signature, answer row) and asks the simulated venue's private half, without HTTP and sockets. What
the user stream says is handed over once a millisecond, as its session does, at the pace of the goal: ten commands.
A round is what runners commit at once on a broker at that pace: 20 ms (`RunnerOptions.commit_interval_ns`).
"""

from __future__ import annotations

import gc
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any, cast

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


class Pen:
    """Appends to one sequence of the log."""

    def __init__(self, log: MemoryLog, name: str, writer: int) -> None:
        self._log, self._key = log, WriterKey(topic(name).number, 0, writer, INCARNATION)

    def append(self, rows: Rows, heap: Heap | None = None) -> None:
        first = self._log.last.get(self._key, 0) + 1
        self._log.append(Chunk(self._key, first, rows) if heap is None else Chunk(self._key, first, rows, heap))


class Desk:
    """Carries commands out at the venue, and writes what a gateway writes.

    Attributes:
        seconds: spent on `request` (making and signing it), `venue` (its private half), `rows` (raw rows), by the wall
            clock: the thread's own takes longer to read than a row to write.
    """

    def __init__(self, log: MemoryLog, clock: ManualClock, facts: InstrumentFacts) -> None:
        self._log, self._clock, self._facts, self._read = log, clock, facts, 0
        self.trading = Trading(FREE, [RICH])
        self.trading.clock = clock
        self.trading.desk._clock = clock
        self._api = PrivateApi(
            self.trading.desk, cast(Algos, None), cast(UserStreams, None), FREE, lambda: clock.now_ns() // MS
        )
        self._signer = Credentials(PAPER_KEY, HmacSigner(PAPER_SECRET), "paper").signer
        pen = Pen(log, "raw.frame.v1", connector_writer("binance_usdm_private", 0))
        self._rest, self._stream = (
            RawBatch(Venue.BINANCE_USDM, connection, pen.append)
            for connection in (PRIVATE_CONNECTION, STREAM_CONNECTION)
        )
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def deepen(self) -> None:
        """Others put back what was taken at the touch."""
        book = self.trading.market.book
        for side, tick in ((Side.BUY, MIDDLE), (Side.SELL, MIDDLE + 1)):
            there = sum(lots for at, lots in book.depth(side, 1) if at == tick)
            book.place(side, CoreKind.LIMIT, 5_000 - there, tick)

    def step(self) -> None:
        """Carry out every command that is new."""
        commands = next((key for key in self._log.sequences(topic("oms.order_command.v1").number)), None)
        if commands is None:
            return
        for chunk in self._log.chunks(commands):
            if chunk.row_first > self._read:
                for number, command in enumerate(chunk.rows, 1):
                    self._carry_out(command)
                    if number % PER_MS == 0:
                        self._hand_over()
                self._read = chunk.row_last
        self._hand_over()

    def _hand_over(self) -> None:
        """What the user stream said: its session hands it over a millisecond after the first message."""
        began = time.perf_counter()
        self._stream.flush()
        self.seconds["rows"] += time.perf_counter() - began

    def _carry_out(self, command: np.void) -> None:
        began = time.perf_counter()
        request, now_ns = request_of(command, self._facts), self._clock.now_ns()
        words = request.text
        query = stamped_query(request, now_ns // MS, 5000)
        signed = signed_query(query, self._signer)
        asked = time.perf_counter()
        call = Call(request.method, request.path, signed, "", PAPER_KEY)
        document = self._api.execute(self._api.admit(call))
        body, events = orjson.dumps(document), [event.body for _, event in self.trading.events]
        self.trading.events.clear()
        answered = time.perf_counter()
        self._rest.add(FrameKind.SENT, f"{request.method} {request.path}?{query}".encode(), 1, now_ns, 0, words)
        self._rest.add(FrameKind.REST, body, 1, now_ns, 200, words)
        self._rest.flush()
        if events:
            self._stream.add_texts(events, 1, now_ns)
        written = time.perf_counter()
        seconds = self.seconds
        seconds["request"] += asked - began
        seconds["venue"] += answered - asked
        seconds["rows"] += written - answered


class Chain:
    """All of it; `seconds` by station."""

    def __init__(self) -> None:
        self.log, self.clock = MemoryLog(), ManualClock(NOW_MS * MS)
        found = instruments(orjson.dumps(exchange_info(Venue.BINANCE_USDM, (BTC,), NOW_MS, 2400)), NOW_MS * MS)
        (facts,) = facts_of(found.rows, found.heap).values()
        self.desk = Desk(self.log, self.clock, facts)
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
        self.asked, self._resting = 0, np.zeros(0, dtype=np.int64)

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
        """Half of the orders take, on one side a round; half rest, and those of the round before are cancelled."""
        rows = ORDER_REQUEST.empty(PER_ROUND)
        tags = self.asked + 1 + np.arange(PER_ROUND)
        self.asked += PER_ROUND
        takes = tags % 2 == 1
        rows["tag"], rows["side"] = tags, np.where(takes, self.asked // PER_ROUND % 2, tags // 2 % 2)
        buys = rows["side"] == Side.BUY
        behind = AWAY + tags % 64
        ticks = np.where(takes, np.where(buys, MIDDLE + 1, MIDDLE), np.where(buys, MIDDLE - behind, MIDDLE + behind))
        rows["time_in_force"] = np.where(takes, TimeInForce.IOC, TimeInForce.GTC)
        rows["price_e8"] = ticks * BTC.tick_e8
        rows["quantity_e8"] = LOTS * BTC.lot_e8
        cancels = ORDER_REQUEST.empty(len(self._resting))
        cancels["tag"], cancels["action"] = self._resting, RequestAction.CANCEL
        self._resting = tags[~takes]
        both = np.concatenate([cancels, rows])
        now_ns = self.clock.now_ns()
        both["ts_event_ns"] = both["ts_recv_ns"] = now_ns
        both["valid_until_ns"] = now_ns + 5 * 10**9
        both["instrument"], both["account"], both["strategy"] = INSTRUMENT, ACCOUNT, OPERATOR
        self._asks.append(both)

    def round(self) -> None:
        """A round of orders, until nobody has anything left to do."""
        self.clock.advance_to(self.clock.now_ns() + ROUND_NS)
        self.desk.deepen()
        self.quote()
        self.ask()
        for name in ("risk", "orders", "venue", "orders_binance_usdm", "orders", "positions", "risk"):
            began = time.thread_time()
            if name == "venue":
                self.desk.step()
            else:
                self.runners[name].step()
            self.seconds[name] += time.thread_time() - began

    @property
    def rules_seconds(self) -> float:
        """Of the rules alone: what the venue does, and what is sent to it and heard of it, left out."""
        return sum(seconds for name, seconds in self.seconds.items() if name != "venue")

    def rows(self, name: str) -> Rows:
        found = [self.log.rows(key) for key in self.log.sequences(topic(name).number)]
        rows: Rows = np.concatenate([topic(name).event.empty(), *found])
        return rows

    def check(self) -> dict[str, int]:
        """Every order is accounted for, at every station; raises AssertionError."""
        requests, decisions = self.rows("oms.order_request.v1"), self.rows("risk.decision.v1")
        assert len(decisions) == len(requests)
        assert not decisions["reasons"].any(), "an order was denied"
        desk = self.desk.trading.desk
        new = decisions[decisions["action"] == RequestAction.NEW]
        submits = self.rows("oms.order_command.v1")
        submits = submits[submits["command"] == 0]
        assert set(submits["order_id"].tolist()) == set(new["order_id"].tolist())
        assert len(submits) == len(new) == len(desk.orders), "the venue has other orders than were approved"
        trades, fills, reports = desk.trades[1], self.rows("oms.fill.v1"), self.rows("venue.report.v1")
        told = reports[reports["report"] == ReportKind.FILL]
        assert len(trades) < trades.maxlen  # type: ignore[operator]
        assert sorted(fills["trade_id"].tolist()) == sorted(trade.trade_id for trade in trades)
        assert set(told["trade_id"].tolist()) == set(fills["trade_id"].tolist())
        held = int((fills["quantity_e8"] * np.where(fills["side"] == Side.BUY, 1, -1)).sum())
        assert int(self.rows("acct.position.v1")["quantity_e8"][-1]) == held
        sums: Counter[int] = Counter()
        for asset, amount in self.rows("acct.posting.v1")[["asset", "amount_e8"]].tolist():
            sums[asset] += amount
        assert set(sums.values()) == {0}
        assert all(runner.stats.dead == 0 for runner in self.runners.values())
        return {"requests": len(requests), "orders": len(new), "fills": len(fills)}


def run() -> list[Result]:
    """Orders a second, and where their time goes."""
    chain, best, rules = Chain(), float("inf"), float("inf")
    for number in range(ROUNDS):
        if number == WARM:
            chain.seconds.clear()
            chain.desk.seconds.clear()
        gc.collect()
        gc.freeze()  # the log in memory keeps every row: the collector must not walk all of it again and again
        before = chain.rules_seconds
        began = time.thread_time()
        chain.round()
        if number >= WARM:
            best = min(best, time.thread_time() - began)
            rules = min(rules, chain.rules_seconds - before)
    gc.unfreeze()
    found = chain.check()
    share = (ROUNDS - WARM) * PER_ROUND / 1e6
    parts: dict[str, Any] = {name: seconds / share for name, seconds in chain.seconds.items() if name != "venue"}
    parts |= {f"{name} of the venue's side": seconds / share for name, seconds in chain.desk.seconds.items()}
    profile = ", ".join(f"{name} {us:.0f}" for name, us in sorted(parts.items(), key=lambda part: -part[1]))
    rate = PER_ROUND / best
    return [
        Result(
            "orders a second through risk, orders, the simulated venue, its reports, positions and ledger; one core",
            round(rate), "orders/s", "", 0.0, f"≥ {GOAL:,} orders/s, nothing lost", rate >= GOAL,
            f"best of {ROUNDS - WARM} rounds of {PER_ROUND} orders, half filled at once, half resting and cancelled; "
            f"µs an order over all rounds: {profile}; {found['requests']:,} requests = decisions, {found['orders']:,} "
            f"orders = the venue's, {found['fills']:,} fills = the venue's = positions, ledger sums to 0",
        ),
        Result(
            "the same orders, only the rules' own part: risk, orders, private wire, positions; one core",
            round(PER_ROUND / rules), "orders/s", "", 0.0, "no goal of its own", True,
            "the simulated venue, requests, signatures and raw rows left out",
        ),
    ]  # fmt: skip


if __name__ == "__main__":
    print_results(run())
