"""Recordings as feeds: what is read, what is refused, what the venue's own book holds."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.simulator.feed import SNAPSHOT, Item
from connectors.simulator.listing import E8
from connectors.simulator.recorded import RecordedFeed
from connectors.simulator.venue_book import VenueBook, aged_body, cut_body
from schemas.errors import ConfigInvalid, InputInvalid
from tests.recordings import recording
from tests.simulated import (
    START_NS,
    STEP_NS,
    Event,
    depth,
    frames,
    snapshot,
    tiny_lines,
    write_recording,
)

STREAM = "btcusdt@depth@0ms"


def feed_of(path: Path, *, is_futures: bool = True, skip_bad: bool = False) -> RecordedFeed:
    return RecordedFeed([path], is_futures=is_futures, skip_bad=skip_bad)


def test_feed_gives_every_line_in_order_and_marks_the_snapshot(tmp_path: Path) -> None:
    lines = tiny_lines()
    feed = feed_of(write_recording(tmp_path / "a.gz", lines))
    items = list(feed.items())
    assert [(item.at_ns, item.payload) for item in items] == lines
    assert [place for place, item in enumerate(items) if item.stream == SNAPSHOT] == [7]
    assert {item.symbol for item in items} == {"BTCUSDT"}
    assert {name: info.kind for name, info in feed.streams.items()} == {
        STREAM: "depth",
        "btcusdt@bookTicker": "bookTicker",
        "btcusdt@trade": "trade",
    }
    assert (feed.start_ns, feed.end_ns) == (START_NS, lines[-1][0])


def test_steps_are_those_of_the_recorded_numbers(tmp_path: Path) -> None:
    (listed,) = feed_of(write_recording(tmp_path / "a.gz", tiny_lines())).listed
    assert (listed.symbol, listed.tick_e8, listed.lot_e8) == ("BTCUSDT", E8 // 10, E8 // 100)
    assert (listed.price_decimals, listed.quantity_decimals) == (2, 3)


def test_two_files_are_merged_by_time(tmp_path: Path) -> None:
    btc = tiny_lines("BTCUSDT")
    eth = [(at_ns + STEP_NS // 2, payload) for at_ns, payload in tiny_lines("ETHUSDT")]
    paths = [write_recording(tmp_path / "eth.gz", eth), write_recording(tmp_path / "btc.gz", btc)]
    feed = RecordedFeed(paths, is_futures=True)
    assert [(item.at_ns, item.payload) for item in feed.items()] == sorted(btc + eth)
    assert {row.symbol for row in feed.listed} == {"BTCUSDT", "ETHUSDT"}


def test_snapshots_of_several_symbols_in_one_file_are_told_by_their_wrapper(tmp_path: Path) -> None:
    lines = []
    for symbol in ("BTCUSDT", "ETHUSDT"):
        for at_ns, payload in tiny_lines(symbol):
            bare = not payload.startswith(b'{"stream"')
            text = b'{"stream":"%s@snapshot","data":%s}' % (symbol.lower().encode(), payload) if bare else payload
            lines.append((at_ns + len(symbol), text))
    feed = feed_of(write_recording(tmp_path / "a.gz", sorted(lines)))
    snapshots = [item for item in feed.items() if item.stream == SNAPSHOT]
    assert {(item.symbol, item.payload) for item in snapshots} == {("BTCUSDT", snapshot()), ("ETHUSDT", snapshot())}
    assert "btcusdt@snapshot" not in feed.streams


def test_same_stream_twice_at_the_same_time_is_refused(tmp_path: Path) -> None:
    paths = [write_recording(tmp_path / name, tiny_lines()) for name in ("a.gz", "b.gz")]
    with pytest.raises(InputInvalid, match=r"a\.gz and b\.gz both hold"):
        RecordedFeed(paths, is_futures=True)


def test_consecutive_files_of_one_stream_are_played_one_after_the_other(tmp_path: Path) -> None:
    later = [(at_ns + 10**12, payload) for at_ns, payload in tiny_lines()]
    paths = [write_recording(tmp_path / "b.gz", later), write_recording(tmp_path / "a.gz", tiny_lines())]
    feed = RecordedFeed(paths, is_futures=True)
    assert frames((item.at_ns, item.payload) for item in feed.items()) == frames(tiny_lines()) + frames(later)


def bad_file(path: Path, kind: str) -> Path:
    lines = [b"%d %s\n" % line for line in tiny_lines()]
    if kind == "truncated":
        whole = gzip.compress(b"".join(lines))
        path.write_bytes(whole[: len(whole) - 30])
        return path
    damage = {
        "garbage": b"hello\n",
        "no time": b'{"stream":"btcusdt@trade","data":{}}\n',
        "not json": b'1723161255000000000 {"stream":"btcusdt@trade","data":{}\n',
        "half": lines[4][:40] + b"\n",
        "wrong fields": b'1723161255000000000 {"stream":"btcusdt@trade","data":{"e":"trade"}}\n',
        "no data": b'1723161255000000000 {"stream":"btcusdt@trade","data":3}\n',
        "strange wrapper": b'1723161255000000000 {"data":{},"stream":"btcusdt@trade"}\n',
        "bad snapshot": b'1723161255000000000 {"lastUpdateId":"x","bids":[],"asks":[]}\n',
    }[kind]
    path.write_bytes(gzip.compress(b"".join([*lines[:4], damage, *lines[4:]])))
    return path


BAD = ["garbage", "no time", "not json", "half", "wrong fields", "no data", "strange wrapper", "bad snapshot"]


@pytest.mark.parametrize("kind", BAD)
def test_line_that_cannot_be_played_is_named_before_anything_is_played(tmp_path: Path, kind: str) -> None:
    with pytest.raises(InputInvalid, match=r"bad\.gz, line 5"):
        feed_of(bad_file(tmp_path / "bad.gz", kind))


@pytest.mark.parametrize("kind", BAD)
def test_line_that_cannot_be_played_is_left_out_when_asked(tmp_path: Path, kind: str) -> None:
    feed = feed_of(bad_file(tmp_path / "bad.gz", kind), skip_bad=True)
    assert [(item.at_ns, item.payload) for item in feed.items()] == tiny_lines()
    assert feed.bad_line_count == 1


def test_truncated_file_is_refused_and_played_as_far_as_it_goes_when_asked(tmp_path: Path) -> None:
    path = bad_file(tmp_path / "bad.gz", "truncated")
    with pytest.raises(InputInvalid, match="cut short"):
        feed_of(path)
    played = [(item.at_ns, item.payload) for item in feed_of(path, skip_bad=True).items()]
    assert played
    assert played == tiny_lines()[: len(played)]


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "noise.gz"
    path.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(InputInvalid, match="noise"):
        feed_of(path)


def test_damaged_gzip_is_refused(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.gz", tiny_lines(count=200))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    with pytest.raises(InputInvalid, match=r"a\.gz"):
        feed_of(path)


def test_missing_file_is_the_fault_of_who_named_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="no file"):
        feed_of(tmp_path / "absent.gz")


def test_recording_of_the_other_venue_is_refused_even_when_bad_lines_are_skipped(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.gz", tiny_lines(is_futures=False))
    for skip_bad in (False, True):
        with pytest.raises(InputInvalid, match="recording of Binance Spot"):
            feed_of(path, skip_bad=skip_bad)


def test_recording_without_a_snapshot_is_refused(tmp_path: Path) -> None:
    lines = [line for line in tiny_lines() if line[1].startswith(b'{"stream"')]
    with pytest.raises(InputInvalid, match="no depth answer"):
        feed_of(write_recording(tmp_path / "a.gz", lines))


def test_recording_of_trades_alone_needs_no_snapshot(tmp_path: Path) -> None:
    lines = [line for line in tiny_lines() if b"@trade" in line[1]]
    assert len(list(feed_of(write_recording(tmp_path / "a.gz", lines)).items())) == 8


# ---- the venue's own book


def book_after(feed: RecordedFeed, stop: int) -> dict[str, Any] | None:
    body = None
    for place, _ in enumerate(feed.items()):
        if place == stop:
            body = feed.depth("BTCUSDT", 1000)
            break
    return None if body is None else dict(orjson.loads(body))


def test_book_is_unknown_before_the_snapshot_and_follows_the_events_after_it(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "a.gz", tiny_lines())
    assert book_after(feed_of(path), 6) is None
    at_snapshot = book_after(feed_of(path), 7)
    assert at_snapshot is not None
    assert at_snapshot["lastUpdateId"] == 1028, "the third event spans the snapshot and came before it"
    later = book_after(feed_of(path), 13)
    assert later is not None
    assert later["lastUpdateId"] == 1046
    assert later["bids"] == [
        ["100.00", "1.000"],
        ["99.50", "3.000"],
        ["94.00", "5.000"],
        ["93.00", "4.000"],
        ["92.00", "3.000"],
    ]
    assert later["asks"] == [["101.50", "2.000"], ["102.00", "5.000"]]


def test_depth_is_cut_at_its_limit(tmp_path: Path) -> None:
    feed = feed_of(write_recording(tmp_path / "a.gz", tiny_lines()))
    list(feed.items())
    body = feed.depth("BTCUSDT", 1)
    assert body is not None
    assert orjson.loads(body)["bids"] == [["100.00", "1.000"]]


@pytest.mark.parametrize("is_futures", [True, False])
def test_hole_in_the_recording_makes_the_book_unknown_until_the_next_snapshot(is_futures: bool) -> None:
    book = VenueBook(is_futures)
    book.load(orjson.loads(snapshot(19)))
    third, fifth = (Event(22, 28, 19), Event(40, 46, 37)) if is_futures else (Event(20, 28, 0), Event(38, 46, 0))
    book.apply(depth("X", third, "97.00", "1.000", is_futures=is_futures))
    assert book.synced
    book.apply(depth("X", fifth, "98.00", "1.000", is_futures=is_futures))
    assert not book.synced
    book.load(orjson.loads(snapshot(41)))
    assert (book.synced, book.update_id) == (True, 46)


def test_zero_removes_a_level_however_it_is_written() -> None:
    for zero in ("0", "0.000", "0.00000000"):
        book = VenueBook(is_futures=True)
        book.load(orjson.loads(snapshot(19)))
        book.apply(depth("X", Event(22, 28, 19), "100.00", zero, is_futures=True))
        assert orjson.loads(book.snapshot(5))["bids"] == [["99.50", "3.000"]]


def test_recorded_answer_is_cut_or_aged_only_when_it_must_be() -> None:
    assert cut_body(snapshot(), 2) is not None
    assert cut_body(snapshot(), 2) == snapshot()
    assert orjson.loads(cut_body(snapshot(), 1))["asks"] == [["101.50", "2.000"]]
    aged = orjson.loads(aged_body(snapshot(), 3))
    assert aged == orjson.loads(snapshot()) | {"lastUpdateId": 3}


def test_old_update_id_is_below_every_event(tmp_path: Path) -> None:
    feed = feed_of(write_recording(tmp_path / "a.gz", tiny_lines()))
    assert feed.old_update_id("BTCUSDT") == 999, "the first event has U = 1001 and pu = 1000"


# ---- the real recordings


@pytest.mark.recording
@pytest.mark.parametrize(
    ("name", "tick_e8", "lot_e8", "touch"),
    [
        ("usdm_btcusdt_20240808.gz", E8 // 10, E8 // 1000, (["61659.70", "1.486"], ["61659.80", "0.981"])),
        ("usdm_ethusdt_20240808.gz", E8 // 100, E8 // 1000, None),
        (
            "spot_btcusdt_20240808.gz",
            E8 // 100,
            E8 // 1_000_000,
            (["61685.99000000", "1.00870000"], ["61686.00000000", "2.29327000"]),
        ),
        ("spot_ethusdt_20240808.gz", E8 // 100, E8 // 100_000, None),
    ],
)
def test_real_recording_ends_with_the_known_book(
    name: str, tick_e8: int, lot_e8: int, touch: tuple[list[str], list[str]] | None
) -> None:
    feed = feed_of(recording(name), is_futures=name.startswith("usdm"))
    (listed,) = feed.listed
    assert (listed.tick_e8, listed.lot_e8) == (tick_e8, lot_e8)
    last_event: Item | None = None
    for item in feed.items():
        last_event = item if "@depth" in item.stream else last_event
    assert last_event is not None
    body = feed.depth(listed.symbol, 1)
    assert body is not None
    book = orjson.loads(body)
    assert book["lastUpdateId"] == orjson.loads(last_event.payload)["data"]["u"]
    if touch:
        assert (book["bids"], book["asks"]) == ([touch[0]], [touch[1]])
