"""Records a venue's streams into a file that can be played again (connectors/recording.py).

The wire rule runs along: it notices when a book breaks, and its requests fetch the snapshots that a
recording needs to be synchronised again after a break.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectors.capabilities import Exchange
from connectors.feed import Feed
from connectors.recording import SNAPSHOT_SUFFIX, STREAM_PREFIX, RecordingWriter
from connectors.session import SessionOptions
from processors.api import Batch, Outputs, Processor, State
from schemas.declare import Heap, Rows
from schemas.events import RESYNC_REQUEST, FrameKind

FLUSH_S = 1.0  # what a killed recorder loses at most
HTTP_OK = 200
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Recorded:
    """What was recorded."""

    lines: int = 0
    snapshots: int = 0
    breaks: int = 0  # closed sockets


class Recorder:
    """Writes a recording until stopped.

    Args:
        exchange, symbols, options: as for `Feed`.
        out: the file, which must not exist.
        wire: the venue's wire rule, fresh.
    """

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        out: Path,
        wire: Processor,
        options: SessionOptions | None = None,
    ) -> None:
        self._exchange, self._wire = exchange, wire
        self._several = len(set(symbols)) > 1
        self._feed = Feed(exchange, symbols, self._take, options=options)
        self._out = out
        self._writer = RecordingWriter(out)
        self._state: State = wire.initial_state()
        self._rows = 0
        self.recorded = Recorded()

    async def run(self, duration_s: float | None = None) -> Recorded:
        """Record for so long, or until `stop` or Ctrl-C. The file is whole afterwards, whatever ends it.

        Raises:
            ConfigInvalid, VenueRejected: as `Feed.run`. ResourceExhausted: the disk is full.
        """
        self._wire.warm()  # before there is a socket that would wait for the compiler
        loop = asyncio.get_running_loop()
        ending = loop.call_later(duration_s, self.stop) if duration_s is not None else None
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop)
        flushing = asyncio.create_task(self._flush_now_and_then())
        try:
            await self._feed.run()
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            flushing.cancel()
            if ending is not None:
                ending.cancel()
            self._writer.close()
            if not self.recorded.lines:
                self._out.unlink()  # a file without a line is no recording, and would stand in the way of the next try
        return self.recorded

    def stop(self) -> None:
        """End soon. Call it in the recorder's thread."""
        self._feed.stop()

    async def _flush_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._writer.flush()

    def _take(self, shard: int, rows: Rows, heap: Heap) -> None:
        for row in rows:
            self._write(row, heap)
        out = Outputs(self._wire.outputs)
        self._wire.on_batch(self._state, Batch(0, out.origin, self._rows + 1, rows, heap), out)
        self._rows += len(rows)
        requests = self._wire.outputs.index(RESYNC_REQUEST)
        for emitted in out.emitted:
            if emitted.output == requests:
                for request in emitted.rows:
                    self._feed.resync_requested(int(request["instrument"]), int(request["attempt"]))

    def _write(self, row: np.void, heap: Heap) -> None:
        """Messages of streams and snapshots; acknowledgements and what is listed say nothing of the market."""
        ts_recv_ns, kind = int(row["ts_recv_ns"]), row["kind"]
        at = int(row["payload_at"])
        payload = heap[at : at + int(row["payload_size"])].tobytes()
        if kind == FrameKind.TEXT and payload.startswith(STREAM_PREFIX):
            self._line(ts_recv_ns, payload)
        elif kind == FrameKind.REST and row["status"] == HTTP_OK:
            request_at = int(row["request_at"])
            request = heap[request_at : request_at + int(row["request_size"])].tobytes().decode()
            symbol = self._exchange.symbol_of_depth_request(request)
            if symbol:
                self.recorded.snapshots += 1
                self._line(ts_recv_ns, self._snapshot_line(symbol, payload))
        elif kind == FrameKind.CLOSE and self.recorded.lines:
            self.recorded.breaks += 1

    def _snapshot_line(self, symbol: str, body: bytes) -> bytes:
        if not self._several:
            return body
        name = (symbol.lower() + SNAPSHOT_SUFFIX).encode()
        return STREAM_PREFIX + name + b'","data":' + body + b"}"

    def _line(self, ts_recv_ns: int, payload: bytes) -> None:
        self._writer.write(ts_recv_ns, payload)
        self.recorded.lines += 1
