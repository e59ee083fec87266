"""A pipeline made to be tested: every kind of input, timers, two outputs, dead letters, and a state that notices
any change of order. Its rows are nonsense; its laws are those of every rule."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import numpy as np

from processors.api import NEVER_NS, Batch, Outputs, State
from schemas.declare import EMPTY_HEAP, Event, Rows
from schemas.events import BAR, BOOK_DELTA, INSTRUMENT, QUOTE, TRADE, DeadReason
from streams.api import Chunk, TopicPartition, WriterKey
from streams.partitioner import partition_of_u32
from streams.pipelines import Input, Pipeline
from streams.topics import topic

INCARNATION = 7
SECOND = 1_000_000_000
START_NS = 1_723_161_253 * SECOND
DELAY_NS = 3 * SECOND
INSTRUMENTS = tuple(range(1001, 1013))
_MASK = (1 << 61) - 1


class Mixer:
    """Trades → one quote each that carries the chain of everything seen; silence of an instrument → one bar.

    State: `chain` (one number that every row and every timer goes into), `known` instruments (from the broadcast
    input), `last` bid of the tickers (whole input), a deadline per instrument slot.
    """

    name = "test.mixer"
    version = 1
    inputs: tuple[Event, ...] = (TRADE, BOOK_DELTA, QUOTE, INSTRUMENT)
    outputs: tuple[Event, ...] = (QUOTE, BAR)
    timer_delay_min_ns = DELAY_NS

    def __init__(self, salt: int = 0) -> None:
        self.salt = salt

    def initial_state(self) -> State:
        return {
            "chain": np.array([self.salt], dtype=np.int64),
            "known": np.zeros(len(INSTRUMENTS), dtype=np.bool_),
            "last": np.zeros(1, dtype=np.int64),
            "deadline": np.full(len(INSTRUMENTS), NEVER_NS, dtype=np.int64),
        }

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        for offset in range(len(batch.rows)):
            row = batch.rows[offset]
            slot = INSTRUMENTS.index(int(row["instrument"]))
            number = batch.row_first + offset
            if batch.input == 3:
                state["known"][slot] = True
            elif batch.input == 2:
                state["last"][0] = row["bid_price_e8"]
            elif not state["known"][slot]:
                out.put_aside(DeadReason.UNKNOWN_INSTRUMENT, number, f"instrument {row['instrument']}")
                continue
            self._mix(state, batch.input, batch.origin.writer, number, int(row["ts_recv_ns"]))
            if batch.input == 0:
                state["deadline"][slot] = row["ts_recv_ns"] + DELAY_NS
                out.emit(0, self._quote(state, row, number))

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        for slot in np.argsort(state["deadline"], kind="stable"):
            deadline = int(state["deadline"][slot])
            if deadline > now_ns:
                continue
            state["deadline"][slot] = NEVER_NS
            self._mix(state, 9, int(slot), deadline)
            bar = BAR.empty(1)
            bar["ts_event_ns"] = bar["ts_recv_ns"] = deadline
            bar["instrument"] = INSTRUMENTS[int(slot)]
            bar["volume_e8"] = state["chain"][0]
            out.emit(1, bar)

    def next_deadline_ns(self, state: State) -> int:
        return int(state["deadline"].min())

    def warm(self) -> None:
        pass

    def _mix(self, state: State, *values: int) -> None:
        chain = int(state["chain"][0])
        for value in values:
            chain = (chain * 6364136223846793005 + value + 1442695040888963407) & _MASK
        state["chain"][0] = chain

    def _quote(self, state: State, trade: np.void, number: int) -> Rows:
        quote = QUOTE.empty(1)
        for name in ("ts_event_ns", "ts_recv_ns", "instrument"):
            quote[name] = trade[name]
        quote["update_id"] = trade["trade_id"]
        quote["bid_price_e8"] = state["chain"][0]
        quote["ask_price_e8"] = state["last"][0]
        quote["cause_row"] = number
        return quote


MIXER = Pipeline(
    400,
    "test_mixer",
    "test.mixer",
    (
        Input("md.trade.v1"),
        Input("md.book_delta.v1"),
        Input("md.ticker.v1", "whole"),
        Input("ref.instrument.v1", "broadcast"),
    ),
    ("md.quote.v1", "md.bar.v1"),
    "worker",
    "a pipeline made to be tested",
)


class Echo:
    """One keyed input, no timers: each trade becomes a quote that carries the chain of its instrument's trades, so that
    its content depends on nothing but its input's content."""

    name = "test.echo"
    version = 1
    inputs: tuple[Event, ...] = (TRADE,)
    outputs: tuple[Event, ...] = (QUOTE,)

    def initial_state(self) -> State:
        return {"count": np.zeros(len(INSTRUMENTS), dtype=np.int64)}

    def on_batch(self, state: State, batch: Batch, out: Outputs) -> None:
        quotes = QUOTE.empty(len(batch.rows))
        for name in ("ts_event_ns", "ts_recv_ns", "instrument"):
            quotes[name] = batch.rows[name]
        quotes["update_id"] = batch.rows["trade_id"]
        quotes["trust"] = 1
        quotes["cause_row"] = np.arange(batch.row_first, batch.row_first + len(batch.rows))
        for offset, instrument in enumerate(batch.rows["instrument"].tolist()):
            slot = INSTRUMENTS.index(instrument)
            state["count"][slot] = (int(state["count"][slot]) * 31 + int(batch.rows["trade_id"][offset]) + 1) & _MASK
            quotes["bid_price_e8"][offset] = state["count"][slot]
        out.emit(0, quotes)

    def on_time(self, state: State, now_ns: int, out: Outputs) -> None:
        pass

    def next_deadline_ns(self, state: State) -> int:
        return NEVER_NS

    def warm(self) -> None:
        pass


ECHO = Pipeline(401, "test_echo", "test.echo", (Input("md.trade.v1"),), ("md.quote.v1",), "worker", "echoes trades")


class Flow:
    """Seeded rows of the mixer's inputs, as connectors would number them, in all partitions."""

    def __init__(self, seed: int, incarnation: int = INCARNATION, writers: Sequence[int] = (640, 704)) -> None:
        self._random = random.Random(seed)
        self._writers = writers
        self._incarnation = incarnation
        self._last: dict[WriterKey, int] = {}
        self._now_ns = START_NS
        self._ids = 0

    def instruments(self, count: int = len(INSTRUMENTS)) -> list[Chunk]:
        """The broadcast rows, one frame each (a compacted topic)."""
        return [self.chunk("ref.instrument", INSTRUMENT, 640, [instrument]) for instrument in INSTRUMENTS[:count]]

    def market(self, frames: int, rows_max: int = 6) -> list[Chunk]:
        """Trades, deltas and tickers in order of receive time, some with equal times, with silences in between."""
        return [self._frame(rows_max) for _ in range(frames)]

    def trades(self, frames: int, rows_max: int = 6) -> list[Chunk]:
        """Trades alone."""
        return [self._frame(rows_max, "md.trade", TRADE) for _ in range(frames)]

    def _frame(self, rows_max: int, name: str = "", event: Event = TRADE) -> Chunk:
        if self._random.random() < 0.05:
            self._now_ns += self._random.randrange(6 * SECOND)
        if not name:
            name, event = self._random.choice(
                [("md.trade", TRADE), ("md.trade", TRADE), ("md.book_delta", BOOK_DELTA), ("md.ticker", QUOTE)]
            )
        partition = self._random.randrange(4)
        home = [one for one in INSTRUMENTS if partition_of_u32(one, 4) == partition]
        rows = [self._random.choice(home) for _ in range(self._random.randint(1, rows_max))]
        return self.chunk(name, event, self._random.choice(self._writers), rows)

    def chunk(self, name: str, event: Event, writer: int, instruments: Sequence[int]) -> Chunk:
        """The next rows of one writer."""
        target = topic(name)
        partition = partition_of_u32(instruments[0], target.partitions) if target.partitions > 1 else 0
        key = WriterKey(target.number, partition, writer, self._incarnation)
        rows = event.empty(len(instruments))
        rows["instrument"] = instruments
        for offset in range(len(rows)):
            self._now_ns += self._random.choice([0, 0, 1000, 40_000_000])
            self._ids += 1
            rows["ts_recv_ns"][offset] = self._now_ns
            if event is TRADE:
                rows["trade_id"][offset] = self._ids
            elif event is QUOTE:
                rows["bid_price_e8"][offset] = self._ids
        first = self._last.get(key, 0) + 1
        self._last[key] = first + len(rows) - 1
        return Chunk(key, first, rows, EMPTY_HEAP)


def place_of(chunk: Chunk) -> TopicPartition:
    return TopicPartition(chunk.key.topic, chunk.key.partition)


def chunks_of(chunks: Iterable[Chunk], name: str) -> list[Chunk]:
    """Those of one topic."""
    return [chunk for chunk in chunks if chunk.key.topic == topic(name).number]
