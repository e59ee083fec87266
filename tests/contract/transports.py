"""The three transports behind one face, for one suite."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path

from confluent_kafka import Producer

from streams.api import Chunk, Sink, Source, TopicPartition, WriterKey
from streams.clock import SYSTEM_CLOCK, now_ns
from streams.cursor import SessionReader
from streams.framing import encode_chunk
from streams.kafka import Kafka, KafkaReader, KafkaSink, KafkaSource
from streams.local import LocalReader, LocalSink, LocalSource
from streams.log import LogOptions, LogWriter
from streams.memory import MemoryLog, MemoryReader, MemorySink, MemorySource
from streams.pipelines import Pipeline, output_places
from streams.topics import TOPIC_BY_NUMBER, topic

Reach = Callable[[str], None]
_incarnations = itertools.count(100)


def nothing(point: str) -> None:
    pass


class Transport(ABC):
    """One session on one transport.

    Attributes:
        takes_over: opening a second sink of a task fences the first; else it is refused while the first is open.
        has_foreign: others can write into its topics.
    """

    atomic: bool
    takes_over = True
    has_foreign = True

    def __init__(self) -> None:
        self.incarnation = next(_incarnations)
        self.start_ns = now_ns()

    def journal_key(self, row: Pipeline, task: int) -> WriterKey:
        writer = row.writer(task)
        journal = topic("sys.journal")
        return WriterKey(journal.number, writer % journal.partitions, writer, self.incarnation)

    @abstractmethod
    def put(self, chunks: Iterable[Chunk]) -> None:
        """Rows of somebody else, committed."""

    @abstractmethod
    def source(self) -> Source: ...

    @abstractmethod
    def sink(self, row: Pipeline, task: int, reach: Reach = nothing) -> Sink: ...

    @abstractmethod
    def reader(self) -> SessionReader: ...

    def put_foreign(self, place: TopicPartition, payload: bytes) -> None:
        raise AssertionError("nobody else can write here")


class Memory(Transport):
    def __init__(self, *, atomic: bool) -> None:
        super().__init__()
        self.atomic = atomic
        self.log = MemoryLog()

    def put(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            self.log.append(chunk)

    def put_foreign(self, place: TopicPartition, payload: bytes) -> None:
        self.log.append_foreign(place, payload, now_ns())

    def source(self) -> Source:
        return MemorySource(self.log, SYSTEM_CLOCK, self.incarnation)

    def sink(self, row: Pipeline, task: int, reach: Reach = nothing) -> Sink:
        name = f"{row.name}/{task}"
        return MemorySink(self.log, name, self.journal_key(row, task), atomic=self.atomic, reach=reach)

    def reader(self) -> SessionReader:
        return MemoryReader(self.log, self.incarnation)


class Local(Transport):
    atomic = False
    takes_over = False
    has_foreign = False

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.root = directory / "log"
        self.snapshots = directory / "snapshots"
        self._writers: dict[WriterKey, LogWriter] = {}

    def put(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            if chunk.key not in self._writers:
                self._writers[chunk.key] = LogWriter(self.root, chunk.key, LogOptions(fsync="none"))
            for one in encode_chunk(chunk):
                self._writers[chunk.key].append(one.frame, one.row_first, one.row_count, one.ts_ns)

    def source(self) -> Source:
        return LocalSource(self.root, self.incarnation)

    def sink(self, row: Pipeline, task: int, reach: Reach = nothing) -> Sink:
        name = f"{row.name}/{task}"
        return LocalSink(self.root, self.snapshots, name, self.journal_key(row, task), reach=reach)

    def reader(self) -> SessionReader:
        return LocalReader(self.root, self.incarnation)


class OnKafka(Transport):
    atomic = True

    def __init__(self, address: str) -> None:
        super().__init__()
        self.kafka = Kafka(address)
        self._producer = Producer({"bootstrap.servers": address, "linger.ms": 1, "log_level": 0})

    def put(self, chunks: Iterable[Chunk]) -> None:
        for chunk in chunks:
            for one in encode_chunk(chunk):
                name = TOPIC_BY_NUMBER[one.key.topic].name
                self._producer.produce(name, one.frame, one.message_key, one.key.partition)
        assert self._producer.flush(30) == 0

    def put_foreign(self, place: TopicPartition, payload: bytes) -> None:
        self._producer.produce(TOPIC_BY_NUMBER[place.topic].name, payload, partition=place.partition)
        assert self._producer.flush(30) == 0

    def source(self) -> Source:
        return KafkaSource(self.kafka, f"test-{self.incarnation}", self.incarnation, self.start_ns)

    def sink(self, row: Pipeline, task: int, reach: Reach = nothing) -> Sink:
        name = f"test-{self.incarnation}/{row.name}/{task}"
        return KafkaSink(
            self.kafka, name, self.journal_key(row, task), task, self.start_ns, reach=reach, places=output_places(row)
        )

    def reader(self) -> SessionReader:
        return KafkaReader(self.kafka, self.incarnation, self.start_ns)
