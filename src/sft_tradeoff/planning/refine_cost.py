"""What refinement can add to the cost of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def refinement_text(costs: Sequence[Mapping[str, Any]], most: Sequence[Mapping[str, Any]]) -> str:
    """Return what refinement adds at most: the difference of two estimates.

    Args:
        costs: The estimate of each model for the study's own rates.
        most: The same with all rates that refinement can add.
    """

    def more(key: str) -> float:
        return sum(b[key] - a[key] for a, b in zip(costs, most, strict=True))

    return (
        "This is for the study's own learning rates. Refinement adds at most (two rates per method "
        f"and round) {more('n_trained'):.0f} runs ({more('n_averaged'):.0f} averages), "
        f"{more('training'):.1f} GPU-h of training and {more('evaluation'):.1f} of evaluation."
    )
