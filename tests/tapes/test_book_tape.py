"""Books as tapes: `<seconds> <action> [<side> <price> <quantity>] [first] [last] [end] | <quotes and snapshots>`.

A quote reads `<trust> <bid>x<quantity> <ask>x<quantity>`, `-` for an empty side, and `@<seconds>` where it is
stamped with another time than the line's. `snap 2/3 …` is a snapshot: levels a side, then its best two.

Defects of the system before this one that cannot come back: updates that added instead of setting, removals that
were ignored, levels of a snapshot that could not be removed, book events that were dropped, quotes invented from
trades (quotes come from here alone, and tests/unit/test_book.py compares them with the venue's own).
"""

from __future__ import annotations

from typing import Any

from processors.book import QUOTE_OUTPUT, Book, BookParameters, counts, levels, touch
from schemas.declare import Rows
from schemas.events import BOOK_DELTA, BookAction, DeltaFlag, Side, Trust
from tests.tapes.tape import Line, amount, play, seconds, text_of

FLAGS = {"first": DeltaFlag.FIRST, "last": DeltaFlag.LAST, "end": DeltaFlag.SNAPSHOT_END}
SIDES = {"bid": Side.BUY, "ask": Side.SELL}
E8 = 100_000_000
UNBOUNDED = BookParameters(stale_after_ns=0)


def delta(line: Line) -> Rows:
    action, *words = line.words
    row = BOOK_DELTA.empty(1)
    row["instrument"], row["update_id"] = 7, 100 + line.number
    row["ts_event_ns"] = row["ts_recv_ns"] = line.time_ns
    row["action"] = BookAction[action.upper()]
    if words and words[0] in SIDES:
        row["side"], row["price_e8"], row["quantity_e8"] = SIDES[words[0]], amount(words[1]), amount(words[2])
        words = words[3:]
    row["flags"] = sum(FLAGS[word] for word in words)
    return row


def said(output: int, row: Rows) -> str:
    if output == QUOTE_OUTPUT:
        sides = [side_text(row["bid_price_e8"], row["bid_quantity_e8"])]
        sides.append(side_text(row["ask_price_e8"], row["ask_quantity_e8"]))
        late = "" if row["ts_recv_ns"] == row["ts_event_ns"] else f" @{seconds(row['ts_recv_ns'])}"
        return f"{Trust(int(row['trust'])).name} {' '.join(sides)}{late}"
    best = [
        side_text(row[f"{side}_price_e8"][k], row[f"{side}_quantity_e8"][k]) for side in ("bid", "ask") for k in (0, 1)
    ]
    return f"snap {row['bid_levels']}/{row['ask_levels']} {' '.join(best)}"


def side_text(price_e8: Any, quantity_e8: Any) -> str:
    return f"{text_of(price_e8)}x{text_of(quantity_e8)}" if price_e8 else "-"


def test_book_follows_its_stream() -> None:
    state = play(
        Book(UNBOUNDED),
        """
        0.0  resync                              | RESYNCING - -
        0.1  snapshot bid 100.0 5  first         |
        0.1  snapshot bid 99.5  8                |
        0.1  snapshot ask 100.5 2                |
        0.1  snapshot ask 101.0 4  last end      | SYNCED 100x5 100.5x2; snap 2/2 100x5 99.5x8 100.5x2 101x4
        # nothing is said in the middle of a venue event, though the touch has moved
        0.2  update   bid 100.0 0  first         |
        0.2  update   ask 100.5 3  last          | SYNCED 99.5x8 100.5x3
        # a quantity is set, not added
        0.3  update   bid 99.5  1  first last    | SYNCED 99.5x1 100.5x3
        0.3  update   bid 98.0  7  first last    |
        # removing what is not there is no event
        0.4  update   bid 97.0  0  first last    |
        0.5  update   ask 100.5 0  first         |
        0.5  update   ask 101.0 0  last          | SYNCED 99.5x1 -
        0.6  update   ask 99.75 6  first last    | SYNCED 99.5x1 99.75x6
        # the second is over: one snapshot, at the first consistent row
        1.3  update   bid 98.0  9  first         |
        1.3  update   bid 97.5  9  last          | snap 3/1 99.5x1 98x9 99.75x6 -
        1.9  update   bid 98.0  1  first last    |
        2.0  update   bid 98.0  2  first last    | snap 3/1 99.5x1 98x2 99.75x6 -
        """,
        delta,
        said,
    )
    assert levels(state, 7, Side.BUY) == [
        (99_5000_0000, 1_0000_0000),
        (98_0000_0000, 2_0000_0000),
        (97_5000_0000, 9_0000_0000),
    ]


def test_gap_is_said_at_once_and_healed_only_by_a_snapshot() -> None:
    state = play(
        Book(UNBOUNDED),
        """
        0.0  snapshot bid 10 1  first            | RESYNCING - -
        0.0  snapshot ask 11 1  last end         | SYNCED 10x1 11x1; snap 1/1 10x1 - 11x1 -
        0.1  gap                                 | GAP 10x1 11x1
        0.1  gap                                 |
        # updates of a broken chain are not followed
        0.2  update   bid 10 9  first last       |
        0.3  resync                              | RESYNCING 10x1 11x1
        0.4  snapshot bid 12 3  first            |
        0.4  snapshot ask 13 3  last             |
        # updates replayed onto the snapshot belong to it
        0.4  update   bid 12 4  first last       |
        0.4  update   ask 12.5 1 first last end  | SYNCED 12x4 12.5x1; snap 1/2 12x4 - 12.5x1 13x3
        """,
        delta,
        said,
    )
    assert counts(state, 7)["gaps"] == 1
    assert counts(state, 7)["unfollowed"] == 1


def test_book_that_breaks_while_it_is_loaded_does_not_become_synced() -> None:
    play(
        Book(UNBOUNDED),
        """
        0.0  snapshot bid 10 1  first            | RESYNCING - -
        0.0  gap                                 | GAP - -
        0.0  update   bid 10 2  last end         |
        0.0  snapshot ask 11 1  last end         | dead: a level of a snapshot whose first row was not seen
        0.1  snapshot bid 10 1  first last end   | RESYNCING - -; SYNCED 10x1 -; snap 1/0 10x1 - - -
        """,
        delta,
        said,
    )


def test_new_snapshot_of_a_synced_book_is_not_trusted_before_its_end() -> None:
    play(
        Book(UNBOUNDED),
        """
        0.0  snapshot bid 10 1  first            | RESYNCING - -
        0.0  snapshot ask 11 1  last end         | SYNCED 10x1 11x1; snap 1/1 10x1 - 11x1 -
        0.5  snapshot bid 10 1  first            | RESYNCING 10x1 11x1
        0.5  snapshot ask 11 1  last end         | SYNCED 10x1 11x1; snap 1/1 10x1 - 11x1 -
        """,
        delta,
        said,
    )


def test_empty_snapshot_empties_the_book() -> None:
    play(
        Book(UNBOUNDED),
        """
        0.0  snapshot bid 10 1  first            | RESYNCING - -
        0.0  snapshot ask 11 1  last end         | SYNCED 10x1 11x1; snap 1/1 10x1 - 11x1 -
        0.5  snapshot bid 0 0   first last end   | RESYNCING 10x1 11x1; SYNCED - -; snap 0/0 - - - -
        0.6  update   bid 5 1   first last       | SYNCED 5x1 -
        """,
        delta,
        said,
    )


def test_crossed_book_is_not_trusted_until_an_update_uncrosses_it() -> None:
    state = play(
        Book(UNBOUNDED),
        """
        0.0  snapshot bid 10 1  first            | RESYNCING - -
        0.0  snapshot ask 11 1  last end         | SYNCED 10x1 11x1; snap 1/1 10x1 - 11x1 -
        # crossed in the middle of an event is nothing …
        0.1  update   bid 12 2  first            |
        0.1  update   ask 11 0                   |
        0.1  update   ask 13 1  last             | SYNCED 12x2 13x1
        # … at its end it is; touching is crossed too
        0.2  update   ask 12 5  first last       | CROSSED 12x2 12x5
        1.5  update   ask 11.5 5  first last     | CROSSED 12x2 11.5x5
        1.6  update   bid 12 0  first last       | SYNCED 10x1 11.5x5; snap 1/3 10x1 - 11.5x5 12x5
        """,
        delta,
        said,
    )
    assert counts(state, 7)["crossings"] == 1


def test_silence_makes_a_book_stale_and_the_next_update_heals_it() -> None:
    state = play(
        Book(BookParameters(stale_after_ns=5_000_000_000)),
        """
        0.0  snapshot bid 10 1  first            | RESYNCING - -
        0.0  snapshot ask 11 1  last end         | SYNCED 10x1 11x1; snap 1/1 10x1 - 11x1 -
        2.0  update   bid 9  1  first last       | snap 2/1 10x1 9x1 11x1 -
        6.9  on_time                             |
        7.0  on_time                             | STALE 10x1 11x1 @7
        9.0  on_time                             |
        9.5  update   bid 8  1  first            |
        9.5  update   bid 8  2  last             | SYNCED 10x1 11x1; snap 3/1 10x1 9x1 11x1 -
        # a row that comes after the deadline finds the book stale, whether or not a timer was fired
        20   update   bid 10 3  first last       | STALE 10x1 11x1 @14.5; SYNCED 10x3 11x1; snap 3/1 10x3 9x1 11x1 -
        # the connection may say so earlier
        21   stale                               | STALE 10x3 11x1
        22   update   bid 10 3  first last       | SYNCED 10x3 11x1; snap 3/1 10x3 9x1 11x1 -
        # a book that is not believed anyway does not get stale
        22   gap                                 | GAP 10x3 11x1
        40   on_time                             |
        41   stale                               |
        """,
        delta,
        said,
    )
    assert counts(state, 7)["stalls"] == 3
    assert touch(state, 7).trust is Trust.GAP
    assert touch(state, 8).trust is Trust.EMPTY


def test_bad_rows_are_put_aside_and_change_nothing() -> None:
    play(
        Book(UNBOUNDED),
        """
        0.0  snapshot bid 10 1  first            | RESYNCING - -
        0.0  snapshot ask 11 1  last end         | SYNCED 10x1 11x1; snap 1/1 10x1 - 11x1 -
        0.1  update   bid 0  1  first last       | dead: price 0 is not above 0 and at most 46,116,860,184
        0.1  update   bid -3 1  first last       | dead: price -3 is not above 0 and at most 46,116,860,184
        0.1  update   bid 10 -1 first last       | dead: quantity -1 is negative
        0.1  update   bid 10 2  first last       | SYNCED 10x2 11x1
        """,
        delta,
        said,
    )


def test_level_too_many_far_from_the_touch_ends_trust_and_is_never_cut_silently() -> None:
    book = Book(BookParameters(stale_after_ns=0, ladder_ticks=64, overflow_levels_max=4))
    state = play(
        book,
        """
        0.0  snapshot bid 100.1 1  first         | RESYNCING - -
        0.0  snapshot ask 100.2 1  last end      | SYNCED 100.1x1 100.2x1; snap 1/1 100.1x1 - 100.2x1 -
        0.1  update   bid 1.1 1  first last      |
        0.1  update   bid 1.2 1  first last      |
        0.1  update   bid 1.3 1  first last      |
        0.1  update   bid 1.4 1  first last      |
        0.2  update   bid 1.4 7  first last      |
        0.3  update   bid 1.5 1  first last      | GAP 100.1x1 100.2x1 @0.3; dead: more levels far from the touch than \
overflow_levels_max = 4 a side; the book is not trusted until its next snapshot
        0.4  update   bid 100.1 9  first last    |
        0.5  snapshot bid 100.1 1  first last end | RESYNCING 100.1x1 100.2x1; SYNCED 100.1x1 -; snap 1/0 100.1x1 - - -
        """,
        delta,
        said,
    )
    assert counts(state, 7)["gaps"] == 1
