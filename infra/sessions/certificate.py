"""A session's certificate: every pipeline ran again from recorded inputs and journal, and every row was compared.

    bytes checked ─▶ every sequence read and hashed ─▶ every task replayed, row for row ─▶ certificate

Hashes of sequences are row hashes (schemas/hashing.py). The *overall* hash is SHA-256 over the sorted lines
`<topic>/<partition>/<writer>/<incarnation> <row hash>\\n` of all sequences but those that measure or describe the run
(`UNHASHED`), so that a session has the same one wherever it is read: from Kafka, from its sealed copy, from its log.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from infra.registry import ParametersOf, processor
from infra.sessions.address import Address, cause_of, sequence_text
from infra.sessions.readback import frames
from infra.sessions.rows import session_key
from infra.sessions.rows_text import text
from infra.sessions.store import Session
from schemas.address import NO_ORIGIN, Origin
from schemas.avro import fingerprint as schema_fingerprint
from schemas.errors import ConfigInvalid, InputInvalid, IntegrityError
from schemas.frame import decode
from schemas.hashing import RowHash, topic_hash
from streams.api import WriterKey
from streams.cursor import SessionReader
from streams.log import LogReader
from streams.log import verify as verify_log
from streams.pipelines import PIPELINES, writer_label
from streams.replay import Difference, TaskReplay, recorded_tasks, replay_task
from streams.topics import TOPIC_BY_NUMBER, TOPICS, topic

UNHASHED = ("sys.latency.v1", "sys.service.v1", "sys.session.v1", "sys.snapshot.v1")
NAME = "certificate.json"
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Recorded:
    """One sequence: what is recorded, and what came out again.

    Attributes:
        replayed: row hash of the replayed rows; "" of inputs, and where replay ended early.
    """

    key: WriterKey
    rows: int
    recorded: str
    replayed: str = ""


@dataclass
class Certificate:
    """What `verify` found.

    Attributes:
        damage: places where bytes are not what was written; then nothing was replayed.
        changed: parameters that are not those with which the session began, in words.
        against: sequences that are not as an earlier certificate has them, in words.
        live: topic hashes that the session's report has, by topic.
    """

    session: Session
    parameters: ParametersOf
    sequences: list[Recorded] = field(default_factory=list)
    tasks: list[TaskReplay] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    against: list[str] = field(default_factory=list)
    live: Mapping[str, str] = field(default_factory=dict)

    @property
    def overall(self) -> str:
        """One hash of all rows."""
        return topic_hash({tuple(one.key): one.recorded for one in self.sequences})  # type: ignore[misc]

    @property
    def dead_letters(self) -> int:
        number = topic("sys.dead_letter").number
        return sum(one.rows for one in self.sequences if one.key.topic == number)

    @property
    def differing(self) -> list[TaskReplay]:
        return [one for one in self.tasks if one.difference]

    @property
    def unequal(self) -> list[str]:
        """Sequences whose hashes differ though no row did; and topics that are not what the report says."""
        found = [sequence_text(one.key) for one in self.sequences if one.replayed and one.replayed != one.recorded]
        return [] if self.differing else found

    @property
    def verdict(self) -> str:
        """`verified`, `damaged`, `differs`."""
        if self.damage:
            return "damaged"
        return "differs" if self.differing or self.unequal or self.against else "verified"


def check_bytes(roots: Sequence[Path]) -> list[str]:
    """Every place where the logs' bytes are not what was written: topic, writer, file, byte, rows."""
    return [
        f"{sequence_text(one.key)}: {bad}"
        for root in dict.fromkeys(roots)
        if root.exists()
        for one in verify_log(root).writers
        for bad in one.damage
    ]


def certify(
    session: Session, connectors: SessionReader, workers: SessionReader, roots: Sequence[Path], parameters: ParametersOf
) -> Certificate:
    """Check, hash and replay a session.

    Args:
        connectors, workers: readers of what connectors and workers wrote.
        roots: folders whose bytes are checked first.
        parameters: to replay with; the session's own, unless somebody asks what others would change.

    Raises:
        ConfigInvalid: the session has no journal.
        IntegrityError: rows are lost, or a frame is none.
    """
    made = Certificate(session, parameters, changed=changed_parameters(session, parameters))
    made.damage = check_bytes(roots)
    if made.damage:
        return made
    recorded = list(_sequences(connectors, workers, roots))
    made.tasks = list(_replays(connectors, workers, parameters))
    if not made.tasks:
        raise ConfigInvalid(f"Session {session.name} has no journal: nothing ran in it, or its log was deleted.")
    replayed = {key: digest for one in made.tasks if one.equal for key, digest in one.hashes.items()}
    made.sequences = [replace(one, replayed=replayed.get(one.key, "")) for one in recorded]
    report = session.report() or {}
    made.live = report.get("hashes", {}).get("row", {})
    earlier = session.root / NAME
    if earlier.exists():
        made.against = compare_certificates(orjson.loads(earlier.read_bytes()), made)
    return made


def _replays(connectors: SessionReader, workers: SessionReader, parameters: ParametersOf) -> Iterator[TaskReplay]:
    for place, reader in (("connector", connectors), ("worker", workers)):
        for row, task in recorded_tasks(reader, [row for row in PIPELINES if row.place == place]):
            yield replay_task(row, task, processor(row, parameters), reader)


def _sequences(connectors: SessionReader, workers: SessionReader, roots: Sequence[Path]) -> Iterator[Recorded]:
    """Every sequence read from where the workers' rows are, or else from the local log, and hashed."""
    for row in TOPICS:
        if row.name in UNHASHED:
            continue
        own = dict.fromkeys(workers.keys(row.number), workers)
        for key, reader in sorted((dict.fromkeys(connectors.keys(row.number), connectors) | own).items()):
            row_hash = RowHash(row.event)
            try:
                for chunk in reader.chunks(key):
                    row_hash.update(chunk.cause, chunk.rows, chunk.heap)
            except IntegrityError:
                for root in roots:
                    _name_undecodable(root, key)
                raise
            yield Recorded(key, row_hash.row_count, row_hash.hexdigest())


def _name_undecodable(root: Path, key: WriterKey) -> None:
    """Raise IntegrityError with the rows of the first frame that is none; nothing where all are."""
    log = LogReader(root, key)
    try:
        while records := log.poll():
            for record in records:
                try:
                    decode(record.frame)
                except InputInvalid as error:
                    rows = Address(key, record.row_first), record.row_last
                    raise IntegrityError(f"{rows[0]} to {rows[1]}: its bytes are no frame. {error}") from error
    finally:
        log.close()


def recorded_plan(session: Session) -> Mapping[str, Any]:
    """The plan as the session wrote it into its own log when it began; {} where it did not."""
    for root in (session.log, session.sealed):
        for frame in frames(root, session_key(session.incarnation)) if root.exists() else ():
            found: Mapping[str, Any] = orjson.loads(text(frame.rows, frame.heap, "plan", 0))
            return found
    return {}


def changed_parameters(session: Session, parameters: ParametersOf) -> list[str]:
    """`book.stale_after_ns was 5, is 6`: what is not as when the session began."""
    began: ParametersOf = recorded_plan(session).get("parameters", session.plan.get("parameters", {}))
    found = []
    for name in sorted({*began, *parameters}):
        before, now = dict(began.get(name, {})), dict(parameters.get(name, {}))
        for one in sorted({*before, *now}):
            if before.get(one) != now.get(one):
                words = [str(side[one]) if one in side else "not given" for side in (before, now)]
                found.append(f"{name}.{one}: recorded with {words[0]}, now {words[1]}")
    return found


def compare_certificates(earlier: Mapping[str, Any], made: Certificate) -> list[str]:
    """Sequences that are not what an earlier certificate says: also inputs, which no replay can judge."""
    before = {one["sequence"]: (one["rows"], one["recorded"]) for one in earlier.get("sequences", [])}
    now = {sequence_text(one.key): (one.rows, one.recorded) for one in made.sequences}
    return [
        f"{name}: {before[name][0] if name in before else 0} rows then, {now[name][0] if name in now else 0} now, "
        "and another hash"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def cause_of_difference(difference: Difference) -> Address | None:
    """The input row that made the first differing row; None where a timer did."""
    return Address(*difference.input) if difference.input else None


def fields_of(difference: Difference) -> list[dict[str, Any]]:
    """Every column of the first differing row, both versions; `differs` marks those that do."""
    replayed, recorded = difference.replayed or {}, difference.recorded or {}
    shown = []
    for name in dict.fromkeys((*recorded, *replayed)):
        sides = [_shown(side, name) for side in (recorded, replayed)]
        shown.append({"field": name, "recorded": sides[0], "replayed": sides[1], "differs": sides[0] != sides[1]})
    return shown


def _shown(values: Mapping[str, Any], name: str) -> object:
    if name not in values:
        return None
    if name == "cause":
        found = cause_of(Origin(*values.get("cause", NO_ORIGIN)), int(values.get("cause_row", 0)))
        return str(found) if found else ""
    value = values[name]
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def difference_json(one: TaskReplay) -> dict[str, Any] | None:
    """A task's first difference for machines."""
    difference = one.difference
    if difference is None:
        return None
    cause = cause_of_difference(difference)
    kind = "both" if difference.replayed and difference.recorded else "replayed" if difference.replayed else "recorded"
    return {
        "row": str(Address(difference.key, difference.row)),
        "in": kind,
        "cause": str(cause) if cause else None,
        "timer_ns": difference.timer_ns or None,
        "fields": fields_of(difference),
    }


def as_json(made: Certificate) -> dict[str, Any]:
    """The certificate for machines, and for its file."""
    return {
        "session": made.session.name,
        "incarnation": made.session.incarnation,
        "verdict": made.verdict,
        "hash": made.overall,
        "dead_letters": made.dead_letters,
        "made_by": {
            "version": importlib.metadata.version("shrivenquant"),
            "commit": commit(),
            "python": platform.python_version(),
            "numpy": importlib.metadata.version("numpy"),
            "numba": importlib.metadata.version("numba"),
        },
        "parameters": {name: dict(given) for name, given in made.parameters.items()},
        "changed_parameters": made.changed,
        "damage": made.damage,
        "against_earlier": made.against,
        "tasks": [
            {
                "task": one.label,
                "checkpoints": one.checkpoints,
                "rows_in": one.rows_in,
                "rows_out": one.rows_out,
                "equal": one.equal,
                "code_recorded": [code_text(value) for value in one.fingerprints],
                "code_now": code_text(one.fingerprint),
                "code_changed": one.code_changed,
                "difference": difference_json(one),
            }
            for one in made.tasks
        ],
        "topics": [*_topics(made)],
        "sequences": [
            {
                "sequence": sequence_text(one.key),
                "writer": writer_label(one.key.writer),
                "rows": one.rows,
                "recorded": one.recorded,
                "replayed": one.replayed or None,
            }
            for one in made.sequences
        ],
    }


def _topics(made: Certificate) -> Iterator[dict[str, Any]]:
    """Per topic: rows and the hash of what is recorded; of what pipelines wrote, the hash of what came out again.

    `replayed` is None for inputs; it equals `recorded` where every sequence of the topic was replayed and is equal.
    """
    for number in sorted({one.key.topic for one in made.sequences}):
        row = TOPIC_BY_NUMBER[number]
        own = [one for one in made.sequences if one.key.topic == number]
        again = {tuple(one.key): one.replayed or one.recorded for one in own}
        judged = any(one.replayed for one in own)
        yield {
            "topic": row.name,
            "schema": f"{row.event.schema_id}:{schema_fingerprint(row.event)}",
            "sequences": len(own),
            "rows": sum(one.rows for one in own),
            "recorded": topic_hash({tuple(one.key): one.recorded for one in own}),  # type: ignore[misc]
            "replayed": topic_hash(again) if judged else None,  # type: ignore[arg-type]
            "live": made.live.get(row.name),
        }


def code_text(fingerprint: int) -> str:
    """A fingerprint as 16 hex digits."""
    return f"{fingerprint & (1 << 64) - 1:016x}"


def commit() -> str | None:
    """The commit of the source tree this runs from; None where it is no git checkout."""
    git = ROOT / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        name = head.removeprefix("ref: ")
        loose = git / name
        if loose.exists():
            return loose.read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
    except OSError:
        return None
