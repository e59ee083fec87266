"""What the simulated venue writes as JSON at once equals its documents; its margin check equals the exact sums."""

from __future__ import annotations

from functools import cache

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.simulator import private_documents, private_order_documents
from connectors.simulator.listing import E8, Listed
from connectors.simulator.matching import Prevention
from connectors.simulator.private_account import Account, OpenNotional, Position
from connectors.simulator.private_config import AccountConfig, PrivateRules
from connectors.simulator.private_orders import Status, Sums, Trade, VenueOrder
from connectors.simulator.rest import Refused
from schemas.events import Side
from tests.private_market import BTC, NOW_MS, Trading
from tests.reference import venue_documents as plain

LISTED = (BTC, Listed("DOGEUSDT", 1_000, E8, 5, 0), Listed('币"\\USDT', 10, 1, 7, 8))
AMOUNTS = st.integers(-(10**16), 10**16)
SIDES, SIZES = st.sampled_from(Side), st.integers(0, 10**16)


@st.composite
def trades(draw: st.DrawFn) -> Trade:
    """A trade of an order in any state."""
    listed = draw(st.sampled_from(LISTED))
    lots = st.integers(0, 10**7).map(lambda lots: lots * listed.lot_e8)
    prices = st.integers(0, 10**7).map(lambda ticks: ticks * listed.tick_e8)
    order = VenueOrder(
        draw(st.integers(1, 10**12)), 1, listed, draw(st.from_regex(r"[\.A-Z\:/a-z0-9_-]{1,36}", fullmatch=True)),
        draw(SIDES), draw(st.sampled_from(("LIMIT", "MARKET"))), draw(st.sampled_from(("GTC", "GTD", "FOK"))),
        draw(prices), draw(lots), draw(st.integers(0, 10**13)), Sums(0, 0, draw(SIZES), draw(SIZES)),
        draw(st.booleans()), draw(st.sampled_from(Prevention)), draw(st.integers(0, 10**13)),
        draw(st.sampled_from(("", "STOP"))), draw(prices), draw(st.sampled_from(Status)), draw(lots), draw(SIZES),
    )  # fmt: skip
    if draw(st.booleans()):
        order.change(draw(prices), draw(lots))
    return Trade(order, draw(SIZES), draw(prices), draw(lots), draw(AMOUNTS), draw(AMOUNTS), draw(st.booleans()), 7)


@given(trades(), st.integers(0, 10**13), st.integers(0, 5))
def test_orders_are_written_as_their_documents(trade: Trade, now_ms: int, reason: int) -> None:
    order = trade.order
    for name in ("acceptance", "acknowledgement", "order_document"):
        assert orjson.dumps(getattr(private_order_documents, name)(order)) == orjson.dumps(getattr(plain, name)(order))
    for event, document in (
        (private_order_documents.order_update(order, "EXPIRED", now_ms, reason),
         plain.order_update(order, "EXPIRED", now_ms, None, reason)),
        (private_order_documents.trade_update(trade, "TRADE", now_ms),
         plain.order_update(order, "TRADE", now_ms, trade, 0)),
        (private_order_documents.trade_lite(trade, now_ms), plain.trade_lite(trade, now_ms)),
    ):  # fmt: skip
        assert event == (document["e"], orjson.dumps(document))


@given(st.dictionaries(st.sampled_from([row.symbol for row in LISTED]), st.tuples(AMOUNTS, AMOUNTS, SIZES)), AMOUNTS)
def test_account_is_written_as_its_document(held: dict[str, tuple[int, int, int]], wallet_e8: int) -> None:
    account = Account(1, AccountConfig(asset='U"SD'), PrivateRules())
    account.wallet_e8 = wallet_e8
    account.positions = {name: Position(amount, cost, cost) for name, (amount, cost, _) in held.items()}
    marks = {name: mark for name, (_, _, mark) in held.items()}
    told = private_documents.account_update(account, "ORDER", NOW_MS, marks, wallet_e8)
    assert told.body == orjson.dumps(plain.account_update(account, "ORDER", NOW_MS, marks, wallet_e8))
    assert told.name == "ACCOUNT_UPDATE"


@cache
def trading() -> Trading:
    return Trading()


NOTIONALS = st.integers(0, 3_000_000 * E8)


@settings(deadline=None)  # the first call loads the book's kernels
@given(st.integers(-30 * E8, 30 * E8), NOTIONALS, NOTIONALS, NOTIONALS, SIDES, st.integers(1, 125), st.data())
def test_margin_is_refused_when_the_exact_sums_say_so(
    amount_e8: int, bids_e8: int, asks_e8: int, added_e8: int, side: Side, leverage: int, data: st.DataObject
) -> None:
    desk, account = trading().desk, trading().account()
    account.leverages["BTCUSDT"] = leverage
    account.positions["BTCUSDT"] = Position(amount_e8, data.draw(st.integers(-(10**13), 10**13)))
    mark_e8 = desk.mark_e8("BTCUSDT")
    after = OpenNotional(bids_e8 + added_e8 * (side is Side.BUY), asks_e8 + added_e8 * (side is Side.SELL))
    before, then = (account.margin("BTCUSDT", mark_e8, open_) for open_ in (OpenNotional(bids_e8, asks_e8), after))
    # Right at the edge, too: with the last unit it is accepted, without it refused.
    account.wallet_e8 = then.initial_e8 - then.unrealised_e8 + data.draw(st.sampled_from((-(10**10), -1, 0, 1, 10**10)))
    refuses = then.initial_e8 > before.initial_e8 and account.available_e8(account.total({"BTCUSDT": then})) < 0
    code = 0
    try:
        desk._check_margin(account, BTC, side, added_e8, Sums(0, 0, bids_e8, asks_e8), mark_e8)
    except Refused as refused:
        code = refused.code
    assert code == (-2019 if refuses else 0)
