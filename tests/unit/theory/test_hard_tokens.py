"""The largest safe step: by hand, and when fewer hard tokens make it larger."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.theory.hard_tokens import Positions, loss_of
from sft_tradeoff.theory.tilting import code_length_change, step_of_total, tilted

SHARES = np.linspace(0, 1, 6)


def safe_steps(positions: Positions, tolerance: float) -> np.ndarray:
    return np.array([positions.largest_safe_step(float(h), tolerance) for h in SHARES])


def test_loss_of_one_position_by_hand() -> None:
    """Half a step from .2 to .8 leads to .5."""
    expected = math.log(2) + 0.2 * math.log(0.2) + 0.8 * math.log(0.8)
    assert loss_of(0.2, 0.8, 0.5) == pytest.approx(expected)
    mixed = Positions(easy=0.8, hard=0.2, target=0.8).general_loss([0.0, 0.5], 0.25)
    assert mixed == pytest.approx([0, 0.25 * expected])


def test_small_steps_to_second_order() -> None:
    p, target, step = 0.3, 0.99, 1e-3
    score = math.log(target / (1 - target)) - math.log(p / (1 - p))
    assert loss_of(p, target, step) == pytest.approx(step**2 * p * (1 - p) * score**2 / 2, rel=1e-2)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_other_tokens_may_be_taken_together(p: float, target: float, step: float) -> None:
    """Four others, in the same proportions before and after."""
    others = np.array([0.4, 0.3, 0.2, 0.1])
    start, goal = (np.array([x, *((1 - x) * others)]) for x in (p, target))
    after = tilted(start, goal, step)
    assert after[1:] / after[1:].sum() == pytest.approx(others)
    loss = code_length_change(start, start, after)
    assert loss_of(p, target, step) == pytest.approx(float(loss), abs=1e-12)


def test_safe_step_is_where_the_loss_meets_the_tolerance() -> None:
    positions = Positions(easy=0.99, hard=0.1, target=0.999)
    found = positions.largest_safe_step(0.2, 0.01)
    assert positions.general_loss(found, 0.2) == pytest.approx(0.01)
    losses = positions.general_loss(np.linspace(0, 1, 101), 0.2)
    assert (np.diff(losses, 2) > 0).all(), "convex, so there is one such step"
    # To second order the safe step is √(2 · tolerance / Σ share · p (1 − p) score²).
    tiny = Positions(0.99, 0.1, 0.999).largest_safe_step(0.2, 1e-8)
    logits = [math.log(p / (1 - p)) for p in (0.999, 0.99, 0.1)]
    spread = 0.8 * 0.0099 * (logits[0] - logits[1]) ** 2 + 0.2 * 0.09 * (logits[0] - logits[2]) ** 2
    assert tiny == pytest.approx(math.sqrt(2e-8 / spread), rel=1e-3)


def test_a_tolerance_that_no_step_reaches() -> None:
    assert Positions(0.99, 0.1, 0.999).largest_safe_step(0.0, 5.0) == 1


@settings(max_examples=50)
@given(st.floats(0.9, 0.999), st.floats(1e-3, 0.6), st.floats(0.9, 0.999), st.floats(1e-3, 0.3))
def test_fewer_hard_tokens_widen_the_range_where_they_lose_more(
    easy: float, hard: float, target: float, tolerance: float
) -> None:
    """T3, and its converse: where easy positions lose more at every step, the range shrinks."""
    positions = Positions(easy, hard, target)
    steps = np.linspace(0.01, 1, 50)
    more = loss_of(hard, target, steps) - loss_of(easy, target, steps)
    found = np.diff(safe_steps(positions, tolerance))
    if (more > 0).all():
        assert (found <= 1e-9).all()
    elif (more < 0).all():
        assert (found >= -1e-9).all()


def test_the_hardest_tokens_hold_still_while_steps_are_small() -> None:
    """Then the theorem's statement fails: more of them allow larger steps."""
    assert (np.diff(safe_steps(Positions(0.99, 0.1, 0.999), 0.01)) < 0).all()
    assert (np.diff(safe_steps(Positions(0.9, 1e-5, 0.999), 0.01)) > 0).all()
    assert loss_of(1e-5, 0.999, 0.1) < loss_of(0.9, 0.999, 0.1) < loss_of(0.3, 0.999, 0.1)


def test_ratio_of_safe_steps_grows_with_their_number() -> None:
    few, many = (Positions(0.99, 0.1, 0.999).largest_safe_step(h, 0.01) for h in (0.05, 0.2))
    ratios = [float(step_of_total(few, n) / step_of_total(many, n)) for n in (1, 2, 10, 1000)]
    assert ratios[0] == pytest.approx(few / many)
    assert (np.diff(ratios) > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hard": 0.0}, "hard 0: give a probability between 0 and 1"),
        ({"easy": math.nan}, "easy nan: give a probability between 0 and 1"),
        ({"share": 1.5}, "share 1.5: give a share of hard positions from 0 to 1"),
        ({"tolerance": 0.0}, "tolerance 0: give a loss above 0"),
    ],
)
def test_wrong_numbers(options: dict[str, float], message: str) -> None:
    given = {"easy": 0.99, "hard": 0.1, "target": 0.999, "share": 0.2, "tolerance": 0.01} | options
    share, tolerance = given.pop("share"), given.pop("tolerance")
    with pytest.raises(ValueError, match=message):
        Positions(**given).largest_safe_step(share, tolerance)


def test_a_wider_range_is_no_larger_gain() -> None:
    """At the largest safe step the domain gains more if more of its tokens are hard."""
    positions = Positions(easy=0.99, hard=0.1, target=0.999)
    goal = np.array([0.999, 0.001])

    def gain(share: float) -> float:
        step = positions.largest_safe_step(share, 0.01)
        starts = np.array([[0.99, 0.01], [0.1, 0.9]])
        gained = -code_length_change(goal, starts, tilted(starts, goal, step))
        return float(gained @ [1 - share, share])

    assert (gain(0.05), gain(0.2)) == pytest.approx((0.068, 0.158), abs=5e-4)
