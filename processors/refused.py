"""Rows that cannot be taken, for rules written in plain Python: a sentence, and one dead letter."""

from __future__ import annotations

from processors.api import Batch, Outputs
from schemas.errors import InputInvalid
from schemas.events import DeadReason

TIME_MAX_NS = 1 << 62  # in the year 2116


class Refused(InputInvalid):
    """A row that cannot be taken; nothing changed because of it."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def put_aside(batch: Batch, offset: int, fault: Refused, out: Outputs) -> None:
    """The row's dead letter. Its payload is the row and then its texts, whatever else was in the batch's heap."""
    row, texts = batch.rows[offset : offset + 1].copy()[0], b""
    for name in row.dtype.names:
        if name.endswith("_at"):
            at, size = int(row[name]), int(row[f"{name.removesuffix('_at')}_size"])
            row[name] = len(texts)
            texts += batch.heap[at : at + size].tobytes()
    out.put_aside(
        fault.reason,
        batch.row_first + offset,
        str(fault),
        ts_recv_ns=int(row["ts_recv_ns"]),
        instrument=int(row["instrument"]),
        payload=row.tobytes() + texts,
    )


def check_times(*times_ns: int) -> None:
    """Raises Refused for a time that no row has."""
    for time_ns in times_ns:
        if not 0 <= time_ns <= TIME_MAX_NS:
            raise Refused(DeadReason.OUT_OF_RANGE, f"time {time_ns} ns is not between 1970 and 2116")


def text_of(batch: Batch, offset: int, name: str) -> str:
    """A text column. Raises Refused when its bytes are no UTF-8."""
    row = batch.rows[offset]
    at, size = int(row[f"{name}_at"]), int(row[f"{name}_size"])
    try:
        return batch.heap[at : at + size].tobytes().decode()
    except UnicodeDecodeError:
        raise Refused(DeadReason.UNPARSABLE, f"the {name} is not UTF-8 text") from None
