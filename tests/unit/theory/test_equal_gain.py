"""Large and small steps at the same domain gain: targets that stand still, and that move."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings

from sft_tradeoff.theory.equal_gain import (
    Tilting,
    at_gain,
    fixed_target,
    moving_targets,
    smoothed,
    trajectory,
)
from sft_tradeoff.theory.tilting import step_of_total, total_step
from tests.unit.theory.distributions import distribution

Q, GOAL = np.array([0.2, 0.8]), np.array([0.8, 0.2])
ENTROPY = -0.8 * math.log(0.8) - 0.2 * math.log(0.2)
ONE = Tilting(start=Q, general=Q, domain=GOAL, targets=GOAL[None, None])
# Half a step from .2 to .8 leads to .5.
GAIN = 0.8 * math.log(5) + 0.2 * math.log(1.25) - math.log(2)


def test_half_a_step_by_hand() -> None:
    none, half = trajectory(ONE, 0.5, 1)
    assert none == pytest.approx((0.5, 0, 0, 0, 0))
    expected = (0.5, GAIN, math.log(2) - ENTROPY, math.log(4) ** 2 / 8, 0.3 * math.log(4))
    assert half == pytest.approx(expected)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_the_step_that_gains_so_much(n: int) -> None:
    found = at_gain(ONE, GAIN, n)
    assert found.step == pytest.approx(float(step_of_total(0.5, n)))
    assert (found.gain, found.loss) == pytest.approx((GAIN, math.log(2) - ENTROPY))


@settings(max_examples=25)
@given(distribution, distribution, distribution)
def test_loss_at_a_gain_does_not_depend_on_the_step(
    general: np.ndarray, q: np.ndarray, goal: np.ndarray
) -> None:
    """If the target stands still: the theorem compares bounds, not losses."""
    tilting = Tilting(q, general, goal, goal[None, None])
    gain = trajectory(tilting, 0.4, 1)[-1].gain
    if gain < 1e-6:
        return
    found = [at_gain(tilting, gain, n) for n in (1, 2, 4)]
    for outcome, n in zip(found, (1, 2, 4), strict=True):
        assert float(total_step(outcome.step, n)) == pytest.approx(0.4, rel=1e-6)
        assert outcome.loss == pytest.approx(found[0].loss, abs=1e-7)
    assert found[0].curvature_bound >= found[1].curvature_bound >= found[2].curvature_bound


def test_loss_at_a_gain_depends_on_the_step_if_the_target_moves() -> None:
    """One step sees one of two batches, two steps see both; by symmetry both end near the mean.

    Batches (.7, .2, .1) and (.2, .7, .1), general text and start (.1, .1, .8): in two steps the
    first two tokens rise almost alike, in one step one of them rises alone. The domain needs both.
    """
    batches = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    start = np.array([0.1, 0.1, 0.8])
    tilting = Tilting(start, start, batches.mean(0), moving_targets(batches))
    one, two = (at_gain(tilting, 0.5, n) for n in (1, 2))
    assert one.gain == pytest.approx(two.gain)
    assert one.loss > 1.02 * two.loss
    still = Tilting(start, start, batches.mean(0), fixed_target(batches))
    alike = [at_gain(still, 0.5, n).loss for n in (1, 2)]
    assert alike[0] == pytest.approx(alike[1])
    # By hand, for one step: both orders begin with another batch, so both lose the same.
    tilted_by_hand = start ** (1 - one.step) * batches[0] ** one.step
    q = tilted_by_hand / tilted_by_hand.sum()
    assert one.loss == pytest.approx(float((start * np.log(start / q)).sum()))


def test_orders_of_batches() -> None:
    batches = smoothed(np.array([[3, 1], [0, 4], [2, 2]]), 0.5)
    assert batches[1] == pytest.approx([0.1, 0.9])
    moving = moving_targets(batches)
    assert moving.shape == (3, 6, 2)
    assert len({tuple(order[:, 0]) for order in moving.swapaxes(0, 1)}) == 6
    assert moving.mean(0) == pytest.approx(np.broadcast_to(batches.mean(0), (6, 2)))
    assert fixed_target(batches) == pytest.approx(batches.mean(0)[None, None])


def test_after_the_last_batch_comes_the_first() -> None:
    batches = np.array([[0.7, 0.3], [0.2, 0.8]])
    tilting = Tilting(Q, Q, GOAL, moving_targets(batches))
    assert (tilting.of(5)[4] == tilting.of(5)[0]).all() and tilting.of(5).shape == (5, 2, 2)


def test_a_gain_out_of_reach() -> None:
    most = 0.8 * math.log(4) - 0.2 * math.log(4)  # all the way to the target
    for gain in (0.9, 0.0, math.nan):
        with pytest.raises(ValueError, match=f"gain {gain:g} in 3 steps: .* at most {most:.4g}"):
            at_gain(ONE, gain, 3)
    assert at_gain(ONE, most, 1).step == pytest.approx(1)
