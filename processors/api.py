"""What a rule is: rows in, rows out, state in arrays. No time, no transport, no randomness.

A runner calls `on_batch` with *runs*: consecutive rows of one writer, in one partition, of one
input. The laws every processor keeps (tests/laws): any cut of a run gives the same outputs and
state; saving and restoring the state changes nothing; the same rows give the same bytes in another
process; rows of other keys change nothing for a key; state is bounded; an invalid row changes
nothing and yields one dead letter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from schemas.address import NO_ORIGIN, Origin
from schemas.declare import EMPTY_HEAP, Event, Heap, Rows
from schemas.events import DEAD_LETTER, DeadReason

State = dict[str, npt.NDArray[np.generic]]  # named arrays of declared dtypes; nothing else survives a restart
NEVER_NS = np.iinfo(np.int64).max  # a deadline that does not come
DEAD_PAYLOAD_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Batch:
    """A run of rows as a rule sees it.

    Attributes:
        input: which of the processor's inputs, as an index into `Processor.inputs`.
        origin: the run's topic, partition, writer and incarnation.
        row_first: number of `rows[0]`; the others follow one by one.
        rows: structured array of the input event's dtype.
        heap: bytes that text and bytes columns of `rows` point into.
    """

    input: int
    origin: Origin
    row_first: int
    rows: Rows
    heap: Heap = field(default_factory=lambda: EMPTY_HEAP)

    def cut(self, start: int, stop: int) -> Batch:
        """Rows start..stop (exclusive) as a batch of their own, sharing memory."""
        return Batch(self.input, self.origin, self.row_first + start, self.rows[start:stop], self.heap)


class Emitted(NamedTuple):
    """Rows of one output, in emission order. `origin` completes their `cause_row`."""

    output: int
    rows: Rows
    heap: Heap
    origin: Origin


@dataclass(slots=True)
class Outputs:
    """What a rule answers. `emit` keeps the arrays: give it ones that are not written again.

    Rows of one output keep the order in which they were emitted; rows of different outputs have no
    order among them.
    """

    events: Sequence[Event]
    origin: Origin = NO_ORIGIN  # set by the runner before each call
    emitted: list[Emitted] = field(default_factory=list)
    dead: list[Emitted] = field(default_factory=list)

    def emit(self, output: int, rows: Rows, heap: Heap = EMPTY_HEAP) -> None:
        """Append rows to output `output` (an index into `Processor.outputs`)."""
        if len(rows):
            assert rows.dtype == self.events[output].dtype, self.events[output].name
            self.emitted.append(Emitted(output, rows, heap, self.origin))

    def put_aside(
        self,
        reason: DeadReason,
        cause_row: int,
        detail: str,
        *,
        ts_recv_ns: int = 0,
        instrument: int = 0,
        payload: bytes = b"",
    ) -> None:
        """One dead letter for input row number `cause_row`."""
        text = detail.encode()
        payload = payload[:DEAD_PAYLOAD_BYTES_MAX]
        row = DEAD_LETTER.empty(1)
        row["ts_recv_ns"] = ts_recv_ns
        row["cause_row"] = cause_row
        row["detail_at"], row["detail_size"] = 0, len(text)
        row["payload_at"], row["payload_size"] = len(text), len(payload)
        row["instrument"] = instrument
        row["reason"] = reason
        self.dead.append(Emitted(-1, row, np.frombuffer(text + payload, dtype=np.uint8), self.origin))


class Processor(Protocol):
    """A rule. `name` and `version` go into fingerprints: raise `version` when the same rows give other bytes.

    Deadlines fire before the first row whose ts_recv_ns reaches them. Those that are known before a batch are
    fired by the runner, which cuts the batch there. Those that rows of the batch make for later rows of it are the
    rule's: it fires them itself within `on_batch`, or declares `timer_delay_min_ns` (no row makes a deadline
    earlier than its own ts_recv_ns plus that), and the runner never hands it rows further apart.
    """

    name: str
    version: int
    inputs: tuple[Event, ...]
    outputs: tuple[Event, ...]

    def initial_state(self) -> State:
        """A fresh state. All state is in it: the processor object itself holds parameters only."""
        ...

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        """Take a run of rows. May replace arrays in `state` by larger ones, up to declared bounds."""
        ...

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        """Fire every deadline ≤ now_ns, oldest first, outputs stamped with the deadline, not with now_ns."""
        ...

    def next_deadline_ns(self, state: State) -> int:
        """The earliest deadline, on the clock of ts_recv_ns; NEVER_NS when there is none."""
        ...

    def warm(self) -> None:
        """Compile every kernel for the dtypes in use, before the runner subscribes."""
        ...


Parameters = Mapping[str, int | str | bool]
