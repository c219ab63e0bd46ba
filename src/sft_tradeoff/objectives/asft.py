"""ASFT, anchored SFT (arXiv 2509.23753): DFT's weights, anchored to θ0 by a KL term.

loss = Σ (sg[pᵢ]·ℓᵢ + λ·KLᵢ(θ0‖θ)) / N.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options, TokenBatch
from sft_tradeoff.objectives.dft import dft_weights
from sft_tradeoff.objectives.kl_reg import kl_divergence

if TYPE_CHECKING:
    from torch import Tensor


class AsftOptions(Options):
    """Options of ASFT."""

    strength: float = Field(0.05, ge=0, le=1e6, description="λ of the KL term; 0 is DFT")


def _weights(batch: TokenBatch, options: AsftOptions) -> Tensor:
    return dft_weights(batch.nll)


def _penalty(log_probabilities: Tensor, reference: Tensor, options: AsftOptions) -> Tensor:
    return options.strength * kl_divergence(log_probabilities, reference)


METHOD = Method(
    name="asft",
    source="arXiv 2509.23753",
    options=AsftOptions,
    weights=_weights,
    penalty=_penalty,
)
