"""Chunks ↔ frames: how many rows go into one message, and how messages become large chunks again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from schemas.address import Origin
from schemas.errors import InputInvalid, IntegrityError
from schemas.frame import Buffer, Frames, decode_many, encode
from streams.api import Chunk, TopicPartition, WriterKey
from streams.message_keys import one_key_each, row_key
from streams.topics import TOPIC_BY_NUMBER, Topic, topic

FRAME_MEMORY_BYTES = 128 << 10  # rows of a frame, as they lie in memory; encoded they are a third to a half of it
_JOURNAL = topic("sys.journal").number


class Encoded(NamedTuple):
    """One frame, ready to be sent.

    Attributes:
        key, row_first, row_count: what it holds.
        ts_ns: the highest receive time of its rows; 0 where they have none.
        message_key: the natural key on compacted topics, else None.
        frame: the bytes.
    """

    key: WriterKey
    row_first: int
    row_count: int
    ts_ns: int
    message_key: bytes | None
    frame: bytes


class Message(NamedTuple):
    """Bytes as a transport delivers them; `position` is where to read on after them."""

    data: Buffer
    position: int


class Undecodable(NamedTuple):
    """A message that is no frame of the topic it lies in."""

    message: Message
    detail: str


def encode_chunk(chunk: Chunk) -> Iterator[Encoded]:
    """Frames of one chunk, in order: on a compacted topic of one key each. A journal chunk is always one frame: it
    is one checkpoint."""
    target = TOPIC_BY_NUMBER[chunk.key.topic]
    count = len(chunk.rows) if target.number == _JOURNAL else max(1, FRAME_MEMORY_BYTES // target.event.dtype.itemsize)
    for part in one_key_each(target, chunk):
        for start in range(0, len(part.rows), count):
            yield _encode_one(target, part.cut(start, min(start + count, len(part.rows))))


def _encode_one(target: Topic, chunk: Chunk) -> Encoded:
    key, event = chunk.key, target.event
    frame = encode(event, key.writer, key.incarnation, chunk.row_first, chunk.cause, chunk.rows, chunk.heap)
    ts_ns = int(chunk.rows["ts_recv_ns"].max()) if "ts_recv_ns" in (event.dtype.names or ()) else 0
    message_key = row_key(target, chunk.rows, chunk.heap, 0) if target.key else None
    return Encoded(key, chunk.row_first, len(chunk.rows), ts_ns, message_key, frame)


def decode_messages(
    place: TopicPartition, messages: Sequence[Message], incarnation: int | None
) -> tuple[list[Chunk], list[Undecodable]]:
    """Messages of one partition, in order, as chunks as large as possible.

    Args:
        incarnation: rows of other sessions are left out; None: of none.
    """
    target = TOPIC_BY_NUMBER[place.topic]
    if not messages:
        return [], []
    try:
        frames = decode_many(target.event, [message.data for message in messages])
    except InputInvalid:
        return _decode_each(place, target, messages, incarnation)
    return list(_groups(place, frames, [message.position for message in messages], incarnation)), []


def decode_own(place: TopicPartition, messages: Sequence[Message], incarnation: int | None) -> list[Chunk]:
    """The same where nobody else may write: a frame that is none is damage.

    Raises:
        IntegrityError: names the place.
    """
    chunks, bad = decode_messages(place, messages, incarnation)
    if bad:
        raise IntegrityError(
            f"{TOPIC_BY_NUMBER[place.topic].name} partition {place.partition}: the message before position "
            f"{bad[0].message.position} is no frame: {bad[0].detail} Another program wrote there, or it is damaged."
        )
    return chunks


def _decode_each(
    place: TopicPartition, target: Topic, messages: Sequence[Message], incarnation: int | None
) -> tuple[list[Chunk], list[Undecodable]]:
    """One of them is no frame of the topic: find out which."""
    chunks: list[Chunk] = []
    bad: list[Undecodable] = []
    for message in messages:
        try:
            frames = decode_many(target.event, [message.data])
        except InputInvalid as error:
            bad.append(Undecodable(message, str(error)))
        else:
            chunks += _groups(place, frames, [message.position], incarnation)
    return chunks, bad


def _groups(
    place: TopicPartition, frames: Frames, positions: Sequence[int], incarnation: int | None
) -> Iterator[Chunk]:
    """Neighbouring frames that continue each other as one chunk, sharing the memory of all."""
    counts = np.diff(frames.starts)
    new = np.ones(len(counts) + 1, dtype=np.bool_)
    new[1:-1] = (
        (frames.writers[1:] != frames.writers[:-1])
        | (frames.incarnations[1:] != frames.incarnations[:-1])
        | (frames.row_firsts[1:] != frames.row_firsts[:-1] + counts[:-1])
        | (frames.causes[1:] != frames.causes[:-1]).any(axis=1)
    )
    edges = np.flatnonzero(new).tolist()
    for first, end in itertools.pairwise(edges):
        rows = frames.rows[frames.starts[first] : frames.starts[end]]
        if len(rows) and incarnation in (None, int(frames.incarnations[first])):
            key = WriterKey(*place, int(frames.writers[first]), int(frames.incarnations[first]))
            cause = Origin(*frames.causes[first].tolist())
            yield Chunk(key, int(frames.row_firsts[first]), rows, frames.heap, cause, positions[end - 1])
