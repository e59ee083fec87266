"""A JSON reader for kernels: complete (RFC 8259, UTF-8 checked, surrogates in pairs), over bytes, making nothing.

A `skip_` function walks over what stands at index i and returns the index after it, or -1 when it is not valid.
"""

from __future__ import annotations

from connectors.binance.kernels.layout import (
    BACKSLASH,
    BRACE,
    BRACKET,
    COLON,
    COMMA,
    DEPTH_MAX,
    DOT,
    I64,
    MINUS,
    NINE,
    PLUS,
    QUOTE,
    UNBRACE,
    UNBRACKET,
    ZERO,
    Array,
    uncounted,
)


@uncounted
def skip_space(buf: Array, i: int, end: int) -> int:
    while i < end and (buf[i] == 32 or buf[i] == 10 or buf[i] == 13 or buf[i] == 9):
        i += 1
    return i


@uncounted
def hex_value(c: int) -> int:
    if 48 <= c <= 57:
        return c - 48
    if 97 <= c <= 102:
        return c - 87
    if 65 <= c <= 70:
        return c - 55
    return -1


@uncounted
def hex4(buf: Array, i: int, end: int) -> int:
    """Value of four hexadecimal digits at i, or -1."""
    if i + 4 > end:
        return -1
    value = 0
    for k in range(4):
        digit = hex_value(I64(buf[i + k]))
        if digit < 0:
            return -1
        value = value * 16 + digit
    return value


@uncounted
def skip_escape(buf: Array, i: int, end: int) -> int:
    """Index after the escape whose backslash is at i, or -1. Surrogates must come in pairs."""
    if i + 1 >= end:
        return -1
    c = I64(buf[i + 1])
    if c == 34 or c == 92 or c == 47 or c == 98 or c == 102 or c == 110 or c == 114 or c == 116:
        return i + 2
    if c != 117:
        return -1
    value = hex4(buf, i + 2, end)
    if value < 0 or 0xDC00 <= value <= 0xDFFF:
        return -1
    if 0xD800 <= value <= 0xDBFF:
        if i + 8 > end or buf[i + 6] != 92 or buf[i + 7] != 117:
            return -1
        low = hex4(buf, i + 8, end)
        return i + 12 if 0xDC00 <= low <= 0xDFFF else -1
    return i + 6


@uncounted
def skip_utf8(buf: Array, i: int, end: int) -> int:
    """Index after the multi-byte character at i, or -1: overlong forms and surrogates are wrong."""
    c = I64(buf[i])
    if 0xC2 <= c <= 0xDF:
        more, low, high = 1, 0x80, 0xBF
    elif 0xE0 <= c <= 0xEF:
        more = 2
        low = 0xA0 if c == 0xE0 else 0x80
        high = 0x9F if c == 0xED else 0xBF
    elif 0xF0 <= c <= 0xF4:
        more = 3
        low = 0x90 if c == 0xF0 else 0x80
        high = 0x8F if c == 0xF4 else 0xBF
    else:
        return -1
    if i + more >= end or not (low <= I64(buf[i + 1]) <= high):
        return -1
    for k in range(2, more + 1):
        if not (0x80 <= I64(buf[i + k]) <= 0xBF):
            return -1
    return i + more + 1


@uncounted
def skip_string(buf: Array, i: int, end: int) -> int:
    """Index after the string whose opening quote is at i, or -1."""
    i += 1
    while i < end:
        c = I64(buf[i])
        if c == QUOTE:
            return i + 1
        if c == BACKSLASH:
            i = skip_escape(buf, i, end)
        elif c < 0x20:
            return -1
        elif c < 0x80:
            i += 1
        else:
            i = skip_utf8(buf, i, end)
        if i < 0:
            return -1
    return -1


@uncounted
def skip_digits(buf: Array, i: int, end: int) -> int:
    while i < end and ZERO <= buf[i] <= NINE:
        i += 1
    return i


@uncounted
def skip_number(buf: Array, i: int, end: int) -> int:
    """Index after the number at i, or -1."""
    if i < end and buf[i] == MINUS:
        i += 1
    whole = i
    i = skip_digits(buf, i, end)
    if i == whole or (buf[whole] == ZERO and i > whole + 1):
        return -1
    if i < end and buf[i] == DOT:
        start = i + 1
        i = skip_digits(buf, start, end)
        if i == start:
            return -1
    if i < end and (buf[i] == 101 or buf[i] == 69):
        i += 1
        if i < end and (buf[i] == PLUS or buf[i] == MINUS):
            i += 1
        start = i
        i = skip_digits(buf, start, end)
        if i == start:
            return -1
    return i


@uncounted
def skip_word(buf: Array, i: int, end: int) -> int:
    """Index after true, false or null at i, or -1."""
    if i + 4 <= end and buf[i] == 116 and buf[i + 1] == 114 and buf[i + 2] == 117 and buf[i + 3] == 101:
        return i + 4
    if i + 4 <= end and buf[i] == 110 and buf[i + 1] == 117 and buf[i + 2] == 108 and buf[i + 3] == 108:
        return i + 4
    if i + 5 <= end and buf[i] == 102 and buf[i + 1] == 97 and buf[i + 2] == 108 and buf[i + 3] == 115:
        return i + 5 if buf[i + 4] == 101 else -1
    return -1


@uncounted
def skip_scalar(buf: Array, i: int, end: int) -> int:
    """Index after the string, number or word at i, or -1."""
    c = buf[i]
    if c == QUOTE:
        return skip_string(buf, i, end)
    if c == MINUS or ZERO <= c <= NINE:
        return skip_number(buf, i, end)
    return skip_word(buf, i, end)


@uncounted
def skip_key(buf: Array, i: int, end: int) -> int:
    """From the place of a key (white space allowed) to its value; -1 when there is no `"key":`."""
    i = skip_space(buf, i, end)
    if i >= end or buf[i] != QUOTE:
        return -1
    i = skip_string(buf, i, end)
    if i < 0:
        return -1
    i = skip_space(buf, i, end)
    if i >= end or buf[i] != COLON:
        return -1
    return skip_space(buf, i + 1, end)


@uncounted
def skip_value(buf: Array, i: int, end: int, depth: int) -> int:
    """Index after the value at i (no white space before it), or -1.

    `depth` containers are open around it. The kinds of the open ones are the bits of `objects`: no stack, no recursion.
    """
    outer = depth
    objects = 0
    while True:
        if i >= end:
            return -1
        if buf[i] == BRACE or buf[i] == BRACKET:
            is_object = buf[i] == BRACE
            depth += 1
            if depth > DEPTH_MAX:
                return -1
            objects = objects * 2 + (1 if is_object else 0)
            i = skip_space(buf, i + 1, end)
            if i >= end:
                return -1
            if buf[i] != (UNBRACE if is_object else UNBRACKET):
                if is_object:
                    i = skip_key(buf, i, end)
                    if i < 0:
                        return -1
                continue
        else:
            i = skip_scalar(buf, i, end)
            if i < 0:
                return -1
        # A value ended (or an empty container stands at its closing mark): go up as far as it closes others.
        while True:
            if depth == outer:
                return i
            i = skip_space(buf, i, end)
            if i >= end:
                return -1
            if buf[i] == (UNBRACE if objects & 1 else UNBRACKET):
                i += 1
                depth -= 1
                objects //= 2
                continue
            break
        if buf[i] != COMMA:
            return -1
        i = skip_space(buf, i + 1, end)
        if objects & 1:
            i = skip_key(buf, i, end)
            if i < 0:
                return -1


@uncounted
def put_utf8(out: Array, n: int, c: int) -> int:
    """Append code point c to out at n; returns the new n."""
    if c < 0x80:
        out[n] = c
        return n + 1
    if c < 0x800:
        out[n] = 0xC0 | (c >> 6)
        out[n + 1] = 0x80 | (c & 63)
        return n + 2
    if c < 0x10000:
        out[n] = 0xE0 | (c >> 12)
        out[n + 1] = 0x80 | ((c >> 6) & 63)
        out[n + 2] = 0x80 | (c & 63)
        return n + 3
    out[n] = 0xF0 | (c >> 18)
    out[n + 1] = 0x80 | ((c >> 12) & 63)
    out[n + 2] = 0x80 | ((c >> 6) & 63)
    out[n + 3] = 0x80 | (c & 63)
    return n + 4


@uncounted
def short_escape(c: int) -> int:
    """What the escape letter c stands for."""
    if c == 98:
        return 8
    if c == 102:
        return 12
    if c == 110:
        return 10
    if c == 114:
        return 13
    if c == 116:
        return 9
    return c


@uncounted
def unescape(buf: Array, start: int, stop: int, out: Array) -> int:
    """Content of the valid string between start and stop (inside the quotes) into out; returns its size."""
    n = 0
    i = start
    while i < stop:
        c = I64(buf[i])
        if c != BACKSLASH:
            out[n] = c
            n += 1
            i += 1
            continue
        letter = I64(buf[i + 1])
        if letter != 117:
            out[n] = short_escape(letter)
            n += 1
            i += 2
            continue
        value = hex4(buf, i + 2, stop)
        i += 6
        if 0xD800 <= value <= 0xDBFF:
            value = 0x10000 + ((value - 0xD800) << 10) + (hex4(buf, i + 2, stop) - 0xDC00)
            i += 6
        n = put_utf8(out, n, value)
    return n
