"""One forward pass over a batch, in which a shared prefix is computed once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sft_tradeoff.models.cache import NAME, has_plain_cache
from sft_tradeoff.system.console import UserError
from sft_tradeoff.training.batching import Batch, row_length

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def supervised_hidden(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Last hidden states at the positions that predict a label: [N, H]."""
    inputs = shared_inputs(batch) if len(batch.beginning) else {"input_ids": batch.input_ids}
    states = model.base_model(**inputs, use_cache=False).last_hidden_state
    return states.flatten(0, 1)[batch.positions]  # (B, T, H) or (1, P + B·T, H) -> (N, H)


def shared_inputs(batch: Batch) -> dict[str, torch.Tensor]:
    """A batch with a beginning that is read once, as inputs of a model: one row.

    The mask only tells ``attention.py`` how the row is cut; any other attention refuses integers.
    """
    n_shared, (n_rows, width) = len(batch.beginning), batch.input_ids.shape
    ids = torch.cat((batch.beginning, batch.input_ids.flatten()))  # (P + B·T)
    place = torch.arange(n_shared + width, device=ids.device)
    depth = torch.cat((place[:n_shared], place[n_shared:].repeat(n_rows)))
    tail = (0, row_length(n_shared, n_rows, width) - len(ids))
    return {
        "input_ids": torch.nn.functional.pad(ids, tail)[None],
        "position_ids": torch.nn.functional.pad(depth, tail)[None],
        "attention_mask": torch.tensor([[[[n_shared, n_rows, width]]]]),
    }


def check_causal(model: PreTrainedModel) -> None:
    """Prove on a few tokens that what follows them, and chance, change nothing.

    Training fills rows on the right, without a mask. A model that looks ahead would copy its labels
    from there; one that draws its experts while it trains would not compute what is evaluated.

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
            f"{type(model).__name__} reads a token otherwise when others follow it, or draws at "
            "random: it is not a causal language model (is_causal, is_decoder or "
            "use_bidirectional_attention in its config.json), or cannot be trained here; use "
            "another model"
        )


def can_share_beginnings(model: PreTrainedModel) -> bool:
    """Whether a batch's common beginning may be read once, tried on two rows of a few tokens.

    Only by models whose tokens meet in plain attention, and in that of ``attention.py``.
    """
    if model.config._attn_implementation != NAME or not has_plain_cache(model):
        return False
    first, rows = torch.arange(1, 9), torch.arange(9, 15).view(2, 3)  # tokens
    labels = {name: rows.flatten() for name in ("labels", "sequence", "token")}
    places = torch.arange(8, 14)  # of the rows' tokens in a row of all
    once = Batch(beginning=first, input_ids=rows, positions=places, **labels)
    whole = torch.cat((first.expand(2, -1), rows), dim=1)  # (2, 11)
    places = torch.cat((places[:3], places[:3] + whole.shape[1]))
    twice = Batch(beginning=first[:0], input_ids=whole, positions=places, **labels)
    with torch.inference_mode():
        try:
            found, expected = supervised_hidden(model, once), supervised_hidden(model, twice)
        except (ValueError, TypeError, RuntimeError, IndexError):
            return False  # an option of its attention, or a mask that it looks into
    return bool((found - expected).norm() <= 1e-2 * expected.norm())
