"""What can be found wrong before Java starts, each said in a sentence: ports, memory, disk, paths."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from pathlib import Path

import psutil

from schemas.errors import ConfigInvalid, ResourceExhausted

_FORBIDDEN_IN_PATHS = ",:;$%\\\n"  # each means something to Kafka, Java or log4j


def check_path(path: Path, what: str) -> None:
    """Raises ConfigInvalid for a path that Kafka or Java would misread."""
    found = sorted(set(str(path)) & set(_FORBIDDEN_IN_PATHS))
    if found:
        raise ConfigInvalid(
            f"The {what} {str(path)!r} holds {' '.join(map(repr, found))}, which Kafka or Java would misread: choose "
            "another directory."
        )


def check_writable(directory: Path) -> None:
    """Makes the directory. Raises ResourceExhausted when that, or writing in it, is not allowed."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise ResourceExhausted(
            f"{directory} cannot be written ({error.strerror}). It usually belongs to another user or is mounted "
            "read-only: change its owner, or choose another directory."
        ) from error


def check_memory(wanted_bytes: int, what: str) -> None:
    """Raises ResourceExhausted when less memory is available than `what` may need."""
    available_bytes = psutil.virtual_memory().available
    if available_bytes < wanted_bytes:
        raise ResourceExhausted(
            f"{available_bytes >> 20} MiB of memory are free and {what} may need {wanted_bytes >> 20}. End a program "
            "that needs much, ask for a smaller heap, or use --broker none."
        )


def check_disk(directory: Path, wanted_bytes: int, what: str) -> None:
    """Raises ResourceExhausted when less space is free where `directory` is or would be made."""
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < wanted_bytes:
        raise ResourceExhausted(
            f"{free_bytes >> 20} MiB are free where {what} would lie ({directory}), and {wanted_bytes >> 20} are the "
            "least. Free some space, or choose another directory."
        )


def check_port_free(host: str, port: int) -> None:
    """Raises ResourceExhausted, naming the program where the system tells, when something listens on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: closed connections do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            raise ResourceExhausted(
                f"Port {port} is taken by {listener_of(port)}. The broker needs it: end that program, or choose "
                "another port; if it is a Kafka, SHRIVEN_KAFKA lets you use it as it is."
            ) from error


def listener_of(port: int) -> str:
    """Who listens on a local port, in words."""
    try:
        for connection in psutil.net_connections(kind="tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                process = psutil.Process(connection.pid)
                return f"{process.name()} (process {connection.pid}: {' '.join(process.cmdline())[:120]})"
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return "another program (the system does not say which: it belongs to another user)"
