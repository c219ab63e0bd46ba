"""LoRA (arXiv 2106.09685): train a low-rank update of every linear layer except the head.

W = W₀ + (α/r)·B·A with B = 0 at the start, so training starts exactly at θ0. Learning rates must be
10 to 100 times those of full fine-tuning, hence the separate ``learning_rates.adapter``. No
dropout: results would depend on how the batch is split.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options


class LoraOptions(Options):
    """Options of LoRA."""

    rank: int = Field(64, ge=1, le=65_536, description="r, inner dimension of the addition")
    alpha: float = Field(64.0, gt=0, le=1e6, description="the addition is scaled by alpha / rank")


def _adapter(options: LoraOptions) -> dict[str, Any]:
    return {
        "r": options.rank,
        "lora_alpha": options.alpha,
        "lora_dropout": 0.0,
        "target_modules": "all-linear",
    }


METHOD = Method(name="lora", source="arXiv 2106.09685", options=LoraOptions, adapter=_adapter)
