"""The strict way through a message: whatever it is, either its content or what is wrong with it.

The object is walked once to validate it and to note where the values of known keys lie (`spans`, int64
[keys, 2]; of a repeated key the last counts). Then the fields that its kind needs are read, in a fixed order,
so that of several faults always the same one is named.
"""

from __future__ import annotations

from connectors.binance.kernels.json_reader import skip_key, skip_space, skip_string, skip_value, unescape
from connectors.binance.kernels.layout import (
    BAD_DECIMAL,
    BAD_FIELD,
    BRACE,
    BRACKET,
    COMMA,
    CONTROL,
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
    F_FIRST,
    F_ID,
    F_INSTRUMENT,
    F_OFF_BOOK,
    F_PREVIOUS,
    F_PRICE,
    F_QUANTITY,
    F_SELL,
    F_TIME_NS,
    I64,
    I64_MAX,
    K_ASK,
    K_ASK_QUANTITY,
    K_ASKS,
    K_BID,
    K_BID_QUANTITY,
    K_BIDS,
    K_CODE,
    K_DATA,
    K_ERROR,
    K_EVENT,
    K_EXECUTION,
    K_FIRST,
    K_ID,
    K_LAST,
    K_PREVIOUS,
    K_PRICE,
    K_QUANTITY,
    K_RESULT,
    K_SELL,
    K_SNAPSHOT,
    K_SYMBOL,
    K_TIME,
    K_TRADE,
    K_TRADE_TIME,
    KEY_BYTES_MAX,
    KEY_SIZES,
    KEY_TEXT,
    MANY_DECIMALS,
    MANY_LEVELS,
    MINUS,
    MS,
    NAME_DEPTH,
    NAME_MARKET,
    NAME_SHUTDOWN,
    NAME_TICKER,
    NAME_TRADE,
    NINE,
    NOT_JSON,
    NOT_OBJECT,
    OUT_OF_RANGE,
    POWER_8_LESS,
    QUOTE,
    SNAPSHOT,
    TEXT_BYTES_MAX,
    TICKER,
    TIME_MS_MAX,
    TRADE,
    UNBRACE,
    UNBRACKET,
    UNKNOWN_EVENT,
    ZERO,
    Array,
    fault,
    symbol_hash,
    ticker_fault,
    uncounted,
)


@uncounted
def read_text(buf: Array, start: int, stop: int, text: Array) -> int:
    """The JSON string at start..stop (quotes included) into `text`; its size, or -1 when it is longer than any text
    that means something (an escape spells a byte with at most six)."""
    if stop - start - 2 > 6 * TEXT_BYTES_MAX:
        return -1
    size = unescape(buf, start + 1, stop - 1, text)
    return size if size <= TEXT_BYTES_MAX else -1


@uncounted
def match_key(text: Array, size: int) -> int:
    """Number of the key, or -1."""
    if size < 1 or size > KEY_BYTES_MAX:
        return -1
    for key in range(KEY_SIZES.shape[0]):
        if KEY_SIZES[key] == size:
            same = True
            for k in range(size):
                if KEY_TEXT[key, k] != text[k]:
                    same = False
                    break
            if same:
                return key
    return -1


@uncounted
def key_at(buf: Array, start: int, stop: int, text: Array) -> int:
    """Number of the key whose string spans start..stop (quotes included), or -1."""
    return match_key(text, read_text(buf, start, stop, text))


@uncounted
def index_object(buf: Array, i: int, end: int, depth: int, spans: Array, text: Array) -> int:
    """Walk the object at i; record where the values of known keys lie.

    Args:
        depth: containers open around it.
        spans: int64 [keys, 2], filled with start and stop, -1 where the key is absent; a repeated key's last counts.

    Returns:
        Index after the object, or -1 when it is not valid.
    """
    spans[:, :] = -1
    i = skip_space(buf, i + 1, end)
    if i < end and buf[i] == UNBRACE:
        return i + 1
    while True:
        start = skip_space(buf, i, end)
        value = skip_key(buf, start, end)
        if value < 0:
            return -1
        key = key_at(buf, start, skip_string(buf, start, end), text)
        i = skip_value(buf, value, end, depth + 1)
        if i < 0:
            return -1
        if key >= 0:
            spans[key, 0] = value
            spans[key, 1] = i
        i = skip_space(buf, i, end)
        if i >= end:
            return -1
        if buf[i] == UNBRACE:
            return i + 1
        if buf[i] != COMMA:
            return -1
        i += 1


@uncounted
def parse_decimal(text: Array, start: int, stop: int) -> tuple[int, int]:
    """(value × 10^8, 0) of the decimal text, or (0, fault): BAD_DECIMAL, MANY_DECIMALS, OUT_OF_RANGE.

    `-?digits[.digits]`; digits after the eighth decimal must be zeros; the value must not be negative.
    """
    i = start
    negative = i < stop and text[i] == MINUS
    if negative:
        i += 1
    value, whole, decimals = 0, 0, -1
    overflow, lost = False, False
    while i < stop:
        c = I64(text[i])
        i += 1
        if c == DOT and decimals < 0 and whole > 0:
            decimals = 0
            continue
        if c < ZERO or c > NINE:
            return 0, BAD_DECIMAL
        if decimals >= 8:
            lost = lost or c != ZERO
            decimals += 1
            continue
        if value > (I64_MAX - (c - ZERO)) // 10:
            overflow = True
            value = 0
        value = value * 10 + (c - ZERO)
        if decimals < 0:
            whole += 1
        else:
            decimals += 1
    if whole == 0 or decimals == 0:
        return 0, BAD_DECIMAL
    if lost:
        return 0, MANY_DECIMALS
    factor = POWER_8_LESS[min(max(decimals, 0), 8)]
    if overflow or value > I64_MAX // factor or (negative and value > 0):
        return 0, OUT_OF_RANGE
    return value * factor, 0


@uncounted
def decimal_at(buf: Array, start: int, stop: int, text: Array) -> tuple[int, int]:
    """`parse_decimal` of the JSON value at start..stop, which must be a string (else BAD_FIELD)."""
    if start < 0 or buf[start] != QUOTE:
        return 0, BAD_FIELD
    return parse_decimal(text, 0, read_text(buf, start, stop, text))


@uncounted
def integer_at(buf: Array, start: int, stop: int, most: int) -> tuple[int, int]:
    """(value, 0) of the JSON integer at start..stop, or (0, fault): BAD_FIELD when it is none or does not fit an
    int64, OUT_OF_RANGE outside 0..most."""
    if start < 0 or not (buf[start] == MINUS or ZERO <= buf[start] <= NINE):
        return 0, BAD_FIELD
    negative = buf[start] == MINUS
    value = 0
    for i in range(start + (1 if negative else 0), stop):
        c = I64(buf[i])
        if c < ZERO or c > NINE or value > (I64_MAX - (c - ZERO)) // 10:
            # The smallest int64 has no positive twin; out of range either way.
            lowest = negative and value == I64_MAX // 10 and c == 56 and i == stop - 1
            return 0, OUT_OF_RANGE if lowest else BAD_FIELD
        value = value * 10 + (c - ZERO)
    if value > most or (negative and value > 0):
        return 0, OUT_OF_RANGE
    return value, 0


@uncounted
def symbol_at(buf: Array, start: int, stop: int, seed: int, text: Array) -> tuple[int, int]:
    """(instrument id, 0) of the JSON string at start..stop, or (0, fault)."""
    if start < 0 or buf[start] != QUOTE:
        return 0, BAD_FIELD
    size = read_text(buf, start, stop, text)
    if size < 1:
        return 0, OUT_OF_RANGE
    return symbol_hash(text, 0, size, seed), 0


@uncounted
def string_is(buf: Array, start: int, stop: int, wanted: Array, text: Array) -> bool:
    """Whether the JSON string at start..stop reads as `wanted`."""
    size = read_text(buf, start, stop, text)
    if size != wanted.shape[0]:
        return False
    for k in range(size):  # noqa: SIM110
        if text[k] != wanted[k]:
            return False
    return True


@uncounted
def next_item(buf: Array, i: int, end: int) -> int:
    """From after an item of a valid array to the next one; -1 at the array's end."""
    i = skip_space(buf, i, end)
    return skip_space(buf, i + 1, end) if buf[i] == COMMA else -1


@uncounted
def first_item(buf: Array, i: int, end: int) -> int:
    """From a valid array's bracket to its first item; -1 when it is empty."""
    i = skip_space(buf, i + 1, end)
    return -1 if buf[i] == UNBRACKET else i


@uncounted
def levels_at(buf: Array, start: int, stop: int, levels: Array, at: int, text: Array) -> tuple[int, int]:
    """(count, 0) of the levels in the valid JSON array at start..stop, written from row `at` on; or (0, fault).

    A level is `[price, quantity, …]`: strings; more items are ignored. The price is above zero.
    """
    if start < 0 or buf[start] != BRACKET:
        return 0, BAD_FIELD
    n = at
    item = first_item(buf, start, stop)
    while item >= 0:
        if buf[item] != BRACKET:
            return 0, BAD_FIELD
        item_end = skip_value(buf, item, stop, 0)
        price_at = first_item(buf, item, stop)
        if price_at < 0:
            return 0, BAD_FIELD
        price_end = skip_value(buf, price_at, stop, 0)
        quantity_at = next_item(buf, price_end, stop)
        if quantity_at < 0:
            return 0, BAD_FIELD
        price, wrong = decimal_at(buf, price_at, price_end, text)
        if wrong == 0 and price == 0:
            wrong = OUT_OF_RANGE
        if wrong != 0:
            return 0, wrong
        quantity, wrong = decimal_at(buf, quantity_at, skip_value(buf, quantity_at, stop, 0), text)
        if wrong != 0:
            return 0, wrong
        if n >= levels.shape[0]:
            return 0, MANY_LEVELS
        levels[n, 0] = price
        levels[n, 1] = quantity
        n += 1
        item = next_item(buf, item_end, stop)
    return n - at, 0


@uncounted
def time_at(buf: Array, spans: Array) -> tuple[int, int]:
    """(venue time in ns, 0): T where there is one, else E; BAD_FIELD when there is neither."""
    key = K_TRADE_TIME if spans[K_TRADE_TIME, 0] >= 0 else K_TIME
    value, wrong = integer_at(buf, spans[key, 0], spans[key, 1], TIME_MS_MAX)
    if wrong == 0 and value == 0:
        wrong = OUT_OF_RANGE
    return value * MS, wrong


@uncounted
def take_symbol(buf: Array, spans: Array, seed: int, fields: Array, text: Array) -> int:
    """The symbol into its field; 0 or a fault."""
    fields[F_INSTRUMENT], wrong = symbol_at(buf, spans[K_SYMBOL, 0], spans[K_SYMBOL, 1], seed, text)
    return fault(wrong, K_SYMBOL) if wrong != 0 else 0


@uncounted
def take_integer(buf: Array, spans: Array, key: int, field: int, fields: Array) -> int:
    """An id into its field; 0 or a fault."""
    fields[field], wrong = integer_at(buf, spans[key, 0], spans[key, 1], I64_MAX)
    return fault(wrong, key) if wrong != 0 else 0


@uncounted
def take_decimal(buf: Array, spans: Array, key: int, field: int, fields: Array, least: int, text: Array) -> int:
    """A price or quantity of at least `least` into its field; 0 or a fault."""
    fields[field], wrong = decimal_at(buf, spans[key, 0], spans[key, 1], text)
    if wrong == 0 and fields[field] < least:
        wrong = OUT_OF_RANGE
    return fault(wrong, key) if wrong != 0 else 0


@uncounted
def take_time(buf: Array, spans: Array, fields: Array) -> int:
    fields[F_TIME_NS], wrong = time_at(buf, spans)
    return fault(wrong, K_TIME) if wrong != 0 else 0


@uncounted
def take_levels(
    buf: Array,
    spans: Array,
    key: int,
    at_field: int,
    count_field: int,
    fields: Array,
    levels: Array,
    at: int,
    text: Array,
) -> int:
    """A side's levels, from row `at` on; 0 or a fault."""
    fields[at_field] = at
    fields[count_field], wrong = levels_at(buf, spans[key, 0], spans[key, 1], levels, at, text)
    return fault(wrong, key) if wrong != 0 else 0


@uncounted
def read_trade(buf: Array, spans: Array, seed: int, fields: Array, text: Array) -> int:
    wrong = take_symbol(buf, spans, seed, fields, text)
    if wrong == 0:
        wrong = take_integer(buf, spans, K_TRADE, F_ID, fields)
    if wrong == 0:
        wrong = take_decimal(buf, spans, K_PRICE, F_PRICE, fields, 1, text)
    if wrong == 0:
        wrong = take_decimal(buf, spans, K_QUANTITY, F_QUANTITY, fields, 1, text)
    if wrong == 0:
        wrong = take_time(buf, spans, fields)
    if wrong != 0:
        return wrong
    maker = spans[K_SELL, 0]
    if maker < 0 or not (buf[maker] == 116 or buf[maker] == 102):
        return fault(BAD_FIELD, K_SELL)
    fields[F_SELL] = 1 if buf[maker] == 116 else 0
    fields[F_OFF_BOOK] = 0
    execution = spans[K_EXECUTION, 0]
    if execution >= 0:
        if buf[execution] != QUOTE:
            return fault(BAD_FIELD, K_EXECUTION)
        fields[F_OFF_BOOK] = 0 if string_is(buf, execution, spans[K_EXECUTION, 1], NAME_MARKET, text) else 1
    return TRADE


@uncounted
def read_depth(buf: Array, spans: Array, seed: int, futures: bool, fields: Array, levels: Array, text: Array) -> int:
    wrong = take_symbol(buf, spans, seed, fields, text)
    if wrong == 0:
        wrong = take_integer(buf, spans, K_FIRST, F_FIRST, fields)
    if wrong == 0:
        wrong = take_integer(buf, spans, K_LAST, F_ID, fields)
    fields[F_PREVIOUS] = 0
    if wrong == 0 and futures:
        wrong = take_integer(buf, spans, K_PREVIOUS, F_PREVIOUS, fields)
    if wrong == 0:
        wrong = take_time(buf, spans, fields)
    if wrong == 0:
        wrong = take_levels(buf, spans, K_BID, F_BID_AT, F_BIDS, fields, levels, 0, text)
    if wrong == 0:
        wrong = take_levels(buf, spans, K_ASK, F_ASK_AT, F_ASKS, fields, levels, fields[F_BIDS], text)
    if wrong == 0 and fields[F_ID] < fields[F_FIRST]:
        wrong = fault(OUT_OF_RANGE, K_LAST)
    return wrong if wrong != 0 else DEPTH


@uncounted
def read_ticker(buf: Array, spans: Array, seed: int, fields: Array, text: Array) -> int:
    wrong = take_symbol(buf, spans, seed, fields, text)
    if wrong == 0:
        wrong = take_integer(buf, spans, K_LAST, F_ID, fields)
    if wrong == 0:
        wrong = take_decimal(buf, spans, K_BID, F_BID, fields, 0, text)
    if wrong == 0:
        wrong = take_decimal(buf, spans, K_BID_QUANTITY, F_BID_QUANTITY, fields, 0, text)
    if wrong == 0:
        wrong = take_decimal(buf, spans, K_ASK, F_ASK, fields, 0, text)
    if wrong == 0:
        wrong = take_decimal(buf, spans, K_ASK_QUANTITY, F_ASK_QUANTITY, fields, 0, text)
    fields[F_TIME_NS] = 0
    if wrong == 0 and (spans[K_TIME, 0] >= 0 or spans[K_TRADE_TIME, 0] >= 0):
        wrong = take_time(buf, spans, fields)
    if wrong == 0:
        wrong = ticker_fault(fields)
    return wrong if wrong != 0 else TICKER


@uncounted
def read_event(buf: Array, spans: Array, seed: int, futures: bool, fields: Array, levels: Array, text: Array) -> int:
    """Tell what the indexed object is and read it."""
    event = spans[K_EVENT, 0]
    if event < 0:
        # Spot's bookTicker is the only event without a name.
        for key in (K_LAST, K_SYMBOL, K_BID, K_BID_QUANTITY, K_ASK, K_ASK_QUANTITY):
            if spans[key, 0] < 0:
                return fault(UNKNOWN_EVENT, -1)
        return read_ticker(buf, spans, seed, fields, text)
    if buf[event] != QUOTE:
        return fault(UNKNOWN_EVENT, K_EVENT)
    stop = spans[K_EVENT, 1]
    if string_is(buf, event, stop, NAME_TRADE, text):
        return read_trade(buf, spans, seed, fields, text)
    if string_is(buf, event, stop, NAME_DEPTH, text):
        return read_depth(buf, spans, seed, futures, fields, levels, text)
    if string_is(buf, event, stop, NAME_TICKER, text):
        return read_ticker(buf, spans, seed, fields, text)
    if string_is(buf, event, stop, NAME_SHUTDOWN, text):
        return CONTROL
    return fault(UNKNOWN_EVENT, K_EVENT)


@uncounted
def scan_strict(
    buf: Array, at: int, end: int, seed: int, futures: bool, fields: Array, levels: Array, spans: Array, text: Array
) -> int:
    """One message by the strict way: what it is, or a fault."""
    i = skip_space(buf, at, end)
    if i >= end:
        return fault(NOT_JSON, -1)
    if buf[i] != BRACE:
        i = skip_value(buf, i, end, 0)
        return fault(NOT_OBJECT, -1) if i >= 0 and skip_space(buf, i, end) == end else fault(NOT_JSON, -1)
    i = index_object(buf, i, end, 0, spans, text)
    if i < 0 or skip_space(buf, i, end) != end:
        return fault(NOT_JSON, -1)
    data = spans[K_DATA, 0]
    if data >= 0:
        if buf[data] != BRACE:
            return fault(UNKNOWN_EVENT, K_DATA)
        index_object(buf, data, end, 1, spans, text)
    elif spans[K_EVENT, 0] < 0 and spans[K_SYMBOL, 0] < 0:
        for key in (K_RESULT, K_ID, K_CODE, K_ERROR):
            if spans[key, 0] >= 0:
                return CONTROL
    return read_event(buf, spans, seed, futures, fields, levels, text)


@uncounted
def scan_snapshot(buf: Array, at: int, end: int, fields: Array, levels: Array, spans: Array, text: Array) -> int:
    """The body of a REST depth answer, bare or as `data` of a wrapper: SNAPSHOT or a fault."""
    i = skip_space(buf, at, end)
    if i >= end or buf[i] != BRACE:
        return fault(NOT_JSON, -1)
    i = index_object(buf, i, end, 0, spans, text)
    if i < 0 or skip_space(buf, i, end) != end:
        return fault(NOT_JSON, -1)
    data = spans[K_DATA, 0]
    if data >= 0 and buf[data] == BRACE:
        index_object(buf, data, end, 1, spans, text)
    wrong = take_integer(buf, spans, K_SNAPSHOT, F_ID, fields)
    fields[F_TIME_NS] = 0
    if wrong == 0 and (spans[K_TIME, 0] >= 0 or spans[K_TRADE_TIME, 0] >= 0):
        wrong = take_time(buf, spans, fields)
    if wrong == 0:
        wrong = take_levels(buf, spans, K_BIDS, F_BID_AT, F_BIDS, fields, levels, 0, text)
    if wrong == 0:
        wrong = take_levels(buf, spans, K_ASKS, F_ASK_AT, F_ASKS, fields, levels, fields[F_BIDS], text)
    return wrong if wrong != 0 else SNAPSHOT
