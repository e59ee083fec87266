"""What our own rows say of an account (orders, positions, balances), and the comparison with what the venue says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from connectors.reconciliation import (
    Difference,
    OurOrder,
    OurState,
    StillSettling,
    VenueState,
    compare,
    missing,
    question,
)
from infra.process.status import Status
from schemas.events import Side
from schemas.trading import TERMINAL_STATES, DifferenceKind, OrderKind, Resolution
from streams.api import Chunk, TopicPartition, WriterKey
from streams.clock import SYSTEM_CLOCK, Clock
from streams.topics import TOPIC_BY_NUMBER, topic

ORDERS, POSITIONS, BALANCES = topic("oms.order.v1"), topic("acct.position.v1"), topic("acct.balance.v1")
PLACES = [TopicPartition(row.number, 0) for row in (ORDERS, POSITIONS, BALANCES)]
READ = frozenset(place.topic for place in PLACES)
RAW = topic("raw.frame.v1").number
# What rows of the venue go through before they are ours.
ON_THE_WAY = frozenset(
    topic(name).number for name in ("raw.frame.v1", "venue.report.v1", "venue.account_update.v1", "oms.fill.v1")
)
PENDING = frozenset({Resolution.HALTED, Resolution.VENUE})  # differences that may go away by themselves
SETTLE_S = 3.0  # a difference that lasts so long although everything heard was taken is one
BEHIND_S = 120.0  # and after so long even though our own rows are behind


class Ours:
    """Latest rows of one account. For one thread at a time.

    Attributes:
        rows: last row taken of each sequence.
    """

    def __init__(self, account: int) -> None:
        self.rows: dict[WriterKey, int] = {}
        self._account = account
        self._orders: dict[int, OurOrder] = {}
        self._positions: dict[tuple[int, int], int] = {}
        self._balances: dict[int, int] = {}
        self._takers: Mapping[int, Callable[..., None]] = {
            ORDERS.number: self._order, POSITIONS.number: self._position, BALANCES.number: self._balance,
        }  # fmt: skip

    def take(self, chunks: Iterable[Chunk]) -> None:
        """Rows as a source yields them; repeats are dropped."""
        for chunk in chunks:
            last = self.rows.get(chunk.key, 0)
            new = chunk.rows[max(0, last + 1 - chunk.row_first) :]
            self.rows[chunk.key] = max(last, chunk.row_last)
            take = self._takers[chunk.key.topic]
            for row in new[new["account"] == self._account]:
                take(row)

    def state(self) -> OurState:
        """As of now; a copy."""
        return OurState(dict(self._orders), dict(self._positions), dict(self._balances))

    def owner(self, order_id: int) -> tuple[int, int] | None:
        """Strategy and instrument of an order that is not over."""
        order = self._orders.get(order_id)
        return (order.strategy, order.instrument) if order is not None else None

    def _order(self, row: Mapping[str, int]) -> None:
        order_id, state = int(row["order_id"]), int(row["state"])
        if state in TERMINAL_STATES:
            self._orders.pop(order_id, None)
            return
        self._orders[order_id] = OurOrder(
            order_id, int(row["venue_order_id"]), int(row["instrument"]), int(row["strategy"]),
            int(row["quantity_e8"]), state, int(row["kind"]) in (OrderKind.STOP, OrderKind.STOP_LIMIT),
            int(row["side"]) == Side.BUY, int(row["filled_e8"]),
        )  # fmt: skip

    def _position(self, row: Mapping[str, int]) -> None:
        self._positions[int(row["strategy"]), int(row["instrument"])] = int(row["quantity_e8"])

    def _balance(self, row: Mapping[str, int]) -> None:
        self._balances[int(row["asset"])] = int(row["amount_e8"])


def behind(ours: Mapping[WriterKey, int], own: Status, others: Iterable[Status]) -> str:
    """Which rows that came of what the venue said are still under way to `ours`; "" when none is known to be.

    Args:
        own: of the gateway, now.
        others: of every process of the session, as they last said.
    """
    written: dict[WriterKey, int] = {}
    taken: dict[WriterKey, int] = {}
    for status in (own, *(one for one in others if one.service != own.service)):
        for key, row in status.written.items():
            on_the_way = key.topic in ON_THE_WAY and (key.topic != RAW or key in own.written)
            if on_the_way or key.topic in READ:
                written[key] = max(row, written.get(key, 0))
        for key, row in status.taken.items():
            taken[key] = max(row, taken.get(key, 0))
    for key, row in written.items():
        reached = (ours if key.topic in READ else taken).get(key, 0)
        if reached < row:
            return f"{row - reached} rows of {TOPIC_BY_NUMBER[key.topic].name} are under way"
    return ""


class Comparison:
    """`compare` of the gateway: patient while rows are under way, then what it finds is so.

    Args:
        ours: our state, as far as it was read.
        is_behind: what is known to be under way, "" when nothing is.
        instruments: symbols by id, of what is traded.
        found: takes the differences of every reconciliation that has an end.
        accepted: places (`Difference.place`) that a person has let stand.
    """

    def __init__(
        self,
        ours: Callable[[], OurState],
        is_behind: Callable[[], str],
        instruments: Mapping[int, str],
        found: Callable[[Sequence[Difference]], None],
        accepted: set[tuple[int, int, int, int]],
        names: Mapping[int, str],
        clock: Clock = SYSTEM_CLOCK,
        settle_s: float = SETTLE_S,
        behind_s: float = BEHIND_S,
    ) -> None:
        self._ours, self._is_behind, self._instruments = ours, is_behind, instruments
        self._found, self._accepted, self._names, self._clock = found, accepted, names, clock
        self._settle_ns, self._behind_ns = int(settle_s * 1e9), int(behind_s * 1e9)
        self._since_ns = 0

    def __call__(self, venue: VenueState) -> list[Difference]:
        """Raises StillSettling."""
        ours = self._ours()
        found = compare(ours, venue, self._instruments, self._names)
        open_ones = [one for one in found if one.resolution in PENDING and one.place not in self._accepted]
        if open_ones:
            self._wait(open_ones, ours, venue)
        self._since_ns = 0
        judged = [self._judged(one) for one in found]
        self._found(judged)
        return judged

    def _judged(self, one: Difference) -> Difference:
        if one.resolution is not Resolution.HALTED or one.place not in self._accepted:
            return one
        return Difference(one.kind, one.subject, one.ours_e8, one.venue_e8, Resolution.ACCEPTED, one.text, one.order_id)

    def _wait(self, found: Sequence[Difference], ours: OurState, venue: VenueState) -> None:
        now_ns = self._clock.monotonic_ns()
        self._since_ns = self._since_ns or now_ns
        why, waited_ns = self._is_behind(), now_ns - self._since_ns
        if waited_ns >= (self._behind_ns if why else self._settle_ns):
            return
        gone = {one.order_id for one in found if one.kind is DifferenceKind.ORDER and not one.venue_e8}
        asks = [
            question(order, self._instruments[order.instrument])
            for order in missing(ours.orders, ())
            if order.order_id in gone and order.instrument in self._instruments
        ]
        raise StillSettling(f"{found[0].text}; {why or 'looking again'}", asks)
