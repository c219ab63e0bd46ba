"""Variance components: by hand, and of simulated tables with known ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sft_tradeoff.stats.variance import Components, variance_components


def test_components_by_hand() -> None:
    """Seeds at 1 and 3, items at −1, 0, 1, no interaction: variances 2 and 1."""
    assert variance_components([[0, 1, 2], [2, 3, 4]]) == pytest.approx((2, 1, 0))
    # the two seeds disagree about every item: only interaction, no negative variances
    assert variance_components([[0, 1], [1, 0]]) == pytest.approx((0, 0, 1))


def test_known_components_are_found() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        seed, item = rng.normal(size=(6, 1)), 2 * rng.normal(size=40)
        found.append(variance_components(seed + item + 3 * rng.normal(size=(6, 40))))
    assert np.mean(found, axis=0) == pytest.approx([1, 4, 9], rel=0.1)


def test_small_tables_say_what_they_know() -> None:
    seeds, items, interaction = variance_components([[1, 2, 3]])
    assert items == 1 and math.isnan(seeds) and math.isnan(interaction)
    assert all(map(math.isnan, variance_components([[1], [2]])))
    assert all(map(math.isnan, variance_components([[1, math.nan], [2, 3]])))


def test_shares_add_up() -> None:
    assert Components(1.0, 2.0, 1.0).shares == (0.25, 0.5, 0.25)
    assert all(map(math.isnan, Components(0.0, 0.0, 0.0).shares))
