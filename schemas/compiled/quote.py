"""Kernels of Quote: written by schemas/compiled/generate.py from its declaration, not by hand."""

# Compiled together with: 41b43d8f418c65164821443b1d31b68fb156b0bd11ef81c455992de482e2829e

import numpy as np
from numba import njit

from schemas.compiled.bits import borrowed, ends64, load64, prefetch, store64, trailing_zeros
from schemas.compiled.fast import (
    DATA_AHEAD,
    READ_AHEAD,
    ROW_WINDOW,
    ROWS_AHEAD,
    bases_are_near,
    has_long_varint,
    read_value,
    write_value,
    zigzag_bits,
)
from schemas.compiled.layout import BASE, COUNT, ITEMS, ROW_AT, STOP
from schemas.compiled.read import read_end, read_odd_row
from schemas.compiled.varint import CACHE
from schemas.compiled.write import begin_frame, end_frame, write_odd_row

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_56 = np.uint64(56)
_LANES = np.uint64(0x3F)
_LANES_BAD = np.uint64(0x81)
_LANES_HIGH = np.uint64(0xC0)
_LANES_OVER = np.uint64(0x7A)
_LANES_TOP = np.uint64(0x80)
_LANES_AT = np.uint64(0x20)
_MASK_32 = np.uint64(0xFFFFFFFF)
_BITS_32 = np.uint64(0x20)
_RESERVED_8 = np.uint64(0xFFFFFF0000000000)


@njit(cache=CACHE, nogil=True)
def decode_frames(data, heads, program, words, heap):  # type: ignore[no-untyped-def]
    data, heads, program = borrowed(data), borrowed(heads), borrowed(program)
    words, heap = borrowed(words), borrowed(heap)
    for i in range(len(heads)):
        fast_stop = len(data) - READ_AHEAD if bases_are_near(heads, i, 7) else -1
        base_0 = np.uint64(heads[i, BASE + 0])
        base_1 = np.uint64(heads[i, BASE + 1])
        base_2 = np.uint64(heads[i, BASE + 2])
        base_3 = np.uint64(heads[i, BASE + 3])
        base_4 = np.uint64(heads[i, BASE + 4])
        base_5 = np.uint64(heads[i, BASE + 5])
        base_6 = np.uint64(heads[i, BASE + 6])
        stop = heads[i, STOP]
        pos = heads[i, ITEMS]
        row = heads[i, ROW_AT]
        for k in range(heads[i, COUNT]):
            if pos <= fast_stop:
                ends = ends64(data, pos)
                left = ends
                prefetch(data, pos + DATA_AHEAD)
                prefetch(words, (row + ROWS_AHEAD) * 9)
                end_0 = trailing_zeros(left) + 1
                left &= left - _ONE
                ts_event_ns = read_value(data, pos, end_0) + base_0
                end_1 = trailing_zeros(left) + 1
                left &= left - _ONE
                ts_recv_ns = read_value(data, pos + end_0, end_1 - end_0) + base_1
                end_2 = trailing_zeros(left) + 1
                left &= left - _ONE
                update_id = read_value(data, pos + end_1, end_2 - end_1) + base_2
                end_3 = trailing_zeros(left) + 1
                left &= left - _ONE
                bid_price_e8 = read_value(data, pos + end_2, end_3 - end_2) + base_3
                end_4 = trailing_zeros(left) + 1
                left &= left - _ONE
                bid_quantity_e8 = read_value(data, pos + end_3, end_4 - end_3)
                end_5 = trailing_zeros(left) + 1
                left &= left - _ONE
                ask_price_e8 = read_value(data, pos + end_4, end_5 - end_4) + base_4
                end_6 = trailing_zeros(left) + 1
                left &= left - _ONE
                ask_quantity_e8 = read_value(data, pos + end_5, end_6 - end_5)
                end_7 = trailing_zeros(left) + 1
                left &= left - _ONE
                cause_row = read_value(data, pos + end_6, end_7 - end_6) + base_5
                end_8 = trailing_zeros(left) + 1
                left &= left - _ONE
                instrument = read_value(data, pos + end_7, end_8 - end_7) + base_6
                size = end_8 + 1
                window = load64(data, pos + end_8)
                lanes = (window >> _ONE) & _LANES
                odd = (window & _LANES_BAD) | ((lanes + _LANES_OVER) & _LANES_TOP)
                odd |= instrument >> _BITS_32
                if odd == _ZERO and size <= ROW_WINDOW and pos + size <= stop and not has_long_varint(ends, end_8):
                    words[row, 0] = ts_event_ns
                    words[row, 1] = ts_recv_ns
                    words[row, 2] = update_id
                    words[row, 3] = bid_price_e8
                    words[row, 4] = bid_quantity_e8
                    words[row, 5] = ask_price_e8
                    words[row, 6] = ask_quantity_e8
                    words[row, 7] = cause_row
                    words[row, 8] = instrument | (lanes << _LANES_AT)
                    pos += size
                    row += 1
                    continue
            pos, _ = read_odd_row(data, pos, heads, i, program, words, row, k, heap, np.int64(0))
            if pos < 0:
                return -1 - i
            row += 1
        if read_end(data, pos, heads, i) < 0:
            return -1 - i
    return 0


@njit(cache=CACHE, nogil=True)
def encode_frame(words, program, facts, reserved, heads, heap, out, pinned):  # type: ignore[no-untyped-def]
    words, program, facts, reserved = borrowed(words), borrowed(program), borrowed(facts), borrowed(reserved)
    heads, heap, out = borrowed(heads), borrowed(heap), borrowed(out)
    pos = begin_frame(words, program, facts, heads, out, pinned)
    fast_stop = len(out) - 80
    base_0 = np.uint64(heads[0, BASE + 0])
    base_1 = np.uint64(heads[0, BASE + 1])
    base_2 = np.uint64(heads[0, BASE + 2])
    base_3 = np.uint64(heads[0, BASE + 3])
    base_4 = np.uint64(heads[0, BASE + 4])
    base_5 = np.uint64(heads[0, BASE + 5])
    base_6 = np.uint64(heads[0, BASE + 6])
    for row in range(len(words)):
        if pos <= fast_stop:
            prefetch(words, (row + ROWS_AHEAD) * 9)
            ts_event_ns = zigzag_bits(words[row, 0] - base_0)
            ts_recv_ns = zigzag_bits(words[row, 1] - base_1)
            update_id = zigzag_bits(words[row, 2] - base_2)
            bid_price_e8 = zigzag_bits(words[row, 3] - base_3)
            bid_quantity_e8 = zigzag_bits(words[row, 4])
            ask_price_e8 = zigzag_bits(words[row, 5] - base_4)
            ask_quantity_e8 = zigzag_bits(words[row, 6])
            cause_row = zigzag_bits(words[row, 7] - base_5)
            instrument = zigzag_bits((words[row, 8] & _MASK_32) - base_6)
            lanes = words[row, 8] >> _LANES_AT
            odd = lanes & _LANES_HIGH
            lanes &= _LANES
            odd |= (lanes + _LANES_OVER) & _LANES_TOP
            odd |= ts_event_ns >> _56
            odd |= ts_recv_ns >> _56
            odd |= update_id >> _56
            odd |= bid_price_e8 >> _56
            odd |= bid_quantity_e8 >> _56
            odd |= ask_price_e8 >> _56
            odd |= ask_quantity_e8 >> _56
            odd |= cause_row >> _56
            odd |= instrument >> _56
            odd |= words[row, 8] & _RESERVED_8
            if odd == _ZERO:
                pos = write_value(out, pos, ts_event_ns)
                pos = write_value(out, pos, ts_recv_ns)
                pos = write_value(out, pos, update_id)
                pos = write_value(out, pos, bid_price_e8)
                pos = write_value(out, pos, bid_quantity_e8)
                pos = write_value(out, pos, ask_price_e8)
                pos = write_value(out, pos, ask_quantity_e8)
                pos = write_value(out, pos, cause_row)
                pos = write_value(out, pos, instrument)
                store64(out, pos, lanes << _ONE)
                pos += 1
                continue
        pos = write_odd_row(words, row, program, facts, reserved, heads, heap, out, pos)
        if pos < 0:
            return pos
    return end_frame(words, heads, out, pos)
