"""Rules against their twins, with kernels compiled another way (NUMBA_BOUNDSCHECK=1, NUMBA_DISABLE_JIT=1).

Run by tests/laws/test_three_ways.py in a process of its own, as numba reads both when it is imported. Prints what
was run, and fails like any test.
"""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import HealthCheck, given, settings

from processors.bars import Bars, BarsParameters
from processors.book import Book, BookParameters
from processors.kernels.compiling import JIT_DISABLED, kernel, part
from processors.positions import Positions
from processors.risk import Risk
from schemas.declare import Rows
from tests.laws import risk_rows
from tests.laws.rows import delta_rows, trade_rows
from tests.unit import test_bars_twin, test_book_twin, test_positions_twin, test_private_twin, test_risk_twin

FEW = settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))


@part
def one_past_the_end(values):  # type: ignore[no-untyped-def]
    return values[len(values)]


@kernel
def read_outside(values):  # type: ignore[no-untyped-def]
    """In a part of a kernel, which is compiled with other options."""
    return one_past_the_end(values)


def mode() -> str:
    """Which way it is, seen from what kernels do."""
    if JIT_DISABLED:
        return "plain" if type(read_outside).__name__ == "function" else "compiled"
    try:
        read_outside(np.zeros(3, dtype=np.int64))
    except IndexError:
        return "checked"
    return "compiled"


@FEW
@given(delta_rows())
def books(rows: Rows) -> None:
    book = Book(BookParameters(ladder_ticks=64, overflow_levels_max=64))
    test_book_twin.check_equal(book, book.initial_state(), rows)


@FEW
@given(trade_rows())
def bars(rows: Rows) -> None:
    test_bars_twin.check_equal(test_bars_twin.MANY, rows)
    idle = BarsParameters("1s", tick_bars="2", profile_interval="5s", idle_close_ns=1_000_000, empty_bars_max=3)
    test_bars_twin.check_equal(idle, rows)


def risk() -> None:
    for seed in range(12):
        numbers = (int(number) for number in np.random.default_rng(seed).integers(0, 1024, 10_000))
        test_risk_twin.play(risk_rows.seeded_rows(numbers, 150))


def private_frames() -> None:
    frames = test_private_twin.usual_frames()
    test_private_twin.check_equal(test_private_twin.stream_of(frames))
    for seed in range(300):
        test_private_twin.check_damaged(frames, np.random.default_rng(seed))


def positions() -> None:
    for seed in range(4):
        test_positions_twin.play(test_positions_twin.seeded(seed, 200), test_positions_twin.Both(), 64)


def main() -> None:
    warnings.filterwarnings("ignore", "overflow encountered", RuntimeWarning)  # arithmetic modulo 2^64 is meant
    Book().warm()
    Bars().warm()
    Risk().warm()
    Positions().warm()
    books()
    bars()
    risk()
    private_frames()
    positions()
    print(f"{mode()}: books, bars, risk, private frames and positions equal their twins")


if __name__ == "__main__":
    main()
