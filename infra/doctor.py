"""What a machine needs, checked one by one; each finding with a way out.

Three levels: *well*, *note* (works, but know it), *ill* (something will not work). Only *ill* makes the
command fail.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from infra.broker.checks import listener_of
from infra.broker.embedded import Broker
from infra.broker.java import find_java
from infra.config import Config, writable_directory
from infra.kafka.admin import KafkaAddress, answers, broker_version
from infra.kafka.topics import plan
from infra.place import broker_settings
from schemas.errors import ShrivenError
from streams.clock import SYSTEM_CLOCK, Clock

Level = Literal["well", "note", "ill"]
MEMORY_BYTES_MIN = 2 << 30  # broker 0.5 GB, seven processes of about 0.2 GB
DISK_BYTES_MIN = 4 << 30  # preallocated segments of log and broker, and an hour of market data
CLOCK_STEP_NS_MAX = 1_000_000
LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
STA_UNSYNC = 0x40  # adjtimex(2)


@dataclass(frozen=True)
class Finding:
    """One line of the report; `way_out` is empty when all is well."""

    check: str
    level: Level
    what: str
    way_out: str = ""


Check = Callable[[Config], Iterator[Finding]]


def examine(config: Config) -> Iterator[Finding]:
    """Every check in turn; a check that itself fails is a finding."""
    for name, check in CHECKS.items():
        try:
            yield from check(config)
        except (ShrivenError, OSError) as error:
            yield Finding(name, "ill", str(error), "see the sentence")


def _python(_: Config) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        yield Finding("python", "well", version)
    else:
        yield Finding("python", "ill", f"Python {version}", "use 3.11, 3.12 or 3.13; ./shriven finds one on PATH")


def _cpu(_: Config) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2:
        yield Finding("cpu", "note", f"{cores} core", "it works, slowly: broker and pipelines share the core")
    else:
        yield Finding("cpu", "well", f"{cores} cores")
    flags = _cpu_flags()
    if flags and "sse4_2" not in flags:
        yield Finding("cpu", "note", "no SSE 4.2", "CRC-32C is computed in software: the local log is slower")


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return set()
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return set(found.group(1).split()) if found else set()


def _clock(_: Config, clock: Clock = SYSTEM_CLOCK) -> Iterator[Finding]:
    step_ns = _smallest_step_ns(clock)
    level: Level = "well" if step_ns <= CLOCK_STEP_NS_MAX else "note"
    way_out = "" if level == "well" else "receive times are coarse: latencies below it cannot be seen"
    yield Finding("clock", level, f"monotonic steps of {step_ns:,} ns", way_out)
    synchronised = _synchronised()
    if synchronised is False:
        yield Finding(
            "clock", "note", "the wall clock is not synchronised",
            "run chrony or systemd-timesyncd: signed orders are refused when the clock is a second ahead",
        )  # fmt: skip


def _smallest_step_ns(clock: Clock) -> int:
    steps = []
    for _ in range(50):
        before = clock.monotonic_ns()
        while (after := clock.monotonic_ns()) == before:
            pass
        steps.append(after - before)
    return min(steps)


def _synchronised() -> bool | None:
    """What the kernel says of its clock; None where it cannot be asked."""
    timex = (ctypes.c_long * 64)()
    try:
        if ctypes.CDLL(None).adjtimex(timex) < 0:
            return None
    except (OSError, AttributeError):
        return None
    return not timex[5] & STA_UNSYNC  # modes(+padding), offset, freq, maxerror, esterror, status


def _memory(_: Config) -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    what = f"{memory.available / 2**30:.1f} of {memory.total / 2**30:.1f} GiB available"
    if memory.available < MEMORY_BYTES_MIN:
        yield Finding("memory", "ill", what, "close something, or use --broker none, which needs half a GiB less")
    else:
        yield Finding("memory", "well", what)


def _disk(config: Config) -> Iterator[Finding]:
    for name, path in (("SHRIVEN_DATA", config.data), ("SHRIVEN_CACHE", config.cache)):
        writable_directory(path, name)
        free = shutil.disk_usage(path).free
        what = f"{path}: {free / 2**30:.1f} GiB free"
        if free < DISK_BYTES_MIN:
            yield Finding("disk", "ill", what, f"free some space, or point {name} at a larger disk")
        else:
            yield Finding("disk", "well", what)


def _ports(config: Config) -> Iterator[Finding]:
    if config.kafka:
        return
    settings = broker_settings(config)
    running = Broker(settings).status().answers
    for port in (settings.port, settings.port + settings.nodes):
        taken = _listens(port)
        if taken and not running:
            yield Finding(
                "ports", "ill", f"{port} is taken by {listener_of(port)}",
                "end that program; if it is a Kafka of yours, set SHRIVEN_KAFKA to it",
            )  # fmt: skip
        else:
            yield Finding("ports", "well", f"{port} {'is our broker’s' if taken else 'is free'}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _locks(config: Config) -> Iterator[Finding]:
    """A session that says it runs, and does not: its process died hard; the next start takes it over."""
    from infra.sessions.store import running_pid, sessions

    running = [(one.name, pid) for one in sessions(config) if (pid := running_pid(one)) is not None]
    for name, pid in running:
        yield Finding("locks", "well", f"session {name} is running as process {pid}")
    if not running:
        yield Finding("locks", "well", "no session is running")


def _java(config: Config) -> Iterator[Finding]:
    if config.kafka:
        return
    java = find_java()
    yield Finding("java", "well", f"Java {java.version} ({java.path})")


def _jars(config: Config) -> Iterator[Finding]:
    if config.kafka:
        return
    broken = Broker(broker_settings(config)).verify()
    if broken:
        yield Finding(
            "broker jars", "note", f"{len(broken)} to fetch", "the first `shriven up` or `broker start` fetches them"
        )
    else:
        yield Finding("broker jars", "well", "all there, and their SHA-256 sums are right")


def _broker(config: Config) -> Iterator[Finding]:
    if config.kafka:
        address = KafkaAddress(config.kafka)
        if not answers(address):
            yield Finding(
                "broker", "ill", f"nobody answers at {config.kafka} (SHRIVEN_KAFKA)",
                "start it, correct the variable, or unset it to use the embedded one",
            )  # fmt: skip
            return
    else:
        status = Broker(broker_settings(config)).status()
        if not status.answers:
            yield Finding("broker", "well", "the embedded one is not running; `up` starts it")
            return
        address = KafkaAddress(status.bootstrap)
    yield Finding("broker", "well", f"Kafka {broker_version(address)} at {address.bootstrap}")
    yield from _topics(address)


def _topics(address: KafkaAddress) -> Iterator[Finding]:
    changes = plan(address.bootstrap)
    drift = [change for change in changes if change.action == "drift"]
    for change in drift:
        yield Finding("topics", "ill", f"{change.topic}: {change.detail}", "see the finding")
    missing = sum(change.action in ("create", "configure") for change in changes)
    if missing:
        yield Finding(
            "topics", "note", f"{missing} to create or configure", "`shriven topics apply --execute`; `up` does it"
        )
    elif not drift:
        yield Finding("topics", "well", "as the table says")


def _versions(_: Config) -> Iterator[Finding]:
    if not LOCK.exists():
        yield Finding(
            "versions", "note", "no requirements.lock beside the code", "an image pins its own: nothing to do"
        )
        return
    pinned: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9._-]+)==(\S+)", LOCK.read_text(), re.MULTILINE):
        pinned.setdefault(name, set()).add(version)
    installed = {
        re.sub(r"[-_.]+", "-", name).lower(): one.version
        for one in importlib.metadata.distributions()
        if (name := one.metadata["Name"])
    }
    other = [
        f"{name} {installed[name]} instead of {' or '.join(sorted(versions))}"
        for name, versions in pinned.items()
        if name in installed and installed[name] not in versions
    ]
    if other:
        yield Finding("versions", "ill", "; ".join(other), "remove .venv and run ./shriven again")
    else:
        yield Finding("versions", "well", f"{len(pinned)} packages as locked")


CHECKS: dict[str, Check] = {
    "python": _python,
    "versions": _versions,
    "cpu": _cpu,
    "clock": _clock,
    "memory": _memory,
    "disk": _disk,
    "ports": _ports,
    "locks": _locks,
    "java": _java,
    "broker jars": _jars,
    "broker": _broker,
}
