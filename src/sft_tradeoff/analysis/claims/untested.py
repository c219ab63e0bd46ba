"""Quantities that no stage measures yet: their claims are *not tested*, and say what they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sft_tradeoff.analysis.claims.base import Finding, Quantity, QuantityOptions, Untested
from sft_tradeoff.analysis.claims.results import Results

NEEDS = {
    "hard_token_damage": "statistics of single tokens under θ₀, and runs on easy and on hard "
    "tokens only",
    "token_curriculum": "statistics of the training tokens by epoch and by their difficulty "
    "under θ₀",
    "tilting_bound": "the theory's tilting steps, on exact small distributions",
    "hard_tokens_and_range": "the theory's safe range, and the share of hard tokens under θ₀",
    "moved_tokens": "probability, entropy and rank of single tokens before and after training",
}


def _missing(what: str) -> Callable[[Results, Any, float], Sequence[Finding]]:
    def find(results: Results, options: Any, margin: float) -> Sequence[Finding]:
        raise Untested(f"nothing measures it yet: it needs {what}")

    return find


QUANTITIES = tuple(
    Quantity(name, "not measured", QuantityOptions, _missing(what)) for name, what in NEEDS.items()
)
