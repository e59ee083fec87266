"""What the venue's private words mean: reports, states, movements of money; and the columns that remember them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from connectors.binance.kernels import private
from connectors.binance_usdm import orders as api
from schemas.trading import AccountEvent, OrderState, ReportKind

PRIVATE_CONNECTION = 48  # REST of the gateway; the user stream has the next number; below are market data
STREAM_CONNECTION = PRIVATE_CONNECTION + 1
NOT_SENT = -1  # status of a NO_ANSWER row: refused before it was written as an attempt; there is no SENT row
NEVER_LEFT = -2  # there is one, but no connection was made: nothing left this machine
SETTLE_MS = 2_000  # one second that the venue's clock may be behind a query's timestamp, one for its replicas
OUT_REPORT, OUT_ACCOUNT = range(2)
MS = 1_000_000
I64_MAX = (1 << 63) - 1
FUNDINGS_MAX = 32  # times of funding that are remembered, per asset
ABSENT_FILLED = private.ABSENT_FILLED  # filled_e8 where the venue does not say it

Json = dict[str, Any]
Arrays = dict[str, npt.NDArray[Any]]

# Bits of `flight`: requests about an order that are sent and not answered.
FLIGHT = {"POST": private.POST, "PUT": private.PUT, "DELETE": private.DELETE, "GET": private.GET}
REFUSED_AS = {
    "POST": ReportKind.REJECTED,
    "PUT": ReportKind.AMEND_REJECTED,
    "DELETE": ReportKind.CANCEL_REJECTED,
    "GET": ReportKind.UNKNOWN,
}
DONE_AS = {
    "POST": ReportKind.ACKNOWLEDGED,
    "PUT": ReportKind.AMENDED,
    "DELETE": ReportKind.CANCELLED,
    "GET": ReportKind.STATUS,
}
STATES = {
    "NEW": OrderState.OPEN,
    "NEW_INSURANCE": OrderState.OPEN,
    "NEW_ADL": OrderState.OPEN,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELLED,
    "REJECTED": OrderState.REJECTED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.EXPIRED,
}
# Conditional orders: after the trigger a normal order lives on under `actualOrderId`; its own answers tell its end.
ALGO_STATES = {
    "NEW": OrderState.OPEN,
    "TRIGGERING": OrderState.OPEN,
    "TRIGGERED": OrderState.OPEN,
    "CANCELED": OrderState.CANCELLED,
    "EXPIRED": OrderState.EXPIRED,
    "REJECTED": OrderState.REJECTED,
}
EXECUTIONS = {
    "NEW": ReportKind.ACKNOWLEDGED,
    "TRADE": ReportKind.FILL,
    "CALCULATED": ReportKind.FILL,  # a liquidation's
    "CANCELED": ReportKind.CANCELLED,
    "EXPIRED": ReportKind.EXPIRED,
    "AMENDMENT": ReportKind.AMENDED,
    "REJECTED": ReportKind.REJECTED,
}
ALGO_REPORTS = {
    "NEW": ReportKind.ACKNOWLEDGED,
    "TRIGGERED": ReportKind.TRIGGERED,
    "CANCELED": ReportKind.CANCELLED,
    "EXPIRED": ReportKind.EXPIRED,
    "REJECTED": ReportKind.REJECTED,
}
ALGO_QUIET = ("TRIGGERING", "FINISHED")
EXPIRY_REASONS = {
    "1": "self-trade prevention", "2": "rest of an IOC order", "3": "rest of an IOC order, self-trade prevention",
    "4": "displaced by a reduce-only order", "5": "liquidation", "6": "its condition was not met", "7": "delisted",
}  # fmt: skip
MOVES = {
    "FUNDING_FEE": AccountEvent.FUNDING,
    "DEPOSIT": AccountEvent.TRANSFER, "WITHDRAW": AccountEvent.TRANSFER, "WITHDRAW_REJECT": AccountEvent.TRANSFER,
    "ADMIN_DEPOSIT": AccountEvent.TRANSFER, "ADMIN_WITHDRAW": AccountEvent.TRANSFER,
    "ASSET_TRANSFER": AccountEvent.TRANSFER, "AUTO_EXCHANGE": AccountEvent.TRANSFER,
    "COIN_SWAP_DEPOSIT": AccountEvent.TRANSFER, "COIN_SWAP_WITHDRAW": AccountEvent.TRANSFER,
    "MARGIN_TRANSFER": AccountEvent.TRANSFER,
    "ADJUSTMENT": AccountEvent.ADJUSTMENT, "INSURANCE_CLEAR": AccountEvent.ADJUSTMENT,
    "OPTIONS_PREMIUM_FEE": AccountEvent.ADJUSTMENT, "OPTIONS_SETTLE_PROFIT": AccountEvent.ADJUSTMENT,
    # No movement of their own: what a trade moved is told by its fill. The row says the balance.
    "ORDER": AccountEvent.ADJUSTMENT, "MARGIN_TYPE_CHANGE": AccountEvent.ADJUSTMENT,
}  # fmt: skip
STATEMENTS = ("ORDER", "MARGIN_TYPE_CHANGE")
IGNORED_EVENTS = (
    "TRADE_LITE", "listenKeyExpired", "ACCOUNT_CONFIG_UPDATE", "MARGIN_CALL", "STRATEGY_UPDATE", "GRID_UPDATE",
    "CONDITIONAL_ORDER_TRIGGER_REJECT",
)  # fmt: skip
ORDER_PATHS = (api.ORDER, api.ALGO_ORDER)

# State.
ORDER = np.dtype(
    [
        ("order_id", "<i8"),  # 0: somebody else's
        ("venue_order_id", "<i8"),  # 0: not known yet
        ("actual_id", "<i8"),  # of the order that a conditional order became
        ("deadline_ms", "<i8"),  # the venue refuses every attempt so far after this, by its own clock
        ("query_ms", "<i8"),  # timestamp of the query in flight
        ("instrument", "<u4"),
        ("side", "u1"),
        ("flight", "u1"),
        ("reserved", "<u2"),
    ]
)
ASSET = np.dtype(
    [
        ("opened_ms", "<i8"),  # venue time of the opening balance; movements up to it are in it
        ("last_ms", "<i8"),  # of the last event, to tell a repeat
        ("last_balance_e8", "<i8"),
        ("last_amount_e8", "<i8"),
        ("fundings", "<i8"),  # how many times of funding were seen
        ("forgotten_ms", "<i8"),  # the latest of those that are not remembered any more
        ("asset", "<u4"),
        ("used", "<u4"),
    ]
)
# What was booked for one time at which funding is exchanged; `whole`: the venue was asked, nothing is missing.
FUNDING = np.dtype([("time_ms", "<i8"), ("amount_e8", "<i8"), ("whole", "<i8")])
# Counters.
NEXT_ORDER, NEXT_TRADE, ASSETS, START_MS, OPENED = range(5)  # START_MS -1: no start was seen
assert (NEXT_ORDER, NEXT_TRADE, ASSETS) == (private.NEXT_ORDER, private.NEXT_TRADE, private.ASSETS)
