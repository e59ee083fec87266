"""exchangeInfo as the simulated venue writes it, read by the code that reads the real one."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.binance_spot.instruments import instruments as spot_instruments
from connectors.binance_usdm.instruments import instruments as futures_instruments
from connectors.simulator.listing import E8, Listed, StepFinder, decimal_text, exchange_info, short_text
from schemas.instruments import Venue, instrument_id

ROWS = (Listed("BTCUSDT", E8 // 10, E8 // 1000, 2, 3), Listed("ETHBTC", 1000, E8, 5, 0))


@given(st.integers(0, 10**15), st.integers(0, 8))
def test_decimal_text_is_the_exact_value(units: int, decimals: int) -> None:
    value_e8 = units * 10 ** (8 - decimals)
    text = decimal_text(value_e8, decimals)
    assert Decimal(text) * E8 == value_e8
    assert len(text.partition(".")[2]) == decimals
    assert Decimal(short_text(value_e8)) * E8 == value_e8


def test_decimal_text_of_zero_has_the_decimals_of_the_venue() -> None:
    assert [decimal_text(0, decimals) for decimals in (0, 3, 8)] == ["0", "0.000", "0.00000000"]


@pytest.mark.parametrize(
    ("texts", "step_e8", "decimals"),
    [
        (["61800.20", "61800.30", "61799.90"], E8 // 10, 2),
        (["61837.63000000", "61837.64000000"], E8 // 100, 8),
        (["5", "10", "0"], E8, 0),
        (["100", "20"], 10 * E8, 0),
        (["0.000", "0.003", "0.001"], E8 // 1000, 3),
        (["0.000"], E8 // 1000, 3),
    ],
)
def test_step_is_the_greatest_power_of_ten_that_divides_all_values(
    texts: list[str], step_e8: int, decimals: int
) -> None:
    finder = StepFinder()
    for text in texts:
        finder.add(text)
    assert (finder.step_e8, finder.decimals) == (step_e8, decimals)


def test_value_with_nine_decimals_tells_no_step() -> None:
    finder = StepFinder()
    for text in ("0.5", "0.000000001", "1.5"):
        finder.add(text)
    assert (finder.step_e8, finder.decimals) == (10_000_000, 1)


def test_futures_exchange_info_gives_the_rows_that_were_listed() -> None:
    body = orjson.dumps(exchange_info(Venue.BINANCE_USDM, ROWS, 5, 2400))
    found = futures_instruments(body)
    assert found.rejected == ()
    assert found.rows["instrument"].tolist() == [
        instrument_id("binance_usdm:BTCUSDT"),
        instrument_id("binance_usdm:ETHBTC"),
    ]
    assert found.rows["tick_size_e8"].tolist() == [E8 // 10, 1000]
    assert found.rows["lot_size_e8"].tolist() == [E8 // 1000, E8]
    assert found.rows["price_min_e8"].tolist() == [E8 // 10, 1000]
    assert found.rows["notional_min_e8"].tolist() == [5 * E8] * 2


def test_spot_exchange_info_gives_the_rows_that_were_listed() -> None:
    document = exchange_info(Venue.BINANCE_SPOT, ROWS, 5, 6000)
    found = spot_instruments(orjson.dumps(document))
    assert found.rejected == ()
    assert found.rows["tick_size_e8"].tolist() == [E8 // 10, 1000]
    assert found.rows["lot_size_e8"].tolist() == [E8 // 1000, E8]
    assert document["serverTime"] == 5
    limits = document["rateLimits"]
    assert isinstance(limits, list)
    assert limits[0] == {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}


def test_assets_are_told_by_the_quote_assets_that_exist() -> None:
    assert [row.assets for row in ROWS] == [("BTC", "USDT"), ("ETH", "BTC")]
