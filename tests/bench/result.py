"""What a benchmark answers: one line per figure, beside the peer that was measured in the same run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass
class Result:
    """One figure.

    Attributes:
        work: what was done, with the data it was done on.
        figure, unit: what was reached.
        reference, reference_figure: the named peer, and what it reached on the same data in the same run (0: none).
        goal: as a sentence, `≥ 55 M rows/s`.
        reached: whether the figure meets the goal.
        note: what a reader must know to judge the figure.
    """

    work: str
    figure: float
    unit: str
    reference: str
    reference_figure: float
    goal: str
    reached: bool
    note: str = ""

    def __post_init__(self) -> None:
        self.figure, self.reference_figure = (float(f"{value:.4g}") for value in (self.figure, self.reference_figure))

    def as_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)


def seconds_of(work: Callable[[], object], repeats: int = 15, clock: Callable[[], float] = time.perf_counter) -> float:
    """The best of `repeats` runs after one that is not counted: what the machine can do when it is let alone.

    Args:
        clock: `time.thread_time` for pure computing in this thread, so that other programs' turns do not count.
    """
    work()
    best = float("inf")
    for _ in range(repeats):
        started = clock()
        work()
        best = min(best, clock() - started)
    return best


def print_results(results: list[Result]) -> None:
    """JSON lines on standard output."""
    for result in results:
        print(result.as_json())
