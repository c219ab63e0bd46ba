"""Where the variance of scores comes from: seeds, items, or their interaction."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Components(NamedTuple):
    """Variances of one score, by source.

    Args:
        seeds: Between training seeds, over all items alike.
        items: Between items, over all seeds alike.
        interaction: What is left: one item by one seed, and noise.
    """

    seeds: float
    items: float
    interaction: float

    @property
    def shares(self) -> Components:
        """Each as a share of their sum; NaN if the sum is 0."""
        total = math.fsum(self)
        return Components(*(part / total if total else math.nan for part in self))


def variance_components(values: ArrayLike) -> Components:
    """Variance components of a two-way table, by the method of moments.

    Random effects, one score per cell: with mean squares M of seeds, items and the rest, the
    interaction is M_rest, seeds (M_seeds − M_rest) / n and items (M_items − M_rest) / S (Searle,
    Casella and McCulloch, 1992, chapter 4). Negative estimates count as 0.

    Args:
        values: [S, n], scores of S seeds on the same n items, or on n clusters of equal weight.

    Returns:
        NaN where the table is too small: with one seed only ``items`` is known, and it includes
        the interaction.
    """
    table = np.asarray(values, dtype=np.float64)
    n_seeds, n_items = table.shape
    if n_items < 2:
        return Components(math.nan, math.nan, math.nan)
    if n_seeds < 2:
        return Components(math.nan, float(table[0].var(ddof=1)), math.nan)
    of_seed, of_item = table.mean(1), table.mean(0)  # (S,), (n,)
    rest = table - of_seed[:, None] - of_item + table.mean()
    interaction = float(np.square(rest).sum()) / ((n_seeds - 1) * (n_items - 1))
    seeds = float(of_seed.var(ddof=1)) - interaction / n_items
    items = float(of_item.var(ddof=1)) - interaction / n_seeds
    return Components(_at_least_0(seeds), _at_least_0(items), interaction)


def _at_least_0(variance: float) -> float:
    return variance if math.isnan(variance) else max(0.0, variance)
