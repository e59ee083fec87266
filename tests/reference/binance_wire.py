"""The plain twin of connectors/binance: orjson, Decimal, dicts and lists. Slow, and meant to be read.

Everything that the scanner and the synchronisation kernels must do, written a second time without
looking at speed. Tests compare rows and dead letters one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any

import orjson

from connectors.binance.kernels.layout import LEVELS_MAX
from connectors.capabilities import EVERY_EPOCH
from schemas.events import BookAction, DeltaFlag, FrameKind, Side, TradeFlag, Trust
from schemas.instruments import Venue, instrument_id, instrument_name

EXACT = Context(prec=100)  # more digits than any amount has: nothing is ever rounded
I64_MAX = (1 << 63) - 1
TIME_MS_MAX = I64_MAX // 1_000_000
ASK_AGAIN_NS, WAIT_MAX_NS = 30 * 10**9, 60 * 10**9
DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)
STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
NUMBER = re.compile(rb"-?[0-9.]+[eE][+-]?[0-9]+|-?[0-9]+")


class Fault(Exception):
    """What is wrong with a message, in the words of connectors/binance/faults.py."""


def fault(text: str, key: str = "") -> Fault:
    return Fault(f"{text}: field {key!r}" if key else text)


NOT_JSON = "not JSON"
NOT_OBJECT = "JSON, but not an object"
UNKNOWN_EVENT = "not an event of a stream that is listened to"
BAD_FIELD = "a field is missing or of another type"
BAD_DECIMAL = "not a decimal number"
MANY_DECIMALS = "more than eight decimals"
OUT_OF_RANGE = "zero, negative or too large"
MANY_LEVELS = f"more than {LEVELS_MAX} levels in a message"
MANY_INSTRUMENTS = "one instrument more than instruments_max"


# --- Reading -----------------------------------------------------------------------------------------------------


@dataclass
class Event:
    """A message that says something: kind is "trade", "depth" or "ticker"."""

    kind: str
    symbol: str
    id: int
    time_ns: int = 0
    first_id: int = 0
    previous_id: int = 0
    amounts: tuple[int, ...] = ()  # trade: price, quantity; ticker: bid, its quantity, offer, its quantity
    bids: list[tuple[int, int]] = field(default_factory=list)
    asks: list[tuple[int, int]] = field(default_factory=list)
    sold: bool = False
    off_book: bool = False
    # Of the raw row:
    ts_recv_ns: int = 0
    cause_row: int = 0


def load(payload: bytes) -> Any:
    """The JSON value. orjson refuses numbers beyond a double's range; JSON does not: they read as 0 here."""
    while True:
        try:
            value = orjson.loads(payload)
            break
        except orjson.JSONDecodeError as error:
            at = len(error.doc[: error.pos].encode())  # the error counts characters
            number = NUMBER.match(payload, at) if "infinity" in str(error) else None
            if number is None:
                raise fault(NOT_JSON) from None
            payload = payload[: number.start()] + b"0.0" + payload[number.end() :]
    depth = deepest = 0
    for byte in STRINGS.sub(b"", payload):
        depth += (byte in b"[{") - (byte in b"]}")
        deepest = max(deepest, depth)
    if deepest > 60:
        raise fault(NOT_JSON)
    return value


def read(payload: bytes, futures: bool) -> Event | None:
    """The event of a stream message; None for acknowledgements and announcements.

    Raises:
        Fault: it is none of these.
    """
    message = load(payload)
    if not isinstance(message, dict):
        raise fault(NOT_OBJECT)
    data = message
    if "data" in message:
        data = message["data"]
        if not isinstance(data, dict):
            raise fault(UNKNOWN_EVENT, "data")
    elif "e" not in message and "s" not in message and {"result", "id", "code", "error"} & message.keys():
        return None
    if "e" not in data:
        if {"u", "s", "b", "B", "a", "A"} <= data.keys():
            return read_ticker(data)
        raise fault(UNKNOWN_EVENT)
    match data["e"]:
        case "trade":
            return read_trade(data)
        case "depthUpdate":
            return read_depth(data, futures)
        case "bookTicker":
            return read_ticker(data)
        case "serverShutdown":
            return None
    raise fault(UNKNOWN_EVENT, "e")


def read_trade(data: dict[str, Any]) -> Event:
    symbol = symbol_of(data)
    trade_id = integer(data, "t")
    price, quantity = decimal(data, "p", 1), decimal(data, "q", 1)
    time_ns = time_of(data)
    if not isinstance(data.get("m"), bool):
        raise fault(BAD_FIELD, "m")
    if "X" in data and not isinstance(data["X"], str):
        raise fault(BAD_FIELD, "X")
    return Event(
        "trade", symbol, trade_id, time_ns, amounts=(price, quantity), sold=data["m"],
        off_book=data.get("X", "MARKET") != "MARKET",
    )  # fmt: skip


def read_depth(data: dict[str, Any], futures: bool) -> Event:
    symbol = symbol_of(data)
    first_id, last_id = integer(data, "U"), integer(data, "u")
    previous_id = integer(data, "pu") if futures else 0
    time_ns = time_of(data)
    bids = levels(data, "b", LEVELS_MAX)
    asks = levels(data, "a", LEVELS_MAX - len(bids))
    if last_id < first_id:
        raise fault(OUT_OF_RANGE, "u")
    return Event("depth", symbol, last_id, time_ns, first_id, previous_id, bids=bids, asks=asks)


def read_ticker(data: dict[str, Any]) -> Event:
    symbol = symbol_of(data)
    update_id = integer(data, "u")
    amounts = tuple(decimal(data, key, 0) for key in "bBaA")
    time_ns = time_of(data) if "E" in data or "T" in data else 0
    for side, key in ((0, "b"), (2, "a")):
        if (amounts[side] == 0) != (amounts[side + 1] == 0):
            raise fault(OUT_OF_RANGE, key)
    return Event("ticker", symbol, update_id, time_ns, amounts=amounts)


def read_snapshot(payload: bytes) -> Event:
    """A REST depth answer, bare or wrapped. Raises Fault."""
    data = load(payload)
    if not isinstance(data, dict):
        raise fault(NOT_JSON)
    data = data["data"] if isinstance(data.get("data"), dict) else data
    last_id = integer(data, "lastUpdateId")
    time_ns = time_of(data) if "E" in data or "T" in data else 0
    bids = levels(data, "bids", LEVELS_MAX)
    return Event("depth", "", last_id, time_ns, bids=bids, asks=levels(data, "asks", LEVELS_MAX - len(bids)))


def symbol_of(data: dict[str, Any]) -> str:
    symbol = data.get("s")
    if not isinstance(symbol, str):
        raise fault(BAD_FIELD, "s")
    if not 1 <= len(symbol.encode()) <= 64:
        raise fault(OUT_OF_RANGE, "s")
    return symbol


def integer(data: dict[str, Any], key: str, most: int = I64_MAX) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not -I64_MAX - 1 <= value <= I64_MAX:
        raise fault(BAD_FIELD, key)
    if not 0 <= value <= most:
        raise fault(OUT_OF_RANGE, key)
    return value


def time_of(data: dict[str, Any]) -> int:
    key = "T" if "T" in data else "E"
    try:
        value = integer(data, key, TIME_MS_MAX)
    except Fault as error:
        raise Fault(str(error).replace("'T'", "'E'")) from None
    if value == 0:
        raise fault(OUT_OF_RANGE, "E")
    return value * 1_000_000


def decimal(data: dict[str, Any], key: str, least: int) -> int:
    value = amount(data.get(key), key)
    if value < least:
        raise fault(OUT_OF_RANGE, key)
    return value


def amount(text: Any, key: str) -> int:
    """× 10^8, exactly."""
    if not isinstance(text, str):
        raise fault(BAD_FIELD, key)
    match = DECIMAL.fullmatch(text)
    if match is None or len(text.encode()) > 64:
        raise fault(BAD_DECIMAL, key)
    if (match[3] or "")[8:].strip("0"):
        raise fault(MANY_DECIMALS, key)
    value = int(EXACT.multiply(Decimal(text), Decimal(10**8)))
    if value > I64_MAX or value < 0:
        raise fault(OUT_OF_RANGE, key)
    return value


def levels(data: dict[str, Any], key: str, most: int) -> list[tuple[int, int]]:
    given = data.get(key)
    if not isinstance(given, list):
        raise fault(BAD_FIELD, key)
    result: list[tuple[int, int]] = []
    for level in given:
        if not isinstance(level, list) or len(level) < 2:
            raise fault(BAD_FIELD, key)
        price = amount(level[0], key)
        if price == 0:
            raise fault(OUT_OF_RANGE, key)
        quantity = amount(level[1], key)
        if len(result) == most:
            raise fault(MANY_LEVELS, key)
        result.append((price, quantity))
    return result


# --- Synchronising -----------------------------------------------------------------------------------------------


@dataclass
class RawRow:
    """A raw row, as the twin takes it."""

    number: int
    kind: FrameKind
    payload: bytes = b""
    request: str = ""
    ts_recv_ns: int = 0
    connection: int = 0
    epoch: int = 1
    status: int = 200


@dataclass
class Book:
    instrument: int
    phase: str = "unsynced"  # → asked → synced
    connection: int = -1
    update_id: int = 0
    fresh: bool = False  # nothing applied since the snapshot
    ts_event_ns: int = 0
    waiting_id: int | None = None
    attempt: int = 0
    asked_ns: int = 0
    trade_id: int | None = None
    new_connection: bool = False
    ticker_id: int = -1


@dataclass(eq=False)
class Waiting:
    """An event in the waiting room; `follower`: the connection whose newer socket said it."""

    event: Event
    follower: int | None


class Twin:
    """Takes raw rows, collects rows as tuples in the order of the declared columns (without `reserved`)."""

    def __init__(self, venue: Venue, futures: bool, instruments_max: int = 1024) -> None:
        self.venue, self.futures, self.instruments_max = venue, futures, instruments_max
        self.trades: list[tuple[int, ...]] = []
        self.deltas: list[tuple[int, ...]] = []
        self.tickers: list[tuple[int, ...]] = []
        self.requests: list[tuple[int, ...]] = []
        self.dead: list[tuple[int, str]] = []  # row number, detail
        self.books: dict[int, Book] = {}
        self.sockets: dict[int, list[int]] = {}  # connection → epochs: leader, perhaps follower
        self.waiting: list[Waiting] = []

    def take_all(self, rows: Iterable[RawRow]) -> Twin:
        for row in rows:
            self.take(row)
        return self

    def take(self, row: RawRow) -> None:
        sockets = self.sockets.setdefault(row.connection, [])
        match row.kind:
            case FrameKind.REST:
                self.answer(row)
            case FrameKind.OPEN:
                self.open(row, sockets)
            case FrameKind.CLOSE:
                self.close(row, sockets)
            case FrameKind.SILENT:
                self.silent(row)
            case FrameKind.TEXT:
                self.text(row, sockets)
            case _:
                self.dead.append((row.number, "a binary message: this venue sends text"))

    # Sockets.

    def open(self, row: RawRow, sockets: list[int]) -> None:
        if sockets and row.epoch <= max(sockets):
            return
        if len(sockets) == 2:
            sockets.pop()
            self.waiting = [w for w in self.waiting if w.follower != row.connection]
        sockets.append(row.epoch)

    def close(self, row: RawRow, sockets: list[int]) -> None:
        mine = [w for w in self.waiting if w.follower == row.connection]
        others = [w for w in self.waiting if w.follower != row.connection]
        if row.epoch == EVERY_EPOCH:
            sockets.clear()
        elif row.epoch not in sockets:
            return
        elif row.epoch != sockets[0]:  # the follower
            sockets.pop()
            self.waiting = others
            return
        else:
            sockets.pop(0)
        self.waiting = others
        if sockets:  # the follower leads now
            for waiting in mine:
                self.lead(waiting.event)
            return
        for book in self.books.values():
            if book.connection == row.connection:
                self.break_book(book, row)

    def break_book(self, book: Book, row: RawRow) -> None:
        book.ticker_id, book.new_connection = -1, True
        if book.phase == "synced":
            self.state_row(book, BookAction.GAP, book.ts_event_ns, row.ts_recv_ns, row.number)
        self.forget(book)
        book.phase = "unsynced"

    def silent(self, row: RawRow) -> None:
        symbol, _, kind = row.payload.decode().partition("@")
        for book in self.books.values():
            if row.payload:
                mine = kind.startswith("depth") and book.instrument == self.id_of(symbol.upper())
            else:
                mine = book.connection == row.connection
            if mine and book.phase == "synced":
                self.state_row(book, BookAction.STALE, book.ts_event_ns, row.ts_recv_ns, row.number)

    # Messages.

    def text(self, row: RawRow, sockets: list[int]) -> None:
        if row.epoch not in sockets:
            if sockets and row.epoch < max(sockets):
                return
            self.open(row, sockets)
        try:
            event = read(row.payload, self.futures)
        except Fault as error:
            self.dead.append((row.number, str(error)))
            return
        if event is None:
            return
        event.ts_recv_ns, event.cause_row = row.ts_recv_ns, row.number
        book = self.book_of(event.symbol)
        if book is None:
            self.dead.append((row.number, MANY_INSTRUMENTS))
            return
        book.connection = row.connection
        if row.epoch == sockets[0]:
            self.lead(event)
        else:
            self.wait(event, row.connection)

    def lead(self, event: Event) -> None:
        """An event of a leader."""
        book = self.book_of(event.symbol)
        assert book is not None
        if event.kind == "trade":
            self.trade(book, event)
        elif event.kind == "ticker":
            if event.id > book.ticker_id:
                book.ticker_id = event.id
                self.tickers.append(
                    (event.time_ns, event.ts_recv_ns, event.id, *event.amounts, event.cause_row, book.instrument,
                     int(Trust.SYNCED))
                )  # fmt: skip
        else:
            self.depth(book, event)

    def trade(self, book: Book, event: Event) -> None:
        last = book.trade_id
        if last is not None and event.id <= last and not book.new_connection:
            return
        flags = TradeFlag(0)
        if last is not None and event.id != last + 1:
            flags |= TradeFlag.HOLE_BEFORE
        if event.off_book:
            flags |= TradeFlag.OFF_BOOK
        book.trade_id, book.new_connection = event.id, False
        side = Side.SELL if event.sold else Side.BUY
        self.trades.append(
            (event.time_ns, event.ts_recv_ns, *event.amounts, event.id, event.cause_row, book.instrument, int(side),
             int(flags))
        )  # fmt: skip

    def verdict(self, book_id: int, fresh: bool, event: Event) -> str:
        """What the venue's rule says of an event and a book: "drop", "apply" or "break"."""
        if self.futures and fresh:
            if event.id < book_id:
                return "drop"
            return "apply" if event.first_id <= book_id <= event.id or event.previous_id == book_id else "break"
        if event.id <= book_id:
            return "drop"
        if self.futures:
            return "apply" if event.previous_id == book_id else "break"
        return "apply" if event.first_id <= book_id + 1 <= event.id else "break"

    def depth(self, book: Book, event: Event) -> None:
        if book.phase == "synced":
            verdict = self.verdict(book.update_id, book.fresh, event)
            if verdict == "apply":
                self.apply(book, event)
            if verdict != "break":
                return
            self.state_row(book, BookAction.GAP, event.time_ns, event.ts_recv_ns, event.cause_row)
            book.phase = "unsynced"
        if book.phase == "unsynced":
            book.attempt, book.waiting_id = 0, None
            self.ask(book, event.time_ns, event.ts_recv_ns, event.cause_row)
        elif event.ts_recv_ns - book.asked_ns >= ASK_AGAIN_NS:
            self.ask(book, event.time_ns, event.ts_recv_ns, event.cause_row)
        if book.waiting_id is not None:
            verdict = self.verdict(book.waiting_id, False, event)
            if verdict == "drop":
                return
            if verdict == "break":
                self.forget(book)
        book.waiting_id = event.id
        self.wait(event, None)

    def ask(self, book: Book, time_ns: int, ts_recv_ns: int, cause_row: int) -> None:
        book.attempt += 1
        book.phase, book.asked_ns = "asked", ts_recv_ns
        self.state_row(book, BookAction.RESYNC, time_ns, ts_recv_ns, cause_row)
        self.requests.append((ts_recv_ns, cause_row, book.update_id, book.instrument, book.attempt))

    # The waiting room.

    def wait(self, event: Event, follower: int | None) -> None:
        while self.waiting and event.ts_recv_ns - self.waiting[0].event.ts_recv_ns > WAIT_MAX_NS:
            self.waiting.pop(0)
        self.waiting.append(Waiting(event, follower))

    def own(self, book: Book) -> list[Waiting]:
        return [w for w in self.waiting if w.follower is None and self.id_of(w.event.symbol) == book.instrument]

    def forget(self, book: Book) -> None:
        gone = self.own(book)
        self.waiting = [w for w in self.waiting if w not in gone]

    # Answers.

    def answer(self, row: RawRow) -> None:
        match = re.fullmatch(r"GET /(?:api/v3|fapi/v1)/depth\?symbol=([^&]+)&limit=\d+", row.request)
        if row.status != 200 or match is None:
            return
        try:
            snapshot = read_snapshot(row.payload)
        except Fault as error:
            self.dead.append((row.number, str(error)))
            return
        known = self.id_of(match[1]) in self.books
        book = self.book_of(match[1])
        if book is None:
            self.dead.append((row.number, f"no room for instrument {match[1]}"))
            return
        if not known:
            book.connection = row.connection
        snapshot.symbol, snapshot.ts_recv_ns, snapshot.cause_row = match[1], row.ts_recv_ns, row.number
        self.snapshot(book, snapshot)

    def snapshot(self, book: Book, snapshot: Event) -> None:
        if book.phase == "synced" and snapshot.id <= book.update_id:
            return
        waiting = self.own(book)
        while waiting and self.verdict(snapshot.id, True, waiting[0].event) == "drop":
            dropped = waiting.pop(0)
            self.waiting.remove(dropped)
            book.ts_event_ns = dropped.event.time_ns
        snapshot.time_ns = snapshot.time_ns or book.ts_event_ns
        if waiting and self.verdict(snapshot.id, True, waiting[0].event) == "break":
            self.ask(book, snapshot.time_ns, snapshot.ts_recv_ns, snapshot.cause_row)
            return
        if not snapshot.bids and not snapshot.asks:
            snapshot.bids = [(0, 0)]
        self.apply(book, snapshot, BookAction.SNAPSHOT)
        book.fresh = True
        for one in waiting:
            self.apply(book, one.event)
        self.forget(book)
        *rest, flags = self.deltas[-1]
        self.deltas[-1] = (*rest, flags | DeltaFlag.SNAPSHOT_END)
        book.phase, book.attempt, book.waiting_id = "synced", 0, None

    # Rows.

    def apply(self, book: Book, event: Event, action: BookAction = BookAction.UPDATE) -> None:
        sides = [(Side.BUY, level) for level in event.bids] + [(Side.SELL, level) for level in event.asks]
        for n, (side, (price, quantity)) in enumerate(sides):
            flags = DeltaFlag.FIRST * (n == 0) | DeltaFlag.LAST * (n == len(sides) - 1)
            self.deltas.append(
                (event.time_ns, event.ts_recv_ns, event.id, price, quantity, event.cause_row, book.instrument,
                 int(side), int(action), int(flags))
            )  # fmt: skip
        book.update_id, book.ts_event_ns, book.fresh = event.id, event.time_ns, False

    def state_row(self, book: Book, action: BookAction, time_ns: int, ts_recv_ns: int, cause_row: int) -> None:
        flags = DeltaFlag.FIRST | DeltaFlag.LAST
        self.deltas.append(
            (time_ns, ts_recv_ns, book.update_id, 0, 0, cause_row, book.instrument, 0, int(action), int(flags))
        )

    def id_of(self, symbol: str) -> int:
        return instrument_id(instrument_name(self.venue, symbol))

    def book_of(self, symbol: str) -> Book | None:
        """The symbol's book, made when new; None when there is no room."""
        instrument = self.id_of(symbol)
        if instrument not in self.books:
            if len(self.books) == self.instruments_max:
                return None
            self.books[instrument] = Book(instrument)
        return self.books[instrument]
