"""The core of the connector process: a feed in its own thread, what it hears appended, requests carried out.

Where rows go and where requests come from is injected (infra/process/wiring.py): this file knows no transport.

    venue ⇄ Feed ──append_raw──▶ local log: raw.frame.v1 ──▶ Runner(wire rule) ──▶ md.* and md.resync_request.v1
                  ◀──requests─────────────────────────────────────────────────────────────┘
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone

from connectors.capabilities import Exchange, StreamKind
from connectors.feed import Feed, ShardSink
from connectors.session import ConnectionState, SessionOptions, SessionStatus
from schemas.declare import Rows
from schemas.errors import WatchdogExpired
from streams.clock import SYSTEM_CLOCK, Clock

REQUEST_POLL_S = 0.005
STOP_TIMEOUT_S = 2.0
RequestSource = Callable[[], Rows]  # new ResyncRequest rows since the last call; must not block


class Connector:
    """Runs a feed beside its caller. Single use.

    Args:
        append_raw: (shard, rows, heap): store raw rows durably, in order; called in the feed's thread. A
            ShrivenError that it raises ends the connector.
        requests: new ResyncRequest rows since the last call, [] when there are none; called in the feed's thread.
    """

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        append_raw: ShardSink,
        requests: RequestSource,
        *,
        kinds: Sequence[StreamKind] = tuple(StreamKind),
        options: SessionOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._feed = Feed(exchange, symbols, append_raw, kinds=kinds, options=options, clock=clock)
        self._requests = requests
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = ThreadPoolExecutor(1, f"feed-{exchange.venue.label}")
        self._done: Future[None] | None = None

    def start(self) -> None:
        """Begin; returns at once."""
        assert self._done is None, "a connector runs once"
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._done = self._thread.submit(self._work, loop)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Close the sockets, hand over what was heard, end the thread.

        Raises:
            ShrivenError: why it had ended before. WatchdogExpired: it does not end in time.
        """
        if self._done is None:
            return
        assert self._loop is not None
        if not self._done.done():
            self._loop.call_soon_threadsafe(self._feed.stop)
        if not self.wait(timeout_s):
            raise WatchdogExpired(f"The connector did not end within {timeout_s:g} s; its process has to be ended.")
        self._thread.shutdown()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether it has ended, after waiting so long at most. Raises why, if it was for a reason."""
        assert self._done is not None
        try:
            self._done.result(timeout_s)
        except NotDone:
            return False
        return True

    @property
    def statuses(self) -> list[SessionStatus]:
        """One per connection."""
        return self._feed.statuses

    @property
    def trouble(self) -> str:
        """What last went wrong with any connection; "" for nothing, or once all are LIVE."""
        return (
            ""
            if self.live
            else next((one.last_trouble for one in self.statuses if one.last_trouble), self._feed.trouble)
        )

    @property
    def live(self) -> bool:
        """Whether every connection is LIVE."""
        statuses = self.statuses
        return bool(statuses) and all(status.state is ConnectionState.LIVE for status in statuses)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        carrying = asyncio.create_task(self._carry_requests())
        try:
            await self._feed.run()
        finally:
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)

    async def _carry_requests(self) -> None:
        while True:
            for request in self._requests():
                self._feed.resync_requested(int(request["instrument"]), int(request["attempt"]))
            await asyncio.sleep(REQUEST_POLL_S)
