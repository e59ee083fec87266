"""Gathers what a connection hears into RawFrame rows, many to one append.

There is no queue: a batch is handed over when it is large or a moment old, in the thread that reads the
socket. While the sink is busy nothing is read, the kernel's buffer fills, and TCP slows the venue down;
a venue that gives up on us closes, which is a row like any other.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from schemas.declare import Heap, Rows
from schemas.events import RAW_FRAME, FrameKind
from schemas.instruments import Venue

RawSink = Callable[[Rows, Heap], None]
BATCH_BYTES_MAX = 1 << 18  # then it is handed over at once
FEW = 16  # rows: below it they are quicker packed one by one than by columns
TEXT = int(FrameKind.TEXT)
_ROW = struct.Struct("<qIIIIIIiBBH")  # RAW_FRAME
assert _ROW.size == RAW_FRAME.dtype.itemsize


class RawBatch:
    """Rows of one connection (shard).

    Args:
        sink: takes rows and heap, in order; it must have stored them when it returns.
    """

    def __init__(self, venue: Venue, connection: int, sink: RawSink, bytes_max: int = BATCH_BYTES_MAX) -> None:
        self._venue, self._connection, self._sink, self._bytes_max = int(venue), connection, sink, bytes_max
        self._rows = bytearray()
        self._texts: list[bytes] = []  # the heap: each payload, and after it the words of its request
        self._bytes = 0
        self.rows_out = 0

    @property
    def full(self) -> bool:
        return self._bytes >= self._bytes_max

    @property
    def empty(self) -> bool:
        return not self._rows

    def add_texts(self, payloads: list[bytes], epoch: int, ts_recv_ns: int) -> None:
        """Text messages that were heard at once."""
        if len(payloads) <= FEW:
            for payload in payloads:
                self._pack(TEXT, payload, epoch, ts_recv_ns)
            self._texts += payloads
            return
        rows = RAW_FRAME.empty(len(payloads))
        sizes = np.fromiter(map(len, payloads), dtype=np.int64, count=len(payloads))
        ends = self._bytes + np.cumsum(sizes)
        rows["payload_size"], rows["payload_at"], rows["request_at"] = sizes, ends - sizes, ends
        rows["venue"], rows["connection"] = self._venue, self._connection
        rows["ts_recv_ns"], rows["epoch"], rows["kind"] = ts_recv_ns, epoch, TEXT
        self._rows += rows.tobytes()
        self._texts += payloads
        self._bytes = int(ends[-1])

    def add(
        self, kind: FrameKind, payload: bytes, epoch: int, ts_recv_ns: int, status: int = 0, request: str = ""
    ) -> None:
        """One row of any kind."""
        words = request.encode()
        self._pack(kind, payload, epoch, ts_recv_ns, status, len(words))
        self._texts += (payload, words)

    def _pack(
        self, kind: int, payload: bytes, epoch: int, ts_recv_ns: int, status: int = 0, words_bytes: int = 0
    ) -> None:
        at, size = self._bytes, len(payload)
        end = at + size
        self._rows += _ROW.pack(
            ts_recv_ns, end, words_bytes, at, size, self._connection, epoch, status, kind, self._venue, 0
        )
        self._bytes = end + words_bytes

    def flush(self) -> None:
        """Hand over what there is."""
        if not self._rows:
            return
        rows, heap = np.frombuffer(self._rows, RAW_FRAME.dtype), np.frombuffer(b"".join(self._texts), np.uint8)
        self._rows, self._texts, self._bytes = bytearray(), [], 0
        self._sink(rows, heap)
        self.rows_out += len(rows)
