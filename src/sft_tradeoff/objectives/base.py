"""What a method is: the seams at which training, reference statistics and merging attach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

if TYPE_CHECKING:
    from torch import Tensor

Parameterization = Literal["full", "adapter"]


class Options(BaseModel):
    """Base of a method's hyperparameters: immutable, unknown keys refused, ranges in the fields.

    Infinite values are refused too: a run's JSON configuration could not hold them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        if (
            isinstance(value, bool)
            and cls.model_fields[str(info.field_name)].annotation is not bool
        ):
            raise ValueError(f"{str(value).lower()} is no number or name")
        return value

    @property
    def needs(self) -> frozenset[str]:
        """Statistics of :class:`TokenBatch` that these options read beyond ``nll``.

        ``reference_nll`` adds the reference stage to the DAG; ``old_nll`` and ``entropy_top20``
        are computed while training.
        """
        return frozenset()

    @property
    def whole_batch(self) -> bool:
        """Whether a token's weight depends on other sequences of the global batch.

        If so, and the batch is cut into micro-batches, all its losses are computed once before the
        first backward pass.
        """
        return False


@dataclass(frozen=True)
class TokenBatch:
    """Detached statistics of the N supervised tokens of one *global* batch of B sequences.

    Args:
        nll: [N] float32, nats, under the current model.
        sequence: [N] int64 in [0, B), the sequence each token belongs to.
        reference_nll: [N] float32, nats, under θ0.
        reference_median: nats, median over the training set of the sequences' mean ``nll`` under
            θ0; comes with ``reference_nll``.
        old_nll: [N] float32, nats, under the model of an earlier step (``Options.refresh_every``).
        entropy_top20: [N] float32, nats, of the current model's 20 likeliest tokens, renormalized.
    """

    nll: Tensor
    sequence: Tensor
    reference_nll: Tensor | None = None
    reference_median: float | None = None
    old_nll: Tensor | None = None
    entropy_top20: Tensor | None = None


@dataclass(frozen=True)
class Method:
    """One way to fine-tune; every seam that is None is left out of the loss or the workflow.

    loss = (Σ w·nll + Σ penalty) / N + parameter penalty, over the N tokens of the global batch.

    Args:
        name: Name used in studies.
        source: Paper (and equation) of the method.
        options: Hyperparameters with defaults and ranges.
        weights: Detached token weights [N].
        diagnostics: Scalars worth logging at every step (e.g. TALR's τ).
        penalty: Differentiable penalty [N] from the log-probabilities [N, V] of the current model
            and of θ0 at the supervised tokens; makes training run θ0 beside the model.
        parameter_penalty: From a piece of the parameters and its value in θ0, the penalty [] and
            its gradient (same shape); in pieces, so that no second full gradient exists.
        adapter: The keywords of peft's adapter configuration, for methods that train adapters.
        merge: Builds one final tensor from θ0's and another run's; no training of its own.
    """

    name: str
    source: str
    options: type[Options]
    weights: Callable[[TokenBatch, Any], Tensor] | None = None
    diagnostics: Callable[[TokenBatch, Any], dict[str, float]] | None = None
    penalty: Callable[[Tensor, Tensor, Any], Tensor] | None = None
    parameter_penalty: Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor]] | None = None
    adapter: Callable[[Any], dict[str, Any]] | None = None
    merge: Callable[[Tensor, Tensor, Any], Tensor] | None = None

    @property
    def parameterization(self) -> Parameterization:
        """What is trained; adapters have learning rates of their own."""
        return "adapter" if self.adapter else "full"


def sequence_means(nll: Tensor, sequence: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss of each sequence that has supervised tokens.

    Args:
        nll: [N] nats.
        sequence: [N] int64; the numbers need not be contiguous.

    Returns:
        Means [≤ B], and the place in them of each token's sequence [N].
    """
    _, position, count = sequence.unique(return_inverse=True, return_counts=True)
    return nll.new_zeros(len(count)).index_add(0, position, nll) / count, position


def mean_one(weights: Tensor) -> Tensor:
    """Rescale weights [N] to mean one; weights that are all zero stay so."""
    mean = weights.mean()
    return weights / mean if mean > 0 else weights
