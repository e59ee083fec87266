"""The Avro schema says all that the declaration says."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import fastavro
import pytest

from schemas.avro import based_fields, canonical, fingerprint, frame_schema, wire_fields
from schemas.catalogue import EVENTS
from schemas.declare import Event, Field
from schemas.events import BOOK_SNAPSHOT, QUOTE, RAW_FRAME, TRADE, Side


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_every_schema_is_avro(event: Event) -> None:
    schema = frame_schema(event)
    parsed: Any = fastavro.parse_schema(json.loads(json.dumps(schema)))
    assert parsed["name"] == f"shriven.{event.name}Frame"
    rows = schema["fields"][-1]["type"]["items"]
    assert [field["name"] for field in rows["fields"]] == [field.name for field in wire_fields(event)]
    assert [field["doc"] for field in rows["fields"]] == [field.doc for field in wire_fields(event)]
    bases = [field["name"] for field in schema["fields"] if field["name"].startswith("base_")]
    assert bases == [f"base_{field.name}" for field in based_fields(event)]
    assert schema["schema_id"] == event.number * 100 + event.revision


def test_ids_and_names_are_unique() -> None:
    assert len({event.number for event in EVENTS}) == len(EVENTS)
    assert len({event.name for event in EVENTS}) == len(EVENTS)


def test_attributes_say_unit_scale_range_and_base() -> None:
    columns = {field["name"]: field for field in frame_schema(TRADE)["fields"][-1]["type"]["items"]["fields"]}
    assert columns["ts_event_ns"] == {
        "name": "ts_event_ns",
        "type": "long",
        "doc": "the venue's time, ns",
        "unit": "ns",
        "based": "base_ts_event_ns",
        "content": True,
    }
    assert columns["quantity_e8"]["scale"] == 8
    assert columns["aggressor"]["type"] == {"type": "enum", "name": "shriven.Side", "symbols": ["BUY", "SELL"]}
    assert columns["flags"]["bits"] == {"HOLE_BEFORE": 1, "OFF_BOOK": 2}
    assert columns["flags"]["range"] == [0, 255]
    assert "reserved" not in columns
    snapshot = frame_schema(BOOK_SNAPSHOT)["fields"][-1]["type"]["items"]
    assert snapshot["fields"][4]["type"] == {"type": "array", "items": "long", "count": 20}
    assert snapshot["content_when"] == ["trust", 1]
    assert frame_schema(QUOTE)["fields"][-1]["type"]["items"]["content_changes"] == [
        "bid_price_e8",
        "bid_quantity_e8",
        "ask_price_e8",
        "ask_quantity_e8",
    ]
    raw = {field["name"]: field for field in frame_schema(RAW_FRAME)["fields"][-1]["type"]["items"]["fields"]}
    assert (raw["request"]["type"], raw["payload"]["type"]) == ("string", "bytes")


def test_enum_used_twice_is_defined_once() -> None:
    fields = (
        Field("a", "enum", "", Side),
        Field("b", "enum", "", Side),
        Field("reserved", "u16", ""),
        Field("reserved_b", "u32", ""),
    )
    schema = frame_schema(Event("Pair", 99, 1, "", fields))
    types = [field["type"] for field in schema["fields"][-1]["type"]["items"]["fields"]]
    assert types == [{"type": "enum", "name": "shriven.Side", "symbols": ["BUY", "SELL"]}, "shriven.Side"]
    fastavro.parse_schema(schema)


def test_fingerprint_covers_what_avro_forgets() -> None:
    """Avro's canonical form drops documentation and custom attributes."""
    price = TRADE.field("price_e8")
    others = [
        replace(price, doc="another"),
        replace(price, content=False),
        replace(price, based=False),
        replace(price, measured=True),
        replace(price, default=1),
        replace(price, name="price_e9"),
    ]
    seen = {fingerprint(TRADE)}
    for other in others:
        fields = tuple(other if field is price else field for field in TRADE.fields)
        seen.add(fingerprint(replace(TRADE, fields=fields)))
    seen.add(fingerprint(replace(TRADE, revision=2)))
    seen.add(fingerprint(replace(TRADE, content_when=("aggressor", 1))))
    seen.add(fingerprint(replace(TRADE, fields=(*TRADE.fields[1:], TRADE.fields[0]))))
    assert len(seen) == len(others) + 4
    assert fingerprint(replace(TRADE)) == fingerprint(TRADE)


def test_canonical_json_is_stable() -> None:
    assert canonical({"b": [1, {"d": "é", "c": None}], "a": 2}) == '{"a":2,"b":[1,{"c":null,"d":"\\u00e9"}]}'
