"""Exactly once into Kafka: outputs and one journal frame in one transaction, nothing else in it.

The position of the inputs is in the journal frame; `send_offsets_to_transaction` is never called (the client's hung
in fresh starts and after broker restarts). One transactional id per task: opening fences the predecessor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from schemas.errors import IntegrityError
from streams.api import Chunk, TopicPartition, WriterKey
from streams.checkpoint import checkpoint_chunks, checkpoint_number
from streams.clock import SYSTEM_CLOCK, Clock
from streams.framing import encode_chunk
from streams.kafka_client import Kafka
from streams.kafka_reader import ROW_MAX, KafkaReader
from streams.kafka_snapshots import KafkaSnapshots
from streams.kafka_transactions import Outgoing, Transactions
from streams.topics import TOPIC_BY_NUMBER

SETTLE_S, PAUSE_S = 10.0, 0.1


class KafkaSink:
    """One task's outputs.

    Args:
        kafka: the broker.
        transactional_id: of the task; a second sink of that id fences this one.
        journal: key of the task's journal.
        task: its number, which picks the snapshot partition.
        start_ns: when the session began.
        compression: of everything it writes.
        settle_s: how long a start waits for rows of its own to leave transactions that have not ended.
        reach: called at `begin`, `produced`, `done`, `snapshot`; a test dies, aborts or waits there.
    """

    atomic = True

    def __init__(
        self,
        kafka: Kafka,
        transactional_id: str,
        journal: WriterKey,
        task: int,
        start_ns: int,
        *,
        compression: str = "lz4",
        clock: Clock = SYSTEM_CLOCK,
        reach: Callable[[str], None] | None = None,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._journal, self._id, self._clock, self._settle_s = journal, transactional_id, clock, settle_s
        self._reach = reach or (lambda point: None)
        self._reader = KafkaReader(kafka, journal.incarnation, start_ns)
        self._snapshots = KafkaSnapshots(kafka, self._reader, journal.writer, journal.incarnation, task)
        self._transactions = Transactions(kafka, transactional_id, compression, clock, self._reach)

    @property
    def aborted(self) -> int:
        """Transactions that were aborted and sent again."""
        return self._transactions.aborted

    def open(self) -> None:
        """Fence the predecessor; the tails are final afterwards.

        Raises:
            IntegrityError: the broker forgot a transaction of this task without ending it.
        """
        self._transactions.open()
        ends_ns = self._clock.monotonic_ns() + int(self._settle_s * 1e9)
        while last := self._reader.in_open_transactions(self._journal):
            if self._clock.monotonic_ns() > ends_ns:
                name = f"{TOPIC_BY_NUMBER[self._journal.topic].name}/{self._journal.partition}"
                raise IntegrityError(
                    f"{self._id}: {name} has rows of this task, up to {last}, in a transaction that the broker never "
                    "ended and does not know any more, as one that was stopped with controlled.shutdown.enable=true "
                    "and nobody to hand its partitions to. Going on would give other rows their numbers. End it with "
                    f"Kafka's kafka-transactions.sh (find-hanging, abort), or begin a new session."
                )
            self._clock.sleep(PAUSE_S)

    def last_row(self, key: WriterKey) -> int:
        found = self._reader.tail(TopicPartition(key.topic, key.partition), key, ROW_MAX)
        return found[-1].row_last if found else 0

    def journal_tail(self, after_checkpoint: int) -> list[Chunk]:
        place = TopicPartition(self._journal.topic, self._journal.partition)
        enough = ROW_MAX
        while True:
            chunks = self._reader.tail(place, self._journal, enough)
            frames = [frame for chunk in chunks for frame in checkpoint_chunks(chunk)]
            if not frames or checkpoint_number(frames[0].rows) <= after_checkpoint + 1 or frames[0].row_first > enough:
                return [frame for frame in frames if checkpoint_number(frame.rows) > after_checkpoint]
            # Rows are not known by checkpoint: look further back.
            enough = max(1, frames[0].row_first - max(4096, frames[-1].row_last - frames[0].row_first))

    def commit(self, outputs: Sequence[Chunk], journal: Chunk) -> None:
        """Outputs, then the journal frame, in one transaction; the same bytes again when it is aborted.

        Raises:
            Fenced: another process took over.
            BrokerUnavailable: the client gave up for good; end the process, the next one recovers.
        """
        messages = [
            Outgoing(TOPIC_BY_NUMBER[one.key.topic].name, one.key.partition, one.message_key, one.frame)
            for chunk in (*outputs, journal)
            for one in encode_chunk(chunk)
        ]
        self._reach("begin")
        self._transactions.send(messages)
        self._reach("done")

    def save_snapshot(self, checkpoint: int, state: bytes) -> None:
        self._snapshots.save(checkpoint, state)
        self._reach("snapshot")

    def load_snapshots(self) -> Iterator[tuple[int, bytes]]:
        return self._snapshots.load()

    def close(self) -> None:
        self._transactions.close()
