"""PSFT's weights have the gradient of PPO's clipped surrogate with advantage one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sft_tradeoff.objectives import psft_weights
from sft_tradeoff.objectives.base import TokenBatch
from sft_tradeoff.objectives.registry import METHODS

# p = 0.5, 0.25, 0.6, 0.62, 0.9 where π_old has 0.5 everywhere: r = 1, 0.5, 1.2, 1.24, 1.8.
NLL = -torch.tensor([0.5, 0.25, 0.6, 0.62, 0.9]).log()
OLD = -torch.full((5,), 0.5).log()


def test_weights_by_hand():
    """r up to 1.28 is the weight, also far below 0.8; r = 1.8 is clipped to nothing.

    With ε_high = 0.22 only r = 1.24 changes sides.
    """
    assert psft_weights(NLL, OLD).tolist() == pytest.approx([1, 0.5, 1.2, 1.24, 0])
    assert psft_weights(NLL, OLD, clip_high=0.22).tolist() == pytest.approx([1, 0.5, 1.2, 0, 0])


def test_share_of_clipped_tokens_by_hand():
    """One of five."""
    method = METHODS["psft"]
    batch = TokenBatch(nll=NLL, sequence=torch.zeros(5, dtype=torch.int64), old_nll=OLD)
    assert method.diagnostics(batch, method.options()) == {"share_clipped": pytest.approx(0.2)}


def test_right_after_a_refresh_it_is_plain_sft():
    """r = exp(0) = 1 exactly, so the first of every ``refresh_every`` steps is a step of SFT."""
    assert psft_weights(NLL, NLL).tolist() == [1] * 5


def test_certain_and_impossible_tokens_give_finite_weights():
    """p: 0→0 and 0→1 teach nothing (a ratio 0/0, a clipped one); 1→0 has r = 0; 1→1 has r = 1."""
    old, new = torch.tensor([[math.inf, math.inf, 0.0, 0.0], [math.inf, 0.0, math.inf, 0.0]])
    assert psft_weights(new, old).tolist() == [0, 0, 0, 1]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 30, width=32), st.floats(0, 30, width=32)), min_size=1, max_size=40
    ),
    st.floats(0.01, 2),
)
def test_agrees_with_a_naive_float64_implementation(tokens, clip_high):
    nll, old = (np.array(column) for column in zip(*tokens, strict=True))
    ratio = np.exp(old - nll)
    assume(not np.isclose(ratio, 1 + clip_high, rtol=1e-5).any())  # float32 cannot tell
    found = psft_weights(torch.tensor(nll).float(), torch.tensor(old).float(), clip_high=clip_high)
    assert found.dtype == torch.float32
    expected = [r if r <= 1 + clip_high else 0.0 for r in ratio]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)


def clipped_surrogate(nll, old_nll, low, high):
    """The paper's objective with the sign of a loss: −mean min(r, clip(r, 1−low, 1+high))."""
    ratio = (old_nll - nll).exp()
    return -torch.minimum(ratio, ratio.clamp(1 - low, 1 + high)).mean()


@pytest.mark.parametrize("seed", range(5))
def test_gradient_is_that_of_the_clipped_surrogate(seed):
    """Whatever autograd makes of min and clip, on tokens below 1−0.2, within, and above 1+0.28."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(30, 4, dtype=torch.float64, generator=generator).requires_grad_()
    nll = -logits.log_softmax(-1)[:, 1]  # (N, V) -> (N,)
    old = nll.detach() + 0.5 * torch.randn(30, dtype=torch.float64, generator=generator)
    ratio = (old - nll).exp()
    assert (ratio < 0.8).any() and (ratio > 1.28).any() and ((ratio > 0.8) & (ratio < 1.28)).any()
    surrogate = clipped_surrogate(nll, old, low=0.2, high=0.28)
    expected = torch.autograd.grad(surrogate, logits, retain_graph=True)[0]
    loss = (psft_weights(nll, old, clip_high=0.28) * nll).mean()
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], expected)
