"""`up`: everything on one machine, watched, ended, summed up.

    warm kernels ─┐
    broker start ─┴▶ topics ▶ session ▶ workers, shipper ┐
    simulated venues ───────────────────▶ connectors ────┴▶ watch … ▶ settle ▶ stop ▶ seal ▶ summary

This process holds no rows: it starts, watches and stops the others, and reads topics as anybody could.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import psutil

from connectors.simulator.faults import fault_help as venue_fault_help
from infra.broker.embedded import Broker, OnProgress
from infra.config import Config
from infra.kafka.topics import apply, leader_of, plan
from infra.place import EMBEDDED, NO_BROKER, broker_settings, session_directory
from infra.process.reading import source_of
from infra.process.status import Status, read_all
from infra.process.warm import is_warm
from infra.sessions import store as sessions
from infra.sessions.store import Session
from infra.up.display import Display
from infra.up.guard import Guard
from infra.up.paper import start_trading
from infra.up.plan import BROKER_FAULTS, Feed, ProcessFault, UpPlan
from infra.up.settled import Cast, Settling, last_words
from infra.up.supervisor import ENTRY, ChildSpec, ChildState, Supervisor
from infra.up.view import ProcessLine
from infra.up.watch import Watcher
from schemas.errors import BrokerUnavailable, ConfigInvalid
from streams.clock import Clock
from streams.pipelines import PIPELINES
from streams.topics import topic

TURN_S = 0.1  # between looks at children and topics
BROKER_LOOK_NS = 1_000_000_000
LEAVING_S = 3.0  # after Ctrl-C: what is on its way may arrive, but nobody waits long
NO_LIMIT_S = 1e9  # the stall detector ends it
VENUE_START_S = 60.0  # reading a large recording through, on a slow disk
# Process → pipelines that it runs. Trading is one process: its rules wait for each other anyhow.
WORKERS: dict[str, tuple[str, ...]] = {
    row.name: (row.name,) for row in PIPELINES if row.place == "worker" and not row.trades
}
TRADERS: dict[str, tuple[str, ...]] = {
    "trader": tuple(row.name for row in PIPELINES if row.place == "worker" and row.trades)
}


def venue_name(feed: Feed) -> str:
    return f"venue-{feed.venue}"


def connector_name(feed: Feed) -> str:
    return f"connector-{feed.venue}"


def gateway_name(feed: Feed) -> str:
    return f"gateway-{feed.venue}"


def workers_of(plan: UpPlan) -> dict[str, tuple[str, ...]]:
    return WORKERS | TRADERS if plan.trade else WORKERS


def gateways_of(plan: UpPlan) -> tuple[str, ...]:
    return tuple(gateway_name(feed) for feed in plan.feeds) if plan.trade else ()


SHIPPER = "shipper"


class Up:
    """One run of a session."""

    def __init__(
        self,
        plan: UpPlan,
        config: Config,
        display: Display,
        clock: Clock,
        name: str = "",
        parameters: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.plan = plan
        self._config = config
        self._display = display
        self._clock = clock
        self._parameters = parameters or {}
        self._session_name = name
        self._started_ns = int(psutil.Process().create_time() * 1e9)
        self._faults = sorted(plan.process_faults, key=lambda fault: fault.at_s)
        self._undo: list[tuple[int, Callable[[], object]]] = []
        self._broker: Broker | None = None
        self._owns_broker = False
        self._address = "" if plan.broker == NO_BROKER else plan.broker
        self._first_book_s: float | None = None
        self._first_fill_s: float | None = None
        self._faults_seen: dict[str, int] = {}
        self._guard: Guard | None = None
        self._troubles: dict[str, str] = {}
        self._broker_away = False  # by a fault, until it is undone
        self._broker_seen_ns = 0
        _check_targets(self._faults, plan)

    def run(self, progress: OnProgress) -> dict[str, Any]:
        """Start, watch until the end (or Ctrl-C), stop, and sum up. Returns the summary."""
        # What this process itself needs of compiled code is loaded while others start.
        load = partial(importlib.import_module, "infra.process.wiring")
        loading = threading.Thread(target=load, name="loading", daemon=True)
        loading.start()
        with ExitStack() as stack:
            warming = self._warm()
            stack.callback(_end, warming)
            self._start_broker(progress)
            stack.callback(self._stop_broker)
            session = self._begin_session(stack)
            supervisor = Supervisor(session.logs, self._clock)
            stack.callback(supervisor.stop)
            watcher: Watcher | None = None
            interrupted = False
            try:
                self._start_venues(supervisor)
                self._wait_warm(warming)
                self._start_rest(supervisor, session)
                loading.join()
                watcher = self._open_eyes(session)
                self._watch(supervisor, session, watcher)
            except KeyboardInterrupt:
                interrupted = True
                self._display.note("stopping (Ctrl-C again to leave at once)")
            self._end_feeds(supervisor)
            if watcher is not None:
                self._settle(supervisor, session, watcher, LEAVING_S if interrupted else None)
            supervisor.stop()
            self._display.close()
            restarts = {name: child.restarts for name, child in supervisor.children.items()}
            return self._sum_up(session, restarts, interrupted)

    # --- starting ---

    def _warm(self) -> subprocess.Popen[bytes] | None:
        """Compile the kernels into numba's cache in a process of its own, beside everything else."""
        if is_warm(self._config.cache):
            return None
        self._display.note("compiling the kernels (once after each change; one to two minutes)")
        return subprocess.Popen([*ENTRY, "warm", "--parent", str(os.getpid())], stdin=subprocess.DEVNULL)

    def _wait_warm(self, warming: subprocess.Popen[bytes] | None) -> None:
        if warming is None:
            return
        if warming.wait() != 0:
            self._display.note("the kernels could not be compiled ahead; each process compiles its own")
        else:
            self._display.note(f"kernels are compiled after {self._elapsed_s():.1f} s; starting the processes")

    def _start_broker(self, progress: OnProgress) -> None:
        if self.plan.broker == NO_BROKER:
            return
        if self.plan.broker == EMBEDDED:
            self._display.note("starting Apache Kafka")
            self._broker = Broker(broker_settings(self._config), self._clock)
            started = self._broker.start(progress, owned=True)
            self._address, self._owns_broker = started.bootstrap, not started.was_running
            self._display.note(f"Kafka answers on {self._address} after {self._elapsed_s():.1f} s")
        changes = apply(self._address, plan(self._address))
        if changes:
            self._display.note(f"{len(changes)} topics made or configured on {self._address}")

    def _stop_broker(self) -> None:
        """Only the broker that this process started; one that it found goes on."""
        if self._broker is not None and self._owns_broker:
            self._broker.stop()

    def _begin_session(self, stack: ExitStack) -> Session:
        directory = session_directory(self._address) if self._address else None
        content = {"up": self.plan.as_json(), "broker": self._address or NO_BROKER, "parameters": self._parameters}
        session = sessions.create(self._config, content, self._clock, self._session_name, directory)
        self._session_name = session.name
        stack.enter_context(sessions.held(session))
        source = "SYNTHETIC DATA: nobody traded this. " if self.plan.synthetic else ""
        self._display.begin(f"session {session.name}: {self.plan.label}", source)
        return session

    def _start_venues(self, supervisor: Supervisor) -> None:
        for feed in self.plan.feeds:
            if feed.simulated:
                words = ["venue", feed.venue, *self._venue_words(feed)]
                supervisor.start(self._child(venue_name(feed), words))

    def _venue_words(self, feed: Feed) -> list[str]:
        words = [word for name in feed.recordings for word in ("--play", name)]
        if feed.synthetic:
            words += ["--synthetic", "--seed", str(self.plan.seed)]
            words += [word for symbol in feed.symbols for word in ("--symbol", symbol)]
            if self.plan.until_end:
                words += ["--for", str(self.plan.for_s)]
        words += ["--speed", str(self.plan.speed or "max")]
        return words + [word for fault in self.plan.venue_faults for word in ("--fault", fault)]

    def _start_rest(self, supervisor: Supervisor, session: Session) -> None:
        broker = ["--broker", self._address or NO_BROKER]
        for name, pipelines in workers_of(self.plan).items():
            supervisor.start(self._child(name, ["run", *pipelines, *broker]))
        if self._address:
            supervisor.start(self._child(SHIPPER, ["ship", *broker]))
        for feed in self.plan.feeds:
            words = ["connect", feed.venue]
            if feed.simulated:
                facts = self._wait_venue(supervisor, session, feed).facts
                words += [*facts["symbols"], "--ws", facts["stream_url"], "--rest", facts["rest_url"]]
                if self.plan.trade:
                    start_trading(session, feed.venue, facts["symbols"])
                    at = ["--ws", facts["stream_url"], "--rest", facts["rest_url"], *broker]
                    orders = ["gateway", feed.venue, *facts["symbols"], *at]
                    supervisor.start(self._child(gateway_name(feed), orders))
            else:
                words += feed.symbols
            supervisor.start(self._child(connector_name(feed), words))

    def _wait_venue(self, supervisor: Supervisor, session: Session, feed: Feed) -> Status:
        """Until it says where it listens."""
        deadline_ns = self._clock.monotonic_ns() + int(VENUE_START_S * 1e9)
        while self._clock.monotonic_ns() < deadline_ns:
            self._step(supervisor)
            status = read_all(session.status).get(venue_name(feed))
            if status is not None and "stream_url" in status.facts:
                return status
            self._clock.sleep(TURN_S / 4)
        raise BrokerUnavailable(f"{venue_name(feed)} did not open its ports within {VENUE_START_S:.0f} s.")

    def _child(self, name: str, words: list[str]) -> ChildSpec:
        common = ["--session", self._session_name, "--service", name, "--parent", str(os.getpid())]
        return ChildSpec(name, (*words, *common))

    # --- watching ---

    def _open_eyes(self, session: Session) -> Watcher:
        from infra.sessions.rows import write_session

        write_session(session, session.log)
        return Watcher(source_of(session, self._address, "watch"), self._clock)

    def _watch(self, supervisor: Supervisor, session: Session, watcher: Watcher) -> None:
        """Until everything played was written down, or the time is up; for ever without an end."""
        begun_ns: int | None = None
        settling = Settling(self._cast(), self._clock, "to_connectors") if self.plan.until_end else None
        while True:
            statuses = self._look(supervisor, session, watcher)
            if begun_ns is None and _have_begun(supervisor, statuses):
                begun_ns = self._clock.monotonic_ns()  # a slow start is not part of --for
            elapsed_s = (self._clock.monotonic_ns() - begun_ns) / 1e9 if begun_ns is not None else 0.0
            self._inflict(supervisor)
            if settling is not None and not settling.behind(statuses):
                return
            if settling is None and self.plan.for_s is not None and elapsed_s >= self.plan.for_s:
                return
            self._clock.sleep(TURN_S)

    def _settle(self, supervisor: Supervisor, session: Session, watcher: Watcher, limit_s: float | None) -> None:
        """Until everybody has taken what the connectors wrote, or the limit."""
        cast = self._cast()
        settling = Settling(cast, self._clock, "through")
        ended = last_words([*cast.connectors, *cast.gateways], read_all(session.status), session.log)
        for name in ended:
            self._display.note(f"{name} had to be ended by force")
        end_ns = self._clock.monotonic_ns() + int((limit_s or NO_LIMIT_S) * 1e9)
        while self._clock.monotonic_ns() < end_ns:
            statuses = self._look(supervisor, session, watcher) | ended
            if not settling.behind(statuses):
                return
            self._clock.sleep(TURN_S)

    def _look(self, supervisor: Supervisor, session: Session, watcher: Watcher) -> dict[str, Status]:
        """One turn: children, statuses, topics, display."""
        self._step(supervisor)
        statuses = read_all(session.status)
        self._watch_gateways(supervisor, session, statuses)
        picture = watcher.look(statuses)
        if picture.first_book_ns and self._first_book_s is None:
            self._first_book_s = self._elapsed_s()
            self._display.note(f"first book after {self._first_book_s:.1f} s")
        if picture.first_fill_ns and self._first_fill_s is None:
            self._first_fill_s = self._elapsed_s()
            self._display.note(f"first fill after {self._first_fill_s:.1f} s")
        for status in statuses.values():
            for fault in status.facts.get("faults", ())[self._faults_seen.get(status.service, 0) :]:
                self._display.note(f"{status.service}: fault {fault}")
            self._faults_seen[status.service] = len(status.facts.get("faults", ()))
            self._say_trouble(status)
        self._display.show(picture, _process_lines(supervisor, statuses), self._elapsed_s())
        return statuses

    def _watch_gateways(self, supervisor: Supervisor, session: Session, statuses: Mapping[str, Status]) -> None:
        """A kill is carried out, also when a gateway hangs or is dead."""
        if self._guard is None:
            self._guard = Guard(session, gateways_of(self.plan), self._child, self._clock)
        for done in self._guard.look(supervisor, statuses):
            self._display.note(done)

    def _say_trouble(self, status: Status) -> None:
        """A connector that hears nothing says why, once per reason."""
        trouble = str(status.facts.get("trouble", ""))
        if trouble and trouble != self._troubles.get(status.service):
            self._display.note(f"{status.service} hears nothing: {trouble}")
        self._troubles[status.service] = trouble

    def _keep_broker(self) -> None:
        """A broker that was found running belongs to another run, and may end with it: then it is ours to start."""
        now_ns = self._clock.monotonic_ns()
        if self._broker is None or self._broker_away or now_ns < self._broker_seen_ns + BROKER_LOOK_NS:
            return
        self._broker_seen_ns = now_ns
        if self._broker.missing():
            self._display.note("the broker ended; starting it again")
            self._broker.start(owned=True)
            self._owns_broker = True

    def _elapsed_s(self) -> float:
        return (self._clock.now_ns() - self._started_ns) / 1e9

    def _end_feeds(self, supervisor: Supervisor) -> None:
        """No new frames from here on: the connectors hang up, write the last row and end; then the venues do."""
        supervisor.stop(gateways_of(self.plan))
        supervisor.stop([connector_name(feed) for feed in self.plan.feeds])
        supervisor.stop([venue_name(feed) for feed in self.plan.feeds])

    def _cast(self) -> Cast:
        return Cast(
            venues=tuple(venue_name(feed) for feed in self.plan.feeds if feed.simulated),
            connectors={connector_name(feed): feed.venue for feed in self.plan.feeds},
            shippers=(SHIPPER,) if self._address else (),
            workers=workers_of(self.plan),
            gateways=gateways_of(self.plan),
        )

    def _step(self, supervisor: Supervisor) -> None:
        for happened in supervisor.step():
            self._display.note(happened)
        self._keep_broker()

    # --- faults of our own processes ---

    def _inflict(self, supervisor: Supervisor) -> None:
        """Faults that are due begin; those that have lasted long enough end. Their time counts from the first book:
        before it, nothing happens that a fault could disturb."""
        since_s = self._elapsed_s() - self._first_book_s if self._first_book_s is not None else -1.0
        while self._faults and self._faults[0].at_s <= since_s:
            fault = self._faults.pop(0)
            self._display.note(f"fault: {fault.kind} {fault.target}".rstrip())
            if fault.kind == "kill":
                supervisor.kill(fault.target)
            elif fault.kind == "hang":
                supervisor.kill(fault.target, signal.SIGSTOP)
                self._later(fault.seconds, partial(supervisor.kill, fault.target, signal.SIGCONT))
            elif self._broker is not None:
                self._broker_away = True
                if fault.kind == "broker_down":
                    self._broker.stop()
                else:
                    self._broker.kill(leader_of(self._address, topic("md.quote").name))
                self._later(fault.seconds, self._bring_broker_back)
        now_ns = self._clock.monotonic_ns()
        due = [undo for at_ns, undo in self._undo if at_ns <= now_ns]
        self._undo = [(at_ns, undo) for at_ns, undo in self._undo if at_ns > now_ns]
        for undo in due:
            undo()

    def _bring_broker_back(self) -> None:
        assert self._broker is not None
        self._broker.start(owned=True)
        self._broker_away = False

    def _later(self, seconds: float, undo: Callable[[], object]) -> None:
        self._undo.append((self._clock.monotonic_ns() + int(seconds * 1e9), undo))

    # --- the end ---

    def _sum_up(self, session: Session, restarts: Mapping[str, int], interrupted: bool) -> dict[str, Any]:
        from infra.sessions.readback import root_of
        from infra.sessions.sealing import seal_session
        from infra.up.summary import summarize

        if self._address:
            seal_session(session, self._address)
        summary = summarize(
            root_of(session),
            read_all(session.status),
            restarts,
            session=session.name,
            source=self.plan.label,
            synthetic=self.plan.synthetic,
            interrupted=interrupted,
            time_to_first_book_s=self._first_book_s,
            time_to_first_fill_s=self._first_fill_s,
            elapsed_s=self._elapsed_s(),
        )
        session.save_report(summary)
        return summary


def _process_lines(supervisor: Supervisor, statuses: Mapping[str, Status]) -> list[ProcessLine]:
    lines = []
    for name, child in supervisor.children.items():
        status = statuses.get(name, Status(name))
        state = status.state if child.state is ChildState.RUNNING else child.state.value
        lines.append(
            ProcessLine(name, state, child.pid, status.rss_bytes, child.restarts, status.rows_in, status.rows_out)
        )
    return lines


def _have_begun(supervisor: Supervisor, statuses: Mapping[str, Status]) -> bool:
    return all(name in statuses and statuses[name].state != "starting" for name in supervisor.children)


def _check_targets(faults: list[ProcessFault], plan: UpPlan) -> None:
    names = [name for feed in plan.feeds for name in (venue_name(feed), connector_name(feed))]
    names += [*workers_of(plan), *gateways_of(plan), *([] if plan.broker == NO_BROKER else [SHIPPER])]
    for fault in faults:
        if fault.target and fault.target not in names:
            raise ConfigInvalid(f"--fault {fault.kind}: no process {fault.target!r}. There are: {', '.join(names)}.")
        if fault.kind in BROKER_FAULTS and plan.broker != EMBEDDED:
            raise ConfigInvalid(f"--fault {fault.kind} stops the embedded broker; this run does not use it.")


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None and process.poll() is None:
        process.kill()
        process.wait()


def fault_help() -> str:
    """What `--fault` takes, one line each."""
    ours = (
        "",
        "and of our own processes, in seconds after the first book:",
        "kill:PROCESS     the process is killed (SIGKILL) and started again",
        "hang:PROCESS     the process stands still (SIGSTOP) [seconds=3]",
        "broker_down      the embedded broker is stopped, all its nodes [seconds=3]",
        "broker_kill      the node that leads md.quote is killed (SIGKILL) [seconds=3]",
    )
    return "\n".join((venue_fault_help(), *ours))
