"""Wise-FT (arXiv 2109.01903): average the weights of θ0 and a fine-tuned model.

θ = (1−α)·θ₀ + α·θ_trained. Nothing is trained: one trained run serves a whole grid of α.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options

if TYPE_CHECKING:
    from torch import Tensor


class WiseFtOptions(Options):
    """Options of Wise-FT."""

    alpha: float = Field(0.5, ge=0, le=1, description="share of the trained weights; 0 is θ0")
    of: str = Field("sft", description="label of the method whose run is averaged with θ0")


def interpolate(initial: Tensor, trained: Tensor, *, alpha: float) -> Tensor:
    """(1−α)·θ₀ + α·θ in float32 (arXiv 2109.01903); exact at α = 0 and α = 1.

    Args:
        initial: θ₀, any shape and floating type.
        trained: θ, same shape.
        alpha: In [0, 1].

    Returns:
        float32, shape of the inputs.
    """
    return initial.float().lerp(trained.float(), alpha)


def _merge(initial: Tensor, trained: Tensor, options: WiseFtOptions) -> Tensor:
    return interpolate(initial, trained, alpha=options.alpha)


METHOD = Method(name="wise_ft", source="arXiv 2109.01903", options=WiseFtOptions, merge=_merge)
