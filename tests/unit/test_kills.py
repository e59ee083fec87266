"""Kills in force, carried out at a scripted venue on loopback, and what survives a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from infra import killing
from infra.config import Config
from infra.process import clearing
from infra.process.clearing import is_overdue
from infra.process.connector import append_rows
from infra.process.deadman import Deadman
from infra.process.gateway import EarlierLife
from infra.process.kills import Acknowledged, Clearing, Kill, Kills, acknowledgement_row, how_far
from infra.process.status import Status
from infra.sessions import store
from infra.steering import Texts
from schemas.declare import EMPTY_HEAP, Heap, Rows
from schemas.events import FrameKind
from schemas.instruments import Venue, instrument_id
from schemas.trading import (
    ACKNOWLEDGEMENT,
    ORDER,
    POSITION,
    SWITCH,
    KillOutcome,
    OrderState,
    Scope,
    client_id_of,
)
from streams.api import WriterKey
from streams.clock import SYSTEM_CLOCK
from streams.log import LogWriter
from streams.topics import topic
from tests.unit.private_venue import DROP, PrivateVenue, private_venue
from tests.unit.test_gateway import KEYS, Log, command, rest_of

BTC, ETH = instrument_id("binance_usdm:BTCUSDT"), instrument_id("binance_usdm:ETHUSDT")
ACCOUNT, MAKER, OTHER = instrument_id("binance_usdm:test"), 11, 12
SYMBOLS = {BTC: "BTCUSDT", ETH: "ETHUSDT"}
K = KillOutcome


def pressed(*switches: tuple[int, Scope, int, bool]) -> tuple[Rows, Heap]:
    rows = Texts(SWITCH)
    for kill_id, scope, subject, on in switches:
        rows.add(ts_recv_ns=kill_id, kill_id=kill_id, who="me", why="so", subject=subject, scope=scope, on=int(on))
    return rows.done()


def kills(*switches: tuple[int, Scope, int, bool]) -> Kills:
    one = Kills(int(Venue.BINANCE_USDM), ACCOUNT, SYMBOLS)
    one.take(*pressed(*switches))
    return one


def test_kills_of_an_account_are_those_that_touch_it_and_a_resume_lifts_the_one_that_it_names() -> None:
    one = kills(
        (1, Scope.GLOBAL, 0, True), (2, Scope.VENUE, int(Venue.BINANCE_SPOT), True), (3, Scope.ACCOUNT, ACCOUNT, True),
        (4, Scope.INSTRUMENT, 99, True), (5, Scope.STRATEGY, MAKER, True), (6, Scope.INSTRUMENT, BTC, True),
        (1, Scope.GLOBAL, 0, False), (9, Scope.GLOBAL, 0, False),
    )  # fmt: skip
    assert [kill.kill_id for kill in one.in_force()] == [3, 5, 6]
    assert one.take(*pressed((9, Scope.GLOBAL, 0, True), (10, Scope.GLOBAL, 0, True)))[0] == [one.in_force()[-1]]
    assert [kill.kill_id for kill in one.in_force()] == [3, 5, 6, 10]  # 9 was lifted before it was read


@pytest.mark.parametrize(
    ("switch", "stopped"),
    [
        ((Scope.GLOBAL, 0), True), ((Scope.ACCOUNT, ACCOUNT), True), ((Scope.STRATEGY, MAKER), True),
        ((Scope.STRATEGY, OTHER), False), ((Scope.INSTRUMENT, BTC), True), ((Scope.INSTRUMENT, ETH), False),
    ],
)  # fmt: skip
def test_command_is_refused_by_the_kills_that_it_falls_under(switch: tuple[Scope, int], stopped: bool) -> None:
    row: np.void = command(1, strategy=MAKER)[0]
    assert bool(kills((1, *switch, True)).reason(row)) is stopped


# --- carried out


@dataclass
class Desk:
    """A clearing at work against a venue with two orders of two strategies, one of nobody's, and two positions."""

    venue: PrivateVenue
    switches: tuple[int, Scope, int, bool]
    flatten: bool = False
    said: list[Acknowledged] = field(default_factory=list)
    owners: dict[int, tuple[int, int]] = field(default_factory=lambda: {1: (MAKER, BTC), 2: (OTHER, BTC)})
    held: dict[str, int] = field(default_factory=dict)
    timeout_s: float = 5.0
    valid_s: float = 0.0

    def __post_init__(self) -> None:
        for name, number, symbol in (
            (client_id_of(1), 101, "BTCUSDT"), (client_id_of(2), 102, "BTCUSDT"), ("web", 103, "ETHUSDT"),
        ):  # fmt: skip
            self.venue.orders[name] = {
                "clientOrderId": name, "orderId": number, "symbol": symbol, "side": "BUY", "status": "NEW",
                "price": "1", "origQty": "1",
            }  # fmt: skip
        self.venue.positions = {"BTCUSDT": 0.5, "ETHUSDT": -0.2}
        self.kills = kills(self.switches)

    async def carry_out(self, before: KillOutcome | None = None) -> None:
        rest = rest_of(self.venue, Log())
        one = Clearing(
            rest, self.kills, ACCOUNT, "me", SYMBOLS, self.said.append, self.owners.get, self.holdings,
            valid_until_ns=SYSTEM_CLOCK.now_ns() + int(self.valid_s * 1e9), timeout_s=self.timeout_s,
        )  # fmt: skip
        kill = self.kills.in_force()[0]._replace(flatten=self.flatten)
        await one.carry_out(kill, before)
        await rest.close()

    async def holdings(self, strategy: int) -> dict[str, int]:
        return self.held

    @property
    def steps(self) -> list[KillOutcome]:
        return [one.outcome for one in self.said]


def played(play: Callable[[PrivateVenue], Awaitable[None]]) -> None:
    async def main() -> None:
        async with private_venue() as venue:
            await play(venue)

    asyncio.run(main())


def test_kill_of_everything_cancels_then_flattens_and_says_each_step_with_its_time() -> None:
    async def play(venue: PrivateVenue) -> None:
        desk = Desk(venue, (1, Scope.GLOBAL, 0, True), flatten=True)
        await desk.carry_out()
        assert (venue.orders, venue.positions) == ({}, {"BTCUSDT": 0.0, "ETHUSDT": 0.0})
        assert desk.steps == [K.RECEIVED, K.CANCELLED, K.FLAT]
        last = desk.said[-1]
        assert 0 < last.cancelled_ns < last.flat_ns
        assert (last.kill_id, last.account, last.positions, last.who) == (1, ACCOUNT, 2, "me")

    played(play)


def test_kill_of_a_strategy_cancels_its_orders_and_those_that_nobody_remembers_and_no_others() -> None:
    async def play(venue: PrivateVenue) -> None:
        desk = Desk(venue, (1, Scope.STRATEGY, MAKER, True))
        await desk.carry_out()
        assert set(venue.orders) == {client_id_of(2), "web"}
        assert desk.steps == [K.RECEIVED, K.CANCELLED]
        desk.owners.clear()
        await desk.carry_out(K.CANCELLED)
        assert set(venue.orders) == {"web"}
        assert "nobody remembers" in desk.said[-1].text

    played(play)


@pytest.mark.parametrize(
    ("held_e8", "left", "outcome"),
    [(20_000_000, 0.3, K.FLAT), (80_000_000, 0.0, K.PARTLY), (-10_000_000, 0.5, K.PARTLY), (0, 0.5, K.FLAT)],
)
def test_strategy_is_flattened_as_far_as_the_net_position_allows(
    held_e8: int, left: float, outcome: KillOutcome
) -> None:
    async def play(venue: PrivateVenue) -> None:
        desk = Desk(venue, (1, Scope.STRATEGY, MAKER, True), flatten=True, held={"BTCUSDT": held_e8})
        await desk.carry_out()
        assert venue.positions == {"BTCUSDT": left, "ETHUSDT": -0.2}
        assert desk.steps == [K.RECEIVED, K.CANCELLED, outcome]
        await desk.carry_out(outcome)  # a start under the kill: what was closed is not closed twice
        assert venue.positions == {"BTCUSDT": left, "ETHUSDT": -0.2}

    played(play)


def test_kill_of_an_instrument_leaves_the_others_alone() -> None:
    async def play(venue: PrivateVenue) -> None:
        desk = Desk(venue, (1, Scope.INSTRUMENT, BTC, True), flatten=True)
        await desk.carry_out()
        assert (set(venue.orders), venue.positions) == ({"web"}, {"BTCUSDT": 0.0, "ETHUSDT": -0.2})

    played(play)


def test_kill_that_fails_is_tried_again_until_it_is_done_or_lifted() -> None:
    async def play(venue: PrivateVenue) -> None:
        venue.answers["GET /fapi/v1/openOrders"] = lambda params: DROP
        desk = Desk(venue, (1, Scope.GLOBAL, 0, True), timeout_s=0.1)
        working = asyncio.create_task(desk.carry_out())
        while K.FAILED not in desk.steps:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        del venue.answers["GET /fapi/v1/openOrders"]
        await asyncio.wait_for(working, 5)
        assert desk.steps[-1] is K.CANCELLED
        failed = desk.steps.count(K.FAILED)
        venue.answers["GET /fapi/v1/openOrders"] = lambda params: DROP
        working = asyncio.create_task(desk.carry_out())
        while desk.steps.count(K.FAILED) == failed:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        desk.kills.take(*pressed((1, Scope.GLOBAL, 0, False)))
        await asyncio.wait_for(working, 5)

    played(play)


def test_order_that_arrives_late_is_cancelled_before_a_strategy_is_closed() -> None:
    async def play(venue: PrivateVenue) -> None:
        desk = Desk(venue, (1, Scope.STRATEGY, MAKER, True), flatten=True, held={"BTCUSDT": 20_000_000}, valid_s=0.5)
        desk.owners[5], late = (MAKER, BTC), client_id_of(5)
        working = asyncio.create_task(desk.carry_out())
        while K.CANCELLED not in desk.steps:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        venue.orders[late] = venue.orders[client_id_of(2)] | {"clientOrderId": late, "orderId": 105}
        await asyncio.wait_for(working, 5)
        assert set(venue.orders) == {client_id_of(2), "web"}
        assert desk.steps == [K.RECEIVED, K.CANCELLED, K.CANCELLED, K.FLAT]

    played(play)


def test_closing_that_is_not_answered_is_not_tried_again() -> None:
    async def play(venue: PrivateVenue) -> None:
        desk = Desk(venue, (1, Scope.STRATEGY, MAKER, True), flatten=True, held={"BTCUSDT": 20_000_000}, timeout_s=0.3)
        venue.answers["GET /fapi/v1/order"] = lambda params: DROP
        await desk.carry_out()
        assert venue.positions["BTCUSDT"] == 0.3
        assert [desk.steps[-1], "not tried again" in desk.said[-1].text] == [K.PARTLY, True]

    played(play)


def test_how_far_a_kill_came_is_not_forgotten_by_a_later_start_that_took_it_again() -> None:
    def said(*outcomes: KillOutcome) -> list[Acknowledged]:
        return [Acknowledged(1, 0, ACCOUNT, outcome, 0, 0, 0, 0, 0, "", "") for outcome in outcomes]

    assert [how_far(said()), how_far(said(K.RECEIVED))] == [None, K.RECEIVED]
    assert how_far(said(K.RECEIVED, K.CANCELLED, K.RECEIVED)) is K.CANCELLED


def test_who_takes_over_closes_what_a_strategy_holds_by_our_rows_and_by_fills_that_nobody_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds 0.2 of 0.5 by our rows; its order filled 0.2 more after the gateway had died."""
    session = store.create(Config(data=tmp_path), {}, SYSTEM_CLOCK, "one")
    order, position, name = ORDER.empty(1), POSITION.empty(2), client_id_of(1)
    for rows in (order, position):
        rows["account"], rows["strategy"], rows["instrument"] = ACCOUNT, MAKER, BTC
    order["order_id"], order["state"], order["filled_e8"] = 1, OrderState.PARTIALLY_FILLED, 20_000_000
    position["strategy"], position["quantity_e8"] = [MAKER, OTHER], [20_000_000, 10_000_000]
    for row, rows in (("oms.order.v1", order), ("acct.position.v1", position)):
        log = LogWriter(session.log, WriterKey(topic(row).number, 0, 9, session.incarnation))
        append_rows(log, rows, EMPTY_HEAP)
        log.close()
    killing.press(session, Scope.STRATEGY, MAKER, "a test", flatten=True)
    monkeypatch.setattr(clearing, "paper_credentials", lambda url: KEYS)

    async def play(venue: PrivateVenue) -> None:
        Desk(venue, (1, Scope.STRATEGY, MAKER, True))
        venue.ended[name] = venue.orders[name] | {"status": "CANCELED", "executedQty": "0.4"}
        url = venue.exchange.rest_url
        at = clearing.GatewayAt("g", 0, 0, "binance_usdm", "binance_usdm:test", ("BTCUSDT",), "ws://x", url, "")
        said = await asyncio.to_thread(clearing.clear, session, at, dead=True, within_s=20.0)
        assert set(venue.orders) == {"web"}  # 2 is one of ours, and nobody remembers whose
        assert venue.positions["BTCUSDT"] == 0.1
        assert [one.outcome for one in said] == [K.RECEIVED, K.CANCELLED, K.FLAT]

    played(play)


# --- rows, patience, the dead-man's lease, what was heard


def test_acknowledgement_is_a_row_with_every_column() -> None:
    said = Acknowledged(1, 2, 3, K.FLAT, 5, 6, 7, 8, 9, "me", "fine")
    rows, heap = acknowledgement_row(said)
    assert rows.dtype == ACKNOWLEDGEMENT.dtype
    assert {name: int(rows[name][0]) for name in said._fields if name not in ("who", "text")} == {
        "kill_id": 1, "ts_recv_ns": 2, "account": 3, "outcome": int(K.FLAT), "received_ns": 5, "cancelled_ns": 6,
        "flat_ns": 7, "orders": 8, "positions": 9,
    }  # fmt: skip
    assert heap.tobytes() == b"mefine"
    assert said.words() == "cancelled after 0 ms, flat after 0 ms (fine)"


def test_kill_is_overdue_when_nobody_takes_it_or_who_took_it_falls_silent() -> None:
    kill, second = Kill(1, Scope.GLOBAL, 0, 0, flatten=True), 10**9

    def said(outcome: KillOutcome, at_s: int, account: int = ACCOUNT) -> Acknowledged:
        return Acknowledged(1, at_s * second, account, outcome, 0, 0, 0, 0, 0, "", "")

    def overdue(now_s: int, *words: Acknowledged) -> bool:
        return is_overdue(kill, [*words], ACCOUNT, now_s * second, 3 * second)

    assert [overdue(2), overdue(4), overdue(4, said(K.RECEIVED, 1, 5))] == [False, True, True]
    assert [overdue(20, said(K.RECEIVED, 1)), overdue(40, said(K.CANCELLED, 1))] == [False, True]
    assert not overdue(999, said(K.FLAT, 1))


def test_deadman_waits_for_the_first_sign_of_life_and_then_for_no_longer_than_it_may() -> None:
    one, second = Deadman(15.0), 10**9

    def trader(moved_s: int, **others: int) -> Status:
        moved = {"strategies": moved_s, "risk": moved_s, "orders": moved_s, "positions": 0} | others
        return Status("trader", moved_ns={name: at_s * second for name, at_s in moved.items()})

    assert one.missing([], 100 * second) == []
    assert one.missing([trader(0)], 100 * second) == []  # it starts
    assert one.missing([trader(100)], 101 * second) == []
    assert one.missing([trader(100)], 115 * second) == []
    assert one.missing([trader(100)], 116 * second) == ["strategies", "risk", "orders"]
    assert one.missing([trader(0)], 117 * second) == ["strategies", "risk", "orders"]  # it only starts again
    assert one.missing([trader(117)], 117 * second) == []
    assert one.missing([trader(140, strategies=120)], 140 * second) == ["strategies"]
    assert Deadman(0.0).missing([trader(1)], 10**18) == []


def test_time_last_heard_counts_only_when_the_trades_of_every_symbol_were_asked_for() -> None:
    life = EarlierLife(frozenset({"BTCUSDT", "ETHUSDT"}))
    rest, stream, ok = 48, 49, 200

    def trades(symbol: str, asked_ns: int, status: int = ok) -> None:
        life.take(FrameKind.SENT, rest, 0, asked_ns, f"GET /fapi/v1/userTrades {symbol}")
        life.take(FrameKind.REST, rest, status, asked_ns + 1, f"GET /fapi/v1/userTrades {symbol}")

    life.take(FrameKind.CLOSE, rest, 0, 1, "")
    life.take(FrameKind.OPEN, stream, 0, 2, "")
    trades("BTCUSDT", 10)
    life.take(FrameKind.TEXT, stream, 0, 15, "")
    assert life.heard_ns == 0
    trades("ETHUSDT", 20, status=500)
    assert life.heard_ns == 0
    trades("ETHUSDT", 30)
    assert life.heard_ns == 10
    life.take(FrameKind.TEXT, stream, 0, 40, "")
    assert life.heard_ns == 40
    life.take(FrameKind.OPEN, stream, 0, 60, "")  # the stream had broken: what was missed is not known yet
    life.take(FrameKind.TEXT, stream, 0, 61, "")
    trades("BTCUSDT", 62)
    assert life.heard_ns == 40
    assert life.handled["GET /fapi/v1/userTrades BTCUSDT"] == 2
