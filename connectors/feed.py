"""All connections to one venue, in one event loop: what is listed is checked, then each session runs."""

from __future__ import annotations

import asyncio
import difflib
import logging
from collections.abc import Callable, Coroutine, Sequence
from random import Random

from connectors.backoff import Backoff
from connectors.capabilities import Exchange, Request, StreamKind, plan_connections
from connectors.ratelimit import SlidingWindow
from connectors.rest import RestClient
from connectors.session import Session, SessionOptions, SessionStatus
from schemas.declare import Heap, Rows
from schemas.errors import ConfigInvalid
from streams.clock import SYSTEM_CLOCK, Clock, entropy

log = logging.getLogger(__name__)
ShardSink = Callable[[int, Rows, Heap], None]  # shard, rows, heap
BAD_REQUEST = 400
MATCHES_MAX = 3


class Feed:
    """Listens to symbols of a venue. Single use.

    Args:
        exchange: the venue's table (`Exchange.at` puts it elsewhere).
        symbols: in the venue's spelling.
        sink: takes the raw rows of each shard, before anything else looks at them.
        kinds: what to listen to.
    """

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        sink: ShardSink,
        *,
        kinds: Sequence[StreamKind] = tuple(StreamKind),
        options: SessionOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
        jitter: Random | None = None,
    ) -> None:
        if not symbols:
            raise ConfigInvalid(f"{exchange.venue.label}: no symbol to listen to. Name one or more, such as BTCUSDT.")
        self._exchange, self._sink, self._clock = exchange, sink, clock
        self._symbols = list(dict.fromkeys(symbols))
        self._options = options or SessionOptions()
        self._jitter = jitter or entropy()
        self._plans = plan_connections(exchange, self._symbols, kinds)
        self._sessions: list[Session] = []
        self._stopping = asyncio.Event()
        self.trouble = ""  # why the venue could not be asked what it lists, the last time

    @property
    def statuses(self) -> list[SessionStatus]:
        """One per connection; empty until `run` has begun."""
        return [session.status for session in self._sessions]

    def stop(self) -> None:
        """End soon. Call it in the feed's thread."""
        self._stopping.set()
        for session in self._sessions:
            session.stop()

    def resync_requested(self, instrument: int, attempt: int) -> None:
        """Whichever session has the instrument asks for its snapshot."""
        for session in self._sessions:
            session.resync_requested(instrument, attempt)

    async def run(self) -> None:
        """Until `stop`.

        Raises:
            ConfigInvalid: a symbol is not listed; close matches are named.
            VenueRejected: the venue refuses us.
            ShrivenError: what the sink raised.
        """
        rules = self._exchange.connection
        dials = SlidingWindow(rules.dials_max, rules.dials_window_s)
        async with RestClient(self._exchange, self._clock) as rest:
            self._sessions = [
                Session(
                    self._exchange,
                    plan,
                    self._sink_of(plan.shard),
                    rest,
                    dials,
                    self._options,
                    self._clock,
                    self._jitter,
                )
                for plan in self._plans
            ]
            await self._until_stop(self._check_symbols(rest))
            if not self._stopping.is_set():
                await self._run_sessions()

    def _sink_of(self, shard: int) -> Callable[[Rows, Heap], None]:
        return lambda rows, heap: self._sink(shard, rows, heap)

    async def _run_sessions(self) -> None:
        """All of them; when one gives up, so do the others."""
        running = [asyncio.create_task(session.run()) for session in self._sessions]
        try:
            await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            self.stop()
            ended = await asyncio.gather(*running, return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error

    async def _check_symbols(self, rest: RestClient) -> None:
        """Ask what is listed until there is an answer; refuse symbols that are not."""
        request = self._exchange.instruments_request(self._symbols)
        backoff = Backoff(self._options.backoff_base_s, self._options.backoff_ceiling_s, chance=self._jitter)
        while True:
            status, body = await self._sessions[0].ask(request)
            if status == 200:
                listed = self._exchange.listed_symbols(body)
                break
            if status == BAD_REQUEST and self._exchange.rest.instruments_by_symbol:
                listed = await self._all_listed(rest)
                break
            why = f"HTTP {status}" if status else body.decode()
            self.trouble = f"{request.text}: {why}"
            log.warning("%s", self.trouble)
            await asyncio.sleep(backoff.next_s())
        missing = [symbol for symbol in self._symbols if symbol not in set(listed)]
        if missing:
            listed = await self._all_listed(rest) if self._exchange.rest.instruments_by_symbol else listed
            raise ConfigInvalid(" ".join(self._unknown(symbol, listed) for symbol in missing))

    async def _all_listed(self, rest: RestClient) -> Sequence[str]:
        """Every symbol, only to name what was meant; not recorded. Empty when the venue does not answer."""
        rules = self._exchange.rest
        answer = await rest.ask(Request(rules.instruments_path, rules.instruments_weight))
        return self._exchange.listed_symbols(answer.body) if answer.ok else []

    def _unknown(self, symbol: str, listed: Sequence[str]) -> str:
        close = difflib.get_close_matches(symbol.upper(), listed, MATCHES_MAX, 0.5)
        meant = f" Did you mean {', '.join(close)}?" if close else ""
        return f"{self._exchange.venue.label} does not list {symbol}.{meant}"

    async def _until_stop(self, work: Coroutine[None, None, None]) -> None:
        """The work, or as much of it as there is time for."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if working.done():
            working.result()
            return
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
