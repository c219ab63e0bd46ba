"""Studies with a known truth: scores of items in clusters, of several seeds, beside θ0's.

Every score is the sum of a common effect and of noise that its cluster, its item, its seed, its
seed and cluster together, and nothing else share. Right or wrong answers are such sums above 0
(probit), so the accuracies are known exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sft_tradeoff.stats.variance import Components

SPREAD = 0.8  # of the logarithm of sizes that are not equal


@dataclass(frozen=True)
class Truth:
    """What a simulated study is drawn from.

    Args:
        clusters: Independent units, C.
        items: Items of each; of unequal clusters, the median.
        seeds: Trained models, S.
        effect: True difference from θ0.
        accuracy: True accuracy of θ0; None: scores are continuous, per unit of size.
        sd_cluster: Standard deviation of what all items of a cluster share, with all seeds.
        sd_item: Of an item, with all seeds.
        sd_seed: Of a seed, on all items.
        sd_both: Of a seed on a cluster.
        sd_noise: Of a single score; of right or wrong answers, relative to the others.
        unequal: Whether clusters have unequal numbers of items, and items unequal sizes.
        skewed: Whether what clusters and items share has the skewness of an exponential
            distribution, 2, as the NLL of few hard texts.
    """

    clusters: int
    items: int = 1
    seeds: int = 1
    effect: float = 0.0
    accuracy: float | None = None
    sd_cluster: float = 0.0
    sd_item: float = 0.0
    sd_seed: float = 0.0
    sd_both: float = 0.0
    sd_noise: float = 0.0
    unequal: bool = False
    skewed: bool = False

    @property
    def components(self) -> Components:
        """Variances of the means of equal clusters, if scores are continuous."""
        return Components(
            seeds=self.sd_seed**2,
            items=self.sd_cluster**2 + self.sd_item**2 / self.items,
            interaction=self.sd_both**2 + self.sd_noise**2 / self.items,
        )


class Scores(NamedTuple):
    """Scores of one simulated study on n items.

    Args:
        trained: [S, n], value of each seed.
        base: [n], value of θ0.
        size: [n].
        cluster: [n].
    """

    trained: np.ndarray
    base: np.ndarray
    size: np.ndarray
    cluster: np.ndarray


def draw(truth: Truth, rng: np.random.Generator) -> Scores:
    """Draw one study."""
    counts = np.full(truth.clusters, truth.items)
    if truth.unequal:
        counts = np.maximum(1, np.rint(counts * rng.lognormal(0, SPREAD, truth.clusters))).astype(
            int
        )
    cluster = np.repeat(np.arange(truth.clusters), counts)
    n = len(cluster)

    def shared(scale: float, number: int) -> np.ndarray:
        noise = rng.exponential(size=number) - 1 if truth.skewed else rng.normal(size=number)
        return scale * noise

    of_items = shared(truth.sd_cluster, truth.clusters)[cluster] + shared(truth.sd_item, n)
    of_seeds = truth.sd_seed * rng.normal(size=(truth.seeds, 1))
    of_both = truth.sd_both * rng.normal(size=(truth.seeds, truth.clusters))[:, cluster]
    noise = truth.sd_noise * rng.normal(size=(truth.seeds, n))
    total = of_items + of_seeds + of_both + noise  # (S, n)
    if truth.accuracy is not None:
        return _right_or_wrong(truth, total, of_items, cluster, rng)
    size = np.ones(n)
    if truth.unequal:
        size = rng.lognormal(0, SPREAD, n)
    base = size * (1 + rng.normal(size=n))  # the difficulty of an item, which cancels out
    return Scores(base + size * (truth.effect + total), base, size, cluster)


def _right_or_wrong(
    truth: Truth,
    total: np.ndarray,
    of_items: np.ndarray,
    cluster: np.ndarray,
    rng: np.random.Generator,
) -> Scores:
    """Answers that are right where the sum of an ability and the noise is above 0."""
    from scipy.special import ndtri

    assert truth.accuracy is not None
    if truth.skewed:
        raise ValueError("skewed answers have no known accuracy; leave out skewed or accuracy")
    of_base = truth.sd_cluster**2 + truth.sd_item**2 + truth.sd_noise**2
    of_trained = of_base + truth.sd_seed**2 + truth.sd_both**2
    ability0 = float(ndtri(truth.accuracy)) * math.sqrt(of_base)
    ability = float(ndtri(truth.accuracy + truth.effect)) * math.sqrt(of_trained)
    base = of_items + truth.sd_noise * rng.normal(size=len(cluster)) + ability0 > 0
    trained = total + ability > 0
    return Scores(trained.astype(float), base.astype(float), np.ones(len(cluster)), cluster)
