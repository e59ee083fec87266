"""What the wire rule remembers: arrays only, bounded.

* `books`, one row per instrument, found through the hash table `table`.
* `connections`, one row per connection: its two sockets. The *leader* is the socket whose messages count.
  While a connection is renewed (make before break) a *follower* is open beside it; what it says waits.
* `events` and `pending`: the waiting room, in order of arrival: depth events before their snapshot, and all
  events of followers. `events` are headers, `pending` their levels (price and quantity).
* `counters`: how much of all that is in use.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from processors.api import State

Arrays = dict[str, npt.NDArray[Any]]  # a State whose structured columns may be named

# Phases of a book's synchronisation.
UNSYNCED = 0  # no valid book; the next depth event asks for a snapshot
ASKED = 1  # a snapshot was asked for; depth events wait
SYNCED = 2  # every depth event continues the chain

BOOK = np.dtype(
    [
        ("update_id", "<i8"),  # last update id applied; of the snapshot while `fresh`
        ("waiting_id", "<i8"),  # update id of the last waiting event; -1 none
        ("ts_event_ns", "<i8"),  # venue time of the last depth event that the book holds
        ("trade_id", "<i8"),  # last trade; -1 none
        ("ticker_id", "<i8"),  # last ticker's update id; -1 none on this connection
        ("asked_ns", "<i8"),  # receive time at which the snapshot was asked for
        ("connection", "<i8"),  # index into `connections`
        ("instrument", "<u4"),
        ("attempt", "<u4"),  # snapshots asked for since the break
        ("phase", "<u4"),
        ("fresh", "u1"),  # no event was applied since the snapshot
        ("new_connection", "u1"),  # no trade since the connection was opened anew: any id may come
        ("reserved", "<u2"),
    ]
)
CONNECTION = np.dtype([("connection", "<i8"), ("leader", "<i8"), ("follower", "<i8")])  # epochs; -1 none
EVENT = np.dtype(
    [
        ("first_id", "<i8"),
        ("id", "<i8"),
        ("previous_id", "<i8"),
        ("ts_event_ns", "<i8"),
        ("ts_recv_ns", "<i8"),
        ("cause_row", "<i8"),
        ("level_at", "<i8"),
        ("bids", "<i4"),
        ("asks", "<i4"),
        ("book", "<i4"),
        ("follower", "<i4"),  # index of the connection whose follower said it, plus one; 0 the leader
        ("kind", "<i4"),  # layout.TRADE, DEPTH, TICKER; 0 when it waits no longer
        ("bits", "<i4"),  # a trade's: 1 sold, 2 off the book
    ]
)
# Counters.
BOOKS, CONNECTIONS, HEAD, TAIL, LEVELS = 0, 1, 2, 3, 4  # events wait in [HEAD, TAIL), their levels below LEVELS

CONNECTIONS_MAX = 64
EVENTS_START, LEVELS_START = 256, 4096
EVENTS_PER_LEVEL = 16  # the room for headers is the room for levels divided by this


def initial_state(instruments_max: int) -> State:
    """Nothing known, nothing waiting."""
    connections = np.zeros(CONNECTIONS_MAX, dtype=CONNECTION)
    connections["leader"] = connections["follower"] = -1
    return {
        "books": np.zeros(instruments_max, dtype=BOOK),
        "table": np.zeros(table_size(instruments_max), dtype=np.int64),
        "connections": connections,
        "events": np.zeros(EVENTS_START, dtype=EVENT),
        "pending": np.zeros((LEVELS_START, 2), dtype=np.int64),
        "counters": np.zeros(5, dtype=np.int64),
    }


def table_size(instruments_max: int) -> int:
    """A power of two, at most half full."""
    return 1 << (2 * instruments_max - 1).bit_length()


def make_room(state: Arrays, levels_needed: int, levels_max: int) -> None:
    """Room for one more event with that many levels: close gaps, else grow, else forget the oldest.

    Which of these happens follows from what waits and from what comes, never from how batches are cut.
    """
    _close_gaps(state)
    live_levels = int(state["counters"][LEVELS])
    live_events = int(state["counters"][TAIL])
    while 2 * (live_levels + levels_needed) > len(state["pending"]) < levels_max:
        state["pending"] = np.concatenate([state["pending"], np.zeros_like(state["pending"])])
    while 2 * (live_events + 1) > len(state["events"]) < levels_max // EVENTS_PER_LEVEL:
        state["events"] = np.concatenate([state["events"], np.zeros_like(state["events"])])
    if live_levels + levels_needed > len(state["pending"]) or live_events + 1 > len(state["events"]):
        _forget_oldest(state, levels_needed)


def _close_gaps(state: Arrays) -> None:
    counters, events, pending = state["counters"], state["events"], state["pending"]
    waiting = events[counters[HEAD] : counters[TAIL]]
    waiting = waiting[waiting["kind"] != 0].copy()
    used = 0
    for event in waiting:
        count = int(event["bids"]) + int(event["asks"])
        pending[used : used + count] = pending[event["level_at"] : event["level_at"] + count].copy()
        event["level_at"] = used
        used += count
    events[: len(waiting)] = waiting
    counters[HEAD], counters[TAIL], counters[LEVELS] = 0, len(waiting), used


def _forget_oldest(state: Arrays, levels_needed: int) -> None:
    """Down to three quarters, so that it is not done at every event."""
    counters, events, pending = state["counters"], state["events"], state["pending"]
    levels_most = min(len(pending) * 3 // 4, len(pending) - levels_needed)
    events_most = min(len(events) * 3 // 4, len(events) - 1)
    levels, count = int(counters[LEVELS]), int(counters[TAIL])
    for event in events[: counters[TAIL]]:
        if levels <= levels_most and count <= events_most:
            break
        levels -= int(event["bids"]) + int(event["asks"])
        count -= 1
        event["kind"] = 0
    _close_gaps(state)
