"""The dead-man's lease: who decides about orders must be alive, or the gateway takes the account out of the market.

Alive is a process whose status was written lately. A pipeline counts from when it was first seen alive: a gateway may
start before those that decide. What stops in order is not alive either.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra.process.status import Status

MUST_LIVE = ("strategies", "risk", "orders")  # pipelines: what wants, what allows, what knows what is open
DEADMAN_S = 15.0


class Deadman:
    """Judges statuses.

    Args:
        deadman_s: how long one may be silent; 0: for ever.
    """

    def __init__(self, deadman_s: float = DEADMAN_S, must_live: Iterable[str] = MUST_LIVE) -> None:
        self._limit_ns = int(deadman_s * 1e9)
        self._seen_ns: dict[str, int] = dict.fromkeys(must_live, 0)

    def missing(self, statuses: Iterable[Status], now_ns: int) -> list[str]:
        """Pipelines that were alive and have been silent for too long."""
        for status in statuses:
            if status.state in ("starting", "running"):
                for name in status.facts.get("pipelines", ()):
                    if name in self._seen_ns:
                        self._seen_ns[name] = max(self._seen_ns[name], min(status.updated_ns, now_ns))
        if not self._limit_ns:
            return []
        return [name for name, seen_ns in self._seen_ns.items() if seen_ns and now_ns - seen_ns > self._limit_ns]

    @property
    def watched(self) -> list[str]:
        """Those that were ever alive."""
        return [name for name, seen_ns in self._seen_ns.items() if seen_ns]
