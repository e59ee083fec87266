"""Kills carried out without the gateway: by the process that takes over from one that hangs or has died.

Cancels go at once: they need no lease. What closes positions takes the lease over first, so that a gateway that is not
dead after all is fenced at its next order, and flat is said only after everything that it may have sent is past its
validity. A kill of one strategy reads our own rows first: they say what is its. What is asked and answered goes into
raw rows of its own, as evidence; the books learn of it from the next reconciliation of a gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from connectors.credentials import Credentials, load_credentials
from connectors.emergency import cancel_all, executed
from connectors.lease import FileLease
from connectors.private_rest import PrivateRest
from connectors.rest import is_loopback
from connectors.signing import HmacSigner
from connectors.simulator.private_config import PAPER_KEY, PAPER_SECRET
from connectors.venues import venue_parts
from infra import steering
from infra.process.connector import append_rows, raw_key
from infra.process.kills import (
    ACKNOWLEDGEMENTS,
    SWITCHES,
    Acknowledged,
    Clearing,
    Kill,
    Kills,
    acknowledgement_row,
    acknowledgements,
    how_far,
)
from infra.process.leases import lease_owner, lease_path
from infra.process.ours import PLACES, Ours, behind
from infra.process.reading import source_of
from infra.process.status import Status, read_all
from infra.sessions.store import Session
from schemas.declare import Heap, Rows
from schemas.errors import BrokerUnavailable, ConfigInvalid
from schemas.instruments import Venue, instrument_id, instrument_name
from schemas.trading import Scope
from streams.api import Source, StartAt, TopicPartition
from streams.local import LocalSource
from streams.log import LogWriter

log = logging.getLogger(__name__)
TRADERS = frozenset({"gateway", "clear", "kill"})  # commands that hold leases
SHARD = 1  # of the raw rows: the gateway's own have 0
PAPER_ACCOUNT = "paper"
TURN_S = 0.1
POLL_NS = 50_000_000
OURS_S = 5.0  # so long a kill of one strategy waits for the rows that say what is its
SAME_S = 60.0  # a process that began later than its status says, and so much, is another one with its number
SILENCE_NS = 30_000_000_000  # longer than one try (kills.TIMEOUT_S): a gateway that works says something


@dataclass(frozen=True)
class GatewayAt:
    """A gateway as its status says: who it is, and what is needed to do its work in an emergency."""

    service: str
    pid: int
    started_ns: int
    venue: str
    account: str
    symbols: tuple[str, ...]
    ws_url: str
    rest_url: str
    keys: str

    @property
    def account_id(self) -> int:
        return instrument_id(self.account)

    @property
    def instruments(self) -> dict[int, str]:
        venue = Venue.parse(self.venue)
        return {instrument_id(instrument_name(venue, symbol)): symbol for symbol in self.symbols}

    def kills(self) -> Kills:
        """None in force yet."""
        return Kills(int(Venue.parse(self.venue)), self.account_id, self.instruments)


def gateways(session: Session) -> list[GatewayAt]:
    """Those that ran in a session, as far as they have said where they are."""
    found = []
    for status in read_all(session.status).values():
        facts = status.facts
        if "rest_url" in facts and "account" in facts:
            found.append(
                GatewayAt(
                    status.service, status.pid, status.started_ns, facts["venue"], facts["account"],
                    tuple(facts["symbols"]), facts["ws_url"], facts["rest_url"], facts["keys"],
                )
            )  # fmt: skip
    return found


def read_kills(session: Session, at: GatewayAt) -> Kills:
    """What is in force at its account, as this machine's log has it."""
    kills = at.kills()
    with _switches(session) as source:
        while not source.at_end(TopicPartition(SWITCHES.number, 0)):
            _take(kills, source)
    return kills


def is_overdue(kill: Kill, said: list[Acknowledged], account: int, now_ns: int, patience_ns: int) -> bool:
    """Whether somebody else has to carry it out: nobody took it, or who did is silent and has not done it."""
    ours = [one for one in said if one.kill_id == kill.kill_id and one.account == account]
    if not ours:
        return now_ns - kill.pressed_ns > patience_ns
    return not any(kill.settled_by(one.outcome) for one in ours) and now_ns - ours[-1].ts_recv_ns > SILENCE_NS


def end_process(at: GatewayAt) -> bool:
    """Kill it (SIGKILL) when it is there; in another container, or under another number, it is not. Returns whether it
    is dead for certain."""
    try:
        process = psutil.Process(at.pid)
        if process.create_time() > at.started_ns / 1e9 + SAME_S or "gateway" not in process.cmdline():
            return False
        process.kill()
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(TURN_S)  # somebody else's child stays as a zombie until that one looks
        return True
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return False


def paper_credentials(rest_url: str) -> Credentials:
    """The published key of the simulated venue; nobody else takes it.

    Raises:
        ConfigInvalid: the venue is not on this machine.
    """
    if not is_loopback(rest_url):
        raise ConfigInvalid("Orders at a real venue need keys: --keys FILE, and --live-money when they are for real.")
    return Credentials(PAPER_KEY, HmacSigner(PAPER_SECRET), PAPER_ACCOUNT)


def clear(session: Session, at: GatewayAt, *, dead: bool, within_s: float) -> list[Acknowledged]:
    """Carry out every kill in force at its account that nobody has carried out. Returns what was said.

    Args:
        dead: its gateway is dead for certain, so that the lease need not be waited for.
        within_s: then it is given up; the last word says how far it came.

    Raises:
        ResourceExhausted: another process does the same now.
    """
    takeover = _Takeover(session, at, dead)
    try:
        with contextlib.suppress(TimeoutError):
            asyncio.run(_within(takeover.run(), within_s))
    finally:
        takeover.close()
    return takeover.said


async def _within(work: Awaitable[object], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await work


class _Takeover:
    """One run of `clear`."""

    def __init__(self, session: Session, at: GatewayAt, dead: bool) -> None:
        self._session, self._at, self._dead = session, at, dead
        self._kills = at.kills()
        self.said: list[Acknowledged] = []
        self._who = f"clear/{os.getpid()}"
        self._ours = _OurRows(session, at.account_id)

    def close(self) -> None:
        self._ours.close()

    async def run(self) -> None:
        venue = Venue.parse(self._at.venue)
        exchange = venue_parts(venue).exchange.at(self._at.ws_url, self._at.rest_url)
        keys = self._at.keys
        credentials = load_credentials(Path(keys)) if keys else paper_credentials(exchange.rest_url)
        raw = LogWriter(self._session.log, raw_key(f"{venue.label}_private", SHARD, self._session.incarnation))

        def append(rows: Rows, heap: Heap) -> None:
            append_rows(raw, rows, heap)

        lease = FileLease(lease_path(self._session, venue.label), lease_owner(self._session, os.getpid()))
        rest = PrivateRest(exchange, credentials, append, lease=lease)
        try:
            with _switches(self._session) as source:
                while not source.at_end(TopicPartition(SWITCHES.number, 0)):
                    _take(self._kills, source)
                listening = asyncio.create_task(self._listen(source))
                await self._carry_out(rest, lease)
                listening.cancel()
        finally:
            await self._ours.end()
            await rest.close()
            raw.close()

    async def _listen(self, source: LocalSource) -> None:
        while True:
            await asyncio.sleep(TURN_S)
            _take(self._kills, source)

    def _may_take(self, lease: FileLease) -> bool:
        """Whether whoever holds the lease is dead, as far as this machine can tell."""
        owner, _ = lease.read()
        ended = self._dead and owner == lease_owner(self._session, self._at.pid)
        return ended or not _lives(owner)

    async def _carry_out(self, rest: PrivateRest, lease: FileLease) -> None:
        if not self._may_take(lease):  # a successor lives: it clears by itself, and is fenced by nobody
            if any(self._kills.is_whole(kill) for kill in self._open()):
                await cancel_all(rest, self._at.symbols)
            return
        ours = self._ours
        clearing = Clearing(
            rest, self._kills, self._at.account_id, self._who, self._at.instruments, self._say, ours.state.owner,
            lambda strategy: self._holdings(rest, strategy), lambda: ours.under_way(self._who), lease.read()[1],
        )  # fmt: skip
        wholes_first = sorted(self._open(), key=lambda kill: kill.scope is Scope.STRATEGY)
        for kill in wholes_first:
            if kill.scope is Scope.STRATEGY:
                await ours.read_within(OURS_S)
            await clearing.carry_out(kill, how_far(self._earlier(kill)))

    def _open(self) -> list[Kill]:
        """In force, and done by nobody."""
        return [
            kill for kill in self._kills.in_force()
            if not any(kill.settled_by(said.outcome) for said in self._earlier(kill))
        ]  # fmt: skip

    def _earlier(self, kill: Kill) -> list[Acknowledged]:
        said = acknowledgements(self._session.log, self._session.incarnation)
        return [one for one in said if one.kill_id == kill.kill_id and one.account == self._at.account_id]

    async def _holdings(self, rest: PrivateRest, strategy: int) -> dict[str, int] | None:
        """By our own rows, and what its orders filled since: nobody hears the venue while the gateway is dead."""
        if not self._ours.is_read:
            return None
        instruments, state = self._at.instruments, self._ours.state.state()
        held = {
            instruments[instrument]: amount
            for (whose, instrument), amount in state.positions_e8.items()
            if whose == strategy and instrument in instruments
        }
        for order in state.orders.values():
            if order.strategy == strategy and order.instrument in instruments:
                symbol = instruments[order.instrument]
                filled_e8 = await executed(rest, symbol, order.order_id, conditional=order.conditional)
                unheard_e8 = filled_e8 - order.filled_e8
                held[symbol] = held.get(symbol, 0) + (unheard_e8 if order.buys else -unheard_e8)
        return held

    def _say(self, said: Acknowledged) -> None:
        self.said.append(said)
        steering.append(self._session, ACKNOWLEDGEMENTS.name, *acknowledgement_row(said))


@contextlib.contextmanager
def _switches(session: Session) -> Iterator[LocalSource]:
    source = LocalSource(session.log, session.incarnation)
    source.assign([TopicPartition(SWITCHES.number, 0)], StartAt({}, {}))
    try:
        yield source
    finally:
        source.close()


def _take(kills: Kills, source: LocalSource) -> None:
    for chunk in source.poll(0):
        kills.take(chunk.rows, chunk.heap)


class _OurRows:
    """Our own rows of an account, from wherever the session has them, followed once they are asked for."""

    def __init__(self, session: Session, account: int) -> None:
        self._session, self.state = session, Ours(account)
        self._source: Source | None = None
        self._following: asyncio.Task[None] | None = None
        self._all = asyncio.Event()

    @property
    def is_read(self) -> bool:
        """Whether their end was reached."""
        return self._all.is_set()

    async def read_within(self, seconds: float) -> None:
        """Follow them; returns when their end was reached, or after so long: a broker may be away."""
        self._following = self._following or asyncio.create_task(self._follow())
        with contextlib.suppress(TimeoutError):
            await _within(self._all.wait(), seconds)

    def under_way(self, who: str) -> str:
        """As the gateway's: what the dead one wrote and its rule did not take stays where it is."""
        return behind(self.state.rows, Status(who), read_all(self._session.status).values())

    async def end(self) -> None:
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following

    def close(self) -> None:
        """After the loop has ended, and with it the thread that reads."""
        if self._source is not None:
            self._source.close()

    async def _follow(self) -> None:
        while True:
            try:
                source = self._source = self._source or source_of(self._session, self._session.broker, "clear")
                await asyncio.to_thread(source.assign, PLACES, StartAt({}, {}))
                while True:
                    self.state.take(await asyncio.to_thread(source.poll, POLL_NS))
                    if all(source.at_end(place) for place in PLACES):
                        self._all.set()
            except BrokerUnavailable as error:
                log.warning("%s", error)
                await asyncio.sleep(TURN_S)


def _lives(owner: str) -> bool:
    """Whether the holder of a lease still runs. A process of another container cannot be seen: it is fenced."""
    pid = owner.rpartition("/")[2]
    if not pid.isdecimal():
        return False
    try:
        process = psutil.Process(int(pid))
        return process.status() != psutil.STATUS_ZOMBIE and not TRADERS.isdisjoint(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
