"""The rule that turns private raw frames of Binance USD-M futures into VENUE_REPORT and ACCOUNT_UPDATE rows.

What the gateway writes (connectors/gateway.py), all on connections from PRIVATE_CONNECTION on:

    SENT       POST /fapi/v1/order?symbol=BTCUSDT&…&newClientOrderId=S0…&recvWindow=5000&timestamp=1723161256322
    REST       the answer's body; `request` is "POST /fapi/v1/order S0…", as in the SENT row; `status` is HTTP's
    NO_ANSWER  nothing came back, or (status NOT_SENT, NEVER_LEFT) nothing went out; the payload says why
    TEXT       the user stream: {"e":"ORDER_TRADE_UPDATE","E":…,"T":…,"o":{"s":"BTCUSDT","c":"S0…","x":"TRADE",…}}
    CLOSE      of EVERY_EPOCH: the gateway's process begins anew

| heard | reported |
|---|---|
| SENT of a new order | SENT |
| 200 to POST, PUT, DELETE, GET of an order | ACKNOWLEDGED, AMENDED, CANCELLED, STATUS; openOrders: STATUS each |
| refusal of POST, PUT, DELETE | REJECTED, AMEND_REJECTED, CANCEL_REJECTED with the venue's code and words |
| NO_ANSWER, 5xx, -1000 -1001 -1006 -1007, a refused query | UNKNOWN |
| process begins while requests were in flight | UNKNOWN for each of them |
| -2013 to a query | ABSENT when the query was made after the order's validity, else UNKNOWN |
| ORDER_TRADE_UPDATE, ALGO_UPDATE | ACKNOWLEDGED FILL CANCELLED EXPIRED AMENDED REJECTED TRIGGERED |
| userTrades | FILL, of orders whose client id is known by then and unless the trade was reported before |
| ACCOUNT_UPDATE, balance | AccountUpdate |

Not reported, on purpose: TRADE_LITE (a fill without fee; the whole one follows), listenKeyExpired (the gateway acts on
it), leverage, margin calls and grids; positionRisk and account (the gateway compares them).

**ABSENT is proven on the venue's clock alone.** An order with timestamp T and recvWindow W is refused by the venue once
its clock is past T + W. A query with timestamp Q was accepted, so its clock was past Q - 1000 ms. With
Q > T + W + SETTLE_MS an order that is not there never will be. An order without an attempt in this log can only have
been sent before the process began, with the longest window the venue allows.

Columns beyond their documented meaning: ACKNOWLEDGED carries price and quantity too (for orders that we do not know);
`code` is the HTTP status where a refusal had no venue code, NOT_SENT or NEVER_LEFT where nothing was sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt
import orjson

from connectors.binance.kernels import private
from connectors.binance.wire import venue_seed
from connectors.binance_usdm import orders as api
from connectors.capabilities import EVERY_EPOCH
from processors.api import NEVER_NS, Batch, Outputs, State
from schemas.declare import Event, Rows
from schemas.errors import InputInvalid
from schemas.events import RAW_FRAME, DeadReason, FrameKind, Side
from schemas.instruments import Venue, instrument_id, instrument_name
from schemas.money import parse_e8
from schemas.trading import (
    ACCOUNT_UPDATE,
    NOT_SAID,
    VENUE_REPORT,
    AccountEvent,
    OrderState,
    ReportKind,
    order_id_from,
)

PRIVATE_CONNECTION = 48  # REST of the gateway; the user stream has the next number; below are market data
STREAM_CONNECTION = PRIVATE_CONNECTION + 1
NOT_SENT = -1  # status of a NO_ANSWER row: refused before it was written as an attempt; there is no SENT row
NEVER_LEFT = -2  # there is one, but no connection was made: nothing left this machine
SETTLE_MS = 2_000  # one second that the venue's clock may be behind a query's timestamp, one for its replicas
OUT_REPORT, OUT_ACCOUNT = range(2)
MS = 1_000_000
I64_MAX = (1 << 63) - 1
FUNDINGS_MAX = 32  # times of funding that are remembered, per asset
ABSENT_FILLED = private.ABSENT_FILLED  # filled_e8 where the venue does not say it

Json = dict[str, Any]
Arrays = dict[str, npt.NDArray[Any]]

# Bits of `flight`: requests about an order that are sent and not answered.
FLIGHT = {"POST": private.POST, "PUT": private.PUT, "DELETE": private.DELETE, "GET": private.GET}
REFUSED_AS = {
    "POST": ReportKind.REJECTED,
    "PUT": ReportKind.AMEND_REJECTED,
    "DELETE": ReportKind.CANCEL_REJECTED,
    "GET": ReportKind.UNKNOWN,
}
DONE_AS = {
    "POST": ReportKind.ACKNOWLEDGED,
    "PUT": ReportKind.AMENDED,
    "DELETE": ReportKind.CANCELLED,
    "GET": ReportKind.STATUS,
}
STATES = {
    "NEW": OrderState.OPEN,
    "NEW_INSURANCE": OrderState.OPEN,
    "NEW_ADL": OrderState.OPEN,
    "PARTIALLY_FILLED": OrderState.PARTIALLY_FILLED,
    "FILLED": OrderState.FILLED,
    "CANCELED": OrderState.CANCELLED,
    "REJECTED": OrderState.REJECTED,
    "EXPIRED": OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": OrderState.EXPIRED,
}
# Conditional orders: after the trigger a normal order lives on under `actualOrderId`; its own answers tell its end.
ALGO_STATES = {
    "NEW": OrderState.OPEN,
    "TRIGGERING": OrderState.OPEN,
    "TRIGGERED": OrderState.OPEN,
    "CANCELED": OrderState.CANCELLED,
    "EXPIRED": OrderState.EXPIRED,
    "REJECTED": OrderState.REJECTED,
}
EXECUTIONS = {
    "NEW": ReportKind.ACKNOWLEDGED,
    "TRADE": ReportKind.FILL,
    "CALCULATED": ReportKind.FILL,  # a liquidation's
    "CANCELED": ReportKind.CANCELLED,
    "EXPIRED": ReportKind.EXPIRED,
    "AMENDMENT": ReportKind.AMENDED,
    "REJECTED": ReportKind.REJECTED,
}
ALGO_REPORTS = {
    "NEW": ReportKind.ACKNOWLEDGED,
    "TRIGGERED": ReportKind.TRIGGERED,
    "CANCELED": ReportKind.CANCELLED,
    "EXPIRED": ReportKind.EXPIRED,
    "REJECTED": ReportKind.REJECTED,
}
ALGO_QUIET = ("TRIGGERING", "FINISHED")
EXPIRY_REASONS = {
    "1": "self-trade prevention", "2": "rest of an IOC order", "3": "rest of an IOC order, self-trade prevention",
    "4": "displaced by a reduce-only order", "5": "liquidation", "6": "its condition was not met", "7": "delisted",
}  # fmt: skip
MOVES = {
    "FUNDING_FEE": AccountEvent.FUNDING,
    "DEPOSIT": AccountEvent.TRANSFER, "WITHDRAW": AccountEvent.TRANSFER, "WITHDRAW_REJECT": AccountEvent.TRANSFER,
    "ADMIN_DEPOSIT": AccountEvent.TRANSFER, "ADMIN_WITHDRAW": AccountEvent.TRANSFER,
    "ASSET_TRANSFER": AccountEvent.TRANSFER, "AUTO_EXCHANGE": AccountEvent.TRANSFER,
    "COIN_SWAP_DEPOSIT": AccountEvent.TRANSFER, "COIN_SWAP_WITHDRAW": AccountEvent.TRANSFER,
    "MARGIN_TRANSFER": AccountEvent.TRANSFER,
    "ADJUSTMENT": AccountEvent.ADJUSTMENT, "INSURANCE_CLEAR": AccountEvent.ADJUSTMENT,
    "OPTIONS_PREMIUM_FEE": AccountEvent.ADJUSTMENT, "OPTIONS_SETTLE_PROFIT": AccountEvent.ADJUSTMENT,
    # No movement of their own: what a trade moved is told by its fill. The row says the balance.
    "ORDER": AccountEvent.ADJUSTMENT, "MARGIN_TYPE_CHANGE": AccountEvent.ADJUSTMENT,
}  # fmt: skip
STATEMENTS = ("ORDER", "MARGIN_TYPE_CHANGE")
IGNORED_EVENTS = (
    "TRADE_LITE", "listenKeyExpired", "ACCOUNT_CONFIG_UPDATE", "MARGIN_CALL", "STRATEGY_UPDATE", "GRID_UPDATE",
    "CONDITIONAL_ORDER_TRIGGER_REJECT",
)  # fmt: skip
ORDER_PATHS = (api.ORDER, api.ALGO_ORDER)

# State.
ORDER = np.dtype(
    [
        ("order_id", "<i8"),  # 0: somebody else's
        ("venue_order_id", "<i8"),  # 0: not known yet
        ("actual_id", "<i8"),  # of the order that a conditional order became
        ("deadline_ms", "<i8"),  # the venue refuses every attempt so far after this, by its own clock
        ("query_ms", "<i8"),  # timestamp of the query in flight
        ("instrument", "<u4"),
        ("side", "u1"),
        ("flight", "u1"),
        ("reserved", "<u2"),
    ]
)
ASSET = np.dtype(
    [
        ("opened_ms", "<i8"),  # venue time of the opening balance; movements up to it are in it
        ("last_ms", "<i8"),  # of the last event, to tell a repeat
        ("last_balance_e8", "<i8"),
        ("last_amount_e8", "<i8"),
        ("fundings", "<i8"),  # how many times of funding were seen
        ("forgotten_ms", "<i8"),  # the latest of those that are not remembered any more
        ("asset", "<u4"),
        ("used", "<u4"),
    ]
)
# What was booked for one time at which funding is exchanged; `whole`: the venue was asked, nothing is missing.
FUNDING = np.dtype([("time_ms", "<i8"), ("amount_e8", "<i8"), ("whole", "<i8")])
# Counters.
NEXT_ORDER, NEXT_TRADE, ASSETS, START_MS, OPENED = range(5)  # START_MS -1: no start was seen
assert (NEXT_ORDER, NEXT_TRADE, ASSETS) == (private.NEXT_ORDER, private.NEXT_TRADE, private.ASSETS)
SEED = venue_seed(Venue.BINANCE_USDM)
REASON_TEXT, REASON_SIZE = private.words_of(tuple(EXPIRY_REASONS.get(str(digit), "") for digit in range(10)))


class _Aside(Exception):
    """This frame becomes a dead letter."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass
class _Learned:
    """A change of the state, made only when the whole frame was understood."""

    order_id: int
    venue_order_id: int = 0
    actual_id: int = 0
    instrument: int = 0
    side: int = 0
    deadline_ms: int = 0
    query_ms: int = 0
    sent: str = ""  # method of a request that is in flight now
    answered: str = ""  # method of a request that no longer is


@dataclass
class _Found:
    """What one frame says."""

    reports: list[Json] = field(default_factory=list)
    updates: list[Json] = field(default_factory=list)
    learned: list[_Learned] = field(default_factory=list)
    trades: list[tuple[int, int]] = field(default_factory=list)  # instrument, trade id
    assets: list[Json] = field(default_factory=list)
    fundings: list[tuple[int, int, int, int]] = field(default_factory=list)  # asset, time, booked in all, whole
    start_ms: int = -1
    opened: bool = False


class PrivateWire:
    """See the module. Keeps the protocol `processors.api.Processor`.

    Args:
        account: `venue:name` of the account that the gateway trades; its id stands in every row.
        connection_first: frames of lower connections are market data, and none of this rule's business.
        orders_max, trades_max: of the latest orders and trades that are remembered.
        assets_max: most assets; balances of further ones are put aside.
    """

    name = "binance_usdm.orders"
    version = 1
    inputs: tuple[Event, ...] = (RAW_FRAME,)
    outputs: tuple[Event, ...] = (VENUE_REPORT, ACCOUNT_UPDATE)

    def __init__(
        self,
        account: str = "binance_usdm:paper",
        connection_first: int = PRIVATE_CONNECTION,
        orders_max: int = 4096,
        trades_max: int = 4096,
        assets_max: int = 64,
    ) -> None:
        self.account = instrument_id(account)
        self.connection_first = connection_first
        self.orders_max, self.trades_max, self.assets_max = orders_max, trades_max, assets_max

    def initial_state(self) -> State:
        counters = np.zeros(5, dtype=np.int64)
        counters[START_MS] = -1
        return {
            "orders": np.zeros(self.orders_max, dtype=ORDER),
            "order_ids": np.zeros(self.orders_max, dtype=np.int64),
            "venue_order_ids": np.zeros(self.orders_max, dtype=np.int64),
            "actual_ids": np.zeros(self.orders_max, dtype=np.int64),
            "trade_ids": np.zeros(self.trades_max, dtype=np.int64),
            "traded_in": np.zeros(self.trades_max, dtype=np.uint32),
            "assets": np.zeros(self.assets_max, dtype=ASSET),
            "fundings": np.zeros((self.assets_max, FUNDINGS_MAX), dtype=FUNDING),
            "counters": counters,
        }

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        """The usual frames by a kernel, each of the others on its own, in order."""
        run, quick = _Run(self, cast(Arrays, state), batch), _Quick(self, cast(Arrays, state), batch)
        at = 0
        while at < len(batch.rows):
            at = quick.read(at)
            if at < len(batch.rows):
                run.take(at, out)
                quick.put(*run.told())
                at += 1
        quick.emit(out)

    def on_batch_plainly(self, state: State, batch: Batch, out: Outputs) -> None:
        """The same, without the kernel: what it is compared with."""
        run = _Run(self, cast(Arrays, state), batch)
        for at in range(len(batch.rows)):
            run.take(at, out)
        reports, texts, updates = run.told()
        out.emit(OUT_REPORT, reports, np.frombuffer(texts, dtype=np.uint8))
        out.emit(OUT_ACCOUNT, updates)

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        """No timers: every row follows from a raw row."""

    def next_deadline_ns(self, state: State) -> int:
        return int(NEVER_NS)

    def warm(self) -> None:
        """Compile by doing: a row that means nothing."""
        out = Outputs(self.outputs)
        self.on_batch(self.initial_state(), Batch(0, out.origin, 1, RAW_FRAME.empty(1)), out)


def private_wire(account: str = "binance_usdm:paper") -> PrivateWire:
    """The processor `binance_usdm.orders`."""
    return PrivateWire(account)


# ---------------------------------------------------------------------------------------------------------
# Values.


def _integer(value: object, least: int = 0) -> int:
    """An id or a time: whole, and an int64 holds it. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= I64_MAX:
        raise ValueError(f"{value!r} is no whole number in range")
    return value


def _ns(milliseconds: object) -> int:
    """ms of the venue → ns; 0 where it says none."""
    return _integer(_integer(milliseconds or 0) * MS)


def _e8(text: object, least: int | None = None) -> int:
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no decimal in quotes")
    value = parse_e8(text)
    if least is not None and value < least:
        raise InputInvalid(f"{text} is below what it can be.")
    return value


def _booked(text: object) -> int:
    """Realised profit of a fill; NOT_SAID where the venue leaves it out."""
    return NOT_SAID if text is None else _e8(text)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _instrument(symbol: object) -> int:
    return instrument_id(instrument_name(Venue.BINANCE_USDM, _text(symbol)))


def _side(value: object) -> int:
    return int(Side[_text(value)])


def _object(value: object) -> Json:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _json(payload: bytes) -> Any:
    try:
        return orjson.loads(payload)
    except orjson.JSONDecodeError:
        return None


def _refusal(body: Any) -> tuple[int, str]:
    """Code and words of an error body; (0, "") where it is none."""
    if not isinstance(body, dict):
        return 0, ""
    code, message = body.get("code"), body.get("msg")
    if isinstance(code, bool) or not isinstance(code, int) or abs(code) >= 1 << 31:
        code = 0
    return code, message[:1024] if isinstance(message, str) else ""


# ---------------------------------------------------------------------------------------------------------
# Frames.


class _Quick:
    """What the kernel makes of a batch, and in between what is put to it; rows are gathered in order."""

    def __init__(self, rule: PrivateWire, state: Arrays, batch: Batch) -> None:
        self._batch, self._state, left = batch, state, len(batch.rows)
        self._frames, self._heap = _words(batch.rows, 5), _read_only(batch.heap)
        self._settings = np.array([SEED, rule.account, rule.connection_first], dtype=np.int64)
        self._memory = (
            state["orders"].view(np.int64).reshape(-1, 6), state["order_ids"], state["venue_order_ids"],
            state["actual_ids"], state["trade_ids"], state["traded_in"],
            state["assets"].view(np.int64).reshape(-1, 7), state["counters"],
        )  # fmt: skip
        self._reports = np.empty((left * private.REPORTS_OF_FRAME, VENUE_REPORT.dtype.itemsize // 8), dtype=np.int64)
        self._updates = np.empty((left * private.ITEMS_MAX, ACCOUNT_UPDATE.dtype.itemsize // 8), dtype=np.int64)
        self._texts = np.empty(left * private.TEXT_MAX, dtype=np.uint8)
        self._counts = np.zeros(private.COUNTS, dtype=np.int64)
        self._scratch = (
            np.empty((len(private.KEYS), 2), dtype=np.int64), np.empty((private.ITEMS_MAX, 3), dtype=np.int64),
            np.empty(private.SAID, dtype=np.int64),
        )  # fmt: skip
        self._done: list[tuple[Rows, bytes, Rows]] = []

    def read(self, start: int) -> int:
        """Read frames from `start` on; returns the first that is not a usual one."""
        return int(
            private.read_frames(
                self._frames, self._heap, start, self._batch.row_first, self._settings, REASON_TEXT, REASON_SIZE,
                *self._memory, self._reports, self._texts, self._updates, self._counts, *self._scratch,
            )
        )  # fmt: skip

    def put(self, reports: Rows, texts: bytes, updates: Rows) -> None:
        """Rows that come after what the kernel has read so far."""
        self._flush()
        if len(reports) or len(updates):
            self._done.append((reports, texts, updates))

    def emit(self, out: Outputs) -> None:
        self._flush()
        if not self._done:
            return
        shift = 0
        for rows, text, _ in self._done:
            rows["text_at"] += shift
            shift += len(text)
        reports, texts, updates = zip(*self._done, strict=True)
        out.emit(OUT_REPORT, _together(reports), np.frombuffer(b"".join(texts), dtype=np.uint8))
        out.emit(OUT_ACCOUNT, _together(updates))

    def _flush(self) -> None:
        reports, texts, updates = self._counts.tolist()
        if reports or updates:
            self._done.append(
                (
                    self._reports[:reports].copy().reshape(-1).view(VENUE_REPORT.dtype),
                    self._texts[:texts].tobytes(),
                    self._updates[:updates].copy().reshape(-1).view(ACCOUNT_UPDATE.dtype),
                )
            )
            self._counts[:] = 0


def _together(parts: Sequence[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    rows: Rows = np.concatenate([part.view(np.int64) for part in parts]).view(parts[0].dtype)
    return rows


def _words(rows: Rows, words: int) -> Rows:
    return _read_only(np.ascontiguousarray(rows).view(np.int64)).reshape(-1, words)


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same memory, not writable: numba compiles one version of a kernel for all callers."""
    if not array.flags.aligned or not array.flags.c_contiguous:
        array = array.copy()
    view = array.view()
    view.flags.writeable = False
    return view


class _Run:
    """One call of `on_batch`."""

    def __init__(self, rule: PrivateWire, state: Arrays, batch: Batch) -> None:
        self._rule, self._state, self._batch = rule, state, batch
        self._reports: list[Json] = []
        self._updates: list[Json] = []
        self._kinds: dict[int, Callable[[int, _Found], None]] = {
            FrameKind.SENT: self._read_sent,
            FrameKind.REST: self._read_answer,
            FrameKind.NO_ANSWER: self._read_silence,
            FrameKind.TEXT: self._read_text,
            FrameKind.CLOSE: self._read_close,
        }

    def read(self, at: int) -> _Found:
        """What frame `at` says; the state is only looked at. Raises what makes a dead letter of it."""
        kind, found = int(self._batch.rows[at]["kind"]), _Found()
        if kind == FrameKind.BINARY or kind > FrameKind.NO_ANSWER:
            raise _Aside(DeadReason.UNEXPECTED, "a binary message: this venue sends text")
        if kind in self._kinds:
            self._kinds[kind](at, found)
        return found

    def check(self, found: _Found) -> None:
        """Refuse what the state has no room for."""
        assets = self._state["assets"]
        known = {int(row["asset"]) for row in assets[: self._state["counters"][ASSETS]]}
        if len(known | {row["asset"] for row in found.assets}) > len(assets):
            raise _Aside(DeadReason.LIMIT, f"more than {len(assets)} assets")

    def keep(self, at: int, found: _Found) -> None:
        """The frame was understood: its rows are to be emitted, and the state changes."""
        common = {
            "ts_recv_ns": int(self._batch.rows[at]["ts_recv_ns"]),
            "cause_row": self._batch.row_first + at,
            "account": self._rule.account,
        }
        self._reports += [common | row for row in found.reports]
        self._updates += [common | row for row in found.updates]
        for learned in found.learned:
            self._learn(learned)
        for instrument, trade_id in found.trades:
            self._learn_trade(instrument, trade_id)
        for asset in found.assets:
            self._learn_asset(asset)
        for asset_id, time_ms, amount_e8, whole in found.fundings:
            self._learn_funding(asset_id, time_ms, amount_e8, whole)
        counters = self._state["counters"]
        if found.start_ms >= 0:
            counters[START_MS] = found.start_ms
            self._state["orders"]["flight"] = 0
        counters[OPENED] |= found.opened

    def take(self, at: int, out: Outputs) -> None:
        """Frame `at`, whatever it is."""
        frame = self._batch.rows[at]
        if frame["venue"] != Venue.BINANCE_USDM or frame["connection"] < self._rule.connection_first:
            return
        try:
            found = self.read(at)
            self.check(found)
        except _Aside as aside:
            self.put_aside(out, at, aside.reason, aside.detail)
        except InputInvalid as error:
            self.put_aside(out, at, DeadReason.OUT_OF_RANGE, str(error))
        except (KeyError, TypeError, ValueError) as error:
            detail = f"a field is missing or of another type: {error!r}"[:200]
            self.put_aside(out, at, DeadReason.UNPARSABLE, detail)
        else:
            self.keep(at, found)

    def told(self) -> tuple[Rows, bytes, Rows]:
        """Reports, their texts and account updates since it was asked last."""
        rows, texts = VENUE_REPORT.empty(len(self._reports)), bytearray()
        for row, report in zip(rows, self._reports, strict=True):
            text = report.pop("text", "").encode()
            row["text_at"], row["text_size"] = len(texts), len(text)
            texts += text
            for name, value in report.items():
                row[name] = value
        updates = ACCOUNT_UPDATE.empty(len(self._updates))
        for row, update in zip(updates, self._updates, strict=True):
            for name, value in update.items():
                row[name] = value
        self._reports, self._updates = [], []
        return rows, bytes(texts), updates

    def put_aside(self, out: Outputs, at: int, reason: DeadReason, detail: str) -> None:
        ts_recv_ns = int(self._batch.rows[at]["ts_recv_ns"])
        payload = self._bytes(at, "payload")
        out.put_aside(reason, self._batch.row_first + at, detail, ts_recv_ns=ts_recv_ns, payload=payload)

    def _bytes(self, at: int, column: str) -> bytes:
        frame = self._batch.rows[at]
        start = int(frame[f"{column}_at"])
        return self._batch.heap[start : start + int(frame[f"{column}_size"])].tobytes()

    def _request(self, at: int) -> tuple[str, str, str]:
        """Method, path, and what it is about."""
        words = self._bytes(at, "request").decode().split(" ", 2)
        if len(words) < 2:
            raise _Aside(DeadReason.UNEXPECTED, "the row does not say what it belongs to")
        return words[0], words[1], words[2] if len(words) > 2 else ""

    # --- what is known

    def _slot(self, order_id: int) -> int:
        """Where an order of ours is remembered; -1."""
        if not order_id:
            return -1
        found = np.flatnonzero(self._used("order_ids") == order_id)
        return int(found[0]) if len(found) else -1

    def _used(self, column: str) -> npt.NDArray[Any]:
        """An array beside `orders`, as far as it was ever used: whole columns are searched, so they lie together."""
        return self._state[column][: min(int(self._state["counters"][NEXT_ORDER]), len(self._state["orders"]))]

    def _slot_of(self, venue_order_id: int, instrument: int) -> int:
        """Where an order is remembered by its venue's id; -1."""
        orders = self._state["orders"]
        if not venue_order_id:
            return -1
        same = (self._used("venue_order_ids") == venue_order_id) | (self._used("actual_ids") == venue_order_id)
        found = np.flatnonzero(same)
        found = found[orders["instrument"][found] == instrument]
        # One of ours first: what a conditional order became may have been heard of before we knew that it is ours.
        return int(found[np.argmax(orders["order_id"][found])]) if len(found) else -1

    def _known(self, client_id: str, venue_order_id: int, instrument: int) -> int:
        """Our id of an order: from its client id, else from what its venue id was before; 0: not ours."""
        order_id = order_id_from(client_id)
        if order_id:
            return order_id
        slot = self._slot_of(venue_order_id, instrument)
        return int(self._state["orders"][slot]["order_id"]) if slot >= 0 else 0

    def _learn(self, new: _Learned) -> None:
        orders, counters = self._state["orders"], self._state["counters"]
        slot = self._slot(new.order_id) if new.order_id else self._slot_of(new.venue_order_id, new.instrument)
        if slot < 0:
            if new.answered:
                return  # an answer tells nothing of an order that we know nothing else of
            slot = int(counters[NEXT_ORDER]) % len(orders)
            counters[NEXT_ORDER] += 1
            orders[slot] = np.zeros((), dtype=ORDER)
            orders[slot]["order_id"] = new.order_id
            orders[slot]["side"] = new.side
        row = orders[slot]
        for name in ("venue_order_id", "actual_id", "instrument"):
            if getattr(new, name):
                row[name] = getattr(new, name)
        for column in ("order_id", "venue_order_id", "actual_id"):
            self._state[f"{column}s"][slot] = row[column]
        row["deadline_ms"] = max(int(row["deadline_ms"]), new.deadline_ms)
        if new.sent == "GET" and not int(row["flight"]) & FLIGHT["GET"]:
            row["query_ms"] = new.query_ms  # of several in flight the oldest counts: it proves least
        if new.sent:
            row["flight"] |= FLIGHT[new.sent]
        if new.answered:
            row["flight"] &= ~FLIGHT[new.answered] & 0xFF

    def _learn_trade(self, instrument: int, trade_id: int) -> None:
        ids, counters = self._state["trade_ids"], self._state["counters"]
        if not self._traded(instrument, trade_id):
            at = int(counters[NEXT_TRADE]) % len(ids)
            ids[at], self._state["traded_in"][at] = trade_id, instrument
            counters[NEXT_TRADE] += 1

    def _traded(self, instrument: int, trade_id: int) -> bool:
        ids = self._state["trade_ids"]
        found = np.flatnonzero(ids[: min(int(self._state["counters"][NEXT_TRADE]), len(ids))] == trade_id)
        return bool((self._state["traded_in"][found] == instrument).any())

    def _asset(self, asset: int) -> int:
        assets = self._state["assets"][: self._state["counters"][ASSETS]]
        found = np.flatnonzero(assets["asset"] == asset)
        return int(found[0]) if len(found) else -1

    def _learn_asset(self, new: Json) -> None:
        counters = self._state["counters"]
        slot = self._asset(new["asset"])
        if slot < 0:
            slot = int(counters[ASSETS])
            counters[ASSETS] += 1
            self._state["assets"][slot]["used"] = 1
        for name, value in new.items():
            self._state["assets"][slot][name] = value

    def _funded(self, slot: int, time_ms: int) -> tuple[int, bool]:
        """What is booked of the funding of that time, and whether that is all of it."""
        if slot < 0:
            return 0, False
        known = self._state["assets"][slot]
        times = self._state["fundings"][slot, : min(int(known["fundings"]), FUNDINGS_MAX)]
        found = times[times["time_ms"] == time_ms]
        if len(found):
            return int(found[0]["amount_e8"]), bool(found[0]["whole"])
        return 0, time_ms <= int(known["forgotten_ms"])

    def _learn_funding(self, asset: int, time_ms: int, amount_e8: int, whole: int) -> None:
        slot = self._asset(asset)
        known, times = self._state["assets"][slot], self._state["fundings"][slot]
        seen = int(known["fundings"])
        same = np.flatnonzero(times[: min(seen, FUNDINGS_MAX)]["time_ms"] == time_ms)
        at = int(same[0]) if len(same) else seen % FUNDINGS_MAX
        if not len(same):
            if seen >= FUNDINGS_MAX:
                known["forgotten_ms"] = max(int(known["forgotten_ms"]), int(times[at]["time_ms"]))
            known["fundings"] = seen + 1
        times[at] = (time_ms, amount_e8, whole)

    # --- what was sent

    def _read_sent(self, at: int, found: _Found) -> None:
        method, path, what = self._request(at)
        if path not in ORDER_PATHS or what.startswith("#"):
            return
        target = self._bytes(at, "payload").decode()
        params = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
        sent_ms = _integer(int(params["timestamp"]))
        ends_ms = _integer(sent_ms + int(params["recvWindow"]))
        client_id = next((params[name] for name in api.CLIENT_ID_NAMES if name in params), "")
        order_id = order_id_from(client_id)
        instrument = _instrument(params["symbol"]) if "symbol" in params else self._instrument_of(order_id)
        side = _side(params["side"]) if "side" in params else self._side_of(order_id)
        if order_id:
            learned = _Learned(order_id, instrument=instrument, side=side, sent=method, query_ms=sent_ms)
            learned.deadline_ms = ends_ms if method == "POST" else 0
            found.learned.append(learned)
        if method == "POST":
            found.reports.append(
                {
                    "report": ReportKind.SENT, "ts_event_ns": _ns(sent_ms), "order_id": order_id, "side": side,
                    "instrument": instrument, "filled_e8": ABSENT_FILLED, "text": "" if order_id else client_id,
                }
            )  # fmt: skip

    def _instrument_of(self, order_id: int) -> int:
        slot = self._slot(order_id)
        return int(self._state["orders"][slot]["instrument"]) if slot >= 0 else 0

    def _side_of(self, order_id: int) -> int:
        slot = self._slot(order_id)
        return int(self._state["orders"][slot]["side"]) if slot >= 0 else 0

    def _read_silence(self, at: int, found: _Found) -> None:
        method, path, client_id = self._request(at)
        if path not in ORDER_PATHS or method not in FLIGHT or client_id.startswith("#"):
            return
        why = self._bytes(at, "payload").decode("utf-8", "replace")[:1024]
        status = int(self._batch.rows[at]["status"])
        not_sent = status in (NOT_SENT, NEVER_LEFT)
        report = REFUSED_AS[method] if not_sent else ReportKind.UNKNOWN
        self._tell(found, report, client_id, status if not_sent else 0, why)
        found.learned.append(_Learned(order_id_from(client_id), answered=method))

    def _read_close(self, at: int, found: _Found) -> None:
        frame = self._batch.rows[at]
        if frame["epoch"] != EVERY_EPOCH or frame["connection"] != self._rule.connection_first:
            return
        found.start_ms = int(frame["ts_recv_ns"]) // MS
        orders = self._state["orders"]
        for row in orders[orders["flight"] != 0]:
            found.reports.append(
                {
                    "report": ReportKind.UNKNOWN, "order_id": int(row["order_id"]), "side": int(row["side"]),
                    "venue_order_id": int(row["venue_order_id"]), "instrument": int(row["instrument"]),
                    "filled_e8": ABSENT_FILLED, "text": "the gateway ended before the answer came",
                }
            )  # fmt: skip

    def _tell(self, found: _Found, report: ReportKind, client_id: str, code: int, text: str) -> None:
        """A report about an order that the frame says nothing else of."""
        order_id = order_id_from(client_id)
        slot = self._slot(order_id)
        found.reports.append(
            {
                "report": report, "order_id": order_id, "instrument": self._instrument_of(order_id),
                "venue_order_id": int(self._state["orders"][slot]["venue_order_id"]) if slot >= 0 else 0,
                "side": self._side_of(order_id), "filled_e8": ABSENT_FILLED, "code": code,
                "text": text if order_id else client_id,
            }
        )  # fmt: skip

    # --- answers

    def _read_answer(self, at: int, found: _Found) -> None:
        method, path, what = self._request(at)
        status = int(self._batch.rows[at]["status"])
        body = _json(self._bytes(at, "payload"))
        if path in ORDER_PATHS and method in FLIGHT:
            self._read_order_answer(found, method, path, what, status, body)
        elif status != api.HTTP_OK:
            return  # the gateway asks again
        elif path in (api.OPEN_ORDERS, api.OPEN_ALGO_ORDERS) and method == "GET":
            for order in self._list(body):
                self._read_order(found, ReportKind.STATUS, _object(order))
        elif path == api.USER_TRADES:
            for trade in self._list(body):
                self._read_user_trade(found, _object(trade))
        elif path == api.BALANCE:
            self._read_balances(found, self._list(body))
        elif path == api.INCOME:
            self._read_funding(found, self._list(body))

    def _list(self, body: Any) -> list[Any]:
        if not isinstance(body, list):
            raise _Aside(DeadReason.UNPARSABLE, "the answer is not a list")
        return body

    def _read_order_answer(self, found: _Found, method: str, path: str, what: str, status: int, body: Any) -> None:
        code, message = _refusal(body)
        outcome = api.outcome_of(status, code, message)
        order_id = order_id_from(what)
        if what.startswith("#") and outcome is not api.Outcome.DONE:
            return  # a question for a client id; the gateway asks again
        if outcome is api.Outcome.DONE:
            self._read_done(found, method, path, what, body)
        elif outcome is api.Outcome.NO_SUCH_ORDER and method == "GET":
            report = ReportKind.ABSENT if self._is_past(order_id) else ReportKind.UNKNOWN
            self._tell(found, report, what, code, message)
        else:
            report = ReportKind.UNKNOWN if outcome is api.Outcome.UNKNOWN else REFUSED_AS[method]
            self._tell(found, report, what, code or status, message or f"HTTP {status}")
        if order_id:
            found.learned.append(_Learned(order_id, answered=method))

    def _is_past(self, order_id: int) -> bool:
        """Whether the query in flight was made when no attempt could be accepted any more."""
        slot = self._slot(order_id)
        if slot < 0:
            return False
        row, start_ms = self._state["orders"][slot], int(self._state["counters"][START_MS])
        deadline_ms = int(row["deadline_ms"])
        if not deadline_ms:  # no attempt is in this log: if there was one, it was before the process began
            if start_ms < 0:
                return False
            deadline_ms = start_ms + api.RECV_WINDOW_MAX_MS
        asked = bool(int(row["flight"]) & FLIGHT["GET"])
        return asked and int(row["query_ms"]) > deadline_ms + SETTLE_MS

    def _read_done(self, found: _Found, method: str, path: str, what: str, body: Any) -> None:
        """200: whatever the body is, it was done; a body that does not say what is a case for a query."""
        report = DONE_AS[method]
        try:
            order = _object(body)
            if path == api.ALGO_ORDER and method == "DELETE":  # only ids and {"code":"200","msg":"success"}
                self._tell(found, report, what, 0, "")
                return
            rows = _Found()
            state = self._read_order(rows, report, order)
        except (KeyError, TypeError, ValueError, InputInvalid) as error:
            self._tell(found, ReportKind.UNKNOWN, what, 0, f"HTTP 200 with a body that makes no sense: {error!r}"[:200])
            return
        found.reports += rows.reports
        found.learned += rows.learned
        if state is OrderState.EXPIRED and report is ReportKind.ACKNOWLEDGED and rows.reports:  # it ended at once
            found.reports.append(rows.reports[0] | {"report": ReportKind.EXPIRED})

    def _read_order(self, found: _Found, report: ReportKind, order: Json) -> OrderState:
        """One order object of an answer, normal or conditional. Returns its state."""
        algo = "algoId" in order
        client_id = _text(order["clientAlgoId" if algo else "clientOrderId"])
        venue_order_id = _integer(order["algoId" if algo else "orderId"])
        instrument, side = _instrument(order["symbol"]), _side(order["side"])
        actual_id = _integer(int(order.get("actualOrderId") or 0)) if algo else 0
        order_id = self._known(client_id, venue_order_id, instrument)
        learned = _Learned(order_id, venue_order_id, actual_id, instrument, side)
        if not algo and self._is_actual(venue_order_id, instrument):
            learned.venue_order_id = 0  # what a conditional order became: both ids stay known
        found.learned.append(learned)
        name = _text(order["algoStatus" if algo else "status"])
        if algo and name == "FINISHED":
            return OrderState.OPEN  # filled or cancelled as a normal order, whose own answer says which
        state = (ALGO_STATES if algo else STATES)[name]
        found.reports.append(
            {
                "report": report, "order_id": order_id, "venue_order_id": venue_order_id, "instrument": instrument,
                "side": side, "state": state if report is ReportKind.STATUS else OrderState.NEW,
                "price_e8": _e8(order.get("price") or "0", 0),
                "quantity_e8": _e8(order["quantity" if algo else "origQty"] or "0", 0),
                "filled_e8": _e8(order.get("executedQty") or "0", 0), "ts_event_ns": _ns(order.get("updateTime")),
                "text": "" if order_id else client_id,
            }
        )  # fmt: skip
        return state

    def _is_actual(self, venue_order_id: int, instrument: int) -> bool:
        slot = self._slot_of(venue_order_id, instrument)
        return slot >= 0 and int(self._state["orders"][slot]["actual_id"]) == venue_order_id

    def _read_user_trade(self, found: _Found, trade: Json) -> None:
        instrument, trade_id = _instrument(trade["symbol"]), _integer(trade["id"])
        venue_order_id = _integer(trade["orderId"])
        slot = self._slot_of(venue_order_id, instrument)
        if slot < 0 or self._traded(instrument, trade_id) or (instrument, trade_id) in found.trades:
            return  # not yet known whose it is: the gateway asks for its order, then for its trades again
        order_id = int(self._state["orders"][slot]["order_id"])
        found.trades.append((instrument, trade_id))
        found.reports.append(
            {
                "report": ReportKind.FILL, "order_id": order_id, "venue_order_id": venue_order_id,
                "instrument": instrument, "trade_id": trade_id, "side": _side(trade["side"]),
                "price_e8": _e8(trade["price"], 1), "quantity_e8": _e8(trade["qty"], 1), "filled_e8": ABSENT_FILLED,
                "fee_e8": _e8(trade["commission"]), "fee_asset": instrument_id(_text(trade["commissionAsset"])),
                "maker": int(_flag(trade["maker"])), "ts_event_ns": _ns(trade["time"]),
                "realised_e8": _booked(trade.get("realizedPnl")),
            }
        )  # fmt: skip

    # --- the user stream

    def _read_text(self, at: int, found: _Found) -> None:
        body = _json(self._bytes(at, "payload"))
        if not isinstance(body, dict):
            raise _Aside(DeadReason.UNPARSABLE, "not JSON, or not an object")
        if "stream" in body and isinstance(body.get("data"), dict):
            body = body["data"]
        event = body.get("e")
        if event == "ORDER_TRADE_UPDATE":
            self._read_order_update(found, body, _object(body["o"]))
        elif event == "ALGO_UPDATE":
            self._read_algo_update(found, body, _object(body["o"]))
        elif event == "ACCOUNT_UPDATE":
            self._read_account_update(found, body, _object(body["a"]))
        elif event not in IGNORED_EVENTS:
            raise _Aside(DeadReason.UNEXPECTED, "not an event of the user stream that we know")

    def _read_order_update(self, found: _Found, body: Json, order: Json) -> None:
        client_id, venue_order_id = _text(order["c"]), _integer(order["i"])
        instrument, side, report = _instrument(order["s"]), _side(order["S"]), EXECUTIONS[_text(order["x"])]
        order_id = self._known(client_id, venue_order_id, instrument)
        learned = _Learned(order_id, venue_order_id, 0, instrument, side)
        if self._is_actual(venue_order_id, instrument):
            learned.venue_order_id = 0
        found.learned.append(learned)
        row: Json = {
            "report": report, "order_id": order_id, "venue_order_id": venue_order_id, "instrument": instrument,
            "side": side, "filled_e8": _e8(order["z"], 0), "ts_event_ns": _ns(order.get("T") or body.get("T")),
            "text": "" if order_id else client_id,
        }  # fmt: skip
        if report is ReportKind.FILL:
            trade_id = _integer(order["t"])
            fee = _e8(order["n"]) if order.get("n") is not None else 0
            asset = order.get("N")
            row |= {
                "trade_id": trade_id, "price_e8": _e8(order["L"], 1), "quantity_e8": _e8(order["l"], 1), "fee_e8": fee,
                "fee_asset": instrument_id(_text(asset)) if asset is not None else 0, "maker": int(_flag(order["m"])),
                "realised_e8": _booked(order.get("rp")),
            }  # fmt: skip
            found.trades.append((instrument, trade_id))
        else:
            row |= {"price_e8": _e8(order["p"], 0), "quantity_e8": _e8(order["q"], 0)}
        if report is ReportKind.EXPIRED:
            row["text"] = row["text"] or EXPIRY_REASONS.get(str(order.get("er", "")), "")
        found.reports.append(row)

    def _read_algo_update(self, found: _Found, body: Json, order: Json) -> None:
        client_id, algo_id, name = _text(order["caid"]), _integer(order["aid"]), _text(order["X"])
        instrument, side = _instrument(order["s"]), _side(order["S"])
        actual_id = _integer(int(order.get("ai") or 0))
        order_id = self._known(client_id, algo_id, instrument)
        found.learned.append(_Learned(order_id, algo_id, actual_id, instrument, side))
        if name in ALGO_QUIET:
            return
        report = ALGO_REPORTS[name]
        found.reports.append(
            {
                "report": report, "order_id": order_id, "instrument": instrument, "side": side,
                "venue_order_id": actual_id if report is ReportKind.TRIGGERED and actual_id else algo_id,
                "price_e8": _e8(order.get("p") or "0", 0), "quantity_e8": _e8(order["q"], 0),
                "filled_e8": _e8(order.get("aq") or "0", 0), "ts_event_ns": _ns(body.get("T")),
                "text": (str(order.get("rm") or "")[:1024]) if order_id else client_id,
            }
        )  # fmt: skip

    # --- money

    def _read_account_update(self, found: _Found, body: Json, account: Json) -> None:
        reason = _text(account["m"])
        what = MOVES.get(reason)
        if what is None:
            raise _Aside(DeadReason.UNEXPECTED, f"an account update for {reason!r}, which is new to us")
        positions = account.get("P") or []
        instrument = _instrument(_object(positions[0])["s"]) if what is AccountEvent.FUNDING and positions else 0
        event_ms = _integer(body.get("T") or 0)
        for item in account.get("B") or []:
            asset = instrument_id(_text(_object(item)["a"]))
            balance_e8, amount_e8 = _e8(item["wb"]), _e8(item.get("bc") or "0")
            slot = self._asset(asset)
            known = self._state["assets"][slot] if slot >= 0 else np.zeros((), dtype=ASSET)
            if event_ms and event_ms == known["last_ms"] and balance_e8 == known["last_balance_e8"] and (
                amount_e8 == known["last_amount_e8"]
            ):  # fmt: skip
                continue  # said twice: while a socket is renewed two of them say the same
            counts = self._state["counters"][OPENED] and event_ms > known["opened_ms"] and reason not in STATEMENTS
            told = {"asset": asset, "last_ms": event_ms, "last_balance_e8": balance_e8, "last_amount_e8": amount_e8}
            if what is AccountEvent.FUNDING and counts:
                booked_e8, whole = self._funded(slot, event_ms)
                counts = not whole
                if counts:
                    found.fundings.append((asset, event_ms, _integer(booked_e8 + amount_e8, -I64_MAX), 0))
            found.assets.append(told | {"opened_ms": int(known["opened_ms"])})
            found.updates.append(
                {
                    "what": what, "asset": asset, "instrument": instrument, "balance_e8": balance_e8,
                    "amount_e8": amount_e8 if counts else 0, "ts_event_ns": _ns(event_ms),
                }
            )  # fmt: skip

    def _read_funding(self, found: _Found, items: list[Any]) -> None:
        """What the user stream did not tell, for each time at which funding was exchanged."""
        sums: dict[tuple[int, int], list[tuple[int, int]]] = {}  # asset, time → instrument, amount
        for item in items:
            row = _object(item)
            if row["incomeType"] == api.FUNDING_FEE:
                place = (instrument_id(_text(row["asset"])), _integer(row["time"]))
                sums.setdefault(place, []).append((_instrument(row["symbol"]), _e8(row["income"])))
        for (asset, time_ms), parts in sorted(sums.items()):
            slot = self._asset(asset)
            known = self._state["assets"][slot] if slot >= 0 else np.zeros((), dtype=ASSET)
            booked_e8, whole = self._funded(slot, time_ms)
            if not self._state["counters"][OPENED] or time_ms <= known["opened_ms"] or whole:
                continue
            paid_e8 = _integer(sum(amount for _, amount in parts), -I64_MAX)
            amount_e8 = _integer(paid_e8 - booked_e8, -I64_MAX)
            found.assets.append({"asset": asset})
            found.fundings.append((asset, time_ms, paid_e8, 1))
            if amount_e8:
                alone = len(parts) == 1 and not booked_e8
                found.updates.append(
                    {
                        "what": AccountEvent.FUNDING, "asset": asset, "instrument": parts[0][0] if alone else 0,
                        "balance_e8": NOT_SAID, "amount_e8": amount_e8, "ts_event_ns": _ns(time_ms),
                    }
                )  # fmt: skip

    def _read_balances(self, found: _Found, items: list[Any]) -> None:
        """The first answer opens the books; later ones say what the venue has, and move nothing."""
        first = not self._state["counters"][OPENED]
        found.opened = True
        for item in items:
            asset = instrument_id(_text(_object(item)["asset"]))
            balance_e8, updated_ms = _e8(item["balance"]), _integer(item.get("updateTime") or 0)
            slot = self._asset(asset)
            if slot < 0 and not balance_e8:
                continue  # an asset that was never there
            if first:
                found.assets.append({"asset": asset, "opened_ms": updated_ms})
            found.updates.append(
                {
                    "what": AccountEvent.OPENING if first else AccountEvent.ADJUSTMENT, "asset": asset,
                    "amount_e8": balance_e8 if first else 0, "balance_e8": balance_e8, "ts_event_ns": _ns(updated_ms),
                }
            )  # fmt: skip


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
