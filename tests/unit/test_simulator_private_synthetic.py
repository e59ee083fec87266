"""Accounts' orders in the synthetic market: the very same book, the same tape, and nothing else changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from connectors.simulator import kernels as k
from connectors.simulator.config import SyntheticConfig
from connectors.simulator.feed import Item
from connectors.simulator.matching import OrderKind, Outcome
from connectors.simulator.private_market_synthetic import SyntheticOrderMarket
from connectors.simulator.synthetic import SyntheticFeed
from schemas.events import Side

CONFIG = SyntheticConfig(seed=5, symbols=("BTCUSDT",))
S_NS = 1_000_000_000


class Played:
    """A synthetic market, what was filled in it, and its tape."""

    def __init__(self) -> None:
        self.feed = SyntheticFeed(CONFIG, is_futures=True)
        self.market = SyntheticOrderMarket(self.feed)
        self.market.attach(self)
        self.items: Iterator[Item] = self.feed.items()
        self.fills: list[tuple[int, int, int, int]] = []
        self.tape: list[dict[str, Any]] = []
        self.at_ns = self.feed.start_ns

    def rested_filled(self, number: int, tick: int, lots: int, trade_id: int) -> None:
        self.fills.append((number, tick, lots, trade_id))

    def traded(self, symbol: str, tick: int) -> None: ...
    def moved(self, symbol: str) -> None: ...

    def play(self, seconds: float) -> None:
        until_ns = self.at_ns + round(seconds * S_NS)
        for item in self.items:
            if item.stream.endswith("@trade"):
                self.tape.append(orjson.loads(item.payload)["data"])
            self.at_ns = item.at_ns
            if item.at_ns >= until_ns:
                return

    def touch(self) -> tuple[int, int]:
        touch = self.market.touch("BTCUSDT")
        assert touch is not None
        return touch

    def queue(self, tick: int) -> list[int]:
        """Core ids of a level, in the order of their priority."""
        book = self.feed.markets["BTCUSDT"].book
        slot, found = int(book.levels[tick & (len(book.levels) - 1), k.LEVEL_HEAD]), []
        while slot != k.NONE:
            found.append(int(book.orders[slot, k.ORDER_ID]))
            slot = int(book.orders[slot, k.ORDER_NEXT])
        return found


def test_market_with_nobody_in_it_is_the_same_byte_for_byte() -> None:
    alone, watched = SyntheticFeed(CONFIG, is_futures=True).items(), Played()
    for _ in range(3000):
        assert next(alone) == next(watched.items)


def test_taker_fills_are_on_the_tape_under_the_ids_that_were_told() -> None:
    played = Played()
    played.play(1)
    _, ask = played.touch()
    entered = played.market.enter("BTCUSDT", 1, 1, Side.BUY, OrderKind.IMMEDIATE, ask + 50, 3000)
    told = [(meeting.trade_id, f"{meeting.tick / 10:.2f}", meeting.lots) for meeting in entered.meetings]
    assert len(told) > 1
    assert played.touch()[1] > ask, "the offers that were taken are gone: it moved the market"
    played.play(0.2)
    tape = [(event["t"], event["p"], round(float(event["q"]) * 1000)) for event in played.tape]
    at = tape.index(told[0])
    assert tape[at : at + len(told)] == told
    assert all(not event["m"] for event in played.tape[at : at + len(told)])


def test_resting_order_is_filled_by_the_flow_in_its_turn_and_seen_on_the_tape() -> None:
    played = Played()
    played.play(1)
    bid, _ = played.touch()
    before = played.queue(bid)
    entered = played.market.enter("BTCUSDT", 7, 1, Side.BUY, OrderKind.POST_ONLY, bid, 40)
    assert entered.outcome is Outcome.RESTING
    assert played.queue(bid)[:-1] == before, "behind everybody who was there"
    played.play(20)
    assert played.fills
    assert sum(lots for _, _, lots, _ in played.fills) <= 40
    on_tape = {event["t"]: event for event in played.tape}
    for number, tick, lots, trade_id in played.fills:
        event = on_tape[trade_id]
        assert (number, event["p"], event["q"]) == (7, f"{tick / 10:.2f}", f"{lots / 1000:.3f}")


def test_flow_never_cancels_an_account_s_order() -> None:
    played = Played()
    played.play(0.5)
    bid, ask = played.touch()
    for number in range(1, 201):
        side = Side.BUY if number % 2 else Side.SELL
        tick = bid - 50 - number if side is Side.BUY else ask + 50 + number
        played.market.enter("BTCUSDT", number, 1, side, OrderKind.POST_ONLY, tick, 10)
    played.play(20)
    filled = dict.fromkeys(range(1, 201), 0)
    for number, _, lots, _ in played.fills:
        filled[number] += lots
    assert [played.market.leave(number) for number in range(1, 201)] == [10 - filled[n] for n in range(1, 201)]


@pytest.mark.parametrize("side", list(Side))
def test_nobody_buys_or_sells_the_market_empty(side: Side) -> None:
    played = Played()
    played.play(0.5)
    bid, ask = played.touch()
    limit = ask + 30_000 if side is Side.BUY else bid - 30_000
    entered = played.market.enter("BTCUSDT", 1, 1, side, OrderKind.LIMIT, limit, 10**9)
    assert entered.outcome is Outcome.EXPIRED
    assert entered.left > 0
    numbers = played.feed.markets["BTCUSDT"].book.numbers
    assert numbers[k.ASK_LEVELS if side is Side.BUY else k.BID_LEVELS] >= k.LEVELS_MIN
    again = played.market.enter("BTCUSDT", 2, 1, side, OrderKind.IMMEDIATE, limit, 10)
    assert (again.outcome, again.left) == (Outcome.EXPIRED, 10)
    played.play(10)
    bid, ask = played.touch()
    assert 0 < bid < ask


def test_order_beyond_the_window_waits_outside_and_enters_when_the_window_moves() -> None:
    played = Played()
    played.play(0.5)
    market = played.feed.markets["BTCUSDT"]
    top = int(market.book.numbers[k.BASE]) + len(market.book.levels)
    far = played.market.enter("BTCUSDT", 1, 1, Side.SELL, OrderKind.LIMIT, top + 100, 10)
    low = int(market.book.numbers[k.BASE]) + 10
    near = played.market.enter("BTCUSDT", 2, 1, Side.BUY, OrderKind.LIMIT, low, 10)
    assert far.outcome is near.outcome is Outcome.RESTING
    assert k.level_quantity(market.book, k.ASK, top + 100) == 0
    assert k.level_quantity(market.book, k.BID, low) == 10
    k.move_window(market.book, int(market.book.numbers[k.BASE]) + 5000)
    played.market.window_moved(market)
    assert k.level_quantity(market.book, k.ASK, top + 100) == 10
    assert k.level_quantity(market.book, k.BID, low) == 0
    assert [played.market.leave(number) for number in (1, 2)] == [10, 10]
    assert k.level_quantity(market.book, k.ASK, top + 100) == 0


def test_random_orders_of_two_accounts_leave_the_core_consistent() -> None:
    played, chance = Played(), random.Random(3)
    played.play(0.5)
    left: dict[int, int] = {}
    for number in range(1, 400):
        played.play(0.02)
        for filled, _, lots, _ in played.fills:
            left[filled] -= lots
        played.fills.clear()
        bid, ask = played.touch()
        side, lots = chance.choice(tuple(Side)), chance.randint(1, 300)
        kind = chance.choice((OrderKind.LIMIT, OrderKind.POST_ONLY, OrderKind.IMMEDIATE, OrderKind.ALL_OR_NOTHING))
        tick = (bid if side is Side.BUY else ask) + chance.randint(-4, 4)
        entered = played.market.enter("BTCUSDT", number, chance.randint(1, 2), side, kind, tick, lots)
        assert sum(meeting.lots for meeting in entered.meetings) + entered.left == lots
        if kind is OrderKind.ALL_OR_NOTHING:
            assert entered.left in (0, lots)
        for meeting in entered.meetings:
            if meeting.maker:
                left[meeting.maker] = left[meeting.maker] - meeting.lots if meeting.lots else 0
        if entered.outcome is Outcome.RESTING:
            left[number] = entered.left
        if number % 3 == 0:
            gone = chance.choice(list(left) or [number])
            assert played.market.leave(gone) == left.pop(gone, 0)
        assert all(lots >= 0 for lots in left.values())
    assert any(left.values())
    assert [played.market.leave(number) for number in left] == list(left.values())
    book = played.feed.markets["BTCUSDT"].book
    assert not book.orders[book.live[: book.numbers[k.LIVE]], k.ORDER_OWNER].any(), "only the flow is left"
