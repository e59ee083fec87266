"""`shriven log`: the local log of a session: what is there, is it whole, what does it say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import ConfigInvalid, IntegrityError

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
SESSION = Annotated[str, typer.Argument(help="A session's name, a prefix of it, or `latest`.")]
TOPIC = Annotated[str, typer.Option("--topic", help="Only this topic.")]
SEALED = Annotated[bool, typer.Option("--sealed", help="The copy of what Kafka held, not the local log.")]


def mount(app: typer.Typer) -> None:
    group = typer.Typer(help="The local log of a session.", no_args_is_help=True)
    group.command("ls")(ls)
    group.command("info")(info)
    group.command("verify")(verify)
    group.command("repair")(repair)
    group.command("rows")(rows)
    group.command("dump")(dump)
    group.command("import")(import_)
    app.add_typer(group, name="log")


def ls(session: SESSION = "latest", sealed: SEALED = False, json: JSON = False) -> None:
    """Topics of a session with their rows and bytes."""
    from infra.cli.output import print_json, print_table
    from streams.log import info as log_info
    from streams.topics import TOPICS

    root = _root(session, sealed)
    lines: list[tuple[Any, ...]] = []
    for row in TOPICS:
        found = log_info(root, row.name)
        if found:
            partitions = len({one.key.partition for one in found})
            sums = (sum(one.rows for one in found), sum(one.bytes_used for one in found))
            lines.append((row.name, partitions, len(found), *sums))
    columns = ("topic", "partitions", "writers", "rows", "bytes")
    if json:
        print_json([dict(zip(columns, line, strict=True)) for line in lines])
    else:
        print_table(columns, lines)


def info(session: SESSION = "latest", topic: TOPIC = "", sealed: SEALED = False, json: JSON = False) -> None:
    """Every sequence: writer, rows, segments, bytes used and allocated."""
    from infra.cli.output import print_json, print_table
    from streams.log import info as log_info
    from streams.pipelines import writer_label
    from streams.topics import TOPIC_BY_NUMBER

    found = log_info(_root(session, sealed), _topic_name(topic))
    columns = ("topic", "partition", "writer", "row_first", "row_last", "segments", "bytes_used", "bytes_allocated")
    lines = [
        (
            TOPIC_BY_NUMBER[one.key.topic].name,
            one.key.partition,
            writer_label(one.key.writer),
            *(one.row_first, one.row_last, one.segments, one.bytes_used, one.bytes_allocated),
        )
        for one in found
    ]
    if json:
        print_json([dict(zip(columns, line, strict=True)) for line in lines])
    else:
        print_table(columns, lines)


def verify(session: SESSION = "latest", topic: TOPIC = "", sealed: SEALED = False, json: JSON = False) -> None:
    """Read every byte: checksums, row numbers, and nothing where nothing was written."""
    from infra.cli.output import print_json, say
    from streams.log import verify as verify_log
    from streams.pipelines import writer_label
    from streams.topics import TOPIC_BY_NUMBER

    report = verify_log(_root(session, sealed), _topic_name(topic))
    damage = [
        {"topic": TOPIC_BY_NUMBER[one.key.topic].name, "writer": writer_label(one.key.writer), "damage": str(bad)}
        for one in report.writers
        for bad in one.damage
    ]
    notes = [note for one in report.writers for note in one.notes]
    whole = {"records": report.records, "rows": report.rows, "bytes": report.bytes}
    if json:
        print_json({**whole, "damage": damage, "notes": notes})
    else:
        for line in notes:
            say(line)
        say(f"{report.rows:,} rows in {report.records:,} records, {report.bytes:,} bytes: read and checked.")
    if damage:
        places = "\n".join(f"    {bad['topic']} of {bad['writer']}: {bad['damage']}" for bad in damage)
        raise IntegrityError(f"The log is not what was written, in {len(damage)} places:\n{places}")


def repair(
    session: SESSION,
    topic: TOPIC = "",
    execute: Annotated[bool, typer.Option("--execute", help="Do it; without it the plan is printed.")] = False,
    json: JSON = False,
) -> None:
    """Give up damaged rows at the end of a sequence, which its writer refuses to do by itself. Damage before whole rows
    stays: nothing is ever renumbered."""
    from infra.cli.output import print_json, print_table, say
    from streams.log import repair_tail
    from streams.log import verify as verify_log
    from streams.pipelines import writer_label
    from streams.topics import TOPIC_BY_NUMBER

    root = _root(session, sealed=False)
    columns = ("topic", "writer", "damage", "done")
    lines: list[tuple[str, str, str, str]] = []
    for one in verify_log(root, _topic_name(topic)).writers:
        if one.damage:
            done = "; ".join(repair_tail(root, one.key).repairs) or "nothing at its end: it stays" if execute else ""
            place = (TOPIC_BY_NUMBER[one.key.topic].name, writer_label(one.key.writer))
            lines.append((*place, "; ".join(str(bad) for bad in one.damage), done))
    if json:
        print_json([dict(zip(columns, line, strict=True)) for line in lines])
        return
    if not lines:
        say("Nothing is damaged.")
        return
    print_table(columns if execute else columns[:3], lines if execute else [line[:3] for line in lines])
    if not execute:
        say("Nothing was changed; --execute gives up what is damaged at the end of a sequence. Copy the session first.")


def rows(
    session: SESSION,
    topic: Annotated[str, typer.Argument(help="Which topic, such as md.trade.")],
    first: Annotated[int, typer.Option("--from", min=1, help="First row number.")] = 1,
    count: Annotated[int, typer.Option(min=1, help="Rows of each sequence at most.")] = 20,
    sealed: SEALED = False,
    json: JSON = False,
) -> None:
    """Rows, as they were written. With --json one object a line."""
    from infra.cli.output import print_json, print_table
    from infra.sessions.readback import frames, keys_of
    from infra.sessions.rows_text import row_columns, row_values
    from streams.pipelines import writer_label
    from streams.topics import topic as topic_row

    row = topic_row(topic)
    root = _root(session, sealed)
    columns = ("partition", "writer", "row", *row_columns(row.event))
    shown: list[tuple[object, ...]] = []
    for key in keys_of(root, row):
        left = count
        for frame in frames(root, key, first):
            begin = max(0, first - frame.row_first)
            for index in range(begin, min(len(frame.rows), begin + left)):
                left -= 1
                values = row_values(row.event, frame.rows, frame.heap, index)
                shown.append((key.partition, writer_label(key.writer), frame.row_first + index, *values))
            if not left:
                break
    if json:
        for line in shown:
            print_json(dict(zip(columns, line, strict=True)))
    else:
        print_table(columns, [[str(value) for value in line] for line in shown])


def dump(
    session: SESSION,
    file: Annotated[Path, typer.Argument(help="The file to write.")],
    topic: TOPIC = "",
    sealed: SEALED = False,
    json: JSON = False,
) -> None:
    """Copy a session's log, or one topic of it, into one portable file."""
    from infra.cli.output import print_json, say
    from streams.log import dump as dump_log
    from streams.log import writer_keys

    root = _root(session, sealed)
    if file.exists():
        raise ConfigInvalid(f"{file} exists already. Choose another name.")
    done = dump_log(root, file, writer_keys(root, _topic_name(topic)))
    if json:
        print_json({"rows": done.rows, "records": done.records, "writers": done.writers, "bytes": done.bytes})
    else:
        say(f"{done.rows:,} rows of {done.writers} sequences are in {file}.")


def import_(
    file: Annotated[Path, typer.Argument(help="What `log dump` wrote.")],
    name: Annotated[str, typer.Option("--name", help="The session to make; by default its name when it ran.")] = "",
    json: JSON = False,
) -> None:
    """Make a session of a dumped log: it can be replayed like one that ran here."""
    from infra.cli.output import print_json, say
    from infra.config import config
    from infra.sessions.rows import import_session

    session, done = import_session(config(), file, name)
    if json:
        print_json({"session": session.name, "rows": done.rows, "writers": done.writers, "bytes": done.bytes})
    else:
        say(f"Session {session.name}: {done.rows:,} rows of {done.writers} sequences.")


def _root(session: str, sealed: bool) -> Path:
    from infra.config import config
    from infra.sessions.store import find

    found = find(config(), session)
    if sealed and not found.sealed.exists():
        raise ConfigInvalid(f"Session {found.name} has no sealed copy. `shriven seal {found.name}` makes one.")
    return found.sealed if sealed else found.log


def _topic_name(topic: str) -> str | None:
    from streams.topics import topic as topic_row

    return topic_row(topic).name if topic else None
