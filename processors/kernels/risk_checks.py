"""Every check of a request. Each returns the bits it sets and notes the two numbers compared in `found`, by reason.

So what is rare stays out of the way of what is not: an order against which nothing stands only compares.
"""

from __future__ import annotations

import numpy as np

from processors.kernels import risk_layout as lay
from processors.kernels.bits import highest_bit, likely, rotate_right
from processors.kernels.compiling import inlined, part
from processors.kernels.risk_figures import TOO_MUCH, best_resting, distance_bp, equity, money
from schemas.events import InstrumentStatus, Trust
from schemas.trading import OrderFlag, OrderKind, Reason, RequestAction, Scope, TimeInForce

_SYNCED = int(Trust.SYNCED)
_TRADING = int(InstrumentStatus.TRADING)
_LIMIT = int(OrderKind.LIMIT)
_MARKET = int(OrderKind.MARKET)
_STOP = int(OrderKind.STOP)
_STOP_LIMIT = int(OrderKind.STOP_LIMIT)
_GTD = int(TimeInForce.GTD)
_IOC = int(TimeInForce.IOC)
_FOK = int(TimeInForce.FOK)
_POST_ONLY = int(OrderFlag.POST_ONLY)
_FLAGS = int(OrderFlag.POST_ONLY | OrderFlag.REDUCE_ONLY | OrderFlag.HUMAN | OrderFlag.FLATTEN)
_ACCOUNT_SCOPE = int(Scope.ACCOUNT)
_STRATEGY_SCOPE = int(Scope.STRATEGY)
_INSTRUMENT_SCOPE = int(Scope.INSTRUMENT)
_KILL_INSTRUMENT = int(Reason.KILL_INSTRUMENT)
_UNTRUSTED = int(Reason.UNTRUSTED)
_STALE_INPUT = int(Reason.STALE_INPUT)
_NO_QUOTE = int(Reason.NO_QUOTE)
_UNKNOWN_INSTRUMENT = int(Reason.UNKNOWN_INSTRUMENT)
_INSTRUMENT_HALTED = int(Reason.INSTRUMENT_HALTED)
_OUTSIDE_HOURS = int(Reason.OUTSIDE_HOURS)
_TICK_SIZE = int(Reason.TICK_SIZE)
_LOT_SIZE = int(Reason.LOT_SIZE)
_PRICE_RANGE = int(Reason.PRICE_RANGE)
_QUANTITY_RANGE = int(Reason.QUANTITY_RANGE)
_MIN_NOTIONAL = int(Reason.MIN_NOTIONAL)
_ORDER_QUANTITY = int(Reason.ORDER_QUANTITY)
_ORDER_NOTIONAL = int(Reason.ORDER_NOTIONAL)
_PRICE_COLLAR = int(Reason.PRICE_COLLAR)
_POSITION_QUANTITY = int(Reason.POSITION_QUANTITY)
_POSITION_NOTIONAL = int(Reason.POSITION_NOTIONAL)
_GROSS_EXPOSURE = int(Reason.GROSS_EXPOSURE)
_NET_EXPOSURE = int(Reason.NET_EXPOSURE)
_OPEN_ORDERS = int(Reason.OPEN_ORDERS)
_RATE_SECOND = int(Reason.RATE_SECOND)
_RATE_MINUTE = int(Reason.RATE_MINUTE)
_DUPLICATE = int(Reason.DUPLICATE)
_SELF_TRADE = int(Reason.SELF_TRADE)
_DAILY_LOSS = int(Reason.DAILY_LOSS)
_DRAWDOWN = int(Reason.DRAWDOWN)
_BREAKER_LOSSES = int(Reason.BREAKER_LOSSES)
_BREAKER_MOVE = int(Reason.BREAKER_MOVE)
_STRATEGY_DISABLED = int(Reason.STRATEGY_DISABLED)
_STRATEGY_CAPITAL = int(Reason.STRATEGY_CAPITAL)
_NO_LIMITS = int(Reason.NO_LIMITS)
_UNKNOWN_ORDER = int(Reason.UNKNOWN_ORDER)
_MALFORMED = int(Reason.MALFORMED)
_RECONCILING = int(Reason.RECONCILING)
_EXPIRED = int(Reason.EXPIRED)
_GLOBAL_SCOPE = int(Scope.GLOBAL)
_OF_PLAIN = -(1 << 33) & ~(_FLAGS << 56)  # all of the word but strategy, side and known flags
_PLAIN = _LIMIT << 40 | int(TimeInForce.GTC) << 48
_ACTION_LAST, _KIND_LAST, _FORCE_LAST = (max(map(int, kind)) for kind in (RequestAction, OrderKind, TimeInForce))


@inlined
def note(found, reason, value, limit, scope):  # type: ignore[no-untyped-def]
    """A reason against the request: what `write_denials` will say.

    Returns:
        The reason's bit.
    """
    found[reason, 0] = value
    found[reason, 1] = limit
    found[reason, 2] = scope
    return np.int64(1) << reason


@part
def write_denials(bits, found, request, order_id, cause_row, settings, denials, row):  # type: ignore[no-untyped-def]
    """A Denial row for every reason, in the order of the enum.

    Returns:
        The row after the last.
    """
    while bits != 0:
        lowest = bits & -bits
        reason = highest_bit(np.uint64(lowest))
        bits ^= lowest
        denial = denials[row]
        denial[0] = request[0]
        denial[1] = request[1]
        denial[2] = order_id
        denial[3] = found[reason, 0]
        denial[4] = found[reason, 1]
        denial[5] = cause_row
        denial[6] = request[9]
        unit, scope = settings[lay.UNITS + reason], found[reason, 2]
        denial[7] = (request[10] & 0xFFFFFFFF) | (reason << 32) | (unit << 40) | (scope << 48)
        row += 1
    return row


@inlined
def _judge_limit(  # type: ignore[no-untyped-def]
    found, lane, reason, check, value
):
    """Deny when the value is above the limit in force, if any."""
    limit = lane[lay.CHECK_LIMITS + check]
    if likely(value <= limit):
        return np.int64(0)
    scope = lane[lay.CHECK_SCOPES + check]
    return note(found, reason, value, limit, scope)


@inlined
def _judge_both(  # type: ignore[no-untyped-def]
    found, lane, reason, check, value, strategy_value
):
    """The account's figure, then the strategy's; one denial row names the first that is above its limit."""
    bit = _judge_limit(found, lane, reason, check, value)
    if bit == 0:
        bit = _judge_limit(found, lane, reason, check + 1, strategy_value)
    return bit


@inlined
def judge_stops(found, lane, flattens):  # type: ignore[no-untyped-def]
    """Kill switches of all scopes. What flattens, passes them."""
    stopped = lane[lay.STOPPED]
    if likely(stopped == 0) or flattens:
        return np.int64(0)
    bits = np.int64(0)
    for reason in range(_KILL_INSTRUMENT + 1):
        if (stopped >> reason) & 1 != 0:
            kill = lane[lay.KILL_IDS + reason]
            bits |= note(found, reason, kill, 0, reason)
    return bits


@inlined
def judge_inputs(found, request, instrument, lane, now):  # type: ignore[no-untyped-def]
    """Is the instrument known and open, and may its book be believed?"""
    bits = np.int64(0)
    if instrument[lay.TRUST] != _SYNCED:
        trust = instrument[lay.TRUST]
        bits |= note(found, _UNTRUSTED, trust, _SYNCED, _INSTRUMENT_SCOPE)
    if instrument[lay.QUOTED] == 1:
        age = now - instrument[lay.QUOTE_NS]
        bits |= _judge_limit(found, lane, _STALE_INPUT, lay.AGE, age)
    if instrument[lay.BID] == 0 or instrument[lay.ASK] == 0:
        bits |= note(found, _NO_QUOTE, 0, 0, _INSTRUMENT_SCOPE)
    if instrument[lay.KNOWN] == 0:
        who = request[9] & 0xFFFFFFFF
        return bits | note(found, _UNKNOWN_INSTRUMENT, who, 0, _INSTRUMENT_SCOPE)
    if instrument[lay.STATUS] != _TRADING:
        status = instrument[lay.STATUS]
        bits |= note(found, _INSTRUMENT_HALTED, status, _TRADING, _INSTRUMENT_SCOPE)
    expiry = instrument[lay.EXPIRY_NS]
    if expiry != 0 and now >= expiry:
        bits |= note(found, _OUTSIDE_HOURS, now, expiry, _INSTRUMENT_SCOPE)
    return bits


@inlined
def off_grid(instrument, step, amount):  # type: ignore[no-untyped-def]
    """Whether the amount is no multiple of the step, a column that its inverse, turn and most follow; 0: none is.

    The inverse of the step's odd part undoes it modulo 2^64 and the turn its twos: multiples come out as what they
    are multiples by, everything else above the greatest of those. No division.
    """
    times = np.uint64(abs(amount)) * np.uint64(instrument[step + lay.INVERSE])
    return rotate_right(times, np.uint64(instrument[step + lay.TURN])) > np.uint64(instrument[step + lay.MOST])


@inlined
def judge_price(found, instrument, price, stop):  # type: ignore[no-untyped-def]
    """Tick and range, of the limit price and the trigger; one row names the first that is wrong."""
    bits = np.int64(0)
    origin = instrument[lay.ORIGIN]
    if price != 0 and off_grid(instrument, lay.TICK, price - origin):
        bits |= note(found, _TICK_SIZE, price, instrument[lay.TICK], _INSTRUMENT_SCOPE)
    elif stop != 0 and off_grid(instrument, lay.TICK, stop - origin):
        bits |= note(found, _TICK_SIZE, stop, instrument[lay.TICK], _INSTRUMENT_SCOPE)
    return bits


@inlined
def _judge_range(  # type: ignore[no-untyped-def]
    found, reason, value, low, high
):
    """Deny outside of low … high; high 0: no upper bound."""
    if value < low:
        return note(found, reason, value, low, _INSTRUMENT_SCOPE)
    if high != 0 and value > high:
        return note(found, reason, value, high, _INSTRUMENT_SCOPE)
    return np.int64(0)


@inlined
def judge_size(  # type: ignore[no-untyped-def]
    found, instrument, kind, price, stop, quantity
):
    """Lot and ranges."""
    bits = np.int64(0)
    if off_grid(instrument, lay.LOT, quantity):
        bits |= note(found, _LOT_SIZE, quantity, instrument[lay.LOT], _INSTRUMENT_SCOPE)
    low, high = instrument[lay.PRICE_LOW], instrument[lay.PRICE_HIGH]
    ranged = np.int64(0)
    if price != 0:
        ranged = _judge_range(found, _PRICE_RANGE, price, low, high)
    if stop != 0 and ranged == 0:
        ranged = _judge_range(found, _PRICE_RANGE, stop, low, high)
    market = not _needs_price(kind)
    high = instrument[lay.MARKET_HIGH] if market else instrument[lay.SIZE_HIGH]
    low = instrument[lay.SIZE_LOW]
    return bits | ranged | _judge_range(found, _QUANTITY_RANGE, quantity, low, high)


@inlined
def judge_worth(  # type: ignore[no-untyped-def]
    found, instrument, lane, buys, plain, quantity, reduces, more, before
):
    """The order's own quantity and value. `plain`: its price; `before`: the value it had before an amend."""
    bits = np.int64(0)
    multiplier = instrument[lay.MULTIPLIER]
    worth = money(plain, quantity, multiplier)
    low = instrument[lay.WORTH_LOW]
    if worth < low and worth != TOO_MUCH and plain != 0 and not reduces:
        bits |= note(found, _MIN_NOTIONAL, worth, low, _INSTRUMENT_SCOPE)
    if more:
        bits |= _judge_limit(found, lane, _ORDER_QUANTITY, lay.SIZE, quantity)
    if not buys and instrument[lay.BID] > plain:  # it sells at the bid, however low its limit
        worth = money(instrument[lay.BID], quantity, multiplier)
    if worth == TOO_MUCH:
        limit = lane[lay.CHECK_LIMITS + lay.WORTH]
        scope = lane[lay.CHECK_SCOPES + lay.WORTH]
        bits |= note(found, _ORDER_NOTIONAL, lay.NO_LIMIT, limit, scope)
    elif worth > before:
        bits |= _judge_limit(found, lane, _ORDER_NOTIONAL, lay.WORTH, worth)
    return bits


@inlined
def judge_collar(  # type: ignore[no-untyped-def]
    found, instrument, lane, kind, price, stop
):
    """How far outside of the touch the limit is; a stop-limit's, from its trigger."""
    if price == 0 or lane[lay.CHECK_LIMITS + lay.COLLAR] == lay.NO_LIMIT:
        return np.int64(0)
    bid, ask = instrument[lay.BID], instrument[lay.ASK]
    if kind == _STOP_LIMIT:
        bid, ask = stop, stop
    apart, from_price = np.int64(0), np.int64(1)
    if ask != 0 and price > ask:
        apart, from_price = price - ask, ask
    elif bid != 0 and price < bid:
        apart, from_price = bid - price, bid
    limit = lane[lay.CHECK_LIMITS + lay.COLLAR]
    small = apart < 1 << 47 and from_price < 1 << 47 and limit < 1 << 15
    if small and apart * 10_000 <= limit * from_price:  # the same without dividing
        return np.int64(0)
    apart = distance_bp(apart, from_price)
    return _judge_limit(found, lane, _PRICE_COLLAR, lay.COLLAR, apart)


@inlined
def reach_of(own, buys, more):  # type: ignore[no-untyped-def]
    """Position on the order's side once everything pending there, and the order, is filled."""
    if buys:
        return own[lay.HELD] + own[lay.BUYING] + more
    return own[lay.SELLING] - own[lay.HELD] + more


@inlined
def _net(parent, own, buys, worth):  # type: ignore[no-untyped-def]
    """Signed sum on the order's side, above 0 in its direction, with `worth` in place of the line's own."""
    if buys:
        return parent[lay.LONG] - own[lay.LONG] + worth
    return own[lay.SHORT] - parent[lay.SHORT] + worth


@inlined
def growth(own, buys, worth):  # type: ignore[no-untyped-def]
    """By how much the worse magnitude of a pair or lane grows with `worth` on the order's side."""
    longest, shortest = abs(own[lay.LONG]), abs(own[lay.SHORT])
    return max(abs(worth), shortest if buys else longest) - max(longest, shortest)


@inlined
def judge_exposure(  # type: ignore[no-untyped-def]
    found, instrument, account, strategy, pair, lane, buys, more, reduces, decision
):
    """What position, gross and net exposure would be.

    Returns:
        Bits; how the gross exposure of the strategy would be and by how much it grows; what the order's side of its
        pair and lane would be worth.
    """
    mark, multiplier = instrument[lay.MARK], instrument[lay.MULTIPLIER]
    reach, own_reach = reach_of(pair, buys, more), reach_of(lane, buys, more)
    worth = money(mark, reach, multiplier)
    own_worth = worth if own_reach == reach else money(mark, own_reach, multiplier)
    beyond = account[lay.BEYOND] | strategy[lay.BEYOND] | pair[lay.BEYOND] | lane[lay.BEYOND]
    if beyond != 0 or worth == TOO_MUCH or own_worth == TOO_MUCH:
        bit = note(found, _GROSS_EXPOSURE, lay.NO_LIMIT, lay.AMOUNT_MAX, _ACCOUNT_SCOPE)
        return bit, np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    grows, own_grows = growth(pair, buys, worth), growth(lane, buys, own_worth)
    gross, own_gross = account[lay.GROSS] + grows, strategy[lay.GROSS] + own_grows
    net, own_net = _net(account, pair, buys, worth), _net(strategy, lane, buys, own_worth)
    side_worth, own_side_worth, side_net = (worth, own_worth, net) if buys else (-worth, -own_worth, -net)
    decision[17] = gross
    decision[18] = side_net
    bits = np.int64(0)
    if more == 0 or reduces:
        return bits, own_gross, bits, side_worth, own_side_worth
    bits |= _judge_both(found, lane, _POSITION_QUANTITY, lay.REACH, reach, own_reach)
    bits |= _judge_both(found, lane, _POSITION_NOTIONAL, lay.REACH_WORTH, worth, own_worth)
    if gross > lane[lay.CHECK_LIMITS + lay.GROSS_LIMIT] and grows > 0:
        bits |= _judge_limit(found, lane, _GROSS_EXPOSURE, lay.GROSS_LIMIT, gross)
    elif own_grows > 0:
        bits |= _judge_limit(found, lane, _GROSS_EXPOSURE, lay.GROSS_LIMIT + 1, own_gross)
    bits |= _judge_both(found, lane, _NET_EXPOSURE, lay.NET_LIMIT, net, own_net)
    return bits, own_gross, own_grows, side_worth, own_side_worth


@part
def in_window(own, ring, base, head, after_ns, size):  # type: ignore[no-untyped-def]
    """How many times of the ring are later; they ascend."""
    stop = own[head]
    low, high = max(stop - size, 0), stop
    while low < high:
        middle = (low + high) >> 1
        if ring[base + (middle & (size - 1))] <= after_ns:
            low = middle + 1
        else:
            high = middle
    return stop - low


@inlined
def _judge_rate_of(found, own, rings, at, lane, reason, check, base, head, after_ns, size):  # type: ignore[no-untyped-def]
    """One more within the window than allowed? It is when the last but `limit` is still in it."""
    limit = lane[lay.CHECK_LIMITS + check]
    if limit == lay.NO_LIMIT:
        return np.int64(0)
    ring, before = rings[lane[at]], own[head] - limit
    if limit != 0 and (before < 0 or ring[base + (before & (size - 1))] <= after_ns):
        return np.int64(0)
    count = in_window(own, ring, base, head, after_ns, size) + 1
    return note(found, reason, count, limit, lane[lay.CHECK_SCOPES + check])


@inlined
def judge_rate(  # type: ignore[no-untyped-def]
    found, account, strategy, pair, rings, lane, reason, check, base, head, after_ns, size
):
    """Account, strategy, pair; one row names the first."""
    bit = _judge_rate_of(found, account, rings, lay.ACCOUNT_AT, lane, reason, check, base, head, after_ns, size)
    if bit == 0:
        bit = _judge_rate_of(
            found, strategy, rings, lay.STRATEGY_AT, lane, reason, check + 1, base, head, after_ns, size
        )
    if bit == 0:
        bit = _judge_rate_of(found, pair, rings, lay.PAIR_AT, lane, reason, check + 2, base, head, after_ns, size)
    return bit


@inlined
def _note_time_of(own, rings, line, limit, base, head, now, size):  # type: ignore[no-untyped-def]
    if limit != lay.NO_LIMIT and line != 0:
        rings[line, base + (own[head] & (size - 1))] = now
        own[head] += 1


@inlined
def note_order(account, strategy, pair, rings, lane, now, size):  # type: ignore[no-untyped-def]
    """One more was approved, for those whose rate is limited in the second or the minute."""
    second, minute, head = lay.CHECK_LIMITS + lay.SECOND_LIMIT, lay.CHECK_LIMITS + lay.MINUTE_LIMIT, lay.ORDERS_HEAD
    _note_time_of(account, rings, lane[lay.ACCOUNT_AT], min(lane[second], lane[minute]), 0, head, now, size)
    _note_time_of(strategy, rings, lane[lay.STRATEGY_AT], min(lane[second + 1], lane[minute + 1]), 0, head, now, size)
    _note_time_of(pair, rings, lane[lay.PAIR_AT], min(lane[second + 2], lane[minute + 2]), 0, head, now, size)


@inlined
def note_cancel(account, strategy, pair, rings, lane, now, size):  # type: ignore[no-untyped-def]
    limit, head = lay.CHECK_LIMITS + lay.CANCEL_LIMIT, lay.CANCELS_HEAD
    _note_time_of(account, rings, lane[lay.ACCOUNT_AT], lane[limit], size, head, now, size)
    _note_time_of(strategy, rings, lane[lay.STRATEGY_AT], lane[limit + 1], size, head, now, size)
    _note_time_of(pair, rings, lane[lay.PAIR_AT], lane[limit + 2], size, head, now, size)


@inlined
def judge_pace(found, settings, meta, account, strategy, pair, rings, lane, now, is_new):  # type: ignore[no-untyped-def]
    """Open orders, and orders a second and a minute."""
    bits, size = np.int64(0), settings[lay.RING]
    if is_new:
        bits = _judge_limit(found, lane, _OPEN_ORDERS, lay.OPEN_LIMIT, account[lay.OPEN] + 1)
        if bits == 0:
            bits = _judge_limit(found, lane, _OPEN_ORDERS, lay.OPEN_LIMIT + 1, strategy[lay.OPEN] + 1)
        if bits == 0:
            bits = _judge_limit(found, lane, _OPEN_ORDERS, lay.OPEN_LIMIT + 2, pair[lay.OPEN] + 1)
        if bits == 0 and meta[lay.QUEUE_FIRST] == 0:
            full = settings[lay.ORDERS_MAX]
            bits = note(found, _OPEN_ORDERS, full + 1, full, _GLOBAL_SCOPE)
    bits |= judge_rate(
        found, account, strategy, pair, rings, lane, _RATE_SECOND, lay.SECOND_LIMIT, 0, lay.ORDERS_HEAD,
        now - lay.SECOND_NS, size,
    )  # fmt: skip
    return bits | judge_rate(
        found, account, strategy, pair, rings, lane, _RATE_MINUTE, lay.MINUTE_LIMIT, 0, lay.ORDERS_HEAD,
        now - lay.MINUTE_NS, size,
    )  # fmt: skip


@inlined
def repeat_place(recent, where, side, price, quantity):  # type: ignore[no-untyped-def]
    """Among the first of the places, twice as many as can be remembered: they stay in the fast memory."""
    mixed = where ^ (where >> 32) ^ (price >> 6) ^ (price >> 17) ^ (quantity >> 3) ^ (quantity >> 15) ^ side
    return mixed & (2 * len(recent) - 1)


@inlined
def age_of_equal(  # type: ignore[no-untyped-def]
    meta, places, recent, place, now, window, where, side, price, quantity
):
    """How long ago an equal order of the account was approved; -1: not within the window."""
    count = places[lay.BY_REPEAT, place]  # entry + 1; 0: none
    while count > 0 and count > meta[lay.RECENT_COUNT] - len(recent):
        entry = (count - 1) & (len(recent) - 1)
        age = now - recent[entry, lay.RECENT_NS]
        if age >= window:
            return np.int64(-1)
        same = recent[entry, lay.RECENT_WHERE] == where and recent[entry, lay.RECENT_SIDE] == side
        if same and recent[entry, lay.RECENT_PRICE] == price and recent[entry, lay.RECENT_SIZE] == quantity:
            return age
        count = recent[entry, lay.RECENT_BEFORE]
    return np.int64(-1)


@inlined
def judge_repeat(  # type: ignore[no-untyped-def]
    found, request, meta, lane, places, recent, now, price, quantity
):
    """An equal order of the account was approved within the window."""
    window = lane[lay.CHECK_LIMITS + lay.REPEAT]
    if window == 0:
        return np.int64(0)
    where, side = request[9], (request[10] >> 32) & 0xFF
    place = repeat_place(recent, where, side, price, quantity)
    age = age_of_equal(meta, places, recent, place, now, window, where, side, price, quantity)
    if age < 0:
        return np.int64(0)
    return note(found, _DUPLICATE, age, window, lane[lay.CHECK_SCOPES + lay.REPEAT])


@inlined
def note_repeat(meta, places, recent, place, now, where, side, price, quantity):  # type: ignore[no-untyped-def]
    """The order was approved; `place` is its `repeat_place`."""
    entry = meta[lay.RECENT_COUNT] & (len(recent) - 1)
    recent[entry, lay.RECENT_NS] = now
    recent[entry, lay.RECENT_WHERE] = where
    recent[entry, lay.RECENT_SIDE] = side
    recent[entry, lay.RECENT_PRICE] = price
    recent[entry, lay.RECENT_SIZE] = quantity
    recent[entry, lay.RECENT_BEFORE] = places[lay.BY_REPEAT, place]
    meta[lay.RECENT_COUNT] += 1
    places[lay.BY_REPEAT, place] = meta[lay.RECENT_COUNT]


@inlined
def judge_self(found, orders, pair, kind, buys, price):  # type: ignore[no-untyped-def]
    """It would meet a resting order of its own account. Market orders meet whatever rests; a stop rests nowhere yet."""
    resting = best_resting(orders, pair, not buys)
    if resting == 0 or kind == _STOP:
        return np.int64(0)
    if kind != _MARKET and (price < resting if buys else price > resting):
        return np.int64(0)
    return note(found, _SELF_TRADE, price, resting, _ACCOUNT_SCOPE)


@inlined
def _judge_streak(found, settings, own, lane, check, now):  # type: ignore[no-untyped-def]
    limit, streak = lane[lay.CHECK_LIMITS + check], own[lay.STREAK]
    if streak < limit or now >= own[lay.LAST_LOSS_NS] + settings[lay.LOSSES_COOLDOWN_NS]:
        return np.int64(0)
    return note(found, _BREAKER_LOSSES, streak, limit, lane[lay.CHECK_SCOPES + check])


@inlined
def judge_profit(found, settings, instrument, account, strategy, lane, now):  # type: ignore[no-untyped-def]
    """Loss of the day, fall from the peak, and the two breakers. Orders that only reduce pass."""
    worth, own_worth = equity(account), equity(strategy)
    lost, own_lost = account[lay.DAY_BASE] - worth, strategy[lay.DAY_BASE] - own_worth
    bits = _judge_both(found, lane, _DAILY_LOSS, lay.LOSS_LIMIT, lost, own_lost)
    peak = lay.PEAK_DAY if settings[lay.FALL_OF_DAY] == 1 else lay.PEAK
    bits |= _judge_both(found, lane, _DRAWDOWN, lay.FALL_LIMIT, account[peak] - worth, strategy[peak] - own_worth)
    streak = _judge_streak(found, settings, account, lane, lay.STREAK_LIMIT, now)
    if streak == 0:
        streak = _judge_streak(found, settings, strategy, lane, lay.STREAK_LIMIT + 1, now)
    bits |= streak
    limit = instrument[lay.MOVE_LIMIT]
    if now < instrument[lay.MOVE_UNTIL_NS] and limit != lay.NO_LIMIT:
        bits |= note(found, _BREAKER_MOVE, instrument[lay.MOVE_SEEN], limit, instrument[lay.MOVE_SCOPE])
    return bits


@inlined
def judge_strategy(  # type: ignore[no-untyped-def]
    found, lane, reduces, gross, grows
):
    """Is the strategy enabled, for this account and instrument, and within its capital?"""
    bits = np.int64(0)
    fault = lane[lay.FAULT]
    if fault == lay.FAULT_STRANGER or (fault == lay.FAULT_DISABLED and not reduces):
        value, limit = lane[lay.FAULT_VALUE], lane[lay.FAULT_LIMIT]
        bits |= note(found, _STRATEGY_DISABLED, value, limit, _STRATEGY_SCOPE)
    capital = lane[lay.CAPITAL_LIMIT]
    if gross > capital and grows > 0 and not reduces:
        bits |= note(found, _STRATEGY_CAPITAL, gross, capital, _STRATEGY_SCOPE)
    return bits


@inlined
def _needs_price(kind):  # type: ignore[no-untyped-def]
    return kind in (_LIMIT, _STOP_LIMIT)


@inlined
def _needs_stop(kind):  # type: ignore[no-untyped-def]
    return kind in (_STOP, _STOP_LIMIT)


@inlined
def fault_of_change(request, kind, stop):  # type: ignore[no-untyped-def]
    """What no order of that kind can have, new or amended; 0 when it is well formed."""
    price, quantity = request[3], request[5]
    if quantity < 1 or quantity > lay.QUANTITY_MAX:
        return lay.REQUEST_QUANTITY
    if price < 0 or price > lay.PRICE_MAX or (price != 0) != _needs_price(kind):
        return lay.REQUEST_PRICE
    if stop < 0 or stop > lay.PRICE_MAX or (stop != 0) != _needs_stop(kind):
        return lay.REQUEST_STOP
    return 0


@inlined
def fault_of_new(request, now):  # type: ignore[no-untyped-def]
    word = request[10]
    side, kind, force, flags = (word >> 32) & 0xFF, (word >> 40) & 0xFF, (word >> 48) & 0xFF, (word >> 56) & 0xFF
    if side > 1 or kind > _KIND_LAST or force > _FORCE_LAST:
        return lay.REQUEST_ENUM
    if flags & ~_FLAGS != 0:
        return lay.REQUEST_FLAGS
    if flags & _POST_ONLY != 0 and (not _needs_price(kind) or force in (_IOC, _FOK)):
        return lay.REQUEST_FLAGS
    if request[6] >> 62 != 0 or (request[6] > now) != (force == _GTD):
        return lay.REQUEST_EXPIRY
    if force != _GTD and request[6] != 0:
        return lay.REQUEST_EXPIRY
    return fault_of_change(request, kind, request[4])


@inlined
def is_plain(request):  # type: ignore[no-untyped-def]
    """Nearly every new order, at a glance: a limit order without expiry, in which `fault_of_new` finds nothing."""
    price, quantity = request[3], request[5]
    return (
        request[10] & _OF_PLAIN == _PLAIN
        and request[4] | request[6] == 0
        and 1 <= price <= lay.PRICE_MAX
        and 1 <= quantity <= lay.QUANTITY_MAX
    )


@inlined
def fault_of_any(request):  # type: ignore[no-untyped-def]
    """What no request can have; 0 when it is well formed so far."""
    if (request[0] | request[1]) >> 62 != 0:
        return lay.REQUEST_TIME
    return lay.REQUEST_ENUM if request[11] & 0xFF > _ACTION_LAST else 0


@inlined
def far_price(instrument, kind, buys, price, stop):  # type: ignore[no-untyped-def]
    """What the order is valued at: its limit, its trigger, or the far side of the touch; 0 when there is none."""
    if _needs_price(kind):
        return price
    if kind == _STOP:
        return stop
    return instrument[lay.ASK] if buys else instrument[lay.BID]


@inlined
def worth_of(instrument, order, kind, buys, stop):  # type: ignore[no-untyped-def]
    """What an order is worth as it is known before an amend."""
    total = max(order[lay.TOTAL], order[lay.ASKED_TOTAL])
    price = far_price(instrument, kind, buys, order[lay.LIMIT_PRICE], stop)
    if not buys:
        price = max(price, instrument[lay.BID])
    return money(price, total, instrument[lay.MULTIPLIER])


@inlined
def judge_request(found, request, settings, lane, is_known, malformed, now):  # type: ignore[no-untyped-def]
    """Limits there must be, and what the request itself says."""
    bits = np.int64(0)
    required, wanted = lane[lay.REQUIRED_SET], settings[lay.REQUIRED_COUNT]
    if required < wanted:
        bits |= note(found, _NO_LIMITS, required, wanted, _ACCOUNT_SCOPE)
    if not is_known:
        bits |= note(found, _UNKNOWN_ORDER, request[2], 0, _STRATEGY_SCOPE)
    if malformed != 0:
        bits |= note(found, _MALFORMED, malformed, 0, _STRATEGY_SCOPE)
    if (lane[lay.STOPPED] >> _RECONCILING) & 1 != 0:
        kill = lane[lay.KILL_IDS + _KILL_INSTRUMENT + 1]
        bits |= note(found, _RECONCILING, kill, 0, _ACCOUNT_SCOPE)
    if now > request[7]:
        bits |= note(found, _EXPIRED, now, request[7], _STRATEGY_SCOPE)
    return bits
