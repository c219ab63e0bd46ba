"""What a method adds to an optimizer step: token weights, a parameter penalty, and log entries.

The loss of a global batch with N supervised tokens is

    (Σ wᵢ·nllᵢ + Σ penaltyᵢ) / N + parameter penalty.

The weights w are constants: no gradient flows through them. Some methods need the whole global
batch to compute one weight (TALR's temperature is a median over its sequences), but memory forces
us to process it in micro-batches, and several processes (ranks) may each see only a part. This
module gives every token the weight it would have if the batch were processed in one piece.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from sft_tradeoff.training.global_batch import KnownLosses, gather, gather_values, join

if TYPE_CHECKING:
    from accelerate import Accelerator

    from sft_tradeoff.objectives.base import Method
    from sft_tradeoff.training.batching import Batch
    from sft_tradeoff.training.token_log import TokenLog
    from sft_tradeoff.training.token_loss import TokenLoss

logger = logging.getLogger(__name__)
EASY_PROBABILITY = 0.2  # the paper counts tokens with p > 0.2 as learned
PIECE = 2**18  # parameters per call of a parameter penalty; in float32, about one core's cache


class Weighing:
    """Token weights of a method, computed once per step and then both used and logged.

    Args:
        method: The method.
        options: Its hyperparameters.
        known: Losses known before the step.
        accelerator: Connects the ranks.
    """

    def __init__(
        self, method: Method, options: Any, known: KnownLosses, accelerator: Accelerator
    ) -> None:
        self.method, self.options, self.known = method, options, known
        self.accelerator = accelerator
        self.token_log: TokenLog | None = None  # keeps the losses of single tokens

    def look_ahead(
        self, batches: list[Batch], loss_of: Callable[[Batch], TokenLoss]
    ) -> list[torch.Tensor] | None:
        """Weights [N] per micro-batch that must be known before the first backward pass.

        Needed only if weights depend on the whole global batch and it is split into micro-batches.
        It costs one more forward pass: keeping the activations of the first one for the backward
        passes would need the very memory that splitting saves.

        Args:
            batches: This rank's micro-batches.
            loss_of: Computes the loss of a micro-batch.

        Returns:
            None if the weights can be computed from each micro-batch's own loss.
        """
        if len(batches) == 1 or not (self.method.weights and self.options.whole_batch):
            return None
        with torch.no_grad():
            return self.weights(batches, [loss_of(batch) for batch in batches])

    def weights(self, batches: list[Batch], losses: list[TokenLoss]) -> list[torch.Tensor]:
        """Weights [N] float32 per micro-batch, on the device of its loss.

        Args:
            batches: Micro-batches of this rank; all of them if the method needs the global batch.
            losses: Their losses.
        """
        if self.method.weights is None:
            return [torch.ones_like(loss.nll) for loss in losses]
        statistics, start = join(batches, losses, self.known), 0
        n_local = len(statistics.nll)
        if self.options.whole_batch:
            statistics, start = gather(statistics, self.accelerator)
        weights = self.method.weights(statistics, self.options)[start : start + n_local]
        return list(weights.to(losses[0].nll.device).split([len(loss.nll) for loss in losses]))

    def record(
        self,
        step: int,
        batches: list[Batch],
        losses: list[TokenLoss],
        weights: list[torch.Tensor],
    ) -> dict[str, float]:
        """Log entry of a step, over the global batch; every rank must call it and gets the same.

        Args:
            step: From 0.
            batches: This rank's micro-batches.
            losses: Their losses.
            weights: Those that the loss used.
        """
        statistics, _ = gather(join(batches, losses, self.known), self.accelerator)
        nll = statistics.nll  # (N,)
        if self.token_log:
            position = torch.cat([batch.token for batch in batches]).cpu()
            self.token_log.add(gather_values(position, self.accelerator), nll)
        weight = torch.ones_like(nll)  # (N,)
        if self.method.weights:
            weight = gather_values(torch.cat(weights).cpu(), self.accelerator)
        record = {
            "step": step,
            "nll": nll.mean().item(),
            "loss": (weight * nll).mean().item(),
            "mean_weight": weight.mean().item(),
            "share_easy": (nll < -math.log(EASY_PROBABILITY)).float().mean().item(),
        }
        if self.method.penalty or self.method.parameter_penalty:
            record["penalty"] = self._mean_penalty(losses, len(nll))
            record["loss"] += record["penalty"]
        if record["mean_weight"] == 0:
            logger.warning("step %d teaches nothing: every token has weight 0", step + 1)
        if self.method.diagnostics:
            record |= self.method.diagnostics(statistics, self.options)
        return record

    def _mean_penalty(self, losses: list[TokenLoss], n_tokens: int) -> float:
        """Mean penalty per token of the global batch; 0 for a method without one."""
        found = [loss.penalty.sum() for loss in losses if loss.penalty is not None]
        if not found:
            return 0.0
        total: float = self.accelerator.reduce(torch.stack(found).sum(), "sum").item()
        return total / n_tokens


def pull_parameters(
    masters: list[torch.Tensor],
    initial: list[torch.Tensor],
    penalty: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
) -> torch.Tensor:
    """Add the gradient of a parameter penalty to the parameters' gradients, in place.

    Works on a few parameters at a time, so that they stay in the CPU's cache and no second full
    gradient exists.

    Args:
        masters: Parameters with gradients; of a sharded model, this rank's shards.
        initial: Their values in θ0.
        penalty: From a piece of the parameters and its value in θ0, the penalty [] and its gradient
            (:attr:`Method.parameter_penalty`).

    Returns:
        [] float32, the penalty of these parameters.
    """
    total = torch.zeros((), device=masters[0].device)
    for master, start in zip(masters, initial, strict=True):
        assert master.grad is not None
        pieces = (tensor.view(-1).split(PIECE) for tensor in (master, start, master.grad))
        for parameter, origin, gradient in zip(*pieces, strict=True):
            value, pull = penalty(parameter, origin)
            gradient += pull
            total += value
    return total
