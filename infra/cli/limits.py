"""`shriven limits`: what risk holds every order against. Each change is a row with who, when and why."""

from __future__ import annotations

from typing import Annotated

import typer

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
SESSION = Annotated[str, typer.Option(help="Which session; by default the latest.")]
WHY = Annotated[str, typer.Option(help="Why; it stands in the row.")]
REASON = Annotated[str, typer.Argument(help="The check, such as order_notional; `limits list --all` shows them all.")]
OF = Annotated[
    str, typer.Option("--of", help="all, venue:NAME, account:NAME, strategy:NAME or instrument:VENUE:SYMBOL.")
]
PAPER = "account:binance_usdm:paper"
COLUMNS = ("scope", "subject", "reason", "value", "unit", "active", "who", "why")


def mount(app: typer.Typer) -> None:
    group = typer.Typer(help="Limits of risk.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("set")(set_)
    group.command("lift")(lift)
    app.add_typer(group, name="limits")


def list_(
    everything: Annotated[bool, typer.Option("--all", help="Every limit there can be, and what it bounds.")] = False,
    session: SESSION = "",
    json: JSON = False,
) -> None:
    """Limits in force."""
    from infra.cli.output import print_json, print_table
    from infra.cli.trade import latest_rows
    from infra.limits import reason_of, shown
    from processors.risk_limits import BOUNDS

    if everything:
        print_table(
            ("limit", "unit", "for", "an order is denied when"),
            [
                (
                    reason.name.lower(),
                    bound.unit.name.lower(),
                    ", ".join(one.name.lower() for one in bound.scopes),
                    bound.says,
                )
                for reason, bound in BOUNDS.items()
            ],
        )
        return
    rows = latest_rows(session, "ref.limit.v1")
    if json:
        print_json([{column: row[column] for column in COLUMNS} for row in rows])
        return
    for row in rows:
        row["value"] = shown(reason_of(str(row["reason"])), int(row["value"]))
    print_table(COLUMNS, [[str(row[column]) for column in COLUMNS] for row in rows])


def set_(
    reason: REASON,
    value: Annotated[str, typer.Argument(help="In its unit: money and quantities as decimals, times in ns, counts.")],
    why: WHY,
    of: OF = PAPER,
    currency: Annotated[str, typer.Option(help="Of money.")] = "USDT",
    session: SESSION = "",
) -> None:
    """Set one limit. Risk takes it with its next row."""
    from infra import steering
    from infra.cli.output import say
    from infra.cli.trade import latest_rows, running_session
    from infra.limits import check_together, reason_of, subject_of, value_of
    from schemas.trading import Reason, Scope

    subject, chosen = subject_of(of), reason_of(reason)
    number = value_of(chosen, value, subject.scope)
    found = running_session(session)
    in_force = {
        Reason[str(row["reason"])]: int(row["value"])
        for row in latest_rows(session, "ref.limit.v1")
        if row["active"] and Scope[str(row["scope"])] is subject.scope and _number(row["subject"]) == subject.number
    }
    check_together(chosen, number, in_force)
    row = steering.set_limits(found, subject.scope, subject.number, {chosen: number}, why, currency)
    say(f"{chosen.name.lower()} of {of} is {value} from row {row} on.")


def lift(reason: REASON, why: WHY, of: OF = PAPER, session: SESSION = "") -> None:
    """Lift one limit. An account without order_notional, position_notional and daily_loss trades nothing."""
    from infra import steering
    from infra.cli.output import say
    from infra.cli.trade import running_session
    from infra.limits import reason_of, subject_of

    subject, chosen = subject_of(of), reason_of(reason)
    row = steering.set_limits(
        running_session(session), subject.scope, subject.number, {chosen: 0}, why, "USDT", active=False
    )
    say(f"{chosen.name.lower()} of {of} is lifted from row {row} on.")


def _number(shown: object) -> int:
    from schemas.instruments import instrument_id

    return shown if isinstance(shown, int) else instrument_id(str(shown))
