"""Child processes: started, watched, started again when they die, and never left behind.

Recovery is the start path: a child that died is started again as it was, and finds its place in the
logs. What cannot heal by starting again (a wrong setting, a damaged log) stops everything at once, and
so does a child that keeps dying. Children run in process sessions of their own, so that Ctrl-C reaches
the parent alone, and end when the parent does, however it ended (`end_with_parent`).
"""

from __future__ import annotations

import ctypes
import enum
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas import errors
from schemas.errors import ResourceExhausted, ShrivenError
from streams.clock import SYSTEM_CLOCK, Clock

RESTARTS_PER_MINUTE_MAX = 5
BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 5.0
GRACE_S = 8.0  # from SIGTERM to SIGKILL: a commit and a flush take well under a second, a hung client never ends
LAST_LINES = 20
LAST_BYTES = 16_384
POLL_S = 0.02
# Starting again would find the same setting, the same bytes, the same table or the same successor.
HOPELESS: tuple[type[ShrivenError], ...] = (
    errors.ConfigInvalid,
    errors.InputInvalid,
    errors.IntegrityError,
    errors.TopicDrift,
    errors.Mismatch,
    errors.Fenced,
)
# The world is away, and comes back: tried again for ever, and no sign that the child is broken.
PATIENT: tuple[type[ShrivenError], ...] = (errors.BrokerUnavailable,)
ENTRY = (sys.executable, "-m", "infra.cli")
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ChildSpec:
    """What to run.

    Args:
        name: of the process in tables and of its log file.
        arguments: of the command line (`run book`).
        may_finish: whether exit code 0 is an end rather than a death.
    """

    name: str
    arguments: tuple[str, ...]
    may_finish: bool = False


class ChildState(enum.Enum):
    RUNNING = "running"
    WAITING = "waiting to start again"
    FINISHED = "finished"
    STOPPED = "stopped"


@dataclass
class Child:
    """A child and what happened to it."""

    spec: ChildSpec
    log: Path
    process: subprocess.Popen[bytes]
    state: ChildState = ChildState.RUNNING
    restarts: int = 0
    deaths: deque[tuple[int, bool]] = field(default_factory=deque)  # of the last minute: when, and was it its own
    start_again_ns: int = 0

    @property
    def pid(self) -> int:
        return self.process.pid


class Supervisor:
    """Runs children of one session. Not thread-safe: one thread starts, steps and stops."""

    def __init__(self, logs: Path, clock: Clock = SYSTEM_CLOCK, entry: Sequence[str] = ENTRY) -> None:
        self.children: dict[str, Child] = {}
        self._held: set[str] = set()
        self._logs = logs
        self._clock = clock
        self._entry = tuple(entry)

    def start(self, spec: ChildSpec) -> Child:
        """Start a child; its output goes to `<logs>/<name>.log`."""
        assert spec.name not in self.children, spec.name
        log = self._logs / f"{spec.name}.log"
        child = Child(spec, log, self._spawn(spec, log))
        self.children[spec.name] = child
        return child

    def step(self) -> list[str]:
        """Notice the dead and start again those that are due. Returns what happened, in words.

        Raises:
            ShrivenError: of the class that the child ended with, when it will not heal; with its last lines.
        """
        happened = []
        for child in self.children.values():
            if child.state is ChildState.RUNNING and child.process.poll() is not None:
                happened.append(self._ended(child))
            due = self._clock.monotonic_ns() >= child.start_again_ns and child.spec.name not in self._held
            if child.state is ChildState.WAITING and due:
                child.process = self._spawn(child.spec, child.log)
                child.state = ChildState.RUNNING
        return happened

    def stop(self, names: Sequence[str] | None = None, grace_s: float = GRACE_S) -> None:
        """Ask them to end, wait, then make them. Returns when all have ended; safe to call again."""
        chosen = [child for name, child in self.children.items() if names is None or name in names]
        for child in chosen:
            if child.state is ChildState.RUNNING and child.process.poll() is None:
                child.process.terminate()
        deadline_ns = self._clock.monotonic_ns() + int(grace_s * 1e9)
        for child in chosen:
            while child.process.poll() is None and self._clock.monotonic_ns() < deadline_ns:
                self._clock.sleep(POLL_S)
            if child.process.poll() is None:
                child.process.kill()
                child.process.wait()
            if child.state is not ChildState.FINISHED:
                child.state = ChildState.STOPPED

    def hold(self, name: str) -> None:
        """Do not start it again before `release`: somebody else does its work."""
        self._held.add(name)

    def release(self, name: str) -> None:
        self._held.discard(name)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one child (faults, tests)."""
        self.children[name].process.send_signal(number)

    def _spawn(self, spec: ChildSpec, log: Path) -> subprocess.Popen[bytes]:
        try:
            with open(log, "ab") as output:
                return subprocess.Popen(
                    [*self._entry, *spec.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            raise ResourceExhausted(
                f"{spec.name} cannot be started ({error.strerror}): the machine is out of memory, processes or disk. "
                "Free some and run this again."
            ) from error

    def _ended(self, child: Child) -> str:
        code = child.process.returncode
        name = child.spec.name
        if code == 0 and child.spec.may_finish:
            child.state = ChildState.FINISHED
            return f"{name} finished"
        kind = error_class(code)
        if kind in HOPELESS:
            child.state = ChildState.STOPPED
            raise kind(f"{name} ended with {describe_end(code)}; starting it again would not help.{_last_words(child)}")
        now_ns = self._clock.monotonic_ns()
        child.deaths.append((now_ns, kind not in PATIENT))
        while child.deaths[0][0] < now_ns - 60_000_000_000:
            child.deaths.popleft()
        deaths, own = len(child.deaths), sum(is_own for _, is_own in child.deaths)
        if own > RESTARTS_PER_MINUTE_MAX:
            child.state = ChildState.STOPPED
            raise kind(f"{name} died {own} times within a minute, last with {describe_end(code)}.{_last_words(child)}")
        wait_s = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** (deaths - 1))
        child.start_again_ns = now_ns + int(wait_s * 1e9)
        child.state = ChildState.WAITING
        child.restarts += 1
        return f"{name} ended with {describe_end(code)}; starting it again in {wait_s:g} s"


def error_class(code: int) -> type[ShrivenError]:
    """The error class with that exit code; ShrivenError for any other."""
    return next((kind for kind in ShrivenError.__subclasses__() if kind.exit_code == code), ShrivenError)


def describe_end(code: int) -> str:
    """An exit status in words: `signal SIGKILL`, `exit code 2 (ConfigInvalid)`."""
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    kind = error_class(code)
    return f"exit code {code}" + (f" ({kind.__name__})" if kind is not ShrivenError else "")


def last_lines(path: Path, count: int = LAST_LINES) -> list[str]:
    """The end of a log file."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - LAST_BYTES))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def _last_words(child: Child) -> str:
    lines = last_lines(child.log)
    if not lines:
        return f" It wrote nothing to {child.log}."
    return f" Its last lines, from {child.log}:\n" + "\n".join(f"    {line}" for line in lines)


def end_with_parent(parent_pid: int, clock: Clock = SYSTEM_CLOCK) -> None:
    """Called by a child as it starts: end this process when the parent is gone.

    On Linux the kernel does it, also when this process hangs. It watches the thread that started us,
    which is why a supervisor belongs to one thread that lives as long as its children.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != parent_pid:  # it ended before the call
            os._exit(1)
        return
    _watch(lambda: os.getppid() == parent_pid, clock)


def _watch(alive: Callable[[], bool], clock: Clock) -> None:
    def watch() -> None:
        while alive():
            clock.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()
