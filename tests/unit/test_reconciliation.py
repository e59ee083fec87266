"""Where we and the venue differ, when that is a difference, and what is still under way."""

from __future__ import annotations

import pytest

from connectors.reconciliation import (
    Difference,
    OpenOrder,
    OurOrder,
    OurState,
    StillSettling,
    VenueState,
    compare,
)
from infra.process.ours import Comparison, Ours, behind
from infra.process.status import Status
from schemas.declare import Rows
from schemas.events import Side
from schemas.instruments import instrument_id
from schemas.trading import BALANCE, ORDER, POSITION, DifferenceKind, OrderState, Resolution, client_id_of
from streams.api import Chunk, WriterKey
from streams.clock import ManualClock
from streams.topics import topic

E8 = 10**8
BTC, ETH, USDT = instrument_id("binance_usdm:BTCUSDT"), instrument_id("binance_usdm:ETHUSDT"), instrument_id("USDT")
MAKER, OTHER, ACCOUNT = 11, 12, 77
R, K = Resolution, DifferenceKind


def venue(
    orders: tuple[OpenOrder, ...] = (), positions: dict[int, int] | None = None, balances: dict[int, int] | None = None
) -> VenueState:
    return VenueState(orders, positions or {}, balances or {})


def at_venue(order_id: int, venue_order_id: int, instrument: int = BTC) -> OpenOrder:
    client_id = client_id_of(order_id) if order_id else f"web_{venue_order_id}"
    return OpenOrder(order_id, client_id, "BTCUSDT", venue_order_id, instrument, E8)


def ours(order_id: int, venue_order_id: int = 0, state: OrderState = OrderState.OPEN) -> OurOrder:
    return OurOrder(order_id, venue_order_id, BTC, MAKER, E8, state)


def found(ours: OurState, venue: VenueState) -> list[tuple[DifferenceKind, int, int, int, int, Resolution]]:
    return [
        (one.kind, one.subject, one.order_id, one.ours_e8, one.venue_e8, one.resolution)
        for one in compare(ours, venue, {BTC})
    ]


def test_equal_states_differ_in_nothing_and_positions_are_summed_over_strategies() -> None:
    we = OurState({5: ours(5, 50)}, {(MAKER, BTC): 3 * E8, (OTHER, BTC): -E8, (MAKER, ETH): 0}, {USDT: 7})
    assert found(we, venue((at_venue(5, 50),), {BTC: 2 * E8}, {USDT: 7, 99: 5})) == []


def test_positions_that_differ_halt_where_we_trade_or_hold_and_are_left_alone_elsewhere() -> None:
    we = OurState(positions_e8={(MAKER, BTC): E8, (OTHER, ETH): E8})
    they = venue(positions={BTC: 2 * E8, 42: 9 * E8})
    assert found(we, they) == [
        (K.POSITION, 42, 0, 0, 9 * E8, R.FOREIGN),
        *sorted(
            [(K.POSITION, BTC, 0, E8, 2 * E8, R.HALTED), (K.POSITION, ETH, 0, E8, 0, R.HALTED)], key=lambda one: one[1]
        ),
    ]  # fmt: skip


def test_orders_are_adopted_left_alone_halting_or_asked_for() -> None:
    we = OurState({-60: ours(-60, 60), 5: ours(5, 50), 6: ours(6, 61, OrderState.NEW)})
    they = venue((at_venue(0, 60), at_venue(0, 70, ETH), at_venue(0, 80), at_venue(9, 90)))
    assert found(we, they) == [
        (K.ORDER, BTC, -60, E8, E8, R.ADOPTED),
        (K.ORDER, ETH, -70, 0, E8, R.FOREIGN),
        (K.ORDER, BTC, -80, 0, E8, R.HALTED),
        (K.ORDER, BTC, 9, 0, E8, R.HALTED),
        (K.ORDER, BTC, 5, E8, 0, R.VENUE),
    ]


def test_triggered_order_is_known_by_the_id_that_the_venue_gave_it() -> None:
    assert found(OurState({5: ours(5, 60)}), venue((at_venue(0, 60),))) == []


def test_balances_differ_by_rounding_or_materially_and_never_before_the_first() -> None:
    we = OurState(balances_e8={USDT: 1000 * E8, 99: 1000 * E8})
    they = venue(balances={USDT: 1000 * E8 + 1, 99: 1011 * E8, 98: 5})
    assert found(we, they) == sorted(
        [
            (K.BALANCE, USDT, 0, 1000 * E8, 1000 * E8 + 1, R.VENUE),
            (K.BALANCE, 99, 0, 1000 * E8, 1011 * E8, R.HALTED),
        ],
        key=lambda one: one[1],
    )


# --- patience


class Bench:
    """A comparison whose parts a test moves."""

    def __init__(self) -> None:
        self.clock, self.ours, self.under_way = ManualClock(1), OurState(), ""
        self.told: list[list[Difference]] = []
        self.accepted: set[tuple[int, int, int, int]] = set()
        self.compare = Comparison(
            lambda: self.ours, lambda: self.under_way, {BTC: "BTCUSDT"}, lambda found: self.told.append([*found]),
            self.accepted, {}, self.clock, settle_s=3, behind_s=60,
        )  # fmt: skip


def test_difference_is_one_only_when_nothing_is_under_way_any_more_and_it_lasts() -> None:
    bench = Bench()
    they = venue(positions={BTC: E8})
    bench.under_way = "3 rows of oms.fill.v1 are under way"
    with pytest.raises(StillSettling, match=r"3 rows of oms\.fill\.v1"):
        bench.compare(they)
    bench.clock.sleep(30)
    with pytest.raises(StillSettling):
        bench.compare(they)
    bench.under_way = ""
    assert [one.resolution for one in bench.compare(they)] == [R.HALTED]  # long enough before
    with pytest.raises(StillSettling):  # the next one is looked at anew
        bench.compare(they)
    bench.ours = OurState(positions_e8={(MAKER, BTC): E8})
    assert bench.compare(they) == []
    assert [len(one) for one in bench.told] == [1, 0]


def test_own_rows_that_stay_behind_are_not_waited_for_for_ever() -> None:
    bench = Bench()
    bench.under_way = "1 rows of venue.report.v1 are under way"
    with pytest.raises(StillSettling):
        bench.compare(venue(positions={BTC: E8}))
    bench.clock.sleep(61)
    assert len(bench.compare(venue(positions={BTC: E8}))) == 1


def test_order_that_the_venue_no_longer_has_is_asked_for_before_it_is_a_difference() -> None:
    bench = Bench()
    bench.ours = OurState({5: ours(5, 50), 6: ours(6)})
    with pytest.raises(StillSettling) as raised:
        bench.compare(venue())
    assert [request.text for request in raised.value.asks] == [
        "GET /fapi/v1/order #50", f"GET /fapi/v1/order {client_id_of(6)}",
    ]  # fmt: skip


def test_accepted_difference_stands_while_both_sides_move_alike() -> None:
    bench = Bench()
    bench.accepted.add((int(K.POSITION), BTC, 0, E8))
    bench.ours = OurState(positions_e8={(MAKER, BTC): 4 * E8})
    assert [one.resolution for one in bench.compare(venue(positions={BTC: 5 * E8}))] == [R.ACCEPTED]
    with pytest.raises(StillSettling):
        bench.compare(venue(positions={BTC: 6 * E8}))


# --- our own rows


def chunk(name: str, first: int, rows: Rows) -> Chunk:
    return Chunk(WriterKey(topic(name).number, 0, 7, 1), first, rows)


def test_our_state_is_the_latest_row_of_the_account_alone() -> None:
    orders = ORDER.empty(4)
    orders["account"], orders["order_id"], orders["instrument"] = [ACCOUNT, ACCOUNT, ACCOUNT, 1], [5, 6, 5, 8], BTC
    orders["state"] = [OrderState.OPEN, OrderState.OPEN, OrderState.FILLED, OrderState.OPEN]
    orders["strategy"], orders["venue_order_id"], orders["quantity_e8"] = MAKER, 50, E8
    orders["side"], orders["filled_e8"] = Side.SELL, E8 // 4
    positions = POSITION.empty(2)
    positions["account"], positions["strategy"], positions["instrument"] = ACCOUNT, MAKER, BTC
    positions["quantity_e8"] = [E8, 2 * E8]
    balances = BALANCE.empty(1)
    balances["account"], balances["asset"], balances["amount_e8"] = ACCOUNT, USDT, 9
    one = Ours(ACCOUNT)
    one.take([chunk("oms.order", 1, orders), chunk("acct.position", 1, positions), chunk("acct.balance", 1, balances)])
    one.take([chunk("acct.position", 1, positions[:1])])  # a repeat changes nothing
    state = one.state()
    assert state.orders == {6: OurOrder(6, 50, BTC, MAKER, E8, OrderState.OPEN, False, False, E8 // 4)}
    assert (state.positions_e8, state.balances_e8) == ({(MAKER, BTC): 2 * E8}, {USDT: 9})
    assert (one.owner(6), one.owner(5)) == ((MAKER, BTC), None)


def test_what_is_under_way_is_followed_from_the_raw_row_to_our_own_state() -> None:
    def key(name: str, writer: int) -> WriterKey:
        return WriterKey(topic(name).number, 0, writer, 1)

    raw, report, fill, held = key("raw.frame", 1), key("venue.report", 2), key("oms.fill", 3), key("acct.position", 4)
    market = key("raw.frame", 9)
    own, trader, other = Status("gateway"), Status("trader"), Status("connector")
    other.written = {market: 100}  # somebody else's frames are none of ours
    steps: list[tuple[str, Status, str, WriterKey]] = [
        ("raw.frame.v1", own, "taken", raw),
        ("venue.report.v1", trader, "taken", report),
        ("oms.fill.v1", trader, "taken", fill),
    ]
    own.written, trader.written = {raw: 5, report: 4}, {fill: 3, held: 2}
    seen = []
    for name, status, _, place in steps:
        seen.append(behind({}, own, [own, trader, other]))
        assert name in seen[-1]
        status.taken[place] = 9
    assert seen[0] == "5 rows of raw.frame.v1 are under way"
    assert behind({held: 1}, own, [trader, other]) == "1 rows of acct.position.v1 are under way"
    trader.taken[held] = 2  # that a strategy has it does not mean that we have
    assert behind({held: 1}, own, [trader, other]) == "1 rows of acct.position.v1 are under way"
    assert behind({held: 2}, own, [trader, other]) == ""
