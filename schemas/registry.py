"""Schema ids, and the read-only part of the Schema Registry's REST interface.

An id is event number × 100 + revision; both are frozen, so that an id means one schema for ever, in
every installation, and no registry has to be asked for one. `answer` lets kcat, Kafka UI, Connect,
ksqlDB and Flink read the topics: point them at the address that serves it.

A subject is `<topic>-value`; its versions are the revisions of the topic's event. Which topics carry
which event is the caller's to say (schemas know no topics).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

from schemas.avro import Schema, frame_schema
from schemas.catalogue import EVENTS
from schemas.declare import Event
from schemas.errors import InputInvalid
from schemas.frozen import older_schemas

CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
I32_MAX = (1 << 31) - 1


class SchemaId(NamedTuple):
    """One line of the table of ids."""

    id: int
    event: str
    revision: int
    schema: Schema


class Answer(NamedTuple):
    """An HTTP answer: status, content type, body."""

    status: int
    content_type: str
    body: bytes


def schema_ids(events: Sequence[Event] = EVENTS) -> list[SchemaId]:
    """Every id that this release reads: today's revisions and the frozen older ones, ascending."""
    found = []
    for event in events:
        for schema_id, schema in older_schemas(event).items():
            found.append(SchemaId(schema_id, event.name, schema_id % 100, schema))
        found.append(SchemaId(event.schema_id, event.name, event.revision, frame_schema(event)))
    return sorted(found, key=lambda line: line.id)


def schema_of(schema_id: int, events: Sequence[Event] = EVENTS) -> SchemaId:
    """The line of an id. Raises InputInvalid when this release does not know it."""
    for line in schema_ids(events):
        if line.id == schema_id:
            return line
    raise InputInvalid(f"No schema has the id {schema_id}. `shriven schema list` shows the ids.")


class _Refused(Exception):
    """Ends in an error answer in the registry's own form."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error_code": code, "message": message}


def _versions(subject: str, subjects: Mapping[str, Event]) -> list[SchemaId]:
    event = subjects.get(subject)
    if event is None:
        raise _Refused(404, 40401, f"Subject '{subject}' not found.")
    return schema_ids([event])


def _version(subject: str, version: str, subjects: Mapping[str, Event]) -> SchemaId:
    lines = _versions(subject, subjects)
    if version in ("latest", "-1"):
        return lines[-1]
    if not re.fullmatch(r"[0-9]{1,10}", version) or not 1 <= int(version) <= I32_MAX:
        raise _Refused(
            422, 42202, f"The specified version '{version}' is not a valid version id. Allowed: 1..2^31-1, 'latest'."
        )
    for line in lines:
        if line.revision == int(version):
            return line
    raise _Refused(404, 40402, f"Version {version} not found.")


def _by_id(text: str, subjects: Mapping[str, Event]) -> SchemaId:
    for event in dict.fromkeys(subjects.values()):
        for line in schema_ids([event]):
            if text == str(line.id):
                return line
    raise _Refused(404, 40403, f"Schema {text} not found")


def _text(line: SchemaId) -> str:
    return json.dumps(line.schema, ensure_ascii=False, separators=(",", ":"))


def _subjects_of(line: SchemaId, subjects: Mapping[str, Event]) -> list[str]:
    return sorted(subject for subject, event in subjects.items() if event.name == line.event)


def _document(parts: list[str], subjects: Mapping[str, Event]) -> Any:
    """The JSON value at a path."""
    match parts:
        case [] | [""]:
            return {}
        case ["subjects"]:
            return sorted(subjects)
        case ["subjects", subject, "versions"]:
            return [line.revision for line in _versions(subject, subjects)]
        case ["subjects", subject, "versions", version]:
            line = _version(subject, version, subjects)
            return {"subject": subject, "version": line.revision, "id": line.id, "schema": _text(line)}
        case ["subjects", subject, "versions", version, "schema"]:
            return _version(subject, version, subjects).schema
        case ["schemas", "types"]:
            return ["AVRO"]
        case ["schemas", "ids", schema_id]:
            return {"schema": _text(_by_id(schema_id, subjects))}
        case ["schemas", "ids", schema_id, "schema"]:
            return _by_id(schema_id, subjects).schema
        case ["schemas", "ids", schema_id, "subjects"]:
            return _subjects_of(_by_id(schema_id, subjects), subjects)
        case ["schemas", "ids", schema_id, "versions"]:
            line = _by_id(schema_id, subjects)
            return [{"subject": name, "version": line.revision} for name in _subjects_of(line, subjects)]
        case ["config"] | ["config", _]:
            return {"compatibilityLevel": "BACKWARD"}
        case ["mode"] | ["mode", _]:
            return {"mode": "READONLY"}
    raise _Refused(404, 404, "HTTP 404 Not Found")


def answer(method: str, target: str, subjects: Mapping[str, Event]) -> Answer:
    """What the registry answers to a request.

    Args:
        method: HTTP method.
        target: path, with or without a query (which is ignored).
        subjects: event by subject (`md.trade.v1-value`).
    """
    parts = [unquote(part) for part in target.split("?", 1)[0].strip("/").split("/")]
    try:
        if method not in ("GET", "HEAD"):
            raise _Refused(405, 40501, "This registry is read-only: schemas come with the release.")
        status, document = 200, _document(parts, subjects)
    except _Refused as refused:
        status, document = refused.status, refused.body
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    return Answer(status, CONTENT_TYPE, b"" if method == "HEAD" else body)
