"""A venue of a few lines for testing the session: real sockets on loopback, one behaviour at a time.

It speaks enough of Binance USD-M: exchangeInfo and depth over REST, combined streams with SUBSCRIBE over a websocket.
What it does wrong is switched by attributes. (connectors/simulator is the venue for everybody else.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from connectors.binance_usdm.exchange import EXCHANGE
from connectors.capabilities import Exchange


def exchange_info(*symbols: str) -> bytes:
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": "0.1", "maxPrice": "1000000", "tickSize": "0.1"},
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
    ]
    common = {
        "contractType": "PERPETUAL", "deliveryDate": 0, "status": "TRADING", "baseAsset": "X", "quoteAsset": "USDT",
        "marginAsset": "USDT", "filters": filters,
    }  # fmt: skip
    return orjson.dumps({"symbols": [{"symbol": symbol} | common for symbol in symbols]})


@dataclass
class ScriptedVenue:
    """Attributes are switches and counters; see the module.

    Attributes:
        dial_status: answers to the next handshakes; empty: accept.
        rest_status: answers to the next REST questions; empty: 200.
        mute_after_ack: acknowledge and say nothing.
        acknowledge: answer SUBSCRIBE at all.
        interval_s: between two rounds of messages.
        rest_delay_s: before each REST answer.
        update_id: of the last depth event, shared by all sockets.
    """

    dial_status: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    rest_status: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    mute_after_ack: bool = False
    acknowledge: bool = True
    refuse_subscriptions: bool = False
    interval_s: float = 0.01
    rest_delay_s: float = 0.0
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT", "BTCUSDC")
    update_id: int = 100
    trade_id: int = 0
    dials: int = 0
    snapshots_served: int = 0
    messages_in: list[bytes] = field(default_factory=list)
    silent_streams: set[str] = field(default_factory=set)
    sockets: list[ServerConnection] = field(default_factory=list)
    on_subscribe: Callable[[str, list[str]], None] | None = None
    pongs: list[bytes] = field(default_factory=list)
    _wanted: dict[ServerConnection, set[str]] = field(default_factory=dict)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Exchange]:
        """Serve; gives the exchange's table with our addresses in it."""
        async with serve(
            self._socket, "127.0.0.1", 0, process_request=self._request, ping_interval=None, close_timeout=0.2
        ) as server:
            port = port_of(server)
            playing = asyncio.create_task(self._play())
            try:
                yield EXCHANGE.at(f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}")
            finally:
                playing.cancel()
                for socket in self.sockets:
                    socket.transport.abort()

    async def say(self, text: bytes | str, socket: ServerConnection | None = None) -> None:
        for one in [socket] if socket else list(self.sockets):
            await one.send(text if isinstance(text, str) else text.decode())

    # REST and handshakes share the port.

    async def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        if "Upgrade" in request.headers:
            self.dials += 1
            if self.dial_status:
                return answer(*self.dial_status.pop(0), b"no")
            return None
        await asyncio.sleep(self.rest_delay_s)
        if self.rest_status:
            return answer(*self.rest_status.pop(0), b'{"code":-1003,"msg":"no"}')
        if request.path.startswith("/fapi/v1/exchangeInfo"):
            return answer(200, {}, exchange_info(*self.symbols))
        self.snapshots_served += 1
        body = {"lastUpdateId": self.update_id, "E": 1, "T": 1, "bids": [["1.0", "1"]], "asks": [["2.0", "1"]]}
        return answer(200, {"X-MBX-USED-WEIGHT-1M": "77"}, orjson.dumps(body))

    async def _socket(self, connection: ServerConnection) -> None:
        self.sockets.append(connection)
        self._wanted[connection] = set()
        try:
            async for text in connection:
                message = text.encode() if isinstance(text, str) else text
                self.messages_in.append(message)
                await self._control(connection, orjson.loads(message))
        except ConnectionClosed:
            pass
        finally:
            self.sockets.remove(connection)
            del self._wanted[connection]

    async def _control(self, connection: ServerConnection, message: dict[str, object]) -> None:
        names = message["params"]
        assert isinstance(names, list)
        if self.on_subscribe:
            self.on_subscribe(str(message["method"]), names)
        if self.refuse_subscriptions:
            await connection.send(orjson.dumps({"code": 2, "msg": "Invalid request", "id": message["id"]}).decode())
            return
        if message["method"] == "SUBSCRIBE":
            self._wanted[connection] |= set(names)
        else:
            self._wanted[connection] -= set(names)
        if self.acknowledge:
            await connection.send(orjson.dumps({"result": None, "id": message["id"]}).decode())

    async def _play(self) -> None:
        while True:
            await asyncio.sleep(self.interval_s)
            self.update_id += 1
            self.trade_id += 1
            for connection, wanted in list(self._wanted.items()):
                for name in sorted(wanted - self.silent_streams):
                    if not self.mute_after_ack:
                        await self._send(connection, name)

    async def _send(self, connection: ServerConnection, name: str) -> None:
        with suppress(ConnectionClosed):
            await connection.send(self.message(name).decode())

    def message(self, name: str) -> bytes:
        """What stream `name` says now; everything that two sockets say at once is the same."""
        symbol, kind = name.split("@")[0].upper(), name.split("@")[1]
        u = self.update_id
        data: dict[str, object] = {"s": symbol, "E": 1_700_000_000_000 + u, "T": 1_700_000_000_000 + u}
        if kind == "depth":
            data |= {"e": "depthUpdate", "U": u, "u": u, "pu": u - 1, "b": [["1.0", f"{u}"]], "a": []}
        elif kind == "trade":
            data |= {"e": "trade", "t": self.trade_id, "p": "1", "q": "1", "X": "MARKET", "m": True}
        else:
            data |= {"e": "bookTicker", "u": u, "b": "1", "B": "1", "a": "2", "A": "1"}
        return orjson.dumps({"stream": name, "data": data})


def answer(status: int, headers: dict[str, str], body: bytes) -> Response:
    lines = Headers({"Content-Length": str(len(body)), "Connection": "close", **headers})
    return Response(status, HTTPStatus(status).phrase if status != 418 else "I'm a teapot", lines, body)


def port_of(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])
