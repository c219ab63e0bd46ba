"""Estimates with their standard errors, from per-item scores.

Every score here is a ratio Σ value / Σ size over independently drawn items: an accuracy has size 1,
code length has value in bits and size in bytes. A NaN among the items makes the estimate NaN: a
broken score must show, not vanish in a mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Estimate(NamedTuple):
    """A number with its standard error.

    Args:
        value: The estimate.
        stderr: Its standard error; NaN where it cannot be estimated (fewer than two items).
        n: Number of items behind it.
    """

    value: float
    stderr: float
    n: int


def ratio_estimate(value: ArrayLike, size: ArrayLike) -> Estimate:
    """Ratio R = Σ y / Σ x with its delta-method standard error.

    se² = Σ (yᵢ − R xᵢ)² / (n (n − 1) x̄²), the variance of the residuals over n x̄²: long items
    weigh more, and y growing with x is not noise. With x = 1 this is the sample mean with s/√n.

    Args:
        value: y, [n], in the unit of the numerator (correct answers, bits, nats).
        size: x ≥ 0, [n], in the unit of the denominator (1, bytes, tokens).

    Returns:
        The estimate; NaN without items or with Σ x = 0, standard error NaN for n = 1.
    """
    y, x = np.asarray(value, dtype=np.float64), np.asarray(size, dtype=np.float64)
    n, total = len(y), float(x.sum())
    if total == 0:
        return Estimate(math.nan, math.nan, n)
    ratio = float(y.sum()) / total
    if n < 2:
        return Estimate(ratio, math.nan, n)
    residual = float(np.square(y - ratio * x).sum())
    return Estimate(ratio, math.sqrt(residual * n / (n - 1)) / total, n)


def paired_difference(value: ArrayLike, value0: ArrayLike, size: ArrayLike) -> Estimate:
    """Difference of two ratios measured on the same items, R − R₀ = Σ (y − y₀) / Σ x.

    What makes an item hard is common to both models and cancels, so the standard error is that of
    :func:`ratio_estimate` on the differences, usually far below √(se² + se₀²).

    Args:
        value: y of the model, [n].
        value0: y₀ of θ0 on the same items in the same order, [n].
        size: x, [n], common to both.
    """
    difference = np.asarray(value, dtype=np.float64) - np.asarray(value0, dtype=np.float64)
    return ratio_estimate(difference, size)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Unweighted mean over k independent benchmarks: se = √(Σ seⱼ²) / k, n = Σ nⱼ.

    The benchmarks are taken as they are (no sampling of benchmarks). NaN without any.
    """
    if not estimates:
        return Estimate(math.nan, math.nan, 0)
    k = len(estimates)
    return Estimate(
        math.fsum(e.value for e in estimates) / k,
        math.sqrt(math.fsum(e.stderr**2 for e in estimates)) / k,
        sum(e.n for e in estimates),
    )


def quantile_of_level(level: float) -> float:
    """Two-sided standard normal quantile z with P(|Z| ≤ z) = level, e.g. 0.95 -> 1.96."""
    return NormalDist().inv_cdf((1 + level) / 2)


def confidence_interval(estimate: Estimate, level: float = 0.95) -> tuple[float, float]:
    """Normal interval value ± z·se."""
    half_width = quantile_of_level(level) * estimate.stderr
    return estimate.value - half_width, estimate.value + half_width


def wilson_interval(k: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion k/n.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n). Unlike the normal interval it stays in
    [0, 1] and has a width even at 0 or n correct answers, where small models often are.

    Args:
        k: Number of successes, 0 to n; NaN gives NaN.
        n: Number of trials; 0 gives NaN.
        level: Coverage, between 0 and 1.
    """
    if n == 0 or math.isnan(k):
        return math.nan, math.nan
    z, p = quantile_of_level(level), k / n
    centre = p + z**2 / (2 * n)
    half_width = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # At p = 0 or 1 one bound is p itself: rounding must not put p outside, nor the bound beyond it.
    low, high = (centre - half_width) / scale, (centre + half_width) / scale
    return max(0.0, min(low, p)), min(1.0, max(high, p))


def mean_over_seeds(
    values: ArrayLike, errors: ArrayLike, multiple: float = 1.0
) -> tuple[float, float]:
    """Mean over S training seeds scored on the same items, with its error.

    error² = mean(errorⱼ²) + (multiple · s)² / S, with s the standard deviation between seeds. The
    test items are the same for every seed, so more seeds do not average their noise away (first
    term); they do average the noise of training (second term, absent for a single seed). Slightly
    conservative: the interaction of seeds and items counts in both.

    Args:
        values: One score per seed, [S].
        errors: Its standard error, or half the width of its interval, [S].
        multiple: What one error is in standard errors: 1, or z for the half width of an interval.
    """
    v, e = np.asarray(values, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    between = float(v.var(ddof=1)) if len(v) > 1 else 0.0
    variance = float(np.square(e).mean()) + multiple**2 * between / len(v)
    return float(v.mean()), math.sqrt(variance)
