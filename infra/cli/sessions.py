"""`shriven sessions`, `shriven replay` and `shriven seal`: what ran, and does it come out the same again?"""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from schemas.errors import Mismatch

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
SESSION = Annotated[str, typer.Argument(help="A session's name, a prefix of it, or `latest`.")]
BROKER = Annotated[str, typer.Option(help="embedded, none, or HOST:PORT; by default the session's own.")]


def mount(app: typer.Typer) -> None:
    app.command("sessions")(sessions)
    app.command("replay")(replay)
    app.command("seal")(seal)


def sessions(
    name: Annotated[str, typer.Argument(help="Show this one: a name, a prefix, or `latest`.")] = "", json: JSON = False
) -> None:
    """List the sessions, or show what one came to."""
    from infra.cli.output import OUT, print_json, print_table
    from infra.config import config
    from infra.sessions.store import find, running_pid
    from infra.sessions.store import sessions as all_sessions
    from infra.up.summary import render

    if name:
        session = find(config(), name)
        report = session.report()
        if json or report is None:
            content = {"name": session.name, "incarnation": session.incarnation, "root": str(session.root)}
            print_json({**content, "created_ns": session.created_ns, "plan": session.plan, "report": report})
        else:
            OUT.print(render(report))
        return
    rows = [
        (
            one.name,
            one.incarnation,
            datetime.datetime.fromtimestamp(one.created_ns / 1e9, datetime.UTC).isoformat(" ", "seconds"),
            one.plan.get("broker", ""),
            running_pid(one),
            sum(report["rows"].values()) if (report := one.report()) else None,
        )
        for one in all_sessions(config())
    ]
    columns = ("session", "incarnation", "created", "broker", "pid", "rows")
    if json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def replay(
    session: SESSION = "latest",
    broker: BROKER = "",
    cut: Annotated[int | None, typer.Option(metavar="SEED", help="Cut the batches at random places too.")] = None,
    json: JSON = False,
) -> None:
    """Run every rule of a session again over its recorded inputs and compare every row, byte for byte."""
    from infra.cli.output import print_json, print_table
    from infra.config import config
    from infra.process import wiring
    from infra.sessions.replaying import as_json, compare_topics, replay_session
    from infra.sessions.store import find

    found = find(config(), session)
    with wiring.recorded(config(), found, broker) as recorded:
        tasks = list(replay_session(found, recorded.connectors, recorded.workers, cut))
        topics = compare_topics(recorded.root, tasks)
    if json:
        print_json(as_json(found, tasks, topics))
    else:
        columns = ("task", "checkpoints", "rows in", "rows out", "seconds", "equal")
        rows = [
            (one.label, one.checkpoints, one.rows_in, one.rows_out, one.elapsed_ns / 1e9, one.equal) for one in tasks
        ]
        print_table(columns, rows)
        print()
        shown = [(one.topic, one.rows, one.recorded[:32], one.replayed[:32], one.equal) for one in topics]
        print_table(("topic", "rows", "recorded", "replayed", "equal"), shown)
    for task in tasks:
        task.check()
    different = [one.topic for one in topics if not one.equal]
    if different:
        raise Mismatch(f"The rows are equal task by task, but the topics' hashes are not: {', '.join(different)}.")


def seal(session: SESSION = "latest", broker: BROKER = "", json: JSON = False) -> None:
    """Pull a session's topics from Kafka into its folder: from then on it needs no broker."""
    from infra.cli.output import print_json, say
    from infra.config import config
    from infra.sessions.sealing import seal_from
    from infra.sessions.store import find

    found = find(config(), session)
    counts = seal_from(config(), found, broker)
    if json:
        print_json(counts)
    else:
        say(f"{sum(counts.values()):,} rows of {len(counts)} topics are in {found.sealed}.")
