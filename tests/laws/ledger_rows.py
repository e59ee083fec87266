"""What the rule `positions` reads: fills, funding, transfers, quotes, with everything that may go wrong mixed in."""

from __future__ import annotations

from hypothesis import strategies as st

from processors.positions import ACCOUNT_INPUT, FILL_INPUT, INSTRUMENT_INPUT, QUOTE_INPUT, Positions
from schemas.events import InstrumentKind, Trust
from schemas.instruments import instrument_id as asset
from schemas.trading import NOT_SAID, AccountEvent
from tests.laws.inputs import Given, joined
from tests.laws.stream import Stream

START_NS = 1_700_000_000_000_000_000
ONE = 10**8
PERPETUAL, DELIVERY, SPOT = 11, 12, 13  # an account has the number of the instrument that it trades
INSTRUMENTS = (PERPETUAL, DELIVERY, SPOT)
STRATEGIES = (5, 6)
USDT, BTC, BNB = "USDT", "BTC", "BNB"
_KINDS = {
    PERPETUAL: InstrumentKind.PERPETUAL,
    DELIVERY: InstrumentKind.FUTURE,
    SPOT: InstrumentKind.SPOT,
}
_MULTIPLIERS = {PERPETUAL: ONE, DELIVERY: 3 * ONE // 10, SPOT: ONE}
_steps_ns = st.sampled_from([0, 1, 40_000_000, 300_000_000, 999_999_999, 1_000_000_000, 7_000_000_000, -5])
_quantities = st.one_of(st.integers(1, 9), st.integers(1, 5 * ONE), st.sampled_from([ONE, 2 * ONE, 3 * ONE]))
_prices = st.one_of(st.integers(99 * ONE, 101 * ONE), st.sampled_from([1, 7, 100 * ONE, 60_000 * ONE]))
_amounts = st.integers(-50 * ONE, 50 * ONE)
_said = st.one_of(st.just(NOT_SAID), st.integers(-9, 9))
_booked = st.one_of(st.just(NOT_SAID), st.just(0), st.integers(-3, 3), _amounts)


def instrument(number: int, time_ns: int = START_NS) -> Given:
    """What an instrument is."""
    values: dict[str, int | str] = {
        "ts_recv_ns": time_ns, "instrument": number, "kind": int(_KINDS[number]), "base": BTC, "quote": USDT,
        "settle": USDT, "multiplier_e8": _MULTIPLIERS[number], "tick_size_e8": 1, "lot_size_e8": 1, "symbol": "X",
    }  # fmt: skip
    return Given(INSTRUMENT_INPUT, values, number)


@st.composite
def some(draw: st.DrawFn, number: int, time_ns: int, trade_id: int) -> Given:
    """One row about an account and its instrument."""
    common = {"ts_event_ns": time_ns - 3, "ts_recv_ns": time_ns, "instrument": number}
    kind = draw(st.sampled_from(["fill"] * 6 + ["quote"] * 5 + ["update"] * 2))
    if kind == "quote":
        bid = draw(_prices)
        trust = draw(st.sampled_from([Trust.SYNCED] * 6 + [Trust.GAP, Trust.STALE]))
        one = draw(st.sampled_from([1, 1, 1, 1, 0]))  # a side is empty now and then
        return Given(
            QUOTE_INPUT,
            common | {"bid_price_e8": bid, "ask_price_e8": (bid + 5) * one, "trust": int(trust)},
            number,
        )
    if kind == "update":
        what = draw(st.sampled_from(list(AccountEvent)))
        values = common | {
            "account": number, "what": int(what), "amount_e8": draw(_amounts), "venue_id": draw(st.integers(0, 4)),
            "asset": asset(draw(st.sampled_from([USDT, USDT, BNB]))), "balance_e8": draw(_said),
            "strategy": draw(st.sampled_from([0, 0, 0, *STRATEGIES])),
        }  # fmt: skip
        return Given(ACCOUNT_INPUT, values, number)
    values = common | {
        "account": number, "strategy": draw(st.sampled_from(STRATEGIES)), "side": draw(st.integers(0, 1)),
        "price_e8": draw(_prices), "quantity_e8": draw(_quantities),
        "trade_id": draw(st.sampled_from([trade_id] * 9 + [max(trade_id - 1, 1)])),
        "fee_e8": draw(st.integers(-3, ONE)), "fee_asset": asset(draw(st.sampled_from([USDT, USDT, BTC, BNB]))),
        "realised_e8": draw(_booked),
    }  # fmt: skip
    return Given(FILL_INPUT, values, number)


@st.composite
def givens(draw: st.DrawFn, rows_max: int = 40, numbers: tuple[int, ...] = INSTRUMENTS) -> list[Given]:
    """A session: the instruments, then what happens; some rows are no rows."""
    found, now_ns = [instrument(number) for number in numbers], START_NS
    for trade_id in range(1, draw(st.integers(1, rows_max)) + 1):
        now_ns += draw(_steps_ns)
        given = draw(some(draw(st.sampled_from(numbers)), now_ns, trade_id))
        if draw(st.integers(0, 14)) == 0:
            given = given._replace(values={**given.values, **draw(_faults(given.input))})
        found.append(given)
    return found


def _faults(number: int) -> st.SearchStrategy[dict[str, int]]:
    faults: dict[int, list[dict[str, int]]] = {
        QUOTE_INPUT: [{"trust": 6}, {"bid_price_e8": -1}, {"ask_price_e8": (1 << 62) + 1}, {"ts_event_ns": -1}],
        ACCOUNT_INPUT: [{"what": 4}, {"asset": 0}, {"account": 0}, {"amount_e8": -(1 << 63)}, {"ts_recv_ns": -1}],
        FILL_INPUT: [
            {"side": 2}, {"account": 0}, {"price_e8": 0}, {"quantity_e8": 0}, {"trade_id": 0}, {"ts_event_ns": -1},
            {"price_e8": 1 << 62, "quantity_e8": 1 << 62}, {"fee_e8": 5, "fee_asset": 0}, {"fee_e8": -(1 << 63)},
        ],
    }  # fmt: skip
    return st.sampled_from(faults[number])


def streams() -> st.SearchStrategy[Stream]:
    return givens().map(lambda given: joined(Positions.inputs, given))


def invalid() -> st.SearchStrategy[Stream]:
    """Rows that no state of the rule can take."""

    def one(draw_from: tuple[int, dict[str, int]]) -> Stream:
        number, fault = draw_from
        common: dict[str, int | str] = {"ts_recv_ns": START_NS, "instrument": PERPETUAL}
        common |= {"ts_event_ns": START_NS} if number != INSTRUMENT_INPUT else {}
        common |= {"account": PERPETUAL} if number in (ACCOUNT_INPUT, FILL_INPUT) else {}
        if number == ACCOUNT_INPUT:
            common |= {"asset": 1, "amount_e8": 5}
        if number == FILL_INPUT:
            common |= {"trade_id": 1 << 40, "price_e8": 5, "quantity_e8": 5}
        return joined(Positions.inputs, [Given(number, common | fault, PERPETUAL)])

    faults = [st.tuples(st.just(number), _faults(number)) for number in (QUOTE_INPUT, ACCOUNT_INPUT, FILL_INPUT)]
    unknown = st.just((FILL_INPUT, {"instrument": 99}))
    return st.one_of(*faults, unknown, st.just((INSTRUMENT_INPUT, {"instrument": 7}))).map(one)
