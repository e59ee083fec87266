"""A session's topics, read again from its folder: the local log, or the sealed copy of what Kafka held."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from infra.sessions.rows_text import text
from infra.sessions.store import Session
from schemas.events import INSTRUMENT
from schemas.frame import Frame, decode
from schemas.instruments import Venue, instrument_name
from streams.api import WriterKey
from streams.log import LogReader, writer_keys
from streams.topics import Topic, topic

BYTES_A_POLL = 1 << 22


def root_of(session: Session) -> Path:
    """Where the whole session can be read: the sealed copy of a session over Kafka, else the local log."""
    return session.sealed if session.sealed.exists() else session.log


def keys_of(root: Path, row: Topic) -> list[WriterKey]:
    """Sequences of a topic, in order."""
    return sorted(writer_keys(root, row.name))


def frames(root: Path, key: WriterKey, start_row: int = 1) -> Iterator[Frame]:
    """Every frame of one sequence from the one that holds `start_row` on, in row order, CRC checked.

    Raises:
        IntegrityError: bytes changed.
    """
    reader = LogReader(root, key, start_row)
    try:
        while records := reader.poll(BYTES_A_POLL):
            for record in records:
                yield decode(record.frame)
    finally:
        reader.close()


def topic_frames(root: Path, name: str) -> Iterator[Frame]:
    """Every frame of a topic, sequence by sequence."""
    for key in keys_of(root, topic(name)):
        yield from frames(root, key)


def instrument_names(root: Path) -> dict[int, str]:
    """`venue:symbol` by instrument id, from ref.instrument.v1."""
    names: dict[int, str] = {}
    for frame in topic_frames(root, "ref.instrument.v1"):
        assert frame.event is INSTRUMENT
        for index in range(len(frame.rows)):
            venue = Venue(int(frame.rows["venue"][index]))
            names[int(frame.rows["instrument"][index])] = instrument_name(
                venue, text(frame.rows, frame.heap, "symbol", index)
            )
    return names
