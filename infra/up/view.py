"""The live view of `up` in a terminal: one screen, drawn from a `Picture`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.cli.output import mebibytes, table
from infra.up.trading import money
from infra.up.watch import BookNow, Picture
from schemas.money import format_e8
from streams.pipelines import PIPELINES

TRUST_STYLE = {"SYNCED": "green", "RESYNCING": "yellow", "EMPTY": "dim"}  # whatever else must not be believed: red
NOTES_SHOWN = 5


@dataclass(frozen=True)
class ProcessLine:
    """One process of the table."""

    name: str
    state: str
    pid: int
    rss_bytes: int
    restarts: int
    rows_in: int
    rows_out: int


@dataclass
class Screen:
    """Everything that is on the screen beside the picture.

    Attributes:
        title: session and what feeds it.
        warning: said loudly (synthetic data); "" for nothing.
        notes: what happened lately: faults, deaths, restarts.
    """

    title: str
    warning: str = ""
    notes: list[str] = field(default_factory=list)


def render(screen: Screen, picture: Picture, processes: Sequence[ProcessLine], elapsed_s: float) -> RenderableType:
    """One screen."""
    parts: list[RenderableType] = [Text(f"{screen.title}   {elapsed_s:,.0f} s", style="bold")]
    if screen.warning:
        parts.append(Panel(Text(screen.warning, justify="center"), style="bold black on yellow"))
    side_by_side = Table.grid(padding=(0, 4))
    right: list[RenderableType] = [_processes(processes)]
    parts += [_books(picture), Text()]
    if picture.trading.strategies:
        parts += [_strategies(picture), Text()]
        right += [Text(), _hops(picture)]
    side_by_side.add_row(_topics(picture), Group(*right))
    parts += [_bars(picture), Text(), side_by_side]
    parts += [Text(f"· {note}", style="yellow") for note in screen.notes[-NOTES_SHOWN:]]
    return Group(*parts)


def line(screen: Screen, picture: Picture, elapsed_s: float) -> str:
    """The same in a line, and one for each strategy, for logs and pipes."""
    books = "; ".join(f"{name} {book.bid} / {book.ask} {book.trust}" for name, book in _books_in_order(picture))
    rows = sum(picture.rows.values())
    behind = sum(picture.lags.values())
    words = f"{elapsed_s:6.1f} s  {rows:,} rows, {behind:,} behind  {books or 'no book yet'}"
    return words + "".join(f"\n          {one}" for one in _strategy_lines(picture))


def _books_in_order(picture: Picture) -> list[tuple[str, BookNow]]:
    return sorted(
        ((picture.name(instrument), book) for instrument, book in picture.books.items()), key=lambda item: item[0]
    )


def _books(picture: Picture) -> Table:
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("instrument", "bid size", "bid", "ask", "ask size", "trust", "quotes"):
        made.add_column(name, justify="left" if name in ("instrument", "trust") else "right", min_width=9)
    for name, book in _books_in_order(picture):
        trust = Text(book.trust, style=TRUST_STYLE.get(book.trust, "bold red"))
        made.add_row(
            name,
            book.bid_quantity,
            Text(book.bid, style="green"),
            Text(book.ask, style="red"),
            book.ask_quantity,
            trust,
            f"{book.quotes:,}",
        )
    return made


def _bars(picture: Picture) -> Table:
    rows = [
        (
            picture.name(instrument),
            f"{bar.seconds:g} s",
            bar.open,
            bar.high,
            bar.low,
            bar.close,
            bar.volume,
            bar.trade_count,
        )
        for instrument, bar in sorted(picture.bars.items(), key=lambda item: picture.name(item[0]))
    ]
    return table(("last bar", "of", "open", "high", "low", "close", "volume", "trades"), rows)


def _strategies(picture: Picture) -> Table:
    """Who trades, and how it stands."""
    rows = []
    for one in picture.trading.strategies.values():
        held = [
            f"{format_e8(quantity)} {picture.name(instrument)}"
            for instrument, (quantity, *_) in one.held.items()
            if quantity
        ]
        realised, unrealised, fees = (sum(line[column] for line in one.held.values()) for column in (2, 3, 4))
        rows.append(
            (
                one.name if one.enabled else f"{one.name} (disabled)",
                ", ".join(held) or "flat",
                money(one.profit_e8),
                money(realised),
                money(unrealised),
                money(-fees),
                len(one.open_orders),
                one.fills,
                one.last_fill,
                f"{one.denials.total():,}: {one.last_denial}" if one.denials else "none",
            )
        )
    columns = (
        "strategy", "position", "profit", "realised", "open", "fees", "orders", "fills", "last fill",
        "denials, and the last",
    )  # fmt: skip
    return table(columns, rows)


def _strategy_lines(picture: Picture) -> list[str]:
    return [
        f"{one.name} {one.fills:,} fills, {one.denials.total():,} denials, {money(one.profit_e8)}"
        for one in picture.trading.strategies.values()
    ]


def _hops(picture: Picture) -> Table:
    """From a frame's arrival to each pipeline's output."""
    rows = [
        (name, found.count, found.quantile_ns(0.5) / 1e6, found.quantile_ns(0.99) / 1e6)
        for name, found in ((row.name, picture.trading.hops.get(row.name)) for row in PIPELINES)
        if found is not None and found.count
    ]
    return table(("received → output of", "samples", "p50 ms", "p99 ms"), rows)


def _topics(picture: Picture) -> Table:
    behind: dict[str, list[str]] = {}
    for (reader, name), lag in sorted(picture.lags.items()):
        if lag:
            behind.setdefault(name, []).append(f"{reader} {lag:,}")
    rows = [
        (name, count, int(picture.rates.get(name, 0)), ", ".join(behind.get(name, [])))
        for name, count in sorted(picture.rows.items())
    ]
    return table(("topic", "rows", "rows/s", "rows behind"), rows)


def _processes(processes: Sequence[ProcessLine]) -> Table:
    rows = [
        (one.name, one.state, one.pid, mebibytes(one.rss_bytes), one.restarts, one.rows_in, one.rows_out)
        for one in processes
    ]
    return table(("process", "state", "pid", "memory", "restarts", "rows in", "rows out"), rows)
