"""How wide a batch is, and which rows share one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass


# Matrix units read tiles: passes of odd widths take up to half as long again.
WIDTH_UNIT = 8


def padded_width(longest: int) -> int:
    """Columns of a batch whose longest row has so many tokens."""
    return math.ceil(longest / WIDTH_UNIT) * WIDTH_UNIT


def length_batches(lengths: np.ndarray, batch_tokens: int) -> Iterator[np.ndarray]:
    """Group rows of like length, longest first, so that rows × longest ≤ ``batch_tokens``.

    The longest come first, so that memory runs out at the start or never.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]]))
        yield order[start : start + size]
        start += size
