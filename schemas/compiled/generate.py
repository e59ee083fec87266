"""Writes the kernels of the events that flow by the million: `python -m schemas.compiled.generate`.

A generated kernel takes a row when every value of it is short and in range, which real rows are,
and gives any other row to `read.py and write.py`, which alone refuses. So a generated kernel cannot be wrong
about bad input; it can only be slow.

How a row is read: the top bits of its next 64 bytes, as one word, tell where each varint ends, so
that no value waits for the length of the one before. One-byte columns at the end of a row are
checked and moved together (*lanes*).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from schemas.avro import based_fields, wire_fields
from schemas.compiled.layout import limit_of, program_of, reserved_masks
from schemas.declare import NUMPY_OF_KIND, Event, Field
from schemas.events import BOOK_DELTA, QUOTE, TRADE

FOLDER = Path(__file__).resolve().parent
GENERATED: tuple[Event, ...] = (TRADE, BOOK_DELTA, QUOTE)
DIGEST_LINE = re.compile(r"^# Compiled together with: .*$", re.MULTILINE)
CALLS = re.compile(r"^from schemas\.compiled\.(\w+) import", re.MULTILINE)
LANE_KINDS = ("enum", "flags", "u8")
LANE_MAX = 63  # the largest value of a varint of one byte
BITS_OF_KIND = {"u8": 8, "u16": 16, "u32": 32, "flags": 8}


def module_name(event: Event) -> str:
    """`BookDelta` → `book_delta`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in event.name).lstrip("_")


def digest_line(text: str) -> str:
    """A comment that changes with the files whose kernels the kernels in `text` call, directly or not.

    Numba's cache watches only a kernel's own file: without the line, it would go on using machine
    code that has the old callee inside.
    """
    below: dict[str, str] = {}
    names = CALLS.findall(text)
    while names:
        name = names.pop()
        if name not in below:
            below[name] = DIGEST_LINE.sub("", (FOLDER / f"{name}.py").read_text())
            names += CALLS.findall(below[name])
    content = "".join(below[name] for name in sorted(below))
    return f"# Compiled together with: {hashlib.sha256(content.encode()).hexdigest()}"


@dataclass(frozen=True)
class Column:
    """A column as the generator sees it."""

    field: Field
    word: int
    shift: int
    base: int  # -1 for none

    @property
    def name(self) -> str:
        return self.field.name

    @property
    def narrow(self) -> int:
        """Bits of an unsigned column, 64 for an i64."""
        return BITS_OF_KIND.get(self.field.kind, 64)


@dataclass(frozen=True)
class Plan:
    """A row's columns: wide ones, read one by one, and the lanes at its end."""

    event: Event
    wide: tuple[Column, ...]
    lanes: tuple[Column, ...]

    @property
    def words(self) -> int:
        return self.event.dtype.itemsize // 8

    @property
    def bases(self) -> int:
        return len(based_fields(self.event))

    def lane_word(self, value_of_lane: list[int]) -> int:
        return sum(value << 8 * k for k, value in enumerate(value_of_lane))

    @property
    def lane_limits(self) -> list[int]:
        return [min(limit_of(lane.field), LANE_MAX) for lane in self.lanes]


def plan_of(event: Event) -> Plan:
    """Refuses (AssertionError) an event whose rows are not a plain series of integers with lanes at the end."""
    columns = []
    for field, line in zip(wire_fields(event), program_of(event).tolist(), strict=True):
        assert not field.heap, f"{event.name}.{field.name}: heap columns are read by read.py and write.py"
        assert not field.count, f"{event.name}.{field.name}: arrays are read by read.py and write.py"
        assert field.kind not in ("f64", "i32"), f"{event.name}.{field.name}: read by read.py and write.py"
        columns.append(Column(field, line[1], line[2], line[4]))
    lane_count = 0
    while lane_count < len(columns) and columns[-1 - lane_count].field.kind in LANE_KINDS:
        lane_count += 1
    wide, lanes = columns[: len(columns) - lane_count], columns[len(columns) - lane_count :]
    assert lanes, f"{event.name}: no lanes"
    assert all(NUMPY_OF_KIND[column.field.kind] in ("<i8", "<u4", "<u2") for column in wide), event.name
    for lane, before in zip(lanes[1:], lanes, strict=False):
        assert (lane.word, lane.shift) == (before.word, before.shift + 8), f"{event.name}: lanes lie apart"
    return Plan(event, tuple(wide), tuple(lanes))


HEADER = '''"""Kernels of {event}: written by schemas/compiled/generate.py from its declaration, not by hand."""

# Compiled together with: none yet

import numpy as np
from numba import njit

from schemas.compiled.bits import borrowed, ends64, load64, prefetch, store64, trailing_zeros
from schemas.compiled.fast import (
    DATA_AHEAD,
    READ_AHEAD,
    ROW_WINDOW,
    ROWS_AHEAD,
    bases_are_near,
    has_long_varint,
    read_value,
    write_value,
    zigzag_bits,
)
from schemas.compiled.layout import BASE, COUNT, ITEMS, ROW_AT, STOP
from schemas.compiled.read import read_end, read_odd_row
from schemas.compiled.varint import CACHE
from schemas.compiled.write import begin_frame, end_frame, write_odd_row

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_56 = np.uint64(56)
{constants}
'''


def constants(plan: Plan) -> str:
    """Module constants: lane masks, shifts."""
    count = len(plan.lanes)
    lines = {
        "_LANES": plan.lane_word([0x3F] * count),
        "_LANES_BAD": plan.lane_word([0x81] * count),  # continued, or negative
        "_LANES_HIGH": plan.lane_word([0xC0] * count),  # does not fit one byte
        "_LANES_OVER": plan.lane_word([127 - limit for limit in plan.lane_limits]),  # brings a lane over its limit …
        "_LANES_TOP": plan.lane_word([0x80] * count),  # … to here
        "_LANES_AT": plan.lanes[0].shift,
    }
    lines |= {f"_{column.shift}_{column.name.upper()}": column.shift for column in plan.wide if column.shift}
    lines |= {f"_MASK_{column.narrow}": (1 << column.narrow) - 1 for column in plan.wide if column.narrow < 64}
    lines |= {f"_BITS_{column.narrow}": column.narrow for column in plan.wide if column.narrow < 64}
    lines |= {f"_RESERVED_{k}": int(mask) for k, mask in enumerate(reserved_masks(plan.event)) if mask}
    return "\n".join(f"{name} = np.uint64(0x{value:X})" for name, value in lines.items())


def _shifted(column: Column, value: str) -> str:
    return f"({value} << _{column.shift}_{column.name.upper()})" if column.shift else value


def decode_source(plan: Plan) -> str:
    """`decode_frames` of one event, of the same signature and meaning as `read.decode_frames`."""
    lines = [
        "@njit(cache=CACHE, nogil=True)",
        "def decode_frames(data, heads, program, words, heap):  # type: ignore[no-untyped-def]",
        "    data, heads, program = borrowed(data), borrowed(heads), borrowed(program)",
        "    words, heap = borrowed(words), borrowed(heap)",
        "    for i in range(len(heads)):",
        f"        fast_stop = len(data) - READ_AHEAD if bases_are_near(heads, i, {plan.bases}) else -1",
    ]
    lines += [f"        base_{b} = np.uint64(heads[i, BASE + {b}])" for b in range(plan.bases)]
    lines += [
        "        stop = heads[i, STOP]",
        "        pos = heads[i, ITEMS]",
        "        row = heads[i, ROW_AT]",
        "        for k in range(heads[i, COUNT]):",
        "            if pos <= fast_stop:",
        "                ends = ends64(data, pos)",
        "                left = ends",
    ]
    indent = " " * 16
    lines += [
        f"{indent}prefetch(data, pos + DATA_AHEAD)",
        f"{indent}prefetch(words, (row + ROWS_AHEAD) * {plan.words})",
    ]
    before = "0"
    for n, column in enumerate(plan.wide):
        lines += [f"{indent}end_{n} = trailing_zeros(left) + 1", f"{indent}left &= left - _ONE"]
        at, size = ("pos", f"end_{n}") if n == 0 else (f"pos + {before}", f"end_{n} - {before}")
        base = f" + base_{column.base}" if column.base >= 0 else ""
        lines.append(f"{indent}{column.name} = read_value(data, {at}, {size}){base}")
        before = f"end_{n}"
    lines += [
        f"{indent}size = {before} + {len(plan.lanes)}",
        f"{indent}window = load64(data, pos + {before})",
        f"{indent}lanes = (window >> _ONE) & _LANES",
        f"{indent}odd = (window & _LANES_BAD) | ((lanes + _LANES_OVER) & _LANES_TOP)",
    ]
    lines += [f"{indent}odd |= {column.name} >> _BITS_{column.narrow}" for column in plan.wide if column.narrow < 64]
    fits = "size <= ROW_WINDOW and pos + size <= stop"
    lines.append(f"{indent}if odd == _ZERO and {fits} and not has_long_varint(ends, {before}):")
    for word in range(plan.words):
        parts = [_shifted(column, column.name) for column in plan.wide if column.word == word]
        parts += ["(lanes << _LANES_AT)"] if plan.lanes[0].word == word else []
        lines.append(f"{indent}    words[row, {word}] = {' | '.join(parts) or '_ZERO'}")
    lines += [
        f"{indent}    pos += size",
        f"{indent}    row += 1",
        f"{indent}    continue",
        "            pos, _ = read_odd_row(data, pos, heads, i, program, words, row, k, heap, np.int64(0))",
        "            if pos < 0:",
        "                return -1 - i",
        "            row += 1",
        "        if read_end(data, pos, heads, i) < 0:",
        "            return -1 - i",
        "    return 0",
    ]
    return "\n".join(lines)


def encode_source(plan: Plan) -> str:
    """`encode_frame` of one event, of the same signature and meaning as `write.encode_frame`."""
    touched = 8 * (len(plan.wide) + 1)
    indent = " " * 12
    lines = [
        "@njit(cache=CACHE, nogil=True)",
        "def encode_frame(words, program, facts, reserved, heads, heap, out, pinned):  # type: ignore[no-untyped-def]",
        "    words, program, facts, reserved = borrowed(words), borrowed(program), borrowed(facts), borrowed(reserved)",
        "    heads, heap, out = borrowed(heads), borrowed(heap), borrowed(out)",
        "    pos = begin_frame(words, program, facts, heads, out, pinned)",
        f"    fast_stop = len(out) - {touched}",
    ]
    lines += [f"    base_{b} = np.uint64(heads[0, BASE + {b}])" for b in range(plan.bases)]
    lines += ["    for row in range(len(words)):", "        if pos <= fast_stop:"]
    lines.append(f"{indent}prefetch(words, (row + ROWS_AHEAD) * {plan.words})")
    for column in plan.wide:
        value = f"words[row, {column.word}]"
        if column.narrow < 64:
            shifted = f"({value} >> _{column.shift}_{column.name.upper()})" if column.shift else value
            value = f"({shifted} & _MASK_{column.narrow})"
        base = f" - base_{column.base}" if column.base >= 0 else ""
        lines.append(f"{indent}{column.name} = zigzag_bits({value}{base})")
    masks = [k for k, mask in enumerate(reserved_masks(plan.event)) if mask]
    # Bytes that follow the lanes in their word are not theirs: mask them off.
    lines += [
        f"{indent}lanes = words[row, {plan.lanes[0].word}] >> _LANES_AT",
        f"{indent}odd = lanes & _LANES_HIGH",
        f"{indent}lanes &= _LANES",
        f"{indent}odd |= (lanes + _LANES_OVER) & _LANES_TOP",
    ]
    lines += [f"{indent}odd |= {column.name} >> _56" for column in plan.wide]
    lines += [f"{indent}odd |= words[row, {k}] & _RESERVED_{k}" for k in masks]
    lines.append(f"{indent}if odd == _ZERO:")
    lines += [f"{indent}    pos = write_value(out, pos, {column.name})" for column in plan.wide]
    lines += [
        f"{indent}    store64(out, pos, lanes << _ONE)",
        f"{indent}    pos += {len(plan.lanes)}",
        f"{indent}    continue",
        "        pos = write_odd_row(words, row, program, facts, reserved, heads, heap, out, pos)",
        "        if pos < 0:",
        "            return pos",
        "    return end_frame(words, heads, out, pos)",
    ]
    return "\n".join(lines)


def source(event: Event) -> str:
    """The text of the event's module."""
    plan = plan_of(event)
    header = HEADER.format(event=event.name, constants=constants(plan))
    return f"{header}\n\n{decode_source(plan)}\n\n\n{encode_source(plan)}\n"


def texts() -> dict[Path, str]:
    """What every file of the folder that carries generated text should hold."""
    found = {FOLDER / f"{module_name(event)}.py": source(event) for event in GENERATED}
    for path in sorted(FOLDER.glob("*.py")):
        if path not in found and path.name != Path(__file__).name:
            found[path] = path.read_text()
    return {path: DIGEST_LINE.sub(digest_line(text), text) for path, text in found.items() if DIGEST_LINE.search(text)}


def main() -> None:
    """Rewrite the files whose text changed."""
    for path, text in texts().items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


if __name__ == "__main__":
    main()
