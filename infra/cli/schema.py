"""`shriven schema`: what an event is, as Avro tools and registries see it."""

from __future__ import annotations

from typing import Annotated

import typer

from schemas.errors import ConfigInvalid

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]


def mount(app: typer.Typer) -> None:
    group = typer.Typer(help="Schemas: declared, frozen, compatible.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("show")(show)
    group.command("check")(check)
    group.command("freeze")(freeze)
    app.add_typer(group, name="schema")


def list_(json: JSON = False) -> None:
    """Every event with its schema id, revision and the topics that carry it."""
    from infra.cli.output import print_json, print_table
    from schemas.avro import fingerprint
    from schemas.catalogue import EVENTS
    from streams.topics import TOPICS

    columns = ("schema id", "event", "revision", "columns", "row bytes", "topics", "fingerprint")
    rows = [
        (
            event.schema_id,
            event.name,
            event.revision,
            len(event.fields),
            event.dtype.itemsize,
            ", ".join(row.name for row in TOPICS if row.event is event),
            fingerprint(event)[:16],
        )
        for event in EVENTS
    ]
    if json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def show(
    name: Annotated[str, typer.Argument(help="An event, such as Trade, or a topic that carries it.")],
    json: Annotated[bool, typer.Option("--json", help="The frame's Avro schema.")] = False,
) -> None:
    """The columns of an event, or with --json the Avro schema of its frame."""
    from infra.cli.output import OUT, print_json, print_table
    from schemas.avro import frame_schema
    from schemas.catalogue import EVENT_BY_NAME
    from streams.topics import TOPIC_BY_NAME

    topic = TOPIC_BY_NAME.get(name) or TOPIC_BY_NAME.get(f"{name}.v1")
    event = EVENT_BY_NAME.get(name) or (topic.event if topic else None)
    if event is None:
        raise ConfigInvalid(f"No event or topic {name!r}. `shriven schema list` shows what there is.")
    if json:
        print_json(frame_schema(event))
        return
    OUT.print(f"{event.name}, schema id {event.schema_id}", style="bold", highlight=False)
    OUT.print(event.doc, highlight=False)
    OUT.print()
    rows = [
        (
            field.name,
            f"{field.kind}[{field.count}]" if field.count else field.kind,
            field.doc,
            ", ".join(mark for mark in ("based", "content", "measured") if getattr(field, mark)),
            ", ".join(f"{int(one)} {one.name}" for one in field.symbols or ()),
        )
        for field in event.fields
        if not field.name.startswith("reserved")
    ]
    print_table(("column", "kind", "meaning", "marks", "values"), rows)


def check(json: JSON = False) -> None:
    """Hold the declarations against the frozen files; what differs is named, with what to do."""
    from infra.cli.output import print_json, say
    from schemas.catalogue import EVENTS
    from schemas.compatibility import check as check_schemas

    check_schemas()
    if json:
        print_json({"events": len(EVENTS), "compatible": True})
        return
    say(f"{len(EVENTS)} events are as frozen, and every revision reads the ones before it.")


def freeze(
    unreleased: Annotated[
        bool,
        typer.Option("--unreleased", help="Also rewrite today's revisions: while no frame of them exists anywhere."),
    ] = False,
    execute: Annotated[bool, typer.Option("--execute", help="Write; without it the plan is printed.")] = False,
) -> None:
    """Write the frozen files of revisions that have none; refuses changes that are not compatible."""
    import shutil
    import tempfile
    from pathlib import Path

    from infra.cli.output import say
    from schemas.compatibility import freeze as freeze_schemas
    from schemas.frozen import FOLDER

    if execute:
        paths = freeze_schemas(unreleased=unreleased)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(shutil.copytree(FOLDER, Path(scratch) / "avro"))
            paths = [FOLDER / path.name for path in freeze_schemas(folder=folder, unreleased=unreleased)]
    for path in paths:
        say(f"{'wrote' if execute else 'would write'} {path}")
    if not paths:
        say("Everything is frozen already.")
    elif not execute:
        say("Nothing was written; --execute does it.")
