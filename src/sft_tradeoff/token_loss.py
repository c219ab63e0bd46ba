"""Per-token loss of the supervised positions, without logits anywhere else.

A vocabulary of 50-260 thousand makes logits the largest tensors of training by far. They are made
only where a label is, a chunk at a time, and again in the backward pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from sft_tradeoff.batching import Batch

CHUNK = 512  # supervised tokens whose [CHUNK, V] float32 logits exist at one time


def token_nll(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood of every supervised token of a micro-batch.

    Args:
        model: A causal language model.
        batch: B sequences with N supervised tokens.

    Returns:
        [N] float32 nats, differentiable.
    """
    hidden = supervised_hidden(model, batch)  # (N, H)
    chunks = zip(hidden.split(CHUNK), batch.labels.split(CHUNK), strict=True)
    return torch.cat(
        [checkpoint(_chunk_nll, model, h, labels, use_reentrant=False) for h, labels in chunks]
    )


def supervised_hidden(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Last hidden states at the positions that predict a label: [N, H]."""
    states = model.base_model(input_ids=batch.input_ids, use_cache=False).last_hidden_state
    return states.flatten(0, 1)[batch.positions]  # (B, T, H) -> (B·T, H) -> (N, H)


def head_logits(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Float32 logits [N, V] of hidden states [N, H], with the model's own soft cap, if any."""
    logits = model.get_output_embeddings()(hidden).float()  # (N, V)
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _chunk_nll(model: PreTrainedModel, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(head_logits(model, hidden), labels, reduction="none")
