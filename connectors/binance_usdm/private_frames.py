"""One private frame at a time, read plainly: what it says, whether it can be kept, and what is then remembered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import numpy.typing as npt

from connectors.binance_usdm import orders as api
from connectors.binance_usdm import private_said as said
from connectors.binance_usdm.private_words import (
    ABSENT_FILLED,
    ALGO_QUIET,
    ALGO_REPORTS,
    ALGO_STATES,
    ASSET,
    ASSETS,
    DONE_AS,
    EXECUTIONS,
    EXPIRY_REASONS,
    FLIGHT,
    FUNDINGS_MAX,
    I64_MAX,
    IGNORED_EVENTS,
    MOVES,
    MS,
    NEVER_LEFT,
    NEXT_ORDER,
    NEXT_TRADE,
    NOT_SENT,
    OPENED,
    ORDER,
    ORDER_PATHS,
    REFUSED_AS,
    SETTLE_MS,
    START_MS,
    STATEMENTS,
    STATES,
    Arrays,
    Json,
)
from connectors.capabilities import EVERY_EPOCH
from processors.api import Batch, Outputs
from schemas.declare import Rows
from schemas.errors import InputInvalid
from schemas.events import DeadReason, FrameKind
from schemas.instruments import Venue, instrument_id
from schemas.trading import ACCOUNT_UPDATE, NOT_SAID, VENUE_REPORT, AccountEvent, OrderState, ReportKind, order_id_from


class Aside(Exception):
    """This frame becomes a dead letter."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass
class Learned:
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
class Found:
    """What one frame says."""

    reports: list[Json] = field(default_factory=list)
    updates: list[Json] = field(default_factory=list)
    learned: list[Learned] = field(default_factory=list)
    trades: list[tuple[int, int]] = field(default_factory=list)  # instrument, trade id
    assets: list[Json] = field(default_factory=list)
    fundings: list[tuple[int, int, int, int]] = field(default_factory=list)  # asset, time, booked in all, whole
    start_ms: int = -1
    opened: bool = False


class Frames:
    """One call of `on_batch`: `take` reads a frame and keeps what it says, `told` gives the rows so far.

    Args:
        account: id that stands in every row.
        connection_first: frames of lower connections are passed over.
    """

    def __init__(self, account: int, connection_first: int, state: Arrays, batch: Batch) -> None:
        self._account, self._connection_first = account, connection_first
        self._state, self._batch = state, batch
        self._reports: list[Json] = []
        self._updates: list[Json] = []
        self._kinds: dict[int, Callable[[int, Found], None]] = {
            FrameKind.SENT: self._read_sent,
            FrameKind.REST: self._read_answer,
            FrameKind.NO_ANSWER: self._read_silence,
            FrameKind.TEXT: self._read_text,
            FrameKind.CLOSE: self._read_close,
        }

    def read(self, at: int) -> Found:
        """What frame `at` says; the state is only looked at. Raises what makes a dead letter of it."""
        kind, found = int(self._batch.rows[at]["kind"]), Found()
        if kind == FrameKind.BINARY or kind > FrameKind.NO_ANSWER:
            raise Aside(DeadReason.UNEXPECTED, "a binary message: this venue sends text")
        if kind in self._kinds:
            self._kinds[kind](at, found)
        return found

    def check(self, found: Found) -> None:
        """Refuse what the state has no room for."""
        assets = self._state["assets"]
        known = {int(row["asset"]) for row in assets[: self._state["counters"][ASSETS]]}
        if len(known | {row["asset"] for row in found.assets}) > len(assets):
            raise Aside(DeadReason.LIMIT, f"more than {len(assets)} assets")

    def keep(self, at: int, found: Found) -> None:
        """The frame was understood: its rows are to be emitted, and the state changes."""
        common = {
            "ts_recv_ns": int(self._batch.rows[at]["ts_recv_ns"]),
            "cause_row": self._batch.row_first + at,
            "account": self._account,
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
        if frame["venue"] != Venue.BINANCE_USDM or frame["connection"] < self._connection_first:
            return
        try:
            found = self.read(at)
            self.check(found)
        except Aside as aside:
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
            raise Aside(DeadReason.UNEXPECTED, "the row does not say what it belongs to")
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

    def _learn(self, new: Learned) -> None:
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

    def _read_sent(self, at: int, found: Found) -> None:
        method, path, what = self._request(at)
        if path not in ORDER_PATHS or what.startswith("#"):
            return
        target = self._bytes(at, "payload").decode()
        params = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
        sent_ms = said.integer(int(params["timestamp"]))
        ends_ms = said.integer(sent_ms + int(params["recvWindow"]))
        client_id = next((params[name] for name in api.CLIENT_ID_NAMES if name in params), "")
        order_id = order_id_from(client_id)
        instrument = said.instrument(params["symbol"]) if "symbol" in params else self._instrument_of(order_id)
        side = said.side(params["side"]) if "side" in params else self._side_of(order_id)
        if order_id:
            learned = Learned(order_id, instrument=instrument, side=side, sent=method, query_ms=sent_ms)
            learned.deadline_ms = ends_ms if method == "POST" else 0
            found.learned.append(learned)
        if method == "POST":
            found.reports.append(
                {
                    "report": ReportKind.SENT, "ts_event_ns": said.ns(sent_ms), "order_id": order_id, "side": side,
                    "instrument": instrument, "filled_e8": ABSENT_FILLED, "text": "" if order_id else client_id,
                }
            )  # fmt: skip

    def _instrument_of(self, order_id: int) -> int:
        slot = self._slot(order_id)
        return int(self._state["orders"][slot]["instrument"]) if slot >= 0 else 0

    def _side_of(self, order_id: int) -> int:
        slot = self._slot(order_id)
        return int(self._state["orders"][slot]["side"]) if slot >= 0 else 0

    def _read_silence(self, at: int, found: Found) -> None:
        method, path, client_id = self._request(at)
        if path not in ORDER_PATHS or method not in FLIGHT or client_id.startswith("#"):
            return
        why = self._bytes(at, "payload").decode("utf-8", "replace")[:1024]
        status = int(self._batch.rows[at]["status"])
        not_sent = status in (NOT_SENT, NEVER_LEFT)
        report = REFUSED_AS[method] if not_sent else ReportKind.UNKNOWN
        self._tell(found, report, client_id, status if not_sent else 0, why)
        found.learned.append(Learned(order_id_from(client_id), answered=method))

    def _read_close(self, at: int, found: Found) -> None:
        frame = self._batch.rows[at]
        if frame["epoch"] != EVERY_EPOCH or frame["connection"] != self._connection_first:
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

    def _tell(self, found: Found, report: ReportKind, client_id: str, code: int, text: str) -> None:
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

    def _read_answer(self, at: int, found: Found) -> None:
        method, path, what = self._request(at)
        status = int(self._batch.rows[at]["status"])
        body = said.json(self._bytes(at, "payload"))
        if path in ORDER_PATHS and method in FLIGHT:
            self._read_order_answer(found, method, path, what, status, body)
        elif status != api.HTTP_OK:
            return  # the gateway asks again
        elif path in (api.OPEN_ORDERS, api.OPEN_ALGO_ORDERS) and method == "GET":
            for order in self._list(body):
                self._read_order(found, ReportKind.STATUS, said.fields(order))
        elif path == api.USER_TRADES:
            for trade in self._list(body):
                self._read_user_trade(found, said.fields(trade))
        elif path == api.BALANCE:
            self._read_balances(found, self._list(body))
        elif path == api.INCOME:
            self._read_funding(found, self._list(body))

    def _list(self, body: Any) -> list[Any]:
        if not isinstance(body, list):
            raise Aside(DeadReason.UNPARSABLE, "the answer is not a list")
        return body

    def _read_order_answer(self, found: Found, method: str, path: str, what: str, status: int, body: Any) -> None:
        code, message = said.refusal(body)
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
            found.learned.append(Learned(order_id, answered=method))

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

    def _read_done(self, found: Found, method: str, path: str, what: str, body: Any) -> None:
        """200: whatever the body is, it was done; a body that does not say what is a case for a query."""
        report = DONE_AS[method]
        try:
            order = said.fields(body)
            if path == api.ALGO_ORDER and method == "DELETE":  # only ids and {"code":"200","msg":"success"}
                self._tell(found, report, what, 0, "")
                return
            rows = Found()
            state = self._read_order(rows, report, order)
        except (KeyError, TypeError, ValueError, InputInvalid) as error:
            self._tell(found, ReportKind.UNKNOWN, what, 0, f"HTTP 200 with a body that makes no sense: {error!r}"[:200])
            return
        found.reports += rows.reports
        found.learned += rows.learned
        if state is OrderState.EXPIRED and report is ReportKind.ACKNOWLEDGED and rows.reports:  # it ended at once
            found.reports.append(rows.reports[0] | {"report": ReportKind.EXPIRED})

    def _read_order(self, found: Found, report: ReportKind, order: Json) -> OrderState:
        """One order object of an answer, normal or conditional. Returns its state."""
        algo = "algoId" in order
        client_id = said.text(order["clientAlgoId" if algo else "clientOrderId"])
        venue_order_id = said.integer(order["algoId" if algo else "orderId"])
        instrument, side = said.instrument(order["symbol"]), said.side(order["side"])
        actual_id = said.integer(int(order.get("actualOrderId") or 0)) if algo else 0
        order_id = self._known(client_id, venue_order_id, instrument)
        learned = Learned(order_id, venue_order_id, actual_id, instrument, side)
        if not algo and self._is_actual(venue_order_id, instrument):
            learned.venue_order_id = 0  # what a conditional order became: both ids stay known
        found.learned.append(learned)
        name = said.text(order["algoStatus" if algo else "status"])
        if algo and name == "FINISHED":
            return OrderState.OPEN  # filled or cancelled as a normal order, whose own answer says which
        state = (ALGO_STATES if algo else STATES)[name]
        found.reports.append(
            {
                "report": report, "order_id": order_id, "venue_order_id": venue_order_id, "instrument": instrument,
                "side": side, "state": state if report is ReportKind.STATUS else OrderState.NEW,
                "price_e8": said.e8(order.get("price") or "0", 0),
                "quantity_e8": said.e8(order["quantity" if algo else "origQty"] or "0", 0),
                "filled_e8": said.e8(order.get("executedQty") or "0", 0),
                "ts_event_ns": said.ns(order.get("updateTime")),
                "text": "" if order_id else client_id,
            }
        )  # fmt: skip
        return state

    def _is_actual(self, venue_order_id: int, instrument: int) -> bool:
        slot = self._slot_of(venue_order_id, instrument)
        return slot >= 0 and int(self._state["orders"][slot]["actual_id"]) == venue_order_id

    def _read_user_trade(self, found: Found, trade: Json) -> None:
        instrument, trade_id = said.instrument(trade["symbol"]), said.integer(trade["id"])
        venue_order_id = said.integer(trade["orderId"])
        slot = self._slot_of(venue_order_id, instrument)
        if slot < 0 or self._traded(instrument, trade_id) or (instrument, trade_id) in found.trades:
            return  # not yet known whose it is: the gateway asks for its order, then for its trades again
        order_id = int(self._state["orders"][slot]["order_id"])
        found.trades.append((instrument, trade_id))
        found.reports.append(
            {
                "report": ReportKind.FILL, "order_id": order_id, "venue_order_id": venue_order_id,
                "instrument": instrument, "trade_id": trade_id, "side": said.side(trade["side"]),
                "price_e8": said.e8(trade["price"], 1), "quantity_e8": said.e8(trade["qty"], 1),
                "filled_e8": ABSENT_FILLED,
                "fee_e8": said.e8(trade["commission"]), "fee_asset": instrument_id(said.text(trade["commissionAsset"])),
                "maker": int(said.flag(trade["maker"])), "ts_event_ns": said.ns(trade["time"]),
                "realised_e8": said.booked(trade.get("realizedPnl")),
            }
        )  # fmt: skip

    # --- the user stream

    def _read_text(self, at: int, found: Found) -> None:
        body = said.json(self._bytes(at, "payload"))
        if not isinstance(body, dict):
            raise Aside(DeadReason.UNPARSABLE, "not JSON, or not an object")
        if "stream" in body and isinstance(body.get("data"), dict):
            body = body["data"]
        event = body.get("e")
        if event == "ORDER_TRADE_UPDATE":
            self._read_order_update(found, body, said.fields(body["o"]))
        elif event == "ALGO_UPDATE":
            self._read_algo_update(found, body, said.fields(body["o"]))
        elif event == "ACCOUNT_UPDATE":
            self._read_account_update(found, body, said.fields(body["a"]))
        elif event not in IGNORED_EVENTS:
            raise Aside(DeadReason.UNEXPECTED, "not an event of the user stream that we know")

    def _read_order_update(self, found: Found, body: Json, order: Json) -> None:
        client_id, venue_order_id = said.text(order["c"]), said.integer(order["i"])
        instrument, side, report = said.instrument(order["s"]), said.side(order["S"]), EXECUTIONS[said.text(order["x"])]
        order_id = self._known(client_id, venue_order_id, instrument)
        learned = Learned(order_id, venue_order_id, 0, instrument, side)
        if self._is_actual(venue_order_id, instrument):
            learned.venue_order_id = 0
        found.learned.append(learned)
        row: Json = {
            "report": report, "order_id": order_id, "venue_order_id": venue_order_id, "instrument": instrument,
            "side": side, "filled_e8": said.e8(order["z"], 0), "ts_event_ns": said.ns(order.get("T") or body.get("T")),
            "text": "" if order_id else client_id,
        }  # fmt: skip
        if report is ReportKind.FILL:
            trade_id = said.integer(order["t"])
            fee = said.e8(order["n"]) if order.get("n") is not None else 0
            asset = order.get("N")
            row |= {
                "trade_id": trade_id, "price_e8": said.e8(order["L"], 1), "quantity_e8": said.e8(order["l"], 1),
                "fee_e8": fee, "fee_asset": instrument_id(said.text(asset)) if asset is not None else 0,
                "maker": int(said.flag(order["m"])),
                "realised_e8": said.booked(order.get("rp")),
            }  # fmt: skip
            found.trades.append((instrument, trade_id))
        else:
            row |= {"price_e8": said.e8(order["p"], 0), "quantity_e8": said.e8(order["q"], 0)}
        if report is ReportKind.EXPIRED:
            row["text"] = row["text"] or EXPIRY_REASONS.get(str(order.get("er", "")), "")
        found.reports.append(row)

    def _read_algo_update(self, found: Found, body: Json, order: Json) -> None:
        client_id, algo_id, name = said.text(order["caid"]), said.integer(order["aid"]), said.text(order["X"])
        instrument, side = said.instrument(order["s"]), said.side(order["S"])
        actual_id = said.integer(int(order.get("ai") or 0))
        order_id = self._known(client_id, algo_id, instrument)
        found.learned.append(Learned(order_id, algo_id, actual_id, instrument, side))
        if name in ALGO_QUIET:
            return
        report = ALGO_REPORTS[name]
        found.reports.append(
            {
                "report": report, "order_id": order_id, "instrument": instrument, "side": side,
                "venue_order_id": actual_id if report is ReportKind.TRIGGERED and actual_id else algo_id,
                "price_e8": said.e8(order.get("p") or "0", 0), "quantity_e8": said.e8(order["q"], 0),
                "filled_e8": said.e8(order.get("aq") or "0", 0), "ts_event_ns": said.ns(body.get("T")),
                "text": (str(order.get("rm") or "")[:1024]) if order_id else client_id,
            }
        )  # fmt: skip

    # --- money

    def _read_account_update(self, found: Found, body: Json, account: Json) -> None:
        reason = said.text(account["m"])
        what = MOVES.get(reason)
        if what is None:
            raise Aside(DeadReason.UNEXPECTED, f"an account update for {reason!r}, which is new to us")
        positions = account.get("P") or []
        instrument = (
            said.instrument(said.fields(positions[0])["s"]) if what is AccountEvent.FUNDING and positions else 0
        )
        event_ms = said.integer(body.get("T") or 0)
        for item in account.get("B") or []:
            asset = instrument_id(said.text(said.fields(item)["a"]))
            balance_e8, amount_e8 = said.e8(item["wb"]), said.e8(item.get("bc") or "0")
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
                    found.fundings.append((asset, event_ms, said.integer(booked_e8 + amount_e8, -I64_MAX), 0))
            found.assets.append(told | {"opened_ms": int(known["opened_ms"])})
            found.updates.append(
                {
                    "what": what, "asset": asset, "instrument": instrument, "balance_e8": balance_e8,
                    "amount_e8": amount_e8 if counts else 0, "ts_event_ns": said.ns(event_ms),
                }
            )  # fmt: skip

    def _read_funding(self, found: Found, items: list[Any]) -> None:
        """What the user stream did not tell, for each time at which funding was exchanged."""
        sums: dict[tuple[int, int], list[tuple[int, int]]] = {}  # asset, time → instrument, amount
        for item in items:
            row = said.fields(item)
            if row["incomeType"] == api.FUNDING_FEE:
                place = (instrument_id(said.text(row["asset"])), said.integer(row["time"]))
                sums.setdefault(place, []).append((said.instrument(row["symbol"]), said.e8(row["income"])))
        for (asset, time_ms), parts in sorted(sums.items()):
            slot = self._asset(asset)
            known = self._state["assets"][slot] if slot >= 0 else np.zeros((), dtype=ASSET)
            booked_e8, whole = self._funded(slot, time_ms)
            if not self._state["counters"][OPENED] or time_ms <= known["opened_ms"] or whole:
                continue
            paid_e8 = said.integer(sum(amount for _, amount in parts), -I64_MAX)
            amount_e8 = said.integer(paid_e8 - booked_e8, -I64_MAX)
            found.assets.append({"asset": asset})
            found.fundings.append((asset, time_ms, paid_e8, 1))
            if amount_e8:
                alone = len(parts) == 1 and not booked_e8
                found.updates.append(
                    {
                        "what": AccountEvent.FUNDING, "asset": asset, "instrument": parts[0][0] if alone else 0,
                        "balance_e8": NOT_SAID, "amount_e8": amount_e8, "ts_event_ns": said.ns(time_ms),
                    }
                )  # fmt: skip

    def _read_balances(self, found: Found, items: list[Any]) -> None:
        """The first answer opens the books; later ones say what the venue has, and move nothing."""
        first = not self._state["counters"][OPENED]
        found.opened = True
        for item in items:
            asset = instrument_id(said.text(said.fields(item)["asset"]))
            balance_e8, updated_ms = said.e8(item["balance"]), said.integer(item.get("updateTime") or 0)
            slot = self._asset(asset)
            if slot < 0 and not balance_e8:
                continue  # an asset that was never there
            if first:
                found.assets.append({"asset": asset, "opened_ms": updated_ms})
            found.updates.append(
                {
                    "what": AccountEvent.OPENING if first else AccountEvent.ADJUSTMENT, "asset": asset,
                    "amount_e8": balance_e8 if first else 0, "balance_e8": balance_e8,
                    "ts_event_ns": said.ns(updated_ms),
                }
            )  # fmt: skip
