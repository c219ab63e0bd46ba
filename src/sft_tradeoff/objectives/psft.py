"""PSFT, proximal SFT (arXiv 2508.17784): PPO's clipped ratio with advantage one.

maximize Σ min(rᵢ, clip(rᵢ, 1−ε_low, 1+ε_high)) / N with rᵢ = π_θ(xᵢ)/π_old(xᵢ). Its gradient is
that of −Σ sg[wᵢ]·ℓᵢ / N with wᵢ = rᵢ where rᵢ ≤ 1+ε_high and 0 above. The lower clip never acts,
because below it the minimum is rᵢ itself; therefore ε_low is not an option here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options, TokenBatch
from sft_tradeoff.system.strict import MOST

if TYPE_CHECKING:
    from torch import Tensor


class PsftOptions(Options):
    """Options of PSFT."""

    clip_high: float = Field(0.28, gt=0, description="a token stops teaching above 1 + clip_high")
    refresh_every: int = Field(
        8, ge=1, le=MOST, description="optimizer steps between refreshes of π_old"
    )

    @property
    def needs(self) -> frozenset[str]:
        """Losses under the model of the last refresh."""
        return frozenset({"old_nll"})


def psft_weights(nll: Tensor, old_nll: Tensor, *, clip_high: float = 0.28) -> Tensor:
    """Token weights r·1[r ≤ 1 + ε_high], r = exp(ℓ_old − ℓ) (arXiv 2508.17784).

    Args:
        nll: [N] float32 nats under the current model.
        old_nll: [N] float32 nats under π_old.
        clip_high: ε_high > 0 (paper: 0.28).

    Returns:
        [N] float32 in [0, 1 + clip_high], detached.
    """
    ratio = (old_nll - nll).detach().exp()  # (N,)
    return ratio.where(ratio <= 1 + clip_high, 0.0)


def _weights(batch: TokenBatch, options: PsftOptions) -> Tensor:
    assert batch.old_nll is not None, "PsftOptions.needs asks for it"
    return psft_weights(batch.nll, batch.old_nll, clip_high=options.clip_high)


def _diagnostics(batch: TokenBatch, options: PsftOptions) -> dict[str, float]:
    return {"share_clipped": (_weights(batch, options) == 0).float().mean().item()}


METHOD = Method(
    name="psft",
    source="arXiv 2508.17784",
    options=PsftOptions,
    weights=_weights,
    diagnostics=_diagnostics,
)
