"""A session as a row of sys.session.v1: in its own local log, so that a copied log says what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson

from infra.config import Config
from infra.sessions import store as sessions
from infra.sessions.rows_text import text
from infra.sessions.store import Session
from schemas.address import NO_ORIGIN
from schemas.declare import Heap, Rows
from schemas.errors import InputInvalid
from schemas.events import SESSION
from schemas.frame import decode, encode
from streams.api import Chunk, WriterKey
from streams.log import Dumped, LogOptions, LogWriter, import_frames, read_dump
from streams.pipelines import SERVICE_NUMBER, TASKS_MAX
from streams.topics import topic

SESSION_TOPIC = topic("sys.session.v1")
SEGMENT_BYTES = 1 << 20  # it will hold one row


def session_key(incarnation: int) -> WriterKey:
    return WriterKey(SESSION_TOPIC.number, 0, SERVICE_NUMBER * TASKS_MAX, incarnation)


def session_chunk(session: Session) -> Chunk:
    """Its one row, ready to be written."""
    name, plan = session.name.encode(), orjson.dumps(session.plan)
    row = SESSION.empty(1)
    row["ts_recv_ns"] = session.created_ns
    row["session_at"], row["session_size"] = 0, len(name)
    row["plan_at"], row["plan_size"] = len(name), len(plan)
    row["incarnation"] = session.incarnation
    return Chunk(session_key(session.incarnation), 1, row, np.frombuffer(name + plan, dtype=np.uint8))


def write_session(session: Session, root: Path) -> None:
    """Append its row to its own log, or to its sealed copy; nothing when it is there."""
    chunk = session_chunk(session)
    writer = LogWriter(root, chunk.key, LogOptions(segment_bytes=SEGMENT_BYTES))
    try:
        if writer.last_row == 0:
            frame = encode(SESSION, chunk.key.writer, chunk.key.incarnation, 1, NO_ORIGIN, chunk.rows, chunk.heap)
            writer.append(frame, 1, 1, session.created_ns)
    finally:
        writer.close()


def session_names(rows: Rows, heap: Heap) -> dict[str, int]:
    """Names to incarnations, of rows of sys.session.v1."""
    return {text(rows, heap, "session", index): int(rows["incarnation"][index]) for index in range(len(rows))}


def import_session(config: Config, file: Path, name: str = "") -> tuple[Session, Dumped]:
    """A session from a dumped log.

    Args:
        name: "" for its own.

    Raises:
        ConfigInvalid: there is no such file, or the name is taken.
        InputInvalid: the file is not a dump, or of no whole session.
    """
    if not file.is_file():
        raise InputInvalid(f"There is no file {file}.")
    found = None
    for key, record in read_dump(file):
        if key.topic == SESSION_TOPIC.number:
            found = decode(record.frame)
            break
    if found is None:
        raise InputInvalid(f"{file} holds no row of {SESSION_TOPIC.name}: it was dumped without it (--topic).")
    plan = orjson.loads(text(found.rows, found.heap, "plan", 0))
    name = name or text(found.rows, found.heap, "session", 0)
    session = sessions.adopt(config, name, int(found.rows["incarnation"][0]), plan, int(found.rows["ts_recv_ns"][0]))
    return session, import_frames(file, session.log)
