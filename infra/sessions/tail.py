"""Rows of any topic as they are: from Kafka or the local log, from a row, a time, the start or the end, by key."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from infra.sessions.address import cause_of
from infra.sessions.rows_text import row_columns, row_values
from schemas.declare import Event
from schemas.errors import ConfigInvalid
from schemas.instruments import instrument_id
from streams.api import Chunk, Source, StartAt, TopicPartition
from streams.pipelines import writer_label
from streams.topics import Topic

ADDRESS_COLUMNS = ("partition", "writer", "row")
POLL_NS = 100_000_000


@dataclass(frozen=True)
class Where:
    """Where to begin: exactly one of these.

    Attributes:
        last: that many last rows (0: only what comes from now on); None for another way.
        ts_recv_ns: rows received then or later.
        row: rows with that number or a later one, of each writer.
    """

    last: int | None = None
    ts_recv_ns: int | None = None
    row: int = 1


def parse_where(text: str) -> Where:
    """`start`, `end`, `-N` (the last N rows), a row number, or a time (ISO 8601; UTC unless it says otherwise).

    Raises:
        ConfigInvalid: none of these.
    """
    if text == "start":
        return Where()
    if text == "end":
        return Where(last=0)
    if re.fullmatch(r"-\d+", text):
        return Where(last=int(text[1:]))
    if text.isdigit():
        return Where(row=int(text))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigInvalid(
            f"--from {text!r} is not a place: say start, end, -N, a row number, or a time such as 2026-01-31T09:15:00."
        ) from None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return Where(ts_recv_ns=int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000)


def columns(row: Topic) -> tuple[str, ...]:
    """Names of what `tail` yields for a topic: the address, the event's columns, the cause where rows have one."""
    return (*ADDRESS_COLUMNS, *row_columns(row.event), *(("cause",) if row.event.caused else ()))


def has_instrument(row: Topic) -> bool:
    """Whether rows of that topic are about an instrument."""
    return any(field.name == "instrument" for field in row.event.fields)


Values = tuple[object, ...]


def tail(
    row: Topic,
    source: Source,
    where: Where,
    *,
    key: str = "",
    follow: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    names: Callable[[int], str] = str,
) -> Iterator[Values]:
    """Rows in the order in which the transport gives them.

    Args:
        key: only rows of this key: an instrument (`venue:symbol` or its id), else the text of the key column.
        follow: go on when the end is reached.
        names: instrument ids to names.
    """
    partitions = [TopicPartition(row.number, number) for number in range(row.partitions)]
    source.assign(partitions, StartAt({}, {}))
    kept: deque[Values] | None = deque(maxlen=where.last) if where.last is not None else None
    match = _matcher(row.event, key)
    while not stopped():
        chunks = source.poll(POLL_NS)
        for chunk in chunks:
            for values in _values(row, chunk, where, match, names):
                if kept is None:
                    yield values
                else:
                    kept.append(values)
        if not chunks and all(source.at_end(partition) for partition in partitions):
            if kept is not None:
                yield from kept
                kept = None
            if not follow:
                return


def _matcher(event: Event, key: str) -> Callable[[Chunk], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    if not key:
        return lambda chunk: np.ones(len(chunk.rows), dtype=np.bool_)
    field_names = {field.name for field in event.fields}
    if "instrument" in field_names:
        wanted = int(key) if key.isdigit() else instrument_id(key)
        return lambda chunk: np.asarray(chunk.rows["instrument"] == wanted, dtype=np.bool_)
    texts = [field.name for field in event.fields if field.kind == "text"]
    if not texts:
        raise ConfigInvalid(f"Rows of {event.name} have no key to choose by; leave --key out.")

    def match(chunk: Chunk) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        at, size = chunk.rows[f"{texts[0]}_at"], chunk.rows[f"{texts[0]}_size"]
        wanted = key.encode()
        found = [chunk.heap[a : a + s].tobytes() == wanted for a, s in zip(at.tolist(), size.tolist(), strict=True)]
        return np.asarray(found, dtype=np.bool_)

    return match


def _values(
    row: Topic,
    chunk: Chunk,
    where: Where,
    match: Callable[[Chunk], np.ndarray[tuple[int], np.dtype[np.bool_]]],
    names: Callable[[int], str],
) -> Iterator[Values]:
    wanted = match(chunk)
    if where.ts_recv_ns is not None and "ts_recv_ns" in (chunk.rows.dtype.names or ()):
        wanted &= chunk.rows["ts_recv_ns"] >= where.ts_recv_ns
    if where.row > chunk.row_first:
        wanted[: where.row - chunk.row_first] = False
    shown = row_columns(row.event)
    at = shown.index("instrument") if "instrument" in shown else -1
    for index in np.flatnonzero(wanted).tolist():
        values = list(row_values(row.event, chunk.rows, chunk.heap, index))
        if at >= 0:
            values[at] = names(int(chunk.rows["instrument"][index]))
        address = (chunk.key.partition, writer_label(chunk.key.writer), chunk.row_first + index)
        yield (*address, *values, *((_cause(chunk, index),) if row.event.caused else ()))


def _cause(chunk: Chunk, index: int) -> str:
    """Address of the row's cause, as `shriven why` takes it; empty for what a timer or a foreign message did."""
    found = cause_of(chunk.cause, int(chunk.rows["cause_row"][index]))
    return str(found) if found else ""
