"""One order out of many partitions and writers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from schemas.events import RAW_FRAME, TRADE
from streams.api import Chunk, TopicPartition, WriterKey
from streams.intake import RUN_ROWS_MAX, Intake
from streams.topics import topic

A, B = TopicPartition(2, 0), TopicPartition(3, 0)  # in rank order
WIDE, RAW = TopicPartition(9, 0), TopicPartition(topic("raw.frame.v1").number, 0)


def chunk(place: TopicPartition, writer: int, first: int, times: list[int], position: int = 0) -> Chunk:
    rows = TRADE.empty(len(times))
    rows["ts_recv_ns"] = times
    return Chunk(WriterKey(*place, writer, 7), first, rows, position=position)


def drain(intake: Intake, *, at_end: bool = True) -> list[tuple[int, int, int, int]]:
    """(topic, writer, row, time) in the order in which rows come out."""
    rows = []
    while (run := intake.next_run(lambda place: at_end)) is not None:
        times = run.rows["ts_recv_ns"].tolist()
        rows += [(run.key.topic, run.key.writer, run.row_first + i, time) for i, time in enumerate(times)]
    return rows


def test_heads_merge_by_time_then_rank_then_writer() -> None:
    intake = Intake({A: False, B: False}, {})
    intake.add(chunk(B, 1, 1, [10, 20, 20, 30]))
    intake.add(chunk(A, 2, 1, [20, 40]))
    intake.add(chunk(A, 1, 1, [20, 25]))
    assert drain(intake) == [
        (3, 1, 1, 10),
        (2, 1, 1, 20),
        (2, 2, 1, 20),
        (3, 1, 2, 20),
        (3, 1, 3, 20),
        (2, 1, 2, 25),
        (3, 1, 4, 30),
        (2, 2, 2, 40),
    ]


def test_rows_of_one_writer_keep_their_order_when_the_clock_went_back() -> None:
    intake = Intake({A: False, B: False}, {})
    intake.add(chunk(A, 1, 1, [30, 10, 20]))
    intake.add(chunk(B, 1, 1, [15, 25]))
    assert [row[:3:2] for row in drain(intake)] == [(3, 1), (3, 2), (2, 1), (2, 2), (2, 3)]


def test_merge_equals_a_row_by_row_merge() -> None:
    for seed in range(30):
        chosen = random.Random(seed)
        intake = Intake({A: False, B: False}, {})
        heads: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for place, writer in ((A, 1), (A, 2), (B, 1)):
            times = [chosen.randrange(20) for _ in range(12)]
            heads[place.topic, writer] = [(time, row) for row, time in enumerate(times, 1)]
            cut = chosen.randrange(1, 11)
            intake.add(chunk(place, writer, 1, times[:cut]))
            intake.add(chunk(place, writer, cut + 1, times[cut:]))
        expected = []
        while any(heads.values()):
            name = min((key for key in heads if heads[key]), key=lambda key: (heads[key][0][0], key))
            time, row = heads[name].pop(0)
            expected.append((*name, row, time))
        assert drain(intake) == expected


def test_empty_partition_is_waited_for_unless_it_is_at_its_end() -> None:
    intake = Intake({A: False, B: False}, {})
    intake.add(chunk(A, 1, 1, [10]))
    assert intake.next_run(lambda place: place == A) is None
    run = intake.next_run(lambda place: place == B)
    assert run is not None
    assert run.key.topic == 2


def test_broadcast_goes_first_and_to_its_end() -> None:
    intake = Intake({A: False, WIDE: True}, {})
    intake.add(chunk(A, 1, 1, [10]))
    assert intake.next_run(lambda place: place == A) is None  # nothing of the broadcast yet, and it has not ended
    intake.add(chunk(WIDE, 1, 1, [500]))
    first = intake.next_run(lambda place: False)
    assert first is not None
    assert first.key.topic == 9
    assert intake.next_run(lambda place: place == A) is None
    assert [row[0] for row in drain(intake)] == [2]
    intake.add(chunk(WIDE, 1, 2, [600]))
    intake.add(chunk(A, 1, 2, [700]))
    assert [row[0] for row in drain(intake)] == [9, 2]  # from then on it is merged as any other


def test_repeats_are_dropped_and_overlaps_cut() -> None:
    intake = Intake({A: False}, {WriterKey(*A, 1, 7): 2})
    intake.add(chunk(A, 1, 1, [1, 2], position=1))
    assert intake.rows == 0
    assert intake.positions() == {A: 1}
    intake.add(chunk(A, 1, 2, [2, 3, 4], position=2))
    intake.add(chunk(A, 1, 3, [3, 4, 5], position=3))
    assert [row[2] for row in drain(intake)] == [3, 4, 5]
    assert intake.filter.repeats == 5


def test_position_never_passes_a_row_that_was_not_given_out() -> None:
    intake = Intake({A: False, B: False}, {}, positions={A: 4})
    intake.add(chunk(A, 2, 1, [50], position=5))  # comes first in the partition, goes out last
    intake.add(chunk(A, 1, 1, [10, 20], position=6))
    assert intake.positions() == {A: 4}
    run = intake.next_run(lambda place: True)
    assert run is not None
    assert run.key.writer == 1
    assert intake.positions() == {A: 4}
    intake.next_run(lambda place: True)
    assert intake.positions() == {A: 6}


@pytest.mark.parametrize("cut", [0, 1])
def test_bytes_are_counted_until_the_last_row_of_a_chunk_is_out(cut: int) -> None:
    intake = Intake({A: False, B: False}, {})
    one = chunk(A, 1, 1, [10, 30])
    intake.add(one)
    if cut:
        intake.add(chunk(B, 1, 1, [20]))
    assert intake.bytes_of(A) == one.size_bytes
    intake.next_run(lambda place: True)
    assert intake.bytes_of(A) == (one.size_bytes if cut else 0)
    drain(intake)
    assert (intake.bytes_of(A), intake.bytes_of(B), intake.rows) == (0, 0, 0)


def test_runs_are_bounded() -> None:
    intake = Intake({A: False}, {})
    intake.add(chunk(A, 1, 1, list(range(2 * RUN_ROWS_MAX + 5))))
    sizes = []
    while (run := intake.next_run(lambda place: True)) is not None:
        sizes.append(len(run.rows))
    assert sizes == [RUN_ROWS_MAX, RUN_ROWS_MAX, 5]


def test_small_chunks_that_follow_each_other_go_out_as_one_run_with_their_texts() -> None:
    intake = Intake({RAW: False, B: False}, {})
    key, texts = WriterKey(*RAW, 1, 7), [b"one", b"", b"three", b"4"]
    for number, text in enumerate(texts, 1):
        rows = RAW_FRAME.empty(1)
        rows["ts_recv_ns"], rows["payload_at"], rows["payload_size"] = number, 2, len(text)
        intake.add(Chunk(key, number, rows, np.frombuffer(b"??" + text + b"!", dtype=np.uint8), position=number))
    intake.add(chunk(B, 1, 1, [3]))
    runs = []
    while (run := intake.next_run(lambda place: True)) is not None:
        heap = run.heap.tobytes()
        columns = ("payload_at", "payload_size") if run.key == key else ()
        words = [[int(row[name]) for name in columns] for row in run.rows]
        runs.append((run.row_first, len(run.rows), [heap[at : at + size] for at, size in filter(None, words)]))
    assert runs == [(1, 3, [b"one", b"", b"three"]), (1, 1, []), (4, 1, [b"4"])]
    assert intake.positions() == {RAW: 4}


def test_chunks_with_a_hole_between_them_are_not_joined() -> None:
    intake = Intake({A: False}, {})
    for first in (1, 2, 4):
        intake.add(chunk(A, 1, first, [first]))
    sizes = []
    while (run := intake.next_run(lambda place: True)) is not None:
        sizes.append((run.row_first, len(run.rows)))
    assert sizes == [(1, 2), (4, 1)]
