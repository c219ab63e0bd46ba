"""Token subset: standard SFT on the tokens that θ0 finds easy, or on those it finds hard, alone.

loss = Σ wᵢ·ℓᵢ / N with wᵢ = 1 where the token's probability under θ0 is above a threshold (easy),
or where it is not (hard), and 0 elsewhere. N counts all tokens, so the gradients of the two halves
add up to that of SFT: which half explains what (arXiv 2509.20758, section 4).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options, TokenBatch

if TYPE_CHECKING:
    from torch import Tensor

Keep = Literal["easy", "hard"]


class TokenSubsetOptions(Options):
    """Options of token subset."""

    keep: Keep = Field("hard", description="the tokens that are learned")
    threshold: float = Field(
        0.5, gt=0, lt=1, description="tokens with a larger probability under θ0 are easy"
    )

    @property
    def needs(self) -> frozenset[str]:
        """θ0 says which tokens are hard."""
        return frozenset({"reference_nll"})


def subset_weights(reference_nll: Tensor, *, keep: Keep = "hard", threshold: float = 0.5) -> Tensor:
    """Token weights 1[p(θ0) > threshold] for ``easy``, and 1 minus that for ``hard``.

    Args:
        reference_nll: [N] float32 nats under θ0.
        keep: The half that is learned.
        threshold: Probability, in (0, 1).

    Returns:
        [N] float32, 0 or 1, detached.
    """
    easy = reference_nll.detach() < -math.log(threshold)
    kept = easy if keep == "easy" else ~easy
    return kept.to(reference_nll.dtype)


def _weights(batch: TokenBatch, options: TokenSubsetOptions) -> Tensor:
    assert batch.reference_nll is not None, "TokenSubsetOptions.needs asks for it"
    return subset_weights(batch.reference_nll, keep=options.keep, threshold=options.threshold)


METHOD = Method(
    name="token_subset",
    source="arXiv 2509.20758, section 4",
    options=TokenSubsetOptions,
    weights=_weights,
)
