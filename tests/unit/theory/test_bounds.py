"""Bounds on the general loss: by hand, never below the loss, and how they depend on the step."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.theory.bounds import curvature_bound, normalizer_bound
from sft_tradeoff.theory.tilting import code_length_change, path, step_of_total
from tests.unit.theory.distributions import SIZE, distribution, step

close = partial(pytest.approx, rel=1e-9, abs=1e-12)
Q, GOAL = np.array([0.2, 0.8]), np.array([0.8, 0.2])


def test_one_step_by_hand() -> None:
    """General text is q itself, so the slope is 0; the score is ± log 4, its range 2 log 4."""
    passed = path(Q, [GOAL], 0.5)
    assert curvature_bound(Q, passed, [GOAL], 0.5) == close([0, math.log(4) ** 2 / 8])
    assert normalizer_bound(Q, passed, [GOAL], 0.5) == close([0, 0.3 * math.log(4)])


def test_curvature_by_hand() -> None:
    """The second terms of n steps add up to λ / (2 − λ) · (1 − (1 − Λ)²) R² / 8."""
    size, n = float(step_of_total(0.5, 2)), 2
    passed = path(Q, [GOAL] * n, size)
    slopes = [size * ((q - Q) * np.log(GOAL / q)).sum() for q in passed[:-1]]
    curvature = size / (2 - size) * (1 - 0.25) * math.log(4) ** 2 / 2
    assert curvature_bound(Q, passed, [GOAL] * n, size)[-1] == close(sum(slopes) + curvature)


@given(distribution, distribution, st.lists(distribution, min_size=1, max_size=4), step)
def test_no_bound_is_below_the_loss(
    general: np.ndarray, q: np.ndarray, targets: list[np.ndarray], size: float
) -> None:
    """For targets that move, after every step."""
    passed = path(q, targets, size)
    loss = code_length_change(general, np.broadcast_to(q, passed.shape), passed)
    for bound in (curvature_bound, normalizer_bound):
        found = bound(general, passed, targets, size)
        assert found.shape == (len(targets) + 1,)
        assert (found >= loss - 1e-12).all()


def last(bound, general, q, goal, total, n):  # type: ignore[no-untyped-def]
    size = float(step_of_total(total, n))
    return float(bound(general, path(q, [goal] * n, size), [goal] * n, size)[-1])


@given(distribution, distribution, distribution, step, st.integers(1, 3))
def test_smaller_steps_to_the_same_place_lower_one_bound(
    general: np.ndarray, q: np.ndarray, goal: np.ndarray, total: float, n: int
) -> None:
    """T2. The place, and so gain and loss, are the same: only the bound depends on the step."""
    loss = code_length_change(general, q, path(q, [goal], total)[-1])
    values = [last(curvature_bound, general, q, goal, total, n * 2**i) for i in range(3)]
    assert (np.diff(values) <= 1e-12).all()
    if np.ptp(np.log(goal / q)) > 0.1:
        assert values[-1] < values[0]
    finest = last(curvature_bound, general, q, goal, total, 32)  # λ is .13 at most
    assert loss - 1e-12 <= finest <= loss + 0.07 * np.ptp(np.log(goal / q)) ** 2 / 8 + 1e-12


@given(distribution, distribution, distribution, step, st.integers(2, 6))
def test_smaller_steps_to_the_same_place_raise_the_other(
    general: np.ndarray, q: np.ndarray, goal: np.ndarray, total: float, n: int
) -> None:
    """One step drops the least: what n steps drop is |log Z| of the whole, and more."""
    one, many = (last(normalizer_bound, general, q, goal, total, k) for k in (1, n))
    assert many >= one - 1e-12
    if np.ptp(np.log(goal / q)) > 0.1:
        assert many > one


def test_several_paths_at_once() -> None:
    """Orders of batches, and one step size for each path."""
    rng = np.random.default_rng(0)
    targets = rng.dirichlet(np.ones(SIZE), (3, 5))
    general, q = rng.dirichlet(np.ones(SIZE), 2)
    sizes = np.array([0.1, 0.3])[:, None, None]
    for bound in (curvature_bound, normalizer_bound):
        together = bound(general, path(q, targets[:, None], sizes), targets[:, None], sizes)
        assert together.shape == (4, 2, 5)
        alone = bound(general, path(q, targets[:, 2], 0.3), targets[:, 2], 0.3)
        assert together[:, 1, 2] == close(alone)
