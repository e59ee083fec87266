"""Sessions: runs of the platform from a clean state, each in a folder of its own.

    $SHRIVEN_DATA/incarnation                 the last number that was given out
    $SHRIVEN_DATA/sessions/<name>/
        session.json   name, incarnation, when, what it ran (its plan)
        report.json    the final report, once there is one
        lock           held by the process that runs the session; its pid
        log/ snapshots/ sealed/ status/ logs/

The incarnation is part of every row's address, so it is never used twice: neither in a data root nor,
where sessions share a broker, on that broker (`Directory`).
"""

from __future__ import annotations

import datetime
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from infra.config import Config, writable_directory
from infra.file_lock import exclusive
from schemas.errors import ConfigInvalid, IntegrityError, ResourceExhausted
from streams.clock import Clock

INCARNATION_MAX = 0xFFFF  # a u16 in every row address
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
LATEST = "latest"
LOCK_TIMEOUT_S = 60.0  # a broker is asked under the lock; longer than its own time-outs


@dataclass(frozen=True)
class Session:
    """A session and where its things are."""

    root: Path
    name: str
    incarnation: int
    created_ns: int
    plan: Mapping[str, Any]

    @property
    def log(self) -> Path:
        """Root of the local log."""
        return self.root / "log"

    @property
    def sealed(self) -> Path:
        """Root of the copy of its Kafka topics, in the local log's format."""
        return self.root / "sealed"

    @property
    def pulled(self) -> Path:
        """What Kafka held of a session that still runs, when somebody asked; gone once it is sealed."""
        return self.root / "pulled"

    @property
    def broker(self) -> str:
        """Address of the broker that it runs on, or ran on; "" without one."""
        planned = str(self.plan.get("broker", "none"))
        return "" if planned == "none" else planned

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def status(self) -> Path:
        return self.root / "status"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def report(self) -> dict[str, Any] | None:
        """The final report, None while there is none."""
        path = self.root / "report.json"
        return _read_json(path) if path.exists() else None

    def save_report(self, report: Mapping[str, Any]) -> None:
        write_atomic(self.root / "report.json", orjson.dumps(report, option=orjson.OPT_INDENT_2))


class Directory(Protocol):
    """Sessions known elsewhere (a broker's sys.session.v1): names to incarnations, and a way to claim one."""

    def incarnations(self) -> Mapping[str, int]: ...

    def claim(self, session: Session) -> bool:
        """Write the session down; False when another one took its name or its incarnation first."""
        ...


def write_atomic(path: Path, content: bytes) -> None:
    """Readers see the old content or the new, never a part."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)


def create(
    config: Config, plan: Mapping[str, Any], clock: Clock, name: str = "", directory: Directory | None = None
) -> Session:
    """A new session with an incarnation nobody had.

    Args:
        name: "" for one made of date, time and incarnation.

    Raises:
        ConfigInvalid: the name cannot be, or is taken.
        ResourceExhausted: another process runs a session of that name (named); the data root cannot be written; or
            all 65,535 incarnations are used.
    """
    if name:
        _check_name(name)
    with _numbers(config.data) as numbers:
        elsewhere = directory.incarnations() if directory else {}
        if name and (config.sessions / name / "session.json").exists():
            _refuse_if_run(load(config.sessions / name))
        if name and (name in elsewhere or (config.sessions / name).exists()):
            raise ConfigInvalid(f"A session {name!r} exists already. Choose another name, or join it with --session.")
        return _new(config, numbers, plan, clock, name, directory)


def join(config: Config, name: str, clock: Clock, directory: Directory | None = None) -> Session:
    """The session of that name, made here when this machine does not know it yet.

    With a broker, a session that another machine began is joined under the same incarnation.
    """
    _check_name(name)
    with _numbers(config.data) as numbers:
        path = config.sessions / name
        if (path / "session.json").exists():
            return load(path)
        known = directory.incarnations().get(name) if directory else None
        if known is None:
            return _new(config, numbers, {}, clock, name, directory)
        numbers.last = max(numbers.last, known)
        return store(_make(config, name, known, {}, clock.now_ns()))


def adopt(config: Config, name: str, incarnation: int, plan: Mapping[str, Any], created_ns: int) -> Session:
    """A session that ran elsewhere gets a folder here, under its own incarnation; it is there to be read.

    Raises:
        ConfigInvalid: the name is taken, or cannot be.
    """
    _check_name(name)
    with _numbers(config.data) as numbers:
        if (config.sessions / name).exists():
            raise ConfigInvalid(f"A session {name!r} exists already. Give the other one another name with --name.")
        numbers.last = max(numbers.last, incarnation)
        return store(_make(config, name, incarnation, plan, created_ns))


def store(session: Session) -> Session:
    """Make its folders, and write session.json."""
    for folder in (session.log, session.snapshots, session.status, session.logs):
        folder.mkdir(parents=True, exist_ok=True)
    content = {
        "name": session.name,
        "incarnation": session.incarnation,
        "created_ns": session.created_ns,
        "plan": session.plan,
    }
    write_atomic(session.root / "session.json", orjson.dumps(content, option=orjson.OPT_INDENT_2))
    return session


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise IntegrityError(f"{path} is not JSON ({error}). The file was changed by hand.") from error
    if not isinstance(content, dict):
        raise IntegrityError(f"{path} holds no JSON object. The file was changed by hand.")
    return content


def load(path: Path) -> Session:
    """A session from its folder.

    Raises:
        IntegrityError: session.json is not what this program wrote.
    """
    content = _read_json(path / "session.json")
    try:
        return Session(path, content["name"], content["incarnation"], content["created_ns"], content["plan"])
    except KeyError as error:
        raise IntegrityError(f"{path / 'session.json'} lacks {error}. The file was changed by hand.") from error


def sessions(config: Config) -> list[Session]:
    """All sessions of the data root, oldest first."""
    if not config.sessions.is_dir():
        return []
    found = [load(path.parent) for path in config.sessions.glob("*/session.json")]
    return sorted(found, key=lambda session: (session.created_ns, session.incarnation))


def find(config: Config, text: str) -> Session:
    """A session by name, by a prefix that only one has, or the latest (`latest`).

    Raises:
        ConfigInvalid: none or several match; says which there are.
    """
    known = sessions(config)
    if not known:
        raise ConfigInvalid(f"No session in {config.sessions}. `shriven up` makes one.")
    if text == LATEST:
        return known[-1]
    exact = [session for session in known if session.name == text]
    matching = exact or [session for session in known if session.name.startswith(text)]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(session.name for session in (matching or known)[-10:])
    if matching:
        raise ConfigInvalid(f"{text!r} could be any of these sessions: {names}. Write more of the name.")
    raise ConfigInvalid(f"No session {text!r}. There are (latest last): {names}.")


@contextmanager
def held(session: Session) -> Iterator[None]:
    """Run a session alone.

    Raises:
        ResourceExhausted: another process runs it; names its pid.
    """
    with open(session.root / "lock", "a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _refuse_if_run(session)
            raise
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


def _refuse_if_run(session: Session) -> None:
    pid = running_pid(session)
    if pid is not None:
        raise ResourceExhausted(
            f"Session {session.name} is being run by process {pid}. Stop that one, or begin another session."
        )


def running_pid(session: Session) -> int | None:
    """Who runs the session now, None when nobody does."""
    try:
        with open(session.root / "lock", "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or b"0")
    except FileNotFoundError:
        pass
    return None


@dataclass
class _Numbers:
    last: int


@contextmanager
def _numbers(data: Path) -> Iterator[_Numbers]:
    """The last number given out, under a lock; stored again when the block ends well."""
    path = writable_directory(data, "SHRIVEN_DATA") / "incarnation"
    with exclusive(data / "incarnation.lock", LOCK_TIMEOUT_S, "numbering a session"):
        numbers = _Numbers(int(path.read_bytes()) if path.exists() else 0)
        yield numbers
        write_atomic(path, str(numbers.last).encode())


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise ConfigInvalid(f"{name!r} cannot name a session: use letters, digits, '.', '_' and '-' (63 at most).")


def _new(
    config: Config,
    numbers: _Numbers,
    plan: Mapping[str, Any],
    clock: Clock,
    name: str,
    directory: Directory | None,
) -> Session:
    """Claim the next free number, or adopt the one under which another machine began that name meanwhile."""
    while True:
        elsewhere = directory.incarnations() if directory else {}
        adopted = elsewhere.get(name)
        number = adopted or 1 + max(numbers.last, *elsewhere.values(), *(s.incarnation for s in sessions(config)), 0)
        if number > INCARNATION_MAX:
            raise ResourceExhausted(
                f"All {INCARNATION_MAX} session numbers are used. Start with an empty SHRIVEN_DATA and broker."
            )
        session = _make(config, name, number, plan, clock.now_ns())
        numbers.last = max(numbers.last, number)
        if directory is None or adopted or directory.claim(session):
            return store(session)


def _make(config: Config, name: str, number: int, plan: Mapping[str, Any], created_ns: int) -> Session:
    when = datetime.datetime.fromtimestamp(created_ns / 1e9, datetime.UTC)
    name = name or f"{when:%Y%m%d-%H%M%S}-{number}"
    return Session(config.sessions / name, name, number, created_ns, plan)
