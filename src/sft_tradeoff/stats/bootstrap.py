"""Resampling of items in clusters, paired over everything that was scored on them.

Items of one cluster (a template with its numbers, a query, a document with its windows) are not
independent, so whole clusters are drawn. One draw serves all settings and seeds, which are scored
on the same items: their differences then have the small spread of paired data.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

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

    @classmethod
    def of(cls, value: ArrayLike, size: ArrayLike, cluster: ArrayLike | None = None) -> Self:
        """Number the clusters by their names; None: every item is one of its own."""
        numerator = np.asarray(value, dtype=np.float64)
        names = np.arange(numerator.shape[-1]) if cluster is None else np.asarray(cluster)
        codes = np.unique(names, return_inverse=True)[1]
        return cls(numerator, np.asarray(size, dtype=np.float64), codes)

    @property
    def n_clusters(self) -> int:
        """Number of independent units, C."""
        return int(self.cluster.max()) + 1 if len(self.cluster) else 0

    @property
    def df(self) -> float:
        """Degrees of freedom of a variance between the clusters, for Student's distribution.

        C − 1 for clusters of one size x. Few large clusters among small ones say less: it is
        (Σ x)² / Σ x² − 1, with Kish's (1965) effective number of clusters, and at least 1.
        """
        size = cluster_sums(self)[1]
        if len(size) < 2 or not size.any():
            return len(size) - 1.0
        return max(1.0, float(size.sum() ** 2 / np.square(size).sum()) - 1)


def cluster_sums(scores: Clustered) -> tuple[np.ndarray, np.ndarray]:
    """Sum values and sizes within clusters: [..., C] and [C]."""
    order = np.argsort(scores.cluster, kind="stable")
    starts = np.searchsorted(scores.cluster[order], np.arange(scores.n_clusters))
    value: np.ndarray = np.add.reduceat(scores.value[..., order], starts, axis=-1)
    size: np.ndarray = np.add.reduceat(scores.size[order], starts)
    return value, size


def ratios(scores: Clustered) -> np.ndarray:
    """Ratio Σ value / Σ size over all items: [...]."""
    found: np.ndarray = scores.value.sum(-1) / scores.size.sum()
    return found


def resampled_weights(
    n_clusters: int, rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> np.ndarray:
    """Times that each of C ≥ 2 clusters counts in each resample: [R, C] float64.

    As in :func:`resampled_ratios`, for statistics that are not ratios.
    """
    n = n_clusters
    found: np.ndarray = rng.multinomial(n - 1, np.full(n, 1 / n), size=n_resamples)
    return found.astype(np.float64)


def resampled_ratios(
    scores: Clustered, rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> np.ndarray:
    """Ratios [R, ...] on R resamples of the clusters, drawn with replacement.

    C − 1 of the C clusters are drawn: then the variance of a mean over the resamples is s² / C
    without bias, where drawing C gives (C − 1) / C of it (Rao and Wu, 1988).

    Args:
        scores: What was measured.
        rng: Benchmarks are independent: give each its own draws.
        n_resamples: R.

    Returns:
        NaN if there are fewer than two clusters.
    """
    value, size = cluster_sums(scores)  # (..., C), (C,)
    n = len(size)
    shape = n_resamples, *value.shape[:-1]
    if n < 2:
        return np.full(shape, math.nan)
    weight = resampled_weights(n, rng, n_resamples)
    total = np.moveaxis(value @ weight.T, -1, 0)  # (R, ...)
    of_size = (weight @ size).reshape(-1, *[1] * (value.ndim - 1))  # (R, 1, ...)
    found: np.ndarray = total / of_size
    return found
