"""DFT's weights are the tokens' probabilities; its gradient is that of the probability itself."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.objectives import dft_weights, talr_weights

LN2 = math.log(2)
NLL = torch.tensor([0.0, LN2, 2 * LN2])  # p = 1, 1/2, 1/4


def test_loss_by_hand():
    """Σ p·ℓ/N = (1·0 + ½·ln 2 + ¼·2 ln 2)/3 = (ln 2)/3."""
    weights = dft_weights(NLL)
    assert weights.tolist() == pytest.approx([1.0, 0.5, 0.25])
    assert (weights * NLL).mean().item() == pytest.approx(LN2 / 3)


def test_gradient_is_that_of_minus_the_probability():
    """p held constant, ∇(p·(−log p)) = −p·∇p/p = −∇p: the 1/p boost of rare tokens is gone."""
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    nll = -logits.log_softmax(-1)[:, 2]  # (N, V) -> (N,)
    weighted = torch.autograd.grad((dft_weights(nll) * nll).mean(), logits)[0]
    probability = torch.autograd.grad(-logits.softmax(-1)[:, 2].mean(), logits)[0]
    torch.testing.assert_close(weighted, probability)


@settings(deadline=None)
@given(st.lists(st.floats(0, 30, width=32), min_size=1, max_size=40))
def test_agrees_with_a_naive_float64_implementation(nll):
    weights = dft_weights(torch.tensor(nll))
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx(np.exp(-np.array(nll)).tolist(), rel=1e-5)


def test_talr_of_temperature_one_without_floor_is_the_same():
    sequence = torch.tensor([0, 0, 1])
    assert torch.equal(talr_weights(NLL, sequence, tau=1.0, floor=0.0), dft_weights(NLL))


def test_certain_and_impossible_tokens():
    """p = 1 weighs 1 and p = 0 weighs 0, no NaN."""
    assert dft_weights(torch.tensor([0.0, math.inf])).tolist() == [1.0, 0.0]
