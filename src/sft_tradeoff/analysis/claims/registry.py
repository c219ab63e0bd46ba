"""The quantities that a claim can name. To add one, write a file and add it here."""

from __future__ import annotations

from sft_tradeoff.analysis.claims import (
    curriculum,
    divergence,
    epochs,
    frontiers,
    hard_tokens,
    methods,
    moved_tokens,
    ranges,
    rates,
    scored,
    seeds,
    theory,
    warmed,
)
from sft_tradeoff.analysis.claims.base import Quantity

QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for family in (
        *(rates, ranges, frontiers, methods, scored, epochs, seeds, warmed, theory),
        *(moved_tokens, curriculum, hard_tokens, divergence),
    )
    for quantity in family.QUANTITIES
}
