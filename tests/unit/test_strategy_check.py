"""A strategy's file is held to the laws before it joins the others: each breach is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.strategies import STRATEGIES
from processors.strategy_check import check_file, parse_parameters
from schemas.errors import ConfigInvalid
from tests.recordings import ROOT

HEAD = """
from dataclasses import dataclass
from processors.strategies.api import Context, Quote, Strategy
from schemas.events import Side


@dataclass(frozen=True)
class Parameters:
    quantity_e8: int = 1_000_000


class Mine(Strategy[Parameters]):
    parameters_kind = Parameters
"""
BUYS = (
    HEAD
    + """
    def on_quote(self, at: Context, quote: Quote) -> None:
        at.place(Side.BUY, self.parameters.quantity_e8, quote.bid_price_e8)
"""
)
REMEMBERS = (
    HEAD
    + """
    seen = 0

    def on_quote(self, at: Context, quote: Quote) -> None:
        self.seen += 1
        if self.seen % 3 == 0:
            at.place(Side.BUY, self.parameters.quantity_e8 * self.seen, quote.bid_price_e8)
"""
)
FAILS = (
    HEAD
    + """
    def on_quote(self, at: Context, quote: Quote) -> None:
        at.memory[5] = 1
"""
)


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(text)
    return path


def test_lawful_file_is_played_and_its_requests_are_counted(tmp_path: Path) -> None:
    found = check_file(file_of(tmp_path, BUYS))
    assert (found.name, found.parameters) == ("Mine", {"quantity_e8": 1_000_000})
    assert found.requests > 0


@pytest.mark.parametrize("rule", STRATEGIES)
def test_every_strategy_keeps_the_laws_and_asks_for_something(rule: str) -> None:
    assert check_file(ROOT / "processors" / "strategies" / f"{rule}.py").requests > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("class Mine(", "line 1 is no Python"),
        (BUYS.replace("from dataclasses", "import time\nfrom dataclasses"), "line 2 breaks a law: it imports time"),
        (BUYS.replace("from dataclasses", "from numpy import random\nfrom dataclasses"), "imports numpy.random"),
        (BUYS.replace("Strategy[Parameters]", "Nobody"), "does not load: NameError"),
        (HEAD.replace("class Mine(Strategy[Parameters]):", "class Mine:"), "defines 0 strategies"),
        (BUYS.replace("int = 1_000_000", "float = 1.5"), "parameter quantity_e8 must be int, str or bool"),
        (BUYS.replace("int = 1_000_000", "int"), "fields all have defaults"),
        (BUYS + "    memory_size = 1_000_000\n", "memory_size is 1000000"),
        (REMEMBERS, "breaks a law: played with another object in its place"),
        (FAILS, "breaks: IndexError"),
    ],
)
def test_breach_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigInvalid, match=words):
        check_file(file_of(tmp_path, text))


def test_absent_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"absent\.py cannot be read"):
        check_file(tmp_path / "absent.py")


def test_parameters_are_typed_checked_and_laid_over_those_in_force() -> None:
    found = parse_parameters("momentum", {"fast": 3, "slow": 8}, ["slow=9", "allow_short=false"])
    assert found == {"fast": 3, "slow": 9, "allow_short": False}
    for texts, words in (
        (["fast=x"], "whole number"), (["fast"], "NAME=VALUE"), (["allow_short=1"], "true or false"),
        (["nonsense=1"], "has no parameter"), (["fast=50"], "must be below slow"),
    ):  # fmt: skip
        with pytest.raises(ConfigInvalid, match=words):
            parse_parameters("momentum", {"slow": 8}, texts)
    with pytest.raises(ConfigInvalid, match="no strategy file 'x'"):
        parse_parameters("x", {}, [])
