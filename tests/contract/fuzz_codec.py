"""A fuzzer of the codec: `python -m tests.contract.fuzz_codec --inputs 1000000 --seed 1`.

Every input is a frame written in some form that Avro allows (blocks cut anywhere, counts with sizes,
integers longer than need be) and then, mostly, damaged. The codec and its plain twin must agree: the
same rows, or both refuse. `--keep FILE` writes the first input they disagree on.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from schemas.avro import based_fields, wire_fields
from schemas.catalogue import EVENTS
from schemas.compiled.generate import GENERATED
from schemas.declare import Event
from schemas.errors import InputInvalid
from schemas.frame import decode, decode_many, encode, peek
from tests.contract.codec_rows import random_head, random_rows
from tests.reference import frame as plain

EXTREMES = [0, 1, -1, 63, 64, -64, -65, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -(2**31) - 1, 2**32 - 1]
EXTREMES += [2**32, 2**40, 2**55 - 1, 2**55, -(2**55), 2**62 - 1, 2**62, -(2**62), 2**63 - 1, -(2**63)]


def varint(value: int, padding: int = 0) -> bytes:
    """Zigzag varint, with up to `padding` needless bytes, at most ten in all."""
    bits = ((value << 1) ^ (value >> 63)) & (2**64 - 1)
    out = bytearray()
    while bits > 0x7F:
        out.append(bits & 0x7F | 0x80)
        bits >>= 7
    out.append(bits)
    while padding and len(out) < 10:
        out[-1] |= 0x80
        out.append(0)
        padding -= 1
    return bytes(out)


class Writer:
    """Writes frames in any form that Avro allows, and integers that are sometimes not what they should be."""

    def __init__(self, rng: np.random.Generator, wildness: float) -> None:
        self.rng = rng
        self.wildness = wildness

    def often(self, chance: float) -> bool:
        return bool(self.rng.random() < chance)

    def long(self, value: int) -> bytes:
        if self.often(self.wildness):
            value = EXTREMES[self.rng.integers(len(EXTREMES))]
        return varint(value, int(self.rng.integers(1, 10)) if self.often(0.02) else 0)

    def array(self, items: list[bytes]) -> bytes:
        out = b""
        while items:
            cut = len(items) if self.often(0.7) else int(self.rng.integers(1, len(items) + 1))
            body, items = b"".join(items[:cut]), items[cut:]
            size = len(body) if not self.often(self.wildness) else len(body) + int(self.rng.integers(-3, 4))
            out += self.long(-cut) + self.long(size) + body if self.often(0.2) else self.long(cut) + body
        return out + self.long(0)

    def frame(self, event: Event) -> bytes:
        rng = self.rng
        rows, heap = random_rows(event, int(rng.integers(0, 12 if event in GENERATED else 5)), rng)
        writer, incarnation, row_first, cause = random_head(event, rng)
        record = plain.record_of(event, row_first, cause, rows, heap)
        out = event.schema_id.to_bytes(5, "big") + b"".join(map(self.long, (writer, incarnation, row_first)))
        out += b"".join(map(self.long, cause)) if event.caused else b""
        out += b"".join(self.long(record[f"base_{field.name}"]) for field in based_fields(event))
        return out + self.array([self.row(event, item) for item in record["rows"]])

    def row(self, event: Event, item: dict[str, Any]) -> bytes:
        out = b""
        for field in wire_fields(event):
            value = item[field.name]
            if field.heap:
                raw = value.encode() if field.kind == "text" else value
                out += self.long(len(raw)) + raw
            elif field.count:
                out += self.array([self.long(part) for part in value])
            elif field.kind == "f64":
                out += np.float64(value).tobytes()
            else:
                symbols: Any = field.symbols
                out += self.long(int(symbols[value]) if field.kind == "enum" else value)
        return out


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """`data` with one to three bytes flipped, cut, added, copied or overwritten."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(out) + 1))
        match rng.integers(6):
            case 0:
                del out[at:]
            case 1:
                del out[at : at + int(rng.integers(1, 9))]
            case 2:
                out[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 3:
                out[at : at + 8] = out[at : at + 8][::-1]
            case 4:
                out[at : at + 1] = bytes([(0, 1, 0x7F, 0x80, 0x81, 0xFF)[rng.integers(6)]]) * int(rng.integers(1, 12))
            case _:
                if at < len(out):
                    out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def make_inputs(rng: np.random.Generator) -> Iterator[bytes]:
    """A frame, and up to twenty damaged copies of it."""
    pool = GENERATED if rng.integers(2) else EVENTS
    event = pool[rng.integers(len(pool))]
    style = rng.integers(6)
    if style == 0:
        rows, heap = random_rows(event, int(rng.integers(0, 12)), rng)
        data = encode(event, *random_head(event, rng), rows, heap)
    else:
        data = Writer(rng, (0.0, 0.01, 0.05)[style % 3]).frame(event)
    yield data
    for _ in range(int(rng.integers(0, 21))):
        yield damaged(data, rng)


def disagreement(data: bytes) -> str | None:
    """What the codec and the plain twin see differently; the verdict they share otherwise is None."""
    try:
        expected = plain.decode(data)
    except plain.Refused as refused:
        event = plain.EVENT_BY_SCHEMA_ID.get(int.from_bytes(data[:5], "big"), EVENTS[0])
        inside = np.array([[0, len(data)]])  # of a longer buffer, so that a cut row could be read beyond its frame
        for wrongly in (lambda: decode(data), lambda: decode_many(event, data + b"\0" * 100, inside)):
            try:
                wrongly()
            except InputInvalid:
                continue
            return f"decoded what the twin refuses: {refused}"
        return None
    try:
        found = decode(data)
        many = decode_many(found.event, [data, data])
        head = peek(data)
    except InputInvalid as error:
        return f"refused what the twin decodes: {error}"
    if found[:5] != expected[:5]:
        return f"header {found[:5]} instead of {expected[:5]}"
    if found.rows.tobytes() != expected.rows.tobytes() or found.heap.tobytes() != expected.heap.tobytes():
        return f"rows {found.rows} instead of {expected.rows}"
    if (head.row_count, head.cause, *head[1:4]) != (len(expected.rows), expected.cause, *expected[1:4]):
        return f"peeked {head}"
    for name in found.rows.dtype.names or ():
        for i in range(2):
            if not name.endswith("_at") and many.frame(i).rows[name].tobytes() != expected.rows[name].tobytes():
                return f"decode_many: {name} of frame {i} differs"
    if many.heap.tobytes() != expected.heap.tobytes() * 2:
        return "decode_many: the heaps differ"
    return None


def run(inputs: int, seed: int, keep: Path | None = None) -> Counter[str]:
    """Fuzz; counts of what was accepted and refused. Raises AssertionError on a disagreement."""
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    endless = (data for _ in itertools.count() for data in make_inputs(rng))
    for i, data in enumerate(itertools.islice(endless, inputs)):
        problem = disagreement(data)
        if problem is not None:
            if keep is not None:
                keep.write_bytes(data)
            raise AssertionError(f"input {i} of seed {seed} ({data.hex()}): {problem}")
        counts["accepted" if is_frame(data) else "refused"] += 1
    return counts


def is_frame(data: bytes) -> bool:
    try:
        decode(data)
    except InputInvalid:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    counts = run(options.inputs, options.seed, options.keep)
    print(f"{options.inputs} inputs in {time.perf_counter() - started:.0f} s, seed {options.seed}: {dict(counts)}")


if __name__ == "__main__":
    main()
