"""The life of an order as a table: (state, event) → (next state, command, alarm).

An *event* is an input after it was compared with what is known of the order: a FILL report is FILL_PART, FILL_FULL or
FILL_OVER, a STATUS that tells of more fills than were seen is AHEAD. That comparison is `processors/kernels/orders.py`;
what follows from an event is only here. tests/unit/test_order_transitions.py exercises every cell but those of
`never`, which cannot come up for the reasons in `NEVER_WHY`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schemas.trading import TERMINAL_STATES, Alarm, CommandKind, OrderState

NOT_YET = 12  # the state of an order before its first row; beside the members of OrderState
STATES = 13
SAME = 20  # next state: as it was
REST = (
    21  # next state: UNKNOWN while a question is open, then the end that the venue told, else OPEN or PARTIALLY_FILLED
)
NO_COMMAND = -1


class OrderEvent(enum.IntEnum):
    """What happens to an order. Decisions first, then what time does, then what the venue and the gateway say."""

    SUBMIT = 0  # approved, in time
    SUBMIT_LATE = 1  # approved, but past its validity or its own end
    DENY = 2  # denied by risk
    REFUSE = 3  # approved, but more orders are open than the rule may hold
    ADOPT = 4  # a report of an order that we do not know
    ADOPT_TOLD = 5  # the same, and the report says all there is to ask
    AMEND = 6  # approved; leaves something to fill
    AMEND_UNDER = 7  # approved; to no more than what is filled: a cancel
    CHANGE_DENIED = 8  # an amend or cancel that risk denied, or an amend past its validity
    CANCEL = 9  # approved, or a held cancel that may go now
    DEADLINE = 10  # a GTD or DAY order has reached its end
    UNANSWERED = 11  # no answer in time; an immediate order that still rests; time to ask again
    SENT = 12
    ACKNOWLEDGED = 13  # the first time
    TRIGGERED = 14
    FILL_PART = 15  # something is left
    FILL_FULL = 16
    FILL_OVER = 17  # more than was wanted
    AMENDED = 18  # as asked; something is left
    AMENDED_FULL = 19  # as asked; nothing is left
    AMENDED_UNDER = 20  # as asked, but more is filled
    AMENDED_UNASKED = 21  # to something that is not being asked for
    AMEND_REJECTED = 22
    AMEND_REJECTED_FULL = 23  # and nothing is left of the quantity in force
    CANCELLED = 24
    CANCEL_REJECTED = 25
    REJECTED = 26
    DOUBTFUL = 27  # REJECTED, of an order that was acknowledged or sent more than once: an attempt may be alive
    EXPIRED = 28
    STATUS_WORKING = 29
    STATUS_FILLED = 30
    AHEAD = 31  # the venue has filled more than the fills that we were told of
    UNKNOWN = 32
    ABSENT_FRESH = 33  # never was there, and may still be sent
    ABSENT_STALE = 34  # is not there, and may not be sent again
    ABSENT_EARLIER = 35  # speaks of an earlier attempt
    RISEN = 36  # a sign of life of an order that was closed without the venue's word, or after its refusal
    REPEAT = 37  # said before, or older than what is known


EVENTS = len(OrderEvent)
_S, _E, _A = OrderState, OrderEvent, Alarm
_SUBMIT, _AMEND, _CANCEL, _QUERY = CommandKind.SUBMIT, CommandKind.AMEND, CommandKind.CANCEL, CommandKind.QUERY


class Cell(NamedTuple):
    """What follows from an event in a state.

    Attributes:
        next: an OrderState, SAME or REST.
        command: a CommandKind, or NO_COMMAND.
        alarm: of the order row.
        hold: a cancel is wanted until the order is over; it goes out as soon as nothing else is in flight.
    """

    next: int
    command: int = NO_COMMAND
    alarm: Alarm = Alarm.NONE
    hold: bool = False


class Question(enum.IntFlag):
    """What about an order is not known. While one is open, an UNKNOWN order stays UNKNOWN."""

    SUBMIT = 1
    AMEND = 2
    CANCEL = 4
    LOOK = 8  # its whole state


_KEEP = Cell(SAME)
_HELD = Cell(SAME, hold=True)
_REPEATED = Cell(SAME, alarm=_A.REPEATED)
_IMPOSSIBLE = Cell(SAME, alarm=_A.IMPOSSIBLE)
_ASK = Cell(_S.UNKNOWN, _QUERY)
_REST = Cell(REST)
_SEND_CANCEL = Cell(_S.PENDING_CANCEL, _CANCEL, hold=True)
_MISSING = Cell(_S.UNKNOWN, _QUERY, _A.MISSING_FILLS)
_Cells = dict[OrderEvent, Cell]

_LIVE: _Cells = {  # every state before the end
    _E.AMEND: _IMPOSSIBLE,
    _E.AMEND_UNDER: _IMPOSSIBLE,
    _E.CHANGE_DENIED: _KEEP,
    _E.CANCEL: _HELD,
    _E.DEADLINE: _HELD,
    _E.UNANSWERED: _ASK,
    _E.SENT: _REPEATED,
    _E.TRIGGERED: _KEEP,
    _E.FILL_PART: _KEEP,
    _E.FILL_FULL: Cell(_S.FILLED),
    _E.FILL_OVER: Cell(_S.FILLED, alarm=_A.OVERFILL),
    _E.AMENDED_UNASKED: _KEEP,
    _E.CANCELLED: Cell(_S.CANCELLED),
    _E.REJECTED: Cell(_S.REJECTED),
    _E.DOUBTFUL: _ASK,
    _E.EXPIRED: Cell(_S.EXPIRED),
    _E.STATUS_WORKING: _REPEATED,
    _E.STATUS_FILLED: Cell(_S.FILLED),
    _E.AHEAD: _MISSING,
    _E.UNKNOWN: _ASK,
    _E.ABSENT_STALE: _ASK,
    _E.ABSENT_EARLIER: _REPEATED,
    _E.REPEAT: _REPEATED,
}
_AMEND_ANSWERS: _Cells = {
    _E.AMENDED: _REST,
    _E.AMENDED_FULL: Cell(_S.FILLED),
    _E.AMENDED_UNDER: Cell(_S.FILLED, alarm=_A.OVERFILL),
    _E.AMEND_REJECTED: _REST,
    _E.AMEND_REJECTED_FULL: Cell(_S.FILLED),
}
_SUBMITTED: _Cells = _LIVE | {  # not acknowledged yet
    _E.ACKNOWLEDGED: _REST,
    _E.TRIGGERED: _REST,
    _E.FILL_PART: _REST,
    _E.AMENDED_UNASKED: _REST,
    _E.STATUS_WORKING: _REST,
    _E.ABSENT_FRESH: _ASK,
}
_RESTING: _Cells = _LIVE | {
    _E.AMEND: Cell(_S.PENDING_AMEND, _AMEND),
    _E.AMEND_UNDER: _SEND_CANCEL,
    _E.CANCEL: _SEND_CANCEL,
    _E.DEADLINE: _SEND_CANCEL,
    _E.FILL_PART: _REST,
    _E.UNKNOWN: _REPEATED,  # of a command that was answered on the other way
}
_ENDED: _Cells = {
    _E.AMEND: _IMPOSSIBLE,
    _E.AMEND_UNDER: _IMPOSSIBLE,
    _E.CHANGE_DENIED: _KEEP,
    _E.CANCEL: _IMPOSSIBLE,
    _E.SENT: _REPEATED,
    _E.FILL_PART: Cell(SAME, alarm=_A.LATE),
    _E.FILL_FULL: Cell(_S.FILLED, alarm=_A.LATE),
    _E.FILL_OVER: Cell(_S.FILLED, alarm=_A.OVERFILL),
    _E.AMENDED_UNASKED: _REPEATED,
    _E.CANCELLED: _REPEATED,
    _E.REJECTED: _REPEATED,
    _E.DOUBTFUL: _REPEATED,
    _E.EXPIRED: _REPEATED,
    _E.STATUS_WORKING: _REPEATED,
    _E.STATUS_FILLED: _REPEATED,
    _E.AHEAD: _MISSING,
    _E.UNKNOWN: _REPEATED,
    _E.RISEN: Cell(_S.UNKNOWN, _QUERY, _A.LATE),
    _E.REPEAT: _REPEATED,
}


def _without(cells: _Cells, *events: OrderEvent) -> _Cells:
    return {event: cell for event, cell in cells.items() if event not in events}


_NOTHING_FILLED = (_E.AMEND_UNDER, _E.STATUS_FILLED)  # need something filled

TRANSITIONS: Mapping[int, Mapping[OrderEvent, Cell]] = {
    NOT_YET: {
        _E.SUBMIT: Cell(_S.NEW, _SUBMIT),
        _E.SUBMIT_LATE: Cell(_S.EXPIRED),
        _E.DENY: Cell(_S.DENIED),
        _E.REFUSE: Cell(_S.REJECTED),
        _E.ADOPT: Cell(_S.UNKNOWN, _QUERY, _A.ADOPTED),
        _E.ADOPT_TOLD: Cell(_S.UNKNOWN, alarm=_A.ADOPTED),
    },
    _S.NEW: _without(_SUBMITTED, *_NOTHING_FILLED) | {_E.SENT: Cell(_S.PENDING_SUBMIT)},
    _S.PENDING_SUBMIT: _without(_SUBMITTED, *_NOTHING_FILLED),
    _S.UNKNOWN: _SUBMITTED
    | _AMEND_ANSWERS
    | {
        _E.UNANSWERED: Cell(SAME, _QUERY),
        _E.SENT: _KEEP,
        _E.CANCEL_REJECTED: _KEEP,
        _E.DOUBTFUL: _KEEP,
        _E.AHEAD: Cell(SAME, alarm=_A.MISSING_FILLS),
        _E.UNKNOWN: _REPEATED,
        _E.ABSENT_FRESH: Cell(_S.NEW, _SUBMIT),
        _E.ABSENT_STALE: Cell(_S.EXPIRED),
    },
    _S.OPEN: _without(_RESTING, *_NOTHING_FILLED),
    _S.PARTIALLY_FILLED: _RESTING,
    _S.PENDING_AMEND: _LIVE | _AMEND_ANSWERS | {_E.SENT: _KEEP},
    _S.PENDING_CANCEL: _without(_LIVE, _E.CANCEL, _E.DEADLINE) | {_E.SENT: _KEEP, _E.CANCEL_REJECTED: _ASK},
    _S.FILLED: _without(_ENDED, _E.FILL_PART, _E.FILL_FULL),
    _S.CANCELLED: _without(_ENDED, _E.RISEN),
    _S.REJECTED: _without(_ENDED, _E.STATUS_WORKING),
    _S.EXPIRED: _ENDED,
    _S.DENIED: {},
}

NEVER_WHY: Mapping[str, str] = {
    "SUBMIT SUBMIT_LATE DENY REFUSE ADOPT ADOPT_TOLD": "they make an order; a second decision of the same id is REPEAT",
    "everything else, NOT_YET": "an order begins with one of those",
    "everything, DENIED": "denied orders are told, not kept: a report of one is ADOPT",
    "AMEND_UNDER STATUS_FILLED, nothing filled": "an amend to nothing and a status of nothing filled are invalid",
    "CANCEL DEADLINE, PENDING_CANCEL": "a cancel that is wanted already is REPEAT, or not said again",
    "DEADLINE UNANSWERED, ended": "an order that is over has no timers",
    "ACKNOWLEDGED, once acknowledged or ended": "REPEAT, or RISEN",
    "AMENDED… AMEND_REJECTED… CANCEL_REJECTED": "an answer to nothing in flight is AMENDED_UNASKED or REPEAT",
    "FILL_PART FILL_FULL, FILLED": "whatever follows a full fill is FILL_OVER",
    "ABSENT_FRESH, once acknowledged": "what was there is never sent again: ABSENT_STALE",
    "TRIGGERED ABSENT_…, ended": "REPEAT, or RISEN",
    "RISEN, before the end; CANCELLED": "only an end without the venue's word, or by too small an amount, is doubted",
    "STATUS_WORKING, REJECTED": "RISEN",
}

ANSWERS: Mapping[OrderEvent, Question] = {
    _E.ACKNOWLEDGED: Question.SUBMIT,
    _E.TRIGGERED: Question.SUBMIT,
    _E.FILL_PART: Question.SUBMIT,
    _E.FILL_FULL: Question.SUBMIT,
    _E.FILL_OVER: Question.SUBMIT,
    _E.AMENDED: Question.SUBMIT | Question.AMEND,
    _E.AMENDED_FULL: Question.SUBMIT | Question.AMEND,
    _E.AMENDED_UNDER: Question.SUBMIT | Question.AMEND,
    _E.AMENDED_UNASKED: Question.SUBMIT,
    _E.AMEND_REJECTED: Question.AMEND,
    _E.AMEND_REJECTED_FULL: Question.AMEND,
    _E.CANCEL_REJECTED: Question.CANCEL,
    _E.STATUS_WORKING: Question.SUBMIT | Question.AMEND | Question.CANCEL | Question.LOOK,
    _E.AHEAD: Question.SUBMIT,
}
RAISES: Mapping[OrderEvent, Question] = dict.fromkeys(
    (_E.ADOPT, _E.ADOPT_TOLD, _E.CANCEL_REJECTED, _E.DOUBTFUL, _E.RISEN), Question.LOOK
)
PROVES = frozenset(  # that the venue has, or had, the order
    {
        _E.ACKNOWLEDGED, _E.TRIGGERED, _E.FILL_PART, _E.FILL_FULL, _E.FILL_OVER, _E.AMENDED, _E.AMENDED_FULL,
        _E.AMENDED_UNDER, _E.AMENDED_UNASKED, _E.CANCELLED, _E.EXPIRED, _E.STATUS_WORKING, _E.STATUS_FILLED, _E.AHEAD,
        _E.RISEN,
    }
)  # fmt: skip

# Columns of `transition_array`.
NEXT, COMMAND, ALARM, HOLD = 0, 1, 2, 3
# Columns of `effect_array`.
ANSWERED, RAISED, PROVEN = 0, 1, 2
I64Array = npt.NDArray[np.int64]


def never() -> frozenset[tuple[int, OrderEvent]]:
    """The cells that cannot come up."""
    return frozenset(
        (state, event) for state in range(STATES) for event in OrderEvent if event not in TRANSITIONS[state]
    )


def transition_array() -> I64Array:
    """int64[STATES, EVENTS, 4]: the table for the kernel. A cell of `never` would keep the state, with an alarm."""
    array = np.empty((STATES, EVENTS, 4), dtype=np.int64)
    for state in range(STATES):
        for event in OrderEvent:
            array[state, event] = TRANSITIONS[state].get(event, _IMPOSSIBLE)
    return array


def effect_array() -> I64Array:
    """int64[EVENTS, 3]: questions that an event answers and raises, and whether it proves the order to be there."""
    array = np.zeros((EVENTS, 3), dtype=np.int64)
    for event in OrderEvent:
        array[event] = ANSWERS.get(event, 0), RAISES.get(event, 0), event in PROVES
    return array


def _name(state: int) -> str:
    if state == NOT_YET:
        return "–"
    return {SAME: "same", REST: "rest"}.get(state) or OrderState(state).name


def _cell_text(cell: Cell) -> str:
    parts = [_name(cell.next)]
    parts += [CommandKind(cell.command).name] if cell.command != NO_COMMAND else []
    parts += [f"**{cell.alarm.name}**"] if cell.alarm else []
    parts += ["held"] if cell.hold else []
    return " · ".join(parts)


def as_markdown(states: Iterable[int] = (NOT_YET, *range(OrderState.DENIED))) -> str:
    """The table for people: one line per state and answer, events that are answered alike together.

    `same`: the state stays. `rest`: UNKNOWN while a question is open, else the end that the venue told, else OPEN or
    PARTIALLY_FILLED. `held`: a cancel stays wanted until the order is over.
    """
    lines = ["| state | event | next · command · **alarm** |", "|---|---|---|"]
    for state in states:
        groups: dict[Cell, list[str]] = {}
        for event, cell in sorted(TRANSITIONS[state].items()):
            groups.setdefault(cell, []).append(event.name)
        end = " (end)" if state in TERMINAL_STATES else ""
        lines += [
            f"| {_name(state)}{end} | {', '.join(names)} | {_cell_text(cell)} |" for cell, names in groups.items()
        ]
    return "\n".join(lines) + "\n"
