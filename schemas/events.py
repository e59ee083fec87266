"""Every event of the platform, declared once.

Money is integers with eight decimals (`_e8`), time is nanoseconds since the Unix epoch (`_ns`).
`ts_event_ns` is the venue's clock, `ts_recv_ns` ours when the frame that caused the row arrived.
Numbers of events and enum members are frozen: append, never renumber.
"""

from __future__ import annotations

import enum

from schemas.declare import Event, Field

BOOK_LEVELS = 20  # levels a side in a book snapshot


class Side(enum.IntEnum):
    """Of a level: which side of the book. Of a trade: the aggressor."""

    BUY = 0
    SELL = 1


class Trust(enum.IntEnum):
    """How far a book, and everything that follows from it, may be believed. Only SYNCED may trade."""

    EMPTY = 0
    SYNCED = 1
    GAP = 2
    RESYNCING = 3
    STALE = 4
    CROSSED = 5


class FrameKind(enum.IntEnum):
    """What a raw frame row records of a connection."""

    OPEN = 0  # socket open; payload: the url
    TEXT = 1  # a text message as received
    BINARY = 2  # a binary message as received
    REST = 3  # the body of a REST answer; `request` says to what
    CLOSE = 4  # socket closed; payload: code and reason
    SILENT = 5  # nothing heard for longer than the venue's limit; payload: which stream
    SENT = 6  # a private request is about to be sent; payload: method, path and query without signature and key
    NO_ANSWER = 7  # it timed out or the socket died; payload: why


class BookAction(enum.IntEnum):
    """What a book delta row does to the book of its instrument."""

    UPDATE = 0  # set the level's quantity; zero removes it
    SNAPSHOT = 1  # a level of a full snapshot; the first row of a snapshot has flag FIRST and clears the book
    GAP = 2  # the chain of updates broke; the book is not to be trusted until the next snapshot
    RESYNC = 3  # a new snapshot was asked for
    STALE = 4  # the stream fell silent; the next update heals it


class DeltaFlag(enum.IntFlag):
    FIRST = 1  # first row of its venue event
    LAST = 2  # last row of its venue event: the book is consistent again, quotes may be taken
    SNAPSHOT_END = 4  # last row of the snapshot and of the updates replayed onto it: the book is SYNCED from here


class TradeFlag(enum.IntFlag):
    HOLE_BEFORE = 1  # trade ids jumped: at least one trade before this one was not heard
    OFF_BOOK = 2  # the venue marks it as not a market trade (insurance fund, settlement)


class BarKind(enum.IntEnum):
    TIME = 0
    TICK = 1
    VOLUME = 2
    NOTIONAL = 3


class BarFlag(enum.IntFlag):
    EMPTY = 1  # no trade in the interval: open = high = low = close = the close before
    REVISED = 2  # a late trade changed a bar that was published before; `revision` counts
    INCOMPLETE = 4  # trades are known to be missing in it
    FIRST = 8  # the first bar of the instrument; it may have begun before we listened


class InstrumentStatus(enum.IntEnum):
    TRADING = 0
    HALTED = 1  # any state in which no order is accepted, for now
    CLOSED = 2  # delisted, settled or delivered
    CANCEL_ONLY = 3


class InstrumentKind(enum.IntEnum):
    SPOT = 0
    PERPETUAL = 1
    FUTURE = 2
    OPTION = 3
    EQUITY = 4
    INDEX = 5


class JournalKind(enum.IntEnum):
    """One row of a checkpoint's journal frame."""

    RUN = 0  # input rows `first`..`last` of (topic, partition, writer, incarnation) were processed
    TIME = 1  # timers due at or before `value_ns` were fired
    POSITION = 2  # next place to read of (topic, partition): `value`; a hint, not hashed
    OUTPUT = 3  # last row written to (topic, partition) is `last`; `value` is the running checksum
    BASELINE = 4  # first sight of (topic, partition, writer, incarnation): rows up to `last` are before us
    COMMIT = 5  # ends a checkpoint: `first` its number, `last` its entries, `value` fingerprint of code and schemas
    FOREIGN = 6  # the message at `value` of (topic, partition) is no frame of ours: one dead letter, as recorded


class DeadReason(enum.IntEnum):
    """Why a row or a frame was put aside. `detail` says the rest."""

    UNPARSABLE = 0
    UNKNOWN_INSTRUMENT = 1
    OUT_OF_RANGE = 2  # a price, quantity or time that no valid row has
    TOO_MANY_DECIMALS = 3
    LATE = 4
    ROW_GAP = 5  # row numbers jumped: rows were lost before us
    UNDECODABLE = 6  # a message that is not a frame of ours
    LIMIT = 7  # a declared bound was reached (instruments, levels)
    UNEXPECTED = 8  # well formed, but not a message this stream may carry


class ServiceState(enum.IntEnum):
    STARTING = 0
    RUNNING = 1
    STOPPING = 2
    STOPPED = 3
    FAILED = 4


class Hop(enum.IntEnum):
    """Which way a latency row measures; each is named by where it ends."""

    VENUE_TO_RECV = 0
    RECV_TO_LOG = 1
    LOG_TO_ROWS = 2
    ROWS_TO_OUTPUT = 3
    OUTPUT_TO_COMMIT = 4
    RECV_TO_OUTPUT = 5


def _event_time() -> Field:
    return Field("ts_event_ns", "i64", "the venue's time, ns", based=True, content=True)


def _recv_time() -> Field:
    return Field("ts_recv_ns", "i64", "our time when the causing frame arrived, ns", based=True)


def _cause() -> Field:
    return Field("cause_row", "i64", "row number of the cause; the rest of its address is in the frame", based=True)


def _instrument() -> Field:
    return Field("instrument", "u32", "instrument id, see ref.instrument.v1", based=True, content=True)


RAW_FRAME = Event(
    "RawFrame",
    1,
    1,
    "What a venue connection heard, byte for byte, with the time it was heard; written before it is parsed.",
    (
        Field("ts_recv_ns", "i64", "our time when the frame arrived, ns", based=True),
        Field("request", "text", "REST: method, path and query of the question; else empty"),
        Field("payload", "bytes", "the bytes as received", content=True),
        Field("connection", "u32", "which connection of the venue (shard)"),
        Field("epoch", "u32", "counts the dials of this connection; frames of an older epoch are history"),
        Field("status", "i32", "REST: HTTP status; CLOSE: close code; else 0"),
        Field("kind", "enum", "what it is", FrameKind),
        Field("venue", "u8", "venue number, see schemas/venues.py"),
        Field("reserved", "u16", "zero"),
    ),
    caused=False,
)

TRADE = Event(
    "Trade",
    2,
    1,
    "One trade as the venue printed it.",
    (
        _event_time(),
        _recv_time(),
        Field("price_e8", "i64", "price × 10^8", based=True, content=True),
        Field("quantity_e8", "i64", "quantity × 10^8", content=True),
        Field("trade_id", "i64", "the venue's trade id", based=True, content=True),
        _cause(),
        _instrument(),
        Field("aggressor", "enum", "side of the order that took liquidity", Side, content=True),
        Field("flags", "flags", "see TradeFlag", TradeFlag, content=True),
        Field("reserved", "u16", "zero"),
    ),
)

BOOK_DELTA = Event(
    "BookDelta",
    3,
    1,
    "One level of an order book changed, or the state of the stream of changes did. Already synchronised by the "
    "venue's rules: applying the rows in order gives the book.",
    (
        _event_time(),
        _recv_time(),
        Field(
            "update_id", "i64", "last update id of the venue event (u), or of the snapshot", based=True, content=True
        ),
        Field("price_e8", "i64", "price × 10^8", based=True, content=True),
        Field("quantity_e8", "i64", "new quantity × 10^8; 0 removes the level", content=True),
        _cause(),
        _instrument(),
        Field("side", "enum", "side of the level", Side, content=True),
        Field("action", "enum", "what to do", BookAction, content=True),
        Field("flags", "flags", "see DeltaFlag", DeltaFlag, content=True),
        Field("reserved", "u8", "zero"),
    ),
)

QUOTE = Event(
    "Quote",
    4,
    1,
    "Best bid and best offer. md.quote.v1: of our own book, one row per change of the touch or of its trust; prices "
    "are 0 where a side is empty. md.ticker.v1: what the venue itself says they are (trust is SYNCED).",
    (
        _event_time(),
        _recv_time(),
        Field("update_id", "i64", "the venue's update id that this touch belongs to", based=True, content=True),
        Field("bid_price_e8", "i64", "best bid × 10^8", based=True, content=True),
        Field("bid_quantity_e8", "i64", "quantity at the best bid × 10^8", content=True),
        Field("ask_price_e8", "i64", "best offer × 10^8", based=True, content=True),
        Field("ask_quantity_e8", "i64", "quantity at the best offer × 10^8", content=True),
        _cause(),
        _instrument(),
        Field("trust", "enum", "may it be believed", Trust, content=True),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u16", "zero"),
    ),
    content_when=("trust", int(Trust.SYNCED)),
    content_changes=("bid_price_e8", "bid_quantity_e8", "ask_price_e8", "ask_quantity_e8"),
)

BOOK_SNAPSHOT = Event(
    "BookSnapshot",
    5,
    1,
    f"The {BOOK_LEVELS} best levels a side, taken at the first consistent moment after each interval of venue time.",
    (
        _event_time(),
        _recv_time(),
        Field("update_id", "i64", "the venue's update id of the book", based=True, content=True),
        _cause(),
        Field("bid_price_e8", "i64", "bids, best first; 0 where there is none", count=BOOK_LEVELS, content=True),
        Field("bid_quantity_e8", "i64", "their quantities", count=BOOK_LEVELS, content=True),
        Field("ask_price_e8", "i64", "offers, best first; 0 where there is none", count=BOOK_LEVELS, content=True),
        Field("ask_quantity_e8", "i64", "their quantities", count=BOOK_LEVELS, content=True),
        _instrument(),
        Field("bid_levels", "u32", "levels known on the bid side, all depths", content=True),
        Field("ask_levels", "u32", "levels known on the offer side, all depths", content=True),
        Field("trust", "enum", "may it be believed", Trust, content=True),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u16", "zero"),
    ),
    content_when=("trust", int(Trust.SYNCED)),
)

BAR = Event(
    "Bar",
    6,
    1,
    "Open, high, low, close and volumes of an interval of venue time, or of a number of trades, a volume, a notional.",
    (
        Field(
            "ts_event_ns",
            "i64",
            "TIME: end of the interval (exclusive); else time of the last trade",
            based=True,
            content=True,
        ),
        _recv_time(),
        Field(
            "ts_open_ns", "i64", "TIME: start of the interval; else time of the first trade", based=True, content=True
        ),
        Field("open_e8", "i64", "first price", based=True, content=True),
        Field("high_e8", "i64", "highest price", based=True, content=True),
        Field("low_e8", "i64", "lowest price", based=True, content=True),
        Field("close_e8", "i64", "last price", based=True, content=True),
        Field("volume_e8", "i64", "sum of quantities", content=True),
        Field("buy_volume_e8", "i64", "sum of quantities whose aggressor bought", content=True),
        Field("notional_e8", "i64", "sum of price × quantity, each product rounded half to even", content=True),
        Field("size", "i64", "TIME: interval in ns; TICK: trades; VOLUME, NOTIONAL: × 10^8", content=True),
        _cause(),
        _instrument(),
        Field("trade_count", "u32", "trades in it", content=True),
        Field("buy_count", "u32", "trades in it whose aggressor bought", content=True),
        Field("revision", "u16", "0 when first published; each late trade that changes it adds 1"),
        Field("kind", "enum", "what closes it", BarKind, content=True),
        Field("flags", "flags", "see BarFlag", BarFlag, content=True),
    ),
)

PROFILE_LEVELS = 50  # price buckets of a volume profile

VOLUME_PROFILE = Event(
    "VolumeProfile",
    7,
    1,
    f"Traded volume by price over an interval of venue time, in at most {PROFILE_LEVELS} equal buckets.",
    (
        Field("ts_event_ns", "i64", "end of the interval (exclusive)", based=True, content=True),
        _recv_time(),
        Field("ts_open_ns", "i64", "start of the interval", based=True, content=True),
        Field("bucket_low_e8", "i64", "lower edge of bucket 0", based=True, content=True),
        Field(
            "bucket_width_e8", "i64", "width of a bucket, a multiple of the tick size where that is known", content=True
        ),
        Field(
            "point_of_control_e8",
            "i64",
            "middle of the bucket with the most volume (the lowest on a tie)",
            based=True,
            content=True,
        ),
        Field("value_area_high_e8", "i64", "upper edge of the value area", based=True, content=True),
        Field("value_area_low_e8", "i64", "lower edge of the value area", based=True, content=True),
        Field("volume_e8", "i64", "all volume", content=True),
        Field("value_area_volume_e8", "i64", "volume inside the value area: at least 70 % of all", content=True),
        _cause(),
        Field("buy_volume_e8", "i64", "by bucket, aggressor bought", count=PROFILE_LEVELS, content=True),
        Field("sell_volume_e8", "i64", "by bucket, aggressor sold", count=PROFILE_LEVELS, content=True),
        Field("trade_count", "i64", "trades by bucket", count=PROFILE_LEVELS, content=True),
        _instrument(),
        Field("bucket_count", "u32", "buckets in use", content=True),
    ),
)

INSTRUMENT = Event(
    "Instrument",
    8,
    1,
    "What is traded, and by which rules. The id is a hash of `venue:symbol` (schemas/instruments.py).",
    (
        Field("ts_recv_ns", "i64", "our time when we learned it, ns", based=True),
        Field("tick_size_e8", "i64", "smallest price step", content=True),
        Field("lot_size_e8", "i64", "smallest quantity step", content=True),
        Field("price_min_e8", "i64", "lowest price accepted; origin of the ticks on Binance futures", content=True),
        Field("price_max_e8", "i64", "highest price accepted; 0 for none", content=True),
        Field("quantity_min_e8", "i64", "smallest quantity of a limit order", content=True),
        Field("quantity_max_e8", "i64", "largest quantity of a limit order; 0 for none", content=True),
        Field("market_quantity_max_e8", "i64", "largest quantity of a market order; 0 for none", content=True),
        Field("notional_min_e8", "i64", "smallest price × quantity; 0 for none", content=True),
        Field("multiplier_e8", "i64", "contract multiplier", content=True),
        Field("expiry_ns", "i64", "delivery or expiry; 0 for none", content=True),
        _cause(),
        Field("symbol", "text", "the venue's symbol", content=True),
        Field("base", "text", "base asset", content=True),
        Field("quote", "text", "quote asset", content=True),
        Field("settle", "text", "asset of margin and settlement", content=True),
        Field("instrument", "u32", "instrument id", content=True),
        Field("venue", "u8", "venue number", content=True),
        Field("kind", "enum", "what it is", InstrumentKind, content=True),
        Field("status", "enum", "may it be traded now", InstrumentStatus, content=True),
        Field("reserved", "u8", "zero"),
    ),
)

JOURNAL = Event(
    "Journal",
    9,
    1,
    "What a runner did, in the order in which it did it. One frame is one checkpoint; its last row is COMMIT.",
    (
        Field("first", "i64", "see JournalKind"),
        Field("last", "i64", "see JournalKind"),
        Field("value", "i64", "see JournalKind"),
        Field("topic", "u16", "topic number"),
        Field("partition", "u16", "partition"),
        Field("writer", "u16", "writer number"),
        Field("incarnation", "u16", "the writer's incarnation"),
        Field("reserved_a", "u32", "zero"),
        Field("reserved_b", "u16", "zero"),
        Field("reserved_c", "u8", "zero"),
        Field("kind", "enum", "what this row says", JournalKind),
    ),
    caused=False,
)

DEAD_LETTER = Event(
    "DeadLetter",
    10,
    1,
    "A row or a frame that was put aside, and why. The frame's cause and `cause_row` say which.",
    (
        _recv_time(),
        _cause(),
        Field("detail", "text", "the reason in words, with the numbers"),
        Field("payload", "bytes", "the first 4,096 bytes of what was put aside"),
        Field("instrument", "u32", "instrument id where known, else 0"),
        Field("reason", "enum", "the reason", DeadReason),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u16", "zero"),
    ),
)

LATENCY_BUCKETS = 64

LATENCY = Event(
    "Latency",
    11,
    1,
    "How long one hop took over an interval: a histogram with four buckets per power of two from 256 ns on.",
    (
        Field("ts_recv_ns", "i64", "end of the interval, ns", measured=True),
        Field("interval_ns", "i64", "length of the interval", measured=True),
        Field("count", "i64", "samples", measured=True),
        Field("sum_ns", "i64", "their sum", measured=True),
        Field("max_ns", "i64", "the largest", measured=True),
        Field("bucket", "i64", "samples by bucket", count=LATENCY_BUCKETS, measured=True),
        Field("writer", "u16", "who measured", measured=True),
        Field("hop", "enum", "what was measured", Hop, measured=True),
        Field("reserved_a", "u8", "zero"),
        Field("reserved_b", "u32", "zero"),
    ),
    caused=False,
)

HEARTBEAT = Event(
    "Heartbeat",
    12,
    1,
    "A service says that it lives and how it is.",
    (
        Field("ts_recv_ns", "i64", "our time, ns", measured=True),
        Field("started_ns", "i64", "when the process started", measured=True),
        Field("rss_bytes", "i64", "resident memory", measured=True),
        Field("rows_in", "i64", "rows read since start", measured=True),
        Field("rows_out", "i64", "rows written since start", measured=True),
        Field("service", "text", "its name: pipeline/task or process"),
        Field("detail", "text", "what it is doing, or what went wrong", measured=True),
        Field("pid", "u32", "process id", measured=True),
        Field("writer", "u16", "its writer number, 0 where it has none"),
        Field("state", "enum", "its state", ServiceState, measured=True),
        Field("reserved", "u8", "zero"),
    ),
    caused=False,
)

RESYNC_REQUEST = Event(
    "ResyncRequest",
    13,
    1,
    "The synchronisation rule asks its connection for a new snapshot of one instrument's book.",
    (
        _recv_time(),
        _cause(),
        Field("update_id", "i64", "last update id that was applied; 0 when there was none", based=True),
        Field("instrument", "u32", "instrument id", based=True),
        Field("attempt", "u32", "1 for the first snapshot since the break"),
    ),
)

SESSION = Event(
    "Session",
    14,
    1,
    "A run of the platform from a clean state. Its number is the incarnation of all its writers.",
    (
        Field("ts_recv_ns", "i64", "when it was created, ns", measured=True),
        Field("session", "text", "its name"),
        Field("plan", "text", "what it ran, as JSON"),
        Field("incarnation", "u16", "incarnation of its writers", measured=True),
        Field("reserved_a", "u16", "zero"),
        Field("reserved_b", "u32", "zero"),
    ),
    caused=False,
)

SNAPSHOT = Event(
    "Snapshot",
    15,
    1,
    "A piece of a runner's saved state: chunks first, the manifest (chunk 0) last, two slots in turn.",
    (
        Field("checkpoint", "i64", "number of the checkpoint it was taken at"),
        Field("payload", "bytes", "manifest as JSON, or compressed state"),
        Field("writer", "u16", "whose state"),
        Field("incarnation", "u16", "its incarnation"),
        Field("slot", "u16", "0 or 1"),
        Field("chunk", "u16", "0 is the manifest"),
    ),
    caused=False,
)

MARKET_EVENTS: tuple[Event, ...] = (
    RAW_FRAME,
    TRADE,
    BOOK_DELTA,
    QUOTE,
    BOOK_SNAPSHOT,
    BAR,
    VOLUME_PROFILE,
    INSTRUMENT,
    JOURNAL,
    DEAD_LETTER,
    LATENCY,
    HEARTBEAT,
    RESYNC_REQUEST,
    SESSION,
    SNAPSHOT,
)
