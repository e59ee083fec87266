"""Which line of an array has a key of two integers: a hash table in an array, from which lines can be taken out.

`index` is int64[a power of two, at least twice the lines]; an entry is line + 1, 0 is free. The key of a line is its
columns 0 and 1 in `keys`.
"""

from __future__ import annotations

from processors.kernels.compiling import kernel, part

_BITS = (1 << 31) - 1
_ODD_A, _ODD_B = 2_654_435_761, 2_246_822_519  # below 2^32, without pattern in their bits


@part
def home_of(a, b, mask):  # type: ignore[no-untyped-def]
    """Where a key belongs. 31 bits times 32 bits: nothing overflows, and ids that count up are scattered."""
    mixed = ((a ^ (a >> 31)) & _BITS) * _ODD_A ^ ((b ^ (b >> 31)) & _BITS) * _ODD_B
    return (mixed >> 24) & mask


@part
def find_pair(index, keys, a, b):  # type: ignore[no-untyped-def]
    """Line of a key, -1 when it has none."""
    mask = len(index) - 1
    place = home_of(a, b, mask)
    while index[place] != 0:
        line = index[place] - 1
        if keys[line, 0] == a and keys[line, 1] == b:
            return line
        place = (place + 1) & mask
    return -1


@part
def enter_pair(index, keys, line):  # type: ignore[no-untyped-def]
    """Enter a line by the key that it has; there must be a free place and no such key."""
    mask = len(index) - 1
    place = home_of(keys[line, 0], keys[line, 1], mask)
    while index[place] != 0:
        place = (place + 1) & mask
    index[place] = line + 1


@part
def remove_pair(index, keys, line):  # type: ignore[no-untyped-def]
    """Take a line out that is in; those behind it move up, so that no search stops short."""
    mask = len(index) - 1
    hole = home_of(keys[line, 0], keys[line, 1], mask)
    while index[hole] != line + 1:
        hole = (hole + 1) & mask
    place = (hole + 1) & mask
    while index[place] != 0:
        other = index[place] - 1
        home = home_of(keys[other, 0], keys[other, 1], mask)
        if (place - home) & mask >= (place - hole) & mask:  # its home is not behind the hole
            index[hole] = index[place]
            hole = place
        place = (place + 1) & mask
    index[hole] = 0


@kernel
def enter_pairs(index, keys, count):  # type: ignore[no-untyped-def]
    """Enter lines 0 to count - 1 into a fresh index, except those whose key is (0, 0)."""
    for line in range(count):
        if keys[line, 0] != 0 or keys[line, 1] != 0:
            enter_pair(index, keys, line)
