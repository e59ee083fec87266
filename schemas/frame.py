"""Rows ↔ one Kafka message: a frame, in Confluent's framing.

```
0x00 | schema id, u32 big-endian | Avro record of the frame (schemas/avro.py)
```

`encode` writes the rows as one Avro block and takes each based column's first value as its base (0 where a
difference would not fit); equal rows give equal bytes. `decode` reads whatever Avro allows and nothing
else: it gives back all rows of a valid frame, or raises. Any thread may call any function here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from schemas.address import NO_ORIGIN, Origin
from schemas.catalogue import EVENTS
from schemas.codec import Buffer, Codec, Frame, FrameHead, Frames, Spans, schema_id_of
from schemas.declare import EMPTY_HEAP, Event, Heap, Rows
from schemas.errors import InputInvalid
from schemas.frozen import older_schemas
from schemas.resolve import FRAMING_BYTES

__all__ = ["Buffer", "Frame", "FrameHead", "Frames", "Spans", "decode", "decode_many", "encode", "peek", "warm"]

_EVENT_BY_NUMBER = {event.number: event for event in EVENTS}


@functools.cache
def codec_of(event: Event) -> Codec:
    """The codec of one of our events, made when first asked for."""
    return Codec(event, older_schemas(event))


@functools.lru_cache(maxsize=256)  # hostile ids must not fill it
def _codec_of_id(schema_id: int) -> Codec:
    event = _EVENT_BY_NUMBER.get(schema_id // 100)
    if event is not None:
        codec = codec_of(event)
        if schema_id == event.schema_id or schema_id in codec.older:
            return codec
    raise InputInvalid(
        f"Not a frame that this release knows: schema id {schema_id}. Another program or a newer release wrote it; "
        "`shriven schema list` shows the ids."
    )


def _codec_for(data: Buffer) -> Codec:
    if len(data) < FRAMING_BYTES or data[0] != 0:
        raise InputInvalid(
            f"Not a frame: {len(data)} bytes that do not begin with the magic byte 0 and a schema id. "
            "Another program writes to this topic, or the message was cut; put it aside."
        )
    return _codec_of_id(schema_id_of(data))


def encode(
    event: Event, writer: int, incarnation: int, row_first: int, cause: Origin, rows: Rows, heap: Heap = EMPTY_HEAP
) -> bytes:
    """One frame of consecutive rows.

    Args:
        writer, incarnation: who numbers the rows, 0..65535.
        row_first: number of rows[0], from 1 on.
        cause: origin of the rows' causes; NO_ORIGIN for events without one.
        rows: structured array of `event.dtype`.
        heap: the bytes that text and bytes columns of `rows` point into.

    Raises:
        InputInvalid: a value outside its column's range, a reserved column that is not zero, a text that is not
            UTF-8, a pointer outside the heap, a header number that cannot be.
    """
    return codec_of(event).encode(writer, incarnation, row_first, cause, rows, heap)


def decode(data: Buffer) -> Frame:
    """The rows of one frame, in memory of their own. Frames of older revisions come as rows of today's.

    Raises:
        InputInvalid: with the reason, row, column and byte, for anything that is not one whole valid frame.
    """
    return _codec_for(data).decode(data)


def peek(data: Buffer) -> FrameHead:
    """Header and number of rows. Rows are walked only where their count cannot be seen otherwise (events with
    texts, bytes or arrays; frames of several blocks); their values are not checked.

    Raises:
        InputInvalid: no frame, or a cut one.
    """
    return _codec_for(data).peek(data)


def decode_many(
    event: Event, data: Buffer | Sequence[Buffer], spans: Spans | None = None, into: Rows | None = None
) -> Frames:
    """All rows of many frames of one event, by a handful of Python calls in all.

    Args:
        data: a buffer that holds frames at `spans`; or, without `spans`, a sequence of frames (copied together).
        spans: int64[frames, 2], first byte and one past the last byte of each frame.
        into: rows to write into, if it is long enough; the result then lives there until the next call.

    Raises:
        InputInvalid: names the first frame that is none.
    """
    return codec_of(event).decode_many(data, spans, into)


def warm(events: Iterable[Event] = EVENTS) -> None:
    """Compile, or load from numba's cache, every kernel that encoding and decoding these events needs."""
    for event in events:
        frame = encode(event, 0, 0, 1, NO_ORIGIN, event.empty(2))
        decode(frame)
        peek(frame)
        decode_many(event, [frame])
