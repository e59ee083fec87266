"""The frozen schemas: `schemas/avro/<Event>.<revision>.avsc`, one per revision that was ever released."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

from schemas.avro import Schema
from schemas.declare import Event

FOLDER = Path(__file__).resolve().parent / "avro"
FILE_NAME = re.compile(r"(?P<event>[A-Za-z]+)\.(?P<revision>[1-9][0-9]?)\.avsc")


def path_of(event_name: str, revision: int, folder: Path = FOLDER) -> Path:
    return folder / f"{event_name}.{revision}.avsc"


def read_frozen(folder: Path = FOLDER) -> dict[tuple[str, int], Schema]:
    """Every frozen schema by event name and revision, sorted, as the files say now."""
    found = {}
    for path in folder.glob("*.avsc"):
        match = FILE_NAME.fullmatch(path.name)
        if match:
            found[match["event"], int(match["revision"])] = json.loads(path.read_text())
    return dict(sorted(found.items()))


frozen_schemas = functools.lru_cache(maxsize=8)(read_frozen)  # read once per process


def older_schemas(event: Event, folder: Path = FOLDER) -> dict[int, Schema]:
    """Frozen schemas of the event's revisions below today's, by schema id."""
    if event.revision == 1:
        return {}
    return {
        event.number * 100 + revision: schema
        for (name, revision), schema in frozen_schemas(folder).items()
        if name == event.name and revision < event.revision
    }
