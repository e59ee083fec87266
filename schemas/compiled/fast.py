"""What the generated kernels are made of: values taken from a window of bytes whose ends are known."""

# Compiled together with: ca56b6e3ef6c3888c13e8922bbf1f0034d201256374dd5bad970356b9c8155b9

from __future__ import annotations

import numpy as np
from numba import njit

from schemas.compiled.bits import gather7, leading_zeros, load64, spread7, store64
from schemas.compiled.layout import BASE
from schemas.compiled.varint import CACHE

ROW_WINDOW = 64  # bytes that a row may have to be taken whole
DATA_AHEAD = 2048  # bytes and rows that are fetched ahead of their use: hints, so never out of bounds. Measured with
ROWS_AHEAD = 64  # rows that no cache holds: +40 % decoding, +20 % and no more bad runs encoding; no loss with hot rows
READ_AHEAD = 80  # bytes of the buffer that a kernel may touch from a row's first byte on

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_2 = np.uint64(2)
_4 = np.uint64(4)
_63 = np.uint64(63)
_MORE = np.uint64(0x0080808080808080)
_NEAR = 1 << 62


@njit(cache=CACHE, nogil=True)
def read_value(data, at, size):  # type: ignore[no-untyped-def]
    """The varint of `size` bytes at data[at], as the bits of an int64; any word for a size outside 1..8."""
    # Shift counts are masked: a shift by 64 or more would be undefined, and the row is refused anyway.
    kept = (_ONE << (np.uint64(7 * size) & _63)) - _ONE
    bits = gather7(load64(data, at)) & kept
    return (bits >> _ONE) ^ (_ZERO - (bits & _ONE))


@njit(cache=CACHE, nogil=True)
def has_long_varint(ends, size):  # type: ignore[no-untyped-def]
    """Whether a varint of nine or more bytes begins in the first `size` bytes: eight bytes without an end."""
    runs = ~ends
    runs &= runs >> _ONE
    runs &= runs >> _2
    runs &= runs >> _4
    return runs & ((_ONE << (np.uint64(size) & _63)) - _ONE) != _ZERO


@njit(cache=CACHE, nogil=True)
def bases_are_near(heads, i, bases):  # type: ignore[no-untyped-def]
    """Whether every base of frame i plus any difference of 56 bits stays in the int64 range."""
    for b in range(bases):  # noqa: SIM110 (numba has no all())
        if heads[i, BASE + b] >= _NEAR or heads[i, BASE + b] <= -_NEAR:
            return False
    return True


@njit(cache=CACHE, nogil=True)
def zigzag_bits(word):  # type: ignore[no-untyped-def]
    """The bits of an int64 → its zigzag code."""
    return (word << _ONE) ^ (_ZERO - (word >> _63))


@njit(cache=CACHE, nogil=True)
def write_value(out, pos, bits):  # type: ignore[no-untyped-def]
    """Write a varint of at most 56 bits, touching eight bytes; position after it."""
    spread = spread7(bits)
    empty = leading_zeros(spread | _ONE) & 56  # bits of the window that no byte of it needs
    store64(out, pos, spread | (_MORE >> np.uint64(empty)))
    return pos + 8 - (empty >> 3)
