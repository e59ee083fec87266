"""The README's commands, taken from its text and run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from infra import map
from infra.cli import exit_codes
from processors import risk_limits
from schemas.errors import VenueRejected
from streams import metrics
from tests.recordings import ROOT, recording

README = (ROOT / "README.md").read_text()
UP_SECONDS_MAX = 180.0
STOP_SECONDS_MAX = 60.0

LEAVE = "leave it running"  # a comment: what follows in the block is run beside it

# Not run here, each for a reason that holds on a machine without the world, or would never end.
LEFT_OUT = {
    "./shriven test": "it is what runs this",
    "./shriven bench": "needs the peers and minutes; tests/bench has its own tests",
    "./shriven up --live": "needs the venue",
}


def blocks() -> Iterator[list[str]]:
    """The console blocks: one command a line, its comment cut off, but for the one that says to leave it running."""
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        assert all(line.startswith("$ ") for line in block.splitlines()), (
            f"a console block holds commands only: {block!r}"
        )
        yield [line[2:] for line in block.splitlines()]


def command(line: str) -> str:
    return re.split(r"\s#\s", line)[0].strip()


def commands() -> Iterator[str]:
    for block in blocks():
        yield from (command(line) for line in block)


def test_two_commands_come_first() -> None:
    assert list(commands())[:2] == ["./shriven up", "./shriven test"]
    assert "./shriven test" in (ROOT / ".ci/run").read_text()


def test_what_is_left_out_is_in_the_readme() -> None:
    assert [prefix for prefix in LEFT_OUT if not any(line.startswith(prefix) for line in commands())] == []


@pytest.mark.broker
@pytest.mark.recording
@pytest.mark.timeout(1200)
def test_commands_run_in_the_order_of_the_text(tmp_path: Path) -> None:
    """One after the other, with data of their own: each sees what those before it left."""
    play = recording("spot_ethusdt_20240808.gz")
    environment = {
        **os.environ, "SHRIVEN_DATA": str(tmp_path / "data"), "SHRIVEN_BROKER_PORT": "21900", "SHRIVEN_KAFKA": "",
        "SHRIVEN_SESSION": "",
    }  # fmt: skip
    left_running = {command(line) for block in blocks() for line in block if LEAVE in line}
    for number, block in enumerate(blocks()):
        with ExitStack() as running:
            for line in block:
                if command(line).startswith(tuple(LEFT_OUT)) or (command(line) in left_running and LEAVE not in line):
                    continue  # once is enough
                words = shlex.split(command(line).replace("binance_usdm=RECORDING.gz", f"binance_spot={play}"))
                if words[1] != "up" or "--until-end" in words:
                    run(words, environment)
                elif LEAVE in line:
                    running.enter_context(up(words, environment, tmp_path / f"up-{number}.txt", "first fill after"))
                else:
                    with up(words, environment, tmp_path / f"up-{number}.txt", "first book after"):
                        pass


def run(words: list[str], environment: dict[str, str]) -> None:
    """A command that ends. On a machine that stalls, a market may be too old to trade on: asked again."""
    for _ in range(3):
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode != VenueRejected.exit_code or "STALE" not in done.stderr:
            break
    assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"


@contextmanager
def up(words: list[str], environment: dict[str, str], log: Path, marker: str) -> Iterator[None]:
    """`up` in the background, from the moment it says `marker` until a Ctrl-C; what it prints goes to a file."""
    with log.open("w") as out:
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + UP_SECONDS_MAX
        while marker not in log.read_text():
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, f"no {marker!r}: {log.read_text()[-4000:]}"
            time.sleep(0.1)
        yield
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(STOP_SECONDS_MAX) == 0, log.read_text()[-4000:]
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGINT)
            process.wait(STOP_SECONDS_MAX)


def section(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README, re.DOTALL)
    assert found is not None, f"README.md has no section <!-- {name} -->"
    return found.group(1).strip()


def test_map_in_the_readme_is_the_one_that_is_printed() -> None:
    assert section("map") == map.markdown().strip()


def test_reasons_in_the_readme_are_those_of_the_enum() -> None:
    assert section("reasons") == risk_limits.reasons_as_markdown()


def test_exit_codes_in_the_readme_are_those_of_the_code() -> None:
    assert section("exit codes") == exit_codes.markdown().strip()


def test_metrics_in_the_readme_of_infra_are_those_of_the_table() -> None:
    assert metrics.markdown().strip() in (ROOT / "infra/README.md").read_text()
