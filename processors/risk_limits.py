"""What a limit row may bound, in which unit, for whom; and the unit and scope of every other reason.

No limit has a default. A limit holds for everything inside its scope, and all that hold apply: of those that bound
the same figure the tightest decides, and on a tie the more specific one is named. Whose figure it is:

    GLOBAL, VENUE, ACCOUNT   the account's (each account's own, not the sum of accounts). Positions, pending orders and
                             resting orders are those of the account in the request's instrument.
    STRATEGY                 the strategy's: its own position, exposure, orders and profit
    INSTRUMENT               the account's in that instrument

An account trades only while `REQUIRED` are in force with scope ACCOUNT for it: a limit of all accounts opens none.
Money limits name their currency and hold for instruments quoted in it; an account has one currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from processors.kernels import risk_layout as lay
from schemas.trading import Reason, Scope, Unit

REQUIRED = (Reason.ORDER_NOTIONAL, Reason.POSITION_NOTIONAL, Reason.DAILY_LOSS)

_EVERY = tuple(Scope)
_WHOLE = (Scope.GLOBAL, Scope.VENUE, Scope.ACCOUNT, Scope.STRATEGY)


class Bound(NamedTuple):
    """What a limit of one reason is.

    Attributes:
        unit: of its value.
        scopes: it may have.
        check: column of the lane's limits; -1: kept with the instrument.
        shared: INSTRUMENT bounds the same figure as ACCOUNT.
        says: when an order is denied, for people.
        least: smallest possible value.
    """

    unit: Unit
    scopes: tuple[Scope, ...]
    check: int
    shared: bool
    says: str
    least: int = 0


BOUNDS: Mapping[Reason, Bound] = {
    Reason.STALE_INPUT: Bound(Unit.NS, _EVERY, lay.AGE, True, "the touch last changed, or its trust did, longer ago"),
    Reason.ORDER_QUANTITY: Bound(Unit.QUANTITY_E8, _EVERY, lay.SIZE, True, "the order's quantity is above"),
    Reason.ORDER_NOTIONAL: Bound(Unit.NOTIONAL_E8, _EVERY, lay.WORTH, True, "the order's value is above"),
    Reason.PRICE_COLLAR: Bound(
        Unit.BASIS_POINTS, _EVERY, lay.COLLAR, True, "its price is further outside of the touch, either way"
    ),
    Reason.POSITION_QUANTITY: Bound(
        Unit.QUANTITY_E8, _EVERY, lay.REACH, True, "position after all orders of its side are filled is above"
    ),
    Reason.POSITION_NOTIONAL: Bound(
        Unit.NOTIONAL_E8, _EVERY, lay.REACH_WORTH, True, "the value of that position is above"
    ),
    Reason.GROSS_EXPOSURE: Bound(
        Unit.NOTIONAL_E8, _WHOLE, lay.GROSS_LIMIT, True, "sum over instruments of the worse side's value is above"
    ),
    Reason.NET_EXPOSURE: Bound(
        Unit.NOTIONAL_E8, _WHOLE, lay.NET_LIMIT, True, "signed sum of values on the order's side is above"
    ),
    Reason.OPEN_ORDERS: Bound(Unit.COUNT, _EVERY, lay.OPEN_LIMIT, False, "open orders with it are more"),
    Reason.RATE_SECOND: Bound(
        Unit.COUNT, _EVERY, lay.SECOND_LIMIT, False, "approved orders and amends in a second are more"
    ),
    Reason.RATE_MINUTE: Bound(
        Unit.COUNT, _EVERY, lay.MINUTE_LIMIT, False, "approved orders and amends in a minute are more"
    ),
    Reason.CANCEL_RATE: Bound(Unit.COUNT, _EVERY, lay.CANCEL_LIMIT, False, "cancels in a minute are more"),
    Reason.DUPLICATE: Bound(
        Unit.NS, _EVERY, lay.REPEAT, True, "an equal order (side, price, quantity) was approved less long ago", 1
    ),
    Reason.DAILY_LOSS: Bound(
        Unit.NOTIONAL_E8, _WHOLE, lay.LOSS_LIMIT, True, "loss of the UTC day, unrealised and fees included, is above"
    ),
    Reason.DRAWDOWN: Bound(Unit.NOTIONAL_E8, _WHOLE, lay.FALL_LIMIT, True, "fall from the peak of profit is above"),
    Reason.BREAKER_LOSSES: Bound(
        Unit.COUNT, _WHOLE, lay.STREAK_LIMIT, True, "so many closes in a row lost, and the cool-down runs", 1
    ),
    Reason.BREAKER_MOVE: Bound(
        Unit.BASIS_POINTS,
        (Scope.GLOBAL, Scope.VENUE, Scope.INSTRUMENT),
        -1,
        True,
        "the price moved further within the window, and the cool-down runs",
    ),
}

# Of denials without a limit row.
OTHER_UNITS: Mapping[Reason, Unit] = {
    Reason.OUTSIDE_HOURS: Unit.NS,
    Reason.TICK_SIZE: Unit.PRICE_E8,
    Reason.LOT_SIZE: Unit.QUANTITY_E8,
    Reason.PRICE_RANGE: Unit.PRICE_E8,
    Reason.QUANTITY_RANGE: Unit.QUANTITY_E8,
    Reason.MIN_NOTIONAL: Unit.NOTIONAL_E8,
    Reason.SELF_TRADE: Unit.PRICE_E8,
    Reason.REDUCE_ONLY: Unit.QUANTITY_E8,
    Reason.STRATEGY_CAPITAL: Unit.NOTIONAL_E8,
    Reason.NO_LIMITS: Unit.COUNT,
    Reason.EXPIRED: Unit.NS,
}


# Why an order is denied, where no limit says it.
OTHERS_SAY: Mapping[Reason, str] = {
    Reason.KILL_GLOBAL: "everything is stopped by the kill switch",
    Reason.KILL_VENUE: "the venue is stopped by the kill switch",
    Reason.KILL_ACCOUNT: "the account is stopped by the kill switch",
    Reason.KILL_STRATEGY: "the strategy is stopped by the kill switch",
    Reason.KILL_INSTRUMENT: "the instrument is stopped by the kill switch",
    Reason.UNTRUSTED: "the instrument's book is not SYNCED",
    Reason.NO_QUOTE: "no quote was seen, or a side of it is empty",
    Reason.UNKNOWN_INSTRUMENT: "nobody listed the instrument",
    Reason.INSTRUMENT_HALTED: "the venue does not trade the instrument now",
    Reason.OUTSIDE_HOURS: "the instrument has expired",
    Reason.TICK_SIZE: "a price is between ticks",
    Reason.LOT_SIZE: "the quantity is between lots",
    Reason.PRICE_RANGE: "a price is outside of the instrument's range",
    Reason.QUANTITY_RANGE: "the quantity is outside of the instrument's range",
    Reason.MIN_NOTIONAL: "the order's value is below the instrument's least",
    Reason.SELF_TRADE: "it would trade with a resting order of the same account",
    Reason.REDUCE_ONLY: "reduce-only, and it would open or enlarge a position",
    Reason.STRATEGY_DISABLED: "the strategy is not enabled, or unknown",
    Reason.STRATEGY_CAPITAL: "the value of the strategy's positions is above its capital",
    Reason.NO_LIMITS: "a limit that an account needs is not in force for it",
    Reason.UNKNOWN_ORDER: "an amend or cancel of an order that is not open",
    Reason.MALFORMED: "a field has a value that no order can have",
    Reason.RECONCILING: "the account was not yet reconciled with its venue",
    Reason.EXPIRED: "decided after the request's own end",
}


def says(reason: Reason) -> str:
    """Why an order is denied, for people."""
    return BOUNDS[reason].says if reason in BOUNDS else OTHERS_SAY[reason]


def reasons_as_markdown() -> str:
    """The table of reason codes: the bit in `Decision.reasons`, and whose limits there can be."""
    lines = ["| bit | reason | denied when | limit in | set for |", "|---|---|---|---|---|"]
    for reason in Reason:
        unit = scopes = ""
        if reason in BOUNDS:
            unit = unit_of(reason).name.lower().removesuffix("_e8").replace("_", " ")
            allowed = BOUNDS[reason].scopes
            scopes = "every scope" if allowed == _EVERY else ", ".join(one.name.lower() for one in allowed)
        lines.append(f"| {int(reason)} | `{reason.name}` | {says(reason)} | {unit} | {scopes} |")
    return "\n".join(lines)


def unit_of(reason: Reason) -> Unit:
    """Unit of value and limit in a denial; NONE where they are names or states."""
    return BOUNDS[reason].unit if reason in BOUNDS else OTHER_UNITS.get(reason, Unit.NONE)


def check_of(reason: Reason, scope: Scope) -> int:
    """Which column of a lane's limits such a limit bounds; -1 for none."""
    bound = BOUNDS[reason]
    if bound.check < 0 or scope not in bound.scopes:
        return -1
    if reason in _PER_ORDER:
        return bound.check
    if scope is Scope.STRATEGY:
        return bound.check + 1
    return bound.check + 2 if scope is Scope.INSTRUMENT and not bound.shared else bound.check


# They bound the order itself, whoever sets them.
_PER_ORDER = frozenset(
    {Reason.STALE_INPUT, Reason.ORDER_QUANTITY, Reason.ORDER_NOTIONAL, Reason.PRICE_COLLAR, Reason.DUPLICATE}
)


def tightest_first(reason: Reason, value: int, scope: Scope) -> tuple[int, int]:
    """Sorts limits of one figure: the tightest first, then the more specific."""
    return (-value if reason is Reason.DUPLICATE else value), -int(scope)


def units() -> npt.NDArray[np.int64]:
    """Unit by reason, for the lay."""
    return np.array([unit_of(reason) for reason in Reason], dtype=np.int64)
