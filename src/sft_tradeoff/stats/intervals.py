"""Intervals of any statistic that has two sources of noise: test items and training seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sft_tradeoff.stats.estimates import degrees_of_freedom, quantile_of_level


class Interval(NamedTuple):
    """A statistic with its interval.

    Args:
        value: The statistic, with the mean over seeds.
        low: Lower bound.
        high: Upper bound.
        stderr: Standard error of items and seeds together.
        df: Its degrees of freedom.
        floor: Numerical noise, by which the interval is wider on both sides.
    """

    value: float
    low: float
    high: float
    stderr: float
    df: float
    floor: float = 0.0


def interval(
    value: float,
    over_items: ArrayLike,
    over_seeds: ArrayLike,
    df_items: float,
    level: float = 0.95,
    floor: float = 0.0,
) -> Interval:
    """Student's interval from the noise of items and the noise of seeds.

    se² = var(over_items) + s² / S. Items and seeds are crossed: all seeds share the test items, so
    more seeds do not reduce the first term. With one seed the second term is unknown and left out:
    the interval then speaks of this run only.

    Args:
        value: The statistic, of all items and seeds.
        over_items: [R], of resamples of the items, with all seeds.
        over_seeds: [S], of each seed alone, with all items.
        df_items: Degrees of freedom of the first variance: clusters of items − 1.
        level: Coverage.
        floor: Numerical noise, added to both sides.
    """
    items, seeds = (np.asarray(x, dtype=np.float64) for x in (over_items, over_seeds))
    variances, dfs = [float(items.var(ddof=1))], [float(df_items)]
    if len(seeds) > 1:
        variances.append(float(seeds.var(ddof=1)) / len(seeds))
        dfs.append(len(seeds) - 1)
    df = degrees_of_freedom(variances, dfs)
    stderr = math.sqrt(math.fsum(variances))
    half = quantile_of_level(level, df) * stderr + floor
    return Interval(value, value - half, value + half, stderr, df, floor)
