"""Exactly once into Kafka: outputs and one journal frame in one transaction, nothing else in it.

The position of the inputs is in the journal frame; `send_offsets_to_transaction` is never called (the client's hung
in fresh starts and after broker restarts). One transactional id per task: opening fences the predecessor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial

from confluent_kafka import Message

from schemas.errors import BrokerUnavailable
from streams.api import Chunk, TopicPartition, WriterKey
from streams.checkpoint import checkpoint_chunks, checkpoint_number
from streams.clock import SYSTEM_CLOCK, Clock
from streams.framing import encode_chunk
from streams.kafka_client import LOGGER, Kafka
from streams.kafka_reader import ROW_MAX, KafkaReader
from streams.kafka_snapshots import KafkaSnapshots
from streams.kafka_transactions import Outgoing, Transactions
from streams.topics import TOPIC_BY_NUMBER

SETTLE_S, PAUSE_S = 20.0, 0.1


def _names(places: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{TOPIC_BY_NUMBER[place.topic].name}/{place.partition}" for place in places)


class KafkaSink:
    """One task's outputs.

    Args:
        kafka: the broker.
        transactional_id: of the task; a second sink of that id fences this one.
        journal: key of the task's journal.
        task: its number, which picks the snapshot partition.
        start_ns: when the session began.
        compression: of everything it writes.
        places: partitions that it may write to, beside its journal's.
        settle_s: how long a start waits for transactions of others that its own rows are behind.
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
        places: Collection[TopicPartition] = (),
        settle_s: float = SETTLE_S,
    ) -> None:
        self.repaired = False
        self._journal, self._places, self._id = journal, places, transactional_id
        self._clock, self._settle_s = clock, settle_s
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

        A broker alone forgets to end some of the transactions that it has answered when it stops or starts: their rows
        are seen by nobody until a marker of the same id follows. They are aborted here: what the journal keeps is what
        counts, and recovery writes again what is missing of it.

        Raises:
            BrokerUnavailable: rows of this task stay behind a transaction that somebody else has not ended.
        """
        self._transactions.open()
        left = self._unsettled()
        self.repaired = bool(left)
        if left:
            LOGGER.warning("%s: what the broker forgot to end in %s is aborted", self._id, _names(left))
            self._transactions.abort_over([
                Outgoing(TOPIC_BY_NUMBER[place.topic].name, place.partition, one.key(), one.value() or b"")
                for place, one in left.items()
            ])  # fmt: skip
        ends_ns = self._clock.monotonic_ns() + int(self._settle_s * 1e9)
        while left:
            if self._clock.monotonic_ns() > ends_ns:
                raise BrokerUnavailable(
                    f"{self._id}: rows of this task in {_names(left)} are behind a transaction of another task that "
                    "the broker does not end, so that nobody can say where this one stopped. It ends when that task "
                    "starts; else end it with Kafka's kafka-transactions.sh (find-hanging, abort)."
                )
            self._clock.sleep(PAUSE_S)
            left = self._unsettled()

    def _unsettled(self) -> dict[TopicPartition, Message]:
        journal = TopicPartition(self._journal.topic, self._journal.partition)
        return self._reader.in_open_transactions([journal, *self._places], self._journal.writer)

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
        firsts: dict[WriterKey, int] = {}
        for chunk in (*outputs, journal):
            firsts.setdefault(chunk.key, chunk.row_first)
        then = "The process ends; started again, it goes on where the journal ends."
        self._transactions.send(messages, partial(self._reader.check_reached, firsts, self._id, then))
        self._reach("done")

    def save_snapshot(self, checkpoint: int, state: bytes) -> None:
        self._snapshots.save(checkpoint, state)
        self._reach("snapshot")

    def load_snapshots(self) -> Iterator[tuple[int, bytes]]:
        return self._snapshots.load()

    def close(self) -> None:
        self._transactions.close()
