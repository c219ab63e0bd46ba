"""Per-token loss at the supervised positions, without computing any other logits.

With a vocabulary of V = 50,000 to 260,000 tokens, the logits [B, T, V] would be by far the largest
tensor of training. Here they are computed only where there is a label, one chunk of positions at a
time, and computed again in the backward pass instead of being kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from sft_tradeoff.models.head import head_logits
from sft_tradeoff.objectives.base import TOP
from sft_tradeoff.training.batching import Batch
from sft_tradeoff.training.forward import supervised_hidden

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK = 512  # supervised tokens whose float32 logits [CHUNK, V] exist at one time
Penalty = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class TokenLoss:
    """Loss of the N supervised tokens of a micro-batch.

    Args:
        nll: [N] float32 nats, differentiable.
        penalty: [N] float32, differentiable, if requested.
        entropy_top20: [N] float32 nats, entropy of the 20 likeliest tokens, renormalized;
            detached, if requested.
    """

    nll: torch.Tensor
    penalty: torch.Tensor | None = None
    entropy_top20: torch.Tensor | None = None

    def detach(self) -> TokenLoss:
        """Return the values without their graph."""
        penalty = None if self.penalty is None else self.penalty.detach()
        return TokenLoss(self.nll.detach(), penalty, self.entropy_top20)


def token_loss(
    model: PreTrainedModel,
    batch: Batch,
    *,
    top_entropy: bool = False,
    penalty: Penalty | None = None,
    reference: PreTrainedModel | None = None,
) -> TokenLoss:
    """Loss of every supervised token of a micro-batch, and other quantities from its logits.

    Args:
        model: A causal language model.
        batch: B sequences with N supervised tokens.
        top_entropy: Also compute ``entropy_top20``.
        penalty: Maps log-probabilities [n, V] of ``model`` and ``reference`` to [n].
        reference: θ0, run without gradient; ``penalty`` needs it.
    """
    hidden = supervised_hidden(model, batch)  # (N, H)
    initial = hidden  # θ0's hidden states; a placeholder if there is no reference
    if reference is not None:
        with torch.no_grad():
            initial = supervised_hidden(reference, batch)  # (N, H)

    def chunk_loss(
        h: torch.Tensor, h0: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        found = head_logits(model, h).log_softmax(-1)  # (n, V)
        nll = torch.nn.functional.nll_loss(found, labels, reduction="none")  # (n,)
        extra = None
        if penalty is not None and reference is not None:
            with torch.no_grad():
                wanted = head_logits(reference, h0).log_softmax(-1)  # (n, V)
            extra = penalty(found, wanted)
        # Entropy last: recomputation stops once the last differentiable value is there.
        return nll, extra, _top_entropy(found) if top_entropy else None

    chunks = zip(*(t.split(CHUNK) for t in (hidden, initial, batch.labels)), strict=True)
    parts = [checkpoint(chunk_loss, *chunk, use_reentrant=False) for chunk in chunks]
    nll, extra, entropy = zip(*parts, strict=True)
    return TokenLoss(
        torch.cat(nll),
        None if extra[0] is None else torch.cat(extra),
        None if entropy[0] is None else torch.cat(entropy),
    )


def token_nll(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Negative log-likelihood [N] float32 nats of every supervised token, differentiable."""
    return token_loss(model, batch).nll


def _top_entropy(log_probabilities: torch.Tensor) -> torch.Tensor:
    """Entropy of the 20 likeliest tokens, renormalized: [n, V] → [n] nats."""
    with torch.no_grad():
        top = log_probabilities.topk(min(TOP, log_probabilities.shape[-1])).values  # (n, 20)
        top = top.log_softmax(-1)
        return -(top.exp() * top).sum(-1)


class LossModule(torch.nn.Module):
    """The loss as one module that contains everything with parameters.

    FSDP gathers the parameters outside the layers (embeddings, norm, head) for one call of this
    module and its backward pass. Therefore the head can run in chunks, and tied embeddings stay one
    tensor.

    Args:
        model: The model that is trained.
        reference: θ0, if the loss compares the model with it.
        keywords: For :func:`token_loss`.
    """

    def __init__(
        self, model: PreTrainedModel, reference: PreTrainedModel | None, **keywords: Any
    ) -> None:
        super().__init__()
        self.model, self.reference, self.keywords = model, reference, keywords

    def forward(self, batch: Batch) -> TokenLoss:
        """Return the loss of a micro-batch.

        Without labels it still runs all layers, which FSDP's exchange between ranks requires, and
        gives zero gradients.
        """
        keywords = {"reference": self.reference, **self.keywords}
        if len(batch.labels):
            return token_loss(self.model, batch, **keywords)
        one = dataclasses.replace(
            batch, positions=batch.positions.new_zeros(1), labels=batch.input_ids[0, :1]
        )
        found = token_loss(self.model, one, **keywords)
        nothing = {name: value[:0] for name, value in vars(found).items() if value is not None}
        return dataclasses.replace(found, **nothing)
