"""Volume profiles as tapes: `<seconds> <buy|sell> <price> <quantity> | <profile>`.

A profile reads `[<start>,<end>) <low>+<width>: <bought>/<sold>/<trades> … poc <price> area <low>..<high> <inside> of
<volume>`, with one `bought/sold/trades` for each bucket from the lowest price on.
"""

from __future__ import annotations

from processors.bars import PROFILE_OUTPUT, Bars, BarsParameters
from schemas.declare import Rows
from tests.tapes.tape import play, seconds, text_of
from tests.tapes.test_bars_tape import trade

FIVE_SECONDS = BarsParameters(intervals="1d", profile_interval="5s")


def said(output: int, row: Rows) -> str:
    assert output == PROFILE_OUTPUT
    names = ("buy_volume_e8", "sell_volume_e8")
    buckets = [
        "/".join([*(text_of(row[name][k]) for name in names), str(row["trade_count"][k])])
        for k in range(int(row["bucket_count"]))
    ]
    area = f"{text_of(row['value_area_low_e8'])}..{text_of(row['value_area_high_e8'])}"
    return (
        f"[{seconds(row['ts_open_ns'])},{seconds(row['ts_event_ns'])}) "
        f"{text_of(row['bucket_low_e8'])}+{text_of(row['bucket_width_e8'])}: {' '.join(buckets)} "
        f"poc {text_of(row['point_of_control_e8'])} area {area} "
        f"{text_of(row['value_area_volume_e8'])} of {text_of(row['volume_e8'])}"
    )


def test_value_area_grows_towards_the_heavier_neighbour() -> None:
    play(
        Bars(FIVE_SECONDS),
        """
        0.1  buy  100.0 1    |
        0.2  buy  100.1 2    |
        0.3  sell 100.2 5    |
        0.4  buy  100.3 3    |
        0.5  sell 100.3 0.5  |
        0.6  buy  100.5 2    |
        5.0  buy  100.0 1    | [0,5) 100+0.1: 1/0/1 2/0/1 0/5/1 3/0.5/2 0/0/0 2/0/1 \
poc 100.25 area 100.1..100.4 10.5 of 13.5
        # nothing traded: no profile; the tick is known by now
        17.0 buy  101.0 1    | [5,10) 100+0.1: 1/0/1 poc 100.05 area 100..100.1 1 of 1
        """,
        trade,
        said,
    )


def test_ties_are_broken_towards_the_lower_price() -> None:
    play(
        Bars(FIVE_SECONDS),
        """
        0.1  buy  7 2        |
        0.1  buy  8 1        |
        0.1  sell 6 1        |
        0.1  buy  9 2        |
        5.0  buy  1 1        | [0,5) 6+1: 0/1/1 2/0/1 1/0/1 2/0/1 poc 7.5 area 6..10 6 of 6
        """,
        trade,
        said,
    )


def test_wide_range_is_put_into_fifty_buckets_of_whole_ticks() -> None:
    """100 ticks of 0.5 need buckets of at least 2 ticks; from 3.5 on, aligned buckets of 2 ticks are 51: it takes 3."""
    play(
        Bars(FIVE_SECONDS),
        """
        0.1  buy  3.5  1     |
        0.1  buy  4.0  1     |
        0.1  buy  53.5 4     |
        5.0  buy  1 1        | [0,5) 3+1.5: 2/0/2 """
        + "0/0/0 " * 32
        + """4/0/1 poc 53.25 area 3..54 6 of 6
        """,
        trade,
        said,
    )


def test_finer_price_later_does_not_coarsen_what_was_before() -> None:
    """The first price alone could be on a grid of 10,000; its bin is put onto the grid of 0.1 without loss."""
    play(
        Bars(FIVE_SECONDS),
        """
        0.1  buy  60000 1    |
        0.1  sell 60000.3 2  |
        0.1  buy  60000.1 4  |
        5.0  buy  1 1        | [0,5) 60000+0.1: 1/0/1 4/0/1 0/0/0 0/2/1 poc 60000.15 area 60000..60000.2 5 of 7
        """,
        trade,
        said,
    )
