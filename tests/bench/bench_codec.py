"""The codec against fastavro on real trade and delta rows: `python -m tests.bench.bench_codec`."""

from __future__ import annotations

import functools
import io
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import fastavro
import numpy as np

from schemas.address import NO_ORIGIN, Origin
from schemas.declare import EMPTY_HEAP, Event, Rows
from schemas.events import BOOK_DELTA, RAW_FRAME, TRADE
from schemas.frame import decode, decode_many, encode, peek, warm
from schemas.hashing import ContentHash, RowHash
from tests.bench.real_rows import real_rows
from tests.bench.result import Result, print_results
from tests.bench.result import seconds_of as best_seconds_of
from tests.recordings import recordings_dir
from tests.reference.frame import parsed, record_of

RECORDING = "usdm_btcusdt_20240808.gz"
CAUSE = Origin(1, 2, 3, 4)
FRAME_ROWS = (512, 2340)  # small ones, and what streams/framing.py cuts: 128 KiB of rows
TWIN_ROWS = 8192  # fastavro is measured on the first so many rows: it would take minutes on all
DECODE_GOAL, ENCODE_GOAL, HASH_GOAL = 55.0, 65.0, 5.0
MILLION = 1e6


seconds_of = functools.partial(best_seconds_of, clock=time.thread_time)


def exhaust(values: Iterable[object]) -> None:
    """Run an iterator, keeping nothing."""
    deque(values, maxlen=0)


def fastavro_figures(event: Event, rows: Rows) -> tuple[float, float]:
    """Million rows a second of fastavro: decoding a frame to dicts, encoding ready-made dicts."""
    records: list[dict[str, Any]] = []
    encoded = []
    for i in range(0, min(len(rows), TWIN_ROWS), 1024):
        part = rows[i : i + 1024]
        records.append(record_of(event, 1, CAUSE, part, EMPTY_HEAP) | {"writer": 1, "incarnation": 1})
        encoded.append(encode(event, 1, 1, 1, CAUSE, part)[5:])
    count = sum(len(record["rows"]) for record in records)
    schema = parsed(event)
    reading = seconds_of(
        lambda: exhaust(fastavro.schemaless_reader(io.BytesIO(data), schema, None) for data in encoded), 3
    )
    writing = seconds_of(
        lambda: exhaust(fastavro.schemaless_writer(io.BytesIO(), schema, record) for record in records), 3
    )
    return count / reading / MILLION, count / writing / MILLION


@dataclass(frozen=True)
class Load:
    """Real rows of one event, cut into frames of one size."""

    event: Event
    size: int
    parts: list[Rows]

    @property
    def count(self) -> int:
        return self.size * len(self.parts)

    def encode(self) -> list[bytes]:
        return [encode(self.event, 1, 1, 1, CAUSE, part) for part in self.parts]

    def result(self, work: str, call: Callable[[], object], peer: str, twin: float, goal: float, note: str) -> Result:
        figure = self.count / seconds_of(call) / MILLION
        return Result(
            f"{work}: {self.event.name} rows of {RECORDING}, {self.size} a frame",
            round(figure, 1),
            "M rows/s",
            f"fastavro {fastavro.__version__}, {peer}",
            round(twin, 3),
            f"≥ {goal:.0f} M rows/s",
            figure >= goal,
            f"{note}; {figure / twin:.0f} × fastavro; seconds of one core",
        )


def load_results(load: Load, read_twin: float, write_twin: float) -> list[Result]:
    """Decoding a frame a call, many frames a call, and encoding."""
    encoded = load.encode()
    log = b"".join(encoded)
    stops = np.cumsum([0, *map(len, encoded)])
    spans = np.stack([stops[:-1], stops[1:]], axis=1)
    into = load.event.empty(load.count)
    whole = decode_many(load.event, log, spans, into).rows
    assert whole.tobytes() == b"".join(part.tobytes() for part in load.parts)
    note = f"{load.count} rows, {len(log) / load.count:.1f} bytes a row"
    reading = ("to dicts", read_twin, DECODE_GOAL, note)
    writing = ("from dicts", write_twin, ENCODE_GOAL, note)
    return [
        load.result("decode, a call per frame", lambda: exhaust(map(decode, encoded)), *reading),
        load.result("decode_many, one call", lambda: decode_many(load.event, log, spans, into), *reading),
        load.result("encode, a call per frame", lambda: exhaust(map(len, _encoding(load))), *writing),
    ]


def _encoding(load: Load) -> Iterator[bytes]:
    for part in load.parts:
        yield encode(load.event, 1, 1, 1, CAUSE, part)


def codec_results(event: Event, rows: Rows) -> list[Result]:
    """Decoding and encoding, frames of two sizes."""
    twins = fastavro_figures(event, rows)
    results = []
    for size in FRAME_ROWS:
        parts = [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]
        results += load_results(Load(event, size, parts), *twins)
    return results


def hash_results(deltas: Rows) -> list[Result]:
    """Row and content hash of deltas, in batches of 4096."""
    parts = [deltas[i : i + 4096] for i in range(0, len(deltas), 4096)]
    row_hash, content = RowHash(BOOK_DELTA), ContentHash(BOOK_DELTA)

    def hash_rows() -> None:
        for part in parts:
            row_hash.update(CAUSE, part)

    def hash_contents() -> None:
        for part in parts:
            content.update(part)

    results = []
    for name, work in (("RowHash", hash_rows), ("ContentHash", hash_contents)):
        figure = len(deltas) / seconds_of(work, 5) / MILLION
        work_name = f"{name}: BookDelta rows of {RECORDING}"
        goal = f"≥ {HASH_GOAL:.0f} M rows/s"
        results.append(Result(work_name, round(figure, 1), "M rows/s", "", 0, goal, figure >= HASH_GOAL))
    return results


def raw_result() -> Result:
    """Raw frames, whose rows point into a heap: bytes a second. No goal was set."""
    payload = b"x" * 290
    count = 256
    rows = RAW_FRAME.empty(count)
    rows["payload_at"], rows["payload_size"] = np.arange(count) * len(payload), len(payload)
    heap = np.frombuffer(payload * count, dtype=np.uint8)
    data = encode(RAW_FRAME, 1, 1, 1, NO_ORIGIN, rows, heap)
    rounds = 50
    decoding = seconds_of(lambda: exhaust(decode(data) for _ in range(rounds)))
    encoding = seconds_of(lambda: exhaust(encode(RAW_FRAME, 1, 1, 1, NO_ORIGIN, rows, heap) for _ in range(rounds)))
    peeking = seconds_of(lambda: exhaust(peek(data) for _ in range(rounds)))
    figure = rounds * count / decoding / MILLION
    note = f"{figure * len(payload) / 1e3:.1f} GB/s; encode {rounds * count / encoding / MILLION:.1f}, peek "
    note += f"{rounds * count / peeking / MILLION:.1f} M rows/s"
    work = f"decode: RawFrame rows of {len(payload)} bytes, {count} a frame"
    return Result(work, round(figure, 1), "M rows/s", "", 0, "none", True, note)


def run() -> list[Result]:
    """Every figure of the codec. Needs the recordings (tests/recordings.py)."""
    warm((TRADE, BOOK_DELTA, RAW_FRAME))
    trades, deltas = real_rows(recordings_dir() / RECORDING)
    return [*codec_results(TRADE, trades), *codec_results(BOOK_DELTA, deltas), *hash_results(deltas), raw_result()]


if __name__ == "__main__":
    print_results(run())
