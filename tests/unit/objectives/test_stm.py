"""STM masks the tokens that surprise θ0."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.objectives import stm_weights
from sft_tradeoff.objectives.base import TokenBatch
from sft_tradeoff.objectives.registry import METHODS

# Perplexities under θ0: 1 (certain), 2, 2.4, 2.6, 4, infinite (p = 0).
REFERENCE = torch.tensor([1.0, 2.0, 2.4, 2.6, 4.0, math.inf]).log()
NLL = torch.tensor([1.0, 2.0, 6.0, 4.0, 5.0, 7.0])


def weights(reference=REFERENCE, nll=NLL, **options):
    batch = TokenBatch(
        nll=nll, sequence=torch.zeros(len(nll), dtype=torch.int64), reference_nll=reference
    )
    return METHODS["stm"].weights(batch, METHODS["stm"].options(**options))


def test_mask_by_hand():
    """At most 2.5: the first three stay."""
    assert weights().tolist() == [1, 1, 1, 0, 0, 0]
    assert weights(max_perplexity=3.0).tolist() == [1, 1, 1, 1, 0, 0]


def test_the_limit_itself_stays():
    assert stm_weights(torch.tensor([math.log(2.5)])).tolist() == [1]


def test_normalized_loss_is_the_average_over_the_unmasked_tokens_by_hand():
    """Three of six stay: each weighs 2, and Σ w·ℓ/N = 2·(1 + 2 + 6)/6 = 3 = (1 + 2 + 6)/3."""
    normal = weights(normalize=True)
    assert normal.tolist() == pytest.approx([2, 2, 2, 0, 0, 0])
    assert (normal * NLL).mean().item() == pytest.approx(3.0)


def test_a_huge_limit_is_plain_sft():
    assert weights(max_perplexity=1e30)[:5].tolist() == [1] * 5


def test_a_batch_with_every_token_masked_teaches_nothing():
    """Weights are zero, normalized or not: 0/0 is not a number."""
    surprising = torch.full_like(NLL, 2.0)
    for normalize in (False, True):
        assert weights(reference=surprising, normalize=normalize).tolist() == [0] * 6


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 30, width=32), st.floats(0, 30, width=32)), min_size=1, max_size=40
    ),
    st.integers(2, 200).map(lambda tenths: 1 + tenths / 10),
)
def test_agrees_with_a_naive_float64_implementation(tokens, limit):
    nll, reference = (np.array(column) for column in zip(*tokens, strict=True))
    reference[np.isclose(np.exp(reference), limit, rtol=1e-5)] = 0.0  # float32 cannot tell
    kept = np.exp(reference) <= limit
    tensors = {"reference": torch.tensor(reference).float(), "nll": torch.tensor(nll).float()}
    found = weights(**tensors, max_perplexity=limit)
    assert found.dtype == torch.float32
    assert found.tolist() == kept.astype(float).tolist()
    loss = (weights(**tensors, max_perplexity=limit, normalize=True) * tensors["nll"]).mean()
    expected = nll[kept].mean() if kept.any() else 0.0
    assert loss.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
