"""What the laws feed to a rule, and what they compare of its answer."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from processors.api import Batch, Emitted, Outputs, Processor, State
from schemas.address import Origin
from schemas.declare import EMPTY_HEAP, Event, Heap, Rows
from schemas.events import DEAD_LETTER

ORIGIN = Origin(3, 2, 130, 5)
FIRST_ROW = 1001


class Stream(NamedTuple):
    """Rows of one writer, and of what each is about."""

    rows: Rows
    heap: Heap = EMPTY_HEAP
    keys: tuple[Hashable, ...] = ()  # one per row: what it is about; "" for everything


class Said(NamedTuple):
    """One row that came out: where its cause is, and its bytes with those of its texts."""

    origin: Origin
    values: tuple[object, ...]


@dataclass
class Answer:
    """Everything a rule put out, in order: per output, and dead letters."""

    outputs: list[list[Said]]
    dead: list[Said]

    def digest(self) -> str:
        return hashlib.sha256(repr((self.outputs, self.dead)).encode()).hexdigest()

    def about(self, processor: Processor, instrument: int) -> Answer:
        """Only what is said about one instrument; dead letters too."""
        names = [_names(event) for event in processor.outputs]  # money has an account and no instrument
        at = [own.index("instrument" if "instrument" in own else "account") for own in names]
        outputs = [
            [one for one in rows if one.values[k] == instrument] for k, rows in zip(at, self.outputs, strict=True)
        ]
        dead_at = _names(DEAD_LETTER).index("instrument")
        return Answer(outputs, [one for one in self.dead if one.values[dead_at] == instrument])


def _names(event: Event) -> list[str]:
    return [field.name for field in event.fields]


def said(event: Event, emitted: Emitted) -> list[Said]:
    """Emitted rows as plain values; texts and bytes instead of pointers to them."""
    heap = emitted.heap.tobytes()
    found = []
    for row in emitted.rows:
        values: list[object] = []
        for column in event.fields:
            if column.heap:
                at, size = int(row[f"{column.name}_at"]), int(row[f"{column.name}_size"])
                values.append(heap[at : at + size])
            else:
                values.append(row[column.name].tolist())
        found.append(Said(emitted.origin, tuple(values)))
    return found


def answer_of(processor: Processor, out: Outputs) -> Answer:
    outputs: list[list[Said]] = [[] for _ in processor.outputs]
    for emitted in out.emitted:
        outputs[emitted.output] += said(processor.outputs[emitted.output], emitted)
    dead = [one for emitted in out.dead for one in said(DEAD_LETTER, emitted)]
    return Answer(outputs, dead)


@dataclass
class Run:
    """A rule being fed: the state it has, and all it said."""

    processor: Processor
    state: State = field(default_factory=dict)
    out: Outputs = field(init=False)

    def __post_init__(self) -> None:
        self.state = self.state or self.processor.initial_state()
        self.out = Outputs(self.processor.outputs, ORIGIN)

    def feed(self, stream: Stream, start: int = 0, stop: int | None = None, row_first: int | None = None) -> Run:
        """Rows start..stop as one run; they are numbered from FIRST_ROW in the stream unless told otherwise."""
        rows = stream.rows[start:stop]
        first = FIRST_ROW + start if row_first is None else row_first
        self.out.origin = ORIGIN
        if len(rows):
            self.processor.on_batch(self.state, Batch(0, ORIGIN, first, rows, stream.heap), self.out)
        return self

    def fire(self, now_ns: int) -> Run:
        self.out.origin = Origin()
        self.processor.on_time(self.state, now_ns, self.out)
        return self

    @property
    def answer(self) -> Answer:
        return answer_of(self.processor, self.out)


def state_bytes(state: State) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """A state that can be compared with =="""
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in sorted(state.items())}


def fed(processor: Processor, stream: Stream, cuts: Sequence[int] = ()) -> Run:
    """A rule that was fed the whole stream, cut before the given rows."""
    run = Run(processor)
    edges = [0, *sorted(cuts), len(stream.rows)]
    for start, stop in itertools.pairwise(edges):
        run.feed(stream, start, stop)
    return run
