"""The scanner against its twin: the same content, the same fault, for any bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.binance.faults import FAULTS, explain
from connectors.binance.kernels.layout import CONTROL, LEVELS_MAX, QUICK_FAILED
from connectors.binance.kernels.quick import scan_quick
from connectors.binance.kernels.scan import scan_frame
from connectors.binance.kernels.strict import scan_snapshot, scan_strict
from schemas.events import DeadReason
from schemas.instruments import Venue, instrument_id
from tests.reference.binance_wire import Event, Fault, read, read_snapshot
from tests.unit.binance_frames import (
    GOLDEN,
    SPOT_DEPTH,
    SPOT_TICKER,
    SPOT_TRADE,
    USDM_DEPTH,
    USDM_TICKER,
    USDM_TRADE,
    Scan,
    expected,
    seed_of,
)

SCAN = Scan()
VENUES = {True: Venue.BINANCE_USDM, False: Venue.BINANCE_SPOT}


def twin_says(payload: bytes, futures: bool) -> object:
    try:
        event = read(payload, futures)
    except Fault as fault:
        return str(fault)
    return "control" if event is None else expected(event, VENUES[futures])


def scanner_says(payload: bytes, futures: bool) -> object:
    """What scan_frame says of the payload in the middle of other bytes; both its ways must agree."""
    buf = np.frombuffer(b'x"1' + payload + b'9"}', dtype=np.uint8)
    at, end, seed = 3, 3 + len(payload), seed_of(futures)
    s = SCAN
    said = named(scan_frame(buf, at, end, seed, futures, s.fields, s.levels, s.spans, s.text), futures)
    strict = named(scan_strict(buf, at, end, seed, futures, s.fields, s.levels, s.spans, s.text), futures)
    assert said == strict, "the quick way reads it otherwise"
    return said


def named(kind: int, futures: bool) -> object:
    if kind < 0:
        return explain(kind)[1]
    return "control" if kind == CONTROL else SCAN.event(kind, futures)


def check(payload: bytes) -> None:
    for futures in (True, False):
        assert scanner_says(payload, futures) == twin_says(payload, futures), payload


def quick(payload: bytes, futures: bool) -> int:
    buf = np.frombuffer(payload, dtype=np.uint8)
    return scan_quick(buf, 0, len(buf), seed_of(futures), futures, SCAN.fields, SCAN.levels)


@pytest.mark.parametrize("payload", GOLDEN)
def test_golden_messages_read_as_the_twin_reads_them(payload: bytes) -> None:
    check(payload)


def test_golden_messages_take_the_quick_way() -> None:
    for payload in (USDM_TRADE, USDM_TICKER, USDM_DEPTH):
        assert quick(payload, True) != QUICK_FAILED
    for payload in (SPOT_TRADE, SPOT_TICKER, SPOT_DEPTH):
        assert quick(payload, False) != QUICK_FAILED


def test_payloads_of_2026_with_new_fields_take_the_quick_way() -> None:
    payload = USDM_TICKER.replace(b'"s":"BTCUSDT"', b'"s":"BTCUSDT","ps":"BTCUSDT","st":1,"nq":null,"xyz":true')
    assert quick(payload, True) != QUICK_FAILED
    check(payload)


def test_trade_reads_to_exact_integers() -> None:
    """`"p":"61800.30","q":"0.006"` are 6180030000000 and 600000; T is kept in nanoseconds."""
    bitcoin = instrument_id("binance_usdm:BTCUSDT")
    wanted = ("trade", bitcoin, 5266583935, 1723161256322000000, 6180030000000, 600000, False, False)
    assert scanner_says(USDM_TRADE, True) == wanted


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (b"0.00000001", 1),
        (b"92233720368.54775807", (1 << 63) - 1),
        (b"92233720368.54775808", "zero, negative or too large"),
        (b"9223372036854775807", "zero, negative or too large"),
        (b"99999999999999999999999999999", "zero, negative or too large"),
        (b"1.123456780000", 112345678),
        (b"1.123456789", "more than eight decimals"),
        (b"99999999999999.123456789", "more than eight decimals"),
        (b"-1", "zero, negative or too large"),
        (b"0", "zero, negative or too large"),
        (b"-0.0", "zero, negative or too large"),
        (b"007.5", 750000000),
        (b"", "not a decimal number"),
        (b".5", "not a decimal number"),
        (b"5.", "not a decimal number"),
        (b"1e3", "not a decimal number"),
        (b"1.2.3", "not a decimal number"),
        (b"+1", "not a decimal number"),
        (b" 1", "not a decimal number"),
        (b"NaN", "not a decimal number"),
        (b"--1", "not a decimal number"),
        (b"1" + b"0" * 64, "not a decimal number"),
        (b"61800\\u002e30", 6180030000000),
        (b"\\u0031\\u0032", 1200000000),
    ],
)
def test_prices_are_exact_or_refused(text: bytes, outcome: int | str) -> None:
    payload = USDM_TRADE.replace(b"61800.30", text)
    said = scanner_says(payload, True)
    if isinstance(outcome, int):
        assert isinstance(said, tuple)
        assert said[4] == outcome
    else:
        assert said == f"{outcome}: field 'p'"
    check(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b" ",
        b"{}",
        b" {} ",
        b"[]",
        b"[1,2,{}]",
        b"null",
        b"12",
        b'"text"',
        b"tru",
        b"{",
        b"}",
        b'{"data":{}}',
        b'{"data":[]}',
        b'{"data":{"e":1}}',
        b'{"data":{"e":"kline"}}',
        b'{"result":null,"id":1}',
        b'{"result":["btcusdt@trade"],"id":3}',
        b'{"code":2,"msg":"Invalid request","id":4}',
        b'{"error":{"code":-1121,"msg":"Invalid symbol."}}',
        b'{"id":5,"s":"BTCUSDT"}',
        b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1723161256322}}',
        b'{"e":"serverShutdown","E":1}',
        b'{"stream":"x","data":{"e":"trade"}}',
        b'{"stream":"x","data":{"e":"trade"},"data":{"result":1}}',
        b'{"lastUpdateId":1,"bids":[],"asks":[]}',
        b'{"a":1}\x00',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\xc0\x80"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xf4\x90\x80\x80"}',
        b'{"a":"\xf0\x9f\x98\x80"}',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":"\\ud83d"}',
        b'{"a":"\\ude00"}',
        b'{"a":"\\ud83d\\u0041"}',
        b'{"a":"\\q"}',
        b'{"a":"\\u12g4"}',
        b'{"a":"\x1f"}',
        b'{"a":"\x7f"}',
        b'{"a":01}',
        b'{"a":1.}',
        b'{"a":.1}',
        b'{"a":-}',
        b'{"a":1e}',
        b'{"a":1e+5,"b":-0.5E-3}',
        b'{"a":1e999}',
        b'{"a":NaN}',
        b'{"a":1,}',
        b'{"a":1 "b":2}',
        b'{"a" 1}',
        b"{a:1}",
        b'{"a":[1,2}',
        b'{"a":{"b":[{}]}}',
        b"[" * 60 + b"]" * 60,
        b"[" * 61 + b"]" * 61,
        b'{"a":' + b"[" * 59 + b"]" * 59 + b"}",
        b'{"a":' + b"[" * 60 + b"]" * 60 + b"}",
        b'{"a":"' + b"[" * 100 + b'"}',
        b"[" * 1100 + b"]" * 1100,
    ],
)
def test_odd_messages_are_told_apart_as_the_twin_does(payload: bytes) -> None:
    check(payload)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"t":5266583935', b'"t":"5266583935"'),
        (b'"t":5266583935', b'"t":-1'),
        (b'"t":5266583935', b'"t":-0'),
        (b'"t":5266583935', b'"t":1.0'),
        (b'"t":5266583935', b'"t":9223372036854775807'),
        (b'"t":5266583935', b'"t":9223372036854775808'),
        (b'"t":5266583935', b'"t":-9223372036854775808'),
        (b'"t":5266583935', b'"t":-9223372036854775809'),
        (b'"t":5266583935', b'"t":99999999999999999999999999'),
        (b'"t":5266583935', b'"t":5266583935,"u":7'),
        (b'"t":5266583935', b'"u":7,"t":5266583935'),
        (b'"t":5266583935,', b""),
        (b'"T":1723161256322,', b""),
        (b'"E":1723161256322,"T":1723161256322,', b""),
        (b'"T":1723161256322', b'"T":0'),
        (b'"T":1723161256322', b'"T":1723161256322000'),
        (b'"T":1723161256322', b'"T":9223372036854'),
        (b'"T":1723161256322', b'"T":9223372036855'),
        (b'"T":1723161256322', b'"T":null'),
        (b'"E":1723161256322', b'"E":"soon"'),
        (b'"s":"BTCUSDT"', b'"s":""'),
        (b'"s":"BTCUSDT"', b'"s":7'),
        (b'"s":"BTCUSDT"', b'"s":"' + b"X" * 64 + b'"'),
        (b'"s":"BTCUSDT"', b'"s":"' + b"X" * 65 + b'"'),
        (b'"s":"BTCUSDT"', b'"s":"\\u0042TCUSDT"'),
        (b'"s":"BTCUSDT"', '"s":"币安人生USDT"'.encode()),
        (b'"s":"BTCUSDT"', b'"\\u0073":"BTCUSDT"'),
        (b'"m":false', b'"m":0'),
        (b'"m":false', b'"m":null'),
        (b'"m":false', b'"m":false,"m":true'),
        (b'"X":"MARKET"', b'"X":"INSURANCE_FUND"'),
        (b'"X":"MARKET"', b'"X":"M\\u0041RKET"'),
        (b'"X":"MARKET"', b'"X":null'),
        (b'"X":"MARKET",', b""),
        (b'"p":"61800.30"', b'"p":61800.30'),
        (b'"p":"61800.30"', b'"p":"1","p":"61800.30"'),
        (b'"p":"61800.30"', b'"p":"61800.30","b":[["1","2"]]'),
        (b'"e":"trade"', b'"e":"tra\\u0064e"'),
        (b'"e":"trade"', b'"e":"tradeX"'),
        (b'"e":"trade",', b""),
        (b'"e":"trade"', b'"e":"bookTicker"'),
        (b'"e":"trade"', b'"e" : "trade" '),
        (b"}}", b"}} \n"),
        (b"}}", b"}"),
        (b"}}", b"}}}"),
        (b'{"stream":"btcusdt@trade","data":', b'{"stream":"btc\\u0075sdt@trade","data":'),
        (b'{"stream":"btcusdt@trade","data":', b'{"stream":5,"data":'),
    ],
)
def test_changed_trades_read_as_the_twin_reads_them(old: bytes, new: bytes) -> None:
    assert old in USDM_TRADE
    check(USDM_TRADE.replace(old, new))
    check(orjson.dumps(orjson.loads(USDM_TRADE)["data"]).replace(old, new))  # a raw stream: no wrapper


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'["61496.50","0.010"]', b'["61496.50","0.010",[]]'),
        (b'["61496.50","0.010"]', b'["61496.50"]'),
        (b'["61496.50","0.010"]', b"[]"),
        (b'["61496.50","0.010"]', b"{}"),
        (b'["61496.50","0.010"]', b'["0.00","0.010"]'),
        (b'["61496.50","0.010"]', b'[ "61496.50" , "0.010" ]'),
        (b'["61496.50","0.010"]', b'["61496.50",0.010]'),
        (b'["61496.50","0.010"]', b'["61496.5000000001","0.010"]'),
        (b'"a":[["61800.30","2.510"],["61801.00","0.000"]]', b'"a":[]'),
        (b'"a":[["61800.30","2.510"],["61801.00","0.000"]]', b'"a":"1"'),
        (b'"a":[["61800.30","2.510"],["61801.00","0.000"]]', b'"a":"1","a":[]'),
        (b'"a":[["61800.30","2.510"],["61801.00","0.000"]]', b'"a":[],"a":"1"'),
        (b'"b":[', b'"b":"1","b":['),
        (b',"a":[["61800.30"', b',"b":"1","a":[["61800.30"'),
        (b'"pu":5123107831937', b'"pu":null'),
        (b'"pu":5123107831937,', b""),
        (b'"u":5123107837557', b'"u":5123107832005'),
    ],
)
def test_changed_depth_events_read_as_the_twin_reads_them(old: bytes, new: bytes) -> None:
    assert old in USDM_DEPTH
    check(USDM_DEPTH.replace(old, new))


@pytest.mark.parametrize(
    ("bid", "quantity"), [("0", "0"), ("0.00", "1"), ("1", "0.000"), ("1", "1"), ("-1", "1"), ("1.0", "1.0000000010")]
)
def test_empty_and_broken_sides_of_a_ticker_read_as_the_twin_reads_them(bid: str, quantity: str) -> None:
    for golden in (USDM_TICKER, SPOT_TICKER):
        data = orjson.loads(golden)
        data["data"]["b"], data["data"]["B"] = bid, quantity
        check(orjson.dumps(data))


def depth_of(count: int) -> bytes:
    bids = [[f"{1000 + n}.5", f"{n}.25"] for n in range(count // 2)]
    asks = [[f"{90000 + n}", "1"] for n in range(count - count // 2)]
    data = {"e": "depthUpdate", "E": 1, "T": 2, "s": "BTCUSDT", "U": 1, "u": 2, "pu": 0, "b": bids, "a": asks}
    return orjson.dumps({"stream": "btcusdt@depth", "data": data})


@pytest.mark.parametrize("count", [1226, LEVELS_MAX, LEVELS_MAX + 1])
def test_huge_depth_events_read_up_to_the_limit(count: int) -> None:
    payload = depth_of(count)
    check(payload)
    said = scanner_says(payload, True)
    if count > LEVELS_MAX:
        assert said == f"more than {LEVELS_MAX} levels in a message: field 'a'"
    else:
        assert isinstance(said, tuple)
        assert len(said[6]) + len(said[7]) == count


def snapshot_or_fault(payload: bytes) -> tuple[Event | None, str]:
    try:
        return read_snapshot(payload), ""
    except Fault as fault:
        return None, str(fault)


def test_snapshots_read_as_the_twin_reads_them() -> None:
    good = b'{"lastUpdateId":5,"E":3,"T":2,"bids":[["1.5","2"]],"asks":[["2","1"],["3","0.5"]]}'
    for payload in (
        good,
        b'{"lastUpdateId":5,"bids":[],"asks":[]}',
        b'{"stream":"btcusdt@snapshot","data":' + good + b"}",
        b'{"lastUpdateId":5,"bids":[]}',
        b'{"lastUpdateId":"5","bids":[],"asks":[]}',
        b'{"code":-1121,"msg":"Invalid symbol."}',
        b"<html>",
        b"[]",
        good[:-1],
    ):
        buf = np.frombuffer(payload, dtype=np.uint8)
        kind = scan_snapshot(buf, 0, len(buf), SCAN.fields, SCAN.levels, SCAN.spans, SCAN.text)
        said: object = explain(kind)[1] if kind < 0 else ""
        event, wanted = snapshot_or_fault(payload)
        assert said == wanted, payload
        if event is None:
            continue
        SCAN.fields[4] = 0
        got = SCAN.event(2, False)
        assert (got[2], got[3], got[6], got[7]) == (
            event.id, event.time_ns, [list(level) for level in event.bids], [list(level) for level in event.asks],
        )  # fmt: skip


def test_every_fault_has_a_reason_and_words() -> None:
    assert len({text for _, text in FAULTS}) == len(FAULTS)
    assert explain(-(6 * 64 + 8)) == (DeadReason.TOO_MANY_DECIMALS, "more than eight decimals: field 'p'")


# --- Any bytes -----------------------------------------------------------------------------------------------------

SNIPPETS = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"9", b".", b"-", b"e", b"E9", b"null", b"true", b"false",
    b" ", b"\n", b"\t", b"\x00", b"\x1f", b"\x7f", b"\xc3\xa9", b"\xff", b"\\u0041", b"\\ud800", b"\\n", b'"b":',
    b'"a":[]', b'"u":1,', b'"t":2,', b'"s":"X",', b'"E":3,', b'"T":4,', b'"pu":5,', b'"data":{}', b'"X":"NA",',
    b"00000000", b"99999999999", b'["1","2"],', b'"id":1,', b'"result":null,', b'"m":true,', b'"e":"trade",',
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A golden message with some bytes taken out, repeated, moved or put in."""
    payload = bytearray(draw(st.sampled_from(GOLDEN)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(payload)))
        stop = min(len(payload), at + draw(st.integers(0, 12)))
        match draw(st.integers(0, 4)):
            case 0:
                del payload[at:stop]
            case 1:
                payload[at:at] = draw(st.sampled_from(SNIPPETS))
            case 2:
                payload[at:stop] = draw(st.sampled_from(SNIPPETS))
            case 3:
                payload[at:at] = payload[at:stop]
            case _:
                payload[at:stop] = draw(st.binary(min_size=0, max_size=3))
    return bytes(payload)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(1 << 70), 1 << 70), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20), st.sampled_from(["1.5", "0", "-1", "0.000000001", "99999999999.5", "trade", "MARKET"]),
)  # fmt: skip
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def rearranged(draw: st.DrawFn) -> bytes:
    """A golden message as valid JSON with its fields shuffled, some replaced, unknown ones added, spelled freely."""
    message = orjson.loads(draw(st.sampled_from(GOLDEN)))
    data = message["data"]
    for key in draw(st.lists(st.sampled_from(sorted(data)), max_size=2, unique=True)):
        if draw(st.booleans()):
            del data[key]
        else:
            data[key] = draw(JSON)
    data |= draw(
        st.dictionaries(st.sampled_from(["ps", "st", "nq", "x", "y", "pu", "id", "data", "M"]), JSON, max_size=2)
    )
    order = draw(st.permutations(list(data)))
    data = {key: data[key] for key in order}
    whole = {"stream": message["stream"], "data": data} if draw(st.booleans()) else data
    spaced = draw(st.booleans())
    return json.dumps(
        whole,
        ensure_ascii=draw(st.booleans()),
        separators=None if spaced else (",", ":"),
    ).encode("utf-8", "surrogatepass")


@settings(max_examples=1500, deadline=None)
@given(mutated())
def test_any_mutation_reads_as_the_twin_reads_it(payload: bytes) -> None:
    check(payload)


@settings(max_examples=1000, deadline=None)
@given(rearranged())
def test_any_arrangement_of_fields_reads_as_the_twin_reads_it(payload: bytes) -> None:
    check(payload)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_read_as_the_twin_reads_them(payload: bytes) -> None:
    check(payload)


@pytest.mark.parametrize(
    "mode",
    [pytest.param("NUMBA_BOUNDSCHECK", marks=pytest.mark.slow), "NUMBA_DISABLE_JIT"],  # it compiles everything anew
)
def test_scanner_is_right_when_checked_and_when_interpreted(mode: str, tmp_path: Path) -> None:
    """Golden messages, cut off at many places, in a process that checks bounds or does not compile at all."""
    # A cache of its own: numba does not tell code that checks bounds from code that does not.
    environment = os.environ | {mode: "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.unit.test_binance_scan"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "messages agree" in done.stdout


def _check_truncations() -> None:
    count = 0
    for golden in (*GOLDEN, b'{"a":"\\ud83d\\ude00","b":[1,{"c":-0.5e3}]}'):
        for size in range(0, len(golden) + 1, 1 if len(golden) < 60 else 3):
            check(golden[:size])
            check(golden[:size] + b"}}")
            buf = np.frombuffer(golden[:size], dtype=np.uint8)  # nothing after it: reading on would be noticed
            for futures in (True, False):
                s = SCAN
                scan_frame(buf, 0, size, seed_of(futures), futures, s.fields, s.levels, s.spans, s.text)
            count += 2
    print(count, "messages agree")


if __name__ == "__main__":
    _check_truncations()


def test_number_beyond_a_double_behind_a_letter_of_two_bytes_is_a_number() -> None:
    check(b'{"\xc2\x80stream":"s","data":{"e":"bookTicker","u":1,"s":"BTCUSDT","T":1e723161256313,"E":1723161256313}}')
    check(b'{"\xc2\x80":1e999,"e":"trade"}')
