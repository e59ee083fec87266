"""The kernels do the same when numba checks every index, and when nothing is compiled at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.recordings import ROOT

INPUTS = 1_500
# Bounds checks compile everything anew.
MODES = (pytest.param("NUMBA_BOUNDSCHECK", marks=pytest.mark.slow), "NUMBA_DISABLE_JIT")


@pytest.mark.parametrize("mode", MODES)
def test_fuzzed_inputs_are_judged_alike_in_every_mode(mode: str) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.contract.fuzz_codec", "--inputs", str(INPUTS), "--seed", "9"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {mode: "1"}, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counts = dict(re.findall(r"'(\w+)': (\d+)", done.stdout))
    assert int(counts["accepted"]) > INPUTS // 20
    assert int(counts["refused"]) > INPUTS // 2


@pytest.mark.parametrize("mode", MODES)
def test_money_is_exact_in_every_mode(mode: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/test_schemas_money.py"]
    environment = os.environ | {mode: "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
