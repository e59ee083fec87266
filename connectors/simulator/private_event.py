"""What a user stream says, ready to go out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import orjson


class Event(NamedTuple):
    """An event: its name (`e`), and the whole of it as JSON."""

    name: str
    body: bytes


def event_of(document: Mapping[str, object]) -> Event:
    """One that comes so seldom that it is written down as a document."""
    return Event(str(document["e"]), orjson.dumps(document))
