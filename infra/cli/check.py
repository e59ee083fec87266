"""`shriven test` and `shriven bench`: the project checks itself, from its own checkout."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import ConfigInvalid

ROOT = Path(__file__).resolve().parent.parent.parent
BENCH_KEYS = ("work", "figure", "unit", "reference", "reference_figure", "goal", "reached")


def mount(app: typer.Typer) -> None:
    app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run_tests)
    app.command("bench")(bench)


def run_tests(
    context: typer.Context,
    fast: Annotated[bool, typer.Option("--fast", help="Only what needs no broker and no minutes.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Everything, the slow ones too.")] = False,
) -> None:
    """Run the tests. Without an option: all but the slow ones. What follows is handed to pytest."""
    if fast and everything:
        raise ConfigInvalid("--fast and --all contradict each other; choose one.")
    if importlib.util.find_spec("pytest") is None or not (ROOT / "tests").is_dir():
        raise ConfigInvalid("The tests are not installed here. Run `./shriven test` from a checkout.")
    marks = "not slow and not broker" if fast else "" if everything else "not slow"
    command = [sys.executable, "-m", "pytest", *(["-m", marks] if marks else []), *context.args]
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        raise typer.Exit(1)


def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Which benchmarks; none for all.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Measure: each figure beside its reference, taken in the same run on the same data."""
    from infra.cli.output import print_json, print_table

    known = benchmarks()
    unknown = set(names or ()) - set(known)
    if unknown or not known:
        raise ConfigInvalid(f"No benchmark {', '.join(sorted(unknown))!r}. There are: {', '.join(known)}.")
    rows = []
    for name in names or known:
        for result in importlib.import_module(known[name]).run():
            row = {key: getattr(result, key) for key in BENCH_KEYS}
            rows.append(row)
            if json:
                print_json(row)
    if not json:
        print_table(BENCH_KEYS, [tuple(row.values()) for row in rows])


def benchmarks() -> dict[str, str]:
    """Names of benchmarks to their modules: those in tests/bench that have a `run`."""
    if importlib.util.find_spec("tests.bench") is None:
        return {}
    package: Any = importlib.import_module("tests.bench")
    found = (module.name for module in pkgutil.iter_modules(package.__path__))
    return {
        name.removeprefix("bench_"): f"tests.bench.{name}"
        for name in found
        if hasattr(importlib.import_module(f"tests.bench.{name}"), "run")
    }
