"""How a kernel says no, and whether a text is one."""

# Compiled together with: ca56b6e3ef6c3888c13e8922bbf1f0034d201256374dd5bad970356b9c8155b9

from __future__ import annotations

import numpy as np
from numba import njit

from schemas.compiled.layout import COLUMN, ROW, STATUS, WHERE
from schemas.compiled.varint import CACHE


@njit(cache=CACHE, nogil=True)
def refuse(heads, i, status, where, row, column):  # type: ignore[no-untyped-def]
    """Note why frame i is refused; -1."""
    heads[i, STATUS] = status
    heads[i, WHERE] = where
    heads[i, ROW] = row
    heads[i, COLUMN] = column
    return -1


@njit(cache=CACHE, nogil=True)
def is_utf8(data, at, stop):  # type: ignore[no-untyped-def]
    """Whether data[at:stop] is UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF."""
    while at < stop:
        first = np.int64(data[at])
        if first < 0x80:
            at += 1
            continue
        more = 1 if first < 0xE0 else 2 if first < 0xF0 else 3
        if first < 0xC2 or first > 0xF4 or at + more >= stop:
            return False
        second = np.int64(data[at + 1])
        low = 0xA0 if first == 0xE0 else 0x90 if first == 0xF0 else 0x80
        high = 0x9F if first == 0xED else 0x8F if first == 0xF4 else 0xBF
        if second < low or second > high:
            return False
        for k in range(2, more + 1):
            if data[at + k] & 0xC0 != 0x80:
                return False
        at += more + 1
    return True
