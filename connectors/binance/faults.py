"""What can be wrong with a frame: the scanner's numbers, as dead letters' reasons and words."""

from __future__ import annotations

from connectors.binance.kernels.layout import KEYS, LEVELS_MAX
from schemas.events import DeadReason

# By the scanner's fault number (layout.NOT_JSON …); 0 is not a fault.
FAULTS: tuple[tuple[DeadReason, str], ...] = (
    (DeadReason.UNPARSABLE, ""),
    (DeadReason.UNPARSABLE, "not JSON"),
    (DeadReason.UNEXPECTED, "JSON, but not an object"),
    (DeadReason.UNEXPECTED, "not an event of a stream that is listened to"),
    (DeadReason.UNPARSABLE, "a field is missing or of another type"),
    (DeadReason.UNPARSABLE, "not a decimal number"),
    (DeadReason.TOO_MANY_DECIMALS, "more than eight decimals"),
    (DeadReason.OUT_OF_RANGE, "zero, negative or too large"),
    (DeadReason.LIMIT, f"more than {LEVELS_MAX} levels in a message"),
    (DeadReason.LIMIT, "one instrument more than instruments_max"),
)


def explain(code: int) -> tuple[DeadReason, str]:
    """Reason and sentence of a fault code (layout.fault)."""
    kind, key = divmod(-code, 64)
    reason, text = FAULTS[kind]
    return reason, f"{text}: field {KEYS[key - 1]!r}" if key else text
