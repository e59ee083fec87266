"""The gateway against a scripted venue on loopback: what it sends, when, and what it writes down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.binance_usdm.private_wire import PrivateWire
from connectors.binance_usdm.private_words import NEVER_LEFT, NOT_SENT, PRIVATE_CONNECTION, STREAM_CONNECTION
from connectors.credentials import Credentials
from connectors.emergency import cancel_all, executed, flatten
from connectors.gateway import Gateway, GatewayOptions
from connectors.lease import FileLease
from connectors.private_rest import PrivateRest
from connectors.reconciliation import Difference, VenueState
from connectors.session import SessionOptions
from connectors.signing import HmacSigner
from processors.api import Batch, Outputs
from schemas.declare import Heap, Rows
from schemas.errors import ConfigInvalid, Fenced, InputInvalid, ResourceExhausted, WatchdogExpired
from schemas.events import FrameKind, Side
from schemas.instruments import instrument_id
from schemas.trading import (
    ORDER_COMMAND,
    CommandKind,
    DifferenceKind,
    OrderFlag,
    OrderKind,
    ReportKind,
    Resolution,
    client_id_of,
    order_id_from,
)
from streams.clock import SYSTEM_CLOCK
from tests.unit.private_venue import DROP, HANG, KEY, SECRET, PrivateVenue, private_venue, refused

E8, MS, S = 10**8, 1_000_000, 1_000_000_000
BTC = instrument_id("binance_usdm:BTCUSDT")
KEYS = Credentials(KEY, HmacSigner(SECRET), "test")
K = ReportKind
FAST = GatewayOptions(
    answer_timeout_s=0.4, countdown_s=0, retry_base_s=0.01, retry_ceiling_s=0.05,
    session=SessionOptions(backoff_base_s=0.01, backoff_ceiling_s=0.05, overlap_s=0.01, first_data_s=1.0),
)  # fmt: skip


@dataclass
class Log:
    """Raw rows as they were handed over: (kind, connection, status, request, payload)."""

    rows: list[tuple[FrameKind, int, int, str, bytes]] = field(default_factory=list)
    batches: list[tuple[Rows, Heap]] = field(default_factory=list)
    full: bool = False

    def __call__(self, rows: Rows, heap: Heap) -> None:
        if self.full:
            raise ResourceExhausted("The disk is full.")
        self.batches.append((rows, heap))
        data = heap.tobytes()
        for row in rows:
            payload = data[int(row["payload_at"]) :][: int(row["payload_size"])]
            request = data[int(row["request_at"]) :][: int(row["request_size"])].decode()
            self.rows.append((FrameKind(row["kind"]), int(row["connection"]), int(row["status"]), request, payload))

    def of(self, kind: FrameKind, prefix: str = "") -> list[tuple[str, int, bytes]]:
        return [(row[3], row[2], row[4]) for row in self.rows if row[0] is kind and row[3].startswith(prefix)]

    def reports(self) -> list[tuple[ReportKind, int, int]]:
        """What the rule makes of it: (report, order id, code)."""
        rule, out = PrivateWire(), Outputs(PrivateWire.outputs)
        state, number = rule.initial_state(), 1
        for rows, heap in self.batches:
            rule.on_batch(state, Batch(0, out.origin, number, rows, heap), out)
            number += len(rows)
        assert out.dead == []
        found = [row for emitted in out.emitted if emitted.output == 0 for row in emitted.rows]
        return [(ReportKind(row["report"]), int(row["order_id"]), int(row["code"])) for row in found]


@dataclass
class HeldLease:
    """Remembers; fenced on demand."""

    until_ns: list[int] = field(default_factory=list)
    fenced: bool = False

    def hold_until(self, until_ns: int) -> None:
        if self.fenced:
            raise Fenced("another gateway")
        self.until_ns.append(until_ns)


def command(order_id: int = 1, wanted: CommandKind = CommandKind.SUBMIT, **columns: Any) -> Rows:
    rows = ORDER_COMMAND.empty(1)
    values: dict[str, Any] = {
        "order_id": order_id, "command": wanted, "instrument": BTC, "price_e8": 60000 * E8, "quantity_e8": E8 // 100,
        "kind": OrderKind.LIMIT, "side": Side.BUY, "ts_recv_ns": SYSTEM_CLOCK.now_ns(),
    }  # fmt: skip
    for name, value in (values | columns).items():
        rows[name] = value
    return rows


class Bench:
    """A gateway at work."""

    def __init__(self, venue: PrivateVenue, options: GatewayOptions = FAST, **others: Any) -> None:
        self.venue, self.log, self.lease = venue, Log(), HeldLease()
        self.queue: asyncio.Queue[Rows | None] = asyncio.Queue()
        self.gateway = Gateway(
            venue.exchange, others.pop("keys", KEYS), ["BTCUSDT"], self.log, self._commands(), self.lease,
            options=options, **others,
        )  # fmt: skip
        self.running = asyncio.ensure_future(self.gateway.run())

    async def _commands(self) -> AsyncIterator[Rows]:
        while (rows := await self.queue.get()) is not None:
            yield rows

    def send(self, *rows: Rows) -> None:
        self.queue.put_nowait(np.concatenate(rows))

    async def until(self, met: Callable[[], object], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not met():
                if self.running.done():
                    self.running.result()
                    raise AssertionError("the gateway ended")
                await asyncio.sleep(0.002)

    async def ready(self) -> None:
        await self.until(lambda: self.gateway.status.ready)

    async def end(self) -> None:
        self.gateway.stop()
        await asyncio.wait_for(self.running, 5)


def played(play: Callable[[PrivateVenue], Awaitable[None]]) -> None:
    async def main() -> None:
        async with private_venue() as venue:
            await play(venue)

    asyncio.run(main())


def test_state_of_the_venue_is_read_before_the_first_order_and_attempts_are_written_before_they_are_sent() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        written: list[bool] = []

        def before(method: str, path: str) -> None:
            last = [row[4].decode() for row in bench.log.rows if row[0] is FrameKind.SENT][-1]
            written.append(last.startswith(f"{method} {path}"))

        venue.before = before
        bench.send(command(1))
        await bench.until(lambda: venue.orders)
        await bench.until(lambda: bench.log.of(FrameKind.REST, "POST /fapi/v1/order"))
        await bench.end()
        lines = venue.lines()
        order_at = lines.index("POST /fapi/v1/order")
        first = ["GET /fapi/v1/time", "GET /sapi/v1/account/apiRestrictions", "GET /fapi/v1/exchangeInfo"]
        assert lines[:4] == [*first, "POST /fapi/v1/listenKey"]
        state = ["openOrders", "openAlgoOrders", "positionRisk", "balance", "account", "income", "userTrades"]
        assert [line.rpartition("/")[2] for line in lines[4:order_at]] == state
        assert written == [True] * len(lines)
        sent = [row[4] for row in bench.log.rows if row[0] is FrameKind.SENT and b"newClientOrderId" in row[4]]
        assert len(sent) == 1
        assert sent[0].startswith(b"POST /fapi/v1/order?symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&price=60000")
        assert bench.log.reports() == [(K.SENT, 1, 0), (K.ACKNOWLEDGED, 1, 0)]

    played(play)


def test_no_row_and_no_log_line_holds_a_key_a_signature_or_a_listen_key(caplog: pytest.LogCaptureFixture) -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        bench.send(command(1))
        await bench.until(lambda: venue.orders)
        await venue.cut()
        await bench.until(lambda: len(venue.keys) > 1 and bench.gateway.status.ready)
        await bench.end()
        ours = [record.getMessage() for record in caplog.records if record.name != "websockets.server"]
        everything = b"".join(row[4] + row[3].encode() for row in bench.log.rows) + "".join(ours).encode()
        assert venue.keys[0] == "listen-key-1"
        for secret in (KEY, SECRET, "listen-key-", "signature"):
            assert secret.encode() not in everything
        signed = [params["signature"] for _, _, params in venue.seen if "signature" in params]
        assert not any(signature.encode() in everything for signature in signed)

    caplog.set_level(logging.DEBUG)
    played(play)


def test_stale_killed_malformed_and_unlisted_commands_are_refused_with_a_row_and_cancels_still_go() -> None:
    async def play(venue: PrivateVenue) -> None:
        killed: list[int] = []
        bench = Bench(venue, refusal=lambda row: "killed" if int(row["order_id"]) in killed else "")
        await bench.ready()
        bench.send(command(1))
        await bench.until(lambda: venue.orders)
        killed += [1, 2]
        past_ns = SYSTEM_CLOCK.now_ns() - S
        bench.send(
            command(2),
            command(1, CommandKind.AMEND),
            command(3, valid_until_ns=past_ns),
            command(4, price_e8=60000 * E8 + 1),
            command(5, instrument=12345),
            command(6, flags=OrderFlag.POST_ONLY, kind=OrderKind.MARKET),
        )
        await bench.until(lambda: bench.gateway.status.refused == 6)
        bench.send(command(1, CommandKind.CANCEL, valid_until_ns=past_ns))
        await bench.until(lambda: not venue.orders and bench.log.of(FrameKind.REST, "DELETE"))
        await bench.end()
        why = {request.split()[2]: payload for request, status, payload in bench.log.of(FrameKind.NO_ANSWER)}
        assert {status for _, status, _ in bench.log.of(FrameKind.NO_ANSWER)} == {NOT_SENT}
        assert why == {
            client_id_of(1): b"not sent: killed",
            client_id_of(2): b"not sent: killed",
            client_id_of(3): b"not sent: past its valid_until_ns",
            client_id_of(4): b"not sent: -4014: the price is off the ticks of 0.1",
            client_id_of(5): b"not sent: the venue does not list its instrument",
            client_id_of(6): b"not sent: A market order cannot be post-only: it takes by nature.",
        }
        reports = [report for report in bench.log.reports() if report[2] == NOT_SENT]
        assert sorted(reports) == sorted(
            [(K.AMEND_REJECTED, 1, -1), *((K.REJECTED, order_id, -1) for order_id in (2, 3, 4, 5, 6))]
        )
        assert venue.lines("POST").count("POST /fapi/v1/order") == 1

    played(play)


@pytest.mark.parametrize("fault", [HANG, DROP], ids=["hang", "drop"])
def test_order_without_an_answer_is_unknown_and_is_not_sent_again(fault: tuple[int, None]) -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        venue.answers["POST /fapi/v1/order"] = lambda params: fault
        bench.send(command(1))
        await bench.until(lambda: bench.log.of(FrameKind.NO_ANSWER))
        bench.send(command(1, CommandKind.QUERY))
        await bench.until(lambda: bench.log.of(FrameKind.REST, "GET /fapi/v1/order"))
        await bench.end()
        assert bench.log.reports() == [(K.SENT, 1, 0), (K.UNKNOWN, 1, 0), (K.UNKNOWN, 1, -2013)]
        assert venue.lines().count("POST /fapi/v1/order") == 1
        assert bench.gateway.rest.unsettled_until_ns > SYSTEM_CLOCK.now_ns()

    played(play)


def test_order_is_proven_absent_by_a_query_after_its_validity() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        venue.answers["POST /fapi/v1/order"] = lambda params: HANG
        bench.send(command(1, valid_until_ns=SYSTEM_CLOCK.now_ns() + 50 * MS))
        await bench.until(lambda: bench.log.of(FrameKind.NO_ANSWER))
        (sent,) = [params for method, path, params in venue.seen if (method, path) == ("POST", "/fapi/v1/order")]
        assert int(sent["recvWindow"]) <= 50  # the venue itself refuses it once it is stale
        venue.skew_ms = bench.gateway.rest.offset_ms = 3000
        bench.send(command(1, CommandKind.QUERY))
        await bench.until(lambda: bench.log.of(FrameKind.REST, "GET /fapi/v1/order"))
        await bench.end()
        assert bench.log.reports()[-1] == (K.ABSENT, 1, -2013)

    played(play)


def test_clock_that_is_off_is_measured_and_the_next_order_goes() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        venue.skew_ms = 20_000
        bench.send(command(1))
        await bench.until(lambda: bench.log.of(FrameKind.REST, "POST /fapi/v1/order"))
        bench.send(command(2))
        await bench.until(lambda: venue.orders)
        await bench.until(lambda: len(bench.log.of(FrameKind.REST, "POST /fapi/v1/order")) == 2)
        await bench.end()
        assert abs(bench.gateway.rest.offset_ms - 20_000) < 200
        assert bench.log.reports() == [
            (K.SENT, 1, 0), (K.REJECTED, 1, -1021), (K.SENT, 2, 0), (K.ACKNOWLEDGED, 2, 0),
        ]  # fmt: skip

    played(play)


def test_orders_wait_while_the_user_stream_is_cut_until_the_state_was_read_again() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        venue.answers["POST /fapi/v1/listenKey"] = lambda params: refused(-1000, "no", 500)
        await venue.cut()
        await bench.until(lambda: not bench.gateway.status.ready)
        before = len(venue.seen)
        bench.send(command(1), command(2, valid_until_ns=SYSTEM_CLOCK.now_ns() + 60 * MS))
        await bench.until(lambda: bench.gateway.status.refused == 1)  # the one that grew stale while waiting
        assert "POST /fapi/v1/order" not in venue.lines()[before:]
        del venue.answers["POST /fapi/v1/listenKey"]
        await bench.until(lambda: venue.orders)
        await bench.end()
        later = venue.lines()[before:]
        assert later.index("GET /fapi/v1/userTrades") < later.index("POST /fapi/v1/order")
        assert bench.gateway.status.reconciliations == 2

    played(play)


def test_expired_listen_key_is_replaced_and_the_state_read_again() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        await venue.say({"e": "listenKeyExpired", "E": 1, "listenKey": "listen-key-1"})
        await bench.until(lambda: [key for key, _ in venue.sockets] == ["listen-key-2"])
        await bench.until(lambda: bench.gateway.status.reconciliations == 2 and bench.gateway.status.ready)
        await venue.say({"e": "TRADE_LITE"})
        await bench.until(lambda: any(b"TRADE_LITE" in row[4] for row in bench.log.rows))
        await bench.end()
        texts = [row for row in bench.log.rows if row[0] is FrameKind.TEXT]
        assert {row[1] for row in texts} == {STREAM_CONNECTION}

    played(play)


def test_listen_key_is_kept_alive_and_replaced_when_the_venue_forgot_it() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue, replace(FAST, listen_key_renew_s=0.05))
        await bench.ready()
        await bench.until(lambda: venue.lines("PUT").count("PUT /fapi/v1/listenKey") >= 2)
        assert len(venue.keys) == 1
        venue.answers["PUT /fapi/v1/listenKey"] = lambda params: refused(-1125, "This listenKey does not exist.")
        await bench.until(lambda: len(venue.keys) > 1)
        await bench.end()

    played(play)


def test_countdown_is_renewed_while_the_gateway_lives() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue, replace(FAST, countdown_s=0.15))
        await bench.until(lambda: venue.lines().count("POST /fapi/v1/countdownCancelAll") >= 3)
        await bench.end()
        asked = [params for _, path, params in venue.seen if path == "/fapi/v1/countdownCancelAll"]
        assert {(params["symbol"], params["countdownTime"]) for params in asked} == {("BTCUSDT", "150")}

    played(play)


def test_cancel_goes_while_new_orders_wait_for_the_budget_and_ends_what_was_not_sent() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        bench.send(command(1))
        await bench.until(lambda: venue.orders)
        budget = bench.gateway.rest.budget
        for window in budget.windows:
            if window.orders:
                window.window_ns, window.limit = 3600 * S, 3
                window.roll(SYSTEM_CLOCK.now_ns())
                window.used = 3
        bench.send(command(2), command(3), command(1, CommandKind.CANCEL), command(3, CommandKind.CANCEL))
        await bench.until(lambda: not venue.orders)
        await bench.until(lambda: bench.gateway.status.waiting == 1)
        await bench.until(lambda: bench.gateway.status.refused == 2)
        await bench.end()
        assert venue.lines().count("POST /fapi/v1/order") == 1
        refusals = [report for report in bench.log.reports() if report[2] == NOT_SENT]
        assert refusals == [(K.REJECTED, 3, -1), (K.CANCEL_REJECTED, 3, -1)]

    played(play)


def test_next_request_of_an_order_waits_for_the_answer_to_the_one_before() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        venue.answers["POST /fapi/v1/order"] = lambda params: HANG
        bench.send(command(1), command(1, CommandKind.QUERY))
        bench.send(command(2, CommandKind.QUERY))  # another order's need not wait
        await bench.until(lambda: len(bench.log.of(FrameKind.REST, "GET /fapi/v1/order ")) == 2)
        await bench.end()
        mine = [(row[0], row[3]) for row in bench.log.rows if " /fapi/v1/order " in row[3]]
        post, get, other = (
            f"POST /fapi/v1/order {client_id_of(1)}", *(f"GET /fapi/v1/order {client_id_of(n)}" for n in (1, 2))
        )  # fmt: skip
        one = [found for found in mine if found[1] != other]
        assert one == [
            (FrameKind.SENT, post), (FrameKind.NO_ANSWER, post), (FrameKind.SENT, get), (FrameKind.REST, get),
        ]  # fmt: skip
        assert mine.index((FrameKind.REST, other)) < mine.index((FrameKind.NO_ANSWER, post))

    played(play)


def test_cancel_of_a_conditional_order_that_was_triggered_cancels_what_it_became() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        client = client_id_of(1)
        became = resting("BTCUSDT", "made-by-the-venue") | {"orderId": 777, "status": "CANCELED", "executedQty": "0"}
        algo = {
            "algoId": 33, "clientAlgoId": client, "symbol": "BTCUSDT", "side": "BUY", "algoStatus": "TRIGGERED",
            "quantity": "1", "price": "1", "actualOrderId": "777",
        }  # fmt: skip
        venue.answers["DELETE /fapi/v1/algoOrder"] = lambda params: refused(-2011, "Unknown order sent.")
        venue.answers["GET /fapi/v1/algoOrder"] = lambda params: (200, algo)
        venue.answers["DELETE /fapi/v1/order"] = lambda params: (200, became)
        bench.send(command(1, CommandKind.CANCEL, kind=OrderKind.STOP_LIMIT))
        await bench.until(lambda: bench.log.of(FrameKind.REST, "DELETE /fapi/v1/order #777"))
        await bench.end()
        assert [params["orderId"] for _, path, params in venue.seen if path == "/fapi/v1/order"] == ["777"]
        told = [(K.CANCEL_REJECTED, 1, -2011), (K.STATUS, 1, 0), (K.CANCELLED, 1, 0)]
        assert bench.log.reports() == told

    played(play)


def test_lease_reaches_beyond_every_attempt_and_a_fenced_gateway_sends_nothing() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        now_ns = SYSTEM_CLOCK.now_ns()
        bench.send(command(1))
        await bench.until(lambda: venue.orders)
        assert bench.lease.until_ns[-1] >= now_ns + 6 * S
        bench.lease.fenced = True
        bench.send(command(2))
        with pytest.raises(Fenced):
            await asyncio.wait_for(bench.running, 5)
        assert venue.lines().count("POST /fapi/v1/order") == 1

    played(play)


def test_order_that_cannot_be_written_down_is_not_sent() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        await bench.ready()
        bench.log.full = True
        bench.send(command(1))
        with pytest.raises(ResourceExhausted):
            await asyncio.wait_for(bench.running, 5)
        assert "POST /fapi/v1/order" not in venue.lines()

    played(play)


def test_fills_of_the_time_when_nobody_listened_are_told_to_be_ours() -> None:
    async def play(venue: PrivateVenue) -> None:
        mine = client_id_of(77)
        venue.trades = [
            {
                "symbol": "BTCUSDT", "id": 5, "orderId": 900, "side": "BUY", "price": "60000", "qty": "0.010",
                "commission": "0.1", "commissionAsset": "USDT", "maker": False, "time": venue.now_ms(),
            }
        ]  # fmt: skip
        venue.answers["GET /fapi/v1/order"] = lambda params: (
            200,
            {
                "clientOrderId": mine, "orderId": int(params["orderId"]), "symbol": "BTCUSDT", "side": "BUY",
                "status": "FILLED", "price": "0", "origQty": "0.010", "executedQty": "0.010",
            },
        )  # fmt: skip
        since_ns = SYSTEM_CLOCK.now_ns() - 3600 * S
        bench = Bench(venue, since_ns=since_ns)
        await bench.ready()
        await bench.end()
        asked = [params for _, path, params in venue.seen if path == "/fapi/v1/userTrades"]
        assert [params["startTime"] for params in asked] == [str(since_ns // MS - 60_000)] * 2
        assert bench.log.reports() == [(K.STATUS, 77, 0), (K.FILL, 77, 0)]

    played(play)


def test_material_difference_halts_until_somebody_resumes() -> None:
    async def play(venue: PrivateVenue) -> None:
        venue.positions = {"BTCUSDT": 0.5}
        venue.orders = {
            "web_1": {
                "clientOrderId": "web_1", "orderId": 4, "symbol": "BTCUSDT", "side": "BUY", "status": "NEW",
                "price": "1", "origQty": "1", "executedQty": "0",
            }
        }  # fmt: skip
        found: list[VenueState] = []

        def compare(state: VenueState) -> list[Difference]:
            found.append(state)
            venue_e8 = state.positions_e8.get(BTC, 0)
            return [Difference(DifferenceKind.POSITION, BTC, 0, venue_e8, Resolution.HALTED, "somebody must look")]

        bench = Bench(venue, compare=compare)
        await bench.ready()
        bench.send(command(1))
        await bench.until(lambda: bench.gateway.status.refused == 1)
        assert bench.gateway.status.halted == "we and the venue differ: somebody must look"
        bench.gateway.resume()
        bench.send(command(2))
        await bench.until(lambda: client_id_of(2) in venue.orders)
        await bench.end()
        assert found[0].positions_e8 == {BTC: E8 // 2}
        assert [(order.order_id, order.client_id) for order in found[0].orders] == [(0, "web_1")]
        assert found[0].balances_e8 == {instrument_id("USDT"): 1000 * E8}

    played(play)


def test_commands_that_end_end_the_gateway_when_all_are_carried_out() -> None:
    async def play(venue: PrivateVenue) -> None:
        bench = Bench(venue)
        bench.send(command(1), command(2))
        bench.queue.put_nowait(None)
        await asyncio.wait_for(bench.running, 5)
        assert set(venue.orders) == {client_id_of(1), client_id_of(2)}

    played(play)


# --- who may trade at all


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((200, {"enableWithdrawals": True, "enableFutures": True}), "may withdraw"),
        ((200, {"enableWithdrawals": False, "enableFutures": False}), "may not trade futures"),
    ],
)
def test_keys_that_may_do_the_wrong_things_are_refused_and_nothing_is_sent(
    answer: tuple[int, dict[str, bool]], sentence: str
) -> None:
    async def play(venue: PrivateVenue) -> None:
        venue.answers["GET /sapi/v1/account/apiRestrictions"] = lambda params: answer
        bench = Bench(venue)
        bench.send(command(1))
        with pytest.raises(ConfigInvalid, match=sentence):
            await asyncio.wait_for(bench.running, 5)
        assert venue.lines() == ["GET /fapi/v1/time", "GET /sapi/v1/account/apiRestrictions"]

    played(play)


def test_wrong_keys_are_refused_with_a_sentence() -> None:
    async def play(venue: PrivateVenue) -> None:
        for keys in (Credentials("other", HmacSigner(SECRET)), Credentials(KEY, HmacSigner("other"))):
            with pytest.raises(ConfigInvalid, match="does not accept these keys"):
                await asyncio.wait_for(Bench(venue, keys=keys).running, 5)

    played(play)


def test_account_in_hedge_mode_is_refused() -> None:
    async def play(venue: PrivateVenue) -> None:
        rows = [{"symbol": "BTCUSDT", "positionAmt": "1", "positionSide": "LONG"}]
        venue.answers["GET /fapi/v3/positionRisk"] = lambda params: (200, rows)
        with pytest.raises(ConfigInvalid, match="hedge mode"):
            await asyncio.wait_for(Bench(venue).running, 5)

    played(play)


def test_real_money_needs_the_live_flag() -> None:
    async def play(venue: PrivateVenue) -> None:
        real = venue.exchange.at(rest_url="https://fapi.example.com")
        with pytest.raises(ConfigInvalid, match="real money"):
            Gateway(real, KEYS, ["BTCUSDT"], Log(), Bench._commands(None), HeldLease())  # type: ignore[arg-type]
        test_net = venue.exchange.at(rest_url="https://testnet.binancefuture.com")
        for exchange, options in ((real, replace(FAST, live=True)), (test_net, FAST)):
            gateway = Gateway(
                exchange, KEYS, ["BTCUSDT"], Log(), Bench._commands(None), HeldLease(), options=options  # type: ignore[arg-type]
            )  # fmt: skip
            await gateway.rest.close()

    played(play)


# --- out of the market


def rest_of(venue: PrivateVenue, log: Log) -> PrivateRest:
    return PrivateRest(venue.exchange, KEYS, log, lease=HeldLease(), timeout_s=0.3)


def resting(symbol: str, name: str) -> dict[str, Any]:
    return {
        "clientOrderId": name,
        "orderId": 1,
        "symbol": symbol,
        "side": "BUY",
        "status": "NEW",
        "price": "1",
        "origQty": "1",
    }


def test_cancel_all_needs_only_venue_and_keys_and_measures_itself() -> None:
    async def play(venue: PrivateVenue) -> None:
        venue.orders = {"a": resting("BTCUSDT", "a"), "b": resting("ETHUSDT", "b")}
        rest = rest_of(venue, Log())
        before_ns = SYSTEM_CLOCK.monotonic_ns()
        done = await cancel_all(rest, ["BTCUSDT"])
        took_ns = SYSTEM_CLOCK.monotonic_ns() - before_ns
        await rest.close()
        assert venue.orders == {}
        assert done.orders == 1  # the other was gone before the first look
        assert 0 < done.took_ns <= took_ns
        assert venue.seen[1][1:2] == ("/fapi/v1/allOpenOrders",)  # after the clock, before any question

    played(play)


def test_flatten_closes_long_and_short_in_pieces_that_the_venue_takes() -> None:
    async def play(venue: PrivateVenue) -> None:
        venue.positions, venue.orders = {"BTCUSDT": 2.5, "ETHUSDT": -0.3}, {"a": resting("BTCUSDT", "a")}
        log = Log()
        rest = rest_of(venue, log)
        done = await flatten(rest, ["BTCUSDT"])
        await rest.close()
        assert venue.positions == {"BTCUSDT": 0.0, "ETHUSDT": 0.0}
        assert venue.orders == {}
        assert done.positions == 2
        assert 0 < done.cancelled_ns < done.took_ns
        made = [params for method, path, params in venue.seen if (method, path) == ("POST", "/fapi/v1/order")]
        assert all(params["reduceOnly"] == "true" and params["type"] == "MARKET" for params in made)
        ids = [order_id_from(params["newClientOrderId"]) for params in made]
        assert 0 not in ids  # the orders rule adopts them
        assert len(set(ids)) == len(ids)
        bitcoin = [params["quantity"] for params in made if params["symbol"] == "BTCUSDT"]
        assert bitcoin == ["2.5", "1", "1", "0.5"]  # the first was too much

    played(play)


def test_flat_is_not_said_before_earlier_attempts_are_past_their_validity() -> None:
    async def play(venue: PrivateVenue) -> None:
        rest = rest_of(venue, Log())
        until_ns = SYSTEM_CLOCK.now_ns() + 300 * MS

        async def late() -> None:
            await asyncio.sleep(0.15)
            venue.orders["late"] = resting("BTCUSDT", "late")
            venue.positions["BTCUSDT"] = 0.2

        arriving = asyncio.create_task(late())
        done = await flatten(rest, ["BTCUSDT"], valid_until_ns=until_ns)
        assert SYSTEM_CLOCK.now_ns() > until_ns
        await arriving
        await rest.close()
        assert (venue.orders, venue.positions) == ({}, {"BTCUSDT": 0.0})
        assert done.positions == 1

    played(play)


def test_what_a_conditional_order_became_is_counted_as_executed() -> None:
    async def play(venue: PrivateVenue) -> None:
        rest, (waits, fired, unknown) = rest_of(venue, Log()), range(1, 4)
        became = {client_id_of(waits): "", client_id_of(fired): "77"}

        def algo(params: dict[str, str]) -> Any:
            if params["clientAlgoId"] not in became:
                return refused(-2013)
            return 200, {"algoStatus": "NEW", "actualOrderId": became[params["clientAlgoId"]]}

        venue.answers["GET /fapi/v1/algoOrder"] = algo
        venue.answers["GET /fapi/v1/order"] = lambda params: (200, {"executedQty": {"77": "0.25"}[params["orderId"]]})
        found = [await executed(rest, "BTCUSDT", one, conditional=True) for one in (waits, fired, unknown)]
        await rest.close()
        assert found == [0, 25_000_000, 0]

    played(play)


def test_flatten_without_an_answer_gives_up_with_a_sentence() -> None:
    async def play(venue: PrivateVenue) -> None:
        venue.answers["GET /fapi/v1/openOrders"] = lambda params: DROP
        rest = rest_of(venue, Log())
        with pytest.raises(WatchdogExpired, match="open orders"):
            await flatten(rest, ["BTCUSDT"], timeout_s=0.2)
        await rest.close()

    played(play)


def test_request_to_a_venue_that_is_not_there_was_never_sent() -> None:
    async def play(venue: PrivateVenue) -> None:
        log = Log()
        rest = rest_of(venue, log)
        await venue.stop()
        done = asyncio.create_task(rest.measure_time())
        await done
        await rest.close()
        ((request, status, payload),) = log.of(FrameKind.NO_ANSWER)
        assert (request, status) == ("GET /fapi/v1/time", NEVER_LEFT)
        assert payload == b"not sent: no connection to the venue (ConnectError)"
        assert log.rows[0][1] == PRIVATE_CONNECTION

    played(play)


# --- the lease


def test_lease_is_taken_over_only_when_the_attempts_of_its_holder_are_past(tmp_path: Path) -> None:
    first, second = FileLease(tmp_path / "lease", "first"), FileLease(tmp_path / "lease", "second")
    assert first.acquire(100) == 0
    first.hold_until(500)
    first.hold_until(400)  # a shorter one changes nothing
    assert second.read() == ("first", 500)
    assert second.acquire(300) == 200
    assert second.acquire(500) == 0
    second.hold_until(900)
    with pytest.raises(Fenced, match="second holds the lease"):
        first.hold_until(1000)
    assert second.read() == ("second", 900)
    assert second.acquire(600) == 0  # its own


def test_file_that_is_no_lease_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lease").write_text("{}")
    with pytest.raises(InputInvalid, match="is no lease"):
        FileLease(tmp_path / "lease", "first").acquire(1)
