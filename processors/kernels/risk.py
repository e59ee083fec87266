"""Order requests → decisions: every check is evaluated, and all reasons are in one bit mask.

`judge_requests` walks the requests once. Each is judged by parts that belong together; each part returns the bits it
sets and notes the two numbers compared in `found`, by reason; `_write_denials` makes rows of them. So what is rare
stays out of the way of what is not: an order against which nothing stands only compares. Arrays and columns are
described in `risk_layout.py`; what is known of positions, orders and profit comes from `risk_figures.py`.
"""

from __future__ import annotations

import numpy as np

from processors.kernels import risk_layout as lay
from processors.kernels.bits import highest_bit, likely, rotate_right
from processors.kernels.compiling import inlined, kernel, part
from processors.kernels.risk_figures import (
    TOO_MUCH,
    best_resting,
    distance_bp,
    equity,
    find_lane,
    find_tag,
    money,
    move_clock,
    open_order,
    set_exposure,
    settle_order,
)
from schemas.events import InstrumentStatus, Side, Trust
from schemas.trading import OrderFlag, OrderKind, Reason, RequestAction, Scope, TimeInForce

_BUY = int(Side.BUY)
_SYNCED = int(Trust.SYNCED)
_TRADING = int(InstrumentStatus.TRADING)
_NEW = int(RequestAction.NEW)
_AMEND = int(RequestAction.AMEND)
_CANCEL = int(RequestAction.CANCEL)
_CANCEL_ALL = int(RequestAction.CANCEL_ALL)
_LIMIT = int(OrderKind.LIMIT)
_MARKET = int(OrderKind.MARKET)
_STOP = int(OrderKind.STOP)
_STOP_LIMIT = int(OrderKind.STOP_LIMIT)
_GTD = int(TimeInForce.GTD)
_IOC = int(TimeInForce.IOC)
_FOK = int(TimeInForce.FOK)
_POST_ONLY = int(OrderFlag.POST_ONLY)
_REDUCE_ONLY = int(OrderFlag.REDUCE_ONLY)
_FLATTEN = int(OrderFlag.FLATTEN)
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
_CANCEL_RATE = int(Reason.CANCEL_RATE)
_DUPLICATE = int(Reason.DUPLICATE)
_SELF_TRADE = int(Reason.SELF_TRADE)
_DAILY_LOSS = int(Reason.DAILY_LOSS)
_DRAWDOWN = int(Reason.DRAWDOWN)
_BREAKER_LOSSES = int(Reason.BREAKER_LOSSES)
_BREAKER_MOVE = int(Reason.BREAKER_MOVE)
_REDUCE_ONLY_REASON = int(Reason.REDUCE_ONLY)
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
def _note(found, reason, value, limit, scope):  # type: ignore[no-untyped-def]
    """A reason against the request: what `_write_denials` will say.

    Returns:
        The reason's bit.
    """
    found[reason, 0] = value
    found[reason, 1] = limit
    found[reason, 2] = scope
    return np.int64(1) << reason


@part
def _write_denials(bits, found, request, order_id, cause_row, settings, denials, row):  # type: ignore[no-untyped-def]
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
    return _note(found, reason, value, limit, scope)


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
def _judge_stops(found, lane, flattens):  # type: ignore[no-untyped-def]
    """Kill switches of all scopes. What flattens, passes them."""
    stopped = lane[lay.STOPPED]
    if likely(stopped == 0) or flattens:
        return np.int64(0)
    bits = np.int64(0)
    for reason in range(_KILL_INSTRUMENT + 1):
        if (stopped >> reason) & 1 != 0:
            kill = lane[lay.KILL_IDS + reason]
            bits |= _note(found, reason, kill, 0, reason)
    return bits


@inlined
def _judge_inputs(found, request, instrument, lane, now):  # type: ignore[no-untyped-def]
    """Is the instrument known and open, and may its book be believed?"""
    bits = np.int64(0)
    if instrument[lay.TRUST] != _SYNCED:
        trust = instrument[lay.TRUST]
        bits |= _note(found, _UNTRUSTED, trust, _SYNCED, _INSTRUMENT_SCOPE)
    if instrument[lay.QUOTED] == 1:
        age = now - instrument[lay.QUOTE_NS]
        bits |= _judge_limit(found, lane, _STALE_INPUT, lay.AGE, age)
    if instrument[lay.BID] == 0 or instrument[lay.ASK] == 0:
        bits |= _note(found, _NO_QUOTE, 0, 0, _INSTRUMENT_SCOPE)
    if instrument[lay.KNOWN] == 0:
        who = request[9] & 0xFFFFFFFF
        return bits | _note(found, _UNKNOWN_INSTRUMENT, who, 0, _INSTRUMENT_SCOPE)
    if instrument[lay.STATUS] != _TRADING:
        status = instrument[lay.STATUS]
        bits |= _note(found, _INSTRUMENT_HALTED, status, _TRADING, _INSTRUMENT_SCOPE)
    expiry = instrument[lay.EXPIRY_NS]
    if expiry != 0 and now >= expiry:
        bits |= _note(found, _OUTSIDE_HOURS, now, expiry, _INSTRUMENT_SCOPE)
    return bits


@inlined
def _off_grid(instrument, step, amount):  # type: ignore[no-untyped-def]
    """Whether the amount is no multiple of the step, a column that its inverse, turn and most follow; 0: none is.

    The inverse of the step's odd part undoes it modulo 2^64 and the turn its twos: multiples come out as what they
    are multiples by, everything else above the greatest of those. No division.
    """
    times = np.uint64(abs(amount)) * np.uint64(instrument[step + lay.INVERSE])
    return rotate_right(times, np.uint64(instrument[step + lay.TURN])) > np.uint64(instrument[step + lay.MOST])


@inlined
def _judge_price(found, instrument, price, stop):  # type: ignore[no-untyped-def]
    """Tick and range, of the limit price and the trigger; one row names the first that is wrong."""
    bits = np.int64(0)
    origin = instrument[lay.ORIGIN]
    if price != 0 and _off_grid(instrument, lay.TICK, price - origin):
        bits |= _note(found, _TICK_SIZE, price, instrument[lay.TICK], _INSTRUMENT_SCOPE)
    elif stop != 0 and _off_grid(instrument, lay.TICK, stop - origin):
        bits |= _note(found, _TICK_SIZE, stop, instrument[lay.TICK], _INSTRUMENT_SCOPE)
    return bits


@inlined
def _judge_range(  # type: ignore[no-untyped-def]
    found, reason, value, low, high
):
    """Deny outside of low … high; high 0: no upper bound."""
    if value < low:
        return _note(found, reason, value, low, _INSTRUMENT_SCOPE)
    if high != 0 and value > high:
        return _note(found, reason, value, high, _INSTRUMENT_SCOPE)
    return np.int64(0)


@inlined
def _judge_size(  # type: ignore[no-untyped-def]
    found, instrument, kind, price, stop, quantity
):
    """Lot and ranges."""
    bits = np.int64(0)
    if _off_grid(instrument, lay.LOT, quantity):
        bits |= _note(found, _LOT_SIZE, quantity, instrument[lay.LOT], _INSTRUMENT_SCOPE)
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
def _judge_worth(  # type: ignore[no-untyped-def]
    found, instrument, lane, buys, plain, quantity, reduces, more, before
):
    """The order's own quantity and value. `plain`: its price; `before`: the value it had before an amend."""
    bits = np.int64(0)
    multiplier = instrument[lay.MULTIPLIER]
    worth = money(plain, quantity, multiplier)
    low = instrument[lay.WORTH_LOW]
    if worth < low and worth != TOO_MUCH and plain != 0 and not reduces:
        bits |= _note(found, _MIN_NOTIONAL, worth, low, _INSTRUMENT_SCOPE)
    if more:
        bits |= _judge_limit(found, lane, _ORDER_QUANTITY, lay.SIZE, quantity)
    if not buys and instrument[lay.BID] > plain:  # it sells at the bid, however low its limit
        worth = money(instrument[lay.BID], quantity, multiplier)
    if worth == TOO_MUCH:
        limit = lane[lay.CHECK_LIMITS + lay.WORTH]
        scope = lane[lay.CHECK_SCOPES + lay.WORTH]
        bits |= _note(found, _ORDER_NOTIONAL, lay.NO_LIMIT, limit, scope)
    elif worth > before:
        bits |= _judge_limit(found, lane, _ORDER_NOTIONAL, lay.WORTH, worth)
    return bits


@inlined
def _judge_collar(  # type: ignore[no-untyped-def]
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
def _reach(own, buys, more):  # type: ignore[no-untyped-def]
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
def _growth(own, buys, worth):  # type: ignore[no-untyped-def]
    """By how much the worse magnitude of a pair or lane grows with `worth` on the order's side."""
    longest, shortest = abs(own[lay.LONG]), abs(own[lay.SHORT])
    return max(abs(worth), shortest if buys else longest) - max(longest, shortest)


@inlined
def _judge_exposure(  # type: ignore[no-untyped-def]
    found, instrument, account, strategy, pair, lane, buys, more, reduces, decision
):
    """What position, gross and net exposure would be.

    Returns:
        Bits; how the gross exposure of the strategy would be and by how much it grows; what the order's side of its
        pair and lane would be worth.
    """
    mark, multiplier = instrument[lay.MARK], instrument[lay.MULTIPLIER]
    reach, own_reach = _reach(pair, buys, more), _reach(lane, buys, more)
    worth = money(mark, reach, multiplier)
    own_worth = worth if own_reach == reach else money(mark, own_reach, multiplier)
    beyond = account[lay.BEYOND] | strategy[lay.BEYOND] | pair[lay.BEYOND] | lane[lay.BEYOND]
    if beyond != 0 or worth == TOO_MUCH or own_worth == TOO_MUCH:
        bit = _note(found, _GROSS_EXPOSURE, lay.NO_LIMIT, lay.AMOUNT_MAX, _ACCOUNT_SCOPE)
        return bit, np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    grows, own_grows = _growth(pair, buys, worth), _growth(lane, buys, own_worth)
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
def _in_window(own, ring, base, head, after_ns, size):  # type: ignore[no-untyped-def]
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
    count = _in_window(own, ring, base, head, after_ns, size) + 1
    return _note(found, reason, count, limit, lane[lay.CHECK_SCOPES + check])


@inlined
def _judge_rate(  # type: ignore[no-untyped-def]
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
def _note_order(account, strategy, pair, rings, lane, now, size):  # type: ignore[no-untyped-def]
    """One more was approved, for those whose rate is limited in the second or the minute."""
    second, minute, head = lay.CHECK_LIMITS + lay.SECOND_LIMIT, lay.CHECK_LIMITS + lay.MINUTE_LIMIT, lay.ORDERS_HEAD
    _note_time_of(account, rings, lane[lay.ACCOUNT_AT], min(lane[second], lane[minute]), 0, head, now, size)
    _note_time_of(strategy, rings, lane[lay.STRATEGY_AT], min(lane[second + 1], lane[minute + 1]), 0, head, now, size)
    _note_time_of(pair, rings, lane[lay.PAIR_AT], min(lane[second + 2], lane[minute + 2]), 0, head, now, size)


@inlined
def _note_cancel(account, strategy, pair, rings, lane, now, size):  # type: ignore[no-untyped-def]
    limit, head = lay.CHECK_LIMITS + lay.CANCEL_LIMIT, lay.CANCELS_HEAD
    _note_time_of(account, rings, lane[lay.ACCOUNT_AT], lane[limit], size, head, now, size)
    _note_time_of(strategy, rings, lane[lay.STRATEGY_AT], lane[limit + 1], size, head, now, size)
    _note_time_of(pair, rings, lane[lay.PAIR_AT], lane[limit + 2], size, head, now, size)


@inlined
def _judge_pace(found, settings, meta, account, strategy, pair, rings, lane, now, is_new):  # type: ignore[no-untyped-def]
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
            bits = _note(found, _OPEN_ORDERS, full + 1, full, _GLOBAL_SCOPE)
    bits |= _judge_rate(
        found, account, strategy, pair, rings, lane, _RATE_SECOND, lay.SECOND_LIMIT, 0, lay.ORDERS_HEAD,
        now - lay.SECOND_NS, size,
    )  # fmt: skip
    return bits | _judge_rate(
        found, account, strategy, pair, rings, lane, _RATE_MINUTE, lay.MINUTE_LIMIT, 0, lay.ORDERS_HEAD,
        now - lay.MINUTE_NS, size,
    )  # fmt: skip


@inlined
def _repeat_place(recent, where, side, price, quantity):  # type: ignore[no-untyped-def]
    """Among the first of the places, twice as many as can be remembered: they stay in the fast memory."""
    mixed = where ^ (where >> 32) ^ (price >> 6) ^ (price >> 17) ^ (quantity >> 3) ^ (quantity >> 15) ^ side
    return mixed & (2 * len(recent) - 1)


@inlined
def _judge_repeat(  # type: ignore[no-untyped-def]
    found, request, meta, lane, places, recent, now, price, quantity
):
    """An equal order of the account was approved within the window."""
    window = lane[lay.CHECK_LIMITS + lay.REPEAT]
    if window == 0:
        return np.int64(0)
    where, side = request[9], (request[10] >> 32) & 0xFF
    count = places[lay.BY_REPEAT, _repeat_place(recent, where, side, price, quantity)]  # entry + 1; 0: none
    while count > 0 and count > meta[lay.RECENT_COUNT] - len(recent):
        entry = (count - 1) & (len(recent) - 1)
        age = now - recent[entry, lay.RECENT_NS]
        if age >= window:
            return np.int64(0)
        same = recent[entry, lay.RECENT_WHERE] == where and recent[entry, lay.RECENT_SIDE] == side
        if same and recent[entry, lay.RECENT_PRICE] == price and recent[entry, lay.RECENT_SIZE] == quantity:
            scope = lane[lay.CHECK_SCOPES + lay.REPEAT]
            return _note(found, _DUPLICATE, age, window, scope)
        count = recent[entry, lay.RECENT_BEFORE]
    return np.int64(0)


@inlined
def _note_repeat(meta, places, recent, request, now, price, quantity):  # type: ignore[no-untyped-def]
    where, side = request[9], (request[10] >> 32) & 0xFF
    place = _repeat_place(recent, where, side, price, quantity)
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
def _judge_self(found, orders, pair, kind, buys, price):  # type: ignore[no-untyped-def]
    """It would meet a resting order of its own account. Market orders meet whatever rests; a stop rests nowhere yet."""
    resting = best_resting(orders, pair, not buys)
    if resting == 0 or kind == _STOP:
        return np.int64(0)
    if kind != _MARKET and (price < resting if buys else price > resting):
        return np.int64(0)
    return _note(found, _SELF_TRADE, price, resting, _ACCOUNT_SCOPE)


@inlined
def _judge_streak(found, settings, own, lane, check, now):  # type: ignore[no-untyped-def]
    limit, streak = lane[lay.CHECK_LIMITS + check], own[lay.STREAK]
    if streak < limit or now >= own[lay.LAST_LOSS_NS] + settings[lay.LOSSES_COOLDOWN_NS]:
        return np.int64(0)
    return _note(found, _BREAKER_LOSSES, streak, limit, lane[lay.CHECK_SCOPES + check])


@inlined
def _judge_profit(found, settings, instrument, account, strategy, lane, now):  # type: ignore[no-untyped-def]
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
        bits |= _note(found, _BREAKER_MOVE, instrument[lay.MOVE_SEEN], limit, instrument[lay.MOVE_SCOPE])
    return bits


@inlined
def _judge_strategy(  # type: ignore[no-untyped-def]
    found, lane, reduces, gross, grows
):
    """Is the strategy enabled, for this account and instrument, and within its capital?"""
    bits = np.int64(0)
    fault = lane[lay.FAULT]
    if fault == lay.FAULT_STRANGER or (fault == lay.FAULT_DISABLED and not reduces):
        value, limit = lane[lay.FAULT_VALUE], lane[lay.FAULT_LIMIT]
        bits |= _note(found, _STRATEGY_DISABLED, value, limit, _STRATEGY_SCOPE)
    capital = lane[lay.CAPITAL_LIMIT]
    if gross > capital and grows > 0 and not reduces:
        bits |= _note(found, _STRATEGY_CAPITAL, gross, capital, _STRATEGY_SCOPE)
    return bits


@inlined
def _needs_price(kind):  # type: ignore[no-untyped-def]
    return kind in (_LIMIT, _STOP_LIMIT)


@inlined
def _needs_stop(kind):  # type: ignore[no-untyped-def]
    return kind in (_STOP, _STOP_LIMIT)


@inlined
def _fault_of_change(request, kind, stop):  # type: ignore[no-untyped-def]
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
def _fault_of_new(request, now):  # type: ignore[no-untyped-def]
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
    return _fault_of_change(request, kind, request[4])


@inlined
def _is_plain(request):  # type: ignore[no-untyped-def]
    """Nearly every new order, at a glance: a limit order without expiry, in which `_fault_of_new` finds nothing."""
    price, quantity = request[3], request[5]
    return (
        request[10] & _OF_PLAIN == _PLAIN
        and request[4] | request[6] == 0
        and 1 <= price <= lay.PRICE_MAX
        and 1 <= quantity <= lay.QUANTITY_MAX
    )


@inlined
def _fault_of_any(request):  # type: ignore[no-untyped-def]
    """What no request can have; 0 when it is well formed so far."""
    if (request[0] | request[1]) >> 62 != 0:
        return lay.REQUEST_TIME
    return lay.REQUEST_ENUM if request[11] & 0xFF > _ACTION_LAST else 0


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
    bits = _judge_rate(
        found, account, strategy, pair, rings, lane, _CANCEL_RATE, lay.CANCEL_LIMIT, size, lay.CANCELS_HEAD,
        now - lay.MINUTE_NS, size,
    )  # fmt: skip
    if not is_known:
        bits |= _note(found, _UNKNOWN_ORDER, request[2], 0, _STRATEGY_SCOPE)
    if malformed != 0:
        bits |= _note(found, _MALFORMED, malformed, 0, _STRATEGY_SCOPE)
    if bits == 0:
        _note_cancel(account, strategy, pair, rings, lane, now, size)
    return bits


@inlined
def _far_price(instrument, kind, buys, price, stop):  # type: ignore[no-untyped-def]
    """What the order is valued at: its limit, its trigger, or the far side of the touch; 0 when there is none."""
    if _needs_price(kind):
        return price
    if kind == _STOP:
        return stop
    return instrument[lay.ASK] if buys else instrument[lay.BID]


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
    bits = _judge_stops(found, lane, flattens)
    bits |= _judge_inputs(found, request, instrument, lane, now)
    own_gross, own_grows, worth, own_worth, plain = np.int64(0), np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    judged = malformed == 0 and (is_new or line != 0)
    if judged:
        plain = _far_price(instrument, kind, buys, price, stop)
        if line != 0:
            worth_before = _worth_of(instrument, orders[line], kind, buys, stop)
        bits |= _judge_price(found, instrument, price, stop)
        bits |= _judge_size(found, instrument, kind, price, stop, quantity)
        bits |= _judge_worth(found, instrument, lane, buys, plain, quantity, reduces, more > 0, worth_before)
        bits |= _judge_collar(found, instrument, lane, kind, price, stop)
        exposed, own_gross, own_grows, worth, own_worth = _judge_exposure(
            found, instrument, account, strategy, pair, lane, buys, more, reduces, decision
        )
        bits |= exposed
    bits |= _judge_pace(found, settings, meta, account, strategy, pair, rings, lane, now, is_new)
    if judged:
        if is_new:
            bits |= _judge_repeat(found, request, meta, lane, places, recent, now, price, quantity)
        bits |= _judge_self(found, orders, pair, kind, buys, plain)
    if not reduces:
        bits |= _judge_profit(found, settings, instrument, account, strategy, lane, now)
    elif judged and more > 0:
        reach = _reach(pair, buys, more)
        if reach > 0:
            bits |= _note(found, _REDUCE_ONLY_REASON, reach, 0, _ACCOUNT_SCOPE)
    bits |= _judge_strategy(found, lane, reduces, own_gross, own_grows)
    bits |= _judge_request(found, request, settings, lane, is_new or line != 0, malformed, now)
    return bits, worth, own_worth


@inlined
def _worth_of(instrument, order, kind, buys, stop):  # type: ignore[no-untyped-def]
    """What an order is worth as it is known before an amend."""
    total = max(order[lay.TOTAL], order[lay.ASKED_TOTAL])
    price = _far_price(instrument, kind, buys, order[lay.LIMIT_PRICE], stop)
    if not buys:
        price = max(price, instrument[lay.BID])
    return money(price, total, instrument[lay.MULTIPLIER])


@inlined
def _judge_request(found, request, settings, lane, is_known, malformed, now):  # type: ignore[no-untyped-def]
    """Limits there must be, and what the request itself says."""
    bits = np.int64(0)
    required, wanted = lane[lay.REQUIRED_SET], settings[lay.REQUIRED_COUNT]
    if required < wanted:
        bits |= _note(found, _NO_LIMITS, required, wanted, _ACCOUNT_SCOPE)
    if not is_known:
        bits |= _note(found, _UNKNOWN_ORDER, request[2], 0, _STRATEGY_SCOPE)
    if malformed != 0:
        bits |= _note(found, _MALFORMED, malformed, 0, _STRATEGY_SCOPE)
    if (lane[lay.STOPPED] >> _RECONCILING) & 1 != 0:
        kill = lane[lay.KILL_IDS + _KILL_INSTRUMENT + 1]
        bits |= _note(found, _RECONCILING, kill, 0, _ACCOUNT_SCOPE)
    if now > request[7]:
        bits |= _note(found, _EXPIRED, now, request[7], _STRATEGY_SCOPE)
    return bits


@inlined
def _approve(  # type: ignore[no-untyped-def]
    request, order_id, settings, meta, account, strategy, pair, rings, lane, lane_at, orders, line, places, recent, now,
    worth, own_worth, owners, lanes,
):  # fmt: skip
    """The order, or its amend, counts from now on."""
    word, price, quantity = request[10], request[3], request[5]
    _note_order(account, strategy, pair, rings, lane, now, settings[lay.RING])
    side = (word >> 32) & 0xFF
    if line == 0:
        open_order(
            meta, orders, places, account, strategy, pair, lane, lane_at, order_id, request[2], side,
            (word >> 40) & 0xFF, (word >> 56) & 0xFF, price, request[4], quantity,
        )  # fmt: skip
        if lane[lay.CHECK_LIMITS + lay.REPEAT] != 0:
            _note_repeat(meta, places, recent, request, now, price, quantity)
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
    malformed = _fault_of_any(request)
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
            if not likely(_is_plain(request)):
                malformed = _fault_of_new(request, now)
        elif malformed == 0 and line != 0:
            malformed = _fault_of_change(request, orders[line, lay.ORDER_KIND], orders[line, lay.STOP_PRICE])
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
    return _write_denials(bits, found, request, order_id, cause_row, settings, denials, denied)


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
    decided, denied = 0, 0
    ids, strategy, lane = np.int64(0), np.int64(0), np.int64(-1)
    for i in range(start, len(requests)):
        if decided >= len(decisions) or denied + lay.REASONS > len(denials):
            return _leave(cursor, i, decided, denied, lay.FULL)
        if i == cursor[lay.FORCED]:
            ids, lane = np.int64(0), np.int64(0)
        elif lane <= 0 or requests[i, 9] != ids or requests[i, 10] & 0xFFFFFFFF != strategy:
            ids, strategy = requests[i, 9], requests[i, 10] & 0xFFFFFFFF
            lane = find_lane(lanes, places, ids & 0xFFFFFFFF, (ids >> 32) & 0xFFFFFFFF, strategy)
        if lane < 0:
            return _leave(cursor, i, decided, denied, lay.LANE_WANTED)
        if lanes[lane, lay.VERSION] != meta[lay.VERSION_NOW]:
            cursor[lay.LANE] = lane
            return _leave(cursor, i, decided, denied, lay.REFRESH_WANTED)
        denied = _judge_row(
            requests, i, row_first, id_first, settings, meta, instruments, owners, rings, lanes, lane, orders, places,
            recent, found, decisions, decided, denials, denied,
        )  # fmt: skip
        decided += 1
    return _leave(cursor, len(requests), decided, denied, lay.DONE)
