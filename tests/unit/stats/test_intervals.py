"""Intervals of items and seeds together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from sft_tradeoff.stats.intervals import interval


def test_one_seed_leaves_the_noise_of_items_alone() -> None:
    over_items = np.array([0.9, 1.0, 1.1])
    found = interval(1.0, over_items, [1.0], df_items=7)
    assert found.stderr == pytest.approx(0.1)
    assert found.high - 1.0 == pytest.approx(t.ppf(0.975, 7) * 0.1)


def test_two_seeds_without_item_noise_give_the_t_interval_of_their_mean() -> None:
    found = interval(1.0, [1.0, 1.0, 1.0], [0.9, 1.1], df_items=50)
    assert found.df == pytest.approx(1)
    assert found.high - 1.0 == pytest.approx(t.ppf(0.975, 1) * 0.1)


def test_the_numerical_floor_widens_both_sides() -> None:
    narrow, wide = (interval(0.0, [-1.0, 0.0, 1.0], [0.0], 9, floor=f) for f in (0.0, 0.5))
    assert wide.low == pytest.approx(narrow.low - 0.5)
    assert wide.high == pytest.approx(narrow.high + 0.5)
