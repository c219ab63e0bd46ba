"""Causal attention with a backward pass that is fast on CPUs at the lengths of fine-tuning.

In bfloat16 and for a few hundred tokens, PyTorch's CPU kernel takes 10 to 60 times as long backward
as forward. Here the backward pass is a few batched matrix products over blocks of queries, which
takes a third of that or less. As in FlashAttention (arXiv 2205.14135, algorithm 4) the [T, T]
probabilities are not kept but computed again from the log-sum-exp of each row; the blocks are large
enough for the CPU's matrix units.

A batch whose sequences have a shared prefix may come as one row that holds the prefix once (see
``forward.py``). In all other cases this is Transformers' own ``sdpa``.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    PreTrainedModel,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from sft_tradeoff.models.cache import BLOCKED_ATTENTION

BLOCK = 96  # queries whose scores exist at one time
SPARE = 8  # extra columns that carry a shift per row: three are used, eight suit the CPU
# Tokens; for longer sequences PyTorch's kernel is about as fast. It is also the limit for a shared
# prefix, because PyTorch's forward pass computes the half of the scores that the mask then hides.
LONGEST = 1024
_flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class BlockedAttention(torch.autograd.Function):
    """softmax(scale · Q Kᵀ + causal mask) V with PyTorch's forward pass and a blocked backward.

    Queries [B, H, T, D], keys and values [B, K, P + T, D]. With grouped-query attention each of the
    K key heads serves H/K neighboring query heads. All queries see the first P keys (a shared
    prefix; usually P = 0). Scores are never kept.

    With S = scale · Q Kᵀ, probabilities P = softmax(S) and output O = P V, the gradients are

        dV = Pᵀ dO,   dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)),   dQ = scale · dS K,   dK = scale · dSᵀ Q.
    """

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """Return the output [B, H, T, D]; saves it, its inputs and the log-sum-exp [B, H, T]."""
        mask = _causal_mask(query, key)
        output, logsumexp = _flash(
            query, key, value, 0.0, mask is None, attn_mask=mask, scale=scale
        )
        ctx.save_for_backward(query, key, value, output, logsumexp)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: Any, d_output: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of queries, keys and values, in their dtypes."""
        query, key, value, output, logsumexp = ctx.saved_tensors
        n_batch, n_heads, length, size = query.shape
        n_keys, before = key.shape[1], key.shape[2] - length
        exact = logsumexp.dtype  # float32 for bfloat16
        key, value = (t.flatten(0, 1) for t in (key, value))  # (B·K, P + T, D)
        # rowsum(dO ∘ O): softmax's Jacobian makes the gradients of a row's scores sum to 0
        offset = (d_output.to(exact) * output).sum(-1)  # (B, H, T)
        wide_query = _with_shift(query, logsumexp / -ctx.scale)
        wide_output = _with_shift(d_output, -offset)
        wide_key, wide_value = (
            torch.nn.functional.pad(t, (0, SPARE), value=1.0) for t in (key, value)
        )
        d_query = torch.empty_like(query)
        d_key, d_value = (torch.zeros(t.shape, dtype=exact) for t in (key, value))
        for start in range(0, length, BLOCK):
            end = min(start + BLOCK, length)
            seen = before + end
            q, d_out = (_rows(t[:, :, start:end], n_keys) for t in (wide_query, wide_output))
            # Probabilities of the block's rows: (B·K, R, seen), where R = H/K · block
            p = torch.bmm(q, wide_key[:, :seen].mT).mul_(ctx.scale).exp_()
            # Causal mask: only within its own block could a query see later keys.
            p.view(len(p), -1, end - start, seen)[..., before + start :].tril_()
            d_value[:, :seen] += torch.bmm(p.mT, d_out[..., :size])
            p.mul_(torch.bmm(d_out, wide_value[:, :seen].mT))  # now dS
            d_query[:, :, start:end] = (
                torch.bmm(p, key[:, :seen]).mul_(ctx.scale).view(n_batch, n_heads, -1, size)
            )
            d_key[:, :seen] += torch.bmm(p.mT, q[..., :size])
        shape = (n_batch, n_keys, before + length, size)
        d_key.mul_(ctx.scale)
        return d_query, d_key.to(q.dtype).view(shape), d_value.to(q.dtype).view(shape), None


def _causal_mask(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor | None:
    """Additive mask [1, 1, T, P + T] if there are more keys than queries, else None."""
    length, before = query.shape[2], key.shape[2] - query.shape[2]
    if not before:
        return None
    hidden = query.new_full((length, before + length), -torch.inf).triu(before + 1)
    return hidden[None, None]


def _with_shift(rows: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Append columns that add a shift per row to a product with rows that end in ones.

    A bfloat16 product sums in float32 and rounds once, at the end. Subtracting the shift inside the
    product makes the result small before that rounding; a score of a thousand rounded first would
    be off by up to four. The shift is split into three bfloat16 numbers whose sum is as exact as
    float32.

    Args:
        rows: [B, H, T, D].
        shift: [B, H, T] in the dtype of sums (float32 for bfloat16).

    Returns:
        [B, H, T, D + SPARE] in the dtype of ``rows``.
    """
    wide = torch.nn.functional.pad(rows, (0, SPARE))
    for column in range(rows.shape[-1], rows.shape[-1] + 3):
        wide[..., column] = shift
        shift = shift - wide[..., column]
    return wide


def _rows(heads: torch.Tensor, n_keys: int) -> torch.Tensor:
    """[B, H, block, D] → [B·K, H/K · block, D]: all query rows that see the same keys."""
    return heads.reshape(len(heads) * n_keys, -1, heads.shape[-1])


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **keywords: Any,
) -> tuple[torch.Tensor, None]:
    """Attention with the signature that Transformers' models call, [B, H, T, D] → [B, T, H, D]."""
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    same_size = query.shape[-1] == key.shape[-1] == value.shape[-1]
    plain = causal and dropout == 0 and same_size and not _has_other_options(keywords)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if attention_mask is not None and attention_mask.dtype == torch.long:  # a layout, not a mask
        if not plain:
            raise ValueError("attention with a shared prefix supports none of this model's options")
        return _attend_shared(query, key, value, attention_mask, scale), None
    if plain and attention_mask is None and query.shape[2] == key.shape[2] and _pays(query):
        output: torch.Tensor = BlockedAttention.apply(query, key, value, scale)
        return output.transpose(1, 2), None
    keywords |= {"dropout": dropout, "scaling": scaling, "is_causal": is_causal}
    found: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, **keywords
    )
    return found


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float
) -> torch.Tensor:
    """Causal attention of the last T of P + T tokens; the output is [B, H, T, D]."""
    if _pays(query):
        output: torch.Tensor = BlockedAttention.apply(query, key, value, scale)
        return output
    mask = _causal_mask(query, key)
    return torch.nn.functional.scaled_dot_product_attention(
        query, key, value, mask, is_causal=mask is None, scale=scale, enable_gqa=True
    )


def _attend_shared(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    """Attention over one row of P + B·T + R tokens: a shared prefix, B sequences, and padding.

    Each sequence sees the prefix and itself, but no other sequence.

    Args:
        query: [1, H, P + B·T + R, D].
        key: [1, K, P + B·T + R, D].
        value: Like ``key``.
        layout: (P, B, T), in any shape.
        scale: Factor of the scores.

    Returns:
        [1, P + B·T + R, H, D], zero in the padding.
    """
    n_shared, n_rows, width = layout.flatten().tolist()
    sizes = (n_shared, n_rows * width, query.shape[2] - n_shared - n_rows * width)
    # Prefix [1, H, P, D]; sequences [1, H, B·T, D] -> [B, H, T, D]; padding [1, H, R, D]
    (q, rows, padding), (k, own_keys, _), (v, own_values, _) = (
        (first, rest[0].unflatten(1, (n_rows, width)).transpose(0, 1), last)
        for first, rest, last in (t.split(sizes, dim=2) for t in (query, key, value))
    )
    keys, values = (  # (B, K, P + T, D)
        torch.cat((first.expand(n_rows, -1, -1, -1), own), dim=2)
        for first, own in ((k, own_keys), (v, own_values))
    )
    parts = _attend(q, k, v, scale), _attend(rows, keys, values, scale), torch.zeros_like(padding)
    return torch.cat([part.transpose(1, 2).flatten(0, 1) for part in parts])[None]


def _has_other_options(keywords: dict[str, Any]) -> bool:
    """Whether a model's call has options that only Transformers' function supports."""
    options = ("softcap", "position_bias", "cache", "s_aux", "sliding_window")
    return any(keywords.get(name) is not None for name in options)


def _pays(query: torch.Tensor) -> bool:
    """Whether there is a backward pass to speed up."""
    return (
        query.requires_grad
        and query.device.type == "cpu"
        and query.dtype == torch.bfloat16
        and query.shape[2] <= LONGEST
    )


def speed_up_attention(model: PreTrainedModel) -> PreTrainedModel:
    """Make a model that uses PyTorch's attention train with this one, in place."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(BLOCKED_ATTENTION, attention)
        AttentionMaskInterface.register(BLOCKED_ATTENTION, sdpa_mask)
        model.set_attn_implementation(BLOCKED_ATTENTION)
    return model
