"""DFT, dynamic fine-tuning (arXiv 2508.05629): weight each token by its probability.

loss = Σ sg[pᵢ]·ℓᵢ / N. With the weight p held constant, the gradient of p·(−log p) is −∇p, without
the factor 1/p by which the likelihood emphasizes rare tokens. Same as TALR with τ = 1 and no floor.
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
