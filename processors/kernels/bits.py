"""Bit tricks on 64-bit words that the kernels share."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from processors.kernels.compiling import JIT_DISABLED, part

_63 = np.uint64(63)
_64 = np.uint64(64)

if JIT_DISABLED:

    def highest_bit(word: Any) -> int:
        """Position of the highest set bit of a uint64 that is not 0."""
        return int(word).bit_length() - 1

    def likely(condition: Any) -> Any:
        """The condition, which is nearly always true."""
        return condition

else:

    @intrinsic
    def highest_bit(typing_context, word):  # type: ignore[no-untyped-def]
        """Position of the highest set bit of a uint64 that is not 0 (one machine instruction)."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            zeros = builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))
            return builder.sub(ir.Constant(ir.IntType(64), 63), zeros)

        return types.int64(types.uint64), generate

    @intrinsic
    def likely(typing_context, condition):  # type: ignore[no-untyped-def]
        """The condition, which is nearly always true: keeps what else may happen out of the hot loop's registers."""

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            bit = ir.IntType(1)
            expect = builder.module.declare_intrinsic("llvm.expect", [bit], ir.FunctionType(bit, [bit, bit]))
            return builder.call(expect, [arguments[0], ir.Constant(bit, 1)])

        return types.boolean(types.boolean), generate


@part
def rotate_right(word, count):  # type: ignore[no-untyped-def]
    """Rotate a uint64 by 0 to 63 bits."""
    return (word >> count) | (word << ((_64 - count) & _63))


@part
def trailing_zeros(value):  # type: ignore[no-untyped-def]
    """How often 2 divides a positive int64."""
    count = 0
    while value & 1 == 0:
        value >>= 1
        count += 1
    return count


@part
def greatest_divisor(a, b):  # type: ignore[no-untyped-def]
    """Greatest common divisor of two positive int64."""
    while b != 0:
        a, b = b, a % b
    return a


@part
def odd_inverse(odd):  # type: ignore[no-untyped-def]
    """The uint64 x with odd × x = 1 modulo 2^64 (Newton: each step doubles the number of right bits)."""
    odd = np.uint64(odd)
    inverse = odd
    for _ in range(6):
        inverse = inverse * (np.uint64(2) - odd * inverse)
    return inverse
