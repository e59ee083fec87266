"""What trades in `up`: a paper account, limits for it, two strategies.

All of it is rows like any that a person sets later: with who, and why.
"""

from __future__ import annotations

from collections.abc import Sequence

from infra import steering
from infra.sessions.store import Session
from schemas.instruments import instrument_id
from schemas.trading import Reason, Scope

E8 = 100_000_000
ACCOUNT = "paper"
CURRENCY = "USDT"
WHY = "what `up` starts with"
S = 1_000_000_000

# Of the paper account, which owns 100,000 USDT.
LIMITS: dict[Reason, int] = {
    Reason.STALE_INPUT: 2 * S,
    Reason.ORDER_QUANTITY: 1_000 * E8,
    Reason.ORDER_NOTIONAL: 20_000 * E8,
    Reason.PRICE_COLLAR: 200,
    Reason.POSITION_NOTIONAL: 50_000 * E8,
    Reason.GROSS_EXPOSURE: 100_000 * E8,
    Reason.NET_EXPOSURE: 80_000 * E8,
    Reason.OPEN_ORDERS: 20,
    Reason.RATE_SECOND: 20,
    Reason.RATE_MINUTE: 1_000,
    Reason.DAILY_LOSS: 2_000 * E8,
    Reason.DRAWDOWN: 3_000 * E8,
}


def start_trading(session: Session, venue: str, symbols: Sequence[str]) -> None:
    """Write the rows; before anything that reads them has orders to send."""
    account = f"{venue}:{ACCOUNT}"
    steering.set_limits(session, Scope.ACCOUNT, instrument_id(account), LIMITS, WHY, CURRENCY)
    # An instrument each: the venue nets what one account holds, and settles profit by the net position.
    first, second = f"{venue}:{symbols[0]}", f"{venue}:{symbols[1 % len(symbols)]}"
    common = {"account": account, "capital_e8": 50_000 * E8}
    maker = {"quantity_e8": 5_000_000, "inventory_max_e8": 50_000_000, "spread_ppm": 40, "requote_ticks": 2}
    momentum = {"interval_ns": S, "fast": 3, "slow": 8, "quantity_e8": 20_000_000}
    steering.set_strategies(
        session,
        [
            {**common, "name": "maker", "rule": "market_making", "instrument": first, "parameters": maker},
            {**common, "name": "momentum", "rule": "momentum", "instrument": second, "parameters": momentum},
        ],
        WHY,
    )
