"""What every transport must do: one suite over memory, local log and a real Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from processors.api import Processor
from schemas.errors import Fenced, IntegrityError, ResourceExhausted
from schemas.events import QUOTE, TRADE, DeadReason, JournalKind
from streams.api import Chunk, Source, StartAt, TopicPartition, WriterKey
from streams.checkpoint import Checkpoint, Entry, Tail, checkpoint_number, compact_heap, journal_rows
from streams.clock import SYSTEM_CLOCK, ManualClock
from streams.memory import MemoryLog
from streams.pipelines import Pipeline
from streams.replay import replay_task
from streams.runner import Runner, RunnerOptions
from streams.topics import TOPIC_BY_NUMBER, topic
from tests.contract.transports import Local, Memory, OnKafka, Reach, Transport, nothing
from tests.memory_runs import Crash, crash_at, fill
from tests.pipelines import ECHO, MIXER, SECOND, START_NS, Echo, Flow, Mixer

NOTHING_DONE = StartAt({}, {})
SECONDS_MAX = 20.0
SMALL = RunnerOptions(commit_interval_ns=0, quiet_interval_ns=0, poll_bytes_max=1_000, snapshot_rows=30)


@pytest.fixture(params=["memory", "memory in turn", "local", pytest.param("kafka", marks=pytest.mark.broker)])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Transport]:
    if request.param == "local":
        yield Local(tmp_path)
    elif request.param == "kafka":
        yield OnKafka(request.getfixturevalue("kafka"))
    else:
        yield Memory(atomic=request.param == "memory")


def flow_of(transport: Transport, seed: int = 1) -> Flow:
    return Flow(seed, transport.incarnation, writers=[640])


def poll_until(source: Source, done: Callable[[list[Chunk]], bool]) -> list[Chunk]:
    """Poll until it is done, or a time has passed in which it should have been."""
    polled: list[Chunk] = []
    end_ns = SYSTEM_CLOCK.monotonic_ns() + int(SECONDS_MAX * 1e9)
    while not done(polled):
        assert SYSTEM_CLOCK.monotonic_ns() < end_ns, f"after {SECONDS_MAX} s: {len(polled)} chunks"
        polled += source.poll(50_000_000)
    return polled


def count(chunks: list[Chunk]) -> int:
    return sum(len(chunk.rows) for chunk in chunks)


def trades_in(chunks: list[Chunk], partition: int) -> list[int]:
    return [
        trade
        for chunk in chunks
        if chunk.key.topic == 2 and chunk.key.partition == partition
        for trade in chunk.rows["trade_id"].tolist()
    ]


# --- sources ---


def test_rows_come_in_order_with_their_addresses(transport: Transport) -> None:
    chunks = flow_of(transport).trades(60)
    transport.put(chunks)
    source = transport.source()
    places = [TopicPartition(2, partition) for partition in range(4)]
    source.assign(places, NOTHING_DONE)
    polled = poll_until(source, lambda polled: count(polled) >= count(chunks))
    for partition in range(4):
        assert trades_in(polled, partition) == trades_in(chunks, partition)
    last: dict[WriterKey, int] = {}
    for chunk in polled:
        assert chunk.row_first == last.get(chunk.key, 0) + 1
        last[chunk.key] = chunk.row_last
    assert {key.writer for key in last} == {640}
    assert {key.incarnation for key in last} == {transport.incarnation}
    source.close()


def test_columns_and_causes_arrive_as_they_were_put(transport: Transport) -> None:
    rows = QUOTE.empty(3)
    rows["instrument"], rows["ts_recv_ns"], rows["bid_price_e8"] = 1001, [5, 4, 1 << 60], [1, -(1 << 62), 7]
    key = WriterKey(topic("md.ticker").number, 2, 640, transport.incarnation)
    cause = Chunk(key, 1, rows, cause=flow_of(transport).trades(1)[0].origin)
    transport.put([cause])
    source = transport.source()
    source.assign([TopicPartition(key.topic, 2)], NOTHING_DONE)
    (polled,) = poll_until(source, bool)
    assert polled.cause == cause.cause
    assert polled.rows.tobytes() == rows.tobytes()
    source.close()


def test_rows_of_other_sessions_are_left_out(transport: Transport) -> None:
    ours = flow_of(transport).trades(20)
    transport.put(Flow(2, transport.incarnation + 40_000).trades(20))
    transport.put(ours)
    source = transport.source()
    source.assign([TopicPartition(2, 1)], NOTHING_DONE)
    polled = poll_until(source, lambda polled: source.at_end(TopicPartition(2, 1)))
    assert trades_in(polled, 1) == trades_in(ours, 1)
    source.close()


def test_end_is_reached_left_and_reached_again(transport: Transport) -> None:
    flow = flow_of(transport)
    place = TopicPartition(2, 2)
    source = transport.source()
    first = flow.chunk("md.trade", TRADE, 640, [1001])
    transport.put([first])
    source.assign([place], NOTHING_DONE)
    poll_until(source, lambda polled: source.at_end(place))
    second = flow.chunk("md.trade", TRADE, 640, [1001, 1002])
    transport.put([second])
    polled = poll_until(source, bool)
    assert count(polled) == 2
    poll_until(source, lambda polled: source.at_end(place))
    source.close()


def test_reading_goes_on_where_it_was_left(transport: Transport) -> None:
    flow = flow_of(transport)
    early, late = flow.trades(30), flow.trades(30)
    transport.put(early)
    place = TopicPartition(2, 1)
    source = transport.source()
    source.assign([place], NOTHING_DONE)
    polled = poll_until(source, lambda polled: len(trades_in(polled, 1)) >= len(trades_in(early, 1)))
    source.close()
    rows = {chunk.key: chunk.row_last for chunk in polled}
    positions = {place: polled[-1].position} if polled[-1].position else {}
    transport.put(late)
    source = transport.source()
    source.assign([place], StartAt(positions, rows))
    again = poll_until(source, lambda polled: len(trades_in(polled, 1)) >= len(trades_in(late, 1)))
    assert trades_in(again, 1) == trades_in(late, 1)
    source.close()


def test_paused_partition_is_silent_and_loses_nothing(transport: Transport) -> None:
    chunks = flow_of(transport).trades(60)
    source = transport.source()
    places = [TopicPartition(2, 1), TopicPartition(2, 2)]
    transport.put(chunks[:30])
    source.assign(places, NOTHING_DONE)
    polled = poll_until(source, lambda polled: all(source.at_end(place) for place in places))
    source.pause(places[0])
    transport.put(chunks[30:])
    polled += poll_until(source, lambda more: len(trades_in([*polled, *more], 2)) == len(trades_in(chunks, 2)))
    assert trades_in(polled, 1) == trades_in(chunks[:30], 1)
    source.resume(places[0])
    polled += poll_until(source, lambda more: len(trades_in([*polled, *more], 1)) == len(trades_in(chunks, 1)))
    assert trades_in(polled, 1) == trades_in(chunks, 1)
    source.close()


def test_fetch_gives_exactly_the_rows_asked_for(transport: Transport) -> None:
    chunks = [chunk for chunk in flow_of(transport).trades(80) if chunk.key.partition == 1]
    transport.put(chunks)
    key = chunks[0].key
    trades = trades_in(chunks, 1)
    source = transport.source()
    for first, last in ((1, 1), (2, 9), (10, len(trades)), (4, 5), (len(trades), len(trades)), (1, len(trades))):
        fetched = list(source.fetch(key, first, last))
        assert fetched[0].row_first == first
        assert fetched[-1].row_last == last
        assert trades_in(fetched, 1) == trades[first - 1 : last]
    with pytest.raises(IntegrityError):
        list(source.fetch(key, len(trades), len(trades) + 1))
    source.close()


def test_message_that_is_no_frame_is_handed_out_as_foreign(transport: Transport) -> None:
    if not transport.has_foreign:
        pytest.skip("only this program writes the local log")
    flow = flow_of(transport)
    place = TopicPartition(2, 1)
    before, after = flow.trades(10), flow.trades(10)
    transport.put(before)
    transport.put_foreign(place, b"not a frame")
    transport.put(after)
    source = transport.source()
    source.assign([place], NOTHING_DONE)
    wanted = trades_in([*before, *after], 1)
    polled = poll_until(source, lambda polled: len(trades_in(polled, 1)) >= len(wanted))
    foreign = source.take_foreign()
    assert [(one.partition, one.payload) for one in foreign] == [(place, b"not a frame")]
    assert source.take_foreign() == []
    assert trades_in(polled, 1) == wanted
    source.close()


# --- sinks ---


def checkpoint(transport: Transport, number: int, row_first: int) -> Chunk:
    rows = journal_rows(Checkpoint(number, 1, [Entry(JournalKind.TIME, value=number)]))
    return Chunk(transport.journal_key(ECHO, 1), row_first, rows)


def quotes(transport: Transport, first: int, count: int, partition: int = 1) -> Chunk:
    rows = QUOTE.empty(count)
    rows["update_id"] = np.arange(first, first + count)
    return Chunk(WriterKey(5, partition, ECHO.writer(1), transport.incarnation), first, rows)


def test_committed_rows_are_read_by_others(transport: Transport) -> None:
    sink = transport.sink(ECHO, 1)
    sink.open()
    key = quotes(transport, 1, 1).key
    assert sink.last_row(key) == 0
    sink.commit([quotes(transport, 1, 5), quotes(transport, 1, 2, partition=3)], checkpoint(transport, 1, 1))
    sink.commit([quotes(transport, 6, 2)], checkpoint(transport, 2, 3))
    assert sink.last_row(key) == 7
    source = transport.source()
    source.assign([TopicPartition(5, 1)], NOTHING_DONE)
    polled = poll_until(source, lambda polled: count(polled) >= 7)
    assert [number for chunk in polled for number in chunk.rows["update_id"].tolist()] == [1, 2, 3, 4, 5, 6, 7]
    source.close()
    sink.close()


def test_large_outputs_are_cut_into_frames_and_come_whole(transport: Transport) -> None:
    sink = transport.sink(ECHO, 1)
    sink.open()
    sink.commit([quotes(transport, 1, 20_000)], checkpoint(transport, 1, 1))
    source = transport.source()
    source.assign([TopicPartition(5, 1)], NOTHING_DONE)
    polled = poll_until(source, lambda polled: count(polled) >= 20_000)
    assert np.array_equal(np.concatenate([chunk.rows["update_id"] for chunk in polled]), np.arange(1, 20_001))
    source.close()
    sink.close()


def test_journal_tail_gives_what_came_after(transport: Transport) -> None:
    sink = transport.sink(ECHO, 1)
    sink.open()
    assert sink.journal_tail(0) == []
    for number in range(1, 8):
        sink.commit([], checkpoint(transport, number, 2 * number - 1))
    for after in range(8):
        tail = sink.journal_tail(after)
        assert [checkpoint_number(chunk.rows) for chunk in tail] == list(range(after + 1, 8))
        assert [chunk.row_first for chunk in tail] == [2 * number - 1 for number in range(after + 1, 8)]
    sink.close()


def test_long_journal_is_read_from_its_end(transport: Transport) -> None:
    sink = transport.sink(ECHO, 1)
    sink.open()
    step = 600
    for number in range(1, 13):
        entries = [Entry(JournalKind.TIME, value=value) for value in range(step - 1)]
        rows = journal_rows(Checkpoint(number, 1, entries))
        sink.commit([], Chunk(transport.journal_key(ECHO, 1), (number - 1) * step + 1, rows))
    for after in (0, 5, 11, 12):
        assert [checkpoint_number(chunk.rows) for chunk in sink.journal_tail(after)] == list(range(after + 1, 13))
    sink.close()


def test_second_sink_of_a_task_and_the_first_never_both_write(transport: Transport) -> None:
    first, second = transport.sink(ECHO, 1), transport.sink(ECHO, 1)
    first.open()
    first.commit([quotes(transport, 1, 1)], checkpoint(transport, 1, 1))
    if not transport.takes_over:
        with pytest.raises(ResourceExhausted):
            second.open()
        first.close()
        second.open()
    else:
        second.open()
        with pytest.raises(Fenced):
            first.commit([quotes(transport, 2, 1)], checkpoint(transport, 2, 3))
    assert second.last_row(quotes(transport, 1, 1).key) == 1
    second.commit([quotes(transport, 2, 3)], checkpoint(transport, 2, 3))
    assert second.last_row(quotes(transport, 1, 1).key) == 4
    first.close()
    second.close()


def test_the_two_latest_snapshots_are_kept_newest_first(transport: Transport) -> None:
    sink = transport.sink(ECHO, 1)
    sink.open()
    assert list(sink.load_snapshots()) == []
    states = {number: bytes([number]) * (700_000 * (number % 3) + 1) for number in range(1, 6)}
    for number, state in states.items():
        sink.save_snapshot(number, state)
    sink.close()
    again = transport.sink(ECHO, 1)
    again.open()
    assert list(again.load_snapshots()) == [(5, states[5]), (4, states[4])]
    again.save_snapshot(6, b"six")
    assert list(again.load_snapshots()) == [(6, b"six"), (5, states[5])]
    again.close()


def test_committing_again_after_a_crash_repeats_nothing(transport: Transport) -> None:
    if transport.atomic:
        pytest.skip("outputs and journal are one commit here")
    sink = transport.sink(ECHO, 1, crash_at("output", 1))
    sink.open()
    outputs = [quotes(transport, 1, 5), quotes(transport, 1, 2, partition=3)]
    with pytest.raises(Crash):
        sink.commit(outputs, checkpoint(transport, 1, 1))
    sink.close()
    sink = transport.sink(ECHO, 1)
    sink.open()
    assert [sink.last_row(chunk.key) for chunk in outputs] == [5, 0]
    assert sink.last_row(transport.journal_key(ECHO, 1)) == 2
    sink.commit(outputs, checkpoint(transport, 1, 1))
    assert [sink.last_row(chunk.key) for chunk in outputs] == [5, 2]
    source = transport.source()
    source.assign([TopicPartition(5, 1), TopicPartition(5, 3)], NOTHING_DONE)
    assert count(poll_until(source, lambda polled: count(polled) >= 7)) == 7
    source.close()
    sink.close()


# --- whole runs ---


def runner(
    transport: Transport,
    row: Pipeline,
    task: int,
    rule: Processor,
    reach: Reach = nothing,
    options: RunnerOptions = SMALL,
) -> Runner:
    clock = ManualClock(START_NS + 100_000 * SECOND) if isinstance(transport, Memory) else SYSTEM_CLOCK
    return Runner(
        row, task, rule, transport.source(), transport.sink(row, task, reach), clock,
        incarnation=transport.incarnation, options=options,
    )  # fmt: skip


def ends(transport: Transport, row: Pipeline, task: int) -> dict[tuple[int, int], tuple[int, int]]:
    """Last row and checksum of everything a task wrote, by topic and partition; numbers are dense."""
    reader = transport.reader()
    found = {}
    for name in (*row.outputs, "sys.dead_letter"):
        number = topic(name).number
        for key in reader.keys(number):
            if key.writer == row.writer(task):
                tail = Tail()
                for chunk in reader.chunks(key):
                    assert chunk.row_first == tail.last + 1
                    cause = chunk.cause._replace(incarnation=0)
                    tail.add(
                        TOPIC_BY_NUMBER[number].event,
                        *compact_heap(TOPIC_BY_NUMBER[number].event, chunk.rows, chunk.heap),
                        cause,
                    )
                found[number, key.partition] = (tail.last, tail.checksum)
    return found


def test_session_gives_the_same_rows_on_every_transport_and_replays(transport: Transport) -> None:
    chunks = flow_of(transport, 5).trades(120)
    transport.put(chunks)
    runner(transport, ECHO, 1, Echo()).run_to_end()
    calm = Memory(atomic=True)
    calm.log = fill(MemoryLog(), Flow(5, calm.incarnation, writers=[640]).trades(120))
    runner(calm, ECHO, 1, Echo()).run_to_end()
    assert ends(transport, ECHO, 1) == ends(calm, ECHO, 1)
    for cut_seed in (None, 1, 2, 3):
        replay_task(ECHO, 1, Echo(), transport.reader(), cut_seed=cut_seed).check()


def test_pipeline_with_every_kind_of_input_replays(transport: Transport) -> None:
    flow = Flow(6, transport.incarnation)
    transport.put([*flow.instruments(9), *flow.market(250)])
    hashes = []
    for task in (0, 2):
        runner(transport, MIXER, task, Mixer()).run_to_end()
        for cut_seed in (None, 1, 2, 3):
            replayed = replay_task(MIXER, task, Mixer(), transport.reader(), cut_seed=cut_seed)
            replayed.check()
            hashes.append(replayed.hashes)
        assert hashes[-1] == hashes[-2] == hashes[-3] == hashes[-4]
        assert len(hashes[-1]) >= 2


def crash_points(transport: Transport) -> list[str]:
    if isinstance(transport, OnKafka):
        return ["begin", "produced", "done", "snapshot"]
    return ["begin", "done", "snapshot"] if transport.atomic else ["begin", "journal", "output", "done", "snapshot"]


def test_crashes_at_every_point_change_nothing(transport: Transport) -> None:
    transport.put(flow_of(transport, 7).trades(400))
    deaths = 0
    for point in crash_points(transport):
        life = runner(transport, ECHO, 1, Echo(), crash_at(point, 1 + (point != "snapshot")))
        try:
            life.run_to_end()
        except Crash:
            deaths += 1
    runner(transport, ECHO, 1, Echo()).run_to_end()
    assert deaths == len(crash_points(transport))
    calm = Memory(atomic=True)
    calm.log = fill(MemoryLog(), Flow(7, calm.incarnation, writers=[640]).trades(400))
    runner(calm, ECHO, 1, Echo()).run_to_end()
    assert ends(transport, ECHO, 1) == ends(calm, ECHO, 1)
    replay_task(ECHO, 1, Echo(), transport.reader(), cut_seed=1).check()


def test_foreign_message_becomes_a_dead_letter_and_replays(transport: Transport) -> None:
    if not transport.has_foreign:
        pytest.skip("only this program writes the local log")
    flow = flow_of(transport)
    transport.put(flow.trades(20))
    transport.put_foreign(TopicPartition(2, 1), b"{}")
    transport.put(flow.trades(20))
    first = runner(transport, ECHO, 1, Echo())
    first.run_to_end()
    assert first.stats.dead == 1
    replay_task(ECHO, 1, Echo(), transport.reader()).check()
    letters = [key for key in transport.reader().keys(12) if key.writer == ECHO.writer(1)]
    (letter,) = transport.reader().chunks(letters[0])
    assert letter.rows["reason"].tolist() == [DeadReason.UNDECODABLE]
    assert letter.heap.tobytes().endswith(b"{}")
