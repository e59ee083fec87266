"""What people, and a session's start, say to the running rules: limits, strategies, switches, orders by hand.

Each is a row with who and why, appended to the session's local log under the operator's own sequence; the shipper takes
it on. One command at a time: the log's lock makes others wait.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from infra.sessions.store import Session
from processors.risk_limits import unit_of
from schemas.declare import Event, Heap, Rows
from schemas.errors import ResourceExhausted
from schemas.events import Side
from schemas.instruments import instrument_id
from schemas.trading import (
    LIMIT,
    ORDER_REQUEST,
    STRATEGY,
    SWITCH,
    OrderFlag,
    OrderKind,
    Reason,
    RequestAction,
    Scope,
    TimeInForce,
    Unit,
)
from streams.api import Chunk, WriterKey
from streams.clock import SYSTEM_CLOCK, Clock
from streams.framing import encode_chunk
from streams.log import LogOptions, LogWriter
from streams.pipelines import OPERATOR_NUMBER, TASKS_MAX
from streams.topics import topic

OPERATOR = "operator"
SEGMENT_BYTES = 1 << 20
TRIES, TRY_S = 100, 0.05
VALID_S = 10.0


@dataclass(frozen=True)
class Wanted:
    """What a person asks for. Prices and quantities × 10^8; 0 where there is none."""

    instrument: str
    action: RequestAction
    tag: int
    side: Side = Side.BUY
    quantity_e8: int = 0
    price_e8: int = 0
    stop_price_e8: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    expires_ns: int = 0
    flags: OrderFlag = OrderFlag.HUMAN

    @property
    def kind(self) -> OrderKind:
        if self.stop_price_e8:
            return OrderKind.STOP_LIMIT if self.price_e8 else OrderKind.STOP
        return OrderKind.LIMIT if self.price_e8 else OrderKind.MARKET


def who() -> str:
    """The user of this machine; `nobody` where it has no names."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "nobody"


class Texts:
    """Rows with text columns, built one by one."""

    def __init__(self, event: Event) -> None:
        self.event = event
        self._rows: list[Rows] = []
        self._heap = bytearray()

    def add(self, **values: Any) -> None:
        """One row; columns that are not named are 0 or empty."""
        row = self.event.empty(1)
        for name, value in values.items():
            if isinstance(value, str):
                raw = value.encode()
                row[f"{name}_at"], row[f"{name}_size"] = len(self._heap), len(raw)
                self._heap += raw
            else:
                row[name] = value
        self._rows.append(row)

    def done(self) -> tuple[Rows, Heap]:
        return np.concatenate(self._rows), np.frombuffer(bytes(self._heap), dtype=np.uint8)


def append(session: Session, name: str, rows: Rows, heap: Heap, clock: Clock = SYSTEM_CLOCK) -> int:
    """Append rows of a topic to the operator's sequence; returns the number of the last one.

    Raises:
        ResourceExhausted: another command holds the sequence for more than five seconds.
    """
    target = topic(name)
    key = WriterKey(target.number, 0, OPERATOR_NUMBER * TASKS_MAX, session.incarnation)
    log = _open(session, key, clock)
    try:
        chunk = Chunk(key, log.last_row + 1, rows, heap)
        for one in encode_chunk(chunk):
            log.append(one.frame, one.row_first, one.row_count, one.ts_ns)
        return log.last_row
    finally:
        log.close()


def _open(session: Session, key: WriterKey, clock: Clock) -> LogWriter:
    for number in range(TRIES):
        try:
            return LogWriter(session.log, key, LogOptions(segment_bytes=SEGMENT_BYTES))
        except ResourceExhausted:
            if number == TRIES - 1:
                raise
            clock.sleep(TRY_S)
    raise AssertionError


def set_limits(
    session: Session,
    scope: Scope,
    subject: int,
    limits: Mapping[Reason, int],
    why: str,
    currency: str,
    *,
    active: bool = True,
) -> int:
    """Limits of one scope, each in its own unit; `active` False lifts them."""
    rows = Texts(LIMIT)
    for reason, value in limits.items():
        unit = unit_of(reason)
        rows.add(
            ts_recv_ns=SYSTEM_CLOCK.now_ns(), value=value, who=who(), why=why, subject=subject,
            currency=instrument_id(currency) if unit is Unit.NOTIONAL_E8 else 0, scope=scope, reason=reason,
            unit=unit, active=int(active),
        )  # fmt: skip
    return append(session, "ref.limit.v1", *rows.done())


def set_strategies(session: Session, strategies: Iterable[Mapping[str, Any]], why: str) -> int:
    """Strategies in force. Each: name, rule, account, instrument (texts), capital_e8, parameters, enabled."""
    rows = Texts(STRATEGY)
    for one in strategies:
        rows.add(
            ts_recv_ns=SYSTEM_CLOCK.now_ns(), capital_e8=one["capital_e8"], name=one["name"], rule=one["rule"],
            parameters=orjson.dumps(one.get("parameters", {})).decode(), who=who(), why=why,
            strategy=instrument_id(one["name"]), account=instrument_id(one["account"]),
            instrument=instrument_id(one["instrument"]), enabled=int(one.get("enabled", True)),
        )  # fmt: skip
    return append(session, "ref.strategy.v1", *rows.done())


def press(session: Session, scope: Scope, subject: int, why: str, *, kill_id: int, on: bool, flatten: bool) -> int:
    """One row of the kill switch."""
    rows = Texts(SWITCH)
    rows.add(
        ts_recv_ns=SYSTEM_CLOCK.now_ns(), kill_id=kill_id, who=who(), why=why, subject=subject, scope=scope,
        on=int(on), flatten=int(flatten),
    )  # fmt: skip
    return append(session, "ctl.switch.v1", *rows.done())


def ask(session: Session, account: str, wanted: Wanted) -> int:
    """One request of a person; takes the way of every strategy's. Returns its row number."""
    now_ns = SYSTEM_CLOCK.now_ns()
    row = ORDER_REQUEST.empty(1)
    row["ts_event_ns"] = row["ts_recv_ns"] = now_ns
    row["tag"], row["price_e8"], row["quantity_e8"] = wanted.tag, wanted.price_e8, wanted.quantity_e8
    row["stop_price_e8"], row["expires_ns"] = wanted.stop_price_e8, wanted.expires_ns
    row["valid_until_ns"] = now_ns + int(VALID_S * 1e9)
    row["instrument"], row["account"] = instrument_id(wanted.instrument), instrument_id(account)
    row["strategy"], row["side"], row["action"] = instrument_id(OPERATOR), wanted.side, wanted.action
    row["kind"], row["time_in_force"] = wanted.kind, wanted.time_in_force
    row["flags"] = wanted.flags | OrderFlag.HUMAN
    return append(session, "oms.order_request.v1", row, np.zeros(0, dtype=np.uint8))
