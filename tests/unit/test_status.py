"""Status files: whole at any moment, the last word kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.process.status import Status, StatusWriter, merge_rows, read_all
from infra.up.watch import lags
from streams.api import WriterKey
from streams.clock import SYSTEM_CLOCK
from streams.topics import topic

KEY = WriterKey(topic("md.trade").number, 1, 64, 7)


def test_status_survives_the_file(tmp_path: Path) -> None:
    def fill(status: Status) -> None:
        status.rows_in, status.taken, status.facts = 5, {KEY: 5}, {"url": "ws://here"}

    with StatusWriter(tmp_path, "book", fill, SYSTEM_CLOCK) as writer:
        assert read_all(tmp_path)["book"].state == "starting"
        writer.write("running")
        found = read_all(tmp_path)["book"]
    assert (found.state, found.rows_in, found.taken, found.facts) == ("running", 5, {KEY: 5}, {"url": "ws://here"})
    assert found.rss_bytes_warm > 0
    assert read_all(tmp_path)["book"].state == "stopped"
    assert [path.name for path in tmp_path.iterdir()] == ["book.json"], "no scratch file stays"


def test_a_failed_process_leaves_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no luck"), StatusWriter(tmp_path, "book", lambda _: None, SYSTEM_CLOCK):
        raise ValueError("no luck")
    found = read_all(tmp_path)["book"]
    assert (found.state, found.detail) == ("failed", "ValueError: no luck")


def test_lags_count_what_was_written_and_not_taken() -> None:
    other = KEY._replace(partition=2)
    connector = Status("connector", written={KEY: 10, other: 4})
    bars = Status("bars", taken={KEY: 7})
    assert lags({"connector": connector, "bars": bars}) == {("bars", "md.trade.v1"): 3}


def test_merge_takes_the_highest_row() -> None:
    assert merge_rows([{KEY: 3}, {KEY: 5}, {}]) == {KEY: 5}
