"""STM, selective token masking (arXiv 2501.14315): mask tokens that surprise θ0.

loss = Σ wᵢ·ℓᵢ / N with wᵢ = 1 where the token's perplexity under θ0, exp(ℓᵢ(θ0)), is at most 2.5,
and 0 elsewhere.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options, TokenBatch, mean_one

if TYPE_CHECKING:
    from torch import Tensor


class StmOptions(Options):
    """Options of STM."""

    max_perplexity: float = Field(2.5, gt=1, description="tokens above it are left out")
    normalize: bool = Field(
        False, description="average over the batch's remaining tokens, as label masking does"
    )

    @property
    def needs(self) -> frozenset[str]:
        """The mask comes from θ0."""
        return frozenset({"reference_nll"})

    @property
    def whole_batch(self) -> bool:
        """Normalization counts the remaining tokens of the global batch."""
        return self.normalize


def stm_weights(reference_nll: Tensor, *, max_perplexity: float = 2.5) -> Tensor:
    """Token weights 1[exp(ℓ(θ0)) ≤ max_perplexity] (arXiv 2501.14315).

    Args:
        reference_nll: [N] float32 nats under θ0.
        max_perplexity: > 1 (paper: 2.5).

    Returns:
        [N] float32, 0 or 1, detached.
    """
    return (reference_nll.detach() <= math.log(max_perplexity)).to(reference_nll.dtype)


def _weights(batch: TokenBatch, options: StmOptions) -> Tensor:
    assert batch.reference_nll is not None, "StmOptions.needs asks for it"
    weights = stm_weights(batch.reference_nll, max_perplexity=options.max_perplexity)
    return mean_one(weights) if options.normalize else weights


METHOD = Method(
    name="stm",
    source="arXiv 2501.14315",
    options=StmOptions,
    weights=_weights,
    remedies=({"max_perplexity": 10.0}, {"max_perplexity": 100.0}),
)
