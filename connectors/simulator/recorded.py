"""Recordings as a feed.

Every file is read to its end before anything is played: what is found bad later would already have
been half believed.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import orjson

from connectors.recording import SNAPSHOT_SUFFIX, STREAM_PREFIX, Line, read_lines, symbol_of_stream
from connectors.simulator.feed import SNAPSHOT, Item, StreamInfo, stream_info, wrapper_head
from connectors.simulator.listing import Listed, StepFinder
from connectors.simulator.venue_book import VenueBook
from schemas.errors import InputInvalid

SHOWN_CHARACTERS = 60
logger = logging.getLogger(__name__)


@dataclass
class Scan:
    """What reading a file through has told.

    Attributes:
        streams: stream names with what they are.
        symbols: in order of appearance.
        steps: price and quantity steps by symbol.
        first_ids: update id before the first order book event, by symbol.
        snapshots: the first recorded depth answer by symbol.
        bad_lines: numbers of lines left out.
        start_ns, end_ns: times of the first and last line.
        line_count: number of the last line read.
        broken_off: the file ends in the middle, and what comes before is played.
        is_of_other_venue: its order book events are those of the other venue.
    """

    path: Path
    streams: dict[str, StreamInfo] = field(default_factory=dict)
    symbols: dict[str, None] = field(default_factory=dict)
    steps: dict[str, tuple[StepFinder, StepFinder]] = field(default_factory=dict)
    first_ids: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, bytes] = field(default_factory=dict)
    bad_lines: set[int] = field(default_factory=set)
    start_ns: int = 0
    end_ns: int = 0
    line_count: int = 0
    broken_off: bool = False
    is_of_other_venue: bool = False


class TapeListener(Protocol):
    """Who follows a recording while it is played."""

    def passed(self, item: Item, data: Mapping[str, Any] | None) -> None:
        """An item has been played; `data` is its payload when it had to be read anyway."""
        ...


class BadLine(Exception):
    """Why a line cannot be played."""


def scan(path: Path, *, is_futures: bool, skip_bad: bool) -> Scan:
    """Read a recording through.

    Raises:
        ConfigInvalid: no such file.
        InputInvalid: the first line that cannot be played, with its number; or nothing in it can be played.
    """
    found = Scan(path)
    skipped: list[int] | None = [] if skip_bad else None
    try:
        for line in read_lines(path, skipped):
            _scan_line(found, line, is_futures, skip_bad)
    except InputInvalid as broken:
        if not skip_bad or not found.line_count or found.is_of_other_venue:
            raise
        logger.warning("%s; what comes before is played", broken)
        found.broken_off = True
    found.bad_lines.update(skipped or ())
    if not found.streams:
        raise InputInvalid(f"{path.name} holds no stream frame: there is nothing to play.")
    unsynchronisable = {info.symbol for info in found.streams.values() if info.kind == "depth"} - set(found.snapshots)
    if unsynchronisable:
        raise InputInvalid(
            f"{path.name} has order book events of {', '.join(sorted(unsynchronisable))} but no depth answer for them: "
            "no client could synchronise its book. Record again with the snapshot."
        )
    return found


def _scan_line(found: Scan, line: Line, is_futures: bool, skip_bad: bool) -> None:
    try:
        _scan_payload(found, line.payload, is_futures)
    except BadLine as bad:
        if not skip_bad:
            shown = line.payload[:SHOWN_CHARACTERS].decode(errors="replace")
            raise InputInvalid(
                f"{found.path.name}, line {line.number}: {bad} ({shown!r}). "
                "Take another file, or leave such lines out with --skip-bad."
            ) from None
        found.bad_lines.add(line.number)
    found.start_ns = found.start_ns or line.ts_recv_ns
    found.end_ns = max(found.end_ns, line.ts_recv_ns)
    found.line_count = line.number


def _scan_payload(found: Scan, payload: bytes, is_futures: bool) -> None:
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise BadLine(f"it is not JSON: {error}") from None
    if "stream" in document:
        _scan_frame(found, payload, document, is_futures)
    elif "lastUpdateId" in document:
        _scan_snapshot(found, _only_symbol(found), payload, document)


def _scan_frame(found: Scan, payload: bytes, document: dict[str, Any], is_futures: bool) -> None:
    stream, data = document["stream"], document.get("data")
    if not isinstance(stream, str) or not payload.startswith(wrapper_head(stream)):
        raise BadLine("its wrapper is not of the form the venue writes")
    if not isinstance(data, dict):
        raise BadLine("it has no data")
    if stream.endswith(SNAPSHOT_SUFFIX):
        _scan_snapshot(found, symbol_of_stream(stream), payload[len(wrapper_head(stream)) : -1], data)
        return
    info = found.streams.get(stream)
    if info is None:
        symbol = symbol_of_stream(stream)
        info = found.streams[stream] = stream_info(stream, symbol)
        found.symbols.setdefault(symbol)
    prices, quantities = found.steps.setdefault(info.symbol, (StepFinder(), StepFinder()))
    try:
        if info.kind == "depth":
            _scan_event(found, info.symbol, data, is_futures)
        elif info.kind in ("trade", "aggTrade"):
            prices.add(data["p"])
            quantities.add(data["q"])
        elif info.kind == "bookTicker":
            prices.add(data["b"])
            prices.add(data["a"])
            quantities.add(data["B"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadLine(f"its fields are not those of {info.kind}: {error!r}") from None


def _scan_event(found: Scan, symbol: str, data: dict[str, Any], is_futures: bool) -> None:
    if ("pu" in data) != is_futures:
        found.is_of_other_venue = True
        other = "Binance USD-M futures" if "pu" in data else "Binance Spot"
        raise InputInvalid(f"{found.path.name} is a recording of {other}: play it at that venue.")
    first = min(data["U"], data["pu"]) if is_futures else data["U"]
    found.first_ids.setdefault(symbol, first - 1)
    _add_levels(found, symbol, data["b"], data["a"])
    if not isinstance(data["u"], int) or not isinstance(data["E"], int):
        raise TypeError("u or E is no integer")


def _scan_snapshot(found: Scan, symbol: str, body: bytes, document: dict[str, Any]) -> None:
    try:
        _add_levels(found, symbol, document["bids"], document["asks"])
        if not isinstance(document["lastUpdateId"], int):
            raise TypeError("lastUpdateId is no integer")
    except (KeyError, TypeError, ValueError) as error:
        raise BadLine(f"its fields are not those of a depth answer: {error!r}") from None
    found.snapshots.setdefault(symbol, body)


def _only_symbol(found: Scan) -> str:
    """A bare depth answer names no symbol: it is the file's only one."""
    if len(found.symbols) != 1:
        known = ", ".join(found.symbols) or "no symbol yet"
        raise BadLine(f"it is a depth answer without a symbol, in a file of {known}")
    return next(iter(found.symbols))


def _add_levels(found: Scan, symbol: str, *sides: Sequence[Sequence[str]]) -> None:
    prices, quantities = found.steps.setdefault(symbol, (StepFinder(), StepFinder()))
    for levels in sides:
        for price, quantity in levels:
            prices.add(price)
            quantities.add(quantity)


class RecordedFeed:
    """One or several recordings, merged by their receive times.

    Args:
        paths: the files.
        is_futures: which venue's depth they hold.
        skip_bad: leave out what cannot be read.

    Raises:
        InputInvalid: a file that cannot be played.
    """

    def __init__(self, paths: Sequence[Path], *, is_futures: bool, skip_bad: bool = False) -> None:
        self._skip_bad = skip_bad
        self._scans = [scan(path, is_futures=is_futures, skip_bad=skip_bad) for path in paths]
        self._scans.sort(key=lambda found: found.start_ns)
        self._check_overlap()
        self._streams = {name: info for found in self._scans for name, info in found.streams.items()}
        self._books = {info.symbol: VenueBook(is_futures) for info in self._streams.values()}
        self._coming = {symbol: body for found in reversed(self._scans) for symbol, body in found.snapshots.items()}
        self.listener: TapeListener | None = None
        self._names = {name.encode(): (name, info) for name, info in self._streams.items()}

    def _check_overlap(self) -> None:
        end_of: dict[str, Scan] = {}
        for found in self._scans:
            for name in found.streams:
                earlier = end_of.get(name)
                if earlier is not None and earlier.end_ns > found.start_ns:
                    raise InputInvalid(f"{earlier.path.name} and {found.path.name} both hold {name} at the same time.")
                end_of[name] = found

    @property
    def streams(self) -> Mapping[str, StreamInfo]:
        return self._streams

    @property
    def start_ns(self) -> int:
        return self._scans[0].start_ns

    @property
    def end_ns(self) -> int:
        return max(found.end_ns for found in self._scans)

    @property
    def bad_line_count(self) -> int:
        return sum(len(found.bad_lines) for found in self._scans)

    @property
    def listed(self) -> tuple[Listed, ...]:
        rows: dict[str, Listed] = {}
        for found in self._scans:
            for symbol, (price, quantity) in found.steps.items():
                other = rows.get(symbol)
                rows[symbol] = Listed(
                    symbol,
                    math.gcd(price.step_e8, other.tick_e8 if other else 0),
                    math.gcd(quantity.step_e8, other.lot_e8 if other else 0),
                    max(price.decimals, other.price_decimals if other else 0),
                    max(quantity.decimals, other.quantity_decimals if other else 0),
                )
        return tuple(rows.values())

    def old_update_id(self, symbol: str) -> int:
        return next((found.first_ids[symbol] for found in self._scans if symbol in found.first_ids), 0)

    def coming_snapshot(self, symbol: str) -> bytes | None:
        return self._coming.get(symbol)

    def depth(self, symbol: str, limit: int) -> bytes | None:
        book = self._books[symbol]
        return book.snapshot(limit) if book.synced else None

    def levels(self, symbol: str) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
        """Price and quantity texts of the book's bids and asks; None while it is not known."""
        book = self._books.get(symbol)
        return None if book is None else book.levels

    def items(self) -> Iterator[Item]:
        parts = [self._file_items(found) for found in self._scans]
        merged = parts[0] if len(parts) == 1 else heapq.merge(*parts, key=lambda item: item.at_ns)
        for item in merged:
            data: dict[str, Any] | None = None
            if item.stream == SNAPSHOT:
                book = self._books[item.symbol]
                waited_for = not book.synced
                self._coming.pop(item.symbol, None)
                book.load(orjson.loads(item.payload))
                if not waited_for:
                    continue  # the book is known already: nobody needs this answer
            elif self._streams[item.stream].kind == "depth":
                data = orjson.loads(item.payload)["data"]
                self._books[item.symbol].apply(data)
            yield item
            if self.listener is not None:  # not before: orders that come meanwhile meet the market before the item
                self.listener.passed(item, data)

    def _file_items(self, found: Scan) -> Iterator[Item]:
        latest_ns = 0
        start = len(STREAM_PREFIX)
        for number, at_ns, payload in self._file_lines(found):
            if number in found.bad_lines:
                continue
            latest_ns = max(latest_ns, at_ns)  # a recorder's clock may be set back: the order of lines counts
            if not payload.startswith(STREAM_PREFIX):
                if "lastUpdateId" in orjson.loads(payload):
                    yield Item(latest_ns, SNAPSHOT, payload, next(iter(found.symbols)))
                continue
            known = self._names.get(payload[start : payload.index(b'"', start)])
            if known is not None:
                yield Item(latest_ns, known[0], payload, known[1].symbol)
            else:
                stream = str(orjson.loads(payload)["stream"])
                yield Item(latest_ns, SNAPSHOT, payload[len(wrapper_head(stream)) : -1], symbol_of_stream(stream))

    def _file_lines(self, found: Scan) -> Iterator[Line]:
        """The lines that were found good, up to where the scan ended."""
        skipped: list[int] | None = [] if self._skip_bad else None
        for line in read_lines(found.path, skipped):
            yield line
            if line.number >= found.line_count:
                return
