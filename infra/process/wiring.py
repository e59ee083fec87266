"""The composition root: which source, sink, clock and rule each process is made of."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from connectors.credentials import load_credentials
from connectors.gateway import GatewayOptions
from connectors.simulator.config import VenueConfig
from connectors.simulator.venue import SimulatedVenue
from connectors.venues import venue_parts
from infra.cli.output import say
from infra.config import Config, config
from infra.file_lock import exclusive
from infra.place import NO_BROKER, Place, address_or_none, running_address
from infra.process.clearing import paper_credentials
from infra.process.connector import ConnectorProcess
from infra.process.deadman import DEADMAN_S, SHIPPING
from infra.process.gateway import GatewayProcess, GatewaySettings, Sources
from infra.process.reading import source_of
from infra.process.service import service, stop_on_signal
from infra.process.status import Status, fill_from_runners
from infra.process.vitals import CONNECTOR_SLOTS, SHIPPER_SLOT, Vitals, slot_of
from infra.registry import AccountParameters, ParametersOf, processor
from infra.sessions.readback import root_of
from infra.sessions.store import Session, join, load, store
from schemas.errors import BrokerUnavailable, ConfigInvalid, ResourceExhausted
from schemas.instruments import Venue
from streams.api import Sink, Source, WriterKey
from streams.clock import SYSTEM_CLOCK
from streams.cursor import SessionReader
from streams.kafka import Kafka, KafkaMirror, KafkaReader, KafkaSink, KafkaSource
from streams.local import LocalReader, LocalSink, LocalSource
from streams.log import writer_keys
from streams.pipelines import Pipeline, output_places, pipeline, tasks
from streams.runner import Runner
from streams.shipper import Shipper, ShipperOptions
from streams.topics import topic
from streams.worker import Worker

JOURNAL = topic("sys.journal.v1")
PLAN_WAIT_S = 60.0


def run_workers(where: Place, rows: Sequence[Pipeline]) -> None:
    """All tasks of some pipelines, a thread each, until the process is asked to stop or one of them fails."""
    runners = [worker(where, row, task) for row in rows for task in range(tasks(row))]

    def fill(status: Status) -> None:
        fill_from_runners(status, runners)

    vitals = vitals_of(where, slot_of(row.number for row in rows), runners)
    with service(where.service, where.session, where.config, fill, where.parent_pid, vitals) as (stop, status):
        status.write("running")
        Worker(runners).run(stop.is_set)


def vitals_of(where: Place, slot: int, runners: Sequence[Runner] = ()) -> Vitals | None:
    """Heartbeats of this process; None while a predecessor that hangs still holds their log: saying how one runs must
    not keep a successor from running."""
    try:
        return Vitals(where.session.log, where.session.incarnation, slot, runners)
    except ResourceExhausted as error:
        structlog.get_logger().warning("no heartbeats", reason=str(error))
        return None


def worker(where: Place, row: Pipeline, task: int) -> Runner:
    """A runner on the transport that the session has."""
    session = where.session
    rule = processor(row, session.plan.get("parameters", {}))
    source: Source
    sink: Sink
    if where.broker:
        source, sink = kafka_transport(where, row, task)
    else:
        source = LocalSource(session.log, session.incarnation)
        sink = local_sink(session, row, task)
    return Runner(row, task, rule, source, sink, SYSTEM_CLOCK, incarnation=session.incarnation)


def reader_of(settings: Config, session: Session, broker: str) -> Source:
    """For `topics tail`: from the broker that is said, else the sealed copy, else where the session runs.

    Args:
        broker: `none` for the local files, "" for wherever the session is.
    """
    address = broker or ("" if session.sealed.exists() else session.broker)
    if address in ("", NO_BROKER):
        return LocalSource(root_of(session), session.incarnation)
    return source_of(session, address_or_none(settings, address), "tail")


def local_sink(session: Session, row: Pipeline, task: int) -> LocalSink:
    """Where a task writes without a broker."""
    return LocalSink(session.log, session.snapshots, f"{row.name}/{task}", journal_key(session, row, task))


def journal_key(session: Session, row: Pipeline, task: int) -> WriterKey:
    """The sequence of a task's journal."""
    writer = row.writer(task)
    return WriterKey(JOURNAL.number, writer % JOURNAL.partitions, writer, session.incarnation)


def kafka_transport(where: Place, row: Pipeline, task: int) -> tuple[KafkaSource, KafkaSink]:
    """Where a task reads and writes with a broker. Its transactional id is its own: a second process fences it."""
    session = where.session
    kafka = Kafka(where.broker)
    group = f"shriven.{session.name}.{row.name}"
    source = KafkaSource(kafka, group, session.incarnation, session.created_ns)
    sink = KafkaSink(
        kafka, f"{session.name}/{row.name}/{task}", journal_key(session, row, task), task, session.created_ns,
        places=output_places(row),
    )  # fmt: skip
    return source, sink


# --- the connector ---


def run_connector(where: Place, venue: str, symbols: Sequence[str], ws_url: str, rest_url: str) -> None:
    """Listen to a venue until asked to stop; frames and the rows made of them go into the local log.

    Args:
        ws_url, rest_url: "" for SHRIVEN_<VENUE>_WS and _REST, else the real venue.
    """
    session, settings = where.session, where.config
    exchange = venue_parts(Venue.parse(venue)).exchange.at(
        ws_url or getattr(settings, f"{venue}_ws"), rest_url or getattr(settings, f"{venue}_rest")
    )
    row = pipeline(f"wire_{venue}")

    def make_runner(task: int, writers: frozenset[int]) -> Runner:
        source = LocalSource(session.log, session.incarnation, writers=writers)
        rule = processor(row, session.plan.get("parameters", {}))
        sink = local_sink(session, row, task)
        return Runner(row, task, rule, source, sink, SYSTEM_CLOCK, incarnation=session.incarnation)

    process = ConnectorProcess(session, exchange, symbols, make_runner)
    vitals = vitals_of(where, CONNECTOR_SLOTS[venue], process.runners)
    with service(where.service, session, settings, process.fill, where.parent_pid, vitals) as (stop, status):
        status.write("running")
        process.run(stop)


# --- the gateway ---


def run_gateway(
    where: Place,
    venue: str,
    symbols: Sequence[str],
    ws_url: str,
    rest_url: str,
    keys: Path | None,
    live: bool,
    deadman_s: float = DEADMAN_S,
    deadman_flatten: bool = False,
) -> None:
    """Send orders to a venue until asked to stop.

    Args:
        keys: a file of API keys; None: the paper account of a simulated venue on this machine.
        live: real money is allowed.
        deadman_s, deadman_flatten: see infra/process/gateway.py.
    """
    session = where.session
    exchange = venue_parts(Venue.parse(venue)).exchange.at(
        ws_url or getattr(where.config, f"{venue}_ws"), rest_url or getattr(where.config, f"{venue}_rest")
    )
    row = pipeline(f"orders_{venue}")
    credentials = load_credentials(keys) if keys else paper_credentials(exchange.rest_url)
    parameters = settled_account(session, row, credentials.account)

    def make_runner(task: int, writers: frozenset[int]) -> Runner:
        source = LocalSource(session.log, session.incarnation, writers=writers)
        rule = processor(row, parameters)
        sink = local_sink(session, row, task)
        return Runner(row, task, rule, source, sink, SYSTEM_CLOCK, incarnation=session.incarnation)

    switches, reads = LocalSource(session.log, session.incarnation), partial(source_of, session, where.broker)
    sources = Sources(reads(f"gateway-{venue}"), switches, reads(f"gateway-{venue}-ours"))
    told = GatewaySettings(
        where.service, str(keys.absolute()) if keys else "", deadman_s, deadman_flatten, GatewayOptions(live=live)
    )
    process = GatewayProcess(session, exchange, credentials, [*symbols], sources, make_runner, told)
    vitals = vitals_of(where, CONNECTOR_SLOTS[f"{venue}_private"], process.runners)
    with service(where.service, session, where.config, process.fill, where.parent_pid, vitals) as (stop, status):
        status.write("running")
        process.run(stop)


def settled_account(session: Session, row: Pipeline, account: str) -> ParametersOf:
    """The session's parameters, its plan naming the account that a gateway trades: a replay takes the same.

    Raises:
        ConfigInvalid: the session trades another account of that venue.
    """
    with exclusive(session.root / "plan.lock", PLAN_WAIT_S, "writing down what a session trades"):
        plan = load(session.root).plan
        parameters: dict[str, dict[str, Any]] = {name: {**given} for name, given in plan.get("parameters", {}).items()}
        given = parameters.setdefault(row.name, {})
        traded = given.get("account", AccountParameters.account)
        if traded == account:
            return parameters
        journals = writer_keys(session.log, JOURNAL.number)
        if "account" in given or any(key.writer == row.writer(0) for key in journals):
            raise ConfigInvalid(
                f"Session {session.name} trades account {traded!r}, and these keys are of {account!r}. One session "
                "trades one account of a venue: give this gateway a session of its own with --session NAME."
            )
        given["account"] = account
        store(replace(session, plan={**plan, "parameters": parameters}))
        return parameters


# --- the shipper ---


def run_shipper(where: Place) -> None:
    """Mirror the session's local log to the broker until asked to stop, then land the rest."""
    if not where.broker:
        raise ConfigInvalid("There is nothing to ship to with --broker none.")
    session = where.session
    mirror = KafkaMirror(
        Kafka(where.broker),
        session.name,
        session.incarnation,
        session.created_ns,
        lambda topic_number, partition: writer_keys(session.log, topic_number, partition),
    )
    shipper = Shipper(session.log, mirror, ShipperOptions(incarnation=session.incarnation))

    def fill(status: Status) -> None:
        stats = shipper.stats
        status.rows_in = status.rows_out = stats.rows
        status.bytes_in = status.bytes_out = stats.bytes
        status.taken = {key: progress.landed_row for key, progress in list(stats.keys.items())}
        status.detail = f"{stats.state}: {stats.error}" if stats.error else stats.state
        status.moved_ns = {SHIPPING: stats.moved_ns}
        status.facts = {"lag_bytes": stats.lag_bytes, "retries": stats.retries}

    vitals = vitals_of(where, SHIPPER_SLOT)
    with service(where.service, session, where.config, fill, where.parent_pid, vitals) as (stop, status):
        status.write("running")
        when(stop, shipper.stop)
        try:
            if not shipper.run():
                raise BrokerUnavailable(
                    f"Not everything that was logged has landed on {where.broker}: {shipper.stats.error or 'no time'}. "
                    "Nothing is lost: the next `shriven ship` of this session goes on where this one ended."
                )
        finally:
            mirror.close()


def when(event: threading.Event, do: Callable[[], object]) -> None:
    """Call `do` once the event is set, from another thread."""

    def wait() -> None:
        event.wait()
        do()

    threading.Thread(target=wait, name="when", daemon=True).start()


# --- the simulated venue ---


def run_venue(venue_config: VenueConfig, session: str, name: str, parent_pid: int) -> None:
    """Serve until asked to stop; with a session its status says where it listens and how far it is."""
    venue = SimulatedVenue(venue_config)
    settings = config()
    wanted = session or settings.session
    if not wanted:
        say(f"simulated {venue_config.venue.label}, {venue_config.label}; Ctrl-C ends it")
        venue.run(stop_on_signal(), lambda at: say(f"websocket {at.stream_url}   REST {at.rest_url}"))
        return

    def fill(status: Status) -> None:
        if venue.addresses.stream_url:
            status.facts = venue_facts(venue)

    joined = join(settings, wanted, SYSTEM_CLOCK)
    with service(name, joined, settings, fill, parent_pid) as (stop, status):
        venue.run(stop, lambda at: status.write("running"))


def venue_facts(venue: SimulatedVenue) -> dict[str, Any]:
    """What `up` wants to know of a simulated venue."""
    said: dict[str, Any] = dict(venue.status())
    return {
        "venue": said["venue"],
        "done": said["done"],
        "state": said["state"],
        "position_s": said["position_s"],
        "stream_url": venue.addresses.stream_url,
        "rest_url": venue.addresses.rest_url,
        "symbols": sorted({name.partition("@")[0].upper() for name in said["frames_sent"]}),
        "delivered": sum(client["frames"] for client in said["clients"] if not client["half_open"]),
        "faults": [f"{fault['name']} at {fault['position_s']:.1f} s" for fault in said["faults"]],
    }


# --- recorded sessions ---


@dataclass(frozen=True)
class Recorded:
    """A session as it can be read again.

    Attributes:
        connectors, workers: readers of what connectors and workers wrote.
        root: of the local log or of the sealed copy, for hashing what was recorded.
    """

    connectors: SessionReader
    workers: SessionReader
    root: Path


@contextmanager
def recorded(settings: Config, session: Session, broker: str) -> Iterator[Recorded]:
    """Open a session for replay.

    Args:
        broker: "" for its own kind: the sealed copy where there is one; `none` for the local files; else a broker,
            whose topics are then read.
    """
    local = LocalReader(session.log, session.incarnation)
    if not session.broker or broker == NO_BROKER or (not broker and session.sealed.exists()):
        root = root_of(session)
        if session.broker and root == session.log:
            raise ConfigInvalid(
                f"Session {session.name} ran over Kafka and was not sealed. `shriven seal {session.name}` copies its "
                "topics into its folder while the broker still has them."
            )
        yield Recorded(local, LocalReader(root, session.incarnation), root)
        return
    address = running_address(settings, broker or session.broker)
    yield Recorded(local, KafkaReader(Kafka(address), session.incarnation, session.created_ns), root_of(session))
