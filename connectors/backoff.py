"""How long to wait before the next dial: exponential with full jitter.

`delay_n = uniform(0, min(cap, base × 2^n))`, n = failures since the connection was last *healthy* (data on it, and
alive for a while). Counting a mere handshake as health would make a hot loop against a server that accepts and closes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from streams.clock import entropy

BASE_S = 0.5
CAP_S = 30.0


@dataclass
class Backoff:
    """The waits of one connection; `chance` may be seeded in tests, nothing recorded depends on it."""

    base_s: float = BASE_S
    cap_s: float = CAP_S
    failures: int = 0
    chance: random.Random = field(default_factory=entropy)

    def ceiling_s(self) -> float:
        """The longest wait that the next failure may cause."""
        return min(self.cap_s, self.base_s * 2.0 ** min(self.failures, 32))

    def next_s(self) -> float:
        """Count a failure; how long to wait before trying again."""
        ceiling = self.ceiling_s()
        self.failures += 1
        return self.chance.uniform(0.0, ceiling)

    def healthy(self) -> None:
        self.failures = 0
