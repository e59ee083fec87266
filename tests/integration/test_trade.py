"""`up --trade`: two strategies trade on paper, through risk, orders, a gateway and a venue that speaks the real private
API, into positions and a ledger; and all of it runs again the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from infra.sessions.readback import frames, keys_of
from schemas.declare import Rows
from schemas.errors import VenueRejected
from schemas.events import Trust
from schemas.trading import LedgerAccount, RequestAction
from streams.topics import topic
from tests.cli import shriven
from tests.recordings import ROOT

pytestmark = pytest.mark.timeout(600)

UP = ("up", "--trade", "--symbol", "BTCUSDT", "--symbol", "ETHUSDT", "--json")


class Traded(NamedTuple):
    summary: dict[str, Any]
    data: Path
    root: Path

    def rows(self, name: str) -> Rows:
        parts = [frame.rows.copy() for key in keys_of(self.root, topic(name)) for frame in frames(self.root, key)]
        rows: Rows = np.concatenate([topic(name).event.empty(), *parts])
        return rows


@pytest.fixture(
    scope="module",
    params=[pytest.param("none", marks=pytest.mark.slow), pytest.param("kafka", marks=pytest.mark.broker)],
)
def traded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Traded:
    broker = request.param if request.param == "none" else request.getfixturevalue("kafka")
    data = tmp_path_factory.mktemp("traded")
    for seconds in ("20", "120"):  # a machine that stalls refuses what is stale: it is given more time
        summary = shriven(*UP, "--broker", broker, "--for", seconds, data=data, timeout_s=400).json()
        if "oms.fill.v1" in summary["rows"]:
            break
    session = data / "sessions" / summary["session"]
    return Traded(summary, data, session / ("log" if request.param == "none" else "sealed"))


def test_it_trades_and_nothing_is_put_aside(traded: Traded) -> None:
    assert traded.summary["rows"].get("oms.fill.v1", 0) > 0, traded.summary
    assert traded.summary["dead_letters"] == 0
    states = {name: one["state"] for name, one in traded.summary["processes"].items()}
    assert set(states.values()) == {"stopped"}
    assert {"trader", "gateway-binance_usdm"} <= set(states)


def test_every_request_has_one_decision_and_every_denial_its_reasons(traded: Traded) -> None:
    decisions, denials = traded.rows("risk.decision.v1"), traded.rows("risk.denial.v1")
    assert len(decisions) == len(traded.rows("oms.order_request.v1"))
    assert len(denials) == sum(int(reasons).bit_count() for reasons in decisions["reasons"])


def test_no_new_order_was_decided_on_a_book_that_was_not_to_be_trusted(traded: Traded) -> None:
    decisions = traded.rows("risk.decision.v1")
    gone = decisions[(decisions["reasons"] == 0) & (decisions["action"] == RequestAction.NEW)]
    assert len(gone) > 0
    assert set(gone["trust"].tolist()) == {int(Trust.SYNCED)}


def test_no_order_is_sent_twice_and_no_fill_counts_twice(traded: Traded) -> None:
    commands, fills = traded.rows("oms.order_command.v1"), traded.rows("oms.fill.v1")
    submits = commands[commands["command"] == 0]
    assert len(np.unique(submits["order_id"])) == len(submits)
    assert len(np.unique(fills["trade_id"])) == len(fills)
    assert np.isin(fills["order_id"], submits["order_id"]).all()


def test_the_ledger_sums_to_zero_and_agrees_with_the_venue(traded: Traded) -> None:
    sums: defaultdict[tuple[int, int], int] = defaultdict(int)
    for row in traded.rows("acct.posting.v1"):
        sums[int(row["entry"]), int(row["asset"])] += int(row["amount_e8"])
    assert set(sums.values()) == {0}
    agree(traded)


def agree(traded: Traded) -> None:
    """Cash ends as the venue's wallet, was every wallet that the venue ever told, and nothing was found to differ."""
    balances, postings = traded.rows("acct.balance.v1"), traded.rows("acct.posting.v1")
    assert balances[-1]["amount_e8"] == balances[-1]["venue_e8"]
    assert set(balances["venue_e8"].tolist()) <= set(balances["amount_e8"].tolist())
    assert LedgerAccount.ADJUSTMENT not in postings["ledger"]


def test_positions_are_the_sum_of_the_fills(traded: Traded) -> None:
    held: defaultdict[int, int] = defaultdict(int)
    for fill in traded.rows("oms.fill.v1"):
        held[int(fill["strategy"])] += int(fill["quantity_e8"]) * (1 if fill["side"] == 0 else -1)
    latest = {int(row["strategy"]): int(row["quantity_e8"]) for row in traded.rows("acct.position.v1")}
    assert latest == dict(held)


def test_the_whole_session_runs_again_the_same(traded: Traded) -> None:
    again = shriven("replay", traded.summary["session"], "--cut", "1", "--json", data=traded.data).json()
    assert again["equal"] is True
    assert {"risk.decision.v1", "oms.order.v1", "acct.posting.v1", "venue.report.v1"} <= set(again["topics"])
    assert all(found["equal"] for found in again["topics"].values())


@pytest.mark.slow
def test_kill_with_flatten_leaves_no_order_and_no_position(tmp_path: Path) -> None:
    words = [*UP, "--broker", "none", "--for", "90"]
    environment = {**os.environ, "SHRIVEN_DATA": str(tmp_path), "SHRIVEN_KAFKA": "", "SHRIVEN_SESSION": ""}
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.cli", *words],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "first book after" in line:
            break
    deadline = time.monotonic() + 60
    while not shriven("positions", "--json", data=tmp_path).json():
        assert time.monotonic() < deadline, "nothing was filled"
    killed = shriven("kill", "all", "--why", "a test", "--flatten", "--json", data=tmp_path).json()
    assert re.fullmatch(r"cancelled after \d+ ms, flat after \d+ ms", killed["gateway"])
    refused = shriven("order", "new", "binance_usdm:BTCUSDT", "buy", "0.01", data=tmp_path)
    assert (refused.code, "KILL_GLOBAL" in refused.err) == (VenueRejected.exit_code, True)
    summary = json.loads(process.communicate(timeout=300)[0])
    held: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in shriven("positions", "--json", data=tmp_path).json():
        held[row["instrument"]] += Decimal(row["quantity"])
    assert set(held.values()) == {Decimal(0)}
    assert shriven("orders", "--json", data=tmp_path).json() == []
    agree(Traded(summary, tmp_path, tmp_path / "sessions" / summary["session"] / "log"))
    again = shriven("replay", summary["session"], "--json", data=tmp_path).json()
    assert again["equal"] is True
