"""The reader's filter: every row once, and a lost row is noticed.

Per (topic, partition, writer, incarnation): a row number at or below the last one is a repeat and is
dropped; the next is taken; one above it is taken and alarmed, since rows between were lost. The first
sight of a sequence sets its baseline: rows before it are not ours to miss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from streams.api import WriterKey


class Verdict(NamedTuple):
    """What to do with rows `first`..`last` of a sequence.

    Attributes:
        skip: leading rows that are repeats; all of them when the whole run is.
        missing: rows lost right before the first one taken.
        first_sight: the sequence was never seen before; its baseline is first - 1.
    """

    skip: int
    missing: int
    first_sight: bool


_FOLLOWS = Verdict(0, 0, False)


@dataclass
class RowFilter:
    """The last row seen of each sequence, and what was noticed so far."""

    last: dict[WriterKey, int] = field(default_factory=dict)
    repeats: int = 0
    gaps: int = 0

    @classmethod
    def at(cls, last: Mapping[WriterKey, int]) -> RowFilter:
        return cls(dict(last))

    def see(self, key: WriterKey, first: int, last: int, *, holes_normal: bool = False) -> Verdict:
        """Judge rows first..last and remember them.

        Args:
            holes_normal: compacted topics lose rows by design; a jump is no alarm there.
        """
        assert 1 <= first <= last, (key, first, last)
        before = self.last.get(key)
        if before is None:
            self.last[key] = last
            return Verdict(0, 0, True)
        if first == before + 1:
            self.last[key] = last
            return _FOLLOWS
        skip = min(max(0, before + 1 - first), last + 1 - first)
        self.repeats += skip
        missing = 0 if holes_normal else max(0, first - before - 1)
        self.gaps += missing > 0
        self.last[key] = max(before, last)
        return Verdict(skip, missing, False)
