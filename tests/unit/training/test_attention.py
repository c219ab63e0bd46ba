"""The blocked backward pass of attention."""

import math

import pytest
import torch
import transformers

from sft_tradeoff.models.load import load_model
from sft_tradeoff.training import attention, forward
from sft_tradeoff.training.attention import BlockedAttention, speed_up_attention
from sft_tradeoff.training.batching import ROW_UNIT, Batch
from sft_tradeoff.training.forward import can_share_prefix, shared_prefix_inputs
from sft_tradeoff.training.token_loss import token_nll


def naive(query, key, value, scale):
    """Softmax attention written out: later keys are left out, neighboring heads share a key head.

    Queries are those of the last tokens.
    """
    group = query.shape[1] // key.shape[1]
    key, value = (t.repeat_interleave(group, dim=1) for t in (key, value))
    length, before = query.shape[2], key.shape[2] - query.shape[2]
    scores = scale * query @ key.mT
    for row in range(length):
        scores[:, :, row, before + row + 1 :] = -math.inf
    return scores.softmax(-1) @ value


def tensors(n_batch, n_heads, n_keys, length, size, dtype, before=0):
    """Queries, keys, values, as a model makes them: heads are a transposed dimension."""
    torch.manual_seed(0)
    return [
        torch.randn(n_batch, n_tokens, n, size, dtype=dtype).transpose(1, 2).requires_grad_()
        for n, n_tokens in ((n_heads, length), (n_keys, before + length), (n_keys, before + length))
    ]


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("heads", [(4, 2), (3, 1), (2, 2)])
@pytest.mark.parametrize("block", [1, 2, 5, 7])
def test_gradient_by_finite_differences(heads, block, before, monkeypatch):
    """Five tokens in blocks that divide five, do not, or hold all; three tokens before them."""
    monkeypatch.setattr(attention, "BLOCK", block)
    inputs = tensors(2, *heads, 5, 4, torch.float64, before)
    assert torch.autograd.gradcheck(lambda *t: BlockedAttention.apply(*t, 0.7), inputs)


@pytest.mark.parametrize("length", [1, 95, 96, 97, 200])
@pytest.mark.parametrize("before", [0, 72])
def test_bfloat16_is_as_near_to_the_exact_gradient_as_its_own_rounding(length, before):
    """bfloat16 has 8 bits: 2⁻⁹ relative per rounding, and a score passes about three."""
    inputs = tensors(2, 6, 2, length, 16, torch.bfloat16, before)
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
    """Count calls of the blocked attention."""
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


def batch_of(rows, prefix=()):
    """Rows of tokens after a prefix; of each, the last two tokens are predicted."""
    rows = torch.tensor(rows)
    n, width, start = len(rows), rows.shape[1], len(prefix)
    last = torch.arange(n)[:, None] * width + torch.tensor([width - 3, width - 2])
    labels = {name: rows[:, -2:].flatten() for name in ("labels", "sequence", "token")}
    first = torch.tensor(prefix, dtype=torch.long)
    return Batch(shared_prefix=first, input_ids=rows, positions=start + last.flatten(), **labels)


def losses_and_gradients(model, batch):
    model.zero_grad()
    loss = token_nll(model, batch)
    loss.square().sum().backward()  # tokens weigh differently
    return loss, torch.cat([p.grad.flatten().float() for p in model.parameters()])


@pytest.mark.parametrize(
    ("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)], ids=["float32", "bfloat16"]
)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("n_own", [5, 75])
def test_a_shared_prefix_changes_neither_losses_nor_gradients(
    dtype, near, checkpointing, n_own, random_model
):
    """Eight tokens before three rows; with 75 of their own rows fill more than one unit."""
    torch.manual_seed(0)
    model = speed_up_attention(load_model(random_model, dtype)).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.ndim == 2 else 1)  # so that tokens attend to each other
    if checkpointing:
        model.activation_checkpointing_enable()
    prefix, rows = list(range(40, 48)), torch.randint(3, 200, (3, n_own)).tolist()
    whole = batch_of([prefix + row for row in rows])
    shared = batch_of(rows, prefix)
    expected, wanted = losses_and_gradients(model, whole)
    found, gradient = losses_and_gradients(model, shared)
    torch.testing.assert_close(found, expected, rtol=near, atol=near)
    assert (gradient - wanted).norm() <= near * wanted.norm()
    _, other = losses_and_gradients(model, batch_of(rows, prefix[::-1]))
    assert (other - wanted).norm() > 5 * near * wanted.norm()  # the prefix matters


def test_both_parts_have_the_fast_backward_pass(random_model, calls):
    model = speed_up_attention(load_model(random_model, torch.bfloat16)).train()
    losses_and_gradients(model, batch_of([[7] * 20] * 3, range(8)))
    assert len(calls) == 2 * 2  # layers


def test_a_model_that_gives_other_states_does_not_share(random_model, monkeypatch):
    """Detected by trying, here with positions that are off by one after the prefix."""
    model = speed_up_attention(load_model(random_model, torch.float32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.ndim == 2 else 1)

    def shifted(batch):
        inputs = shared_prefix_inputs(batch)
        inputs["position_ids"][:, 8:] += 1
        return inputs

    assert can_share_prefix(model)
    monkeypatch.setattr(forward, "shared_prefix_inputs", shifted)
    assert not can_share_prefix(model)


def test_a_row_of_shared_tokens_has_a_length_that_suits_products(random_model):
    for n_own in (5, 8, 64):
        inputs = shared_prefix_inputs(batch_of([[7] * n_own] * 3, range(8)))
        assert inputs["input_ids"].shape == inputs["position_ids"].shape
        assert inputs["input_ids"].shape[1] == -(-(8 + 3 * n_own) // ROW_UNIT) * ROW_UNIT
        depth = inputs["position_ids"][0, : 8 + 2 * n_own].tolist()
        assert depth == [*range(8), *2 * list(range(8, 8 + n_own))]


TINY = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


@pytest.mark.parametrize(
    ("kind", "options", "can"),
    [
        (transformers.LlamaConfig, {}, True),
        (transformers.Qwen3Config, {}, True),
        (transformers.GPTNeoXConfig, {}, True),
        (transformers.GPT2Config, {}, True),
        (transformers.MixtralConfig, {"num_local_experts": 2, "sliding_window": None}, True),
        (transformers.MistralConfig, {"sliding_window": 8}, False),
        (transformers.Gemma2Config, {}, False),
        (transformers.GPTNeoConfig, {"attention_types": [[["global", "local"], 1]]}, False),
        (transformers.BloomConfig, {}, False),
        (transformers.MambaConfig, {"state_size": 4}, False),
        (transformers.DogeConfig, {}, False),  # its attention makes its own mask
    ],
)
def test_which_models_share_prefixes(kind, options, can):
    torch.manual_seed(0)
    sizes = {**TINY, "num_layers": 2} if kind is transformers.GPTNeoConfig else TINY
    model = transformers.AutoModelForCausalLM.from_config(kind(**sizes, **options)).eval()
    assert not can_share_prefix(model)  # PyTorch's attention does not support it
    model = speed_up_attention(model)
    assert can_share_prefix(model) == can
    if can:
        prefix, rows = list(range(8)), [[9, 10, 11, 12], [13, 14, 15, 16]]
        expected, wanted = losses_and_gradients(model, batch_of([prefix + r for r in rows]))
        found, gradient = losses_and_gradients(model, batch_of(rows, prefix))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, wanted, rtol=1e-3, atol=1e-5)


def test_attention_that_asks_for_more_refuses_shared_prefixes(random_model):
    """Instead of ignoring a soft cap, for example."""
    query = torch.randn(1, 2, 64, 8)
    layout = torch.tensor([[[[8, 2, 16]]]])
    module = torch.nn.Module()
    attention.attention(module, query, query, query, layout)
    with pytest.raises(ValueError, match="options"):
        attention.attention(module, query, query, query, layout, softcap=30.0)
    with pytest.raises(ValueError, match="options"):
        attention.attention(module, query, query, query, layout, dropout=0.1)
    with pytest.raises(ValueError, match="options"):
        attention.attention(module, query, query, query, layout, is_causal=False)
    with pytest.raises(ValueError, match="options"):
        attention.attention(module, query, query, query[..., :4], layout)
