"""The command line: mounts the commands, and turns whatever went wrong into one sentence and an exit code.

Commands live beside this file, one file per subject. Each imports what it needs when it runs, so that
`--help` answers at once.
"""

from __future__ import annotations

import platform
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer
from typer.exceptions import Abort, TyperException

from infra.cli import broker as cli_broker
from infra.cli import check as cli_check
from infra.cli import doctor as cli_doctor
from infra.cli import kill as cli_kill
from infra.cli import limits as cli_limits
from infra.cli import log as cli_log
from infra.cli import map as cli_map
from infra.cli import order as cli_order
from infra.cli import proof as cli_proof
from infra.cli import record as cli_record
from infra.cli import run as cli_run
from infra.cli import schema as cli_schema
from infra.cli import sessions as cli_sessions
from infra.cli import strategies as cli_strategies
from infra.cli import topics as cli_topics
from infra.cli import trade as cli_trade
from infra.cli import up as cli_up
from infra.cli.exit_codes import BUG, INTERRUPTED
from infra.cli.output import say
from schemas.errors import ConfigInvalid, ShrivenError

GROUPS = (
    cli_up, cli_trade, cli_kill, cli_order, cli_limits, cli_strategies, cli_sessions, cli_proof, cli_run, cli_record,
    cli_topics, cli_map, cli_schema, cli_log, cli_broker, cli_doctor, cli_check,
)  # fmt: skip


def make_app() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(
        name="shriven",
        help="ShrivenQuant: a flight recorder that trades.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for module in GROUPS:
        module.mount(app)
    return app


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code (the table: infra/cli/exit_codes.py)."""
    app = make_app()
    try:
        code = typer.main.get_command(app)(list(arguments), prog_name="shriven", standalone_mode=False)
    except ShrivenError as error:
        say(f"shriven: {error}")
        return error.exit_code
    except TyperException as error:  # the command line itself was wrong
        if message := error.format_message().rstrip("."):  # empty: the help itself was the answer
            say(f"shriven: {message}. `shriven {_command(app, arguments)}--help` says what there is.")
        return ConfigInvalid.exit_code
    except (KeyboardInterrupt, Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the one place
        say(f"shriven: a bug ({type(error).__name__}: {error}). Please report it with {_keep(arguments)}.")
        return BUG
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point `shriven`."""
    sys.exit(run(sys.argv[1:]))


def _command(app: typer.Typer, arguments: Sequence[str]) -> str:
    """The first word where it is a command, with a space behind; else nothing."""
    known = {one.name for one in app.registered_commands} | {one.name for one in app.registered_groups}
    return f"{arguments[0]} " if arguments and arguments[0] in known else ""


def _keep(arguments: Sequence[str]) -> Path:
    """Write the traceback being handled to a file of its own."""
    lines = [f"shriven {' '.join(arguments)}", f"Python {platform.python_version()} on {platform.platform()}", ""]
    with tempfile.NamedTemporaryFile("w", prefix="shriven-bug-", suffix=".txt", delete=False) as file:
        file.write("\n".join(lines) + traceback.format_exc())
    return Path(file.name)


if __name__ == "__main__":
    main()
