"""The kill switch, and who carries it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from infra.sessions.store import Session

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
SESSION = Annotated[str, typer.Option(help="Which session; by default the latest.")]
WHY = Annotated[str, typer.Option(help="Why; it stands in the row.")]
TARGET = Annotated[str, typer.Argument(help="all, venue:NAME, account:NAME, strategy:NAME or instrument:VENUE:SYMBOL.")]
DIFFERENCE_COLUMNS = ("kind", "instrument", "order_id", "ours", "venue", "resolution", "kill_id", "text")


def mount(app: typer.Typer) -> None:
    app.command("kill")(kill)
    app.command("resume")(resume)
    app.command("clear")(clear)


def kill(
    why: WHY,
    target: TARGET = "all",
    flatten: Annotated[bool, typer.Option("--flatten", help="Close the positions too.")] = False,
    wait_s: Annotated[float, typer.Option("--wait", help="How long to wait until it is done.")] = 60.0,
    patience_s: Annotated[
        float | None,
        typer.Option("--patience", help="A gateway that has not taken it by then is ended, and its work done here."),
    ] = None,
    session: SESSION = "",
    json: JSON = False,
) -> None:
    """Stop: risk denies, each gateway cancels, and flattens when asked to; how long it took is printed.

    It works whatever else does not: a gateway that does not take it is ended, and this command does its work.
    """
    from infra import killing
    from infra.cli.output import print_json, say
    from infra.limits import subject_of

    found, (scope, subject) = _session(session), subject_of(target)
    pressed = killing.press(found, scope, subject, why, flatten=flatten)
    done = killing.follow(found, pressed, say, wait_s=wait_s, patience_s=patience_s)
    if json:
        times = {
            account: {
                "outcome": one.outcome.name, "who": one.who, "orders": one.orders, "positions": one.positions,
                "cancelled_ms": (one.received_ns + one.cancelled_ns) / 1e6,
                "flat_ms": (one.received_ns + one.flat_ns) / 1e6 if one.flat_ns else None, "text": one.text,
            }
            for account, one in done.items()
        }  # fmt: skip
        words = "; ".join(one.words() for one in done.values())
        print_json(
            {"kill": pressed.kill_id, "scope": scope.name, "flatten": flatten, "gateway": words, "accounts": times}
        )
        return
    for account, one in done.items():
        say(f"{account}: {one.words()}, by {one.who}")
    if not done:
        say("no gateway ever ran in this session: risk denies from now on")
    say(f"kill {pressed.kill_id} is in force. `shriven resume {pressed.kill_id} --why …` lifts it.")


def resume(
    kill_id: Annotated[int, typer.Argument(help="The kill that is lifted.")], why: WHY, session: SESSION = ""
) -> None:
    """Lift one kill, also one that a gateway pressed. A newer one stays in force."""
    from infra import killing, steering
    from infra.cli.output import say

    found = _session(session)
    pressed = killing.find_kill(found, kill_id)
    steering.press(found, pressed.scope, pressed.subject, why, kill_id=kill_id, on=False, flatten=False)
    say(f"kill {kill_id} ({pressed.why}) is lifted.")


def clear(
    venue: Annotated[str, typer.Argument(help="Such as binance_usdm.")],
    dead: Annotated[bool, typer.Option("--dead", help="Its gateway is dead for certain.")] = False,
    wait_s: Annotated[float, typer.Option("--wait", help="How long to try.")] = 120.0,
    session: SESSION = "",
    service: Annotated[str, typer.Option(hidden=True, help="Its name in the session.")] = "",
    parent: Annotated[int, typer.Option(hidden=True, help="End when that process does.")] = 0,
) -> None:
    """Carry out the kills in force without the gateway: it is ended, its venue is cleared, and it is acknowledged."""
    from infra import killing
    from infra.cli.output import say
    from infra.up.supervisor import end_with_parent
    from schemas.instruments import Venue

    if parent:
        end_with_parent(parent)
    lines = killing.clear_all(_session(session), Venue.parse(venue).label, dead=dead, wait_s=wait_s)
    for line in lines or ["no kill is in force that was not carried out"]:
        say(line)


def show_gateways(session: str, json: bool) -> None:
    """Gateways of a session, kills in force, and where we and the venues differed."""
    from infra.cli.output import print_json, print_table
    from infra.process.clearing import gateways, read_kills
    from infra.process.kills import acknowledgements
    from infra.process.status import read_all

    found = _session(session)
    said = acknowledgements(found.log, found.incarnation)
    states, kills = [], []
    for at in gateways(found):
        status = read_all(found.status)[at.service]
        states.append((at.service, status.state, at.account, bool(status.facts.get("ready")), status.detail))
        for one in read_kills(found, at).in_force():
            last = [word for word in said if word.kill_id == one.kill_id and word.account == at.account_id]
            words = last[-1].words() if last else "not taken"
            kills.append((one.kill_id, at.account, one.scope.name, one.flatten, one.who, one.why, words))
    differences = _differences(found)
    columns = ("gateway", "state", "account", "ready", "detail")
    kill_columns = ("kill", "account", "scope", "flatten", "by", "why", "so far")
    if json:
        print_json(
            {
                "gateways": [dict(zip(columns, row, strict=True)) for row in states],
                "kills": [dict(zip(kill_columns, row, strict=True)) for row in kills],
                "differences": differences,
            }
        )
        return
    print_table(columns, states)
    if kills:
        print_table(kill_columns, [(str(row[0]), *row[1:]) for row in kills], title="kills in force")
    if differences:
        rows = [[str(one[name]) for name in DIFFERENCE_COLUMNS] for one in differences]
        print_table(DIFFERENCE_COLUMNS, rows, title="where we and the venue differed")


def _differences(session: Session) -> list[dict[str, Any]]:
    from infra.sessions.readback import instrument_names, topic_frames
    from infra.sessions.rows_text import row_columns, row_values
    from schemas.trading import DIFFERENCE

    names, found = instrument_names(session.log), []
    for frame in topic_frames(session.log, "acct.difference.v1"):
        for index in range(len(frame.rows)):
            values = row_values(DIFFERENCE, frame.rows, frame.heap, index)
            row = dict(zip(row_columns(DIFFERENCE), values, strict=True))
            row["instrument"] = names.get(int(frame.rows["instrument"][index]), "")
            found.append(row)
    return found


def _session(session: str) -> Session:
    from infra.config import config
    from infra.sessions.store import LATEST, find

    return find(config(), session or LATEST)
