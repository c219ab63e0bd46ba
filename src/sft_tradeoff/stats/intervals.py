"""Intervals of any statistic that has two sources of noise: test items and training seeds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sft_tradeoff.stats.estimates import crossed_error, quantile_of_level


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
    least: float = 0.0,
) -> Interval:
    """Student's interval from the noise of items and the noise of seeds.

    The two are combined by :func:`~sft_tradeoff.stats.estimates.crossed_error`. For a statistic
    that is linear in the scores give what each seed has on each resample; otherwise the interaction
    of seeds and items counts twice, and the interval is up to 1.4 times too wide.

    Args:
        value: The statistic, of all items and seeds.
        over_items: Of resamples of the items: [R], with all seeds, or [R, S], of each seed alone.
        over_seeds: [S], of each seed alone, with all items.
        df_items: Degrees of freedom of the variance over items: that of
            :class:`~sft_tradeoff.stats.bootstrap.Clustered`.
        level: Coverage.
        floor: Numerical noise, added to both sides.
        least: Smallest half width that noise of items can have, for scores that are right or
            wrong: :func:`~sft_tradeoff.stats.estimates.no_change_bound` of the number of clusters.
    """
    resamples = np.asarray(over_items, dtype=np.float64)
    with_all = resamples if resamples.ndim == 1 else resamples.mean(1)  # (R,)
    of_items = float(with_all.var(ddof=1))
    in_seed = of_items if resamples.ndim == 1 else float(resamples.var(0, ddof=1).mean())
    stderr, df = crossed_error(of_items, in_seed, over_seeds, df_items)
    quantile = quantile_of_level(level, df)
    stderr = float(np.maximum(stderr, least / quantile))
    half = quantile * stderr + floor
    return Interval(value, value - half, value + half, stderr, df, floor)
