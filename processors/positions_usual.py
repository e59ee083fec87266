"""The usual rows of `positions` by a kernel (`processors/kernels/positions.py`): memory for it, rows out of it."""

from __future__ import annotations

import numpy as np

from processors.api import Batch, Outputs, State
from processors.kernels import positions_layout as lay
from processors.kernels.positions import take_usual
from processors.words import Words, as_rows, as_words
from schemas.trading import FILL

TABLES = ("instruments", "positions", "nets", "balances", "accounts")


class UsualRows:
    """Rows of one batch of fills, or of what the venue says of an account."""

    def __init__(self, state: State, batch: Batch, out: Outputs) -> None:
        self._state, self._batch, self._out = state, batch, out
        self._are_fills = batch.rows.dtype == FILL.dtype
        self._rows = as_words(batch.rows).reshape(-1, lay.FILL_WORDS if self._are_fills else lay.UPDATE_WORDS)
        count = len(self._rows)
        self._made: tuple[Words, Words, Words] = (
            np.empty((count, lay.POSITION_WORDS), dtype=np.int64),
            np.empty((count * lay.POSTINGS_MAX, lay.POSTING_WORDS), dtype=np.int64),
            np.empty((count, lay.BALANCE_WORDS), dtype=np.int64),
        )
        self._said, self._counts = np.empty(lay.SAID, dtype=np.int64), np.empty(lay.COUNTS, dtype=np.int64)

    def take(self, start: int) -> int:
        """Take rows from number `start` on and emit what they make; returns the first that is not a usual one."""
        state = self._state
        used = np.array([state[f"{name}_used"].item(0) for name in TABLES], dtype=np.int64)
        self._counts[:] = 0
        at = take_usual(
            self._rows, start, self._batch.row_first, self._are_fills, state["instruments"], state["positions"],
            state["trades"], state["lots"], state["nets"], state["balances"], state["accounts"], used, self._said,
            *self._made, self._counts,
        )  # fmt: skip
        for output, (made, count) in enumerate(zip(self._made, self._counts.tolist(), strict=True)):
            self._out.emit(output, as_rows(made, count, self._out.events[output].dtype))
        return int(at)
