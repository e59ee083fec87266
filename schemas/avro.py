"""Event → Avro schema of its frame: the same declaration as JSON that every Avro tool reads.

A Kafka message is one *frame*: a record with the writer, the number of the first row, one base per
based column and an array of rows. Attributes that Avro does not know (`unit`, `scale`, `based`, …)
are kept by readers that look for them and ignored by all others.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from schemas.declare import Event, Field

NAMESPACE = "shriven"
ORIGIN_FIELDS = ("cause_topic", "cause_partition", "cause_writer", "cause_incarnation")
AVRO_OF_KIND = {
    "i64": "long",
    "i32": "int",
    "u8": "int",
    "u16": "int",
    "u32": "long",
    "f64": "double",
    "flags": "int",
    "text": "string",
    "bytes": "bytes",
}
RANGE_OF_KIND = {"u8": (0, 0xFF), "flags": (0, 0xFF), "u16": (0, 0xFFFF), "u32": (0, 0xFFFFFFFF)}
Schema = dict[str, Any]


def is_wire(field: Field) -> bool:
    """Whether the column travels: `reserved` columns pad the row in memory and are zero by declaration."""
    return not field.name.startswith("reserved")


def wire_fields(event: Event) -> tuple[Field, ...]:
    """The columns of the Avro row record, in order."""
    return tuple(field for field in event.fields if is_wire(field))


def based_fields(event: Event) -> tuple[Field, ...]:
    """The columns with a base in the frame's header, in order."""
    return tuple(field for field in event.fields if field.based)


def unit_of(field: Field) -> dict[str, Any]:
    """Custom attributes that say what the integer counts, from the end of the column's name."""
    if field.name.endswith("_ns"):
        return {"unit": "ns"}
    if field.name.endswith("_e8"):
        return {"scale": 8}
    if field.name.endswith("_bytes"):
        return {"unit": "bytes"}
    return {}


def default_of(field: Field) -> Any:
    """The column's default as Avro writes it."""
    if field.kind == "enum":
        assert field.symbols is not None, field.name
        return field.symbols(int(field.default or 0)).name
    return [field.default] * field.count if field.count else field.default


def field_schema(field: Field, named: set[str]) -> Schema:
    """One column of the row record. `named` holds the enum names that the schema has defined so far."""
    kind: Any = AVRO_OF_KIND.get(field.kind)
    if field.kind == "enum":
        assert field.symbols is not None, field.name
        full_name = f"{NAMESPACE}.{field.symbols.__name__}"
        symbols = [member.name for member in field.symbols]
        assert [int(member) for member in field.symbols] == list(range(len(symbols))), full_name
        kind = full_name if full_name in named else {"type": "enum", "name": full_name, "symbols": symbols}
        named.add(full_name)
    if field.based:
        kind = "long"
    if field.count:
        kind = {"type": "array", "items": kind, "count": field.count}
    schema: Schema = {"name": field.name, "type": kind, "doc": field.doc}
    if field.default is not None:
        schema["default"] = default_of(field)
    schema.update(unit_of(field))
    if field.kind == "flags":
        assert field.symbols is not None, field.name
        schema["bits"] = {member.name: int(member) for member in field.symbols}
    if field.based:
        schema["based"] = f"base_{field.name}"
    elif field.kind in RANGE_OF_KIND:
        schema["range"] = list(RANGE_OF_KIND[field.kind])
    for mark in ("content", "measured"):
        if getattr(field, mark):
            schema[mark] = True
    return schema


def row_schema(event: Event) -> Schema:
    """The row as an Avro record."""
    named: set[str] = set()
    return {
        "type": "record",
        "name": f"{NAMESPACE}.{event.name}",
        "doc": event.doc,
        **({"content_when": list(event.content_when)} if event.content_when else {}),
        **({"content_changes": list(event.content_changes)} if event.content_changes else {}),
        "fields": [field_schema(field, named) for field in wire_fields(event)],
    }


def base_schema(field: Field) -> Schema:
    """The header's field that holds the base of a based column."""
    schema = {"name": f"base_{field.name}", "type": "long", "doc": f"add it to {field.name} of every row"}
    return schema | unit_of(field) | ({} if field.default is None else {"default": 0})


def frame_schema(event: Event) -> Schema:
    """The frame as an Avro record; what follows magic byte and schema id in a message."""
    fields: list[Schema] = [
        {"name": "writer", "type": "int", "doc": "who numbered the rows"},
        {"name": "incarnation", "type": "int", "doc": "the writer's session"},
        {"name": "row_first", "type": "long", "doc": "number of rows[0]; the others follow one by one"},
    ]
    if event.caused:
        fields += [
            {"name": name, "type": "int", "doc": "of the rows' causes, with cause_row; all 0: no cause"}
            for name in ORIGIN_FIELDS
        ]
    fields += [base_schema(field) for field in based_fields(event)]
    fields.append({"name": "rows", "type": {"type": "array", "items": row_schema(event)}, "doc": "the rows"})
    return {
        "type": "record",
        "name": f"{NAMESPACE}.{event.name}Frame",
        "doc": f"Consecutive rows of one writer. {event.doc}",
        "schema_id": event.schema_id,
        "fields": fields,
    }


def canonical(schema: Schema) -> str:
    """JSON with sorted keys and no white space. Avro's own canonical form drops the custom attributes."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def fingerprint(event: Event) -> str:
    """SHA-256 (hex) over the whole declaration: frame schema with docs and attributes, and the row's dtype."""
    declaration = {"avro": frame_schema(event), "dtype": [list(map(str, item)) for item in event.dtype.descr]}
    return hashlib.sha256(canonical(declaration).encode()).hexdigest()
