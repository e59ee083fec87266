"""The private endpoints, without I/O: a call comes in, is admitted, and carried out.

Admission (key, time, signature, order count) happens when a request arrives, execution when it reaches the market.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from connectors.simulator.private_account import Account
from connectors.simulator.private_algos import Algos
from connectors.simulator.private_config import PrivateRules
from connectors.simulator.private_desk import Desk
from connectors.simulator.private_documents import (
    account_document,
    balance_document,
    income_row,
    position_document,
    restrictions_document,
)
from connectors.simulator.private_errors import refusal
from connectors.simulator.private_event import event_of
from connectors.simulator.private_limits import OrderCounts
from connectors.simulator.private_order_documents import (
    acceptance,
    acknowledgement,
    algo_document,
    order_document,
    trade_document,
)
from connectors.simulator.private_orders import AlgoOrder, VenueOrder
from connectors.simulator.private_request import (
    Call,
    Parameters,
    Window,
    check_key,
    check_signed,
    parameters_of,
)
from connectors.simulator.private_stream import UserStreams
from connectors.simulator.private_tickets import (
    check_position_side,
    client_id_of,
    price_of,
    quantity_of,
    read_algo_ticket,
    read_ticket,
    side_of,
)

LIST_DEFAULT, LIST_MAX = 500, 1000
LEVERAGE_MAX = 125
ALL_DONE = {"code": 200, "msg": "The operation of cancel all open order is done."}
Handler = Callable[[Account, Parameters], object]
T = TypeVar("T")


@dataclass(frozen=True)
class Endpoint:
    """One method of one path.

    Attributes:
        weight: of the request, from its parameters.
        is_signed: else the key alone is asked for.
        trades: it changes orders: the key must be allowed to.
        counts: it counts as a new order.
    """

    run: Handler
    weight: Callable[[Parameters], int]
    is_signed: bool = True
    trades: bool = False
    counts: bool = False


class Admitted(NamedTuple):
    """A request that may be carried out."""

    endpoint: Endpoint
    account: Account
    given: Parameters
    window: Window | None


def _always(weight: int) -> Callable[[Parameters], int]:
    return lambda given: weight


class PrivateApi:
    """The private half's endpoints.

    Args:
        desk, algos, users: what they work on.
        rules: limits.
        now_ms: the venue's wall clock as clients are told it.
    """

    def __init__(
        self, desk: Desk, algos: Algos, users: UserStreams, rules: PrivateRules, now_ms: Callable[[], int]
    ) -> None:
        self._desk = desk
        self._algos = algos
        self._users = users
        self._now_ms = now_ms
        self._counts = {number: OrderCounts(rules) for number in desk.accounts}
        self._by_key = {account.config.key: account for account in desk.accounts.values()}
        self.countdowns: dict[tuple[int, str], int] = {}
        self.endpoints = self._table()

    def _table(self) -> Mapping[tuple[str, str], Endpoint]:
        one, v1, v3 = _always(1), "/fapi/v1", "/fapi/v3"
        listen = f"{v1}/listenKey"
        return {
            ("POST", f"{v1}/order"): Endpoint(self._new_order, _always(0), trades=True, counts=True),
            ("PUT", f"{v1}/order"): Endpoint(self._amend_order, _always(0), trades=True, counts=True),
            ("DELETE", f"{v1}/order"): Endpoint(self._cancel_order, one, trades=True),
            ("GET", f"{v1}/order"): Endpoint(self._query_order, one),
            ("GET", f"{v1}/openOrder"): Endpoint(self._open_order, one),
            ("DELETE", f"{v1}/allOpenOrders"): Endpoint(self._cancel_all, one, trades=True),
            ("GET", f"{v1}/openOrders"): Endpoint(self._open_orders, _by_symbol),
            ("GET", f"{v1}/allOrders"): Endpoint(self._all_orders, _always(5)),
            ("GET", f"{v1}/userTrades"): Endpoint(self._user_trades, _always(5)),
            ("POST", f"{v1}/countdownCancelAll"): Endpoint(self._countdown, _always(10), trades=True),
            ("POST", f"{v1}/algoOrder"): Endpoint(self._new_algo, _always(0), trades=True, counts=True),
            ("DELETE", f"{v1}/algoOrder"): Endpoint(self._cancel_algo, one, trades=True),
            ("GET", f"{v1}/algoOrder"): Endpoint(self._query_algo, one),
            ("GET", f"{v1}/openAlgoOrders"): Endpoint(self._open_algos, _by_symbol),
            ("DELETE", f"{v1}/algoOpenOrders"): Endpoint(self._cancel_algos, one, trades=True),
            ("POST", f"{v1}/leverage"): Endpoint(self._leverage, one, trades=True),
            ("GET", f"{v1}/positionSide/dual"): Endpoint(self._position_mode, _always(30)),
            ("GET", f"{v1}/commissionRate"): Endpoint(self._commission, _always(20)),
            ("GET", f"{v1}/income"): Endpoint(self._income, _always(30)),
            ("GET", f"{v3}/account"): Endpoint(self._account, _always(5)),
            ("GET", f"{v3}/balance"): Endpoint(self._balance, _always(5)),
            ("GET", f"{v3}/positionRisk"): Endpoint(self._positions, _always(5)),
            ("GET", "/sapi/v1/account/apiRestrictions"): Endpoint(self._restrictions, one),
            ("POST", listen): Endpoint(self._listen, one, is_signed=False),
            ("PUT", listen): Endpoint(self._keep_listening, one, is_signed=False),
            ("DELETE", listen): Endpoint(self._stop_listening, one, is_signed=False),
        }

    # ---- how a request goes

    def admit(self, call: Call) -> Admitted:
        """Check a request on its arrival.

        Raises:
            Refused: -2014, -2015 (key), -1021 (time), -1022 (signature), -1015 (too many orders).
        """
        endpoint = self.endpoints[call.method, call.path]
        account = self._by_key.get(call.key)
        if account is None:
            check_key(call.key)
            raise refusal(-2015)
        given, now_ms = parameters_of(call), self._now_ms()
        window = check_signed(call, account.config.secret, now_ms, given) if endpoint.is_signed else None
        if endpoint.trades and not account.config.can_trade:
            raise refusal(-2015)
        if endpoint.counts:
            self._counts[account.number].charge(now_ms)
        return Admitted(endpoint, account, given, window)

    def execute(self, admitted: Admitted) -> object:
        """Carry a request out; returns the document of the answer.

        Raises:
            Refused: what the venue says no to; -5028 an order that came too late to the market.
        """
        endpoint, account, given, window = admitted
        if endpoint.trades and window is not None and not window.holds(self._now_ms()):
            raise refusal(-5028)
        return endpoint.run(account, given)

    def headers(self, call: Call) -> Mapping[str, str]:
        """The order counts, where the key is known."""
        account = self._by_key.get(call.key)
        return {} if account is None else self._counts[account.number].headers(self._now_ms())

    def on_time(self) -> None:
        """What is due: countdowns, orders and keys whose time is over."""
        now_ms = self._desk.now_ms
        for (number, symbol), due_ms in list(self.countdowns.items()):
            if due_ms <= now_ms:
                del self.countdowns[number, symbol]
                self._desk.cancel_all(self._desk.accounts[number], symbol)
        for orders in self._desk.open.values():
            for order in [order for order in orders.values() if 0 < order.good_till_ms <= now_ms]:
                self._desk.expire(order)
        self._algos.expire(now_ms)
        self._users.expire_due()

    # ---- orders

    def _order_of(self, account: Account, given: Parameters, code: int) -> VenueOrder:
        symbol = self._desk.instrument(given.required("symbol")).symbol
        number, client_id = given.integer("orderId"), given.text("origClientOrderId")
        if not number and not client_id:
            raise refusal(-1102, "orderId")
        order = self._desk.find(account, symbol, number, client_id)
        if order is None:
            raise refusal(code)
        return order

    def _new_order(self, account: Account, given: Parameters) -> object:
        listed = self._desk.instrument(given.required("symbol"))
        ticket = read_ticket(given, listed, self._desk.now_ms)
        order = self._desk.submit(account, ticket)
        if ticket.full_answer and (order.kind == "MARKET" or order.time_in_force in ("IOC", "FOK")):
            return order_document(order)
        return acceptance(order)

    def _amend_order(self, account: Account, given: Parameters) -> object:
        order = self._order_of(account, given, -2013)
        if side_of(given) is not order.side:
            raise refusal(-1117)
        given.required("price")
        quantity_e8, price_e8 = quantity_of(given, order.listed), price_of(given, order.listed, "price")
        self._desk.amend(account, order, price_e8, quantity_e8)
        return acknowledgement(order)

    def _cancel_order(self, account: Account, given: Parameters) -> object:
        order = self._order_of(account, given, -2011)
        self._desk.cancel(order)
        return order_document(order)

    def _query_order(self, account: Account, given: Parameters) -> object:
        return order_document(self._order_of(account, given, -2013))

    def _open_order(self, account: Account, given: Parameters) -> object:
        order = self._order_of(account, given, -2013)
        if not order.is_open:
            raise refusal(-2013)
        return order_document(order)

    def _cancel_all(self, account: Account, given: Parameters) -> object:
        self._desk.cancel_all(account, self._desk.instrument(given.required("symbol")).symbol)
        return ALL_DONE

    def _symbol_of(self, given: Parameters) -> str:
        symbol = given.text("symbol")
        return self._desk.instrument(symbol).symbol if symbol else ""

    def _open_orders(self, account: Account, given: Parameters) -> object:
        return [order_document(order) for order in self._desk.open_orders(account, self._symbol_of(given))]

    def _all_orders(self, account: Account, given: Parameters) -> object:
        symbol = self._desk.instrument(given.required("symbol")).symbol
        first = given.integer("orderId")
        orders = [
            order
            for order in self._desk.orders.values()
            if order.owner == account.number and order.symbol == symbol and order.number >= first
            and _in_time(given, order.created_ms)
        ]  # fmt: skip
        orders.sort(key=lambda order: order.number)
        return [order_document(order) for order in _page(orders, given, from_start=bool(first))]

    def _user_trades(self, account: Account, given: Parameters) -> object:
        symbol = self._desk.instrument(given.required("symbol")).symbol
        first, number = given.integer("fromId"), given.integer("orderId")
        trades = [
            trade
            for trade in self._desk.trades[account.number]
            if trade.order.symbol == symbol and trade.trade_id >= first and number in (0, trade.order.number)
            and _in_time(given, trade.time_ms)
        ]  # fmt: skip
        return [trade_document(trade) for trade in _page(trades, given, from_start=bool(first))]

    def _countdown(self, account: Account, given: Parameters) -> object:
        symbol = self._desk.instrument(given.required("symbol")).symbol
        given.required("countdownTime")
        countdown_ms = given.integer("countdownTime")
        if countdown_ms:
            self.countdowns[account.number, symbol] = self._desk.now_ms + countdown_ms
        else:
            self.countdowns.pop((account.number, symbol), None)
        return {"symbol": symbol, "countdownTime": str(countdown_ms)}

    # ---- conditional orders

    def _new_algo(self, account: Account, given: Parameters) -> object:
        listed = self._desk.instrument(given.required("symbol"))
        return algo_document(self._algos.submit(account, read_algo_ticket(given, listed, self._desk.now_ms)))

    def _algo_of(self, account: Account, given: Parameters) -> AlgoOrder:
        number, client_id = given.integer("algoId"), client_id_of(given, "clientAlgoId")
        if not number and not client_id:
            raise refusal(-1102, "algoId")
        return self._algos.find(account, number, client_id)

    def _cancel_algo(self, account: Account, given: Parameters) -> object:
        algo = self._algo_of(account, given)
        self._algos.cancel(algo)
        return {"algoId": algo.number, "clientAlgoId": algo.client_id, "code": "200", "msg": "success"}

    def _query_algo(self, account: Account, given: Parameters) -> object:
        return algo_document(self._algo_of(account, given))

    def _open_algos(self, account: Account, given: Parameters) -> object:
        return [algo_document(algo) for algo in self._algos.open_orders(account, self._symbol_of(given))]

    def _cancel_algos(self, account: Account, given: Parameters) -> object:
        self._algos.cancel_all(account, self._desk.instrument(given.required("symbol")).symbol)
        return ALL_DONE

    # ---- the account

    def _leverage(self, account: Account, given: Parameters) -> object:
        symbol = self._desk.instrument(given.required("symbol")).symbol
        given.required("leverage")
        leverage = given.integer("leverage")
        if not 1 <= leverage <= LEVERAGE_MAX:
            raise refusal(-4028, leverage)
        account.leverages[symbol] = leverage
        now_ms = self._desk.now_ms
        event = {"e": "ACCOUNT_CONFIG_UPDATE", "E": now_ms, "T": now_ms, "ac": {"s": symbol, "l": leverage}}
        self._desk.tell(account, event_of(event))
        return {"leverage": leverage, "maxNotionalValue": "9223372036", "symbol": symbol}

    @staticmethod
    def _position_mode(account: Account, given: Parameters) -> object:
        check_position_side(given)
        return {"dualSidePosition": False}

    def _commission(self, account: Account, given: Parameters) -> object:
        symbol = self._desk.instrument(given.required("symbol")).symbol
        maker, taker = account.rules.maker_fee_e8, account.rules.taker_fee_e8
        return {"symbol": symbol, "makerCommissionRate": _rate(maker), "takerCommissionRate": _rate(taker)}

    def _income(self, account: Account, given: Parameters) -> object:
        """Realised profit and commission of every trade, and funding, in the order of their times."""
        rows: list[dict[str, object]] = []
        for trade in self._desk.trades[account.number]:
            symbol, ids = trade.order.symbol, (2 * trade.trade_id, trade.trade_id)
            if trade.realised_e8:
                rows.append(income_row(account, symbol, "REALIZED_PNL", trade.realised_e8, trade.time_ms, ids))
            if trade.fee_e8:
                ids = (2 * trade.trade_id + 1, trade.trade_id)
                rows.append(income_row(account, symbol, "COMMISSION", -trade.fee_e8, trade.time_ms, ids))
        for number, paid in enumerate(self._desk.fundings[account.number], 1):
            rows.append(income_row(account, paid.symbol, "FUNDING_FEE", paid.amount_e8, paid.time_ms, (number, 0)))
        wanted, kind = self._symbol_of(given), given.text("incomeType")
        rows = [
            row
            for row in rows
            if wanted in ("", row["symbol"]) and kind in ("", row["incomeType"]) and _in_time(given, row["time"])
        ]
        rows.sort(key=lambda row: (row["time"], row["tranId"]))
        return _page(rows, given, from_start=bool(given.text("startTime")))

    def _account(self, account: Account, given: Parameters) -> object:
        return account_document(account, self._desk.margins(account))

    def _balance(self, account: Account, given: Parameters) -> object:
        return balance_document(account, self._desk.margins(account))

    def _positions(self, account: Account, given: Parameters) -> object:
        wanted, desk = self._symbol_of(given), self._desk
        return [
            position_document(
                account, desk.listed[symbol], margin, desk.mark_e8(symbol), desk.open_notional(account, symbol)
            )
            for symbol, margin in desk.margins(account).items()
            if wanted in ("", symbol)
        ]

    @staticmethod
    def _restrictions(account: Account, given: Parameters) -> object:
        return restrictions_document(account)

    # ---- listen keys

    def _listen(self, account: Account, given: Parameters) -> object:
        return {"listenKey": self._users.create(account)}

    def _keep_listening(self, account: Account, given: Parameters) -> object:
        return {"listenKey": self._users.extend(account)}

    def _stop_listening(self, account: Account, given: Parameters) -> object:
        self._users.close(account)
        return {}


def _by_symbol(given: Parameters) -> int:
    return 1 if given.text("symbol") else 40


def _rate(rate_e8: int) -> str:
    text = f"{abs(rate_e8) / 1e8:.6f}"  # for people: the fees that are taken come from the integer
    return "-" + text if rate_e8 < 0 else text


def _in_time(given: Parameters, time_ms: object) -> bool:
    assert isinstance(time_ms, int)
    end_ms = given.integer("endTime")
    return time_ms >= given.integer("startTime") and (not end_ms or time_ms <= end_ms)


def _page(rows: list[T], given: Parameters, *, from_start: bool) -> list[T]:
    """The first rows where the request says from where, else the latest."""
    limit = given.integer("limit", LIST_DEFAULT)
    if not 1 <= limit <= LIST_MAX:
        raise refusal(-1130, "limit")
    return rows[:limit] if from_start else rows[-limit:]
