"""Plays a feed to the hub: when it begins, how fast it goes, where it waits.

A recorded depth answer is a **rendezvous**. A request that comes before the play has reached it is
answered there; the play does not pass it until it was asked for and answered (or `rendezvous_s` is
over). So every play, at every speed, puts the client into exactly the recorded situation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from connectors.simulator.config import SPEED_MAX
from connectors.simulator.faults import S_NS, Fault
from connectors.simulator.feed import SNAPSHOT, Feed, Item
from connectors.simulator.hub import Hub
from connectors.simulator.injector import Injector
from connectors.simulator.venue_book import aged_body, cut_body
from streams.clock import Clock

FRAMES_PER_FLUSH = 256
OTHERS_RELEASED_S = 0.5  # at a rendezvous: clients may ask one symbol after the other, so held answers go out then
PACE_SLEEP_MAX_S = 0.25
DEFAULT_RENDEZVOUS_S = 10.0

PlayState = Literal["waiting for subscribers", "playing", "waiting at a recorded snapshot", "done", "failed"]
logger = logging.getLogger(__name__)


class Pacer:
    """Maps the wall clock to the play's clock.

    Args:
        speed: seconds of play per second; SPEED_MAX for no pace at all.
    """

    def __init__(self, speed: float) -> None:
        self.speed = speed
        self._origin_wall_ns = 0
        self._origin_play_ns = 0

    def begin(self, wall_ns: int, play_ns: int) -> None:
        self._origin_wall_ns, self._origin_play_ns = wall_ns, play_ns

    def shift(self, wall_ns: int) -> None:
        """The play stood still for so long."""
        self._origin_wall_ns += wall_ns

    def due_ns(self, wall_ns: int) -> int:
        """Up to which time of the play everything is due."""
        return self._origin_play_ns + int((wall_ns - self._origin_wall_ns) * self.speed)

    def wait_s(self, at_ns: int, wall_ns: int) -> float:
        """How long until an item is due; 0 when it is."""
        return max(0.0, (at_ns - self.due_ns(wall_ns)) / self.speed / S_NS)


@dataclass
class Rendezvous:
    """A recorded depth answer that the play has not passed yet.

    Attributes:
        reached: the play is there, or nobody need wait for it any longer.
        served: somebody has it.
        waiting: requests that are held.
        body: the answer; None when it never comes.
    """

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    served: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    body: bytes | None = None


class DepthAnswer(NamedTuple):
    """A depth answer to send.

    Attributes:
        body: the JSON.
        delay_s: to be waited before it is sent.
        on_sent: to be called when it has been sent.
    """

    body: bytes
    delay_s: float
    on_sent: Callable[[], None]


def _nothing() -> None:
    pass


class Player:
    """One play of a feed.

    Args:
        feed: what.
        hub: to whom.
        injector: what goes wrong.
        clock: by which clock.
        speed: how fast, see `Pacer`.
        rendezvous_s, start_grace_s: see `VenueConfig`.

    Attributes:
        state: what it is doing.
        position_ns: time of the latest item.
    """

    def __init__(
        self,
        feed: Feed,
        hub: Hub,
        injector: Injector,
        clock: Clock,
        speed: float,
        rendezvous_s: float = DEFAULT_RENDEZVOUS_S,
        start_grace_s: float = 1.0,
    ) -> None:
        self._feed = feed
        self._hub = hub
        self._injector = injector
        self._clock = clock
        self._pacer = Pacer(speed)
        self._is_paced = speed != SPEED_MAX
        self._rendezvous_s = rendezvous_s
        self._start_grace_s = start_grace_s
        self._due_ns = 0
        self._skip_until_ns = 0
        self._pause_s = 0.0
        self._seen_changes = -1
        self._audience = {(info.symbol, info.kind) for info in feed.streams.values()}
        self._meetings: dict[str, Rendezvous] = {
            info.symbol: Rendezvous()
            for info in feed.streams.values()
            if info.kind == "depth" and feed.depth(info.symbol, 1) is None
        }
        self.state: PlayState = "waiting for subscribers"
        self.position_ns = feed.start_ns
        self.answers_recorded = 0
        self.answers_from_book = 0

    @property
    def lag_s(self) -> float:
        """How far the play is behind its clock because clients do not take it faster; 0 at max speed."""
        if not self._is_paced or self.state != "playing":
            return 0.0
        return max(0, self._pacer.due_ns(self._clock.monotonic_ns()) - self.position_ns) / S_NS

    async def run(self) -> None:
        """Play to the end.

        Raises:
            InputInvalid: a recording is not any more what it was when it was scanned.
        """
        await self._wait_for_audience()
        self._pacer.begin(self._clock.monotonic_ns(), self._feed.start_ns)
        self.state = "playing"
        count = 0
        for item in self._feed.items():
            self.position_ns = item.at_ns
            if self._is_paced and item.at_ns > self._due_ns:
                await self._pace(item.at_ns)
            if item.at_ns >= self._injector.next_ns:
                for fault in self._injector.pop_due(item.at_ns):
                    await self.fire(fault)
            if not self._is_paced and (self._pause_s or self._hub.changes != self._seen_changes):
                await self._keep_audience()
            if item.stream == SNAPSHOT:
                await self._meet(item)
                continue
            self._publish(item)
            count += 1
            if count % FRAMES_PER_FLUSH == 0:
                await self._hub.flush()
                await asyncio.sleep(0)
        for stream, payload in self._injector.held_back():
            self._hub.publish(stream, payload, self._feed.streams[stream].head_bytes)
        await self._hub.flush()
        self.state = "done"
        self.release()

    def _publish(self, item: Item) -> None:
        if item.at_ns < self._skip_until_ns:
            self._hub.unheard += 1
            return
        info = self._feed.streams[item.stream]
        if not self._injector.armed:
            self._hub.publish(item.stream, item.payload, info.head_bytes)
            return
        frames = self._injector.alter(item, info)
        for payload in frames:
            self._hub.publish(item.stream, payload, info.head_bytes)

    async def fire(self, fault: Fault) -> None:
        """Let a fault happen here."""
        logger.info("fault %s at %.3f s", fault, (self.position_ns - self._feed.start_ns) / S_NS)
        outage = await self._injector.fire(fault, self.position_ns)
        if not self._is_paced and outage.lost_ns:
            self._skip_until_ns = self.position_ns + outage.lost_ns
            self._pause_s += outage.wall_s

    async def _pace(self, at_ns: int) -> None:
        await self._hub.flush()
        while wait_s := self._pacer.wait_s(at_ns, self._clock.monotonic_ns()):  # noqa: ASYNC110 (it is time we wait for)
            await asyncio.sleep(min(wait_s, PACE_SLEEP_MAX_S))
        self._due_ns = self._pacer.due_ns(self._clock.monotonic_ns())

    # ---- who listens

    async def _wait_for_audience(self) -> None:
        """Until every stream that is waited for has a subscriber, or subscriptions have settled."""
        while not self._hub.covers(self._audience):
            settled = self._start_grace_s if self._hub.by_stream else None
            if not await self._hub.wait_change(settled) and self._hub.by_stream:
                break
        self._seen_changes = self._hub.changes

    async def _keep_audience(self) -> None:
        """At max speed the clients are the clock: without any the play stands until the same streams are heard."""
        while self._pause_s:
            pause_s, self._pause_s = self._pause_s, 0.0
            await asyncio.sleep(pause_s)
        if not self._hub.by_stream:
            self.state = "waiting for subscribers"
            await self._wait_for_audience()
            self.state = "playing"
        self._audience = self._hub.covered()
        self._seen_changes = self._hub.changes

    # ---- depth answers

    async def depth(self, symbol: str, limit: int) -> DepthAnswer | None:
        """Answer a depth request: with the recorded answer before it is passed, from the venue's book afterwards.

        Returns:
            None when the recording has no answer to come and the book is not known.
        """
        delay_s = self._injector.snapshot_delay_s(symbol)
        meeting = self._meetings.get(symbol)
        if meeting is None:
            body = self._feed.depth(symbol, limit)
            if body is not None:
                self.answers_from_book += 1
                return self._answer(symbol, body, delay_s, _nothing)
            meeting = self._meetings[symbol] = Rendezvous()
        if self.state == "done":
            return None
        held = await self._hold(symbol, meeting)
        if held is None:
            return None
        self.answers_recorded += 1
        return self._answer(symbol, cut_body(held, limit), delay_s, meeting.served.set)

    def _answer(self, symbol: str, body: bytes, delay_s: float, on_sent: Callable[[], None]) -> DepthAnswer:
        if self._injector.snapshot_is_old(symbol):
            return DepthAnswer(aged_body(body, self._feed.old_update_id(symbol)), delay_s, _nothing)
        if delay_s:
            on_sent()  # late is late: the play does not wait for it
        return DepthAnswer(body, delay_s, on_sent)

    async def _hold(self, symbol: str, meeting: Rendezvous) -> bytes | None:
        """Wait until the play reaches the recorded answer; no longer than `rendezvous_s` while it stands still."""
        meeting.waiting += 1
        try:
            while not meeting.reached.is_set():
                position_ns = self.position_ns
                try:
                    async with asyncio.timeout(self._rendezvous_s):
                        await meeting.reached.wait()
                except TimeoutError:
                    if self.position_ns == position_ns:
                        return self._feed.coming_snapshot(symbol)
            return meeting.body
        finally:
            meeting.waiting -= 1

    async def _meet(self, item: Item) -> None:
        """At a recorded depth answer: give it to those who wait, and wait for one who asks."""
        meeting = self._meetings.setdefault(item.symbol, Rendezvous())
        meeting.body = item.payload
        meeting.reached.set()
        if self._hub.hears(item.symbol, "depth") or meeting.waiting:
            await self._hub.flush()
            arrived_ns = self._clock.monotonic_ns()
            self.state = "waiting at a recorded snapshot"
            if not await _happens(meeting.served, min(OTHERS_RELEASED_S, self._rendezvous_s)):
                self._release_others(item.symbol)
                if not await _happens(meeting.served, self._rendezvous_s - OTHERS_RELEASED_S):
                    logger.warning("nobody asked for the depth of %s within %g s", item.symbol, self._rendezvous_s)
            self.state = "playing"
            self._pacer.shift(self._clock.monotonic_ns() - arrived_ns)
        self._meetings.pop(item.symbol, None)

    def _release_others(self, symbol: str) -> None:
        """A client that asks for one symbol after the other waits for their answers before it asks for this one."""
        for other, meeting in self._meetings.items():
            body = self._feed.coming_snapshot(other)
            if other != symbol and meeting.waiting and body is not None:
                meeting.body = body
                meeting.reached.set()

    def release(self) -> None:
        """Let go of every request that is held: nothing more is coming."""
        for meeting in self._meetings.values():
            meeting.reached.set()


async def _happens(event: asyncio.Event, timeout_s: float) -> bool:
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True
