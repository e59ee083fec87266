"""Histograms hold what was added."""

from __future__ import annotations

import random

import pytest

from schemas.events import LATENCY_BUCKETS, Hop
from streams.latency import Histogram, bucket_of, edge_ns, latency_row


def test_buckets_lie_side_by_side() -> None:
    assert edge_ns(0) == 0
    for bucket in range(1, LATENCY_BUCKETS):
        assert bucket_of(edge_ns(bucket)) == bucket
        assert bucket_of(edge_ns(bucket) - 1) == bucket - 1
    assert bucket_of(1 << 62) == LATENCY_BUCKETS - 1


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
def test_quantiles_are_exact_to_a_bucket(share: float) -> None:
    chosen = random.Random(1)
    values = sorted(int(chosen.lognormvariate(12, 1)) for _ in range(2_000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = values[max(0, int(share * len(values)) - 1)]
    assert exact <= histogram.quantile_ns(share) <= exact * 1.25
    assert (histogram.count, histogram.sum_ns, histogram.max_ns) == (2_000, sum(values), values[-1])


def test_row_carries_the_histogram() -> None:
    histogram = Histogram()
    for value in (1, 300, 5_000_000):
        histogram.add(value)
    row = latency_row(histogram, Hop.OUTPUT_TO_COMMIT, 1027, 99, 10)
    assert row["bucket"][0].tolist() == histogram.buckets
    assert row["bucket"][0].sum() == row["count"][0] == 3
    assert (row["writer"][0], row["hop"][0], row["max_ns"][0]) == (1027, Hop.OUTPUT_TO_COMMIT, 5_000_000)


def test_empty_histogram_has_no_quantile() -> None:
    assert Histogram().quantile_ns(0.5) == 0


def test_durations_above_the_last_edge_are_shown_by_their_largest() -> None:
    histogram = Histogram()
    for value in (20_000_000, 30_000_000):
        histogram.add(value)
    assert histogram.quantile_ns(0.5) == 30_000_000
