"""The small distributions of the claims and the figure: four tokens, four batches of four examples.

The numbers are ours and stand for nothing in particular: θ0 is close to general text, and the
domain's commonest token is rare there. The data set is the domain: no other text is tested.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from sft_tradeoff.theory.equal_gain import Tilting, fixed_target, moving_targets, smoothed

GENERAL = np.array([0.50, 0.30, 0.15, 0.05])
START = np.array([0.46, 0.28, 0.18, 0.08])
COUNTS = np.array([[0, 0, 1, 3], [1, 0, 1, 2], [0, 0, 0, 4], [0, 2, 1, 1]])  # batch, token
PSEUDO_COUNT = 0.25
FIXED, MOVING = "fixed target", "moving target"


def example() -> Mapping[str, Tilting]:
    """The same data as one target for all steps, and as one target per batch, in all 24 orders."""
    batches, domain = smoothed(COUNTS, PSEUDO_COUNT), COUNTS.sum(0) / COUNTS.sum()
    targets = {FIXED: fixed_target(batches), MOVING: moving_targets(batches)}
    return {name: Tilting(START, GENERAL, domain, found) for name, found in targets.items()}


def doublings(most: int) -> list[int]:
    """Numbers of steps: 1, 2, 4 … up to the given one."""
    return [2**i for i in range(most.bit_length()) if 2**i <= most]
