"""One forward pass over a batch, in which a shared prefix is computed once.

Examples of one domain often begin with the same instructions. In a causal model the hidden states
of these tokens do not depend on what follows, so they are the same in every sequence. Instead of B
rows of P + T tokens the model then gets one row of P + B·T: the prefix, then each sequence's rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sft_tradeoff.models.cache import BLOCKED_ATTENTION, has_plain_cache
from sft_tradeoff.system.console import UserError
from sft_tradeoff.training.batching import Batch, row_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def supervised_hidden(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Last hidden states at the positions that predict a label: [N, H]."""
    inputs = {"input_ids": batch.input_ids}
    if len(batch.shared_prefix):
        inputs = shared_prefix_inputs(batch)
    states = model.base_model(**inputs, use_cache=False).last_hidden_state
    return states.flatten(0, 1)[batch.positions]  # (B, T, H) or (1, P + B·T + R, H) -> (N, H)


def shared_prefix_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """Model inputs for a batch with a shared prefix: one row of P + B·T tokens and R of padding.

    ``position_ids`` [1, P + B·T + R] continue from the prefix in every sequence, as if it stood
    alone. ``attention_mask`` is not a mask but the layout (P, B, T), for ``attention.py``; integers
    make any other attention raise an error.
    """
    n_shared, (n_rows, width) = len(batch.shared_prefix), batch.input_ids.shape
    ids = torch.cat((batch.shared_prefix, batch.input_ids.flatten()))  # (P + B·T)
    place = torch.arange(n_shared + width, device=ids.device)  # (P + T)
    position = torch.cat((place[:n_shared], place[n_shared:].repeat(n_rows)))  # (P + B·T)
    padding = (0, row_length(n_shared, n_rows, width) - len(ids))
    return {
        "input_ids": torch.nn.functional.pad(ids, padding)[None],
        "position_ids": torch.nn.functional.pad(position, padding)[None],
        "attention_mask": torch.tensor([[[[n_shared, n_rows, width]]]]),
    }


def check_causal(model: PreTrainedModel) -> None:
    """Check on a few tokens that neither later tokens nor chance change a hidden state.

    Training pads on the right without a mask. A model that looks ahead would copy its labels from
    there. A model that draws random numbers in training mode (some route tokens to experts so)
    would not be trained as it is evaluated.

    Args:
        model: In float32.

    Raises:
        UserError: If something does.
    """
    ids = torch.arange(16, device=model.device)[None]
    ids %= model.config.get_text_config().vocab_size
    with torch.inference_mode():
        alone, followed = (
            model.base_model(input_ids=i, use_cache=False).last_hidden_state[:, :8]
            for i in (ids[:, :8], ids)
        )
    if not (followed - alone).norm() <= 1e-4 * alone.norm():
        raise UserError(
            f"{type(model).__name__}: a token's hidden state changes when others follow it, or "
            "from call to call; training needs a causal language model without randomness: check "
            "is_causal, is_decoder and use_bidirectional_attention in its config.json, or use "
            "another model"
        )


def can_share_prefix(model: PreTrainedModel) -> bool:
    """Whether a model computes the same with a shared prefix, tried on two rows of a few tokens.

    It must use the attention of ``attention.py``, and tokens may interact in attention alone.
    """
    if model.config._attn_implementation != BLOCKED_ATTENTION or not has_plain_cache(model):
        return False
    prefix, rows = torch.arange(1, 9), torch.arange(9, 15).view(2, 3)  # P = 8, B = 2, T = 3
    labels = {name: rows.flatten() for name in ("labels", "sequence", "token")}
    positions = torch.arange(8, 14)  # of the rows' tokens, after the prefix
    shared = Batch(shared_prefix=prefix, input_ids=rows, positions=positions, **labels)
    whole = torch.cat((prefix.expand(2, -1), rows), dim=1)  # (2, 11)
    positions = torch.cat((positions[:3], positions[:3] + whole.shape[1]))
    separate = Batch(shared_prefix=prefix[:0], input_ids=whole, positions=positions, **labels)
    with torch.inference_mode():
        try:
            found, expected = supervised_hidden(model, shared), supervised_hidden(model, separate)
        except (ValueError, TypeError, RuntimeError, IndexError):
            return False  # its attention has other options, or it reads the mask itself
    return bool((found - expected).norm() <= 1e-2 * expected.norm())
