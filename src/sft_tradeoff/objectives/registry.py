"""The methods a study can name. A new one is a file beside this one and a line here."""

from __future__ import annotations

from sft_tradeoff.objectives import sft, talr
from sft_tradeoff.objectives.base import Method

METHODS: dict[str, Method] = {method.name: method for method in (sft.METHOD, talr.METHOD)}
