"""The quantities that a claim can name. To add one, write a file and add it here."""

from __future__ import annotations

from sft_tradeoff.analysis.claims import (
    divergence,
    epochs,
    frontiers,
    methods,
    ranges,
    rates,
    scored,
    seeds,
    untested,
    warmed,
)
from sft_tradeoff.analysis.claims.base import Quantity

QUANTITIES: dict[str, Quantity] = {
    quantity.name: quantity
    for family in (
        rates,
        ranges,
        frontiers,
        methods,
        scored,
        epochs,
        seeds,
        warmed,
        divergence,
        untested,
    )
    for quantity in family.QUANTITIES
}
