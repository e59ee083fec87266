"""How trading stands in a running session: strategies, positions, orders, fills, denials, and how long each hop takes.

Gathered from the topics, row by row, as any dashboard would.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from infra.limits import in_unit
from infra.sessions.rows_text import text
from schemas.declare import Rows
from schemas.events import Hop, Side
from schemas.instruments import instrument_id
from schemas.money import format_e8
from schemas.trading import TERMINAL_STATES, OrderState, Reason, Unit
from streams.api import Chunk
from streams.latency import Histogram
from streams.pipelines import PIPELINES, TASKS_MAX

TRADING_TOPICS = (
    "ref.strategy.v1", "oms.order.v1", "oms.fill.v1", "risk.denial.v1", "acct.position.v1", "sys.latency.v1",
)  # fmt: skip
OPERATOR = "operator"
SHOWN_HOP = Hop.RECV_TO_OUTPUT
PIPELINE_OF = {row.number: row.name for row in PIPELINES}
PLACES = 2  # of money on the screen; the rows have all eight


@dataclass
class StrategyNow:
    """One strategy, or the people at the command line.

    Attributes:
        held: by instrument: quantity, mark price, realised, unrealised, fees, funding, all × 10^8.
        open_orders: ids of orders that are not over.
        last_fill: in words.
        denials: how often each reason was given.
        last_denial: the last reason with the numbers that were compared.
    """

    name: str
    enabled: bool = True
    held: dict[int, tuple[int, int, int, int, int, int]] = field(default_factory=dict)
    open_orders: set[int] = field(default_factory=set)
    fills: int = 0
    last_fill: str = ""
    denials: Counter[str] = field(default_factory=Counter)
    last_denial: str = ""

    @property
    def profit_e8(self) -> int:
        """Realised and unrealised, less fees, with funding."""
        return sum(realised + open_ - fees + funding for _, _, realised, open_, fees, funding in self.held.values())


@dataclass
class TradingNow:
    """All of it.

    Attributes:
        strategies: by strategy id.
        hops: how long after a market frame was received each pipeline had its output, by pipeline; since the start.
    """

    strategies: dict[int, StrategyNow] = field(default_factory=dict)
    hops: dict[str, Histogram] = field(default_factory=dict)

    def strategy(self, number: int) -> StrategyNow:
        unnamed = OPERATOR if number == instrument_id(OPERATOR) else str(number)
        return self.strategies.setdefault(number, StrategyNow(unnamed))

    @property
    def fills(self) -> int:
        return sum(one.fills for one in self.strategies.values())

    def take(self, name: str, chunk: Chunk, instrument_name: Callable[[int], str]) -> None:
        """Rows of one of `TRADING_TOPICS`."""
        if name == "ref.strategy.v1":
            for index, row in enumerate(chunk.rows):
                found = self.strategy(int(row["strategy"]))
                found.name, found.enabled = text(chunk.rows, chunk.heap, "name", index), bool(row["enabled"])
        elif name == "oms.order.v1":
            self._orders(chunk.rows)
        elif name == "oms.fill.v1":
            self._fills(chunk.rows, instrument_name)
        elif name == "risk.denial.v1":
            self._denials(chunk.rows)
        elif name == "acct.position.v1":
            self._positions(chunk.rows)
        elif name == "sys.latency.v1":
            self._latencies(chunk.rows)

    def _orders(self, rows: Rows) -> None:
        for row in rows:
            orders = self.strategy(int(row["strategy"])).open_orders
            over = OrderState(int(row["state"])) in TERMINAL_STATES
            (orders.discard if over else orders.add)(int(row["order_id"]))

    def _fills(self, rows: Rows, instrument_name: Callable[[int], str]) -> None:
        for row in rows:
            found = self.strategy(int(row["strategy"]))
            found.fills += 1
            side = Side(int(row["side"])).name.lower()
            quantity, price = format_e8(int(row["quantity_e8"])), format_e8(int(row["price_e8"]))
            found.last_fill = f"{side} {quantity} {instrument_name(int(row['instrument']))} at {price}"

    def _denials(self, rows: Rows) -> None:
        for row in rows:
            found = self.strategy(int(row["strategy"]))
            reason = Reason(int(row["reason"])).name
            found.denials[reason] += 1
            found.last_denial = f"{reason}{_compared(row)}"

    def _positions(self, rows: Rows) -> None:
        for row in rows:
            columns = ("quantity_e8", "mark_price_e8", "realised_e8", "unrealised_e8", "fees_e8", "funding_e8")
            quantity, mark, realised, unrealised, fees, funding = (int(row[column]) for column in columns)
            held = self.strategy(int(row["strategy"])).held
            held[int(row["instrument"])] = (quantity, mark, realised, unrealised, fees, funding)

    def _latencies(self, rows: Rows) -> None:
        for row in rows[rows["hop"] == SHOWN_HOP]:
            name = PIPELINE_OF.get(int(row["writer"]) // TASKS_MAX)
            if name is not None:
                found = self.hops.setdefault(name, Histogram())
                found.buckets = [a + int(b) for a, b in zip(found.buckets, row["bucket"], strict=True)]
                found.count += int(row["count"])
                found.sum_ns += int(row["sum_ns"])
                found.max_ns = max(found.max_ns, int(row["max_ns"]))


def _compared(row: np.void) -> str:
    """` 25000 > 20000`, where numbers were compared."""
    unit = Unit(int(row["unit"]))
    if unit is Unit.NONE:
        return ""
    return " " + " against ".join(in_unit(unit, int(row[name])) for name in ("value", "limit"))


def money(value_e8: int) -> str:
    """For the screen: with a sign, to the cent."""
    return f"{value_e8 / 1e8:+,.{PLACES}f}"
