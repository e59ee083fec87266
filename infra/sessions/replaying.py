"""Replays a whole session: every task of every pipeline again, against what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.registry import processor
from infra.sessions.store import Session
from infra.up.summary import row_hash_of
from schemas.errors import ConfigInvalid
from schemas.hashing import topic_hash
from streams.api import WriterKey
from streams.cursor import SessionReader
from streams.pipelines import PIPELINES
from streams.replay import TaskReplay, recorded_tasks, replay_task
from streams.topics import TOPIC_BY_NUMBER


@dataclass(frozen=True)
class TopicComparison:
    """One output topic: what was recorded and what replay gave.

    Attributes:
        recorded, replayed: topic hashes; equal when every row is, byte for byte.
        rows: recorded.
    """

    topic: str
    rows: int
    recorded: str
    replayed: str

    @property
    def equal(self) -> bool:
        return self.recorded == self.replayed


def replay_session(
    session: Session, connector_reader: SessionReader, worker_reader: SessionReader, cut_seed: int | None = None
) -> Iterator[TaskReplay]:
    """Every task that has a journal, one after the other.

    Args:
        connector_reader: of what connectors wrote: always the local log.
        worker_reader: of what workers read and wrote: the same, or Kafka's copy.
        cut_seed: cut the runs at random places too.

    Raises:
        ConfigInvalid: the session has no journal at all.
    """
    parameters = session.plan.get("parameters", {})
    found = False
    for place, reader in (("connector", connector_reader), ("worker", worker_reader)):
        for row, task in recorded_tasks(reader, [row for row in PIPELINES if row.place == place]):
            found = True
            yield replay_task(row, task, processor(row, parameters), reader, cut_seed=cut_seed)
    if not found:
        raise ConfigInvalid(f"Session {session.name} has no journal: nothing ran in it, or its log was deleted.")


def compare_topics(root: Path, replays: list[TaskReplay]) -> list[TopicComparison]:
    """Per output topic: the hash of the recorded rows, read again from `root`, and of the replayed ones."""
    again: dict[int, dict[tuple[int, int, int, int], str]] = {}
    for one in replays:
        for key, digest in one.hashes.items():
            again.setdefault(key.topic, {})[tuple(key)] = digest  # type: ignore[index]
    compared = []
    for number, digests in sorted(again.items()):
        row = TOPIC_BY_NUMBER[number]
        rows, recorded = row_hash_of(root, row, {WriterKey(*key) for key in digests})
        compared.append(TopicComparison(row.name, rows, recorded, topic_hash(digests)))
    return compared


def as_json(session: Session, replays: list[TaskReplay], topics: list[TopicComparison]) -> Mapping[str, Any]:
    return {
        "session": session.name,
        "equal": all(one.equal for one in replays) and all(one.equal for one in topics),
        "tasks": [
            {
                "task": one.label,
                "checkpoints": one.checkpoints,
                "rows_in": one.rows_in,
                "rows_out": one.rows_out,
                "equal": one.equal,
                "code_changed": one.code_changed,
                "elapsed_s": one.elapsed_ns / 1e9,
                "difference": str(one.difference) if one.difference else None,
            }
            for one in replays
        ],
        "topics": {
            one.topic: {
                "rows": one.rows,
                "recorded": one.recorded,
                "replayed": one.replayed,
                "equal": one.equal,
            }
            for one in topics
        },
    }
