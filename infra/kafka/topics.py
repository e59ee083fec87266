"""The topics table against a broker: what would change (`plan`), doing it (`apply`), what is there (`describe`).

Neither plan nor apply ever changes a partition count or deletes a topic: rows and their order live in
partitions, so that is an operator's decision, made by hand. Where table and broker disagree about it, that
is drift, and nothing is applied until it is settled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from schemas.errors import BrokerUnavailable, TopicDrift
from streams.topics import TOPICS, Topic

REQUEST_SECONDS = 10.0  # an answer from a broker that lives takes milliseconds; one that elects takes seconds
FRAME_BYTES_MAX = 16 << 20  # the largest frame; broker and clients are set to the same
SEGMENT_MS = 6 * 3_600_000  # compaction and retention only touch closed segments
REPLICAS_WANTED = 3

Action = Literal["create", "configure", "drift", "unknown"]
_SILENT = logging.getLogger("shriven.kafka.admin")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True)
class Change:
    """One line of a plan.

    Attributes:
        action: create, configure (settings differ), drift (partitions differ: refused), unknown (on the
            broker, in our name space, not in the table: left alone).
        topic: its name.
        detail: for people: from → to.
        settings: what to set, for create and configure.
        partitions, replicas: for create.
    """

    action: Action
    topic: str
    detail: str
    settings: dict[str, str] = field(default_factory=dict)
    partitions: int = 0
    replicas: int = 0


@dataclass(frozen=True)
class PartitionState:
    """What a broker holds of one partition, and how far each group that commits offsets is behind."""

    topic: str
    partition: int
    leader: int
    in_sync: int
    first_offset: int
    next_offset: int
    lag: dict[str, int]


def settings_of(row: Topic, replicas: int) -> dict[str, str]:
    """Every setting that we care for, spelled out, so that drift can be seen."""
    settings = {
        "cleanup.policy": row.cleanup,
        "compression.type": "producer",  # what the client packed stays packed
        "max.message.bytes": str(FRAME_BYTES_MAX),
        "message.timestamp.type": "LogAppendTime",  # the third clock: when the log took it
        "min.insync.replicas": "2" if replicas >= REPLICAS_WANTED else "1",
        "segment.ms": str(SEGMENT_MS),
    }
    if row.cleanup == "compact":
        settings["min.compaction.lag.ms"] = str(row.retention_ms)
        settings["retention.ms"] = "-1"
    else:
        settings["retention.ms"] = str(row.retention_ms)
    return settings


def admin(address: str) -> AdminClient:
    """A client that keeps its connection troubles to itself: callers say them in one sentence."""
    return AdminClient({"bootstrap.servers": address, "log_level": 0, "socket.timeout.ms": 5000}, logger=_SILENT)


def _away(address: str, error: KafkaException) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"No Kafka broker answers at {address} ({error.args[0].str()}). Start one (`shriven broker start`), or set "
        "SHRIVEN_KAFKA to one that runs."
    )


def _configs(client: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    futures = client.describe_configs(resources, request_timeout=REQUEST_SECONDS)
    return {
        resource.name: {name: entry.value for name, entry in future.result().items()}
        for resource, future in futures.items()
    }


def plan(address: str, topics: Sequence[Topic] = TOPICS) -> list[Change]:
    """What `apply` would do to make the broker equal the table, in the table's order.

    Raises:
        BrokerUnavailable: nobody answers at that address.
    """
    client = admin(address)
    try:
        metadata = client.list_topics(timeout=REQUEST_SECONDS)
        there = {row.name for row in topics} & set(metadata.topics)
        configs = _configs(client, there)
    except KafkaException as error:
        raise _away(address, error) from error
    replicas = REPLICAS_WANTED if len(metadata.brokers) >= REPLICAS_WANTED else 1
    changes: list[Change] = []
    for row in topics:
        if row.name in there:
            changes += _differences(row, len(metadata.topics[row.name].partitions), configs[row.name], replicas)
        else:
            detail = f"{row.partitions} partitions, {replicas} replicas, {row.cleanup}"
            changes.append(Change("create", row.name, detail, settings_of(row, replicas), row.partitions, replicas))
    domains = tuple({row.name.split(".")[0] + "." for row in topics})
    known = {row.name for row in topics}
    changes += [
        Change("unknown", name, "on the broker, not in the table: left alone; delete it by hand if nobody needs it")
        for name in sorted(metadata.topics)
        if name.startswith(domains) and name not in known
    ]
    return changes


def _differences(row: Topic, partitions: int, config: dict[str, str], replicas: int) -> list[Change]:
    changes = []
    if partitions != row.partitions:
        detail = (
            f"{partitions} partitions on the broker, {row.partitions} in the table: rows would land elsewhere. "
            f"Use a broker (or a new topic version) with {row.partitions}, or delete the topic by hand"
        )
        changes.append(Change("drift", row.name, detail))
    wanted = settings_of(row, replicas)
    different = {name: value for name, value in wanted.items() if config.get(name) != value}
    if different:
        detail = ", ".join(f"{name}: {config.get(name)} → {value}" for name, value in different.items())
        changes.append(Change("configure", row.name, detail, different))
    return changes


def refuse_drift(changes: Iterable[Change]) -> None:
    """
    Raises:
        TopicDrift: names every topic whose partition count differs.
    """
    drift = [f"{change.topic}: {change.detail}" for change in changes if change.action == "drift"]
    if drift:
        raise TopicDrift("The broker's topics differ from the table. " + " ".join(f"{line}." for line in drift))


def apply(address: str, changes: Sequence[Change]) -> list[Change]:
    """Carry out a plan; returns what was done. A topic that somebody else created meanwhile counts as done.

    Raises:
        TopicDrift: the plan holds a drift; nothing was done.
        BrokerUnavailable: the broker went away, or refused.
    """
    refuse_drift(changes)
    client = admin(address)
    done = [change for change in changes if change.action in ("create", "configure")]
    futures: list[Any] = []
    created = [
        NewTopic(change.topic, change.partitions, change.replicas, config=change.settings)
        for change in done
        if change.action == "create"
    ]
    if created:
        futures += client.create_topics(created, request_timeout=REQUEST_SECONDS).values()
    altered = [
        ConfigResource(
            ResourceType.TOPIC,
            change.topic,
            incremental_configs=[
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in change.settings.items()
            ],
        )
        for change in done
        if change.action == "configure"
    ]
    if altered:
        futures += client.incremental_alter_configs(altered, request_timeout=REQUEST_SECONDS).values()
    for future in futures:
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise BrokerUnavailable(f"The broker at {address} refused: {error.args[0].str()}.") from error
    return done


def leader_of(address: str, name: str, partition: int = 0) -> int:
    """Number of the node that leads a partition.

    Raises:
        BrokerUnavailable: nobody answers.
    """
    try:
        found = admin(address).list_topics(name, timeout=REQUEST_SECONDS)
    except KafkaException as error:
        raise _away(address, error) from error
    return int(found.topics[name].partitions[partition].leader)


def describe(address: str, names: Sequence[str]) -> list[PartitionState]:
    """Offsets, leaders and consumer lag of topics that exist on the broker.

    Raises:
        BrokerUnavailable: nobody answers at that address.
    """
    client = admin(address)
    try:
        metadata = client.list_topics(timeout=REQUEST_SECONDS)
        partitions = [
            (name, number, state)
            for name in names
            if name in metadata.topics
            for number, state in sorted(metadata.topics[name].partitions.items())
        ]
        keys = [TopicPartition(name, number) for name, number, _ in partitions]
        first = _offsets(client, keys, OffsetSpec.earliest())
        after = _offsets(client, keys, OffsetSpec.latest())
        committed = _committed(client)
    except KafkaException as error:
        raise _away(address, error) from error
    return [
        PartitionState(
            name,
            number,
            state.leader,
            len(state.isrs),
            first[name, number],
            after[name, number],
            {
                group: after[name, number] - offsets[name, number]
                for group, offsets in committed.items()
                if (name, number) in offsets
            },
        )
        for name, number, state in partitions
    ]


def _offsets(client: AdminClient, keys: Sequence[TopicPartition], spec: OffsetSpec) -> dict[tuple[str, int], int]:
    if not keys:
        return {}
    futures = client.list_offsets(dict.fromkeys(keys, spec), request_timeout=REQUEST_SECONDS)
    return {(key.topic, key.partition): future.result().offset for key, future in futures.items()}


def _committed(client: AdminClient) -> dict[str, dict[tuple[str, int], int]]:
    """Committed offsets by group; runners commit theirs for this display only."""
    groups = [group.group_id for group in client.list_consumer_groups(request_timeout=REQUEST_SECONDS).result().valid]
    found: dict[str, dict[tuple[str, int], int]] = {}
    for group in groups:  # the client takes one group a call
        futures = client.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group)], request_timeout=REQUEST_SECONDS
        )
        answer = futures[group].result()
        found[group] = {(p.topic, p.partition): p.offset for p in answer.topic_partitions if p.offset >= 0}
    return found
