"""The usual fills and statements of balances → positions, postings, balances: many rows in one call.

Usual is a fill of a linear contract with multiplier 1, its fee in the contract's own money, of an account, strategy,
instrument and balance that have their lines already, with amounts far from the ends of their range; and a statement of
a balance that moves nothing. What these mean is said in `processors/positions.py`, which takes every other row: the
first one that is not usual ends the call, and has changed nothing.
"""

from __future__ import annotations

import numpy as np

from processors.kernels import positions_layout as lay
from processors.kernels.compiling import inlined, kernel, part
from processors.kernels.money import multiply_e8
from processors.kernels.risk_figures import share
from schemas.events import InstrumentKind, Side
from schemas.trading import NOT_SAID, AccountEvent, LedgerAccount

_FAR = 1 << 60  # sums of four amounts within it still fit int64
_ONE_E8 = 100_000_000
_BUY = int(Side.BUY)
_SELL = int(Side.SELL)
_PERPETUAL = int(InstrumentKind.PERPETUAL)
_FUTURE = int(InstrumentKind.FUTURE)
_ADJUSTED = int(AccountEvent.ADJUSTMENT)
_CASH = int(LedgerAccount.CASH)
_REALISED_LEDGER = int(LedgerAccount.REALISED)
_CLEARING = int(LedgerAccount.CLEARING)
_ADJUSTMENT = int(LedgerAccount.ADJUSTMENT)
_FEES_LEDGER = int(LedgerAccount.FEES)
_NOT_SAID = int(NOT_SAID)
_HALF = 0xFFFFFFFF


@inlined
def _near(value):  # type: ignore[no-untyped-def]
    """Whether an amount is far from the ends of its range."""
    return -_FAR < value < _FAR


@part
def _line_of(lines, used, first, second, third, keys):  # type: ignore[no-untyped-def]
    """The line of a key of `keys` columns; -1 without."""
    for at in range(used):
        if lines[at, 0] == first and (keys < 2 or lines[at, 1] == second) and (keys < 3 or lines[at, 2] == third):
            return at
    return -1


@part
def _is_fill(row):  # type: ignore[no-untyped-def]
    """Whether the row has what every fill has."""
    return (
        row[11] & 0xFF <= _SELL
        and row[9] >> 32 != 0
        and (row[7] == 0 or (row[10] >> 32) & _HALF != 0)
        and 0 <= row[0] <= lay.TIME_MAX_NS
        and 0 <= row[1] <= lay.TIME_MAX_NS
        and row[4] > 0
        and 0 < row[5] <= lay.PRICE_MAX_E8
        and 0 < row[6] < _FAR
        and _near(row[7])
        and (row[12] == _NOT_SAID or _near(row[12]))
    )


@part
def _is_ours(instrument, row):  # type: ignore[no-untyped-def]
    """Whether the contract is linear, with multiplier 1, and the fee in its money."""
    return (
        (instrument[lay.KIND] == _PERPETUAL or instrument[lay.KIND] == _FUTURE)
        and instrument[lay.SETTLE] == instrument[lay.QUOTED_IN]
        and instrument[lay.MULTIPLIER] == _ONE_E8
        and (row[7] == 0 or (row[10] >> 32) & _HALF == instrument[lay.SETTLE])
    )


@part
def _is_repeat(trades, trade):  # type: ignore[no-untyped-def]
    for known in trades:  # noqa: SIM110 (compiled)
        if known == trade:
            return True
    return False


@part
def _are_near(position, net, balance, lots):  # type: ignore[no-untyped-def]
    """Whether every amount that the fill may change is far from the ends of its range."""
    near = _near(position[lay.QUANTITY]) and _near(position[lay.COST]) and _near(position[lay.REALISED])
    near = near and _near(position[lay.FEES]) and _near(position[lay.FIFO])
    near = near and _near(net[lay.NET_QUANTITY]) and _near(net[lay.NET_COST]) and _near(net[lay.NET_REALISED])
    near = near and _near(net[lay.NET_SLACK])
    for column in range(lay.BALANCE_OF, lay.VENUE_SAYS):
        near = near and _near(balance[column])
    for k in range(position[lay.LOTS]):
        near = near and _near(lots[k, 1])
    return near


@part
def _traded(said, held, cost, quantity, notional, at):  # type: ignore[no-untyped-def]
    """`traded`: quantity, cost and profit after a trade into said[at … at + 2]."""
    if (held >= 0) == (quantity >= 0) or held == 0:
        said[at] = held + quantity
        said[at + 1] = cost + notional
        said[at + 2] = 0
        return
    some = min(abs(held), abs(quantity))
    paid = share(notional, some, abs(quantity))
    released = share(cost, some, abs(held))
    said[at] = held + quantity
    said[at + 1] = cost - released + notional - paid
    said[at + 2] = -released - paid


@part
def _judge(row, position, net, instrument, said):  # type: ignore[no-untyped-def]
    """What a fill makes of the position and the account's net position, into `said`; False when it is too much."""
    sign = 1 if row[11] & 0xFF == _BUY else -1
    worth = multiply_e8(row[5], row[6])
    slack = multiply_e8(np.int64(1), row[6])
    if not _near(worth):
        return False
    quantity, notional = sign * row[6], sign * worth
    said[lay.QUANTITY_NOW], said[lay.NOTIONAL], said[lay.FEE] = quantity, notional, row[7]
    _traded(said, position[lay.QUANTITY], position[lay.COST], quantity, notional, lay.HELD)
    _traded(said, net[lay.NET_QUANTITY], net[lay.NET_COST], quantity, notional, lay.NET_HELD)
    said[lay.BOOKED] = said[lay.PROFIT] if row[12] == _NOT_SAID else row[12]
    said[lay.SLACK] = lay.ROUNDINGS + slack
    held = said[lay.HELD]
    mark = instrument[lay.BID] if held > 0 else instrument[lay.ASK]
    return held == 0 or _near(multiply_e8(mark, held))


@part
def _close_lots(position, lots, quantity, notional):  # type: ignore[no-untyped-def]
    """`traded_lots` in place; returns what it realised first-in first-out."""
    count, first, realised = position[lay.LOTS], 0, np.int64(0)
    while quantity != 0 and first < count and (lots[first, 0] > 0) != (quantity > 0):
        held, cost = lots[first, 0], lots[first, 1]
        some = min(abs(held), abs(quantity))
        paid = share(notional, some, abs(quantity))
        released = share(cost, some, abs(held))
        realised -= released + paid
        signed = some if quantity > 0 else -some
        quantity -= signed
        notional -= paid
        lots[first, 0] = held + signed
        lots[first, 1] = cost - released
        if lots[first, 0] == 0:
            first += 1
    if first != 0:
        for k in range(first, count):
            lots[k - first, 0], lots[k - first, 1] = lots[k, 0], lots[k, 1]
        for k in range(count - first, count):
            lots[k, 0], lots[k, 1] = 0, 0
        count -= first
    if quantity != 0 and count == len(lots):
        lots[count - 1, 0] += quantity
        lots[count - 1, 1] += notional
    elif quantity != 0:
        lots[count, 0], lots[count, 1] = quantity, notional
        count += 1
    position[lay.LOTS] = count
    return realised


@part
def _post(ledger, amount, row, number, asset, entry, balance, postings, counts):  # type: ignore[no-untyped-def]
    """One line of the entry; none for 0."""
    if amount == 0:
        return
    balance[lay.BALANCE_OF + ledger] += amount
    posting = postings[counts[lay.POSTING_ROWS]]
    counts[lay.POSTING_ROWS] += 1
    posting[0], posting[1] = row[0], row[1]
    posting[2] = amount
    posting[3] = balance[lay.BALANCE_OF + ledger]
    posting[4] = entry
    posting[5] = number
    posting[6] = row[9]
    posting[7] = (row[10] & _HALF) | (asset << 32)
    posting[8] = ledger


@part
def _settle(said, net, row, number, asset, account, balance, postings, counts):  # type: ignore[no-untyped-def]
    """The entry of a fill: profit as the venue booked it, the part of it that no rounding explains, the fee."""
    before, after = net[lay.NET_QUANTITY], said[lay.NET_HELD]
    allowed = said[lay.SLACK] + net[lay.NET_SLACK]
    goes_on = (before >= 0 and after >= 0) or (before <= 0 and after <= 0)
    odd = said[lay.BOOKED] - said[lay.PROFIT]
    adjusted = odd if abs(odd) > allowed else np.int64(0)
    net[lay.NET_SLACK] = (allowed if goes_on else said[lay.SLACK]) if after != 0 else 0
    own, booked, fee = said[lay.OWN_PROFIT], said[lay.BOOKED], said[lay.FEE]
    entry, first = account[lay.ENTRIES] + 1, counts[lay.POSTING_ROWS]
    _post(_CASH, booked, row, number, asset, entry, balance, postings, counts)
    _post(_REALISED_LEDGER, -own, row, number, asset, entry, balance, postings, counts)
    _post(_CLEARING, own + adjusted - booked, row, number, asset, entry, balance, postings, counts)
    _post(_ADJUSTMENT, -adjusted, row, number, asset, entry, balance, postings, counts)
    _post(_CASH, -fee, row, number, asset, entry, balance, postings, counts)
    _post(_FEES_LEDGER, fee, row, number, asset, entry, balance, postings, counts)
    if counts[lay.POSTING_ROWS] != first:
        account[lay.ENTRIES] = entry
        return True
    return False


@part
def _say_balance(row, number, owner, asset, balance, balances_out, counts):  # type: ignore[no-untyped-def]
    out = balances_out[counts[lay.BALANCE_ROWS]]
    counts[lay.BALANCE_ROWS] += 1
    out[0], out[1] = row[0], row[1]
    out[2] = balance[lay.BALANCE_OF + _CASH]
    out[3] = balance[lay.VENUE_SAYS]
    out[4] = number
    out[5] = owner | (asset << 32)


@part
def _say_position(row, number, position, instrument, positions_out, counts):  # type: ignore[no-untyped-def]
    held = position[lay.QUANTITY]
    mark = instrument[lay.BID] if held > 0 else instrument[lay.ASK] if held < 0 else np.int64(0)
    out = positions_out[counts[lay.POSITION_ROWS]]
    counts[lay.POSITION_ROWS] += 1
    out[0], out[1] = row[0], row[1]
    for k in range(5):  # quantity … funding
        out[2 + k] = position[lay.QUANTITY + k]
    out[7] = mark
    out[8] = multiply_e8(mark, held) - position[lay.COST] if mark != 0 else 0
    out[9] = number
    out[10] = row[9]
    out[11] = (row[10] & _HALF) | (position[lay.LOTS] << 32)
    position[lay.SAID_NS] = row[1]
    position[lay.DUE_NS] = lay.NEVER_NS


@part
def _keep(said, row, trades, position, lots, net):  # type: ignore[no-untyped-def]
    """The position and the net position after a fill."""
    trades[position[lay.TRADES] % len(trades)] = row[4] if row[11] & 0xFF == _BUY else ~row[4]
    position[lay.TRADES] += 1
    position[lay.FIFO] += _close_lots(position, lots, said[lay.QUANTITY_NOW], said[lay.NOTIONAL])
    position[lay.QUANTITY], position[lay.COST] = said[lay.HELD], said[lay.HELD_COST]
    position[lay.REALISED] += said[lay.OWN_PROFIT]
    position[lay.FEES] += said[lay.FEE]
    net[lay.NET_QUANTITY], net[lay.NET_COST] = said[lay.NET_HELD], said[lay.NET_PAID]
    net[lay.NET_REALISED] += said[lay.PROFIT]


@part
def _take_fill(  # type: ignore[no-untyped-def]
    row, number, instruments, positions, trades, lots, nets, balances, accounts, used, said, positions_out, postings,
    balances_out, counts,
):  # fmt: skip
    """Whether it was a usual one; it is taken then."""
    if not _is_fill(row):
        return False
    owner, strategy, of = (row[9] >> 32) & _HALF, row[10] & _HALF, row[9] & _HALF
    k = _line_of(instruments, used[0], of, 0, 0, 1)
    if k < 0 or not _is_ours(instruments[k], row):
        return False
    asset = instruments[k, lay.SETTLE]
    at, n = _line_of(positions, used[1], owner, strategy, of, 3), _line_of(nets, used[2], owner, of, 0, 2)
    b, a = _line_of(balances, used[3], owner, asset, 0, 2), _line_of(accounts, used[4], owner, 0, 0, 1)
    if at < 0 or n < 0 or b < 0 or a < 0:
        return False
    if _is_repeat(trades[at], row[4] if row[11] & 0xFF == _BUY else ~row[4]):
        return False
    if not _are_near(positions[at], nets[n], balances[b], lots[at]):
        return False
    if not _judge(row, positions[at], nets[n], instruments[k], said):
        return False
    if _settle(said, nets[n], row, number, asset, accounts[a], balances[b], postings, counts):
        _say_balance(row, number, owner, asset, balances[b], balances_out, counts)
    _keep(said, row, trades[at], positions[at], lots[at], nets[n])
    _say_position(row, number, positions[at], instruments[k], positions_out, counts)
    return True


@part
def _take_statement(row, number, balances, accounts, used, balances_out, counts):  # type: ignore[no-untyped-def]
    """Whether it was a statement of a known balance that moves nothing; it is taken then."""
    owner, asset = (row[6] >> 32) & _HALF, (row[7] >> 32) & _HALF
    if row[8] & 0xFF != _ADJUSTED or row[2] != 0 or row[4] != 0 or owner == 0 or asset == 0:
        return False
    if not (0 <= row[0] <= lay.TIME_MAX_NS and 0 <= row[1] <= lay.TIME_MAX_NS):
        return False
    b, a = _line_of(balances, used[3], owner, asset, 0, 2), _line_of(accounts, used[4], owner, 0, 0, 1)
    if b < 0 or a < 0:
        return False
    if row[3] != _NOT_SAID:
        balances[b, lay.VENUE_SAYS] = row[3]
    _say_balance(row, number, owner, asset, balances[b], balances_out, counts)
    return True


@kernel
def take_usual(  # type: ignore[no-untyped-def]
    rows, start, row_first, are_fills, instruments, positions, trades, lots, nets, balances, accounts, used, said,
    positions_out, postings, balances_out, counts,
):  # fmt: skip
    """Take rows from number `start` on.

    Args:
        rows: int64[rows, FILL_WORDS], or UPDATE_WORDS unless `are_fills`; `row_first` is the number of the first.
        instruments … accounts: the rule's tables; `used`: int64[5], how many of their lines are.
        said: int64[SAID], scratch.
        positions_out, postings, balances_out: int64[capacity, words of a row], written from the beginning; room for
            one, POSTINGS_MAX and one for each row.
        counts: int64[COUNTS], how many were written.

    Returns:
        The first row that is not a usual one, or before which a mark is due; len(rows) when there is none.
    """
    due_ns = np.int64(lay.NEVER_NS)
    for at in range(used[1]):
        due_ns = min(due_ns, positions[at, lay.DUE_NS])
    for i in range(start, len(rows)):
        if rows[i, 1] >= due_ns:
            return i
        if are_fills:
            taken = _take_fill(
                rows[i], row_first + i, instruments, positions, trades, lots, nets, balances, accounts, used, said,
                positions_out, postings, balances_out, counts,
            )  # fmt: skip
        else:
            taken = _take_statement(rows[i], row_first + i, balances, accounts, used, balances_out, counts)
        if not taken:
            return i
    return len(rows)
