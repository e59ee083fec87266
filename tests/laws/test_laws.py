"""The laws of processors/api.py, over every rule of tests/laws/registry.py."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.checkpoint import Snapshot, pack_snapshot, unpack_snapshot
from tests.laws.registry import CASES, Case
from tests.laws.stream import FIRST_ROW, Run, Stream, fed, state_bytes

ROOT = Path(__file__).resolve().parents[2]
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
every_rule = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def answers(run: Run) -> tuple[list[object], list[object]]:
    """Outputs and dead letters; printed well by pytest when they differ."""
    return list(run.answer.outputs), list(run.answer.dead)


@every_rule
@FEW
@given(data=st.data())
def test_any_cut_of_a_run_gives_the_same_rows_and_state(case: Case, data: st.DataObject) -> None:
    stream = data.draw(case.streams)
    cuts = data.draw(st.sets(st.integers(1, len(stream.rows))))
    whole, cut = fed(case.make(), stream), fed(case.make(), stream, list(cuts))
    assert answers(cut) == answers(whole)
    assert state_bytes(cut.state) == state_bytes(whole.state)
    single = fed(case.make(), stream, range(1, len(stream.rows)))
    assert answers(single) == answers(whole)
    assert state_bytes(single.state) == state_bytes(whole.state)


@every_rule
@FEW
@given(data=st.data())
def test_saving_and_restoring_the_state_changes_nothing(case: Case, data: st.DataObject) -> None:
    stream = data.draw(case.streams)
    at = data.draw(st.integers(0, len(stream.rows)))
    whole = fed(case.make(), stream)
    before = Run(case.make()).feed(stream, 0, at)
    saved = pack_snapshot(Snapshot(1, 0, before.state, 0, 0, {}, {}, {}))
    after = Run(case.make(), unpack_snapshot(saved).state).feed(stream, at)
    joined = [[*first, *second] for first, second in zip(before.answer.outputs, after.answer.outputs, strict=True)]
    assert joined == whole.answer.outputs
    assert [*before.answer.dead, *after.answer.dead] == whole.answer.dead
    assert state_bytes(after.state) == state_bytes(whole.state)


@every_rule
@FEW
@given(data=st.data())
def test_rows_of_other_keys_change_nothing_for_a_key(case: Case, data: st.DataObject) -> None:
    stream = data.draw(case.streams)
    # The clock of arrivals is the one thing that keys share: a row that arrived before another key's row must not
    # be stamped after it, or a deadline would have passed for the one and not for the other.
    stream.rows["ts_recv_ns"] = np.maximum.accumulate(stream.rows["ts_recv_ns"])
    keys = sorted({key for key in stream.keys if key != ""}, key=str)
    if not keys:
        return
    key = data.draw(st.sampled_from(keys))
    processor = case.make()
    end_ns = int(stream.rows["ts_recv_ns"].clip(0, 1 << 61).max())
    mixed, alone = Run(processor), Run(case.make())
    for k, its in enumerate(stream.keys):
        mixed.feed(stream, k, k + 1)
        if its in (key, ""):
            alone.feed(stream, k, k + 1)
    instrument = case.instrument(key)
    about_mixed = mixed.fire(end_ns).answer.about(processor, instrument)
    about_alone = alone.fire(end_ns).answer.about(processor, instrument)
    assert about_mixed.outputs == about_alone.outputs
    assert about_mixed.dead == about_alone.dead


@every_rule
@FEW
@given(data=st.data())
def test_state_stays_within_its_bound(case: Case, data: st.DataObject) -> None:
    run = fed(case.make(), data.draw(case.streams))
    assert sum(array.nbytes for array in run.state.values()) <= case.state_bytes_max


@every_rule
@FEW
@given(data=st.data())
def test_an_invalid_row_changes_nothing_and_yields_one_dead_letter(case: Case, data: st.DataObject) -> None:
    stream, bad = data.draw(case.streams), data.draw(case.invalid)
    at = data.draw(st.integers(0, len(stream.rows)))
    clean = fed(case.make(), stream, [at])
    run = Run(case.make()).feed(stream, 0, at)
    before, dead_before = state_bytes(run.state), len(run.out.dead)
    run.feed(bad, row_first=9_000_001)
    assert state_bytes(run.state) == before
    assert len(run.out.dead) == dead_before + 1
    assert int(run.out.dead[-1].rows["cause_row"][0]) == 9_000_001
    run.feed(stream, at)
    del run.out.dead[dead_before]
    assert answers(run) == answers(clean)


@every_rule
@FEW
@given(data=st.data(), first_s=st.integers(0, 200), later_s=st.integers(0, 200))
def test_firing_twice_is_firing_once(case: Case, data: st.DataObject, first_s: int, later_s: int) -> None:
    stream = data.draw(case.streams)
    start_ns = int(stream.rows["ts_recv_ns"].clip(0, 1 << 61).max()) - 60_000_000_000
    first_ns = start_ns + first_s * 1_000_000_000
    later_ns = first_ns + later_s * 1_000_000_000
    once = fed(case.make(), stream).fire(later_ns)
    twice = fed(case.make(), stream).fire(first_ns)
    assert twice.processor.next_deadline_ns(twice.state) > first_ns
    twice.fire(first_ns).fire(later_ns).fire(later_ns)
    assert answers(twice) == answers(once)
    assert state_bytes(twice.state) == state_bytes(once.state)


@every_rule
@FEW
@given(data=st.data())
def test_timers_fired_before_a_row_reaches_them_or_by_the_row_are_the_same(case: Case, data: st.DataObject) -> None:
    """Whoever calls first, the runner between batches or the rule within one. Rows that are put aside move no clock."""
    stream = data.draw(case.streams)
    whole, stepwise = fed(case.make(), stream), Run(case.make())
    refused = {int(dead.rows["cause_row"][0]) - FIRST_ROW for dead in whole.out.dead}
    for k, now_ns in enumerate(stream.rows["ts_recv_ns"].tolist()):
        if k not in refused:
            stepwise.fire(now_ns)
        stepwise.feed(stream, k, k + 1)
    assert answers(stepwise) == answers(whole)
    assert state_bytes(stepwise.state) == state_bytes(whole.state)


def some_streams(case: Case) -> list[Stream]:
    """The same streams every time."""
    found: list[Stream] = []

    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(case.streams)
    def collect(stream: Stream) -> None:
        found.append(stream)

    collect()
    return found


def test_another_process_with_another_hash_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    streams = {case.name: some_streams(case) for case in CASES}
    file = tmp_path / "streams"
    file.write_bytes(pickle.dumps(streams))
    here = {case.name: [digest(case, stream) for stream in streams[case.name]] for case in CASES}
    assert all(len(set(digests)) > 1 for digests in here.values())
    for seed in ("1", "271828"):
        run = subprocess.run(
            [sys.executable, "-m", "tests.laws.replay", str(file)],
            cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, check=True,
        )  # fmt: skip
        assert json.loads(run.stdout) == here


def digest(case: Case, stream: Stream) -> str:
    return fed(case.make(), stream).answer.digest()
