"""`shriven topics`: the table, the table against a broker, and the rows themselves."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Annotated, Literal

import typer

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
BROKER = Annotated[str, typer.Option(help="HOST:PORT; by default SHRIVEN_KAFKA, else the embedded one.")]


def mount(app: typer.Typer) -> None:
    group = typer.Typer(help="Topics: what there is, what a broker has, what flows.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("plan")(plan)
    group.command("apply")(apply)
    group.command("describe")(describe)
    group.command("tail")(tail)
    app.add_typer(group, name="topics")


def list_(json: JSON = False) -> None:
    """The topics table."""
    from infra.cli.output import print_json, print_table
    from streams.topics import TOPICS

    rows = [
        {
            "number": row.number,
            "topic": row.name,
            "event": row.event.name,
            "owner": row.owner,
            "partitions": row.partitions,
            "cleanup": row.cleanup,
            "key": list(row.key),
            "commit": row.commit,
            "retention_ms": row.retention_ms,
            "what": row.doc,
        }
        for row in TOPICS
    ]
    if json:
        print_json(rows)
    else:
        print_table(tuple(rows[0]), [[_words(value) for value in row.values()] for row in rows])


def _words(value: object) -> object:
    return ", ".join(value) if isinstance(value, list) else value


def plan(broker: BROKER = "", json: JSON = False) -> None:
    """What `apply` would do to the broker. Changes nothing; drift makes it fail."""
    _planned(broker, json, execute=False)


def apply(
    execute: Annotated[bool, typer.Option("--execute", help="Do it; without it the plan is printed.")] = False,
    broker: BROKER = "",
    json: JSON = False,
) -> None:
    """Create missing topics and correct settings. Never changes a partition count, never deletes."""
    _planned(broker, json, execute=execute)


def _planned(broker: str, json: bool, *, execute: bool) -> None:
    from infra.cli.output import print_json, print_table, say
    from infra.kafka import topics as kafka_topics

    address = _address(broker)
    changes = kafka_topics.plan(address)
    if execute:
        changes = kafka_topics.apply(address, changes)
    if json:
        print_json({"broker": address, "executed": execute, "changes": [asdict(change) for change in changes]})
    elif not changes:
        say(f"The topics on {address} are as the table says.")
    else:
        print_table(("action", "topic", "detail"), [(c.action, c.topic, c.detail) for c in changes])
        drift = any(change.action == "drift" for change in changes)
        if not drift:
            say(f"{len(changes)} done on {address}." if execute else "Nothing was changed; --execute does it.")
    kafka_topics.refuse_drift(changes)


def describe(
    names: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC]…", help="By default all of the table.")] = None,
    broker: BROKER = "",
    json: JSON = False,
) -> None:
    """Partitions on the broker: leaders, offsets, and how far each reader is behind."""
    from infra.cli.output import print_json, print_table
    from infra.kafka import topics as kafka_topics
    from schemas.errors import ConfigInvalid
    from streams.topics import TOPICS, topic

    wanted = [topic(name).name for name in names] if names else [row.name for row in TOPICS]
    address = _address(broker)
    states = kafka_topics.describe(address, wanted)
    if not states:
        raise ConfigInvalid(f"None of these topics is on {address} yet. `shriven topics apply --execute` creates them.")
    if json:
        print_json([asdict(state) for state in states])
        return
    columns = ("topic", "partition", "leader", "in sync", "first", "next", "behind (messages)")
    rows = [(s.topic, s.partition, s.leader, s.in_sync, s.first_offset, s.next_offset, _lags(s.lag)) for s in states]
    print_table(columns, rows)


def _lags(lag: dict[str, int]) -> str:
    return ", ".join(f"{group}: {behind:,}" for group, behind in sorted(lag.items()))


def tail(
    name: Annotated[str, typer.Argument(metavar="TOPIC")],
    session: Annotated[str, typer.Option(help="Which session; by default the latest.")] = "",
    broker: Annotated[str, typer.Option(help="HOST:PORT, embedded or none (local log); by default as it ran.")] = "",
    start: Annotated[str, typer.Option("--from", help="start, end, -N (the last N rows), a row, or a time.")] = "-10",
    key: Annotated[str, typer.Option(help="Only this key: an instrument, a service, …")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="Stop after that many rows; 0 for no limit.")] = 0,
    style: Annotated[Literal["table", "json", "csv"], typer.Option("--format", help="How rows look.")] = "table",
    json: Annotated[bool, typer.Option("--json", help="The same as --format json: one object a line.")] = False,
) -> None:
    """Rows of a topic, decoded: enums by name, prices as decimals, instruments by name, causes as addresses."""
    from itertools import islice

    from infra.cli.output import say
    from infra.config import config
    from infra.process.wiring import reader_of
    from infra.sessions import tail as rows_of
    from infra.sessions.readback import instrument_names, root_of
    from infra.sessions.store import LATEST, find
    from streams.topics import topic

    row = topic(name)
    where = rows_of.parse_where(start)
    found = find(config(), session or LATEST)
    names = instrument_names(root_of(found))
    if ":" in key and key not in names.values() and rows_of.has_instrument(row):
        say(f"Session {found.name} knows no instrument {key}. It knows: {', '.join(sorted(names.values())) or 'none'}.")
    source = reader_of(config(), found, broker)
    try:
        lines = rows_of.tail(row, source, where, key=key, follow=follow, names=lambda i: names.get(i, str(i)))
        _print(
            rows_of.columns(row), islice(lines, limit) if limit else lines, "json" if json else style, streaming=follow
        )
    finally:
        source.close()


def _print(columns: Sequence[str], lines: Iterable[Sequence[object]], style: str, *, streaming: bool) -> None:
    import orjson

    from infra.cli.output import print_table

    if style == "json":
        for line in lines:
            sys.stdout.write(orjson.dumps(dict(zip(columns, line, strict=True))).decode() + "\n")
            sys.stdout.flush()
    elif style == "csv" or streaming:  # a table needs all its rows before the first line
        writer = csv.writer(sys.stdout, delimiter="," if style == "csv" else "\t", lineterminator="\n")
        writer.writerow(columns)
        for line in lines:
            writer.writerow(["" if value is None else value for value in line])
            sys.stdout.flush()
    else:
        print_table(columns, lines)


def _address(broker: str) -> str:
    """The broker that a command about brokers means.

    Raises:
        BrokerUnavailable: none is configured and the embedded one does not run.
    """
    from infra.config import config
    from infra.place import running_address

    return running_address(config(), broker)
