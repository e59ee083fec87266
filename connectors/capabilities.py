"""What a venue can do and what it demands, as a table: one `Exchange` per venue.

`session.py` drives any venue through this table and names none. Addresses can be replaced
(`Exchange.at`), which is how a simulated venue takes the place of the real one.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

from schemas.instruments import Venue

EVERY_EPOCH = 0xFFFFFFFF  # in a CLOSE row: whatever sockets the connection had are gone; the process begins anew


class StreamKind(enum.StrEnum):
    """What is listened to, per symbol."""

    DEPTH = "depth"
    TICKER = "ticker"
    TRADE = "trade"


@dataclass(frozen=True)
class StreamRule:
    """How one kind of stream is asked for.

    Attributes:
        suffix: after the lower-case symbol: `@trade`.
        route: path before `/stream`; streams of different routes need different sockets.
    """

    suffix: str
    route: str = ""


@dataclass(frozen=True)
class ConnectionRules:
    """What the venue demands of a socket, and what we take for its death.

    Attributes:
        ping_interval_s: how often we ping; 0 where the venue's own pings come often enough.
        pong_timeout_s: no pong for this long means dead.
        silence_max_s: nothing at all heard for this long (pings count) means dead.
        control_rate_max: control messages per second that we send at most, well under the venue's limit.
        control_names_max: stream names in one control message.
        streams_max: streams on one socket.
        life_s: the venue closes every socket at this age.
        dials_max, dials_window_s: dials allowed to one address per window, all sockets together.
    """

    ping_interval_s: float
    pong_timeout_s: float
    silence_max_s: float
    control_rate_max: int
    control_names_max: int
    streams_max: int
    life_s: float
    dials_max: int
    dials_window_s: float


@dataclass(frozen=True)
class RestRules:
    """The public REST half.

    Attributes:
        weight_max, weight_window_s: budget per fixed calendar window and address.
        weight_header: response header with the weight used in the current window.
        depth_path, depth_limit, depth_weight: the snapshot.
        instruments_path, instruments_weight: what is listed.
        instruments_by_symbol: whether the list can be asked for by symbol (else all of it comes).
    """

    weight_max: int
    weight_window_s: float
    weight_header: str
    depth_path: str
    depth_limit: int
    depth_weight: int
    instruments_path: str
    instruments_weight: int
    instruments_by_symbol: bool


@dataclass(frozen=True)
class Request:
    """One REST question: `text` (method, path, query) goes into the raw row of its answer."""

    METHOD: ClassVar[str] = "GET "
    path: str
    weight: int

    @property
    def text(self) -> str:
        return self.METHOD + self.path


@dataclass(frozen=True)
class Exchange:
    """A venue's capability table.

    Attributes:
        venue: which one.
        ws_url, rest_url: scheme, host and port, no trailing slash.
        streams: the kinds of streams it has.
        connection, rest: its rules.
        listed_symbols: the symbols in the body of its instruments answer.
    """

    venue: Venue
    ws_url: str
    rest_url: str
    streams: Mapping[StreamKind, StreamRule]
    connection: ConnectionRules
    rest: RestRules
    listed_symbols: Callable[[bytes], Sequence[str]]

    def at(self, ws_url: str | None = None, rest_url: str | None = None) -> Exchange:
        """The same venue at other addresses; None keeps the real one."""
        return replace(
            self,
            ws_url=(ws_url or self.ws_url).rstrip("/"),
            rest_url=(rest_url or self.rest_url).rstrip("/"),
        )

    def stream_name(self, symbol: str, kind: StreamKind) -> str:
        return symbol.lower() + self.streams[kind].suffix

    def stream_url(self, route: str) -> str:
        """Address of the combined stream of a route; what is listened to is asked for after the dial."""
        return f"{self.ws_url}{route}/stream"

    def depth_request(self, symbol: str) -> Request:
        query = urlencode({"symbol": symbol, "limit": self.rest.depth_limit})
        return Request(f"{self.rest.depth_path}?{query}", self.rest.depth_weight)

    def symbol_of_depth_request(self, text: str) -> str:
        """The symbol that a request's text asks the book of; "" when it asks for something else."""
        url = urlsplit(text.removeprefix(Request.METHOD))
        return parse_qs(url.query).get("symbol", [""])[0] if url.path == self.rest.depth_path else ""

    def instruments_request(self, symbols: Sequence[str]) -> Request:
        """What is listed: of these symbols where the venue can say so, else of all."""
        path = self.rest.instruments_path
        if self.rest.instruments_by_symbol and symbols:
            names = ",".join(f'"{symbol}"' for symbol in symbols)
            path += "?" + urlencode({"symbols": f"[{names}]"})
        return Request(path, self.rest.instruments_weight)


@dataclass(frozen=True)
class ConnectionPlan:
    """One socket's work: its shard number, its route, and the (symbol, kind) pairs on it."""

    shard: int
    route: str
    wanted: tuple[tuple[str, StreamKind], ...]


def plan_connections(
    exchange: Exchange, symbols: Sequence[str], kinds: Sequence[StreamKind] = tuple(StreamKind)
) -> list[ConnectionPlan]:
    """Spread the wanted streams over as few sockets as the venue's routes and limits allow.

    All streams of one symbol and route share a socket, so that a break concerns whole instruments.
    """
    plans: list[ConnectionPlan] = []
    for route in sorted({exchange.streams[kind].route for kind in kinds}):
        on_route = [kind for kind in kinds if exchange.streams[kind].route == route]
        per_socket = max(1, exchange.connection.streams_max // len(on_route))
        for first in range(0, len(symbols), per_socket):
            wanted = tuple((symbol, kind) for symbol in symbols[first : first + per_socket] for kind in on_route)
            plans.append(ConnectionPlan(len(plans), route, wanted))
    return plans
