"""The venue's own order book of one symbol: a snapshot and every change since, as the venue's own texts.

Depth requests that come after the recorded snapshot are answered from it, so that a client that lost
its place can synchronise again. Prices and quantities stay the texts they were: nothing is rounded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

Level = Sequence[str]
EARLY_EVENTS_MAX = 10_000  # depth events kept while no snapshot came yet; older ones can only be older than it


def is_zero(quantity: str) -> bool:
    """Whether a decimal text is zero: venues write `0`, `0.000` or `0.00000000`."""
    return not quantity.strip("0.")


class VenueBook:
    """Both sides of one symbol's book.

    Args:
        is_futures: the chain is `pu` = previous `u`, and snapshots carry times; else `U` = previous `u` + 1.
    """

    def __init__(self, is_futures: bool) -> None:
        self._is_futures = is_futures
        self._sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self._early: deque[Mapping[str, Any]] = deque(maxlen=EARLY_EVENTS_MAX)
        self.update_id = 0
        self.synced = False
        self._event_ms = 0
        self._transaction_ms = 0

    @property
    def levels(self) -> tuple[Mapping[str, str], Mapping[str, str]] | None:
        """Price and quantity texts of bids and asks; None while they are not known."""
        return self._sides if self.synced else None

    def load(self, snapshot: Mapping[str, Any]) -> None:
        """Begin again from a snapshot; events that it does not contain yet are applied on top."""
        self._sides = (dict(snapshot["bids"]), dict(snapshot["asks"]))
        self.update_id = snapshot["lastUpdateId"]
        self._event_ms, self._transaction_ms = snapshot.get("E", 0), snapshot.get("T", 0)
        self.synced = True
        early, self._early = self._early, deque(maxlen=EARLY_EVENTS_MAX)
        for event in early:
            self.apply(event)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take a depth event: change the book, or keep the event until there is a snapshot."""
        if not self.synced:
            self._early.append(event)
        elif event["u"] > self.update_id:
            self._take(event)

    def _take(self, event: Mapping[str, Any]) -> None:
        follows = event["pu"] == self.update_id if self._is_futures else event["U"] == self.update_id + 1
        if not follows and event["U"] > self.update_id:  # the recording has a hole: wait for its next snapshot
            self.synced = False
            self._early.append(event)
            return
        for levels, changes in zip(self._sides, (event["b"], event["a"]), strict=True):
            for price, quantity in changes:
                if is_zero(quantity):
                    levels.pop(price, None)
                else:
                    levels[price] = quantity
        self.update_id = event["u"]
        self._event_ms, self._transaction_ms = event["E"], event.get("T", 0)

    def snapshot(self, limit: int) -> bytes:
        """The best `limit` levels a side as a depth answer."""
        bids = sorted(self._sides[0].items(), key=_price, reverse=True)[:limit]
        asks = sorted(self._sides[1].items(), key=_price)[:limit]
        return depth_body(self._is_futures, self.update_id, self._event_ms, self._transaction_ms, bids, asks)


def _price(level: tuple[str, str]) -> float:
    return float(level[0])  # for the order only; two texts of one book never share a float


def depth_body(
    is_futures: bool, update_id: int, event_ms: int, transaction_ms: int, bids: Sequence[Level], asks: Sequence[Level]
) -> bytes:
    """A depth answer in the venue's shape."""
    head: dict[str, object] = {"lastUpdateId": update_id}
    if is_futures:
        head |= {"E": event_ms, "T": transaction_ms}
    return orjson.dumps(head | {"bids": bids, "asks": asks})


def cut_body(body: bytes, limit: int) -> bytes:
    """A recorded depth answer with at most `limit` levels a side; the bytes themselves when it has no more."""
    document = orjson.loads(body)
    if max(len(document["bids"]), len(document["asks"])) <= limit:
        return body
    return orjson.dumps(document | {"bids": document["bids"][:limit], "asks": document["asks"][:limit]})


def aged_body(body: bytes, update_id: int) -> bytes:
    """A depth answer that claims an older update id (a fault)."""
    return orjson.dumps(orjson.loads(body) | {"lastUpdateId": update_id})
