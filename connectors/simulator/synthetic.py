"""A seeded synthetic market as a feed: what the matching core makes of a random order flow.

It is **not** data: nothing here was recorded, and everything that shows it says so. The same seed gives
the same bytes. The first depth answers are taken at a fixed time of the market, like those of a
recording: a client that synchronises hears the same events around them in every run, at every speed.

Frames have exactly the venue's shapes. On futures the update ids of all symbols come from one counter,
so `U` never follows the previous `u`: a client that checks as on spot fails here at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from connectors.simulator import kernels as k
from connectors.simulator.config import SyntheticConfig
from connectors.simulator.feed import SNAPSHOT, Item, StreamInfo, stream_info, wrapper_head
from connectors.simulator.listing import Listed
from connectors.simulator.synthetic_market import FUTURES, MS_NS, S_NS, SPOT, Batch, Market
from connectors.simulator.venue_book import depth_body
from schemas.errors import ConfigInvalid

SLICE_NS = 10 * MS_NS
OPENING_NS = 330 * MS_NS  # when the first depth answers are taken: in the middle of a batch
OPENING_LEVELS = 5000
FUTURES_ID_STRIDE = 7  # other symbols of the shared counter, seen as jumps
FUTURES_FIRST_ID = 5_000_000_000_000
SPOT_FIRST_ID = 50_000_000_000
# Order book streams and how often they send. Each has its own chain of update ids.
FUTURES_SPEEDS_NS = {"depth@0ms": 50 * MS_NS, "depth@100ms": 100 * MS_NS}
SPOT_SPEEDS_NS = {"depth@100ms": 100 * MS_NS, "depth": 1000 * MS_NS}


class SliceListener(Protocol):
    """Who places orders in the synthetic market, and has to know what becomes of them."""

    def trade(self, market: Market, tick: int, lots: int, maker_core_id: int) -> None:
        """A print of the tape, in order; `market.trade_id` is its id."""
        ...

    def slice_done(self) -> None:
        """Every print of a slice has been told. Now orders may be placed again."""
        ...

    def window_moved(self, market: Market) -> None:
        """Orders outside the new window of prices are not in the book any more."""
        ...


class SyntheticFeed:
    """The synthetic market as a feed.

    Args:
        config: seed, symbols, time.
        is_futures: whose shapes.

    Raises:
        ConfigInvalid: a symbol that the table does not have.
    """

    def __init__(self, config: SyntheticConfig, *, is_futures: bool) -> None:
        table = {row.listed.symbol: row for row in (FUTURES if is_futures else SPOT)}
        unknown = [symbol for symbol in config.symbols if symbol not in table]
        if unknown:
            raise ConfigInvalid(f"The synthetic market has no {unknown[0]}. It has: {', '.join(table)}.")
        rows = [table[symbol] for symbol in (config.symbols or table)]
        self._is_futures = is_futures
        self._duration_ns = None if config.duration_s is None else round(config.duration_s * S_NS)
        self._start_ns = config.start_ns - config.start_ns % MS_NS
        self._now_ns = self._start_ns
        self._update_id = FUTURES_FIRST_ID
        self._markets = [
            Market(row, (config.seed, number), self._start_ns, config.activity) for number, row in enumerate(rows)
        ]
        self._by_symbol = {market.listed.symbol: market for market in self._markets}
        self._streams: dict[str, StreamInfo] = {}
        self._old_ids: dict[str, int] = {}
        self._openings: dict[str, bytes] | None = None  # first depth answers still to come, once they are taken
        for number, market in enumerate(self._markets):
            self._open(market, number)
        self.listener: SliceListener | None = None

    @property
    def markets(self) -> Mapping[str, Market]:
        """The market of each symbol."""
        return self._by_symbol

    def _open(self, market: Market, number: int) -> None:
        symbol = market.listed.symbol
        name = symbol.lower()
        market.update_id = FUTURES_FIRST_ID - 100 * (number + 1) if self._is_futures else SPOT_FIRST_ID * (number + 1)
        self._old_ids[symbol] = market.update_id - 1
        for kind in ("trade", "bookTicker"):
            self._streams[f"{name}@{kind}"] = stream_info(f"{name}@{kind}", symbol)
        for speed, interval_ns in (FUTURES_SPEEDS_NS if self._is_futures else SPOT_SPEEDS_NS).items():
            stream = f"{name}@{speed}"
            self._streams[stream] = stream_info(stream, symbol)
            market.batches.append(Batch(stream, interval_ns, market.update_id))

    @property
    def listed(self) -> tuple[Listed, ...]:
        return tuple(market.listed for market in self._markets)

    @property
    def streams(self) -> Mapping[str, StreamInfo]:
        return self._streams

    @property
    def start_ns(self) -> int:
        return self._start_ns

    @property
    def end_ns(self) -> int | None:
        return None if self._duration_ns is None else self._start_ns + self._duration_ns

    def coming_snapshot(self, symbol: str) -> bytes | None:
        return self._body(symbol, OPENING_LEVELS) if self._openings is None else self._openings.get(symbol)

    def old_update_id(self, symbol: str) -> int:
        return self._old_ids[symbol]

    def depth(self, symbol: str, limit: int) -> bytes | None:
        if self._openings is None or symbol in self._openings:
            return None
        return self._body(symbol, limit)

    def _body(self, symbol: str, limit: int) -> bytes:
        market = self._by_symbol[symbol]
        sides = [
            [(market.price(tick), market.quantity(lots)) for tick, lots in market.levels(side, limit)]
            for side in (k.BID, k.ASK)
        ]
        now_ms = self._now_ns // MS_NS
        return depth_body(self._is_futures, market.update_id, now_ms, market.changed_ms, sides[0], sides[1])

    def items(self) -> Iterator[Item]:
        end_ns = self.end_ns
        while end_ns is None or self._now_ns < end_ns:
            stop_ns = self._now_ns + SLICE_NS
            rows = [(market, market.take_untold() + market.advance(stop_ns).tolist()) for market in self._markets]
            self._now_ns = stop_ns
            yield from self._slice_items(rows)
            for market in self._markets:
                fallen = market.recentre()
                for side, tick in fallen:
                    self._change(market, stop_ns, side, tick, 0)
                if fallen and self.listener is not None:
                    self.listener.window_moved(market)
                yield from self._due_batches(market, stop_ns)
            if self._openings is None and stop_ns >= self._start_ns + OPENING_NS:
                yield from self._opening_items(stop_ns)

    def _opening_items(self, now_ns: int) -> Iterator[Item]:
        openings = {symbol: self._body(symbol, OPENING_LEVELS) for symbol in self._by_symbol}
        self._openings = dict(openings)
        for symbol, body in openings.items():
            del self._openings[symbol]
            yield Item(now_ns, SNAPSHOT, body, symbol)

    def _slice_items(self, rows: list[tuple[Market, list[list[int]]]]) -> Iterator[Item]:
        """Frames of a slice, the symbols merged by time. Ids are given in this order."""
        merged = [(row[0], place, market, row) for place, (market, part) in enumerate(rows) for row in part]
        merged.sort(key=lambda entry: entry[:2])
        items = []
        for ts_ns, _, market, row in merged:
            if row[1] == k.ROW_CHANGE:
                self._change(market, ts_ns, row[2], row[3], row[4])
            elif row[1] == k.ROW_TRADE:
                items.append(self._trade(market, ts_ns, *row[2:5]))
                if self.listener is not None:
                    self.listener.trade(market, row[3], row[4], row[5])
            else:
                items.append(self._ticker(market, ts_ns, *row[2:6]))
        if self.listener is not None:
            self.listener.slice_done()
        yield from items

    def _change(self, market: Market, ts_ns: int, side: int, tick: int, lots: int) -> None:
        if self._is_futures:
            self._update_id += FUTURES_ID_STRIDE
            market.update_id = self._update_id
        else:
            market.update_id += 1
        market.changed_ms = ts_ns // MS_NS
        for batch in market.batches:
            if not batch.last_id:
                batch.first_id = market.update_id
            batch.last_id, batch.last_ms = market.update_id, market.changed_ms
            batch.levels[side][tick] = lots

    def _trade(self, market: Market, ts_ns: int, aggressor: int, tick: int, lots: int) -> Item:
        market.trade_id += 1
        ms, symbol = ts_ns // MS_NS, market.listed.symbol
        price, quantity = market.price(tick), market.quantity(lots)
        maker_buys = "true" if aggressor == k.ASK else "false"
        if self._is_futures:
            data = (
                f'{{"e":"trade","E":{ms},"T":{ms},"s":"{symbol}","t":{market.trade_id},"p":"{price}","q":"{quantity}",'
                f'"X":"MARKET","m":{maker_buys}}}'
            )
        else:
            data = (
                f'{{"e":"trade","E":{ms},"s":"{symbol}","t":{market.trade_id},"p":"{price}","q":"{quantity}","T":{ms},'
                f'"m":{maker_buys},"M":true}}'
            )
        return self._item(ts_ns, market, f"{symbol.lower()}@trade", data)

    def _ticker(self, market: Market, ts_ns: int, bid: int, bid_lots: int, ask: int, ask_lots: int) -> Item:
        ms, symbol = ts_ns // MS_NS, market.listed.symbol
        quote = (
            f'"b":"{market.price(bid)}","B":"{market.quantity(bid_lots)}",'
            f'"a":"{market.price(ask)}","A":"{market.quantity(ask_lots)}"'
        )
        if self._is_futures:
            data = f'{{"e":"bookTicker","u":{market.update_id},"s":"{symbol}",{quote},"T":{ms},"E":{ms}}}'
        else:
            data = f'{{"u":{market.update_id},"s":"{symbol}",{quote}}}'
        return self._item(ts_ns, market, f"{symbol.lower()}@bookTicker", data)

    def _due_batches(self, market: Market, now_ns: int) -> Iterator[Item]:
        """Order book events whose interval ends now; one without changes is not sent."""
        for batch in market.batches:
            if batch.last_id and (now_ns - self._start_ns) % batch.interval_ns == 0:
                yield self._item(now_ns, market, batch.stream, self._depth_event(market, batch, now_ns // MS_NS))
                batch.previous_id = batch.last_id
                batch.first_id = batch.last_id = 0
                for levels in batch.levels:
                    levels.clear()

    def _depth_event(self, market: Market, batch: Batch, now_ms: int) -> str:
        symbol = market.listed.symbol
        asks = market.level_texts(batch.levels[k.ASK], descending=False)
        if self._is_futures:
            bids = market.level_texts(batch.levels[k.BID], descending=False)  # upwards here, downwards on spot
            return (
                f'{{"e":"depthUpdate","E":{now_ms},"T":{batch.last_ms},"s":"{symbol}","U":{batch.first_id},'
                f'"u":{batch.last_id},"pu":{batch.previous_id},"b":[{bids}],"a":[{asks}]}}'
            )
        bids = market.level_texts(batch.levels[k.BID], descending=True)
        return (
            f'{{"e":"depthUpdate","E":{now_ms},"s":"{symbol}","U":{batch.previous_id + 1},"u":{batch.last_id},'
            f'"b":[{bids}],"a":[{asks}]}}'
        )

    @staticmethod
    def _item(at_ns: int, market: Market, stream: str, data: str) -> Item:
        return Item(at_ns, stream, wrapper_head(stream) + data.encode() + b"}", market.listed.symbol)


def warm() -> None:
    """Compile the kernels, so that no venue has to when it starts."""
    feed = SyntheticFeed(SyntheticConfig(symbols=("SOLUSDT",)), is_futures=True)
    next(feed.items())
    market = feed.markets["SOLUSDT"]
    bid = int(market.book.numbers[k.BEST_BID])
    k.available_to(market.book, k.BID, bid, 1, k.NONE, k.EXPIRE_MAKER)
    core_id = market.enter(k.BID, k.POST_ONLY, bid, 2, 1, k.EXPIRE_MAKER).order_id
    market.shrink(core_id, 1)
    market.leave(core_id)
