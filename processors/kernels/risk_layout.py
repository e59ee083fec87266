"""How the state of risk lies in arrays: the names of lines, columns and bits that its kernels share.

What a request meets is gathered in its *lane*, one line per (account, strategy, instrument): the limits and kills
that hold for it (written by `processors/risk.py` whenever one of them changes) and the lane's own position. Figures
of accounts, strategies and pairs (an account's instrument) are lines of `owners`. So a request costs one look-up.

Exposure: LONG is the value of what is held and being bought, SHORT of what is held less what is being sold, at the
mark. Worst is the greater of both magnitudes. Accounts sum their pairs, strategies their lanes.

Rows come and go as int64 words: OrderRequest 12, Decision 24, Denial 8, Quote 9, Order 18, Fill 12 (the processor
asserts the layouts). Line 0 of every table is nobody's: lanes[0] is the one on which strangers are judged.

Arrays of the state:
    meta: int64[META_SIZE]
    instruments, owners, lanes: int64[lines, … COLUMNS]
    moves: int64[instruments, MOVE_CELLS, 3], cell number, lowest and highest mark in it
    rings: int64[owners, 2 × times], when the last orders and cancels were approved
    orders: int64[orders, ORDER_COLUMNS]
    recent: int64[entries, RECENT_COLUMNS], orders approved lately, for DUPLICATE
    places: int64[5, a power of two], hash tables: what is at a place, or the first of its chain
"""

from __future__ import annotations

from schemas.trading import Reason

# Entries of `meta`.
NOW_NS = 0  # the largest receive time of any row
NEXT_DAY_NS = 1  # when the next UTC day begins
VERSION_NOW = 2  # counts changes of limits, kills, strategies, instruments
INSTRUMENTS, OWNERS, LANES = 3, 4, 5  # lines in use
LIMITS, KILLS = 6, 7
QUEUE_FIRST, QUEUE_LAST = 8, 9  # order lines that may be used again, the longest ended first; 0: none
RECENT_COUNT = 10  # entries ever written to `recent`
KILLS_LOST, LOST_ID = 11, 12  # kills that did not fit: everything is stopped; id of the last of them
META_SIZE = 13

# Columns of `instruments`.
INSTRUMENT, KNOWN, VENUE, STATUS, ORIGIN = 0, 1, 2, 3, 4  # ORIGIN: prices are ORIGIN + k × TICK
PRICE_LOW, PRICE_HIGH, SIZE_LOW, SIZE_HIGH, MARKET_HIGH, WORTH_LOW = 5, 6, 7, 8, 9, 10
MULTIPLIER, EXPIRY_NS, QUOTED_IN, BASE = 11, 12, 13, 14
BID, ASK, QUOTE_NS, QUOTE_ROW, QUOTE_PARTITION, TRUST, QUOTED = 15, 16, 17, 18, 19, 20, 21
MARK, MARK_BID, MARK_ASK, MARKED = 22, 23, 24, 25  # middle, bid, ask of the last trusted touch; before one: last fill
FIRST_LANE = 26
MOVE_LIMIT, MOVE_SCOPE, MOVE_UNTIL_NS, MOVE_SEEN = 27, 28, 29, 30
TICK, LOT = 31, 35  # each with what tells its multiples without dividing:
INVERSE, TURN, MOST = 1, 2, 3  # of the odd part modulo 2^64; how often 2 divides it; the greatest multiple's count
INSTRUMENT_COLUMNS = 39

# Columns of `owners`. Those of HOLDING are the same in `lanes`.
KIND, ID, ID_TWO = 0, 1, 2  # a pair: lines of account and instrument
ACCOUNT_OWNER, STRATEGY_OWNER, PAIR_OWNER = 1, 2, 3
HELD, BUYING, SELLING, LONG, SHORT, BEYOND = 3, 4, 5, 6, 7, 8  # BEYOND: a sum left its range; nothing is approved
GROSS, REALISED, FEES, UNREALISED, COST = 9, 10, 11, 12, 13
DAY_BASE, PEAK, PEAK_DAY, STREAK, LAST_LOSS_NS = 14, 15, 16, 17, 18
OPEN = 19
ORDERS_HEAD, CANCELS_HEAD = 20, 21  # counts into the rings
BEST_BUY, BEST_SELL, UNSURE_BUY, UNSURE_SELL, FIRST_ORDER, LANES_OF = 22, 23, 24, 25, 26, 27  # of a pair
HAS_ROW, ENABLED, CAPITAL, ROW_ACCOUNT, ROW_INSTRUMENT = 28, 29, 30, 31, 32  # of a strategy
CURRENCY = 33  # of an account
OWNER_COLUMNS = 34

# Columns of `lanes`, beside HOLDING (3 … 8), UNREALISED and COST.
LANE_INSTRUMENT, LANE_ACCOUNT, LANE_STRATEGY = 0, 1, 2  # ids
INSTRUMENT_AT, ACCOUNT_AT, STRATEGY_AT, PAIR_AT = 14, 15, 16, 17
VERSION, NEXT_LANE, TRIP = 18, 19, 20  # TRIP: profit since the position was opened
STOPPED = 21  # bits of reasons: kills and reconciling
KILL_IDS = 22  # 22 … 27: of KILL_GLOBAL … KILL_INSTRUMENT, RECONCILING
REQUIRED_SET = 28  # how many of the required limits are in force
FAULT, FAULT_VALUE, FAULT_LIMIT = 29, 30, 31  # of the strategy: see FAULT_…
CAPITAL_LIMIT = 32
CHECK_LIMITS = 33  # 33 … : limits in force by check; NO_LIMIT or, for REPEAT, 0
NO_FAULT, FAULT_DISABLED, FAULT_STRANGER = 0, 1, 2  # a stranger's orders are denied even when they reduce

# Checks: first column after CHECK_LIMITS of limit, and after CHECK_SCOPES of its scope. Those with an owner have the
# account's first, then the strategy's, then (OPEN_LIMIT … CANCEL_LIMIT) the pair's.
AGE, SIZE, WORTH, COLLAR, REPEAT = 0, 1, 2, 3, 4
REACH, REACH_WORTH, GROSS_LIMIT, NET_LIMIT = 5, 7, 9, 11
OPEN_LIMIT, SECOND_LIMIT, MINUTE_LIMIT, CANCEL_LIMIT = 13, 16, 19, 22
LOSS_LIMIT, FALL_LIMIT, STREAK_LIMIT = 25, 27, 29
CHECKS = 31
CHECK_SCOPES = CHECK_LIMITS + CHECKS
LANE_COLUMNS = CHECK_SCOPES + CHECKS

# Columns of `orders`.
ORDER_ID, TAG, ORDER_ACCOUNT, ORDER_STRATEGY, ORDER_LANE, ORDER_SIDE, ORDER_KIND, ORDER_FLAGS = range(8)
ORDER_OPEN = 8  # not ended
LIMIT_PRICE, STOP_PRICE, TOTAL = 9, 10, 11  # as last heard
ASKED_PRICE, ASKED_TOTAL = 12, 13  # of an amend that was approved and is not answered; 0 without
ASKED_TOLD = 14  # 1: an Order row has told of it, so one that does not any more answers it
SEEN, COUNTED = 15, 16  # filled by Fill rows; what is counted as pending
RESTING = 17  # price at which it may meet our other side; 0: it rests nowhere
NEXT_ID, NEXT_TAG, TAGGED, NEXT, PREVIOUS = 18, 19, 20, 21, 22
QUEUED, QUEUE_NEXT, QUEUE_PREVIOUS = 23, 24, 25
ORDER_COLUMNS = 26

# Columns of `recent`.
RECENT_NS, RECENT_WHERE, RECENT_SIDE, RECENT_PRICE, RECENT_SIZE, RECENT_BEFORE = range(6)
RECENT_COLUMNS = 6

# Columns of `room`: what is left for the buys (line 0) and the sells (line 1) of a run. See `risk_runs.py`.
ROOM_SIGN, ROOM_FLOOR, ROOM_PENDING, ROOM_HELD, ROOM_WORTH, ROOM_WORTH_MOST, ROOM_NET, ROOM_BEST = range(8)
ROOM_COLUMNS = 8

# Rows of `places`.
BY_INSTRUMENT, BY_LANE, BY_ID, BY_TAG, BY_REPEAT = range(5)

# Entries of `settings`; from UNITS on: unit by reason. RUNS 0: every order is judged by itself, for comparison.
MOVE_CELL_NS, MOVE_COOLDOWN_NS, LOSSES_COOLDOWN_NS, RING, FALL_OF_DAY, ORDERS_MAX, REQUIRED_COUNT, RUNS, UNITS = range(
    9
)
REASONS = len(Reason)
SETTINGS_SIZE = UNITS + REASONS

# Entries of `cursor`.
NEXT_ROW, DECISIONS, DENIALS, DEAD, LANE, FORCED = 0, 1, 2, 3, 4, 5
CURSOR_SIZE = 6

# Why a kernel came back.
DONE, FULL, LANE_WANTED, REFRESH_WANTED, INSTRUMENT_WANTED = range(5)

# Faults: columns of `dead` are row index, reason, fault.
BAD_TIME, BAD_ENUM, BAD_ID, BAD_PRICE, BAD_QUANTITY, BAD_FEE, OTHER_FEE, NO_ORDER_LINE, NO_LINE = range(9)
# What is wrong with a request, the value of its MALFORMED denial.
(
    REQUEST_TIME, REQUEST_ENUM, REQUEST_QUANTITY, REQUEST_PRICE, REQUEST_STOP, REQUEST_FLAGS, REQUEST_EXPIRY,
    REQUEST_FILLED,
) = range(1, 9)  # fmt: skip

REQUEST_WORDS, DECISION_WORDS, DENIAL_WORDS, QUOTE_WORDS, ORDER_WORDS, FILL_WORDS = 12, 24, 8, 9, 18, 13
MOVE_CELLS = 16
TIME_MAX_NS = 1 << 62
PRICE_MAX = 1 << 62
QUANTITY_MAX = 1 << 60
AMOUNT_MAX = 1 << 61  # sums stay within; three of them still fit int64
NO_LIMIT = (1 << 63) - 1
ONE_E8 = 100_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 1440 * MINUTE_NS
