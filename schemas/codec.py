"""One event's codec: rows ↔ frame bytes through the compiled kernels, refusals as sentences.

Everything here runs once per frame or once per call; what runs per row is in `schemas/compiled/`.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.address import NO_ORIGIN, Origin
from schemas.avro import Schema, wire_fields
from schemas.compiled import generate, layout
from schemas.compiled.layout import Status
from schemas.declare import EMPTY_HEAP, Event, Heap, Rows
from schemas.errors import InputInvalid
from schemas.resolve import FRAMING_BYTES, resolve

Buffer = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
Spans = npt.NDArray[np.int64]  # int64[frames, 2]: first byte and one past the last byte of each frame

U16_MAX = 0xFFFF
I64_MAX = (1 << 63) - 1
HEAP_BYTES_MAX = 0xFFFFFFFF  # rows point into it with 32 bits
SCRATCH_BYTES_KEPT = 1 << 24  # a larger encoding buffer is given back after use
ROW_BYTES_GUESSED = 40  # size of the first encoding buffer; a frame that needs more is encoded again


class Frame(NamedTuple):
    """A decoded frame.

    Attributes:
        event, writer, incarnation, row_first: as in the header; `row_first` is the number of `rows[0]`.
        cause: origin of the rows' causes, NO_ORIGIN where there is none.
        rows: structured array of `event.dtype`.
        heap: the bytes that text and bytes columns point into, and no others, in order of row and column.
    """

    event: Event
    writer: int
    incarnation: int
    row_first: int
    cause: Origin
    rows: Rows
    heap: Heap


class FrameHead(NamedTuple):
    """What a frame says of itself, without its rows."""

    schema_id: int
    writer: int
    incarnation: int
    row_first: int
    row_count: int
    cause: Origin


class Frames(NamedTuple):
    """Many decoded frames of one event; `rows` and `heap` hold those of all, in order.

    Attributes:
        writers, incarnations, row_firsts: int64[frames].
        causes: int64[frames, 4]: topic, partition, writer, incarnation.
        starts: int64[frames + 1]; the rows of frame i are rows[starts[i] : starts[i + 1]].
    """

    event: Event
    writers: npt.NDArray[np.int64]
    incarnations: npt.NDArray[np.int64]
    row_firsts: npt.NDArray[np.int64]
    causes: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    rows: Rows
    heap: Heap

    def frame(self, i: int) -> Frame:
        """Frame i, sharing memory."""
        return Frame(
            self.event,
            int(self.writers[i]),
            int(self.incarnations[i]),
            int(self.row_firsts[i]),
            Origin(*self.causes[i].tolist()),
            self.rows[self.starts[i] : self.starts[i + 1]],
            self.heap,
        )


WHAT: dict[Status, str] = {
    Status.MAGIC: "does not begin with the magic byte 0",
    Status.SCHEMA_ID: "has another schema id",
    Status.TRUNCATED: "ends in the middle of a value",
    Status.VARINT: "has an integer of more than 64 bits",
    Status.RANGE: "has a value outside the range of its column",
    Status.SUM: "has a difference and a base whose sum leaves 64 bits",
    Status.ITEMS: "has an array with another number of items than declared",
    Status.SIZE: "has a text or bytes column whose size cannot be",
    Status.UTF8: "has a text that is not UTF-8",
    Status.COUNT: "announces more rows than it can hold",
    Status.BLOCK_SIZE: "has a block whose size in bytes is wrong",
    Status.TRAILING: "has bytes after its end",
    Status.HEADER: "has a writer, incarnation, cause or row number that cannot be",
    Status.RESERVED: "has a reserved column that is not zero",
}


_FRAMING: Any = struct.Struct(">BI")  # Any: the type checker does not know that arrays are buffers
_HEADER: Any = struct.Struct("<7q")  # WRITER, INCARNATION, ROW_FIRST and CAUSE in a line of `heads`
_HEADER_AT = 8 * layout.WRITER
_U8 = np.dtype(np.uint8)  # made once, and np.ndarray instead of views: half a microsecond of every frame
_U64 = np.dtype(np.uint64)


class _Scratch(threading.local):
    """Buffers of a thread: what is encoded, and one line of `heads`."""

    def __init__(self) -> None:
        self.out = np.empty(0, dtype=np.uint8)
        self.heads = np.zeros((1, layout.BASE + layout.BASES_MAX), dtype=np.int64)

    def at_least(self, size: int) -> npt.NDArray[np.uint8]:
        if len(self.out) >= size:
            return self.out
        out = np.empty(size, dtype=np.uint8)
        if size <= SCRATCH_BYTES_KEPT:
            self.out = out
        return out


_scratch = _Scratch()
_NO_HEAP: Heap = np.zeros(0, dtype=np.uint8)
_NO_POOL = np.frombuffer(b"\0", dtype=np.uint8)[:0]  # the same to read from


def read_only(data: Buffer) -> npt.NDArray[np.uint8]:
    """The bytes as a read-only uint8 array, the one type that kernels are compiled for; copied only if scattered."""
    if isinstance(data, np.ndarray):
        array = np.ascontiguousarray(data, dtype=np.uint8).reshape(-1).view()
    else:
        array = np.frombuffer(data, _U8) if len(data) else np.empty(0, _U8)
        if isinstance(data, bytes) and len(data):
            return array  # read-only by nature
    array.flags.writeable = False
    return array


class Kernels(NamedTuple):
    """The compiled functions that serve one event."""

    read_heads: Any
    read_only_head: Any
    decode_frames: Any
    decode_blocks: Any
    is_one_block: Any
    encode_frame: Any


def kernels_of(event: Event) -> Kernels:
    """Import the event's kernels; each is compiled, or loaded from numba's cache, when first called."""
    # Imported here: numba takes a second to import, and not every program that can name a frame needs it.
    from schemas.compiled import book_delta, quote, read, trade, write
    from schemas.compiled.bits import CHECKED

    generated: dict[str, Any] = {"Trade": trade, "BookDelta": book_delta, "Quote": quote}
    decode_frames: Any = read.decode_frames
    encode_frame: Any = write.encode_frame
    if event in generate.GENERATED:
        decode_frames, encode_frame = generated[event.name].decode_frames, generated[event.name].encode_frame
    if CHECKED:  # kernels count on integers that wrap around, of which numpy warns when numba does not compile
        wraps = np.errstate(over="ignore")
        decode_frames, encode_frame = wraps(decode_frames), wraps(encode_frame)
    return Kernels(
        read.read_heads, read.read_only_head, decode_frames, read.decode_blocks, read.is_one_block, encode_frame
    )


class Codec:
    """Encodes and decodes frames of one event.

    Args:
        event: today's declaration.
        older: frozen Avro frame schemas of older revisions, by schema id.
    """

    def __init__(self, event: Event, older: Mapping[int, Schema] | None = None) -> None:
        self.event = event
        self.older = dict(older or {})
        self._dtype = event.dtype
        self._words = event.dtype.itemsize // 8
        self._program = layout.program_of(event)
        self._reserved = layout.reserved_masks(event)
        self._facts = layout.facts_of(event)
        self._row_max = layout.row_bytes_max(event)
        self._has_heap = bool(event.heap_fields)
        self._plain = not self._has_heap and all(not field.count and field.kind != "f64" for field in event.fields)
        self._kernels = kernels_of(event)

    # -- encoding --

    def encode(
        self, writer: int, incarnation: int, row_first: int, cause: Origin, rows: Rows, heap: Heap = EMPTY_HEAP
    ) -> bytes:
        """See `schemas.frame.encode`."""
        assert rows.dtype == self._dtype, f"{self.event.name} rows have dtype {rows.dtype}"
        words = self._words_of(rows)
        heads = _scratch.heads
        self._fill_head(heads, writer, incarnation, row_first, cause, len(words))
        pool = read_only(heap) if self._has_heap else _NO_POOL
        size = layout.HEADER_BYTES_MAX + ROW_BYTES_GUESSED * len(words) + self._row_max
        pinned = 0
        while True:
            out = _scratch.at_least(size)
            stop = self._kernels.encode_frame(
                words, self._program, self._facts, self._reserved, heads, pool, out, pinned
            )
            if stop >= 0:
                return out[:stop].tobytes()
            status = heads[0, layout.STATUS]
            if status == Status.GROW:
                size = self._size_max(rows)
            elif status == Status.SUM:  # a difference needs 65 bits: store this column as it is
                pinned |= 1 << int(self._program[heads[0, layout.COLUMN], layout.BASED])
            else:
                raise self._refusal(heads[0], None)

    def _words_of(self, rows: Rows) -> npt.NDArray[np.uint64]:
        """The rows as uint64[rows, words], of the one type kernels are compiled for: of one piece, aligned, writable.

        Rows that are not are copied.
        """
        words: npt.NDArray[np.uint64] = np.ndarray((len(rows), self._words), _U64, np.ascontiguousarray(rows))
        return words if words.flags.carray else words.copy()

    def _fill_head(
        self, heads: npt.NDArray[np.int64], writer: int, incarnation: int, row_first: int, cause: Origin, count: int
    ) -> None:
        """The frame's header as the kernels take it. Raises InputInvalid for numbers that cannot be."""
        if not (
            0 <= writer <= U16_MAX
            and 0 <= incarnation <= U16_MAX
            and (cause == NO_ORIGIN or (self.event.caused and min(cause) >= 0 and max(cause) <= U16_MAX))
            and 1 <= row_first <= I64_MAX - count
        ):
            raise InputInvalid(
                f"No frame of {self.event.name} can have writer {writer}, incarnation {incarnation}, first row "
                f"{row_first} and cause {tuple(cause)}: numbers are within 0..{U16_MAX}, rows count from 1, and "
                f"the event {'carries' if self.event.caused else 'has no'} cause."
            )
        _HEADER.pack_into(heads, _HEADER_AT, writer, incarnation, row_first, *cause)

    def _size_max(self, rows: Rows) -> int:
        sizes = sum(int(rows[f"{field.name}_size"].sum(dtype=np.int64)) for field in self.event.heap_fields)
        return layout.HEADER_BYTES_MAX + self._row_max * (len(rows) + 1) + sizes

    # -- decoding --

    def decode(self, data: Buffer) -> Frame:
        """See `schemas.frame.decode`."""
        buffer = read_only(data)
        heads = _scratch.heads
        count = self._kernels.read_only_head(buffer, heads, self._facts)
        if count >= 0:
            words: npt.NDArray[np.uint64] = np.empty((count, self._words), _U64)
            heap = np.empty(len(buffer), _U8) if self._has_heap else _NO_HEAP
            used = self._kernels.decode_frames(buffer, heads, self._program, words, heap)
            if used >= 0:
                rows: Rows = np.ndarray((count,), self._dtype, words)
                return self._frame(heads, rows, heap[:used])
        return self._decode_rare(buffer, heads)

    def _frame(self, heads: npt.NDArray[np.int64], rows: Rows, heap: Heap) -> Frame:
        writer, incarnation, row_first, *cause = _HEADER.unpack_from(heads, _HEADER_AT)
        return Frame(self.event, writer, incarnation, row_first, Origin(*cause), rows, heap)

    def _decode_rare(self, buffer: npt.NDArray[np.uint8], heads: npt.NDArray[np.int64]) -> Frame:
        """A frame of several blocks, of an older revision, or none at all. `heads[0]` says why it came here."""
        status = Status(int(heads[0, layout.STATUS]))
        if status == Status.SCHEMA_ID:
            found = schema_id_of(buffer)
            if found in self.older:
                return Frame(self.event, *resolve(buffer.tobytes(), self.older[found], self.event))
        if status != Status.BLOCKS:
            raise self._refusal(heads[0], buffer)
        rows = np.empty(self._count_blocks(buffer, heads), dtype=self._dtype)
        words = rows.view(np.uint64).reshape(len(rows), self._words)
        heap = np.empty(len(buffer) if self._has_heap else 0, dtype=np.uint8)
        self._kernels.decode_blocks(buffer, heads, 0, self._facts, self._program, words, heap, True)
        used = sum(int(rows[f"{field.name}_size"].sum(dtype=np.int64)) for field in self.event.heap_fields)
        return self._frame(heads, rows, heap[:used])

    def _count_blocks(self, buffer: npt.NDArray[np.uint8], heads: npt.NDArray[np.int64]) -> int:
        """Walk a whole frame; its rows. Raises InputInvalid."""
        spare = np.empty((1, self._words), dtype=np.uint64)
        heap = np.empty(len(buffer) if self._has_heap else 0, dtype=np.uint8)
        count = self._kernels.decode_blocks(buffer, heads, 0, self._facts, self._program, spare, heap, False)
        if count < 0:
            raise self._refusal(heads[0], buffer)
        return int(count)

    def peek(self, data: Buffer) -> FrameHead:
        """See `schemas.frame.peek`."""
        buffer = read_only(data)
        heads = _scratch.heads
        count = self._kernels.read_only_head(buffer, heads, self._facts)
        if count < 0:
            status = Status(int(heads[0, layout.STATUS]))
            if status == Status.SCHEMA_ID and schema_id_of(buffer) in self.older:
                old = self.decode(data)
                head = (old.writer, old.incarnation, old.row_first, len(old.rows), old.cause)
                return FrameHead(schema_id_of(buffer), *head)
            if status != Status.BLOCKS:
                raise self._refusal(heads[0], buffer)
        # The count of the first block is the count of all rows when there is no other block: of integers alone
        # that shows in the number of their ends; other rows have to be walked.
        if count < 0 or (count and not (self._plain and self._kernels.is_one_block(buffer, heads, len(self._program)))):
            count = self._count_blocks(buffer, heads)
        writer, incarnation, row_first, *cause = _HEADER.unpack_from(heads, _HEADER_AT)
        return FrameHead(self.event.schema_id, writer, incarnation, row_first, count, Origin._make(cause))

    # -- many frames at once --

    def decode_many(self, data: Buffer | Sequence[Buffer], spans: Spans | None, into: Rows | None) -> Frames:
        """See `schemas.frame.decode_many`."""
        buffer, spans = _joined(data, spans)
        heads = np.zeros((len(spans), _scratch.heads.shape[1]), dtype=np.int64)
        heads[:, layout.START : layout.STOP + 1] = spans
        count = self._kernels.read_heads(buffer, heads, self._facts)
        if count < 0:
            return self._decode_each(buffer, spans, heads, -1 - count)
        rows = into[:count] if into is not None and len(into) >= count else np.empty(count, dtype=self._dtype)
        assert rows.dtype == self._dtype, f"rows to decode {self.event.name} into have dtype {rows.dtype}"
        assert rows.flags.carray, "rows to decode into must be writable and of one piece"
        words = rows.view(np.uint64).reshape(count, self._words)
        heap = np.empty(int(np.diff(spans).sum()) if self._has_heap else 0, dtype=np.uint8)  # spans may overlap
        used = self._kernels.decode_frames(buffer, heads, self._program, words, heap)
        if used < 0:
            return self._decode_each(buffer, spans, heads, -1 - used)
        starts = np.append(heads[:, layout.ROW_AT], count)
        return self._frames(heads, starts, rows, heap[:used])

    def _frames(self, heads: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], rows: Rows, heap: Heap) -> Frames:
        return Frames(
            self.event,
            heads[:, layout.WRITER],
            heads[:, layout.INCARNATION],
            heads[:, layout.ROW_FIRST],
            heads[:, layout.CAUSE : layout.BASE],
            starts,
            rows,
            heap,
        )

    def _decode_each(
        self, buffer: npt.NDArray[np.uint8], spans: Spans, heads: npt.NDArray[np.int64], odd: int
    ) -> Frames:
        """Some frame is odd: if it is readable at all (older, several blocks), read all one by one."""
        frames = []
        for i, (start, stop) in enumerate(spans.tolist()):
            try:
                frames.append(self.decode(buffer[start:stop]))
            except InputInvalid as error:
                raise InputInvalid(f"Frame {i} of {len(spans)}, at byte {start}: {error}") from error
        assert frames, odd
        heaps = [frame.heap for frame in frames]
        rows = np.concatenate([frame.rows for frame in frames])
        starts = np.cumsum([0, *(len(frame.rows) for frame in frames)])
        shifts = np.repeat(np.cumsum([0, *(len(heap) for heap in heaps[:-1])]), np.diff(starts))
        for field in self.event.heap_fields:
            rows[f"{field.name}_at"] += shifts.astype(np.uint32)
        for i, frame in enumerate(frames):
            heads[i, layout.WRITER : layout.BASE] = (frame.writer, frame.incarnation, frame.row_first, *frame.cause)
        return self._frames(heads, starts, rows, np.concatenate(heaps))

    # -- refusals --

    def _refusal(self, head: npt.NDArray[np.int64], buffer: npt.NDArray[np.uint8] | None) -> InputInvalid:
        """The sentence for what a kernel noted in `head`."""
        status = Status(int(head[layout.STATUS]))
        row, column, where = (int(head[k]) for k in (layout.ROW, layout.COLUMN, layout.WHERE))
        fields = wire_fields(self.event)
        place = f" in {fields[column].name}" if 0 <= column < len(fields) and row >= 0 else ""
        place += f" of row {row}" if row >= 0 else ""
        if buffer is None:
            return InputInvalid(
                f"Rows of {self.event.name} cannot become a frame: one {WHAT[status]}{place}. "
                "The rule or connector that made the row is wrong; the rows were not written."
            )
        found = f" ({schema_id_of(buffer)})" if status == Status.SCHEMA_ID else ""
        return InputInvalid(
            f"Not a frame of {self.event.name} (schema {self.event.schema_id}): it {WHAT[status]}{found}{place}, "
            f"at byte {where} of {len(buffer)}. It was cut, altered or written by another program; put it aside."
        )


def schema_id_of(buffer: Buffer) -> int:
    """The schema id that a message in Confluent's framing names, -1 when it is too short to."""
    return int(_FRAMING.unpack_from(buffer)[1]) if len(buffer) >= FRAMING_BYTES else -1


def _joined(data: Buffer | Sequence[Buffer], spans: Spans | None) -> tuple[npt.NDArray[np.uint8], Spans]:
    """One buffer, and where its frames lie."""
    if spans is None:
        assert not isinstance(data, bytes | bytearray | memoryview | np.ndarray), "spans are missing"
        stops = np.cumsum([0, *(len(frame) for frame in data)], dtype=np.int64)
        spans = np.stack([stops[:-1], stops[1:]], axis=1)
        buffer = read_only(b"".join(data))  # type: ignore[arg-type]
    else:
        buffer = read_only(data)  # type: ignore[arg-type]
    if len(buffer) > HEAP_BYTES_MAX:
        raise InputInvalid(f"{len(buffer)} bytes of frames at once; at most {HEAP_BYTES_MAX} can be decoded in a call.")
    if len(spans) and not ((spans[:, 0] >= 0) & (spans[:, 0] <= spans[:, 1]) & (spans[:, 1] <= len(buffer))).all():
        raise InputInvalid(f"Spans of frames reach outside the {len(buffer)} bytes given.")
    return buffer, spans
