"""Replay finds the first row that is not the same, and says why it cannot replay when it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from schemas.errors import IntegrityError, Mismatch
from streams.api import Chunk, TopicPartition, WriterKey
from streams.clock import ManualClock
from streams.memory import MemoryLog, MemoryReader
from streams.replay import canonical_runs, recorded_tasks, replay_inputs, replay_task
from streams.runner import RunnerOptions
from tests.memory_runs import fill, journal_key, memory_runner, written_keys
from tests.pipelines import ECHO, INCARNATION, MIXER, SECOND, START_NS, Flow, Mixer

SMALL = RunnerOptions(commit_interval_ns=0, quiet_interval_ns=0, poll_bytes_max=1_000)


def recorded(seed: int = 1) -> MemoryLog:
    """A session of the mixer's tasks, with quotes, bars and dead letters."""
    flow = Flow(seed)
    log = fill(MemoryLog(), [*flow.instruments(9), *flow.market(150)])
    for task in range(4):
        clock = ManualClock(START_NS + 10_000 * SECOND)
        memory_runner(log, MIXER, task, clock=clock, options=SMALL).run_to_end()
    return log


def reader_of(log: MemoryLog) -> MemoryReader:
    return MemoryReader(log, INCARNATION)


def change(log: MemoryLog, key: WriterKey, row: int, column: str) -> tuple[int, int]:
    """Add 1 to a recorded value; before and after."""
    place = TopicPartition(key.topic, key.partition)
    for at, item in enumerate(log.partitions[place]):
        if isinstance(item, Chunk) and item.key == key and item.row_first <= row <= item.row_last:
            rows = item.rows.copy()
            before = int(rows[column][row - item.row_first])
            rows[column][row - item.row_first] += 1
            log.partitions[place][at] = replace(item, rows=rows)
            return before, before + 1
    raise AssertionError("no such row")


@pytest.mark.parametrize("way", ["value", "time"])
def test_changed_input_is_named_as_the_cause_of_the_first_row_that_differs(way: str) -> None:
    log = recorded()
    key = next(key for key in written_keys(log, MIXER) if key.topic == 5 and log.last[key] >= 3)
    assert replay_task(MIXER, key.writer % 64, Mixer(), reader_of(log)).difference is None
    whole = reader_of(log)
    chunk = next(chunk for chunk in whole.chunks(key) if chunk.cause.topic and chunk.row_last >= 3)
    cause = WriterKey(*chunk.cause)
    row = int(chunk.rows["cause_row"][-1])
    change(log, cause, row, "trade_id" if way == "value" else "ts_recv_ns")
    found = replay_task(MIXER, key.writer % 64, Mixer(), reader_of(log)).difference
    assert found is not None
    assert found.input == (cause, row)


@pytest.mark.parametrize(
    ("topic", "column"), [(5, "bid_price_e8"), (5, "reserved_b"), (7, "volume_e8"), (5, "cause_row")]
)
def test_changed_value_is_found_at_its_row_with_both_versions(topic: int, column: str) -> None:
    log = recorded()
    key = next(key for key in written_keys(log, MIXER) if key.topic == topic and log.last[key] >= 3)
    row = log.last[key] - 1
    before, after = change(log, key, row, column)
    found = replay_task(MIXER, key.writer % 64, Mixer(), reader_of(log)).difference
    assert found is not None
    assert (found.key, found.row, found.columns) == (key, row, [column])
    assert found.replayed is not None
    assert found.recorded is not None
    assert (found.replayed[column], found.recorded[column]) == (before, after)
    assert column in str(found)
    assert f"row {row}" in str(found)


def test_changed_words_of_a_dead_letter_are_found() -> None:
    log = recorded()
    key = next(key for key in written_keys(log, MIXER) if key.topic == 12)
    place = TopicPartition(key.topic, key.partition)
    at, item = next(
        (at, one) for at, one in enumerate(log.partitions[place]) if isinstance(one, Chunk) and one.key == key
    )
    heap = item.heap.copy()
    heap[0] ^= 1
    log.partitions[place][at] = replace(item, heap=heap)
    found = replay_task(MIXER, key.writer % 64, Mixer(), reader_of(log)).difference
    assert found is not None
    assert (found.row, found.columns) == (item.row_first, ["detail"])


def test_changed_cause_is_found() -> None:
    log = recorded()
    key = next(key for key in written_keys(log, MIXER) if key.topic == 5)
    place = TopicPartition(key.topic, key.partition)
    item = log.partitions[place][0]
    assert isinstance(item, Chunk)
    log.partitions[place][0] = replace(item, cause=item.cause._replace(writer=1))
    found = replay_task(MIXER, key.writer % 64, Mixer(), reader_of(log)).difference
    assert found is not None
    assert found.columns == ["cause"]


def test_missing_and_additional_recorded_rows_are_found() -> None:
    log = recorded()
    key = next(key for key in written_keys(log, MIXER) if key.topic == 5)
    place = TopicPartition(key.topic, key.partition)
    last = log.partitions[place].pop()
    assert isinstance(last, Chunk)
    found = replay_task(MIXER, key.writer % 64, Mixer(), reader_of(log)).difference
    assert found is not None
    assert (found.row, found.recorded) == (last.row_first, None)
    log.partitions[place] += [last, Chunk(key, last.row_last + 1, last.rows[-1:], last.heap, last.cause)]
    log.last[key] += 1
    found = replay_task(MIXER, key.writer % 64, Mixer(), reader_of(log)).difference
    assert found is not None
    assert (found.row, found.replayed) == (last.row_last + 1, None)


def test_other_code_is_noted_and_only_counts_when_rows_differ() -> None:
    class Renamed(Mixer):
        version = 2

    class Other(Renamed):
        def _mix(self, state, *values):  # type: ignore[no-untyped-def]
            super()._mix(state, *values, 1)

    log = recorded()
    same = replay_task(MIXER, 1, Renamed(), reader_of(log))
    assert (same.equal, same.code_changed) == (True, True)
    other = replay_task(MIXER, 1, Other(), reader_of(log))
    assert (other.equal, other.code_changed) == (False, True)
    with pytest.raises(Mismatch, match="The code changed since it was recorded"):
        other.check()


def test_input_rows_and_journal_rows_that_are_gone_are_said() -> None:
    log = recorded()
    trades = TopicPartition(2, 1)
    kept = log.partitions[trades]
    log.partitions[trades] = kept[3:]
    with pytest.raises(IntegrityError, match="not there any more"):
        replay_task(MIXER, 1, Mixer(), reader_of(log))
    log.partitions[trades] = kept
    journal = TopicPartition(*journal_key(MIXER, 1)[:2])
    del log.partitions[journal][1]
    with pytest.raises(IntegrityError, match="after checkpoint 1 comes 3"):
        replay_task(MIXER, 1, Mixer(), reader_of(log))


def test_tasks_of_a_session_are_those_with_a_journal() -> None:
    log = recorded()
    fill(log, Flow(9).trades(5))
    assert recorded_tasks(reader_of(log), [ECHO, MIXER]) == [(MIXER, task) for task in range(4)]
    assert recorded_tasks(reader_of(log), [ECHO]) == []


# --- without a journal ---


def test_inputs_without_a_journal_are_merged_canonically() -> None:
    flow = Flow(5)
    log = fill(MemoryLog(), [*flow.instruments(), *flow.market(120)])
    ranks = {2: 0, 3: 1, 4: 2}
    order: list[tuple[int, ...]] = []
    for run in canonical_runs(MIXER, 1, reader_of(log)):
        if run.key.topic == 9:
            assert not order
            continue
        times = run.rows["ts_recv_ns"].tolist()
        order += [
            (time, ranks[run.key.topic], run.key.partition, run.key.writer, run.row_first + i)
            for i, time in enumerate(times)
        ]
    assert order == sorted(order)
    wanted = {
        key: log.last[key] for key in log.sequences() if key.topic == 4 or (key.topic in (2, 3) and key.partition == 1)
    }
    assert len(order) == sum(wanted.values())


def test_outputs_without_a_journal_do_not_depend_on_frames() -> None:
    flow = Flow(5)
    chunks = [*flow.instruments(), *flow.market(120)]
    single = [chunk.cut(at, at + 1) for chunk in chunks for at in range(len(chunk.rows))]
    made = []
    for arriving in (chunks, single):
        log = fill(MemoryLog(), arriving)
        outputs = list(replay_inputs(MIXER, 1, Mixer(), reader_of(log)))
        made.append(
            {
                key: np.concatenate([one.rows for one in outputs if one.key == key]).tobytes()
                for key in {one.key for one in outputs}
            }
        )
    assert made[0] == made[1]
    assert len(made[0]) >= 2


def test_outputs_without_a_journal_equal_a_run_that_had_everything_before_it() -> None:
    flow = Flow(7)
    log = fill(MemoryLog(), [*flow.instruments(), *flow.market(120)])
    outputs = list(replay_inputs(MIXER, 3, Mixer(), reader_of(log)))
    memory_runner(log, MIXER, 3, clock=ManualClock(START_NS)).run_to_end()
    for key in {one.key for one in outputs}:
        assert b"".join(one.rows.tobytes() for one in outputs if one.key == key) == log.rows(key).tobytes()
