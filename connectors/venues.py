"""Which venues there are: a row each. A new venue is a folder, and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from connectors.binance_spot.exchange import EXCHANGE as BINANCE_SPOT
from connectors.binance_spot.wire import wire as binance_spot_wire
from connectors.binance_usdm.exchange import EXCHANGE as BINANCE_USDM
from connectors.binance_usdm.wire import wire as binance_usdm_wire
from connectors.capabilities import Exchange
from processors.api import Processor
from schemas.errors import ConfigInvalid
from schemas.instruments import Venue


@dataclass(frozen=True)
class VenueParts:
    """What a venue is made of: its capability table, and its wire rule."""

    exchange: Exchange
    wire: Callable[[], Processor]


VENUES: dict[Venue, VenueParts] = {
    Venue.BINANCE_SPOT: VenueParts(BINANCE_SPOT, binance_spot_wire),
    Venue.BINANCE_USDM: VenueParts(BINANCE_USDM, binance_usdm_wire),
}


def venue_parts(venue: Venue) -> VenueParts:
    """The parts of a venue.

    Raises:
        ConfigInvalid: there is a number for it, but no connector.
    """
    parts = VENUES.get(venue)
    if parts is None:
        known = ", ".join(found.label for found in VENUES)
        raise ConfigInvalid(f"There is no connector for {venue.label} yet. There are: {known}.")
    return parts
