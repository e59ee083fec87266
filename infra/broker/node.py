"""One node of the embedded broker: its process, its files, what its log says last."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import orjson
import psutil

from infra.broker.detached import Owned, spawn_detached, spawn_owned
from infra.broker.java import ENVIRONMENT, ClassArchive
from infra.broker.properties import HOST, NodePlan
from schemas.errors import BrokerUnavailable
from streams.clock import SYSTEM_CLOCK, Clock

NodeState = Literal["stopped", "silent", "running"]
"""stopped: no process; silent: a process whose port does not answer (starting, or hung); running: the port answers."""

_POLL_S = 0.05
_LAST_LINES = 8


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What can be said of a node without asking Kafka.

    Args:
        pid: 0 when stopped.
        rss_bytes: resident memory, 0 when stopped.
        disk_bytes: blocks in use under `directory` (index files are sparse: their length says more).
    """

    number: int
    state: NodeState
    pid: int
    port: int
    rss_bytes: int
    disk_bytes: int
    directory: Path
    log_file: Path


@dataclass(frozen=True, slots=True)
class RunFile:
    """What a start leaves for those who come later."""

    pid: int
    port: int


class Node:
    """Starts, finds and ends the process of one node."""

    def __init__(self, plan: NodePlan, clock: Clock = SYSTEM_CLOCK) -> None:
        self.plan = plan
        self._clock = clock

    @property
    def _run_file(self) -> Path:
        return self.plan.directory / "run.json"

    @property
    def _record(self) -> Path:
        return self.plan.directory / "classes.record"

    def run_file(self) -> RunFile | None:
        try:
            said = orjson.loads(self._run_file.read_bytes())
            return RunFile(int(said["pid"]), int(said["port"]))
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return None  # absent, or cut short by a power failure: then nothing of ours runs either

    def process(self) -> psutil.Process | None:
        """The running process, None when there is none.

        A process id alone proves nothing (it may have been given to another program since): the command line must
        name Kafka and this node's own properties file.
        """
        run = self.run_file()
        if run is None:
            return None
        try:
            process = psutil.Process(run.pid)
            ours = [str(self.plan.properties_file), "kafka.Kafka"]
            if process.status() == psutil.STATUS_ZOMBIE or not set(ours) <= set(process.cmdline()):
                return None
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return process

    def is_formatted(self) -> bool:
        return (self.plan.data / "meta.properties").exists()

    def format_command(self, archive: ClassArchive, cluster_id: str) -> list[str]:
        tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(self.plan.properties_file)]
        # a start that was cut off may have left its tool running to the end: that is no error
        return [*self._java(archive, record=None), *tool, "--ignore-formatted"]

    def spawn(self, archive: ClassArchive, owned: bool) -> Owned | None:
        """Starts the process and leaves its run file. Node 1 records classes when there is no archive yet."""
        shutil.rmtree(self.plan.temporary, ignore_errors=True)  # native libraries that a killed Java unpacked there
        self.plan.temporary.mkdir()
        self.plan.console_file.write_bytes(b"")
        record = self._record if self.plan.number == 1 else None
        command = [*self._java(archive, record), "kafka.Kafka", str(self.plan.properties_file)]
        tie = spawn_owned(command, self.plan.console_file, ENVIRONMENT) if owned else None
        pid = tie.pid if tie else spawn_detached(command, self.plan.console_file, ENVIRONMENT)
        write_whole(self._run_file, orjson.dumps({"pid": pid, "port": self.plan.port_first}))
        return tie

    def _java(self, archive: ClassArchive, record: Path | None) -> list[str]:
        return [
            str(archive.java.path),
            *archive.options,
            *archive.start_options(record),
            f"-Djava.io.tmpdir={self.plan.temporary}",
            f"-XX:ErrorFile={self.plan.log_file.parent}/java_crash_%p.log",
            f"-Dlog4j2.configurationFile={self.plan.logging_file.as_uri()}",
            "-cp",
            archive.class_path,
        ]

    def class_record(self) -> Path | None:
        """What a stopped process wrote down about its classes, None when it did not."""
        return self._record if self._record.exists() else None

    def console(self) -> str:
        return _read(self.plan.console_file)

    def last_words(self) -> str:
        """The last lines of its log and console, without Java's stack frames, for an error message."""
        lines = tail(self.plan.log_file, 20 * _LAST_LINES) + tail(self.plan.console_file, 20 * _LAST_LINES)
        told = [line for line in lines if not line.startswith("\tat ")]
        return "\n".join("    " + line for line in told[-_LAST_LINES:])

    def status(self) -> NodeStatus:
        process = self.process()
        run = self.run_file()
        port = (run.port if process and run else self.plan.port_first) + self.plan.number - 1
        state: NodeState = "stopped" if process is None else "running" if port_answers(port) else "silent"
        pid, rss_bytes = (0, 0) if process is None else (process.pid, _rss_bytes(process))
        disk_bytes = disk_used_bytes(self.plan.directory)
        return NodeStatus(
            self.plan.number, state, pid, port, rss_bytes, disk_bytes, self.plan.directory, self.plan.log_file
        )

    def log_lines(self, lines: int, follow: bool) -> Iterator[str]:
        """The last `lines` lines of the log, oldest first; with `follow`, then each new one, for ever."""
        path = self.plan.log_file
        end = path.stat().st_size if path.exists() else 0
        yield from tail(path, lines, end)
        if follow:
            yield from _follow(path, end, self._clock)


def wait_gone(processes: list[psutil.Process], timeout_s: float, clock: Clock) -> list[psutil.Process]:
    """Waits for processes to end. Returns those that did not."""
    deadline_ns = clock.monotonic_ns() + int(timeout_s * 1e9)
    left = [process for process in processes if not _gone(process)]
    while left and clock.monotonic_ns() < deadline_ns:
        clock.sleep(_POLL_S)
        left = [process for process in left if not _gone(process)]
    return left


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def format_all(commands: list[list[str]]) -> None:
    """Runs the formatting of several nodes beside each other. Raises BrokerUnavailable when one fails."""
    runs = [
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENVIRONMENT
        )
        for command in commands
    ]
    try:
        said = [run.communicate()[0].decode(errors="replace") for run in runs]
    finally:
        for run in runs:  # still running only when we are interrupted
            run.kill()
            run.wait()
    for run, text in zip(runs, said, strict=True):
        if run.returncode:
            lines = "\n".join("    " + line for line in text.splitlines()[-_LAST_LINES:])
            raise BrokerUnavailable(f"The broker's data directory could not be formatted. Kafka's tool said:\n{lines}")


def port_answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=0.5):
            return True
    except OSError:
        return False


def disk_used_bytes(directory: Path) -> int:
    """Blocks in use under a directory; files that vanish meanwhile count nothing."""
    total_bytes = 0
    for parent, _, names in os.walk(directory):
        for name in names:
            try:
                total_bytes += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total_bytes


def tail(path: Path, lines: int, end: int | None = None) -> list[str]:
    """The last `lines` lines of a text file (of its first `end` bytes), [] when it is absent."""
    if lines <= 0:
        return []
    try:
        with path.open("rb") as file:
            position = file.seek(0, os.SEEK_END) if end is None else end
            data = b""
            while position > 0 and data.count(b"\n") <= lines:
                step = min(position, 1 << 16)
                position = file.seek(position - step)
                data = file.read(step) + data
    except FileNotFoundError:
        return []
    return data.decode(errors="replace").splitlines()[-lines:]


def _follow(path: Path, start: int, clock: Clock) -> Iterator[str]:
    """Whole lines after byte `start` as they come, across rotation."""
    while not path.exists():
        clock.sleep(_POLL_S)
    file = path.open("rb")
    try:
        file.seek(start)
        rest = b""
        while True:
            data = file.read()
            *whole, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
            if not data:
                clock.sleep(_POLL_S)
                if path.exists() and path.stat().st_ino != os.fstat(file.fileno()).st_ino:
                    file.close()
                    file = path.open("rb")
    finally:
        file.close()


def write_whole(path: Path, data: bytes) -> None:
    """Readers see the old content or all of the new one."""
    half = path.with_suffix(".half")
    half.write_bytes(data)
    half.replace(path)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _rss_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
