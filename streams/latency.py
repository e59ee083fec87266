"""Histograms of how long things took: four buckets per power of two, from 256 ns on."""

from __future__ import annotations

from schemas.declare import Rows
from schemas.events import LATENCY, LATENCY_BUCKETS, Hop

_FIRST_BITS = 8  # 2^8 = 256 ns
_STEPS = 4


class Histogram:
    """Counts of durations. Quantiles are exact to a quarter of a power of two, up to 16.7 ms; above that the
    largest duration stands for all."""

    def __init__(self) -> None:
        self.buckets = [0] * LATENCY_BUCKETS
        self.count = 0
        self.sum_ns = 0
        self.max_ns = 0

    def add(self, duration_ns: int) -> None:
        duration_ns = max(0, duration_ns)
        self.buckets[bucket_of(duration_ns)] += 1
        self.count += 1
        self.sum_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)

    def quantile_ns(self, share: float) -> int:
        """Upper edge of the bucket that holds the quantile; 0 when nothing was counted."""
        wanted = share * self.count
        seen = 0
        for number, count in enumerate(self.buckets):
            seen += count
            if count and seen >= wanted:
                return self.max_ns if number == LATENCY_BUCKETS - 1 else min(edge_ns(number + 1), self.max_ns)
        return 0


def bucket_of(duration_ns: int) -> int:
    """Number of the bucket; the last one takes everything above."""
    if duration_ns < 1 << _FIRST_BITS:
        return 0
    bits = duration_ns.bit_length() - 1
    step = duration_ns >> (bits - 2) & (_STEPS - 1)
    return min((bits - _FIRST_BITS) * _STEPS + step, LATENCY_BUCKETS - 1)


def edge_ns(bucket: int) -> int:
    """Where a bucket begins; bucket 0 begins at 0."""
    if bucket <= 0:
        return 0
    power, step = divmod(bucket, _STEPS)
    return ((_STEPS + step) << (_FIRST_BITS + power)) // _STEPS


def latency_row(histogram: Histogram, hop: Hop, writer: int, end_ns: int, interval_ns: int) -> Rows:
    """One row of sys.latency.v1: an array of one."""
    row = LATENCY.empty(1)
    row["ts_recv_ns"], row["interval_ns"] = end_ns, interval_ns
    row["count"], row["sum_ns"], row["max_ns"] = histogram.count, histogram.sum_ns, histogram.max_ns
    row["bucket"][0] = histogram.buckets
    row["writer"], row["hop"] = writer, hop
    return row
