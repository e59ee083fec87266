"""Encoding, complete: one value after the other, driven by the event's program. Every refusal of rows is made here.

The generated kernels (`trade.py`, …) only take rows that are plainly right and hand all others to
`write_row`. Kernels return a position, or -1 with the reason in line 0 of `heads`.
"""

# Compiled together with: 24a4246e48b9f097d3ce8d06f478f51bf427a5dbb88401606c624db8ff76955c

from __future__ import annotations

import numpy as np
from numba import njit

from schemas.compiled.bits import borrowed, copy_bytes, store64
from schemas.compiled.layout import (
    BASE,
    BASED,
    BASES,
    CAUSED,
    CODE,
    ITEM_COUNT,
    LIMIT,
    MASK,
    ROW_MAX,
    SCHEMA_ID,
    SHIFT,
    STATUS,
    WORD,
    WRITER,
    Code,
    Status,
)
from schemas.compiled.refuse import is_utf8, refuse
from schemas.compiled.varint import CACHE, write_varint, zigzag

_I64, _I32, _UNSIGNED, _F64, _TEXT, _BYTES = (int(code) for code in Code)
_FINE = int(Status.FINE)
_GROW = int(Status.GROW)
_RANGE = int(Status.RANGE)
_SUM = int(Status.SUM)
_SIZE = int(Status.SIZE)
_UTF8 = int(Status.UTF8)
_RESERVED = int(Status.RESERVED)

_I64_MAX = (1 << 63) - 1
_I64_MIN = -(1 << 63)
_BASE_MAX = 1 << 62  # a base below it plus a difference of 56 bits cannot leave the int64 range

_ZERO = np.uint64(0)
_U32 = np.uint64(0xFFFFFFFF)


@njit(cache=CACHE, nogil=True)
def choose_bases(words, program, heads, pinned):  # type: ignore[no-untyped-def]
    """The base of a column is its first value; 0 where that is far out, or where bit b of `pinned` says so."""
    for c in range(len(program)):
        b = program[c, BASED]
        if b >= 0:
            base = np.int64(0)
            if len(words) > 0 and (pinned >> b) & 1 == 0:
                base = column_value(words, 0, program, c)
            heads[0, BASE + b] = base if -_BASE_MAX < base < _BASE_MAX else np.int64(0)


@njit(cache=CACHE, nogil=True, forceinline=True)
def column_value(words, row, program, c):  # type: ignore[no-untyped-def]
    """An integer column of a row as int64."""
    word = words[row, program[c, WORD]]
    code = program[c, CODE]
    if code == _UNSIGNED:
        return np.int64((word >> np.uint64(program[c, SHIFT])) & np.uint64(program[c, MASK]))
    if code == _I32:
        part = np.int64((word >> np.uint64(program[c, SHIFT])) & _U32)
        return part - ((part >> 31) << 32)
    return np.int64(word)


@njit(cache=CACHE, nogil=True)
def begin_frame(words, program, facts, heads, out, pinned):  # type: ignore[no-untyped-def]
    """Header and count of the one block; position of the first row. `out` holds HEADER_BYTES_MAX at least."""
    choose_bases(words, program, heads, pinned)
    heads[0, STATUS] = _FINE
    out[0] = 0
    for k in range(4):
        out[1 + k] = (facts[SCHEMA_ID] >> (24 - 8 * k)) & 0xFF
    pos = 5
    for k in range(3 + 4 * facts[CAUSED]):
        pos = write_varint(out, pos, zigzag(heads[0, WRITER + k]))
    for b in range(facts[BASES]):
        pos = write_varint(out, pos, zigzag(heads[0, BASE + b]))
    if len(words) > 0:
        pos = write_varint(out, pos, zigzag(np.int64(len(words))))
    return pos


@njit(cache=CACHE, nogil=True, forceinline=True)
def write_scalar(words, row, program, c, heads, out, pos):  # type: ignore[no-untyped-def]
    """One integer column; position after it."""
    value = column_value(words, row, program, c)
    if program[c, CODE] == _UNSIGNED and value > program[c, LIMIT]:
        return refuse(heads, 0, _RANGE, pos, row, c)
    if program[c, BASED] >= 0:
        base = heads[0, BASE + program[c, BASED]]
        if (base > 0 and value < _I64_MIN + base) or (base < 0 and value > _I64_MAX + base):
            return refuse(heads, 0, _SUM, pos, row, c)
        value -= base
    return write_varint(out, pos, zigzag(value))


@njit(cache=CACHE, nogil=True, forceinline=True)
def write_array(words, row, program, c, out, pos):  # type: ignore[no-untyped-def]
    """A fixed array as one block; position after it."""
    count = program[c, ITEM_COUNT]
    pos = write_varint(out, pos, zigzag(count))
    for k in range(count):
        pos = write_varint(out, pos, zigzag(np.int64(words[row, program[c, WORD] + k])))
    out[pos] = 0
    return pos + 1


@njit(cache=CACHE, nogil=True, forceinline=True)
def write_heap(words, row, program, c, heads, heap, out, pos, row_max):  # type: ignore[no-untyped-def]
    """A text or bytes column; position after it."""
    word, shift = program[c, WORD], program[c, SHIFT]
    at = np.int64((words[row, word] >> np.uint64(shift)) & _U32)
    size = np.int64((words[row, word + (shift >> 5)] >> np.uint64(shift ^ 32)) & _U32)
    if at + size > len(heap):
        return refuse(heads, 0, _SIZE, pos, row, c)
    if program[c, CODE] == _TEXT and not is_utf8(heap, at, at + size):
        return refuse(heads, 0, _UTF8, pos, row, c)
    if pos + size + row_max > len(out):
        return refuse(heads, 0, _GROW, pos, row, c)
    pos = write_varint(out, pos, zigzag(size))
    copy_bytes(heap, at, out, pos, size)
    return pos + size


@njit(cache=CACHE, nogil=True, forceinline=True)
def write_row(words, row, program, facts, reserved, heads, heap, out, pos):  # type: ignore[no-untyped-def]
    """One row; position after it."""
    if pos + facts[ROW_MAX] > len(out):
        return refuse(heads, 0, _GROW, pos, row, -1)
    for k in range(len(reserved)):
        if words[row, k] & reserved[k] != _ZERO:
            return refuse(heads, 0, _RESERVED, pos, row, -1)
    for c in range(len(program)):
        code = program[c, CODE]
        if code >= _TEXT:
            pos = write_heap(words, row, program, c, heads, heap, out, pos, facts[ROW_MAX])
        elif code == _F64:
            store64(out, pos, words[row, program[c, WORD]])
            pos += 8
        elif program[c, ITEM_COUNT] > 0:
            pos = write_array(words, row, program, c, out, pos)
        else:
            pos = write_scalar(words, row, program, c, heads, out, pos)
        if pos < 0:
            return pos
    return pos


@njit(cache=CACHE, nogil=True)
def write_odd_row(words, row, program, facts, reserved, heads, heap, out, pos):  # type: ignore[no-untyped-def]
    """`write_row`, kept out of the loops of generated kernels."""
    return write_row(words, row, program, facts, reserved, heads, heap, out, pos)


@njit(cache=CACHE, nogil=True)
def end_frame(words, heads, out, pos):  # type: ignore[no-untyped-def]
    """The end of the array; the frame's size."""
    if pos + 1 > len(out):
        return refuse(heads, 0, _GROW, pos, len(words), -1)
    out[pos] = 0
    return pos + 1


@njit(cache=CACHE, nogil=True)
def encode_frame(words, program, facts, reserved, heads, heap, out, pinned):  # type: ignore[no-untyped-def]
    """A whole frame into `out`; its size, or -1."""
    words, program, facts, reserved = borrowed(words), borrowed(program), borrowed(facts), borrowed(reserved)
    heads, heap, out = borrowed(heads), borrowed(heap), borrowed(out)
    pos = begin_frame(words, program, facts, heads, out, pinned)
    for row in range(len(words)):
        pos = write_row(words, row, program, facts, reserved, heads, heap, out, pos)
        if pos < 0:
            return pos
    return end_frame(words, heads, out, pos)
