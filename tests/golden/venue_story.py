"""A long day at the simulated venue, by a seed: every endpoint that touches orders, right and wrong, from several
accounts in several symbols, while others trade and time passes. Everything that is answered and told is written down.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import orjson

from connectors.simulator.hub import Hub
from connectors.simulator.listing import E8, Listed
from connectors.simulator.matching import OrderKind, Prevention
from connectors.simulator.private_account import Account
from connectors.simulator.private_algos import Algos
from connectors.simulator.private_api import PrivateApi
from connectors.simulator.private_config import AccountConfig, PrivateRules
from connectors.simulator.private_desk import Desk
from connectors.simulator.private_event import Event
from connectors.simulator.private_market import Entered
from connectors.simulator.private_request import Call, signature_of
from connectors.simulator.private_stream import UserStreams
from connectors.simulator.rest import Refused
from schemas.events import Side
from streams.clock import ManualClock
from tests.private_market import BTC, MIDDLE, NOW_MS, SECOND_KEY, SECOND_SECRET, BookMarket

LISTED = (
    BTC,
    Listed("ETHUSDT", E8 // 100, E8 // 1000, 2, 3),
    Listed("DOGEUSDT", 1_000, E8 // 10, 5, 1),
    Listed("币USDT", E8 // 10, E8 // 1000, 2, 3),
    Listed("ETHBTC", E8 // 100, E8 // 1000, 2, 3),
)
ACCOUNTS = (
    AccountConfig(balance_e8=5_000_000 * E8),
    AccountConfig("second", SECOND_KEY, SECOND_SECRET, balance_e8=2_000 * E8, leverage=7),
    AccountConfig("idle", "idlekey0" * 8, "notsecr3" * 8, can_trade=False),
)
RULES = (
    PrivateRules(orders_per_10s=0, orders_per_minute=0, open_orders_max=30),
    PrivateRules(orders_per_10s=40, orders_per_minute=90, open_orders_max=5, refuses_at_once=True, maker_fee_e8=-5_000),
)
ORDER, ALGO = "/fapi/v1/order", "/fapi/v1/algoOrder"
LISTS = (
    "openOrders", "allOrders", "userTrades", "openAlgoOrders", "income", "commissionRate", "positionSide/dual",
    "openOrder", "account", "balance", "positionRisk",
)  # fmt: skip
WRONG = ("", "0", "-1", "abc", "1e5", "99999999999999999999", "0.00000001", "1.123456789", "x y", "a/b", "MARKET", "é")


class Markets:
    """One `BookMarket` a symbol."""

    def __init__(self) -> None:
        self.books = {row.symbol: BookMarket(row.symbol) for row in LISTED}
        self._where: dict[int, str] = {}

    def attach(self, listener: Any) -> None:
        for book in self.books.values():
            book.attach(listener)

    def touch(self, symbol: str) -> tuple[int, int] | None:
        return self.books[symbol].touch(symbol)

    def available(self, symbol: str, side: Side, tick: int, lots: int) -> int:
        return self.books[symbol].available(symbol, side, tick, lots)

    def enter(
        self, symbol: str, number: int, owner: int, side: Side, kind: OrderKind, tick: int, lots: int,
        prevent: Prevention = Prevention.EXPIRE_MAKER,
    ) -> Entered:  # fmt: skip
        self._where[number] = symbol
        return self.books[symbol].enter(symbol, number, owner, side, kind, tick, lots, prevent)

    def leave(self, number: int) -> int:
        return self.books[self._where[number]].leave(number) if number in self._where else 0

    def shrink(self, number: int, lots: int) -> None:
        self.books[self._where[number]].shrink(number, lots)


class Story:
    """The venue, and one line for everything that it says.

    Args:
        seed: of what happens; odd ones have tight limits.
    """

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed)
        rules = RULES[seed % len(RULES)]
        self.clock = ManualClock(NOW_MS * 1_000_000)
        self.markets = Markets()
        self._told: list[bytes] = []
        self.desk = Desk(LISTED, self.markets, ACCOUNTS, rules, self.clock, self._heard)
        self.algos = Algos(self.desk)
        users = UserStreams(cast(Hub, SimpleNamespace(clients={})), self.clock, rules.listen_key_life_s)
        self.api = PrivateApi(self.desk, self.algos, users, rules, lambda: self.clock.now_ns() // 1_000_000)
        self.markets.attach(self)
        self._names: list[str] = []
        self._last: tuple[str, str, dict[str, str]] = ("GET", ORDER, {})
        self._acts = (
            (self._order, 40), (self._cancel, 14), (self._amend, 8), (self._algo, 5), (self._cancel_algo, 2),
            (self._ask, 8), (self._list, 5), (self._rare, 2), (self._others, 12), (self._time, 4), (self._repeat, 2),
        )  # fmt: skip

    def _heard(self, account: Account, event: Event) -> None:
        self._told.append(b"%d %s" % (account.number, event.body))

    def rested_filled(self, number: int, tick: int, lots: int, trade_id: int) -> None:
        self.desk.rested_filled(number, tick, lots, trade_id)

    def traded(self, symbol: str, tick: int) -> None:
        self.algos.traded(symbol, tick)

    def moved(self, symbol: str) -> None:
        self.algos.moved(symbol)

    def lines(self, count: int) -> Iterator[bytes]:
        """So many things that happen, each with what was answered and told."""
        acts, weights = zip(*self._acts, strict=True)
        for row in LISTED[:-1]:
            self._deepen(row)
        for _ in range(count):
            (act,) = self._chance.choices(acts, weights)
            said = act()
            yield said + b"".join(b"\n    " + line for line in self._told)
            self._told.clear()

    # ---- calls

    def _any(self, *words: str) -> str:
        return self._chance.choice(words)

    def _maybe(self, share: float) -> bool:
        return self._chance.random() < share

    def _listed(self) -> Listed:
        return self._chance.choices(LISTED, (60, 20, 10, 5, 5))[0]

    def _decimal(self, value_e8: int) -> str:
        text = f"{value_e8 // E8}.{value_e8 % E8:08d}"
        return text if self._maybe(0.2) else text.rstrip("0").rstrip(".")

    def _price(self, listed: Listed) -> str:
        away = self._chance.choice((0, 0, 1, 1, 2, -1, 40, 700, -700, 25_000, -25_000, 40_000, -40_000, 100_000))
        return self._decimal((MIDDLE + away) * listed.tick_e8)

    def _quantity(self, listed: Listed) -> str:
        return self._decimal(self._chance.choice((1, 2, 2, 5, 30, 700, 6_000)) * listed.lot_e8)

    def _order(self) -> bytes:
        listed = self._listed()
        given = {"symbol": listed.symbol, "side": self._any("BUY", "SELL")}
        if self._maybe(0.75):
            given["type"] = "LIMIT"
            given["timeInForce"] = self._any("GTC", "GTC", "GTC", "GTC", "IOC", "FOK", "GTX", "GTD")
            given["price"] = self._price(listed)
            if given["timeInForce"] == "GTD":
                given["goodTillDate"] = str(self.clock.now_ns() // 1_000_000 + self._chance.choice((599_000, 700_500)))
        else:
            given["type"] = "MARKET"
        given["quantity"] = self._quantity(listed)
        if self._maybe(0.2):
            given["reduceOnly"] = self._any(*["true", "TRUE", "false"] * 5, "yes")
        if self._maybe(0.8):
            given["newClientOrderId"] = self._name()
        if self._maybe(0.2):
            given["selfTradePreventionMode"] = self._any(*["EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH"] * 5, "NONE")
        if self._maybe(0.2):
            given["newOrderRespType"] = self._any("RESULT", "ACK")
        if self._maybe(0.03):
            given[self._any("positionSide", "closePosition", "priceMatch")] = self._any("BOTH", "LONG", "NONE", "true")
        return self._call("POST", ORDER, given)

    def _name(self) -> str:
        name = self._any(*self._names[-5:]) if self._names and self._maybe(0.05) else f"S{len(self._names):013d}"
        self._names.append(name)
        return self._any(*[name] * 40, "a:/._-Z", "x" * 37, "no blank", "")

    def _meant(self) -> dict[str, str]:
        """An order, mostly one that is there."""
        given = {}
        orders = list(self.desk.orders.values())
        order = self._chance.choice(orders[-60:]) if orders and self._maybe(0.95) else None
        given["symbol"] = order.listed.symbol if order and self._maybe(0.95) else self._listed().symbol
        if order is None or self._maybe(0.5):
            given["orderId"] = str(order.number if order else 12345)
        if order is not None and self._maybe(0.8):
            given["origClientOrderId"] = order.client_id
        return given

    def _open(self) -> dict[str, str]:
        """An open order, if there is one."""
        orders = [order for orders in self.desk.open.values() for order in orders.values()]
        if not orders or self._maybe(0.2):
            return self._meant()
        order = self._chance.choice(orders)
        name, value = self._chance.choice((("orderId", str(order.number)), ("origClientOrderId", order.client_id)))
        return {"symbol": order.listed.symbol, name: value, "owner": str(order.owner), "side": order.side.name}

    def _cancel(self) -> bytes:
        return self._call("DELETE", ORDER, self._open())

    def _amend(self) -> bytes:
        given = self._open()
        listed = next(row for row in LISTED if row.symbol == given["symbol"])
        if self._maybe(0.1):
            given["side"] = self._any("BUY", "SELL")
        return self._call("PUT", ORDER, given | {"quantity": self._quantity(listed), "price": self._price(listed)})

    def _algo(self) -> bytes:
        listed = self._listed()
        kind = self._any("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET")
        trigger = self._decimal((MIDDLE + self._chance.choice((-3, -1, 2, 4, 50))) * listed.tick_e8)
        given = {"algoType": "CONDITIONAL", "symbol": listed.symbol, "side": self._any("BUY", "SELL"), "type": kind}
        given |= {"triggerPrice": trigger, "clientAlgoId": self._name()}
        given["workingType"] = self._any("MARK_PRICE", "CONTRACT_PRICE")
        if not kind.endswith("MARKET"):
            given |= {"price": self._price(listed), "timeInForce": self._any("GTC", "IOC", "GTX")}
        elif self._maybe(0.3):
            return self._call("POST", ALGO, given | {"closePosition": "true"})
        return self._call("POST", ALGO, given | {"quantity": self._quantity(listed)})

    def _cancel_algo(self) -> bytes:
        method = self._any("GET", "DELETE")
        algos = self.algos.all()
        number = str(self._chance.choice(algos).number) if algos else "7"
        return self._call(method, ALGO, {"algoId": number})

    def _ask(self) -> bytes:
        return self._call("GET", self._any(ORDER, "/fapi/v1/openOrder"), self._meant())

    def _list(self) -> bytes:
        given = self._meant() if self._maybe(0.8) else {}
        given |= {"limit": self._any("5", "3", "0", "1000")} if self._maybe(0.5) else {}
        name = self._any(*LISTS)
        return self._call("GET", f"/fapi/v{3 if name in LISTS[-3:] else 1}/{name}", given)

    def _rare(self) -> bytes:
        symbol = {"symbol": self._listed().symbol}
        path, given = self._chance.choice((
            ("DELETE /fapi/v1/allOpenOrders", symbol), ("DELETE /fapi/v1/algoOpenOrders", symbol),
            ("POST /fapi/v1/leverage", symbol | {"leverage": self._any("3", "20", "125", "126")}),
            ("POST /fapi/v1/countdownCancelAll", symbol | {"countdownTime": self._any("0", "5000")}),
            ("GET /sapi/v1/account/apiRestrictions", {}), ("POST /fapi/v1/listenKey", {}),
            ("PUT /fapi/v1/listenKey", {}),
        ))  # fmt: skip
        method, _, path = path.partition(" ")
        return self._call(method, path, given)

    def _repeat(self) -> bytes:
        return self._call(*self._last)

    def _call(self, method: str, path: str, given: dict[str, str]) -> bytes:
        self._last = method, path, dict(given)
        config = self._chance.choices(ACCOUNTS, (70, 25, 2))[0]
        owner = given.pop("owner", "")
        config = ACCOUNTS[int(owner) - 1] if owner and self._maybe(0.95) else config
        if self._maybe(0.12) and given:
            name = self._any(*given)
            if self._maybe(0.4):
                del given[name]
            else:
                given[name] = self._any(*WRONG)
        now_ms = self.clock.now_ns() // 1_000_000
        given["timestamp"] = str(
            now_ms - (self._chance.choice((0, -999, -1000, 5000, 5001)) if self._maybe(0.1) else 0)
        )
        if self._maybe(0.5):
            given["recvWindow"] = self._any(*["5000"] * 30, "60000", "60001", "1")
        call = self._written(method, path, given, config)
        return f"{method} {path} {call.query} {call.body} ".encode() + self._answer(call)

    def _written(self, method: str, path: str, given: dict[str, str], config: AccountConfig) -> Call:
        """In one of the many ways in which a request may be written."""
        pairs = [f"{name}={quote(value, safe='')}" for name, value in given.items() if not self._maybe(0.003)]
        if self._maybe(0.02):
            pairs += self._chance.choice((["&"], ["side=SELL"], ["a=b=c"], ["flag"], ["x=%41+b"], ["quantity="]))
        cut = self._chance.randrange(len(pairs) + 1) if self._maybe(0.1) else len(pairs)
        query, body = "&".join(pairs[:cut]), "&".join(pairs[cut:])
        signature = signature_of(config.secret, query + body)
        wrong = self._chance.random()
        if wrong < 0.01:
            signature = signature.upper()
        elif wrong < 0.03:
            signature = self._any("", "0" * 64, signature[:-1], "é")
        if body and self._maybe(0.5):
            body += f"&signature={signature}"
        elif wrong > 0.97:
            query = f"signature={signature}&{query}"
        else:
            query += f"&signature={signature}"
        key = self._any("", "short", "unknown0" * 8) if self._maybe(0.01) else config.key
        return Call(method, path, query, body, key)

    def _answer(self, call: Call) -> bytes:
        try:
            admitted = self.api.admit(call)
            if self._maybe(0.02):
                self.clock.advance_to(self.clock.now_ns() + 5_001_000_000)
            said = orjson.dumps(self.api.execute(admitted))
        except Refused as refused:
            said = f"{refused.status} {refused.code} {refused.message} {refused.retry_after_s}".encode()
        return said + b" " + orjson.dumps(self.api.headers(call))

    # ---- what else happens

    def _deepen(self, listed: Listed) -> None:
        book = self.markets.books[listed.symbol].book
        for away, lots in ((0, 300), (2, 500), (50, 5_000), (1000, 500_000)):
            book.place(Side.BUY, OrderKind.LIMIT, lots, MIDDLE - away)
            book.place(Side.SELL, OrderKind.LIMIT, lots, MIDDLE + 1 + away)

    def _others(self) -> bytes:
        listed = self._chance.choice(LISTED[:-1])
        if self._maybe(0.3):
            self._deepen(listed)
        side = self._chance.choice((Side.BUY, Side.SELL))
        kind = self._chance.choice((OrderKind.IMMEDIATE, OrderKind.LIMIT))
        tick = MIDDLE + self._chance.choice((-50, -2, 0, 1, 3, 50))
        self.markets.books[listed.symbol].flow(side, kind, self._chance.choice((1, 3, 40, 700)), tick)
        return b"others"

    def _time(self) -> bytes:
        self.clock.advance_to(self.clock.now_ns() + self._chance.choice((1, 40, 900, 11_000, 300_000)) * 1_000_000)
        if self._maybe(0.2):
            self.desk.fund()
        self.desk.liquidate_broke()
        self.api.on_time()
        return b"time"
