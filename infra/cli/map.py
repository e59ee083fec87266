"""`shriven map`: what flows, and who turns what into what."""

from __future__ import annotations

from typing import Annotated

import typer


def mount(app: typer.Typer) -> None:
    app.command("map")(show)


def show(
    markdown: Annotated[bool, typer.Option("--markdown", help="As it stands in the README.")] = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Only the graph, as Mermaid.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Both tables as JSON.")] = False,
) -> None:
    """Print the topics, the pipelines and the graph that they make."""
    from infra import map as maps
    from infra.cli.output import OUT, print_json, print_table

    if json:
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
