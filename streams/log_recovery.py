"""Opening a sequence for appending after anything may have happened: find its end, put right what a crash left.

What a SIGKILL can leave: bytes of a record that was never committed, a temporary file, a segment without its
seal. What a power loss can leave in addition: blocks that read as zeros, so that the last records are gone or
torn. All of that is put right here. A committed record that changed in any other way is not: it is damage, which
readers report; and if it is the last one, the writer refuses to go on over it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from schemas.errors import IntegrityError
from streams.api import WriterKey
from streams.log_format import (
    HEADER_BYTES,
    INDEX_SUFFIX,
    NEW_SUFFIX,
    SEAL,
    TS_NONE_NS,
    CorruptRecord,
    Damage,
    key_dir,
    segment_path,
    segment_rows,
)
from streams.log_index import SparseIndex, Walker, load_index
from streams.log_lock import ProcessLock
from streams.log_scan import find_record, locate_damage, looks_torn, read_records
from streams.log_segment import Segment, data_spans, first_nonzero, zero_from

LOCK_NAME: Final = "writer.lock"


@dataclass(slots=True)
class Recovered:
    """Where a writer goes on.

    Attributes:
        segment_row: name of the segment to append to; None: a new one is needed.
        at, row_next: byte and row that come next; row_next is 0 where there never was a row.
        ts_max_ns: the highest record time so far.
        size_bytes: size of the last segment, 0 when there is none.
        index: of the segment to append to.
        repairs: what was put right, in sentences.
        damage: damaged records in the middle of the last segment; they stay, for readers to report.
    """

    segment_row: int | None = None
    at: int = HEADER_BYTES
    row_next: int = 0
    ts_max_ns: int = TS_NONE_NS
    size_bytes: int = 0
    index: SparseIndex | None = None
    repairs: list[str] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)


def recover(directory: Path, key: WriterKey, index_every_bytes: int, *, accept_loss: bool = False) -> Recovered:
    """Find the end of a sequence. The caller holds the writer's lock.

    Args:
        accept_loss: zero a damaged last record even when no crash explains it.

    Raises:
        IntegrityError: see the module.
        ResourceExhausted: files cannot be opened for writing.
    """
    state = Recovered()
    for name in os.listdir(directory):
        if name.endswith(NEW_SUFFIX):
            os.unlink(directory / name)
    rows = segment_rows(directory)
    while rows and _remove_blank(segment_path(directory, rows[-1]), state):
        rows.pop()
    if len(rows) > 1:
        _seal(segment_path(directory, rows[-2]), key, rows[-1], index_every_bytes, state)
    if rows:
        segment = Segment(segment_path(directory, rows[-1]), key, writable=True)
        try:
            _settle_tail(segment, state, index_every_bytes, accept_loss)
        finally:
            segment.close()
    return state


def repair_tail(root: Path, key: WriterKey, index_every_bytes: int = 256 << 10) -> Recovered:
    """Give up a damaged last record, which a writer refuses to do by itself. For an operator's explicit order only."""
    lock = ProcessLock(key_dir(root, key) / LOCK_NAME, f"The log of {key_dir(root, key)}")
    try:
        return recover(key_dir(root, key), key, index_every_bytes, accept_loss=True)
    finally:
        lock.close()


def _remove_blank(path: Path, state: Recovered) -> bool:
    """Remove a last segment that holds nothing but zeros: its name reached the disk, its bytes did not."""
    data = path.read_bytes()[:HEADER_BYTES]
    if any(data):
        return False
    with path.open("rb") as file:
        for begin, end in data_spans(path, 0, os.fstat(file.fileno()).st_size):
            file.seek(begin)
            if any(file.read(end - begin)):
                return False  # a damaged header over data: not ours to remove; opening it will say so
    path.unlink()
    path.with_suffix(INDEX_SUFFIX).unlink(missing_ok=True)
    state.repairs.append(f"{path}: a segment whose bytes never reached the disk was removed (a power loss)")
    return True


def _seal(path: Path, key: WriterKey, row_next: int, index_every_bytes: int, state: Recovered) -> None:
    """Write the seal that a kill between creating a segment and sealing the one before has left out."""
    segment = Segment(path, key, writable=True)
    try:
        index = load_index(segment, index_every_bytes)
        if index is None:
            index = SparseIndex(segment.row_first, segment.header.ts_before_ns, index_every_bytes)
        at, row, _ = Walker(segment, index).to_end()
        if segment.words[at >> 3] == 0 and row == row_next:
            segment.words[at >> 3] = SEAL
            state.repairs.append(f"{path}, byte {at}: the seal was missing and was written")
    finally:
        segment.close()


def _settle_tail(segment: Segment, state: Recovered, index_every_bytes: int, accept_loss: bool) -> None:
    """Check every record of the last segment and leave zeros behind the last one."""
    at, row = HEADER_BYTES, segment.row_first
    state.ts_max_ns = segment.header.ts_before_ns
    state.size_bytes = segment.header.size_bytes
    index = SparseIndex(row, state.ts_max_ns, index_every_bytes)
    while True:
        records, at, row, stop = read_records(segment, at, row, index_every_bytes)
        state.ts_max_ns = max([state.ts_max_ns, *(record.ts_ns for record in records)])
        if stop == "more":
            index.add(row, state.ts_max_ns, at)
            continue
        if stop == "damaged":
            found = find_record(segment, at, row)
            if found:
                state.damage.append(locate_damage(segment, at, row, None))
                at, row = found
                continue
            if not accept_loss and not looks_torn(segment, at):
                raise _refusal(locate_damage(segment, at, row, None))
        break
    if stop != "sealed":
        _zero_tail(segment, at, row, state)
        state.segment_row, state.at, state.index = segment.row_first, at, index
    state.row_next = row


def _zero_tail(segment: Segment, at: int, row: int, state: Recovered) -> None:
    if segment.cut:
        state.repairs.append(f"{segment.path}: the file had been cut and was brought to its full size again")
    dirty = first_nonzero(segment, at)
    if dirty is None:
        return
    found = find_record(segment, at, row)
    also = f", and with it rows from {found[1]} on that stood behind a hole" if found else ""
    zero_from(segment, at)
    state.repairs.append(f"{segment.path}, byte {at}: what a crash left of row {row} was erased{also}")


def _refusal(damage: Damage) -> IntegrityError:
    error = CorruptRecord(damage)
    error.args = (
        f"The local log ends in damage that no crash explains: {damage}. Nothing is appended over it, because these"
        " rows may have been read already. Usually a disk or memory fault. Restore the file, or give the rows up"
        " (`shriven log repair`), or start a new session.",
    )
    return error
