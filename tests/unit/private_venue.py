"""A venue of a few lines for testing the gateway: the private half of Binance USD-M on loopback, real sockets.

It checks keys and signatures by itself, keeps orders and positions, and does wrong what a test asks for: a handler put
into `answers` replaces the endpoint's own. (connectors/simulator is the venue for everybody else.)
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from connectors.binance_usdm.exchange import EXCHANGE
from connectors.capabilities import Exchange
from streams.clock import SYSTEM_CLOCK

KEY, SECRET = "key-of-the-test", "secret-of-the-test"
HANG, DROP = (-1, None), (-2, None)
Reply = tuple[int, Any]
Params = dict[str, str]
LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
    {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
]
FILTERS = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "1000000", "tickSize": "0.1"},
    {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
    {"filterType": "MARKET_LOT_SIZE", "minQty": "0.001", "maxQty": "1", "stepSize": "0.001"},
]
UNSIGNED = ("/fapi/v1/time", "/fapi/v1/exchangeInfo", "/fapi/v1/listenKey")


def refused(code: int, message: str = "no", status: int = 400) -> Reply:
    return status, {"code": code, "msg": message}


@dataclass
class PrivateVenue:
    """Attributes are switches and what was seen.

    Attributes:
        seen: (method, path, params) of every request, in order of arrival.
        answers: by "METHOD path": a handler instead of the venue's own.
        before: called with method and path before a request is looked at.
        headers: of every answer.
        skew_ms: the venue's clock less the machine's.
        keys: listen keys made so far; sockets: open user streams, each with the key that it came with.
    """

    seen: list[tuple[str, str, Params]] = field(default_factory=list)
    answers: dict[str, Callable[[Params], Reply]] = field(default_factory=dict)
    before: Callable[[str, str], None] = lambda method, path: None
    headers: dict[str, str] = field(default_factory=dict)
    skew_ms: int = 0
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    positions: dict[str, float] = field(default_factory=dict)
    trades: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    sockets: list[tuple[str, ServerConnection]] = field(default_factory=list)
    ws_port: int = 0
    rest_port: int = 0
    _parts: list[Server | asyncio.Server] = field(default_factory=list)

    @property
    def exchange(self) -> Exchange:
        return EXCHANGE.at(f"ws://127.0.0.1:{self.ws_port}", f"http://127.0.0.1:{self.rest_port}")

    def lines(self, *methods: str) -> list[str]:
        """`POST /fapi/v1/order` of each request seen, in order."""
        return [f"{method} {path}" for method, path, _ in self.seen if not methods or method in methods]

    async def say(self, body: object) -> None:
        for _, socket in self.sockets:
            await socket.send(orjson.dumps(body).decode())

    async def cut(self) -> None:
        for _, socket in list(self.sockets):
            socket.transport.abort()

    # --- REST

    def answer(self, method: str, path: str, params: Params, key: str, query: str) -> Reply:
        own = self.answers.get(f"{method} {path}")
        if path not in UNSIGNED:
            if key != KEY:
                return refused(-2015, "Invalid API-key, IP, or permissions for action.", 401)
            payload, _, signature = query.rpartition("&signature=")
            if not hmac.compare_digest(
                hmac.new(SECRET.encode(), payload.encode(), hashlib.sha256).hexdigest(), signature
            ):
                return refused(-1022, "Signature for this request is not valid.")
            late_ms = self.now_ms() - int(params["timestamp"])
            if not -1000 < late_ms <= int(params["recvWindow"]):
                return refused(-1021, "Timestamp for this request is outside of the recvWindow.")
        if own is not None:
            return own(params)
        return self._own(method, path, params)

    def now_ms(self) -> int:
        return SYSTEM_CLOCK.now_ns() // 1_000_000 + self.skew_ms

    def _own(self, method: str, path: str, params: Params) -> Reply:
        match f"{method} {path}":
            case "GET /fapi/v1/time":
                return 200, {"serverTime": self.now_ms()}
            case "GET /fapi/v1/exchangeInfo":
                return 200, {"rateLimits": LIMITS, "symbols": [_listed("BTCUSDT"), _listed("ETHUSDT")]}
            case "GET /sapi/v1/account/apiRestrictions":
                return 200, {"enableWithdrawals": False, "enableFutures": True}
            case "POST /fapi/v1/listenKey":
                self.keys.append(f"listen-key-{len(self.keys) + 1}")
                return 200, {"listenKey": self.keys[-1]}
            case "GET /fapi/v1/openOrders":
                return 200, list(self.orders.values())
            case "GET /fapi/v1/openAlgoOrders":
                return 200, []
            case "GET /fapi/v3/positionRisk":
                held = [{"symbol": name, "positionAmt": f"{amount:.3f}"} for name, amount in self.positions.items()]
                return 200, [row | {"positionSide": "BOTH"} for row in held]
            case "GET /fapi/v3/balance":
                return 200, [{"asset": "USDT", "balance": "1000.0", "updateTime": self.now_ms()}]
            case "GET /fapi/v1/income":
                return 200, []
            case "GET /fapi/v1/userTrades":
                return 200, [trade for trade in self.trades if trade["symbol"] == params["symbol"]]
            case "POST /fapi/v1/order":
                return self._place(params)
            case "DELETE /fapi/v1/order":
                order = self.orders.pop(self._name(params), None)
                return (200, order | {"status": "CANCELED"}) if order else refused(-2011, "Unknown order sent.")
            case "GET /fapi/v1/order":
                order = self.orders.get(self._name(params)) or self.ended.get(self._name(params))
                return (200, order) if order else refused(-2013, "Order does not exist.")
            case "DELETE /fapi/v1/allOpenOrders":
                self.orders = {
                    name: order for name, order in self.orders.items() if order["symbol"] != params["symbol"]
                }
                return 200, {"code": 200, "msg": "The operation of cancel all open order is done."}
            case _:
                return 200, {}

    def _name(self, params: Params) -> str:
        """Client id of the order that is meant."""
        if "orderId" not in params:
            return params.get("origClientOrderId", "")
        wanted = int(params["orderId"])
        return next((name for name, order in self.orders.items() if order["orderId"] == wanted), "")

    def _place(self, params: Params) -> Reply:
        name, quantity = params["newClientOrderId"], params["quantity"]
        order = {
            "clientOrderId": name, "orderId": 1000 + len(self.seen), "symbol": params["symbol"], "side": params["side"],
            "status": "NEW", "price": params.get("price", "0"), "origQty": quantity, "executedQty": "0",
            "updateTime": self.now_ms(),
        }  # fmt: skip
        if params["type"] == "LIMIT":
            self.orders[name] = order
        elif float(quantity) > 1:
            return refused(-4005, "Quantity greater than max quantity.")
        else:
            sign = 1 if params["side"] == "BUY" else -1
            self.positions[params["symbol"]] = round(
                self.positions.get(params["symbol"], 0) + sign * float(quantity), 3
            )
            self.ended[name] = order | {"status": "FILLED", "executedQty": quantity}
        return 200, order

    async def _serve_rest(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *rest = head.decode().split("\r\n")
                method, target, _ = line.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (part.partition(":") for part in rest)}
                url = urlsplit(target)
                params = dict(parse_qsl(url.query))
                self.before(method, url.path)
                self.seen.append((method, url.path, params))
                status, body = self.answer(method, url.path, params, headers.get("x-mbx-apikey", ""), url.query)
                if status == HANG[0]:
                    await asyncio.sleep(30)
                if status <= 0:
                    break
                payload = body if isinstance(body, bytes) else orjson.dumps(body)
                more = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(payload)}\r\n{more}\r\n".encode() + payload)
                await writer.drain()
        writer.close()

    # --- the user stream

    async def _serve_stream(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        url = urlsplit(socket.request.path)
        key = dict(parse_qsl(url.query)).get("listenKey", "")
        if url.path != "/private/ws" or key not in self.keys:
            return
        entry = (key, socket)
        self.sockets.append(entry)
        with suppress(ConnectionClosed):
            await socket.wait_closed()
        self.sockets.remove(entry)

    async def start(self) -> None:
        stream = await serve(self._serve_stream, "127.0.0.1", 0, close_timeout=0.1)
        self.ws_port = next(iter(stream.sockets)).getsockname()[1]
        rest = await asyncio.start_server(self._serve_rest, "127.0.0.1", 0)
        self.rest_port = rest.sockets[0].getsockname()[1]
        self._parts = [stream, rest]

    async def stop(self) -> None:
        for part in self._parts:
            part.close()


def _listed(symbol: str) -> dict[str, Any]:
    return {
        "symbol": symbol, "contractType": "PERPETUAL", "deliveryDate": 0, "status": "TRADING", "baseAsset": symbol[:3],
        "quoteAsset": "USDT", "marginAsset": "USDT", "filters": FILTERS,
    }  # fmt: skip


@asynccontextmanager
async def private_venue() -> AsyncIterator[PrivateVenue]:
    venue = PrivateVenue()
    await venue.start()
    try:
        yield venue
    finally:
        await venue.stop()
