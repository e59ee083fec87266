"""Plain twin of what the simulated venue writes as JSON at once: the same documents, as documents."""

from __future__ import annotations

from connectors.simulator.listing import E8, Listed, decimal_text, short_text
from connectors.simulator.private_account import Account
from connectors.simulator.private_orders import Trade, VenueOrder

Document = dict[str, object]


def signed_text(value_e8: int, decimals: int = 8) -> str:
    return ("-" if value_e8 < 0 else "") + decimal_text(abs(value_e8), decimals)


def price_text(listed: Listed, price_e8: int) -> str:
    return decimal_text(price_e8, listed.price_decimals) if price_e8 else "0"


def quantity_text(listed: Listed, quantity_e8: int) -> str:
    return signed_text(quantity_e8, listed.quantity_decimals)


def average_text(order: VenueOrder) -> str:
    return short_text(order.quote_e8 * E8 // order.executed_e8) if order.executed_e8 else "0"


def acknowledgement(order: VenueOrder) -> Document:
    executed = quantity_text(order.listed, order.executed_e8)
    return {
        "orderId": order.number, "symbol": order.symbol, "status": str(order.status), "clientOrderId": order.client_id,
        "price": price_text(order.listed, order.price_e8), "origQty": quantity_text(order.listed, order.quantity_e8),
        "executedQty": executed, "cumQty": executed, "timeInForce": order.time_in_force, "type": order.kind,
        "reduceOnly": order.is_reduce_only, "closePosition": False, "side": order.side.name, "positionSide": "BOTH",
        "stopPrice": price_text(order.listed, order.stop_price_e8), "workingType": "CONTRACT_PRICE",
        "priceProtect": False, "origType": order.original_kind, "priceMatch": "NONE",
        "selfTradePreventionMode": order.prevention.name, "goodTillDate": order.good_till_ms,
        "updateTime": order.updated_ms,
    }  # fmt: skip


def acceptance(order: VenueOrder) -> Document:
    nothing = quantity_text(order.listed, 0)
    return acknowledgement(order) | {"status": "NEW", "executedQty": nothing, "cumQty": nothing}


def order_document(order: VenueOrder) -> Document:
    quote = short_text(order.quote_e8) if order.quote_e8 else "0"
    return acknowledgement(order) | {"avgPrice": average_text(order), "cumQuote": quote, "time": order.created_ms}


def order_update(order: VenueOrder, execution: str, now_ms: int, trade: Trade | None, reason: int) -> Document:
    listed = order.listed
    paid = {"N": listed.assets[1], "n": signed_text(trade.fee_e8)} if trade else {}
    told = {
        "s": order.symbol, "c": order.client_id, "S": order.side.name, "o": order.kind, "f": order.time_in_force,
        "q": quantity_text(listed, order.quantity_e8), "p": price_text(listed, order.price_e8),
        "ap": average_text(order), "sp": price_text(listed, order.stop_price_e8), "x": execution,
        "X": str(order.status), "i": order.number, "l": quantity_text(listed, trade.quantity_e8 if trade else 0),
        "z": quantity_text(listed, order.executed_e8), "L": price_text(listed, trade.price_e8 if trade else 0), **paid,
        "T": trade.time_ms if trade else order.updated_ms, "t": trade.trade_id if trade else 0,
        "b": signed_text(order.sums.bids_e8), "a": signed_text(order.sums.asks_e8),
        "m": trade.is_maker if trade else False, "R": order.is_reduce_only, "wt": "CONTRACT_PRICE",
        "ot": order.original_kind, "ps": "BOTH", "cp": False, "rp": signed_text(trade.realised_e8 if trade else 0),
        "pP": False, "si": 0, "ss": 0, "V": order.prevention.name, "pm": "NONE", "gtd": order.good_till_ms,
        "er": str(reason), "st": 1,
    }  # fmt: skip
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": now_ms, "o": told}


def trade_lite(trade: Trade, now_ms: int) -> Document:
    order = trade.order
    return {
        "e": "TRADE_LITE", "E": now_ms, "T": trade.time_ms, "s": order.symbol,
        "q": quantity_text(order.listed, order.quantity_e8), "p": price_text(order.listed, order.price_e8),
        "m": trade.is_maker, "c": order.client_id, "S": order.side.name,
        "L": price_text(order.listed, trade.price_e8), "l": quantity_text(order.listed, trade.quantity_e8),
        "t": trade.trade_id, "i": order.number, "st": 1,
    }  # fmt: skip


def account_update(account: Account, why: str, now_ms: int, marks: dict[str, int], change_e8: int) -> Document:
    wallet, positions = signed_text(account.wallet_e8), []
    for symbol, mark_e8 in marks.items():
        position = account.position(symbol)
        amount_e8, entry = position.amount_e8, short_text(position.entry_e8) if position.entry_e8 else "0"
        positions.append({
            "s": symbol, "pa": ("-" if amount_e8 < 0 else "") + short_text(abs(amount_e8)), "ep": entry, "bep": entry,
            "cr": signed_text(position.realised_e8), "up": signed_text(position.unrealised_e8(mark_e8)), "mt": "cross",
            "iw": "0", "ps": "BOTH",
        })  # fmt: skip
    balance = {"a": account.config.asset, "wb": wallet, "cw": wallet, "bc": signed_text(change_e8)}
    return {"e": "ACCOUNT_UPDATE", "E": now_ms, "T": now_ms, "a": {"B": [balance], "P": positions, "m": why}}
