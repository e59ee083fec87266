"""Declarations equal their frozen files, and every kind of change gets the verdict of the table."""

from __future__ import annotations

import enum
import json
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.avro import frame_schema
from schemas.catalogue import EVENTS
from schemas.compatibility import changes, check, freeze, problems
from schemas.declare import Event, Field
from schemas.errors import ConfigInvalid
from schemas.events import TRADE


def test_declarations_equal_their_frozen_files() -> None:
    """A change of an event is a reviewed change of a file: `shriven schema freeze` writes it."""
    assert problems() == []


def test_every_declared_event_has_a_frozen_file_of_its_revision() -> None:
    from schemas.frozen import FOLDER

    names = {path.name for path in FOLDER.glob("*.avsc")}
    assert {f"{event.name}.{event.revision}.avsc" for event in EVENTS} <= names


class Colour(enum.IntEnum):
    RED = 0
    GREEN = 1


class Longer(enum.IntEnum):
    RED = 0
    GREEN = 1
    BLUE = 2


class Renamed(enum.IntEnum):
    RED = 0
    LIME = 1


class Flags(enum.IntFlag):
    A = 1


class MoreFlags(enum.IntFlag):
    A = 1
    B = 2


class OtherFlags(enum.IntFlag):
    C = 1


Longer.__name__ = Renamed.__name__ = "Colour"

FIELDS = (
    Field("ts_event_ns", "i64", "time", based=True, content=True),
    Field("levels", "i64", "levels", count=2),
    Field("note", "text", "words"),
    Field("size", "u16", "size"),
    Field("colour", "enum", "colour", Colour),
    Field("flags", "flags", "flags", Flags),
    Field("status", "i32", "status"),
)
PAINT = Event("Paint", 90, 1, "a made-up event", FIELDS)


def with_field(column: str, /, **changed: object) -> Event:
    return replace(PAINT, fields=tuple(replace(f, **changed) if f.name == column else f for f in FIELDS))  # type: ignore[arg-type]


COMPATIBLE = {
    "documentation of the event": replace(PAINT, doc="other"),
    "documentation of a column": with_field("size", doc="other"),
    "column with default": replace(PAINT, fields=(Field("new", "i64", "", default=3), *FIELDS)),
    "based column with default": replace(PAINT, fields=(*FIELDS, Field("new", "i64", "", based=True, default=0))),
    "order of columns": replace(PAINT, fields=FIELDS[::-1]),
    "symbol at the end": with_field("colour", symbols=Longer),
    "new bit": with_field("flags", symbols=MoreFlags),
    "u16 to u32": with_field("size", kind="u32"),
    "u16 to i64": with_field("size", kind="i64"),
    "u16 to i32": with_field("size", kind="i32"),
    "i32 to i64": with_field("status", kind="i64"),
}
INCOMPATIBLE = {
    "column without default": (
        replace(PAINT, fields=(*FIELDS, Field("new", "i64", ""))),
        "new is new, without a default",
    ),
    "column removed": (replace(PAINT, fields=FIELDS[1:]), "column ts_event_ns is gone"),
    "column renamed": (with_field("size", name="extent"), "column size is gone"),
    "narrowed": (with_field("size", kind="u8"), "size changed from int"),
    "signed to unsigned": (with_field("status", kind="u32"), "status changed from int"),
    "i32 to u16": (with_field("status", kind="u16"), "status changed from int"),
    "integer to float": (with_field("status", kind="f64"), "status changed from int"),
    "text to bytes": (with_field("note", kind="bytes"), "note changed from string"),
    "items": (with_field("levels", count=3), "levels changed from"),
    "based": (with_field("ts_event_ns", based=False), "ts_event_ns changed based"),
    "content": (with_field("size", content=True), "size changed content"),
    "measured": (with_field("size", measured=True), "size changed measured"),
    "default": (with_field("size", default=1), "size changed default"),
    "symbol renamed": (with_field("colour", symbols=Renamed), "enum shriven.Colour renamed"),
    "bits renamed": (with_field("flags", symbols=OtherFlags), "flags lost or renamed bits"),
    "caused": (replace(PAINT, caused=False), "`caused` changed"),
    "number": (replace(PAINT, number=91), "the number changed from 90 to 91"),
    "content_when": (replace(PAINT, content_when=("colour", 1)), "content_when changed"),
    "content_changes": (replace(PAINT, content_changes=("size",)), "content_changes changed"),
}


@pytest.mark.parametrize("name", COMPATIBLE)
def test_compatible_change_needs_a_revision(name: str, tmp_path: Path) -> None:
    freeze([PAINT], tmp_path)
    changed = COMPATIBLE[name]
    (problem,) = problems([changed], tmp_path)
    assert problem.startswith("Paint: ")
    assert "Revision 1 is frozen: set `revision` to 2, run `shriven schema freeze`" in problem
    second = replace(changed, revision=2)
    assert problems([second], tmp_path) == [
        "Paint: revision 2 is not frozen yet; run `shriven schema freeze` and commit the file."
    ]
    assert [path.name for path in freeze([second], tmp_path)] == ["Paint.2.avsc"]
    check([second], tmp_path)


@pytest.mark.parametrize("name", INCOMPATIBLE)
def test_incompatible_change_needs_a_new_topic_version(name: str, tmp_path: Path) -> None:
    freeze([PAINT], tmp_path)
    changed, sentence = INCOMPATIBLE[name]
    (problem,) = problems([changed], tmp_path)
    assert sentence in problem
    assert "needs a new event with a number of its own, in a new version of the topic" in problem
    for event in (changed, replace(changed, revision=2)):
        with pytest.raises(ConfigInvalid, match="new version of the topic"):
            freeze([event], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["Paint.1.avsc"]


def test_equal_schemas_have_no_changes() -> None:
    schema = frame_schema(TRADE)
    assert changes(schema, json.loads(json.dumps(schema))) == []


def test_freeze_writes_once_and_rewrites_only_when_told(tmp_path: Path) -> None:
    assert [path.name for path in freeze([PAINT], tmp_path)] == ["Paint.1.avsc"]
    assert freeze([PAINT], tmp_path) == []
    changed = INCOMPATIBLE["column removed"][0]
    with pytest.raises(ConfigInvalid, match="ts_event_ns is gone"):
        freeze([changed], tmp_path)
    assert [path.name for path in freeze([changed], tmp_path, unreleased=True)] == ["Paint.1.avsc"]
    check([changed], tmp_path)
    assert freeze([changed], tmp_path, unreleased=True) == []


def test_lost_and_stray_files_are_named(tmp_path: Path) -> None:
    second = replace(COMPATIBLE["column with default"], revision=2)
    freeze([PAINT], tmp_path)
    freeze([second], tmp_path)
    assert problems([PAINT], tmp_path) == ["Paint: revision 2 is frozen, the declaration says 1. Restore it."]
    assert problems([], tmp_path) == [
        "Paint: frozen, but no longer declared. Restore the declaration: old frames need it."
    ]
    (tmp_path / "Paint.1.avsc").unlink()
    assert problems([second], tmp_path) == [
        "Paint: the frozen file of revision 1 is gone. Restore it: old frames need it."
    ]
    twin = replace(PAINT, name="Twin")
    assert "Number 90 is declared 2 times." in problems([second, twin], tmp_path)
