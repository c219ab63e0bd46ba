"""The output head: from hidden states to float32 logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from sft_tradeoff.system.console import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Factors after the head, by the name of the setting (Cohere; Falcon-H1; Granite divides).
_SCALES = {"logit_scale": 1, "lm_head_multiplier": 1, "logits_scaling": -1}
_CAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
LARGE = 100.0  # hidden states for which a soft cap shows


def head_logits(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Compute float32 logits [N, V] from hidden states [N, H]."""
    return float_logits(model, apply_head(model, hidden))


def apply_head(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """Apply the head [H -> V] alone, in its dtype; recurrent models have float32 hidden states."""
    head: Any = model.get_output_embeddings()
    found: torch.Tensor = head(hidden.to(next(head.parameters()).dtype))
    return found


def float_logits(model: PreTrainedModel, logits: torch.Tensor) -> torch.Tensor:
    """Convert the head's output [N, V] to float32; apply the model's scale and soft cap, if any."""
    config, logits = model.config.get_text_config(), logits.float()
    for name, power in _SCALES.items():
        if (scale := getattr(config, name, None)) is not None:
            logits = logits * scale**power
    caps = (getattr(config, name, None) for name in _CAPS)
    cap = next((found for found in caps if found is not None), None)
    return logits if cap is None else cap * torch.tanh(logits / cap)


def check_head(model: PreTrainedModel) -> None:
    """Check on two tokens that :func:`head_logits` gives the model's own logits.

    Some architectures change logits after the head; their losses would be wrong.

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
        raise _other_head(model)


def check_head_alone(model: PreTrainedModel) -> None:
    """Like :func:`check_head`, for a model without weights, whose forward passes are replaced.

    Body and head are replaced by random numbers, so only the steps after the head are compared.
    What cannot be tried like this is left to :func:`check_head`.

    Raises:
        UserError: If they are not those of :func:`head_logits`.
    """
    if model.base_model is model:  # Llama 4
        raise _other_head(model)
    if not isinstance(own_head := model.get_output_embeddings(), torch.nn.Linear):
        return
    hidden = LARGE * torch.randn(1, 2, own_head.in_features)  # (B, T, H)
    model.set_output_embeddings(torch.nn.Linear(own_head.in_features, 4, bias=False))
    model.base_model.forward = lambda *_, **__: _Body((hidden,))
    with torch.inference_mode():
        try:
            own = model(input_ids=torch.tensor([[1, 0]]), use_cache=False).logits.float()
            same = torch.allclose(own, head_logits(model, hidden), rtol=1e-2, atol=1e-2)
        except Exception:  # depends on the architecture: it asks the body for more, or has none
            return
    if not same:
        raise _other_head(model)


class _Body(tuple[torch.Tensor, ...]):
    """Output of a body: hidden states and nothing else."""

    def __getattr__(self, name: str) -> torch.Tensor | None:
        return self[0] if name == "last_hidden_state" else None


def _other_head(model: PreTrainedModel) -> UserError:
    return UserError(
        f"{type(model).__name__} changes its logits after the head, or does not consist of body "
        "and head: head_logits in models/head.py does not support it; use another model, or add "
        "the step there"
    )
