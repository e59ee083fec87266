"""Pulls a session out of Kafka into a local log: afterwards it replays at memory speed, and outlives its topics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from schemas.address import NO_ORIGIN
from schemas.errors import IntegrityError
from schemas.frame import FrameHead, decode, encode
from streams.api import TopicPartition, WriterKey
from streams.kafka_reader import KafkaReader, head_of
from streams.log import LogOptions, LogWriter
from streams.topics import TOPICS, Topic

# How it ran is not sealed: heartbeats, latencies, sessions, snapshots.
SEALED = tuple(
    row for row in TOPICS if row.name != "sys.snapshot.v1" and not (row.owner == "service" and row.name[:4] == "sys.")
)


@dataclass
class Sealed:
    """What was copied.

    Attributes:
        rows: last row per sequence.
        frames, bytes: new ones.
        holed: sequences of compacted topics that have lost superseded rows already; they are not copied.
    """

    rows: dict[WriterKey, int] = field(default_factory=dict)
    frames: int = 0
    bytes: int = 0
    holed: list[WriterKey] = field(default_factory=list)


def seal(
    reader: KafkaReader, root: Path, topics: Iterable[Topic] = SEALED, options: LogOptions | None = None
) -> Sealed:
    """Copy every committed row of the session below `root`; what is there already stays, and is gone on from.

    Raises:
        IntegrityError: Kafka has lost rows that nothing superseded.
        BrokerUnavailable: the broker went away; seal again later.
    """
    result = Sealed()
    for row in topics:
        for partition in range(row.partitions):
            _seal_partition(reader, root, row, TopicPartition(row.number, partition), options, result)
    return result


def _seal_partition(
    reader: KafkaReader, root: Path, row: Topic, place: TopicPartition, options: LogOptions | None, result: Sealed
) -> None:
    writers: dict[WriterKey, LogWriter] = {}
    try:
        for message in reader.messages(place):
            head, frame = head_of(message), message.value() or b""
            if head is None or head.incarnation != reader.incarnation or not head.row_count:
                continue
            key = WriterKey(*place, head.writer, head.incarnation)
            if key in result.holed:
                continue
            if key not in writers:
                writers[key] = LogWriter(root, key, options, row_first=head.row_first)
            if not _append(writers[key], head, frame, message.timestamp()[1] * 1_000_000, result):
                _refuse_hole(row, key, writers[key].last_row, head)
                result.holed.append(key)
            result.rows[key] = writers[key].last_row
    finally:
        for writer in writers.values():
            writer.close()


def _append(writer: LogWriter, head: FrameHead, frame: bytes, ts_ns: int, result: Sealed) -> bool:
    """Append what is new of a frame; False when rows before it are missing."""
    first, count = head.row_first, head.row_count
    if first > writer.last_row + 1:
        return False
    skip = writer.last_row + 1 - first
    if skip >= count:
        return True  # a repeat
    if skip:  # a part of it is one
        whole = decode(frame)
        cause = whole.cause if whole.event.caused else NO_ORIGIN
        frame = encode(whole.event, head.writer, head.incarnation, first + skip, cause, whole.rows[skip:], whole.heap)
    writer.append(frame, first + skip, count - skip, ts_ns)
    result.frames += 1
    result.bytes += len(frame)
    return True


def _refuse_hole(row: Topic, key: WriterKey, last: int, head: FrameHead) -> None:
    if row.cleanup == "delete":
        raise IntegrityError(
            f"{row.name} partition {key.partition}, writer {key.writer}: row {head.row_first} follows row {last}. Rows "
            "between were lost before they reached Kafka, or deleted by age: seal sessions before their retention ends."
        )
