"""Rows of any event for testing the codec: extremes, repetitions, short and long integers, odd texts."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import numpy as np

from schemas.address import NO_ORIGIN, Origin
from schemas.catalogue import EVENTS
from schemas.declare import Event, Field, Heap, Rows
from tests.reference.frame import RANGE

TEXTS = ["", "BTCUSDT", "é", "€uro", "\U0001f40d", "\x00", "GET /fapi/v1/depth?symbol=BTCUSDT", "ÿ" * 40]


def allowed(field: Field) -> range:
    """Values of an integer column."""
    return RANGE.get(field.kind) or range(len(field.symbols or ()))


def random_integers(field: Field, count: int, rng: np.random.Generator) -> list[int]:
    """Mostly near each other as in life, sometimes extreme, of every length as a varint."""
    values = allowed(field)
    low, high = values[0], values[-1]
    style = rng.integers(4)
    if style == 0:
        picked = [(low, high, 0, 1, low + 1, high - 1, -1)[rng.integers(7)] for _ in range(count)]
    elif style == 1:
        picked = [int(rng.integers(-(2**63), 2**63 - 1)) >> int(rng.integers(64)) for _ in range(count)]
    else:
        start = int(rng.integers(-(2**62), 2**62)) >> int(rng.integers(62))
        picked = [start + (int(rng.integers(-(2**40), 2**40)) >> int(rng.integers(40))) for _ in range(count)]
    return [min(max(value, low), high) for value in picked]


def random_rows(event: Event, count: int, rng: np.random.Generator) -> tuple[Rows, Heap]:
    """`count` valid rows and a dense heap in order of row and column, as `decode` gives it."""
    rows = event.empty(count)
    for field in event.fields:
        if field.name.startswith("reserved") or field.heap:
            continue
        if field.kind == "f64":
            rows[field.name] = rng.normal(size=count)
        elif field.count:
            rows[field.name] = np.array(random_integers(field, count * field.count, rng)).reshape(count, field.count)
        else:
            rows[field.name] = random_integers(field, count, rng)
    heap = bytearray()
    for row in rows:
        for field in event.heap_fields:
            text = TEXTS[rng.integers(len(TEXTS))].encode()
            raw = text if field.kind == "text" else rng.bytes(int(rng.integers(40)))
            row[f"{field.name}_at"], row[f"{field.name}_size"] = len(heap), len(raw)
            heap += raw
    return rows, np.frombuffer(bytes(heap), dtype=np.uint8)


def random_head(event: Event, rng: np.random.Generator) -> tuple[int, int, int, Origin]:
    """writer, incarnation, row_first, cause."""
    numbers = [int(number) for number in rng.integers(0, 1 << 16, 6)]
    cause = Origin(*numbers[2:]) if event.caused and rng.integers(2) else NO_ORIGIN
    return numbers[0], numbers[1], 1 + (int(rng.integers(0, 2**62)) >> int(rng.integers(62))), cause


@st.composite
def rows_of(draw: Any, event: Event, count_max: int = 6) -> tuple[Rows, Heap]:
    """Hypothesis: rows whose scalars and texts shrink one by one; arrays come from a drawn seed."""
    count = draw(st.integers(0, count_max))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, _ = random_rows(event, count, rng)
    heap = bytearray()
    for row in rows:
        for field in event.fields:
            if field.name.startswith("reserved") or field.count:
                continue
            if field.heap:
                raw = draw(st.text(max_size=30)).encode() if field.kind == "text" else draw(st.binary(max_size=60))
                row[f"{field.name}_at"], row[f"{field.name}_size"] = len(heap), len(raw)
                heap += raw
            elif field.kind != "f64":
                values = allowed(field)
                row[field.name] = draw(st.integers(values[0], values[-1]))
    return rows, np.frombuffer(bytes(heap), dtype=np.uint8)


frames = st.sampled_from(EVENTS).flatmap(lambda event: st.tuples(st.just(event), rows_of(event)))
