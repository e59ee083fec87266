"""Where we and the venue differ: orders, positions, balances. Pure: two states in, differences out.

| of | when it differs | resolution |
|---|---|---|
| position | in what we trade, or in what we hold | HALTED |
| position | in an instrument that we neither trade nor hold | FOREIGN |
| order | the venue has it, the rule of orders follows it, it is none of ours | ADOPTED |
| order | the venue has it, in what we trade, and the rule of orders does not follow it | HALTED |
| order | the venue has it, somebody else's, in what we do not trade | FOREIGN |
| order | we have it open, the venue does not | VENUE: it is asked for |
| balance | up to a hundredth of it (rounding; funding that nobody told us of) | VENUE |
| balance | more | HALTED |

What we never had an idea of (an asset before its first balance) cannot differ. A difference is one only after what was
under way has arrived: whoever compares raises `StillSettling` before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from connectors.binance_usdm import orders as api
from connectors.binance_usdm.orders import Request
from schemas.money import format_e8
from schemas.trading import DifferenceKind, OrderState, Resolution, client_id_of

BALANCE_PPM = 10_000  # of the venue's balance: more than that is material
# States in which the venue should have it open; before them nothing is certain, and the rule of orders asks by itself.
AT_THE_VENUE = frozenset(
    {OrderState.OPEN, OrderState.PARTIALLY_FILLED, OrderState.PENDING_AMEND, OrderState.PENDING_CANCEL}
)


class OpenOrder(NamedTuple):
    """An order that the venue has open; `order_id` 0: somebody else's."""

    order_id: int
    client_id: str
    symbol: str
    venue_order_id: int = 0
    instrument: int = 0
    quantity_e8: int = 0

    @property
    def key(self) -> int:
        """As our own rows name it: somebody else's by the venue's id, negative."""
        return self.order_id or -self.venue_order_id


@dataclass(frozen=True)
class VenueState:
    """What the venue has, read during a reconciliation.

    Attributes:
        orders: open ones, conditional ones too.
        positions_e8: by instrument id, signed, without zeros.
        balances_e8: wallet balance by asset id.
    """

    orders: tuple[OpenOrder, ...]
    positions_e8: dict[int, int]
    balances_e8: dict[int, int]


class OurOrder(NamedTuple):
    """An order that is not over, as oms.order.v1 has it."""

    order_id: int
    venue_order_id: int
    instrument: int
    strategy: int
    quantity_e8: int
    state: int
    conditional: bool = False
    buys: bool = True
    filled_e8: int = 0


@dataclass(frozen=True)
class OurState:
    """What our own rows say of the same account.

    Attributes:
        orders: those that are not over, by order id.
        positions_e8: by (strategy, instrument), zeros too.
        balances_e8: the ledger's cash by asset id.
    """

    orders: Mapping[int, OurOrder] = field(default_factory=dict)
    positions_e8: Mapping[tuple[int, int], int] = field(default_factory=dict)
    balances_e8: Mapping[int, int] = field(default_factory=dict)

    def net_e8(self) -> dict[int, int]:
        """By instrument, over all strategies."""
        net: dict[int, int] = {}
        for (_, instrument), quantity in self.positions_e8.items():
            net[instrument] = net.get(instrument, 0) + quantity
        return net


@dataclass(frozen=True)
class Difference:
    """Something of which we and the venue have different ideas.

    Attributes:
        kind: of what.
        subject: instrument id; of balances the asset's.
        order_id: as `OpenOrder.key`; 0 for what is no order.
        ours_e8, venue_e8: the two values.
        resolution: what is done about it.
        text: the same for people.
    """

    kind: DifferenceKind
    subject: int
    ours_e8: int
    venue_e8: int
    resolution: Resolution
    text: str
    order_id: int = 0

    @property
    def material(self) -> bool:
        """Nothing new is sent until somebody resumes."""
        return self.resolution is Resolution.HALTED

    @property
    def place(self) -> tuple[int, int, int, int]:
        """The same for the same difference: what differs, and by how much."""
        return int(self.kind), self.subject, self.order_id, self.venue_e8 - self.ours_e8


class StillSettling(Exception):
    """We and the venue differ, and what is under way may be why: ask for this, and compare again."""

    def __init__(self, why: str, asks: Sequence[Request] = ()) -> None:
        super().__init__(why)
        self.asks = tuple(asks)


def compare(
    ours: OurState, venue: VenueState, traded: Collection[int], names: Mapping[int, str] | None = None
) -> list[Difference]:
    """Every difference, positions first.

    Args:
        traded: ids of the instruments that this gateway trades.
        names: of instruments and assets, for the texts.
    """
    said = names or {}
    found = list(_positions(ours.net_e8(), venue.positions_e8, traded, said))
    found += _orders(ours.orders, venue.orders, traded, said)
    found += _balances(ours.balances_e8, venue.balances_e8, said)
    return found


def _name(names: Mapping[int, str], number: int) -> str:
    return names.get(number, f"#{number}")


def _positions(
    ours: Mapping[int, int], venue: Mapping[int, int], traded: Collection[int], names: Mapping[int, str]
) -> Iterable[Difference]:
    for instrument in sorted({*ours, *venue}):
        we, they = ours.get(instrument, 0), venue.get(instrument, 0)
        if we == they:
            continue
        alien = not we and instrument not in traded
        name = _name(names, instrument)
        what = f"position in {name}: ours {format_e8(we)}, the venue's {format_e8(they)}"
        resolution = Resolution.FOREIGN if alien else Resolution.HALTED
        yield Difference(
            DifferenceKind.POSITION, instrument, we, they, resolution,
            what + ("; not traded here, left alone" if alien else ""),
        )  # fmt: skip


def _orders(
    ours: Mapping[int, OurOrder], venue: Sequence[OpenOrder], traded: Collection[int], names: Mapping[int, str]
) -> Iterable[Difference]:
    followed = {order.venue_order_id: order for order in ours.values() if order.venue_order_id}
    at_venue: set[int] = set()
    for order in venue:
        known = ours.get(order.key) or followed.get(order.venue_order_id)
        if known is not None:
            at_venue.add(known.order_id)
        if known is not None and known.order_id > 0:
            continue
        words = f"order {order.client_id} ({order.venue_order_id}) in {_name(names, order.instrument)}"
        if known is not None:
            resolution, words = Resolution.ADOPTED, f"{words}: somebody else's, followed as {known.order_id}"
        elif not order.order_id and order.instrument not in traded:
            resolution, words = Resolution.FOREIGN, f"{words}: somebody else's, not traded here, left alone"
        else:
            resolution, words = Resolution.HALTED, f"{words}: open at the venue, and we do not follow it"
        quantity = known.quantity_e8 if known else 0
        yield Difference(
            DifferenceKind.ORDER, order.instrument, quantity, order.quantity_e8, resolution, words, order.key
        )
    for gone in missing(ours, at_venue):
        yield Difference(
            DifferenceKind.ORDER, gone.instrument, gone.quantity_e8, 0, Resolution.VENUE,
            f"order {gone.order_id} in {_name(names, gone.instrument)}: open by our rows, not at the venue; asked for",
            gone.order_id,
        )  # fmt: skip


def missing(ours: Mapping[int, OurOrder], at_venue: Collection[int]) -> list[OurOrder]:
    """Those that the venue should have open and has not."""
    return [order for order in ours.values() if order.state in AT_THE_VENUE and order.order_id not in at_venue]


def question(order: OurOrder, symbol: str) -> Request:
    """What became of an order."""
    if order.conditional and order.order_id > 0:
        client_id = client_id_of(order.order_id)
        return Request("GET", api.ALGO_ORDER, (("clientAlgoId", client_id),), client_id)
    if order.venue_order_id:  # in words of its own: no command has them
        return api.query_venue_order(symbol, order.venue_order_id)
    client_id = client_id_of(order.order_id)
    return Request("GET", api.ORDER, (("symbol", symbol), ("origClientOrderId", client_id)), client_id)


def _balances(ours: Mapping[int, int], venue: Mapping[int, int], names: Mapping[int, str]) -> Iterable[Difference]:
    for asset, we in sorted(ours.items()):
        they = venue.get(asset, 0)
        if we == they:
            continue
        much = abs(we - they) * 1_000_000 > abs(they) * BALANCE_PPM
        words = f"balance of {_name(names, asset)}: ours {format_e8(we)}, the venue's {format_e8(they)}"
        yield Difference(
            DifferenceKind.BALANCE, asset, we, they, Resolution.HALTED if much else Resolution.VENUE,
            words if much else f"{words}; the venue's word is taken",
        )  # fmt: skip
