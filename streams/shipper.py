"""Mirrors a local log to a remote (the broker): every row at least once and in order, none left out.

    1  take the lock of the log root: one shipper at a time
    2  for each writer found: ask the remote for the last row that landed, read on behind it
    3  idempotent topics: hand frames to the mirror, which sends them in order and for ever;
       transactional topics: one transaction at a time, up to 6 MB of them
    4  note what landed; retention keeps what has not
    5  the client is lost: forget what was in flight and start again at 2

After a kill a frame that was in flight may land although step 2 did not see it; it is then sent again. Repeats
have the row numbers of the first copy, and every reader drops them. A hole cannot arise, because reading goes on
behind what landed and never behind what was only sent.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, Protocol

from schemas.errors import BrokerUnavailable
from streams.api import WriterKey
from streams.clock import SYSTEM_CLOCK, Clock, entropy
from streams.log_format import LogRecord, writer_keys
from streams.log_lock import ProcessLock
from streams.log_reader import LogReader
from streams.log_retention import write_hold
from streams.topics import TOPIC_BY_NUMBER

LOCK_NAME: Final = "shipper.lock"
IDEMPOTENT: Final = False  # `_Lane.transactional`
TRANSACTIONAL: Final = True
State = Literal["starting", "shipping", "away", "draining", "stopped"]
MirrorRecord = tuple[WriterKey, bytes | memoryview, int, int]  # key, frame, row_first, row_count


class Busy(BufferError):
    """The mirror's queue is full. Nothing was taken: offer the same record again later."""


class Mirror(Protocol):
    """A remote that takes frames. Not thread-safe; one shipper uses it.

    Any call but `acknowledged` may raise BrokerUnavailable: from `append_transaction` the transactional client, from
    the others the idempotent one is lost or gave up, and what it had in flight may or may not land. The shipper then
    asks `landed` again before it sends more, which must work on a new client.
    Fenced (another shipper took over) and every other error end the shipper.
    """

    def landed(self, topic: int, partition: int) -> dict[WriterKey, int]:
        """Last landed row per writer of this incarnation, from the partition's tail. What is in flight meanwhile
        (of a killed predecessor, of a lost client) may land later: it is a repeat then."""
        ...

    def append(self, key: WriterKey, frame: bytes | memoryview, row_first: int, row_count: int) -> None:
        """Send asynchronously; in order within a partition, without repeats of its own, with no time-out: during an
        outage frames wait. `frame` is copied. Raises Busy when the queue is full."""
        ...

    def append_transaction(self, records: Sequence[MirrorRecord]) -> None:
        """Land all of them or none; returns when they have. Raises BrokerUnavailable when that is not known."""
        ...

    def flush(self, timeout_s: float) -> bool:
        """Wait for everything sent to land; False when the time did not suffice."""
        ...

    def acknowledged(self) -> dict[WriterKey, int]:
        """Last row per writer of which it is known that it, and all before, landed. Serves the client's callbacks;
        called every round."""
        ...


@dataclass(frozen=True, slots=True)
class ShipperOptions:
    """How hard and how often.

    Args:
        incarnation: ship only this session's writers; None ships all.
        batch_bytes: read from one writer before the next has its turn.
        transaction_bytes_max: 6 MB transactions cost nothing against bare sending; 240 KB ones 20 to 30 %.
        transaction_interval_ns: between transactions, so that a trickle does not make hundreds of them a second.
        discover_interval_ns: how often new writers are looked for, and stand and lag are noted.
        idle_first_s, idle_max_s: pauses after rounds in which nothing moved double between these. A round over fifty
            writers takes about 50 µs.
        retry_first_s, retry_max_s: pauses while the remote is away double between these, with full jitter.
        away_after_ns: without any landing for so long, though frames are in flight, the remote counts as away.
        drain_timeout_ns: how long `run` tries to land the rest after `stop`.
        skip_corrupt: go on behind damage in the local log (it is a hole then; readers of the remote alarm).
    """

    incarnation: int | None = None
    batch_bytes: int = 1 << 18
    transaction_bytes_max: int = 6_000_000
    transaction_interval_ns: int = 50_000_000
    discover_interval_ns: int = 250_000_000
    idle_first_s: float = 0.0005
    idle_max_s: float = 0.005
    retry_first_s: float = 0.1
    retry_max_s: float = 2.0
    away_after_ns: int = 3_000_000_000
    drain_timeout_ns: int = 10_000_000_000
    skip_corrupt: bool = False


@dataclass(slots=True)
class KeyProgress:
    """Stand of one writer: last row handed to the mirror, last row known to have landed, bytes logged and not landed
    (about; renewed every discover interval)."""

    shipped_row: int = 0
    landed_row: int = 0
    lag_bytes: int = 0


@dataclass(slots=True)
class ShipperStats:
    """What a shipper is doing; read it from any thread.

    Attributes:
        state: `away` while the remote does not answer or nothing lands; shipping goes on by itself.
        error: the last reason for `away`; "" while all is well.
        records, rows, bytes: handed to the mirror, repeats after a loss included.
        transactions, retries, busy: landed transactions; attempts after the remote was away; full queues met.
        moved_ns: when (wall clock) a round last ended with all well: not `away`; 0 before the first.
        keys: stand of each writer.
    """

    state: State = "starting"
    error: str = ""
    records: int = 0
    rows: int = 0
    bytes: int = 0
    transactions: int = 0
    retries: int = 0
    busy: int = 0
    moved_ns: int = 0
    keys: dict[WriterKey, KeyProgress] = field(default_factory=dict)

    @property
    def lag_bytes(self) -> int:
        return sum(progress.lag_bytes for progress in list(self.keys.values()))


class _Lane:
    """One writer on its way: what was read and not sent yet, what was sent and has not landed yet."""

    def __init__(self, root: Path, key: WriterKey, progress: KeyProgress) -> None:
        self.key = key
        self.progress = progress
        self.transactional = TOPIC_BY_NUMBER[key.topic].commit == "transactional"
        self.reader = LogReader(root, key)
        self.attached = False  # no: the remote's last row must be asked for before anything is sent
        self.pending: deque[LogRecord] = deque()
        self.flying: deque[tuple[int, int]] = deque()  # last row, bytes
        self.held_row = -1

    def attach(self, root: Path, landed_row: int, skip_corrupt: bool) -> None:
        """Read on behind the last landed row.

        Raises:
            IntegrityError: the log lost rows that the remote has, or has not yet.
        """
        self.pending.clear()
        self.flying.clear()
        self.reader.close()
        self.reader = LogReader(root, self.key, landed_row + 1, skip_corrupt=skip_corrupt)
        self.progress.shipped_row = self.progress.landed_row = landed_row
        self.attached = True

    def fill(self, bytes_max: int) -> bool:
        """Read on when nothing is pending; whether something is."""
        if not self.pending:
            self.pending.extend(self.reader.poll(bytes_max))
        return bool(self.pending)

    def sent(self) -> LogRecord:
        """The first pending record is with the mirror now."""
        record = self.pending.popleft()
        self.flying.append((record.row_last, len(record.frame)))
        self.progress.shipped_row = record.row_last
        return record

    def settle(self, landed_row: int) -> bool:
        """Note a landed row; whether that is news."""
        news = landed_row > self.progress.landed_row
        while self.flying and self.flying[0][0] <= landed_row:
            self.flying.popleft()
        self.progress.landed_row = max(self.progress.landed_row, landed_row)
        return news

    def measure(self) -> None:
        behind = self.reader.bytes_behind() + sum(len(record.frame) for record in self.pending)
        self.progress.lag_bytes = behind + sum(size for _, size in self.flying)

    def landed_all(self) -> bool:
        return self.attached and not self.pending and not self.flying and self.reader.at_end()


class _Retry:
    """Pauses while a client of the remote fails: doubling, with full jitter."""

    def __init__(self, options: ShipperOptions, jitter: random.Random) -> None:
        self._options = options
        self._jitter = jitter
        self._pause_s = options.retry_first_s
        self.at_ns = 0
        self.error = ""

    def fail(self, now_ns: int, error: str) -> None:
        self.error = error
        self.at_ns = now_ns + int(self._jitter.uniform(0, self._pause_s) * 1e9)
        self._pause_s = min(self._pause_s * 2, self._options.retry_max_s)

    def succeed(self) -> None:
        self.error = ""
        self._pause_s = self._options.retry_first_s


class Shipper:
    """Ships the log below `root`.

    Args:
        root: the local log's root.
        mirror: where to.
        options: see ShipperOptions.
        jitter: generator for the pauses between retries.

    Raises:
        ResourceExhausted: another shipper holds this root (it is named).
    """

    def __init__(
        self,
        root: Path,
        mirror: Mirror,
        options: ShipperOptions | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        jitter: random.Random | None = None,
    ) -> None:
        self.stats = ShipperStats()
        self._root = root
        self._mirror = mirror
        self._options = options or ShipperOptions()
        self._clock = clock
        self._lanes: dict[WriterKey, _Lane] = {}
        self._turn = 0
        self._stop = threading.Event()
        self._discover_at_ns = self._transaction_at_ns = clock.monotonic_ns()
        self._retries = {kind: _Retry(self._options, jitter or entropy()) for kind in (IDEMPOTENT, TRANSACTIONAL)}
        self._landing_ns = clock.monotonic_ns()  # when something landed, or nothing was in flight
        self._lock = ProcessLock(root / LOCK_NAME, f"The shipper of {root}")

    def run(self) -> bool:
        """Ship until `stop`, then land the rest.

        Returns:
            Whether everything landed. If not, the next shipper goes on where this one ended.

        Raises:
            IntegrityError: the local log is damaged, or does not reach as far as the remote.
            Fenced: another shipper took over.
        """
        try:
            pause_s = self._options.idle_first_s
            while not self._stop.is_set():
                if self.step():
                    pause_s = self._options.idle_first_s
                else:
                    self._clock.sleep(pause_s)
                    pause_s = min(pause_s * 2, self._options.idle_max_s)
            return self._drain()
        finally:
            self.close()

    def stop(self) -> None:
        """Ask `run` to end; for signal handlers and other threads."""
        self._stop.set()

    def close(self) -> None:
        for lane in self._lanes.values():
            lane.reader.close()
        self.stats.state = "stopped"
        self._lock.close()

    def step(self) -> bool:
        """One round over all writers; whether anything moved."""
        now_ns = self._clock.monotonic_ns()
        if now_ns >= self._discover_at_ns:
            self._discover_at_ns = now_ns + self._options.discover_interval_ns
            self._discover()
            self._note(now_ns)
        moved = False
        for kind, retry in self._retries.items():
            if now_ns < retry.at_ns:
                continue
            try:
                moved |= self._ship_kind(kind, now_ns)
                retry.succeed()
            except BrokerUnavailable as error:
                self._lose(kind, error)
        return self._settle(now_ns) or moved

    def _ship_kind(self, kind: bool, now_ns: int) -> bool:
        """One round over the idempotent or the transactional writers; each has a client of its own."""
        self._attach_all(kind)
        if kind is IDEMPOTENT:
            moved = [self._ship(lane) for lane in self._in_turn(kind)]  # each has its turn, whatever the others did
            return any(moved)
        return now_ns >= self._transaction_at_ns and self._ship_transaction(now_ns)

    def _discover(self) -> None:
        for key in writer_keys(self._root):
            ours = self._options.incarnation in (None, key.incarnation)
            if ours and key not in self._lanes:
                self._lanes[key] = _Lane(self._root, key, self.stats.keys.setdefault(key, KeyProgress()))

    def _attach_all(self, kind: bool) -> None:
        detached = [lane for lane in self._lanes.values() if lane.transactional is kind and not lane.attached]
        tails: dict[tuple[int, int], dict[WriterKey, int]] = {}
        for lane in detached:
            place = (lane.key.topic, lane.key.partition)
            if place not in tails:
                tails[place] = self._mirror.landed(*place)
            lane.attach(self._root, tails[place].get(lane.key, 0), self._options.skip_corrupt)
            self._hold(lane)

    def _in_turn(self, kind: bool) -> list[_Lane]:
        """Writers of a kind, each round beginning with another: a full queue must not starve the last."""
        lanes = [lane for lane in self._lanes.values() if lane.transactional is kind]
        self._turn += 1
        start = self._turn % max(1, len(lanes))
        return lanes[start:] + lanes[:start]

    def _ship(self, lane: _Lane) -> bool:
        """Hand one batch of a writer to the mirror, as far as it takes it."""
        moved = False
        if not lane.pending and not lane.reader.ready():
            return False
        lane.fill(self._options.batch_bytes)
        while lane.pending:
            record = lane.pending[0]
            try:
                self._mirror.append(lane.key, record.frame, record.row_first, record.row_count)
            except Busy:
                self.stats.busy += 1
                return moved
            self._count(lane.sent())
            moved = True
        return moved

    def _ship_transaction(self, now_ns: int) -> bool:
        """Land what the transactional writers have, up to the size of a transaction."""
        batch = list(self._gather())
        if not batch:
            return False
        records = [(lane.key, record.frame, record.row_first, record.row_count) for lane, record in batch]
        try:
            self._mirror.append_transaction(records)
        except Busy:
            self.stats.busy += 1
            return False
        for lane, record in batch:
            self._count(lane.sent())
            lane.settle(record.row_last)
        self.stats.transactions += 1
        self._transaction_at_ns = now_ns + self._options.transaction_interval_ns
        return True

    def _gather(self) -> Iterator[tuple[_Lane, LogRecord]]:
        """Records of one transaction: at least one, and no more bytes than allowed."""
        room = self._options.transaction_bytes_max
        first = True
        for lane in self._in_turn(TRANSACTIONAL):
            if room <= 0:
                return
            lane.fill(room)
            for record in lane.pending:
                room -= len(record.frame)
                if room < 0 and not first:
                    return
                first = False
                yield lane, record

    def _count(self, record: LogRecord) -> None:
        self.stats.records += 1
        self.stats.rows += record.row_count
        self.stats.bytes += len(record.frame)

    def _settle(self, now_ns: int) -> bool:
        """Note what landed; whether there was any."""
        news = False
        for key, row in self._mirror.acknowledged().items():
            lane = self._lanes.get(key)
            if lane is not None and lane.attached and not lane.transactional:
                news |= lane.settle(row)
        if news or not any(lane.flying for lane in self._lanes.values()):
            self._landing_ns = now_ns
        self._say(now_ns)
        return news

    def _say(self, now_ns: int) -> None:
        """State and error, for whoever watches."""
        silent_ns = now_ns - self._landing_ns
        errors = [retry.error for retry in self._retries.values() if retry.error]
        if silent_ns > self._options.away_after_ns:
            errors.append(f"nothing has landed for {silent_ns / 1e9:.0f} s")
        self.stats.error = "; ".join(errors)
        running: State = "draining" if self._stop.is_set() else "shipping"
        self.stats.state = "away" if errors else running
        if not errors:
            self.stats.moved_ns = self._clock.now_ns()

    def _lose(self, kind: bool, error: BrokerUnavailable) -> None:
        """A client is lost: everything that it had in flight is unknown; ask again after a pause."""
        for lane in self._lanes.values():
            if lane.transactional is kind:
                lane.attached = False
        self.stats.retries += 1
        self._retries[kind].fail(self._clock.monotonic_ns(), str(error))

    def _note(self, now_ns: int) -> None:
        for lane in self._lanes.values():
            lane.measure()
            if lane.attached:
                self._hold(lane)
        if now_ns - self._landing_ns > self._options.away_after_ns:
            self._flush(0.0)  # a client that died silently says so here

    def _hold(self, lane: _Lane) -> None:
        """Tell retention what it may remove."""
        if lane.held_row != lane.progress.landed_row:
            lane.held_row = lane.progress.landed_row
            write_hold(self._root, lane.key, lane.held_row)

    def _drain(self) -> bool:
        """Land what is logged by now, if the time suffices."""
        deadline_ns = self._clock.monotonic_ns() + self._options.drain_timeout_ns
        self._discover()
        while True:
            moved = self.step()
            now_ns = self._clock.monotonic_ns()
            landed = all(lane.landed_all() for lane in self._lanes.values())
            if landed or now_ns > deadline_ns:
                self._note(now_ns)
                return landed
            if not moved:
                self._flush(self._options.idle_max_s)
                self._clock.sleep(self._options.idle_first_s)

    def _flush(self, timeout_s: float) -> None:
        try:
            self._mirror.flush(timeout_s)
        except BrokerUnavailable as error:
            self._lose(IDEMPOTENT, error)
