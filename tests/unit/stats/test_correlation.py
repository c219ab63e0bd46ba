"""Rank correlation and line against SciPy, and resamples of whole settings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import linregress, spearmanr

from sft_tradeoff.stats.correlation import fit_line, rank_correlation, resampled_runs

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("decimals", [0, 1, 8])  # with and without equal values
def test_rank_correlation_is_scipys(decimals: int) -> None:
    x = RNG.normal(size=(5, 12)).round(decimals)
    y = (x - RNG.normal(size=x.shape)).round(decimals)
    expected = [spearmanr(a, b).statistic for a, b in zip(x, y, strict=True)]
    assert rank_correlation(x, y) == pytest.approx(expected)


def test_rank_correlation_of_what_does_not_vary_is_nan() -> None:
    assert np.isnan(rank_correlation([1, 1, 1], [1, 2, 3]))
    assert rank_correlation([1, 2, 3], [1, 10, 100]) == pytest.approx(1)
    assert rank_correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)


def test_line_is_scipys() -> None:
    x, y = RNG.normal(size=20), RNG.normal(size=20)
    found, expected = fit_line(x, y), linregress(x, y)
    assert (found.slope, found.intercept) == pytest.approx((expected.slope, expected.intercept))
    assert found.r_squared == pytest.approx(expected.rvalue**2)
    assert np.isnan(fit_line([2, 2], [1, 3]).slope)


def test_settings_are_drawn_whole_and_seeds_within() -> None:
    drawn = resampled_runs(5, 3, np.random.default_rng(0), 4000)
    assert drawn.shape == (4000, 4 * 3)
    settings = (drawn // 3).reshape(-1, 4, 3)
    assert (settings == settings[..., :1]).all()
    assert np.bincount(drawn.ravel(), minlength=15) / drawn.size == pytest.approx(1 / 15, rel=0.1)


def test_the_spread_over_resamples_is_that_of_a_mean() -> None:
    """s² / S for S independent settings of one seed, without bias."""
    values = RNG.normal(size=6)
    drawn = resampled_runs(6, 1, np.random.default_rng(0), 20_000)
    assert values[drawn].mean(1).var() == pytest.approx(values.var(ddof=1) / 6, rel=0.05)
