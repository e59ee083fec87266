"""The layout of a scanned message: numbers that the scanner, the synchronisation and the rule share.

A scanned message is left in two arrays: `fields` (int64, see the F_ numbers) and `levels` (int64
[LEVELS_MAX, 2]: price and quantity × 10^8; bids from row F_BID_AT on, offers from F_ASK_AT on).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit as numba_njit

Array = npt.NDArray[Any]
F = TypeVar("F", bound=Callable[..., Any])
U = np.uint64
njit: Any = numba_njit  # its types know only the documented options
I64 = cast(Callable[[Any], int], np.int64)  # int64 to numba, an int to whoever reads


def part(function: F) -> F:
    """A part of a hot loop, put in place of its call. It allocates nothing, so its arrays need no counting.

    Without both, handing over arrays costs more than the work: the scanner ran at a third of its speed.
    """
    return cast(F, njit(cache=True, nogil=True, _nrt=False, forceinline=True)(function))


def uncounted(function: F) -> F:
    """`compiled`, for a function that allocates nothing itself and is handed many arrays."""
    return cast(F, njit(cache=True, nogil=True, _nrt=False)(function))


LEVELS_MAX = 32_768  # both sides of one message; the largest snapshot has 10,000, the largest update seen 1,226
DEPTH_MAX = 60  # nesting
TEXT_BYTES_MAX = 64  # symbols, names of events, decimals: longer ones mean nothing
TEXT_SCRATCH = 6 * TEXT_BYTES_MAX  # before its escapes are resolved
TIME_MS_MAX = 9_223_372_036_854  # as ns it still fits an int64
I64_MAX = (1 << 63) - 1
MS = 1_000_000
ONE_E8 = 100_000_000

# What a message is. Negative: a fault, see fault().
TRADE, DEPTH, TICKER, SNAPSHOT, CONTROL = 1, 2, 3, 4, 5
QUICK_FAILED = 0

# Fields of a scanned message.
F_ID, F_FIRST, F_PREVIOUS = 0, 1, 2  # t or u or lastUpdateId; U; pu
F_TIME_NS, F_INSTRUMENT = 3, 4
F_PRICE, F_QUANTITY = 5, 6
F_BID, F_BID_QUANTITY, F_ASK, F_ASK_QUANTITY = 7, 8, 9, 10
F_SELL, F_OFF_BOOK = 11, 12
F_BID_AT, F_BIDS, F_ASK_AT, F_ASKS = 13, 14, 15, 16
F_WHOLE, F_DECIMALS, F_LOT_DECIMALS = 17, 18, 19  # guesses of the quick way; they change no result
F_RECV_NS, F_CAUSE_ROW = 20, 21  # of the raw row; filled in by the caller
FIELDS = 22

# Faults: indices of the table in connectors/binance/faults.py.
(NOT_JSON, NOT_OBJECT, UNKNOWN_EVENT, BAD_FIELD, BAD_DECIMAL, MANY_DECIMALS, OUT_OF_RANGE, MANY_LEVELS,
 MANY_INSTRUMENTS) = range(1, 10)  # fmt: skip

# Keys. Single letters first; the strict way records the value's span of each.
KEYS = (
    "stream", "data", "e", "E", "T", "s", "t", "p", "q", "m", "X", "U", "u", "pu", "b", "B", "a", "A",
    "result", "id", "code", "error", "lastUpdateId", "bids", "asks",
)  # fmt: skip
(K_STREAM, K_DATA, K_EVENT, K_TIME, K_TRADE_TIME, K_SYMBOL, K_TRADE, K_PRICE, K_QUANTITY, K_SELL, K_EXECUTION,
 K_FIRST, K_LAST, K_PREVIOUS, K_BID, K_BID_QUANTITY, K_ASK, K_ASK_QUANTITY,
 K_RESULT, K_ID, K_CODE, K_ERROR, K_SNAPSHOT, K_BIDS, K_ASKS) = range(len(KEYS))  # fmt: skip
KEY_BYTES_MAX = max(len(key) for key in KEYS)
KEY_SIZES = np.array([len(key) for key in KEYS], dtype=np.int64)
KEY_TEXT = np.zeros((len(KEYS), KEY_BYTES_MAX), dtype=np.uint8)
for _index, _key in enumerate(KEYS):
    KEY_TEXT[_index, : len(_key)] = np.frombuffer(_key.encode(), dtype=np.uint8)


def byte_text(text: str) -> Array:
    return np.frombuffer(text.encode(), dtype=np.uint8).copy()


NAME_TRADE, NAME_DEPTH, NAME_TICKER = byte_text("trade"), byte_text("depthUpdate"), byte_text("bookTicker")
NAME_SHUTDOWN, NAME_MARKET = byte_text("serverShutdown"), byte_text("MARKET")

POWER_10 = np.array([10**n for n in range(19)], dtype=np.int64)
POWER_8_LESS = np.array([10 ** (8 - n) for n in range(9)], dtype=np.int64)  # what lifts n decimals to eight
FNV_PRIME = 0x01000193
U32 = 0xFFFFFFFF

QUOTE, BACKSLASH, COMMA, COLON, MINUS, PLUS, DOT, ZERO, NINE = 34, 92, 44, 58, 45, 43, 46, 48, 57
BRACE, UNBRACE, BRACKET, UNBRACKET = 123, 125, 91, 93


@part
def fault(kind: int, key: int) -> int:
    """A fault as one negative number: what is wrong, with which key (-1: none)."""
    return -(kind * 64 + key + 1)


@part
def byte_at(buf: Array, i: int) -> int:
    """buf[i]. The unsigned index spares the question whether i counts from the end."""
    return I64(buf[np.uint64(i)])


@part
def symbol_hash(text: Array, start: int, stop: int, seed: int) -> int:
    """FNV-1a, continued from `seed`, over text[start:stop]."""
    value = seed
    for i in range(start, stop):
        value = ((value ^ I64(text[np.uint64(i)])) * FNV_PRIME) & U32
    return value if value != 0 else 1


@part
def ticker_fault(fields: Array) -> int:
    """A side of a ticker has a price and a quantity, or (empty) neither."""
    if (fields[F_BID] == 0) != (fields[F_BID_QUANTITY] == 0):
        return fault(OUT_OF_RANGE, K_BID)
    if (fields[F_ASK] == 0) != (fields[F_ASK_QUANTITY] == 0):
        return fault(OUT_OF_RANGE, K_ASK)
    return 0
