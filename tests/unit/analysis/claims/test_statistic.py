"""Statistics of scores, with their effects: against formulas, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sft_tradeoff.analysis.claims.base import Untested
from sft_tradeoff.analysis.claims.statistic import Statistic, combined, effect_of, score
from sft_tradeoff.stats.bootstrap import Clustered
from sft_tradeoff.stats.estimates import no_change_bound

KEY = ("d", "nll")
RNG = np.random.default_rng(5)


def statistic(values: np.ndarray, key: tuple[str, str] = KEY, name: str = "s") -> Statistic:
    n_seeds, n = values.shape
    scores = Clustered(values, np.ones(n), np.arange(n))
    return score(name, key, scores, tuple(range(n_seeds)) if n_seeds > 1 else None)


def test_a_difference_is_paired_on_items_and_seeds() -> None:
    """What items and seeds have in common cancels; what is left is 0.1 ± 0.02 / √400."""
    items, noise = RNG.normal(1, 5, 400), RNG.normal(0, 0.02, 400)
    shared = np.array([[-0.3], [0.0], [0.3]])
    ours, theirs = items + shared + 0.1 + noise, items + shared
    effect = effect_of(statistic(ours) - statistic(theirs))
    assert effect.interval.value == pytest.approx(0.1 + noise.mean())
    assert effect.interval.stderr == pytest.approx(noise.std(ddof=1) / 20, rel=0.1)
    assert (effect.n_items, effect.n_clusters, effect.n_seeds) == (400, 400, 3)


def test_the_pretrained_model_against_itself_is_exactly_zero() -> None:
    base = statistic(RNG.normal(1, 5, (1, 40)))
    interval = effect_of(base - base).interval
    assert (interval.value, interval.low, interval.high, interval.stderr) == (0, 0, 0, 0)


def test_no_answer_changed_on_few_items() -> None:
    """The rule of three: nothing changed on 40 items, where up to 0.092 may change."""
    right = statistic(np.ones((1, 40)), ("d", "accuracy"))
    interval = effect_of(right - right).interval
    assert interval.high == pytest.approx(no_change_bound(40, 0.95))
    assert interval.stderr > 0


def test_a_change_without_spread_has_no_interval() -> None:
    base = RNG.normal(1, 5, (1, 40))
    interval = effect_of(statistic(base + 1) - statistic(base)).interval
    assert math.isnan(interval.low) and math.isnan(interval.stderr)


def test_the_spread_of_seeds_is_part_of_the_error() -> None:
    """Three seeds at −0.1, 0, 0.1 on equal items: 0.1 / √3, and Student's t of two df."""
    values = RNG.normal(0, 1e-6, 40) + np.array([[-0.1], [0.0], [0.1]])
    interval = effect_of(statistic(values)).interval
    assert interval.stderr == pytest.approx(0.1 / math.sqrt(3), rel=1e-3)
    assert interval.df == pytest.approx(2, rel=1e-3)


def test_a_function_that_is_not_linear_is_taken_of_the_means() -> None:
    """The largest of two means over seeds, not the mean of the seeds' largest."""
    one, two = np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])
    largest = combined(np.maximum, statistic(one), statistic(two), name="largest", linear=False)
    assert largest.value == 0.5
    assert (largest.over_items == 0.5).all()
    assert list(largest.over_seeds) == [1, 1]


def test_different_seeds_cannot_be_paired() -> None:
    two, three = statistic(RNG.normal(size=(2, 9)), name="a"), statistic(RNG.normal(size=(3, 9)))
    with pytest.raises(Untested, match=r"the seeds differ.*a has 0, 1, s has 0, 1, 2"):
        two - three
    base = statistic(RNG.normal(size=(1, 9)))
    assert (three - base).seeds == (0, 1, 2), "θ0 has none, and pairs with all"


def test_one_cluster_shows_nothing() -> None:
    scores = Clustered(np.ones((1, 5)), np.ones(5), np.zeros(5, int))
    with pytest.raises(Untested, match="d: its 5 items belong to one cluster"):
        score("s", KEY, scores, None)
