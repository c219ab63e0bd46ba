"""Tilting: hand-derived values, and the identities of the theory on random distributions."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.theory.tilting import (
    code_length_change,
    distributions,
    divergence,
    path,
    step_of_total,
    tilted,
    total_step,
)
from tests.unit.theory.distributions import distribution, step

close = partial(pytest.approx, rel=1e-9, abs=1e-12)
Q, GOAL = np.array([0.2, 0.8]), np.array([0.8, 0.2])


def test_half_a_step_by_hand() -> None:
    """√(.2 · .8) for both tokens, so half each; Z = 2 · .4, and the entropies are known."""
    after = tilted(Q, GOAL, 0.5)
    assert after == close([0.5, 0.5])
    assert code_length_change(Q, Q, after) == close(
        math.log(2) + 0.2 * math.log(0.2) + 0.8 * math.log(0.8)
    )
    assert code_length_change(GOAL, Q, after) == close(
        math.log(2) - 0.8 * math.log(5) - 0.2 * math.log(1.25)
    )


def test_no_step_and_the_whole_step() -> None:
    assert tilted(Q, GOAL, 0) == close(Q)
    assert tilted(Q, GOAL, 1) == close(GOAL)


def test_steps_and_distributions_broadcast() -> None:
    sizes = np.array([0.0, 0.5, 1.0])[:, None, None]
    found = tilted(Q, np.stack([GOAL, Q]), sizes)
    assert found.shape == (3, 2, 2)
    assert found[1] == close(np.array([[0.5, 0.5], Q]))


@given(distribution, distribution, distribution, distribution)
def test_change_of_code_length_is_a_difference_of_divergences(
    p: np.ndarray, one: np.ndarray, other: np.ndarray, third: np.ndarray
) -> None:
    """T1, the paper's Proposition 3.1; and changes add up."""
    change = code_length_change(p, one, other)
    assert change == close(divergence(p, other) - divergence(p, one))
    assert change + code_length_change(p, other, third) == close(code_length_change(p, one, third))


def test_identity_where_the_text_lacks_a_token() -> None:
    p = np.array([0.0, 1.0])
    assert code_length_change(p, Q, GOAL) == close(math.log(4))
    assert divergence(p, GOAL) - divergence(p, Q) == close(math.log(4))
    assert divergence(GOAL, p) == math.inf


@given(distribution, distribution, distribution, step)
def test_change_by_one_step(q: np.ndarray, goal: np.ndarray, p: np.ndarray, size: float) -> None:
    """ΔL_P = λ [KL(P‖p̃) − KL(P‖q)] + log Z(λ), with Z ≤ 1."""
    log_z = math.log((q ** (1 - size) * goal**size).sum())
    change = code_length_change(p, q, tilted(q, goal, size))
    assert change == close(size * (divergence(p, goal) - divergence(p, q)) + log_z)
    assert log_z <= 1e-12


@given(distribution, distribution, step, st.integers(1, 9))
def test_many_steps_are_one(q: np.ndarray, goal: np.ndarray, size: float, n: int) -> None:
    """Towards a target that does not move: q_n ∝ q_0^(1−Λ) p̃^Λ."""
    total = total_step(size, n)
    assert total == close(1 - (1 - size) ** n)
    assert path(q, [goal] * n, size)[-1] == close(tilted(q, goal, total))
    assert step_of_total(total, n) == pytest.approx(size, rel=1e-6)


def test_total_of_whole_steps() -> None:
    assert total_step(1, 3) == 1 and step_of_total(1, 3) == 1


@given(distribution, distribution, distribution, step)
def test_order_of_moving_targets_matters(
    q: np.ndarray, one: np.ndarray, other: np.ndarray, size: float
) -> None:
    """log q_2 = (1−λ)² log q_0 + λ(1−λ) log p̃_0 + λ log p̃_1 + const."""
    passed = path(q, [one, other], size)
    assert passed.shape == (3, len(q)) and passed[0] == close(q)
    logs = (1 - size) ** 2 * np.log(q) + size * ((1 - size) * np.log(one) + np.log(other))
    assert passed[2] == close(np.exp(logs) / np.exp(logs).sum())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.0, 1.0], "p has a probability of 0; give every token a probability above 0"),
        ([math.nan, 1.0], "p has a probability of nan"),
        ([0.5, 0.6], "p adds up to 1 ± 0.1; divide it by its sum"),
        (1.0, "p has a single number"),
    ],
)
def test_what_is_no_distribution(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distributions(values, "p")


@pytest.mark.parametrize("size", [-0.1, 1.5, math.nan])
def test_what_is_no_step(size: float) -> None:
    with pytest.raises(ValueError, match=f"step {size:g}: give a λ from 0 to 1"):
        tilted(Q, GOAL, size)
