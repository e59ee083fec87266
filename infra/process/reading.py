"""Where a session's rows are read by those who only look: its broker or its local log. Light without a broker."""

from __future__ import annotations

from infra.sessions.store import Session
from streams.api import Source
from streams.local import LocalSource


def source_of(session: Session, broker: str, reader: str) -> Source:
    """Every writer of the session.

    Args:
        broker: address; "" for the local log.
        reader: who reads: names the group at the broker.
    """
    if not broker:
        return LocalSource(session.log, session.incarnation)
    from streams.kafka import Kafka, KafkaSource  # slow to load: a kill without a broker does not wait for it

    return KafkaSource(Kafka(broker), f"shriven.{session.name}.{reader}", session.incarnation, session.created_ns)
