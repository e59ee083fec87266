"""`shriven broker`: the embedded broker, beside and between sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.broker.embedded import Broker, Progress

JSON = Annotated[bool, typer.Option("--json", help="As JSON.")]


def mount(app: typer.Typer) -> None:
    group = typer.Typer(help="The embedded broker: a real Apache Kafka on this machine.", no_args_is_help=True)
    group.command("start")(start)
    group.command("stop")(stop)
    group.command("status")(status)
    group.command("logs")(logs)
    app.add_typer(group, name="broker")


def start(json: JSON = False) -> None:
    """Start it, or find it running. It goes on until `broker stop`."""
    from infra.cli.output import print_json, say

    broker = _broker()
    with progress_shown() as show:
        address = broker.start(show)
    if json:
        print_json({"bootstrap": address.bootstrap, "was_running": address.was_running})
    else:
        say(f"The broker {'was running' if address.was_running else 'runs'} at {address.bootstrap}.")


def stop(json: JSON = False) -> None:
    """End it. What it holds stays."""
    from infra.cli.output import print_json, say

    stops = _broker().stop()
    if json:
        print_json([{"node": one.number, "how": one.how} for one in stops])
    else:
        for one in stops:
            say(f"Node {one.number}: {one.how}.")


def status(json: JSON = False) -> None:
    """Say whether it runs, where, and what it takes. Starts nothing."""
    from infra.cli.output import OUT, mebibytes, print_json, print_table

    found = _broker().status()
    rows = [
        (node.number, node.state, node.pid, node.port, node.rss_bytes, node.disk_bytes, str(node.directory))
        for node in found.nodes
    ]
    columns = ("node", "state", "pid", "port", "rss_bytes", "disk_bytes", "directory")
    if json:
        nodes = [dict(zip(columns, row, strict=True)) for row in rows]
        head = {"answers": found.answers, "bootstrap": found.bootstrap, "kafka": found.kafka_version}
        print_json({**head, "nodes": nodes})
        return
    answer = "answers" if found.answers else "does not answer"
    OUT.print(f"Apache Kafka {found.kafka_version} at {found.bootstrap} {answer}.", highlight=False)
    shown = [(*row[:4], mebibytes(row[4]), mebibytes(row[5]), row[6]) for row in rows]
    print_table(("node", "state", "pid", "port", "memory", "disk", "directory"), shown)


def logs(
    node: Annotated[int, typer.Option(help="Which node, counted from 1.")] = 1,
    lines: Annotated[int, typer.Option(min=1, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Then each new one, until Ctrl-C.")] = False,
) -> None:
    """Show what it logged."""
    for line in _broker().logs(node, lines, follow):
        print(line, flush=True)


def _broker() -> Broker:
    from infra.broker.embedded import Broker
    from infra.config import config
    from infra.place import broker_settings

    return Broker(broker_settings(config()))


@contextmanager
def progress_shown() -> Iterator[Callable[[Progress], None]]:
    """A progress bar on stderr for fetching the broker; nothing moves where stderr is no terminal."""
    from rich import progress as bars

    from infra.cli.output import ERR, say

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.DownloadColumn())
    fetching: list[bars.TaskID] = []
    with bars.Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as shown:

        def show(step: Progress) -> None:
            if step.stage != "fetch":
                return
            if not fetching:
                say(f"Fetching {step.text} (once)")
                fetching.append(shown.add_task(step.text, total=step.total))
            shown.update(fetching[0], completed=step.done)

        yield show
