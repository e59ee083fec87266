"""A row's address: (topic, partition, writer, incarnation, row), 16 bytes.

A *writer* (pipeline and task, or a connection) numbers the rows that it writes to a partition 1, 2,
3 … across restarts; the *incarnation* is the number of the session, so that a wiped log never
repeats an address. `Origin` is the address without the row: one per frame, as rows of a frame are
consecutive rows of one writer.
"""

from __future__ import annotations

from typing import NamedTuple


class Origin(NamedTuple):
    """Topic, partition, writer, incarnation. All 0: no cause (a timer, or nothing)."""

    topic: int = 0
    partition: int = 0
    writer: int = 0
    incarnation: int = 0


NO_ORIGIN = Origin()
