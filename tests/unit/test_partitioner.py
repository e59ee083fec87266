"""Partitions must be those of every Kafka client."""

from __future__ import annotations

import numpy as np
import pytest

from streams.partitioner import murmur2, partition_of, partition_of_u32, partitions_of_u32


@pytest.mark.parametrize(
    ("key", "expected"),
    [  # Apache Kafka, UtilsTest.testMurmur2
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_equals_kafkas_published_vectors(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF


@pytest.mark.parametrize("partitions", [1, 3, 4, 16, 64])
def test_column_gives_the_partitions_of_its_values(partitions: int) -> None:
    generator = np.random.default_rng(1)
    keys = np.concatenate(
        [generator.integers(0, 1 << 32, 500, dtype=np.uint32), np.array([0, 1, (1 << 32) - 1], dtype=np.uint32)]
    )
    one_by_one = [partition_of(int(key).to_bytes(4, "little"), partitions) for key in keys]
    assert partitions_of_u32(keys, partitions).tolist() == one_by_one
    assert [partition_of_u32(int(key), partitions) for key in keys] == one_by_one


def test_column_of_a_structured_array_is_taken_without_a_copy_of_the_caller() -> None:
    rows = np.zeros(5, dtype=[("a", "<i8"), ("instrument", "<u4"), ("b", "<u4")])
    rows["instrument"] = [1001, 1002, 1003, 1004, 1005]
    assert partitions_of_u32(rows["instrument"], 4).tolist() == [2, 2, 0, 1, 3]
    assert rows["instrument"].tolist() == [1001, 1002, 1003, 1004, 1005]
