"""How a task finds its place: the start path, after a first start, a stop, a crash or an upgrade alike.

Fence the predecessor, load the newest snapshot that fits, process the journalled rows behind it again with
the outputs muted and their checksums compared, and go on from there. Where outputs and journal are not
written together (local log), or the broker forgot to end transactions, outputs that the journal has and the log lacks
are written now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from schemas.errors import ConfigInvalid, IntegrityError, Mismatch
from schemas.events import JournalKind
from streams.api import Chunk, Foreign, Sink, TopicPartition, WriterKey
from streams.checkpoint import Checkpoint, OutputTail, Snapshot, read_journal, unpack_snapshot
from streams.engine import Engine, Written
from streams.topics import TOPIC_BY_NUMBER


class Fetch(Protocol):
    """`Source.fetch`: exactly these rows, again."""

    def __call__(self, key: WriterKey, row_first: int, row_last: int, hint: int = 0) -> Iterator[Chunk]: ...


class Recovered(NamedTuple):
    """What recovery did.

    Attributes:
        positions: where reading goes on.
        snapshot: checkpoint of the snapshot that was loaded, 0 for none.
        replayed: checkpoints that were processed again.
        rows: input rows among them.
        appended: output rows that were missing and were written.
    """

    positions: dict[TopicPartition, int]
    snapshot: int
    replayed: int
    rows: int
    appended: int


def recover(engine: Engine, fetch: Fetch, sink: Sink, *, replay_from_start: bool = False) -> Recovered:
    """Bring a fresh engine to where its task stopped; the sink is open afterwards.

    Args:
        replay_from_start: process the whole journal again when the code changed since the snapshot.

    Raises:
        ConfigInvalid: the code changed since the journalled tail was written.
        IntegrityError: journal, inputs or outputs have lost rows.
        Mismatch: processing the same rows gave something else; names the checkpoint.
        Fenced: another process took over meanwhile.
    """
    sink.open()
    snapshot, frames = _base(engine, sink, replay_from_start)
    positions: dict[TopicPartition, int] = {}
    if snapshot:
        engine.restore(snapshot)
        positions.update(snapshot.positions)
    rows = appended = 0
    for frame in frames:
        checkpoint = read_journal(frame.rows)
        _check_next(engine, checkpoint, frame, replay_from_start)
        before = engine.rows_in
        process(engine, checkpoint, fetch, positions)
        written = engine.finish(checkpoint.positions)
        compare(engine, checkpoint, written)
        if _may_lack_outputs(sink):
            appended += _append_missing(sink, written, frame)
        positions.update(checkpoint.positions)
        rows += engine.rows_in - before
    if _may_lack_outputs(sink):
        _check_outputs_end(engine, sink)
    return Recovered(positions, snapshot.checkpoint if snapshot else 0, len(frames), rows, appended)


def process(engine: Engine, checkpoint: Checkpoint, fetch: Fetch, hints: Mapping[TopicPartition, int]) -> None:
    """Do what a checkpoint's journal says, entry by entry."""
    for entry in checkpoint.entries:
        place = TopicPartition(entry.topic, entry.partition)
        if entry.kind is JournalKind.RUN:
            for chunk in fetch(entry.key, entry.first, entry.last, hints.get(place, 0)):
                engine.take(chunk)
        elif entry.kind is JournalKind.TIME:
            engine.fire(entry.value)
        elif entry.kind is JournalKind.FOREIGN:
            engine.put_aside(Foreign(place, entry.value, 0, "", b""))


def compare(engine: Engine, checkpoint: Checkpoint, written: Written) -> None:
    """The same rows must have given the same outputs.

    Raises:
        Mismatch: they did not; names the task, the checkpoint and the topic.
    """
    made: Mapping[WriterKey, OutputTail] = written.checkpoint.outputs
    for key in sorted({*made, *checkpoint.outputs}):
        journalled, again = checkpoint.outputs.get(key), made.get(key)
        if journalled != again:
            name = f"{TOPIC_BY_NUMBER[key.topic].name}/{key.partition}"
            raise Mismatch(
                f"{engine.label}: checkpoint {checkpoint.number} gives other rows of {name}: journalled "
                f"{journalled}, again {again}. Either the code changed in what it puts out, or a rule "
                "depends on something that is not a row. `shriven verify` names the first row that differs."
            )


def _base(engine: Engine, sink: Sink, replay_from_start: bool) -> tuple[Snapshot | None, list[Chunk]]:
    """The newest usable snapshot and the journal behind it."""
    changed = 0
    for _, data in sink.load_snapshots():
        snapshot = unpack_snapshot(data)
        if _may_lack_outputs(sink) and not _outputs_reach(sink, snapshot):
            continue
        frames = sink.journal_tail(snapshot.checkpoint)
        # A snapshot taken at the stop has no tail: nothing would be processed by other code than before.
        if snapshot.fingerprint == engine.fingerprint or not frames:
            return snapshot, frames
        changed = snapshot.checkpoint
    if changed and not replay_from_start:
        raise ConfigInvalid(
            f"{engine.label}: the code changed since checkpoint {changed}, and the journal behind it can only be "
            "processed by the code that wrote it. Start the old version once more and stop it (Ctrl-C or SIGTERM: it "
            "saves its state when it stops), then start this one; or allow a replay from the start of the session."
        )
    return None, sink.journal_tail(0)


def _may_lack_outputs(sink: Sink) -> bool:
    """Whether outputs that the journal counts may not be there."""
    return not sink.atomic or sink.repaired


def _outputs_reach(sink: Sink, snapshot: Snapshot) -> bool:
    """Whether every row that the snapshot counts as written is in the files (a power cut may have taken some)."""
    return all(sink.last_row(key) >= tail.last for key, tail in snapshot.tails.items())


def _check_next(engine: Engine, checkpoint: Checkpoint, frame: Chunk, replay_from_start: bool) -> None:
    if checkpoint.number != engine.checkpoint + 1 or frame.row_first != engine.journal_row + 1:
        raise IntegrityError(
            f"{engine.label}: after checkpoint {engine.checkpoint} (journal row {engine.journal_row}) comes checkpoint "
            f"{checkpoint.number} (row {frame.row_first}). The journal between was deleted by age, or lost. Begin a "
            "new session; keep the journal longer than the time between snapshots."
        )
    if checkpoint.fingerprint != engine.fingerprint and not replay_from_start:
        raise ConfigInvalid(
            f"{engine.label}: checkpoint {checkpoint.number} was written by other code, and no snapshot was taken "
            "since. Start the old version once more and stop it (it saves its state when it stops), then start this "
            "one; or allow a replay from the start of the session."
        )


def _append_missing(sink: Sink, written: Written, frame: Chunk) -> int:
    missing = sum(
        max(0, chunk.row_last - max(sink.last_row(chunk.key), chunk.row_first - 1)) for chunk in written.outputs
    )
    if missing:
        sink.commit(written.outputs, frame)
    return missing


def _check_outputs_end(engine: Engine, sink: Sink) -> None:
    for key, tail in engine.numbering.tails.items():
        if sink.last_row(key) != tail.last:
            raise IntegrityError(
                f"{engine.label}: {TOPIC_BY_NUMBER[key.topic].name} (partition {key.partition}) ends at row "
                f"{sink.last_row(key)}, its journal at row {tail.last}. The journal lost its end, as in a power cut "
                "without fsync. What was put out cannot be repeated: begin a new session."
            )
