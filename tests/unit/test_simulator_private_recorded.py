"""Accounts' orders against a recording: what is taken of its book, and when a resting order's turn has come."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.simulator.feed import Item
from connectors.simulator.matching import OrderKind, Outcome
from connectors.simulator.private_market import Entered
from connectors.simulator.private_market_recorded import RecordedOrderMarket
from connectors.simulator.recorded import RecordedFeed
from schemas.events import Side
from tests.recordings import recording
from tests.simulated import START_NS, wrapped, write_recording

STEP_NS = 1_000_000
DEPTH, TICKER, TRADE = ("btcusdt@depth@0ms", "btcusdt@bookTicker", "btcusdt@trade")
Step = tuple[str, dict[str, Any]]


def depth(last: int, bids: list[tuple[str, str]], asks: list[tuple[str, str]]) -> Step:
    event = {"e": "depthUpdate", "E": 1, "T": 1, "s": "BTCUSDT", "U": last, "u": last, "pu": last - 1}
    return DEPTH, event | {"b": [list(level) for level in bids], "a": [list(level) for level in asks]}


def ticker(update_id: int, bid: tuple[str, str], ask: tuple[str, str]) -> Step:
    return TICKER, {"u": update_id, "s": "BTCUSDT", "b": bid[0], "B": bid[1], "a": ask[0], "A": ask[1]}


def tape(price: str, quantity: str, *, seller: bool) -> Step:
    """A trade whose aggressor sells, or buys."""
    return TRADE, {"e": "trade", "E": 1, "s": "BTCUSDT", "t": 1, "p": price, "q": quantity, "T": 1, "m": seller}


class Tape:
    """A recording that is played step by step, and the orders in it.

    The book begins as bids 100.0 × 5, 99.9 × 7 and asks 100.1 × 4, 100.2 × 6; ticks are 0.1, lots 1.
    """

    def __init__(self, folder: Path, *steps: Step) -> None:
        snapshot = {
            "lastUpdateId": 10,
            "bids": [["100.0", "5"], ["99.9", "7"]],
            "asks": [["100.1", "4"], ["100.2", "6"]],
        }
        begin = [depth(10, [], [])]
        lines = [orjson.dumps(snapshot)] + [wrapped(stream, data) for stream, data in steps]
        lines = [wrapped(*begin[0]), *lines, wrapped(*tape("100.0", "1", seller=True))]
        path = write_recording(folder / "t.gz", [(START_NS + n * STEP_NS, line) for n, line in enumerate(lines)])
        feed = RecordedFeed((path,), is_futures=True)
        self.market = RecordedOrderMarket(feed)
        self.market.attach(self)
        self.fills: list[tuple[int, int, int]] = []
        self.prints: list[int] = []
        self._items: Iterator[Item] = feed.items()
        next(self._items)
        next(self._items)
        assert self.market.touch("BTCUSDT") == (1000, 1001)

    def rested_filled(self, number: int, tick: int, lots: int, trade_id: int) -> None:
        self.fills.append((number, tick, lots))

    def traded(self, symbol: str, tick: int) -> None:
        self.prints.append(tick)

    def moved(self, symbol: str) -> None:
        """Nothing waits for a mark here."""

    def play(self, count: int = 1) -> list[tuple[int, int, int]]:
        """Let steps pass; returns the fills of resting orders."""
        self.fills.clear()
        for _ in range(count):
            next(self._items)
        return self.fills

    def enter(
        self, number: int, side: Side, tick: int, lots: int, kind: OrderKind = OrderKind.LIMIT, owner: int = 1
    ) -> Entered:
        return self.market.enter("BTCUSDT", number, owner, side, kind, tick, lots)


def met(entered: Entered) -> list[tuple[int, int]]:
    return [(meeting.tick, meeting.lots) for meeting in entered.meetings]


def test_taker_consumes_levels_in_order_and_the_rest_rests_or_expires(tmp_path: Path) -> None:
    market = Tape(tmp_path)
    entered = market.enter(1, Side.BUY, 1002, 7)
    assert (entered.outcome, met(entered)) == (Outcome.FILLED, [(1001, 4), (1002, 3)])
    entered = market.enter(2, Side.BUY, 1002, 5, OrderKind.IMMEDIATE)
    assert (entered.outcome, entered.left, met(entered)) == (Outcome.EXPIRED, 2, [(1002, 3)])
    assert market.market.touch("BTCUSDT") is None, "both offers are taken"


def test_what_was_taken_stays_taken_while_the_level_stands(tmp_path: Path) -> None:
    again, other = depth(11, [], [("100.1", "4")]), depth(12, [], [("100.1", "9")])
    gone, back = depth(13, [], [("100.1", "0")]), depth(14, [], [("100.1", "4")])
    market = Tape(tmp_path, again, other, gone, back)
    market.enter(1, Side.BUY, 1001, 3)
    market.play(2)
    assert market.market.available("BTCUSDT", Side.BUY, 1001, 99) == 1
    market.play(1)
    assert market.market.available("BTCUSDT", Side.BUY, 1001, 99) == 6
    market.play(2)
    assert market.market.available("BTCUSDT", Side.BUY, 1001, 99) == 4


def test_fill_or_kill_and_post_only_look_before_they_do_anything(tmp_path: Path) -> None:
    market = Tape(tmp_path)
    assert market.enter(1, Side.BUY, 1001, 5, OrderKind.ALL_OR_NOTHING) == Entered(Outcome.CANNOT_FILL, 5, ())
    assert market.enter(2, Side.BUY, 1001, 1, OrderKind.POST_ONLY) == Entered(Outcome.WOULD_TAKE, 1, ())
    assert market.enter(3, Side.BUY, 1001, 4, OrderKind.ALL_OR_NOTHING).outcome is Outcome.FILLED


def test_order_waits_for_the_quantity_that_stood_before_it(tmp_path: Path) -> None:
    sold = [tape("100.0", quantity, seller=True) for quantity in ("3", "3", "1")]
    market = Tape(tmp_path, *sold, tape("100.0", "9", seller=False))
    assert market.enter(1, Side.BUY, 1000, 2).outcome is Outcome.RESTING
    assert market.play(1) == []
    assert market.play(1) == [], "the first is only now past us: items act when the next is asked for"
    assert market.play(1) == [(1, 1000, 1)], "3 + 3 sold, 5 stood before"
    assert market.play(1) == [(1, 1000, 1)]
    assert market.market.leave(1) == 0


def test_trade_by_a_buyer_at_our_bid_is_not_ours(tmp_path: Path) -> None:
    market = Tape(tmp_path, tape("100.0", "50", seller=False), tape("100.0", "50", seller=False))
    market.enter(1, Side.BUY, 1000, 2)
    assert market.play(3) == []


def test_cancellations_ahead_count_only_when_the_level_is_smaller_than_the_queue(tmp_path: Path) -> None:
    market = Tape(
        tmp_path,
        depth(11, [("100.0", "8")], []),  # others come behind us
        depth(12, [("100.0", "5")], []),  # and go: it may have been them
        depth(13, [("100.0", "2")], []),  # now three of those before us must have gone
        tape("100.0", "3", seller=True),
    )
    market.enter(1, Side.BUY, 1000, 4)
    assert market.play(4) == []
    assert market.play(1) == [(1, 1000, 1)], "3 sold, 2 stood before"


def test_trade_through_our_price_fills_us_first_and_no_more_than_was_traded(tmp_path: Path) -> None:
    market = Tape(tmp_path, tape("99.9", "3", seller=True), tape("99.9", "30", seller=True))
    market.enter(1, Side.BUY, 1000, 2)
    market.enter(2, Side.BUY, 1000, 2, owner=2)
    market.enter(3, Side.BUY, 999, 2)
    assert market.play(2) == [(1, 1000, 2), (2, 1000, 1)], "price first, then arrival; three were sold"
    assert market.play(1) == [(2, 1000, 1), (3, 999, 2)], "29 left for 99.9, where 7 stood before us"


def test_trade_at_our_price_is_shared_out_in_the_order_of_arrival(tmp_path: Path) -> None:
    market = Tape(
        tmp_path, depth(11, [("100.0", "9")], []), tape("100.0", "8", seller=True), tape("100.0", "9", seller=True)
    )
    market.enter(1, Side.BUY, 1000, 1)
    market.play(2)
    market.enter(2, Side.BUY, 1000, 1, owner=2)  # 9 recorded before it, 4 of them after the first
    fills = market.play(1)
    assert fills == [(1, 1000, 1)], "8: five before, our one, and two of the four between"
    assert market.play(1) == [(2, 1000, 1)], "9: two more between, then ours"


def test_recorded_book_that_comes_across_our_price_has_hit_us(tmp_path: Path) -> None:
    across = ticker(12, ("99.8", "1"), ("99.9", "3"))
    market = Tape(tmp_path, across, depth(13, [], [("99.9", "3")]), depth(14, [], [("99.9", "0"), ("100.0", "9")]))
    market.enter(1, Side.BUY, 1000, 4)
    assert market.play(2) == [(1, 1000, 3)], "what stood there, at our price"
    assert market.play(1) == [], "the same offer does not trade twice"
    assert market.play(1) == [(1, 1000, 1)]


def test_own_account_never_meets_itself_and_another_account_does(tmp_path: Path) -> None:
    market = Tape(tmp_path)
    market.enter(1, Side.BUY, 1000, 2)
    mine = market.enter(2, Side.SELL, 1000, 6)
    assert [(m.lots, m.maker) for m in mine.meetings] == [(5, 0), (0, 1)], "the recorded first, then ours expires"
    assert (mine.outcome, mine.left) == (Outcome.RESTING, 1)
    other = market.enter(3, Side.BUY, 1000, 1, owner=2)
    assert [(m.lots, m.maker) for m in other.meetings] == [(1, 2)]


@pytest.mark.recording
def test_real_recording_gives_nobody_more_than_it_traded_or_showed() -> None:
    """Random orders over a minute: no overfill, resting fills only where the market was, the book never crossed."""
    feed = RecordedFeed((recording("usdm_btcusdt_20240808.gz"),), is_futures=True)
    market = RecordedOrderMarket(feed)
    left: dict[int, int] = {}
    made: dict[int, tuple[Side, int]] = {}
    filled: list[tuple[int, int, int]] = []

    class Listener:
        def rested_filled(self, number: int, tick: int, lots: int, trade_id: int) -> None:
            assert tick == made[number][1], "a resting order fills at its own price"
            left[number] -= lots
            assert left[number] >= 0
            filled.append((number, tick, lots))

        def traded(self, symbol: str, tick: int) -> None: ...
        def moved(self, symbol: str) -> None: ...

    market.attach(Listener())
    chance = random.Random(5)
    taken = 0
    for place, item in enumerate(feed.items()):
        if item.at_ns > feed.start_ns + 60_000_000_000:
            break
        if place % 50 or (touch := market.touch("BTCUSDT")) is None:
            continue
        bid, ask = touch
        assert bid < ask
        side, number = chance.choice(tuple(Side)), place + 1
        tick = (bid if side is Side.BUY else ask) + chance.randint(-3, 3)
        lots = chance.randint(1, 400)
        entered = market.enter("BTCUSDT", number, chance.randint(1, 2), side, OrderKind.LIMIT, tick, lots)
        assert sum(meeting.lots for meeting in entered.meetings) + entered.left == lots
        for meeting in entered.meetings:
            taken += meeting.lots
            assert meeting.tick <= tick if side is Side.BUY else meeting.tick >= tick
            if meeting.maker:
                left[meeting.maker] = left[meeting.maker] - meeting.lots if meeting.lots else 0
        if entered.outcome is Outcome.RESTING:
            made[number], left[number] = (side, tick), entered.left
        if len(left) > 20:
            oldest = next(iter(left))
            assert market.leave(oldest) == left.pop(oldest)
    assert taken > 1000
    assert len(filled) > 50
