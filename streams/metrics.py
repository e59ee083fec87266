"""What can be watched: every metric, once, and the endpoint that shows them.

`MetricName` makes a typo a type error. Counters are read from the owners' plain numbers when Prometheus
asks (`Collector.collect`), so that no hot loop touches a lock; only histograms are fed as things happen.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from schemas.errors import ResourceExhausted

MetricName = Literal[
    "rows_read",
    "rows_written",
    "bytes_read",
    "bytes_written",
    "lag_rows",
    "checkpoints",
    "dead_letters",
    "repeats_dropped",
    "row_gaps",
    "reconnects",
    "book_gaps",
    "resyncs",
    "log_last_row",
    "landed_row",
    "resident_bytes",
    "batch_seconds",
    "checkpoint_seconds",
]
Kind = Literal["counter", "gauge", "histogram"]
MILLISECOND_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


@dataclass(frozen=True)
class MetricRow:
    """One metric. `labels` beside `service`, which every sample carries."""

    name: MetricName
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    doc: str


METRICS: tuple[MetricRow, ...] = (
    MetricRow("rows_read", "counter", "rows", ("topic",), "rows taken from inputs, after the row filter"),
    MetricRow("rows_written", "counter", "rows", ("topic",), "rows committed to outputs"),
    MetricRow("bytes_read", "counter", "bytes", (), "bytes of frames taken"),
    MetricRow("bytes_written", "counter", "bytes", (), "bytes of frames committed or shipped"),
    MetricRow("lag_rows", "gauge", "rows", ("topic", "partition"), "rows written by others and not yet taken here"),
    MetricRow("checkpoints", "counter", "checkpoints", (), "checkpoints committed"),
    MetricRow("dead_letters", "counter", "rows", (), "rows put aside"),
    MetricRow("repeats_dropped", "counter", "rows", (), "rows that came twice and were taken once"),
    MetricRow("row_gaps", "counter", "gaps", (), "jumps of row numbers: rows lost before us"),
    MetricRow("reconnects", "counter", "dials", (), "dials after the first"),
    MetricRow("book_gaps", "counter", "gaps", (), "breaks of a venue's chain of book updates"),
    MetricRow("resyncs", "counter", "snapshots", (), "snapshots asked for to heal a book"),
    MetricRow("log_last_row", "gauge", "row", ("topic", "partition"), "last row in the local log"),
    MetricRow("landed_row", "gauge", "row", ("topic", "partition"), "last row acknowledged by the broker"),
    MetricRow("resident_bytes", "gauge", "bytes", (), "resident memory of the process"),
    MetricRow("batch_seconds", "histogram", "seconds", (), "one batch through the rule"),
    MetricRow("checkpoint_seconds", "histogram", "seconds", (), "one commit, from begin to durable"),
)
METRIC_BY_NAME: dict[MetricName, MetricRow] = {row.name: row for row in METRICS}


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a counter or gauge now; `labels` as the table's row names them."""

    name: MetricName
    value: float
    labels: tuple[str, ...] = ()


class Metrics:
    """The metrics of one process: a registry of its own, read on demand."""

    def __init__(self, service: str, read: Callable[[], Iterable[Sample]]) -> None:
        self.registry = CollectorRegistry()
        self._service = service
        self._histograms: Mapping[MetricName, Histogram] = {
            row.name: Histogram(
                f"shriven_{row.name}", row.doc, ["service"], buckets=MILLISECOND_BUCKETS, registry=self.registry
            )
            for row in METRICS
            if row.kind == "histogram"
        }
        self.registry.register(_OnDemand(service, read))

    def observe(self, name: MetricName, seconds: float) -> None:
        """Feed a histogram."""
        self._histograms[name].labels(self._service).observe(seconds)

    def serve(self, port: int, address: str = "127.0.0.1") -> tuple[int, threading.Thread]:
        """Start the endpoint; port 0 takes a free one. Returns the port and the server's thread.

        Raises:
            ResourceExhausted: the port is taken.
        """
        try:
            server, thread = start_http_server(port, addr=address, registry=self.registry)
        except OSError as error:
            raise ResourceExhausted(
                f"Metrics port {address}:{port} cannot be opened ({error.strerror}): another process has it. "
                "Set SHRIVEN_METRICS_PORT to a free one, or to 0 for any."
            ) from error
        return server.server_port, thread


class _OnDemand(Collector):
    def __init__(self, service: str, read: Callable[[], Iterable[Sample]]) -> None:
        self._service = service
        self._read = read

    def collect(self) -> Iterable[Metric]:
        families: dict[MetricName, CounterMetricFamily | GaugeMetricFamily] = {}
        for sample in self._read():
            row = METRIC_BY_NAME[sample.name]
            if row.name not in families:
                family = CounterMetricFamily if row.kind == "counter" else GaugeMetricFamily
                families[row.name] = family(f"shriven_{row.name}", row.doc, labels=["service", *row.labels])
            families[row.name].add_metric([self._service, *sample.labels], sample.value)
        return families.values()


def markdown(rows: Sequence[MetricRow] = METRICS) -> str:
    """The table for the README."""
    head = "| metric | kind | unit | labels | what |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| `shriven_{row.name}` | {row.kind} | {row.unit} | {', '.join(('service', *row.labels))} | {row.doc} |\n"
        for row in rows
    )
