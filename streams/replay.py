"""Runs a recorded task again and compares what comes out, row for row and byte for byte.

The journal says which rows were processed in which order and when timers fired; the engine that ran live does
it again. Without a journal (`replay_inputs`) complete inputs are merged by the canonical order.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from processors.api import Processor
from schemas.address import NO_ORIGIN, Origin
from schemas.declare import Event, Heap, Rows
from schemas.errors import IntegrityError, Mismatch
from schemas.events import DeadReason, JournalKind
from schemas.hashing import RowHash
from streams.api import Chunk, Foreign, TopicPartition, WriterKey
from streams.checkpoint import Checkpoint, Entry, compact_heap, read_journal, split_journal
from streams.clock import monotonic_ns
from streams.cursor import Cursors, SessionReader
from streams.engine import Engine
from streams.numbering import foreign_origin, is_foreign
from streams.pipelines import TASKS_MAX, Pipeline, input_places
from streams.topics import TOPIC_BY_NUMBER, topic

DRAIN_BYTES = 4 << 20  # outputs are compared in helpings of about that size
DRAIN_ROWS = 1 << 16  # or after so many input rows
CUTS_PER_RUN_MAX = 8

__all__ = ["Difference", "SessionReader", "TaskReplay", "recorded_tasks", "replay_inputs", "replay_task"]


@dataclass(frozen=True)
class Difference:
    """The first row that is not the same.

    Attributes:
        key, row: its address.
        replayed, recorded: its columns by name, with the cause; None where there is no such row.
        input: the input row (its sequence and number) whose processing gave something else than recorded; None where
            a timer did.
        timer_ns: the moment of that timer; 0 where a row did.
    """

    key: WriterKey
    row: int
    replayed: Mapping[str, Any] | None
    recorded: Mapping[str, Any] | None
    input: tuple[WriterKey, int] | None = None
    timer_ns: int = 0

    @property
    def columns(self) -> list[str]:
        """Names of the columns that differ."""
        if self.replayed is None or self.recorded is None:
            return []
        return [name for name, value in self.replayed.items() if self.recorded[name] != value]

    def __str__(self) -> str:
        name = TOPIC_BY_NUMBER[self.key.topic].name
        where = f"{name} partition {self.key.partition}, writer {self.key.writer}, row {self.row}"
        if self.replayed is None:
            return f"{where}: recorded, but replay ends before it. Recorded: {dict(self.recorded or {})}"
        if self.recorded is None:
            return f"{where}: replayed, but not recorded. Replayed: {dict(self.replayed)}"
        return (
            f"{where}: {', '.join(self.columns)} differ. Replayed {dict(self.replayed)}, recorded {dict(self.recorded)}"
        )


@dataclass
class TaskReplay:
    """What a replay of one task gave.

    Attributes:
        label: `book/3`.
        checkpoints, rows_in, rows_out: what was done again.
        hashes: row hash per output sequence, of replayed rows; the recorded ones too, when `difference` is None.
        difference: the first row that differs, None when all are equal.
        code_changed: the journal was written by other code, or with other parameters, than this.
        fingerprints: of code and parameters as journalled, in the order in which they took over.
        fingerprint: of code and parameters now.
        elapsed_ns: how long it took.
    """

    label: str
    checkpoints: int = 0
    rows_in: int = 0
    rows_out: int = 0
    hashes: dict[WriterKey, str] = field(default_factory=dict)
    difference: Difference | None = None
    code_changed: bool = False
    fingerprints: list[int] = field(default_factory=list)
    fingerprint: int = 0
    elapsed_ns: int = 0

    @property
    def equal(self) -> bool:
        return self.difference is None

    def check(self) -> None:
        """Raises Mismatch with the first row that differs."""
        if self.difference:
            changed = " The code changed since it was recorded." if self.code_changed else ""
            raise Mismatch(f"{self.label}: {self.difference}.{changed}")


def recorded_tasks(reader: SessionReader, pipelines: Iterable[Pipeline]) -> list[tuple[Pipeline, int]]:
    """Pipelines and tasks that have a journal in the session."""
    by_number = {row.number: row for row in pipelines}
    found = [divmod(key.writer, TASKS_MAX) for key in reader.keys(topic("sys.journal").number)]
    return [(by_number[number], task) for number, task in sorted(found) if number in by_number]


def replay_task(
    row: Pipeline,
    task: int,
    processor: Processor,
    reader: SessionReader,
    *,
    cut_seed: int | None = None,
    hashes: bool = True,
) -> TaskReplay:
    """Follow the journal of one task exactly and compare every output row.

    Args:
        processor: made with the parameters that it was recorded with.
        cut_seed: cut runs at random places too; the result must not change.
        hashes: compute row hashes; comparing rows does not need them.

    Raises:
        IntegrityError: journal or inputs have lost rows.
    """
    engine = Engine(row, task, processor, reader.incarnation)
    result = TaskReplay(engine.label, fingerprint=engine.fingerprint)
    compared = _Compared(reader, engine.writer, result, hashes=hashes)
    begin = monotonic_ns()
    cuts = None if cut_seed is None else random.Random(cut_seed)
    with closing(Cursors(reader, read_ahead=True)) as cursors:
        _follow(engine, reader, cursors, compared, cuts)
    if compared.add(engine.finish({}).outputs):
        compared.end()
    result.hashes = compared.hashes()
    result.rows_in = engine.rows_in
    if result.difference:
        again = _first_difference(row, task, processor, reader, compared.rows_in_equal)
        result.difference = again or result.difference
    result.elapsed_ns = monotonic_ns() - begin
    return result


def _follow(
    engine: Engine, reader: SessionReader, cursors: Cursors, compared: _Compared, cuts: random.Random | None
) -> None:
    """Do what the journal says, until its end or the first row that differs."""
    for entry in _joined(_entries(engine, reader, compared.result)):
        if entry.kind is JournalKind.RUN:
            for chunk in cursors.fetch(entry.key, entry.first, entry.last):
                for part in _cut(chunk, cuts):
                    engine.take(part)
                if engine.pending_bytes >= DRAIN_BYTES or engine.rows_in - compared.rows_in_equal >= DRAIN_ROWS:
                    if not compared.add(engine.finish({}).outputs):
                        return
                    compared.rows_in_equal = engine.rows_in
        else:
            _do(engine, reader, entry)


def _do(engine: Engine, reader: SessionReader, entry: Entry) -> None:
    """What is journalled beside runs of rows."""
    if entry.kind is JournalKind.TIME:
        engine.fire(entry.value)
    elif entry.kind is JournalKind.FOREIGN:
        engine.put_aside(_recorded_letter(reader, engine, entry))


def _first_difference(
    row: Pipeline, task: int, processor: Processor, reader: SessionReader, rows_in_equal: int
) -> Difference | None:
    """The same again, row by row behind the rows that gave what was recorded: outputs of a helping are compared topic
    by topic, and what differs first in one topic need not be what differed first.

    Returns:
        With the input that caused it; None where nothing differs this time.
    """
    engine = Engine(row, task, processor, reader.incarnation)
    result = TaskReplay(engine.label)
    compared = _Compared(reader, engine.writer, result, hashes=False)
    with closing(Cursors(reader)) as cursors:
        for entry in _joined(_entries(engine, reader, result)):
            runs = cursors.fetch(entry.key, entry.first, entry.last) if entry.kind is JournalKind.RUN else iter(())
            for chunk in runs:
                whole = max(0, min(len(chunk.rows), rows_in_equal - engine.rows_in))
                if whole:
                    engine.take(chunk.cut(0, whole))
                for at in range(whole, len(chunk.rows)):
                    engine.take(chunk.cut(at, at + 1))
                    if not compared.add(engine.finish({}).outputs):
                        return _blamed(result.difference, engine, (chunk.key, chunk.row_first + at), 0)
            if entry.kind is not JournalKind.RUN:
                _do(engine, reader, entry)
                if not compared.add(engine.finish({}).outputs):
                    return _blamed(result.difference, engine, None, entry.value)
    if compared.add(engine.finish({}).outputs):
        compared.end()
    return _blamed(result.difference, engine, None, 0)


def _blamed(
    difference: Difference | None, engine: Engine, now: tuple[WriterKey, int] | None, timer_ns: int
) -> Difference | None:
    """The difference with its input: what was being processed, or an earlier row that gave a row when it was recorded
    and gave nothing now."""
    if difference is None:
        return None
    recorded = difference.recorded or {}
    origin = Origin(*recorded.get("cause", NO_ORIGIN))
    if origin.topic and not is_foreign(origin):
        key, number = WriterKey(*origin), int(recorded["cause_row"])
        if engine.taken.last.get(key, 0) >= number:
            return replace(difference, input=(key, number))
    return replace(difference, input=now, timer_ns=0 if now else timer_ns)


def replay_inputs(row: Pipeline, task: int, processor: Processor, reader: SessionReader) -> Iterator[Chunk]:
    """Outputs of a task over complete inputs that have no journal: a backtest over recorded topics.

    Inputs are merged by (ts_recv_ns, topic rank, partition, writer, row), broadcast inputs first; timers due at or
    before a row's receive time fire before it, those after the last row do not.
    """
    engine = Engine(row, task, processor, reader.incarnation)
    for run in canonical_runs(row, task, reader):
        engine.advance(run)
        if engine.pending_bytes >= DRAIN_BYTES:
            yield from engine.finish({}).outputs
    yield from engine.finish({}).outputs


def canonical_runs(row: Pipeline, task: int, reader: SessionReader) -> Iterator[Chunk]:
    """All input rows of a task in canonical order, in runs of one sequence."""
    places = input_places(row, task)
    ranks = {place: rank for rank, place in enumerate(places)}
    for broadcast in (True, False):
        streams = [
            _Head(ranks[place], key, reader.chunks(key))
            for place, is_broadcast in places.items()
            if is_broadcast == broadcast
            for key in reader.keys(place.topic)
            if (key.topic, key.partition) == place
        ]
        yield from _merge([head for head in streams if head.chunk is not None])


class _Head:
    """The next chunk of one sequence."""

    def __init__(self, rank: int, key: WriterKey, chunks: Iterator[Chunk]) -> None:
        self.order = (rank, key.writer)
        self._chunks = chunks
        self.chunk: Chunk | None = next(chunks, None)

    def at(self) -> tuple[int, tuple[int, int]]:
        assert self.chunk is not None
        return int(self.chunk.rows["ts_recv_ns"][0]), self.order

    def pop(self, before: tuple[int, tuple[int, int]] | None) -> Chunk:
        """Rows that come before another head's first row."""
        assert self.chunk is not None
        count = len(self.chunk.rows)
        if before is not None:
            times = self.chunk.rows["ts_recv_ns"]
            after = times > before[0] if self.order < before[1] else times >= before[0]
            count = int(np.argmax(after)) if after.any() else count
        run = self.chunk.cut(0, count)
        rest = self.chunk.cut(count, len(self.chunk.rows))
        self.chunk = rest if len(rest.rows) else next(self._chunks, None)
        return run


def _merge(heads: list[_Head]) -> Iterator[Chunk]:
    while heads:
        heads.sort(key=_Head.at)
        yield heads[0].pop(heads[1].at() if len(heads) > 1 else None)
        heads = [head for head in heads if head.chunk is not None]


def _entries(engine: Engine, reader: SessionReader, result: TaskReplay) -> Iterator[Entry]:
    """What was done, over all checkpoints."""
    for checkpoint in recorded_checkpoints(reader, engine.journal_key):
        if checkpoint.number != result.checkpoints + 1:
            raise IntegrityError(
                f"{engine.label}: after checkpoint {result.checkpoints} comes {checkpoint.number}: the journal "
                "between was deleted by age, or lost. Seal sessions before their retention ends (`shriven seal`)."
            )
        result.checkpoints += 1
        result.code_changed |= checkpoint.fingerprint != engine.fingerprint
        if checkpoint.fingerprint not in result.fingerprints:
            result.fingerprints.append(checkpoint.fingerprint)
        yield from checkpoint.entries


def recorded_checkpoints(reader: SessionReader, journal: WriterKey) -> Iterator[Checkpoint]:
    """The journal of a task, checkpoint by checkpoint."""
    rest: Rows | None = None
    for chunk in reader.chunks(journal):
        rows = chunk.rows if rest is None else np.concatenate([rest, chunk.rows])
        parts = split_journal(rows)
        for part in parts:
            yield read_journal(part)
        used = sum(len(part) for part in parts)
        rest = rows[used:] if used < len(rows) else None
    if rest is not None:
        raise IntegrityError(f"The journal of writer {journal.writer} ends in the middle of a checkpoint.")


def _joined(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Runs that follow each other as one: a checkpoint between them changes nothing that comes out."""
    held: Entry | None = None
    for entry in entries:
        if entry.kind is JournalKind.BASELINE:
            continue
        if held is not None:
            if entry.kind is JournalKind.RUN and entry.key == held.key and entry.first == held.last + 1:
                held = held._replace(last=entry.last)
                continue
            yield held
        held = entry if entry.kind is JournalKind.RUN else None
        if held is None:
            yield entry
    if held is not None:
        yield held


def _cut(chunk: Chunk, cuts: random.Random | None) -> Iterator[Chunk]:
    """The chunk in up to `CUTS_PER_RUN_MAX` pieces."""
    if cuts is None:
        yield chunk
        return
    count = len(chunk.rows)
    inner = {cuts.randrange(1, count) for _ in range(cuts.randrange(CUTS_PER_RUN_MAX))} if count > 1 else set()
    edges = [0, *sorted(inner), count]
    for start, stop in itertools.pairwise(edges):
        yield chunk.cut(start, stop)


def _recorded_letter(reader: SessionReader, engine: Engine, entry: Entry) -> Foreign:
    """What was recorded of a message that was no frame: its words are input, not output."""
    place = TopicPartition(entry.topic, entry.partition)
    letters = topic("sys.dead_letter")
    key = engine.numbering.key(letters, engine.task % letters.partitions)
    for chunk in reader.chunks(key):
        if chunk.cause != foreign_origin(place):
            continue
        for row in chunk.rows[chunk.rows["cause_row"] == entry.value]:
            assert row["reason"] == DeadReason.UNDECODABLE
            detail, payload = (_heap_bytes(row, chunk.heap, name) for name in ("detail", "payload"))
            return Foreign(place, entry.value, int(row["ts_recv_ns"]), detail.decode(), payload)
    raise IntegrityError(f"{engine.label}: the dead letter of message {entry.value} of {place} is not there.")


def _heap_bytes(row: Any, heap: Heap, name: str) -> bytes:
    at, size = int(row[f"{name}_at"]), int(row[f"{name}_size"])
    return heap[at : at + size].tobytes()


class _Compared:
    """Holds replayed rows against recorded ones."""

    def __init__(self, reader: SessionReader, writer: int, result: TaskReplay, *, hashes: bool) -> None:
        self._reader = reader
        self._writer = writer
        self.result = result
        self.rows_in_equal = 0  # input rows whose outputs were compared, and are equal
        self._hashing = hashes
        self._hashes: dict[WriterKey, RowHash] = {}
        self._cursors: dict[WriterKey, Iterator[Chunk]] = {}
        self._rest: dict[WriterKey, Chunk] = {}
        self._last: dict[WriterKey, int] = {}

    def add(self, outputs: Iterable[Chunk]) -> bool:
        """Compare rows that follow. False, and `difference` set, at the first one that differs."""
        if self.result.difference:
            return False
        for chunk in outputs:
            self.result.rows_out += len(chunk.rows)
            self._last[chunk.key] = chunk.row_last
            if self._hashing:
                self._hash(chunk)
            if not self._same(chunk):
                return False
        return True

    def end(self) -> None:
        """Nothing more comes out: nothing more may be recorded."""
        for target in TOPIC_BY_NUMBER.values():
            if target.name in ("sys.journal.v1", "sys.snapshot.v1"):
                continue
            for key in self._reader.keys(target.number):
                if key.writer == self._writer and (more := self._next(key, self._last.get(key, 0) + 1)) is not None:
                    self.result.difference = Difference(key, more.row_first, None, row_dict(target.event, more, 0))
                    return

    def hashes(self) -> dict[WriterKey, str]:
        return {key: row_hash.hexdigest() for key, row_hash in sorted(self._hashes.items())}

    def _hash(self, chunk: Chunk) -> None:
        row_hash = self._hashes.get(chunk.key)
        if row_hash is None:
            row_hash = self._hashes[chunk.key] = RowHash(TOPIC_BY_NUMBER[chunk.key.topic].event)
        row_hash.update(chunk.cause, chunk.rows, chunk.heap)

    def _next(self, key: WriterKey, row: int) -> Chunk | None:
        """Recorded rows from `row` on: what is left of the last chunk, or the next one."""
        chunk = self._rest.pop(key, None)
        if chunk is None:
            if key not in self._cursors:
                self._cursors[key] = self._reader.chunks(key, row)
            chunk = next(self._cursors[key], None)
        return chunk

    def _same(self, made: Chunk) -> bool:
        event = TOPIC_BY_NUMBER[made.key.topic].event
        at = 0
        while at < len(made.rows):
            recorded = self._next(made.key, made.row_first + at)
            if recorded is None or recorded.row_first > made.row_first + at:
                self.result.difference = Difference(made.key, made.row_first + at, row_dict(event, made, at), None)
                return False
            count = min(len(recorded.rows), len(made.rows) - at)
            if count < len(recorded.rows):
                self._rest[made.key] = recorded.cut(count, len(recorded.rows))
            if not self._equal(event, made.cut(at, at + count), recorded.cut(0, count)):
                return False
            at += count
        return True

    def _equal(self, event: Event, made: Chunk, recorded: Chunk) -> bool:
        made_rows, made_heap = compact_heap(event, made.rows, made.heap)
        recorded_rows, recorded_heap = compact_heap(event, recorded.rows, recorded.heap)
        if (
            made.cause == recorded.cause
            and _bytes_of(made_rows) == _bytes_of(recorded_rows)
            and made_heap.data == recorded_heap.data
        ):
            return True
        for number in range(len(made.rows)):
            pair = row_dict(event, made, number), row_dict(event, recorded, number)
            if pair[0] != pair[1]:
                self.result.difference = Difference(made.key, made.row_first + number, *pair)
                return False
        raise AssertionError(f"rows of {event.name} differ in bytes that no column shows")


def _bytes_of(rows: Rows) -> memoryview:
    return np.ascontiguousarray(rows).view(np.uint8).data


def row_dict(event: Event, chunk: Chunk, number: int) -> dict[str, Any]:
    """One row for people: columns by name, text and bytes as such, with the origin of its cause."""
    row = chunk.rows[number]
    shown: dict[str, Any] = {}
    for column in event.fields:
        if column.heap:
            raw = _heap_bytes(row, chunk.heap, column.name)
            shown[column.name] = raw.decode(errors="replace") if column.kind == "text" else raw
        else:
            shown[column.name] = row[column.name].tolist()
    if event.caused:
        shown["cause"] = tuple(chunk.cause)
    return shown
