"""Private frames of Binance USD-M futures → reports and account updates, case by case, by value."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from connectors.binance_usdm.private_wire import PrivateWire
from connectors.binance_usdm.private_words import NEVER_LEFT, NOT_SENT, PRIVATE_CONNECTION, STREAM_CONNECTION
from connectors.capabilities import EVERY_EPOCH
from processors.api import Batch, Outputs, State
from schemas.events import DEAD_LETTER, RAW_FRAME, DeadReason, FrameKind, Side
from schemas.instruments import Venue, instrument_id
from schemas.trading import NOT_SAID, AccountEvent, OrderState, ReportKind, client_id_of
from tests.laws.stream import answer_of

E8 = 10**8
T = 1_723_161_256_322  # ms
OURS, OTHER = 0x1234_5678_9ABC, "web_abcdef"
CLIENT = client_id_of(OURS)
BTC, USDT = instrument_id("binance_usdm:BTCUSDT"), instrument_id("USDT")
Row = dict[str, Any]
REASON_AT = [field.name for field in DEAD_LETTER.fields].index("reason")
K = ReportKind


class Told:
    """A rule that is told frames one by one."""

    def __init__(self) -> None:
        self.rule = PrivateWire("binance_usdm:test")
        self.state: State = self.rule.initial_state()
        self.row = 0
        self.dead: list[Any] = []

    def frame(
        self,
        kind: FrameKind,
        payload: bytes,
        request: str = "",
        status: int = 0,
        *,
        connection: int = 0,
        epoch: int = 1,
    ) -> tuple[list[Row], list[Row]]:
        """Reports and account updates of one frame, columns that are 0 or empty left out."""
        self.row += 1
        rows = RAW_FRAME.empty(1)
        rows["ts_recv_ns"], rows["kind"], rows["venue"] = (T + self.row) * 1_000_000, kind, Venue.BINANCE_USDM
        rows["status"], rows["epoch"], rows["connection"] = status, epoch, connection or PRIVATE_CONNECTION
        rows["payload_size"], rows["request_at"], rows["request_size"] = len(payload), len(payload), len(request)
        heap = memoryview(payload + request.encode())
        out = Outputs(self.rule.outputs)
        self.rule.on_batch(self.state, Batch(0, out.origin, self.row, rows, np.frombuffer(heap, dtype=np.uint8)), out)
        answer = answer_of(self.rule, out)
        self.dead += answer.dead
        found = []
        for event, said in zip(self.rule.outputs, answer.outputs, strict=True):
            names = [field.name for field in event.fields]
            rows_said = [dict(zip(names, one.values, strict=True)) for one in said]
            for row in rows_said:
                assert row.pop("cause_row") == self.row
                assert row.pop("ts_recv_ns") == (T + self.row) * 1_000_000
                assert row.pop("account") == instrument_id("binance_usdm:test")
            found.append(
                [{name: value for name, value in row.items() if value or name == "report"} for row in rows_said]
            )
        return found[0], found[1]

    def sent(self, line: str, at_ms: int = T, window_ms: int = 5000, what: str = CLIENT) -> list[Row]:
        target = f"{line}&recvWindow={window_ms}&timestamp={at_ms}"
        request = f"{line.partition('?')[0]} {what}"
        return self.frame(FrameKind.SENT, target.encode(), request)[0]

    def submit(self, at_ms: int = T) -> list[Row]:
        return self.sent(
            f"POST /fapi/v1/order?symbol=BTCUSDT&side=SELL&type=LIMIT&quantity=1&newClientOrderId={CLIENT}", at_ms
        )

    def query(self, at_ms: int) -> list[Row]:
        return self.sent(f"GET /fapi/v1/order?symbol=BTCUSDT&origClientOrderId={CLIENT}", at_ms)

    def answer(
        self, method: str, body: object, status: int = 200, path: str = "/fapi/v1/order", what: str = CLIENT
    ) -> list[Row]:
        return self.frame(FrameKind.REST, orjson.dumps(body), f"{method} {path} {what}", status)[0]

    def stream(self, body: object) -> tuple[list[Row], list[Row]]:
        return self.frame(FrameKind.TEXT, orjson.dumps(body), connection=STREAM_CONNECTION)

    def start(self) -> list[Row]:
        return self.frame(FrameKind.CLOSE, b"start", epoch=EVERY_EPOCH)[0]


def order(**changed: object) -> Row:
    """An order object of a REST answer."""
    return {
        "clientOrderId": CLIENT, "orderId": 555, "symbol": "BTCUSDT", "side": "SELL", "status": "NEW",
        "price": "61800.10", "origQty": "1.000", "executedQty": "0.000", "updateTime": T + 3,
    } | changed  # fmt: skip


def update(**changed: object) -> Row:
    """An ORDER_TRADE_UPDATE."""
    inside = {
        "s": "BTCUSDT", "c": CLIENT, "S": "SELL", "o": "LIMIT", "f": "GTC", "q": "1", "p": "61800.1",
        "x": "NEW", "X": "NEW", "i": 555, "l": "0", "z": "0", "L": "0", "T": T + 4, "t": 0, "m": False, "er": "0",
    } | changed  # fmt: skip
    return {"e": "ORDER_TRADE_UPDATE", "E": T + 5, "T": T + 4, "o": inside}


FILL = {"x": "TRADE", "X": "PARTIALLY_FILLED", "l": "0.4", "L": "61800.12345678", "z": "0.4", "t": 9001, "m": True}
ABOUT = {"order_id": OURS, "instrument": BTC, "side": Side.SELL}
BARE = ABOUT | {"filled_e8": -1}
KNOWN = ABOUT | {"venue_order_id": 555}


def ns(ms: int) -> int:
    return ms * 1_000_000


# --- REST


def test_attempt_is_reported_before_anything_is_known() -> None:
    assert Told().submit() == [{"report": K.SENT, "ts_event_ns": ns(T)} | BARE]


def test_requests_that_are_no_new_order_report_nothing_when_sent() -> None:
    told = Told()
    assert told.query(T) == []
    assert told.sent(f"DELETE /fapi/v1/order?symbol=BTCUSDT&origClientOrderId={CLIENT}") == []
    assert told.frame(FrameKind.SENT, b"GET /fapi/v1/time?", "GET /fapi/v1/time") == ([], [])
    assert told.dead == []


def test_answers_to_our_requests_become_their_reports() -> None:
    told = Told()
    told.submit()
    terms = {"price_e8": 6180010 * E8 // 100, "quantity_e8": E8, "ts_event_ns": ns(T + 3)}
    assert told.answer("POST", order()) == [{"report": K.ACKNOWLEDGED} | KNOWN | terms]
    amended = told.answer("PUT", order(price="61801", origQty="2"))
    assert amended == [{"report": K.AMENDED} | KNOWN | terms | {"price_e8": 61801 * E8, "quantity_e8": 2 * E8}]
    assert told.answer("GET", order(status="PARTIALLY_FILLED", executedQty="0.25")) == [
        {"report": K.STATUS, "state": OrderState.PARTIALLY_FILLED, "filled_e8": E8 // 4} | KNOWN | terms
    ]
    assert told.answer("DELETE", order(status="CANCELED", executedQty="0.25")) == [
        {"report": K.CANCELLED, "filled_e8": E8 // 4} | KNOWN | terms
    ]


def test_order_that_ends_in_its_own_answer_is_acknowledged_and_expired() -> None:
    told = Told()
    told.submit()
    reports = told.answer("POST", order(status="EXPIRED"))
    assert [row["report"] for row in reports] == [K.ACKNOWLEDGED, K.EXPIRED]


@pytest.mark.parametrize(
    ("method", "report"),
    [("POST", K.REJECTED), ("PUT", K.AMEND_REJECTED), ("DELETE", K.CANCEL_REJECTED), ("GET", K.UNKNOWN)],
)
def test_refusal_keeps_code_and_words_of_the_venue(method: str, report: ReportKind) -> None:
    told = Told()
    told.submit()
    code = -2011 if method == "DELETE" else -2019
    found = told.answer(method, {"code": code, "msg": "No."}, 400)
    assert found == [{"report": report, "code": code, "text": b"No."} | BARE]


@pytest.mark.parametrize(
    ("status", "body", "report", "code"),
    [
        (400, {"code": -1007, "msg": "Timeout"}, K.UNKNOWN, -1007),
        (400, {"code": -1006, "msg": "Unexpected"}, K.UNKNOWN, -1006),
        (503, {"code": -1000, "msg": "Unknown error, please check your request or try again later."}, K.UNKNOWN, -1000),
        (503, {"code": -1008, "msg": "Request throttled"}, K.REJECTED, -1008),
        (503, {"msg": "Service Unavailable."}, K.REJECTED, 503),
        (502, "<html>", K.UNKNOWN, 502),
        (403, "<html>", K.REJECTED, 403),
        (400, {"code": 1 << 40, "msg": 5}, K.REJECTED, 400),
        (200, {"nothing": "of use"}, K.UNKNOWN, 0),
        (200, [], K.UNKNOWN, 0),
    ],
)
def test_what_cannot_be_known_is_unknown_and_never_a_dead_letter(
    status: int, body: object, report: ReportKind, code: int
) -> None:
    told = Told()
    told.submit()
    (found,) = told.answer("POST", body, status)
    assert (found["report"], found.get("code", 0), found["order_id"]) == (report, code, OURS)
    assert told.dead == []


def test_silence_is_unknown_but_what_was_never_sent_is_refused() -> None:
    told = Told()
    told.submit()
    request = f"POST /fapi/v1/order {CLIENT}"
    assert told.frame(FrameKind.NO_ANSWER, b"ReadTimeout", request)[0] == [
        {"report": K.UNKNOWN, "text": b"ReadTimeout"} | BARE
    ]
    late = b"not sent: too late"
    for method, report in (("POST", K.REJECTED), ("PUT", K.AMEND_REJECTED), ("DELETE", K.CANCEL_REJECTED)):
        found, _ = told.frame(FrameKind.NO_ANSWER, late, f"{method} /fapi/v1/order {CLIENT}", NOT_SENT)
        assert found == [{"report": report, "code": NOT_SENT, "text": late} | BARE]
    found, _ = told.frame(FrameKind.NO_ANSWER, late, request, NEVER_LEFT)
    assert found == [{"report": K.REJECTED, "code": NEVER_LEFT, "text": late} | BARE]


# --- the proof of absence


GONE = {"code": -2013, "msg": "Order does not exist."}


@pytest.mark.parametrize(("asked_ms", "report"), [(7000, K.UNKNOWN), (7001, K.ABSENT), (0, K.UNKNOWN)])
def test_order_is_absent_only_when_asked_for_after_its_validity(asked_ms: int, report: ReportKind) -> None:
    told = Told()
    told.submit()
    told.frame(FrameKind.NO_ANSWER, b"ReadTimeout", f"POST /fapi/v1/order {CLIENT}")
    told.query(T + asked_ms)
    assert told.answer("GET", GONE, 400) == [{"report": report, "code": -2013, "text": b"Order does not exist."} | BARE]


def test_the_latest_attempt_and_the_earliest_query_count() -> None:
    told = Told()
    told.submit(T)
    told.submit(T + 10_000)
    told.query(T + 9_000)
    told.query(T + 30_000)  # two at once: the answer may be to the first
    assert told.answer("GET", GONE, 400)[0]["report"] == K.UNKNOWN
    told.query(T + 30_000)
    assert told.answer("GET", GONE, 400)[0]["report"] == K.ABSENT


def test_order_without_an_attempt_is_absent_once_an_earlier_process_could_have_sent_none() -> None:
    told = Told()
    told.query(T + 10**9)
    assert told.answer("GET", GONE, 400)[0]["report"] == K.UNKNOWN  # nothing says when this process began
    told.start()  # at T + 3
    told.query(T + 3 + 62_000)
    assert told.answer("GET", GONE, 400)[0]["report"] == K.UNKNOWN
    told.query(T + 3 + 62_001)
    assert told.answer("GET", GONE, 400)[0]["report"] == K.ABSENT


def test_amend_of_an_order_that_is_not_there_is_refused_not_absent() -> None:
    told = Told()
    told.submit()
    assert told.answer("PUT", GONE, 400)[0]["report"] == K.AMEND_REJECTED


def test_requests_in_flight_when_the_process_ended_are_unknown_once() -> None:
    told = Told()
    told.submit()
    answered = client_id_of(99)
    told.sent(f"POST /fapi/v1/order?symbol=BTCUSDT&side=BUY&newClientOrderId={answered}", what=answered)
    told.answer("POST", order(clientOrderId=answered, orderId=556), what=answered)
    ended = b"the gateway ended before the answer came"
    assert told.frame(FrameKind.CLOSE, b"start", epoch=EVERY_EPOCH, connection=STREAM_CONNECTION) == ([], [])
    assert told.start() == [{"report": K.UNKNOWN, "text": ended} | BARE]
    assert told.start() == []


# --- lists


def test_open_orders_are_states_and_foreign_ones_keep_their_client_id() -> None:
    told = Told()
    terms = {"price_e8": 6180010 * E8 // 100, "quantity_e8": E8, "ts_event_ns": ns(T + 3), "state": OrderState.OPEN}
    listed = [order(), order(clientOrderId=OTHER, orderId=7)]
    assert told.answer("GET", listed, path="/fapi/v1/openOrders", what="") == [
        {"report": K.STATUS} | KNOWN | terms,
        {"report": K.STATUS, "venue_order_id": 7, "instrument": BTC, "side": 1, "text": OTHER.encode()} | terms,
    ]


def user_trade(**changed: object) -> Row:
    return {
        "symbol": "BTCUSDT", "id": 9001, "orderId": 555, "side": "SELL", "price": "61800.12345678", "qty": "0.4",
        "commission": "-0.00012345", "commissionAsset": "USDT", "maker": True, "time": T + 9,
        "realizedPnl": "-0.00000001",
    } | changed  # fmt: skip


def test_own_trades_are_fills_once_their_order_is_known_and_never_twice() -> None:
    told = Told()
    trades = [user_trade(), user_trade(), user_trade(id=9002, maker=False, commission="0.5")]
    path = "/fapi/v1/userTrades"
    assert told.answer("GET", trades, path=path, what="BTCUSDT") == []
    told.answer("GET", order(status="FILLED"), what="#555")
    fill = {"report": K.FILL, "filled_e8": -1, "price_e8": 6180012345678, "quantity_e8": 4 * E8 // 10} | KNOWN
    fill |= {"fee_asset": USDT, "ts_event_ns": ns(T + 9), "realised_e8": -1}
    assert told.answer("GET", trades, path=path, what="BTCUSDT") == [
        fill | {"trade_id": 9001, "fee_e8": -12345, "maker": 1},
        fill | {"trade_id": 9002, "fee_e8": E8 // 2},
    ]
    assert told.answer("GET", trades, path=path, what="BTCUSDT") == []
    assert told.dead == []


# --- the user stream


def test_updates_of_an_order_become_its_reports() -> None:
    told = Told()
    about = KNOWN | {"ts_event_ns": ns(T + 4)}
    terms = {"price_e8": 6180010 * E8 // 100, "quantity_e8": E8}
    assert told.stream(update())[0] == [{"report": K.ACKNOWLEDGED} | about | terms]
    assert told.stream(update(**FILL, n="0.00988", N="USDT", rp="-12.34500001"))[0] == [
        {
            "report": K.FILL, "trade_id": 9001, "price_e8": 6180012345678, "quantity_e8": 4 * E8 // 10,
            "filled_e8": 4 * E8 // 10, "fee_e8": 988000, "fee_asset": USDT, "maker": 1,
            "realised_e8": -1_234_500_001,
        }
        | about
    ]  # fmt: skip
    assert told.stream(update(x="AMENDMENT", p="61900", q="3", z="0.4"))[0] == [
        {"report": K.AMENDED, "price_e8": 61900 * E8, "quantity_e8": 3 * E8, "filled_e8": 4 * E8 // 10} | about
    ]
    assert told.stream(update(x="CANCELED", X="CANCELED", z="0.4"))[0] == [
        {"report": K.CANCELLED, "filled_e8": 4 * E8 // 10} | about | terms
    ]
    assert told.stream(update(x="EXPIRED", X="EXPIRED_IN_MATCH", er="1"))[0] == [
        {"report": K.EXPIRED, "text": b"self-trade prevention"} | about | terms
    ]


def test_fill_without_its_profit_says_so() -> None:
    told = Told()
    (fill,), _ = told.stream(update(**FILL))
    assert fill["realised_e8"] == NOT_SAID
    trade = user_trade(id=9002)
    del trade["realizedPnl"]
    (fill,) = told.answer("GET", [trade], path="/fapi/v1/userTrades", what="BTCUSDT")
    assert fill["realised_e8"] == NOT_SAID
    (fill,), _ = told.stream(update(**FILL, rp="0"))
    assert "realised_e8" not in fill  # it said 0


def test_fill_without_a_fee_has_none() -> None:
    (fill,), _ = Told().stream(update(**FILL))
    assert "fee_e8" not in fill
    assert "fee_asset" not in fill


def test_liquidation_of_the_venue_is_a_foreign_fill() -> None:
    (fill,), _ = Told().stream(update(**(FILL | {"x": "CALCULATED", "X": "FILLED"}), c="autoclose-1699"))
    assert (fill["report"], fill.get("order_id", 0), fill["text"]) == (K.FILL, 0, b"autoclose-1699")


def test_fill_of_the_stream_is_not_told_again_from_the_list_of_trades() -> None:
    told = Told()
    told.stream(update(**FILL))
    assert told.answer("GET", [user_trade()], path="/fapi/v1/userTrades", what="BTCUSDT") == []
    assert told.stream(update(**FILL))[0][0]["report"] == K.FILL  # a repeat of the stream itself is the venue's word


def test_wrapped_and_bare_events_are_the_same() -> None:
    bare, _ = Told().stream(update())
    wrapped, _ = Told().stream({"stream": "key", "data": update()})
    assert wrapped == bare


@pytest.mark.parametrize(
    "event", ["TRADE_LITE", "listenKeyExpired", "ACCOUNT_CONFIG_UPDATE", "MARGIN_CALL", "GRID_UPDATE"]
)
def test_events_that_say_nothing_new_are_left_out(event: str) -> None:
    told = Told()
    assert told.stream({"e": event, "E": T}) == ([], [])
    assert told.dead == []


def algo(state: str, **changed: object) -> Row:
    inside = {
        "caid": CLIENT, "aid": 33, "at": "CONDITIONAL", "o": "STOP", "s": "BTCUSDT", "S": "SELL", "f": "GTC", "q": "1",
        "X": state, "ai": "", "aq": "0.0", "tp": "60000", "p": "59990", "rm": "",
    } | changed  # fmt: skip
    return {"e": "ALGO_UPDATE", "T": T + 6, "E": T + 7, "o": inside}


def test_conditional_order_keeps_its_id_through_the_trigger() -> None:
    told = Told()
    about = ABOUT | {"ts_event_ns": ns(T + 6), "price_e8": 59990 * E8, "quantity_e8": E8}
    assert told.stream(algo("NEW"))[0] == [{"report": K.ACKNOWLEDGED, "venue_order_id": 33} | about]
    assert told.stream(algo("TRIGGERING"))[0] == []
    assert told.stream(algo("TRIGGERED", ai="777"))[0] == [{"report": K.TRIGGERED, "venue_order_id": 777} | about]
    (fill,), _ = told.stream(update(**FILL, c="x-made-by-the-venue", i=777))
    assert (fill["report"], fill["order_id"], fill["venue_order_id"]) == (K.FILL, OURS, 777)
    assert told.stream(algo("FINISHED", ai="777"))[0] == []
    (told_again,) = told.answer("GET", [user_trade(orderId=777, id=9002)], path="/fapi/v1/userTrades", what="BTCUSDT")
    assert told_again["order_id"] == OURS


@pytest.mark.parametrize(
    ("state", "report"), [("CANCELED", K.CANCELLED), ("EXPIRED", K.EXPIRED), ("REJECTED", K.REJECTED)]
)
def test_conditional_order_that_ends_untriggered_says_why(state: str, report: ReportKind) -> None:
    (row,), _ = Told().stream(algo(state, rm="Reduce Only reject"))
    assert (row["report"], row["text"], row["order_id"]) == (report, b"Reduce Only reject", OURS)


def test_answers_about_conditional_orders_are_understood() -> None:
    told = Told()
    line = f"POST /fapi/v1/algoOrder?symbol=BTCUSDT&side=SELL&clientAlgoId={CLIENT}"
    assert told.sent(line)[0]["report"] == K.SENT
    made = {
        "algoId": 33, "clientAlgoId": CLIENT, "symbol": "BTCUSDT", "side": "SELL", "algoStatus": "NEW", "quantity": "1",
        "price": "59990", "updateTime": T, "actualOrderId": "",
    }  # fmt: skip
    (row,) = told.answer("POST", made, path="/fapi/v1/algoOrder")
    assert (row["report"], row["venue_order_id"], row["price_e8"]) == (K.ACKNOWLEDGED, 33, 59990 * E8)
    (row,) = told.answer("GET", made, path="/fapi/v1/algoOrder")
    assert (row["report"], row["state"]) == (K.STATUS, OrderState.OPEN)
    (row,) = told.answer("DELETE", {"algoId": 33, "code": "200", "msg": "success"}, path="/fapi/v1/algoOrder")
    assert (row["report"], row["venue_order_id"]) == (K.CANCELLED, 33)
    assert (
        told.answer("GET", made | {"algoStatus": "FINISHED", "actualOrderId": "777"}, path="/fapi/v1/algoOrder") == []
    )
    (row,) = told.answer("GET", order(orderId=777, clientOrderId="other", status="FILLED"), what="#777")
    assert (row["report"], row["state"], row["order_id"]) == (K.STATUS, OrderState.FILLED, OURS)


# --- money


def account_update(reason: str, wallet: str, change: str, at_ms: int = T + 20, **changed: object) -> Row:
    account = {"m": reason, "B": [{"a": "USDT", "wb": wallet, "cw": wallet, "bc": change}], "P": []} | changed
    return {"e": "ACCOUNT_UPDATE", "E": at_ms + 1, "T": at_ms, "a": account}


def balances(amount: str, at_ms: int = T + 10) -> list[Row]:
    return [{"asset": "USDT", "balance": amount, "updateTime": at_ms}, {"asset": "BNB", "balance": "0.0"}]


def told_balances(told: Told, body: object) -> list[Row]:
    return told.frame(FrameKind.REST, orjson.dumps(body), "GET /fapi/v3/balance", 200)[1]


def test_first_balances_open_the_books_and_later_ones_only_state() -> None:
    told = Told()
    opening = {"what": AccountEvent.OPENING, "asset": USDT, "amount_e8": 100 * E8, "balance_e8": 100 * E8}
    assert told_balances(told, balances("100")) == [opening | {"ts_event_ns": ns(T + 10)}]
    later = {"what": AccountEvent.ADJUSTMENT, "asset": USDT, "balance_e8": 99 * E8, "ts_event_ns": ns(T + 30)}
    assert told_balances(told, balances("99", T + 30)) == [later]


def test_movements_count_only_after_the_opening_that_holds_them() -> None:
    told = Told()
    moved = {"asset": USDT, "balance_e8": 99 * E8, "ts_event_ns": ns(T + 20)}  # FUNDING is 0 and left out
    assert told.stream(account_update("FUNDING_FEE", "99", "-1"))[1] == [moved]
    told_balances(told, balances("99", T + 20))
    assert told.stream(account_update("FUNDING_FEE", "98", "-1", T + 20))[1] == [moved | {"balance_e8": 98 * E8}]
    assert told.stream(account_update("FUNDING_FEE", "97", "-1", T + 21))[1] == [
        {"asset": USDT, "balance_e8": 97 * E8, "amount_e8": -E8, "ts_event_ns": ns(T + 21)}
    ]


@pytest.mark.parametrize(
    ("reason", "what", "amount"),
    [
        ("FUNDING_FEE", AccountEvent.FUNDING, -E8), ("DEPOSIT", AccountEvent.TRANSFER, -E8),
        ("WITHDRAW", AccountEvent.TRANSFER, -E8), ("ADJUSTMENT", AccountEvent.ADJUSTMENT, -E8),
        ("ORDER", AccountEvent.ADJUSTMENT, 0), ("MARGIN_TYPE_CHANGE", AccountEvent.ADJUSTMENT, 0),
    ],
)  # fmt: skip
def test_each_reason_has_its_kind_and_trades_move_nothing_here(reason: str, what: AccountEvent, amount: int) -> None:
    told = Told()
    told_balances(told, balances("100"))
    ((row,),) = told.stream(account_update(reason, "99", "-1"))[1:]
    assert (row.get("what", 0), row.get("amount_e8", 0), row["balance_e8"]) == (what, amount, 99 * E8)


def test_funding_of_an_isolated_position_names_its_instrument() -> None:
    told = Told()
    told_balances(told, balances("100"))
    ((row,),) = told.stream(account_update("FUNDING_FEE", "99", "-1", P=[{"s": "BTCUSDT", "pa": "1"}]))[1:]
    assert row["instrument"] == BTC


def funding(*paid: tuple[int, str, str]) -> list[Row]:
    """Rows of GET /fapi/v1/income: time, symbol, amount."""
    return [
        {"incomeType": "FUNDING_FEE", "asset": "USDT", "time": at_ms, "symbol": symbol, "income": amount, "tranId": 9}
        for at_ms, symbol, amount in paid
    ]


def told_funding(told: Told, *paid: tuple[int, str, str]) -> list[tuple[int, int]]:
    """What it moves: amounts, and the instrument or 0."""
    rows = told.frame(FrameKind.REST, orjson.dumps(funding(*paid)), "GET /fapi/v1/income", 200)[1]
    assert all(row["balance_e8"] == NOT_SAID for row in rows)
    return [(row["amount_e8"], row.get("instrument", 0)) for row in rows]


def test_funding_that_nobody_heard_is_booked_when_it_is_asked_for_and_once() -> None:
    told = Told()
    assert told_funding(told, (T + 5, "BTCUSDT", "-3")) == [], "the books are not open"
    told_balances(told, balances("100"))
    assert told_funding(told, (T + 10, "BTCUSDT", "-3")) == [], "it is in the opening"
    missed = [(T + 20, "BTCUSDT", "-1"), (T + 20, "ETHUSDT", "-2"), (T + 30, "BTCUSDT", "4")]
    assert told_funding(told, *missed) == [(-3 * E8, 0), (4 * E8, BTC)]
    assert told_funding(told, *missed) == []
    late = told.stream(account_update("FUNDING_FEE", "97", "-3", T + 20))[1]
    assert [row.get("amount_e8", 0) for row in late] == [0], "a late word of what was asked for moves nothing"


def test_funding_that_the_stream_told_in_part_is_completed() -> None:
    told = Told()
    told_balances(told, balances("100"))
    assert len(told.stream(account_update("FUNDING_FEE", "99", "-1", T + 20))[1]) == 1
    earlier = (T + 15, "BTCUSDT", "-9")
    assert told_funding(told, earlier, (T + 20, "BTCUSDT", "-1")) == [(-9 * E8, BTC)]
    assert told_funding(told, (T + 20, "BTCUSDT", "-1"), (T + 20, "ETHUSDT", "-2")) == []
    again = Told()
    told_balances(again, balances("100"))
    again.stream(account_update("FUNDING_FEE", "99", "-1", T + 20))
    assert told_funding(again, (T + 20, "BTCUSDT", "-1"), (T + 20, "ETHUSDT", "-2")) == [(-2 * E8, 0)]


def test_movement_that_two_sockets_tell_counts_once() -> None:
    told = Told()
    told_balances(told, balances("100"))
    assert len(told.stream(account_update("FUNDING_FEE", "99", "-1"))[1]) == 1
    assert told.stream(account_update("FUNDING_FEE", "99", "-1"))[1] == []
    assert len(told.stream(account_update("FUNDING_FEE", "98", "-1"))[1]) == 1


def test_asset_that_was_not_there_at_the_opening_counts_from_its_first_movement() -> None:
    told = Told()
    told_balances(told, balances("100"))
    deposit = account_update("DEPOSIT", "5", "5", B=[{"a": "USDC", "wb": "5", "bc": "5"}])
    ((row,),) = told.stream(deposit)[1:]
    assert (row["asset"], row["amount_e8"]) == (instrument_id("USDC"), 5 * E8)


# --- what is put aside


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", DeadReason.UNPARSABLE),
        (b"[]", DeadReason.UNPARSABLE),
        (b'{"e":"SOMETHING_NEW"}', DeadReason.UNEXPECTED),
        (b'{"result":null,"id":1}', DeadReason.UNEXPECTED),
        (b'{"e":"ORDER_TRADE_UPDATE","o":{}}', DeadReason.UNPARSABLE),
        (orjson.dumps(update(x="DANCED")), DeadReason.UNPARSABLE),
        (orjson.dumps(update(S="LONG")), DeadReason.UNPARSABLE),
        (orjson.dumps(update(i=-1)), DeadReason.UNPARSABLE),
        (orjson.dumps(update(i=1 << 63)), DeadReason.UNPARSABLE),
        (orjson.dumps(update(p=61800.1)), DeadReason.UNPARSABLE),
        (orjson.dumps(update(**(FILL | {"l": "0"}))), DeadReason.OUT_OF_RANGE),
        (orjson.dumps(update(**(FILL | {"L": "1.000000001"}))), DeadReason.OUT_OF_RANGE),
        (orjson.dumps(update(z="-1")), DeadReason.OUT_OF_RANGE),
        (orjson.dumps(account_update("NEW_REASON", "1", "1")), DeadReason.UNEXPECTED),
        (orjson.dumps(account_update("ORDER", "1e5", "1")), DeadReason.OUT_OF_RANGE),
    ],
)
def test_message_that_makes_no_sense_is_one_dead_letter_and_changes_nothing(body: bytes, reason: DeadReason) -> None:
    told = Told()
    told.submit()
    before = {name: array.tobytes() for name, array in told.state.items()}
    assert told.frame(FrameKind.TEXT, body, connection=STREAM_CONNECTION) == ([], [])
    (dead,) = told.dead
    assert dead.values[REASON_AT] == reason
    assert {name: array.tobytes() for name, array in told.state.items()} == before


def test_market_data_is_none_of_its_business() -> None:
    told = Told()
    assert told.frame(FrameKind.TEXT, b"{", connection=3) == ([], [])
    assert told.dead == []


def test_memory_is_bounded_and_forgets_the_oldest() -> None:
    told = Told()
    told.rule = PrivateWire("binance_usdm:test", orders_max=4, trades_max=4)
    told.state = told.rule.initial_state()
    size = sum(array.nbytes for array in told.state.values())
    for number in range(1, 20):
        told.stream(update(**(FILL | {"t": number}), c=client_id_of(number), i=number))
    trades = [user_trade(id=number, orderId=number) for number in range(1, 20)]
    found = told.answer("GET", trades, path="/fapi/v1/userTrades", what="BTCUSDT")
    assert found == []  # 16 to 19 were told, the others' orders are forgotten
    assert sum(array.nbytes for array in told.state.values()) == size
