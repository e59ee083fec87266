"""Kills carried out without the gateway: by the process that takes over from one that hangs or has died.

Cancels go at once: they need no lease. What closes positions takes the lease over first, so that a gateway that is not
dead after all is fenced at its next order, and flat is said only after everything that it may have sent is past its
validity. What is asked and answered goes into raw rows of its own, as evidence; the books learn of it from the next
reconciliation of a gateway.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from connectors.credentials import Credentials, load_credentials
from connectors.emergency import cancel_all
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
)
from infra.process.leases import lease_owner, lease_path
from infra.process.ours import PLACES, Ours
from infra.process.status import read_all
from infra.sessions.store import Session
from schemas.declare import Heap, Rows
from schemas.errors import ConfigInvalid
from schemas.instruments import Venue, instrument_id, instrument_name
from streams.api import StartAt, TopicPartition
from streams.local import LocalSource
from streams.log import LogWriter

TRADERS = frozenset({"gateway", "clear", "kill"})  # commands that hold leases
SHARD = 1  # of the raw rows: the gateway's own have 0
PAPER_ACCOUNT = "paper"
TURN_S = 0.1
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
    with contextlib.suppress(TimeoutError):
        asyncio.run(_within(takeover.run(), within_s))
    return takeover.said


async def _within(work: Awaitable[None], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await work


class _Takeover:
    """One run of `clear`."""

    def __init__(self, session: Session, at: GatewayAt, dead: bool) -> None:
        self._session, self._at, self._dead = session, at, dead
        self._kills = at.kills()
        self.said: list[Acknowledged] = []
        self._who = f"clear/{os.getpid()}"

    async def run(self) -> None:
        venue = Venue.parse(self._at.venue)
        exchange = venue_parts(venue).exchange.at(self._at.ws_url, self._at.rest_url)
        keys = self._at.keys
        credentials = load_credentials(Path(keys)) if keys else paper_credentials(exchange.rest_url)
        log = LogWriter(self._session.log, raw_key(f"{venue.label}_private", SHARD, self._session.incarnation))

        def append(rows: Rows, heap: Heap) -> None:
            append_rows(log, rows, heap)

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
            await rest.close()
            log.close()

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
        ours = _ours(self._session, self._at.account_id)
        clearing = Clearing(
            rest, self._kills, self._at.account_id, self._who, self._at.instruments, self._say, ours.owner,
            lambda strategy: self._holdings(ours, strategy), valid_until_ns=lease.read()[1],
        )  # fmt: skip
        for kill in self._open():
            before = [said.outcome for said in self._earlier(kill)]
            await clearing.carry_out(kill, before[-1] if before else None)

    def _open(self) -> list[Kill]:
        """In force, and done by nobody."""
        return [
            kill for kill in self._kills.in_force()
            if not any(kill.settled_by(said.outcome) for said in self._earlier(kill))
        ]  # fmt: skip

    def _earlier(self, kill: Kill) -> list[Acknowledged]:
        said = acknowledgements(self._session.log, self._session.incarnation)
        return [one for one in said if one.kill_id == kill.kill_id and one.account == self._at.account_id]

    def _holdings(self, ours: Ours, strategy: int) -> dict[str, int] | None:
        """By our own rows, where this machine has them: with a broker they are there."""
        if not ours.rows:
            return None
        instruments = self._at.instruments
        return {
            instruments[instrument]: amount
            for (whose, instrument), amount in ours.state().positions_e8.items()
            if whose == strategy and instrument in instruments
        }

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


def _ours(session: Session, account: int) -> Ours:
    ours, source = Ours(account), LocalSource(session.log, session.incarnation)
    source.assign(PLACES, StartAt({}, {}))
    while not all(source.at_end(place) for place in PLACES):
        ours.take(source.poll(0))
    source.close()
    return ours


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
