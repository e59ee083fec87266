"""The wire rules of both Binance venues: synchronisation, sockets, REST answers; against the plain twin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.binance.kernels.layout import Array
from connectors.binance.state import BOOKS, LEVELS, TAIL
from connectors.binance.wire import BinanceWire
from connectors.binance_spot.exchange import EXCHANGE as SPOT_EXCHANGE
from connectors.binance_spot.instruments import instruments as spot_instruments
from connectors.binance_usdm.exchange import EXCHANGE as USDM_EXCHANGE
from connectors.binance_usdm.instruments import instruments as usdm_instruments
from connectors.capabilities import EVERY_EPOCH
from connectors.recording import read_lines
from processors.api import Batch, Outputs, State
from schemas.events import BookAction, DeadReason, DeltaFlag, FrameKind, InstrumentKind, InstrumentStatus, TradeFlag
from schemas.instruments import instrument_id
from tests.recordings import recording
from tests.reference.binance_wire import RawRow
from tests.unit.binance_frames import SPOT, USDM, assert_as_twin, dead_of, rows_of, run, to_rows, tuples

OPEN, TEXT, REST, CLOSE, SILENT = FrameKind.OPEN, FrameKind.TEXT, FrameKind.REST, FrameKind.CLOSE, FrameKind.SILENT
SECOND = 10**9
UPDATE, SNAPSHOT = BookAction.UPDATE, BookAction.SNAPSHOT
GAP, RESYNC, STALE = BookAction.GAP, BookAction.RESYNC, BookAction.STALE
LAST, END = DeltaFlag.LAST, DeltaFlag.SNAPSHOT_END


class Tape:
    """Raw rows written by hand: each call appends one, numbered from 1 and heard 1 ms after the one before."""

    def __init__(self, wire: BinanceWire, symbol: str = "BTCUSDT") -> None:
        self.wire, self.symbol = wire, symbol
        self.rows: list[RawRow] = []
        self.now_ns = 1_700_000_000 * SECOND
        self.open(1)

    def put(self, kind: FrameKind, payload: bytes = b"", epoch: int = 1, request: str = "", status: int = 200) -> Tape:
        self.now_ns += SECOND // 1000
        self.rows.append(RawRow(len(self.rows) + 1, kind, payload, request, self.now_ns, epoch=epoch, status=status))
        return self

    def open(self, epoch: int) -> Tape:
        return self.put(OPEN, b"wss://somewhere", epoch)

    def close(self, epoch: int) -> Tape:
        return self.put(CLOSE, b"1006 ", epoch)

    def event(self, data: dict[str, object], epoch: int = 1) -> Tape:
        stream = f"{self.symbol.lower()}@any"
        return self.put(TEXT, orjson.dumps({"stream": stream, "data": {"s": self.symbol, "E": 5, **data}}), epoch)

    def depth(self, first: int, last: int, previous: int = 0, epoch: int = 1, price: str = "1") -> Tape:
        """U, u, pu; one level that names the event: a bid of quantity u."""
        data = {"e": "depthUpdate", "U": first, "u": last, "pu": previous, "b": [[price, str(last)]], "a": []}
        return self.event(data, epoch)

    def trade(self, trade_id: int, epoch: int = 1, **more: object) -> Tape:
        return self.event({"e": "trade", "t": trade_id, "p": "2", "q": "3", "m": True, **more}, epoch)

    def ticker(self, update_id: int, epoch: int = 1) -> Tape:
        return self.event({"e": "bookTicker", "u": update_id, "b": "1", "B": "2", "a": "3", "A": "4"}, epoch)

    def snapshot(self, last: int, status: int = 200, levels: int = 1, symbol: str = "") -> Tape:
        bids = [[str(price), "7"] for price in range(1, levels + 1)]
        body = orjson.dumps({"lastUpdateId": last, "bids": bids, "asks": []})
        request = self.wire.exchange.depth_request(symbol or self.symbol).text
        return self.put(REST, body, request=request, status=status)

    def later(self, seconds: float) -> Tape:
        self.now_ns += int(seconds * SECOND)
        return self

    def said(self) -> list[str]:
        """The book's rows in short: `update 12`, `SNAPSHOT 10`, `GAP 12`; a `!` marks the synchronising row."""
        out, _ = assert_as_twin(self.wire, self.rows)
        names = {UPDATE: "update", SNAPSHOT: "SNAPSHOT", GAP: "GAP", RESYNC: "RESYNC", STALE: "STALE"}
        return [
            f"{names[BookAction(row['action'])]} {row['update_id']}" + ("!" if row["flags"] & END else "")
            for row in rows_of(out, 1)
        ]

    def attempts(self) -> list[int]:
        out, _ = assert_as_twin(self.wire, self.rows)
        return [int(attempt) for attempt in rows_of(out, 4)["attempt"]]

    def trades(self) -> list[tuple[int, TradeFlag]]:
        out, _ = assert_as_twin(self.wire, self.rows)
        return [(int(row["trade_id"]), TradeFlag(row["flags"])) for row in rows_of(out, 0)]

    def tickers(self) -> list[int]:
        out, _ = assert_as_twin(self.wire, self.rows)
        return [int(update_id) for update_id in rows_of(out, 2)["update_id"]]


# --- How a book is synchronised --------------------------------------------------------------------------------------


def test_spot_book_is_built_from_snapshot_and_waiting_events() -> None:
    """L = 10: drop u ≤ 10, begin with the event that straddles 11, go on with U = u before + 1."""
    tape = Tape(SPOT).depth(1, 5).depth(6, 10).depth(11, 14).snapshot(10).depth(15, 20)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 10", "update 14!", "update 20"]
    assert tape.attempts() == [1]


def test_spot_snapshot_inside_an_event_is_straddled() -> None:
    assert Tape(SPOT).depth(1, 5).depth(6, 14).snapshot(10).said() == ["RESYNC 0", "SNAPSHOT 10", "update 14!"]


def test_spot_snapshot_newer_than_all_that_waits_synchronises_alone() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(30).depth(6, 30).depth(28, 35).depth(36, 37)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 30!", "update 35", "update 37"]


def test_spot_snapshot_older_than_what_waits_is_asked_for_again() -> None:
    tape = Tape(SPOT).depth(11, 15).snapshot(5).snapshot(9).snapshot(10)
    assert tape.said() == ["RESYNC 0", "RESYNC 0", "RESYNC 0", "SNAPSHOT 10", "update 15!"]
    assert tape.attempts() == [1, 2, 3]


def test_futures_book_is_chained_by_previous_ids() -> None:
    """U is not u before + 1: ids are shared by many symbols."""
    tape = Tape(USDM).depth(3, 20, 1).depth(50, 70, 20).depth(90, 99, 70).snapshot(60).depth(120, 130, 99)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 60", "update 70", "update 99!", "update 130"]


def test_futures_event_that_ends_at_the_snapshot_is_kept() -> None:
    tape = Tape(USDM).depth(3, 20, 1).depth(50, 70, 20).snapshot(70).depth(90, 99, 70)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 70", "update 70!", "update 99"]


def test_futures_event_that_follows_the_snapshot_id_is_accepted() -> None:
    """The event with u = L was lost, but the chain is whole: pu = L."""
    assert Tape(USDM).depth(90, 99, 70).snapshot(70).said() == ["RESYNC 0", "SNAPSHOT 70", "update 99!"]


def test_futures_snapshot_older_than_what_waits_is_asked_for_again() -> None:
    tape = Tape(USDM).depth(90, 99, 70).snapshot(60).snapshot(95)
    assert tape.said() == ["RESYNC 0", "RESYNC 0", "SNAPSHOT 95", "update 99!"]


def test_hole_while_synchronised_gives_gap_and_a_new_snapshot() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).depth(6, 9).depth(11, 12).depth(13, 15).snapshot(12).depth(16, 16)
    assert tape.said() == [
        "RESYNC 0", "SNAPSHOT 5!", "update 9", "GAP 9", "RESYNC 9", "SNAPSHOT 12", "update 15!", "update 16",
    ]  # fmt: skip
    assert tape.attempts() == [1, 1]


def test_hole_on_futures_gives_gap_although_ids_go_on() -> None:
    tape = Tape(USDM).depth(1, 5, 0).snapshot(5).depth(6, 9, 5).depth(10, 12, 8)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5", "update 5!", "update 9", "GAP 9", "RESYNC 9"]


def test_hole_while_waiting_forgets_what_was_before_it() -> None:
    tape = Tape(SPOT).depth(1, 5).depth(8, 9).snapshot(4).snapshot(7)
    assert tape.said() == ["RESYNC 0", "RESYNC 0", "SNAPSHOT 7", "update 9!"]


def test_repeated_and_old_events_are_dropped() -> None:
    tape = Tape(USDM).depth(1, 5, 0).snapshot(5).depth(6, 9, 5).depth(6, 9, 5).depth(1, 5, 0).depth(10, 11, 9)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5", "update 5!", "update 9", "update 11"]


def test_swapped_events_break_the_chain_and_wait_in_order() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).depth(8, 9).depth(6, 7).depth(10, 11).snapshot(9)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5!", "GAP 5", "RESYNC 5", "SNAPSHOT 9", "update 11!"]


def test_late_snapshot_nobody_waits_for_is_ignored() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).depth(6, 9).snapshot(7).snapshot(9).depth(10, 10)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5!", "update 9", "update 10"]


def test_newer_snapshot_refreshes_a_synchronised_book() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).snapshot(8).depth(6, 7).depth(8, 10)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5!", "SNAPSHOT 8!", "update 10"]


def test_refused_snapshot_changes_nothing() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5, status=429)
    assert tape.said() == ["RESYNC 0"]


def test_snapshot_that_never_comes_is_asked_for_again() -> None:
    tape = Tape(SPOT).depth(1, 5).later(29.5).depth(6, 7).later(1).depth(8, 9).depth(10, 11)
    assert tape.attempts() == [1, 2]


def test_events_wait_for_a_minute_at_most() -> None:
    tape = Tape(SPOT).depth(1, 5).later(61).depth(6, 7).snapshot(3)
    assert tape.said()[-1] == "RESYNC 0", "the first event waited too long: 6 cannot follow 3"
    assert Tape(SPOT).depth(1, 5).later(59).depth(6, 7).snapshot(3).said()[-2:] == ["update 5", "update 7!"]


def test_empty_snapshot_says_that_the_book_is_empty() -> None:
    out, _ = run(SPOT, *to_rows(Tape(SPOT).depth(1, 5).snapshot(5, levels=0).rows, SPOT.exchange.venue))
    row = rows_of(out, 1)[-1]
    assert (row["action"], row["price_e8"], row["quantity_e8"]) == (SNAPSHOT, 0, 0)
    assert row["flags"] == DeltaFlag.FIRST | LAST | END


def test_rows_of_a_venue_event_are_bracketed() -> None:
    """FIRST on the first row, LAST on the last; SNAPSHOT_END on the last row that synchronises."""
    tape = Tape(SPOT).depth(1, 5).depth(6, 8).snapshot(5, levels=3)
    out, _ = assert_as_twin(SPOT, tape.rows)
    flags = [DeltaFlag(int(flag)) for flag in rows_of(out, 1)["flags"]]
    first = DeltaFlag.FIRST
    assert flags == [first | LAST, first, DeltaFlag(0), LAST, first | LAST | END]


def test_replayed_rows_keep_their_own_receive_time_and_cause() -> None:
    tape = Tape(SPOT).depth(1, 5).depth(6, 8).snapshot(5)
    out, _ = run(SPOT, *to_rows(tape.rows, SPOT.exchange.venue))
    rows = rows_of(out, 1)
    assert rows["cause_row"].tolist() == [2, 4, 3]
    assert rows["ts_recv_ns"].tolist() == [tape.rows[n - 1].ts_recv_ns for n in (2, 4, 3)]


# --- Sockets ---------------------------------------------------------------------------------------------------------


def test_closed_socket_breaks_all_its_books_and_asks_anew_after_the_next_dial() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).depth(6, 7).close(1).open(2).depth(9, 10, epoch=2).snapshot(8)
    assert tape.said() == [
        "RESYNC 0", "SNAPSHOT 5!", "update 7", "GAP 7", "RESYNC 7", "SNAPSHOT 8", "update 10!",
    ]  # fmt: skip
    assert tape.attempts() == [1, 1]


def test_socket_closed_while_waiting_forgets_what_waited() -> None:
    tape = Tape(SPOT).depth(1, 5).close(1).open(2).depth(9, 10, epoch=2).snapshot(4)
    assert tape.said() == ["RESYNC 0", "RESYNC 0", "RESYNC 0"]
    assert tape.attempts() == [1, 1, 2]


def test_frames_of_an_older_epoch_are_history() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).close(1).open(2).depth(6, 7, epoch=1).trade(1, epoch=1)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5!", "GAP 5"]
    assert tape.trades() == []


def test_renewed_connection_loses_and_repeats_nothing_whichever_socket_is_ahead() -> None:
    """Make before break: the newer socket's events wait until the older one is closed."""
    tape = Tape(SPOT).depth(1, 5).snapshot(5).trade(1).ticker(5).open(2)
    tape.depth(6, 7, epoch=2).trade(2, epoch=2).ticker(7, epoch=2)  # the newer one is ahead
    tape.depth(6, 7).trade(2).ticker(7)
    tape.depth(8, 9).trade(3)  # the older one is ahead
    tape.depth(8, 9, epoch=2).trade(3, epoch=2).ticker(9, epoch=2).depth(10, 11, epoch=2).trade(4, epoch=2)
    tape.close(1).depth(12, 13, epoch=2).trade(5, epoch=2).ticker(13, epoch=2)
    assert tape.said() == [
        "RESYNC 0", "SNAPSHOT 5!", "update 7", "update 9", "update 11", "update 13",
    ]  # fmt: skip
    assert tape.trades() == [(n, TradeFlag(0)) for n in (1, 2, 3, 4, 5)]
    assert tape.tickers() == [5, 7, 9, 13]


def test_renewed_connection_that_missed_something_gives_gap() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).open(2).depth(8, 9, epoch=2).close(1)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5!", "GAP 5", "RESYNC 5"]


def test_renewal_that_fails_leaves_the_older_socket_alone() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).open(2).depth(6, 7, epoch=2).close(2).depth(6, 7)
    tape.open(3).depth(8, 9, epoch=3).open(4).depth(8, 9, epoch=4).close(1)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5!", "update 7", "update 9"]


def test_renewal_during_synchronisation_keeps_the_waiting_events_in_order() -> None:
    tape = Tape(SPOT).depth(1, 5).open(2).depth(6, 7, epoch=2).depth(8, 9, epoch=2).depth(6, 7).close(1)
    assert tape.snapshot(3).said() == ["RESYNC 0", "SNAPSHOT 3", "update 5", "update 7", "update 9!"]


def test_log_that_begins_in_the_middle_needs_no_opening() -> None:
    tape = Tape(SPOT)
    tape.rows.clear()
    tape.depth(1, 5, epoch=7).snapshot(5).trade(1, epoch=7)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5!"]
    assert tape.trades() == [(1, TradeFlag(0))]


def test_process_that_begins_anew_forgets_its_sockets_and_counts_epochs_from_one() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).open(2).depth(6, 7, epoch=2).close(EVERY_EPOCH)
    tape.open(1).depth(6, 9).snapshot(6).trade(1)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5!", "GAP 5", "RESYNC 5", "SNAPSHOT 6", "update 9!"]
    assert tape.trades() == [(1, TradeFlag(0))]


def test_connections_do_not_disturb_each_other() -> None:
    """Two sockets of two connections in one run: closing one breaks its own books only."""
    tape = Tape(SPOT)
    one, other = tape.rows[0], replace(tape.rows[0], connection=4)
    btc = Tape(SPOT).depth(1, 5).snapshot(5).close(1).open(2).depth(9, 10, epoch=2).rows[1:]
    eth = [replace(row, connection=4) for row in Tape(SPOT, "ETHUSDT").depth(1, 5).snapshot(5).depth(6, 7).rows[1:]]
    tape.rows = [one, other, *(row for pair in zip(btc, [*eth, *eth[-1:] * 2], strict=True) for row in pair)]
    tape.rows = [replace(row, number=n) for n, row in enumerate(tape.rows, start=1)]
    out, _ = assert_as_twin(SPOT, tape.rows)
    ethereum = rows_of(out, 1)["instrument"] == instrument_id("binance_spot:ETHUSDT")
    assert rows_of(out, 1)["action"][ethereum].tolist() == [RESYNC, SNAPSHOT, UPDATE]
    assert GAP in rows_of(out, 1)["action"][~ethereum]


def test_silence_marks_books_stale_and_the_next_update_goes_on() -> None:
    tape = Tape(SPOT).depth(1, 5).snapshot(5).put(SILENT, b"btcusdt@depth@100ms").put(SILENT, b"btcusdt@trade")
    tape.put(SILENT, b"ethusdt@depth").depth(6, 7).put(SILENT)
    assert tape.said() == ["RESYNC 0", "SNAPSHOT 5!", "STALE 5", "update 7", "STALE 7"]


# --- Trades and tickers ----------------------------------------------------------------------------------------------


def test_trade_ids_that_jump_are_flagged_and_repeats_are_dropped() -> None:
    tape = Tape(USDM).trade(5).trade(6).trade(6).trade(5).trade(9).trade(10)
    none, hole = TradeFlag(0), TradeFlag.HOLE_BEFORE
    assert tape.trades() == [(5, none), (6, none), (9, hole), (10, none)]


def test_trades_missed_between_two_connections_are_flagged() -> None:
    tape = Tape(USDM).trade(5).close(1).open(2).trade(9, epoch=2).trade(10, epoch=2)
    assert tape.trades() == [(5, TradeFlag(0)), (9, TradeFlag.HOLE_BEFORE), (10, TradeFlag(0))]


def test_venue_that_renumbers_its_trades_is_believed_after_a_new_dial() -> None:
    tape = Tape(USDM).trade(500).close(1).open(2).trade(1, epoch=2).trade(2, epoch=2)
    assert tape.trades() == [(500, TradeFlag(0)), (1, TradeFlag.HOLE_BEFORE), (2, TradeFlag(0))]


def test_trade_outside_the_market_is_marked() -> None:
    tape = Tape(USDM).trade(5).trade(6, X="INSURANCE_FUND").trade(8, X="NA")
    assert tape.trades()[1:] == [(6, TradeFlag.OFF_BOOK), (8, TradeFlag.OFF_BOOK | TradeFlag.HOLE_BEFORE)]


@pytest.mark.parametrize("wrong", [{"p": "0"}, {"q": "0.000"}, {"p": "1.123456789"}, {"t": "7"}, {"e": "aggTrade"}])
def test_bad_message_changes_nothing_and_is_put_aside_once(wrong: dict[str, object]) -> None:
    good, bad = Tape(USDM).trade(5).trade(6), Tape(USDM).trade(5)
    bad.event({"e": "trade", "t": 7, "p": "2", "q": "3", "m": True, **wrong}).trade(6)
    assert [row[0] for row in good.trades()] == [row[0] for row in bad.trades()]
    out, state = run(USDM, *to_rows(bad.rows, USDM.exchange.venue))
    _, state_of_good = run(USDM, *to_rows(good.rows, USDM.exchange.venue))
    assert len(out.dead) == 1
    assert out.dead[0].rows["cause_row"] == 3
    assert out.dead[0].heap.tobytes().endswith(bad.rows[2].payload)
    assert_same_state(state, state_of_good)


def test_dead_letters_carry_reasons() -> None:
    tape = Tape(USDM).put(TEXT, b"{").put(TEXT, b"[]").event({"e": "kline"}).trade(1, p="0").trade(1, p="0.123456789")
    out, _ = assert_as_twin(USDM, tape.put(FrameKind.BINARY, b"\x00").rows)
    reasons = [DeadReason(int(dead.rows["reason"][0])) for dead in out.dead]
    assert reasons == [
        DeadReason.UNPARSABLE, DeadReason.UNEXPECTED, DeadReason.UNEXPECTED, DeadReason.OUT_OF_RANGE,
        DeadReason.TOO_MANY_DECIMALS, DeadReason.UNEXPECTED,
    ]  # fmt: skip


def test_dead_letters_keep_the_order_of_their_rows_under_any_cut() -> None:
    tape = Tape(USDM).put(TEXT, b"{").put(FrameKind.BINARY, b"x").put(TEXT, b"}")
    for cuts in ([], [1], [2], [1, 2, 3]):
        out, _ = run(USDM, *to_rows(tape.rows, USDM.exchange.venue), cuts)
        assert [row for row, _ in dead_of(out)] == [2, 3, 4]


def test_spot_ticker_has_no_venue_time() -> None:
    data = {"u": 9, "s": "BTCUSDT", "b": "1", "B": "2", "a": "3", "A": "4"}
    tape = Tape(SPOT).put(TEXT, orjson.dumps({"stream": "btcusdt@bookTicker", "data": data}))
    out, _ = assert_as_twin(SPOT, tape.rows)
    assert rows_of(out, 2)["ts_event_ns"].tolist() == [0]


def test_more_instruments_than_allowed_are_put_aside() -> None:
    wire = BinanceWire("small", USDM_EXCHANGE, True, usdm_instruments, instruments_max=2)
    tape = Tape(wire)
    for symbol in ("AAA", "BBB", "CCC", "AAA"):
        tape.symbol = symbol
        tape.trade(len(tape.rows))
    out, _ = assert_as_twin(wire, tape.snapshot(4, symbol="DDD").rows)
    assert [instrument for _, _, _, _, _, _, instrument, *_ in tuples(out)["trades"]] == [
        instrument_id(f"binance_usdm:{symbol}") for symbol in ("AAA", "BBB", "AAA")
    ]
    assert [int(dead.rows["reason"][0]) for dead in out.dead] == [DeadReason.LIMIT] * 2


# --- Instruments -----------------------------------------------------------------------------------------------------

USDM_INFO = orjson.dumps(
    {
        "serverTime": 1,
        "symbols": [
            {
                "symbol": "BTCUSDT", "contractType": "PERPETUAL", "deliveryDate": 4133404800000, "status": "TRADING",
                "baseAsset": "BTC", "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 2,
                "filters": [
                    {"filterType": "PRICE_FILTER", "minPrice": "556.80", "maxPrice": "4529764", "tickSize": "0.10"},
                    {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
                    {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "120", "stepSize": "0.001"},
                    {"filterType": "MIN_NOTIONAL", "notional": "100"},
                ],
            },
            {
                "symbol": "ETHUSDT_241227", "contractType": "CURRENT_QUARTER", "deliveryDate": 1735286400000,
                "status": "SETTLING", "baseAsset": "ETH", "quoteAsset": "USDT", "marginAsset": "USDT",
                "filters": [
                    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "999999999999", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "10000", "stepSize": "0.001"},
                ],
            },
            {"symbol": "BROKEN", "filters": []},
        ],
    }
)  # fmt: skip
SPOT_INFO = orjson.dumps(
    {
        "symbols": [
            {
                "symbol": "BTCUSDT", "status": "BREAK", "baseAsset": "BTC", "quoteAsset": "USDT",
                "filters": [
                    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
                    {"filterType": "NOTIONAL", "minNotional": "5.00", "maxNotional": "9000000"},
                ],
            }
        ]
    }
)  # fmt: skip


def test_exchange_info_becomes_instrument_rows() -> None:
    request = USDM.exchange.instruments_request(["BTCUSDT"]).text
    out, _ = run(USDM, *to_rows(Tape(USDM).put(REST, USDM_INFO, request=request).rows, USDM.exchange.venue))
    rows = rows_of(out, 3)
    heap = next(emitted.heap for emitted in out.emitted if emitted.output == 3)
    bitcoin, future = rows
    assert bitcoin["instrument"] == instrument_id("binance_usdm:BTCUSDT")
    columns = ("tick_size_e8", "price_min_e8", "lot_size_e8", "notional_min_e8", "expiry_ns")
    assert [int(bitcoin[c]) for c in columns] == [10_000_000, 55_680_000_000, 100_000, 10_000_000_000, 0]
    assert (bitcoin["kind"], bitcoin["status"]) == (InstrumentKind.PERPETUAL, InstrumentStatus.TRADING)
    assert (future["kind"], future["status"]) == (InstrumentKind.FUTURE, InstrumentStatus.HALTED)
    assert (future["expiry_ns"], future["price_max_e8"]) == (1735286400 * SECOND, 0), "no int64 holds that limit"
    at = int(future["symbol_at"])
    assert heap[at : at + int(future["symbol_size"])].tobytes() == b"ETHUSDT_241227"
    assert rows["cause_row"].tolist() == [2, 2]
    assert "BROKEN" in dead_of(out)[0][1]


def test_spot_exchange_info_becomes_instrument_rows() -> None:
    found = spot_instruments(SPOT_INFO)
    row = found.rows[0]
    assert (row["kind"], row["status"]) == (InstrumentKind.SPOT, InstrumentStatus.HALTED)
    assert (row["tick_size_e8"], row["lot_size_e8"], row["notional_min_e8"]) == (1_000_000, 1000, 500_000_000)
    assert found.rejected == ()


def test_body_that_is_no_exchange_info_is_put_aside() -> None:
    request = USDM.exchange.instruments_request([]).text
    out, _ = run(USDM, *to_rows(Tape(USDM).put(REST, b"<html>", request=request).rows, USDM.exchange.venue))
    assert dead_of(out)[0][1].startswith("The answer is no exchangeInfo")


# --- The laws --------------------------------------------------------------------------------------------------------


def assert_same_state(one: Mapping[str, Array], other: Mapping[str, Array]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        assert np.array_equal(array, other[name]), name


@st.composite
def tapes(draw: st.DrawFn, wire: BinanceWire) -> Tape:
    """A venue that stutters: events lost, repeated, swapped; two symbols; sockets cut and renewed; snapshots late."""
    tape = Tape(wire)
    ids = {"BTCUSDT": 10, "ETHUSDT": 1000}
    leader, follower = 1, 0
    for _ in range(draw(st.integers(1, 40))):
        tape.symbol = draw(st.sampled_from(sorted(ids)))
        now = ids[tape.symbol]
        epoch = draw(st.sampled_from([leader, follower or leader]))
        match draw(st.integers(0, 11)):
            case 0 | 1 | 2 | 3:
                back, skip = draw(st.sampled_from([0, 0, 0, 3])), draw(st.sampled_from([0, 0, 0, 1, 2]))
                tape.depth(now + 1 - back + skip, now + 3 - back, now - back, epoch)
                ids[tape.symbol] = max(now, now + 3 - back)
            case 4 | 5:
                tape.snapshot(now + draw(st.integers(-4, 2)), levels=draw(st.integers(0, 3)))
            case 6:
                tape.trade(now + draw(st.integers(-2, 2)), epoch, p=draw(st.sampled_from(["1", "0"])))
            case 7:
                tape.ticker(now + draw(st.integers(-2, 2)), epoch)
            case 8:
                if follower:
                    tape.close(draw(st.sampled_from([leader, follower])))
                    leader = follower if tape.rows[-1].epoch == leader else leader
                else:
                    tape.close(leader)
                    tape.open(leader + 1)
                    leader += 1
                follower = 0
            case 9 if draw(st.integers(0, 3)) == 0:
                tape.close(EVERY_EPOCH)
                leader, follower = 1, 0
            case 9:
                follower = max(leader, follower) + 1
                tape.open(follower)
            case 10:
                tape.put(SILENT, draw(st.sampled_from([b"", b"btcusdt@depth@100ms", b"ethusdt@trade", b"@"])), leader)
            case _:
                tape.later(draw(st.sampled_from([1, 31, 61])))
    return tape


@settings(max_examples=300, deadline=None)
@given(st.data(), st.booleans())
def test_any_course_of_events_reads_as_the_twin_reads_it_under_any_cut(data: st.DataObject, futures: bool) -> None:
    wire = USDM if futures else SPOT
    tape = data.draw(tapes(wire))
    cuts = data.draw(st.lists(st.integers(0, len(tape.rows)), max_size=6))
    assert_as_twin(wire, tape.rows, cuts)
    whole, state = run(wire, *to_rows(tape.rows, wire.exchange.venue))
    parts, state_of_parts = run(wire, *to_rows(tape.rows, wire.exchange.venue), cuts)
    assert tuples(whole) == tuples(parts)
    assert_same_state(state, state_of_parts)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_saved_and_restored_state_changes_nothing(data: st.DataObject) -> None:
    tape = data.draw(tapes(USDM))
    at = data.draw(st.integers(0, len(tape.rows)))
    rows, heap = to_rows(tape.rows, USDM.exchange.venue)
    state, out = USDM.initial_state(), Outputs(USDM.outputs)
    batch = Batch(0, out.origin, 1, rows, heap)
    USDM.on_batch(state, batch.cut(0, at), out)
    saved = {name: (array.dtype, array.shape, array.tobytes()) for name, array in state.items()}
    restored: State = {
        name: np.frombuffer(data, dtype=dtype).reshape(shape).copy() for name, (dtype, shape, data) in saved.items()
    }
    USDM.on_batch(restored, batch.cut(at, len(rows)), out)
    whole, state_of_whole = run(USDM, rows, heap)
    assert tuples(out) == tuples(whole)
    assert_same_state(restored, state_of_whole)


def test_waiting_room_is_bounded_and_forgets_the_oldest() -> None:
    """No snapshot ever comes: what waits stays within its bound, and a late snapshot still works on what is left."""
    levels_max = 1 << 16
    wire = BinanceWire("bounded", SPOT_EXCHANGE, False, spot_instruments, 4, waiting_levels_max=levels_max)
    tape, bids = Tape(wire), [[str(n + 1), "1"] for n in range(2000)]
    for n in range(60):
        data = {"e": "depthUpdate", "U": 10 * n + 1, "u": 10 * n + 10, "b": bids, "a": []}
        tape.event(data)
    rows, heap = to_rows(tape.rows, wire.exchange.venue)
    _, state = run(wire, rows, heap)
    assert len(state["pending"]) == levels_max
    assert state["counters"][LEVELS] <= levels_max
    waiting = state["events"][: state["counters"][TAIL]]
    assert int(waiting["id"][waiting["kind"] != 0][-1]) == 600, "the newest waits"
    oldest = int(waiting["first_id"][waiting["kind"] != 0][0])
    assert oldest > 1
    out, _ = run(wire, *to_rows(tape.snapshot(oldest - 1).rows, wire.exchange.venue))
    applied = rows_of(out, 1)
    assert applied["action"][-1] == UPDATE
    assert int(applied["update_id"][-1]) == 600
    updates = applied[applied["action"] == UPDATE]
    assert len(updates) == 2000 * (600 - oldest + 1) // 10
    prices = np.tile(np.arange(1, 2001) * 10**8, len(updates) // 2000)
    assert np.array_equal(updates["price_e8"], prices), "levels that were moved to close gaps are the same levels"
    assert set(updates["quantity_e8"].tolist()) == {10**8}


def test_waiting_room_is_bounded_in_events_too() -> None:
    wire = BinanceWire("bounded", SPOT_EXCHANGE, False, spot_instruments, 4, waiting_levels_max=1 << 16)
    tape = Tape(wire)
    for n in range(9000):
        tape.depth(n + 1, n + 1)
    rows, heap = to_rows(tape.rows, wire.exchange.venue)
    _, state = run(wire, rows, heap)
    _, state_of_parts = run(wire, rows, heap, range(0, 9000, 700))
    assert len(state["events"]) == (1 << 16) // 16
    assert_same_state(state, state_of_parts)


def test_many_instruments_find_their_books() -> None:
    tape = Tape(USDM)
    for n in range(1000):
        tape.symbol = f"COIN{n}USDT"
        tape.trade(1).trade(3)
    out, state = run(USDM, *to_rows(tape.rows, USDM.exchange.venue))
    trades = rows_of(out, 0)
    assert state["counters"][BOOKS] == 1000
    assert trades["instrument"].tolist() == [
        instrument_id(f"binance_usdm:COIN{n}USDT") for n in range(1000) for _ in range(2)
    ]
    assert trades["flags"].tolist() == [0, TradeFlag.HOLE_BEFORE] * 1000


# --- Real recordings -------------------------------------------------------------------------------------------------


def raw_rows_of(path: Path, wire: BinanceWire, symbol: str) -> list[RawRow]:
    rows = [RawRow(1, OPEN)]
    for line in read_lines(path):
        kind, request = TEXT, ""
        if line.is_snapshot:
            kind, request = REST, wire.exchange.depth_request(symbol).text
        rows.append(RawRow(len(rows) + 1, kind, line.payload, request, line.ts_recv_ns))
    return rows


FACTS: Sequence[tuple[str, BinanceWire, str, int, int, int]] = (
    # file, rule, symbol, events dropped, events applied, update ids shared with bookTicker
    ("usdm_btcusdt_20240808.gz", USDM, "BTCUSDT", 4, 6547, 629),
    ("usdm_ethusdt_20240808.gz", USDM, "ETHUSDT", 5, 6581, 551),
    ("spot_btcusdt_20240808.gz", SPOT, "BTCUSDT", 2, 3449, 564),
    ("spot_ethusdt_20240808.gz", SPOT, "ETHUSDT", 2, 3432, 577),
)


@pytest.mark.recording
@pytest.mark.parametrize(
    "fact", [pytest.param(one, id=one[0], marks=[pytest.mark.slow] if one is not FACTS[0] else []) for one in FACTS]
)
def test_real_recordings_give_the_known_books(fact: tuple[str, BinanceWire, str, int, int, int]) -> None:
    """A plain book made of the rows equals the venue's own bookTicker on every update id that both have."""
    name, wire, symbol, dropped, applied, shared = fact
    raw = raw_rows_of(recording(name), wire, symbol)
    out, _ = assert_as_twin(wire, raw)
    deltas, tickers = rows_of(out, 1), rows_of(out, 2)
    depth_frames = sum(b'"depthUpdate"' in row.payload for row in raw)
    events = deltas[(deltas["action"] == UPDATE) & (deltas["flags"] & LAST > 0)]
    assert (len(events), depth_frames - len(events)) == (applied, dropped)
    assert GAP not in deltas["action"]
    assert [row["attempt"] for row in rows_of(out, 4)] == [1]
    assert dead_of(out) == []
    touches = touches_of(deltas)
    if symbol == "BTCUSDT" and wire is USDM:
        assert list(touches.values())[-1][::2] == (6165970000000, 6165980000000)
    compared = [ticker for ticker in tickers if int(ticker["update_id"]) in touches]
    assert len(compared) == shared
    for ticker in compared:
        wanted = tuple(int(ticker[c]) for c in ("bid_price_e8", "bid_quantity_e8", "ask_price_e8", "ask_quantity_e8"))
        assert touches[int(ticker["update_id"])] == wanted
    trades = rows_of(out, 0)
    assert not trades["flags"].any()
    assert np.array_equal(np.diff(trades["trade_id"]), np.ones(len(trades) - 1))


def touches_of(deltas: Array) -> dict[int, tuple[int, int, int, int]]:
    """update id → best bid, its quantity, best offer, its quantity, from SNAPSHOT_END on."""
    books: tuple[dict[int, int], dict[int, int]] = ({}, {})
    touches: dict[int, tuple[int, int, int, int]] = {}
    synced = False
    columns = ("update_id", "price_e8", "quantity_e8", "side", "action", "flags")
    for update_id, price, quantity, side, action, flags in zip(*(deltas[c].tolist() for c in columns), strict=True):
        if action > SNAPSHOT:
            continue
        if quantity:
            books[side][price] = quantity
        else:
            books[side].pop(price, None)
        synced = synced or bool(flags & END)
        if synced and flags & LAST:
            bid, ask = max(books[0]), min(books[1])
            assert bid < ask
            touches[update_id] = bid, books[0][bid], ask, books[1][ask]
    return touches


@pytest.mark.recording
def test_real_recording_renewed_and_cut_anywhere_gives_the_same_rows() -> None:
    """The same minute heard through two sockets, the newer one ahead by three frames: nothing lost, nothing twice."""
    raw = raw_rows_of(recording("usdm_btcusdt_20240808.gz"), USDM, "BTCUSDT")[:6000]
    renewed: list[RawRow] = raw[:1000]
    renewed.append(RawRow(0, OPEN, epoch=2))
    for n in range(1000, 3000):
        renewed += [replace(row, epoch=2) for row in raw[n + 3 : n + 4]] + [raw[n]]
    renewed.append(RawRow(0, CLOSE, epoch=1))
    renewed += [replace(row, epoch=2) for row in raw[3003:]]
    renewed = [replace(row, number=n) for n, row in enumerate(renewed, start=1)]
    out, _ = assert_as_twin(USDM, renewed, range(0, len(renewed), 617))
    plain, _ = run(USDM, *to_rows(raw, USDM.exchange.venue))
    for output in (0, 1, 2):
        for column in ("ts_event_ns", *(("trade_id",), ("update_id", "price_e8", "flags"), ("update_id",))[output]):
            assert np.array_equal(rows_of(out, output)[column], rows_of(plain, output)[column])


def test_exchange_tables_name_streams_and_requests() -> None:
    assert SPOT_EXCHANGE.depth_request("BTCUSDT").text == "GET /api/v3/depth?symbol=BTCUSDT&limit=1000"
    assert USDM_EXCHANGE.depth_request("BTCUSDT").text == "GET /fapi/v1/depth?symbol=BTCUSDT&limit=1000"


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["NUMBA_BOUNDSCHECK", "NUMBA_DISABLE_JIT"])
def test_rule_is_right_when_checked_and_when_interpreted(mode: str, tmp_path: Path) -> None:
    """The scenarios above, in a process that checks bounds or does not compile at all."""
    # A cache of its own: numba does not tell code that checks bounds from code that does not.
    environment = os.environ | {mode: "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    chosen = "not real and not checked and not any_course and not bounded and not many_instruments"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", chosen]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
