"""The one exact product of two amounts with eight decimals."""

from __future__ import annotations

import numpy as np
from numba import njit

NOT_REPRESENTABLE = -(1 << 63)  # what `multiply_e8` answers when the product leaves the int64 range

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_SCALE = np.uint64(100_000_000)
_HALF = np.uint64(50_000_000)
_MAX = np.uint64((1 << 63) - 1)


@njit(cache=True, nogil=True)
def _magnitude(value):  # type: ignore[no-untyped-def]
    """|value| as uint64; exact for the smallest int64 too."""
    if value < 0:
        return np.uint64(-(value + 1)) + _ONE
    return np.uint64(value)


@njit(cache=True, nogil=True)
def multiply_e8(price_e8, quantity_e8):  # type: ignore[no-untyped-def]
    """price × quantity ÷ 10^8 through a 128-bit product, rounded half to even.

    Args:
        price_e8, quantity_e8: int64, any sign.

    Returns:
        int64; NOT_REPRESENTABLE when the result does not fit (never otherwise).
    """
    a = _magnitude(price_e8)
    b = _magnitude(quantity_e8)
    a_low, a_high = a & _LOW, a >> _32
    b_low, b_high = b & _LOW, b >> _32
    low = a_low * b_low
    middle_a = a_high * b_low + (low >> _32)
    middle_b = a_low * b_high + (middle_a & _LOW)
    high = a_high * b_high + (middle_a >> _32) + (middle_b >> _32)
    if high >= _SCALE:  # the quotient needs more than 64 bits
        return np.int64(NOT_REPRESENTABLE)
    # Schoolbook division in digits of 32 bits: each partial dividend is below 2^59.
    part = (high << _32) | (middle_b & _LOW)
    digit = part // _SCALE
    part = ((part % _SCALE) << _32) | (low & _LOW)
    quotient = (digit << _32) | (part // _SCALE)
    rest = part % _SCALE
    if quotient > _MAX:  # before rounding: 2^64 - 1 would wrap to 0
        return np.int64(NOT_REPRESENTABLE)
    if rest > _HALF or (rest == _HALF and (quotient & _ONE) != _ZERO):
        quotient = quotient + _ONE
    if quotient > _MAX:
        return np.int64(NOT_REPRESENTABLE)
    if (price_e8 < 0) != (quantity_e8 < 0):
        return -np.int64(quotient)
    return np.int64(quotient)
