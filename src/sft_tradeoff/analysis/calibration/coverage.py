"""How often the intervals of simulated studies cover the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sft_tradeoff.analysis.calibration.case import Case, Measurement
from sft_tradeoff.stats.bootstrap import Clustered, ratios, resampled_ratios
from sft_tradeoff.stats.estimates import (
    confidence_interval,
    crossed_estimate,
    effective_n,
    least_half_width,
    mean_over_seeds,
    ratio_estimate,
    wilson_interval,
)
from sft_tradeoff.stats.frontier import hypervolume_difference
from sft_tradeoff.stats.intervals import interval
from sft_tradeoff.stats.simulation import Scores, Truth, draw

LEVEL = 0.95
N_RESAMPLES = 200  # enough to measure a variance to 10 %
Bounds = tuple[float, float]


def _seeds_and_items(seeds: int) -> Truth:
    """Half of the variance comes from seeds: 0.2² / S = 1 / (25 S)."""
    return Truth(25 * seeds, seeds=seeds, sd_cluster=1, sd_seed=0.2)


def _answers(
    clusters: int,
    accuracy: float,
    *,
    items: int = 1,
    seeds: int = 1,
    effect: float = 0.0,
    sd_cluster: float = 0.0,
    sd_seed: float = 0.0,
) -> Truth:
    """Right or wrong answers; two models with one ability agree on about three of four items."""
    return Truth(
        clusters, items, seeds, effect, accuracy, sd_cluster, 1.0, sd_seed=sd_seed, sd_noise=0.7
    )


TRUTHS = {
    "items alone": Truth(200, sd_item=1),
    "items of unequal size": Truth(48, sd_item=1, unequal=True),
    "few clusters": Truth(4, 10, sd_cluster=1, sd_item=1),
    "some clusters": Truth(8, 10, sd_cluster=1, sd_item=1),
    "unequal clusters": Truth(8, 6, sd_cluster=1, sd_item=1, unequal=True),
    "many unequal clusters": Truth(40, 6, sd_cluster=1, sd_item=1, unequal=True),
    "skewed items": Truth(200, sd_item=1, skewed=True),
    "few skewed clusters": Truth(8, 6, sd_cluster=1, sd_item=1, skewed=True),
    "skewed clusters": Truth(50, 6, sd_cluster=1, sd_item=1, skewed=True),
    "2 seeds, items vary": Truth(50, seeds=2, sd_item=1, sd_seed=0.02),
    "2 seeds, both vary": _seeds_and_items(2),
    "2 seeds, seeds vary": Truth(50, seeds=2, sd_cluster=0.3, sd_seed=0.4),
    "3 seeds, both vary": _seeds_and_items(3),
    "3 seeds, seeds vary": Truth(75, seeds=3, sd_cluster=0.3, sd_seed=0.4),
    "3 seeds, single scores vary": Truth(50, seeds=3, sd_noise=1),
    "3 seeds, all vary": Truth(40, 4, 3, sd_cluster=0.5, sd_item=1, sd_seed=0.1, sd_noise=1),
    "5 seeds, few clusters": Truth(4, 10, 5, sd_cluster=1, sd_seed=0.7, sd_both=0.5),
    "5 seeds, both vary": _seeds_and_items(5),
    "8 seeds, both vary": _seeds_and_items(8),
}
ANSWERS = {
    "accuracy 0.5": _answers(200, 0.5, seeds=3, effect=0.05),
    "accuracy 0.5, 3 seeds vary": _answers(200, 0.5, seeds=3, sd_seed=0.2),
    "accuracy 0.5, 5 seeds vary": _answers(200, 0.5, seeds=5, sd_seed=0.2),
    "accuracy 0.5, clusters": _answers(30, 0.5, items=8, seeds=3, sd_cluster=0.7),
    "accuracy 0.95": _answers(200, 0.95, effect=-0.02),
    "accuracy 0.95, 3 seeds": _answers(200, 0.95, seeds=3, effect=-0.02),
    "accuracy 0.02": _answers(100, 0.02),
    "accuracy 0.02, few items": _answers(24, 0.02),
}
PROPORTIONS = {
    "accuracy 0.5": Truth(200, accuracy=0.5, sd_item=1),
    "accuracy 0.02": Truth(100, accuracy=0.02, sd_item=1),
    "accuracy 0.5, few clusters": Truth(8, 10, accuracy=0.5, sd_cluster=0.7, sd_item=1),
    "accuracy 0.5, clusters": Truth(30, 8, accuracy=0.5, sd_cluster=0.7, sd_item=1),
    "accuracy 0.05, clusters": Truth(30, 8, accuracy=0.05, sd_cluster=0.7, sd_item=1),
}


# --- intervals ------------------------------------------------------------------------------------


def _independent(scores: Scores, rng: np.random.Generator) -> Bounds:
    """As if no items shared a cluster, seeds combined from their standard errors."""
    differences = scores.trained - scores.base
    return confidence_interval(
        mean_over_seeds([ratio_estimate(y, scores.size) for y in differences]), LEVEL
    )


def _tables(scores: Scores, rng: np.random.Generator) -> Bounds:
    """As the tables have it: seeds combined from their standard errors."""
    differences = scores.trained - scores.base
    seeds = [ratio_estimate(y, scores.size, scores.cluster) for y in differences]
    return confidence_interval(mean_over_seeds(seeds), LEVEL)


def _crossed(scores: Scores, rng: np.random.Generator) -> Bounds:
    """As gains and comparisons of methods have it."""
    difference = scores.trained - scores.base
    return confidence_interval(crossed_estimate(difference, scores.size, scores.cluster), LEVEL)


def _resampled(scores: Scores, rng: np.random.Generator) -> Bounds:
    """As claims have it."""
    clustered = Clustered.of(scores.trained - scores.base, scores.size, scores.cluster)
    seeds = ratios(clustered)
    resamples = resampled_ratios(clustered, rng, N_RESAMPLES)
    found = interval(float(seeds.mean()), resamples, seeds, clustered.df, LEVEL)
    return found.low, found.high


METHODS: dict[str, Callable[[Scores, np.random.Generator], Bounds]] = {
    "items as independent": _independent,
    "tables": _tables,
    "comparisons": _crossed,
    "claims": _resampled,
}


# --- cases ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference(Case):
    """Intervals of the difference from θ0.

    Args:
        truth: What studies are drawn from.
    """

    truth: Truth

    def measure(self, n_studies: int, rng: np.random.Generator) -> Iterator[Measurement]:
        """Coverage of each kind of interval."""
        covered = dict.fromkeys(METHODS, 0)
        truth = self.truth
        for _ in range(n_studies):
            scores = draw(truth, rng)
            difference, least = scores.trained - scores.base, 0.0
            if truth.accuracy is not None:
                least = least_half_width(difference, scores.cluster, LEVEL)
            value = float(ratios(Clustered.of(difference, scores.size)).mean())
            for name, method in METHODS.items():
                low, high = method(scores, rng)
                low, high = min(low, value - least), max(high, value + least)
                covered[name] += low <= truth.effect <= high
        for name, count in covered.items():
            yield self.measurement(name, count / n_studies, n_studies, LEVEL)


@dataclass(frozen=True)
class Proportion(Case):
    """Wilson's intervals of an accuracy itself, of one run.

    Args:
        truth: What studies are drawn from.
    """

    truth: Truth

    def measure(self, n_studies: int, rng: np.random.Generator) -> Iterator[Measurement]:
        """Coverage with and without the clusters."""
        truth, covered = self.truth, {"items as independent": 0, "tables": 0}
        assert truth.accuracy is not None
        for _ in range(n_studies):
            scores = draw(truth, rng)
            for name, cluster in (("items as independent", None), ("tables", scores.cluster)):
                found = ratio_estimate(scores.trained[0], scores.size, cluster)
                n = effective_n(found)
                low, high = wilson_interval(found.value * n, n, LEVEL)
                covered[name] += low <= truth.accuracy <= high
        for name, count in covered.items():
            yield self.measurement(name, count / n_studies, n_studies, LEVEL)


@dataclass(frozen=True)
class Frontier(Case):
    """Intervals of the hypervolume of one method minus that of another, at three rates each.

    Args:
        advantage: How much the first method's true scores are higher at each rate.
        seeds: Trained models per method and rate.
    """

    advantage: float
    seeds: int

    def measure(self, n_studies: int, rng: np.random.Generator) -> Iterator[Measurement]:
        """Coverage of the interval from resamples."""
        reference = 0.25, 0.1
        truth = np.array([[0.4, 0.005], [0.6, 0.02], [0.65, 0.06]])  # score, loss per rate
        better = truth + np.array([self.advantage, 0.0])
        methods = np.stack([better, truth])  # (2 methods, 3 rates, 2 measures)
        expected = float(hypervolume_difference(better, truth, reference))
        shape = (2, 3, 2, self.seeds)
        covered = 0
        for _ in range(n_studies):
            of_seeds = methods[..., None] + np.array([0.02, 0.003])[:, None] * rng.normal(
                size=shape
            )
            noise = rng.normal(size=(*shape, 40)) * np.array([0.2, 0.02])[:, None, None]
            clustered = Clustered.of(of_seeds[..., None] + noise, np.ones(40))
            # (method, rate, measure, seed) -> seeds first
            seeds = np.moveaxis(ratios(clustered), -1, 0)
            resamples = resampled_ratios(clustered, rng, N_RESAMPLES).mean(-1)
            ours, theirs = seeds.mean(0)
            found = interval(
                float(hypervolume_difference(ours, theirs, reference)),
                hypervolume_difference(resamples[:, 0], resamples[:, 1], reference),
                hypervolume_difference(seeds[:, 0], seeds[:, 1], reference),
                clustered.df,
                LEVEL,
            )
            covered += found.low <= expected <= found.high
        yield self.measurement("claims", covered / n_studies, n_studies, LEVEL)


CASES: tuple[Case, ...] = (
    *(Difference("difference", name, truth) for name, truth in TRUTHS.items()),
    *(Difference("difference in accuracy", name, truth) for name, truth in ANSWERS.items()),
    *(Proportion("accuracy", name, truth) for name, truth in PROPORTIONS.items()),
    Frontier("hypervolume", "alike, 3 seeds", 0.0, 3),
    Frontier("hypervolume", "better, 5 seeds", 0.05, 5),
)
