"""Hundreds of seeded lives of a runner: rows arrive late, in pieces and twice, partitions stall, the process dies at
any point of a commit or between two steps, a zombie of it lives on. Whatever happens, the session must be whole."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from processors.api import Processor
from schemas.errors import Fenced
from schemas.events import JournalKind
from streams.api import Chunk, TopicPartition, WriterKey
from streams.checkpoint import read_journal
from streams.clock import ManualClock
from streams.memory import MemoryLog
from streams.pipelines import Pipeline
from streams.runner import MS, Runner, RunnerOptions
from tests.memory_runs import Crash, fill, journal_key, memory_runner, replayed, written
from tests.pipelines import ECHO, MIXER, SECOND, START_NS, Echo, Flow, Mixer

SEEDS = range(240)
POINTS = {True: ["begin", "done", "snapshot"], False: ["begin", "journal", "output", "done", "snapshot"]}


class Storm:
    """Stalls partitions, cuts chunks and delivers some rows again."""

    def __init__(self, chosen: random.Random) -> None:
        self._random = chosen
        self._before: dict[WriterKey, Chunk] = {}

    def stalled(self, place: TopicPartition) -> bool:
        return self._random.random() < 0.3

    def deliver(self, chunk: Chunk) -> list[Chunk]:
        arriving = [chunk]
        before = self._before.get(chunk.key)
        if before is not None and self._random.random() < 0.2:
            arriving.insert(0, before)  # all of it again
        if self._random.random() < 0.2:
            cut = self._random.randrange(len(chunk.rows) + 1)
            head = replace(chunk.cut(0, cut), position=chunk.position - 1)  # the message is not read to its end yet
            tail = chunk.cut(cut // 2, len(chunk.rows))
            arriving[-1:] = [part for part in (head, tail) if len(part.rows)]
        self._before[chunk.key] = chunk
        return arriving


class Life:
    """One task's lives until it has processed everything."""

    def __init__(self, seed: int, log: MemoryLog, row: Pipeline, task: int, rule: type[Mixer] | type[Echo]) -> None:
        self.random = random.Random(seed)
        self.log = log
        self.row = row
        self.task = task
        self.rule = rule
        self.atomic = self.random.random() < 0.5
        self.clock = ManualClock(START_NS)
        self.deaths = 0
        self.fenced = 0
        self.options = RunnerOptions(
            commit_interval_ns=self.random.choice([0, 0, 20 * MS]),
            quiet_interval_ns=self.random.choice([0, 200 * MS]),
            commit_bytes_max=self.random.choice([300, 1 << 20]),
            commit_entries_max=self.random.choice([3, 1000]),
            poll_bytes_max=self.random.choice([300, 1000, 1 << 20]),
            buffer_bytes_max=self.random.choice([500, 1 << 20]),
            snapshot_rows=self.random.choice([10, 50, 1 << 40]),
        )

    def born(self, calm: bool) -> Runner:
        processor: Processor = self.rule()
        return memory_runner(
            self.log, self.row, self.task, processor,
            clock=self.clock, atomic=self.atomic, options=self.options,
            reach=None if calm else self._reach, weather=None if calm else Storm(self.random),
        )  # fmt: skip

    def _reach(self, point: str) -> None:
        if point in POINTS[self.atomic] and self.random.random() < 0.05:
            raise Crash(point)

    def live(self, arriving: list[Chunk]) -> None:
        """Rows arrive while the task lives and dies; at the end the weather calms and it finishes."""
        arriving = list(arriving)
        while arriving:
            runner = self.born(calm=False)
            try:
                runner.start()
                while arriving:
                    self._one_round(runner, arriving)
            except Crash:
                self.deaths += 1
        self.clock.advance_to(self.clock.now_ns() + 100 * SECOND)
        self.born(calm=True).run_to_end()

    def _one_round(self, runner: Runner, arriving: list[Chunk]) -> None:
        for _ in range(self.random.randrange(4)):
            if arriving:
                chunk = arriving.pop(0)
                self.log.append(chunk)
                if self.random.random() < 0.1:
                    self.log.append(chunk)  # a shipper that came back wrote it twice
                self.clock.advance_to(max(self.clock.now_ns(), int(chunk.rows["ts_recv_ns"][-1])))
        runner.step()
        luck = self.random.random()
        if luck < 0.02:
            raise Crash("between two steps")
        if luck < 0.08:
            self._zombie(runner)

    def _zombie(self, runner: Runner) -> None:
        """Another process takes over; the old one has rows in hand and must not get them out."""
        self.born(calm=True).start()
        if runner.engine.entries:
            with pytest.raises(Fenced):
                runner._commit()
            self.fenced += 1
        raise Crash("fenced")


def check_every_row_once(log: MemoryLog, row: Pipeline, task: int) -> None:
    """The journal's runs cover each input row of the task exactly once, in order."""
    last: dict[WriterKey, int] = {}
    for chunk in log.chunks(journal_key(row, task)):
        for entry in read_journal(chunk.rows).entries:
            if entry.kind is JournalKind.RUN:
                assert entry.first == last.get(entry.key, 0) + 1, entry
                last[entry.key] = entry.last
    assert last == {key: log.last[key] for key in last}


@pytest.mark.parametrize("seed", SEEDS)
def test_session_is_whole_whatever_happens(seed: int) -> None:
    log = MemoryLog()
    flow = Flow(seed)
    task = seed % 4
    known = flow.instruments(10)
    life = Life(seed, log, MIXER, task, Mixer)
    life.live([*known, *flow.market(70)])
    written(log, MIXER)  # dense, nothing twice
    check_every_row_once(log, MIXER, task)
    plain = replayed(log, MIXER, task)
    for cut_seed in range(3):
        assert replayed(log, MIXER, task, cut_seed=cut_seed).hashes == plain.hashes


@pytest.mark.parametrize("seed", range(1000, 1060))
def test_single_input_gives_what_calm_weather_gives(seed: int) -> None:
    trades = Flow(seed, writers=[640]).trades(80)
    task = seed % 4
    log, calm = MemoryLog(), fill(MemoryLog(), trades)
    life = Life(seed, log, ECHO, task, Echo)
    life.live(trades)
    memory_runner(calm, ECHO, task, Echo()).run_to_end()
    assert written(log, ECHO) == written(calm, ECHO)
    replayed(log, ECHO, task, Echo(), cut_seed=seed)


def test_weather_is_bad_enough() -> None:
    """The simulation would prove nothing if nobody died in it."""
    deaths = fenced = 0
    for seed in range(20):
        life = Life(seed, MemoryLog(), MIXER, seed % 4, Mixer)
        flow = Flow(seed)
        life.live([*flow.instruments(10), *flow.market(70)])
        deaths += life.deaths
        fenced += life.fenced
    assert deaths >= 40
    assert fenced >= 3
