"""What must hold when trading has come to rest: every row of ours against the venue, and against the rows it came from.

The rows may be a world's in memory or a session's in its folder; the venue's word is taken from inside of it, or asked
for over its REST like anybody's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from connectors.binance_usdm.private_words import STATES
from infra.up.paper import LIMITS
from schemas.declare import Rows
from schemas.events import JournalKind, Trust
from schemas.instruments import instrument_id
from schemas.trading import CommandKind, OrderState, Reason, RequestAction, client_id_of, order_id_from
from streams.api import Chunk, WriterKey
from streams.checkpoint import read_journal, split_journal
from streams.cursor import SessionReader
from streams.pipelines import pipeline
from streams.topics import topic

STALE_NS = LIMITS[Reason.STALE_INPUT]
CLOSED_UNSENT = (OrderState.REJECTED, OrderState.EXPIRED)


class TheirOrder(NamedTuple):
    """An order as the venue has it; `status` in its own words."""

    client_id: str
    status: str
    price_e8: int
    quantity_e8: int
    executed_e8: int


class TheirTrade(NamedTuple):
    """An execution as the venue has it."""

    client_id: str
    trade_id: int
    price_e8: int
    quantity_e8: int
    fee_e8: int
    maker: int


@dataclass(frozen=True)
class Truth:
    """What the venue says of the account.

    Attributes:
        orders, trades: every one that ever was.
        positions_e8: by instrument id, of everything traded.
        wallet_e8: in USDT.
    """

    orders: list[TheirOrder]
    trades: list[TheirTrade]
    positions_e8: dict[int, int]
    wallet_e8: int


class Record:
    """What we wrote."""

    def __init__(self, reader: SessionReader) -> None:
        self.reader = reader

    def chunks(self, name: str) -> Iterator[Chunk]:
        for key in self.reader.keys(topic(name).number):
            yield from self.reader.chunks(key)

    def rows(self, name: str) -> Rows:
        rows: Rows = np.concatenate([topic(name).event.empty(), *(chunk.rows for chunk in self.chunks(name))])
        return rows

    def caused(self, name: str) -> Iterator[tuple[tuple[int, int], np.void]]:
        """Rows with writer and number of the row that caused each."""
        for chunk in self.chunks(name):
            yield from (((chunk.cause.writer, int(row["cause_row"])), row) for row in chunk.rows)

    def taken(self, name: str) -> Iterator[tuple[WriterKey, int, int]]:
        """Runs of rows that task 0 of a pipeline processed, in its order, from its journal."""
        writer = pipeline(name).writer(0)
        for key in self.reader.keys(topic("sys.journal").number):
            for chunk in self.reader.chunks(key) if key.writer == writer else ():
                for rows in split_journal(chunk.rows):
                    runs = [entry for entry in read_journal(rows).entries if entry.kind is JournalKind.RUN]
                    yield from ((entry.key, entry.first, entry.last) for entry in runs)


def complaints(reader: SessionReader, truth: Truth) -> list[str]:
    """What is wrong, in words."""
    record = Record(reader)
    decisions = record.rows("risk.decision.v1")
    new = decisions[(decisions["reasons"] == 0) & (decisions["action"] == RequestAction.NEW)]
    return [
        *_of_letters(record), *_of_decisions(record), *_of_orders(record, new, truth), *_of_commands(record, new),
        *_of_fills(record, truth), *_of_positions(record, truth), *_of_money(record, truth), *_of_trust(record),
    ]  # fmt: skip


def _of_letters(record: Record) -> Iterator[str]:
    for chunk in record.chunks("sys.dead_letter.v1"):
        for row in chunk.rows:
            at = int(row["detail_at"])
            detail = chunk.heap[at : at + int(row["detail_size"])].tobytes().decode()
            yield f"dead letter of writer {chunk.key.writer}: {detail}"


def _of_decisions(record: Record) -> Iterator[str]:
    counted = Counter(cause for cause, _ in record.caused("risk.decision.v1"))
    asked = {
        (chunk.key.writer, chunk.row_first + at)
        for chunk in record.chunks("oms.order_request.v1")
        for at in range(len(chunk.rows))
    }
    yield from (f"request {one} has {counted[one]} decisions" for one in sorted(asked) if counted[one] != 1)
    yield from (f"a decision of request {one}, which nobody made" for one in sorted(counted.keys() - asked))


def _of_orders(record: Record, decisions: Rows, truth: Truth) -> Iterator[str]:
    theirs: defaultdict[str, list[TheirOrder]] = defaultdict(list)
    for order in truth.orders:
        theirs[order.client_id].append(order)
    latest = {int(row["order_id"]): row for row in record.rows("oms.order.v1")}
    approved = {int(row["order_id"]) for row in decisions}
    for order_id in sorted(approved):
        client_id = client_id_of(order_id)
        found, ours = theirs[client_id], latest.get(order_id)
        if len(found) > 1:
            yield f"order {client_id} was accepted {len(found)} times"
        elif ours is None:
            yield f"order {client_id} was approved, and there is no order row"
        elif found:
            yield from _differences(ours, found[0])
        elif OrderState(ours["state"]) not in CLOSED_UNSENT or ours["filled_e8"] or not ours["code"]:
            yield f"order {client_id} is {_words(ours)} with code {ours['code']}; the venue never had it"
    strange = [one for one, found in theirs.items() if found and order_id_from(one) not in approved]
    yield from (f"the venue has {one}, which nobody approved" for one in strange)


def _differences(ours: np.void, order: TheirOrder) -> Iterator[str]:
    state = STATES[order.status]
    same = OrderState(ours["state"]) is state and ours["filled_e8"] == order.executed_e8
    if state in (OrderState.OPEN, OrderState.PARTIALLY_FILLED):
        same = same and ours["quantity_e8"] == order.quantity_e8 and ours["price_e8"] == order.price_e8
    if not same:
        yield (
            f"order {order.client_id} is {_words(ours)}; at the venue {order.status} {order.executed_e8} of "
            f"{order.quantity_e8} at {order.price_e8}"
        )


def _words(row: np.void) -> str:
    return f"{OrderState(row['state']).name} {row['filled_e8']} of {row['quantity_e8']} at {row['price_e8']}"


def _of_commands(record: Record, decisions: Rows) -> Iterator[str]:
    """An order is sent again only while it is fresh."""
    valid_ns = {int(row["order_id"]): int(row["valid_until_ns"]) for row in decisions}
    for row in record.rows("oms.order_command.v1"):
        if row["command"] == CommandKind.SUBMIT and int(row["ts_recv_ns"]) > valid_ns.get(int(row["order_id"]), 0):
            yield f"order {client_id_of(int(row['order_id']))}: attempt {row['attempt']} was commanded too late"


def _of_fills(record: Record, truth: Truth) -> Iterator[str]:
    columns = ("trade_id", "price_e8", "quantity_e8", "fee_e8", "maker")
    counted = Counter(
        TheirTrade(client_id_of(int(row["order_id"])), *(int(row[name]) for name in columns))
        for row in record.rows("oms.fill.v1")
    )
    yield from (f"fill {one} counts {count} times" for one, count in counted.items() if count > 1)
    yield from (f"execution {one} has no fill" for one in truth.trades if one not in counted)
    yield from (f"fill {one} never was at the venue" for one in sorted(counted.keys() - set(truth.trades)))


def _of_positions(record: Record, truth: Truth) -> Iterator[str]:
    rows = record.rows("acct.position.v1")
    latest = {(int(row["strategy"]), int(row["instrument"])): int(row["quantity_e8"]) for row in rows}
    for number, theirs in truth.positions_e8.items():
        ours = sum(quantity for (_, instrument), quantity in latest.items() if instrument == number)
        if ours != theirs:
            yield f"position in instrument {number}: ours {ours}, the venue's {theirs}"


def _of_money(record: Record, truth: Truth) -> Iterator[str]:
    sums: Counter[tuple[int, int]] = Counter()
    for row in record.rows("acct.posting.v1"):
        sums[int(row["entry"]), int(row["asset"])] += int(row["amount_e8"])
    yield from (f"entry {entry} of the ledger sums to {total}" for (entry, _), total in sums.items() if total)
    balances = record.rows("acct.balance.v1")
    cash = balances[balances["asset"] == instrument_id("USDT")]
    if not len(cash):
        yield "the ledger has no balance"
    elif int(cash[-1]["amount_e8"]) != truth.wallet_e8:
        yield f"cash is {int(cash[-1]['amount_e8'])}; the venue's wallet {truth.wallet_e8}"


def _of_trust(record: Record) -> Iterator[str]:
    """No new or changed order whose decision saw, in the rows that risk had taken, a book that may not be believed."""
    quotes, requests = topic("md.quote").number, topic("oms.order_request").number
    decisions = dict(record.caused("risk.decision.v1"))
    numbers = {topic(source.topic).number for source in pipeline("risk").inputs}
    every = {
        key: np.concatenate([chunk.rows for chunk in record.reader.chunks(key)])
        for number in sorted(numbers)
        for key in record.reader.keys(number)
    }
    seen: dict[int, np.void] = {}
    now_ns = 0
    for key, first, last in record.taken("risk"):
        for number in range(first, last + 1):
            row = every[key][number - 1]
            now_ns = max(now_ns, int(row["ts_recv_ns"]))
            if key.topic == quotes:
                seen[int(row["instrument"])] = row
            elif key.topic == requests:
                yield from _distrust(decisions.get((key.writer, number)), seen, now_ns)


def _distrust(decision: np.void | None, seen: dict[int, np.void], now_ns: int) -> Iterable[str]:
    if decision is None or decision["reasons"] or decision["action"] not in (RequestAction.NEW, RequestAction.AMEND):
        return
    quote = seen.get(int(decision["instrument"]))
    name = client_id_of(int(decision["order_id"]))
    if quote is None:
        yield f"{name} was approved without any quote"
        return
    age_ns = now_ns - int(quote["ts_recv_ns"])
    if quote["trust"] != Trust.SYNCED or decision["trust"] != Trust.SYNCED:
        yield f"{name} was approved on a book that was {Trust(quote['trust']).name}"
    if age_ns > STALE_NS or decision["quote_age_ns"] != age_ns:
        yield f"{name} was approved on a quote {age_ns} ns old, said to be {decision['quote_age_ns']}"
    if any(decision[side] != quote[side] for side in ("bid_price_e8", "ask_price_e8")):
        yield f"{name} was decided on another touch than the one that was there"
