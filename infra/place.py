"""Where a process runs: its settings, its session, its broker. Light: nothing is compiled to read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.broker.embedded import Broker, BrokerSettings
from infra.config import Config, config
from infra.sessions.store import Session, join
from schemas.errors import BrokerUnavailable, ConfigInvalid
from streams.clock import SYSTEM_CLOCK

if TYPE_CHECKING:
    from infra.kafka.sessions import BrokerSessions

EMBEDDED, NO_BROKER = "embedded", "none"
LOOK_S = 3.0


@dataclass(frozen=True)
class Place:
    """Where a process runs.

    Attributes:
        config, session: its settings and its session.
        broker: address, "" for none.
        service: its name.
        parent_pid: end with that process; 0 for nobody.
    """

    config: Config
    session: Session
    broker: str
    service: str
    parent_pid: int


# --- brokers ---


def broker_settings(settings: Config) -> BrokerSettings:
    """The embedded broker as configured."""
    return BrokerSettings(
        data_dir=settings.data / "broker",
        cache_dir=settings.cache,
        nodes=settings.broker_nodes,
        port=settings.broker_port,
        maven_url=settings.maven,
        java_home=settings.java_home,
    )


def running_address(settings: Config, broker: str = "") -> str:
    """The broker that is meant: as said, else SHRIVEN_KAFKA, else the embedded one.

    Raises:
        BrokerUnavailable: it does not run, or does not answer.
        ConfigInvalid: `none` was said where a broker is needed.
    """
    wanted = broker or settings.kafka or EMBEDDED
    if wanted == NO_BROKER:
        raise ConfigInvalid("This needs a broker, and --broker none says that there is none.")
    if wanted != EMBEDDED:
        from infra.kafka.admin import KafkaAddress, describe

        describe(KafkaAddress(wanted), LOOK_S)  # now, not after the patience of a reader
        return wanted
    found = Broker(broker_settings(settings)).status()
    if not found.answers:
        raise BrokerUnavailable(
            f"The embedded broker does not run ({found.data_dir}). `shriven broker start` starts it; SHRIVEN_KAFKA or "
            "--broker names another one; `shriven up --broker none` needs none."
        )
    return found.bootstrap


def address_or_none(settings: Config, broker: str) -> str:
    """The same, "" for `none`."""
    return "" if broker == NO_BROKER else running_address(settings, broker)


def session_directory(address: str) -> BrokerSessions:
    """Sessions that the broker knows."""
    from infra.kafka.sessions import BrokerSessions
    from streams.kafka import Kafka

    return BrokerSessions(Kafka(address))


# --- processes ---


def place(session: str, broker: str, name: str, parent_pid: int, metrics_port: int | None) -> Place:
    """Join the session.

    Args:
        session: its name, "" for SHRIVEN_SESSION.
        broker: as `address_or_none`; connectors say `none`.
    """
    settings = config()
    if metrics_port is not None:
        settings = settings.model_copy(update={"metrics_port": metrics_port})
    wanted = session or settings.session
    if not wanted:
        raise ConfigInvalid("Which session? Say --session NAME, or set SHRIVEN_SESSION. `shriven up` makes its own.")
    address = address_or_none(settings, broker)
    joined = join(settings, wanted, SYSTEM_CLOCK, session_directory(address) if address else None)
    return Place(settings, joined, address, name, parent_pid)
