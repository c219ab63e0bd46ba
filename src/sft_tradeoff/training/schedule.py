"""Learning rate of each step: a function of the step alone, so that resuming needs no state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sft_tradeoff.study.runs import RunConfig


def learning_rate_at(step: int, n_steps: int, config: RunConfig) -> float:
    """Learning rate of one step: linear warm-up, then cosine, linear or no decay to zero.

    Args:
        step: From 0.
        n_steps: Of the run.
        config: Gives the peak learning rate, ``warmup_ratio`` and ``schedule``.
    """
    training = config.training
    n_warmup = math.ceil(training.warmup_ratio * n_steps)
    if step < n_warmup:
        return config.learning_rate * (step + 1) / n_warmup
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    decay = {
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "linear": 1 - progress,
        "constant": 1.0,
    }
    return config.learning_rate * decay[training.schedule]
