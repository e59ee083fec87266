"""The kernels do the same when numba checks every index, and when nothing is compiled at all."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.recordings import ROOT


@pytest.mark.parametrize(("mode", "inputs"), [("NUMBA_BOUNDSCHECK", 1_500), ("NUMBA_DISABLE_JIT", 1_500)])
def test_fuzzed_inputs_are_judged_alike_in_every_mode(mode: str, inputs: int) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.contract.fuzz_codec", "--inputs", str(inputs), "--seed", "9"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {mode: "1"}, capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counts = dict(re.findall(r"'(\w+)': (\d+)", done.stdout))
    assert int(counts["accepted"]) > inputs // 20
    assert int(counts["refused"]) > inputs // 2
