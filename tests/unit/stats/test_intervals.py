"""Intervals of items and seeds together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from sft_tradeoff.stats.intervals import interval
from sft_tradeoff.stats.tests import superiority


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


def test_resamples_of_each_seed_count_their_interaction_once() -> None:
    """Seeds that resamples move apart, and not together: nothing but interaction."""
    moves = np.array([[0.1, -0.1], [-0.1, 0.1], [0.1, -0.1], [-0.1, 0.1]])  # (R, S)
    alone, together = (
        interval(0, moves, [0.1, -0.1], 50),
        interval(0, moves.mean(1), [0.1, -0.1], 50),
    )
    assert together.stderr == pytest.approx(0.1)
    assert alone.stderr == 0  # var = 0.02 / 2 of the seeds − 0.04 / 3 in both is negative


def test_right_or_wrong_scores_have_a_smallest_half_width() -> None:
    found = interval(0.0, [0.0, 0.0], [0.0], 23, least=0.15)
    assert (found.low, found.high) == pytest.approx((-0.15, 0.15))
    assert superiority(found, -0.15) == pytest.approx(0.025)
    assert interval(0.0, [-1.0, 1.0], [0.0], 23, least=0.15) == interval(
        0.0, [-1.0, 1.0], [0.0], 23
    )


def test_a_broken_score_has_no_interval() -> None:
    found = interval(np.nan, [np.nan, 1.0], [np.nan, 1.0], 5, least=0.1)
    assert np.isnan([found.value, found.low, found.high]).all()
