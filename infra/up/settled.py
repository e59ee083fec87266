"""Has everything that was sent gone all the way through? And if nothing moves: who is it?

A play has ended when, in this order: the venues said everything; the connectors wrote down every frame
that was sent, and their wire rules took every one; the shipper landed every row; the workers' journals
reach the last row of every sequence that they read. Each stage is judged by words spoken *after* the
stage before it was seen complete: then what the stage before wrote is final, and "equal" means done,
not "both happened to say the same while work was under way".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from infra.process.status import Status, label
from schemas.errors import WatchdogExpired
from streams.api import WriterKey
from streams.clock import Clock
from streams.log import LogReader, writer_keys
from streams.pipelines import CONNECTOR_NUMBERS, PIPELINE_BY_NAME, TASKS_MAX
from streams.topics import TOPIC_BY_NUMBER, topic

STALL_S = 60.0  # longer than any wait that is part of a play (a snapshot's rendezvous, a fault's silence, a restart)
RAW = topic("raw.frame.v1").number
Statuses = Mapping[str, Status]
Stage = Callable[[Statuses], list[str]]


@dataclass(frozen=True)
class Cast:
    """Which processes have which part.

    Attributes:
        venues: simulated venues; () for real ones.
        connectors: process → venue label.
        shippers: none with `--broker none`.
        workers: process → pipelines that it runs.
        gateways: they write as connectors do.
    """

    venues: tuple[str, ...] = ()
    connectors: Mapping[str, str] = field(default_factory=dict)
    shippers: tuple[str, ...] = ()
    workers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    gateways: tuple[str, ...] = ()


class Settling:
    """Walks through the stages; `behind` says what is still missing.

    Two of them make a run's end: `to_connectors` until everything that was sent is written down, then the
    connectors are ended, so that what they write is final; `through` until everybody else has taken it.
    """

    def __init__(
        self, cast: Cast, clock: Clock, part: Literal["to_connectors", "through"], stall_s: float = STALL_S
    ) -> None:
        """
        Args:
            stall_s: without any progress for that long, `behind` raises.
        """
        before: list[Stage] = [self._venues, self._connectors]
        after: list[Stage] = [self._shippers, self._workers]
        self._stages = before if part == "to_connectors" else after
        self._parts: tuple[str, ...] = (*cast.venues, *cast.connectors)
        if part == "through":
            self._parts = (*cast.connectors, *cast.gateways, *cast.shippers, *cast.workers)
        self._cast = cast
        self._clock = clock
        self._stall_ns = int(stall_s * 1e9)
        self._stage = 0
        self._since_ns = clock.now_ns()
        self._seen: object = None
        self._moved_ns = clock.monotonic_ns()

    def behind(self, statuses: Statuses) -> list[str]:
        """Who still has what to do, in words; [] when everything is through.

        Raises:
            WatchdogExpired: nothing has moved for too long; says who is behind.
        """
        missing: list[str] = []
        while self._stage < len(self._stages):
            missing = self._stale(statuses) or self._stages[self._stage](statuses)
            if missing:
                break
            self._stage += 1
            self._since_ns = self._clock.now_ns()
        self._check_stall(statuses, missing)
        return missing

    def _stale(self, statuses: Statuses) -> list[str]:
        """Parts that have not spoken since the stage before was complete."""
        parts = self._parts
        missing = [name for name in parts if name not in statuses or statuses[name].state == "starting"]
        speaking = [name for name in parts if name in statuses and statuses[name].state != "stopped"]  # else: its last
        late = [name for name in speaking if statuses[name].updated_ns <= self._since_ns]
        return [f"{name} is starting" for name in missing] + [f"{name} has not spoken since" for name in late]

    def _venues(self, statuses: Statuses) -> list[str]:
        return [f"{name} plays on" for name in self._cast.venues if not statuses[name].facts.get("done")]

    def _connectors(self, statuses: Statuses) -> list[str]:
        missing = []
        for name, venue in self._cast.connectors.items():
            status = statuses[name]
            sent = [statuses[other].facts for other in self._cast.venues if statuses[other].facts["venue"] == venue]
            owed = sum(facts["delivered"] for facts in sent) - status.facts["heard"]
            if sent and owed > 0:
                missing.append(f"{name} has not written down {owed:,} frames that {venue} sent")
            number = CONNECTOR_NUMBERS[venue]
            raw = {
                key: row
                for key, row in status.written.items()
                if key.topic == RAW and key.writer // TASKS_MAX == number
            }
            missing += _untaken(name, status, raw)
        return missing

    def _shippers(self, statuses: Statuses) -> list[str]:
        written = _written(statuses, [*self._cast.connectors, *self._cast.gateways])
        return [line for name in self._cast.shippers for line in _untaken(name, statuses[name], written)]

    def _workers(self, statuses: Statuses) -> list[str]:
        missing = []
        for name, pipelines in self._cast.workers.items():
            reads = {topic(source.topic).number for row in pipelines for source in PIPELINE_BY_NAME[row].inputs}
            others = [*self._cast.connectors, *self._cast.gateways, *self._cast.workers]
            written = _written(statuses, others)
            missing += _untaken(name, statuses[name], {key: row for key, row in written.items() if key.topic in reads})
        return missing

    def _check_stall(self, statuses: Statuses, missing: list[str]) -> None:
        seen = [(status.taken, status.written, status.facts) for status in statuses.values()]
        now_ns = self._clock.monotonic_ns()
        if seen != self._seen:
            self._seen, self._moved_ns = seen, now_ns
        elif missing and now_ns - self._moved_ns > self._stall_ns:
            raise WatchdogExpired(
                f"Nothing has moved for {self._stall_ns / 1e9:.0f} s and the play is not through: "
                f"{'; '.join(missing)}. "
                "The log of each process is in the session's folder `logs`."
            )


def last_words(names: Iterable[str], statuses: Statuses, root: Path) -> dict[str, Status]:
    """What processes that were made to end before they could say so would have said.

    Args:
        names: of processes that have ended; those that said so are left out.
        root: the local log that they wrote; rows of others in it must be taken as well, so they do no harm.
    """
    silent = [name for name in names if name not in statuses or statuses[name].state != "stopped"]
    written: dict[WriterKey, int] = {}
    for key in writer_keys(root) if silent else ():
        reader = LogReader(root, key)
        written[key] = reader.last_row
        reader.close()
    return {name: replace(statuses.get(name, Status(name)), state="stopped", written=written) for name in silent}


def _written(statuses: Statuses, names: Mapping[str, object] | list[str]) -> dict[WriterKey, int]:
    """Last row of every sequence that these processes write."""
    written: dict[WriterKey, int] = {}
    for name in names:
        written |= statuses[name].written
    return written


def _untaken(name: str, status: Status, written: Mapping[WriterKey, int]) -> list[str]:
    """Sequences whose last row this reader has not taken."""
    return [
        f"{name} is {row - status.taken.get(key, 0):,} rows behind in {TOPIC_BY_NUMBER[key.topic].name} ({label(key)})"
        for key, row in written.items()
        if status.taken.get(key, 0) < row
    ]
