"""Machine code on disk is not used after any file that was compiled into it has changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from processors.kernels import bars, book
from processors.kernels.compiling import JIT_DISABLED, digest_of, source_digest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_kernels_are_kept_under_the_digest_of_all_kernel_files() -> None:
    for kernel in (book.apply_rows, book.fire_due, bars.take_trades):
        assert kernel._cache._cache_file._source_stamp == source_digest()


def test_digest_changes_with_content_and_name(tmp_path: Path) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("a = 1")
    other.write_text("b = 1")
    before = digest_of([one, other])
    other.write_text("b = 2")
    changed = digest_of([one, other])
    one.rename(tmp_path / "two.py")
    assert len({before, changed, digest_of([tmp_path / "two.py", other])}) == 3


COMPILED_TOO_LATE = """
from tests.laws.registry import CASE_BY_NAME
from tests.laws.stream import fed
from tests.laws.test_laws import some_streams
from processors.kernels import bars, book, ladder, slots
import sys

case = CASE_BY_NAME[sys.argv[1]]
called = [book.apply_rows, book.fire_due, book.earliest_deadline, ladder.enlarge_far]
called += [bars.take_trades, bars.fire_due, bars.earliest_deadline, slots.find_slot, slots.enter_slot]
case.make().warm()
warmed = [len(kernel.signatures) for kernel in called]
for stream in some_streams(case):
    run = fed(case.make(), stream)
    run.fire(1 << 61)
    run.processor.next_deadline_ns(run.state)
late = [kernel.__name__ for kernel, count in zip(called, warmed) if len(kernel.signatures) != count]
print(sum(warmed) > 4, late)
"""


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
@pytest.mark.parametrize("rule", ["book", "bars", "bars_idle"])
def test_warm_compiles_all_that_rows_will_need(rule: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", COMPILED_TOO_LATE, rule], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout == "True []\n"
