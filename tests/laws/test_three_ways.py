"""Kernels are right in the two ways in which they do not run: with bounds checks, and as plain Python."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("variable", "mode"),
    [pytest.param("NUMBA_BOUNDSCHECK", "checked", marks=pytest.mark.slow), ("NUMBA_DISABLE_JIT", "plain")],
)
@pytest.mark.timeout(900)
def test_rules_equal_their_twins_with_kernels_compiled_another_way(
    variable: str, mode: str, request: pytest.FixtureRequest
) -> None:
    """numba's cache does not know about bounds checks, so that way has a cache of its own."""
    cache = request.config.cache.mkdir(f"numba-{mode}")
    run = subprocess.run(
        [sys.executable, "-m", "tests.laws.three_ways"],
        cwd=ROOT, env=os.environ | {variable: "1", "NUMBA_CACHE_DIR": str(cache)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4000:]
    assert run.stdout == f"{mode}: books, bars, risk, private frames and positions equal their twins\n"
