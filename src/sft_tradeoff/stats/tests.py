"""Tests of one effect, from its interval, and of items lost and gained.

An effect is positive if it is in favor of the claim. The p values belong to the intervals of
:func:`~sft_tradeoff.stats.intervals.interval`: a two-sided interval at 95 % lies above the margin
if and only if the one-sided p value is below 0.025.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sft_tradeoff.stats.intervals import Interval


def superiority(effect: Interval, margin: float = 0.0) -> float:
    """One-sided p value of "the effect is at most the margin".

    Args:
        effect: Value, standard error and degrees of freedom; its numerical noise counts as distance
            to the margin.
        margin: The effect that is tested against; may be negative.

    Returns:
        NaN if the effect or its standard error is unknown.
    """
    distance = effect.value - margin - effect.floor
    if effect.stderr == 0:
        return 0.0 if distance > 0 else 1.0
    from scipy.special import stdtr  # slow to import, and planning does not need it

    return float(stdtr(effect.df, -distance / effect.stderr))


def noninferiority(effect: Interval, margin: float) -> float:
    """One-sided p value of "the effect is −margin or less": worse by the margin or more."""
    return superiority(effect, -margin)


def two_one_sided(effect: Interval, margin: float) -> float:
    """P value of "the effect lies outside ± margin"; small if the effect is equivalent to none.

    Two one-sided tests (Schuirmann, 1987): the larger p value of the two counts, and no correction
    is needed. Below 0.05 if and only if the 90 % interval lies within ± margin.

    Args:
        effect: Value, standard error and degrees of freedom.
        margin: Largest effect that counts as none, > 0.
    """
    mirrored = effect._replace(value=-effect.value)
    p_values = [superiority(side, -margin) for side in (effect, mirrored)]
    return math.nan if any(map(math.isnan, p_values)) else max(p_values)


def mcnemar_exact(lost: int, gained: int) -> float:
    """Two-sided exact p value of "as many items are lost as gained" (McNemar, 1947).

    Binomial test of the items that changed; 1 if none did. Items have to be independent.

    Args:
        lost: Items that were right and are wrong now.
        gained: Items that were wrong and are right now.
    """
    if lost + gained == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for their number (Holm, 1979); NaN stays NaN and does not count."""
    from statsmodels.stats.multitest import multipletests

    adjusted = np.array(p_values, dtype=np.float64)
    known = ~np.isnan(adjusted)
    if known.any():
        adjusted[known] = multipletests(adjusted[known], method="holm")[1]
    return [float(p) for p in adjusted]
