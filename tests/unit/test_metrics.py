"""The metrics table and its endpoint, asked over real HTTP."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.errors import ResourceExhausted
from streams.metrics import METRICS, Metrics, Sample


def read(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    return {
        family.name: {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in family.samples
        }
        for family in text_string_to_metric_families(text)
    }


def test_endpoint_shows_the_owners_numbers_of_the_moment() -> None:
    rows = {"md.trade.v1": 3.0}
    metrics = Metrics("book/0", lambda: [Sample("rows_read", value, (topic,)) for topic, value in rows.items()])
    port, _ = metrics.serve(0)
    assert read(port)["shriven_rows_read"] == {("book/0", "md.trade.v1"): 3.0}
    rows["md.trade.v1"] = 5.0
    assert read(port)["shriven_rows_read"] == {("book/0", "md.trade.v1"): 5.0}


def test_histogram_counts_what_was_observed() -> None:
    metrics = Metrics("book/0", list)
    metrics.observe("batch_seconds", 0.003)
    port, _ = metrics.serve(0)
    family = read(port)["shriven_batch_seconds"]
    assert family[("0.005", "book/0")] == 1.0
    assert family[("0.002", "book/0")] == 0.0


def test_taken_port_says_who_is_to_move() -> None:
    port, _ = Metrics("a", list).serve(0)
    with pytest.raises(ResourceExhausted, match="SHRIVEN_METRICS_PORT"):
        Metrics("b", list).serve(port)


def test_table_names_each_metric_once_with_unit() -> None:
    assert len({row.name for row in METRICS}) == len(METRICS)
    assert all(row.unit for row in METRICS)
