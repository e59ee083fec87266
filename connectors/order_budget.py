"""How much may still be sent: request weight per address and orders per account, cancels first.

A venue counts in fixed windows of the calendar. What it says in the headers of its answers wins over our own
count. The last part of every window is kept for what gets us out: new orders may use 80 % of it, queries 90 %, orders
that only reduce 95 %, cancels all of it. Pure: times are handed in.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

S_NS = 1_000_000_000
UNITS_S = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400}


class Priority(enum.IntEnum):
    """Who goes first. The order of the numbers is the order of sending."""

    CANCEL = 0
    REDUCE = 1
    QUERY = 2
    NEW = 3


SHARES = {Priority.CANCEL: 1.0, Priority.REDUCE: 0.95, Priority.QUERY: 0.9, Priority.NEW: 0.8}


@dataclass
class Window:
    """One limit: so many per calendar window.

    Attributes:
        orders: counts orders; else request weight.
        header: response header with the venue's own count, lower case.
    """

    orders: bool
    limit: int
    window_ns: int
    header: str
    number: int = 0
    used: int = 0

    def roll(self, now_ns: int) -> None:
        number = now_ns // self.window_ns
        if number != self.number:
            self.number, self.used = number, 0

    def wait_s(self, amount: int, share: float, now_ns: int) -> float:
        """0.0 when the amount fits into that share of the window; else how long until the next window."""
        self.roll(now_ns)
        if not amount or not self.used or self.used + amount <= int(self.limit * share):
            return 0.0
        return ((self.number + 1) * self.window_ns - now_ns) / S_NS


def _window(kind: str, limit: int, unit: str, count: int) -> Window:
    orders = kind == "ORDERS"
    name = f"{count}{unit[0]}".lower()
    header = f"x-mbx-order-count-{name}" if orders else f"x-mbx-used-weight-{name}"
    return Window(orders, limit, UNITS_S[unit] * count * S_NS, header)


def default_windows() -> list[Window]:
    """What Binance USD-M futures allow, until exchangeInfo says otherwise."""
    return [
        _window("REQUEST_WEIGHT", 2400, "MINUTE", 1),
        _window("ORDERS", 1200, "MINUTE", 1),
        _window("ORDERS", 300, "SECOND", 10),
    ]


class OrderBudget:
    """All limits of one key at one venue."""

    def __init__(self) -> None:
        self.windows = default_windows()
        self._quiet_until_ns = 0

    def learn(self, rate_limits: Sequence[Mapping[str, Any]]) -> None:
        """Take over `rateLimits` of exchangeInfo; what is not understood there is left out, counts are kept."""
        learned = []
        for row in rate_limits:
            kind, unit, limit, count = (row.get(key) for key in ("rateLimitType", "interval", "limit", "intervalNum"))
            if kind in ("REQUEST_WEIGHT", "ORDERS") and unit in UNITS_S and _positive(limit) and _positive(count):
                learned.append(_window(str(kind), int(str(limit)), str(unit), int(str(count))))
        before = {window.header: window for window in self.windows}
        for window in learned:
            if window.header in before:
                window.number, window.used = before[window.header].number, before[window.header].used
            before[window.header] = window
        self.windows = list(before.values())

    def take(self, weight: int, orders: int, priority: Priority, now_ns: int) -> float:
        """How long to wait before a request of that cost; 0.0: it may go now, and its cost is spent."""
        if now_ns < self._quiet_until_ns:
            return (self._quiet_until_ns - now_ns) / S_NS
        costs = [(window, orders if window.orders else weight) for window in self.windows]
        wait_s = max(window.wait_s(cost, SHARES[priority], now_ns) for window, cost in costs)
        if wait_s <= 0.0:
            for window, cost in costs:
                window.used += cost
        return wait_s

    def heard(self, headers: Mapping[str, str], now_ns: int) -> None:
        """The venue says in an answer how much is used. Answers to rejected orders may lack the counts."""
        for window in self.windows:
            window.roll(now_ns)
            used = headers.get(window.header, "")
            if used.isdigit():
                window.used = max(window.used, int(used))

    def be_quiet(self, seconds: float, now_ns: int) -> None:
        """The venue said 429 or 418: nothing at all goes before that time has passed."""
        self._quiet_until_ns = max(self._quiet_until_ns, now_ns + int(seconds * S_NS))


def _positive(value: object) -> bool:
    return isinstance(value, int) and value > 0
