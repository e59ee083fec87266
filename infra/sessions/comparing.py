"""Two sessions side by side: plans, code, and what their rows say.

Rows are compared by content (schemas/hashing.py): what a row says, not who heard it and when, instrument by instrument.
So two plays of one recording are equal, though no row hash is: row hashes cover addresses and receive times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from infra.sessions.address import Address
from infra.sessions.certificate import UNHASHED, code_text
from infra.sessions.readback import frames, instrument_names, keys_of, root_of
from infra.sessions.rows_text import row_columns, row_values
from infra.sessions.store import Session
from infra.up.summary import row_hash_of
from schemas.declare import Event, Rows
from schemas.events import JournalKind
from schemas.frame import Frame
from schemas.hashing import ContentHash, has_content
from streams.api import WriterKey
from streams.pipelines import writer_label
from streams.topics import TOPIC_BY_NUMBER, TOPICS, Topic, topic

JOURNAL = "sys.journal.v1"
NOWHERE = "(not there)"


@dataclass(frozen=True)
class Side:
    """One topic of one session.

    Attributes:
        rows: all of them.
        counted: those that count as content.
        row_hash, content_hash: of the topic; the latter is "" for events without content.
        instruments: content hash by instrument id.
    """

    rows: int
    counted: int
    row_hash: str
    content_hash: str
    instruments: Mapping[int, str]


@dataclass(frozen=True)
class Row:
    """One row that counts as content.

    Attributes:
        content: what is compared.
        address, columns: for people.
    """

    content: bytes
    address: Address
    columns: dict[str, Any]


@dataclass(frozen=True)
class Apart:
    """The first row of an instrument that differs: its place among the rows that count, and both versions."""

    instrument: int
    place: int
    first: Row | None
    second: Row | None

    @property
    def fields(self) -> list[str]:
        """Content columns that differ, where both rows are there."""
        if self.first is None or self.second is None:
            return []
        event = TOPIC_BY_NUMBER[self.first.address.key.topic].event
        names = [field.name.removesuffix("_e8") for field in event.fields if field.content]
        return [name for name in names if self.first.columns[name] != self.second.columns[name]]


@dataclass(frozen=True)
class TopicDiff:
    """A topic of both sessions. `equal` is None where nothing says what the rows' content is."""

    topic: str
    sides: tuple[Side, Side]
    equal: bool | None
    apart: Apart | None


@dataclass(frozen=True)
class SessionDiff:
    sessions: tuple[Session, Session]
    plan: list[tuple[str, str, str]]
    code: list[tuple[str, str, str]]
    topics: list[TopicDiff]

    @property
    def equal(self) -> bool:
        return all(one.equal is not False for one in self.topics)


def compare(first: Session, second: Session) -> SessionDiff:
    """Everything in which they differ.

    Raises:
        IntegrityError: stored bytes changed.
    """
    topics = [
        found
        for row in TOPICS
        if row.name not in (*UNHASHED, JOURNAL) and (found := _compare_topic(row, first, second)) is not None
    ]
    plans = [dict(_flat("", one.plan)) for one in (first, second)]
    codes = [dict(_codes(one)) for one in (first, second)]
    return SessionDiff((first, second), _apart(*plans), _apart(*codes), topics)


def _compare_topic(row: Topic, first: Session, second: Session) -> TopicDiff | None:
    sides = _side(row, first), _side(row, second)
    if not sides[0].rows and not sides[1].rows:
        return None
    if not has_content(row.event):
        return TopicDiff(row.name, sides, None, None)
    if sides[0].content_hash == sides[1].content_hash:
        return TopicDiff(row.name, sides, True, None)
    ids = sorted({*sides[0].instruments, *sides[1].instruments})
    differing = [one for one in ids if sides[0].instruments.get(one) != sides[1].instruments.get(one)]
    found = [apart for one in differing if (apart := _first_apart(row, first, second, one)) is not None]
    return TopicDiff(row.name, sides, False, min(found, key=_when, default=None))


def _side(row: Topic, session: Session) -> Side:
    content = ContentHash(row.event) if has_content(row.event) else None
    root = root_of(session)
    count, digest = row_hash_of(root, row, keys_of(root, row), content)
    if content is None:
        return Side(count, 0, digest, "", {})
    return Side(count, sum(content.row_counts.values()), digest, content.hexdigest(), content.digests())


def _first_apart(row: Topic, first: Session, second: Session, instrument: int) -> Apart | None:
    sides = _content_rows(row, first, instrument), _content_rows(row, second, instrument)
    place = 0
    while True:
        place += 1
        one, other = next(sides[0], None), next(sides[1], None)
        if one is None and other is None:
            return None
        if one is None or other is None or one.content != other.content:
            return Apart(instrument, place, one, other)


def _when(apart: Apart) -> int:
    row = apart.first or apart.second
    return int(row.columns.get("ts_event_ns") or 0) if row else 0


def _content_rows(row: Topic, session: Session, instrument: int) -> Iterator[Row]:
    """Rows of one instrument that count, by the rules of `ContentHash`, one by one."""
    event, root = row.event, root_of(session)
    fields = [field for field in event.fields if field.content and not field.name.startswith("reserved")]
    plain = [field.name for field in fields if not field.heap]
    texts = [field.name for field in fields if field.heap]
    owned = {"account", "strategy"} <= set(event.dtype.names or ())
    watched_before: dict[bytes, bytes] = {}  # by account and strategy, where rows have them
    for key in keys_of(root, row):
        for frame in frames(root, key):
            for at in _counting(event, frame.rows, instrument):
                one = frame.rows[at]
                watched = b"".join(one[name].tobytes() for name in event.content_changes)
                owner = one["account"].tobytes() + one["strategy"].tobytes() if owned else b""
                if event.content_changes and watched_before.get(owner) == watched:
                    continue
                watched_before[owner] = watched
                content = b"".join(one[name].tobytes() for name in plain)
                yield Row(
                    content + b"\0".join(_bytes(frame, name, at) for name in texts), *_shown(event, key, frame, at)
                )


def _counting(event: Event, rows: Rows, instrument: int) -> list[int]:
    mask = np.ones(len(rows), dtype=np.bool_)
    if event.content_when is not None:
        column, value = event.content_when
        mask &= rows[column] == value
    if "instrument" in (event.dtype.names or ()):
        mask &= rows["instrument"] == instrument
    found: list[int] = np.flatnonzero(mask).tolist()
    return found


def _bytes(frame: Frame, name: str, at: int) -> bytes:
    start = int(frame.rows[f"{name}_at"][at])
    return frame.heap[start : start + int(frame.rows[f"{name}_size"][at])].tobytes()


def _shown(event: Event, key: WriterKey, frame: Frame, at: int) -> tuple[Address, dict[str, Any]]:
    values = row_values(event, frame.rows, frame.heap, at)
    return Address(key, frame.row_first + at), dict(zip(row_columns(event), values, strict=True))


def _codes(session: Session) -> Iterator[tuple[str, str]]:
    """Fingerprints of code and parameters by task."""
    root = root_of(session)
    for key in keys_of(root, topic(JOURNAL)):
        found: list[int] = []
        for frame in frames(root, key):
            commits = frame.rows["value"][frame.rows["kind"] == JournalKind.COMMIT]
            found += [value for value in commits.tolist() if value not in found]
        yield writer_label(key.writer), " ".join(map(code_text, found))


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """`up.feeds.0.venue` … of a plan."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path, str(value)
        return
    for name, one in items:
        yield from _flat(f"{path}.{name}" if path else str(name), one)


def _apart(first: Mapping[str, str], second: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [
        (name, first.get(name, NOWHERE), second.get(name, NOWHERE))
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name)
    ]


def as_json(found: SessionDiff) -> dict[str, Any]:
    """For machines."""
    names = [one.name for one in found.sessions]
    instruments = {number: name for one in found.sessions for number, name in instrument_names(root_of(one)).items()}
    return {
        "sessions": names,
        "equal": found.equal,
        "plan": [dict(zip(("what", *names), line, strict=True)) for line in found.plan],
        "code": [dict(zip(("task", *names), line, strict=True)) for line in found.code],
        "topics": [
            {
                "topic": one.topic,
                "rows": [side.rows for side in one.sides],
                "content_rows": [side.counted for side in one.sides],
                "row_hashes": [side.row_hash for side in one.sides],
                "content_hashes": [side.content_hash or None for side in one.sides],
                "equal": one.equal,
                "first": _apart_json(one.apart, instruments) if one.apart else None,
            }
            for one in found.topics
        ],
    }


def _apart_json(apart: Apart, names: Mapping[int, str]) -> dict[str, Any]:
    return {
        "instrument": names.get(apart.instrument, str(apart.instrument) if apart.instrument else ""),
        "place": apart.place,
        "fields": apart.fields,
        "rows": [
            {"row": str(row.address), "columns": row.columns} if row else None for row in (apart.first, apart.second)
        ],
    }
