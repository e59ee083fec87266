"""Orders by hand: refused before anything is written where the rules would refuse, and followed to their outcome."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.by_hand import OPERATOR_WRITER, Outcome, _Heard, amount, check
from infra.config import Config
from infra.sessions import store
from infra.sessions.store import Session
from infra.steering import OPERATOR, Wanted, ask
from schemas.address import Origin
from schemas.declare import EMPTY_HEAP, Event
from schemas.errors import ConfigInvalid
from schemas.events import INSTRUMENT, InstrumentStatus, Side
from schemas.frame import encode
from schemas.instruments import Venue, instrument_id
from schemas.trading import (
    DECISION,
    DENIAL,
    ORDER,
    OrderFlag,
    OrderKind,
    OrderState,
    Reason,
    RequestAction,
    TimeInForce,
    Unit,
)
from streams.api import Chunk, WriterKey
from streams.clock import SYSTEM_CLOCK
from streams.log import LogReader, LogWriter
from streams.topics import topic

ONE = 10**8
BTC = "binance_usdm:BTCUSDT"
NEW = Wanted(BTC, RequestAction.NEW, 7, Side.BUY, ONE // 100, 60_000 * ONE)


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """One whose log lists BTCUSDT (steps 0.1 and 0.001) and ETHUSDT, which does not trade."""
    config = Config(data=tmp_path / "data", cache=tmp_path / "cache")
    made = store.create(config, {"broker": "none"}, SYSTEM_CLOCK, "mine", None)
    rows = INSTRUMENT.empty(2)
    rows["venue"], rows["tick_size_e8"], rows["lot_size_e8"] = Venue.BINANCE_USDM, ONE // 10, ONE // 1000
    rows["instrument"] = [instrument_id(BTC), instrument_id("binance_usdm:ETHUSDT")]
    rows["status"] = [InstrumentStatus.TRADING, InstrumentStatus.HALTED]
    rows["price_min_e8"], rows["price_max_e8"] = ONE, 1_000_000 * ONE
    rows["quantity_min_e8"], rows["quantity_max_e8"], rows["market_quantity_max_e8"] = ONE // 1000, 100 * ONE, 10 * ONE
    rows["symbol_at"], rows["symbol_size"] = [0, 7], 7
    row = topic("ref.instrument.v1")
    with_names = np.frombuffer(b"BTCUSDTETHUSDT", dtype=np.uint8)
    log = LogWriter(made.log, WriterKey(row.number, 0, 64, made.incarnation))
    log.append(encode(INSTRUMENT, 64, made.incarnation, 1, Origin(1, 0, 1, 1), rows, with_names), 1, 2, 1)
    log.close()
    return made


def test_what_the_rules_allow_passes(session: Session) -> None:
    check(session, NEW)
    check(session, Wanted(BTC, RequestAction.NEW, 7, Side.SELL, 10 * ONE, 0, 61_000 * ONE))


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted("binance_usdm:NOSUCH", RequestAction.NEW, 7), "knows no instrument binance_usdm:NOSUCH"),
        (Wanted("binance_usdm:ETHUSDT", RequestAction.NEW, 7, Side.BUY, ONE), "status is HALTED"),
        (Wanted(BTC, RequestAction.NEW, 7, Side.BUY, 0, ONE), "needs a quantity above 0"),
        (Wanted(BTC, RequestAction.NEW, 7, Side.BUY, 150_000), "between steps of 0.001: say 0.001 or 0.002"),
        (Wanted(BTC, RequestAction.NEW, 7, Side.BUY, ONE, 60_000 * ONE + 5), "say 60000 or 60000.1"),
        (Wanted(BTC, RequestAction.NEW, 7, Side.BUY, ONE, 2_000_000 * ONE), "price of 2000000 is out of range"),
        (Wanted(BTC, RequestAction.NEW, 7, Side.BUY, 11 * ONE), "from 0.001 to 10"),
        (Wanted(BTC, RequestAction.NEW, 7, Side.BUY, ONE, flags=OrderFlag.POST_ONLY), "post-only rests"),
        (
            Wanted(BTC, RequestAction.NEW, 7, Side.BUY, ONE, ONE, time_in_force=TimeInForce.GTD),
            "GTD and --until belong together",
        ),
    ],
)
def test_what_the_rules_refuse_is_said(session: Session, wanted: Wanted, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        check(session, wanted)


def test_amounts_are_decimals_above_zero() -> None:
    assert (amount("price", "61.5"), amount("price", "")) == (6_150_000_000, 0)
    for text in ("0", "-1"):
        with pytest.raises(ConfigInvalid, match="above 0"):
            amount("price", text)


@pytest.mark.parametrize(
    ("price", "stop", "kind"),
    [(0, 0, OrderKind.MARKET), (1, 0, OrderKind.LIMIT), (0, 1, OrderKind.STOP), (1, 1, OrderKind.STOP_LIMIT)],
)
def test_kind_follows_from_the_prices(price: int, stop: int, kind: OrderKind) -> None:
    assert Wanted(BTC, RequestAction.NEW, 7, price_e8=price, stop_price_e8=stop).kind is kind


def test_request_is_written_as_it_was_asked(session: Session) -> None:
    number = ask(session, "binance_usdm:paper", NEW)
    key = WriterKey(topic("oms.order_request.v1").number, 0, OPERATOR_WRITER, session.incarnation)
    reader = LogReader(session.log, key)
    assert (number, reader.last_row) == (1, 1)
    reader.close()


def rows(event: Event, cause: int, **values: Any) -> Chunk:
    """One row that the request in row 5 of the operator (`cause` 0), or the decision in row `cause`, caused."""
    made = event.empty(1)
    for name, value in {"strategy": instrument_id(OPERATOR), "cause_row": cause or 5, **values}.items():
        made[name] = value
    where = topic("risk.decision.v1").number if cause else topic("oms.order_request.v1").number
    writer = 33 * 64 if cause else OPERATOR_WRITER
    return Chunk(WriterKey(1, 0, 1, 1), 40, made, EMPTY_HEAP, Origin(where, 0, writer, 1))


def test_order_is_followed_from_its_decision_to_what_the_venue_said() -> None:
    heard = _Heard(5)
    heard.take("risk.decision.v1", rows(DECISION, 0, order_id=9))  # row 40
    assert not heard.is_enough
    heard.take("oms.order.v1", rows(ORDER, 40, order_id=9, state=OrderState.PENDING_SUBMIT))
    assert not heard.is_enough
    heard.take("oms.order.v1", rows(ORDER, 77, order_id=9, state=OrderState.OPEN))
    assert (heard.is_enough, heard.outcome) == (True, Outcome(9, OrderState.OPEN, ()))


def test_what_an_order_was_before_an_amend_is_not_its_outcome() -> None:
    heard = _Heard(5)
    heard.take("oms.order.v1", rows(ORDER, 12, order_id=9, state=OrderState.OPEN))
    heard.take("risk.decision.v1", rows(DECISION, 0, order_id=9))
    assert (heard.is_enough, heard.outcome.state) == (False, None)


def test_denial_is_enough_when_all_its_reasons_are_there() -> None:
    heard = _Heard(5)
    both = 1 << Reason.KILL_GLOBAL | 1 << Reason.ORDER_NOTIONAL
    heard.take("risk.denial.v1", rows(DENIAL, 0, reason=Reason.KILL_GLOBAL))
    heard.take("risk.decision.v1", rows(DECISION, 0, order_id=9, reasons=both))
    assert not heard.is_enough
    numbers = {"unit": Unit.NOTIONAL_E8, "value": 6 * ONE, "limit": 5 * ONE}
    heard.take("risk.denial.v1", rows(DENIAL, 0, reason=Reason.ORDER_NOTIONAL, **numbers))
    assert heard.is_enough
    assert heard.outcome.denials == ("KILL_GLOBAL", "ORDER_NOTIONAL: 6 against a limit of 5 (notional)")
