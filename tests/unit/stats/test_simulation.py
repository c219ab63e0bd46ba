"""Simulated studies have the truth that they say."""

from __future__ import annotations

import numpy as np
import pytest

from sft_tradeoff.stats.bootstrap import Clustered, cluster_sums
from sft_tradeoff.stats.simulation import Truth, draw
from sft_tradeoff.stats.variance import variance_components


def test_continuous_scores_have_their_effect_and_components() -> None:
    truth = Truth(30, 4, 4, 0.7, sd_cluster=1, sd_item=2, sd_seed=0.5, sd_both=0.8, sd_noise=1)
    found, effects = [], []
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = draw(truth, rng)
        sums, sizes = cluster_sums(
            Clustered.of(scores.trained - scores.base, scores.size, scores.cluster)
        )
        found.append(variance_components(sums / sizes))
        effects.append((sums / sizes).mean())
    assert truth.components == pytest.approx((0.25, 2.0, 0.89))
    assert np.mean(found, axis=0) == pytest.approx(truth.components, rel=0.12)
    assert np.mean(effects) == pytest.approx(0.7, abs=0.08)


def test_sizes_do_not_change_the_effect_and_skew_does_not_change_the_spread() -> None:
    truth = Truth(20_000, 3, effect=0.4, sd_cluster=0.6, unequal=True, skewed=True)
    scores = draw(truth, np.random.default_rng(0))
    change = scores.trained[0] - scores.base
    assert change.sum() / scores.size.sum() == pytest.approx(0.4, abs=0.03)
    of_cluster = (change / scores.size)[np.unique(scores.cluster, return_index=True)[1]] - 0.4
    assert of_cluster.std() == pytest.approx(0.6, rel=0.05)
    assert np.mean(of_cluster**3) / of_cluster.std() ** 3 == pytest.approx(2, abs=0.3)
    assert len(set(np.bincount(scores.cluster))) > 5


@pytest.mark.parametrize("accuracy", [0.02, 0.5, 0.95])
def test_answers_are_right_as_often_as_they_should_be(accuracy: float) -> None:
    truth = Truth(
        20_000, 2, 3, -0.01, accuracy, sd_cluster=0.5, sd_item=1, sd_both=0.3, sd_noise=0.7
    )
    scores = draw(truth, np.random.default_rng(1))
    assert scores.base.mean() == pytest.approx(accuracy, abs=0.01)
    assert scores.trained.mean() == pytest.approx(accuracy - 0.01, abs=0.01)
    together = np.mean(scores.trained[0] == scores.base)
    assert together > accuracy**2 + (1 - accuracy) ** 2  # hard items are hard for both


def test_answers_have_no_known_accuracy_if_skewed() -> None:
    with pytest.raises(ValueError, match="leave out skewed"):
        draw(Truth(10, accuracy=0.5, sd_item=1, skewed=True), np.random.default_rng(0))
