"""`shriven map`: what flows, and who turns what into what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table


def mount(app: typer.Typer) -> None:
    app.command("map")(show)


def show(
    markdown: Annotated[bool, typer.Option("--markdown", help="As it stands in the README.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Only the graph, as Mermaid.")] = False,
    orders: Annotated[bool, typer.Option("--orders", help="The life of an order: the transition table.")] = False,
    reasons: Annotated[bool, typer.Option("--reasons", help="Why risk denies: the reason codes.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Both tables as JSON.")] = False,
) -> None:
    """Print the topics, the pipelines and the graph that they make; or another table of the platform."""
    from infra import map as maps
    from infra.cli.output import OUT, print_json, print_table
    from processors import order_transitions, risk_limits

    if orders:
        OUT.print(_table(order_transitions.as_markdown()))
    elif reasons:
        OUT.print(_table(risk_limits.reasons_as_markdown()))
    elif json:
        print_json(maps.as_json())
    elif markdown:
        print(maps.markdown())
    elif mermaid:
        print(maps.mermaid())
    else:
        print_table(maps.TOPIC_COLUMNS, maps.topic_rows(), "Topics")
        OUT.print()
        print_table(maps.PIPELINE_COLUMNS, maps.pipeline_rows(), "Pipelines")
        OUT.print()
        OUT.print(maps.drawing(), markup=False, highlight=False, no_wrap=True)


def _table(markdown: str) -> Table:
    """A table of a README, for a terminal."""
    from infra.cli.output import table

    lines = [
        [cell.strip(" `") for cell in line.strip("| ").replace("**", "").split(" | ")]
        for line in markdown.strip().splitlines()
    ]
    columns = lines[0]
    return table(columns, [(line + [""] * len(columns))[: len(columns)] for line in lines[2:]])
