"""LoRA (arXiv 2106.09685): train a low-rank addition to every linear layer.

W = W₀ + (α/r)·B·A with B = 0 at the start, so training begins exactly at θ0. The head is not
adapted. It needs learning rates of its own, 10-100 times those of full fine-tuning
(``learning_rates.adapter``). No dropout: the result would depend on how the batch is cut.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options


class LoraOptions(Options):
    """Options of LoRA."""

    rank: int = Field(64, ge=1, description="r, inner dimension of the addition")
    alpha: float = Field(64.0, gt=0, description="the addition is scaled by alpha / rank")


def _adapter(options: LoraOptions) -> dict[str, Any]:
    return {
        "r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": 0.0,
        "target_modules": "all-linear",
    }


METHOD = Method(name="lora", source="arXiv 2106.09685", options=LoraOptions, adapter=_adapter)
