"""Orders: reports and decisions → order rows, commands and fills, through the table of processors/order_transitions.py.

`order_lines.py` says what is kept of an order, `order_events.py` which event an input is. Here an event is carried
out: `_step` looks the cell up, notes what the event changes, sends the command and writes the order row. At most one
command of an order is in flight: a cancel that comes meanwhile is held and goes out when the order rests.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from processors.kernels import order_events as ev
from processors.kernels import order_lines as o
from processors.kernels.compiling import kernel, part
from processors.kernels.order_events import can_rise, event_of_change, event_of_report
from processors.kernels.order_lines import Array, fault_of_decision, fault_of_report, read_decision, read_report
from processors.kernels.pairs import enter_pair, find_pair, remove_pair
from processors.order_transitions import (
    ALARM,
    ANSWERED,
    COMMAND,
    HOLD,
    NEXT,
    NO_COMMAND,
    NOT_YET,
    PROVEN,
    RAISED,
    REST,
    SAME,
)
from schemas.events import DeadReason
from schemas.trading import Alarm, CommandKind, OrderKind, OrderState, ReportKind, TimeInForce

# Entries of `cursor`, where a call stopped: the row to take next, and rows written to each output.
AT, ORDERS, COMMANDS, FILLS, DEAD, CURSOR = range(6)
# Why a kernel came back.
DONE, FULL, TIMER_DUE, LINES_WANTED, CANCEL_ALL = range(5)
ROWS_PER_INPUT = 8  # more than any input but CANCEL_ALL makes in one output

_ATTEMPT_MAX = 255  # what the column can say
_HOUR_NS = 3_600_000_000_000
_SAME, _REST, _NOT_YET, _NO_COMMAND = SAME, REST, NOT_YET, NO_COMMAND
_REPEATED, _IMPOSSIBLE = int(Alarm.REPEATED), int(Alarm.IMPOSSIBLE)
_SUBMIT, _AMEND, _CANCEL = int(CommandKind.SUBMIT), int(CommandKind.AMEND), int(CommandKind.CANCEL)
_NEW, _DENIED = int(OrderState.NEW), int(OrderState.DENIED)
_GTD, _DAY, _IOC, _FOK = (int(time) for time in (TimeInForce.GTD, TimeInForce.DAY, TimeInForce.IOC, TimeInForce.FOK))
_MARKET = int(OrderKind.MARKET)
_CANCELLED, _REJECTED, _EXPIRED = int(ReportKind.CANCELLED), int(ReportKind.REJECTED), int(ReportKind.EXPIRED)
_ABSENT, _SENT, _UNKNOWN = int(ReportKind.ABSENT), int(ReportKind.SENT), int(ReportKind.UNKNOWN)
_OUT_OF_RANGE, _UNEXPECTED = int(DeadReason.OUT_OF_RANGE), int(DeadReason.UNEXPECTED)
_LIMIT, _LATE = int(DeadReason.LIMIT), int(DeadReason.LATE)


class Rules(NamedTuple):
    """What does not change: the table, the effects of events, the parameters."""

    table: Array
    effects: Array
    settings: Array


class Answers(NamedTuple):
    """Room for what comes out: rows of the three outputs, and (row index, reason, fault)."""

    orders: Array
    commands: Array
    fills: Array
    dead: Array


@part
def _is_over(state):  # type: ignore[no-untyped-def]
    return ev.S_FILLED <= state <= _DENIED


@part
def _set_deadline(memory, k, which, at_ns):  # type: ignore[no-untyped-def]
    memory.deadlines[k, which] = at_ns
    memory.marks[o.BOUND_NS] = min(memory.marks[o.BOUND_NS], at_ns)


# ---- lines of the table of orders


@part
def _has_line(memory, settings):  # type: ignore[no-untyped-def]
    """At the bound there is one whenever fewer orders are open than may be: see `_fault_of_place`, `_take_new`."""
    bound = len(memory.orders) >= settings[o.LINES_MAX]
    return bound or memory.marks[o.FREE] > 0 or memory.marks[o.USED] < len(memory.orders)


@part
def _take_line(memory):  # type: ignore[no-untyped-def]
    if memory.marks[o.FREE] > 0:
        memory.marks[o.FREE] -= 1
        return memory.free[memory.marks[o.FREE]]
    memory.marks[o.USED] += 1
    return memory.marks[o.USED] - 1


@part
def _forget(memory, k):  # type: ignore[no-untyped-def]
    remove_pair(memory.places, memory.orders, k)
    memory.orders[k, :] = 0
    memory.free[memory.marks[o.FREE]] = k
    memory.marks[o.FREE] += 1


@part
def _close(memory, k):  # type: ignore[no-untyped-def]
    """The order is over: no timer, nothing in flight. Late reports still find it, until newer ones push it out."""
    orders, marks, size = memory.orders, memory.marks, len(memory.ended)
    orders[k, o.QUESTIONS] = 0
    orders[k, o.CANCEL_WANTED] = 0
    orders[k, o.WANTED_PRICE] = 0
    orders[k, o.WANTED_QUANTITY] = 0
    orders[k, o.TOLD_END] = 0
    memory.deadlines[k, :] = o.NEVER_NS
    marks[o.OPEN] -= 1
    if marks[o.ENDED_IN] - marks[o.ENDED_OUT] == size:
        oldest = memory.ended[marks[o.ENDED_OUT] % size]
        marks[o.ENDED_OUT] += 1
        if oldest != 0:
            _forget(memory, oldest - 1)
    memory.ended[marks[o.ENDED_IN] % size] = k + 1
    orders[k, o.ENDED_AT] = marks[o.ENDED_IN] % size + 1
    marks[o.ENDED_IN] += 1


@part
def _reopen(memory, k):  # type: ignore[no-untyped-def]
    """The order was not over after all."""
    orders = memory.orders
    memory.ended[orders[k, o.ENDED_AT] - 1] = 0
    orders[k, o.ENDED_AT] = 0
    orders[k, o.INFERRED] = 0
    memory.marks[o.OPEN] += 1
    if orders[k, o.ENDS_NS] != 0:
        _set_deadline(memory, k, o.END, orders[k, o.ENDS_NS])


# ---- what an event changes


@part
def _take_values(orders, k, line):  # type: ignore[no-untyped-def]
    """Price and total quantity that the venue told, unless newer ones are known."""
    if line[o.L_EVENT_NS] < orders[k, o.AMENDED_NS]:
        return
    if line[o.L_PRICE] > 0:
        orders[k, o.PRICE] = line[o.L_PRICE]
    if line[o.L_QUANTITY] > 0:
        orders[k, o.QUANTITY] = line[o.L_QUANTITY]
    orders[k, o.AMENDED_NS] = line[o.L_EVENT_NS]


@part
def _nothing_wanted(orders, k):  # type: ignore[no-untyped-def]
    orders[k, o.WANTED_PRICE] = 0
    orders[k, o.WANTED_QUANTITY] = 0


@part
def _note_told(orders, k, before, line):  # type: ignore[no-untyped-def]
    """The venue told of more fills than we have. Its last word on the state counts when they have come."""
    kind, told = line[o.L_REPORT], line[o.L_FILLED]
    orders[k, o.TOLD_FILLED] = max(orders[k, o.TOLD_FILLED], told)
    end = 0
    if kind == _CANCELLED:
        end = ev.S_CANCELLED
    elif kind == _EXPIRED:
        end = ev.S_EXPIRED
    elif kind == o.STATUS:
        end = line[o.L_STATE] if _is_over(line[o.L_STATE]) else 0
        _take_values(orders, k, line)
        if end == ev.S_FILLED:
            orders[k, o.QUANTITY] = orders[k, o.TOLD_FILLED]
    if end != 0 or kind == o.STATUS:
        orders[k, o.QUESTIONS] = 0
        _nothing_wanted(orders, k)
    if end == 0 and _is_over(before):
        if can_rise(orders, k):
            orders[k, o.QUESTIONS] |= ev.ASKED_LOOK
        else:
            end = before
    if end != 0:
        orders[k, o.TOLD_END] = end


@part
def _note(memory, rules, k, event, before, line):  # type: ignore[no-untyped-def]
    """What the event changes about the order, beside its state."""
    orders = memory.orders
    orders[k, o.QUESTIONS] &= ~rules.effects[event, ANSWERED]
    orders[k, o.QUESTIONS] |= rules.effects[event, RAISED]
    if event == ev.DOUBTFUL and orders[k, o.KNOWN] == 0:
        orders[k, o.REFUSED] = 1
    if rules.effects[event, PROVEN] != 0:
        orders[k, o.KNOWN] = 1
    if line[o.L_VENUE_ID] != 0:
        orders[k, o.VENUE_ID] = line[o.L_VENUE_ID]
    if ev.FILL_PART <= event <= ev.FILL_OVER:
        orders[k, o.FILLED] += line[o.L_QUANTITY]
        orders[k, o.NOTIONAL] += line[o.L_NOTIONAL]
    elif ev.AMENDED <= event <= ev.AMENDED_UNASKED:
        _take_values(orders, k, line)
        if event != ev.AMENDED_UNASKED:
            _nothing_wanted(orders, k)
    elif event == ev.AMEND_REJECTED or event == ev.AMEND_REJECTED_FULL:
        _nothing_wanted(orders, k)
    elif event == ev.CANCEL_REJECTED:
        orders[k, o.CANCEL_WANTED] = 0
        if orders[k, o.ENDS_NS] != 0 and orders[k, o.ENDS_NS] <= line[o.L_RECV_NS]:
            _set_deadline(memory, k, o.END, line[o.L_RECV_NS] + rules.settings[o.ANSWER_TIMEOUT_NS])
    elif event == ev.STATUS_WORKING:
        _take_values(orders, k, line)
        _nothing_wanted(orders, k)
    elif event == ev.STATUS_FILLED:
        orders[k, o.QUANTITY] = orders[k, o.FILLED]
    elif event == ev.ACKNOWLEDGED:
        _take_values(orders, k, line)
    elif event == ev.AHEAD:
        _note_told(orders, k, before, line)
    elif event == ev.SENT:
        orders[k, o.SENT] = 1
    elif event == ev.TRIGGERED_EVENT:
        orders[k, o.TRIGGERED] = 1
    elif event == ev.ABSENT_STALE and before == ev.S_UNKNOWN:
        orders[k, o.INFERRED] = 1


@part
def _code_of(orders, k, event, before, line):  # type: ignore[no-untyped-def]
    """What the order row's `code` says when this event changes it."""
    if event == ev.SUBMIT_LATE:
        return o.OUR_STALE
    if event == ev.REFUSE:
        return o.OUR_FULL
    if event == ev.CHANGE_DENIED:
        return o.OUR_DENIED if line[o.L_REASONS] != 0 else o.OUR_STALE
    if event == ev.ABSENT_STALE and before == ev.S_UNKNOWN:
        return orders[k, o.CODE] if orders[k, o.REFUSED] == 1 else o.OUR_ABSENT
    return line[o.L_CODE]


@part
def _rest(orders, k):  # type: ignore[no-untyped-def]
    if orders[k, o.QUESTIONS] != 0 or orders[k, o.TOLD_FILLED] > orders[k, o.FILLED]:
        return ev.S_UNKNOWN
    if orders[k, o.TOLD_END] != 0:
        return orders[k, o.TOLD_END]
    return ev.S_PARTIAL if orders[k, o.FILLED] > 0 else ev.S_OPEN


@part
def _is_immediate(orders, k):  # type: ignore[no-untyped-def]
    time = orders[k, o.TIME_IN_FORCE]
    return time in (_IOC, _FOK) or orders[k, o.KIND] == _MARKET


@part
def _enter(memory, rules, k, before, now_ns):  # type: ignore[no-untyped-def]
    """Timers and books of the new state."""
    orders, state = memory.orders, memory.orders[k, o.STATE]
    if state == before or k == o.PASSING:
        return
    if _is_over(state):
        if not _is_over(before):
            _close(memory, k)
        return
    if _is_over(before):
        _reopen(memory, k)
    if state == ev.S_UNKNOWN:
        if orders[k, o.QUESTIONS] == 0 and orders[k, o.TOLD_FILLED] <= orders[k, o.FILLED]:
            orders[k, o.QUESTIONS] = ev.ASKED_LOOK
        orders[k, o.ROUND] = 0
        _set_deadline(memory, k, o.ANSWER, now_ns + rules.settings[o.QUERY_INTERVAL_NS])
    elif state == ev.S_PENDING_SUBMIT or _is_immediate(orders, k):
        _set_deadline(memory, k, o.ANSWER, now_ns + rules.settings[o.ANSWER_TIMEOUT_NS])
    else:
        memory.deadlines[k, o.ANSWER] = o.NEVER_NS


# ---- rows that come out


@part
def _write_order(orders, k, before, alarm, line, rows, at):  # type: ignore[no-untyped-def]
    row = rows[at]
    row["ts_event_ns"], row["ts_recv_ns"], row["cause_row"] = line[o.L_EVENT_NS], line[o.L_RECV_NS], line[o.L_CAUSE]
    row["order_id"], row["tag"], row["venue_order_id"] = orders[k, o.ID], orders[k, o.TAG], orders[k, o.VENUE_ID]
    row["price_e8"], row["stop_price_e8"] = orders[k, o.PRICE], orders[k, o.STOP_PRICE]
    row["quantity_e8"], row["filled_e8"] = orders[k, o.QUANTITY], orders[k, o.FILLED]
    row["filled_notional_e8"] = orders[k, o.NOTIONAL]
    row["wanted_price_e8"], row["wanted_quantity_e8"] = orders[k, o.WANTED_PRICE], orders[k, o.WANTED_QUANTITY]
    row["expires_ns"], row["valid_until_ns"] = orders[k, o.EXPIRES_NS], orders[k, o.VALID_NS]
    row["instrument"], row["account"] = orders[k, o.INSTRUMENT], orders[k, o.ACCOUNT]
    row["strategy"] = orders[k, o.STRATEGY]
    row["side"], row["kind"] = orders[k, o.SIDE], orders[k, o.KIND]
    row["time_in_force"], row["flags"] = orders[k, o.TIME_IN_FORCE], orders[k, o.FLAGS]
    row["state"], row["alarm"] = orders[k, o.STATE], alarm
    row["before"] = _NEW if before == _NOT_YET else before
    row["attempt"], row["code"] = orders[k, o.ATTEMPT], orders[k, o.CODE]


@part
def _write_command(orders, k, kind, line, rows, at):  # type: ignore[no-untyped-def]
    row = rows[at]
    row["ts_event_ns"], row["ts_recv_ns"], row["cause_row"] = line[o.L_EVENT_NS], line[o.L_RECV_NS], line[o.L_CAUSE]
    row["order_id"], row["stop_price_e8"] = orders[k, o.ID], orders[k, o.STOP_PRICE]
    row["price_e8"], row["quantity_e8"] = orders[k, o.PRICE], orders[k, o.QUANTITY]
    if kind == _AMEND:
        row["price_e8"], row["quantity_e8"] = orders[k, o.WANTED_PRICE], orders[k, o.WANTED_QUANTITY]
    row["expires_ns"], row["valid_until_ns"] = orders[k, o.EXPIRES_NS], orders[k, o.VALID_NS]
    row["instrument"], row["account"] = orders[k, o.INSTRUMENT], orders[k, o.ACCOUNT]
    row["strategy"] = orders[k, o.STRATEGY]
    row["side"], row["kind"] = orders[k, o.SIDE], orders[k, o.KIND]
    row["time_in_force"], row["flags"] = orders[k, o.TIME_IN_FORCE], orders[k, o.FLAGS]
    row["command"], row["attempt"] = kind, orders[k, o.ATTEMPT]
    row["reserved_a"], row["reserved_b"] = 0, 0


@part
def _write_fill(orders, k, line, rows, at):  # type: ignore[no-untyped-def]
    row = rows[at]
    row["ts_event_ns"], row["ts_recv_ns"], row["cause_row"] = line[o.L_EVENT_NS], line[o.L_RECV_NS], line[o.L_CAUSE]
    row["order_id"], row["trade_id"] = orders[k, o.ID], line[o.L_TRADE]
    row["venue_order_id"] = line[o.L_VENUE_ID] if line[o.L_VENUE_ID] != 0 else orders[k, o.VENUE_ID]
    row["price_e8"], row["quantity_e8"], row["fee_e8"] = line[o.L_PRICE], line[o.L_QUANTITY], line[o.L_FEE]
    row["instrument"], row["account"] = orders[k, o.INSTRUMENT], orders[k, o.ACCOUNT]
    row["strategy"], row["fee_asset"] = orders[k, o.STRATEGY], line[o.L_FEE_ASSET]
    row["side"], row["maker"] = line[o.L_SIDE], line[o.L_MAKER]
    row["reserved_a"], row["reserved_b"] = 0, 0
    row["realised_e8"] = line[o.L_REALISED]


@part
def _query_interval(orders, k, settings):  # type: ignore[no-untyped-def]
    """Doubling up to a bound; once an hour when the attempts cannot be counted any more."""
    if orders[k, o.QUERIES] >= _ATTEMPT_MAX:
        return max(_HOUR_NS, settings[o.QUERY_INTERVAL_MAX_NS])
    interval = settings[o.QUERY_INTERVAL_NS]
    for _ in range(min(orders[k, o.ROUND], 40)):
        interval = min(2 * interval, settings[o.QUERY_INTERVAL_MAX_NS])
    return interval


@part
def _send(memory, rules, k, kind, line, out, cursor):  # type: ignore[no-untyped-def]
    """Command the gateway, and say when an answer is due."""
    orders, settings, now_ns = memory.orders, rules.settings, line[o.L_RECV_NS]
    due_ns = now_ns + settings[o.ANSWER_TIMEOUT_NS]
    valid_ns = now_ns + settings[o.COMMAND_VALIDITY_NS]
    counted = o.SUBMITS + kind  # the four columns stand in the order of CommandKind
    orders[k, counted] = min(orders[k, counted] + 1, _ATTEMPT_MAX)
    if kind == _SUBMIT:
        orders[k, o.QUESTIONS] = ev.ASKED_SUBMIT
        orders[k, o.SENT] = 0
        orders[k, o.SUBMITTED_NS] = now_ns
        valid_ns = orders[k, o.SUBMIT_VALID_NS]
    elif kind == _AMEND:
        orders[k, o.QUESTIONS] |= ev.ASKED_AMEND
        orders[k, o.WANTED_PRICE] = line[o.L_PRICE] if line[o.L_PRICE] > 0 else orders[k, o.PRICE]
        orders[k, o.WANTED_QUANTITY] = line[o.L_QUANTITY]
        valid_ns = line[o.L_VALID_NS]
    elif kind == _CANCEL:
        orders[k, o.QUESTIONS] |= ev.ASKED_CANCEL
    else:
        due_ns = now_ns + _query_interval(orders, k, settings)
        valid_ns = due_ns
        orders[k, o.ROUND] += 1
    orders[k, o.ATTEMPT] = orders[k, counted]
    orders[k, o.VALID_NS] = valid_ns
    _set_deadline(memory, k, o.ANSWER, due_ns)
    _write_command(orders, k, kind, line, out.commands, cursor[COMMANDS])
    cursor[COMMANDS] += 1


# ---- one event


@part
def _step(memory, rules, k, event, line, out, cursor):  # type: ignore[no-untyped-def]
    """Take one cell of the table."""
    orders = memory.orders
    before = orders[k, o.STATE]
    memory.steps[before, event] += 1
    alarm = rules.table[before, event, ALARM]
    if alarm == _REPEATED:
        if orders[k, o.REPEATED] == 1:
            return
        orders[k, o.REPEATED] = 1
    else:
        orders[k, o.REPEATED] = 0
    if alarm != _REPEATED and alarm != _IMPOSSIBLE:
        _carry_out(memory, rules, k, event, before, line, out, cursor)
    _write_order(orders, k, before, alarm, line, out.orders, cursor[ORDERS])
    cursor[ORDERS] += 1


@part
def _carry_out(memory, rules, k, event, before, line, out, cursor):  # type: ignore[no-untyped-def]
    """Everything a cell says, but its order row."""
    orders = memory.orders
    _note(memory, rules, k, event, before, line)
    if ev.FILL_PART <= event <= ev.FILL_OVER:
        _write_fill(orders, k, line, out.fills, cursor[FILLS])
        cursor[FILLS] += 1
    if rules.table[before, event, HOLD] == 1:
        orders[k, o.CANCEL_WANTED] = 1
    state = rules.table[before, event, NEXT]
    if state == _SAME:
        state = before
    elif state == _REST:
        state = _rest(orders, k)
    code = _code_of(orders, k, event, before, line)
    if code != 0 or state != before:
        orders[k, o.CODE] = code
    orders[k, o.STATE] = state
    _enter(memory, rules, k, before, line[o.L_RECV_NS])
    command = rules.table[before, event, COMMAND]
    if command != _NO_COMMAND:
        _send(memory, rules, k, command, line, out, cursor)


@part
def _happen(memory, rules, k, event, line, out, cursor):  # type: ignore[no-untyped-def]
    """An event, and what it brings with it: fills that must be missing, an end in doubt, a cancel that was held."""
    orders = memory.orders
    _step(memory, rules, k, event, line, out, cursor)
    if ev.FILL_PART <= event <= ev.FILL_OVER:
        if line[o.L_FILLED] > max(orders[k, o.FILLED], orders[k, o.TOLD_FILLED]):
            _step(memory, rules, k, ev.AHEAD, line, out, cursor)
        elif can_rise(orders, k):
            _step(memory, rules, k, ev.RISEN, line, out, cursor)
    state = orders[k, o.STATE]
    if orders[k, o.CANCEL_WANTED] == 1 and (state == ev.S_OPEN or state == ev.S_PARTIAL):
        _step(memory, rules, k, ev.CANCEL, line, out, cursor)


# ---- reports


@part
def _put_aside(out, cursor, i, reason, fault):  # type: ignore[no-untyped-def]
    at = cursor[DEAD]
    out.dead[at, 0], out.dead[at, 1], out.dead[at, 2] = i, reason, fault
    cursor[DEAD] += 1


@part
def _has_room(out, cursor):  # type: ignore[no-untyped-def]
    rows = min(
        min(len(out.orders) - cursor[ORDERS], len(out.commands) - cursor[COMMANDS]), len(out.fills) - cursor[FILLS]
    )
    return rows >= ROWS_PER_INPUT and cursor[DEAD] < len(out.dead)


@part
def _remember_fill(memory, line):  # type: ignore[no-untyped-def]
    """The oldest one is forgotten when the ring is full."""
    at = memory.marks[o.SEEN] % len(memory.seen)
    if memory.marks[o.SEEN] >= len(memory.seen):
        remove_pair(memory.seen_places, memory.seen, at)
    memory.seen[at, 0], memory.seen[at, 1] = line[o.L_ORDER], line[o.L_TRADE]
    enter_pair(memory.seen_places, memory.seen, at)
    memory.marks[o.SEEN] += 1


@part
def _agrees(orders, k, line):  # type: ignore[no-untyped-def]
    """Whether a report can be about this order. Of an adopted one it is learned who it is of."""
    adopted = orders[k, o.SUBMITS] == 0
    instrument, account = orders[k, o.INSTRUMENT], orders[k, o.ACCOUNT]
    if line[o.L_INSTRUMENT] != 0 and line[o.L_INSTRUMENT] != instrument and not (adopted and instrument == 0):
        return False
    if line[o.L_ACCOUNT] != 0 and line[o.L_ACCOUNT] != account and not (adopted and account == 0):
        return False
    same_side = line[o.L_SIDE] == orders[k, o.SIDE] or (adopted and orders[k, o.FILLED] == 0)
    return line[o.L_REPORT] != o.FILL or same_side


@part
def _learn(orders, k, line):  # type: ignore[no-untyped-def]
    """Who an adopted order is of, from what the venue says of it."""
    if orders[k, o.SUBMITS] != 0:
        return
    if orders[k, o.FILLED] == 0 and (line[o.L_REPORT] == o.FILL or line[o.L_REPORT] == o.STATUS):
        orders[k, o.SIDE] = line[o.L_SIDE]
    if orders[k, o.INSTRUMENT] == 0:
        orders[k, o.INSTRUMENT] = line[o.L_INSTRUMENT]
    if orders[k, o.ACCOUNT] == 0:
        orders[k, o.ACCOUNT] = line[o.L_ACCOUNT]


@part
def _new_line(memory, line):  # type: ignore[no-untyped-def]
    k = _take_line(memory)
    memory.orders[k, o.ID] = line[o.L_ORDER]
    enter_pair(memory.places, memory.orders, k)
    memory.marks[o.OPEN] += 1
    memory.deadlines[k, :] = o.NEVER_NS
    _fill_in(memory.orders, k, line)
    return k


@part
def _fill_in(orders, k, line):  # type: ignore[no-untyped-def]
    """What a decision or a report says of an order that begins."""
    orders[k, o.ID], orders[k, o.TAG], orders[k, o.STATE] = line[o.L_ORDER], line[o.L_TAG], _NOT_YET
    orders[k, o.INSTRUMENT], orders[k, o.ACCOUNT] = line[o.L_INSTRUMENT], line[o.L_ACCOUNT]
    orders[k, o.STRATEGY], orders[k, o.SIDE] = line[o.L_STRATEGY], line[o.L_SIDE]
    if line[o.L_REPORT] != o.FILL:  # price and quantity of a fill are not the order's
        orders[k, o.PRICE], orders[k, o.QUANTITY] = line[o.L_PRICE], line[o.L_QUANTITY]
    orders[k, o.STOP_PRICE], orders[k, o.EXPIRES_NS] = line[o.L_STOP_PRICE], line[o.L_EXPIRES_NS]
    orders[k, o.SUBMIT_VALID_NS], orders[k, o.VALID_NS] = line[o.L_VALID_NS], line[o.L_VALID_NS]
    orders[k, o.KIND], orders[k, o.TIME_IN_FORCE] = line[o.L_KIND], line[o.L_TIME_IN_FORCE]
    orders[k, o.FLAGS] = line[o.L_FLAGS]


@part
def _adopt(memory, rules, line, out, cursor):  # type: ignore[no-untyped-def]
    """An order that only the venue, or the gateway, knows. Its state is UNKNOWN until the venue has told it."""
    kind = line[o.L_REPORT]
    k = _new_line(memory, line)
    told = kind in (o.STATUS, _CANCELLED, _EXPIRED, _REJECTED, _ABSENT)
    _step(memory, rules, k, ev.ADOPT_TOLD if told else ev.ADOPT, line, out, cursor)
    if kind not in (_SENT, _UNKNOWN, _REJECTED, _ABSENT):
        memory.orders[k, o.KNOWN] = 1
    if told or kind == o.FILL:
        event = event_of_report(memory.orders, k, line, rules.settings)
        _happen(memory, rules, k, event, line, out, cursor)


@part
def _fault_of_place(memory, rules, k, line):  # type: ignore[no-untyped-def]
    """(reason, fault) of a report that what is kept does not admit; (-1, -1) when it does."""
    orders = memory.orders
    if line[o.L_REPORT] == o.FILL and find_pair(memory.seen_places, memory.seen, line[o.L_ORDER], line[o.L_TRADE]) >= 0:
        return (_LATE, o.NO_ORDER) if k < 0 else (-1, -1)
    if k < 0:
        return (_LIMIT, o.NO_ROOM) if memory.marks[o.OPEN] >= rules.settings[o.OPEN_MAX] else (-1, -1)
    if not _agrees(orders, k, line):
        return (_UNEXPECTED, o.MISMATCH)
    if line[o.L_REPORT] == o.FILL and (
        orders[k, o.FILLED] > o.I64_MAX - line[o.L_QUANTITY] or orders[k, o.NOTIONAL] > o.I64_MAX - line[o.L_NOTIONAL]
    ):
        return (_OUT_OF_RANGE, o.TOO_MUCH)
    return (-1, -1)


@part
def _take_report(memory, rules, k, line, out, cursor):  # type: ignore[no-untyped-def]
    if line[o.L_REPORT] == o.FILL:
        if find_pair(memory.seen_places, memory.seen, line[o.L_ORDER], line[o.L_TRADE]) >= 0:
            _step(memory, rules, k, ev.REPEAT, line, out, cursor)
            return
        _remember_fill(memory, line)
    if k < 0:
        _adopt(memory, rules, line, out, cursor)
    else:
        _learn(memory.orders, k, line)
        event = event_of_report(memory.orders, k, line, rules.settings)
        _happen(memory, rules, k, event, line, out, cursor)


@kernel
def take_reports(rows, row_first, start, memory, rules, out, cursor):  # type: ignore[no-untyped-def]
    """Take reports from `start` on. Returns why it stopped; `cursor[AT]` is the row that comes next."""
    cursor[:] = 0
    line = np.zeros(o.LINE, dtype=np.int64)
    for i in range(start, len(rows)):
        cursor[AT] = i
        if not _has_room(out, cursor):
            return FULL
        read_report(rows, i, row_first + i, line)
        fault = fault_of_report(line)
        if fault >= 0:
            _put_aside(out, cursor, i, _OUT_OF_RANGE, fault)
            continue
        if line[o.L_RECV_NS] >= memory.marks[o.BOUND_NS]:
            return TIMER_DUE
        full = memory.marks[o.SEEN] == len(memory.seen) and len(memory.seen) < rules.settings[o.SEEN_MAX]
        if full or not _has_line(memory, rules.settings):
            return LINES_WANTED
        k = find_pair(memory.places, memory.orders, line[o.L_ORDER], 0)
        reason, fault = _fault_of_place(memory, rules, k, line)
        if fault >= 0:
            _put_aside(out, cursor, i, reason, fault)
            continue
        _take_report(memory, rules, k, line, out, cursor)
    cursor[AT] = len(rows)
    return DONE


# ---- decisions


@part
def _end_of(line, settings):  # type: ignore[no-untyped-def]
    """When the order itself ends by our clock; 0: the venue or nobody ends it."""
    if line[o.L_TIME_IN_FORCE] == _GTD:
        return 0 if settings[o.GTD_BY_VENUE] == 1 else line[o.L_EXPIRES_NS]
    if line[o.L_TIME_IN_FORCE] != _DAY:
        return 0
    offset = settings[o.DAY_END_NS]
    return (line[o.L_RECV_NS] - offset) // o.DAY_NS * o.DAY_NS + o.DAY_NS + offset


@part
def _tell(memory, rules, event, line, out, cursor):  # type: ignore[no-untyped-def]
    """The row of an order that is not kept."""
    _fill_in(memory.orders, o.PASSING, line)
    _step(memory, rules, o.PASSING, event, line, out, cursor)
    memory.orders[o.PASSING, :] = 0


@part
def _take_new(memory, rules, k, i, line, out, cursor):  # type: ignore[no-untyped-def]
    now_ns = line[o.L_RECV_NS]
    if k >= 0:
        _step(memory, rules, k, ev.REPEAT, line, out, cursor)
    elif line[o.L_REASONS] != 0:
        _tell(memory, rules, ev.DENY, line, out, cursor)
    elif line[o.L_VALID_NS] < now_ns or (line[o.L_TIME_IN_FORCE] == _GTD and line[o.L_EXPIRES_NS] <= now_ns):
        _tell(memory, rules, ev.SUBMIT_LATE, line, out, cursor)
    elif memory.marks[o.OPEN] >= rules.settings[o.OPEN_MAX]:
        _put_aside(out, cursor, i, _LIMIT, o.NO_ROOM)
        _tell(memory, rules, ev.REFUSE, line, out, cursor)
    else:
        k = _new_line(memory, line)
        ends_ns = _end_of(line, rules.settings)
        memory.orders[k, o.ENDS_NS] = ends_ns
        if ends_ns != 0:
            _set_deadline(memory, k, o.END, ends_ns)
        _step(memory, rules, k, ev.SUBMIT, line, out, cursor)


@part
def _take_change(memory, rules, k, i, line, out, cursor):  # type: ignore[no-untyped-def]
    if k >= 0:
        event = event_of_change(memory.orders, k, line)
        _step(memory, rules, k, event, line, out, cursor)
    elif line[o.L_REASONS] == 0:
        _put_aside(out, cursor, i, _UNEXPECTED, o.NO_ORDER)


@kernel
def take_decisions(rows, row_first, start, memory, rules, out, cursor):  # type: ignore[no-untyped-def]
    """Take decisions from `start` on, like `take_reports`. CANCEL_ALL: `cancel_all` is to take row `cursor[AT]`."""
    cursor[:] = 0
    line = np.zeros(o.LINE, dtype=np.int64)
    for i in range(start, len(rows)):
        cursor[AT] = i
        if not _has_room(out, cursor):
            return FULL
        read_decision(rows, i, row_first + i, line)
        line[o.L_REPORT] = -1
        fault = fault_of_decision(line)
        if fault >= 0:
            _put_aside(out, cursor, i, _OUT_OF_RANGE, fault)
            continue
        if line[o.L_RECV_NS] >= memory.marks[o.BOUND_NS]:
            return TIMER_DUE
        if not _has_line(memory, rules.settings):
            return LINES_WANTED
        if line[o.L_ACTION] == o.CANCEL_ALL_ACTION:
            if line[o.L_REASONS] == 0:
                return CANCEL_ALL
            continue
        k = find_pair(memory.places, memory.orders, line[o.L_ORDER], 0)
        if line[o.L_ACTION] == o.NEW_ACTION:
            _take_new(memory, rules, k, i, line, out, cursor)
        else:
            _take_change(memory, rules, k, i, line, out, cursor)
    cursor[AT] = len(rows)
    return DONE


@kernel
def cancel_all(rows, row_first, i, lines, start, memory, rules, out, cursor):  # type: ignore[no-untyped-def]
    """Cancel the orders of `lines`, from `start` on, as decision `i` says. `cursor[AT]` is what comes next."""
    cursor[:] = 0
    line = np.zeros(o.LINE, dtype=np.int64)
    read_decision(rows, i, row_first + i, line)
    for at in range(start, len(lines)):
        cursor[AT] = at
        if not _has_room(out, cursor):
            return FULL
        _step(memory, rules, lines[at], ev.CANCEL, line, out, cursor)
    cursor[AT] = len(lines)
    return DONE


# ---- time


@part
def _earliest(memory):  # type: ignore[no-untyped-def]
    """(deadline, order line, which) of the timer that fires first. Ties: by order id, so that lines do not matter."""
    best_ns, best_k, best_which = o.NEVER_NS, -1, 0
    for k in range(1, memory.marks[o.USED]):
        for which in range(2):
            at_ns = memory.deadlines[k, which]
            if at_ns < best_ns or (
                at_ns == best_ns and best_k > 0 and memory.orders[k, o.ID] < memory.orders[best_k, o.ID]
            ):
                best_ns, best_k, best_which = at_ns, k, which
    return best_ns, best_k, best_which


@kernel
def earliest_deadline(memory):  # type: ignore[no-untyped-def]
    return _earliest(memory)[0]


@kernel
def fire_due(now_ns, memory, rules, out, cursor):  # type: ignore[no-untyped-def]
    """Fire deadlines ≤ now_ns, oldest first, rows stamped with the deadline. FULL: call again to go on."""
    cursor[:] = 0
    line = np.zeros(o.LINE, dtype=np.int64)
    while True:
        if not _has_room(out, cursor):
            return FULL
        due_ns, k, which = _earliest(memory)
        memory.marks[o.BOUND_NS] = due_ns
        if due_ns > now_ns or k < 0:
            return DONE
        memory.deadlines[k, which] = o.NEVER_NS
        line[o.L_RECV_NS], line[o.L_EVENT_NS] = due_ns, due_ns
        if which == o.ANSWER:
            _happen(memory, rules, k, ev.UNANSWERED, line, out, cursor)
        elif memory.orders[k, o.CANCEL_WANTED] == 0:
            _happen(memory, rules, k, ev.DEADLINE, line, out, cursor)
