"""`up --trade` under SIGKILLs, cuts and faults at seeded moments; then the venue itself is asked what there is.

    python -m tests.integration.kill_trade --points 200 --seed 1 --broker none

Every process is killed while it works: one that is down or starting is left alone until it is up again. A `cut` ends
every socket of the venue, and so the connector's and the gateway's. With `--broker embedded` the shipper is killed like
the others, and the broker (it belongs to this run) is stopped in order or killed; `up` starts it again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from connectors.signing import HmacSigner, query_of, signed_query
from connectors.simulator.private_config import PAPER_KEY, PAPER_SECRET
from infra.broker.embedded import Broker
from infra.config import Config
from infra.place import broker_settings
from infra.process.status import Status, read_all
from infra.sessions.readback import root_of
from infra.sessions.store import load
from schemas.instruments import instrument_id
from schemas.money import parse_e8
from streams.local import LocalReader
from streams.topics import topic
from tests.cli import shriven
from tests.recordings import ROOT
from tests.simulation.trading_truth import TheirOrder, TheirTrade, Truth, complaints

SYMBOLS = ("BTCUSDT", "ETHUSDT")
STRATEGIES = ("maker", "momentum")
TARGETS = ("trader", "gateway-binance_usdm", "connector-binance_usdm", "book", "bars")
ORDERS = topic("oms.order.v1").number
CUT = "cut"
SHIPPER, BROKER = "shipper", "broker"
BROKER_CHANCE = 0.5  # it is away for seconds each time, in which nobody else is hit at work: in every second round
EACH_PER_MINUTE = 4  # the supervisor gives a process up that dies more often than five times
START_S, REST_S, STOP_S = 400.0, 120.0, 200.0
PAGE = 1000


class Asker:
    """Asks the simulated venue as anybody with the paper account's key does."""

    def __init__(self, rest_url: str) -> None:
        self._url, self._signer = rest_url, HmacSigner(PAPER_SECRET)

    def get(self, path: str, **given: object) -> Any:
        moment = [("recvWindow", "60000"), ("timestamp", str(time.time_ns() // 1_000_000))]
        query = query_of([*((name, str(value)) for name, value in given.items()), *moment])
        answer = httpx.get(
            f"{self._url}{path}?{signed_query(query, self._signer)}", headers={"X-MBX-APIKEY": PAPER_KEY}, timeout=10
        )
        answer.raise_for_status()
        return answer.json()

    def fault(self, name: str, **given: object) -> None:
        httpx.get(f"{self._url}/sim/fault", params={"name": name, **{key: str(one) for key, one in given.items()}})

    def pages(self, path: str, symbol: str, start: str, number: str) -> Iterator[dict[str, Any]]:
        """Everything of a symbol, oldest first; `start` names the parameter, `number` the column that it counts."""
        first = 1
        while page := self.get(path, symbol=symbol, limit=PAGE, **{start: first}):
            yield from page
            first = int(page[-1][number]) + 1

    def truth(self) -> Truth:
        """Everything there is."""
        names: dict[int, str] = {}
        orders, trades = [], []
        for symbol in SYMBOLS:
            for one in self.pages("/fapi/v1/allOrders", symbol, "orderId", "orderId"):
                names[int(one["orderId"])] = one["clientOrderId"]
                price, quantity, executed = (parse_e8(one[name]) for name in ("price", "origQty", "executedQty"))
                orders.append(TheirOrder(one["clientOrderId"], one["status"], price, quantity, executed))
            for one in self.pages("/fapi/v1/userTrades", symbol, "fromId", "id"):
                price, quantity, fee = (parse_e8(one[name]) for name in ("price", "qty", "commission"))
                name, number = names[int(one["orderId"])], int(one["id"])
                trades.append(TheirTrade(name, number, price, quantity, fee, int(one["maker"])))
        held = {one["symbol"]: parse_e8(one["positionAmt"]) for one in self.get("/fapi/v3/positionRisk")}
        positions = {instrument_id(f"binance_usdm:{symbol}"): held.get(symbol, 0) for symbol in SYMBOLS}
        wallet = next(parse_e8(one["balance"]) for one in self.get("/fapi/v3/balance") if one["asset"] == "USDT")
        return Truth(orders, trades, positions, wallet)


class Trading:
    """One `up --trade` in a process of its own."""

    def __init__(self, data: Path, broker: str, seed: int, *words: str) -> None:
        self._data = data
        symbols = [word for symbol in SYMBOLS for word in ("--symbol", symbol)]
        environment = {**os.environ, "SHRIVEN_DATA": str(data), "SHRIVEN_KAFKA": "", "SHRIVEN_SESSION": ""}
        self._up = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "up", "--trade", "--broker", broker, "--json", "--seed", str(seed),
             *symbols, *words],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said: list[str] = []
        self._traded = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._up.stderr is not None
        for line in self._up.stderr:
            self.said.append(line.rstrip())
            if "first fill after" in line:
                self._traded.set()

    @property
    def folder(self) -> Path:
        """The session's."""
        return next((self._data / "sessions").iterdir())

    def statuses(self) -> dict[str, Status]:
        return read_all(load(self.folder).status)

    def begin(self) -> None:
        """Until it trades."""
        deadline = time.monotonic() + START_S
        while not self._traded.wait(0.2):
            assert self._up.poll() is None, "\n".join(self.said[-30:])
            assert time.monotonic() < deadline, "\n".join(self.said[-30:])
        self.venue = Asker(str(self.statuses()["venue-binance_usdm"].facts["rest_url"]))

    def kill(self, name: str) -> bool:
        """Whether it was up, and is not any more."""
        status = self.statuses().get(name)
        if status is None or status.state != "running" or status.updated_ns < time.time_ns() - 1_000_000_000:
            return False
        os.kill(status.pid, signal.SIGKILL)
        return True

    def end_broker(self, in_order: bool) -> bool:
        """Whether it was up, and is not any more."""
        broker = Broker(broker_settings(Config(data=self._data)))
        if not broker.status().answers:
            return False
        if in_order:
            broker.stop()
        else:
            broker.kill(1)
        return True

    def wait_for_orders(self, seconds: float) -> None:
        """Until another order row was written, or so long."""
        end, before = time.monotonic() + seconds, self._order_rows()
        while time.monotonic() < end and self._order_rows() <= before:
            time.sleep(0.1)

    def _order_rows(self) -> int:
        trader = self.statuses().get("trader")
        return sum(row for key, row in (trader.written if trader else {}).items() if key.topic == ORDERS)

    def hit(self, target: str, chance: random.Random) -> None:
        """One end of a process or cut of the venue's sockets; waits until it is up."""
        if target == CUT:
            self.venue.fault(CUT)
            return
        in_order = chance.random() < 0.5
        deadline = time.monotonic() + REST_S
        while not (self.end_broker(in_order) if target == BROKER else self.kill(target)):
            assert self._up.poll() is None, "\n".join(self.said[-30:])
            assert time.monotonic() < deadline, f"{target} does not come back: {self.said[-5:]}"
            time.sleep(0.05)
        time.sleep(chance.uniform(0.0, 0.3))

    def rest(self) -> Truth:
        """No strategy wants anything any more; until the venue has no order and says the same twice."""
        for name in STRATEGIES:
            assert shriven("strategies", "disable", name, "--why", "a test", data=self._data).code == 0
        before: Truth | None = None
        deadline = time.monotonic() + REST_S
        while time.monotonic() < deadline:
            time.sleep(5.0)
            found = self.venue.truth()
            if found == before and all(one.status not in ("NEW", "PARTIALLY_FILLED") for one in found.orders):
                return found
            before = found
        raise AssertionError(f"it never comes to rest: {[one for one in found.orders if one.status == 'NEW']}")

    def end(self) -> dict[str, Any]:
        """Ctrl-C; returns the summary."""
        self._up.send_signal(signal.SIGINT)
        assert self._up.stdout is not None
        out = self._up.stdout.read()
        assert self._up.wait(STOP_S) == 0, "\n".join(self.said[-30:])
        summary: dict[str, Any] = json.loads(out)
        return summary

    def abandon(self) -> None:
        if self._up.poll() is None:
            self._up.send_signal(signal.SIGINT)
            try:
                self._up.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._up.kill()

    def complaints(self, truth: Truth) -> list[str]:
        session = load(self.folder)
        return complaints(LocalReader(root_of(session), session.incarnation), truth)


def targets_of(broker: str) -> tuple[str, ...]:
    return (*TARGETS, CUT, *(() if broker == "none" else (SHIPPER, BROKER)))


def storm(
    trading: Trading, points: int, chance: random.Random, targets: tuple[str, ...], patience_s: float = 0.0
) -> Counter[str]:
    """So many ends of processes and cuts of the venue's sockets, spread over all of them.

    Args:
        patience_s: so long each waits for orders to move again: on a slow machine little is traded otherwise.
    """
    hit: Counter[str] = Counter()
    pause_s = 60.0 / (EACH_PER_MINUTE * len(targets))
    order: list[str] = []
    while sum(hit.values()) < points:
        if not order:
            order = [
                one for one in chance.sample(targets, len(targets)) if one != BROKER or chance.random() < BROKER_CHANCE
            ]
        target = order.pop()
        trading.wait_for_orders(patience_s)
        time.sleep(pause_s * chance.uniform(0.5, 1.5))
        trading.hit(target, chance)
        hit[target] += 1
    return hit


def run(
    data: Path, points: int, seed: int, broker: str = "none", *words: str, patience_s: float = 0.0
) -> tuple[Counter[str], Truth, list[str]]:
    """What was hit, what the venue says at the end, and what does not agree with it."""
    trading = Trading(data, broker, seed, *words)
    try:
        trading.begin()
        hit = storm(trading, points, random.Random(seed), targets_of(broker), patience_s)
        time.sleep(10.0)
        truth = trading.rest()
        trading.end()
    finally:
        trading.abandon()
    return hit, truth, trading.complaints(truth)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broker", default="none")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds to wait for trading before each point")
    parser.add_argument("--keep", type=Path, help="a new folder for the session's data, which stays")
    parser.add_argument("--fault", action="append", default=[], help="as of `up`, such as broker_down@60:seconds=5")
    given = parser.parse_args()
    begun = time.monotonic()
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        words = [word for fault in given.fault for word in ("--fault", fault)]
        hit, truth, found = run(folder, given.points, given.seed, given.broker, *words, patience_s=given.patience)
    took = time.monotonic() - begun
    print(f"seed {given.seed}: {dict(hit)} in {took:.0f} s; {len(truth.orders)} orders, {len(truth.trades)} executions")
    print("\n".join(found) or "everything agrees with the venue")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
