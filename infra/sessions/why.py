"""Why is this row as it is? Walks the addresses from a row to the bytes that came over the wire.

    fill ─▶ venue's report ─▶ raw frame                                     why it was filled
    command ─▶ decision ─▶ request ─▶ quote ─▶ book change ─▶ raw frame     why it was ordered
    command ─▶ raw frame of the request ─▶ raw frame of the answer          how it was sent

Every hop has its address, its columns, what was in force, and how long it took: a row made by a rule counts as there
when the checkpoint that holds it was committed (the time of its journal frame), a raw frame when it was received.
Where a timer made a row, the walk goes on at the last row that the rule had taken before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from infra.sessions.address import Address
from infra.sessions.rows_text import row_columns, row_values
from infra.sessions.rowstore import Done, Found, Mask, RowStore
from infra.sessions.store import Session
from infra.sessions.why_steering import (
    Names,
    amount,
    kills_in_force,
    limits_in_force,
    strategy_in_force,
)
from schemas.errors import ConfigInvalid
from schemas.events import FrameKind
from schemas.trading import (
    ORDER_INCARNATION_BITS,
    ORDER_ROW_BITS,
    ORDER_WRITER_BITS,
    CommandKind,
    Reason,
    Scope,
    Unit,
    client_id_of,
    order_id_from,
)
from streams.api import Chunk, WriterKey
from streams.pipelines import CONNECTOR_NUMBERS, TASKS_MAX, pipeline, writer_label
from streams.topics import topic

HTTP_OK = 200
MILLISECOND_NS = 1_000_000
HOPS_MAX = 64  # longer than any chain of causes
METHODS = {
    CommandKind.SUBMIT: "POST", CommandKind.AMEND: "PUT", CommandKind.CANCEL: "DELETE", CommandKind.QUERY: "GET",
}  # fmt: skip
PRIVATE = [number for name, number in CONNECTOR_NUMBERS.items() if name.endswith("_private")]
IDS = ("instrument", "account", "strategy", "asset", "fee_asset", "currency")
SAID = {
    "Fill": "fill", "VenueReport": "venue's report", "RawFrame": "wire", "OrderCommand": "command",
    "Decision": "decision of risk", "OrderRequest": "request", "Quote": "quote", "BookDelta": "book change",
    "Order": "order as it stands", "Trade": "trade", "Bar": "bar", "Position": "position",
}  # fmt: skip
SHOWN: dict[str, tuple[str, ...]] = {
    "Fill": ("instrument", "side", "quantity_e8", "price_e8", "fee_e8", "fee_asset", "maker", "trade_id", "order_id"),
    "VenueReport": (
        "report", "state", "price_e8", "quantity_e8", "filled_e8", "fee_e8", "trade_id", "venue_order_id", "code",
        "text", "ts_event_ns",
    ),
    "OrderCommand": ("command", "attempt", "side", "kind", "price_e8", "quantity_e8", "time_in_force", "flags",
                     "order_id"),
    "Decision": (
        "action", "reasons", "bid_price_e8", "ask_price_e8", "quote_age_ns", "trust", "position_e8",
        "pending_buy_e8", "pending_sell_e8", "gross_e8", "net_e8", "profit_day_e8",
    ),
    "OrderRequest": ("action", "strategy", "account", "instrument", "side", "kind", "price_e8", "quantity_e8",
                     "time_in_force", "flags", "tag"),
    "Order": ("state", "before", "alarm", "price_e8", "quantity_e8", "filled_e8", "code"),
    "Quote": ("instrument", "bid_price_e8", "bid_quantity_e8", "ask_price_e8", "ask_quantity_e8", "trust",
              "update_id"),
    "BookDelta": ("instrument", "side", "action", "price_e8", "quantity_e8", "flags", "update_id"),
    "RawFrame": ("kind", "request", "status", "connection", "epoch"),
}  # fmt: skip


@dataclass
class Hop:
    """One row on the way.

    Attributes:
        said: what it is, for people.
        at_ns: when it was there: committed, or received; 0 where nobody wrote that down.
        took_ns: since the hop that caused it; None for the first.
        columns: all of them, by name, as people read them.
        shown: names of those that matter.
        wire: the bytes of a raw frame.
        limits, kills, strategy: what was in force (decisions, requests).
        notes: sentences.
    """

    said: str
    address: Address
    at_ns: int
    took_ns: int | None
    columns: dict[str, Any]
    shown: tuple[str, ...]
    wire: bytes | None = None
    limits: list[dict[str, Any]] = field(default_factory=list)
    kills: list[dict[str, Any]] = field(default_factory=list)
    strategy: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        content = {
            "what": self.said, "row": str(self.address), "at_ns": self.at_ns, "took_ns": self.took_ns,
            "columns": self.columns, "limits": self.limits, "kills": self.kills, "strategy": self.strategy,
            "notes": self.notes,
        }  # fmt: skip
        if self.wire is not None:
            content["wire"] = self.wire.decode("utf-8", "backslashreplace")
        return content


@dataclass
class Way:
    """Hops from effect to cause, under a heading."""

    title: str
    hops: list[Hop] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def reaches_the_wire(self) -> bool:
        return bool(self.hops) and self.hops[-1].wire is not None

    def as_json(self) -> dict[str, Any]:
        return {"way": self.title, "hops": [hop.as_json() for hop in self.hops], "notes": self.notes}


class Why:
    """Explains rows of one session. Keep one for many questions: its readers stay open."""

    def __init__(self, session: Session) -> None:
        self.store = RowStore(session)
        self.names = Names(self.store)

    def close(self) -> None:
        self.store.close()

    # --- questions

    def row(self, address: Address) -> list[Way]:
        """Any row; fills and orders with everything that is known of them."""
        found = self.store.row(address)
        if found.event.name == "Fill":
            return self.fill(found)
        if found.event.name == "Denial" and found.cause is not None:
            decision = self._decision(self.store.row(found.cause))
            return [Way("why it was denied", self._back(decision or found))]
        return [Way("why it is so", self._back(found))]

    def find_fill(self, which: str) -> Found:
        """A fill by the venue's trade id, by its number, or the `latest`.

        Raises:
            ConfigInvalid: there is none.
        """
        if which != "latest" and not which.isdecimal():
            raise ConfigInvalid(f"{which!r} names no fill: say its trade id, its row number, or `latest`.")
        if which == "latest":
            rows = self.store.every("oms.fill.v1", 0, lambda chunk: _all(chunk))
            if rows:
                return rows[-1]
        else:
            number = int(which)
            hit = self.store.first("oms.fill.v1", 0, lambda chunk: _is(chunk, trade_id=number))
            if hit is not None:
                return hit
            return self.fill_number(number)
        raise self._no_fills()

    def fill_number(self, number: int) -> Found:
        """The fill with that row number.

        Raises:
            ConfigInvalid: there is none.
        """
        for key in self.store.keys("oms.fill.v1"):
            return self.store.row(Address(key, number))
        raise self._no_fills()

    def _no_fills(self) -> ConfigInvalid:
        return ConfigInvalid(f"Session {self.store.session.name}: {self.store.elsewhere() or 'it has no fills.'}")

    def find_order(self, which: str) -> int:
        """An order id from our number or the client id that venues know.

        Raises:
            ConfigInvalid: it is none.
        """
        order_id = int(which) if which.isdecimal() else order_id_from(which)
        if not 0 < order_id < 1 << ORDER_INCARNATION_BITS + ORDER_WRITER_BITS + ORDER_ROW_BITS:
            raise ConfigInvalid(f"{which!r} is no order id, nor a client id of ours (S and 13 characters).")
        return order_id

    def fill(self, fill: Found) -> list[Way]:
        """Why it was filled, why it was ordered and changed, how that was sent."""
        order_id = fill["order_id"]
        ways = [Way("why it was filled", self._back(fill))]
        if order_id <= 0:
            note = "The order is none of ours: its client id is not one that this platform gives. There was no request."
            return [*ways, Way("why it was ordered", notes=[note])]
        return [*ways, *self._ordered(order_id, fill.ts_recv_ns)]

    def order(self, order_id: int) -> list[Way]:
        """Why it was ordered, how it was sent, and what became of it."""
        request = self._request(order_id)
        decision = self._decision(request)
        ways = self._ordered(order_id, 0)
        if not any(way.hops for way in ways) and decision is not None:
            ways = [Way("why it was not sent", self._back(decision))]
        life = Way("what became of it")
        for row in self.store.every("oms.order.v1", request.ts_recv_ns, lambda chunk: _is(chunk, order_id=order_id)):
            life.hops.append(self._hop(row, None))
        for row in self.store.every("oms.fill.v1", request.ts_recv_ns, lambda chunk: _is(chunk, order_id=order_id)):
            life.hops.append(self._hop(row, None))
        life.hops.sort(key=lambda hop: (hop.at_ns, hop.address))
        return [*ways, life]

    # --- ways

    def _ordered(self, order_id: int, until_ns: int) -> list[Way]:
        """The commands that made the order what it was: each back to the wire, and out to the venue. Of several
        changes the last one that the venue took; the others are named."""
        request = self._request(order_id)
        commands = self.store.every(
            "oms.order_command.v1", request.ts_recv_ns, lambda chunk: _is(chunk, order_id=order_id), until_ns
        )
        by_kind = {kind: [row for row in commands if row["command"] == kind] for kind in CommandKind}
        ways = []
        for command in by_kind[CommandKind.SUBMIT]:
            ways += [Way("why it was ordered", self._back(command)), self._sent(command, CommandKind.SUBMIT)[0]]
        if amends := by_kind[CommandKind.AMEND]:
            chosen, sent = self._amend_in_force(amends, until_ns)
            ways += [Way("why it was changed", self._back(chosen)), sent]
            others = [str(row.address) for row in amends if row is not chosen]
            if others:
                ways[-2].notes.append(f"{len(others)} other changes were asked for: {', '.join(others)}")
        for command in by_kind[CommandKind.CANCEL] if not until_ns else []:
            ways += [Way("why it was cancelled", self._back(command)), self._sent(command, CommandKind.CANCEL)[0]]
        return ways

    def _amend_in_force(self, amends: list[Found], until_ns: int) -> tuple[Found, Way]:
        """The last change that the venue had confirmed by then; the last one at all where it confirmed none."""
        ways = []
        for command in reversed(amends):
            way, answer = self._sent(command, CommandKind.AMEND)
            ways.append((command, way))
            if answer is not None and answer["status"] == HTTP_OK and (not until_ns or answer.ts_recv_ns <= until_ns):
                return ways[-1]
        return ways[0]

    def _sent(self, command: Found, kind: CommandKind) -> tuple[Way, Found | None]:
        """The request as it left, and the venue's answer to it; that answer again."""
        way = Way(f"how the {kind.name.lower()} was sent", [first := self._hop(command, None)])
        words = client_id_of(command["order_id"]).encode()
        sent = self._private(command.ts_recv_ns, words, METHODS[kind], (FrameKind.SENT,))
        if sent is None:
            refused = self._private(command.ts_recv_ns, words, METHODS[kind], (FrameKind.NO_ANSWER,))
            if refused is not None:
                way.hops.insert(0, self._hop(refused, first))
            way.notes.append("It was not sent." if refused else "No attempt is written down: it was never sent.")
            return way, None
        way.hops.insert(0, left := self._hop(sent, first))
        answer = self._private(
            sent.ts_recv_ns, words, METHODS[kind], (FrameKind.REST, FrameKind.NO_ANSWER), sent.address.row
        )
        if answer is not None:
            way.hops.insert(0, self._hop(answer, left))
        else:
            way.notes.append("No answer to it is written down.")
        return way, answer

    def _private(
        self, ts_ns: int, client_id: bytes, method: str, kinds: tuple[FrameKind, ...], after_row: int = 0
    ) -> Found | None:
        """The first raw row of a private connection, of these kinds, about that order."""

        def match(chunk: Chunk) -> Mask:
            mask = np.isin(chunk.rows["kind"], kinds)
            if chunk.key.writer // TASKS_MAX not in PRIVATE:
                return np.zeros(len(chunk.rows), dtype=np.bool_)
            for at in np.flatnonzero(mask):
                row = chunk.rows[at]
                start = int(row["request_at"])
                asked = chunk.heap[start : start + int(row["request_size"])].tobytes()
                mask[at] = chunk.row_first + at > after_row and client_id in asked and asked.startswith(method.encode())
            return mask

        keys = [key for key in self.store.keys("raw.frame.v1") if key.writer // TASKS_MAX in PRIVATE]
        hits = [hit for key in keys if (hit := self.store.first_of(key, ts_ns, match)) is not None]
        return min(hits, key=lambda hit: hit.ts_recv_ns, default=None)

    def _back(self, found: Found) -> list[Hop]:
        """From a row along its causes to a raw frame, or to where nothing is known to come before."""
        rows: list[tuple[Found, list[str]]] = []
        current: Found | None = found
        while current is not None and len(rows) < HOPS_MAX:
            before, words = self._before(current)
            rows.append((current, words))
            current = before
        hops: list[Hop] = []
        cause: Hop | None = None
        for row, words in reversed(rows):
            cause = self._hop(row, cause)
            cause.notes += words
            hops.insert(0, cause)
        return hops

    def _before(self, found: Found) -> tuple[Found | None, list[str]]:
        """The row that caused a row; where a timer did, the last one that its writer had taken."""
        if found.cause is not None:
            return self.store.row(found.cause), []
        if not found.event.caused:
            return None, []
        timer = self.store.before_timer(found.address, found.ts_recv_ns)
        if timer is None:
            by = "a person, at the command line" if writer_label(found.address.key.writer)[:8] == "operator" else ""
            return None, [f"asked for by {by}" if by else "a timer made it, before any row was taken"]
        words = f"a timer of {writer_label(found.address.key.writer)} made it; the row below is the last it had taken"
        return self.store.row(timer[0]), [words]

    def _hop(self, found: Found, cause: Hop | None) -> Hop:
        raw = found.event.name == "RawFrame"
        done = None if raw else self.store.committed(found.address, found.ts_recv_ns)
        at_ns = done.logged_ns if done else found.ts_recv_ns
        took = at_ns - cause.at_ns if cause is not None and at_ns and cause.at_ns else None
        if took is not None and at_ns % MILLISECOND_NS == 0:
            took = max(0, took)  # Kafka keeps milliseconds, cut off
        values = dict(zip(row_columns(found.event), row_values(found.event, found.rows, found.heap, 0), strict=True))
        payload = found.bytes_of("payload") if raw else None
        values.pop("payload", None)
        for name in IDS:
            if name in values:
                values[name] = self.names(found[name]) if found[name] else ""
        shown = tuple(name.removesuffix("_e8") for name in SHOWN.get(found.event.name, ())) or tuple(values)
        hop = Hop(SAID.get(found.event.name, found.event.name), found.address, at_ns, took, values, shown, payload)
        self._in_force(found, hop)
        return hop

    def _in_force(self, found: Found, hop: Hop) -> None:
        """Limits and kills of a decision; the strategy of a request."""
        if found.event.name == "Decision":
            bits = found["reasons"]
            hop.columns["reasons"] = (
                "|".join(reason.name for reason in Reason if bits >> reason & 1) or "none: it may go"
            )
            denials = self._denials(found)
            hop.limits = limits_in_force(self.store, self.names, found, denials)
            hop.kills = kills_in_force(self.store, self.names, found)
            held = {limit["limit"] for limit in hop.limits}
            hop.notes += [_denial_words(row) for reason, row in denials.items() if reason.name not in held]
            if found["quote_row"] > 0:
                quote = WriterKey(
                    topic("md.quote").number, found["quote_partition"],
                    pipeline("book").writer(found["quote_partition"]), found.address.key.incarnation,
                )  # fmt: skip
                hop.notes.append(f"the touch that it saw is {Address(quote, found['quote_row'])}")
        elif found.event.name == "OrderRequest":
            hop.strategy = strategy_in_force(self.store, found, self._asked_at(found))
        elif found.event.name in ("OrderCommand", "Fill", "Order") and found["order_id"] > 0:
            hop.columns["client_id"] = client_id_of(found["order_id"])

    def _asked_at(self, request: Found) -> Done | None:
        """Where in its journal the strategies' rule made a request."""
        if request.cause is not None:
            return self.store.taken(request.address.key.writer, request.cause, request.ts_recv_ns)
        timer = self.store.before_timer(request.address, request.ts_recv_ns)
        return timer[1]._replace(entry=timer[1].entry + 1) if timer else None

    def _denials(self, decision: Found) -> dict[Reason, Found]:
        if not decision["reasons"] or decision.cause is None:
            return {}
        cause = decision.cause
        rows = self.store.every(
            "risk.denial.v1", decision.ts_recv_ns, lambda chunk: _caused(chunk, cause), decision.ts_recv_ns
        )
        return {Reason(row["reason"]): row for row in rows}

    def _request(self, order_id: int) -> Found:
        row = order_id & (1 << ORDER_ROW_BITS) - 1
        writer = order_id >> ORDER_ROW_BITS & (1 << ORDER_WRITER_BITS) - 1
        incarnation = order_id >> ORDER_ROW_BITS + ORDER_WRITER_BITS
        return self.store.row(Address(WriterKey(topic("oms.order_request").number, 0, writer, incarnation), row))

    def _decision(self, request: Found) -> Found | None:
        address = request.address
        return self.store.first("risk.decision.v1", request.ts_recv_ns, lambda chunk: _caused(chunk, address))


def order_incarnation(order_id: int) -> int:
    """The session that an order was asked for in."""
    return order_id >> ORDER_ROW_BITS + ORDER_WRITER_BITS


def pretty(payload: bytes) -> str:
    """Wire bytes for people: JSON indented, lists of plain values on one line; other text as it is."""
    try:
        return "\n".join(_lines(orjson.loads(payload), ""))
    except orjson.JSONDecodeError:
        return payload.decode("utf-8", "backslashreplace")


def _lines(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield "{"
        for number, (name, one) in enumerate(value.items()):
            yield from _member(one, f'{indent}  "{name}": ', indent + "  ", last=number + 1 == len(value))
        yield indent + "}"
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
        yield "["
        for number, one in enumerate(value):
            yield from _member(one, indent + "  ", indent + "  ", last=number + 1 == len(value))
        yield indent + "]"
    else:
        yield orjson.dumps(value).decode()


def _member(value: Any, before: str, indent: str, *, last: bool) -> Iterator[str]:
    lines = list(_lines(value, indent))
    lines[0] = before + lines[0]
    yield from lines[:-1]
    yield lines[-1] + ("" if last else ",")


def _denial_words(row: Found) -> str:
    reason, unit = Reason(row["reason"]), Unit(row["unit"])
    numbers = f": {amount(row['value'], unit)} against {amount(row['limit'], unit)}" if unit is not Unit.NONE else ""
    return f"denied by {reason.name} ({Scope(row['scope']).name.lower()}){numbers}"


def _is(chunk: Chunk, **wanted: int) -> Mask:
    mask = _all(chunk)
    for name, value in wanted.items():
        mask &= chunk.rows[name] == value
    return mask


def _caused(chunk: Chunk, cause: Address) -> Mask:
    if chunk.cause != tuple(cause.key):
        return np.zeros(len(chunk.rows), dtype=np.bool_)
    return np.asarray(chunk.rows["cause_row"] == cause.row, dtype=np.bool_)


def _all(chunk: Chunk) -> Mask:
    return np.ones(len(chunk.rows), dtype=np.bool_)
