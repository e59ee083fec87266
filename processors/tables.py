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


@dataclass
class _Found:
    """Where keys stand in an array. Lines never move within one; another state, or a grown one, has another array."""

    lines: npt.NDArray[Any] | None = None
    at: dict[tuple[int, ...], int] = field(default_factory=dict)


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
    _found: _Found = field(default_factory=_Found, init=False, repr=False, compare=False)

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
        lines, found = state[self.name], self._found
        if found.lines is not lines:
            found.lines, found.at = lines, {}
        known = found.at.get(key)
        if known is not None:
            return known
        lines = lines[: self.used(state)]
        hit = lines[:, 0] == key[0]
        for column in range(1, self.key):
            hit &= lines[:, column] == key[column]
        if not hit.any():
            return -1
        at = found.at[key] = int(hit.argmax())
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
