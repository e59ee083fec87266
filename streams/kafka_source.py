"""Polling partitions of Kafka: assigned by hand, committed rows only, positions from the journal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from confluent_kafka import Consumer, Message

from streams.api import Chunk, Foreign, StartAt, TopicPartition, WriterKey
from streams.clock import SYSTEM_CLOCK, Clock
from streams.cursor import Cursors
from streams.framing import Message as Framed
from streams.framing import Undecodable, decode_messages
from streams.kafka_client import Kafka
from streams.kafka_reader import (
    CLOCK_MARGIN_NS,
    MESSAGES_MAX,
    KafkaReader,
    is_end,
    kafka_partition,
    raise_fault,
    start_offsets,
    take_messages,
)
from streams.topics import TOPIC_BY_NAME, TOPIC_BY_NUMBER

SHOW_NS = 1_000_000_000  # how often the group's offsets are shown to others


class KafkaSource:
    """One task's inputs.

    Args:
        kafka: the broker.
        group: consumer group under which positions are shown to lag displays; nothing is read from it.
        incarnation, start_ns: the session and when it began.
    """

    def __init__(self, kafka: Kafka, group: str, incarnation: int, start_ns: int, clock: Clock = SYSTEM_CLOCK) -> None:
        self._kafka = kafka
        self._group = group
        self._incarnation = incarnation
        self._start_ns = start_ns
        self._clock = clock
        self._consumer: Consumer | None = None
        self._ended: dict[TopicPartition, bool] = {}
        self._foreign: list[Foreign] = []
        self._cursors = Cursors(KafkaReader(kafka, incarnation, start_ns))
        self._message_bytes = 1_000  # of the last helping, to ask for as many as are wanted
        self._shown_ns = 0
        self._unshown: dict[TopicPartition, int] = {}

    def assign(self, partitions: Sequence[TopicPartition], start: StartAt) -> None:
        self._cursors.close()
        consumer = self._consumer = self._kafka.consumer(self._group, self._group, awaits_end=len(partitions) > 1)
        unknown = [place for place in partitions if place not in start.positions]
        offsets = dict(start.positions)
        if unknown:
            offsets |= start_offsets(
                self._kafka, consumer, unknown, max(0, self._start_ns - CLOCK_MARGIN_NS) // 1_000_000
            )
        self._ended = dict.fromkeys(partitions, False)
        self._kafka.call("assign", consumer.assign, [kafka_partition(place, offsets[place]) for place in partitions])

    def poll(self, timeout_ns: int, bytes_max: int = 1 << 22) -> list[Chunk]:
        assert self._consumer is not None, "poll before assign"
        by_place: dict[TopicPartition, list[Message]] = {}
        taken = 0
        wait_s = timeout_ns / 1e9
        while taken < bytes_max:
            count = max(1, min(MESSAGES_MAX, (bytes_max - taken) // self._message_bytes))
            messages = take_messages(self._kafka, self._consumer, wait_s, count)
            if not messages:
                break
            size = self._sort(messages, by_place)
            self._message_bytes = max(1, size // len(messages))
            taken += size
            wait_s = 0.0
        chunks: list[Chunk] = []
        for place, ours in by_place.items():
            chunks += self._decode(place, ours)
        return chunks

    def take_foreign(self) -> list[Foreign]:
        taken, self._foreign = self._foreign, []
        return taken

    def pause(self, partition: TopicPartition) -> None:
        assert self._consumer is not None
        self._kafka.call("pause", self._consumer.pause, [kafka_partition(partition)])

    def resume(self, partition: TopicPartition) -> None:
        assert self._consumer is not None
        self._kafka.call("resume", self._consumer.resume, [kafka_partition(partition)])

    def at_end(self, partition: TopicPartition) -> bool:
        """As the last answer of the broker said: at most one fetch, some milliseconds, old."""
        return self._ended[partition]

    def fetch(self, key: WriterKey, row_first: int, row_last: int, hint: int = 0) -> Iterator[Chunk]:
        yield from self._cursors.fetch(key, row_first, row_last, hint)

    def journalled(self, positions: Mapping[TopicPartition, int]) -> None:
        self._unshown.update(positions)
        if self._clock.monotonic_ns() - self._shown_ns >= SHOW_NS:
            self._show(wait=False)

    def close(self) -> None:
        self._cursors.close()
        if self._consumer is not None:
            self._show(wait=False)
            self._kafka.call("close", self._consumer.close)
            self._consumer = None

    def _show(self, *, wait: bool) -> None:
        """Commit the group's offsets, for other people's displays."""
        if self._unshown and self._consumer is not None:
            offsets = [kafka_partition(place, offset) for place, offset in self._unshown.items()]
            self._kafka.call("show positions", self._consumer.commit, offsets=offsets, asynchronous=not wait)
        self._unshown = {}
        self._shown_ns = self._clock.monotonic_ns()

    def _sort(self, messages: list[Message], by_place: dict[TopicPartition, list[Message]]) -> int:
        """Messages by partition, ends noted; returns their bytes."""
        taken = 0
        for message in messages:
            place = (
                TopicPartition(TOPIC_BY_NAME[message.topic()].number, message.partition()) if message.topic() else None
            )
            if message.error() is not None:
                raise_fault(self._kafka, message)
                if place is not None and is_end(message):
                    self._ended[place] = True
                continue
            assert place is not None
            self._ended[place] = False
            by_place.setdefault(place, []).append(message)
            taken += len(message)
        return taken

    def _decode(self, place: TopicPartition, messages: list[Message]) -> list[Chunk]:
        framed = [Framed(message.value() or b"", message.offset() + 1) for message in messages]
        chunks, bad = decode_messages(place, framed, self._incarnation)
        if bad:
            self._note_foreign(place, messages, bad)
        return chunks

    def _note_foreign(self, place: TopicPartition, messages: list[Message], bad: list[Undecodable]) -> None:
        """Messages since the session's start that are no frames; tombstones of compacted topics are none either."""
        compacted = TOPIC_BY_NUMBER[place.topic].cleanup == "compact"
        times = {message.offset() + 1: message.timestamp()[1] * 1_000_000 for message in messages}
        for message, detail in bad:
            ts_ns = times[message.position]
            if ts_ns >= self._start_ns // 1_000_000 * 1_000_000 and (message.data or not compacted):
                self._foreign.append(Foreign(place, message.position - 1, ts_ns, detail, bytes(message.data)))
