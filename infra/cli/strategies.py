"""`shriven strategies`: which strategies run, with which parameters. Rows change them, nobody a running process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import ConfigInvalid

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
SESSION = Annotated[str, typer.Option(help="Which session; by default the latest.")]
WHY = Annotated[str, typer.Option(help="Why; it stands in the row.")]
NAME = Annotated[str, typer.Argument(help="The strategy's name.")]
COLUMNS = ("name", "rule", "account", "instrument", "enabled", "capital", "parameters", "who", "why")


def mount(app: typer.Typer) -> None:
    group = typer.Typer(help="Strategies: list, set, enable, disable, check.", invoke_without_command=True)
    group.callback()(list_)
    group.command("rules")(rules)
    group.command("set")(set_)
    group.command("enable")(enable)
    group.command("disable")(disable)
    group.command("check")(check)
    app.add_typer(group, name="strategies")


def list_(context: typer.Context, session: SESSION = "", json: JSON = False) -> None:
    """Strategies in force."""
    from infra.cli.output import print_json, print_table
    from infra.cli.trade import latest_rows

    if context.invoked_subcommand is not None:
        return
    rows = latest_rows(session, "ref.strategy.v1")
    if json:
        print_json([{column: row[column] for column in COLUMNS} for row in rows])
    else:
        print_table(COLUMNS, [[str(row[column]) for column in COLUMNS] for row in rows])


def rules(json: JSON = False) -> None:
    """The files there are, with their parameters and defaults."""
    import dataclasses

    from infra.cli.output import print_json, print_table
    from processors.strategies import STRATEGIES

    found = {
        name: {field.name: field.default for field in dataclasses.fields(kind.parameters_kind)}
        for name, kind in STRATEGIES.items()
    }
    if json:
        print_json(found)
    else:
        rows = [(name, parameter, default) for name, one in found.items() for parameter, default in one.items()]
        print_table(("rule", "parameter", "default"), rows)


def set_(
    name: NAME,
    why: WHY,
    rule: Annotated[str, typer.Option(help="The file; `strategies rules` lists them.")] = "",
    instrument: Annotated[str, typer.Option(help="Such as binance_usdm:BTCUSDT.")] = "",
    account: Annotated[str, typer.Option(help="Whose money.")] = "",
    capital: Annotated[str, typer.Option(help="Notional that it may hold.")] = "",
    parameter: Annotated[list[str] | None, typer.Option("--parameter", "-p", metavar="NAME=VALUE")] = None,
    session: SESSION = "",
) -> None:
    """Put a strategy into force, or change it: what is not named stays. A change starts it anew."""
    from infra.cli.output import say
    from infra.cli.trade import running_session
    from processors.strategy_check import parse_parameters

    row = _in_force(session, name)
    row["rule"] = rule or row.get("rule", "")
    row["instrument"] = instrument or row.get("instrument", "")
    row["account"] = account or row.get("account", "binance_usdm:paper")
    row["capital"] = capital or row.get("capital", "0")
    missing = [option for option in ("rule", "instrument") if not row[option]]
    if missing:
        raise ConfigInvalid(f"{name} is new: give --{' and --'.join(missing)} too.")
    row["parameters"] = parse_parameters(str(row["rule"]), row.get("parameters", {}), parameter or [])
    row["enabled"] = True
    number = _write(running_session(session), name, row, why)
    say(f"{name} runs {row['rule']} on {row['instrument']} from row {number} on.")


def enable(name: NAME, why: WHY, session: SESSION = "") -> None:
    """Let a strategy trade again. It starts anew, with its warm-up."""
    _switch(name, why, session, True)


def disable(name: NAME, why: WHY, session: SESSION = "") -> None:
    """A strategy cancels what is open and asks for nothing more; its position stays."""
    _switch(name, why, session, False)


def check(
    file: Annotated[Path, typer.Argument(help="A strategy's file, before it joins the others.")],
    json: JSON = False,
) -> None:
    """Load a strategy's file and hold it to the laws: no clock, no chance, nothing kept outside of its memory."""
    from infra.cli.output import print_json, say
    from processors.strategy_check import check_file

    found = check_file(file)
    if json:
        print_json(
            {"file": str(file), "strategy": found.name, "requests": found.requests, "parameters": found.parameters}
        )
    else:
        say(
            f"{found.name} keeps the laws: played {found.rows:,} rows in one piece and in many, twice; it asked for "
            f"{found.requests:,} orders, the same each time."
        )


def _switch(name: str, why: str, session: str, enabled: bool) -> None:
    from infra.cli.output import say
    from infra.cli.trade import running_session

    row = _in_force(session, name)
    if not row:
        raise ConfigInvalid(f"No strategy {name!r}. `shriven strategies` lists them.")
    number = _write(running_session(session), name, {**row, "enabled": enabled}, why)
    say(f"{name} is {'enabled' if enabled else 'disabled'} from row {number} on.")


def _in_force(session: str, name: str) -> dict[str, Any]:
    """Its latest row, parameters as an object; empty for a new one."""
    import orjson

    from infra.cli.trade import latest_rows

    found = [row for row in latest_rows(session, "ref.strategy.v1") if row["name"] == name]
    return {**found[-1], "parameters": orjson.loads(str(found[-1]["parameters"]))} if found else {}


def _write(session: Any, name: str, row: dict[str, Any], why: str) -> int:
    from infra import steering
    from infra.by_hand import amount, known_instrument

    known_instrument(session, str(row["instrument"]))
    capital = str(row["capital"])
    return steering.set_strategies(
        session, [{**row, "name": name, "capital_e8": amount("capital", capital) if capital != "0" else 0}], why
    )
