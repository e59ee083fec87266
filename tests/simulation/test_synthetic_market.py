"""The synthetic market: the same bytes from the same seed, frames that chain and add up, and the marks of a market."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest

from connectors.simulator import kernels as k
from connectors.simulator.config import SyntheticConfig
from connectors.simulator.feed import SNAPSHOT, Item
from connectors.simulator.synthetic import OPENING_NS, SyntheticFeed
from connectors.simulator.synthetic_market import FUTURES, SPOT, Instrument, Market
from connectors.simulator.venue_book import is_zero
from schemas.errors import ConfigInvalid
from tests.recordings import recording
from tests.simulated import frames

S_NS = 1_000_000_000
START_NS = 1_700_000_000 * S_NS
VENUES = [pytest.param(True, id="futures"), pytest.param(False, id="spot")]


def feed_of(seed: int = 7, seconds: float = 3.0, *, is_futures: bool = True, **given: Any) -> SyntheticFeed:
    return SyntheticFeed(SyntheticConfig(seed=seed, duration_s=seconds, **given), is_futures=is_futures)


def digest(feed: SyntheticFeed) -> str:
    hashed = hashlib.sha256()
    for item in feed.items():
        hashed.update(b"%d " % item.at_ns + item.payload)
    return hashed.hexdigest()


SCRIPT = """
from tests.simulation.test_synthetic_market import digest, feed_of
print(digest(feed_of(11, is_futures={is_futures})))
"""


@pytest.mark.parametrize("is_futures", VENUES)
def test_same_seed_gives_the_same_bytes_in_another_process(is_futures: bool) -> None:
    script = SCRIPT.format(is_futures=is_futures)
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(feed_of(11, is_futures=is_futures))


def test_other_seed_or_symbols_give_another_market() -> None:
    digests = {digest(feed_of(seed)) for seed in (1, 2)} | {digest(feed_of(1, symbols=("ETHUSDT",)))}
    assert len(digests) == 3


def test_looking_at_the_book_does_not_change_what_comes() -> None:
    feed, looked_at = feed_of(5, 1.0), []
    for item in feed.items():
        looked_at.append(item)
        feed.depth(item.symbol, 50)
    assert looked_at == list(feed_of(5, 1.0).items())


@pytest.mark.parametrize("is_futures", VENUES)
def test_first_depth_answers_come_at_a_fixed_time_inside_an_event(is_futures: bool) -> None:
    feed = feed_of(8, 1.0, is_futures=is_futures)
    answers: dict[str, int] = {}
    spanning: dict[str, bool] = {}
    for item in feed.items():
        if item.stream == SNAPSHOT:
            assert item.at_ns == feed.start_ns + OPENING_NS
            assert feed.depth(item.symbol, 5000) == item.payload
            answers[item.symbol] = orjson.loads(item.payload)["lastUpdateId"]
        elif item.stream.endswith("depth@100ms") and item.symbol in answers and item.symbol not in spanning:
            event = orjson.loads(item.payload)["data"]
            spanning[item.symbol] = event["U"] <= answers[item.symbol] < event["u"]
        elif item.symbol not in answers:
            assert feed.depth(item.symbol, 5) is None
            assert feed.coming_snapshot(item.symbol) is not None
    assert spanning == dict.fromkeys(("BTCUSDT", "ETHUSDT", "SOLUSDT"), True)


def test_unknown_symbol_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="BTCUSDT, ETHUSDT, SOLUSDT"):
        feed_of(symbols=("DOGEUSDT",))


@pytest.mark.parametrize("is_futures", VENUES)
def test_times_never_go_back_and_end_with_the_market(is_futures: bool) -> None:
    feed = feed_of(3, 2.0, is_futures=is_futures)
    times = [item.at_ns for item in feed.items()]
    assert times == sorted(times)
    assert feed.start_ns < times[0]
    assert times[-1] == feed.end_ns, "the last batch of the order book"


# ---- frames add up


@dataclass
class Client:
    """A client's book by the venue's own rules: snapshot, drop what is older, then an unbroken chain."""

    is_futures: bool
    update_id: int
    sides: tuple[dict[str, str], dict[str, str]]
    is_first: bool = True
    applied: int = 0
    last: int = 0
    pending: list[dict[str, Any]] = field(default_factory=list)

    def take(self, event: dict[str, Any]) -> None:
        newest = self.update_id
        if event["u"] < newest or (event["u"] == newest and not self.is_futures):
            return
        if self.is_first:
            assert event["U"] <= newest + (0 if self.is_futures else 1) <= event["u"]
        elif self.is_futures:
            assert event["pu"] == self.last
            assert event["U"] > event["pu"] + 1, "one counter for all symbols: ids never follow each other"
        else:
            assert event["U"] == self.last + 1
        self.is_first = False
        for levels, changes in zip(self.sides, (event["b"], event["a"]), strict=True):
            for price, quantity in changes:
                if is_zero(quantity):
                    levels.pop(price, None)
                else:
                    levels[price] = quantity
        self.last = self.update_id = event["u"]
        self.applied += 1

    def touch(self) -> tuple[str, str, str, str]:
        bid = max(self.sides[0], key=float)
        ask = min(self.sides[1], key=float)
        return bid, self.sides[0][bid], ask, self.sides[1][ask]


def synchronised(feed: SyntheticFeed, symbol: str, speed: str, after: int) -> Iterator[tuple[Item, Client | None]]:
    """Play the feed to a client that takes its snapshot after `after` items."""
    client: Client | None = None
    buffered: list[dict[str, Any]] = []
    for count, item in enumerate(feed.items()):
        if item.stream == f"{symbol.lower()}@{speed}":
            event = orjson.loads(item.payload)["data"]
            client.take(event) if client else buffered.append(event)
        if count == after:
            body = feed.depth(symbol, 1000)
            assert body is not None
            book = orjson.loads(body)
            client = Client(
                feed.listed[0].price_decimals < 8, book["lastUpdateId"], (dict(book["bids"]), dict(book["asks"]))
            )
            for event in buffered:
                client.take(event)
        yield item, client


@pytest.mark.parametrize(
    ("is_futures", "symbol", "speed"),
    [
        (True, "BTCUSDT", "depth@0ms"),
        (True, "SOLUSDT", "depth@100ms"),
        (False, "ETHUSDT", "depth@100ms"),
        (False, "BTCUSDT", "depth"),
    ],
)
def test_book_of_a_client_is_the_book_of_the_venue(is_futures: bool, symbol: str, speed: str) -> None:
    feed = feed_of(9, 6.0, is_futures=is_futures)
    client = None
    tickers: dict[int, tuple[str, str, str, str]] = {}
    compared = 0
    for item, client in synchronised(feed, symbol, speed, after=400):
        data = orjson.loads(item.payload).get("data")
        if item.stream == f"{symbol.lower()}@bookTicker":
            tickers[data["u"]] = (data["b"], data["B"], data["a"], data["A"])
        elif client and item.stream.endswith(speed) and item.symbol == symbol and client.update_id in tickers:
            assert client.touch() == tickers[client.update_id]
            compared += 1
    assert client is not None
    assert client.applied > 3
    assert compared > 0
    body = feed.depth(symbol, 5000)
    assert body is not None
    book = orjson.loads(body)
    assert client.update_id == book["lastUpdateId"]
    for mine, levels in zip(client.sides, (book["bids"], book["asks"]), strict=True):
        assert mine == dict(levels)


@pytest.mark.parametrize("is_futures", VENUES)
def test_trade_ids_follow_each_other(is_futures: bool) -> None:
    ids: dict[str, list[int]] = {}
    for item in feed_of(4, 5.0, is_futures=is_futures).items():
        if item.stream.endswith("@trade"):
            ids.setdefault(item.symbol, []).append(orjson.loads(item.payload)["data"]["t"])
    assert set(ids) == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    for numbers in ids.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize("is_futures", VENUES)
def test_update_ids_of_all_symbols_come_from_one_counter_on_futures_only(is_futures: bool) -> None:
    seen: dict[str, set[int]] = {}
    for item in feed_of(4, 2.0, is_futures=is_futures).items():
        if item.stream.endswith("@bookTicker"):
            seen.setdefault(item.symbol, set()).add(orjson.loads(item.payload)["data"]["u"])
    ranges = sorted((min(ids), max(ids)) for ids in seen.values())
    overlapping = all(low < high for (_, high), (low, _) in pairwise(ranges))
    assert overlapping == is_futures
    assert not set.intersection(*seen.values())


@pytest.mark.recording
@pytest.mark.parametrize(
    ("is_futures", "name"), [(True, "usdm_btcusdt_20240808.gz"), (False, "spot_btcusdt_20240808.gz")]
)
def test_frames_have_exactly_the_shape_of_recorded_ones(is_futures: bool, name: str) -> None:
    def shape(payload: bytes) -> tuple[Any, ...]:
        data = orjson.loads(payload)["data"]
        texts = [data.get(key) or (data[key[0]][0][0] if data.get(key[0]) else "") for key in ("p", "b", "q", "B")]
        decimals = [len(text.partition(".")[2]) for text in texts if isinstance(text, str)]
        return tuple((key, type(value)) for key, value in data.items()), tuple(decimals)

    from connectors.recording import read_lines

    lines = ((line.ts_recv_ns, line.payload) for line, _ in zip(read_lines(recording(name)), range(400), strict=False))
    real = {payload.split(b'"', 4)[3]: shape(payload) for payload in reversed(frames(lines))}
    made: dict[bytes, tuple[Any, ...]] = {}
    for item in feed_of(2, 0.3, is_futures=is_futures, symbols=("BTCUSDT",)).items():
        made.setdefault(item.stream.encode(), shape(item.payload))
    shared = set(real) & set(made)
    assert len(shared) == 3
    assert {stream: made[stream] for stream in shared} == {stream: real[stream] for stream in shared}


# ---- the marks of a market

ROWS = [
    pytest.param(row, id=f"{name} {row.listed.symbol}")
    for name, table in (("usdm", FUTURES), ("spot", SPOT))
    for row in table
]
RUN_S = 600


@cache
def history(row: Instrument, seed: int = 7) -> npt.NDArray[np.int64]:
    """Ten minutes of a market, checking the book after each second."""
    market = Market(row, (seed, 0), START_NS, 1.0)
    parts = []
    for second in range(1, RUN_S + 1):
        parts.append(market.advance(START_NS + second * S_NS).copy())
        assert 0 < market.book.numbers[k.BEST_BID] < market.book.numbers[k.BEST_ASK]
    return np.concatenate(parts)


def returns(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Logarithmic returns of the middle, second by second."""
    tickers = rows[rows[:, 1] == k.ROW_TICKER]
    middle = (tickers[:, 2] + tickers[:, 4]) / 2
    grid = np.arange(tickers[0, 0], tickers[-1, 0], S_NS)
    return np.diff(np.log(middle[np.searchsorted(tickers[:, 0], grid, side="right") - 1]))


def autocorrelation(values: npt.NDArray[np.float64], lag: int) -> float:
    return float(np.corrcoef(values[:-lag], values[lag:])[0, 1])


@pytest.mark.parametrize("row", ROWS)
def test_spread_is_mostly_one_tick_and_never_none(row: Instrument) -> None:
    rows = history(row)
    tickers = rows[rows[:, 1] == k.ROW_TICKER]
    spreads = tickers[:, 4] - tickers[:, 2]
    assert spreads.min() == 1
    assert np.bincount(spreads).argmax() == 1
    assert np.median(spreads) <= 10


@pytest.mark.parametrize("row", ROWS)
def test_volatility_clusters_and_tails_are_heavy(row: Instrument) -> None:
    moves = returns(history(row))
    sizes = np.abs(moves)
    assert autocorrelation(sizes, 1) > 0.1
    assert np.mean([autocorrelation(sizes, lag) for lag in range(1, 11)]) > 0.05
    assert np.mean((moves - moves.mean()) ** 4) / moves.var() ** 2 > 3.5, "kurtosis of a normal distribution is 3"
    assert abs(autocorrelation(moves, 1)) < 0.35
    assert 1e-5 < moves.std() < 3e-4


@pytest.mark.parametrize("row", ROWS)
def test_trades_come_in_clusters_with_persistent_sides_and_heavy_tailed_sizes(row: Instrument) -> None:
    rows = history(row)
    trades = rows[rows[:, 1] == k.ROW_TRADE]
    gaps = np.diff(trades[:, 0])
    assert gaps.std() / gaps.mean() > 1.5, "a Poisson process has 1"
    signs = np.where(trades[:, 2] == k.BID, 1.0, -1.0)
    assert autocorrelation(signs, 1) > 0.2
    assert abs(signs.mean()) < 0.2
    sizes = trades[:, 4]
    assert np.quantile(sizes, 0.99) > 10 * np.median(sizes)


@pytest.mark.parametrize("row", ROWS)
def test_book_is_deep_and_holds_more_away_from_the_touch_than_at_it(row: Instrument) -> None:
    market = Market(row, (7, 0), START_NS, 1.0)
    near, far = [], []
    for second in range(1, 61):
        market.advance(START_NS + second * S_NS)
        for side in (k.BID, k.ASK):
            levels = np.array(market.levels(side, 5000))
            assert len(levels) >= k.LEVELS_MIN
            near.append(levels[0, 1])
            far.append(levels[:20, 1].sum())
    assert np.mean(far) > 3 * np.mean(near)


def test_market_follows_its_price_out_of_the_first_window() -> None:
    row = FUTURES[0]
    market = Market(row, (3, 0), START_NS, 1.0)
    base = int(market.book.numbers[k.BASE])
    market._states[k.S_VALUE] += 60_000  # a crash upwards: beyond the middle half of the window
    fallen: list[tuple[int, int]] = []
    for second in range(1, 400):
        market.advance(START_NS + second * S_NS)
        fallen += market.recentre()
        if market.book.numbers[k.BASE] != base:
            break
    assert market.book.numbers[k.BASE] > base
    assert fallen
    assert all(tick < market.book.numbers[k.BASE] for _, tick in fallen)
