"""The two tables, and the graph that follows from them: for the terminal, Mermaid and the README.

The drawings are made from the tables alone, so they cannot disagree with what runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from streams.pipelines import CONNECTOR_NUMBERS, PIPELINES, Pipeline, tasks
from streams.topics import DAY_MS, HOUR_MS, TOPICS, Topic

TOPIC_COLUMNS = ("number", "topic", "event", "key", "partitions", "cleanup", "commit", "written by", "what")
PIPELINE_COLUMNS = ("number", "pipeline", "inputs", "outputs", "tasks", "place", "what")
RAW = "raw.frame.v1"


def topic_rows(topics: Iterable[Topic] = TOPICS) -> list[tuple[object, ...]]:
    """One row per topic, in `TOPIC_COLUMNS`."""
    return [
        (
            row.number,
            row.name,
            row.event.name,
            ", ".join(row.key) or row.partition_by or "task",
            row.partitions,
            f"{row.cleanup}, {_age(row.retention_ms)}",
            row.commit,
            row.owner,
            row.doc,
        )
        for row in topics
    ]


def pipeline_rows(pipelines: Iterable[Pipeline] = PIPELINES) -> list[tuple[object, ...]]:
    """One row per pipeline, in `PIPELINE_COLUMNS`."""
    return [
        (
            row.number,
            row.name,
            ", ".join(f"{source.topic} ({source.mode})" for source in row.inputs),
            ", ".join(row.outputs),
            tasks(row),
            row.place,
            row.doc,
        )
        for row in pipelines
    ]


def as_json() -> dict[str, Any]:
    return {
        "topics": [dict(zip(TOPIC_COLUMNS, row, strict=True)) for row in topic_rows()],
        "pipelines": [dict(zip(PIPELINE_COLUMNS, row, strict=True)) for row in pipeline_rows()],
    }


def mermaid(pipelines: Sequence[Pipeline] = PIPELINES) -> str:
    """The graph as Mermaid: rounded boxes are venues, boxes are pipelines, the rest are topics."""
    names = sorted({name for row in pipelines for name in (*(source.topic for source in row.inputs), *row.outputs)})
    lines = ["flowchart LR"]
    lines += [f"    {venue}({venue}) --> {_id(RAW)}" for venue in _venues(pipelines)]
    lines += [f'    {_id(name)}[("{name}")]' for name in names]
    for row in pipelines:
        lines.append(f'    {row.name}["{row.name}"]')
        lines += [f"    {_id(source.topic)} --> {row.name}" for source in row.inputs]
        lines += [f"    {row.name} --> {_id(name)}" for name in row.outputs]
    return "\n".join(lines)


def markdown() -> str:
    """Tables and graph as they stand in the README."""
    return "\n\n".join(
        (
            _markdown_table(TOPIC_COLUMNS, topic_rows()),
            _markdown_table(PIPELINE_COLUMNS, pipeline_rows()),
            f"```mermaid\n{mermaid()}\n```",
        )
    )


def drawing(pipelines: Sequence[Pipeline] = PIPELINES) -> str:
    """The graph for a terminal: a box per pipeline, its inputs on the left, its outputs on the right.

    Pipelines with the same inputs, outputs and place share a box. They stand in the order in which rows
    pass them.
    """
    blocks: list[list[Pipeline]] = []
    for row in _in_order(pipelines):
        same = next((block for block in blocks if _shape(block[0]) == _shape(row)), None)
        if same is None:
            blocks.append([row])
        else:
            same.append(row)
    width = max(len(source.topic) for row in pipelines for source in row.inputs)
    inside = max(len(row.name) for row in pipelines)
    lines = [f"{venue} ─▶ {RAW}" for venue in _venues(pipelines)]
    for block in blocks:
        lines += ["", *_box(block, width, inside)]
    return "\n".join(lines)


def _box(block: Sequence[Pipeline], width: int, inside: int) -> list[str]:
    names = [row.name for row in block]
    inputs = [source.topic for source in block[0].inputs]
    outputs = list(block[0].outputs)
    height = max(len(names), len(inputs), len(outputs))
    lines = [f"{'':{width}}    ┌{'─' * (inside + 2)}┐"]
    for index in range(height):
        left = f"{inputs[index]:>{width}} ─▶ │" if index < len(inputs) else f"{'':{width}}    │"
        right = f"│ ─▶ {outputs[index]}" if index < len(outputs) else "│"
        name = names[index] if index < len(names) else ""
        lines.append(f"{left} {name:{inside}} {right}")
    lines.append(f"{'':{width}}    └{'─' * (inside + 2)}┘")
    return lines


def _in_order(pipelines: Sequence[Pipeline]) -> list[Pipeline]:
    """Writers before readers."""
    left, done = list(pipelines), []
    while left:
        waiting = {name for row in left for name in row.outputs}
        ready = [row for row in left if not waiting & {source.topic for source in row.inputs}]
        ready = ready or left[:1]  # a cycle: begin somewhere
        done += ready
        left = [row for row in left if row not in ready]
    return done


def _shape(row: Pipeline) -> tuple[object, ...]:
    return (tuple(source.topic for source in row.inputs), row.outputs, row.place)


def _venues(pipelines: Sequence[Pipeline]) -> list[str]:
    """Venues whose frames some pipeline reads."""
    readers = {row.name for row in pipelines if any(source.topic == RAW for source in row.inputs)}
    return [venue for venue in CONNECTOR_NUMBERS if f"wire_{venue}" in readers]


def _id(name: str) -> str:
    return name.replace(".", "_")


def _age(milliseconds: int) -> str:
    if milliseconds % DAY_MS == 0:
        return f"{milliseconds // DAY_MS} d"
    return f"{milliseconds // HOUR_MS} h"


def _markdown_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(str(value) for value in row)} |" for row in rows]
    return "\n".join(lines)
