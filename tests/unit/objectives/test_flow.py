"""FLOW's weights against values derived by hand and a naive float64 re-implementation."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.objectives import flow_weights
from sft_tradeoff.objectives.base import TokenBatch
from sft_tradeoff.objectives.flow import MIN_TAU
from sft_tradeoff.objectives.registry import METHODS

# Under θ0: sample A = tokens of loss 0 and 2 (mean 1), B = one token of 3, C = 1 and 9 (mean 5).
REFERENCE = torch.tensor([0.0, 2.0, 3.0, 1.0, 9.0])
SEQUENCE = torch.tensor([0, 0, 1, 2, 2])


def weights(reference=REFERENCE, sequence=SEQUENCE, median=2.0, **options):
    """Weights as training asks for them; the current losses must not matter."""
    batch = TokenBatch(
        nll=torch.full_like(reference, 7.0),
        sequence=sequence,
        reference_nll=reference,
        reference_median=median,
    )
    return METHODS["flow"].weights(batch, METHODS["flow"].options(**options))


def test_sample_weights_by_hand():
    """τ = 2 is the training set's median, not the batch's (3): e^(−1/2), e^(−3/2), e^(−5/2)."""
    a, b, c = math.exp(-1 / 2), math.exp(-3 / 2), math.exp(-5 / 2)
    assert weights().tolist() == pytest.approx([a, a, b, c, c])
    assert flow_weights(torch.tensor([1.0, 3.0, 5.0]), tau=2.0).tolist() == pytest.approx([a, b, c])


def test_fixed_temperature_by_hand():
    """τ = 1 replaces the median: e^(−1), e^(−3), e^(−5)."""
    a, b, c = math.exp(-1), math.exp(-3), math.exp(-5)
    assert weights(tau=1).tolist() == pytest.approx([a, a, b, c, c])


def test_token_weights_by_hand():
    """Each token's own loss over τ = 2: 1, e^(−1), e^(−3/2), e^(−1/2), e^(−9/2)."""
    expected = [1.0, math.exp(-1), math.exp(-1.5), math.exp(-0.5), math.exp(-4.5)]
    assert weights(level="token").tolist() == pytest.approx(expected)


def test_token_level_is_talr_with_frozen_weights_and_no_floor():
    batch = TokenBatch(nll=REFERENCE * 3, sequence=SEQUENCE, reference_nll=REFERENCE)
    talr = METHODS["talr"]
    frozen = talr.weights(batch, talr.options(frozen=True, floor=0.0, tau=0.7))
    assert weights(level="token", tau=0.7).tolist() == pytest.approx(frozen.tolist())


def test_infinite_temperature_is_plain_sft():
    assert weights(tau=1e12).tolist() == pytest.approx([1.0] * 5)


def test_one_sample():
    """Mean 2 = the median: both tokens weigh e^(−1)."""
    one = weights(reference=torch.tensor([1.0, 3.0]), sequence=torch.tensor([4, 4]))
    assert one.tolist() == pytest.approx([math.exp(-1)] * 2)


def test_known_and_impossible_samples_give_finite_weights():
    """p = 1 on the whole training set: τ is clamped. p = 0 in one sample: it weighs nothing."""
    zeros = torch.zeros(2)
    assert weights(reference=zeros, sequence=torch.tensor([0, 1]), median=0.0).tolist() == [1, 1]
    assert flow_weights(torch.tensor([MIN_TAU]), tau=0.0).item() == pytest.approx(math.exp(-1))
    impossible = REFERENCE.index_fill(0, torch.tensor([4]), math.inf)
    assert weights(reference=impossible)[3:].tolist() == [0, 0]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 30, width=32), st.integers(0, 4)), min_size=1, max_size=40),
    st.floats(0.1, 10),
    st.sampled_from(["sample", "token"]),
)
def test_agrees_with_a_naive_float64_implementation(tokens, median, level):
    nll, sequence = (np.array(column) for column in zip(*tokens, strict=True))
    found = weights(torch.tensor(nll).float(), torch.tensor(sequence), median, level=level)
    assert found.dtype == torch.float32
    for i, weight in enumerate(found.tolist()):
        loss = nll[i] if level == "token" else nll[sequence == sequence[i]].mean()
        assert weight == pytest.approx(math.exp(-loss / median), rel=1e-4, abs=1e-7)
