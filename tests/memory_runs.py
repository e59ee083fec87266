"""Runners over the transport in memory, and what came out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from processors.api import Processor
from streams.api import Chunk, WriterKey
from streams.checkpoint import Tail, compact_heap
from streams.clock import ManualClock
from streams.memory import MemoryLog, MemoryReader, MemorySink, MemorySource, Weather
from streams.numbering import Numbering
from streams.pipelines import Pipeline
from streams.replay import TaskReplay, replay_task
from streams.runner import Runner, RunnerOptions
from streams.topics import TOPIC_BY_NUMBER, topic
from tests.pipelines import INCARNATION, START_NS, Mixer

EAGER = RunnerOptions(commit_interval_ns=0, quiet_interval_ns=0, snapshot_interval_ns=1 << 62)


class Crash(Exception):
    """The process died here."""


def crash_at(point: str, count: int = 1) -> Callable[[str], None]:
    """A `reach` that dies the count-th time it comes to that point."""
    left = count

    def reach(reached: str) -> None:
        nonlocal left
        left -= reached == point
        if reached == point and left == 0:
            raise Crash(point)

    return reach


def fill(log: MemoryLog, chunks: Iterable[Chunk]) -> MemoryLog:
    for chunk in chunks:
        log.append(chunk)
    return log


def journal_key(row: Pipeline, task: int) -> WriterKey:
    journal = topic("sys.journal")
    writer = row.writer(task)
    return Numbering(writer, INCARNATION, task).key(journal, writer % journal.partitions)


def memory_runner(
    log: MemoryLog,
    row: Pipeline,
    task: int,
    processor: Processor | None = None,
    *,
    clock: ManualClock | None = None,
    atomic: bool = True,
    reach: Callable[[str], None] | None = None,
    weather: Weather | None = None,
    options: RunnerOptions = EAGER,
) -> Runner:
    clock = clock or ManualClock(START_NS)
    sink = MemorySink(
        log, f"{row.name}/{task}", journal_key(row, task), atomic=atomic, reach=reach or (lambda point: None)
    )
    source = MemorySource(log, clock, INCARNATION, weather)
    return Runner(row, task, processor or Mixer(), source, sink, clock, incarnation=INCARNATION, options=options)


def written_keys(log: MemoryLog, row: Pipeline) -> list[WriterKey]:
    """Sequences that tasks of the pipeline wrote, journals left out."""
    numbers = {topic(name).number for name in (*row.outputs, "sys.dead_letter")}
    return [key for key in log.sequences() if key.topic in numbers and key.writer // 64 == row.number]


def written(log: MemoryLog, row: Pipeline) -> dict[WriterKey, tuple[int, int]]:
    """Last row and checksum of every output; proves on the way that numbers are dense and nothing came twice."""
    found = {}
    for key in written_keys(log, row):
        event = TOPIC_BY_NUMBER[key.topic].event
        tail = Tail()
        for chunk in log.chunks(key):
            assert chunk.row_first == tail.last + 1, f"{key}: row {chunk.row_first} after {tail.last}"
            tail.add(event, *compact_heap(event, chunk.rows, chunk.heap), chunk.cause)
        found[key] = (tail.last, tail.checksum)
    return found


def replayed(
    log: MemoryLog, row: Pipeline, task: int, processor: Processor | None = None, cut_seed: int | None = None
) -> TaskReplay:
    result = replay_task(row, task, processor or Mixer(), MemoryReader(log, INCARNATION), cut_seed=cut_seed)
    result.check()
    return result
