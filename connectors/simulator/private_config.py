"""Who may trade at the simulated venue, and on which terms."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schemas.errors import ConfigInvalid

E8 = 100_000_000
KEY_PATTERN = re.compile(r"[A-Za-z0-9]{64}")
# The paper account's key and secret. They are published, the same for everybody, and open nothing but a
# simulated venue on localhost.
PAPER_KEY = "paperkey" * 8
PAPER_SECRET = "notsecret" * 7 + "0"


@dataclass(frozen=True)
class AccountConfig:
    """An account and its one key.

    Args:
        name: for people; `accountAlias` of the balances.
        key, secret: 64 letters and digits each.
        asset, balance_e8: what it owns at the start.
        leverage: of every symbol at the start.
        can_trade: without it orders are refused with -2015.
        can_withdraw: what apiRestrictions says; for tests of those who must refuse such a key.
    """

    name: str = "paper"
    key: str = PAPER_KEY
    secret: str = PAPER_SECRET
    asset: str = "USDT"
    balance_e8: int = 100_000 * E8
    leverage: int = 20
    can_trade: bool = True
    can_withdraw: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigInvalid: a value that no account can have."""
        if not KEY_PATTERN.fullmatch(self.key) or not KEY_PATTERN.fullmatch(self.secret):
            raise ConfigInvalid(f"The key and the secret of account {self.name!r} must be 64 letters and digits each.")
        if not 1 <= self.leverage <= 125:
            raise ConfigInvalid(f"The leverage of account {self.name!r} is {self.leverage}; it is from 1 to 125.")
        if not 0 <= self.balance_e8 < 2**62:
            raise ConfigInvalid(f"The balance of account {self.name!r} is {self.balance_e8}; it must be 0 or above.")


@dataclass(frozen=True)
class PrivateRules:
    """The terms of trading.

    Args:
        maker_fee_e8, taker_fee_e8: of the notional, × 10^8 (20,000 is 0.02 %); a maker fee below 0 is a rebate.
        maintenance_e8: maintenance margin of the notional, × 10^8.
        funding_interval_s: funding is exchanged at whole multiples of it on the venue's clock; 0: never.
        funding_rate_e8: of the notional, × 10^8; above 0 the long side pays.
        orders_per_10s, orders_per_minute: order limits of an account; 0: none.
        open_orders_max: per account and symbol.
        request_latency_s, report_latency_s: from a request's arrival to the market, and from the market to the
            answer and the stream.
        jitter_s: up to so much is added to each of them, evenly.
        seed: of the jitter, and of whether ACCOUNT_UPDATE comes before or after ORDER_TRADE_UPDATE.
        listen_key_life_s: unless it is extended.
        refuses_at_once: a post-only order that would take is refused with -5022 and a FOK order that cannot be
            filled with -5021; else both are accepted and then expire.
    """

    maker_fee_e8: int = 20_000
    taker_fee_e8: int = 50_000
    maintenance_e8: int = 400_000
    funding_interval_s: float = 28_800.0
    funding_rate_e8: int = 10_000
    orders_per_10s: int = 300
    orders_per_minute: int = 1200
    open_orders_max: int = 200
    request_latency_s: float = 0.0
    report_latency_s: float = 0.0
    jitter_s: float = 0.0
    seed: int = 1
    listen_key_life_s: float = 3600.0
    refuses_at_once: bool = False

    def __post_init__(self) -> None:
        """Raises ConfigInvalid: a value that cannot be right."""
        if not (abs(self.maker_fee_e8) <= E8 and 0 <= self.taker_fee_e8 <= E8 and 0 < self.maintenance_e8 < E8):
            raise ConfigInvalid("Fees and the maintenance margin are parts of the notional: at most 1.")
        waits = (self.funding_interval_s, self.request_latency_s, self.report_latency_s, self.jitter_s)
        if min(waits) < 0 or self.listen_key_life_s <= 0:
            raise ConfigInvalid("Latencies and intervals must not be below 0, and listen keys must live for a while.")
        if min(self.orders_per_10s, self.orders_per_minute, self.open_orders_max, self.seed) < 0:
            raise ConfigInvalid("Order limits and the seed must not be below 0.")
