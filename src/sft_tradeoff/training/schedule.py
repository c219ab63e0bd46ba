"""Learning rate of each step: a function of the step alone, so that resuming needs no state."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sft_tradeoff.study.runs import RunConfig


def learning_rate_at(step: int, n_steps: int, config: RunConfig) -> float:
    """Learning rate of one step: linear warm-up, then the schedule down to zero (or constant)."""
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
