"""The transport over Kafka; its public face. This and its neighbours `kafka_*.py` alone import the client library.

* `Kafka`: where the broker is
* `KafkaSource`, `KafkaSink`: what a runner reads and writes
* `KafkaReader`: a recorded session
* `KafkaMirror`: where the shipper ships to
* `CLIENT_OPTIONS`: every option of the client that we set, and why
"""

from __future__ import annotations

from streams.kafka_client import Kafka
from streams.kafka_mirror import KafkaMirror
from streams.kafka_options import CLIENT_OPTIONS, ClientOption, options_table
from streams.kafka_reader import KafkaReader
from streams.kafka_sink import KafkaSink
from streams.kafka_source import KafkaSource

__all__ = [
    "CLIENT_OPTIONS",
    "ClientOption",
    "Kafka",
    "KafkaMirror",
    "KafkaReader",
    "KafkaSink",
    "KafkaSource",
    "options_table",
]
