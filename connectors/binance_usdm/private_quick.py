"""The usual private frames, many at a time, by a kernel (`connectors/binance/kernels/private.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.binance.kernels import private
from connectors.binance.wire import venue_seed
from connectors.binance_usdm.private_words import EXPIRY_REASONS, OUT_ACCOUNT, OUT_REPORT, Arrays
from processors.api import Batch, Outputs
from schemas.declare import Rows
from schemas.instruments import Venue
from schemas.trading import ACCOUNT_UPDATE, VENUE_REPORT

SEED = venue_seed(Venue.BINANCE_USDM)
REASON_TEXT, REASON_SIZE = private.words_of(tuple(EXPIRY_REASONS.get(str(digit), "") for digit in range(10)))


class Quick:
    """What the kernel makes of a batch, and in between what is put to it; rows are gathered in order."""

    def __init__(self, account: int, connection_first: int, state: Arrays, batch: Batch) -> None:
        self._batch, self._state, left = batch, state, len(batch.rows)
        self._frames, self._heap = _words(batch.rows, 5), _read_only(batch.heap)
        self._settings = np.array([SEED, account, connection_first], dtype=np.int64)
        self._memory = (
            state["orders"].view(np.int64).reshape(-1, 6), state["order_ids"], state["venue_order_ids"],
            state["actual_ids"], state["trade_ids"], state["traded_in"],
            state["assets"].view(np.int64).reshape(-1, 7), state["counters"],
        )  # fmt: skip
        self._reports = np.empty((left * private.REPORTS_OF_FRAME, VENUE_REPORT.dtype.itemsize // 8), dtype=np.int64)
        self._updates = np.empty((left * private.ITEMS_MAX, ACCOUNT_UPDATE.dtype.itemsize // 8), dtype=np.int64)
        self._texts = np.empty(left * private.TEXT_MAX, dtype=np.uint8)
        self._counts = np.zeros(private.COUNTS, dtype=np.int64)
        self._scratch = (
            np.empty((len(private.KEYS), 2), dtype=np.int64), np.empty((private.ITEMS_MAX, 3), dtype=np.int64),
            np.empty(private.SAID, dtype=np.int64),
        )  # fmt: skip
        self._done: list[tuple[Rows, bytes, Rows]] = []

    def read(self, start: int) -> int:
        """Read frames from `start` on; returns the first that is not a usual one."""
        return int(
            private.read_frames(
                self._frames, self._heap, start, self._batch.row_first, self._settings, REASON_TEXT, REASON_SIZE,
                *self._memory, self._reports, self._texts, self._updates, self._counts, *self._scratch,
            )
        )  # fmt: skip

    def put(self, reports: Rows, texts: bytes, updates: Rows) -> None:
        """Rows that come after what the kernel has read so far."""
        self._flush()
        if len(reports) or len(updates):
            self._done.append((reports, texts, updates))

    def emit(self, out: Outputs) -> None:
        self._flush()
        if not self._done:
            return
        shift = 0
        for rows, text, _ in self._done:
            rows["text_at"] += shift
            shift += len(text)
        reports, texts, updates = zip(*self._done, strict=True)
        out.emit(OUT_REPORT, _together(reports), np.frombuffer(b"".join(texts), dtype=np.uint8))
        out.emit(OUT_ACCOUNT, _together(updates))

    def _flush(self) -> None:
        reports, texts, updates = self._counts.tolist()
        if reports or updates:
            self._done.append(
                (
                    self._reports[:reports].copy().reshape(-1).view(VENUE_REPORT.dtype),
                    self._texts[:texts].tobytes(),
                    self._updates[:updates].copy().reshape(-1).view(ACCOUNT_UPDATE.dtype),
                )
            )
            self._counts[:] = 0


def _together(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    rows: Rows = np.concatenate([part.view(np.int64) for part in parts]).view(parts[0].dtype)
    return rows


def _words(rows: Rows, words: int) -> Rows:
    return _read_only(np.ascontiguousarray(rows).view(np.int64)).reshape(-1, words)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory, not writable: numba compiles one version of a kernel for all callers."""
    if not array.flags.aligned or not array.flags.c_contiguous:
        array = array.copy()
    view = array.view()
    view.flags.writeable = False
    return view
