"""A log as one portable file, and back: gzip of a header, records and an end mark.

Little-endian, after decompression::

    header   "SHRIVDMP", version u32, 0 u32
    record   topic u32, partition u32, writer u32, incarnation u32, row_first u64, ts_ns i64, row_count u32,
             size u32, crc u32 (CRC-32C of the record's other fields and the frame), 0 u32; then the frame
    end      topic 0xFFFFFFFF, records as row_first; so that a file that was cut is told from a whole one

Records of one writer stand in row order. Topics are their frozen numbers.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from crc32c import crc32c

from schemas.errors import InputInvalid, ResourceExhausted
from streams.api import WriterKey
from streams.log_format import FRAME_BYTES_MAX, NEW_SUFFIX, LogOptions, LogRecord, writer_keys
from streams.log_reader import LogReader
from streams.log_writer import LogWriter
from streams.topics import TOPIC_BY_NUMBER

MAGIC: Final = b"SHRIVDMP"
VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sII")
_RECORD: Final = struct.Struct("<IIIIQqII")
_CRC: Final = struct.Struct("<II")
_END_TOPIC: Final = 0xFFFF_FFFF
_GZIP_LEVEL: Final = 1  # frames are varints and often compressed JSON; higher levels cost time and win 3 %
_BATCH_BYTES: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class Dumped:
    """What went through a dump file.

    Attributes:
        writers, records, rows, bytes: written, or appended; bytes of frames.
        repeats: import only: records that the log already had.
    """

    writers: int
    records: int
    rows: int
    bytes: int
    repeats: int = 0


def dump(
    root: Path,
    path: Path,
    keys: Iterable[WriterKey] | None = None,
    *,
    ts_from_ns: int | None = None,
    ts_to_ns: int | None = None,
    skip_corrupt: bool = False,
) -> Dumped:
    """Copy the log, or some writers of it, or the span of record times from `ts_from_ns` up to `ts_to_ns`
    (exclusive), to one file. Each writer's rows stay consecutive: its span begins with the first record at or
    after `ts_from_ns` and ends before the first at or after `ts_to_ns`.

    Raises:
        CorruptRecord: damage was met (unless `skip_corrupt`).
        ResourceExhausted: the file cannot be written.
    """
    records = rows = size = writers = 0
    new = path.with_name(path.name + NEW_SUFFIX)
    try:
        # No time and no name in gzip's own header: equal logs give equal files.
        with new.open("wb") as raw, gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
            file.write(_HEADER.pack(MAGIC, VERSION, 0))
            for key in writer_keys(root) if keys is None else keys:
                records_before = records
                for record in _span(root, key, ts_from_ns, ts_to_ns, skip_corrupt):
                    head = _RECORD.pack(*key, record.row_first, record.ts_ns, record.row_count, len(record.frame))
                    file.write(head + _CRC.pack(crc32c(record.frame, crc32c(head)), 0))
                    file.write(record.frame)
                    records, rows, size = records + 1, rows + record.row_count, size + len(record.frame)
                writers += records > records_before
            head = _RECORD.pack(_END_TOPIC, 0, 0, 0, records, 0, 0, 0)
            file.write(head + _CRC.pack(crc32c(head), 0))
        os.rename(new, path)
    except OSError as error:
        raise ResourceExhausted(
            f"The dump {path} cannot be written: {error.strerror}. Choose another place."
        ) from error
    finally:
        new.unlink(missing_ok=True)
    return Dumped(writers, records, rows, size)


def _span(
    root: Path, key: WriterKey, ts_from_ns: int | None, ts_to_ns: int | None, skip_corrupt: bool
) -> Iterator[LogRecord]:
    reader = LogReader(root, key, skip_corrupt=skip_corrupt)
    try:
        if ts_from_ns is not None:
            reader.seek_time(ts_from_ns)
        while records := reader.poll(_BATCH_BYTES):
            for record in records:
                if ts_to_ns is not None and record.ts_ns >= ts_to_ns:
                    return
                yield record
    finally:
        reader.close()


def read_dump(path: Path) -> Iterator[tuple[WriterKey, LogRecord]]:
    """The records of a dump file, each checked.

    Raises:
        InputInvalid: not a dump, cut, changed, or of a version that this program does not know.
    """
    try:
        with gzip.open(path, "rb") as file:
            yield from _read(cast(BinaryIO, file), path)
    except (OSError, EOFError, zlib.error) as error:
        raise InputInvalid(f"{path} is not a whole gzip file: {error}. Usually the copy is not complete.") from error


def _read(file: BinaryIO, path: Path) -> Iterator[tuple[WriterKey, LogRecord]]:
    magic, version, reserved = _HEADER.unpack(_exactly(file, _HEADER.size, path))
    if magic != MAGIC or version != VERSION or reserved:
        raise InputInvalid(f"{path} is no dump of a log, or of a version other than {VERSION}.")
    count = 0
    while True:
        head = _exactly(file, _RECORD.size, path)
        crc, reserved = _CRC.unpack(_exactly(file, _CRC.size, path))
        topic, partition, writer, incarnation, row_first, ts_ns, row_count, size = _RECORD.unpack(head)
        frame = _exactly(file, size, path) if size <= FRAME_BYTES_MAX else b""
        if crc32c(frame, crc32c(head)) != crc or reserved:
            raise InputInvalid(f"{path}: the checksum of record {count + 1} does not match. The file was changed.")
        if topic == _END_TOPIC:
            if row_first != count:
                raise InputInvalid(f"{path}: {count} records where {row_first} are announced.")
            return
        if topic not in TOPIC_BY_NUMBER:
            raise InputInvalid(f"{path}: record {count + 1} is of topic number {topic}, which is not in the table.")
        count += 1
        yield (
            WriterKey(topic, partition, writer, incarnation),
            LogRecord(row_first, row_count, ts_ns, memoryview(frame)),
        )


def _exactly(file: BinaryIO, size: int, path: Path) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise InputInvalid(f"{path} ends in the middle of a record. Usually the copy is not complete.")
    return data


def import_frames(path: Path, root: Path, options: LogOptions | None = None) -> Dumped:
    """Append a dump's records to the log below `root`; rows that are already there are left out.

    Raises:
        InputInvalid: see `read_dump`; what came before the bad place has been appended.
        IntegrityError: a writer's rows would not follow those that the log has.
        ResourceExhausted: another process writes to one of the sequences, or the disk is full.
    """
    open_writers: dict[WriterKey, LogWriter] = {}
    records = rows = size = repeats = 0
    try:
        for key, record in read_dump(path):
            writer = open_writers.get(key)
            if writer is None:
                writer = open_writers[key] = LogWriter(root, key, options, row_first=record.row_first)
            if record.row_last <= writer.last_row:
                repeats += 1
                continue
            writer.append(record.frame, record.row_first, record.row_count, record.ts_ns)
            records, rows, size = records + 1, rows + record.row_count, size + len(record.frame)
    finally:
        for writer in open_writers.values():
            writer.close()
    return Dumped(len(open_writers), records, rows, size, repeats)
