"""`shriven verify`, `why`, `diff`: is it as recorded, where does a row come from, how do two sessions differ?"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import IntegrityError, Mismatch, ResourceExhausted

if TYPE_CHECKING:
    from infra.sessions.certificate import Certificate
    from infra.sessions.store import Session
    from infra.sessions.why import Hop, Way, Why

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]
SESSION = Annotated[str, typer.Argument(help="A session's name, a prefix of it, or `latest`.")]
BROKER = Annotated[str, typer.Option(help="embedded, none, or HOST:PORT; by default the session's own.")]
SHOWN_CHARACTERS = 16
WIRE_LINES = 60
VALUE_CHARACTERS = 80
COPIES = 3  # of a session that still runs, before a row that is not there counts as missing


def mount(app: typer.Typer) -> None:
    app.command("verify")(verify)
    app.command("why")(why)
    app.command("diff")(diff)


def verify(
    session: SESSION = "latest",
    broker: BROKER = "",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PIPELINE.NAME=VALUE", help="What would this parameter have changed?"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the certificate into this file too.")] = None,
    json: JSON = False,
) -> None:
    """Check every byte, run every rule again over its recorded inputs, compare every row, and print a certificate.

    A certificate of a session that is as it was goes into its folder; a later one is compared with it.
    """
    import orjson

    from infra.cli.output import print_json
    from infra.config import config
    from infra.process import wiring
    from infra.registry import parse_parameters
    from infra.sessions.certificate import NAME, as_json, certify
    from infra.sessions.store import find, write_atomic

    found = ended(find(config(), session))
    parameters = {name: dict(given) for name, given in found.plan.get("parameters", {}).items()}
    asked = parse_parameters(set_ or [])
    for name, given in asked.items():
        parameters.setdefault(name, {}).update(given)
    with wiring.recorded(config(), found, broker) as recorded:
        made = certify(found, recorded.connectors, recorded.workers, [found.log, recorded.root], parameters)
    content = as_json(made)
    if json:
        print_json(content)
    else:
        _print(made, content)
    written = orjson.dumps(content, option=orjson.OPT_INDENT_2)
    if made.verdict == "verified" and not asked:
        write_atomic(found.root / NAME, written)
    if out is not None:
        write_atomic(out, written)
    _raise(made)


def ended(session: Session) -> Session:
    """The session, unless somebody runs it.

    Raises:
        ResourceExhausted: names the process.
    """
    from infra.sessions.store import running_pid

    pid = running_pid(session)
    if pid is not None:
        raise ResourceExhausted(
            f"Session {session.name} is still being run by process {pid}: it can be judged when it has ended. Stop it "
            "with Ctrl-C there, or choose another session (`shriven sessions`)."
        )
    return session


def _print(made: Certificate, content: dict[str, Any]) -> None:
    from infra.cli.output import OUT, print_table, say

    by = content["made_by"]
    OUT.print(f"[bold]certificate of session {made.session.name}[/bold], incarnation {made.session.incarnation}")
    versions = f"shrivenquant {by['version']}, commit {by['commit'] or 'unknown'}, Python {by['python']}"
    OUT.print(f"{versions}, numpy {by['numpy']}, numba {by['numba']}\n", highlight=False)
    if made.damage:
        return
    columns = ("task", "code when recorded", "code now", "checkpoints", "rows in", "rows out", "rows equal")
    tasks = [
        (
            one["task"], " ".join(one["code_recorded"]), one["code_now"], one["checkpoints"], one["rows_in"],
            one["rows_out"], one["equal"],
        )
        for one in content["tasks"]
    ]  # fmt: skip
    print_table(columns, tasks)
    OUT.print()
    topics = [
        (
            one["topic"], one["sequences"], one["rows"], one["recorded"][:SHOWN_CHARACTERS],
            _replayed(one),
            (one["live"] or "")[:SHOWN_CHARACTERS], one["schema"][:SHOWN_CHARACTERS],
        )
        for one in content["topics"]
    ]  # fmt: skip
    print_table(("topic", "sequences", "rows", "recorded", "replayed", "when it ended", "schema"), topics)
    OUT.print()
    for task in content["tasks"]:
        if task["difference"]:
            _print_difference(task)
    for line in (*made.changed, *made.against):
        say(line)
    OUT.print(f"{made.dead_letters} dead letters; hash of all rows {made.overall}", highlight=False)
    OUT.print(f"[bold]{made.verdict}[/bold]")


def _replayed(topic: dict[str, Any]) -> str:
    """What came out again; what a topic is that no rule writes."""
    if topic["replayed"] is not None:
        return str(topic["replayed"])[:SHOWN_CHARACTERS]
    return "journal" if topic["topic"].startswith("sys.journal") else "input"


def _print_difference(task: dict[str, Any]) -> None:
    from infra.cli.output import OUT, print_table

    found = task["difference"]
    OUT.print(f"{task['task']}: the first row that differs is {found['row']}", highlight=False)
    OUT.print(f"    caused by {cause_words(found)}", highlight=False)
    rows = [
        (one["field"], _cut(one["recorded"]), _cut(one["replayed"]), "differs" if one["differs"] else "")
        for one in found["fields"]
    ]
    print_table(("field", "recorded", "replayed", ""), rows)
    OUT.print()


def _difference_words(found: dict[str, Any]) -> str:
    """The first differing row as a sentence's beginning."""
    if found["in"] != "both":
        other = {"replayed": "recorded", "recorded": "replayed"}[found["in"]]
        return f"row {found['row']} is {found['in']}, and not {other}"
    fields = [
        f"{one['field']} {_cut(one['recorded'])} is now {_cut(one['replayed'])}"
        for one in found["fields"]
        if one["differs"]
    ]
    return f"the first row that differs is {found['row']}: {', '.join(fields)}"


def _cut(value: object) -> str:
    """A value for a table: long texts lose their end."""
    text = str(value)
    return text if len(text) <= VALUE_CHARACTERS else f"{text[:VALUE_CHARACTERS]}… ({len(text):,} characters)"


def cause_words(difference: dict[str, Any]) -> str:
    """What made the first differing row."""
    if difference["cause"]:
        return f"input row {difference['cause']}"
    return f"a timer at {difference['timer_ns']} ns" if difference["timer_ns"] else "the end of the inputs"


def _raise(made: Certificate) -> None:
    """The verdict as an exit code."""
    from infra.sessions.certificate import difference_json

    name = made.session.name
    if made.damage:
        lines = "\n".join(f"    {line}" for line in made.damage)
        raise IntegrityError(
            f"Session {name}: stored bytes are not what was written, in {len(made.damage)} places; nothing was "
            f"replayed. Usually a disk or memory fault, or another program wrote there:\n{lines}"
        )
    for task in made.differing:
        assert task.difference is not None
        found = difference_json(task) or {}
        why = f" Parameters changed: {'; '.join(made.changed)}." if made.changed else ""
        code = " Its code or its parameters are not those that it ran with." if task.code_changed else ""
        raise Mismatch(f"{task.label}: {_difference_words(found)}. It was caused by {cause_words(found)}.{code}{why}")
    if made.unequal:
        raise Mismatch(f"All rows are equal, but hashes are not: {', '.join(made.unequal)}.")
    if made.against:
        raise Mismatch(
            f"Session {name} is not what its earlier certificate says: {'; '.join(made.against)}. Every rule still "
            "gives what is recorded, so an input was changed that no rule used, or inputs and outputs together."
        )


def why(
    what: Annotated[
        str, typer.Argument(help="`fill`, `order`, a client id, or a row's address: TOPIC/PARTITION/WRITER/TASK/N/ROW.")
    ],
    which: Annotated[
        str, typer.Argument(help="Of a fill: trade id, row number or `latest`; of an order: its id.")
    ] = "",
    session: Annotated[str, typer.Option(help="Which session; by default the row's own, else the latest.")] = "",
    whole: Annotated[bool, typer.Option("--whole", help="Print wire bytes to their end, however many.")] = False,
    json: JSON = False,
) -> None:
    """Where a row comes from: every hop back to the bytes on the wire, with what was compared and what was in force.

    Examples: `shriven why fill latest`, `shriven why order S0000K3W5TQ8X1`, `shriven why oms.fill/0/orders/0/7/12`.
    """
    from infra.cli.output import print_json
    from schemas.trading import order_id_from

    if what.isdecimal() or order_id_from(what):
        what, which = "order", what
    asked, title, ways, took_ns = _asked(_session_of(what, which, session), what, which)
    if json:
        name = asked.store.session.name
        content = [way.as_json() for way in ways]
        print_json({"row": title, "session": name, "ways": content, "found_in_ms": took_ns / 1e6})
        return
    _print_ways(title, ways, whole)
    _say_took(asked, took_ns)


def _asked(session: Session, what: str, which: str) -> tuple[Why, str, list[Way], int]:
    """The answer, and how long it took to find. While a session runs over Kafka, a row may be copied a moment before
    the rows that caused it: what was asked for is then held fast, and the rows copied once more."""
    from infra.sessions.rowstore import RowMissing
    from infra.sessions.why import Why
    from streams.clock import monotonic_ns

    for left in reversed(range(COPIES)):
        grows = _bring(session)
        began_ns = monotonic_ns()
        asked = Why(session)
        try:
            what, which = _held(asked, what, which)
            title, ways = _explained(asked, what, which)
            return asked, title, ways, monotonic_ns() - began_ns
        except RowMissing:
            if not grows or not left:
                raise
        finally:
            asked.close()
    raise AssertionError("the last one raises")


def _bring(session: Session) -> bool:
    """The rows of a session that still runs over Kafka are copied first: what is there already stays. Whether a later
    copy may bring more."""
    from infra.cli.output import say
    from infra.config import config
    from schemas.errors import BrokerUnavailable

    if session.sealed.exists() or not session.broker:
        return False
    from infra.sessions.sealing import pull  # Kafka's client is not loaded where nothing is there to be asked of it

    try:
        pull(config(), session)
    except BrokerUnavailable as error:
        say(f"Only what is on this machine can be shown, because Kafka does not answer: {error}")
        return False
    return True


def _session_of(what: str, which: str, session: str) -> Session:
    """The session that is said; else the one that the address names; else the latest."""
    from infra.config import config
    from infra.sessions.address import parse_address
    from infra.sessions.store import LATEST, find, sessions
    from infra.sessions.why import order_incarnation
    from schemas.trading import order_id_from

    if session or what == "fill":
        return find(config(), session or LATEST)
    if what == "order":
        number = order_incarnation(int(which) if which.isdecimal() else order_id_from(which))
    else:
        number = parse_address(what).key.incarnation
    match = [one for one in sessions(config()) if one.incarnation == number]
    return match[0] if match else find(config(), LATEST)


def _held(asked: Why, what: str, which: str) -> tuple[str, str]:
    """The question with its row or order named, so that asked again it is the same: a later fill is another latest."""
    if what == "fill":
        return str(asked.find_fill(which or "latest").address), ""
    if what == "order":
        return what, str(asked.find_order(which))
    return what, which


def _explained(asked: Why, what: str, which: str) -> tuple[str, list[Way]]:
    from infra.sessions.address import parse_address

    if what == "order":
        return f"order {which}", asked.order(int(which))
    address = parse_address(what)
    return str(address), asked.row(address)


def _print_ways(title: str, ways: list[Way], whole: bool) -> None:
    from infra.cli.output import OUT

    OUT.print(f"[bold]{title}[/bold]", highlight=False)
    for way in ways:
        OUT.print(f"\n[bold]{way.title}[/bold]")
        for number, hop in enumerate(way.hops, 1):
            _print_hop(number, hop, whole)
        for note in way.notes:
            OUT.print(f"  {note}", highlight=False)


def _print_hop(number: int, hop: Hop, whole: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    from infra.cli.output import OUT, table
    from infra.sessions.why import pretty

    took = "" if hop.took_ns is None else f"   +{hop.took_ns / 1e6:,.3f} ms after what caused it"
    OUT.print(Text(f"{number:>3} {hop.said}   {hop.address}   {clock_text(hop.at_ns)}{took}"))
    shown = [(name, hop.columns[name]) for name in (*hop.shown, "client_id") if name in hop.columns]
    facts = [f"{name} {_fact(name, value)}" for name, value in shown if value not in ("", None)]
    _print_indented("   ".join(facts), "cyan")
    for note in hop.notes:
        _print_indented(note)
    if hop.strategy:
        by = hop.strategy
        words = f"{by['strategy']} runs {by['rule']} with {by['parameters']} and capital {by['capital']}"
        set_ = f"set by {by['set_by']} at {clock_text(by['set_at_ns'])}: {by['why']} ({by['row']})"
        _print_indented(f"{words}; {set_}")
    if hop.limits:
        columns = ("limit", "scope", "was", "allowed", "", "set by", "at", "why", "row")
        rows = [
            (
                one["limit"], one["scope"], one["was"], one["allowed"], "denied" if one["denied"] else "",
                one["set_by"], clock_text(one["set_at_ns"]), one["why"], one["row"],
            )
            for one in hop.limits
        ]  # fmt: skip
        OUT.print(Padding(table(columns, rows), (0, 0, 0, 4)))
    for kill in hop.kills:
        words = f"kill {kill['kill']} of {kill['scope']} by {kill['set_by']}: {kill['why']} ({kill['row']})"
        _print_indented(words)
    if hop.wire is not None:
        lines = pretty(hop.wire).splitlines()
        cut = len(lines) > WIRE_LINES and not whole
        _print_indented("\n".join(lines[:WIRE_LINES] if cut else lines), "green")
        more = f"; {len(lines) - WIRE_LINES:,} more lines with --whole" if cut else ""
        _print_indented(f"{len(hop.wire):,} bytes as they went over the wire{more}")


def _print_indented(text: str, style: str = "") -> None:
    from rich.text import Text

    from infra.cli.output import OUT

    OUT.print(Text("\n".join(f"    {line}" for line in text.splitlines()), style=style), soft_wrap=True)


def _fact(name: str, value: object) -> str:
    if name.endswith("age_ns") and isinstance(value, int):
        return f"{value / 1e6:g} ms"
    return clock_text(value) if name.endswith("_ns") and isinstance(value, int) else str(value)


def clock_text(ns: int) -> str:
    """UTC to the microsecond; nothing for 0."""
    moment = datetime.datetime.fromtimestamp(ns // 1_000_000_000, datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ns % 1_000_000_000 // 1000:06d}" if ns else ""


def _say_took(asked: Why, took_ns: int) -> None:
    from infra.cli.output import say

    say(f"found in session {asked.store.session.name} in {took_ns / 1e6:.0f} ms")


def diff(
    first: SESSION,
    second: Annotated[str, typer.Argument(help="Another one.")],
    json: JSON = False,
) -> None:
    """Compare two sessions: plans, code, and by content the rows of every topic. Exit code 10 when contents differ."""
    from infra.cli.output import print_json
    from infra.config import config
    from infra.sessions.comparing import as_json, compare
    from infra.sessions.store import find

    found = compare(ended(find(config(), first)), ended(find(config(), second)))
    content = as_json(found)
    if json:
        print_json(content)
    else:
        _print_diff(content)
    different = [one.topic for one in found.topics if one.equal is False]
    if different:
        names = " and ".join(content["sessions"])
        raise Mismatch(f"{names} say different things in {len(different)} topics: {', '.join(different)}.")


def _print_diff(content: dict[str, Any]) -> None:
    from infra.cli.output import OUT, print_table

    one, other = content["sessions"]
    for title, first, lines in (("plan", "what", content["plan"]), ("code", "task", content["code"])):
        if lines:
            OUT.print(f"[bold]{title}[/bold]")
            print_table((first, one, other), [(line[first], line[one], line[other]) for line in lines])
            OUT.print()
    rows = [
        (
            line["topic"], *line["rows"], *line["content_rows"],
            *(digest[:SHOWN_CHARACTERS] for digest in line["row_hashes"]),
            *((digest or "")[:SHOWN_CHARACTERS] for digest in line["content_hashes"]),
            {True: "equal", False: "differs", None: "has no content"}[line["equal"]],
        )
        for line in content["topics"]
    ]  # fmt: skip
    columns = (
        "topic",
        "rows",
        "rows",
        "content",
        "content",
        "row hash",
        "row hash",
        "content hash",
        "content hash",
        "",
    )
    print_table(columns, rows)
    for line in content["topics"]:
        if line["first"]:
            _print_apart(line["topic"], line["first"], one, other)


def _print_apart(topic: str, found: dict[str, Any], one: str, other: str) -> None:
    from infra.cli.output import OUT, print_table

    places = [row["row"] if row else "nothing" for row in found["rows"]]
    of = f" of {found['instrument']}" if found["instrument"] else ""
    OUT.print(
        f"\n{topic}: first apart at content row {found['place']:,}{of}: {places[0]} in {one}, {places[1]} in {other}",
        highlight=False,
    )
    sides = [row["columns"] if row else {} for row in found["rows"]]
    names = dict.fromkeys((*sides[0], *sides[1]))
    lines = [
        (name, *(_cut(side.get(name, "")) for side in sides), "differs" if name in found["fields"] else "")
        for name in names
    ]
    print_table(("field", one, other, ""), lines)
