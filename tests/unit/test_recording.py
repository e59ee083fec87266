"""Recordings: written, read, described; what is wrong with a file is said with its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from connectors.binance_usdm.exchange import EXCHANGE
from connectors.recording import Line, RecordingWriter, describe, raw_batches, read_lines
from schemas.errors import ConfigInvalid, InputInvalid
from schemas.events import FrameKind
from schemas.instruments import Venue
from tests.recordings import recording
from tests.unit.binance_frames import SPOT_TICKER, USDM_DEPTH, USDM_TICKER, USDM_TRADE

SNAPSHOT = b'{"lastUpdateId":5,"bids":[["1","2"]],"asks":[]}'


def written(path: Path, payloads: list[bytes]) -> Path:
    with RecordingWriter(path) as writer:
        for n, payload in enumerate(payloads):
            writer.write(1000 + n, payload)
    return path


def read_until_error(path: Path) -> tuple[list[Line], str]:
    lines: list[Line] = []
    with pytest.raises(InputInvalid) as caught:
        lines.extend(read_lines(path))
    return lines, str(caught.value)


def test_written_lines_are_read_back(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gz", [USDM_TRADE, SNAPSHOT, b'{"a":\n1}'])
    assert list(read_lines(path)) == [
        Line(1, 1000, USDM_TRADE), Line(2, 1001, SNAPSHOT), Line(3, 1002, b'{"a": 1}'),
    ]  # fmt: skip
    assert [line.stream for line in read_lines(path)] == ["btcusdt@trade", "", ""]
    assert [line.is_snapshot for line in read_lines(path)] == [False, True, False]


def test_recording_of_plain_text_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"1 {}\n2 {}")
    assert [line.ts_recv_ns for line in read_lines(path)] == [1, 2]


def test_several_gzip_members_are_one_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"1 {}\n2 ") + gzip.compress(b"{}\n3 {}\n"))
    assert [line.number for line in read_lines(path)] == [1, 2, 3]


def test_recording_that_was_flushed_and_killed_gives_its_lines_and_then_the_error(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    writer = RecordingWriter(path)
    for n in range(100):
        writer.write(n, USDM_TICKER)
    writer.flush()
    lines, error = read_until_error(path)
    assert [line.ts_recv_ns for line in lines] == list(range(100))
    assert "was cut short" in error
    writer.close()
    assert len(list(read_lines(path))) == 100


def test_truncated_recording_gives_every_whole_line_and_then_the_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gz", [b'{"n":%d}' % (n * 7919) for n in range(50_000)])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    lines, error = read_until_error(path)
    assert 10_000 < len(lines) < 40_000
    assert lines[-1].payload == b'{"n":%d}' % ((len(lines) - 1) * 7919)
    assert "was cut short" in error


def test_damaged_recording_is_told_from_a_short_one(tmp_path: Path) -> None:
    path = written(tmp_path / "a.gz", [b'{"n":%d}' % n for n in range(1000)])
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in the checksum
    path.write_bytes(data)
    lines, error = read_until_error(path)
    assert len(lines) <= 1000
    assert "is damaged" in error


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "is empty"),
        (gzip.compress(b""), "is empty"),
        (b"\x00\x01\x02" * 100, "is not a recording: neither gzip nor text"),
        (b"time,price\n1,2\n", "is not a recording: its first line is 'time,price'"),
        (gzip.compress(b'{"a":1}\n'), "is not a recording: its first line"),
        (gzip.compress(b"1 {}\n2 {}\nxyz\n4 {}\n"), "line 3: not `<receive time, ns> <json>` but 'xyz'"),
        (gzip.compress(b"1 {}\n2 {}\n3 {\n"), "line 3"),
        (gzip.compress(b"1 {}\n12345678901234567890 {}\n"), "line 2"),
        (gzip.compress(b"1 {}\n-2 {}\n"), "line 2"),
    ],
)
def test_file_that_is_no_recording_is_refused_with_the_line(tmp_path: Path, content: bytes, error: str) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(content)
    assert error in read_until_error(path)[1]


def test_missing_file_and_existing_output_are_the_users_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="There is no file"):
        list(read_lines(tmp_path / "none.gz"))
    (tmp_path / "old.gz").write_bytes(b"precious")
    with pytest.raises(ConfigInvalid, match="exists and is not overwritten"):
        RecordingWriter(tmp_path / "old.gz")
    assert (tmp_path / "old.gz").read_bytes() == b"precious"


def test_description_tells_venue_symbols_and_streams(tmp_path: Path) -> None:
    other = USDM_TRADE.replace(b"btcusdt", b"ethusdt").replace(b"BTCUSDT", b"ETHUSDT")
    path = written(tmp_path / "a.gz", [USDM_TRADE, SNAPSHOT, USDM_DEPTH, other, USDM_TRADE])
    found = describe(path)
    assert (found.venue, found.symbols, found.snapshots, found.lines) == (
        Venue.BINANCE_USDM, ("BTCUSDT", "ETHUSDT"), 1, 5,
    )  # fmt: skip
    assert found.streams == {"btcusdt@trade": 2, "btcusdt@depth@0ms": 1, "ethusdt@trade": 1}
    assert (found.ts_first_ns, found.ts_last_ns) == (1000, 1004)
    assert describe(path, lines_max=1).lines == 1


def test_mixed_or_unknown_venues_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match="mixes venues"):
        describe(written(tmp_path / "a.gz", [USDM_TICKER, SPOT_TICKER.replace(b"btcusdt", b"ethusdt")]))
    with pytest.raises(InputInvalid, match="venue cannot be told"):
        describe(written(tmp_path / "b.gz", [b'{"stream":"x@kline_1m","data":{"e":"kline"}}']))
    with pytest.raises(InputInvalid, match="Line 1"):
        describe(written(tmp_path / "c.gz", [b'{"stream":"x@trade","data":{]}']))


def test_recording_becomes_raw_rows_with_its_snapshots_as_answers(tmp_path: Path) -> None:
    wrapped = b'{"stream":"ethusdt@snapshot","data":' + SNAPSHOT + b"}"
    path = written(tmp_path / "a.gz", [USDM_TRADE, SNAPSHOT, wrapped, USDM_TICKER])
    batches = list(raw_batches(path, EXCHANGE, rows_max=2))
    kinds = [kind for rows, _ in batches for kind in rows["kind"].tolist()]
    assert kinds == [FrameKind.OPEN, FrameKind.TEXT, FrameKind.REST, FrameKind.REST, FrameKind.TEXT]
    rows, heap = batches[1]
    at, size = int(rows["request_at"][0]), int(rows["request_size"][0])
    assert heap[at : at + size].tobytes() == b"GET /fapi/v1/depth?symbol=ETHUSDT&limit=1000"
    assert rows["ts_recv_ns"].tolist() == [1002, 1003]


def test_bare_snapshot_among_several_symbols_is_refused(tmp_path: Path) -> None:
    other = USDM_TRADE.replace(b"btcusdt", b"ethusdt")
    path = written(tmp_path / "a.gz", [USDM_TRADE, other, SNAPSHOT])
    with pytest.raises(InputInvalid, match=r"line 3: whose snapshot is this, of 2 symbols\?"):
        list(raw_batches(path, EXCHANGE))


@pytest.mark.recording
@pytest.mark.parametrize(
    ("name", "venue", "symbol", "lines"),
    [
        ("usdm_btcusdt_20240808.gz", Venue.BINANCE_USDM, "BTCUSDT", 93954),
        ("usdm_ethusdt_20240808.gz", Venue.BINANCE_USDM, "ETHUSDT", 74655),
        ("spot_btcusdt_20240808.gz", Venue.BINANCE_SPOT, "BTCUSDT", 41249),
        ("spot_ethusdt_20240808.gz", Venue.BINANCE_SPOT, "ETHUSDT", 33618),
    ],
)
def test_real_recordings_are_recognised(name: str, venue: Venue, symbol: str, lines: int) -> None:
    found = describe(recording(name))
    assert (found.venue, found.symbols, found.lines, found.snapshots) == (venue, (symbol,), lines, 1)
    assert sum(found.streams.values()) == lines - 1
