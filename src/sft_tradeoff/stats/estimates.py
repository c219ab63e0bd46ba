"""Estimates with their standard errors, from per-item scores.

Every score is a ratio Σ value / Σ size over items: for an accuracy, size is 1; for code length,
value is in bits and size in bytes. Clusters of items are independent, items within them are not. If
any item is NaN, so is the estimate: a broken score must not disappear in a mean. How often the
intervals cover the truth is measured by ``sft-tradeoff calibrate``; see docs/calibration.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sft_tradeoff.stats.bootstrap import Clustered, cluster_sums, ratios

_LEVEL = 0.95
FEW = 2  # so few degrees of freedom are not left to Satterthwaite's formula


class Estimate(NamedTuple):
    """A number with its standard error.

    Args:
        value: The estimate.
        stderr: Its standard error; NaN if it cannot be estimated (fewer than two items).
        n: Number of items behind it.
        df: Degrees of freedom of the standard error: n − 1 for one sample of n equal items.
    """

    value: float
    stderr: float
    n: int
    df: float


def ratio_estimate(value: ArrayLike, size: ArrayLike, cluster: ArrayLike | None = None) -> Estimate:
    """Ratio R = Σ y / Σ x with its standard error: :func:`crossed_estimate` of one seed.

    Args:
        value: y, [n], in the unit of the numerator (correct answers, bits, nats).
        size: x ≥ 0, [n], in the unit of the denominator (1, bytes, tokens).
        cluster: [n], the independent unit of each item; None: the item itself.
    """
    return crossed_estimate(np.asarray(value, dtype=np.float64)[None], size, cluster)


def crossed_estimate(
    value: ArrayLike, size: ArrayLike, cluster: ArrayLike | None = None
) -> Estimate:
    """Mean over S seeds of the ratios R = Σ y / Σ x on the same items, with its standard error.

    The noise of the items is that of a jackknife over clusters c: without cluster c, R changes by
    e_c / (X − x_c), with e_c = y_c − R x_c and X = Σ x; se² is (C − 1) / C times the sum of its
    squares. Long items weigh more, and the part of y that is proportional to x does not count as
    noise. With x = 1 and no clusters it is s / √n. The noise of the seeds is added by
    :func:`crossed_error`.

    Args:
        value: y, [S, n].
        size: x ≥ 0, [n].
        cluster: [n], the independent unit of each item; None: the item itself.

    Returns:
        The estimate; NaN if there are no items or Σ x = 0; its standard error is NaN if there is
        only one cluster.
    """
    scores = Clustered.of(value, size, cluster)
    n, total = scores.value.shape[-1], float(scores.size.sum())
    if total == 0:
        return Estimate(math.nan, math.nan, n, scores.n_clusters - 1)
    of_seed = ratios(scores)  # (S,)
    if scores.n_clusters < 2:
        return Estimate(float(of_seed.mean()), math.nan, n, 0)
    y, x = cluster_sums(scores)  # (S, C), (C,)
    with np.errstate(divide="ignore", invalid="ignore"):  # one cluster has all of the size
        changes = (y - of_seed[:, None] * x) / (total - x)  # (S, C)
    scale = 1 - 1 / len(x)
    of_items = scale * float(np.square(changes.mean(0)).sum())
    of_items_in_seed = scale * float(np.square(changes).sum(1).mean())
    error = crossed_error(of_items, of_items_in_seed, of_seed, scores.df)
    return Estimate(float(of_seed.mean()), error[0], n, error[1])


def crossed_error(
    of_items: float, of_items_in_seed: float, of_seed: ArrayLike, df_items: float
) -> tuple[float, float]:
    """Standard error of a mean over seeds that share their items, and its degrees of freedom.

    se² = A + (B − I), with A the variance over items, B = s² / S over seeds, and I, which both
    contain, the interaction of seeds and items: (variance over items within one seed − A) /
    (S − 1). B − I counts as 0 if it is negative. More seeds do not reduce the noise of the items.
    With one seed its noise is unknown and left out: the error then speaks of this run only.

    Args:
        of_items: A, the variance over items of the mean over seeds.
        of_items_in_seed: Variance over items of one seed, averaged over the seeds; equal to A if
            it is unknown: the interaction then counts twice.
        of_seed: [S], the statistic of each seed.
        df_items: Degrees of freedom of A, :attr:`~sft_tradeoff.stats.bootstrap.Clustered.df`.
    """
    seeds = np.asarray(of_seed, dtype=np.float64)
    n = len(seeds)
    if n < 2:
        return math.sqrt(of_items), df_items
    in_both = (of_items_in_seed - of_items) / (n - 1)
    of_seeds = float(np.maximum(seeds.var(ddof=1) / n - in_both, 0))  # NaN stays
    df = degrees_of_freedom([of_items, of_seeds], [df_items, n - 1])
    return math.sqrt(of_items + of_seeds), df


def paired_difference(
    value: ArrayLike, value0: ArrayLike, size: ArrayLike, cluster: ArrayLike | None = None
) -> Estimate:
    """Difference of two ratios measured on the same items, R − R₀ = Σ (y − y₀) / Σ x.

    The difficulty of an item affects both models and cancels out, so the standard error, that of
    :func:`ratio_estimate` on the differences, is usually far below √(se² + se₀²).

    Args:
        value: y of the model, [n].
        value0: y₀ of θ0 on the same items in the same order, [n].
        size: x, [n], the same for both.
        cluster: [n], the independent unit of each item; None: the item itself.
    """
    difference = np.asarray(value, dtype=np.float64) - np.asarray(value0, dtype=np.float64)
    return ratio_estimate(difference, size, cluster)


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

    Welch (1947), Satterthwaite (1946). That is too many if a variance with one or two degrees of
    freedom is the largest but happens to be estimated small: of two seeds, 95 % intervals would
    cover 87 %. Then it is the number whose quantile at 95 % is the mean of the quantiles of the
    parts, weighted by their variances (Cochran and Cox, 1950), which covers at least about 95 %.
    If all variances are 0, the smallest of the dfs.

    Args:
        variances: v ≥ 0, [k].
        dfs: Degrees of freedom of each variance, [k]; may be infinite.
    """
    v, df = np.asarray(variances, dtype=np.float64), np.asarray(dfs, dtype=np.float64)
    spread = float((v**2 / df).sum())
    if not spread > 0:
        return float(df.min())
    found = float(v.sum()) ** 2 / spread
    counts = v > 0
    if df[counts].min() > FEW or counts.sum() == 1:
        return found
    quantiles = [quantile_of_level(_LEVEL, float(part)) for part in df[counts]]
    return min(found, _df_of_quantile(float(np.average(quantiles, weights=v[counts]))))


def _df_of_quantile(quantile: float) -> float:
    """Degrees of freedom for which Student's quantile at 95 % is this one."""
    from scipy.optimize import brentq

    def excess(log_df: float) -> float:
        return quantile_of_level(_LEVEL, math.exp(log_df)) - quantile

    most = math.log(1e9)
    return math.exp(brentq(excess, math.log(0.5), most)) if excess(most) < 0 else math.inf


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


def effective_n(proportion: Estimate, level: float = 0.95) -> float:
    """Number of independent items that would know a proportion as well as these clusters do.

    n divided by the design effect, the variance relative to that of independent items, if it is
    above 1, and by (t / z)² for the few degrees of freedom (Korn and Graubard, 1998). n itself if
    every item is one of its own. If all items are right, or wrong, the clusters may be all alike:
    one item each.

    Args:
        proportion: Of :func:`ratio_estimate`, with sizes 1.
        level: Coverage of the interval that it is for.
    """
    p, stderr, n, df = proportion
    if df >= n - 1 or math.isnan(p):
        return n
    if p in (0, 1):
        return df + 1
    design_effect = max(1.0, stderr**2 * (n - 1) / (p * (1 - p)))
    few = quantile_of_level(level, df) / quantile_of_level(level)
    return n / design_effect / few**2


def wilson_interval(k: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion k/n.

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n). Unlike value ± t·se it stays in
    [0, 1], and it does not collapse at 0 or n correct answers, which small models often have.

    Args:
        k: Number of successes, 0 to n; NaN gives NaN.
        n: Number of trials, or :func:`effective_n`; 0 gives NaN.
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
    """Mean over S training seeds on the same test items, from the estimate of each.

    For tables, which hold no single items: the interaction of seeds and items is unknown and counts
    in both terms, so the standard error is too large by up to √(S + 1). Where there are items, use
    :func:`crossed_estimate`.
    """
    values, errors = (np.array(x, dtype=np.float64) for x in list(zip(*seeds, strict=True))[:2])
    of_items = float(np.square(errors).mean())
    stderr, df = crossed_error(of_items, of_items, values, min(e.df for e in seeds))
    return Estimate(float(values.mean()), stderr, seeds[0].n, df)


def no_change_bound(n: int, level: float) -> float:
    """Largest share of items that may change although none of n did: −ln(α/2) / n, α = 1 − level.

    The "rule of three". Without it an accuracy that did not change on 24 items would count as known
    exactly, because its standard error is zero.

    Args:
        n: Number of independent items: clusters, where there are some.
        level: Coverage, between 0 and 1.
    """
    return -math.log((1 - level) / 2) / n if n else math.inf


def least_half_width(difference: ArrayLike, cluster: ArrayLike | None, level: float) -> float:
    """Smallest half width of an interval of the change of right or wrong answers.

    The rule of three, :func:`no_change_bound`, for as many independent items as these clusters are
    worth: n divided by the design effect (the variance relative to that of independent items), from
    the number of clusters, which is right if all items of a cluster change together, to n.

    Args:
        difference: [S, n], −1, 0 or 1: item n of seed S against the other model.
        cluster: [n], the independent unit of each item; None: the item itself.
        level: Coverage, between 0 and 1.
    """
    scores = Clustered.of(difference, np.ones(np.shape(difference)[-1]), cluster)
    stderr = crossed_estimate(*scores).stderr
    independent = crossed_estimate(scores.value, scores.size).stderr
    n = scores.n_clusters
    if stderr > 0:
        n = round(np.clip(len(scores.size) * (independent / stderr) ** 2, n, len(scores.size)))
    return no_change_bound(n, level)
