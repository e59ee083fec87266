"""A reader in another process sees what is committed, at once; how soon is printed and measured by the bench."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

from streams.api import WriterKey
from streams.log import LogOptions, LogReader, LogWriter

KEY = WriterKey(1, 0, 31_744, 1)
COUNT = 2000
SECOND_NS = 10**9


def _write(root: Path) -> None:
    writer = LogWriter(root, KEY, LogOptions(segment_bytes=1 << 16, fsync="none"))
    for row in range(1, COUNT + 1):
        writer.append(struct.pack("<qq", row, time.monotonic_ns()) + bytes(200), row, 1, row)
        if row % 4 == 0:
            time.sleep(20e-6)
    writer.close()


def test_reader_in_another_process_sees_every_record_once_and_in_order(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        _write(tmp_path)
        os._exit(0)
    reader = LogReader(tmp_path, KEY)
    seen: list[int] = []
    latencies_ns: list[int] = []
    while len(seen) < COUNT and reader.wait(20 * SECOND_NS, spin_ns=SECOND_NS):
        now_ns = time.monotonic_ns()
        for record in reader.poll():
            row, written_ns = struct.unpack_from("<qq", record.frame)
            assert row == record.row_first
            seen.append(row)
            latencies_ns.append(now_ns - written_ns)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert seen == list(range(1, COUNT + 1))
    latencies_ns.sort()
    assert latencies_ns[len(latencies_ns) // 2] > 0  # one clock: nothing is seen before it is written
    print(f"append to seen: p50 {latencies_ns[COUNT // 2]:,} ns, p99 {latencies_ns[COUNT * 99 // 100]:,} ns")
