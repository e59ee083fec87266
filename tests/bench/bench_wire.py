"""How fast frames of a venue become exact integer rows: beside orjson and msgspec, which only parse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import orjson

from connectors.binance.kernels.layout import FIELDS, KEYS, LEVELS_MAX, TEXT_SCRATCH, Array
from connectors.binance.kernels.scan import scan_all, scan_frame
from connectors.binance.wire import BinanceWire
from connectors.binance_spot.wire import wire as spot_wire
from connectors.binance_usdm.wire import wire as usdm_wire
from connectors.recording import raw_batches
from processors.api import Batch, Outputs
from schemas.declare import Heap, Rows
from schemas.events import FrameKind
from tests.bench.result import Result, print_results, seconds_of
from tests.recordings import recordings_dir

GOAL_CALL_M, GOAL_BATCH_M = 0.6, 4.0
BATCH_ROWS = 1024  # of a call of the whole rule: what a busy connection hands over at once
RECORDINGS: Sequence[tuple[str, str, Callable[[], BinanceWire]]] = (
    ("USD-M BTCUSDT", "usdm_btcusdt_20240808.gz", usdm_wire),
    ("USD-M ETHUSDT", "usdm_ethusdt_20240808.gz", usdm_wire),
    ("Spot BTCUSDT", "spot_btcusdt_20240808.gz", spot_wire),
    ("Spot ETHUSDT", "spot_ethusdt_20240808.gz", spot_wire),
)


class Message(msgspec.Struct):
    """A combined stream's wrapper, for msgspec's typed decoder."""

    stream: str
    data: Payload


class Payload(msgspec.Struct):
    """The union of the fields of depth, trade and bookTicker: decimals stay text, nothing is exact yet."""

    e: str = ""
    E: int = 0
    T: int = 0
    s: str = ""
    t: int = 0
    p: str = ""
    q: str = ""
    U: int = 0
    u: int = 0
    pu: int = 0
    b: list[tuple[str, str]] | str = ""
    B: str = ""
    a: list[tuple[str, str]] | str = ""
    A: str = ""
    m: bool = False
    X: str = ""


class Frames:
    """One recording, as raw rows and as single payloads."""

    def __init__(self, path: Path, wire: BinanceWire) -> None:
        self.wire = wire
        batches = list(raw_batches(path, wire.exchange, 1 << 20))
        assert len(batches) == 1
        self.rows: Rows = batches[0][0]
        self.heap: Heap = batches[0][1]
        texts = self.rows[self.rows["kind"] == FrameKind.TEXT]
        self.at: Array = texts["payload_at"].astype(np.int64)
        self.size: Array = texts["payload_size"].astype(np.int64)
        self.payloads = [
            self.heap[at : at + size].tobytes() for at, size in zip(self.at.tolist(), self.size.tolist(), strict=True)
        ]
        self.buffers = [np.frombuffer(payload, dtype=np.uint8) for payload in self.payloads]
        fields: Array = np.zeros(FIELDS, dtype=np.int64)
        levels: Array = np.zeros((LEVELS_MAX, 2), dtype=np.int64)
        spans: Array = np.zeros((len(KEYS), 2), dtype=np.int64)
        self.scratch = (fields, levels, spans, np.zeros(TEXT_SCRATCH, dtype=np.uint8))

    def millions(self, work: Callable[[], object], repeats: int = 5) -> float:
        return len(self.payloads) / seconds_of(work, repeats) / 1e6

    def scan_each(self) -> None:
        """One call a frame."""
        seed, futures, scratch = self.wire.seed, self.wire.futures, self.scratch
        for buffer in self.buffers:
            scan_frame(buffer, 0, buffer.shape[0], seed, futures, *scratch)

    def scan_batch(self) -> None:
        """One call for all."""
        understood = scan_all(self.heap, self.at, self.size, self.wire.seed, self.wire.futures, *self.scratch)
        assert understood == len(self.payloads)

    def rule(self) -> None:
        """The whole rule, in batches: books synchronised, rows of the declared events emitted."""
        state = self.wire.initial_state()
        whole = Batch(0, Outputs(()).origin, 1, self.rows, self.heap)
        for start in range(0, len(self.rows), BATCH_ROWS):
            self.wire.on_batch(state, whole.cut(start, start + BATCH_ROWS), Outputs(self.wire.outputs))

    def orjson(self) -> None:
        for payload in self.payloads:
            orjson.loads(payload)

    def msgspec(self) -> None:
        decode = msgspec.json.Decoder(Message).decode
        for payload in self.payloads:
            decode(payload)


def run() -> list[Result]:
    """Every figure; needs the real recordings."""
    results = []
    for label, name, make in RECORDINGS:
        frames = Frames(recordings_dir() / name, make())
        frames.wire.warm()
        peer = frames.millions(frames.orjson)
        typed = frames.millions(frames.msgspec)
        data = f"real {label} frames → exact integers"
        each = frames.millions(frames.scan_each)
        unit, goal = "M frames/s", f"≥ {GOAL_CALL_M} M frames/s"
        note = "both peers leave decimals as text"
        for name, theirs in (("orjson.loads", peer), ("msgspec, typed fields", typed)):
            reached = each >= GOAL_CALL_M
            results.append(Result(f"{data}, one call a frame", each, unit, name, theirs, goal, reached, note))
        goal = f"≥ {GOAL_BATCH_M:g} M frames/s"
        batch = frames.millions(frames.scan_batch, 15)
        results.append(
            Result(f"{data}, one call for all", batch, unit, "orjson.loads", peer, goal, batch >= GOAL_BATCH_M, note)
        )
        whole = frames.millions(frames.rule, 15)
        note = f"the whole rule: scanned, books synchronised, rows written, {BATCH_ROWS} frames a call"
        work = f"real {label} frames → trades, deltas, tickers"
        results.append(Result(work, whole, unit, "orjson.loads", peer, goal, whole >= GOAL_BATCH_M, note))
    return results


if __name__ == "__main__":
    print_results(run())
