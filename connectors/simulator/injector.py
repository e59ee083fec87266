"""Makes faults happen: fires them when the play reaches their second, and keeps what they left armed.

Some act on sockets at once. Others wait for their victim: the next order book event, depth answer,
REST request or handshake. The player, the REST half and the server ask here before they act.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from connectors.simulator.faults import S_NS, Fault
from connectors.simulator.feed import Item, StreamInfo, wrapper_head
from connectors.simulator.hub import Client, Hub
from streams.clock import Clock

NEVER_NS = 2**63 - 1
ABNORMAL = 1006
GOING_AWAY = 1001
SHUTDOWN_STREAM = "!serverShutdown"
EMPTY_TIMEOUT_S = 1.0
STREAM_FAULTS = ("drop_diff", "duplicate_diff", "swap_diffs", "corrupt_frame", "unknown_event")


@dataclass
class Fired:
    """A fault that happened.

    Attributes:
        fault: as it was asked for.
        position_s: where the play was, in seconds from its start.
        wall_ns: when, by the wall clock.
        hits: what it did, in words, as it happens.
    """

    fault: Fault
    position_s: float
    wall_ns: int
    hits: list[str] = field(default_factory=list)


class Outage(NamedTuple):
    """What a fault does to a play at max speed, which has no wall clock to lose frames by.

    Attributes:
        wall_s: stand still for so long.
        lost_ns: then skip so much of the play.
    """

    wall_s: float = 0.0
    lost_ns: int = 0


class Refusal(NamedTuple):
    status: int
    retry_after_s: float


@dataclass
class _Armed:
    """A fault waiting for its victims."""

    fired: Fired
    left: int

    def matches(self, symbol: str) -> bool:
        return self.fired.fault.texts.get("symbol", "") in ("", symbol)


class Injector:
    """The faults of one venue.

    Args:
        plan: faults to come, in the order of their times.
        hub: whose clients suffer.
        start_ns: time of the play's first item; faults count from it.
        clock: for the durations of faults.
    """

    def __init__(self, plan: Sequence[Fault], hub: Hub, start_ns: int, clock: Clock) -> None:
        self._plan = deque(plan)
        self._hub = hub
        self._start_ns = start_ns
        self._clock = clock
        self._armed: list[_Armed] = []
        self._late: list[_Armed] = []
        self._old: list[_Armed] = []
        self._rest_429: list[_Armed] = []
        self._held: dict[str, bytes] = {}  # by stream: the first of two events that change places
        self._banned_until_ns = 0
        self._dials_refused_until_ns = 0
        self._dial_status = 429
        self._dials_stalled_until_ns = 0
        self._order_timeouts: list[_Armed] = []
        self._report_first: list[_Armed] = []
        self._report_twice: list[_Armed] = []
        self._rejects: list[_Armed] = []
        self._skewed_until_ns = 0
        self._skew_ns = 0
        self._down_until_ns = 0
        self.on_listen_keys_expired: Callable[[], list[str]] = list
        self._timers: list[asyncio.TimerHandle] = []
        self.fired: list[Fired] = []

    @property
    def next_ns(self) -> int:
        """Time of the item at which the next fault is due; NEVER_NS when none is left."""
        return self._start_ns + self._plan[0].at_ns if self._plan else NEVER_NS

    def pop_due(self, at_ns: int) -> list[Fault]:
        """Faults of the plan that are due at this item."""
        due = []
        while self.next_ns <= at_ns:
            due.append(self._plan.popleft())
        return due

    async def fire(self, fault: Fault, at_ns: int) -> Outage:
        """Let a fault happen at this point of the play."""
        fired = Fired(fault, max(0, at_ns - self._start_ns) / S_NS, self._clock.now_ns())
        self.fired.append(fired)
        if fault.name in STREAM_FAULTS:
            self._armed.append(_Armed(fired, int(fault.numbers["count"])))
            return Outage()
        return await self._actions()[fault.name](fired)

    def _actions(self) -> Mapping[str, Callable[[Fired], Awaitable[Outage]]]:
        return {
            "cut": self._cut,
            "silence": self._silence,
            "half_open": self._half_open,
            "ack_mute": self._ack_mute,
            "late_snapshot": self._arm_late,
            "old_snapshot": self._arm_old,
            "rest_429": self._arm_429,
            "rest_418": self._ban,
            "server_shutdown": self._shut_down,
            "refuse_dials": self._refuse_dials,
            "no_upgrade": self._stall_dials,
            "order_timeout": self._arm_in(self._order_timeouts),
            "report_first": self._arm_in(self._report_first),
            "report_twice": self._arm_in(self._report_twice),
            "reject_burst": self._arm_in(self._rejects),
            "clock_skew": self._skew,
            "listen_key_expired": self._expire_listen_keys,
            "venue_restart": self._restart,
        }

    def cancel(self) -> None:
        """Forget timers: the venue ends."""
        for timer in self._timers:
            timer.cancel()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, action))

    def _until(self, seconds: float) -> int:
        return self._clock.monotonic_ns() + round(seconds * S_NS)

    # ---- sockets

    async def _cut(self, fired: Fired) -> Outage:
        await self._hub.empty(EMPTY_TIMEOUT_S)  # so that the last frame before a cut is the same in every play
        code = int(fired.fault.numbers["code"])
        for client in self._hub.heard():
            client.is_frozen = True
            if code == ABNORMAL:
                client.wire.abort()
            else:
                client.wire.close_soon(code, "")
            fired.hits.append(f"connection {client.number} ended")
        self._hub.route()
        return Outage(0.0, round(fired.fault.numbers["lost"] * S_NS))

    async def _half_open(self, fired: Fired) -> Outage:
        await self._hub.empty(EMPTY_TIMEOUT_S)
        for client in self._hub.heard():
            client.is_frozen = True
            client.wire.freeze()
            fired.hits.append(f"connection {client.number} is half open")
        self._hub.route()
        return Outage(0.0, round(fired.fault.numbers["lost"] * S_NS))

    async def _silence(self, fired: Fired) -> Outage:
        seconds = fired.fault.numbers["seconds"]
        await self._hub.flush()
        self._hub.silent = True

        def speak() -> None:
            self._hub.silent = False
            fired.hits.append("over")

        self._later(seconds, speak)
        return Outage(seconds, round(seconds * S_NS))

    async def _ack_mute(self, fired: Fired) -> Outage:
        symbol = fired.fault.texts["symbol"]
        for client in self._hub.heard():
            for asked, stream in self._hub.heard_by(client).items():
                info = self._hub.streams[stream]
                if info.kind == "depth" and symbol in ("", info.symbol):
                    client.muted.add(asked)
                    fired.hits.append(f"connection {client.number} hears no {asked}")
                    break
        self._hub.route()
        return Outage()

    async def _shut_down(self, fired: Fired) -> Outage:
        event = b'{"e":"serverShutdown","E":%d}' % (self._clock.now_ns() // 1_000_000)
        wrapped = wrapper_head(SHUTDOWN_STREAM) + event + b"}"
        clients = self._hub.heard()
        for client in clients:
            self._hub.say(client, wrapped if client.control.combined else event)
            fired.hits.append(f"connection {client.number} told")
        self._later(fired.fault.numbers["seconds"], lambda: _close_all(clients))
        return Outage()

    # ---- streams

    @property
    def armed(self) -> bool:
        """Whether `alter` has something to do."""
        return bool(self._armed)

    def alter(self, item: Item, info: StreamInfo) -> list[bytes]:
        """The frames to send in the place of this one."""
        if item.stream not in self._hub.by_stream or self._hub.silent:
            return [item.payload]
        for armed in self._armed:
            name = armed.fired.fault.name
            if name != "unknown_event" and info.kind != "depth":
                continue
            if not armed.matches(item.symbol):
                continue
            frames = self._damage(name, item)
            if name != "swap_diffs" or frames:  # a swap is done when its second half is sent
                self._hit(armed, item)
            return frames
        return [item.payload]

    def _hit(self, armed: _Armed, item: Item) -> None:
        armed.fired.hits.append(f"{item.stream} {_update_ids(item.payload)}".rstrip())
        armed.left -= 1
        if armed.left <= 0:
            self._armed.remove(armed)

    def _damage(self, name: str, item: Item) -> list[bytes]:
        if name == "drop_diff":
            return []
        if name == "duplicate_diff":
            return [item.payload, item.payload]
        if name == "corrupt_frame":
            return [corrupted(item.payload)]
        if name == "unknown_event":
            return [wrapper_head(item.stream) + b'{"e":"somethingNew","E":1,"x":[]}}', item.payload]
        held = self._held.pop(item.stream, None)
        if held is None:
            self._held[item.stream] = item.payload
            return []
        return [item.payload, held]

    def held_back(self) -> list[tuple[str, bytes]]:
        """(stream, frame) of swaps whose second half never came; to be sent at the end."""
        held, self._held = list(self._held.items()), {}
        return held

    # ---- REST

    async def _arm_late(self, fired: Fired) -> Outage:
        self._late.append(_Armed(fired, int(fired.fault.numbers["count"])))
        return Outage()

    async def _arm_old(self, fired: Fired) -> Outage:
        self._old.append(_Armed(fired, int(fired.fault.numbers["count"])))
        return Outage()

    async def _arm_429(self, fired: Fired) -> Outage:
        self._rest_429.append(_Armed(fired, int(fired.fault.numbers["count"])))
        return Outage()

    async def _ban(self, fired: Fired) -> Outage:
        self._banned_until_ns = self._until(fired.fault.numbers["seconds"])
        return Outage()

    def snapshot_delay_s(self, symbol: str) -> float:
        """How late this depth answer is to be sent."""
        fired = _take(self._late, f"depth of {symbol}")
        return fired.fault.numbers["seconds"] if fired else 0.0

    def snapshot_is_old(self, symbol: str) -> bool:
        """Whether this depth answer is to claim an update id from before the play."""
        return _take(self._old, f"depth of {symbol}") is not None

    def rest_refusal(self, path: str) -> Refusal | None:
        """How this REST request is to be refused."""
        down_s = self._down_s
        if down_s > 0:
            return Refusal(503, down_s)
        left_ns = self._banned_until_ns - self._clock.monotonic_ns()
        if left_ns > 0:
            return Refusal(418, left_ns / S_NS)
        fired = _take(self._rest_429, path)
        return Refusal(429, fired.fault.numbers["seconds"]) if fired else None

    # ---- handshakes

    async def _refuse_dials(self, fired: Fired) -> Outage:
        self._dials_refused_until_ns = self._until(fired.fault.numbers["seconds"])
        self._dial_status = int(fired.fault.numbers["status"])
        return Outage()

    async def _stall_dials(self, fired: Fired) -> Outage:
        self._dials_stalled_until_ns = self._until(fired.fault.numbers["seconds"])
        return Outage()

    def dial_refusal(self) -> Refusal | None:
        """How this handshake is to be refused."""
        down_s = self._down_s
        if down_s > 0:
            return Refusal(503, down_s)
        left_ns = self._dials_refused_until_ns - self._clock.monotonic_ns()
        return Refusal(self._dial_status, left_ns / S_NS) if left_ns > 0 else None

    # ---- orders

    @staticmethod
    def _arm_in(armed: list[_Armed]) -> Callable[[Fired], Awaitable[Outage]]:
        async def arm(fired: Fired) -> Outage:
            armed.append(_Armed(fired, int(fired.fault.numbers["count"])))
            return Outage()

        return arm

    async def _skew(self, fired: Fired) -> Outage:
        self._skewed_until_ns = self._until(fired.fault.numbers["seconds"])
        self._skew_ns = round(fired.fault.numbers["skew"] * S_NS)
        return Outage()

    async def _expire_listen_keys(self, fired: Fired) -> Outage:
        fired.hits += [f"listen key of {name}" for name in self.on_listen_keys_expired()]
        return Outage()

    async def _restart(self, fired: Fired) -> Outage:
        seconds = fired.fault.numbers["seconds"]
        self._down_until_ns = self._until(seconds)
        for client in self._hub.heard():
            client.is_frozen = True
            client.wire.abort()
            fired.hits.append(f"connection {client.number} ended")
        self._hub.route()
        return Outage(seconds, round(seconds * S_NS))

    @property
    def _down_s(self) -> float:
        return (self._down_until_ns - self._clock.monotonic_ns()) / S_NS

    @property
    def skew_ns(self) -> int:
        """How far the venue's clock is ahead."""
        return self._skew_ns if self._clock.monotonic_ns() < self._skewed_until_ns else 0

    def order_timeout(self, method: str, what: str) -> Fault | None:
        """The fault that this order request meets, if it is not to be answered."""
        mine = [armed for armed in self._order_timeouts if armed.fired.fault.texts["method"] in ("", method)]
        if not mine:
            return None
        fired = _take(mine[:1], what)
        self._order_timeouts[:] = [armed for armed in self._order_timeouts if armed.left > 0]
        return fired.fault if fired else None

    def answer_delay_s(self, what: str) -> float:
        """How much later than the stream this answer is to come."""
        fired = _take(self._report_first, what)
        return fired.fault.numbers["seconds"] if fired else 0.0

    def repeats_report(self, what: str) -> bool:
        """Whether this ORDER_TRADE_UPDATE is to be sent twice."""
        return _take(self._report_twice, what) is not None

    def order_refusal(self, what: str) -> int:
        """The error code with which this new order is to be refused; 0 when it is not."""
        fired = _take(self._rejects, what)
        return -int(fired.fault.numbers["error"]) if fired else 0

    @property
    def stalls_dials(self) -> bool:
        return self._clock.monotonic_ns() < self._dials_stalled_until_ns


def _close_all(clients: Sequence[Client]) -> None:
    for client in clients:
        client.wire.close_soon(GOING_AWAY, "")


def _take(armed: list[_Armed], what: str) -> Fired | None:
    """Use up one count of the first fault in the list."""
    if not armed:
        return None
    first = armed[0]
    first.fired.hits.append(what)
    first.left -= 1
    if first.left <= 0:
        armed.pop(0)
    return first.fired


def _update_ids(payload: bytes) -> str:
    data = orjson.loads(payload)["data"]
    return f"U={data['U']} u={data['u']}" if "U" in data else ""


def corrupted(payload: bytes) -> bytes:
    """One bit wrong: the quote nearest to the end of the first half becomes `#`, so the text is no JSON any more."""
    at = payload.rindex(b'"', 0, len(payload) // 2 + 1)
    return payload[:at] + b"#" + payload[at + 1 :]
