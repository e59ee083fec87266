"""Events of trading: what is wanted, what was decided, what was sent, what the venue said, what came of it.

    OrderRequest ─risk▶ Decision (+ Denial rows) ─orders▶ OrderCommand ─gateway▶ venue
                                          Order ◀─orders─ VenueReport ◀─wire─ raw frames
                                          Fill  ─positions▶ Position, Posting, Balance

An order is known by its `order_id`: a function of the address of the request that asked for it (`order_id_of`), so that
the same request never makes two orders, whoever asks again. A strategy knows its orders by its own `tag` before it
hears an id. Numbers of events and enum members are frozen: append, never renumber.
"""

from __future__ import annotations

import enum

from schemas.declare import Event, Field
from schemas.errors import InputInvalid
from schemas.events import Side, Trust

ORDER_ROW_BITS, ORDER_WRITER_BITS, ORDER_INCARNATION_BITS = 32, 15, 16
_BASE36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PAIRS = tuple(high + low for high in _BASE36 for low in _BASE36)
CLIENT_ID_LENGTH = 14  # `S` and 13 digits of base 36: 63 bits; venues take at least 20
NOT_SAID = -(1 << 63)  # an amount that the venue did not say; no amount of money is this large


def order_id_of(incarnation: int, writer: int, row: int) -> int:
    """The id of the order that request row `row` of (writer, incarnation) asks for; above 0, below 2^63.

    Raises:
        InputInvalid: a part is out of its range; an id is never cut to fit.
    """
    parts = ((incarnation, ORDER_INCARNATION_BITS), (writer, ORDER_WRITER_BITS), (row, ORDER_ROW_BITS))
    if any(not 0 <= value < 1 << bits for value, bits in parts) or row == 0:
        raise InputInvalid(f"No order id for row {row} of writer {writer}, incarnation {incarnation}: out of range.")
    return (incarnation << ORDER_WRITER_BITS | writer) << ORDER_ROW_BITS | row


def client_id_of(order_id: int) -> str:
    """The id as venues carry it: 14 characters of `[A-Z0-9]`."""
    if not 0 < order_id < 1 << 63:
        raise InputInvalid(f"{order_id} is no order id.")
    high, low = divmod(order_id, 36**6)
    high, middle = divmod(high, 36**6)
    return (
        f"S{_BASE36[high]}{_PAIRS[middle // 36**4]}{_PAIRS[middle // 36**2 % 36**2]}{_PAIRS[middle % 36**2]}"
        f"{_PAIRS[low // 36**4]}{_PAIRS[low // 36**2 % 36**2]}{_PAIRS[low % 36**2]}"
    )


def order_id_from(client_id: str) -> int:
    """The order id of one of our client ids; 0 for anybody else's."""
    if len(client_id) != CLIENT_ID_LENGTH or client_id[0] != "S":
        return 0
    value = 0
    for digit in client_id[1:]:
        place = _BASE36.find(digit)
        if place < 0:
            return 0
        value = value * 36 + place
    return value if 0 < value < 1 << 63 else 0


class RequestAction(enum.IntEnum):
    NEW = 0
    AMEND = 1  # price and total quantity of the order `tag`
    CANCEL = 2  # the order `tag`
    CANCEL_ALL = 3  # every open order of the strategy in the instrument; instrument 0: in all


class OrderKind(enum.IntEnum):
    LIMIT = 0
    MARKET = 1
    STOP = 2  # becomes MARKET when the stop price trades
    STOP_LIMIT = 3


class TimeInForce(enum.IntEnum):
    GTC = 0
    IOC = 1
    FOK = 2
    GTD = 3  # until expires_ns
    DAY = 4  # until the end of the venue's day


class OrderFlag(enum.IntFlag):
    POST_ONLY = 1
    REDUCE_ONLY = 2
    HUMAN = 4  # asked for by a person at the command line
    FLATTEN = 8  # asked for by the kill switch


class Reason(enum.IntEnum):
    """Why an order may not go. The position in the enum is the bit in `Decision.reasons`; every check is evaluated."""

    KILL_GLOBAL = 0
    KILL_VENUE = 1
    KILL_ACCOUNT = 2
    KILL_STRATEGY = 3
    KILL_INSTRUMENT = 4
    UNTRUSTED = 5  # the book of the instrument is not SYNCED
    STALE_INPUT = 6  # the last quote is older than its limit
    NO_QUOTE = 7
    UNKNOWN_INSTRUMENT = 8
    INSTRUMENT_HALTED = 9
    OUTSIDE_HOURS = 10
    TICK_SIZE = 11
    LOT_SIZE = 12
    PRICE_RANGE = 13
    QUANTITY_RANGE = 14
    MIN_NOTIONAL = 15
    ORDER_QUANTITY = 16
    ORDER_NOTIONAL = 17
    PRICE_COLLAR = 18
    POSITION_QUANTITY = 19  # resulting position, pending orders counted
    POSITION_NOTIONAL = 20
    GROSS_EXPOSURE = 21
    NET_EXPOSURE = 22
    OPEN_ORDERS = 23
    RATE_SECOND = 24
    RATE_MINUTE = 25
    CANCEL_RATE = 26
    DUPLICATE = 27
    SELF_TRADE = 28
    DAILY_LOSS = 29
    DRAWDOWN = 30
    BREAKER_LOSSES = 31
    BREAKER_MOVE = 32
    REDUCE_ONLY = 33  # would open or enlarge a position
    STRATEGY_DISABLED = 34
    STRATEGY_CAPITAL = 35
    NO_LIMITS = 36  # no limit row is in force for its account: nothing is allowed by default
    UNKNOWN_ORDER = 37  # an amend or cancel of an order that is not open
    MALFORMED = 38  # a field that no order can have
    RECONCILING = 39  # the account has not been reconciled with its venue since the last start
    EXPIRED = 40  # decided after the request's own valid_until_ns


class Scope(enum.IntEnum):
    GLOBAL = 0
    VENUE = 1
    ACCOUNT = 2
    STRATEGY = 3
    INSTRUMENT = 4


class Unit(enum.IntEnum):
    """What a compared number is."""

    NONE = 0
    QUANTITY_E8 = 1
    PRICE_E8 = 2
    NOTIONAL_E8 = 3  # of the limit's currency
    COUNT = 4
    NS = 5
    BASIS_POINTS = 6


class CommandKind(enum.IntEnum):
    SUBMIT = 0
    AMEND = 1
    CANCEL = 2
    QUERY = 3  # what became of it?


class ReportKind(enum.IntEnum):
    """What a venue said of an order, or what we found out about it."""

    ACKNOWLEDGED = 0
    FILL = 1
    CANCELLED = 2
    REJECTED = 3  # the order was refused
    EXPIRED = 4
    AMENDED = 5
    AMEND_REJECTED = 6
    CANCEL_REJECTED = 7
    TRIGGERED = 8
    SENT = 9  # the gateway wrote the attempt and sent it
    UNKNOWN = 10  # no answer: it may or may not be there
    ABSENT = 11  # past its validity, and the venue does not know it: it never will
    STATUS = 12  # an answer to a query: the whole state


class OrderState(enum.IntEnum):
    NEW = 0  # decided, nothing sent
    PENDING_SUBMIT = 1  # attempt written or sent
    UNKNOWN = 2  # sent, no answer; a query must settle it before anything else is sent
    OPEN = 3
    PARTIALLY_FILLED = 4
    PENDING_AMEND = 5
    PENDING_CANCEL = 6
    FILLED = 7
    CANCELLED = 8
    REJECTED = 9
    EXPIRED = 10
    DENIED = 11  # by risk; nothing was ever sent


TERMINAL_STATES = frozenset(
    {OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED, OrderState.DENIED}
)


class Alarm(enum.IntEnum):
    """What a row of the order's life says beside its state."""

    NONE = 0
    ADOPTED = 1  # the venue speaks of an order that we do not know
    LATE = 2  # a report after the order's end, taken into account
    REPEATED = 3
    OVERFILL = 4
    IMPOSSIBLE = 5  # the transition table has no such step; nothing changed
    MISSING_FILLS = 6  # the venue has filled more than the fills that we were told of; they are asked for


class AccountEvent(enum.IntEnum):
    """What moved money without a trade."""

    FUNDING = 0
    TRANSFER = 1
    ADJUSTMENT = 2
    OPENING = 3  # the balance that was there when we first looked


class LedgerAccount(enum.IntEnum):
    """Accounts of the double-entry ledger, per account and asset."""

    CASH = 0  # the venue's wallet balance
    REALISED = 1  # income: realised profit (negative posting) and loss
    FEES = 2  # expense
    FUNDING = 3  # expense or income
    EQUITY = 4  # what was there before, and transfers
    ADJUSTMENT = 5  # differences found: by reconciliation, or in a profit that the venue booked
    CLEARING = 6  # what the venue has realised and no strategy yet, or the other way about; roundings of the venue
    EXCHANGE = 7  # spot: the other half of what was exchanged, held assets at cost


class DifferenceKind(enum.IntEnum):
    """Of what we and the venue have different ideas."""

    ORDER = 0
    POSITION = 1
    BALANCE = 2
    FILL = 3  # of an order that is none of ours


class Resolution(enum.IntEnum):
    """What is done about a difference."""

    HALTED = 0  # the gateway kills the account (`kill_id`); a person looks at it and resumes
    ACCEPTED = 1  # a person has resumed: it stands as it is
    ADOPTED = 2  # the rule of orders follows it from here on
    FOREIGN = 3  # somebody else's: left alone
    VENUE = 4  # the venue's word is taken; ours follows it


class KillOutcome(enum.IntEnum):
    """How far a kill is."""

    RECEIVED = 0  # no new order goes from here on
    CANCELLED = 1  # the venue has no open order of what was killed
    FLAT = 2  # cancelled, every attempt settled or past its validity, and no position
    PARTLY = 3  # a strategy's position, closed as far as the account's net position allows
    FAILED = 4  # not done so far: tried again while the kill is in force


_BOOKED = "realised profit as the venue booked it, in the settlement asset; -2^63 when it did not say"


def _event_time() -> Field:
    return Field("ts_event_ns", "i64", "the venue's time of what caused it, ns", based=True, content=True)


def _recv_time() -> Field:
    return Field("ts_recv_ns", "i64", "our time of the causing row, or the deadline that fired, ns", based=True)


def _cause() -> Field:
    return Field("cause_row", "i64", "row number of the cause; the rest of its address is in the frame", based=True)


def _who() -> tuple[Field, ...]:
    return (
        Field("instrument", "u32", "instrument id, see ref.instrument.v1", content=True),
        Field("account", "u32", "account id: FNV-1a of `venue:name`", content=True),
        Field("strategy", "u32", "strategy id: FNV-1a of its name; that of `operator` for people", content=True),
    )


def _wanted() -> tuple[Field, ...]:
    """What kind of order; five bytes."""
    return (
        Field("side", "enum", "buy or sell", Side, content=True),
        Field("kind", "enum", "limit, market …", OrderKind, content=True),
        Field("time_in_force", "enum", "how long", TimeInForce, content=True),
        Field("flags", "flags", "see OrderFlag", OrderFlag, content=True),
    )


ORDER_REQUEST = Event(
    "OrderRequest",
    16,
    1,
    "A strategy or a person wants an order, or a change of one. Nothing is sent because of this row alone.",
    (
        _event_time(),
        _recv_time(),
        Field("tag", "i64", "the requester's own number of the order; a change names the order by it", content=True),
        Field("price_e8", "i64", "limit price × 10^8; 0 for market orders", content=True),
        Field("stop_price_e8", "i64", "trigger × 10^8; 0 without", content=True),
        Field("quantity_e8", "i64", "total quantity × 10^8", content=True),
        Field("expires_ns", "i64", "GTD: when it ends; else 0"),
        Field("valid_until_ns", "i64", "not to be sent after this time"),
        _cause(),
        *_who(),
        *_wanted(),
        Field("action", "enum", "new, amend, cancel …", RequestAction, content=True),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u16", "zero"),
        Field("reserved_c", "u32", "zero"),
    ),
)

DECISION = Event(
    "Decision",
    17,
    1,
    "What risk made of one request: `reasons` is 0 when it may go. It repeats the request and holds what was seen.",
    (
        _event_time(),
        _recv_time(),
        Field("order_id", "i64", "of the order that is made or changed; 0 for CANCEL_ALL", content=True),
        Field("tag", "i64", "as requested", content=True),
        Field("price_e8", "i64", "as requested", content=True),
        Field("stop_price_e8", "i64", "as requested", content=True),
        Field("quantity_e8", "i64", "as requested", content=True),
        Field("expires_ns", "i64", "as requested"),
        Field("valid_until_ns", "i64", "as requested"),
        Field("reasons", "i64", "bit mask of Reason; 0: it may go", content=True),
        Field("bid_price_e8", "i64", "best bid that was seen"),
        Field("ask_price_e8", "i64", "best offer that was seen"),
        Field("quote_row", "i64", "row number of that quote"),
        Field("quote_age_ns", "i64", "its age on our clock"),
        Field("position_e8", "i64", "signed position of account and instrument before"),
        Field("pending_buy_e8", "i64", "open buy quantity of account and instrument before"),
        Field("pending_sell_e8", "i64", "open sell quantity of account and instrument before"),
        Field("gross_e8", "i64", "gross exposure of the account after, in the quote currency"),
        Field("net_e8", "i64", "net exposure of the account after"),
        Field("profit_day_e8", "i64", "realised and unrealised profit less fees of the account's day"),
        _cause(),
        *_who(),
        *_wanted(),
        Field("action", "enum", "as requested", RequestAction, content=True),
        Field("trust", "enum", "of that quote", Trust, content=True),
        Field("quote_partition", "u8", "partition of that quote"),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u32", "zero"),
    ),
)

DENIAL = Event(
    "Denial",
    18,
    1,
    "One reason why a request was denied, with the two numbers that were compared.",
    (
        _event_time(),
        _recv_time(),
        Field("order_id", "i64", "of the order that was not made or changed", content=True),
        Field("value", "i64", "what it would be", content=True),
        Field("limit", "i64", "what is allowed", content=True),
        _cause(),
        *_who(),
        Field("reason", "enum", "which check", Reason, content=True),
        Field("unit", "enum", "of value and limit", Unit, content=True),
        Field("scope", "enum", "whose limit", Scope, content=True),
        Field("reserved", "u8", "zero"),
    ),
)

ORDER_COMMAND = Event(
    "OrderCommand",
    19,
    1,
    "What the gateway is to do at the venue. It writes each attempt before it sends.",
    (
        _event_time(),
        _recv_time(),
        Field("order_id", "i64", "ours; the client id at the venue follows from it", content=True),
        Field("price_e8", "i64", "limit price × 10^8", content=True),
        Field("stop_price_e8", "i64", "trigger × 10^8", content=True),
        Field("quantity_e8", "i64", "total quantity × 10^8", content=True),
        Field("expires_ns", "i64", "GTD: when it ends; else 0"),
        Field("valid_until_ns", "i64", "not to be sent after this time"),
        _cause(),
        *_who(),
        *_wanted(),
        Field("command", "enum", "submit, amend, cancel, query", CommandKind, content=True),
        Field("attempt", "u8", "1 for the first, counted per order and command", content=True),
        Field("reserved_a", "u16", "zero"),
        Field("reserved_b", "u32", "zero"),
    ),
)

VENUE_REPORT = Event(
    "VenueReport",
    20,
    1,
    "What the venue said of an order, or the gateway found out about it, from whichever stream or answer.",
    (
        _event_time(),
        _recv_time(),
        Field("order_id", "i64", "ours; 0 when its client id is none of ours", content=True),
        Field("venue_order_id", "i64", "the venue's", content=True),
        Field("trade_id", "i64", "FILL: the venue's trade id; else 0", content=True),
        Field("price_e8", "i64", "FILL: price of this fill; AMENDED, STATUS: limit price", content=True),
        Field("quantity_e8", "i64", "FILL: quantity of this fill; AMENDED, STATUS: total", content=True),
        Field("filled_e8", "i64", "cumulative filled quantity, where the venue says it; else -1", content=True),
        Field("fee_e8", "i64", "FILL: fee paid × 10^8 in `fee_asset`; below 0: a rebate", content=True),
        Field("realised_e8", "i64", f"FILL: {_BOOKED}", content=True),
        Field("text", "text", "the venue's words; for foreign orders their client id"),
        _cause(),
        *_who(),
        Field("fee_asset", "u32", "asset id: FNV-1a of its name", content=True),
        Field("code", "i32", "the venue's error code; 0 without", content=True),
        Field("report", "enum", "what it says", ReportKind, content=True),
        Field("side", "enum", "buy or sell", Side, content=True),
        Field("state", "enum", "STATUS: the order's state at the venue", OrderState, content=True),
        Field("maker", "u8", "FILL: 1 when it rested in the book", content=True),
    ),
)

ORDER = Event(
    "Order",
    21,
    1,
    "An order as it stands: the latest row per order is the truth of record.",
    (
        _event_time(),
        _recv_time(),
        Field("order_id", "i64", "ours", content=True),
        Field("tag", "i64", "the requester's number", content=True),
        Field("venue_order_id", "i64", "the venue's; 0 before it said", content=True),
        Field("price_e8", "i64", "limit price in force", content=True),
        Field("stop_price_e8", "i64", "trigger in force", content=True),
        Field("quantity_e8", "i64", "total quantity in force", content=True),
        Field("filled_e8", "i64", "filled so far", content=True),
        Field("filled_notional_e8", "i64", "price × quantity of the fills, in the quote currency", content=True),
        Field("wanted_price_e8", "i64", "of an amend in flight; else 0"),
        Field("wanted_quantity_e8", "i64", "of an amend in flight; else 0"),
        Field("expires_ns", "i64", "GTD: when it ends; else 0"),
        Field("valid_until_ns", "i64", "of the attempt in flight"),
        _cause(),
        *_who(),
        *_wanted(),
        Field("state", "enum", "see OrderState", OrderState, content=True),
        Field("before", "enum", "the state before this row", OrderState, content=True),
        Field("alarm", "enum", "see Alarm", Alarm, content=True),
        Field("attempt", "u8", "of the command in flight"),
        Field("code", "i32", "the venue's error code; 0 without", content=True),
    ),
)

FILL = Event(
    "Fill",
    22,
    1,
    "One execution of one order, once.",
    (
        _event_time(),
        _recv_time(),
        Field("order_id", "i64", "ours", content=True),
        Field("venue_order_id", "i64", "the venue's", content=True),
        Field("trade_id", "i64", "the venue's trade id", content=True),
        Field("price_e8", "i64", "price × 10^8", content=True),
        Field("quantity_e8", "i64", "quantity × 10^8", content=True),
        Field("fee_e8", "i64", "fee paid × 10^8 in `fee_asset`; below 0: a rebate", content=True),
        _cause(),
        *_who(),
        Field("fee_asset", "u32", "asset id", content=True),
        Field("side", "enum", "buy or sell", Side, content=True),
        Field("maker", "u8", "1 when it rested in the book", content=True),
        Field("reserved_a", "u16", "zero"),
        Field("reserved_b", "u32", "zero"),
        Field("realised_e8", "i64", _BOOKED, content=True),
    ),
)

POSITION = Event(
    "Position",
    23,
    1,
    "A position as it stands, per account, strategy and instrument.",
    (
        _event_time(),
        _recv_time(),
        Field("quantity_e8", "i64", "signed: above 0 is long", content=True),
        Field(
            "cost_e8",
            "i64",
            "signed cost of what is held; average price = cost ÷ quantity",
            content=True,
        ),
        Field("realised_e8", "i64", "realised profit before fees and funding", content=True),
        Field("fees_e8", "i64", "fees paid", content=True),
        Field("funding_e8", "i64", "funding received less paid", content=True),
        Field("mark_price_e8", "i64", "the trusted price it was marked at; 0 before any"),
        Field("unrealised_e8", "i64", "profit if closed at the mark"),
        _cause(),
        *_who(),
        Field("lots", "u32", "open first-in first-out lots", content=True),
    ),
    content_changes=("quantity_e8", "cost_e8", "realised_e8", "fees_e8", "funding_e8"),  # not marks: our clock's
)

POSTING = Event(
    "Posting",
    24,
    1,
    "One line of the double-entry ledger. The postings of one cause sum to zero per asset.",
    (
        _event_time(),
        _recv_time(),
        Field("amount_e8", "i64", "above 0 debits, below 0 credits the ledger account", content=True),
        Field("balance_e8", "i64", "of the ledger account after this line", content=True),
        Field("entry", "i64", "number of the entry: its lines share it", content=True),
        _cause(),
        *_who(),
        Field("asset", "u32", "asset id", content=True),
        Field("ledger", "enum", "which ledger account", LedgerAccount, content=True),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u16", "zero"),
        Field("reserved_c", "u32", "zero"),
    ),
)

BALANCE = Event(
    "Balance",
    25,
    1,
    "Cash of one account in one asset as the ledger has it, beside what the venue says.",
    (
        _event_time(),
        _recv_time(),
        Field("amount_e8", "i64", "the ledger's cash", content=True),
        Field("venue_e8", "i64", "what the venue last said; -2^63 when it never did"),
        _cause(),
        Field("account", "u32", "account id", content=True),
        Field("asset", "u32", "asset id", content=True),
    ),
)

ACCOUNT_UPDATE = Event(
    "AccountUpdate",
    26,
    1,
    "Money moved without a trade of ours, or the venue says what it has.",
    (
        _event_time(),
        _recv_time(),
        Field("amount_e8", "i64", "what moved, above 0 towards us", content=True),
        Field("balance_e8", "i64", "wallet balance after; -2^63 when the venue did not say", content=True),
        Field("venue_id", "i64", "the venue's id of the movement; 0 without", content=True),
        _cause(),
        *_who(),
        Field("asset", "u32", "asset id", content=True),
        Field("what", "enum", "see AccountEvent", AccountEvent, content=True),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u16", "zero"),
        Field("reserved_c", "u32", "zero"),
    ),
)

LIMIT = Event(
    "Limit",
    27,
    1,
    "One limit in force: the latest row per scope, subject and check. Changed by `shriven limits set` only.",
    (
        Field("ts_recv_ns", "i64", "when it was set, ns"),
        Field("value", "i64", "the limit, in `unit`"),
        Field("who", "text", "who set it"),
        Field("why", "text", "why"),
        Field("subject", "u32", "id of the venue, account, strategy or instrument; 0 for GLOBAL"),
        Field("currency", "u32", "asset id of money; else 0"),
        Field("scope", "enum", "whose limit", Scope),
        Field("reason", "enum", "the check that it bounds", Reason),
        Field("unit", "enum", "of the value", Unit),
        Field("active", "u8", "0: the limit is lifted"),
        Field("reserved", "u32", "zero"),
    ),
    caused=False,
)

SWITCH = Event(
    "Switch",
    28,
    1,
    "Kills and resumes. A resume names the kill that it lifts, so that a late one cannot undo a newer kill.",
    (
        Field("ts_recv_ns", "i64", "when it was pressed, ns"),
        Field("kill_id", "i64", "number of the kill; a resume repeats it"),
        Field("who", "text", "who"),
        Field("why", "text", "why"),
        Field("subject", "u32", "id of the venue, account, strategy or instrument; 0 for GLOBAL"),
        Field("scope", "enum", "what is stopped", Scope),
        Field("on", "u8", "1 kill, 0 resume"),
        Field("flatten", "u8", "1: close positions too"),
        Field("reserved", "u8", "zero"),
    ),
    caused=False,
)

STRATEGY = Event(
    "Strategy",
    29,
    1,
    "A strategy in force: the latest row per strategy. Parameters change by a new row, never in a running process.",
    (
        Field("ts_recv_ns", "i64", "when it was set, ns"),
        Field("capital_e8", "i64", "notional it may hold, in the quote currency"),
        Field("name", "text", "its name"),
        Field("rule", "text", "the file it runs: processors/strategies/<rule>.py"),
        Field("parameters", "text", "JSON object"),
        Field("who", "text", "who set it"),
        Field("why", "text", "why"),
        Field("strategy", "u32", "strategy id"),
        Field("account", "u32", "account it trades"),
        Field("instrument", "u32", "instrument it trades"),
        Field("enabled", "u8", "0: it may not open; it cancels what is open"),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u16", "zero"),
    ),
    caused=False,
)

DIFFERENCE = Event(
    "Difference",
    30,
    1,
    "At a reconciliation we and the venue differed, after everything that was under way had arrived.",
    (
        Field("ts_recv_ns", "i64", "when it was found, ns"),
        Field("ours_e8", "i64", "our quantity or amount × 10^8; 0 for an order that we do not know as open"),
        Field("venue_e8", "i64", "the venue's; 0 for an order that it does not have open"),
        Field("order_id", "i64", "ORDER, FILL: ours; below 0: the venue's id of somebody else's; else 0"),
        Field("kill_id", "i64", "HALTED, ACCEPTED: the kill that it is, for `shriven resume`; else 0"),
        Field("text", "text", "what it is, for people"),
        Field("account", "u32", "account id"),
        Field("instrument", "u32", "ORDER, POSITION, FILL: instrument id; else 0"),
        Field("asset", "u32", "BALANCE: asset id; else 0"),
        Field("kind", "enum", "of what", DifferenceKind),
        Field("resolution", "enum", "what is done about it", Resolution),
        Field("material", "u8", "1: nothing new is sent until somebody resumes"),
        Field("reserved", "u8", "zero"),
    ),
    caused=False,
)

ACKNOWLEDGEMENT = Event(
    "Acknowledgement",
    31,
    1,
    "What became of a kill at one account: a row for each step, and again after every start under a kill in force.",
    (
        Field("ts_recv_ns", "i64", "when it was said, ns"),
        Field("kill_id", "i64", "which kill"),
        Field("received_ns", "i64", "from when it was pressed until it was taken"),
        Field("cancelled_ns", "i64", "from when it was taken until no order was open; 0 before"),
        Field("flat_ns", "i64", "from when it was taken until flat; 0 before, or when that was not asked for"),
        Field("who", "text", "the process that says so"),
        Field("text", "text", "for people: what is missing, or why it failed"),
        Field("account", "u32", "account id"),
        Field("orders", "u32", "open orders at the first look"),
        Field("positions", "u32", "positions that were closed"),
        Field("outcome", "enum", "how far it is", KillOutcome),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u16", "zero"),
    ),
    caused=False,
)

TRADING_EVENTS: tuple[Event, ...] = (
    ORDER_REQUEST,
    DECISION,
    DENIAL,
    ORDER_COMMAND,
    VENUE_REPORT,
    ORDER,
    FILL,
    POSITION,
    POSTING,
    BALANCE,
    ACCOUNT_UPDATE,
    LIMIT,
    SWITCH,
    STRATEGY,
    DIFFERENCE,
    ACKNOWLEDGEMENT,
)
