"""What only Kafka can show: fencing in mid-transaction, aborts, partitions of other clients, sealing, the shipper."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from schemas.errors import BrokerUnavailable, Fenced, IntegrityError, TopicDrift
from schemas.events import INSTRUMENT, TRADE
from streams.api import StartAt, TopicPartition, WriterKey
from streams.clock import SYSTEM_CLOCK
from streams.framing import encode_chunk
from streams.kafka import CLIENT_OPTIONS, KafkaMirror, KafkaSink, options_table
from streams.local import LocalReader
from streams.log import writer_keys
from streams.partitioner import partition_of
from streams.replay import replay_task
from streams.seal import seal
from streams.shipper import Busy, Shipper, ShipperOptions
from streams.topics import topic
from tests.contract.test_transports import (
    NOTHING_DONE,
    checkpoint,
    count,
    ends,
    flow_of,
    poll_until,
    quotes,
    runner,
    trades_in,
)
from tests.contract.transports import Local, OnKafka
from tests.memory_runs import Crash, crash_at
from tests.pipelines import ECHO, MIXER, Flow, Mixer

README = Path(__file__).resolve().parents[2] / "streams" / "README.md"
QUOTES = topic("md.quote")


def test_readme_shows_every_option_of_the_client() -> None:
    assert options_table() in README.read_text()
    for role in ("consumer", "transactional", "idempotent"):
        names = [option.name for option in CLIENT_OPTIONS if role in option.roles]
        assert len(names) == len(set(names))


@pytest.fixture
def transport(kafka: str) -> OnKafka:
    return OnKafka(kafka)


def raw_messages(address: str, name: str, partition: int, level: str, start: int = 0) -> list[bytes]:
    """Every message of a partition, as any client sees it."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "raw",
            "isolation.level": level,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    consumer.assign([KafkaPartition(name, partition, start)])
    found: list[bytes] = []
    while True:
        message = consumer.poll(10)
        assert message is not None
        if message.error():
            consumer.close()
            return found
        found.append(message.value())


def end_of(address: str, name: str, partition: int) -> int:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "raw", "log_level": 0})
    high: int = consumer.get_watermark_offsets(KafkaPartition(name, partition), timeout=10)[1]
    consumer.close()
    return high


# --- transactions ---


@pytest.mark.broker
def test_transaction_of_a_dead_task_is_never_read_and_its_numbers_are_used_again(transport: OnKafka) -> None:
    dead = transport.sink(ECHO, 1, crash_at("produced", 2))
    dead.open()
    dead.commit([quotes(transport, 1, 2)], checkpoint(transport, 1, 1))
    with pytest.raises(Crash):
        dead.commit([quotes(transport, 3, 5)], checkpoint(transport, 2, 3))
    successor = transport.sink(ECHO, 1)
    successor.open()
    assert successor.last_row(quotes(transport, 1, 1).key) == 2
    assert len(successor.journal_tail(0)) == 1
    successor.commit([quotes(transport, 3, 1)], checkpoint(transport, 2, 3))
    assert successor.last_row(quotes(transport, 1, 1).key) == 3


@pytest.mark.broker
def test_zombie_in_mid_transaction_is_fenced_and_leaves_nothing(transport: OnKafka) -> None:
    successor = transport.sink(ECHO, 1)

    def take_over(point: str) -> None:
        if point == "produced":
            successor.open()

    zombie = transport.sink(ECHO, 1, take_over)
    zombie.open()
    with pytest.raises(Fenced):
        zombie.commit([quotes(transport, 1, 5)], checkpoint(transport, 1, 1))
    assert successor.last_row(quotes(transport, 1, 1).key) == 0
    successor.commit([quotes(transport, 1, 1)], checkpoint(transport, 1, 1))
    assert successor.last_row(quotes(transport, 1, 1).key) == 1


class AbortOnce:
    """Makes the client abort: at the first `produced` a message is lost, as a time-out of the broker would lose it."""

    def __init__(self) -> None:
        self.sink: KafkaSink | None = None
        self.times = 0

    def __call__(self, point: str) -> None:
        if point != "produced" or self.times:
            return
        self.times += 1
        assert self.sink is not None
        producer: Producer = self.sink._transactions._producer
        producer.purge(in_queue=True, in_flight=True)  # undelivered messages make the transaction abortable
        producer.poll(1)


@pytest.mark.broker
def test_aborted_transaction_is_sent_again_as_the_same_bytes(transport: OnKafka) -> None:
    reach = AbortOnce()
    sink = transport.sink(ECHO, 1, reach)
    assert isinstance(sink, KafkaSink)
    reach.sink = sink
    sink.open()
    places = [(QUOTES.name, 1), ("sys.journal.v1", transport.journal_key(ECHO, 1).partition)]
    starts = [end_of(transport.kafka.bootstrap, *place) for place in places]
    outputs, journal = [quotes(transport, 1, 9_000)], checkpoint(transport, 1, 1)
    sink.commit(outputs, journal)
    assert sink.aborted == 1
    wanted = [[one.frame for chunk in chunks for one in encode_chunk(chunk)] for chunks in (outputs, [journal])]
    for place, start, frames in zip(places, starts, wanted, strict=True):
        assert raw_messages(transport.kafka.bootstrap, *place, "read_committed", start) == frames
        every = raw_messages(transport.kafka.bootstrap, *place, "read_uncommitted", start)
        assert set(every) <= set(frames)  # what was aborted had the same bytes


@pytest.mark.broker
def test_start_over_rows_behind_somebody_elses_transaction_waits_and_then_says_so(transport: OnKafka) -> None:
    """Somebody else's producer holds the transaction open, so that fencing our own does not end it."""
    stray = transport.kafka.transactional("stray", f"stray-{SYSTEM_CLOCK.now_ns()}", "none")
    stray.init_transactions(10)
    stray.begin_transaction()
    key = transport.journal_key(ECHO, 1)
    (frame,) = encode_chunk(checkpoint(transport, 1, 1))
    stray.produce("sys.journal.v1", frame.frame, None, key.partition)
    stray.flush(10)
    sink = transport.sink(ECHO, 1)
    assert isinstance(sink, KafkaSink)
    sink._settle_s = 0.2
    with pytest.raises(BrokerUnavailable, match=r"sys\.journal.* behind a transaction of another task"):
        sink.open()
    stray.abort_transaction(10)
    sink = transport.sink(ECHO, 1)
    sink.open()
    assert sink.last_row(key) == 0


@pytest.mark.broker
def test_unknown_topic_is_a_drift_and_an_absent_broker_is_said(
    transport: OnKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streams.kafka import Kafka, KafkaReader

    monkeypatch.setattr("streams.kafka_client.ASK_S", 2.0)
    monkeypatch.setattr("streams.kafka_reader.REQUEST_S", 1.0)
    reader = KafkaReader(Kafka("127.0.0.1:1"), 1, 0)
    with pytest.raises(BrokerUnavailable, match=re.escape("127.0.0.1:1")):
        list(reader.chunks(WriterKey(2, 0, 1, 1)))
    source = transport.source()
    with pytest.raises(TopicDrift):
        source.assign([TopicPartition(2, 63)], NOTHING_DONE)


@pytest.mark.broker
def test_rows_deleted_before_they_were_read_are_an_error(transport: OnKafka) -> None:
    from confluent_kafka.admin import AdminClient

    transport.put([chunk for chunk in flow_of(transport).trades(60) if chunk.key.partition == 3])
    end = end_of(transport.kafka.bootstrap, "md.trade.v1", 3)
    admin = AdminClient({"bootstrap.servers": transport.kafka.bootstrap, "log_level": 0})
    for future in admin.delete_records([KafkaPartition("md.trade.v1", 3, end)]).values():
        future.result()
    source = transport.source()
    source.assign([TopicPartition(2, 3)], StartAt({TopicPartition(2, 3): end - 2}, {}))
    with pytest.raises(IntegrityError, match="gone"):
        poll_until(source, bool)
    source.close()


@pytest.mark.broker
@pytest.mark.parametrize("key", [b"21", b"foobar", b"\x01\x00\x00\x00", b"\xff\xff\xff\xff", b"abcdefg"])
def test_partitions_are_those_of_the_clients_murmur2(transport: OnKafka, key: bytes) -> None:
    producer = Producer(
        {"bootstrap.servers": transport.kafka.bootstrap, "partitioner": "murmur2_random", "log_level": 0}
    )
    chosen = []
    producer.produce("md.bar.v1", b"probe", key, on_delivery=lambda error, message: chosen.append(message.partition()))
    assert producer.flush(20) == 0
    assert chosen == [partition_of(key, 4)]


# --- sealing ---


@pytest.mark.broker
def test_sealed_session_has_the_same_rows_and_replays_without_the_broker(transport: OnKafka, tmp_path: Path) -> None:
    flow = Flow(9, transport.incarnation)
    chunks = [*flow.instruments(), *flow.market(200)]
    transport.put([*chunks[:60], *chunks[50:]])  # a shipper that came back
    runner(transport, MIXER, 2, Mixer()).run_to_end()
    sealed = seal(transport.reader(), tmp_path / "log")  # type: ignore[arg-type]
    again = seal(transport.reader(), tmp_path / "log")  # type: ignore[arg-type]
    local = Local(tmp_path)
    local.incarnation = transport.incarnation
    assert (again.frames, again.rows) == (0, sealed.rows)
    assert ends(local, MIXER, 2) == ends(transport, MIXER, 2)
    assert sealed.holed == []
    replays = [replay_task(MIXER, 2, Mixer(), reader) for reader in (local.reader(), transport.reader())]
    for replayed in replays:
        replayed.check()
    assert replays[0].hashes == replays[1].hashes
    for key in writer_keys(tmp_path / "log", "md.trade"):
        rows = [
            trade
            for chunk in LocalReader(tmp_path / "log", key.incarnation).chunks(key)
            for trade in chunk.rows["trade_id"].tolist()
        ]
        assert rows == [trade for chunk in chunks if chunk.key == key for trade in chunk.rows["trade_id"].tolist()]


@pytest.mark.broker
def test_sealing_refuses_rows_that_never_arrived(transport: OnKafka, tmp_path: Path) -> None:
    trades = [chunk for chunk in flow_of(transport).trades(60) if chunk.key.partition == 1]
    transport.put([*trades[:3], *trades[4:]])
    with pytest.raises(IntegrityError, match="lost before they reached Kafka"):
        seal(transport.reader(), tmp_path / "log")  # type: ignore[arg-type]


# --- the shipper's mirror ---


class Shipped:
    """A local log and what ships it."""

    def __init__(self, transport: OnKafka, directory: Path) -> None:
        self.local = Local(directory)
        self.local.incarnation = transport.incarnation
        self.transport = transport

    def mirror(self) -> KafkaMirror:
        root = self.local.root
        return KafkaMirror(
            self.transport.kafka, f"test-{self.transport.incarnation}", self.transport.incarnation,
            self.transport.start_ns, lambda number, partition: writer_keys(root, number, partition),
        )  # fmt: skip

    def ship(self) -> Shipper:
        """Ship until everything logged has landed."""
        shipper = Shipper(self.local.root, self.mirror(), ShipperOptions(incarnation=self.transport.incarnation))
        end_ns = SYSTEM_CLOCK.monotonic_ns() + 30_000_000_000
        while not (shipper.stats.keys and all(lane.landed_all() for lane in shipper._lanes.values())):
            assert SYSTEM_CLOCK.monotonic_ns() < end_ns, shipper.stats
            if not shipper.step():
                SYSTEM_CLOCK.sleep(0.002)
        shipper.close()
        return shipper


@pytest.mark.broker
def test_shipped_rows_arrive_once_and_in_order_over_restarts(transport: OnKafka, tmp_path: Path) -> None:
    shipped = Shipped(transport, tmp_path)
    flow = Flow(12, transport.incarnation)
    first, second = [*flow.instruments(), *flow.market(80)], flow.market(80)
    shipped.local.put(first)
    shipped.ship()
    shipped.local.put(second)
    assert shipped.ship().stats.rows == count(second)
    reader = transport.reader()
    for key in writer_keys(shipped.local.root):
        wanted = [chunk for chunk in [*first, *second] if chunk.key == key]
        assert b"".join(chunk.rows.tobytes() for chunk in reader.chunks(key)) == b"".join(
            chunk.rows.tobytes() for chunk in wanted
        )


@pytest.mark.broker
def test_tail_knows_the_last_row_of_every_writer(transport: OnKafka, tmp_path: Path) -> None:
    shipped = Shipped(transport, tmp_path)
    chunks = Flow(13, transport.incarnation).trades(100)
    shipped.local.put(chunks)
    shipped.ship()
    mirror = shipped.mirror()
    for partition in range(4):
        last: dict[WriterKey, int] = {}
        for chunk in chunks:
            if chunk.key.partition == partition:
                last[chunk.key] = chunk.row_last
        assert mirror.landed(2, partition) == last
    mirror.close()


@pytest.mark.broker
def test_frames_of_a_compacted_topic_carry_their_natural_key(transport: OnKafka, tmp_path: Path) -> None:
    shipped = Shipped(transport, tmp_path)
    start = end_of(transport.kafka.bootstrap, "ref.instrument.v1", 0)
    shipped.local.put([Flow(1, transport.incarnation).chunk("ref.instrument", INSTRUMENT, 640, [1007])])
    shipped.ship()
    consumer = Consumer({"bootstrap.servers": transport.kafka.bootstrap, "group.id": "raw", "log_level": 0})
    consumer.assign([KafkaPartition("ref.instrument.v1", 0, start)])
    message = consumer.poll(10)
    consumer.close()
    assert message.key() == (1007).to_bytes(4, "little")


@pytest.mark.broker
def test_transactional_records_land_together(transport: OnKafka, tmp_path: Path) -> None:
    mirror = Shipped(transport, tmp_path).mirror()
    frames = [
        one for chunk in (quotes(transport, 1, 4), quotes(transport, 1, 2, partition=3)) for one in encode_chunk(chunk)
    ]
    mirror.append_transaction([(one.key, one.frame, one.row_first, one.row_count) for one in frames])
    assert [
        trade for chunk in transport.reader().chunks(frames[0].key) for trade in chunk.rows["update_id"].tolist()
    ] == [1, 2, 3, 4]
    assert mirror.landed(5, 3)[frames[1].key] == 2
    mirror.close()


@pytest.mark.broker
def test_full_queue_is_busy_and_takes_nothing(
    transport: OnKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = Shipped(transport, tmp_path).mirror()
    flow = Flow(14, transport.incarnation, writers=[640])
    chunks = [flow.chunk("md.trade", TRADE, 640, [1001]) for _ in range(3)]
    frames: list[tuple[WriterKey, bytes, int, int]] = [
        (one.key, one.frame, one.row_first, one.row_count) for chunk in chunks for one in encode_chunk(chunk)
    ]
    mirror.append(*frames[0])

    class Full:
        def produce(self, *arguments: object, **named: object) -> None:
            raise BufferError("Local: Queue full")

        def poll(self, timeout: float) -> int:
            return 0

    producers, mirror._producers = mirror._producers, {"lz4": Full()}
    with pytest.raises(Busy):
        mirror.append(*frames[1])
    mirror._producers = producers
    for frame in frames[1:]:
        mirror.append(*frame)
    assert mirror.flush(20)
    assert mirror.acknowledged() == {frames[0][0]: 3}
    read = list(transport.reader().chunks(frames[0][0]))
    assert trades_in(read, 2) == [1, 2, 3]
    mirror.close()


@pytest.mark.broker
def test_lost_client_is_said_and_a_new_one_goes_on(transport: OnKafka, tmp_path: Path) -> None:
    mirror = Shipped(transport, tmp_path).mirror()
    chunk = Flow(15, transport.incarnation, writers=[640]).chunk("md.trade", TRADE, 640, [1001, 1001])
    (frame,) = encode_chunk(chunk)
    mirror.append(frame.key, frame.frame, frame.row_first, frame.row_count)
    mirror._producers["lz4"].purge()
    end_ns = SYSTEM_CLOCK.monotonic_ns() + 10_000_000_000
    landed = False
    with pytest.raises(BrokerUnavailable, match="gave up"):  # noqa: PT012 (either call may be the one that says it)
        while SYSTEM_CLOCK.monotonic_ns() < end_ns:
            landed = bool(mirror.acknowledged())
            if landed:
                raise BrokerUnavailable("gave up: it had landed before the purge")
            mirror.flush(0.1)
    known = mirror.landed(2, 2).get(frame.key, 0)
    if not known:
        mirror.append(frame.key, frame.frame, frame.row_first, frame.row_count)
        assert mirror.flush(20)
    assert trades_in(list(transport.reader().chunks(frame.key)), 2) == [1, 2]
    mirror.close()
