"""Hypervolumes of frontiers that can be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from sft_tradeoff.stats.frontier import hypervolume, hypervolume_difference

REFERENCE = 0.2, 0.1  # score of θ0, and a loss nobody wants


def test_steps_by_hand() -> None:
    """(0.4, 0.02) covers 0.2 × 0.08, (0.6, 0.06) another 0.2 × 0.04; the rest adds nothing."""
    points = [[0.4, 0.02], [0.6, 0.06], [0.5, 0.07], [0.1, 0.0], [0.9, 0.2]]
    assert hypervolume(points, REFERENCE) == pytest.approx(0.016 + 0.008)


def test_no_point_better_than_the_reference_is_zero() -> None:
    assert hypervolume([[0.2, 0.0], [0.5, 0.1]], REFERENCE) == 0


def test_resamples_and_broken_points() -> None:
    points = np.array([[[0.4, 0.02]], [[0.3, 0.0]], [[np.nan, 0.0]]])  # 3 resamples
    assert hypervolume(points, REFERENCE) == pytest.approx([0.016, 0.01, np.nan], nan_ok=True)


def test_difference_of_methods() -> None:
    ours, theirs = [[0.4, 0.02], [0.6, 0.06]], [[0.4, 0.02], [0.4, 0.06]]
    assert hypervolume_difference(ours, theirs, REFERENCE) == pytest.approx(0.008)
    assert hypervolume_difference(theirs, ours, REFERENCE) == pytest.approx(-0.008)
    with pytest.raises(ValueError, match="2 points against 1"):
        hypervolume_difference(ours, theirs[:1], REFERENCE)
