"""A gateway and its wire rule in one process: decided commands go out, what comes back is appended and made into rows.

    oms.order_command, ctl.switch ─▶ Commands ─▶ Gateway ─▶ raw rows (local log) ─▶ wire rule ─▶ venue.report …

A command is carried out once over all lives of this process: every one of them leaves a row in our own raw log, before
it is sent or when it is refused, and a new life skips as many as it finds there.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from connectors.binance_usdm.private_wire import NOT_SENT
from connectors.capabilities import Exchange
from connectors.credentials import Credentials
from connectors.gateway import Gateway, GatewayOptions, command_text
from connectors.lease import FileLease
from infra.process.connector import append_rows, raw_key
from infra.process.status import Status, fill_from_runners, merge_rows
from infra.sessions.readback import frames
from infra.sessions.rows_text import text
from infra.sessions.store import Session
from schemas.declare import Heap, Rows
from schemas.errors import WatchdogExpired
from schemas.events import FrameKind
from schemas.instruments import instrument_id
from schemas.trading import Scope
from streams.api import Source, StartAt, TopicPartition, WriterKey
from streams.clock import SYSTEM_CLOCK
from streams.log import LogWriter
from streams.runner import Runner
from streams.topics import topic

COMMANDS, SWITCHES = topic("oms.order_command.v1"), topic("ctl.switch.v1")
POLL_NS = 20_000_000
WAIT_S = 0.05
LEASE_PAUSE_S = 0.2
STOP_S = 3.0
MakeRunner = Callable[[int, frozenset[int]], Runner]


class Switches:
    """Kills in force. A resume lifts the kill that it names."""

    def __init__(self, venue: int, account: int) -> None:
        self._venue, self._account = venue, account
        self._on: dict[tuple[int, int], set[int]] = {}

    def take(self, rows: Rows) -> list[np.void]:
        """Remember them; returns the kills among them."""
        kills = []
        for row in rows:
            place = (int(row["scope"]), int(row["subject"]))
            if row["on"]:
                self._on.setdefault(place, set()).add(int(row["kill_id"]))
                kills.append(row.copy())
            else:
                self._on.get(place, set()).discard(int(row["kill_id"]))
        return kills

    def reason(self, command: np.void) -> str:
        """Why a command must not go; "" when it may."""
        for scope, subject in (
            (Scope.GLOBAL, 0), (Scope.VENUE, self._venue), (Scope.ACCOUNT, self._account),
            (Scope.STRATEGY, int(command["strategy"])), (Scope.INSTRUMENT, int(command["instrument"])),
        ):  # fmt: skip
            if self._on.get((scope, subject)):
                return f"the kill switch of scope {scope.name} is on"
        return ""

    def concerns(self, kill: np.void) -> bool:
        """Whether a kill is about everything of this account: then the venue is cleared without asking anybody."""
        place = (int(kill["scope"]), int(kill["subject"]))
        return place in ((Scope.GLOBAL, 0), (Scope.VENUE, self._venue), (Scope.ACCOUNT, self._account))


class GatewayProcess:
    """Everything that runs in it.

    Args:
        commands, switches: sources of oms.order_command, and of ctl.switch as this machine's log has it: a kill must
            not wait for a broker. Closed here.
        make_runner: of the venue's private wire pipeline.
    """

    def __init__(
        self,
        session: Session,
        exchange: Exchange,
        credentials: Credentials,
        symbols: list[str],
        commands: Source,
        switches: Source,
        make_runner: MakeRunner,
        options: GatewayOptions,
    ) -> None:
        venue = exchange.venue
        self._session, self._source, self._switch_source = session, commands, switches
        key = raw_key(f"{venue.label}_private", 0, session.incarnation)
        self._log = LogWriter(session.log, key)
        self._done = handled(session.log, key)
        self._switches = Switches(int(venue), instrument_id(f"{venue.label}:{credentials.account}"))
        self._stop = threading.Event()
        self._leaving = False
        self._lease = FileLease(session.root / f"lease-{venue.label}.json", f"{session.name}/{os.getpid()}")
        self._gateway: Gateway | None = None
        self._make_gateway: Callable[[], Gateway] = lambda: Gateway(
            exchange, credentials, symbols, self._append, self._commands(), self._lease,
            refusal=self._why_not, options=options,
        )  # fmt: skip
        self.runners = [make_runner(key.partition, frozenset({key.writer}))]
        self._label = f"{venue.label}:{credentials.account}"
        self.cleared: list[str] = []

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
                    stop.wait(min(LEASE_PAUSE_S, wait_ns / 1e9))
                while runner.stats.state != "running" and not ruling.done() and not stop.is_set():
                    stop.wait(WAIT_S)
                asyncio.run(self._trade(stop, ruling.done))
            finally:
                self._stop.set()
                deaf.set()
                wait([ruling])
                self._source.close()
                self._switch_source.close()
                self._log.close()
        ruling.result()

    def fill(self, status: Status) -> None:
        """The fields of its status that only it knows."""
        fill_from_runners(status, self.runners)
        status.written = merge_rows([status.written, {self._log.key: self._log.last_row}])
        gateway = self._gateway
        if gateway is not None:
            said = gateway.status
            status.detail = said.halted or ("ready" if said.ready else "not ready") + f" {said.last_trouble}".rstrip()
            status.facts = {
                "account": self._label, "sent": said.sent, "refused": said.refused, "unanswered": said.unanswered,
                "ready": said.ready, "reconciliations": said.reconciliations, "kills": list(self.cleared),
            }  # fmt: skip

    async def _trade(self, stop: threading.Event, ended: Callable[[], bool]) -> None:
        self._gateway = self._make_gateway()
        running = asyncio.create_task(self._gateway.run())
        self._switch_source.assign([TopicPartition(SWITCHES.number, 0)], StartAt({}, {}))
        while not stop.is_set() and not ended() and not running.done():
            for chunk in self._switch_source.poll(0):
                for kill in self._switches.take(chunk.rows):
                    if self._switches.concerns(kill):
                        await self._clear(kill)
            await asyncio.wait((running,), timeout=WAIT_S)
        if stop.is_set() and self._gateway.status.ready:
            await self._leave_nothing()
        self._stop.set()
        self._gateway.stop()
        await running

    async def _leave_nothing(self) -> None:
        """An ordered stop leaves no order behind; the venue's countdown is there for the rest."""
        assert self._gateway is not None
        self._leaving = True
        try:
            cancelled = await self._gateway.cancel_all(STOP_S)
            self.cleared.append(f"stop: no order open after {cancelled.took_ns / 1e6:.0f} ms")
        except WatchdogExpired as error:
            self.cleared.append(f"stop: {error}")

    async def _clear(self, kill: np.void) -> None:
        """A kill of the whole account: nobody is asked, the venue is cleared, and how long it took is said."""
        assert self._gateway is not None
        if kill["flatten"]:
            flat = await self._gateway.flatten()
            words = f"cancelled after {flat.cancelled_ns / 1e6:.0f} ms, flat after {flat.took_ns / 1e6:.0f} ms"
        else:
            words = f"cancelled after {(await self._gateway.cancel_all()).took_ns / 1e6:.0f} ms"
        self.cleared.append(f"{int(kill['kill_id'])}: {words}")

    def _why_not(self, command: np.void) -> str:
        """Asked right before a new or changed order is sent."""
        return "the gateway is stopping" if self._leaving else self._switches.reason(command)

    def _append(self, rows: Rows, heap: Heap) -> None:
        append_rows(self._log, rows, heap)

    async def _commands(self) -> AsyncIterator[Rows]:
        """Those that no earlier life of this process has carried out."""
        await asyncio.to_thread(self._source.assign, [TopicPartition(COMMANDS.number, 0)], StartAt({}, {}))
        seen: dict[WriterKey, int] = {}
        while not self._stop.is_set():
            for chunk in await asyncio.to_thread(self._source.poll, POLL_NS):
                new = max(0, seen.get(chunk.key, 0) + 1 - chunk.row_first)
                seen[chunk.key] = max(seen.get(chunk.key, 0), chunk.row_last)
                if len(fresh := self._fresh(chunk.rows[new:])):
                    yield fresh

    def _fresh(self, rows: Rows) -> Rows:
        keep = np.ones(len(rows), dtype=np.bool_)
        for index, row in enumerate(rows):
            words = command_text(row)
            if self._done[words] > 0:
                self._done[words] -= 1
                keep[index] = False
        return rows[keep]


def handled(root: Path, key: WriterKey) -> Counter[str]:
    """How often each request was sent or refused, by its words, as our own raw log has it."""
    found: Counter[str] = Counter()
    in_flight: set[str] = set()
    for frame in frames(root, key):
        for index, kind in enumerate(frame.rows["kind"].tolist()):
            if kind not in (FrameKind.SENT, FrameKind.REST, FrameKind.NO_ANSWER):
                continue
            words = text(frame.rows, frame.heap, "request", index)
            refused = kind == FrameKind.NO_ANSWER and frame.rows["status"][index] == NOT_SENT
            if kind == FrameKind.SENT:
                in_flight.add(words)
                found[words] += 1
            elif words in in_flight:  # what became of an attempt, also that it never left
                in_flight.discard(words)
            elif refused:
                found[words] += 1
    return found
