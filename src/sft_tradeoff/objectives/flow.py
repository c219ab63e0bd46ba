"""FLOW (arXiv 2502.02797): give more weight to samples that θ0 finds easy, with fixed weights.

loss = Σ exp(−fᵢ/τ)·ℓ / N with fᵢ the mean loss of sample i under θ0 and τ the median of f over the
training set. At token level, f is each token's own loss under θ0; with a fixed τ that is TALR with
frozen weights and no floor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options, TokenBatch, sequence_means

if TYPE_CHECKING:
    from torch import Tensor

MIN_TAU = 1e-4  # nats; for a training set that θ0 has memorized, τ → 0


class FlowOptions(Options):
    """Options of FLOW."""

    tau: Literal["median"] | float = Field(
        "median", description="temperature in nats: the training set's median, or fixed > 0"
    )
    level: Literal["sample", "token"] = Field(
        "sample", description="weigh whole samples, or tokens by their own loss under θ0"
    )

    @property
    def needs(self) -> frozenset[str]:
        """All weights are computed from θ0's losses."""
        return frozenset({"reference_nll"})

    def model_post_init(self, _context: object) -> None:
        """Refuse a temperature that is not positive."""
        if isinstance(self.tau, float) and not self.tau > 0:
            raise ValueError(f"tau {self.tau} must be > 0, or 'median'")


def flow_weights(reference_mean_nll: Tensor, *, tau: float) -> Tensor:
    """Weights exp(−f/τ) (arXiv 2502.02797).

    Args:
        reference_mean_nll: [B] float32 nats, mean loss of each sequence under θ0 (at token level:
            [N], each token's own).
        tau: Temperature in nats, at least ``MIN_TAU`` is used.

    Returns:
        Shape of the input, float32 in [0, 1], detached.
    """
    return (-reference_mean_nll.detach() / max(tau, MIN_TAU)).exp()


def _weights(batch: TokenBatch, options: FlowOptions) -> Tensor:
    assert batch.reference_nll is not None, "FlowOptions.needs asks for it"
    tau = _temperature(batch, options)
    if options.level == "token":
        return flow_weights(batch.reference_nll, tau=tau)
    means, position = sequence_means(batch.reference_nll, batch.sequence)  # (≤B,), (N,)
    return flow_weights(means, tau=tau)[position]


def _temperature(batch: TokenBatch, options: FlowOptions) -> float:
    assert batch.reference_median is not None, "it comes with reference_nll"
    return batch.reference_median if options.tau == "median" else float(options.tau)


def _diagnostics(batch: TokenBatch, options: FlowOptions) -> dict[str, float]:
    return {"tau": _temperature(batch, options)}


METHOD = Method(
    name="flow",
    source="arXiv 2502.02797",
    options=FlowOptions,
    weights=_weights,
    diagnostics=_diagnostics,
    remedies=({"level": "sample"},),
)
