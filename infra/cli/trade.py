"""How trading stands: orders, positions, balances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import ConfigInvalid

if TYPE_CHECKING:
    from infra.sessions.store import Session

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
SESSION = Annotated[str, typer.Option(help="Which session; by default the latest.")]
SHOWN: dict[str, tuple[str, ...]] = {
    "oms.order.v1": (
        "order_id", "tag", "instrument", "strategy", "side", "kind", "price", "quantity", "filled", "state", "alarm",
    ),
    "acct.position.v1": (
        "account", "strategy", "instrument", "quantity", "cost", "realised", "fees", "mark_price", "unrealised",
    ),
    "acct.balance.v1": ("account", "asset", "amount", "venue"),
}  # fmt: skip
OVER = ("FILLED", "CANCELLED", "REJECTED", "EXPIRED", "DENIED")


def mount(app: typer.Typer) -> None:
    app.command("orders")(orders)
    app.command("positions")(positions)
    app.command("balances")(balances)


def orders(
    session: SESSION = "",
    everything: Annotated[bool, typer.Option("--all", help="Those that are over too.")] = False,
    json: JSON = False,
) -> None:
    """Orders as they stand."""
    rows = latest_rows(session, "oms.order.v1")
    _show("oms.order.v1", [row for row in rows if everything or row["state"] not in OVER], json)


def positions(session: SESSION = "", json: JSON = False) -> None:
    """What is held, per account, strategy and instrument."""
    _show("acct.position.v1", latest_rows(session, "acct.position.v1"), json)


def balances(session: SESSION = "", json: JSON = False) -> None:
    """Cash by the ledger, beside what the venue last said."""
    _show("acct.balance.v1", latest_rows(session, "acct.balance.v1"), json)


def running_session(session: str) -> Session:
    """The session that is meant; it must run, or nobody would read what is written.

    Raises:
        ConfigInvalid: it does not.
    """
    from infra.config import config
    from infra.sessions.store import LATEST, find, running_pid

    found = find(config(), session or LATEST)
    if running_pid(found) is None:
        raise ConfigInvalid(f"Session {found.name} does not run: nobody would read it. `shriven up` starts one.")
    return found


def latest_rows(session: str, name: str) -> list[dict[str, Any]]:
    """The latest row per key of a compacted topic, decoded."""
    from infra.config import config
    from infra.sessions.latest import latest
    from infra.sessions.store import LATEST, find

    return latest(config(), find(config(), session or LATEST), name)


def _show(name: str, rows: list[dict[str, Any]], json: bool) -> None:
    from infra.cli.output import print_json, print_table

    columns = SHOWN[name]
    if json:
        print_json([{column: row[column] for column in columns} for row in rows])
    else:
        print_table(columns, [[str(row[column]) for column in columns] for row in rows])
