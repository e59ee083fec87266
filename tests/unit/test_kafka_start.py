"""Where reading begins in Kafka, asked of a consumer that answers while others write."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from streams.api import TopicPartition
from streams.kafka_client import Kafka
from streams.kafka_reader import start_offsets
from streams.topics import topic

END = -1
LIMITS, TRADES = TopicPartition(topic("ref.limit").number, 0), TopicPartition(topic("md.trade").number, 2)


@dataclass
class Answer:
    offset: int
    error: None = None


@dataclass
class Broker:
    """Partitions by name with the times of their messages; `lands` is written after the first answer."""

    times: dict[tuple[str, int], list[int]]
    lands: dict[tuple[str, int], list[int]] = field(default_factory=dict)

    def offsets_for_times(self, asked: list[Any], timeout: float) -> list[Answer]:
        answers = []
        for one in asked:
            times = self.times[one.topic, one.partition]
            answers.append(Answer(next((at for at, time in enumerate(times) if time >= one.offset), END)))
        for place, times in self.lands.items():
            self.times[place] += times
        self.lands = {}
        return answers

    def get_watermark_offsets(self, asked: Any, timeout: float) -> tuple[int, int]:
        return 0, len(self.times[asked.topic, asked.partition])


def started(broker: Broker) -> dict[TopicPartition, int]:
    consumer: Any = broker
    return start_offsets(Kafka("nowhere:1"), consumer, [LIMITS, TRADES], 100)


def test_reading_begins_at_the_first_message_of_the_session_or_at_the_end() -> None:
    broker = Broker({("ref.limit.v1", 0): [50, 60, 110, 120], ("md.trade.v1", 2): [50]})
    assert started(broker) == {LIMITS: 2, TRADES: 1}


def test_rows_that_land_while_the_start_is_asked_for_are_read() -> None:
    broker = Broker({("ref.limit.v1", 0): [50], ("md.trade.v1", 2): [110]}, {("ref.limit.v1", 0): [130, 140]})
    assert started(broker) == {LIMITS: 1, TRADES: 0}
