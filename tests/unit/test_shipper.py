"""The shipper: everything lands in order, whatever breaks; a repeat may, a hole may not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from schemas.errors import BrokerUnavailable, Fenced, IntegrityError, ResourceExhausted
from streams.api import WriterKey
from streams.clock import ManualClock
from streams.log import CorruptRecord, LogOptions, LogWriter, key_dir, read_hold
from streams.log_format import segment_path, segment_rows
from streams.shipper import Mirror, Shipper, ShipperOptions
from tests.reference.mirrors import Landed, MemoryMirror

RAW = WriterKey(1, 0, 31_744, 3)
TRADE = WriterKey(2, 1, 64, 3)
TRADE_OTHER = WriterKey(2, 1, 65, 3)
JOURNAL = WriterKey(11, 0, 64, 3)
DEAD = WriterKey(12, 0, 64, 3)
LOG = LogOptions(segment_bytes=8192, fsync="none")
Rows = list[tuple[int, int, bytes]]


class Bench:
    """A local log with writers, a mirror and a shipper under a manual clock."""

    def __init__(self, root: Path, mirror: MemoryMirror | None = None, **options: object) -> None:
        self.root = root
        self.clock = ManualClock(10**9)
        self.mirror = mirror or MemoryMirror()
        self.options = ShipperOptions(**options)  # type: ignore[arg-type]
        self.writers: dict[WriterKey, LogWriter] = {}
        self.written: dict[WriterKey, Rows] = {}
        self.rng = random.Random(4)
        self.shipper = self.start()

    def start(self) -> Shipper:
        return Shipper(self.root, self.mirror, self.options, clock=self.clock, jitter=random.Random(1))

    def write(self, key: WriterKey, count: int, bytes_max: int = 200) -> None:
        writer = self.writers.get(key) or self.writers.setdefault(key, LogWriter(self.root, key, LOG))
        for _ in range(count):
            frame, rows = self.rng.randbytes(self.rng.randint(1, bytes_max)), self.rng.randint(1, 4)
            self.written.setdefault(key, []).append((writer.last_row + 1, rows, frame))
            writer.append(frame, writer.last_row + 1, rows, 0)

    def steps(self, count: int = 20, pause_s: float = 0.1) -> None:
        for _ in range(count):
            self.shipper.step()
            self.clock.sleep(pause_s)

    def check(self) -> None:
        """Everything written has landed, in order, nothing missing."""
        for key, rows in self.written.items():
            assert self.mirror.rows(key) == rows, key

    def restart(self, sent: int | None = None) -> None:
        """The process is killed and started again: locks are free, the first `sent` frames (None: all) that were in
        flight are still under way, the others had not left the client."""
        self.shipper.close()
        self.mirror.lose_client(sent)
        self.shipper = self.start()


def test_mirrors_keep_the_protocol() -> None:
    mirror: Mirror = MemoryMirror()
    assert mirror.landed(1, 0) == {}


def test_everything_lands_in_order(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for key in (RAW, TRADE, TRADE_OTHER, JOURNAL, DEAD):
        bench.write(key, 150)
    bench.steps()
    bench.check()
    stats = bench.shipper.stats
    assert stats.state == "shipping"
    assert (stats.records, stats.error, stats.lag_bytes) == (750, "", 0)
    assert {key: (p.shipped_row, p.landed_row) for key, p in stats.keys.items()} == {
        key: (rows[-1][0] + rows[-1][1] - 1,) * 2 for key, rows in bench.written.items()
    }


def test_writers_that_come_later_are_found(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.steps(2)
    bench.write(RAW, 10)
    bench.steps()
    bench.check()
    bench.write(RAW, 10)
    bench.write(TRADE, 10)
    bench.steps()
    bench.check()


def test_only_the_sessions_own_writers_are_shipped(tmp_path: Path) -> None:
    bench = Bench(tmp_path, incarnation=3)
    bench.write(RAW, 5)
    bench.write(RAW._replace(incarnation=2), 5)
    bench.steps()
    assert bench.mirror.rows(RAW) == bench.written[RAW]
    assert bench.mirror.rows(RAW._replace(incarnation=2)) == []


def test_second_shipper_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with pytest.raises(ResourceExhausted, match=r"shipper of .* is in use by process"):
        bench.start()


def test_full_queue_holds_back_and_starves_nobody(tmp_path: Path) -> None:
    bench = Bench(tmp_path, MemoryMirror(capacity=3, landing=False))
    for key in (RAW, TRADE, TRADE_OTHER):
        bench.write(key, 50)
    for _ in range(90):
        bench.shipper.step()
        bench.clock.sleep(0.01)
        bench.mirror.land(3)
    landed = [len(bench.mirror.rows(key)) for key in (RAW, TRADE, TRADE_OTHER)]
    assert min(landed) > 0
    assert bench.shipper.stats.busy > 10
    bench.mirror.landing = True
    bench.steps(100)
    bench.check()
    assert bench.shipper.stats.records == 150


def test_lag_is_what_has_not_landed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, MemoryMirror(landing=False, capacity=5))
    bench.write(RAW, 40)
    bench.steps(5)
    stats = bench.shipper.stats
    rows = bench.written[RAW]
    progress = stats.keys[RAW]
    assert (progress.shipped_row, progress.landed_row) == (rows[4][0] + rows[4][1] - 1, 0)
    assert sum(len(row[2]) for row in rows) <= stats.lag_bytes < sum(len(row[2]) + 40 for row in rows) + 2 * 300
    bench.mirror.landing = True
    bench.steps(40)
    assert stats.lag_bytes == 0


def test_outage_is_visible_and_loses_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(RAW, 20)
    bench.write(JOURNAL, 20)
    bench.steps(5)
    bench.mirror.away = True
    bench.write(RAW, 200)
    bench.write(JOURNAL, 20)
    bench.steps(600)  # a minute
    assert bench.shipper.stats.state == "away"
    assert bench.shipper.stats.error
    assert bench.shipper.stats.retries > 10
    assert bench.shipper.stats.lag_bytes > 10_000
    bench.write(RAW, 20)
    bench.mirror.away = False
    bench.steps(60)
    bench.check()
    assert (bench.shipper.stats.state, bench.shipper.stats.error) == ("shipping", "")


def test_broker_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.mirror.away = True
    bench.write(TRADE, 30)
    bench.steps(100)
    assert bench.shipper.stats.state == "away"
    assert "nobody answers" in bench.shipper.stats.error
    assert bench.shipper.stats.lag_bytes > sum(len(row[2]) for row in bench.written[TRADE])
    bench.mirror.away = False
    bench.steps(60)
    bench.check()


def test_frames_that_do_not_land_make_the_remote_count_as_away(tmp_path: Path) -> None:
    """The client queues for ever and says nothing; the shipper notices that nothing lands."""
    bench = Bench(tmp_path, MemoryMirror(landing=False))
    bench.write(RAW, 5)
    states, silent_s = [], []
    for landing in (False, False, True):
        bench.mirror.landing = landing
        bench.steps(20)
        states.append((bench.shipper.stats.state, bench.shipper.stats.error[:11]))
        silent_s.append((bench.clock.now_ns() - bench.shipper.stats.moved_ns) / 1e9)
    assert states == [("shipping", ""), ("away", "nothing has"), ("shipping", "")]
    assert silent_s[0] < 0.2 < 0.9 < silent_s[1] > silent_s[2] < 0.2


@pytest.mark.parametrize("seed", range(25))
def test_kills_at_any_point_cause_repeats_but_no_hole(tmp_path: Path, seed: int) -> None:
    """Frames in flight at the kill land after the successor has read the tail: the race measured with a real broker."""
    rng = random.Random(seed)
    bench = Bench(tmp_path, MemoryMirror(capacity=rng.randint(1, 30), landing=False))
    for _ in range(30):
        for key in (RAW, TRADE, TRADE_OTHER, JOURNAL):
            bench.write(key, rng.randint(0, 6))
        bench.steps(rng.randint(0, 3), 0.3)
        bench.mirror.land(rng.randint(0, 20))
        if rng.random() < 0.4:
            bench.restart(rng.choice([None, 0, 1, 5]))
        if rng.random() < 0.2:
            bench.mirror.away = not bench.mirror.away
    bench.mirror.away, bench.mirror.landing = False, True
    bench.steps(100)
    bench.check()


def test_repeats_do_happen_after_a_kill(tmp_path: Path) -> None:
    """The test above would prove little if the mirror never showed the race."""
    bench = Bench(tmp_path, MemoryMirror(landing=False))
    bench.write(RAW, 10)
    bench.steps(3)
    bench.restart()
    bench.mirror.landing = True
    bench.steps(5)
    assert len(bench.mirror.partitions[1, 0]) == 20
    bench.check()


def test_lost_client_is_replaced(tmp_path: Path) -> None:
    """The client library gives up (a fatal error): the mirror says so once, the shipper begins again at the tail."""

    class Dying(MemoryMirror):
        deaths = 2

        def append(self, key: WriterKey, frame: bytes | memoryview, row_first: int, row_count: int) -> None:
            if self.deaths and len(self.flying) == 7:
                self.deaths -= 1
                self.lose_client(sent=4 * self.deaths)
                raise BrokerUnavailable("the client is lost")
            super().append(key, frame, row_first, row_count)

    bench = Bench(tmp_path, Dying(landing=False))
    bench.write(RAW, 30)
    bench.write(TRADE, 30)
    bench.steps(10)
    bench.mirror.landing = True
    bench.steps(30)
    bench.check()
    assert bench.shipper.stats.retries == 2


def test_client_that_died_silently_is_noticed(tmp_path: Path) -> None:
    """Nothing more is appended, so no call but `flush` could tell."""
    bench = Bench(tmp_path, MemoryMirror(landing=False))
    bench.write(RAW, 10)
    bench.steps(3)
    bench.mirror.lose_client(sent=4)
    bench.mirror.lost, bench.mirror.landing = True, True
    bench.steps(60)
    bench.check()
    assert bench.shipper.stats.state == "shipping"


def test_trouble_with_transactions_does_not_touch_market_data(tmp_path: Path) -> None:
    bench = Bench(tmp_path, MemoryMirror(landing=False))
    bench.write(RAW, 10)
    bench.write(JOURNAL, 10)
    bench.mirror.transaction_outcome = "lost"
    bench.steps(30)
    assert (bench.shipper.stats.state, bench.shipper.stats.error) == ("away", "the commit was not answered")
    bench.mirror.landing = True
    bench.write(RAW, 10)
    bench.steps(30)
    assert bench.mirror.rows(RAW) == bench.written[RAW]
    assert len(bench.mirror.partitions[1, 0]) == 20  # nothing was sent twice
    bench.mirror.transaction_outcome = None
    bench.steps(30)
    bench.check()


@pytest.mark.parametrize("outcome", ["lost", "unknown"])
def test_transaction_of_unknown_outcome_is_settled_by_the_tail(tmp_path: Path, outcome: str) -> None:
    bench = Bench(tmp_path)
    bench.write(JOURNAL, 10)
    bench.write(DEAD, 3)
    bench.mirror.transaction_outcome = outcome
    bench.steps(1)
    assert bench.shipper.stats.state == "away"
    bench.mirror.transaction_outcome = None
    bench.steps(30)
    bench.check()
    landed = [record for records in bench.mirror.partitions.values() for record in records]
    assert len(landed) == 13  # known to have landed: nothing is sent twice


def test_transactions_hold_up_to_six_megabytes(tmp_path: Path) -> None:
    bench = Bench(tmp_path, transaction_bytes_max=10_000)
    bench.write(JOURNAL, 200)
    bench.write(DEAD, 50)
    bench.steps(40)
    bench.check()
    sizes = [sum(len(record.frame) for record in batch) for batch in bench.mirror.transactions]
    assert max(sizes) <= 10_000
    assert len(sizes) < 8
    assert ShipperOptions().transaction_bytes_max == 6_000_000


def test_frame_above_the_size_of_a_transaction_goes_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, transaction_bytes_max=100)
    bench.write(JOURNAL, 20, bytes_max=300)
    bench.steps(60)
    bench.check()
    assert all(
        len(batch) == 1 or sum(len(record.frame) for record in batch) <= 100 for batch in bench.mirror.transactions
    )


def test_trickle_makes_few_transactions(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(JOURNAL, 1)
    bench.steps(1, 0.002)
    for _ in range(100):
        bench.write(JOURNAL, 1)
        bench.steps(1, 0.002)
    assert len(bench.mirror.transactions) <= 6


def test_run_lands_everything_before_it_ends(tmp_path: Path) -> None:
    bench = Bench(tmp_path, MemoryMirror(capacity=4))
    for key in (RAW, TRADE, JOURNAL):
        bench.write(key, 100)
    bench.shipper.stop()
    assert bench.shipper.run()
    bench.check()
    assert bench.shipper.stats.state == "stopped"
    bench.start().close()  # the lock is free


def test_run_gives_up_draining_when_nobody_answers(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.mirror.away = True
    bench.write(RAW, 10)
    bench.shipper.stop()
    assert not bench.shipper.run()
    bench.mirror.away = False
    bench.mirror.lose_client()
    bench.shipper = bench.start()
    bench.steps()
    bench.check()


def test_retention_waits_for_the_shipper(tmp_path: Path) -> None:
    bench = Bench(tmp_path, MemoryMirror(landing=False))
    bench.write(RAW, 3)
    bench.steps(3)
    assert read_hold(key_dir(tmp_path, RAW)) == 0
    bench.mirror.landing = True
    bench.steps(5)
    last = bench.written[RAW][-1][0] + bench.written[RAW][-1][1] - 1
    assert read_hold(key_dir(tmp_path, RAW)) == last


def test_remote_that_is_ahead_of_the_log_is_an_error(tmp_path: Path) -> None:
    """The machine lost power with rows that were shipped and not synced: going on would give numbers twice."""
    bench = Bench(tmp_path)
    bench.write(RAW, 5)
    bench.mirror.partitions[1, 0].append(Landed(RAW, 1000, 1, b"shipped before the power went"))
    with pytest.raises(IntegrityError, match="ends at row"):
        bench.steps(2)


def test_damage_in_the_log_stops_the_shipper_unless_asked(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(RAW, 100)
    directory = key_dir(tmp_path, RAW)
    path = segment_path(directory, segment_rows(directory)[0])
    with path.open("r+b") as file:
        file.seek(120)
        file.write(b"\xff\x00\xff")
    with pytest.raises(CorruptRecord):
        bench.steps(2)
    bench.shipper.close()
    patient = Shipper(
        tmp_path, bench.mirror, ShipperOptions(skip_corrupt=True), clock=bench.clock, jitter=random.Random(1)
    )
    for _ in range(20):
        patient.step()
        bench.clock.sleep(0.1)
    assert len({record.row_first for record in bench.mirror.partitions[1, 0]}) == 99


def test_fenced_shipper_ends(tmp_path: Path) -> None:
    class FencedMirror(MemoryMirror):
        def append_transaction(self, records: object) -> None:
            raise Fenced("another shipper took over")

    bench = Bench(tmp_path, FencedMirror())
    bench.write(JOURNAL, 1)
    with pytest.raises(Fenced):
        bench.shipper.run()
    bench.start().close()
