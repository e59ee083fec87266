"""When was each stream last heard? Pure: the monotonic time is an argument; armed at the dial, not later.

A stream is *silent* when nothing came for longer than its kind's limit and for much longer than its own pace:
an illiquid market is not a broken one. A stream that was never heard is judged by the first-data limit:
unknown names, and futures streams asked for on the wrong route, are acknowledged and stay silent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connectors.capabilities import StreamKind

NS = 1_000_000_000
PACE_FACTOR = 20  # silent for this many times the stream's mean spacing is no chance any more
NAMES_MAX = 4096  # spellings remembered; a venue that invents names must not fill the memory
SHUTDOWN = b"!serverShutdown"


@dataclass
class Pulse:
    """How often something was heard since `since_ns`, and when last."""

    since_ns: int
    limit_ns: int  # 0: never silent
    last_ns: int = 0
    count: int = 0

    def beat(self, now_ns: int) -> None:
        self.last_ns = now_ns
        self.count += 1

    def silent_ns(self, now_ns: int) -> int:
        """Nothing heard for so long."""
        return now_ns - (self.last_ns or self.since_ns)

    def allowed_ns(self, first_data_ns: int) -> int:
        """Silence up to here means nothing."""
        if not self.count:
            return first_data_ns
        return max(self.limit_ns, PACE_FACTOR * (self.last_ns - self.since_ns) // self.count)


@dataclass
class StreamWatch:
    """One wanted stream."""

    name: str
    kind: StreamKind
    pulse: Pulse
    reported: bool = False  # its silence was written down


class Liveness:
    """The streams of one socket.

    Args:
        wanted: stream name → kind.
        limits_s: silence allowed per kind; 0 never counts as silent.
        first_data_s: silence allowed before the first message.
        data_limit_s: silence allowed of all streams together.
    """

    def __init__(
        self,
        wanted: Mapping[str, StreamKind],
        limits_s: Mapping[StreamKind, float],
        first_data_s: float,
        data_limit_s: float,
        now_ns: int,
    ) -> None:
        self.first_data_ns = int(first_data_s * NS)
        self.streams = [
            StreamWatch(name, kind, Pulse(now_ns, int(limits_s.get(kind, 0.0) * NS))) for name, kind in wanted.items()
        ]
        self.data = Pulse(now_ns, int(data_limit_s * NS))
        self.shutdown = False
        self._by_name: dict[bytes, StreamWatch | None] = {}
        self._by_kind = {_essence(watch.name.encode()): watch for watch in self.streams}

    def heard(self, name: bytes, now_ns: int) -> None:
        """A message of the stream `name` came."""
        self.data.beat(now_ns)
        try:
            watch = self._by_name[name]
        except KeyError:
            watch = self._meet(name)
        if watch is not None:
            watch.pulse.beat(now_ns)
            watch.reported = False

    def newly_silent(self, now_ns: int) -> list[StreamWatch]:
        """Streams whose silence is new; each is told once per silence."""
        found = []
        for watch in self.streams:
            if watch.pulse.limit_ns and not watch.reported and self._silent(watch, now_ns, 1):
                watch.reported = True
                found.append(watch)
        return found

    def long_silent(self, now_ns: int) -> StreamWatch | None:
        """A stream that was heard and then fell silent for three times what is allowed, although it was asked
        for again: the socket is no good."""
        for watch in self.streams:
            if watch.pulse.count and watch.reported and self._silent(watch, now_ns, 3):
                return watch
        return None

    def all_heard(self, like: Liveness | None = None) -> bool:
        """Whether every stream was heard; with `like`, every stream that was heard there."""
        needed = {watch.name for watch in like.streams if watch.pulse.count} if like else None
        return all(watch.pulse.count for watch in self.streams if needed is None or watch.name in needed)

    def _silent(self, watch: StreamWatch, now_ns: int, times: int) -> bool:
        return watch.pulse.silent_ns(now_ns) > times * watch.pulse.allowed_ns(self.first_data_ns)

    def _meet(self, name: bytes) -> StreamWatch | None:
        """A spelling that is new: a venue may name a depth stream with another speed than it was asked for with."""
        if name == SHUTDOWN:
            self.shutdown = True
        watch = self._by_kind.get(_essence(name))
        if len(self._by_name) < NAMES_MAX:
            self._by_name[name] = watch
        return watch


def _essence(name: bytes) -> bytes:
    """`btcusdt@depth@100ms` → `btcusdt@depth`."""
    return b"@".join(name.split(b"@", 2)[:2])
