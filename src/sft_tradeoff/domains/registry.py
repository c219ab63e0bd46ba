"""Which domains there are, and how to get one (:mod:`sft_tradeoff.domains.base`)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sft_tradeoff.domains.base import Domain

DOMAINS = {
    "medcalc": ("cot", "label_only"),
    "esci": ("cot", "label_only"),
    "math": ("cot", "label_only"),
    "jsonl": ("response",),
    "hub_medcalc": ("cot", "label_only"),
    "hub_esci": ("label_only",),
    "hub_metamath": ("cot",),
}
MODULES = {
    "medcalc": "medcalc.generated",
    "esci": "esci.generated",
    "math": "math.generated",
    "jsonl": "jsonl.domain",
    "hub_medcalc": "medcalc.hub",
    "hub_esci": "esci.hub",
    "hub_metamath": "math.hub",
}
# Assets that a domain's examples are read from, in the order in which it takes them.
DOMAIN_ASSETS: dict[str, tuple[str, ...]] = {
    "hub_medcalc": ("medcalc-bench",),
    "hub_esci": ("esci",),
    "hub_metamath": ("metamathqa", "gsm8k"),
}


def get_domain(name: str) -> Domain:
    """Import one domain module on demand and return its ``DOMAIN``."""
    domain: Domain = importlib.import_module(f"sft_tradeoff.domains.{MODULES[name]}").DOMAIN
    return domain
