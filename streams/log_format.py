"""The local log's bytes: directories, segment header, record, seal; and what can be wrong with them.

``<root>/<topic name>/<partition>/<writer>-<incarnation>/`` holds one writer's sequence of rows, cut into
*segments* named by their first row. All numbers are little-endian, every record begins on 8 bytes.

Segment header, 64 bytes::

     0  magic          8 bytes  "SHRIVLOG"
     8  version        u32
    12  crc            u32      CRC-32C of the header with this field zero
    16  topic, partition, writer, incarnation   4 × u32
    32  row_first      u64      number of the first row that this segment may hold
    40  size_bytes     u64      of the file: it is allocated at once and never shrinks
    48  created_ns     i64      wall clock
    56  ts_before_ns   i64      the highest record time of all segments before

Record, 32 bytes and the frame::

     0  commit         u64      0 until the record is there; then 0x5EC0DA7A in the high half, CRC-32C in the low
     8  row_first      u64
    16  ts_ns          i64
    24  row_count      u32
    28  size           u32      bytes of the frame
    32  zeros          0 to 7   so that the frame ends on 8 bytes
    ..  frame

The CRC covers everything after the commit word, so one call checks a record. The commit word is a single
aligned 8-byte store, and the last one: a reader sees all of a record or nothing. A segment that was left for
the next one ends with the *seal* in the place of a commit word. Neither word can become 0, or the other one,
by one flipped bit.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple

from crc32c import crc32c

from schemas.errors import ConfigInvalid, IntegrityError
from streams.api import WriterKey
from streams.topics import TOPIC_BY_NAME, TOPIC_BY_NUMBER
from streams.topics import topic as topic_row

MAGIC: Final = b"SHRIVLOG"
VERSION: Final = 1
HEADER: Final = struct.Struct("<8sIIIIIIQQqq")
HEADER_BYTES: Final = 64
_CRC_AT: Final = 12

COMMITTED: Final = 0x5EC0DA7A << 32
SEAL: Final = 0x5EA1ED00_0B5E55ED
RECORD_BYTES: Final = 32  # commit word and record header
HEAD: Final = struct.Struct("<QqII")  # row_first, ts_ns, row_count, size
PACK_HEAD: Final = tuple(struct.Struct(f"<QqII{-size & 7}x").pack for size in range(8))  # by frame size modulo 8
SEAL_BYTES: Final = RECORD_BYTES  # so that a reader may unpack a head wherever a commit word may stand

FRAME_BYTES_MAX: Final = 1 << 28  # above every broker's message limit; bounds what a damaged size can cost
SEGMENT_BYTES_MIN: Final = 4096
SEGMENT_FIRST_BYTES: Final = 1 << 20  # a writer's first segment; each next doubles: fifty quiet writers cost 50 MB
TS_NONE_NS: Final = -(1 << 63)  # before every record
SEGMENT_SUFFIX: Final = ".log"
INDEX_SUFFIX: Final = ".index"
NEW_SUFFIX: Final = ".new"

FsyncPolicy = Literal["none", "interval", "every-append"]


@dataclass(frozen=True, slots=True)
class LogOptions:
    """How a log is written and kept.

    Args:
        segment_bytes: size of a grown segment; a writer's first is 1 MiB and each next one doubles.
        fsync: what survives a power loss. `none`: what the kernel happened to write; `interval`: all but the
            last `fsync_interval_ns`; `every-append`: everything that `append` returned for. All three survive
            the death of any process.
        fsync_interval_ns: see above.
        retention_bytes: remove the oldest closed segments of a writer while its files are larger; 0 keeps all.
        retention_ns: remove segments closed longer ago than this (wall clock); 0 keeps all.
        index_every_bytes: distance of entries of the sparse index; a seek reads at most so many headers.
    """

    segment_bytes: int = 64 << 20
    fsync: FsyncPolicy = "interval"
    fsync_interval_ns: int = 1_000_000_000
    retention_bytes: int = 0
    retention_ns: int = 0
    index_every_bytes: int = 256 << 10

    def __post_init__(self) -> None:
        if self.segment_bytes < SEGMENT_BYTES_MIN:
            raise ConfigInvalid(f"segment_bytes is {self.segment_bytes}; at least {SEGMENT_BYTES_MIN} are needed.")
        if self.fsync not in ("none", "interval", "every-append"):
            raise ConfigInvalid(f"fsync policy {self.fsync!r} is unknown; use none, interval or every-append.")
        if min(self.fsync_interval_ns, self.index_every_bytes) < 1 or min(self.retention_bytes, self.retention_ns) < 0:
            raise ConfigInvalid("Log options: intervals must be positive and retentions not negative.")


class LogRecord(NamedTuple):
    """One frame as it stands in the log. `frame` points into the mapped file and stays valid for ever."""

    row_first: int
    row_count: int
    ts_ns: int
    frame: memoryview

    @property
    def row_last(self) -> int:
        return self.row_first + self.row_count - 1


@dataclass(frozen=True, slots=True)
class Damage:
    """A place where the log's bytes are not what was written.

    Attributes:
        path: the segment's file.
        byte_at: where the damaged record begins.
        byte_next: where the next valid record begins; None when there is none in this file.
        row_first: the first row that is lost.
        row_next: the first row that is there again; None when nothing valid follows yet.
        reason: what does not fit.
    """

    path: Path
    byte_at: int
    byte_next: int | None
    row_first: int
    row_next: int | None
    reason: str

    @property
    def rows_lost(self) -> int | None:
        """None: unknown, as nothing valid follows."""
        return None if self.row_next is None else self.row_next - self.row_first

    def __str__(self) -> str:
        rows = f"from row {self.row_first} on" if self.row_next is None else "no row is lost"
        if self.row_next is not None and self.row_next > self.row_first:
            rows = f"rows {self.row_first} to {self.row_next - 1}"
        return f"{self.path}, byte {self.byte_at}: {self.reason}; {rows}"


class CorruptRecord(IntegrityError):
    """A reader met damage. `damage` says where; reading on needs `skip_corrupt`."""

    def __init__(self, damage: Damage) -> None:
        super().__init__(
            f"The local log is damaged: {damage}. Usually a disk or memory fault, or a program that wrote into the"
            " file. `shriven log verify` lists all damage; reading with skip_corrupt goes on behind it."
        )
        self.damage = damage


def key_dir(root: Path, key: WriterKey) -> Path:
    """Directory of one writer's segments.

    Raises:
        ConfigInvalid: the topic's number is not in the table.
    """
    row = TOPIC_BY_NUMBER.get(key.topic)
    if row is None:
        raise ConfigInvalid(f"No topic has number {key.topic}. `shriven topics list` shows what there is.")
    return root / row.name / str(key.partition) / f"{key.writer}-{key.incarnation}"


def writer_keys(root: Path, topic: int | str | None = None, partition: int | None = None) -> list[WriterKey]:
    """Every writer that has a directory below `root`, sorted; of one topic (number or name) or partition if given."""
    number = topic_row(topic).number if isinstance(topic, str) else topic
    found = [
        WriterKey(row.number, int(part), int(writer), int(incarnation))
        for row in TOPIC_BY_NAME.values()
        if number in (None, row.number)
        for part in _names(root / row.name)
        if part.isdecimal() and partition in (None, int(part))
        for writer, dash, incarnation in (name.partition("-") for name in _names(root / row.name / part))
        if dash and writer.isdecimal() and incarnation.isdecimal()
    ]
    return sorted(found)


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def segment_path(directory: Path, row_first: int) -> Path:
    return directory / f"{row_first:020d}{SEGMENT_SUFFIX}"


def segment_rows(directory: Path) -> list[int]:
    """First rows of the segments in a directory, ascending: their names."""
    return sorted(_rows_of(_names(directory)))


def _rows_of(names: list[str]) -> Iterator[int]:
    for name in names:
        stem, suffix = os.path.splitext(name)
        if suffix == SEGMENT_SUFFIX and stem.isdecimal():
            yield int(stem)


class SegmentHeader(NamedTuple):
    key: WriterKey
    row_first: int
    size_bytes: int
    created_ns: int
    ts_before_ns: int


def pack_header(header: SegmentHeader) -> bytes:
    fields = (*header.key, header.row_first, header.size_bytes, header.created_ns, header.ts_before_ns)
    crc = crc32c(HEADER.pack(MAGIC, VERSION, 0, *fields))
    return HEADER.pack(MAGIC, VERSION, crc, *fields)


def unpack_header(data: bytes | memoryview, path: Path) -> SegmentHeader:
    """Read and check a segment's header.

    Raises:
        IntegrityError: it is cut, not a segment, changed, or of a version that this program does not know.
    """
    data = bytes(data[:HEADER_BYTES])
    if len(data) < HEADER_BYTES:
        raise IntegrityError(f"{path}, byte 0: {len(data)} bytes are no segment header. The file was cut.")
    magic, version, crc, topic, partition, writer, incarnation, *rest = HEADER.unpack(data)
    if magic != MAGIC or crc != crc32c(data[:_CRC_AT] + bytes(4) + data[_CRC_AT + 4 :]):
        raise IntegrityError(
            f"{path}, byte 0: the segment header is damaged (magic or checksum). Usually a disk fault, or not a log"
            " file at all. Its rows cannot be trusted to be this writer's: restore the file or remove it."
        )
    if version != VERSION:
        raise IntegrityError(f"{path}: log format version {version}; this program reads version {VERSION}.")
    return SegmentHeader(WriterKey(topic, partition, writer, incarnation), *rest)
