"""Quantities that no stage measures yet: their claims are *not tested*, and say what they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sft_tradeoff.analysis.claims.base import Finding, Quantity, QuantityOptions, Untested
from sft_tradeoff.analysis.claims.results import Results

NEEDS = {
    "code_length_identity": "code length of texts sampled from θ₀, and the exact KL of both models",
    "kl_predicts_loss": "KL(θ₀‖θ) on the prompts of the domain, for every run",
}


def _missing(what: str) -> Callable[[Results, Any, float], Sequence[Finding]]:
    def find(results: Results, options: Any, margin: float) -> Sequence[Finding]:
        raise Untested(f"nothing measures it yet: it needs {what}")

    return find


QUANTITIES = tuple(
    Quantity(name, "not measured", QuantityOptions, _missing(what)) for name, what in NEEDS.items()
)
