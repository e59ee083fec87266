"""What the runner and the transports reach: the exactly-once hop and publishing beside bare clients in the same run,
and ticks from a broker and from the local log into order books."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from infra.broker.embedded import Broker, BrokerSettings
from infra.config import config
from infra.kafka.topics import apply, plan
from processors.book import Book
from schemas.address import Origin
from schemas.declare import Rows
from schemas.events import BOOK_DELTA, TRADE, DeltaFlag
from schemas.frame import encode
from streams.ahead import ahead
from streams.api import Chunk, WriterKey
from streams.clock import SYSTEM_CLOCK, now_ns, perf_counter_ns
from streams.engine import Engine
from streams.framing import encode_chunk
from streams.kafka import Kafka, KafkaMirror, KafkaReader, KafkaSink, KafkaSource
from streams.local import LocalReader
from streams.log import LogOptions, LogWriter
from streams.partitioner import partition_of_u32
from streams.pipelines import pipeline
from streams.runner import Runner, RunnerOptions
from streams.topics import topic
from tests.bench.result import Result
from tests.conftest import free_port_range
from tests.pipelines import ECHO, Echo
from tests.recordings import recordings_dir
from tests.reference.recorded import read_recording

RECORDING = "usdm_btcusdt_20240808.gz"
ROWS_PER_FRAME = 2340  # what streams/framing.py cuts when there is enough to cut: 60 KB
SMALL_FRAME = 512  # 12 KB
COPIES = 6  # of the recording, one after the other: 2.7 million rows
ROUNDS = 30  # short ones, the best of which counts: others use the machine too
HOPS = 200
HOP_PAUSE_S = 0.03
INCARNATION = 7
DELTAS, JOURNAL, QUOTES, TRADES = (topic(name) for name in ("md.book_delta", "sys.journal", "md.quote", "md.trade"))


@contextmanager
def broker() -> Iterator[str]:
    """A fresh broker of its own, with our topics."""
    with tempfile.TemporaryDirectory() as directory:
        settings = BrokerSettings(
            data_dir=Path(directory), cache_dir=config().cache, port=free_port_range(8), maven_url=config().maven
        )
        server = Broker(settings)
        address = server.start(owned=True).bootstrap
        apply(address, plan(address))
        try:
            yield address
        finally:
            server.stop()


@dataclass(frozen=True)
class Ticks:
    """Synchronised level updates of a real recording, in frames of one writer."""

    key: WriterKey
    frames: list[tuple[int, int, bytes]]  # first row, rows, bytes
    rows: int

    @property
    def bytes(self) -> int:
        return sum(len(frame) for _, _, frame in self.frames)


def real_ticks(copies: int = COPIES, frame_rows: int = ROWS_PER_FRAME, *, as_cut_live: bool = False) -> Ticks:
    """Frames of so many rows; or one a venue event, as a connector that keeps up cuts them, on another partition."""
    recorded = read_recording(recordings_dir() / RECORDING)
    partition = (partition_of_u32(recorded.instrument, DELTAS.partitions) + as_cut_live) % DELTAS.partitions
    key = WriterKey(DELTAS.number, partition, 64, INCARNATION)
    if as_cut_live:
        starts = np.flatnonzero(recorded.deltas["flags"] & DeltaFlag.FIRST).tolist()
    else:
        starts = list(range(0, len(recorded.deltas), frame_rows))
    frames, row = [], 1
    for _ in range(copies):
        for start, stop in pairwise([*starts, len(recorded.deltas)]):
            rows: Rows = recorded.deltas[start:stop]
            frames.append((row, len(rows), encode(BOOK_DELTA, key.writer, INCARNATION, row, Origin(1, 0, 1, 7), rows)))
            row += len(rows)
    return Ticks(key, frames, row - 1)


def best(measure: Callable[[], float], rounds: int = ROUNDS) -> float:
    """The best of some rounds."""
    return max(measure() for _ in range(rounds))


# --- ticks into books ---


def into_books(chunks: Iterator[Chunk], ticks: Ticks) -> float:
    """Rows a second through the engine that replay uses; outputs are numbered and dropped."""
    engine = Engine(pipeline("book"), ticks.key.partition, Book(), INCARNATION)
    begin = perf_counter_ns()
    for chunk in ahead(chunks):
        engine.take(chunk)
        if engine.pending_bytes > 1 << 22:
            engine.finish({})
    engine.finish({})
    elapsed = perf_counter_ns() - begin
    assert engine.rows_in == ticks.rows
    assert engine.dead == 0
    return ticks.rows / elapsed * 1e3  # million rows a second


def bench_local(ticks: Ticks) -> Result:
    size = ticks.bytes / len(ticks.frames)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        writer = LogWriter(root, ticks.key, LogOptions(fsync="none"))
        for first, count, frame in ticks.frames:
            writer.append(frame, first, count, 0)
        writer.close()
        reached = best(lambda: into_books(LocalReader(root, INCARNATION).chunks(ticks.key), ticks))
    return Result(
        f"replay of ticks from the local log, CRC checked, books rebuilt, frames of {size / 1000:.0f} KB",
        round(reached, 1), "M rows/s",
        "the original's claim", 5.0, "≥ 40 M rows/s", reached >= 40,
        f"{ticks.rows:,} real level updates, {size:,.0f} bytes a frame; reading ahead in a second thread",
    )  # fmt: skip


def bench_broker(kafka: Kafka, ticks: Ticks) -> list[Result]:
    start_ns = now_ns()
    ours, bare = publish(kafka, ticks, start_ns)
    ratio = ours / bare
    published = Result(
        "publish from a connector", round(ours, 1), "MB/s", "bare idempotent producer, same frames", round(bare, 1),
        "≥ 0.9 × the reference", ratio >= 0.9, f"ratio {ratio:.2f}",
    )  # fmt: skip
    reader = KafkaReader(kafka, INCARNATION, start_ns)
    results = [published]
    live = real_ticks(2, as_cut_live=True)
    large, small = (elsewhere(one, step) for one, step in ((ticks, 2), (real_ticks(frame_rows=SMALL_FRAME), 3)))
    for one in (large, small, live):
        send_once(kafka, one, start_ns)
    for cut, one in (("frames of 60 KB", large), ("frames of 12 KB", small), ("frames as cut live", live)):
        speeds = [(into_books(reader.chunks(one.key), one), consume_bare(kafka, one)) for _ in range(ROUNDS // 2)]
        reached, alone = (max(column) for column in zip(*speeds, strict=True))
        size = one.bytes / len(one.frames)
        results.append(
            Result(
                f"replay of ticks from a real broker into books, {cut}", round(reached, 1), "M rows/s",
                "bare consumer, nothing decoded", round(alone, 1), "≥ 25 M rows/s", reached >= 25,
                f"{one.rows:,} real level updates, {size:,.0f} bytes a frame, lz4",
            )
        )  # fmt: skip
    return results


def elsewhere(ticks: Ticks, step: int) -> Ticks:
    """On another partition: where publishing was measured, the same rows lie many times."""
    return replace(ticks, key=ticks.key._replace(partition=(ticks.key.partition + step) % DELTAS.partitions))


def send_once(kafka: Kafka, ticks: Ticks, start_ns: int) -> None:
    mirror = KafkaMirror(kafka, "bench", INCARNATION, start_ns, lambda number, partition: ())
    for first, count, frame in ticks.frames:
        mirror.append(ticks.key, frame, first, count)
    assert mirror.flush(120)
    mirror.close()


def consume_bare(kafka: Kafka, ticks: Ticks) -> float:
    """Rows a second that a consumer hands out when nobody looks into the frames. Repeats are counted as they lie."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "bare", "isolation.level": "read_committed"})
    place = KafkaPartition(DELTAS.name, ticks.key.partition, 0)
    _, end = consumer.get_watermark_offsets(place, timeout=10)
    wanted = min(end, len(ticks.frames))
    consumer.assign([place])
    begin = perf_counter_ns()
    seen = 0
    while seen < wanted:
        seen += (consumer.poll(0.2) is not None) + len(consumer.consume(10_000, 0))
    elapsed = perf_counter_ns() - begin
    consumer.close()
    return ticks.rows * seen / len(ticks.frames) / elapsed * 1e3


def publish(kafka: Kafka, ticks: Ticks, start_ns: int) -> tuple[float, float]:
    """MB/s through the shipper's mirror and through a bare producer, in turns."""
    bare_options = {
        "bootstrap.servers": kafka.bootstrap, "enable.idempotence": True, "acks": "all", "linger.ms": 5,
        "compression.type": DELTAS.compression, "batch.size": 1 << 20, "queue.buffering.max.kbytes": 256 << 10,
    }  # fmt: skip

    def bare() -> float:
        producer = Producer(bare_options)
        producer.produce("md.bar.v1", ticks.frames[0][2], partition=ticks.key.partition)
        assert producer.flush(30) == 0  # connected
        begin = perf_counter_ns()
        for _, _, frame in ticks.frames:
            producer.produce("md.bar.v1", frame, partition=ticks.key.partition)
        assert producer.flush(120) == 0
        return ticks.bytes / (perf_counter_ns() - begin) * 1e3

    def ours() -> float:
        mirror = KafkaMirror(kafka, "bench", INCARNATION, start_ns, lambda number, partition: ())
        first, count, frame = ticks.frames[0]
        mirror.append(ticks.key, frame, first, count)
        assert mirror.flush(30)
        begin = perf_counter_ns()
        for first, count, frame in ticks.frames:
            mirror.append(ticks.key, frame, first, count)
        assert mirror.flush(120)
        speed = ticks.bytes / (perf_counter_ns() - begin) * 1e3
        assert mirror.acknowledged() == {ticks.key: ticks.rows}
        mirror.close()
        return speed

    bare()  # the broker's first second is its slowest
    speeds = [(ours(), bare()) for _ in range(6)]
    return max(one for one, _ in speeds), max(one for _, one in speeds)


# --- one exactly-once hop ---


def tick(number: int) -> Chunk:
    rows = TRADE.empty(1)
    rows["instrument"], rows["trade_id"], rows["ts_recv_ns"] = 1001, number, now_ns()
    return Chunk(WriterKey(TRADES.number, partition_of_u32(1001, 4), 640, INCARNATION), number, rows)


def tail_consumer(address: str, name: str, partition: int) -> Consumer:
    """Reads what is committed from now on."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "bench",
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 200,
        }
    )
    _, high = consumer.get_watermark_offsets(KafkaPartition(name, partition), timeout=10)
    consumer.assign([KafkaPartition(name, partition, high)])
    consumer.poll(0.5)
    return consumer


class Hop:
    """Sends a tick, waits for the row that follows from it."""

    def __init__(self, address: str, tick_topic: str, answer_topic: str) -> None:
        self.partition = partition_of_u32(1001, 4)
        self.tick_topic = tick_topic
        self.producer = Producer({"bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 0})
        self.consumer = tail_consumer(address, answer_topic, self.partition)
        self.number = 0

    def once(self) -> float:
        """Milliseconds from sending to reading."""
        self.number += 1
        (frame,) = encode_chunk(tick(self.number))
        begin = perf_counter_ns()
        self.producer.produce(self.tick_topic, frame.frame, partition=self.partition)
        self.producer.poll(0)
        message = self.consumer.poll(20)
        elapsed = (perf_counter_ns() - begin) / 1e6
        assert message is not None
        assert message.error() is None
        return elapsed


def bare_middle(address: str, stop: threading.Event, ready: threading.Event) -> None:
    """The same hop without us: read, one transaction of an output and a journal row, nothing else."""
    consumer = tail_consumer(address, "md.ticker.v1", partition_of_u32(1001, 4))
    producer = Producer(
        {"bootstrap.servers": address, "transactional.id": "bare", "transaction.timeout.ms": 2000, "linger.ms": 0}
    )
    producer.init_transactions(60)
    output, journal = b"o" * 90, b"j" * 130  # as large as ours are
    ready.set()
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        producer.begin_transaction()
        producer.produce("md.book_snapshot.v1", output, partition=message.partition())
        producer.produce(JOURNAL.name, journal, partition=15)
        producer.commit_transaction(20)


def bench_hop(kafka: Kafka) -> Result:
    """Ours and the bare one in turns, so that both see the same machine."""
    partition = partition_of_u32(1001, 4)
    writer = ECHO.writer(partition)
    start_ns = now_ns()
    journal = WriterKey(JOURNAL.number, writer % JOURNAL.partitions, writer, INCARNATION)
    runner = Runner(
        ECHO, partition, Echo(), KafkaSource(kafka, "bench-hop", INCARNATION, start_ns),
        KafkaSink(kafka, "bench-hop", journal, partition, start_ns), SYSTEM_CLOCK,
        incarnation=INCARNATION, options=RunnerOptions(),
    )  # fmt: skip
    stop, ready = threading.Event(), threading.Event()
    threads = [
        threading.Thread(target=runner.run, args=(stop.is_set,)),
        threading.Thread(target=bare_middle, args=(kafka.bootstrap, stop, ready)),
    ]
    for thread in threads:
        thread.start()
    ready.wait(60)
    while runner.stats.state != "running":
        SYSTEM_CLOCK.sleep(0.01)
    ours = Hop(kafka.bootstrap, TRADES.name, QUOTES.name)
    bare = Hop(kafka.bootstrap, "md.ticker.v1", "md.book_snapshot.v1")
    pairs = []
    for number in range(HOPS + 20):
        pair = []
        for hop in (ours, bare):
            SYSTEM_CLOCK.sleep(HOP_PAUSE_S)
            pair.append(hop.once())
        if number >= 20:
            pairs.append(pair)
    stop.set()
    for thread in threads:
        thread.join()
    p50s = [median(column) for column in zip(*pairs, strict=True)]
    p90s = [float(np.quantile(column, 0.9)) for column in zip(*pairs, strict=True)]
    ratio = p50s[0] / p50s[1]
    return Result(
        "tick to decision through Kafka topics, exactly once", round(p50s[0], 2), "ms at p50",
        "bare clients: read, one transaction, read", round(p50s[1], 2), "≤ 1.2 × the reference", ratio <= 1.2,
        f"ratio {ratio:.2f}; p90 {p90s[0]:.2f} and {p90s[1]:.2f} ms; {HOPS} ticks each, in turns",
    )  # fmt: skip


def run() -> list[Result]:
    """All of it; about two minutes."""
    ticks = real_ticks()
    Book().warm()
    results = [bench_local(ticks), bench_local(real_ticks(frame_rows=SMALL_FRAME))]
    with broker() as address:
        kafka = Kafka(address)
        results += bench_broker(kafka, ticks)
        results.append(bench_hop(kafka))
    return results


if __name__ == "__main__":
    for result in run():
        print(result)
