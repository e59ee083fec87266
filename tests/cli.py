"""Runs the command line as a user does: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.recordings import ROOT


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The one JSON document on stdout."""
        assert self.code == 0, self.err[-4000:]
        return json.loads(self.out)


def shriven(*words: str, data: Path, env: Mapping[str, str] | None = None, timeout_s: float = 240) -> Ran:
    """Run `shriven words…` with its data under `data`."""
    environment = {**os.environ, "SHRIVEN_DATA": str(data), "SHRIVEN_KAFKA": "", "SHRIVEN_SESSION": "", **(env or {})}
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)
