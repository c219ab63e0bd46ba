"""Estimates with their standard errors, from per-item scores.

Every score is a ratio Σ value / Σ size over independently drawn items: for an accuracy, size is 1;
for code length, value is in bits and size in bytes. If any item is NaN, so is the estimate: a
broken score must not disappear in a mean.
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
        stderr: Its standard error; NaN if it cannot be estimated (fewer than two items).
        n: Number of items behind it.
        df: Degrees of freedom of the standard error: n − 1 for one sample of items.
    """

    value: float
    stderr: float
    n: int
    df: float


def ratio_estimate(value: ArrayLike, size: ArrayLike) -> Estimate:
    """Ratio R = Σ y / Σ x with its delta-method standard error.

    se² = Σ (yᵢ − R xᵢ)² / (n (n − 1) x̄²), the variance of the residuals divided by n x̄²: long
    items weigh more, and the part of y that is proportional to x does not count as noise. With
    x = 1 this is the sample mean with standard error s/√n.

    Args:
        value: y, [n], in the unit of the numerator (correct answers, bits, nats).
        size: x ≥ 0, [n], in the unit of the denominator (1, bytes, tokens).

    Returns:
        The estimate; NaN if there are no items or Σ x = 0; its standard error is NaN if n = 1.
    """
    y, x = np.asarray(value, dtype=np.float64), np.asarray(size, dtype=np.float64)
    n, total = len(y), float(x.sum())
    if total == 0:
        return Estimate(math.nan, math.nan, n, n - 1)
    ratio = float(y.sum()) / total
    if n < 2:
        return Estimate(ratio, math.nan, n, n - 1)
    residual = float(np.square(y - ratio * x).sum())
    return Estimate(ratio, math.sqrt(residual * n / (n - 1)) / total, n, n - 1)


def paired_difference(value: ArrayLike, value0: ArrayLike, size: ArrayLike) -> Estimate:
    """Difference of two ratios measured on the same items, R − R₀ = Σ (y − y₀) / Σ x.

    The difficulty of an item affects both models and cancels out, so the standard error, that of
    :func:`ratio_estimate` on the differences, is usually far below √(se² + se₀²).

    Args:
        value: y of the model, [n].
        value0: y₀ of θ0 on the same items in the same order, [n].
        size: x, [n], the same for both.
    """
    difference = np.asarray(value, dtype=np.float64) - np.asarray(value0, dtype=np.float64)
    return ratio_estimate(difference, size)


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Unweighted mean over k independent benchmarks: se = √(Σ seⱼ²) / k, n = Σ nⱼ.

    The benchmarks count as fixed, not as a sample of benchmarks. NaN if there are none.
    """
    if not estimates:
        return Estimate(math.nan, math.nan, 0, math.nan)
    k = len(estimates)
    variances = [e.stderr**2 for e in estimates]
    return Estimate(
        math.fsum(e.value for e in estimates) / k,
        math.sqrt(math.fsum(variances)) / k,
        sum(e.n for e in estimates),
        degrees_of_freedom(variances, [e.df for e in estimates]),
    )


def degrees_of_freedom(variances: ArrayLike, dfs: ArrayLike) -> float:
    """Degrees of freedom of a sum of independent variances, (Σ v)² / Σ (v²/df).

    Welch (1947), Satterthwaite (1946). If all variances are 0, the smallest of the dfs.

    Args:
        variances: v ≥ 0, [k].
        dfs: Degrees of freedom of each variance, [k]; may be infinite.
    """
    v, df = np.asarray(variances, dtype=np.float64), np.asarray(dfs, dtype=np.float64)
    spread = float((v**2 / df).sum())
    return float(v.sum()) ** 2 / spread if spread > 0 else float(df.min())


def quantile_of_level(level: float, df: float = math.inf) -> float:
    """Two-sided quantile t of Student's distribution with P(|T| ≤ t) = level.

    For infinite df it is the standard normal one: 1.96 for level 0.95; for df = 7 it is 2.36.
    """
    if df == math.inf:
        return NormalDist().inv_cdf((1 + level) / 2)
    from scipy.special import stdtrit  # slow to import, and figures do not need it

    return float(stdtrit(df, (1 + level) / 2))


def confidence_interval(estimate: Estimate, level: float = 0.95) -> tuple[float, float]:
    """Student's interval value ± t·se."""
    half = half_width(estimate, level)
    return estimate.value - half, estimate.value + half


def within(low: float, high: float, least: float, most: float) -> tuple[float, float]:
    """Bounds of an interval without what lies outside the values that can be; NaN stays."""
    return float(np.clip(low, least, most)), float(np.clip(high, least, most))


def half_width(estimate: Estimate, level: float = 0.95) -> float:
    """Half the width of Student's interval, t·se."""
    return quantile_of_level(level, estimate.df) * estimate.stderr


def wilson_interval(k: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion k/n.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n). Unlike value ± t·se it stays in
    [0, 1], and it does not collapse at 0 or n correct answers, which small models often have.

    Args:
        k: Number of successes, 0 to n; NaN gives NaN.
        n: Number of trials; 0 gives NaN.
        level: Coverage, between 0 and 1.
    """
    if n == 0 or math.isnan(k):
        return math.nan, math.nan
    z, p = quantile_of_level(level), k / n
    center = p + z**2 / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # At p = 0 or 1 one bound equals p: rounding must not move it past p or out of [0, 1].
    low, high = (center - half) / scale, (center + half) / scale
    return max(0.0, min(low, p)), min(1.0, max(high, p))


def mean_over_seeds(seeds: Sequence[Estimate]) -> Estimate:
    """Mean over S training seeds scored on the same items, with its standard error.

    se² = mean(seⱼ²) + s² / S, with s the standard deviation between seeds. All seeds share the test
    items, so more seeds do not reduce the noise of the items (first term, with the degrees of
    freedom of one seed); they do reduce the noise of training (second term, S − 1 degrees of
    freedom, absent for a single seed). Slightly conservative: the interaction of seeds and items
    counts in both terms.
    """
    values, errors = (np.array(x, dtype=np.float64) for x in list(zip(*seeds, strict=True))[:2])
    variances, dfs = [float(np.square(errors).mean())], [min(e.df for e in seeds)]
    if len(seeds) > 1:
        variances.append(float(values.var(ddof=1)) / len(seeds))
        dfs.append(len(seeds) - 1)
    return Estimate(
        float(values.mean()),
        math.sqrt(sum(variances)),
        seeds[0].n,
        degrees_of_freedom(variances, dfs),
    )
