"""From hidden states to float32 logits, by the model's own head."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sft_tradeoff.system.console import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def head_logits(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Float32 logits [N, V] of hidden states [N, H]."""
    return float_logits(model, model.get_output_embeddings()(hidden))


def float_logits(model: PreTrainedModel, logits: torch.Tensor) -> torch.Tensor:
    """The head's output [N, V] in float32, with the model's own soft cap, if any."""
    logits = logits.float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def check_head(model: PreTrainedModel) -> None:
    """Prove on two tokens that body and head alone give the model's own logits.

    Some architectures scale or shift logits in a step of their own; their losses would be wrong.

    Raises:
        UserError: If they do not.
    """
    ids = torch.tensor([[1, 0]], device=model.device)
    with torch.inference_mode():
        own = model(input_ids=ids, use_cache=False).logits.float()
        try:
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            same = torch.allclose(own, head_logits(model, hidden), rtol=1e-2, atol=1e-2)
        except (AttributeError, RuntimeError):  # not a body and a head that fit together
            same = False
    if not same:
        raise UserError(
            f"{type(model).__name__} changes its logits after the head, or has other parts than "
            "body and head, which head_logits in token_loss.py does not know; use another model, "
            "or add the step there"
        )
