"""Commands → requests of Binance USD-M futures, filters, outcomes, budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from connectors.binance_usdm import orders as api
from connectors.binance_usdm.instruments import instruments
from connectors.binance_usdm.orders import (
    Fault,
    InstrumentFacts,
    Outcome,
    Request,
    facts_of,
    filter_fault,
    outcome_of,
    request_of,
    stamped_query,
)
from connectors.gateway import command_text
from connectors.order_budget import OrderBudget, Priority
from schemas.errors import InputInvalid
from schemas.events import Side
from schemas.instruments import instrument_id
from schemas.trading import ORDER_COMMAND, CommandKind, OrderFlag, OrderKind, TimeInForce, client_id_of
from tests.integration.venue_script import exchange_info

E8 = 10**8
S = 1_000_000_000
NOON_NS = 1_700_049_600 * S  # 2023-11-15 12:00 UTC
BTC = InstrumentFacts(
    "BTCUSDT", E8 // 10, E8 // 1000, 5568 * E8 // 10, 4_529_764 * E8, E8 // 1000, 1000 * E8, 120 * E8, 100 * E8
)
ORDER_ID = 77
CLIENT = client_id_of(ORDER_ID)


def command(**columns: Any) -> np.void:
    """A limit order to buy 0.002 at 61800.3, changed as told."""
    values: dict[str, Any] = {
        "ts_recv_ns": NOON_NS, "order_id": ORDER_ID, "price_e8": 61800 * E8 + 3 * E8 // 10, "quantity_e8": E8 // 500,
        "kind": OrderKind.LIMIT, "command": CommandKind.SUBMIT,
    }  # fmt: skip
    row = ORDER_COMMAND.empty(1)
    for name, value in (values | columns).items():
        row[name] = value
    found: np.void = row[0]
    return found


def text(request: Request) -> str:
    return f"{request.method} {request.path}?" + "&".join(f"{name}={value}" for name, value in request.params)


ID = f"newClientOrderId={CLIENT}"
NEW = "POST /fapi/v1/order?symbol=BTCUSDT&side"
LIMIT = "&price=61800.3&quantity=0.002"
STOP = "POST /fapi/v1/algoOrder?algoType=CONDITIONAL&symbol=BTCUSDT&side=BUY"
CHANGE = f"PUT /fapi/v1/order?symbol=BTCUSDT&side=BUY&origClientOrderId={CLIENT}&quantity=0.002&price=61800.3"
FLAT = f"{NEW}=SELL&type=MARKET&quantity=0.5&reduceOnly=true&newClientOrderId=KILL-1"


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({}, f"{NEW}=BUY&type=LIMIT&timeInForce=GTC{LIMIT}&{ID}"),
        (
            {"flags": OrderFlag.POST_ONLY, "side": Side.SELL},
            f"{NEW}=SELL&type=LIMIT&timeInForce=GTX{LIMIT}&{ID}",
        ),
        (
            {"time_in_force": TimeInForce.IOC, "flags": OrderFlag.REDUCE_ONLY},
            "POST /fapi/v1/order?symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=IOC&price=61800.3&quantity=0.002"
            f"&reduceOnly=true&{ID}",
        ),
        (
            {"time_in_force": TimeInForce.GTD, "expires_ns": NOON_NS + 3600 * S + 999},
            "POST /fapi/v1/order?symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTD&goodTillDate=1700053200000"
            f"&price=61800.3&quantity=0.002&{ID}",
        ),
        (
            {"time_in_force": TimeInForce.DAY},
            "POST /fapi/v1/order?symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTD&goodTillDate=1700092800000"
            f"&price=61800.3&quantity=0.002&{ID}",
        ),
        (
            {"kind": OrderKind.MARKET, "flags": OrderFlag.FLATTEN, "side": Side.SELL},
            f"POST /fapi/v1/order?symbol=BTCUSDT&side=SELL&type=MARKET&quantity=0.002&reduceOnly=true&{ID}",
        ),
        (
            {"kind": OrderKind.STOP, "stop_price_e8": 60000 * E8},
            "POST /fapi/v1/algoOrder?algoType=CONDITIONAL&symbol=BTCUSDT&side=BUY&type=STOP_MARKET&quantity=0.002"
            f"&triggerPrice=60000&clientAlgoId={CLIENT}",
        ),
        (
            {"kind": OrderKind.STOP_LIMIT, "stop_price_e8": 60000 * E8, "flags": OrderFlag.REDUCE_ONLY},
            f"{STOP}&type=STOP&timeInForce=GTC&price=61800.3&quantity=0.002&triggerPrice=60000&reduceOnly=true&clientAlgoId={CLIENT}",
        ),
        (
            {"command": CommandKind.AMEND},
            f"PUT /fapi/v1/order?symbol=BTCUSDT&side=BUY&origClientOrderId={CLIENT}&quantity=0.002&price=61800.3",
        ),
        ({"command": CommandKind.CANCEL}, f"DELETE /fapi/v1/order?symbol=BTCUSDT&origClientOrderId={CLIENT}"),
        ({"command": CommandKind.QUERY}, f"GET /fapi/v1/order?symbol=BTCUSDT&origClientOrderId={CLIENT}"),
        (
            {"command": CommandKind.CANCEL, "kind": OrderKind.STOP},
            f"DELETE /fapi/v1/algoOrder?clientAlgoId={CLIENT}",
        ),
        (
            {"command": CommandKind.QUERY, "kind": OrderKind.STOP_LIMIT},
            f"GET /fapi/v1/algoOrder?clientAlgoId={CLIENT}",
        ),
    ],
)  # fmt: skip
def test_command_becomes_the_request_that_the_reference_describes(columns: dict[str, Any], wanted: str) -> None:
    request = request_of(command(**columns), BTC)
    assert text(request) == wanted
    assert request.text == f"{request.method} {request.path} {CLIENT}"


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"flags": OrderFlag.POST_ONLY, "time_in_force": TimeInForce.IOC}, "no post-only IOC"),
        ({"flags": OrderFlag.POST_ONLY, "time_in_force": TimeInForce.FOK}, "no post-only FOK"),
        ({"flags": OrderFlag.POST_ONLY, "kind": OrderKind.MARKET}, "cannot be post-only"),
        ({"flags": OrderFlag.POST_ONLY, "kind": OrderKind.STOP}, "cannot be post-only"),
        ({"command": CommandKind.AMEND, "kind": OrderKind.STOP}, "conditional"),
        ({"command": CommandKind.AMEND, "kind": OrderKind.MARKET}, "Only limit"),
        ({"command": 9}, "no order command"),
        ({"kind": 9}, "no order kind"),
        ({"order_id": 0}, "no order id"),
    ],
)
def test_order_that_the_venue_does_not_have_is_not_made_into_another_one(
    columns: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputInvalid, match=sentence):
        request_of(command(**columns), BTC)


@pytest.mark.parametrize(
    ("columns", "date"),
    [
        ({"time_in_force": TimeInForce.GTD, "expires_ns": NOON_NS + 661 * S}, NOON_NS + 661 * S),
        ({"time_in_force": TimeInForce.GTD, "expires_ns": NOON_NS + 30 * S}, NOON_NS + 660 * S),
        ({"time_in_force": TimeInForce.DAY, "ts_recv_ns": NOON_NS + 43_190 * S}, NOON_NS + 43_850 * S),
        ({"time_in_force": TimeInForce.GTD, "expires_ns": NOON_NS + 30 * S, "flags": OrderFlag.POST_ONLY}, None),
    ],
)
def test_date_of_the_venue_is_never_sooner_than_it_takes(columns: dict[str, Any], date: int | None) -> None:
    params = dict(request_of(command(**columns), BTC).params)
    assert params.get("goodTillDate") == (str(date // 1_000_000) if date else None)
    assert params["timeInForce"] == ("GTD" if date else "GTX")


@pytest.mark.parametrize(("kind", "method"), [(CommandKind.QUERY, "GET"), (CommandKind.CANCEL, "DELETE")])
def test_order_that_is_not_ours_is_named_by_the_venues_id(kind: CommandKind, method: str) -> None:
    asked = command(order_id=-8001, command=kind)
    request = request_of(asked, BTC)
    assert text(request) == f"{method} /fapi/v1/order?symbol=BTCUSDT&orderId=8001"
    assert command_text(asked) == request.text
    with pytest.raises(InputInvalid, match="not ours"):
        request_of(command(order_id=-8001, command=CommandKind.AMEND), BTC)


def test_amounts_keep_their_last_digit() -> None:
    request = request_of(command(price_e8=(1 << 63) - 1, quantity_e8=1), BTC)
    assert ("price", "92233720368.54775807") in request.params
    assert ("quantity", "0.00000001") in request.params


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({}, 0),
        ({"price_e8": 0}, -4001),
        ({"price_e8": 4_529_765 * E8}, -4002),
        ({"price_e8": 5567 * E8 // 10}, -4013),
        ({"price_e8": 61800 * E8 + E8 // 100}, -4014),
        ({"quantity_e8": 0}, -4003),
        ({"quantity_e8": E8 // 2000}, -4004),
        ({"quantity_e8": 1001 * E8}, -4005),
        ({"quantity_e8": 500 * E8, "kind": OrderKind.MARKET}, -4005),
        ({"quantity_e8": 100 * E8, "kind": OrderKind.MARKET, "price_e8": 0}, 0),
        ({"quantity_e8": E8 // 500 + 1}, -4023),
        ({"quantity_e8": E8 // 1000}, -4164),
        ({"quantity_e8": E8 // 1000, "flags": OrderFlag.REDUCE_ONLY}, 0),
        ({"kind": OrderKind.STOP, "price_e8": 0, "stop_price_e8": 0}, -4001),
        ({"kind": OrderKind.STOP, "price_e8": 0, "stop_price_e8": 60000 * E8}, 0),
        ({"kind": OrderKind.STOP_LIMIT, "stop_price_e8": 60000 * E8 + 1}, -4014),
    ],
)
def test_filters_find_what_the_venue_would_refuse(columns: dict[str, Any], code: int) -> None:
    fault = filter_fault(command(**columns), BTC)
    assert (fault.code if fault else 0) == code


def test_ticks_are_counted_from_the_lowest_price() -> None:
    facts = replace(BTC, price_min_e8=55672 * E8 // 100, tick_size_e8=E8 // 10)
    assert filter_fault(command(price_e8=61800 * E8 + 2 * E8 // 100), facts) is None
    assert filter_fault(command(price_e8=61800 * E8), facts) == Fault(-4014, "the price is off the ticks of 0.1")


def test_facts_come_from_what_the_venue_lists() -> None:
    listed = instruments(exchange_info("BTCUSDT", "ETHUSDT"))
    facts = facts_of(listed.rows, listed.heap)
    assert facts[instrument_id("binance_usdm:ETHUSDT")] == InstrumentFacts(
        "ETHUSDT", E8 // 10, E8 // 1000, E8 // 10, 1_000_000 * E8, E8 // 1000, 1000 * E8, 0, 0
    )
    assert len(facts) == 2


def test_stamp_is_last_and_the_shorter_window_wins() -> None:
    request = request_of(command(command=CommandKind.CANCEL), BTC)
    base = f"symbol=BTCUSDT&origClientOrderId={CLIENT}"
    assert stamped_query(request, 1591702613943, 5000) == f"{base}&recvWindow=5000&timestamp=1591702613943"
    hurried = request._replace(recv_window_ms=250)
    assert stamped_query(hurried, 1, 5000) == f"{base}&recvWindow=250&timestamp=1"
    assert stamped_query(request, 1, 90_000) == f"{base}&recvWindow=60000&timestamp=1"
    assert stamped_query(api.listen_key("PUT"), 1, 5000) == ""


@pytest.mark.parametrize(
    ("request_made", "line", "cost"),
    [
        (api.open_orders(), "GET /fapi/v1/openOrders?", (40, 0)),
        (api.positions(), "GET /fapi/v3/positionRisk?", (5, 0)),
        (api.balances(), "GET /fapi/v3/balance?", (5, 0)),
        (api.account(), "GET /fapi/v3/account?", (5, 0)),
        (api.user_trades("BTCUSDT", 5), "GET /fapi/v1/userTrades?symbol=BTCUSDT&startTime=5&limit=1000", (5, 0)),
        (api.user_trades("BTCUSDT", 5, 9), "GET /fapi/v1/userTrades?symbol=BTCUSDT&fromId=9&limit=1000", (5, 0)),
        (api.query_venue_order("BTCUSDT", 8), "GET /fapi/v1/order?symbol=BTCUSDT&orderId=8", (1, 0)),
        (api.cancel_all("BTCUSDT"), "DELETE /fapi/v1/allOpenOrders?symbol=BTCUSDT", (1, 0)),
        (
            api.countdown("BTCUSDT", 60_000),
            "POST /fapi/v1/countdownCancelAll?symbol=BTCUSDT&countdownTime=60000",
            (10, 0),
        ),
        (api.listen_key("POST"), "POST /fapi/v1/listenKey?", (1, 0)),
        (api.permissions(), "GET /sapi/v1/account/apiRestrictions?", (1, 0)),
        (request_of(command(), BTC), f"{NEW}=BUY&type=LIMIT&timeInForce=GTC{LIMIT}&{ID}", (0, 1)),
        (request_of(command(command=CommandKind.AMEND), BTC), CHANGE, (0, 1)),
        (api.flatten_order("BTCUSDT", Side.SELL, E8 // 2, "KILL-1"), FLAT, (0, 1)),
    ],
)  # fmt: skip
def test_questions_cost_what_the_reference_says(request_made: Request, line: str, cost: tuple[int, int]) -> None:
    assert text(request_made) == line
    assert (request_made.weight, request_made.orders) == cost


@pytest.mark.parametrize(
    ("status", "code", "message", "outcome"),
    [
        (200, 0, "", Outcome.DONE),
        (400, -2010, "refused", Outcome.REFUSED),
        (400, -2011, "Unknown order sent.", Outcome.REFUSED),
        (400, -2013, "Order does not exist.", Outcome.NO_SUCH_ORDER),
        (400, -2019, "Margin is insufficient.", Outcome.REFUSED),
        (400, -1021, "Timestamp", Outcome.REFUSED),
        (400, -1006, "unexpected", Outcome.UNKNOWN),
        (400, -1007, "timeout", Outcome.UNKNOWN),
        (400, -1000, "An unknown error occurred.", Outcome.UNKNOWN),
        (400, -1001, "Internal error.", Outcome.UNKNOWN),
        (408, -1007, "timeout", Outcome.UNKNOWN),
        (408, 0, "", Outcome.UNKNOWN),
        (401, -2015, "key", Outcome.REFUSED),
        (403, 0, "", Outcome.REFUSED),
        (429, -1015, "too many orders", Outcome.REFUSED),
        (418, -1003, "banned", Outcome.REFUSED),
        (500, 0, "", Outcome.UNKNOWN),
        (502, 0, "", Outcome.UNKNOWN),
        (503, -1000, "Unknown error, please check your request or try again later.", Outcome.UNKNOWN),
        (503, 0, "Service Unavailable.", Outcome.REFUSED),
        (503, -1008, "Request throttled by system-level protection.", Outcome.REFUSED),
        (503, -1001, "Internal error; unable to process your request. Please try again.", Outcome.UNKNOWN),
        (204, 0, "", Outcome.UNKNOWN),
    ],
)
def test_answers_are_judged_on_the_safe_side(status: int, code: int, message: str, outcome: Outcome) -> None:
    assert outcome_of(status, code, message) is outcome


# --- budgets


def test_orders_of_ten_seconds_run_out_and_come_back() -> None:
    budget = OrderBudget()
    sent = 0
    while budget.take(0, 1, Priority.NEW, NOON_NS) == 0.0:
        sent += 1
    assert sent == 240  # 80 % of 300
    assert budget.take(0, 1, Priority.NEW, NOON_NS + 3 * S) == pytest.approx(7.0)
    assert budget.take(0, 1, Priority.NEW, NOON_NS + 10 * S) == 0.0


def test_cancels_go_when_new_orders_may_not() -> None:
    budget = OrderBudget()
    budget.heard({"x-mbx-used-weight-1m": "2395", "x-mbx-order-count-10s": "280"}, NOON_NS)
    assert budget.take(0, 1, Priority.NEW, NOON_NS) == pytest.approx(10.0)
    assert budget.take(1, 0, Priority.QUERY, NOON_NS) == pytest.approx(60.0)
    assert budget.take(0, 1, Priority.REDUCE, NOON_NS) == 0.0
    assert [budget.take(1, 0, Priority.CANCEL, NOON_NS) for _ in range(6)] == [0.0] * 5 + [60.0]


def test_the_count_of_the_venue_wins_and_a_missing_one_changes_nothing() -> None:
    budget = OrderBudget()
    budget.heard({"x-mbx-order-count-10s": "240"}, NOON_NS)
    budget.heard({"x-mbx-order-count-10s": "5"}, NOON_NS)
    budget.heard({}, NOON_NS)
    budget.heard({"x-mbx-order-count-10s": "many"}, NOON_NS)
    assert budget.take(0, 1, Priority.NEW, NOON_NS) == pytest.approx(10.0)


def test_limits_are_learned_from_the_venue_and_counts_kept() -> None:
    budget = OrderBudget()
    assert budget.take(0, 5, Priority.NEW, NOON_NS) == 0.0
    budget.learn(
        [
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 10},
            {"rateLimitType": "ORDERS", "interval": "FORTNIGHT", "intervalNum": 1, "limit": 1},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 1, "limit": 1},
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 0},
        ]
    )
    assert budget.take(0, 3, Priority.NEW, NOON_NS) == 0.0
    assert budget.take(0, 1, Priority.NEW, NOON_NS) == pytest.approx(10.0)
    assert budget.take(0, 1, Priority.REDUCE, NOON_NS) == 0.0


def test_nothing_goes_while_the_venue_wants_quiet() -> None:
    budget = OrderBudget()
    budget.be_quiet(30.0, NOON_NS)
    budget.be_quiet(5.0, NOON_NS)
    assert budget.take(1, 0, Priority.CANCEL, NOON_NS + 10 * S) == pytest.approx(20.0)
    assert budget.take(1, 0, Priority.CANCEL, NOON_NS + 30 * S) == 0.0
