"""Every fault of the simulated venue under the whole platform: while the book was wrong, not one quote said SYNCED.

What is right is known: an undisturbed play of the same recording gives the touch at every update id, and the top
levels at every snapshot. Every SYNCED row of the disturbed play is held against it, to the last unit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from infra.sessions.readback import frames, keys_of
from schemas.declare import Rows
from schemas.events import Trust
from streams.topics import topic
from tests.cli import shriven
from tests.recordings import recording

pytestmark = [pytest.mark.recording, pytest.mark.slow, pytest.mark.timeout(600)]

NAME, BOOK = "spot_ethusdt_20240808.gz", "binance_spot:ETHUSDT"
SPEED = "12"  # the recording's 346 s in half a minute
TOUCH = ["bid_price_e8", "bid_quantity_e8", "ask_price_e8", "ask_quantity_e8"]

# Faults at seconds of the recording, and the least number of breaks that must have been seen. A refused or late
# snapshot hurts nobody who does not ask for one: a lost update before it makes the connector ask.
PLAYS: dict[str, tuple[tuple[str, ...], int]] = {
    "frames": (
        ("drop_diff@40", "duplicate_diff@80", "corrupt_frame@120", "swap_diffs@160", "unknown_event@200", "cut@240",
         "drop_diff@290:count=3"),
        5,
    ),
    "sockets": (("silence@60:seconds=8", "server_shutdown@200", "refuse_dials@250:seconds=2", "cut@251"), 2),
    "snapshots": (
        ("rest_429@39:count=2", "drop_diff@40", "late_snapshot@119:seconds=2", "drop_diff@120",
         "rest_418@199:seconds=3", "drop_diff@200", "old_snapshot@279:count=2", "drop_diff@280"),
        4,
    ),
}  # fmt: skip


class Played(NamedTuple):
    summary: dict[str, Any]
    quotes: Rows  # SYNCED ones
    tops: Rows  # SYNCED book snapshots


def play(data: Path, *words: str) -> Played:
    what = ("--play", f"binance_spot={recording(NAME)}", "--broker", "none", "--until-end", "--json")
    summary = shriven("up", *what, *words, data=data).json()
    root = data / "sessions" / summary["session"] / "log"
    return Played(summary, synced(root, "md.quote.v1"), synced(root, "md.book_snapshot.v1"))


def synced(root: Path, name: str) -> Rows:
    parts = [frame.rows.copy() for key in keys_of(root, topic(name)) for frame in frames(root, key)]
    rows: Rows = np.concatenate(parts)
    trusted: Rows = rows[rows["trust"] == Trust.SYNCED]
    return trusted


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Played:
    return play(tmp_path_factory.mktemp("right"), "--speed", "max")


@pytest.mark.parametrize("name", PLAYS)
def test_no_quote_is_synced_while_the_book_is_wrong(name: str, right: Played, tmp_path: Path) -> None:
    faults, breaks = PLAYS[name]
    found = play(tmp_path, "--speed", SPEED, *(word for fault in faults for word in ("--fault", fault)))
    ids = right.quotes["update_id"]
    at = np.searchsorted(ids, found.quotes["update_id"], side="right") - 1
    assert len(found.quotes) > 1_000
    assert (at >= 0).all(), "the same first book"
    wrong = found.quotes[TOUCH] != right.quotes[TOUCH][at]
    assert not wrong.any(), found.quotes[wrong][:3]

    order = np.argsort(right.tops["update_id"])
    place = np.searchsorted(right.tops["update_id"][order], found.tops["update_id"])
    known = right.tops[order[np.minimum(place, len(order) - 1)]]
    same = known["update_id"] == found.tops["update_id"]
    assert same.sum() > 100
    for column in TOUCH:
        assert (known[column][same] == found.tops[column][same]).all(), column

    book = found.summary["books"][BOOK]
    assert (book["trust"], book["crossed"]) == ("SYNCED", 0)
    assert book["gaps"] >= breaks
    assert book["ticker_equal"] == book["ticker_shared"] > 0
    healed = found.summary["time_to_resync_s"][BOOK]
    assert len(healed) == book["resyncs"] >= breaks
    print(f"\n{name}: {', '.join(faults)}\n  seconds to resync: {', '.join(f'{seconds:.2f}' for seconds in healed)}")
