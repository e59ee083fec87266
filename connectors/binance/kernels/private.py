"""The usual private frames of USD-M futures, read straight from the batch's heap into report rows.

Understood here: SENT of one of our orders; a 200 answer to POST, PUT, DELETE, GET of one; ORDER_TRADE_UPDATE of one;
ACCOUNT_UPDATE for ORDER; TRADE_LITE; rows that mean nothing. `read_frames` stops at the first other frame and leaves
the state as it was before it: connectors/binance_usdm/private_wire.py reads that one, and says what all of it means.
What is accepted here, it reads alike: no white space, no escapes, ASCII, at most ten digits and eight decimals, no
key twice. As in quick.py the last byte is `}` and stops every loop.
"""

from __future__ import annotations

import numpy as np

from connectors.binance.kernels.layout import (
    BRACE,
    BRACKET,
    COLON,
    COMMA,
    I64,
    I64_MAX,
    MINUS,
    MS,
    NINE,
    QUOTE,
    TIME_MS_MAX,
    U32,
    UNBRACE,
    UNBRACKET,
    ZERO,
    Array,
    byte_at,
    byte_text,
    part,
    symbol_hash,
    uncounted,
)
from connectors.binance.kernels.quick import quick_decimal, quick_integer, quick_skip, quick_string, starts_with
from schemas.events import FrameKind
from schemas.instruments import FNV_OFFSET, Venue
from schemas.trading import CLIENT_ID_LENGTH, AccountEvent, OrderState, ReportKind

ABSENT_FILLED = -1  # filled_e8 where the venue does not say it
POST, PUT, DELETE, GET = 1, 2, 4, 8  # bits of `flight`: requests about an order that are sent and not answered
ITEMS_MAX = 4  # balances of one account update
TEXT_MAX = 64  # of a report
REPORTS_OF_FRAME = 2

# Entries of `counters`, as the rule's state has them.
NEXT_ORDER, NEXT_TRADE, ASSETS = range(3)
# Words of an order, of an asset, of a raw row; the last of an order: instrument, side, flight.
O_ID, O_VENUE_ID, O_ACTUAL, O_DEADLINE, O_QUERY, O_LAST = range(6)
A_OPENED, A_TIME, A_BALANCE, A_AMOUNT, A_FUNDINGS, A_FORGOTTEN, A_LAST = range(7)
# Entries of `settings`.
SEED, ACCOUNT, CONNECTION_FIRST, SETTINGS = range(4)
# Entries of `counts`: how much was written.
N_REPORTS, N_TEXTS, N_UPDATES, COUNTS = range(4)

# What a frame says of one order.
(
    S_REPORT, S_ORDER, S_VENUE_ORDER, S_TRADE, S_PRICE, S_QUANTITY, S_FILLED, S_FEE, S_REALISED, S_INSTRUMENT,
    S_FEE_ASSET, S_SIDE, S_MAKER, S_STATE, S_TIME_NS, S_DEADLINE, S_QUERY, S_METHOD, S_ENDED, S_REASON, S_TOLD,
    S_ITEMS, SAID,
) = range(23)  # fmt: skip

# Keys of the objects, each kind in a range of its own; spans[key] is where its value lies.
_ANSWER = (
    "clientOrderId", "orderId", "symbol", "side", "status", "price", "origQty", "executedQty", "updateTime", "algoId",
)  # fmt: skip
_UPDATE = ("c", "i", "s", "S", "x", "z", "T", "t", "L", "l", "n", "N", "m", "rp", "p", "q", "er")
_BALANCE = ("a", "wb", "bc")
KEYS = _ANSWER + _UPDATE + _BALANCE
ANSWER_AT, UPDATE_AT, BALANCE_AT, KEYS_END = 0, len(_ANSWER), len(_ANSWER + _UPDATE), len(KEYS)
(R_CLIENT, R_ID, R_SYMBOL, R_SIDE, R_STATUS, R_PRICE, R_QUANTITY, R_FILLED, R_TIME, R_ALGO,
 U_CLIENT, U_ID, U_SYMBOL, U_SIDE, U_WHAT, U_FILLED, U_TIME, U_TRADE, U_LAST_PRICE, U_LAST_QUANTITY, U_FEE,
 U_FEE_ASSET, U_MAKER, U_REALISED, U_PRICE, U_QUANTITY, U_REASON,
 B_ASSET, B_WALLET, B_CHANGE) = range(len(KEYS))  # fmt: skip


def words_of(texts: tuple[str, ...]) -> tuple[Array, Array]:
    """Texts as rows of bytes, and their sizes."""
    sizes = np.array([len(text) for text in texts], dtype=np.int64)
    found = np.zeros((len(texts), int(sizes.max())), dtype=np.uint8)
    for row, text in zip(found, texts, strict=True):
        row[: len(text)] = np.frombuffer(text.encode(), dtype=np.uint8)
    return found, sizes


KEY_TEXT, KEY_SIZE = words_of(KEYS)
METHOD_TEXT, METHOD_SIZE = words_of(("POST", "PUT", "DELETE", "GET"))
METHOD_BIT = np.array([POST, PUT, DELETE, GET], dtype=np.int64)
METHOD_DONE = np.array(
    [ReportKind.ACKNOWLEDGED, ReportKind.AMENDED, ReportKind.CANCELLED, ReportKind.STATUS], dtype=np.int64
)
STATUS_TEXT, STATUS_SIZE = words_of(
    ("NEW", "FILLED", "CANCELED", "EXPIRED", "PARTIALLY_FILLED", "REJECTED", "EXPIRED_IN_MATCH")
)
STATUS_STATE = np.array(
    [
        OrderState.OPEN, OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED, OrderState.PARTIALLY_FILLED,
        OrderState.REJECTED, OrderState.EXPIRED,
    ],
    dtype=np.int64,
)  # fmt: skip
WHAT_TEXT, WHAT_SIZE = words_of(("NEW", "TRADE", "CANCELED", "EXPIRED", "AMENDMENT", "CALCULATED", "REJECTED"))
WHAT_REPORT = np.array(
    [
        ReportKind.ACKNOWLEDGED, ReportKind.FILL, ReportKind.CANCELLED, ReportKind.EXPIRED, ReportKind.AMENDED,
        ReportKind.FILL, ReportKind.REJECTED,
    ],
    dtype=np.int64,
)  # fmt: skip
EVENT_TEXT, EVENT_SIZE = words_of(("ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE", "TRADE_LITE"))
E_ORDER, E_MONEY, E_LITE = range(3)
PARAMETER_TEXT, PARAMETER_SIZE = words_of(
    ("symbol", "side", "newClientOrderId", "origClientOrderId", "clientAlgoId", "recvWindow", "timestamp")
)
P_SYMBOL, P_SIDE, P_NEW, P_ORIGINAL, P_ALGO, P_WINDOW, P_TIME, PARAMETERS = range(8)
PATH, BUY, SELL, BECAUSE_ORDER = byte_text(" /fapi/v1/order "), byte_text("BUY"), byte_text("SELL"), byte_text("ORDER")
WRAPPER, WRAPPER_DATA = byte_text('{"stream":"'), byte_text('","data":{')
PATH_SIZE, WRAPPER_SIZE, WRAPPER_DATA_SIZE = len(PATH), len(WRAPPER), len(WRAPPER_DATA)
# Bytes of a query that mean themselves.
IN_QUERY = np.array([chr(c) in "-._:/" or (c < 128 and chr(c).isalnum()) for c in range(256)], dtype=np.uint8)
BASE36 = np.full(256, -1, dtype=np.int64)
for _place, _digit in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"):
    BASE36[ord(_digit)] = _place

K_ACKNOWLEDGED, K_FILL, K_EXPIRED, K_SENT, K_STATUS = (
    int(ReportKind.ACKNOWLEDGED), int(ReportKind.FILL), int(ReportKind.EXPIRED), int(ReportKind.SENT),
    int(ReportKind.STATUS),
)  # fmt: skip
STATE_NEW, STATE_EXPIRED = int(OrderState.NEW), int(OrderState.EXPIRED)
F_OPEN, F_TEXT, F_REST, F_SILENT, F_SENT = (
    int(FrameKind.OPEN), int(FrameKind.TEXT), int(FrameKind.REST), int(FrameKind.SILENT), int(FrameKind.SENT),
)  # fmt: skip
THIS_VENUE, ADJUSTMENT, OK = int(Venue.BINANCE_USDM), int(AccountEvent.ADJUSTMENT), 200


# ---------------------------------------------------------------------------------------------------------
# Values.


@part
def joined(low: int, high: int) -> int:
    """Two u4 as one word; nothing overflows on the way, compiled or not."""
    return low + ((high - (1 << 32) if high >= 1 << 31 else high) << 32)


@uncounted
def word_between(buf: Array, start: int, stop: int, texts: Array, sizes: Array, first: int, last: int) -> int:
    """Which of the texts first..last stands at start..stop, or -1."""
    size = stop - start
    for k in range(first, last):
        if sizes[k] == size:
            same = True
            for n in range(size):
                if texts[k, n] != buf[np.uint64(start + n)]:
                    same = False
                    break
            if same:
                return k
    return -1


@uncounted
def word_of(buf: Array, start: int, stop: int, texts: Array, sizes: Array) -> int:
    """Which of the texts stands at start..stop, or -1."""
    return word_between(buf, start, stop, texts, sizes, 0, sizes.shape[0])


@uncounted
def our_order(buf: Array, start: int, stop: int) -> int:
    """Our id of the client id at start..stop; 0: not ours."""
    if stop - start != CLIENT_ID_LENGTH or byte_at(buf, start) != 83:
        return 0
    value = 0
    for i in range(start + 1, stop):
        place = BASE36[buf[np.uint64(i)]]
        if place < 0 or value > (I64_MAX - place) // 36:
            return 0
        value = value * 36 + place
    return value


@part
def text_at(buf: Array, spans: Array, key: int) -> bool:
    """Whether the value of this key is there and is a string."""
    return spans[key, 0] >= 0 and byte_at(buf, spans[key, 0]) == QUOTE


@uncounted
def decimal_at(buf: Array, spans: Array, key: int) -> tuple[int, bool]:
    """The decimal in quotes that is the value of this key, × 10^8, and whether there is one."""
    if not text_at(buf, spans, key):
        return 0, False
    i = spans[key, 0] + 1
    below = byte_at(buf, i) == MINUS
    value, stop = quick_decimal(buf, i + 1 if below else i)
    return -value if below else value, stop >= 0 and stop + 1 == spans[key, 1]


@uncounted
def integer_at(buf: Array, spans: Array, key: int) -> int:
    """The whole number that is the value of this key; -1 without."""
    if spans[key, 0] < 0:
        return -1
    value, stop = quick_integer(buf, spans[key, 0])
    return value if stop == spans[key, 1] else -1


@uncounted
def time_at(buf: Array, spans: Array, key: int) -> int:
    """A time in ms; -1 without, or where it does not fit as ns."""
    value = integer_at(buf, spans, key)
    return value if value <= TIME_MS_MAX else -1


@uncounted
def side_at(buf: Array, start: int, stop: int) -> int:
    """0 BUY, 1 SELL, -1."""
    if stop - start == 3 and starts_with(buf, start, BUY):
        return 0
    return 1 if stop - start == 4 and starts_with(buf, start, SELL) else -1


@uncounted
def ms_between(buf: Array, start: int, stop: int) -> int:
    """The digits start..stop as a time in ms; -1: something else, or it does not fit as ns."""
    if stop <= start or stop - start > 13:
        return -1
    value = 0
    for i in range(start, stop):
        c = byte_at(buf, i)
        if not ZERO <= c <= NINE:
            return -1
        value = value * 10 + c - ZERO
    return value if value <= TIME_MS_MAX else -1


# ---------------------------------------------------------------------------------------------------------
# What is known.


@uncounted
def find_last(ids: Array, used: int, wanted: int) -> int:
    """Place of an id that stands at most once in ids[:used]; -1. From the end on, as late ones are asked for most."""
    high = used
    while high > 0:
        low = max(high - 64, 0)
        found = False
        for k in range(low, high):
            found |= ids[k] == wanted
        if found:
            for k in range(low, high):
                if ids[k] == wanted:
                    return k
        high = low
    return -1


@uncounted
def stands_in(ids: Array, used: int, wanted: int) -> bool:
    found = False
    for k in range(used):
        found |= ids[k] == wanted
    return found


@uncounted
def learn(
    said: Array, sent: int, answered: int, orders: Array, order_ids: Array, venue_order_ids: Array, actual_ids: Array,
    counters: Array,
) -> None:  # fmt: skip
    """What `_learn` of the rule does for an order of ours."""
    lines = orders.shape[0]
    slot = find_last(order_ids, min(counters[NEXT_ORDER], lines), said[S_ORDER])
    if slot < 0:
        slot = counters[NEXT_ORDER] % lines
        counters[NEXT_ORDER] += 1
        for word in range(O_LAST):
            orders[slot, word] = 0
        orders[slot, O_ID] = said[S_ORDER]
        orders[slot, O_LAST] = said[S_SIDE] << 32
    if said[S_VENUE_ORDER] != 0:
        orders[slot, O_VENUE_ID] = said[S_VENUE_ORDER]
    last = orders[slot, O_LAST]
    instrument, side, flight = last & U32, (last >> 32) & 0xFF, (last >> 40) & 0xFF
    if said[S_INSTRUMENT] != 0:
        instrument = said[S_INSTRUMENT]
    order_ids[slot] = orders[slot, O_ID]
    venue_order_ids[slot] = orders[slot, O_VENUE_ID]
    actual_ids[slot] = orders[slot, O_ACTUAL]
    orders[slot, O_DEADLINE] = max(orders[slot, O_DEADLINE], said[S_DEADLINE])
    if sent == GET and (flight & GET) == 0:
        orders[slot, O_QUERY] = said[S_QUERY]
    flight = (flight | sent) & ~answered
    orders[slot, O_LAST] = instrument | (side << 32) | (flight << 40)


@uncounted
def learn_answered(order_id: int, answered: int, orders: Array, order_ids: Array, counters: Array) -> None:
    """A request about an order is no longer in flight."""
    slot = find_last(order_ids, min(counters[NEXT_ORDER], orders.shape[0]), order_id)
    if slot >= 0:
        orders[slot, O_LAST] &= ~(answered << 40)


@uncounted
def learn_trade(instrument: int, trade_id: int, trade_ids: Array, traded_in: Array, counters: Array) -> None:
    used = min(counters[NEXT_TRADE], trade_ids.shape[0])
    if stands_in(trade_ids, used, trade_id):
        for k in range(used):
            if trade_ids[k] == trade_id and traded_in[k] == instrument:
                return
    slot = counters[NEXT_TRADE] % trade_ids.shape[0]
    trade_ids[slot] = trade_id
    traded_in[slot] = instrument
    counters[NEXT_TRADE] += 1


@uncounted
def asset_slot(assets: Array, used: int, asset: int) -> int:
    for slot in range(used):
        if assets[slot, A_LAST] & U32 == asset:
            return slot
    return -1


# ---------------------------------------------------------------------------------------------------------
# Objects.


@uncounted
def walk(buf: Array, i: int, first: int, last: int, spans: Array) -> int:
    """From behind the brace of an object of simple values to behind its end, or -1.

    Notes in `spans` where the values of the keys first..last lie, -1 where there is none.
    """
    for key in range(first, last):
        spans[key, 0] = -1
    if byte_at(buf, i) == UNBRACE:
        return i + 1
    while True:
        if byte_at(buf, i) != QUOTE:
            return -1
        start = i + 1
        i = quick_string(buf, start)
        if i < 0 or byte_at(buf, i + 1) != COLON:
            return -1
        known = word_between(buf, start, i, KEY_TEXT, KEY_SIZE, first, last)
        start = i + 2
        i = quick_skip(buf, start)
        if i < 0:
            return -1
        if known >= 0:
            if spans[known, 0] >= 0:  # twice: the plain way knows which counts
                return -1
            spans[known, 0] = start
            spans[known, 1] = i
        c = byte_at(buf, i)
        if c == UNBRACE:
            return i + 1
        if c != COMMA:
            return -1
        i += 1


@uncounted
def read_order(
    buf: Array, spans: Array, client: int, number: int, symbol: int, side: int, seed: int, said: Array
) -> bool:
    """Who and what an order is: the keys are those of an answer or of an update."""
    if not (text_at(buf, spans, client) and text_at(buf, spans, symbol) and text_at(buf, spans, side)):
        return False
    said[S_ORDER] = our_order(buf, spans[client, 0] + 1, spans[client, 1] - 1)
    said[S_VENUE_ORDER] = integer_at(buf, spans, number)
    said[S_INSTRUMENT] = symbol_hash(buf, spans[symbol, 0] + 1, spans[symbol, 1] - 1, seed)
    said[S_SIDE] = side_at(buf, spans[side, 0] + 1, spans[side, 1] - 1)
    return bool(said[S_ORDER] > 0 and said[S_VENUE_ORDER] >= 0 and said[S_SIDE] >= 0)


@uncounted
def read_answer(buf: Array, at: int, end: int, method: int, seed: int, spans: Array, said: Array) -> bool:
    """The body of a 200 answer about one order."""
    if end - at < 2 or byte_at(buf, at) != BRACE or byte_at(buf, end - 1) != UNBRACE:
        return False
    if walk(buf, at + 1, ANSWER_AT, UPDATE_AT, spans) != end or spans[R_ALGO, 0] >= 0:
        return False
    if not read_order(buf, spans, R_CLIENT, R_ID, R_SYMBOL, R_SIDE, seed, said) or not text_at(buf, spans, R_STATUS):
        return False
    state = word_of(buf, spans[R_STATUS, 0] + 1, spans[R_STATUS, 1] - 1, STATUS_TEXT, STATUS_SIZE)
    time_ms = time_at(buf, spans, R_TIME)
    said[S_PRICE], is_price = decimal_at(buf, spans, R_PRICE)
    said[S_QUANTITY], is_quantity = decimal_at(buf, spans, R_QUANTITY)
    said[S_FILLED], is_filled = decimal_at(buf, spans, R_FILLED)
    if state < 0 or time_ms < 0 or not (is_price and is_quantity and is_filled):
        return False
    if said[S_PRICE] < 0 or said[S_QUANTITY] < 0 or said[S_FILLED] < 0:
        return False
    said[S_REPORT] = METHOD_DONE[method]
    said[S_STATE] = STATUS_STATE[state] if said[S_REPORT] == K_STATUS else STATE_NEW
    said[S_ENDED] = 1 if STATUS_STATE[state] == STATE_EXPIRED and said[S_REPORT] == K_ACKNOWLEDGED else 0
    said[S_TIME_NS] = time_ms * MS
    said[S_TOLD] = 1
    return True


@uncounted
def read_update(buf: Array, i: int, seed: int, spans: Array, said: Array) -> int:
    """The order of an ORDER_TRADE_UPDATE, from behind its brace: index after it, or -1. S_TIME_NS is in ms here."""
    i = walk(buf, i, UPDATE_AT, BALANCE_AT, spans)
    if i < 0 or not read_order(buf, spans, U_CLIENT, U_ID, U_SYMBOL, U_SIDE, seed, said):
        return -1
    if not text_at(buf, spans, U_WHAT):
        return -1
    what = word_of(buf, spans[U_WHAT, 0] + 1, spans[U_WHAT, 1] - 1, WHAT_TEXT, WHAT_SIZE)
    said[S_TIME_NS] = time_at(buf, spans, U_TIME)
    said[S_FILLED], is_filled = decimal_at(buf, spans, U_FILLED)
    if what < 0 or said[S_TIME_NS] < 0 or not is_filled or said[S_FILLED] < 0:
        return -1
    said[S_REPORT] = WHAT_REPORT[what]
    said[S_TOLD] = 1
    if said[S_REPORT] == K_FILL:
        return i if read_fill(buf, spans, said) else -1
    said[S_PRICE], is_price = decimal_at(buf, spans, U_PRICE)
    said[S_QUANTITY], is_quantity = decimal_at(buf, spans, U_QUANTITY)
    if not (is_price and is_quantity) or said[S_PRICE] < 0 or said[S_QUANTITY] < 0:
        return -1
    if said[S_REPORT] == K_EXPIRED:
        if not text_at(buf, spans, U_REASON) or spans[U_REASON, 1] - spans[U_REASON, 0] != 3:
            return -1
        said[S_REASON] = byte_at(buf, spans[U_REASON, 0] + 1) - ZERO
        if not 0 <= said[S_REASON] <= 9:
            return -1
    return i


@uncounted
def read_fill(buf: Array, spans: Array, said: Array) -> bool:
    """What an ORDER_TRADE_UPDATE says of an execution."""
    said[S_TRADE] = integer_at(buf, spans, U_TRADE)
    said[S_PRICE], is_price = decimal_at(buf, spans, U_LAST_PRICE)
    said[S_QUANTITY], is_quantity = decimal_at(buf, spans, U_LAST_QUANTITY)
    said[S_FEE], is_fee = decimal_at(buf, spans, U_FEE)
    said[S_REALISED], is_realised = decimal_at(buf, spans, U_REALISED)
    if not (is_price and is_quantity and is_fee and is_realised and text_at(buf, spans, U_FEE_ASSET)):
        return False
    if said[S_TRADE] < 0 or said[S_PRICE] < 1 or said[S_QUANTITY] < 1 or spans[U_MAKER, 0] < 0:
        return False
    flag = byte_at(buf, spans[U_MAKER, 0])
    said[S_MAKER] = 1 if flag == 116 else 0
    said[S_FEE_ASSET] = symbol_hash(buf, spans[U_FEE_ASSET, 0] + 1, spans[U_FEE_ASSET, 1] - 1, FNV_OFFSET)
    return flag == 116 or flag == 102


@uncounted
def read_money(buf: Array, i: int, end: int, spans: Array, items: Array, said: Array) -> int:
    """The account of an ACCOUNT_UPDATE for ORDER, from behind its brace: index after it, or -1."""
    balances, because = False, False
    while True:
        if byte_at(buf, i) != QUOTE:
            return -1
        key = byte_at(buf, i + 1)
        if key == UNBRACE or byte_at(buf, i + 2) != QUOTE or byte_at(buf, i + 3) != COLON:
            return -1
        i += 4
        if key == 66 and not balances:  # B
            i = read_balances(buf, i, end, spans, items, said)
            balances = True
        elif key == 80:  # P: what is held follows from fills
            i = skip_objects(buf, i, end, spans)
        elif key == 109 and not because:  # m
            if byte_at(buf, i) != QUOTE or not starts_with(buf, i + 1, BECAUSE_ORDER) or byte_at(buf, i + 6) != QUOTE:
                return -1
            i += 7
            because = True
        else:
            return -1
        if i < 0:
            return -1
        c = byte_at(buf, i)
        if c == UNBRACE:
            return i + 1 if balances and because else -1
        if c != COMMA:
            return -1
        i += 1


@uncounted
def skip_objects(buf: Array, i: int, end: int, spans: Array) -> int:
    """Index after the array of objects of simple values at i, or -1."""
    if byte_at(buf, i) != BRACKET:
        return -1
    i += 1
    if byte_at(buf, i) == UNBRACKET:
        return i + 1
    while True:
        if byte_at(buf, i) != BRACE:
            return -1
        i = walk(buf, i + 1, KEYS_END, KEYS_END, spans)
        if i < 0 or i >= end:  # an object too many was closed by the last byte
            return -1
        c = byte_at(buf, i)
        if c == UNBRACKET:
            return i + 1
        if c != COMMA:
            return -1
        i += 1


@uncounted
def read_balances(buf: Array, i: int, end: int, spans: Array, items: Array, said: Array) -> int:
    """The array of balances at i into `items` (asset, balance, change): index after it, or -1."""
    if byte_at(buf, i) != BRACKET:
        return -1
    i += 1
    count = 0
    if byte_at(buf, i) == UNBRACKET:
        said[S_ITEMS] = 0
        return i + 1
    while True:
        if byte_at(buf, i) != BRACE or count >= items.shape[0]:
            return -1
        i = walk(buf, i + 1, BALANCE_AT, KEYS_END, spans)
        if i < 0 or i >= end or not text_at(buf, spans, B_ASSET):
            return -1
        asset = symbol_hash(buf, spans[B_ASSET, 0] + 1, spans[B_ASSET, 1] - 1, FNV_OFFSET)
        items[count, 1], is_balance = decimal_at(buf, spans, B_WALLET)
        items[count, 2], is_change = decimal_at(buf, spans, B_CHANGE)
        if not (is_balance and is_change):
            return -1
        for k in range(count):
            if items[k, 0] == asset:  # twice in one frame: the plain way knows what that means
                return -1
        items[count, 0] = asset
        count += 1
        c = byte_at(buf, i)
        if c == UNBRACKET:
            said[S_ITEMS] = count
            return i + 1
        if c != COMMA:
            return -1
        i += 1


@uncounted
def read_stream(buf: Array, at: int, end: int, seed: int, spans: Array, items: Array, said: Array) -> bool:
    """One event of the user stream."""
    if end - at < 2 or byte_at(buf, at) != BRACE or byte_at(buf, end - 1) != UNBRACE:
        return False
    i = at + 1
    wrapped = starts_with(buf, at, WRAPPER)
    if wrapped:
        i = quick_string(buf, at + WRAPPER_SIZE)
        if i < 0 or not starts_with(buf, i, WRAPPER_DATA):
            return False
        i += WRAPPER_DATA_SIZE
    event, time_ms, inside = -1, -1, False
    while True:
        if byte_at(buf, i) != QUOTE:
            return False
        start = i + 1
        i = quick_string(buf, start)
        # A longer key could mean something on the top level.
        if i < 0 or i - start < 1 or i - start > 2 or byte_at(buf, i + 1) != COLON:
            return False
        key = byte_at(buf, start) if i - start == 1 else 0
        i += 2
        c = byte_at(buf, i)
        if key == 101:  # e
            if event >= 0 or c != QUOTE:
                return False
            start = i + 1
            i = quick_string(buf, start)
            if i < 0:
                return False
            event = word_of(buf, start, i, EVENT_TEXT, EVENT_SIZE)
            if event < 0:
                return False
            i += 1
        elif key == 84 and event != E_LITE:  # T
            if time_ms >= 0:
                return False
            time_ms, i = quick_integer(buf, i)
            if i < 0 or time_ms > TIME_MS_MAX:
                return False
        elif key == 111 or key == 97:  # o, a
            if c != BRACE or inside or event != (E_ORDER if key == 111 else E_MONEY):
                return False
            inside = True
            if key == 111:
                i = read_update(buf, i + 1, seed, spans, said)
            else:
                i = read_money(buf, i + 1, end, spans, items, said)
        else:
            i = quick_skip(buf, i)
        if i < 0 or i >= end:
            return False
        c = byte_at(buf, i)
        if c == UNBRACE:
            break
        if c != COMMA:
            return False
        i += 1
    if i + 1 + (1 if wrapped else 0) != end or event < 0:
        return False
    if event == E_LITE:
        return True
    if time_ms < 0 or not inside:
        return False
    if event == E_MONEY or said[S_TIME_NS] == 0:
        said[S_TIME_NS] = time_ms
    said[S_TIME_NS] *= MS
    return True


@uncounted
def parameters(buf: Array, at: int, end: int, places: Array) -> bool:
    """Note where the values of the query at..end lie that are known; False: something in it is not plain."""
    for k in range(PARAMETERS):
        places[k, 0] = -1
    i = at
    while True:
        start = i
        while i < end and IN_QUERY[buf[np.uint64(i)]] != 0:
            i += 1
        if i == start or i >= end or byte_at(buf, i) != 61:
            return False
        known = word_of(buf, start, i, PARAMETER_TEXT, PARAMETER_SIZE)
        i += 1
        start = i
        while i < end and IN_QUERY[buf[np.uint64(i)]] != 0:
            i += 1
        if known >= 0:
            if places[known, 0] >= 0:
                return False
            places[known, 0] = start
            places[known, 1] = i
        if i == end:
            return True
        if byte_at(buf, i) != 38:
            return False
        i += 1


@uncounted
def read_sent(
    buf: Array, at: int, end: int, method: int, seed: int, orders: Array, order_ids: Array, counters: Array,
    places: Array, said: Array,
) -> bool:  # fmt: skip
    """The attempt of a request about one of our orders."""
    i = at
    while i < end and byte_at(buf, i) != 63:
        if not 32 <= byte_at(buf, i) < 127:
            return False
        i += 1
    if i >= end or not parameters(buf, i + 1, end, places) or places[P_ALGO, 0] >= 0:
        return False
    named = P_NEW if places[P_NEW, 0] >= 0 else P_ORIGINAL
    if places[named, 0] < 0 or places[P_TIME, 0] < 0 or places[P_WINDOW, 0] < 0:
        return False
    said[S_ORDER] = our_order(buf, places[named, 0], places[named, 1])
    sent_ms = ms_between(buf, places[P_TIME, 0], places[P_TIME, 1])
    window_ms = ms_between(buf, places[P_WINDOW, 0], places[P_WINDOW, 1])
    if said[S_ORDER] <= 0 or sent_ms < 0 or window_ms < 0:
        return False
    slot = find_last(order_ids, min(counters[NEXT_ORDER], orders.shape[0]), said[S_ORDER])
    last = orders[slot, O_LAST] if slot >= 0 else 0
    said[S_INSTRUMENT], said[S_SIDE] = last & U32, (last >> 32) & 0xFF
    if places[P_SYMBOL, 0] >= 0:
        said[S_INSTRUMENT] = symbol_hash(buf, places[P_SYMBOL, 0], places[P_SYMBOL, 1], seed)
    if places[P_SIDE, 0] >= 0:
        said[S_SIDE] = side_at(buf, places[P_SIDE, 0], places[P_SIDE, 1])
        if said[S_SIDE] < 0:
            return False
    bit = METHOD_BIT[method]
    said[S_QUERY] = sent_ms
    said[S_DEADLINE] = sent_ms + window_ms if bit == POST else 0
    said[S_REPORT], said[S_FILLED], said[S_TIME_NS] = K_SENT, ABSENT_FILLED, sent_ms * MS
    said[S_TOLD] = 1 if bit == POST else 0
    return True


@uncounted
def method_of(buf: Array, at: int, end: int) -> int:
    """Index of the method of a request about a normal order of ours; -1: another one."""
    size = end - at - PATH_SIZE - CLIENT_ID_LENGTH
    if size < 3 or size > 6:
        return -1
    method = word_of(buf, at, at + size, METHOD_TEXT, METHOD_SIZE)
    if method < 0 or not starts_with(buf, at + size, PATH) or our_order(buf, end - CLIENT_ID_LENGTH, end) == 0:
        return -1
    return method


# ---------------------------------------------------------------------------------------------------------
# Rows.


@uncounted
def put_report(
    reports: Array, texts: Array, counts: Array, said: Array, report: int, recv_ns: int, cause_row: int, account: int,
    reason_texts: Array, reason_sizes: Array,
) -> None:  # fmt: skip
    """One VENUE_REPORT row, and its text behind those before."""
    n, at = counts[N_REPORTS], counts[N_TEXTS]
    size = reason_sizes[said[S_REASON]]
    for k in range(size):
        texts[at + k] = reason_texts[said[S_REASON], k]
    row = reports[n]
    row[0], row[1], row[2], row[3] = said[S_TIME_NS], recv_ns, said[S_ORDER], said[S_VENUE_ORDER]
    row[4], row[5], row[6], row[7] = said[S_TRADE], said[S_PRICE], said[S_QUANTITY], said[S_FILLED]
    row[8], row[9], row[10], row[11] = said[S_FEE], said[S_REALISED], joined(at, size), cause_row
    row[12], row[13] = joined(said[S_INSTRUMENT], account), joined(0, said[S_FEE_ASSET])
    row[14] = (report << 32) | (said[S_SIDE] << 40) | (said[S_STATE] << 48) | (said[S_MAKER] << 56)
    counts[N_REPORTS] = n + 1
    counts[N_TEXTS] = at + size


@uncounted
def put_balances(
    updates: Array, counts: Array, said: Array, items: Array, recv_ns: int, cause_row: int, account: int,
    assets: Array, counters: Array,
) -> bool:  # fmt: skip
    """ACCOUNT_UPDATE rows of the items that are news, and what they change; False: there is no room for an asset."""
    used = counters[ASSETS]
    new = 0
    for k in range(said[S_ITEMS]):
        if asset_slot(assets, used, items[k, 0]) < 0:
            new += 1
    if used + new > assets.shape[0]:
        return False
    time_ms = said[S_TIME_NS] // MS
    for k in range(said[S_ITEMS]):
        asset, balance, amount = items[k, 0], items[k, 1], items[k, 2]
        slot = asset_slot(assets, used, asset)
        if slot >= 0:
            same = time_ms == assets[slot, A_TIME] and balance == assets[slot, A_BALANCE]
            if time_ms > 0 and same and amount == assets[slot, A_AMOUNT]:
                continue  # said twice: while a socket is renewed two of them say the same
        else:
            slot = counters[ASSETS]
            counters[ASSETS] += 1
            assets[slot, A_OPENED] = 0
            assets[slot, A_LAST] = joined(asset, 1)
        assets[slot, A_TIME], assets[slot, A_BALANCE], assets[slot, A_AMOUNT] = time_ms, balance, amount
        row = updates[counts[N_UPDATES]]
        row[0], row[1], row[2], row[3], row[4], row[5] = said[S_TIME_NS], recv_ns, 0, balance, 0, cause_row
        row[6], row[7], row[8] = joined(0, account), joined(0, asset), ADJUSTMENT
        counts[N_UPDATES] += 1
    return True


@uncounted
def read_frames(
    frames: Array, heap: Array, start: int, row_first: int, settings: Array, reason_texts: Array, reason_sizes: Array,
    orders: Array, order_ids: Array, venue_order_ids: Array, actual_ids: Array, trade_ids: Array, traded_in: Array,
    assets: Array, counters: Array, reports: Array, texts: Array, updates: Array, counts: Array, spans: Array,
    items: Array, said: Array,
) -> int:  # fmt: skip
    """Read frames from `start` on, up to the first that is not a usual one. Returns its index.

    Args:
        frames: RAW_FRAME rows as int64[rows, 5]; heap: what they point into.
        settings: see SEED; reason_texts, reason_sizes: by reason of an expiry, what the report says.
        orders, …, counters: the rule's state; orders int64[lines, 6], assets int64[lines, 7].
        reports, updates: rows as int64[frames × REPORTS_OF_FRAME, 15] and int64[frames × ITEMS_MAX, 9], written from
            counts[N_REPORTS] and counts[N_UPDATES] on; texts: uint8[frames × TEXT_MAX].
        spans: int64[keys, 2], items: int64[ITEMS_MAX, 3], said: int64[SAID]: scratch.
    """
    seed, account = settings[SEED], settings[ACCOUNT]
    for at in range(start, frames.shape[0]):
        recv_ns, last = frames[at, 0], frames[at, 4]
        kind, venue = (last >> 32) & 0xFF, (last >> 40) & 0xFF
        if venue != THIS_VENUE or frames[at, 3] & U32 < settings[CONNECTION_FIRST]:
            continue
        if kind in (F_OPEN, F_SILENT):
            continue
        payload, size = frames[at, 2] & U32, (frames[at, 2] >> 32) & U32
        request, request_size = frames[at, 1] & U32, (frames[at, 1] >> 32) & U32
        if payload + size > heap.shape[0] or request + request_size > heap.shape[0]:
            return at
        for k in range(SAID):
            said[k] = 0
        sent, answered, about = 0, 0, 0
        if kind == F_TEXT:
            if not read_stream(heap, payload, payload + size, seed, spans, items, said):
                return at
        elif kind in (F_SENT, F_REST):
            method = method_of(heap, request, request + request_size)
            if method < 0:
                return at
            if kind == F_SENT:
                if not read_sent(heap, payload, payload + size, method, seed, orders, order_ids, counters, spans, said):
                    return at
                sent = METHOD_BIT[method]
            else:
                if last & U32 != OK or not read_answer(heap, payload, payload + size, method, seed, spans, said):
                    return at
                answered = METHOD_BIT[method]
                about = our_order(heap, request + request_size - CLIENT_ID_LENGTH, request + request_size)
        else:
            return at
        cause_row = row_first + at
        if said[S_ITEMS] > 0:
            if not put_balances(updates, counts, said, items, recv_ns, cause_row, account, assets, counters):
                return at
            continue
        if said[S_ORDER] == 0:
            continue
        used = min(counters[NEXT_ORDER], actual_ids.shape[0])
        if said[S_VENUE_ORDER] != 0 and stands_in(actual_ids, used, said[S_VENUE_ORDER]):
            return at  # it was a conditional order
        if said[S_TOLD] != 0:
            put_report(
                reports, texts, counts, said, said[S_REPORT], recv_ns, cause_row, account, reason_texts, reason_sizes
            )
            if said[S_ENDED] != 0:
                put_report(
                    reports, texts, counts, said, K_EXPIRED, recv_ns, cause_row, account, reason_texts, reason_sizes
                )
        learn(said, sent, 0, orders, order_ids, venue_order_ids, actual_ids, counters)
        if answered != 0:
            learn_answered(about, answered, orders, order_ids, counters)
        if said[S_REPORT] == K_FILL and said[S_TOLD] != 0:
            learn_trade(said[S_INSTRUMENT], said[S_TRADE], trade_ids, traded_in, counters)
    return I64(frames.shape[0])
