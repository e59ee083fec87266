"""What a running session looks like: gathered from its topics and the words of its processes.

Books and bars are read from the topics, as any dashboard would; rates and lags come from the status
files, because they say how it runs and not what happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.process.status import Status
from infra.sessions.rows_text import text
from infra.up.trading import TRADING_TOPICS, TradingNow
from schemas.declare import Rows
from schemas.events import BarKind, Trust
from schemas.instruments import Venue, instrument_name
from schemas.money import format_e8
from streams.api import Chunk, Source, StartAt, TopicPartition, WriterKey
from streams.clock import Clock
from streams.topics import TOPIC_BY_NUMBER, topic

WATCHED = ("ref.instrument.v1", "md.quote.v1", "md.bar.v1")
BYTES_A_POLL = 1 << 20
POLLS_MAX = 16  # a turn ends although there is more: the screen comes first


@dataclass
class BookNow:
    """The touch of one instrument, as text."""

    bid: str = ""
    bid_quantity: str = ""
    ask: str = ""
    ask_quantity: str = ""
    trust: str = Trust.EMPTY.name
    ts_recv_ns: int = 0
    quotes: int = 0


@dataclass
class BarNow:
    """The last time bar of one instrument."""

    open: str
    high: str
    low: str
    close: str
    volume: str
    trade_count: int
    ts_event_ns: int
    seconds: float


@dataclass
class Picture:
    """A session, now. Names are `venue:symbol`, or the instrument's number until its name is known."""

    names: dict[int, str] = field(default_factory=dict)
    books: dict[int, BookNow] = field(default_factory=dict)
    bars: dict[int, BarNow] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    lags: dict[tuple[str, str], int] = field(default_factory=dict)
    trading: TradingNow = field(default_factory=TradingNow)
    first_book_ns: int = 0
    first_fill_ns: int = 0

    def name(self, instrument: int) -> str:
        return self.names.get(instrument, str(instrument))


class Watcher:
    """Keeps a picture up to date."""

    def __init__(self, source: Source, clock: Clock) -> None:
        self.picture = Picture()
        self._source = source
        self._clock = clock
        self._counted: tuple[int, dict[str, int]] = (clock.monotonic_ns(), {})
        names = (*WATCHED, *TRADING_TOPICS)
        places = [TopicPartition(topic(name).number, p) for name in names for p in range(topic(name).partitions)]
        source.assign(places, StartAt({}, {}))

    def look(self, statuses: Mapping[str, Status]) -> Picture:
        """Take what is new in the topics and the statuses."""
        for _ in range(POLLS_MAX):
            chunks = self._source.poll(0, BYTES_A_POLL)
            for chunk in chunks:
                self._take(chunk)
            if not chunks:
                break
        self._count(statuses)
        self.picture.lags = lags(statuses)
        return self.picture

    def _take(self, chunk: Chunk) -> None:
        name = TOPIC_BY_NUMBER[chunk.key.topic].name
        if name == "ref.instrument.v1":
            for index in range(len(chunk.rows)):
                self.picture.names[int(chunk.rows["instrument"][index])] = _instrument_name(chunk, index)
        elif name == "md.quote.v1":
            self._take_quotes(chunk.rows)
        elif name == "md.bar.v1":
            self._take_bars(chunk.rows)
        else:
            self.picture.trading.take(name, chunk, self.picture.name)
            if not self.picture.first_fill_ns and self.picture.trading.fills:
                self.picture.first_fill_ns = self._clock.monotonic_ns()

    def _take_quotes(self, rows: Rows) -> None:
        if not self.picture.first_book_ns and (rows["trust"] == Trust.SYNCED).any():
            self.picture.first_book_ns = self._clock.monotonic_ns()
        for instrument, row, count in last_of_each(rows):
            book = self.picture.books.setdefault(instrument, BookNow())
            book.bid, book.bid_quantity = format_e8(row["bid_price_e8"]), format_e8(row["bid_quantity_e8"])
            book.ask, book.ask_quantity = format_e8(row["ask_price_e8"]), format_e8(row["ask_quantity_e8"])
            book.trust = Trust(int(row["trust"])).name
            book.ts_recv_ns = int(row["ts_recv_ns"])
            book.quotes += count

    def _take_bars(self, rows: Rows) -> None:
        for instrument, row, _ in last_of_each(rows[rows["kind"] == BarKind.TIME]):
            self.picture.bars[instrument] = BarNow(
                open=format_e8(row["open_e8"]),
                high=format_e8(row["high_e8"]),
                low=format_e8(row["low_e8"]),
                close=format_e8(row["close_e8"]),
                volume=format_e8(row["volume_e8"]),
                trade_count=int(row["trade_count"]),
                ts_event_ns=int(row["ts_event_ns"]),
                seconds=float(row["size"]) / 1e9,
            )

    def _count(self, statuses: Mapping[str, Status]) -> None:
        """Rows per topic so far, and per second since the last count that is half a second old."""
        rows: dict[str, int] = {}
        for status in statuses.values():
            for key, last in status.written.items():
                name = TOPIC_BY_NUMBER[key.topic].name
                rows[name] = rows.get(name, 0) + last
        self.picture.rows = rows
        now_ns = self._clock.monotonic_ns()
        before_ns, before = self._counted
        if now_ns - before_ns >= 500_000_000:
            seconds = (now_ns - before_ns) / 1e9
            self.picture.rates = {
                name: max(0.0, (count - before.get(name, 0)) / seconds) for name, count in rows.items()
            }
            self._counted = (now_ns, rows)


def lags(statuses: Mapping[str, Status]) -> dict[tuple[str, str], int]:
    """Rows written and not yet taken, by (reader, topic). Only of sequences that the reader reads."""
    written: dict[WriterKey, int] = {}
    for status in statuses.values():
        for key, last in status.written.items():
            written[key] = max(last, written.get(key, 0))
    found: dict[tuple[str, str], int] = {}
    for status in statuses.values():
        for key, taken in status.taken.items():
            place = (status.service, TOPIC_BY_NUMBER[key.topic].name)
            found[place] = found.get(place, 0) + max(0, written.get(key, taken) - taken)
    return found


def last_of_each(rows: Rows) -> list[tuple[int, Any, int]]:
    """(instrument, its last row, how many rows it had), by instrument."""
    ids = rows["instrument"]
    found = []
    for instrument in sorted(set(ids.tolist())):
        mine = rows[ids == instrument]
        found.append((instrument, mine[-1], len(mine)))
    return found


def _instrument_name(chunk: Chunk, index: int) -> str:
    return instrument_name(Venue(int(chunk.rows["venue"][index])), text(chunk.rows, chunk.heap, "symbol", index))
