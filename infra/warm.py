"""Kernels are compiled once, by one process, before those that need them start."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNEL_FOLDERS = ("processors", "schemas", "connectors")


def fingerprint() -> str:
    """Changes when a kernel may have to be compiled anew: numba's cache looks at source files and versions too."""
    digest = hashlib.blake2b(f"{ROOT} {importlib.metadata.version('numba')}".encode(), digest_size=12)
    for folder in KERNEL_FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            stat = path.stat()
            digest.update(f"{path.relative_to(ROOT)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def is_warm(cache: Path) -> bool:
    """Whether `warm` has finished for this code. A cache that somebody deleted only costs time."""
    return _mark(cache).exists()


def warm(cache: Path) -> None:
    """Compile the kernels of the codec, of every rule and of the made-up market, and leave a mark."""
    from connectors.simulator.synthetic import warm as warm_market
    from infra.registry import PROCESSORS
    from schemas.frame import warm as warm_codec

    warm_codec()
    for make in PROCESSORS.values():
        make({}).warm()
    warm_market()
    mark = _mark(cache)
    mark.parent.mkdir(parents=True, exist_ok=True)
    for old in mark.parent.glob("warm-*"):
        old.unlink(missing_ok=True)
    mark.touch()


def _mark(cache: Path) -> Path:
    return cache / f"warm-{fingerprint()}"
