"""Private frames of Binance USD-M futures for the laws: attempts, answers, silence, the user stream, money, junk."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from connectors.binance_usdm.private_words import NOT_SENT, PRIVATE_CONNECTION, STREAM_CONNECTION
from connectors.capabilities import EVERY_EPOCH
from schemas.events import FrameKind
from schemas.instruments import Venue
from schemas.trading import client_id_of
from tests.laws.frames import SYMBOLS, to_stream
from tests.laws.stream import Stream

T = 1_723_161_256_000
Row = tuple[FrameKind, int, str, str, str, int, int]  # kind, epoch, payload, request, symbol, connection, status

_amounts = st.sampled_from(["0", "1", "0.25", "61800.12345678", "100"])
_positive = st.sampled_from(["1", "0.25", "61800.12345678"])
_methods = st.sampled_from(["POST", "POST", "PUT", "DELETE", "GET"])
_errors = st.sampled_from([(400, -2013), (400, -2019), (400, -1007), (503, -1000), (429, -1003), (400, -2011)])


def _compact(document: object) -> str:
    """As the venue writes it."""
    return json.dumps(document, separators=(",", ":"))


def _number(symbol: str, draw: st.DrawFn) -> int:
    """Orders of a symbol have ids of their own."""
    return 10 * SYMBOLS.index(symbol) + draw(st.integers(1, 3))


def _client(number: int, draw: st.DrawFn) -> str:
    return draw(st.sampled_from([client_id_of(number)] * 4 + [f"web_{number}"]))


def _rest(draw: st.DrawFn, symbol: str) -> Row:
    number, method = _number(symbol, draw), draw(_methods)
    client, kind = client_id_of(number), draw(st.sampled_from(["sent", "sent", "done", "error", "silence"]))
    request = f"{method} /fapi/v1/order {client}"
    if kind == "sent":
        name = "newClientOrderId" if method == "POST" else "origClientOrderId"
        sent_ms = T + draw(st.integers(0, 20_000))
        line = f"{method} /fapi/v1/order?symbol={symbol}&side=SELL&{name}={client}&recvWindow=5000&timestamp={sent_ms}"
        return FrameKind.SENT, 1, line, request, symbol, PRIVATE_CONNECTION, 0
    if kind == "silence":
        status = draw(st.sampled_from([0, NOT_SENT]))
        return FrameKind.NO_ANSWER, 1, "ReadTimeout", request, symbol, PRIVATE_CONNECTION, status
    if kind == "error":
        status, code = draw(_errors)
        body = json.dumps({"code": code, "msg": "no"})
        return FrameKind.REST, 1, body, request, symbol, PRIVATE_CONNECTION, status
    body = _compact(_order(draw, symbol, number, client))
    return FrameKind.REST, 1, body, request, symbol, PRIVATE_CONNECTION, 200


def _order(draw: st.DrawFn, symbol: str, number: int, client: str) -> dict[str, Any]:
    state = draw(st.sampled_from(["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED"]))
    return {
        "clientOrderId": client, "orderId": 500 + number, "symbol": symbol, "side": "SELL", "status": state,
        "price": draw(_amounts), "origQty": draw(_amounts), "executedQty": draw(_amounts), "updateTime": T,
    }  # fmt: skip


def _list(draw: st.DrawFn, symbol: str) -> Row:
    number = _number(symbol, draw)
    if draw(st.booleans()):
        listed = [_order(draw, symbol, number, _client(number, draw))]
        return FrameKind.REST, 1, json.dumps(listed), "GET /fapi/v1/openOrders", symbol, PRIVATE_CONNECTION, 200
    trade = {
        "symbol": symbol, "id": draw(st.integers(1, 5)), "orderId": 500 + number, "side": "SELL",
        "price": draw(_positive), "qty": draw(_positive), "commission": "0.1", "commissionAsset": "USDT",
        "maker": True, "time": T,
    }  # fmt: skip
    body = json.dumps([trade] * draw(st.integers(0, 2)))
    return FrameKind.REST, 1, body, f"GET /fapi/v1/userTrades {symbol}", symbol, PRIVATE_CONNECTION, 200


def _stream(draw: st.DrawFn, symbol: str) -> Row:
    number = _number(symbol, draw)
    if draw(st.integers(0, 3)) == 0:
        order = {
            "caid": _client(number, draw), "aid": 700 + number, "s": symbol, "S": "BUY", "q": "1", "p": "0", "rm": "",
            "X": draw(st.sampled_from(["NEW", "TRIGGERING", "TRIGGERED", "FINISHED", "CANCELED", "REJECTED"])),
            "ai": draw(st.sampled_from(["", str(500 + number)])),
        }  # fmt: skip
        event: dict[str, Any] = {"e": "ALGO_UPDATE", "T": T, "o": order}
    else:
        order = {
            "s": symbol, "c": _client(number, draw), "S": "BUY", "q": "1", "p": "0.5", "i": 500 + number, "T": T,
            "x": draw(st.sampled_from(["NEW", "TRADE", "TRADE", "CANCELED", "EXPIRED", "AMENDMENT"])), "X": "NEW",
            "l": draw(_positive), "L": draw(_positive), "z": draw(_amounts), "t": draw(st.integers(1, 5)), "m": False,
            "n": "0.5", "N": "USDT", "rp": draw(st.sampled_from(["0", "-0.25"])), "er": "2",
        }  # fmt: skip
        event = {"e": "ORDER_TRADE_UPDATE", "T": T, "o": order}
    return FrameKind.TEXT, 1, _compact(event), "", symbol, STREAM_CONNECTION, 0


def _common(draw: st.DrawFn) -> Row:
    """What concerns all instruments."""
    kind = draw(st.sampled_from(["start", "balance", "money", "money", "funding", "ignored", "nonsense", "market"]))
    if kind == "start":
        return FrameKind.CLOSE, EVERY_EPOCH, "start", "", "", PRIVATE_CONNECTION, 0
    if kind == "balance":
        body = json.dumps([{"asset": "USDT", "balance": draw(_amounts), "updateTime": T + draw(st.integers(0, 3))}])
        return FrameKind.REST, 1, body, "GET /fapi/v3/balance", "", PRIVATE_CONNECTION, 200
    if kind == "funding":
        paid = {"incomeType": "FUNDING_FEE", "symbol": "BTCUSDT", "asset": "USDT", "income": draw(_amounts)}
        body = json.dumps([paid | {"time": T + draw(st.integers(0, 5))} for _ in range(draw(st.integers(0, 2)))])
        return FrameKind.REST, 1, body, "GET /fapi/v1/income", "", PRIVATE_CONNECTION, 200
    if kind == "money":
        item = {"a": draw(st.sampled_from(["USDT", "BNB"])), "wb": draw(_amounts), "bc": draw(_amounts)}
        reason = draw(st.sampled_from(["FUNDING_FEE", "DEPOSIT", "ORDER", "ADJUSTMENT"]))
        event = {"e": "ACCOUNT_UPDATE", "T": T + draw(st.integers(0, 5)), "a": {"m": reason, "B": [item], "P": []}}
        return FrameKind.TEXT, 1, _compact(event), "", "", STREAM_CONNECTION, 0
    if kind == "market":
        return FrameKind.TEXT, 1, "?", "", "", 0, 0
    payload = '{"e":"TRADE_LITE"}' if kind == "ignored" else draw(st.sampled_from(["{", "", '{"e":1}', "[]"]))
    return FrameKind.TEXT, 1, payload, "", "", STREAM_CONNECTION, 0


@st.composite
def private_streams(draw: st.DrawFn) -> Stream:
    """A gateway's life."""
    rows: list[Row] = []
    for _ in range(draw(st.integers(1, 40))):
        kind = draw(st.sampled_from(["rest"] * 6 + ["stream"] * 5 + ["list"] * 2 + ["common"] * 3))
        symbol = draw(st.sampled_from(SYMBOLS))
        if kind == "common":
            rows.append(_common(draw))
        else:
            rows.append({"rest": _rest, "stream": _stream, "list": _list}[kind](draw, symbol))
    return _to_stream(rows)


def private_nonsense() -> st.SearchStrategy[Stream]:
    """One private frame that no state of the rule can make sense of."""
    texts = st.sampled_from(["", "?", "[]", '{"e":"NEW_THING"}', '{"e":"ORDER_TRADE_UPDATE","o":{"s":"BTCUSDT"}}'])
    frames: st.SearchStrategy[Row] = st.one_of(
        texts.map(lambda text: (FrameKind.TEXT, 1, text, "", "BTCUSDT", STREAM_CONNECTION, 0)),
        st.just((FrameKind.BINARY, 1, "x", "", "BTCUSDT", STREAM_CONNECTION, 0)),
        st.just((FrameKind.SENT, 1, "POST /fapi/v1/order?", "POST /fapi/v1/order S", "", PRIVATE_CONNECTION, 0)),
        st.just((FrameKind.REST, 1, "{}", "GET /fapi/v1/openOrders", "", PRIVATE_CONNECTION, 200)),
        st.just((FrameKind.REST, 1, '[{"asset":"X"}]', "GET /fapi/v3/balance", "", PRIVATE_CONNECTION, 200)),
        st.just((FrameKind.REST, 1, "{}", "?", "", PRIVATE_CONNECTION, 200)),
    )
    return frames.map(lambda row: _to_stream([row]))


def _to_stream(rows: list[Row]) -> Stream:
    stream = to_stream([row[:5] for row in rows], int(Venue.BINANCE_USDM))
    for row, (*_, connection, status) in zip(stream.rows, rows, strict=True):
        row["connection"], row["status"] = connection, status
    return stream
