"""What a process says of itself: a small file in the session, rewritten four times a second.

The parent reads them for its view, and to know when everybody has done everything; a dead process leaves
its last word behind.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
import psutil

from infra.sessions.store import write_atomic
from streams.api import WriterKey
from streams.clock import Clock
from streams.pipelines import writer_label
from streams.topics import TOPIC_BY_NUMBER

if TYPE_CHECKING:
    from streams.runner import Runner

PERIOD_S = 0.25
State = Literal["starting", "running", "stopping", "stopped", "failed"]


@dataclass
class Status:
    """One process, now.

    Attributes:
        service: its name.
        state, detail: how it is, and what it is doing in words.
        pid, started_ns, updated_ns: who wrote this, and when.
        beat_ns: when its main loop last turned, where it says so: this file is written by another thread.
        rss_bytes: resident memory now.
        rss_bytes_warm: resident memory when the first rows had passed: what is above it later has grown.
        rows_in, rows_out, bytes_in, bytes_out, dead, repeats_dropped, row_gaps, checkpoints, reconnects: since it
            started.
        taken: last row processed (and journalled) of each sequence that it reads.
        written: last row written (and committed) of each sequence that it writes.
        moved_ns: by pipeline that runs here, when the slowest of its tasks took rows or found that none wait: the rule
            may stand still in its thread while this file is still written.
        facts: what only this kind of process has to say.
    """

    service: str
    state: State = "starting"
    detail: str = ""
    pid: int = 0
    started_ns: int = 0
    updated_ns: int = 0
    beat_ns: int = 0
    rss_bytes: int = 0
    rss_bytes_warm: int = 0
    rows_in: int = 0
    rows_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dead: int = 0
    repeats_dropped: int = 0
    row_gaps: int = 0
    checkpoints: int = 0
    reconnects: int = 0
    taken: dict[WriterKey, int] = field(default_factory=dict)
    written: dict[WriterKey, int] = field(default_factory=dict)
    moved_ns: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> bytes:
        content = asdict(self)
        for name in ("taken", "written"):
            content[name] = [[*key, row] for key, row in getattr(self, name).items()]
        return orjson.dumps(content)

    @classmethod
    def from_json(cls, data: bytes) -> Status:
        content = orjson.loads(data)
        for name in ("taken", "written"):
            content[name] = {WriterKey(*row[:4]): row[4] for row in content[name]}
        return cls(**content)


def read_all(folder: Path) -> dict[str, Status]:
    """The latest word of every process of a session, by service."""
    found: dict[str, Status] = {}
    for path in sorted(folder.glob("*.json")):
        status = Status.from_json(path.read_bytes())
        found[status.service] = status
    return found


def merge_rows(parts: Iterable[Mapping[WriterKey, int]]) -> dict[WriterKey, int]:
    """The highest row of each sequence."""
    merged: dict[WriterKey, int] = {}
    for part in parts:
        for key, row in dict(part).items():  # a copy: its owner goes on writing
            merged[key] = max(row, merged.get(key, 0))
    return merged


def label(key: WriterKey) -> str:
    """A sequence in words: `md.trade.v1/2 of wire_binance_usdm/0`."""
    return f"{TOPIC_BY_NUMBER[key.topic].name}/{key.partition} of {writer_label(key.writer)}"


def fill_from_runners(status: Status, runners: Sequence[Runner]) -> None:
    """Sums over the tasks of a process."""
    stats = [runner.stats for runner in runners]
    for name in ("rows_in", "rows_out", "bytes_in", "bytes_out", "dead", "repeats_dropped", "row_gaps", "checkpoints"):
        setattr(status, name, sum(getattr(one, name) for one in stats))
    status.taken = merge_rows(one.taken for one in stats)
    status.written = merge_rows(one.written for one in stats)
    status.detail = ", ".join(f"{runner.label} {runner.stats.state}" for runner in runners)
    status.moved_ns = {}
    for runner in runners:
        name, moved_ns = runner.engine.row.name, runner.stats.moved_ns
        status.moved_ns[name] = min(moved_ns, status.moved_ns.get(name, moved_ns))


class StatusWriter:
    """Writes the status of this process until it is closed."""

    def __init__(
        self,
        folder: Path,
        service: str,
        fill: Callable[[Status], None],
        clock: Clock,
        written: Callable[[Status], object] = lambda status: None,
    ) -> None:
        """
        Args:
            fill: sets the fields that only the service knows; called from the writer's thread.
            written: called with every status that was written.
        """
        self.status = Status(service, pid=psutil.Process().pid, started_ns=clock.now_ns())
        self._path = folder / f"{service}.json"
        self._fill = fill
        self._written = written
        self._clock = clock
        self._process = psutil.Process()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)

    def __enter__(self) -> StatusWriter:
        self.write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._ended.set()
        self._thread.join()
        if error is not None:
            self.status.detail = f"{type(error).__name__}: {error}"
        self.write("failed" if error is not None else "stopped")

    def write(self, state: State | None = None) -> None:
        """Write it now, in a new state where one is given."""
        with self._lock:
            status = self.status
            status.state = state or status.state
            self._fill(status)
            status.rss_bytes = self._process.memory_info().rss
            if not status.rss_bytes_warm and status.rows_in:
                status.rss_bytes_warm = status.rss_bytes
            status.updated_ns = self._clock.now_ns()
            write_atomic(self._path, status.to_json())
            self._written(status)

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_S):
            self.write()
