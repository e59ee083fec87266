"""The desk of the simulated venue: filters, refusals, life of orders, and what must hold whatever is traded."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.simulator.listing import E8, exchange_info
from connectors.simulator.matching import OrderKind
from connectors.simulator.private_account import scaled
from connectors.simulator.private_config import AccountConfig, PrivateRules
from connectors.simulator.private_order_documents import trade_document
from connectors.simulator.private_orders import Status, VenueOrder
from connectors.simulator.private_request import Parameters
from connectors.simulator.private_tickets import read_ticket
from connectors.simulator.rest import Refused
from schemas.events import Side
from schemas.instruments import Venue
from tests.private_market import BTC, MIDDLE, NOW_MS, TWO_ACCOUNTS, Trading

BID, ASK = "60000.0", "60000.1"
GOOD = {"side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010", "price": BID}


def price_of(tick: int) -> str:
    return f"{tick // 10}.{tick % 10}"


def refused(trading: Trading, *given: str, **named: str) -> int:
    """The code with which an order is refused; nothing may have changed then."""
    wallets = [account.wallet_e8 for account in trading.desk.accounts.values()]
    count, said = len(trading.desk.orders), len(trading.events)
    with pytest.raises(Refused) as caught:
        trading.order(*given, **named)  # type: ignore[arg-type]
    assert (len(trading.desk.orders), len(trading.events)) == (count, said)
    assert wallets == [account.wallet_e8 for account in trading.desk.accounts.values()]
    return caught.value.code


# ---- what is asked for


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"side": ""}, -1102),
        ({"side": "LONG"}, -1117),
        ({"type": ""}, -1102),
        ({"type": "STOP_MARKET"}, -4120),
        ({"type": "LIMIT_MAKER"}, -1116),
        ({"timeInForce": ""}, -1102),
        ({"timeInForce": "DAY"}, -1115),
        ({"price": ""}, -1102),
        ({"price": "cheap"}, -1100),
        ({"price": "60000.001"}, -1111),
        ({"price": "60000.05"}, -4014),
        ({"price": "0"}, -4001),
        ({"price": "-5"}, -4001),
        ({"price": "0.01"}, -4013),
        ({"price": "10000000.1"}, -4002),
        ({"quantity": ""}, -1102),
        ({"quantity": "0"}, -4003),
        ({"quantity": "0.0001"}, -1111),
        ({"quantity": "1000000.001"}, -4005),
        ({"positionSide": "LONG"}, -4061),
        ({"newClientOrderId": "a" * 37}, -4015),
        ({"newClientOrderId": "a b"}, -1100),
        ({"reduceOnly": "maybe"}, -1130),
        ({"selfTradePreventionMode": "NONE"}, -5039),
        ({"timeInForce": "GTD"}, -1102),
        ({"timeInForce": "GTD", "goodTillDate": str(NOW_MS + 600_000)}, -5040),
        ({"goodTillDate": str(NOW_MS + 700_000)}, -1106),
        ({"type": "MARKET"}, -1106),
        ({"closePosition": "true"}, -1128),
    ],
)
def test_ticket_that_the_venue_does_not_take_has_its_code(change: dict[str, str], code: int) -> None:
    with pytest.raises(Refused) as caught:
        read_ticket(Parameters(GOOD | change), BTC, NOW_MS)
    assert caught.value.code == code


def test_filters_are_those_that_are_published() -> None:
    """A price or quantity at each published bound is taken, one step beyond it refused with the filter's code."""
    document = exchange_info(Venue.BINANCE_USDM, (BTC,), NOW_MS, 2400)
    symbols = document["symbols"]
    assert isinstance(symbols, list)
    filters = {row["filterType"]: row for row in symbols[0]["filters"]}
    price, lot = filters["PRICE_FILTER"], filters["LOT_SIZE"]
    for name, low, high, step in (
        ("price", price["minPrice"], price["maxPrice"], price["tickSize"]),
        ("quantity", lot["minQty"], lot["maxQty"], lot["stepSize"]),
    ):
        for text in (low, high):
            read_ticket(Parameters(GOOD | {name: text}), BTC, NOW_MS)
        beyond = f"{float(high) + float(step):.3f}".rstrip("0")
        with pytest.raises(Refused) as caught:
            read_ticket(Parameters(GOOD | {name: beyond}), BTC, NOW_MS)
        assert caught.value.code in (-4002, -4005)
    assert filters["MIN_NOTIONAL"]["notional"] == "5"
    assert (filters["PERCENT_PRICE"]["multiplierUp"], filters["PERCENT_PRICE"]["multiplierDown"]) == (
        "1.0500",
        "0.9500",
    )
    assert filters["MAX_NUM_ORDERS"]["limit"] == PrivateRules().open_orders_max


# ---- what the account may


def test_limits_around_the_mark_are_checked_on_the_side_that_takes() -> None:
    trading = Trading()
    assert refused(trading, "BUY", "0.010", "63000.1") == -4016
    assert refused(trading, "SELL", "0.010", "56999.9") == -4024
    trading.order("BUY", "0.010", "57000.0")
    trading.order("SELL", "0.010", "63000.0")


def test_notional_below_the_minimum_is_refused_unless_it_only_reduces() -> None:
    trading = Trading()
    low = Trading()
    assert refused(trading, "BUY", "0.001", "4999.9") == -4164
    low.order("BUY", "0.100")
    for _ in range(2):
        low.order("SELL", "0.001", "63000.0", reduceOnly="true")


def test_client_id_is_taken_twice_only_when_the_first_order_is_over() -> None:
    trading = Trading()
    first = trading.order("BUY", "0.010", BID, newClientOrderId="mine")
    assert refused(trading, "BUY", "0.010", BID, newClientOrderId="mine") == -4116
    assert trading.order("BUY", "0.010", BID, number=2, newClientOrderId="mine").number != first.number
    trading.desk.cancel(first)
    second = trading.order("BUY", "0.010", BID, newClientOrderId="mine")
    assert trading.desk.find(trading.account(), "BTCUSDT", 0, "mine") is second
    assert trading.desk.find(trading.account(), "BTCUSDT", first.number, "") is first
    assert trading.desk.find(trading.account(2), "BTCUSDT", first.number, "") is None


def test_margin_is_what_the_worst_case_of_all_orders_ties_up() -> None:
    trading = Trading(accounts=(AccountConfig(balance_e8=300 * E8, leverage=10),))
    first = trading.order("BUY", "0.050", "60000.0")  # 3,000 at ten times: all there is
    assert refused(trading, "BUY", "0.001", "60000.0") == -2019
    trading.order("SELL", "0.040", "62000.0")  # the other side ties up no more
    assert refused(trading, "SELL", "0.020", "62000.0") == -2019
    trading.desk.cancel(first)
    trading.order("SELL", "0.008", "62000.0")


def test_open_orders_are_limited() -> None:
    trading = Trading(PrivateRules(open_orders_max=3))
    for _ in range(3):
        trading.order("BUY", "0.001", BID)
    assert refused(trading, "BUY", "0.001", BID) == -2025


def test_market_that_is_not_known_yet_takes_no_orders() -> None:
    trading = Trading()
    trading.market.flow(Side.BUY, OrderKind.MARKET, 10**7)
    assert refused(trading, "BUY", "0.001", BID) == -1001


# ---- the life of an order


def updates(trading: Trading, order: VenueOrder) -> list[tuple[str, str]]:
    """(execution, status) of what was told of an order."""
    told = trading.told("ORDER_TRADE_UPDATE", order.owner)
    return [(event["o"]["x"], event["o"]["X"]) for event in told if event["o"]["i"] == order.number]


def test_market_order_takes_several_levels_and_pays_the_taker_fee() -> None:
    trading = Trading()
    order = trading.order("BUY", "6.000", number=1)
    assert (order.status, order.executed_e8) == (Status.FILLED, 6 * E8)
    assert order.quote_e8 == 5 * 6_000_010_000_000 + 1 * 6_001_010_000_000
    assert trading.account().wallet_e8 == 100_000 * E8 - order.quote_e8 * 5 // 10_000
    assert updates(trading, order) == [("NEW", "NEW"), ("TRADE", "PARTIALLY_FILLED"), ("TRADE", "FILLED")]
    lite = trading.told("TRADE_LITE")
    assert [(event["L"], event["l"], event["m"]) for event in lite] == [
        ("60000.10", "5.000", False),
        ("60010.10", "1.000", False),
    ]


def test_trade_lite_comes_before_the_other_two_and_those_in_either_order() -> None:
    trading = Trading()
    for _ in range(20):
        trading.order("BUY", "0.001")
    names = [event.name for _, event in trading.events]
    triples = {tuple(names[at : at + 4]) for at in range(0, len(names), 4)}
    head = ("ORDER_TRADE_UPDATE", "TRADE_LITE")
    assert triples == {
        (*head, "ACCOUNT_UPDATE", "ORDER_TRADE_UPDATE"),
        (*head, "ORDER_TRADE_UPDATE", "ACCOUNT_UPDATE"),
    }


def test_resting_order_waits_its_turn_and_pays_the_maker_fee() -> None:
    trading = Trading()
    first = trading.order("BUY", "0.010", BID)
    second = trading.order("BUY", "0.010", BID, number=2)
    trading.market.flow(Side.SELL, OrderKind.MARKET, 5000)
    assert (first.executed_e8, second.executed_e8) == (0, 0), "5.000 stood there before"
    trading.market.flow(Side.SELL, OrderKind.MARKET, 15)
    assert (first.status, second.status, second.executed_e8) == (Status.FILLED, Status.PARTIALLY_FILLED, 5 * BTC.lot_e8)
    assert trading.account(1).wallet_e8 == 100_000 * E8 - 600 * E8 * 2 // 10_000
    [event] = [event for event in trading.told("ORDER_TRADE_UPDATE") if event["o"]["x"] == "TRADE"]
    assert (event["o"]["m"], event["o"]["n"], event["o"]["N"]) == (True, "0.12000000", "USDT")


@pytest.mark.parametrize(
    ("time_in_force", "quantity", "filled", "status", "reason"),
    [
        ("IOC", "6.000", "5.000", Status.EXPIRED, "2"),
        ("FOK", "5.001", "0.000", Status.EXPIRED, "2"),
        ("FOK", "5.000", "5.000", Status.FILLED, "0"),
        ("GTX", "0.010", "0.000", Status.EXPIRED, "0"),
        ("GTC", "6.000", "5.000", Status.PARTIALLY_FILLED, "0"),
    ],
)
def test_crossing_order_ends_as_its_time_in_force_says(
    time_in_force: str, quantity: str, filled: str, status: Status, reason: str
) -> None:
    trading = Trading()
    order = trading.order("BUY", quantity, ASK, time_in_force)
    last = trading.told("ORDER_TRADE_UPDATE")[-1]["o"]
    assert (order.status, last["z"], last["er"], last["X"]) == (status, filled, reason, status.value)
    assert order.is_open == (order.number in trading.market.core_ids)


def test_venue_that_refuses_at_once_has_the_codes_for_it() -> None:
    trading = Trading(PrivateRules(refuses_at_once=True))
    assert refused(trading, "BUY", "0.010", ASK, "GTX") == -5022
    assert refused(trading, "BUY", "5.001", ASK, "FOK") == -5021
    assert trading.order("BUY", "5.000", ASK, "FOK").status is Status.FILLED


@pytest.mark.parametrize(
    ("mode", "maker", "taker"),
    [
        ("EXPIRE_MAKER", Status.EXPIRED_IN_MATCH, Status.FILLED),
        ("EXPIRE_TAKER", Status.NEW, Status.EXPIRED_IN_MATCH),
        ("EXPIRE_BOTH", Status.EXPIRED_IN_MATCH, Status.EXPIRED_IN_MATCH),
    ],
)
def test_own_orders_never_meet(mode: str, maker: Status, taker: Status) -> None:
    trading = Trading()
    trading.market.flow(Side.SELL, OrderKind.MARKET, 5000)  # the best bid is ours now
    resting = trading.order("BUY", "0.010", BID)
    meeting = trading.order("SELL", "0.010", "59990.0", selfTradePreventionMode=mode)
    assert (resting.status, meeting.status) == (maker, taker)
    if maker is Status.EXPIRED_IN_MATCH:
        [event] = [event for event in trading.told("ORDER_TRADE_UPDATE") if event["o"]["X"] == maker.value][:1]
        assert (event["o"]["x"], event["o"]["er"]) == ("EXPIRED", "1")


def test_two_accounts_trade_with_each_other() -> None:
    trading = Trading()
    trading.market.flow(Side.SELL, OrderKind.MARKET, 5000)
    maker = trading.order("BUY", "0.010", BID, number=1)
    taker = trading.order("SELL", "0.010", BID, number=2)
    assert (maker.status, taker.status) == (Status.FILLED, Status.FILLED)
    [bought], [sold] = trading.desk.trades[1], trading.desk.trades[2]
    assert (bought.trade_id, bought.is_maker, sold.is_maker) == (sold.trade_id, True, False)


# ---- reduce-only


def test_reduce_only_without_a_position_is_refused() -> None:
    trading = Trading()
    assert refused(trading, "SELL", "0.010", ASK, reduceOnly="true") == -2022
    trading.order("SELL", "0.010")
    assert refused(trading, "SELL", "0.010", ASK, reduceOnly="true") == -2022


def test_reduce_only_closes_no_more_than_the_position() -> None:
    trading = Trading()
    trading.order("BUY", "0.010")
    order = trading.order("SELL", "0.030", reduceOnly="true")
    assert (order.quantity_e8, order.status) == (10 * BTC.lot_e8, Status.FILLED)
    assert trading.account().position("BTCUSDT").amount_e8 == 0


def test_newer_reduce_only_order_displaces_the_older() -> None:
    trading = Trading()
    trading.order("BUY", "0.010")
    older = trading.order("SELL", "0.010", "60005.0", reduceOnly="true")
    newer = trading.order("SELL", "0.004", "60006.0", reduceOnly="true")
    assert (older.resting_e8, newer.resting_e8) == (6 * BTC.lot_e8, 4 * BTC.lot_e8)
    last = trading.order("SELL", "0.010", reduceOnly="true")
    assert last.status is Status.FILLED
    assert (older.status, newer.status) == (Status.EXPIRED, Status.EXPIRED)
    assert {event["o"]["er"] for event in trading.told("ORDER_TRADE_UPDATE") if event["o"]["x"] == "EXPIRED"} == {"4"}


def test_sweep_that_closes_the_position_before_a_reduce_only_order_does_not_let_it_open_one() -> None:
    trading = Trading()
    trading.order("BUY", "0.010")
    plain = trading.order("SELL", "0.010", "60005.0")
    reducing = trading.order("SELL", "0.010", "60006.0", reduceOnly="true")
    trading.market.flow(Side.BUY, OrderKind.LIMIT, 6000, MIDDLE + 70)
    assert (plain.status, reducing.status, reducing.executed_e8) == (Status.FILLED, Status.EXPIRED, 0)
    assert trading.account().position("BTCUSDT").amount_e8 == 0


# ---- changes


def test_amended_order_goes_to_the_end_of_its_queue() -> None:
    trading = Trading()
    first = trading.order("BUY", "0.010", BID)
    second = trading.order("BUY", "0.010", BID, number=2)
    trading.desk.amend(trading.account(), first, first.price_e8, 20 * BTC.lot_e8)
    trading.market.flow(Side.SELL, OrderKind.MARKET, 5010)
    assert (first.executed_e8, second.status) == (0, Status.FILLED)
    assert updates(trading, first)[-1] == ("AMENDMENT", "NEW")


def test_amendment_that_changes_nothing_or_too_much_is_refused() -> None:
    trading = Trading()
    order = trading.order("BUY", "0.010", BID)
    for price_e8, quantity_e8, code in (
        (order.price_e8, order.quantity_e8, -5027),
        (order.price_e8 * 2, order.quantity_e8, -4016),
        (order.price_e8, order.quantity_e8 * 10_000, -2019),
    ):
        with pytest.raises(Refused) as caught:
            trading.desk.amend(trading.account(), order, price_e8, quantity_e8)
        assert caught.value.code == code
        assert order.is_open
        assert trading.market.left[order.number] == 10


def test_amendment_below_what_was_filled_and_post_only_that_would_take_are_cancelled() -> None:
    trading = Trading()
    partly = trading.order("BUY", "0.010", BID)
    trading.market.flow(Side.SELL, OrderKind.MARKET, 5004)
    trading.desk.amend(trading.account(), partly, partly.price_e8, 4 * BTC.lot_e8)
    assert (partly.status, partly.executed_e8) == (Status.CANCELED, 4 * BTC.lot_e8)
    post_only = trading.order("BUY", "0.010", "59999.0", "GTX")
    trading.desk.amend(trading.account(), post_only, 6_001_000_000_000, post_only.quantity_e8)
    assert (post_only.status, post_only.executed_e8) == (Status.CANCELED, 0)


def test_order_that_is_over_cannot_be_cancelled() -> None:
    trading = Trading()
    order = trading.order("BUY", "0.010")
    with pytest.raises(Refused) as caught:
        trading.desk.cancel(order)
    assert caught.value.code == -2011


# ---- money without a trade


def test_funding_is_told_with_the_balance_alone() -> None:
    trading = Trading()
    trading.order("BUY", "1.000")
    trading.events.clear()
    before = trading.account().wallet_e8
    trading.desk.fund()
    paid = trading.account().wallet_e8 - before
    assert paid == -600_000_500  # 60,000.05 × 0.0001
    [event] = trading.told("ACCOUNT_UPDATE")
    assert (event["a"]["m"], event["a"]["P"], event["a"]["B"][0]["bc"]) == ("FUNDING_FEE", [], "-6.00000500")


def test_account_below_its_maintenance_margin_is_closed_out() -> None:
    trading = Trading(accounts=(AccountConfig(balance_e8=700 * E8, leverage=100),))
    trading.order("BUY", "1.000")
    resting = trading.order("BUY", "0.001", "59000.0")
    trading.desk.liquidate_broke()
    assert resting.is_open
    trading.market.flow(Side.SELL, OrderKind.LIMIT, 60_000, MIDDLE - 1000)  # the bids fall to 59,900
    trading.market.flow(Side.SELL, OrderKind.LIMIT, 300_000, MIDDLE - 1000)
    for away in range(2, 7):
        trading.market.book.place(Side.BUY, OrderKind.LIMIT, 100_000, MIDDLE - 1000 * away)
    trading.market.flow(Side.SELL, OrderKind.LIMIT, 700_000, MIDDLE - 4000)
    trading.desk.liquidate_broke()
    assert trading.account().position("BTCUSDT").amount_e8 == 0
    assert resting.status is Status.EXPIRED
    last = trading.told("ORDER_TRADE_UPDATE")[-1]["o"]
    assert (last["x"], last["X"], last["c"].partition("-")[0]) == ("CALCULATED", "FILLED", "autoclose")


# ---- whatever is traded


@dataclass(frozen=True)
class Submit:
    number: int
    side: str
    lots: int
    away: int | None  # ticks above the middle; None: a market order
    time_in_force: str
    reduces: bool
    mode: str


@dataclass(frozen=True)
class Flow:
    side: Side
    kind: OrderKind
    lots: int
    away: int


@dataclass(frozen=True)
class Change:
    place: int
    lots: int  # 0: cancel
    away: int


@dataclass(frozen=True)
class Fund:
    pass


away = st.integers(-6, 6)
submits = st.builds(
    Submit,
    st.sampled_from((1, 2)),
    st.sampled_from(("BUY", "SELL")),
    st.integers(1, 12),
    st.none() | away,
    st.sampled_from(("GTC", "GTC", "IOC", "FOK", "GTX")),
    st.booleans(),
    st.sampled_from(("EXPIRE_MAKER", "EXPIRE_TAKER", "EXPIRE_BOTH")),
)
flows = st.builds(
    Flow, st.sampled_from(Side), st.sampled_from((OrderKind.LIMIT, OrderKind.IMMEDIATE)), st.integers(1, 15), away
)
scripts = st.lists(
    submits | flows | st.builds(Change, st.integers(0, 30), st.integers(0, 12), away) | st.just(Fund()),
    min_size=5,
    max_size=60,
)


def thin() -> Trading:
    """A market with nothing within 30 ticks of the middle: orders of the script meet each other.

    The first account is long, the second short.
    """
    trading = Trading(PrivateRules(maker_fee_e8=-1_000))
    trading.order("BUY", "0.012", number=1)
    trading.order("SELL", "0.012", number=2)
    trading.market.flow(Side.SELL, OrderKind.MARKET, 5000)
    trading.market.flow(Side.BUY, OrderKind.MARKET, 5000)
    return trading


def act(trading: Trading, step: Submit | Flow | Change | Fund) -> None:
    desk = trading.desk
    if isinstance(step, Fund):
        desk.fund()
    elif isinstance(step, Flow):
        trading.market.flow(step.side, step.kind, step.lots, MIDDLE + step.away)
    elif isinstance(step, Submit):
        given = {"reduceOnly": "true"} if step.reduces else {}
        price = "" if step.away is None else price_of(MIDDLE + step.away)
        time_in_force = step.time_in_force if price else "GTC"
        trading.order(
            step.side, f"0.{step.lots:03d}", price, time_in_force,
            number=step.number, selfTradePreventionMode=step.mode, **given,
        )  # fmt: skip
    else:
        orders = list(desk.orders.values())
        if step.place >= len(orders):
            return
        order = orders[step.place]
        if step.lots:
            price_e8 = (MIDDLE + step.away) * BTC.tick_e8
            desk.amend(desk.accounts[order.owner], order, price_e8, step.lots * BTC.lot_e8)
        else:
            desk.cancel(order)


def check(trading: Trading) -> None:
    desk = trading.desk
    filled: dict[int, int] = defaultdict(int)
    sides: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for number, account in desk.accounts.items():
        trades = desk.trades[number]
        money, amount = 0, 0
        for trade in trades:
            filled[trade.order.number] += trade.quantity_e8
            sides[trade.trade_id].append((number, trade.is_maker))
            money += trade.realised_e8 - trade.fee_e8
            before = amount
            amount += trade.quantity_e8 if trade.order.side is Side.BUY else -trade.quantity_e8
            if trade.order.is_reduce_only:
                assert abs(amount) < abs(before), "a reduce-only order reduces"
                assert amount * before >= 0, "and does not turn a position round"
        assert amount == account.position("BTCUSDT").amount_e8
        funding = sum(paid.amount_e8 for paid in desk.fundings[number])
        assert account.wallet_e8 - 100_000 * E8 == money + funding
        summed = [0, 0]
        for order in desk.open[number].values():
            summed[order.side] += 0 if order.is_reduce_only else scaled(order.left_e8, order.price_e8)
        assert list(desk.open_notional(account, "BTCUSDT")) == summed
        room_e8 = {side: abs(amount) if (amount > 0) == (side is Side.SELL) else 0 for side in Side}
        for side in Side:
            reducing = [o.resting_e8 for o in desk.open[number].values() if o.is_reduce_only and o.side is side]
            assert sum(reducing) <= room_e8[side]
    assert all(len({owner for owner, _ in met}) == len(met) for met in sides.values()), "nobody trades with themselves"
    for order in desk.orders.values():
        assert order.executed_e8 == filled[order.number] <= order.quantity_e8
        assert order.is_open == (order.number in trading.market.left) == (order.number in desk.open[order.owner])
        if order.is_open:
            assert order.resting_e8 == trading.market.left[order.number] * BTC.lot_e8
            assert order.resting_e8 == order.left_e8 or order.is_reduce_only
        if order.time_in_force == "FOK":
            assert order.executed_e8 in (0, order.quantity_e8)
        assert updates(trading, order)[-1][1] == order.status.value
        assert (order.status is Status.FILLED) == (order.left_e8 == 0)


@given(scripts)
@settings(max_examples=250, deadline=None)
def test_whatever_is_traded_quantities_and_money_are_conserved(
    script: list[Submit | Flow | Change | Fund],
) -> None:
    trading = thin()
    for step in script:
        with suppress(Refused):
            act(trading, step)
        check(trading)


def test_profit_of_a_trade_is_told_with_eight_decimals_in_the_stream_and_in_the_list_of_trades() -> None:
    trading = Trading()
    trading.order("BUY", "0.010")
    trading.order("SELL", "0.003")
    told = [body["o"] for body in trading.told("ORDER_TRADE_UPDATE")]
    streamed = [order["rp"] for order in told if order["x"] == "TRADE"]
    assert streamed == ["0.00000000", "-0.00030000"]  # bought at the offer, sold at the bid: a tick of 0.1 on 0.003
    assert [trade_document(trade)["realizedPnl"] for trade in trading.desk.trades[1]] == streamed


def test_accounts_are_numbered_from_one() -> None:
    assert [account.config for account in Trading().desk.accounts.values()] == list(TWO_ACCOUNTS)
