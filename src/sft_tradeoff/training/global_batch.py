"""Statistics of the global batch, however it is cut into micro-batches and over ranks."""

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
class Known:
    """Losses known before a step, by place in the training data's ``input_ids``.

    Args:
        reference_nll: [ΣT] float32 nats under θ0, NaN where not supervised.
        reference_median: See :class:`TokenBatch`.
        old_nll: [ΣT] float32 nats under the model of the last refresh, NaN where not computed.
    """

    reference_nll: torch.Tensor | None = None
    reference_median: float | None = None
    old_nll: torch.Tensor | None = None


def join(batches: list[Batch], losses: list[TokenLoss], known: Known) -> TokenBatch:
    """Statistics of some micro-batches of one global batch, on the CPU."""
    place = torch.cat([batch.token for batch in batches]).cpu()
    entropies = [loss.entropy_top20 for loss in losses if loss.entropy_top20 is not None]
    return TokenBatch(
        nll=torch.cat([loss.nll for loss in losses]).detach().cpu(),
        sequence=torch.cat([batch.sequence for batch in batches]).cpu(),
        reference_nll=None if known.reference_nll is None else known.reference_nll[place],
        reference_median=known.reference_median,
        old_nll=None if known.old_nll is None else known.old_nll[place],
        entropy_top20=torch.cat(entropies).cpu() if entropies else None,
    )


def gather(local: TokenBatch, accelerator: Accelerator) -> tuple[TokenBatch, int]:
    """Statistics of the global batch in one order on every rank, and where this rank's begin."""
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


def unlabeled(batch: Batch) -> Batch:
    """A micro-batch without its labels: its loss and its gradients are zero."""
    per_label = ("positions", "labels", "sequence", "token")
    return dataclasses.replace(batch, **{name: getattr(batch, name)[:0] for name in per_label})
