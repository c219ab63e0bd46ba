"""What a study can see, and how many items and seeds would settle a question."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from sft_tradeoff.stats.estimates import degrees_of_freedom, quantile_of_level
from sft_tradeoff.stats.variance import Components

MOST = 1_000_000  # more clusters or seeds than this are no plan


class Needed(NamedTuple):
    """How large a study would have to be.

    Args:
        clusters: Independent units of items, with as many seeds as now; None if no number is
            enough.
        seeds: Seeds, with as many clusters as now; None if no number is enough.
        both: Clusters and seeds, where each causes about half of the variance; None if more than
            a million are needed.
    """

    clusters: int | None
    seeds: int | None
    both: tuple[int, int] | None


def power_of(effect: float, stderr: float, df: float, level: float = 0.95) -> float:
    """Probability that the two-sided interval of an effect > 0 lies above 0.

    P(T > t) for T of the noncentral Student distribution with noncentrality effect / stderr. The
    degrees of freedom count as known.

    Args:
        effect: The true effect, or its distance to the margin.
        stderr: Standard error of the estimate, > 0.
        df: Degrees of freedom of the standard error.
        level: Coverage of the interval.
    """
    from scipy.stats import nct, norm

    quantile = quantile_of_level(level, df)
    if df == math.inf:
        return float(norm.sf(quantile - effect / stderr))
    return float(nct.sf(quantile, df, effect / stderr))


def smallest_detectable(stderr: float, df: float, level: float = 0.95, power: float = 0.8) -> float:
    """Smallest effect that would be seen with this probability; add the margin, if there is one.

    For many degrees of freedom it is (1.96 + 0.84) stderr at the defaults; few make it larger.

    Args:
        stderr: Standard error of the estimate, ≥ 0.
        df: Its degrees of freedom.
        level: Coverage of the two-sided interval that has to exclude 0.
        power: Probability of seeing the effect, more than (1 − level) / 2.

    Returns:
        NaN if the standard error is unknown.
    """
    if math.isnan(stderr) or math.isnan(df):
        return math.nan
    from scipy.optimize import brentq

    quantile = quantile_of_level(level, df)
    # The median of T is about its noncentrality; its spread grows with the noncentrality.
    most = 10 * (quantile + 10)
    found = brentq(lambda effect: power_of(effect, 1.0, df, level) - power, 0.0, most)
    return float(found) * stderr


def needed(
    distance: float,
    components: Components,
    clusters: int,
    seeds: int,
    level: float = 0.95,
    power: float = 0.8,
) -> Needed:
    """Clusters and seeds for which an effect this far from the margin would be seen.

    The variance of a mean over S seeds and C clusters is v_items / C + v_seeds / S +
    v_interaction / (C S).

    Args:
        distance: From the effect to the margin, > 0; it is assumed to be the true one.
        components: Variances of one seed, one cluster, and their interaction; NaN counts as 0.
        clusters: C of this study, ≥ 2.
        seeds: S of this study.
        level: Coverage of the interval that has to lie beyond the margin.
        power: Probability that it does.
    """
    if not distance > 0:
        return Needed(None, None, None)

    def enough(n_clusters: int, n_seeds: int) -> bool:
        stderr, df = _error(components, n_clusters, n_seeds)
        return smallest_detectable(stderr, df, level, power) <= distance

    only_clusters = _least(lambda n: enough(n, seeds), 2)
    only_seeds = _least(lambda n: enough(clusters, n), 1)
    # Seeds that need half of the variance leave the other half for the clusters.
    share = components._replace(items=0.0, interaction=0.0)
    half = distance / math.sqrt(2)
    balanced = _least(
        lambda n: smallest_detectable(*_error(share, MOST, n), level, power) <= half, 1
    )
    both = None
    if balanced is not None:
        rest = _least(lambda n: enough(n, balanced), 2)
        both = None if rest is None else (rest, balanced)
    return Needed(only_clusters, only_seeds, both)


def _error(components: Components, clusters: int, seeds: int) -> tuple[float, float]:
    """Standard error of a mean over clusters and seeds, and its degrees of freedom.

    Infinite for one seed if seeds differ, as it cannot tell how much.
    """
    of_seeds, of_items, of_both = (0.0 if math.isnan(v) else v for v in components)
    if seeds == 1 and of_seeds > 0:
        return math.inf, math.inf
    parts = [(of_items + of_both / seeds) / clusters]
    dfs = [clusters - 1.0]
    if seeds > 1:
        parts.append(of_seeds / seeds)
        dfs.append(seeds - 1.0)
    return math.sqrt(math.fsum(parts)), degrees_of_freedom(parts, dfs)


def _least(enough: Callable[[int], bool], start: int) -> int | None:
    """Smallest number from ``start`` that is enough, by bisection; None if :data:`MOST` is not."""
    low, high = start - 1, start
    while not enough(high):
        if high >= MOST:
            return None
        low, high = high, min(2 * high, MOST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
