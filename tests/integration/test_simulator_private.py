"""The private half of the simulated venue over real sockets: REST, user streams, and what goes wrong on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from connectors.simulator.config import SyntheticConfig, VenueConfig
from connectors.simulator.listing import E8
from connectors.simulator.private_config import PAPER_KEY, PAPER_SECRET, AccountConfig, PrivateRules
from connectors.simulator.private_half import PrivateHalf
from connectors.simulator.synthetic import warm
from schemas.instruments import Venue
from streams.clock import now_ns
from tests.private_market import SECOND_KEY, SECOND_SECRET, TWO_ACCOUNTS, signed
from tests.recordings import recording
from tests.simulated import Running, drain, running, take

SYMBOL = "BTCUSDT"
Scenario = Callable[["Client"], Awaitable[None]]


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    warm()


class Client:
    """A signing client of one venue, and its user stream."""

    def __init__(self, venue: Running, key: str = PAPER_KEY, secret: str = PAPER_SECRET) -> None:
        self.venue = venue
        self.key, self.secret = key, secret

    @property
    def half(self) -> PrivateHalf:
        half = self.venue.venue.private
        assert half is not None
        return half

    async def raw(self, method: str, path: str, **given: object) -> httpx.Response:
        """One request; `at_ms` is its timestamp, now unless given."""
        at_ms = given.pop("at_ms", now_ns() // 1_000_000)
        assert isinstance(at_ms, int)
        call = signed(method, path, given, at_ms, self.key, self.secret)
        headers = {"X-MBX-APIKEY": self.key}
        return await self.venue.rest.request(method, f"{path}?{call.query}", headers=headers)

    async def ask(self, method: str, path: str, **given: object) -> Any:
        answer = await self.raw(method, path, **given)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def refused(self, method: str, path: str, **given: object) -> tuple[int, int]:
        answer = await self.raw(method, path, **given)
        return answer.status_code, answer.json()["code"]

    async def order(self, side: str = "BUY", quantity: str = "0.010", away: int | None = None, **given: object) -> Any:
        """A market order, or a limit order so many ticks behind its own side's best price."""
        terms: dict[str, object] = {"type": "MARKET", "newOrderRespType": "RESULT"}
        if away is not None:
            terms = {"type": "LIMIT", "timeInForce": "GTC", "price": self.price(side, away)}
        terms |= {"symbol": SYMBOL, "side": side, "quantity": quantity} | given
        return await self.ask("POST", "/fapi/v1/order", **terms)

    def price(self, side: str, away: int) -> str:
        touch = self.half.desk.market.touch(SYMBOL)
        assert touch is not None
        tick = touch[0] - away if side == "BUY" else touch[1] + away
        return f"{tick // 10}.{tick % 10}"

    async def listen_key(self, method: str = "POST") -> httpx.Response:
        return await self.venue.rest.request(method, "/fapi/v1/listenKey", headers={"X-MBX-APIKEY": self.key})

    async def listen(self, path: str = "/private/ws", events: str = "") -> ClientConnection:
        key = (await self.listen_key()).json()["listenKey"]
        query = f"?listenKey={key}" + (f"&events={events}" if events else "")
        url = f"{self.venue.venue.addresses.stream_url}{path}{query}"
        return await connect(url, compression=None, ping_interval=None, close_timeout=0.2)

    async def fire(self, name: str, **given: object) -> None:
        answer = await self.venue.rest.post("/sim/fault", params={"name": name, **given})  # type: ignore[dict-item]
        assert answer.status_code == 200, answer.text


async def heard(stream: ClientConnection, quiet_s: float = 0.3) -> list[dict[str, Any]]:
    return [orjson.loads(message) for message in await drain(stream, quiet_s)]


def act(scenario: Scenario, timeout_s: float = 30.0, **given: Any) -> None:
    """Run a scenario against a synthetic market that stands still: nobody subscribes to it."""

    async def acted() -> None:
        values: dict[str, Any] = {"synthetic": SyntheticConfig(symbols=(SYMBOL,)), "accounts": TWO_ACCOUNTS}
        config = VenueConfig(Venue.BINANCE_USDM, **(values | given))
        async with asyncio.timeout(timeout_s), running(config) as venue:
            await scenario(Client(venue))

    asyncio.run(acted())


# ---- who may ask


def test_key_time_and_signature_are_checked_with_the_venue_s_codes() -> None:
    async def scenario(client: Client) -> None:
        path, now_ms = "/fapi/v3/balance", now_ns() // 1_000_000
        assert (await client.ask("GET", path))[0]["balance"] == "100000.00000000"
        assert await client.refused("GET", path, at_ms=now_ms - 6000) == (400, -1021)
        assert await client.refused("GET", path, at_ms=now_ms + 3000) == (400, -1021)
        assert (await client.raw("GET", path, at_ms=now_ms - 6000, recvWindow=20_000)).status_code == 200
        assert await Client(client.venue, PAPER_KEY, SECOND_SECRET).refused("GET", path) == (400, -1022)
        assert await Client(client.venue, "unknownk" * 8).refused("GET", path) == (401, -2015)
        assert await Client(client.venue, "bad").refused("GET", path) == (401, -2014)
        assert (await client.venue.rest.get(path)).json()["code"] == -2014

    act(scenario)


def test_key_s_permissions_are_told_and_kept() -> None:
    accounts = (AccountConfig(), AccountConfig("reader", SECOND_KEY, SECOND_SECRET, can_trade=False, can_withdraw=True))

    async def scenario(client: Client) -> None:
        path = "/sapi/v1/account/apiRestrictions"
        rights = await client.ask("GET", path)
        assert (rights["enableWithdrawals"], rights["enableFutures"]) == (False, True)
        reader = Client(client.venue, SECOND_KEY, SECOND_SECRET)
        rights = await reader.ask("GET", path)
        assert (rights["enableWithdrawals"], rights["enableFutures"]) == (True, False)
        order = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "0.010"}
        assert await reader.refused("POST", "/fapi/v1/order", **order) == (401, -2015)
        assert await reader.ask("GET", "/fapi/v1/openOrders") == []

    act(scenario, accounts=accounts)


def test_venue_without_accounts_has_no_private_paths() -> None:
    async def scenario(client: Client) -> None:
        assert (await client.raw("GET", "/fapi/v3/balance")).status_code == 404
        assert client.venue.venue.private is None

    act(scenario, accounts=())


# ---- orders


def test_order_goes_its_way_and_every_endpoint_agrees() -> None:
    async def scenario(client: Client) -> None:
        stream = await client.listen()
        bought = await client.order("BUY", "0.050")
        assert (bought["status"], bought["executedQty"]) == ("FILLED", "0.050")
        resting = await client.order("SELL", "0.020", 30, newClientOrderId="mine", reduceOnly="true")
        assert (resting["status"], resting["clientOrderId"], "avgPrice" in resting) == ("NEW", "mine", False)
        one = {"symbol": SYMBOL, "origClientOrderId": "mine"}
        assert await client.ask("GET", "/fapi/v1/order", **one) == (await client.ask("GET", "/fapi/v1/openOrders"))[0]
        terms = {"side": "SELL", "quantity": "0.010", "price": client.price("SELL", 40)}
        changed = await client.ask("PUT", "/fapi/v1/order", **one, **terms)
        assert (changed["origQty"], changed["orderId"]) == ("0.010", resting["orderId"])
        cancelled = await client.ask("DELETE", "/fapi/v1/order", **one)
        assert cancelled["status"] == "CANCELED"
        assert await client.refused("DELETE", "/fapi/v1/order", **one) == (400, -2011)
        assert await client.refused("GET", "/fapi/v1/order", symbol=SYMBOL, orderId=5) == (400, -2013)
        assert [row["orderId"] for row in await client.ask("GET", "/fapi/v1/allOrders", symbol=SYMBOL)] == [
            bought["orderId"],
            resting["orderId"],
        ]
        trades = await client.ask("GET", "/fapi/v1/userTrades", symbol=SYMBOL)
        fees = sum(round(float(row["commission"]) * E8) for row in trades)
        assert sum(round(float(row["qty"]) * 1000) for row in trades) == 50
        account = await client.ask("GET", "/fapi/v3/account")
        assert round(float(account["totalWalletBalance"]) * E8) == 100_000 * E8 - fees
        [position] = await client.ask("GET", "/fapi/v3/positionRisk")
        assert (position["positionAmt"], position["symbol"]) == ("0.050", SYMBOL)
        incomes = await client.ask("GET", "/fapi/v1/income", incomeType="COMMISSION")
        assert sum(round(float(row["income"]) * E8) for row in incomes) == -fees
        told = await heard(stream)
        steps = [(e["o"]["x"], e["o"]["X"]) for e in told if e["e"] == "ORDER_TRADE_UPDATE"]
        assert steps[0] == ("NEW", "NEW")
        assert steps[-3:] == [("NEW", "NEW"), ("AMENDMENT", "NEW"), ("CANCELED", "CANCELED")]
        assert [e["t"] for e in told if e["e"] == "TRADE_LITE"] == [row["id"] for row in trades]
        wallets = [e["a"]["B"][0]["wb"] for e in told if e["e"] == "ACCOUNT_UPDATE"]
        assert wallets[-1] == account["totalWalletBalance"]

    act(scenario)


def test_all_orders_of_a_symbol_are_cancelled_at_once_and_by_the_countdown() -> None:
    async def scenario(client: Client) -> None:
        async def open_count() -> int:
            return len(await client.ask("GET", "/fapi/v1/openOrders", symbol=SYMBOL))

        for away in (10, 20):
            await client.order("BUY", "0.010", away)
        done = await client.ask("DELETE", "/fapi/v1/allOpenOrders", symbol=SYMBOL)
        assert (done["code"], await open_count()) == (200, 0)
        await client.order("BUY", "0.010", 10)
        answer = await client.ask("POST", "/fapi/v1/countdownCancelAll", symbol=SYMBOL, countdownTime=60_000)
        assert answer == {"symbol": SYMBOL, "countdownTime": "60000"}
        await client.ask("POST", "/fapi/v1/countdownCancelAll", symbol=SYMBOL, countdownTime=0)
        await asyncio.sleep(0.1)
        assert await open_count() == 1
        await client.ask("POST", "/fapi/v1/countdownCancelAll", symbol=SYMBOL, countdownTime=100)
        async with asyncio.timeout(5):
            while await open_count():  # noqa: ASYNC110 (over REST)
                await asyncio.sleep(0.02)

    act(scenario)


def test_conditional_orders_have_their_own_endpoints() -> None:
    async def scenario(client: Client) -> None:
        stream = await client.listen()
        terms = {
            "algoType": "CONDITIONAL",
            "type": "STOP_MARKET",
            "symbol": SYMBOL,
            "side": "SELL",
            "quantity": "0.010",
        }
        algo = await client.ask("POST", "/fapi/v1/algoOrder", **terms, triggerPrice=client.price("BUY", 100))
        assert (algo["algoStatus"], algo["orderType"]) == ("NEW", "STOP_MARKET")
        assert await client.ask("GET", "/fapi/v1/openAlgoOrders", symbol=SYMBOL) == [algo]
        assert await client.ask("GET", "/fapi/v1/algoOrder", algoId=algo["algoId"]) == algo
        gone = await client.ask("DELETE", "/fapi/v1/algoOrder", algoId=algo["algoId"])
        assert (gone["code"], await client.ask("GET", "/fapi/v1/openAlgoOrders")) == ("200", [])
        order = {key: terms[key] for key in ("type", "symbol", "side", "quantity")}
        assert await client.refused("POST", "/fapi/v1/order", **order) == (400, -4120)
        assert [e["o"]["X"] for e in await heard(stream) if e["e"] == "ALGO_UPDATE"] == ["NEW", "CANCELED"]

    act(scenario)


def test_order_limits_are_told_and_kept() -> None:
    async def scenario(client: Client) -> None:
        order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
        order["price"] = client.price("BUY", 10)
        answers = [await client.raw("POST", "/fapi/v1/order", **order) for _ in range(3)]
        assert [answer.headers["X-MBX-ORDER-COUNT-1M"] for answer in answers] == ["1", "2", "3"]
        assert answers[-1].headers["X-MBX-USED-WEIGHT-1M"] == "0", "orders cost no request weight"
        over = await client.raw("POST", "/fapi/v1/order", **order)
        assert (over.status_code, over.json()["code"]) == (429, -1015)
        assert int(over.headers["Retry-After"]) >= 1
        assert over.headers["X-MBX-ORDER-COUNT-1M"] == "3"
        weight = [
            int((await client.raw("GET", "/fapi/v1/openOrders", **given)).headers["X-MBX-USED-WEIGHT-1M"])
            for given in ({"symbol": SYMBOL}, {})
        ]
        assert weight in ([1, 41], [1, 40]), "40 for all symbols (a minute may have begun between)"

    act(scenario, private=PrivateRules(orders_per_minute=3, orders_per_10s=0))


# ---- streams


def test_streams_come_bare_or_wrapped_and_only_on_the_private_route() -> None:
    async def scenario(client: Client) -> None:
        bare, wrapped = await client.listen(), await client.listen("/private/stream")
        wrong, few = await client.listen("/public/ws"), await client.listen(events="TRADE_LITE")
        await client.order()
        first = await heard(bare)
        key = (await client.listen_key()).json()["listenKey"]
        assert await heard(wrapped) == [{"stream": key, "data": event} for event in first]
        assert await heard(wrong) == []
        assert await heard(few) == [event for event in first if event["e"] == "TRADE_LITE"]
        assert {event["e"] for event in first} == {"TRADE_LITE", "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"}

    act(scenario)


def test_listen_key_is_extended_closed_and_unknown_afterwards() -> None:
    async def scenario(client: Client) -> None:
        key = (await client.listen_key()).json()["listenKey"]
        assert (await client.listen_key()).json()["listenKey"] == key
        assert (await client.listen_key("PUT")).json() == {"listenKey": key}
        assert (await client.listen_key("DELETE")).json() == {}
        assert (await client.listen_key("PUT")).json()["code"] == -1125
        with pytest.raises(InvalidStatus):
            await connect(f"{client.venue.venue.addresses.stream_url}/private/ws?listenKey={key}")

    act(scenario)


def test_funding_comes_at_its_interval() -> None:
    async def scenario(client: Client) -> None:
        stream = await client.listen(events="ACCOUNT_UPDATE")
        await client.order("BUY", "0.100")
        paid: list[str] = []
        while len(paid) < 2:
            [event] = map(orjson.loads, await take(stream, 1))
            if event["a"]["m"] == "FUNDING_FEE":
                paid.append(event["a"]["B"][0]["bc"])
        rows = await client.ask("GET", "/fapi/v1/income", incomeType="FUNDING_FEE")
        assert [row["income"] for row in rows][:2] == paid
        assert all(float(amount) < 0 for amount in paid)

    act(scenario, private=PrivateRules(funding_interval_s=0.5))


# ---- what goes wrong


def test_timed_out_order_was_accepted_or_not_as_the_fault_says() -> None:
    async def scenario(client: Client) -> None:
        for accepted in (1, 0):
            await client.fire("order_timeout", accepted=accepted)
            terms = {
                "symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010",
                "price": client.price("BUY", 10), "newClientOrderId": f"lost{accepted}",
            }  # fmt: skip
            order = signed("POST", "/fapi/v1/order", terms, now_ns() // 1_000_000)
            headers = {"X-MBX-APIKEY": PAPER_KEY}
            with pytest.raises(httpx.ReadTimeout):
                await client.venue.rest.post(f"{order.path}?{order.query}", headers=headers, timeout=0.4)
        one = {"symbol": SYMBOL, "origClientOrderId": "lost1"}
        assert (await client.ask("GET", "/fapi/v1/order", **one))["status"] == "NEW"
        assert await client.refused("GET", "/fapi/v1/order", **(one | {"origClientOrderId": "lost0"})) == (400, -2013)
        await client.fire("order_timeout", status=503, method="DELETE")
        assert await client.refused("DELETE", "/fapi/v1/order", **one) == (503, -1000)
        assert (await client.ask("GET", "/fapi/v1/order", **one))["status"] == "CANCELED"
        await client.fire("order_timeout", seconds=0.1)
        order_now = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "0.010"}
        assert await client.refused("POST", "/fapi/v1/order", **order_now) == (408, -1007)

    act(scenario)


async def which_first(client: Client, stream: ClientConnection) -> list[str]:
    """Which of an order's answer and its first event comes first."""
    order: list[str] = []

    async def answer() -> None:
        await client.order("BUY", "0.010", 20)
        order.append("answer")

    async def event() -> None:
        await take(stream, 1)
        order.append("event")

    await asyncio.gather(event(), answer())
    return order


def test_report_comes_before_the_answer_when_asked_to() -> None:
    async def scenario(client: Client) -> None:
        stream = await client.listen()
        await client.fire("report_first", seconds=0.3)
        assert await which_first(client, stream) == ["event", "answer"]

    act(scenario)


def test_report_is_repeated_and_orders_are_refused_in_a_burst() -> None:
    async def scenario(client: Client) -> None:
        stream = await client.listen(events="ORDER_TRADE_UPDATE")
        await client.fire("report_twice")
        await client.order("BUY", "0.010", 20)
        first, again = await heard(stream)
        assert first == again
        await client.fire("reject_burst", count=2)
        terms = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "0.010"}
        for _ in range(2):
            assert await client.refused("POST", "/fapi/v1/order", **terms) == (503, -1008)
        await client.fire("reject_burst", count=1, error=2010)
        assert await client.refused("POST", "/fapi/v1/order", **terms) == (400, -2010)
        await client.order()

    act(scenario)


def test_clock_that_is_off_is_seen_in_the_time_and_refuses_signatures() -> None:
    async def scenario(client: Client) -> None:
        await client.fire("clock_skew", seconds=0.5, skew=20)
        assert await client.refused("GET", "/fapi/v1/openOrders") == (400, -1021)
        told_ms = (await client.venue.rest.get("/fapi/v1/time")).json()["serverTime"]
        assert 19_000 < told_ms - now_ns() // 1_000_000 < 21_000
        assert (await client.raw("GET", "/fapi/v1/openOrders", at_ms=told_ms)).status_code == 200
        await asyncio.sleep(0.6)
        assert await client.ask("GET", "/fapi/v1/openOrders") == []

    act(scenario)


def test_listen_key_that_expires_says_so_and_is_silent_then() -> None:
    async def scenario(client: Client) -> None:
        stream = await client.listen()
        await client.fire("listen_key_expired")
        await client.order()
        assert [event["e"] for event in await heard(stream)] == ["listenKeyExpired"]
        again = await client.listen()
        await client.order()
        assert await heard(again)

    act(scenario)


def test_orders_and_positions_survive_a_restart_of_the_venue() -> None:
    async def scenario(client: Client) -> None:
        stream = await client.listen()
        await client.order("BUY", "0.050")
        resting = await client.order("BUY", "0.010", 50)
        before = await client.ask("GET", "/fapi/v3/positionRisk")
        await client.fire("venue_restart", seconds=0.4)
        await asyncio.wait_for(stream.wait_closed(), 5)
        assert await client.refused("GET", "/fapi/v1/openOrders") == (503, -1001)
        with pytest.raises(InvalidStatus):
            await client.venue.dial()
        await asyncio.sleep(0.5)
        assert [row["orderId"] for row in await client.ask("GET", "/fapi/v1/openOrders")] == [resting["orderId"]]
        assert await client.ask("GET", "/fapi/v3/positionRisk") == before

    act(scenario)


def test_latency_delays_the_order_and_its_answer_and_a_late_order_is_refused() -> None:
    async def scenario(client: Client) -> None:
        begun_ns = now_ns()
        sent = asyncio.create_task(client.order("BUY", "0.010", 10))
        await asyncio.sleep(0.1)
        assert not client.half.desk.orders, "it has not reached the market"
        await sent
        assert now_ns() - begun_ns >= 350_000_000
        order = {"symbol": SYMBOL, "side": "BUY", "type": "MARKET", "quantity": "0.010", "recvWindow": 100}
        assert await client.refused("POST", "/fapi/v1/order", **order) == (400, -5028)

    act(scenario, private=PrivateRules(request_latency_s=0.2, report_latency_s=0.15, jitter_s=0.01))


# ---- on a market that moves


@pytest.mark.recording
@pytest.mark.parametrize("kind", ["synthetic", "recording"])
def test_resting_orders_are_filled_while_the_market_is_played(kind: str) -> None:
    """The best price on both sides, renewed until both were filled: by flow or tape, never over, books balanced."""
    given: dict[str, Any] = {"speed": 20.0, "start_grace_s": 0.1, "rendezvous_s": 1.0}
    if kind == "recording":
        given |= {"synthetic": None, "recordings": (Path(recording("usdm_btcusdt_20240808.gz")),)}

    async def scenario(client: Client) -> None:
        public = await client.venue.dial(streams=["btcusdt@trade", "btcusdt@bookTicker", "btcusdt@depth@0ms"])
        listening = asyncio.create_task(drain(public, 5.0))
        await client.venue.depth()
        stream = await client.listen(events="ORDER_TRADE_UPDATE")
        filled = {"BUY": 0.0, "SELL": 0.0}
        while min(filled.values()) < 0.02:
            for side in filled:
                answer = await client.raw(
                    "POST", "/fapi/v1/order", symbol=SYMBOL, side=side, type="LIMIT", timeInForce="GTX",
                    quantity="0.020", price=client.price(side, 0),
                )  # fmt: skip
                assert answer.status_code == 200, answer.text
            events = await heard(stream, 0.2)
            await client.ask("DELETE", "/fapi/v1/allOpenOrders", symbol=SYMBOL)
            for event in events:
                if event["o"]["x"] == "TRADE":
                    assert event["o"]["m"] is True
                    filled[event["o"]["S"]] += float(event["o"]["l"])
        await heard(stream)
        account = client.half.desk.accounts[1]
        trades = client.half.desk.trades[1]
        assert account.wallet_e8 - 100_000 * E8 == sum(trade.realised_e8 - trade.fee_e8 for trade in trades)
        assert all(order.executed_e8 <= order.quantity_e8 for order in client.half.desk.orders.values())
        listening.cancel()

    act(scenario, timeout_s=60.0, **given)
