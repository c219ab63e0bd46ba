"""TALR's weights against values derived by hand and a naive float64 re-implementation."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sft_tradeoff.objectives import talr_weights
from sft_tradeoff.objectives.base import TokenBatch
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.objectives.talr import MIN_TAU, TalrOptions, talr_temperature

# Three sequences: A = tokens of loss 0 and 2 (mean 1), B = one token of 3 (mean 3),
# C = tokens of 1 and 9 (mean 5). Sequence statistic: median 3, mean 3; token mean 15/5 = 3.
NLL = torch.tensor([0.0, 2.0, 3.0, 1.0, 9.0])
SEQUENCE = torch.tensor([0, 0, 1, 2, 2])


def test_median_of_sequence_means_by_hand():
    """τ = 3, so w = exp(−ℓ/3): 1, e^(−2/3), e^(−1), e^(−1/3), e^(−3) = 0.0498 (above the floor)."""
    expected = [1.0, math.exp(-2 / 3), math.exp(-1), math.exp(-1 / 3), math.exp(-3)]
    assert talr_weights(NLL, SEQUENCE).tolist() == pytest.approx(expected, rel=1e-6)


def test_floor_by_hand():
    """τ = 1: e^(−9) = 0.00012 is raised to the floor 0.01."""
    weights = talr_weights(NLL, SEQUENCE, tau=1.0)
    assert weights.tolist() == pytest.approx(
        [1.0, math.exp(-2), math.exp(-3), math.exp(-1), 0.01], rel=1e-6
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 3.0),  # median of 1, 3, 5
        ({"tau": "mean"}, 3.0),
        ({"tau": 0.7}, 0.7),
        ({"quantile": 0.25}, 2.0),  # rank 0.25·2 = 0.5, between 1 and 3
        ({"quantile": 0.9}, 4.6),  # rank 1.8, between 3 and 5
        ({"level": "token"}, 2.0),  # median of 0, 1, 2, 3, 9
        ({"level": "token", "tau": "mean"}, 3.0),
    ],
)
def test_temperature_by_hand(options, expected):
    assert talr_temperature(NLL, SEQUENCE, **options).item() == pytest.approx(expected)


def test_each_sequence_has_its_own_mean_as_temperature_by_hand():
    """Means 1, 3 and 5: exp(0), e^(−2/1); e^(−3/3); e^(−1/5), e^(−9/5)."""
    options = {"tau": "mean", "level": "each_sequence"}
    assert talr_temperature(NLL, SEQUENCE, **options).tolist() == [1.0, 1.0, 3.0, 5.0, 5.0]
    expected = [1.0, math.exp(-2), math.exp(-1), math.exp(-1 / 5), math.exp(-9 / 5)]
    assert talr_weights(NLL, SEQUENCE, **options).tolist() == pytest.approx(expected)


def test_each_sequence_reads_no_other_sequence():
    """So that micro-batches need no second forward pass; rescaling does."""
    options = TalrOptions(tau="mean", level="each_sequence")
    alone = talr_weights(NLL[3:], SEQUENCE[3:], tau="mean", level="each_sequence")
    assert torch.equal(talr_weights(NLL, SEQUENCE, tau="mean", level="each_sequence")[3:], alone)
    assert not options.whole_batch
    assert TalrOptions(tau="mean", level="each_sequence", normalize=True).whole_batch
    batch = TokenBatch(nll=NLL, sequence=SEQUENCE)
    # (1 + 1 + 3 + 5 + 5) / 5
    assert METHODS["talr"].diagnostics(batch, options) == {"tau": pytest.approx(3.0)}


def test_a_memorized_sequence_keeps_the_smallest_temperature():
    nll = torch.tensor([0.0, 0.0, 2.0])
    found = talr_temperature(nll, torch.tensor([0, 0, 1]), tau="mean", level="each_sequence")
    assert found.tolist() == pytest.approx([MIN_TAU, MIN_TAU, 2.0])


@pytest.mark.parametrize("other", [{}, {"tau": 1.0}, {"quantile": 0.9}, {"top_k": 0.5}])
def test_each_sequence_takes_no_other_statistic(other):
    with pytest.raises(ValueError, match=r"level 'each_sequence' takes.*set tau: mean"):
        TalrOptions(level="each_sequence", **other)


def test_median_of_an_even_number_of_sequences_is_between_the_two():
    """Means 1 and 3: τ = 2. (torch's own median would give 1.)"""
    assert talr_temperature(NLL[:3], SEQUENCE[:3]).item() == pytest.approx(2.0)


def test_median_and_mean_differ_on_a_skewed_batch():
    """Means 1, 3, 11: median 3, mean 5."""
    nll = torch.tensor([1.0, 3.0, 11.0])
    sequence = torch.tensor([0, 1, 2])
    assert talr_temperature(nll, sequence).item() == pytest.approx(3.0)
    assert talr_temperature(nll, sequence, tau="mean").item() == pytest.approx(5.0)


def test_sequence_numbers_need_not_be_contiguous():
    """Ranks hold parts of the batch; only which tokens belong together matters."""
    assert torch.equal(talr_weights(NLL, SEQUENCE), talr_weights(NLL, SEQUENCE * 7 + 2))


def test_normalized_weights_have_mean_one_and_keep_their_ratios():
    plain, normal = talr_weights(NLL, SEQUENCE), talr_weights(NLL, SEQUENCE, normalize=True)
    assert normal.mean().item() == pytest.approx(1.0)
    assert (normal / normal[0]).tolist() == pytest.approx((plain / plain[0]).tolist())


def test_top_k_keeps_the_easiest_tokens():
    """⌈0.4·5⌉ = 2 tokens of smallest loss (0 and 1) weigh one, the others the floor."""
    weights = talr_weights(NLL, SEQUENCE, top_k=0.4, floor=0.1)
    assert weights.tolist() == pytest.approx([1.0, 0.1, 0.1, 1.0, 0.1])


def test_top_k_is_not_off_by_one_through_rounding():
    """0.28·25 is 7, but 7.000000000000001 in floating point."""
    nll, sequence = torch.arange(25.0), torch.zeros(25, dtype=torch.int64)
    assert talr_weights(nll, sequence, top_k=0.28, floor=0.0).sum().item() == 7


def test_temperature_one_without_floor_is_the_probability():
    """The bridge to DFT: w = exp(−ℓ) = p."""
    weights = talr_weights(NLL, SEQUENCE, tau=1.0, floor=0.0)
    assert weights.tolist() == pytest.approx(torch.exp(-NLL).tolist())


def test_infinite_temperature_is_plain_sft():
    assert talr_weights(NLL, SEQUENCE, tau=1e12).tolist() == pytest.approx([1.0] * 5)


def test_perfectly_known_and_impossible_tokens_give_finite_weights():
    """p = 1 everywhere: τ is clamped, weights are one; p = 0: the floor."""
    zeros = torch.zeros(3)
    assert talr_temperature(zeros, SEQUENCE[:3]).item() == pytest.approx(MIN_TAU)
    assert talr_weights(zeros, SEQUENCE[:3]).tolist() == [1.0, 1.0, 1.0]
    weights = talr_weights(torch.tensor([0.5, math.inf]), torch.tensor([0, 0]), tau=1.0)
    assert weights.tolist() == pytest.approx([math.exp(-0.5), 0.01])


def test_one_token_batch():
    """τ is the token's own loss: w = e^(−1)."""
    weights = talr_weights(torch.tensor([2.5]), torch.tensor([0]))
    assert weights.tolist() == pytest.approx([math.exp(-1)])


def test_weights_are_constants_of_the_step():
    nll = NLL.clone().requires_grad_()
    weights = talr_weights(nll, SEQUENCE)
    assert not weights.requires_grad
    (weights * nll).sum().backward()
    assert torch.equal(nll.grad, weights)  # no derivative of w itself


def naive_weights(
    nll,
    sequence,
    tau="median",
    quantile=None,
    level="sequence",
    floor=0.01,
    normalize=False,
    top_k=None,
):
    """Loops and NumPy in float64."""
    if top_k is not None:
        n_kept = math.ceil(Fraction(str(top_k)) * len(nll))
        kept = sorted(range(len(nll)), key=nll.__getitem__)[:n_kept]
        weights = [1.0 if i in kept else floor for i in range(len(nll))]
    else:
        means = [
            np.mean([x for x, s in zip(nll, sequence, strict=True) if s == k])
            for k in set(sequence)
        ]
        losses = nll if level == "token" else means
        own = dict(zip(set(sequence), means, strict=True))
        if quantile is not None:
            tau = np.quantile(losses, quantile)
        elif isinstance(tau, str):
            tau = np.median(losses) if tau == "median" else np.mean(losses)
        taus = [own[k] if level == "each_sequence" else tau for k in sequence]
        weights = [
            max(math.exp(-x / max(t, MIN_TAU)), floor) for x, t in zip(nll, taus, strict=True)
        ]
    scale = np.mean(weights) if normalize and any(weights) else 1.0
    return [w / scale for w in weights]


OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "tau": st.sampled_from(["median", "mean"]) | st.floats(1, 10),
        "quantile": st.floats(0.05, 0.95),
        "level": st.sampled_from(["sequence", "token", "each_sequence"]),
        "floor": st.floats(0, 1),
        "normalize": st.booleans(),
        "top_k": st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.7, 1.0]),
    },
)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.floats(0, 30, width=32), st.integers(0, 4)), min_size=1, max_size=40),
    OPTIONS,
)
def test_agrees_with_a_naive_float64_implementation(tokens, options):
    nll, sequence = [t[0] for t in tokens], [t[1] for t in tokens]
    weights = talr_weights(torch.tensor(nll), torch.tensor(sequence), **options)
    assert weights.dtype == torch.float32
    expected = naive_weights(nll, sequence, **options)
    assert weights.tolist() == pytest.approx(expected, rel=1e-4, abs=2e-6)


def test_one_sequence_by_hand():
    """Tokens of 1 and 3: τ is their mean 2, w = e^(−1/2), e^(−3/2)."""
    weights = talr_weights(torch.tensor([1.0, 3.0]), torch.tensor([0, 0]))
    assert weights.tolist() == pytest.approx([math.exp(-0.5), math.exp(-1.5)])


def test_an_impossible_token_does_not_reach_the_median():
    """Means 1, 3 and ∞: τ = 3; the impossible token itself has the floor."""
    nll = torch.tensor([1.0, 3.0, math.inf])
    assert talr_temperature(nll, torch.arange(3)).item() == 3.0
    expected = [math.exp(-1 / 3), math.exp(-1), 0.01]
    assert talr_weights(nll, torch.arange(3)).tolist() == pytest.approx(expected)


def test_frozen_weights_read_the_reference():
    method = METHODS["talr"]
    options = TalrOptions(frozen=True)
    assert options.needs == {"reference_nll"}
    batch = TokenBatch(nll=NLL * 10, sequence=SEQUENCE, reference_nll=NLL)
    assert torch.equal(method.weights(batch, options), talr_weights(NLL, SEQUENCE))
    assert method.diagnostics(batch, options) == {"tau": pytest.approx(3.0)}
