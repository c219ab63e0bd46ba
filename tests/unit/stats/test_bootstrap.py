"""Resampled ratios: shapes, pairing, and the known variance of a mean over clusters."""

from __future__ import annotations

import numpy as np
import pytest

from sft_tradeoff.stats.bootstrap import Clustered, cluster_sums, ratios, resampled_ratios


def test_the_spread_of_a_mean_is_that_of_its_cluster_means() -> None:
    rng = np.random.default_rng(0)
    n_clusters, per_cluster = 200, 5
    cluster = np.repeat(np.arange(n_clusters), per_cluster)
    value = rng.normal(size=n_clusters)[cluster] + 0.1 * rng.normal(size=len(cluster))
    scores = Clustered(value, np.ones(len(value)), cluster)
    found = resampled_ratios(scores, np.random.default_rng(1), 4000)
    means = value.reshape(n_clusters, per_cluster).mean(1)
    assert found.shape == (4000,)
    assert found.std(ddof=1) == pytest.approx(means.std(ddof=1) / np.sqrt(n_clusters), rel=0.05)


def test_one_draw_serves_all_settings_and_seeds() -> None:
    value = np.random.default_rng(0).normal(size=(2, 3, 8))  # settings, seeds, items
    value[1] = value[0] + 0.25
    scores = Clustered(value, np.full(8, 2.0), np.array([0, 0, 1, 1, 2, 2, 3, 3]))
    found = resampled_ratios(scores, np.random.default_rng(0), 50)
    assert found.shape == (50, 2, 3)
    assert np.allclose(found[:, 1] - found[:, 0], 0.125)  # 0.25 per item of size 2
    assert np.allclose(ratios(scores)[1] - ratios(scores)[0], 0.125)


def test_sums_within_clusters() -> None:
    value, size = cluster_sums(Clustered(np.arange(4.0), np.ones(4), np.array([1, 0, 1, 1])))
    assert value.tolist() == [1.0, 5.0] and size.tolist() == [1.0, 3.0]


def test_the_variance_of_few_clusters_is_not_too_small() -> None:
    """Means −1, 0, 1: s² / 3 = 1/3; drawing three of three would give 2/9."""
    found = resampled_ratios(Clustered.of([-1, 0, 1], np.ones(3)), np.random.default_rng(0), 20_000)
    assert found.var(ddof=1) == pytest.approx(1 / 3, rel=0.03)


def test_clusters_are_numbered_by_name() -> None:
    scores = Clustered.of([1, 2, 3], [1, 1, 1], ["query 7", "query 1", "query 7"])
    assert scores.cluster.tolist() == [1, 0, 1] and scores.n_clusters == 2
    assert Clustered.of([[1, 2]], [1, 1]).cluster.tolist() == [0, 1]


def test_one_cluster_has_no_spread_to_resample() -> None:
    found = resampled_ratios(Clustered.of([1, 2], [1, 1], ["a", "a"]), np.random.default_rng(0), 5)
    assert found.shape == (5,) and np.isnan(found).all()
