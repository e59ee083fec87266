"""A connector and its wire rule in one process: what is heard is appended, then made into rows beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from connectors.capabilities import Exchange, plan_connections
from connectors.connector import Connector
from infra.process.status import Status, fill_from_runners, merge_rows
from infra.sessions.store import Session
from schemas.declare import Heap, Rows
from schemas.events import RESYNC_REQUEST, FrameKind
from streams.api import Chunk, StartAt, TopicPartition, WriterKey
from streams.clock import SYSTEM_CLOCK
from streams.framing import encode_chunk
from streams.local import LocalSource
from streams.log import LogReader, LogWriter
from streams.pipelines import PIPELINE_BY_NAME, connector_writer
from streams.runner import Runner
from streams.topics import topic

RAW, REQUESTS = topic("raw.frame.v1"), topic("md.resync_request.v1")
STOP_TIMEOUT_S = 5.0
WAIT_S = 0.1
STREAM, SHUTDOWN = b'{"stream":"', b'{"stream":"!'
REPLIES = (b'{"result"', b'{"error"')
MakeRunner = Callable[[int, frozenset[int]], Runner]  # task, writers that it reads


class RawLog:
    """Appends the raw rows of every connection to the local log, and counts the market frames among them.

    Attributes:
        heard: market frames of each open socket, by (connection, epoch).
        rows: raw rows appended.
    """

    def __init__(self, root: Path, venue: str, incarnation: int, shards: Sequence[int]) -> None:
        self.heard: dict[tuple[int, int], int] = {}
        self.rows = 0
        self._logs = {shard: LogWriter(root, raw_key(venue, shard, incarnation)) for shard in shards}

    def append(self, shard: int, rows: Rows, heap: Heap) -> None:
        """Store rows of one connection; called in the feed's thread."""
        append_rows(self._logs[shard], rows, heap)
        self.rows += len(rows)
        self._count(shard, rows, heap)

    def last_rows(self) -> dict[WriterKey, int]:
        return {log.key: log.last_row for log in self._logs.values()}

    def close(self) -> None:
        for log in self._logs.values():
            log.close()

    def _count(self, shard: int, rows: Rows, heap: Heap) -> None:
        if len(rows) == 1 and rows["kind"][0] != FrameKind.TEXT:
            place = (shard, int(rows["epoch"][0]))
            if rows["kind"][0] == FrameKind.OPEN:
                self.heard[place] = 0
            elif rows["kind"][0] == FrameKind.CLOSE:
                self.heard.pop(place, None)
            return
        market = market_frames(rows, heap)
        for epoch in np.unique(rows["epoch"]).tolist():
            place = (shard, epoch)
            self.heard[place] = self.heard.get(place, 0) + int(market[rows["epoch"] == epoch].sum())


def append_rows(log: LogWriter, rows: Rows, heap: Heap) -> None:
    """Append rows behind the last one of a sequence."""
    for one in encode_chunk(Chunk(log.key, log.last_row + 1, rows, heap)):
        log.append(one.frame, one.row_first, one.row_count, one.ts_ns)


def market_frames(rows: Rows, heap: Heap) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which rows are what a venue says of a market: text, and neither an answer of it nor about itself."""
    market = rows["kind"] == FrameKind.TEXT
    for prefix in (*REPLIES, SHUTDOWN):
        market &= ~_begins(rows, heap, prefix)
    return np.asarray(market)


def _begins(rows: Rows, heap: Heap, prefix: bytes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    long_enough = rows["payload_size"] >= len(prefix)
    places = rows["payload_at"].astype(np.int64)[long_enough, None] + np.arange(len(prefix))
    found = np.zeros(len(rows), dtype=np.bool_)
    found[long_enough] = (heap[places] == np.frombuffer(prefix, dtype=np.uint8)).all(axis=1)
    return found


def raw_key(venue: str, shard: int, incarnation: int) -> WriterKey:
    """The sequence of the raw frames of one connection."""
    return WriterKey(RAW.number, shard % RAW.partitions, connector_writer(venue, shard), incarnation)


class Requests:
    """Resync requests of a venue's wire rule that are written from now on."""

    def __init__(self, session: Session, venue: str) -> None:
        row = PIPELINE_BY_NAME[f"wire_{venue}"]
        writers = {row.writer(task) for task in range(RAW.partitions)}
        self._source = LocalSource(session.log, session.incarnation, writers=writers)
        places = [TopicPartition(REQUESTS.number, number) for number in range(REQUESTS.partitions)]
        keys = [
            WriterKey(REQUESTS.number, writer % REQUESTS.partitions, writer, session.incarnation) for writer in writers
        ]
        self._source.assign(places, StartAt({}, {key: _last_row(session.log, key) for key in keys}))

    def new(self) -> Rows:
        """Those written since the last call."""
        chunks = self._source.poll(0)
        return np.concatenate([chunk.rows for chunk in chunks]) if chunks else RESYNC_REQUEST.empty()

    def close(self) -> None:
        self._source.close()


def _last_row(root: Path, key: WriterKey) -> int:
    reader = LogReader(root, key)
    try:
        return reader.last_row
    finally:
        reader.close()


class ConnectorProcess:
    """Everything that runs in it.

    Attributes:
        raw: what was heard.
        runners: the tasks of the wire rule.

    Args:
        make_runner: of the venue's wire pipeline.
    """

    def __init__(self, session: Session, exchange: Exchange, symbols: Sequence[str], make_runner: MakeRunner) -> None:
        venue = exchange.venue.label
        shards = [plan.shard for plan in plan_connections(exchange, symbols)]
        self.raw = RawLog(session.log, venue, session.incarnation, shards)
        self._requests = Requests(session, venue)
        self._connector = Connector(exchange, symbols, self.raw.append, self._requests.new, clock=SYSTEM_CLOCK)
        tasks = sorted({shard % RAW.partitions for shard in shards})
        writers = frozenset(connector_writer(venue, shard) for shard in shards)
        self.runners = [make_runner(task, writers) for task in tasks]

    def run(self, stop: threading.Event) -> None:
        """Listen until asked to stop, then let the rule take everything that was heard.

        Raises:
            ShrivenError: what ended the connector or the rule.
        """
        deaf = threading.Event()
        with ThreadPoolExecutor(len(self.runners), thread_name_prefix="rule") as pool:
            ruling = [pool.submit(self._rule, runner, deaf) for runner in self.runners]
            try:
                self._listen(stop, ruling)
            finally:
                deaf.set()
                wait(ruling)
                self._requests.close()
                self.raw.close()
        for future in ruling:
            future.result()

    def fill(self, status: Status) -> None:
        """The fields of its status that only it knows."""
        fill_from_runners(status, self.runners)
        connections = self._connector.statuses
        status.rows_in = self.raw.rows
        status.written = merge_rows([status.written, self.raw.last_rows()])
        status.reconnects = sum(max(0, one.dials - 1) for one in connections)
        status.detail = ", ".join(f"{one.state} {one.last_trouble}".rstrip() for one in connections)
        status.facts = {
            "trouble": self._connector.trouble,
            "heard": sum(list(self.raw.heard.values())),
            "frames": sum(one.frames for one in connections),
            "snapshots": sum(one.snapshots for one in connections),
            "renewals": sum(one.renewals for one in connections),
        }

    @staticmethod
    def _rule(runner: Runner, deaf: threading.Event) -> None:
        """One task of the wire rule, until nothing more is heard and everything heard is taken."""
        runner.run(lambda: deaf.is_set() and runner.caught_up())

    def _listen(self, stop: threading.Event, ruling: Sequence[Future[None]]) -> None:
        """Run the connection until asked to stop, or until it or the rule ends."""
        while not all(runner.stats.state == "running" for runner in self.runners):
            if stop.wait(WAIT_S / 10) or any(future.done() for future in ruling):
                return
        self._connector.start()
        try:
            while not stop.is_set() and not any(future.done() for future in ruling):
                if self._connector.wait(WAIT_S):
                    return
        finally:
            self._connector.stop(STOP_TIMEOUT_S)
