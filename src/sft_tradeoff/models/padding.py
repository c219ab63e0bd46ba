"""How wide a padded batch is, and which examples share one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

# Matrix units process tiles: forward and backward passes of other widths take up to 50 % longer.
WIDTH_UNIT = 8


def padded_width(longest: int) -> int:
    """Columns of a batch whose longest row has ``longest`` tokens."""
    return math.ceil(longest / WIDTH_UNIT) * WIDTH_UNIT


def length_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Group rows of similar length, so that rows × longest ≤ ``batch_tokens``.

    The longest come first, so that memory runs out at the start or never.

    Args:
        lengths: [n] tokens per row.
        batch_tokens: Largest number of padded tokens per batch; a longer row is a batch by itself.

    Yields:
        Indices of the rows of one batch.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size
