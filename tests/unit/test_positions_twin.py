"""The kernel of the rule `positions` against its plain half: the same rows give the same bytes and the same state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.api import Batch, Outputs, State
from processors.positions import ACCOUNT_INPUT, FILL_INPUT, QUOTE_INPUT, Positions, PositionsParameters
from schemas.instruments import instrument_id
from schemas.trading import NOT_SAID, AccountEvent
from tests.laws.inputs import Given, filled
from tests.laws.ledger_rows import DELIVERY, ONE, PERPETUAL, START_NS, givens, instrument
from tests.laws.stream import ORIGIN, answer_of, state_bytes

SMALL = PositionsParameters(lots_max=2, trades_remembered=4, mark_every_ns=300_000_000)
USDT = instrument_id("USDT")
FAR = 1 << 60  # the kernel leaves amounts beyond it to the plain half


class Both:
    """The rule with its kernel and without, fed the same."""

    def __init__(self, parameters: PositionsParameters | None = None) -> None:
        self.rules = (Positions(parameters), Positions(parameters))
        self.states: list[State] = [rule.initial_state() for rule in self.rules]
        self.outs = [Outputs(rule.outputs, ORIGIN) for rule in self.rules]
        self.plainly, plain = 0, self.rules[0].on_batch_plainly

        def counted(state: State, batch: Batch, out: Outputs) -> None:
            self.plainly += len(batch.rows)
            plain(state, batch, out)

        self.rules[0].on_batch_plainly = counted  # type: ignore[method-assign]

    def give(self, some: Sequence[Given]) -> None:
        """One batch of one input."""
        number = some[0].input
        parts = [filled(self.rules[0].inputs[number], one.values) for one in some]
        rows, texts = np.concatenate([row for row, _ in parts]), b""
        for k, (_, text) in enumerate(parts):
            for column in self.rules[0].inputs[number].heap_fields:
                rows[f"{column.name}_at"][k] += len(texts)
            texts += text
        batch = Batch(number, ORIGIN, self.row, rows, np.frombuffer(texts, dtype=np.uint8))
        self.rules[0].on_batch(self.states[0], batch, self.outs[0])
        self.rules[1].on_batch_plainly(self.states[1], batch, self.outs[1])
        self.row += len(some)

    row = 1

    def check(self) -> None:
        one, two = (answer_of(rule, out) for rule, out in zip(self.rules, self.outs, strict=True))
        assert one == two
        assert state_bytes(self.states[0]) == state_bytes(self.states[1])


def play(some: Sequence[Given], both: Both, longest: int = 1 << 20) -> Both:
    """In runs of one input, each cut to a length."""
    for _, run in itertools.groupby(some, key=lambda one: one.input):
        whole = list(run)
        for start in range(0, len(whole), longest):
            both.give(whole[start : start + longest])
    both.check()
    return both


def seeded(seed: int, count: int = 400) -> list[Given]:
    """Fills and statements as a venue makes them: two strategies in one account, flips, fees, odd profits, repeats."""
    chance = np.random.default_rng(seed)
    some, now_ns, trade = [instrument(PERPETUAL), instrument(DELIVERY)], START_NS, 1
    common: dict[str, Any] = {"account": PERPETUAL, "instrument": PERPETUAL}
    for k in range(count):
        now_ns += int(chance.integers(1_000_000))
        times = {"ts_event_ns": now_ns - 3, "ts_recv_ns": now_ns}
        what = int(chance.integers(100)) if k > 4 else 50
        if what < 4:
            bid = int(chance.integers(90, 110)) * ONE
            quote = {"bid_price_e8": bid, "ask_price_e8": bid + ONE, "trust": 0, "instrument": PERPETUAL}
            some.append(Given(QUOTE_INPUT, times | quote, 0))
        elif what < 40:
            event = AccountEvent.ADJUSTMENT if what > 6 else AccountEvent.FUNDING
            said = {"what": int(event), "asset": USDT, "amount_e8": 0 if what > 7 else 5,
                    "balance_e8": int(chance.choice([NOT_SAID, 10**12]))}  # fmt: skip
            some.append(Given(ACCOUNT_INPUT, common | times | said, 0))
        else:
            trade += int(what > 42)
            filled_now = {
                "strategy": int(chance.integers(5, 7)), "side": int(chance.integers(2)), "trade_id": trade,
                "price_e8": int(chance.integers(90 * ONE, 110 * ONE)), "quantity_e8": int(chance.integers(1, 3 * ONE)),
                "fee_asset": USDT, "fee_e8": int(chance.integers(-5, ONE)) * int(chance.integers(2)),
                "realised_e8": int(chance.choice([NOT_SAID, NOT_SAID, 0, int(chance.integers(-ONE, ONE))])),
            }  # fmt: skip
            some.append(Given(FILL_INPUT, common | times | filled_now, 0))
    return sorted(some, key=lambda one: one.input) if seed % 2 else some


@settings(max_examples=150, deadline=None)
@given(givens(), st.sampled_from([None, SMALL]), st.sampled_from([1, 2, 50]))
def test_kernel_makes_what_the_plain_half_makes(
    some: list[Given], parameters: PositionsParameters | None, longest: int
) -> None:
    play(some, Both(parameters), longest)


@pytest.mark.parametrize("seed", range(6))
def test_usual_days_are_alike_and_the_kernel_takes_nearly_all_of_them(seed: int) -> None:
    some = seeded(seed)
    both = play(some, Both(SMALL if seed % 3 else None), 64)
    ours = sum(one.input in (FILL_INPUT, ACCOUNT_INPUT) for one in some)
    assert both.plainly - (len(some) - ours) < ours / 3  # the first of each kind, repeats, funding, due marks


@pytest.mark.parametrize("at", [FAR - 1, FAR, FAR + 1, (1 << 61) - 1, (1 << 62), (1 << 63) - 1])
@pytest.mark.parametrize("column", ["quantity_e8", "price_e8", "fee_e8", "realised_e8", "trade_id", "ts_recv_ns"])
def test_amounts_at_the_ends_of_their_range_are_alike(column: str, at: int) -> None:
    both = Both()
    some = seeded(2, 30)
    last = next(one for one in reversed(some) if one.input == FILL_INPUT)
    odd = last._replace(values={**last.values, "trade_id": 10**6, column: at})
    play([*some, odd, last._replace(values={**last.values, "trade_id": 10**6 + 1})], both)


@pytest.mark.parametrize("sides", ["0000", "0101", "0011", "1100", "0110"])
def test_lots_and_flips_through_zero_are_alike(sides: str) -> None:
    both = Both(SMALL)
    some = [instrument(PERPETUAL)]
    for trade, (side, quantity) in enumerate(itertools.product(sides, (1, 3, 7, 7)), 1):
        values: dict[str, int | str] = {
            "account": 1, "instrument": PERPETUAL, "strategy": 5, "side": int(side), "trade_id": trade,
            "price_e8": 100 * ONE + trade, "quantity_e8": quantity, "realised_e8": NOT_SAID, "ts_recv_ns": START_NS,
            "fee_e8": 1, "fee_asset": USDT,
        }  # fmt: skip
        some.append(Given(FILL_INPUT, values, 0))
    assert play(some, both).plainly == 2  # the instrument and the first fill, which makes the lines
