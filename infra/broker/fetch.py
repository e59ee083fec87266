"""The broker's jars: a pinned list, fetched once into the user's cache, each byte checked.

    jars.lock ── cached? ── local Maven repository? ── download ── SHA-256 ── rename into place

A start checks sizes only; bytes are hashed when a jar arrives and by `verify`. With everything in the cache no
network is touched. Python alone is needed, no Maven.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from threading import Event, Lock
from urllib.parse import urlsplit

import certifi
import httpx
from jgo.constants import MAVEN_CENTRAL_URL

from infra.file_lock import exclusive
from schemas.errors import BrokerUnavailable, ConfigInvalid, IntegrityError, ResourceExhausted
from streams.clock import SYSTEM_CLOCK, Clock, entropy

DOWNLOADS_MAX = 6  # at once: more did not help, and public mirrors dislike it
ATTEMPTS_MAX = 5
BACKOFF_S = 0.25  # doubles with each attempt, times a jitter of 0.5 to 1.5
FETCH_WAIT_S = 900.0  # how long another process's fetch is waited for

Report = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock file."""

    group: str
    artifact: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def coordinates(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Where a Maven repository keeps it, from its root."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"


def parse_lock(text: str) -> tuple[Jar, ...]:
    """Reads `group:artifact:version sha256 size_bytes` lines; `#` begins a comment.

    Raises:
        IntegrityError: a line is not one.
    """
    jars = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            jars.append(_parse_line(number, line))
    return tuple(jars)


def _parse_line(number: int, line: str) -> Jar:
    try:
        coordinates, sha256, size = line.split()
        group, artifact, version = coordinates.split(":")
        jar = Jar(group, artifact, version, sha256, int(size))
        if len(bytes.fromhex(sha256)) != 32 or jar.size_bytes <= 0:
            raise ValueError("not a SHA-256 sum and a size")
    except ValueError as error:
        raise IntegrityError(
            f"Line {number} of the broker's jar list cannot be read ({error}). The file was changed by hand or by a "
            "merge: take it from the repository again."
        ) from error
    return jar


def pinned_jars() -> tuple[Jar, ...]:
    """The jars that this version of the project runs."""
    return parse_lock(resources.files("infra.broker").joinpath("jars.lock").read_text("utf-8"))


def kafka_version(jars: tuple[Jar, ...]) -> str:
    """Version of the broker in the list, "4.3.0"."""
    return next(jar.version for jar in jars if jar.artifact.startswith("kafka_2."))


@dataclass(frozen=True)
class JarCache:
    """The jars on this machine.

    Args:
        root: the cache of this broker version; jars lie in `root/jars`.
        jars: what must be there.
        maven_url: a Maven repository's base address; "" takes the mirror from Maven's settings, else Maven Central.
        maven_home: the user's `~/.m2`: its `repository` saves a download, its `settings.xml` may name a mirror.
    """

    root: Path
    jars: tuple[Jar, ...]
    maven_url: str = ""
    maven_home: Path | None = None
    clock: Clock = field(default=SYSTEM_CLOCK)

    def path(self, jar: Jar) -> Path:
        return self.root / "jars" / jar.file_name

    def class_path(self) -> str:
        """Every jar in the order of the list: Java's class archive wants the same string each time."""
        return ":".join(str(self.path(jar)) for jar in self.jars)

    def missing(self) -> tuple[Jar, ...]:
        """Jars that are absent or of another size: what a start checks, without reading a byte."""
        return tuple(jar for jar in self.jars if _size_bytes(self.path(jar)) != jar.size_bytes)

    def verify(self) -> tuple[Jar, ...]:
        """Hashes every jar: those that are absent or changed (0.1 s for all)."""
        return tuple(jar for jar in self.jars if not _is_good(self.path(jar), jar))

    def ensure(self, report: Report, deep: bool = False) -> bool:
        """Fetches what is missing; with `deep`, also what changed. Several processes may do so at once.

        Returns:
            whether anything was fetched.

        Raises:
            BrokerUnavailable: nothing cached and the repository cannot be reached, or does not have it.
            IntegrityError: the repository gave other bytes than the pinned ones, repeatedly.
            ResourceExhausted: the cache cannot be written.
        """
        find = self.verify if deep else self.missing
        if not find():
            return False
        with exclusive(self.root / ".lock", FETCH_WAIT_S, "fetching the broker's jars", self.clock):
            wanted = find()  # another process may have fetched them meanwhile
            if wanted:
                self._fetch(wanted, report)
        return bool(wanted)

    def base_url(self) -> str:
        """The repository to ask: the setting, else the mirror in Maven's settings, else Maven Central."""
        url = (self.maven_url or mirror_of_central(self.maven_home) or MAVEN_CENTRAL_URL).rstrip("/")
        if urlsplit(url).scheme not in ("http", "https"):
            raise ConfigInvalid(f"{url!r} is no address of a Maven repository: it must begin with http:// or https://.")
        return url

    def _fetch(self, wanted: tuple[Jar, ...], report: Report) -> None:
        (self.root / "jars").mkdir(parents=True, exist_ok=True)
        total_bytes = sum(jar.size_bytes for jar in wanted)
        tally = _Tally(total_bytes, report)
        try:
            remote = [jar for jar in wanted if not self._copy_local(jar, tally)]
            if remote:
                self._download_all(remote, tally)
        except OSError as error:
            raise ResourceExhausted(
                f"The broker's jars ({total_bytes >> 20} MiB) cannot be written to {self.root} ({error.strerror}). "
                "Free some space, or choose another cache directory."
            ) from error

    def _copy_local(self, jar: Jar, tally: _Tally) -> bool:
        """Takes the jar from the user's own Maven repository, when it is there with the pinned bytes."""
        if self.maven_home is None:
            return False
        source = self.maven_home / "repository" / jar.path
        if _size_bytes(source) != jar.size_bytes or not _is_good(source, jar):
            return False
        part = self._part(jar)
        shutil.copyfile(source, part)
        self._put(part, jar)
        tally.set(jar, jar.size_bytes)
        return True

    def _download_all(self, jars: list[Jar], tally: _Tally) -> None:
        base_url = self.base_url()
        timeout = httpx.Timeout(30.0, connect=10.0)
        with (
            httpx.Client(timeout=timeout, follow_redirects=True, verify=trusted()) as client,
            ThreadPoolExecutor(DOWNLOADS_MAX) as pool,
        ):
            try:
                largest_first = sorted(jars, key=lambda jar: -jar.size_bytes)
                for done in [pool.submit(self._download, client, base_url, jar, tally) for jar in largest_first]:
                    done.result()
            finally:
                tally.stop.set()  # on an error, or Ctrl-C: the other downloads end at their next chunk
                pool.shutdown(cancel_futures=True)

    def _download(self, client: httpx.Client, base_url: str, jar: Jar, tally: _Tally) -> None:
        """One jar, with retries; a broken transfer is continued where it broke."""
        part = self._part(jar)
        trouble = ""
        bad_answers = 0
        for attempt in range(ATTEMPTS_MAX):
            if attempt:
                self.clock.sleep(BACKOFF_S * 2 ** (attempt - 1) * entropy().uniform(0.5, 1.5))
            if tally.stop.is_set():
                return
            try:
                _receive(client, f"{base_url}/{jar.path}", part, jar, tally)
            except (httpx.TransportError, _TryAgain) as error:
                trouble = str(error) or type(error).__name__
                continue
            if tally.stop.is_set():
                return
            if _is_good(part, jar):
                self._put(part, jar)
                return
            bad_answers += 1
            part.unlink(missing_ok=True)
        raise _given_up(base_url, jar, trouble, bad_answers)

    def _part(self, jar: Jar) -> Path:
        return self.root / "jars" / f"{jar.file_name}.part"

    def _put(self, part: Path, jar: Jar) -> None:
        """The name appears only with all bytes behind it, also after a power cut."""
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(self.path(jar))


def trusted() -> ssl.SSLContext:
    """The machine's own certificate roots beside the usual ones: companies and test benches have theirs."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


class _TryAgain(Exception):
    """An answer that another attempt may better."""


class _Tally:
    """Bytes so far of every jar; `stop` ends the downloads."""

    def __init__(self, total_bytes: int, report: Report) -> None:
        self._done_bytes: dict[Jar, int] = {}
        self._total_bytes = total_bytes
        self._report = report
        self._lock = Lock()
        self.stop = Event()

    def set(self, jar: Jar, done_bytes: int) -> None:
        with self._lock:
            self._done_bytes[jar] = done_bytes
            self._report(sum(self._done_bytes.values()), self._total_bytes)


def _receive(client: httpx.Client, url: str, part: Path, jar: Jar, tally: _Tally) -> None:
    """Appends to `part` what is missing of the jar."""
    have_bytes = _size_bytes(part) or 0
    if have_bytes >= jar.size_bytes:  # whole, or too long: the hash decides
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have_bytes}-"} if have_bytes else {})
    with client.stream("GET", url, headers=headers) as response:
        _check_status(response, url)
        continued = response.status_code == httpx.codes.PARTIAL_CONTENT
        done_bytes = have_bytes if continued else 0
        with part.open("ab" if continued else "wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
                done_bytes += len(chunk)
                tally.set(jar, done_bytes)
                if tally.stop.is_set() or done_bytes > jar.size_bytes:
                    return
    if done_bytes < jar.size_bytes:
        raise _TryAgain(f"the answer ended after {done_bytes} of {jar.size_bytes} bytes")


def _check_status(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        return
    if status >= 500 or status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.REQUEST_TIMEOUT):
        raise _TryAgain(f"it answered {status}")
    raise BrokerUnavailable(
        f"The Maven repository answered {status} for {url}. A mirror that lacks the jar, or wants a password, does so: "
        "set SHRIVEN_MAVEN to another repository's base address, or run `mvn dependency:get` for it once."
    )


def _given_up(base_url: str, jar: Jar, trouble: str, bad_answers: int) -> BrokerUnavailable | IntegrityError:
    if bad_answers:
        return IntegrityError(
            f"{base_url} gave other bytes for {jar.coordinates} than the pinned ones, {bad_answers} times. A proxy "
            "that answers with a page of its own, or a tampered mirror, does so: set SHRIVEN_MAVEN to one you trust."
        )
    return BrokerUnavailable(
        f"{jar.coordinates} is not in the cache and {base_url} could not be reached ({trouble}). Go online once, set "
        "SHRIVEN_MAVEN to a mirror, set SHRIVEN_KAFKA to a broker that runs, or use --broker none."
    )


def mirror_of_central(maven_home: Path | None) -> str:
    """The mirror that Maven's own settings name for Maven Central, "" when there is none."""
    path = maven_home / "settings.xml" if maven_home else None
    if path is None or not path.is_file():
        return ""
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ConfigInvalid(f"{path} is no valid XML ({error}), and Maven would refuse it too: repair it.") from error
    for mirror in root.iter():
        if mirror.tag.rpartition("}")[2] == "mirror":
            texts = {child.tag.rpartition("}")[2]: (child.text or "").strip() for child in mirror}
            if _mirrors_central(texts.get("mirrorOf", "")) and texts.get("blocked") != "true":
                return texts.get("url", "")
    return ""


def _mirrors_central(mirror_of: str) -> bool:
    names = {name.strip() for name in mirror_of.split(",")}
    return "!central" not in names and bool(names & {"central", "*", "external:*"})


def _size_bytes(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _is_good(path: Path, jar: Jar) -> bool:
    if _size_bytes(path) != jar.size_bytes:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == jar.sha256
