"""Whether one number of a run predicts another: rank correlation and straight line.

Runs of one setting (method and learning rate) differ only by seed and are not independent, so whole
settings are resampled, and seeds within them.

Shapes: S settings, K seeds of each, R resamples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sft_tradeoff.stats.bootstrap import N_RESAMPLES


class Line(NamedTuple):
    """A least-squares line.

    Args:
        intercept: At x = 0.
        slope: Change of y per unit of x.
        r_squared: Share of the variance of y that it explains; of resamples [R], like the others.
    """

    intercept: np.ndarray
    slope: np.ndarray
    r_squared: np.ndarray


def rank_correlation(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Spearman's ρ along the last axis, equal values with their mean rank: [...].

    NaN if all x or all y are equal.
    """
    from scipy.stats import rankdata

    covariance, of_x, of_y = _covariance(rankdata(x, axis=-1), rankdata(y, axis=-1))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: np.ndarray = covariance / np.sqrt(of_x * of_y)
    return found


def fit_line(x: ArrayLike, y: ArrayLike) -> Line:
    """Least-squares line through points along the last axis; NaN if all x are equal."""
    covariance, of_x, of_y = _covariance(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = covariance / of_x
        r_squared = covariance**2 / (of_x * of_y)
    mean_x, mean_y = (np.asarray(v, dtype=np.float64).mean(-1) for v in (x, y))
    return Line(mean_y - slope * mean_x, slope, r_squared)


def _covariance(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Σ (x − x̄)(y − ȳ), Σ (x − x̄)² and Σ (y − ȳ)²."""
    arrays = (np.asarray(v, dtype=np.float64) for v in (x, y))
    dx, dy = (array - array.mean(-1, keepdims=True) for array in arrays)
    return (dx * dy).sum(-1), (dx**2).sum(-1), (dy**2).sum(-1)


def resampled_runs(
    n_settings: int, n_seeds: int, rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> np.ndarray:
    """Draw settings with replacement, and seeds within each.

    S − 1 of S settings are drawn, so that the variance over the resamples is without bias (see
    :func:`~sft_tradeoff.stats.bootstrap.resampled_ratios`).

    Returns:
        Indices [R, (S − 1) · K] into runs that are sorted by setting.
    """
    setting = rng.integers(n_settings, size=(n_resamples, n_settings - 1, 1))
    seed = rng.integers(n_seeds, size=(n_resamples, n_settings - 1, n_seeds))
    return (setting * n_seeds + seed).reshape(n_resamples, -1)
