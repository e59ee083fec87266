"""Confluent's own deserializer reads our frames, with schemas from our answers to its registry client."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from schemas.address import NO_ORIGIN
from schemas.avro import ORIGIN_FIELDS, based_fields, wire_fields
from schemas.catalogue import EVENTS
from schemas.frame import encode
from schemas.registry import answer
from tests.contract.codec_rows import random_head, random_rows
from tests.reference.frame import record_of

SUBJECTS = {f"{event.name.lower()}.v1-value": event for event in EVENTS}


class _Cache(dict[Any, Any]):
    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()


class _Absent:
    """Stands for classes of packages that are not installed, which the client imports and does not use here."""


@pytest.fixture(scope="module")
def avro() -> Any:
    """`confluent_kafka.schema_registry`, whose optional packages for signing in (authlib) are not installed."""
    if importlib.util.find_spec("authlib") is None:
        for name in ("authlib", "authlib.integrations", "authlib.integrations.httpx_client"):
            module: Any = types.ModuleType(name)
            module.AsyncOAuth2Client = module.OAuth2Client = _Absent
            sys.modules[name] = module
    if importlib.util.find_spec("cachetools") is None:
        module = types.ModuleType("cachetools")
        module.TTLCache = module.LRUCache = module.Cache = _Cache
        sys.modules["cachetools"] = module
    pytest.importorskip("httpx")
    return importlib.import_module("confluent_kafka.schema_registry.avro")


@pytest.fixture(scope="module")
def registry_url() -> Iterator[str]:
    """A server that asks `answer` and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answer("GET", self.path, SUBJECTS)
            self.send_response(found.status)
            self.send_header("Content-Type", found.content_type)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

        def log_message(self, *_: Any) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_confluent_deserializer_reads_our_frames(avro: Any, registry_url: str, event: Any) -> None:
    client = importlib.import_module("confluent_kafka.schema_registry").SchemaRegistryClient({"url": registry_url})
    context = importlib.import_module("confluent_kafka.serialization")
    deserialize = avro.AvroDeserializer(client)
    rows, heap = random_rows(event, 5, np.random.default_rng(event.number))
    writer, incarnation, row_first, cause = random_head(event, np.random.default_rng(event.number))
    data = encode(event, writer, incarnation, row_first, cause, rows, heap)
    topic = context.SerializationContext(f"{event.name.lower()}.v1", context.MessageField.VALUE)
    found = deserialize(data, topic)
    expected = record_of(event, row_first, cause, rows, heap) | {"writer": writer, "incarnation": incarnation}
    assert found == expected
    for field in based_fields(event):  # as any reader would: add the base
        sums = [row[field.name] + found[f"base_{field.name}"] for row in found["rows"]]
        assert sums == rows[field.name].tolist()
    assert set(found) - {"rows"} >= {"writer", "incarnation", "row_first", *(ORIGIN_FIELDS if event.caused else ())}
    assert [set(row) for row in found["rows"]] == [{field.name for field in wire_fields(event)}] * 5


def test_confluent_client_lists_our_subjects(avro: Any, registry_url: str) -> None:
    client = importlib.import_module("confluent_kafka.schema_registry").SchemaRegistryClient({"url": registry_url})
    assert client.get_subjects() == sorted(SUBJECTS)
    latest = client.get_latest_version("trade.v1-value")
    assert (latest.schema_id, latest.version) == (201, 1)
    assert encode(SUBJECTS["trade.v1-value"], 0, 0, 1, NO_ORIGIN, SUBJECTS["trade.v1-value"].empty())[:5] == (
        b"\0" + latest.schema_id.to_bytes(4, "big")
    )
