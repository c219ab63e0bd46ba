"""Fine-tuning domains behind one interface (:mod:`sft_tradeoff.domains.base`)."""

from __future__ import annotations

import importlib

from sft_tradeoff.domains.base import Domain, Example, Score

__all__ = ["Domain", "Example", "Score", "get_domain"]


def get_domain(name: str) -> Domain:
    """Import one domain module on demand and return its ``DOMAIN``."""
    domain: Domain = importlib.import_module(f"sft_tradeoff.domains.{name}").DOMAIN
    return domain
