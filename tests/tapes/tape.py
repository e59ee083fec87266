"""Tapes: what came in and what was said to it, line by line, as a trader would write it down.

A line is `<seconds> <words …> | <what is said, ';' between>`. Every line is fed as a batch of its own, and its
number is its row number. Empty lines and lines that begin with `#` are skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from processors.api import Batch, Outputs, Processor, State
from schemas.address import NO_ORIGIN, Origin
from schemas.declare import Rows
from schemas.money import format_e8, parse_e8

ORIGIN = Origin(3, 0, 1, 1)
START_NS = 1_700_000_000_000_000_000  # Tuesday, 14 November 2023, 22:13:20 UTC
SECOND_NS = 1_000_000_000


class Line(NamedTuple):
    number: int
    time_ns: int
    words: list[str]
    said: str


def read_tape(text: str) -> list[Line]:
    lines: list[Line] = []
    for raw in text.strip().splitlines():
        if not raw.strip() or raw.strip().startswith("#"):
            continue
        left, _, said = raw.partition("|")
        time, *words = left.split()
        lines.append(Line(len(lines) + 1, at(time), words, " ".join(said.split())))
    return lines


def play(
    processor: Processor,
    tape: str,
    to_rows: Callable[[Line], Rows],
    to_text: Callable[[int, Rows], str],
) -> State:
    """Feed the tape and compare; `on_time` lines fire timers instead. Returns the state after it."""
    state = processor.initial_state()
    expected, found = [], []
    for line in read_tape(tape):
        out = Outputs(processor.outputs, ORIGIN)
        if line.words == ["on_time"]:
            out.origin = NO_ORIGIN
            processor.on_time(state, line.time_ns, out)
        else:
            processor.on_batch(state, Batch(0, ORIGIN, line.number, to_rows(line)), out)
        said = [to_text(emitted.output, row) for emitted in out.emitted for row in emitted.rows]
        for dead in out.dead:
            said.append(f"dead: {dead.heap.tobytes()[: int(dead.rows['detail_size'][0])].decode()}")
            assert int(dead.rows["cause_row"][0]) == line.number
        for emitted in out.emitted:
            timers = emitted.origin == NO_ORIGIN
            assert set(emitted.rows["cause_row"].tolist()) == {0 if timers else line.number}
        head = f"{seconds(line.time_ns)} {' '.join(line.words)} |"
        expected.append(f"{head} {line.said}".strip())
        found.append(f"{head} {'; '.join(said)}".strip())
    assert found == expected
    return state


def at(time: str) -> int:
    """Seconds on the tape → ns."""
    return START_NS + parse_e8(time) * 10


def seconds(time_ns: Any) -> str:
    """The reverse."""
    return format_e8((int(time_ns) - START_NS) // 10)


def amount(text: str) -> int:
    return parse_e8(text)


def text_of(value_e8: Any) -> str:
    return format_e8(int(value_e8))
