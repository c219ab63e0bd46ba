"""The blocked backward pass of attention."""

import math

import pytest
import torch

from sft_tradeoff import attention
from sft_tradeoff.attention import BlockedAttention, speed_up_attention
from sft_tradeoff.models import load_model


def naive(query, key, value, scale):
    """Softmax attention written out: later keys do not exist, heads in a row share a key head."""
    group = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(group, dim=1) for t in (key, value))
    length = query.shape[2]
    scores = scale * query @ key.mT
    for row in range(length):
        scores[:, :, row, row + 1 :] = -math.inf
    return scores.softmax(-1) @ value


def tensors(n_batch, n_heads, n_keys, length, size, dtype):
    """Queries, keys, values, as a model makes them: heads are a transposed dimension."""
    torch.manual_seed(0)
    return [
        torch.randn(n_batch, length, n, size, dtype=dtype).transpose(1, 2).requires_grad_()
        for n in (n_heads, n_keys, n_keys)
    ]


@pytest.mark.parametrize("heads", [(4, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("block", [1, 2, 5, 7])
def test_gradient_by_finite_differences(heads, block, monkeypatch):
    """Five tokens in blocks that divide them, do not, or hold them all."""
    monkeypatch.setattr(attention, "BLOCK", block)
    inputs = tensors(2, *heads, 5, 4, torch.float64)
    assert torch.autograd.gradcheck(lambda *t: BlockedAttention.apply(*t, 0.7), inputs)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_bfloat16_is_as_near_to_the_exact_gradient_as_its_own_rounding(length):
    """bfloat16 has 8 bits: 2⁻⁹ relative per rounding, and a score passes about three."""
    inputs = tensors(2, 6, 2, length, 16, torch.bfloat16)
    exact = [t.detach().double().requires_grad_() for t in inputs]
    d_output = torch.randn(2, length, 6, 16).transpose(1, 2)
    output = BlockedAttention.apply(*inputs, 0.25)
    wanted = naive(*exact, 0.25)
    output.backward(d_output.bfloat16())
    wanted.backward(d_output.bfloat16().double())
    assert (output - wanted).norm() <= 0.004 * wanted.norm()
    for found, right in zip(inputs, exact, strict=True):
        if right.grad.norm() > 1e-9:  # one token: queries and keys cannot matter
            assert (found.grad - right.grad).norm() <= 0.01 * right.grad.norm()
        assert found.grad.dtype == torch.bfloat16 and found.grad.isfinite().all()


def test_scores_that_share_a_large_offset_keep_their_gradient():
    """A bias of the keys moves all scores of a row, here by up to a thousand, and cancels.

    bfloat16 scores would be off by four, and their probabilities by e⁴; PyTorch's own kernel, with
    float32 scores, is the measure.
    """
    query, key, value = (t.detach() for t in tensors(1, 2, 1, 150, 64, torch.bfloat16))
    query, key = query + 4, key + 4  # scores of about 16 · 64
    d_output = torch.randn(1, 2, 150, 64, dtype=torch.bfloat16)

    def gradients_of(attend, dtype):
        inputs = [t.clone().to(dtype).requires_grad_() for t in (query, key, value)]
        attend(*inputs).backward(d_output.to(dtype))
        return [t.grad.double() for t in inputs]

    def stock(query, key, value):
        return torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=0.125, enable_gqa=True
        )

    exact = gradients_of(lambda *t: naive(*t, 0.125), torch.float64)
    ours = gradients_of(lambda *t: BlockedAttention.apply(*t, 0.125), torch.bfloat16)
    measure = gradients_of(stock, torch.bfloat16)
    for found, other, right in zip(ours, measure, exact, strict=True):
        assert (found - right).norm() <= 2 * (other - right).norm() + 0.005 * right.norm()


def test_a_later_key_never_leaks_even_where_its_score_overflows():
    """exp(s − log-sum-exp) of a hidden key is infinite: it must be dropped, not multiplied by 0."""
    query, key, value = (torch.ones(1, 1, 3, 2, dtype=torch.bfloat16) for _ in range(3))
    key[0, 0, 2] = 1000
    query.requires_grad_()
    BlockedAttention.apply(query, key, value, 1.0)[:, :, :2].sum().backward()
    assert query.grad[:, :, :2].isfinite().all()


@pytest.fixture
def calls(monkeypatch):
    """How often the blocked attention ran."""
    found, apply = [], BlockedAttention.apply
    monkeypatch.setattr(BlockedAttention, "apply", lambda *t: found.append(1) or apply(*t))
    return found


def gradients(model, **inputs):
    ids = torch.arange(3, 43).view(2, 20)
    model(input_ids=ids, labels=ids, use_cache=False, **inputs).loss.backward()
    return torch.cat([p.grad.flatten().float() for p in model.parameters()])


def test_a_model_trains_with_it_and_gets_the_same_gradient(random_model, calls):
    stock = gradients(load_model(random_model, torch.bfloat16).train())
    assert not calls
    ours = gradients(speed_up_attention(load_model(random_model, torch.bfloat16)).train())
    assert len(calls) == 2  # layers
    assert (ours - stock).norm() <= 0.02 * stock.norm()


@pytest.mark.parametrize("why", ["float32", "a mask", "no gradient", "too long"])
def test_everything_else_is_left_to_the_stock_function(why, random_model, calls, monkeypatch):
    dtype = torch.float32 if why == "float32" else torch.bfloat16
    model = speed_up_attention(load_model(random_model, dtype)).train()
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[0, :3] = 0
    if why == "too long":
        monkeypatch.setattr(attention, "LONGEST", 19)
    with torch.set_grad_enabled(why != "no gradient"):
        model(
            input_ids=torch.arange(3, 43).view(2, 20),
            attention_mask=mask if why == "a mask" else None,
            use_cache=False,
        )
    assert not calls


def test_another_attention_is_kept(random_model):
    model = load_model(random_model, torch.bfloat16)
    model.set_attn_implementation("eager")
    assert speed_up_attention(model).config._attn_implementation == "eager"
