"""What an order request asks for, checked against everything that does not depend on the account: words, filters.

The limits are those that exchangeInfo publishes (`listing.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from connectors.simulator.listing import E8, TEXTS_MAX, Listed, short_text
from connectors.simulator.matching import Prevention
from connectors.simulator.private_errors import refusal
from connectors.simulator.private_request import Parameters, decimal_e8
from schemas.events import Side

SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
EXPIRE_MAKER, BUY = Prevention.EXPIRE_MAKER, Side.BUY  # constants: members of an enum are looked up anew at every use
PREVENTIONS = {prevention.name: prevention for prevention in Prevention}
KINDS = ("LIMIT", "MARKET")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX", "GTD")
ALGO_KINDS = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET")
CONDITIONAL_KINDS = (*ALGO_KINDS, "TRAILING_STOP_MARKET")
CLIENT_ID_MAX = 36
_CLIENT_ID = re.compile(r"[\.A-Z\:/a-z0-9_-]{1,36}")
GOOD_TILL_MIN_MS = 600_000
GOOD_TILL_MAX_MS = 253_402_300_799_000
PRICE_TICKS_MAX = 100_000_000  # maxPrice ÷ tickSize
QUANTITY_LOTS_MAX = 1_000_000_000  # maxQty ÷ stepSize
PERCENT_UP, PERCENT_DOWN = 105, 95  # PERCENT_PRICE, in hundredths
MIN_NOTIONAL_E8 = 5 * E8


class Ticket(NamedTuple):
    """An order as asked for.

    Attributes:
        price_e8: 0 for MARKET.
        full_answer: newOrderRespType RESULT.
    """

    listed: Listed
    side: Side
    kind: str
    time_in_force: str
    quantity_e8: int
    price_e8: int
    client_id: str
    is_reduce_only: bool
    prevention: Prevention
    good_till_ms: int
    full_answer: bool = False


@dataclass(frozen=True)
class AlgoTicket:
    """A conditional order as asked for."""

    listed: Listed
    side: Side
    kind: str
    time_in_force: str
    quantity_e8: int
    price_e8: int
    trigger_e8: int
    client_id: str
    is_reduce_only: bool
    is_close_position: bool
    prevention: Prevention
    good_till_ms: int
    working_type: str


def client_id_of(given: Parameters, name: str) -> str:
    """The client id that a request names; "" without.

    Raises:
        Refused: -4015 too long, -1100 other letters than the venue takes.
    """
    text = given.values.get(name, "")
    if len(text) > CLIENT_ID_MAX:
        raise refusal(-4015)
    if text and not _CLIENT_ID.fullmatch(text):
        raise refusal(-1100, name, r"^[\.A-Z\:/a-z0-9_-]{1,36}$")
    return text


def side_of(given: Parameters) -> Side:
    side = SIDES.get(given.required("side"))
    if side is None:
        raise refusal(-1117)
    return side


def check_position_side(given: Parameters) -> None:
    """One-way mode has only BOTH."""
    if given.text("positionSide", "BOTH") != "BOTH":
        raise refusal(-4061)


def prevention_of(given: Parameters) -> Prevention:
    name = given.text("selfTradePreventionMode", "EXPIRE_MAKER")
    found = PREVENTIONS.get(name)
    if found is None:
        raise refusal(-5039)
    return found


def good_till_of(given: Parameters, time_in_force: str, now_ms: int) -> int:
    """The whole second until which a GTD order stands; 0 for others."""
    if time_in_force != "GTD":
        if given.text("goodTillDate", "0") != "0":
            raise refusal(-1106, "goodTillDate")
        return 0
    given.required("goodTillDate")
    until_ms = given.integer("goodTillDate")
    if not now_ms + GOOD_TILL_MIN_MS < until_ms < GOOD_TILL_MAX_MS:
        raise refusal(-5040)
    return until_ms - until_ms % 1000


def read_ticket(given: Parameters, listed: Listed, now_ms: int) -> Ticket:
    """Read POST /fapi/v1/order.

    Raises:
        Refused: a parameter is missing, not needed, or not one that the venue knows.
    """
    side, sent = side_of(given), given.values
    if "positionSide" in sent:
        check_position_side(given)
    kind, time_in_force, price_e8 = given.required("type"), "GTC", 0
    if kind not in KINDS:
        raise refusal(-4120 if kind in CONDITIONAL_KINDS else -1116)
    if sent.get("closePosition") or ("priceMatch" in sent and given.text("priceMatch", "NONE") != "NONE"):
        raise refusal(-1128)  # the one is for conditional orders; the simulated venue has no price match
    if kind == "LIMIT":
        time_in_force = given.required("timeInForce")
        if time_in_force not in TIMES_IN_FORCE:
            raise refusal(-1115)
        given.required("price")
        price_e8 = price_of(given, listed, "price")
    else:
        for name in ("price", "timeInForce"):
            if given.text(name):
                raise refusal(-1106, name)
    return Ticket(
        listed,
        side,
        kind,
        time_in_force,
        quantity_of(given, listed),
        price_e8,
        client_id_of(given, "newClientOrderId"),
        "reduceOnly" in sent and given.flag("reduceOnly"),
        prevention_of(given) if "selfTradePreventionMode" in sent else EXPIRE_MAKER,
        good_till_of(given, time_in_force, now_ms) if time_in_force == "GTD" or "goodTillDate" in sent else 0,
        sent.get("newOrderRespType") == "RESULT",
    )


def price_of(given: Parameters, listed: Listed, name: str) -> int:
    """A price that PRICE_FILTER allows."""
    return _price(given.values.get(name) or "", name, listed.tick_e8, listed.price_decimals)


@lru_cache(TEXTS_MAX)
def _price(text: str, name: str, tick_e8: int, decimals: int) -> int:
    price_e8 = decimal_e8(text, name, decimals) or 0
    check_price(tick_e8, price_e8)
    return price_e8


def quantity_of(given: Parameters, listed: Listed) -> int:
    """A quantity that LOT_SIZE allows."""
    return _quantity(given.required("quantity"), listed.lot_e8, listed.quantity_decimals)


@lru_cache(TEXTS_MAX)
def _quantity(text: str, lot_e8: int, decimals: int) -> int:
    quantity_e8 = decimal_e8(text, "quantity", decimals) or 0
    check_quantity(lot_e8, quantity_e8)
    return quantity_e8


def check_price(tick_e8: int, price_e8: int) -> None:
    """PRICE_FILTER. minPrice is one tick, so that prices are whole ticks."""
    if price_e8 <= 0:
        raise refusal(-4001)
    if price_e8 < tick_e8:
        raise refusal(-4013)
    if price_e8 > tick_e8 * PRICE_TICKS_MAX:
        raise refusal(-4002)
    if (price_e8 - tick_e8) % tick_e8:
        raise refusal(-4014)


def check_quantity(lot_e8: int, quantity_e8: int) -> None:
    """LOT_SIZE and MARKET_LOT_SIZE, which are the same here."""
    if quantity_e8 <= 0:
        raise refusal(-4003)
    if quantity_e8 < lot_e8:
        raise refusal(-4004)
    if quantity_e8 > lot_e8 * QUANTITY_LOTS_MAX:
        raise refusal(-4005)
    if (quantity_e8 - lot_e8) % lot_e8:
        raise refusal(-4023)


def check_percent(side: Side, price_e8: int, mark_e8: int) -> None:
    """PERCENT_PRICE: no limit far beyond the mark on the side that takes."""
    if side is BUY:
        if price_e8 * 100 > mark_e8 * PERCENT_UP:
            raise refusal(-4016, short_text(mark_e8 * PERCENT_UP // 100))
    elif price_e8 * 100 < mark_e8 * PERCENT_DOWN:
        raise refusal(-4024, short_text(mark_e8 * PERCENT_DOWN // 100))


def check_notional(price_e8: int, quantity_e8: int) -> None:
    """MIN_NOTIONAL."""
    if price_e8 * quantity_e8 < MIN_NOTIONAL_E8 * E8:
        raise refusal(-4164, short_text(MIN_NOTIONAL_E8))


def read_algo_ticket(given: Parameters, listed: Listed, now_ms: int) -> AlgoTicket:
    """Read POST /fapi/v1/algoOrder.

    Raises:
        Refused: see `read_ticket`.
    """
    if given.required("algoType") != "CONDITIONAL":
        raise refusal(-1130, "algoType")
    side = side_of(given)
    check_position_side(given)
    kind = given.required("type")
    if kind not in ALGO_KINDS:
        raise refusal(-1116)
    closes = given.flag("closePosition")
    if closes and (given.text("quantity") or given.text("reduceOnly")):
        raise refusal(-4137)
    given.required("triggerPrice")
    trigger_e8 = price_of(given, listed, "triggerPrice")
    time_in_force, price_e8 = "GTC", 0
    if not kind.endswith("MARKET"):
        if closes:
            raise refusal(-1128)
        time_in_force, price_e8 = given.text("timeInForce", "GTC"), price_of(given, listed, "price")
        if time_in_force not in TIMES_IN_FORCE:
            raise refusal(-1115)
    working_type = given.text("workingType", "CONTRACT_PRICE")
    if working_type not in ("CONTRACT_PRICE", "MARK_PRICE"):
        raise refusal(-1130, "workingType")
    return AlgoTicket(
        listed,
        side,
        kind,
        time_in_force,
        0 if closes else quantity_of(given, listed),
        price_e8,
        trigger_e8,
        client_id_of(given, "clientAlgoId"),
        closes or given.flag("reduceOnly"),
        closes,
        prevention_of(given),
        good_till_of(given, time_in_force, now_ms),
        working_type,
    )
