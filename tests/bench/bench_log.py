"""The local log against the machine: plain writes, bare checksums, pipes.

`python -m tests.bench.bench_log [directory]`
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
import statistics
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
from crc32c import crc32c

from schemas.address import Origin
from schemas.events import BOOK_DELTA, RAW_FRAME, FrameKind
from schemas.frame import encode
from streams.api import WriterKey
from streams.log import FsyncPolicy, LogOptions, LogReader, LogWriter
from tests.bench.real_rows import real_rows
from tests.bench.result import Result, print_results
from tests.recordings import recordings_dir

RECORDING = "usdm_btcusdt_20240808.gz"
KEY = WriterKey(3, 0, 64, 1)
ROUND_BYTES, ROUNDS = 8 << 20, 30
DELTA_ROWS = 540  # rows in a frame of about 12 KB
SMALL_BYTES = (150, 300)
APPEND_GOAL, SCAN_GOAL_GB, VISIBLE_GOAL_US = 0.9, 5.0, 10.0
SYNC_APPENDS, SHOUTS = 300, 3000


def real_frames() -> tuple[list[bytes], list[bytes], str]:
    """Frames of about 12 KB (book deltas) and of about 200 bytes (wire messages); random bytes without recordings."""
    path = recordings_dir() / RECORDING
    if not path.exists():
        rng = random.Random(1)
        sizes = (12_000, 200)
        large, small = ([rng.randbytes(size) for _ in range(64)] for size in sizes)
        return large, small, "random bytes: no recording at hand"
    _, deltas = real_rows(path)
    cause = Origin(1, 0, 1, 1)
    starts = range(0, min(len(deltas), 64 * DELTA_ROWS) - DELTA_ROWS, DELTA_ROWS)
    large = [encode(BOOK_DELTA, 64, 1, 1, cause, deltas[start : start + DELTA_ROWS]) for start in starts]
    with gzip.open(path) as lines:
        bodies = [line.partition(b" ")[2].rstrip() for line in islice(lines, 2000)]
    small = [frame for frame in map(wire_frame, bodies) if SMALL_BYTES[0] <= len(frame) <= SMALL_BYTES[1]]
    return large, small[:64], "real frames"


def wire_frame(body: bytes) -> bytes:
    row = RAW_FRAME.empty(1)
    row["payload_size"], row["kind"] = len(body), FrameKind.TEXT
    return encode(RAW_FRAME, 1, 1, 1, Origin(), row, np.frombuffer(body, dtype=np.uint8))


@contextmanager
def directory() -> Iterator[Path]:
    """Where the figures are taken: the machine's temporary directory."""
    path = Path(tempfile.mkdtemp())
    try:
        yield path
    finally:
        shutil.rmtree(path)


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this thread: nothing measured by it waits, and what else runs on the machine counts less."""
    started = time.thread_time()
    work()
    return time.thread_time() - started


def append_results(root: Path, frames: list[bytes], fsync: FsyncPolicy, note: str) -> Result:
    """Rounds of appends and of plain writes in turn, CPU time; the best of each. With `interval` the syncing is done
    by a thread of its own and not counted."""
    mean = statistics.mean(map(len, frames))
    batch = (frames * (int(ROUND_BYTES / mean / len(frames)) + 1))[: int(ROUND_BYTES / mean)]
    writer = LogWriter(root / fsync / str(len(frames[0])), KEY, LogOptions(fsync=fsync))

    def append_all() -> None:
        append, row = writer.append, writer.last_row + 1
        for frame in batch:
            append(frame, row, 1, row)
            row += 1

    def write_all() -> None:
        write = os.write
        for frame in batch:
            write(file, frame)

    ours, plain = [], []
    file = os.open(root / "plain", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for _ in range(ROUNDS):
        ours.append(cpu_seconds(append_all))
        plain.append(cpu_seconds(write_all))
    os.close(file)
    writer.close()
    size = sum(map(len, batch))
    ratio = min(plain) / min(ours)
    return Result(
        f"append frames of {mean:,.0f} bytes, fsync {fsync}",
        round(size / min(ours) / 1e6),
        "MB/s",
        "os.write of the same frames",
        round(size / min(plain) / 1e6),
        f"≥ {APPEND_GOAL} × plain write",
        ratio >= APPEND_GOAL,
        f"{ratio:.2f} ×; {min(ours) / len(batch) * 1e9:,.0f} ns an append; median of rounds "
        f"{statistics.median(plain) / statistics.median(ours):.2f} ×; {note}",
    )


def every_append_result(root: Path, frames: list[bytes], note: str) -> Result:
    """Each append waits for the disk: against write and fdatasync into a file that was allocated before."""
    writer = LogWriter(root / "every", KEY, LogOptions(fsync="every-append"))
    ours = []
    for index in range(SYNC_APPENDS):
        frame, row = frames[index % len(frames)], index + 1
        started = time.perf_counter()
        writer.append(frame, row, 1, row)
        ours.append(time.perf_counter() - started)
    writer.close()
    file = os.open(root / "plain", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.posix_fallocate(file, 0, 1 << 20)
    plain = []
    for index in range(SYNC_APPENDS):
        started = time.perf_counter()
        os.write(file, frames[index % len(frames)])
        os.fdatasync(file)
        plain.append(time.perf_counter() - started)
    os.close(file)
    figure, reference = (round(statistics.median(times) * 1e6) for times in (ours, plain))
    return Result(
        "append small frames, fsync every-append",
        figure,
        "µs at p50",
        "os.write + fdatasync",
        reference,
        "≤ 1.5 × plain",
        figure <= 1.5 * reference,
        note,
    )


def scan_results(root: Path, frames: list[bytes], goal: float, note: str) -> Result:
    """Poll a whole log, every checksum checked, against the checksum alone over the same mapped bytes."""
    mean = statistics.mean(map(len, frames))
    writer = LogWriter(root / "scan" / str(len(frames[0])), KEY, LogOptions(fsync="none"))
    count = int(8 * ROUND_BYTES / mean)
    for row in range(1, count + 1):
        writer.append(frames[row % len(frames)], row, 1, row)
    writer.close()
    held = []

    def scan() -> int:
        reader, seen = LogReader(root / "scan" / str(len(frames[0])), KEY), 0
        while records := reader.poll():
            seen += len(records)
        return seen

    reader = LogReader(root / "scan" / str(len(frames[0])), KEY)
    while records := reader.poll():
        held += [record.frame for record in records]

    def bare() -> None:
        for frame in held:
            crc32c(frame)

    assert scan() == count
    ours, plain = min(cpu_seconds(scan) for _ in range(15)), min(cpu_seconds(bare) for _ in range(15))
    size = sum(map(len, held))
    return Result(
        f"scan frames of {mean:,.0f} bytes, CRC checked",
        round(size / ours / 1e9, 2),
        "GB/s",
        "crc32c alone, frame by frame",
        round(size / plain / 1e9, 2),
        f"≥ {goal} GB/s",
        size / ours / 1e9 >= goal,
        f"{ours / count * 1e9:,.0f} ns a record, {count / ours / 1e6:.2f} M records/s; {note}",
    )


def visible_result(root: Path) -> Result:
    """From before `append` in one process to its frame in hand in another, and the same through a pipe."""
    pack = struct.Struct("<q").pack
    child = os.fork()
    if child == 0:
        writer = LogWriter(root / "shout", KEY, LogOptions(fsync="none"))
        for row in range(1, SHOUTS + 1):
            time.sleep(100e-6)
            writer.append(pack(time.perf_counter_ns()) + bytes(192), row, 1, row)
        os._exit(0)
    reader = LogReader(root / "shout", KEY)
    heard: list[int] = []
    while len(heard) < SHOUTS:
        heard += [time.perf_counter_ns() - struct.unpack_from("<q", record.frame)[0] for record in reader.poll()]
    os.waitpid(child, 0)
    ours, pipe = sorted(heard), sorted(pipe_latencies())
    p50, p99 = ours[SHOUTS // 2] / 1e3, ours[SHOUTS * 99 // 100] / 1e3
    return Result(
        "append in one process to frame in hand in another",
        round(p50, 1),
        "µs at p50",
        "os.pipe, blocking reader",
        round(pipe[SHOUTS // 2] / 1e3, 1),
        f"≤ {VISIBLE_GOAL_US} µs",
        p50 <= VISIBLE_GOAL_US,
        f"p99 {p99:.1f} µs; polling reader, no system call",
    )


def pipe_latencies() -> list[int]:
    pack = struct.Struct("<q").pack
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        for _ in range(SHOUTS):
            time.sleep(100e-6)
            os.write(write_end, pack(time.perf_counter_ns()) + bytes(192))
        os._exit(0)
    heard = []
    for _ in range(SHOUTS):
        data = os.read(read_end, 200)
        heard.append(time.perf_counter_ns() - struct.unpack_from("<q", data)[0])
    os.waitpid(child, 0)
    os.close(read_end)
    os.close(write_end)
    return heard


def run() -> list[Result]:
    """All figures of the local log."""
    large, small, note = real_frames()
    with directory() as root:
        return [
            append_results(root, large, "none", note),
            append_results(root, small, "none", note),
            append_results(root, large, "interval", note),
            append_results(root, small, "interval", note),
            every_append_result(root, small, note),
            scan_results(root, large, SCAN_GOAL_GB, note),
            scan_results(root, small, 0.2, note),
            visible_result(root),
        ]


if __name__ == "__main__":
    print_results(run())
