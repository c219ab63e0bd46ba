"""What a method is: the seams at which training, reference statistics and merging attach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor


class Options(BaseModel):
    """Base of a method's hyperparameters: immutable, unknown keys refused, ranges in the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def needs(self) -> frozenset[str]:
        """Fields of :class:`TokenBatch` beyond ``nll`` that these options read.

        ``reference_nll`` adds the reference stage to the DAG.
        """
        return frozenset()


@dataclass(frozen=True)
class TokenBatch:
    """Detached statistics of the N supervised tokens of one *global* batch of B sequences.

    Args:
        nll: [N] float32, nats, under the current model.
        sequence: [N] int64 in [0, B), the sequence each token belongs to.
        reference_nll: [N] float32, nats, under θ0; only for methods that need it.
        entropy: [N] float32, nats, under the current model; only for methods that need it.
    """

    nll: Tensor
    sequence: Tensor
    reference_nll: Tensor | None = None
    entropy: Tensor | None = None


@dataclass(frozen=True)
class Method:
    """One way to fine-tune.

    Args:
        name: Name used in studies.
        source: Paper (and equation) of the method.
        options: Hyperparameters with defaults and ranges.
        weights: Token weights [N] of a global batch (detached); loss = Σ w·nll / N. None: all ones.
        parameterisation: ``full`` trains every weight, ``adapter`` trains peft adapters; each has
            its own learning rates.
        diagnostics: Scalars worth logging at every step (e.g. TALR's τ).
        penalty: Differentiable addition to the loss from the live logits of supervised tokens
            (KL-type methods). None: no addition.
        merge: Builds the final weights from (θ0, trained weights) after another method's run
            (Wise-FT-type methods, which need no training of their own). None: trained directly.
    """

    name: str
    source: str
    options: type[Options]
    weights: Callable[[TokenBatch, Any], Tensor] | None = None
    parameterisation: Literal["full", "adapter"] = "full"
    diagnostics: Callable[[TokenBatch, Any], dict[str, float]] | None = None
    penalty: Callable[..., Tensor] | None = None
    merge: Callable[..., Tensor] | None = None
