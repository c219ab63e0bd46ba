"""Wise-FT is the straight line from θ0 to the trained weights, with exact ends."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sft_tradeoff.objectives import interpolate
from sft_tradeoff.objectives.registry import METHODS

INITIAL = torch.tensor([0.0, 1.0, -2.0, 8.0])
TRAINED = torch.tensor([4.0, 1.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (0.0, [0, 1, -2, 8]),
        (0.25, [1, 1, -1, 6]),
        (0.5, [2, 1, 0, 4]),
        (0.75, [3, 1, 1, 2]),
        (1.0, [4, 1, 2, 0]),
    ],
)
def test_quarters_of_the_way_by_hand(alpha, expected):
    """θ0 + α·(4, 0, 4, −8); all exact in binary."""
    assert interpolate(INITIAL, TRAINED, alpha=alpha).tolist() == expected
    method = METHODS["wise_ft"]
    assert method.merge(INITIAL, TRAINED, method.options(alpha=alpha)).tolist() == expected


@pytest.mark.parametrize("initial_dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("trained_dtype", [torch.float32, torch.bfloat16])
def test_ends_are_the_two_models_bit_for_bit(initial_dtype, trained_dtype):
    """Sizes from 1e-8 to 1e4, where (1−α)·θ0 + α·θ written as θ0 + α·(θ − θ0) would be off."""
    generator = torch.Generator().manual_seed(0)
    sizes = 10.0 ** torch.randint(-8, 5, (2, 3, 333), generator=generator)
    initial, trained = torch.randn(2, 3, 333, generator=generator) * sizes
    initial, trained = initial.to(initial_dtype), trained.to(trained_dtype)
    kept = initial.clone(), trained.clone()
    for alpha, end in [(0.0, initial), (1.0, trained)]:
        found = interpolate(initial, trained, alpha=alpha)
        assert found.dtype == torch.float32 and found.shape == (3, 333)
        assert torch.equal(found.view(torch.int32), end.float().view(torch.int32))
    assert torch.equal(initial, kept[0]) and torch.equal(trained, kept[1])


def test_bfloat16_is_averaged_in_float32():
    """Halfway between 1 and 1 + 2⁻⁷, adjacent in bfloat16, is 1 + 2⁻⁸: not a bfloat16."""
    initial, trained = torch.tensor([1.0, 1 + 2**-7], dtype=torch.bfloat16).split(1)
    assert interpolate(initial, trained, alpha=0.5).tolist() == [1 + 2**-8]


VECTOR = arrays(np.float32, 6, elements=st.floats(-100, 100, width=32))


@settings(deadline=None)
@given(VECTOR, VECTOR, st.floats(0, 1))
def test_agrees_with_a_naive_float64_implementation(initial, trained, alpha):
    found = interpolate(torch.from_numpy(initial), torch.from_numpy(trained), alpha=alpha)
    expected = (1 - alpha) * initial.astype(np.float64) + alpha * trained.astype(np.float64)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-5, abs=3e-5)
