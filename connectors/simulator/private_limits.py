"""Order limits of an account: so many new orders in ten seconds and in a minute, counted in calendar windows."""

from __future__ import annotations

from dataclasses import dataclass, field

from connectors.simulator.private_config import PrivateRules
from connectors.simulator.private_errors import refusal

WINDOWS_MS = (10_000, 60_000)
WORDS = ("10 SECOND", "1 MINUTE")


@dataclass
class OrderCounts:
    """How many orders an account has sent.

    Args:
        rules: the limits.
    """

    rules: PrivateRules
    used: list[int] = field(default_factory=lambda: [0, 0])
    _windows: list[int] = field(default_factory=lambda: [0, 0])
    _since_ms: int = 0
    _until_ms: int = 0

    def roll(self, now_ms: int) -> None:
        """Begin new windows where the old ones are over."""
        if self._since_ms <= now_ms < self._until_ms:
            return
        for place, length_ms in enumerate(WINDOWS_MS):
            window = now_ms // length_ms
            if window != self._windows[place]:
                self._windows[place], self.used[place] = window, 0
        self._since_ms = now_ms - now_ms % WINDOWS_MS[0]  # the shortest window divides the other
        self._until_ms = self._since_ms + WINDOWS_MS[0]

    def charge(self, now_ms: int) -> None:
        """Count one order.

        Raises:
            Refused: -1015 with 429: the window is full. The order does not count.
        """
        self.roll(now_ms)
        used, limits = self.used, (self.rules.orders_per_10s, self.rules.orders_per_minute)
        for place, limit in enumerate(limits):
            if limit and used[place] >= limit:
                length_ms = WINDOWS_MS[place]
                raise refusal(-1015, limit, WORDS[place], retry_after_s=(length_ms - now_ms % length_ms) / 1000)
        used[0] += 1
        used[1] += 1

    def headers(self, now_ms: int) -> dict[str, str]:
        self.roll(now_ms)
        return {"X-MBX-ORDER-COUNT-10S": str(self.used[0]), "X-MBX-ORDER-COUNT-1M": str(self.used[1])}
