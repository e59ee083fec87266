"""Every event there is: of markets and of running (`events.py`), and of trading (`trading.py`)."""

from __future__ import annotations

from schemas.declare import Event
from schemas.events import MARKET_EVENTS
from schemas.trading import TRADING_EVENTS

EVENTS: tuple[Event, ...] = (*MARKET_EVENTS, *TRADING_EVENTS)
EVENT_BY_NAME: dict[str, Event] = {event.name: event for event in EVENTS}
