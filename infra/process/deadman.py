"""The dead-man's lease: who decides about orders must be alive, or the gateway takes the account out of the market.

Alive is a rule that moves: it took rows lately, or found that none wait (`Status.moved_ns`); of the shipper, that rows
land. That its process still says something proves nothing: another thread says it. Each counts from when it first
moved: a gateway may start before those that decide. What stops in order is not alive either, nor what only starts again
and again.
"""

from __future__ import annotations

from collections.abc import Iterable

from infra.process.status import Status

SHIPPING = "the shipper"  # over Kafka: without it those who decide learn nothing any more
MUST_LIVE = ("strategies", "risk", "orders", SHIPPING)  # what wants, what allows, what knows what is open
DEADMAN_S = 15.0


class Deadman:
    """Judges statuses.

    Args:
        deadman_s: how long one may stand still; 0: for ever.
        must_live: names of pipelines, and the shipper's.
    """

    def __init__(self, deadman_s: float = DEADMAN_S, must_live: Iterable[str] = MUST_LIVE) -> None:
        self._limit_ns = int(deadman_s * 1e9)
        self._moved_ns: dict[str, int] = dict.fromkeys(must_live, 0)

    def missing(self, statuses: Iterable[Status], now_ns: int) -> list[str]:
        """Those that have moved, and not for too long."""
        for status in statuses:
            for name in self._moved_ns.keys() & status.moved_ns.keys():
                self._moved_ns[name] = max(self._moved_ns[name], min(status.moved_ns[name], now_ns))
        if not self._limit_ns:
            return []
        return [name for name, moved_ns in self._moved_ns.items() if moved_ns and now_ns - moved_ns > self._limit_ns]

    @property
    def watched(self) -> list[str]:
        """Those that have ever moved."""
        return [name for name, moved_ns in self._moved_ns.items() if moved_ns]
