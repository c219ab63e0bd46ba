"""L2-Reg: the penalty is the sum over all weights, the gradient what autograd would find."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sft_tradeoff.objectives import l2_penalty
from sft_tradeoff.objectives.registry import METHODS

PARAMETER = torch.tensor([1.0, 2.0, -1.0])
INITIAL = torch.tensor([0.0, 2.0, 1.0])


def test_penalty_and_gradient_by_hand():
    """Drift (1, 0, −2): 0.1·(1 + 0 + 4) = 0.5, and 2·0.1·drift = (0.2, 0, −0.4)."""
    penalty, gradient = l2_penalty(PARAMETER, INITIAL, strength=0.1)
    assert penalty.item() == pytest.approx(0.5)
    assert gradient.tolist() == pytest.approx([0.2, 0.0, -0.4])
    method = METHODS["l2_reg"]
    again, _ = method.parameter_penalty(PARAMETER, INITIAL, method.options(strength=0.1))
    assert again.item() == pytest.approx(0.5)


def test_the_norm_is_not_divided_by_the_number_of_weights():
    """Twice as many weights with the same drift: twice the penalty, same gradient per weight."""
    penalty, gradient = l2_penalty(PARAMETER.repeat(2), INITIAL.repeat(2), strength=0.1)
    assert penalty.item() == pytest.approx(1.0)
    assert gradient.tolist() == pytest.approx([0.2, 0.0, -0.4] * 2)


@pytest.mark.parametrize(
    ("parameter", "strength"), [(PARAMETER, 0.0), (INITIAL, 0.1)], ids=["λ = 0", "θ = θ0"]
)
def test_without_strength_or_drift_it_is_plain_sft(parameter, strength):
    penalty, gradient = l2_penalty(parameter, INITIAL, strength=strength)
    assert penalty.item() == 0
    assert gradient.tolist() == [0, 0, 0]


def test_parameters_are_read_only_and_the_results_constants():
    parameter, initial = PARAMETER.clone().requires_grad_(), INITIAL.clone()
    penalty, gradient = l2_penalty(parameter, initial, strength=0.1)
    assert not penalty.requires_grad and not gradient.requires_grad
    assert torch.equal(parameter, PARAMETER) and torch.equal(initial, INITIAL)


def test_gradient_equals_autograd_over_several_tensors():
    """λ‖θ − θ0‖² of all tensors together; training adds it tensor by tensor."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5,), (2, 1, 2)]
    parameters = [torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes]
    initial = [torch.randn(s, dtype=torch.float64, generator=generator) for s in shapes]
    for parameter in parameters:
        parameter.requires_grad_()
    norm = torch.cat([(p - i).flatten() for p, i in zip(parameters, initial, strict=True)]).norm()
    (0.3 * norm**2).backward()
    parts = [l2_penalty(p, i, strength=0.3) for p, i in zip(parameters, initial, strict=True)]
    assert sum(penalty.item() for penalty, _ in parts) == pytest.approx(0.3 * norm.item() ** 2)
    for parameter, (_, gradient) in zip(parameters, parts, strict=True):
        torch.testing.assert_close(gradient, parameter.grad)


VECTOR = arrays(np.float32, 6, elements=st.floats(-100, 100, width=32))


@settings(deadline=None)
@given(VECTOR, VECTOR, st.floats(0, 10))
def test_agrees_with_a_naive_float64_implementation(parameter, initial, strength):
    drift = parameter.astype(np.float64) - initial.astype(np.float64)
    found, gradient = l2_penalty(
        torch.from_numpy(parameter), torch.from_numpy(initial), strength=strength
    )
    assert found.item() == pytest.approx(strength * np.sum(drift**2), rel=1e-5, abs=1e-6)
    expected = (2 * strength * drift).tolist()
    assert gradient.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)
