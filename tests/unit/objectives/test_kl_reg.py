"""KL to θ0: values and gradients, in both directions, also where a probability is zero."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sft_tradeoff.objectives import kl_divergence
from sft_tradeoff.objectives.registry import METHODS

LN2, LN3 = math.log(2), math.log(3)
DIRECTIONS = ["forward", "reverse"]
BASE = torch.tensor([[1 / 2, 1 / 4, 1 / 4]], dtype=torch.float64).log()  # θ0
MODEL = torch.tensor([[1 / 8, 1 / 8, 3 / 4]], dtype=torch.float64).log()


def test_forward_by_hand():
    """KL(θ0‖θ) = ½ ln 4 + ¼ ln 2 + ¼ ln ⅓ = (5/4) ln 2 − ¼ ln 3."""
    assert kl_divergence(MODEL, BASE).tolist() == pytest.approx([5 / 4 * LN2 - LN3 / 4])


def test_reverse_by_hand():
    """KL(θ‖θ0) = ⅛ ln ¼ + ⅛ ln ½ + ¾ ln 3 = ¾ ln 3 − ⅜ ln 2."""
    found = kl_divergence(MODEL, BASE, direction="reverse")
    assert found.tolist() == pytest.approx([3 / 4 * LN3 - 3 / 8 * LN2])


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_strength_multiplies_and_zero_is_plain_sft(direction):
    penalty, options = METHODS["kl_reg"].penalty, METHODS["kl_reg"].options
    found = penalty(MODEL, BASE, options(beta=0.3, direction=direction))
    expected = 0.3 * kl_divergence(MODEL, BASE, direction=direction)
    assert found.tolist() == pytest.approx(expected.tolist())
    assert penalty(MODEL, BASE, options(beta=0.0, direction=direction)).tolist() == [0]
    assert METHODS["kl_reg"].weights is None  # the likelihood term is SFT's own


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_no_penalty_at_the_start(direction):
    """KL(θ0‖θ0) = 0 exactly, with zero gradient: the first step is one of SFT."""
    logits = torch.randn(4, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    model = logits.log_softmax(-1)
    found = kl_divergence(model, model.detach(), direction=direction)
    assert found.tolist() == [0] * 4
    assert torch.autograd.grad(found.sum(), logits)[0].abs().max() < 1e-6


def test_zero_probabilities_by_hand():
    """θ0 = (½, ½, 0), θ = (¼, ¼, ½): forward ln 2, the third letter adds 0·ln 0 = 0.

    Reverse is infinite, because θ uses a letter that θ0 never does; and the other way round.
    """
    base = torch.tensor([[0.5, 0.5, 0.0]]).log()
    model = torch.tensor([[0.25, 0.25, 0.5]]).log()
    assert kl_divergence(model, base).tolist() == pytest.approx([LN2])
    assert kl_divergence(model, base, direction="reverse").tolist() == [math.inf]
    assert kl_divergence(base, model).tolist() == [math.inf]
    assert kl_divergence(base, model, direction="reverse").tolist() == pytest.approx([LN2])


def test_a_probability_that_underflows_is_zero():
    """e^(−200) is 0 in float32; its term is 0, although θ gives the letter −∞."""
    base, model = torch.tensor([[0.0, -200.0]]), torch.tensor([[0.0, -math.inf]])
    assert kl_divergence(model, base).tolist() == [0]


@pytest.mark.parametrize(
    ("direction", "third_logit"),
    [("forward", -math.inf), ("reverse", -math.inf), ("reverse", 0.5)],
)
def test_gradient_is_finite_where_the_model_excludes_a_letter(direction, third_logit):
    """A logit of −∞ (a masked vocabulary entry) moves nothing, and spoils no other gradient.

    (Forward from a θ0 that uses the letter, the divergence itself is infinite.)
    """
    logits = torch.tensor([[0.3, -0.2, -math.inf]], requires_grad=True)
    base = torch.tensor([[1.0, 2.0, third_logit]]).log_softmax(-1)
    found = kl_divergence(logits.log_softmax(-1), base, direction=direction)
    gradient = torch.autograd.grad(found.sum(), logits)[0][0]
    assert gradient.isfinite().all() and gradient[2] == 0 and gradient[0] != 0


def naive_kl(p, q):
    """Σ p·ln(p/q) over the letters with p > 0, in float64."""
    if np.any((p > 0) & (q == 0)):
        return math.inf
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def distributions(n, v):
    """[n, v] float64 distributions, with zeros."""
    counts = arrays(np.int64, (n, v), elements=st.integers(0, 9))
    return counts.filter(lambda c: (c.sum(1) > 0).all()).map(lambda c: c / c.sum(1, keepdims=True))


@settings(deadline=None)
@given(distributions(3, 4), distributions(3, 4))
def test_agrees_with_a_naive_float64_implementation(model, base):
    arguments = torch.tensor(model).float().log(), torch.tensor(base).float().log()
    forward = [naive_kl(p, q) for p, q in zip(base, model, strict=True)]
    reverse = [naive_kl(p, q) for p, q in zip(model, base, strict=True)]
    assert kl_divergence(*arguments).tolist() == pytest.approx(forward, abs=1e-6)
    found = kl_divergence(*arguments, direction="reverse")
    assert found.tolist() == pytest.approx(reverse, abs=1e-6)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_gradient_by_finite_differences(direction):
    """Central differences of the logits, in float64."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 5, dtype=torch.float64, generator=generator).requires_grad_()
    base = torch.randn(3, 5, dtype=torch.float64, generator=generator).log_softmax(-1)
    torch.autograd.gradcheck(
        lambda x: kl_divergence(x.log_softmax(-1), base, direction=direction), logits
    )


def test_forward_gradient_by_hand():
    """−Σ p₀ log p has the logit gradient p − p₀ = (⅛ − ½, ⅛ − ¼, ¾ − ¼)."""
    logits = MODEL.clone().requires_grad_()
    kl_divergence(logits.log_softmax(-1), BASE).sum().backward()
    assert logits.grad[0].tolist() == pytest.approx([-3 / 8, -1 / 8, 1 / 2])
