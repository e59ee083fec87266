"""What a checkpoint is: the journal frame that says what was done, and the snapshot that saves replaying it.

A journal frame is everything that replay needs: which rows were processed in which order, which timers
fired between them, and what came out (last row and running checksum per output). A snapshot is the state
after one checkpoint; with the journal behind it, it is only a shortcut.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import crc32c
import numpy as np

from processors.api import Processor, State
from schemas.address import NO_ORIGIN, Origin
from schemas.avro import fingerprint as schema_fingerprint
from schemas.declare import Event, Heap, Rows
from schemas.errors import IntegrityError
from schemas.events import JOURNAL, JournalKind
from streams.api import Chunk, TopicPartition, WriterKey

OURS = ("schemas", "processors", "connectors")  # packages whose code decides what a rule puts out


class Entry(NamedTuple):
    """One row of a journal frame; the columns mean what `JournalKind` says."""

    kind: JournalKind
    topic: int = 0
    partition: int = 0
    writer: int = 0
    incarnation: int = 0
    first: int = 0
    last: int = 0
    value: int = 0

    @property
    def key(self) -> WriterKey:
        return WriterKey(self.topic, self.partition, self.writer, self.incarnation)


class OutputTail(NamedTuple):
    """The end of one output sequence, as journalled."""

    last: int
    checksum: int


@dataclass(frozen=True)
class Checkpoint:
    """A journal frame, understood.

    Attributes:
        number: 1, 2, 3 … of the task.
        fingerprint: of the code that made it.
        entries: RUN, TIME, BASELINE and FOREIGN in the order in which they were done.
        positions: next place to read per partition; hints.
        outputs: last row and running checksum of every sequence that grew.
    """

    number: int
    fingerprint: int
    entries: Sequence[Entry]
    positions: Mapping[TopicPartition, int] = field(default_factory=dict)
    outputs: Mapping[WriterKey, OutputTail] = field(default_factory=dict)


def journal_rows(checkpoint: Checkpoint) -> Rows:
    """The frame's rows: what was done, where reading goes on, what came out, COMMIT."""
    entries = list(checkpoint.entries)
    entries += [Entry(JournalKind.POSITION, *place, value=value) for place, value in checkpoint.positions.items()]
    entries += [
        Entry(JournalKind.OUTPUT, *key, last=tail.last, value=tail.checksum) for key, tail in checkpoint.outputs.items()
    ]
    entries.append(Entry(JournalKind.COMMIT, first=checkpoint.number, last=len(entries), value=checkpoint.fingerprint))
    rows = JOURNAL.empty(len(entries))
    columns = list(zip(*entries, strict=True))
    for name, column in zip(Entry._fields, columns, strict=True):
        rows[name] = column
    return rows


def checkpoint_number(rows: Rows) -> int:
    """Number of the checkpoint of a journal frame, read from its last row alone."""
    if not len(rows) or rows["kind"][-1] != JournalKind.COMMIT:
        raise IntegrityError("A journal frame does not end in COMMIT: it was cut, or another program wrote it.")
    return int(rows["first"][-1])


def split_journal(rows: Rows) -> list[Rows]:
    """Rows of several checkpoints, one array each; a last one without COMMIT is left out."""
    ends = np.flatnonzero(rows["kind"] == JournalKind.COMMIT) + 1
    return [part for part in np.split(rows, ends)[: len(ends)] if len(part)]


def checkpoint_chunks(chunk: Chunk) -> Iterator[Chunk]:
    """A chunk of journal rows, one chunk per checkpoint."""
    at = 0
    for rows in split_journal(chunk.rows):
        yield chunk.cut(at, at + len(rows))
        at += len(rows)


def read_journal(rows: Rows) -> Checkpoint:
    """The inverse of `journal_rows`.

    Raises:
        IntegrityError: the frame is not whole.
    """
    number = checkpoint_number(rows)
    if int(rows["last"][-1]) != len(rows) - 1:
        raise IntegrityError(f"Journal frame of checkpoint {number} counts {rows['last'][-1]} entries, not its own.")
    columns = [rows[name].tolist() for name in Entry._fields]
    entries: list[Entry] = []
    positions: dict[TopicPartition, int] = {}
    outputs: dict[WriterKey, OutputTail] = {}
    for values in zip(*columns, strict=True):
        entry = Entry(JournalKind(values[0]), *values[1:])
        if entry.kind is JournalKind.POSITION:
            positions[TopicPartition(entry.topic, entry.partition)] = entry.value
        elif entry.kind is JournalKind.OUTPUT:
            outputs[entry.key] = OutputTail(entry.last, entry.value)
        elif entry.kind is not JournalKind.COMMIT:
            entries.append(entry)
    return Checkpoint(number, int(rows["value"][-1]), entries, positions, outputs)


# --- what came out: a running checksum that does not depend on how rows were cut into frames ---


@dataclass
class Tail:
    """The end of a sequence that a task writes.

    Attributes:
        last: number of its last row; 0 before the first.
        rows_crc, heap_crc: CRC-32C over the rows (heap pointers left out) and over the heap bytes in row order.
        cause: origin of the last row's cause; a change of it goes into `rows_crc`.
    """

    last: int = 0
    rows_crc: int = 0
    heap_crc: int = 0
    cause: Origin = NO_ORIGIN

    @property
    def checksum(self) -> int:
        """Both sums as one signed 64-bit number."""
        return int(np.uint64(self.rows_crc << 32 | self.heap_crc).astype(np.int64))

    def add(self, event: Event, rows: Rows, heap: Heap, cause: Origin) -> None:
        """Take rows that follow. `heap` holds exactly their bytes, in order (see `compact_heap`)."""
        if cause != self.cause:
            self.rows_crc = crc32c.crc32c(np.array(cause, dtype="<u2").tobytes(), self.rows_crc)
            self.cause = cause
        if event.heap_fields:
            rows = rows.copy()
            for column in event.heap_fields:
                rows[f"{column.name}_at"] = 0
            self.heap_crc = crc32c.crc32c(heap.data, self.heap_crc)
        self.rows_crc = crc32c.crc32c(np.ascontiguousarray(rows).view(np.uint8).data, self.rows_crc)
        self.last += len(rows)


def compact_heap(event: Event, rows: Rows, heap: Heap) -> tuple[Rows, Heap]:
    """Rows whose heap holds exactly their bytes, row by row, column by column. Events without heap: as given."""
    columns = event.heap_fields
    if not columns:
        return rows, heap
    at = np.stack([rows[f"{column.name}_at"] for column in columns], axis=1).astype(np.int64).ravel()
    size = np.stack([rows[f"{column.name}_size"] for column in columns], axis=1).astype(np.int64).ravel()
    end = np.cumsum(size)
    start = end - size
    total = int(end[-1]) if len(end) else 0
    index = np.repeat(at - start, size) + np.arange(total)
    packed = rows.copy()
    for number, column in enumerate(columns):
        packed[f"{column.name}_at"] = start[number :: len(columns)]
    return packed, heap[index]


# --- which code it was ---


def fingerprint(processor: Processor) -> int:
    """Signed 64-bit number of all that decides the output beside the rows: rule, parameters, schemas, code, numba."""
    parts = [
        processor.name,
        str(processor.version),
        json.dumps(_parameters(processor), sort_keys=True),
        *(schema_fingerprint(event) for event in (*processor.inputs, *processor.outputs)),
        f"python {sys.version_info.major}.{sys.version_info.minor}",
        *(f"{name} {importlib.metadata.version(name)}" for name in ("numba", "numpy")),
        code_hash(type(processor).__module__),
    ]
    digest = hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _parameters(processor: Processor) -> dict[str, Any]:
    """Attributes of the object that are plain values: by contract a rule holds nothing else but parameters."""
    names = [*getattr(processor, "__dict__", {}), *getattr(type(processor), "__slots__", ())]
    values = {name: getattr(processor, name) for name in names}
    plain = (int, str, bytes, float, tuple)
    return {name: _spelled(value) for name, value in values.items() if isinstance(value, plain) or is_dataclass(value)}


def _spelled(value: Any) -> str:
    """The same text for the same value in every process: functions by name, not by where they lie in memory."""
    if is_dataclass(value) and not isinstance(value, type):
        named = (f"{one.name}={_spelled(getattr(value, one.name))}" for one in fields(value))
        return f"{type(value).__name__}({', '.join(named)})"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_spelled, value))})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_spelled(key)}: {_spelled(one)}' for key, one in value.items())}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_spelled, value)))}}}"
    if isinstance(value, functools.partial):
        return f"partial({_spelled(value.func)}, {_spelled(value.args)}, {_spelled(value.keywords)})"
    if callable(value):
        function = getattr(value, "py_func", value)  # numba's dispatchers stand for a function
        return f"{function.__module__}.{function.__qualname__}"
    text = repr(value)
    assert " at 0x" not in text, f"{text} has no spelling that is the same in every process"
    return text


@functools.cache
def code_hash(module: str) -> str:
    """Hash of a module's code and of all code of ours that it imports; comments and docstrings do not count."""
    digest = hashlib.blake2b(digest_size=16)
    for name, path in sorted(_closure(module).items()):
        tree = ast.parse(path.read_text())
        _drop_docstrings(tree)
        digest.update(f"{name}\0{ast.dump(tree)}\0".encode())
    return digest.hexdigest()


def _closure(module: str) -> dict[str, Path]:
    """The module and everything under `OURS` that it imports, directly or not."""
    found: dict[str, Path] = {}
    wanted = [module]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            continue
        found[name] = Path(spec.origin)
        wanted += [other for other in _imports(found[name]) if other.split(".")[0] in OURS]
    return found


def _imports(path: Path) -> Iterable[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            # `from package import module` imports a module too
            yield from (f"{node.module}.{alias.name}" for alias in node.names if _is_module(node.module, alias.name))


def _is_module(package: str, name: str) -> bool:
    if package.split(".")[0] not in OURS:
        return False
    spec = importlib.util.find_spec(package)
    return bool(spec and spec.submodule_search_locations and importlib.util.find_spec(f"{package}.{name}"))


def _drop_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:]


# --- the state after a checkpoint ---

_MAGIC = b"SQS1"
_DIGEST_BYTES = 16


@dataclass(frozen=True)
class Snapshot:
    """All that a task needs to go on.

    Attributes:
        checkpoint: the last one it contains.
        fingerprint: of the code that made the state.
        state: the rule's arrays.
        clock_ns: largest receive time or deadline seen.
        journal_row: last row of the journal.
        taken: last row processed per input sequence.
        positions: next place to read per partition.
        tails: ends of the output sequences.
    """

    checkpoint: int
    fingerprint: int
    state: State
    clock_ns: int
    journal_row: int
    taken: Mapping[WriterKey, int]
    positions: Mapping[TopicPartition, int]
    tails: Mapping[WriterKey, Tail]


def pack_snapshot(snapshot: Snapshot) -> bytes:
    """Compressed bytes with a digest in front; inside it is an .npz file and its `meta` in JSON."""
    meta = {
        "checkpoint": snapshot.checkpoint,
        "fingerprint": snapshot.fingerprint,
        "clock_ns": snapshot.clock_ns,
        "journal_row": snapshot.journal_row,
        "taken": [[*key, last] for key, last in snapshot.taken.items()],
        "positions": [[*place, value] for place, value in snapshot.positions.items()],
        "tails": [[*key, tail.last, tail.rows_crc, tail.heap_crc, *tail.cause] for key, tail in snapshot.tails.items()],
    }
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    arrays: dict[str, Any] = {f"state.{name}": array for name, array in snapshot.state.items()}
    np.savez(file, meta=text, **arrays)
    body = zlib.compress(file.getbuffer(), 1)
    return _MAGIC + hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() + body


def unpack_snapshot(data: bytes) -> Snapshot:
    """The inverse.

    Raises:
        IntegrityError: the bytes are not what was packed.
    """
    digest, body = data[4 : 4 + _DIGEST_BYTES], data[4 + _DIGEST_BYTES :]
    if data[:4] != _MAGIC or hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest() != digest:
        raise IntegrityError("A snapshot's bytes changed since it was saved. Delete it: the one before it is used.")
    with np.load(io.BytesIO(zlib.decompress(body)), allow_pickle=False) as arrays:
        meta = json.loads(arrays["meta"].tobytes())
        state = {name.removeprefix("state."): arrays[name] for name in arrays.files if name.startswith("state.")}
    return Snapshot(
        checkpoint=meta["checkpoint"],
        fingerprint=meta["fingerprint"],
        state=state,
        clock_ns=meta["clock_ns"],
        journal_row=meta["journal_row"],
        taken={WriterKey(*item[:4]): item[4] for item in meta["taken"]},
        positions={TopicPartition(*item[:2]): item[2] for item in meta["positions"]},
        tails={WriterKey(*item[:4]): Tail(item[4], item[5], item[6], Origin(*item[7:])) for item in meta["tails"]},
    )


def same_layout(state: State, other: State) -> bool:
    """Whether two states have the same arrays by name, dtype and number of dimensions."""
    return {name: (array.dtype, array.ndim) for name, array in state.items()} == {
        name: (array.dtype, array.ndim) for name, array in other.items()
    }
