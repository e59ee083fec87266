"""What a simulated venue says of itself under `/sim/status`."""

from __future__ import annotations

from connectors.simulator.config import VenueConfig
from connectors.simulator.faults import S_NS
from connectors.simulator.feed import Feed
from connectors.simulator.hub import Client, Hub
from connectors.simulator.injector import Fired, Injector
from connectors.simulator.player import Player
from connectors.simulator.recorded import RecordedFeed


def status_document(config: VenueConfig, feed: Feed, hub: Hub, player: Player, injector: Injector) -> dict[str, object]:
    """The whole of it. Copies before it walks: it may be called from another thread than the venue's."""
    return {
        "venue": config.venue.label,
        "label": config.label,
        "synthetic": config.synthetic is not None,
        "state": player.state,
        "done": player.state == "done",
        "speed": config.speed,
        "position_s": (player.position_ns - feed.start_ns) / S_NS,
        "duration_s": None if feed.end_ns is None else (feed.end_ns - feed.start_ns) / S_NS,
        "lag_s": player.lag_s,
        "frames_sent": dict(hub.sent),
        "frames_unheard": hub.unheard,
        "bad_lines_skipped": feed.bad_line_count if isinstance(feed, RecordedFeed) else 0,
        "depth_answers": {"recorded": player.answers_recorded, "from_book": player.answers_from_book},
        "clients": [_client(hub, client) for client in tuple(hub.clients.values())],
        "faults": [_fired(fired) for fired in tuple(injector.fired)],
    }


def _client(hub: Hub, client: Client) -> dict[str, object]:
    heard = hub.heard_by(client)
    streams = list(client.control.streams)
    return {
        "number": client.number,
        "route": client.route,
        "streams": streams,
        "silent_streams": [name for name in streams if name not in heard],
        "frames": client.frames,
        "bytes": client.frame_bytes,
        "half_open": client.is_frozen,
    }


def _fired(fired: Fired) -> dict[str, object]:
    return {
        "name": fired.fault.name,
        "asked": str(fired.fault),
        "position_s": fired.position_s,
        "wall_ns": fired.wall_ns,
        "hits": list(fired.hits),
    }
