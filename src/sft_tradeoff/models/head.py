"""The output head: from hidden states to float32 logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from sft_tradeoff.system.console import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def head_logits(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Compute float32 logits [N, V] from hidden states [N, H]."""
    return float_logits(model, model.get_output_embeddings()(hidden))


def float_logits(model: PreTrainedModel, logits: torch.Tensor) -> torch.Tensor:
    """Convert the head's output [N, V] to float32 and apply the model's soft cap, if any."""
    logits = logits.float()
    cap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def check_head(model: PreTrainedModel) -> None:
    """Check on two tokens that :func:`head_logits` gives the model's own logits.

    Some architectures scale or shift logits after the head; their losses would be wrong.

    Raises:
        UserError: If it does not.
    """
    ids = torch.tensor([[1, 0]], device=model.device)
    with torch.inference_mode():
        own = model(input_ids=ids, use_cache=False).logits.float()
        try:
            hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
            same = torch.allclose(own, head_logits(model, hidden), rtol=1e-2, atol=1e-2)
        except (AttributeError, RuntimeError):  # its parts are not body and head
            same = False
    if not same:
        raise UserError(
            f"{type(model).__name__} changes its logits after the head, or does not consist of "
            "body and head: head_logits in models/head.py does not support it; use another model, "
            "or add the step there"
        )
