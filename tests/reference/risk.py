"""What the rule `risk` must answer, the slow and obvious way: everything is summed anew for every question.

Bounds are not here, nor rows that are refused: the twin takes valid rows, and any request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from processors.risk import OPERATOR, RiskParameters
from processors.risk_limits import BOUNDS, REQUIRED, unit_of
from schemas.events import InstrumentKind, Trust
from schemas.trading import (
    TERMINAL_STATES,
    OrderFlag,
    OrderKind,
    OrderState,
    Reason,
    RequestAction,
    Scope,
    TimeInForce,
    Unit,
    order_id_of,
)

E8 = 10**8
MOST = 1 << 61
NONE = (1 << 63) - 1
DAY_NS = 86_400_000_000_000
Row = Mapping[str, Any]
Ids = tuple[int, int, int]  # account, strategy, instrument
PER_ORDER = (Reason.STALE_INPUT, Reason.ORDER_QUANTITY, Reason.ORDER_NOTIONAL, Reason.PRICE_COLLAR, Reason.DUPLICATE)


def worth_of(price: int, quantity: int, multiplier: int = E8) -> int:
    """Rounded half to even, once for the price and once for the multiplier."""
    value = round(Fraction(price * quantity, E8))
    return value if multiplier == E8 else round(Fraction(value * multiplier, E8))


@dataclass
class Order:
    account: int
    strategy: int
    instrument: int
    side: int
    kind: int = 0
    flags: int = 0
    tag: int = 0
    tagged: int = 0  # when: the newest wins
    open: bool = False
    price: int = 0
    stop: int = 0
    total: int = 0
    asked_price: int = 0
    asked_total: int = 0
    asked_told: bool = False
    seen: int = 0

    @property
    def pending(self) -> int:
        total = max(self.total, self.asked_total) if self.open else self.total
        return max(total - self.seen, 0)

    @property
    def rests_at(self) -> int:
        if not self.open or self.kind not in (OrderKind.LIMIT, OrderKind.STOP_LIMIT):
            return 0
        prices = [price for price in (self.price, self.asked_price) if price]
        return (min(prices) if self.side else max(prices)) if prices else 0


@dataclass
class Lane:
    held: int = 0
    cost: int = 0
    realised: int = 0
    fees: int = 0
    trip: int = 0


@dataclass
class Owner:
    """An account or a strategy."""

    base: int = 0
    peak: int = 0
    peak_day: int = 0
    streak: int = 0
    last_loss: int = 0


@dataclass
class PlainRisk:
    """The twin."""

    parameters: RiskParameters = field(default_factory=RiskParameters)
    now: int = 0
    next_day: int = 0
    kills: list[tuple[int, int, int, bool]] = field(default_factory=list)
    limits: dict[tuple[int, int, int], tuple[int, int, int]] = field(default_factory=dict)
    strategies: dict[int, Row] = field(default_factory=dict)
    instruments: dict[int, Row] = field(default_factory=dict)
    quotes: dict[int, dict[str, int]] = field(default_factory=dict)
    touches: dict[int, tuple[int, int, bool]] = field(default_factory=dict)  # bid, ask, from a trusted quote
    marks: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # (cell, mark)
    moved: dict[int, tuple[int, int]] = field(default_factory=dict)  # until when, how far
    lanes: dict[Ids, Lane] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    accounts: dict[int, Owner] = field(default_factory=dict)
    owners: dict[int, Owner] = field(default_factory=dict)  # strategies
    times: dict[tuple[str, object], list[int]] = field(default_factory=dict)
    recent: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    decisions: list[dict[str, int]] = field(default_factory=list)
    denials: list[tuple[int, ...]] = field(default_factory=list)  # cause, order, reason, value, limit, unit, scope
    tags: int = 0

    # What is held and pending.

    def multiplier(self, instrument: int) -> int:
        return int(self.instruments[instrument]["multiplier_e8"]) if instrument in self.instruments else E8

    def mark(self, instrument: int) -> int:
        bid, ask, _ = self.touches.get(instrument, (0, 0, False))
        return (bid + ask) // 2

    def position(self, account: int, instrument: int, strategy: int | None = None) -> tuple[int, int, int]:
        """Held, pending buys, pending sells."""
        held = sum(
            lane.held
            for (a, s, i), lane in self.lanes.items()
            if (a, i) == (account, instrument) and strategy in (None, s)
        )
        pending = [
            sum(
                order.pending
                for order in self.orders.values()
                if (order.account, order.instrument, order.side) == (account, instrument, side)
                and strategy in (None, order.strategy)
            )
            for side in (0, 1)
        ]
        return held, pending[0], pending[1]

    def values(self, account: int, instrument: int, strategy: int | None, extra: tuple[int, int]) -> tuple[int, int]:
        """Worth of the long and of the short outcome; `extra`: quantities bought and sold on top."""
        held, buying, selling = self.position(account, instrument, strategy)
        mark, multiplier = self.mark(instrument), self.multiplier(instrument)
        high, low = held + buying + extra[0], held - selling - extra[1]
        return worth_of(mark, high, multiplier), worth_of(mark, low, multiplier)

    def exposure(
        self, account: int | None, strategy: int | None, at: Ids | None = None, extra: tuple[int, int] = (0, 0)
    ) -> tuple[int, int, int]:
        """Gross, long and short sums of an account, or of a strategy, with `extra` pending at `at`."""
        known = {*self.lanes, *((o.account, o.strategy, o.instrument) for o in self.orders.values())}
        known |= {at} if at else set()
        places = {
            (a, i, s if account is None else None) for a, s, i in known if (a == account if account else s == strategy)
        }
        gross = long = short = 0
        for a, i, s in places:
            here = at is not None and (a, i) == (at[0], at[2])
            high, low = self.values(a, i, s, extra if here else (0, 0))
            gross, long, short = gross + max(abs(high), abs(low)), long + high, short + low
        return gross, long, short

    def unrealised(self, ids: Ids) -> int:
        lane = self.lanes[ids]
        bid, ask, _ = self.touches.get(ids[2], (0, 0, False))
        return worth_of(bid if lane.held > 0 else ask, lane.held, self.multiplier(ids[2])) - lane.cost

    def equity(self, account: int | None = None, strategy: int | None = None) -> int:
        return sum(
            lane.realised - lane.fees + self.unrealised(ids)
            for ids, lane in self.lanes.items()
            if (ids[0] == account if account is not None else ids[1] == strategy)
        )

    def net(self, account: int) -> int:
        return sum(lane.cost + self.unrealised(ids) for ids, lane in self.lanes.items() if ids[0] == account)

    def note_peaks(self) -> None:
        for account, own in self.accounts.items():
            own.peak = max(own.peak, self.equity(account))
            own.peak_day = max(own.peak_day, self.equity(account))
        for strategy, own in self.owners.items():
            own.peak = max(own.peak, self.equity(strategy=strategy))
            own.peak_day = max(own.peak_day, self.equity(strategy=strategy))

    def move_clock(self, recv_ns: int) -> None:
        self.now = max(self.now, recv_ns)
        if self.now < self.next_day:
            return
        self.next_day = (self.now // DAY_NS + 1) * DAY_NS
        for account, own in self.accounts.items():
            own.base = own.peak_day = self.equity(account)
        for strategy, own in self.owners.items():
            own.base = own.peak_day = self.equity(strategy=strategy)

    def meet(self, ids: Ids) -> Lane:
        self.accounts.setdefault(ids[0], Owner())
        self.owners.setdefault(ids[1], Owner())
        return self.lanes.setdefault(ids, Lane())

    # Rows.

    def take_switch(self, row: Row, who: str) -> None:
        self.move_clock(row["ts_recv_ns"])
        kill = (row["scope"], row["subject"], row["kill_id"], who == "gateway")
        if row["on"] and kill not in self.kills:
            self.kills.append(kill)
        if not row["on"]:
            self.kills = [one for one in self.kills if one[:3] != kill[:3] or (kill[3] and not one[3])]

    def take_limit(self, row: Row) -> None:
        self.move_clock(row["ts_recv_ns"])
        key = (row["scope"], row["subject"], row["reason"])
        self.limits.pop(key, None)
        if row["active"]:
            self.limits[key] = (row["value"], row["unit"], row["currency"])
            if row["scope"] == Scope.ACCOUNT:
                self.accounts.setdefault(row["subject"], Owner())

    def take_strategy(self, row: Row) -> None:
        self.move_clock(row["ts_recv_ns"])
        self.strategies[row["strategy"]] = row
        self.owners.setdefault(row["strategy"], Owner())

    def take_instrument(self, row: Row) -> None:
        self.move_clock(row["ts_recv_ns"])
        self.instruments[row["instrument"]] = row

    def take_quote(self, row: Row, number: int, partition: int) -> None:
        self.move_clock(row["ts_recv_ns"])
        instrument, bid, ask = row["instrument"], row["bid_price_e8"], row["ask_price_e8"]
        self.quotes[instrument] = {
            "bid": bid, "ask": ask, "ns": row["ts_recv_ns"], "row": number, "partition": partition,
            "trust": row["trust"],
        }  # fmt: skip
        if row["trust"] != Trust.SYNCED or not bid or not ask:
            return
        self.touches[instrument] = (bid, ask, True)
        self.note_move(instrument)
        self.note_peaks()

    def note_move(self, instrument: int) -> None:
        cell, mark = self.now // (self.parameters.move_window_ns // 16), self.mark(instrument)
        marks = self.marks.setdefault(instrument, [])
        marks.append((cell, mark))
        window = [one for when, one in marks if when > cell - 16]
        limit = self.move_limit(instrument)
        low, high = min(window), max(window)
        moved = max(basis_points(mark - low, low), basis_points(high - mark, high))
        if limit and moved > limit[0]:
            self.moved[instrument] = (self.now + self.parameters.move_cooldown_ns, moved)

    def move_limit(self, instrument: int) -> tuple[int, int] | None:
        venue = self.instruments[instrument]["venue"] if instrument in self.instruments else 0
        subjects = {Scope.GLOBAL: 0, Scope.VENUE: venue, Scope.INSTRUMENT: instrument}
        found = [
            (value, -scope)
            for (scope, subject, reason), (value, _, _) in self.limits.items()
            if reason == Reason.BREAKER_MOVE and subjects.get(Scope(scope)) == subject
        ]
        return (min(found)[0], -min(found)[1]) if found else None

    def set_tag(self, order: Order, tag: int) -> None:
        if order.tagged and order.tag == tag:
            return
        self.tags += 1
        order.tag, order.tagged = tag, self.tags

    def take_order(self, row: Row) -> None:
        self.move_clock(row["ts_recv_ns"])
        ids = (row["account"], row["strategy"], row["instrument"])
        self.meet(ids)
        state = OrderState(row["state"])
        key = row["order_id"] or -row["venue_order_id"]
        order = self.orders.get(key)
        if order is None and state in TERMINAL_STATES:
            return
        if order is None:
            order = self.orders[key] = Order(*ids, row["side"], row["kind"], row["flags"])
        order.kind, order.flags = row["kind"], row["flags"]
        if row["wanted_quantity_e8"] or order.asked_told:
            order.asked_total, order.asked_price = row["wanted_quantity_e8"], row["wanted_price_e8"]
            order.asked_told = order.asked_total != 0
        order.open = state not in TERMINAL_STATES
        order.price, order.stop = row["price_e8"], row["stop_price_e8"]
        order.total = row["quantity_e8"] if order.open else row["filled_e8"]
        if order.open:
            self.set_tag(order, row["tag"])
        else:
            order.tagged = 0

    def take_fill(self, row: Row, quote_asset: int, base_asset: int) -> None:
        self.move_clock(row["ts_recv_ns"])
        ids = (row["account"], row["strategy"], row["instrument"])
        lane, price, quantity = self.meet(ids), row["price_e8"], row["quantity_e8"]
        worth, sign = worth_of(price, quantity, self.multiplier(ids[2])), -1 if row["side"] else 1
        fee = row["fee_e8"]
        if ids[2] in self.instruments and fee and row["fee_asset"] != quote_asset:
            fee = worth_of(price, fee) if row["fee_asset"] == base_asset else 0
        closing = min(quantity, abs(lane.held)) if lane.held * sign < 0 else 0
        closed = round(Fraction(worth * closing, quantity))
        released = round(Fraction(lane.cost * closing, abs(lane.held))) if closing else 0
        realised = -sign * closed - released if closing else 0
        flat = closing and closing == abs(lane.held)
        lane.cost += sign * (worth - closed) - released
        lane.held += sign * quantity
        lane.realised += realised
        lane.fees += fee
        lane.trip += realised - fee
        if flat:
            for own in (self.accounts[ids[0]], self.owners[ids[1]]):
                if lane.trip < 0:
                    own.streak, own.last_loss = own.streak + 1, self.now
                elif lane.trip > 0:
                    own.streak = 0
            lane.trip = 0
        order = self.orders.setdefault(row["order_id"] or -row["venue_order_id"], Order(*ids, row["side"]))
        order.seen += quantity
        if not self.touches.get(ids[2], (0, 0, False))[2]:
            self.touches[ids[2]] = (price, price, False)
        self.note_peaks()

    # Requests.

    def limits_of(self, reason: Reason, ids: Ids) -> dict[str, tuple[int, int]]:
        """Limits in force by whose figure they bound: (limit, scope)."""
        subjects = self.subjects(ids)
        found: dict[str, list[tuple[int, int]]] = {}
        quoted = self.instruments[ids[2]]["quote_asset"] if ids[2] in self.instruments else 0
        for (scope, subject, bounded), (value, unit, currency) in self.limits.items():
            if bounded != reason or subjects[scope] != subject or (unit == Unit.NOTIONAL_E8 and currency != quoted):
                continue
            whose = "account"
            if reason not in PER_ORDER:
                if scope == Scope.STRATEGY:
                    whose = "strategy"
                elif scope == Scope.INSTRUMENT and not BOUNDS[reason].shared:
                    whose = "pair"
            found.setdefault(whose, []).append((-value if reason == Reason.DUPLICATE else value, -scope))
        tightest = {whose: min(some) for whose, some in found.items()}
        return {whose: (abs(value), -scope) for whose, (value, scope) in tightest.items()}

    def subjects(self, ids: Ids) -> list[int]:
        venue = self.instruments[ids[2]]["venue"] if ids[2] in self.instruments else 0
        return [0, venue, *ids]

    def take_request(self, row: Row, number: int, incarnation: int, writer: int) -> None:
        Asked(self, row, number, order_id_of(incarnation, writer, number)).judge()

    def stranger(self, ids: Ids) -> bool:
        """Leaves no trace: no such account, strategy or instrument."""
        known = ids[1] == OPERATOR or ids[1] in self.strategies
        return not (known and ids[0] in self.accounts and ids[2] in self.instruments)

    def count(self, key: tuple[str, object], within_ns: int) -> int:
        return sum(one > self.now - within_ns for one in self.times.get(key, []))


def basis_points(difference: int, reference: int) -> int:
    """Rounded up. (Prices of the tests are below 2^49, distances below a million times.)"""
    return -(-difference * 10_000 // reference)


class Asked:
    """One request being judged."""

    def __init__(self, risk: PlainRisk, row: Row, number: int, new_id: int) -> None:
        self.risk, self.row, self.number = risk, row, number
        self.ids: Ids = (row["account"], row["strategy"], row["instrument"])
        self.action = row["action"]
        self.fault = self.fault_of_any()
        if not self.fault:
            risk.move_clock(row["ts_recv_ns"])
        self.now = risk.now
        if not risk.stranger(self.ids):
            risk.meet(self.ids)
        self.order = self.named()
        self.order_id = new_id
        if self.order is not None:
            self.order_id = next(key for key, one in risk.orders.items() if one is self.order)
        elif self.action in (1, 2, 3):
            self.order_id = 0
        self.bits: list[tuple[Reason, int, int, int]] = []
        self.decision = self.seen()

    def named(self) -> Order | None:
        if self.action not in (RequestAction.AMEND, RequestAction.CANCEL):
            return None
        same = [
            order
            for order in self.risk.orders.values()
            if order.open and (order.account, order.strategy, order.tag) == (*self.ids[:2], self.row["tag"])
        ]
        newest = max(same, key=lambda order: order.tagged, default=None)
        return newest if newest and newest.instrument == self.ids[2] else None

    def seen(self) -> dict[str, int]:
        """The decision, before anything is judged."""
        risk, (account, _, instrument) = self.risk, self.ids
        quote = risk.quotes.get(instrument, {})
        held, buying, selling = risk.position(account, instrument)
        own = risk.accounts.get(account, Owner())
        copied = (
            "ts_event_ns", "ts_recv_ns", "tag", "price_e8", "stop_price_e8", "quantity_e8", "expires_ns",
            "valid_until_ns", "instrument", "account", "strategy", "side", "kind", "time_in_force", "flags", "action",
        )  # fmt: skip
        return {name: self.row[name] for name in copied} | {
            "order_id": self.order_id, "bid_price_e8": quote.get("bid", 0), "ask_price_e8": quote.get("ask", 0),
            "quote_row": quote.get("row", 0), "quote_age_ns": self.now - quote["ns"] if quote else 0,
            "trust": quote.get("trust", 0), "quote_partition": quote.get("partition", 0), "position_e8": held,
            "pending_buy_e8": buying, "pending_sell_e8": selling, "gross_e8": risk.exposure(account, None)[0],
            "net_e8": risk.net(account), "profit_day_e8": risk.equity(account) - own.base, "cause_row": self.number,
        }  # fmt: skip

    def deny(self, reason: Reason, value: int, limit: int, scope: int) -> None:
        self.bits.append((reason, value, limit, scope))

    def bound(self, reason: Reason, **values: int) -> None:
        """Deny when a figure is above its limit; the account's first, then the strategy's, then the pair's."""
        limits = self.risk.limits_of(reason, self.ids)
        for whose in ("account", "strategy", "pair"):
            if whose in limits and whose in values and values[whose] > limits[whose][0]:
                return self.deny(reason, values[whose], *limits[whose])
        return None

    def judge(self) -> None:
        if self.action in (RequestAction.CANCEL, RequestAction.CANCEL_ALL):
            self.judge_cancel()
        else:
            self.judge_order()
        self.bits.sort(key=lambda one: one[0])
        self.decision["reasons"] = sum(1 << reason for reason, *_ in self.bits)
        self.risk.decisions.append(self.decision)
        for reason, value, limit, scope in self.bits:
            self.risk.denials.append(
                (self.number, self.order_id, int(reason), value, limit, int(unit_of(reason)), int(scope))
            )

    def judge_cancel(self) -> None:
        self.rate(Reason.CANCEL_RATE, "cancels", 60 * 10**9)
        if self.action == RequestAction.CANCEL and self.order is None:
            self.deny(Reason.UNKNOWN_ORDER, self.row["tag"], 0, Scope.STRATEGY)
        if self.fault:
            self.deny(Reason.MALFORMED, self.fault, 0, Scope.STRATEGY)
        if not self.bits:
            self.note("cancels", (Reason.CANCEL_RATE,))

    def owner_keys(self) -> dict[str, object]:
        account, strategy, instrument = self.ids
        return {"account": account, "strategy": ("s", strategy), "pair": (account, instrument)}

    def rate(self, reason: Reason, what: str, within_ns: int) -> None:
        keys = self.owner_keys()
        self.bound(reason, **{whose: self.risk.count((what, key), within_ns) + 1 for whose, key in keys.items()})

    def note(self, what: str, reasons: Iterable[Reason]) -> None:
        """Count an approval for those who are limited."""
        known = {"account": self.ids[0] in self.risk.accounts, "strategy": self.ids[1] in self.risk.owners}
        limited = {whose for reason in reasons for whose in self.risk.limits_of(reason, self.ids)}
        for whose, key in self.owner_keys().items():
            pair = any((a, i) == (self.ids[0], self.ids[2]) for a, _, i in self.risk.lanes)
            if whose in limited and known.get(whose, pair):
                self.risk.times.setdefault((what, key), []).append(self.now)

    def fault_of_any(self) -> int:
        if not all(0 <= self.row[name] < 1 << 62 for name in ("ts_event_ns", "ts_recv_ns")):
            return 1
        return 2 if self.action > 3 else 0

    def fault_of_change(self, kind: int, stop: int) -> int:
        price, quantity = self.row["price_e8"], self.row["quantity_e8"]
        if not 0 < quantity <= 1 << 60:
            return 3
        if not 0 <= price <= 1 << 62 or bool(price) != (kind in (OrderKind.LIMIT, OrderKind.STOP_LIMIT)):
            return 4
        if not 0 <= stop <= 1 << 62 or bool(stop) != (kind in (OrderKind.STOP, OrderKind.STOP_LIMIT)):
            return 5
        return 0

    def fault_of_new(self) -> int:
        row = self.row
        if row["side"] > 1 or row["kind"] > 3 or row["time_in_force"] > 4:
            return 2
        force, market = TimeInForce(row["time_in_force"]), row["kind"] in (OrderKind.MARKET, OrderKind.STOP)
        if row["flags"] > 15:
            return 6
        if row["flags"] & OrderFlag.POST_ONLY and (market or force in (TimeInForce.IOC, TimeInForce.FOK)):
            return 6
        ends = row["expires_ns"]
        if (force == TimeInForce.GTD and not self.now < ends < 1 << 62) or (force != TimeInForce.GTD and ends):
            return 7
        return self.fault_of_change(row["kind"], row["stop_price_e8"])

    def judge_order(self) -> None:
        risk, row, order = self.risk, self.row, self.order
        new = self.action != RequestAction.AMEND
        if not self.fault and self.action == RequestAction.NEW:
            self.fault = self.fault_of_new()
        elif not self.fault and order:
            self.fault = self.fault_of_change(order.kind, order.stop)
            if not self.fault and row["quantity_e8"] <= order.seen:
                self.fault = 8
        self.side, self.kind, self.flags = row["side"], row["kind"], row["flags"]
        self.price, self.stop, self.quantity = row["price_e8"], row["stop_price_e8"], row["quantity_e8"]
        self.more = self.quantity
        if order:
            self.side, self.kind, self.flags, self.stop = order.side, order.kind, order.flags, order.stop
            self.more = max(0, self.quantity - max(order.total, order.asked_total, order.seen))
        self.reduces = bool(self.flags & OrderFlag.REDUCE_ONLY)
        self.quote = risk.quotes.get(self.ids[2], {"bid": 0, "ask": 0, "trust": 0})
        self.judge_stops()
        self.judge_inputs()
        judged = not self.fault and (new or order is not None)
        grows = self.judge_amounts(order) if judged else (0, 0)
        self.judge_pace(new, judged)
        self.judge_profit()
        self.judge_strategy(*grows)
        self.judge_row(new or order is not None)
        if not self.bits:
            self.approve(order)

    def judge_stops(self) -> None:
        subjects, passes = self.risk.subjects(self.ids), self.reduces and self.flags & OrderFlag.FLATTEN
        stops: dict[tuple[Reason, int], list[int]] = {}
        for scope, subject, kill, by_gateway in self.risk.kills:
            if subjects[scope] == subject:
                reconciling = by_gateway and scope == Scope.ACCOUNT
                reason = Reason.RECONCILING if reconciling else Reason(scope)
                if reconciling or not passes:
                    stops.setdefault((reason, scope), []).append(kill)
        for (reason, scope), kills in stops.items():
            self.deny(reason, max(0, *kills) if kills else 0, 0, scope)

    def judge_inputs(self) -> None:
        instrument = self.risk.instruments.get(self.ids[2])
        here = Scope.INSTRUMENT
        if self.quote["trust"] != Trust.SYNCED:
            self.deny(Reason.UNTRUSTED, self.quote["trust"], Trust.SYNCED, here)
        if "ns" in self.quote:
            self.bound(Reason.STALE_INPUT, account=self.now - self.quote["ns"])
        if not self.quote["bid"] or not self.quote["ask"]:
            self.deny(Reason.NO_QUOTE, 0, 0, here)
        if instrument is None:
            return self.deny(Reason.UNKNOWN_INSTRUMENT, self.ids[2], 0, here)
        if instrument["status"]:
            self.deny(Reason.INSTRUMENT_HALTED, instrument["status"], 0, here)
        if instrument["expiry_ns"] and self.now >= instrument["expiry_ns"]:
            self.deny(Reason.OUTSIDE_HOURS, self.now, instrument["expiry_ns"], here)
        return None

    def valued_at(self, price: int) -> int:
        if self.kind in (OrderKind.LIMIT, OrderKind.STOP_LIMIT):
            return price
        return self.stop if self.kind == OrderKind.STOP else self.quote["bid" if self.side else "ask"]

    def judge_amounts(self, order: Order | None) -> tuple[int, int]:
        """Everything about price, quantity and exposure. Returns the strategy's gross exposure, and its growth."""
        rules: Row = self.risk.instruments.get(self.ids[2], dict.fromkeys(
            ("tick_size_e8", "lot_size_e8", "price_min_e8", "price_max_e8", "quantity_min_e8", "quantity_max_e8",
             "market_quantity_max_e8", "notional_min_e8"), 0) | {"kind": 0, "multiplier_e8": E8})  # fmt: skip
        here = Scope.INSTRUMENT
        prices = [price for price in (self.price, self.stop) if price]
        origin = rules["price_min_e8"] if InstrumentKind(rules["kind"]) in (1, 2, 3) else 0
        off = [price for price in prices if rules["tick_size_e8"] and (price - origin) % rules["tick_size_e8"]]
        if off:
            self.deny(Reason.TICK_SIZE, off[0], rules["tick_size_e8"], here)
        if rules["lot_size_e8"] and self.quantity % rules["lot_size_e8"]:
            self.deny(Reason.LOT_SIZE, self.quantity, rules["lot_size_e8"], here)
        for price in prices:
            if self.ranged(Reason.PRICE_RANGE, price, rules["price_min_e8"], rules["price_max_e8"]):
                break
        market = "market_" if self.kind in (OrderKind.MARKET, OrderKind.STOP) else ""
        most = rules[f"{market}quantity_max_e8"]
        self.ranged(Reason.QUANTITY_RANGE, self.quantity, rules["quantity_min_e8"], most)
        self.judge_worth(order, rules)
        self.judge_collar()
        return self.judge_exposure()

    def ranged(self, reason: Reason, value: int, low: int, high: int) -> bool:
        outside = low if value < low else high if high and value > high else None
        if outside is not None:
            self.deny(reason, value, outside, Scope.INSTRUMENT)
        return outside is not None

    def judge_worth(self, order: Order | None, rules: Row) -> None:
        plain, multiplier = self.valued_at(self.price), rules["multiplier_e8"]
        worth = worth_of(plain, self.quantity, multiplier)
        if plain and worth < rules["notional_min_e8"] and not self.reduces:
            self.deny(Reason.MIN_NOTIONAL, worth, rules["notional_min_e8"], Scope.INSTRUMENT)
        if self.more:
            self.bound(Reason.ORDER_QUANTITY, account=self.quantity)
        bid = self.quote["bid"] if self.side else 0
        worth = worth_of(max(plain, bid), self.quantity, multiplier)
        before = -1
        if order:
            total = max(order.total, order.asked_total)
            before = worth_of(max(self.valued_at(order.price), bid), total, multiplier)
        if worth > MOST:
            limit = self.risk.limits_of(Reason.ORDER_NOTIONAL, self.ids).get("account", (NONE, 0))
            self.deny(Reason.ORDER_NOTIONAL, NONE, *limit)
        elif worth > before:
            self.bound(Reason.ORDER_NOTIONAL, account=worth)

    def judge_collar(self) -> None:
        bid, ask = self.quote["bid"], self.quote["ask"]
        if self.kind == OrderKind.STOP_LIMIT:
            bid = ask = self.stop
        apart = 0
        if self.price and ask and self.price > ask:
            apart = basis_points(self.price - ask, ask)
        elif self.price and bid and self.price < bid:
            apart = basis_points(bid - self.price, bid)
        self.bound(Reason.PRICE_COLLAR, account=apart)

    def judge_exposure(self) -> tuple[int, int]:
        risk, (account, strategy, instrument) = self.risk, self.ids
        extra, sign = ((0, self.more), -1) if self.side else ((self.more, 0), 1)
        side = 2 if self.side else 1

        def reach(whose: int | None) -> int:
            held, buying, selling = risk.position(account, instrument, whose)
            return int(selling - held if self.side else held + buying) + int(self.more)

        multiplier, mark = risk.multiplier(instrument), risk.mark(instrument)
        both = {"account": reach(None), "strategy": reach(strategy)}
        worths = {whose: worth_of(mark, value, multiplier) for whose, value in both.items()}
        if any(abs(worth) > MOST for worth in worths.values()):
            self.deny(Reason.GROSS_EXPOSURE, NONE, MOST, Scope.ACCOUNT)
            return 0, 0
        owners = {"account": (account, None), "strategy": (None, strategy)}
        before = {whose: risk.exposure(*key) for whose, key in owners.items()}
        after = {whose: risk.exposure(*key, at=self.ids, extra=extra) for whose, key in owners.items()}
        self.decision["gross_e8"] = after["account"][0]
        self.decision["net_e8"] = after["account"][side]
        grows = {whose: after[whose][0] - before[whose][0] for whose in owners}
        if not self.more or self.reduces:
            return after["strategy"][0], 0
        self.bound(Reason.POSITION_QUANTITY, **both)
        self.bound(Reason.POSITION_NOTIONAL, **worths)
        self.bound(Reason.GROSS_EXPOSURE, **{whose: after[whose][0] for whose in owners if grows[whose] > 0})
        self.bound(Reason.NET_EXPOSURE, **{whose: sign * after[whose][side] for whose in owners})
        return after["strategy"][0], grows["strategy"]

    def judge_pace(self, new: bool, judged: bool) -> None:
        risk, (account, strategy, instrument) = self.risk, self.ids
        live = [order for order in risk.orders.values() if order.open]
        if new:
            self.bound(
                Reason.OPEN_ORDERS,
                account=1 + sum(order.account == account for order in live),
                strategy=1 + sum(order.strategy == strategy for order in live),
                pair=1 + sum((order.account, order.instrument) == (account, instrument) for order in live),
            )
        self.rate(Reason.RATE_SECOND, "orders", 10**9)
        self.rate(Reason.RATE_MINUTE, "orders", 60 * 10**9)
        if not judged:
            return
        window = risk.limits_of(Reason.DUPLICATE, self.ids).get("account", (0, 0))
        key = (account, instrument, self.side, self.price, self.quantity)
        ages = [self.now - when for when, what in risk.recent if what == key and self.now - when < window[0]]
        if new and ages:
            self.deny(Reason.DUPLICATE, min(ages), *window)
        rests = [
            order.rests_at
            for order in live
            if (order.account, order.instrument, order.side) == (account, instrument, 1 - self.side) and order.rests_at
        ]
        if not rests or self.kind == OrderKind.STOP:
            return
        best, price = max(rests) if self.side else min(rests), self.valued_at(self.price)
        meets = self.kind == OrderKind.MARKET or (price <= best if self.side else price >= best)
        if meets:
            self.deny(Reason.SELF_TRADE, price, best, Scope.ACCOUNT)

    def judge_profit(self) -> None:
        risk, (account, strategy, instrument) = self.risk, self.ids
        held, buying, selling = risk.position(account, instrument)
        if self.reduces:
            reach = selling - held + self.more if self.side else held + buying + self.more
            if not self.fault and (self.action == RequestAction.NEW or self.order) and self.more and reach > 0:
                self.deny(Reason.REDUCE_ONLY, reach, 0, Scope.ACCOUNT)
            return
        own = {"account": risk.accounts.get(account, Owner()), "strategy": risk.owners.get(strategy, Owner())}
        equity = {"account": risk.equity(account), "strategy": risk.equity(strategy=strategy)}
        day = self.risk.parameters.drawdown_of_day
        self.bound(Reason.DAILY_LOSS, **{whose: own[whose].base - equity[whose] for whose in own})
        peaks = {whose: one.peak_day if day else one.peak for whose, one in own.items()}
        self.bound(Reason.DRAWDOWN, **{whose: peaks[whose] - equity[whose] for whose in own})
        limits = risk.limits_of(Reason.BREAKER_LOSSES, self.ids)
        for whose in ("account", "strategy"):
            cools = self.now < own[whose].last_loss + risk.parameters.losses_cooldown_ns
            if whose in limits and own[whose].streak >= limits[whose][0] and cools:
                self.deny(Reason.BREAKER_LOSSES, own[whose].streak, *limits[whose])
                break
        limit, (until, moved) = risk.move_limit(instrument), risk.moved.get(instrument, (0, 0))
        if limit and self.now < until:
            self.deny(Reason.BREAKER_MOVE, moved, *limit)

    def judge_strategy(self, gross: int, grows: int) -> None:
        account, strategy, instrument = self.ids
        row, deny = self.risk.strategies.get(strategy), (Reason.STRATEGY_DISABLED, Scope.STRATEGY)
        if row is None:
            if strategy != OPERATOR:
                self.deny(deny[0], 0, 1, deny[1])
            return
        if row["account"] not in (0, account):
            self.deny(deny[0], account, row["account"], deny[1])
        elif row["instrument"] not in (0, instrument):
            self.deny(deny[0], instrument, row["instrument"], deny[1])
        elif not row["enabled"] and not self.reduces:
            self.deny(deny[0], 0, 1, deny[1])
        if gross > row["capital_e8"] and grows > 0 and not self.reduces:
            self.deny(Reason.STRATEGY_CAPITAL, gross, row["capital_e8"], Scope.STRATEGY)

    def judge_row(self, known: bool) -> None:
        risk, (account, _, instrument) = self.risk, self.ids
        quoted = risk.instruments[instrument]["quote_asset"] if instrument in risk.instruments else 0
        keys = [(int(Scope.ACCOUNT), account, int(reason)) for reason in REQUIRED]
        have = sum(key in risk.limits and risk.limits[key][2] == quoted for key in keys)
        if have < len(REQUIRED):
            self.deny(Reason.NO_LIMITS, have, len(REQUIRED), Scope.ACCOUNT)
        if not known:
            self.deny(Reason.UNKNOWN_ORDER, self.row["tag"], 0, Scope.STRATEGY)
        if self.fault:
            self.deny(Reason.MALFORMED, self.fault, 0, Scope.STRATEGY)
        if self.now > self.row["valid_until_ns"]:
            self.deny(Reason.EXPIRED, self.now, self.row["valid_until_ns"], Scope.STRATEGY)

    def approve(self, order: Order | None) -> None:
        risk = self.risk
        self.note("orders", (Reason.RATE_SECOND, Reason.RATE_MINUTE))
        if order is None:
            order = risk.orders[self.order_id] = Order(*self.ids, self.side, self.kind, self.flags)
            order.open, order.price, order.stop, order.total = True, self.price, self.stop, self.quantity
            risk.set_tag(order, self.row["tag"])
            if risk.limits_of(Reason.DUPLICATE, self.ids):
                key = (*self.ids[::2], self.side, self.price, self.quantity)
                risk.recent.append((self.now, key))
            return
        asked = [price for price in (order.asked_price, self.price) if price]
        order.asked_price = (min(asked) if order.side else max(asked)) if asked else 0
        order.asked_total = max(order.asked_total, self.quantity)
        order.asked_told = False
