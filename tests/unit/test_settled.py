"""The end of a play: stage by stage, on words spoken after the stage before, and never for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.process.status import Status
from infra.up.settled import Cast, Settling, last_words
from schemas.address import NO_ORIGIN
from schemas.errors import WatchdogExpired
from schemas.events import BOOK_DELTA
from schemas.frame import encode
from streams.api import WriterKey
from streams.clock import ManualClock
from streams.log import LogWriter
from streams.pipelines import connector_writer, pipeline
from streams.topics import topic

S = 1_000_000_000
RAW = WriterKey(topic("raw.frame").number, 0, connector_writer("binance_usdm", 0), 1)
DELTA = WriterKey(topic("md.book_delta").number, 2, pipeline("wire_binance_usdm").writer(0), 1)
QUOTE = WriterKey(topic("md.quote").number, 2, pipeline("book").writer(2), 1)
CAST = Cast(
    venues=("venue",), connectors={"connector": "binance_usdm"}, shippers=("shipper",), workers={"book": ("book",)}
)


class Stage:
    """Four processes whose words can be changed; `speak` makes all of them speak now."""

    def __init__(self) -> None:
        self.clock = ManualClock(S)
        self.settlings = [Settling(CAST, self.clock, "to_connectors"), Settling(CAST, self.clock, "through")]
        self.statuses = {name: Status(name, state="running") for name in ("venue", "connector", "shipper", "book")}
        self.statuses["venue"].facts = {"venue": "binance_usdm", "done": True, "delivered": 10}
        self.statuses["connector"].facts = {"heard": 10}
        self.statuses["connector"].written = {RAW: 12, DELTA: 30}
        self.statuses["connector"].taken = {RAW: 12}
        self.statuses["shipper"].taken = {RAW: 12, DELTA: 30}
        self.statuses["book"].taken = {DELTA: 30}
        self.speak()

    def speak(self, *names: str) -> None:
        self.clock.sleep(1)
        for name in names or self.statuses:
            self.statuses[name].updated_ns = self.clock.now_ns()
        self.clock.sleep(1)

    def behind(self) -> list[str]:
        while self.settlings:
            missing = self.settlings[0].behind(self.statuses)
            if missing:
                return missing
            self.settlings.pop(0)
            if self.settlings:
                self.settlings[0] = Settling(CAST, self.clock, "through")
        return []

    def settle(self) -> list[str]:
        """Speak and look until nothing more is gained by it."""
        for _ in range(5):
            missing = self.behind()
            self.speak()
        return missing


def test_everything_through_takes_one_word_of_everybody_per_stage() -> None:
    stage = Stage()
    for _ in range(3):
        assert stage.behind() != [], "words of before cannot complete the next stage"
        stage.speak()
    assert stage.behind() == []


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("venue", {"facts": {"venue": "binance_usdm", "done": False, "delivered": 10}}, "venue plays on"),
        ("connector", {"facts": {"heard": 7}}, "connector has not written down 3 frames that binance_usdm sent"),
        (
            "connector",
            {"taken": {RAW: 11}},
            "connector is 1 rows behind in raw.frame.v1 (raw.frame.v1/0 of binance_usdm/0)",
        ),
        ("shipper", {"taken": {RAW: 12}}, "shipper is 30 rows behind in md.book_delta.v1"),
        ("book", {"taken": {}}, "book is 30 rows behind in md.book_delta.v1"),
        ("book", {"state": "starting"}, "book is starting"),
    ],
)
def test_whoever_is_behind_is_named(name: str, change: dict[str, object], words: str) -> None:
    stage = Stage()
    for field, value in change.items():
        setattr(stage.statuses[name], field, value)
    assert any(words in line for line in stage.settle())


def test_a_lag_of_zero_on_old_words_does_not_end_it() -> None:
    """The book says 30 of 30, but said so before the connector had written its last row."""
    stage = Stage()
    stage.speak()
    stage.behind()
    stage.speak("venue", "connector")
    stage.behind()
    stage.speak("connector", "shipper")
    assert stage.behind() == ["book has not spoken since"]
    stage.statuses["connector"].written[DELTA] = 31
    stage.statuses["shipper"].taken[DELTA] = 31
    assert any("book is 1 rows behind" in line for line in stage.settle())


def test_rows_of_the_readers_own_kind_are_not_waited_for() -> None:
    stage = Stage()
    stage.statuses["book"].written = {QUOTE: 5}
    assert stage.settle() == []


def test_a_stopped_process_has_said_its_last_word() -> None:
    stage = Stage()
    stage.statuses["venue"].state = "stopped"
    for _ in range(6):
        missing = stage.behind()
        stage.speak("connector", "shipper", "book")
    assert missing == []


def test_a_process_that_was_ended_by_force_is_not_waited_for_but_what_it_wrote_is(tmp_path: Path) -> None:
    """A gateway killed in its start never says that it has stopped; everybody else's clocks go on."""
    key = DELTA._replace(incarnation=2)
    rows = BOOK_DELTA.empty(3)
    writer = LogWriter(tmp_path, key)
    writer.append(encode(BOOK_DELTA, key.writer, 2, 1, NO_ORIGIN, rows), 1, 3, S)
    writer.close()
    statuses = {"connector": Status("connector", state="stopped"), "gateway": Status("gateway", state="running")}
    words = last_words(["connector", "gateway", "never_spoke"], statuses, tmp_path)
    assert {name: (status.state, status.written) for name, status in words.items()} == {
        name: ("stopped", {key: 3}) for name in ("gateway", "never_spoke")
    }
    stage = Stage()
    stage.statuses["connector"].state = "running"
    settling = Settling(CAST, stage.clock, "through")
    stage.speak("shipper", "book")
    assert settling.behind(stage.statuses) == ["connector has not spoken since"]
    stage.statuses |= last_words(["connector"], stage.statuses, tmp_path)
    assert settling.behind(stage.statuses)[0].startswith("shipper is 3 rows behind in md.book_delta.v1")


def test_a_standstill_names_who_is_behind_and_ends() -> None:
    stage = Stage()
    stage.statuses["book"].taken = {DELTA: 29}
    stage.settle()
    stage.clock.sleep(61)
    with pytest.raises(WatchdogExpired, match="book is 1 rows behind"):
        stage.behind()


def test_progress_keeps_the_stall_detector_quiet() -> None:
    stage = Stage()
    stage.statuses["book"].taken = {DELTA: 1}
    for row in range(2, 10):
        stage.statuses["book"].taken = {DELTA: row}
        stage.settle()
        stage.clock.sleep(40)
    assert any("21 rows behind" in line for line in stage.behind())
