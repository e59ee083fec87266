"""Lives of the trading chain, seed after seed: `python -m tests.simulation.trading_weather --seeds 1000 --first 1`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from streams.clock import monotonic_ns
from streams.memory import MemoryReader
from tests.pipelines import INCARNATION
from tests.simulation.trading_truth import Record, TheirOrder, TheirTrade, Truth, complaints
from tests.simulation.trading_world import IDS, SYMBOLS, Bugs, World

AGAIN = "python -m tests.simulation.trading_weather --seeds 1 --first"
SHOWN = 20


class Failed(AssertionError):
    """A seed whose world did not end as it must."""

    def __init__(self, found: Sequence[str]) -> None:
        super().__init__("\n  ".join([f"{len(found)} complaints", *found[:SHOWN]]))


@contextmanager
def _named(seed: int) -> Iterator[None]:
    """Whatever is raised says which seed it was, and how to see it again."""
    done = False
    try:
        yield
        done = True
    finally:
        error = sys.exc_info()[1]
        if not done and error is not None:
            error.add_note(f"seed {seed}; again with: {AGAIN} {seed}")


def lived(seed: int, bugs: Bugs | None = None) -> World:
    """A whole life.

    Raises:
        Failed: it did not end as it must.
    """
    with _named(seed):
        world = World(seed, bugs)
        found = world.live(lambda alive: complaints(MemoryReader(alive.log, INCARNATION), truth_of(alive)))
        if found:
            raise Failed(found)
        return world


def truth_of(world: World) -> Truth:
    """From inside of the world's venue."""
    desk = world.venue.half.desk
    account = desk.accounts[1]
    waiting = [one for one in world.venue.half.algos.all() if one.order is None]  # the others became normal orders
    return Truth(
        [
            TheirOrder(one.client_id, one.status, one.price_e8, one.quantity_e8, one.executed_e8)
            for one in desk.orders.values()
        ]
        + [TheirOrder(one.client_id, one.status, one.price_e8, one.quantity_e8, 0) for one in waiting],
        [
            TheirTrade(one.order.client_id, one.trade_id, one.price_e8, one.quantity_e8, one.fee_e8, int(one.is_maker))
            for one in desk.trades[1]
        ],
        {number: account.position(symbol).amount_e8 for symbol, number in zip(SYMBOLS, IDS, strict=True)},
        account.wallet_e8,
    )


def record_of(world: World) -> Record:
    return Record(MemoryReader(world.log, INCARNATION))


def tally(world: World) -> Counter[str]:
    """What happened in a life, counted."""
    counted = Counter({f"deaths of {name}": count for name, count in world.deaths.items()})
    counted.update({f"fault {name}": count for name, count in world.faults.items()})
    for name in ("oms.order_request.v1", "oms.order_command.v1", "oms.fill.v1", "venue.report.v1", "md.quote.v1"):
        counted[f"rows {name}"] = len(record_of(world).rows(name))
    conditional = world.venue.half.algos.all()
    counted["conditional orders"] = len(conditional)
    counted["conditional orders that were triggered"] = sum(one.order is not None for one in conditional)
    counted["halts by differences"] = len(world.halts)
    counted["lost on the network"] = world.network.lost
    return counted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--keep-going", action="store_true", help="after a failure too")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what the gateway says of its troubles
    begin_ns, total, failed, last = monotonic_ns(), Counter[str](), [], given.first + given.seeds - 1
    for seed in range(given.first, last + 1):
        try:
            total.update(tally(lived(seed)))
        except Failed as error:
            failed.append(seed)
            print(f"{error}\n  {error.__notes__[0]}", flush=True)
            if not given.keep_going:
                break
        if seed % 10 == 0:
            elapsed_s = (monotonic_ns() - begin_ns) / 1e9
            print(f"seed {seed} of {last}: {elapsed_s:.0f} s, {len(failed)} failed", file=sys.stderr, flush=True)
    for name, count in sorted(total.items()):
        print(f"{count:>9,} {name}")
    print(f"{given.seeds} seeds in {(monotonic_ns() - begin_ns) / 1e9:.0f} s; failed: {failed or 'none'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
