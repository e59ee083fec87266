"""What was in force when something was decided: limits, strategies' parameters, kills; exactly, by the rules' journals.

A row that steers is in force for a decision when the journal of the rule that decided took it before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from infra.sessions.rowstore import Done, Found, Mask, RowStore
from processors.risk_limits import BOUNDS
from schemas.events import Side
from schemas.instruments import Venue, instrument_id, instrument_name
from schemas.money import format_e8
from schemas.trading import OrderKind, Reason, RequestAction, Scope, Unit
from streams.api import Chunk
from streams.pipelines import pipeline

ONE_E8 = 100_000_000
BASIS_POINTS = 10_000
NOT_KEPT = "passed; its number is not kept"


class Names:
    """Ids to words, of one session."""

    def __init__(self, store: RowStore) -> None:
        self.instruments: dict[int, Found] = {}
        self._known: dict[int, str] = {
            instrument_id(one): one for one in ("operator", "gateway", "USDT", "USDC", "BNB")
        }
        for row in store.every("ref.instrument.v1", 0, every_row):
            name = instrument_name(Venue(row["venue"]), row.text("symbol"))
            self.instruments[row["instrument"]] = row
            self._known[row["instrument"]] = name
            for asset in ("base", "quote", "settle"):
                self._known[instrument_id(row.text(asset))] = row.text(asset)
        for row in store.every("ref.strategy.v1", 0, every_row):
            self._known[row["strategy"]] = row.text("name")
        plan = store.session.plan.get("parameters", {})
        for venue in Venue:
            given = plan.get(f"orders_{venue.label}", {}).get("account", "paper")
            self._known[instrument_id(f"{venue.label}:{given}")] = f"{venue.label}:{given}"

    def __call__(self, number: int) -> str:
        return self._known.get(number, str(number))


def every_row(chunk: Chunk) -> Mask:
    return np.ones(len(chunk.rows), dtype=np.bool_)


def taken_before(store: RowStore, name: str, writer: int, place: Done, until_ns: int) -> list[Found]:
    """Rows of a steering topic that a rule had taken before that place of its journal, in their order."""
    rows = store.every(name, 0, every_row, until_ns)
    found = []
    for row in rows:
        done = store.taken(writer, row.address, row.ts_recv_ns)
        if done is not None and (done.number, done.entry) < (place.number, place.entry):
            found.append(row)
    return found


def limits_in_force(
    store: RowStore, names: Names, decision: Found, denials: Mapping[Reason, Found]
) -> list[dict[str, Any]]:
    """Limits that a decision was held against: value, what was compared, who set it, when and why."""
    place = store.taken(decision.address.key.writer, decision.cause, decision.ts_recv_ns) if decision.cause else None
    if place is None:
        return []
    latest: dict[tuple[int, int, int], Found] = {}
    for row in taken_before(store, "ref.limit.v1", decision.address.key.writer, place, decision.ts_recv_ns):
        latest[row["scope"], row["subject"], row["reason"]] = row
    numbers = _compared(decision, names)
    shown = []
    for row in latest.values():
        if row["active"] and _concerns(row, decision, names):
            reason, unit = Reason(row["reason"]), Unit(row["unit"])
            denied = denials.get(reason)
            value = denied["value"] if denied is not None else numbers.get(reason)
            shown.append(
                {
                    "limit": reason.name, "scope": _scope(row, names), "says": BOUNDS[reason].says,
                    "allowed": amount(row["value"], unit),
                    "was": NOT_KEPT if value is None else amount(value, unit),
                    "denied": denied is not None, "set_by": row.text("who"), "set_at_ns": row.ts_recv_ns,
                    "why": row.text("why"), "row": str(row.address),
                }
            )  # fmt: skip
    return shown


def kills_in_force(store: RowStore, names: Names, decision: Found) -> list[dict[str, Any]]:
    """Kills that nobody had lifted when it was decided."""
    place = store.taken(decision.address.key.writer, decision.cause, decision.ts_recv_ns) if decision.cause else None
    if place is None:
        return []
    kills: dict[tuple[int, int, int], Found] = {}
    for row in taken_before(store, "ctl.switch.v1", decision.address.key.writer, place, decision.ts_recv_ns):
        kills[row["scope"], row["subject"], row["kill_id"]] = row
    return [
        {
            "kill": row["kill_id"], "scope": _scope(row, names), "set_by": row.text("who"),
            "set_at_ns": row.ts_recv_ns, "why": row.text("why"), "row": str(row.address),
        }
        for row in kills.values()
        if row["on"]
    ]  # fmt: skip


def strategy_in_force(store: RowStore, request: Found, place: Done | None) -> dict[str, Any] | None:
    """The strategy's row in force when it asked: parameters, who set them, when and why."""
    if place is None or request.address.key.writer // 64 != pipeline("strategies").number:
        return None
    rows = taken_before(store, "ref.strategy.v1", request.address.key.writer, place, request.ts_recv_ns)
    own = [row for row in rows if row["strategy"] == request["strategy"]]
    if not own:
        return None
    row = own[-1]
    return {
        "strategy": row.text("name"), "rule": row.text("rule"), "parameters": row.text("parameters"),
        "capital": format_e8(row["capital_e8"]), "enabled": bool(row["enabled"]), "set_by": row.text("who"),
        "set_at_ns": row.ts_recv_ns, "why": row.text("why"), "row": str(row.address),
    }  # fmt: skip


def amount(value: int, unit: Unit) -> str:
    """A compared number for people."""
    if unit in (Unit.QUANTITY_E8, Unit.PRICE_E8, Unit.NOTIONAL_E8):
        return format_e8(value)
    if unit is Unit.NS:
        return f"{value / 1e6:g} ms"
    return f"{value} basis points" if unit is Unit.BASIS_POINTS else str(value)


def _scope(row: Found, names: Names) -> str:
    scope = Scope(row["scope"])
    if scope is Scope.GLOBAL:
        return "global"
    subject = Venue(row["subject"]).label if scope is Scope.VENUE else names(row["subject"])
    return f"{scope.name.lower()} {subject}"


def _concerns(row: Found, decision: Found, names: Names) -> bool:
    scope = Scope(row["scope"])
    if scope is Scope.VENUE:
        instrument = names.instruments.get(decision["instrument"])
        return instrument is not None and instrument["venue"] == row["subject"]
    column = {Scope.ACCOUNT: "account", Scope.STRATEGY: "strategy", Scope.INSTRUMENT: "instrument"}.get(scope)
    return column is None or decision[column] == row["subject"]


def _compared(decision: Found, names: Names) -> dict[Reason, int]:
    """The numbers of the account that follow from a decision's own columns, for a new order."""
    if decision["action"] != RequestAction.NEW:
        return {}
    sign = 1 if decision["side"] == Side.BUY else -1
    quantity, price = decision["quantity_e8"], decision["price_e8"]
    pending = decision["pending_buy_e8"] if sign > 0 else decision["pending_sell_e8"]
    found = {
        Reason.STALE_INPUT: decision["quote_age_ns"],
        Reason.ORDER_QUANTITY: quantity,
        Reason.POSITION_QUANTITY: sign * decision["position_e8"] + pending + quantity,
        Reason.GROSS_EXPOSURE: decision["gross_e8"],
        Reason.NET_EXPOSURE: sign * decision["net_e8"],
        Reason.DAILY_LOSS: -decision["profit_day_e8"],
    }
    instrument = names.instruments.get(decision["instrument"])
    if decision["kind"] == OrderKind.LIMIT and instrument is not None:
        bid, ask = decision["bid_price_e8"], decision["ask_price_e8"]
        plain = price if sign > 0 else max(bid, price)
        found[Reason.ORDER_NOTIONAL] = _product(_product(plain, quantity), instrument["multiplier_e8"])
        outside, of = (price - ask, ask) if ask and price > ask else (bid - price, bid) if bid > price else (0, 1)
        found[Reason.PRICE_COLLAR] = outside * BASIS_POINTS // of
    return found


def _product(one_e8: int, other_e8: int) -> int:
    """Rounded half to even."""
    whole, rest = divmod(one_e8 * other_e8, ONE_E8)
    return whole + (2 * rest > ONE_E8 or (2 * rest == ONE_E8 and whole % 2 == 1))
