"""Rows for the rule `risk`: a small market, limits that bite, and orders in every state of their lives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hypothesis import strategies as st

from processors.risk import OPERATOR, Risk
from processors.risk_limits import BOUNDS, REQUIRED
from schemas.events import InstrumentKind, InstrumentStatus, Trust
from schemas.instruments import Venue, instrument_id
from schemas.trading import OrderFlag, OrderState, Reason, Scope, TimeInForce, Unit, order_id_of
from tests.laws.inputs import Given, joined
from tests.laws.stream import FIRST_ROW, ORIGIN, Stream

SWITCHES, LIMITS, STRATEGIES, INSTRUMENTS, QUOTES, ORDERS, FILLS, REQUESTS = range(8)
Values = Mapping[str, int | str]
E8 = 10**8
MS = 1_000_000
SECOND_NS = 1000 * MS
START_NS = 1_700_000_000_000_000_000
DAY_NS = 86_400 * SECOND_NS
USDT, BTC, BNB = (instrument_id(name) for name in ("USDT", "BTC", "BNB"))
VENUE = int(Venue.BINANCE_USDM)
NAMES = (31, 32, 33)  # instruments; 34 has no row
ACCOUNTS = (11, 12)
PLANNED = (21, 22)  # strategies; 23 has no row
TICK, LOT = E8 // 10, E8 // 1000

INSTRUMENT_ROW: Values = {
    "ts_recv_ns": START_NS, "tick_size_e8": TICK, "lot_size_e8": LOT, "price_min_e8": 5 * TICK // 10 * 10,
    "price_max_e8": 102 * E8, "quantity_min_e8": LOT, "quantity_max_e8": 40 * E8, "market_quantity_max_e8": 20 * E8,
    "notional_min_e8": 5 * E8, "multiplier_e8": E8, "symbol": "BTCUSDT", "base": "BTC", "quote": "USDT",
    "settle": "USDT", "instrument": NAMES[0], "venue": VENUE, "kind": InstrumentKind.PERPETUAL,
    "status": InstrumentStatus.TRADING,
}  # fmt: skip


def limit_row(
    reason: Reason, value: int, scope: Scope = Scope.ACCOUNT, subject: int = ACCOUNTS[0], active: int = 1
) -> Values:
    """A limit that can be, in its unit and in USDT."""
    unit = BOUNDS[reason].unit
    currency = USDT if unit == Unit.NOTIONAL_E8 else 0
    return {
        "ts_recv_ns": START_NS, "value": value, "who": "anna", "why": "test", "subject": subject,
        "currency": currency, "scope": scope, "reason": reason, "unit": unit, "active": active,
    }  # fmt: skip


def required(account: int = ACCOUNTS[0], scale: int = 1) -> list[Values]:
    """The three limits without which nothing is allowed: wide ones."""
    return [
        limit_row(Reason.ORDER_NOTIONAL, 10_000 * E8 * scale, subject=account),
        limit_row(Reason.POSITION_NOTIONAL, 20_000 * E8 * scale, subject=account),
        limit_row(Reason.DAILY_LOSS, 60 * E8 * scale, subject=account),
    ]


def strategy_row(strategy: int, account: int = 0, instrument: int = 0, **values: int) -> Values:
    row: dict[str, int | str] = {
        "ts_recv_ns": START_NS, "capital_e8": 15_000 * E8, "name": "s", "rule": "r", "parameters": "{}", "who": "anna",
        "why": "test", "strategy": strategy, "account": account, "instrument": instrument, "enabled": 1,
    }  # fmt: skip
    return row | values


class Op(NamedTuple):
    """What happens next; the numbers choose among what is there."""

    what: str
    a: int
    b: int
    c: int
    d: int
    step: int


_WHATS = ["request"] * 18 + ["again"] * 6 + ["change"] * 6 + ["quote"] * 8 + ["order"] * 6 + ["fill"] * 6
_WHATS += ["limit"] * 4 + ["switch"] * 2 + ["strategy", "instrument"]
_STEPS = [0, 0, 1, *[MS, 10 * MS, 100 * MS] * 3, SECOND_NS, SECOND_NS, 3 * SECOND_NS, 59 * SECOND_NS, -5 * MS]
_small = st.integers(0, 63)
_ops = st.lists(
    st.builds(Op, st.sampled_from(_WHATS), _small, _small, _small, _small, st.sampled_from([*_STEPS * 4, DAY_NS // 3])),
    min_size=1,
    max_size=60,
)


class Market:
    """Turns ops into rows. `keyed`: each instrument has its own account and strategy, so that nothing is shared."""

    def __init__(self, keyed: bool) -> None:
        self.keyed = keyed
        self.given: list[Given] = []
        self.now = START_NS
        self.asked: list[tuple[int, dict[str, int]]] = []  # number of the row, what it asked for

    def put(self, number: int, values: Values, key: object) -> None:
        self.given.append(Given(number, {**values, "ts_recv_ns": self.now}, key if self.keyed else ""))

    def begin(self) -> None:
        for at, name in enumerate(NAMES):
            kind = InstrumentKind.SPOT if at == 2 else InstrumentKind.PERPETUAL
            special = {"multiplier_e8": E8 // 2 if at == 1 else E8, "kind": kind, "instrument": name}
            self.put(INSTRUMENTS, {**INSTRUMENT_ROW, **special}, name)
        for account in ACCOUNTS:
            for values in required(account):
                self.put(LIMITS, values, self.key_of(account))
        for at in range(len(NAMES)):
            self.put_quote(Op("quote", at, 30, 0, 2, 0))
        for at, strategy in enumerate(PLANNED):
            self.put(STRATEGIES, strategy_row(strategy, *((ACCOUNTS[at], NAMES[at]) if self.keyed else ())), NAMES[at])

    def key_of(self, account: int) -> int:
        return NAMES[ACCOUNTS.index(account)]

    def who(self, op: Op) -> dict[str, int]:
        at = op.a % 2
        if self.keyed:
            return {
                "instrument": NAMES[at],
                "account": ACCOUNTS[at],
                "strategy": (PLANNED[at], OPERATOR)[op.b % 5 == 4],
            }
        return {
            "instrument": (*NAMES, *NAMES[:1] * 12, 34)[op.a % 16],
            "account": (*ACCOUNTS, *ACCOUNTS[:1] * 13, 13)[op.b % 16],
            "strategy": (*PLANNED, OPERATOR, *PLANNED[:1] * 12, 23)[op.c % 16],
        }

    def step(self, op: Op) -> None:
        self.now += op.step
        getattr(self, f"put_{op.what}")(op)

    def put_request(self, op: Op) -> None:
        kind = (0, 0, 0, 0, 0, 1, 2, 3)[op.c // 8]
        side = op.a // 2 % 2
        price = (955 + op.d // 2 + (38 * side if op.b // 8 else 0)) * TICK + (op.d == 60)
        quantity = (1 + op.a % 16) * (50, 100, 1000, 3000)[op.b // 16] * LOT + (op.a == 61)
        flags = (0, 0, 0, 0, OrderFlag.REDUCE_ONLY, OrderFlag.REDUCE_ONLY | OrderFlag.FLATTEN, 1, 4)[op.d // 8]
        values = self.who(op) | {
            "ts_event_ns": self.now, "tag": op.b % 4, "price_e8": price if kind in (0, 3) else 0,
            "stop_price_e8": price + TICK if kind in (2, 3) else 0, "quantity_e8": 0 if op.c == 63 else quantity,
            "valid_until_ns": self.now + (SECOND_NS if op.d != 33 else -1), "side": side, "kind": kind,
            "time_in_force": TimeInForce.GTD if op.c == 17 else 0, "flags": int(flags), "action": 0,
            "expires_ns": self.now + SECOND_NS if op.c == 17 else 0,
        }  # fmt: skip
        if op.c == 62:
            values |= ({"side": 2}, {"action": 9}, {"ts_event_ns": -1}, {"kind": 7}, {"price_e8": -1}, {"flags": 16})[
                op.d % 6
            ]
        self.ask(values)

    def put_again(self, op: Op) -> None:
        """The same once more."""
        if self.asked:
            self.ask(
                {
                    **self.asked[-1 - op.a % min(4, len(self.asked))][1],
                    "valid_until_ns": self.now + SECOND_NS,
                    "action": 0,
                }
            )

    def put_change(self, op: Op) -> None:
        values = dict(self.asked[op.a % len(self.asked)][1]) if self.asked else self.who(op) | {"tag": 77}
        values |= {"action": (1, 1, 2, 3)[op.b % 4], "valid_until_ns": self.now + SECOND_NS, "ts_event_ns": self.now}
        if values["action"] == 1 and "quantity_e8" in values:
            values["quantity_e8"] += (op.c % 8 - 3) * LOT * 50
            values["price_e8"] += (op.d % 5 - 2) * TICK if values["price_e8"] else 0
        if values["action"] == 3 and op.c % 2 and not self.keyed:
            values["instrument"] = 0
        if op.d == 63:
            values["tag"] = 999
        self.ask(values)

    def ask(self, values: dict[str, int]) -> None:
        self.asked.append((FIRST_ROW + len(self.given), values))
        self.put(REQUESTS, values, values["instrument"])

    def put_quote(self, op: Op) -> None:
        bid = (960 + op.b) * TICK
        trust = (*[Trust.SYNCED] * 15, Trust.STALE)[op.c % 16]
        gone = op.c == 1
        self.put(
            QUOTES,
            {
                "ts_event_ns": self.now, "bid_price_e8": 0 if gone else bid, "bid_quantity_e8": E8,
                "ask_price_e8": bid + (1 + op.d % 4) * TICK, "ask_quantity_e8": E8, "trust": trust,
                "instrument": (NAMES[op.a % 2] if self.keyed else (*NAMES, 34)[op.a % 4]),
            },
            NAMES[op.a % 2],
        )  # fmt: skip

    def _of(self, op: Op) -> tuple[int, dict[str, int]]:
        """An order: one that was asked for, or one that nobody knows."""
        if self.asked and op.a < 56:
            row, values = self.asked[-1 - op.a % min(8, len(self.asked))]
            if values["instrument"]:
                return order_id_of(ORIGIN.incarnation, ORIGIN.writer, row), values
        return 900 + op.a, self.who(op) | {"quantity_e8": 4 * E8, "price_e8": 100 * E8, "side": op.d % 2}

    def names(self, order_id: int) -> dict[str, int]:
        """By our id; some that were never ours by the venue's."""
        return {"order_id": 0, "venue_order_id": order_id} if 900 < order_id < 1000 else {"order_id": order_id}

    def put_order(self, op: Op) -> None:
        order_id, values = self._of(op)
        state = OrderState(op.b % 12)
        total = max(values.get("quantity_e8", 0), 0)
        filled = total if state == OrderState.FILLED else total * (op.c % 4) // 8
        amending = state == OrderState.PENDING_AMEND
        side, kind = min(values.get("side", 0), 1), values.get("kind", 0)
        names = ("instrument", "account", "strategy")
        self.put(
            ORDERS,
            {
                **{name: values[name] for name in names}, **self.names(order_id), "tag": values.get("tag", op.c % 4),
                "price_e8": max(values.get("price_e8", 0), 0), "quantity_e8": total, "filled_e8": filled, "side": side,
                "kind": kind if kind < 4 else 0, "state": state,
                "wanted_quantity_e8": total + 50 * LOT * (op.d % 3) if amending else 0,
                "wanted_price_e8": 100 * E8 if amending and op.d % 2 else 0, "ts_event_ns": self.now,
            },
            values["instrument"],
        )  # fmt: skip

    def put_fill(self, op: Op) -> None:
        order_id, values = self._of(op)
        names = ("instrument", "account", "strategy")
        part = max(values.get("quantity_e8", 0) // (1 + op.b % 3), 1)
        price = (950 + op.c) * TICK + op.d % 3
        asset, key = (USDT, USDT, BTC, USDT, BNB)[op.d % 5], self.names(order_id)
        fee = (op.b - 8) * E8 // 1000 if asset != BTC else 12_345
        self.put(
            FILLS,
            {
                **{name: values[name] for name in names}, **key, "price_e8": price, "quantity_e8": part,
                "fee_e8": fee, "fee_asset": asset, "side": min(values.get("side", 0), 1), "ts_event_ns": self.now,
            },
            values["instrument"],
        )  # fmt: skip

    def put_limit(self, op: Op) -> None:
        reason = tuple(BOUNDS)[op.a % len(BOUNDS)]
        value = {
            Unit.NS: (60 * SECOND_NS, 500 * MS)[op.c % 2], Unit.QUANTITY_E8: (1 + op.c) * E8,
            Unit.NOTIONAL_E8: (1 + op.c) ** 2 * E8, Unit.BASIS_POINTS: 1 + 4 * op.c, Unit.COUNT: 1 + op.c % 4,
        }[BOUNDS[reason].unit]  # fmt: skip
        value = {Reason.BREAKER_LOSSES: 1, Reason.DRAWDOWN: (1 + op.c) * E8 // 8}.get(reason, value)
        scope = BOUNDS[reason].scopes[op.b % len(BOUNDS[reason].scopes)]
        at = op.d % 2
        subjects = (0, VENUE, ACCOUNTS[at], PLANNED[at] if self.keyed else (*PLANNED, OPERATOR)[op.d % 3], NAMES[at])
        if self.keyed and scope in (Scope.GLOBAL, Scope.VENUE):
            scope = Scope.INSTRUMENT if Scope.INSTRUMENT in BOUNDS[reason].scopes else Scope.ACCOUNT
        needed = scope == Scope.ACCOUNT and reason in REQUIRED
        active = 0 if op.d > (60 if needed else 25) else 1
        self.put(LIMITS, limit_row(reason, value, scope, subjects[scope], active), NAMES[at])

    def put_switch(self, op: Op) -> None:
        scope = Scope(op.a % 8 if op.a % 8 < 5 else 2)
        at = op.b % 2
        subjects = (0, VENUE, ACCOUNTS[at], PLANNED[at], NAMES[at])
        shared = scope in (Scope.GLOBAL, Scope.VENUE)
        who = ("anna", "anna", "gateway")[op.c % 3] if scope != Scope.ACCOUNT else ("anna", "gateway")[op.d // 2 % 2]
        self.put(
            SWITCHES,
            {"kill_id": op.d % 2, "who": who, "why": "test", "subject": subjects[scope], "scope": scope,
             "on": int(op.c % 4 == 0)},
            "" if shared else NAMES[at],
        )  # fmt: skip

    def put_strategy(self, op: Op) -> None:
        at = op.a % 2
        bound = (ACCOUNTS[at], NAMES[at]) if self.keyed or op.c % 4 == 0 else (0, 0)
        self.put(
            STRATEGIES,
            strategy_row(PLANNED[at], *bound, enabled=int(op.b % 4 != 3), capital_e8=op.d * 500 * E8),
            NAMES[at],
        )

    def put_instrument(self, op: Op) -> None:
        at = op.a % 2
        values = {**INSTRUMENT_ROW, "instrument": NAMES[at], "status": (0, 0, 0, 0, 0, 0, 1, 2, 3)[op.b % 9]}
        values |= {
            "multiplier_e8": E8 // 2 if at == 1 else E8,
            "expiry_ns": (0, 0, 0, 0, self.now + SECOND_NS)[op.c % 5],
        }
        self.put(INSTRUMENTS, values, NAMES[at])


def seeded_rows(numbers: Iterator[int], ops: int) -> list[Given]:
    """A long life; `numbers` are from 0 to 1023."""
    market = Market(keyed=False)
    market.begin()
    for _ in range(ops):
        a, b, c, d = (next(numbers) % 64 for _ in range(4))
        market.step(Op(_WHATS[next(numbers) % len(_WHATS)], a, b, c, d, _STEPS[next(numbers) % len(_STEPS)]))
    return market.given


@st.composite
def given_rows(draw: st.DrawFn, keyed: bool) -> list[Given]:
    market = Market(keyed)
    market.begin()
    for op in draw(_ops):
        market.step(op)
    return market.given


def streams() -> st.SearchStrategy[Stream]:
    """For the laws: what is about one instrument touches nothing of another."""
    return given_rows(True).map(lambda given: joined(Risk.inputs, given))


def invalid() -> st.SearchStrategy[Stream]:
    """Single rows that no state of the rule can take. (Requests are never put aside: they are denied.)"""
    at: Values = {"ts_recv_ns": START_NS, "ts_event_ns": START_NS, "instrument": NAMES[0]}
    who: Values = {**at, "account": ACCOUNTS[0], "strategy": PLANNED[0]}
    fill: Values = {**who, "order_id": 5, "price_e8": E8, "quantity_e8": E8, "fee_asset": USDT}
    order: Values = {**who, "order_id": 5, "price_e8": E8, "quantity_e8": E8}
    quote: Values = {**at, "bid_price_e8": E8, "ask_price_e8": 2 * E8, "trust": Trust.SYNCED}
    limit = limit_row(Reason.ORDER_QUANTITY, 5)
    switch: Values = {"ts_recv_ns": START_NS, "kill_id": 1, "on": 1, "who": "anna"}
    faults: list[tuple[int, Values]] = [
        *((QUOTES, {**quote, **bad}) for bad in (
            {"bid_price_e8": -1}, {"ask_price_e8": (1 << 62) + 1}, {"trust": 6}, {"ts_recv_ns": -1}, {"instrument": 0},
            {"bid_quantity_e8": -4}, {"ts_event_ns": 1 << 62}, {"instrument": 99, "trust": 9})),
        *((ORDERS, {**order, **bad}) for bad in (
            {"order_id": 0}, {"price_e8": -1}, {"quantity_e8": -1}, {"filled_e8": (1 << 60) + 1}, {"side": 2},
            {"state": 12}, {"kind": 4}, {"before": 99}, {"account": 999, "stop_price_e8": -1})),
        *((FILLS, {**fill, **bad}) for bad in (
            {"price_e8": 0}, {"quantity_e8": 0}, {"quantity_e8": -E8}, {"side": 2}, {"ts_recv_ns": 1 << 62},
            {"price_e8": 1 << 60, "quantity_e8": 1 << 60}, {"fee_e8": 1 << 62}, {"account": 0}, {"instrument": 0})),
        *((LIMITS, {**limit, **bad}) for bad in (
            {"scope": 5}, {"scope": 0}, {"subject": 0}, {"reason": 200}, {"reason": Reason.MALFORMED}, {"unit": 3},
            {"value": -1}, {"currency": USDT}, {"active": 2}, {"ts_recv_ns": -5},
            {"reason": Reason.DAILY_LOSS, "unit": Unit.NOTIONAL_E8},
            {"reason": Reason.RATE_SECOND, "unit": Unit.COUNT, "value": 1 << 40},
            {"reason": Reason.GROSS_EXPOSURE, "unit": Unit.NOTIONAL_E8, "currency": USDT, "scope": Scope.INSTRUMENT})),
        *((SWITCHES, {**switch, **bad}) for bad in (
            {"scope": 7}, {"scope": Scope.ACCOUNT}, {"subject": 3}, {"on": 2}, {"ts_recv_ns": -1})),
        *((STRATEGIES, {**strategy_row(21), **bad}) for bad in ({"enabled": 2}, {"capital_e8": -1}, {"strategy": 0})),
        *((INSTRUMENTS, {**INSTRUMENT_ROW, **bad}) for bad in (
            {"kind": 9}, {"status": 9}, {"tick_size_e8": -1}, {"multiplier_e8": 0}, {"instrument": 0},
            {"expiry_ns": -1})),
    ]  # fmt: skip
    return st.sampled_from(faults).map(lambda one: joined(Risk.inputs, [Given(one[0], one[1], "")]))
