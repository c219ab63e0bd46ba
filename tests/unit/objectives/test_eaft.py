"""EAFT's weights follow the entropy of the 20 likeliest tokens."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.objectives import eaft_weights
from sft_tradeoff.objectives.base import TOP


def entropy(probabilities):
    """Naive entropy in nats of the 20 largest of some probabilities, renormalized."""
    top = sorted(probabilities)[-TOP:]
    return sum(-p / sum(top) * math.log(p / sum(top)) for p in top if p > 0)


def test_weights_by_hand():
    """k equally likely tokens have H = ln k: k = 1 (one-hot) weighs 0, k = 20 weighs 1.

    Two tokens weigh ln 2/ln 20 = 0.2314, four twice that; with α = 2 the weights are squared.
    """
    entropies = torch.tensor([entropy([1 / k] * k) for k in (1, 2, 4, 20)])
    two = math.log(2) / math.log(20)
    assert two == pytest.approx(0.2314, abs=1e-4)
    assert eaft_weights(entropies).tolist() == pytest.approx([0, two, 2 * two, 1])
    squared = eaft_weights(entropies, alpha=2.0)
    assert squared.tolist() == pytest.approx([0, two**2, 4 * two**2, 1])


def test_uniform_predictions_are_plain_sft():
    """Over 20 tokens or over a whole vocabulary of 1000: the 20 likeliest are uniform, w = 1."""
    uniform = torch.tensor([entropy([1 / 20] * 20), entropy([1 / 1000] * 1000)])
    assert eaft_weights(uniform).tolist() == pytest.approx([1, 1])


def test_exponent_zero_is_plain_sft():
    """x⁰ = 1, also for the one-hot prediction."""
    assert eaft_weights(torch.tensor([0.0, 0.5, math.log(20)]), alpha=0.0).tolist() == [1, 1, 1]


def test_rounding_cannot_leave_the_unit_interval():
    """A float32 entropy may be a little below 0 or above ln 20; (−ε)^½ would not be a number."""
    weights = eaft_weights(torch.tensor([-1e-6, math.log(20) + 1e-5]), alpha=0.5)
    assert weights.tolist() == [0, 1]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any), min_size=1),
    st.floats(0, 3),
)
def test_agrees_with_a_naive_float64_implementation(counts, alpha):
    """α near 0 makes x^α as steep as it gets at x = 0, which rounding would show: left out."""
    alpha = 0.0 if alpha < 0.1 else alpha
    entropies = [entropy((np.array(row) / sum(row)).tolist()) for row in counts]
    weights = eaft_weights(torch.tensor(entropies), alpha=alpha)
    assert weights.dtype == torch.float32
    expected = [(max(h, 0.0) / math.log(20)) ** alpha for h in entropies]
    assert weights.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)
