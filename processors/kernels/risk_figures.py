"""What risk knows: quotes, orders and fills → positions, pending orders, exposure, profit.

Worth is price × quantity ÷ 10^8, rounded half to even, and so again × multiplier where that is not 1. A part of a
cost or worth is worth × part ÷ whole, rounded half to even. Profit is marked long at the bid, short at the offer, and
exposure at the middle (rounded down), of the last quote that was SYNCED with both sides; before one, at the last fill.
A sum that leaves ±2^61 is left as it was and marks its owner BEYOND, for good: nothing is approved any more.
"""

from __future__ import annotations

import numpy as np

from processors.kernels import risk_layout as lay
from processors.kernels.compiling import inlined, kernel, part
from processors.kernels.money import NOT_REPRESENTABLE, multiply_e8
from schemas.events import DeadReason, Side, Trust
from schemas.trading import OrderKind, OrderState

TOO_MUCH = NOT_REPRESENTABLE
_OUT_OF_RANGE = int(DeadReason.OUT_OF_RANGE)
_UNEXPECTED = int(DeadReason.UNEXPECTED)
_LIMIT = int(DeadReason.LIMIT)
_BUY = int(Side.BUY)
_SYNCED = int(Trust.SYNCED)
_TRUST_LAST = max(int(trust) for trust in Trust)
_LIMIT_ORDER = int(OrderKind.LIMIT)
_STOP_LIMIT = int(OrderKind.STOP_LIMIT)
_FILLED = int(OrderState.FILLED)  # states from here on have ended
_LAST_STATE = int(OrderState.DENIED)
_KIND_LAST = max(int(kind) for kind in OrderKind)


@inlined
def money(price, quantity, multiplier):  # type: ignore[no-untyped-def]
    """Worth with the sign of the quantity; TOO_MUCH when it is beyond ±AMOUNT_MAX."""
    value = multiply_e8(price, quantity)
    if multiplier != lay.ONE_E8 and value != NOT_REPRESENTABLE:
        value = multiply_e8(value, multiplier)
    if value > lay.AMOUNT_MAX or value < -lay.AMOUNT_MAX:
        return np.int64(TOO_MUCH)
    return value


@part
def share(value, some, whole):  # type: ignore[no-untyped-def]
    """value × some ÷ whole, half to even; 0 ≤ some ≤ whole, whole > 0, all within 2^61. Bit by bit: for fills only."""
    if some == whole:
        return value
    size = value if value >= 0 else -value
    quotient = np.int64(0)
    rest = np.int64(0)  # < whole ≤ 2^61
    for bit in range(61, -1, -1):  # quotient and rest of (the bits of `size` from here up) × some ÷ whole
        quotient = quotient * 2
        rest = rest * 2
        if rest >= whole:
            rest -= whole
            quotient += 1
        if (size >> bit) & 1 != 0:
            rest += some
            if rest >= whole:
                rest -= whole
                quotient += 1
    if rest > whole - rest or (rest == whole - rest and quotient & 1 != 0):
        quotient += 1
    return quotient if value >= 0 else -quotient


@inlined
def add(own, column, change):  # type: ignore[no-untyped-def]
    """Add, unless the sum would leave its range."""
    total = own[column] + change
    if total > lay.AMOUNT_MAX or total < -lay.AMOUNT_MAX:
        own[lay.BEYOND] = 1
    else:
        own[column] = total


@inlined
def equity(own):  # type: ignore[no-untyped-def]
    """Profit since the beginning: realised, less fees, and unrealised."""
    return own[lay.REALISED] - own[lay.FEES] + own[lay.UNREALISED]


@part
def _note_peak(owners, at):  # type: ignore[no-untyped-def]
    now = equity(owners[at])
    owners[at, lay.PEAK] = max(owners[at, lay.PEAK], now)
    owners[at, lay.PEAK_DAY] = max(owners[at, lay.PEAK_DAY], now)


@inlined
def move_clock(meta, owners, recv_ns):  # type: ignore[no-untyped-def]
    """A row arrived. The first one of a UTC day begins the day of every owner."""
    if recv_ns <= meta[lay.NOW_NS]:
        return
    meta[lay.NOW_NS] = recv_ns
    if recv_ns < meta[lay.NEXT_DAY_NS]:
        return
    meta[lay.NEXT_DAY_NS] = (recv_ns // lay.DAY_NS + 1) * lay.DAY_NS
    for at in range(1, meta[lay.OWNERS]):
        owners[at, lay.DAY_BASE] = equity(owners[at])
        owners[at, lay.PEAK_DAY] = owners[at, lay.DAY_BASE]


@kernel
def advance(meta, owners, recv_ns):  # type: ignore[no-untyped-def]
    """`move_clock` for rows that Python takes."""
    move_clock(meta, owners, recv_ns)


@inlined
def set_exposure(parent, own, longest, shortest):  # type: ignore[no-untyped-def]
    """LONG and SHORT of a pair or lane are now these; its account's or strategy's sums follow."""
    before = max(abs(own[lay.LONG]), abs(own[lay.SHORT]))
    add(parent, lay.GROSS, max(abs(longest), abs(shortest)) - before)
    add(parent, lay.LONG, longest - own[lay.LONG])
    add(parent, lay.SHORT, shortest - own[lay.SHORT])
    own[lay.LONG] = longest
    own[lay.SHORT] = shortest


@part
def _expose(parent, own, mark, multiplier):  # type: ignore[no-untyped-def]
    """Value a pair or lane at the mark."""
    longest = money(mark, own[lay.HELD] + own[lay.BUYING], multiplier)
    shortest = longest
    if own[lay.BUYING] != 0 or own[lay.SELLING] != 0:
        shortest = money(mark, own[lay.HELD] - own[lay.SELLING], multiplier)
    if longest == TOO_MUCH or shortest == TOO_MUCH:
        own[lay.BEYOND] = 1
    else:
        set_exposure(parent, own, longest, shortest)


@part
def _expose_lane(instruments, owners, lanes, lane):  # type: ignore[no-untyped-def]
    """Exposure of a lane and its pair."""
    k = lanes[lane, lay.INSTRUMENT_AT]
    mark, multiplier = instruments[k, lay.MARK], instruments[k, lay.MULTIPLIER]
    _expose(owners[lanes[lane, lay.STRATEGY_AT]], lanes[lane], mark, multiplier)
    _expose(owners[lanes[lane, lay.ACCOUNT_AT]], owners[lanes[lane, lay.PAIR_AT]], mark, multiplier)


@part
def _mark_profit(instruments, owners, lanes, lane):  # type: ignore[no-untyped-def]
    """Unrealised profit of a lane at the touch."""
    k = lanes[lane, lay.INSTRUMENT_AT]
    price = instruments[k, lay.MARK_BID] if lanes[lane, lay.HELD] > 0 else instruments[k, lay.MARK_ASK]
    worth = money(price, lanes[lane, lay.HELD], instruments[k, lay.MULTIPLIER])
    if worth == TOO_MUCH:
        lanes[lane, lay.BEYOND] = 1
        return
    change = worth - lanes[lane, lay.COST] - lanes[lane, lay.UNREALISED]
    lanes[lane, lay.UNREALISED] += change
    add(owners[lanes[lane, lay.ACCOUNT_AT]], lay.UNREALISED, change)
    add(owners[lanes[lane, lay.STRATEGY_AT]], lay.UNREALISED, change)


@part
def _is_idle(lanes, lane):  # type: ignore[no-untyped-def]
    """Whether no mark changes the lane's exposure."""
    amounts = lanes[lane, lay.HELD] | lanes[lane, lay.BUYING] | lanes[lane, lay.SELLING]
    return amounts | lanes[lane, lay.LONG] | lanes[lane, lay.SHORT] == 0


@part
def _revalue(instruments, owners, lanes, k):  # type: ignore[no-untyped-def]
    """Everybody's position in an instrument at its mark. Peaks are noted when all lanes are done."""
    lane = instruments[k, lay.FIRST_LANE]
    while lane != 0:
        if not _is_idle(lanes, lane):
            _expose_lane(instruments, owners, lanes, lane)
        if lanes[lane, lay.HELD] != 0 or lanes[lane, lay.UNREALISED] != 0:
            _mark_profit(instruments, owners, lanes, lane)
        lane = lanes[lane, lay.NEXT_LANE]
    lane = instruments[k, lay.FIRST_LANE]
    while lane != 0:
        _note_peak(owners, lanes[lane, lay.ACCOUNT_AT])
        _note_peak(owners, lanes[lane, lay.STRATEGY_AT])
        lane = lanes[lane, lay.NEXT_LANE]


# Orders.


@inlined
def id_place(places, order_id):  # type: ignore[no-untyped-def]
    return (order_id ^ (order_id >> 32)) & (places.shape[1] - 1)


@inlined
def tag_place(places, account, strategy, tag):  # type: ignore[no-untyped-def]
    mask = places.shape[1] - 1
    return ((tag & mask) + 3 * account + 7 * strategy) & mask


@inlined
def find_order(orders, places, order_id):  # type: ignore[no-untyped-def]
    """Line of an order, ended ones that are remembered included; 0 for none."""
    line = places[lay.BY_ID, id_place(places, order_id)]
    while line != 0 and orders[line, lay.ORDER_ID] != order_id:
        line = orders[line, lay.NEXT_ID]
    return line


@inlined
def find_tag(orders, places, account, strategy, tag):  # type: ignore[no-untyped-def]
    """Line of the newest order with that tag that has not ended; 0 for none."""
    line = places[lay.BY_TAG, tag_place(places, account, strategy, tag)]
    while line != 0 and not (
        orders[line, lay.TAG] == tag
        and orders[line, lay.ORDER_ACCOUNT] == account
        and orders[line, lay.ORDER_STRATEGY] == strategy
        and orders[line, lay.ORDER_OPEN] == 1
    ):
        line = orders[line, lay.NEXT_TAG]
    return line


@inlined
def _unchain(orders, places, row, place, column, line):  # type: ignore[no-untyped-def]
    """Take a line out of the chain at a place."""
    if places[row, place] == line:
        places[row, place] = orders[line, column]
        return
    before = places[row, place]
    while orders[before, column] != line:
        before = orders[before, column]
    orders[before, column] = orders[line, column]


@inlined
def _enqueue(meta, orders, line):  # type: ignore[no-untyped-def]
    """The line may be used again, after all that ended before."""
    last = meta[lay.QUEUE_LAST]
    orders[line, lay.QUEUED] = 1
    orders[line, lay.QUEUE_NEXT] = 0
    orders[line, lay.QUEUE_PREVIOUS] = last
    meta[lay.QUEUE_LAST] = line
    if last == 0:
        meta[lay.QUEUE_FIRST] = line
    else:
        orders[last, lay.QUEUE_NEXT] = line


@inlined
def _dequeue(meta, orders, line):  # type: ignore[no-untyped-def]
    """The line is in use."""
    before, after = orders[line, lay.QUEUE_PREVIOUS], orders[line, lay.QUEUE_NEXT]
    orders[line, lay.QUEUED] = 0
    if before == 0:
        meta[lay.QUEUE_FIRST] = after
    else:
        orders[before, lay.QUEUE_NEXT] = after
    if after == 0:
        meta[lay.QUEUE_LAST] = before
    else:
        orders[after, lay.QUEUE_PREVIOUS] = before


@inlined
def _take_first(meta, orders, line):  # type: ignore[no-untyped-def]
    """`_dequeue` of the first."""
    after = orders[line, lay.QUEUE_NEXT]
    meta[lay.QUEUE_FIRST] = after
    if after == 0:
        meta[lay.QUEUE_LAST] = 0
    else:
        orders[after, lay.QUEUE_PREVIOUS] = 0


@inlined
def take_line(meta, orders, places, order_id, lane, lanes, side, kind, flags):  # type: ignore[no-untyped-def]
    """A line for a new order: that of the order that ended longest ago, which is forgotten. 0: all are in use."""
    line = meta[lay.QUEUE_FIRST]
    if line == 0:
        return line
    _take_first(meta, orders, line)
    orders[line, lay.QUEUED] = 0
    old = orders[line, lay.ORDER_ID]
    if old != 0:
        _unchain(orders, places, lay.BY_ID, id_place(places, old), lay.NEXT_ID, line)
    for column in range(lay.ORDER_OPEN, lay.RESTING + 1):
        orders[line, column] = 0
    orders[line, lay.ORDER_ID] = order_id
    orders[line, lay.ORDER_ACCOUNT] = lanes[lane, lay.LANE_ACCOUNT]
    orders[line, lay.ORDER_STRATEGY] = lanes[lane, lay.LANE_STRATEGY]
    orders[line, lay.ORDER_LANE] = lane
    orders[line, lay.ORDER_SIDE] = side
    orders[line, lay.ORDER_KIND] = kind
    orders[line, lay.ORDER_FLAGS] = flags
    place = id_place(places, order_id)
    orders[line, lay.NEXT_ID] = places[lay.BY_ID, place]
    places[lay.BY_ID, place] = line
    return line


@inlined
def untag(orders, places, line):  # type: ignore[no-untyped-def]
    """The order is no longer found by its tag."""
    if orders[line, lay.TAGGED] == 1:
        place = tag_place(
            places, orders[line, lay.ORDER_ACCOUNT], orders[line, lay.ORDER_STRATEGY], orders[line, lay.TAG]
        )
        _unchain(orders, places, lay.BY_TAG, place, lay.NEXT_TAG, line)
        orders[line, lay.TAGGED] = 0


@inlined
def set_tag(orders, places, line, tag):  # type: ignore[no-untyped-def]
    """The order can be found by its tag, before older ones of the same."""
    if orders[line, lay.TAGGED] == 1 and orders[line, lay.TAG] == tag:
        return
    untag(orders, places, line)
    orders[line, lay.TAG] = tag
    orders[line, lay.TAGGED] = 1
    place = tag_place(places, orders[line, lay.ORDER_ACCOUNT], orders[line, lay.ORDER_STRATEGY], tag)
    orders[line, lay.NEXT_TAG] = places[lay.BY_TAG, place]
    places[lay.BY_TAG, place] = line


@inlined
def _list_order(orders, owners, pair, line, is_open):  # type: ignore[no-untyped-def]
    """Into or out of the pair's list of open orders."""
    first = owners[pair, lay.FIRST_ORDER]
    if is_open == 1:
        orders[line, lay.NEXT] = first
        orders[line, lay.PREVIOUS] = 0
        owners[pair, lay.FIRST_ORDER] = line
        if first != 0:
            orders[first, lay.PREVIOUS] = line
        return
    before, after = orders[line, lay.PREVIOUS], orders[line, lay.NEXT]
    if before == 0:
        owners[pair, lay.FIRST_ORDER] = after
    else:
        orders[before, lay.NEXT] = after
    if after != 0:
        orders[after, lay.PREVIOUS] = before


@inlined
def _resting_price(orders, line):  # type: ignore[no-untyped-def]
    """The price nearest to the other side at which the order may rest; 0: it never rests, or has ended."""
    kind = orders[line, lay.ORDER_KIND]
    if orders[line, lay.ORDER_OPEN] == 0 or (kind != _LIMIT_ORDER and kind != _STOP_LIMIT):
        return np.int64(0)
    price, asked = orders[line, lay.LIMIT_PRICE], orders[line, lay.ASKED_PRICE]
    if asked == 0 or price == 0:
        return max(price, asked)
    return max(price, asked) if orders[line, lay.ORDER_SIDE] == _BUY else min(price, asked)


@inlined
def _note_best(pair, buys, price):  # type: ignore[no-untyped-def]
    """One more order may rest at the price; 0: it does not."""
    best, unsure = (lay.BEST_BUY, lay.UNSURE_BUY) if buys else (lay.BEST_SELL, lay.UNSURE_SELL)
    if price == 0 or pair[unsure] == 1:
        return
    known = pair[best]
    if known == 0 or (price > known if buys else price < known):
        pair[best] = price


@inlined
def _rest(orders, owners, pair, line):  # type: ignore[no-untyped-def]
    """Keep the pair's best resting prices; UNSURE when the best one may have gone."""
    buys = orders[line, lay.ORDER_SIDE] == _BUY
    best, unsure = (lay.BEST_BUY, lay.UNSURE_BUY) if buys else (lay.BEST_SELL, lay.UNSURE_SELL)
    price, before = _resting_price(orders, line), orders[line, lay.RESTING]
    orders[line, lay.RESTING] = price
    if before != 0 and before == owners[pair, best] and price != before:
        owners[pair, unsure] = 1
    _note_best(owners[pair], buys, price)


@inlined
def best_resting(orders, pair, buys):  # type: ignore[no-untyped-def]
    """Highest price of the account's resting buys, or lowest of its sells; 0 without any."""
    best, unsure = (lay.BEST_BUY, lay.UNSURE_BUY) if buys else (lay.BEST_SELL, lay.UNSURE_SELL)
    if pair[unsure] == 1:
        pair[best] = _search_resting(orders, pair[lay.FIRST_ORDER], buys)
        pair[unsure] = 0
    return pair[best]


@part
def _search_resting(orders, line, buys):  # type: ignore[no-untyped-def]
    """Best price of one side in a pair's list of open orders; 0 without any."""
    found = np.int64(0)
    while line != 0:
        price = orders[line, lay.RESTING]
        if price != 0 and (orders[line, lay.ORDER_SIDE] == _BUY) == buys:
            found = price if found == 0 else (max(found, price) if buys else min(found, price))
        line = orders[line, lay.NEXT]
    return found


@inlined
def settle_order(meta, orders, owners, lanes, line, is_open):  # type: ignore[no-untyped-def]
    """Count the order as its line now says; `is_open` replaces ORDER_OPEN.

    Returns:
        Whether the pending quantities changed: exposure must follow.
    """
    lane = orders[line, lay.ORDER_LANE]
    pair = lanes[lane, lay.PAIR_AT]
    if is_open != orders[line, lay.ORDER_OPEN]:
        orders[line, lay.ORDER_OPEN] = is_open
        change = 1 if is_open == 1 else -1
        owners[pair, lay.OPEN] += change
        owners[lanes[lane, lay.ACCOUNT_AT], lay.OPEN] += change
        owners[lanes[lane, lay.STRATEGY_AT], lay.OPEN] += change
        _list_order(orders, owners, pair, line, is_open)
    total = orders[line, lay.TOTAL]
    if is_open == 1:
        total = max(total, orders[line, lay.ASKED_TOTAL])
    counted = max(total - orders[line, lay.SEEN], 0)
    change = counted - orders[line, lay.COUNTED]
    if change != 0:
        orders[line, lay.COUNTED] = counted
        column = lay.BUYING if orders[line, lay.ORDER_SIDE] == _BUY else lay.SELLING
        add(lanes[lane], column, change)
        add(owners[pair], column, change)
    _rest(orders, owners, pair, line)
    ended = is_open == 0 and counted == 0
    if ended and orders[line, lay.QUEUED] == 0:
        _enqueue(meta, orders, line)
    elif not ended and orders[line, lay.QUEUED] == 1:
        _dequeue(meta, orders, line)
    return change != 0


@inlined
def write_order(  # type: ignore[no-untyped-def]
    meta, orders, places, pair, account_id, strategy_id, at, order_id, tag, side, kind, flags, price, stop, quantity
):
    """The line of an approved order on lane `at`, and the ways to it; there must be a free line. It is not counted.

    Returns:
        The price at which it may rest; 0: nowhere.
    """
    line = meta[lay.QUEUE_FIRST]
    _take_first(meta, orders, line)
    old = orders[line, lay.ORDER_ID]
    if old != 0:
        _unchain(orders, places, lay.BY_ID, id_place(places, old), lay.NEXT_ID, line)
    by_id, by_tag = id_place(places, order_id), tag_place(places, account_id, strategy_id, tag)
    first = pair[lay.FIRST_ORDER]
    rests = price if kind in (_LIMIT_ORDER, _STOP_LIMIT) else np.int64(0)
    before_id, before_tag = places[lay.BY_ID, by_id], places[lay.BY_TAG, by_tag]
    own = orders[line]
    own[lay.ORDER_ID] = order_id
    own[lay.TAG] = tag
    own[lay.ORDER_ACCOUNT] = account_id
    own[lay.ORDER_STRATEGY] = strategy_id
    own[lay.ORDER_LANE] = at
    own[lay.ORDER_SIDE] = side
    own[lay.ORDER_KIND] = kind
    own[lay.ORDER_FLAGS] = flags
    own[lay.ORDER_OPEN] = 1
    own[lay.LIMIT_PRICE] = price
    own[lay.STOP_PRICE] = stop
    own[lay.TOTAL] = quantity
    own[lay.ASKED_PRICE] = 0
    own[lay.ASKED_TOTAL] = 0
    own[lay.ASKED_TOLD] = 0
    own[lay.SEEN] = 0
    own[lay.COUNTED] = quantity
    own[lay.RESTING] = rests
    own[lay.NEXT_ID] = before_id
    own[lay.NEXT_TAG] = before_tag
    own[lay.TAGGED] = 1
    own[lay.NEXT] = first
    own[lay.PREVIOUS] = 0
    own[lay.QUEUED] = 0
    places[lay.BY_ID, by_id] = line
    places[lay.BY_TAG, by_tag] = line
    pair[lay.FIRST_ORDER] = line
    if first != 0:
        orders[first, lay.PREVIOUS] = line
    return rests


@inlined
def open_order(  # type: ignore[no-untyped-def]
    meta, orders, places, account, strategy, pair, lane, at, order_id, tag, side, kind, flags, price, stop, quantity
):
    """`take_line`, `set_tag`, `settle_order` of an approved order on lane `at`, in one; there must be a free line."""
    rests = write_order(
        meta, orders, places, pair, lane[lay.LANE_ACCOUNT], lane[lay.LANE_STRATEGY], at, order_id, tag, side, kind,
        flags, price, stop, quantity,
    )  # fmt: skip
    pair[lay.OPEN] += 1
    account[lay.OPEN] += 1
    strategy[lay.OPEN] += 1
    column = lay.BUYING if side == _BUY else lay.SELLING
    add(lane, column, quantity)
    add(pair, column, quantity)
    _note_best(pair, side == _BUY, rests)


# Rows.


@inlined
def lane_place(places, instrument, account, strategy):  # type: ignore[no-untyped-def]
    return (instrument + 3 * account + 7 * strategy) & (places.shape[1] - 1)


@inlined
def find_lane(lanes, places, instrument, account, strategy):  # type: ignore[no-untyped-def]
    """Line of a lane, -1 when there is none."""
    mask = places.shape[1] - 1
    place = lane_place(places, instrument, account, strategy)
    while places[lay.BY_LANE, place] != 0:
        lane = places[lay.BY_LANE, place]
        if (
            lanes[lane, lay.LANE_INSTRUMENT] == instrument
            and lanes[lane, lay.LANE_ACCOUNT] == account
            and lanes[lane, lay.LANE_STRATEGY] == strategy
        ):
            return lane
        place = (place + 1) & mask
    return np.int64(-1)


@part
def _find_instrument(instruments, places, instrument):  # type: ignore[no-untyped-def]
    mask = places.shape[1] - 1
    place = instrument & mask
    while places[lay.BY_INSTRUMENT, place] != 0:
        if instruments[places[lay.BY_INSTRUMENT, place], lay.INSTRUMENT] == instrument:
            return places[lay.BY_INSTRUMENT, place]
        place = (place + 1) & mask
    return np.int64(-1)


@kernel
def find_instrument(instruments, places, instrument):  # type: ignore[no-untyped-def]
    """Line of an instrument, -1 when it has none."""
    return _find_instrument(instruments, places, instrument)


@kernel
def lane_of(lanes, places, instrument, account, strategy):  # type: ignore[no-untyped-def]
    """Line of a lane, -1 when it has none."""
    return find_lane(lanes, places, instrument, account, strategy)


@kernel
def enter_lane(lanes, places, lane):  # type: ignore[no-untyped-def]
    """Note where the lane is; there must be a free place."""
    mask = places.shape[1] - 1
    line = lanes[lane]
    place = lane_place(places, line[lay.LANE_INSTRUMENT], line[lay.LANE_ACCOUNT], line[lay.LANE_STRATEGY])
    while places[lay.BY_LANE, place] != 0:
        place = (place + 1) & mask
    places[lay.BY_LANE, place] = lane


@kernel
def enter_instrument(instruments, places, line):  # type: ignore[no-untyped-def]
    """Note where the instrument is; there must be a free place."""
    mask = places.shape[1] - 1
    place = instruments[line, lay.INSTRUMENT] & mask
    while places[lay.BY_INSTRUMENT, place] != 0:
        place = (place + 1) & mask
    places[lay.BY_INSTRUMENT, place] = line


@part
def _put_aside(dead, cursor, i, reason, fault):  # type: ignore[no-untyped-def]
    dead[cursor[lay.DEAD], 0] = i
    dead[cursor[lay.DEAD], 1] = reason
    dead[cursor[lay.DEAD], 2] = fault
    cursor[lay.DEAD] += 1


@inlined
def distance_bp(difference, reference):  # type: ignore[no-untyped-def]
    """difference ÷ reference in basis points, rounded up; both ≥ 0, the reference above 0.

    A reference above 2^49 is taken with 14 bits less; distances above 10^6 times the reference are that.
    """
    whole = difference // reference
    rest = difference % reference
    if whole >= 1_000_000:
        return np.int64(10_000_000_000)
    if reference >= 1 << 49:
        rest = (rest >> 14) + 1 if rest != 0 else rest
        reference = reference >> 14
    return whole * 10_000 + (rest * 10_000 + reference - 1) // reference


@part
def _note_move(instruments, moves, k, mark, now, settings):  # type: ignore[no-untyped-def]
    """Lowest and highest mark of the window; further than the limit from either starts the cool-down."""
    cell = now // settings[lay.MOVE_CELL_NS] + 1  # 0 is a cell that was never used
    at = cell % lay.MOVE_CELLS
    if moves[k, at, 0] != cell:
        moves[k, at, 0] = cell
        moves[k, at, 1] = mark
        moves[k, at, 2] = mark
    moves[k, at, 1] = min(moves[k, at, 1], mark)
    moves[k, at, 2] = max(moves[k, at, 2], mark)
    if instruments[k, lay.MOVE_LIMIT] == lay.NO_LIMIT:
        return
    low, high = mark, mark
    for j in range(lay.MOVE_CELLS):
        if moves[k, j, 0] > max(cell - lay.MOVE_CELLS, 0):
            low = min(low, moves[k, j, 1])
            high = max(high, moves[k, j, 2])
    moved = max(distance_bp(mark - low, low), distance_bp(high - mark, high))
    if moved > instruments[k, lay.MOVE_LIMIT]:
        instruments[k, lay.MOVE_UNTIL_NS] = now + settings[lay.MOVE_COOLDOWN_NS]
        instruments[k, lay.MOVE_SEEN] = moved


@part
def _fault_of_quote(words, at):  # type: ignore[no-untyped-def]
    if (words[at] | words[at + 1]) >> 62 != 0:
        return lay.BAD_TIME
    if (words[at + 8] >> 32) & 0xFF > _TRUST_LAST:
        return lay.BAD_ENUM
    if words[at + 8] & 0xFFFFFFFF == 0:
        return lay.BAD_ID
    bid, ask = words[at + 3], words[at + 5]
    if bid < 0 or bid > lay.PRICE_MAX or ask < 0 or ask > lay.PRICE_MAX:
        return lay.BAD_PRICE
    if words[at + 4] < 0 or words[at + 6] < 0:
        return lay.BAD_QUANTITY
    return -1


@kernel
def take_quotes(  # type: ignore[no-untyped-def]
    words, row_first, start, partition, settings, meta, instruments, owners, lanes, moves, places, dead, cursor
):
    """Quotes from number `start` of the batch on.

    Returns:
        DONE; else FULL or INSTRUMENT_WANTED: help, then call again.
    """
    stop = len(words) // lay.QUOTE_WORDS
    cursor[lay.DEAD] = 0
    for i in range(start, stop):
        cursor[lay.NEXT_ROW] = i
        if cursor[lay.DEAD] >= len(dead):
            return lay.FULL
        at = i * lay.QUOTE_WORDS
        fault = _fault_of_quote(words, at)
        if fault >= 0:
            _put_aside(dead, cursor, i, _UNEXPECTED if fault in (lay.BAD_ENUM, lay.BAD_ID) else _OUT_OF_RANGE, fault)
            continue
        k = _find_instrument(instruments, places, words[at + 8] & 0xFFFFFFFF)
        if k < 0:
            return lay.INSTRUMENT_WANTED
        move_clock(meta, owners, words[at + 1])
        bid, ask, trust = words[at + 3], words[at + 5], (words[at + 8] >> 32) & 0xFF
        instruments[k, lay.BID] = bid
        instruments[k, lay.ASK] = ask
        instruments[k, lay.QUOTE_NS] = words[at + 1]
        instruments[k, lay.QUOTE_ROW] = row_first + i
        instruments[k, lay.QUOTE_PARTITION] = partition
        instruments[k, lay.TRUST] = trust
        instruments[k, lay.QUOTED] = 1
        if trust != _SYNCED or bid == 0 or ask == 0:
            continue
        instruments[k, lay.MARKED] = 1
        mark = bid + (ask - bid) // 2
        _note_move(instruments, moves, k, mark, meta[lay.NOW_NS], settings)
        if bid != instruments[k, lay.MARK_BID] or ask != instruments[k, lay.MARK_ASK]:
            _set_mark(instruments, owners, lanes, k, mark, bid, ask)
    cursor[lay.NEXT_ROW] = stop
    return lay.DONE


@part
def _set_mark(instruments, owners, lanes, k, mark, bid, ask):  # type: ignore[no-untyped-def]
    instruments[k, lay.MARK] = mark
    instruments[k, lay.MARK_BID] = bid
    instruments[k, lay.MARK_ASK] = ask
    if instruments[k, lay.FIRST_LANE] != 0:
        _revalue(instruments, owners, lanes, k)


@part
def _fault_of_order(words, at):  # type: ignore[no-untyped-def]
    if (words[at] | words[at + 1]) >> 62 != 0:
        return lay.BAD_TIME
    word, tail = words[at + 16], words[at + 17]
    if (word >> 32) & 0xFF > 1 or (word >> 40) & 0xFF > _KIND_LAST:
        return lay.BAD_ENUM
    if tail & 0xFF > _LAST_STATE or (tail >> 8) & 0xFF > _LAST_STATE:
        return lay.BAD_ENUM
    if words[at + 2] == 0 and words[at + 4] == 0:
        return lay.BAD_ID
    for column in (5, 6, 10):
        if words[at + column] < 0 or words[at + column] > lay.PRICE_MAX:
            return lay.BAD_PRICE
    for column in (7, 8, 11):
        if words[at + column] < 0 or words[at + column] > lay.QUANTITY_MAX:
            return lay.BAD_QUANTITY
    return -1


@part
def _hear_order(words, at, meta, instruments, owners, lanes, orders, places, line):  # type: ignore[no-untyped-def]
    """An Order row of an order that has a line."""
    word, tail = words[at + 16], words[at + 17]
    orders[line, lay.ORDER_KIND] = (word >> 40) & 0xFF
    orders[line, lay.ORDER_FLAGS] = (word >> 56) & 0xFF
    is_open = np.int64(0 if tail & 0xFF >= _FILLED else 1)
    wanted = words[at + 11]
    if wanted != 0 or orders[line, lay.ASKED_TOLD] == 1:
        orders[line, lay.ASKED_TOTAL] = wanted
        orders[line, lay.ASKED_PRICE] = words[at + 10]
        orders[line, lay.ASKED_TOLD] = 1 if wanted != 0 else 0
    orders[line, lay.LIMIT_PRICE] = words[at + 5]
    orders[line, lay.STOP_PRICE] = words[at + 6]
    orders[line, lay.TOTAL] = words[at + 7] if is_open == 1 else words[at + 8]
    if is_open == 1:
        set_tag(orders, places, line, words[at + 3])
    else:  # only open orders are named by their tags
        untag(orders, places, line)
    if settle_order(meta, orders, owners, lanes, line, is_open):
        _expose_lane(instruments, owners, lanes, orders[line, lay.ORDER_LANE])


@part
def _key_of(order_id, venue_order_id):  # type: ignore[no-untyped-def]
    """How an order is known here: our id, or for one that was never ours the venue's, negative. 0: not at all."""
    return order_id if order_id != 0 else -abs(venue_order_id)


@kernel
def take_orders(  # type: ignore[no-untyped-def]
    words, start, meta, instruments, owners, lanes, orders, places, dead, cursor
):
    """Order rows from number `start` of the batch on.

    Returns:
        DONE; else FULL or LANE_WANTED: help, then call again.
    """
    stop = len(words) // lay.ORDER_WORDS
    cursor[lay.DEAD] = 0
    for i in range(start, stop):
        cursor[lay.NEXT_ROW] = i
        if cursor[lay.DEAD] >= len(dead):
            return lay.FULL
        at = i * lay.ORDER_WORDS
        fault = _fault_of_order(words, at)
        if fault >= 0:
            _put_aside(dead, cursor, i, _UNEXPECTED if fault in (lay.BAD_ENUM, lay.BAD_ID) else _OUT_OF_RANGE, fault)
            continue
        ids, word = words[at + 15], words[at + 16]
        if ids & 0xFFFFFFFF == 0 or (ids >> 32) & 0xFFFFFFFF == 0:  # adopted, and not yet known whose it is
            move_clock(meta, owners, words[at + 1])
            continue
        lane = find_lane(lanes, places, ids & 0xFFFFFFFF, (ids >> 32) & 0xFFFFFFFF, word & 0xFFFFFFFF)
        if lane < 0:
            return lay.LANE_WANTED
        move_clock(meta, owners, words[at + 1])
        key = _key_of(words[at + 2], words[at + 4])
        line = find_order(orders, places, key)
        if line == 0:
            if words[at + 17] & 0xFF >= _FILLED:  # it ended before we heard of it
                continue
            side, kind, flags = (word >> 32) & 0xFF, (word >> 40) & 0xFF, (word >> 56) & 0xFF
            line = take_line(meta, orders, places, key, lane, lanes, side, kind, flags)
            if line == 0:
                _put_aside(dead, cursor, i, _LIMIT, lay.NO_ORDER_LINE)
                continue
        _hear_order(words, at, meta, instruments, owners, lanes, orders, places, line)
    cursor[lay.NEXT_ROW] = stop
    return lay.DONE


@part
def _fault_of_fill(words, at):  # type: ignore[no-untyped-def]
    if (words[at] | words[at + 1]) >> 62 != 0:
        return lay.BAD_TIME
    if words[at + 11] & 0xFF > 1:
        return lay.BAD_ENUM
    if words[at + 9] & 0xFFFFFFFF == 0 or (words[at + 9] >> 32) & 0xFFFFFFFF == 0:
        return lay.BAD_ID
    if words[at + 5] < 1 or words[at + 5] > lay.PRICE_MAX:
        return lay.BAD_PRICE
    if words[at + 6] < 1 or words[at + 6] > lay.QUANTITY_MAX:
        return lay.BAD_QUANTITY
    if money(words[at + 5], words[at + 6], lay.ONE_E8) == TOO_MUCH:
        return lay.BAD_QUANTITY
    if words[at + 7] < -lay.QUANTITY_MAX or words[at + 7] > lay.QUANTITY_MAX:
        return lay.BAD_FEE
    return -1


@part
def _fee_in_quote(instruments, k, asset, fee, price):  # type: ignore[no-untyped-def]
    """The fee in the quote currency; TOO_MUCH when its asset cannot be told in it."""
    if fee == 0 or asset == instruments[k, lay.QUOTED_IN] or instruments[k, lay.KNOWN] == 0:
        return fee
    return money(price, fee, lay.ONE_E8) if asset == instruments[k, lay.BASE] else np.int64(TOO_MUCH)


@part
def _close_trip(owners, lanes, lane, now):  # type: ignore[no-untyped-def]
    """The position came back to zero: did it win?"""
    profit = lanes[lane, lay.TRIP]
    lanes[lane, lay.TRIP] = 0
    for at in (lanes[lane, lay.ACCOUNT_AT], lanes[lane, lay.STRATEGY_AT]):
        if profit < 0:
            owners[at, lay.STREAK] += 1
            owners[at, lay.LAST_LOSS_NS] = now
        elif profit > 0:
            owners[at, lay.STREAK] = 0


@part
def _book_fill(owners, lanes, lane, buys, quantity, worth, fee, now):  # type: ignore[no-untyped-def]
    """Average cost: closing a part takes its share of the cost out; a flip is split at zero."""
    account, strategy = lanes[lane, lay.ACCOUNT_AT], lanes[lane, lay.STRATEGY_AT]
    sign = 1 if buys else -1
    held = lanes[lane, lay.HELD]
    closing = np.int64(0)
    if (held < 0) == buys and held != 0:
        closing = min(quantity, abs(held))
    closed_worth = share(worth, closing, quantity)
    realised = np.int64(0)
    released = np.int64(0)
    if closing != 0:
        released = share(lanes[lane, lay.COST], closing, abs(held))
        realised = -sign * closed_worth - released
    cost_change = sign * (worth - closed_worth) - released
    add(lanes[lane], lay.HELD, sign * quantity)
    add(owners[lanes[lane, lay.PAIR_AT]], lay.HELD, sign * quantity)
    add(lanes[lane], lay.COST, cost_change)
    add(lanes[lane], lay.TRIP, realised - fee)
    for at in (account, strategy):
        add(owners[at], lay.COST, cost_change)
        add(owners[at], lay.REALISED, realised)
        add(owners[at], lay.FEES, fee)
    if closing != 0 and closing == abs(held):
        _close_trip(owners, lanes, lane, now)


@kernel
def take_fills(  # type: ignore[no-untyped-def]
    words, start, meta, instruments, owners, lanes, orders, places, dead, cursor
):
    """Fills from number `start` of the batch on.

    Returns:
        DONE; else FULL or LANE_WANTED: help, then call again.
    """
    stop = len(words) // lay.FILL_WORDS
    cursor[lay.DEAD] = 0
    for i in range(start, stop):
        cursor[lay.NEXT_ROW] = i
        if cursor[lay.DEAD] + 1 >= len(dead):
            return lay.FULL
        at = i * lay.FILL_WORDS
        fault = _fault_of_fill(words, at)
        if fault >= 0:
            _put_aside(dead, cursor, i, _UNEXPECTED if fault in (lay.BAD_ENUM, lay.BAD_ID) else _OUT_OF_RANGE, fault)
            continue
        ids, word = words[at + 9], words[at + 10]
        lane = find_lane(lanes, places, ids & 0xFFFFFFFF, (ids >> 32) & 0xFFFFFFFF, word & 0xFFFFFFFF)
        if lane < 0:
            return lay.LANE_WANTED
        move_clock(meta, owners, words[at + 1])
        k = lanes[lane, lay.INSTRUMENT_AT]
        price, quantity, buys = words[at + 5], words[at + 6], words[at + 11] & 0xFF == _BUY
        worth = money(price, quantity, instruments[k, lay.MULTIPLIER])
        if worth == TOO_MUCH:
            lanes[lane, lay.BEYOND] = 1
            owners[lanes[lane, lay.ACCOUNT_AT], lay.BEYOND] = 1
            worth = np.int64(0)
        fee = _fee_in_quote(instruments, k, (word >> 32) & 0xFFFFFFFF, words[at + 7], price)
        if fee == TOO_MUCH:
            _put_aside(dead, cursor, i, _UNEXPECTED, lay.OTHER_FEE)
            fee = np.int64(0)
        _book_fill(owners, lanes, lane, buys, quantity, worth, fee, meta[lay.NOW_NS])
        key = _key_of(words[at + 2], words[at + 3])
        line = find_order(orders, places, key) if key != 0 else np.int64(0)
        if line == 0 and key != 0:  # its Order row comes later: remember that it was filled
            line = take_line(meta, orders, places, key, lane, lanes, words[at + 11] & 0xFF, 0, 0)
        if line != 0:
            orders[line, lay.SEEN] = min(orders[line, lay.SEEN] + quantity, lay.AMOUNT_MAX)
            if settle_order(meta, orders, owners, lanes, line, orders[line, lay.ORDER_OPEN]):
                _expose_lane(instruments, owners, lanes, orders[line, lay.ORDER_LANE])
        if instruments[k, lay.MARKED] == 0:
            _set_mark(instruments, owners, lanes, k, price, price, price)
        else:
            _expose_lane(instruments, owners, lanes, lane)
            _mark_profit(instruments, owners, lanes, lane)
            _note_peak(owners, lanes[lane, lay.ACCOUNT_AT])
            _note_peak(owners, lanes[lane, lay.STRATEGY_AT])
    cursor[lay.NEXT_ROW] = stop
    return lay.DONE
