"""Calls into the Kafka client: each one watched, each error named by whose fault it is."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from schemas.errors import BrokerUnavailable, ConfigInvalid, Fenced, IntegrityError, ShrivenError, TopicDrift
from streams.clock import SYSTEM_CLOCK, monotonic_ns
from streams.kafka_options import FETCH_WAIT_SHORT_MS, Role, Value, client_options
from streams.watchdog import WATCHDOG, Watchdog

HANG_S = 30.0  # a call that is that late hangs: every call has a shorter time-out of its own
ASK_S = 15.0  # an election takes some seconds
ASK_PAUSE_S = 0.1
LOGGER = logging.getLogger("shriven.kafka")
LOGGER.addHandler(logging.NullHandler())

_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
_MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
_REFUSED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError._AUTHENTICATION,
    KafkaError.SASL_AUTHENTICATION_FAILED,
}


@dataclass(frozen=True)
class Kafka:
    """A broker as clients of ours see it.

    Args:
        bootstrap: "host:port", several separated by commas.
        security: further settings of the library.
    """

    bootstrap: str
    security: Mapping[str, str] = field(default_factory=dict)
    watchdog: Watchdog = WATCHDOG

    def consumer(self, label: str, group: str, *, awaits_end: bool, uncommitted: bool = False) -> Consumer:
        """
        Args:
            group: under which positions are shown; partitions are assigned by hand.
            awaits_end: somebody waits until a partition is at its end, which an empty fetch tells.
            uncommitted: it sees what is in transactions that have not ended, too.
        """
        options = self._options("consumer", label, group_id=group)
        if uncommitted:
            options["isolation.level"] = "read_uncommitted"
        if awaits_end:
            options["fetch.wait.max.ms"] = FETCH_WAIT_SHORT_MS
        return Consumer(options, logger=LOGGER)

    def transactional(self, label: str, transactional_id: str, compression: str) -> Producer:
        options = self._options("transactional", label, transactional_id=transactional_id, compression_type=compression)
        return Producer(options, logger=LOGGER)

    def idempotent(self, label: str, compression: str) -> Producer:
        return Producer(self._options("idempotent", label, compression_type=compression), logger=LOGGER)

    def call(self, what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """One call into the client: watched, and its error translated.

        Raises:
            ShrivenError: what `translated` makes of the client's error.
        """
        try:
            return self.watched(what, function, *arguments, **named)
        except KafkaException as error:
            raise translated(what, error, self.bootstrap) from error

    def ask(self, what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """A question that may be asked again: leaders move, and a new topic takes a moment.

        Raises:
            ShrivenError: as `call`, when `ASK_S` did not heal it.
        """
        deadline_ns = monotonic_ns() + int(ASK_S * 1e9)
        while True:
            try:
                return self.watched(what, function, *arguments, **named)
            except KafkaException as error:
                code = kafka_error(error).code()
                if code in _REFUSED | _GONE or monotonic_ns() > deadline_ns:
                    raise translated(what, error, self.bootstrap) from error
                SYSTEM_CLOCK.sleep(ASK_PAUSE_S)

    def watched(self, what: str, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """The same with the client's own error, for callers that tell them apart."""
        with self.watchdog.guard(f"Kafka: {what}", HANG_S):
            return function(*arguments, **named)

    def _options(self, role: Role, label: str, **given: Value) -> dict[str, Value]:
        return client_options(role, self.bootstrap, self.security, client_id=f"shriven.{label}", **given)


def kafka_error(error: KafkaException) -> KafkaError:
    found = error.args[0]
    assert isinstance(found, KafkaError), error
    return found


def translated(what: str, error: KafkaException, bootstrap: str) -> ShrivenError:
    """The client's error as ours."""
    return fault(what, kafka_error(error), bootstrap)


def fault(what: str, error: KafkaError, bootstrap: str) -> ShrivenError:
    """Whose fault an error of the client is."""
    code = error.code()
    if code in _FENCED:
        return Fenced(f"{what}: another process took over this task ({error.str()}). This one must end.")
    if code in _MISSING:
        return TopicDrift(f"{what}: {error.str()}. The broker lacks a topic of the table: `shriven topics apply`.")
    if code in _GONE:
        return IntegrityError(
            f"{what}: {error.str()}. Rows that were not read yet are gone, usually deleted by age: the process was "
            "away for longer than the topic keeps rows. Begin a new session."
        )
    if code in _REFUSED:
        return ConfigInvalid(f"{what}: the broker at {bootstrap} refuses: {error.str()}. Check SHRIVEN_KAFKA's user.")
    return BrokerUnavailable(
        f"{what}: {error.str()} ({error.name()}). The broker at {bootstrap} is away or overloaded; "
        "`shriven doctor` looks."
    )


def transient(error: KafkaError) -> bool:
    """Whether an error event of a consumer passes by itself."""
    return error.code() not in _MISSING | _GONE | _REFUSED and not error.fatal()
