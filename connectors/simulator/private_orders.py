"""Orders as the venue keeps them, and the shapes in which it shows them: answers, lists and stream events."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NamedTuple

from connectors.simulator.listing import E8, Listed, decimal_text, short_text
from connectors.simulator.matching import Prevention
from schemas.events import Side

# Reasons of an expiry, as ORDER_TRADE_UPDATE gives them.
NO_REASON, SELF_TRADE, IMMEDIATE_REST, IMMEDIATE_SELF_TRADE, REDUCE_ONLY, LIQUIDATION = 0, 1, 2, 3, 4, 5


class Status(enum.StrEnum):
    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"

    @property
    def is_open(self) -> bool:
        return self in (Status.NEW, Status.PARTIALLY_FILLED)


SIDE_WORDS = ("BUY", "SELL")  # by Side
PREVENTION_WORDS = {int(prevention): prevention.name for prevention in Prevention}


@dataclass
class VenueOrder:
    """One order.

    Attributes:
        number: its order id, in the order of acceptance.
        owner: number of the account.
        kind: LIMIT or MARKET; `original_kind` is that of the conditional order it came from, else the same.
        time_in_force: GTC, IOC, FOK, GTX or GTD; of a MARKET order GTC, which means nothing.
        price_e8: 0 for MARKET.
        stop_price_e8: of the conditional order it came from; else 0.
        good_till_ms: of GTD; else 0.
        quote_e8: Σ price × quantity of its executions.
        resting_e8: what of it stands in the market. Less than `left_e8` where a reduce-only order was cut to the
            position that it may reduce.
    """

    number: int
    owner: int
    listed: Listed
    client_id: str
    side: Side
    kind: str
    time_in_force: str
    price_e8: int
    quantity_e8: int
    created_ms: int
    is_reduce_only: bool = False
    is_close_position: bool = False
    prevention: Prevention = Prevention.EXPIRE_MAKER
    good_till_ms: int = 0
    original_kind: str = ""
    stop_price_e8: int = 0
    working_type: str = "CONTRACT_PRICE"
    status: Status = Status.NEW
    executed_e8: int = 0
    quote_e8: int = 0
    realised_e8: int = 0
    updated_ms: int = 0
    resting_e8: int = 0
    modifications: int = 0
    is_liquidation: bool = False

    def __post_init__(self) -> None:
        self.original_kind = self.original_kind or self.kind
        self.updated_ms = self.updated_ms or self.created_ms

    @property
    def symbol(self) -> str:
        return self.listed.symbol

    @property
    def left_e8(self) -> int:
        return self.quantity_e8 - self.executed_e8

    @property
    def is_open(self) -> bool:
        return self.status.is_open

    @property
    def average_e8(self) -> int:
        return self.quote_e8 * E8 // self.executed_e8 if self.executed_e8 else 0


class Trade(NamedTuple):
    """One execution of an order."""

    order: VenueOrder
    trade_id: int
    price_e8: int
    quantity_e8: int
    realised_e8: int
    fee_e8: int
    is_maker: bool
    time_ms: int


@dataclass
class AlgoOrder:
    """A conditional order: waits outside the book until its trigger price is met.

    Attributes:
        number: its algo id.
        status: NEW, TRIGGERING, TRIGGERED, FINISHED, CANCELED, EXPIRED or REJECTED.
        triggers_up: whether the price must rise to the trigger.
        order: what it became.
        reason: why it was rejected.
    """

    number: int
    owner: int
    listed: Listed
    client_id: str
    side: Side
    kind: str
    time_in_force: str
    trigger_e8: int
    price_e8: int
    quantity_e8: int
    created_ms: int
    triggers_up: bool
    working_type: str = "CONTRACT_PRICE"
    is_reduce_only: bool = False
    is_close_position: bool = False
    prevention: Prevention = Prevention.EXPIRE_MAKER
    good_till_ms: int = 0
    status: str = "NEW"
    order: VenueOrder | None = field(default=None, repr=False)
    triggered_ms: int = 0
    updated_ms: int = 0
    reason: str = ""


def signed_text(value_e8: int) -> str:
    """With eight decimals, as the venue writes money."""
    return ("-" if value_e8 < 0 else "") + decimal_text(abs(value_e8), 8)


def price_text(listed: Listed, price_e8: int) -> str:
    """As the venue writes an order's price: with the instrument's decimals; `0` without."""
    return decimal_text(price_e8, listed.price_decimals) if price_e8 else "0"


def quantity_text(listed: Listed, quantity_e8: int) -> str:
    """Of either sign, with the instrument's decimals."""
    return ("-" if quantity_e8 < 0 else "") + decimal_text(abs(quantity_e8), listed.quantity_decimals)


def average_text(price_e8: int) -> str:
    return short_text(price_e8) if price_e8 else "0"


def acknowledgement(order: VenueOrder) -> dict[str, object]:
    """Answer to a new or modified order: since June 2026 without average and quote quantity."""
    return {
        "orderId": order.number,
        "symbol": order.symbol,
        "status": str(order.status),
        "clientOrderId": order.client_id,
        "price": price_text(order.listed, order.price_e8),
        "origQty": quantity_text(order.listed, order.quantity_e8),
        "executedQty": quantity_text(order.listed, order.executed_e8),
        "cumQty": quantity_text(order.listed, order.executed_e8),
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "reduceOnly": order.is_reduce_only,
        "closePosition": order.is_close_position,
        "side": SIDE_WORDS[order.side],
        "positionSide": "BOTH",
        "stopPrice": price_text(order.listed, order.stop_price_e8),
        "workingType": order.working_type,
        "priceProtect": False,
        "origType": order.original_kind,
        "priceMatch": "NONE",
        "selfTradePreventionMode": PREVENTION_WORDS[int(order.prevention)],
        "goodTillDate": order.good_till_ms,
        "updateTime": order.updated_ms,
    }


def order_document(order: VenueOrder) -> dict[str, object]:
    """Answer to a query, and a row of openOrders and allOrders."""
    return acknowledgement(order) | {
        "avgPrice": average_text(order.average_e8),
        "cumQuote": short_text(order.quote_e8) if order.quote_e8 else "0",
        "time": order.created_ms,
    }


def trade_document(trade: Trade) -> dict[str, object]:
    """A row of userTrades."""
    order = trade.order
    quote = order.listed.assets[1]
    return {
        "buyer": order.side is Side.BUY,
        "commission": signed_text(trade.fee_e8),
        "commissionAsset": quote,
        "id": trade.trade_id,
        "maker": trade.is_maker,
        "orderId": order.number,
        "price": price_text(order.listed, trade.price_e8),
        "qty": quantity_text(order.listed, trade.quantity_e8),
        "quoteQty": short_text(trade.price_e8 * trade.quantity_e8 // E8),
        "realizedPnl": signed_text(trade.realised_e8),
        "side": SIDE_WORDS[order.side],
        "positionSide": "BOTH",
        "symbol": order.symbol,
        "pair": order.symbol,
        "baseQty": quantity_text(order.listed, trade.quantity_e8),
        "time": trade.time_ms,
    }


def order_update(
    order: VenueOrder, execution: str, now_ms: int, notional: tuple[int, int], trade: Trade | None = None,
    reason: int = NO_REASON,
) -> dict[str, object]:  # fmt: skip
    """ORDER_TRADE_UPDATE.

    Args:
        execution: NEW, CANCELED, EXPIRED, TRADE, AMENDMENT or CALCULATED.
        notional: of the account's open bids and asks in the symbol.
        trade: of TRADE and CALCULATED.
        reason: of EXPIRED.
    """
    listed = order.listed
    told: dict[str, object] = {
        "s": order.symbol,
        "c": order.client_id,
        "S": SIDE_WORDS[order.side],
        "o": order.kind,
        "f": order.time_in_force,
        "q": quantity_text(listed, order.quantity_e8),
        "p": price_text(listed, order.price_e8),
        "ap": average_text(order.average_e8),
        "sp": price_text(listed, order.stop_price_e8),
        "x": execution,
        "X": str(order.status),
        "i": order.number,
        "l": quantity_text(listed, trade.quantity_e8 if trade else 0),
        "z": quantity_text(listed, order.executed_e8),
        "L": price_text(listed, trade.price_e8 if trade else 0),
    }
    if trade is not None:
        told["N"], told["n"] = listed.assets[1], signed_text(trade.fee_e8)
    told |= {
        "T": trade.time_ms if trade else order.updated_ms,
        "t": trade.trade_id if trade else 0,
        "b": signed_text(notional[0]),
        "a": signed_text(notional[1]),
        "m": trade.is_maker if trade else False,
        "R": order.is_reduce_only,
        "wt": order.working_type,
        "ot": order.original_kind,
        "ps": "BOTH",
        "cp": order.is_close_position,
        "rp": signed_text(trade.realised_e8 if trade else 0),
        "pP": False,
        "si": 0,
        "ss": 0,
        "V": PREVENTION_WORDS[int(order.prevention)],
        "pm": "NONE",
        "gtd": order.good_till_ms,
        "er": str(reason),
        "st": 1,
    }
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": now_ms, "o": told}


def trade_lite(trade: Trade, now_ms: int) -> dict[str, object]:
    """TRADE_LITE: a fill without fee and profit."""
    order = trade.order
    return {
        "e": "TRADE_LITE",
        "E": now_ms,
        "T": trade.time_ms,
        "s": order.symbol,
        "q": quantity_text(order.listed, order.quantity_e8),
        "p": price_text(order.listed, order.price_e8),
        "m": trade.is_maker,
        "c": order.client_id,
        "S": SIDE_WORDS[order.side],
        "L": price_text(order.listed, trade.price_e8),
        "l": quantity_text(order.listed, trade.quantity_e8),
        "t": trade.trade_id,
        "i": order.number,
        "st": 1,
    }


def algo_document(algo: AlgoOrder) -> dict[str, object]:
    """Answer to a new or queried conditional order, and a row of openAlgoOrders."""
    listed = algo.listed
    return {
        "algoId": algo.number,
        "clientAlgoId": algo.client_id,
        "algoType": "CONDITIONAL",
        "orderType": algo.kind,
        "symbol": listed.symbol,
        "side": SIDE_WORDS[algo.side],
        "positionSide": "BOTH",
        "timeInForce": algo.time_in_force,
        "quantity": quantity_text(listed, algo.quantity_e8),
        "algoStatus": algo.status,
        "actualOrderId": str(algo.order.number) if algo.order else "",
        "actualPrice": average_text(algo.order.average_e8 if algo.order else 0),
        "triggerPrice": price_text(listed, algo.trigger_e8),
        "price": price_text(listed, algo.price_e8),
        "icebergQuantity": None,
        "tpTriggerPrice": "0",
        "tpPrice": "0",
        "slTriggerPrice": "0",
        "slPrice": "0",
        "tpOrderType": "",
        "selfTradePreventionMode": PREVENTION_WORDS[int(algo.prevention)],
        "workingType": algo.working_type,
        "priceMatch": "NONE",
        "closePosition": algo.is_close_position,
        "priceProtect": False,
        "reduceOnly": algo.is_reduce_only,
        "createTime": algo.created_ms,
        "updateTime": algo.updated_ms or algo.created_ms,
        "triggerTime": algo.triggered_ms,
        "goodTillDate": algo.good_till_ms,
    }


def algo_update(algo: AlgoOrder, now_ms: int) -> dict[str, object]:
    """ALGO_UPDATE."""
    listed, order = algo.listed, algo.order
    return {
        "e": "ALGO_UPDATE",
        "T": now_ms,
        "E": now_ms,
        "o": {
            "caid": algo.client_id,
            "aid": algo.number,
            "at": "CONDITIONAL",
            "o": algo.kind,
            "s": listed.symbol,
            "S": SIDE_WORDS[algo.side],
            "ps": "BOTH",
            "f": algo.time_in_force,
            "q": quantity_text(listed, algo.quantity_e8),
            "X": algo.status,
            "ai": str(order.number) if order else "",
            "ap": average_text(order.average_e8 if order else 0),
            "aq": quantity_text(listed, order.executed_e8 if order else 0),
            "act": order.kind if order else "",
            "tp": price_text(listed, algo.trigger_e8),
            "p": price_text(listed, algo.price_e8),
            "V": PREVENTION_WORDS[int(algo.prevention)],
            "wt": algo.working_type,
            "pm": "NONE",
            "cp": algo.is_close_position,
            "pP": False,
            "R": algo.is_reduce_only,
            "tt": algo.triggered_ms,
            "gtd": algo.good_till_ms,
            "rm": algo.reason,
        },
    }
