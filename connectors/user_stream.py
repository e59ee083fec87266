"""The user-data stream: a session (connectors/session.py) on an address that holds a listen key.

The key is made before every dial, is in no row and no log line, and a stream whose key expired is renewed with a new
one. Silence is normal here: the socket is judged by its pongs only. Two sockets may say the same while one replaces
the other; the rule knows repeats.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from urllib.parse import urlencode

from connectors.binance_usdm.private_words import STREAM_CONNECTION
from connectors.capabilities import ConnectionPlan, Exchange
from connectors.liveness import NS
from connectors.ratelimit import SlidingWindow
from connectors.rawbatch import RawSink
from connectors.rest import RestClient
from connectors.session import ConnectionState, Link, Session, SessionOptions
from streams.clock import SYSTEM_CLOCK, Clock

ROUTE = "/private"
EXPIRED = b'"listenKeyExpired"'


class UserLink(Link):
    """One socket of the user stream: nothing to subscribe to, nothing to be silent."""

    def __init__(self, stream: UserStream) -> None:
        super().__init__(stream)
        self._stream = stream

    def on_open(self, connection: Any) -> None:
        super().on_open(connection)
        self._stream.on_open()

    def _on_control(self, payload: bytes) -> None:
        if EXPIRED in payload:
            self.renew.set()

    async def _subscribe(self) -> None:
        self.subscribed = True

    async def _check(self, now_ns: int) -> None:
        silence_max_s = self.session.exchange.connection.silence_max_s
        if now_ns - self.heard_ns > silence_max_s * NS:
            self.drop(f"nothing heard for {silence_max_s:g} s, not even a pong")
        else:
            self.session.on_pulse(self, stale=False)


class UserStream(Session):
    """Keeps the user stream alive. Single use.

    Args:
        make_key: asks the venue for a listen key. Raises OSError when there is none to be had now.
        on_open: a socket opened: what happened before it must be asked for.
        on_lost: a socket closed.
        others: as for `Session`; `rest` is not asked anything.
    """

    def __init__(
        self,
        exchange: Exchange,
        sink: RawSink,
        rest: RestClient,
        make_key: Callable[[], Awaitable[str]],
        on_open: Callable[[], None],
        on_lost: Callable[[], None],
        options: SessionOptions | None = None,
        clock: Clock = SYSTEM_CLOCK,
        jitter: Random | None = None,
    ) -> None:
        dials = SlidingWindow(exchange.connection.dials_max, exchange.connection.dials_window_s)
        plan = ConnectionPlan(STREAM_CONNECTION, ROUTE, ())
        super().__init__(exchange, plan, sink, rest, dials, options, clock, jitter)
        logging.getLogger("websockets.client").setLevel(logging.INFO)  # below it logs the address, key included
        self.url = f"{exchange.ws_url}{ROUTE}/ws"
        self.on_open = on_open
        self._on_lost, self._make_key = on_lost, make_key
        self._key = ""
        self._link: UserLink | None = None

    @property
    def address(self) -> str:
        return f"{self.url}?{urlencode({'listenKey': self._key})}"

    async def prepare_dial(self) -> None:
        self._key = await self._make_key()

    def make_link(self) -> Link:
        self._link = UserLink(self)
        return self._link

    def renew(self) -> None:
        """The listen key is no good any more: go on with a new one."""
        if self._link is not None:
            self._link.renew.set()

    def on_pulse(self, link: Link, stale: bool) -> None:
        self.status.state = ConnectionState.LIVE
        if self.clock.monotonic_ns() - link.opened_ns > self.options.healthy_after_s * NS:
            self._backoff.healthy()

    def on_closed(self, link: Link, code: int, reason: str) -> None:
        super().on_closed(link, code, reason)
        if link is self._link:
            self._on_lost()
