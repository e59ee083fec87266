"""Order requests → decisions: every check is evaluated, and all reasons are in one bit mask.

`judge_requests` walks the requests once. Each is judged by parts that belong together; each part returns the bits it
sets and writes one Denial row for each of them. Arrays and columns are described in `risk_layout.py`; what is known
of positions, orders and profit comes from `risk_figures.py`.
"""

from __future__ import annotations

import numpy as np

from processors.kernels import risk_layout as lay
from processors.kernels.bits import likely
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
    set_exposure,
    set_tag,
    settle_order,
    take_line,
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
_ACTION_LAST, _KIND_LAST, _FORCE_LAST = (max(map(int, kind)) for kind in (RequestAction, OrderKind, TimeInForce))


@part
def _deny(denials, cursor, words, at, settings, reason, value, limit, scope):  # type: ignore[no-untyped-def]
    """Write a Denial row.

    Returns:
        The reason's bit.
    """
    row = cursor[lay.DENIALS]
    denials[row, 0] = words[at]
    denials[row, 1] = words[at + 1]
    denials[row, 2] = cursor[lay.THIS_ID]
    denials[row, 3] = value
    denials[row, 4] = limit
    denials[row, 5] = cursor[lay.THIS_ROW]
    denials[row, 6] = words[at + 9]
    unit = settings[lay.UNITS + reason]
    denials[row, 7] = (words[at + 10] & 0xFFFFFFFF) | (reason << 32) | (unit << 40) | (scope << 48)
    cursor[lay.DENIALS] = row + 1
    return np.int64(1) << reason


@inlined
def _judge_limit(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, lanes, lane, reason, check, value
):
    """Deny when the value is above the limit in force, if any."""
    limit = lanes[lane, lay.CHECK_LIMITS + check]
    if likely(value <= limit):
        return np.int64(0)
    scope = lanes[lane, lay.CHECK_SCOPES + check]
    return _deny(denials, cursor, words, at, settings, reason, value, limit, scope)


@inlined
def _judge_both(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, lanes, lane, reason, check, value, strategy_value
):
    """The account's figure, then the strategy's; one denial row names the first that is above its limit."""
    bit = _judge_limit(denials, cursor, words, at, settings, lanes, lane, reason, check, value)
    if bit == 0:
        bit = _judge_limit(denials, cursor, words, at, settings, lanes, lane, reason, check + 1, strategy_value)
    return bit


@inlined
def _judge_stops(denials, cursor, words, at, settings, lanes, lane, flattens):  # type: ignore[no-untyped-def]
    """Kill switches of all scopes. What flattens, passes them."""
    stopped = lanes[lane, lay.STOPPED]
    if likely(stopped == 0) or flattens:
        return np.int64(0)
    bits = np.int64(0)
    for reason in range(_KILL_INSTRUMENT + 1):
        if (stopped >> reason) & 1 != 0:
            kill = lanes[lane, lay.KILL_IDS + reason]
            bits |= _deny(denials, cursor, words, at, settings, reason, kill, 0, reason)
    return bits


@inlined
def _judge_inputs(denials, cursor, words, at, settings, instruments, k, lanes, lane, now):  # type: ignore[no-untyped-def]
    """Is the instrument known and open, and may its book be believed?"""
    bits = np.int64(0)
    if instruments[k, lay.TRUST] != _SYNCED:
        trust = instruments[k, lay.TRUST]
        bits |= _deny(denials, cursor, words, at, settings, _UNTRUSTED, trust, _SYNCED, _INSTRUMENT_SCOPE)
    if instruments[k, lay.QUOTED] == 1:
        age = now - instruments[k, lay.QUOTE_NS]
        bits |= _judge_limit(denials, cursor, words, at, settings, lanes, lane, _STALE_INPUT, lay.AGE, age)
    if instruments[k, lay.BID] == 0 or instruments[k, lay.ASK] == 0:
        bits |= _deny(denials, cursor, words, at, settings, _NO_QUOTE, 0, 0, _INSTRUMENT_SCOPE)
    if instruments[k, lay.KNOWN] == 0:
        who = words[at + 9] & 0xFFFFFFFF
        return bits | _deny(denials, cursor, words, at, settings, _UNKNOWN_INSTRUMENT, who, 0, _INSTRUMENT_SCOPE)
    if instruments[k, lay.STATUS] != _TRADING:
        status = instruments[k, lay.STATUS]
        bits |= _deny(denials, cursor, words, at, settings, _INSTRUMENT_HALTED, status, _TRADING, _INSTRUMENT_SCOPE)
    expiry = instruments[k, lay.EXPIRY_NS]
    if expiry != 0 and now >= expiry:
        bits |= _deny(denials, cursor, words, at, settings, _OUTSIDE_HOURS, now, expiry, _INSTRUMENT_SCOPE)
    return bits


@inlined
def _off_grid(price, origin, tick):  # type: ignore[no-untyped-def]
    return price != 0 and tick != 0 and (price - origin) % tick != 0


@inlined
def _judge_price(denials, cursor, words, at, settings, instruments, k, price, stop):  # type: ignore[no-untyped-def]
    """Tick and range, of the limit price and the trigger; one row names the first that is wrong."""
    bits = np.int64(0)
    origin, tick = instruments[k, lay.ORIGIN], instruments[k, lay.TICK]
    if _off_grid(price, origin, tick):
        bits |= _deny(denials, cursor, words, at, settings, _TICK_SIZE, price, tick, _INSTRUMENT_SCOPE)
    elif _off_grid(stop, origin, tick):
        bits |= _deny(denials, cursor, words, at, settings, _TICK_SIZE, stop, tick, _INSTRUMENT_SCOPE)
    return bits


@inlined
def _judge_range(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, reason, value, low, high
):
    """Deny outside of low … high; high 0: no upper bound."""
    if value < low:
        return _deny(denials, cursor, words, at, settings, reason, value, low, _INSTRUMENT_SCOPE)
    if high != 0 and value > high:
        return _deny(denials, cursor, words, at, settings, reason, value, high, _INSTRUMENT_SCOPE)
    return np.int64(0)


@inlined
def _judge_size(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, instruments, k, kind, price, stop, quantity
):
    """Lot and ranges."""
    bits = np.int64(0)
    lot = instruments[k, lay.LOT]
    if lot != 0 and quantity % lot != 0:
        bits |= _deny(denials, cursor, words, at, settings, _LOT_SIZE, quantity, lot, _INSTRUMENT_SCOPE)
    low, high = instruments[k, lay.PRICE_LOW], instruments[k, lay.PRICE_HIGH]
    ranged = np.int64(0)
    if price != 0:
        ranged = _judge_range(denials, cursor, words, at, settings, _PRICE_RANGE, price, low, high)
    if stop != 0 and ranged == 0:
        ranged = _judge_range(denials, cursor, words, at, settings, _PRICE_RANGE, stop, low, high)
    market = kind in (_MARKET, _STOP)
    high = instruments[k, lay.MARKET_HIGH] if market else instruments[k, lay.SIZE_HIGH]
    low = instruments[k, lay.SIZE_LOW]
    return bits | ranged | _judge_range(denials, cursor, words, at, settings, _QUANTITY_RANGE, quantity, low, high)


@inlined
def _judge_worth(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, instruments, k, lanes, lane, buys, plain, quantity, reduces, more, before
):
    """The order's own quantity and value. `plain`: its price; `before`: the value it had before an amend."""
    bits = np.int64(0)
    multiplier = instruments[k, lay.MULTIPLIER]
    worth = money(plain, quantity, multiplier)
    low = instruments[k, lay.WORTH_LOW]
    if worth < low and worth != TOO_MUCH and plain != 0 and not reduces:
        bits |= _deny(denials, cursor, words, at, settings, _MIN_NOTIONAL, worth, low, _INSTRUMENT_SCOPE)
    if more:
        bits |= _judge_limit(denials, cursor, words, at, settings, lanes, lane, _ORDER_QUANTITY, lay.SIZE, quantity)
    if not buys and instruments[k, lay.BID] > plain:  # it sells at the bid, however low its limit
        worth = money(instruments[k, lay.BID], quantity, multiplier)
    if worth == TOO_MUCH:
        limit = lanes[lane, lay.CHECK_LIMITS + lay.WORTH]
        scope = lanes[lane, lay.CHECK_SCOPES + lay.WORTH]
        bits |= _deny(denials, cursor, words, at, settings, _ORDER_NOTIONAL, lay.NO_LIMIT, limit, scope)
    elif worth > before:
        bits |= _judge_limit(denials, cursor, words, at, settings, lanes, lane, _ORDER_NOTIONAL, lay.WORTH, worth)
    return bits


@inlined
def _judge_collar(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, instruments, k, lanes, lane, kind, price, stop
):
    """How far outside of the touch the limit is; a stop-limit's, from its trigger."""
    if price == 0 or lanes[lane, lay.CHECK_LIMITS + lay.COLLAR] == lay.NO_LIMIT:
        return np.int64(0)
    bid, ask = instruments[k, lay.BID], instruments[k, lay.ASK]
    if kind == _STOP_LIMIT:
        bid, ask = stop, stop
    apart, from_price = np.int64(0), np.int64(1)
    if ask != 0 and price > ask:
        apart, from_price = price - ask, ask
    elif bid != 0 and price < bid:
        apart, from_price = bid - price, bid
    limit = lanes[lane, lay.CHECK_LIMITS + lay.COLLAR]
    small = apart < 1 << 47 and from_price < 1 << 47 and limit < 1 << 15
    if small and apart * 10_000 <= limit * from_price:  # the same without dividing
        return np.int64(0)
    apart = distance_bp(apart, from_price)
    return _judge_limit(denials, cursor, words, at, settings, lanes, lane, _PRICE_COLLAR, lay.COLLAR, apart)


@inlined
def _reach(table, line, buys, more):  # type: ignore[no-untyped-def]
    """Position on the order's side once everything pending there, and the order, is filled."""
    if buys:
        return table[line, lay.HELD] + table[line, lay.BUYING] + more
    return table[line, lay.SELLING] - table[line, lay.HELD] + more


@inlined
def _worse(table, line, buys, worth):  # type: ignore[no-untyped-def]
    """The worse magnitude of a pair or lane, with `worth` on the order's side."""
    other = table[line, lay.SHORT] if buys else table[line, lay.LONG]
    return max(abs(worth), abs(other))


@inlined
def _worst(table, line):  # type: ignore[no-untyped-def]
    return max(abs(table[line, lay.LONG]), abs(table[line, lay.SHORT]))


@inlined
def _net(owners, at, table, line, buys, worth):  # type: ignore[no-untyped-def]
    """Signed sum on the order's side, above 0 in its direction, with `worth` in place of the line's own."""
    if buys:
        return owners[at, lay.LONG] - table[line, lay.LONG] + worth
    return table[line, lay.SHORT] - owners[at, lay.SHORT] + worth


@inlined
def _judge_exposure(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, instruments, k, owners, lanes, lane, buys, more, reduces, decisions, row
):
    """What position, gross and net exposure would be. Notes the order's values for when it is approved.

    Returns:
        Bits, and how the gross exposure of the strategy would be and by how much it grows.
    """
    account, strategy, pair = lanes[lane, lay.ACCOUNT_AT], lanes[lane, lay.STRATEGY_AT], lanes[lane, lay.PAIR_AT]
    mark, multiplier = instruments[k, lay.MARK], instruments[k, lay.MULTIPLIER]
    reach, own_reach = _reach(owners, pair, buys, more), _reach(lanes, lane, buys, more)
    worth = money(mark, reach, multiplier)
    own_worth = worth if own_reach == reach else money(mark, own_reach, multiplier)
    bits = np.int64(0)
    beyond = owners[account, lay.BEYOND] | owners[strategy, lay.BEYOND] | owners[pair, lay.BEYOND]
    if beyond | lanes[lane, lay.BEYOND] != 0 or worth == TOO_MUCH or own_worth == TOO_MUCH:
        bits |= _deny(
            denials, cursor, words, at, settings, _GROSS_EXPOSURE, lay.NO_LIMIT, lay.AMOUNT_MAX, _ACCOUNT_SCOPE
        )
        return bits, np.int64(0), np.int64(0)
    cursor[lay.PAIR_VALUE] = worth if buys else -worth
    cursor[lay.LANE_VALUE] = own_worth if buys else -own_worth
    grows = _worse(owners, pair, buys, worth) - _worst(owners, pair)
    own_grows = _worse(lanes, lane, buys, own_worth) - _worst(lanes, lane)
    gross, own_gross = owners[account, lay.GROSS] + grows, owners[strategy, lay.GROSS] + own_grows
    net = _net(owners, account, owners, pair, buys, worth)
    own_net = _net(owners, strategy, lanes, lane, buys, own_worth)
    decisions[row, 17] = gross
    decisions[row, 18] = net if buys else -net
    if more == 0 or reduces:
        return bits, own_gross, np.int64(0)
    bits |= _judge_both(
        denials, cursor, words, at, settings, lanes, lane, _POSITION_QUANTITY, lay.REACH, reach, own_reach
    )
    bits |= _judge_both(
        denials, cursor, words, at, settings, lanes, lane, _POSITION_NOTIONAL, lay.REACH_WORTH, worth, own_worth
    )
    if gross > lanes[lane, lay.CHECK_LIMITS + lay.GROSS_LIMIT] and grows > 0:
        bits |= _judge_limit(denials, cursor, words, at, settings, lanes, lane, _GROSS_EXPOSURE, lay.GROSS_LIMIT, gross)
    elif own_grows > 0:
        bits |= _judge_limit(
            denials, cursor, words, at, settings, lanes, lane, _GROSS_EXPOSURE, lay.GROSS_LIMIT + 1, own_gross
        )
    bits |= _judge_both(denials, cursor, words, at, settings, lanes, lane, _NET_EXPOSURE, lay.NET_LIMIT, net, own_net)
    return bits, own_gross, own_grows


@inlined
def _in_window(owners, rings, at, base, head, tail, after_ns, ring):  # type: ignore[no-untyped-def]
    """How many times of the ring are later; forgets the others."""
    first = max(owners[at, tail], owners[at, head] - ring)
    while first < owners[at, head] and rings[at, base + (first & (ring - 1))] <= after_ns:
        first += 1
    owners[at, tail] = first
    return owners[at, head] - first


@inlined
def _judge_rate(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, owners, rings, lanes, lane, reason, check, base, head, tail, after_ns
):
    """Account, strategy, pair: one more within the window than allowed? One row names the first."""
    for which in range(3):
        limit = lanes[lane, lay.CHECK_LIMITS + check + which]
        if limit != lay.NO_LIMIT:
            own = lanes[lane, _owner_column(which)]
            count = _in_window(owners, rings, own, base, head, tail, after_ns, settings[lay.RING]) + 1
            if count > limit:
                scope = lanes[lane, lay.CHECK_SCOPES + check + which]
                return _deny(denials, cursor, words, at, settings, reason, count, limit, scope)
    return np.int64(0)


@inlined
def _owner_column(which):  # type: ignore[no-untyped-def]
    """Columns of a lane: account, strategy, pair."""
    return lay.PAIR_AT if which == 2 else lay.ACCOUNT_AT + which


@inlined
def _note_time(owners, rings, lanes, lane, check, base, head, now, ring):  # type: ignore[no-untyped-def]
    """One more was approved, for those whose rate is limited in the second or the minute."""
    for which in range(3):
        limited = lanes[lane, lay.CHECK_LIMITS + check + which] != lay.NO_LIMIT
        if check == lay.SECOND_LIMIT:
            limited = limited or lanes[lane, lay.CHECK_LIMITS + lay.MINUTE_LIMIT + which] != lay.NO_LIMIT
        own = lanes[lane, _owner_column(which)]
        if limited and own != 0:
            rings[own, base + (owners[own, head] & (ring - 1))] = now
            owners[own, head] += 1


@inlined
def _judge_pace(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, meta, owners, rings, lanes, lane, now, is_new
):
    """Open orders, and orders a second and a minute."""
    bits = np.int64(0)
    if is_new:
        open_bit = np.int64(0)
        for which in range(3):
            count = owners[lanes[lane, _owner_column(which)], lay.OPEN] + 1
            if open_bit == 0:
                open_bit = _judge_limit(
                    denials, cursor, words, at, settings, lanes, lane, _OPEN_ORDERS, lay.OPEN_LIMIT + which, count
                )
        if open_bit == 0 and meta[lay.QUEUE_FIRST] == 0:
            full = settings[lay.ORDERS_MAX]
            open_bit = _deny(denials, cursor, words, at, settings, _OPEN_ORDERS, full + 1, full, _GLOBAL_SCOPE)
        bits |= open_bit
    bits |= _judge_rate(
        denials, cursor, words, at, settings, owners, rings, lanes, lane, _RATE_SECOND, lay.SECOND_LIMIT, 0,
        lay.ORDERS_HEAD, lay.SECOND_TAIL, now - lay.SECOND_NS,
    )  # fmt: skip
    return bits | _judge_rate(
        denials, cursor, words, at, settings, owners, rings, lanes, lane, _RATE_MINUTE, lay.MINUTE_LIMIT, 0,
        lay.ORDERS_HEAD, lay.MINUTE_TAIL, now - lay.MINUTE_NS,
    )  # fmt: skip


@inlined
def _repeat_place(places, where, side, price, quantity):  # type: ignore[no-untyped-def]
    mixed = where ^ (where >> 32) ^ (price >> 6) ^ (price >> 17) ^ (quantity >> 3) ^ (quantity >> 15) ^ side
    return mixed & (places.shape[1] - 1)


@inlined
def _judge_repeat(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, meta, lanes, lane, places, recent, now, price, quantity
):
    """An equal order of the account was approved within the window."""
    window = lanes[lane, lay.CHECK_LIMITS + lay.REPEAT]
    if window == 0:
        return np.int64(0)
    where, side = words[at + 9], (words[at + 10] >> 32) & 0xFF
    count = places[lay.BY_REPEAT, _repeat_place(places, where, side, price, quantity)]  # entry + 1; 0: none
    while count > 0 and count > meta[lay.RECENT_COUNT] - len(recent):
        entry = (count - 1) & (len(recent) - 1)
        age = now - recent[entry, lay.RECENT_NS]
        if age >= window:
            return np.int64(0)
        same = recent[entry, lay.RECENT_WHERE] == where and recent[entry, lay.RECENT_SIDE] == side
        if same and recent[entry, lay.RECENT_PRICE] == price and recent[entry, lay.RECENT_SIZE] == quantity:
            scope = lanes[lane, lay.CHECK_SCOPES + lay.REPEAT]
            return _deny(denials, cursor, words, at, settings, _DUPLICATE, age, window, scope)
        count = recent[entry, lay.RECENT_BEFORE]
    return np.int64(0)


@inlined
def _note_repeat(meta, places, recent, words, at, now, price, quantity):  # type: ignore[no-untyped-def]
    where, side = words[at + 9], (words[at + 10] >> 32) & 0xFF
    place = _repeat_place(places, where, side, price, quantity)
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
def _judge_self(denials, cursor, words, at, settings, orders, owners, pair, kind, buys, price):  # type: ignore[no-untyped-def]
    """It would meet a resting order of its own account. Market orders meet whatever rests; a stop rests nowhere yet."""
    resting = best_resting(orders, owners, pair, not buys)
    if resting == 0 or kind == _STOP:
        return np.int64(0)
    if kind != _MARKET and (price < resting if buys else price > resting):
        return np.int64(0)
    return _deny(denials, cursor, words, at, settings, _SELF_TRADE, price, resting, _ACCOUNT_SCOPE)


@inlined
def _fallen(owners, at, settings):  # type: ignore[no-untyped-def]
    peak = owners[at, lay.PEAK_DAY] if settings[lay.FALL_OF_DAY] == 1 else owners[at, lay.PEAK]
    return peak - equity(owners, at)


@inlined
def _judge_streak(denials, cursor, words, at, settings, owners, own, lanes, lane, check, now):  # type: ignore[no-untyped-def]
    limit, streak = lanes[lane, lay.CHECK_LIMITS + check], owners[own, lay.STREAK]
    if streak < limit or now >= owners[own, lay.LAST_LOSS_NS] + settings[lay.LOSSES_COOLDOWN_NS]:
        return np.int64(0)
    scope = lanes[lane, lay.CHECK_SCOPES + check]
    return _deny(denials, cursor, words, at, settings, _BREAKER_LOSSES, streak, limit, scope)


@inlined
def _judge_profit(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, instruments, k, owners, lanes, lane, now
):
    """Loss of the day, fall from the peak, and the two breakers. Orders that only reduce pass."""
    account, strategy = lanes[lane, lay.ACCOUNT_AT], lanes[lane, lay.STRATEGY_AT]
    lost = owners[account, lay.DAY_BASE] - equity(owners, account)
    own_lost = owners[strategy, lay.DAY_BASE] - equity(owners, strategy)
    bits = _judge_both(denials, cursor, words, at, settings, lanes, lane, _DAILY_LOSS, lay.LOSS_LIMIT, lost, own_lost)
    fallen, own_fallen = _fallen(owners, account, settings), _fallen(owners, strategy, settings)
    bits |= _judge_both(
        denials, cursor, words, at, settings, lanes, lane, _DRAWDOWN, lay.FALL_LIMIT, fallen, own_fallen
    )
    streak = _judge_streak(denials, cursor, words, at, settings, owners, account, lanes, lane, lay.STREAK_LIMIT, now)
    if streak == 0:
        streak = _judge_streak(
            denials, cursor, words, at, settings, owners, strategy, lanes, lane, lay.STREAK_LIMIT + 1, now
        )
    bits |= streak
    limit = instruments[k, lay.MOVE_LIMIT]
    if now < instruments[k, lay.MOVE_UNTIL_NS] and limit != lay.NO_LIMIT:
        moved, scope = instruments[k, lay.MOVE_SEEN], instruments[k, lay.MOVE_SCOPE]
        bits |= _deny(denials, cursor, words, at, settings, _BREAKER_MOVE, moved, limit, scope)
    return bits


@inlined
def _judge_strategy(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, lanes, lane, reduces, gross, grows
):
    """Is the strategy enabled, for this account and instrument, and within its capital?"""
    bits = np.int64(0)
    fault = lanes[lane, lay.FAULT]
    if fault == lay.FAULT_STRANGER or (fault == lay.FAULT_DISABLED and not reduces):
        value, limit = lanes[lane, lay.FAULT_VALUE], lanes[lane, lay.FAULT_LIMIT]
        bits |= _deny(denials, cursor, words, at, settings, _STRATEGY_DISABLED, value, limit, _STRATEGY_SCOPE)
    capital = lanes[lane, lay.CAPITAL_LIMIT]
    if gross > capital and grows > 0 and not reduces:
        bits |= _deny(denials, cursor, words, at, settings, _STRATEGY_CAPITAL, gross, capital, _STRATEGY_SCOPE)
    return bits


@inlined
def _needs_price(kind):  # type: ignore[no-untyped-def]
    return kind in (_LIMIT, _STOP_LIMIT)


@inlined
def _needs_stop(kind):  # type: ignore[no-untyped-def]
    return kind in (_STOP, _STOP_LIMIT)


@inlined
def _fault_of_change(words, at, kind, stop):  # type: ignore[no-untyped-def]
    """What no order of that kind can have, new or amended; 0 when it is well formed."""
    price, quantity = words[at + 3], words[at + 5]
    if quantity < 1 or quantity > lay.QUANTITY_MAX:
        return lay.REQUEST_QUANTITY
    if price < 0 or price > lay.PRICE_MAX or (price != 0) != _needs_price(kind):
        return lay.REQUEST_PRICE
    if stop < 0 or stop > lay.PRICE_MAX or (stop != 0) != _needs_stop(kind):
        return lay.REQUEST_STOP
    return 0


@inlined
def _fault_of_new(words, at, now):  # type: ignore[no-untyped-def]
    word = words[at + 10]
    side, kind, force, flags = (word >> 32) & 0xFF, (word >> 40) & 0xFF, (word >> 48) & 0xFF, (word >> 56) & 0xFF
    if side > 1 or kind > _KIND_LAST or force > _FORCE_LAST:
        return lay.REQUEST_ENUM
    if flags & ~_FLAGS != 0:
        return lay.REQUEST_FLAGS
    if flags & _POST_ONLY != 0 and (kind in (_MARKET, _STOP) or force in (_IOC, _FOK)):
        return lay.REQUEST_FLAGS
    if words[at + 6] >> 62 != 0 or (words[at + 6] > now) != (force == _GTD):
        return lay.REQUEST_EXPIRY
    if force != _GTD and words[at + 6] != 0:
        return lay.REQUEST_EXPIRY
    return _fault_of_change(words, at, kind, words[at + 4])


@inlined
def _fault_of_any(words, at):  # type: ignore[no-untyped-def]
    """What no request can have; 0 when it is well formed so far."""
    if (words[at] | words[at + 1]) >> 62 != 0:
        return lay.REQUEST_TIME
    return lay.REQUEST_ENUM if words[at + 11] & 0xFF > _ACTION_LAST else 0


@inlined
def _write_decision(  # type: ignore[no-untyped-def]
    decisions, row, cursor, words, at, instruments, k, owners, lanes, lane, now
):
    """The request, and what was seen before it."""
    account, pair = lanes[lane, lay.ACCOUNT_AT], lanes[lane, lay.PAIR_AT]
    decisions[row, 0] = words[at]
    decisions[row, 1] = words[at + 1]
    decisions[row, 2] = cursor[lay.THIS_ID]
    for j in range(6):  # tag … valid_until_ns
        decisions[row, 3 + j] = words[at + 2 + j]
    decisions[row, 10] = instruments[k, lay.BID]
    decisions[row, 11] = instruments[k, lay.ASK]
    decisions[row, 12] = instruments[k, lay.QUOTE_ROW]
    decisions[row, 13] = now - instruments[k, lay.QUOTE_NS] if instruments[k, lay.QUOTED] == 1 else 0
    decisions[row, 14] = owners[pair, lay.HELD]
    decisions[row, 15] = owners[pair, lay.BUYING]
    decisions[row, 16] = owners[pair, lay.SELLING]
    decisions[row, 17] = owners[account, lay.GROSS]
    decisions[row, 18] = owners[account, lay.COST] + owners[account, lay.UNREALISED]
    decisions[row, 19] = equity(owners, account) - owners[account, lay.DAY_BASE]
    decisions[row, 20] = cursor[lay.THIS_ROW]
    decisions[row, 21] = words[at + 9]
    decisions[row, 22] = words[at + 10]
    tail = instruments[k, lay.TRUST] << 8 | instruments[k, lay.QUOTE_PARTITION] << 16
    decisions[row, 23] = (words[at + 11] & 0xFF) | tail


@inlined
def _judge_cancel(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, owners, rings, lanes, lane, line, malformed, now
):
    """A cancel may go unless nobody knows what it means, or too many went."""
    bits = _judge_rate(
        denials, cursor, words, at, settings, owners, rings, lanes, lane, _CANCEL_RATE, lay.CANCEL_LIMIT,
        settings[lay.RING], lay.CANCELS_HEAD, lay.CANCELS_TAIL, now - lay.MINUTE_NS,
    )  # fmt: skip
    if line == 0 and words[at + 11] & 0xFF == _CANCEL:
        bits |= _deny(denials, cursor, words, at, settings, _UNKNOWN_ORDER, words[at + 2], 0, _STRATEGY_SCOPE)
    if malformed != 0:
        bits |= _deny(denials, cursor, words, at, settings, _MALFORMED, malformed, 0, _STRATEGY_SCOPE)
    if bits == 0:
        ring = settings[lay.RING]
        _note_time(owners, rings, lanes, lane, lay.CANCEL_LIMIT, ring, lay.CANCELS_HEAD, now, ring)
    return bits


@inlined
def _far_price(instruments, k, kind, buys, price, stop):  # type: ignore[no-untyped-def]
    """What the order is valued at: its limit, its trigger, or the far side of the touch; 0 when there is none."""
    if _needs_price(kind):
        return price
    if kind == _STOP:
        return stop
    return instruments[k, lay.ASK] if buys else instruments[k, lay.BID]


@inlined
def _judge_order(  # type: ignore[no-untyped-def]
    denials, cursor, words, at, settings, meta, instruments, k, owners, rings, lanes, lane, orders, places, recent,
    decisions, row, line, malformed, now,
):  # fmt: skip
    """A new order, or (`line` > 0) the amend of one. Reasons come in the order of the enum.

    Returns:
        Bits of all reasons.
    """
    is_new = words[at + 11] & 0xFF != _AMEND
    word = words[at + 10]
    side, kind, flags = (word >> 32) & 0xFF, (word >> 40) & 0xFF, (word >> 56) & 0xFF
    price, stop, quantity = words[at + 3], words[at + 4], words[at + 5]
    more, worth_before = quantity, np.int64(-1)
    pair = lanes[lane, lay.PAIR_AT]
    if line != 0:
        side, kind, flags = orders[line, lay.ORDER_SIDE], orders[line, lay.ORDER_KIND], orders[line, lay.ORDER_FLAGS]
        stop = orders[line, lay.STOP_PRICE]
        total = max(orders[line, lay.TOTAL], orders[line, lay.ASKED_TOTAL])
        more = max(quantity - max(total, orders[line, lay.SEEN]), 0)
    buys = side == _BUY
    reduces = flags & _REDUCE_ONLY != 0
    bits = _judge_stops(
        denials, cursor, words, at, settings, lanes, lane, reduces and flags & _FLATTEN != 0
    ) | _judge_inputs(denials, cursor, words, at, settings, instruments, k, lanes, lane, now)
    own_gross, own_grows, plain = np.int64(0), np.int64(0), np.int64(0)
    judged = malformed == 0 and (is_new or line != 0)
    if judged:
        plain = _far_price(instruments, k, kind, buys, price, stop)
        if line != 0:
            worth_before = _worth_of(instruments, k, orders, line, kind, buys, stop)
        bits |= _judge_price(denials, cursor, words, at, settings, instruments, k, price, stop)
        bits |= _judge_size(denials, cursor, words, at, settings, instruments, k, kind, price, stop, quantity)
        bits |= _judge_worth(
            denials, cursor, words, at, settings, instruments, k, lanes, lane, buys, plain, quantity, reduces,
            more > 0, worth_before,
        )  # fmt: skip
        bits |= _judge_collar(denials, cursor, words, at, settings, instruments, k, lanes, lane, kind, price, stop)
        found, own_gross, own_grows = _judge_exposure(
            denials,
            cursor,
            words,
            at,
            settings,
            instruments,
            k,
            owners,
            lanes,
            lane,
            buys,
            more,
            reduces,
            decisions,
            row,
        )
        bits |= found
    bits |= _judge_pace(denials, cursor, words, at, settings, meta, owners, rings, lanes, lane, now, is_new)
    if judged:
        if is_new:
            bits |= _judge_repeat(
                denials, cursor, words, at, settings, meta, lanes, lane, places, recent, now, price, quantity
            )
        bits |= _judge_self(denials, cursor, words, at, settings, orders, owners, pair, kind, buys, plain)
    if not reduces:
        bits |= _judge_profit(denials, cursor, words, at, settings, instruments, k, owners, lanes, lane, now)
    elif judged and more > 0:
        reach = _reach(owners, pair, buys, more)
        if reach > 0:
            bits |= _deny(denials, cursor, words, at, settings, _REDUCE_ONLY_REASON, reach, 0, _ACCOUNT_SCOPE)
    bits |= _judge_strategy(denials, cursor, words, at, settings, lanes, lane, reduces, own_gross, own_grows)
    return bits | _judge_request(denials, cursor, words, at, settings, lanes, lane, is_new or line != 0, malformed, now)


@inlined
def _worth_of(instruments, k, orders, line, kind, buys, stop):  # type: ignore[no-untyped-def]
    """What an order is worth as it is known before an amend."""
    total = max(orders[line, lay.TOTAL], orders[line, lay.ASKED_TOTAL])
    price = _far_price(instruments, k, kind, buys, orders[line, lay.LIMIT_PRICE], stop)
    if not buys:
        price = max(price, instruments[k, lay.BID])
    return money(price, total, instruments[k, lay.MULTIPLIER])


@inlined
def _judge_request(denials, cursor, words, at, settings, lanes, lane, is_known, malformed, now):  # type: ignore[no-untyped-def]
    """Limits there must be, and what the request itself says."""
    bits = np.int64(0)
    required, wanted = lanes[lane, lay.REQUIRED_SET], settings[lay.REQUIRED_COUNT]
    if required < wanted:
        bits |= _deny(denials, cursor, words, at, settings, _NO_LIMITS, required, wanted, _ACCOUNT_SCOPE)
    if not is_known:
        bits |= _deny(denials, cursor, words, at, settings, _UNKNOWN_ORDER, words[at + 2], 0, _STRATEGY_SCOPE)
    if malformed != 0:
        bits |= _deny(denials, cursor, words, at, settings, _MALFORMED, malformed, 0, _STRATEGY_SCOPE)
    if (lanes[lane, lay.STOPPED] >> _RECONCILING) & 1 != 0:
        kill = lanes[lane, lay.KILL_IDS + _KILL_INSTRUMENT + 1]
        bits |= _deny(denials, cursor, words, at, settings, _RECONCILING, kill, 0, _ACCOUNT_SCOPE)
    if now > words[at + 7]:
        bits |= _deny(denials, cursor, words, at, settings, _EXPIRED, now, words[at + 7], _STRATEGY_SCOPE)
    return bits


@inlined
def _approve(  # type: ignore[no-untyped-def]
    cursor, words, at, settings, meta, owners, rings, lanes, lane, orders, places, recent, line, now
):
    """The order, or its amend, counts from now on."""
    word, price, quantity = words[at + 10], words[at + 3], words[at + 5]
    ring = settings[lay.RING]
    _note_time(owners, rings, lanes, lane, lay.SECOND_LIMIT, 0, lay.ORDERS_HEAD, now, ring)
    if line == 0:
        side, kind, flags = (word >> 32) & 0xFF, (word >> 40) & 0xFF, (word >> 56) & 0xFF
        line = take_line(meta, orders, places, cursor[lay.THIS_ID], lane, lanes, side, kind, flags)
        orders[line, lay.LIMIT_PRICE] = price
        orders[line, lay.STOP_PRICE] = words[at + 4]
        orders[line, lay.TOTAL] = quantity
        set_tag(orders, places, line, words[at + 2])
        if lanes[lane, lay.CHECK_LIMITS + lay.REPEAT] != 0:
            _note_repeat(meta, places, recent, words, at, now, price, quantity)
    else:
        buys = orders[line, lay.ORDER_SIDE] == _BUY
        asked, known = orders[line, lay.ASKED_PRICE], price
        if asked != 0 and price != 0:
            known = max(asked, price) if buys else min(asked, price)
        orders[line, lay.ASKED_PRICE] = known
        orders[line, lay.ASKED_TOTAL] = max(orders[line, lay.ASKED_TOTAL], quantity)
        orders[line, lay.ASKED_TOLD] = 0
    if not settle_order(meta, orders, owners, lanes, line, np.int64(1)):
        return
    pair, worth, own_worth = lanes[lane, lay.PAIR_AT], cursor[lay.PAIR_VALUE], cursor[lay.LANE_VALUE]
    account, strategy = lanes[lane, lay.ACCOUNT_AT], lanes[lane, lay.STRATEGY_AT]
    if orders[line, lay.ORDER_SIDE] == _BUY:
        set_exposure(owners, account, owners, pair, worth, owners[pair, lay.SHORT])
        set_exposure(owners, strategy, lanes, lane, own_worth, lanes[lane, lay.SHORT])
    else:
        set_exposure(owners, account, owners, pair, owners[pair, lay.LONG], worth)
        set_exposure(owners, strategy, lanes, lane, lanes[lane, lay.LONG], own_worth)


@inlined
def _named_order(words, at, orders, places, lanes, lane):  # type: ignore[no-untyped-def]
    """Line of the open order that an amend or cancel names, if it is of the request's instrument; 0 without."""
    action = words[at + 11] & 0xFF
    if action != _AMEND and action != _CANCEL:
        return np.int64(0)
    ids = words[at + 9]
    line = find_tag(orders, places, (ids >> 32) & 0xFFFFFFFF, words[at + 10] & 0xFFFFFFFF, words[at + 2])
    if line != 0 and lanes[orders[line, lay.ORDER_LANE], lay.LANE_INSTRUMENT] != ids & 0xFFFFFFFF:
        return np.int64(0)
    return line


@inlined
def _judge_one(  # type: ignore[no-untyped-def]
    words, at, settings, meta, instruments, owners, rings, lanes, lane, orders, places, recent, decisions, denials,
    cursor,
):  # fmt: skip
    """Judge a request on a lane that is up to date; write its rows, and count it when it may go."""
    malformed = _fault_of_any(words, at)
    if malformed == 0:
        move_clock(meta, owners, words[at + 1])
    now, action, row = meta[lay.NOW_NS], words[at + 11] & 0xFF, cursor[lay.DECISIONS]
    line = _named_order(words, at, orders, places, lanes, lane)
    if line != 0:
        cursor[lay.THIS_ID] = orders[line, lay.ORDER_ID]
    elif action != _NEW and action <= _CANCEL_ALL:
        cursor[lay.THIS_ID] = 0
    k = lanes[lane, lay.INSTRUMENT_AT]
    _write_decision(decisions, row, cursor, words, at, instruments, k, owners, lanes, lane, now)
    if action in (_CANCEL, _CANCEL_ALL):
        bits = _judge_cancel(denials, cursor, words, at, settings, owners, rings, lanes, lane, line, malformed, now)
    else:
        if malformed == 0 and action == _NEW:
            malformed = _fault_of_new(words, at, now)
        elif malformed == 0 and line != 0:
            malformed = _fault_of_change(words, at, orders[line, lay.ORDER_KIND], orders[line, lay.STOP_PRICE])
            if malformed == 0 and words[at + 5] <= orders[line, lay.SEEN]:
                malformed = lay.REQUEST_FILLED
        bits = _judge_order(
            denials, cursor, words, at, settings, meta, instruments, k, owners, rings, lanes, lane, orders, places,
            recent, decisions, row, line, malformed, now,
        )  # fmt: skip
        if bits == 0:
            _approve(cursor, words, at, settings, meta, owners, rings, lanes, lane, orders, places, recent, line, now)
    decisions[row, 9] = bits
    cursor[lay.DECISIONS] = row + 1


@kernel
def judge_requests(  # type: ignore[no-untyped-def]
    words,
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
    decisions,
    denials,
    cursor,
):
    """Judge requests from number `start` of the batch on.

    Args:
        words: int64[rows × REQUEST_WORDS]; `row_first` is the row number of the first, `id_first` its order id.
        decisions, denials: int64[capacity, DECISION_WORDS | DENIAL_WORDS], written from the beginning.
        cursor: int64[CURSOR_SIZE]; FORCED is the row that is to be judged on lane 0, or -1.

    Returns:
        DONE; else FULL, LANE_WANTED or REFRESH_WANTED (of cursor[LANE]): help, then call again.
    """
    stop = len(words) // lay.REQUEST_WORDS
    cursor[lay.DECISIONS] = 0
    cursor[lay.DENIALS] = 0
    ids, strategy, lane = np.int64(0), np.int64(0), np.int64(-1)
    for i in range(start, stop):
        cursor[lay.NEXT_ROW] = i
        if cursor[lay.DECISIONS] >= len(decisions) or cursor[lay.DENIALS] + lay.REASONS > len(denials):
            return lay.FULL
        at = i * lay.REQUEST_WORDS
        if i == cursor[lay.FORCED]:
            ids, lane = np.int64(0), np.int64(0)
        elif lane <= 0 or words[at + 9] != ids or words[at + 10] & 0xFFFFFFFF != strategy:
            ids, strategy = words[at + 9], words[at + 10] & 0xFFFFFFFF
            lane = find_lane(lanes, places, ids & 0xFFFFFFFF, (ids >> 32) & 0xFFFFFFFF, strategy)
        if lane < 0:
            return lay.LANE_WANTED
        if lanes[lane, lay.VERSION] != meta[lay.VERSION_NOW]:
            cursor[lay.LANE] = lane
            return lay.REFRESH_WANTED
        cursor[lay.THIS_ID] = id_first + i
        cursor[lay.THIS_ROW] = row_first + i
        _judge_one(
            words, at, settings, meta, instruments, owners, rings, lanes, lane, orders, places, recent, decisions,
            denials, cursor,
        )  # fmt: skip
    cursor[lay.NEXT_ROW] = stop
    return lay.DONE
