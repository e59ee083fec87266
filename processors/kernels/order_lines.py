"""What the kernels of `orders` keep of an order, and one input row as integers.

The state (`Memory`):
    orders: int64[lines, ORDER_COLUMNS]; line PASSING is for orders that are told and not kept
    deadlines: int64[lines, 2]: when an answer is due, and when the order itself ends; NEVER_NS for none
    places: see pairs.py; keys are (order id, 0)
    free: int64[lines]: a stack of lines that were given back
    ended: int64[orders that are remembered]: ring of orders that are over; an entry is line + 1, 0 was reopened
    seen: int64[lines, 2]: ring of counted fills: (order id, trade id)
    seen_places: see pairs.py
    marks: int64[MARKS]
    steps: int64[STATES, EVENTS]: how often each cell of the table was taken
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from processors.kernels.compiling import part
from processors.kernels.money import NOT_REPRESENTABLE, multiply_e8
from schemas.trading import OrderKind, OrderState, ReportKind, RequestAction, TimeInForce

Array = npt.NDArray[Any]

# Columns of `orders`. ID and ZERO must be 0 and 1, as pairs.py says.
(
    ID, ZERO, TAG, VENUE_ID, PRICE, STOP_PRICE, QUANTITY, FILLED, NOTIONAL, WANTED_PRICE, WANTED_QUANTITY, EXPIRES_NS,
    VALID_NS,  # of the command in flight
    SUBMIT_VALID_NS,  # of the request: the order is not sent after it
    SUBMITTED_NS,  # when the last SUBMIT was commanded
    AMENDED_NS,  # venue time of the newest amend that is in force
    ENDS_NS,  # GTD, DAY: the order's own end; 0 without
    INSTRUMENT, ACCOUNT, STRATEGY, SIDE, KIND, TIME_IN_FORCE, FLAGS, STATE, CODE,
    ATTEMPT, SUBMITS, AMENDS, CANCELS, QUERIES,  # attempts: of the command in flight, and so far of each kind
    ROUND,  # queries since the state became UNKNOWN
    QUESTIONS,  # Question bits
    KNOWN,  # 1: the venue has, or had, the order
    CANCEL_WANTED,
    TOLD_FILLED,  # the largest cumulative quantity that the venue told
    TOLD_END,  # the end that the venue told while fills were missing; 0: none
    REFUSED,  # 1: an attempt was rejected: no further one
    INFERRED,  # 1: closed without the venue's word
    TRIGGERED,
    SENT,  # 1: the gateway wrote the last SUBMIT and sent it
    REPEATED,  # 1: the last row said REPEATED
    ENDED_AT,  # place in the ring `ended` + 1
    ORDER_COLUMNS,
) = range(44)  # fmt: skip
PASSING = 0
ANSWER, END = 0, 1  # columns of `deadlines`

# Entries of `marks`.
USED, FREE, OPEN, ENDED_IN, ENDED_OUT, SEEN, BOUND_NS, MARKS = range(8)  # BOUND_NS: no timer is due before this

# Entries of `settings`.
(
    OPEN_MAX, LINES_MAX, SEEN_MAX, ANSWER_TIMEOUT_NS, QUERY_INTERVAL_NS, QUERY_INTERVAL_MAX_NS, COMMAND_VALIDITY_NS,
    ABSENT_AFTER_NS, ATTEMPTS_MAX, DAY_END_NS, GTD_BY_VENUE, SETTINGS,
) = range(12)  # fmt: skip

# An input row as integers. Times and who come first, as both inputs have them.
(
    L_EVENT_NS, L_RECV_NS, L_CAUSE, L_ORDER, L_INSTRUMENT, L_ACCOUNT, L_STRATEGY, L_SIDE, L_PRICE, L_QUANTITY,
    L_VENUE_ID, L_TRADE, L_FILLED, L_FEE, L_FEE_ASSET, L_CODE, L_REPORT, L_STATE, L_MAKER, L_NOTIONAL,
    L_TAG, L_STOP_PRICE, L_EXPIRES_NS, L_VALID_NS, L_REASONS, L_KIND, L_TIME_IN_FORCE, L_FLAGS, L_ACTION, L_REALISED,
    LINE,
) = range(31)  # fmt: skip

# Faults: columns of `dead` are row index, reason, fault.
(
    BAD_REPORT, BAD_SIDE, BAD_TIME, BAD_ID, BAD_FILL, BAD_AMOUNT, BAD_STATUS, BAD_ACTION, BAD_KIND, TOO_MUCH, MISMATCH,
    NO_ROOM, NO_ORDER, FAULTS,
) = range(14)  # fmt: skip

# OUR_… : what `code` of an order row says when it is not the venue's: above 0, as venues' errors are below.
OUR_ABSENT, OUR_STALE, OUR_FULL, OUR_DENIED = 1, 2, 3, 4

NEVER_NS = (1 << 63) - 1
I64_MAX = (1 << 63) - 1
PRICE_MAX = 1 << 62
DAY_NS = 86_400_000_000_000

FILL = int(ReportKind.FILL)
AMENDED = int(ReportKind.AMENDED)
STATUS = int(ReportKind.STATUS)
REPORTS = len(ReportKind)
NEW_ACTION, AMEND_ACTION, CANCEL_ACTION, CANCEL_ALL_ACTION = (int(action) for action in RequestAction)
_LIMIT, _MARKET, _STOP, _STOP_LIMIT = (int(kind) for kind in OrderKind)
_GTD = int(TimeInForce.GTD)
_KINDS, _TIMES = len(OrderKind), len(TimeInForce)
_FLAGS_MAX = 15
# States that a STATUS may tell, as bits.
_TOLD_STATES = sum(
    1 << int(state)
    for state in (
        OrderState.NEW, OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.FILLED, OrderState.CANCELLED,
        OrderState.REJECTED, OrderState.EXPIRED,
    )
)  # fmt: skip
_FILLED_STATES = 1 << int(OrderState.FILLED) | 1 << int(OrderState.PARTIALLY_FILLED)


class Memory(NamedTuple):
    """The arrays of the state, as above."""

    orders: Array
    deadlines: Array
    places: Array
    free: Array
    ended: Array
    seen: Array
    seen_places: Array
    marks: Array
    steps: Array


@part
def read_report(rows, i, cause, line):  # type: ignore[no-untyped-def]
    """A VenueReport as integers. Orders of others are known by the venue's id, below 0: ours are above."""
    row = rows[i]
    line[:] = 0
    line[L_EVENT_NS], line[L_RECV_NS], line[L_CAUSE] = row["ts_event_ns"], row["ts_recv_ns"], cause
    line[L_VENUE_ID] = row["venue_order_id"]
    line[L_ORDER] = row["order_id"] if row["order_id"] != 0 else -row["venue_order_id"]
    line[L_INSTRUMENT], line[L_ACCOUNT] = np.int64(row["instrument"]), np.int64(row["account"])
    line[L_STRATEGY], line[L_SIDE] = np.int64(row["strategy"]), np.int64(row["side"])
    line[L_PRICE], line[L_QUANTITY], line[L_FILLED] = row["price_e8"], row["quantity_e8"], row["filled_e8"]
    line[L_TRADE], line[L_FEE], line[L_FEE_ASSET] = row["trade_id"], row["fee_e8"], np.int64(row["fee_asset"])
    line[L_CODE], line[L_REPORT] = np.int64(row["code"]), np.int64(row["report"])
    line[L_STATE], line[L_MAKER] = np.int64(row["state"]), np.int64(row["maker"])
    line[L_REALISED] = row["realised_e8"]


@part
def read_decision(rows, i, cause, line):  # type: ignore[no-untyped-def]
    """A Decision as integers."""
    row = rows[i]
    line[:] = 0
    line[L_EVENT_NS], line[L_RECV_NS], line[L_CAUSE] = row["ts_event_ns"], row["ts_recv_ns"], cause
    line[L_ORDER], line[L_TAG] = row["order_id"], row["tag"]
    line[L_INSTRUMENT], line[L_ACCOUNT] = np.int64(row["instrument"]), np.int64(row["account"])
    line[L_STRATEGY], line[L_SIDE] = np.int64(row["strategy"]), np.int64(row["side"])
    line[L_PRICE], line[L_STOP_PRICE], line[L_QUANTITY] = row["price_e8"], row["stop_price_e8"], row["quantity_e8"]
    line[L_EXPIRES_NS], line[L_VALID_NS], line[L_REASONS] = row["expires_ns"], row["valid_until_ns"], row["reasons"]
    line[L_KIND], line[L_TIME_IN_FORCE] = np.int64(row["kind"]), np.int64(row["time_in_force"])
    line[L_FLAGS], line[L_ACTION] = np.int64(row["flags"]), np.int64(row["action"])


@part
def fault_of_report(line):  # type: ignore[no-untyped-def]
    """What no valid report has, or -1. A fill's notional is worked out on the way."""
    kind = line[L_REPORT]
    if kind >= REPORTS:
        return BAD_REPORT
    if line[L_SIDE] > 1 or line[L_MAKER] > 1:
        return BAD_SIDE
    if (line[L_EVENT_NS] | line[L_RECV_NS]) >> 62 != 0:
        return BAD_TIME
    if line[L_ORDER] == 0 or line[L_VENUE_ID] < 0:
        return BAD_ID
    if line[L_FILLED] < -1 or line[L_PRICE] > PRICE_MAX or line[L_QUANTITY] > PRICE_MAX:
        return BAD_AMOUNT
    if kind == FILL:
        if line[L_TRADE] <= 0 or line[L_PRICE] <= 0 or line[L_QUANTITY] <= 0:
            return BAD_FILL
        line[L_NOTIONAL] = multiply_e8(line[L_PRICE], line[L_QUANTITY])
        return TOO_MUCH if line[L_NOTIONAL] == NOT_REPRESENTABLE else -1
    if line[L_PRICE] < 0 or line[L_QUANTITY] < (1 if kind == AMENDED else 0):
        return BAD_AMOUNT
    if kind == STATUS:
        bit = 1 << min(line[L_STATE], 62)
        if bit & _TOLD_STATES == 0 or line[L_FILLED] < (1 if bit & _FILLED_STATES else 0):
            return BAD_STATUS
    return -1


@part
def fault_of_decision(line):  # type: ignore[no-untyped-def]
    """What no valid decision has, or -1. Of what was denied, only what its order row repeats is looked at."""
    action, kind = line[L_ACTION], line[L_KIND]
    if action > CANCEL_ALL_ACTION:
        return BAD_ACTION
    if (line[L_EVENT_NS] | line[L_RECV_NS]) >> 62 != 0:
        return BAD_TIME
    if line[L_SIDE] > 1 or kind >= _KINDS or line[L_TIME_IN_FORCE] >= _TIMES or line[L_FLAGS] > _FLAGS_MAX:
        return BAD_KIND
    if action == NEW_ACTION and line[L_ORDER] <= 0:
        return BAD_ID
    if line[L_REASONS] != 0 or action >= CANCEL_ACTION:
        return -1
    if line[L_PRICE] < 0 or line[L_PRICE] > PRICE_MAX or line[L_STOP_PRICE] < 0 or line[L_STOP_PRICE] > PRICE_MAX:
        return BAD_AMOUNT
    if line[L_QUANTITY] < 1 or line[L_QUANTITY] > PRICE_MAX:
        return BAD_AMOUNT
    if action == AMEND_ACTION:
        return -1
    if kind in (_LIMIT, _STOP_LIMIT) and line[L_PRICE] == 0:
        return BAD_AMOUNT
    if kind in (_STOP, _STOP_LIMIT) and line[L_STOP_PRICE] == 0:
        return BAD_AMOUNT
    if line[L_TIME_IN_FORCE] == _GTD and line[L_EXPIRES_NS] <= 0:
        return BAD_TIME
    return -1
