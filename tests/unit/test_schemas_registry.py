"""The registry's answers, as its clients expect them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.avro import frame_schema
from schemas.catalogue import EVENTS
from schemas.errors import InputInvalid
from schemas.events import QUOTE, TRADE
from schemas.registry import CONTENT_TYPE, answer, schema_ids, schema_of

SUBJECTS = {"md.trade.v1-value": TRADE, "md.quote.v1-value": QUOTE, "md.ticker.v1-value": QUOTE}


def get(target: str, method: str = "GET") -> tuple[int, Any]:
    found = answer(method, target, SUBJECTS)
    assert found.content_type == CONTENT_TYPE
    return found.status, json.loads(found.body) if found.body else None


def test_table_of_ids_is_frozen() -> None:
    """Ids are in every message ever written: this list only grows."""
    ids = {line.id: (line.event, line.revision) for line in schema_ids()}
    assert (
        ids.items()
        >= {
            101: ("RawFrame", 1),
            201: ("Trade", 1),
            301: ("BookDelta", 1),
            401: ("Quote", 1),
            501: ("BookSnapshot", 1),
            601: ("Bar", 1),
            701: ("VolumeProfile", 1),
            801: ("Instrument", 1),
            901: ("Journal", 1),
            1001: ("DeadLetter", 1),
            1101: ("Latency", 1),
            1201: ("Heartbeat", 1),
            1301: ("ResyncRequest", 1),
            1401: ("Session", 1),
            1501: ("Snapshot", 1),
        }.items()
    )
    assert [line.id for line in schema_ids()] == sorted(line.id for line in schema_ids())
    assert {event.schema_id for event in EVENTS} <= {line.id for line in schema_ids()}


def test_schema_of_an_id() -> None:
    assert schema_of(201).schema == frame_schema(TRADE)
    with pytest.raises(InputInvalid, match="No schema has the id 7"):
        schema_of(7)


def test_subjects_and_versions() -> None:
    assert get("/subjects") == (200, sorted(SUBJECTS))
    assert get("/subjects/md.trade.v1-value/versions") == (200, [1])
    for version in ("1", "latest", "-1"):
        status, found = get(f"/subjects/md.trade.v1-value/versions/{version}")
        assert status == 200
        assert json.loads(found.pop("schema")) == frame_schema(TRADE)
        assert found == {"subject": "md.trade.v1-value", "version": 1, "id": 201}
    assert get("/subjects/md.quote.v1-value/versions/latest/schema") == (200, frame_schema(QUOTE))


def test_schemas_by_id() -> None:
    status, found = get("/schemas/ids/401?subject=md.quote.v1-value")
    assert (status, json.loads(found["schema"])) == (200, frame_schema(QUOTE))
    assert get("/schemas/ids/401/schema") == (200, frame_schema(QUOTE))
    assert get("/schemas/ids/401/subjects") == (200, ["md.quote.v1-value", "md.ticker.v1-value"])
    assert get("/schemas/ids/401/versions")[1][1] == {"subject": "md.ticker.v1-value", "version": 1}


def test_what_clients_ask_on_the_way() -> None:
    assert get("/") == (200, {})
    assert get("/schemas/types") == (200, ["AVRO"])
    assert get("/config") == (200, {"compatibilityLevel": "BACKWARD"})
    assert get("/config/md.trade.v1-value")[0] == 200
    assert get("/mode") == (200, {"mode": "READONLY"})
    assert get("/subjects/md.trade.v1%2Dvalue/versions") == (200, [1])
    assert answer("HEAD", "/subjects", SUBJECTS).body == b""


@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/subjects/nobody-value/versions", 404, 40401),
        ("/subjects/nobody-value/versions/1", 404, 40401),
        ("/subjects/md.trade.v1-value/versions/2", 404, 40402),
        ("/subjects/md.trade.v1-value/versions/0", 422, 42202),
        ("/subjects/md.trade.v1-value/versions/x", 422, 42202),
        ("/subjects/md.trade.v1-value/versions/99999999999", 422, 42202),
        ("/schemas/ids/202", 404, 40403),
        ("/schemas/ids/101", 404, 40403),
        ("/schemas/ids/x", 404, 40403),
        ("/nothing", 404, 404),
        ("/subjects/a/b/c/d/e", 404, 404),
    ],
)
def test_errors_have_the_registrys_codes(target: str, status: int, code: int) -> None:
    found = get(target)
    assert (found[0], found[1]["error_code"]) == (status, code)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(method: str) -> None:
    status, found = get("/subjects/md.trade.v1-value/versions", method)
    assert (status, found["error_code"]) == (405, 40501)
