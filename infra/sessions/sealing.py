"""A session is copied out of Kafka: whole when it is over (sealed), what is new while it runs (pulled)."""

from __future__ import annotations

from shutil import rmtree

from infra.config import Config
from infra.file_lock import exclusive
from infra.place import running_address
from infra.sessions.rows import write_session
from infra.sessions.store import Session
from schemas.errors import ConfigInvalid
from streams.kafka import Kafka, KafkaReader
from streams.seal import SEALED, seal
from streams.topics import TOPIC_BY_NUMBER, topic

JOURNAL = topic("sys.journal.v1")
PULL_WAIT_S = 60.0


def seal_session(session: Session, address: str) -> dict[str, int]:
    """Copy what the broker holds of the session into its folder; rows by topic."""
    reader = KafkaReader(Kafka(address), session.incarnation, session.created_ns)
    sealed = seal(reader, session.sealed)
    write_session(session, session.sealed)
    rmtree(session.pulled, ignore_errors=True)
    counts: dict[str, int] = {}
    for key, row in sealed.rows.items():
        name = TOPIC_BY_NUMBER[key.topic].name
        counts[name] = counts.get(name, 0) + row
    return counts


def seal_from(settings: Config, session: Session, broker: str) -> dict[str, int]:
    """The same from the broker that is said, else from the session's own.

    Raises:
        ConfigInvalid: the session ran without a broker.
    """
    own = session.broker
    if not own:
        raise ConfigInvalid(f"Session {session.name} ran without a broker: its local log is all there is.")
    return seal_session(session, running_address(settings, broker or own))


def pull(settings: Config, session: Session) -> int:
    """Bring what the workers of a session wrote to Kafka so far beside its local log; new rows only. How many.

    Effects are copied before their causes, journals last: while they are written, that leaves the fewest rows whose
    causes are not there yet.

    Raises:
        BrokerUnavailable: its broker does not answer.
    """
    address = running_address(settings, session.broker)
    reader = KafkaReader(Kafka(address), session.incarnation, session.created_ns)
    with exclusive(session.root / "pull.lock", PULL_WAIT_S, "copying rows from Kafka"):
        written = [row for row in SEALED if row.owner == "runner"]
        return seal(reader, session.pulled, sorted(written, key=lambda row: (row is JOURNAL, -row.number))).frames
