"""Reading ahead changes nothing but the time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from streams.ahead import ahead


def test_items_come_in_order_and_whole() -> None:
    assert list(ahead(iter(range(1, 500)), depth=4)) == list(range(1, 500))
    assert list(ahead(iter([]))) == []


def test_production_runs_in_another_thread_and_only_so_far_ahead() -> None:
    made: list[tuple[int, int]] = []

    def items() -> Iterator[int]:
        for number in range(1, 50):
            made.append((number, threading.get_ident()))
            yield number

    reading = ahead(items(), depth=2)
    assert next(reading) == 1
    assert len(made) <= 4
    reading.close()
    assert {thread for _, thread in made} != {threading.get_ident()}


def test_error_comes_out_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("broken")

    reading = ahead(items())
    assert [next(reading), next(reading)] == [1, 2]
    with pytest.raises(ValueError, match="broken"):
        next(reading)


def test_closing_closes_what_is_read_from() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    reading = ahead(items())
    next(reading)
    reading.close()
    assert closed.is_set()
