"""Any row of a session by its address, and rows found by time, without reading the session: the log's sparse index.

Rows are looked for in the local log first, where connectors and people wrote them, then in the sealed copy of Kafka's
topics. Readers stay open, so that many rows of one session cost little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from infra.sessions.address import Address, cause_of, sequence_text
from infra.sessions.store import Session
from schemas.address import Origin
from schemas.declare import Event, Heap, Rows
from schemas.errors import ConfigInvalid, IntegrityError
from schemas.events import JournalKind
from schemas.frame import decode
from streams.api import Chunk, TopicPartition, WriterKey
from streams.framing import Message, decode_own
from streams.log import LogReader, LogRecord, writer_keys
from streams.topics import TOPIC_BY_NUMBER, topic

BYTES_A_POLL = 1 << 16
MARGIN_NS = 5_000_000  # by which a record's time may lie before its rows' (Kafka keeps milliseconds)

Mask = npt.NDArray[np.bool_]


class RowMissing(ConfigInvalid):
    """A row that is asked for is not there: not yet, not here, or never."""


@dataclass(frozen=True)
class Found:
    """One row.

    Attributes:
        rows: exactly one.
        heap: what its text and bytes columns point into.
        cause: address of its cause; None for none.
    """

    address: Address
    event: Event
    rows: Rows
    heap: Heap
    cause: Address | None

    def __getitem__(self, column: str) -> Any:
        return self.rows[column][0].item()

    def bytes_of(self, column: str) -> bytes:
        at, size = self[f"{column}_at"], self[f"{column}_size"]
        return self.heap[at : at + size].tobytes()

    def text(self, column: str) -> str:
        return self.bytes_of(column).decode("utf-8", "backslashreplace")

    @property
    def ts_recv_ns(self) -> int:
        """Its receive time; 0 for events that have none."""
        return int(self["ts_recv_ns"]) if "ts_recv_ns" in (self.event.dtype.names or ()) else 0


class Done(NamedTuple):
    """A place in a task's journal.

    Attributes:
        number: of the checkpoint.
        entry: place of the entry in its frame.
        row_first: row number of the frame's first entry.
        logged_ns: when the checkpoint was committed, wall clock.
    """

    number: int
    entry: int
    row_first: int
    logged_ns: int


class RowStore:
    """Rows of one session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._roots = [root for root in (session.log, session.sealed, session.pulled) if root.exists()]
        self._readers: dict[tuple[Path, WriterKey], LogReader] = {}
        self._keys: dict[int, dict[WriterKey, list[Path]]] = {}
        self._runs: dict[tuple[int, WriterKey], list[tuple[int, int, Done]]] = {}  # what `taken` has found

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self._readers = {}

    def keys(self, name: str) -> list[WriterKey]:
        """Sequences of a topic."""
        return sorted(self._places(topic(name).number))

    def row(self, address: Address) -> Found:
        """The row at an address.

        Raises:
            RowMissing: there is no such sequence, or no such row.
        """
        reasons = []
        for root in self._places(address.key.topic).get(address.key, []):
            reader = self._reader(root, address.key)
            try:
                reader.seek_row(address.row)
            except IntegrityError as error:
                reasons.append(str(error))
                continue
            records = reader.poll(1)
            if records:
                frame = decode(records[0].frame)
                at = address.row - frame.row_first
                return _found(address.key, address.row, frame.rows[at : at + 1], frame.heap, frame.cause)
            reasons.append("it is behind the last row")
        why = "; ".join(reasons) or self._no_sequence(address)
        raise RowMissing(f"There is no row {address} in session {self.session.name}: {why}")

    def elsewhere(self) -> str:
        """Where to find rows that are not here; "" when they would be."""
        if not self.session.broker or len(self._roots) > 1:
            return ""
        return f"its rows are in Kafka only. `shriven seal {self.session.name}` brings them here."

    def _no_sequence(self, address: Address) -> str:
        if self.elsewhere():
            return self.elsewhere()
        number = address.key.incarnation
        if number != self.session.incarnation:
            return f"its incarnation is {self.session.incarnation}, not {number}: the row is of another session."
        return f"nothing was written to {sequence_text(address.key)}."

    def chunks(self, key: WriterKey, ts_ns: int = 0) -> Iterator[Chunk]:
        """Rows of a sequence from about a receive time on (none of that time or later is missing), to the end."""
        for root in self._places(key.topic).get(key, [])[:1]:
            for records in self._records(root, key, ts_ns):
                yield from _decode(key, records)

    def first(
        self, name: str, ts_ns: int, match: Callable[[Chunk], Mask], until_ns: int = 0, *, again: bool = True
    ) -> Found | None:
        """The first row of a topic, from a receive time on, for which `match` holds; in each sequence, then the
        earliest of them.

        Args:
            until_ns: rows received later are not looked at; 0: to the end.
            again: look from the start when it is not there: clocks of two machines may differ.
        """
        hits = [hit for key in self.keys(name) if (hit := self.first_of(key, ts_ns, match, until_ns)) is not None]
        if not hits and again and ts_ns:
            return self.first(name, 0, match, until_ns, again=False)
        return min(hits, key=lambda hit: hit.ts_recv_ns, default=None)

    def every(self, name: str, ts_ns: int, match: Callable[[Chunk], Mask], until_ns: int = 0) -> list[Found]:
        """All of them, in order of receive time."""
        hits = []
        for key in self.keys(name):
            for chunk in self._until(key, ts_ns, until_ns):
                hits += [_of_chunk(chunk, int(at)) for at in np.flatnonzero(match(chunk))]
        return sorted(hits, key=lambda hit: hit.ts_recv_ns)

    # --- journals

    def committed(self, address: Address, ts_ns: int) -> Done | None:
        """Where the journal of the row's writer says that it came out; None where there is no journal of it."""
        key = self._journal(address.key.writer)
        for start_ns in (ts_ns, 0):
            for done, rows in self._checkpoints(key, start_ns):
                out = (
                    (rows["kind"] == JournalKind.OUTPUT) & (rows["topic"] == address.key.topic)
                    & (rows["partition"] == address.key.partition) & (rows["last"] >= address.row)
                )  # fmt: skip
                if out.any():
                    return done._replace(entry=0)
        return None

    def taken(self, writer: int, address: Address, ts_ns: int) -> Done | None:
        """Where the journal of a writer says that it took an input row; None when it never did."""
        runs = self._runs.setdefault((writer, address.key), [])
        for first, last, done in runs:
            if first <= address.row <= last:
                return done
        key = self._journal(writer)
        for start_ns in (ts_ns, 0):
            for done, rows in self._checkpoints(key, start_ns):
                run = (
                    (rows["kind"] == JournalKind.RUN) & (rows["topic"] == address.key.topic)
                    & (rows["partition"] == address.key.partition) & (rows["writer"] == address.key.writer)
                    & (rows["first"] <= address.row) & (rows["last"] >= address.row)
                )  # fmt: skip
                if run.any():
                    entry = int(np.argmax(run))
                    found = done._replace(entry=entry)
                    runs.append((int(rows["first"][entry]), int(rows["last"][entry]), found))
                    return found
        return None

    def before_timer(self, address: Address, ts_ns: int) -> tuple[Address, Done] | None:
        """For a row that a timer made: the last input row that its writer had taken before, and where."""
        done = self.committed(address, ts_ns)
        key = self._journal(address.key.writer)
        if done is None or key is None:
            return None
        row = done.row_first
        limit = self._timer_entry(key, row, ts_ns)
        while row >= 1:
            frame = self.row(Address(key, row))
            rows, first = self._frame_rows(frame.address)
            runs = np.flatnonzero(rows["kind"][:limit] == JournalKind.RUN)
            if len(runs):
                run = rows[runs[-1]]
                of = WriterKey(*(int(run[name]) for name in WriterKey._fields))
                return Address(of, int(run["last"])), Done(done.number, int(runs[-1]), first, done.logged_ns)
            row, limit = first - 1, None
        return None

    def _timer_entry(self, key: WriterKey, row: int, ts_ns: int) -> int | None:
        rows, _ = self._frame_rows(Address(key, row))
        fired = np.flatnonzero((rows["kind"] == JournalKind.TIME) & (rows["value"] >= ts_ns))
        return int(fired[0]) if len(fired) else None

    def _frame_rows(self, address: Address) -> tuple[Rows, int]:
        for root in self._places(address.key.topic).get(address.key, []):
            reader = self._reader(root, address.key)
            reader.seek_row(address.row)
            records = reader.poll(1)
            frame = decode(records[0].frame)
            return frame.rows, frame.row_first
        raise AssertionError("a journal that was read before")

    def _checkpoints(self, key: WriterKey | None, ts_ns: int) -> Iterator[tuple[Done, Rows]]:
        """Frames of a journal that were committed at a time or later."""
        if key is None:
            return
        for root in self._places(key.topic)[key][:1]:
            for records in self._records(root, key, ts_ns):
                for record in records:
                    frame = decode(record.frame)
                    number = int(frame.rows["first"][-1])
                    yield Done(number, 0, record.row_first, record.ts_ns), frame.rows

    def _journal(self, writer: int) -> WriterKey | None:
        journal = topic("sys.journal")
        key = WriterKey(journal.number, writer % journal.partitions, writer, self.session.incarnation)
        return key if key in self._places(journal.number) else None

    # --- inside

    def _until(self, key: WriterKey, ts_ns: int, until_ns: int) -> Iterator[Chunk]:
        for chunk in self.chunks(key, ts_ns):
            if until_ns and int(chunk.rows["ts_recv_ns"][0]) > until_ns:
                return
            yield chunk

    def first_of(self, key: WriterKey, ts_ns: int, match: Callable[[Chunk], Mask], until_ns: int = 0) -> Found | None:
        for chunk in self._until(key, ts_ns, until_ns):
            mask = match(chunk)
            if mask.any():
                return _of_chunk(chunk, int(np.argmax(mask)))
        return None

    def _records(self, root: Path, key: WriterKey, ts_ns: int) -> Iterator[list[LogRecord]]:
        """From a time on. The reader is shared: it is sought anew when somebody else moved it meanwhile."""
        reader = self._reader(root, key)
        if ts_ns:
            reader.seek_time(ts_ns - MARGIN_NS)
        else:
            reader.seek_row(reader.first_row)
        row = reader.row_next
        while True:
            if reader.row_next != row:
                reader.seek_row(row)
            records = reader.poll(BYTES_A_POLL)
            if not records:
                return
            row = reader.row_next
            yield records

    def _places(self, number: int) -> dict[WriterKey, list[Path]]:
        if number not in self._keys:
            found: dict[WriterKey, list[Path]] = {}
            for root in self._roots:
                for key in writer_keys(root, number):
                    if key.incarnation == self.session.incarnation:
                        found.setdefault(key, []).append(root)
            self._keys[number] = found
        return self._keys[number]

    def _reader(self, root: Path, key: WriterKey) -> LogReader:
        reader = self._readers.get((root, key))
        if reader is None:
            reader = self._readers[root, key] = LogReader(root, key)
        return reader


def _of_chunk(chunk: Chunk, at: int) -> Found:
    return _found(chunk.key, chunk.row_first + at, chunk.rows[at : at + 1], chunk.heap, chunk.cause)


def _found(key: WriterKey, row: int, rows: Rows, heap: Heap, cause: Origin) -> Found:
    event = TOPIC_BY_NUMBER[key.topic].event
    found = cause_of(cause, int(rows["cause_row"][0])) if event.caused else None
    return Found(Address(key, row), event, rows, heap, found)


def _decode(key: WriterKey, records: list[LogRecord]) -> list[Chunk]:
    messages = [Message(record.frame, 0) for record in records]
    return decode_own(TopicPartition(key.topic, key.partition), messages, None)
