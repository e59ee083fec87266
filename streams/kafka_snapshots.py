"""Saved states in sys.snapshot.v1: chunks first, the manifest last, two slots in turn.

The topic is compacted, its key is (writer, incarnation, slot, chunk). A manifest names its checkpoint, the number of
its chunks and the digest of the whole; a half-written or mixed slot does not match its manifest and is not loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from schemas.errors import BrokerUnavailable
from schemas.events import SNAPSHOT
from streams.api import Chunk, TopicPartition, WriterKey
from streams.framing import encode_chunk
from streams.kafka_client import HANG_S, Kafka
from streams.kafka_reader import KafkaReader
from streams.topics import topic

CHUNK_BYTES = 512 << 10
SLOTS = 2
_TOPIC = topic("sys.snapshot")


@dataclass
class _Slot:
    """What was read of one slot: (checkpoint, bytes) by chunk number, 0 being the manifest."""

    chunks: dict[int, tuple[int, bytes]] = field(default_factory=dict)

    def state(self) -> tuple[int, bytes] | None:
        """Checkpoint and state, None when chunks and manifest do not belong together."""
        if 0 not in self.chunks:
            return None
        checkpoint, text = self.chunks[0]
        manifest = json.loads(text)
        parts = [self.chunks.get(number, (0, b"")) for number in range(1, manifest["chunks"] + 1)]
        state = b"".join(part for _, part in parts)
        return (checkpoint, state) if _digest(state) == manifest["digest"] else None


class KafkaSnapshots:
    """The two latest states of one task."""

    def __init__(self, kafka: Kafka, reader: KafkaReader, writer: int, incarnation: int, task: int) -> None:
        self._kafka = kafka
        self._reader = reader
        self._key = WriterKey(_TOPIC.number, task % _TOPIC.partitions, writer, incarnation)
        self._row = 0
        self._slot = 0

    def save(self, checkpoint: int, state: bytes) -> None:
        """Returns when the manifest is durable.

        Raises:
            BrokerUnavailable: the broker did not take it in time.
        """
        parts = [state[at : at + CHUNK_BYTES] for at in range(0, len(state), CHUNK_BYTES)]
        manifest = json.dumps({"chunks": len(parts), "bytes": len(state), "digest": _digest(state)}).encode()
        producer = self._kafka.idempotent("snapshot", _TOPIC.compression)
        for numbers in (range(1, len(parts) + 1), range(1)):
            for number in numbers:
                chunk = self._chunk(checkpoint, number, parts[number - 1] if number else manifest)
                for encoded in encode_chunk(chunk):
                    producer.produce(_TOPIC.name, encoded.frame, encoded.message_key, self._key.partition)
            left = self._kafka.call("save a snapshot", producer.flush, HANG_S / 2)
            if left:
                producer.purge()
                raise BrokerUnavailable(f"A snapshot of {len(state):,} bytes was not taken within {HANG_S / 2:g} s.")
        self._slot = (self._slot + 1) % SLOTS

    def load(self) -> Iterator[tuple[int, bytes]]:
        """Newest first; saving goes on in the older slot."""
        slots = [_Slot() for _ in range(SLOTS)]
        for chunk in self._reader.partition_chunks(TopicPartition(self._key.topic, self._key.partition)):
            if chunk.key == self._key:
                self._row = max(self._row, chunk.row_last)
                for row in chunk.rows:
                    payload = chunk.heap[row["payload_at"] : row["payload_at"] + row["payload_size"]].tobytes()
                    slots[int(row["slot"])].chunks[int(row["chunk"])] = (int(row["checkpoint"]), payload)
        found = [(slot.state(), number) for number, slot in enumerate(slots)]
        states = sorted(((*state, number) for state, number in found if state is not None), reverse=True)
        self._slot = (states[0][2] + 1) % SLOTS if states else 0
        yield from ((checkpoint, state) for checkpoint, state, _ in states)

    def _chunk(self, checkpoint: int, number: int, payload: bytes) -> Chunk:
        row = SNAPSHOT.empty(1)
        row["checkpoint"] = checkpoint
        row["payload_size"] = len(payload)
        row["writer"], row["incarnation"] = self._key.writer, self._key.incarnation
        row["slot"], row["chunk"] = self._slot, number
        self._row += 1
        return Chunk(self._key, self._row, row, np.frombuffer(payload, dtype=np.uint8))


def _digest(state: bytes) -> str:
    return hashlib.blake2b(state, digest_size=16).hexdigest()
