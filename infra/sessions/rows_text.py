"""Rows as people read them: enum names, flags by name, prices as decimals, text as text."""

from __future__ import annotations

from schemas.declare import Event, Field, Heap, Rows
from schemas.money import format_e8
from schemas.trading import NOT_SAID


def text(rows: Rows, heap: Heap, column: str, index: int) -> str:
    """A text or bytes column of one row; bytes that are no text are escaped."""
    at = int(rows[f"{column}_at"][index])
    return bytes(heap[at : at + int(rows[f"{column}_size"][index])]).decode("utf-8", "backslashreplace")


def row_columns(event: Event) -> tuple[str, ...]:
    """Names of the columns that are shown, in order: `reserved` ones are not; money loses its `_e8`."""
    return tuple(_shown_name(field) for field in _fields(event))


def row_values(event: Event, rows: Rows, heap: Heap, index: int) -> tuple[object, ...]:
    """One row, in the order of `row_columns`; every value is one that JSON knows. None: the venue did not say."""
    return tuple(_value(field, rows, heap, index) for field in _fields(event))


def _fields(event: Event) -> list[Field]:
    return [field for field in event.fields if not field.name.startswith("reserved")]


def _is_money(field: Field) -> bool:
    return field.name.endswith("_e8")


def _shown_name(field: Field) -> str:
    return field.name.removesuffix("_e8") if _is_money(field) else field.name


def _value(field: Field, rows: Rows, heap: Heap, index: int) -> object:
    if field.heap:
        return text(rows, heap, field.name, index)
    value = rows[field.name][index].tolist()
    if _is_money(field) and value == NOT_SAID:
        return None
    if _is_money(field):
        return [format_e8(one) for one in value] if field.count else format_e8(value)
    if field.kind == "enum":
        assert field.symbols is not None
        return field.symbols(value).name
    if field.kind == "flags":
        assert field.symbols is not None
        return "|".join(bit.name or "" for bit in field.symbols if value & bit)
    return value
