"""Plain twin of processors/book.py: one dict a side, one row after the other, no bound on levels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.declare import Rows
from schemas.events import BOOK_LEVELS, BookAction, DeadReason, DeltaFlag, Side, Trust

PRICE_MAX = 1 << 62
TIME_MAX_NS = 1 << 62


class PlainQuote(NamedTuple):
    ts_event_ns: int
    ts_recv_ns: int
    update_id: int
    bid_price_e8: int
    bid_quantity_e8: int
    ask_price_e8: int
    ask_quantity_e8: int
    cause_row: int
    instrument: int
    trust: Trust


class PlainSnapshot(NamedTuple):
    ts_event_ns: int
    ts_recv_ns: int
    update_id: int
    cause_row: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    instrument: int
    bid_levels: int
    ask_levels: int


@dataclass
class OneBook:
    bids: dict[int, int] = field(default_factory=dict)
    asks: dict[int, int] = field(default_factory=dict)
    trust: Trust = Trust.EMPTY
    loading: bool = False
    update_id: int = 0
    event_ns: int = 0
    recv_ns: int = 0
    snapshot_ns: int = 0
    quoted: tuple[int, int, int, int] = (0, 0, 0, 0)

    def touch(self) -> tuple[int, int, int, int]:
        bid = max(self.bids, default=0)
        ask = min(self.asks, default=0)
        return bid, self.bids.get(bid, 0), ask, self.asks.get(ask, 0)


@dataclass
class PlainBook:
    stale_after_ns: int
    snapshot_every_ns: int
    books: dict[int, OneBook] = field(default_factory=dict)
    quotes: list[PlainQuote] = field(default_factory=list)
    snapshots: list[PlainSnapshot] = field(default_factory=list)
    dead: list[tuple[int, DeadReason]] = field(default_factory=list)

    def take(self, rows: Rows, row_first: int) -> None:
        for k, row in enumerate(rows):
            self._take(row, row_first + k)

    def fire(self, now_ns: int) -> None:
        """Every book that is due goes stale, oldest first; books due together in the order they were first seen."""
        while self.stale_after_ns:
            due = [
                (book.recv_ns + self.stale_after_ns, instrument)
                for instrument, book in self.books.items()
                if book.trust in (Trust.SYNCED, Trust.CROSSED)
            ]
            deadline, instrument = min(due, key=lambda item: item[0], default=(TIME_MAX_NS * 2, 0))
            if deadline > now_ns:
                return
            self.books[instrument].trust = Trust.STALE
            self._quote(instrument, deadline, 0)

    def _take(self, row: Rows, number: int) -> None:
        reason = self._fault(row)
        if reason is not None:
            self.dead.append((number, reason))
            return
        instrument = int(row["instrument"])
        book = self.books.setdefault(instrument, OneBook())
        self.fire(int(row["ts_recv_ns"]))
        if row["action"] in (BookAction.UPDATE, BookAction.SNAPSHOT):
            self._level(book, instrument, row, number)
            return
        self._note(book, row)
        if row["action"] == BookAction.GAP:
            self._doubt(book, instrument, Trust.GAP, row, number)
        elif row["action"] == BookAction.RESYNC:
            self._doubt(book, instrument, Trust.RESYNCING, row, number)
        elif book.trust in (Trust.SYNCED, Trust.CROSSED):
            self._doubt(book, instrument, Trust.STALE, row, number)

    def _fault(self, row: Rows) -> DeadReason | None:
        level = row["action"] in (BookAction.UPDATE, BookAction.SNAPSHOT)
        book = self.books.get(int(row["instrument"]), OneBook())
        beginning = row["flags"] & DeltaFlag.FIRST
        if row["action"] > BookAction.STALE or row["flags"] > 7 or (level and row["side"] > 1):
            return DeadReason.UNEXPECTED
        if row["action"] == BookAction.SNAPSHOT and not beginning and not book.loading:
            return DeadReason.UNEXPECTED
        if not all(0 <= row[name] < TIME_MAX_NS for name in ("ts_event_ns", "ts_recv_ns")):
            return DeadReason.OUT_OF_RANGE
        if row["action"] == BookAction.SNAPSHOT and beginning and row["price_e8"] == row["quantity_e8"] == 0:
            return None  # tells that the book is empty
        if level and (not 0 < row["price_e8"] <= PRICE_MAX or row["quantity_e8"] < 0):
            return DeadReason.OUT_OF_RANGE
        return None

    def _level(self, book: OneBook, instrument: int, row: Rows, number: int) -> None:
        if row["action"] == BookAction.SNAPSHOT and row["flags"] & DeltaFlag.FIRST:
            book.bids, book.asks = {}, {}
            self._note(book, row)
            self._doubt(book, instrument, Trust.RESYNCING, row, number)
            book.loading = True
        elif not book.loading and book.trust not in (Trust.SYNCED, Trust.STALE, Trust.CROSSED):
            return
        side = book.bids if row["side"] == Side.BUY else book.asks
        if row["quantity_e8"]:
            side[int(row["price_e8"])] = int(row["quantity_e8"])
        else:
            side.pop(int(row["price_e8"]), None)
        self._note(book, row)
        if row["flags"] & (DeltaFlag.LAST | DeltaFlag.SNAPSHOT_END):
            self._settle(book, instrument, row, number)

    def _note(self, book: OneBook, row: Rows) -> None:
        book.update_id = int(row["update_id"])
        book.event_ns = int(row["ts_event_ns"])
        book.recv_ns = max(book.recv_ns, int(row["ts_recv_ns"]))

    def _doubt(self, book: OneBook, instrument: int, trust: Trust, row: Rows, number: int) -> None:
        book.loading = False
        if book.trust != trust:
            book.trust = trust
            self._quote(instrument, int(row["ts_recv_ns"]), number)

    def _settle(self, book: OneBook, instrument: int, row: Rows, number: int) -> None:
        fresh = book.loading
        if fresh and not row["flags"] & DeltaFlag.SNAPSHOT_END:
            return
        book.loading = False
        touch = book.touch()
        trust = Trust.CROSSED if book.bids and book.asks and touch[0] >= touch[2] else Trust.SYNCED
        if (trust, touch) != (book.trust, book.quoted):
            book.trust, book.quoted = trust, touch
            self._quote(instrument, int(row["ts_recv_ns"]), number)
        if trust == Trust.SYNCED and (fresh or book.event_ns >= book.snapshot_ns):
            book.snapshot_ns = (book.event_ns // self.snapshot_every_ns + 1) * self.snapshot_every_ns
            self._snapshot(book, instrument, int(row["ts_recv_ns"]), number)

    def _quote(self, instrument: int, recv_ns: int, cause_row: int) -> None:
        book = self.books[instrument]
        self.quotes.append(
            PlainQuote(book.event_ns, recv_ns, book.update_id, *book.quoted, cause_row, instrument, book.trust)
        )

    def _snapshot(self, book: OneBook, instrument: int, recv_ns: int, cause_row: int) -> None:
        nothing = [(0, 0)] * BOOK_LEVELS
        bids = [*sorted(book.bids.items(), reverse=True), *nothing][:BOOK_LEVELS]
        asks = [*sorted(book.asks.items()), *nothing][:BOOK_LEVELS]
        counts = (len(book.bids), len(book.asks))
        self.snapshots.append(
            PlainSnapshot(book.event_ns, recv_ns, book.update_id, cause_row, bids, asks, instrument, *counts)
        )


def plain_quotes(rows: Rows) -> list[PlainQuote]:
    """Quote rows in the twin's form."""
    names = PlainQuote._fields[:-1]
    return [PlainQuote(**{name: int(row[name]) for name in names}, trust=Trust(int(row["trust"]))) for row in rows]


def plain_snapshots(rows: Rows) -> list[PlainSnapshot]:
    """Snapshot rows in the twin's form."""

    def levels(row: Rows, side: str) -> list[tuple[int, int]]:
        pairs = zip(row[f"{side}_price_e8"], row[f"{side}_quantity_e8"], strict=True)
        return [(int(price), int(quantity)) for price, quantity in pairs]

    plain = []
    for row in rows:
        assert row["trust"] == Trust.SYNCED
        values = {name: int(row[name]) for name in PlainSnapshot._fields if name not in ("bids", "asks")}
        plain.append(PlainSnapshot(bids=levels(row, "bid"), asks=levels(row, "ask"), **values))
    return plain
