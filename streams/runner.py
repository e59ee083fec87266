"""The only loop: poll, filter, merge, fire due timers, on_batch, number, commit.

Live, paper, recovery and tests differ in their source, sink and clock, never in this file. What it decides
(which rows came next, when timers fired) is journalled with what came out of it, so that replay needs no luck.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from processors.api import NEVER_NS, Processor
from schemas.errors import InputInvalid
from schemas.events import Hop
from streams.api import Sink, Source, StartAt, TopicPartition, WriterKey
from streams.checkpoint import pack_snapshot
from streams.clock import Clock
from streams.engine import CLOCK_START_NS, Engine
from streams.intake import Intake
from streams.latency import Histogram
from streams.pipelines import Pipeline, input_places
from streams.recovery import Recovered, recover
from streams.topics import TOPIC_BY_NUMBER

MS = 1_000_000


@dataclass(frozen=True)
class RunnerOptions:
    """How a runner paces itself.

    Args:
        commit_interval_ns: checkpoints with outputs are at least that far apart; 0: one per loop.
        quiet_interval_ns: the same for checkpoints without outputs, which nobody waits for.
        commit_bytes_max, commit_entries_max: a checkpoint is closed when it has grown to that.
        poll_timeout_ns, poll_bytes_max: longest wait for rows, largest helping.
        buffer_bytes_max: a partition is paused when it has that much buffered, resumed at half of it.
        timer_grace_ns: when nothing comes, timers fire that long after their deadline, so that rows on their
            way still go first.
        snapshot_interval_ns, snapshot_rows: a snapshot is taken after that time or that many rows.
        dead_rows_min, dead_ratio_max: more dead letters than both stop the pipeline.
        replay_from_start: on a start with changed code, process the whole journal again.
    """

    commit_interval_ns: int = 20 * MS
    quiet_interval_ns: int = 200 * MS
    commit_bytes_max: int = 4 << 20
    commit_entries_max: int = 20_000
    poll_timeout_ns: int = 100 * MS
    poll_bytes_max: int = 8 << 20
    buffer_bytes_max: int = 64 << 20
    timer_grace_ns: int = 1_000 * MS
    snapshot_interval_ns: int = 300_000 * MS
    snapshot_rows: int = 50_000_000
    dead_rows_min: int = 1_000
    dead_ratio_max: float = 0.01
    replay_from_start: bool = False


ON_A_BROKER = RunnerOptions()
IN_FILES = RunnerOptions(commit_interval_ns=MS, quiet_interval_ns=20 * MS)  # a commit costs microseconds there


@dataclass
class RunnerStats:
    """What a runner did since it started, in plain numbers; written by its thread, read by any.

    Attributes:
        rows_in, bytes_in: taken from inputs, after the filter.
        rows_out, bytes_out: committed, dead letters included, journal not.
        dead: rows put aside.
        repeats_dropped, row_gaps: what the filter met.
        checkpoints, snapshots: committed, saved.
        last_commit_ns: when (wall clock), 0 for never.
        moved_ns: when (wall clock) it last took rows, or found that none wait; 0 before its first round. It stands
            still in a rule that does not return, in a commit that does not end, while rows wait that cannot be merged.
        taken: last journalled row per input sequence.
        written: last committed row per output sequence.
        latencies: ROWS_TO_OUTPUT: one run through the rule. OUTPUT_TO_COMMIT: one commit. RECV_TO_OUTPUT: from
            the receive time of a checkpoint's last row to its commit.
        recovered: what the start found.
        state: for people.
    """

    rows_in: int = 0
    bytes_in: int = 0
    rows_out: int = 0
    bytes_out: int = 0
    dead: int = 0
    repeats_dropped: int = 0
    row_gaps: int = 0
    checkpoints: int = 0
    snapshots: int = 0
    last_commit_ns: int = 0
    moved_ns: int = 0
    taken: dict[WriterKey, int] = field(default_factory=dict)
    written: dict[WriterKey, int] = field(default_factory=dict)
    latencies: dict[Hop, Histogram] = field(
        default_factory=lambda: {
            hop: Histogram() for hop in (Hop.ROWS_TO_OUTPUT, Hop.OUTPUT_TO_COMMIT, Hop.RECV_TO_OUTPUT)
        }
    )
    recovered: Recovered | None = None
    state: str = "starting"


class Runner:
    """One task of a pipeline.

    Args:
        row, task: which.
        processor: the rule; `warm` was called by whoever made it, or is called by `start`.
        source, sink: this task's own.
        clock: wall clock for idle timers, monotonic for pacing.
        incarnation: of the session.
        options: None for what suits the sink.
    """

    def __init__(
        self,
        row: Pipeline,
        task: int,
        processor: Processor,
        source: Source,
        sink: Sink,
        clock: Clock,
        *,
        incarnation: int,
        options: RunnerOptions | None = None,
    ) -> None:
        self.engine = Engine(row, task, processor, incarnation)
        self.options = options or (ON_A_BROKER if sink.atomic else IN_FILES)
        self.stats = RunnerStats()
        self._source = source
        self._sink = sink
        self._clock = clock
        self._places = input_places(row, task)
        self._intake = Intake(self._places, {})
        self._paused: set[TopicPartition] = set()
        self._stop = threading.Event()
        self._last_commit_ns = 0
        self._last_snapshot_ns = 0
        self._snapshot_checkpoint = 0
        self._snapshot_rows = 0
        self._more = False

    @property
    def label(self) -> str:
        """`book/3` for people."""
        return self.engine.label

    # --- the outside ---

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Start, loop until `stop` is called or `until` says so, finish. Errors end it; the next start recovers."""
        try:
            self.start()
            while not self._stop.is_set() and not (until and until()):
                self.step()
            self.finish()
        finally:
            self.close()

    def run_to_end(self) -> None:
        """Process everything that the inputs hold, fire what is due by the clock, finish."""
        try:
            self.start()
            while not self._stop.is_set() and not self.caught_up():
                self.step()
            self._fire_idle()
            self.finish()
        finally:
            self.close()

    def stop(self) -> None:
        """Ask the loop to end after its current step; safe from a signal handler or another thread."""
        self._stop.set()

    def caught_up(self) -> bool:
        """Whether everything in the inputs was processed."""
        return not self._intake.rows and all(self._source.at_end(place) for place in self._places)

    # --- its four parts ---

    def start(self) -> None:
        """Warm the kernels, recover, subscribe."""
        self.engine.processor.warm()
        self.stats.state = "recovering"
        recovered = recover(
            self.engine, self._source.fetch, self._sink, replay_from_start=self.options.replay_from_start
        )
        taken = self.engine.taken.last
        compacted = frozenset(place.topic for place in self._places if _compacted(place))
        self._intake = Intake(self._places, taken, compacted, recovered.positions)
        self._source.assign(list(self._places), StartAt(recovered.positions, dict(taken)))
        self._snapshot_checkpoint = recovered.snapshot
        self._snapshot_rows = self.engine.rows_in - recovered.rows
        self._last_snapshot_ns = self._clock.monotonic_ns()
        self.stats.recovered = recovered
        self._publish_stats()
        self.stats.state = "running"

    def step(self) -> None:
        """One round: poll, process, commit when due."""
        chunks = self._source.poll(self._wait_ns(), self.options.poll_bytes_max)
        for chunk in chunks:
            self._intake.add(chunk)
        for foreign in self._source.take_foreign():
            self.engine.put_aside(foreign)
        worked = self._process()
        if not chunks and not worked:
            self._fire_idle()
        if self._commit_due():
            self._commit()
            self._check_dead()
            self._snapshot_when_due()
        self._regulate()

    def finish(self) -> None:
        """Process what is buffered, commit it, save the state."""
        self.stats.state = "stopping"
        while self._process():
            if self.engine.entries:
                self._commit()
        if self.engine.entries:
            self._commit()
        if self.engine.checkpoint > self._snapshot_checkpoint:
            self._snapshot()
        self.stats.state = "stopped"

    def close(self) -> None:
        self._source.close()
        self._sink.close()

    # --- processing ---

    def _process(self) -> bool:
        """Process runs until nothing may be taken, or the checkpoint is full. Whether anything was done."""
        worked = False
        self._more = True
        while not self._full():
            run = self._intake.next_run(self._source.at_end)
            if run is None:
                self._more = False
                break
            begin = self._clock.monotonic_ns()
            self.engine.advance(run)
            self.stats.latencies[Hop.ROWS_TO_OUTPUT].add(self._clock.monotonic_ns() - begin)
            self.stats.bytes_in += run.rows.nbytes
            self.stats.moved_ns = self._clock.now_ns()
            worked = True
        return worked

    def _fire_idle(self) -> None:
        """Nothing comes: deadlines that are past by the wall clock fire, each at its own time."""
        if not self.caught_up():
            return
        self.stats.moved_ns = self._clock.now_ns()
        now = self.stats.moved_ns - self.options.timer_grace_ns
        while (deadline := self.engine.next_deadline_ns()) <= now:
            self.engine.fire(deadline)

    def _full(self) -> bool:
        return (
            self.engine.pending_bytes >= self.options.commit_bytes_max
            or len(self.engine.entries) >= self.options.commit_entries_max
        )

    # --- pacing ---

    def _wait_ns(self) -> int:
        """How long the next poll may take."""
        if self._more:
            return 0
        wait = self.options.poll_timeout_ns
        if self.engine.entries:
            wait = min(wait, self._commit_at_ns() - self._clock.monotonic_ns())
        deadline = self.engine.next_deadline_ns()
        if deadline != NEVER_NS:
            wait = min(wait, max(MS, deadline + self.options.timer_grace_ns - self._clock.now_ns()))
        return max(0, wait)

    def _commit_at_ns(self) -> int:
        quiet = not self.engine.pending_rows
        return self._last_commit_ns + (self.options.quiet_interval_ns if quiet else self.options.commit_interval_ns)

    def _commit_due(self) -> bool:
        if not self.engine.entries:
            return False
        return self._full() or self._clock.monotonic_ns() >= self._commit_at_ns()

    def _regulate(self) -> None:
        """Pause partitions that have too much buffered, resume those that have room again."""
        limit = self.options.buffer_bytes_max
        for place in self._places:
            buffered = self._intake.bytes_of(place)
            if place in self._paused:
                if buffered <= limit // 2:
                    self._source.resume(place)
                    self._paused.discard(place)
            elif buffered > limit:
                self._source.pause(place)
                self._paused.add(place)

    # --- checkpoints ---

    def _commit(self) -> None:
        positions = self._intake.positions()
        written = self.engine.finish(positions)
        begin = self._clock.monotonic_ns()
        self._sink.commit(written.outputs, written.journal)
        self._last_commit_ns = self._clock.monotonic_ns()
        now = self._clock.now_ns()
        self.stats.latencies[Hop.OUTPUT_TO_COMMIT].add(self._last_commit_ns - begin)
        if self.engine.clock_ns != CLOCK_START_NS:
            self.stats.latencies[Hop.RECV_TO_OUTPUT].add(now - self.engine.clock_ns)
        self.stats.last_commit_ns = now
        self.stats.checkpoints += 1
        self.stats.rows_out += sum(len(chunk.rows) for chunk in written.outputs)
        self.stats.bytes_out += sum(chunk.size_bytes for chunk in written.outputs)
        self._publish_stats()
        self._source.journalled(positions)

    def _publish_stats(self) -> None:
        stats, engine = self.stats, self.engine
        replayed = stats.recovered.rows if stats.recovered else 0
        stats.rows_in = engine.rows_in - replayed
        stats.dead = engine.dead
        stats.repeats_dropped = self._intake.filter.repeats
        stats.row_gaps = self._intake.filter.gaps
        stats.taken = dict(engine.taken.last)
        stats.written = {key: tail.last for key, tail in engine.numbering.tails.items()}

    def _snapshot_when_due(self) -> None:
        waited = self._clock.monotonic_ns() - self._last_snapshot_ns
        rows = self.engine.rows_in - self._snapshot_rows
        if rows >= self.options.snapshot_rows or (rows and waited >= self.options.snapshot_interval_ns):
            self._snapshot()

    def _snapshot(self) -> None:
        """Save the state after the last checkpoint: a shortcut for the next start, nothing depends on it."""
        self._sink.save_snapshot(self.engine.checkpoint, pack_snapshot(self.engine.snapshot(self._intake.positions())))
        self._snapshot_checkpoint = self.engine.checkpoint
        self._snapshot_rows = self.engine.rows_in
        self._last_snapshot_ns = self._clock.monotonic_ns()
        self.stats.snapshots += 1

    def _check_dead(self) -> None:
        """A flood of dead letters is not bad data but a wrong program, or a wrong topic: stop.

        Raises:
            InputInvalid: more rows were put aside than the options allow.
        """
        dead, rows = self.engine.dead, self.engine.rows_in
        if dead > self.options.dead_rows_min and dead > self.options.dead_ratio_max * (rows + dead):
            raise InputInvalid(
                f"{self.label}: {dead:,} dead letters to {rows:,} rows; {self.options.dead_ratio_max:.1%} are allowed. "
                "Usually another program writes to one of its inputs, or the venue changed its format. "
                "sys.dead_letter.v1 holds each of them with its reason (`shriven tail sys.dead_letter`)."
            )


def _compacted(place: TopicPartition) -> bool:
    return TOPIC_BY_NUMBER[place.topic].cleanup == "compact"
