"""Decoding, complete: one value after the other, driven by the event's program. Every refusal of bytes is made here.

The generated kernels (`trade.py`, …) only take rows that are plainly right and hand all others to
`read_row`. Kernels return a position or a count, or a negative number with the reason in `heads`.
"""

# Compiled together with: 24a4246e48b9f097d3ce8d06f478f51bf427a5dbb88401606c624db8ff76955c

from __future__ import annotations

import numpy as np
from numba import njit

from schemas.compiled.bits import borrowed, copy_bytes, count_ones, ends64, load64
from schemas.compiled.layout import (
    ARRAY,
    BASE,
    BASED,
    BASES,
    CAUSE,
    CAUSED,
    CODE,
    COUNT,
    ITEM_COUNT,
    ITEMS,
    LIMIT,
    ROW_AT,
    ROW_FIRST,
    ROW_MIN,
    SCHEMA_ID,
    SHIFT,
    START,
    STATUS,
    STOP,
    WORD,
    WRITER,
    Code,
    Status,
)
from schemas.compiled.refuse import is_utf8, refuse
from schemas.compiled.varint import CACHE, read_varint, signed

_I64, _I32, _UNSIGNED, _F64, _TEXT, _BYTES = (int(code) for code in Code)
_FINE = int(Status.FINE)
_BLOCKS = int(Status.BLOCKS)
_MAGIC = int(Status.MAGIC)
_SCHEMA_ID = int(Status.SCHEMA_ID)
_TRUNCATED = int(Status.TRUNCATED)
_RANGE = int(Status.RANGE)
_SUM = int(Status.SUM)
_ITEMS = int(Status.ITEMS)
_SIZE = int(Status.SIZE)
_UTF8 = int(Status.UTF8)
_COUNT = int(Status.COUNT)
_BLOCK_SIZE = int(Status.BLOCK_SIZE)
_TRAILING = int(Status.TRAILING)
_HEADER = int(Status.HEADER)

_I64_MAX = (1 << 63) - 1
_I64_MIN = -(1 << 63)
_U16_MAX = 0xFFFF
_U32_MAX = 0xFFFFFFFF

_ZERO = np.uint64(0)
_U32 = np.uint64(0xFFFFFFFF)


@njit(cache=CACHE, nogil=True)
def read_head(data, heads, i, facts):  # type: ignore[no-untyped-def]
    """Fill line i of `heads` from the bytes START..STOP: header and count of the first block."""
    start, stop = heads[i, START], heads[i, STOP]
    heads[i, STATUS] = _FINE
    heads[i, COUNT] = 0
    if stop - start < 5:
        return refuse(heads, i, _TRUNCATED, stop, -1, -1)
    if data[start] != 0:
        return refuse(heads, i, _MAGIC, start, -1, -1)
    found = np.int64(0)
    for k in range(1, 5):
        found = (found << 8) | np.int64(data[start + k])
    if found != facts[SCHEMA_ID]:
        return refuse(heads, i, _SCHEMA_ID, start + 1, -1, -1)
    for k in range(4):
        heads[i, CAUSE + k] = 0
    pos = start + 5
    plain = 3 + 4 * facts[CAUSED]  # writer, incarnation, first row; topic, partition, writer, incarnation of the cause
    for k in range(plain + facts[BASES]):
        after, bits = read_varint(data, pos, stop)
        if after < 0:
            return refuse(heads, i, -after, pos, -1, k)
        value = signed(bits)
        if k == 2:
            if value < 1:
                return refuse(heads, i, _HEADER, pos, -1, k)
        elif k < plain and (value < 0 or value > _U16_MAX):
            return refuse(heads, i, _HEADER, pos, -1, k)
        heads[i, WRITER + k if k < plain else BASE + k - plain] = value
        pos = after
    return read_count(data, pos, heads, i, facts)


@njit(cache=CACHE, nogil=True)
def read_count(data, pos, heads, i, facts):  # type: ignore[no-untyped-def]
    """The count of the first block; a count that the bytes cannot hold is refused before anything is allocated."""
    heads[i, ARRAY] = pos
    after, bits = read_varint(data, pos, heads[i, STOP])
    if after < 0:
        return refuse(heads, i, -after, pos, -1, -1)
    count = signed(bits)
    if count < 0:
        return refuse(heads, i, _BLOCKS, pos, -1, -1)
    if count > (heads[i, STOP] - after) // facts[ROW_MIN] or heads[i, ROW_FIRST] > _I64_MAX - count:
        return refuse(heads, i, _COUNT, pos, -1, -1)
    if count == 0 and after != heads[i, STOP]:
        return refuse(heads, i, _TRAILING, after, 0, -1)
    heads[i, COUNT] = count
    heads[i, ITEMS] = after
    return after


@njit(cache=CACHE, nogil=True)
def read_heads(data, heads, facts):  # type: ignore[no-untyped-def]
    """Rows of all frames, with ROW_AT set; -1 - i for the first frame i that is not one plain block."""
    data, heads, facts = borrowed(data), borrowed(heads), borrowed(facts)
    total = 0
    for i in range(len(heads)):
        if read_head(data, heads, i, facts) < 0:
            return -1 - i
        heads[i, ROW_AT] = total
        total += heads[i, COUNT]
    return total


@njit(cache=CACHE, nogil=True)
def read_only_head(data, heads, facts):  # type: ignore[no-untyped-def]
    """`read_heads` for a buffer that is one frame."""
    heads[0, START] = 0
    heads[0, STOP] = len(data)
    return read_heads(data, heads[:1], facts)


@njit(cache=CACHE, nogil=True, forceinline=True)
def read_scalar(data, pos, heads, i, program, c, words, row, at_row):  # type: ignore[no-untyped-def]
    """One integer column into words[row]; position after it."""
    after, bits = read_varint(data, pos, heads[i, STOP])
    if after < 0:
        return refuse(heads, i, -after, pos, at_row, c)
    value = signed(bits)
    if program[c, BASED] >= 0:
        base = heads[i, BASE + program[c, BASED]]
        if (value > 0 and base > _I64_MAX - value) or (value < 0 and base < _I64_MIN - value):
            return refuse(heads, i, _SUM, pos, at_row, c)
        value += base
    word = np.uint64(value)
    code = program[c, CODE]
    if code == _UNSIGNED:
        if value < 0 or value > program[c, LIMIT]:
            return refuse(heads, i, _RANGE, pos, at_row, c)
    elif code == _I32:
        if value < -(1 << 31) or value >= 1 << 31:
            return refuse(heads, i, _RANGE, pos, at_row, c)
        word &= _U32
    words[row, program[c, WORD]] |= word << np.uint64(program[c, SHIFT])
    return after


@njit(cache=CACHE, nogil=True, forceinline=True)
def read_array(data, pos, heads, i, program, c, words, row, at_row):  # type: ignore[no-untyped-def]
    """A fixed array into words[row]; position after it. Avro may cut it into blocks."""
    stop = heads[i, STOP]
    missing = program[c, ITEM_COUNT]
    word = program[c, WORD]
    while True:
        begin = pos
        pos, bits = read_varint(data, begin, stop)
        if pos < 0:
            return refuse(heads, i, -pos, begin, at_row, c)
        count = signed(bits)
        block_stop = np.int64(-1)
        if count < 0:
            count = -count if count > _I64_MIN else _I64_MAX
            after, bits = read_varint(data, pos, stop)
            if after < 0:
                return refuse(heads, i, -after, pos, at_row, c)
            size = signed(bits)
            if size < 0 or size > stop - after:
                return refuse(heads, i, _BLOCK_SIZE, pos, at_row, c)
            block_stop = after + size
            pos = after
        if count > missing or (count == 0 and missing > 0):
            return refuse(heads, i, _ITEMS, begin, at_row, c)
        if count == 0:
            return pos
        for _ in range(count):
            after, bits = read_varint(data, pos, stop)
            if after < 0:
                return refuse(heads, i, -after, pos, at_row, c)
            words[row, word] = np.uint64(signed(bits))
            word += 1
            pos = after
        if block_stop >= 0 and pos != block_stop:
            return refuse(heads, i, _BLOCK_SIZE, begin, at_row, c)
        missing -= count


@njit(cache=CACHE, nogil=True, forceinline=True)
def read_heap(data, pos, heads, i, program, c, words, row, at_row, heap, used):  # type: ignore[no-untyped-def]
    """A text or bytes column: size and bytes, appended to the heap; position after it."""
    stop = heads[i, STOP]
    after, bits = read_varint(data, pos, stop)
    if after < 0:
        return refuse(heads, i, -after, pos, at_row, c)
    size = signed(bits)
    if size < 0 or size > stop - after or used + size > min(len(heap), _U32_MAX):
        return refuse(heads, i, _SIZE, pos, at_row, c)
    if program[c, CODE] == _TEXT and not is_utf8(data, after, after + size):
        return refuse(heads, i, _UTF8, after, at_row, c)
    copy_bytes(data, after, heap, used, size)
    word, shift = program[c, WORD], program[c, SHIFT]
    words[row, word] |= np.uint64(used) << np.uint64(shift)
    words[row, word + (shift >> 5)] |= np.uint64(size) << np.uint64(shift ^ 32)
    return after + size


@njit(cache=CACHE, nogil=True, forceinline=True)
def read_row(data, pos, heads, i, program, words, row, at_row, heap, used):  # type: ignore[no-untyped-def]
    """One row, number `at_row` of frame i, into words[row]; (position after it, heap bytes used) or (-1, 0)."""
    for k in range(words.shape[1]):
        words[row, k] = _ZERO
    for c in range(len(program)):
        code = program[c, CODE]
        if code >= _TEXT:
            after = read_heap(data, pos, heads, i, program, c, words, row, at_row, heap, used)
            if after >= 0:
                word, shift = program[c, WORD], program[c, SHIFT]
                used += np.int64((words[row, word + (shift >> 5)] >> np.uint64(shift ^ 32)) & _U32)
        elif code == _F64:
            after = pos + 8
            if after > heads[i, STOP]:
                after = refuse(heads, i, _TRUNCATED, pos, at_row, c)
            else:
                words[row, program[c, WORD]] = load64(data, pos)
        elif program[c, ITEM_COUNT] > 0:
            after = read_array(data, pos, heads, i, program, c, words, row, at_row)
        else:
            after = read_scalar(data, pos, heads, i, program, c, words, row, at_row)
        if after < 0:
            return after, np.int64(0)
        pos = after
    return pos, used


@njit(cache=CACHE, nogil=True)
def read_odd_row(data, pos, heads, i, program, words, row, at_row, heap, used):  # type: ignore[no-untyped-def]
    """`read_row`, kept out of the loops of generated kernels."""
    return read_row(data, pos, heads, i, program, words, row, at_row, heap, used)


@njit(cache=CACHE, nogil=True)
def read_end(data, pos, heads, i):  # type: ignore[no-untyped-def]
    """After the last row of a plain frame: the end of the array, and of the frame."""
    stop = heads[i, STOP]
    if heads[i, COUNT] == 0:  # the count of no rows was the end
        return pos
    if pos + 1 == stop and data[pos] == 0:
        return pos + 1
    if pos >= stop:
        return refuse(heads, i, _TRUNCATED, pos, heads[i, COUNT], -1)
    return refuse(heads, i, _BLOCKS if data[pos] != 0 else _TRAILING, pos, heads[i, COUNT], -1)


@njit(cache=CACHE, nogil=True)
def decode_frames(data, heads, program, words, heap):  # type: ignore[no-untyped-def]
    """All rows of all frames; heap bytes used, or -1 - i for the first frame i that was refused."""
    data, heads, program = borrowed(data), borrowed(heads), borrowed(program)
    words, heap = borrowed(words), borrowed(heap)
    used = np.int64(0)
    for i in range(len(heads)):
        pos = heads[i, ITEMS]
        for k in range(heads[i, COUNT]):
            pos, used = read_row(data, pos, heads, i, program, words, heads[i, ROW_AT] + k, k, heap, used)
            if pos < 0:
                return -1 - i
        if read_end(data, pos, heads, i) < 0:
            return -1 - i
    return used


@njit(cache=CACHE, nogil=True)
def read_block_count(data, pos, heads, i, facts, total):  # type: ignore[no-untyped-def]
    """(position of the block's first row or -1, its rows, its end by its own word or -1)."""
    stop = heads[i, STOP]
    after, bits = read_varint(data, pos, stop)
    if after < 0:
        return refuse(heads, i, -after, pos, total, -1), np.int64(0), np.int64(-1)
    count = signed(bits)
    block_stop = np.int64(-1)
    if count < 0:
        begin = after
        after, bits = read_varint(data, begin, stop)
        if after < 0:
            return refuse(heads, i, -after, begin, total, -1), np.int64(0), np.int64(-1)
        size = signed(bits)
        if size < 0 or size > stop - after:
            return refuse(heads, i, _BLOCK_SIZE, begin, total, -1), np.int64(0), np.int64(-1)
        block_stop = after + size
        count = -count if count > _I64_MIN else _I64_MAX
    if count > (stop - after) // facts[ROW_MIN] or heads[i, ROW_FIRST] > _I64_MAX - total - count:
        return refuse(heads, i, _COUNT, pos, total, -1), np.int64(0), np.int64(-1)
    return after, count, block_stop


@njit(cache=CACHE, nogil=True)
def decode_blocks(data, heads, i, facts, program, words, heap, keep):  # type: ignore[no-untyped-def]
    """Frame i, whatever its blocks; rows, or -1. With `keep` false it only counts: words is one spare row."""
    data, heads, program = borrowed(data), borrowed(heads), borrowed(program)
    words, heap, facts = borrowed(words), borrowed(heap), borrowed(facts)
    pos = heads[i, ARRAY]
    used = np.int64(0)
    total = np.int64(0)
    while True:
        begin = pos
        pos, count, block_stop = read_block_count(data, begin, heads, i, facts, total)
        if pos < 0:
            return -1
        for _ in range(count):
            row = total if keep else np.int64(0)
            pos, used = read_row(data, pos, heads, i, program, words, row, total, heap, used if keep else np.int64(0))
            if pos < 0:
                return -1
            total += 1
        if block_stop >= 0 and pos != block_stop:
            return refuse(heads, i, _BLOCK_SIZE, begin, total, -1)
        if count == 0:
            break
    if pos != heads[i, STOP]:
        return refuse(heads, i, _TRAILING, pos, total, -1)
    heads[i, STATUS] = _FINE
    heads[i, COUNT] = total
    return total


@njit(cache=CACHE, nogil=True)
def count_ends(data, pos, stop):  # type: ignore[no-untyped-def]
    """Bytes in data[pos:stop] that end a varint."""
    count = 0
    while pos + 64 <= stop:
        count += count_ones(ends64(data, pos))
        pos += 64
    for k in range(pos, stop):
        count += data[k] < 128
    return count


@njit(cache=CACHE, nogil=True)
def is_one_block(data, heads, columns):  # type: ignore[no-untyped-def]
    """Whether a frame of integers alone is one block of COUNT rows: it then has one end of a varint per column and
    row, and one more."""
    return count_ends(data, heads[0, ITEMS], heads[0, STOP]) == heads[0, COUNT] * columns + 1
