"""DFT, dynamic fine-tuning (arXiv 2508.05629): weigh each token by its own probability.

loss = Σ sg[pᵢ]·ℓᵢ / N. The gradient of p·(−log p) with p held constant is −∇p: rare tokens no
longer get the 1/p boost of the likelihood. TALR with τ = 1 and no floor is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sft_tradeoff.objectives.base import Method, Options, TokenBatch

if TYPE_CHECKING:
    from torch import Tensor


class DftOptions(Options):
    """DFT has no hyperparameters beyond the optimizer's."""


def dft_weights(nll: Tensor) -> Tensor:
    """Token weights p = exp(−ℓ) (arXiv 2508.05629).

    Args:
        nll: [N] float32 nats.

    Returns:
        [N] float32 in [0, 1], detached.
    """
    return (-nll.detach()).exp()


def _weights(batch: TokenBatch, options: DftOptions) -> Tensor:
    return dft_weights(batch.nll)


METHOD = Method(name="dft", source="arXiv 2508.05629", options=DftOptions, weights=_weights)
