"""TALR, token-adaptive loss reweighting (arXiv 2509.20758, section 4).

minimize over w on the simplex  Σ wᵢ ℓᵢ(θ) + τ Σ wᵢ log wᵢ   ⇒   wᵢ ∝ exp(−ℓᵢ/τ) = p_θ(xᵢ)^{1/τ}

The weights are constant within a step (stop-gradient) and have a floor, so hard tokens still count.
With τ = 1 and no floor they are exactly DFT's w = p.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from sft_tradeoff.objectives.base import Method, Options, TokenBatch, mean_one, sequence_means

if TYPE_CHECKING:
    from torch import Tensor

# For a batch that the model has memorized, τ → 0, where exp(−ℓ/τ) is undefined. At this minimum
# (nats) the weights of tokens with ℓ ≪ 1e-4 stay near one.
MIN_TAU = 1e-4


class TalrOptions(Options):
    """Options of TALR; the defaults follow section 4 of the paper."""

    tau: Literal["median", "mean"] | float = Field(
        "median", description="temperature in nats: a statistic of the global batch, or fixed > 0"
    )
    quantile: float | None = Field(
        None, gt=0, lt=1, description="use this quantile of the losses instead of tau"
    )
    level: Literal["sequence", "token", "each_sequence"] = Field(
        "sequence",
        description="take the statistic over sequences' mean losses, or over tokens; "
        "each_sequence: every sequence has its own mean loss as τ (with tau: mean)",
    )
    floor: float = Field(0.01, ge=0, le=1, description="smallest weight")
    normalize: bool = Field(False, description="rescale the weights to mean one")
    top_k: float | None = Field(
        None, gt=0, le=1, description="hard selection: this share of tokens weighs 1, others floor"
    )
    frozen: bool = Field(False, description="weights from θ0's losses instead of the current ones")

    @property
    def needs(self) -> frozenset[str]:
        """Frozen weights read θ0's losses."""
        return frozenset({"reference_nll"}) if self.frozen else frozenset()

    @property
    def whole_batch(self) -> bool:
        """Yes, unless no other sequence is read for τ, and weights are not rescaled or ranked."""
        fixed = isinstance(self.tau, float) and self.quantile is None
        alone = fixed or self.level == "each_sequence"
        return not alone or self.normalize or self.top_k is not None

    def model_post_init(self, _context: object) -> None:
        """Refuse a temperature that is not positive, or that would not be used."""
        if isinstance(self.tau, float) and not self.tau > 0:
            raise ValueError(f"tau {self.tau} must be > 0, or 'median' or 'mean'")
        if self.quantile is not None and self.tau != "median":
            raise ValueError(f"quantile {self.quantile} replaces tau {self.tau}; give one of them")
        if self.level == "each_sequence" and (self.tau, self.quantile) != ("mean", None):
            raise ValueError(
                f"level 'each_sequence' takes every sequence's mean loss, not tau {self.tau!r}"
                f"{'' if self.quantile is None else f' or quantile {self.quantile}'}; set tau: mean"
            )
        temperature = (self.tau, self.quantile, self.level)
        if self.top_k is not None and temperature != ("median", None, "sequence"):
            raise ValueError(
                f"top_k {self.top_k} does not use a temperature; remove tau, quantile and level"
            )


def talr_temperature(
    nll: Tensor,
    sequence: Tensor,
    *,
    tau: str | float = "median",
    quantile: float | None = None,
    level: str = "sequence",
) -> Tensor:
    """Temperature τ of one global batch.

    The paper's "median" works only over sequences' mean losses: most tokens have a loss near zero,
    so the median over tokens is near zero too (``level="token"`` exists to show this).

    Args:
        nll: [N] float32 nats of the supervised tokens of the global batch.
        sequence: [N] int64, the sequence of each token.
        tau: ``"median"`` or ``"mean"`` of the losses, or a fixed temperature in nats.
        quantile: In (0, 1); replaces the statistic named by ``tau``.
        level: ``"sequence"``: statistic over per-sequence mean losses; ``"token"``: over tokens;
            ``"each_sequence"``: the mean loss of the token's own sequence.

    Returns:
        [] float32 nats, at least ``MIN_TAU``; with ``each_sequence`` [N], one for each token.
    """
    if level == "each_sequence":
        means, position = sequence_means(nll, sequence)  # [≤ B], [N]
        return means.clamp(min=MIN_TAU)[position]
    if quantile is None and not isinstance(tau, str):
        return nll.new_tensor(tau).clamp(min=MIN_TAU)
    losses = nll if level == "token" else sequence_means(nll, sequence)[0]  # [N] or [≤ B]
    if quantile is None and tau == "mean":
        return losses.mean().clamp(min=MIN_TAU)
    return _quantile(losses, 0.5 if quantile is None else quantile).clamp(min=MIN_TAU)


def _quantile(values: Tensor, q: float) -> Tensor:
    """Linearly interpolated quantile; ``Tensor.quantile`` refuses more than 16 M elements."""
    ordered = values.sort().values
    rank = q * (len(ordered) - 1)
    low = int(rank)
    high = math.ceil(rank)  # = low for a whole rank, where an infinite neighbor must not count
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


def talr_weights(
    nll: Tensor,
    sequence: Tensor,
    *,
    tau: str | float = "median",
    floor: float = 0.01,
    normalize: bool = False,
    quantile: float | None = None,
    level: str = "sequence",
    top_k: float | None = None,
) -> Tensor:
    """Token weights max(exp(−ℓ/τ), floor) of one global batch (arXiv 2509.20758, section 4).

    Args:
        nll: [N] float32 nats.
        sequence: [N] int64, the sequence of each token.
        tau: See :func:`talr_temperature`.
        floor: In [0, 1], the smallest weight (paper: 0.01).
        normalize: Rescale to mean one, so that clipping and step size compare with plain SFT.
        quantile: See :func:`talr_temperature`.
        level: See :func:`talr_temperature`.
        top_k: In (0, 1]; weigh the ⌈top_k·N⌉ tokens of smallest loss 1 and the rest ``floor``
            (our reading of "top-k TALR": tokens in the same order, with a hard threshold).

    Returns:
        [N] float32, detached.
    """
    nll = nll.detach()
    if top_k is not None:
        n_kept = max(1, math.ceil(top_k * len(nll) - 1e-9))
        kept = nll.argsort(stable=True)[:n_kept]
        weights = nll.new_full(nll.shape, floor).index_fill(0, kept, 1.0)  # [N]
    else:
        temperature = talr_temperature(nll, sequence, tau=tau, quantile=quantile, level=level)
        weights = (-nll / temperature).exp().clamp(min=floor)  # [N]
    return mean_one(weights) if normalize else weights


def _losses(batch: TokenBatch, options: TalrOptions) -> Tensor:
    if not options.frozen:
        return batch.nll
    assert batch.reference_nll is not None, "TalrOptions.needs asks for it"
    return batch.reference_nll


def _weights(batch: TokenBatch, options: TalrOptions) -> Tensor:
    keywords = options.model_dump(exclude={"frozen"})
    return talr_weights(_losses(batch, options), batch.sequence, **keywords)


def _diagnostics(batch: TokenBatch, options: TalrOptions) -> dict[str, float]:
    if options.top_k is not None:
        return {}
    keywords = options.model_dump(include={"tau", "quantile", "level"})
    found = talr_temperature(_losses(batch, options), batch.sequence, **keywords)
    return {"tau": found.mean().item()}  # over tokens, if sequences have their own


METHOD = Method(
    name="talr",
    source="arXiv 2509.20758, section 4",
    options=TalrOptions,
    weights=_weights,
    diagnostics=_diagnostics,
    remedies=(
        {"floor": 0.1},
        {"tau": 1.0, "quantile": None, "level": "sequence", "top_k": None},
    ),
)
