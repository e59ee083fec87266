"""The deterministic half of a runner: what follows from journal entries, and nothing else.

Live running, recovery and replay drive the same engine with the same calls; they differ in who decides
which rows come next (arrival, or the journal). It knows no transport, no clock and no thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from processors.api import NEVER_NS, Batch, Outputs, Processor
from schemas.address import NO_ORIGIN
from schemas.declare import Rows
from schemas.errors import ConfigInvalid
from schemas.events import DeadReason, JournalKind
from streams.api import Chunk, Foreign, TopicPartition, WriterKey
from streams.checkpoint import Checkpoint, Entry, OutputTail, Snapshot, fingerprint, journal_rows, same_layout
from streams.numbering import Numbering, foreign_origin
from streams.pipelines import Pipeline
from streams.rowfilter import RowFilter
from streams.topics import Topic, topic

CLOCK_START_NS = np.iinfo(np.int64).min


class Written(NamedTuple):
    """A checkpoint about to be committed: outputs, then the journal frame."""

    outputs: list[Chunk]
    journal: Chunk
    checkpoint: Checkpoint


class Engine:
    """State, filter, timers and numbering of one task.

    Attributes:
        state: the rule's arrays.
        clock_ns: about the latest receive time or fired moment so far; for statistics.
        taken: the last row processed per input sequence.
        checkpoint: number of the last finished checkpoint.
        rows_in, dead: rows processed and put aside since this object was made.
        pending_rows, pending_bytes: emitted and not yet taken by `finish`.
    """

    def __init__(self, row: Pipeline, task: int, processor: Processor, incarnation: int) -> None:
        _check(row, processor)
        self.row = row
        self.task = task
        self.writer = row.writer(task)
        self.incarnation = incarnation
        self.processor = processor
        self.fingerprint = fingerprint(processor)
        self.state = processor.initial_state()
        self.clock_ns = CLOCK_START_NS
        self.taken = RowFilter()
        self.numbering = Numbering(self.writer, incarnation, task)
        self.checkpoint = 0
        self.journal_row = 0
        self.rows_in = 0
        self.dead = 0
        self.pending_rows = 0
        self.pending_bytes = 0
        self.entries: list[Entry] = []
        self._out = Outputs(processor.outputs)
        self._counted = (0, 0)
        self._delay_ns: int = getattr(processor, "timer_delay_min_ns", NEVER_NS)
        self._inputs = {topic(source.topic).number: number for number, source in enumerate(row.inputs)}
        self._compacted = {
            topic(source.topic).number: topic(source.topic).cleanup == "compact" for source in row.inputs
        }
        self._outputs: tuple[Topic, ...] = tuple(topic(name) for name in row.outputs)
        self._dead_letters = topic("sys.dead_letter")
        self.journal_key = self.numbering.key(journal := topic("sys.journal"), self.writer % journal.partitions)

    def advance(self, run: Chunk) -> None:
        """Rows in an order that nobody journalled before: timers fire where they are due, the run is cut there."""
        at, end = 0, len(run.rows)
        while at < end:
            now = int(run.rows["ts_recv_ns"][at])
            if self.next_deadline_ns() <= now:
                self.fire(now)
            count = self._ready(run.rows[at:])
            self.take(run if count == end else run.cut(at, at + count))
            at += count

    # --- the three things that can be done, each journalled ---

    def take(self, chunk: Chunk) -> None:
        """Process these rows: none of them a repeat. Timers are not looked at."""
        verdict = self.taken.see(
            chunk.key, chunk.row_first, chunk.row_last, holes_normal=self._compacted[chunk.key.topic]
        )
        assert verdict.skip == 0, f"rows {chunk.row_first}..{chunk.row_last} of {chunk.key} were processed before"
        if verdict.first_sight:
            self.entries.append(Entry(JournalKind.BASELINE, *chunk.key, last=chunk.row_first - 1))
        self._journal_run(chunk.key, chunk.row_first, chunk.row_last)
        self._out.origin = chunk.origin
        if verdict.missing:
            self._row_gap(chunk, verdict.missing)
        self.processor.on_batch(
            self.state,
            Batch(self._inputs[chunk.key.topic], chunk.origin, chunk.row_first, chunk.rows, chunk.heap),
            self._out,
        )
        self.clock_ns = max(self.clock_ns, int(chunk.rows["ts_recv_ns"][-1]))
        self.rows_in += len(chunk.rows)
        self._count()

    def fire(self, now_ns: int) -> None:
        """Fire every deadline at or before `now_ns`."""
        self.clock_ns = max(self.clock_ns, now_ns)
        self.entries.append(Entry(JournalKind.TIME, value=now_ns))
        self._out.origin = NO_ORIGIN
        self.processor.on_time(self.state, now_ns, self._out)
        left = self.processor.next_deadline_ns(self.state)
        assert left > now_ns, f"{self.processor.name}: on_time({now_ns}) left a deadline at {left}"
        self._count()

    def put_aside(self, foreign: Foreign) -> None:
        """A message that is no frame of ours becomes a dead letter. Its words are input: no checksum covers them."""
        self.entries.append(Entry(JournalKind.FOREIGN, *foreign.partition, value=foreign.position))
        self._out.origin = foreign_origin(foreign.partition)
        self._out.put_aside(
            DeadReason.UNDECODABLE,
            foreign.position,
            foreign.detail,
            ts_recv_ns=foreign.ts_ns,
            payload=foreign.payload,
        )
        self._count()

    def next_deadline_ns(self) -> int:
        """The rule's earliest deadline, NEVER_NS when there is none."""
        return self.processor.next_deadline_ns(self.state)

    # --- checkpoints ---

    def finish(self, positions: Mapping[TopicPartition, int]) -> Written:
        """Number everything emitted since the last checkpoint and close the next one."""
        before = {key: tail.last for key, tail in self.numbering.tails.items()}
        outputs = [
            chunk
            for number, target in enumerate(self._outputs)
            for chunk in self.numbering.number(target, [item for item in self._out.emitted if item.output == number])
        ]
        outputs += self.numbering.number(self._dead_letters, self._out.dead)
        grown = {
            key: OutputTail(tail.last, tail.checksum)
            for key, tail in self.numbering.tails.items()
            if tail.last != before.get(key, 0)
        }
        self.checkpoint += 1
        checkpoint = Checkpoint(self.checkpoint, self.fingerprint, self.entries, dict(positions), grown)
        rows = journal_rows(checkpoint)
        journal = Chunk(self.journal_key, self.journal_row + 1, rows)
        self.journal_row += len(rows)
        self.entries = []
        self._out.emitted, self._out.dead = [], []
        self._counted = (0, 0)
        self.pending_rows = self.pending_bytes = 0
        return Written(outputs, journal, checkpoint)

    def snapshot(self, positions: Mapping[TopicPartition, int]) -> Snapshot:
        """The state after the last checkpoint. Shares memory: pack it before going on."""
        assert not self.entries
        assert not self.pending_rows
        return Snapshot(
            self.checkpoint,
            self.fingerprint,
            self.state,
            self.clock_ns,
            self.journal_row,
            dict(self.taken.last),
            dict(positions),
            self.numbering.tails,
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot.

        Raises:
            ConfigInvalid: the rule's state has another layout now.
        """
        if not same_layout(self.state, snapshot.state):
            raise ConfigInvalid(
                f"{self.label}: the snapshot of checkpoint {snapshot.checkpoint} holds a state of another layout than "
                f"{self.processor.name} version {self.processor.version} has. The rule was changed in between. Run the "
                "version that wrote it, or begin a new session."
            )
        self.state = snapshot.state
        self.clock_ns = snapshot.clock_ns
        self.taken = RowFilter.at(snapshot.taken)
        self.numbering.restore(snapshot.tails)
        self.checkpoint = snapshot.checkpoint
        self.journal_row = snapshot.journal_row

    @property
    def label(self) -> str:
        return f"{self.row.name}/{self.task}"

    # --- inside ---

    def _ready(self, rows: Rows) -> int:
        """How many leading rows may be taken in one call, before a timer could be due.

        Before each row, timers due at its receive time must have fired. Deadlines that rows of the same call make
        come `timer_delay_min_ns` after them at the earliest.
        """
        deadline = self.next_deadline_ns()
        if deadline == NEVER_NS and self._delay_ns == NEVER_NS:
            return len(rows)
        times = rows["ts_recv_ns"]
        if int(times.max()) < min(deadline, int(times.min()) + self._delay_ns):
            return len(rows)
        made = np.minimum.accumulate(times)
        made = np.where(made > NEVER_NS - self._delay_ns, NEVER_NS, made + self._delay_ns)
        due = times[1:] >= np.minimum(made[:-1], deadline)
        return int(np.argmax(due)) + 1 if due.any() else len(rows)

    def _journal_run(self, key: WriterKey, first: int, last: int) -> None:
        """Append a run, or lengthen the one before when it goes on."""
        if self.entries:
            entry = self.entries[-1]
            if entry.kind is JournalKind.RUN and entry.last + 1 == first and entry.key == key:
                self.entries[-1] = entry._replace(last=last)
                return
        self.entries.append(Entry(JournalKind.RUN, *key, first=first, last=last))

    def _row_gap(self, chunk: Chunk, missing: int) -> None:
        first = chunk.row_first - missing
        self._out.put_aside(
            DeadReason.ROW_GAP,
            chunk.row_first,
            f"rows {first} to {chunk.row_first - 1} are missing before row {chunk.row_first}",
            ts_recv_ns=int(chunk.rows["ts_recv_ns"][0]),
        )

    def _count(self) -> None:
        """Bring the counters up to what the rule has put out since the last call."""
        emitted, dead = self._counted
        for item in self._out.emitted[emitted:]:
            self.pending_rows += len(item.rows)
            self.pending_bytes += item.rows.nbytes
        new = len(self._out.dead) - dead
        self.dead += new
        self.pending_rows += new
        self._counted = len(self._out.emitted), len(self._out.dead)


def _check(row: Pipeline, processor: Processor) -> None:
    """The table's row and the rule must speak of the same events.

    Raises:
        ConfigInvalid: they do not.
    """
    inputs = tuple(topic(source.topic).event for source in row.inputs)
    outputs = tuple(topic(name).event for name in row.outputs)
    for what, table, rule in (("reads", inputs, processor.inputs), ("writes", outputs, processor.outputs)):
        if table != tuple(rule):
            raise ConfigInvalid(
                f"Pipeline {row.name} {what} {[event.name for event in table]}, but processor {processor.name} {what} "
                f"{[event.name for event in rule]}."
            )
    for event in inputs:
        if "ts_recv_ns" not in (event.dtype.names or ()):
            raise ConfigInvalid(f"Pipeline {row.name}: {event.name} has no ts_recv_ns, so its rows cannot be merged.")
