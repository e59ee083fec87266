"""Order requests → decisions: every check is evaluated, and all reasons are in one bit mask.

`judge_requests` walks the requests once. Each is judged by the parts of `risk_checks.py`; `write_denials` makes rows
of what they noted. Arrays and columns are described in `risk_layout.py`; what is known of positions, orders and
profit comes from `risk_figures.py`.
"""

from __future__ import annotations

import numpy as np

from processors.kernels import risk_layout as lay
from processors.kernels.bits import likely
from processors.kernels.compiling import inlined, kernel
from processors.kernels.risk_checks import (
    far_price,
    fault_of_any,
    fault_of_change,
    fault_of_new,
    is_plain,
    judge_collar,
    judge_exposure,
    judge_inputs,
    judge_pace,
    judge_price,
    judge_profit,
    judge_rate,
    judge_repeat,
    judge_request,
    judge_self,
    judge_size,
    judge_stops,
    judge_strategy,
    judge_worth,
    note,
    note_cancel,
    note_order,
    note_repeat,
    reach_of,
    repeat_place,
    worth_of,
    write_denials,
)
from processors.kernels.risk_figures import (
    equity,
    find_lane,
    find_tag,
    move_clock,
    open_order,
    set_exposure,
    settle_order,
)
from processors.kernels.risk_runs import judge_run, may_begin
from schemas.events import Side
from schemas.trading import OrderFlag, Reason, RequestAction, Scope

_BUY = int(Side.BUY)
_NEW = int(RequestAction.NEW)
_AMEND = int(RequestAction.AMEND)
_CANCEL = int(RequestAction.CANCEL)
_CANCEL_ALL = int(RequestAction.CANCEL_ALL)
_REDUCE_ONLY = int(OrderFlag.REDUCE_ONLY)
_FLATTEN = int(OrderFlag.FLATTEN)
_ACCOUNT_SCOPE = int(Scope.ACCOUNT)
_STRATEGY_SCOPE = int(Scope.STRATEGY)
_CANCEL_RATE = int(Reason.CANCEL_RATE)
_REDUCE_ONLY_REASON = int(Reason.REDUCE_ONLY)
_UNKNOWN_ORDER = int(Reason.UNKNOWN_ORDER)
_MALFORMED = int(Reason.MALFORMED)
_PATIENCE = 4  # how often a run of plain orders is begun in vain before the lane's orders are only judged one by one


@inlined
def _write_decision(  # type: ignore[no-untyped-def]
    decision, request, order_id, cause_row, instrument, account, pair, now
):
    """The request, and what was seen before it."""
    decision[0] = request[0]
    decision[1] = request[1]
    decision[2] = order_id
    for j in range(6):  # tag … valid_until_ns
        decision[3 + j] = request[2 + j]
    decision[10] = instrument[lay.BID]
    decision[11] = instrument[lay.ASK]
    decision[12] = instrument[lay.QUOTE_ROW]
    decision[13] = now - instrument[lay.QUOTE_NS] if instrument[lay.QUOTED] == 1 else 0
    decision[14] = pair[lay.HELD]
    decision[15] = pair[lay.BUYING]
    decision[16] = pair[lay.SELLING]
    decision[17] = account[lay.GROSS]
    decision[18] = account[lay.COST] + account[lay.UNREALISED]
    decision[19] = equity(account) - account[lay.DAY_BASE]
    decision[20] = cause_row
    decision[21] = request[9]
    decision[22] = request[10]
    tail = instrument[lay.TRUST] << 8 | instrument[lay.QUOTE_PARTITION] << 16
    decision[23] = (request[11] & 0xFF) | tail


@inlined
def _judge_cancel(  # type: ignore[no-untyped-def]
    found, request, settings, account, strategy, pair, rings, lane, is_known, malformed, now
):
    """A cancel may go unless nobody knows what it means, or too many went."""
    size = settings[lay.RING]
    bits = judge_rate(
        found, account, strategy, pair, rings, lane, _CANCEL_RATE, lay.CANCEL_LIMIT, size, lay.CANCELS_HEAD,
        now - lay.MINUTE_NS, size,
    )  # fmt: skip
    if not is_known:
        bits |= note(found, _UNKNOWN_ORDER, request[2], 0, _STRATEGY_SCOPE)
    if malformed != 0:
        bits |= note(found, _MALFORMED, malformed, 0, _STRATEGY_SCOPE)
    if bits == 0:
        note_cancel(account, strategy, pair, rings, lane, now, size)
    return bits


@inlined
def _judge_order(  # type: ignore[no-untyped-def]
    found, request, settings, meta, instrument, account, strategy, pair, rings, lane, orders, line, places, recent,
    decision, malformed, now,
):  # fmt: skip
    """A new order, or (`line` > 0) the amend of one.

    Returns:
        Bits of all reasons, and what the order's side of its pair and lane would be worth.
    """
    is_new = request[11] & 0xFF != _AMEND
    word = request[10]
    side, kind, flags = (word >> 32) & 0xFF, (word >> 40) & 0xFF, (word >> 56) & 0xFF
    price, stop, quantity = request[3], request[4], request[5]
    more, worth_before = quantity, np.int64(-1)
    if line != 0:
        order = orders[line]
        side, kind, flags = order[lay.ORDER_SIDE], order[lay.ORDER_KIND], order[lay.ORDER_FLAGS]
        stop = order[lay.STOP_PRICE]
        total = max(order[lay.TOTAL], order[lay.ASKED_TOTAL])
        more = max(quantity - max(total, order[lay.SEEN]), 0)
    buys = side == _BUY
    reduces = flags & _REDUCE_ONLY != 0
    flattens = reduces and flags & _FLATTEN != 0
    bits = judge_stops(found, lane, flattens)
    bits |= judge_inputs(found, request, instrument, lane, now)
    own_gross, own_grows, worth, own_worth, plain = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    judged = malformed == 0 and (is_new or line != 0)
    if judged:
        plain = far_price(instrument, kind, buys, price, stop)
        if line != 0:
            worth_before = worth_of(instrument, orders[line], kind, buys, stop)
        bits |= judge_price(found, instrument, price, stop)
        bits |= judge_size(found, instrument, kind, price, stop, quantity)
        bits |= judge_worth(found, instrument, lane, buys, plain, quantity, reduces, more > 0, worth_before)
        bits |= judge_collar(found, instrument, lane, kind, price, stop)
        exposed, own_gross, own_grows, worth, own_worth = judge_exposure(
            found, instrument, account, strategy, pair, lane, buys, more, reduces, decision
        )
        bits |= exposed
    bits |= judge_pace(found, settings, meta, account, strategy, pair, rings, lane, now, is_new)
    if judged:
        if is_new:
            bits |= judge_repeat(found, request, meta, lane, places, recent, now, price, quantity)
        bits |= judge_self(found, orders, pair, kind, buys, plain)
    if not reduces:
        bits |= judge_profit(found, settings, instrument, account, strategy, lane, now)
    elif judged and more > 0:
        reach = reach_of(pair, buys, more)
        if reach > 0:
            bits |= note(found, _REDUCE_ONLY_REASON, reach, 0, _ACCOUNT_SCOPE)
    bits |= judge_strategy(found, lane, reduces, own_gross, own_grows)
    bits |= judge_request(found, request, settings, lane, is_new or line != 0, malformed, now)
    return bits, worth, own_worth


@inlined
def _approve(  # type: ignore[no-untyped-def]
    request, order_id, settings, meta, account, strategy, pair, rings, lane, lane_at, orders, line, places, recent, now,
    worth, own_worth, owners, lanes,
):  # fmt: skip
    """The order, or its amend, counts from now on."""
    word, price, quantity = request[10], request[3], request[5]
    note_order(account, strategy, pair, rings, lane, now, settings[lay.RING])
    side = (word >> 32) & 0xFF
    if line == 0:
        open_order(
            meta, orders, places, account, strategy, pair, lane, lane_at, order_id, request[2], side,
            (word >> 40) & 0xFF, (word >> 56) & 0xFF, price, request[4], quantity,
        )  # fmt: skip
        if lane[lay.CHECK_LIMITS + lay.REPEAT] != 0:
            where = request[9]
            place = repeat_place(recent, where, side, price, quantity)
            note_repeat(meta, places, recent, place, now, where, side, price, quantity)
    else:
        side = orders[line, lay.ORDER_SIDE]
        _amend(orders[line], side == _BUY, price, quantity)
        if not settle_order(meta, orders, owners, lanes, line, np.int64(1)):
            return
    if side == _BUY:
        set_exposure(account, pair, worth, pair[lay.SHORT])
        set_exposure(strategy, lane, own_worth, lane[lay.SHORT])
    else:
        set_exposure(account, pair, pair[lay.LONG], worth)
        set_exposure(strategy, lane, lane[lay.LONG], own_worth)


@inlined
def _amend(order, buys, price, quantity):  # type: ignore[no-untyped-def]
    """Until it is answered, the order may be as it was or as it was asked to be: the worse of both counts."""
    asked, known = order[lay.ASKED_PRICE], price
    if asked != 0 and price != 0:
        known = max(asked, price) if buys else min(asked, price)
    order[lay.ASKED_PRICE] = known
    order[lay.ASKED_TOTAL] = max(order[lay.ASKED_TOTAL], quantity)
    order[lay.ASKED_TOLD] = 0


@inlined
def _named_order(request, orders, places, lanes):  # type: ignore[no-untyped-def]
    """Line of the open order that an amend or cancel names, if it is of the request's instrument; 0 without."""
    action = request[11] & 0xFF
    if action != _AMEND and action != _CANCEL:
        return np.int64(0)
    ids = request[9]
    line = find_tag(orders, places, (ids >> 32) & 0xFFFFFFFF, request[10] & 0xFFFFFFFF, request[2])
    if line != 0 and lanes[orders[line, lay.ORDER_LANE], lay.LANE_INSTRUMENT] != ids & 0xFFFFFFFF:
        return np.int64(0)
    return line


@inlined
def _judge_one(  # type: ignore[no-untyped-def]
    request, order_id, cause_row, settings, meta, instruments, owners, rings, lanes, at, orders, places, recent, found,
    decision, denials, denied,
):  # fmt: skip
    """Judge a request on a lane (line `at`) that is up to date; write its rows, and count it when it may go.

    Returns:
        How many denials there are then.
    """
    lane = lanes[at]
    instrument, account = instruments[lane[lay.INSTRUMENT_AT]], owners[lane[lay.ACCOUNT_AT]]
    strategy, pair = owners[lane[lay.STRATEGY_AT]], owners[lane[lay.PAIR_AT]]
    malformed = fault_of_any(request)
    if malformed == 0:
        move_clock(meta, owners, request[1])
    now, action = meta[lay.NOW_NS], request[11] & 0xFF
    line = np.int64(0)
    if action != _NEW:
        line = _named_order(request, orders, places, lanes)
        if line != 0:
            order_id = orders[line, lay.ORDER_ID]
        elif action <= _CANCEL_ALL:
            order_id = np.int64(0)
    _write_decision(decision, request, order_id, cause_row, instrument, account, pair, now)
    if action in (_CANCEL, _CANCEL_ALL):
        is_known = line != 0 or action == _CANCEL_ALL
        bits = _judge_cancel(found, request, settings, account, strategy, pair, rings, lane, is_known, malformed, now)
    else:
        if malformed == 0 and action == _NEW:
            if not likely(is_plain(request)):
                malformed = fault_of_new(request, now)
        elif malformed == 0 and line != 0:
            malformed = fault_of_change(request, orders[line, lay.ORDER_KIND], orders[line, lay.STOP_PRICE])
            if malformed == 0 and request[5] <= orders[line, lay.SEEN]:
                malformed = lay.REQUEST_FILLED
        bits, worth, own_worth = _judge_order(
            found, request, settings, meta, instrument, account, strategy, pair, rings, lane, orders, line, places,
            recent, decision, malformed, now,
        )  # fmt: skip
        if bits == 0:
            _approve(
                request, order_id, settings, meta, account, strategy, pair, rings, lane, at, orders, line, places,
                recent, now, worth, own_worth, owners, lanes,
            )  # fmt: skip
    decision[9] = bits
    if bits == 0:
        return denied
    return write_denials(bits, found, request, order_id, cause_row, settings, denials, denied)


@inlined
def _judge_row(  # type: ignore[no-untyped-def]
    requests, i, row_first, id_first, settings, meta, instruments, owners, rings, lanes, at, orders, places, recent,
    found, decisions, decided, denials, denied,
):  # fmt: skip
    """`_judge_one` of request number i. Only a part may take a row out of an array without counting references."""
    return _judge_one(
        requests[i], id_first + i, row_first + i, settings, meta, instruments, owners, rings, lanes, at, orders, places,
        recent, found, decisions[decided], denials, denied,
    )  # fmt: skip


@inlined
def _leave(cursor, at, decided, denied, status):  # type: ignore[no-untyped-def]
    cursor[lay.NEXT_ROW] = at
    cursor[lay.DECISIONS] = decided
    cursor[lay.DENIALS] = denied
    return status


@kernel
def judge_requests(  # type: ignore[no-untyped-def]
    requests,
    row_first,
    start,
    id_first,
    settings,
    meta,
    instruments,
    owners,
    rings,
    lanes,
    orders,
    places,
    recent,
    found,
    decisions,
    denials,
    cursor,
):
    """Judge requests from number `start` of the batch on.

    Args:
        requests: int64[rows, REQUEST_WORDS]; `row_first` is the row number of the first, `id_first` its order id.
        found: int64[REASONS, 3], scratch.
        decisions, denials: int64[capacity, DECISION_WORDS | DENIAL_WORDS], written from the beginning.
        cursor: int64[CURSOR_SIZE]; FORCED is the row that is to be judged on lane 0, or -1.

    Returns:
        DONE; else FULL, LANE_WANTED or REFRESH_WANTED (of cursor[LANE]): help, then call again.
    """
    decided, denied, patience = 0, 0, _PATIENCE
    ids, strategy, lane = np.int64(0), np.int64(0), np.int64(-1)
    room = np.empty((2, lay.ROOM_COLUMNS), dtype=np.int64)
    i = start
    while i < len(requests):
        if decided >= len(decisions) or denied + lay.REASONS > len(denials):
            return _leave(cursor, i, decided, denied, lay.FULL)
        if i == cursor[lay.FORCED]:
            ids, lane = np.int64(0), np.int64(0)
        elif lane <= 0 or requests[i, 9] != ids or requests[i, 10] & 0xFFFFFFFF != strategy:
            ids, strategy, patience = requests[i, 9], requests[i, 10] & 0xFFFFFFFF, _PATIENCE
            lane = find_lane(lanes, places, ids & 0xFFFFFFFF, (ids >> 32) & 0xFFFFFFFF, strategy)
        if lane < 0:
            return _leave(cursor, i, decided, denied, lay.LANE_WANTED)
        if lanes[lane, lay.VERSION] != meta[lay.VERSION_NOW]:
            cursor[lay.LANE] = lane
            return _leave(cursor, i, decided, denied, lay.REFRESH_WANTED)
        if patience > 0 and lane > 0 and may_begin(requests, i, settings):
            most = min(len(requests) - i, len(decisions) - decided)
            count, denied = judge_run(
                requests, i, most, row_first, id_first, settings, meta, instruments, owners, rings, lanes, lane, orders,
                places, recent, found, room, decisions, decided, denials, denied,
            )  # fmt: skip
            i += count
            decided += count
            patience = _PATIENCE if count > 0 else patience - 1
            if count > 0:
                continue
        denied = _judge_row(
            requests, i, row_first, id_first, settings, meta, instruments, owners, rings, lanes, lane, orders, places,
            recent, found, decisions, decided, denials, denied,
        )  # fmt: skip
        i += 1
        decided += 1
    return _leave(cursor, len(requests), decided, denied, lay.DONE)
