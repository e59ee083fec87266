"""The README's commands, taken from its text and run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import map
from infra.cli import exit_codes
from streams import metrics
from tests.recordings import ROOT, recording

README = (ROOT / "README.md").read_text()
UP_SECONDS_MAX = 90.0
STOP_SECONDS_MAX = 20.0

# Not run here, each for a reason that holds on a machine without the world, or would never end.
LEFT_OUT = {
    "./shriven test": "it is what runs this",
    "./shriven bench": "needs the peers and minutes; tests/bench has its own tests",
    "./shriven up --live": "needs the venue",
}


def commands() -> Iterator[str]:
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL):
        for line in block.splitlines():
            assert line.startswith("$ "), f"a console block holds commands only: {line!r}"
            yield line[2:].split("  #")[0].strip()


def runnable() -> list[str]:
    return [line for line in commands() if not line.startswith(tuple(LEFT_OUT))]


def test_two_commands_come_first() -> None:
    assert list(commands())[:2] == ["./shriven up", "./shriven test"]
    assert "./shriven test" in (ROOT / ".ci/run").read_text()


def test_what_is_left_out_is_in_the_readme() -> None:
    assert [prefix for prefix in LEFT_OUT if not any(line.startswith(prefix) for line in commands())] == []


@pytest.mark.broker
@pytest.mark.recording
@pytest.mark.timeout(1200)
def test_commands_run_in_the_order_of_the_text(tmp_path: Path) -> None:
    """One after the other, with data of their own: `sessions` and `replay` see what `up` left."""
    play = recording("spot_ethusdt_20240808.gz")
    environment = {
        **os.environ, "SHRIVEN_DATA": str(tmp_path / "data"), "SHRIVEN_BROKER_PORT": "21900", "SHRIVEN_KAFKA": "",
        "SHRIVEN_SESSION": "",
    }  # fmt: skip
    for line in runnable():
        words = shlex.split(line.replace("binance_usdm=RECORDING.gz", f"binance_spot={play}"))
        if words[1] == "up" and "--until-end" not in words:
            code, text = until_first_book(words, environment)
        else:
            text = line.replace("binance_usdm:BTCUSDT", "binance_spot:ETHUSDT")
            done = subprocess.run(
                shlex.split(text) if words[1] == "topics" else words,
                cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            code, text = done.returncode, done.stdout + done.stderr
        assert code == 0, f"{line}\n{text[-4000:]}"


def until_first_book(words: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Run `up` until it says that the first book stands, then Ctrl-C; its code and what it printed."""
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    text, deadline = "", time.monotonic() + UP_SECONDS_MAX
    for line in process.stdout:
        text += line
        if "first book" in line or time.monotonic() > deadline:
            break
    started = "first book" in text
    os.kill(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=STOP_SECONDS_MAX)
    return (process.returncode if started else 1), text + rest


def section(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", README, re.DOTALL)
    assert found is not None, f"README.md has no section <!-- {name} -->"
    return found.group(1).strip()


def test_map_in_the_readme_is_the_one_that_is_printed() -> None:
    assert section("map") == map.markdown().strip()


def test_exit_codes_in_the_readme_are_those_of_the_code() -> None:
    assert section("exit codes") == exit_codes.markdown().strip()


def test_metrics_in_the_readme_of_infra_are_those_of_the_table() -> None:
    assert metrics.markdown().strip() in (ROOT / "infra/README.md").read_text()
