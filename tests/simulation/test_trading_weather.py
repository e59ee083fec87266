"""Whole lives of the trading chain in bad weather: whatever died and was lost, our rows end as the venue has it.

A thousand seeds: `python -m tests.simulation.trading_weather --seeds 1000`. Planted bugs show that the simulation sees.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from streams.memory import MemoryLog
from streams.pipelines import pipeline
from tests.memory_runs import replayed
from tests.simulation.trading_weather import Failed, lived, record_of
from tests.simulation.trading_world import TASKS, Bugs, World

FORGETFUL = Bugs(forgetful=True)  # a new life of the gateway sends again what the one before it sent


def found_within(seeds: Iterable[int], bugs: Bugs) -> str:
    """What is said of the first seed that shows the bug."""
    for seed in seeds:
        try:
            lived(seed, bugs)
        except Failed as failed:
            return "\n".join([str(failed), *failed.__notes__])
    raise AssertionError(f"{bugs} was not found in {seeds}")


def content(log: MemoryLog) -> dict[object, bytes]:
    return {key: log.rows(key).tobytes() for key in log.sequences()}


def test_our_rows_end_as_the_venue_has_it_and_run_again_the_same() -> None:
    world = lived(3)
    assert len(record_of(world).rows("oms.fill.v1")) > 0
    for name in TASKS:
        replayed(world.log, pipeline(name), 0, world.rule(name), cut_seed=1)


def test_risk_that_trusts_every_book_is_found() -> None:
    said = found_within(range(1, 20), Bugs(trusting=True))  # the first one shows it, unless the weather changes
    assert "--first" in said, "the seed is said, and how to run it again"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bugs", "words"),
    [
        (FORGETFUL, "was accepted 2 times"),
        (Bugs(unwritten=True), ""),
        (Bugs(incurious=True), "is UNKNOWN"),
        (Bugs(trusting=True), "was approved on a book that was"),
    ],
    ids=["forgetful", "unwritten", "incurious", "trusting"],
)
def test_planted_bug_is_found_within_fifty_seeds(bugs: Bugs, words: str) -> None:
    assert words in found_within(range(1, 51), bugs)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, 101, 10))
def test_hundred_lives_end_as_they_must(first: int) -> None:
    for seed in range(first, first + 10):
        lived(seed)


@pytest.mark.slow
def test_same_seed_is_the_same_life_to_the_last_row() -> None:
    assert content(lived(5).log) == content(lived(5).log)


@pytest.mark.slow
def test_weather_is_bad_enough() -> None:
    """The simulation would prove nothing if nothing happened in it."""
    worlds: list[World] = [lived(seed) for seed in range(1, 11)]
    deaths = sum((world.deaths for world in worlds), start=worlds[0].deaths - worlds[0].deaths)
    assert sum(count for name, count in deaths.items() if name.startswith("gateway")) >= 10
    assert all(any(name.startswith(task) for name in deaths) for task in TASKS)
    assert sum(len(record_of(world).rows("oms.fill.v1")) for world in worlds) >= 100
    assert len(sum((world.faults for world in worlds), start=worlds[0].faults)) >= 8
