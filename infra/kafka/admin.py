"""Is the broker there, and who is it? Works for the embedded one and for any other.

`wait_until_answers` and `describe` ask through the real client, so "ready" means what it means to a producer;
`broker_features` speaks one request of the protocol itself, because the client does not expose it.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import BrokerUnavailable, PeerProtocolError
from streams.clock import SYSTEM_CLOCK, Clock

_TRY_S = 0.5  # one question; a healthy broker answers in milliseconds
_ANSWER_BYTES_MAX = 1 << 20
_API_VERSIONS = 18

# metadata.version is a number; people know the release that brought it. Read off Kafka 4.3's MetadataVersion.
_RELEASES = (
    (7, "3.3"), (8, "3.4"), (9, "3.5"), (12, "3.6"), (15, "3.7"), (20, "3.8"), (21, "3.9"),
    (22, "4.0"), (26, "4.1"), (28, "4.2"), (30, "4.3"), (31, "4.4"),
)  # fmt: skip

# The client library writes its connection troubles to stderr unless given a logger; ours are in the errors we raise.
_SILENT = logging.getLogger("shriven.kafka_admin.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """Where a broker is.

    Args:
        bootstrap: "host:port", several separated by commas.
        security: further settings of the client library (`security.protocol`, `sasl.username`, …).
    """

    bootstrap: str
    security: Mapping[str, str] = field(default_factory=dict)

    def hosts(self) -> list[tuple[str, int]]:
        pairs = [entry.strip().rpartition(":") for entry in self.bootstrap.split(",") if entry.strip()]
        return [(host.strip("[]"), int(port)) for host, _, port in pairs]


@dataclass(frozen=True, slots=True)
class Node:
    """A broker of the cluster, as it tells clients to reach it."""

    number: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Cluster:
    """Who answered."""

    cluster_id: str
    controller: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Features:
    """What a broker can do and what is switched on.

    Args:
        release: the Kafka release whose metadata version is in force, e.g. "4.3"; later minor fixes do not show.
        finalized: level of each feature in force.
        supported: (lowest, highest) level that this broker knows of each feature.
        requests: (lowest, highest) version of each request, by its number in the protocol.
    """

    release: str
    finalized: Mapping[str, int]
    supported: Mapping[str, tuple[int, int]]
    requests: Mapping[int, tuple[int, int]]


def describe(address: KafkaAddress, timeout_s: float = 5.0) -> Cluster:
    """The cluster's id, controller and living nodes.

    Raises:
        BrokerUnavailable: no answer within `timeout_s`.
    """
    try:
        return _ask(_client(address), timeout_s)
    except KafkaException as error:
        raise _silence(address, timeout_s, str(error.args[0])) from error


def wait_until_answers(
    address: KafkaAddress,
    timeout_s: float,
    nodes_min: int = 1,
    between: Callable[[], None] = lambda: None,
    clock: Clock = SYSTEM_CLOCK,
) -> Cluster:
    """Waits until a real client gets an answer that names at least `nodes_min` living nodes.

    Args:
        between: called between tries (twice a second or oftener); what it raises ends the waiting.

    Raises:
        BrokerUnavailable: not within `timeout_s`.
    """
    client = _client(address)
    deadline_ns = clock.monotonic_ns() + int(timeout_s * 1e9)
    trouble = "nobody listens"
    while True:
        between()
        try:
            cluster = _ask(client, _TRY_S)
            if len(cluster.nodes) >= nodes_min:
                return cluster
            trouble = f"{len(cluster.nodes)} of {nodes_min} nodes are up"
            clock.sleep(0.05)
        except KafkaException as error:
            trouble = str(error.args[0])
        if clock.monotonic_ns() >= deadline_ns:
            raise _silence(address, timeout_s, trouble)


def answers(address: KafkaAddress, timeout_s: float = 2.0) -> bool:
    """Whether `describe` succeeds."""
    try:
        describe(address, timeout_s)
    except BrokerUnavailable:
        return False
    return True


def _client(address: KafkaAddress) -> AdminClient:
    settings: dict[str, str | int] = {
        "bootstrap.servers": address.bootstrap,
        "client.id": "shriven-admin",
        "log_level": 0,
        "reconnect.backoff.ms": 20,  # a starting broker refuses connections: ask again soon
        "reconnect.backoff.max.ms": 100,
        **address.security,
    }
    return AdminClient(settings, logger=_SILENT)


def _ask(client: AdminClient, timeout_s: float) -> Cluster:
    metadata = client.list_topics(timeout=timeout_s)
    nodes = tuple(Node(b.id, b.host, b.port) for b in sorted(metadata.brokers.values(), key=lambda b: b.id))
    return Cluster(metadata.cluster_id or "", metadata.controller_id, nodes)


def _silence(address: KafkaAddress, timeout_s: float, trouble: str) -> BrokerUnavailable:
    return BrokerUnavailable(
        f"No Kafka broker answered at {address.bootstrap} within {timeout_s:g} s ({trouble}). It is usually not "
        "running, still starting, or the address is wrong: look at its status, or use --broker none."
    )


def broker_version(address: KafkaAddress, timeout_s: float = 5.0) -> str:
    """The Kafka release in force at that broker, "4.3". Raises as `broker_features` does."""
    return broker_features(address, timeout_s).release


def broker_features(address: KafkaAddress, timeout_s: float = 5.0) -> Features:
    """Asks the first reachable host, over plain TCP (a TLS listener does not answer this).

    Raises:
        BrokerUnavailable: nobody answered. PeerProtocolError: something else than Kafka did.
    """
    trouble = "no host is given"
    for host, port in address.hosts():
        try:
            return _parse_features(_request_api_versions(host, port, timeout_s))
        except OSError as error:
            trouble = str(error)
    raise _silence(address, timeout_s, trouble)


def _request_api_versions(host: str, port: int, timeout_s: float) -> bytes:
    """ApiVersions, version 3: the one request that is allowed before anything else. Returns the answer's body."""
    name, version = b"shriven", b"1"
    header = struct.pack(">hhih", _API_VERSIONS, 3, 1, len(name)) + name + b"\0"
    body = bytes([len(name) + 1]) + name + bytes([len(version) + 1]) + version + b"\0"
    with socket.create_connection((host, port), timeout_s) as connection:
        connection.sendall(struct.pack(">i", len(header) + len(body)) + header + body)
        (size,) = struct.unpack(">i", _receive(connection, 4))
        if not 4 <= size <= _ANSWER_BYTES_MAX:
            raise PeerProtocolError(
                f"{host}:{port} does not speak Kafka's plain protocol: it may be TLS or something else."
            )
        return _receive(connection, size)[4:]  # after the correlation id


def _receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionResetError("the connection was closed in the middle of the answer")
        data += part
    return data


class _Reader:
    """Kafka's compact encoding."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        if size < 0 or self._at + size > len(self._data):
            raise PeerProtocolError(
                "The broker's answer to ApiVersions is cut short: it is no Kafka, or a very new one."
            )
        self._at += size
        return self._data[self._at - size : self._at]

    def shorts(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}h", self.take(2 * count))

    def varint(self) -> int:
        value = 0
        for shift in range(0, 35, 7):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        return value

    def text(self) -> str:
        return self.take(self.varint() - 1).decode()

    def tags(self) -> dict[int, bytes]:
        return {self.varint(): self.take(self.varint()) for _ in range(self.varint())}


def _parse_features(body: bytes) -> Features:
    reader = _Reader(body)
    (error,) = reader.shorts(1)
    if error:
        raise PeerProtocolError(f"The broker refused ApiVersions with error {error}: it is older than Kafka 2.4.")
    requests = {}
    for _ in range(reader.varint() - 1):
        number, lowest, highest = reader.shorts(3)
        reader.tags()
        requests[number] = (lowest, highest)
    reader.take(4)  # throttle time
    tags = reader.tags()
    supported = _feature_levels(tags.get(0, b"\1"))
    finalized = {name: levels[0] for name, levels in _feature_levels(tags.get(2, b"\1")).items()}
    return Features(_release(finalized.get("metadata.version", 0)), finalized, supported, requests)


def _feature_levels(data: bytes) -> dict[str, tuple[int, int]]:
    """name → two levels: (lowest, highest) when supported, (highest, lowest) in force when finalized."""
    reader = _Reader(data)
    levels = {}
    for _ in range(reader.varint() - 1):
        name = reader.text()
        first, second = reader.shorts(2)
        reader.tags()
        levels[name] = (first, second)
    return levels


def _release(level: int) -> str:
    known = [release for start, release in _RELEASES if start <= level]
    if not known:
        return "unknown"
    return f"{known[-1]} or later" if level > _RELEASES[-1][0] else known[-1]
