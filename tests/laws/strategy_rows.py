"""What the rule `strategies` reads: markets, strategies that come and go, orders with any fate, faulty rows."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from processors.strategy_host import (
    BAR_INPUT,
    FILL_INPUT,
    INSTRUMENT_INPUT,
    ORDER_INPUT,
    POSITION_INPUT,
    QUOTE_INPUT,
    STRATEGY_INPUT,
    TRADE_INPUT,
    Strategies,
)
from schemas.events import Trust
from schemas.instruments import instrument_id
from schemas.trading import OrderState
from tests.laws.inputs import Given, joined
from tests.laws.stream import Stream

START_NS = 1_700_000_000_000_000_000
SECOND_NS = 1_000_000_000
ONE = 10**8
TICK = ONE // 10
# A strategy trades one instrument, so that what is about it is about the instrument.
NAMES = {"maker": 11, "second_maker": 11, "follower": 12}
_PARAMETERS: dict[str, list[dict[str, Any]]] = {
    "market_making": [
        {"warm_up_quotes": 1, "requote_ticks": 1, "spread_ppm": 5_000, "quantity_e8": ONE, "inventory_max_e8": 3 * ONE},
        {"warm_up_quotes": 2, "use_amend": False, "retry_after_ns": SECOND_NS, "smoothing": 1},
    ],
    "momentum": [
        {"interval_ns": SECOND_NS, "fast": 1, "slow": 2, "quantity_e8": ONE, "at_market": True, "signal_every_ns": 0},
        {"interval_ns": SECOND_NS, "fast": 1, "slow": 3, "quantity_e8": ONE, "allow_short": False},
    ],
}
_steps_ns = st.sampled_from(
    [0, 1, 40_000_000] * 5 + [999_999_999, SECOND_NS, 3 * SECOND_NS, 11 * SECOND_NS, -5]
)  # mostly short: else every order is forgotten before it is heard of
_prices = st.integers(0, 30).map(lambda ticks: 100 * ONE + ticks * TICK)
_amounts = st.sampled_from([ONE // 4, ONE // 2, ONE, 3 * ONE])


def strategy(name: str, time_ns: int, draw: st.DrawFn) -> Given:
    rule = "momentum" if name == "follower" else "market_making"
    parameters = json.dumps(draw(st.sampled_from([*_PARAMETERS[rule], *_PARAMETERS[rule], {"nonsense": 1}])))
    values: dict[str, int | str] = {
        "ts_recv_ns": time_ns, "name": name, "strategy": instrument_id(name), "account": draw(st.integers(1, 2)),
        "rule": draw(st.sampled_from([rule] * 9 + ["unheard_of"])), "parameters": parameters,
        "instrument": NAMES[name], "enabled": draw(st.sampled_from([1, 1, 1, 0])),
    }  # fmt: skip
    return Given(STRATEGY_INPUT, values, NAMES[name])


def instrument(number: int, time_ns: int = START_NS) -> Given:
    values: dict[str, int | str] = {
        "ts_recv_ns": time_ns, "instrument": number, "tick_size_e8": TICK, "lot_size_e8": ONE // 1000,
        "price_min_e8": TICK, "multiplier_e8": ONE, "symbol": "X", "quantity_max_e8": 100 * ONE,
    }  # fmt: skip
    return Given(INSTRUMENT_INPUT, values, number)


def market(number: int, kind: str, time_ns: int, draw: st.DrawFn) -> Given:
    common: dict[str, int | str] = {"ts_event_ns": time_ns - 3, "ts_recv_ns": time_ns, "instrument": number}
    price = draw(_prices)
    if kind == "quote":
        common |= {"bid_price_e8": price, "ask_price_e8": price + draw(st.integers(1, 9)) * TICK}
        common |= {"bid_quantity_e8": draw(_amounts), "ask_quantity_e8": draw(_amounts)}
        trust = draw(st.sampled_from([Trust.SYNCED] * 9 + [Trust.GAP, Trust.STALE]))
        return Given(QUOTE_INPUT, common | {"trust": int(trust)}, number)
    if kind == "trade":
        return Given(TRADE_INPUT, common | {"price_e8": price, "quantity_e8": draw(_amounts)}, number)
    common |= {"close_e8": price, "open_e8": price, "size": SECOND_NS, "revision": draw(st.sampled_from([0, 0, 0, 1]))}
    return Given(BAR_INPUT, common, number)


def own(name: str, kind: str, time_ns: int, draw: st.DrawFn) -> Given:
    common: dict[str, int | str] = {
        "ts_event_ns": time_ns - 3, "ts_recv_ns": time_ns, "instrument": NAMES[name],
        "account": draw(st.integers(1, 2)), "strategy": instrument_id(name),
    }  # fmt: skip
    if kind == "position":
        return Given(POSITION_INPUT, common | {"quantity_e8": draw(st.integers(-ONE, ONE))}, NAMES[name])
    tag = draw(st.integers(1, 4))
    if kind == "fill":
        common |= {"order_id": 100 + tag, "quantity_e8": draw(_amounts), "price_e8": draw(_prices)}
        return Given(FILL_INPUT, common | {"side": draw(st.integers(0, 1))}, NAMES[name])
    state = draw(st.sampled_from([OrderState.OPEN] * 12 + list(OrderState)))
    common |= {
        "tag": tag, "order_id": 100 + tag, "price_e8": draw(_prices), "quantity_e8": 3 * ONE, "state": int(state),
        "filled_e8": draw(st.sampled_from([0, 0, ONE, 3 * ONE])), "side": draw(st.integers(0, 1)),
        "code": draw(st.sampled_from([0, 0, 0, -2010])),
    }  # fmt: skip
    return Given(ORDER_INPUT, common, NAMES[name])


_FAULTS: list[tuple[int, dict[str, int | str]]] = [
    (QUOTE_INPUT, {"trust": 6}),
    (QUOTE_INPUT, {"bid_price_e8": -1}),
    (TRADE_INPUT, {"price_e8": 0}),
    (BAR_INPUT, {"kind": 4}),
    (ORDER_INPUT, {"account": 0}),
    (ORDER_INPUT, {"account": 1, "state": 12}),
    (FILL_INPUT, {"quantity_e8": -1}),
    (POSITION_INPUT, {"account": 0}),
    (INSTRUMENT_INPUT, {"status": 9}),
    (QUOTE_INPUT, {"ts_event_ns": -1}),
    (STRATEGY_INPUT, {"enabled": 1, "name": "maker"}),
    (STRATEGY_INPUT, {"enabled": 1, "name": "maker", "strategy": instrument_id("maker"), "account": 1, "rule": "no"}),
]


def _faulty(time_ns: int, fault: tuple[int, dict[str, int | str]]) -> Given:
    common: dict[str, int | str] = {"ts_recv_ns": time_ns, "instrument": 11}
    return Given(fault[0], common | fault[1], 11)


@st.composite
def givens(draw: st.DrawFn, rows_max: int = 40) -> list[Given]:
    found, now_ns = [instrument(11), instrument(12)], START_NS
    found += [strategy(name, START_NS, draw) for name in NAMES]
    kinds = ["quote"] * 8 + ["order"] * 8 + ["trade", "bar", "bar", "strategy", "fill", "position", "bad"]
    for _ in range(draw(st.integers(1, rows_max))):
        now_ns += draw(_steps_ns)
        kind, name = draw(st.sampled_from(kinds)), draw(st.sampled_from(list(NAMES)))
        if kind in ("quote", "trade", "bar"):
            found.append(market(NAMES[name], kind, now_ns, draw))
        elif kind == "strategy":
            found.append(strategy(name, now_ns, draw))
        elif kind == "bad":
            found.append(_faulty(now_ns, draw(st.sampled_from(_FAULTS))))
        else:
            found.append(own(name, kind, now_ns, draw))
    return found


def streams() -> st.SearchStrategy[Stream]:
    return givens().map(lambda given: joined(Strategies.inputs, given))


def invalid() -> st.SearchStrategy[Stream]:
    """Rows that no state of the rule can take."""
    return st.sampled_from(_FAULTS).map(lambda fault: joined(Strategies.inputs, [_faulty(START_NS, fault)]))
