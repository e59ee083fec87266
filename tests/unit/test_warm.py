"""What is compiled before the processes start."""

from __future__ import annotations

from infra.process.warm import PARTS
from infra.registry import PROCESSORS


def test_every_rule_is_compiled_before_a_process_that_needs_it_starts() -> None:
    """A gateway that compiles while it starts hears nothing for a quarter of a minute."""
    named = [name for part in PARTS for name in part.split("+")]
    assert sorted(set(named) - {"codec", "market"}) == sorted(PROCESSORS)
    assert len(named) == len(set(named))
