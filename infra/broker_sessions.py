"""Sessions that share a broker: read from and claimed in sys.session.v1, so that no two have one number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.session_rows import SESSION_TOPIC, session_chunk, session_names
from infra.sessions import Session
from schemas.errors import BrokerUnavailable
from streams.api import TopicPartition
from streams.framing import Message, decode_messages, encode_chunk
from streams.kafka import Kafka, KafkaMirror, KafkaReader

PLACE = TopicPartition(SESSION_TOPIC.number, 0)
CLAIM_S = 10.0


class BrokerSessions:
    """`sessions.Directory` over a broker's topic. Of rows with one name or one number the first one stands."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka

    def incarnations(self) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for name, number in self._rows():
            if name not in found and number not in found.values():
                found[name] = number
        return found

    def claim(self, session: Session) -> bool:
        """Write the session's row, then look whether it is the first of its name and number."""
        chunk = session_chunk(session)
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
        return self.incarnations().get(session.name) == session.incarnation

    def _rows(self) -> Iterator[tuple[str, int]]:
        """(name, number) of every session, in the order in which they were written."""
        reader = KafkaReader(self._kafka, 0, 0)
        for batch in reader.batches(PLACE):
            framed = [Message(message.value() or b"", message.offset() + 1) for message in batch]
            for chunk in decode_messages(PLACE, framed, None)[0]:
                yield from session_names(chunk.rows, chunk.heap).items()
