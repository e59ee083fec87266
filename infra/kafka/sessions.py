"""Sessions that share a broker: read from and claimed in sys.session.v1, so that no two have one number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from infra.sessions.rows import SESSION_TOPIC, session_chunk, session_key, session_names
from infra.sessions.store import Session
from schemas.errors import BrokerUnavailable
from streams.api import Chunk, TopicPartition
from streams.clock import SYSTEM_CLOCK, Clock
from streams.framing import Message, decode_messages, encode_chunk
from streams.kafka import Kafka, KafkaMirror, KafkaReader

PLACE = TopicPartition(SESSION_TOPIC.number, 0)
CLAIM_S = 10.0
PATIENCE_S = 15.0
PAUSE_S = 0.1


class BrokerSessions:
    """`sessions.Directory` over a broker's topic. Of rows with one name or one number the first one stands."""

    def __init__(self, kafka: Kafka, clock: Clock = SYSTEM_CLOCK) -> None:
        self._kafka = kafka
        self._clock = clock

    def incarnations(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for name, number in self._patiently_read():
            if name not in found and number not in found.values():
                found[name] = number
        return found

    def claim(self, session: Session) -> bool:
        """Write the session's row, then look whether it is the first of its name and number."""
        self._write(session, session_chunk(session))
        known = self.incarnations()
        if session.name in known and known[session.name] != session.incarnation:
            # Compaction keeps the latest row of a name: say again whose it is.
            stands = replace(session, incarnation=known[session.name])
            again = replace(session_chunk(stands), key=session_key(session.incarnation), row_first=2)
            self._write(session, again)
        return known.get(session.name) == session.incarnation

    def _write(self, session: Session, chunk: Chunk) -> None:
        mirror = KafkaMirror(self._kafka, session.name, session.incarnation, 0, lambda topic, partition: [chunk.key])
        try:
            for encoded in encode_chunk(chunk):
                mirror.append(encoded.key, encoded.frame, encoded.row_first, encoded.row_count)
            if not mirror.flush(CLAIM_S):
                raise BrokerUnavailable(
                    f"The broker at {self._kafka.bootstrap} did not take the session's row within {CLAIM_S:g} s: it is "
                    "overloaded, or its disk is full. Try again."
                )
        finally:
            mirror.close()

    def _patiently_read(self) -> list[tuple[str, int]]:
        """All rows. A broker that has just started answers before its partitions have leaders: ask again."""
        deadline_ns = self._clock.monotonic_ns() + int(PATIENCE_S * 1e9)
        while True:
            try:
                return list(self._rows())
            except BrokerUnavailable:
                if self._clock.monotonic_ns() > deadline_ns:
                    raise
                self._clock.sleep(PAUSE_S)

    def _rows(self) -> Iterator[tuple[str, int]]:
        """(name, number) of every session, in the order in which they were written."""
        reader = KafkaReader(self._kafka, 0, 0)
        for batch in reader.batches(PLACE):
            framed = [Message(message.value() or b"", message.offset() + 1) for message in batch]
            for chunk in decode_messages(PLACE, framed, None)[0]:
                yield from session_names(chunk.rows, chunk.heap).items()
