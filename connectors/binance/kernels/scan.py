"""From the bytes of a frame to integers: the scanner of both Binance venues.

`scan_frame` reads one message straight from the bytes, exactly: no text objects, no floats. Two ways lead
through it: the quick one (quick.py) for what the venue really sends, the strict one (strict.py) for
everything else. tests/unit/test_binance_scan.py holds them, and the plain twin in
tests/reference/binance_wire.py, against each other.
"""

from __future__ import annotations

from connectors.binance.kernels.layout import I64, QUICK_FAILED, Array, uncounted
from connectors.binance.kernels.quick import scan_quick
from connectors.binance.kernels.strict import scan_strict


@uncounted
def scan_frame(
    buf: Array, at: int, end: int, seed: int, futures: bool, fields: Array, levels: Array, spans: Array, text: Array
) -> int:
    """One message of a stream.

    Args:
        buf: uint8; the message is buf[at:end].
        seed: FNV-1a state after `venue:`; the symbol continues it to the instrument's id.
        futures: depth events carry `pu`.
        fields: int64 [FIELDS], levels: int64 [LEVELS_MAX, 2], written.
        spans: int64 [keys, 2], scratch.

    Returns:
        TRADE, DEPTH, TICKER, CONTROL (an acknowledgement or an announcement: nothing to record), or a fault < 0.
    """
    kind = scan_quick(buf, at, end, seed, futures, fields, levels)
    if kind != QUICK_FAILED:
        return kind
    return scan_strict(buf, at, end, seed, futures, fields, levels, spans, text)


@uncounted
def scan_all(
    buf: Array, at: Array, size: Array, seed: int, futures: bool, fields: Array, levels: Array, spans: Array,
    text: Array,
) -> int:  # fmt: skip
    """Scan every message and keep none: how fast reading alone is (tests/bench). Returns how many were understood."""
    count = 0
    for n in range(at.shape[0]):
        start = I64(at[n])
        if scan_frame(buf, start, start + I64(size[n]), seed, futures, fields, levels, spans, text) > 0:
            count += 1
    return count
