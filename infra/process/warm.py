"""Kernels are compiled once, by one process, before those that need them start."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.file_lock import exclusive
from infra.sessions.store import write_atomic
from schemas.errors import ShrivenError

WAIT_S = 600.0  # a slow machine under load
ROOT = Path(__file__).resolve().parent.parent.parent
# What is compiled apart, the longest first: venues share their kernels.
PARTS = (
    "binance_spot.wire+binance_usdm.wire", "codec", "risk", "binance_usdm.orders", "orders+strategies+positions",
    "bars", "market", "book",
)  # fmt: skip
KERNEL_FOLDERS = ("processors", "schemas", "connectors")


def fingerprint() -> str:
    """Changes when a kernel may have to be compiled anew: numba's cache looks at source files and versions too."""
    digest = hashlib.blake2b(importlib.metadata.version("numba").encode(), digest_size=12)
    for folder in KERNEL_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            stat = path.stat()
            digest.update(f"{path.relative_to(ROOT)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def is_warm(cache: Path) -> bool:
    """Whether `warm` has finished for this code. A cache that somebody deleted only costs time."""
    mark = _mark(cache)
    return mark.exists() and mark.read_text() == fingerprint()


def warm(cache: Path) -> None:
    """Compile every part, as many at once as there are cores, and leave a mark. A second caller waits for the first.

    Raises:
        ShrivenError: a part could not be compiled.
    """
    with exclusive(cache / "warm.lock", WAIT_S, "compiling the kernels"):
        if is_warm(cache):
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            codes = list(pool.map(_run_part, PARTS))
        if any(codes):
            raise ShrivenError("A kernel could not be compiled; what went wrong stands above.")
        write_atomic(_mark(cache), fingerprint().encode())


def warm_part(part: str) -> None:
    """Compile one of `PARTS` in this process."""
    if part == "codec":
        from schemas.frame import warm as warm_codec

        warm_codec()
    elif part == "market":
        from connectors.simulator.synthetic import warm as warm_market

        warm_market()
    else:
        from infra.registry import PROCESSORS

        for name in part.split("+"):
            PROCESSORS[name]({}).warm()


def _run_part(part: str) -> int:
    """In a process of its own. It ends when this one does."""
    command = [sys.executable, "-m", "infra.cli", "warm", "--part", part, "--parent", str(os.getpid())]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


def _mark(cache: Path) -> Path:
    """One file for each place that this code lies in; it holds the fingerprint that was compiled."""
    return cache / f"warm-{hashlib.blake2b(str(ROOT).encode(), digest_size=6).hexdigest()}"
