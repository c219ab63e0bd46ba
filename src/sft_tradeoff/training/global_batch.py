"""Statistics of the global batch, however it is split into micro-batches and across ranks.

A rank is one of the processes that train together, each on its share of the batch.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object

from sft_tradeoff.objectives.base import TokenBatch

if TYPE_CHECKING:
    from accelerate import Accelerator

    from sft_tradeoff.training.batching import Batch
    from sft_tradeoff.training.token_loss import TokenLoss


@dataclasses.dataclass
class KnownLosses:
    """Losses known before a step, indexed by position in the training data's ``input_ids``.

    Args:
        reference_nll: [ΣT] float32 nats under θ0, NaN where not supervised.
        reference_median: See :class:`TokenBatch`.
        old_nll: [ΣT] float32 nats under the model of the last refresh, NaN where not computed.
    """

    reference_nll: torch.Tensor | None = None
    reference_median: float | None = None
    old_nll: torch.Tensor | None = None


def join(batches: list[Batch], losses: list[TokenLoss], known: KnownLosses) -> TokenBatch:
    """Concatenate the statistics of some micro-batches of one global batch, on the CPU."""
    position = torch.cat([batch.token for batch in batches]).cpu()  # (N,)
    entropies = [loss.entropy_top20 for loss in losses if loss.entropy_top20 is not None]
    return TokenBatch(
        nll=torch.cat([loss.nll for loss in losses]).detach().cpu(),
        sequence=torch.cat([batch.sequence for batch in batches]).cpu(),
        reference_nll=None if known.reference_nll is None else known.reference_nll[position],
        reference_median=known.reference_median,
        old_nll=None if known.old_nll is None else known.old_nll[position],
        entropy_top20=torch.cat(entropies).cpu() if entropies else None,
    )


def gather(local: TokenBatch, accelerator: Accelerator) -> tuple[TokenBatch, int]:
    """Collect the statistics of the global batch, in the same order on every rank.

    Returns:
        The statistics [N], and the index at which this rank's begin.
    """
    if accelerator.num_processes == 1:
        return local, 0
    parts: list[TokenBatch] = gather_object([local])
    start = sum(len(part.nll) for part in parts[: accelerator.process_index])
    columns: dict[str, Any] = {}
    for field in dataclasses.fields(TokenBatch):
        values = [getattr(part, field.name) for part in parts]
        tensors = isinstance(values[0], torch.Tensor)
        columns[field.name] = torch.cat(values) if tensors else values[0]
    return TokenBatch(**columns), start


def gather_values(local: torch.Tensor, accelerator: Accelerator) -> torch.Tensor:
    """Concatenate one value per token over all ranks, in the order of :func:`gather`."""
    if accelerator.num_processes == 1:
        return local
    return torch.cat(gather_object([local]))


def unlabeled(batch: Batch) -> Batch:
    """Return a micro-batch without its labels: its loss and its gradients are zero."""
    per_label = ("positions", "labels", "sequence", "token")
    return dataclasses.replace(batch, **{name: getattr(batch, name)[:0] for name in per_label})
