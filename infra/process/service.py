"""A process of a session: its log, its status, its metrics, and how it is asked to stop."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType

import structlog

from infra.config import Config
from infra.process.logs import configure
from infra.process.status import Status, StatusWriter
from infra.process.vitals import Vitals
from infra.sessions.store import Session
from infra.up.supervisor import end_with_parent
from streams.api import WriterKey
from streams.clock import SYSTEM_CLOCK, Clock
from streams.metrics import Metrics, Sample
from streams.topics import TOPIC_BY_NUMBER

KEY_CHARACTERS, KEYS_MAX = 60, 1000  # "FAIL [client name": which client said what kind of thing
Fill = Callable[[Status], None]


@contextmanager
def service(
    name: str,
    session: Session,
    config: Config,
    fill: Fill,
    parent_pid: int = 0,
    vitals: Vitals | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[tuple[threading.Event, StatusWriter]]:
    """Run a body as a service of a session.

    Args:
        fill: sets the fields of its status that only it knows; called from another thread.
        parent_pid: end when that process does; 0 for nobody.
        vitals: heartbeats and latencies as rows, too.

    Yields:
        An event that is set when the process is asked to stop (SIGTERM, SIGINT), and its status.
    """
    if parent_pid:
        end_with_parent(parent_pid, clock)
    configure(config.log, config.log_level, service=name, session=session.name)
    logging.getLogger("shriven.kafka").addFilter(Sparingly(clock))
    log = structlog.get_logger()
    stop = stop_on_signal()
    beat = vitals.beat if vitals is not None else lambda status: False
    with ExitStack() as stack:
        if vitals is not None:
            stack.callback(vitals.close)
        status = stack.enter_context(StatusWriter(session.status, name, fill, clock, beat))
        serve_metrics(config, name, status)
        log.info("started", pid=status.status.pid, incarnation=session.incarnation)
        yield stop, status
        status.write("stopping")
    log.info("stopped", rows_in=status.status.rows_in, rows_out=status.status.rows_out)


class Sparingly(logging.Filter):
    """Lets the same message through once in a while: a client that waits for its broker says so every 50 ms."""

    def __init__(self, clock: Clock, every_s: float = 10.0) -> None:
        super().__init__()
        self._clock = clock
        self._every_ns = int(every_s * 1e9)
        self._said_ns: dict[str, int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        key = record.getMessage()[:KEY_CHARACTERS]
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._said_ns.get(key, -self._every_ns) < self._every_ns:
            return False
        if len(self._said_ns) >= KEYS_MAX:
            self._said_ns.clear()
        self._said_ns[key] = now_ns
        return True


def stop_on_signal() -> threading.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    return stop


def serve_metrics(config: Config, name: str, status: StatusWriter) -> None:
    """Show this process's metrics on the configured port; nothing where none is configured."""
    if config.metrics_port:
        Metrics(name, lambda: samples(status.status)).serve(config.metrics_port, config.metrics_address)


def samples(status: Status) -> list[Sample]:
    """A status as metrics."""
    found = [
        Sample("bytes_read", status.bytes_in),
        Sample("bytes_written", status.bytes_out),
        Sample("checkpoints", status.checkpoints),
        Sample("dead_letters", status.dead),
        Sample("repeats_dropped", status.repeats_dropped),
        Sample("row_gaps", status.row_gaps),
        Sample("reconnects", status.reconnects),
        Sample("resident_bytes", status.rss_bytes),
    ]
    found += [Sample("rows_read", rows, (name,)) for name, rows in _by_topic(status.taken).items()]
    found += [Sample("rows_written", rows, (name,)) for name, rows in _by_topic(status.written).items()]
    return found


def _by_topic(rows: Mapping[WriterKey, int]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for key, last in rows.items():
        name = TOPIC_BY_NUMBER[key.topic].name
        counts[name] = counts.get(name, 0) + last
    return counts
