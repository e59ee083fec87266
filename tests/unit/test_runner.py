"""The one loop, over the transport in memory: several inputs, timers, crashes, fencing, pacing."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest

from processors.api import Batch, Outputs, State
from schemas.errors import ConfigInvalid, Fenced, InputInvalid, IntegrityError, Mismatch
from schemas.events import BAR, TRADE, DeadReason, JournalKind
from streams.api import Chunk, TopicPartition, WriterKey
from streams.checkpoint import read_journal
from streams.clock import ManualClock
from streams.memory import MemoryLog
from streams.pipelines import Input, Pipeline
from streams.runner import MS, Runner, RunnerOptions
from streams.topics import topic
from tests.memory_runs import (
    EAGER,
    Crash,
    crash_at,
    fill,
    journal_key,
    memory_runner,
    replayed,
    written,
    written_keys,
)
from tests.pipelines import DELAY_NS, ECHO, INSTRUMENTS, MIXER, SECOND, START_NS, Echo, Flow, Mixer, place_of

END_NS = START_NS + 10_000 * SECOND


def mixed_log(seed: int = 1, frames: int = 120) -> MemoryLog:
    flow = Flow(seed)
    return fill(MemoryLog(), [*flow.instruments(9), *flow.market(frames)])


def run_mixer(log: MemoryLog, *, options: RunnerOptions = EAGER, **how: object) -> Runner:
    """All four tasks to the end of the log; the last runner."""
    for task in range(4):
        runner = memory_runner(log, MIXER, task, clock=ManualClock(END_NS), options=options, **how)  # type: ignore[arg-type]
        runner.run_to_end()
    return runner


def entries(log: MemoryLog, row: Pipeline = MIXER, task: int = 0) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for chunk in log.chunks(journal_key(row, task)):
        found += [(int(entry.kind), *entry[1:]) for entry in read_journal(chunk.rows).entries]
    return found


def recut(chunks: list[Chunk], seed: int) -> list[Chunk]:
    """The same rows in the same order, in other frames."""
    chosen = random.Random(seed)
    parts = []
    for chunk in chunks:
        edges = sorted({0, len(chunk.rows), *(chosen.randrange(len(chunk.rows) + 1) for _ in range(3))})
        parts += [chunk.cut(start, stop) for start, stop in itertools.pairwise(edges)]
    return parts


def test_every_kind_of_input_and_output_takes_part() -> None:
    log = mixed_log()
    run_mixer(log)
    topics = {key.topic for key in written_keys(log, MIXER)}
    assert topics == {topic(name).number for name in ("md.quote", "md.bar", "sys.dead_letter")}
    kinds = {entry[0] for task in range(4) for entry in entries(log, task=task)}
    assert {JournalKind.RUN, JournalKind.TIME, JournalKind.BASELINE} <= kinds
    trades = sum(len(chunk.rows) for key in log.sequences(2) for chunk in log.chunks(key))
    quotes = sum(len(log.rows(key)) for key in written_keys(log, MIXER) if key.topic == 5)
    unknown = sum(
        int((log.rows(key)["reason"] == DeadReason.UNKNOWN_INSTRUMENT).sum())
        for key in written_keys(log, MIXER)
        if key.topic == 12
    )
    deltas = [log.rows(key) for key in log.sequences(3)]
    unknown_deltas = sum(int((rows["instrument"] > INSTRUMENTS[8]).sum()) for rows in deltas)
    assert quotes == trades - (unknown - unknown_deltas)
    assert unknown > 0


@pytest.mark.parametrize("seed", range(5))
def test_outputs_do_not_depend_on_how_inputs_were_cut(seed: int) -> None:
    flow = Flow(seed)
    chunks = [*flow.instruments(9), *flow.market(80)]
    logs = [
        fill(MemoryLog(), chunks),
        fill(MemoryLog(), recut(chunks, seed)),
        fill(MemoryLog(), recut(chunks, seed + 99)),
    ]
    for log in logs:
        run_mixer(log)
    assert written(logs[0], MIXER) == written(logs[1], MIXER) == written(logs[2], MIXER)


def test_outputs_do_not_depend_on_helpings_and_pacing() -> None:
    small = RunnerOptions(
        commit_interval_ns=0, quiet_interval_ns=0, poll_bytes_max=200, commit_bytes_max=300, commit_entries_max=3
    )
    rare = RunnerOptions(commit_interval_ns=1 << 60, quiet_interval_ns=1 << 60)
    logs = [mixed_log(3) for _ in range(3)]
    for log, options in zip(logs, (EAGER, small, rare), strict=True):
        run_mixer(log, options=options)
    assert written(logs[0], MIXER) == written(logs[1], MIXER) == written(logs[2], MIXER)
    checkpoints = [sum(1 for _ in log.chunks(journal_key(MIXER, 0))) for log in logs]
    assert checkpoints[1] > checkpoints[0] >= checkpoints[2] == 2  # the first row's, and the stop's


def test_broadcast_rows_are_processed_before_any_other() -> None:
    log = mixed_log()
    run_mixer(log)
    runs = [entry for entry in entries(log) if entry[0] == JournalKind.RUN]
    assert runs[0][1] == topic("ref.instrument").number
    assert runs[0][5:7] == (1, 9)
    assert all(run[1] != topic("ref.instrument").number for run in runs[1:])


def test_rows_are_merged_by_receive_time_and_rank() -> None:
    log = mixed_log(5)
    run_mixer(log)
    ranks = {topic(source.topic).number: rank for rank, source in enumerate(MIXER.inputs)}
    rows = {key: log.rows(key) for key in log.sequences()}
    order = []
    for entry in entries(log):
        if entry[0] == JournalKind.RUN and ranks[entry[1]] != 3:
            key = WriterKey(*entry[1:5])
            order += [
                (int(rows[key]["ts_recv_ns"][row - 1]), ranks[key.topic], key.partition, key.writer, row)
                for row in range(entry[5], entry[6] + 1)
            ]
    assert len(order) > 100
    assert order == sorted(order)


# --- timers ---


def trades_at(*seconds: float, instrument: int = 1001) -> list[Chunk]:
    flow = Flow(0)
    known = flow.instruments()
    one = flow.chunk("md.trade", TRADE, 640, [instrument] * len(seconds))
    one.rows["ts_recv_ns"] = [START_NS + int(second * SECOND) for second in seconds]
    return [*known, one]


def bars(log: MemoryLog) -> list[float]:
    """Deadlines of the bars, in seconds from the start."""
    rows = [log.rows(key) for key in log.sequences(7)]
    return [(int(time) - START_NS) / SECOND for part in rows for time in part["ts_event_ns"]]


def test_timer_fires_before_the_row_that_comes_at_its_deadline() -> None:
    log = fill(MemoryLog(), trades_at(0, 1, 4, 4.5, 9))
    memory_runner(log, MIXER, 2, clock=ManualClock(START_NS)).run_to_end()
    assert bars(log) == [4.0, 7.5]
    kept = [entry for entry in entries(log, task=2) if entry[0] in (JournalKind.RUN, JournalKind.TIME)]
    shown = [
        (entry[5], entry[6]) if entry[0] == JournalKind.RUN else (entry[7] - START_NS) / SECOND
        for entry in kept
        if entry[1] in (0, 2)
    ]
    assert shown == [(1, 2), 4.0, (3, 4), 9.0, (5, 5)]


@pytest.mark.parametrize(("late_s", "fired"), [(11.9, [4.0, 7.5]), (12.0, [4.0, 7.5]), (13.0, [4.0, 7.5, 12.0])])
def test_idle_timers_fire_by_the_clock_after_the_grace(late_s: float, fired: list[float]) -> None:
    log = fill(MemoryLog(), trades_at(0, 1, 4, 4.5, 9))
    memory_runner(log, MIXER, 2, clock=ManualClock(START_NS + int(late_s * SECOND))).run_to_end()
    assert bars(log) == fired
    replayed(log, MIXER, 2)


def test_deadline_in_the_past_waits_for_a_row_that_reaches_it() -> None:
    log = fill(MemoryLog(), trades_at(0, 5, 1, 1.5, 6))
    memory_runner(log, MIXER, 2, clock=ManualClock(START_NS)).run_to_end()
    assert bars(log) == [3.0, 4.5]  # 1 + 3 was moved on by the row at 1.5
    again = fill(MemoryLog(), recut(trades_at(0, 5, 1, 1.5, 6), 1))
    memory_runner(again, MIXER, 2, clock=ManualClock(START_NS)).run_to_end()
    assert written(again, MIXER) == written(log, MIXER)


def test_deadline_far_from_all_rows_does_not_cut_runs() -> None:
    calls = []

    class Counting(Mixer):
        timer_delay_min_ns = 1 << 60

        def next_deadline_ns(self, state: State) -> int:
            return START_NS + (1 << 60)

        def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
            calls.append(len(batch.rows))

    log = fill(MemoryLog(), trades_at(0, 1, 2, 3, 50))
    memory_runner(log, MIXER, 2, Counting()).run_to_end()
    assert calls[-1] == 5


# --- the filter at work ---


def test_repeats_are_dropped_and_a_lost_row_becomes_a_dead_letter() -> None:
    flow = Flow(4)
    known, trades = flow.instruments(), flow.trades(30, 4)
    lost = next(i for i, chunk in enumerate(trades) if len(chunk.rows) > 2 and chunk.row_first > 5)
    target = trades[lost]
    place = place_of(target)
    arriving = [*trades[: lost + 1], *trades[lost - 3 : lost], *trades[lost + 1 :]]  # three frames come again
    later = next(chunk for chunk in trades[lost + 1 :] if chunk.key == target.key)
    holed = [chunk for chunk in arriving if chunk is not target]
    log = fill(MemoryLog(), [*known, *holed])
    runner = memory_runner(log, MIXER, place.partition, clock=ManualClock(END_NS))
    runner.run_to_end()
    letters = next(key for key in written_keys(log, MIXER) if key.topic == 12)
    chunk = next(chunk for chunk in log.chunks(letters) if DeadReason.ROW_GAP in chunk.rows["reason"])
    row = chunk.rows[chunk.rows["reason"] == DeadReason.ROW_GAP][0]
    words = chunk.heap[row["detail_at"] : row["detail_at"] + row["detail_size"]].tobytes().decode()
    assert tuple(chunk.cause) == tuple(target.key)
    assert row["cause_row"] == later.row_first
    assert words == f"rows {target.row_first} to {target.row_last} are missing before row {later.row_first}"
    assert runner.stats.row_gaps == 1
    repeats = [chunk for chunk in trades[lost - 3 : lost] if place_of(chunk) == place]
    assert runner.stats.repeats_dropped == sum(len(chunk.rows) for chunk in repeats)
    replayed(log, MIXER, place.partition, cut_seed=1)


def test_sequence_that_begins_in_the_middle_has_a_baseline() -> None:
    flow = Flow(4)
    known, trades = flow.instruments(), flow.trades(40)
    log = fill(MemoryLog(), [*known, *trades[15:]])
    runner = memory_runner(log, MIXER, 1, clock=ManualClock(END_NS))
    runner.run_to_end()
    firsts = {key: next(log.chunks(key)).row_first for key in log.sequences(2) if key.partition == 1}
    baselines = {
        WriterKey(*entry[1:5]): entry[6]
        for entry in entries(log, task=1)
        if entry[0] == JournalKind.BASELINE and entry[1] == 2
    }
    assert baselines == {key: first - 1 for key, first in firsts.items()}
    assert max(baselines.values()) > 0
    assert runner.stats.row_gaps == 0


def test_rows_of_another_session_are_not_seen() -> None:
    ours, theirs = Flow(1), Flow(2, incarnation=8)
    log = fill(MemoryLog(), [*theirs.instruments(), *ours.instruments(), *theirs.trades(10), *ours.trades(10)])
    memory_runner(log, ECHO, 1, Echo()).run_to_end()
    incarnations = {key.incarnation for key in written_keys(log, ECHO)}
    causes = {chunk.cause.incarnation for key in written_keys(log, ECHO) for chunk in log.chunks(key)}
    assert incarnations == causes == {7}


def test_foreign_message_is_put_aside_and_replays() -> None:
    flow = Flow(1)
    log = fill(MemoryLog(), flow.trades(10))
    place = TopicPartition(2, 1)
    log.append_foreign(place, b'{"not": "ours"}', ts_ns=START_NS)
    fill(log, flow.trades(20))
    memory_runner(log, ECHO, 1, Echo(), reach=crash_at("begin", 3)).start()
    runner = memory_runner(log, ECHO, 1, Echo())
    runner.run_to_end()
    letters = next(key for key in written_keys(log, ECHO) if key.topic == 12)
    chunk = next(log.chunks(letters))
    assert chunk.rows["reason"].tolist() == [DeadReason.UNDECODABLE]
    assert chunk.heap.tobytes().endswith(b'{"not": "ours"}')
    assert chunk.cause == (2, 1, 0, 0)
    replayed(log, ECHO, 1, Echo())
    restarted = memory_runner(log, ECHO, 1, Echo(), options=EAGER)
    log.snapshots.clear()
    restarted.run_to_end()  # recovery passes the letter without its words
    assert restarted.stats.recovered is not None
    assert restarted.stats.recovered.replayed == runner.stats.checkpoints


# --- crashes ---

POINTS_ATOMIC = ["begin", "done"]
POINTS_IN_TURN = ["begin", "journal", "output", "done"]


def run_crashing(
    log: MemoryLog, row: Pipeline, task: int, rule: Callable[[], Mixer | Echo], point: str, atomic: bool
) -> int:
    """Run to the end, dying at `point` of every third commit; how often it died."""
    deaths = 0
    while True:
        reach = crash_at(point, 3) if deaths < 12 else None
        runner = memory_runner(
            log, row, task, rule(), clock=ManualClock(END_NS), atomic=atomic, reach=reach,
            options=RunnerOptions(commit_interval_ns=0, quiet_interval_ns=0, poll_bytes_max=300, snapshot_rows=40),
        )  # fmt: skip
        try:
            runner.run_to_end()
        except Crash:
            deaths += 1
        else:
            return deaths


@pytest.mark.parametrize(
    ("atomic", "point"), [(True, point) for point in POINTS_ATOMIC] + [(False, point) for point in POINTS_IN_TURN]
)
def test_crash_at_every_step_recovers_to_the_same_rows(atomic: bool, point: str) -> None:
    # one writer: how two of them interleave within a partition is luck, and another luck after a crash
    whole, broken = (fill(MemoryLog(), Flow(11, writers=[640]).trades(150)) for _ in range(2))
    for task in range(4):
        memory_runner(whole, ECHO, task, Echo(), clock=ManualClock(END_NS)).run_to_end()
    deaths = sum(run_crashing(broken, ECHO, task, Echo, point, atomic) for task in range(4))
    assert deaths >= 12
    assert written(broken, ECHO) == written(whole, ECHO)


@pytest.mark.parametrize(
    ("atomic", "point"), [(True, point) for point in POINTS_ATOMIC] + [(False, point) for point in POINTS_IN_TURN]
)
def test_crashes_with_many_inputs_and_timers_leave_a_replayable_session(atomic: bool, point: str) -> None:
    log = mixed_log(6, frames=400)
    deaths = [run_crashing(log, MIXER, task, Mixer, point, atomic) for task in range(4)]
    assert min(deaths) >= 2
    written(log, MIXER)  # dense, nothing twice
    for task in range(4):
        plain = replayed(log, MIXER, task)
        for cut_seed in range(3):
            assert replayed(log, MIXER, task, cut_seed=cut_seed).hashes == plain.hashes


def test_recovery_without_a_snapshot_processes_the_whole_journal() -> None:
    log, whole = one_writer(), one_writer()
    with pytest.raises(Crash):
        memory_runner(log, ECHO, 1, Echo(), reach=crash_at("done", 4), options=SMALL_HELPINGS).run_to_end()
    assert not log.snapshots
    runner = memory_runner(log, ECHO, 1, Echo(), options=SMALL_HELPINGS)
    runner.run_to_end()
    memory_runner(whole, ECHO, 1, Echo()).run_to_end()
    assert runner.stats.recovered is not None
    assert runner.stats.recovered.replayed == 4
    assert runner.stats.recovered.appended == 0
    assert written(log, ECHO) == written(whole, ECHO)


def one_writer() -> MemoryLog:
    return fill(MemoryLog(), Flow(3, writers=[640]).trades(60))


SMALL_HELPINGS = RunnerOptions(commit_interval_ns=0, quiet_interval_ns=0, poll_bytes_max=400)


def test_outputs_lost_with_the_power_come_again_from_an_older_snapshot() -> None:
    """Local log: the journal and a snapshot reached the disk, the last outputs did not."""
    log, whole = one_writer(), one_writer()
    options = RunnerOptions(commit_interval_ns=0, quiet_interval_ns=0, poll_bytes_max=400, snapshot_rows=20)
    memory_runner(log, ECHO, 1, Echo(), atomic=False, options=options).run_to_end()
    memory_runner(whole, ECHO, 1, Echo(), atomic=False).run_to_end()
    assert len(log.snapshots["test_echo/1"]) == 2
    key = written_keys(log, ECHO)[0]
    place = TopicPartition(key.topic, key.partition)
    kept = log.partitions[place][:2]
    log.partitions[place] = kept
    log.last[key] = kept[-1].row_last  # type: ignore[union-attr]
    runner = memory_runner(log, ECHO, 1, Echo(), atomic=False, options=options)
    runner.run_to_end()
    assert runner.stats.recovered is not None
    assert runner.stats.recovered.snapshot == 0
    assert runner.stats.recovered.appended > 0
    assert written(log, ECHO) == written(whole, ECHO)


def test_journal_that_lost_its_end_is_refused() -> None:
    log = fill(MemoryLog(), Flow(3).trades(60))
    memory_runner(log, ECHO, 1, Echo(), atomic=False, options=SMALL_HELPINGS).run_to_end()
    key = journal_key(ECHO, 1)
    place = TopicPartition(key.topic, key.partition)
    log.partitions[place].pop()
    log.snapshots.clear()
    with pytest.raises(IntegrityError, match="journal lost its end"):
        memory_runner(log, ECHO, 1, Echo(), atomic=False).run_to_end()


def test_hole_in_the_journal_is_refused() -> None:
    log = fill(MemoryLog(), Flow(3).trades(60))
    memory_runner(log, ECHO, 1, Echo(), options=SMALL_HELPINGS).run_to_end()
    key = journal_key(ECHO, 1)
    del log.partitions[TopicPartition(key.topic, key.partition)][1]
    log.snapshots.clear()
    with pytest.raises(IntegrityError, match=r"after checkpoint 1 .* comes checkpoint 3"):
        memory_runner(log, ECHO, 1, Echo()).run_to_end()


def test_journalled_rows_that_are_gone_are_refused() -> None:
    log = fill(MemoryLog(), Flow(3).trades(60))
    memory_runner(log, ECHO, 1, Echo(), options=SMALL_HELPINGS).run_to_end()
    log.snapshots.clear()
    del log.partitions[TopicPartition(2, 1)][0]
    with pytest.raises(IntegrityError, match="was processed and is not there"):
        memory_runner(log, ECHO, 1, Echo()).run_to_end()


def test_recovery_notices_a_rule_that_is_no_function_of_its_rows() -> None:
    runs = iter(range(10))

    class Moody(Echo):
        def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
            batch.rows["trade_id"][:1] += self._mood  # type: ignore[attr-defined]
            super().on_batch(state, batch, out)

    def moody() -> Moody:
        rule = Moody()
        object.__setattr__(rule, "_mood", np.int64(next(runs)))
        return rule

    log = fill(MemoryLog(), [chunk.cut(0, len(chunk.rows)) for chunk in Flow(3).trades(60)])
    with pytest.raises(Crash):
        memory_runner(log, ECHO, 1, moody(), reach=crash_at("done", 3), options=SMALL_HELPINGS).run_to_end()
    with pytest.raises(Mismatch, match=r"checkpoint 1 gives other rows of md\.quote\.v1/1"):
        memory_runner(log, ECHO, 1, moody(), options=SMALL_HELPINGS).run_to_end()


# --- code that changed ---


class NewerEcho(Echo):
    version = 2


def test_changed_code_is_refused_while_a_tail_needs_the_old_one() -> None:
    log = fill(MemoryLog(), Flow(3).trades(60))
    options = RunnerOptions(commit_interval_ns=0, quiet_interval_ns=0, poll_bytes_max=400, snapshot_rows=20)
    with pytest.raises(Crash):
        memory_runner(log, ECHO, 1, Echo(), reach=crash_at("done", 5), options=options).run_to_end()
    for snapshots in (True, False):
        if not snapshots:
            log.snapshots.clear()
        with pytest.raises(ConfigInvalid, match="stop it"):
            memory_runner(log, ECHO, 1, NewerEcho(), options=options).run_to_end()


def test_changed_code_goes_on_after_a_stop_with_snapshot() -> None:
    flow = Flow(3)
    first, second = flow.trades(40), flow.trades(40)
    log, whole = fill(MemoryLog(), first), fill(MemoryLog(), [*first, *second])
    memory_runner(log, ECHO, 1, Echo(), options=SMALL_HELPINGS).run_to_end()
    fill(log, second)
    memory_runner(log, ECHO, 1, NewerEcho(), options=SMALL_HELPINGS).run_to_end()
    memory_runner(whole, ECHO, 1, Echo()).run_to_end()
    assert written(log, ECHO) == written(whole, ECHO)


def test_changed_code_may_replay_from_the_start_when_allowed() -> None:
    log = fill(MemoryLog(), Flow(3).trades(60))
    options = RunnerOptions(
        commit_interval_ns=0, quiet_interval_ns=0, poll_bytes_max=400, snapshot_rows=20, replay_from_start=True
    )
    with pytest.raises(Crash):
        memory_runner(log, ECHO, 1, Echo(), reach=crash_at("done", 5), options=options).run_to_end()
    runner = memory_runner(log, ECHO, 1, NewerEcho(), options=options)
    runner.run_to_end()
    assert runner.stats.recovered is not None
    assert (runner.stats.recovered.snapshot, runner.stats.recovered.replayed) == (0, 5)


def test_state_of_another_layout_is_refused() -> None:
    class Wider(NewerEcho):
        def initial_state(self) -> State:
            return {"count": np.zeros((2, 2), dtype=np.int64)}

    log = fill(MemoryLog(), Flow(3).trades(40))
    memory_runner(log, ECHO, 1, Echo()).run_to_end()
    with pytest.raises(ConfigInvalid, match="another layout"):
        memory_runner(log, ECHO, 1, Wider()).run_to_end()


def test_rule_that_does_not_fit_its_row_is_refused() -> None:
    row = Pipeline(402, "wrong", "x", (Input("md.trade.v1"),), ("md.bar.v1",), "worker", "")
    with pytest.raises(ConfigInvalid, match="writes"):
        memory_runner(MemoryLog(), row, 0, Echo())


# --- fencing, stopping, pacing ---


def test_second_runner_of_a_task_fences_the_first() -> None:
    flow = Flow(3)
    log = fill(MemoryLog(), flow.trades(30))
    first, second = (memory_runner(log, ECHO, 1, Echo(), options=SMALL_HELPINGS) for _ in range(2))
    first.start()
    first.step()
    second.start()
    with pytest.raises(Fenced):
        first.step()
    while not second.caught_up():
        second.step()
    second.finish()
    whole = fill(MemoryLog(), Flow(3).trades(30))
    memory_runner(whole, ECHO, 1, Echo()).run_to_end()
    assert written(log, ECHO) == written(whole, ECHO)


def test_stop_commits_what_is_buffered_and_saves_the_state() -> None:
    log = fill(MemoryLog(), Flow(3).trades(30))
    options = RunnerOptions(commit_interval_ns=1 << 60)
    runner = memory_runner(log, ECHO, 1, Echo(), options=options)
    runner.run(until=lambda: runner.engine.rows_in > 0)
    assert runner.stats.state == "stopped"
    assert runner.stats.rows_out == runner.stats.rows_in > 0
    restarted = memory_runner(log, ECHO, 1, Echo())
    restarted.start()
    assert restarted.stats.recovered is not None
    assert restarted.stats.recovered.snapshot == runner.stats.checkpoints
    assert restarted.stats.recovered.replayed == 0


def test_stop_from_outside_ends_the_loop() -> None:
    log = fill(MemoryLog(), Flow(3).trades(30))
    runner = memory_runner(log, ECHO, 1, Echo())
    rounds = iter(range(100))

    def stop_in_round_five() -> bool:
        if next(rounds) == 5:
            runner.stop()
        return False

    runner.run(until=stop_in_round_five)
    assert next(rounds) == 6
    assert runner.stats.state == "stopped"


def test_commits_keep_their_distance() -> None:
    clock = ManualClock(START_NS)
    flow = Flow(3)
    log = MemoryLog()
    options = RunnerOptions(commit_interval_ns=20 * MS, quiet_interval_ns=200 * MS, poll_timeout_ns=5 * MS)
    runner = memory_runner(log, ECHO, 1, Echo(), clock=clock, options=options)
    runner.start()
    commits = []
    for _ in range(400):
        fill(log, flow.trades(1))
        before = runner.stats.checkpoints
        runner.step()
        clock.advance_to(clock.now_ns() + MS)
        if runner.stats.checkpoints > before:
            commits.append(clock.now_ns())
    gaps = np.diff(commits)
    assert len(commits) > 10
    assert gaps.min() >= 20 * MS
    assert np.median(gaps) <= 26 * MS


def test_first_row_after_silence_is_committed_at_once() -> None:
    clock = ManualClock(START_NS)
    flow = Flow(3)
    log = MemoryLog()
    runner = memory_runner(log, ECHO, 2, Echo(), clock=clock, options=RunnerOptions())
    runner.start()
    for _ in range(100):
        runner.step()
    fill(log, [flow.chunk("md.trade", TRADE, 640, [1001])])
    runner.step()
    assert runner.stats.checkpoints == 1


def test_partition_with_too_much_buffered_is_paused_and_resumed() -> None:
    """The broadcast input is not at its end, so trades pile up; the pile is bounded."""
    flow = Flow(3)
    trades, known = flow.trades(400), flow.instruments()
    log = fill(MemoryLog(), [*known[:1], *trades])
    gate = {"open": False}

    class Slow:
        def stalled(self, place: TopicPartition) -> bool:
            return place.topic == 9 and not gate["open"]

        def deliver(self, chunk: Chunk) -> list[Chunk]:
            return [chunk]

    options = RunnerOptions(commit_interval_ns=0, poll_bytes_max=500, buffer_bytes_max=2_000)
    clock = ManualClock(END_NS)
    runner = memory_runner(log, MIXER, 1, clock=clock, weather=Slow(), options=options)
    runner.start()
    place = TopicPartition(2, 1)
    piled = []
    for _ in range(60):
        runner.step()
        piled.append(runner._intake.bytes_of(place))
    assert max(piled) <= 2_000 + 500 + 6 * TRADE.dtype.itemsize
    assert piled[-1] == piled[-20]
    stood_ns = runner.stats.moved_ns
    clock.sleep(1.0)
    runner.step()
    assert runner.stats.moved_ns == stood_ns  # rows wait, and cannot be merged
    gate["open"] = True
    while not runner.caught_up():
        runner.step()
    assert runner.stats.moved_ns > stood_ns
    trades_there = sum(len(log.rows(key)) for key in log.sequences(2) if key.partition == 1)
    assert sum(last for key, last in runner.stats.taken.items() if key.topic == 2) == trades_there


class Stuck(Echo):
    """Does not return from the second run: the clock goes on, the runner does not."""

    def __init__(self, runner: Callable[[], Runner], clock: ManualClock) -> None:
        self.runner, self.clock, self.marks = runner, clock, list[int]()

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        self.clock.sleep(60.0)
        self.marks.append(self.runner().stats.moved_ns)
        super().on_batch(state, batch, out)


def test_mark_of_progress_stands_still_in_a_rule_that_does_not_return() -> None:
    clock, flow, log = ManualClock(START_NS), Flow(3), MemoryLog()
    rule = Stuck(lambda: runner, clock)
    runner = memory_runner(log, ECHO, 1, rule, clock=clock)
    assert runner.stats.moved_ns == 0
    runner.start()
    runner.step()
    idle_ns = runner.stats.moved_ns
    assert idle_ns >= START_NS  # nothing waits
    fill(log, flow.trades(30))
    runner.step()
    assert rule.marks[0] == idle_ns
    assert runner.stats.moved_ns >= idle_ns + 60 * SECOND


def test_flood_of_dead_letters_stops_the_pipeline_after_it_was_recorded() -> None:
    flow = Flow(3)
    log = fill(MemoryLog(), [*flow.instruments(1), *flow.trades(300)])
    options = RunnerOptions(commit_interval_ns=0, dead_rows_min=50, dead_ratio_max=0.1, poll_bytes_max=1000)
    with pytest.raises(InputInvalid, match="dead letters"):
        memory_runner(log, MIXER, 1, options=options).run_to_end()
    letters = next(key for key in written_keys(log, MIXER) if key.topic == 12)
    assert len(log.rows(letters)) > 50


def test_stats_say_what_was_taken_and_written() -> None:
    log = mixed_log(2)
    runner = memory_runner(log, MIXER, 1, clock=ManualClock(END_NS))
    runner.run_to_end()
    stats = runner.stats
    lasts = {key: log.last[key] for key in log.sequences() if key in stats.taken}
    assert stats.taken == lasts
    assert stats.written == {key: log.last[key] for key in written_keys(log, MIXER)}
    assert stats.rows_in == sum(len(log.rows(key)) for key in stats.taken)
    assert stats.rows_out == sum(stats.written.values())
    assert stats.dead == sum(last for key, last in stats.written.items() if key.topic == 12)
    assert stats.checkpoints == sum(1 for _ in log.chunks(journal_key(MIXER, 1)))


def test_bar_rows_have_no_cause_and_quotes_have_theirs() -> None:
    log = mixed_log(2)
    run_mixer(log)
    for key in written_keys(log, MIXER):
        for chunk in log.chunks(key):
            if key.topic == topic("md.bar").number:
                assert chunk.cause == (0, 0, 0, 0)
                assert chunk.rows["ts_event_ns"].tolist() == chunk.rows["ts_recv_ns"].tolist()
            elif key.topic == topic("md.quote").number:
                rows = log.rows(WriterKey(*chunk.cause))
                caused = rows[chunk.rows["cause_row"] - 1]
                assert caused["trade_id"].tolist() == chunk.rows["update_id"].tolist()
    assert BAR.caused
    assert DELAY_NS == 3 * SECOND
