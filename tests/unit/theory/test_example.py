"""The distributions of claims and figure."""

from __future__ import annotations

import numpy as np
import pytest

from sft_tradeoff.theory.example import FIXED, MOVING, doublings, example
from sft_tradeoff.theory.tilting import distributions


def test_both_kinds_have_the_same_data() -> None:
    fixed, moving = example()[FIXED], example()[MOVING]
    assert (fixed.domain == moving.domain).all()
    assert moving.domain == pytest.approx([1 / 16, 1 / 8, 3 / 16, 5 / 8])
    assert moving.targets.shape == (4, 24, 4)
    assert moving.targets.mean((0, 1)) == pytest.approx(fixed.targets[0, 0])
    for name in ("start", "general", "targets"):
        distributions(getattr(moving, name), name)
    assert np.abs(fixed.general - fixed.start).max() < 0.05, "θ0 is close to general text"


@pytest.mark.parametrize(("most", "expected"), [(1, [1]), (2, [1, 2]), (9, [1, 2, 4, 8])])
def test_doublings(most: int, expected: list[int]) -> None:
    assert doublings(most) == expected
