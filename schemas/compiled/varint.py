"""Avro's integers: zigzag, then seven bits a byte, lowest first. Positions are -status where a varint is refused."""

# Compiled together with: 1490260a6794f72ff26a0524db10049a625ffee62faf6dfcf0adf2c8f95f494f

from __future__ import annotations

import numpy as np
from numba import njit

from schemas.compiled.bits import CHECKED, gather7, leading_zeros, load64, spread7, store64, trailing_zeros
from schemas.compiled.layout import VARINT_BYTES_MAX, Status

CACHE = not CHECKED  # numba's cache does not know whether bounds were to be checked

_TRUNCATED = int(Status.TRUNCATED)
_VARINT = int(Status.VARINT)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_7 = np.uint64(7)
_63 = np.uint64(63)
_56 = np.uint64(56)
_7BITS = np.uint64(0x7F)
_TOPS = np.uint64(0x8080808080808080)
_MORE = np.uint64(0x0080808080808080)  # continuation bits of a varint of eight bytes


@njit(cache=CACHE, nogil=True, forceinline=True)
def signed(zigzag):  # type: ignore[no-untyped-def]
    """uint64 → int64: 0, 1, 2, 3 → 0, -1, 1, -2."""
    return np.int64(zigzag >> _ONE) ^ -np.int64(zigzag & _ONE)


@njit(cache=CACHE, nogil=True, forceinline=True)
def zigzag(value):  # type: ignore[no-untyped-def]
    """int64 → uint64: small magnitudes become small numbers."""
    word = np.uint64(value)
    return (word << _ONE) ^ (_ZERO - (word >> _63))


@njit(cache=CACHE, nogil=True, forceinline=True)
def read_varint(data, pos, stop):  # type: ignore[no-untyped-def]
    """(position after it, its bits); the position is -status when it does not end rightly before `stop`."""
    if pos + 8 <= stop:
        window = load64(data, pos)
        ends = ~window & _TOPS
        if ends != _ZERO:
            bits = trailing_zeros(ends) + 1  # of the window: 8 per byte
            kept = np.uint64(bits - (bits >> 3))
            return pos + (bits >> 3), gather7(window) & ((_ONE << kept) - _ONE)
    value = _ZERO
    for k in range(VARINT_BYTES_MAX):
        if pos + k >= stop:
            return -_TRUNCATED, _ZERO
        byte = np.uint64(data[pos + k])
        if k == VARINT_BYTES_MAX - 1 and byte > _ONE:
            return -_VARINT, _ZERO
        value |= (byte & _7BITS) << np.uint64(7 * k)
        if byte <= _7BITS:
            return pos + k + 1, value
    return -_VARINT, _ZERO


@njit(cache=CACHE, nogil=True, forceinline=True)
def write_varint(out, pos, bits):  # type: ignore[no-untyped-def]
    """Position after it. The caller has made room for VARINT_BYTES_MAX bytes."""
    if bits >> _56 == _ZERO:
        spread = spread7(bits)
        empty = leading_zeros(spread | _ONE) & 56  # bits of the window that no byte of it needs
        store64(out, pos, spread | (_MORE >> np.uint64(empty)))
        return pos + 8 - (empty >> 3)
    while bits > _7BITS:
        out[pos] = np.uint8((bits & _7BITS) | np.uint64(0x80))
        bits >>= _7
        pos += 1
    out[pos] = np.uint8(bits)
    return pos + 1
