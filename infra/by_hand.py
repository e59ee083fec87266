"""An order by hand: held against the instrument's rules, asked for, and followed to what became of it.

It takes the way of every strategy's order. What the instrument's rules would refuse is said before anything is written.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from infra.limits import in_unit
from infra.sessions.readback import instrument_names, topic_frames
from infra.sessions.store import Session
from infra.steering import OPERATOR, Wanted
from schemas.errors import ConfigInvalid
from schemas.events import InstrumentStatus
from schemas.instruments import instrument_id
from schemas.money import format_e8, parse_e8
from schemas.trading import OrderFlag, OrderKind, OrderState, Reason, RequestAction, TimeInForce, Unit
from streams.api import Chunk, Source, StartAt, TopicPartition
from streams.clock import Clock
from streams.pipelines import OPERATOR_NUMBER, TASKS_MAX
from streams.topics import TOPIC_BY_NUMBER, topic

FOLLOWED = ("risk.decision.v1", "risk.denial.v1", "oms.order.v1")
DECISIONS, REQUESTS = topic("risk.decision.v1"), topic("oms.order_request.v1")
OPERATOR_WRITER = OPERATOR_NUMBER * TASKS_MAX
ON_THE_WAY = (OrderState.NEW, OrderState.PENDING_SUBMIT, OrderState.PENDING_AMEND, OrderState.PENDING_CANCEL)
POLL_NS = 50_000_000
AT_ONCE = (TimeInForce.IOC, TimeInForce.FOK)


class Outcome(NamedTuple):
    """What became of a request.

    Attributes:
        order_id: of the order; 0 while risk has not decided.
        state: of the order as last heard; None while there is no order row.
        denials: each reason, with the numbers that were compared.
    """

    order_id: int
    state: OrderState | None
    denials: tuple[str, ...]

    @property
    def denied(self) -> bool:
        return bool(self.denials)


def amount(what: str, text: str) -> int:
    """A decimal above 0, × 10^8; "" is 0.

    Raises:
        ConfigInvalid, InputInvalid: it is none.
    """
    value = parse_e8(text) if text else 0
    if text and value <= 0:
        raise ConfigInvalid(f"A {what} of {text} cannot be: give one above 0.")
    return value


def check(session: Session, wanted: Wanted) -> None:
    """Hold a new or amended order against its instrument's rules.

    Raises:
        ConfigInvalid: the instrument is unknown or does not trade, a price or quantity is between steps or out of
            range, or the words contradict each other.
    """
    rules = known_instrument(session, wanted.instrument)
    if rules["status"] != InstrumentStatus.TRADING:
        status = InstrumentStatus(int(rules["status"])).name
        raise ConfigInvalid(f"{wanted.instrument} does not trade now: its status is {status}.")
    if wanted.action is RequestAction.NEW and wanted.quantity_e8 <= 0:
        raise ConfigInvalid("An order needs a quantity above 0.")
    _on_grid("quantity", wanted.quantity_e8, int(rules["lot_size_e8"]), 0)
    for what, price_e8 in (("price", wanted.price_e8), ("stop price", wanted.stop_price_e8)):
        if price_e8:
            _on_grid(what, price_e8, int(rules["tick_size_e8"]), int(rules["price_min_e8"]))
            _in_range(what, price_e8, int(rules["price_min_e8"]), int(rules["price_max_e8"]))
    is_market = wanted.kind in (OrderKind.MARKET, OrderKind.STOP)
    most = int(rules["market_quantity_max_e8" if is_market else "quantity_max_e8"])
    _in_range("quantity", wanted.quantity_e8, int(rules["quantity_min_e8"]), most)
    if wanted.flags & OrderFlag.POST_ONLY and (is_market or wanted.time_in_force in AT_ONCE):
        raise ConfigInvalid("--post-only rests in the book: it needs a --price, and no IOC or FOK. Leave one out.")
    if (wanted.time_in_force is TimeInForce.GTD) != bool(wanted.expires_ns):
        raise ConfigInvalid(
            "GTD and --until belong together: say when the order ends, or choose another time in force."
        )


def follow(source: Source, row: int, clock: Clock, wait_s: float) -> Outcome:
    """Read decisions, denials and orders until the request came to something, or the time is up.

    Args:
        source: of the session, not yet assigned.
        row: number of the request in the operator's sequence.
    """
    source.assign([TopicPartition(topic(name).number, 0) for name in FOLLOWED], StartAt({}, {}))
    heard = _Heard(row)
    end_ns = clock.monotonic_ns() + int(wait_s * 1e9)
    while clock.monotonic_ns() < end_ns and not heard.is_enough:
        for chunk in source.poll(POLL_NS):
            heard.take(TOPIC_BY_NUMBER[chunk.key.topic].name, chunk)
    return heard.outcome


class _Heard:
    """What is known of one request; the topics come in any order."""

    def __init__(self, row: int) -> None:
        self._request = row
        self._decision: tuple[int, int, int] | None = None  # its row, order, reasons
        self._denials: list[str] = []
        self._orders: list[tuple[int, int, OrderState]] = []  # order, row of the causing decision or 0, state

    def take(self, name: str, chunk: Chunk) -> None:
        if name == "oms.order.v1":
            decided = chunk.cause.topic == DECISIONS.number
            for row in chunk.rows[chunk.rows["strategy"] == instrument_id(OPERATOR)]:
                cause = int(row["cause_row"]) if decided else 0
                self._orders.append((int(row["order_id"]), cause, OrderState(int(row["state"]))))
        elif chunk.cause.topic == REQUESTS.number and chunk.cause.writer == OPERATOR_WRITER:
            for index in np.flatnonzero(chunk.rows["cause_row"] == self._request).tolist():
                row = chunk.rows[index]
                if name == "risk.denial.v1":
                    self._denials.append(denial_text(row))
                else:
                    self._decision = (chunk.row_first + index, int(row["order_id"]), int(row["reasons"]))

    @property
    def _states(self) -> list[OrderState]:
        """Of the order, from the decision's own row on."""
        decision, order, _ = self._decision or (0, 0, 0)
        mine = [(cause, state) for order_id, cause, state in self._orders if order_id == order]
        first = next((at for at, (cause, _) in enumerate(mine) if decision and cause == decision), len(mine))
        return [state for _, state in mine[first:]]

    @property
    def is_enough(self) -> bool:
        if self._decision is None:
            return False
        if self._decision[2]:
            return len(self._denials) == self._decision[2].bit_count()
        states = self._states
        return bool(states) and states[-1] not in ON_THE_WAY

    @property
    def outcome(self) -> Outcome:
        _, order, reasons = self._decision or (0, 0, 0)
        states = self._states
        return Outcome(order, states[-1] if states else None, tuple(self._denials) if reasons else ())


def denial_text(row: np.void) -> str:
    """`ORDER_NOTIONAL: 25000 against a limit of 20000`."""
    reason, unit = Reason(int(row["reason"])), Unit(int(row["unit"]))
    if unit is Unit.NONE:
        return reason.name
    value, limit = (in_unit(unit, int(row[column])) for column in ("value", "limit"))
    return f"{reason.name}: {value} against a limit of {limit} ({unit.name.lower().removesuffix('_e8')})"


def known_instrument(session: Session, instrument: str) -> np.void:
    """The latest row of an instrument.

    Raises:
        ConfigInvalid: the session knows none of that name.
    """
    wanted, found = instrument_id(instrument), None
    for frame in topic_frames(session.log, "ref.instrument.v1"):
        for row in frame.rows[frame.rows["instrument"] == wanted]:
            found = row.copy()
    if found is None:
        known = ", ".join(sorted(instrument_names(session.log).values())) or "none yet"
        raise ConfigInvalid(f"Session {session.name} knows no instrument {instrument}. It knows: {known}.")
    rules: np.void = found
    return rules


def _on_grid(what: str, value_e8: int, step_e8: int, origin_e8: int) -> None:
    if step_e8 > 0 and value_e8 and (rest := (value_e8 - origin_e8) % step_e8):
        below, above = value_e8 - rest, value_e8 - rest + step_e8
        raise ConfigInvalid(
            f"A {what} of {format_e8(value_e8)} is between steps of {format_e8(step_e8)}: "
            f"say {format_e8(below)} or {format_e8(above)}."
        )


def _in_range(what: str, value_e8: int, low_e8: int, high_e8: int) -> None:
    if value_e8 and (value_e8 < low_e8 or (high_e8 and value_e8 > high_e8)):
        raise ConfigInvalid(
            f"A {what} of {format_e8(value_e8)} is out of range: from {format_e8(low_e8)}"
            + (f" to {format_e8(high_e8)}." if high_e8 else ".")
        )
