"""Logits from hidden states are the model's own, or the model is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from sft_tradeoff.models.head import check_head, check_head_alone, head_logits
from sft_tradeoff.system.console import UserError
from tests.unit.models.conftest import SIZES

MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_ssm": 64}
STEPS: dict[str, dict[str, Any]] = {  # after the head
    "llama": {},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25},
    "granite": {"logits_scaling": 8.0},
    "granitemoe": {"logits_scaling": 8.0, "num_local_experts": 4},
    "falcon_h1": MAMBA | {"lm_head_multiplier": 0.5},
    "gemma2": {"final_logit_softcapping": 3.0, "head_dim": 8},
    "recurrent_gemma": {"logits_soft_cap": 3.0, "num_hidden_layers": 3, "lru_width": 32},
}
LLAMA4 = {"num_local_experts": 2, "intermediate_size_mlp": 48}


def tiny(kind: str, device: str = "cpu") -> Any:
    torch.manual_seed(0)
    with torch.device(device):
        config = AutoConfig.for_model(kind, **(SIZES | STEPS.get(kind, LLAMA4)))
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@pytest.mark.parametrize("kind", STEPS)
def test_logits_are_the_models_own(kind: str) -> None:
    """And not simply the head's, unless nothing follows it; weights are large, so that it shows."""
    model = tiny(kind)
    model.get_output_embeddings().weight.data.normal_(0, 2)
    ids = torch.arange(3, 15)[None]
    with torch.inference_mode():
        own = model(input_ids=ids, use_cache=False).logits
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        plain = model.get_output_embeddings()(hidden)
        torch.testing.assert_close(head_logits(model, hidden), own, rtol=1e-5, atol=1e-5)
    assert torch.allclose(plain, own, rtol=0.1) == (kind == "llama")
    check_head(model)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_model_without_a_body_is_refused(device: str) -> None:
    """Transformers gives Llama 4's text model itself as its body."""
    model = tiny("llama4_text", device)
    with pytest.raises(UserError, match="does not consist of body and head"):
        (check_head_alone if device == "meta" else check_head)(model)


@pytest.mark.parametrize("kind", STEPS)
def test_steps_after_the_head_show_without_weights(kind: str) -> None:
    """Supported steps pass; the same step under a name that is not known is refused."""
    check_head_alone(tiny(kind, "meta"))
    model = tiny(kind, "meta")
    forward = type(model).forward

    def doubled(self: Any, **keywords: Any) -> Any:
        found = forward(self, **keywords)
        found.logits = found.logits * 2
        return found

    model.forward = doubled.__get__(model)
    with pytest.raises(UserError, match=r"changes its logits after the head.*use another model"):
        check_head_alone(model)
