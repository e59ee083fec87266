"""How it runs, as rows: heartbeats (sys.service.v1) and latency histograms (sys.latency.v1) of one process.

They go into the local log like everything that is not decided by a rule; the shipper takes them on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from infra.process.status import Status
from schemas.address import NO_ORIGIN
from schemas.declare import EMPTY_HEAP, Heap, Rows
from schemas.events import HEARTBEAT, Hop, ServiceState
from schemas.frame import encode
from streams.api import WriterKey
from streams.latency import Histogram, latency_row
from streams.log import LogOptions, LogWriter
from streams.pipelines import CONNECTOR_NUMBERS, SERVICE_NUMBER, TASKS_MAX
from streams.runner import Runner
from streams.topics import Topic, topic

BEAT_NS = 5_000_000_000
SEGMENT_BYTES = 1 << 20  # a day of heartbeats
SERVICE, LATENCY = topic("sys.service.v1"), topic("sys.latency.v1")
# Numbers of the service writer, one a process; 0 writes the session's row, workers have their pipeline's number.
SHIPPER_SLOT = 1
CONNECTOR_SLOTS = {venue: 48 + index for index, venue in enumerate(CONNECTOR_NUMBERS)}


def slot_of(pipelines: Iterable[int]) -> int:
    """A worker's slot: the lowest number of its pipelines. A second process in a slot is refused by the log's lock."""
    slot = min(pipelines)
    assert SHIPPER_SLOT < slot < min(CONNECTOR_SLOTS.values()), slot
    return slot


class Vitals:
    """Writes the rows of one process. Not thread-safe.

    Args:
        slot: see `slot_of`.
        runners: whose latencies are written.
    """

    def __init__(self, root: Path, incarnation: int, slot: int, runners: Sequence[Runner] = ()) -> None:
        writer = SERVICE_NUMBER * TASKS_MAX + slot
        options = LogOptions(segment_bytes=SEGMENT_BYTES)
        self._logs = {
            row.number: LogWriter(root, WriterKey(row.number, 0, writer, incarnation), options)
            for row in (SERVICE, LATENCY)
        }
        self._before: dict[tuple[int, Hop], tuple[list[int], int, int]] = {}
        self._beat_ns = 0
        self._runners = runners

    def beat(self, status: Status) -> bool:
        """Write when it is time. Whether it was."""
        interval_ns = status.updated_ns - self._beat_ns
        if self._beat_ns and interval_ns < BEAT_NS and status.state == "running":
            return False
        self._append(SERVICE, *heartbeat(status))
        for runner in self._runners:
            for hop, histogram in runner.stats.latencies.items():
                since = self._since((runner.engine.writer, hop), histogram)
                if since.count and self._beat_ns:
                    row = latency_row(since, hop, runner.engine.writer, status.updated_ns, interval_ns)
                    self._append(LATENCY, row)
        self._beat_ns = status.updated_ns
        return True

    def close(self) -> None:
        for log in self._logs.values():
            log.close()

    def _append(self, row: Topic, rows: Rows, heap: Heap = EMPTY_HEAP) -> None:
        log = self._logs[row.number]
        first = log.last_row + 1
        frame = encode(row.event, log.key.writer, log.key.incarnation, first, NO_ORIGIN, rows, heap)
        log.append(frame, first, len(rows), int(rows["ts_recv_ns"][0]))

    def _since(self, key: tuple[int, Hop], now: Histogram) -> Histogram:
        """What was counted since the last beat. Its largest is the largest of all: a histogram keeps no history."""
        buckets, count, sum_ns = self._before.get(key, ([0] * len(now.buckets), 0, 0))
        found = Histogram()
        found.buckets = [after - before for after, before in zip(now.buckets, buckets, strict=True)]
        found.count, found.sum_ns, found.max_ns = now.count - count, now.sum_ns - sum_ns, now.max_ns
        self._before[key] = (list(now.buckets), now.count, now.sum_ns)
        return found


def heartbeat(status: Status) -> tuple[Rows, Heap]:
    """A status as one row of sys.service.v1."""
    name, detail = status.service.encode(), status.detail.encode()
    row = HEARTBEAT.empty(1)
    row["ts_recv_ns"], row["started_ns"] = status.updated_ns, status.started_ns
    row["rss_bytes"], row["rows_in"], row["rows_out"] = status.rss_bytes, status.rows_in, status.rows_out
    row["service_at"], row["service_size"] = 0, len(name)
    row["detail_at"], row["detail_size"] = len(name), len(detail)
    row["pid"] = status.pid
    row["state"] = ServiceState[status.state.upper()]
    return row, np.frombuffer(name + detail, dtype=np.uint8)
