"""How trading stands, gathered from rows: who holds what, what was filled, what was denied and why."""

from __future__ import annotations

from typing import Any

import numpy as np

from infra.up.trading import TradingNow, money
from schemas.declare import EMPTY_HEAP, Event, Rows
from schemas.events import LATENCY, Hop, Side
from schemas.instruments import instrument_id
from schemas.trading import DENIAL, FILL, ORDER, POSITION, STRATEGY, OrderState, Reason, Unit
from streams.api import Chunk, WriterKey
from streams.pipelines import PIPELINES, TASKS_MAX

ONE = 10**8
MAKER, BTC = instrument_id("maker"), instrument_id("binance_usdm:BTCUSDT")


def rows(event: Event, *given: dict[str, Any]) -> Rows:
    made = event.empty(len(given))
    for row, values in zip(made, given, strict=True):
        for name, value in values.items():
            row[name] = value
    return made


def test_orders_fills_denials_and_positions_add_up_by_strategy() -> None:
    now = TradingNow()
    who = {"strategy": MAKER, "instrument": BTC}
    made = rows(STRATEGY, {"strategy": MAKER, "enabled": 1, "name_size": 5})
    now.take("ref.strategy.v1", Chunk(WriterKey(29, 0, 1, 1), 1, made, np.frombuffer(b"maker", dtype=np.uint8)), str)
    for order_id, state in ((1, OrderState.OPEN), (2, OrderState.PENDING_SUBMIT), (1, OrderState.FILLED)):
        chunk = Chunk(WriterKey(23, 0, 1, 1), 1, rows(ORDER, {**who, "order_id": order_id, "state": state}), EMPTY_HEAP)
        now.take("oms.order.v1", chunk, str)
    fill = {**who, "side": Side.SELL, "quantity_e8": ONE // 2, "price_e8": 60_000 * ONE}
    now.take("oms.fill.v1", Chunk(WriterKey(24, 0, 1, 1), 1, rows(FILL, fill), EMPTY_HEAP), lambda _: "BTC")
    denial = {**who, "reason": Reason.ORDER_NOTIONAL, "unit": Unit.NOTIONAL_E8, "value": 9 * ONE, "limit": 5 * ONE}
    halted = {**who, "reason": Reason.KILL_GLOBAL, "unit": Unit.NONE}
    now.take("risk.denial.v1", Chunk(WriterKey(19, 0, 1, 1), 1, rows(DENIAL, halted, denial), EMPTY_HEAP), str)
    held = {**who, "quantity_e8": -ONE, "realised_e8": 7 * ONE, "unrealised_e8": -2 * ONE, "fees_e8": ONE}
    now.take("acct.position.v1", Chunk(WriterKey(25, 0, 1, 1), 1, rows(POSITION, held), EMPTY_HEAP), str)

    maker = now.strategies[MAKER]
    assert (maker.name, maker.enabled, maker.open_orders, maker.fills) == ("maker", True, {2}, 1)
    assert maker.last_fill == "sell 0.5 BTC at 60000"
    assert maker.denials == {"KILL_GLOBAL": 1, "ORDER_NOTIONAL": 1}
    assert maker.last_denial == "ORDER_NOTIONAL 9 against 5"
    assert (maker.profit_e8, money(maker.profit_e8)) == (4 * ONE, "+4.00")
    assert now.fills == 1


def test_hops_add_up_over_intervals() -> None:
    now = TradingNow()
    risk = next(row for row in PIPELINES if row.name == "risk")
    one = rows(LATENCY, {"writer": risk.number * TASKS_MAX, "hop": Hop.RECV_TO_OUTPUT, "count": 2, "max_ns": 900_000})
    one["bucket"][0, 40] = 2
    other = one.copy()
    other["hop"] = Hop.OUTPUT_TO_COMMIT
    for chunk in (one, one, other):
        now.take("sys.latency.v1", Chunk(WriterKey(13, 0, 1, 1), 1, chunk, EMPTY_HEAP), str)
    assert set(now.hops) == {"risk"}
    assert (now.hops["risk"].count, now.hops["risk"].buckets[40]) == (4, 4)
    assert 0 < now.hops["risk"].quantile_ns(0.5) <= 900_000
