"""Resampling of items in clusters, paired over everything that was scored on them.

Items of one cluster (a template with its numbers, a query, a document with its windows) are not
independent, so whole clusters are drawn. One draw serves all settings and seeds, which are scored
on the same items: their differences then have the small spread of paired data.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

N_RESAMPLES = 2000


class Clustered(NamedTuple):
    """Scores on the same n items.

    Args:
        value: [..., n], numerator of the score; leading axes: settings, seeds, ...
        size: [n], denominator: 1, bytes or tokens.
        cluster: [n] int64, the independent unit that each item belongs to, from 0.
    """

    value: np.ndarray
    size: np.ndarray
    cluster: np.ndarray

    @property
    def n_clusters(self) -> int:
        """Number of independent units, C."""
        return int(self.cluster.max()) + 1 if len(self.cluster) else 0


def cluster_sums(scores: Clustered) -> tuple[np.ndarray, np.ndarray]:
    """Sum values and sizes within clusters: [..., C] and [C]."""
    member = np.zeros((len(scores.cluster), scores.n_clusters))  # (n, C)
    member[np.arange(len(scores.cluster)), scores.cluster] = 1.0
    return scores.value @ member, scores.size @ member


def ratios(scores: Clustered) -> np.ndarray:
    """Ratio Σ value / Σ size over all items: [...]."""
    found: np.ndarray = scores.value.sum(-1) / scores.size.sum()
    return found


def resampled_ratios(
    scores: Clustered, rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> np.ndarray:
    """Ratios [R, ...] on R resamples of the clusters, drawn with replacement.

    Args:
        scores: What was measured.
        rng: Benchmarks are independent: give each its own draws.
        n_resamples: R.
    """
    value, size = cluster_sums(scores)  # (..., C), (C,)
    n = len(size)
    weight = rng.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(float)  # (R, C)
    total = np.moveaxis(value @ weight.T, -1, 0)  # (R, ...)
    of_size = (weight @ size).reshape(-1, *[1] * (value.ndim - 1))  # (R, 1, ...)
    found: np.ndarray = total / of_size
    return found
