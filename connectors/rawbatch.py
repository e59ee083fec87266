"""Gathers what a connection hears into RawFrame rows, many to one append.

There is no queue: a batch is handed over when it is large or a moment old, in the thread that reads the
socket. While the sink is busy nothing is read, the kernel's buffer fills, and TCP slows the venue down;
a venue that gives up on us closes, which is a row like any other.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from schemas.declare import Heap, Rows
from schemas.events import RAW_FRAME, FrameKind
from schemas.instruments import Venue

RawSink = Callable[[Rows, Heap], None]
BATCH_BYTES_MAX = 1 << 18  # then it is handed over at once


class RawBatch:
    """Rows of one connection (shard).

    Args:
        sink: takes rows and heap, in order; it must have stored them when it returns.
    """

    def __init__(self, venue: Venue, connection: int, sink: RawSink, bytes_max: int = BATCH_BYTES_MAX) -> None:
        self._venue, self._connection, self._sink, self._bytes_max = int(venue), connection, sink, bytes_max
        self._payloads: list[bytes] = []
        self._runs: list[tuple[int, int, int, FrameKind, int, str]] = []  # rows, ts, epoch, kind, status, request
        self._bytes = 0
        self.rows_out = 0

    @property
    def full(self) -> bool:
        return self._bytes >= self._bytes_max

    @property
    def empty(self) -> bool:
        return not self._payloads

    def add_texts(self, payloads: list[bytes], epoch: int, ts_recv_ns: int) -> None:
        """Text messages that were heard at once."""
        self._payloads += payloads
        self._bytes += sum(map(len, payloads))
        self._runs.append((len(payloads), ts_recv_ns, epoch, FrameKind.TEXT, 0, ""))

    def add(
        self, kind: FrameKind, payload: bytes, epoch: int, ts_recv_ns: int, status: int = 0, request: str = ""
    ) -> None:
        """One row of any kind."""
        self._payloads.append(payload)
        self._bytes += len(payload)
        self._runs.append((1, ts_recv_ns, epoch, kind, status, request))

    def flush(self) -> None:
        """Hand over what there is."""
        if not self._payloads:
            return
        payloads, runs = self._payloads, self._runs
        self._payloads, self._runs, self._bytes = [], [], 0
        rows = RAW_FRAME.empty(len(payloads))
        sizes = np.fromiter(map(len, payloads), dtype=np.int64, count=len(payloads))
        ends = np.cumsum(sizes)
        rows["payload_size"], rows["payload_at"] = sizes, ends - sizes
        rows["venue"], rows["connection"] = self._venue, self._connection
        rows["request_at"] = ends
        texts, start = int(ends[-1]), 0
        for count, ts_recv_ns, epoch, kind, status, request in runs:
            run = rows[start : start + count]
            run["ts_recv_ns"], run["epoch"], run["kind"], run["status"] = ts_recv_ns, epoch, kind, status
            if request:
                payloads.append(request.encode())
                run["request_at"], run["request_size"] = texts, len(payloads[-1])
                texts += len(payloads[-1])
            start += count
        heap = np.frombuffer(b"".join(payloads), dtype=np.uint8)
        self._sink(rows, heap)
        self.rows_out += len(rows)
