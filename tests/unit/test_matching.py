"""The matching core against its plain twin, and what must hold of any market."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.simulator import kernels as k
from connectors.simulator.matching import Fill, MatchingBook, OrderKind, Outcome
from schemas.errors import ConfigInvalid
from schemas.events import Side
from tests.reference.matching import PlainBook

BASE, RING, ROOM = 100, 32, 12


@dataclass(frozen=True)
class Place:
    side: Side
    kind: OrderKind
    lots: int
    tick: int


@dataclass(frozen=True)
class Cancel:
    number: int  # of the order placed as the number-th, resting or not


@dataclass(frozen=True)
class Move:
    base: int


places = st.builds(
    Place, st.sampled_from(Side), st.sampled_from(OrderKind), st.integers(-1, 9), st.integers(BASE - 3, BASE + RING + 3)
)
steps = st.lists(
    places | st.builds(Cancel, st.integers(0, 40)) | st.builds(Move, st.integers(BASE - 20, BASE + 20)), max_size=60
)


class Twins:
    """Both books side by side; order names are the numbers of placements."""

    def __init__(self) -> None:
        self.core = MatchingBook(BASE, RING, ROOM)
        self.plain = PlainBook(BASE, RING, ROOM)
        self.ids: list[int] = []

    def step(self, step: Place | Cancel | Move) -> None:
        if isinstance(step, Place):
            self._place(step)
        elif isinstance(step, Cancel):
            order_id = self.ids[step.number] if step.number < len(self.ids) else 0
            assert self.core.cancel(order_id) == (self.plain.cancel(step.number) if order_id else 0)
        else:
            assert self.core.move_window(step.base) == self.plain.move_window(step.base)

    def _place(self, step: Place) -> None:
        name = len(self.ids)
        placed = self.core.place(step.side, step.kind, step.lots, step.tick)
        self.ids.append(placed.order_id)
        outcome, left, fills = self.plain.place(step.side, step.kind, step.lots, step.tick, name)
        assert (placed.outcome, placed.left) == (outcome, left)
        assert [fill._replace(maker_id=self.ids.index(fill.maker_id)) for fill in placed.fills] == fills
        assert (placed.order_id != 0) == (outcome is Outcome.RESTING)

    def check(self) -> None:
        for side in Side:
            depth = self.core.depth(side, RING + 1)
            assert depth == self.plain.depth(side)
            assert self.core.best(side) == (depth[0][0] if depth else None)
        bid, ask = self.core.best(Side.BUY), self.core.best(Side.SELL)
        assert bid is None or ask is None or bid < ask, "crossed"


@given(steps)
@settings(max_examples=300, deadline=None)
def test_core_given_any_orders_does_what_the_plain_book_does(script: list[Place | Cancel | Move]) -> None:
    twins = Twins()
    for step in script:
        twins.step(step)
        twins.check()


@given(steps)
@settings(max_examples=150, deadline=None)
def test_core_given_any_orders_conserves_quantity(script: list[Place | Cancel | Move]) -> None:
    """What was placed is resting, was filled (twice: maker and taker), expired, was refused or cancelled."""
    book = MatchingBook(BASE, RING, ROOM)
    ids: list[int] = []
    resting = 0
    for step in script:
        if isinstance(step, Place):
            placed = book.place(step.side, step.kind, step.lots, step.tick)
            ids.append(placed.order_id)
            filled = sum(fill.lots for fill in placed.fills)
            assert placed.left + filled == step.lots
            resting += (placed.left if placed.outcome is Outcome.RESTING else 0) - filled
        elif isinstance(step, Cancel) and step.number < len(ids):
            resting -= book.cancel(ids[step.number])
    assert resting == sum(lots for side in Side for _, lots in book.depth(side, RING + 1))


@given(steps)
@settings(max_examples=100, deadline=None)
def test_core_given_any_orders_keeps_its_lists_whole(script: list[Place | Cancel | Move]) -> None:
    twins = Twins()
    for step in script:
        twins.step(step)
    arrays = twins.core.arrays
    live = int(arrays.numbers[k.LIVE])
    assert live == len(twins.plain.orders)
    slots = arrays.live[:live].tolist()
    assert [arrays.orders[slot, k.ORDER_LIVE_AT] for slot in slots] == list(range(live))
    free, slot = [], int(arrays.numbers[k.FREE])
    while slot != k.NONE:
        free.append(slot)
        slot = int(arrays.orders[slot, k.ORDER_NEXT])
    assert sorted(slots + free) == list(range(ROOM))


def test_orders_at_one_price_are_filled_in_the_order_of_arrival() -> None:
    book = MatchingBook(BASE, RING, ROOM)
    first = book.place(Side.SELL, OrderKind.LIMIT, 5, 110)
    second = book.place(Side.SELL, OrderKind.LIMIT, 5, 110)
    better = book.place(Side.SELL, OrderKind.LIMIT, 2, 109)
    taken = book.place(Side.BUY, OrderKind.LIMIT, 9, 110)
    assert taken.outcome is Outcome.FILLED
    assert taken.fills == (
        Fill(better.order_id, 109, 2, 0),
        Fill(first.order_id, 110, 5, 0),
        Fill(second.order_id, 110, 2, 3),
    )


def test_partly_filled_order_keeps_its_place() -> None:
    book = MatchingBook(BASE, RING, ROOM)
    first = book.place(Side.BUY, OrderKind.LIMIT, 5, 110)
    book.place(Side.BUY, OrderKind.LIMIT, 5, 110)
    book.place(Side.SELL, OrderKind.MARKET, 2)
    assert book.place(Side.SELL, OrderKind.MARKET, 1).fills == (Fill(first.order_id, 110, 1, 2),)


def test_id_of_a_filled_order_is_never_good_again() -> None:
    book = MatchingBook(BASE, RING, ROOM)
    gone = book.place(Side.BUY, OrderKind.LIMIT, 1, 110)
    book.place(Side.SELL, OrderKind.MARKET, 1)
    again = book.place(Side.BUY, OrderKind.LIMIT, 4, 110)  # gets the same slot
    assert again.order_id & k.SLOT_MASK == gone.order_id & k.SLOT_MASK
    assert book.cancel(gone.order_id) == 0
    assert book.cancel(again.order_id) == 4


@pytest.mark.parametrize("order_id", [0, -1, 1 << 40, 3])
def test_cancel_of_an_id_that_never_was_returns_nothing(order_id: int) -> None:
    book = MatchingBook(BASE, RING, ROOM)
    book.place(Side.BUY, OrderKind.LIMIT, 1, 110)
    assert book.cancel(order_id) == 0


@pytest.mark.parametrize(("ring", "room"), [(33, 4), (32, 0), (1, 4), (32, (1 << 20) + 1)])
def test_book_of_impossible_size_is_refused(ring: int, room: int) -> None:
    with pytest.raises(ConfigInvalid):
        MatchingBook(BASE, ring, room)
