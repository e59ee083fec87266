"""How soon `shriven why` has walked from a fill to the wire: every fill of a session of about a million rows.

The session is two real recordings, played ten times as fast, with two strategies trading on paper. Each fill is asked
for with nothing open; the whole command, with Python's start, is measured beside it.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from infra.sessions.readback import frames, keys_of
from infra.sessions.store import Session, load
from infra.sessions.why import Why
from streams.topics import TOPICS, topic
from tests.bench.result import Result, print_results
from tests.cli import shriven
from tests.recordings import recordings_dir

NAMES = ("usdm_btcusdt_20240808.gz", "usdm_ethusdt_20240808.gz")
GOAL_MS = 1000.0
FILLS_MAX = 2000


def played(data: Path) -> Session:
    """Run it; a minute."""
    plays = [word for name in NAMES for word in ("--play", f"binance_usdm={recordings_dir() / name}")]
    words = ("up", "--trade", "--broker", "none", *plays, "--speed", "10", "--until-end", "--json")
    summary = shriven(*words, data=data, timeout_s=900).json()
    return load(data / "sessions" / summary["session"])


def rows_in(session: Session) -> int:
    """Rows of all topics."""
    return sum(
        len(frame.rows) for row in TOPICS for key in keys_of(session.log, row) for frame in frames(session.log, key)
    )


def measure(session: Session, data: Path) -> list[Result]:
    """Every fill, then one by the command line."""
    fills = sum(
        len(frame.rows) for key in keys_of(session.log, topic("oms.fill")) for frame in frames(session.log, key)
    )
    rows = rows_in(session)
    took_ms: list[float] = []
    whole = 0
    numbers = range(1, fills + 1, max(1, fills // FILLS_MAX))
    _ask(session, 1)  # compiled code is loaded
    for number in numbers:
        begin = time.perf_counter()
        whole += _ask(session, number)
        took_ms.append((time.perf_counter() - begin) * 1e3)
    begin = time.perf_counter()
    assert shriven("why", "fill", "latest", "--json", data=data).code == 0
    command_ms = (time.perf_counter() - begin) * 1e3
    work = f"why: {len(took_ms):,} of {fills:,} fills of a session of {rows:,} rows, each walked to the wire both ways"
    note = (
        f"{whole:,} reached it; median {statistics.median(took_ms):.1f} ms; the whole command took {command_ms:.0f} ms"
    )
    goal = f"max ≤ {GOAL_MS:g} ms, all reach the wire"
    reached = max(took_ms) <= GOAL_MS and whole == len(took_ms)
    return [Result(work, max(took_ms), "ms at most", "the whole command", command_ms, goal, reached, note)]


def _ask(session: Session, number: int) -> bool:
    why = Why(session)
    try:
        ways = why.row(why.fill_number(number).address)
    finally:
        why.close()
    needed = {"why it was filled", "why it was ordered"}
    return needed <= {way.title for way in ways if way.reaches_the_wire}


def run() -> list[Result]:
    """Of a session that is played for this."""
    with tempfile.TemporaryDirectory() as folder:
        return measure(played(Path(folder)), Path(folder))


if __name__ == "__main__":  # with a data folder: of the latest session in it
    if len(sys.argv) > 1:
        given = Path(sys.argv[1])
        print_results(measure(load(max((given / "sessions").iterdir())), given))
    else:
        print_results(run())
