"""KL-Reg: stay close to θ0's distribution on the response tokens.

loss = Σ (ℓᵢ + β·KLᵢ) / N, with KLᵢ over the whole vocabulary at the position that predicts token i.
The paper fixes neither the direction nor β; both are our choice.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options

if TYPE_CHECKING:
    from torch import Tensor

Direction = Literal["forward", "reverse"]


class KlRegOptions(Options):
    """Options of KL-Reg."""

    beta: float = Field(0.1, ge=0, le=1e6, description="strength β; 0 is SFT")
    direction: Direction = Field(
        "forward", description="forward: KL(θ0‖θ), covers θ0; reverse: KL(θ‖θ0)"
    )


def kl_divergence(
    log_probabilities: Tensor, reference: Tensor, *, direction: Direction = "forward"
) -> Tensor:
    """Kullback-Leibler divergence between the model and θ0 at each token.

    Args:
        log_probabilities: [N, V] of the current model.
        reference: [N, V] log-probabilities of θ0.
        direction: ``forward`` KL(θ0‖θ) = Σ p₀ (log p₀ − log p); ``reverse`` KL(θ‖θ0).

    Returns:
        [N] nats ≥ 0 up to rounding, differentiable in ``log_probabilities``.
    """
    from torch import linalg  # imported here so that importing the registry stays fast

    first, second = reference, log_probabilities
    if direction == "reverse":
        first, second = second, first
    probability = first.exp()  # (N, V)
    if first.amin() > -math.inf and second.amin() > -math.inf:
        # Cross-entropy minus entropy: half as many passes over [N, V] as the general form.
        return linalg.vecdot(probability, first) - linalg.vecdot(probability, second)
    # Where p = 0, p·log p is 0, but 0·(−∞) is NaN.
    return (probability * (first - second).where(probability > 0, 0.0)).sum(-1)


def _penalty(log_probabilities: Tensor, reference: Tensor, options: KlRegOptions) -> Tensor:
    return options.beta * kl_divergence(log_probabilities, reference, direction=options.direction)


METHOD = Method(
    name="kl_reg",
    source="KL regularization to θ0 (motivation: arXiv 2509.04259)",
    options=KlRegOptions,
    penalty=_penalty,
)
