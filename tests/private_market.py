"""What tests of the simulated venue's private half share: a small market, a desk on it, and signed calls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

import orjson

from connectors.simulator.listing import E8, Listed
from connectors.simulator.matching import Fill, MatchingBook, OrderKind, Outcome, Placed, Prevention
from connectors.simulator.private_account import Account
from connectors.simulator.private_config import PAPER_KEY, PAPER_SECRET, AccountConfig, PrivateRules
from connectors.simulator.private_desk import Desk
from connectors.simulator.private_event import Event
from connectors.simulator.private_market import Entered, MarketListener, Meeting
from connectors.simulator.private_orders import VenueOrder
from connectors.simulator.private_request import Call, Parameters, signature_of
from connectors.simulator.private_tickets import read_ticket
from schemas.events import Side
from streams.clock import ManualClock

BTC = Listed("BTCUSDT", E8 // 10, E8 // 1000, 2, 3)
NOW_MS = 1_700_000_000_000
RESTING = Outcome.RESTING
MIDDLE = 600_000  # ticks: 60,000.0
SECOND_KEY, SECOND_SECRET = "secondky" * 8, "notsecr2" * 8
TWO_ACCOUNTS = (AccountConfig(), AccountConfig("second", SECOND_KEY, SECOND_SECRET))


class BookMarket:
    """An `OrderMarket` of one symbol that is nothing but the matching core; `flow` is everybody else."""

    def __init__(self, symbol: str = "BTCUSDT") -> None:
        self.symbol = symbol
        self.book = MatchingBook(MIDDLE - 40_000, 1 << 17, 1 << 10)
        self.numbers: dict[int, int] = {}  # by core id
        self.core_ids: dict[int, int] = {}
        self.left: dict[int, int] = {}
        self.trade_id = 0
        self.listener: MarketListener | None = None

    def attach(self, listener: MarketListener) -> None:
        self.listener = listener

    def touch(self, symbol: str) -> tuple[int, int] | None:
        return self.book.touch()

    def available(self, symbol: str, side: Side, tick: int, lots: int) -> int:
        other = Side.SELL if side is Side.BUY else Side.BUY
        reached = [
            there for at, there in self.book.depth(other, 1000) if (at <= tick if side is Side.BUY else at >= tick)
        ]
        return min(lots, sum(reached))

    def enter(
        self, symbol: str, number: int, owner: int, side: Side, kind: OrderKind, tick: int, lots: int,
        prevent: Prevention = Prevention.EXPIRE_MAKER,
    ) -> Entered:  # fmt: skip
        assert lots > 0, "nothing is entered"
        outcome, core_id, left, fills = self.book.place(side, kind, lots, tick, owner, prevent)
        meetings = tuple([self._meeting(fill) for fill in fills]) if fills else ()
        if outcome is RESTING:
            self.numbers[core_id], self.core_ids[number] = number, core_id
            self.left[number] = left
        return Entered(outcome, left, meetings)

    def _meeting(self, fill: Fill) -> Meeting:
        number = self.numbers.get(fill.maker_id, 0)
        if number:
            self.left[number] = fill.maker_left if fill.lots else 0
            if not self.left[number]:
                self._forget(number)
        self.trade_id += fill.lots > 0
        return Meeting(fill.tick, fill.lots, self.trade_id if fill.lots else 0, number)

    def _forget(self, number: int) -> None:
        del self.numbers[self.core_ids.pop(number)], self.left[number]

    def leave(self, number: int) -> int:
        if number not in self.core_ids:
            return 0
        lots = self.book.cancel(self.core_ids[number])
        self._forget(number)
        return lots

    def shrink(self, number: int, lots: int) -> None:
        self.left[number] -= self.book.shrink(self.core_ids[number], lots)

    def flow(self, side: Side, kind: OrderKind, lots: int, tick: int = 0) -> Placed:
        """Somebody who is no account trades; whoever rested is told afterwards, as markets do."""
        placed = self.book.place(side, kind, lots, tick)
        meetings = [self._meeting(fill) for fill in placed.fills]
        assert self.listener is not None
        for meeting in meetings:
            if meeting.maker:
                self.listener.rested_filled(meeting.maker, meeting.tick, meeting.lots, meeting.trade_id)
            self.listener.traded(self.symbol, meeting.tick)
        self.listener.moved(self.symbol)
        return placed


class Trading:
    """A desk on a `BookMarket` whose touch is 60,000.0 × 5.000 / 60,000.1 × 5.000, with deep levels far behind."""

    def __init__(
        self,
        rules: PrivateRules | None = None,
        accounts: Iterable[AccountConfig] = TWO_ACCOUNTS,
        clock: ManualClock | None = None,
    ) -> None:
        self.clock = clock or ManualClock(NOW_MS * 1_000_000)
        self.market = BookMarket()
        self.events: list[tuple[int, Event]] = []
        self.desk = Desk((BTC,), self.market, accounts, rules or PrivateRules(), self.clock, self.heard)
        self.market.attach(self)
        for away, lots in ((0, 5000), (100, 50_000), (1000, 500_000)):
            self.market.book.place(Side.BUY, OrderKind.LIMIT, lots, MIDDLE - away)
            self.market.book.place(Side.SELL, OrderKind.LIMIT, lots, MIDDLE + 1 + away)
        self.events.clear()

    def heard(self, account: Account, event: Event) -> None:
        self.events.append((account.number, event))

    def rested_filled(self, number: int, tick: int, lots: int, trade_id: int) -> None:
        self.desk.rested_filled(number, tick, lots, trade_id)

    def traded(self, symbol: str, tick: int) -> None:
        """No conditional orders here."""

    def moved(self, symbol: str) -> None:
        """No conditional orders here."""

    def account(self, number: int = 1) -> Account:
        return self.desk.accounts[number]

    def order(
        self, side: str, quantity: str, price: str = "", time_in_force: str = "GTC", *, number: int = 1, **given: str
    ) -> VenueOrder:
        """Submit as a client would write it."""
        terms = {"type": "LIMIT", "price": price, "timeInForce": time_in_force} if price else {"type": "MARKET"}
        parameters = Parameters({"side": side, "quantity": quantity} | terms | given)
        return self.desk.submit(self.account(number), read_ticket(parameters, BTC, NOW_MS))

    def told(self, name: str, number: int = 1) -> list[Mapping[str, Any]]:
        """Events of that name of an account."""
        return [orjson.loads(event.body) for owner, event in self.events if owner == number and event.name == name]


def signed(
    method: str, path: str, given: Mapping[str, object], now_ms: int, key: str = PAPER_KEY, secret: str = PAPER_SECRET
) -> Call:
    """A signed call with everything in the query."""
    text = urlencode({**given, "timestamp": now_ms})
    return Call(method, path, f"{text}&signature={signature_of(secret, text)}", "", key)
