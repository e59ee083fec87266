"""Every row once, and a lost row is noticed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.api import WriterKey
from streams.rowfilter import RowFilter, Verdict

KEY = WriterKey(2, 0, 640, 7)
OTHER = WriterKey(2, 0, 704, 7)


def test_first_sight_sets_a_baseline_and_misses_nothing() -> None:
    rows = RowFilter()
    assert rows.see(KEY, 41, 50) == Verdict(0, 0, True)
    assert rows.last == {KEY: 50}
    assert rows.gaps == 0


@pytest.mark.parametrize(
    ("first", "last", "verdict", "last_after"),
    [
        (11, 12, Verdict(0, 0, False), 12),  # the next
        (9, 10, Verdict(2, 0, False), 10),  # a repeat
        (10, 10, Verdict(1, 0, False), 10),
        (3, 5, Verdict(3, 0, False), 10),  # an old repeat
        (8, 13, Verdict(3, 0, False), 13),  # overlaps
        (12, 12, Verdict(0, 1, False), 12),  # one is missing
        (20, 25, Verdict(0, 9, False), 25),
    ],
)
def test_rows_after_row_ten_are_judged(first: int, last: int, verdict: Verdict, last_after: int) -> None:
    rows = RowFilter.at({KEY: 10})
    assert rows.see(KEY, first, last) == verdict
    assert rows.last[KEY] == last_after
    assert (rows.repeats, rows.gaps) == (verdict.skip, int(verdict.missing > 0))


def test_holes_of_a_compacted_topic_are_no_alarm() -> None:
    rows = RowFilter.at({KEY: 10})
    assert rows.see(KEY, 20, 20, holes_normal=True) == Verdict(0, 0, False)
    assert rows.gaps == 0


def test_sequences_do_not_know_each_other() -> None:
    rows = RowFilter.at({KEY: 10})
    assert rows.see(OTHER, 1, 1).first_sight
    assert rows.last == {KEY: 10, OTHER: 1}


def test_restored_filter_shares_nothing_with_what_it_was_restored_from() -> None:
    last = {KEY: 10}
    RowFilter.at(last).see(KEY, 11, 11)
    assert last == {KEY: 10}


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=40))
def test_no_row_is_taken_twice_and_order_is_kept(frames: list[tuple[int, int]]) -> None:
    rows = RowFilter()
    taken: list[int] = []
    missing = 0
    for first, more in frames:
        verdict = rows.see(KEY, first, first + more)
        taken += range(first + verdict.skip, first + more + 1)
        missing += verdict.missing
    assert taken == sorted(set(taken))
    if taken:
        assert missing == taken[-1] - taken[0] + 1 - len(taken)
