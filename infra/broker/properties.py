"""What a node is told: server.properties and log4j2.xml, each setting with its reason.

The files are written at every start, so that a data directory made by an older version of the project runs with
today's settings. Topics' own settings (retention, compaction, segments) are the topics' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

HOST = "127.0.0.1"  # loopback only: the embedded broker has no passwords
CONTROLLER_PORT_OFFSET = 100
FRAME_BYTES_MAX = 16 << 20  # the largest frame that a writer makes
MESSAGE_BYTES_MAX = FRAME_BYTES_MAX + (1 << 20)  # and room for headers and batch overhead


class Property(NamedTuple):
    name: str
    value: str | int
    why: str


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node: where it lies and listens.

    Args:
        number: 1, 2, 3.
        nodes: how many there are.
        port_first: client port of node 1; node n has port_first + n - 1, its controller CONTROLLER_PORT_OFFSET more.
        directory: holds everything of this node.
    """

    number: int
    nodes: int
    port_first: int
    directory: Path

    @property
    def port(self) -> int:
        return self.port_first + self.number - 1

    @property
    def controller_port(self) -> int:
        return self.port + CONTROLLER_PORT_OFFSET

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def properties_file(self) -> Path:
        return self.directory / "server.properties"

    @property
    def logging_file(self) -> Path:
        return self.directory / "log4j2.xml"

    @property
    def log_file(self) -> Path:
        return self.directory / "logs" / "server.log"

    @property
    def console_file(self) -> Path:
        """What Java itself says: start-up failures before logging works, crashes."""
        return self.directory / "logs" / "console.log"

    @property
    def temporary(self) -> Path:
        return self.directory / "tmp"

    @property
    def voters(self) -> str:
        first = self.port_first + CONTROLLER_PORT_OFFSET
        return ",".join(f"{n}@{HOST}:{first + n - 1}" for n in range(1, self.nodes + 1))

    def write_files(self) -> None:
        """Writes both files. Raises OSError when the directory cannot be written."""
        for directory in (self.data, self.log_file.parent, self.temporary):
            directory.mkdir(parents=True, exist_ok=True)
        self.properties_file.write_text(render(properties(self)), "ascii")
        self.logging_file.write_text(logging_xml(self.log_file), "utf-8")


def properties(plan: NodePlan) -> list[Property]:
    """All settings of a node that differ from Kafka's defaults."""
    return [
        *_identity(plan),
        *_internal_topics(plan.nodes),
        *_frames(),
        *_small(),
        *_transactions(),
        *_sessions(),
    ]


def _identity(plan: NodePlan) -> list[Property]:
    listeners = f"PLAINTEXT://{HOST}:{plan.port},CONTROLLER://{HOST}:{plan.controller_port}"
    return [
        Property("process.roles", "broker,controller", "one process is the whole node; there is no ZooKeeper"),
        Property("node.id", plan.number, "1, 2, 3"),
        Property("controller.quorum.voters", plan.voters, "a fixed quorum: its nodes are known from the start"),
        Property("controller.listener.names", "CONTROLLER", "controllers talk on a port of their own"),
        Property("listeners", listeners, "loopback only: nothing outside this machine can reach it"),
        Property("advertised.listeners", f"PLAINTEXT://{HOST}:{plan.port}", "what clients are told to connect to"),
        Property("log.dirs", str(plan.data), "topics and metadata"),
    ]


def _internal_topics(nodes: int) -> list[Property]:
    in_sync = 2 if nodes == 3 else 1
    copies = "as many copies as there are nodes"
    partitions = "the default of 50 makes the first start and every recovery slower; 4 serve a few dozen clients"
    return [
        Property("offsets.topic.replication.factor", nodes, copies),
        Property("transaction.state.log.replication.factor", nodes, copies),
        Property("transaction.state.log.min.isr", in_sync, "a transaction survives the loss of one node of three"),
        Property("share.coordinator.state.topic.replication.factor", nodes, copies),
        Property("share.coordinator.state.topic.min.isr", in_sync, "as above"),
        Property("offsets.topic.num.partitions", 4, partitions),
        Property("transaction.state.log.num.partitions", 4, partitions),
        Property("share.coordinator.state.topic.num.partitions", 1, "share groups are not used here"),
        Property("default.replication.factor", nodes, copies),
        Property("min.insync.replicas", in_sync, "acks=all means a majority: no acknowledged row dies with one node"),
        Property("auto.create.topics.enable", "false", "topics come from the table; a typing error must not make one"),
        Property("group.initial.rebalance.delay.ms", 0, "the default waits 3 s for more group members at each start"),
    ]


def _frames() -> list[Property]:
    return [
        Property("message.max.bytes", MESSAGE_BYTES_MAX, "one message is a frame of up to 16 MiB"),
        Property("replica.fetch.max.bytes", MESSAGE_BYTES_MAX, "replicas fetch such a frame in one piece"),
        Property("replica.fetch.response.max.bytes", 2 * MESSAGE_BYTES_MAX, "at least one such frame per answer"),
        Property("queued.max.request.bytes", 100 << 20, "500 queued requests of that size would burst the heap"),
        Property(
            "log.message.timestamp.type",
            "LogAppendTime",
            "a replayed recording is years old by its own time: by that, retention would delete it at once",
        ),
    ]


def _small() -> list[Property]:
    return [
        Property(
            "log.cleaner.dedupe.buffer.size", 32 << 20, "the default takes 128 MiB of heap; this holds 1.2 M keys"
        ),
        Property("num.network.threads", 2, "sized for one machine that runs everything else too"),
        Property("num.io.threads", 4, "as above"),
        Property("background.threads", 4, "as above"),
        Property("metric.reporters", "", "nobody reads JMX here, and its registry costs time at start"),
    ]


def _transactions() -> list[Property]:
    return [
        Property(
            "transaction.abort.timed.out.transaction.cleanup.interval.ms",
            500,
            "a killed writer's open transaction blocks readers until its time-out (2 s) plus this; the default is 10 s",
        ),
    ]


def _sessions() -> list[Property]:
    return [
        Property(
            "broker.session.timeout.ms",
            3000,
            "a killed node may come back, and its partitions get other leaders, after 3 s; the default is 9",
        ),
        Property("broker.heartbeat.interval.ms", 500, "six heartbeats per session: a busy machine may miss some"),
        Property(
            "controlled.shutdown.enable",
            "false",
            "it takes the leaders away first: a node that is the last skips the markers of transactions that it still "
            "calls committed, and three that stop together wait 5 minutes for each other",
        ),
    ]


def render(rows: list[Property]) -> str:
    """As Java reads properties: ASCII, with escapes."""
    return "".join(f"# {row.why}\n{row.name}={_escaped(str(row.value))}\n" for row in rows)


def _escaped(value: str) -> str:
    units = value.encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)


def logging_xml(log_file: Path) -> str:
    """Everything into one rotated file, nothing to the console. (XML, because Java parses it without other jars.)"""
    name = escape(str(log_file), {'"': "&quot;"})
    pattern = escape(str(log_file.with_suffix("")), {'"': "&quot;"}) + ".%i.log"
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="error" shutdownHook="disable">
  <Appenders>
    <RollingFile name="file" fileName="{name}" filePattern="{pattern}">
      <PatternLayout pattern="%d{{ISO8601}} %p %c{{1}}: %m%n"/>
      <Policies><SizeBasedTriggeringPolicy size="10MB"/></Policies>
      <DefaultRolloverStrategy max="3"/>
    </RollingFile>
  </Appenders>
  <Loggers>
    <!-- 300 lines of settings at each start, which server.properties says better -->
    <Logger name="org.apache.kafka.common.config.AbstractConfig" level="warn"/>
    <Root level="info"><AppenderRef ref="file"/></Root>
  </Loggers>
</Configuration>
"""
