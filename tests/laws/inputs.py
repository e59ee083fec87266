"""Rules of several inputs under the laws, whose streams have one: rows of any input, one after the other, as rows of
one event that carries them."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from processors.api import Batch, Outputs, Processor, State
from schemas.declare import Event, Field, Rows
from tests.laws.stream import Stream

CARRIED = Event(
    "CarriedRow",
    9_999,
    1,
    "A row of any event, for tests.",
    (
        Field("ts_recv_ns", "i64", "stands above the one in the row"),
        Field("row", "bytes", "the row"),
        Field("texts", "bytes", "what its text columns point into"),
        Field("input", "u8", "which input"),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u16", "zero"),
        Field("reserved_c", "u32", "zero"),
    ),
)


class Given(NamedTuple):
    """One row to be: an input, its columns (texts as texts), and what it is about ("": everything)."""

    input: int
    values: Mapping[str, int | str]
    key: Hashable


class Joined:
    """The rule, with one input in place of its own."""

    def __init__(self, rule: Processor) -> None:
        self.rule = rule
        self.name, self.version, self.outputs = rule.name, rule.version, rule.outputs
        self.inputs: tuple[Event, ...] = (CARRIED,)

    def initial_state(self) -> State:
        return self.rule.initial_state()

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        which = batch.rows["input"]
        starts = [0, *(np.flatnonzero(which[1:] != which[:-1]) + 1).tolist(), len(which)]
        for start, stop in itertools.pairwise(starts):
            number = int(which[start])
            rows, texts = self.rule.inputs[number].empty(stop - start), bytearray()
            for row, carried in zip(rows, batch.rows[start:stop], strict=True):
                self._unpack(row, carried, batch, number, texts)
            heap = np.frombuffer(bytes(texts), dtype=np.uint8)
            self.rule.on_batch(state, Batch(number, batch.origin, batch.row_first + start, rows, heap), out)

    def _unpack(self, row: np.void, carried: np.void, batch: Batch, number: int, texts: bytearray) -> None:
        event = self.rule.inputs[number]
        at, size = int(carried["row_at"]), int(carried["row_size"])
        values = np.frombuffer(batch.heap[at : at + size].tobytes(), dtype=event.dtype)[0]
        for name in event.dtype.names or ():
            row[name] = values[name]
        row["ts_recv_ns"] = carried["ts_recv_ns"]
        for column in event.heap_fields:
            row[f"{column.name}_at"] += len(texts)
        at, size = int(carried["texts_at"]), int(carried["texts_size"])
        texts += batch.heap[at : at + size].tobytes()

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        self.rule.on_time(state, now_ns, out)

    def next_deadline_ns(self, state: State) -> int:
        return self.rule.next_deadline_ns(state)

    def warm(self) -> None:
        self.rule.warm()


def filled(event: Event, values: Mapping[str, int | str]) -> tuple[Rows, bytes]:
    """One row of an event and the bytes of its texts."""
    row, texts = event.empty(1), b""
    for name, value in values.items():
        if isinstance(value, str):
            row[f"{name}_at"], row[f"{name}_size"] = len(texts), len(value.encode())
            texts += value.encode()
        else:
            row[name] = value
    return row, texts


def joined(inputs: Sequence[Event], given: Sequence[Given]) -> Stream:
    """The rows as a stream for `Joined`."""
    rows, texts = CARRIED.empty(len(given)), bytearray()
    for row, one in zip(rows, given, strict=True):
        carried, its_texts = filled(inputs[one.input], one.values)
        row["ts_recv_ns"], row["input"] = carried["ts_recv_ns"][0], one.input
        for column, data in (("row", carried.tobytes()), ("texts", its_texts)):
            row[f"{column}_at"], row[f"{column}_size"] = len(texts), len(data)
            texts += data
    return Stream(rows, np.frombuffer(bytes(texts), dtype=np.uint8), tuple(one.key for one in given))
