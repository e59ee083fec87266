"""The quick way through a message: one walk over what the venue really sends, giving up on anything else.

No white space, no escapes, ASCII; any order of fields, unknown simple fields. What it accepts, the strict way
reads alike. The last byte is `}` and stops every loop: none of them runs past the end, because each consumes
only bytes that differ from it, until the message is closed. Digits are looked at eight at a time.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from connectors.binance.kernels.layout import (
    BACKSLASH,
    BRACE,
    BRACKET,
    COLON,
    COMMA,
    DEPTH,
    DOT,
    F_ASK,
    F_ASK_AT,
    F_ASK_QUANTITY,
    F_ASKS,
    F_BID,
    F_BID_AT,
    F_BID_QUANTITY,
    F_BIDS,
    F_DECIMALS,
    F_FIRST,
    F_ID,
    F_INSTRUMENT,
    F_LOT_DECIMALS,
    F_OFF_BOOK,
    F_PREVIOUS,
    F_PRICE,
    F_QUANTITY,
    F_SELL,
    F_TIME_NS,
    F_WHOLE,
    I64,
    MS,
    NAME_DEPTH,
    NAME_MARKET,
    NAME_TICKER,
    NAME_TRADE,
    NINE,
    ONE_E8,
    POWER_8_LESS,
    POWER_10,
    QUICK_FAILED,
    QUOTE,
    TEXT_BYTES_MAX,
    TICKER,
    TIME_MS_MAX,
    TRADE,
    UNBRACE,
    UNBRACKET,
    ZERO,
    Array,
    U,
    byte_at,
    byte_text,
    part,
    symbol_hash,
    ticker_fault,
)
from schemas.compiled.bits import load64, trailing_zeros

CONFIG: Any = numba.config
WRAPPER = byte_text('{"stream":"')
WRAPPER_DATA = byte_text('","data":{')
WRAPPER_SIZE, WRAPPER_DATA_SIZE, MARKET_SIZE = len(WRAPPER), len(WRAPPER_DATA), len(NAME_MARKET)

ALL_ZERO_DIGITS = U(0x3030303030303030)
ABOVE_NINE = U(0x7676767676767676)  # lifts every byte above 9 to its top bit
TOP_BITS = U(0x8080808080808080)
PAIRS, PAIR_BY, PAIR_SHIFT = U(0x0F0F0F0F0F0F0F0F), U(2561), U(8)
FOURS, FOUR_BY, FOUR_SHIFT = U(0x00FF00FF00FF00FF), U(6553601), U(16)
EIGHTS, EIGHT_BY, EIGHT_SHIFT = U(0x0000FFFF0000FFFF), U(42949672960001), U(32)


@part
def digits_plain(buf: Array, i: int) -> tuple[int, int]:
    """(value, how many) of the digits at i, eight at most."""
    value, count = 0, 0
    while count < 8 and i + count < buf.shape[0] and ZERO <= buf[i + count] <= NINE:
        value = value * 10 + I64(buf[i + count]) - ZERO
        count += 1
    return value, count


@part
def digits_window(buf: Array, i: int) -> tuple[int, int]:
    """The same with one load: find the first byte that is no digit, push the digits to the top, add pairwise."""
    if i + 8 > buf.shape[0]:
        return digits_plain(buf, i)
    word = load64(buf, i) ^ ALL_ZERO_DIGITS
    others = ((word + ABOVE_NINE) | word) & TOP_BITS
    count = trailing_zeros(others) >> 3
    if count == 0:
        return 0, 0
    word <<= np.uint64(64 - 8 * count)
    word = ((word & PAIRS) * PAIR_BY) >> PAIR_SHIFT
    word = ((word & FOURS) * FOUR_BY) >> FOUR_SHIFT
    word = ((word & EIGHTS) * EIGHT_BY) >> EIGHT_SHIFT
    return I64(word), count


digits_at: Any = digits_plain if CONFIG.DISABLE_JIT else digits_window  # numpy's scalars warn of the wrap-around


@part
def quick_decimal(buf: Array, i: int) -> tuple[int, int]:
    """(value × 10^8, index of the closing quote) of the decimal that starts at i, or (0, -1)."""
    value, whole = digits_at(buf, i)
    i += whole
    if whole == 8:
        more, count = digits_at(buf, i)
        if count > 2:  # ten digits and eight decimals always fit
            return 0, -1
        value = value * POWER_10[count] + more
        i += count
    c = byte_at(buf, i)
    if whole == 0:
        return 0, -1
    if c == QUOTE:
        return value * ONE_E8, i
    if c != DOT:
        return 0, -1
    decimals, count = digits_at(buf, i + 1)
    i += 1 + count
    if count == 0 or byte_at(buf, i) != QUOTE:
        return 0, -1
    return value * ONE_E8 + decimals * POWER_8_LESS[count], i


@part
def quick_integer(buf: Array, i: int) -> tuple[int, int]:
    """(value, index after it) of the integer that starts at i, or (0, -1)."""
    start = i
    value, count = digits_at(buf, i)
    i += count
    if count == 8:
        more, count = digits_at(buf, i)
        value = value * POWER_10[count] + more
        i += count
        if count == 8:
            more, count = digits_at(buf, i)
            if count > 2:
                return 0, -1
            value = value * POWER_10[count] + more
            i += count
    if i == start or (i > start + 1 and byte_at(buf, start) == ZERO):
        return 0, -1
    return value, i


# Bytes that a plain string may hold. `}` is left out: it stops the loop at the message's end.
PLAIN = np.array([0x20 <= c < 0x7F and c not in (QUOTE, BACKSLASH, UNBRACE) for c in range(256)], dtype=np.uint8)


@part
def quick_string(buf: Array, i: int) -> int:
    """Index of the closing quote of the plain ASCII string whose content starts at i, or -1."""
    while PLAIN[buf[np.uint64(i)]] != 0:
        i += 1
    return i if byte_at(buf, i) == QUOTE else -1


@part
def fixed_digits_plain(buf: Array, i: int, count: int) -> int:
    """Value of exactly `count` (1..8) digits at i, or -1."""
    value = 0
    for k in range(count):
        if i + k >= buf.shape[0] or not (ZERO <= buf[i + k] <= NINE):
            return -1
        value = value * 10 + I64(buf[i + k]) - ZERO
    return value


@part
def fixed_digits_window(buf: Array, i: int, count: int) -> int:
    """The same with one load. As `count` is a guess that nearly always holds, the processor need not wait for it."""
    if i + 8 > buf.shape[0]:
        return fixed_digits_plain(buf, i, count)
    word = (load64(buf, i) ^ ALL_ZERO_DIGITS) << np.uint64(64 - 8 * count)
    if ((word + ABOVE_NINE) | word) & TOP_BITS:
        return -1
    word = ((word & PAIRS) * PAIR_BY) >> PAIR_SHIFT
    word = ((word & FOURS) * FOUR_BY) >> FOUR_SHIFT
    word = ((word & EIGHTS) * EIGHT_BY) >> EIGHT_SHIFT
    return I64(word)


fixed_digits: Any = fixed_digits_plain if CONFIG.DISABLE_JIT else fixed_digits_window


@part
def guessed_price(buf: Array, i: int, end: int, fields: Array) -> tuple[int, int]:
    """`quick_decimal`, tried first in the shape of the price before (F_WHOLE digits, dot, F_DECIMALS digits).

    A guess that holds spares the wait for the place of the dot and of the quote; one that fails costs little.
    """
    whole, decimals = fields[F_WHOLE], fields[F_DECIMALS]
    stop = i + whole + 1 + decimals
    if whole > 0 and stop < end and byte_at(buf, stop) == QUOTE and byte_at(buf, i + whole) == DOT:
        high = fixed_digits(buf, i, whole)
        low = fixed_digits(buf, i + whole + 1, decimals)
        if high >= 0 and low >= 0:
            return high * ONE_E8 + low * POWER_8_LESS[np.uint64(decimals)], stop
    value, stop = quick_decimal(buf, i)
    learn_shape(buf, i, stop, fields)
    return value, stop


@part
def learn_shape(buf: Array, start: int, stop: int, fields: Array) -> None:
    """Keep the shape of the decimal at start..stop as the next guess, if one load each reaches both of its parts."""
    fields[F_WHOLE] = 0
    for i in range(start + 1, min(stop - 1, start + 9)):
        if byte_at(buf, i) == DOT:
            fields[F_WHOLE] = i - start
            fields[F_DECIMALS] = stop - i - 1


@part
def guessed_quantity(buf: Array, i: int, end: int, fields: Array) -> tuple[int, int]:
    """`quick_decimal`, tried first with as many decimals as the quantity before had (F_LOT_DECIMALS)."""
    start = i
    decimals = fields[F_LOT_DECIMALS]
    value, whole = digits_at(buf, i)
    i += whole
    stop = i + 1 + decimals
    if 0 < whole < 8 and decimals > 0 and stop < end and byte_at(buf, i) == DOT and byte_at(buf, stop) == QUOTE:
        low = fixed_digits(buf, i + 1, decimals)
        if low >= 0:
            return value * ONE_E8 + low * POWER_8_LESS[np.uint64(decimals)], stop
    value, stop = quick_decimal(buf, start)
    fields[F_LOT_DECIMALS] = max(stop - i - 1, 0)
    return value, stop


@part
def quick_levels(buf: Array, i: int, end: int, fields: Array, levels: Array, at: int) -> tuple[int, int]:
    """(count, index after the array) of `["price","quantity"],…]` after the opening bracket, or (0, -1)."""
    n = at
    if byte_at(buf, i) == UNBRACKET:
        return 0, i + 1
    while True:
        if n >= levels.shape[0] or byte_at(buf, i) != BRACKET or byte_at(buf, i + 1) != QUOTE:
            return 0, -1
        price, i = guessed_price(buf, i + 2, end, fields)
        if i < 0 or price == 0 or byte_at(buf, i + 1) != COMMA or byte_at(buf, i + 2) != QUOTE:
            return 0, -1
        quantity, i = guessed_quantity(buf, i + 3, end, fields)
        if i < 0 or byte_at(buf, i + 1) != UNBRACKET:
            return 0, -1
        levels[np.uint64(n), 0] = price
        levels[np.uint64(n), 1] = quantity
        n += 1
        c = byte_at(buf, i + 2)
        i += 3
        if c == UNBRACKET:
            return n - at, i
        if c != COMMA:
            return 0, -1


@part
def quick_skip(buf: Array, i: int) -> int:
    """Index after the simple value at i (plain string, integer, true, false, null), or -1."""
    c = byte_at(buf, i)
    if c == QUOTE:
        stop = quick_string(buf, i + 1)
        return stop + 1 if stop >= 0 else -1
    if ZERO <= c <= NINE:
        return quick_integer(buf, i)[1]
    if c == 116 and byte_at(buf, i + 1) == 114 and byte_at(buf, i + 2) == 117 and byte_at(buf, i + 3) == 101:
        return i + 4
    if c == 110 and byte_at(buf, i + 1) == 117 and byte_at(buf, i + 2) == 108 and byte_at(buf, i + 3) == 108:
        return i + 4
    if c == 102 and byte_at(buf, i + 1) == 97 and byte_at(buf, i + 2) == 108 and byte_at(buf, i + 3) == 115:
        return i + 5 if byte_at(buf, i + 4) == 101 else -1
    return -1


@part
def starts_with(buf: Array, i: int, text: Array) -> bool:
    for k in range(text.shape[0]):  # noqa: SIM110
        if byte_at(buf, i + k) != text[k]:
            return False
    return True


@part
def quick_name(buf: Array, start: int, stop: int) -> int:
    """What the event between start and stop is called, or QUICK_FAILED. The sizes differ: one look is enough."""
    size = stop - start
    if size == 5 and starts_with(buf, start, NAME_TRADE):
        return TRADE
    if size == 11 and starts_with(buf, start, NAME_DEPTH):
        return DEPTH
    if size == 10 and starts_with(buf, start, NAME_TICKER):
        return TICKER
    return QUICK_FAILED


# Which keys were met, as bits.
B_SYMBOL, B_ID, B_FIRST, B_PREVIOUS, B_TRADE_TIME, B_TIME, B_TRADE = 1, 2, 4, 8, 16, 32, 64
B_PRICE, B_QUANTITY, B_SELL, B_EXECUTION, B_BID_LEVELS, B_ASK_LEVELS = 128, 256, 512, 1024, 2048, 4096
B_BID, B_BID_QUANTITY, B_ASK, B_ASK_QUANTITY, B_EVENT = 8192, 16384, 32768, 65536, 131072
NEEDED_TRADE = B_EVENT | B_SYMBOL | B_TRADE | B_PRICE | B_QUANTITY | B_SELL
NEEDED_DEPTH = B_EVENT | B_SYMBOL | B_FIRST | B_ID | B_BID_LEVELS | B_ASK_LEVELS
BID_TWICE, ASK_TWICE = B_BID | B_BID_LEVELS, B_ASK | B_ASK_LEVELS  # the same key as text and as array
ID_TWICE = B_ID | B_TRADE  # both are kept in F_ID
NEEDED_TICKER = B_SYMBOL | B_ID | B_BID | B_BID_QUANTITY | B_ASK | B_ASK_QUANTITY


# What a single-letter key carries, by letter: how to read its value, its bit, its field.
IS_UNKNOWN, IS_PRICE, IS_QUANTITY, IS_ID, IS_TIME, IS_SYMBOL, IS_EVENT, IS_EXECUTION, IS_FLAG, IS_SIDE = range(10)
KEY_READ = np.zeros(256, dtype=np.int64)
KEY_BIT = np.zeros(256, dtype=np.int64)
KEY_FIELD = np.zeros(256, dtype=np.int64)
for _letter, _read, _bit, _field in (
    ("p", IS_PRICE, B_PRICE, F_PRICE), ("q", IS_QUANTITY, B_QUANTITY, F_QUANTITY),
    ("b", IS_SIDE, B_BID, F_BID), ("a", IS_SIDE, B_ASK, F_ASK),
    ("B", IS_QUANTITY, B_BID_QUANTITY, F_BID_QUANTITY), ("A", IS_QUANTITY, B_ASK_QUANTITY, F_ASK_QUANTITY),
    ("u", IS_ID, B_ID, F_ID), ("U", IS_ID, B_FIRST, F_FIRST), ("t", IS_ID, B_TRADE, F_ID),
    ("T", IS_TIME, B_TRADE_TIME, F_TIME_NS), ("E", IS_TIME, B_TIME, F_TIME_NS),
    ("s", IS_SYMBOL, B_SYMBOL, F_INSTRUMENT), ("e", IS_EVENT, B_EVENT, 0), ("X", IS_EXECUTION, B_EXECUTION, 0),
    ("m", IS_FLAG, B_SELL, F_SELL),
):  # fmt: skip
    KEY_READ[ord(_letter)], KEY_BIT[ord(_letter)], KEY_FIELD[ord(_letter)] = _read, _bit, _field


@part
def quick_time(buf: Array, i: int) -> tuple[int, int]:
    """`quick_integer`, which for a time of this age has thirteen digits."""
    high = fixed_digits(buf, i, 8)
    low = fixed_digits(buf, i + 8, 5)
    c = byte_at(buf, i + 13) if high >= 10_000_000 and low >= 0 else ZERO
    if c in (COMMA, UNBRACE):
        return high * 100_000 + low, i + 13
    return quick_integer(buf, i)


@part
def quick_verdict(kind: int, seen: int, time_ms: int, futures: bool, fields: Array) -> int:
    """Whether a walked message is complete and in range: its kind, or QUICK_FAILED."""
    timed = (seen & (B_TIME | B_TRADE_TIME)) != 0
    if kind == QUICK_FAILED and (seen & B_EVENT) == 0:
        kind = TICKER
    if (seen & BID_TWICE) == BID_TWICE or (seen & ASK_TWICE) == ASK_TWICE or (seen & ID_TWICE) == ID_TWICE:
        return QUICK_FAILED
    if timed and (time_ms < 1 or time_ms > TIME_MS_MAX):
        return QUICK_FAILED
    fields[F_TIME_NS] = time_ms * MS if timed else 0
    if kind == TRADE:
        if (seen & NEEDED_TRADE) == NEEDED_TRADE and timed and fields[F_PRICE] > 0 and fields[F_QUANTITY] > 0:
            return TRADE
    elif kind == DEPTH:
        needed = NEEDED_DEPTH | B_PREVIOUS if futures else NEEDED_DEPTH
        if not futures:
            fields[F_PREVIOUS] = 0
        if (seen & needed) == needed and timed and fields[F_ID] >= fields[F_FIRST]:
            return DEPTH
    elif kind == TICKER and (seen & NEEDED_TICKER) == NEEDED_TICKER and ticker_fault(fields) == 0:
        return TICKER
    return QUICK_FAILED


@part
def scan_quick(buf: Array, at: int, end: int, seed: int, futures: bool, fields: Array, levels: Array) -> int:
    """One message by the quick way: TRADE, DEPTH, TICKER or QUICK_FAILED."""
    if end - at < 2 or byte_at(buf, end - 1) != UNBRACE or byte_at(buf, at) != BRACE:
        return QUICK_FAILED
    i = at + 1
    wrapped = starts_with(buf, at, WRAPPER)
    if wrapped:
        i = quick_string(buf, at + WRAPPER_SIZE)
        if i < 0 or not starts_with(buf, i, WRAPPER_DATA):
            return QUICK_FAILED
        i += WRAPPER_DATA_SIZE
    fields[F_OFF_BOOK] = 0
    seen, kind, time_ms, used = 0, QUICK_FAILED, 0, 0
    while True:
        # i stands at the quote that opens a key.
        if byte_at(buf, i) != QUOTE or byte_at(buf, i + 1) == UNBRACE:
            return QUICK_FAILED
        k = buf[np.uint64(i + 1)]
        if byte_at(buf, i + 2) == QUOTE:
            if byte_at(buf, i + 3) != COLON:
                return QUICK_FAILED
            i += 4
            read, bit, field = KEY_READ[k], KEY_BIT[k], KEY_FIELD[k]
        elif k == 112 and byte_at(buf, i + 2) == 117 and byte_at(buf, i + 3) == QUOTE and byte_at(buf, i + 4) == COLON:
            i += 5
            read, bit, field = IS_ID, B_PREVIOUS, F_PREVIOUS  # pu
        else:
            # A key that we do not know. Unwrapped, a longer one could mean something on the top level.
            start = i + 1
            i = quick_string(buf, start)
            if i < 0 or (not wrapped and i - start > 2) or byte_at(buf, i + 1) != COLON:
                return QUICK_FAILED
            i += 2
            read, bit, field = IS_UNKNOWN, 0, 0
        c = byte_at(buf, i)
        if read == IS_SIDE and c == BRACKET:
            bid = field == F_BID
            bit = B_BID_LEVELS if bid else B_ASK_LEVELS
            count, i = quick_levels(buf, i + 1, end, fields, levels, used)
            fields[F_BID_AT if bid else F_ASK_AT] = used
            fields[F_BIDS if bid else F_ASKS] = count
            used += count
        elif read in (IS_PRICE, IS_SIDE):
            if c != QUOTE:
                return QUICK_FAILED
            fields[field], i = guessed_price(buf, i + 1, end, fields)
            i += 1 if i >= 0 else 0
        elif read == IS_QUANTITY:
            if c != QUOTE:
                return QUICK_FAILED
            fields[field], i = guessed_quantity(buf, i + 1, end, fields)
            i += 1 if i >= 0 else 0
        elif read == IS_ID:
            fields[field], i = quick_integer(buf, i)
        elif read == IS_TIME:
            value, i = quick_time(buf, i)
            if bit == B_TRADE_TIME or (seen & B_TRADE_TIME) == 0:
                time_ms = value
        elif read == IS_UNKNOWN:
            i = quick_skip(buf, i)
        elif read == IS_FLAG:
            fields[field] = 1 if c == 116 else 0
            i = quick_skip(buf, i) if c == 116 or c == 102 else -1
        else:
            if c != QUOTE:
                return QUICK_FAILED
            start = i + 1
            i = quick_string(buf, start)
            if i < 0:
                return QUICK_FAILED
            if read == IS_SYMBOL:
                if i - start < 1 or i - start > TEXT_BYTES_MAX:
                    return QUICK_FAILED
                fields[field] = symbol_hash(buf, start, i, seed)
            elif read == IS_EVENT:
                kind = quick_name(buf, start, i)
                if kind == QUICK_FAILED:
                    return QUICK_FAILED
            else:
                market = i - start == MARKET_SIZE and starts_with(buf, start, NAME_MARKET)
                fields[F_OFF_BOOK] = 0 if market else 1
            i += 1
        if i < 0 or (seen & bit) != 0:  # a key twice: the strict way knows which counts
            return QUICK_FAILED
        seen |= bit
        c = byte_at(buf, i)
        if c == COMMA:
            i += 1
        elif c == UNBRACE:
            break
        else:
            return QUICK_FAILED
    if i + 1 + (1 if wrapped else 0) != end:
        return QUICK_FAILED
    return quick_verdict(kind, seen, time_ms, futures, fields)
