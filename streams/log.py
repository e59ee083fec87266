"""The local log: append-only, memory-mapped, checksummed; many readers and one locked writer per sequence of rows.

One format, four jobs: the hot path between processes of one machine, store-and-forward in front of the broker, the
whole transport where there is no broker, and the cache for replays. This module is its public face:

* write: `LogWriter`, `LogOptions`
* read: `LogReader`, `LogRecord`, `wait_any`, `writer_keys`
* inspect: `info`, `verify`, `repair_tail`
* keep and move: `retain`, `write_hold`, `dump`, `read_dump`, `import_frames`
"""

from __future__ import annotations

from streams.log_dump import Dumped, dump, import_frames, read_dump
from streams.log_format import (
    FRAME_BYTES_MAX,
    CorruptRecord,
    Damage,
    FsyncPolicy,
    LogOptions,
    LogRecord,
    key_dir,
    writer_keys,
)
from streams.log_reader import LogReader, wait_any
from streams.log_recovery import Recovered, repair_tail
from streams.log_retention import read_hold, retain, write_hold
from streams.log_verify import VerifyReport, WriterInfo, WriterReport, info, verify
from streams.log_writer import LogWriter

__all__ = [
    "FRAME_BYTES_MAX",
    "CorruptRecord",
    "Damage",
    "Dumped",
    "FsyncPolicy",
    "LogOptions",
    "LogReader",
    "LogRecord",
    "LogWriter",
    "Recovered",
    "VerifyReport",
    "WriterInfo",
    "WriterReport",
    "dump",
    "import_frames",
    "info",
    "key_dir",
    "read_dump",
    "read_hold",
    "repair_tail",
    "retain",
    "verify",
    "wait_any",
    "write_hold",
    "writer_keys",
]
