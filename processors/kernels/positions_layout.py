"""Columns of the tables of the rule `positions`, and of the rows that its kernel reads and writes."""

from __future__ import annotations

from schemas.trading import AccountEvent, LedgerAccount

# Of a position.
ACCOUNT, STRATEGY, OF, QUANTITY, COST, REALISED, FEES, FUNDING, FIFO, LOTS, TRADES, SAID_NS, DUE_NS = range(13)
# Of an account's net position in an instrument. SLACK: by how much a profit of the venue's may be off.
NET_ACCOUNT, NET_OF, NET_QUANTITY, NET_COST, NET_REALISED, NET_SLACK = range(6)
# Of an instrument. BID and ASK are the last trusted ones; EVENT_NS is their venue time.
ID, KIND, BASE, QUOTED_IN, SETTLE, MULTIPLIER, BID, ASK, EVENT_NS = range(9)
# Of a balance: a column for each ledger account, then what the venue says, then how many movements of each kind.
OWNER, ASSET, BALANCE_OF = 0, 1, 2
VENUE_SAYS = BALANCE_OF + len(LedgerAccount)
OPENED = VENUE_SAYS + 1
MOVEMENTS = OPENED + 1
BALANCE_COLUMNS = MOVEMENTS + len(AccountEvent)
ENTRIES = 1  # of an account

PRICE_MAX_E8 = 1 << 62
TIME_MAX_NS = 1 << 62  # in the year 2116
NEVER_NS = (1 << 63) - 1
ROUNDINGS = 4  # last places that one fill may be off: two worths and two shares of a cost, when it flips a position
POSTINGS_MAX = 6  # of a fill
FILL_WORDS, UPDATE_WORDS, POSITION_WORDS, POSTING_WORDS, BALANCE_WORDS = 13, 9, 12, 9, 6
POSITION_ROWS, POSTING_ROWS, BALANCE_ROWS, COUNTS = range(4)  # entries of `counts`
# Entries of `said`: the fill, and what it makes.
QUANTITY_NOW, NOTIONAL, HELD, HELD_COST, OWN_PROFIT, NET_HELD, NET_PAID, PROFIT, SLACK, BOOKED, FEE, SAID = range(12)
