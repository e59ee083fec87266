"""The words of an order that never change, as ready pieces of its JSON: many orders share them.

Nothing in them needs escaping but the symbol, which comes from a recording; the rest are the venue's own words.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import orjson

from connectors.simulator.listing import decimal_text
from connectors.simulator.matching import Prevention
from schemas.events import Side

TERMS_MAX = 4096  # kinds of orders are few, but trigger prices and dates come in any number
SIDE_WORDS = ("BUY", "SELL")  # by Side
PREVENTION_WORDS = {int(prevention): prevention.name for prevention in Prevention}
TRUTH = ("false", "true")


@lru_cache(TERMS_MAX)
def quoted(text: str) -> str:
    """Any text as JSON."""
    return orjson.dumps(text).decode()


class Terms(NamedTuple):
    """Pieces of JSON; a piece begins and ends where a value that changes does.

    Attributes:
        symbol: in quotes.
        nothing: a quantity of 0.
        told_kind, told_stop, told_reduces, told_prevention: of ORDER_TRADE_UPDATE: up to the quantity; from the average
            price to the execution; from `R` to the realised profit; from there to the reason.
        answer: of answers: from `timeInForce` to `updateTime`.
    """

    symbol: str
    nothing: str
    told_kind: str
    told_stop: str
    told_reduces: str
    told_prevention: str
    answer: str


@lru_cache(TERMS_MAX)
def terms_of(
    symbol: str, price_decimals: int, quantity_decimals: int, side: Side, kind: str, time_in_force: str,
    is_reduce_only: bool, prevention: Prevention, good_till_ms: int, original_kind: str, stop_price_e8: int,
) -> Terms:  # fmt: skip
    """The pieces of orders with these terms; see `VenueOrder` for what they are."""
    word, avoids = SIDE_WORDS[side], PREVENTION_WORDS[int(prevention)]
    stop = decimal_text(stop_price_e8, price_decimals) if stop_price_e8 else "0"
    reduces = TRUTH[is_reduce_only]
    return Terms(
        quoted(symbol),
        decimal_text(0, quantity_decimals),
        f'"S":"{word}","o":"{kind}","f":"{time_in_force}","q":"',
        f'","sp":"{stop}","x":"',
        f',"R":{reduces},"wt":"CONTRACT_PRICE","ot":"{original_kind}","ps":"BOTH","cp":false,"rp":"',
        f'","pP":false,"si":0,"ss":0,"V":"{avoids}","pm":"NONE","gtd":{good_till_ms},"er":"',
        f'"timeInForce":"{time_in_force}","type":"{kind}","reduceOnly":{reduces},"closePosition":false,'
        f'"side":"{word}","positionSide":"BOTH","stopPrice":"{stop}","workingType":"CONTRACT_PRICE",'
        f'"priceProtect":false,"origType":"{original_kind}","priceMatch":"NONE",'
        f'"selfTradePreventionMode":"{avoids}","goodTillDate":{good_till_ms},"updateTime":',
    )
