"""Which line of a state's arrays belongs to which instrument: a hash table in an array.

`index` is int64[a power of two, at least twice the slots]; an entry is slot + 1, 0 is free. Column 0 of `heads`
is the instrument. Ids are hashes already (schemas/instruments.py).
"""

from __future__ import annotations

from processors.kernels.compiling import kernel, part

INSTRUMENT = 0


@part
def find_slot(index, heads, instrument):  # type: ignore[no-untyped-def]
    """Slot of an instrument, -1 when it has none."""
    mask = len(index) - 1
    place = instrument & mask
    while index[place] != 0:
        if heads[index[place] - 1, INSTRUMENT] == instrument:
            return index[place] - 1
        place = (place + 1) & mask
    return -1


@kernel
def enter_slot(index, heads, instrument, slot):  # type: ignore[no-untyped-def]
    """Note that `slot` is the instrument's; there must be a free place."""
    mask = len(index) - 1
    place = instrument & mask
    while index[place] != 0:
        place = (place + 1) & mask
    index[place] = slot + 1
    heads[slot, INSTRUMENT] = instrument
