"""How a model decodes: whether greedy is the plain argmax, and whether padding changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Generation settings of a model that do not change a greedy choice.
HARMLESS = {
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "do_sample",
    "temperature",
    "top_p",
    "top_k",
    "max_length",
    "max_new_tokens",
    "use_cache",
    "transformers_version",
    "output_attentions",
    "output_hidden_states",
    "_from_model_config",
}


def is_plain_greedy(model: PreTrainedModel) -> bool:
    """Whether greedy decoding under the model's own generation settings is a plain argmax."""
    return model.generation_config.to_diff_dict().keys() <= HARMLESS


@torch.inference_mode()
def takes_padding(model: PreTrainedModel) -> bool:
    """Whether padding on the left leaves the logits of the next tokens unchanged.

    Tried with a few tokens. It does not hold for recurrent models that ignore the mask, nor for
    position embeddings that count columns; for MiniMax's linear attention it holds only at the
    first new token.
    """
    alone, padded = (_next_logits(model, n_padding) for n_padding in (0, 8))
    return bool((padded - alone).norm() <= 2e-2 * alone.norm())


def _next_logits(model: PreTrainedModel, n_padding: int) -> torch.Tensor:
    """Logits [4, V] float32 of four tokens generated after eight that are padded on the left."""
    ids = torch.arange(1, 9, device=model.device)[None]  # (1, T)
    generate: Any = model.generate
    found = generate(
        pad(ids, (n_padding, 0)),
        attention_mask=pad(torch.ones_like(ids), (n_padding, 0)),
        min_new_tokens=4,
        max_new_tokens=4,
        do_sample=False,
        pad_token_id=0,
        output_logits=True,
        return_dict_in_generate=True,
    )
    return torch.cat(found.logits).float()
