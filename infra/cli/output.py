"""What commands print: tables for people, JSON for machines, one sentence for what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_IN_PIPES = 240  # nobody's screen: lines are not to be broken for it
OUT = Console(width=None if sys.stdout.isatty() else WIDTH_IN_PIPES, emoji=False)
ERR = Console(stderr=True, emoji=False)


def say(text: str) -> None:
    """A line for people, on stderr: stdout is for results."""
    ERR.print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """One JSON document on one line."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE).decode())
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> Table:
    """A plain table; columns that hold only numbers are set right."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    listed = [list(row) for row in rows]
    for index, name in enumerate(columns):
        numbers = all(isinstance(row[index], (int, float)) for row in listed)
        made.add_column(name, justify="right" if numbers and listed else "left", overflow="fold")
    for row in listed:
        made.add_row(*(Text(cell(value)) for value in row))
    return made


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    OUT.print(table(columns, rows, title))


def cell(value: object) -> str:
    """A value as people read it: thousands apart, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def mebibytes(value: int) -> str:
    return f"{value / 2**20:,.0f} MiB"
