"""Rule `positions`: fills and movements of money → positions, the ledger's postings, balances.

*Cost.* A position has a quantity and a cost, both signed alike; its average price is cost ÷ quantity. A fill is worth
price × quantity × multiplier, rounded once, half to even. Opening adds that to the cost. Closing a part takes
cost × part ÷ quantity out (rounded half to even), closing all takes all: the cost of a flat position is exactly 0.
A fill that flips a position is split at zero, its worth in the same way. So after every fill
    cost − realised = bought − sold, to the last unit, whatever was rounded on the way.
*Lots.* The same fills close first-in first-out lots as well; `Position.lots` counts them and `fifo_realised_e8` is
what was realised by them. It differs from `realised_e8` (by average cost) only in when profit is realised: flat, both
are equal. At `lots_max` the newest lot takes further fills in: cost stays exact, the lot's price becomes an average.
*Account.* The venue keeps one position for all strategies of an account. So do we, beside theirs: `nets`, at average
cost. What the venue says that it realised (`Fill.realised_e8`) is what cash moves by; where it does not say, the net
position's. A word of the venue that differs from ours by more than it can have rounded since the net position was
last flat is posted as ADJUSTMENT: a fill that comes late is one, taken back when it comes; a position that was there
before the books began stays one.
*Foreign fills* (orders that nobody here asked for) are strategy 0's, so that positions sum to the venue's.
*Marks.* Long at the bid, short at the offer, of SYNCED quotes only: while a book is not trusted the last trusted price
stays. When only the mark moves, a position says so at most once in `mark_every_ns`; the last move is never left out.
*Fees* in another asset than the instrument's own (settlement, spot: quote) are in the ledger, not in `fees_e8`.
*Funding* without a strategy is shared among the account's open positions in the instrument by signed quantity; what
rounding leaves goes to the largest; with nothing open it is strategy 0's.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from processors.api import NEVER_NS, Batch, Outputs, Parameters, State
from processors.kernels import positions_layout as lay
from processors.ledger import (
    AGAINST,
    LINEAR,
    TWO_ASSETS,
    Draft,
    Ledger,
    Line,
    exchanged,
    moved,
    settled,
)
from processors.parameters import check_range, read_parameters
from processors.positions_usual import UsualRows
from processors.refused import Refused, check_times, put_aside, text_of
from processors.tables import Table
from schemas.address import NO_ORIGIN
from schemas.declare import Event
from schemas.events import INSTRUMENT, QUOTE, DeadReason, InstrumentKind, Side, Trust
from schemas.instruments import instrument_id
from schemas.money import I64_MAX, ONE_E8, format_e8
from schemas.trading import (
    ACCOUNT_UPDATE,
    BALANCE,
    FILL,
    NOT_SAID,
    POSITION,
    POSTING,
    AccountEvent,
    LedgerAccount,
)

INSTRUMENT_INPUT, QUOTE_INPUT, ACCOUNT_INPUT, FILL_INPUT = range(4)
POSITION_OUTPUT, POSTING_OUTPUT, BALANCE_OUTPUT = range(3)
HOUR_NS = 3_600_000_000_000


def _packer(event: Event) -> struct.Struct:
    """Makes a row of an output: numpy takes three times as long to make it of the same values."""
    codes = {"<i8": "q", "<u4": "I", "<u2": "H", "|u1": "B"}
    packer = struct.Struct("<" + "".join(codes[event.dtype[name].str] for name in event.dtype.names or ()))
    assert packer.size == event.dtype.itemsize
    return packer


PACKERS = tuple(_packer(event) for event in (POSITION, POSTING, BALANCE))


class _Quote(NamedTuple):
    ts_event_ns: int
    ts_recv_ns: int
    update_id: int
    bid_price_e8: int
    bid_quantity_e8: int
    ask_price_e8: int
    ask_quantity_e8: int
    cause_row: int
    instrument: int
    trust: int
    reserved_a: int
    reserved_b: int


class _Fill(NamedTuple):
    ts_event_ns: int
    ts_recv_ns: int
    order_id: int
    venue_order_id: int
    trade_id: int
    price_e8: int
    quantity_e8: int
    fee_e8: int
    cause_row: int
    instrument: int
    account: int
    strategy: int
    fee_asset: int
    side: int
    maker: int
    reserved_a: int
    reserved_b: int
    realised_e8: int


class _Filled(NamedTuple):
    """What a fill makes: the position, its lots, the account's net position, the lines of the entry."""

    position: list[int]
    lots: list[list[int]]
    net: list[int]
    lines: list[Line]


class _Update(NamedTuple):
    ts_event_ns: int
    ts_recv_ns: int
    amount_e8: int
    balance_e8: int
    venue_id: int
    cause_row: int
    instrument: int
    account: int
    strategy: int
    asset: int
    what: int
    reserved_a: int
    reserved_b: int
    reserved_c: int


assert _Quote._fields == QUOTE.dtype.names
assert _Fill._fields == FILL.dtype.names
assert _Update._fields == ACCOUNT_UPDATE.dtype.names


@dataclass(frozen=True)
class PositionsParameters:
    """Bounds and intervals.

    Attributes:
        mark_every_ns: a position whose mark moved says so at most so often; 0: at every move.
        instruments_max, accounts_max: as named.
        positions_max: (account, strategy, instrument) triples; each has 16 bytes per lot and 8 per trade id.
        balances_max: (account, asset) pairs.
        lots_max: open lots of one position that are told apart.
        trades_remembered: trade ids of one position, and movements of one balance, that are known as repeats.
    """

    mark_every_ns: int = 1_000_000_000
    instruments_max: int = 8192
    positions_max: int = 4096
    accounts_max: int = 64
    balances_max: int = 1024
    lots_max: int = 64
    trades_remembered: int = 1024

    def __post_init__(self) -> None:
        check_range("positions", "mark_every_ns", self.mark_every_ns, 0, HOUR_NS)
        for name in ("instruments_max", "positions_max", "balances_max", "trades_remembered"):
            check_range("positions", name, getattr(self, name), 1, 1 << 16)
        for name in ("accounts_max", "lots_max"):
            check_range("positions", name, getattr(self, name), 1, 1 << 12)


# --- arithmetic: whole numbers in, whole numbers out ---


def divide_half_even(numerator: int, denominator: int) -> int:
    """The quotient rounded to the nearest whole number, halves to the even one. Of any size and sign."""
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    quotient, rest = divmod(numerator, denominator)
    return quotient + (2 * rest > denominator or (2 * rest == denominator and quotient % 2 == 1))


def worth_e8(price_e8: int, quantity_e8: int, multiplier_e8: int) -> int:
    """price × quantity × multiplier with eight decimals, rounded once."""
    return divide_half_even(price_e8 * quantity_e8 * multiplier_e8, ONE_E8 * ONE_E8)


class Holding(NamedTuple):
    """A quantity and its cost, both signed alike, and what was realised on the way."""

    quantity_e8: int
    cost_e8: int
    realised_e8: int


def traded(held: Holding, quantity_e8: int, notional_e8: int) -> Holding:
    """What is held after a trade (above 0 bought); see the module's text for the rounding."""
    if held.quantity_e8 * quantity_e8 >= 0:
        return Holding(held.quantity_e8 + quantity_e8, held.cost_e8 + notional_e8, held.realised_e8)
    part = min(abs(held.quantity_e8), abs(quantity_e8))
    paid = divide_half_even(notional_e8 * part, abs(quantity_e8))
    released = divide_half_even(held.cost_e8 * part, abs(held.quantity_e8))
    return Holding(
        held.quantity_e8 + quantity_e8,
        held.cost_e8 - released + notional_e8 - paid,
        held.realised_e8 - released - paid,
    )


def traded_lots(
    lots: Sequence[list[int]], quantity_e8: int, notional_e8: int, lots_max: int
) -> tuple[list[list[int]], int]:
    """Lots (quantity, cost), oldest first, after a trade, and what it realised first-in first-out."""
    left = list(lots)  # a lot that changes is another list then
    realised = 0
    while quantity_e8 and left and left[0][0] * quantity_e8 < 0:
        part = min(abs(left[0][0]), abs(quantity_e8))
        paid = divide_half_even(notional_e8 * part, abs(quantity_e8))
        rest = traded(Holding(left[0][0], left[0][1], 0), part if quantity_e8 > 0 else -part, paid)
        realised += rest.realised_e8
        quantity_e8 -= part if quantity_e8 > 0 else -part
        notional_e8 -= paid
        if rest.quantity_e8:
            left[0] = [rest.quantity_e8, rest.cost_e8]
        else:
            del left[0]
    if quantity_e8 and len(left) == lots_max:
        left[-1] = [left[-1][0] + quantity_e8, left[-1][1] + notional_e8]
    elif quantity_e8:
        left.append([quantity_e8, notional_e8])
    return left, realised


def shared(amount_e8: int, quantities_e8: Sequence[int]) -> list[int]:
    """An amount by signed quantity, which must not sum to 0; what rounding leaves goes to the largest."""
    net = sum(quantities_e8)
    shares = [divide_half_even(amount_e8 * quantity, net) for quantity in quantities_e8]
    largest = max(range(len(shares)), key=lambda k: abs(quantities_e8[k]))
    shares[largest] += amount_e8 - sum(shares)
    return shares


def _in_range(**values: int) -> None:
    for name, value in values.items():
        if not -I64_MAX <= value <= I64_MAX:
            raise Refused(DeadReason.OUT_OF_RANGE, f"{name} would be {format_e8(value)}: out of range")


# --- the rule ---


class Positions:
    """The processor. State: tables `instruments`, `positions` (with `lots` and `trades`), `nets`, and the ledger's."""

    name = "positions"
    version = 1
    inputs: tuple[Event, ...] = (INSTRUMENT, QUOTE, ACCOUNT_UPDATE, FILL)
    outputs: tuple[Event, ...] = (POSITION, POSTING, BALANCE)

    def __init__(self, parameters: PositionsParameters | None = None) -> None:
        self.parameters = p = parameters or PositionsParameters()
        self.instruments = Table("instruments", lay.EVENT_NS + 1, 1, p.instruments_max)
        beside = {"lots": ("<i8", (p.lots_max, 2)), "trades": ("<i8", (p.trades_remembered,))}
        self.positions = Table("positions", lay.DUE_NS + 1, 3, p.positions_max, beside)
        self.nets = Table("nets", lay.NET_SLACK + 1, 2, p.positions_max)  # each of them has a position: there is room
        self.ledger = Ledger(p.balances_max, p.accounts_max, p.trades_remembered)

    @classmethod
    def make(cls, parameters: Parameters) -> Positions:
        """From parameters by name; raises ConfigInvalid."""
        return cls(read_parameters(PositionsParameters, parameters, cls.name))

    def initial_state(self) -> State:
        tables = (self.instruments, self.positions, self.nets, self.ledger)
        return {name: array for table in tables for name, array in table.arrays().items()}

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        """The usual fills and statements by a kernel, each of the other rows on its own, in order."""
        if batch.input not in (ACCOUNT_INPUT, FILL_INPUT):
            self.on_batch_plainly(state, batch, out)
            return
        usual = UsualRows(state, batch, out)
        at = usual.take(0)
        while at < len(batch.rows):
            self.on_batch_plainly(state, batch.cut(at, at + 1), out)
            at = usual.take(at + 1)

    def on_batch_plainly(self, state: State, batch: Batch, out: Outputs) -> None:
        """The same, without the kernel: what it is compared with."""
        work = _Work(self, state, out)
        take = (work.instrument, work.quote, work.account_update, work.fill)[batch.input]
        for offset, values in enumerate(batch.rows.tolist()):
            try:
                take(batch, offset, values)
            except Refused as fault:
                put_aside(batch, offset, fault, out)
        work.flush()

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        _Work(self, state, out).fire(now_ns)

    def next_deadline_ns(self, state: State) -> int:
        lines = self.positions.lines(state)
        return int(lines[:, lay.DUE_NS].min()) if len(lines) else NEVER_NS

    def warm(self) -> None:
        """Compile by doing: a row of each kind that means nothing."""
        for number in (ACCOUNT_INPUT, FILL_INPUT):
            rows = self.inputs[number].empty(1)
            UsualRows(self.initial_state(), Batch(number, NO_ORIGIN, 1, rows), Outputs(self.outputs)).take(0)


class _Work:
    """One call of the rule: what it emits, kept together, and what it looked up."""

    def __init__(self, rule: Positions, state: State, out: Outputs) -> None:
        self.rule, self.state, self.out = rule, state, out
        self._emitted: tuple[list[tuple[int, ...]], ...] = ([], [], [])
        self._due_ns = rule.next_deadline_ns(state)
        self._open: dict[int, list[int]] = {}  # instrument → lines of its open positions; fills do not look

    def flush(self) -> None:
        """Emit what was said so far."""
        for output, rows in enumerate(self._emitted):
            if rows:
                pack = PACKERS[output].pack
                packed = bytearray().join([pack(*row) for row in rows])
                self.out.emit(output, np.frombuffer(packed, dtype=self.out.events[output].dtype))
                rows.clear()

    # --- inputs ---

    def instrument(self, batch: Batch, offset: int, _: tuple[int, ...]) -> None:
        row = batch.rows[offset]
        recv_ns, multiplier, kind = int(row["ts_recv_ns"]), int(row["multiplier_e8"]), int(row["kind"])
        check_times(recv_ns)
        if multiplier <= 0 or kind >= len(InstrumentKind):
            raise Refused(
                DeadReason.OUT_OF_RANGE, f"kind {kind} is unknown, or multiplier {format_e8(multiplier)} is not above 0"
            )
        names = [text_of(batch, offset, name) for name in ("base", "quote", "settle")]
        if not all(names):
            raise Refused(DeadReason.UNPARSABLE, "the instrument has no base, quote or settlement asset")
        table, number = self.rule.instruments, int(row["instrument"])
        at = table.find(self.state, number)
        if at < 0 and not table.has_room(self.state):
            raise Refused(DeadReason.LIMIT, f"more instruments than instruments_max = {table.lines_max}")
        line = self.state["instruments"][at].tolist() if at >= 0 else [number, *[0] * lay.EVENT_NS]
        line[lay.KIND : lay.MULTIPLIER + 1] = [kind, *(instrument_id(name) for name in names), multiplier]
        for k in self._open_lines(number):
            _in_range(unrealised=_unrealised(self.state["positions"][k].tolist(), line)[1])
        self._pass(recv_ns)
        if at < 0:
            at = table.add(self.state, number)
        self.state["instruments"][at] = line

    def quote(self, batch: Batch, offset: int, values: tuple[int, ...]) -> None:
        row = _Quote._make(values)
        check_times(row.ts_event_ns, row.ts_recv_ns)
        in_range = 0 <= row.bid_price_e8 <= lay.PRICE_MAX_E8 and 0 <= row.ask_price_e8 <= lay.PRICE_MAX_E8
        if not in_range or row.trust >= len(Trust):
            raise Refused(
                DeadReason.OUT_OF_RANGE,
                f"bid {format_e8(row.bid_price_e8)} or offer {format_e8(row.ask_price_e8)} is no price, or trust "
                f"{row.trust} is unknown",
            )
        at = self.rule.instruments.find(self.state, row.instrument) if row.trust == Trust.SYNCED else -1
        if at < 0:  # not to be believed, or nobody holds any of it
            self._pass(row.ts_recv_ns)
            return
        line = self.state["instruments"][at].tolist()
        before = line[lay.BID], line[lay.ASK]
        line[lay.BID], line[lay.ASK] = row.bid_price_e8 or line[lay.BID], row.ask_price_e8 or line[lay.ASK]
        line[lay.EVENT_NS] = row.ts_event_ns
        lines = self._open_lines(row.instrument)
        marked = [k for k in lines if before[self._side(k)] != line[lay.BID + self._side(k)]]
        for k in marked:
            _in_range(unrealised=_unrealised(self.state["positions"][k].tolist(), line)[1])
        self._pass(row.ts_recv_ns)
        self.state["instruments"][at] = line
        for k in marked:
            self._remark(k, row, batch.row_first + offset)

    def account_update(self, batch: Batch, offset: int, values: tuple[int, ...]) -> None:
        row = _Update._make(values)
        if row.what >= len(AccountEvent) or not row.asset or not row.account:
            raise Refused(DeadReason.OUT_OF_RANGE, f"event {row.what} is unknown, or the account or asset is missing")
        what = AccountEvent(row.what)
        check_times(row.ts_event_ns, row.ts_recv_ns)
        _in_range(amount=row.amount_e8)
        ledger = self.rule.ledger
        if ledger.is_repeat(self.state, row.account, row.asset, what, row.venue_id):
            raise Refused(DeadReason.UNEXPECTED, f"{what.name} {row.venue_id} of this account was posted before")
        lines = moved(row.asset, AGAINST[what], row.amount_e8)
        draft = ledger.draft(self.state, row.account, lines, [row.asset])
        if what is AccountEvent.OPENING:
            if draft.balances[row.asset][lay.OPENED]:  # looked at again after a restart: a statement, no new money
                draft = ledger.draft(self.state, row.account, [], [row.asset])
            draft.balances[row.asset][lay.OPENED] = 1
        if row.balance_e8 != NOT_SAID:
            draft.balances[row.asset][lay.VENUE_SAYS] = row.balance_e8
        funded = self._funded(row) if what is AccountEvent.FUNDING and row.amount_e8 else []
        self._pass(row.ts_recv_ns)
        self._post(draft, row, batch.row_first + offset)
        ledger.remember(self.state, row.account, row.asset, what, row.venue_id)
        for strategy, funding in funded:
            at = self._position(row.account, strategy, row.instrument)
            self.state["positions"][at, lay.FUNDING] = funding
            self._say(at, row.ts_event_ns, row.ts_recv_ns, batch.row_first + offset)

    def fill(self, batch: Batch, offset: int, values: tuple[int, ...]) -> None:
        row = _Fill._make(values)
        _check_fill(row)
        table, state = self.rule.positions, self.state
        known = self.rule.instruments.find(state, row.instrument)
        instrument = state["instruments"][known].tolist() if known >= 0 else []
        _check_books(instrument, row.instrument)
        at = table.find(state, row.account, row.strategy, row.instrument)
        if at < 0 and not table.has_room(state):
            raise Refused(DeadReason.LIMIT, f"more positions than positions_max = {table.lines_max}")
        trade = row.trade_id if row.side == Side.BUY else ~row.trade_id  # one's own two sides of a trade share its id
        if at >= 0 and (state["trades"][at] == trade).any():
            raise Refused(DeadReason.UNEXPECTED, f"trade {row.trade_id} was accounted for before")
        before = state["positions"][at].tolist() if at >= 0 else [0] * (lay.DUE_NS + 1)
        lots = state["lots"][at, : before[lay.LOTS]].tolist() if at >= 0 else []
        filled = self._filled(row, instrument, before, lots)
        draft = self.rule.ledger.draft(state, row.account, filled.lines)
        self._pass(row.ts_recv_ns)
        at = self._position(row.account, row.strategy, row.instrument)
        state["trades"][at, before[lay.TRADES] % self.rule.parameters.trades_remembered] = trade
        self._keep_lots(at, lots, filled.lots)
        state["positions"][at, lay.QUANTITY : lay.TRADES + 1] = filled.position[lay.QUANTITY : lay.TRADES + 1]
        self._keep_net(filled.net)
        number = batch.row_first + offset
        self._post(draft, row, number)
        self._say(at, row.ts_event_ns, row.ts_recv_ns, number)

    # --- fills and funding ---

    def _keep_lots(self, at: int, before: list[list[int]], after: list[list[int]]) -> None:
        """Lots of a position: where nothing was closed, only the last has changed."""
        lines = self.state["lots"][at]
        if before and after and after[0] is before[0]:
            lines[len(after) - 1] = after[-1]
            return
        lines[:] = 0
        lines[: len(after)] = after or np.zeros((0, 2), dtype=np.int64)

    def _filled(self, row: _Fill, instrument: list[int], before: list[int], lots: list[list[int]]) -> _Filled:
        """What a fill makes, within bounds."""
        sign = 1 if row.side == Side.BUY else -1
        quantity = sign * row.quantity_e8
        notional = sign * worth_e8(row.price_e8, row.quantity_e8, instrument[lay.MULTIPLIER])
        held = traded(Holding(before[lay.QUANTITY], before[lay.COST], before[lay.REALISED]), quantity, notional)
        lots, realised = traded_lots(lots, quantity, notional, self.rule.parameters.lots_max)
        own_asset = instrument[lay.SETTLE] if instrument[lay.KIND] in LINEAR else instrument[lay.QUOTED_IN]
        after = list(before)
        after[lay.QUANTITY], after[lay.COST], after[lay.REALISED] = held
        after[lay.FEES] += row.fee_e8 if row.fee_asset == own_asset else 0
        after[lay.FIFO] += realised
        after[lay.LOTS], after[lay.TRADES] = len(lots), before[lay.TRADES] + 1
        _in_range(
            notional=notional, quantity=held.quantity_e8, cost=held.cost_e8, realised=held.realised_e8,
            fees=after[lay.FEES], realised_by_lots=after[lay.FIFO], unrealised=_unrealised(after, instrument)[1],
            lot=max(abs(lots[0][1]), abs(lots[-1][1])) if lots else 0,  # those between are as they were
        )  # fmt: skip
        net: list[int] = []
        lines = moved(row.fee_asset, LedgerAccount.FEES, -row.fee_e8)
        if instrument[lay.KIND] in LINEAR:
            net, booked, adjustment = self._netted(row, instrument, quantity, notional)
            lines = settled(own_asset, booked, held.realised_e8 - before[lay.REALISED], adjustment) + lines
        else:
            cost_change = held.cost_e8 - before[lay.COST]
            lines = exchanged(instrument[lay.BASE], instrument[lay.QUOTED_IN], quantity, notional, cost_change) + lines
        return _Filled(after, lots, net, lines)

    def _netted(self, row: _Fill, instrument: list[int], quantity: int, notional: int) -> tuple[list[int], int, int]:
        """The account's net position after a fill; the venue's profit, and the part of it that no rounding explains."""
        at = self.rule.nets.find(self.state, row.account, row.instrument)
        net = self.state["nets"][at].tolist() if at >= 0 else [row.account, row.instrument, 0, 0, 0, 0]
        before = Holding(*net[lay.NET_QUANTITY : lay.NET_REALISED + 1])
        after = traded(before, quantity, notional)
        _in_range(net_quantity=after.quantity_e8, net_cost=after.cost_e8, net_realised=after.realised_e8)
        profit = after.realised_e8 - before.realised_e8
        # It may also have rounded its average price, to the last place at worst.
        slack = lay.ROUNDINGS + worth_e8(1, row.quantity_e8, instrument[lay.MULTIPLIER])
        allowed = min(slack + net[lay.NET_SLACK], I64_MAX)
        goes_on = before.quantity_e8 * after.quantity_e8 >= 0
        net[lay.NET_QUANTITY :] = [*after, (allowed if goes_on else slack) if after.quantity_e8 else 0]
        booked = profit if row.realised_e8 == NOT_SAID else row.realised_e8
        return net, booked, booked - profit if abs(booked - profit) > allowed else 0

    def _keep_net(self, net: list[int]) -> None:
        if not net:
            return
        table = self.rule.nets
        at = table.find(self.state, net[lay.NET_ACCOUNT], net[lay.NET_OF])
        if at < 0:
            at = table.add(self.state, net[lay.NET_ACCOUNT], net[lay.NET_OF])
        self.state["nets"][at] = net

    def _funded(self, row: _Update) -> list[tuple[int, int]]:
        """(strategy, funding it will have) of every position that a payment concerns."""
        known = self.rule.instruments.find(self.state, row.instrument) if row.instrument else -1
        if known < 0 or int(self.state["instruments"][known, lay.SETTLE]) != row.asset:
            return []  # nobody's in particular, or not in the position's money: it is in the ledger
        lines = self.rule.positions.lines(self.state)
        ours = lines[(lines[:, lay.ACCOUNT] == row.account) & (lines[:, lay.OF] == row.instrument)]
        funding = {int(line[lay.STRATEGY]): int(line[lay.FUNDING]) for line in ours}
        held = {int(line[lay.STRATEGY]): int(line[lay.QUANTITY]) for line in ours if line[lay.QUANTITY]}
        if row.strategy or sum(held.values()) == 0:
            shares = {row.strategy: row.amount_e8}
        else:
            shares = dict(zip(held, shared(row.amount_e8, list(held.values())), strict=True))
        if not set(shares) <= set(funding) and not self.rule.positions.has_room(self.state):
            raise Refused(DeadReason.LIMIT, f"more positions than positions_max = {self.rule.positions.lines_max}")
        funded = [(strategy, funding.get(strategy, 0) + share) for strategy, share in shares.items()]
        for _, value in funded:
            _in_range(funding=value)
        return funded

    def _position(self, account: int, strategy: int, instrument: int) -> int:
        """Line of a position; a new one where there is none."""
        table = self.rule.positions
        at = table.find(self.state, account, strategy, instrument)
        if at < 0:
            at = table.add(self.state, account, strategy, instrument)
            self.state["positions"][at, lay.DUE_NS] = NEVER_NS
        return at

    # --- marks ---

    def _open_lines(self, instrument: int) -> list[int]:
        if instrument not in self._open:
            lines = self.rule.positions.lines(self.state)
            hit = (lines[:, lay.OF] == instrument) & (lines[:, lay.QUANTITY] != 0)
            self._open[instrument] = [int(k) for k in np.flatnonzero(hit)]
        return self._open[instrument]

    def _side(self, at: int) -> int:
        """0 for the bid, 1 for the offer: where it would be closed."""
        return int(self.state["positions"][at, lay.QUANTITY] < 0)

    def _remark(self, at: int, row: _Quote, number: int) -> None:
        """The mark moved: say so, or see to it that it will be said."""
        position = self.state["positions"][at]
        next_ns = int(position[lay.SAID_NS]) + self.rule.parameters.mark_every_ns
        if row.ts_recv_ns >= next_ns:
            self._say(at, row.ts_event_ns, row.ts_recv_ns, number)
        elif int(position[lay.DUE_NS]) == NEVER_NS:
            position[lay.DUE_NS] = next_ns
            self._due_ns = min(self._due_ns, next_ns)

    def _pass(self, recv_ns: int) -> None:
        """A row that will be taken arrived: what was due by then comes first."""
        if recv_ns >= self._due_ns:
            self.flush()
            self.fire(recv_ns)

    def fire(self, now_ns: int) -> None:
        """Say every mark that is due, oldest first. Such rows have no cause."""
        lines = self.rule.positions.lines(self.state)
        due = np.flatnonzero(lines[:, lay.DUE_NS] <= now_ns)
        for at in due[np.argsort(lines[due, lay.DUE_NS], kind="stable")].tolist():
            known = self.rule.instruments.find(self.state, int(lines[at, lay.OF]))
            self._say(at, int(self.state["instruments"][known, lay.EVENT_NS]), int(lines[at, lay.DUE_NS]), 0)
        origin, self.out.origin = self.out.origin, NO_ORIGIN
        self.flush()
        self.out.origin = origin
        self._due_ns = self.rule.next_deadline_ns(self.state)

    # --- words ---

    def _say(self, at: int, event_ns: int, recv_ns: int, number: int) -> None:
        """A position as it stands."""
        self.state["positions"][at, lay.SAID_NS], self.state["positions"][at, lay.DUE_NS] = recv_ns, NEVER_NS
        line = self.state["positions"][at].tolist()
        known = self.rule.instruments.find(self.state, line[lay.OF])
        mark, unrealised = _unrealised(line, self.state["instruments"][known].tolist())
        self._emitted[POSITION_OUTPUT].append(
            (event_ns, recv_ns, *line[lay.QUANTITY : lay.FUNDING + 1], mark, unrealised, number, line[lay.OF],
             line[lay.ACCOUNT], line[lay.STRATEGY], line[lay.LOTS])
        )  # fmt: skip

    def _post(self, draft: Draft, row: _Fill | _Update, number: int) -> None:
        """Bring an entry into the state and say its lines and the balances that it touched."""
        self.rule.ledger.post(self.state, draft)
        for line, balance, entry in draft.posted:
            self._emitted[POSTING_OUTPUT].append(
                (row.ts_event_ns, row.ts_recv_ns, line.amount_e8, balance, entry, number, row.instrument, row.account,
                 row.strategy, line.asset, int(line.ledger), 0, 0, 0)
            )  # fmt: skip
        for asset, values in draft.balances.items():
            self._emitted[BALANCE_OUTPUT].append(
                (row.ts_event_ns, row.ts_recv_ns, values[lay.BALANCE_OF + LedgerAccount.CASH],
                 values[lay.VENUE_SAYS], number, row.account, asset)
            )  # fmt: skip


def _unrealised(position: list[int], instrument: list[int]) -> tuple[int, int]:
    """(mark, profit if closed there); (0, 0) when flat or before any trusted quote."""
    quantity = position[lay.QUANTITY]
    mark = instrument[lay.BID] if quantity > 0 else instrument[lay.ASK] if quantity < 0 else 0
    return mark, worth_e8(mark, quantity, instrument[lay.MULTIPLIER]) - position[lay.COST] if mark else 0


def _check_fill(row: _Fill) -> None:
    """Raises Refused for what no fill has."""
    if row.side >= len(Side) or not row.account or (row.fee_e8 and not row.fee_asset):
        raise Refused(DeadReason.OUT_OF_RANGE, f"side {row.side} is unknown, or the account or fee asset is missing")
    check_times(row.ts_event_ns, row.ts_recv_ns)
    if row.trade_id <= 0:
        raise Refused(DeadReason.OUT_OF_RANGE, f"trade id {row.trade_id} is not above 0")
    if not 0 < row.price_e8 <= lay.PRICE_MAX_E8 or row.quantity_e8 <= 0 or abs(row.fee_e8) > I64_MAX:
        raise Refused(
            DeadReason.OUT_OF_RANGE,
            f"{format_e8(row.quantity_e8)} at {format_e8(row.price_e8)} for {format_e8(row.fee_e8)} is no fill",
        )


def _check_books(instrument: list[int], number: int) -> None:
    """Raises Refused for an instrument that we cannot keep books of."""
    if not instrument:
        raise Refused(DeadReason.UNKNOWN_INSTRUMENT, f"instrument {number} is not known: no asset, no multiplier")
    kind = InstrumentKind(instrument[lay.KIND])
    if kind not in LINEAR and kind not in TWO_ASSETS:
        raise Refused(DeadReason.UNEXPECTED, f"no books are kept of a trade in an instrument of kind {kind.name}")
    if kind in LINEAR and instrument[lay.SETTLE] != instrument[lay.QUOTED_IN]:
        raise Refused(DeadReason.UNEXPECTED, "an inverse contract (settled in another asset than it is quoted in)")
