"""Frames of an older revision become rows of today's, with defaults; ids of no revision are refused."""

from __future__ import annotations

import enum
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas.address import Origin
from schemas.avro import frame_schema
from schemas.codec import Codec
from schemas.compatibility import freeze, problems
from schemas.declare import Event, Field, Kind
from schemas.errors import InputInvalid
from schemas.frozen import older_schemas


class Colour(enum.IntEnum):
    RED = 0
    GREEN = 1


class MoreColour(enum.IntEnum):
    RED = 0
    GREEN = 1
    BLUE = 2


class Bits(enum.IntFlag):
    A = 1


MoreColour.__name__ = "Colour"  # the same enum, one release later
CAUSE = Origin(1, 2, 3, 4)


def made_up(revision: int) -> Event:
    """A test's own event: revision 2 adds columns of every kind, a symbol, and widens one."""
    first = revision == 1
    wide: Kind = "u16" if first else "u32"
    fields = [
        Field("ts_event_ns", "i64", "time", based=True),
        Field("cause_row", "i64", "cause", based=True),
        Field("note", "text", "words"),
        Field("size", wide, "widened"),
        *([Field("reserved", "u16", "zero")] if first else []),
        Field("colour", "enum", "enum", Colour if first else MoreColour),
        Field("count", "u8", "count"),
        *([Field("reserved_b", "u16", "zero")] if first else []),
        *(
            []
            if first
            else [Field("late", "enum", "new", MoreColour, default=2), Field("bits", "flags", "new", Bits, default=1)]
        ),
    ]
    if not first:
        new = [
            Field("price_e8", "i64", "new", based=True, default=-5),
            Field("levels", "i64", "new", count=2, default=7),
            Field("ratio", "f64", "new", default=0.5),
            Field("more", "text", "new", default="dé"),
        ]
        fields = [*fields[:2], *new, *fields[2:]]
    return Event("MadeUp", 77, revision, "made up", tuple(fields))


@pytest.fixture
def codecs(tmp_path: Path) -> tuple[Codec, Codec]:
    """Yesterday's and today's, with the frozen files of both."""
    old, new = made_up(1), made_up(2)
    freeze([old], tmp_path)
    freeze([new], tmp_path)
    assert problems([new], tmp_path) == []
    return Codec(old), Codec(new, older_schemas(new, tmp_path))


def old_frame(old: Codec) -> bytes:
    rows = old.event.empty(2)
    rows["ts_event_ns"], rows["cause_row"] = (10**18, 10**18 + 5), (3, 4)
    rows["note_at"], rows["note_size"] = (0, 2), (2, 3)
    rows["size"], rows["colour"], rows["count"] = 65535, (0, 1), 9
    return old.encode(1, 2, 3, CAUSE, rows, np.frombuffer(b"abcde", dtype=np.uint8))


def test_old_frame_is_read_with_defaults(codecs: tuple[Codec, Codec]) -> None:
    old, new = codecs
    found = new.decode(old_frame(old))
    assert found[:5] == (new.event, 1, 2, 3, CAUSE)
    rows = found.rows
    assert rows["ts_event_ns"].tolist() == [10**18, 10**18 + 5]
    assert rows["cause_row"].tolist() == [3, 4]
    assert rows["size"].tolist() == [65535, 65535]
    assert rows["colour"].tolist() == [0, 1]
    assert rows["price_e8"].tolist() == [-5, -5]
    assert rows["levels"].tolist() == [[7, 7], [7, 7]]
    assert rows["ratio"].tolist() == [0.5, 0.5]
    assert rows["late"].tolist() == [2, 2]
    assert rows["bits"].tolist() == [1, 1]
    texts = [
        found.heap[row[f"{name}_at"] : row[f"{name}_at"] + row[f"{name}_size"]].tobytes().decode()
        for row in rows
        for name in ("note", "more")
    ]
    assert texts == ["ab", "dé", "cde", "dé"]
    assert new.peek(old_frame(old)) == (7701, 1, 2, 3, 2, CAUSE)


def test_old_and_new_frames_mix(codecs: tuple[Codec, Codec]) -> None:
    old, new = codecs
    once = new.decode(old_frame(old))
    again = new.encode(1, 2, 3, CAUSE, once.rows, once.heap)
    assert new.decode(again).rows.tobytes() == once.rows.tobytes()
    found = new.decode_many([again, old_frame(old), again], None, None)
    assert found.starts.tolist() == [0, 2, 4, 6]
    for i in range(3):
        one = found.frame(i)
        assert new.encode(1, 2, 3, CAUSE, one.rows, one.heap) == again


def test_old_frame_cut_anywhere_is_refused(codecs: tuple[Codec, Codec]) -> None:
    old, new = codecs
    data = old_frame(old)
    for size in range(len(data)):
        with pytest.raises(InputInvalid):
            new.decode(data[:size])
    with pytest.raises(InputInvalid, match="1 bytes follow its end"):
        new.decode(data + b"\0")


def test_damaged_old_frame_gives_rows_or_a_refusal(codecs: tuple[Codec, Codec]) -> None:
    old, new = codecs
    data = old_frame(old)
    refused = 0
    for at in range(5, len(data)):
        for byte in (0x00, 0x01, 0x7F, 0x80, 0xFF):
            try:
                found = new.decode(data[:at] + bytes([byte]) + data[at + 1 :])
            except InputInvalid:
                refused += 1
            else:
                assert found.rows.dtype == new.event.dtype
    assert refused > 50


def test_yesterdays_release_refuses_todays_frames(codecs: tuple[Codec, Codec]) -> None:
    old, new = codecs
    with pytest.raises(InputInvalid, match=r"another schema id \(7702\)"):
        old.decode(new.encode(1, 2, 3, CAUSE, new.event.empty(1)))


def test_new_column_without_default_cannot_read_old_frames() -> None:
    old, new = made_up(1), made_up(2)
    bare = replace(new, fields=tuple(replace(field, default=None) for field in new.fields))
    with pytest.raises(InputInvalid, match="price_e8"):
        Codec(bare, {7701: frame_schema(old)}).decode(old_frame(Codec(old)))
