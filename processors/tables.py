"""Lines of an int64 array that are found by their first columns, for rules written in plain Python.

A rule's state may hold nothing but arrays (`processors/api.py`). A `Table` knows how one of them is laid out; the
lines themselves are in the state. Lines are never taken out; arrays double up to the bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.api import State


@dataclass(frozen=True)
class Table:
    """How one table is laid out.

    Attributes:
        name: of its array, int64[lines, columns]; `<name>_used` is int64[1].
        columns: of a line; the key's come first.
        key: how many columns are the key.
        lines_max: bound.
        beside: arrays with one item for each line: name → (dtype, shape of an item).
    """

    name: str
    columns: int
    key: int
    lines_max: int
    beside: Mapping[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    # Where a key was found last, in whatever state: looked at before it is believed, as a key has one line at most.
    _hints: dict[tuple[int, ...], int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def arrays(self) -> State:
        """Fresh arrays, with memory for one line."""
        return {f"{self.name}_used": np.zeros(1, dtype=np.int64)} | self._lines(1)

    def used(self, state: State) -> int:
        return int(state[f"{self.name}_used"][0])

    def lines(self, state: State) -> npt.NDArray[Any]:
        """The lines in use, as a view."""
        return state[self.name][: self.used(state)]

    def find(self, state: State, *key: int) -> int:
        """Line of a key; -1 when it has none."""
        used, lines = self.used(state), state[self.name]
        at = self._hints.get(key, used)
        if at < used and _stands_at(lines, at, key):
            return at
        lines = lines[:used]
        hit = lines[:, 0] == key[0]
        for column in range(1, self.key):
            hit &= lines[:, column] == key[column]
        if not hit.any():
            return -1
        at = self._hints[key] = int(hit.argmax())
        return at

    def has_room(self, state: State, lines: int = 1) -> bool:
        """Whether so many lines more fit."""
        return self.used(state) + lines <= self.lines_max

    def add(self, state: State, *key: int) -> int:
        """A line of zeros for a new key. There must be room."""
        at, capacity = self.used(state), len(state[self.name])
        assert at < self.lines_max
        if at == capacity:
            larger = self._lines(min(2 * capacity, self.lines_max))
            for name, array in larger.items():
                array[:capacity] = state[name]
            state.update(larger)
        state[self.name][at, : self.key] = key
        state[f"{self.name}_used"][0] = at + 1
        return at

    def _lines(self, lines: int) -> State:
        arrays: State = {self.name: np.zeros((lines, self.columns), dtype=np.int64)}
        for name, (dtype, shape) in self.beside.items():
            arrays[name] = np.zeros((lines, *shape), dtype=np.dtype(dtype))
        return arrays


def _stands_at(lines: npt.NDArray[Any], at: int, key: tuple[int, ...]) -> bool:
    """Whether line `at` begins with this key. Item by item: quicker than a slice of so few."""
    item = lines.item
    for column, value in enumerate(key):  # noqa: SIM110
        if item(at, column) != value:
            return False
    return True
