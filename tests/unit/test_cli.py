"""The command line: every command explains itself; what goes wrong is one sentence and its code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
import typer

from infra import map as maps
from infra.cli import __main__ as cli
from infra.cli import exit_codes
from schemas import errors
from schemas.errors import BrokerUnavailable, ConfigInvalid, ShrivenError
from streams.pipelines import PIPELINES
from tests.recordings import ROOT


def commands(app: Any, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command with the groups in front of it."""
    found = []
    for name, command in app.commands.items():
        inner = commands(command, (*before, name)) if hasattr(command, "commands") else []
        found += [(*before, name), *inner]
    return found


ALL = commands(typer.main.get_command(cli.make_app()))


def make_app_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A command line of one command that fails."""
    app = typer.Typer()

    @app.command("fail")
    def fail() -> None:
        raise error

    @app.command("well")
    def well() -> int:
        return 0

    monkeypatch.setattr(cli, "make_app", lambda: app)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"shriven {' '.join(words)}" in shown
    assert len(shown.split("Options")[0].split()) > len(words) + 3, "a sentence on what it does"


def test_the_commands_are_those_that_were_promised() -> None:
    top = {words[0] for words in ALL if len(words) == 1}
    assert top >= {
        "up", "run", "connect", "ship", "venue", "replay", "sessions", "topics", "schema", "log", "broker", "map",
        "record", "doctor", "bench", "test", "orders", "positions", "balances", "limits", "strategies", "order", "kill",
        "resume", "why", "verify", "diff",
    }  # fmt: skip


@pytest.mark.parametrize("kind", [ShrivenError, *ShrivenError.__subclasses__()])
def test_an_error_is_one_sentence_and_its_code(
    kind: type[ShrivenError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app_with(monkeypatch, kind("This happened. Do that."))
    assert cli.run(["fail"]) == kind.exit_code
    assert capsys.readouterr() == ("", "shriven: This happened. Do that.\n")


def test_a_bug_leaves_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app_with(monkeypatch, KeyError("nobody thought of it"))
    assert cli.run(["fail"]) == exit_codes.BUG
    said = capsys.readouterr().err
    path = Path(re.search(r"with (\S+)\.\n", said).group(1))  # type: ignore[union-attr]
    text = path.read_text()
    path.unlink()
    assert said.count("\n") == 1
    assert "shriven fail" in text
    assert "KeyError: 'nobody thought of it'" in text


def test_ctrl_c_is_130_and_silent(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_app_with(monkeypatch, KeyboardInterrupt())
    assert cli.run(["fail"]) == exit_codes.INTERRUPTED
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fail", "--nonsense"], "No such option: --nonsense. `shriven fail --help` says what there is."),
        (["nothing"], "No such command 'nothing'. `shriven --help` says what there is."),
    ],
)
def test_a_wrong_command_line_says_where_help_is(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_app_with(monkeypatch, ConfigInvalid(""))
    assert cli.run(arguments) == ConfigInvalid.exit_code
    assert capsys.readouterr().err == f"shriven: {words}\n"


def test_exit_codes_are_distinct_and_cover_every_error() -> None:
    codes = [code for code, _, _ in exit_codes.exit_codes()]
    assert len(set(codes)) == len(codes)
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ShrivenError)]
    assert {kind.exit_code for kind in kinds} <= set(codes)
    assert {name: code for code, name, _ in exit_codes.exit_codes()}["BrokerUnavailable"] == (
        BrokerUnavailable.exit_code
    )


def test_exit_codes_stand_in_the_readme() -> None:
    assert exit_codes.markdown() in (ROOT / "infra" / "README.md").read_text()


def test_json_and_tables_of_map_agree(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["map", "--json"]) == 0
    tables = orjson.loads(capsys.readouterr().out)
    assert [row["topic"] for row in tables["topics"]] == [str(row[1]) for row in maps.topic_rows()]
    assert [row["pipeline"] for row in tables["pipelines"]] == [str(row[1]) for row in maps.pipeline_rows()]


def test_the_drawing_has_every_pipeline_and_topic_of_the_table() -> None:
    drawn = maps.drawing()
    for row in PIPELINES:
        assert f"│ {row.name} " in drawn
        for name in row.outputs:
            assert f"─▶ {name}" in drawn
    arrows = [line for line in maps.mermaid().splitlines() if "-->" in line]
    wanted: int = sum(len(row.inputs) + len(row.outputs) for row in PIPELINES) + 2
    assert len(arrows) == len(set(arrows)) == wanted, "two venues feed raw.frame"


def test_tables_of_orders_and_reasons_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["map", "--orders"]) == 0
    assert re.search(r"PENDING_CANCEL +.*CANCELLED", capsys.readouterr().out)
    assert cli.run(["map", "--reasons"]) == 0
    assert re.search(r"18 +PRICE_COLLAR .* basis points +every scope", capsys.readouterr().out)


def test_the_map_stands_in_the_readme() -> None:
    assert maps.markdown() in (ROOT / "README.md").read_text()


def test_the_entry_point_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "map", "--mermaid"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == maps.mermaid() + "\n"
