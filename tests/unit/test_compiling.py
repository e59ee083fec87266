"""Machine code on disk is not used after any file that was compiled into it has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from processors.kernels import bars, book
from processors.kernels.compiling import JIT_DISABLED, digest_of, source_digest


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
