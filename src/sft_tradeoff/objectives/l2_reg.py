"""L2-Reg: pull every weight back to its initial value.

loss = Σ ℓᵢ / N + λ·‖θ − θ₀‖². The norm *sums* over all trained parameters. For implementations that
average, λ is weaker by their number: at 10⁸ parameters, 1e-3 there is 1e-11 here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options

if TYPE_CHECKING:
    from torch import Tensor


class L2RegOptions(Options):
    """Options of L2-Reg."""

    strength: float = Field(1e-3, ge=0, le=1e6, description="λ; 0 is SFT")


def l2_penalty(parameter: Tensor, initial: Tensor, *, strength: float) -> tuple[Tensor, Tensor]:
    """Penalty λ‖θ − θ₀‖² of some parameters, and its gradient 2λ(θ − θ₀).

    Args:
        parameter: θ, any shape.
        initial: θ₀, same shape.
        strength: λ ≥ 0.

    Returns:
        Penalty [] and gradient (shape of ``parameter``), detached.
    """
    drift = parameter.detach() - initial
    flat = drift.flatten()
    penalty = strength * flat.dot(flat)
    return penalty, drift.mul_(2 * strength)


def _penalty(parameter: Tensor, initial: Tensor, options: L2RegOptions) -> tuple[Tensor, Tensor]:
    return l2_penalty(parameter, initial, strength=options.strength)


METHOD = Method(
    name="l2_reg",
    source="L2 regularization to the initial weights (L2-SP, arXiv 1802.01483)",
    options=L2RegOptions,
    parameter_penalty=_penalty,
)
