"""A gateway and its wire rule in one process: decided commands go out, what comes back is appended and made into rows.

    oms.order_command, ctl.switch ─▶ Commands ─▶ Gateway ─▶ raw rows (local log) ─▶ wire rule ─▶ venue.report …
    oms.order, acct.position, acct.balance ─▶ Ours ─▶ compared with the venue at every reconciliation ─▶ acct.difference

A command is carried out once over all lives of this process: every one of them leaves a row in our own raw log, before
it is sent or when it is refused, and a new life skips as many as it finds there. The same log says when the venue was
last heard, so that a new life asks for the trades since then.

A kill (`kills.py`) is carried out at once, beside everything else, and again after every start while it is in force. A
material difference, and processes that must live and do not (`deadman.py`), make this process kill its own account:
one row of ctl.switch, which risk reads too, and `shriven resume` lifts the first; the second ends by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from connectors.binance_usdm import orders as api
from connectors.binance_usdm.private_words import NOT_SENT, STREAM_CONNECTION
from connectors.capabilities import Exchange
from connectors.credentials import Credentials
from connectors.gateway import Gateway, GatewayOptions, command_text
from connectors.lease import FileLease
from connectors.reconciliation import Difference
from infra.process.connector import append_rows, raw_key
from infra.process.deadman import DEADMAN_S, MUST_LIVE, Deadman
from infra.process.gateway_rows import GatewayRows, Place, halts
from infra.process.kills import SWITCHES, Acknowledged, Clearing, Kill, Kills, acknowledgements, how_far
from infra.process.leases import lease_owner, lease_path
from infra.process.ours import PLACES, Comparison, Ours, behind
from infra.process.status import Status, fill_from_runners, merge_rows, read_all
from infra.sessions.readback import frames
from infra.sessions.rows_text import text
from infra.sessions.store import Session
from schemas.declare import Heap, Rows
from schemas.errors import BrokerUnavailable, WatchdogExpired
from schemas.events import FrameKind
from schemas.instruments import instrument_id, instrument_name
from schemas.trading import DifferenceKind, KillOutcome, ReportKind, Resolution
from streams.api import Chunk, Source, StartAt, TopicPartition, WriterKey
from streams.clock import SYSTEM_CLOCK
from streams.local import LocalReader
from streams.log import LogWriter
from streams.runner import Runner
from streams.topics import topic

log = logging.getLogger(__name__)
COMMANDS, REPORTS = topic("oms.order_command.v1"), topic("venue.report.v1")
POLL_NS = 20_000_000
OURS_POLL_NS = 50_000_000
WAIT_S = 0.05
LOOK_S = 0.5  # between two looks at who must live
AGAIN_S = 0.5  # a broker that is away is asked again
LEASE_PAUSE_S = 0.2
STOP_S = 3.0
OWNERS_MAX = 1 << 17
ASSETS = ("USDT", "USDC", "BTC", "ETH", "BNB")
TRADES_WORDS = f"GET {api.USER_TRADES} "
T = TypeVar("T")
MakeRunner = Callable[[int, frozenset[int]], Runner]  # task, writers that it reads


@dataclass(frozen=True)
class GatewaySettings:
    """What this process is told beside the gateway's own options.

    Attributes:
        service: its name.
        keys: file of API keys, for who has to take over; "" for the paper account.
        deadman_s: how long those that must live may stand still; 0: for ever.
        deadman_flatten: positions are closed then, too.
    """

    service: str = "gateway"
    keys: str = ""
    deadman_s: float = DEADMAN_S
    deadman_flatten: bool = False
    gateway: GatewayOptions = field(default_factory=GatewayOptions)


@dataclass(frozen=True)
class Sources:
    """Where it reads; closed by the process.

    Attributes:
        commands: oms.order_command.
        switches: ctl.switch and venue.report as this machine's log has them: a kill must not wait for a broker.
        ours: oms.order, acct.position, acct.balance.
    """

    commands: Source
    switches: Source
    ours: Source

    def close(self) -> None:
        for one in (self.commands, self.switches, self.ours):
            one.close()


class GatewayProcess:
    """Everything that runs in it.

    Args:
        make_runner: of the venue's private wire pipeline.
    """

    def __init__(
        self,
        session: Session,
        exchange: Exchange,
        credentials: Credentials,
        symbols: list[str],
        sources: Sources,
        make_runner: MakeRunner,
        settings: GatewaySettings,
    ) -> None:
        venue = exchange.venue
        self._session, self._sources, self._settings = session, sources, settings
        key = raw_key(f"{venue.label}_private", 0, session.incarnation)
        self._label = f"{venue.label}:{credentials.account}"
        self._account = instrument_id(self._label)
        self._instruments = {instrument_id(instrument_name(venue, symbol)): symbol for symbol in symbols}
        self._log = LogWriter(session.log, key)
        self._rows = GatewayRows(session.log, key.writer, session.incarnation, self._account, settings.service)
        life = earlier_life(session.log, key, symbols)
        self._done = life.handled
        self._kills = Kills(int(venue), self._account, self._instruments)
        earlier = defaultdict[int, list[Acknowledged]](list)
        for said in acknowledgements(session.log, session.incarnation):
            if said.account == self._account:
                earlier[said.kill_id].append(said)
        self._before = {kill_id: how_far(words) for kill_id, words in earlier.items()}
        self._halts = halts(session.log, session.incarnation, self._account)
        self._accepted: set[Place] = set()
        self._told: set[Place] = set()
        self._ours, self._ours_read = Ours(self._account), False
        self._owners: dict[int, tuple[int, int]] = {}  # of orders that this process was told to make
        self._to_clear: asyncio.Queue[Kill] = asyncio.Queue()
        self._stop = threading.Event()
        self._leaving = False
        self._beat_ns = 0
        self._lease = FileLease(lease_path(session, venue.label), lease_owner(session, os.getpid()))
        self._gateway: Gateway | None = None
        names = {number: instrument_name(venue, symbol) for number, symbol in self._instruments.items()}
        self._comparison = Comparison(
            self._ours.state, self._is_behind, self._instruments, self._on_differences, self._accepted,
            names | {instrument_id(asset): asset for asset in ASSETS},
        )  # fmt: skip
        self._make_gateway: Callable[[], Gateway] = lambda: Gateway(
            exchange, credentials, symbols, self._append, self._commands(), self._lease,
            refusal=self._why_not, compare=self._comparison, since_ns=life.heard_ns, options=settings.gateway,
        )  # fmt: skip
        self.runners = [make_runner(key.partition, frozenset({key.writer}))]
        self._deadman = Deadman(settings.deadman_s, (*MUST_LIVE, self.runners[0].engine.row.name))
        self.cleared: list[str] = []
        self._facts = {
            "venue": venue.label, "account": self._label, "symbols": list(symbols), "ws_url": exchange.ws_url,
            "rest_url": exchange.rest_url, "keys": settings.keys, "live": settings.gateway.live,
        }  # fmt: skip

    def run(self, stop: threading.Event) -> None:
        """Trade until asked to stop, then let the rule take everything that was heard.

        Raises:
            ShrivenError: what ended the gateway or the rule.
        """
        deaf = threading.Event()
        runner = self.runners[0]
        with ThreadPoolExecutor(1, thread_name_prefix="rule") as pool:
            ruling = pool.submit(runner.run, lambda: deaf.is_set() and runner.caught_up())
            try:
                while (wait_ns := self._lease.acquire(SYSTEM_CLOCK.now_ns())) > 0 and not stop.is_set():
                    self._beat_ns = SYSTEM_CLOCK.now_ns()
                    stop.wait(min(LEASE_PAUSE_S, wait_ns / 1e9))
                while runner.stats.state != "running" and not ruling.done() and not stop.is_set():
                    stop.wait(WAIT_S)
                asyncio.run(self._trade(stop, ruling.done))
            finally:
                self._stop.set()
                deaf.set()
                wait([ruling])
                self._sources.close()
                self._rows.close()
                self._log.close()
        ruling.result()

    def fill(self, status: Status) -> None:
        """The fields of its status that only it knows."""
        fill_from_runners(status, self.runners)
        status.written = merge_rows([status.written, {self._log.key: self._log.last_row}, self._rows.last_rows()])
        status.beat_ns = self._beat_ns
        status.facts = {**self._facts, "kills": list(self.cleared)}
        gateway = self._gateway
        if gateway is not None:
            said = gateway.status
            status.detail = said.halted or ("ready" if said.ready else "not ready") + f" {said.last_trouble}".rstrip()
            status.facts |= {
                "sent": said.sent, "refused": said.refused, "unanswered": said.unanswered, "ready": said.ready,
                "halted": said.halted, "reconciliations": said.reconciliations,
                "in_force": [kill.kill_id for kill in self._kills.in_force()], "watches": self._deadman.watched,
            }  # fmt: skip

    # --- Its life.

    async def _trade(self, stop: threading.Event, ended: Callable[[], bool]) -> None:
        self._open_switches()
        gateway = self._gateway = self._make_gateway()
        running = asyncio.create_task(gateway.run())
        helpers = [
            asyncio.create_task(work) for work in (self._clear(gateway), self._follow_ours(), self._watch_the_living())
        ]
        while not stop.is_set() and not ended() and not any(task.done() for task in (running, *helpers)):
            self._beat_ns = SYSTEM_CLOCK.now_ns()
            self._read_switches()
            await asyncio.wait((running, *helpers), timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set() and gateway.status.ready:
            await self._leave_nothing()
        self._stop.set()
        gateway.stop()
        for task in helpers:
            task.cancel()
        results = await asyncio.gather(running, *helpers, return_exceptions=True)
        for failed in results:
            if isinstance(failed, BaseException) and not isinstance(failed, asyncio.CancelledError):
                raise failed

    async def _leave_nothing(self) -> None:
        """An ordered stop leaves no order behind; the venue's countdown is there for the rest."""
        assert self._gateway is not None
        self._leaving = True
        try:
            cancelled = await self._gateway.cancel_all(STOP_S)
            self.cleared.append(f"stop: no order open after {cancelled.took_ns / 1e6:.0f} ms")
        except WatchdogExpired as error:
            self.cleared.append(f"stop: {error}")

    # --- Kills.

    def _open_switches(self) -> None:
        """Everything that was ever pressed, before anything is sent; reports only from now on."""
        reader = LocalReader(self._session.log, self._session.incarnation)
        reported = {key: _last_row(reader, key) for key in reader.keys(REPORTS.number)}
        place = TopicPartition(SWITCHES.number, 0)
        self._sources.switches.assign([place, TopicPartition(REPORTS.number, 0)], StartAt({}, reported))
        while not self._sources.switches.at_end(place):
            self._read_switches()

    def _read_switches(self) -> None:
        for chunk in self._sources.switches.poll(0):
            if chunk.key.topic == REPORTS.number:
                self._take_reports(chunk)
                continue
            fresh, _ = self._kills.take(chunk.rows, chunk.heap)
            for kill in fresh:
                self._to_clear.put_nowait(kill)
            self._accept_lifted()

    def _accept_lifted(self) -> None:
        """A resume after a difference: it stands from now on."""
        for kill_id in self._halts.keys() & self._kills.lifted:
            places = self._halts.pop(kill_id)
            self._accepted |= places
            if self._gateway is not None and not self._halts:
                self._gateway.resume()

    async def _clear(self, gateway: Gateway) -> None:
        clearing = Clearing(
            gateway.rest, self._kills, self._account, self._settings.service, self._instruments, self._acknowledge,
            self._owner, self._holdings, self._is_behind,
        )  # fmt: skip
        while True:
            kill = await self._to_clear.get()
            if self._kills.is_on(kill.kill_id):
                await clearing.carry_out(kill, self._before.get(kill.kill_id))
                self._before[kill.kill_id] = KillOutcome.CANCELLED

    def _acknowledge(self, said: Acknowledged) -> None:
        self._rows.acknowledge(said)
        self.cleared.append(f"{said.kill_id}: {said.words()}")

    def _owner(self, order_id: int) -> tuple[int, int] | None:
        return self._owners.get(order_id) or self._ours.owner(order_id)

    async def _holdings(self, strategy: int) -> dict[str, int] | None:
        if not self._ours_read:
            return None
        held = self._ours.state().positions_e8
        return {
            self._instruments[instrument]: amount
            for (whose, instrument), amount in held.items()
            if whose == strategy and instrument in self._instruments
        }

    # --- Who must live.

    async def _watch_the_living(self) -> None:
        who, words = self._settings.service, "dead-man's lease: nothing moves in "
        fired = next((kill for kill in self._kills.in_force() if kill.who == who and words in kill.why), None)
        kill_id, whose = (fired.kill_id, fired.why.removeprefix(words).split(", ")) if fired else (0, [])
        while True:
            await asyncio.sleep(LOOK_S)
            missing = self._deadman.missing(self._statuses(), SYSTEM_CLOCK.now_ns())
            if missing and not kill_id:
                whose = missing
                kill_id = self._rows.press(words + ", ".join(missing), flatten=self._settings.deadman_flatten)
                log.warning("nothing moves in %s: kill %d", ", ".join(missing), kill_id)
            elif kill_id and not missing and set(whose) <= set(self._deadman.watched):
                if self._kills.is_on(kill_id):
                    self._rows.lift(kill_id, "they are back")
                kill_id = 0

    def _statuses(self) -> list[Status]:
        return list(read_all(self._session.status).values())

    # --- Differences.

    async def _follow_ours(self) -> None:
        """Keep our own state as our rows have it."""
        await _patiently(lambda: self._sources.ours.assign(PLACES, StartAt({}, {})))
        while True:
            self._ours.take(await _patiently(lambda: self._sources.ours.poll(OURS_POLL_NS)))
            self._ours_read = self._ours_read or all(self._sources.ours.at_end(place) for place in PLACES)

    def _is_behind(self) -> str:
        if not self._ours_read:
            return "our own rows have not been read to their end"
        own = Status(self._settings.service)
        self.fill(own)
        return behind(self._ours.rows, own, self._statuses())

    def _on_differences(self, found: Sequence[Difference]) -> None:
        """Rows of what is new; what is material kills the account."""
        fresh = [one for one in found if one.place not in self._told]
        self._told = {one.place for one in found}
        halted = set().union(*self._halts.values()) if self._halts else set[Place]()
        material = [one for one in fresh if one.material and one.place not in halted]
        kill_id = 0
        if material:
            kill_id = self._rows.press("reconciliation: " + "; ".join(one.text for one in material))
            self._halts[kill_id] = {one.place for one in material}
        if said := [one for one in fresh if not one.material or one in material]:
            self._rows.differ(said, kill_id)

    def _take_reports(self, chunk: Chunk) -> None:
        """A fill of somebody else's order in our account: said at once, and the positions are looked at."""
        fills = chunk.rows[(chunk.rows["report"] == ReportKind.FILL) & (chunk.rows["order_id"] == 0)]
        for row in fills:
            instrument, venue_id = int(row["instrument"]), int(row["venue_order_id"])
            name = self._instruments.get(instrument, f"#{instrument}")
            words = f"fill {int(row['trade_id'])} in {name} of order {venue_id}, which is none of ours"
            found = Difference(
                DifferenceKind.FILL, instrument, 0, int(row["quantity_e8"]), Resolution.FOREIGN, words, -venue_id
            )
            log.warning("%s", words)
            self._rows.differ([found], 0)
        if len(fills) and self._gateway is not None:
            self._gateway.look_again()

    # --- Commands.

    def _why_not(self, command: np.void) -> str:
        """Asked right before a new or changed order is sent."""
        return "the gateway is stopping" if self._leaving else self._kills.reason(command)

    def _append(self, rows: Rows, heap: Heap) -> None:
        append_rows(self._log, rows, heap)

    async def _commands(self) -> AsyncIterator[Rows]:
        """Those that no earlier life of this process has carried out."""
        source = self._sources.commands
        await _patiently(lambda: source.assign([TopicPartition(COMMANDS.number, 0)], StartAt({}, {})))
        seen: dict[WriterKey, int] = {}
        while not self._stop.is_set():
            for chunk in await _patiently(lambda: source.poll(POLL_NS)):
                new = max(0, seen.get(chunk.key, 0) + 1 - chunk.row_first)
                seen[chunk.key] = max(seen.get(chunk.key, 0), chunk.row_last)
                if len(fresh := self._fresh(chunk.rows[new:])):
                    yield fresh

    def _fresh(self, rows: Rows) -> Rows:
        keep = np.ones(len(rows), dtype=np.bool_)
        for index, row in enumerate(rows):
            self._remember(int(row["order_id"]), (int(row["strategy"]), int(row["instrument"])))
            words = command_text(row)
            if self._done[words] > 0:
                self._done[words] -= 1
                keep[index] = False
        return rows[keep]

    def _remember(self, order_id: int, owner: tuple[int, int]) -> None:
        self._owners.setdefault(order_id, owner)
        if len(self._owners) > OWNERS_MAX:
            del self._owners[next(iter(self._owners))]


async def _patiently(ask: Callable[[], T]) -> T:
    """In another thread; a broker that is away is waited for: a gateway that trades nothing can still be killed."""
    while True:
        try:
            return await asyncio.to_thread(ask)
        except BrokerUnavailable as error:
            log.warning("%s", error)
            await asyncio.sleep(AGAIN_S)


def _last_row(reader: LocalReader, key: WriterKey) -> int:
    last = 0
    for chunk in reader.chunks(key):
        last = chunk.row_last
    return last


@dataclass
class EarlierLife:
    """What our own raw log says of the lives before.

    Attributes:
        handled: how often each request was sent or refused, by its words.
        heard_ns: until when nothing of what happened was missed; 0: never. After every opening of the user stream
            that is only certain once the trades of every symbol were asked for and answered; from then on every
            word of the stream says that nothing before it is missing.
    """

    symbols: frozenset[str]
    handled: Counter[str] = field(default_factory=Counter)
    heard_ns: int = 0
    _in_flight: set[str] = field(default_factory=set)
    _asked_ns: dict[str, int] = field(default_factory=dict)  # per request of trades that is in flight
    _answered_ns: dict[str, int] = field(default_factory=dict)  # per symbol, since the stream opened

    def take(self, kind: int, connection: int, status: int, at_ns: int, words: str) -> None:
        """One raw row."""
        if connection == STREAM_CONNECTION:
            if kind == FrameKind.TEXT and self.symbols <= self._answered_ns.keys():
                self.heard_ns = max(self.heard_ns, at_ns)
            elif kind == FrameKind.OPEN:
                self._answered_ns.clear()
        elif kind == FrameKind.CLOSE:  # a process began
            self._answered_ns.clear()
            self._asked_ns.clear()
        elif kind == FrameKind.SENT:
            self._in_flight.add(words)
            self.handled[words] += 1
            if words.startswith(TRADES_WORDS):
                self._asked_ns[words] = at_ns
        elif kind in (FrameKind.REST, FrameKind.NO_ANSWER) and words in self._in_flight:
            self._in_flight.discard(words)  # what became of an attempt, also that it never left
            if status == api.HTTP_OK and (asked_ns := self._asked_ns.pop(words, 0)):
                self._trades_answered(words.removeprefix(TRADES_WORDS), asked_ns)
        elif kind == FrameKind.NO_ANSWER and status == NOT_SENT:
            self.handled[words] += 1

    def _trades_answered(self, symbol: str, asked_ns: int) -> None:
        self._answered_ns[symbol] = asked_ns
        if self.symbols <= self._answered_ns.keys():
            self.heard_ns = max(self.heard_ns, min(self._answered_ns.values()))


def earlier_life(root: Path, key: WriterKey, symbols: Sequence[str]) -> EarlierLife:
    """Read it."""
    life = EarlierLife(frozenset(symbols))
    for frame in frames(root, key):
        rows = frame.rows
        for index, kind in enumerate(rows["kind"].tolist()):
            words = text(rows, frame.heap, "request", index) if rows["request_size"][index] else ""
            life.take(
                kind, int(rows["connection"][index]), int(rows["status"][index]), int(rows["ts_recv_ns"][index]), words
            )
    return life
