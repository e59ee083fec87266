"""Every cell of the transition table: exercised through the rule, or declared as one that cannot come up."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from processors.order_transitions import (
    NEVER_WHY,
    NO_COMMAND,
    NOT_YET,
    REST,
    SAME,
    STATES,
    TRANSITIONS,
    Cell,
    OrderEvent,
    as_markdown,
    never,
    transition_array,
)
from processors.orders import OrdersParameters, steps_taken
from schemas.trading import TERMINAL_STATES, Alarm, CommandKind, OrderState, ReportKind, TimeInForce
from tests.unit.order_rows import ONE, SECOND_NS, START_NS, Desk, fill, in_state, report, status

Input = Callable[[Desk], object]
S, R = OrderState, ReportKind
GTD = {"time_in_force": TimeInForce.GTD, "expires_ns": START_NS + 8 * SECOND_NS}


def _absent_once(desk: Desk) -> Desk:
    """The first attempt never arrived: order 1 is NEW again."""
    return desk.say(R.SENT, R.UNKNOWN, R.ABSENT)


def setups() -> dict[str, Desk]:
    """Desks with order 1 in every state, on every kind of way that makes a difference; and with no order 1."""
    made = {f"{state.name} usual": in_state(state) for state in S if state != S.DENIED}
    made |= {f"{state.name} that ends": in_state(state, None, **GTD) for state in S if state not in TERMINAL_STATES}
    made["NEW again"] = _absent_once(Desk().decide())
    made["PENDING_SUBMIT again"] = _absent_once(Desk().decide()).say(R.SENT)
    made["UNKNOWN again"] = _absent_once(Desk().decide()).say(R.SENT, R.UNKNOWN)
    made["OPEN again"] = _absent_once(Desk().decide()).say(R.ACKNOWLEDGED)
    made["PARTIALLY_FILLED again"] = _absent_once(Desk().decide()).hear(fill(900, 3))
    made["PENDING_AMEND again"] = _absent_once(Desk().decide()).say(R.ACKNOWLEDGED).amend(101, 12)
    made["PENDING_CANCEL again"] = _absent_once(Desk().decide()).say(R.ACKNOWLEDGED).cancel()
    made["UNKNOWN amend"] = in_state(S.PENDING_AMEND).say(R.UNKNOWN)
    made["UNKNOWN cancel"] = in_state(S.PENDING_CANCEL).say(R.UNKNOWN)
    made["UNKNOWN part filled"] = in_state(S.PARTIALLY_FILLED).cancel().say(R.UNKNOWN)
    made["UNKNOWN missing fills"] = in_state(S.OPEN).hear(status(S.CANCELLED, 5))
    made["UNKNOWN amend to filled"] = in_state(S.PARTIALLY_FILLED).amend(100, 5).hear(fill(901, 2)).say(R.UNKNOWN)
    made["UNKNOWN amend below filled"] = in_state(S.PARTIALLY_FILLED).amend(100, 5).hear(fill(901, 3)).say(R.UNKNOWN)
    made["UNKNOWN amend, all filled"] = in_state(S.OPEN).amend(100, 12).hear(fill(901, 10)).say(R.UNKNOWN)
    made["PENDING_AMEND to filled"] = in_state(S.PARTIALLY_FILLED).amend(100, 5).hear(fill(901, 2))
    made["PENDING_AMEND below filled"] = in_state(S.PARTIALLY_FILLED).amend(100, 5).hear(fill(901, 3))
    made["PENDING_AMEND, all filled"] = in_state(S.OPEN).amend(100, 12).hear(fill(901, 10))
    made["PENDING_CANCEL part filled"] = in_state(S.PARTIALLY_FILLED).cancel()
    made["OPEN immediate"] = in_state(S.OPEN, time_in_force=TimeInForce.IOC)
    made["PARTIALLY_FILLED immediate"] = in_state(S.PARTIALLY_FILLED, time_in_force=TimeInForce.IOC)
    made["REJECTED part filled"] = in_state(S.PARTIALLY_FILLED).hear(status(S.REJECTED, 3))
    made["CANCELLED before it was known"] = Desk().decide().say(R.CANCELLED)
    made["EXPIRED never there"] = in_state(S.UNKNOWN).wait(6).say(R.ABSENT)
    made["nothing"] = Desk()
    made["full"] = Desk(OrdersParameters(open_orders_max=1)).decide(2)
    return made


def inputs() -> dict[str, Input]:
    """Everything that can be said to order 1."""
    made: dict[str, Input] = {f"{kind.name}": lambda desk, kind=kind: desk.say(kind) for kind in R if kind != R.FILL}  # type: ignore[misc]
    del made["STATUS"], made["AMENDED"]
    for state in (S.OPEN, S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED):
        for filled in (0, 3, 5, 6, 10, 12):
            if filled or state != S.FILLED:
                one = status(state, filled)
                made[f"STATUS {state.name} {filled}"] = lambda desk, one=one: desk.hear(one)  # type: ignore[misc]
    for quantity in (1, 2, 7, 9, 10, 20):
        made[f"FILL {quantity}"] = lambda desk, quantity=quantity: desk.hear(fill(77, quantity))  # type: ignore[misc]
    made["FILL that is ahead"] = lambda desk: desk.hear(fill(77, 1, filled_e8=9 * ONE))
    made["FILL again"] = lambda desk: desk.hear(fill(900, 3))
    for price, quantity in ((101, 12), (100, 12), (100, 5), (105, 15)):
        values = {"price_e8": price * ONE, "quantity_e8": quantity * ONE}
        amended = report(R.AMENDED, **values)
        made[f"AMENDED {price} {quantity}"] = lambda desk, amended=amended: desk.hear(amended)  # type: ignore[misc]
    made |= {
        "ABSENT later": lambda desk: desk.hear(report(R.ABSENT, ts_recv_ns=desk.now_ns + 6 * SECOND_NS)),
        "TRIGGERED twice": lambda desk: desk.say(R.TRIGGERED, R.TRIGGERED),
        "decide": lambda desk: desk.decide(),
        "decide, denied": lambda desk: desk.decide(reasons=4),
        "decide, late": lambda desk: desk.decide(valid_until_ns=START_NS),
        "amend": lambda desk: desk.amend(101, 12),
        "amend to little": lambda desk: desk.amend(101, 2),
        "amend, denied": lambda desk: desk.amend(101, 12, reasons=1),
        "cancel": lambda desk: desk.cancel(),
        "time": lambda desk: desk.wait(9),
        "much time": lambda desk: desk.wait(40),
    }
    return made


def exercised() -> dict[tuple[int, OrderEvent], int]:
    """Every input in every setup: how often each cell was taken."""
    total: dict[tuple[int, OrderEvent], int] = {}
    for desk in setups().values():
        for said in inputs().values():
            one = copy.deepcopy(desk)
            one.state["steps"][:] = 0
            said(one)
            for cell, times in steps_taken(one.state).items():
                total[cell] = total.get(cell, 0) + times
    return total


def test_every_cell_is_exercised_or_declared_impossible() -> None:
    taken = set(exercised())
    named = {(state, event) for state in range(STATES) for event in OrderEvent}
    assert sorted(taken & never()) == []
    assert sorted(named - never() - taken) == []


@pytest.mark.parametrize("name", setups())
def test_one_input_does_what_its_cells_say(name: str) -> None:
    """Rows, commands and alarms of a single input are those of the cells that it took, and no others."""
    for said_name, said in inputs().items():
        if said_name == "TRIGGERED twice":  # what repeats a second time is silent
            continue
        desk = copy.deepcopy(setups_once()[name])
        rows, commands = len(desk.said), len(desk.commands)
        desk.state["steps"][:] = 0
        said(desk)
        taken = steps_taken(desk.state).items()
        cells = [TRANSITIONS[state][event] for (state, event), times in taken for _ in range(times)]
        spoken = desk.said[rows:]
        assert sorted(one.alarm for one in spoken) == sorted(cell.alarm for cell in cells), said_name
        wanted = sorted(cell.command for cell in cells if cell.command != NO_COMMAND)
        assert sorted(desk.commands[commands:]) == wanted, said_name
        for one in spoken:
            assert any(_fits(cell, one.before, one.state) for cell in cells), said_name


_SETUPS: dict[str, Desk] = {}


def setups_once() -> dict[str, Desk]:
    if not _SETUPS:
        _SETUPS.update(setups())
    return _SETUPS


def _fits(cell: Cell, before: OrderState, state: OrderState) -> bool:
    if cell.next == SAME:
        return state == before
    if cell.next == REST:
        return state in (S.OPEN, S.PARTIALLY_FILLED, S.UNKNOWN, S.CANCELLED, S.EXPIRED, S.FILLED)
    return state == cell.next


def test_only_a_query_is_sent_while_the_outcome_is_unknown() -> None:
    for event, cell in TRANSITIONS[S.UNKNOWN].items():
        leaves = cell.next not in (SAME, REST)
        assert cell.command in (NO_COMMAND, CommandKind.QUERY) or leaves, event.name
    into = [cell for cells in TRANSITIONS.values() for cell in cells.values() if cell.next == S.UNKNOWN]
    assert {cell.command for cell in into} == {CommandKind.QUERY, NO_COMMAND}
    assert [cell.alarm for cell in into if cell.command == NO_COMMAND] == [Alarm.ADOPTED]  # what is told needs no query


def test_only_unknown_and_not_yet_lead_to_a_submit() -> None:
    """Nothing that was acknowledged, and nothing that is over, is ever sent again."""
    found = {
        (s, e) for s, cells in TRANSITIONS.items() for e, cell in cells.items() if cell.command == CommandKind.SUBMIT
    }
    assert found == {(NOT_YET, OrderEvent.SUBMIT), (S.UNKNOWN, OrderEvent.ABSENT_FRESH)}


def test_an_order_that_is_over_stays_over_unless_it_must_be_asked_about() -> None:
    for state in TERMINAL_STATES:
        for event, cell in TRANSITIONS[state].items():
            assert cell.next in (SAME, S.FILLED, S.UNKNOWN), event.name
            assert cell.next != S.UNKNOWN or cell.command == CommandKind.QUERY


def test_a_cell_that_cannot_come_up_would_keep_the_state_and_raise_an_alarm() -> None:
    array = transition_array()
    assert {tuple(array[state, event].tolist()) for state, event in never()} == {
        (SAME, NO_COMMAND, Alarm.IMPOSSIBLE, 0)
    }
    assert all(why for why in NEVER_WHY.values())


def test_markdown_names_every_cell_once() -> None:
    lines = [line.split(" | ") for line in as_markdown().splitlines()[2:]]
    named = [(line[0].strip("| ").removesuffix(" (end)"), event) for line in lines for event in line[1].split(", ")]
    wanted = [
        ("–" if state == NOT_YET else S(state).name, event.name)
        for state, cells in TRANSITIONS.items()
        for event in cells
    ]
    assert sorted(named) == sorted(wanted)
    assert "| NEW | SENT | PENDING_SUBMIT |" in as_markdown()
