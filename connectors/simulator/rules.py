"""How each venue behaves on the wire: paths, limits, intervals, weights. One table row per venue.

The facts are the venue's own; a row holds the unscaled values. `VenueRules.scaled` divides the
waiting times, so that a test need not wait 24 hours for the daily cut.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

from schemas.errors import ConfigInvalid
from schemas.instruments import Venue

WAIT_MIN_S = 0.05  # pings scaled below it would only be a flood
UNROUTED = ""  # spot, and futures addresses without /public, /market or /private
PING_COUNTED_INTERVAL_MIN_S = 1.0  # below it pings are scaled, and their pongs would eat the message limit


@dataclass(frozen=True)
class VenueRules:
    """One venue's behaviour.

    Args:
        venue: which one.
        api_prefix: of the REST paths.
        routes: first path segments that websocket addresses may have; spot has none.
        ping_interval_s: between the pings that the server sends.
        pong_timeout_s: an unanswered ping older than this ends the connection.
        inbound_per_s: pings, pongs and control messages that a client may send in any second.
        streams_max: subscriptions of one connection.
        life_s: age at which a connection is cut.
        dials_max: handshakes in `dials_window_s`, over all connections.
        dials_window_s: the window of `dials_max`.
        weight_limit: request weight of a calendar minute.
        depth_weights: (limit up to, weight), ascending.
        depth_limits: the limits that exist; () allows any up to the last of `depth_weights`.
        depth_speeds: suffixes under which one symbol's order book events can be asked for.
        depth_limit_default: used when the request names none.
        exchange_info_weight: weight of exchangeInfo.
        ban_s: how long a 418 lasts.
    """

    venue: Venue
    api_prefix: str
    routes: tuple[str, ...]
    ping_interval_s: float
    pong_timeout_s: float
    inbound_per_s: int
    streams_max: int
    life_s: float
    dials_max: int
    dials_window_s: float
    weight_limit: int
    depth_weights: tuple[tuple[int, int], ...]
    depth_limits: tuple[int, ...]
    depth_speeds: tuple[str, ...]
    depth_limit_default: int
    exchange_info_weight: int
    ban_s: float

    @property
    def is_futures(self) -> bool:
        return self.venue is Venue.BINANCE_USDM

    @property
    def depth_limit_max(self) -> int:
        return self.depth_weights[-1][0]

    def depth_weight(self, limit: int) -> int:
        """Request weight of a depth request for `limit` levels a side."""
        bounds = [bound for bound, _ in self.depth_weights]
        return self.depth_weights[min(bisect_left(bounds, limit), len(bounds) - 1)][1]

    def scaled(self, scale: float) -> VenueRules:
        """The same venue with its waiting times divided by `scale`."""
        return replace(
            self,
            ping_interval_s=max(self.ping_interval_s / scale, WAIT_MIN_S),
            pong_timeout_s=max(self.pong_timeout_s / scale, 4 * WAIT_MIN_S),
            life_s=self.life_s / scale,
            ban_s=self.ban_s / scale,
        )

    def delivers(self, route: str, stream: str) -> bool:
        """Whether `stream` arrives on a connection of that route. Subscriptions are acknowledged either way."""
        if not self.is_futures:
            return True
        return route_of(stream) == (route or "public")  # un-routed addresses carry /public streams only


RULES: dict[Venue, VenueRules] = {
    Venue.BINANCE_SPOT: VenueRules(
        venue=Venue.BINANCE_SPOT,
        api_prefix="/api/v3",
        routes=(),
        ping_interval_s=20.0,
        pong_timeout_s=60.0,
        inbound_per_s=5,
        streams_max=1024,
        life_s=86_400.0,
        dials_max=300,
        dials_window_s=300.0,
        weight_limit=6000,
        depth_weights=((100, 5), (500, 25), (1000, 50), (5000, 250)),
        depth_limits=(),
        depth_speeds=("@depth", "@depth@100ms"),
        depth_limit_default=100,
        exchange_info_weight=20,
        ban_s=120.0,
    ),
    Venue.BINANCE_USDM: VenueRules(
        venue=Venue.BINANCE_USDM,
        api_prefix="/fapi/v1",
        routes=("public", "market", "private"),
        ping_interval_s=180.0,
        pong_timeout_s=600.0,
        inbound_per_s=10,
        streams_max=1024,
        life_s=86_400.0,
        dials_max=300,
        dials_window_s=300.0,
        weight_limit=2400,
        depth_weights=((50, 2), (100, 5), (500, 10), (1000, 20)),
        depth_limits=(5, 10, 20, 50, 100, 500, 1000),
        depth_speeds=("@depth", "@depth@100ms", "@depth@500ms", "@depth@0ms"),
        depth_limit_default=500,
        exchange_info_weight=1,
        ban_s=120.0,
    ),
}


def rules_of(venue: Venue) -> VenueRules:
    """The rules of a venue that can be simulated."""
    found = RULES.get(venue)
    if found is None:
        known = ", ".join(row.label for row in RULES)
        raise ConfigInvalid(f"{venue.label} cannot be simulated. These can: {known}.")
    return found


_PUBLIC_SUFFIX = re.compile(r"@(bookTicker|depth.*|rpiDepth.*|trade)$")


def route_of(stream: str) -> str:
    """The futures route that carries a stream: order books and single trades are `public`, the rest `market`."""
    return "public" if stream == "!bookTicker" or _PUBLIC_SUFFIX.search(stream) else "market"


@dataclass(frozen=True)
class Address:
    """What a websocket path asks for.

    Attributes:
        route: `public`, `market`, `private` or UNROUTED.
        combined: whether payloads come in the `{"stream":…,"data":…}` wrapper.
        streams: subscribed from the start.
    """

    route: str
    combined: bool
    streams: tuple[str, ...]


def parse_address(rules: VenueRules, path: str, query: Sequence[tuple[str, str]]) -> Address | None:
    """Read a websocket path (already percent-decoded); None when the venue has no such path."""
    parts = [part for part in path.split("/") if part]
    route = parts.pop(0) if parts and parts[0] in rules.routes else UNROUTED
    if not parts or parts[0] not in ("ws", "stream"):
        return None
    mode, rest = parts[0], parts[1:]
    if mode == "ws":
        return Address(route, False, tuple(rest))
    if rest:
        return None
    named = [name for key, value in query if key == "streams" for name in value.split("/") if name]
    return Address(route, True, tuple(named))
