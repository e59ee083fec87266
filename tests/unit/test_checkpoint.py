"""Journal frames, checksums, fingerprints and snapshots."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest

from processors.api import Emitted, Outputs
from schemas.address import NO_ORIGIN, Origin
from schemas.errors import IntegrityError
from schemas.events import DEAD_LETTER, QUOTE, DeadReason, JournalKind
from streams.api import TopicPartition, WriterKey
from streams.checkpoint import (
    Checkpoint,
    Entry,
    OutputTail,
    Snapshot,
    Tail,
    checkpoint_number,
    code_hash,
    compact_heap,
    fingerprint,
    journal_rows,
    pack_snapshot,
    read_journal,
    split_journal,
    unpack_snapshot,
)
from tests.pipelines import Echo, Mixer
from tests.recordings import ROOT

KEY = WriterKey(2, 3, 640, 7)
CHECKPOINT = Checkpoint(
    41,
    -5,
    [
        Entry(JournalKind.BASELINE, *KEY, last=10),
        Entry(JournalKind.RUN, *KEY, first=11, last=20),
        Entry(JournalKind.TIME, value=1_723_161_253_000_000_000),
        Entry(JournalKind.FOREIGN, 2, 3, value=77),
    ],
    {TopicPartition(2, 3): 88, TopicPartition(9, 0): 1},
    {WriterKey(5, 3, 1027, 7): OutputTail(30, -(1 << 63)), WriterKey(12, 3, 1027, 7): OutputTail(1, (1 << 63) - 1)},
)


def test_journal_frame_reads_back_as_it_was_written() -> None:
    rows = journal_rows(CHECKPOINT)
    assert len(rows) == 4 + 2 + 2 + 1
    assert read_journal(rows) == CHECKPOINT
    assert checkpoint_number(rows) == 41


def test_journal_frame_without_its_end_is_refused() -> None:
    rows = journal_rows(CHECKPOINT)
    for part in (rows[:-1], rows[:0]):
        with pytest.raises(IntegrityError):
            read_journal(part)
    with pytest.raises(IntegrityError):
        read_journal(rows[1:])


def test_journal_rows_of_several_checkpoints_are_told_apart() -> None:
    second = Checkpoint(42, -5, [Entry(JournalKind.TIME, value=1)])
    rows = np.concatenate([journal_rows(CHECKPOINT), journal_rows(second), journal_rows(CHECKPOINT)[:2]])
    assert [read_journal(part) for part in split_journal(rows)] == [CHECKPOINT, second]


def letters(count: int) -> tuple[Emitted, ...]:
    out = Outputs(())
    out.origin = Origin(*KEY)
    for number in range(count):
        out.put_aside(DeadReason.LATE, number, f"late by {number} s", payload=bytes(number % 7))
    return tuple(out.dead)


def checksum_of(cuts: list[int], *, reverse_causes: bool = False) -> tuple[int, int]:
    """Sums over 60 quotes and 60 dead letters, added in pieces."""
    quotes = QUOTE.empty(60)
    quotes["update_id"] = np.arange(60)
    whole_rows = np.concatenate([item.rows for item in letters(60)])
    heaps = [item.heap for item in letters(60)]
    starts = np.cumsum([0, *map(len, heaps[:-1])])
    for name in ("detail_at", "payload_at"):
        whole_rows[name] += starts.astype(np.uint32)
    heap = np.concatenate(heaps)
    plain, heaped = Tail(), Tail()
    causes = [Origin(*KEY), NO_ORIGIN]
    if reverse_causes:
        causes.reverse()
    for first, last in zip([0, *cuts], [*cuts, 60], strict=True):
        for start, stop, cause in ((first, min(last, 30), causes[0]), (max(first, 30), last, causes[1])):
            if start < stop:
                plain.add(QUOTE, quotes[start:stop], heap[:0], cause)
                heaped.add(DEAD_LETTER, *compact_heap(DEAD_LETTER, whole_rows[start:stop], heap), cause)
    assert (plain.last, heaped.last) == (60, 60)
    return plain.checksum, heaped.checksum


def test_checksum_does_not_depend_on_cuts_but_on_rows_and_causes() -> None:
    whole = checksum_of([])
    chosen = random.Random(3)
    for _ in range(20):
        assert checksum_of(sorted(chosen.sample(range(1, 60), chosen.randrange(12)))) == whole
    other = checksum_of([], reverse_causes=True)
    assert other[0] != whole[0]
    assert other[1] != whole[1]


def test_checksum_notices_heap_bytes_that_moved_from_one_row_to_the_next() -> None:
    tails = []
    for sizes in ([3, 1], [2, 2]):
        rows = DEAD_LETTER.empty(2)
        rows["detail_size"] = sizes
        rows["detail_at"] = [0, sizes[0]]
        tail = Tail()
        tail.add(DEAD_LETTER, *compact_heap(DEAD_LETTER, rows, np.frombuffer(b"abcd", dtype=np.uint8)), NO_ORIGIN)
        tails.append(tail.checksum)
    assert tails[0] != tails[1]


def test_compact_heap_keeps_what_rows_say_and_nothing_else() -> None:
    rows = DEAD_LETTER.empty(3)
    rows["detail_at"], rows["detail_size"] = [8, 0, 4], [2, 4, 0]
    rows["payload_at"], rows["payload_size"] = [0, 9, 2], [3, 1, 4]
    heap = np.frombuffer(b"0123456789", dtype=np.uint8)
    packed, small = compact_heap(DEAD_LETTER, rows, heap)
    assert small.tobytes() == b"89" + b"012" + b"0123" + b"9" + b"" + b"2345"
    assert packed["detail_at"].tolist() == [0, 5, 10]
    assert packed["payload_at"].tolist() == [2, 9, 10]
    assert rows["detail_at"].tolist() == [8, 0, 4]  # the caller's rows stay


def test_fingerprint_changes_with_rule_version_and_parameters() -> None:
    class Newer(Mixer):
        version = 2

    prints = [fingerprint(rule) for rule in (Mixer(), Mixer(), Mixer(salt=1), Newer(), Echo())]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4


def test_code_hash_covers_imported_modules_and_ignores_words(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    package = tmp_path / "processors_probe"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("streams.checkpoint.OURS", ("processors_probe",))

    def of(kernel: str) -> str:
        (package / "kernel.py").write_text(kernel)
        (package / "rule.py").write_text("from processors_probe import kernel\nfrom numpy import array\n")
        code_hash.cache_clear()
        return code_hash("processors_probe.rule")

    plain = of("def add(a, b):\n    return a + b\n")
    assert of('"""Words."""\n\ndef add(a, b):\n    """More words."""\n    return a + b  # why\n') == plain
    assert of("def add(a, b):\n    return a - b\n") != plain


SNAPSHOT = Snapshot(
    9,
    77,
    {"ladder": np.arange(6, dtype="<i8").reshape(2, 3), "flags": np.zeros(3, dtype=np.bool_), "rows": QUOTE.empty(2)},
    123,
    40,
    {KEY: 10},
    {TopicPartition(2, 3): 5},
    {WriterKey(5, 3, 1027, 7): Tail(30, 1, 2, Origin(*KEY))},
)


def test_snapshot_reads_back_as_it_was_packed() -> None:
    back = unpack_snapshot(pack_snapshot(SNAPSHOT))
    for name in ("checkpoint", "fingerprint", "clock_ns", "journal_row", "taken", "positions", "tails"):
        assert getattr(back, name) == getattr(SNAPSHOT, name)
    assert list(back.state) == list(SNAPSHOT.state)
    for name, array in SNAPSHOT.state.items():
        assert back.state[name].dtype == array.dtype
        np.testing.assert_array_equal(back.state[name], array)
        assert back.state[name].flags.writeable


@pytest.mark.parametrize("at", [0, 10, 40, -1])
def test_changed_snapshot_is_refused(at: int) -> None:
    data = bytearray(pack_snapshot(SNAPSHOT))
    data[at] ^= 1
    with pytest.raises(IntegrityError):
        unpack_snapshot(bytes(data))


def test_fingerprints_of_every_rule_are_the_same_in_another_process() -> None:
    """A restarted process must know its own journal again: what lies elsewhere in memory is no other code."""
    program = (
        "from infra.registry import PROCESSORS\nfrom streams.checkpoint import fingerprint\n"
        "print({name: fingerprint(make({})) for name, make in PROCESSORS.items()})"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(said) == 1
    assert "binance_spot.wire" in said.pop()
