"""Rule `risk`: order requests → one decision each, and one denial for every reason that stood against it.

Every check is evaluated for every request, in `processors/kernels/risk.py`; what limits mean is in `risk_limits.py`.
This file takes the rows that people write (switches, limits, strategies) and reference data, and gathers what holds
for each (account, strategy, instrument).

Conventions:
* Kills of one scope and subject add up; a resume lifts the one whose id it names. A VENUE's subject is its number
  (schemas/instruments.py). A switch of scope ACCOUNT by `gateway` is RECONCILING; the gateway's resumes lift only its
  own switches, a person's lift any of that id. Kills never stop a cancel, nor an order with REDUCE_ONLY and FLATTEN.
* Cancels are denied only when nobody knows the order, the row makes no sense, or CANCEL_RATE is reached.
* REDUCE_ONLY must reduce the account's position, pending orders counted. Such orders are not held back by loss,
  drawdown, breakers, exposure, capital, minimum notional, nor because their strategy is disabled.
* Rates count approved orders and amends (cancels on their own), for subjects whose rate is limited, from then on.
* An order is pending from its approval to the end of its life or until Fill rows have filled it; one that the Order
  rows say was filled stays pending until the fills are here, too. An amend counts with the greater of both quantities.
* The clock is the largest receive time of any row; a day is one of UTC on that clock.
* A losing close is a position that came back to zero (or through it) with a loss since it was opened, fees included.
  After the cool-down the row of losses goes on: one more loss trips the breaker at once, a winning close ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from processors.api import NEVER_NS, Batch, Outputs, Parameters, State
from processors.kernels import risk as kernel
from processors.kernels import risk_figures as figures
from processors.kernels import risk_layout as lay
from processors.parameters import check_range, read_parameters
from processors.risk_limits import BOUNDS, REQUIRED, check_of, tightest_first, units
from processors.words import Words, as_rows, as_words
from schemas.address import Origin
from schemas.declare import Event, Heap
from schemas.errors import ConfigInvalid, InputInvalid
from schemas.events import INSTRUMENT, QUOTE, DeadReason, InstrumentKind, InstrumentStatus
from schemas.instruments import instrument_id
from schemas.trading import (
    DECISION,
    DENIAL,
    FILL,
    LIMIT,
    ORDER,
    ORDER_REQUEST,
    STRATEGY,
    SWITCH,
    Reason,
    Scope,
    Unit,
    order_id_of,
)

SWITCH_INPUT, LIMIT_INPUT, STRATEGY_INPUT, INSTRUMENT_INPUT, QUOTE_INPUT, ORDER_INPUT, FILL_INPUT, REQUEST_INPUT = (
    range(8)
)
DECISION_OUTPUT, DENIAL_OUTPUT = 0, 1
DECISIONS_PER_CALL_MAX = 1024  # room for outputs of one kernel call; the call is repeated when it is used up
DENIALS_PER_CALL_MAX = 2048
DEAD_PER_CALL_MAX = 256
OPERATOR = instrument_id("operator")  # strategy of people; needs no Strategy row
GATEWAY = "gateway"
DAY_NS = lay.DAY_NS

# The kernels read and write rows as 64-bit words: these layouts are part of their contract.
assert [event.dtype.itemsize // 8 for event in (ORDER_REQUEST, DECISION, DENIAL, QUOTE, ORDER, FILL)] == [
    lay.REQUEST_WORDS, lay.DECISION_WORDS, lay.DENIAL_WORDS, lay.QUOTE_WORDS, lay.ORDER_WORDS, lay.FILL_WORDS,
]  # fmt: skip
_AT = {
    ORDER_REQUEST: {"tag": 16, "price_e8": 24, "valid_until_ns": 56, "instrument": 72, "strategy": 80, "action": 88},
    DECISION: {"order_id": 16, "reasons": 72, "bid_price_e8": 80, "gross_e8": 136, "cause_row": 160, "trust": 185},
    DENIAL: {"order_id": 16, "value": 24, "cause_row": 40, "instrument": 48, "reason": 60, "unit": 61, "scope": 62},
    QUOTE: {"bid_price_e8": 24, "ask_price_e8": 40, "instrument": 64, "trust": 68},
    ORDER: {"price_e8": 40, "quantity_e8": 56, "wanted_price_e8": 80, "instrument": 120, "side": 132, "state": 136},
    FILL: {"price_e8": 40, "quantity_e8": 48, "fee_e8": 56, "instrument": 72, "fee_asset": 84, "side": 88},
}
for _event, _columns in _AT.items():
    assert {name: _event.dtype.fields[name][1] for name in _columns} == _columns, _event.name  # type: ignore[index]

_FAULTS: Mapping[int, str] = {
    lay.BAD_TIME: "a time is not between 1970 and 2116",
    lay.BAD_ENUM: "a side, kind, state or trust is unknown",
    lay.BAD_ID: "an id (instrument, account, order) is 0",
    lay.BAD_PRICE: "a price is negative, 0, or above 46,116,860,184",
    lay.BAD_QUANTITY: "a quantity is negative, 0, or too large, or price × quantity is",
    lay.BAD_FEE: "a fee is too large",
    lay.OTHER_FEE: "the fee was paid in an asset that is neither the quote nor the base: the fill counts, its fee does "
    "not count as a loss",
    lay.NO_ORDER_LINE: "more open orders than orders_max = {orders_max}: this one is not counted as pending, and no "
    "new order is approved until one ends",
    lay.NO_LINE: "more instruments, accounts, strategies or lanes than the parameters allow ({bounds})",
}


@dataclass(frozen=True)
class RiskParameters:
    """Bounds and intervals. Limits are no parameters: they are rows.

    Attributes:
        instruments_max, accounts_max, strategies_max: as named.
        lanes_max: (account, strategy, instrument) triples that were ever traded.
        orders_max: open orders, and ended ones that are remembered for late fills; new orders above it are denied.
        limits_max, kills_max: rows in force.
        rates_max: largest rate limit; a power of two. Each limited account, strategy and pair has 16 bytes × this.
        repeats_max: orders that DUPLICATE looks back on; a power of two.
        move_window_ns: within which BREAKER_MOVE compares prices, in 16 parts: a little less to exactly this.
        move_cooldown_ns, losses_cooldown_ns: how long the breakers hold.
        drawdown_of_day: DRAWDOWN falls from the peak of the UTC day instead of the highest ever.
    """

    instruments_max: int = 8192
    accounts_max: int = 16
    strategies_max: int = 64
    lanes_max: int = 1024
    orders_max: int = 4096
    limits_max: int = 1024
    kills_max: int = 256
    rates_max: int = 4096
    repeats_max: int = 4096
    move_window_ns: int = 60_000_000_000
    move_cooldown_ns: int = 60_000_000_000
    losses_cooldown_ns: int = 300_000_000_000
    drawdown_of_day: bool = False

    def __post_init__(self) -> None:
        for name, high in (
            ("instruments_max", 1 << 16), ("accounts_max", 1 << 10), ("strategies_max", 1 << 12),
            ("lanes_max", 1 << 16), ("orders_max", 1 << 20), ("limits_max", 1 << 16), ("kills_max", 1 << 16),
            ("rates_max", 1 << 20), ("repeats_max", 1 << 20), ("move_window_ns", DAY_NS),
            ("move_cooldown_ns", DAY_NS), ("losses_cooldown_ns", DAY_NS),
        ):  # fmt: skip
            check_range("risk", name, getattr(self, name), 16 if name == "move_window_ns" else 1, high)
        for name in ("rates_max", "repeats_max"):
            if getattr(self, name) & (getattr(self, name) - 1):
                raise ConfigInvalid(f"Rule risk: {name} is {getattr(self, name)}; it must be a power of two.")

    @property
    def owners_max(self) -> int:
        """Accounts, strategies and pairs."""
        return self.accounts_max + self.strategies_max + self.lanes_max


class _Refused(InputInvalid):
    """A row that people wrote and that cannot be: its reason and a sentence."""

    def __init__(self, reason: DeadReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class _Scratch:
    """What the kernels write into before it is emitted; nothing in it means anything after a call of `on_batch`."""

    def __init__(self) -> None:
        self.decisions = np.zeros((DECISIONS_PER_CALL_MAX, lay.DECISION_WORDS), dtype=np.int64)
        self.denials = np.zeros((DENIALS_PER_CALL_MAX, lay.DENIAL_WORDS), dtype=np.int64)
        self.found = np.zeros((lay.REASONS, 3), dtype=np.int64)
        self.dead = np.zeros((DEAD_PER_CALL_MAX, 3), dtype=np.int64)
        self.cursor = np.zeros(lay.CURSOR_SIZE, dtype=np.int64)


class Risk:
    """The processor. All state is in the arrays described in `processors/kernels/risk_layout.py`, and

    limits: int64[limits_max, 6], (scope, subject, reason, value, unit, currency), the first meta[LIMITS] in force
    kills: int64[kills_max, 4], (scope, subject, kill id, 1: by the gateway), the first meta[KILLS] in force
    """

    name = "risk"
    version = 1
    inputs: tuple[Event, ...] = (SWITCH, LIMIT, STRATEGY, INSTRUMENT, QUOTE, ORDER, FILL, ORDER_REQUEST)
    outputs: tuple[Event, ...] = (DECISION, DENIAL)

    def __init__(self, parameters: RiskParameters | None = None) -> None:
        self.parameters = parameters or RiskParameters()
        self._settings = np.zeros(lay.SETTINGS_SIZE, dtype=np.int64)
        self._settings[lay.MOVE_CELL_NS] = self.parameters.move_window_ns // lay.MOVE_CELLS
        self._settings[lay.MOVE_COOLDOWN_NS] = self.parameters.move_cooldown_ns
        self._settings[lay.LOSSES_COOLDOWN_NS] = self.parameters.losses_cooldown_ns
        self._settings[lay.RING] = self.parameters.rates_max
        self._settings[lay.FALL_OF_DAY] = self.parameters.drawdown_of_day
        self._settings[lay.ORDERS_MAX] = self.parameters.orders_max
        self._settings[lay.REQUIRED_COUNT] = len(REQUIRED)
        self._settings[lay.RUNS] = 1
        self._settings[lay.UNITS :] = units()
        self._idle: list[_Scratch] = []

    @classmethod
    def make(cls, parameters: Parameters) -> Risk:
        """From parameters by name; raises ConfigInvalid."""
        return cls(read_parameters(RiskParameters, parameters, cls.name))

    def initial_state(self) -> State:
        bounds = self.parameters
        meta = np.zeros(lay.META_SIZE, dtype=np.int64)
        meta[[lay.INSTRUMENTS, lay.OWNERS, lay.LANES, lay.VERSION_NOW]] = 1
        orders = np.zeros((bounds.orders_max + 1, lay.ORDER_COLUMNS), dtype=np.int64)
        lines = np.arange(1, bounds.orders_max + 1)
        orders[1:, lay.QUEUED], orders[1:, lay.QUEUE_NEXT], orders[1:, lay.QUEUE_PREVIOUS] = 1, lines + 1, lines - 1
        orders[-1, lay.QUEUE_NEXT] = 0
        meta[lay.QUEUE_FIRST], meta[lay.QUEUE_LAST] = 1, bounds.orders_max
        most = max(bounds.instruments_max, bounds.lanes_max, bounds.orders_max, bounds.repeats_max)
        return {
            "meta": meta,
            "limits": np.zeros((bounds.limits_max, 6), dtype=np.int64),
            "kills": np.zeros((bounds.kills_max, 4), dtype=np.int64),
            "instruments": np.zeros((2, lay.INSTRUMENT_COLUMNS), dtype=np.int64),
            "moves": np.zeros((2, lay.MOVE_CELLS, 3), dtype=np.int64),
            "owners": np.zeros((4, lay.OWNER_COLUMNS), dtype=np.int64),
            "rings": np.zeros((4, 2 * bounds.rates_max), dtype=np.int64),
            "lanes": np.zeros((2, lay.LANE_COLUMNS), dtype=np.int64),
            "orders": orders,
            "recent": np.zeros((bounds.repeats_max, lay.RECENT_COLUMNS), dtype=np.int64),
            "places": np.zeros((5, 1 << (2 * most + 1).bit_length()), dtype=np.int64),
        }

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        if batch.input == REQUEST_INPUT:
            self._judge(state, batch, out)
        elif batch.input in (QUOTE_INPUT, ORDER_INPUT, FILL_INPUT):
            self._take(state, batch, out)
        else:
            self._read(state, batch, out)

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        """Nothing happens by itself."""

    def next_deadline_ns(self, state: State) -> int:
        return NEVER_NS

    def warm(self) -> None:
        """Run a few rows through every kernel."""
        rule = Risk(RiskParameters(instruments_max=2, orders_max=4, rates_max=2, repeats_max=2))
        state = rule.initial_state()
        for number, event in enumerate(self.inputs):
            rows = event.empty(2)
            rows["ts_recv_ns"] = 1
            for name, value in {
                "instrument": 1,
                "account": 1,
                "strategy": OPERATOR,
                "order_id": 1,
                "multiplier_e8": 1,
            }.items():
                if name in (event.dtype.names or ()):
                    rows[name] = value
            if event is FILL:
                rows["price_e8"], rows["quantity_e8"] = 1, 1
            rule.on_batch(state, Batch(number, Origin(), 1, rows), Outputs(self.outputs))

    # Requests.

    def _judge(self, state: State, batch: Batch, out: Outputs) -> None:
        requests = as_words(batch.rows).reshape(-1, lay.REQUEST_WORDS)
        origin, last = batch.origin, batch.row_first + len(batch.rows) - 1
        first_id = order_id_of(origin.incarnation, origin.writer, batch.row_first)
        order_id_of(origin.incarnation, origin.writer, last)  # refuses rows that have no id
        scratch = self._idle.pop() if self._idle else _Scratch()
        cursor, at, status = scratch.cursor, 0, lay.FULL
        cursor[lay.FORCED] = -1
        while status != lay.DONE:
            status = kernel.judge_requests(
                requests, batch.row_first, at, first_id, self._settings, state["meta"], state["instruments"],
                state["owners"], state["rings"], state["lanes"], state["orders"], state["places"], state["recent"],
                scratch.found, scratch.decisions, scratch.denials, cursor,
            )  # fmt: skip
            at, decisions, denials = cursor[: lay.DENIALS + 1].tolist()
            if decisions:
                out.emit(DECISION_OUTPUT, as_rows(scratch.decisions, decisions, DECISION.dtype))
            if denials:
                out.emit(DENIAL_OUTPUT, as_rows(scratch.denials, denials, DENIAL.dtype))
            if status == lay.LANE_WANTED:
                cursor[lay.FORCED] = self._welcome(state, batch, at, out)
            elif status == lay.REFRESH_WANTED:
                self._refresh(state, int(cursor[lay.LANE]))
        self._idle.append(scratch)

    def _welcome(self, state: State, batch: Batch, at: int, out: Outputs) -> int:
        """A lane for a request without one. Strangers are judged on lane 0 and leave no trace.

        Returns:
            The row when it must be judged on lane 0, else -1.
        """
        row = batch.rows[at]
        ids = int(row["instrument"]), int(row["account"]), int(row["strategy"])
        line = figures.find_instrument(state["instruments"], state["places"], ids[0])
        known = line > 0 and state["instruments"][line, lay.KNOWN] == 1
        account = _owner(state, lay.ACCOUNT_OWNER, ids[1])
        strategy = _owner(state, lay.STRATEGY_OWNER, ids[2])
        named = ids[2] == OPERATOR or (strategy > 0 and state["owners"][strategy, lay.HAS_ROW] == 1)
        full = False
        if known and account > 0 and named:
            if self._lane(state, *ids) > 0:
                return -1
            self._put_aside(batch, at, DeadReason.LIMIT, lay.NO_LINE, out)
            full = True
        lane = state["lanes"][0]
        lane[:] = 0
        lane[[lay.LANE_INSTRUMENT, lay.LANE_ACCOUNT, lay.LANE_STRATEGY]] = ids
        lane[[lay.INSTRUMENT_AT, lay.ACCOUNT_AT, lay.STRATEGY_AT]] = max(line, 0), max(account, 0), max(strategy, 0)
        if account > 0 and line > 0:
            lane[lay.PAIR_AT] = max(_owner(state, lay.PAIR_OWNER, account, int(line)), 0)
        self._refresh(state, 0)
        if full:
            lane[lay.REQUIRED_SET] = 0
        return at

    def _refresh(self, state: State, number: int) -> None:
        """Write down what holds for a lane now."""
        lane, meta, owners = state["lanes"][number], state["meta"], state["owners"]
        instrument = state["instruments"][lane[lay.INSTRUMENT_AT]]
        account, strategy = int(lane[lay.LANE_ACCOUNT]), int(lane[lay.LANE_STRATEGY])
        subjects = [0, int(instrument[lay.VENUE]), account, strategy, int(lane[lay.LANE_INSTRUMENT])]
        limits, scopes = [lay.NO_LIMIT] * lay.CHECKS, [0] * lay.CHECKS
        limits[lay.REPEAT] = 0
        best: dict[int, tuple[int, int]] = {}
        required = 0
        for scope, subject, reason, value, unit, currency in state["limits"][: meta[lay.LIMITS]].tolist():
            if subject != subjects[scope] or (unit == Unit.NOTIONAL_E8 and currency != instrument[lay.QUOTED_IN]):
                continue
            required += scope == Scope.ACCOUNT and reason in REQUIRED
            check = check_of(Reason(reason), Scope(scope))
            rank = tightest_first(Reason(reason), value, Scope(scope))
            if check >= 0 and (check not in best or rank < best[check]):
                best[check], limits[check], scopes[check] = rank, value, scope
        lane[lay.CHECK_LIMITS : lay.CHECK_LIMITS + lay.CHECKS] = limits
        lane[lay.CHECK_SCOPES : lay.CHECK_SCOPES + lay.CHECKS] = scopes
        lane[lay.REQUIRED_SET] = required
        self._refresh_kills(state, lane, subjects)
        own = owners[lane[lay.STRATEGY_AT]]
        lane[lay.FAULT : lay.FAULT_LIMIT + 1] = _strategy_fault(own.tolist(), strategy, account, subjects[4])
        lane[lay.CAPITAL_LIMIT] = own[lay.CAPITAL] if own[lay.HAS_ROW] else lay.NO_LIMIT
        lane[lay.VERSION] = meta[lay.VERSION_NOW]

    def _refresh_kills(self, state: State, lane: Words, subjects: Sequence[int]) -> None:
        meta = state["meta"]
        stopped, ids = 0, [0] * 6
        for scope, subject, kill, by_gateway in state["kills"][: meta[lay.KILLS]].tolist():
            if subject == subjects[scope]:
                at = 5 if by_gateway and scope == Scope.ACCOUNT else scope
                stopped |= 1 << (Reason.RECONCILING if at == 5 else scope)
                ids[at] = max(ids[at], kill)
        if meta[lay.KILLS_LOST]:
            stopped |= 1 << Reason.KILL_GLOBAL
            ids[0] = max(ids[0], int(meta[lay.LOST_ID]))
        lane[lay.STOPPED] = stopped
        lane[lay.KILL_IDS : lay.KILL_IDS + 6] = ids

    # Quotes, orders, fills.

    def _take(self, state: State, batch: Batch, out: Outputs) -> None:
        words = as_words(batch.rows)
        scratch = self._idle.pop() if self._idle else _Scratch()
        at, status = 0, lay.FULL
        while status != lay.DONE:
            if batch.input == QUOTE_INPUT:
                status = figures.take_quotes(
                    words, batch.row_first, at, batch.origin.partition, self._settings, state["meta"],
                    state["instruments"], state["owners"], state["lanes"], state["moves"], state["places"],
                    scratch.dead, scratch.cursor,
                )  # fmt: skip
            else:
                take = figures.take_orders if batch.input == ORDER_INPUT else figures.take_fills
                status = take(
                    words, at, state["meta"], state["instruments"], state["owners"], state["lanes"], state["orders"],
                    state["places"], scratch.dead, scratch.cursor,
                )  # fmt: skip
            at = int(scratch.cursor[lay.NEXT_ROW])
            for row, reason, fault in scratch.dead[: scratch.cursor[lay.DEAD]].tolist():
                self._put_aside(batch, row, DeadReason(reason), fault, out)
            if status in (lay.INSTRUMENT_WANTED, lay.LANE_WANTED) and not self._make_room(state, batch.rows[at]):
                self._put_aside(batch, at, DeadReason.LIMIT, lay.NO_LINE, out)
                at += 1
        self._idle.append(scratch)

    def _make_room(self, state: State, row: np.void) -> bool:
        """Lines for what a row names. An account of which a row is lost, is not to be believed any more."""
        names = row.dtype.names or ()
        if "account" not in names:
            return self._instrument(state, int(row["instrument"])) > 0
        ids = int(row["instrument"]), int(row["account"]), int(row["strategy"])
        if self._lane(state, *ids) > 0:
            return True
        account = _owner(state, lay.ACCOUNT_OWNER, ids[1])
        if account > 0:
            state["owners"][account, lay.BEYOND] = 1
        return False

    # Lines.

    def _instrument(self, state: State, instrument: int) -> int:
        """Line of an instrument, a new one if need be; 0: the bound is reached."""
        line = int(figures.find_instrument(state["instruments"], state["places"], instrument))
        if line > 0:
            return line
        line = _add_line(state, lay.INSTRUMENTS, self.parameters.instruments_max, "instruments", "moves")
        if line:
            state["instruments"][line, [lay.INSTRUMENT, lay.MULTIPLIER]] = instrument, lay.ONE_E8
            state["instruments"][line, lay.MOVE_LIMIT] = lay.NO_LIMIT
            figures.enter_instrument(state["instruments"], state["places"], line)
            self._bound_moves(state)
        return line

    def _own(self, state: State, kind: int, first: int, second: int = 0) -> int:
        """Line of an account, strategy or pair, a new one if need be; 0: the bound is reached."""
        line = _owner(state, kind, first, second)
        if line > 0:
            return line
        bounds = self.parameters
        most = {lay.ACCOUNT_OWNER: bounds.accounts_max, lay.STRATEGY_OWNER: bounds.strategies_max}
        used = int((state["owners"][: state["meta"][lay.OWNERS], lay.KIND] == kind).sum())
        if used >= most.get(kind, bounds.lanes_max):
            return 0
        line = _add_line(state, lay.OWNERS, bounds.owners_max, "owners", "rings")
        state["owners"][line, [lay.KIND, lay.ID, lay.ID_TWO]] = kind, first, second
        return line

    def _lane(self, state: State, instrument: int, account: int, strategy: int) -> int:
        """Line of a lane, a new one if need be; 0: a bound is reached."""
        found = int(figures.lane_of(state["lanes"], state["places"], instrument, account, strategy))
        if found > 0:
            return found
        if state["meta"][lay.LANES] > self.parameters.lanes_max:
            return 0
        k, own = self._instrument(state, instrument), self._own(state, lay.ACCOUNT_OWNER, account)
        its = self._own(state, lay.STRATEGY_OWNER, strategy)
        if not (k and own and its):
            return 0
        pair = self._own(state, lay.PAIR_OWNER, own, k)
        line = _add_line(state, lay.LANES, self.parameters.lanes_max, "lanes")
        lane = state["lanes"][line]
        lane[[lay.LANE_INSTRUMENT, lay.LANE_ACCOUNT, lay.LANE_STRATEGY]] = instrument, account, strategy
        lane[[lay.INSTRUMENT_AT, lay.ACCOUNT_AT, lay.STRATEGY_AT, lay.PAIR_AT]] = k, own, its, pair
        lane[lay.NEXT_LANE] = state["instruments"][k, lay.FIRST_LANE]
        state["instruments"][k, lay.FIRST_LANE] = line
        figures.enter_lane(state["lanes"], state["places"], line)
        return line

    # Rows that people write, and reference data.

    def _read(self, state: State, batch: Batch, out: Outputs) -> None:
        read = (self._read_switch, self._read_limit, self._read_strategy, self._read_instrument)[batch.input]
        for at, row in enumerate(batch.rows):
            try:
                if not 0 <= int(row["ts_recv_ns"]) < lay.TIME_MAX_NS:
                    raise _Refused(DeadReason.OUT_OF_RANGE, _FAULTS[lay.BAD_TIME])
                read(state, row, batch.heap)
            except _Refused as refused:
                out.put_aside(
                    refused.reason,
                    batch.row_first + at,
                    refused.detail,
                    ts_recv_ns=int(row["ts_recv_ns"]),
                    instrument=int(row["instrument"]) if "instrument" in (row.dtype.names or ()) else 0,
                    payload=row.tobytes(),
                )
                continue
            figures.advance(state["meta"], state["owners"], int(row["ts_recv_ns"]))
            state["meta"][lay.VERSION_NOW] += 1
        if batch.input in (LIMIT_INPUT, INSTRUMENT_INPUT):
            self._bound_moves(state)

    def _read_switch(self, state: State, row: np.void, heap: Heap) -> None:
        scope, subject, kill, on = (int(row[name]) for name in ("scope", "subject", "kill_id", "on"))
        _check_scope(scope, subject)
        if on > 1:
            raise _Refused(DeadReason.UNEXPECTED, f"a switch is on (1) or off (0), not {on}")
        meta, kills = state["meta"], state["kills"]
        used, by_gateway = int(meta[lay.KILLS]), int(_text(row, "who", heap) == GATEWAY)
        known = [line for line in range(used) if kills[line, :3].tolist() == [scope, subject, kill]]
        mine = [line for line in known if kills[line, 3] == by_gateway]
        if on and not mine:
            if used == len(kills):
                meta[lay.KILLS_LOST] += 1
                meta[lay.LOST_ID] = kill
                meta[lay.VERSION_NOW] += 1
                raise _Refused(
                    DeadReason.LIMIT,
                    f"more kills in force than kills_max = {used}: this one stops everything until it is resumed",
                )
            kills[used] = scope, subject, kill, by_gateway
            meta[lay.KILLS] += 1
        if not on:
            for line in reversed(mine if by_gateway else known):
                last = int(meta[lay.KILLS]) - 1
                kills[line] = kills[last]
                kills[last] = 0
                meta[lay.KILLS] = last
            if meta[lay.KILLS_LOST] and kill == meta[lay.LOST_ID]:
                meta[lay.KILLS_LOST] = meta[lay.LOST_ID] = 0

    def _read_limit(self, state: State, row: np.void, heap: Heap) -> None:
        scope, subject, reason, value, unit, currency, active = (
            int(row[name]) for name in ("scope", "subject", "reason", "value", "unit", "currency", "active")
        )
        _check_scope(scope, subject)
        self._check_limit(scope, reason, value, unit, currency, active)
        meta, limits = state["meta"], state["limits"]
        used = int(meta[lay.LIMITS])
        line = next((k for k in range(used) if limits[k, :3].tolist() == [scope, subject, reason]), used)
        if not active:
            if line < used:
                limits[line] = limits[used - 1]
                limits[used - 1] = 0
                meta[lay.LIMITS] -= 1
            return
        if line == len(limits):
            raise _Refused(DeadReason.LIMIT, f"more limits in force than limits_max = {used}")
        if scope == Scope.ACCOUNT:
            self._open_account(state, subject, currency)
        limits[line] = scope, subject, reason, value, unit, currency
        meta[lay.LIMITS] = max(used, line + 1)

    def _check_limit(self, scope: int, reason: int, value: int, unit: int, currency: int, active: int) -> None:
        """Raises _Refused for a limit that cannot be."""
        bound = BOUNDS.get(Reason(reason)) if reason < len(Reason) else None
        if bound is None or scope not in bound.scopes:
            raise _Refused(DeadReason.UNEXPECTED, f"no limit bounds reason {reason} for scope {scope}")
        if active > 1:
            raise _Refused(DeadReason.UNEXPECTED, f"a limit is active (1) or lifted (0), not {active}")
        if not active:
            return
        if unit != bound.unit:
            raise _Refused(
                DeadReason.UNEXPECTED,
                f"a limit of {Reason(reason).name} is in {bound.unit.name}, not in unit {unit}",
            )
        if (unit == Unit.NOTIONAL_E8) != (currency != 0):
            raise _Refused(DeadReason.UNEXPECTED, "limits of money have a currency, others have none")
        rates = (Reason.RATE_SECOND, Reason.RATE_MINUTE, Reason.CANCEL_RATE)
        most = self.parameters.rates_max - 1 if reason in rates else lay.AMOUNT_MAX
        if not bound.least <= value <= most:
            raise _Refused(
                DeadReason.OUT_OF_RANGE,
                f"a limit of {Reason(reason).name} is between {bound.least} and {most}, not {value}",
            )

    def _open_account(self, state: State, account: int, currency: int) -> None:
        line = self._own(state, lay.ACCOUNT_OWNER, account)
        if not line:
            raise _Refused(DeadReason.LIMIT, f"more accounts than accounts_max = {self.parameters.accounts_max}")
        own = state["owners"][line]
        if currency and own[lay.CURRENCY] not in (0, currency):
            raise _Refused(DeadReason.UNEXPECTED, "the account's limits of money are in another currency")
        own[lay.CURRENCY] = currency or own[lay.CURRENCY]

    def _read_strategy(self, state: State, row: np.void, heap: Heap) -> None:
        strategy, capital, enabled = (int(row[name]) for name in ("strategy", "capital_e8", "enabled"))
        if strategy == 0 or enabled > 1:
            raise _Refused(DeadReason.UNEXPECTED, f"strategy {strategy} cannot be enabled {enabled}")
        if not 0 <= capital <= lay.AMOUNT_MAX:
            raise _Refused(DeadReason.OUT_OF_RANGE, f"capital {capital} is negative or too large")
        line = self._own(state, lay.STRATEGY_OWNER, strategy)
        if not line:
            raise _Refused(DeadReason.LIMIT, f"more strategies than strategies_max = {self.parameters.strategies_max}")
        columns = [lay.HAS_ROW, lay.ENABLED, lay.CAPITAL, lay.ROW_ACCOUNT, lay.ROW_INSTRUMENT]
        state["owners"][line, columns] = 1, enabled, capital, int(row["account"]), int(row["instrument"])

    def _read_instrument(self, state: State, row: np.void, heap: Heap) -> None:
        values = {name: int(row[f"{name}_e8"]) for name in _INSTRUMENT_AMOUNTS}
        if int(row["instrument"]) == 0 or row["kind"] >= len(InstrumentKind) or row["status"] >= len(InstrumentStatus):
            raise _Refused(DeadReason.UNEXPECTED, "its id is 0, or its kind or status is unknown")
        if min(values.values()) < 0 or max(values.values()) > lay.PRICE_MAX or values["multiplier"] == 0:
            raise _Refused(DeadReason.OUT_OF_RANGE, "a step, bound or multiplier is negative, 0 or too large")
        if not 0 <= int(row["expiry_ns"]) < lay.TIME_MAX_NS:
            raise _Refused(DeadReason.OUT_OF_RANGE, "its expiry is not between 1970 and 2116")
        line = self._instrument(state, int(row["instrument"]))
        if not line:
            raise _Refused(
                DeadReason.LIMIT, f"more instruments than instruments_max = {self.parameters.instruments_max}"
            )
        own = state["instruments"][line]
        on_grid_of_minimum = row["kind"] in (InstrumentKind.PERPETUAL, InstrumentKind.FUTURE, InstrumentKind.OPTION)
        own[lay.ORIGIN] = values["price_min"] if on_grid_of_minimum else 0
        own[list(_INSTRUMENT_AMOUNTS.values())] = list(values.values())
        for step in (lay.TICK, lay.LOT):
            own[step + lay.INVERSE : step + lay.MOST + 1] = _grid(int(own[step]))
        own[[lay.KNOWN, lay.VENUE, lay.STATUS]] = 1, int(row["venue"]), int(row["status"])
        own[lay.EXPIRY_NS] = int(row["expiry_ns"])
        own[lay.QUOTED_IN], own[lay.BASE] = (
            instrument_id(_text(row, name, heap)) if row[f"{name}_size"] else 0 for name in ("quote", "base")
        )

    def _bound_moves(self, state: State) -> None:
        """Limits of BREAKER_MOVE belong to instruments: write down what holds for each."""
        meta = state["meta"]
        limits = [row for row in state["limits"][: meta[lay.LIMITS]].tolist() if row[2] == Reason.BREAKER_MOVE]
        used = state["instruments"][: meta[lay.INSTRUMENTS]]
        used[1:, lay.MOVE_LIMIT], used[1:, lay.MOVE_SCOPE] = lay.NO_LIMIT, 0
        for scope, subject, _, value, _, _ in sorted(limits):
            column = {Scope.VENUE: lay.VENUE, Scope.INSTRUMENT: lay.INSTRUMENT}.get(Scope(scope))
            hit = used[1:, lay.MOVE_LIMIT] >= value
            if column is not None:
                hit &= used[1:, column] == subject
            used[1:, lay.MOVE_LIMIT] = np.where(hit, value, used[1:, lay.MOVE_LIMIT])
            used[1:, lay.MOVE_SCOPE] = np.where(hit, scope, used[1:, lay.MOVE_SCOPE])

    def _put_aside(self, batch: Batch, at: int, reason: DeadReason, fault: int, out: Outputs) -> None:
        row, bounds = batch.rows[at], self.parameters
        names = ("instruments_max", "accounts_max", "strategies_max", "lanes_max")
        said = ", ".join(f"{name} = {getattr(bounds, name)}" for name in names)
        out.put_aside(
            reason,
            batch.row_first + at,
            _FAULTS[fault].format(orders_max=bounds.orders_max, bounds=said),
            ts_recv_ns=int(row["ts_recv_ns"]),
            instrument=int(row["instrument"]),
            payload=row.tobytes(),
        )


_INSTRUMENT_AMOUNTS: Mapping[str, int] = {
    "tick_size": lay.TICK, "lot_size": lay.LOT, "price_min": lay.PRICE_LOW, "price_max": lay.PRICE_HIGH,
    "quantity_min": lay.SIZE_LOW, "quantity_max": lay.SIZE_HIGH, "market_quantity_max": lay.MARKET_HIGH,
    "notional_min": lay.WORTH_LOW, "multiplier": lay.MULTIPLIER,
}  # fmt: skip


def _grid(step: int) -> Words:
    """Inverse, turn and most of a step (see `risk_layout.py`); of 0, everything is a multiple."""
    if step == 0:
        return np.zeros(3, dtype=np.int64)
    turn = (step & -step).bit_length() - 1
    return np.array([pow(step >> turn, -1, 1 << 64), turn, ((1 << 64) - 1) // step], dtype=np.uint64).view(np.int64)


def _check_scope(scope: int, subject: int) -> None:
    if scope >= len(Scope) or (scope == Scope.GLOBAL) != (subject == 0):
        raise _Refused(DeadReason.UNEXPECTED, f"scope {scope} with subject {subject}: only GLOBAL has subject 0")


def _text(row: np.void, name: str, heap: Heap) -> str:
    at, size = int(row[f"{name}_at"]), int(row[f"{name}_size"])
    return heap[at : at + size].tobytes().decode("utf-8", "replace")


def _owner(state: State, kind: int, first: int, second: int = 0) -> int:
    """Line of an account, strategy or pair; -1 when it has none."""
    used = state["owners"][: state["meta"][lay.OWNERS], : lay.ID_TWO + 1]
    hits = np.flatnonzero((used == (kind, first, second)).all(axis=1))
    return int(hits[0]) if len(hits) else -1


def _add_line(state: State, counter: int, most: int, *names: str) -> int:
    """One more line in arrays that grow together; 0: the bound is reached. Line 0 is not counted."""
    line = int(state["meta"][counter])
    if line > most:
        return 0
    for name in names:
        array = state[name]
        if line == len(array):
            larger = np.zeros((min(2 * line, most + 1), *array.shape[1:]), dtype=array.dtype)
            larger[:line] = array
            state[name] = larger
    state["meta"][counter] = line + 1
    return line


def _strategy_fault(own: Sequence[int], strategy: int, account: int, instrument: int) -> tuple[int, int, int]:
    """What is wrong with a strategy asking for this account and instrument: fault, and the two values compared."""
    if not own[lay.HAS_ROW]:
        return (lay.NO_FAULT, 0, 0) if strategy == OPERATOR else (lay.FAULT_STRANGER, 0, 1)
    for asked, given in ((account, own[lay.ROW_ACCOUNT]), (instrument, own[lay.ROW_INSTRUMENT])):
        if given and asked != given:
            return lay.FAULT_STRANGER, asked, given
    return (lay.NO_FAULT, 0, 0) if own[lay.ENABLED] else (lay.FAULT_DISABLED, 0, 1)


class Figures(NamedTuple):
    """What risk knows of an account (or strategy), in its quote currency."""

    gross_e8: int
    realised_e8: int
    fees_e8: int
    unrealised_e8: int
    profit_day_e8: int
    open_orders: int
    losses_in_a_row: int


class Holding(NamedTuple):
    """Signed position, and what is pending on both sides."""

    quantity_e8: int
    buying_e8: int
    selling_e8: int
    cost_e8: int


def account_figures(state: State, account: int) -> Figures:
    """Figures of an account by id; zeros for one that is unknown."""
    return _figures(state, _owner(state, lay.ACCOUNT_OWNER, account))


def strategy_figures(state: State, strategy: int) -> Figures:
    """Figures of a strategy by id; zeros for one that is unknown."""
    return _figures(state, _owner(state, lay.STRATEGY_OWNER, strategy))


def _figures(state: State, line: int) -> Figures:
    own = state["owners"][max(line, 0)].tolist()
    profit = own[lay.REALISED] - own[lay.FEES] + own[lay.UNREALISED] - own[lay.DAY_BASE]
    return Figures(
        own[lay.GROSS], own[lay.REALISED], own[lay.FEES], own[lay.UNREALISED], profit, own[lay.OPEN], own[lay.STREAK]
    )


def holding(state: State, account: int, strategy: int, instrument: int) -> Holding:
    """What a strategy of an account holds of an instrument; zeros for strangers."""
    line = int(figures.lane_of(state["lanes"], state["places"], instrument, account, strategy))
    lane = state["lanes"][line].tolist() if line > 0 else [0] * lay.LANE_COLUMNS
    return Holding(lane[lay.HELD], lane[lay.BUYING], lane[lay.SELLING], lane[lay.COST])


def open_orders(state: State) -> list[int]:
    """Ids of the orders that count as open, ascending."""
    orders = state["orders"]
    return sorted(orders[orders[:, lay.ORDER_OPEN] == 1, lay.ORDER_ID].tolist())
