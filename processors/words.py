"""Rows as 64-bit words and back, without copying: kernels read and write integers, not records."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.declare import Rows

Words = npt.NDArray[np.int64]


def as_words(rows: Rows) -> Words:
    """The rows as one int64 array, row after row; a copy only when they do not lie so in memory.

    Always read-only and aligned: numba compiles one version of a kernel for all callers.
    """
    words = np.ascontiguousarray(rows).view(np.int64)
    if not words.flags.aligned:
        words = words.copy()
    words.flags.writeable = False  # of this view; the rows stay as they are
    return words


def as_rows(words: Words, count: int, dtype: np.dtype[Any]) -> Rows:
    """The first `count` lines of int64[capacity, words of a row] as rows of their own."""
    return words[:count].copy().reshape(-1).view(dtype)


def copy_sparse(target: npt.NDArray[Any], source: npt.NDArray[Any]) -> None:
    """Copy what is not zero, line by line: memory that was never touched stays so."""
    for line in range(len(source)):
        cells = np.flatnonzero(source[line])
        target[line].reshape(-1)[cells] = source[line].reshape(-1)[cells]


def index_size(slots: int) -> int:
    """Entries of the hash table over so many slots (see processors/kernels/slots.py)."""
    return 1 << (2 * slots - 1).bit_length()
