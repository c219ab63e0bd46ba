"""ASFT is DFT with a KL anchor."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sft_tradeoff.objectives import dft_weights
from sft_tradeoff.objectives.base import TokenBatch
from sft_tradeoff.objectives.registry import METHODS

METHOD = METHODS["asft"]


def asft_loss(log_probabilities, reference, target, strength):
    """The loss as training puts it together from the method's two parts."""
    options = METHOD.options(strength=strength)
    nll = -log_probabilities.gather(-1, target[:, None])[:, 0]  # (N, V) -> (N, 1) -> (N,)
    weights = METHOD.weights(TokenBatch(nll=nll, sequence=torch.zeros_like(target)), options)
    penalty = METHOD.penalty(log_probabilities, reference, options)
    return ((weights * nll).sum() + penalty.sum()) / len(nll)


def test_loss_by_hand():
    """Three tokens of label 0 over two letters, λ = 0.1, θ0 = (½, ½).

    p = ½: DFT ½ ln 2, KL 0. p = ¼: DFT ¼·2 ln 2 = ½ ln 2, KL ½ ln 2 + ½ ln ⅔ = ½ ln 4/3.
    p = ¾: DFT −¾ ln ¾, KL ½ ln 4/3 by symmetry. Loss (ln 2 − ¾ ln ¾ + 0.1·ln 4/3)/3.
    """
    model = torch.tensor([[1 / 2, 1 / 2], [1 / 4, 3 / 4], [3 / 4, 1 / 4]]).log()
    reference = torch.full((3, 2), 0.5).log()
    loss = asft_loss(model, reference, torch.zeros(3, dtype=torch.int64), strength=0.1)
    expected = (math.log(2) - 0.75 * math.log(0.75) + 0.1 * math.log(4 / 3)) / 3
    assert loss.item() == pytest.approx(expected)


def test_strength_zero_is_dft():
    options = METHOD.options(strength=0.0)
    nll = torch.tensor([0.0, 0.5, 3.0])
    batch = TokenBatch(nll=nll, sequence=torch.zeros(3, dtype=torch.int64))
    assert torch.equal(METHOD.weights(batch, options), dft_weights(nll))
    model = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    assert METHOD.penalty(model, model.flip(0), options).tolist() == [0, 0, 0]


LOGITS = arrays(np.float64, (4, 3), elements=st.floats(-5, 5))


@settings(deadline=None)
@given(LOGITS, LOGITS, st.lists(st.integers(0, 2), min_size=4, max_size=4), st.floats(0, 2))
def test_agrees_with_a_naive_float64_implementation(model, base, target, strength):
    expected = 0.0
    for logits, logits0, label in zip(model, base, target, strict=True):
        p, p0 = np.exp(logits) / np.exp(logits).sum(), np.exp(logits0) / np.exp(logits0).sum()
        expected += -p[label] * np.log(p[label]) + strength * np.sum(p0 * np.log(p0 / p))
    found = asft_loss(
        torch.tensor(model).float().log_softmax(-1),
        torch.tensor(base).float().log_softmax(-1),
        torch.tensor(target),
        strength,
    )
    assert found.item() == pytest.approx(expected / 4, rel=1e-4, abs=1e-6)


def test_gradient_has_a_weighted_and_an_anchoring_part():
    """By hand for logits: −∇p = −p(e − p) of the label, and λ(p − p₀) of the anchor, over N = 1.

    p = (¼, ¾), p₀ = (½, ½), label 0, λ = 0.5: −¼·(¾, −¾) + ½·(−¼, ¼) = (−5/16, 5/16).
    """
    logits = torch.tensor([[1 / 4, 3 / 4]]).log().requires_grad_()
    reference = torch.full((1, 2), 0.5).log()
    asft_loss(logits.log_softmax(-1), reference, torch.tensor([0]), strength=0.5).backward()
    assert logits.grad[0].tolist() == pytest.approx([-5 / 16, 5 / 16])
