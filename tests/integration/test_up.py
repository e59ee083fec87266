"""`up` as a user meets it: what it came to, what it leaves behind, what it refuses, and that it runs again the same."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from schemas import errors
from tests.cli import shriven
from tests.conftest import free_port_range
from tests.recordings import ROOT, recording

pytestmark = pytest.mark.timeout(600)

MADE_UP = ("up", "--broker", "none", "--until-end", "--speed", "max", "--for", "20", "--symbol", "BTCUSDT", "--json")
FIRST_BOOK_S = 240.0  # kernels may have to be compiled, on a machine that does other things too
STOP_S = 30.0


def environment(data: Path) -> dict[str, str]:
    return {**os.environ, "SHRIVEN_DATA": str(data), "SHRIVEN_KAFKA": "", "SHRIVEN_SESSION": ""}


def children_of(session_data: Path) -> list[psutil.Process]:
    """Processes that run with that data directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("SHRIVEN_DATA") == str(session_data) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_gone(data: Path) -> None:
    end = time.monotonic() + STOP_S
    while left := children_of(data):
        assert time.monotonic() < end, [process.cmdline() for process in left]
        time.sleep(0.1)


@contextlib.contextmanager
def running(data: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`up` with a made-up market, from the moment its first book stands."""
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "up", "--broker", "none", "--no-trade", "--headless", *words],
        cwd=ROOT, env=environment(data), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "first book after" in line:
                break
        assert process.poll() is None, "".join(lines)
        assert "SYNTHETIC" in lines[0] + lines[1], "a made-up market says so before anything else"
        yield process
    finally:
        process.kill()
        process.wait()
        wait_gone(data)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A session of twenty seconds of a made-up market, and its data directory."""
    data = tmp_path_factory.mktemp("market")
    summary: dict[str, Any] = shriven(*MADE_UP, data=data, timeout_s=400).json()
    return data, summary


@pytest.mark.slow
def test_a_made_up_market_is_the_same_for_the_same_seed(market: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _, first = market
    again = shriven(*MADE_UP, data=tmp_path).json()
    other = shriven(*MADE_UP, "--seed", "8", data=tmp_path).json()
    assert again["hashes"]["content"] == first["hashes"]["content"]
    assert other["hashes"]["content"]["md.trade.v1"] != first["hashes"]["content"]["md.trade.v1"]


def test_the_summary_says_what_it_was_and_what_it_came_to(market: tuple[Path, dict[str, Any]]) -> None:
    _, summary = market
    book = summary["books"]["binance_usdm:BTCUSDT"]
    assert (summary["synthetic"], summary["source"]) == (True, "synthetic market, seed 7")
    assert (book["trust"], book["gaps"], book["crossed"], summary["dead_letters"]) == ("SYNCED", 0, 0, 0)
    assert book["ticker_equal"] == book["ticker_shared"] > 0
    assert float(book["best_bid"]) < float(book["best_ask"])
    assert 0 < summary["time_to_first_book_s"] < summary["elapsed_s"]
    assert {name: process["state"] for name, process in summary["processes"].items()} == dict.fromkeys(
        ("bars", "book", "connector-binance_usdm", "venue-binance_usdm"), "stopped"
    )


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_a_session_runs_again_the_same_however_it_is_cut(market: tuple[Path, dict[str, Any]], seed: str) -> None:
    data, summary = market
    again = shriven("replay", summary["session"], "--cut", seed, "--json", data=data).json()
    assert again["equal"] is True
    assert {name: found["replayed"] for name, found in again["topics"].items()} == summary["hashes"]["row"]


def test_a_copied_log_is_a_session_that_runs_again_the_same(
    market: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    data, summary = market
    file = tmp_path / "session.dump"
    dumped = shriven("log", "dump", summary["session"], str(file), "--json", data=data).json()
    imported = shriven("log", "import", str(file), "--json", data=tmp_path / "elsewhere").json()
    assert imported == {"session": summary["session"], **{key: dumped[key] for key in ("rows", "writers", "bytes")}}
    again = shriven("replay", "latest", "--json", data=tmp_path / "elsewhere").json()
    assert {name: found["replayed"] for name, found in again["topics"].items()} == summary["hashes"]["row"]


def test_a_changed_byte_is_found(market: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    data, summary = market
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(data), str(copy)], check=True)
    segment = next((copy / "sessions" / summary["session"] / "log" / "md.trade.v1").rglob("*.log"))
    with open(segment, "r+b") as file:
        file.seek(1000)
        byte = file.read(1)
        file.seek(1000)
        file.write(bytes([byte[0] ^ 1]))
    assert shriven("log", "verify", data=data).code == 0
    verified = shriven("log", "verify", data=copy)
    assert verified.code == errors.IntegrityError.exit_code
    assert "md.trade.v1" in verified.err
    assert shriven("replay", "latest", data=copy).code == errors.IntegrityError.exit_code
    (planned,) = shriven("log", "repair", "latest", "--json", data=copy).json()
    assert (planned["topic"], planned["done"]) == ("md.trade.v1", "")
    (repaired,) = shriven("log", "repair", "latest", "--execute", "--json", data=copy).json()
    assert repaired["done"] == "nothing at its end: it stays"
    assert shriven("log", "verify", data=copy).code == errors.IntegrityError.exit_code, "whole rows stand behind it"


def test_a_damaged_end_is_given_up_on_request_only(market: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    data, summary = market
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(data), str(copy)], check=True)
    told = shriven("log", "info", "latest", "--topic", "md.ticker", "--json", data=copy).json()[0]
    segment = sorted((copy / "sessions" / summary["session"] / "log" / "md.ticker.v1").rglob("*.log"))[-1]
    with open(segment, "r+b") as file:
        end = len(file.read().rstrip(b"\0"))
        file.seek(end - 20)
        file.write(b"\x55" * 8)
    assert shriven("log", "verify", data=copy).code == errors.IntegrityError.exit_code
    (repaired,) = shriven("log", "repair", "latest", "--execute", "--json", data=copy).json()
    assert "was erased" in repaired["done"]
    assert shriven("log", "verify", data=copy).code == 0
    after = shriven("log", "info", "latest", "--topic", "md.ticker", "--json", data=copy).json()[0]
    assert told["row_last"] - 5000 < after["row_last"] < told["row_last"]


def test_sessions_lists_and_shows(market: tuple[Path, dict[str, Any]]) -> None:
    data, summary = market
    listed = shriven("sessions", "--json", data=data).json()
    assert [(row["session"], row["pid"]) for row in listed] == [(summary["session"], None)]
    shown = shriven("sessions", summary["session"][:8], "--json", data=data).json()
    assert shown["report"]["hashes"] == summary["hashes"]


def test_ctrl_c_ends_it_clean_with_a_summary(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=STOP_S)
        assert (process.returncode, "stopping" in err) == (0, True)
        assert "binance_usdm:BTCUSDT" in out
        wait_gone(tmp_path)


def test_a_killed_parent_leaves_nobody_behind(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        assert len(children_of(tmp_path)) >= 5
        process.kill()
        process.wait()
        wait_gone(tmp_path)


def test_a_second_instance_of_a_session_is_refused_with_the_pid(tmp_path: Path) -> None:
    with running(tmp_path, "--session", "mine") as process:
        second = shriven("up", "--broker", "none", "--session", "mine", data=tmp_path)
        assert second.code == errors.ResourceExhausted.exit_code
        assert f"being run by process {process.pid}" in second.err
        worker = shriven("run", "book", "--session", "mine", "--broker", "none", data=tmp_path)
        assert worker.code == errors.ResourceExhausted.exit_code


def test_for_ends_it_after_its_time(tmp_path: Path) -> None:
    summary = shriven("up", "--no-trade", "--broker", "none", "--for", "6", "--json", data=tmp_path).json()
    assert (summary["interrupted"], summary["books"] != {}) == (False, True)


def test_a_venue_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    nobody = {"SHRIVEN_BINANCE_USDM_WS": "ws://127.0.0.1:9", "SHRIVEN_BINANCE_USDM_REST": "http://127.0.0.1:9"}
    words = ("up", "--live", "binance_usdm", "--symbol", "BTCUSDT", "--broker", "none", "--for", "6")
    ran = shriven(*words, data=tmp_path, env=nobody)
    assert "connector-binance_usdm hears nothing: GET /fapi/v1/exchangeInfo: ConnectError" in ran.err


@pytest.mark.slow
@pytest.mark.broker
def test_a_broker_that_another_run_stops_is_started_again(tmp_path: Path) -> None:
    port = {"SHRIVEN_BROKER_PORT": str(free_port_range(8))}
    assert shriven("broker", "start", data=tmp_path, env=port).code == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "up", "--no-trade", "--for", "30", "--json", "--symbol", "BTCUSDT"],
        cwd=ROOT, env=environment(tmp_path) | port, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "first book after" in line:
            break
    assert shriven("broker", "stop", data=tmp_path, env=port).code == 0
    out, err = process.communicate(timeout=200)
    assert (process.returncode, "the broker ended; starting it again" in err) == (0, True)
    summary = json.loads(out)
    assert summary["books"]["binance_usdm:BTCUSDT"]["gaps"] == 0
    assert shriven("replay", "latest", "--broker", "none", "--json", data=tmp_path, env=port).json()["equal"] is True
    wait_gone(tmp_path)


@pytest.mark.slow  # test_kill_trade.py kills more, every day
def test_a_killed_process_is_started_again_and_the_content_is_the_same(
    market: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    paced = [word for word in MADE_UP if word not in ("--speed", "max")]
    faults = ("--fault", "kill:book@1", "--fault", "kill:bars@2", "--fault", "hang:book@3:seconds=1")
    summary = shriven(*paced, "--speed", "2", *faults, data=tmp_path).json()
    assert [summary["processes"][name]["restarts"] for name in ("book", "bars")] == [1, 1]
    assert summary["hashes"]["content"] == market[1]["hashes"]["content"]


def test_the_live_view_shows_the_book_and_says_that_it_is_made_up(tmp_path: Path) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", "up", "--broker", "none", "--symbol", "BTCUSDT"],
        cwd=ROOT, env={**environment(tmp_path), "TERM": "xterm-256color", "COLUMNS": "140", "LINES": "50"},
        stdin=child, stdout=child, stderr=child, start_new_session=True,
    )  # fmt: skip
    os.close(child)
    try:
        read_until(parent, "SYNTHETIC DATA", "binance_usdm:BTCUSDT", "SYNCED", "md.book_delta.v1", "connector-binance")
        os.kill(process.pid, signal.SIGINT)
        assert "session" in read_until(parent, "row hash")
        assert process.wait(STOP_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(parent)
        wait_gone(tmp_path)


def read_until(descriptor: int, *words: str) -> str:
    """What a terminal was sent, without its control sequences, until all words are in it."""
    end = time.monotonic() + FIRST_BOOK_S
    sent = b""
    text = ""
    while missing := [word for word in words if word not in text]:
        assert time.monotonic() < end, f"{missing} in {text[-3000:]}"
        if select.select([descriptor], [], [], 0.5)[0]:
            sent += os.read(descriptor, 1 << 16)
            text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sent.decode(errors="replace"))
    return text


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording that breaks off."""
    path = tmp_path_factory.mktemp("short") / "short.gz"
    with gzip.open(recording("spot_ethusdt_20240808.gz")) as whole:
        path.write_bytes(gzip.compress(whole.read(2_000_000))[:-5000])
    return path


@pytest.mark.parametrize(
    ("words", "kind", "sentence"),
    [
        (["--play", "mtgox=x.gz"], errors.ConfigInvalid, "Unknown venue 'mtgox'"),
        (["--play", "binance_usdm=absent.gz"], errors.ConfigInvalid, "No recording absent.gz"),
        (["--play", "binance_usdm=pyproject.toml"], errors.InputInvalid, "is not a recording"),
        (["--speed", "fast"], errors.ConfigInvalid, "--speed fast cannot be"),
        (["--broker", "127.0.0.1:1"], errors.BrokerUnavailable, "No Kafka broker answers at 127.0.0.1:1"),
        (["--session", "../up"], errors.ConfigInvalid, "cannot name a session"),
        (["--set", "book.depth=1"], errors.ConfigInvalid, "Rule book has no parameter 'depth'"),
        (["--symbol", "NOSUCH", "--broker", "none"], errors.ConfigInvalid, "NOSUCH"),
        (["--bogus"], errors.ConfigInvalid, "No such option: --bogus"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    words: list[str], kind: type[errors.ShrivenError], sentence: str, tmp_path: Path
) -> None:
    ran = shriven("up", "--headless", *words, data=tmp_path)
    assert (ran.code, ran.out) == (kind.exit_code, "")
    assert sentence in ran.err
    assert "Traceback" not in ran.err
    wait_gone(tmp_path)


@pytest.mark.recording
def test_a_recording_that_breaks_off_ends_it_with_the_reason(short: Path, tmp_path: Path) -> None:
    ran = shriven("up", "--play", f"binance_spot={short}", "--broker", "none", "--until-end", "--json", data=tmp_path)
    assert ran.code == errors.InputInvalid.exit_code
    assert "was cut short" in ran.err
    wait_gone(tmp_path)


@pytest.mark.recording
def test_prices_that_cannot_be_are_put_aside_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Nine decimals, and a number beyond 64 bits, in two trades of an otherwise good recording."""
    with gzip.open(recording("spot_ethusdt_20240808.gz")) as whole:
        lines = whole.read(3_000_000).split(b"\n")[:-1]
    trades = [number for number, line in enumerate(lines) if b'"e":"trade"' in line and number > 3000]
    for number, price in zip(trades, (b"2682.123456789", b"99999999999999999.5"), strict=False):
        lines[number] = re.sub(rb'"p":"[0-9.]+"', b'"p":"' + price + b'"', lines[number])
    path = tmp_path / "odd.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    play = ("up", "--play", f"binance_spot={path}", "--broker", "none", "--until-end", "--speed", "max", "--json")
    summary = shriven(*play, data=tmp_path).json()
    book = summary["books"]["binance_spot:ETHUSDT"]
    assert (summary["dead_letters"], book["ticker_equal"] - book["ticker_shared"]) == (2, 0)
    assert summary["rows"]["md.trade.v1"] == len([line for line in lines if b'"e":"trade"' in line]) - 2
    letters = shriven("topics", "tail", "sys.dead_letter", "--from", "start", "--json", data=tmp_path).out.splitlines()
    reasons = [json.loads(letter)["reason"] for letter in letters]
    assert reasons == ["TOO_MANY_DECIMALS", "OUT_OF_RANGE"]


@pytest.mark.recording
def test_a_line_of_garbage_is_named_before_anything_starts(tmp_path: Path) -> None:
    with gzip.open(recording("spot_ethusdt_20240808.gz")) as whole:
        lines = whole.read(1_000_000).split(b"\n")[:-1]
    lines[700] = b"\xff\x00 what is this"
    path = tmp_path / "garbage.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines) + b"\n"))
    ran = shriven("up", "--play", f"binance_spot={path}", "--broker", "none", "--until-end", data=tmp_path)
    assert ran.code == errors.InputInvalid.exit_code
    assert "line 701" in ran.err


def test_a_data_directory_that_cannot_be_written_is_refused() -> None:
    ran = shriven("up", "--broker", "none", data=Path("/proc/nowhere"))
    assert ran.code == errors.ResourceExhausted.exit_code
    assert "Point SHRIVEN_DATA at a directory of yours" in ran.err
