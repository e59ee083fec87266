"""Recordings: gzip text, one line per message heard, `<receive time, ns> <json>`.

A line's JSON is what a combined stream sends (`{"stream":…,"data":…}`) or a depth snapshot as REST
answers it. A snapshot stands bare in a recording of one symbol; among several symbols it is wrapped
as `{"stream":"<symbol>@snapshot","data":…}`, because its body does not say whose it is.

    1723161255088169167 {"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":5123107839020,…}}
    1723161255319702566 {"lastUpdateId":5123107852948,"E":1723161256501,"bids":[["61800.20","2.909"],…

Reading streams: a recording larger than memory is fine. A file cut short (a killed recorder, an
interrupted copy) gives every complete line first and the error after them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import orjson

from connectors.capabilities import Exchange
from connectors.rawbatch import RawBatch
from schemas.declare import Heap, Rows
from schemas.errors import ConfigInvalid, InputInvalid, ResourceExhausted
from schemas.events import FrameKind
from schemas.instruments import Venue

GZIP_MAGIC = b"\x1f\x8b"
READ_BYTES = 1 << 18
LINE_BYTES_MAX = 1 << 26  # 64 MiB: ten times the largest REST answer; longer means that it is not text by lines
TIME_DIGITS_MAX = 19  # an int64 of nanoseconds
STREAM_PREFIX = b'{"stream":"'
SNAPSHOT_SUFFIX = "@snapshot"


class Line(NamedTuple):
    """One message: its line number from 1, when it was heard, its JSON."""

    number: int
    ts_recv_ns: int
    payload: bytes

    @property
    def stream(self) -> str:
        """Name of the stream it came on; "" for a bare snapshot."""
        if not self.payload.startswith(STREAM_PREFIX):
            return ""
        end = self.payload.find(b'"', len(STREAM_PREFIX))
        return self.payload[len(STREAM_PREFIX) : end].decode("utf-8", "replace")

    @property
    def is_snapshot(self) -> bool:
        """Whether it is a REST depth snapshot, bare or wrapped."""
        stream = self.stream
        return stream.endswith(SNAPSHOT_SUFFIX) if stream else b'"lastUpdateId"' in self.payload[:200]


@dataclass
class Description:
    """What is in a recording.

    Attributes:
        venue: told by the shape of the payloads.
        symbols: in the venue's spelling, sorted.
        streams: messages by stream name.
        snapshots: how many REST depth snapshots.
        lines, ts_first_ns, ts_last_ns: how much, and over which time.
    """

    venue: Venue
    symbols: tuple[str, ...]
    streams: dict[str, int] = field(default_factory=dict)
    snapshots: int = 0
    lines: int = 0
    ts_first_ns: int = 0
    ts_last_ns: int = 0


def read_lines(path: Path, skipped: list[int] | None = None) -> Iterator[Line]:
    """Every line, in order.

    Args:
        path: the recording.
        skipped: takes the numbers of lines that are not `<time> <json>`; without it the first one raises.

    Raises:
        ConfigInvalid: no such file.
        InputInvalid: not a recording, empty, cut short or damaged (after the readable lines), or a line
            that is not `<time> <json>`; the message names the line.
    """
    number = 0
    for number, text in enumerate(_text_lines(path), start=1):
        if not text.strip():
            continue
        try:
            line = _parse(path, number, text)
        except InputInvalid:
            if skipped is None:
                raise
            skipped.append(number)
            continue
        yield line
    if not number:
        raise InputInvalid(f"{path} is empty: a recording has one message a line. Was it stopped before it began?")


def describe(path: Path, lines_max: int | None = None) -> Description:
    """Read a recording (or its first `lines_max` lines) and say what is in it.

    Raises:
        InputInvalid: as `read_lines`; or the venue cannot be told, or two venues are mixed.
    """
    streams: dict[str, int] = {}
    venues: dict[Venue, str] = {}
    lines = snapshots = first_ns = last_ns = 0
    for line in read_lines(path):
        stream = line.stream
        if line.is_snapshot:
            snapshots += 1
        elif stream:
            if stream not in streams:
                venue = _venue_of(line)
                if venue is not None:
                    venues.setdefault(venue, stream)
            streams[stream] = streams.get(stream, 0) + 1
        first_ns = first_ns or line.ts_recv_ns
        last_ns = line.ts_recv_ns
        lines += 1
        if lines == lines_max:
            break
    return Description(_one_venue(path, venues), _symbols(streams), streams, snapshots, lines, first_ns, last_ns)


def symbol_of_stream(stream: str) -> str:
    """`btcusdt@depth@100ms` → `BTCUSDT`."""
    return stream.split("@", 1)[0].upper()


def raw_batches(path: Path, exchange: Exchange, rows_max: int = 1 << 14) -> Iterator[tuple[Rows, Heap]]:
    """A recording as the raw rows that a connection would have written: (rows, heap), up to `rows_max` at a time.

    Raises:
        InputInvalid: as `read_lines`; or a bare snapshot in a recording of several symbols.
    """
    symbols: set[str] = set()
    found: list[tuple[Rows, Heap]] = []
    batch = RawBatch(exchange.venue, 0, lambda rows, heap: found.append((rows, heap)))
    batch.add(FrameKind.OPEN, str(path.name).encode(), 1, 0)
    for count, line in enumerate(read_lines(path), start=1):
        stream = line.stream
        if not line.is_snapshot:
            symbols.add(symbol_of_stream(stream))
            batch.add_texts([line.payload], 1, line.ts_recv_ns)
        else:
            if not stream and len(symbols) != 1:
                raise InputInvalid(f"{path}, line {line.number}: whose snapshot is this, of {len(symbols)} symbols?")
            symbol = symbol_of_stream(stream) if stream else next(iter(symbols))
            request = exchange.depth_request(symbol).text
            batch.add(FrameKind.REST, line.payload, 1, line.ts_recv_ns, 200, request)
        if count % rows_max == 0:
            batch.flush()
            yield found.pop()
    batch.flush()
    yield from found


class RecordingWriter:
    """Writes a recording. After `flush` a killed process leaves every line so far readable.

    Raises:
        ConfigInvalid: the file exists (recordings are never overwritten) or its folder does not.
    """

    def __init__(self, path: Path, level: int = 6) -> None:
        try:
            self._file: BinaryIO = path.open("xb")
        except FileExistsError:
            raise ConfigInvalid(f"{path} exists and is not overwritten. Name another file.") from None
        except OSError as error:
            raise ConfigInvalid(f"{path} cannot be written: {error.strerror}.") from None
        self._path = path
        self._compress = zlib.compressobj(level, zlib.DEFLATED, 31)
        self.lines = 0

    def write(self, ts_recv_ns: int, payload: bytes) -> None:
        """One line. Line breaks in JSON are white space between tokens, and are written as spaces."""
        if b"\n" in payload:
            payload = payload.replace(b"\n", b" ")
        self._put(self._compress.compress(b"%d %s\n" % (ts_recv_ns, payload)))
        self.lines += 1

    def flush(self) -> None:
        """Hand everything written to the operating system, ended on a point where a reader can stop."""
        self._put(self._compress.flush(zlib.Z_SYNC_FLUSH))
        self._file.flush()

    def close(self) -> None:
        if not self._file.closed:
            self._put(self._compress.flush(zlib.Z_FINISH))
            self._file.close()

    def __enter__(self) -> RecordingWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise ResourceExhausted(
                f"{self._path}: {error.strerror} after {self.lines} lines. What was written is readable."
            ) from None


def _parse(path: Path, number: int, text: bytes) -> Line:
    time, _, payload = text.partition(b" ")
    payload = payload.strip()
    if not (time.isdigit() and len(time) <= TIME_DIGITS_MAX and payload[:1] == b"{" and payload[-1:] == b"}"):
        if number == 1:
            raise InputInvalid(
                f"{path} is not a recording: its first line is {_shown(text)}, not `<receive time, ns> <json>`."
            )
        raise InputInvalid(
            f"{path}, line {number}: not `<receive time, ns> <json>` but {_shown(text)}. "
            "The file was edited or joined from other files; cut the line out."
        )
    return Line(number, int(time), payload)


def _shown(text: bytes) -> str:
    return repr(text[:60].decode("utf-8", "replace"))


def _text_lines(path: Path) -> Iterator[bytes]:
    """Lines without their ends; a last line without an end counts only when the file is whole."""
    rest = b""
    for chunk in _text_chunks(path):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > LINE_BYTES_MAX:
            raise InputInvalid(f"{path} is not a recording: a line is longer than {LINE_BYTES_MAX >> 20} MiB.")
    if rest:
        yield rest


def _text_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            head = file.read(READ_BYTES)
            if head.startswith(GZIP_MAGIC):
                yield from _gunzip(path, file, head)
                return
            if b"\x00" in head:
                raise InputInvalid(f"{path} is not a recording: neither gzip nor text.")
            while head:
                yield head
                head = file.read(READ_BYTES)
    except FileNotFoundError:
        raise ConfigInvalid(f"There is no file {path}.") from None
    except OSError as error:
        raise ConfigInvalid(f"{path} cannot be read: {error.strerror}.") from None


def _gunzip(path: Path, file: BinaryIO, data: bytes) -> Iterator[bytes]:
    """Decompress chunk by chunk (the gzip module throws away what it read before a premature end)."""
    member = zlib.decompressobj(31)
    while data:
        try:
            yield member.decompress(data)
        except zlib.error as error:
            raise InputInvalid(f"{path} is damaged: {error}. The lines before this point are good.") from None
        if member.eof:
            data = member.unused_data or file.read(READ_BYTES)
            member = zlib.decompressobj(31) if data.strip(b"\x00") else member
            if member.eof:
                return
        else:
            data = file.read(READ_BYTES)
    raise InputInvalid(
        f"{path} was cut short: its gzip stream has no end. The lines before this point are good; "
        "usually the recorder was killed or a copy was interrupted."
    )


def _venue_of(line: Line) -> Venue | None:
    """Told by fields that only one of the two venues sends; None where the payload does not tell."""
    try:
        data = orjson.loads(line.payload)["data"]
    except (orjson.JSONDecodeError, KeyError):
        raise InputInvalid(f"Line {line.number} is not a message of a combined stream.") from None
    event = data.get("e")
    if event == "depthUpdate":
        return Venue.BINANCE_USDM if "pu" in data else Venue.BINANCE_SPOT
    if event == "bookTicker":
        return Venue.BINANCE_USDM
    if event == "trade":
        return Venue.BINANCE_SPOT if "M" in data else Venue.BINANCE_USDM
    if event is None and "u" in data and "B" in data:
        return Venue.BINANCE_SPOT
    return None


def _one_venue(path: Path, venues: dict[Venue, str]) -> Venue:
    if len(venues) > 1:
        raise InputInvalid(f"{path} mixes venues: " + ", ".join(f"{v.label} ({s})" for v, s in venues.items()) + ".")
    if not venues:
        raise InputInvalid(f"{path}: no depth, bookTicker or trade message in it, so its venue cannot be told.")
    return next(iter(venues))


def _symbols(streams: dict[str, int]) -> tuple[str, ...]:
    return tuple(sorted({symbol_of_stream(stream) for stream in streams if not stream.startswith("!")}))
