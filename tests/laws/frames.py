"""Raw frames of a Binance venue for the laws: sockets that open and close, chains that hold and break, nonsense."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from connectors.capabilities import Exchange
from schemas.events import RAW_FRAME, FrameKind
from schemas.instruments import instrument_id
from tests.laws.stream import Stream

SYMBOLS = ("BTCUSDT", "ETHUSDT", "XUSD")
START_NS = 1_700_000_000_000_000_000
Frame = tuple[FrameKind, int, str, str, str]  # kind, epoch, payload, request, symbol ("": concerns all)

_levels = st.lists(
    st.tuples(st.integers(90, 110).map(lambda n: f"{n / 10}"), st.sampled_from(["0", "1.5", "0.00000001", "7"])),
    max_size=4,
)


@dataclass
class Venue:
    """Ids as a venue would count them."""

    futures: bool
    epoch: int = 1
    update_ids: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, 100))
    trade_ids: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SYMBOLS, 1))

    def wrapped(self, stream: str, data: dict[str, Any]) -> str:
        return json.dumps({"stream": stream, "data": data}, separators=(",", ":"))

    def depth(self, draw: st.DrawFn, symbol: str) -> Frame:
        before = self.update_ids[symbol] + draw(st.sampled_from([0] * 7 + [5]))  # 5: some were not heard
        self.update_ids[symbol] = last = before + draw(st.integers(1, 3))
        data = {"e": "depthUpdate", "E": 1_700_000_000_000 + last, "s": symbol, "U": before + 1, "u": last}
        data |= {"pu": before} if self.futures else {}
        data |= {"b": draw(_levels), "a": draw(_levels)}
        return FrameKind.TEXT, self.epoch, self.wrapped(f"{symbol.lower()}@depth@100ms", data), "", symbol

    def trade(self, draw: st.DrawFn, symbol: str) -> Frame:
        self.trade_ids[symbol] += draw(st.sampled_from([0] + [1] * 6 + [3]))
        data = {"e": "trade", "E": 1_700_000_000_001, "T": 1_700_000_000_000, "s": symbol}
        data |= {"t": self.trade_ids[symbol], "p": draw(st.sampled_from(["9.5", "10.1", "-1"])), "q": "0.25", "m": True}
        return FrameKind.TEXT, self.epoch, self.wrapped(f"{symbol.lower()}@trade", data), "", symbol

    def ticker(self, draw: st.DrawFn, symbol: str) -> Frame:
        data = {"u": self.update_ids[symbol], "s": symbol, "b": "9.5", "B": "1", "a": "9.6", "A": "2"}
        data |= {"T": 1_700_000_000_000, "E": 1_700_000_000_000} if self.futures else {}
        return FrameKind.TEXT, self.epoch, self.wrapped(f"{symbol.lower()}@bookTicker", data), "", symbol

    def snapshot(self, draw: st.DrawFn, symbol: str, exchange: Exchange) -> Frame:
        last = self.update_ids[symbol] + draw(st.integers(-4, 2))
        body = json.dumps({"lastUpdateId": last, "bids": draw(_levels), "asks": draw(_levels)}, separators=(",", ":"))
        return FrameKind.REST, self.epoch, body, exchange.depth_request(symbol).text, symbol


@st.composite
def frame_streams(draw: st.DrawFn, exchange: Exchange, futures: bool) -> Stream:
    """A connection's life."""
    venue = Venue(futures)
    frames: list[Frame] = [(FrameKind.OPEN, 1, "wss://venue", "", "")]
    for _ in range(draw(st.integers(1, 40))):
        symbol = draw(st.sampled_from(SYMBOLS))
        kind = draw(st.sampled_from(["depth"] * 6 + ["snapshot"] * 3 + ["trade", "ticker", "other"]))
        if kind == "depth":
            frames.append(venue.depth(draw, symbol))
        elif kind == "snapshot":
            frames.append(venue.snapshot(draw, symbol, exchange))
        elif kind == "trade":
            frames.append(venue.trade(draw, symbol))
        elif kind == "ticker":
            frames.append(venue.ticker(draw, symbol))
        else:
            frames += _other(draw, venue)
    return to_stream(frames, int(exchange.venue))


def _other(draw: st.DrawFn, venue: Venue) -> list[Frame]:
    kind = draw(st.sampled_from(["open", "close", "silent", "nonsense", "result"]))
    if kind == "open":
        venue.epoch += 1
        return [(FrameKind.OPEN, venue.epoch, "wss://venue", "", "")]
    if kind == "close":
        closed = draw(st.integers(max(venue.epoch - 1, 1), venue.epoch))
        frames: list[Frame] = [(FrameKind.CLOSE, closed, "1006", "", "")]
        if closed == venue.epoch:  # a closed socket says nothing more: the next one opens
            venue.epoch += 1
            frames.append((FrameKind.OPEN, venue.epoch, "wss://venue", "", ""))
        return frames
    if kind == "silent":
        return [(FrameKind.SILENT, venue.epoch, draw(st.sampled_from(["", "btcusdt@depth@100ms"])), "", "")]
    payload = '{"result":null,"id":1}' if kind == "result" else draw(st.sampled_from(["{", "?", '{"e":1}', ""]))
    return [(FrameKind.TEXT, venue.epoch, payload, "", "")]


def nonsense(exchange: Exchange) -> st.SearchStrategy[Stream]:
    """One frame that no state of the rule can make sense of."""
    bodies = st.sampled_from(
        ["", "?", "[]", '{"lastUpdateId":"x"}', '{"lastUpdateId":1,"bids":[["1","-1"]],"asks":[]}']
    )
    request = exchange.depth_request(SYMBOLS[0]).text
    return bodies.map(lambda body: to_stream([(FrameKind.REST, 1, body, request, SYMBOLS[0])], int(exchange.venue)))


def to_stream(frames: list[Frame], venue: int) -> Stream:
    rows, texts = RAW_FRAME.empty(len(frames)), bytearray()
    for k, (row, (kind, epoch, payload, request, _)) in enumerate(zip(rows, frames, strict=True)):
        row["ts_recv_ns"], row["epoch"], row["kind"], row["venue"] = START_NS + k * 1_000_000, epoch, kind, venue
        row["status"] = 200 if kind == FrameKind.REST else 0
        for column, text in (("payload", payload), ("request", request)):
            row[f"{column}_at"], row[f"{column}_size"] = len(texts), len(text.encode())
            texts += text.encode()
    return Stream(rows, np.frombuffer(bytes(texts), dtype=np.uint8), tuple(frame[4] for frame in frames))


def instrument_of(label: str) -> Callable[[Hashable], int]:
    """Symbol → instrument id at that venue; "" → 0."""
    return lambda symbol: instrument_id(f"{label}:{symbol}") if symbol else 0
