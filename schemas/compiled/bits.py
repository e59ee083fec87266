"""The machine words that varints are made of: windows of bytes, and the bits inside them.

Three sets of one meaning, tested equal: one LLVM instruction each (`pext` and `pdep` where the
processor has fast ones, shifts and masks elsewhere); and plain loops when numba is told to check
bounds or not to compile, so that those runs see every single access.

Windows are little-endian. All words are uint64, all positions and counts int64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import config as _config
from numba import njit, types
from numba.core import cgutils as _cgutils
from numba.extending import intrinsic
from numba.np import arrayobj as _arrayobj

config: Any = _config
cgutils: Any = _cgutils
make_array: Any = _arrayobj.make_array

CHECKED = bool(config.DISABLE_JIT or config.BOUNDSCHECK)
SLOW_PEXT = ("znver1", "znver2", "bdver4")  # microcoded there: slower than shifts and masks

_LANES = np.uint64(0x7F7F7F7F7F7F7F7F)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_BYTE = np.uint64(0xFF)


def has_fast_pext() -> bool:
    """Whether numba compiles for this processor, and the processor gathers bits in one instruction."""
    if CHECKED or config.CPU_NAME is not None or config.CPU_FEATURES is not None:
        return False
    return bool(binding.get_host_cpu_features().get("bmi2")) and binding.get_host_cpu_name() not in SLOW_PEXT


@njit(nogil=True)
def load64_plain(data, at):  # type: ignore[no-untyped-def]
    """The eight bytes data[at : at + 8] as a word."""
    word: Any = _ZERO
    for k in range(8):
        word |= np.uint64(data[at + k]) << np.uint64(8 * k)
    return word


@njit(nogil=True)
def store64_plain(data, at, word):  # type: ignore[no-untyped-def]
    """data[at : at + 8] = word."""
    for k in range(8):
        data[at + k] = np.uint8((word >> np.uint64(8 * k)) & _BYTE)


@njit(nogil=True)
def ends64_plain(data, at):  # type: ignore[no-untyped-def]
    """Bit k tells whether data[at + k] ends a varint (its top bit is 0), for k in 0..63."""
    ends: Any = _ZERO
    for k in range(64):
        if data[at + k] < 128:
            ends |= _ONE << np.uint64(k)
    return ends


@njit(nogil=True)
def trailing_zeros_plain(word):  # type: ignore[no-untyped-def]
    """Zeros below the lowest set bit; 64 for 0."""
    for k in range(64):
        if (word >> np.uint64(k)) & _ONE:
            return k
    return 64


@njit(nogil=True)
def leading_zeros_plain(word):  # type: ignore[no-untyped-def]
    """Zeros above the highest set bit; 64 for 0."""
    for k in range(64):
        if (word >> np.uint64(63 - k)) & _ONE:
            return k
    return 64


@njit(nogil=True)
def count_ones_plain(word):  # type: ignore[no-untyped-def]
    """Set bits."""
    count: Any = 0
    for k in range(64):
        count += np.int64((word >> np.uint64(k)) & _ONE)
    return count


@njit(nogil=True)
def prefetch_plain(words, at):  # type: ignore[no-untyped-def]
    """Nothing: a hint has no meaning to plain loops."""


@njit(nogil=True)
def copy_bytes_plain(source, at, target, to, size):  # type: ignore[no-untyped-def]
    """target[to : to + size] = source[at : at + size], of arrays that do not overlap."""
    for k in range(size):
        target[to + k] = source[at + k]


@njit(nogil=True)
def borrowed_plain(array):  # type: ignore[no-untyped-def]
    """The same array, not counted as a reference: the caller of the kernel holds it. Without this numba counts, with
    locked instructions, at every call of a function that takes an array: 60 ns a column."""
    return array


_GATHER_1 = np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00), np.uint64(1)
_GATHER_2 = np.uint64(0x00003FFF00003FFF), np.uint64(0x3FFF00003FFF0000), np.uint64(2)
_GATHER_3 = np.uint64(0x000000000FFFFFFF), np.uint64(0x0FFFFFFF00000000), np.uint64(4)


@njit(nogil=True)
def gather7_shifts(word):  # type: ignore[no-untyped-def]
    """The low seven bits of each byte, pushed together: 56 bits."""
    low, high, by = _GATHER_1
    word = (word & low) | ((word & high) >> by)
    low, high, by = _GATHER_2
    word = (word & low) | ((word & high) >> by)
    low, high, by = _GATHER_3
    return (word & low) | ((word & high) >> by)


@njit(nogil=True)
def spread7_shifts(bits):  # type: ignore[no-untyped-def]
    """The inverse of gather7: 56 bits, seven to a byte, top bits 0."""
    low, high, by = _GATHER_3
    bits = (bits & low) | ((bits << by) & high)
    low, high, by = _GATHER_2
    bits = (bits & low) | ((bits << by) & high)
    low, high, by = _GATHER_1
    return (bits & low) | ((bits << by) & high)


_I64 = ir.IntType(64)
_LANES_64 = ir.VectorType(ir.IntType(8), 64)


def _pointer(context: Any, builder: Any, array_type: Any, arguments: Any, to: Any) -> Any:
    """Where item arguments[1] of array arguments[0] lies."""
    array, at = arguments[:2]
    data = make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [at]), to.as_pointer())


@intrinsic
def _load64(typing_context, data, at):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = builder.load(_pointer(context, builder, signature.args[0], arguments, _I64))
        word.align = 1
        return word

    return types.uint64(data, types.int64), generate


@intrinsic
def _store64(typing_context, data, at, word):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        store = builder.store(arguments[2], _pointer(context, builder, signature.args[0], arguments, _I64))
        store.align = 1
        return context.get_dummy_value()

    return types.none(data, types.int64, types.uint64), generate


@intrinsic
def _ends64(typing_context, data, at):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        lanes = builder.load(_pointer(context, builder, signature.args[0], arguments, _LANES_64))
        lanes.align = 1
        return builder.bitcast(builder.icmp_signed(">=", lanes, ir.Constant(_LANES_64, [0] * 64)), _I64)

    return types.uint64(data, types.int64), generate


@intrinsic
def _trailing_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def _leading_zeros(typing_context, word):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def _count_ones(typing_context, word):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


@intrinsic
def _prefetch(typing_context, words, at):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        byte = ir.IntType(8).as_pointer()
        flag = ir.IntType(32)
        hint = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag]), "llvm.prefetch.p0"
        )
        data = make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        builder.call(hint, [place, flag(0), flag(3), flag(1)])
        return context.get_dummy_value()

    return types.none(words, types.int64), generate


@intrinsic
def _copy_bytes(typing_context, source, at, target, to, size):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        byte = ir.IntType(8)
        begin = _pointer(context, builder, signature.args[0], arguments[:2], byte)
        place = _pointer(context, builder, signature.args[2], arguments[2:4], byte)
        cgutils.raw_memcpy(builder, place, begin, arguments[4], 1)
        return context.get_dummy_value()

    return types.none(source, types.int64, target, types.int64, types.int64), generate


@intrinsic
def _borrowed(typing_context, array):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        view = make_array(signature.args[0])(context, builder, arguments[0])
        view.meminfo = ir.Constant(view.meminfo.type, None)
        view.parent = ir.Constant(view.parent.type, None)
        return view._getvalue()

    return array(array), generate


def _bmi2(name: str) -> Any:
    @intrinsic
    def instruction(typing_context, word, mask):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            function_type = ir.FunctionType(_I64, [_I64, _I64])
            function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.x86.bmi.{name}.64")
            return builder.call(function, arguments)

        return types.uint64(types.uint64, types.uint64), generate

    return instruction


_pext = _bmi2("pext")
_pdep = _bmi2("pdep")


@njit(nogil=True)
def _gather7_pext(word):  # type: ignore[no-untyped-def]
    return _pext(word, _LANES)


@njit(nogil=True)
def _spread7_pdep(bits):  # type: ignore[no-untyped-def]
    return _pdep(bits, _LANES)


load64: Any = load64_plain if CHECKED else _load64
store64: Any = store64_plain if CHECKED else _store64
ends64: Any = ends64_plain if CHECKED else _ends64
trailing_zeros: Any = trailing_zeros_plain if CHECKED else _trailing_zeros
leading_zeros: Any = leading_zeros_plain if CHECKED else _leading_zeros
count_ones: Any = count_ones_plain if CHECKED else _count_ones
borrowed: Any = borrowed_plain if CHECKED else _borrowed
copy_bytes: Any = copy_bytes_plain if CHECKED else _copy_bytes
prefetch: Any = prefetch_plain if CHECKED else _prefetch  # ask for words.flat[at], which may be out of bounds
gather7: Any = _gather7_pext if has_fast_pext() else gather7_shifts
spread7: Any = _spread7_pdep if has_fast_pext() else spread7_shifts
