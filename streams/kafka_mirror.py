"""The shipper's way into Kafka (`streams.shipper.Mirror`): frames of local logs, in order, for ever.

One idempotent producer per compression; a partition belongs to one topic and so to one producer. Delivery reports
come in order within a partition, so a queue per partition says which rows have landed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.errors import BrokerUnavailable
from schemas.frame import decode
from streams.api import TopicPartition, WriterKey
from streams.clock import SYSTEM_CLOCK, Clock
from streams.kafka_client import Kafka, translated
from streams.kafka_reader import KafkaReader
from streams.kafka_transactions import Outgoing, Transactions
from streams.message_keys import row_key
from streams.shipper import Busy, MirrorRecord
from streams.topics import TOPIC_BY_NUMBER, Topic

POLL_S = 0.01

Expected = Callable[[int, int], Iterable[WriterKey]]
"""Writers that a (topic, partition) may hold: its tail is read backwards until all of them were met."""


class KafkaMirror:
    """Where a session's local log is shipped to.

    Args:
        kafka: the broker.
        session: its name; part of the transactional id.
        incarnation, start_ns: of the session.
        expected: usually the local log's `writer_keys`.
    """

    def __init__(
        self,
        kafka: Kafka,
        session: str,
        incarnation: int,
        start_ns: int,
        expected: Expected,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._kafka = kafka
        self._reader = KafkaReader(kafka, incarnation, start_ns)
        self._expected = expected
        self._clock = clock
        self._producers: dict[str, Producer] = {}
        self._flying: dict[TopicPartition, deque[tuple[WriterKey, int]]] = {}
        self._landed: dict[WriterKey, int] = {}
        self._lost: KafkaError | None = None
        self._client = 0  # counts clients, so that a lost one's late reports are not taken for the next one's
        self._transactions = Transactions(kafka, f"{session}/shipper", "lz4", clock)

    def landed(self, topic: int, partition: int) -> dict[WriterKey, int]:
        place = TopicPartition(topic, partition)
        return self._reader.last_rows(place, self._expected(topic, partition))

    def append(self, key: WriterKey, frame: bytes | memoryview, row_first: int, row_count: int) -> None:
        self._check()
        target = TOPIC_BY_NUMBER[key.topic]
        place = TopicPartition(key.topic, key.partition)
        producer = self._producer(target)
        try:
            producer.produce(
                target.name, bytes(frame), message_key(target, frame), key.partition,
                on_delivery=partial(self._delivered, self._client, place),
            )  # fmt: skip
        except BufferError as error:
            producer.poll(0)
            raise Busy(str(error)) from error
        except KafkaException as error:
            self._drop()
            raise translated("ship", error, self._kafka.bootstrap) from error
        self._flying.setdefault(place, deque()).append((key, row_first + row_count - 1))

    def append_transaction(self, records: Sequence[MirrorRecord]) -> None:
        if not self._transactions.is_open:
            self._transactions.open()
        messages, firsts = [], dict[WriterKey, int]()
        for key, frame, row_first, _ in records:
            firsts.setdefault(key, row_first)
            target = TOPIC_BY_NUMBER[key.topic]
            messages.append(Outgoing(target.name, key.partition, message_key(target, frame), bytes(frame)))
        check = partial(self._reader.check_reached, firsts, "ship", "They are sent again.")
        try:
            self._transactions.send(messages, check)
        except BrokerUnavailable:
            self._transactions.close()
            raise

    def flush(self, timeout_s: float) -> bool:
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while any(len(producer) for producer in self._producers.values()):
            for producer in self._producers.values():
                self._kafka.call("deliver", producer.poll, POLL_S)
            if self._clock.monotonic_ns() > deadline_ns:
                return False
        self._check()
        return True

    def acknowledged(self) -> dict[WriterKey, int]:
        for producer in self._producers.values():
            self._kafka.call("deliver", producer.poll, 0)
        return dict(self._landed)

    def close(self) -> None:
        """Forget what is in flight: the next shipper asks what landed."""
        self._drop()
        self._transactions.close()

    def _producer(self, target: Topic) -> Producer:
        producer = self._producers.get(target.compression)
        if producer is None:
            producer = self._kafka.idempotent(f"shipper.{target.compression}", target.compression)
            self._producers[target.compression] = producer
        return producer

    def _delivered(self, client: int, place: TopicPartition, error: KafkaError | None, message: Any) -> None:
        """A delivery report. Nothing may be raised here: the client would lose it."""
        if client != self._client:
            return
        if error is not None:
            self._lost = error
            return
        key, row = self._flying[place].popleft()
        self._landed[key] = row

    def _check(self) -> None:
        if self._lost is not None:
            lost = self._lost
            self._drop()
            raise BrokerUnavailable(
                f"ship: the client gave up ({lost.str()}). What was in flight is unknown; the shipper asks what landed "
                "and goes on behind it."
            )

    def _drop(self) -> None:
        for producer in self._producers.values():
            producer.purge()
        self._producers = {}
        self._flying = {}
        self._landed = {}
        self._lost = None
        self._client += 1


def message_key(target: Topic, frame: bytes | memoryview) -> bytes | None:
    """The natural key of a frame on a compacted topic: all its rows share it."""
    if not target.key:
        return None
    decoded = decode(frame)
    return row_key(target, decoded.rows, decoded.heap, 0)
