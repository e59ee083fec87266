"""The one exact product of two amounts with eight decimals."""

from __future__ import annotations

import numpy as np

from processors.kernels.compiling import inlined, part

NOT_REPRESENTABLE = -(1 << 63)  # what `multiply_e8` answers when the product leaves the int64 range

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_SCALE = np.uint64(100_000_000)
_HALF = np.uint64(50_000_000)
_MAX = np.uint64((1 << 63) - 1)
_GUESSED = float(1 << 49)


@part
def _magnitude(value):  # type: ignore[no-untyped-def]
    """|value| as uint64; exact for the smallest int64 too."""
    if value < 0:
        return np.uint64(-(value + 1)) + _ONE
    return np.uint64(value)


@part
def _multiply_wide(price_e8, quantity_e8):  # type: ignore[no-untyped-def]
    """`multiply_e8` of any two amounts, through a 128-bit product."""
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


@inlined
def multiply_e8(price_e8, quantity_e8):  # type: ignore[no-untyped-def]
    """price × quantity ÷ 10^8, exact, rounded half to even.

    A quotient below 2^49 is guessed as a float, less than a third away, and cut. The product less guess × 10^8 is then
    below 1.5 × 10^8, so it is right although both may have left 64 bits, and says which way the guess has to move.

    Args:
        price_e8, quantity_e8: int64, any sign.

    Returns:
        int64; NOT_REPRESENTABLE when the result does not fit (never otherwise).
    """
    guess = float(price_e8) * float(quantity_e8) * 1e-8
    if not -_GUESSED < guess < _GUESSED:
        return _multiply_wide(price_e8, quantity_e8)
    quotient = int(guess)
    rest = int(price_e8) * int(quantity_e8) - quotient * 100_000_000
    odd = quotient & 1
    return np.int64(quotient + (rest > 50_000_000 - odd) - (rest < odd - 50_000_000))
