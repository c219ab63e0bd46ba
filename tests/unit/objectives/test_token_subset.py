"""Token subset keeps the tokens that θ0 finds easy, or the others."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.objectives import subset_weights
from sft_tradeoff.objectives.base import TokenBatch
from sft_tradeoff.objectives.registry import METHODS

# Probabilities under θ0: 1, .8, .51, .49, .1 and 0.
REFERENCE = -torch.tensor([1.0, 0.8, 0.51, 0.49, 0.1, 0.0]).log()
NLL = torch.tensor([0.5, 1.0, 2.0, 4.0, 8.0, 16.0])


def weights(reference=REFERENCE, nll=NLL, **options):
    batch = TokenBatch(
        nll=nll, sequence=torch.zeros(len(nll), dtype=torch.int64), reference_nll=reference
    )
    return METHODS["token_subset"].weights(batch, METHODS["token_subset"].options(**options))


def test_halves_by_hand():
    """Easy: p > .5, the first three; a smaller threshold makes more tokens easy."""
    assert weights(keep="easy").tolist() == [1, 1, 1, 0, 0, 0]
    assert weights(keep="hard").tolist() == [0, 0, 0, 1, 1, 1]
    assert weights(keep="easy", threshold=0.05).tolist() == [1, 1, 1, 1, 1, 0]


def test_loss_by_hand():
    """Over all six tokens: (.5 + 1 + 2)/6 and (4 + 8 + 16)/6, which add up to the mean loss."""
    easy, hard = ((weights(keep=keep) * NLL).mean().item() for keep in ("easy", "hard"))
    assert (easy, hard) == pytest.approx((3.5 / 6, 28 / 6))
    assert easy + hard == pytest.approx(NLL.mean().item())


def test_the_threshold_itself_is_hard():
    at = torch.tensor([-math.log(0.5)])
    assert subset_weights(at, keep="easy").tolist() == [0]
    assert subset_weights(at, keep="hard").tolist() == [1]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 30, width=32), st.floats(0, 30, width=32)), min_size=1, max_size=40
    ),
    st.integers(1, 99).map(lambda percent: percent / 100),
)
def test_agrees_with_a_naive_float64_implementation(tokens, threshold):
    nll, reference = (np.array(column) for column in zip(*tokens, strict=True))
    reference[np.isclose(np.exp(-reference), threshold, rtol=1e-5)] = 0.0  # float32 cannot tell
    easy = np.exp(-reference) > threshold
    tensors = {"reference": torch.tensor(reference).float(), "nll": torch.tensor(nll).float()}
    for keep, kept in (("easy", easy), ("hard", ~easy)):
        found = weights(**tensors, keep=keep, threshold=threshold)
        assert found.dtype == torch.float32
        assert found.tolist() == kept.astype(float).tolist()
        expected = (kept * nll).sum() / len(nll)
        assert (found * tensors["nll"]).mean().item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
