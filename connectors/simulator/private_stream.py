"""User data streams: listen keys, and who hears what of which account.

A listen key is subscribed like a stream, on the route `/private`; on any other it is acknowledged and silent.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from connectors.simulator.feed import wrapper_head
from connectors.simulator.hub import Client, Hub
from connectors.simulator.private_account import Account
from connectors.simulator.private_errors import refusal
from connectors.simulator.private_event import Event, event_of
from streams.clock import Clock

ROUTE = "private"
S_NS = 1_000_000_000
MS_NS = 1_000_000


@dataclass
class ListenKey:
    """One account's key.

    Attributes:
        expires_ns: unless it is extended.
    """

    text: str
    account: Account
    expires_ns: int


@dataclass
class UserStreams:
    """Listen keys and their listeners.

    Args:
        hub: the sockets.
        clock: the venue's wall clock.
        life_s: of a key.

    Attributes:
        sent: events that reached a socket; `unheard`: those that did not.
    """

    hub: Hub
    clock: Clock
    life_s: float
    sent: int = 0
    unheard: int = 0
    _by_text: dict[str, ListenKey] = field(default_factory=dict)
    _by_account: dict[int, ListenKey] = field(default_factory=dict)
    _made: int = 0

    def create(self, account: Account) -> str:
        """The account's key: the one it has, extended, or a new one."""
        key = self._by_account.get(account.number)
        if key is None:
            self._made += 1
            seed = f"{account.config.key} {self._made} {self.clock.now_ns()}"
            key = ListenKey(hashlib.sha256(seed.encode()).hexdigest(), account, 0)
            self._by_text[key.text] = self._by_account[account.number] = key
        self._extend(key)
        return key.text

    def _extend(self, key: ListenKey) -> None:
        key.expires_ns = self.clock.now_ns() + round(self.life_s * S_NS)

    def extend(self, account: Account) -> str:
        """Raises Refused (-1125): it has no key."""
        key = self._of(account)
        self._extend(key)
        return key.text

    def close(self, account: Account) -> None:
        """Raises Refused (-1125): it has no key."""
        self._forget(self._of(account))

    def _of(self, account: Account) -> ListenKey:
        key = self._by_account.get(account.number)
        if key is None:
            raise refusal(-1125)
        return key

    def _forget(self, key: ListenKey) -> None:
        del self._by_text[key.text], self._by_account[key.account.number]

    def knows(self, text: str) -> bool:
        """Whether it is a listen key that has not expired."""
        return text in self._by_text

    def expire_due(self) -> None:
        """End the keys whose time is over."""
        now_ns = self.clock.now_ns()
        for key in [key for key in self._by_text.values() if key.expires_ns <= now_ns]:
            self._expire(key)

    def expire_all(self) -> list[str]:
        """End every key; returns whose they were (a fault)."""
        keys = list(self._by_text.values())
        for key in keys:
            self._expire(key)
        return [key.account.config.name for key in keys]

    def _expire(self, key: ListenKey) -> None:
        event = {"e": "listenKeyExpired", "E": self.clock.now_ns() // MS_NS, "listenKey": key.text}
        self._say(key, event_of(event))
        self._forget(key)

    def publish(self, account: Account, event: Event) -> None:
        """Send an event to whoever listens to the account's key."""
        key = self._by_account.get(account.number)
        if key is None or not self._say(key, event):
            self.unheard += 1
        else:
            self.sent += 1

    def _say(self, key: ListenKey, event: Event) -> bool:
        clients = [client for client in tuple(self.hub.clients.values()) if self._hears(client, key, event.name)]
        for client in clients:
            self.hub.say(client, wrapper_head(key.text) + event.body + b"}" if client.control.combined else event.body)
        return bool(clients)

    @staticmethod
    def _hears(client: Client, key: ListenKey, name: str) -> bool:
        if client.route != ROUTE or client.is_frozen or key.text not in client.control.streams:
            return False
        return not client.events or name in client.events


class Outbox:
    """Events on their way to the streams, each a while after it happened, in order.

    Args:
        deliver: takes an event when its time has come.
        later: calls something after so many seconds.
        clock: monotonic time.
    """

    def __init__(
        self,
        deliver: Callable[[Account, Event], None],
        later: Callable[[float, Callable[[], None]], None],
        clock: Clock,
    ) -> None:
        self._deliver = deliver
        self._later = later
        self._clock = clock
        self._waiting: deque[tuple[int, Account, Event]] = deque()

    def put(self, account: Account, event: Event, delay_s: float) -> None:
        """Deliver after `delay_s`, but not before what was put earlier."""
        due_ns = self._clock.monotonic_ns() + round(delay_s * S_NS)
        if self._waiting:
            due_ns = max(due_ns, self._waiting[-1][0])
        self._waiting.append((due_ns, account, event))
        self._later(max(0.0, (due_ns - self._clock.monotonic_ns()) / S_NS), self.flush_due)

    def flush_due(self) -> None:
        """Deliver what is due; what is not has its own call coming."""
        now_ns = self._clock.monotonic_ns()
        while self._waiting and self._waiting[0][0] <= now_ns:
            _, account, event = self._waiting.popleft()
            self._deliver(account, event)
        if self._waiting:  # a timer may fire a little early
            self._later((self._waiting[0][0] - now_ns) / S_NS, self.flush_due)
