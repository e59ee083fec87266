"""Where the real recordings are. They are not part of the project: tests that need them skip, and say so, without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def recordings_dir() -> Path:
    """$SHRIVEN_RECORDINGS, or `shared/data/binance` beside the checkout."""
    given = os.environ.get("SHRIVEN_RECORDINGS")
    return Path(given) if given else ROOT.parent / "shared" / "data" / "binance"


def recording(name: str) -> Path:
    """Path of a real recording; skips the test when it is absent."""
    path = recordings_dir() / name
    if not path.exists():
        pytest.skip(f"recording {name} is absent: put it into $SHRIVEN_RECORDINGS")
    return path
