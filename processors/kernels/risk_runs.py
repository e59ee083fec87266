"""A run of plain orders: new limit orders of one lane, one after the other, against which nothing can stand.

What is the same for all orders of a run is judged once, when it begins, by the very parts that judge a single order.
What orders change becomes *room*: the limits of account, strategy and pair bound figures that move together while only
one lane of the pair has anything in it, so the least of the distances to them stands for all of them. An order within
the room would pass every check. One outside of it may pass or not: the run ends before it, and `risk.py` judges it,
check by check. So a run decides nothing that the long way would decide otherwise, and leaves the same state.

Why each bound is enough:
* Time: the clock only rises. What a later clock can only lift (breakers, rates) is judged at the first order's; what
  it can bring (a new day, a stale quote, the instrument's expiry) bounds the clock of the run.
* Price: range and collar are bounds on it; so are the orders of the other side, whose best price the run follows.
* Worth of the order: compared as a float, with bounds that lie 10^-9 inside of the true ones.
* Exposure: the figures of the other lanes and pairs stay, so account and strategy have the distance to each limit.
* Counts (open orders, rates) bound how many orders the run may have.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from processors.kernels import risk_layout as lay
from processors.kernels.bits import likely
from processors.kernels.compiling import inlined, part
from processors.kernels.risk_checks import (
    age_of_equal,
    in_window,
    judge_inputs,
    judge_profit,
    judge_request,
    judge_stops,
    judge_strategy,
    note_repeat,
    off_grid,
    repeat_place,
    write_denials,
)
from processors.kernels.risk_figures import TOO_MUCH, best_resting, equity, money, set_exposure, write_order
from schemas.events import Side
from schemas.trading import OrderFlag, OrderKind, RequestAction, TimeInForce

_BUY, _SELL = int(Side.BUY), int(Side.SELL)
_NEW = int(RequestAction.NEW)
_LIMIT = int(OrderKind.LIMIT)
_SIDE_BIT = 1 << 32
_HARMLESS = int(OrderFlag.POST_ONLY | OrderFlag.HUMAN | OrderFlag.FLATTEN)  # FLATTEN alone passes nothing
_ALIKE = ~(_SIDE_BIT | _HARMLESS << 56)  # of the word with strategy, side, kind, force, flags: the same in all orders
_KIND_BITS = _ALIKE & ~0xFFFFFFFF
_PLAIN = _LIMIT << 40 | int(TimeInForce.GTC) << 48
_FAR = 1 << 60  # sums and prices this side of it leave room for every step of a run
_NOTHING = 1 - (1 << 62)  # no order rests there
_UNSURE = 1 << 62  # what rests is not known: no order of the other side is within the room
_INSIDE, _OUTSIDE = 1 - 1e-9, 1 + 1e-9
assert (_BUY, _SELL) == (0, 1)  # lines of `room`


class Terms(NamedTuple):
    """What holds for all orders of a run."""

    ids: int
    word: int
    latest_ns: int
    price_least: int
    price_most: int
    quantity_least: int
    quantity_most: int
    order_least: float  # price × quantity
    order_most: float
    reach_most: int
    mark: int
    multiplier: int
    gross_elsewhere: int  # of the account
    worst_most: int
    window_ns: int  # of DUPLICATE; 0: none
    profit: int
    tail: int


@inlined
def may_begin(requests, i, settings):  # type: ignore[no-untyped-def]
    """A glance: is it worth looking for a run? Request i and the next are alike: alone, the long way costs less."""
    if i + 1 >= len(requests) or settings[lay.RUNS] == 0:
        return False
    word, after = requests[i, 10], requests[i + 1, 10]
    alike = requests[i, 9] == requests[i + 1, 9] and (word ^ after) & _ALIKE == 0
    return alike and word & _KIND_BITS == _PLAIN and (requests[i, 11] | requests[i + 1, 11]) & 0xFF == _NEW


@inlined
def _is_sound(request):  # type: ignore[no-untyped-def]
    """A new order with times that can be, without trigger and expiry."""
    return request[11] & 0xFF == _NEW and request[4] | request[6] == 0 and (request[0] | request[1]) >> 62 == 0


@inlined
def _is_alike(request, terms):  # type: ignore[no-untyped-def]
    """An order like the first of the run."""
    return request[9] == terms.ids and (request[10] ^ terms.word) & _ALIKE == 0 and _is_sound(request)


@inlined
def _is_within(instrument, terms, mine, other, price, quantity):  # type: ignore[no-untyped-def]
    """Whether the order's own price, quantity and worth pass, and it meets no order of the other side."""
    amount = float(quantity)
    return (
        terms.price_least <= price <= terms.price_most
        and terms.quantity_least <= quantity <= terms.quantity_most
        and mine[lay.ROOM_SIGN] * price + other[lay.ROOM_BEST] < 0
        and float(price) * amount >= terms.order_least
        and float(max(price, mine[lay.ROOM_FLOOR])) * amount <= terms.order_most
        and not off_grid(instrument, lay.TICK, price - instrument[lay.ORIGIN])
        and not off_grid(instrument, lay.LOT, quantity)
    )


@inlined
def _worth_after(terms, mine, other, quantity):  # type: ignore[no-untyped-def]
    """What the order's side would be worth; TOO_MUCH when its position or exposure is outside of the room."""
    reach = mine[lay.ROOM_PENDING] + mine[lay.ROOM_HELD] + quantity
    if reach > terms.reach_most:
        return np.int64(TOO_MUCH)
    worth = money(terms.mark, reach, terms.multiplier)
    if not -_FAR < worth <= mine[lay.ROOM_WORTH_MOST] or _worst_after(other, worth) > terms.worst_most:
        return np.int64(TOO_MUCH)
    return worth


@inlined
def _worst_after(other, worth):  # type: ignore[no-untyped-def]
    return max(abs(worth), abs(other[lay.ROOM_WORTH]))


@inlined
def _is_repeat(meta, places, recent, place, now, terms, side, price, quantity):  # type: ignore[no-untyped-def]
    window, where = terms.window_ns, terms.ids
    return window != 0 and age_of_equal(meta, places, recent, place, now, window, where, side, price, quantity) >= 0


@inlined
def _stands(found, request, settings, instrument, account, strategy, lane, now):  # type: ignore[no-untyped-def]
    """Whether anything but kills that is the same for all orders of the run stands against it."""
    nothing = np.int64(0)
    bits = judge_inputs(found, request, instrument, lane, now)
    bits |= judge_profit(found, settings, instrument, account, strategy, lane, now)
    bits |= judge_strategy(found, lane, False, nothing, nothing)
    return bits | judge_request(found, request, settings, lane, True, nothing, now) != 0


@inlined
def _has_room(found, request, meta, settings, instrument, account, strategy, pair, lane, now):  # type: ignore[no-untyped-def]
    """Whether a run may begin with the request."""
    return (
        _is_sound(request)
        and _is_alone(pair, lane)
        and _is_small(instrument, account, strategy, pair, lane)
        and now <= _latest(meta, instrument, lane)
        and instrument[lay.QUOTED] == 1
        and not _stands(found, request, settings, instrument, account, strategy, lane, now)
    )


@inlined
def _is_alone(pair, lane):  # type: ignore[no-untyped-def]
    """Whether nobody else of the account has anything in the instrument: its pair is as the lane is."""
    return (
        pair[lay.HELD] == lane[lay.HELD]
        and pair[lay.BUYING] == lane[lay.BUYING]
        and pair[lay.SELLING] == lane[lay.SELLING]
        and pair[lay.LONG] == lane[lay.LONG]
        and pair[lay.SHORT] == lane[lay.SHORT]
    )


@inlined
def _is_small(instrument, account, strategy, pair, lane):  # type: ignore[no-untyped-def]
    """Whether no sum can leave its range within a run."""
    beyond = account[lay.BEYOND] | strategy[lay.BEYOND] | pair[lay.BEYOND] | lane[lay.BEYOND]
    sums = max(abs(account[lay.LONG]), abs(account[lay.SHORT]), abs(account[lay.GROSS]))
    sums = max(sums, abs(strategy[lay.LONG]), abs(strategy[lay.SHORT]), abs(strategy[lay.GROSS]))
    sums = max(sums, abs(pair[lay.LONG]), abs(pair[lay.SHORT]), abs(pair[lay.HELD]))
    return beyond == 0 and sums < _FAR // 4 and instrument[lay.MARK] >= 1


@inlined
def _worst(own):  # type: ignore[no-untyped-def]
    return max(abs(own[lay.LONG]), abs(own[lay.SHORT]))


@inlined
def _latest(meta, instrument, lane):  # type: ignore[no-untyped-def]
    """The last moment before a new day, a stale quote or the expiry."""
    latest = meta[lay.NEXT_DAY_NS] - 1
    age, expiry = lane[lay.CHECK_LIMITS + lay.AGE], instrument[lay.EXPIRY_NS]
    if age != lay.NO_LIMIT:
        latest = min(latest, instrument[lay.QUOTE_NS] + age)
    return min(latest, expiry - 1) if expiry != 0 else latest


@inlined
def _prices(instrument, lane):  # type: ignore[no-untyped-def]
    """Least and greatest price within the range and the collar."""
    least, most = max(instrument[lay.PRICE_LOW], 1), instrument[lay.PRICE_HIGH]
    most = min(most, _FAR) if most != 0 else np.int64(_FAR)
    collar = lane[lay.CHECK_LIMITS + lay.COLLAR]
    if collar != lay.NO_LIMIT:
        bid, ask = instrument[lay.BID], instrument[lay.ASK]
        small = collar < 1 << 15 and max(bid, ask) < 1 << 47  # as in `judge_collar`
        around = collar if small else np.int64(0)
        furthest = np.int64((1 << 47) - 1)
        least = max(least, bid - min(around * (bid if small else 0) // 10_000, furthest))
        most = min(most, ask + min(around * (ask if small else 0) // 10_000, furthest))
    return least, most


@inlined
def _quantities(instrument, lane):  # type: ignore[no-untyped-def]
    """Least and greatest quantity of an order."""
    most = min(lane[lay.CHECK_LIMITS + lay.SIZE], lay.QUANTITY_MAX)
    high = instrument[lay.SIZE_HIGH]
    return max(instrument[lay.SIZE_LOW], 1), min(most, high) if high != 0 else most


@inlined
def _orders_worth(instrument, lane):  # type: ignore[no-untyped-def]
    """Least and greatest price × quantity: worth is that ÷ 10^8, and × multiplier, rounded each time."""
    times = float(instrument[lay.MULTIPLIER]) * 1e-8
    least = float(instrument[lay.WORTH_LOW]) / times + 1.0
    limit = min(lane[lay.CHECK_LIMITS + lay.WORTH], lay.AMOUNT_MAX)
    most = min((float(limit) - 1.0) / times - 1.0, float(lay.AMOUNT_MAX))
    return least * 1e8 * _OUTSIDE, most * 1e8 * _INSIDE


@inlined
def _reach_most(instrument, lane):  # type: ignore[no-untyped-def]
    """Greatest position, everything pending filled, of either side, that is allowed and whose worth is below _FAR."""
    check = lay.CHECK_LIMITS + lay.REACH
    most = min(lane[check], lane[check + 1], _FAR)
    times = float(instrument[lay.MARK]) * 1e-8
    times = max(times, times * (float(instrument[lay.MULTIPLIER]) * 1e-8))
    return min(most, np.int64(min(float(_FAR) / times * _INSIDE, float(_FAR))))


@inlined
def _below(lane, check, elsewhere, own_elsewhere):  # type: ignore[no-untyped-def]
    """What limits of the account and the strategy leave beside what is elsewhere."""
    limit, own_limit = lane[lay.CHECK_LIMITS + check], lane[lay.CHECK_LIMITS + check + 1]
    return min(min(limit, lay.AMOUNT_MAX) - elsewhere, min(own_limit, lay.AMOUNT_MAX) - own_elsewhere)


@inlined
def _worst_most(account, strategy, pair, lane):  # type: ignore[no-untyped-def]
    """Greatest exposure of the pair that gross limits and capital allow."""
    worst = _worst(pair)
    elsewhere = strategy[lay.GROSS] - worst
    room = _below(lane, lay.GROSS_LIMIT, account[lay.GROSS] - worst, elsewhere)
    return min(room, min(lane[lay.CAPITAL_LIMIT], lay.AMOUNT_MAX) - elsewhere)


@inlined
def _terms(request, meta, instrument, account, strategy, pair, lane):  # type: ignore[no-untyped-def]
    price_least, price_most = _prices(instrument, lane)
    quantity_least, quantity_most = _quantities(instrument, lane)
    order_least, order_most = _orders_worth(instrument, lane)
    return Terms(
        ids=request[9],
        word=request[10],
        latest_ns=_latest(meta, instrument, lane),
        price_least=price_least,
        price_most=price_most,
        quantity_least=quantity_least,
        quantity_most=quantity_most,
        order_least=order_least,
        order_most=order_most,
        reach_most=_reach_most(instrument, lane),
        mark=instrument[lay.MARK],
        multiplier=instrument[lay.MULTIPLIER],
        gross_elsewhere=account[lay.GROSS] - _worst(pair),
        worst_most=_worst_most(account, strategy, pair, lane),
        window_ns=lane[lay.CHECK_LIMITS + lay.REPEAT],
        profit=equity(account) - account[lay.DAY_BASE],
        tail=instrument[lay.TRUST] << 8 | instrument[lay.QUOTE_PARTITION] << 16,
    )


@inlined
def _fill_room(room, instrument, account, strategy, pair, lane):  # type: ignore[no-untyped-def]
    """Both sides' lines. Amounts are signed in the direction of their side."""
    for side in range(2):
        sign, mine = 1 - 2 * side, room[side]
        pending, total = lay.BUYING + side, lay.LONG + side
        best, unsure = pair[lay.BEST_BUY + side], pair[lay.UNSURE_BUY + side]
        net, own_net = sign * (account[total] - pair[total]), sign * (strategy[total] - pair[total])
        check = lay.CHECK_LIMITS + lay.REACH_WORTH
        mine[lay.ROOM_SIGN] = sign
        mine[lay.ROOM_FLOOR] = instrument[lay.BID] if side == _SELL else 0
        mine[lay.ROOM_PENDING] = pair[pending]
        mine[lay.ROOM_HELD] = sign * pair[lay.HELD]
        mine[lay.ROOM_WORTH] = sign * pair[total]
        most = min(lane[check], lane[check + 1])
        mine[lay.ROOM_WORTH_MOST] = min(most, _below(lane, lay.NET_LIMIT, net, own_net))
        mine[lay.ROOM_NET] = account[total] - pair[total]
        mine[lay.ROOM_BEST] = _UNSURE if unsure == 1 else (sign * best if best != 0 else _NOTHING)


@inlined
def _rate_room(own, ring, limit, after_ns, count, size):  # type: ignore[no-untyped-def]
    """How many of `count` orders are within a rate: those before which a slot of the window has become free."""
    if limit == lay.NO_LIMIT:
        return count
    last = own[lay.ORDERS_HEAD] + count - 1 - limit  # the time that the last of them would be compared to
    if count <= limit and (last < 0 or ring[last & (size - 1)] <= after_ns):
        return count
    return min(limit - in_window(own, ring, 0, lay.ORDERS_HEAD, after_ns, size), count)


@inlined
def _count_most(owners, rings, lane, settings, count, now):  # type: ignore[no-untyped-def]
    """How many of `count` orders are within the counts of account, strategy and pair."""
    size = settings[lay.RING]
    for k in range(3):
        at = lane[lay.ACCOUNT_AT + k]
        own, ring = owners[at], rings[at]
        count = min(count, lane[lay.CHECK_LIMITS + lay.OPEN_LIMIT + k] - own[lay.OPEN])
        for check, window_ns in ((lay.SECOND_LIMIT, lay.SECOND_NS), (lay.MINUTE_LIMIT, lay.MINUTE_NS)):
            if count > 0:
                count = _rate_room(own, ring, lane[lay.CHECK_LIMITS + check + k], now - window_ns, count, size)
    return count


@inlined
def _write_plain_decision(  # type: ignore[no-untyped-def]
    decision, request, order_id, cause_row, bits, instrument, pair, room, terms, now
):
    """As `_write_decision`, but for what would be: 17 and 18."""
    decision[0] = request[0]
    decision[1] = request[1]
    decision[2] = order_id
    for j in range(6):  # tag … valid_until_ns
        decision[3 + j] = request[2 + j]
    decision[9] = bits
    decision[10] = instrument[lay.BID]
    decision[11] = instrument[lay.ASK]
    decision[12] = instrument[lay.QUOTE_ROW]
    decision[13] = now - instrument[lay.QUOTE_NS]
    decision[14] = pair[lay.HELD]
    decision[15] = room[_BUY, lay.ROOM_PENDING]
    decision[16] = room[_SELL, lay.ROOM_PENDING]
    decision[19] = terms.profit
    decision[20] = cause_row
    decision[21] = terms.ids
    decision[22] = request[10]
    decision[23] = terms.tail


@inlined
def _note_times(requests, first, count, own, ring, now, size):  # type: ignore[no-untyped-def]
    """When the run's orders were approved, for a rate."""
    head = own[lay.ORDERS_HEAD]
    for i in range(first, first + count):
        now = max(now, requests[i, 1])
        ring[head & (size - 1)] = now
        head += 1
    own[lay.ORDERS_HEAD] = head


@inlined
def _count_run(requests, first, count, settings, owners, rings, lane, pair, room, now):  # type: ignore[no-untyped-def]
    """The run's orders count from now on, as if each had been counted by itself."""
    second, minute = lay.CHECK_LIMITS + lay.SECOND_LIMIT, lay.CHECK_LIMITS + lay.MINUTE_LIMIT
    for k in range(3):
        at = lane[lay.ACCOUNT_AT + k]
        owners[at, lay.OPEN] += count
        if min(lane[second + k], lane[minute + k]) != lay.NO_LIMIT:
            _note_times(requests, first, count, owners[at], rings[at], now, settings[lay.RING])
    for side in range(2):
        mine, sign = room[side], 1 - 2 * side
        pair[lay.BUYING + side] = lane[lay.BUYING + side] = mine[lay.ROOM_PENDING]
        best = mine[lay.ROOM_BEST]
        if pair[lay.UNSURE_BUY + side] == 0 and best != _NOTHING:
            pair[lay.BEST_BUY + side] = sign * best
    longest, shortest = room[_BUY, lay.ROOM_WORTH], -room[_SELL, lay.ROOM_WORTH]
    set_exposure(owners[lane[lay.ACCOUNT_AT]], pair, longest, shortest)
    set_exposure(owners[lane[lay.STRATEGY_AT]], lane, longest, shortest)


@inlined
def _take_room(mine, price, quantity, worth):  # type: ignore[no-untyped-def]
    """One more order of a side was approved."""
    mine[lay.ROOM_PENDING] += quantity
    mine[lay.ROOM_WORTH] = worth
    mine[lay.ROOM_BEST] = max(mine[lay.ROOM_BEST], mine[lay.ROOM_SIGN] * price)


@part
def judge_run(  # type: ignore[no-untyped-def]
    requests, first, most, row_first, id_first, settings, meta, instruments, owners, rings, lanes, at, orders, places,
    recent, found, room, decisions, decided, denials, denied,
):  # fmt: skip
    """Decide orders from number `first` on, as long as they are within the room, at most `most`.

    Args:
        at: the lane of the first request, which `may_begin`; up to date.
        room: int64[2, ROOM_COLUMNS], scratch.

    Returns:
        How many were decided, and how many denials there are then.
    """
    lane, request = lanes[at], requests[first]
    instrument, account = instruments[lane[lay.INSTRUMENT_AT]], owners[lane[lay.ACCOUNT_AT]]
    strategy, pair = owners[lane[lay.STRATEGY_AT]], owners[lane[lay.PAIR_AT]]
    now = max(meta[lay.NOW_NS], request[1])
    if not _has_room(found, request, meta, settings, instrument, account, strategy, pair, lane, now):
        return np.int64(0), denied
    killed = judge_stops(found, lane, False)
    terms = _terms(request, meta, instrument, account, strategy, pair, lane)
    most = _count_most(owners, rings, lane, settings, most, now)
    best_resting(orders, pair, (request[10] >> 32) & 1 != _BUY)
    _fill_room(room, instrument, account, strategy, pair, lane)
    now, count = meta[lay.NOW_NS], np.int64(0)
    account_id, strategy_id = lane[lay.LANE_ACCOUNT], lane[lay.LANE_STRATEGY]
    while count < most and meta[lay.QUEUE_FIRST] != 0 and denied + lay.REASONS <= len(denials):
        request, decision = requests[first + count], decisions[decided + count]
        price, quantity, side = request[3], request[5], (request[10] >> 32) & 1
        mine, other, time = room[side], room[1 - side], max(now, request[1])
        if not likely(_is_alike(request, terms) and time <= min(terms.latest_ns, request[7])):
            break
        if not likely(_is_within(instrument, terms, mine, other, price, quantity)):
            break
        worth = _worth_after(terms, mine, other, quantity)
        place = repeat_place(recent, terms.ids, side, price, quantity)
        if worth == TOO_MUCH or _is_repeat(meta, places, recent, place, time, terms, side, price, quantity):
            break
        order_id, cause_row = id_first + first + count, row_first + first + count
        _write_plain_decision(decision, request, order_id, cause_row, killed, instrument, pair, room, terms, time)
        decision[17] = terms.gross_elsewhere + _worst_after(other, worth)
        decision[18] = mine[lay.ROOM_NET] + mine[lay.ROOM_SIGN] * worth
        now, count = time, count + 1
        if killed != 0:
            denied = write_denials(killed, found, request, order_id, cause_row, settings, denials, denied)
            continue
        write_order(
            meta, orders, places, pair, account_id, strategy_id, at, order_id, request[2], side, _LIMIT,
            (request[10] >> 56) & 0xFF, price, np.int64(0), quantity,
        )  # fmt: skip
        if terms.window_ns != 0:
            note_repeat(meta, places, recent, place, time, terms.ids, side, price, quantity)
        _take_room(mine, price, quantity, worth)
    if killed == 0:
        _count_run(requests, first, count, settings, owners, rings, lane, pair, room, meta[lay.NOW_NS])
    meta[lay.NOW_NS] = now
    return count, denied
