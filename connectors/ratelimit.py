"""Budgets that a venue sets us: REST weight in fixed calendar windows, and so many actions in any window of time.

Times are handed in: nothing here reads a clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

SHARE = 0.8  # of the venue's limit: other programs on this address have needs too


class WeightBudget:
    """REST weight per fixed window of wall-clock time, as Binance counts it.

    The venue's own count, in its answers' headers, wins over ours: it knows what others on this address used.
    """

    def __init__(self, weight_max: int, window_s: float, header: str) -> None:
        self._limit = int(weight_max * SHARE)
        self._window_ns = int(window_s * 1e9)
        self._header = header
        self._window = 0
        self._quiet_until_ns = 0
        self.used = 0

    def take(self, weight: int, now_ns: int) -> float:
        """How long to wait before a request of that weight; 0.0 when it may go now, and the weight is spent."""
        self._roll(now_ns)
        if now_ns < self._quiet_until_ns:
            return (self._quiet_until_ns - now_ns) / 1e9
        if self.used and self.used + weight > self._limit:
            return ((self._window + 1) * self._window_ns - now_ns) / 1e9
        self.used += weight
        return 0.0

    def heard(self, headers: Mapping[str, str], now_ns: int) -> None:
        """The venue says in an answer how much of the window is used."""
        self._roll(now_ns)
        used = headers.get(self._header, "")
        if used.isdigit():
            self.used = max(self.used, int(used))

    def be_quiet(self, seconds: float, now_ns: int) -> None:
        """The venue said 429 or 418: nothing goes before that time has passed."""
        self._quiet_until_ns = max(self._quiet_until_ns, now_ns + int(seconds * 1e9))

    def _roll(self, now_ns: int) -> None:
        window = now_ns // self._window_ns
        if window != self._window:
            self._window, self.used = window, 0


class SlidingWindow:
    """At most `count_max` actions in any `window_s` seconds."""

    def __init__(self, count_max: int, window_s: float) -> None:
        self._window_ns = int(window_s * 1e9)
        self._count_max = count_max
        self._times: deque[int] = deque()

    def take(self, now_ns: int) -> float:
        """How long to wait; 0.0 when the action may happen now, and it is counted. Any monotonic clock will do."""
        while self._times and self._times[0] <= now_ns - self._window_ns:
            self._times.popleft()
        if len(self._times) >= self._count_max:
            return (self._times[0] + self._window_ns - now_ns) / 1e9
        self._times.append(now_ns)
        return 0.0


def retry_after_s(headers: Mapping[str, str], default_s: float) -> float:
    """Seconds that the venue asks us to wait, or the default where it does not say."""
    try:
        return max(0.0, float(headers.get("Retry-After", default_s)))
    except ValueError:
        return default_s
