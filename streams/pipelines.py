"""Who turns what into what: every pipeline, once.

A pipeline runs one task per partition of its first keyed input. Its processor is named by key and
found in the registry that the composition root (`infra/registry.py`) fills: the table knows no code.
Writer numbers are frozen: a writer is (pipeline number, task), and row addresses carry it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from schemas.errors import ConfigInvalid
from streams.api import TopicPartition
from streams.topics import TOPICS, Topic, topic

InputMode = Literal["keyed", "whole", "broadcast"]
TASKS_MAX = 64  # tasks of a pipeline; a writer number is pipeline number × 64 + task


@dataclass(frozen=True)
class Input:
    """One input: *keyed* (a task reads its own partition), *whole* (every partition) or *broadcast*
    (one partition, read to its end before the first keyed row)."""

    topic: str
    mode: InputMode = "keyed"


@dataclass(frozen=True)
class Pipeline:
    """One row of the table.

    Args:
        number: frozen; 1 to 511.
        name: what `shriven run` takes.
        processor: key in the registry.
        inputs: in rank order: at equal receive times the first goes first.
        outputs: topics, in the order of the processor's outputs.
        place: `connector` runs beside its connection, from and to the local log, whose files are then
            shipped; `worker` runs on whatever transport the session has.
        doc: one line for people.
        trades: runs only where orders are sent.
    """

    number: int
    name: str
    processor: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    place: Literal["connector", "worker"]
    doc: str
    trades: bool = False

    def writer(self, task: int) -> int:
        assert 0 <= task < TASKS_MAX
        return self.number * TASKS_MAX + task


_WIRE_OUTPUTS = ("md.trade.v1", "md.book_delta.v1", "md.ticker.v1", "ref.instrument.v1", "md.resync_request.v1")

PIPELINES: tuple[Pipeline, ...] = (
    Pipeline(1, "wire_binance_spot", "binance_spot.wire", (Input("raw.frame.v1"),), _WIRE_OUTPUTS, "connector",
             "Binance Spot frames to rows, books synchronised by the venue's rules"),
    Pipeline(2, "wire_binance_usdm", "binance_usdm.wire", (Input("raw.frame.v1"),), _WIRE_OUTPUTS, "connector",
             "Binance USD-M futures frames to rows, books synchronised by the venue's rules"),
    Pipeline(16, "book", "book", (Input("md.book_delta.v1"),), ("md.quote.v1", "md.book_snapshot.v1"), "worker",
             "order books: quotes, snapshots, trust"),
    Pipeline(17, "bars", "bars", (Input("md.trade.v1"),), ("md.bar.v1", "md.volume_profile.v1"), "worker",
             "bars and volume profiles"),
    Pipeline(3, "orders_binance_usdm", "binance_usdm.orders", (Input("raw.frame.v1"),),
             ("venue.report.v1", "venue.account_update.v1"), "connector",
             "what Binance USD-M futures says of our orders and money, to rows", trades=True),
    Pipeline(32, "strategies", "strategies",
             (Input("md.quote.v1", "whole"), Input("md.trade.v1", "whole"), Input("md.bar.v1", "whole"),
              Input("oms.order.v1"), Input("oms.fill.v1"), Input("acct.position.v1"),
              Input("ref.strategy.v1", "broadcast"), Input("ref.instrument.v1", "broadcast")),
             ("oms.order_request.v1",), "worker", "strategies in force: what they want", trades=True),
    Pipeline(33, "risk", "risk",
             (Input("ctl.switch.v1", "broadcast"), Input("ref.limit.v1", "broadcast"),
              Input("ref.strategy.v1", "broadcast"), Input("ref.instrument.v1", "broadcast"),
              Input("md.quote.v1", "whole"), Input("oms.order.v1"), Input("oms.fill.v1"),
              Input("oms.order_request.v1")),
             ("risk.decision.v1", "risk.denial.v1"), "worker", "every check of every request", trades=True),
    Pipeline(34, "orders", "orders", (Input("venue.report.v1"), Input("risk.decision.v1")),
             ("oms.order.v1", "oms.order_command.v1", "oms.fill.v1"), "worker", "the life of every order", trades=True),
    Pipeline(35, "positions", "positions",
             (Input("ref.instrument.v1", "broadcast"), Input("md.quote.v1", "whole"),
              Input("venue.account_update.v1"), Input("oms.fill.v1")),
             ("acct.position.v1", "acct.posting.v1", "acct.balance.v1"), "worker",
             "positions and the double-entry ledger", trades=True),
)  # fmt: skip
PIPELINE_BY_NAME: dict[str, Pipeline] = {pipeline.name: pipeline for pipeline in PIPELINES}

# Writers that are not pipelines: number × 64 + task, as above.
CONNECTOR_NUMBERS: dict[str, int] = {
    "binance_spot": 496, "binance_usdm": 497, "zerodha": 498, "binance_usdm_private": 499,
}  # fmt: skip
OPERATOR_NUMBER = 510  # people, and what a session starts with: limits, strategies, switches, orders by hand
SERVICE_NUMBER = 511  # heartbeats, sessions, latency


def pipeline(name: str) -> Pipeline:
    found = PIPELINE_BY_NAME.get(name)
    if found is None:
        raise ConfigInvalid(f"No pipeline {name!r}. There are: {', '.join(PIPELINE_BY_NAME)}.")
    return found


def connector_writer(venue: str, shard: int) -> int:
    """Writer number of the raw frames of connection `shard` of a venue."""
    return CONNECTOR_NUMBERS[venue] * TASKS_MAX + shard


def writer_label(writer: int) -> str:
    """`book/3` for people."""
    number, task = divmod(writer, TASKS_MAX)
    names = {row.number: row.name for row in PIPELINES} | {n: v for v, n in CONNECTOR_NUMBERS.items()}
    names |= {SERVICE_NUMBER: "service", OPERATOR_NUMBER: "operator"}
    return f"{names.get(number, number)}/{task}"


def tasks(row: Pipeline) -> int:
    """How many tasks: the partitions of its keyed inputs, or 1."""
    counts = [topic(source.topic).partitions for source in row.inputs if source.mode == "keyed"]
    return counts[0] if counts else 1


def input_places(row: Pipeline, task: int) -> dict[TopicPartition, bool]:
    """Partitions that a task reads, in rank order; True where the input is broadcast."""
    places: dict[TopicPartition, bool] = {}
    for source in row.inputs:
        read = topic(source.topic)
        if source.mode == "whole":
            places.update({TopicPartition(read.number, number): False for number in range(read.partitions)})
        else:
            number = task % read.partitions if source.mode == "keyed" else 0
            places[TopicPartition(read.number, number)] = source.mode == "broadcast"
    return places


def output_places(row: Pipeline) -> list[TopicPartition]:
    """Partitions that a task of the pipeline may write to, its journal's left out."""
    written = [topic(name) for name in (*row.outputs, "sys.dead_letter")]
    return [TopicPartition(one.number, number) for one in written for number in range(one.partitions)]


def check(pipelines: tuple[Pipeline, ...] = PIPELINES, topics: tuple[Topic, ...] = TOPICS) -> None:
    """Refuse a table that contradicts itself or the topics table.

    Raises:
        ConfigInvalid: names the row and what is wrong with it.
    """
    by_name = {row.name: row for row in topics}
    for attribute in ("number", "name"):
        values = [getattr(row, attribute) for row in pipelines]
        if len(set(values)) != len(values):
            raise ConfigInvalid(f"Pipelines: a {attribute} is used twice in {values}.")
    for row in pipelines:
        for name in (*(source.topic for source in row.inputs), *row.outputs):
            if name not in by_name:
                raise ConfigInvalid(f"Pipeline {row.name}: no topic {name!r}.")
        _check_inputs(row, by_name)
        for name in row.outputs:
            wanted = "connector" if row.place == "connector" else "runner"
            if by_name[name].owner != wanted:
                raise ConfigInvalid(
                    f"Pipeline {row.name} ({row.place}) may not write {name}: {by_name[name].owner}s do."
                )
    written = {name for row in pipelines for name in row.outputs}
    for top in topics:
        ruled = top.name.startswith(("md.", "signal", "oms.", "acct.")) and top.owner != "service"
        if ruled and top.name not in written:
            raise ConfigInvalid(f"Topic {top.name} is an orphan: no pipeline writes it.")


def _check_inputs(row: Pipeline, by_name: dict[str, Topic]) -> None:
    keyed = [by_name[source.topic] for source in row.inputs if source.mode == "keyed"]
    if len({top.partitions for top in keyed}) > 1 or len({top.partition_by for top in keyed}) > 1:
        raise ConfigInvalid(f"Pipeline {row.name}: keyed inputs must share key and partition count.")
    for source in row.inputs:
        if source.mode == "broadcast" and by_name[source.topic].partitions != 1:
            raise ConfigInvalid(f"Pipeline {row.name}: broadcast input {source.topic} must have one partition.")
    if not row.inputs:
        raise ConfigInvalid(f"Pipeline {row.name} has no input.")


check()
