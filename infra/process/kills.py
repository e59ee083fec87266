"""Kills in force at one account, how they are carried out at the venue, and the rows that say how far they are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from connectors.emergency import Cancelled, cancel_all, cancel_some, close_part, flatten
from connectors.private_rest import PrivateRest
from infra.sessions.readback import frames, keys_of
from infra.sessions.rows_text import text
from schemas.declare import Heap, Rows
from schemas.errors import WatchdogExpired
from schemas.money import format_e8
from schemas.trading import ACKNOWLEDGEMENT, KillOutcome, Scope, order_id_from
from streams.clock import Clock
from streams.topics import topic

log = logging.getLogger(__name__)
ACKNOWLEDGEMENTS, SWITCHES = topic("ctl.acknowledgement.v1"), topic("ctl.switch.v1")
TIMEOUT_S = 20.0  # then FAILED is said, and it is tried again
PAUSE_S = 0.5
SETTLE_S = 5.0
DONE = (KillOutcome.CANCELLED, KillOutcome.FLAT, KillOutcome.PARTLY)


class Kill(NamedTuple):
    """One kill, as its row says it."""

    kill_id: int
    scope: Scope
    subject: int
    pressed_ns: int
    flatten: bool
    why: str = ""
    who: str = ""

    def settled_by(self, outcome: KillOutcome) -> bool:
        """Whether that is its end."""
        return outcome in (KillOutcome.FLAT, KillOutcome.PARTLY) if self.flatten else outcome is KillOutcome.CANCELLED


def kills_of(rows: Rows, heap: Heap) -> list[tuple[Kill, bool]]:
    """Rows of ctl.switch with whether they are on, in order."""
    return [
        (
            Kill(
                int(row["kill_id"]), Scope(int(row["scope"])), int(row["subject"]), int(row["ts_recv_ns"]),
                bool(row["flatten"]), text(rows, heap, "why", index), text(rows, heap, "who", index),
            ),
            bool(row["on"]),
        )
        for index, row in enumerate(rows)
    ]  # fmt: skip


class Kills:
    """Kills in force that concern one account. A resume lifts the kill that it names, also when it is read first."""

    def __init__(self, venue: int, account: int, instruments: Mapping[int, str]) -> None:
        self._venue, self._account, self._instruments = venue, account, instruments
        self._on: dict[int, Kill] = {}
        self._lifted: set[int] = set()

    def take(self, rows: Rows, heap: Heap) -> tuple[list[Kill], list[int]]:
        """Remember them. Returns the kills that are new and in force, and the ids of those that were lifted."""
        fresh, lifted = [], []
        for kill, on in kills_of(rows, heap):
            if not on:
                self._lifted.add(kill.kill_id)
                if self._on.pop(kill.kill_id, None) is not None:
                    lifted.append(kill.kill_id)
            elif kill.kill_id not in self._lifted and kill.kill_id not in self._on and self.concerns(kill):
                self._on[kill.kill_id] = kill
                fresh.append(kill)
        return [kill for kill in fresh if kill.kill_id in self._on], lifted

    def concerns(self, kill: Kill) -> bool:
        """Whether it is about anything here. A strategy may trade anywhere."""
        return (
            self.is_whole(kill)
            or kill.scope is Scope.STRATEGY
            or (kill.scope is Scope.INSTRUMENT and kill.subject in self._instruments)
        )

    def is_whole(self, kill: Kill) -> bool:
        """Whether it is about everything of this account: then the venue is cleared without asking anybody."""
        place = (kill.scope, kill.subject)
        return place in ((Scope.GLOBAL, 0), (Scope.VENUE, self._venue), (Scope.ACCOUNT, self._account))

    def in_force(self) -> list[Kill]:
        """Oldest first."""
        return list(self._on.values())

    @property
    def lifted(self) -> frozenset[int]:
        """Ids of all that were ever lifted, of whatever account."""
        return frozenset(self._lifted)

    def is_on(self, kill_id: int) -> bool:
        return kill_id in self._on

    def reason(self, command: np.void) -> str:
        """Why a command must not go; "" when it may."""
        strategy, instrument = int(command["strategy"]), int(command["instrument"])
        for kill in self._on.values():
            one = {Scope.STRATEGY: strategy, Scope.INSTRUMENT: instrument}.get(kill.scope)
            if one == kill.subject or self.is_whole(kill):
                return f"the kill switch of scope {kill.scope.name} is on"
        return ""


class Acknowledged(NamedTuple):
    """A row of ctl.acknowledgement, decoded."""

    kill_id: int
    ts_recv_ns: int
    account: int
    outcome: KillOutcome
    received_ns: int
    cancelled_ns: int
    flat_ns: int
    orders: int
    positions: int
    who: str
    text: str

    def words(self) -> str:
        """For people: since the kill was pressed."""
        parts = []
        if self.cancelled_ns:
            parts.append(f"cancelled after {(self.received_ns + self.cancelled_ns) / 1e6:.0f} ms")
        if self.flat_ns:
            parts.append(f"flat after {(self.received_ns + self.flat_ns) / 1e6:.0f} ms")
        if not parts:
            parts.append(f"{self.outcome.name.lower()} after {self.received_ns / 1e6:.0f} ms")
        return ", ".join(parts) + (f" ({self.text})" if self.text else "")


def acknowledgements(root: Path, incarnation: int) -> list[Acknowledged]:
    """Every one that a session's log has, whoever wrote it, by time."""
    found = []
    for key in keys_of(root, ACKNOWLEDGEMENTS):
        if key.incarnation != incarnation:
            continue
        for frame in frames(root, key):
            for index, row in enumerate(frame.rows):
                numbers = {name: int(row[name]) for name in Acknowledged._fields if name not in ("who", "text")}
                numbers["outcome"] = KillOutcome(numbers["outcome"])
                words = {name: text(frame.rows, frame.heap, name, index) for name in ("who", "text")}
                found.append(Acknowledged(**numbers, **words))  # type: ignore[arg-type]
    return sorted(found, key=lambda one: one.ts_recv_ns)


def how_far(said: Iterable[Acknowledged]) -> KillOutcome | None:
    """The latest of some words of one kill that says more than that it was taken; None when nobody took it."""
    found: KillOutcome | None = None
    for one in said:
        if found is None or one.outcome is not KillOutcome.RECEIVED:
            found = one.outcome
    return found


def acknowledgement_row(said: Acknowledged) -> tuple[Rows, Heap]:
    row = ACKNOWLEDGEMENT.empty(1)
    heap = b""
    for name, value in said._asdict().items():
        if isinstance(value, str):
            raw = value.encode()
            row[f"{name}_at"], row[f"{name}_size"] = len(heap), len(raw)
            heap += raw
        else:
            row[name] = value
    return row, np.frombuffer(heap, dtype=np.uint8)


def nobody_owns(order_id: int) -> tuple[int, int] | None:
    return None


async def nothing_known(strategy: int) -> dict[str, int] | None:
    return None


def nothing_under_way() -> str:
    return ""


@dataclass
class Clearing:
    """Carries kills out, one at a time, and says each step.

    Args:
        rest: asks the venue; what it has on the way is known to it.
        kills: what is in force; a kill that is lifted is not carried on.
        account, who: of the rows.
        instruments: symbols by id, of what is traded.
        say: takes each step.
        owner: (strategy, instrument) of an order of ours; None when nobody knows: then it is cancelled.
        holdings: what a strategy holds, by symbol; None when our rows are not known here.
        under_way: what is known to be on its way into `holdings`; "" when nothing is.
        valid_until_ns: until when attempts of whoever traded before may be accepted.
    """

    rest: PrivateRest
    kills: Kills
    account: int
    who: str
    instruments: Mapping[int, str]
    say: Callable[[Acknowledged], None]
    owner: Callable[[int], tuple[int, int] | None] = nobody_owns
    holdings: Callable[[int], Awaitable[dict[str, int] | None]] = nothing_known
    under_way: Callable[[], str] = nothing_under_way
    valid_until_ns: int = 0
    timeout_s: float = TIMEOUT_S
    _unknown: int = field(default=0, init=False)

    @property
    def clock(self) -> Clock:
        return self.rest.clock

    async def carry_out(self, kill: Kill, before: KillOutcome | None = None) -> None:
        """Until it is done, or lifted.

        Args:
            before: how far earlier lives came (`how_far`): a strategy's position is not closed twice.
        """
        taken_ns, start_ns = self.clock.now_ns(), self.clock.monotonic_ns()
        step = _Step(self, kill, max(0, taken_ns - kill.pressed_ns), start_ns)
        step.say(KillOutcome.RECEIVED, "again, after a start" if before is not None else "")
        while self.kills.is_on(kill.kill_id):
            try:
                await self._cancel(kill, step)
                if kill.flatten:
                    await self._flatten(kill, step, before)
                else:
                    await self._watch(kill, step)
            except WatchdogExpired as error:
                step.say(KillOutcome.FAILED, str(error))
                await asyncio.sleep(PAUSE_S)
            else:
                return

    async def _cancel(self, kill: Kill, step: _Step) -> None:
        self._unknown = 0
        done = await self._cancelled(kill)
        step.orders, step.cancelled_ns = max(step.orders, done.orders), step.elapsed_ns()
        words = f"{self._unknown} of them of a strategy that nobody remembers" if self._unknown else ""
        step.say(KillOutcome.CANCELLED, words)

    async def _cancelled(self, kill: Kill) -> Cancelled:
        if self.kills.is_whole(kill):
            return await cancel_all(self.rest, list(self.instruments.values()), self.timeout_s)
        if kill.scope is Scope.INSTRUMENT:
            symbol = self.instruments[kill.subject]
            return await cancel_some(self.rest, lambda order: order["symbol"] == symbol, self.timeout_s)
        return await cancel_some(self.rest, lambda order: self._is_of(order, kill.subject), self.timeout_s)

    def _is_of(self, order: Mapping[str, Any], strategy: int) -> bool:
        order_id = order_id_from(str(order["clientAlgoId" if "algoId" in order else "clientOrderId"]))
        if not order_id:
            return False
        owner = self.owner(order_id)
        self._unknown += owner is None
        return owner is None or owner[0] == strategy

    async def _watch(self, kill: Kill, step: _Step) -> None:
        """What was on its way when everything else was cancelled may arrive until its validity is over; later attempts
        are others'."""
        end_ns = self._unsettled_until_ns()
        while (left_ns := min(end_ns, self._unsettled_until_ns()) - self.clock.now_ns()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(min(PAUSE_S, left_ns / 1e9))
        late = await self._cancelled(kill)
        if late.orders:
            step.orders, step.cancelled_ns = step.orders + late.orders, step.elapsed_ns()
            step.say(KillOutcome.CANCELLED, f"{late.orders} more had been on their way")

    def _unsettled_until_ns(self) -> int:
        return max(self.rest.unsettled_until_ns, self.valid_until_ns)

    async def _flatten(self, kill: Kill, step: _Step, before: KillOutcome | None) -> None:
        if kill.scope is Scope.STRATEGY:
            await self._close_strategy(kill, step, before)
            return
        whole = self.kills.is_whole(kill)
        only = () if whole else (self.instruments[kill.subject],)
        flat = await flatten(
            self.rest, only=only, valid_until_ns=self.valid_until_ns, timeout_s=self.timeout_s
        )  # fmt: skip
        step.flat_ns, step.positions = step.elapsed_ns(), step.positions + flat.positions
        step.say(KillOutcome.FLAT)

    async def _close_strategy(self, kill: Kill, step: _Step, before: KillOutcome | None) -> None:
        if before not in (None, KillOutcome.RECEIVED):
            step.flat_ns = step.elapsed_ns()
            step.say(KillOutcome.PARTLY, "an earlier life closed, or had begun to close, its position: not done twice")
            return
        await self._watch(kill, step)  # what arrives after it was closed would not be closed
        await self._settled()
        known = await self.holdings(kill.subject)
        if known is None:
            step.flat_ns = step.elapsed_ns()
            step.say(KillOutcome.PARTLY, "what it holds is not known here: nothing was closed")
            return
        held = {symbol: amount for symbol, amount in known.items() if amount}
        try:
            done = await close_part(self.rest, held, self.timeout_s)
        except WatchdogExpired as error:
            step.flat_ns = step.elapsed_ns()
            step.say(KillOutcome.PARTLY, f"{error} Closing is not tried again: what was closed would be closed twice")
            return
        step.flat_ns, step.positions = step.elapsed_ns(), sum(map(bool, done.closed_e8.values()))
        left = {symbol: amount for symbol, amount in done.left_e8.items() if amount}
        words = ", ".join(f"{symbol} {format_e8(amount)}" for symbol, amount in left.items())
        if words:
            step.say(KillOutcome.PARTLY, f"the account's net position does not allow to close {words}")
        else:
            step.say(KillOutcome.FLAT)

    async def _settled(self) -> None:
        """Fills of what was just cancelled are on their way into our rows."""
        end_ns = self.clock.monotonic_ns() + int(SETTLE_S * 1e9)
        await asyncio.sleep(PAUSE_S)
        while self.under_way() and self.clock.monotonic_ns() < end_ns:  # noqa: ASYNC110
            await asyncio.sleep(PAUSE_S / 5)


@dataclass
class _Step:
    """How far one kill is."""

    clearing: Clearing
    kill: Kill
    received_ns: int
    start_ns: int
    cancelled_ns: int = 0
    flat_ns: int = 0
    orders: int = 0
    positions: int = 0

    def elapsed_ns(self) -> int:
        return self.clearing.clock.monotonic_ns() - self.start_ns

    def say(self, outcome: KillOutcome, words: str = "") -> None:
        one = self.clearing
        said = Acknowledged(
            self.kill.kill_id, one.clock.now_ns(), one.account, outcome, self.received_ns, self.cancelled_ns,
            self.flat_ns, self.orders, self.positions, one.who, words,
        )  # fmt: skip
        log.warning("kill %d: %s", self.kill.kill_id, said.words())
        one.say(said)
