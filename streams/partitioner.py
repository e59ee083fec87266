"""Which partition a row goes to: Kafka's own formula, so that every client agrees with us.

`murmur2` is the hash of the Java client's default partitioner; a partition is its low 31 bits modulo the
number of partitions. The key of a row is the little-endian bytes of its `partition_by` column (u32).
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

_SEED = 0x9747B28C
_MIX = 0x5BD1E995
_MASK = 0xFFFFFFFF
_POSITIVE = 0x7FFFFFFF


def murmur2(key: bytes) -> int:
    """Kafka's murmur2 of one key, as an unsigned 32-bit number."""
    value = (_SEED ^ len(key)) & _MASK
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(key[at : at + 4], "little") * _MIX & _MASK
        word = (word ^ word >> 24) * _MIX & _MASK
        value = value * _MIX & _MASK ^ word
    if len(key) > whole:
        value = (value ^ int.from_bytes(key[whole:], "little")) * _MIX & _MASK
    value = (value ^ value >> 13) * _MIX & _MASK
    return value ^ value >> 15


def partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's default partitioner puts a key."""
    return (murmur2(key) & _POSITIVE) % partitions


@functools.lru_cache(maxsize=65_536)
def partition_of_u32(key: int, partitions: int) -> int:
    """The same for one value of a u32 column."""
    return partition_of(key.to_bytes(4, "little"), partitions)


def partitions_of_u32(keys: npt.NDArray[np.uint32], partitions: int) -> npt.NDArray[np.intp]:
    """The same for a column: shape (n,) → partition numbers, shape (n,)."""
    mix = np.uint32(_MIX)
    word = keys.astype(np.uint32) * mix
    word = (word ^ word >> np.uint32(24)) * mix
    value = np.uint32((_SEED ^ 4) * _MIX & _MASK) ^ word
    value = (value ^ value >> np.uint32(13)) * mix
    value ^= value >> np.uint32(15)
    return ((value & np.uint32(_POSITIVE)) % np.uint32(partitions)).astype(np.intp)
