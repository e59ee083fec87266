"""The simulated venue's words, byte for byte, as they have been: every answer, event and refusal of two long days.

A change that is meant to change them puts the new number here, and says why.
"""

from __future__ import annotations

import hashlib

import pytest

from tests.golden.venue_story import Story


@pytest.mark.parametrize(("seed", "said"), [(0, "a008a2d1e304407a"), (1, "735c3bbb6d71b714")])
def test_venue_says_what_it_has_always_said(seed: int, said: str) -> None:
    assert hashlib.sha256(b"\n".join(Story(seed).lines(2000))).hexdigest()[:16] == said
