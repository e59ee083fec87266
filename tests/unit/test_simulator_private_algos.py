"""Conditional orders of the simulated venue: wait, trigger, and what becomes of them."""

from __future__ import annotations

import pytest

from connectors.simulator.listing import E8
from connectors.simulator.matching import OrderKind
from connectors.simulator.private_algos import Algos
from connectors.simulator.private_orders import AlgoOrder, Status
from connectors.simulator.private_request import Parameters
from connectors.simulator.private_tickets import read_algo_ticket
from connectors.simulator.rest import Refused
from schemas.events import Side
from tests.private_market import BTC, MIDDLE, NOW_MS, Trading

STOP = {
    "algoType": "CONDITIONAL",
    "type": "STOP_MARKET",
    "side": "SELL",
    "triggerPrice": "59990.0",
    "quantity": "0.010",
}


class Conditional(Trading):
    """A desk with conditional orders."""

    def __init__(self) -> None:
        super().__init__()
        self.algos = Algos(self.desk)

    def traded(self, symbol: str, tick: int) -> None:
        self.algos.traded(symbol, tick)

    def moved(self, symbol: str) -> None:
        self.algos.moved(symbol)

    def stop(self, **change: str) -> AlgoOrder:
        return self.algos.submit(self.account(), read_algo_ticket(Parameters(STOP | change), BTC, NOW_MS))

    def states(self) -> list[str]:
        return [event["o"]["X"] for event in self.told("ALGO_UPDATE")]


def code_of(**change: str) -> int:
    with pytest.raises(Refused) as caught:
        Conditional().stop(**change)
    return caught.value.code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"algoType": "TWAP"}, -1130),
        ({"type": "LIMIT"}, -1116),
        ({"triggerPrice": ""}, -1102),
        ({"triggerPrice": "59990.05"}, -4014),
        ({"triggerPrice": "60000.1"}, -2021),
        ({"side": "BUY"}, -2021),
        ({"type": "STOP"}, -4001),
        ({"closePosition": "true"}, -4137),
        ({"workingType": "INDEX"}, -1130),
    ],
)
def test_conditional_order_that_the_venue_does_not_take_has_its_code(change: dict[str, str], code: int) -> None:
    assert code_of(**change) == code


def test_stop_market_sells_when_a_trade_reaches_its_trigger() -> None:
    trading = Conditional()
    algo = trading.stop(clientAlgoId="stop-1")
    trading.market.flow(Side.SELL, OrderKind.MARKET, 4000)
    assert (algo.status, trading.told("ORDER_TRADE_UPDATE")) == ("NEW", [])
    trading.market.flow(Side.SELL, OrderKind.MARKET, 2000)
    order = algo.order
    assert order is not None
    assert (order.kind, order.original_kind, order.stop_price_e8) == ("MARKET", "STOP_MARKET", 59_990 * E8)
    assert (order.status, order.client_id, order.executed_e8) == (Status.FILLED, "stop-1", E8 // 100)
    assert trading.states() == ["NEW", "TRIGGERING", "TRIGGERED", "FINISHED"]
    assert trading.told("ALGO_UPDATE")[2]["o"]["ai"] == str(order.number)
    assert trading.algos.open_orders(trading.account()) == []


def test_stop_limit_rests_after_its_trigger_and_finishes_with_its_order() -> None:
    trading = Conditional()
    algo = trading.stop(type="STOP", price="60005.0")
    trading.market.flow(Side.SELL, OrderKind.MARKET, 6000)
    assert algo.order is not None
    assert (algo.status, algo.order.status) == ("TRIGGERED", Status.NEW)
    trading.desk.cancel(algo.order)
    assert trading.states()[-1] == "FINISHED"


def test_mark_price_is_looked_at_where_it_is_asked_for() -> None:
    trading = Conditional()
    algo = trading.stop(workingType="MARK_PRICE", triggerPrice="59995.1")
    trading.market.flow(Side.SELL, OrderKind.LIMIT, 5000, MIDDLE)  # the tape prints 60,000.0 only
    assert algo.status == "FINISHED", "with the first bid level gone the middle is at 59,995.05"


def test_triggered_order_that_is_refused_is_rejected_with_the_reason() -> None:
    trading = Conditional()
    algo = trading.stop(reduceOnly="true")
    trading.market.flow(Side.SELL, OrderKind.MARKET, 6000)
    assert (algo.status, algo.reason) == ("REJECTED", "ReduceOnly Order is rejected.")
    assert trading.told("ALGO_UPDATE")[-1]["o"]["rm"] == algo.reason


def test_close_position_sells_whatever_is_held_then() -> None:
    trading = Conditional()
    trading.stop(closePosition="true", quantity="")
    trading.order("BUY", "0.025")
    trading.market.flow(Side.SELL, OrderKind.MARKET, 6000)
    assert trading.account().position("BTCUSDT").amount_e8 == 0
    assert trading.states()[-1] == "FINISHED"


def test_conditional_order_is_cancelled_once_and_found_by_either_id() -> None:
    trading = Conditional()
    algo = trading.stop(clientAlgoId="mine")
    with pytest.raises(Refused) as twice:
        trading.stop(clientAlgoId="mine")
    assert twice.value.code == -4116
    assert trading.algos.find(trading.account(), algo.number, "") is algo
    assert trading.algos.find(trading.account(), 0, "mine") is algo
    with pytest.raises(Refused) as foreign:
        trading.algos.find(trading.account(2), algo.number, "")
    assert foreign.value.code == -2013
    trading.algos.cancel(algo)
    with pytest.raises(Refused) as over:
        trading.algos.cancel(algo)
    assert over.value.code == -2011
    assert trading.states() == ["NEW", "CANCELED"]


def test_take_profit_triggers_in_the_other_direction() -> None:
    trading = Conditional()
    trading.order("BUY", "0.010")
    algo = trading.stop(type="TAKE_PROFIT_MARKET", triggerPrice="60010.0", reduceOnly="true")
    trading.market.flow(Side.BUY, OrderKind.MARKET, 6000)
    assert (algo.status, trading.account().position("BTCUSDT").amount_e8) == ("FINISHED", 0)
