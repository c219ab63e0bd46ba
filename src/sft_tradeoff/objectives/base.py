"""What a method is: the hooks that training, reference statistics and merging call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sft_tradeoff.system.strict import Settings

if TYPE_CHECKING:
    from torch import Tensor

Parameterization = Literal["full", "adapter"]
TOP = 20  # likeliest tokens over which ``TokenBatch.entropy_top20`` is taken


class Options(Settings):
    """Base class of a method's hyperparameters."""

    @property
    def needs(self) -> frozenset[str]:
        """Statistics of :class:`TokenBatch` that these options need in addition to ``nll``.

        ``reference_nll`` adds the reference stage to the workflow; ``old_nll`` and
        ``entropy_top20`` are computed during training.
        """
        return frozenset()

    @property
    def whole_batch(self) -> bool:
        """Whether a token's weight depends on other sequences of the global batch.

        If it does and the batch is split into micro-batches, all losses are computed once more
        before the first backward pass.
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
        entropy_top20: [N] float32, nats, entropy of the current model's 20 likeliest tokens,
            renormalized.
    """

    nll: Tensor
    sequence: Tensor
    reference_nll: Tensor | None = None
    reference_median: float | None = None
    old_nll: Tensor | None = None
    entropy_top20: Tensor | None = None


@dataclass(frozen=True)
class Method:
    """One way to fine-tune; a hook that is None is left out of the loss or the workflow.

    loss = (Σ w·nll + Σ penalty) / N + parameter penalty, over the N tokens of the global batch.

    Args:
        name: Name used in studies.
        source: Paper (and equation) of the method.
        options: Hyperparameters with defaults and ranges.
        weights: Detached token weights [N].
        diagnostics: Scalars to log at every step (e.g. TALR's τ).
        penalty: Differentiable penalty [N] from the log-probabilities [N, V] of the current model
            and of θ0 at the supervised tokens; training then runs θ0 as well.
        parameter_penalty: From some of the parameters and their values in θ0, the penalty [] and
            its gradient (same shape); in pieces, so that no second full gradient exists.
        adapter: Keywords for peft's adapter configuration, for methods that train adapters.
        merge: Computes one final tensor from θ0's and another run's; nothing is trained.
        remedies: Options that give hard tokens more weight, each set alone; suggested if the
            answer gets too little.
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
    remedies: tuple[Mapping[str, Any], ...] = ()

    @property
    def parameterization(self) -> Parameterization:
        """What is trained; adapters use separate learning rates."""
        return "adapter" if self.adapter else "full"


def sequence_means(nll: Tensor, sequence: Tensor) -> tuple[Tensor, Tensor]:
    """Mean loss of each sequence that has supervised tokens.

    Args:
        nll: [N] nats.
        sequence: [N] int64; the numbers need not be contiguous.

    Returns:
        Means [≤ B], and for each token the index of its sequence's mean [N].
    """
    _, position, count = sequence.unique(return_inverse=True, return_counts=True)
    return nll.new_zeros(len(count)).index_add(0, position, nll) / count, position


def mean_one(weights: Tensor) -> Tensor:
    """Rescale weights [N] to mean one; if all are zero, they stay zero."""
    mean = weights.mean()
    return weights / mean if mean > 0 else weights
