"""One transactional producer: all frames of a call, or none.

begin → produce → commit
time-out:   commit again (the outcome stays the same)
abortable:  abort, then send the same bytes again: state is ahead of the log, nothing may be computed anew
else:       raise; the process ends, the next one fences and recovers
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaException, Producer

from schemas.errors import BrokerUnavailable, Fenced, ShrivenError
from streams.clock import SYSTEM_CLOCK, Clock
from streams.kafka_client import LOGGER, Kafka, kafka_error, translated
from streams.kafka_options import TRANSACTION_TIMEOUT_MS

OPEN_S = 60.0  # fencing waits for the coordinator, which a fresh broker loads first
CALL_S = 10.0
PAUSE_S = 0.05


class Outgoing(NamedTuple):
    """A message to send."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes


class Transactions:
    """Transactions of one id.

    Args:
        transactional_id: opening a second producer of that id fences this one.
        compression: of everything it writes; the client has one setting for all topics.
        reach: called at `produced`, before each commit; a test dies, aborts or waits there.

    Attributes:
        aborted: transactions that were sent again.
    """

    def __init__(
        self,
        kafka: Kafka,
        transactional_id: str,
        compression: str,
        clock: Clock = SYSTEM_CLOCK,
        reach: Callable[[str], None] | None = None,
    ) -> None:
        self.aborted = 0
        self._kafka = kafka
        self._id = transactional_id
        self._compression = compression
        self._clock = clock
        self._reach = reach or (lambda point: None)
        self._producer: Producer | None = None
        self._began_ns = 0

    @property
    def is_open(self) -> bool:
        return self._producer is not None

    def open(self) -> None:
        """Fence the predecessor; its transaction is settled when this returns.

        Raises:
            BrokerUnavailable: not within a minute.
        """
        producer = self._kafka.transactional(self._id, self._id, self._compression)
        deadline_ns = self._clock.monotonic_ns() + int(OPEN_S * 1e9)
        while True:
            try:
                self._kafka.watched("init_transactions", producer.init_transactions, CALL_S)
            except KafkaException as error:
                if not kafka_error(error).retriable() or self._clock.monotonic_ns() > deadline_ns:
                    raise translated(f"{self._id}: init_transactions", error, self._kafka.bootstrap) from error
                self._clock.sleep(PAUSE_S)
            else:
                self._producer = producer
                return

    def send(self, messages: Sequence[Outgoing], check: Callable[[], None] = lambda: None) -> None:
        """Returns when all of them are committed.

        Args:
            check: called before they are sent again; raises when they must not be.

        Raises:
            Fenced: another process took over.
            BrokerUnavailable: the client gave up for good; end the process, the next one recovers.
        """
        while not self._try(messages):
            self.aborted += 1
            LOGGER.warning("%s: transaction aborted, sending the same bytes again", self._id)
            self._clock.sleep(PAUSE_S)
            check()

    def abort_over(self, messages: Sequence[Outgoing]) -> None:
        """Abort what this id has written and never ended in the partitions of these messages: a marker ends everything
        of its id before it. It takes a message to get a marker into a partition; these are not seen either.

        Raises:
            Fenced, BrokerUnavailable: as `send`.
        """
        producer = self._producer
        assert producer is not None, "aborted before open"
        self._began_ns = self._clock.monotonic_ns()
        try:
            self._kafka.watched("begin_transaction", producer.begin_transaction)
            for message in messages:
                self._produce(producer, message)
            self._kafka.watched("flush", producer.flush, CALL_S)  # an abort forgets what was not sent yet
        except KafkaException as error:
            raise self._fatal("abort over", error) from error
        self._abort(producer)

    def close(self) -> None:
        """Drop the producer. A transaction under way ends by its time-out, or by the successor's fencing."""
        self._producer = None

    def _try(self, messages: Sequence[Outgoing]) -> bool:
        """True: committed. False: aborted, to be sent again. Everything else raises."""
        producer = self._producer
        assert producer is not None, "send before open"
        try:
            self._began_ns = self._clock.monotonic_ns()
            self._kafka.watched("begin_transaction", producer.begin_transaction)
            for message in messages:
                self._produce(producer, message)
            self._reach("produced")
            self._until_done("commit_transaction", producer.commit_transaction)
        except KafkaException as error:
            if not kafka_error(error).txn_requires_abort():
                raise self._fatal("commit", error) from error
            LOGGER.warning("%s: %s", self._id, error)
            self._abort(producer)
            return False
        return True

    def _produce(self, producer: Producer, message: Outgoing) -> None:
        deadline_ns = self._clock.monotonic_ns() + int(CALL_S * 1e9)
        while True:
            try:
                producer.produce(message.topic, message.value, message.key, message.partition)
            except BufferError as error:  # the queue is full: let it drain
                if self._clock.monotonic_ns() > deadline_ns:
                    raise BrokerUnavailable(f"{self._id}: the client's queue stays full for {CALL_S:g} s.") from error
                self._kafka.watched("poll", producer.poll, PAUSE_S)
            else:
                return

    def _until_done(self, what: str, function: Callable[..., Any]) -> None:
        """A time-out means: call again. The outcome stays the same."""
        while True:
            try:
                self._kafka.watched(what, function, CALL_S)
            except KafkaException as error:
                found = kafka_error(error)
                if not found.retriable() or found.txn_requires_abort():
                    raise
                LOGGER.warning("%s: %s: %s; again", self._id, what, error)
                self._clock.sleep(PAUSE_S)
            else:
                return

    def _abort(self, producer: Producer) -> None:
        try:
            self._until_done("abort_transaction", producer.abort_transaction)
        except KafkaException as error:
            raise self._fatal("abort", error) from error

    def _fatal(self, what: str, error: KafkaException) -> ShrivenError:
        """An error that ends this producer.

        A transaction that outlived its time-out was ended by the coordinator, which raises the epoch as a successor
        would: the client cannot tell. Only a producer that was quick can say that somebody took over.
        """
        found = translated(f"{self._id}: {what}", error, self._kafka.bootstrap)
        took_ns = self._clock.monotonic_ns() - self._began_ns
        if isinstance(found, Fenced) and took_ns > TRANSACTION_TIMEOUT_MS * 1_000_000:
            return BrokerUnavailable(
                f"{self._id}: the transaction was under way for {took_ns / 1e9:.1f} s, longer than the broker keeps "
                "it, as when the broker was away. The process ends; started again, it goes on where the journal ends."
            )
        return found
