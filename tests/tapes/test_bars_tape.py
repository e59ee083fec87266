"""Bars as tapes: `<seconds> <buy|sell> <price> <quantity> [#id] [hole] [off] [recv <seconds>] | <bars>`.

A bar reads `<size> [<start>,<end>) o h l c <volume>/<bought> =<notional> <trades>/<bought> <flags>`, where a size is
`1s`, `3 trades`, `vol 2`, `not 100`; `r1` is its first revision, `@<seconds>` the deadline of a bar that
a timer closed. Venue time is the first column; our clock shows the same unless `recv` says otherwise.

Defects of the system before this one that cannot come back: buys counted as sells, empty intervals with a zero open
and sentinels for high and low, times replaced by "now", weeks that never closed, profiles that were never computed
(test_profile_tape.py), all symbols in one bar (tests/unit/test_bars.py).
"""

from __future__ import annotations

from processors.bars import BAR_OUTPUT, Bars, BarsParameters, late_count
from schemas.declare import Rows
from schemas.events import TRADE, BarFlag, BarKind, Side, TradeFlag
from tests.tapes.tape import START_NS, Line, amount, at, play, seconds, text_of


def trade(line: Line) -> Rows:
    side, price, quantity, *words = line.words
    row = TRADE.empty(1)
    row["instrument"], row["trade_id"] = 7, line.number
    row["ts_event_ns"] = row["ts_recv_ns"] = line.time_ns
    row["aggressor"] = Side[side.upper()]
    row["price_e8"], row["quantity_e8"] = amount(price), amount(quantity)
    row["flags"] = TradeFlag.HOLE_BEFORE * ("hole" in words) | TradeFlag.OFF_BOOK * ("off" in words)
    if "recv" in words:
        row["ts_recv_ns"] = at(words[words.index("recv") + 1])
    for word in words:
        if word.startswith("#"):
            row["trade_id"] = int(word[1:])
    return row


def said(output: int, row: Rows) -> str:
    assert output == BAR_OUTPUT
    size, kind = int(row["size"]), BarKind(int(row["kind"]))
    label = {
        BarKind.TIME: f"{size // 1_000_000_000}s",
        BarKind.TICK: f"{size} trades",
        BarKind.VOLUME: f"vol {text_of(size)}",
        BarKind.NOTIONAL: f"not {text_of(size)}",
    }[kind]
    prices = " ".join(text_of(row[f"{name}_e8"]) for name in ("open", "high", "low", "close"))
    flags = [str(flag.name) for flag in BarFlag if row["flags"] & flag]
    revision = [f"r{row['revision']}"] if row["revision"] else []
    amounts = f"{text_of(row['volume_e8'])}/{text_of(row['buy_volume_e8'])} ={text_of(row['notional_e8'])}"
    parts = [label, f"[{seconds(row['ts_open_ns'])},{seconds(row['ts_event_ns'])})", prices, amounts]
    parts += [f"{row['trade_count']}/{row['buy_count']}", *flags, *revision]
    parts += [] if row["cause_row"] else [f"@{seconds(row['ts_recv_ns'])}"]
    return " ".join(parts)


def test_time_bars_close_at_the_first_trade_after_their_end() -> None:
    play(
        Bars(BarsParameters(intervals="1s", profile_interval="")),
        """
        0.2  buy  100 1      |
        0.3  sell 102 2      |
        0.9  sell 99  1      |
        # the end is outside
        1.0  buy  101 0.5    | 1s [0,1) 100 102 99 99 4/1 =403 3/1 FIRST
        1.5  sell 100 0.5    |
        2.7  buy  103 1      | 1s [1,2) 101 101 100 100 1/0.5 =100.5 2/1
        """,
        trade,
        said,
    )


def test_intervals_without_trades_give_flat_empty_bars() -> None:
    play(
        Bars(BarsParameters(intervals="1s", profile_interval="")),
        """
        0.2  buy  100 1      |
        3.5  buy  101 1      | 1s [0,1) 100 100 100 100 1/1 =100 1/1 FIRST; 1s [1,2) 100 100 100 100 0/0 =0 0/0 EMPTY; \
1s [2,3) 100 100 100 100 0/0 =0 0/0 EMPTY
        """,
        trade,
        said,
    )


def test_gap_longer_than_the_bound_is_jumped_and_said() -> None:
    play(
        Bars(BarsParameters(intervals="1s", empty_bars_max=2, profile_interval="")),
        """
        0.2  buy  100 1      |
        9.5  buy  101 1      | 1s [0,1) 100 100 100 100 1/1 =100 1/1 FIRST; 1s [1,2) 100 100 100 100 0/0 =0 0/0 EMPTY; \
1s [2,3) 100 100 100 100 0/0 =0 0/0 EMPTY; dead: 6 empty bars of time 1s before trade 2 were not published \
(empty_bars_max = 2)
        10.1 buy  102 1      | 1s [9,10) 101 101 101 101 1/1 =101 1/1
        """,
        trade,
        said,
    )


def test_days_and_weeks_begin_at_midnight_and_on_monday() -> None:
    midnight = 86_400 - (START_NS // 1_000_000_000) % 86_400  # of Wednesday
    monday = midnight + 4 * 86_400 + 86_400
    play(
        Bars(BarsParameters(intervals="1d,1w", profile_interval="")),
        f"""
        0                 buy  100 1 |
        {midnight}        buy  101 1 | 86400s [{midnight - 86_400},{midnight}) 100 100 100 100 1/1 =100 1/1 FIRST
        {midnight + 86_399.5} buy 99 1 |
        {monday - 86_400} buy  103 1 | 86400s [{midnight},{midnight + 86_400}) 101 101 99 99 2/2 =200 2/2; \
86400s [{midnight + 86_400},{midnight + 2 * 86_400}) 99 99 99 99 0/0 =0 0/0 EMPTY; \
86400s [{midnight + 2 * 86_400},{midnight + 3 * 86_400}) 99 99 99 99 0/0 =0 0/0 EMPTY; \
86400s [{midnight + 3 * 86_400},{midnight + 4 * 86_400}) 99 99 99 99 0/0 =0 0/0 EMPTY
        {monday}          buy  104 1 | 86400s [{monday - 86_400},{monday}) 103 103 103 103 1/1 =103 1/1; \
604800s [{monday - 7 * 86_400},{monday}) 100 103 99 103 4/4 =403 4/4 FIRST
        """,
        trade,
        said,
    )


def test_late_trade_revises_the_last_bar_and_an_older_one_is_refused() -> None:
    state = play(
        Bars(BarsParameters(intervals="1s,5s", profile_interval="")),
        """
        0.5  buy  100 1      |
        1.5  buy  110 1      | 1s [0,1) 100 100 100 100 1/1 =100 1/1 FIRST
        # by venue time it is the first of its bar, so it is the open and not the close
        0.4  sell 90 1       | 1s [0,1) 90 100 90 100 2/1 =190 2/1 REVISED FIRST r1
        0.9  sell 120 1      | 1s [0,1) 90 120 90 120 3/1 =310 3/1 REVISED FIRST r2
        2.5  buy  111 1      | 1s [1,2) 110 110 110 110 1/1 =110 1/1
        # too late for the seconds, in time for the five
        0.1  sell 80 1       | dead: trade 6 of 1700000000100000000 ns is older than the last published bar: \
not in time 1s
        5.0  buy  100 1      | 1s [2,3) 111 111 111 111 1/1 =111 1/1; 1s [3,4) 111 111 111 111 0/0 =0 0/0 EMPTY; \
1s [4,5) 111 111 111 111 0/0 =0 0/0 EMPTY; 5s [0,5) 80 120 80 111 6/3 =611 6/3 FIRST
        # a late trade in an empty bar fills it
        4.5  sell 112 2      | 1s [4,5) 112 112 112 112 2/0 =224 1/0 REVISED r1; \
5s [0,5) 80 120 80 112 8/3 =835 7/3 REVISED FIRST r1
        """,
        trade,
        said,
    )
    assert late_count(state, 7) == 1


def test_trades_in_one_bar_are_ordered_by_venue_time_and_id() -> None:
    play(
        Bars(BarsParameters(intervals="1s", profile_interval="")),
        """
        0.5  buy  100 1 #10  |
        0.5  buy  101 1 #9   |
        0.4  buy  102 1 #12  |
        0.5  buy  103 1 #11  |
        1.0  buy  100 1 #13  | 1s [0,1) 102 103 100 103 4/4 =406 4/4 FIRST
        """,
        trade,
        said,
    )


def test_trades_of_a_tick_bar_are_taken_as_they_come() -> None:
    play(
        Bars(BarsParameters(intervals="", tick_bars="3", profile_interval="")),
        """
        0.5  buy  100 1      |
        0.2  sell 101 1      |
        0.9  buy  99  1      | 3 trades [0.5,0.9) 100 101 99 99 3/2 =300 3/2 FIRST
        # a tick bar is never empty and never late
        9.0  buy  50  1      |
        """,
        trade,
        said,
    )


def test_volume_and_notional_bars_close_with_the_trade_that_fills_them() -> None:
    play(
        Bars(BarsParameters(intervals="", volume_bars="2", notional_bars="150", profile_interval="")),
        """
        0.1  buy  100 1.5    | not 150 [0.1,0.1) 100 100 100 100 1.5/1.5 =150 1/1 FIRST
        # a trade is never split: it may fill a bar more than once over
        0.2  sell 100 7      | vol 2 [0.1,0.2) 100 100 100 100 8.5/1.5 =850 2/1 FIRST; \
not 150 [0.2,0.2) 100 100 100 100 7/0 =700 1/0
        0.3  sell 10 1.99999999 |
        0.4  sell 10 0.00000001 | vol 2 [0.3,0.4) 10 10 10 10 2/0 =20 2/0
        """,
        trade,
        said,
    )


def test_hole_marks_every_bar_that_may_miss_trades() -> None:
    play(
        Bars(BarsParameters(intervals="1s", profile_interval="")),
        """
        0.5  buy  100 1      |
        2.5  buy  101 1 hole | 1s [0,1) 100 100 100 100 1/1 =100 1/1 INCOMPLETE FIRST; \
1s [1,2) 100 100 100 100 0/0 =0 0/0 EMPTY INCOMPLETE
        3.5  buy  102 1      | 1s [2,3) 101 101 101 101 1/1 =101 1/1 INCOMPLETE
        4.5  buy  103 1      | 1s [3,4) 102 102 102 102 1/1 =102 1/1
        """,
        trade,
        said,
    )


def test_trades_off_the_book_are_in_no_bar_but_their_holes_count() -> None:
    play(
        Bars(BarsParameters(intervals="1s", profile_interval="")),
        """
        0.1  buy  100 1          |
        0.2  sell 0 0 off hole   |
        0.3  sell 5 9 off        |
        0.4  buy  101 1          |
        1.1  buy  102 1          | 1s [0,1) 100 101 100 101 2/2 =201 2/2 INCOMPLETE FIRST
        """,
        trade,
        said,
    )


def test_idle_bars_are_closed_by_our_clock_corrected_by_its_skew() -> None:
    play(
        Bars(BarsParameters(intervals="1s", idle_close_ns=200_000_000, empty_bars_max=2, profile_interval="")),
        """
        # our clock is 1.25 s behind the venue's: the bar ends at -0.25 by it
        0.5   buy  100 1 recv -0.75 |
        -0.1  on_time               |
        -0.05 on_time               | 1s [0,1) 100 100 100 100 1/1 =100 1/1 FIRST @-0.05
        5     on_time               | 1s [1,2) 100 100 100 100 0/0 =0 0/0 EMPTY @0.95; \
1s [2,3) 100 100 100 100 0/0 =0 0/0 EMPTY @1.95
        # a trade of the second that was closed early is late, and revises only the last bar
        2.9   buy  101 1 recv 5     | 1s [2,3) 101 101 101 101 1/1 =101 1/1 REVISED r1
        """,
        trade,
        said,
    )


def test_bad_trades_are_put_aside_and_change_nothing() -> None:
    play(
        Bars(BarsParameters(intervals="1s", profile_interval="")),
        """
        0.1  buy  100 1      |
        5.0  buy  0 1        | dead: price 0 is not above 0 and at most 46,116,860,184
        5.0  buy  100 0      | dead: quantity 0 is not above 0
        5.0  buy  40000000000 40000000000 | dead: 40000000000 × 40000000000 is more than 92,233,720,368
        0.2  buy  1 90000000000 |
        0.3  buy  1 3000000000  | dead: with quantity 3000000000 a bar would hold more than 92,233,720,368, \
or 65,535 revisions
        1.0  buy  100 1      | 1s [0,1) 100 100 1 1 90000000001/90000000001 =90000000100 2/2 FIRST
        """,
        trade,
        said,
    )
