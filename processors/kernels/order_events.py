"""Which event of the transition table a row is, compared with what is known of its order."""

from __future__ import annotations

from processors.kernels.compiling import part
from processors.kernels.order_lines import (
    ABSENT_AFTER_NS,
    AMENDED_NS,
    ATTEMPTS_MAX,
    CANCEL_ACTION,
    CANCEL_WANTED,
    FILLED,
    INFERRED,
    KNOWN,
    L_ACTION,
    L_EVENT_NS,
    L_FILLED,
    L_PRICE,
    L_QUANTITY,
    L_REASONS,
    L_RECV_NS,
    L_REPORT,
    L_STATE,
    L_VALID_NS,
    PRICE,
    QUANTITY,
    QUESTIONS,
    REFUSED,
    STATE,
    SUBMIT_VALID_NS,
    SUBMITS,
    SUBMITTED_NS,
    TOLD_END,
    TOLD_FILLED,
    TRIGGERED,
    WANTED_PRICE,
    WANTED_QUANTITY,
)
from processors.kernels.order_lines import SENT as SENT_FLAG
from processors.order_transitions import OrderEvent, Question
from schemas.trading import OrderState, ReportKind

# Names that machine code can hold.
(
    SUBMIT, SUBMIT_LATE, DENY, REFUSE, ADOPT, ADOPT_TOLD, AMEND, AMEND_UNDER, CHANGE_DENIED, CANCEL, DEADLINE,
    UNANSWERED, SENT, ACKNOWLEDGED, TRIGGERED_EVENT, FILL_PART, FILL_FULL, FILL_OVER, AMENDED, AMENDED_FULL,
    AMENDED_UNDER, AMENDED_UNASKED, AMEND_REJECTED, AMEND_REJECTED_FULL, CANCELLED, CANCEL_REJECTED, REJECTED, DOUBTFUL,
    EXPIRED, STATUS_WORKING, STATUS_FILLED, AHEAD, UNKNOWN, ABSENT_FRESH, ABSENT_STALE, ABSENT_EARLIER, RISEN, REPEAT,
) = (int(event) for event in OrderEvent)  # fmt: skip
ASKED_SUBMIT, ASKED_AMEND, ASKED_CANCEL, ASKED_LOOK = (int(question) for question in Question)
_, S_PENDING_SUBMIT, S_UNKNOWN, S_OPEN, S_PARTIAL, _, _, S_FILLED, S_CANCELLED, S_REJECTED, S_EXPIRED, _ = (
    int(state) for state in OrderState
)
_ACKNOWLEDGED, _FILL, _CANCELLED, _REJECTED, _EXPIRED, _AMENDED, _AMEND_REJECTED, _CANCEL_REJECTED, _TRIGGERED = (
    int(kind) for kind in list(ReportKind)[:9]
)
_SENT, _UNKNOWN, _ABSENT = int(ReportKind.SENT), int(ReportKind.UNKNOWN), int(ReportKind.ABSENT)


@part
def can_rise(orders, k):  # type: ignore[no-untyped-def]
    """Closed in a way that a sign of life puts in doubt."""
    return orders[k, STATE] == S_REJECTED or (orders[k, STATE] == S_EXPIRED and orders[k, INFERRED] == 1)


@part
def event_of_report(orders, k, line, settings):  # type: ignore[no-untyped-def]
    """Of every report but a FILL that was counted before, which is REPEAT."""
    kind, ended = line[L_REPORT], orders[k, STATE] >= S_FILLED
    if kind == _FILL:
        return _event_of_fill(orders, k, line)
    if kind == _SENT:
        return SENT
    if kind == _UNKNOWN:
        return UNKNOWN
    if kind == _ABSENT:
        return _event_of_absence(orders, k, line, settings)
    if kind in (_ACKNOWLEDGED, _TRIGGERED):
        if ended:
            return RISEN if can_rise(orders, k) else REPEAT
        if kind == _ACKNOWLEDGED:
            return _event_of_acknowledged(orders, k, line)
        return REPEAT if orders[k, TRIGGERED] == 1 else TRIGGERED_EVENT
    if kind == _AMENDED:
        return _event_of_amended(orders, k, line)
    if kind == _AMEND_REJECTED:
        if orders[k, QUESTIONS] & ASKED_AMEND == 0:
            return REPEAT
        return AMEND_REJECTED_FULL if 0 < orders[k, QUANTITY] <= orders[k, FILLED] else AMEND_REJECTED
    if kind == _CANCEL_REJECTED:
        return REPEAT if orders[k, QUESTIONS] & ASKED_CANCEL == 0 else CANCEL_REJECTED
    if kind == _REJECTED:
        return DOUBTFUL if orders[k, KNOWN] == 1 or orders[k, SUBMITS] > 1 else REJECTED
    if kind == _CANCELLED:
        return _event_of_end(orders, k, line, CANCELLED)
    if kind == _EXPIRED:
        return _event_of_end(orders, k, line, EXPIRED)
    return _event_of_status(orders, k, line)


@part
def _event_of_fill(orders, k, line):  # type: ignore[no-untyped-def]
    """Against the quantity in force, or the larger one that is being asked for."""
    limit = orders[k, QUANTITY]
    if limit == 0:  # adopted, and its quantity was not told yet
        return FILL_PART
    if orders[k, QUESTIONS] & ASKED_AMEND:
        limit = max(limit, orders[k, WANTED_QUANTITY])
    left = limit - orders[k, FILLED] - line[L_QUANTITY]
    if left > 0:
        return FILL_PART
    return FILL_FULL if left == 0 else FILL_OVER


@part
def _event_of_acknowledged(orders, k, line):  # type: ignore[no-untyped-def]
    """The venue may accept less than was wanted: a reduce-only order is cut to the position."""
    if orders[k, KNOWN] == 0:
        return ACKNOWLEDGED
    event = _event_of_values(orders, k, line, REPEAT)
    if event == AMENDED_UNASKED and 0 < line[L_QUANTITY] <= orders[k, FILLED]:
        return STATUS_FILLED  # a fill was heard first, and it was all
    return event


@part
def _event_of_absence(orders, k, line, settings):  # type: ignore[no-untyped-def]
    if orders[k, STATE] >= S_FILLED:
        return REPEAT
    now_ns, submits = line[L_RECV_NS], orders[k, SUBMITS]
    if submits > 1:  # an answer to a query about the attempt before may come as late as that the next one was written
        since_ns = orders[k, SUBMITTED_NS] if orders[k, SENT_FLAG] == 1 else orders[k, SUBMIT_VALID_NS]
        if now_ns - since_ns < settings[ABSENT_AFTER_NS]:
            return ABSENT_EARLIER
    if orders[k, TOLD_FILLED] > orders[k, FILLED]:
        return ABSENT_EARLIER  # it traded: it was there
    if orders[k, KNOWN] == 1 or orders[k, CANCEL_WANTED] == 1 or orders[k, REFUSED] == 1:
        return ABSENT_STALE
    if orders[k, QUESTIONS] & ASKED_SUBMIT == 0 or submits >= settings[ATTEMPTS_MAX]:
        return ABSENT_STALE
    return ABSENT_FRESH if now_ns <= orders[k, SUBMIT_VALID_NS] else ABSENT_STALE


@part
def _event_of_amended(orders, k, line):  # type: ignore[no-untyped-def]
    """Answers carry no number of the request: the one that has the wanted values answers it."""
    price, quantity = line[L_PRICE], line[L_QUANTITY]
    if orders[k, QUESTIONS] & ASKED_AMEND and (price, quantity) == (
        orders[k, WANTED_PRICE],
        orders[k, WANTED_QUANTITY],
    ):
        left = quantity - orders[k, FILLED]
        if left > 0:
            return AMENDED
        return AMENDED_FULL if left == 0 else AMENDED_UNDER
    return _event_of_values(orders, k, line, REPEAT)


@part
def _event_of_values(orders, k, line, otherwise):  # type: ignore[no-untyped-def]
    """Price and quantity that are told: AMENDED_UNASKED when they are newer and differ."""
    price, quantity = line[L_PRICE], line[L_QUANTITY]
    if line[L_EVENT_NS] < orders[k, AMENDED_NS]:
        return REPEAT
    if (price == 0 or price == orders[k, PRICE]) and (quantity == 0 or quantity == orders[k, QUANTITY]):
        return otherwise
    if orders[k, STATE] == S_FILLED and quantity > orders[k, FILLED]:
        return RISEN  # filled by the smaller quantity that we knew
    return AMENDED_UNASKED


@part
def _is_ahead(orders, k, line, ends):  # type: ignore[no-untyped-def]
    """1: fills are missing, and that is news; 0: they are, and it was known; -1: none is missing."""
    told = max(line[L_FILLED], orders[k, TOLD_FILLED])
    if told <= orders[k, FILLED]:
        return -1
    return 1 if told > orders[k, TOLD_FILLED] or (ends and orders[k, TOLD_END] == 0) else 0


@part
def _event_of_end(orders, k, line, event):  # type: ignore[no-untyped-def]
    ahead = _is_ahead(orders, k, line, True)
    if ahead < 0:
        return event
    return AHEAD if ahead == 1 else REPEAT


@part
def _event_of_status(orders, k, line):  # type: ignore[no-untyped-def]
    told, state = line[L_STATE], orders[k, STATE]
    if told == S_REJECTED:
        return REJECTED
    if told == S_CANCELLED:
        return _event_of_end(orders, k, line, CANCELLED)
    if told == S_EXPIRED:
        return _event_of_end(orders, k, line, EXPIRED)
    if told == S_FILLED:
        return _event_of_end(orders, k, line, STATUS_FILLED)
    if line[L_FILLED] < max(orders[k, FILLED], orders[k, TOLD_FILLED]):
        return REPEAT  # from before what is known
    if line[L_FILLED] > orders[k, FILLED]:
        return AHEAD if line[L_FILLED] > orders[k, TOLD_FILLED] else REPEAT
    if can_rise(orders, k):
        return RISEN
    if state in (S_OPEN, S_PARTIAL, S_FILLED):
        return _event_of_values(orders, k, line, STATUS_WORKING)
    return STATUS_WORKING


@part
def event_of_change(orders, k, line):  # type: ignore[no-untyped-def]
    """Of an amend or a cancel that risk decided."""
    if line[L_REASONS] != 0:
        return CHANGE_DENIED
    if line[L_ACTION] == CANCEL_ACTION:
        return REPEAT if orders[k, CANCEL_WANTED] == 1 else CANCEL
    if line[L_VALID_NS] < line[L_RECV_NS]:
        return CHANGE_DENIED
    return AMEND_UNDER if line[L_QUANTITY] <= orders[k, FILLED] else AMEND
