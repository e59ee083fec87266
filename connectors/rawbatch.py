"""Gathers what a connection hears into RawFrame rows, many to one append.

There is no queue: a batch is handed over when it is large or a moment old, in the thread that reads the
socket. While the sink is busy nothing is read, the kernel's buffer fills, and TCP slows the venue down;
a venue that gives up on us closes, which is a row like any other.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable

import numpy as np

from schemas.declare import Heap, Rows
from schemas.events import RAW_FRAME, FrameKind
from schemas.instruments import Venue

RawSink = Callable[[Rows, Heap], None]
BATCH_BYTES_MAX = 1 << 18  # then it is handed over at once
FEW = 16
_Run = tuple[int, int, int, FrameKind, int, str]  # rows, ts, epoch, kind, status, request
_ROW = struct.Struct("<qIIIIIIiBBH")  # RAW_FRAME
assert _ROW.size == RAW_FRAME.dtype.itemsize


class RawBatch:
    """Rows of one connection (shard).

    Args:
        sink: takes rows and heap, in order; it must have stored them when it returns.
    """

    def __init__(self, venue: Venue, connection: int, sink: RawSink, bytes_max: int = BATCH_BYTES_MAX) -> None:
        self._venue, self._connection, self._sink, self._bytes_max = int(venue), connection, sink, bytes_max
        self._payloads: list[bytes] = []
        self._runs: list[_Run] = []
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
        rows, heap = self._packed(payloads, runs) if len(payloads) <= FEW else self._filled(payloads, runs)
        self._sink(rows, heap)
        self.rows_out += len(rows)

    def _packed(self, payloads: list[bytes], runs: list[_Run]) -> tuple[Rows, Heap]:
        """A few rows, one by one: that is quicker than to fill columns."""
        rows, texts, at = bytearray(), b"".join(payloads), 0
        left = iter(payloads)
        for count, ts_recv_ns, epoch, kind, status, request in runs:
            words = request.encode()
            for payload in itertools.islice(left, count):
                rows += _ROW.pack(
                    ts_recv_ns, len(texts) if words else at + len(payload), len(words), at, len(payload),
                    self._connection, epoch, status, kind, self._venue, 0,
                )  # fmt: skip
                at += len(payload)
            texts += words
        return np.frombuffer(rows, dtype=RAW_FRAME.dtype), np.frombuffer(texts, dtype=np.uint8)

    def _filled(self, payloads: list[bytes], runs: list[_Run]) -> tuple[Rows, Heap]:
        """Many rows, column by column."""
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
        return rows, np.frombuffer(b"".join(payloads), dtype=np.uint8)
