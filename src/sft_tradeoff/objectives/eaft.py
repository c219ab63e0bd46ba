"""EAFT, entropy-adaptive fine-tuning (arXiv 2601.02151): learn where the model is unsure.

loss = Σ sg[(Hᵢ / ln 20)^α]·ℓᵢ / N, with Hᵢ the entropy of the 20 likeliest tokens, renormalized.
Where the model is confident but wrong ("confident conflict"), H is low and the token weighs little.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import Field

from sft_tradeoff.objectives.base import TOP, Method, Options, TokenBatch

if TYPE_CHECKING:
    from torch import Tensor


class EaftOptions(Options):
    """Options of EAFT."""

    alpha: float = Field(
        1.0, ge=0, le=100, description="exponent of the normalized entropy; 0 is SFT"
    )

    @property
    def needs(self) -> frozenset[str]:
        """The entropy, computed with the loss from the same logits."""
        return frozenset({"entropy_top20"})


def eaft_weights(entropy_top20: Tensor, *, alpha: float = 1.0) -> Tensor:
    """Token weights (H / ln 20)^α (arXiv 2601.02151).

    Args:
        entropy_top20: [N] float32 nats, of the 20 likeliest tokens, renormalized: in [0, ln 20].
        alpha: ≥ 0.

    Returns:
        [N] float32 in [0, 1], detached.
    """
    return (entropy_top20.detach() / math.log(TOP)).clamp(0.0, 1.0).pow(alpha)


def _weights(batch: TokenBatch, options: EaftOptions) -> Tensor:
    assert batch.entropy_top20 is not None, "EaftOptions.needs asks for it"
    return eaft_weights(batch.entropy_top20, alpha=options.alpha)


METHOD = Method(
    name="eaft",
    source="arXiv 2601.02151",
    options=EaftOptions,
    weights=_weights,
    remedies=({"alpha": 0.5},),
)
