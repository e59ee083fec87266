"""Reading rows of a session that lie in Kafka: forward from a place, or backwards from the end."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

from confluent_kafka import OFFSET_END, Consumer, KafkaError, Message
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.errors import BrokerUnavailable, InputInvalid
from schemas.frame import FrameHead, peek
from streams.api import Chunk, TopicPartition, WriterKey
from streams.clock import monotonic_ns
from streams.framing import Message as Framed
from streams.framing import decode_messages
from streams.kafka_client import Kafka, fault, transient
from streams.topics import TOPIC_BY_NUMBER

REQUEST_S = 10.0
MESSAGES_MAX = 2_000  # taken from the client's queue at once
HELPING_BYTES = 1 << 20  # decoded at once: rows of that much stay in the cache until the rule has read them
MESSAGE_BYTES_GUESSED = 10_000
CLOCK_MARGIN_NS = 60_000_000_000  # by which a broker's clock may differ from ours
BACK_FIRST = 500  # messages looked at first when a tail is read backwards
ROW_MAX = (1 << 63) - 1
SILENCE_S = 30.0  # a partition that is not at its end and delivers nothing for so long is unavailable


class KafkaReader:
    """A recorded session in Kafka (`streams.cursor.SessionReader`), only what was committed.

    Args:
        kafka: the broker.
        incarnation, start_ns: the session, and when it began: older messages are not looked at.
    """

    def __init__(self, kafka: Kafka, incarnation: int, start_ns: int) -> None:
        self.incarnation = incarnation
        self._kafka = kafka
        self._start_ms = max(0, start_ns - CLOCK_MARGIN_NS) // 1_000_000
        self._starts: dict[TopicPartition, int] = {}

    def keys(self, topic: int) -> list[WriterKey]:
        """Sequences of the session in that topic. Looks at every message of it."""
        found = set()
        for partition in range(TOPIC_BY_NUMBER[topic].partitions):
            place = TopicPartition(topic, partition)
            for message in self.messages(place):
                head = head_of(message)
                if head is not None and head.incarnation == self.incarnation:
                    found.add(WriterKey(*place, head.writer, head.incarnation))
        return sorted(found)

    def chunks(self, key: WriterKey, row_first: int = 1, hint: int = 0) -> Iterator[Chunk]:
        last = row_first - 1
        for chunk in self.partition_chunks(TopicPartition(key.topic, key.partition), hint):
            if chunk.key == key and chunk.row_last > last:
                yield chunk.cut(max(0, last + 1 - chunk.row_first), len(chunk.rows))
                last = chunk.row_last

    def partition_chunks(self, place: TopicPartition, start: int = 0) -> Iterator[Chunk]:
        """All of the session in one partition, from an offset (0: from the session's start) to the end of now."""
        for messages in self.batches(place, start):
            framed = [Framed(message.value() or b"", message.offset() + 1) for message in messages]
            yield from decode_messages(place, framed, self.incarnation)[0]

    def messages(self, place: TopicPartition, start: int = 0) -> Iterator[Message]:
        for batch in self.batches(place, start):
            yield from batch

    def batches(self, place: TopicPartition, start: int = 0) -> Iterator[list[Message]]:
        """Messages of a partition as they come, until its end."""
        consumer = self._kafka.consumer("reader", "shriven.reader", awaits_end=True)
        try:
            start = start or self._start_of(consumer, place)
            yield from self._until_end(consumer, place, start)
        finally:
            self._kafka.call("close", consumer.close)

    def tail(self, place: TopicPartition, wanted: WriterKey, enough: int) -> list[Chunk]:
        """The last chunks of a sequence, oldest first: from row `enough` or before it on, or all there is."""
        for consumer, start in self._backwards(place):
            found = self._own_chunks(consumer, place, start, wanted)
            if found and found[0].row_first <= enough:
                return found
        return found

    def in_open_transactions(self, places: Iterable[TopicPartition], writer: int) -> dict[TopicPartition, Message]:
        """Where rows of a writer of the session lie in a transaction that has not ended, and the last such message."""
        committed, every = (
            self._kafka.consumer("ends", "shriven.reader", awaits_end=True, uncommitted=uncommitted)
            for uncommitted in (False, True)
        )
        try:
            found = {}
            for place in places:
                stable, high = self._watermarks(committed, place)[1], self._watermarks(every, place)[1]
                if stable < high:
                    for message in itertools.chain.from_iterable(self._until_end(every, place, stable)):
                        head = head_of(message)
                        if head is not None and (head.writer, head.incarnation) == (writer, self.incarnation):
                            found[place] = message
            return found
        finally:
            for consumer in (committed, every):
                self._kafka.call("close", consumer.close)

    def check_reached(self, firsts: Mapping[WriterKey, int], who: str, then: str) -> None:
        """Are the rows before these there? An abort takes along what the broker forgot to end before it, though it was
        answered.

        Args:
            firsts: by sequence, the first row that is to be written again.
            who, then: begin and end what is said: who asks, and what happens now.

        Raises:
            BrokerUnavailable: they are not.
        """
        for key, first in firsts.items():
            place = TopicPartition(key.topic, key.partition)
            reached = self.last_rows(place, [key]).get(key, 0) if first > 1 else 0
            if reached < first - 1:
                name = f"{TOPIC_BY_NUMBER[key.topic].name}/{key.partition}"
                raise BrokerUnavailable(
                    f"{who}: rows {reached + 1} to {first - 1} of {name} were committed, and the broker forgot them "
                    f"when it stopped. {then}"
                )

    def last_rows(self, place: TopicPartition, expected: Iterable[WriterKey]) -> dict[WriterKey, int]:
        """The last row of each sequence of the session in a partition, read backwards until all expected were met."""
        missing = {key for key in expected if key.incarnation == self.incarnation}
        last: dict[WriterKey, int] = {}
        for consumer, start in self._backwards(place):
            for messages in self._until_end(consumer, place, start):
                for message in messages:
                    head = head_of(message)
                    if head is not None and head.incarnation == self.incarnation and head.row_count:
                        key = WriterKey(*place, head.writer, head.incarnation)
                        last[key] = max(last.get(key, 0), head.row_first + head.row_count - 1)
            if missing <= last.keys():
                break
        return last

    def _backwards(self, place: TopicPartition) -> Iterator[tuple[Consumer, int]]:
        """Offsets to read to the end from, each further back than the one before, the last one the session's start."""
        consumer = self._kafka.consumer("tail", "shriven.reader", awaits_end=True)
        try:
            low, high = self._watermarks(consumer, place)
            begin, back = max(low, self._start_of(consumer, place)), BACK_FIRST
            while True:
                start = max(begin, high - back)
                yield consumer, start
                if start == begin:
                    return
                back *= 8
        finally:
            self._kafka.call("close", consumer.close)

    def _own_chunks(self, consumer: Consumer, place: TopicPartition, start: int, wanted: WriterKey) -> list[Chunk]:
        found: list[Chunk] = []
        last = 0
        for messages in self._until_end(consumer, place, start):
            framed = [Framed(message.value() or b"", message.offset() + 1) for message in messages]
            for chunk in decode_messages(place, framed, self.incarnation)[0]:
                if chunk.key == wanted and chunk.row_last > last:
                    found.append(chunk.cut(max(0, last + 1 - chunk.row_first), len(chunk.rows)) if last else chunk)
                    last = chunk.row_last
        return found

    def _start_of(self, consumer: Consumer, place: TopicPartition) -> int:
        if place not in self._starts:
            self._starts |= start_offsets(self._kafka, consumer, [place], self._start_ms)
        return self._starts[place]

    def _watermarks(self, consumer: Consumer, place: TopicPartition) -> tuple[int, int]:
        found: tuple[int, int] = self._kafka.ask(
            "watermarks", consumer.get_watermark_offsets, kafka_partition(place), timeout=REQUEST_S
        )
        return found

    def _until_end(self, consumer: Consumer, place: TopicPartition, start: int) -> Iterator[list[Message]]:
        self._kafka.call("assign", consumer.assign, [kafka_partition(place, start)])
        heard_ns = monotonic_ns()
        message_bytes = MESSAGE_BYTES_GUESSED
        while True:
            count = max(1, min(MESSAGES_MAX, HELPING_BYTES // message_bytes))
            messages = take_messages(self._kafka, consumer, 0.5, count)
            good = [message for message in messages if message.error() is None]
            if good:
                message_bytes = max(1, sum(map(len, good)) // len(good))
                yield good
            if any(is_end(message) for message in messages):
                return
            for message in messages:
                raise_fault(self._kafka, message)
            if messages:
                heard_ns = monotonic_ns()
            elif monotonic_ns() - heard_ns > SILENCE_S * 1e9:
                name = TOPIC_BY_NUMBER[place.topic].name
                raise BrokerUnavailable(
                    f"{name} partition {place.partition} delivered nothing for {SILENCE_S:g} s and did not end: "
                    "its leader is away, or a transaction is stuck."
                )


def kafka_partition(place: TopicPartition, offset: int | None = None) -> KafkaPartition:
    name = TOPIC_BY_NUMBER[place.topic].name
    return KafkaPartition(name, place.partition) if offset is None else KafkaPartition(name, place.partition, offset)


def take_messages(kafka: Kafka, consumer: Consumer, timeout_s: float, count_max: int = MESSAGES_MAX) -> list[Message]:
    """What the client has queued, waiting for the first message only: `consume` alone would wait for all of them."""
    messages: list[Message] = kafka.call("consume", consumer.consume, count_max, 0)
    if messages or not timeout_s:
        return messages
    first = kafka.call("poll", consumer.poll, timeout_s)
    if first is None:
        return []
    return [first, *kafka.call("consume", consumer.consume, count_max, 0)]


def is_end(message: Message) -> bool:
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def raise_fault(kafka: Kafka, message: Message) -> None:
    """Raises what a message that is an error means, unless it passes by itself."""
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF and not transient(error):
        raise fault("read", error, kafka.bootstrap)


def start_offsets(
    kafka: Kafka, consumer: Consumer, places: Sequence[TopicPartition], start_ms: int
) -> dict[TopicPartition, int]:
    """First offset of each partition that was appended at or after a time; its end when there is none.

    What lands between the two questions would be behind that end, and be read by nobody: so the first is asked again.
    """
    found = _by_time(kafka, consumer, places, start_ms)
    empty = [place for place in places if place not in found]
    ends = {}
    for place in empty:
        marks = kafka.ask("watermarks", consumer.get_watermark_offsets, kafka_partition(place), timeout=REQUEST_S)
        ends[place] = marks[1]
    return found | ends | _by_time(kafka, consumer, empty, start_ms)


def _by_time(
    kafka: Kafka, consumer: Consumer, places: Sequence[TopicPartition], start_ms: int
) -> dict[TopicPartition, int]:
    """Of those partitions that have such a row."""
    asked = [kafka_partition(place, start_ms) for place in places]
    answered = kafka.ask("offsets by time", consumer.offsets_for_times, asked, timeout=REQUEST_S) if asked else []
    found = {}
    for place, answer in zip(places, answered, strict=True):
        if answer.error is not None:
            raise fault("offsets by time", answer.error, kafka.bootstrap)
        if answer.offset != OFFSET_END and answer.offset >= 0:
            found[place] = answer.offset
    return found


def head_of(message: Message) -> FrameHead | None:
    """What a message says of itself; None for one that is no frame."""
    try:
        return peek(message.value() or b"")
    except InputInvalid:
        return None
