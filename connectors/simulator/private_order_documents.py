"""The shapes in which the venue shows orders: answers, lists and stream events.

What comes with every order is written as JSON at once, around the ready pieces of `private_terms.py`; what is asked for
now and then is an ordinary document. (`tests/reference/venue_documents.py`: the same, all as documents.)
"""

from __future__ import annotations

import orjson

from connectors.simulator.listing import E8, short_text
from connectors.simulator.private_amounts import average_text, price_text, quantity_text, signed_text
from connectors.simulator.private_event import Event, event_of
from connectors.simulator.private_orders import NO_REASON, AlgoOrder, Trade, VenueOrder
from connectors.simulator.private_terms import PREVENTION_WORDS, SIDE_WORDS, TRUTH
from schemas.events import Side


def _answer(order: VenueOrder, status: str, executed: str) -> str:
    terms = order.terms
    return (
        f'{{"orderId":{order.number},"symbol":{terms.symbol},"status":"{status}","clientOrderId":"{order.client_id}",'
        f'"price":"{order.price_text}","origQty":"{order.quantity_text}","executedQty":"{executed}",'
        f'"cumQty":"{executed}",{terms.answer}{order.updated_ms}'
    )


def acceptance(order: VenueOrder) -> orjson.Fragment:
    """Answer to a new order: as it was before it met the market. Since June 2026 without average and quote quantity."""
    return orjson.Fragment(_answer(order, "NEW", order.terms.nothing) + "}")


def acknowledgement(order: VenueOrder) -> orjson.Fragment:
    """Answer to a modified order."""
    return orjson.Fragment(_answer(order, order.status, order.executed_text) + "}")


def order_document(order: VenueOrder) -> orjson.Fragment:
    """Answer to a query, and a row of openOrders and allOrders."""
    return orjson.Fragment(
        f'{_answer(order, order.status, order.executed_text)},"avgPrice":"{order.average_text}",'
        f'"cumQuote":"{average_text(order.quote_e8)}","time":{order.created_ms}}}'
    )


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


def order_update(order: VenueOrder, execution: str, now_ms: int, reason: int = NO_REASON) -> Event:
    """ORDER_TRADE_UPDATE of anything but an execution.

    Args:
        execution: NEW, CANCELED, EXPIRED or AMENDMENT.
        reason: of EXPIRED.
    """
    terms, sums, now = order.terms, order.sums, str(now_ms)
    average, executed = (order.average_text, order.executed_text) if order.executed_e8 else ("0", terms.nothing)
    body = (
        f'{{"e":"ORDER_TRADE_UPDATE","E":{now},"T":{now},"o":{{"s":{terms.symbol},"c":"{order.client_id}",'
        f'{terms.told_kind}{order.quantity_text}","p":"{order.price_text}","ap":"{average}{terms.told_stop}{execution}"'
        f',"X":"{order.status}","i":{order.number},"l":"{terms.nothing}","z":"{executed}","L":"0",'
        f'"T":{order.updated_ms},"t":0,"b":"{signed_text(sums.bids_e8)}","a":"{signed_text(sums.asks_e8)}","m":false'
        f'{terms.told_reduces}0.00000000{terms.told_prevention}{reason}","st":1}}}}'
    )
    return Event("ORDER_TRADE_UPDATE", body.encode())


def trade_update(trade: Trade, execution: str, now_ms: int) -> Event:
    """ORDER_TRADE_UPDATE of an execution: TRADE or CALCULATED."""
    order, trade_id, price_e8, quantity_e8, realised_e8, fee_e8, is_maker, time_ms = trade
    listed, terms, sums, now = order.listed, order.terms, order.sums, str(now_ms)
    body = (
        f'{{"e":"ORDER_TRADE_UPDATE","E":{now},"T":{now},"o":{{"s":{terms.symbol},"c":"{order.client_id}",'
        f'{terms.told_kind}{order.quantity_text}","p":"{order.price_text}","ap":"{order.average_text}'
        f'{terms.told_stop}{execution}","X":"{order.status}","i":{order.number},'
        f'"l":"{quantity_text(listed, quantity_e8)}","z":"{order.executed_text}","L":"{price_text(listed, price_e8)}",'
        f'"N":"{listed.assets[1]}","n":"{signed_text(fee_e8)}","T":{time_ms},"t":{trade_id},'
        f'"b":"{signed_text(sums.bids_e8)}","a":"{signed_text(sums.asks_e8)}","m":{TRUTH[is_maker]}'
        f'{terms.told_reduces}{signed_text(realised_e8)}{terms.told_prevention}{NO_REASON}","st":1}}}}'
    )
    return Event("ORDER_TRADE_UPDATE", body.encode())


def trade_lite(trade: Trade, now_ms: int) -> Event:
    """TRADE_LITE: a fill without fee and profit."""
    order, trade_id, price_e8, quantity_e8, _, _, is_maker, time_ms = trade
    listed = order.listed
    body = (
        f'{{"e":"TRADE_LITE","E":{now_ms},"T":{time_ms},"s":{order.terms.symbol},"q":"{order.quantity_text}",'
        f'"p":"{order.price_text}","m":{TRUTH[is_maker]},"c":"{order.client_id}","S":"{SIDE_WORDS[order.side]}",'
        f'"L":"{price_text(listed, price_e8)}","l":"{quantity_text(listed, quantity_e8)}","t":{trade_id},'
        f'"i":{order.number},"st":1}}'
    )
    return Event("TRADE_LITE", body.encode())


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


def algo_update(algo: AlgoOrder, now_ms: int) -> Event:
    """ALGO_UPDATE."""
    listed, order = algo.listed, algo.order
    return event_of(
        {
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
    )
